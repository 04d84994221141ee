# SPDX-License-Identifier: BSD-3-Clause
"""Anisotropies by PyAbel's rBasex, with the radii of the shells told to it.

rBasex gives the radial distributions I_2l(r) of the Legendre terms of the
three-dimensional density. The coefficients of a shell are half the ratios of
∫ I_2l r² dr to that of l = 0, over the radii of the shell. PyAbel does not determine
these radii; the true means and widths of the shells are used here.
"""

import itertools
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgWarning
from tqdm import tqdm

from benchmarks.sevi_cases import Batch
from benchmarks.sevi_scores import legendre_loss
from skastro.sevi import N_BETAS


@dataclass(frozen=True)
class Settings:
    """How rBasex is used.

    Parameters
    ----------
    order : int
        Highest angular order. Coefficients beyond it are taken as zero.
    reg : tuple of (str, float), default=None
        Regularization.
    reach : float, default=3
        Standard deviations from the mean radius, to which a pixel is added, that are
        taken as the shell's; between close shells no further than to the middle.
    shape : bool, default=False
        Fit normal distributions of the shells' means and widths to I_2l r², within
        these radii, rather than to sum it.
    subtract : bool, default=False
        Whether to subtract from the image the mean of its corners.
    size : int, default=255
        Pixels of the image, along each axis.
    """

    order: int
    reg: tuple[str, float] | None = None
    reach: float = 3.0
    shape: bool = False
    subtract: bool = False
    size: int = 255

    def __str__(self) -> str:
        """Tell them in a line."""
        reg = "unregularized" if self.reg is None else "{} {:g}".format(*self.reg)
        how = "shapes" if self.shape else "sums"
        text = f"{self.size}, order {self.order}, {reg}, {how} to {self.reach:g} sigma"
        return text + (", corners subtracted" if self.subtract else "")


def radial_terms(image: np.ndarray, settings: Settings) -> np.ndarray:
    """Give I_2l(r) at whole pixels (n_orders, n_radii), polarized along axis 1."""
    from abel.rbasex import rbasex_transform

    image = np.ascontiguousarray(image.T, dtype=float)
    if settings.subtract:
        image = image - image[corners(len(image))].mean()
    with warnings.catch_warnings():
        # At a radius of few pixels there are fewer of them than angular terms.
        warnings.simplefilter("ignore", LinAlgWarning)
        _, distributions = rbasex_transform(
            image, order=settings.order, reg=settings.reg, out=None
        )
    return distributions.harmonics()


def corners(size: int) -> np.ndarray:
    """Mark the pixels (size, size) further from the center than the sides are."""
    axis = np.arange(size) - (size - 1) / 2
    return np.hypot(axis[:, None], axis) > size / 2


def coefficients(
    terms: np.ndarray,
    radius: np.ndarray,
    radius_width: np.ndarray,
    settings: Settings,
) -> np.ndarray:
    """Give the coefficients of shells.

    Parameters
    ----------
    terms : ndarray of shape (n_orders, n_radii)
        I_2l at whole pixels.
    radius, radius_width : ndarray of shape (n_shells,)
        In pixels.
    settings : Settings
        How.

    Returns
    -------
    beta : ndarray of shape (n_shells, 12)
        With zeros where the order does not reach.
    """
    r = np.arange(terms.shape[1], dtype=float)
    profiles = terms * r**2
    middles = (radius[1:] + radius[:-1]) / 2
    reach = settings.reach * radius_width + 1
    if settings.shape:
        # The triangular basis functions of rBasex broaden the shells.
        width = np.sqrt(radius_width**2 + 1 / 6)
        parts = np.exp(-(((r - radius[:, None]) / width[:, None]) ** 2) / 2)
        near = (np.abs(r - radius[:, None]) <= reach[:, None]).any(0)
        sums = np.linalg.lstsq(parts[:, near].T, profiles[:, near].T, rcond=None)[0]
    else:
        low = np.concatenate([[-np.inf], middles])
        high = np.concatenate([middles, [np.inf]])
        low, high = np.maximum(low, radius - reach), np.minimum(high, radius + reach)
        # Radii at the edge count by the part of their pixel that is inside.
        part = np.minimum(high[:, None], r + 0.5) - np.maximum(low[:, None], r - 0.5)
        sums = part.clip(min=0) @ profiles.T
    beta = np.zeros((len(radius), N_BETAS))
    found = sums[:, 1 : N_BETAS + 1] / sums[:, :1] / 2
    beta[:, : found.shape[1]] = found
    return beta


def shells_in_pixels(batch: Batch, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the true radii and widths (n, n_shells), in pixels of centered images."""
    scale = (size + 1) / 2
    return tuple(
        batch.scenes[name].numpy() * scale for name in ("radius", "radius_width")
    )


def measure(batch: Batch, settings: Settings) -> np.ndarray:
    """Measure the coefficients (n, n_shells, 12) of all images."""
    shells = zip(*shells_in_pixels(batch, settings.size), strict=True)
    return np.stack(
        [
            coefficients(radial_terms(image, settings), *shell, settings)
            for image, shell in zip(batch.centered[settings.size], shells, strict=True)
        ]
    )


SIZES = (255, 511)
# Of order 24 its coefficients are wrong by a tenth even in images without noise.
ORDERS = (8, 12, 16, 20)
REGULARIZATIONS = (
    None,
    *itertools.product(("L2", "diff"), (1.0, 10.0, 100.0)),
    ("SVD", 0.1),
)
REACHES = (1.5, 2.0, 3.0, 4.0)


def tuned(batch: Batch, progress: bool = False) -> Settings:
    """Choose the settings with the least mean loss on images.

    Parameters
    ----------
    batch : Batch
        Images, whose coefficients are known; not those of a test.
    progress : bool, default=False
        Whether to show a bar.

    Returns
    -------
    settings : Settings
        The best of all that were tried.
    """
    subtracts = (False, True) if batch.case.background else (False,)
    # All that the transform depends on changes slowest: PyAbel keeps one matrix.
    grid = list(itertools.product(SIZES, ORDERS, REGULARIZATIONS, subtracts))
    beta, losses = batch.scenes["beta"].numpy(), {}
    for size, order, reg, subtract in tqdm(
        grid, "tune", disable=not progress, leave=False
    ):
        plain = Settings(order, reg, subtract=subtract, size=size)
        terms = [radial_terms(image, plain) for image in batch.centered[size]]
        shells = list(zip(*shells_in_pixels(batch, size), strict=True))
        for reach, shape in itertools.product(REACHES, (False, True)):
            settings = replace(plain, reach=reach, shape=shape)
            found = [
                coefficients(part, *shell, settings)
                for part, shell in zip(terms, shells, strict=True)
            ]
            losses[settings] = legendre_loss(np.stack(found), beta).mean()
    return min(losses, key=losses.get)
