# SPDX-License-Identifier: BSD-3-Clause
"""Checks of arguments."""

import numpy as np
import pytest

from skastro.utils import (
    check_count,
    check_each,
    check_number,
    check_option,
    check_range,
    suggest_name,
)

TINY = np.nextafter(0, 1)


def test_what_passes():
    assert check_count(np.int64(3), "n", 1) == 3
    assert check_number(np.float32(2), "x", 0, 2) == 2.0
    assert check_range(4, "r", 0) == (4.0, 4.0)
    assert check_range([1, 2], "r", 1, 2) == (1.0, 2.0)
    low, high = check_range((1, 2), "r", 0, integer=True)
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert check_option(None, "o", (0, 1, None)) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_count(True, "n", 0), TypeError, "n must be an integer"),
        (lambda: check_count(0, "n", 1), ValueError, "n must be at least 1; got 0"),
        (lambda: check_number("2", "x"), TypeError, "x must be a number; got '2'"),
        (lambda: check_number(np.inf, "x"), ValueError, "x must be finite"),
        (lambda: check_number(-1, "x", 0), ValueError, "at least 0; got -1"),
        (lambda: check_number(3, "x", 0, 2), ValueError, "from 0 to 2; got 3"),
        (lambda: check_number(0, "x", TINY), ValueError, "positive and finite"),
        (lambda: check_number(0, "x", TINY, 2), ValueError, "above 0, at most 2"),
        (lambda: check_range("12", "r"), TypeError, "r must be a number"),
        (lambda: check_range((1, 2, 3), "r"), TypeError, "a number or a pair"),
        (lambda: check_range((2, 1), "r"), ValueError, r"be \(lowest, highest\)"),
        (lambda: check_range((0, np.nan), "r"), ValueError, "r must be finite"),
        (lambda: check_range((0, 1.5), "r", 0, integer=True), TypeError, "an integer"),
        (lambda: check_option("a", "o", ("b",)), ValueError, "one of .'b'.; got 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_each_value_of_a_sequence_is_checked():
    assert check_each([1, 2], "widths") == (1, 2)
    with pytest.raises(ValueError, match="each of widths must be at least 1; got 0"):
        check_each([1, 0], "widths")
    with pytest.raises(TypeError, match=r"a sequence .* Write \(3,\)"):
        check_each(3, "widths")
    with pytest.raises(ValueError, match="at least 1 integer"):
        check_each([], "widths", min_size=1)


def test_close_name_is_suggested():
    assert suggest_name("resnet-18", ["mlp", "resnet18"], list_all=False) == (
        "Did you mean 'resnet18'?"
    )
    assert suggest_name("xyz", ["b", "a"], list_all=False) == "Known: 'a', 'b'."
    assert suggest_name(3, []) == "Known: none."
