# SPDX-License-Identifier: BSD-3-Clause
"""What fitted electron shells look like on the detector."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.polynomial import legendre
from numpy.typing import ArrayLike

from skastro.simulation._sevi_frame import detector_matrix
from skastro.simulation.sevi import N_BETAS, ShellBasis, angular_density

# Meaning of the coefficients: 1/2 + Σ β_l P_2l, or 1 + Σ b_l P_2l.
FACTORS = {"density": 1.0, "vmi": 2.0}

_NEEDED = ("beta", "beta_std", "radius", "radius_width", "n_electrons")
_OPTIONAL = {"background": 0.0, "tilt": 0.0, "ellipticity": 0.0, "out_of_range": False}


@dataclass(frozen=True, eq=False)
class FittedShells:
    """The shells of one image.

    Parameters
    ----------
    beta, beta_std : ndarray of shape (n_shells, n_betas)
        Coefficients of densities 1/2 + Σ β_l P_2l, and their standard deviations.
    beta_cov : ndarray of shape (n_shells, n_betas, n_betas)
        Their covariance.
    radius, radius_width, n_electrons : ndarray of shape (n_shells,)
        Mean radii, their standard deviations, numbers of electrons.
    radius_std : ndarray of shape (n_shells,) or None
        How far the mean radii are known.
    background : float
        Even background, as a part of all counts.
    tilt, ellipticity : float
        In degrees; stretch along the polarisation axis minus one.
    center : ndarray of shape (2,)
        Displacement along the image's axes, in pixels.
    out_of_range : bool
        Whether the image is none of such shells.
    polarization_axis : {0, 1}
        Axis of the image.
    extent : float
        Half the side of the image.
    """

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
        """Take the shells of one image from what ``predict_shells`` gives."""
        lacking = [name for name in _NEEDED if name not in shells]
        if lacking:
            raise ValueError(
                f"shells lacks {', '.join(lacking)}; it must have "
                f"{', '.join(_NEEDED)}, as what predict_shells returns."
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
                f"beta must have 1 to {N_BETAS} coefficients a shell, but has "
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
        numbers = {
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
        """Compute the expected counts of an image.

        Parameters
        ----------
        size : int
            Height and width.
        total : float
            All counts, of which the background is a part.

        Returns
        -------
        expected : ndarray of shape (size, size)
            Expected counts.
        """
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
        # Interpolation may fall below a density of zero.
        return image.clip(min=0) + self.background * total / size**2

    def outline(self, radius: float, size: int, part: ArrayLike) -> np.ndarray:
        """Find where on the detector electrons of a radius arrive at the outermost.

        Parameters
        ----------
        radius : float
            The radius.
        size : int
            Height and width of the image.
        part : array-like of shape (n,)
            Angles from the electrons' axis, in radians.

        Returns
        -------
        places : ndarray of shape (2, n)
            Rows and columns, from -extent to extent.
        """
        part = np.asarray(part)
        upright = radius * np.stack([np.sin(part), np.cos(part)])
        shift = self._upright_center * (2 * self.extent / size)
        places = self._matrix @ upright + shift[:, None]
        return places if self.polarization_axis == 1 else places[::-1]

    def distances(self, size: int) -> np.ndarray:
        """Give the distances of an image's pixels from the centre of the shells.

        Parameters
        ----------
        size : int
            Height and width of the image.

        Returns
        -------
        distances : ndarray of shape (size, size)
            In the round image, before the detector distorts it.
        """
        pixel = 2 * self.extent / size
        axis = (np.arange(size) - (size - 1) / 2) * pixel
        shift = self._upright_center * pixel
        places = np.stack(np.meshgrid(axis - shift[0], axis - shift[1], indexing="ij"))
        round_places = np.linalg.inv(self._matrix) @ places.reshape(2, -1)
        distances = np.hypot(*round_places).reshape(size, size)
        return distances if self.polarization_axis == 1 else distances.T

    def density(self, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the angular densities and their standard deviations.

        Parameters
        ----------
        cosine : ndarray of shape (n_angles,)
            Cosines of the angles.

        Returns
        -------
        density, std : ndarray of shape (n_shells, n_angles)
            Of 1/2 + Σ β_l P_2l.
        """
        n_betas = self.beta.shape[1]
        polynomials = legendre.legvander(cosine, 2 * n_betas)[:, 2::2]
        variance = ((polynomials @ self.beta_cov) * polynomials).sum(-1)
        return angular_density(self.beta, cosine), np.sqrt(variance.clip(min=0))
