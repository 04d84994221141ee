# SPDX-License-Identifier: BSD-3-Clause
"""The layout of DESI spectra, many in a file, with the arms of the spectrographs.

The data model of the survey,
https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/, states
that wavelengths are those in vacuum, in the frame of the barycenter of the solar
system, and that masked pixels are of no use.
"""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from skastro.datasets.spectra._fields import SDSS_FLUX_UNIT, text, with_unit
from skastro.datasets.spectra._fits import column_names, is_table, read_column
from skastro.datasets.spectra._layouts import register_layout

# Arms share a grid; their wavelengths are sums of steps, exact to round-off errors.
_LEAST_STEP = 1e-3


def _arms(hdul: fits.HDUList) -> list[str]:
    """Names of the arms: B, R and Z, or BRZ if the survey has joined them."""
    names = [hdu.name for hdu in hdul]
    arms = [name.removesuffix("_WAVELENGTH") for name in names]
    return [arm for arm in arms if {f"{arm}_FLUX", f"{arm}_IVAR"} <= {*names}]


def _is_desi(hdul: fits.HDUList) -> bool:
    return bool(_arms(hdul))


@register_layout(
    "desi",
    _is_desi,
    description="DESI images WAVELENGTH, FLUX, IVAR of the arms B, R, Z",
    many=True,
)
def _read_desi(hdul: fits.HDUList) -> dict:
    """Join the arms: the weighted mean where they overlap, by inverse variance."""
    arms = [_read_arm(hdul, arm) for arm in _arms(hdul)]
    if len({unit for *_, unit in arms}) > 1:
        raise ValueError("the arms differ in the unit of flux")
    every = np.concatenate([wavelength for wavelength, *_ in arms])
    order = np.argsort(every, kind="stable")
    starts = np.diff(every[order], prepend=-np.inf) > _LEAST_STEP
    pixel = np.empty(every.size, int)
    pixel[order] = np.cumsum(starts) - 1
    wavelength = every[order][starts]
    for own, *_ in arms:
        inside = (wavelength > own[0] - _LEAST_STEP) & (
            wavelength < own[-1] + _LEAST_STEP
        )
        if np.count_nonzero(inside) != own.size:
            raise ValueError(
                "the pixels of the arms do not coincide where they overlap"
            )
    shape = (len(arms[0][1]), wavelength.size)
    weight, weighted, plain, count = np.zeros((4, *shape))
    bits, end = np.zeros(shape, np.int64), 0
    for own, flux, ivar, mask, _ in arms:
        start, end = end, end + own.size
        pixels = pixel[start:end]
        good = np.where((mask == 0) & np.isfinite(flux) & (ivar > 0), ivar, 0.0)
        weight[:, pixels] += good
        weighted[:, pixels] += good * np.where(good > 0, flux, 0)
        plain[:, pixels] += flux
        count[:, pixels] += 1
        bits[:, pixels] |= mask
    flux = np.where(
        weight > 0, weighted / np.where(weight > 0, weight, 1), plain / count
    )
    return {
        "flux": flux,
        "ivar": weight,
        "or_mask": bits,
        "wavelength": wavelength,
        "flux_unit": arms[0][-1],
        "survey": "DESI",
        "release": _production(hdul[0].header),
        "medium": "vacuum",
        "frame": "barycentric",
        "header": hdul[0].header,
        **_fiber_map(hdul, shape[0]),
    }


def _read_arm(hdul: fits.HDUList, arm: str) -> tuple:
    """Return wavelength, flux, inverse variance, mask and unit of an arm."""
    hdu = hdul[f"{arm}_FLUX"]
    stated = text(hdu.header.get("BUNIT"))
    unit = with_unit(np.ones(1), stated).unit if stated else SDSS_FLUX_UNIT
    wavelength, flux, ivar = (
        np.asarray(hdul[f"{arm}_{name}"].data, np.float64)
        for name in ("WAVELENGTH", "FLUX", "IVAR")
    )
    if flux.ndim == 1:
        flux, ivar = flux[None], ivar[None]
    mask = np.zeros(flux.shape, np.int64)
    if f"{arm}_MASK" in hdul:
        mask = np.atleast_2d(np.asarray(hdul[f"{arm}_MASK"].data).astype(np.int64))
    if (
        not wavelength.shape == flux.shape[1:]
        or not flux.shape == ivar.shape == mask.shape
    ):
        raise ValueError(
            f"the images of arm {arm} differ in shape: wavelength {wavelength.shape}, "
            f"flux {flux.shape}, ivar {ivar.shape}, mask {mask.shape}"
        )
    return wavelength, flux, ivar, mask, unit


def _production(header: fits.Header) -> str:
    """Name of the processing run, such as "fuji", among the versions of software."""
    for key, value in header["DEPNAM*"].items():
        if text(value) == "SPECPROD":
            return text(header.get(key.replace("NAM", "VER")))
    return ""


def _fiber_map(hdul: fits.HDUList, n_spectra: int) -> dict:
    """Read the table of targets, one row a spectrum; early test files have none."""
    hdu = next((hdu for hdu in hdul if hdu.name == "FIBERMAP" and is_table(hdu)), None)
    if hdu is None:
        return {}
    table = Table({name: read_column(hdu, name) for name in column_names(hdu).values()})
    if len(table) != n_spectra:
        raise ValueError(
            f"the flux has {n_spectra} spectra, but FIBERMAP {len(table)} rows"
        )
    fields = {"table": table}
    for field, column in (
        ("id", "TARGETID"),
        ("ra", "TARGET_RA"),
        ("dec", "TARGET_DEC"),
    ):
        if column in table.colnames:
            fields[field] = table[column].data
    if "OBJTYPE" in table.colnames:
        # Others are on empty sky, or stuck where no target is.
        is_target = np.isin(table["OBJTYPE"], ["TGT", "STD"])
        fields["kind"] = np.where(is_target, "science", "sky")
    return fields
