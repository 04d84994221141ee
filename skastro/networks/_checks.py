# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the networks' hyperparameters, made before any layer is built."""

from collections.abc import Callable, Collection, Iterable
from numbers import Integral, Real


def check_count(name: str, value: object, minimum: int = 1) -> int:
    """Return `value` as an int, or refuse what is no integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} must be an integer, but got {value!r} of type "
            f"{type(value).__name__}."
        )
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but got {value}.")
    return int(value)


def check_kernel_size(name: str, value: object) -> int:
    """Return `value` as an int, or refuse what is no odd positive integer."""
    size = check_count(name, value)
    if size % 2 == 0:
        raise ValueError(
            f"{name} must be odd, so that the kernel has a centre, but got {size}; "
            f"take {size - 1} or {size + 1}."
        )
    return size


def check_each(
    name: str, values: object, check: Callable[[str, object], int], min_size: int = 0
) -> tuple[int, ...]:
    """Return what `check` makes of each value, or refuse what is no sequence."""
    if not isinstance(values, Iterable):
        raise TypeError(
            f"{name} must be a sequence of integers, but got {values!r}; for a single "
            f"one write ({values!r},)."
        )
    checked = tuple(check(f"each of {name}", value) for value in values)
    if len(checked) < min_size:
        raise ValueError(f"{name} must hold at least {min_size} integer, but is empty.")
    return checked


def check_dropout(value: object) -> float:
    """Return `value` as a float, or refuse what is no probability below 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < 1:
        raise ValueError(
            "dropout must be a probability: at least 0 and less than 1, but got "
            f"{value!r}."
        )
    return float(value)


def check_option(name: str, value: object, options: Collection[str]) -> str:
    """Return `value`, or refuse what is not among `options`."""
    if value not in tuple(options):
        known = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name} must be one of {known}, but got {value!r}.")
    return value
