# SPDX-License-Identifier: BSD-3-Clause
"""Simulated survey spectra."""

from collections.abc import Mapping

import numpy as np
from astropy import units
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from skastro.simulation import Instrument, simulate_spectra
from skastro.simulation.spectra._instruments import find_instrument
from skastro.simulation.spectra._template_spectra import check_templates
from skastro.utils import check_count, check_number

TARGETS = ("GALAXY", "QSO", "STAR")

_DESCRIPTION = """\
Simulated spectra of stars, galaxies and quasars
------------------------------------------------
Number of spectra: {n_samples} ({counts})
Pixels: {n_pixels}, {low:.1f} to {high:.1f} Å in vacuum
Resolving power: {resolution}
Mean S/N per pixel: {snr[0]:g} to {snr[1]:g}, log-uniform
Flux: {flux}

Made by skastro.datasets.make_spectra; its documentation describes the simulation.
"""


def make_spectra(
    n_samples: int = 1000,
    *,
    instrument: str | Instrument = "survey",
    wavelength: ArrayLike | units.Quantity | None = None,
    class_proportions: Mapping[str, float] | None = None,
    snr: tuple[float, float] = (3.0, 50.0),
    redshift: Mapping[str, tuple[float, float]] | None = None,
    templates: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    resolution: float | ArrayLike | None = None,
    sky_residuals: float | None = None,
    cosmic_rays: float | None = None,
    bad_pixels: float | None = None,
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
    instrument : str or :class:`~skastro.simulation.Instrument`, default="survey"
        Spectrograph: a generic one, "lamost", "sdss", "boss", "6dfgs", "desi", or an
        own one. It has pixels, resolving power, noise, errors of calibration and
        artifacts; those of the parameters below that are given override it.
    wavelength : array-like of shape (n_pixels,), default=None
        Centers of the pixels, vacuum wavelengths in Å or a
        :class:`~astropy.units.Quantity` of length; strictly ascending, of any spacing
        and number, from 3000 to 10500 Å. Pixels meet midway; a single one is 1 Å wide.
        None means those of `instrument`, ``np.linspace(3900, 9000, 3000)`` of "survey".
    class_proportions : dict of str to float, default=None
        Relative frequencies of "STAR", "GALAXY", "QSO" and further classes of
        `templates`; a class that is left out has none. The numbers of spectra are
        rounded. None means equal frequencies.
    snr : tuple of (float, float), default=(3, 50)
        Range of the mean signal-to-noise ratio per pixel, drawn log-uniformly.
    redshift : dict of str to tuple of (float, float), default=None
        Ranges (lowest, highest) of the redshifts of "GALAXY" and "QSO", which are drawn
        uniformly in ln(1 + z): for training and tests of redshifts. Galaxies reach 1.7,
        quasars 5, or less where Lyman alpha leaves the grid. A class that is left out
        has the redshifts of a survey; stars have radial velocities in any case.
        Classes of `templates` other than "STAR" need a range.
    templates : dict of str to tuple of (array-like, array-like), default=None
        Own spectra by class: vacuum wavelengths (n_pixels,) at rest, in Å or a
        :class:`~astropy.units.Quantity`, and flux per Å (n_templates, n_pixels), NaN
        where the ends of a template are unknown. They replace the model of a known
        class; other names are further classes. Each object is one of them, drawn at
        random, at a redshift at which it covers the pixels; those that do so at none
        are never drawn. The instrument blurs them in addition to their own resolution.
    resolution : float or array-like of shape (n_knots, 2), default=None
        Resolving power λ/FWHM, from 20 to 100000, or pairs of a wavelength in Å and the
        power there, between which it is linear. None means that of `instrument`, 1800.
        Stellar lines are intrinsically about 60 km/s wide, so that more than 5000 adds
        little detail.
    sky_residuals : float, default=None
        Strength of the residuals of imperfectly subtracted sky emission lines, mainly
        at 5579 Å and of OH beyond 6900 Å. 1 is like BOSS, 0 is none. None means that of
        `instrument`, 1.
    cosmic_rays : float, default=None
        Mean number of cosmic rays in a spectrum. None means that of `instrument`, 0.5.
    bad_pixels : float, default=None
        Mean number of runs of bad pixels in a spectrum, where flux and inverse variance
        are zero. None means that of `instrument`, 0.2.
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
            Flux in 1e-17 erg/(s cm² Å); relative for LAMOST, counts for 6dFGS.
        ivar : ndarray of shape (n_samples, n_pixels), float32
            Inverse variance of the noise; zero in bad pixels. It does not include
            residuals of the sky and cosmic rays.
        wavelength : ndarray of shape (n_pixels,), float64
            Centers of the pixels, in Å.
        target : ndarray of shape (n_samples,), str
            "STAR", "GALAXY", "QSO" or a class of `templates`.
        target_names : ndarray of str
            The classes, sorted.
        subclass : ndarray of shape (n_samples,), str
            Spectral type of stars ("A3", "WD"); "PASSIVE", "INTERMEDIATE",
            "STARFORMING", "STARBURST" or "AGN" galaxies; "BROADLINE", "BAL" or
            "SEYFERT 1" quasars; the number of the template.
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
        If `n_samples` is not an integer, `class_proportions`, `redshift` or `templates`
        not a dictionary, or another parameter not a number.
    ValueError
        If a parameter is out of its range, a class or instrument is unknown,
        `wavelength` is not an ascending grid, or no template covers it.

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

    Own templates, here flat ones, as LAMOST observes them:

    >>> import numpy as np
    >>> spectra = make_spectra(
    ...     5,
    ...     instrument="lamost",
    ...     class_proportions={"FLAT": 1},
    ...     templates={"FLAT": (np.arange(1000, 9999), np.ones((2, 8999)))},
    ...     redshift={"FLAT": (0, 2)},
    ... )
    >>> spectra.flux.shape, set(spectra.target.tolist())
    ((5, 3909), {'FLAT'})
    """
    n_samples = check_count(n_samples, "n_samples", 1)
    spectrograph = find_instrument(instrument).with_changes(
        wavelength=wavelength,
        resolution=resolution,
        sky_residuals=sky_residuals,
        cosmic_rays=cosmic_rays,
        bad_pixels=bad_pixels,
    )
    templates = check_templates(templates)
    counts = _class_counts(n_samples, class_proportions, templates)
    snr = _check_snr(snr)
    seed = check_random_state(random_state).randint(2**31 - 1)
    spectra = simulate_spectra(
        counts,
        snr=snr,
        rng=np.random.default_rng(seed),
        instrument=spectrograph,
        redshift=redshift,
        templates=templates,
        return_truth=return_truth,
        verbose=verbose,
    )
    # Instruments are constant, what users get is theirs.
    pixels = np.array(spectrograph.wavelength)
    power = spectrograph.resolving_power(pixels)
    description = _DESCRIPTION.format(
        n_samples=n_samples,
        counts=", ".join(f"{count} {name}" for name, count in counts.items()),
        n_pixels=pixels.size,
        low=pixels[0],
        high=pixels[-1],
        resolution=" to ".join(
            f"{each:.0f}" for each in np.unique([power.min(), power.max()])
        ),
        snr=snr,
        flux="per Å" if spectrograph.response is None else "counts",
    )
    return Bunch(
        **spectra,
        wavelength=pixels,
        target_names=np.unique(spectra["target"]),
        DESCR=description,
    )


def _class_counts(
    n_samples: int,
    class_proportions: Mapping[str, float] | None,
    templates: Mapping[str, tuple],
) -> dict[str, int]:
    """Return integers nearest to the proportions (largest remainders)."""
    names = list(dict.fromkeys([*TARGETS, *templates]))
    if class_proportions is None:
        class_proportions = dict.fromkeys(names, 1.0)
    if not isinstance(class_proportions, Mapping):
        raise TypeError(
            "class_proportions must be a dictionary such as {'STAR': 0.8, 'GALAXY': "
            f"0.1, 'QSO': 0.1}}; got {class_proportions!r}."
        )
    unknown = [name for name in class_proportions if name not in names]
    if unknown:
        raise ValueError(
            f"class_proportions names {unknown}; the classes are {names}, and those "
            "of templates."
        )
    weights = np.array(
        [
            check_number(class_proportions.get(name, 0.0), f"proportion of {name}", 0)
            for name in names
        ]
    )
    if weights.sum() == 0:
        raise ValueError("class_proportions must have at least one positive value.")
    exact = n_samples * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    missing = n_samples - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return dict(zip(names, counts.tolist(), strict=True))


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
