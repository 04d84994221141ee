# SPDX-License-Identifier: BSD-3-Clause
"""The examples of the pages on extending skastro run as they stand."""

import doctest
from pathlib import Path

import pytest

from skastro.datasets.spectra import _layouts

PAGES = sorted((Path(__file__).parents[1] / "docs" / "extending").glob("*.rst"))


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_page(page, tmp_path, monkeypatch):
    # Pages write files, and add to the registries.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_layouts, "_LAYOUTS", dict(_layouts._LAYOUTS))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0
