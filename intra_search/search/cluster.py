"""The Ray cluster of one driver: started here or joined, and what of it a trial and the teacher get."""

import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from intra_search.config.settings import ResourcesSettings, StudySettings
from intra_search.errors import ClusterError, IntraSearchError

CONNECT_SECONDS = 10.0
CLIENT_ATTEMPTS = 5


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
    """Trials that its machines have room for: summed CPUs hold more than whole workers may find."""

    def max_concurrent(self, settings: StudySettings) -> int:
        """Trials at a time: what fits, at most `search.max_concurrent`."""
        fitting = min(self.places, int(self.cpus / self.trial_cpus + 1e-6))
        if self.trial_gpus:
            fitting = min(fitting, int(self.gpus / self.trial_gpus + 1e-6))
        return min(fitting, settings.search.max_concurrent or fitting)

    def on_interrupt(self, drain: Callable[[], None], note: Callable[[str], None]) -> None:
        """SIGINT once: every trial finishes its epoch and leaves; twice: now. Both lose nothing that is stored."""

        def interrupted(*_: Any) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            note("interrupted: trials finish their epoch and leave; once more to leave now")
            drain()

        signal.signal(signal.SIGINT, interrupted)


@contextmanager
def connected(address: str | None, resources: ResourcesSettings) -> Iterator[Cluster]:
    """Connects to Ray for the time of the block; a cluster started here ends with it.

    Raises `ClusterError` when the address cannot be reached, or when a trial does not fit the cluster.
    """
    import ray

    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # our own table shows the trials
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Threads that spin while they wait for each other take the core from the one that works: on a shared machine of
    # two cores a step of the quickstart's teacher took 1.8 s spinning and 0.25 s sleeping (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if ray.is_initialized():  # this driver is itself a task on the cluster
        yield _fitting(resources)
        return
    if address is not None and ":" in address:
        _check_listening(address)
    old_handler = signal.getsignal(signal.SIGINT)
    try:
        # The dashboard serves Ray Train's clean-up, which one-worker trials do not need; it costs seconds.
        dashboard = None if address else resources.workers > 1
        # Workers' decisions come with their reports; their raw output stays in Ray's own logs.
        ray.init(
            address=address or "local",  # None would follow RAY_ADDRESS
            logging_level=logging.ERROR,
            include_dashboard=dashboard,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        remedy = "check the address, or leave --address out to use this machine"
        raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None
    try:
        yield _fitting(resources)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, IntraSearchError):
            raise error.cause from None  # a task's own one-line error, without Ray's wrapping
        raise
    finally:
        ray.shutdown()
        signal.signal(signal.SIGINT, old_handler)


def _check_listening(address: str) -> None:
    """Ray tries a dead address for minutes; one connection tells in seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        remedy = "check the address, or leave --address out to use this machine"
        raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None


def run_on_head(address: str, function: Callable[[Any], None], observer: Any) -> None:
    """Runs `function(observer)` as a task on the cluster behind a Ray client address (`ray://...`).

    A client cannot hold a search: Tune would run on the cluster and the ledger's only writer here. So the whole driver
    goes there, this package with it, and the observer's calls come back through a queue. SIGINT once lets the study
    leave after the epoch, twice ends it.
    """
    import ray
    from ray.util.queue import Queue

    _check_listening(address)
    _connect_client(address)
    try:
        queue = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(_told_through_queue).options(num_cpus=0, max_retries=0).remote(function, queue)
        _relay(queue, task, observer)
    finally:
        ray.shutdown()


def _connect_client(address: str) -> None:
    import ray

    package = Path(__file__).parents[1]
    for attempt in range(CLIENT_ATTEMPTS):
        try:
            ray.init(
                address=address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"py_modules": [str(package)], "env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
            )
            return
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            # The head forks a server for each client; now and then the child dies (ray-project/ray issue 63202).
            if "Starting Ray client server failed" in str(error) and attempt + 1 < CLIENT_ATTEMPTS:
                continue
            remedy = "check the address, or run on one of the cluster's nodes with --address auto"
            raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None


def _relay(queue: Any, task: Any, observer: Any) -> None:
    import ray
    from ray.util.queue import Empty

    interrupted = False
    while True:
        try:
            event = queue.get(timeout=1.0)
            if event is None:
                break
            name, arguments = event
            getattr(observer, name)(*arguments)
        except Empty:
            if ray.wait([task], timeout=0)[0]:
                break
        except KeyboardInterrupt:
            ray.cancel(task, force=interrupted)
            if interrupted:
                raise
            interrupted = True
    try:
        ray.get(task)
    except ray.exceptions.TaskCancelledError:
        raise KeyboardInterrupt from None
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _told_through_queue(function: Callable[[Any], None], queue: Any) -> None:
    try:
        function(_QueueObserver(queue))
    finally:
        queue.put(None)


class _QueueObserver:
    """An observer on the cluster whose calls are made again by `_relay`."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def note(self, *arguments: Any) -> None:
        self._queue.put(("note", arguments))

    def teacher_epoch(self, *arguments: Any) -> None:
        self._queue.put(("teacher_epoch", arguments))

    def extracted(self, *arguments: Any) -> None:
        self._queue.put(("extracted", arguments))

    def trial_event(self, *arguments: Any) -> None:
        self._queue.put(("trial_event", arguments))


def _fitting(resources: ResourcesSettings) -> Cluster:
    import ray

    from intra_search.search.tuner import TRIAL_CPUS, gpus_of_worker

    total = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers, cpus, gpus = resources.workers, resources.cpus_per_worker, gpus_of_worker(resources)
    own_cpus = TRIAL_CPUS if workers > 1 else 0.0
    places = sum(_places(node, cpus, gpus) for node in nodes)
    cluster = Cluster(
        total.get("CPU", 0.0),
        total.get("GPU", 0.0),
        max((_cpus_alone(node, bool(gpus)) for node in nodes), default=1.0),
        1.0 if gpus else 0.0,
        workers * cpus + own_cpus,
        workers * gpus,
        places // workers,
    )
    if places < workers or cluster.trial_cpus > cluster.cpus + 1e-6:
        wanted = f"{workers} x ({cpus:g} CPU, {gpus:g} GPU)" + (f" + {own_cpus:g} CPU" if own_cpus else "")
        has = f"{cluster.cpus:g} CPU and {cluster.gpus:g} GPU on {len(nodes)} machines"
        remedy = _remedy(resources, places, cluster.cpus - own_cpus)
        raise ClusterError("resources", f"a trial of {wanted} must fit the cluster", has, remedy)
    return cluster


def _remedy(resources: ResourcesSettings, places: int, cpus: float) -> str:
    """What would fit: fewer workers, or smaller ones where CPUs alone are short."""
    share = math.floor(10 * cpus / resources.workers) / 10
    fewer = f"set resources.workers to {places}" if places else "use a larger cluster"
    smaller = 0 < share < resources.cpus_per_worker
    return f"{fewer}, or resources.cpus_per_worker to {share:g}" if smaller else fewer


def _cpus_alone(node: dict[str, float], use_gpu: bool) -> float:
    if use_gpu:
        return max(1.0, math.floor(node.get("CPU", 0.0) / node["GPU"])) if node.get("GPU") else 1.0
    return max(1.0, math.floor(node.get("CPU", 0.0)))


def _places(node: dict[str, float], cpus: float, gpus: float) -> int:
    """How many workers one machine can hold."""
    places = int(node.get("CPU", 0.0) / cpus + 1e-6)
    return min(places, int(node.get("GPU", 0.0) / gpus + 1e-6)) if gpus else places
