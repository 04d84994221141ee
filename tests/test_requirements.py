# SPDX-License-Identifier: BSD-3-Clause
"""The files that state versions agree with each other and with the README."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    """Return the pinned versions of a constraints file by the package's name."""
    lines = (line for line in read(name).splitlines() if line and line[0] != "#")
    return dict(line.split("==") for line in lines)


def lower_bounds(*extras: str) -> dict[str, str]:
    """Return the lower bounds of pyproject.toml by the package's name."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    return dict(
        re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        for requirement in requirements
    )


def test_every_dependency_is_pinned():
    assert set(lower_bounds("test", "docs")) <= set(pins("constraints.txt"))


def test_oldest_versions_are_the_lower_bounds():
    bounds = lower_bounds("test")
    oldest = pins("constraints-oldest.txt")
    # No environment installs an older torch: see constraints-oldest.txt.
    del bounds["torch"]
    assert {name: oldest[name] for name in bounds} == bounds
    assert oldest["torch"] == pins("constraints.txt")["torch"]


@pytest.mark.parametrize("tool", ["ruff", "pre-commit-hooks"])
def test_pre_commit_hooks_use_one_version_of_each_tool(tool):
    config = read(".pre-commit-config.yaml")
    found = set(re.findall(rf"\[{tool}==([\d.]+)\]", config))
    assert len(found) == 1
    assert pins("constraints.txt").get(tool, *found) in found


def test_continuous_integration_runs_the_test_command_of_the_readme():
    command = read(".ci/run").splitlines()[-1]
    assert command.endswith("tox")
    assert command in read("README.md")
