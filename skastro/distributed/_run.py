# SPDX-License-Identifier: BSD-3-Clause
"""What a worker does with a partition."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skastro.distributed._model import Model
from skastro.distributed._source import Part, Rows
from skastro.distributed._threads import one_thread
from skastro.streaming._output import Output, call
from skastro.utils import plain_array

# The column of results in what a worker returns.
VALUES = "values"


class Run(NamedTuple):
    """What is the same for all partitions; it reaches each worker once."""

    model: Model
    output: Output
    on_gpu: bool


def predict_part(run: str, part: Part) -> dict[str, np.ndarray]:
    """Read a partition and predict it; return the results and their columns."""
    from distributed import get_worker

    settings: Run = get_worker().plugins[run].run
    # First, so that the limit holds for all libraries that it brings.
    estimator = settings.model.load("cuda" if settings.on_gpu else "cpu")
    with nullcontext() if settings.on_gpu else one_thread():
        return _predict_rows(estimator, settings.output, part.read())


def predict_block(run: str, block: np.ndarray) -> dict[str, np.ndarray]:
    """Predict a block of a dask array."""
    return predict_part(run, _Block(block))


@dataclass(frozen=True)
class _Block(Part):
    rows: np.ndarray

    def read(self) -> Rows:
        return Rows(plain_array(self.rows), slice(None), len(self.rows), {})


def _predict_rows(estimator: Any, output: Output, rows: Rows) -> dict[str, np.ndarray]:
    missing: Any = b"" if output.dtype.kind == "S" else np.nan
    n_kept = len(rows.X)
    if n_kept == rows.n_rows:
        values = np.empty((rows.n_rows, *output.shape), output.dtype)
    else:
        values = np.full((rows.n_rows, *output.shape), missing, output.dtype)
    if n_kept:
        found = call(estimator, output.method, rows.X, n_kept, output.with_std)
        values[rows.kept] = output.pack(found)
    return {VALUES: values, **rows.columns}
