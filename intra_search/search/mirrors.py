"""Mirrors of the ledger for other tools: TensorBoard and optuna-dashboard. Nobody here reads them back."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.search.adviser import told_trial
from intra_search.search.conductor import Event
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder

TENSORBOARD_FOLDER = "tensorboard"
logger = logging.getLogger(__name__)

OPTUNA_JOURNAL = "optuna.journal"


class TensorBoardMirror:
    """One TensorBoard run per trial, through all generations, with its point as HParams.

    The driver writes it from the ledger rather than each worker from its own view: a trial that was killed and
    resumed then has one unbroken curve, and old workers cannot write into it.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._writers: dict[int, Any] = {}
        self._written: dict[int, int] = {}
        # Event files can only be appended to, so on object storage they grow here and are copied.
        self._scratch = None if storage.is_local else tempfile.TemporaryDirectory(prefix="intra-search-tb-")

    def __call__(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None:
        with _unmissed():
            self._mirror(event, record, history)

    def _mirror(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None:
        if event in ("reported", "recorded"):
            # From the first epoch, once per driver: a killed one may have left out the last it recorded.
            for row in history[self._written.get(record.trial, 0) :]:
                self._write_row(record.trial, row)
            self._written[record.trial] = len(history)
        if event == "recorded":
            self._write_hparams(record)
            self._close(record.trial)

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


class OptunaMirror:
    """The ledger as an Optuna journal file, for optuna-dashboard. Written to local studies only."""

    def __init__(self, folder: StudyFolder, settings: StudySettings, space: Space) -> None:
        self._path = folder.storage.full_path(OPTUNA_JOURNAL) if folder.storage.is_local else None
        self._settings = settings
        self._space = space
        self._study: Any = None

    def rebuild(self, records: Iterable[TrialRecord], histories: dict[int, list[HistoryRow]]) -> None:
        """Starts the journal anew with all finished trials: a kill may have torn the old one, or left its lock."""
        if self._path is None:
            return
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        for stale in Path(self._path).parent.glob(f"{OPTUNA_JOURNAL}*"):
            stale.unlink()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(self._path))
        self._study = optuna.create_study(
            study_name=self._settings.name, storage=storage, direction="maximize", load_if_exists=True
        )
        for record in records:
            if record.finished is not None:
                self._add(record, histories[record.trial])

    def __call__(self, event: Event, record: TrialRecord, history: list[HistoryRow]) -> None:
        if event == "recorded" and self._study is not None:
            with _unmissed():
                self._add(record, history)

    def _add(self, record: TrialRecord, history: list[HistoryRow]) -> None:
        told = told_trial(self._space, record, history, self._settings.search.objectives[0])
        if told is not None:
            self._study.add_trial(told)


@contextmanager
def _unmissed() -> Iterator[None]:
    """A mirror that cannot be written does not end a study: the ledger, which can, is the truth."""
    try:
        yield
    except OSError as error:
        logger.warning("A mirror of the ledger was not written: %s", error)


def _hparam(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
