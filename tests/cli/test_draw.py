"""`draw` as a user types it."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from intra_search.cli.draw import draw
from intra_search.errors import SettingError
from intra_search.metrics.score import score_culane

app = typer.Typer()
app.command()(draw)


def test_a_drawn_data_set_is_scored_by_its_own_truth(tmp_path: Path) -> None:
    out = tmp_path / "culane"
    arguments = ["--format", "culane", "--count", "45", "--height", "118", "--width", "328"]
    done = CliRunner().invoke(app, [str(out), *arguments])
    assert done.exit_code == 0, done.output
    assert f"45 scenes, 328 x 118, in {out}" in done.output.replace("\n", " ")
    lists = out / "list"
    report = score_culane(out, out, lists / "test.txt", splits=lists / "test_split")
    assert report.total.f1 == 1
    assert report.num_frames == 9
    assert report.scenarios["cross"].tp == 0


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path / "x"), "--format", "kitti"])
    assert isinstance(done.exception, SettingError)
