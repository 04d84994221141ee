# SPDX-License-Identifier: BSD-3-Clause
"""Spectra that are sharper or coarser than those of the fitted transformer."""

import pickle
import warnings

import h5py
import numpy as np
import pytest
import sklearn.pipeline
from astropy import units
from astropy.table import Column, MaskedColumn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import Bunch

import skastro
from skastro import RebinSpectra
from skastro.datasets import LazyArray
from skastro.simulation import air_to_vacuum
from skastro.utils import bin_edges, pixel_matrix

pytestmark = pytest.mark.once

EVEN = np.arange(4000, 8000, 0.5)
LOG = np.geomspace(3990, 8010, 6000)
# Steps from 0.25 to 0.75 Å.
UNEVEN = np.cumsum(0.5 + 0.25 * np.sin(np.arange(8100) / 90)) + 3985
GRIDS = {"even": EVEN, "log": LOG, "uneven": UNEVEN}
NEW = np.linspace(4010, 7990, 5000)
CENTERS = [4300.0, 5555.5, 7300.0]


def lines(grid, fwhm, centers=CENTERS):
    """Compute lines of unit area, as means over the pixels; an FWHM for each."""
    edges = bin_edges(grid)
    sigma = np.broadcast_to(fwhm, len(centers)) / np.sqrt(8 * np.log(2))
    area = ndtr((edges - np.reshape(centers, (-1, 1))) / sigma[:, None])
    return np.diff(area, axis=1) / np.diff(edges)


def check_lines(found, grid, fwhm, centers=CENTERS):
    """Compare area, place and FWHM of lines."""
    width = np.diff(bin_edges(grid))
    offset = grid - np.reshape(centers, (-1, 1))
    area = (found * width).sum(axis=1)
    mean = (found * width * offset).sum(axis=1)
    # Means over pixels add a twelfth of the squared width.
    pixel = np.interp(centers, grid, width**2 / 12)
    variance = (found * width * offset**2).sum(axis=1) - pixel
    assert_allclose(area, 1, rtol=1e-3)
    assert_allclose(mean, 0, atol=5e-3 * np.max(fwhm))
    assert_allclose(np.sqrt(8 * np.log(2) * variance), fwhm, rtol=2e-3)
    # The shape, too.
    expected = lines(grid, fwhm, centers)
    assert_allclose(found, expected, atol=6e-3 * expected.max())


# Widths of lines


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("unit", [None, "nm", "um"])
def test_fwhm(unit, grid):
    wavelength = grid if unit is None else (grid * units.AA).to(unit)
    new = NEW if unit is None else (NEW * units.AA).to(unit)
    rebin = RebinSpectra(new_wavelength=new, resolution=0.35 * units.nm)
    given = {"wavelength": wavelength, "resolution": 2.5 * units.AA}
    found = rebin.fit_transform(lines(grid, 2.5), **given)
    check_lines(found, NEW, 3.5)
    assert rebin.resolution_ == 0.35 * units.nm
    assert_array_equal(rebin.transform(lines(grid, 2.5)), found)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_resolving_power(grid):
    centers = np.array(CENTERS)
    rebin = RebinSpectra(new_wavelength=NEW, resolution=1000)
    given = {"wavelength": grid, "resolution": 2000}
    found = rebin.fit_transform(lines(grid, centers / 2000), **given)
    check_lines(found, NEW, centers / 1000)
    assert rebin.resolution_ == 1000
    narrow = lines(grid, 2.0)
    found = rebin.transform(narrow, wavelength=grid, resolution=2 * units.AA)
    check_lines(found, NEW, centers / 1000)


@pytest.mark.parametrize(("old", "new"), [(1.2, 1.2), (1.2, 0.7), (0.9, 1.3)])
def test_wide_pixels_do_not_add_to_the_width(old, new):
    grid, new = np.arange(4000, 8000, old), np.arange(4100, 7900, new)
    centers = np.linspace(4200, 7700, 21)
    rebin = RebinSpectra(new_wavelength=new, resolution=4 * units.AA)
    given = {"wavelength": grid, "resolution": 3 * units.AA}
    found = rebin.fit_transform(lines(grid, 3.0, centers), **given)
    check_lines(found, new, 4.0, centers)


def test_low_resolving_power_over_a_wide_range():
    grid, new = np.geomspace(3000, 24000, 4000), np.geomspace(3600, 20000, 1500)
    centers = np.array([4500.0, 9000.0, 16000.0])
    rebin = RebinSpectra(grid, new, resolution=100)
    found = rebin.fit_transform(lines(grid, centers / 200, centers), resolution=200)
    check_lines(found, new, centers / 100, centers)


@pytest.mark.parametrize("grid", [*GRIDS.values(), np.r_[EVEN[:2000], EVEN[4000:]]])
def test_constants_stay_constant(grid):
    new = np.linspace(grid[0], grid[-1], 700)
    for resolution in (5 * units.AA, 300):
        rebin = RebinSpectra(new_wavelength=new, resolution=resolution)
        flux = np.full((2, grid.size), 3.0)
        plain = RebinSpectra(grid, new).fit_transform(flux)
        found = rebin.fit_transform(flux, wavelength=grid, resolution=9000)
        assert_array_equal(np.isnan(found), np.isnan(plain))
        assert_allclose(found[~np.isnan(found)], 3, rtol=1e-12)


def test_nothing_crosses_a_gap():
    arms = np.r_[np.arange(4900, 5350, 0.5), np.arange(5400, 5800, 0.5)]
    flux = np.where(arms < 5375, 1.0, 7.0)[None]
    rebin = RebinSpectra(arms, np.arange(4900, 5800, 2.0), resolution=60 * units.AA)
    found = rebin.fit_transform(flux, resolution=3 * units.AA)[0]
    new = rebin.new_wavelength_
    assert_allclose(found[new < 5349], 1, rtol=1e-12)
    assert_allclose(found[new > 5401], 7, rtol=1e-12)
    assert np.isnan(found[(new > 5351) & (new < 5398)]).all()
    # Each arm is as it is alone.
    flux = np.random.default_rng(0).gamma(2.0, size=(1, arms.size))
    call = {"wavelength": arms[:900], "resolution": 3 * units.AA}
    both = rebin.transform(flux, resolution=3 * units.AA)[0]
    with pytest.warns(UserWarning, match="do not cover"):
        alone = rebin.transform(flux[:, :900], **call)[0]
    assert_allclose(both[new < 5349], alone[new < 5349], rtol=1e-12)


def test_missing_pixels_spread_as_far_as_the_gaussian():
    edges = bin_edges(np.arange(5000, 5100, 1.0))
    grid = np.arange(4990, 5110, 0.1)
    sigma = np.full(grid.size, 2.0)
    flux = np.where(np.arange(grid.size) == 600, np.nan, 1.0)
    found = pixel_matrix(grid, edges, sigma=sigma) @ flux
    # The pixel and four standard deviations on each side, in pixels of 1 Å.
    assert 15 <= np.isnan(found).sum() <= 18
    assert_array_equal(np.isnan(pixel_matrix(grid, edges) @ flux).sum(), 1)
    plain, none = pixel_matrix(grid, edges), pixel_matrix(grid, edges, sigma=0 * sigma)
    assert_allclose(none.toarray(), plain.toarray(), atol=1e-9)
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="sigma must be finite and not negative"):
            pixel_matrix(grid, edges, sigma=wrong)


# What is stated, and where


@pytest.fixture
def fitted():
    new = np.linspace(4010, 7990, 300)
    return RebinSpectra(EVEN, new, resolution=10 * units.AA).fit(on(EVEN))


def on(grid, n_spectra=5, dtype=float):
    rng = np.random.default_rng(len(grid))
    return rng.gamma(2.0, size=(n_spectra, len(grid))).astype(dtype)


def test_resolution_is_learned_from_the_training_spectra():
    flux = lines(EVEN, 2.0)
    rebin = RebinSpectra(new_wavelength=NEW)
    # At 6000 Å, the middle of the grid, 4 Å are coarser than 6000 / 2000 Å.
    given = {"wavelength": EVEN, "resolution": [2000, None, 4 * units.AA]}
    found = rebin.fit_transform(flux, **given)
    assert rebin.resolution_ == 4 * units.AA
    sharper = np.sqrt(2**2 + 4**2 - (CENTERS[0] / 2000) ** 2)
    check_lines(found[:1], NEW, sharper, CENTERS[:1])
    assert_array_equal(found[1:], RebinSpectra(EVEN, NEW).fit_transform(flux)[1:])
    learned = RebinSpectra(EVEN, NEW).fit(flux, resolution=[2000, None, 2 * units.AA])
    assert learned.resolution_ == 2000
    learned.fit(flux, resolution=1500)
    assert learned.resolution_ == 1500
    # Spectra that state none are as those of the training.
    assert_array_equal(
        learned.transform(flux), learned.transform(flux, resolution=1500)
    )
    assert learned.fit(flux).resolution_ is None
    assert not hasattr(clone(learned), "resolution_")


def test_all_ways_to_state_it(fitted):
    flux = on(LOG, 3)
    sharp = 3 * units.AA
    expected = fitted.transform(flux, wavelength=LOG, resolution=sharp)
    unmatched = fitted.transform(flux, wavelength=LOG)
    assert not np.allclose(expected, unmatched, rtol=1e-2)
    spectra = Bunch(flux=flux, wavelength=LOG, resolution=sharp)
    assert_array_equal(fitted.transform(spectra), expected)
    items = [{**spectra, "flux": row} for row in flux]
    assert_allclose(fitted.transform(items), expected, rtol=1e-12)
    # One for each spectrum.
    mixed = np.stack([expected[0], unmatched[1], expected[2]])
    items[1]["resolution"] = None
    assert_allclose(fitted.transform(items), mixed, rtol=1e-12)
    column = MaskedColumn([3.0, 99, 3], unit="Angstrom", mask=[False, True, False])
    for each in ([sharp, None, 0.3 * units.nm], column):
        found = fitted.transform(flux, wavelength=LOG, resolution=each)
        assert_allclose(found, mixed, rtol=1e-9)
    for each in ([3.0] * 3 * units.AA, Column([0.3] * 3, unit="nm")):
        found = fitted.transform({**spectra, "resolution": each})
        assert_allclose(found, expected, rtol=1e-12)
    # The statement of a caller who knows better has priority.
    spectra.resolution = 20 * units.AA
    assert_array_equal(fitted.transform(spectra, resolution=sharp), expected)
    # With a medium of each, too.
    fitted.set_params(medium="vacuum").fit(on(EVEN))
    media = ["air", "vacuum", "air"]
    found = fitted.transform(flux, wavelength=LOG, medium=media, resolution=sharp)
    assert_allclose(found[1], expected[1], rtol=1e-12)
    in_vacuum = fitted.transform(flux, wavelength=air_to_vacuum(LOG), resolution=sharp)
    assert_allclose(found[::2], in_vacuum[::2], rtol=1e-9)


def test_training_spectra_that_are_sharper_are_convolved():
    rebin = RebinSpectra(EVEN, NEW, resolution=4 * units.AA)
    flux = lines(EVEN, 2.5)
    expected = rebin.fit_transform(flux, resolution=2.5 * units.AA)
    check_lines(expected, NEW, 4.0)
    # Spectra of the training's grid have its resolution, others the new one.
    assert_array_equal(rebin.transform(flux), expected)
    wide = lines(EVEN, 4.0)
    plain = RebinSpectra(EVEN, NEW).transform(wide)
    assert_array_equal(rebin.transform(wide, wavelength=EVEN), plain)
    assert_array_equal(rebin.transform(wide, resolution=4 * units.AA), plain)
    # Without fit the spectra are the training spectra.
    unfitted = RebinSpectra(EVEN, NEW, resolution=4 * units.AA)
    given = {"wavelength": EVEN, "resolution": 2.5 * units.AA}
    assert_array_equal(unfitted.transform(flux, **given), expected)
    assert_array_equal(
        unfitted.transform(flux), RebinSpectra(EVEN, NEW).transform(flux)
    )


def test_coarse_spectra_stay_as_they_are(fitted):
    flux = on(LOG)
    expected = fitted.transform(flux, wavelength=LOG)
    message = r"5 of 5 spectra are coarser .* 12 Angstrom at 4010 .* has 10 Angstrom"
    with pytest.warns(UserWarning, match=message):
        found = fitted.transform(flux, wavelength=LOG, resolution=12 * units.AA)
    assert_array_equal(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in (10 * units.AA, 10.05 * units.AA):
            found = fitted.transform(flux, wavelength=LOG, resolution=same)
            assert_array_equal(found, expected)
    # R = 600 is sharper below 6000 Å, and coarser above.
    with pytest.warns(UserWarning, match=r"up to 13\.32 Angstrom at 7990 Angstrom"):
        found = fitted.transform(flux, wavelength=LOG, resolution=600)
    is_same = np.isclose(found, expected, rtol=1e-9).all(axis=0)
    grid = fitted.new_wavelength_
    assert is_same[grid > 6030].all()
    assert not is_same[grid < 5970].any()


@pytest.mark.parametrize(
    "resolution",
    [
        0,
        -1500,
        np.nan,
        np.inf,
        3.5,
        True,
        "1500",
        [[1500] * 5] * 5,
        np.ma.array([3.5] * 5),
    ]
    + [number * units.AA for number in (0, -2.5, np.nan, np.inf)]
    + [1e3 * units.Hz, 200 * units.km / units.s, [2.5] * 5 * units.s],
)
def test_bad_resolutions(resolution, fitted):
    message = "resolution must be a resolving power.*at least 10.*astropy.units.Angst"
    with pytest.raises(ValueError, match=message):
        fitted.transform(on(LOG), wavelength=LOG, resolution=resolution)
    with pytest.raises(ValueError, match=message):
        RebinSpectra().fit(on(LOG), wavelength=LOG, resolution=resolution)
    error = (ValueError, TypeError)
    with pytest.raises(error, match=f"{message}|'resolution' parameter"):
        RebinSpectra(EVEN, resolution=resolution).fit(on(EVEN))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: t.transform(on(LOG), wavelength=LOG, resolution=[1500] * 2),
            "resolution has 2 values for 5 spectra",
        ),
        (
            lambda t: t.transform(on(LOG), wavelength=LOG, resolution=3 * units.um),
            "FWHM of 3.0 um, more than a tenth of the wavelength at 3990 Angstrom",
        ),
        (
            lambda t: (
                RebinSpectra(EVEN, NEW).fit(on(EVEN)).transform(on(EVEN), resolution=99)
            ),
            "have a resolution of 99.0, but that of the new grid is not known",
        ),
        (
            lambda t: RebinSpectra(resolution=1500).fit(on(EVEN)),
            "resolution is stated, but the spectra have no wavelengths",
        ),
        (
            lambda t: RebinSpectra().fit(on(EVEN), resolution=1500),
            "resolution is stated, but the spectra have no wavelengths",
        ),
        (
            lambda t: RebinSpectra(EVEN * units.GHz, resolution=3 * units.AA).fit(
                on(EVEN)
            ),
            "FWHM of 3.0 Angstrom, but the grid of RebinSpectra is in GHz",
        ),
    ],
)
def test_bad_calls(call, message, fitted):
    with pytest.raises(ValueError, match=message):
        call(fitted)


# Within scikit-learn


@pytest.mark.parametrize("module", [sklearn.pipeline, skastro])
def test_pipelines_pass_the_resolution_on(module):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    grid, new = np.arange(5000, 5200, 1.0), np.arange(5010, 5190, 2.0)
    flux = lines(grid, 2.5 + y, 5080.0 + 40 * y) + rng.normal(0, 0.1, (40, grid.size))
    resolution = 2.5 * units.AA
    rebin = RebinSpectra(new_wavelength=new, resolution=5 * units.AA)
    given = {"flux": flux, "wavelength": grid, "resolution": resolution}
    X = rebin.fit_transform(given)
    net = LogisticRegression().fit(X, y)
    pipe = module.make_pipeline(rebin, LogisticRegression()).fit(given, y)
    assert_array_equal(pipe.predict_proba(given), net.predict_proba(X))
    listed = [{**given, "flux": row} for row in flux]
    scores = cross_val_score(LogisticRegression(), X, y)
    assert_array_equal(cross_val_score(pipe, listed, y), scores)
    search = GridSearchCV(pipe, {"rebinspectra__resolution": [1000, 800]}, cv=3)
    assert search.fit(listed, y).n_features_in_ == grid.size
    with config_context(enable_metadata_routing=True):
        call = {"wavelength": grid, "resolution": resolution}
        pipe = clone(pipe).fit(flux, y, **call)
        assert_array_equal(pipe.predict_proba(flux, **call), net.predict_proba(X))
        # scikit-learn takes no single quantity where it may have to split.
        call["resolution"] = np.full(40, 2.5) * units.AA
        assert_array_equal(cross_val_score(pipe, flux, y, params=call), scores)
        bagging = BaggingClassifier(pipe, n_estimators=2, random_state=0)
        assert bagging.fit(flux, y, **call).predict(flux).shape == (40,)


def test_state_is_kept(fitted, tmp_path):
    flux = on(LOG, 7, np.float32)
    call = {"wavelength": LOG, "resolution": 1500}
    expected = fitted.transform(flux, **call)
    assert expected.dtype == np.float32
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.resolution_ == 10 * units.AA
    assert_array_equal(copy.transform(flux, **call), expected)
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        stored = file.create_dataset("flux", data=flux)
        lazy = fitted.transform(stored, **call)
        assert isinstance(lazy, LazyArray)
        assert_array_equal(lazy[:], expected)
        each = [1500, 10 * units.AA] * 3 + [1500]
        mixed = fitted.transform(stored, wavelength=LOG, resolution=each)
        assert_array_equal(mixed[::2], expected[::2])


def test_channels_are_convolved():
    flux = lines(EVEN, 2.5)[:, None] * [[1], [2]]
    rebin = RebinSpectra(EVEN, NEW, resolution=4 * units.AA)
    found = rebin.fit_transform(flux, resolution=2.5 * units.AA)
    check_lines(found[:, 0], NEW, 4.0)
    assert_allclose(found[:, 1], 2 * found[:, 0], rtol=1e-12)
