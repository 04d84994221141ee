# SPDX-License-Identifier: BSD-3-Clause
"""The mixin of all displays, and functions of their ``from_estimator`` methods."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from skastro.utils import in_unit, knows_samples, plain_samples


class DisplayMixin:
    """Mixin that gives a display its axes, its figure, its style and its checks.

    A display of your own derives from this class. Its ``__init__`` stores the numbers
    to draw as attributes of the same names. Its class methods ``from_estimator`` and
    ``from_predictions`` compute these numbers and return ``cls(...).plot(ax=ax)``. Its
    method ``plot`` draws them and returns the display. These methods of the mixin are
    for subclasses to call:

    ``_make_axes(ax, shape=(1, 1), *, n_axes=None, **options)``
        Uses the axes that the user gave, or makes a figure if `ax` is None. Sets
        ``axes_``, ``ax_`` and ``figure_``, and returns ``axes_``, an array of Axes of
        the shape `shape`. If `n_axes` is given, further axes of a new figure are
        removed and ``axes_`` is one-dimensional. `options` are passed to
        :func:`matplotlib.pyplot.subplots`. Raises ValueError if `ax` holds another
        number of Axes, and TypeError if it holds anything else.
    ``_merge_style(defaults, style, artist=Line2D)``
        Merges the default keywords for matplotlib with those of the user, which take
        precedence, also if one is an alias of the other (``linewidth``, ``lw``).
    ``_name_of(estimator, name)``
        Returns the name for the legend: that of the user, or that of the estimator's
        class.
    ``_check_entries(name, values, n_samples, *, n_axes=None)``
        Raises ValueError unless `values` has one entry for each sample and, if
        `n_axes` is given, that number of axes.
    ``_check_n_samples(n_samples, most)``
        Raises ValueError unless there are 1 to `most` samples.

    The first call of ``_make_axes`` that makes a figure imports pyplot.

    Attributes
    ----------
    axes_ : ndarray of Axes
        All axes that the display uses.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro.inspection import DisplayMixin
    >>> class SpectrumDisplay(DisplayMixin):
    ...     def __init__(self, flux):
    ...         self.flux = flux
    ...
    ...     def plot(self, *, ax=None, **style):
    ...         self._make_axes(ax)
    ...         style = self._merge_style({"linewidth": 0.8}, style)
    ...         (self.line_,) = self.ax_.plot(self.flux, **style)
    ...         return self
    >>> display = SpectrumDisplay([1.0, 3.0, 2.0]).plot(lw=2)
    >>> display.line_.get_linewidth()
    2.0
    >>> plt.close(display.figure_)
    """

    def _make_axes(
        self,
        ax: Axes | ArrayLike | None = None,
        shape: tuple[int, int] = (1, 1),
        *,
        n_axes: int | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Take or make the axes to draw on; see the class."""
        n_wanted = math.prod(shape) if n_axes is None else n_axes
        if ax is None:
            import matplotlib.pyplot as plt

            options = {"layout": "constrained", "squeeze": False, **options}
            axes = plt.subplots(*shape, **options)[1].ravel()
            for unused in axes[n_wanted:]:
                unused.remove()
            axes = axes[:n_wanted]
        else:
            axes = np.array(ax, dtype=object).ravel()
            if len(axes) != n_wanted:
                raise ValueError(
                    f"ax must hold {n_wanted} Axes"
                    + (f" in the shape {shape}" if n_axes is None else "")
                    + f", but got {len(axes)}."
                )
            for given in axes:
                if not isinstance(given, Axes):
                    raise TypeError(
                        "ax must be matplotlib Axes, as plt.subplots() returns them, "
                        f"but got {type(given).__name__}."
                    )
        self.axes_ = axes.reshape(shape) if n_axes is None else axes
        self.ax_, self.figure_ = axes[0], axes[0].figure
        return self.axes_

    @staticmethod
    def _merge_style(
        defaults: Mapping[str, Any], style: Mapping[str, Any], artist: type = Line2D
    ) -> dict[str, Any]:
        """Merge a display's keywords for matplotlib with the user's."""
        return normalize_kwargs(defaults, artist) | normalize_kwargs(style, artist)

    @staticmethod
    def _name_of(estimator: Any, name: str | None) -> str:
        """Return the user's name, or that of the estimator's class."""
        return type(estimator).__name__ if name is None else name

    @staticmethod
    def _check_entries(
        name: str, values: Any, n_samples: int, *, n_axes: int | None = None
    ) -> None:
        """Refuse values unless there is one for each sample."""
        shape = (len(values),) if n_axes is None else np.shape(values)
        if len(shape) != (n_axes or 1) or shape[0] != n_samples:
            raise ValueError(
                f"{name} must have one entry for each of the {n_samples} samples, but "
                + (f"has {shape[0]}." if n_axes is None else f"has shape {shape}.")
            )

    @staticmethod
    def _check_n_samples(n_samples: int, most: int) -> None:
        """Refuse more samples than a figure can show."""
        if not 0 < n_samples <= most:
            raise ValueError(
                f"X has {n_samples} samples, but a figure holds 1 to {most}; choose "
                "some rows."
            )


def samples_for(estimator: Any, X: Any) -> Any:
    """Return samples as an array, unless the estimator takes them as they are."""
    return X if knows_samples(estimator) else plain_samples(X)


def check_wavelength(
    wavelength: ArrayLike | units.Quantity | None, sample_shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return wavelengths in Å, one for each pixel of a spectrum."""
    if wavelength is None:
        return None
    wavelength = in_unit(wavelength, "Angstrom", "wavelength")
    if wavelength.shape != tuple(sample_shape):
        raise ValueError(
            f"wavelength has shape {wavelength.shape}, but a sample has shape "
            f"{tuple(sample_shape)}; give one wavelength for each pixel of a spectrum. "
            "If a step of the pipeline changes the pixels, give the new "
            "wavelengths, such as the attribute new_wavelength_ of RebinSpectra."
        )
    return wavelength


def spectral_axis(
    wavelength: np.ndarray | None, n_pixels: int
) -> tuple[np.ndarray, str]:
    """Return the coordinates of the pixels of a spectrum, and the axis label."""
    if wavelength is None:
        return np.arange(n_pixels), "Pixel"
    return wavelength, "Wavelength (Å)"
