"""The command line: `intra-search VERB`. Heavy modules are imported in the verbs, so that `--help` answers at once."""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from intra_search.cli.draw import draw
from intra_search.cli.evaluate import evaluate
from intra_search.cli.predict import predict
from intra_search.cli.printing import echo
from intra_search.cli.score import score_app
from intra_search.cluster import interrupts
from intra_search.cluster.surroundings import check_address_space
from intra_search.config.paths import absolute_path
from intra_search.errors import IntraSearchError, SettingError, printable, shortened

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(score_app, name="score")
app.command()(evaluate)
app.command()(predict)
app.command()(draw)

TYPERS_INTERRUPT = 130
"""What typer makes of a KeyboardInterrupt; older ones raise `Abort`."""
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's UsageError, or that of the click within newer typers
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Folder or URI of a study.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Entry point: errors that a user can mend become one line and exit code 2."""
    _open_closed_streams()
    interrupts.begin()
    _log_to_terminal()
    try:
        _check_arguments(sys.argv[1:])
        code = app(prog_name="intra-search", standalone_mode=False)
        if code == TYPERS_INTERRUPT:
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code)
    except USAGE_ERROR as error:
        verb = error.ctx.command_path if error.ctx else "intra-search"
        if message := error.format_message():  # none where a bare call has printed its help
            sys.stderr.write(f"intra-search: {shortened(printable(message.rstrip('.')))}; see {verb} --help\n")
        sys.exit(2)
    except IntraSearchError as error:
        sys.stderr.write(f"intra-search: {error}\n")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("intra-search: interrupted; the same command goes on from the last checkpoints\n")
        sys.exit(interrupts.exit_code())
    except BrokenPipeError:  # whoever read the output has gone, as `| head -1` does
        _drop_output()
        sys.exit(1)  # as typer does where it meets it


class _TerminalFormatter(logging.Formatter):
    """Escapes what could steer a terminal: messages name files and quote other programs."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).splitlines())


def _log_to_terminal() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_TerminalFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("intra_search").setLevel(logging.INFO)


def _open_closed_streams() -> None:
    """Gives the standard streams that are closed to /dev/null: else the next file that is opened gets their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if number == 0 else "w"))


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _check_arguments(arguments: list[str]) -> None:
    """Any argument may be a path."""
    for argument in arguments:
        if "\0" in argument:
            raise SettingError("the command line", "no argument may hold a null byte", repr(argument), "remove it")
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        if value.startswith("~"):
            absolute_path(value)


@app.command()
def run(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="Settings and search space.")],
    study: Annotated[str, typer.Option(metavar="DIR|URI", help="Where the study lives.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a setting.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print settings, samples and size of the space; run nothing.")] = False,
    address: Annotated[str, typer.Option(help="Ray cluster: auto, HOST:PORT; default: this machine.")] = "",
    takeover: Annotated[
        bool, typer.Option(help="Take a study on shared or object storage from a driver that is gone.")
    ] = False,
) -> None:
    """Start, resume or extend a study: the same command."""
    check_address_space()
    from rich.console import Console

    from intra_search.config.study_file import load_study

    plan = load_study(study_file, set_ or [])
    if dry_run:
        from intra_search.knowledge.check import check_terms
        from intra_search.report.plan import print_plan
        from intra_search.study.checks import check_single_images

        check_terms(plan.space)
        check_single_images(plan.space)
        print_plan(Console(), plan)
        return
    if not study:
        raise typer.BadParameter("needed unless --dry-run is given", param_hint="--study")
    from intra_search.report.terminal import Terminal, print_lines, print_pick, print_ranking, tensorboard_hint
    from intra_search.selection.pick import pick
    from intra_search.store.study_folder import StudyFolder
    from intra_search.study.run import run_study

    class RunConsole(Console):
        def on_broken_pipe(self) -> None:
            """Nobody reads on, as after `| head -1`: the study is left as it is at a signal."""
            self.quiet = True
            _drop_output()
            signal.raise_signal(signal.SIGTERM)

    console = RunConsole()
    with Terminal(console, plan.settings) as terminal:
        run_study(study, plan, terminal, address=address or None, takeover=takeover)
    folder = StudyFolder(study)
    print_ranking(console, folder)
    print_pick(console, folder, pick(folder))
    print_lines(console, [tensorboard_hint(folder)])


@app.command()
def status(study: StudyArgument, as_json: JsonOption = False) -> None:
    """How far a study is."""
    from intra_search.config.objectives import Objectives
    from intra_search.selection.pick import status as study_status
    from intra_search.store.lock import lock_owner
    from intra_search.store.study_folder import StudyFolder

    folder = StudyFolder(study)
    found = study_status(folder)
    if as_json:
        _print_json(found)
        return
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items() if count)
    owner = lock_owner(folder.storage)
    driver = "no driver" if owner is None else f"driver {owner.get('user')}@{owner.get('host')} pid {owner.get('pid')}"
    echo(f"trials: {counts or 'none'}; {found['finished']} finished; {driver}, generation {found['generation']}")
    spent = ", ".join(f"{purpose} {seconds:.0f}" for purpose, seconds in found["device_seconds"].items())
    echo(f"device seconds: {spent}")
    if found["best"] is not None:
        text = Objectives.of(folder.settings).text(found["best"]["objectives"])
        echo(f"best: trial {found['best']['trial']}, epoch {found['best']['epoch']}, {text}")
        if (twin := found["best"]["twin"]) is not None:
            echo(f"its plain twin {twin['value']:.4f}: distillation is worth {twin['gain']:+.4f} here (one seed)")


@app.command()
def trials(study: StudyArgument, as_json: JsonOption = False) -> None:
    """All trials of a study, best first."""
    from intra_search.store.study_folder import StudyFolder

    folder = StudyFolder(study)
    if as_json:
        folder.stored()
        _print_json([record.model_dump(mode="json") for record in folder.ledger.records()])
        return
    from rich.console import Console

    from intra_search.report.terminal import print_ranking

    print_ranking(Console(), folder)


@app.command()
def best(study: StudyArgument, as_json: JsonOption = False) -> None:
    """The picked student of a study."""
    from intra_search.selection.pick import pick
    from intra_search.store.study_folder import StudyFolder

    folder = StudyFolder(study)
    chosen = pick(folder)
    if as_json:
        _print_json(chosen.as_json())
        return
    from rich.console import Console

    from intra_search.report.terminal import print_pick

    print_pick(Console(), folder, chosen)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))
