# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's side of the strict net's contract."""

from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.utils import Bunch
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import MinMaxSpectra, Pipeline, SpectrumClassifier

N_SAMPLES, LENGTH = 60, 40


tiny = partial(make_tiny, SpectrumClassifier)


def legacy_state():
    """Copy the state of numpy's global generator."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


@pytest.fixture
def spectra():
    """Make three classes of bumpy spectra, in 2-D, with string labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, LENGTH)).astype(np.float32)
    codes = np.arange(N_SAMPLES) % 3
    for code in range(3):
        X[codes == code, 10 * code : 10 * code + 8] += 3
    return X, np.array(["STAR", "GALAXY", "QSO"])[codes]


@pytest.mark.once
@parametrize_with_checks(
    [
        SpectrumClassifier(
            max_epochs=5, module__width=8, lr=0.01, batch_size=32, verbose=0
        ),
        tiny(class_weight="balanced", sampler="balanced", batch_size=32),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [tiny(module="densenet", module__growth_rate=4, module__n_dense_blocks=1)]
)
def test_sklearn_contract_of_a_deep_network(estimator, check):
    check(estimator)


def test_labels_come_back(spectra):
    X, y = spectra
    clf = tiny().fit(X, y)
    np.testing.assert_array_equal(clf.classes_, ["GALAXY", "QSO", "STAR"])
    assert clf.score(X, y) > 0.9
    assert set(clf.predict(X)) <= set(y)
    probability = clf.predict_proba(X)
    assert probability.dtype == np.float32
    assert probability.shape == (N_SAMPLES, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("labels", [[-7, 40, 1000], [0.0, 1.0, 2.0], list("abc")])
def test_labels_of_any_type(spectra, labels):
    X, y = spectra
    y = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    clf = tiny().fit(X, y)
    assert clf.score(X, y) > 0.9
    assert clf.predict(X).dtype == y.dtype


def test_data_frame_gives_feature_names(spectra):
    X, y = spectra
    frame = pd.DataFrame(X, columns=[f"flux{i}" for i in range(LENGTH)])
    clf = tiny().fit(frame, y)
    assert list(clf.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(clf.predict(frame), tiny().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame.rename(columns={"flux0": "flux_0"}))


def test_big_endian_flux(spectra):
    X, y = spectra
    expected = tiny().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(
        tiny().fit(X.astype(">f4"), y).predict_proba(X.astype(">f8")), expected
    )


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_bad_values_are_counted_and_located(spectra, bad, word):
    X, y = spectra
    broken = X.copy()
    broken[[3, 17], 5] = bad
    with pytest.raises(ValueError, match=rf"contains {word}: 2 .* \(3, 17\)"):
        tiny().fit(broken, y)
    with pytest.raises(ValueError, match="nan_policy"):
        tiny().fit(X, y).predict(broken)


def test_wrong_length_is_named_with_both_lengths(spectra):
    X, y = spectra
    with pytest.raises(ValueError, match=r"39 features.*40 features"):
        tiny().fit(X, y).predict(X[:, 1:])
    cube = X.reshape(N_SAMPLES, 2, LENGTH // 2)
    clf = tiny().fit(cube, y)
    assert clf.sample_shape_ == (2, 20)
    with pytest.raises(ValueError, match=r"\(2, 19\).*\(2, 20\)"):
        clf.predict(cube[:, :, 1:])
    with pytest.raises(ValueError, match=r"\(40,\).*\(2, 20\)"):
        clf.predict(X)
    with pytest.raises(ValueError, match=r"2-D or 3-D X, but got 4-D"):
        tiny().fit(cube[..., None], y)


def test_typos_are_refused_with_a_suggestion(spectra):
    X, y = spectra
    with pytest.raises(TypeError, match=r"'max_epoch'.*did you mean 'max_epochs'"):
        SpectrumClassifier(max_epoch=3)
    with pytest.raises(TypeError, match=r"did you mean 'module__width'"):
        SpectrumClassifier(module_width=3)
    with pytest.raises(TypeError, match=r"did you mean 'optimizer'"):
        SpectrumClassifier(optimiser__weight_decay=0.1)
    with pytest.raises(ValueError, match=r"did you mean 'max_epochs'"):
        tiny().set_params(max_epoch=3)
    with pytest.raises(ValueError, match=r"did you mean 'width'"):
        tiny(module="resnet18", module__widht=8).fit(X, y)
    with pytest.raises(ValueError, match=r"did you mean 'weight_decay'"):
        tiny(optimizer__weight_decai=0.1).fit(X, y)
    with pytest.raises(ValueError, match=r"no callback 'print_lok'"):
        tiny(callbacks__print_lok=None).fit(X, y)
    with pytest.raises(ValueError, match=r"Did you mean 'resnet18'"):
        tiny(module="resnet81").fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1.0),
        ("max_epochs", 1.5),
        ("batch_size", 0),
        ("train_split", 1.5),
        ("schedule", "cosin"),
        ("precision", "float8"),
        ("class_weight", "balance"),
        ("sampler", "weighted"),
    ],
)
def test_bad_values_are_refused_before_any_work(spectra, name, value):
    X, y = spectra
    clf = tiny(**{name: value})
    with pytest.raises(ValueError, match=f"'{name}' parameter of SpectrumClassifier"):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


def test_missing_devices_are_named(spectra):
    with pytest.raises(ValueError, match=r"'gpu' is no device.*device='auto'"):
        tiny(device="gpu").fit(*spectra)
    with pytest.raises(ValueError, match=r"'cuda:99' was asked for.*CUDA devices"):
        tiny(device="cuda:99").fit(*spectra)


def test_failed_fit_keeps_the_fitted_net(spectra):
    X, y = spectra
    clf = tiny().fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.full((N_SAMPLES, 3), np.nan), y)
    with pytest.raises(ValueError, match="one class"):
        clf.fit(X[:, :3], ["STAR"] * N_SAMPLES)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    clf.lr = 1e-3
    clf.optimizer__weight_decai = 0.1
    with pytest.raises(ValueError, match="weight_decai"):
        clf.fit(X[:, :3], y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert len(clf.history) == 8


def test_unfitted():
    with pytest.raises(NotFittedError):
        tiny().predict(np.zeros((2, 3)))


def test_same_seed_same_result_and_global_generators_untouched(spectra):
    X, y = spectra
    torch_state, numpy_state = torch.get_rng_state(), legacy_state()
    params = {"module": "resnet18", "module__width": 4, "module__dropout": 0.5}
    first = tiny(**params).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(tiny(**params).fit(X, y).predict_proba(X), first)
    other = (
        tiny(
            **params,
        )
        .set_params(random_state=1)
        .fit(X, y)
        .predict_proba(X)
    )
    assert not np.array_equal(other, first)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(legacy_state(), numpy_state)


def test_random_state_none_follows_torchs_global_seed(spectra):
    X, y = spectra
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 (the split draws from it)
        results.append(tiny(random_state=None).fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(*results)


def test_clone_of_a_fitted_net_refits_on_another_shape(spectra):
    X, y = spectra
    clf = tiny(module="resnet18", module__width=4).fit(X, y)
    other = clone(clf).fit(X[:, :25].reshape(N_SAMPLES, 5, 5), y == "STAR")
    assert other.module_sizes_ == {"n_channels": 5, "input_size": 5, "n_outputs": 2}
    assert "module__n_channels" not in clf.get_params()


def test_fit_changes_no_parameter(spectra):
    X, y = spectra
    clf = tiny(module__hidden=(7,))
    before = clf.get_params()
    clf.fit(X, y)
    after = clf.get_params()
    assert before.keys() == after.keys()
    assert joblib.hash(before) == joblib.hash(after)


def test_repr_shows_what_differs_from_the_defaults():
    text = repr(SpectrumClassifier(max_epochs=3, module__width=8))
    assert text == "SpectrumClassifier(max_epochs=3, module__width=8)"


def test_zero_weight_removes_a_sample(spectra):
    X, y = spectra
    weight = np.ones(N_SAMPLES)
    weight[::4] = 0
    kept = weight > 0
    expected = tiny().fit(X[kept], y[kept], sample_weight=weight[kept])
    weighted = tiny().fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(weighted.predict_proba(X), expected.predict_proba(X))


def test_weights_reach_the_loss(spectra):
    X, y = spectra
    # Labels are noise, so that only the weights tell what to answer.
    y = np.random.default_rng(1).permutation(y)
    weight = np.where(y == "QSO", 50.0, 1.0)
    quasar = np.flatnonzero(np.unique(y) == "QSO")[0]
    settings = {"train_split": None, "module__hidden": (2,), "max_epochs": 30}
    settings["normalization"] = None

    def mean_probability(clf, **fit_params):
        return clf.fit(X, y, **fit_params).predict_proba(X)[:, quasar].mean()

    plain = mean_probability(tiny(**settings))
    weighted = mean_probability(tiny(**settings), sample_weight=weight)
    by_class = mean_probability(tiny(**settings, class_weight={"QSO": 50.0}))
    assert plain < 0.6
    assert weighted > 0.8
    assert by_class == pytest.approx(weighted, rel=1e-3)


def test_weighted_loss_is_the_weighted_mean(spectra):
    X, y = spectra
    weight = np.linspace(0.5, 2, N_SAMPLES)
    settings = {"max_epochs": 1, "train_split": None, "batch_size": -1}
    clf = tiny(lr=1e-12, augment=None, **settings)
    clf.fit(X, y, sample_weight=weight)
    codes = np.searchsorted(clf.classes_, y)
    log_loss = -np.log(clf.predict_proba(X)[np.arange(N_SAMPLES), codes])
    expected = np.average(log_loss, weights=weight)
    assert clf.history[-1, "train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(N_SAMPLES), "60 negative"),
        (np.zeros(N_SAMPLES), "zero"),
        (np.ones(N_SAMPLES - 1), "inconsistent"),
    ],
)
def test_bad_weights(spectra, weight, message):
    X, y = spectra
    with pytest.raises(ValueError, match=message):
        tiny().fit(X, y, sample_weight=weight)


def test_metadata_routing_hands_weights_on(spectra):
    X, y = spectra
    weight = np.where(y == "QSO", 1.0, 0.0) + np.where(y == "STAR", 1.0, 0.0)
    with config_context(enable_metadata_routing=True):
        clf = tiny().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=False)
        search = GridSearchCV(clf, {"lr": [1e-2]}, cv=2)
        search.fit(X, y, sample_weight=weight)
    # Without a single galaxy in the loss its class keeps a low probability.
    galaxy = search.predict_proba(X)[:, list(search.classes_).index("GALAXY")]
    stars = y == "STAR"
    assert galaxy[stars].mean() < 0.2


def test_balanced_sampler_draws_classes_evenly():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [190, 10])
    X = rng.normal(size=(200, 5)).astype(np.float32)
    # The labels cannot be learned, so that the mean probability shows what was drawn.
    settings = {"train_split": None, "module__hidden": (1,), "lr": 0.1}
    plain = tiny(**settings).fit(X, y).predict_proba(X)[:, 1].mean()
    balanced = tiny(**settings, sampler="balanced").fit(X, y)
    assert plain < 0.15
    assert 0.35 < balanced.predict_proba(X)[:, 1].mean() < 0.65


def test_warm_start_and_partial_fit_train_on(spectra):
    X, y = spectra
    clf = tiny(warm_start=True, max_epochs=2).fit(X, y)
    module = clf.module_
    clf.fit(X, y)
    assert clf.module_ is module
    assert len(clf.history) == 4
    clf = tiny(max_epochs=2).partial_fit(X[:20], y[:20], classes=np.unique(y))
    module = clf.module_
    clf.partial_fit(X[20:], y[20:])
    assert clf.module_ is module
    assert len(clf.history) == 4
    with pytest.raises(ValueError, match="'NOVA'"):
        clf.partial_fit(X[:2], ["STAR", "NOVA"])
    with pytest.raises(ValueError, match="features"):
        clf.partial_fit(X[:, 1:], y)
    clf.fit(X, y)
    assert len(clf.history) == 2


def test_one_class_is_refused(spectra):
    X, _ = spectra
    with pytest.raises(ValueError, match="only one class: 'STAR'"):
        tiny().fit(X, ["STAR"] * N_SAMPLES)


def test_completion_offers_what_users_call():
    names = {name for name in dir(tiny()) if not name.startswith("_")}
    assert {"fit", "predict_proba", "score", "save_params", "history"} <= names
    assert {"max_epochs", "wavelength"} <= names
    hooks = {"on_batch_end", "train_step", "get_loss", "initialize_module"}
    assert not names & hooks
    assert all(hasattr(SpectrumClassifier, name) for name in hooks)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("spectra.fits", "Read the files first: .*read_spectra"),
        (Path("survey.h5"), "Read the files first"),
        (Bunch(flux=np.ones((60, 40)), target=0), r"a Bunch, .* Give .*: X\.flux\."),
        (Bunch(images=np.ones((60, 4, 4))), r"Give one of its arrays: X\.images\."),
    ],
)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_what_is_not_read_yet_or_all_that_was_read(spectra, given, message, is_fitted):
    X, y = spectra
    for estimator in (tiny(), Pipeline([MinMaxSpectra(), tiny()])):
        estimator = estimator.fit(X, y) if is_fitted else estimator
        with pytest.raises(TypeError, match=message):
            estimator.predict(given) if is_fitted else estimator.fit(given, y)
