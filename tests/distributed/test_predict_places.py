# SPDX-License-Identifier: BSD-3-Clause
"""Workers that see another file system, or another folder, than the client."""

import os
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zarr
from numpy.testing import assert_array_equal
from sklearn.preprocessing import FunctionTransformer

from skastro.distributed import predict


@pytest.fixture(
    params=["zarr", "zarr path", "hdf5", "hdf5 path", "memmap", "files", "parquet"]
)
def survey(request, X, tmp_path, monkeypatch):
    """Return a survey in a folder, by a relative path, and the reader of its files."""
    monkeypatch.chdir(tmp_path)
    folder = Path("survey")
    folder.mkdir()
    kind, _, by_path = request.param.partition(" ")
    if kind == "zarr":
        path = folder / "X.zarr"
        array = zarr.create_array(path, data=X, chunks=(7, 6))
        yield (path if by_path else array), None
    elif kind == "hdf5":
        with h5py.File(folder / "X.h5", "w") as file:
            file["X"] = X
        with h5py.File(folder / "X.h5") as file:
            yield (folder / "X.h5" if by_path else file["X"]), None
    elif kind == "memmap":
        X.tofile(folder / "X.bin")
        yield np.memmap(folder / "X.bin", np.float32, mode="r", shape=X.shape), None
    elif kind == "parquet":
        for number, rows in enumerate(np.array_split(X, 11)):
            table = pyarrow.table({"flux": list(rows)})
            pyarrow.parquet.write_table(table, folder / f"{number:02}.parquet")
        yield folder, None
    else:
        for number, row in enumerate(X):
            np.save(folder / f"{number:03}.npy", row)
        yield [folder / f"{number:03}.npy" for number in range(len(X))], read_all


def read_all(paths):
    return np.array([np.load(path) for path in paths])


def once(change):
    """Return an estimator that changes something when it has the first partition."""
    done = []

    def function(rows):
        if len(rows) > 1 and not done:
            done.append(True)
            change()
        return rows

    return FunctionTransformer(function, validate=False)


@pytest.fixture
def run(client, tmp_path):
    def run(change, survey):
        X, read = survey
        options = {"client": client, "partition_size": 10, "verbose": 0}
        out = tmp_path / "a.h5"
        predict(once(change), X, out=out, read=read, **options)
        with h5py.File(out) as file:
            return file["transform"][:]

    return run


def test_workers_in_another_folder(run, X, survey, tmp_path):
    (tmp_path / "other").mkdir()
    assert_array_equal(run(lambda: os.chdir(tmp_path / "other"), survey), X)


def test_folders_above_links(run, X, tmp_path, monkeypatch):
    """The folder above a link is that of its target."""
    monkeypatch.chdir(tmp_path)
    for folder, rows in (("far/deep", X), ("near", -X)):
        os.makedirs(folder)
        for number, row in enumerate(rows):
            np.save(Path(folder) / ".." / f"{number:03}.npy", row)
    Path("link").symlink_to("far/deep")
    paths = [f"link/../{number:03}.npy" for number in range(len(X))]
    assert_array_equal(run(lambda: None, (paths, read_all)), X)


def test_workers_that_do_not_see_the_survey(run, survey, tmp_path):
    """They neither predict zeros nor make rows of failures."""
    folder = tmp_path / "survey"
    with pytest.raises(RuntimeError, match=r"The worker on .* does not find .*survey"):
        run(lambda: folder.rename(tmp_path / "moved"), survey)
