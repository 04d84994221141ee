# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps of pipelines, targets and options, and what is refused."""

import numpy as np
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline as PlainPipeline

from skastro import (
    MinMaxSpectra,
    Pipeline,
    RebinSpectra,
    SpectrumClassifier,
)
from skastro.datasets import LazyArray
from skastro.inspection import class_activation_map, deletion_score


def test_pipeline_transforms_and_passes_samplers_over(quiet, flux):
    X, y = flux(12) + 5, np.array(["a", "b", "b"] * 4)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **quiet)
    pipe = Pipeline([MinMaxSpectra(), RandomOverSampler(random_state=0), clf])
    maps = class_activation_map(pipe.fit(X, y), X)
    scaled = pipe[0].transform(X)
    np.testing.assert_array_equal(maps, class_activation_map(pipe[-1], scaled))
    plain = PlainPipeline(
        [("nothing", "passthrough"), ("scale", pipe[0]), ("net", pipe[-1])]
    )
    np.testing.assert_array_equal(maps, class_activation_map(plain, X))


def test_maps_are_on_the_new_grid_after_rebinning(quiet, flux):
    X, y = flux(12), np.array(["a", "b", "b"] * 4)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **quiet)
    pipe = Pipeline([RebinSpectra(n_bins=40), clf]).fit(X, y)
    assert class_activation_map(pipe, X).shape == (12, 40)
    assert deletion_score(pipe, X, n_random=2).random_drop.shape == (12, 2)


def test_arrays_on_disk_and_arrays_that_are_not_writable(untrained, flux):
    X = flux(12)
    clf = untrained(X, module__width=4)
    maps = class_activation_map(clf, X)
    score = deletion_score(clf, X, n_random=1, random_state=0)
    X.flags.writeable = False
    for other in (X, LazyArray(X.astype(">f4")), X.tolist()):
        np.testing.assert_array_equal(class_activation_map(clf, other), maps)
        again = deletion_score(clf, other, n_random=1, random_state=0)
        np.testing.assert_array_equal(again.random_drop, score.random_drop)


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_module_on_the_users_own_device(untrained, flux, method):
    if method == "gradcam":
        pytest.importorskip("captum")
    X = flux()
    clf = untrained(X, module__width=4)
    expected = class_activation_map(clf, X, method=method)
    clf.set_params(device=None)
    maps = class_activation_map(clf, X, method=method)
    np.testing.assert_array_equal(maps, expected)
    score = deletion_score(clf, X, n_random=1, random_state=0)
    assert score.random_drop.shape == (6, 1)


def test_targets(untrained, flux):
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


def test_numeric_labels(quiet, flux):
    X = flux(8)
    clf = SpectrumClassifier(module__width=4, max_epochs=1, **quiet)
    clf.fit(X, np.array([3, 7] * 4))
    assert class_activation_map(clf, X, 7).shape == X.shape
    with pytest.raises(ValueError, match=r"\['1'\].*\[3, 7\]"):
        class_activation_map(clf, X, 1)


def test_normalized_maps(untrained, flux):
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


def test_training_mode_and_predictions_are_left_alone(untrained, flux):
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
        ({"layer": "fc"}, ValueError, "does not return feature maps"),
        # It runs twice.
        ({"layer": "layer1.0.relu"}, ValueError, "once for each input"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
    ],
)
def test_bad_arguments(untrained, flux, kwargs, error, message):
    X = flux()
    clf = untrained(X, module__width=4)
    with pytest.raises(error, match=message):
        class_activation_map(clf, X, **kwargs)


def test_unsuitable_estimators(untrained, flux):
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
