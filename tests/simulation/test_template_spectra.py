# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of the user's own templates."""

import numpy as np
import pytest
from astropy import units

from skastro.datasets import make_spectra

pytestmark = pytest.mark.once

GRID = np.linspace(4000.0, 7000.0, 1500)
REST = np.linspace(2000.0, 9000.0, 7001)
QUIET = {
    "wavelength": GRID,
    "sky_residuals": 0,
    "cosmic_rays": 0,
    "bad_pixels": 0,
    "return_truth": True,
    "random_state": 0,
}


def line_template(center, sigma=3.0):
    return 1 + 5 * np.exp(-0.5 * ((REST - center) / sigma) ** 2)


def make(n, templates, **options):
    return make_spectra(
        n,
        templates={"NEW": templates},
        class_proportions={"NEW": 1},
        **{"redshift": {"NEW": (0.0, 0.5)}, **QUIET, **options},
    )


def test_lines_lie_at_their_redshift():
    templates = np.array([line_template(4200.0), line_template(4600.0)])
    spectra = make(60, (REST, templates))
    assert set(spectra.target) == {"NEW"}
    assert set(spectra.subclass) == {"0", "1"}
    centers = np.array([4200.0, 4600.0])[spectra.subclass.astype(int)]
    peak = GRID[(spectra.true_flux / smooth(spectra.true_flux)).argmax(axis=1)]
    np.testing.assert_allclose(peak, centers * (1 + spectra.redshift), atol=3)
    assert np.isnan(spectra.teff).all()


def smooth(flux):
    return np.median(flux, axis=1, keepdims=True)


@pytest.mark.parametrize("step", [0.05, 1.0])
def test_the_instrument_blurs_templates_of_any_sampling(step):
    rest = np.arange(4900.0, 6100.0, step)
    flux = np.ones(rest.size)
    flux[np.abs(rest - 5500.0) < 0.6] = 40.0
    spectra = make(
        1,
        (rest, flux),
        wavelength=np.arange(5000.0, 6000.0, 0.5),
        resolution=1000,
        redshift={"NEW": (0, 0)},
        instrument="desi",
    )
    excess = spectra.true_flux[0] / np.median(spectra.true_flux) - 1
    line = np.abs(spectra.wavelength - 5500) < 20
    excess = excess[line] - np.median(excess[~line])
    width = excess.sum() * 0.5 / excess.max() / np.sqrt(2 * np.pi) * 2.3548
    assert width == pytest.approx(5.5, rel=0.1)


def test_redshifts_at_which_the_template_covers_the_pixels():
    # 3000 to 9000 Å at rest: 4000 Å is covered up to z = 1/3.
    rest = REST[1000:]
    flux = np.array([line_template(4500.0)[1000:]] * 2)
    flux[1, :500] = np.nan  # from 3500 Å: up to 1/7
    spectra = make(200, (rest, flux), redshift={"NEW": (0, 2)})
    highest = np.array([4000 / 3000, 4000 / 3500]) - 1
    for index, limit in enumerate(highest):
        found = spectra.redshift[spectra.subclass == str(index)]
        assert 0.9 * limit < found.max() <= limit
    assert np.isfinite(spectra.flux).all()


def test_templates_that_never_cover_the_pixels_are_not_drawn():
    flux = np.array([line_template(4500.0)] * 2)
    flux[0, -3000:] = np.nan  # up to 6000 Å
    spectra = make(30, (REST, flux), redshift={"NEW": (0, 0.1)})
    assert set(spectra.subclass) == {"1"}


def test_known_classes_are_replaced():
    spectra = make_spectra(
        90,
        templates={
            "STAR": ((REST / 10) * units.nm, line_template(5000.0)),
            "QSO": (REST, line_template(5000.0)),
        },
        redshift={"QSO": (0.1, 0.2)},
        snr=(50, 60),
        **QUIET,
    )
    star = spectra.target == "STAR"
    assert star.sum() == 30
    assert np.abs(spectra.redshift[star]).max() < 0.0011
    assert spectra.redshift[star].std() > 1e-4
    peak = GRID[(spectra.true_flux / smooth(spectra.true_flux)).argmax(axis=1)]
    np.testing.assert_allclose(peak[star], 5000.0, atol=8)
    quasar = spectra.target == "QSO"
    expected = 5000.0 * (1 + spectra.redshift[quasar])
    np.testing.assert_allclose(peak[quasar], expected, atol=3)
    assert set(spectra.subclass[spectra.target == "GALAXY"]) > {"PASSIVE"}


FLAT = np.ones(REST.size)


@pytest.mark.parametrize(
    ("templates", "options", "error", "message"),
    [
        ([1, 2], {}, TypeError, "templates must be a dictionary such as"),
        ({1: (REST, FLAT)}, {}, TypeError, "must be text; got 1"),
        ({"NEW": FLAT}, {}, ValueError, r"must be a pair \(wavelength, flux\)"),
        ({"NEW": (REST, FLAT[1:])}, {}, ValueError, r"got shapes \(7001,\)"),
        ({"NEW": (REST[::-1], FLAT)}, {}, ValueError, "strictly ascending"),
        ({"NEW": (REST, -FLAT)}, {}, ValueError, "positive sum.*template 0 is not"),
        (
            {"NEW": (REST, np.where(abs(REST - 5000) < 9, np.nan, 1))},
            {},
            ValueError,
            "NaN at their ends only",
        ),
        ({"NEW": (REST, FLAT)}, {"redshift": None}, ValueError, "range for NEW"),
        (
            {"NEW": (REST, FLAT)},
            {"redshift": {"NEW": (2, 3)}},
            ValueError,
            "No template of NEW covers the pixels from 4000 to 7000 Å at a redshift",
        ),
        (
            {"NEW": (REST * units.s, FLAT)},
            {},
            ValueError,
            "wavelength of templates has the unit s",
        ),
    ],
)
def test_impossible_templates(templates, options, error, message):
    options = {"redshift": {"NEW": (0, 0.5)}, **QUIET, **options}
    with pytest.raises(error, match=message):
        make_spectra(3, templates=templates, **options)
