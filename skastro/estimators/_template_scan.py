# SPDX-License-Identifier: BSD-3-Clause
"""Least-squares fits of templates to spectra, at every redshift of a grid."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len

from skastro.estimators._log_pixels import LN_WAVELENGTH, STEP, running_mean

# What the best template leaves, as a part of the continuum.
_MISMATCH = 0.04
# Glitches: so many standard deviations above and below the running mean.
_SPIKE, _HOLE = 15.0, 8.0
# The least continuum, as a part of the mean flux.
_LEAST_CONTINUUM = 0.05
# Features of templates over their continuum are limited to these.
_LOWEST, _HIGHEST = -1.5, 8.0
# Absorption by gas in front hides templates at shorter wavelengths than this (Å).
_LYMAN_ALPHA, _WORTH_OF_FOREST = 1215.67, 0.1
# The part of a template's value that keeps the fit finite where nothing tells it.
_RIDGE = 1e-6


@dataclass(frozen=True)
class TemplateSet:
    """Components of which the spectra of one class are sums, over their continuum.

    Parameters
    ----------
    components : ndarray of shape (n_components, n_pixels)
        The components at rest, on pixels of the width `STEP` times `binning`.
    ln_first : float
        ln(wavelength / Å) of the first pixel.
    redshift : tuple of float
        Range of the redshifts.
    continuum_pixels : int
        Pixels of the width `STEP` over which the continuum is averaged.
    binning : int
        Pixels that are averaged to one: broad lines need no narrow ones.
    """

    components: np.ndarray
    ln_first: float
    redshift: tuple[float, float]
    continuum_pixels: int
    binning: int

    @classmethod
    def from_spectra(
        cls,
        ln_wavelength: np.ndarray,
        flux: np.ndarray,
        redshift: tuple[float, float],
        *,
        continuum_pixels: int,
        binning: int,
        n_components: int,
    ) -> "TemplateSet":
        """Find the principal components of spectra at rest, on pixels of `STEP`."""
        spectra = torch.from_numpy(np.asarray(flux, dtype=np.float64))
        known = torch.isfinite(spectra)
        spectra, known = torch.where(known, spectra, 0.0), known.double()
        mean = spectra.abs().sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(1)
        features = _over_continuum(spectra / mean, known, continuum_pixels)[0]
        features = (features * known).clamp(_LOWEST, _HIGHEST).numpy()
        # There are fewer spectra than pixels.
        value, mixture = np.linalg.eigh(features @ features.T)
        if not value[-1] > 1e-9:
            raise ValueError(
                "The spectra of templates have no lines over their continuum, so that "
                "nothing tells their redshift; give others."
            )
        found = value[::-1][:n_components] > 1e-9 * value[-1]
        components = mixture.T[::-1][:n_components][found] @ features
        # As large as the constant that is fitted with them.
        components /= np.sqrt(np.mean(components**2, axis=1, keepdims=True))
        length = components.shape[1] // binning * binning
        components = components[:, :length].reshape(len(components), -1, binning)
        ln_first = float(ln_wavelength[:binning].mean())
        return cls(
            components.mean(axis=2), ln_first, redshift, continuum_pixels, binning
        )


def _over_continuum(
    flux: torch.Tensor, weight: torch.Tensor, n_pixels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what spectra of mean 1 have over their continuum, and the continuum."""
    continuum = running_mean(flux, weight, n_pixels).clamp(min=_LEAST_CONTINUUM)
    return flux / continuum - 1, continuum


class TemplateScan:
    """Fits a set of templates to spectra on `LN_WAVELENGTH`, at every redshift.

    With weights w, data d and components T all sums over pixels, such as
    Σ w(p) T_i(p + u) T_j(p + u), are correlations, and are computed for all shifts u at
    once by Fourier transforms. `ln_redshift` are the values of ln(1 + z).
    """

    def __init__(self, templates: TemplateSet) -> None:
        self.templates = templates
        binning = templates.binning
        step = STEP * binning
        self.n_pixels = LN_WAVELENGTH.size // binning
        ln_first = LN_WAVELENGTH[:binning].mean()
        low, high = np.log1p(templates.redshift)
        start = templates.ln_first
        first = int(np.floor((ln_first - high - start) / step))
        last = int(np.ceil((ln_first - low - start) / step))
        before = max(0, -first)
        length = templates.components.shape[1]
        after = max(0, last + self.n_pixels - length)
        padded = np.pad(templates.components, ((0, 0), (before, after)))
        padded = padded[:, first + before : last + before + self.n_pixels]
        worth = np.ones(length)
        rest = templates.ln_first + step * np.arange(length)
        worth[rest < np.log(_LYMAN_ALPHA)] = _WORTH_OF_FOREST
        known = np.pad(worth, (before, after))
        known = known[first + before : last + before + self.n_pixels]
        self.n_shifts = last - first + 1
        self.ln_redshift = (ln_first - start - step * np.arange(first, last + 1))[::-1]
        self.n_components = len(padded)
        self.upper = np.triu_indices(self.n_components)
        products = padded[self.upper[0]] * padded[self.upper[1]]
        bank = known * np.concatenate([padded, np.ones((1, known.size)), products])
        self.n_fourier = next_fast_len(bank.shape[1], real=True)
        self.bank = torch.fft.rfft(torch.from_numpy(bank), self.n_fourier)

    def _correlate(self, x: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
        """Correlate (batch, n_pixels) with templates: (batch, n, n_shifts)."""
        spectrum = torch.fft.rfft(x, self.n_fourier).conj()[:, None]
        product = torch.fft.irfft(spectrum * bank, self.n_fourier)
        # The shifts descend in redshift.
        return product[..., : self.n_shifts].flip(-1)

    def _features(self, spectra: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what spectra have over their continuum, its weight, the continuum."""
        flux, ivar = spectra.double().unbind(1)
        known = (ivar > 0).double()
        n_pixels = self.templates.continuum_pixels
        near = flux - running_mean(flux, known, 25)
        deviation = (ivar + (1 - known)).rsqrt()
        spread = torch.maximum(deviation, running_mean(near.abs(), known, 301))
        good = known * ((near < _SPIKE * spread) & (near > -_HOLE * spread)).double()
        features, continuum = _over_continuum(flux, good, n_pixels)
        variance = (deviation / continuum).square() + _MISMATCH**2
        features = features.clamp(_LOWEST, _HIGHEST)
        binning = self.templates.binning
        weight = good / variance
        shape = len(flux), self.n_pixels, binning
        inside = self.n_pixels * binning
        weighted = (features * weight)[:, :inside].reshape(shape).sum(2)
        weight = weight[:, :inside].reshape(shape).sum(2)
        return weighted / weight.clamp(min=1e-12), weight, continuum

    def __call__(self, spectra: torch.Tensor) -> torch.Tensor:
        """Compute by how much templates lower the logarithm of χ².

        Templates never fit exactly, so that the scale of the residuals is unknown. The
        likelihood of n independent pixels is then χ² to the power of -n/2.

        Parameters
        ----------
        spectra : Tensor of shape (batch, 2, N_PIXELS)
            Flux and inverse variance, as from `LogPixels`.

        Returns
        -------
        gain : Tensor of shape (batch, n_shifts), float64
            ln χ² of the continuum less that of the best sum of components and a
            constant, at each value of `ln_redshift`.
        """
        data, weight, _ = self._features(spectra)
        n = self.n_components
        bank = self.bank.to(spectra.device)
        of_data = self._correlate(weight * data, bank[: n + 1])
        of_weight = self._correlate(weight, bank)
        shape = len(data), self.n_shifts, n + 1, n + 1
        matrix = torch.zeros(shape, dtype=torch.float64, device=data.device)
        row, column = self.upper
        products = of_weight[:, n + 1 :].transpose(1, 2)
        matrix[:, :, row, column] = matrix[:, :, column, row] = products
        sums = of_weight[:, : n + 1].transpose(1, 2)
        matrix[:, :, n] = matrix[:, :, :, n] = sums
        matrix[:, :, n, n].clamp_(min=1e-9)
        vector = of_data.transpose(1, 2)
        diagonal = matrix.diagonal(dim1=2, dim2=3)
        diagonal += _RIDGE * diagonal.amax(dim=-1, keepdim=True)
        factor, _ = torch.linalg.cholesky_ex(matrix)
        solved = torch.linalg.solve_triangular(factor, vector[..., None], upper=False)
        explained = solved.square().sum(dim=(2, 3))
        total = (weight * data.square()).sum(1, keepdim=True).clamp(min=1e-9)
        return -torch.log1p(-(explained / total).clamp(max=1 - 1e-9))

    def model(self, spectra: torch.Tensor, ln_redshift: np.ndarray) -> torch.Tensor:
        """Compute the best sum of templates at given redshifts.

        Parameters
        ----------
        spectra : Tensor of shape (batch, 2, N_PIXELS)
            Flux and inverse variance, as from `LogPixels`.
        ln_redshift : ndarray of shape (batch,)
            Values of ln(1 + z).

        Returns
        -------
        flux : Tensor of shape (batch, N_PIXELS), float64
            The sum times the continuum of the spectrum, on the CPU.
        """
        data, weight, continuum = (part.cpu() for part in self._features(spectra))
        binning, components = self.templates.binning, self.templates.components
        step = STEP * binning
        pixels = LN_WAVELENGTH[: self.n_pixels * binning].reshape(-1, binning).mean(1)
        rest = self.templates.ln_first + step * np.arange(components.shape[1])
        fluxes = []
        for row, shift in enumerate(ln_redshift):
            design = np.array([_at_rest(pixels - shift, rest, c) for c in components])
            design = np.append(design, np.ones((1, self.n_pixels)), axis=0)
            root = weight[row].sqrt().numpy()
            target = data[row].numpy() * root
            factors = np.linalg.lstsq((design * root).T, target, rcond=1e-6)[0]
            features = np.interp(LN_WAVELENGTH, pixels, factors @ design)
            fluxes.append(continuum[row] * torch.from_numpy(1 + features))
        return torch.stack(fluxes)


def _at_rest(wanted: np.ndarray, rest: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.interp(wanted, rest, values, left=0.0, right=0.0)
