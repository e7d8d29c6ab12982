"""Stored answers and a live teacher train the same student: the same curve of every loss over three epochs.

Computed in float64, where the only difference left is that of the store. In float32 the two curves are equal to 1e-6
until the input of some unit, almost zero, gets the other sign; from then on they differ, the cross-entropy by up to
1e-3 (in three of five trainings within three epochs).
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from intra_search.config.parsing import with_overrides
from intra_search.distill.needs import Need, StoredForm, teacher_answers
from intra_search.knowledge.answering import stored_forms
from intra_search.knowledge.reader import KnowledgeReader
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training import loop
from intra_search.training.job import TrainingJob, teacher_job
from intra_search.training.loop import Training
from tests.knowledge.conftest import TaughtStudy, extract_here
from tests.tiny_study import tiny_settings

VIEWS = 2
RECIPE = {"scale": [0.8, 1.5], "rotation": 10.0, "colour": 0.3}
GRAPHS = {"distill.attention.weight": 0.0, "distill.affinity.weight": 1.0, "distill.affinity.orders": [1, 2, 3]}
FRAMES = {"scenes.unlabelled": ["synthetic:5"], "scenes.pseudo_labels": 0.4}
MAPS = {"distill.attention.weight": 1.0, "distill.affinity.weight": 0.0}


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


def rounded_answers(needs: frozenset[Need], *about: Any) -> dict[str, Tensor]:
    answers = teacher_answers(needs, *about)
    forms = stored_forms(needs, answers)

    def as_stored(answer: Tensor, form: StoredForm) -> Tensor:
        return answer if answer.dtype == torch.bool else (answer * form.scale).to(form.dtype).float() / form.scale

    return {name: as_stored(answer, forms[name]) for name, answer in answers.items()}


@pytest.fixture
def curves(
    roads: Path, teacher: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Curve, Curve]]:
    """Trains with stored answers, about `shift` views further, and live.

    `rounded`: the live answers are rounded as stored ones are. Else the rounding of maps, which are stored in half
    precision, grows as training goes on.
    """
    study, checkpoint = teacher
    answers = KnowledgeReader.answers

    def trained(terms: dict[str, object], epochs: int, shift: int = 0, *, rounded: bool = False) -> tuple[Curve, Curve]:
        training = {"epochs": epochs, "batch_size": 2, "amp": "off", "optimizer": "sgd", "learning_rate": 0.01}
        base = tiny_settings(roads, training=training, knowledge={"mode": "live"})
        recipe = {f"scenes.augment.{name}": value for name, value in RECIPE.items()}
        settings = with_overrides(base, {"scenes.views": VIEWS, **recipe, **terms})
        folder = f"trials/{uuid.uuid4().hex}"
        job = TrainingJob(str(study), f"{folder}-live", 1, "student", settings, 7, teacher=checkpoint)
        with monkeypatch.context() as patch:
            if rounded:
                patch.setattr(loop, "teacher_answers", rounded_answers)
            live = curve(job)
        taught = TaughtStudy(Storage(study), checkpoint, settings)
        store = extract_here(taught)
        about_frames = extract_here(taught, unlabelled=True) if settings.scenes.unlabelled else None

        def shifted(self: KnowledgeReader, scene: int, view: int, keys: Set[str] | None = None) -> Mapping[str, Tensor]:
            return answers(self, scene, (view + shift) % VIEWS, keys)

        monkeypatch.setattr(KnowledgeReader, "answers", shifted)
        stored = job._replace(knowledge=store, unlabelled_knowledge=about_frames)
        read = curve(stored._replace(folder=f"{folder}-stored", teacher=None))
        monkeypatch.undo()
        return read, live

    return trained


@pytest.mark.parametrize(
    ("terms", "term", "rounded", "tolerance"),
    [
        (GRAPHS, "affinity", False, 1e-5),
        (GRAPHS | FRAMES, "affinity", False, 1e-5),
        (MAPS, "attention", True, 1e-5),
    ],
    ids=["graphs", "frames without labels", "maps"],
)
def test_the_curves_are_the_same(
    curves: Any, terms: dict[str, object], term: str, rounded: bool, tolerance: float
) -> None:
    read, live = curves(terms, epochs=3, rounded=rounded)
    for stored_row, live_row in zip(read, live, strict=True):
        losses = [key for key in live_row if key.startswith("train/")]
        assert {"train/loss", "train/ce", f"train/{term}"} <= set(losses)
        for key in losses:
            assert stored_row[key] == pytest.approx(live_row[key], rel=tolerance), key
    assert live[0]["train/loss"] != live[-1]["train/loss"]
    assert read[-1] != live[-1]  # neither read the other's checkpoints


def test_half_precision_of_maps_changes_an_epoch_by_less_than_a_thousandth(curves: Any) -> None:
    (read,), (live,) = curves(MAPS, epochs=1)
    for key in ("train/loss", "train/ce", "train/attention"):
        assert read[key] == pytest.approx(live[key], rel=1e-3), key


@pytest.mark.parametrize(("terms", "term", "tolerance"), [(GRAPHS, "affinity", 1e-5), (MAPS, "attention", 1e-3)])
def test_answers_about_the_wrong_view_show(curves: Any, terms: dict[str, object], term: str, tolerance: float) -> None:
    read, live = curves(terms, epochs=1, shift=1)
    assert read[0][f"train/{term}"] != pytest.approx(live[0][f"train/{term}"], rel=5 * tolerance)


@pytest.mark.parametrize("amp", ["bf16", "off"])
def test_a_live_teacher_answers_in_its_own_precision(roads: Path, teacher: tuple[Path, str], amp: str) -> None:
    """As where its answers are stored: the student's is another setting."""
    torch.set_default_dtype(torch.float32)
    study, path = teacher
    both = {"teacher.training.amp": amp, "training.amp": "off" if amp == "bf16" else "bf16"}
    settings = with_overrides(tiny_settings(roads), both)
    training = Training(TrainingJob(str(study), f"live-{amp}", 1, "student", settings, 0, teacher=path))
    seen: list[bool] = []
    assert training._teacher is not None
    training._teacher.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    training.run_epoch()
    assert set(seen) == {amp == "bf16"}
