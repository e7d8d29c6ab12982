"""What a student learns from frames without labels: the teacher's own map of classes takes the labels' place."""

# B images, K classes, H W view height and width

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from intra_search.config.scenes import ScenesSettings
from intra_search.config.study import StudySettings
from intra_search.distill.loss import needs_of
from intra_search.distill.needs import Need, StoredForm
from intra_search.distill.unit import full_precision
from intra_search.errors import SettingError
from intra_search.networks.output import NetworkOutput
from intra_search.scenes.labels import IGNORED

LEVELS = 2**14
"""Steps of a confidence: stored and live confidences are the same numbers, so they pass the same thresholds."""


@dataclass(frozen=True)
class RegionsNeed(Need):
    """What the terms take as labels: (B, H, W), stored as bytes."""

    @property
    def key(self) -> str:
        return "regions"

    @property
    def stored_form(self) -> StoredForm:
        return StoredForm(torch.uint8)

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: labels}


@dataclass(frozen=True)
class ConfidenceNeed(Need):
    """The teacher's largest probability at each pixel: (B, H, W). A need of its own, as only pseudo-labels read it."""

    @property
    def key(self) -> str:
        return "confidence"

    @property
    def stored_form(self) -> StoredForm:
        return StoredForm(torch.int16, LEVELS)

    def answer(
        self, alike: Sequence[Need], teacher: NetworkOutput, labels: Tensor, num_classes: int
    ) -> dict[str, Tensor]:
        return {self.key: confidence(teacher.logits)}


REGIONS, CONFIDENCE = RegionsNeed(), ConfidenceNeed()


class Asked(NamedTuple):
    """What a student asks of the teacher."""

    labelled: frozenset[Need]
    """About labelled frames."""
    unlabelled: frozenset[Need]
    """About frames without labels; empty where it trains on none."""

    @property
    def anything(self) -> bool:
        return bool(self.labelled or self.unlabelled)


NOTHING = Asked(frozenset(), frozenset())


def asked_of(settings: StudySettings, progress: float | None = None) -> Asked:
    """What a student under these settings asks, at any time or when the share `progress` of its training is done.

    Frames without labels serve terms that ask the teacher, and pseudo-labels. `distill.enabled = false` is a plain
    student, without pseudo-labels too."""
    needs = needs_of(settings.distill, progress)
    is_plain = not settings.distill.enabled
    return Asked(needs, frozenset() if is_plain else needs_without_labels(needs, settings.scenes))


def needs_without_labels(needs: frozenset[Need], scenes: ScenesSettings) -> frozenset[Need]:
    """What is asked about frames without labels by students that ask `needs` about labelled ones."""
    if not scenes.unlabelled or (not needs and scenes.pseudo_labels is None):
        return frozenset()
    return needs | {REGIONS} | ({CONFIDENCE} if scenes.pseudo_labels is not None else set())


def unlabelled_in_batch(batch_size: int, share: float) -> int:
    """Frames without labels in a batch. Raises `SettingError` unless both kinds have a place in it."""
    count = math.floor(share * batch_size + 0.5)
    if not 0 < count < batch_size:
        rule = f"must have room for both kinds of frames with scenes.unlabelled_share = {share:g}"
        found = f"{batch_size}, of which {count} without labels"
        raise SettingError("training.batch_size", rule, found, "raise it, or change the share")
    return count


def labelled_in_batch(batch_size: int, scenes: ScenesSettings) -> int:
    """Frames with labels in a batch: all of them where `scenes.unlabelled` is empty."""
    return batch_size - (unlabelled_in_batch(batch_size, scenes.unlabelled_share) if scenes.unlabelled else 0)


def teacher_regions(logits: Tensor, shown: Tensor) -> Tensor:
    """The teacher's map of classes, (B, H, W) int64: its largest logit; 255 where `shown` (B, H, W) is 255, outside of
    the frame."""
    return torch.where(shown == IGNORED, IGNORED, logits.argmax(dim=1))


def confidence(logits: Tensor) -> Tensor:
    """Largest probability of (B, K, H, W) logits at each pixel, in [0, 1], rounded down to 1 / `LEVELS`: (B, H, W)."""
    largest = full_precision(logits).softmax(dim=1).amax(dim=1).clamp(max=1)
    return (largest * LEVELS).floor() / LEVELS


def pseudo_labels(regions: Tensor, confidences: Tensor, threshold: float) -> Tensor:
    """The teacher's classes where it is confident enough, else 255; shape and type of `regions`."""
    return torch.where(confidences >= threshold, regions, IGNORED)
