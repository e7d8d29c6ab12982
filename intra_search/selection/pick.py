"""The best trial of a study, from its ledger alone."""

from typing import Any, NamedTuple

from intra_search.config.objectives import Objectives
from intra_search.errors import StudyError
from intra_search.store.ledger import TrialRecord, find_checkpoint
from intra_search.store.study_folder import StudyFolder, twin_folder
from intra_search.store.trial_state import TrialState


class Twin(NamedTuple):
    """The pick's plain twin: the same settings and seed, trained without distillation."""

    value: float
    """The first objective at its best epoch."""
    epoch: int
    gain: float
    """How much better the pick is than its twin, in the first objective: one seed's answer."""
    checkpoint: str
    """Path or URI of its best epoch's checkpoint."""


class Pick(NamedTuple):
    """The chosen student."""

    record: TrialRecord
    checkpoint: str
    """Path or URI of the best epoch's checkpoint."""
    twin: Twin | None = None
    """None for a plain pick, and until its twin is trained."""

    def as_json(self) -> dict[str, Any]:
        """The form of `best --json`."""
        row = {
            "trial": self.record.trial,
            "epoch": self.record.best_epoch,
            "objectives": self.record.objectives,
            "settings": self.record.point,
            "checkpoint": self.checkpoint,
        }
        # With one objective the front is the best trial alone.
        twin = self.twin._asdict() if self.twin else None
        return {**row, "num_parameters": self.record.num_parameters, "twin": twin, "front": [row]}


def ranked(records: list[TrialRecord], objectives: Objectives) -> list[TrialRecord]:
    """Trials with scores, best first: those with the full budget before those stopped on the way.

    A stopped trial's value comes from the middle of its learning rate schedule: it never outranks a finished one.
    """
    scored = [record for record in records if objectives.scores(record.objectives) is not None]
    return sorted(scored, key=lambda one: (one.state.rank, *objectives.order(one.objectives), one.trial))


def pick(folder: StudyFolder) -> Pick:
    """The best finished trial; of equals the one tried first. Raises `StudyError` when there is none yet."""
    return _picked(folder, folder.ledger.records(), Objectives.of(folder.settings))


def _picked(folder: StudyFolder, records: list[TrialRecord], objectives: Objectives) -> Pick:
    finished = [record for record in records if record.state.can_be_picked and record.best_checkpoint]
    order = ranked(finished, objectives)
    if not order:
        where = folder.storage.full_path()
        raise StudyError(where, "must have a finished trial to pick", "none", "let the study run on")
    record = order[0]
    return Pick(record, folder.storage.full_path(record.best_checkpoint or ""), _twin(folder, record, objectives))


def _twin(folder: StudyFolder, record: TrialRecord, objectives: Objectives) -> Twin | None:
    stored, lead = folder.twin(record.trial).find(), objectives.lead
    if stored is None:
        return None
    epoch = objectives.best_epoch(stored.history)
    value, own = lead.value(stored.history[epoch - 1]), record.objectives.get(lead.metric)
    checkpoint = find_checkpoint(folder.storage, twin_folder(record.trial), epoch)
    if value is None or own is None or checkpoint is None:
        return None
    return Twin(value, epoch, lead.gain(own) - lead.gain(value), folder.storage.full_path(checkpoint))


def status(folder: StudyFolder) -> dict[str, Any]:
    """The form of `status --json`."""
    objectives = Objectives.of(folder.settings)  # refuses a folder that is no study
    records = folder.ledger.records()
    counts = {state.value: sum(record.state is state for record in records) for state in TrialState}
    try:
        best: dict[str, Any] | None = _picked(folder, records, objectives).as_json()
    except StudyError:
        best = None
    return {
        "trials": counts,
        "finished": sum(record.state.is_finished for record in records),
        "best": best,
        "device_seconds": folder.device_seconds(records),
        "generation": folder.generation,
    }
