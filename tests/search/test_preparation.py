"""Knowledge that would take too much room is not stored; the study says so and runs live."""

from pathlib import Path

import pytest

from intra_search.cluster.capacity import Cluster
from intra_search.config.parsing import with_overrides
from intra_search.distill.loss import needs_of
from intra_search.search.preparation import Teacher, ensure_knowledge
from intra_search.store.ledger import HistoryRow
from intra_search.store.study_folder import StudyFolder
from tests.tiny_study import tiny_settings


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def teacher_epoch(self, row: HistoryRow, epochs: int) -> None: ...

    def extracted(self, shards: int, of: int) -> None: ...


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
    folder, cluster = StudyFolder(str(tmp_path / "study")), Cluster(2, 0, 2, 0, 1, 0, 2)
    teacher = Teacher("teacher/t", "teacher/t/gen-1/checkpoint-000001", 0.5)
    # Without a cluster, and before the teacher is looked for: nothing is asked of either.
    assert ensure_knowledge(folder, settings, teacher, needs_of(settings.distill), cluster, notes) is None
    assert len(notes.texts) == 1
    assert "the teacher runs live in every step" in notes.texts[0]
    assert reason in notes.texts[0]
    assert not (tmp_path / "study").exists()
