# SPDX-License-Identifier: BSD-3-Clause
"""Small files in each of the surveys' layouts, made by hand."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

N_PIXELS = 400
COEFF0, COEFF1 = 3.58, 1e-3
LOG_WAVELENGTH = 10 ** (COEFF0 + COEFF1 * np.arange(N_PIXELS))
LINEAR_WAVELENGTH = 3900.0 + 12.5 * np.arange(N_PIXELS)


class Made(NamedTuple):
    """What a file holds that was written."""

    path: Path
    wavelength: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    flux = rng.normal(10.0, 3.0, N_PIXELS).astype(np.float32)
    ivar = rng.uniform(0.5, 2.0, N_PIXELS).astype(np.float32)
    flux[5], ivar[7] = 0.0, 0.0
    return flux, ivar


def _lamost_header(**cards: object) -> fits.Header:
    header = {
        "TELESCOP": "LAMOST",
        "DATA_V": "LAMOST DR7",
        "LMJD": 58575,
        "PLANID": "HD1",
        "SPID": 3,
        "FIBERID": 8,
        "RA": 158.5,
        "DEC": 35.7,
        "CLASS": "STAR",
        "SUBCLASS": "G3",
        "Z": -1e-4,
        "SNRU": 1.0,
        "SNRG": 2.0,
        "SNRR": 3.0,
        "SNRI": 4.0,
        "SNRZ": 5.0,
        "FIBERTYP": "Obj",
        "COEFF0": COEFF0,
        "COEFF1": COEFF1,
        "VACUUM": True,
    }
    return fits.Header({**header, **cards})


def _lamost_image(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    third = np.float32(LOG_WAVELENGTH)
    rows = np.stack([flux, ivar, third, np.zeros(N_PIXELS), ivar == 0])
    header = _lamost_header(
        **{"EXTEN0": "Flux, Inverse, Wavelength, Andmask, Ormask", **cards}
    )
    return fits.HDUList([fits.PrimaryHDU(rows.astype(np.float32), header)])


def _lamost_log_image(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    rows = np.stack([flux, ivar, flux - 1, np.zeros(N_PIXELS), ivar == 0])
    header = _lamost_header(
        **{"EXTEN0": "Flux Inverse Subcontinuum Andmask Ormask", **cards}
    )
    return fits.HDUList([fits.PrimaryHDU(rows.astype(np.float32), header)])


def _lamost_coadd(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    vectors = {
        "FLUX": flux,
        "IVAR": ivar,
        "WAVELENGTH": LOG_WAVELENGTH,
        "ANDMASK": np.zeros(N_PIXELS),
        "ORMASK": ivar == 0,
        "NORMALIZATION": np.full(N_PIXELS, -9999.0),
    }
    columns = [
        fits.Column(name, f"{N_PIXELS}E", array=[np.float32(vector)])
        for name, vector in vectors.items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name="COADD")
    return fits.HDUList([fits.PrimaryHDU(header=_lamost_header(**cards)), table])


def _sdss_spec(
    flux: np.ndarray, ivar: np.ndarray, cards: dict, upper: bool = False
) -> fits.HDUList:
    header = fits.Header(
        {
            "RA": 145.9,
            "DEC": 0.06,
            "PLUG_RA": 146.2,
            "PLUG_DEC": -0.4,
            "COEFF0": COEFF0 - 3 * COEFF1,
            "COEFF1": COEFF1,
            "BUNIT": "1E-17 erg/cm^2/s/Ang",
        }
    )
    row = {
        "SURVEY": ("16A", "sdss"),
        "SOURCETYPE": ("16A", "GALAXY"),
        "OBJTYPE": ("16A", "GALAXY"),
        "RUN2D": ("8A", "26"),
        "PLATE": ("J", 266),
        "MJD": ("J", 51630),
        "FIBERID": ("J", 168),
        "CLASS": ("8A", "GALAXY"),
        "SUBCLASS": ("16A", "STARFORMING"),
        "Z": ("E", 0.0674),
        "ZWARNING": ("J", 0),
        "SN_MEDIAN_ALL": ("E", 23.7),
        "SN_MEDIAN": ("5E", [4.0, 17.0, 30.0, 33.0, 22.0]),
    }
    for key, value in cards.items():
        row[key] = (row[key][0], value)
    coadd = [
        fits.Column("flux", "E", array=flux),
        fits.Column("loglam", "E", array=np.log10(LOG_WAVELENGTH)),
        fits.Column("ivar", "E", array=ivar),
        fits.Column("and_mask", "J", array=np.zeros(N_PIXELS)),
        fits.Column("or_mask", "J", array=np.arange(N_PIXELS)),
    ]
    for column in coadd if upper else []:
        column.name = column.name.upper()
    catalog = [
        fits.Column(key, form, array=[value])
        for key, (form, value) in row.items()
        if value is not None
    ]
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=header),
            fits.BinTableHDU.from_columns(coadd, name=None if upper else "COADD"),
            fits.BinTableHDU.from_columns(catalog, name=None if upper else "SPECOBJ"),
        ]
    )


def _sdss_spec_upper(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    return _sdss_spec(flux, ivar, cards, upper=True)


def _sdss_spspec(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    error = np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 0)
    rows = np.stack([flux, flux - 1, error, np.arange(N_PIXELS)])
    header = {
        "TELESCOP": "SDSS 2.5-M",
        "BUNIT": "1.0E-17 erg/cm/s/Ang",
        "VERS_1D": "v5_9_4",
        "PLATEID": 432,
        "MJD": 51884,
        "FIBERID": 391,
        "RA": 1.0,
        "DEC": 2.0,
        "RAOBJ": 114.7,
        "DECOBJ": 40.3,
        "OBJTYPE": "GALAXY",
        "SPEC_CLN": 3,
        "Z": 1.5,
        "Z_WARNIN": 0,
        "SN_G": 57.2,
        "SN_R": 50.9,
        "COEFF0": COEFF0,
        "COEFF1": COEFF1,
    }
    header = fits.Header({**header, **cards})
    return fits.HDUList([fits.PrimaryHDU(rows.astype(np.float32), header)])


def _sixdfgs(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    variance = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    rows = np.stack([flux, variance, flux, LINEAR_WAVELENGTH * 1.03])
    header = {
        "CRVAL1": 3900.0 + 12.5,
        "CRPIX1": 2.0,
        "CDELT1": 12.5,
        "CUNIT1": "Angstroms",
        "TARGET": "g0022390-240737",
        "OBSRA": 5.66,
        "OBSDEC": -24.1,
        "Z": 0.0331,
        "Z_HELIO": 0.03,
        "DOPCOR01": "0.03 7",
    }
    header = fits.Header({**header, **cards})
    return fits.HDUList([fits.PrimaryHDU(rows.astype(np.float32), header)])


def _errors(ivar: np.ndarray) -> np.ndarray:
    """Errors of inverse variances, 0 for bad pixels."""
    return np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 0)


def _desi(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    """Arms of 150, 150 and 200 pixels, of which 50 and 50 overlap."""
    hdus = [fits.PrimaryHDU(header=fits.Header({"DEPNAM00": "SPECPROD", **cards}))]
    hdus[0].header["DEPVER00"] = "loa"
    for arm, start, end in (("B", 0, 150), ("R", 100, 250), ("Z", 200, 400)):
        share = np.ones(end - start)
        share[: 50 * (arm != "B")] = 0.75
        if arm != "Z":
            share[-50:] = 0.25
        hdus += [
            fits.ImageHDU(LINEAR_WAVELENGTH[start:end], name=f"{arm}_WAVELENGTH"),
            fits.ImageHDU(flux[None, start:end], name=f"{arm}_FLUX"),
            fits.ImageHDU(
                np.float32(ivar[None, start:end] * share), name=f"{arm}_IVAR"
            ),
        ]
        hdus[-2].header["BUNIT"] = "10**-17 erg/(s cm2 Angstrom)"
    targets = {"TARGETID": [39633300968442591], "OBJTYPE": ["TGT"], "RELEASE": [9011]}
    targets |= {"TARGET_RA": [215.5], "TARGET_DEC": [53.25]}
    return fits.HDUList([*hdus, fits.BinTableHDU(Table(targets), name="FIBERMAP")])


def _galah(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    header = {"INSTRUME": "HERMES-2dF", "SPECTID": "BL", "GALAH_ID": "None"}
    header |= {"CRVAL1": 3900.0, "CRPIX1": 1.0, "CD1_1": 12.5, "OBJ_NAME": "gaia 1"}
    header |= {"RVCOM": -29.9792458, "RVCOM_OK": 1, "RA_OBS": 87.75, "DEC_OBS": 8.0}
    header = fits.Header({**header, "SNR": 22.0, **cards})
    relative = _errors(ivar) / np.where(flux == 0, 1, np.abs(flux))
    return fits.HDUList(
        [
            fits.PrimaryHDU(flux.astype(float), header),
            fits.ImageHDU(flux / 20.0, header, name="normalized"),
            fits.ImageHDU(relative, header, name="relative_error"),
            fits.ImageHDU(np.zeros(N_PIXELS), header, name="sky"),
        ]
    )


def _marz(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    header = fits.Header({"VACUUM": True, "LOGSCALE": True, "DO_HELIO": True, **cards})
    fibers = {"NAME": ["D1"], "RA": [0.5], "DEC": [-0.25], "TYPE": ["P"]}
    return fits.HDUList(
        [
            fits.PrimaryHDU(flux, header),
            fits.ImageHDU(np.float32(_errors(ivar) ** 2), name="VARIANCE"),
            fits.ImageHDU(np.log10(LOG_WAVELENGTH), name="WAVELENGTH"),
            fits.BinTableHDU(Table(fibers), name="FIBRES"),
        ]
    )


def _eso(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    """One row of vectors, in nm, with a second flux that is not the main one."""
    header = {"ORIGIN": "ESO", "PRODCATG": "SCIENCE.SPECTRUM", "SPECSYS": "BARYCENT"}
    header |= {"OBJECT": "HD 1", "RA": 5.5, "DEC": -24.0, "SNR": 20.0}
    unit = "erg.s**(-1).cm**(-2).nm**(-1)"
    columns = [
        ("WAVE", LINEAR_WAVELENGTH / 10, "nm", "SpectralAxis.Value", "em.wl"),
        ("FLUX", flux * 1e-16, unit, "FluxAxis.Value", "phot.flux.density;em.wl"),
        ("ERR", _errors(ivar) * 1e-16, unit, "FluxAxis.Accuracy.StatError", ""),
    ]
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, f"{N_PIXELS}D", unit, array=values[None])
            for name, values, unit, *_ in columns
        ]
    )
    for index, (*_, utype, ucd) in enumerate(columns, start=1):
        hdu.header[f"TUTYP{index}"] = f"spec:Data.{utype}"
        hdu.header[f"TUCD{index}"] = ucd
    return fits.HDUList([fits.PrimaryHDU(header=fits.Header({**header, **cards})), hdu])


def _x1d(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    header = {"TELESCOP": "JWST", "TARGNAME": "HD 1", "CAL_VER": "1.14", **cards}
    table = Table({"WAVELENGTH": LINEAR_WAVELENGTH / 1e4, "FLUX": flux.astype(float)})
    table["FLUX_ERROR"] = np.where(ivar > 0, _errors(ivar), np.nan)
    table["DQ"] = np.where(ivar > 0, 4, 1)
    for name, unit in (("WAVELENGTH", "um"), ("FLUX", "Jy"), ("FLUX_ERROR", "Jy")):
        table[name].unit = unit
    hdu = fits.BinTableHDU(table, name="EXTRACT1D")
    hdu.header["SPECSYS"] = "BARYCENT"
    return fits.HDUList([fits.PrimaryHDU(header=fits.Header(header)), hdu])


def _table(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    table = Table({"wave": LINEAR_WAVELENGTH, "flux": flux, "ivar": ivar})
    table["wave"].unit = "Angstrom"
    hdu = fits.BinTableHDU(table)
    hdu.header.update(cards)
    return fits.HDUList([fits.PrimaryHDU(), hdu])


def _iraf(flux: np.ndarray, ivar: np.ndarray, cards: dict) -> fits.HDUList:
    """Make a logarithmic axis."""
    header = {"CTYPE1": "LINEAR", "CRVAL1": COEFF0, "CD1_1": COEFF1, "CRPIX1": 1.0}
    header |= {
        "DC-FLAG": 1,
        "WAT1_001": "wtype=linear label=Wavelength units=angstroms",
    }
    hdu = fits.PrimaryHDU(flux, fits.Header({**header, "OBJECT": "HD 1", **cards}))
    return fits.HDUList([hdu, fits.ImageHDU(_errors(ivar), name="SIGMA")])


MAKERS = {
    "lamost-image": _lamost_image,
    "lamost-log-image": _lamost_log_image,
    "lamost-coadd": _lamost_coadd,
    "sdss-spec": _sdss_spec,
    "sdss-spec-upper": _sdss_spec_upper,
    "sdss-spspec": _sdss_spspec,
    "6dfgs": _sixdfgs,
    "desi": _desi,
    "galah": _galah,
    "marz": _marz,
    "vo-spectrum": _eso,
    "jwst-x1d": _x1d,
    "table": _table,
    "image": _iraf,
}
LOGARITHMIC = ("lamost", "sdss", "marz", "image")


@pytest.fixture
def write_spectrum(tmp_path: Path) -> Callable[..., Made]:
    """Return a function that writes a file in a named layout, with changed cards."""

    def write(layout: str, name: str = "some.fits", **cards: object) -> Made:
        flux, ivar = _numbers()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        MAKERS[layout](flux, ivar, cards).writeto(path)
        is_log = layout.startswith(LOGARITHMIC)
        wavelength = LOG_WAVELENGTH if is_log else LINEAR_WAVELENGTH
        return Made(path, wavelength, flux, ivar)

    return write


@pytest.fixture
def compress() -> Callable[[Path], None]:
    """Return a function that gzip-compresses a file under its name."""

    def compress_file(path: Path) -> None:
        path.write_bytes(gzip.compress(path.read_bytes()))

    return compress_file
