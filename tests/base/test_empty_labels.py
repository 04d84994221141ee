# SPDX-License-Identifier: BSD-3-Clause
"""Empty labels, by which the readers mark unknown classes, are no class."""

import numpy as np
import pytest

from skastro import SpectrumClassifier


@pytest.mark.parametrize("dtype", [str, object])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_empty_labels_are_refused(dtype, method):
    X = np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32)
    y = np.array(["STAR", "QSO", ""] * 4, dtype=dtype)
    classifier = SpectrumClassifier("mlp", max_epochs=1, device="cpu", random_state=0)
    with pytest.raises(ValueError, match=r"empty labels.* in rows 2, 5, 8, 11\. Leave"):
        getattr(classifier, method)(X, y)
    known = y != ""
    classifier.fit(X[known], y[known])
    assert classifier.classes_.tolist() == ["QSO", "STAR"]
