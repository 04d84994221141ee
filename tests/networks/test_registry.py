# SPDX-License-Identifier: BSD-3-Clause
"""Names of networks."""

import inspect
import os
import pickle
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from torch import nn

import skastro
from skastro.networks import available_modules, get_module, register, registry
from skastro.utils import _entry_points, load_entry_points

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_MODULES", dict(registry._MODULES))


class Tiny(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.fc = nn.Linear(1, n_outputs)


FOR_BOTH = {"mlp", "resnet10", "resnet18", "resnet34", "resnet50", "resnet101"}
FOR_SPECTRA = {"convnet", "densenet", "redshift"}


def test_built_in_names():
    assert set(available_modules(1)) >= FOR_BOTH | FOR_SPECTRA
    assert set(available_modules(2)) >= FOR_BOTH
    assert not FOR_SPECTRA & set(available_modules(2))


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("name", sorted(FOR_BOTH))
def test_built_in_modules_pickle_and_name_their_parameters(name, ndim):
    module = pickle.loads(pickle.dumps(get_module(name, ndim)))
    parameters = inspect.signature(module).parameters
    assert "n_outputs" in parameters
    assert "dropout" in parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


def test_registered_module_is_found_for_its_ndim_only():
    assert register("tiny", ndim=1)(Tiny) is Tiny
    assert get_module("tiny", ndim=1) is Tiny
    assert "tiny" in available_modules(1)
    with pytest.raises(ValueError, match=r"'tiny' for 2-D.*one for 1-D input"):
        get_module("tiny", ndim=2)


def test_name_of_another_module_is_kept():
    with pytest.raises(ValueError, match=r"'resnet18' belongs to .*choose another"):
        register("resnet18", ndim=1)(Tiny)
    assert get_module("resnet18", ndim=1) is not Tiny


def test_class_defined_again_replaces_itself():
    register("tiny", ndim=1)(Tiny)
    again = type("Tiny", (Tiny,), {"__module__": Tiny.__module__})
    register("tiny", ndim=1)(again)
    assert get_module("tiny", ndim=1) is again


@pytest.mark.parametrize(
    ("name", "close"),
    [("resnet-18", "resnet18"), ("ResNet34", "resnet34"), ("densent", "densenet")],
)
def test_unknown_name_names_a_close_one(name, close):
    with pytest.raises(ValueError, match=f"no network '{name}'.*mean '{close}'.*Known"):
        get_module(name, ndim=1)


def test_unknown_name_like_no_other_names_all():
    with pytest.raises(ValueError, match=r"no network 'xyz' for 2-D.*Known: .*'mlp'"):
        get_module("xyz", ndim=2)


@pytest.mark.parametrize("ndim", [0, 3, None])
def test_unknown_ndim_is_refused(ndim):
    for function in (available_modules, lambda ndim: get_module("mlp", ndim)):
        with pytest.raises(ValueError, match=r"ndim must be 1 .* or 2 .*but got"):
            function(ndim)
    with pytest.raises(ValueError, match="ndim must be 1"):
        register("tiny", ndim)


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(TypeError, match="must be a string, but got 3 of type int"):
        register(3, ndim=1)
    with pytest.raises(TypeError, match="can be registered, but got 'Tiny'"):
        register("tiny", ndim=1)("Tiny")


def entry_point(value):
    return EntryPoint(name="tiny", value=value, group="skastro.networks")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretend that a package with a network is installed."""
    source = """
from torch import nn
from skastro.networks import register

@register("installed", ndim=1)
class Installed(nn.Linear):
    pass
"""
    (tmp_path / "package_with_network.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    monkeypatch.setattr(_entry_points, "entry_points", lambda group: found)
    load_entry_points.cache_clear()
    yield found
    load_entry_points.cache_clear()
    sys.modules.pop("package_with_network", None)


@pytest.mark.parametrize(
    "value", ["package_with_network", "package_with_network:Installed"]
)
def test_network_of_an_installed_package_is_found(installed, value):
    installed.append(entry_point(value))
    assert get_module("installed", ndim=1).__name__ == "Installed"
    assert "installed" in available_modules(1)


def test_broken_package_gives_a_warning_only(installed):
    installed.append(entry_point("package_that_is_not_there"))
    with pytest.warns(UserWarning, match="'package_that_is_not_there', cannot be"):
        assert "resnet18" in available_modules(1)


def test_adding_a_network_takes_one_file_and_one_line(tmp_path):
    """Add one to a copy of the package, which then knows its name."""
    copy = tmp_path / "skastro"
    shutil.copytree(Path(skastro.__file__).parent, copy)
    source = """
from torch import nn
from skastro.networks.registry import register

@register("mine", ndim=1)
class Mine(nn.Linear):
    pass
"""
    (copy / "networks" / "mine.py").write_text(source, encoding="utf-8")
    with open(copy / "networks" / "__init__.py", "a", encoding="utf-8") as file:
        file.write("from skastro.networks.mine import Mine as Mine\n")
    code = "from skastro.networks import get_module; print(get_module('mine', 1))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert run.stdout == "<class 'skastro.networks.mine.Mine'>\n"
