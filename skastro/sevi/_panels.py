# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a figure of fitted electron shells."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm

from skastro.inspection._sevi_model import FACTORS, FittedShells
from skastro.simulation.sevi import angular_density

# Residuals of a good fit stay within so many standard deviations.
_RESIDUAL_LIMIT = 4.0
# More shells have a colour scale instead of a legend.
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


def shell_colors(radius: np.ndarray) -> list[Any]:
    """Give colours to shells: different ones to a few, a scale by radius to many."""
    if len(radius) <= _MOST_NAMES:
        return [f"C{shell}" for shell in range(len(radius))]
    return list(_color_scale(radius).to_rgba(radius))


def draw_image(
    ax: Axes, fitted: FittedShells, counts: np.ndarray, colors: list[Any]
) -> None:
    """Draw counts, and rings with their widths on one side of the electrons' axis."""
    size, extent = len(counts), fitted.extent
    box = (-extent, extent, extent, -extent)
    picture = ax.imshow(
        counts,
        cmap="gray_r",
        norm=PowerNorm(0.5, 0, np.percentile(counts, 99.8) or counts.max() or 1.0),
        extent=box,
        interpolation="nearest",
    )
    ax.figure.colorbar(picture, ax=ax, label="Counts")
    # The other half shows the image as it is.
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


def draw_residual(
    ax: Axes, residual: np.ndarray, rms: float, cell: float, extent: float
) -> None:
    """Draw what the fit leaves over, in cells of that side, as far as the image."""
    end = cell * len(residual) - extent
    limit = max(_RESIDUAL_LIMIT, np.percentile(np.abs(residual), 99.5))
    picture = ax.imshow(
        residual,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-extent, end, end, -extent),
        interpolation="nearest",
    )
    ax.figure.colorbar(picture, ax=ax, label="Standard deviations")
    ax.set(
        xlim=(-extent, extent),
        ylim=(extent, -extent),
        title=f"Residual, rms {rms:.2f}",
        **_AXES,
    )


def draw_densities(
    ax: Axes,
    fitted: FittedShells,
    colors: list[Any],
    convention: str,
    width: float,
    beta_true: np.ndarray | None,
) -> None:
    """Draw angular densities, with bands of so many standard deviations."""
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
            label = None if shell else "true"
            ax.plot(angle, values, "--", color="k", linewidth=0.9, label=label)
    if len(colors) <= _MOST_NAMES:
        ax.legend(fontsize="small")
    else:
        ax.figure.colorbar(_color_scale(fitted.radius), ax=ax, label="Radius")
    ax.set(
        xlabel="Angle from the polarisation axis (degrees)",
        ylabel=_FORMULAS[convention],
        xlim=(0, 90),
        xticks=np.arange(0, 91, 15),
        ylim=(0, None),
        title="Angular density",
    )


def draw_profile(
    ax: Axes,
    fitted: FittedShells,
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
        # Room for the legend.
        ylim=(0, 1.2 * np.nanmax(means) or 1.0),
        title="Radial profile",
    )
