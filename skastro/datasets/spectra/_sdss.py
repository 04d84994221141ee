# SPDX-License-Identifier: BSD-3-Clause
"""The layouts of SDSS and BOSS spectra, one spectrum per file.

Those of SDSS-V have the columns of BOSS; fields take the place of plates, and
CATALOGID that of the fiber:
https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/lite/FIELD/MJD/spec.html
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits

from skastro.datasets.spectra._fields import (
    BANDS,
    SDSS_FLUX_UNIT,
    class_text,
    first,
    integer,
    inverse_variance,
    log_wavelength,
    medium_of,
    number,
    parse_unit,
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

# Bit 0 of ZWARNING: a fiber on empty sky.
_SKY_BIT = 1
# Spectral classes of the spectro1d pipeline, keyword SPEC_CLN; 5 is sky.
_SPECTRO1D_CLASSES = {
    1: "STAR",
    2: "GALAXY",
    3: "QSO",
    4: "QSO",
    6: "STAR",
    7: "GALAXY",
}
_SPECTRO1D_SKY = 5
# Version that spectro1d writes if it was not a tagged release of the survey.
_UNTAGGED = ("", "NOCVS")
_CATALOG_MARKS = {"CLASS", "SUBCLASS", "ZWARNING", "MJD"}
_OBJECT_MARKS = {"FIBERID", "CATALOGID"}


def _is_spec(hdul: fits.HDUList) -> bool:
    """Recognize a coadd table with columns flux, ivar and loglam, and the survey.

    The survey is known by the telescope or the columns of the catalog.
    """
    if next(_coadd_tables(hdul), None) is None:
        return False
    if "SDSS" in text(hdul[0].header.get("TELESCOP")).upper():
        return True
    catalog = _catalog_table(hdul)
    names = {*column_names(catalog)} if catalog is not None else set()
    return names >= _CATALOG_MARKS and bool(names & _OBJECT_MARKS)


def _is_spspec(hdul: fits.HDUList) -> bool:
    """Recognize an image of spectrum, continuum-subtracted spectrum, error, mask."""
    shape, header = image_shape(hdul[0]), hdul[0].header
    return (
        len(shape) == 2
        and shape[0] in (4, 5)
        and "SDSS" in text(header.get("TELESCOP")).upper()
        and "COEFF0" in header
    )


@register_layout(
    "sdss-spec",
    _is_spec,
    description="SDSS, BOSS or eBOSS table with columns flux, ivar, loglam",
)
def _read_spec(hdul: fits.HDUList) -> dict:
    """Read a coadd table and, if there is one, its row of the catalog.

    Names of HDUs are ignored, and names of columns may be in upper or lower case.
    """
    coadd, catalog, header = next(_coadd_tables(hdul)), _catalog(hdul), hdul[0].header
    if not catalog:
        raise ValueError(
            "the object's row of the catalog is missing, a table with column CLASS "
            "behind the spectrum: the file is cut or a part of the survey's file"
        )
    names = column_names(coadd)
    masks = {
        key.lower(): read_column(coadd, key)
        for key in ("AND_MASK", "OR_MASK")
        if key in names
    }
    flux = read_quantity(coadd, "FLUX")
    if not isinstance(flux, units.Quantity):
        flux = units.Quantity(flux, _header_unit(header))
    warning = integer(catalog.get("ZWARNING"))
    run = text(first(["RUN2D", "VERS2D"], catalog, header))
    targets = {text(catalog.get(key)).upper() for key in ("SOURCETYPE", "OBJTYPE")}
    is_sky = "SKY" in targets or (warning > 0 and warning & _SKY_BIT)
    band_values = np.ravel(catalog.get("SN_MEDIAN", []))
    return dict(
        flux=flux,
        ivar=read_column(coadd, "IVAR"),
        wavelength=read_log_wavelength(coadd),
        **masks,
        kind="sky" if is_sky else "science",
        survey=_survey(catalog, run),
        release=run,
        id=_identifier(
            first(["PLATE", "PLATEID", "FIELD"], catalog, header),
            first(["MJD"], catalog, header),
            first(["CATALOGID", "FIBERID"], catalog, header),
        ),
        class_name=class_text(catalog.get("CLASS")).upper(),
        subclass=class_text(catalog.get("SUBCLASS")),
        redshift=number(catalog.get("Z")),
        redshift_warning=warning,
        # RA and DEC of the primary header are the telescope's, not the object's.
        ra=number(first(["PLUG_RA", "FIBER_RA"], catalog, header)),
        dec=number(first(["PLUG_DEC", "FIBER_DEC"], catalog, header)),
        snr=number(catalog.get("SN_MEDIAN_ALL")),
        snr_bands={
            band: number(value) for band, value in zip(BANDS, band_values, strict=False)
        },
        medium=medium_of(header, "vacuum"),
        frame="heliocentric",
        flux_unit=SDSS_FLUX_UNIT,
        header=header,
    )


@register_layout(
    "sdss-spspec",
    _is_spspec,
    description="SDSS image of 4 or 5 rows (spectrum, continuum-subtracted, error, "
    "mask) and COEFF0, COEFF1 in the header",
)
def _read_spspec(hdul: fits.HDUList) -> dict:
    """Read a spectrum of the spectro1d pipeline.

    The survey's cross-correlation templates are files of the same layout. They were
    made with an untagged version of the pipeline, or are composites of many fibers. A
    spectrum therefore counts as an observation only if it names its fiber and a tagged
    version.
    """
    header, data = hdul[0].header, hdul[0].data
    spectral_class = integer(header.get("SPEC_CLN"))
    version = text(header.get("VERS_1D"))
    released = version.partition(":")[0].upper() not in _UNTAGGED
    if not (released and integer(header.get("FIBERID")) > 0):
        kind = "template"
    elif spectral_class == _SPECTRO1D_SKY or text(header.get("OBJTYPE")) == "SKY":
        kind = "sky"
    else:
        kind = "science"
    snr_bands = {band: number(header.get(f"SN_{band.upper()}")) for band in BANDS}
    return dict(
        flux=data[0],
        ivar=inverse_variance(error=data[2]),
        wavelength=log_wavelength(header, data.shape[1]),
        **_spspec_masks(hdul),
        kind=kind,
        survey="SDSS",
        release=version,
        id=_identifier(header.get("PLATEID"), header.get("MJD"), header.get("FIBERID")),
        class_name=_SPECTRO1D_CLASSES.get(spectral_class, ""),
        redshift=number(header.get("Z")),
        redshift_warning=integer(header.get("Z_WARNIN")),
        ra=number(header.get("RAOBJ")),
        dec=number(header.get("DECOBJ")),
        snr=snr_bands["r"],
        snr_bands=snr_bands,
        medium=medium_of(header, "vacuum"),
        frame="heliocentric",
        flux_unit=SDSS_FLUX_UNIT,
        header=header,
    )


def _coadd_tables(hdul: fits.HDUList) -> Iterator[fits.BinTableHDU]:
    """Find the tables of spectra, the coadd first, then those of single exposures.

    HDUs may have no names; the coadd is the first one then.
    """
    needed = {"FLUX", "IVAR", "LOGLAM"}
    for hdu in sorted(hdul[1:], key=lambda hdu: hdu.name != "COADD"):
        arm = hdu.name.startswith("COADD_")
        if is_table(hdu) and not arm and needed <= {*column_names(hdu)}:
            yield hdu


def _header_unit(header: fits.Header) -> units.UnitBase:
    """Read BUNIT; the survey's unit where it is absent or no unit of flux."""
    try:
        unit = parse_unit(text(header.get("BUNIT")))
    except ValueError:
        return SDSS_FLUX_UNIT
    return unit if unit.is_equivalent(SDSS_FLUX_UNIT) else SDSS_FLUX_UNIT


def _catalog_table(hdul: fits.HDUList) -> fits.BinTableHDU | None:
    """Find the table with the object's row of the catalog."""
    for hdu in hdul[1:]:
        if is_table(hdu) and hdu.header["NAXIS2"] == 1 and "CLASS" in column_names(hdu):
            return hdu
    return None


def _catalog(hdul: fits.HDUList) -> dict[str, Any]:
    """Read the object's row of the catalog; empty if the file has none."""
    hdu = _catalog_table(hdul)
    if hdu is None:
        return {}
    wanted = ["SURVEY", "SOURCETYPE", "OBJTYPE", "RUN2D"]
    wanted += ["PLATE", "MJD", "FIBERID", "PLUG_RA", "PLUG_DEC"]
    wanted += ["FIELD", "CATALOGID", "FIBER_RA", "FIBER_DEC"]
    wanted += ["CLASS", "SUBCLASS", "Z", "ZWARNING"]
    wanted += ["SN_MEDIAN", "SN_MEDIAN_ALL"]
    names = column_names(hdu)
    return {key: read_column(hdu, key)[0] for key in wanted if key in names}


def _survey(catalog: dict[str, Any], run: str) -> str:
    """Name of the survey.

    Only the catalog of SDSS-I and -II contains it. Its reductions are named by a
    number, those of the BOSS pipeline by a tag like v5_7_0, and since SDSS-V v6_0_4.
    """
    if run.startswith("v6"):
        return "SDSS-V"
    name = text(catalog.get("SURVEY")).upper()
    return name or ("BOSS" if run.startswith("v") else "SDSS")


def _identifier(plate: Any, mjd: Any, fiber: Any) -> str:
    return f"{integer(plate, 0):04d}-{integer(mjd, 0):05d}-{integer(fiber, 0):04d}"


def _spspec_masks(hdul: fits.HDUList) -> dict[str, np.ndarray]:
    """And-mask and or-mask; the image has the and-mask, with flags of lines added."""
    for hdu in hdul[1:]:
        if is_table(hdu) and {"ANDMASK", "ORMASK"} <= {*column_names(hdu)}:
            return {
                "and_mask": read_column(hdu, "ANDMASK"),
                "or_mask": read_column(hdu, "ORMASK"),
            }
    return {"and_mask": hdul[0].data[3]}
