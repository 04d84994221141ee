# SPDX-License-Identifier: BSD-3-Clause
"""The simulated data set as users see it."""

import numpy as np
import pytest
from astropy import units
from scipy import stats
from scipy.ndimage import median_filter, uniform_filter1d
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import INSTRUMENTS, Instrument

pytestmark = pytest.mark.once

SMALL = np.linspace(4000.0, 9000.0, 400)


@pytest.fixture(scope="module")
def spectra():
    return make_spectra(1200, random_state=0)


def standardized(flux):
    center, spread = flux.mean(axis=1), flux.std(axis=1)
    return (flux - center[:, None]) / spread[:, None]


def test_fields(spectra):
    assert spectra.flux.shape == spectra.ivar.shape == (1200, 3000)
    assert spectra.flux.dtype == spectra.ivar.dtype == np.float32
    np.testing.assert_array_equal(spectra.wavelength, np.linspace(3900, 9000, 3000))
    np.testing.assert_array_equal(spectra.target_names, ["GALAXY", "QSO", "STAR"])
    for name in ("target", "subclass", "redshift", "snr", "teff", "logg", "feh"):
        assert spectra[name].shape == (1200,)
    assert np.isfinite(spectra.flux).all()
    assert (spectra.ivar >= 0).all()
    assert (spectra.subclass != "").all()
    assert "1200 (400 GALAXY, 400 QSO, 400 STAR)" in spectra.DESCR
    assert "true_flux" not in spectra


def test_order_is_random(spectra):
    changes = (spectra.target[1:] != spectra.target[:-1]).mean()
    assert changes == pytest.approx(2 / 3, abs=0.06)


def test_redshifts(spectra):
    star = spectra.target == "STAR"
    assert np.abs(spectra.redshift[star]).max() <= 300.0 / 299792.458
    assert np.median(spectra.redshift[spectra.target == "GALAXY"]) < 0.2
    assert np.median(spectra.redshift[spectra.target == "QSO"]) > 1


def test_only_stars_have_labels(spectra):
    star = spectra.target == "STAR"
    for name in ("teff", "logg"):
        np.testing.assert_array_equal(np.isfinite(spectra[name]), star)
    known = star & (spectra.subclass != "WD")
    np.testing.assert_array_equal(np.isfinite(spectra.feh), known)
    cool = np.array([name[0] in "KM" for name in spectra.subclass]) & star
    assert spectra.teff[cool].max() < 5300


@pytest.mark.parametrize("grid", [SMALL, np.linspace(3500, 9800, 400)])
def test_ranges_of_redshifts(grid):
    ranges = {"GALAXY": (0.2, 1.5), "QSO": (0.01, 5.0)}
    spectra = make_spectra(300, wavelength=grid, redshift=ranges, random_state=0)
    assert np.isfinite(spectra.flux).all()
    for name, (low, high) in ranges.items():
        found = np.log1p(spectra.redshift[spectra.target == name])
        low, high = np.log1p([low, high])
        assert stats.kstest((found - low) / (high - low), "uniform").pvalue > 0.01
    star = spectra.target == "STAR"
    assert np.abs(spectra.redshift[star]).max() <= 300.0 / 299792.458


def test_one_range_leaves_the_other_class_alone():
    spectra = make_spectra(
        300, wavelength=SMALL, redshift={"QSO": (0.1, 0.2)}, random_state=0
    )
    assert spectra.redshift[spectra.target == "QSO"].max() <= 0.2
    assert 0.05 < np.median(spectra.redshift[spectra.target == "GALAXY"]) < 0.2


def test_nothing_but_the_spectrum_tells_the_class(spectra):
    for values in (np.log(spectra.snr), np.log(np.abs(spectra.flux.mean(axis=1)))):
        means = [values[spectra.target == name].mean() for name in spectra.target_names]
        assert np.ptp(means) < 0.35 * values.std()


def test_flux_spans_orders_of_magnitude(spectra):
    low, high = np.percentile(np.median(spectra.flux, axis=1), [2, 98])
    assert high > 50 * low > 0


def test_signal_to_noise():
    spectra = make_spectra(
        300, wavelength=SMALL, snr=(2, 20), return_truth=True, random_state=0
    )
    assert spectra.snr.min() >= 2
    assert spectra.snr.max() <= 20
    # Log-uniform: half of them below the geometric mean.
    assert (spectra.snr < np.sqrt(40)).mean() == pytest.approx(0.5, abs=0.1)
    good = (spectra.ivar > 0).all(axis=1)
    reached = (spectra.true_flux * np.sqrt(spectra.ivar)).mean(axis=1)
    np.testing.assert_allclose(reached[good], spectra.snr[good], rtol=1e-5)


def test_noise_without_artifacts_is_gaussian():
    spectra = make_spectra(
        200,
        wavelength=SMALL,
        sky_residuals=0,
        cosmic_rays=0,
        bad_pixels=0,
        return_truth=True,
        random_state=0,
    )
    pull = (spectra.flux - spectra.true_flux) * np.sqrt(spectra.ivar)
    assert pull.mean() == pytest.approx(0, abs=0.015)
    assert pull.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(pull) > 3).mean() == pytest.approx(0.0027, abs=0.001)


def test_artifacts_are_outliers():
    spectra = make_spectra(
        200, cosmic_rays=2, bad_pixels=1, return_truth=True, random_state=0
    )
    pull = (spectra.flux - spectra.true_flux) * np.sqrt(spectra.ivar)
    green = np.abs(spectra.wavelength - 5578.9) < 4
    assert np.abs(pull[:, green]).max(axis=1).mean() > 4
    cosmic = (pull > 6) & (np.abs(spectra.wavelength - 5578.9) > 30)
    assert 0.8 < cosmic.sum() / 200 < 4
    bad = spectra.ivar == 0
    assert (spectra.flux[bad] == 0).all()
    assert bad.any(axis=1).mean() == pytest.approx(1 - np.exp(-1), abs=0.1)


def test_same_seed_same_spectra():
    one, two, other = (
        make_spectra(12, wavelength=SMALL, random_state=seed) for seed in (3, 3, 4)
    )
    for name in ("flux", "ivar", "target", "subclass", "redshift", "snr"):
        np.testing.assert_array_equal(one[name], two[name])
    assert not np.array_equal(one.flux, other.flux)


def test_random_state_objects():
    state = np.random.RandomState(0)
    first = make_spectra(3, wavelength=SMALL, random_state=state)
    second = make_spectra(3, wavelength=SMALL, random_state=state)
    assert not np.array_equal(first.flux, second.flux)


def test_global_generator_is_untouched():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_spectra(3, wavelength=SMALL, random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("proportions", "expected"),
    [
        (None, {"GALAXY": 4, "QSO": 3, "STAR": 3}),
        ({"STAR": 1}, {"GALAXY": 0, "QSO": 0, "STAR": 10}),
        (
            {"STAR": 98.5, "GALAXY": 1.2, "QSO": 0.3},
            {"GALAXY": 0, "QSO": 0, "STAR": 10},
        ),
        ({"STAR": 7, "GALAXY": 2, "QSO": 1}, {"GALAXY": 2, "QSO": 1, "STAR": 7}),
    ],
)
def test_class_proportions(proportions, expected):
    spectra = make_spectra(
        10, wavelength=[5000.0], class_proportions=proportions, random_state=0
    )
    counts = {name: (spectra.target == name).sum() for name in expected}
    assert counts == expected
    present = sorted(name for name, count in expected.items() if count)
    assert spectra.target_names.tolist() == present


@pytest.mark.parametrize(
    "wavelength",
    [
        [5000.0],
        [4000.0, 8000.0],
        np.linspace(3690, 9100, 2600),
        np.linspace(369, 910, 260) * units.nm,
        10 ** np.arange(3.58, 4.0, 1e-3),
        np.linspace(3000, 4000, 77),
        np.linspace(10000, 10500, 50),
        (4000, 5000, 7000),
    ],
)
def test_any_grid(wavelength):
    spectra = make_spectra(9, wavelength=wavelength, random_state=0)
    assert spectra.flux.shape == (9, len(wavelength))
    assert np.isfinite(spectra.flux).all()
    assert np.isfinite(spectra.ivar).all()
    if isinstance(wavelength, units.Quantity):
        wavelength = wavelength.to_value("AA")
    np.testing.assert_allclose(spectra.wavelength, wavelength)


def test_resolution_smooths():
    sharp, smooth = (
        make_spectra(
            5,
            class_proportions={"STAR": 1},
            resolution=resolution,
            return_truth=True,
            random_state=0,
        ).true_flux
        for resolution in (1800, 200)
    )
    texture = [np.abs(np.diff(np.log(flux))).mean() for flux in (sharp, smooth)]
    assert texture[1] < 0.6 * texture[0]


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_instruments(name):
    spectra = make_spectra(12, instrument=name, return_truth=True, random_state=0)
    wavelength = INSTRUMENTS[name].wavelength
    np.testing.assert_array_equal(spectra.wavelength, wavelength)
    assert spectra.flux.shape == (12, wavelength.size)
    assert np.isfinite(spectra.flux).all()
    good = (spectra.ivar > 0).all(axis=1)
    reached = (spectra.true_flux * np.sqrt(spectra.ivar)).mean(axis=1)
    np.testing.assert_allclose(reached[good], spectra.snr[good], rtol=1e-4)


def test_arguments_override_the_instrument():
    spectra = make_spectra(
        40,
        instrument="6dfgs",
        wavelength=SMALL,
        resolution=[(4000, 500), (9000, 2000)],
        cosmic_rays=0,
        bad_pixels=0,
        sky_residuals=0,
        return_truth=True,
        random_state=0,
    )
    np.testing.assert_array_equal(spectra.wavelength, SMALL)
    assert "Resolving power: 500 to 2000" in spectra.DESCR
    pull = (spectra.flux - spectra.true_flux) * np.sqrt(spectra.ivar)
    assert np.abs(pull).max() < 6


def test_own_instrument_is_the_same_as_its_numbers():
    own = Instrument(wavelength=SMALL, resolution=900, cosmic_rays=3)
    one = make_spectra(6, instrument=own, random_state=0)
    two = make_spectra(
        6, wavelength=SMALL, resolution=900, cosmic_rays=3, random_state=0
    )
    np.testing.assert_array_equal(one.flux, two.flux)


def test_progress_bar(capsys):
    make_spectra(3, wavelength=SMALL, verbose=0)
    assert capsys.readouterr() == ("", "")
    make_spectra(3, wavelength=SMALL, verbose=1)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "at least 1; got 0"),
        ({"n_samples": 2.5}, TypeError, "integer; got 2.5"),
        ({"wavelength": []}, ValueError, "at least one value"),
        ({"wavelength": [[4000.0]]}, ValueError, r"got shape \(1, 1\)"),
        ({"wavelength": [369.0, 910.0]}, ValueError, "369 to 910.*astropy.units.nm"),
        ({"wavelength": [4000.0, np.nan]}, ValueError, "from 3000 to 10500"),
        ({"wavelength": [5000.0, 4000.0]}, ValueError, "strictly ascending"),
        (
            {"class_proportions": {"PLANET": 1}},
            ValueError,
            r"\['PLANET'\]; the classes",
        ),
        ({"class_proportions": [1, 1, 1]}, TypeError, "dictionary"),
        ({"class_proportions": {"STAR": -1}}, ValueError, "proportion of STAR"),
        ({"class_proportions": {"STAR": 0}}, ValueError, "one positive value"),
        ({"snr": 10}, ValueError, "pair"),
        ({"snr": (10, 5)}, ValueError, r"got \(10, 5\)"),
        ({"snr": (0, 5)}, ValueError, "lowest snr must be positive"),
        ({"redshift": (0, 1)}, TypeError, r"dictionary such as .*; got \(0, 1\)"),
        ({"redshift": {"STAR": (0, 1)}}, ValueError, r"\['STAR'\]; only .*'QSO'"),
        ({"redshift": {"GALAXY": (0, 2)}}, ValueError, "GALAXY on this grid.*1.7"),
        ({"redshift": {"QSO": (-1, 2)}}, ValueError, "QSO on this grid must be from 0"),
        ({"redshift": {"QSO": (3, 2)}}, ValueError, r"\(lowest, highest\); got"),
        (
            {"redshift": {"QSO": (0, 4)}, "wavelength": [3500.0, 4000.0]},
            ValueError,
            "QSO on this grid must be from 0 to 2.1",
        ),
        ({"instrument": "hubble"}, ValueError, "instrument must be one of .*'hubble'"),
        ({"instrument": 5}, TypeError, "name or a skastro.simulation.Instrument"),
        ({"resolution": 5}, ValueError, "from 20 to 100000; got 5"),
        ({"resolution": "high"}, TypeError, "resolution must be a number"),
        ({"cosmic_rays": -1}, ValueError, "cosmic_rays must be at least 0; got -1"),
        ({"sky_residuals": np.inf}, ValueError, "sky_residuals must be .* finite"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make_spectra(**{"n_samples": 3, **arguments})


def test_units_must_be_lengths():
    with pytest.raises(ValueError, match="wavelength has the unit s"):
        make_spectra(3, wavelength=[4000.0] * units.s)


def test_difficulty(spectra):
    """A linear model finds it hard, a flexible one does well, worse at low S/N."""
    features = PCA(40, random_state=0).fit_transform(standardized(spectra.flux))
    parts = train_test_split(
        features,
        spectra.target,
        spectra.snr,
        test_size=0.3,
        stratify=spectra.target,
        random_state=0,
    )
    train, test, train_target, test_target, _, snr = parts
    linear = LogisticRegression(max_iter=2000).fit(train, train_target)
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    trees.fit(train, train_target)
    linear_score = f1_score(test_target, linear.predict(test), average="macro")
    predicted = trees.predict(test)
    tree_score = f1_score(test_target, predicted, average="macro")
    assert 0.75 < linear_score < 0.93
    assert tree_score > 0.92
    column = np.searchsorted(trees.classes_, test_target)
    doubt = 1 - trees.predict_proba(test)[np.arange(column.size), column]
    assert doubt[snr < 7].mean() > doubt[snr > 20].mean()


# Real spectra.


def texture(flux):
    """Lines over the continuum, from a spectrum without noise."""
    return flux / uniform_filter1d(flux, 151) - 1


@pytest.mark.parametrize(
    ("letter", "least"), [("A", 0.9), ("F", 0.85), ("G", 0.75), ("K", 0.6)]
)
def test_lines_of_real_stars(data_dir, letter, least):
    # Weak lines have made-up wavelengths, so that cool stars agree less.
    real = read_spectra(data_dir / "spectra.fits", verbose=0)
    rows = np.array([name.startswith(letter) for name in real.subclass])
    rows &= (real.target == "STAR") & (real.snr > 30)
    rows &= np.isfinite(real.flux).all(axis=1)
    flux = real.flux[rows].astype(np.float64)
    observed = np.median(flux / np.median(flux, axis=1, keepdims=True), axis=0)
    simulated = make_spectra(
        1000,
        class_proportions={"STAR": 1},
        return_truth=True,
        random_state=0,
    )
    rows = [name.startswith(letter) for name in simulated.subclass]
    flux = simulated.true_flux[rows].astype(np.float64)
    expected = np.median(flux / np.median(flux, axis=1, keepdims=True), axis=0)
    inside = (real.wavelength > 3925) & (real.wavelength < 6700)
    pair = texture(observed)[inside], texture(expected)[inside]
    assert np.corrcoef(*pair)[0, 1] > least
    assert 0.75 < pair[0].std() / pair[1].std() < 1.4
    # Bluer stars are bluer in both.
    color = [
        median_filter(spectrum, 101)[[300, 2700]] for spectrum in (observed, expected)
    ]
    np.testing.assert_allclose(
        np.log(color[0][0] / color[0][1]),
        np.log(color[1][0] / color[1][1]),
        atol=0.4,
    )


def test_trained_on_simulation_alone_it_classifies_real_spectra(data_dir):
    real = read_spectra(data_dir / "spectra.fits", verbose=0)
    rows = np.isfinite(real.flux).all(axis=1) & (np.ptp(real.flux, axis=1) > 0)
    simulated = make_spectra(1800, snr=(1.5, 80), random_state=0)

    def prepared(flux):
        low, middle, high = np.percentile(flux, [5, 50, 95], axis=1)[..., None]
        scaled = np.clip((flux - middle) / (high - low), -1.5, 3)
        return scaled.reshape(len(flux), 500, 6).mean(axis=2)

    model = make_pipeline(
        PCA(40, random_state=0), HistGradientBoostingClassifier(random_state=0)
    )
    model.fit(prepared(simulated.flux), simulated.target)
    predicted = model.predict(prepared(real.flux[rows]))
    assert f1_score(real.target[rows], predicted, average="macro") > 0.75
