# SPDX-License-Identifier: BSD-3-Clause
"""What a worker does with a partition; imported only where distributed is installed."""

import platform
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import WorkerPlugin, get_worker

from skastro.distributed._journal import VALUES
from skastro.distributed._model import Model, forget_models
from skastro.distributed._process import keep_freed_memory, one_thread
from skastro.distributed._source import Part, Rows
from skastro.streaming._output import Output, call
from skastro.utils import plain_array


@dataclass(eq=False)
class Run(WorkerPlugin):
    """What is the same for all partitions; the scheduler hands it to each worker."""

    model: Model
    output: Output
    on_gpu: bool

    def setup(self, worker: object) -> None:
        """Prepare the process for batches."""
        keep_freed_memory(True)

    def teardown(self, worker: object) -> None:
        """Release the memory of the model."""
        forget_models()
        keep_freed_memory(False)


def predict_part(run: str, part: Part | np.ndarray) -> dict[str, np.ndarray]:
    """Predict a partition, or a block of a dask array; return results and columns."""
    settings: Run = get_worker().plugins[run]
    if settings.on_gpu and settings.model.is_file:
        _check_cuda()
    # First, so that the limit holds for all libraries that it brings.
    estimator = settings.model.load("cuda" if settings.on_gpu else "cpu")
    with nullcontext() if settings.on_gpu else one_thread():
        is_part = isinstance(part, Part)
        rows = _read(part) if is_part else Rows.all_of(plain_array(part))
        return _predict_rows(estimator, settings.output, rows)


def _check_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            f"The worker {get_worker().address} declares the resource GPU, but its "
            "PyTorch finds no CUDA; start it without the resource, or with another "
            "PyTorch or driver."
        )


def _read(part: Part) -> Rows:
    try:
        return part.read()
    except FileNotFoundError as error:
        raise RuntimeError(
            f"The worker on {platform.node()} does not find a file that the client "
            f"does: {error}. All workers must see the survey under the same path; "
            "mount it there, or start workers only where it is."
        ) from error


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
