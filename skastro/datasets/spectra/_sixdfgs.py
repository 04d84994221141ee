# SPDX-License-Identifier: BSD-3-Clause
"""The layout of combined spectra of the 6dF Galaxy Survey."""

import numpy as np
from astropy import units
from astropy.io import fits

from skastro.datasets.spectra._fields import (
    first,
    inverse_variance,
    linear_wavelength,
    medium_of,
    number,
    text,
)
from skastro.datasets.spectra._fits import image_shape
from skastro.datasets.spectra._layouts import register_layout

_N_ROWS = 4
# The correction for the motion of the Earth is smaller.
_SAME_REDSHIFT = 1.5e-4


def _is_image(hdul: fits.HDUList) -> bool:
    """Recognize an image of four rows with the survey's names of cards.

    The wavelength axis is linear, in Angstrom.
    """
    shape, header = image_shape(hdul[0]), hdul[0].header
    axis = text(header.get("CUNIT1")) + text(header.get("WAT1_001"))
    return (
        len(shape) == 2
        and shape[0] == _N_ROWS
        and {"CRVAL1", "TARGET", "OBSRA", "OBSDEC"} <= {*header}
        and "COEFF0" not in header
        and "angstrom" in axis.lower()
    )


@register_layout(
    "6dfgs",
    _is_image,
    description="6dFGS image of 4 rows (spectrum, variance, sky, wavelength) with a "
    "linear axis in Angstrom",
)
def _read_image(hdul: fits.HDUList) -> dict:
    """Read an image of rows spectrum, variance, sky and observed wavelength.

    The wavelengths are those of the header, which may have been shifted to the rest
    frame; the fourth row contains the observed ones.
    """
    header, data = hdul[0].header, hdul[0].data
    if not (np.diff(data[3]) > 0).all():
        raise ValueError(
            "the fourth row must hold ascending wavelengths: the rows are misaligned"
        )
    redshift = number(first(["Z_HELIO", "Z"], header))
    doppler_redshift = _doppler_redshift(header)
    is_rest = abs(doppler_redshift - redshift) < _SAME_REDSHIFT
    return dict(
        flux=data[0],
        ivar=inverse_variance(variance=data[1]),
        wavelength=linear_wavelength(header, data.shape[1]),
        survey="6dFGS",
        id=text(header.get("TARGET")),
        redshift=redshift,
        ra=number(header.get("OBSRA")),
        dec=number(header.get("OBSDEC")),
        # The survey calibrated its arcs in air; the headers do not say so.
        medium=medium_of(header, "air"),
        frame=("rest" if is_rest else None) if doppler_redshift else "topocentric",
        doppler_redshift=doppler_redshift,
        flux_unit=units.ct,
        header=header,
    )


def _doppler_redshift(header: fits.Header) -> float:
    """Redshift by which IRAF's task dopcor corrected the wavelengths, 0 for none.

    Each run of the task adds a card DOPCORnn with the redshift and the apertures.
    """
    stretch = 1.0
    for value in header["DOPCOR*"].values():
        parts = text(value).split()
        redshift = number(parts[0]) if parts else np.nan
        if not np.isfinite(redshift):
            raise ValueError(f"cannot read the Doppler correction {value!r}")
        stretch *= 1 + redshift
    return stretch - 1
