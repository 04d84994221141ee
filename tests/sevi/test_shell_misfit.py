# SPDX-License-Identifier: BSD-3-Clause
"""Images that are none of shells are told from those that are."""

import numpy as np
import pytest
import torch

from skastro import SEVIRegressor
from skastro.sevi import SEVISimulator, make_sevi
from skastro.sevi._prior import ShellPrior
from skastro.sevi._shell_fit import ShellFit

pytestmark = pytest.mark.once

SIZE = 48


@pytest.fixture(scope="module")
def fitted():
    train = make_sevi(40, size=SIZE, n_electrons=1e4, random_state=0)
    reg = SEVIRegressor(max_epochs=1, verbose=0, random_state=0)
    return reg.fit(train.images, train.beta)


@pytest.mark.parametrize("n_electrons", [300, 1e4, 1e7])
def test_shells_of_any_brightness_are_shells(fitted, n_electrons):
    good = make_sevi(
        12, size=SIZE, n_electrons=n_electrons, background=(0, 1), random_state=1
    )
    assert not fitted.predict_shells(good.images).out_of_range.any()


def altered(name):
    """Make images of no shells, or no counts."""
    images = make_sevi(1, size=SIZE, n_electrons=1e5, random_state=2).images
    rng = np.random.default_rng(0)
    if name == "even noise":
        return rng.poisson(20, images.shape)
    if name == "faint even noise":
        return rng.poisson(0.2, images.shape)
    if name == "without noise":
        return np.full_like(images, 7)
    if name == "half dead":
        images[:, : SIZE // 2] = 0
    if name == "hot pixel":
        images[:, 3, 4] = 1e6
    return {"counts times ten": 10, "counts over ten": 0.1}.get(name, 1) * images


@pytest.mark.parametrize(
    "name",
    [
        "even noise",
        "faint even noise",
        "without noise",
        "half dead",
        "hot pixel",
        "counts times ten",
        "counts over ten",
    ],
)
def test_other_images_are_out_of_range(fitted, name):
    images = altered(name)
    with pytest.warns(UserWarning, match="1 of 1 images"):
        assert fitted.predict_shells(images).out_of_range.all()
    # There are answers all the same, the network's where the fit fails.
    with pytest.warns(UserWarning, match="1 of 1 images"):
        beta, std = fitted.predict(images, return_std=True)
    with pytest.warns(UserWarning, match="1 of 1 images"):
        interval = fitted.predict_interval(images)
    assert np.isfinite([beta, std]).all()
    assert np.isfinite(interval).all()
    assert (interval[..., 0] < interval[..., 1]).all()


def test_shells_off_center_are_shells_to_a_fit_of_the_center():
    simulator = SEVISimulator(size=SIZE, n_electrons=1e5)
    generator = torch.Generator().manual_seed(3)
    scenes = simulator.draw(2, generator)
    scenes["radius"][:] = 0.4
    scenes["center"] = torch.tensor([[1.0, -0.5], [-0.5, 1.0]]).double()
    images = simulator.count(scenes, generator)
    images = torch.cat([images, images[:1]])
    images[2, : SIZE // 2] = 0
    prior = ShellPrior.published(12, (0.3, 0.9), (0.005, 0.009))
    found = ShellFit(SIZE, 1, prior, distortion=True)(images)
    np.testing.assert_allclose(found.distortion[:2, 2:], scenes["center"], atol=0.05)
    assert found.is_outlier.tolist() == [False, False, True]
