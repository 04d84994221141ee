# SPDX-License-Identifier: BSD-3-Clause
"""Simulation of the spectra of many objects by the models and the spectrograph."""

from collections.abc import Mapping

import numpy as np
from astropy.units import Quantity
from tqdm import tqdm

from skastro.simulation.spectra._formulas import extinction_curve
from skastro.simulation.spectra._galaxy_spectra import (
    GALAXY_REDSHIFT_LIMIT,
    GalaxyModel,
)
from skastro.simulation.spectra._grid import LogGrid
from skastro.simulation.spectra._quasars import QuasarModel, quasar_redshift_limit
from skastro.simulation.spectra._spectrograph import Spectrograph
from skastro.simulation.spectra._stars import StarModel
from skastro.utils import in_unit

MODELS = {"GALAXY": GalaxyModel, "QSO": QuasarModel, "STAR": StarModel}

# Values on the internal grid that are processed at once, to limit memory.
_CHUNK_VALUES = 2**21


# Values of objects that some classes lack: NaN there.
STELLAR_LABELS = ("teff", "logg", "feh")


def redshift_limits(wavelength: np.ndarray) -> dict[str, float]:
    """Highest redshift of galaxies and quasars on a grid (Å)."""
    return {
        "GALAXY": GALAXY_REDSHIFT_LIMIT,
        "QSO": quasar_redshift_limit(wavelength[-1]),
    }


def simulate_spectra(
    counts: Mapping[str, int],
    *,
    wavelength: np.ndarray | Quantity,
    snr: tuple[float, float],
    resolution: float,
    sky_residuals: float,
    cosmic_rays: float,
    bad_pixels: float,
    rng: np.random.Generator,
    redshift: Mapping[str, tuple[float, float]] | None = None,
    return_truth: bool = False,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """Simulate spectra of given numbers of objects, in random order.

    Arguments are not checked; :func:`skastro.datasets.make_spectra` checks them and
    describes the simulation.

    Parameters
    ----------
    counts : mapping of str to int
        Numbers of objects of the classes "STAR", "GALAXY" and "QSO".
    wavelength : ndarray or Quantity of shape (n_pixels,)
        Pixel centers, vacuum wavelengths, ascending; plain numbers are in Å.
    snr : tuple of float
        Range of the mean S/N per pixel.
    resolution : float
        Resolving power λ/FWHM.
    sky_residuals : float
        Strength of the residuals of the sky's lines, 0 for none.
    cosmic_rays, bad_pixels : float
        Mean numbers of cosmic rays and of runs of bad pixels in a spectrum.
    rng : numpy.random.Generator
        Source of randomness.
    redshift : mapping of str to tuple of (float, float), default=None
        Ranges of the redshifts of "GALAXY" and "QSO", drawn uniformly in ln(1 + z).
        Classes that are left out have the redshifts of a survey.
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

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import simulate_spectra
    >>> spectra = simulate_spectra(
    ...     {"STAR": 2, "QSO": 1},
    ...     wavelength=np.linspace(4000, 9000, 500),
    ...     snr=(5, 10),
    ...     resolution=1800,
    ...     sky_residuals=1,
    ...     cosmic_rays=0,
    ...     bad_pixels=0,
    ...     rng=np.random.default_rng(0),
    ... )
    >>> spectra["flux"].shape, sorted(spectra["target"].tolist())
    ((3, 500), ['QSO', 'STAR', 'STAR'])
    """
    wavelength = in_unit(wavelength, "Angstrom", "wavelength")
    spectrograph = Spectrograph(wavelength, resolution)
    grid = spectrograph.grid
    magnitudes = 3.1 * extinction_curve(grid.wavelength).astype(np.float32)
    n = sum(counts.values())
    order = rng.permutation(n)
    shape = (n, wavelength.size)
    spectra = {
        "flux": np.empty(shape, dtype=np.float32),
        "ivar": np.empty(shape, dtype=np.float32),
        "target": np.empty(n, dtype="U6"),
        "subclass": np.empty(n, dtype="U12"),
        "redshift": np.empty(n),
        "snr": np.exp(rng.uniform(*np.log(snr), n)),
    }
    spectra |= {name: np.full(n, np.nan) for name in STELLAR_LABELS}
    ranges = redshift or {}
    if return_truth:
        spectra["true_flux"] = np.empty(shape, dtype=np.float32)
    chunk = max(1, _CHUNK_VALUES // max(grid.size, wavelength.size))
    first = 0
    with tqdm(
        total=n, desc="Simulating spectra", unit=" spectra", disable=not verbose
    ) as bar:
        for name, count in counts.items():
            if not count:
                continue
            model = _make_model(name, grid, ranges)
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
                if sky_residuals:
                    spectrograph.add_sky_residuals(observed, ivar, sky_residuals, rng)
                if cosmic_rays:
                    spectrograph.add_cosmic_rays(observed, ivar, cosmic_rays, rng)
                if bad_pixels:
                    spectrograph.blank_bad_pixels(observed, ivar, bad_pixels, rng)
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


def _make_model(
    name: str, grid: LogGrid, ranges: Mapping[str, tuple[float, float]]
) -> StarModel | GalaxyModel | QuasarModel:
    """Return the model of a class; that of galaxies covers the range of redshifts."""
    if name == "GALAXY" and name in ranges:
        return GalaxyModel(grid, ranges[name][1])
    return MODELS[name](grid)
