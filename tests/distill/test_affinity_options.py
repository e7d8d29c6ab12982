"""Every option of the affinity term: against the public functions, and by hand where it changes what is averaged."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.functional import (
    affinity_graph,
    affinity_loss,
    region_masks,
    region_moments,
    region_presence,
)
from intra_search.distill.moments import Variant
from intra_search.distill.needs import teacher_answers
from intra_search.distill.regions import Resize
from intra_search.distill.term import TermContext, TermResult
from intra_search.distill.terms.affinity import AffinityTerm
from intra_search.networks import NetworkOutput

K = 4
CHANNELS = {"block3": 3, "block5": 5}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_labels() -> Tensor:
    coarse = torch.randint(0, 3, (2, 4, 6), generator=torch.Generator().manual_seed(0))  # class 3 is absent
    coarse[0, 0, :2] = 255
    return coarse.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)


def value(**options: Any) -> Tensor:
    overrides = {f"distill.affinity.{key}": option for key, option in {"least_cells": [1], **options}.items()}
    overrides["distill.layers"] = [["block3", "block5"]]
    settings = with_overrides(StudySettings(), overrides).distill
    term = AffinityTerm(settings, TermContext(K, CHANNELS, CHANNELS))
    student = NetworkOutput(draw(0, 2, K, 16, 24), {"block3": draw(1, 2, 3, 4, 6)})
    teacher = NetworkOutput(draw(0, 2, K, 16, 24), {"block5": draw(2, 2, 5, 4, 6)})
    answers = teacher_answers(term.needs_of(settings), teacher, draw_labels(), K)
    result: TermResult = term(student, answers, draw_labels())
    return (result.sums / result.counts).sum()


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("variant", get_args(Variant))
@pytest.mark.parametrize("background", [True, False])
def test_options_reach_the_functions(resize: Resize, soft: bool, variant: Variant, background: bool) -> None:
    masks = region_masks(draw_labels(), K, 3, (4, 6), soft=soft, background=background, resize=resize)
    student, teacher = (
        affinity_graph(region_moments(draw(seed, 2, channels, 4, 6), masks, (1, 3), variant=variant))
        for seed, channels in ((1, 3), (2, 5))
    )
    expected = affinity_loss(student, teacher, region_presence(masks, (1, 3)))
    found = value(
        resize=resize,
        masks="soft" if soft else "hard",
        variant=variant,
        background=background,
        kernel_size=3,
        orders=[1, 3],
    )
    assert_close(found, expected.to(found.dtype), rtol=1e-5, atol=1e-7)


def test_counted_absent_regions_dilute_the_average() -> None:
    """Three of four classes are present: the same sum over 9 pairs is divided by 16, as the paper's n^2 does."""
    assert_close(value(kernel_size=1, absent="counted"), value(kernel_size=1) * 9 / 16)


def test_background_left_out_is_not_an_absent_region() -> None:
    """Two of the three foreground classes are present: 4 of 9 pairs."""
    excluded = value(kernel_size=1, background=False)
    assert_close(value(kernel_size=1, background=False, absent="counted"), excluded * 4 / 9)


def test_orders_are_averaged() -> None:
    single = [value(orders=[order]) for order in (1, 2, 3)]
    assert_close(value(orders=[1, 2, 3]), sum(single) / 3, rtol=1e-5, atol=1e-7)


def test_every_option_asks_for_its_own_knowledge() -> None:
    """Two settings that would read different graphs must not share a key."""
    keys = set()
    changes: list[dict[str, Any]] = [
        {},
        {"kernel_size": 3},
        {"masks": "soft"},
        {"background": False},
        {"resize": "nearest"},
        {"variant": "literal"},
        {"centred": True},
        {"orders": [2]},
    ]
    for change in changes:
        overrides = {"distill.affinity.orders": [1], "distill.layers": [["block3", "block5"]]}
        overrides |= {f"distill.affinity.{key}": option for key, option in change.items()}
        settings = with_overrides(StudySettings(), overrides).distill
        keys |= {need.key for need in AffinityTerm.needs_of(settings)}
    assert len(keys) == len(changes)
