# SPDX-License-Identifier: BSD-3-Clause
"""Simulated survey spectra."""

from collections.abc import Mapping

import numpy as np
from astropy import units
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from skastro.simulation import simulate_spectra
from skastro.simulation.spectra import redshift_limits
from skastro.utils import check_count, check_number, check_range, in_unit

TARGETS = ("GALAXY", "QSO", "STAR")

# Wavelengths (Å) for which the sky, the dust and the lines are modeled.
_RANGE = (3000.0, 10500.0)

# With a lower resolution the line profile extends beyond those wavelengths; with a
# higher one the internal grid would not fit into memory.
_RESOLUTION_RANGE = (20.0, 100_000.0)

_DESCRIPTION = """\
Simulated spectra of stars, galaxies and quasars
------------------------------------------------
Number of spectra: {n_samples} ({counts})
Pixels: {n_pixels}, {low:.1f} to {high:.1f} Å in vacuum
Resolving power: {resolution:g}
Mean S/N per pixel: {snr[0]:g} to {snr[1]:g}, log-uniform
Flux: 1e-17 erg / (s cm2 Å)

Made by skastro.datasets.make_spectra; its documentation describes the simulation.
"""


def make_spectra(
    n_samples: int = 1000,
    *,
    wavelength: ArrayLike | units.Quantity | None = None,
    class_proportions: Mapping[str, float] | None = None,
    snr: tuple[float, float] = (3.0, 50.0),
    redshift: Mapping[str, tuple[float, float]] | None = None,
    resolution: float = 1800.0,
    sky_residuals: float = 1.0,
    cosmic_rays: float = 0.5,
    bad_pixels: float = 0.2,
    return_truth: bool = False,
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> Bunch:
    """Simulate optical spectra of stars, galaxies and quasars as a survey takes them.

    Stars are black bodies with absorbing atmospheres, O to M and white dwarfs: Balmer
    and Paschen series, Ca II H, K and triplet, Mg b, Na D, G band, Fe I and other
    metals, He I and He II, MgH, CaH, TiO and VO, with strengths that depend on the
    temperature, the surface gravity and the metallicity. Galaxies are mixtures of
    old, intermediate, post-starburst and young populations of these stars with dust and
    nebular lines on the sequences of the BPT diagram. Quasars are broken power laws
    with broad and narrow lines, Fe II, Balmer continuum, host galaxies, broad
    absorption, Lyman forest, damped and Lyman-limit systems. All spectra are
    redshifted, reddened by dust of the Milky Way, and observed by a fiber spectrograph
    of the given resolving power with errors of flux calibration, photon noise of object
    and night sky, read noise, residuals of sky lines, cosmic rays and bad pixels.

    All wavelengths are vacuum wavelengths. Lines in the list of SDSS have the values of
    that list [1]_, resonance lines those of Morton [2]_, other lines those of NIST
    [3]_, which are in air and converted by the formula of Morton [4]_; quasar blends
    follow Vanden Berk et al. [5]_. See :data:`skastro.simulation.SPECTRAL_LINES`.

    The classes differ only in their spectra: S/N, flux scale and artifacts have the
    same distributions for all. Read more in the :ref:`User Guide <simulation>`.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of spectra.
    wavelength : array-like of shape (n_pixels,), default=None
        Centers of the pixels, vacuum wavelengths in Å or a
        :class:`~astropy.units.Quantity` of length; strictly ascending, of any spacing
        and number, from 3000 to 10500 Å. Pixels meet midway; a single one is 1 Å wide.
        None means ``np.linspace(3900, 9000, 3000)``.
    class_proportions : dict of str to float, default=None
        Relative frequencies of "STAR", "GALAXY" and "QSO"; a class that is left out has
        none. The numbers of spectra are rounded. None means equal frequencies.
    snr : tuple of (float, float), default=(3, 50)
        Range of the mean signal-to-noise ratio per pixel, drawn log-uniformly.
    redshift : dict of str to tuple of (float, float), default=None
        Ranges (lowest, highest) of the redshifts of "GALAXY" and "QSO", which are drawn
        uniformly in ln(1 + z): for training and tests of redshifts. Galaxies reach 1.7,
        quasars 5, or less where Lyman alpha leaves the grid. A class that is left out
        has the redshifts of a survey; stars have radial velocities in any case.
    resolution : float, default=1800
        Resolving power λ/FWHM, the same at all wavelengths, from 20 to 100000.
        Stellar lines are intrinsically about 60 km/s wide, so that more than 5000 adds
        little detail.
    sky_residuals : float, default=1
        Strength of the residuals of imperfectly subtracted sky emission lines, mainly
        at 5579 Å and of OH beyond 6900 Å. 1 is like BOSS, 0 is none.
    cosmic_rays : float, default=0.5
        Mean number of cosmic rays in a spectrum.
    bad_pixels : float, default=0.2
        Mean number of runs of bad pixels in a spectrum, where flux and inverse variance
        are zero.
    return_truth : bool, default=False
        Whether to return the spectra without noise and artifacts too.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers; pass an int for the same spectra every time.
    verbose : int, default=0
        1 shows a progress bar, 0 is silent.

    Returns
    -------
    spectra : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        flux : ndarray of shape (n_samples, n_pixels), float32
            Flux in 1e-17 erg/(s cm² Å).
        ivar : ndarray of shape (n_samples, n_pixels), float32
            Inverse variance of the noise; zero in bad pixels. It does not include
            residuals of the sky and cosmic rays.
        wavelength : ndarray of shape (n_pixels,), float64
            Centers of the pixels, in Å.
        target : ndarray of shape (n_samples,), str
            "STAR", "GALAXY" or "QSO".
        target_names : ndarray of str
            The classes, sorted.
        subclass : ndarray of shape (n_samples,), str
            Spectral type of stars ("A3", "WD"); "PASSIVE", "INTERMEDIATE",
            "STARFORMING", "STARBURST" or "AGN" galaxies; "BROADLINE", "BAL" or
            "SEYFERT 1" quasars.
        redshift : ndarray of shape (n_samples,), float64
            True redshift; within 300 km/s of zero for stars.
        teff : ndarray of shape (n_samples,), float64
            Effective temperature of stars, in K; NaN for galaxies and quasars.
        logg : ndarray of shape (n_samples,), float64
            Surface gravity of stars, lg(g / (cm/s²)), in dex; NaN for others.
        feh : ndarray of shape (n_samples,), float64
            [Fe/H] of stars, in dex; NaN for others and for white dwarfs.
        snr : ndarray of shape (n_samples,), float64
            Mean of flux over noise, per pixel.
        true_flux : ndarray of shape (n_samples, n_pixels), float32
            Flux without noise and artifacts. Only if `return_truth`.
        DESCR : str
            Description of the data set.

    Raises
    ------
    TypeError
        If `n_samples` is not an integer, `class_proportions` or `redshift` not a
        dictionary, or another parameter not a number.
    ValueError
        If a parameter is out of its range, a class is unknown, or `wavelength` is not
        an ascending grid.

    See Also
    --------
    read_spectra : Real spectra, with the same attributes.

    References
    ----------
    .. [1] Stoughton, C. et al. 2002, AJ 123, 485, doi:10.1086/324741.
    .. [2] Morton, D. C. 2003, ApJS 149, 205, doi:10.1086/377639.
    .. [3] Kramida, A. et al., NIST Atomic Spectra Database, doi:10.18434/T4W30F.
    .. [4] Morton, D. C. 2000, ApJS 130, 403, doi:10.1086/317349.
    .. [5] Vanden Berk, D. E. et al. 2001, AJ 122, 549, doi:10.1086/321167.

    Examples
    --------
    >>> from skastro.datasets import make_spectra
    >>> spectra = make_spectra(6, random_state=0)
    >>> spectra.flux.shape
    (6, 3000)
    >>> sorted(spectra.target.tolist())
    ['GALAXY', 'GALAXY', 'QSO', 'QSO', 'STAR', 'STAR']

    Galaxies of any redshift up to 1:

    >>> spectra = make_spectra(
    ...     5, class_proportions={"GALAXY": 1}, redshift={"GALAXY": (0, 1)}
    ... )
    >>> bool(spectra.redshift.max() <= 1)
    True
    """
    n_samples = check_count(n_samples, "n_samples", 1)
    wavelength = _check_wavelength(wavelength)
    counts = _class_counts(n_samples, class_proportions)
    snr = _check_snr(snr)
    redshift = _check_redshift(redshift, wavelength)
    resolution = check_number(resolution, "resolution", *_RESOLUTION_RANGE)
    rates = {
        "sky_residuals": check_number(sky_residuals, "sky_residuals", 0),
        "cosmic_rays": check_number(cosmic_rays, "cosmic_rays", 0),
        "bad_pixels": check_number(bad_pixels, "bad_pixels", 0),
    }
    seed = check_random_state(random_state).randint(2**31 - 1)
    spectra = simulate_spectra(
        counts,
        wavelength=wavelength,
        snr=snr,
        redshift=redshift,
        resolution=resolution,
        rng=np.random.default_rng(seed),
        return_truth=return_truth,
        verbose=verbose,
        **rates,
    )
    description = _DESCRIPTION.format(
        n_samples=n_samples,
        counts=", ".join(f"{count} {name}" for name, count in counts.items()),
        n_pixels=wavelength.size,
        low=wavelength[0],
        high=wavelength[-1],
        resolution=resolution,
        snr=snr,
    )
    return Bunch(
        **spectra,
        wavelength=wavelength,
        target_names=np.unique(spectra["target"]),
        DESCR=description,
    )


def _check_wavelength(wavelength: ArrayLike | units.Quantity | None) -> np.ndarray:
    if wavelength is None:
        return np.linspace(3900.0, 9000.0, 3000)
    grid = in_unit(wavelength, "Angstrom", "wavelength")
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(
            "wavelength must be one-dimensional with at least one value; got shape "
            f"{grid.shape}."
        )
    low, high = _RANGE
    if not ((grid >= low) & (grid <= high)).all():
        raise ValueError(
            f"wavelength must lie from {low:g} to {high:g} Å; got values from "
            f"{grid.min():g} to {grid.max():g}. Give another unit as an astropy "
            "quantity, for example wavelength * astropy.units.nm."
        )
    if (np.diff(grid) <= 0).any():
        raise ValueError("wavelength must be strictly ascending; sort it.")
    return grid


def _class_counts(
    n_samples: int, class_proportions: Mapping[str, float] | None
) -> dict[str, int]:
    """Return integers nearest to the proportions (largest remainders)."""
    if class_proportions is None:
        class_proportions = dict.fromkeys(TARGETS, 1.0)
    if not isinstance(class_proportions, Mapping):
        raise TypeError(
            "class_proportions must be a dictionary such as {'STAR': 0.8, 'GALAXY': "
            f"0.1, 'QSO': 0.1}}; got {class_proportions!r}."
        )
    unknown = [name for name in class_proportions if name not in TARGETS]
    if unknown:
        raise ValueError(
            f"class_proportions names {unknown}; the classes are {list(TARGETS)}."
        )
    weights = np.array(
        [
            check_number(class_proportions.get(name, 0.0), f"proportion of {name}", 0)
            for name in TARGETS
        ]
    )
    if weights.sum() == 0:
        raise ValueError("class_proportions must have at least one positive value.")
    exact = n_samples * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    missing = n_samples - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return dict(zip(TARGETS, counts.tolist(), strict=True))


def _check_redshift(
    redshift: Mapping[str, tuple[float, float]] | None, wavelength: np.ndarray
) -> dict[str, tuple[float, float]]:
    limits = redshift_limits(wavelength)
    if redshift is None:
        return {}
    if not isinstance(redshift, Mapping):
        raise TypeError(
            "redshift must be a dictionary such as {'GALAXY': (0, 1)}; got "
            f"{redshift!r}."
        )
    unknown = [name for name in redshift if name not in limits]
    if unknown:
        raise ValueError(
            f"redshift names {unknown}; only {list(limits)} have redshifts to choose."
        )
    # The message of a limit that depends on the grid.
    return {
        name: check_range(interval, f"redshift of {name} on this grid", 0, limits[name])
        for name, interval in redshift.items()
    }


def _check_snr(snr: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = snr
    except (TypeError, ValueError):
        raise ValueError(
            f"snr must be a pair (lowest, highest); got {snr!r}."
        ) from None
    low = check_number(low, "the lowest snr", np.nextafter(0, 1))
    high = check_number(high, "the highest snr", np.nextafter(0, 1))
    if low > high:
        raise ValueError(f"snr must be (lowest, highest); got ({low:g}, {high:g}).")
    return low, high
