"""Stored answers and a live teacher train the same student: the same curve of every loss over three epochs.

Computed in float64, where the only difference left is that of the store. In float32 the two curves are equal to 1e-6
until a ReLU whose input is almost zero falls to the other side; from there on they part by up to 1e-3 (measured: in
three of five trainings within three epochs), as two trainings on different numbers of threads do.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from intra_search.config.settings import StudySettings, with_overrides
from intra_search.distill.needs import MapNeed, teacher_answers
from intra_search.distill.objective import needs_of
from intra_search.networks.checkpoint import load_network
from intra_search.networks.input import normalise
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training import batches
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training
from tests.tiny_study import tiny_settings

VIEWS = 2
RECIPE = {"scale": [0.8, 1.5], "rotation": 10.0, "colour": 0.3}
GRAPHS = {"distill.attention.weight": 0.0, "distill.affinity.weight": 1.0, "distill.affinity.orders": [1, 2, 3]}
MAPS = {"distill.attention.weight": 1.0, "distill.affinity.weight": 0.0}


class Answered:
    """The teacher's answers about all views, asked in batches of another composition and kept as a store keeps them:
    graphs in float32, maps in float16."""

    def __init__(self, study: Path, teacher: str, settings: StudySettings, shift: int) -> None:
        self._shift = shift
        network, _ = load_network(Storage(study), teacher)
        scenes = open_scenes(settings.scenes, "train")
        needs = needs_of(settings.distill)
        halved = {need.key for need in needs if isinstance(need, MapNeed)}
        views = [(scene, view) for scene in range(len(scenes)) for view in range(VIEWS)]
        self._rows: dict[tuple[int, int], dict[str, Tensor]] = {}
        for at in range(0, len(views), 5):
            drawn = [scenes.view(*view, settings.seed) for view in views[at : at + 5]]
            labels = torch.stack([view.labels for view in drawn])
            with torch.no_grad():
                output = network(normalise(torch.stack([view.image for view in drawn])))
                answers = teacher_answers(needs, output, labels, len(scenes.classes))
            for row, view in enumerate(views[at : at + 5]):
                self._rows[view] = {key: _kept(answer[row], half=key in halved) for key, answer in answers.items()}

    def answers(self, scene: int, view: int) -> Mapping[str, Tensor]:
        return self._rows[scene, (view + self._shift) % VIEWS]


def _kept(answer: Tensor, *, half: bool) -> Tensor:
    return answer.half() if half else answer


@pytest.fixture(scope="module")
def teacher(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    study = tmp_path_factory.mktemp("study")
    Training(teacher_job(str(study), "teacher/t", 1, tiny_settings(roads))).run_epoch()
    return study, f"teacher/t/gen-1/{checkpoint_name(1)}"


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def curve(job: TrainingJob) -> list[dict[str, Any]]:
    training = Training(job)
    while not training.finished:
        training.run_epoch()
    return training.history


Curve = list[dict[str, Any]]


@pytest.fixture
def curves(
    roads: Path, teacher: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Curve, Curve]]:
    """Trains with stored answers, about `shift` views further, and live."""
    study, checkpoint = teacher
    loader = batches.training_loader

    def trained(terms: dict[str, object], epochs: int, shift: int = 0) -> tuple[Curve, Curve]:
        training = {"epochs": epochs, "batch_size": 2, "amp": "off", "optimizer": "sgd", "learning_rate": 0.01}
        base = tiny_settings(roads, training=training, knowledge={"mode": "live"})
        recipe = {f"scenes.augment.{name}": value for name, value in RECIPE.items()}
        settings = with_overrides(base, {"scenes.views": VIEWS, **recipe, **terms})
        folder = f"trials/{uuid.uuid4().hex}"
        job = TrainingJob(str(study), f"{folder}-live", 1, "student", settings, 7, teacher=checkpoint)
        live = curve(job)
        stored = Answered(study, checkpoint, settings, shift)

        def with_answers(scenes: Any, order: Any, knowledge: object, *arguments: Any, **options: Any) -> Any:
            return loader(scenes, order, stored, *arguments, **options)

        monkeypatch.setattr("intra_search.training.loop.training_loader", with_answers)
        read = curve(job._replace(folder=f"{folder}-stored", teacher=None))
        monkeypatch.undo()
        return read, live

    return trained


@pytest.mark.parametrize(("terms", "term", "tolerance"), [(GRAPHS, "affinity", 1e-5), (MAPS, "attention", 1e-3)])
def test_the_curves_are_the_same(curves: Any, terms: dict[str, object], term: str, tolerance: float) -> None:
    read, live = curves(terms, epochs=3)
    for stored_row, live_row in zip(read, live, strict=True):
        losses = [key for key in live_row if key.startswith("train/")]
        assert {"train/loss", "train/ce", f"train/{term}"} <= set(losses)
        for key in losses:
            assert stored_row[key] == pytest.approx(live_row[key], rel=tolerance), key
    assert live[0]["train/loss"] != live[-1]["train/loss"]
    assert read[-1] != live[-1]  # neither read the other's checkpoints


@pytest.mark.parametrize(("terms", "term", "tolerance"), [(GRAPHS, "affinity", 1e-5), (MAPS, "attention", 1e-3)])
def test_answers_about_the_wrong_view_show(curves: Any, terms: dict[str, object], term: str, tolerance: float) -> None:
    read, live = curves(terms, epochs=1, shift=1)
    assert read[0][f"train/{term}"] != pytest.approx(live[0][f"train/{term}"], rel=5 * tolerance)
