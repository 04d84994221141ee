# SPDX-License-Identifier: BSD-3-Clause
"""Several networks that differ by their seeds."""

from functools import partial

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline as SklearnPipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import (
    EnsembleClassifier,
    EnsembleRegressor,
    Pipeline,
    RebinSpectra,
    RejectingClassifier,
    SpectrumClassifier,
    SpectrumRegressor,
    StandardizeSpectra,
)

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=4, random_state=None)


@parametrize_with_checks(
    [
        EnsembleClassifier(DecisionTreeClassifier(max_features=1), random_state=0),
        EnsembleRegressor(DecisionTreeRegressor(max_features=1), random_state=0),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 30)).astype(np.float32)
    codes = np.arange(90) % 3
    for code in range(3):
        X[codes == code, 10 * code : 10 * code + 6] += 1
    return X, np.array(["STAR", "GALAXY", "QSO"])[codes]


def test_mean_and_spread_of_the_members(spectra):
    X, y = spectra
    clf = EnsembleClassifier(tiny(), 3, random_state=0).fit(X, y)
    members = np.stack([member.predict_proba(X) for member in clf.estimators_])
    assert len({member.random_state for member in clf.estimators_}) == 3
    np.testing.assert_array_equal(clf.predict_proba(X), members.mean(axis=0))
    np.testing.assert_array_equal(clf.predict_std(X), members.std(axis=0))
    assert clf.predict_std(X).max() > 0.01
    np.testing.assert_array_equal(
        clf.predict(X), clf.classes_[members.mean(axis=0).argmax(axis=1)]
    )
    scores = np.stack([member.score_samples(X) for member in clf.estimators_])
    np.testing.assert_array_equal(clf.score_samples(X), scores.mean(axis=0))
    assert clf.classes_.tolist() == ["GALAXY", "QSO", "STAR"]
    assert clf.n_features_in_ == 30


def test_same_seed_same_members(spectra, tmp_path):
    X, y = spectra
    clf = EnsembleClassifier(tiny(), 2, random_state=3).fit(X, y)
    expected = clf.predict_proba(X)
    again = EnsembleClassifier(tiny(), 2, random_state=3).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    other = EnsembleClassifier(tiny(), 2, random_state=4).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), expected)
    joblib.dump(clf, tmp_path / "clf.joblib")
    loaded = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


def test_members_side_by_side(spectra):
    X, y = spectra
    tree = DecisionTreeClassifier(max_features=1)
    alone = EnsembleClassifier(tree, random_state=0).fit(X, y)
    with joblib.parallel_backend("threading"):
        both = EnsembleClassifier(tree, random_state=0, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(both.predict_proba(X), alone.predict_proba(X))


def test_steps_of_a_pipeline_get_seeds(spectra):
    pipe = Pipeline([StandardizeSpectra(), tiny(random_state=5)])
    clf = EnsembleClassifier(pipe, 2).fit(*spectra)
    seeds = {member[-1].random_state for member in clf.estimators_}
    assert len(seeds) == 2
    assert pipe[-1].random_state == 5


def test_agrees_with_soft_voting_over_the_same_seeds(spectra):
    X, y = spectra
    clf = EnsembleClassifier(tiny(), 3, random_state=0).fit(X, y)
    voting = VotingClassifier(
        [
            (f"net{place}", tiny(random_state=member.random_state))
            for place, member in enumerate(clf.estimators_)
        ],
        voting="soft",
    ).fit(X, y)
    np.testing.assert_allclose(
        clf.predict_proba(X), voting.predict_proba(X), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(clf.predict(X), voting.predict(X))


@pytest.mark.parametrize("cls", [EnsembleClassifier, RejectingClassifier])
def test_spectra_on_several_grids(cls):
    grid = np.linspace(4000, 5000, 40)
    flux = np.random.default_rng(0).normal(1, 0.1, size=(30, 40))
    y = np.arange(30) % 2
    spectra = [(grid[i % 3 :], row[i % 3 :]) for i, row in enumerate(flux)]
    rebin = RebinSpectra(new_wavelength=np.linspace(4100, 4900, 20))
    clf = SpectrumClassifier("mlp", max_epochs=1, verbose=0, random_state=0)
    settings = {"n_estimators": 2} if cls is EnsembleClassifier else {"cv": 3}
    meta = cls(Pipeline([rebin, clf]), **settings).fit(spectra, y)
    assert meta.predict_proba(spectra).shape == (30, 2)
    assert meta.predict(spectra).shape == (30,)


def test_parameters_of_fit_are_routed(spectra):
    X, y = spectra
    weight = np.where(y == "QSO", 100.0, 1.0)
    with config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=True)
        clf = EnsembleClassifier(inner, 2).fit(X, y, sample_weight=weight)
    alone = LogisticRegression().fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(clf.predict_proba(X), alone.predict_proba(X))


def test_unfitted_and_bad_parameters(spectra):
    clf = EnsembleClassifier(LogisticRegression(), 0)
    with pytest.raises(NotFittedError):
        clf.predict_std(spectra[0])
    with pytest.raises(ValueError, match="'n_estimators' parameter of Ensemble"):
        clf.fit(*spectra)
    assert not hasattr(clf, "score_samples")
    assert not hasattr(clf, "n_features_in_")


def test_regressors_average_numbers_and_error_bars():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 30)).astype(np.float32)
    y = np.column_stack([X[:, :5].sum(axis=1), 1000 + 50 * X[:, 10:15].sum(axis=1)])
    y[::7, 1] = np.nan
    member = make_tiny(SpectrumRegressor, max_epochs=10, random_state=None)
    reg = EnsembleRegressor(member, 3, random_state=0).fit(X, y)
    both = np.stack([m.predict(X, return_std=True) for m in reg.estimators_])
    found, std = reg.predict(X, return_std=True)
    expected = both[:, 0].mean(axis=0, dtype=np.float64).astype(both.dtype)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(std**2, (both[:, 1] ** 2).mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(reg.predict(X), found)
    disagreement = both[:, 0].std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(reg.predict_std(X), disagreement, rtol=1e-6)
    assert (reg.predict_std(X) > 0).all()
    known = ~np.isnan(y)
    scores = [r2_score(y[k, i], found[k, i]) for i, k in enumerate(known.T)]
    assert reg.score(X, y) == pytest.approx(np.mean(scores))
    assert reg.score(X, y) > max(m.score(X, y) for m in reg.estimators_) - 0.02
    again = EnsembleRegressor(member, 3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), found)
    scores = np.stack([m.score_samples(X) for m in reg.estimators_])
    np.testing.assert_array_equal(reg.score_samples(X), scores.mean(axis=0))


@pytest.mark.once
@pytest.mark.parametrize("size", [1e28, 1e-33])
def test_squares_of_error_bars_beyond_single_precision(size):
    X = np.random.default_rng(0).normal(size=(60, 30)).astype(np.float32)
    y = X[:, 0] * np.float32(size)
    member = make_tiny(SpectrumRegressor, random_state=None, train_split=0.2)
    reg = EnsembleRegressor(member, 2, random_state=0).fit(X, y)
    both = np.stack([m.predict(X, return_std=True) for m in reg.estimators_])
    both = both.astype(np.float64)
    std = reg.predict(X, return_std=True)[1]
    assert std.dtype == np.float32
    rms = np.sqrt(np.square(both[:, 1]).mean(axis=0))
    np.testing.assert_allclose(std, rms, rtol=1e-6)
    np.testing.assert_allclose(reg.predict_std(X), both[:, 0].std(axis=0), rtol=1e-6)


@pytest.mark.once
def test_masked_targets_do_not_reach_members_that_know_no_masks():
    X = np.random.default_rng(0).normal(size=(20, 3))
    y = np.ma.array(X[:, 0].copy(), mask=X[:, 1] > 0)
    y.data[y.mask] = -9999.0
    reg = EnsembleRegressor(DecisionTreeRegressor(criterion="absolute_error"), 2)
    with pytest.raises(ValueError, match="NaN"):
        reg.fit(X, y)


def test_numbers_of_classes_are_not_averaged():
    X = np.random.default_rng(0).normal(size=(20, 3))
    reg = EnsembleRegressor(DecisionTreeClassifier())
    with pytest.raises(ValueError, match="take EnsembleClassifier"):
        reg.fit(X, X[:, 0] > 0)


@pytest.mark.parametrize("cls", [Pipeline, SklearnPipeline])
def test_pipelines_with_routing_ask_for_error_bars(cls):
    X = np.random.default_rng(0).normal(size=(60, 30))
    member = make_tiny(SpectrumRegressor, random_state=None, train_split=0.2)
    reg = EnsembleRegressor(member, 2, random_state=0)
    with config_context(enable_metadata_routing=True):
        pipe = cls([("scale", StandardScaler()), ("reg", reg)]).fit(X, X[:, 0])
        found, std = pipe.predict(X, return_std=True)
    assert found.shape == std.shape == (60,)


def test_regressors_without_error_bars():
    X = np.random.default_rng(0).normal(size=(20, 3))
    reg = EnsembleRegressor(DecisionTreeRegressor(), 2, random_state=0)
    reg.fit(X, X[:, 0])
    with pytest.raises(TypeError, match="return_std"):
        reg.predict(X, return_std=True)
    with pytest.raises(ValueError, match="y has 2 targets, but"):
        reg.score(X, X[:, :2])


class SingleTree(DecisionTreeRegressor):
    """A tree that predicts in single precision."""

    def predict(self, X):
        return super().predict(X).astype(np.float32)


def test_means_of_the_largest_numbers_are_numbers():
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    y = np.linspace(1e38, 3e38, 40, dtype=np.float32)
    reg = EnsembleRegressor(SingleTree(), n_estimators=5).fit(X, y)
    np.testing.assert_allclose(reg.predict(X), y, rtol=1e-6)
    assert reg.predict(X).dtype == np.float32
