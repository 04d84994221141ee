# SPDX-License-Identifier: BSD-3-Clause
"""Fits of templates at every redshift, against least squares at each one."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skastro.estimators._log_pixels import LN_WAVELENGTH, N_PIXELS, STEP
from skastro.estimators._template_scan import TemplateScan, TemplateSet

pytestmark = pytest.mark.once

rng = np.random.default_rng(0)


def lines_at_rest(ln_wavelength, n_spectra, seed=0, sigma=4e-4):
    """Make spectra of random depths of lines, which are where they are in galaxies."""
    rng = np.random.default_rng(seed)
    flux = np.ones((n_spectra, ln_wavelength.size))
    for center in (2800, 3728, 3934, 3969, 4102, 4341, 4863, 4960, 5008, 5895, 6565):
        depth = rng.normal(scale=0.5, size=(n_spectra, 1))
        at = (ln_wavelength - np.log(center)) / sigma
        flux = flux + depth * np.exp(-0.5 * at**2)
    return flux


def make_templates(n_components=3, redshift=(0.0, 0.3), binning=1, first=2500.0):
    ln_wavelength = np.arange(np.log(first), np.log(10000.0), STEP)
    return TemplateSet.from_spectra(
        ln_wavelength,
        lines_at_rest(ln_wavelength, 12),
        redshift,
        continuum_pixels=301,
        binning=binning,
        n_components=n_components,
    )


def observe(redshift, snr=30.0, seed=5, sigma=4e-4):
    """Make spectra at redshifts, with noise and its inverse variance."""
    rng = np.random.default_rng(seed)
    spectra = []
    for number, z in enumerate(redshift):
        flux = lines_at_rest(LN_WAVELENGTH - np.log1p(z), 1, 100 + number, sigma)[0]
        noisy = flux + rng.normal(scale=1 / snr, size=N_PIXELS)
        spectra.append([noisy, np.full(N_PIXELS, snr**2)])
    return torch.tensor(np.array(spectra), dtype=torch.float32)


def least_squares(scan, spectra, shift, ridge):
    """Fit components and a constant to the pixels that a shift covers.

    `ridge` is the penalty of squared coefficients, as a part of the largest square sum.
    """
    data, weight = (values.numpy() for values in scan._features(spectra)[:2])
    templates, binning = scan.templates, scan.templates.binning
    step = STEP * binning
    ln_first = LN_WAVELENGTH[:binning].mean()
    first = round((ln_first - scan.ln_redshift[shift] - templates.ln_first) / step)
    position = first + np.arange(scan.n_pixels)
    length = templates.components.shape[1]
    inside = (position >= 0) & (position < length)
    design = templates.components[:, position[inside]].T
    design = np.column_stack([design, np.ones(len(design))])
    gains = []
    for x, w in zip(data, weight, strict=True):
        # The Lyman forest is worth a tenth of other pixels.
        rest = templates.ln_first + step * position[inside]
        root = np.sqrt(w[inside] * np.where(rest < np.log(1215.67), 0.1, 1.0))
        weighted, target = design * root[:, None], x[inside] * root
        penalty = np.sqrt(ridge * (weighted**2).sum(axis=0).max())
        rows = np.concatenate([weighted, penalty * np.eye(design.shape[1])])
        values = np.append(target, np.zeros(design.shape[1]))
        fit, *_ = np.linalg.lstsq(rows, values, rcond=None)
        left = ((values - rows @ fit) ** 2).sum()
        total = (w * x**2).sum()
        gains.append(-np.log((total - (target**2).sum() + left) / total))
    return gains


@pytest.mark.parametrize("binning", [1, 2, 3])
@pytest.mark.parametrize("n_components", [1, 4])
@pytest.mark.parametrize(
    ("redshift", "first"),
    [
        ((0.0, 0.3), 2500.0),
        ((-0.003, 0.003), 3000.0),
        ((0.8, 1.0), 2500.0),
        ((1.9, 2.1), 900.0),
    ],
    ids=["galaxies", "stars", "partly covered", "forest"],
)
def test_gains_are_those_of_least_squares(binning, n_components, redshift, first):
    templates = make_templates(n_components, redshift, binning, first)
    scan = TemplateScan(templates)
    spectra = observe([redshift[0], redshift[1]])
    # Spectra end somewhere, and have holes.
    spectra[0, 1, :500] = spectra[0, 1, 2000:2100] = spectra[1, 1, 4200:] = 0
    gain = scan(spectra).numpy()
    assert gain.shape == (2, len(scan.ln_redshift))
    assert (np.diff(scan.ln_redshift) > 0).all()
    for shift in np.linspace(0, len(scan.ln_redshift) - 1, 7).astype(int):
        expected = least_squares(scan, spectra, shift, 1e-6)
        assert_allclose(gain[:, shift], expected, rtol=1e-5, atol=1e-8)
        if first < 1000:
            # Most lines are out of sight, and only the penalty tells components apart.
            continue
        # Which is hardly another one than without a penalty.
        expected = least_squares(scan, spectra, shift, 0)
        assert_allclose(gain[:, shift], expected, rtol=0.04, atol=1e-4)


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("redshift", [(0.0, 1e-5), (0.0, 0.3), (0.1, 0.11), (1.5, 4.0)])
def test_shifts_cover_the_range(binning, redshift):
    scan = TemplateScan(make_templates(redshift=redshift, binning=binning))
    low, high = np.log1p(redshift)
    assert scan.ln_redshift[0] <= low + 1e-12
    assert scan.ln_redshift[-1] >= high - 1e-12
    assert_allclose(np.diff(scan.ln_redshift), STEP * binning)
    assert len(scan.ln_redshift) <= (high - low) / STEP / binning + 3
    assert scan(observe([0.1])).isfinite().all()


@pytest.mark.parametrize("binning", [1, 2])
def test_redshifts_are_found_to_a_part_of_a_pixel(binning):
    sigma = 4e-4 * binning
    ln_wavelength = np.arange(np.log(2500), np.log(10000), STEP)
    templates = TemplateSet.from_spectra(
        ln_wavelength,
        lines_at_rest(ln_wavelength, 40, sigma=sigma),
        (0.0, 0.4),
        continuum_pixels=301,
        binning=binning,
        n_components=11,
    )
    scan = TemplateScan(templates)
    true = np.linspace(0.02, 0.37, 12)
    gain = scan(observe(true, sigma=sigma)).numpy()
    best = gain.argmax(1)
    below, top, above = (gain[np.arange(12), best + k] for k in (-1, 0, 1))
    # The top of a parabola through three points.
    part = 0.5 * (below - above) / (below - 2 * top + above)
    step = STEP * binning
    off = (scan.ln_redshift[best] + part * step - np.log1p(true)) / step
    assert np.abs(off).max() < 0.3
    assert abs(off.mean()) < 0.1


def test_gains_grow_with_the_signal():
    scan = TemplateScan(make_templates(n_components=8))
    gains = [scan(observe([0.1], snr)).max().item() for snr in (1, 3, 10, 100)]
    assert gains == sorted(gains)
    assert gains[0] < 0.1 < 1 < gains[-1]


def test_nothing_known_is_no_gain():
    gain = TemplateScan(make_templates())(torch.zeros(2, 2, N_PIXELS))
    assert not gain.any()


@pytest.mark.parametrize("flux", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("ivar", [1e-30, 1.0, 1e30])
def test_constant_spectra_have_finite_gains(flux, ivar):
    spectra = torch.full((1, 2, N_PIXELS), flux)
    spectra[:, 1] = ivar
    gain = TemplateScan(make_templates())(spectra)
    assert gain.isfinite().all()
    assert (gain >= 0).all()
    if flux == 1:
        assert gain.max() < 0.01


def test_level_and_slope_do_not_matter():
    scan = TemplateScan(make_templates(n_components=8))
    spectra = observe([0.1, 0.2], 100.0)
    slope = torch.linspace(0.5, 1.5, N_PIXELS)
    other = spectra.clone()
    other[:, 0] *= slope
    other[:, 1] /= slope**2
    assert_allclose(scan(other), scan(spectra), atol=0.02, rtol=0.15)
    assert (scan(other).argmax(1) == scan(spectra).argmax(1)).all()


def test_glitches_are_left_out():
    scan = TemplateScan(make_templates(n_components=8))
    spectra = observe([0.1], 30.0)
    expected = scan(spectra)
    spectra[:, 0, 1000:3000:400] = 100
    assert scan(spectra).argmax() == expected.argmax()
    assert_allclose(scan(spectra), expected, atol=0.2)


def test_ends_of_templates_may_be_unknown():
    ln_wavelength = np.arange(np.log(2500), np.log(10000), STEP)
    spectra = lines_at_rest(ln_wavelength, 40)
    settings = {"continuum_pixels": 301, "binning": 1, "n_components": 8}
    complete = TemplateSet.from_spectra(ln_wavelength, spectra, (0, 0.3), **settings)
    spectra[::2, :700] = spectra[1::2, -500:] = np.nan
    partly = TemplateSet.from_spectra(ln_wavelength, spectra, (0, 0.3), **settings)
    assert np.isfinite(partly.components).all()
    observed = observe([0.05, 0.15, 0.28])
    gains = [TemplateScan(each)(observed) for each in (complete, partly)]
    assert (gains[0].argmax(1) == gains[1].argmax(1)).all()


def test_components_are_orthonormal_and_explain_the_spectra():
    templates = make_templates(n_components=20)
    # There are no more than the lines and the spectra tell.
    n_pixels = templates.components.shape[1]
    product = templates.components @ templates.components.T / n_pixels
    assert_allclose(product, np.eye(len(product)), atol=1e-6)
    assert len(product) <= 12


def test_one_template_is_enough():
    ln_wavelength = np.arange(np.log(3000), np.log(10000), STEP)
    flux = lines_at_rest(ln_wavelength, 1, 100)
    settings = {"continuum_pixels": 301, "binning": 1, "n_components": 8}
    templates = TemplateSet.from_spectra(ln_wavelength, flux, (0, 0.3), **settings)
    assert templates.components.shape == (1, ln_wavelength.size)
    scan = TemplateScan(templates)
    found = scan.ln_redshift[scan(observe([0.17])).argmax()]
    assert found == pytest.approx(np.log1p(0.17), abs=STEP)
