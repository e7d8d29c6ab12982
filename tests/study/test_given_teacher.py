"""What comes before the trials, with training and measuring made up: given teachers, and the plain student."""

from pathlib import Path
from typing import Any

import pytest
import torch

from intra_search.config.parsing import with_overrides
from intra_search.config.space import Space
from intra_search.config.study import StudySettings
from intra_search.config.study_file import StudyPlan, parse_study
from intra_search.errors import CheckpointError
from intra_search.networks.build import NetworkRecipe
from intra_search.networks.checkpoint import load_network
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.ledger import HistoryRow, checkpoint_epochs
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder
from intra_search.study import plain_student, teacher
from intra_search.study.checks import check_init
from intra_search.study.context import StudyContext
from intra_search.study.given_teacher import check_released
from intra_search.study.plain_student import PlainStudent
from intra_search.training import worker
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training
from tests.networks.test_released import as_theirs, saved
from tests.study.contexts import Notes, context_of
from tests.tiny_study import tiny_settings


def alone(folder: StudyFolder, settings: StudySettings, notes: Notes, generation: int = 1) -> StudyContext:
    """The context of a study without a space."""
    return context_of(folder, StudyPlan(settings, Space(settings, {})), notes, generation)


BIAS = "head.4.bias"
"""Of the teacher's classifier."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study whose teachers score 0.3."""
    monkeypatch.setattr(worker, "measure_checkpoint", lambda *_, **__: 0.3)
    return StudyFolder(str(tmp_path / "study"))


def authors_file(settings: StudySettings, path: Path) -> str:
    torch.manual_seed(0)
    num_classes = len(open_scenes(settings.scenes, "train").classes)
    options = settings.teacher.options.model_dump()
    network = NetworkRecipe(settings.teacher.network, num_classes, options).build()
    return saved(path, as_theirs(network))


def test_a_file_of_the_authors_becomes_a_checkpoint_of_the_study(
    folder: StudyFolder, roads: Path, tmp_path: Path
) -> None:
    settings = with_overrides(tiny_settings(roads), {"teacher.options.layout": "authors"})
    uri = authors_file(settings, tmp_path / "teacher.pth.tar")
    settings = with_overrides(settings, {"teacher.checkpoint": uri})
    notes = Notes()
    found = teacher.ensure(alone(folder, settings, notes))
    assert found.score == 0.3
    assert notes == [f"teacher taken from {uri}: val/miou 0.3000 on this study's val"]
    network, about = load_network(folder.storage, found.checkpoint)
    assert torch.equal(network.state_dict()[BIAS], check_released(settings).state_dict()[BIAS])
    assert about["network"]["options"]["layout"] == "authors"
    Path(uri).unlink()  # the study is whole without it
    assert teacher.ensure(alone(folder, settings, notes, generation=2)) == found
    record = folder.teacher(found.folder).read()
    assert (record.source, record.history, record.device_seconds) == (uri, [], 0.0)
    assert folder.storage.read_json(f"{found.folder}/record.json")["from"] == uri


def test_a_file_that_does_not_fit_is_refused(roads: Path, tmp_path: Path) -> None:
    settings = with_overrides(tiny_settings(roads), {"teacher.options.layout": "authors"})
    uri = authors_file(settings, tmp_path / "teacher.pth")
    paper = with_overrides(settings, {"teacher.checkpoint": uri, "teacher.options.layout": "paper"})
    with pytest.raises(CheckpointError, match=r'set teacher.options.layout = "authors"'):
        check_released(paper)


def test_an_own_checkpoint_is_scored_on_this_study(folder: StudyFolder, roads: Path, tmp_path: Path) -> None:
    """What it scored where it was trained may be of other scenes."""
    settings = tiny_settings(roads)
    training = Training(teacher_job(str(tmp_path / "other"), "teacher/t", 1, settings))
    row = training.run_epoch()
    uri = Storage(tmp_path / "other").full_path("teacher/t/gen-1/checkpoint-000001")
    given = with_overrides(settings, {"teacher.checkpoint": uri})
    found = teacher.ensure(alone(folder, given, Notes()))
    assert found.score == 0.3 != row["val/miou"]
    adopted, _ = load_network(folder.storage, found.checkpoint)
    assert torch.equal(adopted.state_dict()[BIAS], training.network.state_dict()[BIAS])


def plan(roads: Path, *overrides: str, text: str = "") -> StudyPlan:
    space = text or '[space."distill.affinity.weight"]\nkind = "float"\nlow = 0.1\nhigh = 1.0\n'
    return parse_study(f'[scenes]\ndataset = "folder"\nroot = "{roads}"\n{space}', "f", overrides)


def test_a_search_without_a_plain_trial_trains_the_plain_student_once(
    folder: StudyFolder, roads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[TrainingJob] = []

    def train(job: TrainingJob, **_: object) -> list[dict[str, Any]]:
        jobs.append(job)
        return [{"epoch": epoch, "val/miou": value, "seconds": 2.0} for epoch, value in ((1, 0.2), (2, 0.4), (3, None))]

    monkeypatch.setattr(worker, "train_alone", train)
    notes = Notes()
    for _ in range(2):
        assert plain_student.ensure(context_of(folder, plan(roads), notes)) == PlainStudent(0.4, 3)
    assert len(jobs) == 1
    assert not jobs[0].settings.distill.enabled
    assert jobs[0].folder == "plain"
    assert len(notes) == 1
    assert folder.device_seconds([])["teacher"] == 6.0


def test_no_plain_student_is_trained_where_a_trial_is_one_or_nothing_is_searched(
    folder: StudyFolder, roads: Path
) -> None:
    switch = '[space."distill.enabled"]\nkind = "choice"\nvalues = [true, false]\n'
    for given in (
        plan(roads, text=switch),
        plan(roads, text="[search]\nnum_trials = 1\n"),
        plan(roads, "teacher.allow_weak=true"),
    ):
        assert plain_student.ensure(context_of(folder, given, Notes())) is None


def test_kept_epochs_are_named_and_those_gone_before_they_were_asked_for_too(
    folder: StudyFolder, roads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = {"teacher.training.epochs": 5}

    def train(job: TrainingJob, **_: object) -> list[HistoryRow]:
        training = Training(job)
        while not training.finished:
            training.run_epoch()
        return training.history

    monkeypatch.setattr(worker, "train_alone", train)
    settings, notes = with_overrides(tiny_settings(roads), {**epochs, "teacher.keep_epochs": (1,)}), Notes()
    home = teacher.ensure(alone(folder, settings, notes)).folder
    kept = folder.storage.full_path(f"{home}/gen-1/checkpoint-000001")
    assert notes[-1] == f"kept of the teacher's training, each fit for teacher.checkpoint: {kept}"
    given = with_overrides(tiny_settings(roads), {"teacher.checkpoint": kept})
    check_init(given, open_scenes(given.scenes, "train"), with_teacher=True)
    for epoch in {2, 3} - set(checkpoint_epochs(folder.storage, f"{home}/gen-1")):
        later, said = with_overrides(settings, {"teacher.keep_epochs": (epoch,)}), Notes()
        assert teacher.ensure(alone(folder, later, said, generation=2)).folder == home  # not trained again
        assert said[0].startswith(f"teacher.keep_epochs: no checkpoint of epoch {epoch}, since")
        break
    else:
        pytest.fail("nothing was pruned")
