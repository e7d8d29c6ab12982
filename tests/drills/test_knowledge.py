"""Drills on stored knowledge: the driver is killed in mid-extraction five times; a reader of gigabytes is weighed.

The seed of the random moments is printed; INTRA_SEARCH_DRILL_SEED repeats a drill.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from intra_search.distill.needs import LogitsNeed
from intra_search.knowledge.answering import stored_forms
from intra_search.knowledge.records import Making
from intra_search.knowledge.shards import write_shard
from intra_search.knowledge.source import SCENES_PER_SHARD, Source
from intra_search.knowledge.store import KnowledgeStore, shard_about, shard_name
from intra_search.store.ledger import checkpoint_name
from intra_search.store.storage import Storage
from intra_search.training.job import teacher_job
from intra_search.training.loop import Training
from tests.commands import Command, write_study
from tests.drills.test_kills import wait_until_gone
from tests.tiny_study import tiny_settings, write_roads

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]

KILLS = 5
OWN_LIMIT = 300 * 10**6
STORE_BYTES = 3 * 10**9


@pytest.fixture
def study_file(roads: Path, tmp_path: Path) -> Path:
    """Many scenes and views, and a teacher from elsewhere, which two studies then share."""
    Training(teacher_job(str(tmp_path / "taught"), "teacher", 1, tiny_settings(roads))).run_epoch()
    write_roads(tmp_path / "many", count=900)
    teacher = {"checkpoint": str(tmp_path / "taught/teacher/gen-1" / checkpoint_name(1))}
    training = {"epochs": 1, "batch_size": 64}
    file = tmp_path / "study.toml"
    return write_study(
        file, tmp_path / "many", training=training, teacher=teacher, scenes={"views": 24}, search={"num_trials": 1}
    )


def knowledge_of(study: Path) -> dict[str, bytes]:
    root = study / "knowledge"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.ray
def test_extraction_killed_at_random_moments_ends_in_the_same_bytes(
    command: Command, study_file: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("INTRA_SEARCH_DRILL_SEED", time.time()))
    print(f"INTRA_SEARCH_DRILL_SEED={seed}")
    moments, study = random.Random(seed), tmp_path / "killed"
    shards: list[Path] = []
    for _ in range(KILLS):
        before = len(shards)
        driver = command.start("run", str(study_file), "--study", str(study))
        deadline = time.monotonic() + 120
        while len(shards := list(study.glob("knowledge/*/shard-*"))) == before:
            assert time.monotonic() < deadline
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1))
        driver.kill()
        driver.communicate()
        wait_until_gone(command.environment["RAY_TMPDIR"])
        assert not list(study.glob("knowledge/*/manifest-*")), "extraction ended before the kill: use more scenes"
    command.run("run", str(study_file), "--study", str(study))
    whole = tmp_path / "whole"
    command.run("run", str(study_file), "--study", str(whole))
    expected = knowledge_of(whole)
    assert knowledge_of(study) == expected
    assert sum(name.endswith(".arrow") for name in expected) > KILLS


READ_ALL = """
import json, sys
from pathlib import Path
from intra_search.distill.needs import LogitsNeed
from intra_search.knowledge.reader import open_knowledge
from intra_search.store.storage import Storage

def memory(kind):
    text = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith(kind))

before = memory("RssAnon")
reader = open_knowledge(Storage(sys.argv[1]), [LogitsNeed()], {}, node_cache_gb=1.0)
largest, total = 0, 0.0
for scene in range(int(sys.argv[2])):
    total += float(reader.answers(scene, 0)["logits/stride1"][0, 0, 0])
    largest = max(largest, memory("RssAnon"))
print(json.dumps({"own": largest - before, "mapped": memory("RssFile"), "total": total}))
"""


def test_a_reader_of_gigabytes_stays_small(tmp_path: Path) -> None:
    shape = (36, 144, 100)
    per_scene = 2 * shape[0] * shape[1] * shape[2]
    num_scenes = STORE_BYTES // per_scene // SCENES_PER_SHARD * SCENES_PER_SHARD
    source, need = Source("t", "s", "v", num_scenes, 1), LogitsNeed()
    store = KnowledgeStore(Storage(tmp_path / "store"), source)
    store.begin(lambda: Making(1, "off"))
    part = store.announce([need.key])
    batches = [{need.key: torch.ones(8, *shape)}] * (SCENES_PER_SHARD // 8)
    forms = stored_forms(frozenset([need]), [need.key])
    for shard in range(source.num_shards):
        name = shard_name(shard, part)
        # Not by way of the storage, which would wait for the disk each time.
        with open(tmp_path / "store" / name, "wb") as file:
            write_shard(file, batches, lambda _: forms, shard_about(source.hashes, name))
    store.finish([need.key])
    script = [sys.executable, "-c", READ_ALL, str(tmp_path / "store"), str(num_scenes)]
    found = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(tmp_path / "store")
    print(found)
    assert found["total"] == num_scenes
    assert num_scenes * per_scene > 2.9e9
    assert found["own"] < OWN_LIMIT
