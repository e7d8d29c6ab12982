"""The ledger as TensorBoard runs."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from intra_search.config.study_file import StudyPlan
from intra_search.store.events import Event, TrialEnded, TrialReported
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.study.mirrors.mirror import Mirror, warned

TENSORBOARD_FOLDER = "tensorboard"


class TensorBoardMirror(Mirror):
    """One TensorBoard run per trial, through all generations, with its point as HParams.

    The driver writes it from the ledger rather than each worker from its own view: a trial that was killed and
    resumed then has one unbroken curve, and old workers cannot write into it.
    """

    def __init__(self, folder: StudyFolder, plan: StudyPlan) -> None:
        self._storage = storage = folder.storage
        storage.full_path(TENSORBOARD_FOLDER)  # refuses a link there before anything is trained
        self._writers: dict[int, Any] = {}
        self._written: dict[int, int] = {}
        # Event files can only be appended to, so on object storage they grow here and are copied.
        self._scratch = None if storage.is_local else tempfile.TemporaryDirectory(prefix="intra-search-tb-")

    def begin(self, records: Iterable[TrialRecord], histories: Mapping[int, list[HistoryRow]]) -> None:
        """Nothing: a trial's run is written anew, from its first epoch, with its first report."""

    def __call__(self, event: Event) -> None:
        if not isinstance(event, TrialReported | TrialEnded):
            return
        trial = event.record.trial
        with warned():
            # Each driver rewrites all epochs: a killed driver may not have written its last one here.
            for row in event.history[self._written.get(trial, 0) :]:
                self._write_row(trial, row)
            self._written[trial] = len(event.history)
            if isinstance(event, TrialEnded):
                self._write_hparams(event.record)
                self._close(trial)

    def close(self) -> None:
        for trial in list(self._writers):
            self._close(trial)
        if self._scratch is not None:
            self._scratch.cleanup()

    def _write_row(self, trial: int, row: HistoryRow) -> None:
        writer = self._writer(trial)
        for name, value in row.items():
            if name != "epoch" and value is not None:
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()
        self._publish(trial)

    def _write_hparams(self, record: TrialRecord) -> None:
        from torch.utils.tensorboard.summary import hparams

        if record.best_epoch is None:
            return
        values = {path: _hparam(value) for path, value in record.point.items()} | {"state": record.state}
        metrics = {f"best/{name}": value for name, value in record.objectives.items()}
        writer = self._writer(record.trial)
        for name, value in metrics.items():
            writer.add_scalar(name, value, record.best_epoch)
        for summary in hparams(values, metrics):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)

    def _writer(self, trial: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if trial not in self._writers:
            # purge_step: what this driver writes replaces what an earlier one wrote.
            self._writers[trial] = SummaryWriter(str(self._folder(trial)), purge_step=0)
        return self._writers[trial]

    def _folder(self, trial: int) -> Path:
        path = f"{TENSORBOARD_FOLDER}/{trial:05d}"
        return Path(self._storage.full_path(path)) if self._scratch is None else Path(self._scratch.name) / path

    def _publish(self, trial: int) -> None:
        if self._scratch is not None:
            for file in self._folder(trial).iterdir():
                self._storage.write_bytes(f"{TENSORBOARD_FOLDER}/{trial:05d}/{file.name}", file.read_bytes())

    def _close(self, trial: int) -> None:
        writer = self._writers.pop(trial, None)
        if writer is not None:
            writer.close()
            self._publish(trial)


def _hparam(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
