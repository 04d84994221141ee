# SPDX-License-Identifier: BSD-3-Clause
"""module_input: what the module sees of X in prediction."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from skastro import GalaxyClassifier, SpectrumClassifier


@pytest.fixture
def galaxies():
    """Return a fitted classifier, and images of bytes with their channels last."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(12, 16, 20, 3), dtype=np.uint8)
    clf = GalaxyClassifier(
        module__width=4, module__n_blocks=(1,), max_epochs=1, verbose=0, device="cpu"
    )
    return clf.fit(X, np.arange(12) % 2), X


def logits_of(net, x):
    """Run the module by itself."""
    with torch.no_grad():
        return net.module_.eval()(x)


def test_spectra(tiny, spectra):
    X, y = spectra
    clf = tiny(device="cpu").fit(X, y)
    x = clf.module_input(X)
    assert x.shape == (120, 1, X.shape[1])
    assert x.dtype is torch.float32
    torch.testing.assert_close(logits_of(clf, x), clf.forward(X))
    backward = np.flip(np.flip(X, axis=1).copy(), axis=1)
    for other in (X.astype(np.float64), X.tolist(), torch.from_numpy(X), backward):
        torch.testing.assert_close(clf.module_input(other), x)


def test_arrays_on_disk_and_data_frames(tiny, spectra, on_disk):
    X, y = spectra
    clf = tiny(device="cpu").fit(X, y)
    torch.testing.assert_close(clf.module_input(on_disk), clf.module_input(X))
    frame = pd.DataFrame(X).add_prefix("pixel")
    clf = tiny(device="cpu").fit(frame, y)
    assert clf.module_input(frame[:3]).shape == (3, 1, X.shape[1])


def test_images_are_normalized_and_have_channels_first(galaxies):
    clf, X = galaxies
    x = clf.module_input(X)
    assert x.shape == (12, 3, 16, 20)
    assert x.dtype is torch.float32
    torch.testing.assert_close(logits_of(clf, x), clf.forward(X))


def test_module_that_takes_no_sizes_sees_samples_as_given():
    X = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    net = SpectrumClassifier(nn.Linear(6, 2), max_epochs=1, verbose=0, device="cpu")
    np.testing.assert_array_equal(net.fit(X, [0, 1] * 5).module_input(X).numpy(), X)


def test_device_none_is_where_the_module_is(tiny, spectra):
    clf = tiny(device=None).fit(*spectra)
    x = clf.module_input(spectra[0])
    assert x.device == next(clf.module_.parameters()).device


def test_the_callers_array_stays_as_it_is(tiny, spectra):
    X, y = spectra
    clf = tiny(device="cpu").fit(X, y)
    before = X.copy()
    clf.module_input(X).zero_()
    np.testing.assert_array_equal(X, before)
    X.flags.writeable = False
    clf.module_input(X)


def test_what_predict_refuses(tiny, spectra):
    X, y = spectra
    with pytest.raises(NotFittedError):
        tiny().module_input(X)
    clf = tiny(device="cpu").fit(X, y)
    with pytest.raises(ValueError, match="47"):
        clf.module_input(X[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        clf.module_input(np.full_like(X, np.nan))
