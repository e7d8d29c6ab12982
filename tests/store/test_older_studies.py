"""Studies of older releases in `tests/golden`: read as those releases read them, and gone on with. Version 1 is that of
53b70fb, version 2 that of 3e05ed2, with its schedules of terms and its defaults.

They were made from the study files beside them. Of `plain`, trial 4 was put back to its first epoch,
with the checkpoint of that release. `…-answers.json` is what that release's `status`, `trials` and `best` printed with
--json; STUDY stands for the study's folder.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from intra_search.config.study_file import load_study
from intra_search.scenes.scene_set import open_scenes
from intra_search.selection.pick import pick, status
from intra_search.store.study_folder import STUDY_VERSION, StudyFolder
from tests.commands import Command, read_history, read_record
from tests.store.test_study_folder import tree_hash

GOLDEN = Path(__file__).parents[1] / "golden"
STUDIES = {"plain": "study-v1", "distilled": "study-v1", "scheduled": "study-v2"}


def golden(name: str) -> Path:
    return GOLDEN / STUDIES[name] / name


def study_file(study: Path) -> Path:
    return golden(study.name).with_suffix(".toml")


@pytest.fixture(params=list(STUDIES))
def old_study(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of one of the studies, named as it is."""
    return Path(shutil.copytree(golden(request.param), tmp_path / request.param))


def with_todays_paths(value: Any, network: str) -> Any:
    """An answer of the old release with the keys of points renamed by hand."""
    if isinstance(value, list):
        return [with_todays_paths(item, network) for item in value]
    if not isinstance(value, dict):
        return value
    family = value.get("student.network", network)
    names = {old: f"student.{family}.{old.removeprefix('student.')}" for old in ("student.width", "student.blocks")}
    return {names.get(key, key): with_todays_paths(item, network) for key, item in value.items()}


def old_answers(study: Path) -> dict[str, Any]:
    text = golden(study.name).with_name(f"{study.name}-answers.json").read_text().replace("STUDY", str(study))
    answers = dict(with_todays_paths(json.loads(text), "resnet18"))
    for best in (answers["best"], answers["status"]["best"]):
        best["twin"] = None  # that release trained none
    return answers


def test_status_trials_and_best_are_what_the_old_release_said_and_nothing_is_written(old_study: Path) -> None:
    before = tree_hash(old_study)
    folder, expected = StudyFolder(str(old_study)), old_answers(old_study)
    assert status(folder) == expected["status"]
    assert pick(folder).as_json() == expected["best"]
    records = folder.ledger.records()
    assert [record.model_dump(mode="json") for record in records] == expected["trials"]
    assert [folder.ledger.history(record.trial) for record in records] == [
        read_history(old_study, record.trial) for record in records
    ]
    assert tree_hash(old_study) == before


def test_the_old_study_file_fits_its_study_and_its_scenes(old_study: Path) -> None:
    folder = StudyFolder(str(old_study))
    plan = load_study(study_file(old_study)).with_defaults(folder.defaults)
    fingerprint = open_scenes(plan.settings.scenes, "train").fingerprint
    assert fingerprint == folder.stored()["study"]["scenes"]
    folder.check(plan.settings.model_dump(mode="json"), fingerprint)
    records = folder.ledger.records()
    assert all(plan.space.holds(record.point) for record in records)
    # The fixed points are found among the trials, so that none of them is tried again.
    assert list(plan.space.points) == [record.point for record in records if record.origin == "point"]
    stored = folder.stored()
    assert stored["points"] == list(plan.space.points)
    assert stored["space"].keys() == plan.space.domains.keys()


def begun(study: Path) -> StudyFolder:
    folder = StudyFolder(str(study))
    plan = load_study(study_file(study)).with_defaults(folder.defaults)
    fingerprint = folder.stored()["study"]["scenes"]
    assert folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), fingerprint) == folder.generation
    return folder


def test_begin_writes_todays_form_and_says_what_changed(old_study: Path) -> None:
    old = tree_hash(old_study)
    folder = begun(old_study)
    new, stored = tree_hash(old_study), folder.stored()
    assert (stored["study"]["version"], folder.generation) == (STUDY_VERSION, 2)
    changes = [(change["path"], change["old"], change["new"]) for change in stored["study"]["changes"]]
    is_first = STUDIES[old_study.name] == "study-v1"
    moved = [
        ("student.width", "0.0625", "'student.erfnet.width, student.enet.width, student.resnet18.width'"),
        ("student.blocks", "[1, 1]", "'student.erfnet.blocks, student.enet.blocks'"),
    ]
    assert changes == [("study.version", "1" if is_first else "2", "3"), *(moved if is_first else [])]
    written = {path for path in new if new[path] != old[path]}
    assert new.keys() == old.keys()
    assert written == {
        "study.toml",
        "generation",
        *(path for path in old if path.endswith("record.json") and "tri" in path and is_first),
    }
    expected = old_answers(old_study)["trials"]
    assert [read_record(old_study, number) for number in range(len(expected))] == expected
    if is_first:
        assert stored["settings"]["student"]["enet"] == {"width": 0.0625, "blocks": [1, 1]}
    else:
        affinity, attention = stored["settings"]["distill"]["affinity"], stored["settings"]["distill"]["attention"]
        assert (affinity["start"], affinity["ramp"], affinity["decay"]) == (0.0, 0.25, 0.0)  # a warm-up
        assert (attention["start"], attention["ramp"], attention["decay"]) == (0.0, 0.0, 1.0)  # a cosine
        assert stored["settings"]["distill"]["balance"] == "none"  # the default of that release
    assert "width" not in stored["settings"]["student"]
    begun(old_study)
    assert len(folder.stored()["study"]["changes"]) == len(changes)


@pytest.mark.parametrize("old_study", [name for name in STUDIES if STUDIES[name] == "study-v1"], indirect=True)
def test_a_begin_that_was_killed_between_records_and_settings_is_begun_again(
    old_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only version 1 has records to rewrite."""
    whole = Path(shutil.copytree(old_study, tmp_path / "other" / old_study.name))
    begun(whole)
    folder = StudyFolder(str(old_study))
    write = folder.storage.write_bytes
    last = f"trials/{3:05d}/record.json"

    def dies_after_a_record(path: str, data: bytes) -> None:
        write(path, data)
        if path == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(folder.storage, "write_bytes", dies_after_a_record)
    plan = load_study(study_file(old_study)).with_defaults(folder.defaults)
    with pytest.raises(KeyboardInterrupt):
        folder.begin(plan.settings.model_dump(mode="json"), plan.space.tables(), "a" * 64)
    assert StudyFolder(str(old_study)).stored()["study"]["version"] == 1
    assert status(StudyFolder(str(old_study))) == old_answers(old_study)["status"]
    begun(old_study)
    differing = {path for path, known in tree_hash(whole).items() if tree_hash(old_study)[path] != known}
    assert differing <= {"study.toml"}  # its changes have a time


@pytest.mark.ray
def test_run_with_the_old_study_file_goes_on(command: Command, tmp_path: Path) -> None:
    """Trial 4 goes on from the old release's checkpoint; finished trials stay as they are."""
    study, file = Path(shutil.copytree(golden("plain"), tmp_path / "plain")), study_file(Path("plain"))
    finished = {path: path.read_bytes() for path in study.glob("trials/*/history.jsonl") if "00004" not in str(path)}
    first = read_history(study, 4)
    assert (len(finished), len(first)) == (5, 1)
    output = command.run(
        "run", str(file), "--study", str(study), "--set", "search.num_trials=7", "--set", "search.twin=false"
    )
    assert f"{file}: student.width is now student.erfnet.width, student.enet.width, student.resnet18.width" in output
    assert f"{file}: student.blocks is now student.erfnet.blocks, student.enet.blocks" in output
    assert "trial 4 resumed: network=erfnet, width=0.125, blocks=[1, 2]" in output
    assert {path: path.read_bytes() for path in finished} == finished
    history = read_history(study, 4)
    assert history[0] == first[0]
    assert len(history) > 1
    assert command.json("status", str(study))["finished"] == 7
    assert set(read_record(study, 6)["point"]) >= {"student.network"}
    assert "student.width" not in (study / "trials/00006/record.json").read_text()
    assert StudyFolder(str(study)).stored()["study"]["version"] == STUDY_VERSION
