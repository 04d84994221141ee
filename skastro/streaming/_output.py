# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator gives for a row: by which method, of which type and shape."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from skastro.streaming._columns import as_text, plain_values

METHODS = (
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "predict",
    "transform",
)
_AUTO_METHODS = ("predict_proba", "predict", "transform")
_ONE_COLUMN_A_CLASS = ("predict_proba", "predict_log_proba", "decision_function")


def choose_method(estimator: Any, method: str) -> str:
    """Find the method that "auto" stands for, or check that there is the one asked for.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    method : str
        "auto" or one of ``METHODS``.

    Returns
    -------
    method : str
        One of ``METHODS``, which the estimator has.

    Raises
    ------
    ValueError
        If the method is unknown or the estimator lacks it.
    """
    if method not in ("auto", *METHODS):
        names = ", ".join(repr(name) for name in ("auto", *METHODS))
        raise ValueError(f"method must be one of {names}; got {method!r}.")
    available = [name for name in METHODS if hasattr(estimator, name)]
    wanted = _AUTO_METHODS if method == "auto" else (method,)
    found = next((name for name in wanted if name in available), None)
    if found is None:
        raise ValueError(
            f"{type(estimator).__name__} has no method {' or '.join(wanted)}; of those "
            f"that can be streamed it has: {', '.join(available) or 'none'}."
        )
    return found


def call(estimator: Any, method: str, rows: Any, n_rows: int) -> np.ndarray:
    """Let an estimator work on some rows.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    method : str
        One of ``METHODS``.
    rows : array-like of shape (n_rows, ...)
        The rows.
    n_rows : int
        Their number.

    Returns
    -------
    values : ndarray of shape (n_rows, ...)
        What the method gives.

    Raises
    ------
    TypeError
        If the result is no dense array.
    ValueError
        If the result has another number of rows.
    """
    values = getattr(estimator, method)(rows)
    name = f"{type(estimator).__name__}.{method}"
    if sparse.issparse(values):
        raise TypeError(
            f"{name} gives a sparse matrix; let it give a dense one, by "
            "sparse_output=False where the estimator has that parameter."
        )
    if isinstance(values, list | tuple):
        raise TypeError(
            f"{name} gives {len(values)} arrays instead of one, as estimators of "
            "several targets do; take method='predict'."
        )
    values = np.asarray(values)
    if values.shape[:1] != (n_rows,):
        raise ValueError(
            f"{name} gives an array of shape {values.shape} for {n_rows} rows of X."
        )
    return values


@dataclass(frozen=True)
class Output:
    """Type, shape and names of what a method gives.

    Attributes
    ----------
    estimator : str
        Name of the estimator's class.
    method : str
        One of ``METHODS``.
    dtype : numpy.dtype
        Type of the values as they are stored; text is UTF-8 of fixed width.
    shape : tuple of int
        Shape for one row.
    classes : ndarray or None
        The class labels as they are stored, where the estimator has them.
    feature_names : list of str or None
        Names of the columns of ``transform``, where the estimator knows them.
    """

    estimator: str
    method: str
    dtype: np.dtype
    shape: tuple[int, ...]
    classes: np.ndarray | None
    feature_names: list[str] | None

    @classmethod
    def of(cls, estimator: Any, method: str, sample: np.ndarray) -> Self:
        """Describe the output by that for a few rows.

        Parameters
        ----------
        estimator : estimator
            The fitted estimator.
        method : str
            One of ``METHODS``.
        sample : ndarray of shape (n_rows, ...)
            What the method gave for some rows.

        Returns
        -------
        output : Output
            The description.

        Raises
        ------
        TypeError
            If the values are text of unknown width, or neither numbers nor text.
        ValueError
            If a row has no values.
        """
        name = f"{type(estimator).__name__}.{method}"
        shape = sample.shape[1:]
        if 0 in shape:
            raise ValueError(f"{name} gives rows of shape {shape}: without values.")
        dtype = plain_values(sample, name).dtype
        labels = None if method == "transform" else _all_labels(estimator)
        if dtype.kind == "S":
            if labels is None or labels.dtype.kind != "S":
                raise TypeError(
                    f"{name} gives text, whose width must be known beforehand, but "
                    f"{type(estimator).__name__} has no classes_ that list all labels."
                )
            # A classifier may answer what is no class, such as "UNKNOWN".
            dtype = np.promote_types(labels.dtype, dtype)
        # One list of classes for several targets would be none that a reader can use.
        several = isinstance(getattr(estimator, "classes_", None), list | tuple)
        names = _feature_names(estimator, shape) if method == "transform" else None
        classes = None if several else labels
        return cls(type(estimator).__name__, method, dtype, shape, classes, names)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Bring the values of some rows into the form in which they are stored.

        Parameters
        ----------
        values : ndarray of shape (n_rows, ...)
            What the method gave.

        Returns
        -------
        values : ndarray of shape (n_rows, ...) and type ``dtype``
            The same values.

        Raises
        ------
        TypeError
            If their type or shape cannot be that of the other rows.
        """
        name = f"{self.estimator}.{self.method}"
        values = plain_values(values, name)
        if values.shape[1:] != self.shape or not np.can_cast(values.dtype, self.dtype):
            raise TypeError(
                f"{name} gives {values.dtype} of shape {values.shape[1:]} for a row, "
                f"but gave {self.dtype} of shape {self.shape} for the first."
            )
        return np.ascontiguousarray(values, dtype=self.dtype)

    def column_names(self) -> list[str]:
        """Name the columns of a table.

        Returns
        -------
        names : list of str
            Class labels, feature names, or the method's name, with a number if there
            are several columns.

        Raises
        ------
        ValueError
            If a row is no row of a table.
        """
        if len(self.shape) > 1:
            raise ValueError(
                f"{self.estimator}.{self.method} gives an array of shape {self.shape} "
                "for each row of X, which no row of a CSV table can hold; let out end "
                "in .h5."
            )
        if not self.shape:
            return [self.method]
        (n_columns,) = self.shape
        if self.feature_names is not None:
            return self.feature_names
        is_by_class = self.method in _ONE_COLUMN_A_CLASS
        if is_by_class and self.classes is not None and len(self.classes) == n_columns:
            return as_text(self.classes)
        stem = "x" if self.method == "transform" else self.method
        return [f"{stem}{number}" for number in range(n_columns)]


def _all_labels(estimator: Any) -> np.ndarray | None:
    """Return the labels that a classifier can give, of all targets if several."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list | tuple):
        classes = np.concatenate([np.asarray(labels) for labels in classes])
    return plain_values(classes, f"{type(estimator).__name__}.classes_")


def _feature_names(estimator: Any, shape: tuple[int, ...]) -> list[str] | None:
    """Ask a transformer for names; pipelines offer them without always having them."""
    try:
        names = [str(name) for name in estimator.get_feature_names_out()]
    except (AttributeError, ValueError):
        return None
    return names if (len(names),) == shape else None
