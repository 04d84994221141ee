# SPDX-License-Identifier: BSD-3-Clause
"""What predict_stream writes, and how the file appears."""

import os

import h5py
import numpy as np
import pytest
import sklearn.pipeline
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skastro.estimators import RejectingClassifier, SpectrumClassifier
from skastro.pipeline import Pipeline
from skastro.preprocessing import StandardizeSpectra
from skastro.streaming import predict_stream


def numbers_of(lines, dtype):
    return np.array([line[1:] for line in lines]).astype(dtype)


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


def test_csv_holds_probabilities_under_the_classes(read_csv, model, X, tmp_path):
    out = predict_stream(model, X, 200, out=tmp_path / "classes.csv", verbose=0)
    header, lines = read_csv(out)
    assert header == ["row", *(f"probability_{name}" for name in model.classes_)]
    assert [line[0] for line in lines] == [str(row) for row in range(103)]
    expected = model.predict_proba(X)
    assert_array_equal(numbers_of(lines, expected.dtype), expected)
    # The fewest digits that give the number back.
    assert lines[0][1] == str(expected[0, 0])
    assert b"\r" not in out.read_bytes()
    assert os.listdir(tmp_path) == ["classes.csv"]


@pytest.mark.parametrize("as_objects", [False, True])
def test_labels_keep_commas_quotes_and_letters_of_any_alphabet(
    read_csv, X, y, as_objects, tmp_path
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


@pytest.mark.parametrize("as_objects", [False, True])
def test_labels_of_rejected_rows(X, y, as_objects, tmp_path):
    """The first row is none of them, and their label is longer than all others."""
    y = y.astype(object) if as_objects else y
    model = RejectingClassifier(
        LogisticRegression(), coverage=0.5, cv=2, reject_label="U" * 20
    )
    model = sklearn.pipeline.make_pipeline(StandardScaler(), model).fit(X, y)
    X = X[np.argsort(-model.predict_proba(X).max(axis=1))]
    expected = model.predict(X)
    assert expected[0] != expected[-1] == "U" * 20
    out = tmp_path / "a.h5"
    predict_stream(model, X, 50, out=out, method="predict", verbose=0)
    with h5py.File(out) as file:
        assert_array_equal(file["predict"].asstr()[:], expected)
        assert_array_equal(file["classes"].asstr()[:], np.unique(y))


def test_transformers_name_their_columns(read_csv, X, tmp_path):
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


def test_columns_without_names_are_numbered(read_csv, X, tmp_path):
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


@pytest.mark.parametrize(
    ("method", "stem"),
    [("decision_function", "decision"), ("predict_log_proba", "log_probability")],
)
def test_other_methods(read_csv, model, X, method, stem, tmp_path):
    out = predict_stream(model, X, out=tmp_path / "a.csv", method=method, verbose=0)
    header, lines = read_csv(out)
    assert header == ["row", *(f"{stem}_{name}" for name in model.classes_)]
    expected = getattr(model, method)(X)
    assert_array_equal(numbers_of(lines, expected.dtype), expected)


def test_images_of_several_dimensions(X, tmp_path):
    model = FunctionTransformer(lambda rows: rows.reshape(-1, 2, 3), validate=False)
    out = predict_stream(model, X, 20, out=tmp_path / "a.h5", verbose=0)
    with h5py.File(out) as file:
        assert_array_equal(file["transform"][:], X.reshape(-1, 2, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) .* end in \.h5"):
        predict_stream(model, X, 20, out=tmp_path / "a.csv", verbose=0)


def test_several_targets(read_csv, X, tmp_path):
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    y = np.array([["a", "b"], ["no", "yes!"]])[[0, 1], y]
    model = RandomForestClassifier(3, random_state=0).fit(X, y)
    out = tmp_path / "a.csv"
    predict_stream(model, X, 20, out=out, method="predict", verbose=0)
    assert_array_equal([line[1:] for line in read_csv(out)[1]], model.predict(X))
    with pytest.raises(TypeError, match="2 arrays instead of one"):
        predict_stream(model, X, 20, out=out, verbose=0)


# Progress, replacement, pipelines ----------------------------------------------------


def test_progress_is_shown_unless_quiet(model, X, tmp_path, capsys):
    predict_stream(model, X, 10, out=tmp_path / "a.h5", verbose=0)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    predict_stream(model, X, 10, out=tmp_path / "a.h5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "predict_proba" in captured.err
    assert "103/103" in captured.err


def test_older_file_is_replaced_and_keeps_its_permissions(read_csv, model, X, tmp_path):
    out = tmp_path / "a.csv"
    out.write_text("older")
    out.chmod(0o600)
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    assert predict_stream(model, X, out=link, verbose=0) == link
    assert link.is_symlink()
    assert len(read_csv(out)[1]) == 103
    assert out.stat().st_mode & 0o777 == 0o600


def test_method_of_pipelines_with_a_network(read_csv, tmp_path):
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
