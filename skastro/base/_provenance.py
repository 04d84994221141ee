# SPDX-License-Identifier: BSD-3-Clause
"""What a network was trained on, in a few plain values."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

_PACKAGES = ("skastro", "torch", "skorch", "scikit-learn", "numpy")


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
    lines = [str(shape) for shape in shapes]
    if y is not None:
        y = np.asarray(y)
        lines += map(str, y.tolist())
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
    record["sha256"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return record
