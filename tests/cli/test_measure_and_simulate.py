# SPDX-License-Identifier: BSD-3-Clause
"""skastro simulate and measure, whose files fit together, and fetch."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from skastro.cli import main
from skastro.datasets import read_galaxies, read_spectra
from skastro.sevi import make_sevi, read_sevi


def run(*arguments, expected=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expected, result.output
    return result.output


def test_spectra(tmp_path):
    out = tmp_path / "spectra.fits"
    assert "Wrote 30 spectra" in run("simulate", "spectra", 30, "--out", out)
    spectra = read_spectra(out, verbose=0)
    assert spectra.flux.shape == (30, 3000)
    assert set(spectra.target) == {"GALAXY", "QSO", "STAR"}
    assert np.isfinite(spectra.redshift).all()
    again = tmp_path / "again.fits"
    run("simulate", "spectra", 30, "--out", again, "--seed", 1)
    assert not np.array_equal(read_spectra(again, verbose=0).flux, spectra.flux)


def test_galaxies(tmp_path):
    pytest.importorskip("galsim")
    out = tmp_path / "galaxies.h5"
    run("simulate", "galaxies", 3, "--out", out)
    galaxies = read_galaxies(out)
    assert galaxies.images.shape[0] == len(galaxies.parameters) == 3


@pytest.mark.parametrize("n_shells", [1, 2])
def test_shells_are_measured(n_shells, tmp_path):
    images, out = tmp_path / "images.h5", tmp_path / "shells.ecsv"
    run("simulate", "shells", 4, "--n-shells", n_shells, "--out", images)
    options = ["--n-shells", n_shells, "--quick", "--out", out]
    text = run("measure", images, *options)
    assert f"Wrote {4 * n_shells} shells" in text
    table = Table.read(out)
    truth = read_sevi(images, verbose=0)
    assert table["image"].tolist() == np.repeat(range(4), n_shells).tolist()
    pull = (table["radius"] - np.ravel(truth.radius)) / table["radius_error"]
    assert np.abs(pull).max() < 6
    beta = np.reshape(truth.beta, (-1, 12))
    pulls = [
        (table[f"beta_{i + 1}"] - beta[:, i]) / table[f"beta_{i + 1}_error"]
        for i in range(3)
    ]
    assert np.abs(pulls).max() < 6


def test_axis_and_convention(tmp_path):
    sevi = make_sevi(2, size=128, n_electrons=1e5, random_state=0)
    np.save(tmp_path / "images.npy", sevi.images.transpose(0, 2, 1))
    options = ["--polarization-axis", 0, "--convention", "vmi", "--quick"]
    out = tmp_path / "shells.csv"
    run("measure", tmp_path / "images.npy", *options, "--out", out)
    table = Table.read(out)
    assert "b_12_error" in table.colnames
    pull = (table["b_1"] - 2 * sevi.beta[:, 0]) / table["b_1_error"]
    assert np.abs(pull).max() < 6


@pytest.mark.filterwarnings("default::UserWarning")
def test_images_that_show_no_shells(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.poisson(5, (1, 64, 64)).astype(float))
    out = tmp_path / "shells.ecsv"
    text = run("measure", tmp_path / "images.npy", "--quick", "--out", out)
    assert "No image shows the shells that are looked for" in text
    table = Table.read(out)
    assert table["out_of_range"].all()
    assert "misfit" in table.colnames


def test_refusals(tmp_path):
    (tmp_path / "there.fits").touch()
    for arguments in (
        ["simulate", "spectra", 3, "--out", tmp_path / "there.fits"],
        ["measure", tmp_path / "there.fits", "--out", tmp_path / "there.fits"],
    ):
        assert "exists. Give another --out" in run(*arguments, expected=1)
    text = run("simulate", "spectra", 3, "--out", tmp_path / "a.doc", expected=1)
    assert "must end in .fits" in text
    gone = tmp_path / "gone" / "a.fits"
    text = run("simulate", "spectra", 3, "--out", gone, expected=1)
    assert f"the folder {gone.parent} does not exist" in text
    assert [path.name for path in tmp_path.iterdir()] == ["there.fits"]
    np.save(tmp_path / "images.npy", np.ones((2, 8, 8)))
    text = run("measure", tmp_path / "images.npy", "--out", "shells.txt", expected=1)
    assert "ends in none of .fits" in text
    fits.PrimaryHDU(np.ones((5, 9))).writeto(tmp_path / "flux.fits")
    shells = tmp_path / "shells.fits"
    text = run("measure", tmp_path / "flux.fits", "--out", shells, expected=1)
    assert "it is a FITS file. Expected is" in text
    assert "'typo' is not one of" in run("fetch", "typo", expected=2)


def test_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("SKASTRO_HOME", str(tmp_path))
    text = run("fetch", "galaxy10-sdss", "--url", "http://localhost:9/x", expected=1)
    assert text.startswith("Error: ")
    assert "Traceback" not in text
