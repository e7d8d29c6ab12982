"""What a cluster offers, and how many trials fit into it: arithmetic on what its machines hold, without Ray."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from intra_search.config.resources import ResourcesSettings
from intra_search.config.study import StudySettings
from intra_search.errors import ClusterError

TRIAL_CPUS = 0.01
"""CPUs that a trial of several workers holds beside its workers' own."""


class Cluster(NamedTuple):
    """What the connected cluster offers."""

    cpus: float
    gpus: float
    cpus_alone: float
    """CPUs of work that runs before the trials (teacher, extraction), per task: a GPU's share of its machine, or all
    of the largest machine where no GPU is used."""
    gpus_alone: float
    """GPUs of such work, per task."""
    trial_cpus: float
    trial_gpus: float
    places: int
    """Trials that fit, counted per machine: a worker cannot take its CPUs from two machines."""

    def max_concurrent(self, settings: StudySettings) -> int:
        """Trials at a time: what fits, at most `search.max_concurrent`."""
        fitting = min(self.places, int(self.cpus / self.trial_cpus + 1e-6))
        if self.trial_gpus:
            fitting = min(fitting, int(self.gpus / self.trial_gpus + 1e-6))
        return min(fitting, settings.search.max_concurrent or fitting)


def capacity(machines: Sequence[Mapping[str, float]], resources: ResourcesSettings) -> Cluster:
    """What these machines offer to trials of these resources.

    Args:
        machines: CPUs and GPUs of each living machine, under "CPU" and "GPU".

    Raises `ClusterError` when a trial does not fit, with what would fit.
    """
    total_cpus = sum(machine.get("CPU", 0.0) for machine in machines)
    total_gpus = sum(machine.get("GPU", 0.0) for machine in machines)
    workers, cpus, gpus = resources.workers, resources.cpus_per_worker, _gpus_of_worker(resources, total_gpus)
    own_cpus = TRIAL_CPUS if workers > 1 else 0.0
    places = sum(_places(machine, cpus, gpus) for machine in machines)
    cluster = Cluster(
        cpus=total_cpus,
        gpus=total_gpus,
        cpus_alone=max((_cpus_alone(machine, bool(gpus)) for machine in machines), default=1.0),
        gpus_alone=1.0 if gpus else 0.0,
        trial_cpus=workers * cpus + own_cpus,
        trial_gpus=workers * gpus,
        places=places // workers,
    )
    if places < workers or cluster.trial_cpus > cluster.cpus + 1e-6:
        wanted = f"{workers} x ({cpus:g} CPU, {gpus:g} GPU)" + (f" + {own_cpus:g} CPU" if own_cpus else "")
        has = f"{cluster.cpus:g} CPU and {cluster.gpus:g} GPU on {len(machines)} machines"
        remedy = _remedy(resources, places, cluster.cpus - own_cpus)
        raise ClusterError("resources", f"a trial of {wanted} must fit the cluster", has, remedy)
    return cluster


def _gpus_of_worker(resources: ResourcesSettings, total_gpus: float) -> float:
    """GPUs that a worker asks for; a share of one where one-worker trials share a GPU."""
    per_worker = resources.gpus_per_worker
    if per_worker == "auto":
        per_worker = 1 if total_gpus >= 1 else 0
    return per_worker / resources.trials_per_gpu if resources.workers == 1 else per_worker


def _remedy(resources: ResourcesSettings, places: int, cpus: float) -> str:
    """What would fit: fewer workers, or smaller ones where CPUs alone are short."""
    share = math.floor(10 * cpus / resources.workers) / 10
    fewer = f"set resources.workers to {places}" if places else "use a larger cluster"
    smaller = 0 < share < resources.cpus_per_worker
    return f"{fewer}, or resources.cpus_per_worker to {share:g}" if smaller else fewer


def _cpus_alone(machine: Mapping[str, float], use_gpu: bool) -> float:
    if use_gpu:
        return max(1.0, math.floor(machine.get("CPU", 0.0) / machine["GPU"])) if machine.get("GPU") else 1.0
    return max(1.0, math.floor(machine.get("CPU", 0.0)))


def _places(machine: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many workers one machine can hold."""
    places = int(machine.get("CPU", 0.0) / cpus + 1e-6)
    return min(places, int(machine.get("GPU", 0.0) / gpus + 1e-6)) if gpus else places
