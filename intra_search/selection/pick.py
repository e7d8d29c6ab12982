"""Which trial won: read from the ledger alone."""

from typing import Any, NamedTuple

from intra_search.errors import StudyError
from intra_search.store.ledger import FINISHED, STATES, TrialRecord
from intra_search.store.study_folder import KNOWLEDGE_RECORD, StudyFolder


class Pick(NamedTuple):
    """The chosen student."""

    record: TrialRecord
    checkpoint: str
    """Path or URI of the best epoch's checkpoint."""

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
        return {**row, "num_parameters": self.record.num_parameters, "front": [row]}


def ranked(records: list[TrialRecord], metric: str) -> list[TrialRecord]:
    """Trials with a value, best first: those with the full budget before those stopped on the way.

    A stopped trial's value comes from another learning rate schedule's middle, so it never outranks a finished one.
    """
    order = {"done": 0, "stopped": 1, "running": 2, "waiting": 2, "failed": 3, "infeasible": 4}
    scored = [record for record in records if metric in record.objectives]
    return sorted(scored, key=lambda record: (order[record.state], -record.objectives[metric], record.trial))


def pick(folder: StudyFolder) -> Pick:
    """The best finished trial; of equals the one tried first. Raises `StudyError` when there is none yet."""
    metric = folder.stored()["settings"]["search"]["objectives"][0]
    finished = [record for record in folder.ledger.records() if record.state in ("done", "stopped")]
    order = [record for record in ranked(finished, metric) if record.best_checkpoint]
    if not order:
        where = folder.storage.full_path()
        raise StudyError(where, "must have a finished trial to pick", "none", "let the study run on")
    return Pick(order[0], folder.storage.full_path(order[0].best_checkpoint or ""))


def status(folder: StudyFolder) -> dict[str, Any]:
    """The form of `status --json`."""
    folder.stored()  # refuses a folder that is no study
    records = folder.ledger.records()
    counts = {state: sum(record.state == state for record in records) for state in STATES}
    try:
        best: dict[str, Any] | None = pick(folder).as_json()
    except StudyError:
        best = None
    return {
        "trials": counts,
        "finished": sum(counts[state] for state in FINISHED),
        "best": best,
        "device_seconds": device_seconds(folder, records),
        "generation": folder.generation,
    }


def device_seconds(folder: StudyFolder, records: list[TrialRecord]) -> dict[str, float]:
    """Device seconds by purpose; a plain student that only the teacher is compared with counts as the teacher's."""
    storage = folder.storage
    spent = {"teacher": 0.0, "knowledge": 0.0, "trials": sum(record.device_seconds for record in records)}
    for name in storage.names("teacher"):
        if storage.exists(f"teacher/{name}/record.json"):
            spent["teacher"] += storage.read_json(f"teacher/{name}/record.json")["device_seconds"]
    if storage.exists(KNOWLEDGE_RECORD):
        spent["knowledge"] = storage.read_json(KNOWLEDGE_RECORD)["device_seconds"]
    if storage.exists("plain/record.json"):  # trained to see whether the teacher is better
        spent["teacher"] += storage.read_json("plain/record.json")["device_seconds"]
    return {purpose: round(seconds, 3) for purpose, seconds in spent.items()}
