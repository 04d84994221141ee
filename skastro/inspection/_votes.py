# SPDX-License-Identifier: BSD-3-Clause
"""Whether predicted distributions of votes are as wide as the votes scatter."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from skastro.estimators._votes import (
    MOST_VOTES,
    are_votes,
    sum_answers,
    sum_probabilities,
)
from skastro.training import DirichletMultinomialLikelihood
from skastro.utils import check_finite, check_number, name_rows, plain_array


def vote_coverage(
    counts: ArrayLike,
    concentration: ArrayLike,
    questions: Mapping[str, Sequence[str]]
    | Sequence[tuple[str, Sequence[str]]]
    | Sequence[int]
    | None = None,
    *,
    coverage: float = 0.9,
) -> np.ndarray:
    """Measure how many counts of votes are in their central predicted intervals.

    The predicted count of votes for an answer has a beta-binomial distribution. A
    central interval of 0.9 leaves out the lowest and the highest twentieth of it. As
    votes are whole, an end of the interval divides the probability of one count; a
    sample with this count is then in the interval by the part that is [1]_. So 0.9 is
    expected of right distributions, however few votes there are.

    Parameters
    ----------
    counts : array-like of shape (n_samples, n_answers)
        Counts of votes, on samples that the estimator was not fitted on; NaN where a
        question was not asked.
    concentration : array-like of shape (n_samples, n_answers)
        Concentrations of Dirichlet distributions, as
        :meth:`~skastro.GalaxyRegressor.predict_distribution` gives them.
    questions : mapping, sequence of int or of pairs, or None, default=None
        The names of the answers to each question, by its name, or how many answers each
        question has. None: all columns are the answers to one question.
    coverage : float, default=0.9
        The probability of the intervals.

    Returns
    -------
    covered : ndarray of shape (n_answers,)
        The mean over the samples with votes on the question; NaN where there are none.

    Raises
    ------
    ValueError
        If the arguments are inconsistent, if there are no samples, if counts are
        negative or no whole numbers, or if concentrations are not positive.

    See Also
    --------
    skastro.GalaxyRegressor.predict_interval : Intervals of whole counts, which hold
        more of the counts than this.

    References
    ----------
    .. [1] Czado, C., Gneiting, T. & Held, L. (2009). "Predictive model assessment for
           count data". Biometrics 65, 1254.
           https://doi.org/10.1111/j.1541-0420.2009.01191.x

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.inspection import vote_coverage
    >>> rng = np.random.default_rng(0)
    >>> smooth = rng.beta(4, 2, size=2000)
    >>> counts = rng.binomial(20, np.column_stack([smooth, 1 - smooth]))
    >>> counts[:, 1] = 20 - counts[:, 0]
    >>> print(vote_coverage(counts, np.tile([4.0, 2.0], (2000, 1))).round(2))
    [0.9 0.9]
    """
    check_number(coverage, "coverage", 0, 1)
    counts = np.atleast_2d(plain_array(counts, "counts")).astype(np.float64)
    concentration = plain_array(concentration, "concentration").astype(np.float64)
    if counts.shape != concentration.shape:
        raise ValueError(
            f"counts have shape {counts.shape}, but concentration "
            f"{concentration.shape}; both have one column for each answer."
        )
    if not len(counts):
        raise ValueError("counts have no rows; give at least one sample.")
    check_finite(counts, input_name="counts", allow_nan=True)
    odd = ~(are_votes(counts) | np.isnan(counts))
    if odd.any():
        raise ValueError(
            f"counts must be whole numbers from 0 to {MOST_VOTES}, or NaN; others are "
            f"in rows {name_rows(np.flatnonzero(odd.any(axis=1)))}."
        )
    if not (concentration > 0).all():
        raise ValueError(
            "concentration must be positive, as predict_distribution gives it."
        )
    sizes = DirichletMultinomialLikelihood(questions).sizes(counts.shape[1])
    votes = np.rint(np.nan_to_num(counts)).astype(np.int64)
    n = sum_answers(votes, sizes)
    rest = sum_answers(concentration, sizes) - concentration
    inside = np.empty(votes.shape)
    tail = (1 - coverage) / 2
    for rows, cdf in sum_probabilities(concentration, rest, n):
        k = votes.reshape(-1)[rows, None]
        cdf = np.pad(cdf, ((0, 0), (1, 0)))
        ends = np.take_along_axis(cdf, np.hstack([k, k + 1]), axis=1)
        probability = ends[:, 1] - ends[:, 0]
        within = np.diff(ends.clip(tail, 1 - tail), axis=1)[:, 0]
        possible = probability > 0
        inside.flat[rows] = np.divide(
            within, probability, out=np.zeros_like(within), where=possible
        )
    inside[n == 0] = np.nan
    voted = (n > 0).sum(axis=0)
    total = np.nansum(inside, axis=0)
    return np.divide(total, voted, out=np.full(len(total), np.nan), where=voted > 0)
