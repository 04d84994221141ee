# SPDX-License-Identifier: BSD-3-Clause
"""Strict nets inside scikit-learn's searches and meta-estimators, and pickled."""

import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from tiny_estimators import make_tiny

from skastro import MinMaxSpectra, Pipeline, SpectrumClassifier

pytestmark = pytest.mark.once

N_SAMPLES, LENGTH = 60, 40


tiny = partial(make_tiny, SpectrumClassifier, device="auto")


@pytest.fixture
def spectra():
    """Make spectra of three classes with a bump each, elsewhere noise."""
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.arange(N_SAMPLES) % 3)
    X = rng.normal(size=(N_SAMPLES, LENGTH)).astype(np.float32)
    X += 3 * (np.arange(LENGTH) // 13 == codes[:, None])
    return X, np.array(["GALAXY", "QSO", "STAR"])[codes]


@pytest.mark.parametrize(
    ("shape", "n_jobs"), [((LENGTH,), 2), ((2, LENGTH // 2), None)]
)
def test_model_selection(spectra, shape, n_jobs):
    X, y = spectra
    X = X.reshape(N_SAMPLES, *shape)
    pipe = Pipeline([MinMaxSpectra(), tiny()])
    grid = {
        "spectrumclassifier__module": ["mlp", "resnet10"],
        "spectrumclassifier__lr": [1e-2],
        "minmaxspectra__clip": [False, True],
    }
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    assert search.fit(X, y).best_score_ > 0.8
    inner = GridSearchCV(
        tiny(module="resnet18"), {"module__width": [4, 8]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert (
        inner.best_estimator_.module_.fc.in_features
        == 8 * inner.best_params_["module__width"]
    )
    assert np.mean(cross_val_predict(pipe, X, y, cv=3) == y) > 0.8
    calibrated = CalibratedClassifierCV(pipe, cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.8
    voting = VotingClassifier(
        [("a", pipe), ("b", tiny(random_state=1))], voting="soft"
    ).fit(X, y)
    assert voting.score(X, y) > 0.8
    _, _, scores = learning_curve(pipe, X, y, cv=2, train_sizes=[0.5, 1.0])
    assert scores.shape == (2, 2)


def test_scorers_see_labels(spectra):
    X, y = spectra
    scores = cross_val_score(tiny(), X, y, scoring="roc_auc_ovr", cv=3)
    assert scores.min() > 0.8


def test_pickle_loads_where_torch_was_never_imported(spectra, tmp_path):
    X, y = spectra
    pipe = Pipeline([MinMaxSpectra(), tiny(module="resnet18", module__width=4)])
    pipe.fit(X, y)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", pipe.predict_proba(X))
    script = (
        "import sys, joblib, numpy as np\n"
        "assert 'torch' not in sys.modules\n"
        "pipe = joblib.load('pipe.joblib')\n"
        "import torch; torch.set_num_threads(1)\n"
        "result = pipe.predict_proba(np.load('X.npy'))\n"
        "np.testing.assert_array_equal(result, np.load('expected.npy'))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
