# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps against their definition, and on lines at known places."""

import sys

import numpy as np
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline as PlainPipeline
from torch import nn

from skastro import (
    GalaxyClassifier,
    MinMaxSpectra,
    Pipeline,
    RebinSpectra,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.datasets import LazyArray, read_spectra
from skastro.inspection import class_activation_map, deletion_curve, deletion_score
from skastro.inspection._deleted_pixels import fill_from_neighbours, random_like
from skastro.inspection._feature_maps import traced
from skastro.networks import ResNet, SEDenseNet

QUIET = {"verbose": 0, "random_state": 0, "device": "cpu", "train_split": None}


def untrained(X, classifier=SpectrumClassifier, n_classes=3, **params):
    """Fit for one step, so that all sizes and labels are known."""
    y = np.array(["a", "b", "c"])[np.arange(len(X)) % n_classes]
    clf = classifier(max_epochs=1, batch_size=-1, **QUIET, **params)
    return clf.fit(X, y)


def flux(n=6, length=117, seed=0, n_channels=None):
    shape = (n, length) if n_channels is None else (n, n_channels, length)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def images(n=6, height=23, width=31, n_channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(n, height, width, n_channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def line_data():
    """Spectra of 1000 pixels; class "line" has an emission line at 400 to 420."""

    def make(n, seed):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 1000)).astype(np.float32)
        y = np.array(["line", "none"])[np.arange(n) % 2]
        X[y == "line", 400:421] += 4
        return X, y

    return make


@pytest.fixture(scope="module")
def line_classifier(line_data):
    X, y = line_data(80, seed=0)
    clf = SpectrumClassifier(
        ResNet,
        module__width=8,
        module__n_blocks=(1, 1),
        module__kernel_size=7,
        max_epochs=15,
        augment=None,
        verbose=0,
        random_state=0,
        device="cpu",
    )
    clf.fit(X, y)
    assert clf.score(*line_data(40, seed=1)) == 1
    return clf


# The definition --------------------------------------------------------------


@pytest.mark.parametrize("length", [117, 64, 1])
@pytest.mark.parametrize("n_channels", [None, 2])
def test_map_is_the_weighted_sum_of_feature_maps(length, n_channels):
    # Without strides the maps have the input's length: no interpolation.
    X = flux(length=length, n_channels=n_channels)
    clf = untrained(
        X,
        module=ResNet,
        module__width=5,
        module__n_blocks=(2,),
        module__stem="stride1",
        module__kernel_size=5,
    )
    maps = class_activation_map(clf, X, "b")
    module = clf.module_.eval()
    with torch.no_grad():
        x = torch.from_numpy(X if n_channels else X[:, None])
        features = module.forward_features(x).numpy()
        logits = module(x).numpy()
    weight, bias = (part.detach().numpy() for part in module.fc.parameters())
    expected = sum(weight[1, k] * features[:, k] for k in range(5))
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        maps.mean(axis=1) + bias[1], logits[:, 1], rtol=1e-4, atol=1e-5
    )
    assert maps.dtype == np.float32


def test_map_of_images_is_the_weighted_sum_of_feature_maps():
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


@pytest.mark.parametrize("layout", ["channels first", "rows", "grey", "one row"])
def test_layouts_of_images(layout):
    X = images(n_channels=1 if layout in ("grey", "one row") else 3)
    network = {"module__width": 4}
    same = untrained(X, GalaxyClassifier, **network)
    expected = class_activation_map(same, X)
    if layout == "channels first":
        X, params = X.transpose(0, 3, 1, 2), {"channel_axis": 1}
    elif layout == "rows":
        X, params = X.reshape(len(X), -1), {"image_shape": (23, 31, 3)}
    elif layout == "grey":
        X, params = X[..., 0], {}
    else:
        X, params = X.reshape(len(X), -1), {}
    clf = untrained(X, GalaxyClassifier, **network, **params)
    maps = class_activation_map(clf, X)
    if layout == "one row":
        assert maps.shape == (6, 1, 23 * 31)
    else:
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", ["resnet10", "densenet"])
def test_registered_networks_have_maps_without_captum(module, monkeypatch):
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


def test_receptive_field_is_centred_where_the_map_says():
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


def test_map_peaks_at_the_line_and_deletion_finds_it(line_classifier, line_data):
    X, y = line_data(40, seed=2)
    X, y = X[y == "line"], y[y == "line"]
    maps = class_activation_map(line_classifier, X)
    # The pixels of the feature maps are 8 apart.
    peak = maps.argmax(axis=1)
    assert ((peak >= 400 - 8) & (peak <= 420 + 8)).all()

    score = deletion_score(line_classifier, X, random_state=0)
    assert score.target.tolist() == ["line"] * len(X)
    assert score.mean_drop > 0.2
    assert score.mean_drop > 5 * score.mean_random_drop
    assert score.wins == 1
    assert score.p_value < 1e-4
    # A random map is no better than chance.
    noise = np.random.default_rng(0).random(maps.shape)
    noise = deletion_score(line_classifier, X, maps=noise, random_state=0)
    assert noise.mean_drop < 0.1
    assert noise.p_value > 1e-3


@pytest.mark.slow
def test_deletion_finds_what_matters_in_real_spectra(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    train, test = train_test_split(
        np.arange(len(spectra.flux)),
        test_size=0.25,
        stratify=spectra.target,
        random_state=0,
    )
    clf = SpectrumClassifier(
        module__n_blocks=(1, 1, 1),
        module__width=16,
        max_epochs=20,
        class_weight="balanced",
        verbose=0,
        random_state=0,
        device="cpu",
    )
    pipe = Pipeline([StandardizeSpectra(robust=True, clip=8.0), clf])
    pipe.fit(spectra.flux[train], spectra.target[train])
    score = deletion_score(pipe, spectra.flux[test], random_state=0)
    assert score.mean_drop > 3 * score.mean_random_drop
    assert score.p_value < 1e-3
    for label in pipe.classes_:
        rows = score.target == label
        assert score.drop[rows].mean() > score.random_drop[rows].mean()


def test_evidence_against_a_class_is_negative(line_classifier, line_data):
    X, _ = line_data(10, seed=3)
    against = class_activation_map(line_classifier, X[:1], "none")[0]
    assert abs(against.argmin() - 410) < 65
    assert against.min() < 0


# Grad-CAM --------------------------------------------------------------------


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
def test_gradcam_of_an_averaging_network_is_the_positive_map(module, layer):
    pytest.importorskip("captum")
    X = flux(length=333)
    clf = untrained(X, module=module)
    cam = class_activation_map(clf, X, "a")
    named = class_activation_map(clf, X, "a", layer=layer)
    default = class_activation_map(clf, X, "a", method="gradcam")
    np.testing.assert_array_equal(named, default)
    with torch.no_grad():
        features = clf.module_.forward_features(torch.from_numpy(X[:, None]))
    weight = clf.module_.fc.weight.detach()[0]
    small = torch.einsum("nkl,k->nl", features, weight).clamp(min=0)
    with traced(clf.module_, (333,)) as trace, torch.no_grad():
        clf.module_(torch.from_numpy(X[:1, None]))
    positive = trace.spread(small / features.shape[2]).numpy()
    np.testing.assert_allclose(named, positive, rtol=1e-3, atol=1e-6)
    assert cam.shape == named.shape


def test_gradcam_of_images_is_the_positive_map():
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


def test_gradcam_finds_the_line_in_a_plain_network(line_data):
    pytest.importorskip("captum")
    X, y = line_data(80, seed=0)
    clf = SpectrumClassifier(Plain, max_epochs=8, augment=None, **QUIET).fit(X, y)
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


# Pipelines, targets, options -------------------------------------------------


def test_pipeline_transforms_and_passes_samplers_over():
    X, y = flux(12) + 5, np.array(["a", "b", "b"] * 4)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **QUIET)
    pipe = Pipeline([MinMaxSpectra(), RandomOverSampler(random_state=0), clf])
    maps = class_activation_map(pipe.fit(X, y), X)
    scaled = pipe[0].transform(X)
    np.testing.assert_array_equal(maps, class_activation_map(pipe[-1], scaled))
    plain = PlainPipeline(
        [("nothing", "passthrough"), ("scale", pipe[0]), ("net", pipe[-1])]
    )
    np.testing.assert_array_equal(maps, class_activation_map(plain, X))


def test_maps_are_on_the_new_grid_after_rebinning():
    X, y = flux(12), np.array(["a", "b", "b"] * 4)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **QUIET)
    pipe = Pipeline([RebinSpectra(n_bins=40), clf]).fit(X, y)
    assert class_activation_map(pipe, X).shape == (12, 40)
    assert deletion_score(pipe, X, n_random=2).random_drop.shape == (12, 2)


def test_arrays_on_disk_and_arrays_that_are_not_writable():
    X = flux(12)
    clf = untrained(X, module__width=4)
    maps = class_activation_map(clf, X)
    score = deletion_score(clf, X, n_random=1, random_state=0)
    X.flags.writeable = False
    for other in (X, LazyArray(X.astype(">f4")), X.tolist()):
        np.testing.assert_array_equal(class_activation_map(clf, other), maps)
        again = deletion_score(clf, other, n_random=1, random_state=0)
        np.testing.assert_array_equal(again.random_drop, score.random_drop)


def test_targets():
    X = flux(7)
    clf = untrained(X, module__width=4)
    each = [class_activation_map(clf, X, label) for label in clf.classes_]
    labels = clf.predict(X)
    codes = np.searchsorted(clf.classes_, labels)
    predicted = np.stack([each[code][row] for row, code in enumerate(codes)])
    np.testing.assert_allclose(class_activation_map(clf, X), predicted, rtol=1e-5)
    np.testing.assert_allclose(
        class_activation_map(clf, X, labels), predicted, rtol=1e-5
    )
    np.testing.assert_allclose(
        class_activation_map(clf, X, batch_size=3), predicted, rtol=1e-3, atol=1e-5
    )


def test_numeric_labels():
    X = flux(8)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **QUIET)
    clf.fit(X, np.array([3, 7] * 4))
    assert class_activation_map(clf, X, 7).shape == X.shape
    with pytest.raises(ValueError, match=r"\['1'\].*\[3, 7\]"):
        class_activation_map(clf, X, 1)


def test_normalized_maps():
    X = flux(7)
    clf = untrained(X, module__width=4)
    raw = class_activation_map(clf, X)
    maps = class_activation_map(clf, X, normalize=True)
    np.testing.assert_array_equal(maps.min(axis=1), 0)
    np.testing.assert_array_equal(maps.max(axis=1), 1)
    correlation = [np.corrcoef(*pair)[0, 1] for pair in zip(raw, maps, strict=True)]
    np.testing.assert_allclose(correlation, 1, atol=1e-5)
    with torch.no_grad():
        clf.module_.fc.weight.zero_()
    assert not class_activation_map(clf, X, normalize=True).any()


def test_training_mode_and_predictions_are_left_alone():
    X = flux(7)
    clf = untrained(X)
    before = clf.predict_proba(X)
    clf.module_.train()
    statistics = clf.module_.bn1.running_mean.clone()
    class_activation_map(clf, X)
    torch.testing.assert_close(clf.module_.bn1.running_mean, statistics)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"target": "star"}, ValueError, r"\['star'\]; its classes are \['a', 'b'"),
        ({"target": ["a", "b"]}, ValueError, r"each of the 6 samples.*\(2,\)"),
        ({"method": "lime"}, ValueError, "'auto', 'cam', 'gradcam'"),
        ({"method": "cam", "layer": "layer4"}, ValueError, "leave out layer"),
        ({"layer": 4}, TypeError, "name of a layer"),
        ({"layer": "layer9"}, ValueError, "no layer 'layer9'; it has 'conv1'"),
        ({"layer": "fc"}, ValueError, "gives no feature maps"),
        # It runs twice.
        ({"layer": "layer1.0.relu"}, ValueError, "once for each input"),
        ({"batch_size": 0}, ValueError, "positive integer"),
    ],
)
def test_bad_arguments(kwargs, error, message):
    X = flux()
    clf = untrained(X, module__width=4)
    with pytest.raises(error, match=message):
        class_activation_map(clf, X, **kwargs)


def test_unsuitable_estimators():
    X = flux()
    with pytest.raises(TypeError, match="but got LogisticRegression"):
        class_activation_map(LogisticRegression(), X)
    with pytest.raises(NotFittedError):
        class_activation_map(Pipeline([MinMaxSpectra(), SpectrumClassifier()]), X)
    mlp = untrained(X, module="mlp")
    with pytest.raises(TypeError, match="MLP has no convolution"):
        class_activation_map(mlp, X)
    with pytest.raises(TypeError, match=r"MLP does not average.*method='gradcam'"):
        class_activation_map(mlp, X, method="cam")
    clf = untrained(X, module__width=4)
    with pytest.raises(ValueError, match="117"):
        class_activation_map(clf, X[:, :-1])
    with pytest.raises(ValueError, match="NaN"):
        class_activation_map(clf, np.full_like(X, np.nan))


# Deleting pixels -------------------------------------------------------------


def test_deleted_runs_become_the_continuum():
    line = np.linspace(1, 3, 50)
    channels = np.stack([line, -line])
    channels[:, 20:30] += 7
    channels[:, :3] += 7
    mask = np.zeros(50, dtype=bool)
    mask[20:30] = mask[:3] = True
    kept = channels[:, ~mask].copy()
    fill_from_neighbours(channels, mask)
    # Between the medians of ten pixels on either side of a straight line.
    middle = (line[14:16].mean() + line[34:36].mean()) / 2
    np.testing.assert_allclose(channels[0, 20:30].mean(), middle)
    np.testing.assert_allclose(channels[1], -channels[0])
    np.testing.assert_allclose(channels[0, :3], np.median(line[3:13]))
    np.testing.assert_array_equal(channels[:, ~mask], kept)


def test_random_deletions_have_the_same_runs():
    mask = np.zeros((200, 60), dtype=bool)
    mask[:, [1, 2, 3, 20, 30, 31]] = True
    moved = random_like(mask, np.random.RandomState(0))
    for row in moved:
        parts = "".join("x" if pixel else " " for pixel in row).split()
        assert sorted(map(len, parts)) == [1, 2, 3]
    # All places are about equally likely.
    assert moved.mean(axis=0)[5:-5].std() < 0.04
    region = np.zeros((3, 8, 9), dtype=bool)
    region[:, 2:4, 5:8] = True
    assert (random_like(region, np.random.RandomState(0)).sum(axis=(1, 2)) == 6).all()


def test_deletion_curve(line_classifier, line_data):
    X, y = line_data(20, seed=4)
    X, y = X[y == "line"], y[y == "line"]
    kwargs = {"fractions": [0.05, 0.3], "random_state": 0}
    curve = deletion_curve(line_classifier, X, "line", **kwargs)
    np.testing.assert_array_equal(curve.fractions, [0, 0.05, 0.3])
    proba = line_classifier.predict_proba(X)[:, 0]
    np.testing.assert_allclose(curve.probability[:, 0], proba)
    assert (curve.probability[:, 1] < curve.random_probability[:, 1]).all()
    again = deletion_curve(line_classifier, X, "line", **kwargs)
    np.testing.assert_array_equal(again.random_probability, curve.random_probability)


def test_deletion_in_images():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 40, size=(60, 24, 24, 3), dtype=np.uint8)
    y = np.arange(60) % 2
    X[y == 1, 4:9, 14:19] += 200
    clf = GalaxyClassifier(
        module__width=4,
        module__n_blocks=(1, 1),
        max_epochs=15,
        batch_size=10,
        **QUIET,
    ).fit(X, y)
    given = X.copy()
    score = deletion_score(clf, X[1::2], 1, random_state=0)
    assert score.mean_drop > score.mean_random_drop + 0.1
    assert score.p_value < 1e-3
    np.testing.assert_array_equal(X, given)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fraction": 0}, "between 0 and 1"),
        ({"fraction": 1.0}, "between 0 and 1"),
        ({"n_random": 0}, "n_random"),
        ({"maps": np.zeros((6, 5))}, r"\(6, 5\).*\(6, 117\)"),
        ({"target": "star"}, "its classes are"),
    ],
)
def test_bad_arguments_of_deletion(kwargs, message):
    X = flux()
    with pytest.raises(ValueError, match=message):
        deletion_score(untrained(X, module__width=4), X, **kwargs)
