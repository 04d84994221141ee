# SPDX-License-Identifier: BSD-3-Clause
"""Objects whose spectra are the user's own templates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid, draw_redshifts
from skastro.utils import in_unit, plain_array, rebin

# Radial velocities of stars: scatter and limit (km/s).
_VELOCITY_SCATTER = 80.0
_STAR_RANGE = (-300.0 / LIGHT_SPEED, 300.0 / LIGHT_SPEED)

Templates = dict[str, tuple[np.ndarray, np.ndarray]]


class TemplateModel:
    """Draws templates (n_templates, n_pixels) at random, and moves and blurs them.

    `wavelength` are the pixels at rest, `span` the first and last pixel observed, both
    in Å. Templates may have NaN at their ends.
    """

    def __init__(
        self,
        grid: LogGrid,
        wavelength: np.ndarray,
        flux: np.ndarray,
        span: tuple[float, float],
    ) -> None:
        self.grid = grid
        self.span = span
        self.templates = []
        fine = np.median(np.diff(np.log(wavelength))) < grid.step
        for row in flux:
            known = np.isfinite(row)
            pair = wavelength[known], row[known] / row[known].mean()
            if fine:
                # Interpolation on the wider steps of the grid would lose lines.
                pixels = LogGrid(pair[0][0], pair[0][-1], grid.step).wavelength
                pixels = pixels[pixels < pair[0][-1]]
                pair = pixels, rebin(pair[1], pair[0], pixels)
            self.templates.append(pair)
        self.limits = covered_redshifts(wavelength, flux, span)

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        redshift_range: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw objects; the result is that of :meth:`StarModel.simulate`.

        Without a range they have the radial velocities of stars.
        """
        low, high = _within(self.limits, redshift_range or _STAR_RANGE)
        kind = rng.choice(np.flatnonzero(low <= high), n)
        if redshift_range is None:
            velocity = rng.normal(0.0, _VELOCITY_SCATTER, n)
            redshift = np.clip(velocity / LIGHT_SPEED, low[kind], high[kind])
        else:
            redshift = draw_redshifts(n, (low[kind], high[kind]), rng)
        flux = np.empty((n, self.grid.size), dtype=np.float32)
        for row, (index, z) in enumerate(zip(kind, redshift, strict=True)):
            flux[row] = np.interp(
                self.grid.wavelength / (1 + z), *self.templates[index]
            )
        return {
            "flux": self.grid.blur(flux, self.grid.sigma()),
            "subclass": kind.astype(str),
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(0.05, n), 0.5),
        }


def covered_redshifts(
    wavelength: np.ndarray, flux: np.ndarray, span: tuple[float, float]
) -> np.ndarray:
    """Lowest and highest redshift (2, n_templates) at which templates cover a span."""
    known = np.isfinite(flux)
    first = wavelength[known.argmax(axis=1)]
    last = wavelength[known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)]
    return np.array([span[1] / last, span[0] / first]) - 1


def _within(
    limits: np.ndarray, interval: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    return limits[0].clip(min=interval[0]), limits[1].clip(max=interval[1])


def check_templates(templates: Any) -> Templates:
    """Return wavelengths and spectra (n_templates, n_pixels) by class, or refuse."""
    if templates is None:
        return {}
    if not isinstance(templates, Mapping):
        raise TypeError(
            "templates must be a dictionary such as {'GALAXY': (wavelength, flux)}; "
            f"got {templates!r}."
        )
    return {name: _check_pair(name, pair) for name, pair in templates.items()}


def _check_pair(name: Any, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(name, str) or not name:
        raise TypeError(f"Classes of templates must be text; got {name!r}.")
    try:
        wavelength, flux = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"templates of {name} must be a pair (wavelength, flux); got {pair!r}."
        ) from None
    wavelength = in_unit(wavelength, "Angstrom", "wavelength of templates")
    flux = np.atleast_2d(plain_array(flux, "flux of templates")).astype(float)
    if wavelength.ndim != 1 or flux.ndim != 2 or flux.shape[1:] != wavelength.shape:
        raise ValueError(
            f"templates of {name} must have wavelengths (n_pixels,) and flux "
            f"(n_templates, n_pixels); got shapes {wavelength.shape} and {flux.shape}."
        )
    if not (
        wavelength.size > 1
        and (wavelength > 0).all()
        and (np.diff(wavelength) > 0).all()
        and np.isfinite(wavelength[-1])
    ):
        raise ValueError(
            f"Wavelengths of templates of {name} must be two or more, positive and "
            "strictly ascending; sort them."
        )
    known = np.isfinite(flux)
    # One run of known pixels begins and ends once.
    ends = np.abs(np.diff(known.astype(int), axis=1, prepend=0, append=0)).sum(axis=1)
    bad = (ends != 2) | (known.sum(axis=1) < 2) | (np.nansum(flux, axis=1) <= 0)
    if bad.any():
        raise ValueError(
            f"templates of {name} must have a positive sum, and may be NaN at their "
            f"ends only; template {bad.argmax()} is not like that."
        )
    return wavelength, flux


def check_coverage(
    templates: Templates,
    redshift: Mapping[str, tuple[float, float]],
    grid: np.ndarray,
) -> None:
    """Refuse classes whose redshifts are unknown or leave no template over a grid."""
    for name, (wavelength, flux) in templates.items():
        if name not in redshift and name != "STAR":
            raise ValueError(
                f"redshift must have a range for {name}, which has own templates, such "
                f"as redshift={{{name!r}: (0, 1)}}."
            )
        interval = redshift.get(name, _STAR_RANGE)
        low, high = covered_redshifts(wavelength, flux, (grid[0], grid[-1]))
        covers = np.maximum(low, interval[0]) <= np.minimum(high, interval[1])
        if not covers.any():
            raise ValueError(
                f"No template of {name} covers the pixels from {grid[0]:g} to "
                f"{grid[-1]:g} Å at a redshift from {interval[0]:.3g} to "
                f"{interval[1]:.3g}. They reach from {wavelength[0]:g} to "
                f"{wavelength[-1]:g} Å at rest: choose a narrower wavelength, other "
                "redshifts or longer templates."
            )
