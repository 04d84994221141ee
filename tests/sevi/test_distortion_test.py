# SPDX-License-Identifier: BSD-3-Clause
"""Distorted images are found, and fitted with their distortion; round ones are not."""

import numpy as np
import pytest
import torch

from skastro.sevi import SEVISimulator, fit_shells, make_sevi

pytestmark = pytest.mark.once

SIZE = 48


def thrown(n, seed, **scene):
    """Draw images of one shell with the same distortion."""
    simulator = SEVISimulator(size=SIZE, n_electrons=1e5)
    generator = torch.Generator().manual_seed(seed)
    scenes = simulator.draw(n, generator)
    for name, value in scene.items():
        scenes[name] = torch.tensor([value] * n, dtype=torch.float64)
    return simulator.count(scenes, generator).numpy()


@pytest.mark.parametrize("size", [40, 45])
def test_round_images_are_fitted_as_upright(size):
    images = make_sevi(10, size=size, n_electrons=1e4, random_state=0).images
    shells = fit_shells(images)
    assert not np.any([shells.tilt, shells.ellipticity, *shells.center.T])
    upright = fit_shells(images, distortion=False)
    np.testing.assert_array_equal(shells.beta, upright.beta)


@pytest.mark.parametrize(
    "scene",
    [
        {"tilt": 4.0},
        {"ellipticity": 0.02},
        {"center": [0.3, 0.0]},
        {"center": [0.0, -0.3]},
    ],
    ids=["tilt", "ellipticity", "first axis", "second axis"],
)
def test_distorted_images_are_fitted_as_such(scene):
    images = thrown(2, 1, **scene)
    images = np.concatenate([thrown(1, 2), images])
    shells = fit_shells(images)
    assert not shells.out_of_range.any()
    found = np.stack([shells.tilt, shells.ellipticity, *shells.center.T], axis=1)
    assert not found[0].any()
    assert found[1:].all()
    given = [scene.get("tilt", 0), scene.get("ellipticity", 0)]
    given += scene.get("center", [0, 0])
    assert (np.abs(found[1:] - given) < [0.5, 2e-3, 0.05, 0.05]).all()
    always = fit_shells(images, distortion=True)
    np.testing.assert_allclose(shells.beta[1:], always.beta[1:], rtol=1e-4)


def test_two_shells():
    given = {"n_shells": 2, "size": SIZE, "n_electrons": 1e5, "min_separation": 0.2}
    sevi = make_sevi(2, ellipticity=0.02, random_state=0, **given)
    shells = fit_shells(sevi.images, 2)
    np.testing.assert_allclose(shells.ellipticity, 0.02, atol=2e-3)
    error = (shells.beta.reshape(2, 24) - sevi.beta) / shells.beta_std.reshape(2, 24)
    assert np.abs(error).max() < 5


@pytest.mark.parametrize("value", ["Auto", None, 1, 1.0, ["auto"], np.array([1, 2])])
def test_other_values_of_distortion_are_refused(value):
    with pytest.raises(ValueError, match="distortion must be True, False or 'auto'"):
        fit_shells(np.ones((1, 32, 32)), distortion=value)


@pytest.mark.filterwarnings("ignore:.* do not look like counts")
@pytest.mark.parametrize("value", [False, True])
def test_booleans_of_numpy_are_booleans(value):
    images = make_sevi(
        2, size=48, n_electrons=1e5, ellipticity=0.02, random_state=0
    ).images
    found = [
        fit_shells(images, distortion=kind).ellipticity
        for kind in (np.bool_(value), value)
    ]
    np.testing.assert_array_equal(*found)
    assert (found[0] != 0).all() == value
