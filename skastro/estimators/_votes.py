# SPDX-License-Identifier: BSD-3-Clause
"""Targets that are votes: counts in, expected fractions and their widths out."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import betabinom
from sklearn.metrics import r2_score
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNet
from skorch.utils import to_tensor

from skastro.base._validation import check_target
from skastro.training import DirichletMultinomialLikelihood
from skastro.utils import check_number, check_weights, name_rows, plain_array

# Of fewer validation samples with votes on a question no width is known.
_LEAST_CALIBRATED = 10
# Factors of the concentrations that the validation samples choose from.
_FACTORS = np.exp(np.linspace(-4, 2, 121))
# What a change of units may leave of whole numbers.
_ROUNDED = 1e-6
# Numbers in a block of probabilities of counts.
_BLOCK = 2**20


def counts_votes(net: Any) -> bool:
    """Tell whether the targets of a net are counts of votes, by its criterion."""
    criterion = net.criterion
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, DirichletMultinomialLikelihood)


class VoteTargets(NeuralNet):
    """Mixin of regressors whose criterion may be that of votes.

    Attributes
    ----------
    question_sizes_ : tuple of int
        How many answers each question has; only where the targets are votes.
    concentration_scale_ : ndarray of shape (n_questions,)
        What the concentrations of each question are multiplied by; only with
        `calibrate` and where the targets are votes.
    """

    @property
    def _gives_errors(self) -> bool:
        return counts_votes(self)

    @property
    def _takes_missing_targets(self) -> bool:
        # Questions that nobody was asked.
        return counts_votes(self)

    @property
    def _scales_target(self) -> bool:
        return not counts_votes(self) and super()._scales_target

    def __sklearn_tags__(self) -> Tags:
        """Say that votes are not negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = counts_votes(self)
        return tags

    # Counts in y ---------------------------------------------------------------------

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        if counts_votes(self):
            known = None if reset else self.__dict__.get("question_sizes_")
            self._note_questions(y.shape)
            if known not in (None, self.question_sizes_):
                raise ValueError(
                    f"criterion__questions says that the questions have "
                    f"{self.question_sizes_} answers, but {type(self).__name__} was "
                    f"fitted on questions of {known}: fit anew, with warm_start=False."
                )
            self._check_counts(y, must_have_votes=reset)
        return y

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        if counts_votes(self):
            self._note_questions((len(dataset), *self.target_shape_))

    def _criterion_of_votes(self) -> DirichletMultinomialLikelihood:
        """Make the criterion, which tells which columns belong together."""
        if isinstance(self.criterion, type):
            return self.criterion(**self.get_params_for("criterion"))
        return self.criterion

    def _note_questions(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"y has shape {shape}, but votes have one column for each answer: give "
                "y of shape (n_samples, n_answers)."
            )
        self.question_sizes_ = self._criterion_of_votes().sizes(shape[1])

    def _check_counts(self, y: np.ndarray, *, must_have_votes: bool) -> None:
        negative = (y < 0).any(axis=1)
        if negative.any():
            raise ValueError(
                "y has negative numbers, in rows "
                f"{name_rows(np.flatnonzero(negative))}, but votes are counted: give "
                "0, or NaN for all answers to a question that was not asked."
            )
        names = self._criterion_of_votes().names(y.shape[1])
        parts = np.split(y, np.cumsum(self.question_sizes_)[:-1], axis=1)
        without = []
        for name, votes in zip(names, parts, strict=True):
            unknown = np.isnan(votes)
            partial = unknown.any(axis=1) & ~unknown.all(axis=1)
            if partial.any():
                raise ValueError(
                    f"y has votes on some of the answers to the question {name!r} and "
                    f"NaN for the others, in rows {name_rows(np.flatnonzero(partial))}."
                    " Give the counts of all answers, or NaN for all."
                )
            known = votes[~unknown]
            if (known % 1).any() and known.max() <= 1:
                raise ValueError(
                    f"y has fractions for the question {name!r}: no number is above 1. "
                    "Their errors depend on how many votes there were: give counts, "
                    "which are fractions times the number of votes on the question; "
                    "skastro.datasets.read_votes(table, n_votes=...) makes them."
                )
            if not known.any():
                without.append(name)
        if without and must_have_votes:
            raise ValueError(
                f"y has no votes on the questions {without}, so that nothing can be "
                "learned of them: leave their columns out, and their names in "
                "criterion__questions."
            )

    def _match(self, target: torch.Tensor, y_pred: Any) -> torch.Tensor:
        if not counts_votes(self):
            return super()._match(target, y_pred)
        if y_pred.shape != target.shape:
            self._refuse_outputs(tuple(y_pred.shape[1:]))
        return target.to(y_pred)

    # Widths --------------------------------------------------------------------------

    def _after_training(self, train: Any, valid: Any) -> None:
        super()._after_training(train, valid)
        self.__dict__.pop("concentration_scale_", None)
        if not (counts_votes(self) and self.calibrate) or valid is None:
            return
        outputs, counts = [], []
        for _, output, y in self._evaluate(valid):
            outputs.append(output.cpu().double())
            counts.append(to_tensor(y, device="cpu").double())
        self.concentration_scale_ = self._fit_scale(
            torch.cat(outputs), torch.cat(counts)
        )

    def _fit_scale(self, output: torch.Tensor, counts: torch.Tensor) -> np.ndarray:
        """Find the factors of the concentrations that make the counts most probable."""
        likelihood = DirichletMultinomialLikelihood(self.question_sizes_, "none")
        output = self.criterion_.concentration(output).log()
        losses = np.array(
            [
                likelihood(output + np.log(factor), counts).sum(dim=0).numpy()
                for factor in _FACTORS
            ]
        )
        scale = _FACTORS[losses.argmin(axis=0)]
        parts = torch.split(counts, self.question_sizes_, dim=1)
        n_known = np.array([(part.nansum(dim=1) > 0).sum().item() for part in parts])
        return np.where(n_known < _LEAST_CALIBRATED, 1.0, scale)

    # Predicting ----------------------------------------------------------------------

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if counts_votes(self):
            self._require_learned("question_sizes_", "target_shape_")

    def _warn_of_widths(self) -> None:
        if "concentration_scale_" not in self.__dict__:
            warnings.warn(
                "The widths are those of the training samples, which are too small: "
                "fit with calibrate=True and train_split=0.15, for instance.",
                UserWarning,
                stacklevel=3,
            )

    def _predict_votes(self, X: Any, return_std: bool) -> Any:
        concentration = self.predict_distribution(X)
        if return_std:
            self._warn_of_widths()
        total = sum_answers(concentration, self.question_sizes_)
        fraction = concentration / total
        std = np.sqrt(fraction * (1 - fraction) / (total + 1))
        fraction, std = (part.astype(self.target_dtype_) for part in (fraction, std))
        return (fraction, std) if return_std else fraction

    @available_if(counts_votes)
    def predict_distribution(self, X: Any) -> np.ndarray:
        """Predict the distribution of the fractions of the votes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        concentration : ndarray of shape (n_samples, n_answers), float64
            Concentrations of a Dirichlet distribution for each question:
            :obj:`scipy.stats.dirichlet` of them is the distribution of the fractions,
            :obj:`scipy.stats.dirichlet_multinomial` that of the counts of some votes.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        output = self._predict_outputs(X)
        if output.shape[1:] != self.target_shape_:
            self._refuse_outputs(output.shape[1:])
        output = torch.from_numpy(output.astype(np.float64))
        concentration = self.criterion_.concentration(output).numpy()
        if "concentration_scale_" in self.__dict__:
            concentration *= np.repeat(self.concentration_scale_, self.question_sizes_)
        self._warn_of_novelty(X)
        return concentration

    @available_if(counts_votes)
    def predict_interval(
        self, X: Any, n_votes: Any, coverage: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict between which counts the votes for each answer will be.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        n_votes : int or array-like of shape (n_samples,) or (n_samples, n_questions)
            How many volunteers answer: all questions of all samples, those of each
            sample, or each question of each sample.
        coverage : float, default=0.9
            The part of the counts that is to be in the interval. As votes are whole, it
            is more, most of all where there are few.

        Returns
        -------
        low, high : ndarray of shape (n_samples, n_answers), int64
            The first and the last count in the interval, quantiles of a beta-binomial
            distribution.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If `n_votes` or `coverage` is out of its range, if X has another shape than
            in ``fit``, or holds NaN or infinity.

        Warns
        -----
        UserWarning
            If no validation samples have set the widths.

        See Also
        --------
        skastro.inspection.vote_coverage : Whether the intervals are right.
        """
        check_number(coverage, "coverage", 0, 1)
        concentration = self.predict_distribution(X)
        n_votes = check_n_votes(n_votes, len(concentration), len(self.question_sizes_))
        self._warn_of_widths()
        sizes = self.question_sizes_
        rest = sum_answers(concentration, sizes) - concentration
        n_votes = np.repeat(n_votes, sizes, axis=1)
        tail = (1 - coverage) / 2
        low, high = count_quantiles(concentration, rest, n_votes, tail, 1 - tail)
        return low, high

    def _score_votes(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        y = check_target(self, y)
        return score_votes(self.predict(X), y, self.question_sizes_, sample_weight)


def score_votes(
    fraction: np.ndarray, y: Any, sizes: tuple[int, ...], sample_weight: Any = None
) -> float:
    """Average the R² of fractions over the questions, each sample by its votes.

    >>> score_votes(np.array([[0.75, 0.25], [0.5, 0.5]]), [[3, 1], [6, 6]], (2,))
    1.0
    """
    counts = plain_array(y, "y").astype(np.float64)
    weight = None if sample_weight is None else check_weights(sample_weight)
    check_consistent_length(counts, fraction, weight)
    if counts.shape != fraction.shape:
        raise ValueError(
            f"y has shape {counts.shape}, but the predictions {fraction.shape}: give "
            "the counts of all answers, as in fit."
        )
    if (counts < 0).any():
        raise ValueError("y has negative numbers, but votes are counted.")
    last = np.cumsum(sizes)[:-1]
    parts = (np.split(values, last, axis=1) for values in (counts, fraction))
    scores = []
    for votes, predicted in zip(*parts, strict=True):
        n = np.nansum(votes, axis=1)
        voted = n > 0
        if voted.sum() > 1:
            scores.append(
                r2_score(
                    votes[voted] / n[voted, None],
                    predicted[voted],
                    sample_weight=(n if weight is None else n * weight)[voted],
                    multioutput="variance_weighted",
                )
            )
    if not scores:
        raise ValueError(
            "No question has votes on two samples or more in y, which R² needs."
        )
    return float(np.mean(scores))


def sum_answers(values: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Give each answer the sum over the answers to its question."""
    starts = np.cumsum((0, *sizes[:-1]))
    return np.repeat(np.add.reduceat(values, starts, axis=1), sizes, axis=1)


def check_n_votes(n_votes: Any, n_samples: int, n_questions: int) -> np.ndarray:
    """Convert numbers of votes to an array of shape (n_samples, n_questions)."""
    given = plain_array(n_votes, "n_votes")
    shapes = ((), (n_samples,), (n_samples, n_questions))
    if given.shape not in shapes:
        raise ValueError(
            f"n_votes has shape {given.shape}; give one number, or an array of shape "
            f"{shapes[1]} or {shapes[2]}, for the samples or for their questions."
        )
    # NaN is no such number.
    if not ((given >= 0) & (np.abs(given - np.rint(given)) < _ROUNDED)).all():
        raise ValueError("n_votes must be whole numbers from 0 on; some are not.")
    given = np.rint(given).astype(np.int64)
    given = given[:, None] if given.ndim == 1 else given
    return np.broadcast_to(given, shapes[2])


def count_quantiles(
    a: np.ndarray, b: np.ndarray, n: np.ndarray, *parts: float
) -> tuple[np.ndarray, ...]:
    """Find quantiles of beta-binomial distributions, of arrays of one shape.

    :obj:`scipy.stats.betabinom` gives them, too, but takes milliseconds for each.

    >>> count_quantiles(np.array([2.0]), np.array([3.0]), np.array([10]), 0.05, 0.95)
    (array([0]), array([8]))
    """
    found = [np.empty(n.shape, np.int64) for _ in parts]
    for rows, cdf in sum_probabilities(a, b, n):
        for quantile, part in zip(found, parts, strict=True):
            quantile.flat[rows] = (cdf < part).sum(axis=1)
    # Sums may end below 1 by rounding.
    return tuple(np.minimum(quantile, n) for quantile in found)


def sum_probabilities(
    a: np.ndarray, b: np.ndarray, n: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield cumulative probabilities of counts from 0 on, a block of the rest a time.

    The block is a slice of the flat arrays.
    """
    a, b, n = a.reshape(-1, 1), b.reshape(-1, 1), n.reshape(-1, 1)
    counts = np.arange(n.max() + 1)
    step = max(1, _BLOCK // len(counts))
    for start in range(0, len(n), step):
        rows = slice(start, start + step)
        yield rows, betabinom.pmf(counts, n[rows], a[rows], b[rows]).cumsum(axis=1)
