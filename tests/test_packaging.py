"""What pyproject.toml promises about other packages and about Python is what CI tries."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import Distribution

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "pyproject.toml").read_text()
PROJECT: dict[str, Any] = tomllib.loads(TEXT)["project"]
PACKAGE_DATA: dict[str, list[str]] = tomllib.loads(TEXT)["tool"]["setuptools"]["package-data"]
OPTIONAL: dict[str, list[str]] = PROJECT["optional-dependencies"]
LINES: list[str] = [*PROJECT["dependencies"], *(line for group in OPTIONAL.values() for line in group)]
OLDEST = (ROOT / ".ci" / "oldest.txt").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def versions(lines: list[str], operator: str) -> dict[str, Version]:
    """Version by package. Each line names one package and one version, with this operator."""
    found: dict[str, Version] = {}
    for line in lines:
        requirement = Requirement(line)
        (bound,) = requirement.specifier
        assert bound.operator == operator, line
        assert requirement.name not in found, line
        found[requirement.name] = Version(bound.version)
    return found


def test_each_floor_is_the_version_that_the_oldest_job_installs() -> None:
    tried = [line for line in OLDEST.splitlines() if line and not line.startswith("#")]
    assert versions(LINES, ">=") == versions(tried, "==")


@pytest.mark.parametrize("line", LINES)
def test_each_dependency_says_what_it_is_for(line: str) -> None:
    assert re.search(rf'^ +"{re.escape(line)}", +# \S', TEXT, re.MULTILINE)


def test_each_python_that_is_promised_runs_the_tests_and_a_bare_install() -> None:
    promised = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert PROJECT["requires-python"] == f">={promised[0]}"
    for version in promised:
        assert f'python: "{version}", constraints: ""' in WORKFLOW
    assert f"python: {promised}".replace("'", '"') in WORKFLOW


def test_the_networks_that_ship_are_data_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What setuptools would copy into a wheel: all of each shipped folder, as it stands in the tree."""
    monkeypatch.chdir(ROOT)
    distribution = Distribution({"packages": ["intra_search"], "package_data": PACKAGE_DATA})
    command = distribution.get_command_obj("build_py")
    assert command is not None
    command.ensure_finalized()
    command.set_undefined_options("build", ("build_lib", "build_lib"))
    packed = {
        (Path(folder) / name).relative_to("intra_search").as_posix()
        for _, folder, _, names in command.data_files
        for name in names
    }
    shipped = ROOT / "intra_search/networks/shipped"
    wanted = {path.relative_to(ROOT / "intra_search").as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert {"networks/shipped/drawn_roads/manifest.json", "networks/shipped/drawn_roads/network.pt"} <= wanted <= packed
