# SPDX-License-Identifier: BSD-3-Clause
"""A figure of electron shells fitted to an image."""

from collections.abc import Mapping
from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from skastro.inspection._latent import steps_of
from skastro.inspection._sevi_model import FACTORS, FittedShells
from skastro.inspection._sevi_panels import (
    draw_densities,
    draw_image,
    draw_profile,
    draw_residual,
    shell_colors,
)
from skastro.utils import check_number, check_option

# Electrons that a cell of the residual should have, and cells along a side at least.
_ENOUGH = 10.0
_LEAST_CELLS = 16


class SEVIDisplay:
    """An image of electrons, and the shells that were fitted to it.

    Four axes: the image, with the fitted rings and their widths in the half on one side
    of the electrons' axis; what the fit leaves over, in standard deviations; the
    angular densities of the shells with their bands; and the mean counts along the
    radius. It is recommended to use :meth:`from_estimator` or
    :meth:`from_predictions` to create a display. All parameters are stored as
    attributes.

    Parameters
    ----------
    image : ndarray of shape (size, size)
        Counts.
    shells : dict or :class:`~sklearn.utils.Bunch`
        The shells of this image, as ``SEVIRegressor.predict_shells`` gives them:
        ``beta``, ``beta_std`` of shape (n_shells, n_betas), ``radius``,
        ``radius_width``, ``n_electrons`` of shape (n_shells,) and, where there are any,
        ``beta_cov`` of shape (n_shells, n_betas, n_betas), ``radius_std``,
        ``background``, ``tilt``, ``ellipticity``, ``center``, ``out_of_range``. A first
        axis of length 1 is allowed.
    beta_true : ndarray of shape (n_shells, n_coefficients), default=None
        True coefficients.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients: β_l of 1/2 + Σ β_l P_2l(cos θ), or b_l of
        1 + Σ b_l P_2l(cos θ). The densities are drawn so.
    polarization_axis : {0, 1}, default=1
        Axis of the image along which the electrons are polarised.
    extent : float, default=1.0
        Half the side of the image, in the unit of the radii.

    Attributes
    ----------
    expected : ndarray of shape (size, size)
        Counts that the fit expects.
    block : int
        Side of the cells of `residual`, in pixels.
    residual : ndarray of shape (n_cells, n_cells)
        Counts minus expected counts, over the square root of the latter, in cells that
        are large enough for some ten counts within the largest shell. Where fewer than
        one count is expected, the difference itself.
    residual_std : float
        Root mean square of `residual` where five counts or more are expected. Of counts
        of such shells it is about 1.
    axes_ : ndarray of Axes of shape (2, 2)
        Image and residual, densities and radial profile.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    skastro.SEVIRegressor : Fits the shells.

    Notes
    -----
    The bands of the densities follow from ``beta_cov``. Where `shells` has none, the
    errors of the coefficients are taken as independent, which is an approximation: of
    densities that are peaked along the axis the bands are then too narrow within some
    15 degrees of it, and too wide elsewhere.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro import SEVIRegressor
    >>> from skastro.datasets import make_sevi
    >>> from skastro.inspection import SEVIDisplay
    >>> train = make_sevi(50, size=64, n_electrons=1e4, random_state=0)
    >>> test = make_sevi(1, size=64, n_electrons=1e4, random_state=1)
    >>> reg = SEVIRegressor(max_epochs=1, verbose=0, random_state=0)
    >>> reg = reg.fit(train.images, train.beta)
    >>> display = SEVIDisplay.from_estimator(
    ...     reg, test.images[0], beta_true=test.beta[0]
    ... )
    >>> bool(0.9 < display.residual_std < 1.1)
    True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        image: np.ndarray,
        shells: Mapping[str, Any],
        *,
        beta_true: np.ndarray | None = None,
        convention: str = "density",
        polarization_axis: int = 1,
        extent: float = 1.0,
    ) -> None:
        self.image = image
        self.shells = shells
        self.beta_true = beta_true
        self.convention = convention
        self.polarization_axis = polarization_axis
        self.extent = extent
        self._fitted = FittedShells.read(shells, convention, polarization_axis, extent)
        self.expected = self._fitted.expected(len(image), float(np.sum(image)))
        self.block = self._choose_block()
        self._expected_in_cells = self._in_cells(self.expected)
        difference = self._in_cells(image) - self._expected_in_cells
        self.residual = difference / np.sqrt(self._expected_in_cells.clip(min=1))

    @property
    def residual_std(self) -> float:
        """Root mean square of the residual, where counts are expected."""
        used = self._expected_in_cells >= min(5.0, self._expected_in_cells.max())
        return float(np.sqrt(np.square(self.residual[used]).mean()))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: ArrayLike,
        *,
        beta_true: ArrayLike | None = None,
        coverage: float = 0.9,
        ax: ArrayLike | None = None,
    ) -> Self:
        """Fit shells to an image and draw them.

        Parameters
        ----------
        estimator : SEVIRegressor or Pipeline
            Fitted; a pipeline ends in a :class:`~skastro.SEVIRegressor`, and the image
            is drawn as that gets it.
        image : array-like of shape (size, size) or (1, size, size)
            One image, as ``estimator.predict`` takes it; with `image_shape` it may be a
            row of pixels.
        beta_true : array-like of shape (n_shells * n_coefficients,), default=None
            True coefficients, in the estimator's `convention`, those of the smallest
            shell first. They may be more than the estimator's `n_betas`.
        coverage : float, default=0.9
            Probability with which a band holds the density at an angle.
        ax : array of 4 matplotlib Axes, default=None
            Where to draw, in the order of ``axes_``. None makes a figure.

        Returns
        -------
        display : SEVIDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator fits no shells.
        ValueError
            If `image` is none, or shells cannot be fitted to it.
        """
        *before, regressor = steps_of(estimator)
        if not hasattr(regressor, "predict_shells"):
            raise TypeError(
                "SEVIDisplay takes a SEVIRegressor, or a pipeline that ends in one, "
                f"but got {type(regressor).__name__}. For shells that you have already "
                "take from_predictions."
            )
        X = _one_sample(image, regressor.image_shape)
        for step in before:
            X = step.transform(X)
        shells = regressor.predict_shells(X)
        shape = regressor.image_shape or np.shape(X)[1:]
        return cls.from_predictions(
            np.reshape(X, shape),
            shells,
            beta_true=beta_true,
            convention=regressor.convention,
            polarization_axis=regressor.polarization_axis,
            extent=regressor.extent,
            coverage=coverage,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        image: ArrayLike,
        shells: Mapping[str, Any],
        *,
        beta_true: ArrayLike | None = None,
        convention: str = "density",
        polarization_axis: int = 1,
        extent: float = 1.0,
        coverage: float = 0.9,
        ax: ArrayLike | None = None,
    ) -> Self:
        """Draw shells that are there already.

        Parameters
        ----------
        image : array-like of shape (size, size) or (1, size, size)
            Counts.
        shells : dict or :class:`~sklearn.utils.Bunch`
            The shells of this image, as ``SEVIRegressor.predict_shells`` gives them.
        beta_true : array-like of shape (n_shells * n_coefficients,), default=None
            True coefficients, those of the smallest shell first.
        convention : {"density", "vmi"}, default="density"
            Meaning of the coefficients.
        polarization_axis : {0, 1}, default=1
            Axis of the image along which the electrons are polarised.
        extent : float, default=1.0
            Half the side of the image, in the unit of the radii.
        coverage : float, default=0.9
            Probability with which a band holds the density at an angle.
        ax : array of 4 matplotlib Axes, default=None
            Where to draw, in the order of ``axes_``. None makes a figure.

        Returns
        -------
        display : SEVIDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If something does not fit the image or the shells.
        """
        check_option(convention, "convention", tuple(FACTORS))
        if polarization_axis not in (0, 1):
            raise ValueError(
                f"polarization_axis must be 0 or 1; got {polarization_axis!r}."
            )
        check_number(extent, "extent", 1e-9, 1e9)
        image = _one_sample(image, None)[0].astype(np.float64)
        if image.shape[0] != image.shape[1]:
            raise ValueError(
                "image must be square, with the centre in its middle, but has the "
                f"shape {image.shape}."
            )
        if not np.isfinite(image).all():
            raise ValueError("image has NaN or infinity; pixels must be counts.")
        n_shells = np.shape(shells["radius"])[-1] if "radius" in shells else 1
        if beta_true is not None:
            beta_true = np.asarray(beta_true, dtype=np.float64)
            if not beta_true.size or beta_true.size % n_shells:
                raise ValueError(
                    f"beta_true has {beta_true.size} coefficients for {n_shells} "
                    "shells; it must have the same number for each."
                )
            beta_true = beta_true.reshape(n_shells, -1)
        return cls(
            image,
            shells,
            beta_true=beta_true,
            convention=convention,
            polarization_axis=polarization_axis,
            extent=extent,
        ).plot(coverage=coverage, ax=ax)

    def plot(self, *, coverage: float = 0.9, ax: ArrayLike | None = None) -> Self:
        """Draw the image and the shells.

        Parameters
        ----------
        coverage : float, default=0.9
            Probability with which a band holds the density at an angle.
        ax : array of 4 matplotlib Axes, default=None
            Where to draw, in the order of ``axes_``. None makes a figure.

        Returns
        -------
        display : SEVIDisplay
            The display itself.

        Raises
        ------
        ValueError
            If `coverage` is no probability, or `ax` does not hold four axes.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1; got {coverage!r}.")
        if ax is None:
            _, ax = plt.subplots(2, 2, figsize=(9.5, 7.2), layout="constrained")
        axes = np.array(ax, dtype=object)
        if axes.size != 4:
            raise ValueError(f"ax must hold 4 Axes, but got {axes.size}.")
        self.axes_ = axes.reshape(2, 2)
        self.ax_ = self.axes_[0, 0]
        self.figure_ = self.ax_.figure
        colors = shell_colors(self._fitted.radius)
        fitted, expected = self._fitted, self.expected
        draw_image(self.axes_[0, 0], fitted, np.asarray(self.image), colors)
        # The last cells may be smaller than they are drawn.
        side = 2 * self.extent * self.block / len(self.image)
        draw_residual(
            self.axes_[0, 1], self.residual, self.residual_std, side, self.extent
        )
        draw_densities(
            self.axes_[1, 0],
            fitted,
            colors,
            self.convention,
            float(ndtri((1 + coverage) / 2)),
            self.beta_true,
        )
        draw_profile(self.axes_[1, 1], fitted, np.asarray(self.image), expected, colors)
        return self

    def _choose_block(self) -> int:
        """Find how many pixels hold enough counts together."""
        size = len(self.image)
        inside = self._fitted.distances(size) < self._fitted.radius.max()
        typical = np.median(self.expected[inside]) if inside.any() else 0.0
        most = max(size // _LEAST_CELLS, 1)
        block = np.sqrt(_ENOUGH / max(typical, _ENOUGH / most**2))
        return int(np.clip(np.ceil(block), 1, most))

    def _in_cells(self, pixels: np.ndarray) -> np.ndarray:
        """Sum pixels; the last cells may be smaller."""
        first = np.arange(0, len(pixels), self.block)
        sums = np.asarray(pixels, dtype=np.float64)
        return np.add.reduceat(np.add.reduceat(sums, first, axis=0), first, axis=1)


def _one_sample(image: Any, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """Bring an image to the shape of X with one sample."""
    image = np.asarray(image)
    if image_shape is not None and image.size == np.prod(image_shape):
        return image.reshape(1, -1)
    if image.ndim == 2 and image_shape is None:
        return image[None]
    if image.ndim != 3 or len(image) != 1 or image_shape is not None:
        expected = "(size, size) or (1, size, size)"
        if image_shape is not None:
            expected = f"{tuple(image_shape)}, or a row of its pixels"
        raise ValueError(
            f"SEVIDisplay draws one image, of shape {expected}, but got an array of "
            f"shape {image.shape}."
        )
    return image
