# SPDX-License-Identifier: BSD-3-Clause
"""Populations of galaxies, simulated or real: sizes, shapes, profiles and colors."""

import os
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammainc, gammaincinv

from skastro.utils import in_unit, plain_array

# Filters whose curves GalSim provides.
COLOR_BANDS = ("u", "g", "r", "i", "z", "y")

# Old, middle-aged and young stars: an elliptical, an Sbc and an irregular galaxy.
_TEMPLATES = ("CWW_E_ext.sed", "CWW_Sbc_ext.sed", "CWW_Im_ext.sed")
_COLOR_REDSHIFTS = np.linspace(0.0, 0.5, 26)

# Bisection steps: more than double precision resolves.
_HALVINGS = 60

BULGE_INDEX = 4.0
DISK_INDEX = 1.0

SERSIC, BULGE_DISK = "sersic", "bulge+disk"
# Fraction of the galaxies that have a bulge and a disk.
_TWO_PARTS = {SERSIC: 0.0, BULGE_DISK: 1.0, "both": 0.5}

# GalSim prepares a profile for each index, which takes up to half a second, and caches
# a hundred of them.
_INDEX_STEP = 0.1

# Half-light radius of bulges over that of their disks, and redshifts, which act on
# colors.
_RADIUS_RATIOS = (0.1, 0.6)
_REDSHIFTS = (0.0, 0.3)


@dataclass(frozen=True)
class GalaxyPopulation:
    """Galaxies with the profile of Sérsic, or with a bulge and a disk.

    All pairs are ranges from which values are drawn uniformly (radii: in the
    logarithm). They are not checked; :func:`skastro.datasets.make_galaxies` checks them
    and describes the galaxies.

    Parameters
    ----------
    profile : {"sersic", "bulge+disk", "both"}
        Profiles of the galaxies.
    bands : tuple of str
        Bands, out of "u", "g", "r", "i", "z" and "y".
    magnitude : tuple of float
        AB magnitude in the first band.
    half_light_radius : tuple of float or Quantity
        Half-light radius; plain numbers are in arcsec.
    sersic_index : tuple of float
        Sérsic index, rounded to 0.1 within the range.
    ellipticity : tuple of float
        1 - b/a.
    bulge_fraction : tuple of float
        Fraction of the light in the first band that the bulge has.

    Attributes
    ----------
    PROFILES, BANDS : tuple of str
        The permitted names.

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
    BANDS: ClassVar = COLOR_BANDS

    profile: str
    bands: tuple[str, ...]
    magnitude: tuple[float, float]
    half_light_radius: tuple[float, float]
    sersic_index: tuple[float, float]
    ellipticity: tuple[float, float]
    bulge_fraction: tuple[float, float]

    def __post_init__(self) -> None:
        radius = in_unit(self.half_light_radius, "arcsec", "half_light_radius")
        object.__setattr__(self, "half_light_radius", tuple(radius.tolist()))

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
        # Every parameter is drawn for all galaxies, so that a change of one range does
        # not change the other parameters.
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
        colors = {}
        if len(self.bands) > 1:
            total = -2.5 * np.log10(old + young)
            colors = {
                f"magnitude_{band}": total[:, i] for i, band in enumerate(self.bands)
            }
            colors["redshift"] = redshift
        # (a - b)/(a + b), as in weak lensing.
        shear = ellipticity / (2 - ellipticity)
        return {
            "profile": np.where(two_parts, BULGE_DISK, SERSIC),
            "magnitude": magnitude,
            "half_light_radius": radius,
            "sersic_index": np.where(two_parts, np.nan, index),
            "bulge_fraction": np.where(two_parts, bulge_fraction, np.nan),
            "bulge_radius_ratio": np.where(two_parts, radius_ratio, np.nan),
            "ellipticity": ellipticity,
            "position_angle": angle,
            "g1": shear * np.cos(np.radians(2 * angle)),
            "g2": shear * np.sin(np.radians(2 * angle)),
            **colors,
            "flux_old": old,
            "flux_young": young,
        }

    def most_extended(self, options: Any) -> list:
        """Return the most extended components of galaxies.

        Parameters
        ----------
        options : galsim.GSParams
            Accuracy of GalSim.

        Returns
        -------
        lights : list of galsim.GSObject
            Light profiles of flux 1, at least as extended as all that can be drawn.
        """
        galsim = import_galsim()
        radius, parts = self.half_light_radius[1], []
        if _TWO_PARTS[self.profile] < 1:
            parts.append((self.sersic_index[1], radius))
        if _TWO_PARTS[self.profile] > 0:
            # The disk is largest for the smallest bulge with the most light.
            _, disk = bulge_and_disk_radii(
                radius, self.bulge_fraction[1], _RADIUS_RATIOS[0]
            )
            parts += [(BULGE_INDEX, radius), (DISK_INDEX, float(disk))]
        shear = galsim.Shear(q=1 - self.ellipticity[1], beta=0 * galsim.degrees)
        return [
            galsim.Sersic(index, half_light_radius=size, gsparams=options).shear(shear)
            for index, size in parts
        ]

    def components(self, galaxy: dict[str, Any], options: Any) -> list[tuple]:
        """Return the components of one galaxy, each with its light profile.

        Parameters
        ----------
        galaxy : dict of str to value
            A row of the result of ``draw``.
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
            bulge, disk = bulge_and_disk_radii(
                radius, galaxy["bulge_fraction"], galaxy["bulge_radius_ratio"]
            )
            parts = [(BULGE_INDEX, bulge, old), (DISK_INDEX, disk, young)]
        # GalSim's shear conserves the area and therefore sqrt(ab).
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


class RealGalaxyPopulation:
    """Galaxies of a catalog in the format of GalSim's ``RealGalaxyCatalog``.

    GalSim deconvolves each image by the point spread function of the telescope. The
    noise of the image remains.

    Parameters
    ----------
    path : str or path-like
        The catalog, a FITS file in the same folder as the files of its images.
    magnitude : tuple of float
        Range of the magnitudes, as given in the catalog, of the galaxies that are used.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the catalog has no galaxy in that range, or has another format.

    Examples
    --------
    >>> from skastro.simulation import RealGalaxyPopulation
    >>> RealGalaxyPopulation("missing.fits", magnitude=(18, 22))
    Traceback (most recent call last):
    FileNotFoundError: missing.fits: there is no such catalog of real galaxies.
    """

    def __init__(self, path: str | os.PathLike, magnitude: tuple[float, float]) -> None:
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{os.fspath(path)}: there is no such catalog of real galaxies."
            )
        # Processes need not work in the same folder.
        self.path = os.path.abspath(path)
        try:
            found = np.asarray(_open_catalog(self.path).mag, dtype=np.float64)
        except (OSError, KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{self.path}: not a catalog as GalSim's RealGalaxyCatalog reads it: "
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
        """Draw galaxies of the catalog, with replacement.

        Parameters
        ----------
        n_galaxies : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        galaxies : dict of str to ndarray of shape (n_galaxies,)
            ``magnitude``, ``catalog_index`` (row of the catalog), ``rotation``
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
        """Return the light profile of one galaxy.

        Parameters
        ----------
        galaxy : dict of str to value
            A row of the result of ``draw``.
        options : galsim.GSParams
            Accuracy of GalSim.

        Returns
        -------
        components : list of (galsim.GSObject, ndarray of shape (1,))
            One profile of flux 1, and its flux.
        """
        galsim = import_galsim()
        light = galsim.RealGalaxy(
            _open_catalog(self.path),
            index=int(galaxy["catalog_index"]),
            flux=1.0,
            rng=galsim.BaseDeviate(1),
            gsparams=options,
        )
        turned = light.rotate(galaxy["rotation"] * galsim.degrees)
        return [(turned, np.atleast_1d(galaxy["flux"]))]


@lru_cache(maxsize=4)
def _open_catalog(path: str) -> Any:
    """Open a catalog once in each process: it keeps its images in memory."""
    folder, name = os.path.split(path)
    return import_galsim().RealGalaxyCatalog(name, dir=folder)


def sersic_flux_fraction(radius: ArrayLike, sersic_index: ArrayLike) -> np.ndarray:
    r"""Compute the fraction of a galaxy's light within a radius.

    The surface brightness of Sérsic's profile falls as
    :math:`\exp(-b_n (R/R_e)^{1/n})`, with :math:`b_n` such that half of the light is
    within the half-light radius :math:`R_e` [1]_. Index 1 is the exponential disk,
    index 4 de Vaucouleurs's law, index 0.5 a Gaussian.

    Parameters
    ----------
    radius : array-like of float
        Radius in units of the half-light radius.
    sersic_index : array-like of float
        Sérsic index n, of a shape that broadcasts with that of `radius`.

    Returns
    -------
    fraction : ndarray of float
        From 0 to 1, of the common shape.

    Raises
    ------
    TypeError
        If a number has a unit: radii are divided by the half-light radius.
    ValueError
        If a radius is negative, or an index is not from 0.01 to 1000.

    References
    ----------
    .. [1] Graham, A. W. & Driver, S. P. 2005, PASA 22, 118, doi:10.1071/AS05001.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import sersic_flux_fraction
    >>> np.round(sersic_flux_fraction([0.5, 1.0, 4.0], 1.0), 3)
    array([0.205, 0.5  , 0.991])
    >>> np.round(sersic_flux_fraction([0.5, 1.0, 4.0], 4.0), 3)
    array([0.32 , 0.5  , 0.847])
    """
    index = plain_array(sersic_index, "sersic_index")
    radius = plain_array(radius, "radius")
    # Beyond these limits double precision gives NaN.
    if (radius < 0).any() or (index < 0.01).any() or (index > 1000).any():
        raise ValueError(
            "radius must not be negative, and sersic_index must be from 0.01 to 1000; "
            f"they are from {np.min(radius):g} and from {np.min(index):g} to "
            f"{np.max(index):g}."
        )
    scale = gammaincinv(2 * index, 0.5)
    return gammainc(2 * index, scale * radius ** (1 / index))


def bulge_and_disk_radii(
    half_light_radius: np.ndarray, bulge_fraction: np.ndarray, radius_ratio: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the radii of a bulge and a disk from the radius of both together.

    `radius_ratio` is the radius of the bulge divided by that of the disk; all are
    half-light radii.
    """
    # The total radius, in units of that of the disk, lies between those of the parts.
    low = np.minimum(radius_ratio, 1.0)
    high = np.maximum(radius_ratio, 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        light = bulge_fraction * sersic_flux_fraction(
            middle / radius_ratio, BULGE_INDEX
        ) + (1 - bulge_fraction) * sersic_flux_fraction(middle, DISK_INDEX)
        low = np.where(light < 0.5, middle, low)
        high = np.where(light < 0.5, high, middle)
    disc_radius = half_light_radius / ((low + high) / 2)
    return radius_ratio * disc_radius, disc_radius


def flux_ratios(
    bands: tuple[str, ...], redshift: np.ndarray, young_fraction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the flux of old and young stars in each band, relative to the first.

    The spectra are those of Coleman, Wu & Weedman (1980, ApJS 43, 393,
    doi:10.1086/190674): the elliptical galaxy for old stars, and a mixture of the Sbc
    and the irregular galaxy for young stars, in which `young_fraction` is the share of
    the irregular galaxy. Both results have the shape (n, n_bands); redshifts are from 0
    to 0.5.
    """
    if len(bands) == 1:
        ones = np.ones((redshift.size, 1))
        return ones, ones
    old, spiral, irregular = (
        np.stack(
            [np.interp(redshift, _COLOR_REDSHIFTS, ratio) for ratio in template], axis=1
        )
        for template in _template_ratios(bands)
    )
    young = young_fraction[:, None]
    return old, (1 - young) * spiral + young * irregular


@lru_cache
def _template_ratios(bands: tuple[str, ...]) -> np.ndarray:
    """Ratios of each template in each band at some redshifts."""
    galsim = import_galsim()
    filters = [
        galsim.Bandpass(f"LSST_{band}.dat", "nm").withZeropoint("AB") for band in bands
    ]
    magnitudes = np.empty((len(_TEMPLATES), len(bands), _COLOR_REDSHIFTS.size))
    for i, template in enumerate(_TEMPLATES):
        spectrum = galsim.SED(template, "Angstrom", "flambda")
        for k, redshift in enumerate(_COLOR_REDSHIFTS):
            shifted = spectrum.atRedshift(redshift)
            for j, curve in enumerate(filters):
                magnitudes[i, j, k] = shifted.calculateMagnitude(curve)
    return 10 ** (-0.4 * (magnitudes - magnitudes[:, :1]))


def import_galsim() -> ModuleType:
    """Import GalSim (Rowe et al. 2015), or tell how to install it."""
    try:
        import galsim
    except ImportError as error:
        raise ImportError(
            "Images of galaxies are simulated by GalSim, which is not installed; "
            'install it with pip install "skastro[sim]".'
        ) from error
    return galsim
