# SPDX-License-Identifier: BSD-3-Clause
"""The fit of shells: derivatives, likelihood, error bars, images of all kinds."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import xlogy

from skastro import SEVIRegressor
from skastro.sevi import SEVISimulator, ShellBasis, fit_shells, make_sevi
from skastro.sevi._prior import ShellPrior
from skastro.sevi._shell_fit import ShellFit
from skastro.sevi._shell_parameters import ShellParameters

pytestmark = pytest.mark.once

RADIUS, WIDTH = (0.3, 0.9), (0.005, 0.009)
PUBLISHED = ShellPrior.published(12, RADIUS, WIDTH)
WEIGHT = 2 / (4 * np.arange(1, 13) + 1)


def flat_prior(n_betas):
    """Make a prior that says next to nothing of wide shells."""
    ones = torch.ones(n_betas, dtype=torch.float64)
    return ShellPrior(-9 * ones, 9 * ones, 0 * ones, 9 * ones, RADIUS, (0.01, 0.06))


def fit_sevi(sevi, n_shells=1, prior=PUBLISHED, **options):
    """Fit images of make_sevi."""
    fit = ShellFit(sevi.images.shape[1], n_shells, prior, **options)
    return fit(torch.as_tensor(sevi.images))


@pytest.mark.parametrize(("distorted", "n_shells"), [(False, 2), (True, 1)])
def test_derivatives_against_differences(distorted, n_shells):
    prior = flat_prior(3)
    level = ShellFit(33, n_shells, prior, distortion=distorted).levels[-1]
    parameters = ShellParameters(n_shells, prior, "cpu", distorted=distorted)
    total = torch.tensor([1e4], dtype=torch.float64)
    radius = torch.tensor([[0.42, 0.71][:n_shells]], dtype=torch.float64)
    theta = parameters.start(total, radius)
    parameters.beta(theta)[:] = torch.tensor([0.6, 0.2, 0.1])
    arguments = (total, level.basis, level.background)
    _, slopes = parameters.expected(theta, *arguments)
    size = slopes.abs().amax(2)[0]
    for place in range(theta.shape[1]):
        # Densities are interpolated: too short a step would see the table's cells.
        step = torch.zeros_like(theta)
        step[:, place] = 1e-3 if place >= theta.shape[1] - 5 else 2e-4
        after, before = (
            parameters.expected(there, *arguments)[0]
            for there in (theta + step, theta - step)
        )
        difference = (after - before)[0] / (2 * step[0, place])
        error = (slopes[0, place] - difference).abs().max() / size[place]
        assert error < 0.03, place


def test_most_probable_parameters_against_scipy():
    basis = ShellBasis(31, finest_width=0.03, dtype=torch.float64)
    rng = np.random.default_rng(0)

    def image(theta):
        number, beta1, beta2, radius, width, background = theta
        parts = ([[[beta1, beta2] + 10 * [0]]], [[radius]], [[width]], [[number]])
        shell = basis.expected(*(torch.tensor(p, dtype=torch.float64) for p in parts))
        return shell[0].numpy() + background

    counts = rng.poisson(image([2e4, 0.7, 0.2, 0.6, 0.04, 3.0]))

    scale = np.array([1e4, 1, 1, 0.1, 0.01, 1])

    def misfit(scaled):
        expected = np.maximum(image(scaled * scale), 1e-9)
        return (expected - xlogy(counts, expected)).sum()

    start = np.array([2e4, 0.6, 0.1, 0.59, 0.035, 2.0]) / scale
    best = minimize(misfit, start, method="Nelder-Mead", options={"maxiter": 900}).x
    best = best * scale
    found = ShellFit(31, 1, flat_prior(2))(torch.as_tensor(counts)[None].float())
    beta, sd = found.beta[0, 0].numpy(), found.beta_std[0, 0].numpy()
    assert np.abs((beta - best[1:3]) / sd).max() < 0.15
    assert abs(float(found.radius) - best[3]) < 0.15 * float(found.radius_std)
    assert abs(float(found.radius_width) - best[4]) < 0.15 * float(
        found.radius_width_std
    )
    np.testing.assert_allclose(float(found.n_electrons), best[0], rtol=0.003)
    share = best[5] * counts.size / counts.sum()
    np.testing.assert_allclose(float(found.background), share, rtol=0.03)


@pytest.mark.parametrize("n_electrons", [1e3, 1e5])
def test_error_bars_of_electrons_thrown_one_by_one(n_electrons):
    sevi = make_sevi(
        40, size=64, n_electrons=n_electrons, method="electrons", random_state=0
    )
    found = fit_sevi(sevi)
    assert found.converged.all()
    pull = (found.beta[:, 0].numpy() - sevi.beta) / found.beta_std[:, 0].numpy()
    # 480 pulls, not all independent.
    assert 0.88 < pull.std() < 1.12
    assert abs(pull.mean()) < 0.3
    # The limit of Cramér and Rao, without a prior, is 1.4e-4 for 1e5 electrons.
    loss = ((found.beta[:, 0].numpy() - sevi.beta) ** 2 * WEIGHT).sum(1).mean()
    assert loss < 1.2 * 14 / n_electrons
    assert found.misfit.abs().max() < 6


def test_close_shells_and_background():
    simulator = SEVISimulator(n_shells=2, size=128, n_electrons=2e5, background=0.3)
    generator = torch.Generator().manual_seed(3)
    scenes = simulator.draw(4, generator)
    scenes["radius"][:, 1] = scenes["radius"][:, 0] + torch.tensor(
        [0.012, 0.03, 0.1, 0.02]
    )
    images = simulator.count(scenes, generator)
    found = ShellFit(128, 2, PUBLISHED)(images)
    assert (found.radius[:, 1] > found.radius[:, 0]).all()
    pull = (found.radius - scenes["radius"]) / found.radius_std
    assert pull.abs().max() < 4
    pull = (found.beta - scenes["beta"]) / found.beta_std
    assert pull.abs().max() < 5
    # Of all counts, not of the electrons of the shells.
    np.testing.assert_allclose(found.background, 0.3 / 1.3, atol=0.01)


def test_three_shells():
    sevi = make_sevi(
        2, 3, size=96, n_electrons=1e5, min_separation=0.15, random_state=1
    )
    found = fit_sevi(sevi, 3)
    np.testing.assert_allclose(found.radius, sevi.radius, atol=0.002)


def test_distortion():
    given = {"tilt": 2.0, "ellipticity": 0.01, "center_offset": 0.6}
    sevi = make_sevi(4, size=64, n_electrons=1e6, random_state=0, **given)
    found = fit_sevi(sevi, distortion=True)
    np.testing.assert_allclose(found.distortion[:, 0], 2, atol=0.15)
    np.testing.assert_allclose(found.distortion[:, 1], 0.01, atol=5e-4)
    np.testing.assert_allclose(found.distortion[:, 2:] + 31.5, sevi.center, atol=0.02)
    error = found.beta[:, 0].numpy() - sevi.beta
    assert (error / found.beta_std[:, 0].numpy()).std() < 1.4
    upright = fit_sevi(sevi).beta[:, 0].numpy() - sevi.beta
    assert np.abs(upright).max() > 3 * np.abs(error).max()


def test_fine_pixels_are_joined():
    prior = ShellPrior.published(12, RADIUS, (0.03, 0.05))
    sevi = make_sevi(
        2,
        size=96,
        n_electrons=1e4,
        radius=(0.35, 0.9),
        radius_width=(0.03, 0.05),
        random_state=0,
    )
    fine = torch.as_tensor(sevi.images)
    coarse = fine.reshape(2, 48, 2, 48, 2).sum((2, 4))
    fit = ShellFit(96, 1, prior)
    assert fit.joined == 2
    found, same = fit(fine), ShellFit(48, 1, prior)(coarse)
    np.testing.assert_allclose(found.beta, same.beta, rtol=1e-5)


def test_images_of_other_things_are_told():
    rng = np.random.default_rng(0)
    images = torch.as_tensor(rng.poisson(5, (2, 48, 48)), dtype=torch.float32)
    images[0, :24] *= 4
    # A shell that is larger than the range allows.
    outside = make_sevi(1, size=48, n_electrons=1e5, radius=(0.95, 0.96))
    images[1] = torch.as_tensor(outside.images[0])
    found = ShellFit(48, 1, PUBLISHED)(images)
    assert ((found.misfit > 6) | ~found.converged).all()
    assert found.beta.isfinite().all()


@pytest.fixture(scope="module")
def two_images():
    return make_sevi(2, size=48, n_electrons=1e5, random_state=0)


def test_fit_without_a_network(two_images):
    images, truth = two_images.images, two_images.beta
    shells = fit_shells(images)
    assert shells.beta.shape == (2, 1, 12)
    assert shells.beta_cov.shape == (2, 1, 12, 12)
    assert np.abs((shells.beta[:, 0] - truth) / shells.beta_std[:, 0]).max() < 5
    np.testing.assert_allclose(shells.radius, two_images.radius, atol=0.002)
    assert not shells.out_of_range.any()
    vmi = fit_shells(images.mT, convention="vmi", polarization_axis=0)
    np.testing.assert_allclose(vmi.beta, 2 * shells.beta)
    np.testing.assert_allclose(vmi.beta_cov, 4 * shells.beta_cov)


def test_the_regressor_delegates_to_the_fit(two_images):
    reg = SEVIRegressor(max_epochs=1, verbose=0, random_state=0)
    reg.fit(two_images.images, two_images.beta)
    theirs = reg.predict_shells(two_images.images)
    ours = fit_shells(two_images.images, prior=reg.prior_)
    assert theirs.keys() == ours.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_fit_of_few_coefficients(two_images):
    prior = ShellPrior.from_samples(np.array([[0.4, 0.3], [0.9, 1.1], [0.6, 0.2]]))
    # Two coefficients do not describe these images.
    with pytest.warns(UserWarning, match="2 of 2 images"):
        assert fit_shells(two_images.images, prior=prior).beta.shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda X: X[0], {}, ValueError, "shape"),
        (lambda X: X[:, :20], {}, ValueError, "square images"),
        (lambda X: X - 1, {}, ValueError, r"images\[0\] falls to -1"),
        (lambda X: 0 * X, {}, ValueError, "without any electron"),
        (lambda X: X * np.nan, {}, ValueError, "NaN"),
        (lambda X: X, {"prior": "published"}, TypeError, "ShellPrior"),
        (lambda X: X, {"n_shells": 0}, ValueError, "n_shells"),
        (lambda X: X, {"convention": "beta"}, ValueError, "convention"),
        (lambda X: X, {"distortion": "maybe"}, ValueError, "distortion"),
    ],
)
def test_fit_refuses(two_images, change, options, error, message):
    with pytest.raises(error, match=message):
        fit_shells(change(two_images.images), **options)
