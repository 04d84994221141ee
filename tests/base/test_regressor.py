# SPDX-License-Identifier: BSD-3-Clause
"""The strict net for regressors: shapes and scales of targets, both contracts."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNetRegressor
from skorch.callbacks import EpochScoring
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from tiny_estimators import make_tiny
from torch import nn
from torch.utils.data import TensorDataset

from skastro import GalaxyRegressor
from skastro.base import BaseRegressor

pytestmark = pytest.mark.once

N_SAMPLES = 120


tiny = partial(
    make_tiny,
    GalaxyRegressor,
    module="mlp",
    module__hidden=(16,),
    max_epochs=20,
)


@pytest.fixture
def images():
    """Make small images, and three numbers that are linear in them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, 3, 4)).astype(np.float32)
    y = X.reshape(N_SAMPLES, -1)[:, :3].astype(np.float64)
    return X, y + 0.3 * X[:, 2, 1:]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 3)])
def test_predictions_have_the_shape_of_the_targets(images, shape):
    X, y = images
    y = y if shape[-1] == 3 else y[:, 0].reshape(shape)
    reg = tiny().fit(X, y)
    assert reg.predict(X).shape == y.shape
    assert reg.predict(X[:1]).shape == y[:1].shape
    assert reg.target_shape_ == y.shape[1:]
    assert reg.module_sizes_["n_outputs"] == max(1, *y.shape[1:], 1)
    assert reg.score(X, y) == pytest.approx(r2_score(y, reg.predict(X)))
    assert reg.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float64", "float64"),
        (">f8", "float64"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float16", "float32"),
        ("int64", "float32"),
        ("bool", "float32"),
        ("object", "float64"),
    ],
)
def test_targets_of_any_real_dtype(images, given, expected):
    X, y = images
    y = np.round(10 * y[:, 0]).astype(given)
    predicted = tiny(max_epochs=1).fit(X, y).predict(X)
    assert predicted.dtype == expected
    same = tiny(max_epochs=1).fit(X, y.astype(float)).predict(X)
    np.testing.assert_array_equal(predicted, same.astype(expected))


def test_long_integers_keep_their_digits(images):
    X, y = images
    y = 2_459_000_000 + np.round(10 * y[:, 0]).astype(np.int64)
    reg = tiny().fit(X, y)
    assert reg.predict(X).dtype == np.float64
    assert reg.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("offset", "scale"), [(0, 1), (1e6, 1e-3), (-1e9, 1.0), (0, 1e-12), (5e4, 1e30)]
)
def test_offset_and_scale_of_the_target_do_not_matter(images, offset, scale):
    X, y = images
    y = y[:, 0]
    expected = tiny().fit(X, y).predict(X)
    predicted = tiny().fit(X, offset + scale * y).predict(X)
    # Single precision has no digit left for 1e-3 beside 1e6.
    np.testing.assert_allclose((predicted - offset) / scale, expected, atol=1e-2)


def test_targets_of_different_scale_count_alike(images):
    X, y = images
    factors = np.array([1e-4, 1.0, 1e5])
    reg = tiny().fit(X, y * factors + 7)
    scores = r2_score(y * factors + 7, reg.predict(X), multioutput="raw_values")
    assert scores.min() > 0.9


def test_scale_is_that_of_the_training_rows(images):
    X, y = images
    # The outlier may fall into the training part or the validation part.
    y = y[:, 0].copy()
    y[3] = 1e3

    def last_rows(dataset, y=None):
        rows = np.arange(len(dataset))
        return (
            torch.utils.data.Subset(dataset, rows[10:]),
            torch.utils.data.Subset(dataset, rows[:10]),
        )

    reg = tiny(train_split=last_rows, max_epochs=1).fit(X, y)
    np.testing.assert_allclose(reg.target_mean_, [y[10:].mean()])
    np.testing.assert_allclose(reg.target_scale_, [y[10:].std()])


def test_constant_targets(images):
    X, y = images
    reg = tiny().fit(X, np.column_stack([y[:, 0], np.full(N_SAMPLES, 0.1)]))
    assert reg.target_scale_[1] == 1
    np.testing.assert_allclose(reg.predict(X)[:, 1], 0.1, atol=0.1)
    assert np.isfinite(reg.history[:, "train_loss"]).all()


def test_without_scaling(images):
    X, y = images
    reg = tiny(scale_target=False).fit(X, y)
    assert not hasattr(reg, "target_mean_")
    assert reg.score(X, y) > 0.9
    np.testing.assert_array_equal(reg.predict(X), reg.forward(X).numpy())
    shifted = tiny(scale_target=False).fit(X, y + 1e4)
    assert shifted.score(X, y + 1e4) < 0


class OneNumber(nn.Module):
    """A network whose output has no second axis."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 1)

    def forward(self, x):
        """Give a number a sample."""
        return self.linear(x.flatten(1)).squeeze(-1)


def test_output_without_second_axis_is_compared_row_by_row(images):
    X, y = images
    for target in (y[:, 0], y[:, :1]):
        reg = GalaxyRegressor(
            OneNumber, max_epochs=20, lr=5e-2, batch_size=16, verbose=0, random_state=0
        ).fit(X, target)
        assert reg.score(X, target) > 0.9
        assert reg.predict(X).shape == target.shape


def test_outputs_of_the_wrong_number_are_refused(images):
    X, y = images
    with pytest.raises(ValueError, match=r"outputs of shape \(2,\).*shape \(3,\)"):
        tiny(module__n_outputs=2).fit(X, y)


@pytest.mark.parametrize("criterion", [nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss])
def test_other_criteria(images, criterion):
    X, y = images
    weight = np.linspace(0.5, 2, N_SAMPLES)
    reg = tiny(criterion=criterion).fit(X, y + 100, sample_weight=weight)
    assert reg.score(X, y + 100) > 0.9


def test_loss_is_in_scaled_units_and_weighted(images):
    X, y = images
    weight = np.linspace(0.5, 2, N_SAMPLES)
    settings = {"max_epochs": 1, "train_split": None, "batch_size": -1, "lr": 1e-12}
    reg = tiny(**settings).fit(X, 5 + 3 * y, sample_weight=weight)
    mean = np.average(y, axis=0, weights=weight)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(reg.target_mean_, 5 + 3 * mean)
    np.testing.assert_allclose(reg.target_scale_, 3 * scale)
    error = (reg.predict(X) - 5 - 3 * y) / reg.target_scale_
    expected = np.average((error**2).mean(axis=1), weights=weight)
    assert reg.history[-1, "train_loss"] == pytest.approx(expected, rel=1e-5)


def test_zero_weight_removes_a_sample(images):
    X, y = images
    weight = np.ones(N_SAMPLES)
    weight[::4] = 0
    kept = weight > 0
    y = np.where(kept[:, None], y, 1e9)
    expected = tiny().fit(X[kept], y[kept], sample_weight=weight[kept])
    weighted = tiny().fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(weighted.predict(X), expected.predict(X))


def test_callbacks_see_the_users_numbers(images):
    X, y = images
    y = 40 + 1e3 * y[:, 0]
    scoring = EpochScoring(
        "neg_mean_absolute_error", lower_is_better=False, name="error"
    )
    reg = tiny(callbacks=[scoring], max_epochs=3).fit(X, y)
    assert -2e3 < reg.history[0, "error"] < -100
    # Of the epoch that was kept the score is that of the fitted estimator.
    held_out = predefined_split(Dataset(X[:20], y[:20]))
    reg = tiny(callbacks=[scoring], max_epochs=3, train_split=held_out).fit(X, y)
    best = reg.callbacks_[[name for name, _ in reg.callbacks_].index("best_weights")]
    row = best[1].best_epoch_ - 1
    error = np.abs(reg.predict(X[:20]) - y[:20]).mean()
    assert reg.history[row, "error"] == pytest.approx(-error, rel=1e-5)


def test_weights_of_the_lowest_validation_loss_are_kept(images):
    X, y = images
    reg = tiny().fit(X, y)
    losses = reg.history[:, "valid_loss"]
    best = dict(reg.callbacks_)["best_weights"].best_epoch_
    assert losses[best - 1] == min(losses)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(N_SAMPLES, np.nan), "Input y contains NaN"),
        (np.full((N_SAMPLES, 2), np.inf), "Input y contains infinity"),
        (np.full(N_SAMPLES, "spiral"), "dtype <U6.*classifier"),
        (np.full(N_SAMPLES, 1j), "Complex data"),
        (np.zeros(N_SAMPLES - 1), r"inconsistent.*\[120, 119\]"),
        (np.zeros((N_SAMPLES, 2, 2)), "dim 3"),
        (np.zeros((N_SAMPLES, 0)), "0 feature"),
        (None, "requires y"),
    ],
    ids=["nan", "inf", "text", "complex", "rows", "3-D", "empty", "none"],
)
def test_bad_targets(images, y, message):
    reg = tiny()
    with pytest.raises(ValueError, match=message):
        reg.fit(images[0], y)
    assert not hasattr(reg, "module_")


def test_targets_as_frame_list_and_tensor(images):
    X, y = images
    expected = tiny(max_epochs=1).fit(X, y).predict(X)
    for given in (pd.DataFrame(y), y.tolist(), torch.as_tensor(y)):
        np.testing.assert_array_equal(
            tiny(max_epochs=1).fit(X, given).predict(X), expected
        )


def test_partial_fit_and_warm_start_keep_the_scaling(images):
    X, y = images
    reg = tiny(warm_start=True).fit(X, y)
    mean, module = reg.target_mean_, reg.module_
    reg.fit(X, y + 1)
    reg.partial_fit(X, y + 1)
    assert reg.module_ is module
    assert reg.target_mean_ is mean
    assert reg.score(X, y + 1) > 0.9
    with pytest.raises(ValueError, match=r"shape \(\).*shape \(3,\)"):
        reg.partial_fit(X, y[:, 0])
    with pytest.raises(ValueError, match="no classes"):
        reg.partial_fit(X, y, classes=[0, 1])
    reg.set_params(warm_start=False).fit(X, y + 1)
    np.testing.assert_allclose(reg.target_mean_, mean + 1)


def test_failed_fit_keeps_the_fitted_net(images):
    X, y = images
    reg = tiny().fit(X, y)
    before = reg.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        reg.fit(X, np.full(N_SAMPLES, np.nan))
    reg.lr = 1e-3
    reg.optimizer__weight_decai = 0.1
    with pytest.raises(ValueError, match="weight_decai"):
        reg.fit(X[:, :2], y[:, 0])
    np.testing.assert_array_equal(reg.predict(X), before)


def test_scikit_learns_tools(images):
    X, y = images
    reg = tiny(max_epochs=20)
    assert is_regressor(reg)
    assert isinstance(reg, NeuralNetRegressor)
    assert not hasattr(reg, "predict_proba")
    scores = cross_val_score(reg, X, y[:, 0], cv=3)
    assert scores.mean() > 0.8
    search = GridSearchCV(reg, {"module__hidden": [(1,), (16,)]}, cv=3).fit(X, y)
    assert search.best_params_ == {"module__hidden": (16,)}
    copy = clone(search.best_estimator_)
    assert not hasattr(copy, "target_mean_")
    assert copy.fit(X[:, :2], y[:, 0]).predict(X[:, :2]).shape == (N_SAMPLES,)


def test_pickle(images):
    X, y = images
    reg = tiny().fit(X, 1e6 + y)
    loaded = pickle.loads(pickle.dumps(reg))
    np.testing.assert_array_equal(loaded.predict(X), reg.predict(X))


def test_weights_alone_lack_the_scaling(images, tmp_path):
    X, y = images
    reg = tiny().fit(X, y)
    torch.save(reg.module_.state_dict(), tmp_path / "weights.pt")
    sizes = {f"module__{name}": size for name, size in reg.module_sizes_.items()}
    other = tiny(**sizes).initialize()
    other.load_params(f_params=tmp_path / "weights.pt")
    with pytest.raises(NotFittedError, match=r"target_mean_.*save_params"):
        other.predict(X)


def test_saved_weights_bring_the_scaling(images, tmp_path):
    X, y = images
    reg = tiny().fit(X, y)
    reg.save_params(f_params=tmp_path / "weights.pt")
    expected = reg.predict(X)
    other = tiny()
    other.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(other.predict(X), expected)


def test_predictions_are_not_rounded_to_the_format_of_the_training(images, monkeypatch):
    X, y = images
    asked = []

    def short(precision, *sizes):
        asked.append(precision)
        return torch.bfloat16 if precision == "auto" else None

    monkeypatch.setattr("skastro.base._net.resolve_precision", short)
    reg = tiny(max_epochs=1).fit(X, y)
    assert asked
    first = reg.predict(X)
    np.testing.assert_array_equal(reg.set_params(precision="float32").predict(X), first)
    # Numbers of bfloat16 have 16 zeros at their end.
    outputs = reg.forward(X).numpy()
    assert (outputs.view(np.uint32) & 0xFFFF).any(axis=1).all()


def test_unfitted(images):
    with pytest.raises(NotFittedError):
        tiny().predict(images[0])


@pytest.mark.parametrize("wrap", ["skorch", "torch"])
def test_data_sets_are_scaled_too(images, wrap):
    X, y = images
    y = (1e3 + 50 * y).astype(np.float32)
    if wrap == "skorch":
        dataset = Dataset(X, y)
    else:
        dataset = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    reg = tiny(train_split=None).fit(dataset)
    np.testing.assert_allclose(reg.target_mean_, y.mean(axis=0, dtype=float))
    predicted = reg.predict(X)
    assert predicted.dtype == np.float32
    assert r2_score(y, predicted) > 0.9


def test_arrays_on_disk(images, tmp_path):
    h5py = pytest.importorskip("h5py")
    X, y = images
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = X
        reg = tiny().fit(file["images"], y)
        np.testing.assert_allclose(reg.predict(file["images"]), reg.predict(X))
        assert reg.score(X, y) > 0.9
        with pytest.raises(ValueError, match="inconsistent"):
            tiny().fit(file["images"], y[1:])


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e160, 1e308])
def test_targets_whose_squares_are_not_held(size):
    X = np.random.default_rng(0).normal(size=(30, 5))
    y = np.column_stack([X[:, 0], size * (0.5 + 0.1 * np.sin(X[:, 0]))])
    net = BaseRegressor(torch.nn.Linear(5, 2), verbose=0, max_epochs=1)
    with pytest.raises(ValueError, match=r"The targets \[1\] are numbers up to"):
        net.fit(X, y)


@pytest.mark.parametrize("size", [1e-120, 1e120])
def test_targets_of_any_other_size(size):
    X = np.random.default_rng(0).normal(size=(30, 5))
    net = BaseRegressor(torch.nn.Linear(5, 1), verbose=0, max_epochs=1, random_state=0)
    found = net.fit(X, size * X[:, 0]).predict(X)
    one = net.fit(X, X[:, 0]).predict(X)
    np.testing.assert_allclose(found, size * one, rtol=1e-5)
