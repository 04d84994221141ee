# SPDX-License-Identifier: BSD-3-Clause
"""The job that measures spectra, run as a user runs it, with a small network."""

import importlib.util
from pathlib import Path

import joblib
import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "measure_spectra.py"
QUICK = ["--module", "mlp", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("measure_spectra", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_spectra(job, tmp_path, capsys):
    job.main([*QUICK, "--n-spectra", "200", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "catalog.ecsv",
        "history.png",
        "measurements.png",
        "model.joblib",
    }
    catalog = Table.read(tmp_path / "catalog.ecsv")
    names = ["teff", "teff_error", "logg", "logg_error", "feh", "feh_error"]
    assert catalog.colnames == ["id", *names, "flag"]
    assert [catalog[name].unit for name in names] == [units.K] * 2 + [units.dex] * 4
    assert len(catalog) == 50
    model = joblib.load(tmp_path / "model.joblib")
    too_large = catalog["teff_error"] > model.largest_std[0] * 1.001
    assert all("error" in flag for flag in catalog["flag"][too_large])
    assert np.count_nonzero(catalog["flag"] == "good") > 25
    # The lowest of 50 is below what 99 % reach.
    assert sum("unlike" in flag for flag in catalog["flag"]) == 1
    stars = job.simulate_stars(200, seed=0)
    rows = [int(name[-5:]) for name in catalog["id"]]
    np.testing.assert_array_equal(stars.id, stars.parameters["id"])
    bias = np.median(catalog["teff"] - stars.parameters["teff"][rows])
    row = next(line for line in printed.splitlines() if line.split()[:1] == ["teff"])
    assert float(row.split()[3]) == pytest.approx(bias, rel=1e-3, abs=0.1)

    given = ["--model", str(tmp_path / "model.joblib"), "--n-spectra", "40"]
    job.main([*given, "--out", str(tmp_path / "new")])
    assert len(Table.read(tmp_path / "new" / "catalog.ecsv")) == 40


def test_a_folder_on_another_grid(job, tmp_path, capsys):
    stars = job.simulate_stars(160, seed=3)
    table = stars.parameters
    table["teff"].unit = "K"
    table["feh"][:20] = np.nan
    # The order and the number of rows differ from those of the spectra.
    table[::-1][:150].write(tmp_path / "parameters.ecsv")
    names = Table(
        {"id": stars.id, "medium": np.where(np.arange(160) > 0, "vacuum", "air")}
    )
    train, new = tmp_path / "train.fits", tmp_path / "new.fits"
    for path, rows in ((train, slice(1, None)), (new, slice(0, 12))):
        flux = stars.flux[rows]
        if path == new:
            # Half the pixels of another star, and infinite ones.
            flux = flux[:, ::2].copy()
            flux[1, :400], flux[2, 5] = np.nan, np.inf
        step = 2 if path == new else 1
        fits.HDUList(
            [
                fits.PrimaryHDU(flux),
                fits.BinTableHDU(names[rows], name="LABELS"),
                fits.ImageHDU(stars.wavelength[::step], name="WAVELENGTH"),
            ]
        ).writeto(path)
    given = ["--parameters", str(tmp_path / "parameters.ecsv"), "--out", str(tmp_path)]
    targets = ["--targets", "feh", "teff"]
    job.main([*QUICK, *targets, *given, "--train", str(train), "--test", str(new)])
    assert "150 of 159 spectra have parameters" in capsys.readouterr().out
    catalog = Table.read(tmp_path / "catalog.ecsv")
    assert catalog["id"].tolist() == stars.id[:12]
    flags = [set(flag.split(",")) for flag in catalog["flag"]]
    assert "medium" in flags[0]
    assert flags[1] == {"gaps"}
    assert np.isnan(catalog["teff"]).tolist() == [i == 1 for i in range(12)]
    assert not any({"gaps", "medium"} & flag for flag in flags[2:])
    model = joblib.load(tmp_path / "model.joblib")
    assert model.targets == ["feh", "teff"]
    assert model.pipeline[-1].log_target_.tolist() == [False, True]


def test_files_that_cannot_be_read_are_in_the_catalog(job, tmp_path, data_dir):
    options = [*QUICK, "--n-spectra", "120", "--out", str(tmp_path)]
    job.main(options)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "broken.fits").write_text("no spectrum")
    good = next((data_dir / "survey_files").glob("boss_lite_STAR*"))
    (folder / "good.fits").write_bytes(good.read_bytes())
    model = str(tmp_path / "model.joblib")
    with pytest.warns(UserWarning, match=r"broken\.fits"):
        job.main(["--model", model, "--test", str(folder), "--out", str(tmp_path)])
    catalog = Table.read(tmp_path / "catalog.ecsv")
    assert catalog["id"][1] == "broken.fits"
    assert catalog["flag"][1] == "unreadable"
    assert np.isfinite(catalog["teff"]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "model.joblib", "--train", "a.fits"], "--test"),
        (["--train", "a.fits"], "--parameters"),
    ],
)
def test_arguments_that_do_not_fit(job, arguments, message, capsys):
    with pytest.raises(SystemExit):
        job.main(arguments)
    assert message in capsys.readouterr().err


def test_parameters_are_joined_by_id_and_in_units(job):
    table = Table({"id": ["b", "a", "c"], "teff": [5, 6, 7] * units.kK})
    table["logg"] = np.ma.masked_equal([4.0, -9, 3], -9)
    table["logg"].unit = "dex"
    ids = np.array(["a", "b", "d"])
    y, found = job.join_parameters(ids, table, ["teff", "logg"], ["K", "dex"])
    np.testing.assert_allclose(y, [[6000, np.nan], [5000, 4], [np.nan, np.nan]])
    y, found = job.join_parameters(ids, table, ["teff", "logg"])
    assert found == ["kK", "dex"]
    assert y[0, 0] == 6


def test_parameters_that_do_not_fit(job):
    table = Table({"id": ["a", "a"], "teff": [5000.0, 6000]})
    with pytest.raises(SystemExit, match=r"no columns \['logg'\]"):
        job.join_parameters(np.array(["a"]), table, ["teff", "logg"])
    with pytest.raises(SystemExit, match="several times"):
        job.join_parameters(np.array(["a"]), table, ["teff"])
