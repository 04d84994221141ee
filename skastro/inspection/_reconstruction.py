# SPDX-License-Identifier: BSD-3-Clause
"""A figure of samples and their reconstructions."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from astropy import units
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from skastro.inspection._display import (
    DisplayMixin,
    check_wavelength,
    samples_for,
    spectral_axis,
)
from skastro.inspection._embeddings import layout_of, split_latent
from skastro.inspection._thumbnails import Thumbnails, read_samples
from skastro.utils import plain_samples, prediction_steps

_MOST_SAMPLES = 20
_ROWS = ("Original", "Reconstruction", "Residual")


class ReconstructionDisplay(DisplayMixin):
    """Samples and their reconstructions by an autoencoder.

    Images are drawn above their reconstructions, on the same scale; spectra and their
    reconstructions are two lines. It is recommended to use :meth:`from_estimator` or
    :meth:`from_predictions` to create a display. All parameters are stored as
    attributes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Spectra, or images ``(n, height, width)`` or 4-D with channels. Three channels
        are drawn as colors; other numbers of channels are averaged.
    X_reconstructed : ndarray of shape (n_samples, ...)
        Their reconstructions, in the same shape and units.
    channel_axis : int, default=-1
        The axis of 4-D X that holds the channels.
    image_shape : tuple of int, default=None
        Shape of one image, if the rows of 2-D X are images and not spectra.
    wavelength : ndarray of shape (n_pixels,), default=None
        Wavelengths of spectra in Å; None counts pixels.
    titles : sequence of str, default=None
        Title of each sample.

    Attributes
    ----------
    error : ndarray of shape (n_samples,)
        Root mean square of each sample's residuals, in units of X, as in the titles.
    axes_ : ndarray of Axes
        For images, shape (2, n_samples), or (3, n_samples) with residuals. For spectra,
        shape (n_samples, 1), or (n_samples, 2) with residuals.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    LatentSpaceDisplay : A map of the latent space.
    ClusterMosaicDisplay : Samples of each cluster.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skastro.inspection import ReconstructionDisplay
    >>> rng = np.random.default_rng(0)
    >>> center = rng.uniform(15, 45, size=(200, 1))
    >>> spectra = np.exp(-0.5 * ((np.arange(60) - center) / 6) ** 2)
    >>> pca = PCA(4).fit(spectra)
    >>> display = ReconstructionDisplay.from_estimator(pca, spectra[:3])
    >>> display.error.shape, bool((display.error < spectra.std()).all())
    ((3,), True)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        X: np.ndarray,
        X_reconstructed: np.ndarray,
        *,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        wavelength: np.ndarray | None = None,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.X = X
        self.X_reconstructed = X_reconstructed
        self.channel_axis = channel_axis
        self.image_shape = image_shape
        self.wavelength = wavelength
        self.titles = titles

    @property
    def error(self) -> np.ndarray:
        """Root mean square of each sample's residuals, in units of X."""
        squares = np.square(self._residuals())
        return np.sqrt(squares.reshape(len(squares), -1).mean(axis=1))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        residuals: bool = False,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        wavelength: ArrayLike | units.Quantity | None = None,
        titles: Sequence[str] | None = None,
        ax: Axes | ArrayLike | None = None,
    ) -> Self:
        """Reconstruct a few samples and draw them.

        Parameters
        ----------
        estimator : VAETransformer, other transformer or Pipeline
            A fitted estimator with a method ``reconstruct``, or with ``transform`` and
            ``inverse_transform``. In a pipeline, the last step that has ``reconstruct``
            is used, and samples are drawn as that step receives them. Without such a
            step, the final transformers that have ``inverse_transform`` are inverted. A
            final clustering or classifier is ignored.
        X : array-like of shape (n_samples, ...)
            At most 20 samples, as ``estimator.transform`` takes them.
        residuals : bool, default=False
            Whether to draw reconstructions minus samples too.
        channel_axis : int, default=None
            The axis of 4-D X that holds the channels. None means the estimator's
            `channel_axis`, or -1.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D X are images and not spectra. None
            means the estimator's, if it has one.
        wavelength : array-like of shape (n_pixels,), default=None
            Wavelengths of spectra in Å, or a :class:`~astropy.units.Quantity` of
            length.
        titles : sequence of str, default=None
            Title of each sample.
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, in the shape of ``axes_``. None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator cannot reconstruct samples.
        ValueError
            If there are too many samples, or an argument does not match them.
        """
        cls._check_n_samples(len(X), _MOST_SAMPLES)
        X, restored = _reconstruct(estimator, X)
        return cls.from_predictions(
            X,
            restored,
            residuals=residuals,
            wavelength=wavelength,
            titles=titles,
            ax=ax,
            **layout_of(estimator, channel_axis, image_shape),
        )

    @classmethod
    def from_predictions(
        cls,
        X: ArrayLike,
        X_reconstructed: ArrayLike,
        *,
        residuals: bool = False,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        wavelength: ArrayLike | units.Quantity | None = None,
        titles: Sequence[str] | None = None,
        ax: Axes | ArrayLike | None = None,
    ) -> Self:
        """Draw given samples and reconstructions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            At most 20 samples: spectra, or images.
        X_reconstructed : array-like of shape (n_samples, ...)
            Their reconstructions, in the same shape (or flattened to rows) and units.
        residuals : bool, default=False
            Whether to draw reconstructions minus samples too.
        channel_axis : int, default=-1
            The axis of 4-D X that holds the channels.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D X are images and not spectra.
        wavelength : array-like of shape (n_pixels,), default=None
            Wavelengths of spectra in Å, or a :class:`~astropy.units.Quantity` of
            length.
        titles : sequence of str, default=None
            Title of each sample.
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, in the shape of ``axes_``. None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are too many samples, or an argument does not match them.
        """
        cls._check_n_samples(len(X), _MOST_SAMPLES)
        X, restored = read_samples(X), read_samples(X_reconstructed)
        if len(X) != len(restored) or X.size != restored.size:
            raise ValueError(
                "X and X_reconstructed must have one shape, but got "
                f"{X.shape} and {restored.shape}."
            )
        if titles is not None:
            cls._check_entries("titles", titles, len(X))
        wavelength = check_wavelength(wavelength, X.shape[1:])
        return cls(
            X,
            restored.reshape(X.shape),
            channel_axis=channel_axis,
            image_shape=image_shape,
            wavelength=wavelength,
            titles=titles,
        ).plot(residuals=residuals, ax=ax)

    def plot(
        self, *, residuals: bool = False, ax: Axes | ArrayLike | None = None
    ) -> Self:
        """Draw the samples and their reconstructions.

        Parameters
        ----------
        residuals : bool, default=False
            Whether to draw reconstructions minus samples too.
        ax : matplotlib Axes or array of Axes, default=None
            Axes to draw on, in the shape of ``axes_``. None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the axes have another shape.
        """
        thumbnails = Thumbnails(np.asarray(self.X), self.channel_axis, self.image_shape)
        n_samples = len(thumbnails)
        if thumbnails.are_spectra:
            shape = (n_samples, 1 + residuals)
            figsize = (9.0, 1.9 * n_samples + 0.5)
        else:
            shape = (2 + residuals, n_samples)
            height = 1.5 * min(thumbnails.height_to_width, 3) + 0.25
            figsize = (max(1.5 * n_samples + 0.6, 3), height * shape[0] + 0.3)
        self._make_axes(ax, shape, figsize=figsize, sharex=thumbnails.are_spectra)
        if thumbnails.are_spectra:
            self._draw_spectra(residuals)
        else:
            self._draw_images(thumbnails, residuals)
        return self

    def _residuals(self) -> np.ndarray:
        restored = np.asarray(self.X_reconstructed, dtype=np.float64)
        return restored - np.asarray(self.X, dtype=np.float64)

    def _draw_images(self, thumbnails: Thumbnails, residuals: bool) -> None:
        for row, name in zip(self.axes_, _ROWS, strict=False):
            row[0].set_ylabel(name)
            for ax in row:
                ax.set(xticks=[], yticks=[])
        error = self.error
        for sample, axes in enumerate(self.axes_.T):
            shown = [
                thumbnails.image(sample),
                thumbnails.image(sample, self.X_reconstructed[sample]),
            ]
            for ax, image in zip(axes, shown, strict=False):
                ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes[1].set_title(f"RMS {error[sample]:.3g}", fontsize="small")
            if self.titles is not None:
                axes[0].set_title(self.titles[sample], fontsize="small")
        if not residuals:
            return
        gray = [thumbnails.gray(values) for values in self._residuals()]
        limit = np.nanpercentile(np.abs(gray), 99.5) or 1.0
        for ax, values in zip(self.axes_[2], gray, strict=True):
            image = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        self.figure_.colorbar(image, ax=list(self.axes_[2]), fraction=0.05, pad=0.02)

    def _draw_spectra(self, residuals: bool) -> None:
        place, axis = spectral_axis(self.wavelength, np.shape(self.X)[1])
        error, difference = self.error, self._residuals()
        for sample, axes in enumerate(self.axes_):
            axes[0].plot(place, self.X[sample], color="0.6", lw=0.8, label="original")
            axes[0].plot(
                place,
                self.X_reconstructed[sample],
                color="C3",
                linewidth=1,
                label="reconstruction",
            )
            parts = [] if self.titles is None else [self.titles[sample]]
            parts.append(f"RMS {error[sample]:.3g}")
            axes[0].set_title(", ".join(parts), loc="left", fontsize="medium")
            axes[0].set(ylabel="Flux", xlim=(place[0], place[-1]))
            if residuals:
                axes[1].axhline(0, color="0.6", linewidth=0.8)
                axes[1].plot(place, difference[sample], color="C3", linewidth=0.8)
                axes[1].set_title("Residual", loc="left", fontsize="medium")
        self.ax_.legend(fontsize="small")
        for ax in self.axes_[-1]:
            ax.set_xlabel(axis)


def _reconstruct(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return samples, in the input space of the step that reconstructs, and results."""
    X, steps = samples_for(estimator, X), prediction_steps(estimator)
    able = [number for number, step in enumerate(steps) if hasattr(step, "reconstruct")]
    if able:
        for step in steps[: able[-1]]:
            X = step.transform(X)
        return plain_samples(X), steps[able[-1]].reconstruct(X)
    steps = prediction_steps(split_latent(estimator, "ReconstructionDisplay")[0])
    first = len(steps)
    while first > 0 and hasattr(steps[first - 1], "inverse_transform"):
        first -= 1
    if first == len(steps):
        raise TypeError(
            "ReconstructionDisplay takes an estimator with reconstruct or "
            "inverse_transform, such as VAETransformer or PCA, but got "
            f"{type(estimator).__name__}, whose last transformer is a "
            f"{type(steps[-1]).__name__}."
        )
    for step in steps[:first]:
        X = step.transform(X)
    restored = X
    for step in steps[first:]:
        restored = step.transform(restored)
    for step in reversed(steps[first:]):
        restored = step.inverse_transform(restored)
    return plain_samples(X), restored
