# SPDX-License-Identifier: BSD-3-Clause
"""Prediction of a dask array that computes nothing yet."""

from typing import Any

import numpy as np

from skastro.distributed._arrays import one_block_a_row
from skastro.distributed._model import Model
from skastro.distributed._process import one_thread
from skastro.streaming._output import call
from skastro.utils import plain_array


def predict_lazily(
    model: Model, estimator: Any, X: Any, method: str, return_std: bool
) -> Any:
    """Return a dask array of the results, or two of these with their errors."""
    import dask

    X = one_block_a_row(X)
    sample = call(estimator, method, _example(estimator, method, X), 1, return_std)
    dtype, shape = sample.dtype, sample.shape[1:]
    classes = getattr(estimator, "classes_", None)
    if dtype.kind == "U" and isinstance(classes, np.ndarray):
        # Text of the sample may be shorter than that of other rows.
        dtype = np.result_type(dtype, classes.dtype)
    # A node of the graph of its own, which reaches each worker once.
    name = f"skastro-model-{model.digest}"
    results = X.map_blocks(
        _predict_block,
        dask.delayed(model, name=name, traverse=False),
        method,
        return_std,
        dtype,
        shape,
        dtype=dtype,
        meta=np.empty((0,) * (1 + len(shape)), dtype),
        drop_axis=[*range(1, X.ndim)],
        new_axis=[*range(1, 1 + len(shape))],
        chunks=(X.chunks[0], *shape),
        name=f"skastro-{method}-{dask.base.tokenize(X, name, return_std)}",
    )
    return (results[:, 0], results[:, 1]) if return_std else results


def _example(estimator: Any, method: str, X: Any) -> np.ndarray:
    """Return a row like those of X; one that is made up is enough for most."""
    generator = np.random.default_rng(0)
    row = generator.uniform(1, 2, size=(1, *X.shape[1:])).astype(X.dtype)
    try:
        getattr(estimator, method)(row)
    except Exception:
        return plain_array(X[:1].compute())
    return row


def _predict_block(
    block: np.ndarray,
    model: Model,
    method: str,
    return_std: bool,
    dtype: np.dtype,
    shape: tuple[int, ...],
) -> np.ndarray:
    if not len(block):
        return np.empty((0, *shape), dtype)
    estimator = model.load(None)
    with one_thread():
        rows = plain_array(block)
        values = call(estimator, method, rows, len(rows), return_std)
    if values.shape[1:] != shape or not np.can_cast(values.dtype, dtype):
        raise TypeError(
            f"{method} gives {values.dtype} of shape {values.shape[1:]} for a row, but "
            f"gave {dtype} of shape {shape} for the first."
        )
    return values.astype(dtype, copy=False)
