# SPDX-License-Identifier: BSD-3-Clause
"""Probabilities that can be believed, and samples unlike the training set."""

import gc
import pickle
import weakref
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from tiny_estimators import make_tiny
from torch import nn

from skastro import (
    GalaxyClassifier,
    Pipeline,
    SpectrumClassifier,
    SpectrumRegressor,
    StandardizeSpectra,
)
from skastro.base import fit_temperature
from skastro.base._classifier import rows_of_all_classes
from skastro.networks import MLP

pytestmark = pytest.mark.once

LENGTH = 40


tiny = partial(make_tiny, SpectrumClassifier)


# Of fewer than 20 samples none are set aside.
@pytest.mark.filterwarnings("ignore:The samples are too few:UserWarning")
@parametrize_with_checks([tiny(calibrate=True)])
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blurred():
    """Make three classes of spectra that cannot be told apart for certain."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, LENGTH)).astype(np.float32)
    codes = np.arange(1200) % 3
    for code in range(3):
        X[codes == code, 10 * code : 10 * code + 8] += 0.3
    return X, np.array(["STAR", "GALAXY", "QSO"])[codes]


# The temperature ---------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 4))
    probability = softmax(logits, axis=1)
    codes = (probability.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(logits * temperature, codes) == pytest.approx(
        temperature, rel=0.03
    )


def test_few_samples_give_neither_certainty_nor_much_doubt():
    logits, codes = 5 * np.eye(3)[np.arange(30) % 3], np.arange(30) % 3
    assert 0.7 < fit_temperature(logits, codes) < 1
    codes[0] = 1
    assert 1 < fit_temperature(logits, codes) < 1.5
    codes[::2] = 0
    assert fit_temperature(logits, codes) > 2
    assert fit_temperature(np.full((5, 3), np.nan), np.zeros(5, int)) == 1


def test_probabilities_of_an_overconfident_net_are_mended(blurred):
    X, y = blurred
    settings = {"max_epochs": 15, "augment": None, "train_split": 0.2}
    plain = tiny(**settings).fit(X[:600], y[:600])
    clf = tiny(**settings, calibrate=True).fit(X[:600], y[:600])
    assert plain.temperature_ == 1
    assert clf.temperature_ > 1.5
    np.testing.assert_array_equal(clf.predict(X), plain.predict(X))
    losses = [log_loss(y[600:], net.predict_proba(X[600:])) for net in (plain, clf)]
    assert losses[1] < 0.8 * losses[0]
    logits = np.concatenate([out.numpy() for out in clf.forward_iter(X)])
    expected = softmax(logits / clf.temperature_, axis=1)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-4, atol=1e-7)


def test_fitted_on_the_validation_samples_by_the_best_weights(blurred):
    X, y = blurred[0][:300], blurred[1][:300]
    split = ValidSplit(5, stratified=True)
    clf = tiny(calibrate=True, train_split=split).fit(X, y)
    codes = np.searchsorted(clf.classes_, y)
    _, valid = split(Dataset(X, codes), codes)
    logits = clf.forward(X[valid.indices]).numpy()
    expected = fit_temperature(logits, codes[valid.indices])
    assert clf.temperature_ == pytest.approx(expected, rel=1e-3)


def test_survives_pickles_and_streams(blurred, tmp_path):
    X, y = blurred[0][:200], blurred[1][:200]
    clf = tiny(calibrate=True).fit(X, y)
    expected = clf.predict_proba(X)
    assert clf.temperature_ != 1
    copy = pickle.loads(pickle.dumps(clf))
    assert copy.temperature_ == clf.temperature_
    np.testing.assert_array_equal(copy.predict_proba(X), expected)
    np.testing.assert_array_equal(copy.score_samples(X), clf.score_samples(X))
    for method, values in (
        ("predict_proba", expected),
        ("score_samples", clf.score_samples(X)),
    ):
        out = tmp_path / f"{method}.h5"
        clf.predict_stream(X, 64, out=out, method=method, verbose=0)
        with h5py.File(out) as file:
            np.testing.assert_allclose(file[method][:], values, rtol=1e-5)


def test_training_on_fits_anew(blurred):
    X, y = blurred
    clf = tiny(calibrate=True, warm_start=True, max_epochs=3, augment=None)
    first = clf.fit(X[:300], y[:300]).temperature_
    second = clf.fit(X[:300], y[:300]).temperature_
    third = clf.partial_fit(X[:300], y[:300]).temperature_
    assert len({first, second, third}) == 3
    clf.set_params(calibrate=False).fit(X[:300], y[:300])
    assert clf.temperature_ == 1
    clf.initialize()
    assert not hasattr(clf, "temperature_")
    assert not hasattr(clf, "training_features_")


def test_callbacks_see_no_temperature_of_an_earlier_training(blurred):
    X, y = blurred[0][:300], blurred[1][:300]
    sums = []

    class Watch(Callback):
        def on_epoch_end(self, net, **_):
            logits = torch.cat(list(net.forward_iter(X)))
            expected = torch.softmax(logits, dim=1).numpy()
            sums.append(np.abs(net.predict_proba(X) - expected).max())

    clf = tiny(calibrate=True, warm_start=True, callbacks=[Watch()], max_epochs=2)
    clf.fit(X, y).fit(X, y)
    assert len(sums) == 4
    assert max(sums) < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_split": None}, "train_split=None sets none aside"),
        ({"criterion": nn.NLLLoss}, "criterion=torch.nn.CrossEntropyLoss"),
        ({"predict_nonlinearity": None}, "predict_nonlinearity=None"),
        ({"calibrate": "yes"}, "'calibrate' parameter"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(blurred, settings, message):
    clf = tiny(**({"calibrate": True} | settings))
    with pytest.raises(ValueError, match=message):
        clf.fit(*blurred)
    assert not hasattr(clf, "module_")


def test_too_few_samples_warn(blurred):
    X, y = blurred
    with pytest.warns(UserWarning, match="too few to set some aside"):
        clf = tiny(calibrate=True).fit(X[:18], y[:18])
    assert clf.temperature_ == 1


def test_weights_and_images(blurred):
    X, y = blurred[0][:200], blurred[1][:200]
    weighted = tiny(calibrate=True, class_weight="balanced").fit(X, y)
    assert weighted.temperature_ != 1
    images = GalaxyClassifier(
        module__width=4, max_epochs=2, calibrate=True, verbose=0, random_state=0
    ).fit(X.reshape(-1, 5, 8), y)
    assert images.temperature_ != 1
    assert images.score_samples(X.reshape(-1, 5, 8)).shape == (200,)


def test_nothing_of_the_data_stays_behind(blurred):
    X, y = blurred[0][:100].copy(), blurred[1][:100]
    row = X[7].tobytes()
    states = []

    class Watch(Callback):
        def on_epoch_end(self, net, **_):
            states.append(pickle.dumps(net.__getstate__() | {"callbacks": None}))

        def __reduce__(self):
            return Callback, ()

    clf = tiny(calibrate=True, callbacks=[Watch()], max_epochs=1).fit(X, y)
    # Pickles hold arrays byte by byte.
    assert row in pickle.dumps((clf, X))
    for pickled in (*states, pickle.dumps(clf)):
        assert row not in pickled
    assert len(states) == 1
    gone = weakref.ref(X)
    del X
    gc.collect()
    assert gone() is None


# Likeness ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def distinct():
    """Make three classes with a strong line each."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, LENGTH)).astype(np.float32)
    codes = np.arange(300) % 3
    for code in range(3):
        X[codes == code, 10 * code + 2 : 10 * code + 6] += 8
    return X, codes


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"module": "resnet10", "module__width": 8},
        {"module": "densenet", "module__growth_rate": 4, "module__n_dense_blocks": 1},
    ],
)
def test_noise_is_unlike_the_training_set(distinct, settings):
    X, y = distinct
    pipe = Pipeline([StandardizeSpectra(), tiny(**settings)]).fit(X[:200], y[:200])
    noise = np.random.default_rng(1).normal(size=(100, LENGTH))
    scores = np.concatenate([pipe.score_samples(X[200:]), pipe.score_samples(noise)])
    assert scores.dtype == np.float32
    assert roc_auc_score(np.repeat([1, 0], 100), scores) > 0.95


@pytest.mark.parametrize("cls", [SpectrumClassifier, SpectrumRegressor])
def test_score_is_the_cosine_to_the_third_neighbor(distinct, cls):
    X, y = distinct
    clf = make_tiny(cls, train_split=None, max_epochs=20).fit(X, y)

    def directions(rows):
        with torch.no_grad():
            features = clf.module_.forward_features(clf.module_input(rows))
        return (features / features.norm(dim=1, keepdim=True)).numpy()

    np.testing.assert_allclose(clf.training_features_, directions(X), atol=1e-6)
    unseen = X[:50] + 1
    cosines = directions(unseen) @ directions(X).T
    expected = np.sort(cosines, axis=1)[:, -3]
    np.testing.assert_allclose(clf.score_samples(unseen), expected, atol=1e-5)
    assert clf.score_samples(X).max() <= 1 + 1e-6


class Watched(MLP):
    """A network that counts what passes through it in evaluation mode."""

    def forward_features(self, x):
        """Count."""
        if not self.training:
            vars(self)["n_seen"] = vars(self).get("n_seen", 0) + len(x)
        return super().forward_features(x)


@pytest.mark.parametrize(("n_epochs", "n_kept"), [(1, 15), (6, 90), (20, 300)])
def test_short_trainings_keep_few_samples(distinct, n_epochs, n_kept):
    X, y = distinct
    settings = {"module": Watched, "train_split": None, "normalization": None}
    clf = tiny(max_epochs=n_epochs, **settings).fit(X, y)
    assert clf.training_features_.shape == (n_kept, 128)
    assert clf.module_.n_seen == n_kept
    # All classes alike, and the same rows each time.
    rows = rows_of_all_classes(y, len(X), n_kept)
    assert np.bincount(y[rows]).tolist() == [n_kept // 3] * 3
    assert clf.score_samples(X[rows]).min() > clf.score_samples(-X).max()
    again = tiny(max_epochs=n_epochs, **settings).fit(X, y)
    np.testing.assert_array_equal(again.training_features_, clf.training_features_)


@pytest.mark.parametrize(("n_epochs", "n_kept"), [(1, 50), (6, 90), (20, 300)])
def test_regressors_keep_some_of_all_samples(distinct, n_epochs, n_kept):
    X, y = distinct
    params = {"train_split": None, "lr": 1e-9, "max_epochs": n_epochs}
    reg = make_tiny(SpectrumRegressor, **params).fit(X, y)
    assert reg.training_features_.shape == (n_kept, 128)
    whole = make_tiny(SpectrumRegressor, **params | {"max_epochs": 20}).fit(X, y)
    rows = np.linspace(0, 299, n_kept).astype(int)
    np.testing.assert_allclose(
        reg.training_features_, whole.training_features_[rows], atol=1e-4
    )


def test_epochs_of_one_training_count(distinct):
    X, y = distinct

    class Stop(Callback):
        def on_epoch_end(self, net, **_):
            if len(net.history) % 6 == 0:
                raise KeyboardInterrupt

    clf = tiny(train_split=None, callbacks=[Stop()], max_epochs=20)
    for _ in range(2):
        with pytest.warns(UserWarning, match="interrupted"):
            clf.partial_fit(X, y)
        assert len(clf.training_features_) == 90
    assert len(clf.history) == 12


def test_fewer_training_samples_than_neighbors():
    X, y = np.eye(2, LENGTH, dtype=np.float32), ["a", "b"]
    assert tiny(max_epochs=1).fit(X, y).score_samples(X).shape == (2,)


class Plain(nn.Module):
    """A network that names no features."""

    def __init__(self, n_outputs, input_size):
        super().__init__()
        self.linear = nn.Linear(input_size, n_outputs)

    def forward(self, x):
        """Classify."""
        return self.linear(x.flatten(1))


def test_energy_where_there_are_no_features(distinct):
    X, y = distinct
    clf = tiny(module=Plain, calibrate=True).fit(X, y)
    assert not hasattr(clf, "training_features_")
    expected = torch.cat(list(clf.forward_iter(X))).logsumexp(dim=1)
    np.testing.assert_allclose(clf.score_samples(X), expected, rtol=1e-5)


class Softmax(Plain):
    """The same with probabilities."""

    def forward(self, x):
        """Classify."""
        return super().forward(x).softmax(dim=1)


def test_neither_features_nor_logits(distinct):
    clf = tiny(module=Softmax, criterion=nn.NLLLoss).fit(*distinct)
    with pytest.raises(ValueError, match="Softmax has no features"):
        clf.score_samples(distinct[0])


def test_data_sets_of_the_users_own(distinct):
    X, y = distinct

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, row):
            return X[row], y[row]

    clf = tiny(classes=[0, 1, 2]).fit(Rows(), None)
    np.testing.assert_allclose(
        clf.score_samples(Rows()), clf.score_samples(X), atol=1e-6
    )


def test_rows_show_all_classes_alike():
    codes = np.repeat([2, 0, 1], [7, 300_000, 5000])
    rows = rows_of_all_classes(codes, len(codes), 2048)
    assert len(rows) == 2048
    assert np.bincount(codes[rows]).tolist() == [1021, 1020, 7]
    assert (np.diff(rows) > 0).all()
    assert np.ptp(rows[codes[rows] == 0]) == 299_999
    without = rows_of_all_classes(None, 10_000, 500)
    assert (len(without), without[0], without[-1]) == (500, 0, 9999)
    assert rows_of_all_classes(codes[:2048], 2048, 2048).tolist() == list(range(2048))
