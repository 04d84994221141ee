# SPDX-License-Identifier: BSD-3-Clause
"""The layouts of LAMOST low-resolution spectra, one spectrum per file."""

import re

import numpy as np
from astropy import units
from astropy.io import fits

from skastro.datasets.spectra._fields import (
    BANDS,
    class_text,
    first,
    integer,
    log_wavelength,
    number,
    text,
)
from skastro.datasets.spectra._fits import column_names, image_shape, is_table
from skastro.datasets.spectra._layouts import register_layout

_N_ROWS = 5


def _is_image(hdul: fits.HDUList) -> bool:
    """Recognize an image of five rows whose third row holds the wavelengths."""
    return _is_any_image(hdul) and _has_wavelength_row(hdul[0])


def _is_log_linear_image(hdul: fits.HDUList) -> bool:
    """Recognize an image of five rows without wavelengths."""
    return _is_any_image(hdul) and not _has_wavelength_row(hdul[0])


def _is_coadd(hdul: fits.HDUList) -> bool:
    """Recognize a table of vectors, one of them the wavelengths."""
    return bool(_coadd_tables(hdul))


@register_layout(
    "lamost-image",
    _is_image,
    description="LAMOST image of 5 rows: flux, ivar, wavelength, and-mask, or-mask",
)
def _read_image(hdul: fits.HDUList) -> dict:
    """Read an image of rows flux, ivar, wavelength, and-mask, or-mask."""
    return _read_rows(hdul, hdul[0].data[2])


@register_layout(
    "lamost-log-image",
    _is_log_linear_image,
    description="LAMOST image of 5 rows without wavelengths, and COEFF0, COEFF1 in "
    "the header",
)
def _read_log_linear_image(hdul: fits.HDUList) -> dict:
    """Read an image of rows flux, ivar, subcontinuum, and-mask, or-mask."""
    return _read_rows(hdul, log_wavelength(hdul[0].header, hdul[0].shape[1]))


@register_layout(
    "lamost-coadd",
    _is_coadd,
    description="LAMOST table of one row with vectors FLUX, IVAR, WAVELENGTH",
)
def _read_coadd(hdul: fits.HDUList) -> dict:
    """Read a table of one row with vector columns."""
    tables = _coadd_tables(hdul)
    if len(tables) > 1 or len(tables[0].data) != 1:
        names = ", ".join(hdu.name or "unnamed" for hdu in tables)
        rows = sum(len(hdu.data) for hdu in tables)
        raise ValueError(
            f"expected one coadded spectrum in one table row, found {rows} rows in "
            f"{len(tables)} tables ({names}); multi-arm files are not supported"
        )
    columns = column_names(tables[0])
    row = {key: tables[0].data[name][0] for key, name in columns.items()}
    return dict(
        flux=row["FLUX"],
        ivar=row["IVAR"],
        wavelength=row["WAVELENGTH"],
        and_mask=row.get("ANDMASK"),
        or_mask=row.get("ORMASK"),
        **_header_fields(hdul[0].header),
    )


def _is_any_image(hdul: fits.HDUList) -> bool:
    shape, header = image_shape(hdul[0]), hdul[0].header
    marked = "LAMOST" in text(header.get("TELESCOP")).upper() or "EXTEN0" in header
    return len(shape) == 2 and shape[0] == _N_ROWS and marked


def _has_wavelength_row(hdu: fits.PrimaryHDU) -> bool:
    names = re.findall(r"\w+", text(hdu.header.get("EXTEN0")).lower())
    if len(names) == _N_ROWS:
        return names[2] == "wavelength"
    # Only wavelengths ascend throughout.
    return bool((np.diff(hdu.data[2]) > 0).all())


def _coadd_tables(hdul: fits.HDUList) -> list[fits.BinTableHDU]:
    needed = {"FLUX", "IVAR", "WAVELENGTH"}
    return [hdu for hdu in hdul[1:] if is_table(hdu) and needed <= {*column_names(hdu)}]


def _read_rows(hdul: fits.HDUList, wavelength: np.ndarray) -> dict:
    flux, ivar, _, and_mask, or_mask = hdul[0].data
    return dict(
        flux=flux,
        ivar=ivar,
        wavelength=wavelength,
        and_mask=and_mask,
        or_mask=or_mask,
        **_header_fields(hdul[0].header),
    )


def _header_fields(header: fits.Header) -> dict:
    """Fields that the primary header holds in all layouts.

    The keywords of S/N and fiber type have two spellings each.
    """
    fiber_type = text(first(["FIBERTYP", "FIB_TYPE"], header)).lower()
    snr_bands = {
        band: number(first([f"SNR{band.upper()}", f"SN_{band.upper()}"], header))
        for band in BANDS
    }
    identifier = (
        f"spec-{text(header.get('LMJD'))}-{text(header.get('PLANID'))}"
        f"_sp{integer(header.get('SPID'), 0):02d}"
        f"-{integer(header.get('FIBERID'), 0):03d}"
    )
    return {
        "kind": "sky" if fiber_type == "sky" else "science",
        "survey": "LAMOST",
        "release": text(header.get("DATA_V")),
        "id": identifier,
        "class_name": class_text(header.get("CLASS")).upper(),
        "subclass": class_text(header.get("SUBCLASS")),
        "redshift": number(header.get("Z")),
        "ra": number(header.get("RA")),
        "dec": number(header.get("DEC")),
        "snr": snr_bands["r"],
        "snr_bands": snr_bands,
        "vacuum": bool(header.get("VACUUM", True)),
        # Calibrated in relative flux only.
        "flux_unit": units.dimensionless_unscaled,
        "header": header,
    }
