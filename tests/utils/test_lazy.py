# SPDX-License-Identifier: BSD-3-Clause
"""Arrays on disk, of which rows are read when they are asked for."""

import pickle
import subprocess
import sys
from tempfile import TemporaryFile

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import indexable

from skastro.utils import LazyArray, as_lazy, is_lazy

N_ROWS = 50


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 2**16, (N_ROWS, 3, 5), dtype="u2")


SOURCES = ["ndarray", "big-endian", "memmap", "hdf5", "hdf5 big-endian", "chunked"]
SOURCES += ["gzip", "zarr", "dask"]


@pytest.fixture(params=SOURCES)
def source(request, array, tmp_path):
    """Return the same array in every form in which it can be on disk."""
    kind = request.param
    if kind == "ndarray":
        yield array
    elif kind == "big-endian":
        yield array.astype(">u2")
    elif kind == "memmap":
        path = tmp_path / "array.npy"
        np.save(path, array)
        yield np.load(path, mmap_mode="r")
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        stored = zarr.create_array(
            tmp_path / "array.zarr", shape=array.shape, chunks=(8, 3, 2), dtype="u2"
        )
        stored[:] = array
        yield stored
    elif kind == "dask":
        yield pytest.importorskip("dask.array").from_array(array, chunks=(7, 3, 5))
    else:
        options = {
            "hdf5": {},
            "hdf5 big-endian": {"dtype": ">u2"},
            "chunked": {"chunks": (8, 3, 5)},
            "gzip": {"chunks": (6, 2, 5), "compression": "gzip"},
        }
        with h5py.File(tmp_path / "array.h5", "w") as file:
            yield file.create_dataset("images", data=array, **options[kind])


class CountedReads:
    """A source that writes down which rows it is asked for."""

    def __init__(self, array, chunks=None):
        self.array, self.chunks, self.reads = array, chunks, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert rows.step is None
        self.reads.append((rows.start, rows.stop))
        return self.array[rows]


def test_attributes(source, array):
    X = LazyArray(source)
    assert X.shape == array.shape
    assert X.dtype == array.dtype
    assert X.dtype.isnative
    assert X.ndim == 3
    assert X.nbytes == array.nbytes
    assert len(X) == N_ROWS


KEYS = [3, -1, np.int64(7), slice(None), slice(4, 9), slice(-3, None), slice(9, 4)]
KEYS += [slice(None, None, 7), slice(40, 2, -3), ..., (slice(2, 5), ...), (4, ...)]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_integers_and_slices_read(source, array, key):
    values = LazyArray(source)[key]
    assert isinstance(values, np.ndarray)
    assert values.dtype.isnative
    np.testing.assert_array_equal(values, array[key])


ROWS = {
    "empty list": [],
    "list": [4, 4, -1, 0],
    "permutation": np.random.default_rng(1).permutation(N_ROWS),
    "with repeats": np.random.default_rng(2).integers(0, N_ROWS, 200),
    "ascending": np.arange(3, N_ROWS, 9),
    "unsigned": np.array([7, 3], dtype="u1"),
    "mask": np.arange(N_ROWS) % 3 == 0,
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_rows_give_a_view_that_reads_the_same(source, array, rows):
    expected = array[np.asarray(rows, dtype=None if len(rows) else int)]
    for view in LazyArray(source)[rows], LazyArray(source, rows):
        assert isinstance(view, LazyArray)
        assert view.shape == expected.shape
        np.testing.assert_array_equal(view[:], expected)
        np.testing.assert_array_equal(np.asarray(view), expected)


def test_view_of_a_view(source, array):
    rows = np.random.default_rng(3).permutation(N_ROWS)[:30]
    view = LazyArray(LazyArray(source)[rows])[10:][::-1]
    np.testing.assert_array_equal(view, array[rows][10:][::-1])
    view = LazyArray(source)[rows][np.arange(30) % 2 == 1][[3, -1]]
    np.testing.assert_array_equal(view[:], array[rows][1::2][[3, -1]])
    assert view.source is source


@pytest.mark.parametrize("name", ["array", "view"])
def test_read_rows_into_an_array(source, array, name):
    X, expected = LazyArray(source), array
    if name == "view":
        X, expected = X[::-1], array[::-1]
        X = LazyArray(source, np.arange(N_ROWS)[::-1])
    rows = np.array([49, 3, 3, -50, 12])
    out = np.empty((5, 3, 5), "u2")
    assert X.read_rows(rows, out) is out
    np.testing.assert_array_equal(out, expected[rows])


@pytest.mark.parametrize(
    "dtype", ["?", "i1", ">i4", ">f4", "f8", ">f8", ">c8", "f2", "u8"]
)
@pytest.mark.parametrize("shape", [(6,), (6, 0), (6, 2), (0, 4), (6, 1, 2, 3)])
def test_dtypes_and_shapes_in_hdf5(tmp_path, dtype, shape):
    array = np.random.default_rng(0).normal(0, 99, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        X = LazyArray(file.create_dataset("a", data=array))
        assert X.dtype == array.dtype.newbyteorder("=")
        for values in X[:], X[np.arange(shape[0])[::-1]][::-1], X.read_rows([]):
            assert values.dtype == X.dtype
            np.testing.assert_array_equal(values, array[: len(values)])


def test_conversion_to_an_array(array):
    X = LazyArray(array)
    assert np.asarray(X, dtype="f4").dtype == "f4"
    with pytest.raises(ValueError, match="leave out copy=False"):
        X.__array__(copy=False)


def test_iteration_ends(array):
    assert len(list(LazyArray(array))) == N_ROWS


def test_repr(array):
    text = "LazyArray(ndarray, shape=(50, 3, 5), dtype=uint16)"
    assert repr(LazyArray(array)) == text


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (50, "Row 50 is not in an array of 50 rows"),
        (-51, "Row -51 is not in an array of 50 rows"),
        ([0, 99], "Row 99 is not in"),
        (np.ones(49, dtype=bool), "mask of 49 rows does not fit an array of 50"),
        ([0.5], "1-D float64"),
        (True, "0-D bool"),
        (None, "0-D object"),
        ([[0, 1]], "2-D int64"),
        ("flux", "0-D <U4"),
        ((slice(3), 0), "by rows only"),
    ],
)
def test_bad_keys(array, key, message):
    with pytest.raises(IndexError, match=message):
        LazyArray(array)[key]
    with pytest.raises(IndexError, match=message):
        LazyArray(array, np.arange(N_ROWS))[key]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([[1.0]], TypeError, "got list, which has no shape and no dtype"),
        (np.array(["a"]), TypeError, "holds numbers, but got an array of dtype <U1"),
        (np.array(1.0), ValueError, r"shape \(\)"),
    ],
)
def test_bad_sources(source, error, message):
    with pytest.raises(error, match=message):
        LazyArray(source)


def test_dask_array_of_unknown_length():
    da = pytest.importorskip("dask.array")
    X = da.arange(9)
    with pytest.raises(ValueError, match="known number of rows"):
        LazyArray(X[X > 3])


def test_closed_file(tmp_path, array):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=array)
        X = LazyArray(dataset)
    with pytest.raises(ValueError, match="HDF5 file of a lazy array is closed"):
        X[:3]
    with pytest.raises(ValueError, match="HDF5 file of a lazy array is closed"):
        LazyArray(dataset)
    with pytest.raises(pickle.PicklingError, match="is closed"):
        pickle.dumps(X)


def test_neighbors_are_read_by_one_call():
    source = CountedReads(np.zeros((10**5, 1000), "u1"))
    X = LazyArray(source)
    # A block is 8 MiB, 8388 rows; a gap of up to 262 rows is read along.
    rows = np.array([500, 10, 10, 700, 8000, 8387, 8388])
    X.read_rows(rows)
    spans = [(10, 11), (500, 701), (8000, 8001), (8387, 8388), (8388, 8389)]
    assert source.reads == spans


def test_reads_keep_to_a_block():
    source = CountedReads(np.zeros((40_000, 1000), "u1"))
    out = LazyArray(source)[:]
    assert len(out) == 40_000
    assert max(stop - start for start, stop in source.reads) == 8388
    assert [start for start, _ in source.reads] == list(range(0, 40_000, 8388))


def test_more_repeats_than_rows_in_a_block(array):
    array = np.repeat(array, 2000, axis=2)
    rows = np.random.default_rng(0).integers(0, N_ROWS, 300)
    X = LazyArray(array, rows)
    np.testing.assert_array_equal(X[:], array[rows])


def test_chunks_are_read_whole():
    source = CountedReads(np.zeros((1000, 10), "u1"), chunks=(300, 4))
    LazyArray(source).read_rows([0, 299, 700, 900])
    # 300 to 600 lie between and cost one chunk; a call for each would cost more.
    assert source.reads == [(0, 901)]
    big = CountedReads(np.zeros((100_000, 1000), "u1"), chunks=(5000, 4))
    LazyArray(big).read_rows([0, 4999, 20_000, 24_999, 30_000])
    assert big.reads == [(0, 5000), (20000, 25000), (30000, 30001)]


@pytest.mark.parametrize(
    ("chunks", "max_bytes", "block"),
    [
        (None, 1000, 100),
        (None, 1, 1),
        ((64, 10), 1000, 64),
        ((30, 5), 1000, 90),
        ((300, 10), 1000, 300),
        (((40, 40, 20), (10,)), 1000, 80),
    ],
)
def test_blocks(chunks, max_bytes, block):
    X = LazyArray(CountedReads(np.zeros((1000, 10), "u1"), chunks))
    blocks = X.blocks(max_bytes)
    assert X.block_rows(max_bytes) == block
    assert [rows.start for rows in blocks] == list(range(0, 1000, block))
    assert [rows.stop for rows in blocks][:-1] == [rows.start for rows in blocks][1:]
    assert blocks[-1].stop == 1000


def test_chunks_that_are_too_large_are_cut():
    X = LazyArray(CountedReads(np.zeros((10**5, 1000), "u1"), chunks=(10**5, 1)))
    assert X.block_rows() == 8388


def test_blocks_of_no_rows():
    assert LazyArray(np.zeros((0, 3))).blocks() == []
    assert LazyArray(np.zeros((4, 0))).blocks() == [slice(0, 4)]


# Pickling


def test_pickled_hdf5_is_opened_again(tmp_path, array, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        X = LazyArray(file.create_dataset("group/a", data=array))[[5, 2, 9]]
        file.flush()
        text = pickle.dumps(X)
    monkeypatch.undo()
    assert len(text) < 1000
    again = pickle.loads(text)
    np.testing.assert_array_equal(again[:], array[[5, 2, 9]])
    assert again.source.file.mode == "r"


def test_pickled_hdf5_is_read_in_another_process(tmp_path, array):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = array
    with h5py.File(tmp_path / "a.h5") as file:
        (tmp_path / "X.pkl").write_bytes(pickle.dumps(LazyArray(file["a"])))
        code = (
            "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))[:].sum())"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "X.pkl")],
            capture_output=True,
            text=True,
            check=True,
        )
    assert int(run.stdout) == array.sum()


def test_hdf5_in_memory_cannot_be_pickled(array):
    with h5py.File("none.h5", "w", driver="core", backing_store=False) as file:
        X = LazyArray(file.create_dataset("a", data=array))
        np.testing.assert_array_equal(X[:], array)
        with pytest.raises(pickle.PicklingError, match="write them to a file on disk"):
            pickle.dumps(X)


@pytest.mark.parametrize("n_skipped", [0, 3])
@pytest.mark.parametrize("offset", [0, 7, 5000])
def test_pickled_memmap_is_mapped_again(tmp_path, offset, n_skipped):
    path = tmp_path / "a.dat"
    mapped = np.memmap(path, ">i2", "w+", offset, (20, 300))
    mapped[:] = np.arange(6000).reshape(20, 300)
    mapped.flush()
    X = LazyArray(mapped[n_skipped:])[[4, 1]]
    text = pickle.dumps(X)
    assert len(text) < 1000
    again = pickle.loads(text)
    assert isinstance(again.source, np.memmap)
    np.testing.assert_array_equal(again[:], mapped[n_skipped:][[4, 1]])


def test_memmaps_that_cannot_be_pickled(tmp_path):
    mapped = np.memmap(tmp_path / "a.dat", "f4", "w+", shape=(20, 3))
    for bad in mapped[::2], np.memmap(tmp_path / "a.dat", "f4", "c", shape=(20, 3)):
        with pytest.raises(pickle.PicklingError, match="strided, or open in mode 'c'"):
            pickle.dumps(LazyArray(bad))
    with TemporaryFile() as file:
        nameless = np.memmap(file, "f4", "w+", shape=(20, 3))
    with pytest.raises(pickle.PicklingError, match="has no file"):
        pickle.dumps(LazyArray(nameless))


def test_pickled_zarr_is_not_found(tmp_path, array):
    """Missing chunks would be zeros."""
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(tmp_path / "a.zarr", name="deep/X", data=array)
    text = pickle.dumps(LazyArray(stored))
    np.testing.assert_array_equal(pickle.loads(text)[:], array)
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    with pytest.raises(FileNotFoundError, match=r"a\.zarr"):
        pickle.loads(text)


def test_pickled_zarr(tmp_path, array):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=array.shape, chunks=(8, 3, 5), dtype="u2"
    )
    stored[:] = array
    again = pickle.loads(pickle.dumps(LazyArray(stored)[[4, 1]]))
    np.testing.assert_array_equal(again[:], array[[4, 1]])


# scikit-learn


def test_splits_read_nothing():
    source = CountedReads(np.zeros((40, 2)))
    X, y = indexable(LazyArray(source), np.arange(40))
    train, test, y_train, _ = train_test_split(X, y, random_state=0)
    assert isinstance(train, LazyArray)
    np.testing.assert_array_equal(train.rows, y_train)
    assert len(test) == 10
    assert source.reads == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_cross_validation(tmp_path, n_jobs):
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 60)
    X = generator.normal(y[:, None], 1, (60, 4))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = X
    scores = {}
    cv = KFold(3, shuffle=True, random_state=0)
    classifier = make_pipeline(FunctionTransformer(np.asarray), LogisticRegression())
    with h5py.File(path) as file:
        for name, data in ("memory", X), ("disk", LazyArray(file["a"])):
            scores[name] = cross_val_score(classifier, data, y, cv=cv, n_jobs=n_jobs)
    np.testing.assert_array_equal(scores["memory"], scores["disk"])


# Validation of input


def test_what_is_lazy(source):
    in_memory = isinstance(source, np.ndarray)
    assert is_lazy(source) is not in_memory
    assert is_lazy(as_lazy(source))


def test_what_is_not_lazy(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for value in (file, file.create_group("g"), None, [], [1.0], "galaxy.jpg"):
            assert is_lazy(value) is False


@pytest.mark.parametrize("fraction", [0.4, 0.6])
def test_memmaps_are_lazy_where_memory_is_short(tmp_path, monkeypatch, fraction):
    mapped = np.memmap(tmp_path / "a.dat", "u1", "w+", shape=(6000, 10))
    memory = 60_000 / fraction
    monkeypatch.setattr("skastro.utils._lazy.physical_memory", lambda: memory)
    assert is_lazy(mapped) is (fraction > 0.5)
    assert is_lazy(np.asarray(mapped)) is False


def test_as_lazy_keeps_lazy_arrays(array):
    X = LazyArray(array)
    assert as_lazy(X) is X
    np.testing.assert_array_equal(as_lazy(array)[:], array)


@pytest.mark.parametrize("function", [as_lazy, LazyArray])
def test_lists_of_other_things_are_refused(function):
    with pytest.raises(TypeError, match="got list"):
        function(["a.txt", "b.txt"])
