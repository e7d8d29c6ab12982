"""The ledger: one record and one history file per trial. All else that is known of a search is rebuilt from them."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intra_search.config.space import Point
from intra_search.errors import StudyError
from intra_search.store.bundle import MANIFEST
from intra_search.store.inside import InsidePath
from intra_search.store.storage import Storage
from intra_search.store.trial_state import TrialState

HistoryRow = dict[str, Any]
"""One finished epoch: "epoch" (1, 2, …), the metrics ("val/miou") and the terms ("train/affinity")."""


CHECKPOINT_PREFIX = "checkpoint-"


class TrialRecord(BaseModel):
    """All that is known of one trial beside its history."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    trial: int
    state: TrialState
    point: Point
    """Searched path to value."""
    origin: Literal["point", "sampler"]
    """A fixed point of the study file, or the sampler's suggestion."""
    generation: int = 0
    """The driver start whose writes count; workers of older ones may still write, below their own `gen-<g>`."""
    epochs: int = 0
    """Finished epochs, equal to the number of history rows."""
    objectives: dict[str, float] = Field(default_factory=dict)
    """Scores of the best epoch."""
    best_epoch: int | None = None
    best_checkpoint: InsidePath | None = None
    """Checkpoint of the best epoch, relative to the study."""
    rungs: list[int] = Field(default_factory=list)
    """Rungs (epochs) at which the trial was compared and went on."""
    reason: str | None = None
    """Why the trial was stopped, failed or is infeasible."""
    num_parameters: int | None = None
    device_seconds: float = 0.0
    """Seconds spent in epochs, times the devices held."""
    restarts: int = 0
    """How often the trial went on from a checkpoint after a driver or a worker had died."""
    created: str
    finished: str | None = None

    def moved_to(self, state: TrialState, **changes: Any) -> "TrialRecord":
        """The record in another state of the trial's life, with further changes."""
        if not self.state.may_become(state):
            raise RuntimeError(f"trial {self.trial} cannot go from {self.state} to {state}")
        return self.model_copy(update={"state": state, **changes})


def now() -> str:
    """Time of day for records: UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def trial_folder(trial: int) -> str:
    return f"trials/{trial:05d}"


def checkpoint_name(epoch: int) -> str:
    """Folder of the checkpoint after an epoch, below `<trial>/gen-<generation>/`."""
    return f"{CHECKPOINT_PREFIX}{epoch:06d}"


def checkpoint_epochs(storage: Storage, folder: str) -> list[int]:
    """Epochs whose checkpoints lie directly in a folder, ascending."""
    numbers = [name.removeprefix(CHECKPOINT_PREFIX) for name in storage.names(folder) if CHECKPOINT_PREFIX in name]
    return sorted(int(number) for number in numbers if number.isdigit())


def generation_folders(storage: Storage, home: str, until: int | None = None) -> list[str]:
    """Folders `gen-<g>` of a training up to a generation, newest first by number."""
    numbers = [int(name.removeprefix("gen-")) for name in storage.names(home) if name.startswith("gen-")]
    counted = [number for number in numbers if until is None or number <= until]
    return [f"{home}/gen-{number}" for number in sorted(counted, reverse=True)]


def find_checkpoint(storage: Storage, home: str, epoch: int, until: int | None = None) -> str | None:
    """Path of the newest generation's checkpoint after an epoch; None when there is none."""
    for folder in generation_folders(storage, home, until):
        path = f"{folder}/{checkpoint_name(epoch)}"
        # The manifest, not the folder: on object storage a half-written checkpoint has a folder too.
        if storage.exists(f"{path}/{MANIFEST}"):
            return path
    return None


class Ledger:
    """Reads and writes the records below `trials/`. Only the driver that holds the study's lock writes."""

    def __init__(self, storage: Storage, upgrade_point: Callable[[Point], Point] = lambda point: point) -> None:
        """`upgrade_point` gives a point of an older study in today's form."""
        self._storage = storage
        self._upgrade_point = upgrade_point

    def records(self) -> list[TrialRecord]:
        """All records, by trial number. Raises `StudyError` for a damaged one."""
        numbers = sorted(int(name) for name in self._storage.names("trials") if name.isdigit())
        found = (self.record(number) for number in numbers)
        return [record for record in found if record is not None]

    def record(self, trial: int) -> TrialRecord | None:
        """One record; None when the trial's folder holds none yet."""
        stored = self._stored(trial)
        return stored and stored.model_copy(update={"point": self._upgrade_point(stored.point)})

    def upgrade(self) -> None:
        """Writes the records of an older form anew in today's."""
        for record in self.records():
            if record != self._stored(record.trial):
                self.write(record)

    def _stored(self, trial: int) -> TrialRecord | None:
        path = f"{trial_folder(trial)}/record.json"
        if not self._storage.exists(path):
            return None
        where = self._storage.full_path(path)
        try:
            record = TrialRecord.model_validate_json(self._storage.read_bytes(path))
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            found = f"{field}: {error.errors()[0]['msg']}" if field else error.errors()[0]["msg"]
            raise StudyError(where, "must be a record of this version", found, "restore the file") from None
        if record.trial != trial:
            raise StudyError(where, "must be the record of its folder", f"trial {record.trial}", "restore the file")
        return record

    def write(self, record: TrialRecord) -> None:
        data = record.model_dump_json(indent=1).encode()
        self._storage.write_bytes(f"{trial_folder(record.trial)}/record.json", data)

    def history(self, trial: int) -> list[HistoryRow]:
        """Rows of the finished epochs; empty when there is none."""
        path = f"{trial_folder(trial)}/history.jsonl"
        if not self._storage.exists(path):
            return []
        try:
            rows = [json.loads(line) for line in self._storage.read_bytes(path).splitlines()]
        except ValueError as error:
            rows, found = [], str(error)
        else:
            numbers = [row.get("epoch") if isinstance(row, dict) else None for row in rows]
            if numbers == list(range(1, len(rows) + 1)):
                return rows
            found = f"epochs {numbers}"
        where = self._storage.full_path(path)
        raise StudyError(where, "must hold one JSON object per epoch 1, 2, …", found, "restore the file")

    def write_history(self, trial: int, rows: Iterable[HistoryRow]) -> None:
        """Replaces the history; whole rather than appended, since object storage cannot append."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        self._storage.write_bytes(f"{trial_folder(trial)}/history.jsonl", lines.encode())
