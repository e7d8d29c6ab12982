"""`evaluate` on other scenes than the training's, and on frames without labels: one folder of truth, one of files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from intra_search.deploy.benchmark import SCORERS
from intra_search.metrics.score import score_culane
from intra_search.scenes.writers.formats import draw_data_set, draw_order
from intra_search.store.ledger import checkpoint_name
from intra_search.training.job import student_job
from intra_search.training.loop import Training
from tests.cli.test_app import Answer
from tests.cli.test_app import call as call
from tests.small_benchmarks import SIZES
from tests.tiny_study import tiny_settings

Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One epoch on drawn data of each benchmark; the data lies in `<name>` beside the study."""
    root = tmp_path_factory.mktemp("drawn")
    found = {}
    for name, size in SIZES.items():
        draw_data_set(root / name, name, draw_order(name, 10, 0, *size))
        settings = tiny_settings(
            root,
            scenes={"dataset": name, "root": str(root / name)},
            training={"epochs": 1},
            distill={"enabled": False},
        )
        job = student_job(str(root / f"study-{name}"), 0, "t", 1, settings, knowledge=None, teacher="")
        Training(job).run_epoch()
        found[name] = root / f"study-{name}" / "t/gen-1" / checkpoint_name(1)
    return found


def test_other_data_is_scored_against_its_own_truth(call: Call, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Frames of the same names as the training's, whose own folder is gone."""
    other, out = tmp_path / "other", tmp_path / "out"
    draw_data_set(other, "culane", draw_order("culane", 10, 1, *SIZES["culane"]))
    root = checkpoints["culane"].parents[3] / "culane"
    away = root.rename(tmp_path / "away")
    answer = call("evaluate", checkpoints["culane"], "--split", "val", "--data", other, "--out", out, "--json")
    away.rename(root)
    assert answer.code == 0, answer.error
    found = json.loads(answer.out)["official"]
    frames = [line.split()[0] for line in (other / "list/val_gt.txt").read_text().splitlines()]
    listed = tmp_path / "val.txt"
    listed.write_text("\n".join(frames) + "\n")
    wanted = score_culane(other, out, listed).to_json()
    assert {key: found[key] for key in ("tp", "fp", "fn")} == {key: wanted[key] for key in ("tp", "fp", "fn")}


def test_frames_without_labels_become_submission_files(
    call: Call, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    for name, expected in {
        "apolloscape": {"road05/x.png"},
        "culane": {"driver_9frame/1.MP4/00000.lines.txt"},
        "llamas": {f"{kind}/rec/7.json_{index}.png" for kind in ("probabilities", "masks") for index in range(5)},
    }.items():
        data, out = tmp_path / name, tmp_path / f"out-{name}"
        picture = {
            "apolloscape": data / "ColorImage_road05/ColorImage/Record001/Camera 5/x.jpg",
            "culane": data / "driver_9frame/1.MP4/00000.jpg",
            "llamas": data / "color_images/test/rec/7_color_rect.png",
        }[name]
        source = checkpoints[name].parents[3] / name
        picture.parent.mkdir(parents=True)
        shutil.copy(next(iter(sorted(source.rglob(f"*{'_color_rect.png' if name == 'llamas' else '.jpg'}")))), picture)
        if name == "culane":
            (data / "list").mkdir()
            (data / "list/test.txt").write_text("/driver_9frame/1.MP4/00000.jpg\n")
        answer = call("evaluate", checkpoints[name], "--split", "submission", "--data", data, "--out", out)
        assert answer.code == 0, answer.error
        assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    assert set(SIZES) == set(SCORERS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "submission"], "--out: --split submission writes files, found no --out"),
        (["--split", "submission", "--out", "o"], "must hold frames of the official test set, found none"),
        (["--set", "training.epochs=3"], "training.epochs: only scenes.* may be set here"),
        (["--set", "scenes.height=8"], "scenes.height"),
        (["--data", "nowhere"], "scenes.root: must be an existing folder"),
        (["--split", "val", "--set", "scenes.height=64"], "use 32 x 64"),
    ],
)
def test_bad_input_is_one_line(
    call: Call,
    checkpoints: dict[str, Path],
    arguments: list[str],
    message: str,
) -> None:
    name = "apolloscape" if "o" in arguments else "culane"
    answer = call("evaluate", checkpoints[name], *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.error.splitlines()) == 1
    assert message in answer.error
