# SPDX-License-Identifier: BSD-3-Clause
"""What all operations on spectra promise, whatever they do."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils import check_random_state

from skastro import SpectrumClassifier
from skastro.augmentation import (
    AUGMENTATIONS,
    BadPixels,
    CCDNoise,
    Compose,
    CosmicRays,
    GaussianNoise,
    ScaleContinuum,
    ShiftSpectra,
    SpikedNoise,
    augment_array,
)

pytestmark = pytest.mark.once

LENGTH = 30
GRID = np.geomspace(4000, 4100, LENGTH)
OPERATIONS = [
    GaussianNoise(0.2),
    CCDNoise(0.1),
    CCDNoise(0.1, relative=True),
    CCDNoise(0.1, random_scale=True),
    SpikedNoise(),
    BadPixels(),
    BadPixels(7, probability=0.5, value=-1.0),
    CosmicRays(),
    CosmicRays(3, probability=0.5, value="max"),
    ScaleContinuum(),
    ScaleContinuum(0.1, degree=3),
    ShiftSpectra(0.2),
    ShiftSpectra(max_velocity=1000.0, wavelength=GRID),
    AUGMENTATIONS["wang2020"],
]
every = pytest.mark.parametrize("operation", OPERATIONS, ids=repr)


def make_flux(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 1.0, size=shape)


def global_numpy_state():
    return check_random_state(None).get_state()[1].copy()


# What all of them promise ---------------------------------------------------------


@every
@pytest.mark.parametrize("shape", [(7, LENGTH), (5, 3, LENGTH), (1, LENGTH)])
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_shape_and_dtype_stay_and_the_input_too(operation, shape, dtype):
    flux = torch.tensor(make_flux(*shape)).to(dtype)
    before = flux.clone()
    varied = operation(flux, generator=1)
    assert varied.shape == flux.shape
    assert varied.dtype == dtype
    assert varied.isfinite().all()
    assert torch.equal(flux, before)


@every
def test_spectra_differ_from_each_other_and_from_the_input(operation):
    ramp = torch.linspace(1, 2, LENGTH).repeat(40, 1)
    varied = operation(ramp, generator=0)
    assert len(varied.unique(dim=0)) > 5
    assert not torch.equal(varied, ramp)


@every
def test_draws_follow_the_generator_whatever_its_kind(operation):
    flux = torch.tensor(make_flux(9, LENGTH))
    first = operation(flux, generator=5)
    again = operation(flux, generator=torch.Generator().manual_seed(5))
    assert torch.equal(again, first)
    assert not torch.equal(operation(flux, generator=6), first)
    state = np.random.RandomState(1)
    drawn = operation(flux, generator=state)
    assert torch.equal(operation(flux, generator=np.random.RandomState(1)), drawn)
    assert not torch.equal(operation(flux, generator=state), drawn)


@every
def test_explicit_seeds_leave_the_global_generators_alone(operation):
    flux = torch.tensor(make_flux(3, LENGTH))
    before, numpy_before = torch.get_rng_state(), global_numpy_state()
    operation(flux, generator=0)
    operation(flux.numpy(), generator=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert_array_equal(global_numpy_state(), numpy_before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = operation(flux)
        torch.manual_seed(3)
        assert torch.equal(operation(flux), first)


@every
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8"])
def test_arrays_give_what_tensors_give(operation, dtype):
    flux = make_flux(6, 2, LENGTH).astype(dtype)
    flux.flags.writeable = False
    native = flux.astype(flux.dtype.newbyteorder("="))
    varied = operation(flux, generator=2)
    assert isinstance(varied, np.ndarray)
    assert varied.dtype == native.dtype
    assert varied.flags.writeable
    assert_array_equal(varied, operation(torch.tensor(native), generator=2).numpy())
    strided = operation(np.asarray(flux)[::-1, :, :], generator=2)
    assert_array_equal(strided, operation(flux[::-1].copy(), generator=2))


@every
def test_large_arrays_are_varied_row_by_row(operation):
    flux = np.tile(np.linspace(1, 2, LENGTH), (20_000, 1))
    varied = operation(flux, generator=0)
    # More than one piece, which must not repeat the draws of the first.
    first, last = varied[:100], varied[-100:]
    assert not np.array_equal(first, last)
    assert operation(flux[:0], generator=0).shape == (0, LENGTH)


@every
def test_empty_batches(operation):
    assert operation(torch.empty(0, 2, LENGTH), generator=0).shape == (0, 2, LENGTH)


@pytest.mark.parametrize("operation", OPERATIONS[:-2], ids=repr)
def test_single_pixels(operation):
    assert operation(torch.ones(4, 1), generator=0).shape == (4, 1)


@every
def test_other_input_is_refused(operation):
    if isinstance(operation, Compose):
        operation = operation.operations[0]
    name = type(operation).__name__
    with pytest.raises(ValueError, match=rf"{name} takes spectra .* got \(4,\)"):
        operation(torch.ones(4))
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 5\)"):
        operation(np.ones((2, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"got \(2, 0\)"):
        operation(np.ones((2, 0)))
    with pytest.raises(TypeError, match=f"{name} needs flux in floating point.*int64"):
        operation(torch.ones(2, LENGTH, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"numpy arrays, but got list.*numpy\.asarray"):
        operation([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"generator must be.* but got 'seed'"):
        operation(torch.ones(2, LENGTH), generator="seed")


@every
def test_pickle_and_repr(operation):
    again = pickle.loads(pickle.dumps(operation))
    assert repr(again) == repr(operation)
    flux = torch.tensor(make_flux(2, LENGTH))
    assert torch.equal(again(flux, generator=0), operation(flux, generator=0))


# Parameters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CCDNoise(-0.1), ValueError, "scale must be at least 0; got -0.1"),
        (lambda: CCDNoise("big"), TypeError, "scale must be a number; got 'big'"),
        (
            lambda: CCDNoise(np.inf),
            ValueError,
            "scale must be at least 0 and finite; got inf",
        ),
        (
            lambda: SpikedNoise(probability=1.5),
            ValueError,
            "probability must be from 0 to 1",
        ),
        (lambda: BadPixels(0), ValueError, "max_length must be at least 1; got 0"),
        (lambda: BadPixels(1.5), ValueError, "max_length must be from 0 to 1; got 1.5"),
        (lambda: BadPixels(value=np.nan), ValueError, "value must be finite; got nan"),
        (lambda: CosmicRays(0), ValueError, "n_hits must be at least 1; got 0"),
        (lambda: CosmicRays(1.5), TypeError, "n_hits must be an integer"),
        (lambda: CosmicRays(value="min"), ValueError, 'a number or "max", but got'),
        (
            lambda: CosmicRays(probability=-1),
            ValueError,
            "probability must be from 0 to 1",
        ),
        (lambda: ScaleContinuum(-0.1), ValueError, "max_change must be at least 0"),
        (lambda: ScaleContinuum(degree=0), ValueError, "degree must be at least 1"),
        (lambda: ScaleContinuum(degree=1.0), TypeError, "degree must be an integer"),
    ],
)
def test_bad_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Plain functions and estimators ---------------------------------------------------


def test_augment_array_guards_the_array_and_the_shape():
    flux = make_flux(3, LENGTH)
    before = flux.copy()
    assert_allclose(augment_array(lambda batch: batch.mul_(2), flux), 2 * before)
    assert_array_equal(flux, before)
    with pytest.raises(ValueError, match=r"made \(3, 29\) of \(3, 30\)"):
        augment_array(lambda batch: batch[:, 1:], flux)


@pytest.mark.parametrize("augment", sorted(AUGMENTATIONS))
def test_estimators_know_the_names(augment):
    X, y = make_flux(20, LENGTH).astype(np.float32), np.arange(20) % 2
    clf = SpectrumClassifier(
        "mlp", augment=augment, max_epochs=1, random_state=0, verbose=0
    )
    first = clf.fit(X, y).predict_proba(X)
    assert_array_equal(clone(clf).fit(X, y).predict_proba(X), first)
    plain = clone(clf).set_params(augment=None).fit(X, y).predict_proba(X)
    assert not np.array_equal(plain, first)


@pytest.mark.gpu
@every
def test_on_the_gpu(operation):
    flux = torch.tensor(make_flux(64, 2, LENGTH), device="cuda", dtype=torch.float32)
    varied = operation(flux, generator=4)
    assert varied.device == flux.device
    assert varied.shape == flux.shape
    generator = torch.Generator("cuda").manual_seed(4)
    assert torch.equal(operation(flux, generator=generator), varied)
