"""Validation: counts are summed over all workers, then scores are computed from them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from intra_search.config.search import OFFICIAL_METRICS
from intra_search.config.study import StudySettings
from intra_search.deploy.benchmark import HEADLINES, SCORERS, FrameScorer
from intra_search.deploy.submission import Prediction, predictions
from intra_search.distill.workers import Workers
from intra_search.metrics.segmentation import SegmentationScores, confusion_matrix, segmentation_scores
from intra_search.networks.input import normalise
from intra_search.networks.output import NetworkOutput
from intra_search.networks.placement import Placement
from intra_search.scenes.scene_set import SceneSet
from intra_search.training.batches import EvaluationBatch, evaluation_loader

_CERTAIN = 30.0
"""A logit so large that its softmax, with 0 for all other classes, is 1 in float32."""


class Background(nn.Module):
    """Predicts class 0 everywhere, and no lane: every useful network scores higher."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._num_classes = num_classes

    def forward(self, images: Tensor) -> NetworkOutput:
        """Images (B, 3, H, W)."""
        logits = images.new_zeros(len(images), self._num_classes, *images.shape[2:])
        logits[:, 0] = _CERTAIN
        return NetworkOutput(logits, {})


def validate(
    network: nn.Module,
    scenes: SceneSet,
    settings: StudySettings,
    place: Placement,
    workers: Workers,
    *,
    batch_size: int,
) -> dict[str, float | None]:
    """Scores of a network, under the keys of a history row; None for classes that do not occur.

    They are taken at the network's input size. If the search maximises the benchmark's own metric, that is added, taken
    on whole frames. Leaves the network in eval mode. All workers get the same scores.
    """
    scorer = official_scorer(settings)
    loader = evaluation_loader(
        scenes,
        batch_size,
        workers,
        num_processes=settings.resources.loader_processes,
        pin=place.device.type == "cuda",
        whole_frames=scorer is not None,
    )
    counts = confusion(network, loader, len(scenes.classes), place, workers, scorer)
    names = tuple(scene_class.name for scene_class in scenes.classes)
    row = _score_row(segmentation_scores(counts.cpu()), names)
    return row if scorer is None else row | _official_row(scorer, settings.scenes.dataset)


@torch.inference_mode()
def confusion(
    network: nn.Module,
    loader: DataLoader[EvaluationBatch],
    num_classes: int,
    place: Placement,
    workers: Workers,
    scorer: FrameScorer | None = None,
) -> Tensor:
    """Confusion counts (K, K), rows truth, summed over the scenes of all workers. Leaves the network in eval mode.

    `scorer` also counts the batches' whole frames, and its counts are summed over workers, too."""
    network.eval()
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=place.device)
    for batch in loader:
        with place.autocast():
            output: NetworkOutput = network(normalise(place.images(batch.images)))
        total += confusion_matrix(place.labels(batch.labels), output.logits.argmax(dim=1), num_classes)
        if scorer is not None:
            _score_frames(scorer, batch, output)
    if scorer is not None:
        totals = torch.from_numpy(scorer.totals).to(place.device)
        scorer.totals = workers.all_reduce(totals).cpu().numpy()
    return workers.all_reduce(total)


def _score_frames(scorer: FrameScorer, batch: EvaluationBatch, output: NetworkOutput) -> None:
    sizes = [(frame.labels.shape[0], frame.labels.shape[1]) for frame in batch.frames]
    found: list[Prediction] = predictions(output, sizes, [frame.cut for frame in batch.frames])
    for frame, prediction in zip(batch.frames, found, strict=True):
        scorer.add(frame.name, frame.labels, prediction)


def official_scorer(settings: StudySettings) -> FrameScorer | None:
    """The scorer of the benchmark's own metric, if one of the search's objectives is; else None."""
    if not set(settings.search.objectives) & set(OFFICIAL_METRICS):
        return None
    return SCORERS[settings.scenes.dataset](settings.scenes)


def _score_row(scores: SegmentationScores, class_names: tuple[str, ...]) -> dict[str, float | None]:
    row: dict[str, float | None] = {"val/miou": scores.miou, "val/pixel_accuracy": scores.pixel_accuracy}
    row.update({f"val/iou/{name}": iou for name, iou in zip(class_names, scores.class_iou, strict=True)})
    return row


def _official_row(scorer: FrameScorer, dataset: str) -> dict[str, float | None]:
    found: Any = scorer.to_json()
    return {f"val/{name}": found[key] for name, key in HEADLINES[dataset].items()}
