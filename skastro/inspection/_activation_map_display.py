# SPDX-License-Identifier: BSD-3-Clause
"""Figures of class activation maps."""

from collections.abc import Sequence
from typing import Any, Self

import matplotlib as mpl
import numpy as np
from astropy import units
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin

from skastro.inspection._class_activation_map import (
    class_activation_map,
    encode_target,
    find_classifier,
)
from skastro.inspection._display import (
    DisplayMixin,
    check_wavelength,
    spectral_axis,
)
from skastro.inspection._spectral_lines import (
    LABEL_HEIGHT,
    choose_lines,
    draw_lines,
)
from skastro.inspection._thumbnails import channels_first
from skastro.utils import plain_array, prediction_steps

_MOST_SAMPLES = 20
# Gray for pixels without effect, and dark enough to be visible as a thin line.
_LINE_COLORS = LinearSegmentedColormap.from_list(
    "activation", ["#b9bfc9", "#e8a33d", "#d1401f", "#7a0019"]
)
_IMAGE_COLORS = "inferno"


class ActivationMapDisplay(DisplayMixin):
    """Class activation maps over the spectra or images that they explain.

    It is recommended to use :meth:`from_estimator` to create one. All parameters are
    stored as attributes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, length), (n_samples, height, width) or \
            (n_samples, height, width, n_channels)
        Spectra or images.
    maps : ndarray of shape (n_samples, length) or (n_samples, height, width)
        Their maps. Colors show each map's values between its minimum and maximum.
    wavelength : ndarray of shape (length,), default=None
        Wavelengths in Å; None counts pixels.
    redshift : ndarray of shape (n_samples,), default=None
        Redshifts of the lines of `marks`. None draws no lines.
    marks : list of n_samples lists of (str, float) pairs, default=None
        Labels and rest wavelengths, in Å in vacuum, of the lines to draw.
    titles : list of str, default=None
        Title of each spectrum or image.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples,)
        The matplotlib Axes, one for each sample.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.
    colorbar_ : matplotlib Colorbar or None
        The scale of the colors.

    See Also
    --------
    class_activation_map : The maps, in units of the logit.
    deletion_score : Test whether the maps are right.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
    >>> from skastro.datasets import make_spectra
    >>> from skastro.inspection import ActivationMapDisplay
    >>> spectra = make_spectra(60, wavelength=range(4000, 9000, 20), random_state=0)
    >>> clf = SpectrumClassifier(module__width=4, max_epochs=2, verbose=0,
    ...                          random_state=0)
    >>> pipe = Pipeline([StandardizeSpectra(), clf]).fit(spectra.flux, spectra.target)
    >>> display = ActivationMapDisplay.from_estimator(
    ...     pipe, spectra.flux[:2], wavelength=spectra.wavelength,
    ...     redshift=spectra.redshift[:2], lines="GALAXY")
    >>> display.maps.shape
    (2, 250)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        X: np.ndarray,
        maps: np.ndarray,
        *,
        wavelength: np.ndarray | None = None,
        redshift: np.ndarray | None = None,
        marks: list[list[tuple[str, float]]] | None = None,
        titles: list[str] | None = None,
    ) -> None:
        self.X = X
        self.maps = maps
        self.wavelength = wavelength
        self.redshift = redshift
        self.marks = marks
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        target: Any = None,
        wavelength: ArrayLike | units.Quantity | None = None,
        redshift: float | ArrayLike | None = None,
        lines: Any = None,
        titles: Sequence[str] | None = None,
        method: str = "auto",
        layer: str | None = None,
        cmap: str | Colormap | None = None,
        colorbar: bool = True,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Compute the maps of a few samples and draw them.

        Parameters
        ----------
        estimator : SpectrumClassifier, GalaxyClassifier or Pipeline
            A fitted classifier, or a pipeline that ends in one.
        X : array-like of shape (n_samples, ...)
            At most 20 spectra or images, as ``estimator.predict`` takes them. Spectra
            are drawn as given or, if a step of the pipeline changes the number of
            pixels, as the network reads them. The first of several channels is drawn.
        target : label or array-like of shape (n_samples,), default=None
            The class whose maps are drawn; None means the predicted class.
        wavelength : array-like of shape (length,), default=None
            Wavelengths of the map's pixels in Å, or a
            :class:`~astropy.units.Quantity` of length.
        redshift : float or array-like of shape (n_samples,), default=None
            Redshifts of the lines. No lines are drawn for None or NaN.
        lines : str, dict, sequence or None, default=None
            Lines to draw if wavelengths and redshifts are given. ``"STAR"``,
            ``"GALAXY"`` or ``"QSO"``: those of :func:`skastro.simulation.lines_of`. A
            dict: labels, and rest wavelengths in Å in vacuum. A sequence: names in
            ``skastro.simulation.SPECTRAL_LINES``. None: those of the class whose map
            is drawn, if it is one of the three. An empty sequence: no lines.
        titles : sequence of str, default=None
            Title of each sample; None writes the class and its probability.
        method : {"auto", "cam", "gradcam"}, default="auto"
            Method of :func:`class_activation_map`.
        layer : str, default=None
            The layer for Grad-CAM.
        cmap : str or matplotlib Colormap, default=None
            The colors; None chooses.
        colorbar : bool, default=True
            Whether to draw the scale of the colors.
        ax : matplotlib Axes or sequence of Axes, default=None
            Axes to draw on, one for each sample. None makes a figure.

        Returns
        -------
        display : ActivationMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If numbers of samples, wavelengths, redshifts, titles or axes do not agree,
            or a line, a class or an option is not known.
        TypeError
            If the estimator is of another kind, or its network has no such maps.
        """
        net, seen = find_classifier(estimator, X, cls.__name__)
        n_samples = len(seen)
        cls._check_n_samples(n_samples, _MOST_SAMPLES)
        codes = encode_target(net, seen, target)
        labels = net.classes_[codes].tolist()
        maps = class_activation_map(net, seen, labels, method=method, layer=layer)
        if titles is None:
            titles = [
                f"{label}, probability {row[code]:.2f}"
                for label, row, code in zip(
                    labels, net.predict_proba(seen), codes, strict=True
                )
            ]
        cls._check_entries("titles", titles, n_samples)
        seen = plain_array(seen[:])
        if maps.ndim == 3:
            images = channels_first(seen, net.channel_axis, net.image_shape)
            unit = 255 if seen.dtype == np.uint8 else 1
            X = np.moveaxis(images, 1, -1).astype(np.float32) / unit
        else:
            # Pixels of the network are those that were given, unless a step moves them.
            steps = prediction_steps(estimator)[:-1]
            keep = all(isinstance(step, OneToOneFeatureMixin) for step in steps)
            X = plain_array(X, any_unit=True) if keep else seen
            X = X[:, 0] if X.ndim == 3 else X
            wavelength = check_wavelength(wavelength, maps.shape[1:])
        marks = None
        if redshift is not None:
            if np.ndim(redshift):
                cls._check_entries("redshift", redshift, n_samples, n_axes=1)
            redshift = np.broadcast_to(plain_array(redshift, "redshift"), n_samples)
            marks = [choose_lines(lines, label) for label in labels]
        return cls(
            X,
            maps,
            wavelength=wavelength,
            redshift=redshift,
            marks=marks,
            titles=list(titles),
        ).plot(cmap=cmap, colorbar=colorbar, ax=ax)

    def plot(
        self,
        *,
        cmap: str | Colormap | None = None,
        colorbar: bool = True,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw the samples, colored by their maps.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default=None
            The colors; None chooses.
        colorbar : bool, default=True
            Whether to draw the scale of the colors.
        ax : matplotlib Axes or sequence of Axes, default=None
            Axes to draw on, one for each sample. None makes a figure.

        Returns
        -------
        display : ActivationMapDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the number of axes is not that of the samples.
        """
        images = self.maps.ndim == 3
        n_samples = len(self.maps)
        columns = min(n_samples, 4) if images else 1
        rows = -(-n_samples // columns)
        if images:
            figsize = (2.4 * columns + 0.9, 2.7 * rows)
        else:
            figsize = (9, (1.9 if self.marks is None else 2.6) * rows + 0.5)
        self._make_axes(ax, (rows, columns), n_axes=n_samples, figsize=figsize)
        cmap = mpl.colormaps.get_cmap(
            cmap or (_IMAGE_COLORS if images else _LINE_COLORS)
        )
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(
                ScalarMappable(Normalize(0, 1), cmap),
                ax=list(self.axes_),
                label="Class activation",
                fraction=0.05,
                pad=0.02,
                aspect=30,
            )
            # Each map has its own range.
            self.colorbar_.set_ticks([0, 1], labels=["min.", "max."])
        draw = self._draw_image if images else self._draw_spectrum
        for sample in range(n_samples):
            draw(sample, cmap)
        if not images:
            self.axes_[-1].set_xlabel(spectral_axis(self.wavelength, 0)[1])
        return self

    def _draw_spectrum(self, sample: int, cmap: Colormap) -> None:
        ax, flux = self.axes_[sample], np.asarray(self.X[sample], dtype=np.float64)
        place, _ = spectral_axis(self.wavelength, len(flux))
        points = np.stack([place, flux], axis=1)
        # Each segment ends midway between neighboring pixels.
        middle = 0.5 * (points[1:] + points[:-1])
        before = np.concatenate([points[:1], middle])
        behind = np.concatenate([middle, points[-1:]])
        line = LineCollection(
            np.stack([before, points, behind], axis=1),
            array=_unit_range(self.maps[sample]),
            cmap=cmap,
            norm=Normalize(0, 1),
            linewidths=1.1,
            capstyle="round",
        )
        ax.add_collection(line, autolim=False)
        ax.set_xlim(place[0], place[-1])
        low, high = np.nanpercentile(flux, [0.2, 99.8])
        margin = 0.08 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        ax.set_ylabel("Flux")
        pad = None
        marks = self.marks[sample] if self.marks is not None else []
        if self.redshift is not None and self.wavelength is not None:
            draw_lines(ax, marks, self.redshift[sample])
            pad = LABEL_HEIGHT if marks else None
        if self.titles is not None:
            ax.set_title(self.titles[sample], loc="left", fontsize="medium", pad=pad)

    def _draw_image(self, sample: int, cmap: Colormap) -> None:
        ax, image = self.axes_[sample], np.asarray(self.X[sample])
        if image.ndim == 3 and image.shape[2] != 3:
            image = image.mean(axis=2)
        if image.min() < 0 or image.max() > 1 or image.ndim == 2:
            image = _unit_range(image)
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        heat = _unit_range(self.maps[sample])
        ax.imshow(heat, cmap=cmap, vmin=0, vmax=1, alpha=0.65 * heat)
        if min(heat.shape) > 1:
            ax.contour(heat, levels=[0.5, 0.8], colors="white", linewidths=[0.6, 1.2])
        ax.set_axis_off()
        if self.titles is not None:
            ax.set_title(self.titles[sample], fontsize="medium")


def _unit_range(values: np.ndarray) -> np.ndarray:
    """Scale values to [0, 1] by their minimum and maximum."""
    low, span = values.min(), np.ptp(values)
    return (values - low) / (span or 1)
