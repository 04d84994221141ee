# SPDX-License-Identifier: BSD-3-Clause
"""PolarNet: moments of rings, images of any size."""

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from skastro.networks import PolarNet

pytestmark = pytest.mark.once


@pytest.mark.parametrize("size", [(16, 16), (17, 17), (12, 15)])
def test_moments_against_sums_over_pixels(size):
    counts = np.random.default_rng(0).poisson(3, size).astype(np.float32)
    network = PolarNet(size, n_outputs=2, n_rings=5, n_moments=4)
    profiles = network.profiles(torch.as_tensor(counts)[None, None])[0].numpy()
    across, along = (np.arange(n) - (n - 1) / 2 for n in size)
    radius = np.hypot(across[:, None], along)
    cosine = np.abs(along) / np.maximum(radius, 0.1)
    for ring in range(5):
        inside = (radius / (min(size) / 2) * 5).astype(int) == ring
        for order in range(4):
            moment = (counts * eval_legendre(2 * order, cosine))[inside].sum()
            np.testing.assert_allclose(
                profiles[order, ring], 5 * moment / counts.sum(), rtol=1e-4, atol=1e-5
            )
    np.testing.assert_allclose(profiles[-1], np.log10(counts.sum()) / 4 - 1, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (33, 64)])
def test_any_size(size):
    network = PolarNet(size, n_outputs=3, widths=(4, 4), hidden=8)
    for n_images in (1, 4):
        output = network(torch.ones(n_images, 1, *size))
        assert output.shape == (n_images, 3)
        assert output.isfinite().all()
    # Images without electrons are none of a network's business.
    assert network(torch.zeros(1, 1, *size)).isfinite().all()


def test_rows_are_profiles():
    row = torch.arange(1.0, 7)
    profile = PolarNet((1, 6), n_outputs=1).profiles(row[None, None, None])[0, 0]
    np.testing.assert_allclose(profile, 6 * row / row.sum(), rtol=1e-6)


def test_one_channel_only():
    with pytest.raises(ValueError, match="n_channels"):
        PolarNet((8, 8), n_outputs=1, n_channels=3)
