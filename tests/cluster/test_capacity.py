"""What fits into a cluster, by hand, from the CPUs and GPUs of its machines alone."""

from typing import Any

import pytest

from intra_search.cluster.capacity import Cluster, capacity
from intra_search.config.parsing import parse_settings
from intra_search.config.resources import ResourcesSettings
from intra_search.config.study import StudySettings
from intra_search.errors import ClusterError


def settings_of(**resources: Any) -> StudySettings:
    return parse_settings({"resources": resources})


def of(machines: list[dict[str, float]], **resources: Any) -> Cluster:
    return capacity(machines, settings_of(**resources).resources)


def test_one_machine_of_two_cores() -> None:
    assert of([{"CPU": 2.0}]) == Cluster(2.0, 0.0, 2.0, 0.0, 1.0, 0.0, 2)


def test_a_worker_cannot_take_its_cpus_from_two_machines() -> None:
    machines = [{"CPU": 3.0}, {"CPU": 3.0}]
    cluster = of(machines, cpus_per_worker=2)
    assert cluster.places == 2  # six CPUs would hold three
    assert cluster.max_concurrent(settings_of(cpus_per_worker=2)) == 2


def test_gpus_are_taken_where_there_are_any() -> None:
    machines = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}]
    cluster = of(machines, cpus_per_worker=2)
    assert (cluster.gpus_alone, cluster.trial_gpus, cluster.places) == (1.0, 1.0, 4)
    assert cluster.cpus_alone == 4.0  # a GPU's share of its machine
    assert of(machines, cpus_per_worker=2, gpus_per_worker=0).trial_gpus == 0


def test_trials_that_share_a_gpu() -> None:
    cluster = of([{"CPU": 16.0, "GPU": 1.0}], trials_per_gpu=4)
    assert (cluster.trial_gpus, cluster.places) == (0.25, 4)


def test_trials_of_several_workers_hold_a_little_beside_them() -> None:
    cluster = of([{"CPU": 2.0}], workers=2, cpus_per_worker=0.9)
    assert cluster.trial_cpus == pytest.approx(1.81)
    assert cluster.places == 1


def test_no_more_at_a_time_than_is_asked_for() -> None:
    settings = parse_settings({"search": {"max_concurrent": 3}})
    assert of([{"CPU": 8.0}]).max_concurrent(settings) == 3


@pytest.mark.parametrize(
    ("machines", "resources", "found", "remedy"),
    [
        (
            [{"CPU": 2.0}],
            {"workers": 2, "cpus_per_worker": 1},
            "2 CPU and 0 GPU on 1 machines",
            "cpus_per_worker to 0.9",
        ),
        ([{"CPU": 4.0}], {"workers": 8, "cpus_per_worker": 1}, "4 CPU and 0 GPU", "set resources.workers to 4"),
        ([{"CPU": 2.0}], {"workers": 8, "cpus_per_worker": 9}, "2 CPU and 0 GPU", "use a larger cluster"),
        ([{"CPU": 8.0}], {"gpus_per_worker": 1}, "8 CPU and 0 GPU", "use a larger cluster"),
        ([], {}, "0 CPU and 0 GPU on 0 machines", "use a larger cluster"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    machines: list[dict[str, float]], resources: dict[str, Any], found: str, remedy: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        capacity(machines, ResourcesSettings(**resources))
    assert "resources: a trial of" in str(caught.value)
    assert found in str(caught.value)
    assert remedy in str(caught.value)
