# SPDX-License-Identifier: BSD-3-Clause
"""Electron shells thrown electron by electron, and their agreement with the basis."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre

from skastro.sevi import (
    SEVIPrior,
    SEVISimulator,
    angular_density,
    bin_electrons,
    throw_electrons,
)


def test_moments():
    rng = np.random.default_rng(0)
    beta = SEVIPrior().sample(1, 1, torch.Generator().manual_seed(1))["beta"][0, 0]
    n = 400_000
    electrons = throw_electrons(beta, 0.6, 0.03, n, rng)
    r, c = electrons["r"], electrons["cos_theta"]
    assert {len(values) for values in electrons.values()} == {n}
    assert r.mean() == pytest.approx(0.6, abs=5 * 0.03 / np.sqrt(n))
    assert r.std() == pytest.approx(0.03, rel=5 / np.sqrt(2 * n))
    assert abs(np.corrcoef(r, c)[0, 1]) < 5 / np.sqrt(n)
    for order in range(1, 13):
        values = legendre.legval(c, [0] * (2 * order) + [1])
        expected = 2 * beta[order - 1] / (4 * order + 1)
        error = values.std() / np.sqrt(n)
        assert values.mean() == pytest.approx(float(expected), abs=4.5 * error)
    assert np.abs(electrons["z"] - r * c).max() == 0
    # Half of what lies across the axis of polarization is projected out.
    across = (electrons["x"] ** 2).mean() / (r**2 * (1 - c**2)).mean()
    assert across == pytest.approx(0.5, abs=0.005)


def test_any_number_of_coefficients():
    electrons = throw_electrons([], 0.5, 0.005, 10_000, np.random.default_rng(0))
    assert (electrons["cos_theta"] ** 2).mean() == pytest.approx(1 / 3, abs=0.02)


def test_negative_density():
    assert angular_density([-0.5], [1.0])[0] == pytest.approx(0)
    throw_electrons([-0.5], 0.5, 0.01, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"must not be negative.*\[-0.6\].*-0.0999"):
        throw_electrons([-0.6], 0.5, 0.01, 10, np.random.default_rng(0))


def test_bins():
    image = bin_electrons([-0.99, 0.1, 0.1, 1.0, 0.0], [0.99, 0.3, 0.3, 0.0, -1.01], 4)
    assert image.sum() == 3
    assert image[0, 3] == 1
    assert image[2, 2] == 2
    assert bin_electrons([], [], 3).tolist() == [[0] * 3] * 3
    assert bin_electrons([1.5], [-1.5], 4, extent=2.0)[3, 0] == 1


@pytest.mark.parametrize(
    ("size", "radius", "width", "settings"),
    [
        (64, 0.35, 0.005, {}),
        (256, 0.6, 0.005, {}),
        (256, 0.9, 0.009, {}),
        (512, 0.45, 0.02, {}),
        (101, 0.7, 0.006, {"background": 0.3, "polarization_axis": 0}),
        (128, 0.6, 0.007, {"tilt": 7.0, "ellipticity": 0.05, "center_offset": 5.0}),
        (90, 1.0, 0.008, {"extent": 0.8, "n_shells": 2}),
    ],
    ids=["64", "256", "outer", "512", "background", "distorted", "cropped"],
)
def test_agreement(size, radius, width, settings):
    """The statistic of 2e6 electrons is that of Poisson noise alone."""
    prior = SEVIPrior((radius, radius + 0.05), (width, width))
    simulator = SEVISimulator(size=size, prior=prior, n_electrons=1e6, **settings)
    scenes = simulator.draw(1, torch.Generator().manual_seed(size))
    rng = np.random.default_rng(size)
    image = simulator.throw(scenes, rng)[0].astype(np.float64)
    expected = simulator.expected(scenes)[0].double().numpy()
    assert image.sum() == pytest.approx(expected.sum(), abs=4.5 * image.sum() ** 0.5)
    # Of few expected electrons the variance of the statistic is 2 + 1 / expected.
    used = expected > 0.5
    statistic = ((image - expected)[used] ** 2 / expected[used]).sum()
    spread = np.sqrt((2 + 1 / expected[used]).sum())
    assert abs(statistic - used.sum()) < 4 * spread
    assert image[~used].sum() < expected[~used].sum() + 5 * size


def test_order_of_draws_does_not_matter_to_images():
    simulator = SEVISimulator(size=32, n_electrons=1e3)
    scenes = simulator.draw(6, torch.Generator().manual_seed(0))
    whole = simulator.count(scenes, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    parts = [
        simulator.count({k: v[rows] for k, v in scenes.items()}, generator)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    assert torch.equal(torch.cat(parts), whole)
