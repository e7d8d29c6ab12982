"""The teacher's stored answers: stopped and resumed anywhere they are the same bytes; shared, none is made twice.

That a training on them is the training beside the live teacher: tests/training/test_stored_and_live.py."""

import errno
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from intra_search.config.parsing import with_overrides
from intra_search.config.study import StudySettings
from intra_search.distill.loss import needs_of
from intra_search.errors import KnowledgeError, StorageError
from intra_search.knowledge.answering import ShardWriter, plan_extraction
from intra_search.knowledge.records import Making
from intra_search.knowledge.source import source_of
from intra_search.scenes.scene_set import open_scenes
from intra_search.store.storage import Storage
from intra_search.training.job import student_job
from intra_search.training.loop import Training
from tests.knowledge.conftest import TaughtStudy, extract_here


def tree_bytes(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def elsewhere(study: TaughtStudy, folder: Path) -> StudySettings:
    return with_overrides(study.settings, {"knowledge.store": str(folder)})


class Interrupted(BaseException):
    """Stands for the process being killed."""


def test_stopped_anywhere_the_store_becomes_the_same_bytes(
    taught: TaughtStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tree_bytes(extract_here(taught, elsewhere(taught, tmp_path / "whole")))
    settings = elsewhere(taught, tmp_path / "parts")
    original, moments = os.fsync, random.Random(1)
    for _ in range(5):
        left = moments.randint(1, 5)

        def stopping(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Interrupted
            original(descriptor)

        monkeypatch.setattr(os, "fsync", stopping)
        try:
            extract_here(taught, settings)
        except Interrupted:
            continue
    monkeypatch.setattr(os, "fsync", original)
    assert tree_bytes(extract_here(taught, settings)) == whole
    assert sum(name.startswith("shard-") for name in whole) == 3


def test_a_full_disk_is_one_line_and_the_store_goes_on(
    taught: TaughtStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = elsewhere(taught, tmp_path / "store")

    def full(descriptor: int) -> None:
        if "shard-00001" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"shard-00001-\w+.arrow: needs space, found none left") as caught:
            extract_here(taught, settings)
    assert "\n" not in str(caught.value)
    store = Path(tmp_path / "store").iterdir().__next__()
    assert len(list(store.glob("shard-*"))) == 1
    assert not list(store.glob(".tmp-*"))
    extract_here(taught, settings)
    assert len(list(store.glob("shard-*"))) == 3


def test_studies_of_one_source_share_and_a_wider_one_adds(taught: TaughtStudy, tmp_path: Path) -> None:
    settings = with_overrides(elsewhere(taught, tmp_path / "store"), {"distill.attention.weight": 0.0})
    first = extract_here(taught, settings)
    before = tree_bytes(first)
    copy = TaughtStudy(Storage(tmp_path / "copy"), taught.teacher, taught.settings)
    shutil.copytree(taught.storage.full_path("teacher"), tmp_path / "copy/teacher")
    plan = plan_extraction(copy.storage, copy.teacher, settings, needs_of(settings.distill), lambda: Making(5, "bf16"))
    assert (plan.tasks, plan.making) == ((), Making(1, "off"))
    wider = with_overrides(settings, {"distill.attention.weight": 0.1})
    plan = plan_extraction(copy.storage, copy.teacher, wider, needs_of(wider.distill), lambda: Making(5, "bf16"))
    assert {need.key for task in plan.tasks for need in task.needs} == {"map/block5/standardised-T4"}
    assert extract_here(copy, wider) == first
    after = tree_bytes(first)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("amp", ["bf16", "off"])
def test_a_store_keeps_the_precision_of_its_first_start(taught: TaughtStudy, tmp_path: Path, amp: Any) -> None:
    """`auto` may choose another precision on another machine, and one store would hold both."""
    changes = {"knowledge.store": str(tmp_path), "teacher.training.amp": "auto"}
    settings = with_overrides(taught.settings, changes)
    needs = needs_of(settings.distill)
    plan_extraction(taught.storage, taught.teacher, settings, needs, lambda: Making(1, amp))
    plan = plan_extraction(taught.storage, taught.teacher, settings, needs, lambda: pytest.fail("asked again"))
    assert plan.making == Making(1, amp)
    writer = ShardWriter(taught.storage, taught.teacher, settings, plan.making, use_gpu=False)
    seen: list[bool] = []
    writer._network.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    writer.write(plan.tasks[0])
    assert set(seen) == {amp == "bf16"}


CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "size": {"scenes.height": 64},
    "recipe": {"scenes.augment.colour": 0.3},
    "views": {"scenes.views": 3},
    "split": {"scenes.val_fraction": 0.3},
    "precision": {"teacher.training.amp": "bf16"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_recipe_is_another_store(taught: TaughtStudy, name: str) -> None:
    def folder(settings: StudySettings) -> str:
        return source_of(taught.storage, taught.teacher, settings, open_scenes(settings.scenes, "train")).folder

    same = with_overrides(taught.settings, {"scenes.cache": False, "training.epochs": 7})
    assert folder(same) == folder(taught.settings)
    assert folder(with_overrides(taught.settings, CHANGES[name])) != folder(taught.settings)


def test_a_trial_whose_scenes_differ_is_refused(taught: TaughtStudy, tmp_path: Path) -> None:
    store = extract_here(taught, elsewhere(taught, tmp_path / "store"))
    other = with_overrides(taught.settings, {"seed": 5})
    job = student_job(str(tmp_path), 0, "trials/00000", 1, other, knowledge=store, teacher="")
    with pytest.raises(KnowledgeError, match=r"must hold answers about views \w{12}, found views \w{12}; delete"):
        Training(job).run_epoch()


def test_a_shard_that_appeared_meanwhile_is_not_made_again(
    taught: TaughtStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = elsewhere(taught, tmp_path / "store")
    plan = plan_extraction(
        taught.storage, taught.teacher, settings, needs_of(settings.distill), lambda: Making(1, "off")
    )
    extract_here(taught, settings)  # another study on the same store
    writer = ShardWriter(taught.storage, taught.teacher, settings, plan.making, use_gpu=False)
    monkeypatch.setattr(Storage, "writing", lambda *_: pytest.fail("written again"))
    for task in plan.tasks:
        writer.write(task)
