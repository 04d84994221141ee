# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps against their definition, and on lines at known places."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from skastro import GalaxyClassifier, SpectrumClassifier
from skastro.inspection import ActivationMapDisplay, class_activation_map
from skastro.inspection._class_activation_map import traced
from skastro.networks import ResNet, SEDenseNet

# The definition --------------------------------------------------------------


@pytest.mark.parametrize("length", [117, 64, 1])
@pytest.mark.parametrize("n_channels", [None, 2])
def test_map_is_the_weighted_sum_of_feature_maps(untrained, flux, length, n_channels):
    # Without strides the maps have the input's length: no interpolation.
    X = flux(length=length, n_channels=n_channels)
    clf = untrained(
        X,
        module=ResNet,
        module__width=5,
        module__n_blocks=(2,),
        module__stem="stride1",
        module__kernel_size=5,
        module__n_channels=n_channels or 1,
    )
    maps = class_activation_map(clf, X, "b")
    module = clf.module_.eval()
    with torch.no_grad():
        x = clf.module_input(X)
        features = module.forward_features(x).numpy()
        logits = module(x).numpy()
    weight, bias = (part.detach().numpy() for part in module.fc.parameters())
    expected = sum(weight[1, k] * features[:, k] for k in range(5))
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        maps.mean(axis=1) + bias[1], logits[:, 1], rtol=1e-4, atol=1e-5
    )
    assert maps.dtype == np.float32


def test_map_of_images_is_the_weighted_sum_of_feature_maps(untrained, images):
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
    maps = class_activation_map(clf, X, "c")
    assert maps.shape == (6, 23, 31)
    logits = next(clf.forward_iter(X)).numpy()
    bias = clf.module_.fc.bias.detach().numpy()
    np.testing.assert_allclose(
        maps.mean(axis=(1, 2)) + bias[2], logits[:, 2], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("layout", ["channels first", "rows", "gray", "one row"])
def test_layouts_of_images(untrained, images, layout):
    X = images(n_channels=1 if layout in ("gray", "one row") else 3)
    network = {"module__width": 4}
    same = untrained(X, GalaxyClassifier, **network)
    expected = class_activation_map(same, X)
    if layout == "channels first":
        X, params = X.transpose(0, 3, 1, 2), {"channel_axis": 1}
    elif layout == "rows":
        X, params = X.reshape(len(X), -1), {"image_shape": (23, 31, 3)}
    elif layout == "gray":
        X, params = X[..., 0], {}
    else:
        X, params = X.reshape(len(X), -1), {"image_shape": (1, 713)}
    clf = untrained(X, GalaxyClassifier, **network, **params)
    maps = class_activation_map(clf, X)
    if layout == "one row":
        assert maps.shape == (6, 1, 23 * 31)
    else:
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", ["resnet10", "densenet"])
def test_registered_networks_have_maps_without_captum(
    untrained, flux, module, monkeypatch
):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    X = flux(length=333)
    clf = untrained(X, module=module)
    assert class_activation_map(clf, X).shape == (6, 333)
    with pytest.raises(ImportError, match=r"skastro\[explain\]"):
        class_activation_map(clf, X, method="gradcam")


# Where maps lie --------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "length", "step", "start"),
    [
        # All strides of a ResNet keep to the middle of odd kernels.
        (ResNet(1, 2, width=2, stem="stride4"), 517, 64, 0),
        (ResNet(1, 2, width=2, n_blocks=(1, 1), block="bottleneck"), 100, 8, 0),
        # Pooling by two, six times, puts the first pixel between 31 and 32.
        (SEDenseNet(1, 2, growth_rate=2), 643, 64, 31.5),
    ],
)
def test_maps_are_placed_by_the_layers(network, length, step, start):
    network.eval()
    with traced(network, (length,)) as trace, torch.no_grad():
        n = network.forward_features(torch.zeros(1, 1, length)).shape[-1]
    at = start + step * np.arange(n)
    expected = np.interp(np.arange(length), at, np.arange(n))
    spread = trace.spread(torch.arange(n, dtype=torch.float64)[None])
    np.testing.assert_allclose(spread[0].numpy(), expected, atol=1e-9)


def test_receptive_field_is_centered_where_the_map_says():
    # The gradient of a pixel of the maps is not zero in its receptive field, for one
    # input or another.
    generator = torch.Generator().manual_seed(0)
    network = ResNet(1, 2, width=4, n_blocks=(1, 1, 1)).eval()
    x = torch.randn(100, 1, 801, generator=generator).requires_grad_()
    with traced(network, (801,)) as trace:
        features = network.forward_features(x)
    n = features.shape[-1]
    features[..., n // 2].sum().backward()
    support = torch.nonzero(x.grad.abs().sum(dim=(0, 1)))[:, 0]
    hat = torch.zeros(1, n)
    hat[0, n // 2] = 1
    peak = trace.spread(hat)[0].argmax()
    assert abs((support[0] + support[-1]) / 2 - peak) <= 1


def test_maps_of_unknown_layers_divide_the_input_evenly():
    with traced(nn.Identity(), (30, 12)) as trace:
        pass
    maps = torch.randn(2, 5, 4)
    expected = nn.functional.interpolate(
        maps[:, None], size=(30, 12), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(trace.spread(maps), expected[:, 0])


def test_evidence_against_a_class_is_negative(line_classifier, line_data):
    X, _ = line_data(10, seed=3)
    against = class_activation_map(line_classifier, X[:1], "none")[0]
    assert abs(against.argmin() - 410) < 65
    assert against.min() < 0


def test_maps_of_a_classifier_on_its_own_grid_are_on_the_pixels_of_x():
    rng = np.random.default_rng(0)
    # Pixels that reach beyond those that the network sees, 3600 to 9500 Å.
    wavelength = np.linspace(3000.0, 10000.0, 500)
    flux = rng.normal(10, 1, size=(60, 500)).astype(np.float32)
    target = np.repeat(["line", "no line"], 30)
    flux[target == "line", 200:212] += 15
    clf = SpectrumClassifier(
        wavelength=wavelength,
        module__width=8,
        module__n_blocks=(1,),
        max_epochs=10,
        verbose=0,
        random_state=0,
    ).fit(flux, target)
    maps = class_activation_map(clf, flux[:5], "line")
    assert maps.shape == (5, 500)
    assert (abs(maps.argmax(axis=1) - 206) < 12).all()
    assert (maps[:, (wavelength < 3600) | (wavelength > 9500)] == 0).all()
    display = ActivationMapDisplay.from_estimator(clf, flux[:2], wavelength=wavelength)
    assert display.axes_[0].get_xlim() == (3000.0, 10000.0)
    plt.close(display.figure_)
