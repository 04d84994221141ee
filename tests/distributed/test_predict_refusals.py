# SPDX-License-Identifier: BSD-3-Clause
"""What predict refuses before any work, and what it says."""

import os
import sys

import dask.array as da
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zarr
from distributed import Client
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from skastro.datasets import LazyArray, ParquetColumn
from skastro.distributed import predict


@pytest.fixture
def refuse(client, model, tmp_path):
    """Return a function that expects an error, and nothing that is left."""

    def refuse(error, message, X, out="a.h5", estimator=model, **arguments):
        before = sorted(os.listdir(tmp_path))
        out = None if out is None else tmp_path / out
        options = {"out": out, "client": client, "verbose": 0} | arguments
        with pytest.raises(error, match=message):
            predict(estimator, X, **options)
        assert sorted(os.listdir(tmp_path)) == before

    return refuse


def test_places_that_cannot_be_written(refuse, X, tmp_path):
    refuse(ValueError, r"\.csv, \.zarr, \.parquet; got", X, "a.fits")
    refuse(FileNotFoundError, "does not exist", X, "no/a.zarr")
    for name in ("a.h5", "a.zarr", "a.parquet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious.txt").touch()
    refuse(IsADirectoryError, "is a folder", X, "a.h5")
    refuse(FileExistsError, "was not written by skastro", X, "a.zarr")
    refuse(FileExistsError, "was not written by skastro", X, "a.parquet")
    zarr.create_array(tmp_path / "b.zarr", data=X)
    refuse(FileExistsError, "was not written by skastro", X, "b.zarr")
    assert (tmp_path / "a.zarr" / "precious.txt").exists()


def test_input_is_not_overwritten(refuse, X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
        file.flush()
        refuse(ValueError, "X is read from", file["X"], "X.h5")
    refuse(ValueError, "lie in each other", tmp_path / "X.h5", "X.h5")
    zarr.create_array(tmp_path / "survey.zarr", name="X", data=X)
    refuse(ValueError, "lie in each other", tmp_path / "survey.zarr", "survey.zarr")
    refuse(
        ValueError, "lie in each other", tmp_path / "survey.zarr", "survey.zarr/a.h5"
    )


def test_older_result_that_is_read_is_not_overwritten(refuse, older, tmp_path):
    """A result is replaced, but not if it is what the call reads."""
    stores = zarr.open_group(tmp_path / "a.zarr", mode="r")
    values, ids = stores["transform"], stores["id"]
    for array in (values, LazyArray(values), LazyArray(values, rows=[2, 1])):
        refuse(ValueError, "and X, .* lie in each other", array, "a.zarr")
    rows = np.zeros((103, 6))
    refuse(ValueError, "and ids, .* lie in each other", rows, "a.zarr", ids=ids)
    tables = sorted((tmp_path / "a.parquet").glob("*.parquet"))
    refuse(ValueError, "lie in each other", tables, "a.parquet")
    column = ParquetColumn(tables, "x0")
    refuse(ValueError, "lie in each other", column, "a.parquet")
    refuse(ValueError, "lie in each other", [tmp_path / "a.h5"], "a.h5")


@pytest.fixture
def older(client, X, tmp_path):
    """Write results that predict would replace."""
    model = FunctionTransformer(validate=False)
    for ending in ("zarr", "parquet", "h5"):
        out = tmp_path / f"a.{ending}"
        predict(model, X, out=out, ids=np.arange(103), client=client, verbose=0)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), NotFittedError, "not fitted"),
        (LogisticRegression, TypeError, "is a class, not an instance"),
        ("no.skastro", FileNotFoundError, "no such file"),
        (__file__, ValueError, "is no file of save_model"),
        (
            FunctionTransformer(sys._getframe),
            TypeError,
            "sent to the workers, since neither save_model nor pickle can write it",
        ),
    ],
)
def test_estimators_that_cannot_be_sent(refuse, X, estimator, error, message):
    if isinstance(estimator, FunctionTransformer):
        estimator = FunctionTransformer(iter(X), validate=False)
        estimator.frame_ = sys._getframe()
    refuse(error, message, X, estimator=estimator)


def test_methods_that_are_not_there(refuse, X):
    refuse(ValueError, "no method score_samples", X, method="score_samples")
    refuse(ValueError, "must be one of 'auto'", X, method="proba")
    refuse(ValueError, "takes no return_std", X, return_std=True)
    lazy = da.from_array(X, chunks=50)
    refuse(
        ValueError, "no method score_samples", lazy, out=None, method="score_samples"
    )


def test_what_is_no_survey(refuse, X, tmp_path):
    refuse(TypeError, "made of an h5py.Dataset", None)
    refuse(TypeError, "an empty list", [])
    refuse(TypeError, "a list of other things", X.tolist())
    refuse(TypeError, r"must hold numbers; .* X\.tolist", X.astype(str))
    refuse(TypeError, r"X is a generator.*list\(X\)", (str(row) for row in X))
    refuse(FileNotFoundError, r"glob\.glob", tmp_path / "*.fits")
    refuse(ValueError, "no rows", X[:0])
    refuse(FileNotFoundError, "there is no .*survey", tmp_path / "survey")
    (tmp_path / "survey").mkdir()
    refuse(ValueError, "holds no survey files", tmp_path / "survey")
    unknown = da.from_array(X, chunks=50)
    unknown = unknown[unknown[:, 0] > 0]
    refuse(ValueError, "compute_chunk_sizes", unknown)
    refuse(ValueError, "compute_chunk_sizes", unknown, out=None)
    refuse(ValueError, "out=None is for dask arrays", X, out=None)


def test_stores_without_a_clear_array(refuse, X, tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["a"], file["b"] = X, X
    refuse(ValueError, "2 arrays of two or more axes.*: a, b", tmp_path / "X.h5")
    zarr.create_array(tmp_path / "X.zarr", data=X)
    refuse(ValueError, "single array, so leave out", tmp_path / "X.zarr", name="a")


def test_tables_without_a_clear_column(refuse, X, tmp_path):
    lists = pyarrow.array(list(X))
    tables = {
        "none": {"ra": np.arange(103)},
        "two": {"a": lists, "b": lists},
        "empty": {"flux": lists[:0]},
        "null": {"flux": pyarrow.nulls(10, lists.type)},
        "ids": {"flux": lists, "id": pyarrow.array([None, *range(102)])},
    }
    for name, columns in tables.items():
        path = tmp_path / f"{name}.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    refuse(ValueError, "0 columns of lists.*: none", tmp_path / "none.parquet")
    refuse(ValueError, "2 columns of lists.*: a, b", tmp_path / "two.parquet")
    refuse(ValueError, "no rows", tmp_path / "empty.parquet")
    refuse(ValueError, "has no spectra", tmp_path / "null.parquet")
    refuse(ValueError, "id has 1 missing values", tmp_path / "ids.parquet")
    refuse(ValueError, "name of a column", tmp_path / "ids.parquet", ids=range(103))
    both = [tmp_path / "ids.parquet", tmp_path / "none.parquet"]
    refuse(ValueError, "none.parquet has no column 'flux'; it has: ra", both)


def test_damaged_tables(refuse, X, tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"flux": list(X)}), path)
    content = path.read_bytes()
    footer = content[:-300] + b"\xff" * 292 + content[-8:]
    for damaged in (b"", b"nonsense", content[:-100], footer):
        path.write_bytes(damaged)
        refuse(ValueError, "a.parquet is not a readable Parquet file", path)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.arange(102), ValueError, r"of shape \(103,\); got shape \(102,\)"),
        ([None] * 103, ValueError, "ids has missing values in rows 0, 1"),
        ("name", ValueError, "is a name, but X is no store"),
    ],
)
def test_ids_that_do_not_go_with_X(refuse, X, ids, error, message):
    refuse(error, message, X, ids=ids)


def test_arguments_that_do_not_go_with_X(refuse, X, tmp_path):
    refuse(ValueError, "name does not go with X", X, name="flux")
    refuse(ValueError, "read does not go with X", X, read=len)
    refuse(ValueError, "ids does not go with X", ["a.fits"], ids=[1])
    lazy = da.from_array(X, chunks=50)
    refuse(ValueError, "ids does not go with X", lazy, out=None, ids=np.arange(103))
    refuse(ValueError, "read does not go with X", lazy, read=len)
    refuse(ValueError, "partition_size == 0, must be >= 1", X, partition_size=0)
    refuse(TypeError, "must be a distributed.Client", X, client="tcp://10.0.0.1")


def test_closed_client(refuse, client, X):
    with Client(client.scheduler.address, set_as_default=False) as closed:
        pass
    refuse(RuntimeError, "client is closed, not running", X, client=closed)


def test_results_that_do_not_go_into_a_table(refuse, X):
    images = FunctionTransformer(lambda rows: rows.reshape(-1, 2, 3), validate=False)
    for name in ("a.csv", "a.parquet"):
        refuse(ValueError, r"let out end in \.h5", X, name, estimator=images)
    names = FunctionTransformer(
        lambda rows: rows[:, :2],
        validate=False,
        feature_names_out=lambda *_: np.array(["row", "b"], dtype=object),
    ).fit(X)
    refuse(ValueError, "several columns called row", X, "a.parquet", estimator=names)


@pytest.mark.parametrize("package", ["dask", "distributed", "zarr", "pyarrow"])
def test_missing_packages(model, X, package, monkeypatch, tmp_path):
    endings = {"zarr": "zarr", "pyarrow": "parquet"}
    out = tmp_path / f"a.{endings.get(package, 'h5')}"
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=rf"{package}: pip install 'skastro\[scale\]'"
    ):
        predict(model, X, out=out)
