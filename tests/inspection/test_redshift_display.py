# SPDX-License-Identifier: BSD-3-Clause
"""RedshiftDisplay: spectra, templates and p(z)."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skastro import RedshiftRegressor, SpectrumClassifier
from skastro.datasets import make_spectra
from skastro.inspection import RedshiftDisplay


@pytest.fixture(scope="module")
def spectra():
    """Two bright galaxies."""
    return make_spectra(
        2, class_proportions={"GALAXY": 1}, snr=(20, 30), random_state=1
    )


@pytest.fixture(scope="module")
def reg(spectra):
    """Make a regressor with the weights of the package."""
    return RedshiftRegressor.from_pretrained(wavelength=spectra.wavelength, verbose=0)


def test_what_is_drawn(spectra, reg):
    known = np.array([spectra.redshift[0], np.nan])
    display = RedshiftDisplay.from_estimator(
        reg, spectra.flux, z_true=known, k=2, color="black"
    )
    assert display.axes_.shape == (2, 2)
    z = reg.predict(spectra.flux)
    for sample, (left, right) in enumerate(display.axes_):
        flux, model = left.get_lines()[:2]
        np.testing.assert_array_equal(flux.get_ydata(), spectra.flux[sample])
        assert flux.get_color() == "black"
        good = spectra.ivar[sample] > 0
        off = (model.get_ydata() - spectra.flux[sample])[good]
        # The templates fit nearly as well as the noise permits.
        scatter = np.median(np.abs(off * np.sqrt(spectra.ivar[sample][good])))
        assert 0.6 < scatter < 1.2
        title = left.get_title("left")
        assert title.startswith(f"GALAXY z = {z[sample]:.5f}")
        assert ("known" in title) == (sample == 0)
        density = right.get_lines()[0]
        assert density.get_xdata()[density.get_ydata().argmax()] == pytest.approx(
            z[sample], abs=2e-4
        )
    display.figure_.canvas.draw()
    plt.close(display.figure_)


def test_network_alone_on_given_axes(spectra):
    alone = RedshiftRegressor.from_pretrained(
        wavelength=spectra.wavelength, verbose=0, refine=False
    )
    _, axes = plt.subplots(1, 2)
    display = RedshiftDisplay.from_estimator(alone, spectra.flux[:1], ax=axes)
    assert display.model is None
    assert display.solutions["class"][0, 0] == ""
    assert list(display.axes_.ravel()) == list(axes)
    plt.close(display.figure_)


def test_what_is_refused(spectra, reg):
    with pytest.raises(TypeError, match="RedshiftRegressor"):
        RedshiftDisplay.from_estimator(SpectrumClassifier(), spectra.flux)
    with pytest.raises(ValueError, match="figure holds"):
        RedshiftDisplay.from_estimator(reg, np.repeat(spectra.flux, 7, axis=0))
    with pytest.raises(ValueError, match="z_true must have one entry"):
        RedshiftDisplay.from_estimator(reg, spectra.flux, z_true=[0.1])
