# SPDX-License-Identifier: BSD-3-Clause
"""SEVIRegressor: scikit-learn's checks."""

from functools import partial

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import SEVIRegressor

pytestmark = pytest.mark.once

tiny = partial(make_tiny, SEVIRegressor)


@parametrize_with_checks(
    [
        SEVIRegressor(n_betas=1, max_epochs=12),
        tiny(
            "mlp", convention="vmi", normalization="counts", refine=False, max_epochs=12
        ),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)
