# SPDX-License-Identifier: BSD-3-Clause
"""Prediction intervals of MAPIE around a network, as the guide shows them."""

import numpy as np
from mapie.regression import SplitConformalRegressor
from tiny_estimators import make_tiny

from skastro import SpectrumRegressor


def test_nine_tenths_are_within_the_intervals():
    rng = np.random.default_rng(0)
    depth = rng.uniform(size=3300)
    X = np.ones((len(depth), 100), np.float32)
    X[:, 40:60] -= 0.9 * depth[:, None]
    y = depth + rng.normal(scale=0.1, size=len(depth))
    # Whatever the error bars of the network are.
    reg = make_tiny(SpectrumRegressor, max_epochs=5, calibrate=False, train_split=None)
    reg.fit(X[:300], y[:300])
    conformal = SplitConformalRegressor(reg, confidence_level=0.9, prefit=True)
    conformal.conformalize(X[300:1300], y[300:1300])
    X, y = X[1300:], y[1300:]
    found, interval = conformal.predict_interval(X)
    np.testing.assert_array_equal(found, reg.predict(X))
    low, high = interval[:, :, 0].T
    # The part has a standard deviation of 0.012 from one draw of samples to the next.
    assert abs(np.mean((low <= y) & (y <= high)) - 0.9) < 0.03
    # Nobody who knew the depths would need less than the error of y.
    assert 0.95 < np.mean(high - low) / (2 * 1.645 * 0.1) < 1.2
