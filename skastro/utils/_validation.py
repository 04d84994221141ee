# SPDX-License-Identifier: BSD-3-Clause
"""Checks of arrays, numbers and names, with messages that tell what to do."""

from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np

from skastro.utils._arrays import name_rows, plain_array, without_unit
from skastro.utils._lazy import row_batches


def check_finite(
    X: Any, *, input_name: str = "X", allow_nan: bool = False, advice: str = ""
) -> None:
    """Refuse NaN and infinite values, and report their number and rows.

    `X` is any array with ``shape``, ``dtype`` and slices of rows. It is read a few rows
    at a time, and not at all if its dtype holds finite values only. With `allow_nan`
    only infinity is refused. `advice` is the last sentence of the message.

    >>> check_finite(np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, np.inf]]))
    Traceback (most recent call last):
        ...
    ValueError: Input X contains NaN and infinity: 2 NaN and 1 infinite value in 2 of
    3 rows (1, 2).
    """
    if X.dtype.kind not in "fc":
        return
    X = X if X.shape else np.reshape(X, 1)
    n_nan = n_infinite = 0
    bad_rows = []
    # Arrays on disk are read in their own blocks.
    blocks = X.blocks() if hasattr(X, "blocks") else row_batches(X.shape)
    for rows, block in _small_blocks(X, blocks):
        block = block.reshape(len(block), -1)
        if np.isfinite(block).all():
            continue
        infinite = np.isinf(block)
        nan = np.zeros_like(infinite) if allow_nan else np.isnan(block)
        n_infinite += np.count_nonzero(infinite)
        n_nan += np.count_nonzero(nan)
        bad_rows.extend(rows + np.flatnonzero((infinite | nan).any(axis=1)))
    if not bad_rows:
        return

    kinds, counts = [], []
    if n_nan:
        kinds.append("NaN")
        counts.append(f"{n_nan} NaN")
    if n_infinite:
        kinds.append("infinity")
        counts.append(f"{n_infinite} infinite value{'s' if n_infinite > 1 else ''}")
    message = (
        f"Input {input_name} contains {' and '.join(kinds)}: {' and '.join(counts)} in "
        f"{len(bad_rows)} of {X.shape[0]} rows ({name_rows(bad_rows)})."
    )
    raise ValueError(f"{message} {advice}".rstrip())


def check_weights(sample_weight: Any) -> np.ndarray:
    """Convert weights to a plain array; masked ones are refused, and NaN."""
    weight = plain_array(sample_weight, "sample_weight")
    if weight.ndim != 1:
        raise ValueError(
            "sample_weight must hold one weight for each sample; got an array of shape "
            f"{weight.shape}."
        )
    advice = "Give weights of zero to rows that are to be left out."
    check_finite(weight, input_name="sample_weight", advice=advice)
    return weight


def score_plain(score: Callable, X: Any, y: np.ndarray, sample_weight: Any) -> float:
    """Call a ``score`` of scikit-learn, which knows no masks, with plain arrays."""
    if sample_weight is not None:
        sample_weight = check_weights(sample_weight)
    return score(X, y, sample_weight=sample_weight)


def _small_blocks(X: Any, blocks: Iterable[slice]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the values of parts that fit the processor's cache."""
    for rows in blocks:
        block = np.asarray(X[rows])
        for part in row_batches(block.shape):
            yield rows.start + part.start, block[part]


def suggest_name(name: Any, known: Iterable[str], *, list_all: bool = True) -> str:
    """Suggest the closest known name, and list the known names.

    Without `list_all` the known names are listed only if none of them is close. Case is
    ignored.

    >>> suggest_name("ResNet-18", ["mlp", "resnet18"])
    "Did you mean 'resnet18'? Known: 'mlp', 'resnet18'."
    """
    known = sorted(known)
    lower = {item.lower(): item for item in known}
    close = get_close_matches(str(name).lower(), lower, n=1)
    sentences = [f"Did you mean {lower[close[0]]!r}?"] if close else []
    if list_all or not close:
        sentences.append(f"Known: {', '.join(map(repr, known)) or 'none'}.")
    return " ".join(sentences)


def check_real(value: object, name: str) -> None:
    """Refuse what is not a real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}.")


def check_count(value: object, name: str, least: int = 1) -> int:
    """Return an integer of at least `least` as Python's int, or refuse the value.

    >>> check_count(0, "n_images")
    Traceback (most recent call last):
        ...
    ValueError: n_images must be at least 1; got 0.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be an integer; got {value!r} of type {type(value).__name__}."
        )
    if int(value) < least:
        raise ValueError(f"{name} must be at least {least}; got {value}.")
    return int(value)


def check_each(
    values: Iterable,
    name: str,
    check: Callable[[Any, str], int] = check_count,
    min_size: int = 0,
) -> tuple[int, ...]:
    """Apply a check to each value of a sequence, and return what it returns."""
    if not isinstance(values, Iterable):
        raise TypeError(
            f"{name} must be a sequence of integers; got {values!r}. Write "
            f"({values!r},) for a single one."
        )
    checked = tuple(check(value, f"each of {name}") for value in values)
    if len(checked) < min_size:
        raise ValueError(f"{name} must hold at least {min_size} integer; it is empty.")
    return checked


def check_number(
    value: float,
    name: str,
    least: float = -np.inf,
    most: float = np.inf,
    unit: str = "",
) -> float:
    """Return a finite number from `least` to `most` as a float, or refuse the value.

    A `least` below 1e-300 stands for any positive number. A quantity is converted to
    `unit`, and refused without one.
    """
    value = without_unit(value, unit, name)
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
    unit: str = "",
) -> tuple[float, float]:
    """Return the lowest and the highest value of a range; a number is both.

    Limits and unit are those of :func:`check_number`; `integer` asks for integers.

    >>> check_range(3, "tilt"), check_range((0, 5), "tilt")
    ((3.0, 3.0), (0.0, 5.0))
    """
    value = without_unit(value, unit, name)
    # Type checkers do not know that int and float are Real.
    pair = (value, value) if isinstance(value, int | float | Real) else value
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


def check_option(value: Any, name: str, options: Collection) -> Any:
    """Return a value if it is one of the options, or refuse it."""
    if value not in tuple(options):
        raise ValueError(f"{name} must be one of {list(options)}; got {value!r}.")
    return value


def _limits(least: float, most: float) -> str:
    """Describe limits for a message."""
    if np.isinf(most):
        if np.isinf(least):
            return "finite"
        return "positive and finite" if 0 < least < 1e-300 else f"at least {least:g}"
    lower = "above 0" if 0 < least < 1e-300 else f"from {least:g}"
    return f"{lower} to {most:g}" if lower[0] == "f" else f"{lower}, at most {most:g}"
