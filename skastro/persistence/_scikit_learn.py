# SPDX-License-Identifier: BSD-3-Clause
"""Objects of scikit-learn, NumPy and SciPy, by way of skops.

It is imported where it is needed, since it imports all of scikit-learn.
"""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from skastro._compat import tree_classes
from skastro.persistence._public_names import root_of
from skastro.utils import check_arrays, read_archive

# What fitted estimators of scikit-learn hold besides what skops trusts by itself: data,
# and functions that compute with arrays. A name counts if the module defines it.
_TRUSTED = re.compile(
    r"""
    numpy\.(dtype|mean|median|nanmean)
    | scipy\._lib\.array_api_compat\.numpy\._aliases\.asarray
    | scipy\.sparse\._\w+\.\w+
    | scipy\.interpolate\._bsplines\.BSpline
    | scipy\.stats\._distn_infrastructure\.rv_continuous_frozen
    | sklearn\._loss\.(loss|link)\.\w+
    | sklearn\.calibration\.\w+
    | sklearn\.cluster\._(bisect_k_means|kmeans)\.\w+
    | sklearn\.ensemble\._hist_gradient_boosting\.(binning|predictor)\.\w+
    | sklearn\.feature_selection\._(univariate_selection|mutual_info)\.\w+
    | sklearn\.gaussian_process\.(kernels|_gpc)\.\w+
    | sklearn\.linear_model\._sgd_fast\.\w+
    | sklearn\.metrics\._(classification|regression|ranking|scorer|dist_metrics)\.\w+
    | sklearn\.metrics\.(cluster\._(un)?supervised|pairwise)\.\w+
    | sklearn\.model_selection\._(split|search_successive_halving)\.\w+
    | sklearn\.neighbors\._(kd_tree|ball_tree)\.\w+
    | sklearn\.neural_network\._stochastic_optimizers\.\w+
    | sklearn\.tree\._tree\.Tree
    | sklearn\.utils\._bunch\.Bunch
    | sklearn\.utils\._metadata_requests\.\w+
    """,
    re.VERBOSE,
)
# Cython names the module of losses without its package.
_ROOTS = ("sklearn", "_loss", "numpy", "scipy", "builtins", "collections", "functools")


def is_alone(value: Any, depth: int = 0) -> bool:
    """Tell whether an object holds nothing but objects of the packages above."""
    cls = value if isinstance(value, type) or callable(value) else type(value)
    if root_of(cls) not in (*_ROOTS, "") and not isinstance(value, np.ufunc):
        return False
    if depth > 50:
        return False
    return all(is_alone(part, depth + 1) for part in _parts(value))


def dump_with_skops(value: Any, path: str) -> bytes:
    """Write an object that holds neither networks nor anything of a user's own."""
    import skops.io

    try:
        content = skops.io.dumps(value)
        unknown = _untrusted(content)
    except Exception as error:
        raise TypeError(
            f"{path} is a {type(value).__name__}, which skops cannot write: {error}"
        ) from error
    if unknown:
        raise TypeError(
            f"{path} holds {', '.join(unknown)}, which cannot be written to a file "
            "that runs no code. Take a named class or function of your own in its "
            "place, or pickle the model."
        )
    return content


def load_with_skops(content: bytes) -> Any:
    """Read what :func:`dump_with_skops` wrote; ValueError for what it never writes."""
    import skops.io

    check_arrays(read_archive(content))
    if unknown := _untrusted(content):
        raise ValueError(f"it holds {', '.join(unknown)}, which skastro never writes")
    trusted = skops.io.get_untrusted_types(data=content)
    value = skops.io.loads(content, trusted=trusted)
    _check_trees(value, 0)
    return value


def _untrusted(content: bytes) -> list[str]:
    import skops.io

    names = skops.io.get_untrusted_types(data=content)
    return [name for name in names if not _is_trusted(name)]


def _is_trusted(name: str) -> bool:
    if not _TRUSTED.fullmatch(name):
        return False
    module, _, last = name.rpartition(".")
    value = getattr(importlib.import_module(module), last, None)
    return value is not None and root_of(value) == module.split(".")[0]


def _parts(value: Any) -> Iterator[Any]:
    """Yield what an object holds."""
    if isinstance(value, dict):
        yield from value.values()
    if isinstance(value, list | tuple | set):
        yield from value
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from value.ravel()
    elif root_of(type(value)) == "sklearn":
        yield from getattr(value, "__dict__", {}).values()


def _check_trees(value: Any, n_features: int) -> None:
    """Refuse trees whose nodes point outside: compiled code follows them unchecked."""
    tree, predictor = tree_classes()
    n_features = getattr(value, "n_features_in_", n_features)
    if isinstance(value, tree):
        nodes = value.__getstate__()["nodes"]
        is_inner = nodes["left_child"] != -1
        _check_nodes(
            nodes[["left_child", "right_child", "feature"]], is_inner, n_features
        )
    elif isinstance(value, predictor):
        nodes = value.nodes
        _check_nodes(
            nodes[["left", "right", "feature_idx"]], nodes["is_leaf"] == 0, n_features
        )
        n_sets = min(
            len(value.raw_left_cat_bitsets), len(value.binned_left_cat_bitsets)
        )
        if (nodes["bitset_idx"][nodes["is_categorical"] == 1] >= n_sets).any():
            raise ValueError("a tree asks for categories that are not there")
    for part in _parts(value):
        _check_trees(part, n_features)


def _check_nodes(nodes: np.ndarray, is_inner: np.ndarray, n_features: int) -> None:
    left, right, feature = (nodes[name].astype(np.int64) for name in nodes.dtype.names)
    order = np.arange(len(nodes))
    # A child stands behind its parent, so that no path is a circle.
    is_right = (np.minimum(left, right) > order) & (
        np.maximum(left, right) < len(nodes)
    )
    is_right &= (feature >= 0) & (feature < n_features)
    if len(nodes) == 0 or not is_right[is_inner].all():
        raise ValueError("the nodes of a tree point outside of it")
