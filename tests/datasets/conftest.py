# SPDX-License-Identifier: BSD-3-Clause
"""Small files in each of the surveys' layouts, made by hand."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from astropy.io import fits

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


MAKERS = {
    "lamost-image": _lamost_image,
    "lamost-log-image": _lamost_log_image,
    "lamost-coadd": _lamost_coadd,
    "sdss-spec": _sdss_spec,
    "sdss-spec-upper": _sdss_spec_upper,
    "sdss-spspec": _sdss_spspec,
    "6dfgs": _sixdfgs,
}


@pytest.fixture
def write_spectrum(tmp_path: Path) -> Callable[..., Made]:
    """Return a function that writes a file in a named layout, with changed cards."""

    def write(layout: str, name: str = "some.fits", **cards: object) -> Made:
        flux, ivar = _numbers()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        MAKERS[layout](flux, ivar, cards).writeto(path)
        wavelength = LINEAR_WAVELENGTH if layout == "6dfgs" else LOG_WAVELENGTH
        return Made(path, wavelength, flux, ivar)

    return write


@pytest.fixture
def compress() -> Callable[[Path], None]:
    """Return a function that gzip-compresses a file under its name."""

    def compress_file(path: Path) -> None:
        path.write_bytes(gzip.compress(path.read_bytes()))

    return compress_file
