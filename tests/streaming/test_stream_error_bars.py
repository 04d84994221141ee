# SPDX-License-Identifier: BSD-3-Clause
"""Error bars beside predictions, in the file and after an interruption."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.preprocessing import StandardScaler

from skastro import Pipeline, SpectrumRegressor
from skastro.streaming import predict_stream

pytestmark = pytest.mark.once


def targets(X, n_outputs):
    y = X @ np.arange(6 * n_outputs).reshape(6, n_outputs)
    return y if n_outputs > 1 else y[:, 0]


def network(X, n_outputs):
    reg = SpectrumRegressor("mlp", max_epochs=2, verbose=0, random_state=0)
    return Pipeline([StandardScaler(), reg]).fit(X, targets(X, n_outputs))


def by_chunks(model, X, size):
    parts = [model.predict(X[i : i + size], True) for i in range(0, len(X), size)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_predictions_and_error_bars_in_hdf5(X, n_outputs, tmp_path):
    pipe = network(X, n_outputs)
    out = pipe.predict_stream(X, 40, out=tmp_path / "a.h5", return_std=True, verbose=0)
    scaled = pipe[0].transform(X)
    with h5py.File(out) as file:
        assert set(file) == {"predict", "predict_std"}
        for name, part in zip(
            ("predict", "predict_std"), by_chunks(pipe[-1], scaled, 40), strict=True
        ):
            assert file[name].dtype == part.dtype
            assert_array_equal(file[name][:], part)
        assert file.attrs["method"] == "predict"


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_columns_of_a_table(read_csv, X, n_outputs, tmp_path):
    model = GaussianProcessRegressor(random_state=0).fit(X, targets(X, n_outputs))
    out = tmp_path / "a.csv"
    predict_stream(model, X, 40, out=out, return_std=True, verbose=0)
    header, lines = read_csv(out)
    names = ["predict"] if n_outputs == 1 else ["predict0", "predict1"]
    assert header == ["row", *names, *(f"{name}_std" for name in names)]
    expected = np.column_stack(by_chunks(model, X, 40))
    assert_array_equal(np.array(lines)[:, 1:].astype(float), expected)


class Interruptible(BayesianRidge):
    """Stops after some chunks."""

    limit = np.inf

    def predict(self, X, return_std=False):
        if len(X) > 1:
            self.limit -= 1
            if self.limit < 0:
                raise KeyboardInterrupt
        return super().predict(X, return_std)


@pytest.mark.parametrize("name", ["a.h5", "a.csv"])
def test_interrupted_runs_go_on(X, name, tmp_path):
    model = Interruptible().fit(X, X[:, 0])
    out, unbroken = tmp_path / name, tmp_path / f"unbroken-{name}"
    arguments = {"return_std": True, "verbose": 0}
    predict_stream(model, X, 10, out=unbroken, **arguments)
    model.limit = 4
    with pytest.raises(KeyboardInterrupt):
        predict_stream(model, X, 10, out=out, **arguments)
    model.limit = 7
    with pytest.raises(ValueError, match=r"method was 'predict, predict_std' and is"):
        predict_stream(model, X, 10, out=out, verbose=0)
    # Of another model only the error bars differ.
    alpha, model.alpha_ = model.alpha_, model.alpha_ / 2
    with pytest.raises(ValueError, match="the estimator's predict for rows of X"):
        predict_stream(model, X, 10, out=out, **arguments)
    model.alpha_ = alpha
    predict_stream(model, X, 10, out=out, **arguments)
    assert out.read_bytes() == unbroken.read_bytes()


def test_estimators_without_error_bars(model, X, tmp_path):
    out = tmp_path / "a.h5"
    with pytest.raises(ValueError, match=r"LogisticRegression\.predict_proba takes no"):
        predict_stream(model, X, out=out, return_std=True, verbose=0)
    plain = LinearRegression().fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"LinearRegression\.predict takes no return"):
        predict_stream(plain, X, out=out, return_std=True, verbose=0)
    several = BayesianRidge().fit(X, X[:, 0])
    several.predict = lambda X, return_std: (np.zeros((len(X), 2)), np.ones(len(X)))
    with pytest.raises(ValueError, match=r"errors of shape \(1,\), but expected the"):
        predict_stream(several, X, out=out, return_std=True, verbose=0)
