# SPDX-License-Identifier: BSD-3-Clause
"""Noisy copies before a regressor: its targets follow, and are no classes."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression

from skastro import NoiseAugmenter, NoiseResampler, Pipeline, SpectrumRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 12)).astype(np.float32)
NUMBERS = RNG.uniform(4000, 7000, size=(40, 2))
TEMPERATURE = NUMBERS[:, 0]
UNKNOWN = np.where(np.arange(40) % 3 == 0, np.nan, TEMPERATURE)


@pytest.mark.parametrize(
    "y",
    [
        TEMPERATURE,
        TEMPERATURE[:, None],
        NUMBERS,
        UNKNOWN,
        np.where(NUMBERS > 6000, np.nan, NUMBERS),
        # Whole numbers, as of catalogs that round.
        TEMPERATURE.round(),
        TEMPERATURE.astype(int),
        NUMBERS.astype(int),
        np.repeat([[4.0], [5.0], [np.nan], [5.0]], 10, axis=0),
        pd.Series(UNKNOWN, name="teff", index=range(5, 45)),
        pd.DataFrame(NUMBERS, columns=["teff", "x"]),
        TEMPERATURE.tolist(),
        NUMBERS.tolist(),
        np.ma.masked_greater(NUMBERS, 6000),
    ],
)
@pytest.mark.parametrize("frame", [False, True])
def test_numbers_follow_their_rows(y, frame):
    samples = pd.DataFrame(X).add_prefix("p") if frame else X
    sampler = NoiseAugmenter(2, continuous=True, random_state=0).fit(samples, y)
    X_new, y_new = sampler.fit_resample(samples, y)
    assert type(y_new) is type(y)
    assert_array_equal(sampler.sample_indices_, np.tile(np.arange(40), 3))
    assert_array_equal(
        np.ma.filled(np.ma.array(y_new, float), np.nan),
        np.tile(np.ma.filled(np.ma.array(y, float), np.nan).T, 3).T,
    )
    assert not hasattr(sampler, "sampling_strategy_")
    # The noise is that of labels.
    labels = np.repeat(["a", "b"], 20)
    sampler = NoiseAugmenter(2, random_state=0)
    assert_array_equal(X_new, sampler.fit_resample(samples, labels)[0])
    assert sampler.sampling_strategy_ == {"a": 60, "b": 60}


@pytest.mark.parametrize("sampler", [NoiseAugmenter(), NoiseResampler()])
@pytest.mark.parametrize("y", [TEMPERATURE, NUMBERS, UNKNOWN])
def test_numbers_are_no_classes(sampler, y):
    pipe = Pipeline([sampler, LinearRegression()])
    with pytest.raises(ValueError, match=r"Unknown label type.*\(continuous=True\)"):
        pipe.fit(X, y)


def test_classes_are_no_numbers():
    with pytest.raises(TypeError, match="y"):
        NoiseAugmenter(continuous=True).fit_resample(X, ["a", "b"] * 20)


def test_before_a_regressor_all_that_belongs_to_rows_follows():
    y = np.where(NUMBERS > 6500, np.nan, NUMBERS)
    settings = {"max_epochs": 2, "verbose": 0, "random_state": 0, "device": "cpu"}
    given = {
        "sample_weight": RNG.uniform(1, 2, size=40),
        "y_std": RNG.uniform(10, 20, size=(40, 2)),
        "groups": np.arange(40) // 2,
    }
    reg = SpectrumRegressor("mlp", **settings)
    sampler = NoiseAugmenter(continuous=True, random_state=0)
    pipe = Pipeline([sampler, reg])
    pipe.fit(X, y, **{f"spectrumregressor__{k}": v for k, v in given.items()})
    X_new, y_new = sampler.fit_resample(X, y)
    rows = np.tile(np.arange(40), 2)
    alone = SpectrumRegressor("mlp", **settings)
    alone.fit(X_new, y_new, **{name: v[rows] for name, v in given.items()})
    assert_array_equal(pipe.predict(X), alone.predict(X))
