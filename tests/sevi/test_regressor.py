# SPDX-License-Identifier: BSD-3-Clause
"""SEVIRegressor: coefficients and their errors, conventions, simulated images."""

import pickle

import h5py
import numpy as np
import pytest
import torch

from skastro import SEVIRegressor
from skastro.networks import PolarNet, get_module
from skastro.sevi import (
    LegendreLoss,
    SEVIPrior,
    SEVISimulator,
    angular_density,
    make_sevi,
)
from skastro.sevi._simulation import SimulatedImages

pytestmark = pytest.mark.once

SIZE = 32


def tiny(**params):
    """Make an instance that trains in a blink."""
    defaults = {
        "module__widths": (8,),
        "module__hidden": 16,
        "max_epochs": 2,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
    }
    return SEVIRegressor(**(defaults | params))


@pytest.fixture(scope="module")
def sevi():
    """Make images of one shell."""
    return make_sevi(60, size=SIZE, n_electrons=1e5, random_state=0)


@pytest.fixture(scope="module")
def fitted(sevi):
    """Fit to them."""
    return tiny().fit(sevi.images, sevi.beta)


@pytest.fixture(scope="module")
def new():
    """Make images that nobody has been fitted to."""
    return make_sevi(6, size=SIZE, n_electrons=1e5, random_state=1)


def test_legendre_loss_is_the_distance_of_densities():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 24))
    cosine, weight = np.polynomial.legendre.leggauss(60)
    shells = (first - second).reshape(5, 2, 12)
    change = angular_density(shells, cosine) - angular_density(0 * shells, cosine)
    expected = (change**2 @ weight).sum(1)
    first, second = torch.as_tensor(first), torch.as_tensor(second)
    each = LegendreLoss(reduction="none")(first, second)
    np.testing.assert_allclose(each, expected)
    np.testing.assert_allclose(LegendreLoss()(first, second), expected.mean())
    np.testing.assert_allclose(
        LegendreLoss(reduction="sum")(first, second), expected.sum()
    )
    with pytest.raises(ValueError, match="shape"):
        LegendreLoss()(first, second[:, :12])


def test_posterior_and_intervals(fitted, new):
    beta, std = fitted.predict(new.images, return_std=True)
    assert beta.shape == std.shape == (6, 12)
    np.testing.assert_array_equal(fitted.predict(new.images), beta)
    assert 0.7 < ((beta - new.beta) / std).std() < 1.3
    low, high = np.moveaxis(fitted.predict_interval(new.images, 0.8), -1, 0)
    assert (low < high).all()
    assert 0.65 < ((low < new.beta) & (new.beta < high)).mean() < 0.95
    wide = fitted.predict_interval(new.images, 0.98)
    assert (wide[..., 0] < low).all()
    assert (wide[..., 1] > high).all()
    with pytest.raises(ValueError, match="coverage"):
        fitted.predict_interval(new.images, 90)


def test_shells(fitted, new):
    shells = fitted.predict_shells(new.images)
    assert shells.beta.shape == (6, 1, 12)
    assert not shells.out_of_range.any()
    np.testing.assert_allclose(shells.radius, new.radius, atol=0.001)
    np.testing.assert_allclose(shells.n_electrons, 1e5, rtol=0.03)
    np.testing.assert_array_equal(shells.tilt, 0)
    images = new.images.copy()
    images[2] = np.random.default_rng(0).poisson(50, (SIZE, SIZE))
    images[2, :16] *= 3
    with pytest.warns(UserWarning, match=r"\(rows 2\) do not look like counts"):
        out = fitted.predict_shells(images).out_of_range
    np.testing.assert_array_equal(out, np.arange(6) == 2)


def test_two_shells_of_few_coefficients():
    sevi = make_sevi(
        24, 2, size=48, n_electrons=1e5, min_separation=0.2, random_state=0
    )
    reg = tiny().fit(sevi.images, sevi.beta)
    shells = reg.predict_shells(sevi.images[:3])
    assert shells.beta.shape == (3, 2, 12)
    np.testing.assert_allclose(shells.radius, sevi.radius[:3], atol=0.002)
    assert reg.predict(sevi.images[:3]).shape == (3, 24)


@pytest.mark.parametrize("n_betas", [1, 2])
def test_few_coefficients(n_betas):
    """Densities of low degree, as those of one photon are."""
    rng = np.random.default_rng(0)
    beta = np.zeros((30, 1, 12))
    beta[:, 0, :n_betas] = rng.uniform(-0.4, 0.8, (30, n_betas)) / n_betas
    scenes = {
        name: np.full((30, *shape), value)
        for name, shape, value in [
            ("radius", (1,), 0.6),
            ("radius_width", (1,), 0.007),
            ("n_electrons", (1,), 1e5),
            ("background", (), 0.0),
            ("tilt", (), 0.0),
            ("ellipticity", (), 0.0),
            ("center", (2,), 0.0),
        ]
    }
    scenes = {name: torch.as_tensor(value) for name, value in scenes.items()}
    scenes["beta"] = torch.as_tensor(beta)
    images = SEVISimulator(size=64).throw(scenes, rng)
    y = beta[:, 0, :n_betas]
    reg = tiny(n_betas=n_betas).fit(images[:20], y[:20])
    found, std = reg.predict(images[20:], return_std=True)
    assert found.shape == (10, n_betas)
    # With few coefficients 1e5 electrons tell them to about 0.003.
    assert std.max() < 0.01
    assert 0.5 < ((found - y[20:]) / std).std() < 1.6


def test_the_unit_of_length_does_not_matter(sevi, fitted, new):
    reg = tiny(extent=40.0, radius=(12, 36), radius_width=(0.2, 0.36))
    reg = reg.fit(sevi.images, sevi.beta)
    for theirs, ours in zip(
        reg.predict(new.images, return_std=True),
        fitted.predict(new.images, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(theirs, ours, rtol=0.01, atol=1e-4)
    shells, same = (each.predict_shells(new.images) for each in (reg, fitted))
    np.testing.assert_allclose(shells.radius, 40 * same.radius, rtol=1e-4)
    np.testing.assert_allclose(shells.radius_std, 40 * same.radius_std, rtol=0.02)


def test_arrays_that_are_read_only(fitted, new):
    images = new.images.copy()
    images.flags.writeable = False
    np.testing.assert_array_equal(fitted.predict(images), fitted.predict(new.images))


def test_intervals_of_the_network(sevi, new):
    reg = tiny(refine=False).fit(sevi.images, sevi.beta)
    interval = reg.predict_interval(new.images, 0.6827)
    y = reg.predict(new.images)
    np.testing.assert_allclose(interval.mean(-1), y, rtol=1e-5)
    half = np.diff(interval)[..., 0] / 2
    np.testing.assert_allclose(half, np.tile(reg.residual_std_, (6, 1)), rtol=1e-3)


def test_conventions_and_axes(sevi, fitted, new):
    vmi = tiny(convention="vmi").fit(sevi.images, 2 * sevi.beta)
    np.testing.assert_allclose(
        vmi.predict(new.images), 2 * fitted.predict(new.images), rtol=1e-5
    )
    std = fitted.predict(new.images, return_std=True)[1]
    np.testing.assert_allclose(
        vmi.predict(new.images, return_std=True)[1], 2 * std, rtol=1e-4
    )
    # The loss is one of densities in both.
    losses = (reg.history[:, "train_loss"] for reg in (vmi, fitted))
    np.testing.assert_allclose(*losses, rtol=1e-4)
    turned = tiny(polarization_axis=0).fit(sevi.images.transpose(0, 2, 1), sevi.beta)
    np.testing.assert_allclose(
        turned.predict(new.images.transpose(0, 2, 1)), fitted.predict(new.images)
    )


def test_rows_of_pixels(sevi, fitted, new):
    reg = tiny(image_shape=(SIZE, SIZE)).fit(sevi.images.reshape(60, -1), sevi.beta)
    np.testing.assert_allclose(
        reg.predict(new.images.reshape(6, -1)), fitted.predict(new.images)
    )
    rows = tiny(n_betas=1).fit(sevi.images[:, 0], sevi.beta[:, 0])
    assert rows.predict(new.images[:, 0]).shape == (6,)
    with pytest.raises(ValueError, match="image_shape"):
        rows.predict_shells(new.images[:, 0])


def test_network_alone(sevi, new):
    reg = tiny(refine=False, max_epochs=30, lr=1e-2).fit(sevi.images, sevi.beta)
    beta, std = reg.predict(new.images, return_std=True)
    prior_std = sevi.beta.std(0)
    assert (beta - new.beta).std(0)[0] < prior_std[0]
    np.testing.assert_array_equal(
        std, np.tile(reg.residual_std_, (6, 1)).astype(std.dtype)
    )
    output = reg.forward(new.images).numpy()
    np.testing.assert_allclose(
        beta, output * reg.target_scale_ + reg.target_mean_, rtol=1e-5
    )


def test_published_prior(sevi, new, fitted):
    reg = tiny(prior="published").fit(sevi.images[:4], sevi.beta[:4])
    std = fitted.predict(new.images, return_std=True)[1]
    change = reg.predict(new.images) - fitted.predict(new.images)
    assert np.abs(change / std).max() < 1
    assert reg.prior_.upper[1] == 1.434


def test_images_do_not_depend_on_each_other(fitted, new):
    one_by_one = [fitted.predict(image[None])[0] for image in new.images[:3]]
    std = fitted.predict(new.images, return_std=True)[1][:3]
    together = fitted.predict(new.images)[:3]
    assert np.abs((one_by_one - together) / std).max() < 1e-3
    np.testing.assert_array_equal(fitted.predict(new.images.tolist())[:3], together)


def test_images_on_disk(fitted, new, tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        images = file.create_dataset("images", data=new.images)
        np.testing.assert_array_equal(
            fitted.predict(images), fitted.predict(new.images)
        )
        again = tiny().fit(images, new.beta)
    np.testing.assert_array_equal(again.predict(new.images).shape, (6, 12))


def test_pickle(fitted, new):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(new.images), fitted.predict(new.images))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101"])
def test_published_networks(name):
    network = get_module(name, 2)(n_channels=1, n_outputs=24)
    assert network.conv1.in_channels == 1
    assert network.fc.out_features == 24


def test_published_recipe(sevi):
    reg = SEVIRegressor.from_recipe(
        "published", max_epochs=1, verbose=0, module__width=4, device="cpu"
    )
    assert (reg.n_simulated, reg.n_replaced, reg.replace_every) == (8000, 400, 5)
    reg.fit(sevi.images[:20], sevi.beta[:20])
    seen = reg._prepare(sevi.images[:2])
    np.testing.assert_allclose(seen.sum((1, 2, 3)), 255, rtol=1e-5)
    assert isinstance(reg.criterion_, LegendreLoss)
    assert reg.predict(sevi.images[:2]).shape == (2, 12)


def test_simulated_images_are_new_or_stay():
    simulator = SEVISimulator(size=8, n_electrons=1e3)
    torch.manual_seed(0)
    ever_new = SimulatedImages(simulator, 4)
    assert not torch.equal(ever_new[0][0], ever_new[0][0])
    rolling = SimulatedImages(simulator, 10, n_replaced=3, replace_every=2)
    images = torch.stack([rolling[i][0] for i in range(10)])
    for replaced in (0, 0, 3):
        rolling.next_epoch()
        same = [torch.equal(rolling[i][0], images[i]) for i in range(10)]
        assert same.count(False) == replaced


def test_fit_simulator():
    simulator = SEVISimulator(n_shells=2, size=16, n_electrons=(1e3, 1e5))
    reg = tiny(n_simulated=48, max_epochs=3).fit_simulator(simulator)
    assert len(reg.history) == 3
    assert reg.target_shape_ == (24,)
    same = tiny(n_simulated=48, max_epochs=3).fit_simulator(simulator)
    np.testing.assert_array_equal(
        reg.history[:, "train_loss"], same.history[:, "train_loss"]
    )
    images = make_sevi(2, 2, size=16, n_electrons=1e4, random_state=0).images
    assert reg.predict(images).shape == (2, 24)
    with pytest.raises(ValueError, match="convention='density'"):
        tiny(convention="vmi").fit_simulator(simulator)
    with pytest.raises(TypeError, match="SEVISimulator"):
        tiny().fit_simulator(images)


def test_moments_of_rings():
    sevi = make_sevi(2, size=64, n_electrons=1e6, random_state=0)
    network = PolarNet((64, 64), n_outputs=12, n_rings=16)
    images = torch.as_tensor(sevi.images)[:, None]
    profiles = network.profiles(images)
    # The first moment holds the counts, whose rings add up to all of them.
    np.testing.assert_allclose(profiles[:, 0].mean(1), 1, rtol=1e-5)
    peak = (profiles[:, 0].argmax(1) + 0.5) / 16
    np.testing.assert_allclose(peak, sevi.radius[:, 0], atol=0.06)
    for axes in ((2,), (3,), (2, 3)):
        np.testing.assert_allclose(
            network.profiles(images.flip(axes)), profiles, atol=1e-4
        )
    assert network(images).shape == (2, 12)


def test_bad_input(sevi, fitted):
    X, y = sevi.images, sevi.beta
    negative, empty, nan = X.copy(), X.copy(), X.copy()
    negative[3, 5, 5], nan[1, 2, 2], empty[7] = -1, np.nan, 0
    for images, message in [
        (negative, r"X\[3\] falls to -1"),
        (empty, r"without any electron, such as X\[7\]"),
        (nan, "NaN"),
        (X[:, :20], "20 x 32"),
    ]:
        with pytest.raises(ValueError, match=message):
            tiny().fit(images, y)
    for images, message in [
        (negative, r"X\[3\] falls to -1"),
        (empty, r"X\[7\]"),
        (nan, "NaN"),
        (X[:, :20], "fitted on samples of shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted.predict(images)
    with pytest.raises(ValueError, match="radius must be two positive numbers"):
        tiny(radius=(0.9, 0.3)).fit(X, y)
    with pytest.raises(ValueError, match="13 columns"):
        tiny().fit(X, np.c_[y, y[:, 0]])
    for part in ("predict_shells", "predict_interval"):
        for images, message in [
            (negative, r"X\[3\]"),
            (empty, r"X\[7\]"),
            (nan, "NaN"),
        ]:
            with pytest.raises(ValueError, match=message):
                getattr(fitted, part)(images)
    narrow = SEVISimulator(size=32, prior=SEVIPrior(radius=(0.2, 0.8)))
    with pytest.raises(ValueError, match=r"draws radius from 0\.2 to 0\.8"):
        tiny().fit_simulator(narrow)
    with pytest.raises(ValueError, match="channels"):
        tiny(image_shape=(2, 2, 8)).fit(X[:, 0], y)
