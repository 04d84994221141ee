# SPDX-License-Identifier: BSD-3-Clause
"""A figure of an electron image and the shells fitted to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from numpy.polynomial import legendre
from numpy.typing import ArrayLike
from scipy.special import ndtri

from skastro.sevi._basis import ShellBasis, detector_matrix
from skastro.sevi._electrons import FACTORS, N_BETAS, angular_density
from skastro.utils import check_number, check_option, plain_array, prediction_steps

_NEEDED = ("beta", "beta_std", "radius", "radius_width", "n_electrons")
_OPTIONAL = {"background": 0.0, "tilt": 0.0, "ellipticity": 0.0, "out_of_range": False}


@dataclass(frozen=True, eq=False)
class _FittedShells:
    """The shells of one image, with coefficients of densities 1/2 + Σ β_l P_2l."""

    beta: np.ndarray
    beta_std: np.ndarray
    beta_cov: np.ndarray
    radius: np.ndarray
    radius_width: np.ndarray
    n_electrons: np.ndarray
    radius_std: np.ndarray | None
    background: float
    tilt: float
    ellipticity: float
    center: np.ndarray
    out_of_range: bool
    polarization_axis: int
    extent: float

    @classmethod
    def read(
        cls,
        shells: Mapping[str, Any],
        convention: str,
        polarization_axis: int,
        extent: float,
    ) -> Self:
        """Read the shells of one image from the result of ``predict_shells``."""
        lacking = [name for name in _NEEDED if name not in shells]
        if lacking:
            raise ValueError(
                f"shells lacks {', '.join(lacking)}; it must have "
                f"{', '.join(_NEEDED)}, as the result of predict_shells."
            )
        shape = np.shape(shells["radius"])
        several = len(shape) == 2
        if len(shape) not in (1, 2) or (several and shape[0] != 1) or not shape[-1]:
            raise ValueError(
                "shells must be those of one image, with radii of shape (n_shells,) or "
                f"(1, n_shells), but they have the shape {shape}; take a row of each "
                "array."
            )

        def read(name: str, default: Any = None) -> np.ndarray:
            value = np.asarray(shells.get(name, default), dtype=np.float64)
            return value[0] if several and name in shells else value

        n_shells = shape[-1]
        arrays = {name: read(name) for name in _NEEDED}
        for name, value in arrays.items():
            n_axes = 2 if name.startswith("beta") else 1
            if value.ndim != n_axes or len(value) != n_shells:
                raise ValueError(
                    f"{name} must have an entry for each of {n_shells} shells, but has "
                    f"the shape {value.shape}."
                )
            if not np.isfinite(value).all():
                raise ValueError(
                    f"The fit of shells has failed: {name} is {value.tolist()}."
                )
        if not 1 <= arrays["beta"].shape[1] <= N_BETAS:
            raise ValueError(
                f"beta must have 1 to {N_BETAS} coefficients per shell, but has "
                f"{arrays['beta'].shape[1]}."
            )
        factor = FACTORS[convention]
        if "beta_cov" in shells:
            covariance = read("beta_cov")
            shape = (*arrays["beta"].shape, arrays["beta"].shape[1])
            if covariance.shape != shape:
                raise ValueError(
                    f"beta_cov must have the shape {shape}, one matrix for each shell, "
                    f"but has {covariance.shape}."
                )
        else:
            covariance = np.apply_along_axis(np.diag, 1, arrays["beta_std"] ** 2)
        arrays["beta"] = arrays["beta"] / factor
        arrays["beta_std"] = arrays["beta_std"] / factor
        numbers: dict[str, Any] = {
            name: type(default)(read(name, default))
            for name, default in _OPTIONAL.items()
        }
        return cls(
            **arrays,
            **numbers,
            beta_cov=covariance / factor**2,
            radius_std=read("radius_std") if "radius_std" in shells else None,
            center=read("center", np.zeros(2)),
            polarization_axis=polarization_axis,
            extent=extent,
        )

    @cached_property
    def _matrix(self) -> np.ndarray:
        tilt, ellipticity = (
            torch.tensor([value], dtype=torch.float64)
            for value in (self.tilt, self.ellipticity)
        )
        return detector_matrix(tilt, ellipticity)[0].numpy()

    @property
    def _upright_center(self) -> np.ndarray:
        return self.center if self.polarization_axis == 1 else self.center[::-1]

    def expected(self, size: int, total: float) -> np.ndarray:
        """Compute the expected counts (size, size) of an image with this total."""
        basis = ShellBasis(
            size,
            extent=self.extent,
            finest_width=float(self.radius_width.min()),
            dtype=torch.float64,
        )
        beta = np.pad(self.beta, ((0, 0), (0, N_BETAS - self.beta.shape[1])))
        parts = (beta, self.radius, self.radius_width, self.n_electrons)
        distortion = {}
        if self.tilt or self.ellipticity or self.center.any():
            distortion = {
                "tilt": torch.tensor([self.tilt]),
                "ellipticity": torch.tensor([self.ellipticity]),
                "center": torch.as_tensor(self._upright_center.copy())[None],
            }
        image = basis.expected(
            *(torch.as_tensor(part)[None] for part in parts), **distortion
        )[0].numpy()
        image = image if self.polarization_axis == 1 else image.T
        # Interpolated densities may be negative.
        return image.clip(min=0) + self.background * total / size**2

    def outline(self, radius: float, size: int, part: ArrayLike) -> np.ndarray:
        """Compute rows and columns (2, n) of a ring at angles `part` from its axis."""
        part = np.asarray(part)
        upright = radius * np.stack([np.sin(part), np.cos(part)])
        shift = self._upright_center * (2 * self.extent / size)
        places = self._matrix @ upright + shift[:, None]
        return places if self.polarization_axis == 1 else places[::-1]

    def distances(self, size: int) -> np.ndarray:
        """Compute the distances (size, size) of pixels from the center, undistorted."""
        pixel = 2 * self.extent / size
        axis = (np.arange(size) - (size - 1) / 2) * pixel
        shift = self._upright_center * pixel
        places = np.stack(np.meshgrid(axis - shift[0], axis - shift[1], indexing="ij"))
        round_places = np.linalg.inv(self._matrix) @ places.reshape(2, -1)
        distances = np.hypot(*round_places).reshape(size, size)
        return distances if self.polarization_axis == 1 else distances.T

    def density(self, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute angular densities (n_shells, n_angles) and standard deviations."""
        n_betas = self.beta.shape[1]
        polynomials = legendre.legvander(cosine, 2 * n_betas)[:, 2::2]
        variance = ((polynomials @ self.beta_cov) * polynomials).sum(-1)
        return angular_density(self.beta, cosine), np.sqrt(variance.clip(min=0))


# Limit of the residuals of a good fit, in standard deviations.
_RESIDUAL_LIMIT = 4.0
# More shells have a color scale instead of a legend.
_MOST_NAMES = 6
_N_ANGLES = 181
_N_RINGS = 200
_AXES = {"xlabel": "Axis 1", "ylabel": "Axis 0"}
_FORMULAS = {
    "density": r"$\frac{1}{2} + \sum \beta_l P_{2l}(\cos\theta)$",
    "vmi": r"$1 + \sum b_l P_{2l}(\cos\theta)$",
}


def _color_scale(radius: np.ndarray) -> ScalarMappable:
    return ScalarMappable(Normalize(radius.min(), radius.max()), "turbo")


def _shell_colors(radius: np.ndarray) -> list[Any]:
    """Choose colors: distinct ones for few shells, a scale by radius for many."""
    if len(radius) <= _MOST_NAMES:
        return [f"C{shell}" for shell in range(len(radius))]
    return list(_color_scale(radius).to_rgba(radius))


def _draw_image(
    ax: Axes, fitted: _FittedShells, counts: np.ndarray, colors: list[Any]
) -> None:
    """Draw counts, and rings with their widths on one side of the electrons' axis."""
    size, extent = len(counts), fitted.extent
    box = (-extent, extent, extent, -extent)
    drawn = ax.imshow(
        counts,
        cmap="gray_r",
        norm=PowerNorm(0.5, 0, np.percentile(counts, 99.8) or counts.max() or 1.0),
        extent=box,
        interpolation="nearest",
    )
    ax.figure.colorbar(drawn, ax=ax, label="Counts")
    # The other half shows the image without rings.
    turn = np.linspace(0, np.pi, 181)
    for radius, width, color in zip(
        fitted.radius, fitted.radius_width, colors, strict=True
    ):
        rows, columns = fitted.outline(radius, size, turn)
        ax.plot(columns, rows, color=color, linewidth=0.8)
        edges = [fitted.outline(radius + d, size, turn) for d in (width, -width)]
        rows, columns = np.concatenate([edges[0], edges[1][:, ::-1]], axis=1)
        ax.fill(columns, rows, color=color, alpha=0.25, linewidth=0)
    ends = fitted.outline(1.1 * fitted.radius.max(), size, np.array([0, np.pi]))
    ax.plot(ends[1], ends[0], ":", color="0.3", linewidth=1)
    title = f"{counts.sum():.3g} counts"
    if fitted.out_of_range:
        title += ", out of range"
    ax.set(xlim=box[:2], ylim=box[2:], title=title, **_AXES)


def _draw_residual(
    ax: Axes, residual: np.ndarray, rms: float, cell: float, extent: float
) -> None:
    """Draw the residual, in cells of side `cell`, within the limits of the image."""
    end = cell * len(residual) - extent
    limit = max(_RESIDUAL_LIMIT, np.percentile(np.abs(residual), 99.5))
    drawn = ax.imshow(
        residual,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-extent, end, end, -extent),
        interpolation="nearest",
    )
    ax.figure.colorbar(drawn, ax=ax, label="Standard deviations")
    ax.set(
        xlim=(-extent, extent),
        ylim=(extent, -extent),
        title=f"Residual, rms {rms:.2f}",
        **_AXES,
    )


def _draw_densities(
    ax: Axes,
    fitted: _FittedShells,
    colors: list[Any],
    convention: str,
    width: float,
    beta_true: np.ndarray | None,
) -> None:
    """Draw angular densities, with bands of `width` standard deviations."""
    factor = FACTORS[convention]
    angle = np.linspace(0, 90, _N_ANGLES)
    cosine = np.cos(np.deg2rad(angle))
    density, std = (factor * part for part in fitted.density(cosine))
    for shell, color in enumerate(colors):
        label = f"R = {fitted.radius[shell]:.4f}"
        if fitted.radius_std is not None:
            label += f" ± {fitted.radius_std[shell]:.1g}"
        low, high = density[shell] + np.outer([-width, width], std[shell])
        ax.fill_between(
            angle, low.clip(min=0), high, color=color, alpha=0.3, linewidth=0
        )
        ax.plot(angle, density[shell], color=color, linewidth=1.2, label=label)
    if beta_true is not None:
        true = factor * angular_density(np.divide(beta_true, factor), cosine)
        for shell, values in enumerate(true):
            name = None if shell else "true"
            ax.plot(angle, values, "--", color="k", linewidth=0.9, label=name)
    if len(colors) <= _MOST_NAMES:
        ax.legend(fontsize="small")
    else:
        ax.figure.colorbar(_color_scale(fitted.radius), ax=ax, label="Radius")
    ax.set(
        xlabel="Angle from the polarization axis (degrees)",
        ylabel=_FORMULAS[convention],
        xlim=(0, 90),
        xticks=np.arange(0, 91, 15),
        ylim=(0, None),
        title="Angular density",
    )


def _draw_profile(
    ax: Axes,
    fitted: _FittedShells,
    counts: np.ndarray,
    expected: np.ndarray,
    colors: list[Any],
) -> None:
    """Draw mean counts along the radius, of the image and of the fit."""
    size, extent = len(counts), fitted.extent
    n_rings = min(_N_RINGS, size // 2)
    edges = np.linspace(0, extent, n_rings + 1)
    ring = np.digitize(fitted.distances(size).ravel(), edges) - 1
    n_pixels = np.bincount(ring, minlength=n_rings)[:n_rings]
    sums = [
        np.bincount(ring, np.ravel(pixels), minlength=n_rings)[:n_rings]
        for pixels in (counts, expected)
    ]
    means = np.divide(
        sums, n_pixels, out=np.full((2, n_rings), np.nan), where=n_pixels > 0
    )
    ax.stairs(means[0], edges, fill=True, color="0.8", label="counts")
    ax.plot((edges[1:] + edges[:-1]) / 2, means[1], "k", linewidth=1, label="fit")
    for radius, color in zip(fitted.radius, colors, strict=True):
        ax.axvline(radius, color=color, linestyle=":", linewidth=0.8, zorder=0.5)
    ax.legend(fontsize="small")
    ax.set(
        xlabel="Radius",
        ylabel="Counts per pixel",
        xlim=(0, extent),
        # Space for the legend.
        ylim=(0, 1.2 * np.nanmax(means) or 1.0),
        title="Radial profile",
    )


# Electrons per cell of the residual, and minimum number of cells along a side.
_ENOUGH = 10.0
_LEAST_CELLS = 16


class SEVIDisplay:
    """An image of electrons, and the shells fitted to it.

    Four axes: the image, with the fitted rings and their widths in the half on one side
    of the electrons' axis; the residual of the fit, in standard deviations; the
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
        ``radius_width``, ``n_electrons`` of shape (n_shells,) and, if available,
        ``beta_cov`` of shape (n_shells, n_betas, n_betas), ``radius_std``,
        ``background``, ``tilt``, ``ellipticity``, ``center``, ``out_of_range``. A first
        axis of length 1 is allowed.
    beta_true : ndarray of shape (n_shells, n_coefficients), default=None
        True coefficients.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients: β_l of 1/2 + Σ β_l P_2l(cos θ), or b_l of
        1 + Σ b_l P_2l(cos θ). It also applies to the drawn densities.
    polarization_axis : {0, 1}, default=1
        Axis of the image along which the electrons are polarized.
    extent : float, default=1.0
        Half the side of the image, in the unit of the radii.

    Attributes
    ----------
    expected : ndarray of shape (size, size)
        Expected counts of the fit.
    block : int
        Side of the cells of `residual`, in pixels.
    residual : ndarray of shape (n_cells, n_cells)
        Counts minus expected counts, divided by the square root of the latter, in cells
        that are large enough for about ten counts within the largest shell. If less
        than one count is expected, the difference itself.
    residual_std : float
        Root mean square of `residual` in cells with at least five expected counts;
        about 1 if the fit is good.
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
    The bands of the densities follow from ``beta_cov``. If `shells` has none, the
    errors of the coefficients are assumed to be independent, which is an approximation:
    for densities that peak along the axis the bands are then too narrow within about 15
    degrees of it, and too wide elsewhere.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro import SEVIRegressor
    >>> from skastro.sevi import make_sevi
    >>> from skastro.sevi import SEVIDisplay
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
        self._fitted = _FittedShells.read(shells, convention, polarization_axis, extent)
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
            A fitted regressor, or a pipeline that ends in one. The image is drawn as
            the regressor receives it.
        image : array-like of shape (size, size) or (1, size, size)
            One image, as ``estimator.predict`` takes it; with `image_shape` it may be a
            row of pixels.
        beta_true : array-like of shape (n_shells * n_coefficients,), default=None
            True coefficients, in the estimator's `convention`, those of the smallest
            shell first. There may be more than the estimator's `n_betas`.
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
            If the estimator does not fit shells.
        ValueError
            If `image` is not an image, or shells cannot be fitted to it.
        """
        *before, regressor = prediction_steps(estimator)
        if not hasattr(regressor, "predict_shells"):
            raise TypeError(
                "SEVIDisplay takes a SEVIRegressor, or a pipeline that ends in one, "
                f"but got {type(regressor).__name__}. For given shells use "
                "from_predictions."
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
        """Draw given shells.

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
            Axis of the image along which the electrons are polarized.
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
            If an argument does not match the image or the shells.
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
                "image must be square, with the center in its middle, but has the "
                f"shape {image.shape}."
            )
        if not np.isfinite(image).all():
            raise ValueError("image has NaN or infinity; pixels must be counts.")
        n_shells = np.shape(shells["radius"])[-1] if "radius" in shells else 1
        if beta_true is not None:
            beta_true = plain_array(beta_true, "beta_true").astype(np.float64)
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
            If `coverage` is not between 0 and 1, or `ax` does not hold four axes.
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
        colors = _shell_colors(self._fitted.radius)
        fitted, expected = self._fitted, self.expected
        _draw_image(self.axes_[0, 0], fitted, np.asarray(self.image), colors)
        # The last cells may be smaller than drawn.
        side = 2 * self.extent * self.block / len(self.image)
        _draw_residual(
            self.axes_[0, 1], self.residual, self.residual_std, side, self.extent
        )
        _draw_densities(
            self.axes_[1, 0],
            fitted,
            colors,
            self.convention,
            float(ndtri((1 + coverage) / 2)),
            self.beta_true,
        )
        _draw_profile(
            self.axes_[1, 1], fitted, np.asarray(self.image), expected, colors
        )
        return self

    def _choose_block(self) -> int:
        """Choose the side of cells, in pixels, so that they hold enough counts."""
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
    """Reshape an image to an X of one sample."""
    image = plain_array(image, "image")
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
