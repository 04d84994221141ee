# SPDX-License-Identifier: BSD-3-Clause
"""The layout of Marz and of the reduction software of the Anglo-Australian Telescope.

Hinton, S. R. et al. 2016, Astronomy and Computing 15, 61,
doi:10.1016/j.ascom.2016.03.001, and https://samreay.github.io/Marz/#/usage: the flux is
the primary image, one row a fiber; wavelengths are those in air unless VACUUM is true,
and decimal logarithms if LOGSCALE is; DO_HELIO asks Marz to correct for the motion of
the Earth, so that the wavelengths of the file are not corrected.
"""

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table

from skastro.datasets.spectra._fields import (
    frame_of,
    inverse_variance,
    linear_wavelength,
    medium_of,
    text,
    unit_of_flux,
    with_unit,
)
from skastro.datasets.spectra._fits import (
    column_names,
    image_shape,
    is_table,
    read_column,
)
from skastro.datasets.spectra._layouts import register_layout


def is_marz(hdul: fits.HDUList) -> bool:
    """Recognize an image VARIANCE like the primary one, and fibers or wavelengths."""
    shapes = {hdu.name: image_shape(hdu) for hdu in hdul[1:]}
    return (
        len(shape := image_shape(hdul[0])) in (1, 2)
        and shapes.get("VARIANCE") == shape
        and bool({"FIBRES", "WAVELENGTH"} & {*shapes})
        and "LABELS" not in shapes
    )


@register_layout(
    "marz",
    is_marz,
    description="Marz or 2dfdr image with images VARIANCE, WAVELENGTH and table FIBRES",
    many=True,
)
def _read_marz(hdul: fits.HDUList) -> dict:
    """Read the spectra of all fibers."""
    header, flux = hdul[0].header, np.atleast_2d(hdul[0].data)
    if "WAVELENGTH" in hdul:
        wavelength = np.asarray(hdul["WAVELENGTH"].data, np.float64)
    else:
        wavelength = linear_wavelength(header, flux.shape[1])
    if header.get("LOGSCALE") in (True, 1, "T"):
        wavelength = 10.0**wavelength
    unit = text(header.get("CUNIT1"))
    if unit and "WAVELENGTH" not in hdul:
        wavelength = with_unit(wavelength, unit)
    corrected = header.get("DO_HELIO") in (None, False, 0, "F")
    return {
        "flux": flux,
        "ivar": inverse_variance(variance=np.atleast_2d(hdul["VARIANCE"].data)),
        "wavelength": wavelength,
        "medium": medium_of(header, "air"),
        "frame": frame_of(header) if corrected else "topocentric",
        "flux_unit": unit_of_flux(header.get("BUNIT")),
        "header": header,
        **_fibers(hdul, len(flux)),
    }


def _fibers(hdul: fits.HDUList, n_spectra: int) -> dict:
    """Read names, positions (in radians) and types of the fibers."""
    hdu = next((hdu for hdu in hdul if hdu.name == "FIBRES" and is_table(hdu)), None)
    if hdu is None:
        return {}
    table = Table({name: read_column(hdu, name) for name in column_names(hdu).values()})
    if len(table) != n_spectra:
        raise ValueError(
            f"the image has {n_spectra} rows, but FIBRES names {len(table)} fibers"
        )
    found = {name.upper(): table[name].data for name in table.colnames}
    fields = {
        field: (found[key] * units.rad).to_value(units.deg)
        for field, key in (("ra", "RA"), ("dec", "DEC"))
        if key in found
    }
    if "NAME" in found:
        fields["id"] = found["NAME"]
    if "TYPE" in found and found["TYPE"].dtype.kind == "U":
        # P is an object of the program, S empty sky; the others have no object.
        fields["kind"] = np.where(found["TYPE"] == "P", "science", "sky")
    table.remove_columns([n for n in table.colnames if n.upper() in ("RA", "DEC")])
    return fields | {"table": table}
