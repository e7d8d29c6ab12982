"""The one-way street of imports, and what start-up may cost. Files are read as text: a broken import cannot hide."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import intra_search

PACKAGE = Path(intra_search.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
LAYERS = (
    "errors config store scenes networks metrics deploy distill knowledge training cluster selection search study "
    "report cli"
).split()
RAY_FILES = {
    "knowledge/extraction.py",
    "training/worker.py",
    "search/tune/run.py",
    "search/tune/searcher.py",
    "search/tune/scheduler.py",
    "search/tune/single.py",
    "search/tune/group.py",
    "cluster/connect.py",
    "cluster/client.py",
}


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(text: str) -> Iterator[tuple[int, str]]:
    """(level, module) of every import statement, at module level or inside functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` imports a module too.
            yield from ((node.level, f"{node.module or ''}.{alias.name}") for alias in node.names)


def imported_layers(text: str) -> set[str]:
    parts = [module.split(".") for _, module in imported_modules(text)]
    return {part[1] for part in parts if part[0] == "intra_search" and len(part) > 1}


def test_the_reader_of_imports_sees_every_form() -> None:
    text = (
        "import intra_search.cli.app\nfrom intra_search import report\ndef f():\n    from intra_search.store.x import y"
    )
    assert imported_layers(text) == {"cli", "report", "store"}
    assert list(imported_modules("from . import x")) == [(1, ".x")]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_left_and_are_absolute(file: Path) -> None:
    text = file.read_text()
    assert not [module for level, module in imported_modules(text) if level > 0]
    imported = imported_layers(text)
    if file.parent == PACKAGE and file.name == "__init__.py":
        assert not imported
        return
    own = layer_of(file)
    assert own in LAYERS
    assert not imported & set(LAYERS[LAYERS.index(own) + 1 :])


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_ray_is_imported_only_where_the_design_names_it(file: Path) -> None:
    modules = [module.split(".")[0] for _, module in imported_modules(file.read_text())]
    assert "ray" not in modules or name_of(file) in RAY_FILES


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_are_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MAX_LINES


def test_every_module_imports() -> None:
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "intra_search.")]
    assert len(names) > 50
    for name in names:
        if not name.endswith(".__main__"):  # importing it would run it
            importlib.import_module(name)


def heavy_modules_after(code: str) -> str:
    """Runs code in a fresh interpreter; prints which of torch and ray it brought in."""
    script = f"import sys\n{code}\nsys.stderr.write(','.join(name for name in ('torch', 'ray') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_reader_of_heavy_modules_sees_torch() -> None:
    assert heavy_modules_after("import torch") == "torch"


@pytest.mark.parametrize("module", ["report.terminal", "report.plan", "selection.pick", "search.conductor"])
def test_reporting_needs_neither_torch_nor_ray(module: str) -> None:
    assert heavy_modules_after(f"import intra_search.{module}") == ""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["score", "--help"], ["status", "--help"]])
def test_help_imports_neither_torch_nor_ray(arguments: list[str]) -> None:
    code = (
        f"sys.argv = ['intra-search', *{arguments}]\n"
        "from intra_search.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as leave:\n    assert not leave.code"
    )
    assert heavy_modules_after(code) == ""
