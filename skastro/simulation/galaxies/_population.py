# SPDX-License-Identifier: BSD-3-Clause
"""Galaxies as there are: their sizes, shapes, profiles and colours."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skastro.simulation.galaxies._galaxy_colours import COLOUR_BANDS, flux_ratios
from skastro.simulation.galaxies._galsim import import_galsim
from skastro.simulation.galaxies._sersic import (
    BULGE_INDEX,
    DISC_INDEX,
    bulge_and_disc_radii,
)

SERSIC, BULGE_DISC = "sersic", "bulge+disc"
# Which part of the galaxies has a bulge and a disc.
_TWO_PARTS = {SERSIC: 0.0, BULGE_DISC: 1.0, "both": 0.5}

# GalSim prepares a profile for each index, which takes up to half a second and is kept
# for a hundred of them.
_INDEX_STEP = 0.1

# Half-light radius of bulges over that of their discs, and redshifts, which act on
# colours.
_RADIUS_RATIOS = (0.1, 0.6)
_REDSHIFTS = (0.0, 0.3)


@dataclass(frozen=True)
class GalaxyPopulation:
    """Galaxies with the profile of Sérsic, or with a bulge and a disc.

    All pairs are ranges, from which values are drawn evenly, radii evenly in the
    logarithm. They are taken as they are; :func:`skastro.datasets.make_galaxies` checks
    them and describes the galaxies.

    Parameters
    ----------
    profile : {"sersic", "bulge+disc", "both"}
        Which galaxies there are.
    bands : tuple of str
        Of "u", "g", "r", "i", "z" and "y".
    magnitude : tuple of float
        AB magnitude in the first band.
    half_light_radius : tuple of float
        In arcsec.
    sersic_index : tuple of float
        Rounded to 0.1 when drawn, but never out of the range.
    ellipticity : tuple of float
        1 - b/a.
    bulge_fraction : tuple of float
        Part of the light in the first band.

    Attributes
    ----------
    PROFILES, BANDS : tuple of str
        Which names there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import GalaxyPopulation
    >>> galaxies = GalaxyPopulation(
    ...     profile="sersic",
    ...     bands=("r",),
    ...     magnitude=(18, 22),
    ...     half_light_radius=(0.5, 2),
    ...     sersic_index=(1, 4),
    ...     ellipticity=(0, 0.7),
    ...     bulge_fraction=(0, 1),
    ... )
    >>> galaxies.draw(3, np.random.default_rng(0))["sersic_index"]
    array([2.9, 1.8, 1.1])
    """

    PROFILES: ClassVar = tuple(_TWO_PARTS)
    BANDS: ClassVar = COLOUR_BANDS

    profile: str
    bands: tuple[str, ...]
    magnitude: tuple[float, float]
    half_light_radius: tuple[float, float]
    sersic_index: tuple[float, float]
    ellipticity: tuple[float, float]
    bulge_fraction: tuple[float, float]

    def draw(self, n_galaxies: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw galaxies.

        Parameters
        ----------
        n_galaxies : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        galaxies : dict of str to ndarray of shape (n_galaxies,)
            Their parameters by name; ``flux_old`` and ``flux_young`` are of shape
            (n_galaxies, n_bands), in units of that of an AB magnitude of 0.
        """
        # All is drawn for all galaxies, so that one range does not change the others.
        uniform = rng.uniform(size=(11, n_galaxies))
        index = np.round(_between(self.sersic_index, uniform[0]) / _INDEX_STEP)
        index = np.clip(np.round(index * _INDEX_STEP, 10), *self.sersic_index)
        magnitude = _between(self.magnitude, uniform[1])
        radius = np.exp(_between(np.log(self.half_light_radius), uniform[2]))
        ellipticity = _between(self.ellipticity, uniform[3])
        angle = 180 * uniform[4]
        bulge_fraction = _between(self.bulge_fraction, uniform[5])
        radius_ratio = _between(_RADIUS_RATIOS, uniform[6])
        two_parts = uniform[7] < _TWO_PARTS[self.profile]
        redshift = _between(_REDSHIFTS, uniform[8])
        old_fraction = np.where(two_parts, bulge_fraction, uniform[9])

        flux = 10 ** (-0.4 * magnitude)[:, None]
        old, young = flux_ratios(self.bands, redshift, uniform[10])
        old = flux * old_fraction[:, None] * old
        young = flux * (1 - old_fraction)[:, None] * young
        colours = {}
        if len(self.bands) > 1:
            total = -2.5 * np.log10(old + young)
            colours = {
                f"magnitude_{band}": total[:, i] for i, band in enumerate(self.bands)
            }
            colours["redshift"] = redshift
        # (a - b)/(a + b), as in weak lensing.
        shear = ellipticity / (2 - ellipticity)
        return {
            "profile": np.where(two_parts, BULGE_DISC, SERSIC),
            "magnitude": magnitude,
            "half_light_radius": radius,
            "sersic_index": np.where(two_parts, np.nan, index),
            "bulge_fraction": np.where(two_parts, bulge_fraction, np.nan),
            "bulge_radius_ratio": np.where(two_parts, radius_ratio, np.nan),
            "ellipticity": ellipticity,
            "position_angle": angle,
            "g1": shear * np.cos(np.radians(2 * angle)),
            "g2": shear * np.sin(np.radians(2 * angle)),
            **colours,
            "flux_old": old,
            "flux_young": young,
        }

    def most_extended(self, options: Any) -> list:
        """Give the parts of galaxies that reach farthest.

        Parameters
        ----------
        options : galsim.GSParams
            Accuracy of GalSim.

        Returns
        -------
        lights : list of galsim.GSObject
            Light profiles of flux 1, no less extended than any that can be drawn.
        """
        galsim = import_galsim()
        radius, parts = self.half_light_radius[1], []
        if _TWO_PARTS[self.profile] < 1:
            parts.append((self.sersic_index[1], radius))
        if _TWO_PARTS[self.profile] > 0:
            # The disc is the larger, the more light there is in how small a bulge.
            _, disc = bulge_and_disc_radii(
                radius, self.bulge_fraction[1], _RADIUS_RATIOS[0]
            )
            parts += [(BULGE_INDEX, radius), (DISC_INDEX, float(disc))]
        shear = galsim.Shear(q=1 - self.ellipticity[1], beta=0 * galsim.degrees)
        return [
            galsim.Sersic(index, half_light_radius=size, gsparams=options).shear(shear)
            for index, size in parts
        ]

    def components(self, galaxy: dict[str, Any], options: Any) -> list[tuple]:
        """Give the parts of one galaxy, each with one profile of light.

        Parameters
        ----------
        galaxy : dict of str to value
            A row of what ``draw`` gives.
        options : galsim.GSParams
            Accuracy of GalSim.

        Returns
        -------
        components : list of (galsim.GSObject, ndarray of shape (n_bands,))
            Light profiles of flux 1 with their fluxes.
        """
        galsim = import_galsim()
        old, young = galaxy["flux_old"], galaxy["flux_young"]
        radius = galaxy["half_light_radius"]
        if galaxy["profile"] == SERSIC:
            parts = [(galaxy["sersic_index"], radius, old + young)]
        else:
            bulge, disc = bulge_and_disc_radii(
                radius, galaxy["bulge_fraction"], galaxy["bulge_radius_ratio"]
            )
            parts = [(BULGE_INDEX, bulge, old), (DISC_INDEX, disc, young)]
        # GalSim's shear keeps the area, and so sqrt(ab).
        shear = galsim.Shear(g1=galaxy["g1"], g2=galaxy["g2"])
        return [
            (
                galsim.Sersic(
                    float(index), half_light_radius=float(size), gsparams=options
                ).shear(shear),
                flux,
            )
            for index, size, flux in parts
            if flux.any()
        ]


def _between(limits: tuple[float, float], uniform: np.ndarray) -> np.ndarray:
    low, high = limits
    return low + (high - low) * uniform
