# SPDX-License-Identifier: BSD-3-Clause
"""Pipelines of transformers, samplers and an estimator, whose steps need no names."""

from collections import Counter
from functools import wraps
from itertools import count
from typing import Any

import imblearn.pipeline
import numpy as np
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import available_if

from skastro._compat import check_method_params
from skastro.streaming import predict_stream
from skastro.utils import fill_masks, knows_samples

__all__ = ["Pipeline", "make_pipeline"]


class Pipeline(imblearn.pipeline.Pipeline):
    """Chain of transformers, samplers and a final estimator.

    This is imbalanced-learn's pipeline: scikit-learn's with samplers that act in
    ``fit`` only. In addition, its steps need no names, and arguments of the last step's
    ``fit`` that hold one value a sample, such as ``sample_weight`` and ``groups``,
    follow the rows that samplers draw, by their ``sample_indices_``. A last step that
    sets a part of the samples aside itself (a number as ``train_split``) keeps the
    copies of a sample on one side: they are groups, where none are given. Where the
    first step is not skastro's, and may know no masks, masked values of X are NaN to
    it.

    Parameters
    ----------
    steps : list of estimators or of (str, estimator) pairs
        The steps in their order. All but the last must be transformers (``fit`` and
        ``transform``), samplers (``fit_resample``), or ``"passthrough"``. Steps with
        and without names may be mixed. A step without a name is named after its class
        in lower case, as :func:`make_pipeline` does, with ``-1``, ``-2``, ... appended
        if a class occurs several times.
    transform_input : list of str, default=None
        Names of the arguments of ``fit``, besides `X`, that are passed through the
        steps before the one that requests them, such as a validation set. Needs
        metadata routing to be enabled.
    memory : str or object with the joblib.Memory interface, default=None
        Where fitted transformers are cached. A string is the path of a folder. None
        caches nothing.
    verbose : bool, default=False
        Print the time that each step took to fit.

    Attributes
    ----------
    named_steps : :class:`~sklearn.utils.Bunch`
        The steps by name.
    classes_ : ndarray of shape (n_classes,)
        The class labels, if the last step is a classifier.
    n_features_in_ : int
        Number of features that the first step saw in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features that the first step saw in ``fit``, if they had names.

    See Also
    --------
    make_pipeline : The same with the steps as arguments.
    imblearn.pipeline.Pipeline : The pipeline without automatic names.

    Notes
    -----
    ``get_params`` returns the steps with their names, so clones, grid searches and
    pickles know them.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skastro.pipeline import Pipeline
    >>> from skastro.preprocessing import MinMaxSpectra
    >>> pipe = Pipeline([MinMaxSpectra(), LogisticRegression()])
    >>> pipe
    Pipeline(steps=[('minmaxspectra', MinMaxSpectra()),
                    ('logisticregression', LogisticRegression())])
    >>> pipe.set_params(minmaxspectra__clip=True)["minmaxspectra"]
    MinMaxSpectra(clip=True)
    """

    @property
    def steps(self) -> list[tuple[str, Any]]:
        """The steps as (name, estimator) pairs."""
        return self._steps

    # Both `__init__` and `set_params(steps=...)` assign to this property. A list in
    # which all steps have names is kept, because `sklearn.base.clone` requires the
    # object that it passed.
    @steps.setter
    def steps(self, steps: list[Any]) -> None:
        self._steps = _name_steps(steps)

    # As a method, with the pipeline as the estimator.
    predict_stream = predict_stream

    def _validate_params(self) -> None:
        super()._validate_params()
        _check_steps(self.steps)

    def _with_masks_filled(self, X: Any) -> Any:
        _check_steps(self.steps)
        return X if knows_samples(self) else fill_masks(X)

    def _fit(
        self, X: Any, y: Any = None, routed_params: Any = None, raw_params: Any = None
    ) -> tuple[Any, Any]:
        names = [name for name, _ in self.steps]
        samplers = [n for n, step in self.steps[:-1] if hasattr(step, "fit_resample")]
        if not samplers:
            return super()._fit(X, y, routed_params, raw_params)
        # Spectra with their wavelengths, which RebinSpectra takes, may be one object.
        samples = X if y is None else y
        n_rows = samples.shape[0] if hasattr(samples, "shape") else len(samples)
        rows = np.arange(n_rows)
        given = {name: routed_params.get(name, {}) for name in names}
        for name in names[names.index(samplers[0]) + 1 : -1]:
            if self._per_sample(samples, given[name], rows):
                raise ValueError(
                    f"Step {name!r} was given values of each sample, such as "
                    "sample_weight or groups, but step "
                    f"{samplers[0]!r} before it draws other rows. Only values for the "
                    "last step follow these."
                )
        resampled = super()._fit(X, y, routed_params, raw_params)
        last = given[names[-1]]
        is_given = bool(self._per_sample(samples, last, rows))
        splits = _splits_alone(self.steps[-1][1]) and "fit" in last
        for name in samplers if is_given or splits else ():
            sampler = dict(self.steps)[name]
            if hasattr(sampler, "sample_indices_"):
                rows = rows[sampler.sample_indices_]
            elif is_given:
                raise ValueError(
                    f"Step {name!r}, {type(sampler).__name__}, does not tell which "
                    "rows it has drawn (sample_indices_), so that values of each "
                    "sample, such as sample_weight or groups, cannot follow. Leave "
                    "them out, or take a sampler that copies and drops rows."
                )
            else:
                return resampled
        if is_given:
            for method, values in self._per_sample(samples, last, rows).items():
                last[method] = {**last[method], **values}
        if splits and last["fit"].get("groups") is None:
            # Samples of the validation must have no copies in the training.
            if len(np.unique(rows)) < len(rows):
                last["fit"] = {**last["fit"], "groups": rows}
        return resampled

    def _per_sample(
        self, samples: Any, params: Any, rows: np.ndarray
    ) -> dict[str, dict]:
        """Select rows of the arguments that hold one value a sample, by method."""
        found = {}
        for method, values in params.items():
            selected = check_method_params(samples, values, rows)
            found[method] = {
                name: value
                for name, value in selected.items()
                if value is not values[name]
                and name not in (self.transform_input or ())
            }
        return {method: values for method, values in found.items() if values}


def _splits_alone(step: Any) -> bool:
    """Whether a step sets random samples aside itself, and takes their groups."""
    if not isinstance(getattr(step, "train_split", None), float):
        return False
    return bool(get_routing_for_object(step).consumes("fit", ["groups"]))


def _fill_masks_in(name: str) -> None:
    """Let a method of the pipeline fill masks in X before its first step."""
    method = getattr(imblearn.pipeline.Pipeline, name)

    # The method is there where the one of the base is, which tells why it is not.
    @available_if(lambda pipe: bool(getattr(super(Pipeline, pipe), name)))
    @wraps(method)
    def filling(self: Pipeline, X: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, self._with_masks_filled(X), *args, **kwargs)

    setattr(Pipeline, name, filling)


for _name in (
    *("fit", "fit_transform", "fit_predict", "fit_resample", "transform", "score"),
    *("predict", "predict_proba", "predict_log_proba", "decision_function"),
    "score_samples",
):
    _fill_masks_in(_name)


def make_pipeline(
    *steps: Any,
    transform_input: list[str] | None = None,
    memory: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Construct a :class:`~skastro.Pipeline` from the given steps.

    Parameters
    ----------
    *steps : estimators
        The steps in their order.
    transform_input : list of str, default=None
        Names of the arguments of ``fit``, besides `X`, that are passed through the
        steps before the one that requests them, such as a validation set. Needs
        metadata routing to be enabled.
    memory : str or object with the joblib.Memory interface, default=None
        Where fitted transformers are cached. A string is the path of a folder. None
        caches nothing.
    verbose : bool, default=False
        Print the time that each step took to fit.

    Returns
    -------
    pipeline : Pipeline
        The pipeline, with its steps named after their classes.

    Examples
    --------
    >>> from skastro.pipeline import make_pipeline
    >>> from skastro.preprocessing import MinMaxSpectra, RebinSpectra
    >>> make_pipeline(RebinSpectra(n_bins=100), MinMaxSpectra())
    Pipeline(steps=[('rebinspectra', RebinSpectra(n_bins=100)),
                    ('minmaxspectra', MinMaxSpectra())])
    """
    return Pipeline(
        list(steps), transform_input=transform_input, memory=memory, verbose=verbose
    )


def _name_steps(steps: Any) -> Any:
    """Name the steps that have no name; return anything but a list unchanged."""
    if not isinstance(steps, list | tuple) or any(map(_is_mistaken, steps)):
        return steps
    if isinstance(steps, list) and all(map(_is_named, steps)):
        return steps
    taken = {step[0] for step in steps if _is_named(step)}
    bare = [None if _is_named(step) else _class_name(step) for step in steps]
    occurrences = Counter(bare)

    named = []
    for step, name in zip(steps, bare, strict=True):
        if name is None:
            named.append(tuple(step))
            continue
        if occurrences[name] > 1 or name in taken:
            numbered = (f"{name}-{number}" for number in count(1))
            name = next(candidate for candidate in numbered if candidate not in taken)
        taken.add(name)
        named.append((name, step))
    return named


def _is_named(step: Any) -> bool:
    """Whether a step is a (name, estimator) pair."""
    is_pair = isinstance(step, list | tuple) and len(step) == 2
    return is_pair and isinstance(step[0], str)


def _is_mistaken(step: Any) -> bool:
    """Whether something is neither an estimator nor a (name, estimator) pair."""
    return isinstance(step, list | tuple | type) and not _is_named(step)


def _class_name(step: Any) -> str:
    """Return the name of a step without a name, before numbers are appended."""
    return step if isinstance(step, str) else type(step).__name__.lower()


def _check_steps(steps: Any) -> None:
    """Raise if `steps` is not a list of steps, and name the error."""
    if not isinstance(steps, list | tuple):
        raise TypeError(
            "steps must be a list of estimators or of (name, estimator) pairs, got "
            f"{steps!r}."
        )
    if not steps:
        raise ValueError("The pipeline is empty: give it at least one step.")
    for step in steps:
        estimator = step[1] if _is_named(step) else step
        if isinstance(estimator, type):
            raise TypeError(
                f"Each step must be an estimator, got the class {estimator.__name__}: "
                f"write {estimator.__name__}()."
            )
        if _is_mistaken(step):
            raise TypeError(
                "Each step must be an estimator or a (name, estimator) pair, got "
                f"{step!r}."
            )
