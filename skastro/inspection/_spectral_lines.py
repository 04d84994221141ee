# SPDX-License-Identifier: BSD-3-Clause
"""Spectral lines in figures: choosing, drawing and labeling them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.isotonic import isotonic_regression

from skastro.simulation import SPECTRAL_LINES, SpectralLine, lines_of

_CLASSES_WITH_LINES = ("STAR", "GALAXY", "QSO")
# Lines of one species that are closer, in Å at rest, share a label: Mg b, Na D, [S II].
_ONE_LABEL = 20.0
_FONT_SIZE = 7.0
# Distance of neighboring labels, and their height above the axes, in points.
_LABEL_WIDTH = 1.4 * _FONT_SIZE
LABEL_HEIGHT = 5.5 * _FONT_SIZE


def choose_lines(lines: Any, label: Any) -> list[tuple[str, float]]:
    """Return labels and rest wavelengths of the selected lines, by wavelength."""
    if lines is None:
        lines = label if label in _CLASSES_WITH_LINES else ()
    if isinstance(lines, str):
        lines = lines_of(lines)
    if isinstance(lines, Mapping):
        marks = [(str(name), float(at)) for name, at in lines.items()]
    else:
        found = map(_line_named, lines)
        marks = [(line.label, line.wavelength) for line in found]
    return sorted(marks, key=lambda mark: mark[1])


def _line_named(line: Any) -> SpectralLine:
    if isinstance(line, SpectralLine):
        return line
    if line not in SPECTRAL_LINES:
        raise ValueError(
            f"There is no line {line!r}; known are {', '.join(SPECTRAL_LINES)}. Give a "
            "dict of labels and wavelengths for others."
        )
    return SPECTRAL_LINES[line]


def draw_lines(ax: Axes, marks: list[tuple[str, float]], redshift: float) -> None:
    """Draw redshifted lines over a spectrum, and their labels above it."""
    low, high = ax.get_xlim()
    groups: list[tuple[str, list[float]]] = []
    last_label, last_wavelength = None, -np.inf
    for label, wavelength in marks:
        observed = wavelength * (1 + redshift)
        if not low < observed < high:
            continue
        ax.axvline(observed, color="0.45", linewidth=0.6, linestyle=":", zorder=0.5)
        if label != last_label or wavelength - last_wavelength >= _ONE_LABEL:
            groups.append((label, []))
        groups[-1][1].append(observed)
        last_label, last_wavelength = label, wavelength
    if not groups:
        return
    at = np.array([np.mean(observed) for _, observed in groups])
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    places = _apart(at, _LABEL_WIDTH * (high - low) / points, low, high)
    for (label, _), observed, place in zip(groups, at, places, strict=True):
        ax.annotate(
            label,
            xy=(observed, 1),
            xytext=(place, 1.06),
            xycoords=ax.get_xaxis_transform(),
            textcoords=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=_FONT_SIZE,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.45",
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0.5, 0),
            },
        )


def _apart(at: np.ndarray, distance: float, low: float, high: float) -> np.ndarray:
    """Move ascending positions as little as possible to a minimum distance."""
    # After subtracting equal steps, the condition is that positions ascend.
    steps = distance * np.arange(len(at))
    slack = max(high - low - steps[-1], 0.0)
    return steps + isotonic_regression(at - steps, y_min=low, y_max=low + slack)
