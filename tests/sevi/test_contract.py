# SPDX-License-Identifier: BSD-3-Clause
"""SEVIRegressor: scikit-learn's checks."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skastro import SEVIRegressor


def tiny(module="polar", **params):
    """Make an instance that trains in a blink, on rows of numbers as well."""
    defaults = {
        "n_betas": 1,
        "max_epochs": 20,
        "lr": 1e-2,
        "batch_size": 16,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
    }
    return SEVIRegressor(module, **(defaults | params))


@parametrize_with_checks(
    [
        SEVIRegressor(n_betas=1),
        tiny(module__widths=(16,), module__hidden=32),
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
