# SPDX-License-Identifier: BSD-3-Clause
"""Named spectral lines in figures."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from sklearn.isotonic import isotonic_regression

from skastro.simulation import SPECTRAL_LINES, SpectralLine, lines_of

_CLASSES_WITH_LINES = ("STAR", "GALAXY", "QSO")
# Lines of one species that are closer, in Å at rest, share a label: Mg b, Na D, [S II].
_ONE_LABEL = 20.0
_FONT_SIZE = 7.0
# Distance of neighbouring labels, and their height above the axes.
_LABEL_WIDTH = 1.4 * _FONT_SIZE
LABEL_HEIGHT = 5.5 * _FONT_SIZE


class LineMark(NamedTuple):
    """A line as it is drawn.

    Parameters
    ----------
    label : str
        What is written.
    wavelength : float
        Where, in Å at rest in vacuum.
    """

    label: str
    wavelength: float


def choose_lines(lines: Any, target: Any) -> list[LineMark]:
    """Find the lines that the user means.

    Parameters
    ----------
    lines : None, str, dict, or sequence of str, SpectralLine or both
        None means those of the class `target`; a string those of a class; a dict gives
        labels and wavelengths; a sequence lists lines or names of lines.
    target : label
        The class of the object.

    Returns
    -------
    marks : list of LineMark
        In order of wavelength.

    Raises
    ------
    ValueError
        If a class or a line is not known.
    """
    if lines is None:
        lines = target if target in _CLASSES_WITH_LINES else ()
    if isinstance(lines, str):
        lines = lines_of(lines)
    if isinstance(lines, Mapping):
        marks = [LineMark(str(label), float(at)) for label, at in lines.items()]
    else:
        marks = [
            LineMark(line.label, line.wavelength) for line in map(_line_named, lines)
        ]
    return sorted(marks, key=lambda mark: mark.wavelength)


def _line_named(line: Any) -> SpectralLine:
    if isinstance(line, SpectralLine):
        return line
    if line not in SPECTRAL_LINES:
        raise ValueError(
            f"There is no line {line!r}; known are {', '.join(SPECTRAL_LINES)}. Give a "
            "dict of labels and wavelengths for others."
        )
    return SPECTRAL_LINES[line]


def draw_marks(ax: Axes, marks: Iterable[LineMark], redshift: float) -> None:
    """Draw lines over a spectrum, and their names above it.

    Parameters
    ----------
    ax : Axes
        Where the spectrum is, its limits set.
    marks : iterable of LineMark
        The lines.
    redshift : float
        The object's redshift.
    """
    low, high = ax.get_xlim()
    seen = [
        (mark, observed)
        for mark in marks
        if low < (observed := mark.wavelength * (1 + redshift)) < high
    ]
    for _, observed in seen:
        ax.axvline(observed, color="0.45", linewidth=0.6, linestyle=":", zorder=0.5)
    groups: list[list[tuple[LineMark, float]]] = []
    for mark, observed in seen:
        last = groups[-1][-1][0] if groups else None
        if (
            last is not None
            and last.label == mark.label
            and mark.wavelength - last.wavelength < _ONE_LABEL
        ):
            groups[-1].append((mark, observed))
        else:
            groups.append([(mark, observed)])
    if not groups:
        return
    at = np.array([np.mean([observed for _, observed in group]) for group in groups])
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    places = _apart(at, _LABEL_WIDTH * (high - low) / points, low, high)
    for group, observed, place in zip(groups, at, places, strict=True):
        ax.annotate(
            group[0][0].label,
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
    """Move ascending places as little as possible so that all are a distance apart.

    With equal steps taken off, places in order and apart are places in order.
    """
    steps = distance * np.arange(len(at))
    room = max(high - low - steps[-1], 0.0)
    return steps + isotonic_regression(at - steps, y_min=low, y_max=low + room)
