# SPDX-License-Identifier: BSD-3-Clause
"""All private names of other packages that skastro needs, each with its reason.

A private name can change in any release of its package. Therefore

- only this file imports such names, and every other file takes them from here;
- `PRIVATE_MEMBERS` lists the private methods and attributes of base classes that
  skastro's classes override, set or call;
- ``pyproject.toml`` gives each of these packages an upper bound, the next release that
  the tests have not seen, and ``tox -e pre`` tests the pre-releases.

``tests/test_compat.py`` checks all three. PyTorch is imported only where it is used, so
that readers and transformers do without it.
"""

from collections.abc import Collection
from operator import attrgetter
from typing import Any

# Decorator of `fit` that validates the parameters first, unless scikit-learn's
# `skip_parameter_validation` is set. Public way: none; calling `_validate_params` at
# the start of `fit` does the same without the setting for nested estimators.
from sklearn.base import _fit_context as fit_context

# Rows of an array, data frame or list by their positions. Public way: none in
# scikit-learn; narwhals or three branches (`iloc`, `X[rows]`, a list comprehension).
from sklearn.utils import _safe_indexing as safe_indexing

# Classes that describe the permitted values of a parameter, and the function that
# compares values with them; scikit-learn's estimators declare theirs alike, so that
# messages are the same. Public way: none; checks in `fit`.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)

# What ``transform`` returns, in the container that ``set_output`` asks for. Public way:
# none; scikit-learn wraps each ``transform`` and knows results of two axes only.
from sklearn.utils._set_output import _wrap_data_with_container as wrap_output

# Refuses fit parameters that no step requests. Public way: without metadata routing an
# explicit signature of `fit`; with it `process_routing` refuses them itself.
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params

# Selects rows of the fit parameters that have one value per sample. Public way: none.
from sklearn.utils.validation import _check_method_params as check_method_params

# Returns the weights as an array of the length of X, or raises. Public way:
# `check_array` with `ensure_2d=False` and `check_consistent_length`.
from sklearn.utils.validation import _check_sample_weight as validated_sample_weight

# Condition for `available_if`: the inner estimator has the method. Public way: a
# function of three lines that looks for `estimator_`, then for `estimator`.
from sklearn.utils.validation import _estimator_has as estimator_has

__all__ = [
    "PRIVATE_MEMBERS",
    "HasMethods",
    "Interval",
    "Options",
    "RealNotInt",
    "StrOptions",
    "check_method_params",
    "cpu_multiplies_bfloat16",
    "estimator_has",
    "find_bfloat16_support",
    "find_convolution",
    "find_global_hooks",
    "fit_context",
    "holders_of_estimators",
    "hooks_of",
    "is_normalization",
    "offers_set_output",
    "raise_for_params",
    "safe_indexing",
    "tree_classes",
    "validate_as_skorch",
    "validate_parameter_constraints",
    "validated_sample_weight",
    "version_of",
    "visual_block",
    "wrap_output",
]


def visual_block(kind: str, content: Any, **options: Any) -> Any:
    """Make a box of the diagrams that notebooks show for estimators.

    Public way: none; an estimator without a block is one box without its network.
    """
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:
        # Until scikit-learn 1.6.
        from sklearn.utils._estimator_html_repr import _VisualBlock
    return _VisualBlock(kind, content, **options)


def cpu_multiplies_bfloat16() -> bool:
    """Tell whether the processor has AVX-512 instructions for bfloat16.

    Public way: ``torch.cpu.get_capabilities()["avx512_bf16"]``, which the oldest
    supported release of PyTorch does not have.
    """
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())


# The hooks that are called before and after a layer, which `FoldedWeights` must not
# pass by. Public way: none.
hooks_of = attrgetter("_forward_pre_hooks", "_forward_hooks")

# The function, found from `torch`, that tells whether hooks are called for all layers.
# Public way: none.
find_global_hooks = attrgetter("nn.modules.module._has_any_global_hook")

# The convolution of oneDNN, found from `torch`, that also adds maps and activates.
# Public way: ``torch.compile``, which calls it too, and needs a compiler and minutes.
find_convolution = attrgetter("ops.mkldnn._convolution_pointwise")

# Whether oneDNN computes in bfloat16 on this processor. Public way: none.
find_bfloat16_support = attrgetter("ops.mkldnn._is_mkldnn_bf16_supported")

# How often a tensor has been changed in place. Public way: none.
version_of = attrgetter("_version")


def is_normalization(layer: Any) -> bool:
    """Tell whether a layer keeps running means and variances, as batch norm does.

    Public way: a tuple of the batch and instance norms of `torch.nn`. Layers of other
    packages, which derive from PyTorch's base class, are not instances of these.
    """
    from torch.nn.modules.batchnorm import _NormBase

    return isinstance(layer, _NormBase)


def holders_of_estimators() -> dict[str, type]:
    """Give classes of scikit-learn around an estimator, by name: for files of models.

    Public way: none; fitted searches and calibrated classifiers hold them.
    """
    from sklearn.calibration import _CalibratedClassifier
    from sklearn.metrics._scorer import _PassthroughScorer

    classes = (_CalibratedClassifier, _PassthroughScorer)
    return {f"{cls.__module__}.{cls.__name__}": cls for cls in classes}


def tree_classes() -> tuple[Any, Any]:
    """Give the classes of trees, whose nodes a file must not let point outside.

    Public way: none; fitted estimators hold them in public attributes.
    """
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    return Tree, TreePredictor


def offers_set_output(cls: type) -> type:
    """Give a class `set_output` that calls `wrap_output` itself.

    Public way: none; scikit-learn gives it with wrapped methods only.
    """
    cls._sklearn_auto_wrap_output_keys = {"transform"}  # type: ignore[attr-defined]
    return cls


def validate_as_skorch(names: Collection[str], prefixes: Collection[str]) -> None:
    """Raise skorch's error for unknown names of parameters, or its warnings.

    Public way: none; skorch compares the names when a net is initialized.
    """
    from types import SimpleNamespace

    from skorch import NeuralNet

    net = SimpleNamespace(
        _params_to_validate=set(names), prefixes_=prefixes, use_caching="auto"
    )
    net.iterator_valid__shuffle = True
    NeuralNet._validate_params(net)


# Package -> private member of its classes -> reason, and the public way where there is
# one.
PRIVATE_MEMBERS = {
    "imblearn": {
        "_check_X_y": (
            "Samples of any shape are checked, which the sampler's own check refuses. "
            "Public way: an own `fit_resample`."
        ),
        "_fit": (
            "Fits all steps but the last; arguments of the last one then follow the "
            "rows that were drawn. Public way: none."
        ),
        "_fit_resample": "The method that samplers are documented to implement.",
        "_sampling_type": (
            "Read by `fit_resample`: 'bypass' leaves the counts to the sampler."
        ),
    },
    "sklearn": {
        "_fit": "As for imbalanced-learn.",
        "_get_param_names": (
            "Parameters in the catch-all keyword arguments count as parameters. Public "
            "way: `get_params` alone, without which `clone` and `repr` miss them."
        ),
        "_parameter_constraints": "Declares the permitted values of the parameters.",
        "_validate_params": ("Checks the parameters. Public way: checks in `fit`."),
    },
    "skorch": {
        "_criteria": (
            "Set on the class, since scikit-learn forbids setting it in `__init__`."
        ),
        "_default_callbacks": (
            "Names the callbacks of a net. Public way: `get_default_callbacks`, which "
            "reads it."
        ),
        "_get_param_names": "As for scikit-learn.",
        "_get_params_callbacks": (
            "Parameters of callbacks before `initialize`. Public way: `get_params`."
        ),
        "_get_params_for": (
            "Parameters of a part, with the prefix. Public way: `get_params_for`."
        ),
        "_get_predict_nonlinearity": (
            "Converts the module's output to probabilities; a learned temperature is "
            "applied here. Public way: `predict_nonlinearity`, a parameter, which a "
            "fit must not change."
        ),
        "_initialize_callbacks": (
            "Renews the callbacks after `set_params`. Public way: "
            "`initialize_callbacks`."
        ),
        "_get_module": (
            "Learned state is written and read with the weights. Public way: a file of "
            "its own, which callbacks such as `Checkpoint` would not know."
        ),
        "_initialize_module": (
            "What was learned from a module is forgotten with it, whoever builds it. "
            "Public way: `initialize_module`, which users override."
        ),
        "_merge_x_and_fit_params": (
            "Dict input and fit parameters are arguments of the module. Public "
            "way: the union of two dicts."
        ),
        "_initialize_optimizer": (
            "Renews the optimizer after `set_params` and prints skorch's message. "
            "Public way: `initialize_optimizer`, without the message."
        ),
        "_modules": "As `_criteria`.",
        "_optimizers": "As `_criteria`.",
        "_params_to_validate": (
            "Names of the parameters that skorch compares with those it knows."
        ),
        "_set_training": (
            "Switches the modules between training and evaluation. Public way: "
            "`train_step_single` and `evaluation_step`, each with its own switch."
        ),
        "_uniquely_named_callbacks": (
            "Names of the callbacks, before they are initialized. Public way: "
            "`callbacks_` after it."
        ),
        "_validate_params": "As for scikit-learn.",
        "_zero_grad_optimizer": (
            "Clears gradients. Public way: `zero_grad` of each optimizer."
        ),
    },
    "torch": {
        "_metadata": (
            "Carries learned state beside the weights of a state dict. Public way: an "
            "entry of the state dict, which plain modules would refuse."
        ),
        "_check_input_dim": (
            "Batch norm of 1-D maps also takes maps of height 1. Public way: an own "
            "`forward` with `torch.nn.functional.batch_norm`."
        ),
    },
}
