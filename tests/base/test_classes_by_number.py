# SPDX-License-Identifier: BSD-3-Clause
"""Targets may be numbers of classes; whatever the order, labels are the right ones."""

from functools import partial

import numpy as np
import pytest
import torch
from tiny_estimators import make_tiny
from torch.utils.data import StackDataset, TensorDataset

from skastro import SpectrumClassifier

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=8)
NAMES = np.array(["STAR", "GALAXY", "QSO"])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    X = rng.normal(size=(90, 30)).astype(np.float32)
    for code in range(3):
        X[codes == code, 8 * code : 8 * code + 8] += 2
    return X, codes


def test_numbers_are_places_in_the_given_classes(data):
    X, codes = data
    clf = tiny(classes=[*NAMES]).fit(X, codes)
    assert clf.classes_.tolist() == ["GALAXY", "QSO", "STAR"]
    assert (clf.predict(X) == NAMES[codes]).mean() > 0.9
    named = tiny(classes=[*NAMES]).fit(X, NAMES[codes])
    np.testing.assert_array_equal(named.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_names_and_numbers_in_turn(data, method):
    X, codes = data
    clf = tiny(classes=[*NAMES], warm_start=True).fit(X, NAMES[codes])
    clf.set_params(max_epochs=1, lr=1e-6)
    for y in (codes, NAMES[codes]):
        getattr(clf, method)(X, y)
        assert (clf.predict(X) == NAMES[codes]).mean() > 0.9


@pytest.mark.parametrize("names", [NAMES, np.array([7, 3, 5])])
def test_data_sets_number_the_sorted_classes(data, names):
    X, codes = data
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(codes))
    with pytest.raises(ValueError, match="numbers of classes in their sorted order"):
        tiny(classes=[*names]).fit(dataset, None)
    clf = tiny(classes=sorted(names)).fit(dataset, None)
    assert (clf.predict(X) == np.sort(names)[codes]).mean() > 0.9


@pytest.mark.parametrize("labels", [np.array([5, 9, 7]), np.array(["a", "b", "c"])])
def test_data_sets_hold_numbers_from_0(data, labels):
    X, codes = data
    dataset = StackDataset(list(X), labels[codes].tolist())
    with pytest.raises(ValueError, match=r"must be numbers from 0 to 2.*LabelEncoder"):
        tiny(classes=sorted(labels.tolist())).fit(dataset, None)
