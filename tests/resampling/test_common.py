# SPDX-License-Identifier: BSD-3-Clause
"""What both samplers promise: imbalanced-learn's contract and scikit-learn's."""

import pickle
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.utils.estimator_checks import (
    check_param_validation,
)
from imblearn.utils.estimator_checks import (
    parametrize_with_checks as parametrize_with_sampler_checks,
)
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import NoiseAugmenter, NoiseResampler
from skastro.augmentation import AUGMENTATIONS, BadPixels, CCDNoise

OTHERS = [
    NoiseResampler("balanced", noise="wang2020", random_state=1),
    NoiseResampler(7, noise=None, random_state=2),
    NoiseAugmenter(3, noise="resclass", random_state=1),
]
SAMPLERS = [make_tiny(NoiseResampler), make_tiny(NoiseAugmenter), *OTHERS]
# Its checks come from a generator, which pytest no longer likes.
SAMPLER_CHECKS = parametrize_with_sampler_checks(OTHERS)
NAMES, CHECKS = SAMPLER_CHECKS.args
every = pytest.mark.parametrize("sampler", SAMPLERS, ids=str)


@pytest.mark.parametrize(NAMES, list(CHECKS), **SAMPLER_CHECKS.kwargs)
def test_imbalanced_learn_contract_of_other_settings(estimator, check):
    check(estimator)


@parametrize_with_checks(OTHERS)
def test_scikit_learn_contract_of_other_settings(estimator, check):
    check(estimator)


@every
def test_bad_parameters_are_refused(sampler):
    check_param_validation(type(sampler).__name__, sampler)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2, 11)).astype(np.float32)
    return X, np.repeat(["star", "galaxy", "qso"], [20, 7, 3])


@every
@pytest.mark.parametrize("shape", [(11,), (2, 11), (1, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2"])
def test_rows_are_samples_or_their_noisy_copies(sampler, shape, dtype, data):
    X, y = data
    X = (100 * X[:, : shape[0] if len(shape) > 1 else 1, : shape[-1]]).astype(dtype)
    X = X.reshape(30, *shape)
    before = X.copy()
    sampler = clone(sampler)
    X_new, y_new = sampler.fit_resample(X, y)
    assert_array_equal(X, before)
    assert X_new.shape == (len(y_new), *shape)
    assert X_new.dtype == ("f4" if dtype.endswith("f4") else "f8")
    rows = sampler.sample_indices_
    assert_array_equal(y_new, y[rows])
    labels, counts = np.unique(y_new, return_counts=True)
    assert sampler.sampling_strategy_ == dict(zip(labels, counts, strict=True))
    # Each kept row comes first, once, unchanged, in its order.
    n_kept = len(np.unique(rows[: np.argmax(np.diff(rows, append=-1) <= 0) + 1]))
    assert (np.diff(rows[:n_kept]) > 0).all()
    assert_array_equal(X_new[:n_kept], X[rows[:n_kept]])
    if sampler.noise is None:
        assert_array_equal(X_new, X[rows])


@every
def test_seeds(sampler, data):
    numpys = check_random_state(None)
    states = torch.get_rng_state(), numpys.get_state()[1].copy()
    first, _ = clone(sampler).fit_resample(*data)
    again, _ = clone(sampler).fit_resample(*data)
    assert_array_equal(again, first)
    other, _ = clone(sampler).set_params(random_state=9).fit_resample(*data)
    assert not np.array_equal(other, first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(numpys.get_state()[1], states[1])


@every
def test_without_a_seed_numpys_global_generator_governs(sampler, data):
    sampler = clone(sampler).set_params(random_state=None)
    numpys = check_random_state(None)
    state, torch_state = numpys.get_state(), torch.get_rng_state()
    try:
        numpys.seed(3)
        first, _ = sampler.fit_resample(*data)
        second, _ = sampler.fit_resample(*data)
        numpys.seed(3)
        again, _ = sampler.fit_resample(*data)
    finally:
        numpys.set_state(state)
    assert_array_equal(again, first)
    assert not np.array_equal(second, first)
    assert torch.equal(torch.get_rng_state(), torch_state)


@every
def test_fit_counts_without_resampling(sampler, data):
    fitted = clone(sampler).fit(*data)
    resampled = clone(sampler)
    resampled.fit_resample(*data)
    assert fitted.sampling_strategy_ == resampled.sampling_strategy_
    assert fitted.n_features_in_ == 2
    assert not hasattr(fitted, "sample_indices_")


@every
def test_labels_of_any_type(sampler, data):
    X, y = data
    expected, _ = clone(sampler).fit_resample(X, y)
    # All of them sort as the strings do: galaxy, qso, star.
    kinds = {"galaxy": 0, "qso": 1, "star": 2}
    number = np.array([kinds[label] for label in y])
    for labels in (number, number - 1.0, pd.Series(y, dtype="category"), list(y)):
        X_new, y_new = clone(sampler).fit_resample(X, labels)
        assert_array_equal(X_new, expected)
        assert type(y_new) is type(labels)


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_frames(sampler, dtype, data):
    X, y = data
    frame = pd.DataFrame(X[:, 0], columns=[f"pixel{i}" for i in range(11)])
    frame = frame.astype(dtype)
    sampler = clone(sampler)
    X_new, y_new = sampler.fit_resample(frame, pd.Series(y, name="class"))
    expected, _ = clone(sampler).fit_resample(frame.to_numpy(), y)
    assert_array_equal(X_new.to_numpy(), expected)
    assert (X_new.dtypes == dtype).all()
    assert y_new.name == "class"
    assert_array_equal(sampler.feature_names_in_, frame.columns)


def test_columns_of_whole_numbers_keep_the_noise(data):
    X, y = data
    frame = pd.DataFrame((100 * X[:, 0]).astype(int))
    X_new, _ = NoiseAugmenter(random_state=0).fit_resample(frame, y)
    assert (X_new.dtypes == "float64").all()
    assert (X_new.iloc[30:].to_numpy() % 1 != 0).mean() > 0.9


@pytest.mark.parametrize("Sampler", [NoiseAugmenter, NoiseResampler])
def test_any_callable_that_varies_batches_is_noise(Sampler, data):
    X, y = data

    def noise(batch):
        return batch + torch.rand(len(batch), 1, 1)

    sampler = Sampler(noise=noise, random_state=0)
    X_new, _ = sampler.fit_resample(X, y)
    shift = X_new - X[sampler.sample_indices_]
    assert (shift[:30] == 0).all()
    assert (shift[30:] >= 0).all()
    assert len(np.unique(shift[30:, 0, 0])) == len(shift) - 30
    sampler = Sampler(noise=BadPixels(1, value=-5.0), random_state=0)
    X_new, _ = sampler.fit_resample(X, y)
    assert ((X_new[30:] == -5).sum(axis=2) == 1).all()
    with pytest.raises(ValueError, match="must keep the shape of a batch"):
        Sampler(noise=lambda batch: batch[..., 1:]).fit_resample(X, y)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_copies_have_the_noise_that_is_asked_for(name, data):
    X, y = data
    X_new, _ = NoiseAugmenter(noise=name, random_state=4).fit_resample(X, y)
    seed = np.random.RandomState(4).randint(np.iinfo(np.int32).max)
    assert_array_equal(X_new[30:], AUGMENTATIONS[name](X, generator=int(seed)))


@every
def test_pickle_and_clone(sampler, data):
    sampler = clone(sampler).set_params(noise=CCDNoise(0.1))
    expected, _ = sampler.fit_resample(*data)
    again = pickle.loads(pickle.dumps(sampler))
    assert_array_equal(again.sample_indices_, sampler.sample_indices_)
    assert_array_equal(again.fit_resample(*data)[0], expected)


@every
def test_missing_values_are_refused_with_advice(sampler, data):
    X, y = data
    X[3, 1, 2] = np.nan
    message = r"1 NaN in 1 of 30 rows \(3\)\. Fill missing values before resampling"
    with pytest.raises(ValueError, match=message):
        clone(sampler).fit_resample(X, y)


@every
def test_one_class_and_wrong_lengths_are_refused(sampler, data):
    X, y = data
    with pytest.raises(ValueError, match="needs to have more than 1 class"):
        clone(sampler).fit_resample(X[:20], y[:20])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clone(sampler).fit_resample(X, y[1:])


@every
def test_arrays_on_disk_are_refused_with_advice(sampler, data, tmp_path):
    X, y = data
    with h5py.File(tmp_path / "survey.h5", "w") as file:
        file["flux"] = X
        message = re.escape('Dataset. Read it, X[:], or use sampler="balanced"')
        with pytest.raises(TypeError, match=message):
            clone(sampler).fit_resample(file["flux"], y)
