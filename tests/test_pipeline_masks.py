# SPDX-License-Identifier: BSD-3-Clause
"""Masks of X in front of steps that know none."""

import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.utils.masked import Masked
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from skastro import MinMaxSpectra, NoiseAugmenter, Pipeline


@pytest.fixture
def data():
    """Return spectra with masked pixels of 1e6, the same with NaN, and labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 20))
    y = np.repeat(["GALAXY", "STAR"], 30)
    X[y == "STAR", 5:9] += 2
    mask = rng.random(X.shape) < 0.1
    return np.where(mask, 1e6, X), mask, np.where(mask, np.nan, X), y


FORMS = {
    "numpy": lambda X, mask: np.ma.array(X, mask=mask),
    "astropy": Masked,
}
FORMS["list"] = lambda X, mask: [
    np.ma.array(x, mask=m) for x, m in zip(X, mask, strict=True)
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", ["passthrough", StandardScaler()])
def test_masked_values_are_missing(data, form, first):
    X, mask, expected, y = data
    X = FORMS[form](X, mask)
    pipe = Pipeline([first, SimpleImputer(), LogisticRegression()])
    by_nan = clone(pipe).fit(expected, y)
    pipe.fit(X, y)
    for method in (
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    ):
        answer = getattr(by_nan, method)(expected)
        np.testing.assert_array_equal(getattr(pipe, method)(X), answer)
        np.testing.assert_array_equal(getattr(pipe, method)(X=X), answer)
    assert pipe.score(X, y) == by_nan.score(expected, y) > 0.8
    scaler = Pipeline([first, SimpleImputer()])
    answer = scaler.fit_transform(expected)
    np.testing.assert_array_equal(scaler.fit_transform(X), answer)
    np.testing.assert_array_equal(scaler.fit(X).transform(X), answer)
    mixture = Pipeline([SimpleImputer(), GaussianMixture(random_state=0)])
    answer = mixture.fit(expected).score_samples(expected)
    np.testing.assert_array_equal(mixture.fit(X).score_samples(X), answer)


def test_masked_values_reach_no_estimator_that_takes_no_nan(data):
    X, mask, _, y = data
    X = np.ma.array(X, mask=mask)
    pipe = Pipeline([StandardScaler(), LogisticRegression()])
    with pytest.raises(ValueError, match="contains NaN"):
        pipe.fit(X, y)
    pipe.fit(X.data, y)
    with pytest.raises(ValueError, match="contains NaN"):
        pipe.predict(X)


def test_units_are_not_dropped_with_the_mask(data):
    X, mask, _, y = data
    X = Masked(X, mask) * u.Jy
    with pytest.raises(TypeError, match=r"X has the unit Jy.*X\.value"):
        Pipeline([SimpleImputer(), LogisticRegression()]).fit(X, y)
    own = Pipeline([MinMaxSpectra(nan_policy="interpolate"), LogisticRegression()])
    assert own.fit(X, y).score(X, y) > 0.7


def test_methods_are_those_of_the_last_step(data):
    _, _, expected, y = data
    pipe = Pipeline([SimpleImputer(), StandardScaler()])
    assert hasattr(pipe, "transform")
    assert not hasattr(pipe, "predict")
    with pytest.raises(AttributeError, match="predict_proba"):
        Pipeline([SimpleImputer(), StandardScaler()]).predict_proba(expected)
    pipe = pickle.loads(
        pickle.dumps(Pipeline([SimpleImputer(), LogisticRegression()]).fit(expected, y))
    )
    assert pipe.score(expected, y) > 0.8
    assert not hasattr(pipe, "transform")
    masked = np.ma.masked_invalid(expected)
    assert cross_val_score(pipe, masked, y, cv=3).mean() > 0.6


@pytest.mark.parametrize("form", FORMS)
def test_masks_behind_a_sampler(data, form):
    # In predict the step behind the sampler is the first one.
    X, mask, with_nan, y = data
    steps = [NoiseAugmenter(random_state=0), SimpleImputer(), LogisticRegression()]
    pipe = Pipeline(steps).fit(np.nan_to_num(with_nan), y)
    expected = pipe.predict_proba(with_nan)
    np.testing.assert_array_equal(pipe.predict_proba(FORMS[form](X, mask)), expected)
