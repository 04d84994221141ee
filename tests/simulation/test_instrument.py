# SPDX-License-Identifier: BSD-3-Clause
"""The spectrograph: resolution, noise, sky, cosmic rays, bad pixels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from skastro.datasets import make_spectra
from skastro.simulation import INSTRUMENTS, Instrument, planck_flux
from skastro.simulation.spectra._spectrograph import Spectrograph

pytestmark = pytest.mark.once

WAVELENGTH = np.linspace(3900.0, 9000.0, 3000)


@pytest.fixture(scope="module")
def spectrograph():
    return Spectrograph(Instrument(wavelength=WAVELENGTH))


def fwhm(wavelength, profile):
    above = np.flatnonzero(profile > profile.max() / 2)
    left, right = above[0], above[-1]
    half = profile.max() / 2
    low = np.interp(half, profile[[left - 1, left]], wavelength[[left - 1, left]])
    high = np.interp(half, profile[[right + 1, right]], wavelength[[right + 1, right]])
    return high - low


@pytest.mark.parametrize("resolution", [300.0, 1800.0, 10000.0])
@pytest.mark.parametrize("how", ["added line", "blurred spike"])
def test_unresolved_line_has_the_instrument_s_width(resolution, how):
    center = 6000.0
    width = center / resolution
    wavelength = np.arange(center - 4 * width, center + 4 * width, width / 60)
    spectrograph = Spectrograph(
        Instrument(wavelength=wavelength, resolution=resolution)
    )
    grid = spectrograph.grid
    flux = np.zeros((1, grid.size))
    if how == "added line":
        grid.add_lines(flux, np.array([center]), grid.sigma()[None], np.ones(1))
    else:
        flux[0, np.searchsorted(grid.edges, center) - 1] = 1.0
        flux = grid.blur(flux, grid.sigma())
    profile = spectrograph.to_pixels(flux)[0]
    assert fwhm(wavelength, profile) == pytest.approx(width, rel=0.02)
    peak = wavelength[profile.argmax()]
    assert peak == pytest.approx(center, abs=0.6 * grid.step * center + width / 60)


def test_pixels_conserve_flux(spectrograph):
    grid = spectrograph.grid
    flux = np.ones((1, grid.size))
    grid.add_lines(flux, np.array([6564.6]), grid.sigma()[None], np.array([50.0]))
    pixels = spectrograph.to_pixels(flux)[0]
    step = WAVELENGTH[1] - WAVELENGTH[0]
    assert ((pixels - 1) * step).sum() == pytest.approx(50.0, rel=1e-3)
    np.testing.assert_allclose(pixels[:500], 1.0, rtol=1e-9)


def test_noise_is_what_the_inverse_variance_says(spectrograph):
    rng = np.random.default_rng(0)
    model = 1 + 0.5 * np.sin(np.tile(WAVELENGTH / 300, (200, 1)))
    snr = np.geomspace(1.0, 100.0, 200)
    flux, truth, ivar = spectrograph.observe(model, snr, rng)
    pull = (flux - truth) * np.sqrt(ivar)
    assert stats.kstest(pull.ravel()[::7], "norm").pvalue > 1e-3
    np.testing.assert_allclose(pull.std(axis=1), 1.0, atol=0.08)
    np.testing.assert_allclose((truth * np.sqrt(ivar)).mean(axis=1), snr, rtol=1e-6)
    # The model comes back but for its scale.
    ratio = truth / model
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones_like(ratio), rtol=1e-9)


def test_noise_grows_at_the_ends_and_on_sky_lines(spectrograph):
    rng = np.random.default_rng(0)
    _, _, ivar = spectrograph.observe(np.ones((1, 3000)), np.array([3.0]), rng)
    noise = 1 / np.sqrt(ivar[0])

    def at(wavelength):
        return noise[np.abs(WAVELENGTH - wavelength).argmin()]

    middle = at(6700.0)
    assert at(3910.0) > 2 * middle
    assert at(8995.0) > middle
    assert at(5578.9) > 2 * at(5540.0)
    assert at(8829.5) > 1.5 * at(8720.0)


def test_bright_objects_outshine_the_sky(spectrograph):
    rng = np.random.default_rng(0)
    snr = np.array([2.0, 200.0])
    _, truth, ivar = spectrograph.observe(np.ones((2, 3000)), snr, rng)
    noise = 1 / np.sqrt(ivar)
    line = np.abs(WAVELENGTH - 5578.9).argmin()
    contrast = noise[:, line] / noise[:, line - 30]
    assert contrast[0] > 2 * contrast[1]
    assert truth[1].mean() > 20 * truth[0].mean()


def test_residuals_lie_on_sky_lines(spectrograph):
    rng = np.random.default_rng(0)
    ivar = np.ones((400, 3000))
    flux = np.zeros((400, 3000))
    spectrograph.add_sky_residuals(flux, ivar, rng)
    scatter = np.abs(flux).mean(axis=0)
    assert WAVELENGTH[scatter.argmax()] == pytest.approx(5578.9, abs=4)
    clear = (WAVELENGTH > 4700) & (WAVELENGTH < 5300)
    hydroxyl = (WAVELENGTH > 8340) & (WAVELENGTH < 8470)
    assert scatter[clear].max() < 1e-3
    assert scatter[hydroxyl].max() > 0.3
    # They leave no net flux on average.
    assert np.abs(flux.mean(axis=0)).max() < 0.3 * scatter.max()


def test_residuals_scale_with_strength_and_noise():
    def residuals(strength, ivar):
        spectrograph = Spectrograph(Instrument(sky_residuals=strength))
        flux = np.zeros((5, 3000))
        ivar = np.full((5, 3000), ivar)
        spectrograph.add_sky_residuals(flux, ivar, np.random.default_rng(3))
        return flux

    once = residuals(1.0, 1.0)
    np.testing.assert_allclose(residuals(2.0, 1.0), 2 * once)
    np.testing.assert_allclose(residuals(1.0, 0.25), 2 * once)


def test_cosmic_rays():
    spectrograph = Spectrograph(Instrument(cosmic_rays=1.5))
    rng = np.random.default_rng(0)
    flux, ivar = np.zeros((2000, 3000)), np.full((2000, 3000), 4.0)
    spectrograph.add_cosmic_rays(flux, ivar, rng)
    struck = (flux != 0).sum()
    # One or two pixels each.
    assert struck == pytest.approx(2000 * 1.5 * 1.4, rel=0.06)
    assert flux.min() == 0
    assert np.median(flux[flux > 0]) > 4 * 0.5
    assert (ivar == 4.0).all()


def test_bad_pixels():
    spectrograph = Spectrograph(Instrument(bad_pixels=0.8))
    rng = np.random.default_rng(0)
    flux, ivar = np.ones((2000, 3000)), np.ones((2000, 3000))
    spectrograph.blank_bad_pixels(flux, ivar, rng)
    np.testing.assert_array_equal(flux == 0, ivar == 0)
    assert (flux == 0).sum() == pytest.approx(2000 * 0.8 * 3, rel=0.1)


def test_miscalibration_is_smooth_and_of_a_few_per_cent(spectrograph):
    flux = np.ones((300, 3000))
    spectrograph.miscalibrate(flux, np.random.default_rng(0))
    assert 0.05 < np.log(flux).std() < 0.2
    clear = (WAVELENGTH > 4000) & (WAVELENGTH < 5700)
    assert np.abs(np.diff(flux[:, clear], axis=1)).max() < 2e-3
    # The telluric A band is left in absorption more often than not.
    band = flux[:, np.abs(WAVELENGTH - 7615).argmin()]
    beside = flux[:, np.abs(WAVELENGTH - 7500).argmin()]
    assert 0.6 < (band < beside).mean() < 0.95


@pytest.mark.parametrize("wavelength", [[5000.0], [3000.0, 10500.0], [4000.0, 4001.0]])
def test_few_pixels(wavelength):
    spectrograph = Spectrograph(Instrument(wavelength=wavelength))
    flux = spectrograph.to_pixels(np.ones((2, spectrograph.grid.size)))
    np.testing.assert_allclose(flux, 1.0)
    spectrograph.miscalibrate(flux, np.random.default_rng(0))
    assert np.isfinite(flux).all()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_lines_have_the_resolution_of_their_wavelength(name):
    instrument = INSTRUMENTS[name]
    center = np.linspace(instrument.wavelength[0], instrument.wavelength[-1], 7)[1:-1]
    # One line at a time, on pixels that sample it well.
    for line in center:
        power = instrument.resolving_power(line)
        pixels = line + np.arange(-200, 201) * line / power / 60
        spectrograph = Spectrograph(
            instrument.with_changes(wavelength=np.union1d(pixels, [3600, 9000]))
        )
        grid = spectrograph.grid
        flux = np.zeros((1, grid.size))
        grid.add_lines(flux, np.array([line]), grid.sigma()[None], np.ones(1))
        near = np.abs(spectrograph.wavelength - line) <= 3.3 * line / power
        profile = spectrograph.to_pixels(flux)[0, near]
        found = fwhm(spectrograph.wavelength[near], profile)
        # Power that changes along the line makes it a little narrower or wider.
        assert found == pytest.approx(line / power, rel=0.05)


def test_resolution_by_wavelength_conserves_flux():
    spectrograph = Spectrograph(INSTRUMENTS["boss"])
    grid = spectrograph.grid
    flux = np.ones((1, grid.size))
    np.testing.assert_allclose(spectrograph.to_pixels(flux), 1.0, rtol=1e-6)
    grid.add_lines(flux, np.array([4500.0]), grid.sigma()[None], np.array([50.0]))
    pixels = spectrograph.to_pixels(flux)[0] - 1
    assert (pixels * np.gradient(spectrograph.wavelength)).sum() == pytest.approx(
        50.0, rel=1e-2
    )


def test_counts_keep_the_response():
    flux = np.ones((3, 2334))
    snr = np.full(3, 20.0)
    instrument = INSTRUMENTS["6dfgs"]
    counted, calibrated = (
        Spectrograph(each).observe(flux, snr, np.random.default_rng(0))
        for each in (instrument, replace(instrument, response=None))
    )
    (_, truth, ivar), (_, flat, flat_ivar) = counted, calibrated
    curve = np.interp(instrument.wavelength, *np.transpose(instrument.response))
    np.testing.assert_allclose(truth, flat * curve)
    np.testing.assert_allclose(flat, flat[:, :1] * np.ones(2334))
    # The signal-to-noise ratio does not depend on the unit.
    np.testing.assert_allclose(truth**2 * ivar, flat**2 * flat_ivar, rtol=1e-9)


def test_steps_where_the_arms_meet():
    instrument = Instrument(calibration_errors=(), arms=(5000.0, 7000.0), arm_step=0.1)
    instrument = replace(instrument, telluric=(0.0, 0.0))
    flux = np.ones((500, 3000))
    Spectrograph(instrument).miscalibrate(flux, np.random.default_rng(0))
    at = [np.abs(WAVELENGTH - each).argmin() for each in (4500, 6000, 8000)]
    steps = np.diff(np.log(flux[:, at]), axis=1)
    np.testing.assert_allclose(steps.std(axis=0), 0.1, rtol=0.1)
    np.testing.assert_allclose(flux[:, 0], 1.0, rtol=1e-6)


def test_scattered_light_makes_red_objects_bluer():
    perfect = Instrument(
        calibration_errors=(), arm_step=0, telluric=(0, 0), scattered_light=0.06
    )
    kelvin = np.array([[3500.0], [7000.0]])
    flux = planck_flux(WAVELENGTH, kelvin)
    seen = flux.copy()
    Spectrograph(perfect).miscalibrate(seen, np.random.default_rng(0))
    red, white = seen / flux
    # The standard star is calibrated by itself.
    np.testing.assert_allclose(white, 1.0, rtol=1e-9)
    assert 1.1 < red[0] / red[-1] < 1.5
    assert (np.diff(red) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"wavelength": [5000.0, 4000.0]}, ValueError, "ascending"),
        ({"resolution": [1, 2, 3]}, ValueError, "pairs of a wavelength and a value"),
        ({"resolution": [(4000, 1000), (5000, 5)]}, ValueError, "from 20 to 100000"),
        ({"resolution": [(5000, 900), (4000, 900)]}, ValueError, "be ascending"),
        ({"throughput": 0.5}, ValueError, "throughput must hold pairs"),
        ({"throughput": [(4000, -1)]}, ValueError, "positive, finite"),
        ({"response": [4000, 1]}, ValueError, "response must hold pairs"),
        ({"read_noise": -1}, ValueError, "read_noise must be at least 0"),
        ({"arms": ("blue",)}, TypeError, "arms must be a number"),
        ({"bad_pixels": np.nan}, ValueError, "bad_pixels"),
        ({"telluric": (-0.1, 0.1)}, ValueError, "telluric must be at least 0"),
        ({"scale": 5}, TypeError, "scale must be a pair"),
        ({"arms": 5900}, TypeError, "arms must be a tuple of numbers"),
    ],
)
def test_impossible_instruments(arguments, error, message):
    with pytest.raises(error, match=message):
        Instrument(**arguments)


def test_instruments_are_frozen():
    with pytest.raises(AttributeError):
        INSTRUMENTS["boss"].read_noise = 1.0
    with pytest.raises(ValueError, match="read-only"):
        INSTRUMENTS["boss"].wavelength[0] = 1.0
    given = np.linspace(4000.0, 5000.0, 9)
    Instrument(wavelength=given)
    given[0] = 3999.0


def test_pixels_of_simulated_spectra_belong_to_the_user():
    make_spectra(1, instrument="sdss").wavelength[:] = 0
    assert INSTRUMENTS["sdss"].wavelength[0] > 3000
