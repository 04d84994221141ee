# SPDX-License-Identifier: BSD-3-Clause
"""Odd arrays for all public callables, held against plain arrays of the same numbers.

The callables, their arguments and the containers are those of ``test_input_zoo``. The
damages change the numbers, the shape or the precision of an array; at last it goes into
a container. Its result must be that of the plain array, each row must get what it
gets alone, and finite numbers must not give NaN.
"""

import random
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_input_zoo as zoo
import torch

from . import Case

EXTREMES = [np.nan, np.inf, -np.inf, 1e-40, 1e-300, 1e38, 3e38, 1e300, -1.0, 0.0]
EXTREMES += [-9999.0, 2.0**24 + 1, 2.0**53, 1e10, 0.5]
WORDS = ["", "a b", "\xb5", "nan", "None", " STAR", "x" * 50, "1", "GALAXY"]
PRECISIONS = ["f2", "f4", "i1", "u1", "i2", "u2", "i8", "u8", "?", ">f4", ">i2"]
# Methods that give a row what they give it alone.
BY_ROWS = re.compile(r".*\.(predict\w*|transform|decision_function|score_samples)")
# The rows of a batch share draws, a region of pixels, or the choice of a scale.
TOGETHER = ("predict_stream", "Display", "Resampler", "Augmenter")
# Arrays on disk are checked when rows are read.
UNREAD = re.compile(r"(MinMax|Standardize|Rebin)Spectra\.fit|CropPadImages\.fit")
ON_DISK = ("hdf5", "lazy", "zarr", "dask")
Array = np.ndarray


# Damages of numbers and labels --------------------------------------------------------


def put_values(X: Array, rng: random.Random) -> Array:
    X = X.copy()
    for _ in range(rng.choice([1, 1, 3])):
        X.flat[rng.randrange(X.size)] = odd_value(X, rng)
    return X


def odd_value(X: Array, rng: random.Random) -> Any:
    return rng.choice(WORDS if X.dtype.kind in "UO" else EXTREMES)


def put_row(X: Array, rng: random.Random) -> Array:
    X = X.copy()
    X[rng.randrange(len(X))] = odd_value(X, rng)
    return X


def fill(X: Array, rng: random.Random) -> Array:
    return np.full_like(X, odd_value(X, rng))


def choose_rows(X: Array, rng: random.Random) -> Array:
    n_rows = rng.choice([0, 1, 2, len(X) - 1, len(X), len(X) + 1, 40])
    return X[[rng.randrange(len(X)) for _ in range(n_rows)]]


def choose_columns(X: Array, rng: random.Random) -> Array:
    axis = rng.randrange(X.ndim)
    return X.take(range(rng.randrange(X.shape[axis] + 1)), axis)


def change_axes(X: Array, rng: random.Random) -> Array:
    changes = [lambda: X[..., None], lambda: X[None], lambda: X[:, None]]
    changes += [lambda: X.T, lambda: X.ravel(), lambda: X.reshape(len(X), -1)]
    changes += [lambda: X.reshape(-1)[0], lambda: X[0], lambda: X[..., None, None]]
    changes += [lambda: X.swapaxes(0, -1), lambda: np.stack([X, X], -1)]
    return np.asarray(rng.choice(changes)())


def rescale(X: Array, rng: random.Random) -> Array:
    return X * rng.choice([1e-40, 1e-30, 1e-17, 1e-3, -1.0, 255.0, 1e10, 1e30, 1e300])


def shift(X: Array, rng: random.Random) -> Array:
    return X + rng.choice([-50.0, 0.5, 1e-3, 1e6, 1e15, -1e30])


def change_precision(X: Array, rng: random.Random) -> Array:
    if X.dtype.kind == "U":
        return np.unique(X, return_inverse=True)[1].astype(rng.choice(["i8", "f8"]))
    return X.astype(rng.choice(PRECISIONS)).astype(np.float64)


def leave(X: Array, rng: random.Random) -> Array:
    return X


DAMAGES = [put_values, put_row, fill, choose_rows, choose_columns, change_axes]
DAMAGES += [rescale, shift, change_precision, leave]


# Callables ----------------------------------------------------------------------------


@cache
def targets() -> dict[str, tuple]:
    """Return what makes a function of one array, for each array of each callable."""
    found: dict[str, tuple] = {}
    for case in zoo.methods_with_samples():
        cls, method = case.values[:2]
        if hasattr(zoo.case_of(cls)[0], method):
            found[f"{cls.__name__}.{method}"] = (zoo.call_of, cls, method, "X")
    for case in zoo.methods_with("y"):
        cls, method = case.values[:2]
        if hasattr(zoo.case_of(cls)[0], method) and cls.__name__ != "Pipeline":
            found[f"{cls.__name__}.{method} y"] = (zoo.call_of, cls, method, "y")
    for case in zoo.methods_with("sample_weight"):
        cls, method = case.values[:2]
        if hasattr(zoo.case_of(cls)[0], method) and cls.__name__ != "Pipeline":
            name = f"{cls.__name__}.{method} sample_weight"
            found[name] = (zoo.call_of, cls, method, "sample_weight")
    found["Pipeline.predict_stream ids"] = (
        zoo.call_of,
        zoo.skastro.Pipeline,
        "predict_stream",
        "ids",
    )
    for case in zoo.ARRAYS:
        name, key = case.values[:2]
        found[f"{name} {key}"] = (zoo.function_call, name, key)
    for name in zoo.INSTANCES:
        found[f"{name}.__call__"] = (augment, name)
    return found


@cache
def names() -> list[str]:
    torch.manual_seed(0)
    return sorted(targets())


def call_of(name: str, folder: Path) -> tuple[Callable, Array]:
    """Return a function of one array, and the plain array."""
    make, *arguments = targets()[name]
    if make is augment:
        return augment(arguments[0])
    if make is zoo.function_call:
        return make(*arguments, folder)
    cls, method, key = arguments
    call, (_, X, y) = make(cls, method, folder), zoo.case_of(cls)
    if key == "X":
        if method == "inverse_transform":
            X = np.random.default_rng(0).integers(0, 5, size=(12, 2)).astype(float)
        return call, X
    weights = np.tile([1.0, 3.0, 2.0], 4)[: len(X)]
    plain = {"y": y, "sample_weight": weights, "ids": zoo.LABELS}[key]
    return lambda value: call(X, **{key: value}), plain


def augment(name: str) -> tuple[Callable, Array]:
    operation = zoo.INSTANCES[name]()
    is_spectral = isinstance(operation, zoo.skastro.augmentation.SpectrumAugmentation)
    batch = zoo.SPECTRA if is_spectral or name == "Compose" else zoo.IMAGES[:, None]
    return lambda X: operation(X, generator=0), batch


# Outcomes -----------------------------------------------------------------------------


def forms(X: Array, folder: Path) -> Iterator[tuple[str, str, Any]]:
    """Put an array into containers; say which ones hold other numbers, or none."""
    if X.ndim == 0:
        return
    if X.dtype.kind not in "fiu":
        for form, value in zoo.labels(X):
            yield "same", form, value
        return
    for form, value in zoo.containers(X, folder):
        yield "same", form, value
    if X.size:
        for form, value in zoo.masked(X):
            yield "hidden", form, value
        for form, value in zoo.refused(X):
            yield "refused", form, value


def attempt(case: Case, folder: Path) -> str:
    name, damages = case
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        zoo.leave_out_drawing(patch)
        try:
            return judge(name, damages, folder)
        except BaseException as error:
            trace = "".join(traceback.format_exception(error, limit=-2))
            return f"! {type(error).__name__}: {trace}"


def judge(name: str, damages: list[tuple[int, int]], folder: Path) -> str:
    call, plain = call_of(name, folder)
    takes_text = plain.dtype.kind == "U"
    for number, seed in damages:
        # A damage may find nothing that it can change.
        try:
            plain = DAMAGES[number](plain, random.Random(seed))
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
    rng = random.Random(damages[-1][1])
    expected = zoo.outcome(call, plain)
    refused = isinstance(expected, Exception)
    if not refused and (problem := contradiction(name, call, plain, expected, rng)):
        return f"! {problem}"
    try:
        found = [*forms(plain, folder)]
    except (ValueError, OverflowError, TypeError, UnicodeEncodeError, AttributeError):
        # A container cannot hold these numbers.
        found = []
    if not found:
        return type(expected).__name__ if refused else "result"
    meaning, form, value = rng.choice(found)
    if not plain.size and np.shape(value) != plain.shape:
        # Lists without numbers do not tell the length of all axes.
        return "result"
    result = zoo.outcome(call, value)
    taken = not isinstance(result, Exception)
    if meaning == "refused":
        if takes_text:
            return "result" if taken else type(result).__name__
        return f"! {form} is taken" if taken else "refused form"
    if meaning == "hidden":
        hidden = plain.astype(np.float64)
        hidden.flat[0] = np.nan
        expected = zoo.outcome(call, hidden)
        refused = isinstance(expected, Exception)
    if not taken:
        return type(result).__name__
    if "frame" in form and "Display" in name:
        # Displays keep data frames, missing values too.
        return "result"
    if refused and UNREAD.fullmatch(name) and form in ON_DISK:
        return "not read yet"
    if refused:
        return f"! {meaning} {form} is taken, but not the plain array: {expected}"
    if form in ("uint8", "images of Pillow") and is_scaled(name):
        return "bytes are from 0 to 1"
    draws = form if meaning == "same" else f"masked {form}"
    if draws in zoo.OTHER_DRAWS and draws_numbers(name):
        return "other draws"
    try:
        zoo.assert_same(result, expected, form)
    except AssertionError as error:
        return f"! other values of {meaning} {form}: {error}"
    return "same result"


def is_scaled(name: str) -> bool:
    return name.partition(".")[0] in zoo.BYTES_DIFFER


def draws_numbers(name: str) -> bool:
    return name.endswith("__call__") or "Resampler" in name or "Augmenter" in name


def contradiction(
    name: str, call: Callable, plain: Array, result: Any, rng: random.Random
) -> str:
    """Say what is wrong with the result of a plain array; empty if nothing is."""
    odd = plain.dtype.kind == "f" and not np.isfinite(plain).all()
    may_fill = name.startswith("utils.rebin ")
    if not (odd or may_fill or all_finite(result)) and usually_finite(name):
        return "finite numbers give NaN or infinite ones"
    if not BY_ROWS.fullmatch(name) or any(part in name for part in TOGETHER):
        return ""
    if len(plain) != (len(result) if isinstance(result, Array) else len(plain)):
        return f"{len(result)} results for {len(plain)} rows"
    row = rng.randrange(len(plain))
    alone = zoo.outcome(call, plain[row : row + 1])
    if isinstance(alone, Exception):
        return ""
    try:
        zoo.assert_same(alone, at(result, row), "alone")
    except AssertionError as error:
        return f"a row alone gives another result: {error}"
    return ""


@cache
def usually_finite(name: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        call, plain = call_of(name, Path(folder))
        return all_finite(zoo.outcome(call, plain))


def all_finite(result: Any) -> bool:
    if isinstance(result, dict | list):
        parts = result.values() if isinstance(result, dict) else result
        return all(map(all_finite, parts))
    return result.dtype.kind not in "fc" or bool(np.isfinite(result).all())


def at(result: Any, row: int) -> Any:
    if isinstance(result, list):
        return [at(part, row) for part in result]
    return result[row : row + 1]
