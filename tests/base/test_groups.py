# SPDX-License-Identifier: BSD-3-Clause
"""Groups, such as objects with several spectra, stay on one side of every split."""

import contextlib

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn
from sklearn import config_context
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    StratifiedGroupKFold,
    cross_validate,
)
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from skastro import (
    EnsembleClassifier,
    NoiseAugmenter,
    Pipeline,
    RejectingClassifier,
    SpectrumClassifier,
    VAETransformer,
)
from skastro.base import BaseRegressor
from skastro.training import ValidationSplit

N_OBJECTS, N_COPIES = 40, 8
NAMES = np.repeat([f"SN {1990 + number}" for number in range(N_OBJECTS)], N_COPIES)


class Noting(Callback):
    """Keeps the rows of both parts of the data."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Note the rows."""
        self.rows_ = [
            np.asarray(part.indices)
            for part in (dataset_train, dataset_valid)
            if dataset_valid is not None
        ]


def tiny(**params):
    """Make a network that is fitted in a moment."""
    defaults = {
        "module": "mlp",
        "module__hidden": (4,),
        "max_epochs": 1,
        "augment": None,
        "callbacks": [("noting", Noting())],
        "random_state": 0,
        "device": "cpu",
        "verbose": 0,
    }
    return SpectrumClassifier(**(defaults | params))


def rows_of(net):
    """Look up the rows of the training part and the validation part."""
    return dict(net.callbacks_)["noting"].rows_


@pytest.fixture(scope="module")
def copies():
    """Make noisy spectra of objects whose labels are random, in a random order."""
    rng = np.random.default_rng(0)
    objects = rng.normal(size=(N_OBJECTS, 24))
    labels = rng.permutation(np.repeat(["Ia", "II"], N_OBJECTS // 2))
    X = np.repeat(objects, N_COPIES, axis=0) + 0.1 * rng.normal(size=(len(NAMES), 24))
    order = rng.permutation(len(X))
    return (
        X[order].astype(np.float32),
        np.repeat(labels, N_COPIES)[order],
        NAMES[order],
    )


# The leak ---------------------------------------------------------------------


def memorizer(**params):
    return tiny(
        lr=2e-2,
        **{"module__hidden": (64,), "max_epochs": 15, "batch_size": 64, **params},
        train_split=0.25,
    )


def validation_accuracy(data, **fit_params):
    X, y = data[:2]
    return [
        memorizer(random_state=seed).fit(X, y, **fit_params).history[-1]["valid_acc"]
        for seed in range(4)
    ]


def test_without_groups_the_validation_recognizes_objects(copies):
    assert min(validation_accuracy(copies)) > 0.95


def test_with_groups_the_validation_is_at_chance(copies):
    assert 0.25 < np.mean(validation_accuracy(copies, groups=copies[2])) < 0.65


def test_calibration_knows_how_little_is_known(copies):
    X, y, groups = copies
    leaking = memorizer(calibrate=True).fit(X, y)
    grouped = memorizer(calibrate=True).fit(X, y, groups=groups)
    assert leaking.temperature_ < 1.2
    assert grouped.temperature_ > 1.5 * leaking.temperature_


def test_scores_of_folds(copies):
    X, y, groups = copies
    cv = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    given = {"cv": cv, "scoring": "accuracy"}
    plain = cross_validate(memorizer(), X, y, params={"groups": groups}, cv=4)
    assert plain["test_score"].mean() > 0.75
    with config_context(enable_metadata_routing=True):
        honest = cross_validate(
            memorizer(),
            X,
            y,
            params={"groups": groups},
            return_estimator=True,
            return_indices=True,
            **given,
        )
    assert 0.2 < honest["test_score"].mean() < 0.7
    for net, rows in zip(honest["estimator"], honest["indices"]["train"], strict=True):
        train, valid = (set(groups[rows][part]) for part in rows_of(net))
        assert valid
        assert not train & valid


# The split --------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_fraction_and_proportions(fraction, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, size=120)
    kinds = rng.choice(3, p=[0.6, 0.3, 0.1], size=120)
    groups = np.repeat(np.arange(120), sizes)
    y = kinds[groups]
    split = ValidationSplit(fraction, stratify=True, random_state=seed)
    train, valid = split(range(len(y)), y, groups)
    assert not set(groups[train.indices]) & set(groups[valid.indices])
    assert sorted([*train.indices, *valid.indices]) == [*range(len(y))]
    for kind in range(3):
        here = y == kind
        part = np.count_nonzero(here[valid.indices])
        # Half of the largest group that may be drawn.
        assert abs(part - fraction * here.sum()) <= 15
    again = split(range(len(y)), y, groups)[1]
    np.testing.assert_array_equal(again.indices, valid.indices)
    other = ValidationSplit(fraction, stratify=True, random_state=seed + 99)
    assert set(groups[other(range(len(y)), y, groups)[1].indices]) != set(
        groups[valid.indices]
    )


def test_an_object_larger_than_the_part_stays_in_training():
    groups = np.repeat(np.arange(15), [239, *[26] * 14])
    for seed in range(5):
        valid = ValidationSplit(0.1, random_state=seed)(groups, None, groups)[1]
        assert 0 not in groups[valid.indices]
        assert abs(len(valid) - 60) <= 13


def test_every_class_is_trained_on():
    # One object of class 2, and two large ones of class 1.
    groups = np.repeat(np.arange(13), [5] * 10 + [50, 60, 7])
    y = np.repeat([0, 1, 2], [50, 110, 7])
    for seed in range(5):
        split = ValidationSplit(0.9, stratify=True, random_state=seed)
        train, valid = split(groups, y, groups)
        assert set(y[train.indices]) == {0, 1, 2}
        assert set(y[valid.indices]) == {0, 1}
    assert ValidationSplit(0.2)(groups, y, np.zeros(len(y)))[1] is None


def test_objects_of_several_classes_are_whole():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    y = rng.choice(3, size=300, p=[0.7, 0.28, 0.02])
    train, valid = ValidationSplit(0.2, True, random_state=0)(groups, y, groups)
    assert not set(groups[train.indices]) & set(groups[valid.indices])
    assert set(y[train.indices]) == {0, 1, 2}
    assert 40 <= len(valid) <= 80


@pytest.mark.filterwarnings("ignore:Only 0 of 2 latent dimensions")
def test_regressors_and_autoencoders(copies):
    X, _, groups = copies
    noting = {
        "callbacks": [("noting", Noting())],
        "max_epochs": 1,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
    }
    regressor = BaseRegressor(nn.Linear(24, 1), **noting)
    autoencoder = VAETransformer(module__widths=(4, 8), latent_dim=2, **noting)
    for net in (regressor, autoencoder):
        net.fit(X, X[:, 0], groups=groups)
        train, valid = rows_of(net)
        assert not set(groups[train]) & set(groups[valid])
        assert len(valid) == 32


# Containers, missing values, other forms of X --------------------------------------


def test_groups_of_any_kind(copies):
    X, y, groups = copies
    expected = rows_of(tiny().fit(X, y, groups=groups))[1]
    assert len(expected) == 32
    codes = np.unique(groups, return_inverse=True)[1]
    pairs = np.empty(len(codes), object)
    pairs[:] = [(int(code) // 7, int(code) % 7) for code in codes]
    for same in [
        groups.tolist(),
        groups.astype("S"),
        groups.astype(object),
        pd.Series(groups, index=codes),
        pd.Categorical(groups),
        MaskedColumn(groups),
        codes,
        codes + 0.5,
        np.datetime64("2026-01-01") + codes,
        pairs,
    ]:
        net = tiny().fit(X, y, groups=same)
        np.testing.assert_array_equal(rows_of(net)[1], expected)


def missing(groups):
    """Yield groups whose value in row 3 is missing."""
    mask = np.arange(len(groups)) == 3
    yield np.where(mask, "", groups)
    yield np.where(mask, None, groups)
    yield np.ma.masked_array(groups, mask)
    yield MaskedColumn(groups, mask=mask)
    yield pd.Series(groups).where(~mask)
    yield np.where(mask, np.nan, np.arange(len(mask)))
    yield np.where(mask, np.datetime64("NaT"), np.datetime64("2026-01-01"))


def test_missing_groups_are_refused(copies):
    X, y, groups = copies
    net = tiny().fit(X, y)
    before = net.predict_proba(X)
    for values in missing(groups):
        with pytest.raises(
            ValueError, match=r"groups (has missing values|is empty) in rows 3\. Give"
        ):
            net.fit(X, y, groups=values)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        net.fit(X, y, groups=groups[1:])
    with pytest.raises(ValueError, match=r"an array of shape \(320, 2\)"):
        net.fit(X, y, groups=np.stack([groups, groups], axis=1))
    np.testing.assert_array_equal(net.predict_proba(X), before)
    assert "_groups" not in vars(net)


def test_data_on_disk_and_data_sets(copies, tmp_path):
    X, y, groups = copies
    expected = rows_of(tiny().fit(X, y, groups=groups))
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file["flux"] = X
        on_disk = rows_of(tiny().fit(file["flux"], y, groups=groups))
    dataset = Dataset(X, (y == "Ia").astype(int))
    plain = rows_of(tiny().fit(dataset, None, groups=groups))
    assert not set(groups[plain[0]]) & set(groups[plain[1]])
    for part, other in zip(expected, on_disk, strict=True):
        np.testing.assert_array_equal(part, other)
    several = tiny(module=TwoInputs, module__hidden=2)
    train, valid = rows_of(several.fit({"a": X, "b": X}, y, groups=groups))
    assert not set(groups[train]) & set(groups[valid])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tiny().fit(dataset, None, groups=groups[1:])


class TwoInputs(nn.Module):
    """Takes two inputs."""

    def __init__(self, hidden):
        super().__init__()
        self.fc = nn.Linear(24, hidden)

    def forward(self, a, b):
        """Add both."""
        return self.fc(a + b)


def test_rows_of_weight_zero(copies):
    X, y, groups = copies
    weight = np.tile([0.0, 1.0, 2.0, 1.0, 1.0], 64)
    kept = weight > 0
    net = tiny(sampler="balanced").fit(X, y, groups=groups, sample_weight=weight)
    expected = tiny(sampler="balanced").fit(
        X[kept], y[kept], groups=groups[kept], sample_weight=weight[kept]
    )
    np.testing.assert_array_equal(net.predict_proba(X), expected.predict_proba(X))
    train, valid = rows_of(net)
    assert not set(groups[kept][train]) & set(groups[kept][valid])


# Balanced sampling ------------------------------------------------------------


def test_balanced_sampling_draws_objects_equally_often():
    # The first pixel tells the object. Class II: one object of 200 spectra, 4 of 5.
    sizes = [*[20] * 10, 200, 5, 5, 5, 5]
    groups = np.repeat(np.arange(15), sizes)
    y = np.where(groups < 10, "Ia", "II")
    X = np.random.default_rng(0).normal(size=(len(y), 24)).astype(np.float32)
    X[:, 0] = groups
    seen = []
    net = tiny(
        sampler="balanced",
        augment=lambda batch: seen.append(batch[:, 0].int()) or batch,
        normalization=None,
        train_split=None,
        max_epochs=20,
    )
    for net_groups, expected in [
        (groups, np.repeat([0.05, 0.1], [10, 5])),
        (None, np.divide(sizes, np.repeat([400, 440], [10, 5]))),
    ]:
        seen.clear()
        net.fit(X, y, groups=net_groups)
        counts = np.bincount(np.concatenate(seen), minlength=15)
        assert counts.sum() == 20 * len(y)
        np.testing.assert_allclose(counts / counts.sum(), expected, atol=0.012)


# A split of the user's -----------------------------------------------------------


def test_a_split_that_takes_groups_gets_them(copies):
    X, y, groups = copies
    split = ValidSplit(GroupShuffleSplit(1, test_size=0.3, random_state=0))
    train, valid = rows_of(tiny(train_split=split).fit(X, y, groups=groups))
    assert len(valid) == 96
    assert not set(groups[train]) & set(groups[valid])
    given = predefined_split(Dataset(X[:40], (y[:40] == "Ia").astype(int)))
    net = tiny(train_split=given, callbacks=None)
    assert net.fit(X, y, groups=groups).history[-1]["valid_acc"] >= 0


def test_a_split_that_takes_none_is_refused(copies):
    X, y, groups = copies
    half = ValidationSplit(0.5)
    net = tiny(train_split=lambda dataset, y: half(dataset, y)).fit(X, y)
    with pytest.raises(ValueError, match="takes no groups, and would put"):
        net.fit(X, y, groups=groups)

    for same in (lambda dataset, y, groups: half(dataset, y), ValidSplit(4)):
        with (
            pytest.warns(UserWarning, match="is ignored by KFold")
            if isinstance(same, ValidSplit)
            else contextlib.nullcontext(),
            pytest.raises(ValueError, match=r"puts samples of \d+ groups on"),
        ):
            net.set_params(train_split=same).fit(X, y, groups=groups)

    def new_data(dataset, y, groups):
        return Dataset(X[:30], np.arange(30) % 2), None

    net = tiny(train_split=new_data, sampler="balanced", callbacks=None)
    with pytest.raises(ValueError, match=r"is no torch\.utils\.data\.Subset of"):
        net.fit(X, y, groups=groups)


# Whatever calls fit ---------------------------------------------------------------


def test_partial_fit(copies):
    X, y, groups = copies
    net = tiny().partial_fit(X, y, groups=groups).partial_fit(X, y, groups=groups)
    train, valid = rows_of(net)
    assert not set(groups[train]) & set(groups[valid])


def test_resumed_training_has_the_same_groups(copies, tmp_path):
    X, y, groups = copies
    settings = {"train_split": None, "sampler": "balanced", "callbacks": None}
    expected = tiny(max_epochs=2, **settings).fit(X, y, groups=groups)
    file = tmp_path / "training.pt"
    tiny(max_epochs=1, schedule=None, **settings).fit(
        X, y, groups=groups, resume=tmp_path / "other.pt"
    )
    net = tiny(max_epochs=2, **settings).fit(X, y, groups=groups, resume=file)
    again = tiny(max_epochs=2, **settings).fit(X, y, groups=groups, resume=file)
    for fitted in (net, again):
        np.testing.assert_array_equal(
            fitted.predict_proba(X), expected.predict_proba(X)
        )
    for others in (NAMES, None):
        with pytest.raises(ValueError, match="data differs"):
            tiny(max_epochs=2, **settings).fit(X, y, groups=others, resume=file)


def test_searches_route_groups(copies):
    X, y, groups = copies
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(tiny(), {"lr": [1e-2]}, cv=GroupKFold(3))
        search.fit(X, y, groups=groups)
        train, valid = rows_of(search.best_estimator_)
        assert not set(groups[train]) & set(groups[valid])
        net = tiny().set_fit_request(groups=False)
        search = GridSearchCV(net, {"lr": [1e-2]}, cv=GroupKFold(3))
        train, valid = rows_of(search.fit(X, y, groups=groups).best_estimator_)
        assert set(groups[train]) & set(groups[valid])


def test_noisy_copies_stay_with_their_object(copies):
    X, y, groups = copies
    pipe = Pipeline([NoiseAugmenter(2, random_state=0), tiny()])
    for given in (groups.tolist(), np.arange(len(X))):
        pipe.fit(X, y, spectrumclassifier__groups=given)
        rows = pipe[0].sample_indices_
        train, valid = (
            set(np.asarray(given)[rows][part]) for part in rows_of(pipe[-1])
        )
        assert valid
        assert not train & valid
    with config_context(enable_metadata_routing=True):
        pipe.fit(X, y, groups=groups)
        train, valid = rows_of(pipe[-1])
        assert not set(groups[rows][train]) & set(groups[rows][valid])


def test_meta_estimators(copies):
    X, y, groups = copies
    with config_context(enable_metadata_routing=True):
        ensemble = EnsembleClassifier(tiny(), 2, random_state=0)
        for member in ensemble.fit(X, y, groups=groups).estimators_:
            train, valid = rows_of(member)
            assert not set(groups[train]) & set(groups[valid])


@pytest.mark.parametrize("cv", [None, 3, GroupKFold(3)])
def test_threshold_is_found_on_other_objects(copies, cv):
    X, y, groups = copies
    clf = RejectingClassifier(memorizer(), coverage=0.5, cv=cv)
    leaking = clf.set_params(cv=3).fit(X, y).threshold_
    with config_context(enable_metadata_routing=True):
        honest = clf.set_params(cv=cv).fit(X, y, groups=groups)
    train, valid = rows_of(honest.estimator_)
    assert not set(groups[train]) & set(groups[valid])
    assert honest.threshold_ < leaking
    assert accuracy_score(y, honest.estimator_.predict(X)) > 0.7
