# SPDX-License-Identifier: BSD-3-Clause
"""Columns of Parquet tables that are larger than memory."""

import builtins
import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from tiny_estimators import make_tiny

from skastro import SpectrumClassifier
from skastro.datasets import LazyArray, ParquetColumn
from skastro.training._stream import stream_batches

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
FLUX = RNG.normal(size=(90, 24)).astype(np.float32)
Y = np.arange(90) % 3
FLUX[Y == 1, :8] += 3


def as_lists(flux, kind):
    values = pa.array(flux.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, flux.shape[1])
    offsets = np.arange(len(flux) + 1) * flux.shape[1]
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(offsets), values)
    return pa.ListArray.from_arrays(pa.array(offsets.astype("int32")), values)


def write(folder, flux=FLUX, kind="list", n_files=3, row_group_size=8):
    """Write a table as a HATS catalog does: files in folders, beside other files."""
    paths = []
    parts = np.array_split(np.arange(len(flux)), n_files)
    for i, rows in enumerate(parts):
        path = folder / "dataset" / f"Norder={i}" / "Dir=0" / f"Npix={i}.parquet"
        path.parent.mkdir(parents=True)
        table = {"id": rows, "class": Y[rows], "name": list(map(str, rows))}
        table["flux"] = as_lists(flux[rows], kind)
        pq.write_table(pa.table(table), path, row_group_size=row_group_size)
        paths.append(path)
    (folder / "hats.properties").write_text("obs_collection=test")
    (folder / "dataset" / "_metadata").write_bytes(b"metadata")
    return paths


@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_values(tmp_path, kind):
    paths = write(tmp_path, kind=kind)
    for path in (tmp_path, paths, str(tmp_path)):
        X = ParquetColumn(path, "flux")
        assert (X.shape, X.dtype) == (FLUX.shape, FLUX.dtype)
        np.testing.assert_array_equal(X[:], FLUX)
    np.testing.assert_array_equal(X[27:33], FLUX[27:33])
    rows = RNG.permutation(90)[:40]
    np.testing.assert_array_equal(X[rows][:], FLUX[rows])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(X))[:], FLUX)
    assert len(pickle.dumps(X)) < FLUX.nbytes / 2
    np.testing.assert_array_equal(ParquetColumn(paths[0], "class")[:], Y[:30])
    names = pytest.importorskip("pyarrow.dataset").dataset(X.files)
    assert names.to_table(["name"])["name"].to_pylist() == list(map(str, range(90)))


def test_missing_numbers_are_nan(tmp_path):
    table = pa.table(
        {
            "flux": pa.array([[1, 2], None, [None, 4]], pa.list_(pa.float32())),
            "z": pa.array([0.1, None, 0.3]),
            "n": pa.array([1, None, 3]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    X = ParquetColumn(tmp_path, "flux")
    np.testing.assert_array_equal(X[:], [[1, 2], [np.nan, np.nan], [np.nan, 4]])
    z = ParquetColumn(tmp_path, "z")
    np.testing.assert_array_equal(z[:], [0.1, np.nan, 0.3])
    with pytest.raises(ValueError, match=r"'n' of whole numbers has missing.*a\.parq"):
        ParquetColumn(tmp_path, "n")[:]


def test_shuffled_batches_hold_each_row_once(tmp_path):
    write(tmp_path)
    X = ParquetColumn(tmp_path, "flux")
    _, stream = stream_batches(X, None, 7, shuffle=True, buffer_bytes=2000)
    batches = list(stream)
    positions = np.concatenate([p.numpy() for p, _ in batches])
    assert sorted(positions) == list(range(90))
    assert (np.diff(positions) != 1).mean() > 0.5
    for p, flux in batches:
        np.testing.assert_array_equal(flux.numpy(), FLUX[p.numpy()])


def test_training_equals_that_from_memory(tmp_path):
    write(tmp_path)
    X = ParquetColumn(tmp_path, "flux")
    y = ParquetColumn(tmp_path, "class")[:]
    net = make_tiny(SpectrumClassifier, max_epochs=3)
    # The same streams, from memory.
    expected = net.fit(LazyArray(FLUX), Y).predict_proba(FLUX)
    np.testing.assert_allclose(net.fit(X, y).predict_proba(X), expected, rtol=1e-5)
    scores = [cross_val_score(net, data, Y, cv=2) for data in (X, LazyArray(FLUX))]
    np.testing.assert_array_equal(*scores)


def test_memory_is_bounded(tmp_path):
    flux = np.zeros((3000, 1000), np.float32)
    for i in range(3):
        pq.write_table(
            pa.table({"flux": as_lists(flux[:1000] + i, "fixed")}),
            tmp_path / f"{i}.parquet",
            row_group_size=50,
        )
    X = ParquetColumn(tmp_path, "flux")
    tracemalloc.start()
    total = 0.0
    _, batches = stream_batches(X, None, 10, shuffle=True, buffer_bytes=2**20)
    for _, batch in batches:
        total += batch.sum().item()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 3e6
    assert peak < flux.nbytes / 2


def test_other_columns_and_files_are_refused(tmp_path):
    path, *_ = write(tmp_path)
    with pytest.raises(ValueError, match="has no column 'spectrum'; it has: id, class"):
        ParquetColumn(tmp_path, "spectrum")
    with pytest.raises(TypeError, match=r"must hold numbers or lists.* holds string"):
        ParquetColumn(tmp_path, "name")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        ParquetColumn(tmp_path / "none", "flux")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no Parquet files"):
        ParquetColumn(tmp_path / "empty", "flux")
    pq.write_table(pa.table({"flux": [[1.0, 2.0], None, [1.0]]}), path)
    ragged = ParquetColumn(path, "flux")
    with pytest.raises(ValueError, match=r"Row 2 .* list of 1 numbers.* first .* 2"):
        ragged[:]
    with pytest.raises(ValueError, match=r"holds list<.*float> in .* but list<.*doub"):
        ParquetColumn(tmp_path, "flux")
    pq.write_table(pa.table({"flux": pa.array([None], pa.list_(pa.int32()))}), path)
    with pytest.raises(ValueError, match="has no lists"):
        ParquetColumn(path, "flux")


def test_damaged_files_are_named(tmp_path):
    path, *_ = write(tmp_path)
    content = path.read_bytes()
    X = ParquetColumn(tmp_path, "flux")
    path.write_bytes(content[:4] + b"\xff" * 2000 + content[2004:])
    with pytest.raises(ValueError, match=r"Npix=0\.parquet is not a readable Parquet"):
        X[:]
    np.testing.assert_array_equal(X[30:60], FLUX[30:60])
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"Npix=0\.parquet is not a readable Parquet"):
        ParquetColumn(tmp_path, "flux")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Npix=0\.parquet"):
        X[:]


def test_pyarrow_is_asked_for(tmp_path, monkeypatch):
    write(tmp_path)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'skastro\[scale\]'"):
        ParquetColumn(tmp_path, "flux")
