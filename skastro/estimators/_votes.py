# SPDX-License-Identifier: BSD-3-Clause
"""Targets that are votes: counts in, expected fractions and their widths out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import betabinom
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length

from skastro.training import DirichletMultinomialLikelihood
from skastro.utils import check_weights, name_rows, plain_array

# Of fewer validation samples with votes on a question no width is known.
_LEAST_CALIBRATED = 10
# Factors of the concentrations that the validation samples choose from. Larger ones
# would say that few samples had shown the width to be nearly zero.
_FACTORS = np.exp(np.linspace(-4, 2, 121))
_ROUNDED = 1e-6
# Probabilities of all counts up to this one fit into memory.
MOST_VOTES = 10**6
# Numbers in a block of probabilities of counts.
_BLOCK = 2**20


def counts_votes(net: Any) -> bool:
    """Tell whether the targets of a net are counts of votes, by its criterion."""
    return issubclass(net._criterion_type, DirichletMultinomialLikelihood)


def fit_scales(
    alpha: torch.Tensor,
    counts: torch.Tensor,
    sizes: tuple[int, ...],
    weight: torch.Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the factors of the concentrations that make the counts most probable.

    A question with two votes or more on few samples gets 1: one vote tells nothing of
    the width. Also tells which factors are the smallest that there is.
    """
    likelihood = DirichletMultinomialLikelihood(sizes, "none")
    losses = []
    for factor in _FACTORS:
        loss = likelihood((factor * alpha).log(), counts)
        loss = loss if weight is None else weight[:, None] * loss
        losses.append(loss.sum(dim=0).numpy())
    parts = torch.split(counts, sizes, dim=1)
    n_known = np.array([(part.nansum(dim=1) > 1).sum().item() for part in parts])
    scale = _FACTORS[np.argmin(losses, axis=0)]
    scale = np.where(n_known < _LEAST_CALIBRATED, 1.0, scale)
    return scale, scale == _FACTORS[0]


def misplaced_column(names: Sequence[Any], questions: Any) -> str:
    """Tell which column of votes stands where another answer should, if any.

    Names are those of the answers, or begin with that of the question; others tell
    nothing.

    >>> questions = {"smooth": ["yes", "no"]}
    >>> misplaced_column(["no", "yes"], questions)
    "'no' where the answer 'yes' to 'smooth' should be"
    >>> misplaced_column(["smooth_yes_count", "smooth_no_count"], questions)
    ''
    """
    if not isinstance(questions, Mapping):
        return ""
    wanted = [(name, answer) for name in questions for answer in questions[name]]
    names = ["_".join(map(str, np.atleast_1d(name))) for name in names]
    answers = [str(answer) for _, answer in wanted]
    joined = [f"{name}_{answer}" for name, answer in wanted]
    if sorted(names) == sorted({*answers}):
        places = [answers.index(name) for name in names]
    else:
        fitting = [
            [i for i, start in enumerate(joined) if f"{name}_".startswith(f"{start}_")]
            for name in names
        ]
        places = [
            max(found, key=lambda i: len(joined[i]), default=-1) for found in fitting
        ]
    if sorted(places) != [*range(len(wanted))]:
        return ""
    for name, place, (question, answer) in zip(names, places, wanted, strict=True):
        if wanted[place] != (question, answer):
            return f"{name!r} where the answer {answer!r} to {question!r} should be"
    return ""


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
        unknown = np.isnan(votes)
        partial = unknown.any(axis=1) & ~unknown.all(axis=1)
        if partial.any():
            raise ValueError(
                "y has votes on some of the answers to a question and NaN for the "
                f"others, in rows {name_rows(np.flatnonzero(partial))}. Give the "
                "counts of all answers, or NaN for all."
            )
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


def are_votes(values: np.ndarray) -> np.ndarray:
    """Tell which numbers are whole, from 0 to what a table of counts can have.

    A change of units may leave little of whole numbers.
    """
    known = np.where(np.isfinite(values), values, -1.0)
    off = np.abs(known - np.rint(known))
    return (known >= 0) & (known <= MOST_VOTES) & (off < _ROUNDED)


def check_n_votes(n_votes: Any, n_samples: int, n_questions: int) -> np.ndarray:
    """Convert numbers of votes to an array of shape (n_samples, n_questions)."""
    given = plain_array(n_votes, "n_votes")
    shapes = ((), (n_samples,), (n_samples, n_questions))
    if given.shape not in shapes:
        raise ValueError(
            f"n_votes has shape {given.shape}; give one number, or an array of shape "
            f"{shapes[1]} or {shapes[2]}, for the samples or for their questions."
        )
    given = given.astype(np.float64)
    if not are_votes(given).all():
        raise ValueError(
            f"n_votes must be whole numbers from 0 to {MOST_VOTES}; some are not."
        )
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
