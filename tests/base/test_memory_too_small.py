# SPDX-License-Identifier: BSD-3-Clause
"""Batches too large for the device's memory are halved until they fit."""

import numpy as np
import pytest
import torch
from torch import nn


class Hungry(nn.Module):
    """A network for which the memory is too small above a number of samples."""

    def __init__(self, n_outputs, input_size, most=8):
        super().__init__()
        self.linear = nn.Linear(input_size, n_outputs)
        self.most = most
        self.sizes = []

    def forward(self, x):
        """Fail as a device does."""
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.sizes.append(len(x))
        return self.linear(x[:, 0])


def test_batches_are_halved_until_they_fit(tiny, spectra):
    X, y = spectra
    clf = tiny(module=Hungry, batch_size=32, train_split=None, augment=None)
    with pytest.warns(RuntimeWarning) as warned:
        clf.fit(X, y)
    messages = [str(warning.message) for warning in warned]
    assert [m.split(";")[0].split()[-2] for m in messages] == ["32", "16"]
    assert "batches of 8" in messages[1]
    assert "batch_size=8" in messages[1]
    # Every sample was seen in every epoch, in steps of their own.
    sizes = clf.history[:, "batches", :, "train_batch_size"]
    assert [sum(epoch) for epoch in sizes] == [120] * 6
    assert {size for epoch in sizes for size in epoch} == {8}
    assert clf.history[-1]["train_loss"] < clf.history[0]["train_loss"]
    with pytest.warns(RuntimeWarning, match="continuing with batches of"):
        probability = clf.predict_proba(X)
    one_by_one = np.concatenate([clf.predict_proba(X[i : i + 5]) for i in (0, 5)])
    np.testing.assert_allclose(probability[:10], one_by_one, atol=1e-6)


def test_training_goes_on_from_the_same_weights(tiny, spectra):
    X, y = spectra
    settings = {"train_split": None, "augment": None, "max_epochs": 1}
    small = tiny(module=Hungry, batch_size=8, **settings).fit(X, y)
    with pytest.warns(RuntimeWarning, match="batches of 8"):
        halved = tiny(module=Hungry, batch_size=16, **settings).fit(X, y)
    np.testing.assert_allclose(
        halved.predict_proba(X[:8]), small.predict_proba(X[:8]), atol=1e-6
    )


def test_memory_too_small_for_one_sample(tiny, spectra):
    clf = tiny(module=Hungry, module__most=0, batch_size=4)
    with (
        pytest.warns(RuntimeWarning, match="continuing with batches of"),
        pytest.raises(torch.OutOfMemoryError, match="out of memory"),
    ):
        clf.fit(*spectra)
