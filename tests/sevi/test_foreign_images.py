# SPDX-License-Identifier: BSD-3-Clause
"""Images that are none of shells get no confident answer in silence; views are read."""

import warnings

import numpy as np
import pytest
import torch
from astropy.utils.masked import Masked
from sklearn.model_selection import cross_val_score

from skastro import SEVIRegressor
from skastro.sevi import SEVIDisplay, ShellPrior, fit_shells, make_sevi

pytestmark = pytest.mark.once

QUICK = {"max_epochs": 1, "random_state": 0, "verbose": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def fitted():
    train = make_sevi(40, size=32, n_electrons=1e4, random_state=0)
    return SEVIRegressor(**QUICK).fit(train.images, train.beta)


@pytest.fixture(scope="module")
def images():
    return make_sevi(4, size=32, n_electrons=1e5, random_state=1).images


@pytest.fixture(scope="module")
def foreign(images):
    """Make the second and the last image a dead half."""
    spoiled = images.copy()
    spoiled[[1, 3], :16] = 0
    return spoiled


@pytest.mark.parametrize(
    "ask",
    [
        lambda reg, X: reg.predict(X),
        lambda reg, X: reg.predict(X, return_std=True),
        lambda reg, X: reg.predict_interval(X),
        lambda reg, X: reg.predict_shells(X),
        lambda reg, X: reg.score(X, np.zeros((4, 12))),
        lambda reg, X: fit_shells(X),
    ],
    ids=["predict", "std", "interval", "shells", "score", "fit_shells"],
)
def test_a_warning_names_the_rows(fitted, images, foreign, ask):
    with pytest.warns(UserWarning, match=r"2 of 4 images \(rows 1, 3\) do not look"):
        ask(fitted, foreign)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(fitted, images)


def test_a_display_warns(fitted, foreign):
    with pytest.warns(UserWarning, match=r"1 of 1 images \(rows 0\)"):
        display = SEVIDisplay.from_estimator(fitted, foreign[1])
    display.figure_.clear()


def test_validation_warns(images, foreign):
    reg = SEVIRegressor(**QUICK)
    with pytest.warns(UserWarning, match="do not look like counts"):
        cross_val_score(reg, foreign, np.zeros((4, 12)), cv=2, error_score="raise")


def test_a_fit_without_an_answer_is_out_of_range(fitted, images, monkeypatch):
    from skastro.sevi import _shell_fit

    whole = _shell_fit.ShellPosterior.concatenate

    def lose_one(parts):
        posterior = whole(parts)
        posterior.beta[2] = np.nan
        return posterior

    monkeypatch.setattr(_shell_fit.ShellPosterior, "concatenate", lose_one)
    with pytest.warns(UserWarning, match=r"\(rows 2\)"):
        shells = fitted.predict_shells(images)
    assert shells.out_of_range.tolist() == [False, False, True, False]
    with pytest.warns(UserWarning, match=r"\(rows 2\)"):
        beta, std = fitted.predict(images, return_std=True)
    np.testing.assert_allclose(std[2], fitted.residual_std_)
    assert np.isfinite(beta).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda images: images[:, ::-1],
        lambda images: images[:, :, ::-1],
        lambda images: np.rot90(images, 2, axes=(1, 2)),
        lambda images: images.astype(">f4"),
        lambda images: images.astype(np.uint16),
        lambda images: images.astype(object),
        lambda images: np.broadcast_to(images[0], images.shape),
    ],
    ids=["rows", "columns", "turned", "big", "uint16", "object", "read-only"],
)
def test_views_and_types_of_images(fitted, images, view):
    X = view(images[:1])
    plain = np.ascontiguousarray(X, dtype=np.float32)
    beta = fit_shells(plain, prior=fitted.prior_).beta[:, 0]
    np.testing.assert_array_equal(fit_shells(X, prior=fitted.prior_).beta[:, 0], beta)
    np.testing.assert_allclose(fitted.predict(X), beta, rtol=1e-6, atol=1e-9)
    try:
        fitted.set_params(refine=False)
        np.testing.assert_array_equal(fitted.predict(X), fitted.predict(plain))
    finally:
        fitted.set_params(refine=True)


def test_a_turned_image_is_that_of_the_other_axis(fitted, images):
    turned = np.rot90(images, axes=(1, 2))
    upright = fit_shells(images).beta
    along = fit_shells(turned, polarization_axis=0).beta
    np.testing.assert_allclose(along, upright, atol=1e-3)


def test_hidden_counts_are_no_counts(images):
    mask = np.zeros(images.shape, bool)
    mask[0, 3, 4] = True
    for masked in (np.ma.array(images, mask=mask), Masked(images, mask=mask)):
        with pytest.raises(ValueError, match="Input images contains NaN"):
            fit_shells(masked)
        with pytest.raises(ValueError, match="image has NaN"):
            SEVIDisplay.from_predictions(masked[0], {})
        with pytest.raises(ValueError, match="Input beta contains NaN"):
            ShellPrior.from_samples(masked[0])
    shells = fit_shells(torch.tensor(images, requires_grad=True))
    np.testing.assert_array_equal(shells.beta, fit_shells(images).beta)


def test_flattened_images_are_no_images_of_one_row(images):
    reg = SEVIRegressor(**QUICK)
    with pytest.raises(ValueError, match=r"rows of 1024 numbers.*image_shape="):
        reg.fit(images.reshape(4, -1), np.zeros((4, 12)))
