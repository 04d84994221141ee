# SPDX-License-Identifier: BSD-3-Clause
"""extract_features gives what networks know of samples."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from tiny_estimators import make_tiny
from torch import nn

from skastro import (
    GalaxyClassifier,
    GalaxyRegressor,
    SEVIRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
)

RNG = np.random.default_rng(0)
SPECTRA = RNG.normal(size=(60, 48)).astype(np.float32)
IMAGES = RNG.uniform(size=(40, 20, 24, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("cls", "X", "params"),
    [
        (SpectrumClassifier, SPECTRA, {"module": "resnet10", "module__width": 4}),
        (SpectrumClassifier, SPECTRA, {"module": "mlp"}),
        (SpectrumRegressor, SPECTRA, {"module": "densenet"}),
        (GalaxyRegressor, IMAGES, {"module": "resnet10", "module__width": 4}),
    ],
)
def test_features_are_means_of_the_last_maps(cls, X, params):
    net = make_tiny(cls, **params, max_epochs=1).fit(X, np.arange(len(X)) % 2)
    module = net.module_.eval()
    with torch.no_grad():
        maps = module.forward_features(net.module_input(X))
    expected = maps.flatten(2).mean(dim=2) if maps.ndim > 2 else maps
    found = net.extract_features(X)
    assert found.dtype == np.float32
    assert found.shape == (len(X), maps.shape[1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # Batches and the order of samples do not matter.
    net.set_params(iterator_valid__batch_size=7)
    np.testing.assert_allclose(net.extract_features(X[::-1]), found[::-1], atol=1e-5)


def test_trained_weights_have_features_before_any_training():
    images = IMAGES[..., :1]
    net = GalaxyClassifier.from_pretrained("galaxies", max_epochs=0, verbose=0)
    features = net.fit(images, np.arange(40) % 2).extract_features(images)
    assert features.shape == (40, 256)
    again = net.fit(images, np.arange(40) % 5).extract_features(images)
    np.testing.assert_array_equal(again, features)


def test_features_of_turned_images_are_the_same():
    X = IMAGES[:, :, :20]
    params = {"module": "resnet10", "module__width": 4, "max_epochs": 1}
    net = make_tiny(GalaxyClassifier, **params, tta=True).fit(X, np.arange(40) % 2)
    turned = np.rot90(X, axes=(1, 2))
    features = net.extract_features(X)
    np.testing.assert_allclose(net.extract_features(turned), features, atol=1e-5)
    net.set_params(tta=False)
    assert abs(net.extract_features(turned) - net.extract_features(X)).max() > 1e-3


class Tokens(nn.Module):
    """A network whose channels are last, as those of transformers."""

    def __init__(self, n_channels, n_outputs, grid=False):
        super().__init__()
        self.stem, self.fc = nn.Conv2d(n_channels, 5, 3), nn.Linear(5, n_outputs)
        self.grid = grid

    def forward_features(self, x):
        """Return (batch, height, width, channels) or (batch, tokens, channels)."""
        maps = self.stem(x).movedim(1, -1)
        return maps if self.grid else maps.flatten(1, 2)

    def forward(self, x):
        """Classify the mean token."""
        return self.fc(self.forward_features(x).flatten(1, -2).mean(dim=1))


@pytest.mark.parametrize("grid", [False, True])
def test_channels_may_be_last(grid):
    net = make_tiny(GalaxyClassifier, module=Tokens, module__grid=grid, max_epochs=1)
    net.fit(IMAGES, np.arange(40) % 2)
    with torch.no_grad():
        maps = net.module_.stem(net.module_input(IMAGES))
    found = net.extract_features(IMAGES)
    np.testing.assert_allclose(found, maps.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [lambda x: (x, x), lambda x: {"x": x}])
def test_networks_without_tensors_as_features_train_on(features):
    class Parts(Tokens):
        def forward_features(self, x):
            return features(super().forward_features(x))

        def forward(self, x):
            return self.fc(super().forward_features(x).mean(dim=1))

    net = make_tiny(GalaxyClassifier, module=Parts, max_epochs=1)
    with pytest.warns(UserWarning, match="no score_samples: forward_features of Parts"):
        net.fit(IMAGES, np.arange(40) % 2)
    assert net.predict(IMAGES).shape == (40,)
    with pytest.raises(TypeError, match=r"must return a tensor \(batch, channels"):
        net.extract_features(IMAGES)


def test_what_has_no_features():
    with pytest.raises(NotFittedError):
        SpectrumClassifier().extract_features(SPECTRA)
    assert not hasattr(SEVIRegressor(), "extract_features")
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    net = make_tiny(SpectrumClassifier, module=module, max_epochs=1)
    assert not hasattr(net.fit(SPECTRA, np.arange(60) % 2), "extract_features")
    net = make_tiny(SpectrumClassifier).fit(SPECTRA, np.arange(60) % 2)
    with pytest.raises(ValueError, match="47"):
        net.extract_features(SPECTRA[:, :47])
    with pytest.raises(ValueError, match="NaN"):
        net.extract_features(np.full((1, 48), np.nan))
