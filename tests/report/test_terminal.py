"""What a person sees of text that comes from files."""

import io
from typing import Any

import pytest
from rich.console import Console

from intra_search.config.objectives import Objectives
from intra_search.config.study import StudySettings
from intra_search.report.terminal import Terminal, trial_table
from intra_search.store.events import Event, Note, TrialEnded
from intra_search.store.ledger import TrialRecord

FOREIGN = "\x1b]0;title\x07[red]a[/] :smile: [/b]"
SHOWN = r"\x1b]0;title\x07[red]a[/] :smile: [/b]"


def record_of(**changes: Any) -> TrialRecord:
    fields = {"trial": 0, "state": "failed", "origin": "point", "created": "now", "point": {"student.init": FOREIGN}}
    return TrialRecord(**{**fields, **changes})


@pytest.mark.parametrize("event", [Note(FOREIGN), TrialEnded(record_of(reason=FOREIGN), [])])
def test_lines_show_foreign_text_as_it_is(event: Event) -> None:
    out = io.StringIO()
    with Terminal(Console(file=out), StudySettings()) as terminal:
        terminal(event)
    assert SHOWN in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_long_line_is_cut_in_its_middle() -> None:
    out = io.StringIO()
    Terminal(Console(file=out), StudySettings())(Note("first" + "-" * 200_000 + "last"))
    assert len(out.getvalue()) < 1100
    assert out.getvalue().startswith("first")
    assert out.getvalue().endswith("last\n")


def test_the_table_shows_settings_as_they_are() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(trial_table([record_of()], Objectives.of(StudySettings()), 1, "Ranking"))
    assert f"init={SHOWN}" in out.getvalue()
