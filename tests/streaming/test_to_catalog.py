# SPDX-License-Identifier: BSD-3-Clause
"""Catalogs of predictions, in files that other programs open."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from tiny_estimators import make_tiny

from skastro import (
    EnsembleRegressor,
    GalaxyRegressor,
    MinMaxSpectra,
    Pipeline,
    RebinSpectra,
    RedshiftRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
)
from skastro.resampling import NoiseAugmenter
from skastro.streaming import to_catalog

ENDS = [".fits", ".vot", ".xml", ".ecsv", ".parquet", ".h5"]
X = np.random.default_rng(0).normal(1, 0.2, (40, 60)).astype(np.float32)
LABELS = np.array(["GALAXY", "QSO"])[np.arange(40) % 2]


@pytest.fixture(scope="module")
def pipe():
    clf = make_tiny(SpectrumClassifier, warn_novelty=False)
    return Pipeline([("scale", MinMaxSpectra()), ("clf", clf)]).fit(X, LABELS)


def objects():
    """Describe objects as a survey does."""
    table = Table(
        {
            "id": [f"J{number:03}" for number in range(40)],
            "ra": np.linspace(0, 359, 40),
            "dec": np.linspace(-80, 80, 40),
            "class": np.repeat("STAR", 40),
        }
    )
    table["z"] = MaskedColumn(np.linspace(0, 1, 40), mask=np.arange(40) == 3)
    table["flux"] = np.ones(40) * u.mJy
    return table


def read(path):
    """Read a catalog as astropy does."""
    if path.suffix == ".h5":
        return Table.read(path, path="catalog", character_as_bytes=False)
    return Table.read(path)


def test_columns_of_classifiers(pipe):
    catalog = to_catalog(pipe, X, objects=objects())
    assert catalog.colnames == [
        *("id", "ra", "dec", "survey_class", "z", "flux"),
        *("class", "probability", "probability_GALAXY", "probability_QSO"),
        "score_samples",
    ]
    probability = pipe.predict_proba(X)
    np.testing.assert_array_equal(catalog["class"], pipe.predict(X))
    np.testing.assert_array_equal(catalog["probability_QSO"], probability[:, 1])
    np.testing.assert_array_equal(catalog["probability"], probability.max(axis=1))
    np.testing.assert_array_equal(catalog["score_samples"], pipe.score_samples(X))
    assert catalog.meta["MODEL"] == "SpectrumClassifier"
    assert catalog.meta["CREATOR"].startswith("skastro 0.")


@pytest.mark.parametrize("end", ENDS)
def test_read_back(pipe, end, tmp_path):
    if end == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"catalog{end}"
    expected = to_catalog(pipe, X, path, objects=objects())
    found = read(path)
    assert found.colnames == expected.colnames
    for name in expected.colnames:
        np.testing.assert_array_equal(
            np.asarray(found[name]).astype(expected[name].dtype)[4:],
            np.asarray(expected[name])[4:],
        )
        # astropy leaves texts of FITS as bytes, which equal them.
        assert found[name].dtype.kind in (expected[name].dtype.kind, "O", "S")
    assert found["z"].mask[3] or np.isnan(found["z"][3])
    assert (found["ra"].unit, found["flux"].unit) == (u.deg, u.mJy)
    assert list(tmp_path.iterdir()) == [path]


def test_text_keeps_all_digits(pipe, tmp_path):
    given = objects()
    given["ra"][1], given["probability_of_others"] = 123.4567890123, 1.5e-9
    for ending in (".csv", ".ecsv"):
        path = tmp_path / f"catalog{ending}"
        catalog = to_catalog(pipe, X, path, objects=given)
        found = Table.read(path)
        for name in ("ra", "dec", "probability_of_others"):
            np.testing.assert_array_equal(found[name], given[name])
        for name in ("probability_QSO", "score_samples"):
            np.testing.assert_array_equal(np.float32(found[name]), catalog[name])
    row = path.read_text(encoding="utf-8").splitlines()[-1].split()
    assert len(row[-1]) < 12
    days = np.linspace(2459000.123456, 2459001.5, 40)
    model = LinearRegression().fit(np.arange(40.0)[:, None], days)
    expected = to_catalog(model, np.arange(40.0)[:, None], path)["value"]
    np.testing.assert_array_equal(Table.read(path)["value"], expected)


def test_words_of_the_virtual_observatory(pipe, tmp_path):
    to_catalog(pipe, X, tmp_path / "a.fits", objects=objects())
    header = fits.getheader(tmp_path / "a.fits", "CATALOG")
    assert header["TTYPE2"] == "ra"
    assert header["TUCD2"] == "pos.eq.ra;meta.main"
    assert header["MODEL"] == "SpectrumClassifier"
    to_catalog(pipe, X, tmp_path / "a.vot", objects=objects())
    table = votable.parse(tmp_path / "a.vot", verify="exception").get_first_table()
    ucds = {field.name: field.ucd for field in table.fields}
    assert ucds["probability_QSO"] == "stat.probability"
    assert ucds["id"] == "meta.id;meta.main"


def test_rows_without_objects_are_numbered(pipe):
    catalog = to_catalog(pipe, X[:3])
    assert catalog["row"].tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:The error bars are those of the training")
def test_regressors():
    y = np.column_stack([X[:, 0], X[:, 1] + 5])
    reg = make_tiny(SpectrumRegressor).fit(X, y)
    catalog = to_catalog(reg, X)
    value, error = reg.predict(X, return_std=True)
    np.testing.assert_array_equal(catalog["value_1"], value[:, 1])
    np.testing.assert_array_equal(catalog["value_1_error"], error[:, 1])
    line = LinearRegression().fit(X, y[:, 0])
    assert to_catalog(line, X).colnames == ["row", "value"]


@pytest.mark.filterwarnings("ignore:The error bars are those of the training")
def test_errors_are_those_that_there_are():
    y = X[:, 0] * 100
    without = make_tiny(SpectrumRegressor, criterion="mse")
    with_errors = make_tiny(SpectrumRegressor)
    for model in (
        without,
        Pipeline([("scale", MinMaxSpectra()), ("reg", without)]),
        EnsembleRegressor(without, n_estimators=2),
        make_tiny(GalaxyRegressor, image_size=None),
    ):
        samples = X.reshape(40, 6, 10) if isinstance(model, GalaxyRegressor) else X
        catalog = to_catalog(model.fit(samples, y), samples)
        assert catalog.colnames[:2] == ["row", "value"]
        assert "value_error" not in catalog.colnames
        np.testing.assert_allclose(catalog["value"], model.predict(samples), rtol=1e-6)
    for member in (with_errors, Pipeline([("reg", with_errors)])):
        several = EnsembleRegressor(member, n_estimators=2).fit(X, y)
        expected = several.predict(X, return_std=True)[1]
        np.testing.assert_array_equal(to_catalog(several, X)["value_error"], expected)


def test_votes_are_named_after_their_answers():
    images = X.reshape(40, 6, 10)
    votes = np.random.default_rng(0).integers(1, 9, (40, 5)).astype(float)
    questions = {"smooth": ["yes", "no"], "arms": ["1", "2", "more"]}
    reg = make_tiny(
        GalaxyRegressor,
        criterion="DirichletMultinomialLikelihood",
        criterion__questions=questions,
        image_size=None,
    )
    reg.fit(images, votes)
    catalog = to_catalog(reg, images)
    names = ["smooth_yes", "smooth_no", "arms_1", "arms_2", "arms_more"]
    assert catalog.colnames[1:11] == [*names, *(f"{name}_error" for name in names)]
    fraction, std = reg.predict(images, return_std=True)
    np.testing.assert_array_equal(catalog["arms_2"], fraction[:, 3])
    np.testing.assert_array_equal(catalog["arms_2_error"], std[:, 3])


def test_objects_in_a_data_frame(pipe):
    frame = objects().to_pandas()
    catalog = to_catalog(pipe, X, objects=frame)
    assert catalog["id"].tolist() == frame["id"].tolist()
    assert catalog["survey_class"].tolist() == ["STAR"] * 40
    assert str(catalog["ra"].unit) == "deg"


def test_redshifts_behind_other_steps_keep_their_warnings():
    wavelength = np.linspace(4000, 8000, 60)
    model = make_tiny(
        RedshiftRegressor, wavelength=wavelength, redshift={"GALAXY": [0.0, 0.05]}
    )
    steps = [
        ("noise", NoiseAugmenter(continuous=True)),
        ("scale", MinMaxSpectra(nan_policy="interpolate")),
        ("z", model),
    ]
    pipe = Pipeline(steps).fit(X, np.linspace(0.001, 0.049, 40))
    catalog = to_catalog(pipe, np.ma.masked_less(X, 0.5))
    scaled = pipe["scale"].transform(np.where(X < 0.5, np.nan, X))
    np.testing.assert_array_equal(catalog["zwarning"], pipe["z"].zwarning(scaled))
    np.testing.assert_array_equal(catalog["redshift"], pipe["z"].predict(scaled))


def test_estimators_of_scikit_learn():
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2)
    catalog = to_catalog(search.fit(X, np.arange(40) % 3), X)
    assert catalog["class"].dtype.kind == "i"
    assert catalog.colnames[-1] == "probability_2"
    assert catalog.meta["MODEL"] == "LogisticRegression"


@pytest.mark.filterwarnings("ignore:.*less alike to the training set:UserWarning")
def test_unfamiliar_objects():
    clf = make_tiny(SpectrumClassifier, warn_novelty=True, train_split=0.2)
    clf.fit(X, LABELS)
    catalog = to_catalog(clf, X)
    expected = clf.score_samples(X) < clf.novelty_threshold_
    np.testing.assert_array_equal(catalog["unfamiliar"], expected)
    assert 0 < expected.sum() < 40


@pytest.mark.parametrize("ending", ["vot", "fits", "ecsv", "csv", "parquet"])
def test_odd_names_of_classes(ending, tmp_path):
    names = np.array(["S0/a", "<E & S>", "G,K", 'q"t', "a b"])
    clf = make_tiny(SpectrumClassifier).fit(X, names[np.arange(40) % 5])
    path = tmp_path / f"catalog.{ending}"
    to_catalog(clf, X, path)
    # VOTable has identifiers besides the names.
    options = {"use_names_over_ids": True} if ending == "vot" else {}
    found = Table.read(path, **options)
    found.convert_bytestring_to_unicode()
    assert {f"probability_{name}" for name in names} < set(found.colnames)
    assert found["class"].tolist() == clf.predict(X).tolist()


# Python looks for what was written behind the ends of memory.
ROWS_OF_ALL_LENGTHS = """
import sys
from sklearn.dummy import DummyRegressor
from skastro.streaming import to_catalog

model = DummyRegressor().fit([[0.0]], [1.0])
for length in range(512):
    to_catalog(model, [[0.0]], sys.argv[1], objects={"id": ["x" * length]})
"""


def test_votable_stays_in_its_memory(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", ROWS_OF_ALL_LENGTHS, tmp_path / "catalog.vot"],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_fits_holds_ascii(tmp_path):
    names = np.array(["naïve", "plain"])
    clf = make_tiny(SpectrumClassifier).fit(X, names[np.arange(40) % 2])
    with pytest.raises(ValueError, match="text only, but the catalog has 'naïve'"):
        to_catalog(clf, X, tmp_path / "catalog.fits")
    assert not list(tmp_path.iterdir())
    to_catalog(clf, X, tmp_path / "catalog.vot")
    found = Table.read(tmp_path / "catalog.vot")["class"].tolist()
    assert found == clf.predict(X).tolist()


@pytest.mark.parametrize(
    ("name", "ending", "message"),
    [
        ("a" * 70, "fits", "names of columns up to 68 characters"),
        ("b ", "fits", "without blanks at the end"),
        ("one\nmore", "csv", "of several lines"),
        ("one\nmore", "fits", "of several lines"),
    ],
)
def test_names_that_files_do_not_hold(name, ending, message, tmp_path):
    names = np.array([name, "b"])
    clf = make_tiny(SpectrumClassifier).fit(X, names[np.arange(40) % 2])
    with pytest.raises(ValueError, match=message):
        to_catalog(clf, X, tmp_path / f"catalog.{ending}")
    assert not list(tmp_path.iterdir())


def test_spectra_with_wavelengths():
    grid, other = np.linspace(4000, 8000, 60), np.linspace(3900, 8100, 70)
    clf = make_tiny(SpectrumClassifier)
    pipe = Pipeline([("rebin", RebinSpectra(grid, grid)), ("clf", clf)]).fit(X, LABELS)
    flux = np.random.default_rng(1).normal(1, 0.2, (5, 70))
    spectra = {"flux": flux, "wavelength": other}
    catalog = to_catalog(pipe, spectra, objects=objects()[:5])
    assert catalog["class"].tolist() == pipe.predict(spectra).tolist()
    assert to_catalog(pipe, spectra)["row"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_refused(pipe, tmp_path):
    with pytest.raises(ValueError, match=r"ends in none of \.fits"):
        to_catalog(pipe, X, tmp_path / "catalog.txt")
    with pytest.raises(FileNotFoundError, match=r"folder .*gone does not exist"):
        to_catalog(pipe, X, tmp_path / "gone" / "catalog.fits")
    with pytest.raises(ValueError, match="objects has 39 rows, but X has 40"):
        to_catalog(pipe, X, objects=objects()[1:])
    twice = objects()
    twice["survey_class"] = 1
    with pytest.raises(ValueError, match="two columns 'survey_class'"):
        to_catalog(pipe, X, objects=twice)
    with pytest.raises(ValueError, match="several numbers a row, wide"):
        to_catalog(pipe, X, objects={"wide": np.zeros((40, 2))})
    with pytest.raises(TypeError, match="KernelDensity has no predict"):
        to_catalog(KernelDensity().fit(X), X)
    with pytest.raises(NotFittedError):
        to_catalog(SpectrumClassifier(), X)
    assert not list(tmp_path.iterdir())


def test_an_older_file_survives_a_failure(pipe, tmp_path):
    path = tmp_path / "catalog.fits"
    to_catalog(pipe, X, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="text only, but the catalog has 'ü'"):
        to_catalog(pipe, X, path, objects={"id": ["ü"] * 40})
    assert path.read_bytes() == before
    to_catalog(pipe, X[:2], path)
    assert len(read(path)) == 2


@pytest.mark.skipif(shutil.which("stilts") is None, reason="needs stilts")
@pytest.mark.parametrize("ending", ["fits", "vot"])
def test_stilts_reads_catalogs(pipe, tmp_path, ending):
    path, copied = tmp_path / f"catalog.{ending}", tmp_path / "copied.vot"
    to_catalog(pipe, X, path, objects=objects())
    command = ["stilts", "tpipe", f"in={path}", "omode=out", f"out={copied}"]
    subprocess.run([*command, "ofmt=votable"], check=True, timeout=120)
    expected, found = read(path), read(copied)
    assert found.colnames == expected.colnames
    for name in expected.colnames:
        assert found[name].tolist() == expected[name].tolist()
        assert found[name].unit == expected[name].unit
    assert found["ra"].meta["ucd"] == "pos.eq.ra;meta.main"


def test_units_that_fits_does_not_have(pipe, tmp_path):
    table = objects()
    table["ra"].unit = "hourangle"
    with pytest.raises(ValueError, match="no unit hourangle, which column"):
        to_catalog(pipe, X, tmp_path / "a.fits", objects=table)
    assert str(to_catalog(pipe, X, objects=table)["ra"].unit) == "hourangle"
