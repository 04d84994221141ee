# SPDX-License-Identifier: BSD-3-Clause
"""What predict_stream reads: rows and ids in any container."""

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from skastro.streaming import predict_stream
from skastro.utils import LazyArray


class Rows:
    """Rows that can only be had a few at a time."""

    def __init__(self, X, limit):
        self.X, self.limit, self.shape, self.dtype = X, limit, X.shape, X.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert rows.step is None
        assert 0 < rows.stop - rows.start <= self.limit, "too many rows at once"
        assert rows.stop <= len(self.X)
        return self.X[rows]


def test_X_is_read_in_contiguous_chunks_only(model, X, tmp_path):
    out = predict_stream(model, Rows(X, 10), 10, out=tmp_path / "a.h5", verbose=0)
    expected = predict_stream(model, X, 10, out=tmp_path / "b.h5", verbose=0)
    assert out.read_bytes() == expected.read_bytes()


def test_default_chunks_are_of_64_MiB(X, tmp_path):
    wide = np.broadcast_to(np.float32(1), (5, 2**22))
    mean = FunctionTransformer(lambda rows: rows[:, :2], validate=False)
    predict_stream(mean, Rows(wide, 4), out=tmp_path / "a.h5", verbose=0)
    with pytest.raises(AssertionError, match="too many rows at once"):
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
def test_ids_come_first(read_csv, model, X, ids, tmp_path):
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


def test_ids_from_an_hdf5_file(read_csv, model, X, tmp_path):
    names = [f"object {number}" for number in range(103)]
    with h5py.File(tmp_path / "names.h5", "w") as file:
        stored = file.create_dataset("names", data=names, dtype=h5py.string_dtype())
        out = predict_stream(
            model, X, 10, out=tmp_path / "a.csv", ids=stored, verbose=0
        )
    assert [line[0] for line in read_csv(out)[1]] == names
