# SPDX-License-Identifier: BSD-3-Clause
"""How many samples of each class, which ones, and with what noise."""

from collections import Counter

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from numpy.testing import assert_array_equal
from scipy import stats

from skastro import NoiseAugmenter, NoiseResampler

COUNTS = {"galaxy": 60, "qso": 30, "star": 410}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
    return rng.uniform(size=(500, 40)).astype(np.float32), y


def halve(y):
    return {label: n // 2 for label, n in Counter(y.tolist()).items()}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("auto", {"galaxy": 410, "qso": 410, "star": 410}),
        ("all", {"galaxy": 410, "qso": 410, "star": 410}),
        ("not majority", {"galaxy": 410, "qso": 410, "star": 410}),
        ("minority", {"galaxy": 60, "qso": 410, "star": 410}),
        ("not minority", {"galaxy": 410, "qso": 30, "star": 410}),
        ("balanced", {"galaxy": 166, "qso": 166, "star": 166}),
        (100, {"galaxy": 100, "qso": 100, "star": 100}),
        (np.int64(1), {"galaxy": 1, "qso": 1, "star": 1}),
        ({"star": 50}, {"galaxy": 60, "qso": 30, "star": 50}),
        ({"star": 200, "qso": 90}, {"galaxy": 60, "qso": 90, "star": 200}),
        ({"galaxy": 0, "qso": 31}, {"galaxy": 0, "qso": 31, "star": 410}),
        (COUNTS, COUNTS),
        pytest.param(halve, {"galaxy": 30, "qso": 15, "star": 205}, id="function"),
    ],
    ids=str,
)
def test_numbers_per_class(strategy, expected, data):
    X, y = data
    sampler = NoiseResampler(strategy, random_state=0)
    X_new, y_new = sampler.fit_resample(X, y)
    assert sampler.sampling_strategy_ == expected
    assert Counter(y_new.tolist()) == +Counter(expected)
    rows = sampler.sample_indices_
    assert_array_equal(y_new, y[rows])
    for label, n in expected.items():
        chosen = rows[y_new == label]
        # Fewer: no sample twice. More: every sample once, and then copies.
        assert len(np.unique(chosen)) == min(n, COUNTS[label])
    n_kept = sum(min(n, COUNTS[label]) for label, n in expected.items())
    assert_array_equal(X_new[:n_kept], X[rows[:n_kept]])
    assert (np.diff(rows[:n_kept]) > 0).all()
    copies, originals = X_new[n_kept:], X[rows[n_kept:]]
    assert (copies != originals).all(axis=1).all()


def test_a_ratio_for_two_classes(data):
    X, y = data
    y = np.where(y == "star", "star", "other")
    sampler = NoiseResampler(0.5, random_state=0).fit(X, y)
    assert sampler.sampling_strategy_ == {"other": 205, "star": 410}
    with pytest.raises(ValueError, match="only when the type of target is binary"):
        NoiseResampler(0.5).fit(*data)


def test_oversampling_chooses_the_rows_that_imbalanced_learn_does(data):
    sampler = NoiseResampler(noise=None, random_state=5)
    other = RandomOverSampler(random_state=5)
    X_new, y_new = sampler.fit_resample(*data)
    # Nothing is drawn where no class shrinks, so that the draws are the same.
    X_other, y_other = other.fit_resample(*data)
    assert_array_equal(sampler.sample_indices_, other.sample_indices_)
    assert_array_equal(X_new, X_other)
    assert_array_equal(y_new, y_other)


def test_all_samples_have_the_same_chance(data):
    X, y = data
    star, qso = np.flatnonzero(y == "star"), np.flatnonzero(y == "qso")
    chosen = np.zeros(500, int)
    for seed in range(60):
        sampler = NoiseResampler({"star": 100, "qso": 130}, random_state=seed)
        sampler.fit_resample(X, y)
        chosen += np.bincount(sampler.sample_indices_, minlength=500)
    # Each star is chosen binomially often, each quasar once and by chance again.
    expected = 60 * 100 / 410
    scatter = (chosen[star] - expected) / np.sqrt(expected * (1 - 100 / 410))
    assert stats.chi2(409).cdf((scatter**2).sum()) < 0.995
    assert stats.chisquare(chosen[qso] - 60).pvalue > 0.005


def test_copies_get_white_noise_of_up_to_half_the_standard_deviation():
    rng = np.random.default_rng(0)
    X = 1e4 * rng.normal(size=(800, 300)) + 1e5
    y = np.repeat([0, 1], [700, 100])
    sampler = NoiseResampler(random_state=0)
    X_new, _ = sampler.fit_resample(X, y)
    rows = sampler.sample_indices_[800:]
    noise = X_new[800:] - X[rows]
    ratio = noise.std(axis=1) / X[rows].std(axis=1)
    assert stats.kstest(ratio, stats.uniform(0, 0.5).cdf).pvalue > 0.01
    # Copies of one sample differ from each other.
    assert len(np.unique(X_new[:, 0])) == 1400


def test_augmenter_copies_everything(data):
    X, y = data
    sampler = NoiseAugmenter(3, random_state=0)
    X_new, y_new = sampler.fit_resample(X, y)
    assert_array_equal(sampler.sample_indices_, np.tile(np.arange(500), 4))
    assert sampler.sampling_strategy_ == {c: 4 * n for c, n in COUNTS.items()}
    assert_array_equal(y_new, np.tile(y, 4))
    assert_array_equal(X_new[:500], X)
    assert len(np.unique(X_new[:, 0])) == len(np.unique(X[:, 0])) + 1500


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"star": 5, "quasar": 5}, r"not in y: \['quasar'\]\. There are \['galaxy'"),
        ({"star": 5.5}, r"whole numbers of samples, 0 or more, but got {'star': 5\.5}"),
        ({"star": -1}, r"but got {'star': -1}"),
        (lambda y: {"quasar": 5}, "names classes that are not in y"),
        ("majority", "'sampling_strategy' parameter of NoiseResampler must be"),
        (0, "'sampling_strategy' parameter of NoiseResampler must be"),
        (1.5, "'sampling_strategy' parameter of NoiseResampler must be"),
    ],
)
def test_bad_strategies(strategy, message, data):
    with pytest.raises(ValueError, match=message):
        NoiseResampler(strategy).fit_resample(*data)
