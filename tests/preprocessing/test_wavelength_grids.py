# SPDX-License-Identifier: BSD-3-Clause
"""Spectra on other grids, units and media than those of the fitted transformer."""

import pickle
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import sklearn.pipeline
from astropy import units
from astropy.nddata import InverseVariance, StdDevUncertainty
from imblearn.over_sampling import RandomOverSampler
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.utils import Bunch

import skastro
from skastro import MinMaxSpectra, RebinSpectra, SpectrumClassifier
from skastro.datasets import LazyArray, read_spectra
from skastro.simulation import air_to_vacuum, vacuum_to_air

GRID = np.geomspace(3800, 9200, 240)
OTHER = np.geomspace(3700, 9400, 171)
NEW = np.linspace(4000, 9000, 90)


def edges_of(centers):
    inner = (centers[1:] + centers[:-1]) / 2
    return np.r_[2 * centers[0] - inner[0], inner, 2 * centers[-1] - inner[-1]]


def reference(flux, wavelength, new_wavelength):
    """Integrate the flux up to each edge by interpolation, and take differences."""
    edges, new_edges = edges_of(wavelength), edges_of(new_wavelength)
    total = np.r_[0, np.cumsum(np.asarray(flux, float) * np.diff(edges))]
    return np.diff(np.interp(new_edges, edges, total)) / np.diff(new_edges)


def on(grid, n_spectra=5, dtype=float):
    """Draw spectra."""
    rng = np.random.default_rng(len(grid))
    return rng.gamma(2.0, size=(n_spectra, len(grid))).astype(dtype)


@pytest.fixture
def fitted():
    return RebinSpectra(GRID, NEW, medium="vacuum").fit(on(GRID))


# Other grids


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [None, "Angstrom", "nm", "um"])
def test_another_grid(unit, dtype, fitted):
    flux = on(OTHER, dtype=dtype)
    wavelength = OTHER if unit is None else (OTHER * units.AA).to(unit)
    found = fitted.transform(flux, wavelength=wavelength)
    expected = [reference(row, OTHER, NEW) for row in flux]
    assert found.dtype == dtype
    assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-8)
    # The training spectra's grid remains that of spectra without wavelengths.
    usual = fitted.transform(on(GRID))
    assert_allclose(usual, [reference(row, GRID, NEW) for row in on(GRID)], rtol=1e-8)


def test_grid_is_learned_from_the_training_spectra():
    flux = on(GRID)
    transformer = RebinSpectra(n_bins=33)
    assert_array_equal(
        transformer.fit_transform(flux, wavelength=GRID),
        RebinSpectra(GRID, n_bins=33).fit_transform(flux),
    )
    assert_array_equal(transformer.wavelength_, GRID)
    assert transformer.wavelength_unit_ == units.AA
    assert transformer.medium_ is None
    limits = edges_of(GRID)[[0, -1]]
    new = np.linspace(*limits, 34)
    assert_allclose(transformer.new_wavelength_, (new[1:] + new[:-1]) / 2)
    again = transformer.transform(on(OTHER), wavelength=OTHER)
    expected = [reference(row, OTHER, transformer.new_wavelength_) for row in on(OTHER)]
    assert_allclose(again, expected, rtol=1e-8)
    assert_array_equal(
        transformer.transform(flux), transformer.fit_transform(flux, wavelength=GRID)
    )


def test_one_wide_pixel_keeps_its_width():
    transformer = RebinSpectra(GRID, n_bins=1).fit(on(GRID))
    wider = np.linspace(3000, 10000, 701)
    low, high = edges_of(GRID)[[0, -1]]
    found = transformer.transform([wider], wavelength=wider)
    assert_allclose(found, [[(low + high) / 2]], rtol=1e-3)


def test_unit_of_the_new_grid(fitted):
    transformer = RebinSpectra(new_wavelength=NEW / 1e4 * units.um)
    transformer.fit(on(GRID), wavelength=GRID / 10 * units.nm)
    assert transformer.wavelength_unit_ == units.um
    assert_allclose(transformer.wavelength_, GRID / 1e4)
    assert_allclose(transformer.new_wavelength_, NEW / 1e4)
    assert_allclose(
        transformer.transform(on(OTHER), wavelength=OTHER),
        fitted.transform(on(OTHER), wavelength=OTHER),
        rtol=1e-9,
    )


@pytest.mark.parametrize("channel_axis", [None, -1])
def test_channels(channel_axis, fitted):
    flux = on(OTHER, 6).reshape(3, 2, -1)
    expected = fitted.transform(on(OTHER, 6), wavelength=OTHER).reshape(3, 2, -1)
    given = flux if channel_axis is None else np.moveaxis(flux, 1, -1)
    transformer = RebinSpectra(new_wavelength=NEW, channel_axis=channel_axis)
    found = transformer.fit_transform(given, wavelength=OTHER)
    if channel_axis == -1:
        found = np.moveaxis(found, -1, 1)
    assert_array_equal(found, expected)


def test_grids_of_each_spectrum(fitted):
    grids = np.stack([OTHER, OTHER + 3, OTHER])
    flux = on(OTHER, 3)
    expected = [
        reference(row, grid, NEW) for row, grid in zip(flux, grids, strict=True)
    ]
    assert_allclose(fitted.transform(flux, wavelength=grids), expected, rtol=1e-8)
    ragged = [flux[0], flux[1, 5:], flux[2]]
    found = fitted.transform(ragged, wavelength=[OTHER, OTHER[5:], OTHER * units.AA])
    assert_allclose(found[[0, 2]], np.take(expected, [0, 2], 0), rtol=1e-8)


def test_works_without_fit():
    found = RebinSpectra(new_wavelength=NEW).transform(on(OTHER), wavelength=OTHER)
    assert_allclose(found, [reference(row, OTHER, NEW) for row in on(OTHER)], rtol=1e-8)


# Air and vacuum


def test_media(fitted):
    flux = on(OTHER)
    from_air = [reference(row, air_to_vacuum(OTHER), NEW) for row in flux]
    as_it_is = [reference(row, OTHER, NEW) for row in flux]
    assert not np.allclose(from_air, as_it_is, rtol=1e-3)

    def transform(medium):
        return fitted.transform(flux, wavelength=OTHER, medium=medium)

    assert_allclose(transform("air"), from_air, rtol=1e-8)
    assert_allclose(transform("vacuum"), as_it_is, rtol=1e-8)
    assert_allclose(transform(None), as_it_is, rtol=1e-8)
    mixed = transform(["air", "vacuum", "", None, "air"])
    choice = np.array([True, False, False, False, True])[:, None]
    assert_allclose(mixed, np.where(choice, from_air, as_it_is), rtol=1e-8)
    to_air = RebinSpectra(new_wavelength=NEW, medium="air")
    found = to_air.fit_transform(
        flux, wavelength=OTHER / 10 * units.nm, medium="vacuum"
    )
    expected = [reference(row, vacuum_to_air(OTHER), NEW) for row in flux]
    assert_allclose(found, expected, rtol=1e-8)
    assert_allclose(to_air.wavelength_, vacuum_to_air(OTHER), rtol=1e-12)
    # The same spectra in the same medium need no wavelengths any more.
    assert_array_equal(to_air.transform(flux), found)
    assert_array_equal(to_air.transform(flux, medium="vacuum"), found)


def test_medium_of_the_training_spectra():
    flux = on(OTHER)
    stated = RebinSpectra(OTHER, NEW, medium="vacuum").fit(flux, medium="air")
    expected = [reference(row, air_to_vacuum(OTHER), NEW) for row in flux]
    assert_allclose(stated.transform(flux), expected, rtol=1e-8)
    learned = RebinSpectra(new_wavelength=NEW).fit(flux, wavelength=OTHER, medium="air")
    assert learned.medium_ == "air"
    assert_allclose(
        learned.transform(flux, wavelength=OTHER, medium="vacuum"),
        [reference(row, vacuum_to_air(OTHER), NEW) for row in flux],
        rtol=1e-8,
    )


def test_h_alpha_of_a_library_in_air(data_dir):
    # MILES is in air; the line is at 6562.80 Å there, and at 6564.61 Å in vacuum.
    path = data_dir / "miles.fits"
    if not path.is_file():
        pytest.skip("no miles.fits")
    spectra = read_spectra(path, verbose=0)
    temperature = np.asarray(spectra.table["teff"], float)
    hot = (temperature > 8000) & (temperature < 12000)
    grid = np.arange(6400, 6740, 0.5)
    given = {"flux": spectra.flux[hot], "wavelength": spectra.wavelength}
    transformer = RebinSpectra(new_wavelength=grid, medium="vacuum")
    for medium, expected in [("air", 6564.61), ("vacuum", 6562.80)]:
        X = transformer.fit_transform({**given, "medium": medium})
        depth = 0.98 - (X / np.median(X, axis=1, keepdims=True)).mean(axis=0)
        depth = depth.clip(0) * (np.abs(grid - 6563) < 25)
        assert np.average(grid, weights=depth) == pytest.approx(expected, abs=0.5)


# Ragged collections


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_list_of_tuples(dtype, fitted):
    grids = [OTHER, GRID, OTHER, OTHER[10:-3]]
    spectra = [(grid, on(grid, 1, dtype)[0]) for grid in grids]
    with pytest.warns(UserWarning, match="1 of 4 spectra do not cover"):
        found = fitted.transform([*spectra[:3], (GRID[30:], spectra[1][1][30:])])
    expected = [reference(flux, grid, NEW) for grid, flux in spectra]
    rtol = 1e-5 if dtype == np.float32 else 1e-8
    assert found.dtype == dtype
    assert_allclose(found[:3], expected[:3], rtol=rtol)
    missing = GRID[30] > NEW
    assert_array_equal(np.isnan(found[3]), missing)
    assert_allclose(found[3, ~missing][1:], expected[1][~missing][1:], rtol=rtol)
    for spectrum, row in zip(spectra[:3], found, strict=False):
        assert_array_equal(fitted.transform([spectrum])[0], row)


def test_common_range_is_learned():
    spectra = [(grid, np.full(grid.size, 2.0)) for grid in (GRID, OTHER[60:], OTHER)]
    transformer = RebinSpectra()
    assert_allclose(transformer.fit_transform(spectra), 2, rtol=1e-12)
    low, high = edges_of(OTHER[60:])[0], edges_of(GRID)[-1]
    inside = np.sum((OTHER > low) & (OTHER < high))
    new_edges = np.linspace(low, high, inside + 1)
    assert_allclose(transformer.new_wavelength_, (new_edges[1:] + new_edges[:-1]) / 2)
    assert transformer.wavelength_ is None
    assert len(transformer.get_feature_names_out()) == inside
    with pytest.raises(ValueError, match="several wavelength grids: give spectra with"):
        transformer.transform(on(GRID))
    with pytest.raises(ValueError, match=r"some begin at 6.*, others end at 5"):
        RebinSpectra().fit([(GRID[:90], GRID[:90]), (GRID[150:], GRID[150:])])


def test_bad_pixels_are_missing(fitted):
    flux = 3 * OTHER
    ivar = np.ones_like(OTHER)
    broken = flux.copy()
    broken[50:53] = -1e9
    ivar[50:53] = 0, -1, np.nan
    spectra = [(OTHER, flux, np.ones_like(OTHER)), (OTHER, broken, ivar)]
    with pytest.raises(ValueError, match=r"3 NaN in 1 of 2 rows .*interpolate"):
        fitted.transform(spectra)
    filled = fitted.set_params(nan_policy="interpolate").transform(spectra)
    assert_allclose(filled[1], filled[0], rtol=1e-12)
    masked = Bunch(flux=broken[None], wavelength=OTHER, mask=ivar[None] != 1)
    assert_allclose(fitted.transform(masked), filled[:1], rtol=1e-12)


def spectral_object(wavelength, flux, uncertainty=None, mask=None):
    return SimpleNamespace(
        spectral_axis=wavelength, flux=flux, uncertainty=uncertainty, mask=mask
    )


@pytest.mark.parametrize("source", ["objects", "specutils"])
def test_spectral_objects(source, fitted):
    make = spectral_object
    if source == "specutils":
        specutils = pytest.importorskip("specutils")

        def make(wavelength, flux, **others):
            cls = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
            return cls(flux=flux, spectral_axis=wavelength, **others)

    fitted.set_params(nan_policy="interpolate").fit(on(GRID))
    flux = on(OTHER, 3)
    bad = np.arange(OTHER.size) == 70
    jansky = flux * units.Jy
    spectra = [
        make(OTHER * units.AA, jansky[0]),
        make(
            OTHER / 10 * units.nm,
            jansky[1].to(units.mJy),
            uncertainty=InverseVariance(np.where(bad, 0, 1e-6)),
        ),
        make(OTHER[9:] / 1e4 * units.um, jansky[2, 9:], mask=bad[9:]),
    ]
    if source == "specutils":
        spectra = specutils.SpectrumList(spectra)
    expected = fitted.transform(
        [(OTHER, flux[0]), (OTHER, flux[1], ~bad), (OTHER[9:], flux[2, 9:], ~bad[9:])]
    )
    assert_allclose(fitted.transform(spectra), expected, rtol=1e-9)
    assert_allclose(expected[0], reference(flux[0], OTHER, NEW), rtol=1e-8)

    train, test = train_test_split(spectra, test_size=1, shuffle=False)
    assert_allclose(fitted.transform(train), expected[:2], rtol=1e-9)
    assert_allclose(fitted.transform(np.array([*test, None])[:1]), expected[2:])

    many = make(OTHER * units.AA, jansky)
    assert_allclose(
        fitted.transform(many), fitted.transform(flux, wavelength=OTHER), rtol=1e-12
    )
    grids = np.stack([OTHER, OTHER + 1, OTHER]) * units.AA
    error = StdDevUncertainty(np.where(bad, np.inf, 1.0) * np.ones((3, 1)))
    collection = spectral_object(grids, jansky, error)
    if source == "specutils":
        collection = specutils.SpectrumCollection(jansky, grids, uncertainty=error)
    expected = fitted.transform([(OTHER, flux[0], ~bad), (OTHER + 1, flux[1], ~bad)])
    assert_allclose(fitted.transform(collection)[:2], expected, rtol=1e-12)

    learned = clone(fitted).fit(spectra)
    assert learned.flux_unit_ == units.Jy
    in_milli = [make(OTHER * units.AA, jansky[0].to(units.mJy))]
    assert_allclose(learned.transform(in_milli)[0], reference(flux[0], OTHER, NEW))
    with pytest.raises(ValueError, match=r"X\[0\] has a flux in ct, which does not"):
        learned.transform([make(OTHER * units.AA, flux[0] * units.ct)])


def test_collections_that_specutils_builds(fitted):
    specutils = pytest.importorskip("specutils")
    flux = on(OTHER, 2)
    spectra = [
        specutils.Spectrum(flux=row * units.Jy, spectral_axis=(OTHER + i) * units.AA)
        for i, row in enumerate(flux)
    ]
    with warnings.catch_warnings():
        # Of spectra without errors and masks.
        warnings.simplefilter("ignore")
        collection = specutils.SpectrumCollection.from_spectra(spectra)
    expected = fitted.transform([(OTHER, flux[0]), (OTHER + 1, flux[1])])
    assert_allclose(fitted.transform(collection), expected, rtol=1e-12)


@pytest.mark.parametrize("make", [tuple, lambda pair: [list(pair)] * 2])
def test_wavelengths_are_not_taken_for_spectra(make):
    with pytest.raises(ValueError, match="X begins with wavelengths"):
        RebinSpectra().fit(make((GRID, on(GRID, 1)[0])))


def test_frequencies_are_refused_with_advice(fitted):
    frequency = (OTHER * units.AA).to(units.Hz, units.spectral())[::-1]
    with pytest.raises(ValueError, match=r"is in Hz.*equivalencies"):
        fitted.transform([(frequency, on(OTHER, 1)[0])])
    of_frequencies = RebinSpectra(frequency).fit(on(OTHER))
    assert of_frequencies.transform(on(OTHER)).shape == (5, 171)
    with pytest.raises(ValueError, match="The grid of RebinSpectra is in Hz"):
        of_frequencies.transform(on(OTHER), wavelength=OTHER)


def test_spectra_that_cover_no_pixel_are_refused(fitted):
    with pytest.raises(ValueError, match="cover no new pixel by half"):
        fitted.transform([(np.array([4500.0, 4500.5]), np.ones(2))])


def test_what_readers_return(fitted):
    flux = on(OTHER, 3, np.float32)
    spectra = Bunch(
        flux=flux, wavelength=OTHER, medium=np.array(["air", "vacuum", "air"]), table=[]
    )
    single = [
        Bunch(flux=row, wavelength=OTHER, ivar=np.ones_like(row), medium=medium)
        for row, medium in zip(flux, spectra.medium, strict=True)
    ]
    expected = [reference(row, OTHER, NEW) for row in flux]
    expected[::2] = [reference(row, air_to_vacuum(OTHER), NEW) for row in flux[::2]]
    assert_allclose(fitted.transform(spectra), expected, rtol=1e-5)
    assert_allclose(fitted.transform(single), expected, rtol=1e-5)
    one_medium = Bunch(**{**spectra, "medium": np.array(["air", "", "air"])})
    learned = RebinSpectra(new_wavelength=NEW).fit(one_medium)
    assert learned.medium_ == "air"
    with pytest.raises(ValueError, match="in air and in vacuum: set the parameter med"):
        learned.fit(spectra)
    # The statement of a caller who knows better has priority.
    found = fitted.transform(spectra, medium="vacuum")
    assert_array_equal(found, fitted.transform(flux, wavelength=OTHER))


def test_other_frame_is_named():
    flux = on(OTHER, 2)
    frames = np.array(["barycentric", "heliocentric"])
    spectra = Bunch(flux=flux, wavelength=OTHER, frame=frames)
    transformer = RebinSpectra(new_wavelength=NEW).fit(spectra)
    assert transformer.frame_ == "heliocentric"
    transformer.transform([Bunch(flux=flux[0], wavelength=OTHER, frame="barycentric")])
    transformer.transform([(OTHER, flux[0])])
    rest = Bunch(flux=flux, wavelength=OTHER, frame=np.array(["", "rest"]))
    with pytest.warns(UserWarning, match="are rest, those of the training spectra hel"):
        found = transformer.transform(rest)
    assert_array_equal(found, transformer.transform(flux, wavelength=OTHER))


# Within scikit-learn


@pytest.fixture
def task():
    """Make two classes on two grids, and the same on one grid."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    grids = [[GRID, OTHER][row // 2 % 2] for row in range(40)]
    spectra = [
        (grid, 2 + np.exp(-(((grid - 5500 - 900 * label) / 80) ** 2)))
        for grid, label in zip(grids, y, strict=True)
    ]
    spectra = [(grid, flux + rng.normal(0, 0.4, flux.size)) for grid, flux in spectra]
    return spectra, y, RebinSpectra(new_wavelength=NEW).fit_transform(spectra)


@pytest.mark.parametrize("module", [sklearn.pipeline, skastro])
def test_lists_are_split(module, task):
    spectra, y, X = task
    net = LogisticRegression()
    pipe = module.make_pipeline(RebinSpectra(new_wavelength=NEW), net)
    assert_allclose(cross_val_score(pipe, spectra, y), cross_val_score(net, X, y))
    train, test, y_train, _ = train_test_split(spectra, y, random_state=0)
    X_train, X_test = train_test_split(X, random_state=0)
    assert_array_equal(pipe.fit(train, y_train)[:1].transform(test), X_test)
    assert_array_equal(pipe.predict(test), net.fit(X_train, y_train).predict(X_test))
    search = GridSearchCV(pipe, {"rebinspectra__fill_value": [0.0, 1.0]}, cv=3)
    search.fit(spectra, y)
    assert_allclose(search.best_score_, cross_val_score(net, X, y, cv=3).mean())


@pytest.mark.parametrize("module", [sklearn.pipeline, skastro])
def test_pipelines_pass_wavelengths_on(module, task):
    spectra, y, _ = task
    on_other = np.stack([flux for grid, flux in spectra if grid is OTHER])
    on_grid = np.stack([flux for grid, flux in spectra if grid is GRID])
    labels = y[[grid is OTHER for grid, _ in spectra]]
    rebin = RebinSpectra(new_wavelength=NEW, medium="vacuum")
    net = SpectrumClassifier("mlp", max_epochs=2, random_state=0, verbose=0)
    pipe = module.make_pipeline(rebin, MinMaxSpectra(), net)
    air = vacuum_to_air(GRID)
    given = {"flux": on_grid, "wavelength": air, "medium": "air"}
    pipe.fit({"flux": on_other, "wavelength": OTHER}, labels)
    expected = pipe.predict_proba(on_other), pipe.predict_proba(given)
    listed = [(GRID, flux) for flux in on_grid]
    assert_allclose(pipe.predict_proba(listed), expected[1], atol=1e-5)
    with config_context(enable_metadata_routing=True):
        pipe = clone(pipe).fit(on_other, labels, wavelength=OTHER)
        assert_array_equal(pipe.predict_proba(on_other), expected[0])
        call = {"wavelength": air, "medium": "air"}
        assert_array_equal(pipe.predict_proba(on_grid, **call), expected[1])
        assert_array_equal(pipe.predict(on_grid, **call), pipe.predict(given))
        assert_array_equal(pipe[:1].transform(on_grid, **call), rebin.transform(given))
        scores = cross_val_score(pipe, on_other, labels, params={"wavelength": OTHER})
        assert len(scores) == 5


def test_weights_follow_the_rows_of_a_sampler():
    y = np.where(np.arange(40) < 30, 0, 1)
    weights = np.arange(40.0)
    flux = on(GRID, 40)
    steps = [RandomOverSampler(random_state=0), LogisticRegression()]
    pipe = skastro.make_pipeline(RebinSpectra(new_wavelength=NEW), *steps)
    given = {"flux": flux, "wavelength": GRID}
    pipe.fit(given, y, logisticregression__sample_weight=weights)
    X = pipe[0].transform(given)
    expected = skastro.make_pipeline(*map(clone, steps))
    expected.fit(X, y, logisticregression__sample_weight=weights)
    assert_array_equal(pipe[-1].coef_, expected[-1].coef_)


def test_state_is_kept(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    call = {"wavelength": OTHER, "medium": "air"}
    expected = fitted.transform(on(OTHER), **call)
    assert_array_equal(copy.transform(on(OTHER), **call), expected)
    assert_array_equal(copy.wavelength_, GRID)
    assert not hasattr(clone(fitted), "wavelength_")
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="outside of the input"):
        fitted.fit(on(GRID), wavelength=GRID * 10)
    assert vars(fitted) == before
    # A second fit forgets the first.
    fitted.set_params(wavelength=None).fit([(GRID, GRID), (OTHER, OTHER)])
    assert not hasattr(fitted, "sample_shape_")
    assert fitted.wavelength_ is None


def test_data_frames(fitted):
    spectra = [(OTHER, OTHER), (GRID, GRID)]
    out = fitted.set_output(transform="pandas").transform(spectra)
    assert isinstance(out, pd.DataFrame)
    assert list(out.columns) == list(fitted.get_feature_names_out())
    frame = pd.DataFrame(on(OTHER, 2), index=["a", "b"])
    out = fitted.transform(frame, wavelength=OTHER)
    assert list(out.index) == ["a", "b"]
    assert_array_equal(out, fitted.transform(on(OTHER, 2), wavelength=OTHER))


def test_arrays_on_disk(fitted, tmp_path):
    flux = on(OTHER, 7, np.float32)
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        stored = file.create_dataset("flux", data=flux)
        call = {"wavelength": OTHER, "medium": "air"}
        lazy = fitted.transform(stored, **call)
        assert isinstance(lazy, LazyArray)
        assert_array_equal(lazy[:], fitted.transform(flux, **call))
        file.flush()
        assert_array_equal(pickle.loads(pickle.dumps(lazy))[2:4], lazy[2:4])
        mapped = fitted.transform({"flux": stored, **call})
        assert_array_equal(mapped[:], lazy[:])
        media = ["air", "vacuum"] * 3 + ["air"]
        mixed = fitted.transform(stored, wavelength=OTHER, medium=media)
        assert_array_equal(mixed[::2], lazy[::2])


# What is missing or wrong


def test_uncovered_range_is_named():
    transformer = RebinSpectra(GRID, NEW).fit(on(GRID))
    short = OTHER[OTHER < 7410]
    message = (
        r"2 of 2 spectra do not cover the grid, 4000 to 9000 Angstrom: new pixels "
        r"above 7370\.78\d* Angstrom become NaN, .*linspace\(4000, 7370"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        found = transformer.transform(on(short, 2), wavelength=short)
    covered = edges_of(short)[-1] >= NEW
    assert_array_equal(np.isnan(found), np.tile(~covered, (2, 1)))
    # The advice holds.
    advice = str(caught[0].message).partition("linspace(")[2].partition(")")[0]
    start, stop, number = advice.split(", ")
    assert_allclose(np.linspace(float(start), float(stop), int(number)), NEW[covered])
    common = RebinSpectra(GRID, NEW[covered]).fit(on(GRID))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(common.transform(on(short), wavelength=short)).all()
        # A documented filling is the user's choice.
        transformer.set_params(fill_value=0.0).transform(on(short), wavelength=short)


def test_gap_between_arms_stays_empty():
    arms = np.r_[np.linspace(4900, 5350, 151), np.linspace(6300, 6800, 161)]
    new = np.linspace(4910, 6790, 95)
    transformer = RebinSpectra(new_wavelength=new)
    found = transformer.fit_transform([arms], wavelength=arms)[0]
    gap = (new > 5352) & (new < 6298)
    assert_array_equal(np.isnan(found), gap)
    assert_allclose(found[~gap], new[~gap], atol=5)
    inside = ~gap & (np.abs(new - 5350) > 20) & (np.abs(new - 6300) > 20)
    expected = [reference(arm, arm, new) for arm in (arms[:151], arms[151:])]
    expected = np.where(new < 5800, *expected)
    assert_allclose(found[inside], expected[inside], rtol=1e-9)


@pytest.mark.parametrize(
    ("wavelength", "message"),
    [
        (OTHER[::-1], "wavelength: the wavelengths must ascend"),
        (np.r_[OTHER[0], OTHER[:-1]], "wavelength: the wavelengths must ascend"),
        (np.where(OTHER > 9000, np.nan, OTHER), "wavelengths are not finite"),
        (np.log10(OTHER), "must be in Angstrom, between 100"),
        (OTHER / 10, "have no unit and may be in Angstrom or in nanometers"),
        (OTHER * units.s, "no unit of wavelengths"),
        (OTHER[1:], "X holds spectra of 171 pixels, but wavelength has 170 values"),
        (OTHER + 9000, "lies outside of the input, from 126"),
        ([OTHER, OTHER], "X holds 3 spectra, but wavelength has 2 grids"),
    ],
)
def test_bad_wavelengths(wavelength, message, fitted):
    flux = on(OTHER, 3)
    with pytest.raises(ValueError, match=message):
        fitted.transform(flux, wavelength=wavelength)
    with pytest.raises(ValueError, match=message):
        RebinSpectra(new_wavelength=NEW).fit(flux, wavelength=wavelength)
    if np.ndim(wavelength) == 1 and len(wavelength) == len(OTHER):
        with pytest.raises(ValueError, match=message.replace("wavelength: ", "")):
            fitted.transform([(OTHER, flux[0]), (wavelength, flux[1])])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: t.transform([(OTHER, GRID)]),
            r"X\[0\]: the flux has shape \(240,\)",
        ),
        (
            lambda t: t.transform([(OTHER, OTHER), OTHER]),
            r"X\[1\] is ndarray, but items before it are spectra with wavelengths",
        ),
        (
            lambda t: t.transform([(OTHER, OTHER, GRID)]),
            r"X\[0\]: ivar has shape \(240,\), but the flux \(171,\)",
        ),
        (
            lambda t: t.transform([(OTHER, OTHER)], wavelength=OTHER),
            "wavelength= is one too many",
        ),
        (
            lambda t: t.transform({"flux": OTHER, "wavelength": OTHER}),
            r"X is a single spectrum; give a list",
        ),
        (
            lambda t: t.transform(on(OTHER), wavelength=OTHER, medium="water"),
            r"medium must be one of \['air', 'vacuum'\]; got 'water'",
        ),
        (
            lambda t: t.transform(on(OTHER), wavelength=OTHER, medium=True),
            "medium must be one of .* got 'True'",
        ),
        (
            lambda t: t.transform(on(OTHER), wavelength=OTHER, medium=["air"]),
            "medium has 1 values for 5 spectra",
        ),
        (
            lambda t: (
                RebinSpectra(GRID, NEW)
                .fit(on(GRID))
                .transform(on(OTHER), wavelength=OTHER, medium="air")
            ),
            "are in air, but the medium of the new grid is not known",
        ),
        (
            lambda t: RebinSpectra().fit(on(GRID)).transform(on(GRID), wavelength=GRID),
            "fitted without, so that it counts pixels",
        ),
        (
            lambda t: RebinSpectra(new_wavelength=NEW, medium="air").fit(on(GRID)),
            "medium is stated, but the spectra have no wavelengths",
        ),
        (
            lambda t: RebinSpectra(new_wavelength=NEW / 10).fit(
                on(GRID), wavelength=GRID
            ),
            "new_wavelength: the wavelengths, 400 to 900, have no unit",
        ),
        (
            lambda t: RebinSpectra(medium="water").fit(on(GRID)),
            "'medium' parameter of RebinSpectra must be",
        ),
    ],
)
def test_bad_calls(call, message, fitted):
    with pytest.raises((ValueError, TypeError), match=message):
        call(fitted)


def test_errors_name_rows_of_the_collection(fitted):
    spectra = [(OTHER, OTHER), (GRID, GRID), (OTHER, OTHER * np.inf)]
    with pytest.raises(ValueError, match="infinity") as caught:
        fitted.transform(spectra)
    assert "in rows 0, 2 of X" in caught.value.__notes__[0]
