# SPDX-License-Identifier: BSD-3-Clause
"""What all per-spectrum transformers promise."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skastro.preprocessing import MinMaxSpectra, RebinSpectra, StandardizeSpectra

DEFAULTS = [MinMaxSpectra(), StandardizeSpectra(), RebinSpectra()]
OTHERS = [
    MinMaxSpectra((-1, 1), quantile_range=(1.0, 99.0), clip=True),
    MinMaxSpectra(nan_policy="interpolate"),
    StandardizeSpectra(robust=True, clip=5.0),
    StandardizeSpectra(nan_policy="interpolate"),
    RebinSpectra(n_bins=2),
    RebinSpectra(n_bins=1, nan_policy="interpolate"),
    RebinSpectra(new_wavelength=[0.0, 0.5]),
]
every = pytest.mark.parametrize("transformer", DEFAULTS + OTHERS, ids=str)


@pytest.fixture
def flux():
    return np.random.default_rng(0).gamma(2.0, 100.0, size=(6, 40))


@parametrize_with_checks(OTHERS)
def test_scikit_learn_contract_of_other_settings(estimator, check):
    check(estimator)


@every
def test_channels_are_treated_one_by_one(transformer, flux):
    flux = flux.reshape(3, 2, 40)
    together = clone(transformer).fit_transform(flux)
    assert together.shape[:2] == (3, 2)
    for channel in range(2):
        alone = clone(transformer).fit_transform(flux[:, channel])
        assert_array_equal(together[:, channel], alone)


@every
def test_works_without_fit_and_does_not_change_the_input(transformer, flux):
    before = flux.copy()
    unfitted = clone(transformer).transform(flux)
    assert_array_equal(unfitted, clone(transformer).fit(flux[:2]).transform(flux))
    assert_array_equal(flux, before)
    # Nothing is remembered by transform.
    untouched = clone(transformer)
    untouched.transform(flux)
    assert vars(untouched) == vars(clone(transformer))


@every
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("<f4", "f4"), (">f4", "f4"), (">f8", "f8"), ("i2", "f8"), (">i4", "f8")],
)
def test_dtypes_and_byte_orders(transformer, dtype, expected, flux):
    flux = flux.astype(dtype)
    transformed = clone(transformer).fit_transform(flux)
    assert transformed.dtype == np.dtype(expected)
    assert transformed.dtype.isnative
    reference = clone(transformer).fit_transform(flux.astype(float))
    assert_allclose(transformed, reference, rtol=1e-5, atol=1e-6)


@every
def test_many_batches_give_the_same_as_one_spectrum_at_a_time(transformer):
    flux = np.random.default_rng(1).normal(size=(100, 2, 5000)).astype(np.float32)
    transformed = clone(transformer).transform(flux)
    for row in (0, 25, 26, 27, 99):
        assert_array_equal(
            transformed[[row]], clone(transformer).transform(flux[[row]])
        )


@every
def test_views_of_any_memory_layout(transformer, flux):
    expected = clone(transformer).transform(flux[::2, ::-1].copy())
    assert_array_equal(clone(transformer).transform(flux[::2, ::-1]), expected)
    fortran = np.asfortranarray(flux[::2, ::-1])
    assert_array_equal(clone(transformer).transform(fortran), expected)


@every
def test_data_frames_in_and_out(transformer, flux):
    columns = [f"pixel{i}" for i in range(40)]
    frame = pd.DataFrame(flux, columns=columns, index=list("abcdef"))
    unfitted = clone(transformer).transform(frame)
    transformer = clone(transformer).set_output(transform="pandas")
    out = transformer.fit(frame).transform(frame)
    assert list(out.index) == list("abcdef")
    assert_array_equal(transformer.feature_names_in_, columns)
    assert_array_equal(out.columns, transformer.get_feature_names_out())
    assert_array_equal(out.to_numpy(), unfitted)
    if isinstance(transformer, RebinSpectra):
        assert out.columns[0] == "rebinspectra0"
    else:
        assert list(out.columns) == columns


@every
def test_pickle(transformer, flux):
    fitted = clone(transformer).fit(flux)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.transform(flux), fitted.transform(flux))


@every
def test_single_pixel_and_single_spectrum(transformer):
    transformed = clone(transformer).fit_transform([[3.0]])
    assert transformed.shape[0] == 1
    assert np.isfinite(transformed[0, 0])


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
def test_nan_is_refused_with_rows_and_advice(transformer, method, flux):
    flux[1, 3:6] = flux[4, 0] = np.nan
    message = r"X contains NaN: 4 NaN in 2 of 6 rows \(1, 4\)\. Set nan_policy="
    with pytest.raises(ValueError, match=message):
        getattr(clone(transformer), method)(flux)
    flux[1, 3] = np.inf
    with pytest.raises(ValueError, match="NaN and infinity: 3 NaN and 1 infinite"):
        getattr(clone(transformer), method)(flux.reshape(6, 2, 20))


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
def test_masked_values_count_as_nan(transformer, flux):
    masked = np.ma.array(flux, mask=np.zeros(flux.shape, bool))
    transformed = clone(transformer).transform(masked)
    assert_array_equal(transformed, clone(transformer).transform(flux))
    masked[2, 7:9] = np.ma.masked
    with pytest.raises(ValueError, match=r"2 NaN in 1 of 6 rows \(2\)"):
        clone(transformer).transform(masked)


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_nan_interpolation(transformer, channels, flux):
    flux = flux.reshape(6 // channels, channels, 40)
    # A straight line in the gap, the outermost good pixel at the ends.
    repaired = flux.copy()
    repaired[0, -1, 10:13] = np.linspace(flux[0, -1, 9], flux[0, -1, 13], 5)[1:-1]
    repaired[2, 0, :4] = flux[2, 0, 4]
    repaired[2, 0, 30:] = flux[2, 0, 29]
    broken = flux.copy()
    broken[0, -1, 10:13] = np.nan
    broken[2, 0, :4] = broken[2, 0, 30:] = np.nan
    before = broken.copy()
    if channels == 1:
        broken, repaired = broken[:, 0], repaired[:, 0]
    filling = clone(transformer).set_params(nan_policy="interpolate")
    transformed = filling.fit_transform(broken)
    expected = clone(transformer).transform(repaired)
    assert_allclose(transformed, expected, rtol=1e-12, atol=1e-12)
    assert_array_equal(broken, before.reshape(broken.shape))
    assert filling.__sklearn_tags__().input_tags.allow_nan


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
def test_what_cannot_be_interpolated(transformer, flux):
    transformer = clone(transformer).set_params(nan_policy="interpolate")
    flux[[2, 5]] = np.nan
    message = r"2 spectra of NaN only, which cannot be interpolated, in rows 2, 5"
    with pytest.raises(ValueError, match=message):
        transformer.fit(flux)
    message = r"3 spectra with a channel of NaN only.*in rows 0, 1, 2"
    cube = np.stack([flux[:3], flux[3:]], axis=1)
    cube[0, 1] = cube[1, 0] = np.nan
    with pytest.raises(ValueError, match=message):
        transformer.transform(cube)
    flux[[2, 5]] = 0
    flux[3, 3] = np.inf
    with pytest.raises(ValueError, match=r"infinity: 1 infinite .*Only NaN pixels can"):
        transformer.fit(flux)


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
def test_wrong_shapes_are_named(transformer, flux):
    fitted = clone(transformer).fit(flux)
    with pytest.raises(ValueError, match=r"X has 39 features, but .* expecting 40"):
        fitted.transform(flux[:, 1:])
    cube = flux.reshape(3, 2, 40)
    message = re.escape("X holds spectra of shape (2, 40), but")
    with pytest.raises(ValueError, match=message + r".*of shape \(40,\)"):
        fitted.transform(cube)
    fitted.fit(cube)
    assert fitted.sample_shape_ == (2, 40)
    for wrong in (cube[..., 1:], cube[:, :1], flux):
        message = re.escape(f"X holds spectra of shape {wrong.shape[1:]}, but")
        with pytest.raises(ValueError, match=message + r".*of shape \(2, 40\)"):
            fitted.transform(wrong)
    with pytest.raises(ValueError, match=r"Found array of shape \(3, 2, 4, 10\)"):
        clone(transformer).transform(flux.reshape(3, 2, 4, 10))
    with pytest.raises(ValueError, match=r"Found array of shape \(3, 2, 0\)"):
        clone(transformer).fit(cube[..., :0])


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_parameters_are_judged_with_and_without_fit(transformer, method, flux):
    transformer = clone(transformer).set_params(nan_policy="ignore")
    with pytest.raises(ValueError, match=r"'nan_policy' parameter of .* must be a str"):
        getattr(transformer, method)(flux)


@every
def test_failed_fit_leaves_the_transformer_as_it_was(transformer, flux):
    fitted = clone(transformer).fit(flux)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="infinity"):
        fitted.fit([[1.0, np.inf, 2.0]])
    assert vars(fitted) == before
