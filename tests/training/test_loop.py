"""The training loop on tiny roads: exact resume, damaged checkpoints, divergence, stored against live knowledge."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from intra_search.config.objectives import Objectives
from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.errors import CheckpointError, SceneError, SettingError
from intra_search.networks.checkpoint import load_checkpoint, load_network
from intra_search.store.ledger import checkpoint_epochs, checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training.failures import DivergedError
from intra_search.training.job import TrainingJob, student_job, teacher_job
from intra_search.training.loop import Training
from tests.tiny_study import tiny_settings, tiny_tree

UNTIMED = ("seconds", "train_seconds")


def job(study: Path, settings: StudySettings, generation: int = 1, teacher: str = "") -> TrainingJob:
    return student_job(str(study), 0, "trials/00000", generation, settings, knowledge=None, teacher=teacher)


def plain(root: Path, **groups: dict[str, object]) -> StudySettings:
    return with_overrides(tiny_settings(root, **groups), {"distill.enabled": False})


def untimed(training: Training) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key not in UNTIMED} for row in training.history]


def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads, training={"epochs": 3, "batch_size": 2, "amp": "off"})
    whole = Training(job(tmp_path / "whole", settings))
    while not whole.finished:
        whole.run_epoch()
    for generation in (1, 2, 3):  # a new process after every epoch
        torch.manual_seed(generation)  # another state of the global generator each time
        part = Training(job(tmp_path / "parts", settings, generation))
        assert len(part.history) == generation - 1
        part.run_epoch()
    assert part.finished
    assert untimed(part) == untimed(whole)
    assert [row["epoch"] for row in part.history] == [1, 2, 3]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, part.network.state_dict()[name]), name


def test_a_damaged_newest_checkpoint_falls_back_one_and_says_so(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads, training={"epochs": 3, "batch_size": 2, "amp": "off"})
    training = Training(job(tmp_path, settings))
    training.run_epoch()
    training.run_epoch()
    newest = tmp_path / "trials/00000/gen-1" / checkpoint_name(2) / "network.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    resumed = Training(job(tmp_path, settings, generation=2))
    assert len(resumed.history) == 1
    assert any("falling back to an older checkpoint" in note for note in resumed.notes)


def test_a_later_generations_checkpoint_is_not_read(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads)
    Training(job(tmp_path, settings, generation=5)).run_epoch()
    assert Training(job(tmp_path, settings, generation=4)).history == []


def test_a_zombies_later_epoch_in_an_older_generation_is_not_read(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads, training={"epochs": 9, "batch_size": 2, "amp": "off"})
    old = Training(job(tmp_path, settings, generation=9))
    old.run_epoch()
    Training(job(tmp_path, settings, generation=10)).run_epoch()
    for _ in range(3):
        old.run_epoch()  # it does not know that its driver is gone
    assert len(Training(job(tmp_path, settings, generation=11)).history) == 2


def test_only_newest_last_but_one_and_best_checkpoints_stay(roads: Path, tmp_path: Path) -> None:
    training = Training(job(tmp_path, plain(roads, training={"epochs": 5, "batch_size": 2, "amp": "off"})))
    while not training.finished:
        training.run_epoch()
    best = max(training.history, key=lambda row: row["val/miou"])["epoch"]
    kept = Storage(tmp_path).names("trials/00000/gen-1")
    assert kept == sorted({checkpoint_name(epoch) for epoch in (4, 5, best)})


def test_training_learns(roads: Path, tmp_path: Path) -> None:
    training = Training(job(tmp_path, plain(roads, training={"epochs": 12, "batch_size": 2, "learning_rate": 0.01})))
    while not training.finished:
        training.run_epoch()
    first, last = training.history[0], training.history[-1]
    assert last["train/ce"] < 0.7 * first["train/ce"]


def test_a_loss_that_is_not_finite_ends_the_training(roads: Path, tmp_path: Path) -> None:
    training = Training(job(tmp_path, plain(roads)))
    with torch.no_grad():
        next(iter(training.network.parameters())).fill_(torch.nan)
    with pytest.raises(DivergedError, match=r"train/loss, train/ce is not finite at epoch 1, step 1"):
        training.run_epoch()
    assert Storage(tmp_path).names("trials/00000") == []


def test_bfloat16_autocast_trains_on_the_cpu(roads: Path, tmp_path: Path) -> None:
    exact = Training(job(tmp_path / "exact", plain(roads))).run_epoch()
    mixed = Training(job(tmp_path / "mixed", with_overrides(plain(roads), {"training.amp": "bf16"}))).run_epoch()
    assert mixed["train/ce"] == pytest.approx(exact["train/ce"], rel=0.05)
    assert mixed["train/ce"] != exact["train/ce"]


@pytest.fixture(scope="module")
def teacher(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    study = tmp_path_factory.mktemp("study")
    Training(teacher_job(str(study), "teacher/t", 1, tiny_settings(roads))).run_epoch()
    return study, f"teacher/t/gen-1/{checkpoint_name(1)}"


def test_a_live_teacher_adds_its_terms(roads: Path, teacher: tuple[Path, str]) -> None:
    study, checkpoint = teacher
    settings = with_overrides(tiny_settings(roads), {"knowledge.mode": "live", "distill.balance": "none"})
    row = Training(job(study, settings, teacher=checkpoint)).run_epoch()
    parts = row["train/ce"] + 0.1 * row["train/affinity"] + 0.1 * row["train/attention"]
    assert row["train/affinity"] > 0
    assert row["train/attention"] > 0
    assert row["train/loss"] == pytest.approx(parts, rel=1e-5)


def test_distillation_leaves_the_teacher_alone(roads: Path, teacher: tuple[Path, str]) -> None:
    study, checkpoint = teacher
    settings = with_overrides(tiny_settings(roads), {"knowledge.mode": "live"})
    training = Training(job(study, settings, generation=9, teacher=checkpoint)._replace(folder="trials/00009"))
    held = training._teacher
    assert held is not None
    before = {name: value.clone() for name, value in held.state_dict().items()}
    training.run_epoch()
    assert_close(held.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in held.parameters())


def test_init_starts_from_a_checkpoint_of_the_same_network(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads)
    Training(job(tmp_path / "first", settings)).run_epoch()
    uri = str(tmp_path / "first/trials/00000/gen-1" / checkpoint_name(1))
    started = Training(job(tmp_path / "second", with_overrides(settings, {"student.init": uri})))
    expected, _ = load_network(Storage(uri), "")
    assert_close(started.network.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_init_from_another_architecture_is_refused(roads: Path, tmp_path: Path) -> None:
    settings = plain(roads)
    Training(job(tmp_path / "first", settings)).run_epoch()
    uri = str(tmp_path / "first/trials/00000/gen-1" / checkpoint_name(1))
    wider = with_overrides(settings, {"student.init": uri, "student.erfnet.width": 0.5})
    with pytest.raises(CheckpointError, match=r"student.init = .*must hold the same network"):
        Training(job(tmp_path / "second", wider))


def test_a_missing_feature_is_refused_by_name(roads: Path, teacher: tuple[Path, str]) -> None:
    study, checkpoint = teacher
    settings = with_overrides(tiny_settings(roads), {"distill.layers": [["block9", "block5"]]})
    with pytest.raises(SettingError, match=r"distill.layers: .*block9"):
        Training(job(study, settings, teacher=checkpoint)._replace(folder="trials/00010"))


def test_a_checkpoint_says_what_it_is(roads: Path, tmp_path: Path) -> None:
    Training(job(tmp_path, plain(roads))).run_epoch()
    about = load_checkpoint(Storage(tmp_path), f"trials/00000/gen-1/{checkpoint_name(1)}").about
    no_lanes = {"num_lanes": 0, "input_size": None}
    assert about["network"] == {
        "name": "erfnet",
        "num_classes": 3,
        "options": {"width": 0.25, "blocks": [1, 1]},
        **no_lanes,
    }
    assert [row["name"] for row in about["classes"]] == ["background", "line", "dash"]
    assert about["epoch"] == 1
    assert len(about["history"]) == 1


@pytest.mark.parametrize("processes", [0, 2])
def test_a_scene_damaged_meanwhile_is_named_also_from_a_loader_process(
    own_roads: Path, tmp_path: Path, processes: int
) -> None:
    settings = plain(own_roads, resources={"loader_processes": processes, "gpus_per_worker": 0})
    training = Training(job(tmp_path / "study", settings))
    for picture in (own_roads / "images").iterdir():
        picture.write_bytes(b"no picture")
    with pytest.raises(SceneError, match=r"road\d+.png"):
        training.run_epoch()


def test_a_compiled_network_trains_as_the_plain_one(roads: Path, tmp_path: Path) -> None:
    """`training.compile`, by the same path; its first step compiles for some ten seconds."""
    settings = plain(roads, training={"epochs": 1, "batch_size": 2, "amp": "off"})
    expected = Training(job(tmp_path / "plain", settings)).run_epoch()
    compiled = Training(job(tmp_path / "compiled", with_overrides(settings, {"training.compile": True})))
    found = compiled.run_epoch()
    assert found["train/ce"] == pytest.approx(expected["train/ce"], rel=0.1)  # dropout draws other numbers
    names = Storage(tmp_path / "compiled").names("trials/00000/gen-1")
    weights = load_checkpoint(Storage(tmp_path / "compiled"), f"trials/00000/gen-1/{names[0]}").network
    assert not any("_orig_mod" in name for name in weights)  # a plain network can load it


def test_asked_epochs_of_the_teacher_are_kept_and_a_students_are_pruned_as_ever(roads: Path, tmp_path: Path) -> None:
    """Always kept are the newest two and the best."""
    training = {"epochs": 6, "batch_size": 2, "amp": "off"}
    teacher = {**tiny_tree(roads)["teacher"], "training": training, "keep_epochs": [1, 3]}
    settings = with_overrides(tiny_settings(roads, teacher=teacher, training=training), {"distill.enabled": False})
    for made, asked in (
        (teacher_job(str(tmp_path / "t"), "home", 1, settings), {1, 3}),
        (job(tmp_path, settings), set()),
    ):
        trained = Training(made)
        while not trained.finished:
            trained.run_epoch()
        best = Objectives.of(settings).best_epoch(trained.history)
        assert set(checkpoint_epochs(Storage(made.study), made.output_folder)) == {5, 6, best} | asked
