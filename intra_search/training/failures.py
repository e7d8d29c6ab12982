"""What went wrong with work on the cluster, and what follows from it: one classification, one policy for all.

The teacher's training, the extraction of knowledge, trials of one worker and of several all ask here. Neither Ray nor
torch is imported: their errors are recognised by the names of their classes, so that a driver can classify what it was
sent without loading either.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from intra_search.errors import IntraSearchError, StorageError


class DivergedError(Exception):
    """The loss is not finite any more; the training cannot go on."""


class Cause(StrEnum):
    """Kinds of failures. An error may have several causes: the kind that stands first in this list counts."""

    CANCELLED = "cancelled"
    """The driver was asked to leave; nothing is wrong."""
    STORAGE = "storage"
    """The study cannot be read or written; nothing can go on."""
    OURS = "ours"
    """An error of ours, which a user can mend; it would come again."""
    DIVERGED = "diverged"
    """The loss was not finite; it would come again."""
    PREEMPTED = "preempted"
    """The machine was taken away with notice; nobody's fault."""
    OUT_OF_MEMORY = "out of memory"
    """The worker, or its GPU, had not enough memory."""
    LOST_NODE = "lost node"
    """The machine is gone, or none came in time."""
    LOST_WORKER = "lost worker"
    """The process died: killed, or crashed in foreign code."""
    UNKNOWN = "unknown"
    """Any other error: perhaps a bug, perhaps a bad moment."""


CAUSE_OF_CLASS: dict[str, Cause] = {
    "TaskCancelledError": Cause.CANCELLED,
    "DivergedError": Cause.DIVERGED,
    "PreemptionError": Cause.PREEMPTED,
    "OutOfMemoryError": Cause.OUT_OF_MEMORY,  # Ray's for a worker, torch's for a GPU
    "MemoryError": Cause.OUT_OF_MEMORY,
    "NodeDiedError": Cause.LOST_NODE,
    "LocalRayletDiedError": Cause.LOST_NODE,
    "ControllerError": Cause.LOST_NODE,  # Ray Train: no group of workers could be started
    "WorkerGroupStartupTimeoutError": Cause.LOST_NODE,
    "WorkerGroupStartupFailedError": Cause.LOST_NODE,
    "TaskPlacementGroupRemoved": Cause.LOST_NODE,
    "ActorPlacementGroupRemoved": Cause.LOST_NODE,
    "ObjectLostError": Cause.LOST_NODE,
    "RayActorError": Cause.LOST_WORKER,
    "WorkerCrashedError": Cause.LOST_WORKER,
    "WorkerHealthCheckFailedError": Cause.LOST_WORKER,
    "WorkerHealthCheckTimeoutError": Cause.LOST_WORKER,
}
"""Ray 2.60's and torch's errors by the name of their class, or of a class that they derive from."""


class Failure(NamedTuple):
    """One failure of one piece of work."""

    cause: Cause
    text: str
    """For a person; equal texts mean the same error."""
    progress: int = 0
    """How much was stored by then, such as the number of checkpoints."""
    error: IntraSearchError | None = None
    """The error of ours behind it, for STORAGE and OURS."""


class Restart(NamedTuple):
    """The work is tried again, from what it has stored."""

    why: str


class Fail(NamedTuple):
    """The work is given up; its study goes on without it, where it can."""

    why: str
    """What was said of the last failure."""
    times: int
    """Failures of this work that count."""


class EndStudy(NamedTuple):
    """Nothing of the study can go on."""

    error: StorageError


class RestartPolicy(NamedTuple):
    """Decides after a failure. Pure: it sees the failures of one piece of work in order, and nothing else."""

    max_restarts: int
    """As `resources.max_restarts`."""

    def decide(self, failures: Sequence[Failure]) -> Restart | Fail | EndStudy:
        last = failures[-1]
        if isinstance(last.error, StorageError):
            return EndStudy(last.error)
        counted = sum(failure.cause is not Cause.PREEMPTED for failure in failures)
        would_come_again = last.cause in (Cause.CANCELLED, Cause.OURS, Cause.DIVERGED) or _came_again(failures)
        if would_come_again or counted > self.max_restarts:
            return Fail(last.text, counted)
        return Restart(f"{last.cause}: {last.text}")


def _came_again(failures: Sequence[Failure]) -> bool:
    """Whether the same error, with nothing stored between, has come twice in a row: it would come for ever.

    A process or machine that is lost comes with a new id each time, and another one may live.
    """
    if len(failures) < 2 or failures[-1].cause not in (Cause.UNKNOWN, Cause.OUT_OF_MEMORY):
        return False
    return failures[-2] == failures[-1]


def classify(error: BaseException, progress: int = 0) -> Failure:
    """The kind of an error, looked for in all its causes and in what Ray wraps.

    Args:
        progress: how much the work had stored by then.
    """
    found = [(cause, one) for one in _causes(error) if (cause := _cause_of(one)) is not None]
    unknown = (Cause.UNKNOWN, _unwrapped(error))
    # Within a kind: first our errors, then others, last Ray's, whose texts say least.
    cause, telling = min(
        found,
        key=lambda pair: (list(Cause).index(pair[0]), not isinstance(pair[1], IntraSearchError), _is_rays(pair[1])),
        default=unknown,
    )
    ours = _as_ours(telling)
    return Failure(cause, _said(error, telling) if ours is None else str(ours), progress, ours)


def restart_or_raise(policy: RestartPolicy, failures: Sequence[Failure], error: BaseException) -> str:
    """For work that is not a trial: why it is tried again after `error`, the last of the failures; else raises it.

    An error of ours comes out as itself, without what Ray wrapped around it.
    """
    decision = policy.decide(failures)
    if isinstance(decision, Restart):
        return decision.why
    if failures[-1].error is not None:
        raise failures[-1].error from None
    raise error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all its causes, each once: they may refer to each other in a circle."""
    left: list[Any] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, IntraSearchError) and _unwrapped(one) is one:
            continue  # its causes were handled where it was raised
        left += [
            getattr(one, "_base_exc", None),  # Ray Train keeps a worker's traceback beside its error
            getattr(one, "controller_failure", None),
            *_worker_failures(one).values(),
            getattr(one, "cause", None),  # of a Ray task
            one.__cause__,
            # Ray raises its errors while it handles their causes. For other errors the context is no cause.
            one.__context__ if _is_rays(one) and not one.__suppress_context__ else None,
        ]


def _cause_of(error: BaseException) -> Cause | None:
    if _unwrapped(error) is not error:
        return None  # Ray's wrapper has the class of its cause, which is checked by itself
    if isinstance(error, StorageError) or _no_space(error):
        return Cause.STORAGE
    if isinstance(error, IntraSearchError):
        return Cause.OURS
    if getattr(error, "preempted", False):
        return Cause.PREEMPTED
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((CAUSE_OF_CLASS[name] for name in names if name in CAUSE_OF_CLASS), None)


def _unwrapped(error: BaseException) -> BaseException:
    """The error that a Ray task raised, where this is Ray's error of the task."""
    wrapped = getattr(error, "cause", None) if _is_rays(error) else None
    return wrapped if isinstance(wrapped, BaseException) else error


def _is_rays(error: BaseException) -> bool:
    return any(kind.__module__.startswith("ray.") for kind in type(error).__mro__)


def _as_ours(error: BaseException) -> IntraSearchError | None:
    if isinstance(error, IntraSearchError):
        return error
    if not _no_space(error):
        return None
    # Ray Train keeps its own files beside our checkpoints, so a full disk may show there first.
    where = str(getattr(error, "filename", None) or "the study's storage")
    return StorageError(where, "needs space", "none left on the device", "free some and run again")


def _no_space(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    # Of an actor that could not be made, Ray keeps the text only.
    return _is_rays(error) and os.strerror(errno.ENOSPC) in str(error)


def _said(error: BaseException, telling: BaseException) -> str:
    """Text for an error that is not ours; for a group's error, what its workers said."""
    if isinstance(telling, DivergedError):
        return str(telling)
    workers = sorted({str(getattr(one, "_base_exc", one)) for one in _worker_failures(error).values()})
    text = "; ".join(workers) or str(telling)
    return f"{type(telling).__name__}: {' '.join(text.split())}"


def _worker_failures(error: BaseException) -> dict[Any, Any]:
    return dict(getattr(error, "worker_failures", None) or {})
