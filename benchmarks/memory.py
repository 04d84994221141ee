# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory of training, and its growth with the data.

Each loop trains in a separate process::

    python -m benchmarks.memory skastro 5000 cpu

It prints the memory in bytes as JSON.
"""

import argparse
import dataclasses
import json
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.cases import CASES
from benchmarks.loops import (
    ComputeBound,
    IndexingLoop,
    Observation,
    SkastroLoop,
    SkorchLoop,
)
from benchmarks.measure import peak_memory, run_apart
from benchmarks.seed_loop import SeedLoop

TITLE = "Memory in training (tiny network, spectra of 2600 samples, one epoch)"
SIZES = (5_000, 10_000, 20_000)
LABELS = {
    "seed": "(a) per-sample Dataset and DataLoader, augmented",
    "skorch": "(b) skorch",
    "skastro": "(c) skastro",
    "augmented": "(c) skastro, augmented",
    "bound": "(d) compute bound",
    "indexing": "(e) plain torch indexing",
}
_CASE = dataclasses.replace(CASES["tiny-64"], sample_shape=(2600,))
_N_WARM_UP = 256


def measure(loop: str, n_rows: int, device: str) -> dict[str, int]:
    """Train one epoch and return the memory of this process.

    Parameters
    ----------
    loop : str
        A key of `LABELS`.
    n_rows : int
        Rows of X.
    device : {"cpu", "cuda"}
        Where to train.

    Returns
    -------
    taken : dict of int
        In bytes: ``data``, the size of X; ``resident``, the peak of the resident
        memory above that after the imports; ``growth``, the same above a training and
        a prediction of a few rows, which load what is loaded on first use and give
        the network its workspace; ``device``, the peak of torch's memory on CUDA.
    """
    after_imports = peak_memory()
    few = _CASE.make_data(_N_WARM_UP)
    source = _CASE.make_estimator(device, max_epochs=1).fit(*few)
    seen = Observation(source, few[0])
    _train(loop, *few, source, seen, device)
    warm = peak_memory()
    X, y = _CASE.make_data(n_rows)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seen.inputs = torch.from_numpy(X[:, None])
    _train(loop, X, y, source, seen, device)
    peak = peak_memory()
    return {
        "data": X.nbytes,
        "resident": peak - after_imports,
        "growth": peak - warm,
        "device": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
    }


def _train(
    loop: str,
    X: np.ndarray,
    y: np.ndarray,
    source: Any,
    seen: Observation,
    device: str,
) -> None:
    if loop == "seed":
        convert = _CASE.make_converter(source)
        SeedLoop(_CASE, X, y, _CASE.plain(), convert, device, workers=(0,)).train()
    elif loop == "skorch":
        SkorchLoop(_CASE, seen, y, device, 1).train()
    elif loop == "bound":
        ComputeBound(_CASE, seen, y, device, 1).train()
    elif loop == "indexing":
        IndexingLoop(_CASE, seen, y, device, 1, seen.dtype).train()
    else:
        SkastroLoop(_CASE, X, y, device, 1, vary=loop == "augmented").train()


def compare(device: str, quick: bool) -> tuple[list[str], ...]:
    """Measure all loops at three sizes.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where to train.
    quick : bool
        Whether to take few rows, only to see that all runs.

    Returns
    -------
    parts : tuple of lists of str
        A table for resident memory, one for the device's where there is one, and
        notes, in Markdown.
    """
    sizes = tuple(n // 10 for n in SIZES) if quick else SIZES
    taken = {
        loop: [run_apart("memory", loop, n, device) for n in sizes] for loop in LABELS
    }
    header = ["peak resident memory"]
    header += [f"N = {n:,}" for n in sizes] + ["more for each byte more of data"]
    parts = [report.table(header, _rows(taken, "resident", "growth"))]
    if device == "cuda":
        header[0] = "peak memory on the device"
        parts.append(report.table(header, _rows(taken, "device", "device")))
    data = ", ".join(f"{one['data'] / 1e6:.0f} MB" for one in taken["skastro"])
    parts.append(
        [
            f"X takes {data}. MB above the memory after the imports, X itself "
            "included; in brackets the peak above that of a training and a prediction "
            f"of {_N_WARM_UP} rows, over the size of X. One process for each number. "
            "(a) without workers."
        ]
    )
    return tuple(parts)


def _rows(
    taken: dict[str, list[dict[str, float]]], total: str, growth: str
) -> list[list[str]]:
    rows = []
    for loop, runs in taken.items():
        cells = [
            f"{run[total] / 1e6:.0f} MB ({run[growth] / run['data']:.2f})"
            for run in runs
        ]
        slope = (runs[-1][growth] - runs[0][growth]) / (
            runs[-1]["data"] - runs[0]["data"]
        )
        rows.append([LABELS[loop], *cells, f"{slope:.2f}"])
    return rows


def main() -> None:
    """Read the command line and print one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("loop", choices=LABELS)
    parser.add_argument("n_rows", type=int)
    parser.add_argument("device", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.manual_seed(0)
    print(json.dumps(measure(options.loop, options.n_rows, options.device)))


if __name__ == "__main__":
    main()
