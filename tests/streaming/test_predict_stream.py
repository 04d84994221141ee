# SPDX-License-Identifier: BSD-3-Clause
"""What predict_stream writes, and what it refuses before any work."""

import csv
import os

import h5py
import numpy as np
import pandas as pd
import pytest
import sklearn.pipeline
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skastro.estimators import SpectrumClassifier
from skastro.pipeline import Pipeline
from skastro.preprocessing import StandardizeSpectra
from skastro.streaming import predict_stream
from skastro.utils import LazyArray

LABELS = ["Be, or B[e]", 'say "star"', "Σ-Quasar"]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(103, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def y(X):
    return np.array(LABELS)[X[:, :3].argmax(axis=1)]


@pytest.fixture(scope="module")
def model(X, y):
    return sklearn.pipeline.make_pipeline(StandardScaler(), LogisticRegression()).fit(
        X, y
    )


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    return header, lines


def numbers_of(lines, dtype):
    return np.array([line[1:] for line in lines]).astype(dtype)


class Rows:
    """Rows that can only be had a few at a time."""

    def __init__(self, X, limit):
        self.X, self.limit, self.shape, self.dtype = X, limit, X.shape, X.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert rows.step is None
        assert 0 < rows.stop - rows.start <= self.limit
        assert rows.stop <= len(self.X)
        return self.X[rows]


class Constant(BaseEstimator):
    """Predicts a given array's first row for all rows."""

    def __init__(self, value=None):
        self.value = value

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.repeat(self.value[:1], len(X), axis=0)


def test_hdf5_holds_what_the_method_gives(model, X, tmp_path):
    out = tmp_path / "classes.h5"
    assert predict_stream(model, X, 10, out=out, verbose=0) == out
    with h5py.File(out) as file:
        assert set(file) == {"predict_proba", "classes"}
        assert file["predict_proba"].dtype == model.predict_proba(X).dtype
        assert file["predict_proba"].chunks is not None
        expected = np.vstack(
            [model.predict_proba(X[i : i + 10]) for i in range(0, 103, 10)]
        )
        assert_array_equal(file["predict_proba"][:], expected)
        assert_array_equal(file["classes"].asstr()[:], model.classes_)
        assert file.attrs["method"] == "predict_proba"
        assert file.attrs["estimator"] == "Pipeline"
        assert file.attrs["skastro_version"]
    assert os.listdir(tmp_path) == ["classes.h5"]


def test_csv_holds_probabilities_under_the_classes(model, X, tmp_path):
    out = predict_stream(model, X, 200, out=tmp_path / "classes.csv", verbose=0)
    header, lines = read_csv(out)
    assert header == ["row", *model.classes_]
    assert [line[0] for line in lines] == [str(row) for row in range(103)]
    expected = model.predict_proba(X)
    assert_array_equal(numbers_of(lines, expected.dtype), expected)
    # The fewest digits that give the number back.
    assert lines[0][1] == str(expected[0, 0])
    assert b"\r" not in out.read_bytes()
    assert os.listdir(tmp_path) == ["classes.csv"]


@pytest.mark.parametrize("as_objects", [False, True])
def test_labels_keep_commas_quotes_and_letters_of_any_alphabet(
    X, y, as_objects, tmp_path
):
    y = y.astype(object) if as_objects else y
    model = LogisticRegression().fit(X, y)
    out = predict_stream(
        model, X, 7, out=tmp_path / "a.csv", method="predict", verbose=0
    )
    header, lines = read_csv(out)
    assert header == ["row", "predict"]
    assert_array_equal([line[1] for line in lines], model.predict(X))

    out = predict_stream(
        model, X, 7, out=tmp_path / "a.hdf5", method="predict", verbose=0
    )
    with h5py.File(out) as file:
        assert_array_equal(file["predict"].asstr()[:], model.predict(X))


@pytest.mark.parametrize(
    "labels", [[1, 5, 7], [True, False, True], np.array([3, 1, 2], dtype=object)]
)
def test_labels_that_are_numbers_stay_numbers(X, labels, tmp_path):
    y = np.asarray(labels)[X[:, :3].argmax(axis=1)].tolist()
    model = LogisticRegression().fit(X, y)
    out = tmp_path / "a.h5"
    predict_stream(model, X, 50, out=out, method="predict", verbose=0)
    with h5py.File(out) as file:
        assert file["predict"].dtype == model.classes_.dtype
        assert_array_equal(file["predict"][:], model.predict(X))
        assert_array_equal(file["classes"][:], model.classes_)


def test_transformers_name_their_columns(X, tmp_path):
    model = sklearn.pipeline.make_pipeline(StandardScaler(), PCA(2)).fit(X)
    header, lines = read_csv(
        predict_stream(model, X, 200, out=tmp_path / "a.csv", verbose=0)
    )
    assert header == ["row", "pca0", "pca1"]
    assert_array_equal(numbers_of(lines, np.float32), model.transform(X))
    with h5py.File(
        predict_stream(model, X, 200, out=tmp_path / "a.h5", verbose=0)
    ) as file:
        assert_array_equal(file["feature_names"].asstr()[:], ["pca0", "pca1"])
        assert set(file) == {"transform", "feature_names"}


def test_columns_without_names_are_numbered(X, tmp_path):
    out = tmp_path / "a.csv"
    twice = FunctionTransformer(lambda rows: np.hstack([rows, rows]), validate=False)
    predict_stream(twice, X, 20, out=out, verbose=0)
    assert read_csv(out)[0] == ["row", *(f"x{i}" for i in range(12))]
    two_targets = LinearRegression().fit(X, X[:, :2])
    predict_stream(two_targets, X, 20, out=out, verbose=0)
    assert read_csv(out)[0] == ["row", "predict0", "predict1"]


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (LogisticRegression(), "predict_proba"),
        (LinearSVC(), "predict"),
        (LinearRegression(), "predict"),
        (KMeans(3, n_init=1, random_state=0), "predict"),
        (PCA(2), "transform"),
    ],
)
def test_auto_takes_the_most_telling_result(X, estimator, method, tmp_path):
    estimator.fit(X, np.arange(103) % 3)
    out = predict_stream(estimator, X, out=tmp_path / "a.h5", verbose=0)
    with h5py.File(out) as file:
        assert method in file
        assert_array_equal(file[method][:], getattr(estimator, method)(X))


@pytest.mark.parametrize("method", ["decision_function", "predict_log_proba"])
def test_other_methods(model, X, method, tmp_path):
    out = predict_stream(model, X, out=tmp_path / "a.csv", method=method, verbose=0)
    header, lines = read_csv(out)
    assert header == ["row", *model.classes_]
    expected = getattr(model, method)(X)
    assert_array_equal(numbers_of(lines, expected.dtype), expected)


def test_images_of_several_dimensions(X, tmp_path):
    model = FunctionTransformer(lambda rows: rows.reshape(-1, 2, 3), validate=False)
    out = predict_stream(model, X, 20, out=tmp_path / "a.h5", verbose=0)
    with h5py.File(out) as file:
        assert_array_equal(file["transform"][:], X.reshape(-1, 2, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) .* end in \.h5"):
        predict_stream(model, X, 20, out=tmp_path / "a.csv", verbose=0)


def test_several_targets(X, tmp_path):
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    y = np.array([["a", "b"], ["no", "yes!"]])[[0, 1], y]
    model = RandomForestClassifier(3, random_state=0).fit(X, y)
    out = tmp_path / "a.csv"
    predict_stream(model, X, 20, out=out, method="predict", verbose=0)
    assert_array_equal([line[1:] for line in read_csv(out)[1]], model.predict(X))
    with pytest.raises(TypeError, match="2 arrays instead of one"):
        predict_stream(model, X, 20, out=out, verbose=0)


# Input ------------------------------------------------------------------------------


def test_X_is_read_in_contiguous_chunks_only(model, X, tmp_path):
    out = predict_stream(model, Rows(X, 10), 10, out=tmp_path / "a.h5", verbose=0)
    expected = predict_stream(model, X, 10, out=tmp_path / "b.h5", verbose=0)
    assert out.read_bytes() == expected.read_bytes()


def test_default_chunks_are_of_64_MiB(X, tmp_path):
    wide = np.broadcast_to(np.float32(1), (5, 2**22))
    mean = FunctionTransformer(lambda rows: rows[:, :2], validate=False)
    predict_stream(mean, Rows(wide, 4), out=tmp_path / "a.h5", verbose=0)
    with pytest.raises(AssertionError):
        predict_stream(mean, Rows(wide, 3), out=tmp_path / "b.h5", verbose=0)


@pytest.mark.parametrize("kind", ["memmap", "hdf5", "list", "frame", "sparse", "lazy"])
def test_any_container_of_rows(X, y, kind, tmp_path):
    model = LogisticRegression().fit(X, y)
    expected = predict_stream(model, X, 10, out=tmp_path / "expected.csv", verbose=0)
    if kind == "memmap":
        X.tofile(tmp_path / "X.bin")
        X = np.memmap(tmp_path / "X.bin", np.float32, mode="r", shape=X.shape)
    elif kind == "list":
        X = list(X)
    elif kind == "lazy":
        X = LazyArray(X[::-1], rows=np.arange(len(X))[::-1])
    elif kind == "sparse":
        X = sparse.csr_array(X)
    elif kind == "frame":
        X = pd.DataFrame(X, index=np.arange(len(X))[::-1])
    if kind == "hdf5":
        with h5py.File(tmp_path / "X.h5", "w") as file:
            data = file.create_dataset("X", data=X)
            out = predict_stream(model, data, 10, out=tmp_path / "a.csv", verbose=0)
    else:
        out = predict_stream(model, X, 10, out=tmp_path / "a.csv", verbose=0)
    found, wanted = (
        np.loadtxt(p, delimiter=",", skiprows=1, usecols=(-1, -2))
        for p in (out, expected)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_list_of_paths(tmp_path, X):
    paths = []
    for number, row in enumerate(X[:20]):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], row)
    load = FunctionTransformer(lambda paths: np.stack([np.load(p) for p in paths]))
    out = predict_stream(load, paths, 6, out=tmp_path / "a.h5", verbose=0)
    with h5py.File(out) as file:
        assert_array_equal(file["transform"][:], X[:20])


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(103) * 7,
        [f"Gaia DR3, {number}" for number in range(103)],
        np.array([f"Σ{number}" for number in range(103)], dtype=object),
        np.array([f"SDSS {number}" for number in range(103)], dtype="S9"),
        pd.Series(range(103), index=range(103, 0, -1)).astype(str),
    ],
    ids=["numbers", "list", "objects", "bytes", "series"],
)
def test_ids_come_first(model, X, ids, tmp_path):
    texts = [t.decode() if isinstance(t, bytes) else str(t) for t in list(ids)]
    header, lines = read_csv(
        predict_stream(model, X, 10, out=tmp_path / "a.csv", ids=ids, verbose=0)
    )
    assert header[0] == "id"
    assert [line[0] for line in lines] == texts
    with h5py.File(
        predict_stream(model, X, 10, out=tmp_path / "a.h5", ids=ids, verbose=0)
    ) as file:
        stored = file["id"]
        if h5py.check_string_dtype(stored.dtype):
            stored = stored.asstr()
        assert [str(name) for name in stored[:]] == texts


def test_ids_from_an_hdf5_file(model, X, tmp_path):
    names = [f"object {number}" for number in range(103)]
    with h5py.File(tmp_path / "names.h5", "w") as file:
        stored = file.create_dataset("names", data=names, dtype=h5py.string_dtype())
        out = predict_stream(
            model, X, 10, out=tmp_path / "a.csv", ids=stored, verbose=0
        )
    assert [line[0] for line in read_csv(out)[1]] == names


# Progress, replacement ---------------------------------------------------------------


def test_progress_is_shown_unless_quiet(model, X, tmp_path, capsys):
    predict_stream(model, X, 10, out=tmp_path / "a.h5", verbose=0)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    predict_stream(model, X, 10, out=tmp_path / "a.h5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "predict_proba" in captured.err
    assert "103/103" in captured.err


def test_older_file_is_replaced_and_keeps_its_permissions(model, X, tmp_path):
    out = tmp_path / "a.csv"
    out.write_text("older")
    out.chmod(0o600)
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    assert predict_stream(model, X, out=link, verbose=0) == link
    assert link.is_symlink()
    assert len(read_csv(out)[1]) == 103
    assert out.stat().st_mode & 0o777 == 0o600


# Refusals ----------------------------------------------------------------------------


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
    out = tmp_path / "catalogue.h5"
    with h5py.File(out, "w") as file:
        data = file.create_dataset("X", data=X)
        for rows in (data, LazyArray(data)):
            with pytest.raises(ValueError, match=r"X is read from .*catalogue\.h5"):
                predict_stream(model, rows, out=out, verbose=0)
        ids = file.create_dataset("id", data=np.arange(103))
        with pytest.raises(ValueError, match=r"ids is read from .*catalogue\.h5"):
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
    "rows", [iter([1, 2]), {"a": 1}, "catalogue.h5", np.float32(1), None]
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
        ([None] * 103, TypeError, "ids must be numbers or text"),
        (np.zeros(103, "M8[s]"), TypeError, "ids must be numbers or text"),
        (np.array([b"\xff"] * 103), ValueError, "utf-8"),
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


# Through pipelines -------------------------------------------------------------------


def test_method_of_pipelines_with_a_network(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(10, 1, size=(60, 30)).astype(np.float32)
    y = np.repeat(["star", "quasar"], 30)
    X[y == "quasar", 10:15] += 5
    net = SpectrumClassifier("mlp", max_epochs=1, verbose=0, random_state=0)
    pipe = Pipeline([StandardizeSpectra(), net]).fit(X, y)
    X.tofile(tmp_path / "X.bin")
    data = np.memmap(tmp_path / "X.bin", np.float32, mode="r", shape=X.shape)
    out = pipe.predict_stream(data, 20, out=tmp_path / "a.h5", verbose=0)
    with h5py.File(out) as file:
        np.testing.assert_allclose(
            file["predict_proba"][:], pipe.predict_proba(X), atol=1e-5
        )
        assert_array_equal(file["classes"].asstr()[:], ["quasar", "star"])
        assert file["predict_proba"].dtype == np.float32
    # A network alone is given the map's own read-only rows.
    out = predict_stream(
        net, data, 20, out=tmp_path / "a.csv", method="predict", ids=y, verbose=0
    )
    assert_array_equal([line[1] for line in read_csv(out)[1]], net.predict(X))
