# SPDX-License-Identifier: BSD-3-Clause
"""The files that state versions agree with each other and with the README."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    """Return the pinned versions of a constraints file by the package's name."""
    lines = (line for line in read(name).splitlines() if line and line[0] != "#")
    return dict(line.split("==") for line in lines)


def bounds(*extras: str) -> dict[str, tuple[str, str | None]]:
    """Return the lower and upper bounds of pyproject.toml by the package's name."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    found = {}
    for requirement in requirements:
        pattern = r"([\w-]+)>=([\d.]+)(?:,<([\d.]+))?(?:; .+)?"
        name, lower, upper = re.fullmatch(pattern, requirement).groups()
        found[name] = lower, upper
    return found


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_every_dependency_is_pinned_within_its_bounds():
    pinned = pins("constraints.txt")
    for name, (lower, upper) in bounds("test", "docs").items():
        assert as_numbers(lower) <= as_numbers(pinned[name]), name
        assert upper is None or as_numbers(pinned[name]) < as_numbers(upper), name


def test_oldest_versions_are_the_lower_bounds():
    lowest = {name: lower for name, (lower, _) in bounds("test").items()}
    oldest = pins("constraints-oldest.txt")
    # No environment installs an older torch: see constraints-oldest.txt.
    del lowest["torch"]
    assert {name: oldest[name] for name in lowest} == lowest
    assert oldest["torch"] == pins("constraints.txt")["torch"]


def test_pre_commit_hooks_use_the_pinned_versions():
    config = read(".pre-commit-config.yaml")
    found = re.findall(r"additional_dependencies: \[([\w-]+)==([\d.]+)\]", config)
    assert len(found) == config.count("additional_dependencies") > 0
    pinned = pins("constraints.txt")
    assert {name: pinned[name] for name, _ in found} == dict(found)
    assert len(set(found)) == len(dict(found))


def test_continuous_integration_runs_the_test_command_of_the_readme():
    command = read(".ci/run").splitlines()[-1]
    assert command.endswith("tox run-parallel")
    assert command in read("README.md")
