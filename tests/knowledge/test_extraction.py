"""The extraction's tasks on a cluster that is made up: what is begun, begun again, and told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from intra_search.knowledge import extraction
from intra_search.knowledge.records import Making
from intra_search.store.storage import Storage
from tests.tiny_study import tiny_settings


class MadeUpRay:
    """Tasks that end one after another, in the order in which they were begun, each with a result or an error."""

    def __init__(self, results: dict[int, list[float | Exception]]) -> None:
        self.results = results
        self.begun: list[int] = []
        self.options_of: list[dict[str, Any]] = []

    def remote(self, function: Any) -> Any:
        def begin(*arguments: Any) -> tuple[int, int]:
            shard = arguments[-1].shard
            self.begun.append(shard)
            return len(self.begun), shard  # a reference: each begun task has its own

        def options(**given: Any) -> Any:
            self.options_of.append(given)
            return SimpleNamespace(remote=begin)

        return SimpleNamespace(options=options)

    def wait(self, pending: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return [min(pending)], sorted(pending)[1:]

    def get(self, reference: tuple[int, int]) -> float:
        result = self.results[reference[1]].pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def run(
    monkeypatch: pytest.MonkeyPatch, roads: Path, folder: Path, cluster: MadeUpRay, failed: Any
) -> tuple[list[tuple[int, int, float]], list[list[str]]]:
    """What was told of progress, and the manifests that were published."""
    told: list[tuple[int, int, float]] = []
    finished: list[list[str]] = []
    shards = [SimpleNamespace(shard=number) for number in sorted(cluster.results)]
    store = SimpleNamespace(
        source=SimpleNamespace(num_shards=len(shards) + 1),  # one was stored before
        finish=finished.append,
        storage=Storage(folder),
    )
    plan = SimpleNamespace(store=store, tasks=shards, keys=["graph"], making=Making(1, "off"))
    monkeypatch.setattr(extraction, "plan_extraction", lambda *_, **__: plan)
    monkeypatch.setattr(extraction, "ray", cluster)
    uri = extraction.extract(
        Storage(folder),
        "teacher",
        tiny_settings(roads),
        frozenset(),
        cpus=1,
        gpus=0,
        progress=lambda *numbers: told.append(numbers),
        failed=failed,
    )
    assert uri == Storage(folder).uri
    return told, finished


def test_a_failed_shard_is_begun_again_and_all_are_told_once(
    monkeypatch: pytest.MonkeyPatch, roads: Path, tmp_path: Path
) -> None:
    lost = RuntimeError("its machine is gone")
    cluster = MadeUpRay({0: [lost, lost, 2.0], 1: [1.0]})
    failures: list[tuple[int, Exception]] = []
    told, finished = run(monkeypatch, roads, tmp_path, cluster, lambda *what: failures.append(what))
    assert cluster.begun == [0, 1, 0, 0]
    assert failures == [(0, lost), (0, lost)]
    assert told == [(2, 3, 1.0), (3, 3, 2.0)]
    assert finished == [["graph"]]
    assert cluster.options_of[-1]["max_retries"] == 0  # Ray would begin it again by itself, whatever the policy says


def test_a_shard_that_is_given_up_leaves_the_store_unfinished(
    monkeypatch: pytest.MonkeyPatch, roads: Path, tmp_path: Path
) -> None:
    finished: list[list[str]] = []

    def give_up(shard: int, error: Exception) -> None:
        raise error

    with pytest.raises(ValueError, match="a bug"):
        _, finished = run(monkeypatch, roads, tmp_path, MadeUpRay({0: [ValueError("a bug")]}), give_up)
    assert finished == []
