# SPDX-License-Identifier: BSD-3-Clause
"""Copies that a sampler draws, and the samples that a net sets aside."""

import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import (
    NoiseAugmenter,
    NoiseResampler,
    Pipeline,
    SpectrumClassifier,
    SpectrumRegressor,
)

pytestmark = pytest.mark.once


class Split(SpectrumRegressor):
    """A regressor that keeps the targets of both parts."""

    def get_split_datasets(self, X, y=None, **fit_params):
        parts = super().get_split_datasets(X, y, **fit_params)
        self.parts_ = [{float(part[i][1]) for i in range(len(part))} for part in parts]
        return parts


def make_net():
    return make_tiny(Split, train_split=0.25, max_epochs=1)


X = np.random.default_rng(0).normal(size=(40, 30))
y = np.arange(40) + 0.5


def test_no_copy_of_a_training_sample_is_in_the_validation():
    sampler = NoiseAugmenter(3, continuous=True, random_state=0)
    pipe = Pipeline([sampler, make_net()]).fit(X, y)
    train, valid = pipe[-1].parts_
    assert len(train) == 30
    assert len(valid) == 10
    assert not train & valid


def test_given_groups_stay():
    sampler = NoiseAugmenter(3, continuous=True, random_state=0)
    pipe = Pipeline([("sampler", sampler), ("net", make_net())])
    groups = np.arange(40) // 4
    pipe.fit(X, y, net__groups=groups)
    train, valid = ({int(t) // 4 for t in part} for part in pipe[-1].parts_)
    assert not train & valid


def test_all_of_a_class_and_its_copies_in_both_parts():
    labels = np.where(np.arange(40) < 32, "STAR", "QSO")
    net = make_tiny(SpectrumClassifier, train_split=0.25, max_epochs=1)
    sampler = NoiseResampler(random_state=0)
    pipe = Pipeline([sampler, net]).fit(X, labels)
    assert pipe.classes_.tolist() == ["QSO", "STAR"]
