"""`intra-search score`: the benchmarks' official metrics on files of predictions.

Numeric libraries are imported inside the commands, so that --help answers at once.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from intra_search.cli.printing import echo
from intra_search.errors import SettingError, printable

score_app = typer.Typer(
    name="score", help="The benchmarks' official metrics on files of predictions.", no_args_is_help=True
)

Predictions = Annotated[Path, typer.Option(help="Folder of predictions.", show_default=False)]
Labels = Annotated[Path, typer.Option(help="Folder of labels.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out files that cannot be used, and list them.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Processes; one per core if not given.")]


@score_app.command("culane")
def score_culane_command(
    annotations: Annotated[Path, typer.Option(help="Folder of true .lines.txt files.", show_default=False)],
    predictions: Predictions,
    frame_list: Annotated[Path, typer.Option("--list", help="List of frames, one per line.", show_default=False)],
    width: Annotated[int, typer.Option(help="Width of a drawn lane in pixels of the canvas.")] = 30,
    iou: Annotated[float, typer.Option(help="A lane is right when its IoU is greater.")] = 0.5,
    image_size: Annotated[str, typer.Option(help="Canvas as WIDTHxHEIGHT.")] = "1640x590",
    by_scenario: Annotated[bool, typer.Option("--by-scenario", help="Score the nine split lists, too.")] = False,
    splits: Annotated[
        Path | None, typer.Option(help="Folder of the split lists; `test_split` beside the list if not given.")
    ] = None,
    skip_bad: SkipBad = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """F1 of CULane: lanes drawn as strokes 30 pixels wide, matched by IoU."""
    from intra_search.metrics.culane import LaneRule
    from intra_search.metrics.score import score_culane
    from intra_search.metrics.tally import TallyOptions

    folder = splits or (frame_list.parent / "test_split" if by_scenario else None)
    report = score_culane(
        annotations,
        predictions,
        frame_list,
        rule=LaneRule(width, iou, _parse_size(image_size)),
        splits=folder,
        options=TallyOptions(skip_bad, processes),
    )
    if as_json:
        return _echo_json(report.to_json())
    rows = [("all", report.total), *report.scenarios.items()]
    _print_table(
        f"CULane, {report.num_frames} frames ({report.missing_predictions} without a prediction file)",
        ("frames", "TP", "FP", "FN", "precision", "recall", "F1"),
        [
            (name, *map(str, counts), *map(_share, (counts.precision, counts.recall, counts.f1)))
            for name, counts in rows
        ],
    )
    if report.unlisted_predictions:
        echo(f"passed over {report.unlisted_predictions} prediction files of frames that no list names", err=True)
    if report.missing_scenarios:
        echo(f"no such lists in {folder}: {', '.join(report.missing_scenarios)}", err=True)
    _print_skipped(report.skipped)


@score_app.command("apolloscape")
def score_apolloscape_command(
    labels: Labels,
    predictions: Predictions,
    skip_bad: SkipBad = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Mean IoU of ApolloScape, from PNGs of official ids paired by relative name.

    The labels may be the data set's root, the predictions then a submission: road02/<image>.png."""
    from intra_search.metrics.score import score_apolloscape
    from intra_search.metrics.tally import TallyOptions

    report = score_apolloscape(labels, predictions, TallyOptions(skip_bad, processes))
    if as_json:
        return _echo_json(report.to_json())
    scores = report.scores
    means = (
        ("mean", scores.mean_iou),
        ("mean without void", scores.mean_iou_without_void),
        ("mean of all 36", scores.mean_iou_all),
    )
    counted = [(name, value) for name, value in scores.class_iou.items() if value == value]
    _print_table(
        f"ApolloScape, {report.num_images} images",
        ("class", "IoU"),
        [(name, _share(value)) for name, value in (*counted, *means)],
    )
    if report.num_passed_over:
        echo(f"passed over {report.num_passed_over} labels of records without a prediction", err=True)
    _print_skipped(report.skipped)


@score_app.command("llamas")
def score_llamas_command(
    labels: Labels,
    predictions: Predictions,
    binary: Annotated[bool, typer.Option("--binary", help="Markers against background, class 1 alone.")] = False,
    skip_bad: SkipBad = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Average precision of LLAMAS, from PNGs named `<label file>_<class>.png`."""
    from intra_search.metrics.score import score_llamas
    from intra_search.metrics.tally import TallyOptions

    report = score_llamas(labels, predictions, binary=binary, options=TallyOptions(skip_bad, processes))
    if as_json:
        return _echo_json(report.to_json())
    sums = report.sums
    names = {"1": "marker"} if binary else dict(zip("01234", ("background", "l1", "l0", "r0", "r1"), strict=True))
    _print_table(
        f"LLAMAS, {sums.num_images} images",
        ("class", "official AUC", "exact AP"),
        [
            *((names[key], _share(scores.auc), _share(scores.exact_ap)) for key, scores in sums.means().items()),
            ("mean without background", _share(sums.mean_average_precision), _share(sums.mean_exact_ap)),
        ],
    )
    _print_skipped(report.skipped)


def _parse_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise SettingError("--image-size", "must be WIDTHxHEIGHT in pixels", repr(text), "write 1640x590")
    return int(found[1]), int(found[2])


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def _echo_json(report: dict[str, object]) -> None:
    typer.echo(json.dumps(report, indent=1))


def _print_table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    Console(markup=False, emoji=False).print(table)


def _print_skipped(skipped: list[str]) -> None:
    if skipped:
        echo(f"left out {len(skipped)}:", err=True)
    for line in skipped:
        echo(f"  {line}", err=True)
