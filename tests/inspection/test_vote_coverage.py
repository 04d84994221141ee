# SPDX-License-Identifier: BSD-3-Clause
"""The part of the votes in predicted intervals, of known distributions."""

import numpy as np
import pytest
from scipy.stats import betabinom

from skastro.inspection import vote_coverage

pytestmark = pytest.mark.once

ALPHA = np.array([3.0, 1.0, 0.5])


def draw(n_samples, n_votes, alpha=ALPHA, seed=0):
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_votes, rng.dirichlet(alpha, size=n_samples))


@pytest.mark.parametrize("n_votes", [1, 3, 40])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_right_distributions_cover_as_much_as_they_say(n_votes, coverage):
    counts = draw(20_000, n_votes)
    found = vote_coverage(counts, np.tile(ALPHA, (20_000, 1)), coverage=coverage)
    np.testing.assert_allclose(found, coverage, atol=0.015)


def test_narrow_and_wide_distributions_cover_less_and_more():
    counts = draw(5000, 40)
    narrow, wide = (
        vote_coverage(counts, np.tile(factor * ALPHA, (5000, 1)))[0]
        for factor in (8, 0.5)
    )
    assert narrow < 0.7
    assert wide > 0.93


def test_parts_of_a_count_at_the_ends():
    # Of one vote the interval holds the middle nine tenths of both probabilities.
    p = 0.7
    found = vote_coverage([[1, 0], [0, 1]], [[7.0, 3.0], [7.0, 3.0]])
    yes, no = (p - 0.05) / p, (1 - p - 0.05) / (1 - p)
    np.testing.assert_allclose(found, [(yes + no) / 2] * 2)


def test_against_cumulative_probabilities_of_scipy():
    rng = np.random.default_rng(1)
    alpha = rng.uniform(0.5, 8, size=(6, 5))
    counts = rng.integers(0, 9, size=(6, 5))
    expected = []
    for sample, a in zip(counts, alpha, strict=True):
        row = []
        for part in (slice(0, 2), slice(2, 5)):
            n, total = sample[part].sum(), a[part].sum()
            for k, own in zip(sample[part], a[part], strict=True):
                low, high = betabinom.cdf([k - 1, k], n, own, total - own)
                ends = np.clip([low, high], 0.1, 0.9)
                row.append(np.diff(ends)[0] / (high - low))
        expected.append(row)
    found = vote_coverage(counts, alpha, (2, 3), coverage=0.8)
    np.testing.assert_allclose(found, np.mean(expected, axis=0))


def test_samples_without_votes_do_not_count():
    counts = draw(50, 20).astype(float)
    alpha = np.tile(ALPHA, (52, 1))
    more = np.concatenate([counts, [[0, 0, 0]], [[np.nan] * 3]])
    np.testing.assert_array_equal(
        vote_coverage(more, alpha), vote_coverage(counts, alpha[:50])
    )
    assert np.isnan(vote_coverage([[0, 0]], [[1.0, 1.0]])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2]], [[1.0, 2.0, 3.0]]), "one column for each answer"),
        (([[1.5, 2]], [[1.0, 2.0]]), "whole numbers"),
        ((np.zeros((0, 2)), np.ones((0, 2))), "counts have no rows"),
        (([[-1, 2]], [[1.0, 2.0]]), "whole numbers"),
        (([[1, 2]], [[0.0, 2.0]]), "must be positive"),
        (([[1, 2]], [[np.nan, 2.0]]), "must be positive"),
        (([[1, 2]], [[1.0, 2.0]], (3,)), "columns of votes"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        vote_coverage(*arguments)


def test_coverage_is_a_part():
    with pytest.raises(ValueError, match="coverage must be"):
        vote_coverage([[1, 2]], [[1.0, 2.0]], coverage=90)
