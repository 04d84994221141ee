# SPDX-License-Identifier: BSD-3-Clause
"""Grad-CAM, where it is the class activation map, and where it takes its place."""

import numpy as np
import pytest
import torch
from torch import nn

from skastro import (
    GalaxyClassifier,
    SpectrumClassifier,
)
from skastro.inspection import class_activation_map
from skastro.inspection._class_activation_map import traced
from skastro.networks import ResNet


class Plain(nn.Module):
    """Convolutions, pooling, and a layer that knows places: no global average."""

    def __init__(self, n_channels, n_outputs, input_size):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(n_channels, 6, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.AvgPool1d(4),
            nn.Conv1d(6, 6, 5, padding="same"),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(6 * (input_size // 4), 2))

    def forward(self, x):
        return self.fc(self.body(x))


@pytest.mark.parametrize(
    ("module", "layer"), [("resnet10", "layer4"), ("densenet", "activation")]
)
def test_gradcam_of_an_averaging_network_is_the_positive_map(
    untrained, flux, module, layer
):
    pytest.importorskip("captum")
    X = flux(length=333)
    clf = untrained(X, module=module)
    cam = class_activation_map(clf, X, "a")
    named = class_activation_map(clf, X, "a", layer=layer)
    default = class_activation_map(clf, X, "a", method="gradcam")
    np.testing.assert_array_equal(named, default)
    with torch.no_grad():
        features = clf.module_.forward_features(clf.module_input(X))
    weight = clf.module_.fc.weight.detach()[0]
    small = torch.einsum("nkl,k->nl", features, weight).clamp(min=0)
    with traced(clf.module_, (333,)) as trace, torch.no_grad():
        clf.module_(clf.module_input(X[:1]))
    positive = trace.spread(small / features.shape[2]).numpy()
    np.testing.assert_allclose(named, positive, rtol=1e-3, atol=1e-6)
    assert cam.shape == named.shape


def test_gradcam_of_images_is_the_positive_map(untrained, images):
    pytest.importorskip("captum")
    X = images()
    clf = untrained(
        X,
        GalaxyClassifier,
        module=ResNet,
        module__ndim=2,
        module__width=4,
        module__n_blocks=(1,),
        module__stem="stride1",
    )
    cam = class_activation_map(clf, X)
    gradcam = class_activation_map(clf, X, method="gradcam", batch_size=4)
    np.testing.assert_allclose(
        gradcam * 23 * 31, np.maximum(cam, 0), rtol=1e-3, atol=1e-4
    )


def test_gradcam_finds_the_line_in_a_plain_network(quiet, line_data):
    pytest.importorskip("captum")
    X, y = line_data(80, seed=0)
    settings = {"max_epochs": 8, "augment": None, "normalization": None, **quiet}
    clf = SpectrumClassifier(Plain, **settings).fit(X, y)
    X, y = line_data(20, seed=1)
    X, y = X[y == "line"], y[y == "line"]
    assert clf.score(X, y) == 1
    gradients = [weight.grad.clone() for weight in clf.module_.parameters()]
    maps = class_activation_map(clf, X)
    assert maps.min() >= 0
    assert np.median(abs(maps.argmax(axis=1) - 410)) < 25
    first = class_activation_map(clf, X, layer="body.0")
    assert first.shape == maps.shape
    # The network is as it was: the gradients of its training, no hooks.
    for weight, gradient in zip(clf.module_.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=0)
    assert not any(layer._forward_hooks for layer in clf.module_.modules())
