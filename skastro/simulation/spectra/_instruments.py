# SPDX-License-Identifier: BSD-3-Clause
"""Fiber spectrographs of surveys, as numbers."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skastro.simulation.spectra._tables import read_table
from skastro.utils import check_number, check_option, in_unit

# Wavelengths (Å) for which the sky, the dust and the lines are modeled.
_RANGE = (3000.0, 10500.0)

# With a lower resolution the line profile extends beyond those wavelengths; with a
# higher one the internal grid would not fit into memory.
_RESOLUTION_RANGE = (20.0, 100_000.0)

# Throughput of the atmosphere, the arms and the detectors by wavelength (Å).
_THROUGHPUT = read_table("throughput.csv")

# Curves that stay in spectra whose flux is not calibrated.
_RESPONSE = read_table("response.csv")


# Arrays compare element by element, so that instruments equal themselves only.
@dataclass(frozen=True, eq=False)
class Instrument:
    """A fiber spectrograph, with its noise and the faults of its reduction.

    Parameters
    ----------
    wavelength : array-like of shape (n_pixels,), default=linspace(3900, 9000, 3000)
        Centers of the pixels, vacuum wavelengths in Å or a
        :class:`~astropy.units.Quantity` of length; strictly ascending, from 3000 to
        10500 Å.
    resolution : float or array-like of shape (n_knots, 2), default=1800
        Resolving power λ/FWHM, from 20 to 100000. Pairs of a wavelength in Å and the
        power there are interpolated linearly, and constant beyond the ends.
    throughput : array-like of shape (n_knots, 2), default=that of BOSS
        Pairs of a wavelength in Å and the fraction of the light that is detected, of
        any scale.
    read_noise : float, default=0.05
        Variance of the read noise where the throughput is largest, over that of a dark
        sky.
    calibration_errors : tuple of float, default=(0.08, 0.04, 0.03)
        Scatter of ln(flux) in Chebyshev polynomials of first and higher order, which
        errors of the flux calibration leave.
    arms : tuple of float, default=(5900,)
        Wavelengths in Å at which arms of the spectrograph meet.
    arm_step : float, default=0.02
        Scatter of the steps of ln(flux) there.
    telluric : tuple of (float, float), default=(0.06, 0.08)
        Mean and scatter of the part of the telluric absorption that remains.
    scattered_light : float, default=0
        Part of the mean flux that is spread evenly over the spectrum. The calibration
        removes it from white stars, so that it makes red objects bluer.
    sky_residuals : float, default=1
        Strength of the residuals of sky lines; 0 is none.
    cosmic_rays : float, default=0.5
        Mean number of cosmic rays in a spectrum.
    bad_pixels : float, default=0.2
        Mean number of runs of bad pixels in a spectrum.
    response : array-like of shape (n_knots, 2), default=None
        Pairs of a wavelength in Å and a factor of the flux, for spectra in counts,
        whose flux is not calibrated. None means calibrated flux.
    scale : tuple of (float, float), default=(5, 0.4)
        Flux of a dark sky, in the unit of the spectra, and scatter of its logarithm.

    Raises
    ------
    ValueError
        If a number is out of its range, or `wavelength` is not an ascending grid.
    TypeError
        If a number is not one.

    See Also
    --------
    skastro.datasets.make_spectra : Simulated spectra; its `instrument` is one of these.

    Notes
    -----
    ``skastro.simulation.INSTRUMENTS`` holds the known ones by name.

    References
    ----------
    LAMOST: Cui, X.-Q. et al. 2012, RAA 12, 1197, doi:10.1088/1674-4527/12/9/003;
    Xiang, M. S. et al. 2015, MNRAS 448, 90, doi:10.1093/mnras/stu2692 (calibration).

    SDSS and BOSS: Smee, S. A. et al. 2013, AJ 146, 32,
    doi:10.1088/0004-6256/146/2/32.

    6dFGS: Jones, D. H. et al. 2004, MNRAS 355, 747,
    doi:10.1111/j.1365-2966.2004.08353.x; 2009, MNRAS 399, 683,
    doi:10.1111/j.1365-2966.2009.15338.x.

    DESI: DESI Collaboration 2022, AJ 164, 207, doi:10.3847/1538-3881/ac882b; Guy, J.
    et al. 2023, AJ 165, 144, doi:10.3847/1538-3881/acb212 (reduction).

    Examples
    --------
    A spectrograph that does not exist, and one without faults:

    >>> import numpy as np
    >>> from dataclasses import replace
    >>> from skastro.simulation import INSTRUMENTS, Instrument
    >>> blue = Instrument(
    ...     wavelength=np.arange(3600, 5600, 0.5),
    ...     resolution=[(3600, 3000), (5600, 5000)],
    ...     arms=(),
    ... )
    >>> ideal = replace(
    ...     INSTRUMENTS["desi"], sky_residuals=0, cosmic_rays=0, bad_pixels=0
    ... )
    >>> ideal.wavelength[[0, -1]]
    array([3600., 9824.])
    """

    wavelength: ArrayLike = field(
        default_factory=lambda: np.linspace(3900.0, 9000.0, 3000), repr=False
    )
    resolution: float | ArrayLike = 1800.0
    throughput: ArrayLike = field(default=_THROUGHPUT["boss"], repr=False)
    read_noise: float = 0.05
    calibration_errors: tuple[float, ...] = (0.08, 0.04, 0.03)
    arms: tuple[float, ...] = (5900.0,)
    arm_step: float = 0.02
    telluric: tuple[float, float] = (0.06, 0.08)
    scattered_light: float = 0.0
    sky_residuals: float = 1.0
    cosmic_rays: float = 0.5
    bad_pixels: float = 0.2
    response: ArrayLike | None = None
    scale: tuple[float, float] = (5.0, 0.4)

    def __post_init__(self) -> None:
        """Check the numbers, and convert those that have other forms."""
        converted: dict[str, Any] = {
            "wavelength": _check_wavelength(self.wavelength),
            "resolution": _check_resolution(self.resolution),
            "throughput": _check_knots(self.throughput, "throughput"),
        }
        if self.response is not None:
            converted["response"] = _check_knots(self.response, "response")
        for name in ("read_noise", "arm_step", "scattered_light", *_RATES):
            converted[name] = check_number(getattr(self, name), name, 0)
        for name in ("calibration_errors", "arms", "telluric", "scale"):
            values = getattr(self, name)
            if not isinstance(values, tuple | list):
                kind = "a pair" if name in _PAIRS else "a tuple"
                raise TypeError(f"{name} must be {kind} of numbers; got {values!r}.")
            if name in _PAIRS and len(values) != 2:
                raise ValueError(f"{name} must be a pair; got {values!r}.")
            converted[name] = tuple(check_number(each, name, 0) for each in values)
        for name, value in converted.items():
            if isinstance(value, np.ndarray):
                value = value.copy()
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def with_changes(self, **changes: Any) -> "Instrument":
        """Return the instrument with other parameters; None leaves one as it is.

        Parameters
        ----------
        **changes : dict
            Parameters of the class and their values.

        Returns
        -------
        instrument : Instrument
            A changed copy.

        Examples
        --------
        >>> from skastro.simulation import INSTRUMENTS
        >>> INSTRUMENTS["lamost"].with_changes(resolution=500, arms=None).resolution
        500.0
        """
        return replace(self, **{k: v for k, v in changes.items() if v is not None})

    def resolving_power(self, wavelength: ArrayLike) -> np.ndarray:
        """Return the resolving power at some wavelengths.

        Parameters
        ----------
        wavelength : array-like or Quantity
            Wavelengths of any shape; plain numbers are in Å.

        Returns
        -------
        resolving_power : ndarray, float64
            λ/FWHM, in the shape of `wavelength`.

        Examples
        --------
        >>> from skastro.simulation import INSTRUMENTS
        >>> INSTRUMENTS["boss"].resolving_power([3700.0, 9000.0])
        array([1560., 2650.])
        """
        wavelength = in_unit(wavelength, "Angstrom", "wavelength")
        if np.ndim(self.resolution) == 0:
            return np.full(wavelength.shape, float(self.resolution))
        knots, values = np.transpose(np.asarray(self.resolution))
        return np.interp(wavelength, knots, values)


# Numbers of artifacts that make_spectra takes too.
_RATES = ("sky_residuals", "cosmic_rays", "bad_pixels")

# A typical value and a scatter.
_PAIRS = ("telluric", "scale")


def _check_wavelength(wavelength: Any) -> np.ndarray:
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


def _check_resolution(resolution: Any) -> float | np.ndarray:
    if np.ndim(resolution) == 0:
        return check_number(resolution, "resolution", *_RESOLUTION_RANGE)
    knots = _check_knots(resolution, "resolution")
    for value in knots[:, 1]:
        check_number(value, "resolution", *_RESOLUTION_RANGE)
    return knots


def _check_knots(knots: Any, name: str) -> np.ndarray:
    """Return pairs of a wavelength and a positive number, or refuse them."""
    try:
        pairs = np.asarray(knots, dtype=float)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"{name} must hold pairs of a wavelength and a value, such as "
            f"[(3600, 0.5), (9000, 1)]; got {knots!r}."
        )
    if not (np.isfinite(pairs) & (pairs > 0)).all():
        raise ValueError(f"{name} must hold positive, finite numbers; got {knots!r}.")
    if (np.diff(pairs[:, 0]) <= 0).any():
        raise ValueError(f"The wavelengths of {name} must be ascending; got {knots!r}.")
    return pairs


def _log_pixels(low: float, high: float) -> np.ndarray:
    """Pixels of 1e-4 dex (69 km/s)."""
    first, last = np.rint(np.log10([low, high]) * 1e4).astype(int)
    return 10 ** (np.arange(first, last + 1) * 1e-4)


# Resolving powers are those of the references in the docstring of Instrument. Other
# numbers are typical of the public spectra, and not published ones.
#: Known spectrographs by name: ``"survey"``, a generic one, and those of LAMOST, SDSS,
#: BOSS, 6dFGS and DESI; see :class:`Instrument`.
INSTRUMENTS: dict[str, Instrument] = {
    "survey": Instrument(),
    "lamost": Instrument(
        wavelength=_log_pixels(3700.0, 9100.0),
        resolution=1800.0,
        throughput=_THROUGHPUT["lamost"],
        calibration_errors=(0.12, 0.07, 0.05, 0.03, 0.02),
        # The arms share the wavelengths from 5700 to 5900 Å.
        arms=(5800.0,),
        arm_step=0.03,
        telluric=(0.02, 0.05),
        # K and M stars have more blue light than those of the library MILES with the
        # same lines.
        scattered_light=0.06,
        # The flux is relative.
        scale=(100.0, 1.2),
    ),
    "sdss": Instrument(
        wavelength=_log_pixels(3800.0, 9200.0),
        resolution=[(3800, 1850), (6000, 2200), (6100, 1850), (9200, 2200)],
        calibration_errors=(0.05, 0.03, 0.02),
        arms=(6050.0,),
        telluric=(0.06, 0.06),
    ),
    "boss": Instrument(
        wavelength=_log_pixels(3600.0, 10400.0),
        resolution=[(3700, 1560), (6000, 2270), (6050, 1850), (9000, 2650)],
        # Offsets of fibers in the focal plane are larger than for SDSS.
        calibration_errors=(0.08, 0.04, 0.03),
        arms=(6050.0,),
    ),
    "6dfgs": Instrument(
        wavelength=np.arange(4000.0, 7500.0, 1.5),
        # 5 to 6 Å in the V arm, 9 to 12 Å in the R arm.
        resolution=[(4000, 730), (5450, 1000), (5500, 520), (7500, 715)],
        throughput=_THROUGHPUT["6dfgs"],
        calibration_errors=(0.15, 0.08, 0.05),
        arms=(5500.0,),
        arm_step=0.15,
        telluric=(1.0, 0.2),
        sky_residuals=2.0,
        cosmic_rays=1.0,
        # That of public spectra of galaxies over simulated ones.
        response=_RESPONSE["6dfgs"],
        scale=(2500.0, 0.8),
    ),
    "desi": Instrument(
        wavelength=3600.0 + 0.8 * np.arange(7781),
        # A width of nearly 1.8 Å in all three arms.
        resolution=[
            (3600, 2000),
            (5750, 3200),
            (5800, 3200),
            (7550, 4100),
            (7600, 4100),
            (9824, 5000),
        ],
        throughput=_THROUGHPUT["desi"],
        calibration_errors=(0.04, 0.02, 0.02),
        arms=(5780.0, 7570.0),
        arm_step=0.01,
        telluric=(0.02, 0.04),
        sky_residuals=0.5,
        cosmic_rays=0.3,
    ),
}


def find_instrument(instrument: str | Instrument) -> Instrument:
    """Return an instrument that is named, or given."""
    if isinstance(instrument, Instrument):
        return instrument
    if not isinstance(instrument, str):
        raise TypeError(
            "instrument must be a name or a skastro.simulation.Instrument; got "
            f"{instrument!r}."
        )
    return INSTRUMENTS[check_option(instrument, "instrument", INSTRUMENTS)]
