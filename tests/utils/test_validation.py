# SPDX-License-Identifier: BSD-3-Clause
"""Messages about values that are not finite, and plain native arrays."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skastro.utils import check_finite, name_rows, plain_array, row_batches


@pytest.mark.parametrize("shape", [(5,), (5, 7), (5, 2, 7), (5, 3, 4, 2), (0, 3)])
def test_finite_values_pass(shape):
    check_finite(np.zeros(shape))


@pytest.mark.parametrize("dtype", [int, bool, str, object])
def test_other_dtypes_are_not_read(dtype):
    check_finite(np.zeros((3, 2)).astype(dtype))


def test_large_finite_values_pass():
    # Their sum overflows.
    check_finite(np.full((10, 10), np.finfo(np.float32).max, dtype=np.float32))


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "c8"])
def test_message_counts_and_names_rows(dtype):
    X = np.zeros((6, 2, 3), dtype=dtype)
    X[1, 0, 2] = X[1, 1, 0] = X[4, 0, 0] = np.nan
    X[4, 1, 1] = -np.inf
    message = (
        r"^Input X contains NaN and infinity: 3 NaN and 1 infinite value in 2 of 6 rows"
        r" \(1, 4\)\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_finite(X)


def test_one_dimensional_and_named_with_advice():
    message = r"^Input y contains NaN: 1 NaN in 1 of 4 rows \(2\)\. Leave it out\.$"
    with pytest.raises(ValueError, match=message):
        check_finite(
            np.array([0, 1, np.nan, 2]), input_name="y", advice="Leave it out."
        )


def test_allow_nan_refuses_infinity_only():
    X = np.array([[np.nan, 1.0], [np.inf, -np.inf]])
    message = r"contains infinity: 2 infinite values in 1 of 2 rows \(1\)"
    with pytest.raises(ValueError, match=message):
        check_finite(X, allow_nan=True)
    check_finite(X[:1], allow_nan=True)


def test_rows_are_right_across_batches_and_long_lists_are_cut():
    X = np.zeros((400, 3000), dtype=np.float32)
    X[5:400:20, 17] = np.nan
    assert len(list(row_batches(X.shape))) > 3
    message = r"20 NaN in 20 of 400 rows \(5, 25, .*, 185, and 10 more\)"
    with pytest.raises(ValueError, match=message):
        check_finite(X)


def test_reads_in_slices():
    class Lazy:
        """An array on disk: only slices of rows can be had."""

        shape = (400, 3000)
        dtype = np.dtype("f4")
        seen = ()

        def __getitem__(self, rows):
            assert isinstance(rows, slice)
            self.seen = (*self.seen, rows)
            return np.zeros((rows.stop - rows.start, 3000), dtype="f4")

    lazy = Lazy()
    check_finite(lazy)
    assert lazy.seen == tuple(row_batches(lazy.shape))


@pytest.mark.parametrize("shape", [(0, 5), (1,), (1000, 1), (7, 10**6), (300, 4, 999)])
def test_row_batches_cover_all_rows_once(shape):
    rows = [row for batch in row_batches(shape) for row in range(shape[0])[batch]]
    assert rows == list(range(shape[0]))


def test_name_rows():
    assert name_rows(np.array([7])) == "7"
    assert name_rows(range(10)).endswith("8, 9")
    assert name_rows(range(11)).endswith("9, and 1 more")


def test_plain_array():
    native = np.arange(3.0)
    assert plain_array(native) is native
    assert_array_equal(plain_array([1, 2]), [1, 2])
    swapped = plain_array(np.arange(3, dtype=">i2"))
    assert swapped.dtype == np.int16
    assert_array_equal(swapped, [0, 1, 2])
    masked = np.ma.array(np.arange(3, dtype=">f4"), mask=[0, 1, 0])
    filled = plain_array(masked)
    assert type(filled) is np.ndarray
    assert filled.dtype == np.float32
    assert_array_equal(filled, [0, np.nan, 2])
    assert masked[0] == 0
    assert masked.mask[1]
    assert_array_equal(plain_array(np.ma.array([1, 2], mask=[1, 0])), [np.nan, 2])
    unmasked = plain_array(np.ma.array([1, 2]))
    assert type(unmasked) is np.ndarray
    assert unmasked.dtype.kind == "i"
