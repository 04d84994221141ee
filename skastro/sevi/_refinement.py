# SPDX-License-Identifier: BSD-3-Clause
"""Shells of electron images, fitted to the counts."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from sklearn.utils import Bunch, _safe_indexing
from skorch import NeuralNet
from skorch.utils import is_dataset
from tqdm import tqdm

from skastro.base._door import check_X_y
from skastro.estimators._distorted_fit import DistortedShellFit
from skastro.estimators._sevi_input import MOST_BETAS
from skastro.estimators._shell_fit import ShellFit
from skastro.estimators._shell_posterior import ShellPosterior
from skastro.estimators._shell_prior import ShellPrior
from skastro.estimators._truncated import normal_quantile

_AT_ONCE = 64


class ShellRefinement(NeuralNet):
    """What a fit of shells to the counts adds to a network's answers."""

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.
        return_std : bool, default=False
            Whether to give standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples, n_shells * n_betas)
            The coefficients, those of the smallest shell first. With `refine` the means
            of the posterior, but for images whose fit fails, for which the network
            answers, as for data sets and during a training.
        y_std : ndarray of the same shape
            Standard deviations, of the posterior, or else the network's root mean
            square error on the validation samples. Only with `return_std`.
        """
        self.check_is_fitted()
        if self._is_training() or not self._refines(X):
            y = super().predict(X)
            if not return_std:
                return y
            std = self.residual_std_.reshape(self.target_shape_)
            return y, np.broadcast_to(std, y.shape).astype(y.dtype)
        shells = self._fit_shells(X)
        shape = (len(shells.beta), *self.target_shape_)
        y, std = (
            (part.cpu().numpy() * self._factor).reshape(shape)
            for part in (shells.beta, shells.beta_std)
        )
        lost = _lost(shells)
        if len(lost):
            y[lost] = super().predict(_safe_indexing(X, lost))
            std[lost] = self.residual_std_.reshape(self.target_shape_)
        y, std = (part.astype(self._predicted_dtype) for part in (y, std))
        return (y, std) if return_std else y

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that hold the coefficients with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.
        coverage : float, default=0.9
            The probability.

        Returns
        -------
        interval : ndarray of shape (n_samples, n_shells * n_betas, 2)
            Ends between which a coefficient lies, with as much probability below as
            above. Where the network answers, those of a normal distribution with its
            root mean square error.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1.
        """
        self.check_is_fitted()
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1; got {coverage!r}.")
        tail = (1 - coverage) / 2
        if not self._refines(X):
            return self._network_interval(X, tail)
        shells = self._fit_shells(X)
        mean, sd = shells.free_mean, shells.free_sd
        low, high = (
            part.to(mean).expand_as(mean)
            for part in (self.prior_.lower, self.prior_.upper)
        )
        ends = [
            normal_quantile(part, mean, sd, low, high).flatten(1)
            for part in (tail, 1 - tail)
        ]
        interval = torch.stack(ends, dim=-1).cpu().numpy() * self._factor
        lost = _lost(shells)
        if len(lost):
            interval[lost] = self._network_interval(_safe_indexing(X, lost), tail)
        return interval

    def _network_interval(self, X: Any, tail: float) -> np.ndarray:
        y = super().predict(X)
        y = np.asarray(y, np.float64).reshape(len(y), -1, 1)
        return y + self.residual_std_.reshape(-1, 1) * norm.ppf([tail, 1 - tail])

    def predict_shells(self, X: Any) -> Bunch:
        """Fit shells to images, and give all that is known of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.

        Returns
        -------
        shells : :class:`~sklearn.utils.Bunch`
            Dictionary-like object with the following attributes; standard deviations
            end with ``_std``.

            beta, beta_std : ndarray of shape (n_samples, n_shells, n_betas)
                Coefficients in the estimator's `convention`.
            beta_cov : ndarray of shape (n_samples, n_shells, n_betas, n_betas)
                Covariance of the coefficients of a shell.
            radius, radius_std : ndarray of shape (n_samples, n_shells)
                Mean radii, in the unit of `extent`.
            radius_width, radius_width_std : ndarray of shape (n_samples, n_shells)
                Standard deviations of the radii.
            n_electrons, n_electrons_std : ndarray of shape (n_samples, n_shells)
                Expected numbers of electrons, those that miss the image included.
            tilt, ellipticity : ndarray of shape (n_samples,)
                Angle from `polarization_axis` to the axis of the electrons, towards the
                other axis, in degrees; stretch along `polarization_axis` over that
                along the other axis, minus one. Zero without `distortion`.
            center : ndarray of shape (n_samples, 2)
                Displacement of the centre from the middle of the image along both axes,
                in pixels. Zero without `distortion`.
            background : ndarray of shape (n_samples,)
                Even background, as a part of all counts.
            misfit : ndarray of shape (n_samples,)
                By how many standard deviations χ² of the counts in rings and sectors is
                larger than expected.
            out_of_range : ndarray of bool of shape (n_samples,)
                Whether the image is none of shells within the ranges: the misfit is
                above 6, the counts scatter less than those of electrons, the halves of
                the image differ otherwise than the fit expects, even noise would
                explain it as well, or the fit does not converge.

        Raises
        ------
        ValueError
            If shells cannot be fitted to X.
        """
        shells = self._fit_shells(X)
        arrays = {
            name: getattr(shells, name).cpu().numpy()
            for name in (
                "beta",
                "beta_std",
                "beta_cov",
                "radius",
                "radius_std",
                "radius_width",
                "radius_width_std",
                "n_electrons",
                "n_electrons_std",
                "background",
                "misfit",
            )
        }
        for name in ("beta", "beta_std"):
            arrays[name] = arrays[name] * self._factor
        arrays["beta_cov"] = arrays["beta_cov"] * self._factor**2
        distortion = shells.distortion.cpu().numpy()
        arrays["tilt"], arrays["ellipticity"] = distortion[:, 0], distortion[:, 1]
        center = distortion[:, 2:]
        arrays["center"] = center if self.polarization_axis == 1 else center[:, ::-1]
        return Bunch(**arrays, out_of_range=shells.unlike.cpu().numpy())

    def _refines(self, X: Any) -> bool:
        is_array = not (is_dataset(X) or isinstance(X, dict))
        return self.refine and is_array and self._can_fit_shells()

    def _can_fit_shells(self) -> bool:
        return self._are_images() and self.n_betas <= MOST_BETAS and self._n_shells >= 1

    def _fit_shells(self, X: Any) -> ShellPosterior:
        self.check_is_fitted()
        if not self._can_fit_shells():
            raise ValueError(
                f"{type(self).__name__} fits shells to images (n_samples, size, size), "
                f"or to rows of pixels with image_shape, with at most {MOST_BETAS} "
                f"coefficients a shell; but it was fitted on samples of shape "
                f"{self.sample_shape_} with n_betas={self.n_betas}."
            )
        X, _ = check_X_y(self, X, reset=False)
        self._check_counts(X)
        size = self._image_shape_of(tuple(X.shape[1:]))[0]
        device = self._torch_device
        # Apple's devices have no float64.
        device = torch.device("cpu") if device.type == "mps" else device
        kind = DistortedShellFit if self.distortion else ShellFit
        fit = _fit_for(
            kind, size, self._n_shells, self.prior_, float(self.extent), device
        )
        parts = []
        with tqdm(total=len(X), disable=not self.verbose, unit="image") as progress:
            for first in range(0, len(X), _AT_ONCE):
                # A copy, since torch warns of arrays that are read-only.
                part = torch.tensor(np.asarray(X[first : first + _AT_ONCE]))
                with torch.no_grad():
                    parts.append(fit(self._upright(part.to(device))))
                progress.update(len(part))
        return ShellPosterior.join(parts)


def _lost(shells: ShellPosterior) -> np.ndarray:
    """Tell which images the fit cannot answer."""
    good = shells.converged & shells.beta.isfinite().all(2).all(1)
    return (~good).nonzero()[:, 0].cpu().numpy()


@lru_cache(maxsize=4)
def _fit_for(
    kind: type[ShellFit],
    size: int,
    n_shells: int,
    prior: ShellPrior,
    extent: float,
    device: torch.device,
) -> ShellFit:
    """Keep what fits of one kind share."""
    with torch.inference_mode(False):
        return kind(size, n_shells, prior, extent=extent, device=device)
