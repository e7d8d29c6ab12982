"""A driver that kills itself with SIGKILL at the n-th event of a kind: `driver.py STUDY.toml STUDY EVENT N`, with the
name of a class of `store.events`."""

import os
import signal
import sys

from intra_search.config.study_file import load_study
from intra_search.store.events import Event
from intra_search.study.run import run_study


class Killer:
    """Counts the events of one kind."""

    def __init__(self, event: str, count: int) -> None:
        self._event = event
        self._left = count

    def __call__(self, event: Event) -> None:
        self._left -= type(event).__name__ == self._event
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    file, study, event, count = sys.argv[1:]
    run_study(study, load_study(file), Killer(event, int(count)), address=None, takeover=False)
