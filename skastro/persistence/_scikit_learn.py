# SPDX-License-Identifier: BSD-3-Clause
"""Objects of scikit-learn, NumPy and SciPy, by way of skops.

A file of skops is a tree of nodes, each of which names a class and how to build it.
What skops builds is much more than fitted estimators hold, so that the tree is checked
here first. skops is imported where it is needed, since it imports all of scikit-learn.
"""

import functools
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn.metrics

from skastro._compat import tree_classes
from skastro.persistence._public_names import check_names, root_of
from skastro.utils import check_arrays, read_archive, write_archive

_ROOTS = ("sklearn", "_loss", "numpy", "scipy", "builtins", "collections", "functools")
# Deeper objects hold themselves.
_DEEPEST = 50
_PROTOCOL = 2
_SCALARS = r"(bool_?|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)|str_|bytes_)"
# Ways of building, and the names that each may have.
_LOADERS = {
    "DictNode": (
        r"builtins\.dict|collections\.OrderedDict|sklearn\.utils\._bunch\.Bunch"
    ),
    "DefaultDictNode": r"collections\.defaultdict",
    "ListNode": r"builtins\.list",
    "SetNode": r"builtins\.set",
    "TupleNode": r"builtins\.tuple",
    "SliceNode": r"builtins\.slice",
    "JsonNode": r"builtins\.str",
    "NdArrayNode": rf"numpy\.(ndarray|{_SCALARS})",
    "MaskedArrayNode": r"numpy\.ma\.(core\.)?MaskedArray",
    "DTypeNode": r"numpy\.(dtypes\.)?\w+",
    "RandomStateNode": r"numpy\.random\.mtrand\.RandomState",
    "RandomGeneratorNode": r"numpy\.random\._generator\.Generator",
    "SparseMatrixNode": r"scipy\.sparse\._\w+\.\w+_(matrix|array)",
    "TypeNode": rf"builtins\.(bool|int|float|str)|numpy\.{_SCALARS}",
    "FunctionNode": r"(numpy|scipy|sklearn)\.[\w.]+",
    "TreeNode": r"sklearn\.tree\._tree\.Tree",
    "LossNode": (
        r"(sklearn\._loss\.)?_loss\.Cy\w+|sklearn\.linear_model\._sgd_fast\.\w+"
    ),
    "ObjectNode": r"scipy\.interpolate\._bsplines\.BSpline|sklearn\.[\w.]+",
}
# Loaders whose name is that of a class which is built.
_OF_CLASSES = ("NdArrayNode", "TypeNode", "LossNode", "ObjectNode")
# Modules whose classes are parts of fitted estimators, besides the estimators.
_PARTS = re.compile(
    r"""
    scipy\.interpolate\._bsplines | sklearn\._loss\.(loss|link) | sklearn\.calibration
    | sklearn\.cluster\._bisect_k_means | sklearn\.gaussian_process\.(kernels|_gpc)
    | sklearn\.ensemble\._hist_gradient_boosting\.(binning|predictor)
    | sklearn\.metrics\._(scorer|dist_metrics) | sklearn\.neighbors\._(kd|ball)_tree
    | sklearn\.model_selection\._split | sklearn\.utils\._metadata_requests
    | sklearn\.neural_network\._stochastic_optimizers
    """,
    re.VERBOSE,
)
_FUNCTIONS = {
    *("numpy.mean", "numpy.median", "numpy.nanmean"),
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.cluster._kmeans._kmeans_single_elkan",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    *(
        f"sklearn.feature_selection._univariate_selection.{name}"
        for name in ("chi2", "f_classif", "f_oneway", "f_regression", "r_regression")
    ),
}
_SEEDS = {"entropy", "n_children_spawned", "pool_size", "spawn_key"}
_LONGEST_SEEDS = 4000
# Attributes that name a method to be called, and the methods.
_NAMING = ("response_method", "stack_method", "stack_method_")
_METHODS = {
    *("auto", "decision_function", "predict", "predict_log_proba", "predict_proba"),
    "transform",
}
_METRIC = re.compile(r"sklearn\.metrics\.\w+\.\w*_(score|error|loss)")


def is_alone(value: Any, depth: int = 0) -> bool:
    """Tell whether an object holds nothing but objects of the packages above."""
    cls = value if isinstance(value, type) or callable(value) else type(value)
    if isinstance(value, functools.partial):
        cls = type(value)
    if root_of(cls) not in (*_ROOTS, "") and not isinstance(value, np.ufunc):
        return False
    if depth > _DEEPEST:
        return False
    return all(is_alone(part, depth + 1) for part in _parts(value))


def dump_with_skops(value: Any, path: str) -> bytes:
    """Write an object that holds neither networks nor anything of a user's own."""
    import skops.io

    try:
        content = skops.io.dumps(value)
        _cleaned(content)
    except Exception as error:
        raise TypeError(
            f"{path}, a {type(value).__name__}, cannot be written to a file that runs "
            f"no code: {error}. Take a named class or function of your own in its "
            "place; of a search, save best_estimator_; or pickle the model."
        ) from error
    return content


def load_with_skops(content: bytes) -> Any:
    """Read what :func:`dump_with_skops` wrote; ValueError for what it never writes."""
    import skops.io

    content = _cleaned(content)
    trusted = skops.io.get_untrusted_types(data=content)
    value = skops.io.loads(content, trusted=trusted)
    _check_parts(value, np.iinfo(np.int64).max)
    return value


def _cleaned(content: bytes) -> bytes:
    """Check the nodes of a file, and leave out what lets them refer to one another."""
    members = read_archive(content)
    schema = json.loads(members.pop("schema.json"))
    if schema.get("protocol") != _PROTOCOL:
        raise ValueError("it is of another version of the format of skops")
    check_arrays(members)
    left = 2**24 + 4 * len(content)

    def clean(node: Any) -> Any:
        nonlocal left
        if isinstance(node, list):
            return [clean(part) for part in node]
        if not isinstance(node, dict):
            return node
        if "__loader__" in node:
            _check_node(node)
            if "file" in node:
                left -= len(members[node["file"]])
        if left < 0:
            raise ValueError("its nodes name the same arrays again and again")
        return {
            key: clean(part)
            for key, part in node.items()
            if key != "__id__" or "__loader__" not in node
        }

    schema = clean(schema)
    return write_archive({**members, "schema.json": json.dumps(schema).encode()})


def _check_node(node: dict[str, Any]) -> None:
    loader, module, last = node["__loader__"], node["__module__"], node["__class__"]
    name = f"{module}.{last}"
    pattern = _LOADERS.get(loader)
    suffix = ".npz" if loader == "SparseMatrixNode" else ".npy"
    is_known = pattern is not None and re.fullmatch(pattern, name) is not None
    # skops has imported all modules of estimators.
    value: Any = getattr(sys.modules.get(module), last, None)
    if loader == "FunctionNode":
        is_known = is_known and _is_function(value, name)
    elif loader in _OF_CLASSES:
        is_class = isinstance(value, type) and value.__module__ == module
        is_known = is_known and is_class
        if loader == "ObjectNode":
            is_known = is_known and _is_part(value)
    if not is_known or ("file" in node and not node["file"].endswith(suffix)):
        raise ValueError(f"it holds {name}, which skastro does not write")
    if (
        loader == "ObjectNode"
        and node.get("content", {}).get("__loader__") == "DictNode"
    ):
        check_names(value, node["content"]["content"])
    if loader == "MaskedArrayNode":
        if node["content"]["mask"]["__loader__"] != "NdArrayNode":
            raise ValueError("it holds a mask that is no array")
    if loader == "RandomGeneratorNode":
        _check_generator(node["content"])


def _check_generator(content: dict[str, Any]) -> None:
    """Refuse generators other than NumPy's default, which take time or memory."""
    state, seeds = (content[name]["content"] for name in ("bit_generator", "seed_seq"))
    is_small = len(json.dumps(seeds)) < _LONGEST_SEEDS and set(seeds) <= _SEEDS
    is_default = json.loads(state["bit_generator"]["content"]) == "PCG64"
    if not (is_small and is_default and seeds["pool_size"]["content"] == "4"):
        raise ValueError("it holds a generator of random numbers of another kind")


def _is_function(value: Any, name: str) -> bool:
    """Tell whether a function computes with arrays, and does nothing else."""
    is_metric = (
        _METRIC.fullmatch(name) and name.split(".")[-1] in sklearn.metrics.__all__
    )
    return isinstance(value, np.ufunc) or name in _FUNCTIONS or bool(is_metric)


def _is_part(cls: type) -> bool:
    from sklearn.base import BaseEstimator

    return issubclass(cls, BaseEstimator) or bool(_PARTS.fullmatch(cls.__module__))


def _parts(value: Any) -> Iterator[Any]:
    """Yield what an object holds."""
    if isinstance(value, dict):
        yield from value.values()
    if isinstance(value, list | tuple | set):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from value.ravel()
    elif root_of(type(value)) == "sklearn":
        yield from getattr(value, "__dict__", {}).values()


def _check_parts(value: Any, n_features: int) -> None:
    """Refuse folders, and trees whose nodes point outside.

    Compiled code follows the nodes unchecked.
    """
    tree, predictor = tree_classes()
    n_features = min(n_features, getattr(value, "n_features_in_", n_features))
    check_attributes(value)
    if isinstance(value, np.random.RandomState):
        if not 0 <= value.get_state(legacy=True)[2] <= 624:
            raise ValueError("it holds a generator that points outside of its numbers")
    if isinstance(value, tree):
        nodes = value.__getstate__()["nodes"]
        is_inner = nodes["left_child"] != -1
        names = ["left_child", "right_child", "feature"]
        _check_nodes(nodes[names], is_inner, n_features)
    elif isinstance(value, predictor):
        nodes = value.nodes
        names = ["left", "right", "feature_idx"]
        _check_nodes(nodes[names], nodes["is_leaf"] == 0, n_features)
        sets = (value.raw_left_cat_bitsets, value.binned_left_cat_bitsets)
        asked = nodes["bitset_idx"][nodes["is_categorical"] == 1]
        if (asked >= min(map(len, sets))).any():
            raise ValueError("a tree asks for categories that are not there")
    for part in _parts(value):
        _check_parts(part, n_features)


def check_attributes(value: Any) -> None:
    """Refuse what would call methods, or read files, when an estimator is used."""
    attributes = getattr(value, "__dict__", {})
    name = type(value).__name__
    if attributes.get("memory") is not None:
        raise ValueError(f"{name} has memory=, a folder of pickles; set memory=None")
    is_own = root_of(type(value)) == "sklearn"
    if is_own and attributes.get("input", "content") != "content":
        raise ValueError(f"{name} reads files; set input='content'")
    for attribute in _NAMING if is_own else ():
        methods = attributes.get(attribute, attributes.get(f"_{attribute}"))
        methods = methods if isinstance(methods, list | tuple) else [methods]
        if not all(m is None or (type(m) is str and m in _METHODS) for m in methods):
            raise ValueError(
                f"{name} has {attribute}={methods!r}, which it never calls"
            )


def _check_nodes(nodes: np.ndarray, is_inner: np.ndarray, n_features: int) -> None:
    left, right, feature = (nodes[name].astype(np.int64) for name in nodes.dtype.names)
    order = np.arange(len(nodes))
    # A child stands behind its parent, so that no path is a circle.
    is_right = (np.minimum(left, right) > order) & (feature >= 0)
    is_right &= (np.maximum(left, right) < len(nodes)) & (feature < n_features)
    if len(nodes) == 0 or not is_right[is_inner].all():
        raise ValueError("the nodes of a tree point outside of it")
