"""Readers of everything a user or a foreign study may hand us. A case passes with a result or with an error of ours."""

import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from intra_search.config.parsing import parse_settings
from intra_search.config.space import parse_space
from intra_search.config.study import StudySettings
from intra_search.config.study_file import parse_study
from intra_search.distill.unlabelled import asked_of
from intra_search.knowledge.reader import open_knowledge
from intra_search.knowledge.records import Making
from intra_search.knowledge.source import source_of
from intra_search.knowledge.store import KnowledgeStore
from intra_search.metrics.score import score_apolloscape, score_culane, score_llamas
from intra_search.metrics.tally import TallyOptions
from intra_search.networks.checkpoint import load_checkpoint
from intra_search.scenes.images import image_size, read_grey, read_image, read_mask
from intra_search.scenes.labels import index_table
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.source import Split
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from intra_search.selection.pick import status
from intra_search.store.storage import Storage
from intra_search.store.study_folder import StudyFolder
from tests.fuzz.guard import guarded
from tests.fuzz.mutations import mutated_bytes, mutated_json, mutated_tree, values
from tests.knowledge.conftest import TaughtStudy, extract_here, taught_study
from tests.small_benchmarks import SIZES
from tests.tiny_study import tiny_settings, write_roads

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("FUZZ_CASES", "25"))
"""Cases of each test; `make fuzz` takes many more."""
fuzzed = settings(
    max_examples=CASES,
    deadline=None,  # `guarded` looks at processor time
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
STUDY_FILES = sorted(ROOT.glob("search_spaces/*.toml"))


@contextmanager
def replaced(path: Path, data: bytes) -> Iterator[None]:
    """A file with another content, in the same place."""
    good = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(good)


@fuzzed
@given(st.data())
def test_study_files(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(STUDY_FILES)).read_bytes()
    changed = data.draw(mutated_bytes(text)).decode("utf-8", "replace")
    with guarded(tmp_path):
        parse_study(changed, "study.toml")


@fuzzed
@given(mutated_tree(StudySettings().model_dump(mode="json")))
def test_settings(tree: Any) -> None:
    with guarded():
        parse_settings(tree if isinstance(tree, dict) else {"scenes": tree})


@fuzzed
@given(st.text(max_size=30), st.text(max_size=30), values)
def test_overrides(path: str, word: str, value: Any) -> None:
    for override in (f"{path}={word}", f"training.epochs={word}", f"scenes.root={json.dumps(value)}", word):
        with guarded():
            parse_study("", "study.toml", [override])


@fuzzed
@given(st.data())
def test_search_spaces(data: st.DataObject) -> None:
    tree = tomllib.loads(data.draw(st.sampled_from(STUDY_FILES)).read_text())
    parts = {key: tree.pop(key) for key in ("space", "points") if key in tree}
    for group in ("scenes", "search"):  # of a data set that is not here
        tree.pop(group, None)
    base = parse_settings(tree)
    changed = data.draw(mutated_tree(parts)) if parts else {}
    with guarded():
        space = parse_space(changed if isinstance(changed, dict) else {"space": changed}, base, "study.toml")
        space.sample(Random(data.draw(st.integers(0, 9))))


def _encoded(kind: str, image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


_NOISE = np.random.default_rng(0).integers(0, 255, (24, 40, 3)).astype(np.uint8)
PICTURES = [
    _encoded("PNG", Image.fromarray(_NOISE)),
    _encoded("JPEG", Image.fromarray(_NOISE)),
    _encoded("PNG", Image.fromarray(_NOISE[..., 0])),
    _encoded("PNG", Image.fromarray(_NOISE).quantize(16)),
    _encoded("PNG", Image.fromarray(_NOISE[..., 0].astype(np.uint16))),
    _encoded("EPS", Image.fromarray(_NOISE)),
    _encoded("TIFF", Image.fromarray(_NOISE)),
    _encoded("GIF", Image.fromarray(_NOISE)),
]


@fuzzed
@given(st.data())
def test_pictures(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / data.draw(st.sampled_from(["picture.png", "picture.jpg"]))
    path.write_bytes(data.draw(mutated_bytes(data.draw(st.sampled_from(PICTURES)))))
    for read in (read_image, read_grey, image_size, lambda one: read_mask(one, index_table(256), {})):
        with guarded(tmp_path):
            read(path)


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small folder of each kind, drawn."""
    root = tmp_path_factory.mktemp("drawn")
    for name in ("folder", *SIZES):
        height, width = SIZES.get(name, (64, 96))
        draw_data_set(root / name, name, draw_order(name, 12, 0, height, width))
    labels = root / "llamas/labels/valid"
    for path in labels.rglob("*.json"):
        for number in range(5):
            picture = root / "llamas" / PREDICTIONS / path.relative_to(labels)
            picture.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"{picture}_{number}.png", np.full(SIZES["llamas"], 51 * number, np.uint8))
    return {name: root / name for name in ("folder", *SIZES)}


SPLITS: tuple[Split, ...] = ("train", "val")
PREDICTIONS = "predictions"
TABLES = (".csv", ".txt", ".json")


def read_scenes(name: str, root: Path) -> None:
    tree = {"dataset": name, "root": str(root), "height": 32, "width": 64, "cache": False}
    asked = parse_settings({"scenes": tree}).scenes
    for split in SPLITS:
        scenes = open_scenes(asked, split)
        for index in range(min(len(scenes), 6)):
            scenes.view(index, 0, 0)


def score_against_itself(name: str, root: Path, options: TallyOptions) -> None:
    """Annotations and predictions are the same files, except for LLAMAS, whose predictions are pictures."""
    if name == "culane":
        score_culane(root, root, root / "list/test.txt", options=options)
    elif name == "apolloscape":
        score_apolloscape(root, root, options)
    else:
        labels = root / "labels/valid"
        score_llamas(labels, root / PREDICTIONS, binary=False, options=options)


@pytest.mark.parametrize("name", ["folder", *SIZES])
def test_good_data_sets_are_read(data_sets: dict[str, Path], name: str) -> None:
    """Else the tests below would find errors of ours alone."""
    read_scenes(name, data_sets[name])
    if name in SIZES:
        score_against_itself(name, data_sets[name], TallyOptions(False, 1))


@pytest.mark.parametrize("name", ["folder", *SIZES])
@fuzzed
@given(data=st.data())
def test_data_sets(data_sets: dict[str, Path], name: str, data: st.DataObject) -> None:
    files = sorted(path for path in data_sets[name].rglob("*") if path.suffix in TABLES)
    pictures = sorted(path for path in data_sets[name].rglob("*.png"))[:3]
    path = data.draw(st.sampled_from(files + pictures))
    good = path.read_bytes()
    changed = data.draw(mutated_json(good) if path.suffix == ".json" else mutated_bytes(good))
    with replaced(path, changed), guarded(data_sets[name].parent, Path(os.environ["INTRA_SEARCH_CACHE"])):
        read_scenes(name, data_sets[name])


@fuzzed
@given(data=st.data())
def test_score(data_sets: dict[str, Path], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SIZES)))
    root = data_sets[name]
    files = sorted(path for path in root.rglob("*") if path.suffix in (".txt", ".json", ".png"))
    path = data.draw(st.sampled_from(files))
    good = path.read_bytes()
    changed = data.draw(mutated_json(good) if path.suffix == ".json" else mutated_bytes(good))
    with replaced(path, changed), guarded(root):
        score_against_itself(name, root, TallyOptions(data.draw(st.booleans()), 1))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> TaughtStudy:
    write_roads(tmp_path_factory.mktemp("fuzz") / "roads")
    roads = tmp_path_factory.getbasetemp() / "fuzz0" / "roads"
    return taught_study(tmp_path_factory.mktemp("taught"), tiny_settings(roads))


@pytest.fixture(scope="module")
def store(taught: TaughtStudy) -> Path:
    return Path(extract_here(taught))


@fuzzed
@given(data=st.data())
def test_stored_knowledge(taught: TaughtStudy, store: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(store.iterdir())))
    good = path.read_bytes()
    changed = data.draw(mutated_json(good) if path.suffix == ".json" else mutated_bytes(good))
    needs = asked_of(taught.settings).labelled
    with replaced(path, changed), guarded(store):
        open_knowledge(Storage(store), needs, {}, node_cache_gb=0.1).answers(0, 0)
    scenes = open_scenes(taught.settings.scenes, "train")
    source = source_of(taught.storage, taught.teacher, taught.settings, scenes)
    with replaced(path, changed), guarded(store):
        filled = KnowledgeStore(Storage(store), source)
        filled.begin(lambda: Making(1, "off"))
        filled.missing(need.key for need in needs)


@fuzzed
@given(data=st.data())
def test_checkpoints(taught: TaughtStudy, data: st.DataObject) -> None:
    folder = Path(taught.storage.full_path(taught.teacher))
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    good = path.read_bytes()
    changed = data.draw(mutated_json(good) if path.suffix == ".json" else mutated_bytes(good))
    with replaced(path, changed), guarded(folder):
        load_checkpoint(taught.storage, taught.teacher)


@fuzzed
@given(data=st.data())
def test_study_folders(tmp_path: Path, data: st.DataObject) -> None:
    """`status` of a study whose records and histories are changed: a golden one of an older release."""
    study = tmp_path / "study"
    if not study.exists():
        shutil.copytree(ROOT / "tests/golden/study-v2", study)
    files = sorted(path for path in study.rglob("*") if path.suffix in (".json", ".jsonl", ".toml"))
    path = data.draw(st.sampled_from(files))
    good = path.read_bytes()
    changed = data.draw(mutated_json(good) if path.suffix == ".json" else mutated_bytes(good))
    with replaced(path, changed), guarded(study):
        status(StudyFolder(str(study)))
