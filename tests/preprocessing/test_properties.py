# SPDX-License-Identifier: BSD-3-Clause
"""Transformers and samplers against short, independent formulas, on any numbers."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from skastro.preprocessing import (
    CropPadImages,
    MinMaxSpectra,
    RebinSpectra,
    StandardizeSpectra,
)
from skastro.resampling import NoiseAugmenter, NoiseResampler
from skastro.utils import rebin

pytestmark = pytest.mark.once

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)

LENGTH = 7
SHAPES = st.sampled_from([(1, LENGTH), (3, LENGTH), (2, 2, LENGTH)])
EXPONENTS = st.sampled_from([-300, -160, -40, -17, 0, 17, 38, 160, 300])


@st.composite
def spectra(draw):
    """Draw spectra of a few different values, of any size and with any offset."""
    steps = arrays(np.float64, draw(SHAPES), elements=st.integers(-5, 5))
    offset = draw(st.sampled_from([0.0, 1.0, -3.0, 1e5]))
    return (draw(steps) + offset) * 10.0 ** draw(EXPONENTS)


def limits(X, percentiles=(0, 100)):
    return np.percentile(X, percentiles, axis=-1, keepdims=True)


def divided(X, scale):
    return X / np.where(scale == 0, 1, scale)


@few
@given(spectra())
def test_minmax(X):
    low, high = limits(X)
    expected = divided(X - low, high - low)
    assert_allclose(MinMaxSpectra().transform(X), expected, rtol=1e-9, atol=1e-9)
    scaled = MinMaxSpectra((-1, 3)).transform(X)
    assert_allclose(scaled, 4 * expected - 1, rtol=1e-9, atol=1e-9)


@few
@given(spectra(), st.sampled_from([(0, 50), (10, 90), (25, 100), (50, 75)]))
def test_minmax_between_percentiles(X, percentiles):
    ends = limits(X, percentiles)
    low, high = np.where(ends[0] == ends[1], limits(X), ends)
    transformer = MinMaxSpectra(quantile_range=percentiles, clip=True)
    expected = np.clip(divided(X - low, high - low), 0, 1)
    # Round-off may decide whether two percentiles coincide.
    assume(not np.isclose(*ends, rtol=1e-9).any() or (ends[0] == ends[1]).any())
    assert_allclose(transformer.transform(X), expected, rtol=1e-8, atol=1e-8)


@few
@given(spectra())
def test_standardize(X):
    center = X - X[..., :1]
    center = divided(center, np.abs(center).max(-1, keepdims=True))
    center = center - center.mean(-1, keepdims=True)
    expected = divided(center, center.std(-1, keepdims=True))
    assert_allclose(StandardizeSpectra().transform(X), expected, rtol=1e-9, atol=1e-9)
    clipped = StandardizeSpectra(clip=0.5).transform(X)
    assert_allclose(clipped, expected.clip(-0.5, 0.5), rtol=1e-9, atol=1e-9)


@few
@given(spectra())
def test_robust_standardize(X):
    center = X - np.median(X, -1, keepdims=True)
    center = divided(center, np.abs(center).max(-1, keepdims=True))
    scale = np.median(np.abs(center), -1, keepdims=True) / 0.6744897501960817
    scale = np.where(scale == 0, np.sqrt((center**2).mean(-1, keepdims=True)), scale)
    found = StandardizeSpectra(robust=True).transform(X)
    assert_allclose(found, divided(center, scale), rtol=1e-9, atol=1e-9)


@few
@given(spectra(), st.integers(0, 2**LENGTH - 2))
def test_interpolated_pixels(X, pattern):
    missing = np.array([pattern >> pixel & 1 for pixel in range(LENGTH)], bool)
    grid = np.arange(LENGTH)
    filled = np.apply_along_axis(
        lambda row: np.interp(grid, grid[~missing], row[~missing]), -1, X
    )
    holes = np.where(missing, np.nan, X)
    for transformer in (MinMaxSpectra, StandardizeSpectra, RebinSpectra):
        found = transformer(nan_policy="interpolate").transform(holes)
        expected = transformer().transform(filled)
        assert_allclose(found, expected, rtol=1e-6, atol=1e-300)


@few
@given(spectra(), st.sampled_from([np.float32, ">f4", np.int16]))
def test_other_types_are_as_float64(X, dtype):
    with np.errstate(over="ignore", invalid="ignore"):
        X = X.clip(-30000, 30000).astype(dtype)
    for transformer in (MinMaxSpectra(), StandardizeSpectra(), RebinSpectra()):
        found, expected = transformer.transform(X), transformer.transform(X * 1.0)
        assert found.dtype == (np.float64 if dtype == np.int16 else np.float32)
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def grids(size):
    """Draw centers of pixels with steps of any width that makes no gap."""
    steps = st.lists(st.floats(1, 9), min_size=size, max_size=size)
    return steps.map(np.cumsum)


def edges_of(centers):
    inner = (centers[1:] + centers[:-1]) / 2
    return np.concatenate(
        [[2 * centers[0] - inner[0]], inner, [2 * centers[-1] - inner[-1]]]
    )


def overlaps(edges, new_edges):
    """Compute the length that each old pixel has in each new one."""
    low = np.maximum(edges[:-1], new_edges[:-1, None])
    high = np.minimum(edges[1:], new_edges[1:, None])
    return np.maximum(high - low, 0)


@few
@given(grids(LENGTH), grids(5), st.floats(-9, 40), SHAPES, st.integers(0, LENGTH))
def test_rebin(grid, new_grid, shift, shape, lost):
    new_grid = new_grid + shift
    edges, new_edges = edges_of(grid), edges_of(new_grid)
    share = overlaps(edges, new_edges)
    covered = share.sum(1) / np.diff(new_edges)
    assume(not np.isclose(covered, 0.5).any() and covered.any())
    flux = np.random.default_rng(0).normal(size=shape)
    kept = covered > 0.5
    expected = np.where(kept, divided(flux @ share.T, share.sum(1)), -1)
    found = rebin(flux, grid, new_grid, fill_value=-1)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    transformer = RebinSpectra(grid, new_grid, fill_value=-1)
    assert_array_equal(transformer.fit_transform(flux), found)
    # Flux of new pixels within the old ones is conserved, pixel by pixel and in sum.
    whole = covered > 1 - 1e-12
    total = (found * np.diff(new_edges))[..., whole].sum(-1)
    assert_allclose(total, (flux @ share.T)[..., whole].sum(-1), rtol=1e-9, atol=1e-9)
    if lost < LENGTH:
        touched = share[:, lost] > 1e-6 * min(
            np.diff(edges)[lost], np.diff(new_edges).min()
        )
        flux[..., lost] = np.nan
        holes = np.isnan(rebin(flux, grid, new_grid, fill_value=-1))
        assert_array_equal(holes, np.broadcast_to(touched & kept, holes.shape))


@few
@given(grids(LENGTH), st.integers(1, 20))
def test_rebin_to_even_pixels(grid, n_bins):
    flux = np.random.default_rng(0).normal(size=(2, LENGTH))
    edges = edges_of(grid)
    transformer = RebinSpectra(grid, n_bins=n_bins)
    share = overlaps(edges, np.linspace(edges[0], edges[-1], n_bins + 1))
    expected = flux @ share.T / share.sum(1)
    assert_allclose(transformer.fit_transform(flux), expected, rtol=1e-8, atol=1e-8)
    assert_allclose(transformer.fit_transform(np.ones((1, LENGTH))), 1)


def placed(images, size, fill):
    """Move the pixel at length // 2 of an axis to new_length // 2."""
    for axis, new in zip((1, 2), size, strict=True):
        old = images.shape[axis]
        places = np.arange(new) - new // 2 + old // 2
        inside = (places >= 0) & (places < old)
        inside = np.expand_dims(inside, tuple(set(range(images.ndim)) - {axis}))
        moved = images.take(places.clip(0, old - 1), axis)
        images = np.where(inside, moved, np.asarray(fill, images.dtype))
    return images


SIDES = st.integers(5, 9)


@few
@given(
    st.tuples(SIDES, SIDES),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.sampled_from([(), (1,), (3,)]),
    st.sampled_from([np.uint8, np.int16, np.float32, np.float64]),
)
def test_crop_and_pad(shape, size, channels, dtype):
    images = np.random.default_rng(0).integers(1, 200, (2, *shape, *channels))
    images = images.astype(dtype)
    found = CropPadImages(size, fill_value=7).fit_transform(images)
    assert found.dtype == dtype
    assert_array_equal(found, placed(images, size, 7))
    listed = CropPadImages(size, fill_value=7).transform(list(images))
    assert_array_equal(listed, found)
    lifted = CropPadImages((20, 21)).transform(images)
    assert_array_equal(CropPadImages(shape).transform(lifted), images)
    if channels:
        first = CropPadImages(size, channel_axis=1, fill_value=7)
        moved = first.fit_transform(np.moveaxis(images, -1, 1))
        assert_array_equal(np.moveaxis(moved, 1, -1), found)
    else:
        flat = CropPadImages(size, image_shape=shape, fill_value=7)
        assert_array_equal(flat.transform(images.reshape(2, -1)), found.reshape(2, -1))


LABELS = st.lists(st.sampled_from("abc"), min_size=2, max_size=30).map(
    lambda labels: np.array(["a", "b", *labels])
)


def samples(y):
    """Make samples that tell their row."""
    return np.arange(len(y), dtype=float)[:, None] + np.zeros(4)


@few
@given(LABELS, st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_augmenter(y, n_copies, seed):
    X = samples(y)
    sampler = NoiseAugmenter(n_copies, noise=lambda X: X + 0.25, random_state=seed)
    X_new, y_new = sampler.fit_resample(X, y)
    assert_array_equal(X_new[: len(y)], X)
    assert_array_equal(X_new[len(y) :], np.tile(X, (n_copies, 1)) + 0.25)
    assert_array_equal(y_new, np.tile(y, n_copies + 1))
    assert_array_equal(sampler.sample_indices_, np.floor(X_new[:, 0]))


@few
@given(
    LABELS,
    st.one_of(
        st.integers(1, 12),
        st.sampled_from(["balanced", "auto", "all", "minority", "not minority"]),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 12), min_size=1),
    ),
    st.integers(0, 2**31 - 1),
)
def test_resampler(y, strategy, seed):
    X, present = samples(y), dict(zip(*np.unique(y, return_counts=True), strict=True))
    most, least = max(present.values()), min(present, key=present.get)
    if isinstance(strategy, dict):
        assume(set(strategy) <= set(present))
        wanted = present | strategy
    elif strategy == "balanced":
        wanted = dict.fromkeys(present, len(y) // len(present))
    elif isinstance(strategy, int):
        wanted = dict.fromkeys(present, strategy)
    else:
        grown = {"minority": {least}, "not minority": set(present) - {least}}
        grown = grown.get(strategy, set(present))
        wanted = {c: most if c in grown else n for c, n in present.items()}
    state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    sampler = NoiseResampler(strategy, noise=lambda X: X + 0.25, random_state=seed)
    X_new, y_new = sampler.fit_resample(X, y)
    assert {c: (y_new == c).sum() for c in present} == wanted
    rows, is_copy = np.floor(X_new[:, 0]).astype(int), X_new[:, 0] % 1 == 0.25
    assert_array_equal(sampler.sample_indices_, rows)
    assert_array_equal(y_new, y[rows])
    # Kept samples are unchanged, in their order, and none occurs twice.
    assert (np.diff(rows[~is_copy]) > 0).all()
    for label, n in present.items():
        own = y_new == label
        assert (own & is_copy).sum() == max(wanted[label] - n, 0)
    again = NoiseResampler(strategy, noise=lambda X: X + 0.25, random_state=seed)
    assert_array_equal(again.fit_resample(X, y)[0], X_new)
    assert_array_equal(np.random.get_state()[1], state[0])  # noqa: NPY002
    assert_array_equal(torch.get_rng_state(), state[1])
