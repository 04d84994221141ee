# SPDX-License-Identifier: BSD-3-Clause
"""Validation of X, y, weights and groups, the same at fit and at predict.

And what a card tells of them.
"""

import hashlib
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import check_consistent_length, validate_data

from skastro._compat import validated_sample_weight
from skastro.training import encode_groups, find_source
from skastro.utils import (
    LazyArray,
    RowwiseSource,
    as_lazy,
    check_finite,
    check_weights,
    is_lazy,
    name_rows,
    plain_array,
    plain_labels,
    refuse_bunch,
    unit_of,
)

# Rows that tell whether single precision is enough, and those read from a disk.
_N_LOOKED_AT, _N_READ = 64, 16
# Columns of a table may have an offset each, those of spectra have one in common.
_LONGEST_TABLE = 99
# Parts of a sample's size: what double precision may round, and what single precision
# holds to one part in fifty.
_ROUNDED, _HELD = 2.0**-40, 2.0**-18
# Samples that identify a data set, beside all targets.
_N_SAMPLES = 64
# Targets that are turned into text at a time.
_DIGESTED = 2**16
# Packages whose versions decide what a training gives.
_PACKAGES = ("skastro", "torch", "skorch", "scikit-learn", "numpy")


def check_X_y(
    estimator: Any,
    X: Any,
    y: Any = "no_validation",
    *,
    reset: bool,
    finite: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Validate X, and y where given, as scikit-learn does, for any number of axes.

    With ``reset`` the estimator gets ``n_features_in_``, ``feature_names_in_`` and
    ``sample_shape_``; otherwise X is held against them. Arrays on disk (see
    :class:`skastro.datasets.LazyArray`) are read a few rows at a time, and only where
    their dtype can hold NaN; ``finite=False`` leaves that to the batches of a
    prediction. A dict holds several inputs of a module of the user's; it gets no
    shape.

    Returns X in the machine's byte order and, in memory, in the estimator's dtype (the
    very array that was given where there was nothing to change), and y.

    Raises ValueError if X is not numeric, holds NaN or infinity, or has another shape
    than in fit, or if y is missing or has another length.
    """
    refuse_bunch(X, "X")
    if isinstance(X, Mapping) and not issparse(X):
        return _check_several_inputs(estimator, X, y, reset=reset)
    has_target = y is not None and not isinstance(y, str)
    if has_target:
        y = check_target(estimator, y)
    if not reset and hasattr(X, "shape"):
        _check_sample_shape(estimator, X.shape)
    if is_lazy(X):
        return _check_lazy(estimator, as_lazy(X), y, reset=reset, finite=finite)
    # Data frames have names, too.
    given, array = X, plain_array(X)
    checks = {
        "allow_nd": True,
        "dtype": list(estimator._input_dtypes),
        "ensure_all_finite": False,
        "estimator": estimator,
    }
    try:
        with np.errstate(over="raise"):
            X = check_array(array, input_name="X", **checks)
    except FloatingPointError:
        _refuse_too_large(array)
    if has_target:
        y = _check_target_alone(estimator, y)
        check_consistent_length(X, y)
    validate_data(
        estimator,
        given if hasattr(given, "columns") else array,
        y,
        reset=reset,
        skip_check_array=True,
    )
    _check_underflow(array, X)
    if finite:
        estimator._check_finite(X)
    _check_ndim(estimator, X)
    _check_digits(array, reset=reset)
    if reset:
        estimator.sample_shape_ = X.shape[1:]
    else:
        _check_sample_shape(estimator, X.shape)
    return X, y if has_target else None


def check_target(estimator: Any, y: Any) -> np.ndarray:
    """Convert a target to a plain array, of numbers or labels as the estimator asks.

    Missing values are refused, with their rows.
    """
    if not estimator._target_checks.get("y_numeric"):
        return plain_labels(y)
    try:
        y = plain_array(y, "y")
    except TypeError as error:
        advice = " Take a classifier for labels." if unit_of(y) is None else ""
        raise ValueError(f"{error}{advice}") from error
    allow_nan = getattr(estimator, "_takes_missing_targets", False)
    advice = "Leave these rows out."
    check_finite(y, input_name="y", allow_nan=allow_nan, advice=advice)
    return y


def _check_several_inputs(
    estimator: Any, X: Mapping[str, Any], y: Any, *, reset: bool
) -> tuple[Any, np.ndarray | None]:
    X = {
        name: values if is_lazy(values) else plain_array(values, f"X[{name!r}]")
        for name, values in X.items()
    }
    check_consistent_length(*X.values())
    if reset:
        estimator.sample_shape_ = None
    if y is None or isinstance(y, str):
        return X, None
    y = _check_target_alone(estimator, check_target(estimator, y))
    check_consistent_length(*X.values(), y)
    return X, y


def _check_target_alone(estimator: Any, y: Any) -> np.ndarray:
    checks = estimator._target_checks
    is_float = y is not None and y.dtype.kind == "f"
    missing = np.isnan(y) if is_float else np.False_
    # scikit-learn refuses what is not known.
    known = np.where(missing, 0, y) if missing.any() else y
    checked = validate_data(estimator, "no_validation", known, reset=False, **checks)
    return np.where(missing, np.nan, checked) if missing.any() else checked


def _check_underflow(given: np.ndarray, X: np.ndarray) -> None:
    """Refuse numbers that are all zero in single precision."""
    if given.dtype != X.dtype and not X.any() and given.any():
        raise ValueError(
            f"X has numbers up to {np.abs(given).max():.3g}, which are zero in single "
            "precision, in which networks compute. Multiply X by a constant, or scale "
            "it, by skastro.StandardizeSpectra for instance."
        )


def _to_float32(rows: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            single = rows.astype(np.float32)
    except FloatingPointError:
        _refuse_too_large(rows)
    _check_underflow(rows, single)
    return single


def _refuse_too_large(X: np.ndarray) -> NoReturn:
    """Refuse finite numbers that single precision cannot hold."""
    size = np.abs(X.reshape(len(X), -1))
    large = np.isfinite(size) & (size > np.finfo(np.float32).max)
    rows = name_rows(np.flatnonzero(large.any(axis=1)))
    raise ValueError(
        f"X has numbers up to {size[large].max():.3g}, in rows {rows}, but the largest "
        "one of single precision, in which networks compute, is 3.4e38: divide X by a "
        "constant, or scale it, by skastro.StandardizeSpectra for instance."
    )


def _check_digits(X: np.ndarray, *, reset: bool) -> None:
    """Refuse samples, and name columns, whose differences single precision loses.

    An example are numbers around 1e9 that differ by 1. Some samples tell; what varies
    no more than double precision rounds counts as constant.
    """
    if X.dtype.kind not in "iuf" or np.result_type(X, np.float32) == np.float32:
        return
    some = X[np.linspace(0, len(X) - 1, min(len(X), _N_LOOKED_AT)).astype(int)]
    some = np.nan_to_num(some.reshape(len(some), -1).astype(np.float64))
    advice = "Subtract the offset in double precision first"
    found = _find_lost(some, axis=1)
    if 2 * len(found) > len(some):
        _, spread, size, held = found[0]
        raise ValueError(
            f"X has samples whose numbers, around {size:.3g}, differ by {spread:.3g}, "
            f"but single precision, in which networks compute, rounds them to "
            f"multiples of {held:.3g}. {advice}, or put skastro.StandardizeSpectra in "
            "front."
        )
    if not reset or X.ndim != 2 or X.shape[1] > _LONGEST_TABLE:
        return
    for column, spread, size, held in _find_lost(some, axis=0)[:1]:
        warnings.warn(
            f"Column {column} of X has numbers around {size:.3g} that differ by "
            f"{spread:.3g}, but single precision, in which networks compute, rounds "
            f"them to multiples of {held:.3g}. {advice}.",
            UserWarning,
            stacklevel=2,
        )


def _find_lost(X: np.ndarray, axis: int) -> list[tuple[int, float, float, float]]:
    """List index, spread, size and rounding where too little of the spread is held."""
    # NaN and infinity are refused elsewhere, with their rows.
    with np.errstate(all="ignore"):
        low, high = X.min(axis=axis), X.max(axis=axis)
        size = np.maximum(np.abs(low), np.abs(high))
        spread = high - low
        held = np.spacing(size.astype(np.float32))
        lost = np.flatnonzero((spread > _ROUNDED * size) & (spread < _HELD * size))
    return [(i, spread[i], size[i], held[i]) for i in lost.tolist()]


def _check_ndim(estimator: Any, X: Any) -> None:
    if X.ndim not in estimator._input_ndims:
        allowed = " or ".join(f"{ndim}-D" for ndim in estimator._input_ndims)
        raise ValueError(
            f"{type(estimator).__name__} takes {allowed} X, but got {X.ndim}-D X of "
            f"shape {X.shape}."
        )


def _check_lazy(
    estimator: Any, X: Any, y: Any, *, reset: bool, finite: bool
) -> tuple[Any, Any]:
    """Validate an array on disk, without ever holding all of it."""
    if X.dtype.kind not in "biuf":
        raise ValueError(
            f"{type(estimator).__name__} takes real numbers, but X has dtype {X.dtype}."
        )
    if X.dtype == np.float64:
        _check_digits(X[:_N_READ], reset=reset)
        source = RowwiseSource(X, _to_float32, X.shape[1:], np.dtype(np.float32))
        X = LazyArray(source, X.rows)
    _check_ndim(estimator, X)
    if len(X) == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is "
            f"required by {type(estimator).__name__}."
        )
    if reset:
        estimator.n_features_in_ = X.shape[1]
        vars(estimator).pop("feature_names_in_", None)
        estimator.sample_shape_ = X.shape[1:]
    elif X.shape[1:] != tuple(estimator.sample_shape_):
        raise ValueError(
            f"X has samples of shape {X.shape[1:]}, but {type(estimator).__name__} was "
            f"fitted on samples of shape {tuple(estimator.sample_shape_)}."
        )
    unneeded = y is None and not get_tags(estimator).target_tags.required
    if unneeded or (isinstance(y, str) and y == "no_validation"):
        y = None
    else:
        y = _check_target_alone(estimator, y)
        check_consistent_length(X, y)
    if finite:
        estimator._check_finite(X)
    return X, y


def _check_sample_shape(estimator: Any, shape: tuple[int, ...]) -> None:
    """Hold the shape of X against the fitted one, where scikit-learn's check cannot.

    Rows of numbers are left to scikit-learn, whose message names both lengths.
    """
    fitted = getattr(estimator, "sample_shape_", None)
    if fitted is None or len(shape) < 2 or (len(shape) == 2 and len(fitted) == 1):
        return
    if tuple(shape[1:]) != tuple(fitted):
        raise ValueError(
            f"X has samples of shape {tuple(shape[1:])}, but "
            f"{type(estimator).__name__} was fitted on samples of shape "
            f"{tuple(fitted)}."
        )


def check_sample_weight(
    sample_weight: Any, X: Any, class_weight: np.ndarray | None
) -> np.ndarray:
    """Join sample and class weights, of which one may be None, to one weight a sample.

    Raises ValueError if weights are negative, not finite, of another length, or all
    zero.
    """
    weight = np.ones(len(X)) if class_weight is None else class_weight.astype(float)
    if sample_weight is not None:
        sample_weight = check_weights(sample_weight)
        check_consistent_length(X, sample_weight)
        given = validated_sample_weight(sample_weight, X, dtype=np.float64)
        if (given < 0).any():
            raise ValueError(
                f"sample_weight has {np.count_nonzero(given < 0)} negative values; "
                "give weights of zero or more."
            )
        weight = weight * given
    if not weight.any():
        raise ValueError(
            "All sample weights are zero, so there is nothing to fit; give at least "
            "one sample a positive weight."
        )
    return weight


def check_groups(groups: Any, X: Any) -> np.ndarray | None:
    """Convert the groups that samples belong to; bytes become text.

    Raises ValueError if some are missing, or if there are not as many as samples.
    """
    if groups is None:
        return None
    advice = "Give samples of unknown objects groups of their own."
    groups = plain_labels(groups, "groups", what="values", advice=advice)
    if groups.ndim != 1:
        raise ValueError(
            "groups must hold one value for each sample, such as the name of its "
            f"object; got an array of shape {groups.shape}. Join several columns to "
            "one name each."
        )
    if groups.dtype.kind in "UO" and (empty := np.flatnonzero(groups == "")).size:
        raise ValueError(f"groups is empty in rows {name_rows(empty)}. {advice}")
    check_consistent_length(*(X.values() if isinstance(X, Mapping) else [X]), groups)
    return groups


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a network depends on."""
    versions = {}
    for name in _PACKAGES:
        # A copy of a source tree on the search path has no version.
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def describe_samples(X: Any, y: Any, is_classifier: bool) -> dict[str, Any]:
    """Describe samples by their number, shape and targets.

    ``sha256`` is that of the shape of X, then the targets, each on a line, as text:
    it tells whether data are those of the training without holding them.
    """
    parts = list(X.values()) if isinstance(X, Mapping) else [X]
    if isinstance(X, list | tuple):
        parts = list(X)
    shapes = [tuple(part.shape) for part in parts if hasattr(part, "shape")]
    record: dict[str, Any] = {
        "n_samples": shapes[0][0] if shapes else len(X),
        "sample_shapes": [shape[1:] for shape in shapes],
        "dtypes": [str(part.dtype) for part in parts if hasattr(part, "dtype")],
    }
    digest = hashlib.sha256("\n".join(map(str, shapes)).encode())
    if y is not None:
        y = np.asarray(y)
        for start in range(0, len(y), _DIGESTED):
            lines = map(str, y[start : start + _DIGESTED].tolist())
            digest.update("".join(f"\n{line}" for line in lines).encode())
        if is_classifier:
            labels, counts = np.unique(y, return_counts=True)
            record["classes"] = dict(
                zip(map(str, labels), counts.tolist(), strict=True)
            )
        elif y.dtype.kind in "iuf" and y.ndim < 3:
            columns = y.reshape(len(y), -1)
            record["target_ranges"] = [
                [float(np.nanmin(column)), float(np.nanmax(column))]
                for column in columns.T
                if not np.isnan(column).all()
            ]
    record["sha256"] = digest.hexdigest()
    return record


def fingerprint(*datasets: Any, groups: Any = None) -> str:
    """Digest some samples and all targets of data sets, and the samples' groups."""
    digest = hashlib.sha256()
    if groups is not None:
        digest.update(encode_groups(groups).tobytes())
    for dataset in datasets:
        digest.update(str(None if dataset is None else len(dataset)).encode())
        source = None if dataset is None else find_source(dataset)
        if source is None:
            continue
        rows = np.arange(len(dataset)) if source.rows is None else source.rows.numpy()
        some = rows[np.linspace(0, len(rows) - 1, _N_SAMPLES).astype(int)]
        arrays = source.X if isinstance(source.X, dict) else {"X": source.X}
        samples = [values[np.unique(some)][:] for values in arrays.values()]
        targets = [] if source.y is None else [source.y[rows]]
        for array in [rows, *samples, *targets]:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
