"""Trainings on lanes: the existence branch learns beside the labels, and validation is the benchmark's own."""

from pathlib import Path

import pytest
import torch

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.deploy.benchmark import HEADLINES, score_split
from intra_search.deploy.prediction import Predictor
from intra_search.deploy.submission import predicted
from intra_search.errors import SettingError
from intra_search.networks.build import NetworkRecipe
from intra_search.networks.checkpoint import Checkpoint, initialise, load_network, save_checkpoint
from intra_search.networks.existence import LaneNetwork
from intra_search.networks.output import EXISTENCE
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training.job import TrainingJob, student_job, teacher_job
from intra_search.training.loop import Training
from tests.small_benchmarks import METRICS, SIZES
from tests.tiny_study import tiny_settings


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    for name, size in SIZES.items():
        draw_data_set(root / name, name, draw_order(name, 10, 0, *size))
    return root


def settings_of(drawn: Path, name: str, **training: object) -> StudySettings:
    return tiny_settings(
        drawn,
        scenes={"dataset": name, "root": str(drawn / name)},
        training={"epochs": 2, "batch_size": 2, **training},
        search={"objectives": [METRICS[name]]},
        distill={"enabled": False},
    )


def job(study: Path, settings: StudySettings, generation: int = 1) -> TrainingJob:
    return student_job(str(study), 0, "trials/00000", generation, settings, knowledge=None, teacher="")


@pytest.mark.parametrize("name", sorted(SIZES))
def test_validation_scores_are_those_of_the_submission_files(drawn: Path, tmp_path: Path, name: str) -> None:
    settings = settings_of(drawn, name)
    row = Training(job(tmp_path, settings)).run_epoch()
    predictor = Predictor(str(tmp_path / "trials/00000/gen-1" / checkpoint_name(1)))
    scenes = open_scenes(settings.scenes, "val")
    official = score_split(scenes, settings.scenes, lambda image: predicted(predictor, image))
    assert METRICS[name] == f"val/{next(iter(HEADLINES[name]))}"
    for metric, key in HEADLINES[name].items():
        # A probability half-way between two bytes of LLAMAS' images may be rounded otherwise alone than in a batch.
        relative = 1e-5 if name == "llamas" else 0.0
        assert row[f"val/{metric}"] == pytest.approx(official[key], rel=relative, abs=1e-9)
    assert ("train/existence" in row) == (name != "apolloscape")


def test_the_branch_learns_is_stored_and_resumes(drawn: Path, tmp_path: Path) -> None:
    settings = settings_of(drawn, "culane", epochs=6, learning_rate=0.01)
    whole = Training(job(tmp_path / "whole", settings))
    while not whole.finished:
        whole.run_epoch()
    assert whole.history[-1]["train/existence"] < whole.history[0]["train/existence"]
    for generation in (1, 2):
        part = Training(job(tmp_path / "parts", settings, generation))
        for _ in range(3):
            part.run_epoch()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, part.network.state_dict()[name]), name
    stored, _ = load_network(Storage(tmp_path / "whole/trials/00000/gen-1" / checkpoint_name(6)), "")
    assert stored(torch.zeros(1, 3, 32, 64)).features[EXISTENCE].shape == (1, 4)
    with pytest.raises(SettingError, match="use 32 x 64"):
        stored(torch.zeros(1, 3, 48, 64))


def test_the_teacher_has_the_branch_too_and_weight_0_leaves_it_out(drawn: Path, tmp_path: Path) -> None:
    settings = settings_of(drawn, "culane", existence_weight=0)
    teacher = Training(teacher_job(str(tmp_path / "teacher"), "teacher/t", 1, settings))
    assert isinstance(teacher.network, LaneNetwork)
    student = Training(job(tmp_path / "student", settings))
    assert not isinstance(student.network, LaneNetwork)
    assert "train/existence" not in student.run_epoch()


def test_weights_pass_between_networks_with_and_without_the_branch(drawn: Path, tmp_path: Path) -> None:
    for name, weight in (("without", 0), ("with", 0.1)):
        settings = settings_of(drawn, "culane", existence_weight=weight)
        Training(job(tmp_path / name, settings)).run_epoch()
    for source, target in (("without", "with"), ("with", "without")):
        start = str(tmp_path / source / "trials/00000/gen-1" / checkpoint_name(1))
        known, _ = load_network(Storage(start), "")
        network, _ = load_network(Storage(tmp_path / target / "trials/00000/gen-1" / checkpoint_name(1)), "")
        left = initialise(network, start, "student.init")
        assert all(name.startswith("branch.") for name in left)
        assert bool(left) == (target == "with")
        images = torch.randn(1, 3, 32, 64)
        assert torch.equal(network(images).logits, known(images).logits)


def test_a_start_without_the_branch_fits_a_small_network_with_it(tmp_path: Path) -> None:
    """At 208 x 976 the branch's hidden layer outweighs an ERFNet of half width; it says nothing of the architecture."""
    plain = NetworkRecipe("erfnet", 5, {"width": 0.5, "blocks": (3, 6)})
    start = save_checkpoint(
        Storage(tmp_path), "start", 1, Checkpoint(plain.build().state_dict(), {}, {"network": plain._asdict()})
    )
    lanes = plain._replace(num_lanes=4, input_size=(208, 976)).build()
    left = initialise(lanes, str(tmp_path / start), "student.init")
    assert left
    assert all(name.startswith("branch.") for name in left)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"search.objectives": ["val/f1"], "scenes.dataset": "llamas"}, "val/f1 is a metric of culane, found llamas"),
        ({"scenes.classes": "category"}, "val/f1 needs scenes.classes = fine"),
        ({"search.objectives": ["val/iou"]}, "val/miou"),
    ],
)
def test_an_objective_of_other_scenes_is_refused(drawn: Path, changes: dict[str, object], rule: str) -> None:
    with pytest.raises(SettingError, match=rule):
        with_overrides(settings_of(drawn, "culane"), changes)
