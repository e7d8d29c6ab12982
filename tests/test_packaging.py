"""What pyproject.toml promises about other packages and about Python is what CI tries."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "pyproject.toml").read_text()
PROJECT: dict[str, Any] = tomllib.loads(TEXT)["project"]
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
