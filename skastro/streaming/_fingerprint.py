# SPDX-License-Identifier: BSD-3-Clause
"""Telling whether a run goes on with the same model, data and settings."""

import hashlib
import numbers
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from skastro.streaming._columns import IdColumn, as_text, plain_values
from skastro.streaming._output import Output
from skastro.streaming._rows import take_rows

# What tells models apart best comes first: labels agree often, probabilities hardly.
_PROBE_METHODS = ("predict_proba", "decision_function", "transform", "predict")
_N_PROBES = 16
_VALUES_PER_PROBE = 1000
# The same computation on another number of threads differs by some 1e-6 in float32;
# another model by far more in one of the values at least.
_RELATIVE_TOLERANCE = 1e-3
_TOLERANCE_OF_LARGEST = 1e-6
# What a reader of the message knows each entry as, in the order of comparison.
_ENTRIES = {
    "n_rows": "the number of rows of X",
    "data": "X",
    "ids": "ids",
    "method": "method",
    "chunk_size": "chunk_size",
    "classes": "the estimator's classes",
    "dtype": "the type of the output",
    "shape": "the shape of the output for a row",
    "probe_method": "the methods of the estimator",
}


def fingerprint(
    estimator: Any,
    X: Any,
    n_rows: int,
    chunk_size: int,
    output: Output,
    ids: IdColumn | None,
) -> dict[str, Any]:
    """Describe a run so that another can be held against it.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    X : array-like
        The rows; sixteen of them, evenly spread, are read.
    n_rows : int
        Their number.
    chunk_size : int
        Rows of a chunk.
    output : Output
        What is computed.
    ids : IdColumn or None
        Names of the rows.

    Returns
    -------
    entries : dict
        Values that JSON can hold.
    """
    methods = [name for name in _PROBE_METHODS if hasattr(estimator, name)]
    probe_method = methods[0] if methods else output.method
    rows = np.unique(np.linspace(0, n_rows - 1, _N_PROBES).round().astype(int))
    digests, probes = [], []
    for row in rows.tolist():
        sample = take_rows(X, row, row + 1)
        digests.append(_digest(sample))
        probes.append(_probe(estimator, probe_method, sample))
    return {
        "n_rows": n_rows,
        "chunk_size": chunk_size,
        "method": output.method,
        "dtype": output.dtype.str,
        "shape": list(output.shape),
        "classes": None if output.classes is None else _listed(output.classes),
        "ids": None if ids is None else ids.digest,
        "data": digests,
        "probe_method": probe_method,
        "probes": probes,
    }


def check_same_run(old: dict[str, Any], new: dict[str, Any], journal: Path) -> None:
    """Refuse to go on with results of another model, other data or other settings.

    Parameters
    ----------
    old : dict
        What the journal says of the run that was interrupted.
    new : dict
        What :func:`fingerprint` says of this one.
    journal : Path
        The journal, for the message.

    Raises
    ------
    ValueError
        If the runs differ.
    """
    different = [entry for entry in _ENTRIES if old.get(entry) != new[entry]]
    if different:
        reason = f"{_ENTRIES[different[0]]} differs"
        before, now = old.get(different[0]), new[different[0]]
        if isinstance(now, int | str) and different[0] != "ids":
            reason = f"{_ENTRIES[different[0]]} was {before!r} and is {now!r}"
    elif not _agree(old["probes"], new["probes"]):
        reason = (
            f"the estimator's {new['probe_method']} for rows of X is not what it was, "
            "as after another fit or on another kind of device"
        )
    else:
        return
    raise ValueError(
        f"{journal} keeps the results of an interrupted run that this call cannot go "
        f"on with: {reason}. Repeat the call of that run, or delete the journal or "
        "pass resume=False to start anew."
    )


def _probe(estimator: Any, method: str, row: Any) -> list:
    """Let the estimator work on a row; of a large result keep a part."""
    results = getattr(estimator, method)(row)
    if sparse.issparse(results):
        results = results.toarray()
    # Several targets come as a list of arrays.
    results = results if isinstance(results, list | tuple) else [results]
    values = np.concatenate([np.asarray(result).ravel() for result in results])
    values = values[:: max(1, -(-values.size // _VALUES_PER_PROBE))]
    return _listed(plain_values(values, f"{type(estimator).__name__}.{method}"))


def _digest(rows: Any) -> str:
    """Sum up the content of some rows."""
    values = np.asarray(rows)
    if values.dtype.hasobject:
        content = "\0".join(map(_identity, values.ravel().tolist())).encode()
    else:
        content = values.tobytes()
    return hashlib.sha256(f"{values.shape}".encode() + content).hexdigest()[:16]


def _identity(value: Any) -> str:
    """Write a value as text; of objects that may print their address, the type."""
    known = str | bytes | numbers.Number | os.PathLike
    return str(value) if isinstance(value, known) else type(value).__name__


def _listed(values: np.ndarray) -> list:
    return as_text(values) if values.dtype.kind == "S" else values.tolist()


def _agree(old: list[list], new: list[list]) -> bool:
    """Compare what the estimator gave for some rows with what it gives now."""
    before, now = np.asarray(old), np.asarray(new)
    if before.shape != now.shape:
        return False
    if before.dtype.kind not in "iuf" or now.dtype.kind not in "iuf":
        return np.array_equal(before, now)
    finite = np.abs(before[np.isfinite(before)])
    atol = _TOLERANCE_OF_LARGEST * finite.max(initial=0.0)
    return np.allclose(now, before, rtol=_RELATIVE_TOLERANCE, atol=atol, equal_nan=True)
