# SPDX-License-Identifier: BSD-3-Clause
"""The code on the pages of the published systems runs, on small files."""

import re
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from skastro.datasets import make_spectra
from skastro.estimators import galaxy, spectrum, vae
from skastro.sevi import _regressor as sevi

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "systems"
if not FOLDER.is_dir():
    pytest.skip("the folder docs is not here", allow_module_level=True)
PAGES = sorted(page for page in FOLDER.glob("*.rst") if page.stem != "index")
BLOCK = re.compile(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)")


@pytest.fixture
def _small(tmp_path, monkeypatch):
    """Write the files that the pages read, and shorten the recipes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with h5py.File("Galaxy10.h5", "w") as file:
        file["images"] = rng.integers(0, 256, (40, 69, 69, 3), dtype=np.uint8)
        file["ans"] = np.tile(np.arange(10, dtype=np.uint8), 4)
    spectra = make_spectra(30, wavelength=np.arange(3900.0, 9000.0, 50), random_state=0)
    hdus = [
        fits.PrimaryHDU(spectra.flux),
        fits.BinTableHDU(Table({"class": spectra.target}), name="LABELS"),
        fits.ImageHDU(spectra.wavelength, name="WAVELENGTH"),
    ]
    fits.HDUList(hdus).writeto("spectra.fits")
    Path("images").mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"images/{number}.png")
    for module in (galaxy, spectrum, vae, sevi):
        for recipe in module.RECIPES.values():
            monkeypatch.setitem(recipe, "max_epochs", 1)
    monkeypatch.setitem(sevi.RECIPES["published"], "n_simulated", 40)
    monkeypatch.setitem(sevi.RECIPES["published"], "n_replaced", 2)


@pytest.mark.usefixtures("_small")
# Trainings of one epoch on few samples warn of what they are.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page):
    names: dict = {}
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(textwrap.dedent(block), str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_a_figure_and_a_row(page):
    figure = DOCS / "_static" / "systems" / f"{page.stem}.png"
    assert figure.stat().st_size < 60_000
    assert f"/_static/systems/{figure.name}" in page.read_text(encoding="utf-8")
    index = (FOLDER / "index.rst").read_text(encoding="utf-8")
    assert f":doc:`{page.stem}`" in index
    assert f"\n   {page.stem}\n" in index
