"""Mirrors, read back with the tools they are written for."""

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from pyarrow import fs

from intra_search.config.study_file import parse_study
from intra_search.errors import StorageError
from intra_search.store.events import (
    Event,
    Note,
    ShardStored,
    TeacherEpoch,
    TrialAsked,
    TrialEnded,
    TrialLaunched,
    TrialReported,
)
from intra_search.store.ledger import HistoryRow, TrialRecord
from intra_search.store.study_folder import StudyFolder
from intra_search.study.mirrors.mirror import Mirror
from intra_search.study.mirrors.optuna_journal import OptunaMirror
from intra_search.study.mirrors.table import MIRRORS
from intra_search.study.mirrors.tensorboard import TensorBoardMirror

PLAN = parse_study(
    'name = "roads"\n[space."distill.affinity.weight"]\nkind = "float"\nlow = 0.01\nhigh = 1.0\n'
    '[space."distill.affinity.orders"]\nkind = "subset"\nvalues = [1, 2, 3]\n',
    "study",
)
POINT = {"distill.affinity.weight": 0.5, "distill.affinity.orders": [1, 3]}


def rows(count: int, shift: float = 0.0) -> list[HistoryRow]:
    return [
        {"epoch": e, "val/miou": e / 10 + shift, "train/ce": 1 / e, "val/iou/arrow": None if e % 2 else 0.5}
        for e in range(1, count + 1)
    ]


def record(state: str, epochs: int, trial: int = 3) -> TrialRecord:
    known: dict[str, Any] = {"objectives": {"val/miou": epochs / 10}, "best_epoch": epochs} if epochs else {}
    finished = None if state in ("running", "waiting") else "now"
    fields: dict[str, Any] = {"state": state, "epochs": epochs, "finished": finished, **known}
    return TrialRecord(trial=trial, point=POINT, origin="sampler", created="now", **fields)


def read_back(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own imports warn
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(folder)).Reload()


def curve(folder: Path, tag: str) -> list[tuple[int, Any]]:
    return [(point.step, pytest.approx(point.value)) for point in read_back(folder).Scalars(tag)]


def test_a_whole_trial_has_its_curves_and_hparams(tmp_path: Path) -> None:
    mirror = TensorBoardMirror(StudyFolder(str(tmp_path)), PLAN)
    mirror(TrialAsked(record("waiting", 0)))
    mirror(TrialLaunched(record("running", 0)))
    for epochs in range(1, 5):
        mirror(TrialReported(record("running", epochs), rows(epochs)))
    mirror(TrialEnded(record("done", 4), rows(4)))
    mirror.close()
    folder = tmp_path / "tensorboard" / "00003"
    assert curve(folder, "val/miou") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert curve(folder, "val/iou/arrow") == [(2, 0.5), (4, 0.5)]  # absent classes have no value
    found = read_back(folder)
    assert "epoch" not in found.Tags()["scalars"]
    assert curve(folder, "best/val/miou") == [(4, 0.4)]
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    parsed = HParamsPluginData.FromString(content).session_start_info.hparams
    assert parsed["distill.affinity.weight"].number_value == 0.5
    assert parsed["distill.affinity.orders"].string_value == "[1, 3]"
    assert parsed["state"].string_value == "done"


@pytest.mark.parametrize("recorded", [0, 1, 2, 3])
def test_a_killed_and_resumed_trial_has_one_unbroken_curve(tmp_path: Path, recorded: int) -> None:
    """The first driver's curve ends anywhere before what the ledger knows, or tells of an epoch that was lost."""
    first = TensorBoardMirror(StudyFolder(str(tmp_path)), PLAN)
    for epochs in range(1, recorded + 1):
        first(TrialReported(record("running", epochs), rows(epochs, shift=0.01)))
    first.close()
    second = TensorBoardMirror(StudyFolder(str(tmp_path)), PLAN)
    second(TrialLaunched(record("running", 2)))
    for epochs in (3, 4):
        second(TrialReported(record("running", epochs), rows(epochs)))
    second(TrialEnded(record("done", 4), rows(4)))
    second.close()
    folder = tmp_path / "tensorboard" / "00003"
    assert curve(folder, "val/miou") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert curve(folder, "train/ce") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]


def test_a_trial_that_failed_before_its_first_epoch(tmp_path: Path) -> None:
    mirror = TensorBoardMirror(StudyFolder(str(tmp_path)), PLAN)
    mirror(TrialReported(record("running", 0), []))
    mirror(TrialEnded(record("failed", 0), []))
    mirror.close()
    assert not (tmp_path / "tensorboard").exists()


def test_on_object_storage_event_files_are_copied_whole(tmp_path: Path) -> None:
    folder_of_study = StudyFolder(str(tmp_path))
    storage = folder_of_study.storage
    storage._fs, storage._root = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "study"
    mirror = TensorBoardMirror(folder_of_study, PLAN)
    mirror(TrialReported(record("running", 1), rows(1)))
    mirror(TrialReported(record("running", 2), rows(2)))
    folder = tmp_path / "study" / "tensorboard" / "00003"
    assert curve(folder, "val/miou") == [(1, 0.1), (2, 0.2)]
    mirror(TrialEnded(record("done", 2), rows(2)))
    mirror.close()
    assert "_hparams_/session_start_info" in read_back(folder).summary_metadata


def load_journal(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name="roads", storage=storage)


def test_the_journal_is_an_optuna_study(tmp_path: Path) -> None:
    (tmp_path / "optuna.journal").write_text('{"op_code": 0, "wor')  # torn by a kill
    (tmp_path / "optuna.journal.lock").symlink_to("optuna.journal")
    mirror = OptunaMirror(StudyFolder(str(tmp_path)), PLAN)
    mirror(TrialEnded(record("done", 4, trial=0), rows(4)))  # before the first rebuild: it comes with that
    records = [record("done", 4, trial=0), record("running", 1, trial=1), record("failed", 0, trial=2)]
    mirror.begin(records, {0: rows(4), 1: rows(1), 2: []})
    assert [trial.user_attrs["trial"] for trial in load_journal(tmp_path).trials] == [0, 2]
    mirror(TrialReported(record("running", 2, trial=1), rows(2)))
    mirror(TrialEnded(record("stopped", 2, trial=1), rows(2)))
    study = load_journal(tmp_path)
    assert [trial.user_attrs["trial"] for trial in study.trials] == [0, 2, 1]
    assert study.best_trial.user_attrs["trial"] == 0
    assert study.best_value == pytest.approx(0.4)
    assert study.trials[2].intermediate_values == pytest.approx({1: 0.1, 2: 0.2})
    mirror.begin(records, {0: rows(4), 1: rows(1), 2: []})
    assert len(load_journal(tmp_path).trials) == 2


@pytest.mark.parametrize("name", ["tensorboard", "optuna.journal"])
def test_a_link_where_a_mirror_writes_is_refused_before_anything_is_trained(name: str, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / name).symlink_to(tmp_path)
    with pytest.raises(StorageError, match=f"study/{name}: must not be a symbolic link"):
        [mirror(StudyFolder(str(tmp_path / "study")), PLAN) for mirror in MIRRORS]


def test_no_journal_on_object_storage(tmp_path: Path) -> None:
    folder = StudyFolder(str(tmp_path))
    folder.storage._fs = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    mirror = OptunaMirror(folder, PLAN)
    mirror.begin([record("done", 4)], {3: rows(4)})
    mirror(TrialEnded(record("done", 4), rows(4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mirror", MIRRORS)
def test_every_mirror_takes_every_event_and_never_ends_a_study(
    mirror: type[Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = mirror(StudyFolder(str(tmp_path)), PLAN)
    assert not list(tmp_path.iterdir())  # making one writes nothing
    running, done = record("running", 1), record("done", 2)
    trial: list[Event] = [TrialAsked(running), TrialLaunched(running), TrialReported(running, rows(1))]
    events = [Note("a decision"), TeacherEpoch(rows(1)[0], 3), ShardStored(1, 2), *trial, TrialEnded(done, rows(2))]
    for event in events:  # some come before the trials begin
        made(event)
    made.begin([done], {3: rows(2)})
    for event in events:
        made(event)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for written in ("_write_row", "_add"):
        if hasattr(made, written):
            monkeypatch.setattr(made, written, full)
    made(TrialEnded(record("done", 3, trial=4), rows(3)))
    assert "A mirror of the ledger was not written" in caplog.text
    made.close()
