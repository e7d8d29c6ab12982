"""`intra-search draw`: synthetic road scenes in a data set's own layout."""

from pathlib import Path
from typing import Annotated

import typer

from intra_search.cli.printing import echo


def draw(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    layout: Annotated[str, typer.Option("--format", help="apolloscape, culane, llamas or folder.")],
    count: Annotated[int, typer.Option(help="Scenes in all; train, val and test share them.")] = 100,
    height: Annotated[int | None, typer.Option(help="Rows of a frame; the layout's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(help="Columns of a frame; the layout's own if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other scenes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace scenes drawn there earlier.")] = False,
) -> None:
    """Draw synthetic road scenes with exact labels in a data set's own layout."""
    from rich.console import Console
    from rich.progress import Progress

    from intra_search.scenes.writers.formats import draw_data_set, draw_order

    order = draw_order(layout, count, seed, height, width)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"drawing {layout}", total=count)
        draw_data_set(out, layout, order, overwrite=overwrite, progress=lambda done: bar.update(task, completed=done))
    echo(f"{count} scenes, {order.width} x {order.height}, in {out}")
    echo(f"use them: --set scenes.dataset={layout} --set scenes.root='\"{out}\"'")
