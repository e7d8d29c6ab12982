"""Knowledge that would take too much room is not stored; a shard whose task fails is tried again within limits."""

from pathlib import Path
from typing import Any

import pytest

from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.config.study_file import StudyPlan
from intra_search.knowledge import extraction
from intra_search.store.artefacts import Teacher
from intra_search.store.events import Event, Note, ShardStored
from intra_search.store.study_folder import StudyFolder
from intra_search.study import knowledge
from intra_search.study.context import StudyContext
from tests.study.contexts import CLUSTER, Notes, context_of
from tests.tiny_study import tiny_settings

TEACHER = Teacher(folder="teacher/t", checkpoint="teacher/t/gen-1/checkpoint-000001", score=0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"knowledge.max_gb": 1e-9}, "above knowledge.max_gb = 1e-09"),
        (
            {"knowledge.store": "s3://nowhere/x?region=us-east-1", "knowledge.node_cache_gb": 1e-9},
            "above knowledge.node_cache_gb = 1e-09",
        ),
    ],
)
def test_too_much_to_store_runs_live_and_says_so(
    roads: Path, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    settings, notes = with_overrides(tiny_settings(roads), changes), Notes()
    context = context_of(StudyFolder(str(tmp_path / "study")), StudyPlan(settings, Space(settings, {})), notes)
    # Without a cluster, and before the teacher is looked for: nothing is asked of either.
    assert knowledge.ensure(context, TEACHER) is None
    assert len(notes) == 1
    assert "the teacher runs live in every step" in notes[0]
    assert reason in notes[0]
    assert not (tmp_path / "study").exists()


class WorkerCrashedError(Exception):
    """Ray's error of this name."""


def test_a_lost_shard_is_tried_again_and_a_hopeless_one_ends_the_step(
    roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extraction is made up: it loses shard 0 once, stores it, then meets the same error in shard 1 twice."""
    error = ValueError("a bug")

    def extract(*_: object, progress: Any, failed: Any, **__: object) -> str:
        failed(0, WorkerCrashedError("pid 1"))
        progress(1, 2, 2.5)
        failed(1, error)
        failed(1, error)
        raise AssertionError("went on")

    monkeypatch.setattr(extraction, "extract", extract)
    events: list[Event] = []
    settings = tiny_settings(roads)
    folder, plan = StudyFolder(str(tmp_path / "study")), StudyPlan(settings, Space(settings, {}))
    with pytest.raises(ValueError, match="a bug") as raised:
        knowledge.ensure(StudyContext(folder, plan, 1, "f" * 64, CLUSTER, events.append), TEACHER)
    assert raised.value is error
    assert events == [
        Note("knowledge: shard 0 is tried again (lost worker: WorkerCrashedError: pid 1)"),
        ShardStored(1, 2),
        Note("knowledge: shard 1 is tried again (unknown: ValueError: a bug)"),
    ]
    assert folder.device_seconds([])["knowledge"] == 2.5


def test_frames_without_labels_are_answered_in_a_store_of_their_own(
    roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pseudo-labels alone ask nothing about labelled scenes."""
    asked: list[tuple[bool, set[str]]] = []

    def extract(storage: object, teacher: str, settings: object, needs: Any, *, unlabelled: bool, **_: object) -> str:
        asked.append((unlabelled, {need.key for need in needs}))
        return f"store {unlabelled}"

    monkeypatch.setattr(extraction, "extract", extract)

    def stored(**changes: object) -> knowledge.Stored | None:
        asked.clear()
        frames = {"scenes.unlabelled": ["synthetic:3"], "scenes.pseudo_labels": 0.9}
        settings = with_overrides(tiny_settings(roads), frames | changes)
        context = context_of(StudyFolder(str(tmp_path / "study")), StudyPlan(settings, Space(settings, {})), Notes())
        return knowledge.ensure(context, TEACHER)

    assert stored() == knowledge.Stored("store False", "store True")
    (_, labelled), (_, unlabelled) = asked
    assert unlabelled == labelled | {"regions", "confidence"}
    no_terms = {"distill.affinity.weight": 0.0, "distill.attention.weight": 0.0}
    assert stored(**no_terms) == knowledge.Stored(None, "store True")
    assert asked == [(True, {"regions", "confidence"})]
