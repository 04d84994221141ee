# SPDX-License-Identifier: BSD-3-Clause
"""A figure of spectra with their redshifts: templates, lines and p(z)."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skastro.inspection._display import DisplayMixin, samples_for
from skastro.inspection._spectral_lines import (
    LABEL_HEIGHT,
    choose_lines,
    draw_lines,
)
from skastro.utils import plain_array, prediction_steps

_MOST_SAMPLES = 12
# p(z) is drawn down to this part of its peak.
_LEAST_DENSITY = 1e-8


class RedshiftDisplay(DisplayMixin):
    """Spectra with the templates and lines of their redshifts, and p(z) beside them.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    flux : ndarray of shape (n_samples, n_pixels)
        Spectra; NaN where they are not known.
    wavelength : ndarray of shape (n_pixels,)
        Wavelengths in Å.
    model : ndarray of shape (n_samples, n_pixels) or None
        Flux of the best templates.
    solutions : structured ndarray of shape (n_samples, k)
        The most probable redshifts, as from ``predict_solutions``.
    z_grid : ndarray of shape (n_grid,)
        Redshifts of `pdf`.
    pdf : ndarray of shape (n_samples, n_grid)
        Probability densities p(z).
    z_true : ndarray of shape (n_samples,) or None
        Known redshifts.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_samples, 2)
        Spectra, and p(z) to the right.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    skastro.RedshiftRegressor : Measures redshifts.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro import RedshiftRegressor
    >>> from skastro.datasets import make_spectra
    >>> from skastro.inspection import RedshiftDisplay
    >>> spectra = make_spectra(2, random_state=0)
    >>> reg = RedshiftRegressor.from_pretrained(wavelength=spectra.wavelength)
    >>> display = RedshiftDisplay.from_estimator(
    ...     reg, spectra.flux, z_true=spectra.redshift
    ... )
    >>> display.axes_.shape
    (2, 2)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        flux: np.ndarray,
        *,
        wavelength: np.ndarray,
        model: np.ndarray | None,
        solutions: np.ndarray,
        z_grid: np.ndarray,
        pdf: np.ndarray,
        z_true: np.ndarray | None = None,
    ) -> None:
        self.flux = flux
        self.wavelength = wavelength
        self.model = model
        self.solutions = solutions
        self.z_grid = z_grid
        self.pdf = pdf
        self.z_true = z_true

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        z_true: ArrayLike | None = None,
        k: int = 3,
        ax: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Measure redshifts, and draw them.

        Parameters
        ----------
        estimator : RedshiftRegressor or Pipeline
            A fitted :class:`~skastro.RedshiftRegressor`, or a pipeline that ends with
            one.
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            One to twelve spectra.
        z_true : array-like of shape (n_samples,), default=None
            Known redshifts; NaN where there are none.
        k : int, default=3
            Number of solutions that are marked.
        ax : array-like of Axes of shape (n_samples, 2), default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` that change the style of the
            spectra.

        Returns
        -------
        display : RedshiftDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are more than twelve spectra, or `z_true` has another length.
        TypeError
            If the estimator measures no redshifts.
        """
        *transformers, reg = prediction_steps(estimator)
        if not hasattr(reg, "predict_solutions"):
            raise TypeError(
                f"{type(reg).__name__} measures no redshifts; give a fitted "
                "RedshiftRegressor."
            )
        X = samples_for(estimator, X)
        for transformer in transformers:
            X = transformer.transform(X)
        X = plain_array(X)
        cls._check_n_samples(len(X), _MOST_SAMPLES)
        if z_true is not None:
            z_true = plain_array(z_true, "z_true").astype(np.float64)
            cls._check_entries("z_true", z_true, len(X))
        flux = X if X.ndim == 2 else X[:, 0]
        solutions = reg.predict_solutions(X, k=k)
        return cls(
            flux,
            wavelength=reg.wavelength_,
            model=reg.predict_flux(X)
            if reg.refine and hasattr(reg, "templates_")
            else None,
            solutions=solutions,
            z_grid=reg.z_grid_,
            pdf=reg.predict_pdf(X),
            z_true=z_true,
        ).plot(ax=ax, **kwargs)

    def plot(self, *, ax: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Draw spectra, templates, lines and p(z).

        Parameters
        ----------
        ax : array-like of Axes of shape (n_samples, 2), default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` that change the style of the
            spectra.

        Returns
        -------
        display : RedshiftDisplay
            The display itself.
        """
        n_samples = len(self.flux)
        self._make_axes(
            ax,
            (n_samples, 2),
            figsize=(11, 2.6 * n_samples + 0.4),
            width_ratios=(3, 1),
        )
        style = self._merge_style({"color": "0.6", "linewidth": 0.7}, kwargs)
        for sample, (left, right) in enumerate(self.axes_):
            self._draw_spectrum(left, sample, style)
            self._draw_density(right, sample)
        self.axes_[-1, 0].set_xlabel("Wavelength (Å)")
        self.axes_[-1, 1].set_xlabel("Redshift")
        return self

    def _draw_spectrum(self, ax: Any, sample: int, style: dict[str, Any]) -> None:
        flux, best = self.flux[sample], self.solutions[sample, 0]
        ax.plot(self.wavelength, flux, **style)
        if self.model is not None:
            ax.plot(self.wavelength, self.model[sample], color="C3", linewidth=0.9)
        ax.set_xlim(self.wavelength[0], self.wavelength[-1])
        if np.isfinite(flux).any():
            low, high = np.nanpercentile(flux, [0.5, 99.7])
            margin = 0.1 * (high - low) or 1.0
            ax.set_ylim(low - margin, high + margin)
        ax.set_ylabel("Flux")
        marks = choose_lines(None, str(best["class"]))
        draw_lines(ax, marks, float(best["z"]))
        title = f"{best['class']} z = {best['z']:.5f} ± {best['std']:.5f}"
        if self.z_true is not None and np.isfinite(self.z_true[sample]):
            title += f", known: {self.z_true[sample]:.5f}"
        pad = LABEL_HEIGHT if marks else None
        ax.set_title(title.lstrip(), loc="left", fontsize="medium", pad=pad)

    def _draw_density(self, ax: Any, sample: int) -> None:
        pdf, solutions = self.pdf[sample], self.solutions[sample]
        peak = pdf.max()
        ax.semilogy(self.z_grid, np.maximum(pdf, _LEAST_DENSITY * peak), color="C0")
        ax.set_ylim(_LEAST_DENSITY * peak, 10 * peak)
        shown = solutions["probability"] > _LEAST_DENSITY
        for number, solution in enumerate(solutions[shown]):
            ax.axvline(solution["z"], color="C3", linewidth=0.8, alpha=1 / (1 + number))
        if self.z_true is not None:
            ax.axvline(self.z_true[sample], color="0.3", linewidth=0.8, linestyle=":")
        ax.set_ylabel("p(z)")
        ax.set_title(f"P = {solutions['probability'][0]:.3f}", fontsize="medium")
