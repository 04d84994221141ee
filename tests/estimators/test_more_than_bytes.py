# SPDX-License-Identifier: BSD-3-Clause
"""Whole numbers beyond 255 are no bytes."""

import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import GalaxyClassifier, GalaxyRegressor, VAETransformer

pytestmark = pytest.mark.filterwarnings("ignore:Only . of . latent dimensions")

ESTIMATORS = [GalaxyClassifier, GalaxyRegressor, VAETransformer]
REFUSED = "was fitted on bytes up to .*, but X has numbers up to .*, which cannot be"


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    """Return images of bytes and a method that answers for such."""
    X = np.random.default_rng(0).integers(0, 256, (40, 10, 10, 3), np.uint8)
    net = make_tiny(request.param, max_epochs=1).fit(X, np.arange(40) % 2)
    return X, net.transform if hasattr(net, "transform") else net.predict


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("highest", [256, 300, 476])
def test_whole_numbers_beyond_bytes(fitted, dtype, highest):
    images, answer = fitted
    X = images.astype(dtype)
    X[0, 0, 0, 0] = highest
    with pytest.raises(ValueError, match=REFUSED):
        answer(X)
    X[0, 0, 0, 0] = 255
    np.testing.assert_array_equal(answer(X), answer(X.astype(np.uint8)))


def test_fractions_of_resampled_bytes(fitted):
    images, answer = fitted
    X = images * 1.1 - 12.3
    assert len(answer(X)) == 40
    for factor in (1.5, 2.0):
        with pytest.raises(ValueError, match=REFUSED):
            answer(X * factor)
