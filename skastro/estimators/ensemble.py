# SPDX-License-Identifier: BSD-3-Clause
"""Several networks that differ by their seeds."""

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skastro._compat import (
    HasMethods,
    Interval,
    estimator_has,
    fit_context,
    raise_for_params,
)
from skastro.estimators._meta import MetaClassifier


class EnsembleClassifier(MetaClassifier):
    """Average the probabilities of networks that differ by their seeds.

    All members are fitted on all samples. Where networks that began with other weights,
    and set other samples aside for validation, disagree, the answer depends on chance
    more than on the data: such a deep ensemble [1]_ is more accurate than its members,
    and the spread of their probabilities is an error bar.

    Parameters
    ----------
    estimator : estimator
        A classifier that draws random numbers, or a pipeline that ends in one.

    n_estimators : int, default=5
        How many members to fit.

    random_state : int, RandomState instance or None, default=None
        Where the members' seeds come from, which go to each parameter named
        ``random_state``. With an int, results are the same at each call.

    n_jobs : int, default=None
        How many members are fitted at the same time; -1 for one a processor. None
        stands for 1, unless a joblib backend says otherwise.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted members.

    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, sorted; the columns of ``predict_proba``.

    n_features_in_ : int
        Length of the second axis of X in ``fit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a data frame.

    See Also
    --------
    sklearn.ensemble.VotingClassifier : Average classifiers of several kinds.
    sklearn.ensemble.BaggingClassifier : Fit each member on samples of its own.

    References
    ----------
    .. [1] Lakshminarayanan, B., Pritzel, A. & Blundell, C. (2017). "Simple and scalable
           predictive uncertainty estimation using deep ensembles". NeurIPS.
           https://arxiv.org/abs/1612.01474

    Examples
    --------
    >>> from skastro import EnsembleClassifier, SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> train = make_spectra(60, wavelength=range(3900, 9000, 50), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=2, verbose=0)
    >>> clf = EnsembleClassifier(clf, n_estimators=3, random_state=0)
    >>> clf = clf.fit(train.flux, train.target)
    >>> clf.predict_proba(train.flux).shape, clf.predict_std(train.flux).shape
    ((60, 3), (60, 3))
    """

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        n_estimators: int = 5,
        *,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _fitted(self) -> Any:
        return self.estimators_[0]

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit all members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,)
            The labels.
        **params : dict
            Parameters for the members' ``fit``, with metadata routing enabled.

        Returns
        -------
        self : object
            The fitted classifier.
        """
        raise_for_params(params, self, None)
        routed = process_routing(self, "fit", **params).estimator.fit
        y = column_or_1d(y, warn=True)
        generator = check_random_state(self.random_state)
        members = [
            _seeded(clone(self.estimator), generator) for _ in range(self.n_estimators)
        ]
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(member.fit)(X, y, **routed) for member in members
        )
        return self

    def _ask_all(self, method: str, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.stack([getattr(member, method)(X) for member in self.estimators_])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities: the members' mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            One column a class, in the order of `classes_`.
        """
        return self._ask_all("predict_proba", X).mean(axis=0)

    def predict_std(self, X: Any) -> np.ndarray:
        """Tell by how much the members disagree.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        std : ndarray of shape (n_samples, n_classes)
            Standard deviation of the members' probabilities.
        """
        return self._ask_all("predict_proba", X).std(axis=0)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class with the highest mean probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels.
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return self.classes_[codes]

    @available_if(
        estimator_has("score_samples", delegates=("estimators_", "estimator"))
    )
    def score_samples(self, X: Any) -> np.ndarray:
        """Say how alike samples are to the training set: the members' mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The higher, the more alike.
        """
        return self._ask_all("score_samples", X).mean(axis=0)


def _seeded(estimator: Any, generator: np.random.RandomState) -> Any:
    """Give all parts of an estimator that draw random numbers seeds of their own."""
    names = sorted(estimator.get_params(deep=True))
    seeds = {
        name: generator.randint(np.iinfo(np.int32).max)
        for name in names
        if name == "random_state" or name.endswith("__random_state")
    }
    return estimator.set_params(**seeds)
