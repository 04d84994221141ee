# SPDX-License-Identifier: BSD-3-Clause
"""Checks of numbers, ranges and choices that functions are called with."""

from numbers import Integral, Real
from typing import Any

import numpy as np


def check_count(value: int, name: str, least: int) -> int:
    """Check a whole number that has a least value.

    Parameters
    ----------
    value : int
        The number.
    name : str
        What messages call it.
    least : int
        The smallest that is allowed.

    Returns
    -------
    value : int
        The number as Python's int.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or too small.

    Examples
    --------
    >>> from skastro.utils import check_count
    >>> check_count(0, "n_images", 1)
    Traceback (most recent call last):
        ...
    ValueError: n_images must be at least 1; got 0.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}.")
    return int(value)


def check_number(
    value: float, name: str, least: float = -np.inf, most: float = np.inf
) -> float:
    """Check a finite number between limits.

    Parameters
    ----------
    value : float
        The number.
    name : str
        What messages call it.
    least, most : float, default=-inf, inf
        Limits, themselves allowed. A `least` below 1e-300 stands for any positive
        number.

    Returns
    -------
    value : float
        The number as Python's float.

    Raises
    ------
    TypeError, ValueError
        If it is no number, not finite or outside the limits.

    Examples
    --------
    >>> from skastro.utils import check_number
    >>> check_number(2, "extent", 0)
    2.0
    """
    check_real(value, name)
    if not np.isfinite(value) or not least <= value <= most:
        limits = _limits(least, most)
        if not np.isfinite(value) and "finite" not in limits:
            limits += " and finite"
        raise ValueError(f"{name} must be {limits}; got {value!r}.")
    return float(value)


def check_range(
    value: float | tuple[float, float],
    name: str,
    least: float = -np.inf,
    most: float = np.inf,
    integer: bool = False,
) -> tuple[float, float]:
    """Check a number, or the lowest and the highest of a range.

    Parameters
    ----------
    value : float or tuple of (float, float)
        The number or range.
    name : str
        What messages call it.
    least, most : float, default=-inf, inf
        Limits of both ends, themselves allowed. A `least` below 1e-300 stands for any
        positive number.
    integer : bool, default=False
        Whether the ends are to be integers.

    Returns
    -------
    low, high : float or int
        The ends, equal for a number.

    Raises
    ------
    TypeError, ValueError
        If it is neither a number nor a pair, or outside the limits.

    Examples
    --------
    >>> from skastro.utils import check_range
    >>> check_range(3, "tilt"), check_range((0, 5), "tilt")
    ((3.0, 3.0), (0.0, 5.0))
    """
    pair = (value, value) if isinstance(value, Real) else value
    try:
        low, high = pair
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a number or a pair (lowest, highest); got {value!r}."
        ) from None
    for end in (low, high):
        if integer:
            check_count(end, name, int(least))
        check_real(end, name)
        if not np.isfinite(end) or not least <= end <= most:
            raise ValueError(f"{name} must be {_limits(least, most)}; got {value!r}.")
    if low > high:
        raise ValueError(f"{name} must be (lowest, highest); got {value!r}.")
    return (int(low), int(high)) if integer else (float(low), float(high))


def check_real(value: float, name: str) -> None:
    """Check that a value is a number.

    Parameters
    ----------
    value : float
        The value.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        If it is none.

    Examples
    --------
    >>> from skastro.utils import check_real
    >>> check_real("2", "tilt")
    Traceback (most recent call last):
        ...
    TypeError: tilt must be a number; got '2'.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}.")


def check_option(value: Any, name: str, options: tuple) -> Any:
    """Check a choice among a few.

    Parameters
    ----------
    value : object
        The choice.
    name : str
        What messages call it.
    options : tuple
        What can be chosen.

    Returns
    -------
    value : object
        The choice.

    Raises
    ------
    ValueError
        If it is none of them.

    Examples
    --------
    >>> from skastro.utils import check_option
    >>> check_option("vmi", "convention", ("density", "vmi"))
    'vmi'
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {list(options)}; got {value!r}.")
    return value


def _limits(least: float, most: float) -> str:
    if np.isinf(most):
        if np.isinf(least):
            return "finite"
        return "positive and finite" if 0 < least < 1e-300 else f"at least {least:g}"
    lower = "above 0" if 0 < least < 1e-300 else f"from {least:g}"
    return f"{lower} to {most:g}" if lower[0] == "f" else f"{lower}, at most {most:g}"
