"""A study's own files: what may change when it goes on, and that a refusal changes nothing on disk."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import pytest

from intra_search.config import parsing
from intra_search.config.parsing import parse_settings, set_path, with_overrides
from intra_search.config.student import family_of
from intra_search.config.study import StudySettings
from intra_search.config.study_file import parse_study
from intra_search.config.traits import SettingInfo, Trait, all_settings
from intra_search.errors import StudyError
from intra_search.store import study_folder
from intra_search.store.ledger import TrialRecord
from intra_search.store.lock import study_lock
from intra_search.store.study_folder import StudyFolder, differences, without_none
from intra_search.store.trial_state import TrialState

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
    folder.ledger.write(TrialRecord(trial=0, state=TrialState.WAITING, point={}, origin="point", created="now"))
    return folder


def test_opening_writes_nothing(tmp_path: Path) -> None:
    folder = StudyFolder(str(tmp_path / "study"))
    assert not folder.exists
    assert folder.generation == 0
    folder.check(dumped(), SCENES)
    with pytest.raises(StudyError, match=r"study\.toml: must exist, found no study there"):
        folder.stored()
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_has_just_begun_is_no_missing_study(tmp_path: Path) -> None:
    folder = StudyFolder(str(tmp_path / "study"))
    with (
        study_lock(folder.storage),
        pytest.raises(StudyError, match=r"driver \(pid \d+\) that has just begun; try again"),
    ):
        folder.stored()
    with pytest.raises(StudyError, match="found no study there; check the path, start one with `run`, or wait"):
        folder.stored()


def test_settings_and_space_come_back(folder: StudyFolder) -> None:
    stored = folder.stored()
    assert stored["settings"] == without_none(dumped())
    assert parse_settings(stored["settings"]) == StudySettings()
    assert stored["space"].keys() == SPACE["space"].keys()
    assert stored["points"] == SPACE["points"]
    assert stored["study"] == {"version": 3, "defaults": 3, "scenes": SCENES, "changes": []}


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


@pytest.mark.parametrize("setting", list(all_settings(StudySettings)), ids=lambda setting: setting.path)
def test_what_is_not_declared_changeable_is_fixed_once_a_study_has_begun(
    setting: SettingInfo, folder: StudyFolder
) -> None:
    changed = dumped()
    set_path(changed, setting.path, "another")
    if Trait.CHANGEABLE in setting.traits or family_of(setting.path) in ("enet", "resnet18"):
        folder.check(changed, SCENES)
    else:
        with pytest.raises(StudyError, match=f"found {setting.path} = 'another' .*; set {setting.path} back, or start"):
            folder.check(changed, SCENES)


def test_settings_of_a_family_may_change_until_a_trial_is_of_it(folder: StudyFolder) -> None:
    changed = dumped(student__enet__blocks=[4, 16])
    folder.check(changed, SCENES)
    point = {"student.network": "enet"}
    folder.ledger.write(TrialRecord(trial=1, state=TrialState.WAITING, point=point, origin="point", created="now"))
    with pytest.raises(StudyError, match=r"found student.enet.blocks = \[4, 16\] instead of \[5, 8\]"):
        folder.check(changed, SCENES)
    folder.check(dumped(student__resnet18__width=0.5), SCENES)


class LaterSettings(StudySettings):
    """Settings of a later release."""

    plain: int = 1
    changeable: Annotated[int, Trait.CHANGEABLE] = 1


@pytest.fixture
def later_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parsing, study_folder):
        monkeypatch.setattr(module, "StudySettings", LaterSettings)


@pytest.mark.usefixtures("later_release")
def test_a_setting_that_was_added_counts_as_having_its_default(folder: StudyFolder) -> None:
    later = {**dumped(), "plain": 1, "changeable": 1}
    folder.check(later, SCENES)
    assert folder.begin(later, SPACE, SCENES) == 2
    stored = folder.stored()
    assert stored["study"]["changes"] == []
    assert stored["settings"]["plain"] == 1


@pytest.mark.usefixtures("later_release")
def test_a_setting_that_was_added_is_fixed_unless_it_is_declared_changeable(folder: StudyFolder) -> None:
    with pytest.raises(StudyError, match="found plain = 2 instead of 1"):
        folder.check({**dumped(), "plain": 2, "changeable": 1}, SCENES)
    folder.check({**dumped(), "plain": 1, "changeable": 2}, SCENES)
    folder.begin({**dumped(), "plain": 1, "changeable": 2}, SPACE, SCENES)
    (change,) = folder.stored()["study"]["changes"]
    assert (change["path"], change["old"], change["new"]) == ("changeable", "1", "2")


def test_settings_of_a_newer_release_are_refused_and_nothing_changes(folder: StudyFolder) -> None:
    root = Path(folder.storage.full_path())
    file = root / "study.toml"
    file.write_text(file.read_text().replace("[settings.training]", "[settings.training]\nwarmup = 3"))
    before = tree_hash(root)
    for attempt in (lambda: folder.check(dumped(), SCENES), lambda: folder.begin(dumped(), SPACE, SCENES)):
        with pytest.raises(
            StudyError, match=r"study.toml: training.warmup: unknown setting, found 'warmup'; run"
        ) as caught:
            attempt()
        assert "\n" not in str(caught.value)
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
    file.write_text(file.read_text().replace("version = 3", "version = 4"))
    before = tree_hash(root)
    for attempt in (folder.stored, lambda: folder.check(dumped(), SCENES), lambda: folder.begin(dumped(), {}, SCENES)):
        with pytest.raises(StudyError, match="must be of version 1 to 3, found version 4; run it with the release"):
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


def test_a_study_within_a_study_has_a_ledger_and_generations_of_its_own(folder: StudyFolder) -> None:
    inner = folder.nested("confirm")
    assert not inner.exists
    inner.check(dumped(), SCENES)
    assert inner.begin(dumped(), SPACE, SCENES) == 1
    assert inner.begin(dumped(), SPACE, SCENES) == 2
    inner.ledger.write(TrialRecord(trial=5, state=TrialState.WAITING, point={}, origin="point", created="now"))
    assert [record.trial for record in inner.ledger.records()] == [5]
    assert [record.trial for record in folder.ledger.records()] == [0]
    assert folder.generation == 1
    assert StudyFolder(inner.storage.uri).stored() == inner.stored()
    deeper = inner.nested("twins")
    assert deeper.storage.full_path() == folder.storage.full_path("confirm/twins")


def test_a_study_nested_thousands_of_levels_deep_is_refused(folder: StudyFolder) -> None:
    deep = "[" * 5000 + "]" * 5000
    folder.storage.write_bytes("study.toml", f"x = {deep}".encode())
    with pytest.raises(StudyError, match="must be a study's settings"):
        folder.stored()
