"""What steps leave behind: read as written, in the files' form of before, and refused when damaged."""

from pathlib import Path

import pytest

from intra_search.errors import StudyError
from intra_search.store.artefacts import (
    Baselines,
    Comparison,
    KnowledgeChoice,
    KnowledgeChoiceRecord,
    KnowledgeSpending,
    PlainRecord,
    Teacher,
    TeacherRecord,
)
from intra_search.store.study_folder import StudyFolder

HOME = "teacher/abc"
TEACHER = Teacher(folder=HOME, checkpoint=f"{HOME}/gen-1/checkpoint-000002", score=None)
ROWS = [{"epoch": 1, "val/miou": None, "seconds": 2.0}]


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(str(tmp_path))


def test_nothing_is_there_before_it_is_made(folder: StudyFolder) -> None:
    assert folder.baselines.find() is None
    assert not folder.teacher(HOME).exists
    assert folder.device_seconds([]) == {"teacher": 0.0, "knowledge": 0.0, "trials": 0.0}


def test_each_is_read_as_written_from_its_own_file(folder: StudyFolder) -> None:
    written = {
        "baselines.json": (folder.baselines, Baselines(background=0.1, untrained=None)),
        f"{HOME}/record.json": (folder.teacher(HOME), TeacherRecord(teacher=TEACHER, history=ROWS, device_seconds=2.0)),
        f"{HOME}/comparison.json": (
            folder.comparison(HOME),
            Comparison(teacher=0.5, plain=0.4, trial=None, epochs=3, better=True),
        ),
        "plain/record.json": (folder.plain_student, PlainRecord(history=ROWS, device_seconds=2.0)),
        "knowledge.json": (folder.knowledge_spending, KnowledgeSpending(device_seconds=1.5)),
        "knowledge_mode.json": (
            folder.knowledge_choice,
            KnowledgeChoiceRecord(choice=KnowledgeChoice(mode="live", why="cheaper"), amount={"scenes": 3.0}),
        ),
    }
    for path, (file, artefact) in written.items():
        assert file.write(artefact) == artefact  # type: ignore[attr-defined]
        assert file.read() == artefact  # type: ignore[attr-defined]
        assert folder.storage.exists(path)
    assert folder.device_seconds([]) == {"teacher": 4.0, "knowledge": 1.5, "trials": 0.0}
    assert folder.teacher_homes == [HOME]


def test_a_file_names_what_was_given_and_nothing_else(folder: StudyFolder) -> None:
    """The form that the release before wrote: a teacher trained here has no origin, a score may be null."""
    folder.teacher(HOME).write(TeacherRecord(teacher=TEACHER, history=ROWS, device_seconds=2.0))
    assert folder.storage.read_json(f"{HOME}/record.json") == {
        "teacher": {"folder": HOME, "checkpoint": TEACHER.checkpoint, "score": None},
        "history": ROWS,
        "device_seconds": 2.0,
    }
    folder.teacher(HOME).write(TeacherRecord(teacher=TEACHER, history=[], device_seconds=0.0, source="/given"))
    assert folder.storage.read_json(f"{HOME}/record.json")["from"] == "/given"
    assert folder.teacher(HOME).read().source == "/given"


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"background": "high", "untrained": 0}', "background: "), ("[]", "Input should be"), ('{"x": 1}', "background")],
)
def test_a_damaged_file_is_one_line_that_names_it(folder: StudyFolder, text: str, found: str) -> None:
    folder.storage.write_bytes("baselines.json", text.encode())
    with pytest.raises(StudyError) as caught:
        folder.baselines.read()
    assert "baselines.json: must be an artefact of this version, found" in str(caught.value)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)
