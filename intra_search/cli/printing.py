"""What the verbs print."""

import typer

from intra_search.errors import printable


def echo(line: str, *, err: bool = False) -> None:
    """Prints one line, which may hold text from files."""
    typer.echo(printable(line), err=err)
