"""Records and histories: what is written comes back, what is damaged is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intra_search.errors import StudyError
from intra_search.store.ledger import HistoryRow, Ledger, TrialRecord, checkpoint_epochs, checkpoint_name, trial_folder
from intra_search.store.storage import Storage
from intra_search.store.trial_state import TrialState

RECORD = TrialRecord(
    trial=17,
    state=TrialState.STOPPED,
    point={"distill.affinity.orders": [1, 3], "student.network": "erfnet", "distill.affinity.weight": 0.1},
    origin="sampler",
    generation=2,
    epochs=2,
    objectives={"val/miou": 0.1 + 0.2},
    best_epoch=2,
    best_checkpoint="trials/00017/gen-2/checkpoint-000002",
    rungs=[1],
    reason="val/miou 0.3000 is rank 4 of 5 at the rung of epoch 2",
    created="2026-01-01T00:00:00+00:00",
)
ROWS: list[HistoryRow] = [{"epoch": 1, "val/miou": 0.1, "val/iou/arrow": None}, {"epoch": 2, "val/miou": 1 / 3}]

POINTS = st.dictionaries(st.text(max_size=5), st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.text()))


def test_names() -> None:
    assert trial_folder(17) == "trials/00017"
    assert checkpoint_name(3) == "checkpoint-000003"


def test_epochs_of_checkpoints_are_read_from_their_names(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert checkpoint_epochs(storage, "trials/00000/gen-1") == []
    for name in (checkpoint_name(10), checkpoint_name(9), "checkpoint-000003.bak", "ray-train-0"):
        (tmp_path / "trials/00000/gen-1" / name).mkdir(parents=True)
    assert checkpoint_epochs(storage, "trials/00000/gen-1") == [9, 10]


def test_record_and_history_come_back_equal(tmp_path: Path) -> None:
    ledger = Ledger(Storage(tmp_path))
    assert ledger.records() == []
    assert ledger.record(17) is None
    assert ledger.history(17) == []
    ledger.write(RECORD)
    ledger.write(RECORD.model_copy(update={"trial": 2}))
    ledger.write_history(17, ROWS)
    (tmp_path / "trials" / "00003" / "gen-1").mkdir(parents=True)  # a worker's folder whose record never came
    (tmp_path / "trials" / "notes").mkdir()
    assert [record.trial for record in ledger.records()] == [2, 17]
    assert ledger.record(17) == RECORD
    assert ledger.history(17) == ROWS
    ledger.write_history(17, [])
    assert ledger.history(17) == []


@given(POINTS, st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_any_point_survives(
    tmp_path_factory: pytest.TempPathFactory, point: dict[str, float | str], trial: int
) -> None:
    ledger = Ledger(Storage(tmp_path_factory.mktemp("study")))
    record = TrialRecord(trial=trial, state=TrialState.WAITING, point=point, origin="point", created="now")
    ledger.write(record)
    assert ledger.records() == [record]


def test_a_record_cut_anywhere_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(Storage(tmp_path))
    ledger.write(RECORD)
    file = tmp_path / "trials" / "00017" / "record.json"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(StudyError, match=r"record\.json: must be a record of this version") as caught:
            ledger.records()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"stopped"', '"paused"', "state: Input should be"),
        ('"epochs"', '"epoch"', "epochs?: "),
        ('"trial": 17', '"trial": 18', "trial 18"),
        ('"val/miou": 0.30000000000000004', '"val/miou": null', "objectives.val/miou"),
        ("stopped", "stop\\xff", "JSON"),
    ],
)
def test_an_altered_record_is_refused(old: str, new: str, found: str, tmp_path: Path) -> None:
    ledger = Ledger(Storage(tmp_path))
    ledger.write(RECORD)
    file = tmp_path / "trials" / "00017" / "record.json"
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new).encode("latin-1"))
    with pytest.raises(StudyError, match=found):
        ledger.record(17)


@pytest.mark.parametrize(
    "text", ['{"epoch": 1}\n{"epo', '{"epoch": 1}\n{"epoch": 3}\n', '{"epoch": 2}\n', "3\n", "[]\n", "{}\n", "\xff\n"]
)
def test_a_damaged_history_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "trials" / "00017" / "history.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyError, match=r"history\.jsonl: must hold one JSON object per epoch") as caught:
        Ledger(Storage(tmp_path)).history(17)
    assert "\n" not in str(caught.value)
