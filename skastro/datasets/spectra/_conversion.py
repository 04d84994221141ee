# SPDX-License-Identifier: BSD-3-Clause
"""Conversion of wavelengths between air and vacuum, and between frames."""

import numpy as np

from skastro.datasets.spectra._layouts import FRAMES, MEDIA
from skastro.simulation import air_to_vacuum, vacuum_to_air
from skastro.utils import check_option

# They differ by the motion of the Sun, below 16 m/s or 5e-8 of a wavelength.
_SOLAR_SYSTEM = ("heliocentric", "barycentric")


def check_conversion(medium: str | None, frame: str | None) -> None:
    """Check the parameters that ask for a conversion."""
    check_option(medium, "medium", [None, *MEDIA])
    check_option(frame, "frame", [None, *FRAMES])


def convert(spectrum: dict, medium: str | None, frame: str | None) -> None:
    """Convert the wavelengths of a spectrum, or of a matrix, in place.

    Redshifts are ratios of wavelengths in vacuum, so that spectra in air change the
    frame there.
    """
    own, now = spectrum["medium"], spectrum["frame"]
    changes_frame = (
        frame is not None and frame != now and {frame, now} != {*_SOLAR_SYSTEM}
    )
    if frame is not None and now is None:
        raise ValueError(
            f"its frame is unknown, so it cannot be converted to frame={frame!r}; read "
            "it with frame=None and shift its wavelengths by the velocity that you know"
        )
    if own is None and (medium is not None or changes_frame):
        raise ValueError(
            "it does not say whether its wavelengths are those in air or in vacuum, so "
            f"it cannot be converted to {medium or frame!r}; read it with medium=None "
            "and frame=None, and convert with skastro.simulation.air_to_vacuum if you "
            "know that they are those in air"
        )
    target = own if medium is None else medium
    if target != own or changes_frame:
        wavelength = spectrum["wavelength"]
        if own == "air":
            wavelength = air_to_vacuum(wavelength)
        if changes_frame:
            wavelength = wavelength * _stretch(spectrum, now, frame)
        spectrum["wavelength"] = (
            vacuum_to_air(wavelength) if target == "air" else wavelength
        )
    spectrum["medium"], spectrum["frame"] = target, frame or now
    spectrum["vacuum"] = None if target is None else target == "vacuum"


def _stretch(spectrum: dict, now: str | None, frame: str | None) -> float:
    """Factor of the wavelengths from one frame to another."""
    if frame == "rest" and now in _SOLAR_SYSTEM:
        redshift = spectrum["redshift"]
        if not np.isfinite(redshift):
            raise ValueError("its redshift is unknown, so that frame='rest' is, too")
        spectrum["doppler_redshift"] = redshift
        return 1 / (1 + redshift)
    # The observed wavelengths of 6dFGS are those at the telescope.
    of_observed = ("topocentric",) if spectrum["survey"] == "6dFGS" else _SOLAR_SYSTEM
    if now == "rest" and frame in of_observed and spectrum["doppler_redshift"]:
        factor = 1 + spectrum["doppler_redshift"]
        if np.isfinite(factor):
            spectrum["doppler_redshift"] = 0.0
            return factor
    raise ValueError(
        f"its frame is {now!r}, and the file does not hold the velocity that leads to "
        f"frame={frame!r}; astropy.coordinates.SkyCoord.radial_velocity_correction "
        "computes that of the Earth"
    )
