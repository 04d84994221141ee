# SPDX-License-Identifier: BSD-3-Clause
"""The layout of GALAH spectra, one arm of the spectrograph HERMES in a file.

Kos, J. et al. 2017, MNRAS 464, 1259, doi:10.1093/mnras/stw2064, and Buder, S. et al.
2021, MNRAS 506, 150, doi:10.1093/mnras/stab1242, section 3: the reduced spectrum, its
relative uncertainty, further spectra, and the normalized one. Wavelengths are those in
air, corrected to the barycenter of the solar system.
"""

from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits

from skastro.datasets.spectra._fields import (
    inverse_variance,
    linear_wavelength,
    number,
    text,
)
from skastro.datasets.spectra._fits import image_shape
from skastro.datasets.spectra._layouts import register_layout

_ARMS = {"BL": "blue", "GN": "green", "RD": "red", "IR": "infrared"}
_SPEED_OF_LIGHT = 299792.458


def _is_galah(hdul: fits.HDUList) -> bool:
    """Recognize vectors of one length from HERMES, reduced for the survey."""
    header, shape = hdul[0].header, image_shape(hdul[0])
    return (
        len(shape) == 1
        and len(hdul) > 3
        and all(image_shape(hdu) == shape for hdu in hdul[1:3])
        and ("HERMES" in text(header.get("INSTRUME")) or "GALAH" in _origin(header))
        and ("GALAH_ID" in header or "GALAH" in _origin(header))
    )


def _origin(header: fits.Header) -> str:
    return text(header.get("ORIGIN")).upper()


@register_layout(
    "galah",
    _is_galah,
    description="GALAH vectors of one arm: spectrum, normalized, relative error",
)
def _read_galah(hdul: fits.HDUList) -> dict:
    """Read the spectrum in counts, its error, and the normalized spectrum.

    Since data release 4 the vectors have names; before, the relative error was the
    first one and the normalized spectrum the fourth.
    """
    header, flux = hdul[0].header, np.asarray(hdul[0].data, np.float64)
    named = {hdu.name.lower(): hdu for hdu in hdul[1:]}
    relative = named.get("relative_error", hdul[1])
    normalized: Any = named.get("normalized", hdul[4] if len(hdul) > 4 else None)
    if np.nanmedian(np.abs(relative.data)) > 1:
        raise ValueError("HDU 1 must hold relative errors, but their median exceeds 1")
    # In early releases the normalized spectrum has a grid of its own.
    same = normalized is not None and image_shape(normalized) == flux.shape
    same = same and normalized.header.get("CRVAL1") in (None, header["CRVAL1"])
    arm = _ARMS.get(text(header.get("SPECTID")), "")
    name = next(
        (
            text(header[key])
            for key in ("OBJ_NAME", "GALAH_ID", "OBJECT")
            if text(header.get(key)) not in ("", "None")
        ),
        "",
    )
    converged = header.get("RVCOM_OK", header.get("RV_OK")) == 1
    velocity = number(header.get("RVCOM", header.get("RV"))) if converged else np.nan
    return dict(
        flux=flux,
        ivar=inverse_variance(error=relative.data * np.abs(flux)),
        wavelength=linear_wavelength(header, flux.size) * units.Angstrom,
        normalized=normalized.data if same else None,
        survey="GALAH",
        release=text(header.get("PIPE_VER")),
        id=f"{name} {arm}".strip(),
        class_name="STAR",
        redshift=velocity / _SPEED_OF_LIGHT,
        ra=number(header.get("RA_OBS")),
        dec=number(header.get("DEC_OBS")),
        snr=number(header.get("SNR")),
        medium="air",
        frame="barycentric",
        flux_unit=units.ct,
        header=header,
    )
