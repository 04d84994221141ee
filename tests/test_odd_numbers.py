# SPDX-License-Identifier: BSD-3-Clause
"""Numbers for which a function has no answer are refused, not answered by NaN."""

import numpy as np
import pytest

from skastro.base import fit_temperature
from skastro.sevi import ShellPrior
from skastro.simulation import sersic_flux_fraction
from skastro.utils import plain_array

LOGITS = np.tile([[0.0, 2.0], [3.0, 1.0]], (6, 1))
WIDTHS = {"radius": (0.3, 0.9), "radius_width": (0.005, 0.009)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sersic_flux_fraction([1.0, -1.0], 4), "from -1 and from 4 to 4"),
        (lambda: sersic_flux_fraction(1.0, [0, 4]), "from 1 and from 0 to 4"),
        (lambda: sersic_flux_fraction(1.0, 1e300), r"1e\+300 to 1e\+300"),
        (lambda: fit_temperature(LOGITS[:, :1], [0, 1] * 6), r"shape \(12, 1\)"),
        (lambda: fit_temperature(LOGITS, [-1, 1] * 6), r"values \[-1 +1\]"),
        (lambda: fit_temperature(LOGITS, [0.5, 1] * 6), r"values \[0.5 1. \]"),
        (lambda: fit_temperature(LOGITS[:, 0], [0, 1] * 6), r"shape \(12,\)"),
        (lambda: ShellPrior.from_samples([0.5, 0.1], **WIDTHS), r"got \(2,\)"),
        (lambda: ShellPrior.from_samples(np.zeros((0, 2)), **WIDTHS), "a sample at"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_empty_object_arrays_keep_their_shape():
    assert plain_array(np.empty((0, 10), object)).shape == (0, 10)


def test_largest_and_smallest_sersic_index():
    np.testing.assert_allclose(sersic_flux_fraction(1.0, [0.01, 1000.0]), 0.5)
    np.testing.assert_array_equal(sersic_flux_fraction([0, 1e300], [0.01, 8]), [0, 1])


def test_codes_of_any_whole_numbers():
    expected = fit_temperature(LOGITS, [0, 1] * 6)
    for codes in (np.array([0, 1] * 6, "u1"), [0.0, 1.0] * 6, [False, True] * 6):
        assert fit_temperature(LOGITS, codes) == expected
