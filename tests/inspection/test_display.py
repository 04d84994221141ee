# SPDX-License-Identifier: BSD-3-Clause
"""The mixin of displays, and the style keywords that displays take."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import skastro.inspection
from skastro.inspection import (
    DisplayMixin,
    ReliabilityDisplay,
    RiskCoverageDisplay,
)


class SpectraDisplay(DisplayMixin):
    """A display as a user writes it: one axes for each spectrum."""

    def __init__(self, flux):
        self.flux = flux

    def plot(self, *, ax=None, n_axes=None, shape=None, **style):
        """Draw the spectra."""
        self._make_axes(ax, shape or (len(self.flux), 1), n_axes=n_axes, sharex=True)
        style = self._merge_style({"linewidth": 0.8, "color": "0.5"}, style)
        for axes, flux in zip(self.axes_.ravel(), self.flux, strict=True):
            axes.plot(flux, **style)
        return self


def test_a_figure_of_its_own():
    display = SpectraDisplay(np.ones((3, 5))).plot()
    assert display.axes_.shape == (3, 1)
    assert display.ax_ is display.axes_[0, 0]
    assert display.ax_.figure is display.figure_
    assert display.figure_.get_layout_engine() is not None
    assert display.ax_.get_shared_x_axes().joined(*display.axes_[:2, 0])


def test_axes_that_are_not_needed_are_removed():
    display = SpectraDisplay(np.ones((5, 5))).plot(n_axes=5, shape=(2, 4))
    assert display.axes_.shape == (5,)
    assert display.figure_.axes == list(display.axes_)


def test_given_axes_keep_their_figure():
    figure, axes = plt.subplots(1, 2)
    display = SpectraDisplay(np.ones((2, 5))).plot(ax=axes)
    assert display.axes_.shape == (2, 1)
    assert list(display.axes_.ravel()) == list(axes)
    assert display.figure_ is figure
    display = SpectraDisplay(np.ones((1, 5))).plot(ax=axes[1])
    assert display.ax_ is axes[1]


def test_what_are_no_axes():
    display = SpectraDisplay(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"2 Axes in the shape \(2, 1\), but got 1"):
        display.plot(ax=plt.subplots()[1])
    with pytest.raises(TypeError, match=r"matplotlib Axes.* but got Figure"):
        display.plot(ax=[plt.figure(), plt.figure()])


@pytest.mark.parametrize("style", [{"lw": 3, "c": "red"}, {"linewidth": 3, "c": "r"}])
def test_the_users_style_wins_under_any_name(style):
    display = SpectraDisplay(np.ones((1, 5))).plot(**style)
    (line,) = display.ax_.get_lines()
    assert line.get_linewidth() == 3
    assert line.get_color() == style["c"]


def test_displays_of_curves_take_style_keywords():
    y, probability = [0, 1, 1, 1], [0.6, 0.9, 0.8, 0.7]
    risk = RiskCoverageDisplay.from_predictions(y, probability, ls="--", label="mine")
    assert risk.line_.get_linestyle() == "--"
    assert risk.line_.get_drawstyle() == "steps-pre"
    assert risk.ax_.get_legend().get_texts()[0].get_text() == "mine"
    display = ReliabilityDisplay.from_predictions(y, probability, c="red", marker="s")
    line = display.ax_.get_lines()[1]
    assert (line.get_color(), line.get_marker()) == ("red", "s")


def test_every_display_derives_from_the_mixin():
    others = {
        name
        for name in skastro.inspection.__all__
        if name.endswith("Display")
        and not issubclass(getattr(skastro.inspection, name), DisplayMixin)
    }
    # That of electron images moves to the package of its subject.
    assert others <= {"SEVIDisplay"}
