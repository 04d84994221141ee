# SPDX-License-Identifier: BSD-3-Clause
"""What stands behind searches and pipelines, and what it can tell."""

import inspect
from typing import Any

from sklearn.pipeline import Pipeline


def prediction_steps(estimator: Any) -> list[Any]:
    """List the fitted steps that act in prediction, of nested pipelines and searches.

    The last one says more than pipelines and searches hand on.
    """
    if hasattr(estimator, "best_estimator_"):
        return prediction_steps(estimator.best_estimator_)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [
        inner
        for _, step in estimator.steps
        if step not in (None, "passthrough") and not hasattr(step, "fit_resample")
        for inner in prediction_steps(step)
    ]


def gives_errors(regressor: Any) -> bool:
    """Whether ``predict`` of a regressor has error bars for `return_std`."""
    takes_std = "return_std" in inspect.signature(regressor.predict).parameters
    # The criterion of a network decides.
    return takes_std and getattr(regressor, "_gives_errors", True)
