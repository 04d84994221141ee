# SPDX-License-Identifier: BSD-3-Clause
"""Estimators around another one: ensembles, and a classifier that may reject."""

from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
    is_classifier,
)
from sklearn.model_selection import StratifiedGroupKFold, check_cv
from sklearn.utils import Tags, check_random_state, column_or_1d, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, indexable
from skorch.utils import is_dataset

from skastro._compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_method_params,
    estimator_has,
    fit_context,
    raise_for_params,
    safe_indexing,
)
from skastro.base._regressor import score_known
from skastro.estimators._votes import score_votes
from skastro.utils import (
    check_weights,
    gives_errors,
    inherit_parameters,
    knows_samples,
    plain_array,
    plain_labels,
    plain_samples,
    prediction_steps,
    score_plain,
)

_METHODS = {"probability": "predict_proba", "score_samples": "score_samples"}


class MetaEstimator(MetaEstimatorMixin, BaseEstimator):
    """Estimators that show what the one inside has learned of the data.

    Attributes
    ----------
    n_features_in_ : int
        Length of the second axis of X in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a data frame.
    """

    def _fitted(self) -> Any:
        """Give a fitted estimator of those inside; AttributeError before ``fit``."""
        return self.estimator_

    @property
    def n_features_in_(self) -> int:
        """Length of the second axis of X in ``fit``."""
        return self._fitted().n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns, where X was a data frame."""
        return self._fitted().feature_names_in_

    def _routed(self, params: dict[str, Any]) -> Any:
        """Choose the parameters for the methods of the objects inside."""
        if params.get("sample_weight") is not None:
            params = params | {"sample_weight": check_weights(params["sample_weight"])}
        return process_routing(self, "fit", **params)

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that parameters of ``fit`` go to that of the estimator inside.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(
            estimator=self.estimator, method_mapping=mapping
        )

    def __sklearn_tags__(self) -> Tags:
        """Take the input that the estimator inside takes."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        return tags


class MetaClassifier(ClassifierMixin, MetaEstimator):
    """Classifiers that show what the estimator inside has learned of the data.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, sorted; the columns of ``predict_proba``.
    """

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, sorted; the columns of ``predict_proba``."""
        return self._fitted().classes_

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,)
            The true labels; bytes count as text, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        accuracy : float
            The part of the samples that is classified correctly.
        """
        return score_plain(super().score, X, plain_labels(y), sample_weight)

    def __sklearn_tags__(self) -> Tags:
        """Take the input that the estimator inside takes, with one label a sample."""
        tags = super().__sklearn_tags__()
        tags.target_tags = replace(tags.target_tags, multi_output=False)
        inner = get_tags(self.estimator)
        if inner.classifier_tags is not None:
            tags.classifier_tags = replace(inner.classifier_tags, multi_label=False)
        return tags


class Ensemble(MetaEstimator):
    """Copies of an estimator that differ by their seeds.

    Parameters
    ----------
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
    """

    _parameter_constraints: ClassVar[dict] = {
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

    def _plain_target(self, y: Any) -> Any:
        """Convert targets for the members."""
        return y

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit all members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The labels of a classifier, or the targets of a regressor.
        **params : dict
            Parameters for the members' ``fit``, with metadata routing enabled.

        Returns
        -------
        self : object
            The fitted ensemble.
        """
        raise_for_params(params, self, None)
        routed = self._routed(params).estimator.fit
        X, y = _plain(X, self.estimator), self._plain_target(y)
        generator = check_random_state(self.random_state)
        members = [
            _seeded(clone(self.estimator), generator) for _ in range(self.n_estimators)
        ]
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(member.fit)(X, y, **routed) for member in members
        )
        return self

    def _ask_all(self, method: str, X: Any, **options: Any) -> np.ndarray:
        check_is_fitted(self)
        X = _plain(X, self.estimator)
        return np.stack(
            [getattr(member, method)(X, **options) for member in self.estimators_]
        )

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


@inherit_parameters
class EnsembleClassifier(Ensemble, MetaClassifier):
    """Average the probabilities of networks that differ by their seeds.

    All members are fitted on all samples. Where networks that began with other weights,
    and set other samples aside for validation, disagree, the answer depends on chance
    more than on the data: such a deep ensemble [1]_ is more accurate than its members,
    and the spread of their probabilities is an error bar.

    Parameters
    ----------
    estimator : estimator
        A classifier that draws random numbers, or a pipeline that ends in one.

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
        **Ensemble._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict_proba"])],
    }

    def _plain_target(self, y: Any) -> np.ndarray:
        return column_or_1d(plain_labels(y), warn=True)

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


@inherit_parameters
class EnsembleRegressor(RegressorMixin, Ensemble):
    """Average the predictions of networks that differ by their seeds.

    All members are fitted on all samples. The mean of networks that began with other
    weights is more accurate than each of them [1]_, most of all where there are few
    training samples.

    Parameters
    ----------
    estimator : estimator
        A regressor that draws random numbers, or a pipeline that ends in one.

    See Also
    --------
    sklearn.ensemble.VotingRegressor : Average regressors of several kinds.
    sklearn.ensemble.BaggingRegressor : Fit each member on samples of its own.

    References
    ----------
    .. [1] Lakshminarayanan, B., Pritzel, A. & Blundell, C. (2017). "Simple and scalable
           predictive uncertainty estimation using deep ensembles". NeurIPS.
           https://arxiv.org/abs/1612.01474

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import EnsembleRegressor, SpectrumRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 120))
    >>> y = X[:, :5].sum(axis=1)
    >>> reg = SpectrumRegressor("mlp", max_epochs=2, verbose=0)
    >>> reg = EnsembleRegressor(reg, n_estimators=3, random_state=0).fit(X, y)
    >>> found, std = reg.predict(X, return_std=True)
    >>> found.shape, std.shape
    ((100,), (100,))
    """

    _parameter_constraints: ClassVar[dict] = {
        **Ensemble._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict"])],
    }
    # Error bars that a pipeline is asked for are asked of its last step.
    __metadata_request__predict: ClassVar[dict] = {"return_std": True}

    def _plain_target(self, y: Any) -> Any:
        if is_classifier(self.estimator):
            raise ValueError(
                "EnsembleRegressor averages numbers, but "
                f"{type(self.estimator).__name__} is a classifier: take "
                "EnsembleClassifier, which averages probabilities."
            )
        return None if y is None else plain_array(y, "y")

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that ``predict`` takes `return_std`, and members parameters of ``fit``.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        return super().get_metadata_routing().add_self_request(self)

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the targets: the members' mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        return_std : bool, default=False
            Return error bars, too, of members whose ``predict`` takes `return_std`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predictions.
        std : ndarray of the shape of y
            The root mean square of the members' error bars; only with `return_std`.
            Errors of members that are calibrated contain their disagreement.

        Raises
        ------
        NotFittedError
            If the ensemble is not fitted.
        TypeError
            If `return_std` is asked of members whose ``predict`` does not take it.
        """
        if not return_std:
            found = self._ask_all("predict", X)
            return found.mean(axis=0, dtype=np.float64).astype(found.dtype)
        both = self._ask_all("predict", X, return_std=True)
        # Squares of luminosities in erg/s, for instance, are beyond single precision.
        squares = np.square(both[:, 1], dtype=np.float64)
        std = np.sqrt(squares.mean(axis=0)).astype(both.dtype)
        mean = both[:, 0].mean(axis=0, dtype=np.float64).astype(both.dtype)
        return mean, std

    @property
    def _gives_errors(self) -> bool:
        networks = (prediction_steps(member)[-1] for member in self.estimators_)
        return all(map(gives_errors, networks))

    def predict_std(self, X: Any) -> np.ndarray:
        """Tell by how much the members disagree.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        std : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Standard deviation of the members' predictions.
        """
        return self._ask_all("predict", X).std(axis=0, dtype=np.float64)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination, R², of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets; those that are NaN are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        r2 : float
            The mean over the targets of which y has two values or more. Of votes that
            of :meth:`GalaxyRegressor.score <skastro.GalaxyRegressor.score>`.

        Raises
        ------
        ValueError
            If y has another number of targets than in ``fit``, or no target has two
            values.
        """
        found, last = self.predict(X), self._fitted()
        while hasattr(last, "steps"):
            last = last.steps[-1][1]
        sizes = getattr(last, "question_sizes_", None)
        if sizes is not None:
            return score_votes(found, y, sizes, sample_weight)
        return score_known(found, y, sample_weight)


def _seeded(estimator: Any, generator: np.random.RandomState) -> Any:
    """Give all parts of an estimator that draw random numbers seeds of their own."""
    names = sorted(estimator.get_params(deep=True))
    seeds = {
        name: generator.randint(np.iinfo(np.int32).max)
        for name in names
        if name == "random_state" or name.endswith("__random_state")
    }
    return estimator.set_params(**seeds)


@inherit_parameters
class RejectingClassifier(MetaClassifier):
    """Classify what can be classified with confidence, and reject the rest.

    Where the confidence is below a threshold, ``predict`` gives `reject_label` in the
    place of a class [1]_. The threshold is a number, or is found on samples that the
    estimator was not fitted on, such that a wanted part of them is accepted.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline that ends in one.
    threshold : float, default=None
        The lowest confidence that is accepted. None: the threshold is found by `cv`.
    coverage : float, default=1.0
        The part of the samples to accept, where `threshold` is None. 1 accepts all,
        0.9 rejects the tenth that is least certain.
    reject_label : str or number, default=None
        What ``predict`` answers for rejected samples; none of the classes, and text
        where these are. None stands for ``"UNKNOWN"``, or for -1 where the classes are
        numbers (one less than the lowest class, if that is below zero).
    confidence : {"probability", "score_samples"}, default="probability"
        What is held against the threshold. ``"probability"``: the highest class
        probability, which is low between classes. ``"score_samples"``: the method of
        the estimator, which is low for samples unlike those of the training set.
    cv : int, splitter, iterable or "prefit", default=None
        How the threshold is found. An int, a splitter of scikit-learn or an iterable of
        pairs of row numbers: the estimator is fitted once more on the training rows of
        every split, and judged by the others; None stands for 5 stratified folds. Folds
        of a number keep the samples of one group together, where ``fit`` is given
        groups.
        ``"prefit"``: `estimator` is fitted already and stays as it is, and ``fit``
        takes other samples than those it was fitted on.
    n_jobs : int, default=None
        How many splits are fitted at the same time; -1 for one a processor. None
        stands for 1, unless a joblib backend says otherwise.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, without `reject_label`; the columns of
        ``predict_proba``.
    reject_label_ : str or number
        What is answered for rejected samples.
    threshold_ : float
        The lowest confidence that is accepted.
    confidence_ : str
        What it is a threshold of.

    See Also
    --------
    skastro.inspection.RiskCoverageDisplay : The error over the part that is accepted.
    sklearn.model_selection.FixedThresholdClassifier : Move the border of two classes.

    Notes
    -----
    ``score`` is the accuracy over all samples; rejected ones count as wrong.

    Of a confidence that few values tell apart, more samples than asked for may share
    the threshold; all of them are accepted. The part of later samples that is accepted
    differs from `coverage` by chance, with a standard deviation of about
    ``sqrt(coverage * (1 - coverage) / n_samples)`` of the samples that the threshold
    was found on, and by as much as they differ in kind from those.

    References
    ----------
    .. [1] Chow, C. K. (1970). "On optimum recognition error and reject tradeoff". IEEE
           Transactions on Information Theory, 16(1), 41-46.
           https://doi.org/10.1109/TIT.1970.1054406

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skastro import RejectingClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = np.where(X[:, 0] + rng.normal(size=400) > 0, "STAR", "GALAXY")
    >>> clf = RejectingClassifier(LogisticRegression(), coverage=0.5).fit(X, y)
    >>> clf.predict([[-3.0], [0.1], [3.0]]).tolist()
    ['GALAXY', 'UNKNOWN', 'STAR']
    """

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "threshold": [None, Real],
        "coverage": [Interval(Real, 0, 1, closed="right")],
        "reject_label": [None, str, Real],
        "confidence": [StrOptions(set(_METHODS))],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "n_jobs": [None, Integral],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        threshold: float | None = None,
        coverage: float = 1.0,
        reject_label: str | float | None = None,
        confidence: str = "probability",
        cv: int | str | Iterable | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.threshold = threshold
        self.coverage = coverage
        self.reject_label = reject_label
        self.confidence = confidence
        self.cv = cv
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the estimator, and find the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,)
            The labels.
        **params : dict
            Parameters for the estimator's ``fit``, with metadata routing enabled.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If `estimator` has no method for `confidence`, or if `reject_label` is a
            class or of another kind than the classes.
        """
        raise_for_params(params, self, None)
        if self.threshold is not None and np.isnan(self.threshold):
            raise ValueError("threshold is NaN, below which nothing is: give a number.")
        method = _METHODS[self.confidence]
        if not hasattr(self.estimator, method):
            raise ValueError(
                f"confidence={self.confidence!r} needs an estimator with the method "
                f"{method}, which {type(self.estimator).__name__} has not."
            )
        X, y = indexable(
            _plain(X, self.estimator), column_or_1d(plain_labels(y), warn=True)
        )
        if self.cv == "prefit":
            check_is_fitted(self.estimator)
            self.estimator_ = self.estimator
        else:
            routed = self._routed(params)
            self.estimator_ = clone(self.estimator).fit(X, y, **routed.estimator.fit)
        self.confidence_ = self.confidence
        self.reject_label_ = _choose_reject_label(self.classes_, self.reject_label)
        if self.threshold is not None:
            self.threshold_ = float(self.threshold)
        elif self.coverage == 1:
            self.threshold_ = -np.inf
        else:
            if self.cv == "prefit":
                confidence = self._confidence(self.estimator_, X)
            else:
                confidence = self._cross_validated_confidence(X, y, routed)
            self.threshold_ = float(
                np.quantile(confidence, 1 - self.coverage, method="lower")
            )
        return self

    def _confidence(self, estimator: Any, X: Any) -> np.ndarray:
        values = getattr(estimator, _METHODS[self.confidence])(X)
        return values.max(axis=1) if self.confidence == "probability" else values

    def _splitter(self, groups: Any) -> Any:
        """Find what makes the splits; a number of folds stands for folds of groups."""
        if groups is not None and (self.cv is None or isinstance(self.cv, Integral)):
            return StratifiedGroupKFold(self.cv or 5)
        return self.cv

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that parameters of ``fit`` go to the estimator inside and the splits.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        router = super().get_metadata_routing()
        splitter = self._splitter(groups=True)
        if hasattr(splitter, "get_metadata_routing"):
            mapping = MethodMapping().add(caller="fit", callee="split")
            router.add(splitter=splitter, method_mapping=mapping)
        return router

    def _cross_validated_confidence(self, X: Any, y: Any, routed: Any) -> np.ndarray:
        """Ask for the confidence of samples that were not fitted on."""

        def of_split(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            estimator = clone(self.estimator).fit(
                safe_indexing(X, train),
                safe_indexing(y, train),
                **check_method_params(X, routed.estimator.fit, indices=train),
            )
            return self._confidence(estimator, safe_indexing(X, test))

        params = routed.get("splitter", {}).get("split", {})
        splitter = self._splitter(params.get("groups"))
        splits = check_cv(splitter, y, classifier=True).split(X, y, **params)
        return np.concatenate(
            Parallel(n_jobs=self.n_jobs)(
                delayed(of_split)(train, test) for train, test in splits
            )
        )

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class, or answer that it is not known.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels; `reject_label_` where the confidence is below `threshold_`, or NaN.
        """
        check_is_fitted(self)
        # Files of earlier versions lack it.
        found_for = self.__dict__.get("confidence_", self.confidence)
        if self.confidence != found_for:
            raise ValueError(
                f"confidence is now {self.confidence!r}, but the threshold was found "
                f"for {found_for!r}: fit anew."
            )
        X = _plain(X, self.estimator)
        if self.confidence == "probability":
            probability = self.estimator_.predict_proba(X)
            confidence = probability.max(axis=1)
            labels = self.classes_[probability.argmax(axis=1)]
        else:
            confidence = self._confidence(self.estimator_, X)
            labels = self.estimator_.predict(X)
        dtype = np.result_type(self.classes_, np.min_scalar_type(self.reject_label_))
        labels = labels.astype(dtype)
        labels[~(confidence >= self.threshold_)] = self.reject_label_
        return labels

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities, of rejected samples too.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            One column a class, in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(_plain(X, self.estimator))

    @available_if(estimator_has("score_samples"))
    def score_samples(self, X: Any) -> np.ndarray:
        """Say how alike samples are to the training set.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The higher, the more alike.
        """
        check_is_fitted(self)
        return self.estimator_.score_samples(_plain(X, self.estimator))


def _plain(X: Any, estimator: Any) -> Any:
    """Convert samples, whose mask the estimator inside may not know."""
    return X if is_dataset(X) or knows_samples(estimator) else plain_samples(X)


def _choose_reject_label(classes: np.ndarray, wanted: Any) -> Any:
    """Check the label for rejected samples against the classes, or choose one."""
    is_text = classes.dtype.kind in "US" or all(isinstance(c, str) for c in classes)
    if wanted is None and is_text:
        wanted = "UNKNOWN"
    elif wanted is None:
        wanted = min(-1, int(np.floor(classes.min())) - 1)
    if isinstance(wanted, str) != is_text:
        kind = "text" if is_text else "numbers"
        raise ValueError(
            f"reject_label={wanted!r} does not go with the classes, which are {kind}: "
            f"{classes.tolist()}."
        )
    if wanted in classes:
        raise ValueError(
            f"reject_label={wanted!r} is one of the classes {classes.tolist()}; choose "
            "another."
        )
    return wanted
