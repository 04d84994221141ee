# SPDX-License-Identifier: BSD-3-Clause
"""What predict_stream refuses before any work."""

import os

import h5py
import numpy as np
import pytest
import sklearn.pipeline
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skastro.pipeline import Pipeline
from skastro.streaming import predict_stream
from skastro.utils import LazyArray


class Constant(BaseEstimator):
    """Predicts a given array's first row for all rows."""

    def __init__(self, value=None):
        self.value = value

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.repeat(self.value[:1], len(X), axis=0)


@pytest.mark.parametrize("name", ["a.fits", "a", "a.csv.gz", "h5"])
def test_other_endings_are_refused(model, X, name, tmp_path):
    with pytest.raises(ValueError, match=r"\.h5, \.hdf5, \.csv; got"):
        predict_stream(model, X, out=tmp_path / name, verbose=0)


def test_places_that_cannot_be_written(model, X, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        predict_stream(model, X, out=tmp_path / "no" / "a.h5", verbose=0)
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        predict_stream(model, X, out=tmp_path / "folder.h5", verbose=0)


def test_input_is_not_overwritten(model, X, tmp_path):
    out = tmp_path / "catalog.h5"
    with h5py.File(out, "w") as file:
        data = file.create_dataset("X", data=X)
        for rows in (data, LazyArray(data)):
            with pytest.raises(ValueError, match=r"X is read from .*catalog\.h5"):
                predict_stream(model, rows, out=out, verbose=0)
        ids = file.create_dataset("id", data=np.arange(103))
        with pytest.raises(ValueError, match=r"ids is read from .*catalog\.h5"):
            predict_stream(model, X, out=out, ids=ids, verbose=0)
    X.tofile(tmp_path / "X.csv")
    data = np.memmap(tmp_path / "X.csv", np.float32, mode="r", shape=X.shape)
    with pytest.raises(ValueError, match=r"X is read from .*X\.csv"):
        predict_stream(model, data, out=tmp_path / "X.csv", verbose=0)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), NotFittedError, "not fitted"),
        (sklearn.pipeline.make_pipeline(PCA()), NotFittedError, "not fitted"),
        (Pipeline([PCA(), LogisticRegression()]), NotFittedError, "not fitted"),
        (LogisticRegression, TypeError, "is a class, not an instance"),
    ],
)
def test_estimators_that_cannot_predict(X, estimator, error, message, tmp_path):
    with pytest.raises(error, match=message):
        predict_stream(estimator, X, out=tmp_path / "a.h5", verbose=0)
    assert os.listdir(tmp_path) == []


def test_methods_that_are_not_there(X, tmp_path):
    model = KMeans(2, n_init=1).fit(X)
    with pytest.raises(ValueError, match=r"no method predict_proba.* predict, transf"):
        predict_stream(
            model, X, out=tmp_path / "a.h5", method="predict_proba", verbose=0
        )
    with pytest.raises(ValueError, match=r"must be one of 'auto', .*; got 'proba'"):
        predict_stream(model, X, out=tmp_path / "a.h5", method="proba", verbose=0)


@pytest.mark.parametrize(
    "rows", [iter([1, 2]), {"a": 1}, "catalog.h5", np.float32(1), None]
)
def test_what_has_no_rows_is_refused(model, rows, tmp_path):
    with pytest.raises(TypeError, match="must have a length and slices"):
        predict_stream(model, rows, out=tmp_path / "a.h5", verbose=0)


def test_empty_X(model, X, tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        predict_stream(model, X[:0], out=tmp_path / "a.h5", verbose=0)


@pytest.mark.parametrize("chunk_size", [0, -5])
def test_chunks_without_rows(model, X, chunk_size, tmp_path):
    with pytest.raises(ValueError, match=f"chunk_size == {chunk_size}, must be >= 1"):
        predict_stream(model, X, chunk_size, out=tmp_path / "a.h5", verbose=0)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.arange(102), ValueError, r"of shape \(103,\); got shape \(102,\)"),
        (np.ones((103, 2)), ValueError, r"got shape \(103, 2\)"),
        ([None] * 103, ValueError, "ids has missing values in rows 0, 1"),
        (np.zeros(103, "M8[s]"), TypeError, "ids must be numbers or text"),
        (np.array([b"\xff"] * 103), ValueError, "utf-8"),
        ([2**63 + 1, -5] + [0] * 101, TypeError, "holds 9223372036854775809 beside"),
        (np.array([2**60 + 1] + [0.5] * 102, object), TypeError, "would be rounded"),
        ([2**64] * 103, TypeError, "at most 64 bits"),
    ],
)
def test_ids_that_cannot_be_written(model, X, ids, error, message, tmp_path):
    with pytest.raises(error, match=message):
        predict_stream(model, X, out=tmp_path / "a.h5", ids=ids, verbose=0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["text"]), "no classes_ that list all labels"),
        (np.array([None]), "must be numbers or text"),
        (np.array([1j]), "must be numbers or text"),
        (sparse.csr_array(np.eye(2)), "sparse"),
    ],
)
def test_results_that_cannot_be_written(X, value, message, tmp_path):
    model = Constant(value).fit(X)
    if sparse.issparse(value):
        model = OneHotEncoder().fit(X[:, :1].round())
        X = X[:, :1].round()
    with pytest.raises(TypeError, match=message):
        predict_stream(model, X, out=tmp_path / "a.h5", verbose=0)
    assert os.listdir(tmp_path) == []


def test_results_of_another_length(X, tmp_path):
    model = FunctionTransformer(lambda rows: rows[:0], validate=False)
    with pytest.raises(ValueError, match=r"shape \(0, 6\) for 1 rows"):
        predict_stream(model, X, out=tmp_path / "a.h5", verbose=0)
