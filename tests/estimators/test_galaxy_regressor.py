# SPDX-License-Identifier: BSD-3-Clause
"""GalaxyRegressor: scikit-learn's checks, photometry, real galaxies."""

from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyRegressor

pytestmark = pytest.mark.once

tiny = partial(
    make_tiny,
    GalaxyRegressor,
    module__width=4,
    module__stem="imagenet",
    max_epochs=6,
    lr=1e-2,
)


@parametrize_with_checks(
    [
        GalaxyRegressor(
            "mlp",
            stretch="asinh",
            scale_target=False,
            criterion=torch.nn.HuberLoss,
            max_epochs=12,
            lr=1e-2,
            batch_size=32,
            verbose=0,
        ),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def stamps():
    """Make round galaxies of magnitudes 18 to 22 on a noisy sky, and what they are."""
    rng = np.random.default_rng(0)
    n_samples = 400
    magnitude = rng.uniform(18, 22, size=n_samples)
    radius = np.exp(rng.uniform(np.log(1.5), np.log(4), size=n_samples))
    offset = np.arange(20) - 9.5
    square = (offset**2 + offset[:, None] ** 2)[None] / radius[:, None, None] ** 2
    images = np.exp(-0.5 * square)
    images *= (10 ** (-0.4 * (magnitude - 25)) / images.sum(axis=(1, 2)))[:, None, None]
    images += rng.normal(scale=0.2, size=images.shape)
    return images.astype(np.float32), magnitude, radius


def test_magnitudes_over_a_factor_of_forty_in_flux(stamps):
    X, magnitude, _ = stamps
    reg = tiny(module__width=8, max_epochs=20).fit(X[:300], magnitude[:300])
    assert reg.score(X[300:], magnitude[300:]) > 0.95


def test_sky_level_and_unit_of_the_images_do_not_matter(stamps):
    X, magnitude, _ = stamps
    expected = tiny().fit(X, magnitude).predict(X)
    scaled = 500 + 20 * X.astype(np.float64)
    other = tiny().fit(scaled, magnitude).predict(scaled)
    assert np.corrcoef(expected, other)[0, 1] > 0.99


def test_several_parameters_at_once(stamps):
    X, magnitude, radius = stamps
    y = np.column_stack([magnitude, radius])
    reg = tiny(module__width=8, max_epochs=15).fit(X[:300], y[:300])
    assert reg.predict(X[:5]).shape == (5, 2)
    assert reg.module_sizes_["n_outputs"] == 2
    assert reg.score(X[300:], y[300:]) > 0.7


class Seen(nn.Module):
    """A network that notes what it is given."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_channels, n_outputs)
        self.batches = []

    def forward(self, x):
        """Predict from the channels' means."""
        if self.training:
            self.batches.append(x.detach().clone())
        return self.linear(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("sky", [0.0, 300.0])
def test_stretch_adds_compressed_channels(stamps, sky):
    X, magnitude, _ = stamps
    # A second color of another noise, in another unit.
    X = np.stack([X + sky, 5 * X], axis=1).astype(np.float32)
    reg = GalaxyRegressor(
        Seen, channel_axis=1, stretch="asinh", max_epochs=1, verbose=0, train_split=None
    ).fit(X, magnitude)
    assert reg.module_sizes_["n_channels"] == 4
    assert reg.channel_mean_.shape == (4,)
    np.testing.assert_allclose(reg.channel_sky_, [sky, 0], atol=0.6)
    noise = reg.channel_softening_ / 10
    np.testing.assert_allclose(noise[1], 5 * noise[0], rtol=1e-3)
    assert 0.2 < noise[0] < 0.4
    seen = torch.cat(reg.module_.batches)
    np.testing.assert_allclose(seen.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(dim=(0, 2, 3)), 1, atol=1e-3)
    # The brightest pixel stands out far less in the compressed channel.
    assert seen[:, 2].max() < 0.5 * seen[:, 0].max()
    # What another scale of the images is, the compressed channel does not show.
    torch.testing.assert_close(seen[:, 2], seen[:, 3], atol=1e-3, rtol=1e-3)
    assert not hasattr(reg.set_params(stretch=None).fit(X, magnitude), "channel_sky_")


@pytest.mark.parametrize("value", [0, 7])
def test_stretch_of_images_without_noise(stamps, value):
    X = np.full((40, 6, 6), value, dtype=np.uint8)
    X[:, 2, 3] = np.arange(40)
    reg = tiny(stretch="asinh", max_epochs=1).fit(X, np.arange(40.0))
    assert np.isfinite(reg.predict(X)).all()
    assert (reg.channel_softening_ > 0).all()
    np.testing.assert_allclose(reg.channel_sky_, value / 255)


def test_stretch_follows_the_fit_and_is_checked(stamps):
    X, magnitude, _ = stamps
    reg = tiny(stretch="asinh", max_epochs=1).fit(X[:60], magnitude[:60])
    expected = reg.predict(X[:60])
    reg.stretch = None
    np.testing.assert_array_equal(reg.predict(X[:60]), expected)
    with pytest.raises(ValueError, match="'stretch' parameter"):
        tiny(stretch="sqrt").fit(X, magnitude)


def test_averaging_over_symmetries(stamps):
    X, magnitude, _ = stamps
    reg = tiny(max_epochs=2, tta=True).fit(X[:80], magnitude[:80])
    expected = reg.predict(X[:20])
    np.testing.assert_allclose(reg.predict(X[:20, ::-1]), expected, rtol=1e-4)
    reg.tta = False
    views = [np.rot90(X[:20], k, axes=(1, 2)) for k in range(4)]
    views += [view[:, ::-1] for view in views]
    mean = np.mean([reg.predict(view) for view in views], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-4)


def test_searches_and_pipelines_on_flattened_images(stamps):
    X, magnitude, _ = stamps
    flat = X[:90].reshape(90, -1)
    reg = tiny(image_shape=(20, 20), max_epochs=2)
    search = GridSearchCV(reg, {"module__width": [4, 6]}, cv=2)
    search.fit(flat, magnitude[:90])
    assert search.predict(flat).shape == (90,)
    np.testing.assert_array_equal(
        reg.fit(flat, magnitude[:90]).predict(flat),
        tiny(max_epochs=2).fit(X[:90], magnitude[:90]).predict(X[:90]),
    )
    pipe = make_pipeline(PCA(5, random_state=0), GalaxyRegressor("mlp", verbose=0))
    pipe.fit(flat, magnitude[:90])
    assert pipe.predict(flat).shape == (90,)


def test_parameters_of_classifiers_are_refused():
    with pytest.raises(TypeError, match="unexpected parameter 'class_weight'"):
        GalaxyRegressor(class_weight="balanced")
    with pytest.raises(TypeError, match=r"'scale_targets'.*did you mean"):
        GalaxyRegressor(scale_targets=False)
    with pytest.raises(ValueError, match="'scale_target' parameter"):
        tiny(scale_target="yes").fit(np.zeros((4, 5, 5)), np.arange(4))


def test_streamed_predictions(stamps, tmp_path):
    X, magnitude, radius = stamps
    reg = tiny(max_epochs=1).fit(X, np.column_stack([magnitude, radius]))
    path = reg.predict_stream(X, 150, out=tmp_path / "measured.h5", verbose=0)
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["predict"][:], reg.predict(X), rtol=1e-5)


def test_real_galaxies(data_dir):
    with h5py.File(data_dir / "galaxies_efigi.h5") as file:
        X = file["images"][::3, 12:76:2, 12:76:2]
    # The color is in the images: what blue light there is against red.
    y = np.log(X[..., 0].mean(axis=(1, 2)) / X[..., 2].mean(axis=(1, 2)))
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
    reg = tiny(module__width=8, max_epochs=6, batch_size=32).fit(X, y)
    assert reg.score(X_test, y_test) > 0.8
