# SPDX-License-Identifier: BSD-3-Clause
"""SEVIRegressor: scikit-learn's checks."""

from functools import partial

from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import SEVIRegressor

tiny = partial(make_tiny, SEVIRegressor)


@parametrize_with_checks(
    [
        SEVIRegressor(n_betas=1),
        tiny("mlp", convention="vmi", normalization="counts", refine=False),
        tiny(
            "resnet10",
            module__width=4,
            module__stem="stride1",
            max_epochs=15,
            lr=2e-2,
            normalization="counts",
        ),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)
