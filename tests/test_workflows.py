# SPDX-License-Identifier: BSD-3-Clause
"""The hosts' workflows call tox and nothing else, with least permissions.

They are read with PyYAML, which astropy needs anyway.
"""

import configparser
import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INSTALL = "python -m pip install -c constraints.txt tox"
TOX = re.compile(r"tox run -e (?P<env>[\w.]+|\$\{\{ matrix\.env \}\})(?: -- \S+)?")
# An action's major version, or the release branch that its authors tell to use.
PINNED = re.compile(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)")


def load(path: Path) -> dict:
    # YAML 1.1 reads the key "on" as a truth value.
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def environments() -> set[str]:
    """Return the environments that tox.ini declares."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    sections = [name.partition(":") for name in config.sections()]
    return {"py"} | {name for kind, _, name in sections if kind == "testenv" and name}


def called(job: dict) -> set[str]:
    """Return the tox environments of a job; fail on any other command."""
    found = set()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    if commands:
        assert commands[0] == INSTALL
    for command in commands[1:]:
        env = TOX.fullmatch(command)["env"]
        if env.startswith("$"):
            matrix = job["strategy"]["matrix"]
            found |= {*matrix["env"], *(extra["env"] for extra in matrix["include"])}
        else:
            found.add(env)
    return found


def test_there_are_workflows():
    assert {path.name for path in WORKFLOWS} == {"release.yml", "tests.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_only_tox(path):
    found = set().union(*map(called, load(path)["jobs"].values()))
    assert found
    assert found <= environments()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_has_least_permissions(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        # The token that trusted publishing needs is the only addition.
        assert job.get("permissions", {}) in ({}, {"id-token": "write"})
        assert "timeout-minutes" in job
        for step in job["steps"]:
            assert "uses" not in step or PINNED.fullmatch(step["uses"])


def test_tests_run_on_each_system_with_oldest_and_newest_versions():
    matrix = load(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]
    matrix = matrix["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {
        "macos",
        "ubuntu",
        "windows",
    }
    assert set(matrix["env"]) == {"oldest", "py"}
    extra = {(job["env"], job["python"]) for job in matrix["include"]}
    classifiers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    newest = max(re.findall(r"Python :: 3\.(\d+)", classifiers), key=int)
    assert ("py", f"3.{newest}") in extra


def test_documentation_host_calls_only_tox():
    jobs = load(ROOT / ".readthedocs.yaml")["build"]["jobs"]
    (command,) = jobs["build"]["html"]
    assert TOX.fullmatch(command)["env"] == "docs"
    assert jobs["install"] == [INSTALL]


def test_issue_templates_state_a_name_and_what_they_are_for():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    assert "contact_links" in load(folder / "config.yml")
    names = set()
    for path in folder.glob("*.md"):
        _, header, body = path.read_text(encoding="utf-8").split("---\n", 2)
        fields = yaml.safe_load(header)
        assert fields["about"]
        assert body.strip()
        names.add(fields["name"])
    assert {"Add a network", "Add a survey layout", "Bug report"} == names
