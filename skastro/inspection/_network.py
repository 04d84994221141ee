# SPDX-License-Identifier: BSD-3-Clause
"""The way from a fitted pipeline to what its network reads."""

from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from skorch.utils import to_device

from skastro.base import StrictClassifier
from skastro.base._door import check_X_y
from skastro.utils import check_finite, plain_array


def reach_network(estimator: Any, X: Any, caller: str) -> tuple[StrictClassifier, Any]:
    """Find the classifier at a pipeline's end, and bring X to where it stands.

    Parameters
    ----------
    estimator : StrictClassifier or Pipeline
        A fitted classifier, or a pipeline that ends in one.
    X : array-like of shape (n_samples, ...)
        What ``estimator.predict`` takes.
    caller : str
        Who asks, for the message.

    Returns
    -------
    net : StrictClassifier
        The classifier.
    X : ndarray or LazyArray of shape (n_samples, ...)
        What ``net.predict`` takes: X after all steps but the last. Samplers change
        training data only, so they are passed over.

    Raises
    ------
    TypeError
        If there is no such classifier.
    NotFittedError
        If the classifier or a step is not fitted.
    """
    steps = []
    net = estimator
    while isinstance(net, Pipeline):
        steps += [step for _, step in net.steps[:-1]]
        net = net.steps[-1][1]
    if not isinstance(net, StrictClassifier):
        message = (
            f"{caller} takes a SpectrumClassifier, a GalaxyClassifier or a pipeline "
            f"that ends in one, but got {type(net).__name__}."
        )
        if hasattr(net, "best_estimator_"):
            message += " Give its best_estimator_."
        raise TypeError(message)
    net.check_is_fitted()
    for step in steps:
        if step in (None, "passthrough") or hasattr(step, "fit_resample"):
            continue
        X = step.transform(X)
    X, _ = check_X_y(net, X, reset=False, finite=False)
    return net, X


def encode_target(
    net: StrictClassifier, target: Any, n_samples: int
) -> np.ndarray | None:
    """Translate the labels whose maps are asked for into the network's outputs.

    Parameters
    ----------
    net : StrictClassifier
        The fitted classifier.
    target : label, array-like of shape (n_samples,) or None
        One label for all samples or one for each.
    n_samples : int
        Number of samples.

    Returns
    -------
    codes : ndarray of shape (n_samples,), int, or None
        Numbers of the outputs; None where `target` is None.

    Raises
    ------
    ValueError
        If a label is not among the classes, or their number is another.
    """
    if target is None:
        return None
    labels = np.asarray(target)
    if labels.ndim == 0:
        labels = np.full(n_samples, labels)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"target must be None, one label, or one label for each of the {n_samples} "
            f"samples of X, but got an array of shape {labels.shape}."
        )
    code_of = {label: code for code, label in enumerate(net.classes_.tolist())}
    unknown = sorted({str(label) for label in labels.tolist() if label not in code_of})
    if unknown:
        raise ValueError(
            f"target has labels that the classifier does not know: {unknown}; its "
            f"classes are {list(code_of)}."
        )
    return np.array([code_of[label] for label in labels.tolist()])


def module_input(net: StrictClassifier, X: Any) -> torch.Tensor:
    """Bring rows of X to the tensor that the module sees in prediction.

    Parameters
    ----------
    net : StrictClassifier
        The fitted classifier.
    X : array of shape (n_samples, ...)
        Some rows of what ``net.predict`` takes.

    Returns
    -------
    x : Tensor
        On the classifier's device, float32.
    """
    rows = plain_array(np.asarray(X))
    check_finite(rows, advice=net._finite_advice)
    # A copy: torch warns of arrays that are not writable, such as memory maps.
    x = to_device(torch.tensor(rows), torch.device(net.device))
    if not net._takes_sizes:
        return x.float()
    return net._to_module_layout(net._normalize(x).float())
