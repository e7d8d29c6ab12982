"""A small study whose teacher is trained: what extraction needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from intra_search.config.parsing import parse_settings
from intra_search.config.study import StudySettings
from intra_search.distill.unlabelled import asked_of
from intra_search.knowledge import reader, source
from intra_search.knowledge.answering import ShardWriter, plan_extraction
from intra_search.knowledge.records import Making
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training.job import teacher_job
from intra_search.training.loop import Training
from tests.tiny_study import tiny_tree, write_roads

SCENES_PER_SHARD = 8


class TaughtStudy(NamedTuple):
    """A study's storage, its teacher's checkpoint, and settings that ask for graphs and maps."""

    storage: Storage
    teacher: str
    settings: StudySettings


def taught_study(folder: Path, settings: StudySettings) -> TaughtStudy:
    Training(teacher_job(str(folder), "teacher/t", 1, settings)).run_epoch()
    return TaughtStudy(Storage(folder), f"teacher/t/gen-1/{checkpoint_name(1)}", settings)


def extract_here(study: TaughtStudy, settings: StudySettings | None = None, *, unlabelled: bool = False) -> str:
    """What `extraction.extract` does on a cluster, in this process; returns the store's URI."""
    settings = settings or study.settings
    asked = asked_of(settings)
    plan = plan_extraction(
        study.storage,
        study.teacher,
        settings,
        asked.unlabelled if unlabelled else asked.labelled,
        lambda: Making(1, "off"),
        unlabelled=unlabelled,
    )
    writer = ShardWriter(study.storage, study.teacher, settings, plan.making, use_gpu=False)
    for task in plan.tasks:
        writer.write(task)
    plan.store.finish(plan.keys)
    return plan.store.storage.uri


@pytest.fixture(scope="session", autouse=True)
def small_shards() -> Iterator[None]:
    """Eight scenes per shard, so that a few scenes make several shards."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (source, reader):
            patch.setattr(module, "SCENES_PER_SHARD", SCENES_PER_SHARD)
        yield


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> TaughtStudy:
    root = tmp_path_factory.mktemp("roads")
    write_roads(root, count=28)  # 20 in train
    tree = tiny_tree(root)
    tree["scenes"] |= {"augment": {"colour": 0.2, "rotation": 5.0}}
    return taught_study(tmp_path_factory.mktemp("taught"), parse_settings(tree))
