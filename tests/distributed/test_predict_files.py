# SPDX-License-Identifier: BSD-3-Clause
"""Survey files, which workers read: results and reasons of failures, file by file."""

import os
import shutil
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch

from skastro import MinMaxSpectra, make_pipeline
from skastro.datasets import read_spectra

# Of the fixture `run`: rows or files of a partition.
PARTITION_SIZE = 4
GRID = np.linspace(4000, 8000, 300)


def fluxes(rows):
    """Return numbers that depend on all pixels, and on the scale of the flux."""
    return np.nan_to_num(rows[:, ::50])


@pytest.fixture
def sums():
    return FunctionTransformer(fluxes, validate=False)


@pytest.fixture
def survey(data_dir, tmp_path):
    """Copy survey files of many layouts, with damaged ones among them."""
    folder = tmp_path / "survey"
    shutil.copytree(data_dir / "survey_files", folder)
    (folder / "a_damaged.fits").write_bytes(b"SIMPLE  =                    T")
    (folder / "eboss_empty.fits").touch()
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(folder / "m_image.fits")
    (folder / ".hidden.fits").touch()
    (folder / "notes.txt").write_text("not a spectrum")
    return folder


def some_fail(n_failed, n_rows, reason=""):
    """Expect the warning about rows without a result."""
    message = rf"{n_failed} of {n_rows} rows have no result.* because: .*{reason}"
    return pytest.warns(UserWarning, match=message)


def read_table(path):
    return pd.read_parquet(path)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_same_as_in_one_process(run, survey, sums, size):
    with pytest.warns(UserWarning, match="3 of 28 files could not be read"):
        whole = read_spectra(survey, verbose=0)
    with some_fail(5, 28, "truncated"):
        table = read_table(run(sums, survey, "a.parquet", partition_size=size))
    names = sorted(path.name for path in survey.glob("[!.]*.fit*"))
    assert [os.path.basename(path) for path in table["path"]] == names
    assert table.columns[:3].tolist() == ["id", "path", "failure"]
    good = table[table["failure"] == ""]
    assert_array_equal(good["path"], whole.table["path"])
    assert_array_equal(good["id"], whole.id)
    assert_allclose(good.iloc[:, 3:], fluxes(whole.flux), rtol=1e-5)
    bad = table[table["failure"] != ""]
    assert bad.iloc[:, 3:].isna().all(axis=None)
    reasons = dict(whole.failures)
    reasons |= {
        path: f"left out: the kind of the spectrum is {kind}"
        for path, kind in whole.left_out
    }
    assert dict(zip(bad["path"], bad["failure"], strict=True)) == reasons
    assert len(reasons) == 5


def test_formats_hold_the_same(run, survey, sums):
    with some_fail(5, 28):
        table = read_table(run(sums, survey, "a.parquet"))
    with some_fail(5, 28):
        out = run(sums, survey, "a.h5")
    with h5py.File(out) as file:
        assert set(file) == {"transform", "id", "path", "failure"}
        for name in ("id", "path", "failure"):
            assert_array_equal(file[name].asstr()[:], table[name])
        assert_array_equal(file["transform"][:], table.iloc[:, 3:])
    with some_fail(5, 28):
        out = run(sums, survey, "a.csv")
    lines = pd.read_csv(out, keep_default_na=False)
    assert lines.columns.tolist() == table.columns.tolist()
    for name in ("id", "path", "failure"):
        assert_array_equal(lines[name], table[name])


def test_probabilities_on_a_grid(run, survey, tmp_path):
    read = partial(read_spectra, wavelength=GRID, verbose=0)
    files = sorted(survey.glob("sdss_legacy*")) + sorted(survey.glob("lamost_dr1_*"))
    spectra = read(files)
    pipe = make_pipeline(
        MinMaxSpectra(nan_policy="interpolate"),
        FunctionTransformer(lambda rows: rows[:, ::50], validate=False),
    ).fit(spectra.flux)
    table = read_table(run(pipe, files, "a.parquet", read=read))
    assert_allclose(table.iloc[:, 3:], pipe.transform(spectra.flux), rtol=1e-5)
    assert_array_equal(table["path"], [str(path) for path in files])


def test_interrupted_run_goes_on(run, survey, sums, client, tmp_path):
    class Stops(FunctionTransformer):
        limit = 2

        def transform(self, X):
            # The client reads files one by one.
            if len(X) > 1:
                self.limit -= 1
                if self.limit < 0:
                    raise OSError("Disk on fire")
            return fluxes(X)

    with some_fail(5, 28):
        expected = run(sums, survey, "b.h5").read_bytes()
    with pytest.raises(OSError, match="Disk on fire") as caught:
        run(Stops(validate=False), survey)
    notes = "\n".join(caught.value.__notes__)
    assert "In partition" in notes
    assert "of 28 files are finished and kept in" in notes
    with pytest.raises(ValueError, match="the list of files, or one of them, differs"):
        run(sums, [*survey.glob("sdss*")])
    with some_fail(5, 28):
        assert run(sums, survey).read_bytes() == expected


def test_units_of_flux(run, sums):
    """All flux gets the unit of the first spectrum, as if it were read together."""
    from astropy.table import Table

    def read(paths):
        values = np.array([[float(path[-1])] * 51 for path in paths])
        units = ["1e-17 erg/s/cm2/Angstrom", "W/m2/um"]
        flux_unit = [units[int(path[-1]) % 2] for path in paths]
        table = Table({"path": paths, "flux_unit": flux_unit})
        return Bunch(flux=values, table=table, failures=[], left_out=[])

    paths = [f"file{number}" for number in range(10)]
    for size in (1, 3, 10):
        found = read_table(
            run(sums, paths, "a.parquet", read=read, partition_size=size)
        )
        expected = np.arange(10) * np.where(np.arange(10) % 2, 1e16, 1)
        assert_allclose(found["x0"], expected)


def test_images(run, tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(7)]
    for number, path in enumerate(paths):
        Image.new("L", (4, 4), 10 * number).save(path)
    (tmp_path / "3.png").write_bytes(b"no image")
    mean = FunctionTransformer(
        lambda images: images.mean(axis=(1, 2))[:, None], validate=False
    )
    with some_fail(1, 7, "identify"):
        table = read_table(run(mean, paths, "a.parquet"))
    assert_array_equal(table["x0"], [0, 10, 20, np.nan, 40, 50, 60])
    assert_array_equal(table["failure"] != "", table["x0"].isna())
    assert "identify" in table["failure"][3]
    # A folder of them needs a function that takes other names than *.fit*.
    from skastro.datasets import ImageFiles

    folder = tmp_path / "images"
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)
    with some_fail(1, 7):
        table = read_table(run(mean, folder, "b.parquet", read=ImageFiles))
    assert_array_equal(table["x0"], [0, 10, 20, np.nan, 40, 50, 60])


def test_readers_of_other_kinds(run, tmp_path):
    """A list has a row for each file; whole numbers become floats; labels empty."""
    paths = [f"{number}" for number in range(6)]

    def read(files):
        if "4" in files:
            raise ValueError("4: it is bad")
        return [(GRID, np.full(300, float(name))) for name in files]

    class Labels(FunctionTransformer):
        classes_ = np.array(["dim", "bright"])

        def transform(self, X):
            return np.array([int(flux[0]) for _, flux in X])

        def predict(self, X):
            return self.classes_[(self.transform(X) > 2).astype(int)]

    model = Labels(validate=False)
    with some_fail(1, 6, "it is bad"):
        out = run(model, paths, read=read, method="predict")
    with h5py.File(out) as file:
        labels = ["dim", "dim", "dim", "bright", "", "bright"]
        assert file["predict"].asstr()[:].tolist() == labels
        assert file["failure"].asstr()[4] == "it is bad"
    with some_fail(1, 6, "it is bad"):
        out = run(model, paths, read=read, method="transform")
    with h5py.File(out) as file:
        assert_array_equal(file["transform"][:], [0, 1, 2, 3, np.nan, 5])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda paths: np.zeros((len(paths) + 1, 5)), r"returned 2 rows for 1 files"),
        (lambda paths: Bunch(flux=np.zeros((3, 5))), r"3 rows for 1 files .* path"),
        (lambda paths: Bunch(spectra=np.zeros((1, 5))), r"images"),
    ],
)
def test_readers_that_return_something_else(run, sums, returned, message):
    with pytest.raises(ValueError, match=rf"No file of X could be read:\n.*{message}"):
        run(sums, ["a", "b"], read=returned)


def test_files_without_a_row_are_failures(run, sums):
    def read(paths):
        failures = [(path, "it is bad") for path in paths if path == "b"]
        table = Bunch(colnames=["path"], path=[path for path in paths if path > "b"])
        return Bunch(
            flux=np.ones((len(table.path), 51)), table=table, failures=failures
        )

    with some_fail(2, 7, "it holds no spectrum"):
        table = read_table(run(sums, list("abcdefg"), "a.parquet", read=read))
    assert table["failure"].tolist()[:3] == ["it holds no spectrum", "it is bad", ""]
    assert table["x0"].isna().tolist() == [True, True] + [False] * 5


def test_nothing_can_be_read(run, sums, tmp_path):
    for name in ("a.fits", "b.fits"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"(?s)No file of X could be read:.*a\.fits"):
        run(sums, tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"lists .*a\.fits twice"):
        run(sums, [tmp_path / "a.fits", tmp_path / "a.fits"])
    assert sorted(os.listdir(tmp_path)) == ["a.fits", "b.fits"]
