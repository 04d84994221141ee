# SPDX-License-Identifier: BSD-3-Clause
"""What every public estimator, transformer and sampler promises."""

import pickle

import joblib
import numpy as np
import pytest
from imblearn.utils.estimator_checks import (
    parametrize_with_checks as parametrize_with_sampler_checks,
)
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import LEFT_OUT, make_tiny, public_estimators, tiny_estimators

import skastro

ESTIMATORS = tiny_estimators()
SAMPLERS = [estimator for estimator in ESTIMATORS if hasattr(estimator, "fit_resample")]
# imbalanced-learn's checks come from a generator, which pytest no longer likes.
SAMPLER_CHECKS = parametrize_with_sampler_checks(SAMPLERS)
NAMES, CHECKS = SAMPLER_CHECKS.args


def test_every_public_class_is_found():
    classes = {name for name in skastro.__all__ if name[0].isupper()}
    assert {type(estimator).__name__ for estimator in ESTIMATORS} | LEFT_OUT == classes


# On the few numbers of some checks an autoencoder keeps nothing.
@pytest.mark.filterwarnings("ignore:Only . of 3 latent dimensions are active")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize(NAMES, list(CHECKS), **SAMPLER_CHECKS.kwargs)
def test_imbalanced_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_fit_changes_no_parameter_and_a_pickle_keeps_all(estimator):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(40, 12)).astype(np.float32)
    y = np.arange(40) % 2
    X[y == 1, 3:6] += 1
    estimator = clone(estimator)
    before = joblib.hash(estimator.get_params())
    fitted = estimator.fit(X, y)
    assert fitted is estimator
    assert joblib.hash(estimator.get_params()) == before
    loaded = pickle.loads(pickle.dumps(fitted))
    for method in ("predict", "predict_proba", "transform", "fit_resample"):
        if hasattr(fitted, method):
            arguments = (X, y) if method == "fit_resample" else (X,)
            expected = getattr(fitted, method)(*arguments)
            np.testing.assert_equal(getattr(loaded, method)(*arguments), expected)


def test_settings_of_a_class_and_of_another_module():
    (cls,) = [c for c in public_estimators() if c.__name__ == "GalaxyClassifier"]
    params = make_tiny(cls, max_epochs=2).get_params()
    assert params["module__width"] == 4
    assert params["max_epochs"] == 2
    for other in (make_tiny(cls, "mlp"), make_tiny(cls, module="mlp")):
        params = other.get_params()
        assert params["module"] == "mlp"
        assert "module__width" not in params
        assert params["max_epochs"] == 8
