"""Signals that ask a command to leave: SIGINT (Ctrl-C) and SIGTERM (Slurm, Kubernetes, `docker stop`). Both do the
same; only the exit code tells them apart."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_last: int | None = None
"""The signal that came last."""


def begin() -> None:
    """Handles the signals from here on, except where whoever began this process has them ignored."""
    global _last
    _last = None
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave_now)


def exit_code() -> int:
    """Of a command that ends for the last of these signals."""
    return 128 + (_last or signal.SIGINT)


def leave_now(number: int, *_: object) -> NoReturn:
    """A handler: the command ends where it is."""
    global _last
    _last = number
    raise KeyboardInterrupt


@contextmanager
def leaving_once_stored(drain: Callable[[], None], note: Callable[[str], None]) -> Iterator[None]:
    """A signal once: every trial finishes its epoch and leaves; twice: now. Both lose nothing that is stored."""

    def interrupted(number: int, *_: object) -> None:
        global _last
        _last = number
        for each in SIGNALS:
            signal.signal(each, leave_now)
        note("interrupted: trials finish their epoch and leave; once more to leave now")
        drain()

    before = {number: signal.signal(number, interrupted) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def own_handlers() -> Iterator[None]:
    """Keeps the handlers that are set, whatever the block sets, and leaves after the block where it has swallowed what
    they raised.

    For Ray's start: it sets a handler of SIGTERM that kills the cluster under its driver, which then aborts.
    """
    set_handler = signal.signal

    def ignored(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in SIGNALS else set_handler(number, handler)

    signal.signal = ignored  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler
    if _last is not None:
        raise KeyboardInterrupt
