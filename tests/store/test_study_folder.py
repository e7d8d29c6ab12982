"""A study's own files: what may change when it goes on, and that a refusal changes nothing on disk."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.study import StudySettings
from intra_search.config.study_file import parse_study
from intra_search.errors import StudyError
from intra_search.store.ledger import TrialRecord
from intra_search.store.study_folder import StudyFolder, differences, without_none

PLAN = parse_study('[space."distill.affinity.weight"]\nkind = "float"\nlow = 0.0\nhigh = 1.0', "f")
SPACE = PLAN.space.tables()
SCENES = "a" * 64


def dumped(**overrides: Any) -> dict[str, Any]:
    """Settings as `run` hands them over; `__` stands for the dot."""
    paths = {path.replace("__", "."): value for path, value in overrides.items()}
    return with_overrides(StudySettings(), paths).model_dump(mode="json")


def tree_hash(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study of one driver start and one trial."""
    folder = StudyFolder(str(tmp_path / "study"))
    folder.check(dumped(), SCENES)
    assert folder.begin(dumped(), SPACE, SCENES) == 1
    folder.ledger.write(TrialRecord(trial=0, state="waiting", point={}, origin="point", created="now"))
    return folder


def test_opening_writes_nothing(tmp_path: Path) -> None:
    folder = StudyFolder(str(tmp_path / "study"))
    assert not folder.exists
    assert folder.generation == 0
    folder.check(dumped(), SCENES)
    with pytest.raises(StudyError, match=r"study\.toml: must exist, found no study there"):
        folder.stored()
    assert list(tmp_path.iterdir()) == []


def test_settings_and_space_come_back(folder: StudyFolder) -> None:
    stored = folder.stored()
    assert stored["settings"] == without_none(dumped())
    assert parse_settings(stored["settings"]) == StudySettings()
    assert stored["space"].keys() == SPACE["space"].keys()
    assert stored["points"] == SPACE["points"]
    assert stored["study"] == {"version": 2, "scenes": SCENES, "changes": []}


def test_every_start_is_a_generation_and_changes_are_recorded(folder: StudyFolder) -> None:
    folder.check(dumped(), SCENES)
    assert folder.begin(dumped(), SPACE, SCENES) == 2
    assert folder.stored()["study"]["changes"] == []
    larger = dumped(search__num_trials=99, search__max_concurrent=2)
    folder.check(larger, SCENES)
    assert folder.begin(larger, SPACE, SCENES) == 3
    assert folder.begin(dumped(search__num_trials=99), SPACE, SCENES) == 4
    changes = [(change["path"], change["old"], change["new"]) for change in folder.stored()["study"]["changes"]]
    assert changes == [
        ("search.max_concurrent", "None", "2"),
        ("search.num_trials", "16", "99"),
        ("search.max_concurrent", "2", "None"),
    ]
    assert folder.generation == 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("training.epochs", 25),
        ("training.clip_gradient_norm", 1.0),
        ("scenes.height", 168),
        ("student.erfnet.blocks", [5, 7]),
        ("distill.affinity.weight", 0.2),
        ("teacher.network", "pspnet_resnet18"),
        ("knowledge.mode", "live"),
    ],
)
def test_other_settings_are_refused_and_nothing_changes(folder: StudyFolder, path: str, value: Any) -> None:
    root = Path(folder.storage.full_path())
    before = tree_hash(root)
    with pytest.raises(StudyError, match=rf"must keep the settings of its trials, found {path} = ") as caught:
        folder.check(dumped(**{path.replace(".", "__"): value}), SCENES)
    assert "\n" not in str(caught.value)
    assert repr(value) in str(caught.value)
    assert tree_hash(root) == before


def test_other_scenes_are_refused_and_nothing_changes(folder: StudyFolder) -> None:
    root = Path(folder.storage.full_path())
    before = tree_hash(root)
    with pytest.raises(
        StudyError, match="must keep the scenes of its trials, found data set bbbbbbbbbbbb instead of aaa"
    ):
        folder.check(dumped(), "b" * 64)
    assert tree_hash(root) == before


def test_another_version_is_refused_and_nothing_changes(folder: StudyFolder) -> None:
    root = Path(folder.storage.full_path())
    file = root / "study.toml"
    file.write_text(file.read_text().replace("version = 2", "version = 3"))
    before = tree_hash(root)
    for attempt in (folder.stored, lambda: folder.check(dumped(), SCENES), lambda: folder.begin(dumped(), {}, SCENES)):
        with pytest.raises(StudyError, match="must be of version 1 or 2, found version 3; run it with the release"):
            attempt()
    assert tree_hash(root) == before


@pytest.mark.parametrize(
    "text",
    [
        "name = 'my study'\n[training]\nepochs = 3\n",
        "",
        "study = 3",
        "[study]\nversion = 1\n",
        "[study]\nversion = 1\nscenes = 'a'\nchanges = []\n",
        "settings = 3\n[study]\nversion = 1\nscenes = 'a'\nchanges = []\n",
        "[study",
        "\xff",
    ],
)
def test_a_file_that_is_no_study_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes(text.encode("latin-1"))
    folder = StudyFolder(str(tmp_path))
    before = tree_hash(tmp_path)
    for attempt in (folder.stored, lambda: folder.check(dumped(), SCENES), lambda: folder.begin(dumped(), {}, SCENES)):
        with pytest.raises(StudyError, match=r"study\.toml: must be a study's settings") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert tree_hash(tmp_path) == before


def test_trials_without_their_study_are_kept(folder: StudyFolder) -> None:
    root = Path(folder.storage.full_path())
    (root / "study.toml").unlink()
    with pytest.raises(StudyError, match=r"must be empty or a study, found trials without study\.toml"):
        folder.check(dumped(), SCENES)


@pytest.mark.parametrize("text", ["", "two", "-1", "1.5"])
def test_a_damaged_generation_is_refused(folder: StudyFolder, text: str) -> None:
    folder.storage.write_bytes("generation", text.encode())
    with pytest.raises(StudyError, match="generation: must hold a whole number"):
        folder.begin(dumped(), SPACE, SCENES)


def test_differences_by_hand() -> None:
    old = {"a": {"b": 1, "c": [1]}, "d": 1, "e": {"f": 1}}
    new = {"a": {"b": 2, "c": [1]}, "e": 3, "g": 4}
    assert differences(old, new) == {"a.b": (1, 2), "d": (1, None), "e": ({"f": 1}, 3), "g": (None, 4)}
    assert differences(old, old) == {}
