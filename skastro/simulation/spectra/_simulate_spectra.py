# SPDX-License-Identifier: BSD-3-Clause
"""Simulation of the spectra of many objects by the models and the spectrograph."""

from collections.abc import Mapping

import numpy as np
from astropy.units import Quantity
from numpy.typing import ArrayLike

from skastro.simulation.spectra._formulas import extinction_curve
from skastro.simulation.spectra._galaxy_spectra import (
    GALAXY_REDSHIFT_LIMIT,
    GalaxyModel,
)
from skastro.simulation.spectra._grid import SIGMA_PER_FWHM, LogGrid
from skastro.simulation.spectra._instruments import Instrument, find_instrument
from skastro.simulation.spectra._quasars import QuasarModel, quasar_redshift_limit
from skastro.simulation.spectra._spectrograph import MAX_SHIFT, Spectrograph
from skastro.simulation.spectra._stars import StarModel
from skastro.simulation.spectra._template_spectra import (
    TemplateModel,
    Templates,
    check_coverage,
    check_templates,
)
from skastro.utils import (
    check_count,
    check_number,
    check_option,
    check_range,
    progress_bar,
)

MODELS = {"GALAXY": GalaxyModel, "QSO": QuasarModel, "STAR": StarModel}

# Redshifts of templates end where no spectrum is known.
_TEMPLATE_REDSHIFT_LIMIT = 20.0

# Values on the internal grid that are processed at once, to limit memory.
_CHUNK_VALUES = 2**21


# Values of objects that some classes lack: NaN there.
STELLAR_LABELS = ("teff", "logg", "feh")


def simulate_spectra(
    counts: Mapping[str, int],
    *,
    snr: tuple[float, float],
    rng: np.random.Generator,
    instrument: str | Instrument = "survey",
    wavelength: np.ndarray | Quantity | None = None,
    resolution: float | ArrayLike | None = None,
    sky_residuals: float | None = None,
    cosmic_rays: float | None = None,
    bad_pixels: float | None = None,
    redshift: Mapping[str, tuple[float, float]] | None = None,
    templates: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    return_truth: bool = False,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """Simulate spectra of given numbers of objects, in random order.

    :func:`skastro.datasets.make_spectra`, which checks more of the arguments, describes
    the simulation.

    Parameters
    ----------
    counts : mapping of str to int
        Numbers of objects of the classes "STAR", "GALAXY" and "QSO", and of others that
        have `templates`.
    snr : tuple of float
        Range of the mean S/N per pixel.
    rng : numpy.random.Generator
        Source of randomness.
    instrument : str or Instrument, default="survey"
        Spectrograph; see :class:`Instrument`.
    wavelength : ndarray or Quantity of shape (n_pixels,), default=None
        Pixel centers, vacuum wavelengths, ascending; plain numbers are in Å. This and
        the next four: None leaves the value of `instrument`.
    resolution : float or array-like of shape (n_knots, 2), default=None
        Resolving power λ/FWHM.
    sky_residuals : float, default=None
        Strength of the residuals of the sky's lines, 0 for none.
    cosmic_rays, bad_pixels : float, default=None
        Mean numbers of cosmic rays and of runs of bad pixels in a spectrum.
    redshift : mapping of str to tuple of (float, float), default=None
        Ranges of the redshifts of classes, drawn uniformly in ln(1 + z). "GALAXY" and
        "QSO" that are left out have the redshifts of a survey.
    templates : mapping of str to tuple of (ndarray, ndarray), default=None
        Own spectra at rest by class: wavelengths (n_pixels,) in Å and flux
        (n_templates, n_pixels). They replace the models of known classes.
    return_truth : bool, default=False
        Whether to return the spectra without noise too.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar.

    Returns
    -------
    spectra : dict of str to ndarray
        ``flux`` and ``ivar`` (n, n_pixels), float32; ``target``, ``subclass``,
        ``redshift``, ``snr``, and ``teff``, ``logg``, ``feh`` of stars (n,);
        ``true_flux`` (n, n_pixels), float32, if asked for.

    Raises
    ------
    ValueError
        If the instrument or a range of redshifts is not possible, or no template covers
        the pixels.
    TypeError
        If an argument is of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import simulate_spectra
    >>> spectra = simulate_spectra(
    ...     {"STAR": 2, "QSO": 1},
    ...     snr=(5, 10),
    ...     rng=np.random.default_rng(0),
    ...     wavelength=np.linspace(4000, 9000, 500),
    ... )
    >>> spectra["flux"].shape, sorted(spectra["target"].tolist())
    ((3, 500), ['QSO', 'STAR', 'STAR'])
    """
    spectrograph = Spectrograph(
        find_instrument(instrument).with_changes(
            wavelength=wavelength,
            resolution=resolution,
            sky_residuals=sky_residuals,
            cosmic_rays=cosmic_rays,
            bad_pixels=bad_pixels,
        )
    )
    wavelength = spectrograph.wavelength
    own = check_templates(templates)
    ranges = check_redshift(redshift, own, wavelength)
    grid = spectrograph.grid
    magnitudes = 3.1 * extinction_curve(grid.wavelength).astype(np.float32)
    n = sum(counts.values())
    order = rng.permutation(n)
    shape = (n, wavelength.size)
    spectra = {
        "flux": np.empty(shape, dtype=np.float32),
        "ivar": np.empty(shape, dtype=np.float32),
        "target": np.empty(n, dtype=f"U{max(map(len, counts))}"),
        "subclass": np.empty(n, dtype="U12"),
        "redshift": np.empty(n),
        "snr": np.exp(rng.uniform(*np.log(snr), n)),
    }
    spectra |= {name: np.full(n, np.nan) for name in STELLAR_LABELS}
    if return_truth:
        spectra["true_flux"] = np.empty(shape, dtype=np.float32)
    chunk = max(1, _CHUNK_VALUES // max(grid.size, wavelength.size))
    first = 0
    with progress_bar(
        total=n, desc="Simulating spectra", unit=" spectra", disable=not verbose
    ) as bar:
        for name, count in counts.items():
            if not count:
                continue
            model: StarModel | GalaxyModel | QuasarModel | TemplateModel
            if name in own:
                span = wavelength[0], wavelength[-1]
                model = TemplateModel(grid, *own[name], span)
            elif name == "GALAXY" and name in ranges:
                model = GalaxyModel(grid, ranges[name][1])
            else:
                model = MODELS[name](grid)
            for start in range(0, count, chunk):
                rows = order[first + start : first + min(start + chunk, count)]
                objects = model.simulate(rows.size, rng, ranges.get(name))
                flux = objects["flux"]
                flux *= 10 ** (-0.4 * objects["reddening"][:, None] * magnitudes)
                pixels = spectrograph.to_pixels(flux).astype(np.float64)
                spectrograph.miscalibrate(pixels, rng)
                observed, truth, ivar = spectrograph.observe(
                    pixels, spectra["snr"][rows], rng
                )
                spectrograph.add_sky_residuals(observed, ivar, rng)
                spectrograph.add_cosmic_rays(observed, ivar, rng)
                spectrograph.blank_bad_pixels(observed, ivar, rng)
                spectra["flux"][rows] = observed
                if return_truth:
                    spectra["true_flux"][rows] = truth
                spectra["ivar"][rows] = ivar
                spectra["target"][rows] = name
                spectra["subclass"][rows] = objects["subclass"]
                spectra["redshift"][rows] = objects["redshift"]
                for label in STELLAR_LABELS:
                    spectra[label][rows] = objects.get(label, np.nan)
                bar.update(rows.size)
            first += count
    return spectra


def spectra_at_rest(
    name: str,
    n_samples: int,
    ln_wavelength: np.ndarray,
    rng: np.random.Generator,
    *,
    resolution: float = 1800.0,
) -> np.ndarray:
    """Simulate spectra of one class at rest, without dust in front and without noise.

    Parameters
    ----------
    name : {"GALAXY", "QSO", "STAR"}
        The class.
    n_samples : int
        Number of spectra.
    ln_wavelength : ndarray of shape (n_pixels,)
        ln(wavelength / Å) of pixels of equal width, from 850 to 11000 Å; from 1400 Å
        for galaxies and 3000 Å for stars.
    rng : numpy.random.Generator
        Source of randomness.
    resolution : float, default=1800
        Resolving power λ/FWHM.

    Returns
    -------
    flux : ndarray of shape (n_samples, n_pixels), float32
        Flux per Å, of any scale.

    Raises
    ------
    ValueError
        If an argument is out of its range, or if pixels are not of equal width.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import spectra_at_rest
    >>> pixels = np.arange(np.log(3600), np.log(9000), 2.3e-4)
    >>> spectra_at_rest("GALAXY", 3, pixels, np.random.default_rng(0)).shape
    (3, 3984)
    """
    check_option(name, "name", tuple(MODELS))
    check_count(n_samples, "n_samples")
    check_number(resolution, "resolution", 10.0)
    steps = np.diff(ln_wavelength)
    if not steps.size or steps[0] <= 0 or not np.allclose(steps, steps[0], 1e-3, 0):
        raise ValueError(
            "ln_wavelength must be a vector of ascending, equally spaced values of "
            f"ln(wavelength / Å); got {ln_wavelength!r}."
        )
    step = steps[0]
    sigma = SIGMA_PER_FWHM / resolution
    # Pixels that blurring spoils at the ends.
    n_margin = int(np.ceil((6 * sigma + MAX_SHIFT) / step)) + 1
    low = np.exp(ln_wavelength[0] - n_margin * step)
    high = np.exp(ln_wavelength[-1] + n_margin * step)
    grid = LogGrid(low, high, step, sigma)
    model = MODELS[name](grid)
    at_rest = None if name == "STAR" else (0.0, 0.0)
    flux = model.simulate(n_samples, rng, at_rest)["flux"]
    return flux[:, n_margin : n_margin + ln_wavelength.size]


def check_redshift(
    redshift: Mapping[str, tuple[float, float]] | None,
    templates: Templates,
    wavelength: np.ndarray,
) -> dict[str, tuple[float, float]]:
    """Return the ranges of redshifts, or refuse those that cannot be simulated."""
    if redshift is None:
        redshift = {}
    if not isinstance(redshift, Mapping):
        raise TypeError(
            "redshift must be a dictionary such as {'GALAXY': (0, 1)}; got "
            f"{redshift!r}."
        )
    limits = {
        "GALAXY": GALAXY_REDSHIFT_LIMIT,
        "QSO": quasar_redshift_limit(wavelength[-1]),
    } | dict.fromkeys(templates, _TEMPLATE_REDSHIFT_LIMIT)
    unknown = [name for name in redshift if name not in limits]
    if unknown:
        raise ValueError(
            f"redshift names {unknown}; only {list(limits)} have redshifts to choose."
        )
    # The limit of quasars depends on the grid.
    ranges = {
        name: check_range(interval, f"redshift of {name} on this grid", 0, limits[name])
        for name, interval in redshift.items()
    }
    check_coverage(templates, ranges, wavelength)
    return ranges
