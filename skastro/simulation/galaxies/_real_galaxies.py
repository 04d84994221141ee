# SPDX-License-Identifier: BSD-3-Clause
"""Galaxies that the Hubble Space Telescope has seen, from GalSim's catalogues."""

import os
from functools import lru_cache
from typing import Any

import numpy as np

from skastro.simulation.galaxies._galsim import import_galsim


class RealGalaxyPopulation:
    """Galaxies of a catalogue in the format of GalSim's ``RealGalaxyCatalog``.

    GalSim takes the telescope's own point spread function out of each image. The noise
    of the image stays in it.

    Parameters
    ----------
    path : str or path-like
        The catalogue, a FITS file that stands beside those of its images.
    magnitude : tuple of float
        Range of the magnitudes, as they stand in the catalogue, of the galaxies that
        are used.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the catalogue has no galaxy in that range, or it is no such catalogue.

    Examples
    --------
    >>> from skastro.simulation import RealGalaxyPopulation
    >>> RealGalaxyPopulation("missing.fits", magnitude=(18, 22))
    Traceback (most recent call last):
    FileNotFoundError: missing.fits: there is no such catalogue of real galaxies.
    """

    def __init__(self, path: str | os.PathLike, magnitude: tuple[float, float]) -> None:
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{os.fspath(path)}: there is no such catalogue of real galaxies."
            )
        # Processes need not work in the same folder.
        self.path = os.path.abspath(path)
        try:
            found = np.asarray(_catalogue(self.path).mag, dtype=np.float64)
        except (OSError, KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{self.path}: not a catalogue as GalSim's RealGalaxyCatalog reads it: "
                f"{error}"
            ) from error
        low, high = magnitude
        (self.rows,) = np.nonzero((found >= low) & (found <= high))
        if not self.rows.size:
            raise ValueError(
                f"{self.path}: none of the {found.size} galaxies has a magnitude from "
                f"{low:g} to {high:g}; they have {found.min():g} to {found.max():g}."
            )
        self.magnitudes = found[self.rows]

    def draw(self, n_galaxies: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw galaxies of the catalogue, each as often as chance will have it.

        Parameters
        ----------
        n_galaxies : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        galaxies : dict of str to ndarray of shape (n_galaxies,)
            ``magnitude``, ``catalog_index`` (row of the catalogue), ``rotation``
            (degrees) and ``flux``, in units of that of an AB magnitude of 0.
        """
        chosen = rng.integers(self.rows.size, size=n_galaxies)
        magnitude = self.magnitudes[chosen]
        return {
            "magnitude": magnitude,
            "catalog_index": self.rows[chosen],
            "rotation": rng.uniform(0, 360, n_galaxies),
            "flux": 10 ** (-0.4 * magnitude),
        }

    def components(self, galaxy: dict[str, Any], options: Any) -> list[tuple]:
        """Give the light of one galaxy.

        Parameters
        ----------
        galaxy : dict of str to value
            A row of what ``draw`` gives.
        options : galsim.GSParams
            Accuracy of GalSim.

        Returns
        -------
        components : list of (galsim.GSObject, ndarray of shape (1,))
            One profile of flux 1, and its flux.
        """
        galsim = import_galsim()
        light = galsim.RealGalaxy(
            _catalogue(self.path),
            index=int(galaxy["catalog_index"]),
            flux=1.0,
            rng=galsim.BaseDeviate(1),
            gsparams=options,
        )
        turned = light.rotate(galaxy["rotation"] * galsim.degrees)
        return [(turned, np.atleast_1d(galaxy["flux"]))]


@lru_cache(maxsize=4)
def _catalogue(path: str) -> Any:
    """Open a catalogue once in each process: it keeps its images in memory."""
    folder, name = os.path.split(path)
    return import_galsim().RealGalaxyCatalog(name, dir=folder)
