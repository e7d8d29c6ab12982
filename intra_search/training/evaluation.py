"""Validation: confusion counts over all workers, then scores once."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from intra_search.metrics.segmentation import SegmentationScores, confusion_matrix, segmentation_scores
from intra_search.networks.input import normalise
from intra_search.networks.placement import Placement
from intra_search.training.world import World


@torch.inference_mode()
def confusion(
    network: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], num_classes: int, place: Placement, world: World
) -> Tensor:
    """Confusion counts (K, K), rows truth, summed over the scenes of all workers. Leaves the network in eval mode."""
    network.eval()
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=place.device)
    for images, labels in loader:
        with place.autocast():
            logits = network(normalise(place.images(images))).logits
        total += confusion_matrix(place.labels(labels), logits.argmax(dim=1), num_classes)
    return world.all_reduce(total)


def background_scores(loader: DataLoader[tuple[Tensor, Tensor]], num_classes: int) -> SegmentationScores:
    """What predicting class 0 everywhere scores: the least that a network must beat."""
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for _, labels in loader:
        total += confusion_matrix(labels, torch.zeros_like(labels), num_classes)
    return segmentation_scores(total)


def score_row(scores: SegmentationScores, class_names: tuple[str, ...]) -> dict[str, float | None]:
    """Scores under the keys of a history row; absent classes are None."""
    row: dict[str, float | None] = {"val/miou": scores.miou, "val/pixel_accuracy": scores.pixel_accuracy}
    row.update({f"val/iou/{name}": iou for name, iou in zip(class_names, scores.class_iou, strict=True)})
    return row
