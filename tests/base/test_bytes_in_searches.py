# SPDX-License-Identifier: BSD-3-Clause
"""Labels of bytes: scores take them, searches get them as text."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, cross_val_score


def test_scores_of_bytes(spectra, tiny):
    X, y = spectra
    in_bytes = y.astype("S8")
    net = tiny(max_epochs=2)
    by_text = cross_val_score(net, X, y, cv=KFold(2, shuffle=True, random_state=0))
    by_bytes = cross_val_score(
        net, X, in_bytes, cv=KFold(2, shuffle=True, random_state=0)
    )
    np.testing.assert_array_equal(by_bytes, by_text)
    expected = cross_val_score(net, X, y, cv=2, scoring="f1_macro")
    decoded = np.char.decode(in_bytes)
    scores = cross_val_score(net, X, decoded, cv=2, scoring="f1_macro")
    assert scores.tolist() == pytest.approx(expected.tolist())
