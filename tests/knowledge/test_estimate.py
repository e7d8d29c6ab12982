"""The sizes estimated before extraction are those of the stored files."""

from pathlib import Path

import pytest

from intra_search.config.parsing import parse_settings, with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import needs_of
from intra_search.distill.terms.table import TERMS
from intra_search.knowledge.estimate import Bill, answer_bytes, excess
from intra_search.knowledge.store import read_manifest
from intra_search.store.storage import Storage
from tests.knowledge.conftest import TaughtStudy, extract_here


def test_bytes_by_hand() -> None:
    settings = parse_settings({"scenes": {"height": 288, "width": 800}, "distill": {"preset": "paper"}})
    sizes = answer_bytes(settings, needs_of(settings.distill), num_classes=37)
    assert len(sizes) == 2 * (3 + 3 + 1)
    assert sizes["affinity/block3/kernel5-max/textbook1"] == 37 * 37 * 4
    assert sizes["affinity/block5/kernel5-max/textbook3/cells"] == 37 * 4
    assert sizes["map/block5/softmax"] == 36 * 100 * 2


def every_term(settings: StudySettings) -> StudySettings:
    return with_overrides(settings, {f"distill.{name}.weight": 1.0 for name in TERMS})


def test_the_estimate_is_what_extraction_writes(taught: TaughtStudy, tmp_path: Path) -> None:
    settings = with_overrides(every_term(taught.settings), {"knowledge.store": str(tmp_path / "store")})
    needs = needs_of(settings.distill)
    storage = Storage(extract_here(taught, settings))
    sizes = answer_bytes(settings, needs, num_classes=3)
    written = sum(
        size for shard in read_manifest(storage, {need.key for need in needs}).shards for size in shard.values()
    )
    views = taught_views(storage)
    # Beside the answers: a checksum per answer and view, padding, and the schema of each file.
    overhead = written - views * sum(sizes.values())
    assert 0 < overhead < views * 4 * len(sizes) + 3 * 1000 * (1 + len(sizes))


def taught_views(storage: Storage) -> int:
    source = storage.read_json("source.json")
    return int(source["num_scenes"] * source["num_views"])


@pytest.mark.parametrize(
    ("changes", "is_local", "found"),
    [
        ({}, True, None),
        ({}, False, None),
        ({"knowledge.max_gb": 0.01}, True, "its answers would take 0.0154 GB, above knowledge.max_gb = 0.01"),
        ({"knowledge.node_cache_gb": 0.01}, True, None),
        (
            {"knowledge.node_cache_gb": 0.01},
            False,
            "its answers would take 0.0154 GB, above knowledge.node_cache_gb = 0.01",
        ),
    ],
)
def test_above_the_limit_it_says_so(changes: dict[str, float], is_local: bool, found: str | None) -> None:
    """One map of 36 x 107 half floats, 2,000 times."""
    tree = {"scenes": {"height": 288, "width": 856, "views": 2}, "distill": {"affinity": {"weight": 0.0}}}
    settings = with_overrides(parse_settings(tree), {"distill.layers": [["block2", "block3"]], **changes})
    needs = needs_of(settings.distill)
    assert excess(settings, needs, num_classes=37, num_scenes=1000, is_local=is_local) == found


def test_bill_by_hand() -> None:
    bill = Bill(extraction=10.0, students=100.0, live_teacher=300.0)
    assert (bill.stored, bill.live) == (110.0, 400.0)
