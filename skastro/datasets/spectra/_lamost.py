# SPDX-License-Identifier: BSD-3-Clause
"""The layouts of LAMOST spectra, one spectrum per file."""

import re
from typing import Any

import numpy as np
from astropy.io import fits

from skastro.datasets.spectra._fields import (
    BANDS,
    class_text,
    first,
    integer,
    log_wavelength,
    medium_of,
    number,
    text,
)
from skastro.datasets.spectra._fits import (
    column_names,
    image_shape,
    is_table,
    read_column,
    read_log_wavelength,
    read_quantity,
)
from skastro.datasets.spectra._layouts import register_layout

_N_ROWS = 5
_ARMS = ("COADD_B", "COADD_R")


def _is_image(hdul: fits.HDUList) -> bool:
    """Recognize an image of five rows whose third row holds the wavelengths."""
    return _is_any_image(hdul) and _has_wavelength_row(hdul[0])


def _is_log_linear_image(hdul: fits.HDUList) -> bool:
    """Recognize an image of five rows without wavelengths."""
    return _is_any_image(hdul) and not _has_wavelength_row(hdul[0])


def _is_coadd(hdul: fits.HDUList) -> bool:
    """Recognize a table of vectors, one of them the wavelengths."""
    return _telescope(hdul) == "LAMOST" and bool(_coadd_tables(hdul))


def _is_medium(hdul: fits.HDUList) -> bool:
    """Recognize the tables of coadded spectra of the blue and the red arm."""
    return _telescope(hdul) in ("", "LAMOST") and bool(_arm_tables(hdul))


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
            f"{len(tables)} tables ({names})"
        )
    table = tables[0]
    return dict(
        flux=read_quantity(table, "FLUX")[0],
        ivar=read_column(table, "IVAR")[0],
        wavelength=read_quantity(table, "WAVELENGTH")[0],
        **{name: mask[0] for name, mask in _masks(table).items()},
        **_header_fields(hdul[0].header),
    )


@register_layout(
    "lamost-medium",
    _is_medium,
    description="LAMOST medium resolution, tables COADD_B and COADD_R with columns "
    "FLUX, IVAR, LOGLAM or WAVELENGTH",
)
def _read_medium(hdul: fits.HDUList) -> dict:
    """Read both arms, or the only one, as one spectrum with a gap."""
    tables = _arm_tables(hdul)
    if len({hdu.name for hdu in tables}) < len(tables):
        raise ValueError(f"expected one table an arm, found {len(tables)}")
    arms = [_read_arm(table) for table in tables]
    arms.sort(key=lambda arm: arm["wavelength"][0])
    fields = _header_fields(hdul[0].header)
    fields["id"] = fields["id"].replace("spec", "med", 1)
    names = set.intersection(*({*arm} for arm in arms))
    return fields | {
        name: np.concatenate([arm[name] for arm in arms]) for name in names
    }


def _read_arm(table: fits.BinTableHDU) -> dict[str, Any]:
    """Read the table of an arm, with one pixel a row or one row of vectors."""
    logarithmic = "LOGLAM" in column_names(table)
    arm: dict[str, Any] = dict(
        flux=read_quantity(table, "FLUX"),
        ivar=read_column(table, "IVAR"),
        wavelength=read_log_wavelength(table)
        if logarithmic
        else read_quantity(table, "WAVELENGTH"),
        **_masks(table),
    )
    if len(table.data) == 1:
        arm = {name: values[0] for name, values in arm.items()}
    shapes = {values.shape for values in arm.values()}
    if len(shapes) > 1 or len(arm["flux"].shape) != 1:
        raise ValueError(f"the columns of {table.name} differ in shape: {shapes}")
    order = np.argsort(arm["wavelength"])
    return {name: values[order] for name, values in arm.items()}


def _telescope(hdul: fits.HDUList) -> str:
    name = text(hdul[0].header.get("TELESCOP")).upper()
    return "LAMOST" if "LAMOST" in name else name


def _is_any_image(hdul: fits.HDUList) -> bool:
    shape, telescope = image_shape(hdul[0]), _telescope(hdul)
    rows = _row_names(hdul[0])
    named = len(rows) == _N_ROWS and rows[0] == "flux" and "inverse" in rows[1]
    marked = telescope == "LAMOST" or (not telescope and named)
    return len(shape) == 2 and shape[0] == _N_ROWS and marked


def _row_names(hdu: fits.PrimaryHDU) -> list[str]:
    return re.findall(r"\w+", text(hdu.header.get("EXTEN0")).lower())


def _has_wavelength_row(hdu: fits.PrimaryHDU) -> bool:
    names = _row_names(hdu)
    if len(names) == _N_ROWS:
        return names[2] == "wavelength"
    # Only wavelengths ascend throughout.
    return bool((np.diff(hdu.data[2]) > 0).all())


def _coadd_tables(hdul: fits.HDUList) -> list[fits.BinTableHDU]:
    needed = {"FLUX", "IVAR", "WAVELENGTH"}
    return [
        hdu
        for hdu in hdul[1:]
        # Other names are those of arms and of single exposures.
        if is_table(hdu)
        and hdu.name in ("", "COADD")
        and needed <= {*column_names(hdu)}
    ]


def _arm_tables(hdul: fits.HDUList) -> list[fits.BinTableHDU]:
    return [
        hdu
        for hdu in hdul[1:]
        if is_table(hdu)
        and hdu.name in _ARMS
        and {"FLUX", "IVAR"} <= (names := {*column_names(hdu)})
        and {"LOGLAM", "WAVELENGTH"} & names
    ]


def _masks(table: fits.BinTableHDU) -> dict[str, np.ndarray]:
    """And-mask and or-mask, which the layouts spell in two ways."""
    columns = {key.replace("_", ""): key for key in column_names(table)}
    wanted = {"and_mask": "ANDMASK", "or_mask": "ORMASK"}
    return {
        name: read_column(table, columns[key])
        for name, key in wanted.items()
        if key in columns
    }


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
        "medium": medium_of(header, "vacuum"),
        "frame": "heliocentric" if header.get("HELIO", True) else "topocentric",
        "header": header,
    }
