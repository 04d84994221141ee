# SPDX-License-Identifier: BSD-3-Clause
"""The extinction law of Cardelli, Clayton and Mathis."""

import numpy as np
import pytest

from skastro.simulation import extinction_curve

pytestmark = pytest.mark.once


def test_published_bands():
    # CCM89, table 3: inverse wavelengths (1/µm) and A(λ)/A(V) at R(V) = 3.1.
    bands = {
        2.78: 1.569,
        2.27: 1.337,
        1.82: 1.000,
        1.43: 0.751,
        1.11: 0.479,
        0.8: 0.282,
    }
    wavelength = 1e4 / np.array(list(bands))
    np.testing.assert_allclose(
        extinction_curve(wavelength), list(bands.values()), rtol=0.025
    )


@pytest.mark.parametrize("r_v", [2.1, 3.1, 5.5])
def test_color_excess_is_that_of_r_v(r_v):
    blue, visual = extinction_curve([1e4 / 2.27, 1e4 / 1.82], r_v)
    assert r_v * (blue - visual) == pytest.approx(1.0, abs=0.01)


def test_pieces_join():
    for x in (1.1, 3.3):
        left, right = extinction_curve([1e4 / (x - 1e-6), 1e4 / (x + 1e-6)])
        assert left == pytest.approx(right, rel=0.01)


def test_falls_with_wavelength_in_the_optical():
    assert (np.diff(extinction_curve(np.linspace(3000, 12000, 500))) < 0).all()


def test_refuses_the_far_ultraviolet():
    with pytest.raises(ValueError, match="1695 to 33333 Å; got wavelengths from 1200"):
        extinction_curve([1200.0, 5000.0])
