"""What an error is taken for, and what follows from it. No cluster runs; of Ray only its classes of errors are used."""

import errno
from collections.abc import Sequence

import pytest
import ray.exceptions
import torch

from intra_search.errors import CheckpointError, IntraSearchError, SceneError, StorageError
from intra_search.training.failures import (
    Cause,
    DivergedError,
    EndStudy,
    Fail,
    Failure,
    Restart,
    RestartPolicy,
    classify,
    restart_or_raise,
)

OURS = SceneError("road.png", "must be whole", "cut", "mend it")
STORAGE = StorageError("/study/x", "must be readable and writable", "gone", "check it")


class WorkerGroupError(Exception):
    """As Ray Train raises it for a group whose workers raised."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("Training failed due to worker errors")
        self.worker_failures = dict(enumerate(failures))


class ControllerError(Exception):
    """As Ray Train raises it for a group that could not be started or led."""

    def __init__(self, failure: Exception) -> None:
        super().__init__("Training failed due to controller error")
        self.controller_failure = failure


class PreemptionError(Exception):
    """As Ray Train raises it when a machine is taken away with notice."""


def of_task(cause: Exception) -> Exception:
    """As `ray.get` raises what a task raised: an error of Ray's that is of the cause's class, too."""
    error: Exception = ray.exceptions.RayTaskError("epochs", "Traceback of pid=17", cause=cause).as_instanceof_cause()
    return error


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("Ray could not set up its storage")
    error.__cause__ = cause
    return error


NO_SPACE = OSError(errno.ENOSPC, "No space left on device", "/study/ray-train-0/marker")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OURS, Cause.OURS),
        (of_task(OURS), Cause.OURS),
        (WorkerGroupError(RuntimeError("connection closed by peer"), OURS), Cause.OURS),
        (STORAGE, Cause.STORAGE),
        (of_task(STORAGE), Cause.STORAGE),
        (NO_SPACE, Cause.STORAGE),
        (of_task(NO_SPACE), Cause.STORAGE),
        (ControllerError(wrapped(NO_SPACE)), Cause.STORAGE),
        (WorkerGroupError(NO_SPACE), Cause.STORAGE),
        (ray.exceptions.TaskCancelledError(), Cause.CANCELLED),
        (DivergedError("train/loss is not finite"), Cause.DIVERGED),
        (of_task(DivergedError("train/loss is not finite")), Cause.DIVERGED),
        (PreemptionError("node drained"), Cause.PREEMPTED),
        (ray.exceptions.OutOfMemoryError("killed by the memory monitor"), Cause.OUT_OF_MEMORY),
        (of_task(torch.cuda.OutOfMemoryError("CUDA out of memory")), Cause.OUT_OF_MEMORY),
        (MemoryError(), Cause.OUT_OF_MEMORY),
        (ray.exceptions.NodeDiedError("node 3 died"), Cause.LOST_NODE),
        (ray.exceptions.LocalRayletDiedError(), Cause.LOST_NODE),
        (ray.exceptions.ObjectLostError("ab" * 28, None, ""), Cause.LOST_NODE),
        (ControllerError(RuntimeError("no machine within 60 s")), Cause.LOST_NODE),
        (ray.exceptions.WorkerCrashedError(), Cause.LOST_WORKER),
        (ray.exceptions.ActorDiedError(), Cause.LOST_WORKER),
        (WorkerGroupError(ray.exceptions.ActorDiedError(), RuntimeError("connection closed")), Cause.LOST_WORKER),
        (ValueError("a bug"), Cause.UNKNOWN),
        (of_task(ValueError("a bug")), Cause.UNKNOWN),
        (OSError(errno.EIO, "a bad moment"), Cause.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),  # their texts have pids
)
def test_every_kind_is_found_wherever_ray_hides_it(error: Exception, cause: Cause) -> None:
    assert classify(error).cause is cause


def test_what_ray_and_torch_raise_still_has_the_names_that_are_looked_for() -> None:
    """The stand-ins above are only as good as the names: Ray Train's own classes are asked, too."""
    from ray.train.v2._internal import exceptions as internal
    from ray.train.v2.api import exceptions as api

    for module, names in (
        (api, ("WorkerGroupError", "ControllerError", "PreemptionError")),
        (internal, ("WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError")),
        (internal, ("WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError")),
    ):
        assert all(hasattr(module, name) for name in names)


def test_a_preempted_actor_is_no_lost_worker() -> None:
    error = ray.exceptions.RayActorError()
    assert classify(error).cause is Cause.LOST_WORKER
    error._preempted = True
    assert classify(error).cause is Cause.PREEMPTED


def test_no_space_is_told_as_an_error_of_ours_with_its_place() -> None:
    failure = classify(ControllerError(wrapped(NO_SPACE)))
    assert isinstance(failure.error, StorageError)
    assert failure.text.startswith("/study/ray-train-0/marker: needs space, found none left on the device")
    lines = "OSError: [Errno 28] No space left on device"  # of an actor that could not be made, Ray keeps the text
    unmade = ray.exceptions.ActorDiedError(ray.exceptions.RayTaskError("__init__", lines, cause=None, actor_id="a"))
    assert "the study's storage: needs space" in classify(unmade).text


def test_of_several_causes_of_one_kind_the_one_that_says_most_is_told() -> None:
    """Ray puts the text of a worker's error into its own, which is met first."""
    text = ray.exceptions.RayTaskError("fit", "OSError: [Errno 28] No space left on device", cause=STORAGE)
    assert classify(ControllerError(WorkerGroupError(text, NO_SPACE))).error is STORAGE
    of_actor = ray.exceptions.ActorDiedError(text)
    of_actor.__cause__ = NO_SPACE
    assert "/study/ray-train-0/marker" in classify(of_actor).text


def test_the_error_of_ours_comes_without_what_ray_wrapped_around_it() -> None:
    failure = classify(of_task(OURS))
    assert failure.error is OURS
    assert failure.text == str(OURS)


def test_an_error_of_ours_is_not_taken_for_what_led_to_it() -> None:
    def read() -> None:
        try:
            raise STORAGE
        except StorageError:
            raise CheckpointError("checkpoint", "must be readable", "gone", "use another one") from None

    with pytest.raises(CheckpointError) as caught:
        read()
    assert classify(caught.value).cause is Cause.OURS


def test_an_error_met_while_another_was_handled_is_taken_for_itself() -> None:
    def read() -> None:
        try:
            raise STORAGE
        except StorageError:
            raise KeyError("a bug in the handler")  # noqa: B904  (without `from`, as a bug comes)

    with pytest.raises(KeyError) as caught:
        read()
    assert classify(caught.value).cause is Cause.UNKNOWN


def test_causes_that_name_each_other_are_followed_once() -> None:
    crash = ValueError("a crash")
    error = of_task(crash)
    crash.__context__ = error  # as `raise error.cause` leaves it
    assert classify(error).cause is Cause.UNKNOWN


def test_the_same_error_of_another_process_reads_the_same() -> None:
    first = ray.exceptions.RayTaskError("epochs", "Traceback of pid=17", cause=ValueError("bad point"))
    second = ray.exceptions.RayTaskError("epochs", "Traceback of pid=18", cause=ValueError("bad point"))
    assert classify(first.as_instanceof_cause()) == classify(second.as_instanceof_cause())
    group = WorkerGroupError(ValueError("bad point"), ValueError("bad point"))
    assert classify(group).text == "WorkerGroupError: bad point"


def failures_of(*causes: Cause, text: str = "x", progress: int = 0) -> list[Failure]:
    return [Failure(cause, text, progress) for cause in causes]


POLICY = RestartPolicy(max_restarts=3)


@pytest.mark.parametrize(
    ("failures", "decision"),
    [
        (failures_of(Cause.LOST_WORKER), Restart),
        (failures_of(*[Cause.LOST_WORKER] * 3), Restart),
        (failures_of(*[Cause.LOST_WORKER] * 4), Fail),
        (failures_of(*[Cause.LOST_NODE] * 3), Restart),
        (failures_of(*[Cause.PREEMPTED] * 40), Restart),  # nobody's fault, so it is not counted
        (failures_of(*[Cause.PREEMPTED] * 40, *[Cause.LOST_NODE] * 3), Restart),
        (failures_of(*[Cause.PREEMPTED] * 40, *[Cause.LOST_NODE] * 4), Fail),
        (failures_of(Cause.OURS), Fail),
        (failures_of(Cause.CANCELLED), Fail),  # the driver leaves
        (failures_of(Cause.DIVERGED), Fail),
        (failures_of(Cause.UNKNOWN), Restart),
        (failures_of(Cause.UNKNOWN, Cause.UNKNOWN), Fail),  # the same again, with nothing stored between
        (failures_of(Cause.OUT_OF_MEMORY, Cause.OUT_OF_MEMORY), Fail),
        (failures_of(Cause.UNKNOWN) + failures_of(Cause.UNKNOWN, progress=1), Restart),
        (failures_of(Cause.UNKNOWN) + failures_of(Cause.UNKNOWN, text="y"), Restart),
        (failures_of(Cause.UNKNOWN, Cause.LOST_WORKER, Cause.UNKNOWN), Restart),
        ([Failure(Cause.STORAGE, "x", error=STORAGE)], EndStudy),
    ],
)
def test_decisions_by_hand(failures: Sequence[Failure], decision: type) -> None:
    assert isinstance(POLICY.decide(failures), decision)


def test_no_restarts_means_none() -> None:
    assert POLICY._replace(max_restarts=0).decide(failures_of(Cause.LOST_WORKER)) == Fail("x", 1)
    assert isinstance(POLICY._replace(max_restarts=0).decide(failures_of(Cause.PREEMPTED)), Restart)


def test_the_end_of_a_study_carries_the_error_of_its_storage() -> None:
    assert POLICY.decide([classify(STORAGE)]) == EndStudy(STORAGE)


def raised(error: Exception) -> BaseException:
    with pytest.raises(type(error)) as caught:
        restart_or_raise(POLICY, [classify(error)] * 2, error)
    return caught.value


def test_work_that_is_no_trial_ends_with_its_own_error() -> None:
    bug, ours = ValueError("a bug"), of_task(OURS)
    assert raised(bug) is bug
    with pytest.raises(IntraSearchError) as caught:
        restart_or_raise(POLICY, [classify(ours)], ours)
    assert caught.value is OURS
    assert restart_or_raise(POLICY, [classify(bug)], bug) == "unknown: ValueError: a bug"
