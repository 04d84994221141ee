# SPDX-License-Identifier: BSD-3-Clause
"""Transformers of spectra on arrays that stay on disk."""

import pickle

import h5py
import numpy as np
import pytest
from sklearn.base import clone

from skastro import (
    MinMaxSpectra,
    Pipeline,
    RebinSpectra,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.datasets import LazyArray

TRANSFORMERS = [
    MinMaxSpectra(),
    StandardizeSpectra(robust=True, clip=3),
    RebinSpectra(n_bins=7),
]


@pytest.fixture
def flux():
    """Make spectra."""
    return np.random.default_rng(0).normal(5, 2, size=(90, 3, 20)).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    """Open an empty HDF5 file."""
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        yield file


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "i2"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_spectra_are_transformed_as_they_are_read(transformer, dtype, ndim, flux, file):
    flux = (flux[:, 0] if ndim == 2 else flux).astype(dtype)
    on_disk = file.create_dataset("flux", data=flux, chunks=(8, *flux.shape[1:]))
    transformer = clone(transformer)
    lazy = transformer.fit_transform(on_disk)
    expected = clone(transformer).fit_transform(flux)
    assert isinstance(lazy, LazyArray)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    rows = [50, 3, 3, 89]
    for got, wanted in [
        (lazy[10:25], expected[10:25]),
        (lazy[rows][:], expected[rows]),
        (np.asarray(lazy), expected),
        (transformer.transform(LazyArray(on_disk)[rows])[:], expected[rows]),
    ]:
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert transformer.n_features_in_ == flux.shape[1]


def test_a_pipeline_trains_from_disk(flux, file):
    X, y = flux[:, 0], np.arange(90) % 2
    X[y == 1, 5:12] += 3
    on_disk = file.create_dataset("flux", data=X)
    pipe = Pipeline(
        [
            MinMaxSpectra(),
            SpectrumClassifier(
                "mlp", max_epochs=12, lr=0.01, random_state=0, verbose=0
            ),
        ]
    )
    pipe.fit(on_disk, y)
    assert pipe.score(on_disk, y) > 0.9
    np.testing.assert_allclose(
        pipe.predict_proba(on_disk), pipe.predict_proba(X), atol=1e-6
    )


def test_later_settings_do_not_reach_back(flux, file):
    on_disk = file.create_dataset("flux", data=flux)
    transformer = MinMaxSpectra()
    lazy = transformer.transform(on_disk)
    transformer.set_params(feature_range=(-1, 1))
    assert lazy[:].min() == 0


def test_transformed_arrays_pickle(flux, file):
    file.create_dataset("flux", data=flux)
    lazy = MinMaxSpectra().transform(file["flux"])
    file.flush()
    copy = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(copy[5:7], lazy[5:7])


def test_bad_spectra_are_found_when_they_are_read(flux, file):
    flux[42, 1, 3] = np.nan
    lazy = MinMaxSpectra().fit_transform(file.create_dataset("flux", data=flux))
    assert np.isfinite(lazy[:40]).all()
    with pytest.raises(ValueError, match="contains NaN") as caught:
        lazy[40:50]
    assert "Counted from row 40" in caught.value.__notes__[0]
    filled = MinMaxSpectra(nan_policy="interpolate").transform(file["flux"])
    assert np.isfinite(filled[:]).all()


def test_bad_arrays_on_disk(flux, file):
    transformer = MinMaxSpectra().fit(flux)
    with pytest.raises(ValueError, match=r"shape \(20,\)"):
        transformer.transform(file.create_dataset("row", data=flux[:, 0]))
    for name, data in [
        ("vector", flux[:, 0, 0]),
        ("none", flux[:0]),
        ("complex", flux * 1j),
    ]:
        with pytest.raises(ValueError, match="Found an array on disk of shape"):
            MinMaxSpectra().fit(file.create_dataset(name, data=data))
