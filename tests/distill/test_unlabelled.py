"""What is asked and learned about frames without labels, by hand."""

import pytest
import torch
from torch.testing import assert_close

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.existence import existence_loss
from intra_search.distill.loss import needs_of
from intra_search.distill.unlabelled import (
    CONFIDENCE,
    LEVELS,
    REGIONS,
    asked_of,
    confidence,
    pseudo_labels,
    teacher_regions,
    unlabelled_in_batch,
)
from intra_search.errors import SettingError

FRAMES = {"scenes.unlabelled": ["synthetic:10"]}


def settings_of(**changes: object) -> StudySettings:
    return with_overrides(StudySettings(), {name.replace("__", "."): value for name, value in changes.items()} | FRAMES)


def test_regions_are_the_teachers_largest_logit_where_the_view_shows_the_frame() -> None:
    logits = torch.tensor([[[[3.0, 0.0, 1.0]], [[1.0, 2.0, 0.0]]]])  # (1, 2, 1, 3)
    shown = torch.tensor([[[0, 0, 255]]], dtype=torch.uint8)
    assert teacher_regions(logits, shown).tolist() == [[[0, 1, 255]]]


def test_confidence_is_the_largest_probability_rounded_down() -> None:
    logits = torch.tensor([0.75, 0.25]).log().view(1, 2, 1, 1)
    assert_close(confidence(logits).item(), 0.75, atol=1 / LEVELS, rtol=0)
    assert confidence(logits).item() <= 0.75
    assert confidence(torch.tensor([100.0, 0.0]).view(1, 2, 1, 1)).item() == 1.0
    halves = confidence(torch.randn(1, 5, 40, 40)) * LEVELS
    assert bool((halves == halves.round()).all())  # so stored in 14 bits they are the same


def test_pseudo_labels_are_the_sure_classes() -> None:
    regions = torch.tensor([[3, 1, 2]], dtype=torch.uint8)
    found = pseudo_labels(regions, torch.tensor([[0.9, 0.8999, 0.95]]), 0.9)
    assert found.tolist() == [[3, 255, 2]]
    assert found.dtype == torch.uint8


def test_plain_students_learn_nothing_from_frames_without_labels() -> None:
    settings = settings_of(distill__enabled=False, scenes__pseudo_labels=0.9)
    assert not asked_of(settings).anything


def test_terms_ask_for_the_regions_too_and_pseudo_labels_for_confidences() -> None:
    settings = settings_of()
    needs = needs_of(settings.distill)
    assert asked_of(settings).labelled == needs
    assert asked_of(settings).unlabelled == needs | {REGIONS}
    assert asked_of(settings_of(scenes__pseudo_labels=0.9)).unlabelled == needs | {REGIONS, CONFIDENCE}


def test_pseudo_labels_need_no_term() -> None:
    settings = settings_of(scenes__pseudo_labels=0.9, distill__affinity__weight=0.0, distill__attention__weight=0.0)
    assert not asked_of(settings).labelled
    assert asked_of(settings).unlabelled == {REGIONS, CONFIDENCE}


def test_before_a_term_begins_nothing_is_asked() -> None:
    settings = settings_of(distill__affinity__start=0.5, distill__attention__weight=0.0)
    assert not asked_of(settings, 0.49).anything
    assert REGIONS in asked_of(settings, 0.5).unlabelled


@pytest.mark.parametrize(("size", "share", "count"), [(4, 0.5, 2), (8, 0.3, 2), (8, 0.9, 7), (3, 0.5, 2)])
def test_frames_of_a_batch_by_hand(size: int, share: float, count: int) -> None:
    assert unlabelled_in_batch(size, share) == count


@pytest.mark.parametrize(("size", "share"), [(1, 0.5), (4, 0.1), (2, 0.9)])
def test_a_batch_without_room_for_both_kinds_is_refused(size: int, share: float) -> None:
    with pytest.raises(SettingError, match=r"training\.batch_size: must have room for both kinds of frames"):
        unlabelled_in_batch(size, share)


def test_flags_that_are_not_known_do_not_count() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]], requires_grad=True)
    known = existence_loss(logits[:1], torch.tensor([[1.0, 0.0]]))
    both = existence_loss(logits, torch.tensor([[1.0, 0.0], [-1.0, -1.0]]))
    assert_close(both, known)
    both.sums.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[1].any()
