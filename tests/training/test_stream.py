# SPDX-License-Identifier: BSD-3-Clause
"""Batches from arrays larger than memory."""

import threading
import time
import traceback

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare, kstest
from sklearn.utils import check_random_state

from skastro.training._stream import stream_batches
from skastro.utils import ImageFiles, LazyArray

pytestmark = pytest.mark.once

N_ROWS = 400
ROW_BYTES = 24
# A buffer of 50 rows, so that there are many.
SMALL = 50 * ROW_BYTES


@pytest.fixture
def array():
    return np.arange(N_ROWS * 6, dtype="f4").reshape(N_ROWS, 2, 3)


@pytest.fixture(params=["contiguous", "chunked", "gzip"])
def stored(request, array, tmp_path):
    options = {"contiguous": {}, "chunked": {"chunks": (16, 2, 3)}}
    options["gzip"] = {"chunks": (7, 1, 3), "compression": "gzip"}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        yield LazyArray(file.create_dataset("a", data=array, **options[request.param]))


class Source:
    """An array that counts its reads, and can be slow or broken."""

    def __init__(self, array, pause=0.0, broken_from=None):
        self.array, self.pause, self.broken_from = array, pause, broken_from
        self.shape, self.dtype = array.shape, array.dtype
        self.reads = []

    @property
    def n_rows_read(self):
        return sum(stop - start for start, stop in self.reads)

    def __getitem__(self, rows):
        time.sleep(self.pause)
        if self.broken_from is not None and rows.stop > self.broken_from:
            raise OSError(f"bad sector in rows {rows.start} to {rows.stop}")
        self.reads.append((int(rows.start), int(rows.stop)))
        return self.array[rows]


def batches_of(*args, **kwargs):
    """Stream in one process."""
    deal, batches = stream_batches(*args, **kwargs)
    assert deal is None
    return batches


def collect(*args, **kwargs):
    """Return positions, samples and the sizes of all batches."""
    batches = list(batches_of(*args, **kwargs))
    positions = [positions for positions, _ in batches]
    sizes = [len(places) for places in positions]
    if not batches:
        return np.empty(0, int), None, sizes
    X = torch.cat([X for _, X in batches])
    return torch.cat(positions).numpy(), X.numpy(), sizes


def reader_threads():
    return [t for t in threading.enumerate() if t.name == "skastro-reader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert reader_threads() == []


ROWS = {
    "all": None,
    "part": np.arange(130, 370),
    "ascending": np.flatnonzero(np.random.default_rng(0).random(N_ROWS) < 0.3),
    "permuted": np.random.default_rng(1).permutation(N_ROWS)[:270],
    "repeated": np.random.default_rng(2).integers(0, N_ROWS, 600),
    "sparse": np.array([399, 3, 200]),
    "negative": np.array([-1, 0]),
}
BUFFERS = [SMALL, 2**27]


@pytest.mark.parametrize("buffer_bytes", BUFFERS)
@pytest.mark.parametrize("batch_size", [7, 64, 5000])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_in_order(stored, array, rows, batch_size, buffer_bytes):
    expected = array if rows is None else array[rows]
    positions, X, sizes = collect(stored, rows, batch_size, buffer_bytes=buffer_bytes)
    np.testing.assert_array_equal(positions, np.arange(len(expected)))
    np.testing.assert_array_equal(X, expected)
    assert set(sizes[:-1]) <= {batch_size}
    assert sum(sizes) == len(expected)


@pytest.mark.parametrize("buffer_bytes", BUFFERS)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_shuffled(stored, array, rows, buffer_bytes):
    expected = array if rows is None else array[rows]
    positions, X, sizes = collect(
        stored, rows, 64, shuffle=True, seed=3, buffer_bytes=buffer_bytes
    )
    np.testing.assert_array_equal(np.sort(positions), np.arange(len(expected)))
    np.testing.assert_array_equal(X, expected[positions])
    assert set(sizes[:-1]) <= {64}
    if len(expected) > 10:
        assert (positions != np.arange(len(expected))).mean() > 0.9


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("buffer_bytes", BUFFERS)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_repeats(stored, array, rows, buffer_bytes, shuffle):
    expected = array if rows is None else array[rows]
    n_samples = len(expected)
    generator = np.random.default_rng(4)
    repeats = generator.multinomial(n_samples, np.full(n_samples, 1 / n_samples))
    positions, X, _ = collect(
        stored, rows, 64, shuffle=shuffle, repeats=repeats, buffer_bytes=buffer_bytes
    )
    np.testing.assert_array_equal(np.bincount(positions, None, n_samples), repeats)
    np.testing.assert_array_equal(X, expected[positions])
    if not shuffle:
        assert (np.diff(positions) >= 0).all()


def test_one_sample_many_times(array):
    source = Source(array)
    repeats = np.zeros(N_ROWS, int)
    repeats[17] = 100_000
    batches = batches_of(
        LazyArray(source), None, 1000, shuffle=True, repeats=repeats, buffer_bytes=SMALL
    )
    for positions, X in batches:
        assert (positions == 17).all()
        assert (X.numpy() == array[17]).all()
    assert source.n_rows_read == 1


def test_view_and_rows_of_it(stored, array):
    outer = np.random.default_rng(5).permutation(N_ROWS)[:300]
    rows = np.random.default_rng(6).permutation(300)[:200]
    view = stored[outer]
    positions, X, _ = collect(view, rows, 32, shuffle=True, buffer_bytes=SMALL)
    np.testing.assert_array_equal(np.sort(positions), np.arange(200))
    np.testing.assert_array_equal(X, array[outer][rows][positions])
    _, X, _ = collect(view, None, 32)
    np.testing.assert_array_equal(X, array[outer])


@pytest.mark.parametrize("shuffle", [True, False])
def test_nothing_to_read(array, shuffle):
    empty = LazyArray(array[:0])
    for X, rows in (empty, None), (LazyArray(array), []), (empty, np.empty(0, int)):
        assert collect(X, rows, 4, shuffle=shuffle)[2] == []
    zeros = np.zeros(N_ROWS, int)
    assert collect(LazyArray(array), None, 4, shuffle=shuffle, repeats=zeros)[2] == []


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "<u2", ">u2", "i2", ">i8", "f2", ">f4", "f8", ">c8"]
)
@pytest.mark.parametrize("shape", [(30,), (30, 0), (30, 5), (30, 2, 1, 3)])
def test_stored_dtype_is_kept(tmp_path, dtype, shape, shuffle):
    array = np.random.default_rng(0).normal(0, 50, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = LazyArray(file.create_dataset("a", data=array))
        positions, X, _ = collect(stored, None, 7, shuffle=shuffle, buffer_bytes=50)
    assert X.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(X, array[positions])


def test_images(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (20, 4, 6, 3), dtype="u1")
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path, image in zip(paths, stack, strict=True):
        Image.fromarray(image).save(path)
    positions, X, _ = collect(
        ImageFiles(paths), np.arange(3, 20), 8, shuffle=True, buffer_bytes=400
    )
    np.testing.assert_array_equal(X, stack[3:][positions])


def test_batches_are_not_overwritten(stored, array):
    batches = list(batches_of(stored, None, 10, buffer_bytes=SMALL))
    for positions, X in batches:
        np.testing.assert_array_equal(X, array[positions.numpy()])
        X.zero_()


# The order


@pytest.mark.parametrize("buffer_bytes", BUFFERS)
def test_seed_decides(stored, buffer_bytes):
    def order(seed):
        return collect(
            stored, None, 64, shuffle=True, seed=seed, buffer_bytes=buffer_bytes
        )[0]

    np.testing.assert_array_equal(order(1), order(1))
    assert (order(1) != order(2)).mean() > 0.9


def test_global_generators_are_untouched(stored):
    numpy_generator = check_random_state(None)
    states = numpy_generator.get_state()[1].copy(), torch.get_rng_state()
    collect(stored, None, 64, shuffle=True)
    np.testing.assert_array_equal(numpy_generator.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("rows", [None, np.arange(8)[::-1]])
def test_one_buffer_is_shuffled_uniformly(rows):
    X = LazyArray(np.arange(8))
    orders = np.stack(
        [collect(X, rows, 8, shuffle=True, seed=seed)[0] for seed in range(400)]
    )
    # Each sample is as often at each place, and each pair as often neighbors.
    counts = np.stack([np.bincount(places, None, 8) for places in orders.T])
    assert chisquare(counts.ravel()).pvalue > 0.01
    pairs = np.bincount((orders[:, :-1] * 8 + orders[:, 1:]).ravel(), None, 64)
    assert chisquare(pairs.reshape(8, 8)[~np.eye(8, dtype=bool)]).pvalue > 0.01


def test_many_buffers_mix_distant_rows(array):
    X = LazyArray(array)
    orders = [
        collect(X, None, 50, shuffle=True, seed=seed, buffer_bytes=100 * ROW_BYTES)[0]
        for seed in range(20)
    ]
    for order in orders:
        # A batch of 50 comes from everywhere, not from one stretch of the file.
        spread = order.reshape(-1, 50).std(axis=1)
        assert spread.min() > 0.5 * N_ROWS / np.sqrt(12)
    # Over the epochs, a sample is at any place.
    places = np.argsort(orders, axis=1)[:, [0, 137, 399]] / N_ROWS
    assert kstest(places.ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("shuffle", [True, False])
def test_chunks_are_read_once(array, shuffle, monkeypatch):
    # Rows as small as these would be read along with their neighbors.
    monkeypatch.setattr("skastro.utils._lazy._GAP_BYTES", 0)
    source = Source(array)
    source.chunks = (9, 2, 3)
    collect(LazyArray(source), None, 50, shuffle=shuffle, buffer_bytes=SMALL)
    assert source.n_rows_read == N_ROWS
    assert len(source.reads) > 8
    for start, stop in source.reads:
        assert start % 9 == 0
        assert stop % 9 == 0 or stop == N_ROWS


def test_smallest_buffer(stored, array):
    for shuffle in True, False:
        positions, X, _ = collect(stored, None, 50, shuffle=shuffle, buffer_bytes=1)
        np.testing.assert_array_equal(X, array[positions])
        np.testing.assert_array_equal(np.sort(positions), np.arange(N_ROWS))


@pytest.mark.parametrize("n_rows", [400, 260, 101])
def test_buffers_are_filled_evenly(array, monkeypatch, n_rows):
    monkeypatch.setattr("skastro.utils._lazy._GAP_BYTES", 0)
    sizes = []
    read_steps = LazyArray.read_steps

    def counted(self, rows, out):
        sizes.append(len(rows))
        return read_steps(self, rows, out)

    monkeypatch.setattr(LazyArray, "read_steps", counted)
    X = LazyArray(array)
    collect(X, np.arange(n_rows), 9, shuffle=True, buffer_bytes=SMALL)
    assert sum(sizes) == n_rows
    assert max(sizes) <= 50
    assert min(sizes) >= 25


# The thread


def test_errors_of_the_thread_reach_the_caller(array):
    source = Source(array, broken_from=200)
    batches = batches_of(LazyArray(source), None, 50, buffer_bytes=SMALL)
    for _ in range(4):
        next(batches)
    with pytest.raises(OSError, match="bad sector") as info:
        next(batches)
    assert "__getitem__" in "".join(traceback.format_tb(info.tb))


def test_file_that_is_closed_on_the_way(tmp_path, array):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = LazyArray(file.create_dataset("a", data=array))
        batches = batches_of(stored, None, 50, buffer_bytes=SMALL)
        next(batches)
    with pytest.raises(ValueError, match="file of a lazy array is closed"):
        list(batches)


def test_reading_goes_on_while_the_caller_works(array):
    source = Source(array)
    batches = batches_of(LazyArray(source), None, 50, buffer_bytes=SMALL)
    next(batches)
    deadline = time.monotonic() + 5
    while source.n_rows_read < 100 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    # The buffer in use and the next, and no more.
    assert source.n_rows_read == 100
    batches.close()


@pytest.mark.parametrize("ending", ["close", "break", "error", "forget"])
def test_thread_ends_with_the_generator(array, ending):
    source = Source(array, pause=0.001)
    batches = batches_of(LazyArray(source), None, 10, buffer_bytes=SMALL)
    next(batches)
    assert len(reader_threads()) == 1
    if ending == "close":
        batches.close()
    elif ending == "break":
        for _ in batches:
            break
        del batches
    elif ending == "error":
        with pytest.raises(RuntimeError, match="the caller's"):
            batches.throw(RuntimeError("the caller's"))
    else:
        del batches
    assert reader_threads() == []
    assert source.n_rows_read <= 150


def test_thread_stops_within_a_buffer(array, monkeypatch):
    monkeypatch.setattr("skastro.utils._lazy._BLOCK_BYTES", ROW_BYTES)
    monkeypatch.setattr("skastro.utils._lazy._GAP_BYTES", 0)
    source = Source(array)
    batches = batches_of(LazyArray(source), None, 10, buffer_bytes=SMALL)
    next(batches)
    source.pause = 0.01
    batches.close()
    # A buffer takes 50 reads.
    assert source.n_rows_read < 150


def test_no_thread_before_the_first_batch(array):
    batches = batches_of(LazyArray(array), None, 10)
    assert reader_threads() == []
    batches.close()


def test_two_streams_at_a_time(stored, array):
    pairs = zip(
        batches_of(stored, None, 50, buffer_bytes=SMALL),
        batches_of(stored, None, 50, shuffle=True, buffer_bytes=SMALL),
        strict=True,
    )
    for (_, X), (positions, shuffled) in pairs:
        assert len(X) == 50
        np.testing.assert_array_equal(shuffled, array[positions.numpy()])


# Bad input is refused before anything is read.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more, but got 0"),
        ({"buffer_bytes": 0}, ValueError, "buffer_bytes must be 1 or more"),
        ({"rows": [400]}, IndexError, "Row 400 is not in an array of 400 rows"),
        ({"repeats": np.ones(3, int)}, ValueError, r"400 whole .* shape \(3,\)"),
        ({"repeats": np.ones(N_ROWS)}, ValueError, "dtype float64"),
        ({"repeats": np.full(N_ROWS, -1)}, ValueError, "negative, but got -1"),
    ],
)
def test_bad_arguments(array, arguments, error, message):
    with pytest.raises(error, match=message):
        batches_of(LazyArray(array), **({"rows": None, "batch_size": 10} | arguments))


def test_dtype_that_torch_does_not_know():
    X = LazyArray(np.zeros((4, 2), np.longdouble))
    with pytest.raises(TypeError, match="torch has no data type for float128"):
        batches_of(X, None, 2)


def test_pinning_without_a_device(stored):
    for positions, X in batches_of(stored, None, 300, pin_memory=True):
        assert X.is_pinned() == positions.is_pinned() == torch.cuda.is_available()


@pytest.mark.gpu
@pytest.mark.parametrize("shuffle", [True, False])
def test_pinned_batches_on_the_device(stored, array, shuffle):
    batches = batches_of(
        stored, None, 64, shuffle=shuffle, buffer_bytes=SMALL, pin_memory=True
    )
    on_device = []
    for positions, X in batches:
        assert X.is_pinned()
        assert positions.is_pinned()
        on_device.append(
            (positions.to("cuda", non_blocking=True), X.to("cuda", non_blocking=True))
        )
    positions = torch.cat([positions for positions, _ in on_device]).cpu().numpy()
    X = torch.cat([X for _, X in on_device]).cpu().numpy()
    np.testing.assert_array_equal(np.sort(positions), np.arange(N_ROWS))
    np.testing.assert_array_equal(X, array[positions])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_skipped", [1, 5, 8])
def test_skipped_batches_are_not_read(array, shuffle, n_skipped, monkeypatch):
    monkeypatch.setattr("skastro.utils._lazy._GAP_BYTES", 0)
    source = Source(array)
    options = {"shuffle": shuffle, "seed": 7, "buffer_bytes": SMALL}
    whole = list(batches_of(LazyArray(source), None, 50, **options))
    source.reads.clear()
    rest = batches_of(LazyArray(source), None, 50, n_skipped=n_skipped, **options)
    for found, right in zip(rest, whole[n_skipped:], strict=True):
        for a, b in zip(found, right, strict=True):
            assert torch.equal(a, b)
    # Single rows between those that are needed are read along.
    assert source.n_rows_read <= N_ROWS - 50 * n_skipped + 50
