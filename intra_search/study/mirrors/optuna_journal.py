"""The ledger as an Optuna journal file, for optuna-dashboard."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from intra_search.config.objectives import Objectives
from intra_search.config.study_file import StudyPlan
from intra_search.search.adviser import direction_of, told_trial
from intra_search.store.events import Event, TrialEnded
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.study.mirrors.mirror import Mirror, warned

OPTUNA_JOURNAL = "optuna.journal"


class OptunaMirror(Mirror):
    """The ledger as an Optuna journal file, for optuna-dashboard. Written to local studies only."""

    def __init__(self, folder: StudyFolder, plan: StudyPlan) -> None:
        self._path = folder.storage.full_path(OPTUNA_JOURNAL) if folder.storage.is_local else None
        self._plan = plan
        self._objective = Objectives.of(plan.settings).lead
        self._study: Any = None

    def begin(self, records: Iterable[TrialRecord], histories: Mapping[int, list[HistoryRow]]) -> None:
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
            study_name=self._plan.settings.name,
            storage=storage,
            direction=direction_of(self._objective),
            load_if_exists=True,
        )
        for record in records:
            if record.finished is not None:
                self._add(record, histories[record.trial])

    def __call__(self, event: Event) -> None:
        if isinstance(event, TrialEnded) and self._study is not None:
            with warned():
                self._add(event.record, event.history)

    def close(self) -> None:
        """Nothing: every trial is in the file when it is added."""

    def _add(self, record: TrialRecord, history: list[HistoryRow]) -> None:
        told = told_trial(self._plan.space, record, history, self._objective)
        if told is not None:
            self._study.add_trial(told)
