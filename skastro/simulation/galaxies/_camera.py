# SPDX-License-Identifier: BSD-3-Clause
"""Images of galaxies as a camera records them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skastro.simulation.galaxies._population import import_galsim
from skastro.utils import in_unit

# Between 2.5 and 4.8, which are usual for seeing.
_MOFFAT_BETA = 3.5

# Fraction of a galaxy's light that may fall outside the area in which it is computed;
# the Fourier transform folds it back. GalSim's default of 0.005 takes twice the time.
# The area is at least twice as wide as the image; its flux is at most 0.05 % too high.
_FOLDED = 0.01

_UNITS = {"half_light_radius": "arcsec", "psf_fwhm": "arcsec", "rotation": "deg"}


@dataclass(frozen=True)
class GalaxyCamera:
    """A camera that counts electrons on a square of pixels.

    Values are not checked; :func:`skastro.datasets.make_galaxies` checks them.

    Parameters
    ----------
    size : int
        Height and width of the images, in pixels.
    pixel_scale : float or Quantity
        Side of a pixel; a plain number is in arcsec.
    psf : {"moffat", "kolmogorov", "gaussian"}
        Profile of the point spread function.
    noise : {"poisson", "gaussian"} or None
        Noise of the pixels.
    zero_points : tuple of float, one per band
        AB magnitude that gives one electron.
    sky_brightness : tuple of float, one per band
        AB magnitudes of a square arcsecond of the sky.
    read_noise : float
        Standard deviation in electrons.

    Attributes
    ----------
    PSFS, NOISES : tuple of str
        Names of the profiles and kinds of noise.
    LONGEST_TRANSFORM : int
        Pixels along an axis of the largest Fourier transform.

    Raises
    ------
    ImportError
        If GalSim is not installed.

    Examples
    --------
    >>> from skastro.simulation import GalaxyCamera
    >>> camera = GalaxyCamera(64, 0.2, "moffat", "poisson", (32.0,), (21.2,), 9.0)
    >>> camera.sky.round(1), camera.background_std.round(1)
    (array([835.7]), array([30.3]))
    """

    PSFS: ClassVar = ("moffat", "kolmogorov", "gaussian")
    NOISES: ClassVar = ("poisson", "gaussian", None)
    LONGEST_TRANSFORM: ClassVar = 16384

    size: int
    pixel_scale: float
    psf: str
    noise: str | None
    zero_points: tuple[float, ...]
    sky_brightness: tuple[float, ...]
    read_noise: float

    def __post_init__(self) -> None:
        # Before any work is done.
        import_galsim()
        scale = float(in_unit(self.pixel_scale, "arcsec", "pixel_scale"))
        object.__setattr__(self, "pixel_scale", scale)

    @property
    def sky(self) -> np.ndarray:
        """Expected electrons of the sky in a pixel of each band."""
        difference = np.subtract(self.zero_points, self.sky_brightness)
        return self.pixel_scale**2 * 10 ** (0.4 * difference)

    @property
    def background_std(self) -> np.ndarray:
        """Standard deviation of an empty pixel in each band, in electrons."""
        return np.sqrt(self.sky + self.read_noise**2)

    @property
    def options(self) -> Any:
        """Accuracy with which GalSim computes."""
        return import_galsim().GSParams(
            folding_threshold=_FOLDED,
            minimum_fft_size=2 * self.size,
            maximum_fft_size=self.LONGEST_TRANSFORM,
        )

    def point_spread(self, fwhm: float) -> Any:
        """Make the point spread function.

        Parameters
        ----------
        fwhm : float or Quantity
            Full width at half maximum; a plain number is in arcsec.

        Returns
        -------
        psf : galsim.GSObject
            Its light profile, of flux 1.
        """
        galsim, options = import_galsim(), self.options
        fwhm = float(in_unit(fwhm, "arcsec", "fwhm"))
        if self.psf == "moffat":
            return galsim.Moffat(beta=_MOFFAT_BETA, fwhm=fwhm, gsparams=options)
        kinds = {"kolmogorov": galsim.Kolmogorov, "gaussian": galsim.Gaussian}
        return kinds[self.psf](fwhm=fwhm, gsparams=options)

    def transform_length(self, light: Any, fwhm: float) -> int:
        """Estimate the length of the Fourier transform of an exposure.

        Parameters
        ----------
        light : galsim.GSObject
            Light profile.
        fwhm : float or Quantity
            Full width at half maximum of the point spread function; a plain number is
            in arcsec.

        Returns
        -------
        length : int
            Number of pixels along each axis. Memory grows with its square; GalSim
            accepts up to ``LONGEST_TRANSFORM``.
        """
        blurred = import_galsim().Convolve(light, self.point_spread(fwhm))
        finest = max(blurred.maxk, np.pi / self.pixel_scale)
        return int(2 * finest / light.stepk)

    def expose(
        self,
        components: list[tuple],
        psf: Any,
        offset: tuple[float, float],
        side: int,
    ) -> np.ndarray:
        """Image one galaxy without sky and noise.

        Parameters
        ----------
        components : list of (galsim.GSObject, ndarray of shape (n_bands,))
            Light profiles of flux 1, and their fluxes in units of that of an AB
            magnitude of 0.
        psf : galsim.GSObject
            The point spread function.
        offset : tuple of float
            Position of the galaxy, in pixels to the right of and above the center.
        side : int
            Height and width of the image.

        Returns
        -------
        electrons : ndarray of shape (side, side, n_bands)
            Expected numbers.
        """
        galsim = import_galsim()
        electrons = np.zeros((side, side, len(self.zero_points)))
        for light, flux in components:
            drawn = galsim.Convolve(light, psf).drawImage(
                nx=side, ny=side, scale=self.pixel_scale, offset=offset, dtype=float
            )
            counts = flux * 10 ** (0.4 * np.asarray(self.zero_points))
            electrons += drawn.array[..., None] * counts
        return electrons

    def record(self, electrons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add the noise, and subtract the mean of the sky.

        Parameters
        ----------
        electrons : ndarray of shape (height, width, n_bands)
            Expected numbers without the sky.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        image : ndarray of shape (height, width, n_bands)
            Electrons, with noise.
        """
        if self.noise is None:
            return electrons
        if self.noise == "gaussian":
            return rng.normal(electrons, self.background_std)
        # Fourier ringing gives slightly negative values if the sky is very dark.
        counts = rng.poisson(np.maximum(electrons + self.sky, 0))
        return rng.normal(counts - self.sky, self.read_noise)

    def signal_to_noise(self, electrons: np.ndarray) -> float:
        """Compute the S/N in the first band with optimal weights.

        Parameters
        ----------
        electrons : ndarray of shape (height, width, n_bands)
            Expected numbers of the galaxy alone.

        Returns
        -------
        snr : float
            Signal-to-noise ratio with each pixel weighted by its S/N².
        """
        if self.noise is None:
            return np.inf
        signal = np.maximum(electrons[..., 0], 0)
        variance = self.background_std[0] ** 2
        if self.noise == "poisson":
            variance = variance + signal
        if not np.any(variance):
            return np.inf
        ratio = np.divide(
            signal**2, variance, out=np.zeros_like(signal), where=signal > 0
        )
        return float(np.sqrt(ratio.sum()))


def simulate_galaxies(
    galaxies: Mapping[str, np.ndarray],
    *,
    population: Any,
    camera: GalaxyCamera,
    seed: int,
    first: int = 0,
    n_neighbors: float = 0.0,
) -> dict[str, np.ndarray]:
    """Image galaxies whose parameters are known.

    Arguments are not checked; :func:`skastro.datasets.make_galaxies` checks them and
    describes the simulation.

    Parameters
    ----------
    galaxies : mapping of str to ndarray of shape (n, ...)
        The result of ``population.draw``, with ``psf_fwhm`` (arcsec), ``stamp_size``
        (pixels), ``offset_x`` and ``offset_y`` (pixels from the center of the stamp).
        Quantities of angles are converted.
    population : GalaxyPopulation or RealGalaxyPopulation
        Population of the galaxies and their neighbors.
    camera : GalaxyCamera
        The camera.
    seed : int
        Source of randomness.
    first : int, default=0
        Number of the first galaxy. Noise and neighbors of a galaxy depend only on
        `seed` and its number, so that parts of a data set can be made separately.
    n_neighbors : float, default=0
        Mean number of neighbors.

    Returns
    -------
    result : dict of str to ndarray
        ``images`` (n, size, size, n_bands), float32; ``snr`` and ``n_neighbors``
        (n,).

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import (
    ...     GalaxyCamera,
    ...     GalaxyPopulation,
    ...     simulate_galaxies,
    ... )
    >>> population = GalaxyPopulation(
    ...     "sersic", ("r",), (18, 20), (0.5, 1), (1, 1), (0, 0.5), (0, 1)
    ... )
    >>> camera = GalaxyCamera(32, 0.2, "moffat", "poisson", (32.0,), (21.2,), 9.0)
    >>> galaxies = population.draw(2, np.random.default_rng(0))
    >>> galaxies |= {"psf_fwhm": np.full(2, 0.8), "stamp_size": np.full(2, 32)}
    >>> galaxies |= {"offset_x": np.zeros(2), "offset_y": np.zeros(2)}
    >>> result = simulate_galaxies(
    ...     galaxies, population=population, camera=camera, seed=0
    ... )
    >>> result["images"].shape
    (2, 32, 32, 1)
    """
    galaxies = {
        name: in_unit(values, _UNITS[name], name) if name in _UNITS else values
        for name, values in galaxies.items()
    }
    n = len(galaxies["stamp_size"])
    options = camera.options
    shape = (n, camera.size, camera.size, len(camera.zero_points))
    images = np.zeros(shape, dtype=np.float32)
    snr = np.empty(n)
    neighbors = np.empty(n, dtype=np.int64)
    for i in range(n):
        galaxy = {name: values[i] for name, values in galaxies.items()}
        about_neighbors, about_noise = (
            np.random.default_rng(
                np.random.SeedSequence(seed, spawn_key=(first + i, subject))
            )
            for subject in range(2)
        )
        side = int(min(galaxy["stamp_size"], camera.size))
        psf = camera.point_spread(galaxy["psf_fwhm"])
        offset = (galaxy["offset_x"], galaxy["offset_y"])
        components = population.components(galaxy, options)
        electrons = camera.expose(components, psf, offset, side)
        snr[i] = camera.signal_to_noise(electrons)
        neighbors[i] = about_neighbors.poisson(n_neighbors)
        closest = galaxy.get("half_light_radius", 0.0) / camera.pixel_scale
        places = _places(neighbors[i], closest, side, about_neighbors)
        others = population.draw(neighbors[i], about_neighbors)
        for j, place in enumerate(places):
            other = {name: values[j] for name, values in others.items()}
            components = population.components(other, options)
            electrons += camera.expose(components, psf, place, side)
        before = (camera.size - side) // 2
        inside = slice(before, before + side)
        images[i, inside, inside] = camera.record(electrons, about_noise)
    return {"images": images, "snr": snr, "n_neighbors": neighbors}


def _places(
    count: int, closest: float, side: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Spread neighbors evenly between a radius and the corners of the stamp."""
    farthest = max(side / np.sqrt(2), closest)
    radius = np.sqrt(rng.uniform(closest**2, farthest**2, count))
    angle = rng.uniform(0, 2 * np.pi, count)
    return list(
        zip(
            (radius * np.cos(angle)).tolist(),
            (radius * np.sin(angle)).tolist(),
            strict=True,
        )
    )
