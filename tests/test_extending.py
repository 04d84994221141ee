# SPDX-License-Identifier: BSD-3-Clause
"""The examples of the pages on extending skastro run as they stand."""

import doctest
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from skastro.base import BaseNet
from skastro.datasets import register_layout
from skastro.datasets.spectra import _layouts

FOLDER = Path(__file__).parents[1] / "docs" / "extending"
PAGES = sorted(page for page in FOLDER.glob("*.rst") if page.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_page(page, tmp_path, monkeypatch):
    # Pages write files, and add to the registries.
    monkeypatch.chdir(tmp_path)
    module = register_layout.__globals__
    monkeypatch.setitem(module, "_LAYOUTS", dict(module["_LAYOUTS"]))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0


def test_index_lists_all_pages():
    index = (FOLDER / "index.rst").read_text(encoding="utf-8")
    listed = index.split(":maxdepth: 1")[1].split()
    assert sorted(listed) == [page.stem for page in PAGES]


def test_guide_lists_the_fields_of_a_layout():
    page = (FOLDER / "layout.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - (``.*)$", page, flags=re.MULTILINE)
    fields = re.findall(r"``(\w+)``", " ".join(rows))
    assert sorted(fields) == sorted(_layouts._OPTIONAL)


# The estimator of the guide ---------------------------------------------------------


def definitions(page: str) -> str:
    """Return the code of a page up to its last class, imports included."""
    examples = doctest.DocTestParser().get_examples(
        (FOLDER / page).read_text(encoding="utf-8")
    )
    sources = [example.source for example in examples]
    last = max(i for i, source in enumerate(sources) if source.startswith("class "))
    return "".join(sources[: last + 1])


CODE = definitions("estimator.rst")
GUIDE = ModuleType("skastro_guide_estimator")
# Pickles look for the class here.
sys.modules[GUIDE.__name__] = GUIDE
exec(CODE, GUIDE.__dict__)
TINY = {"lr": 2e-2, "random_state": 0, "verbose": 0, "device": "cpu"}


@pytest.mark.once
@parametrize_with_checks([GUIDE.PixelRegressor(max_epochs=40, batch_size=32, **TINY)])
def test_estimator_of_the_guide_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def test_estimator_of_the_guide_is_short():
    lines = [line for line in CODE.splitlines() if line.strip()]
    assert len(lines) <= 40


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_estimator_of_the_guide_is_restored(tmp_path, safe, weighted):
    rng = np.random.default_rng(0)
    X = (50 + 3 * rng.normal(size=(40, 20))).astype(np.float32)
    y = 5000 + 300 * X[:, 5]
    weight = {"sample_weight": rng.uniform(0.5, 2, size=40)} if weighted else {}
    net = GUIDE.PixelRegressor(module__width=8, **TINY).fit(X, y, **weight)
    # Learned from the training rows alone.
    assert not np.allclose(net.pixel_mean_, X.mean(axis=0), rtol=1e-6)
    assert float(net.module_input(X).abs().max()) <= net.clip
    net.save_params(tmp_path / "net", use_safetensors=safe)
    fresh = GUIDE.PixelRegressor(module__width=8, **TINY)
    fresh.load_params(tmp_path / "net", use_safetensors=safe)
    np.testing.assert_array_equal(fresh.predict(X), net.predict(X))
    assert isinstance(fresh.pixel_scale_, torch.Tensor)


def test_guide_lists_the_hooks_of_the_base():
    page = (FOLDER / "estimator.rst").read_text(encoding="utf-8")
    hooks = re.findall(r"^    ``(_\w+)\(", BaseNet.__doc__, flags=re.MULTILINE)
    hooks += re.findall(r"and ``(_\w+)\(", BaseNet.__doc__)
    assert len(hooks) >= 10
    named = re.findall(r"^   \* - ``(_\w+)\(", page, flags=re.MULTILINE)
    named += re.findall(r"\)``, ``(_\w+)\(", page)
    assert sorted(named) == sorted(hooks)
    for hook in hooks:
        assert callable(getattr(BaseNet, hook))
