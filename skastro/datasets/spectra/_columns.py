# SPDX-License-Identifier: BSD-3-Clause
"""Spectra as tables: VO and ESO spectra, JWST, ECSV, and plain columns of text.

Columns are known by UTYPE and UCD (IVOA Spectrum data model 1.1 and the ESO Science
Data Products Standard, https://www.eso.org/sci/observing/phase3/p3sdpstd.pdf, by which
"em.wl" stands for wavelengths in vacuum and "em.wl;obs.atmos" for those in air), or
else by name. JWST: https://jwst-pipeline.readthedocs.io, product ``x1d``.
"""

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

from skastro.datasets.spectra._fields import (
    SDSS_FLUX_UNIT,
    first,
    frame_of,
    inverse_variance,
    medium_of,
    number,
    parse_unit,
    split_unit,
    text,
)
from skastro.datasets.spectra._fits import column_names, is_table, read_quantity
from skastro.datasets.spectra._layouts import add_layout, register_layout

# Other prefixes, such as "eso:" and "continuum:", stand for further spectra.
_MODEL = r"^((spec|ssa|sdm|spectrum):)?(spectrum\.)?data\."
_UTYPES = {
    "wavelength": re.compile(_MODEL + r"spectralaxis\.value$", re.I),
    "flux": re.compile(_MODEL + r"fluxaxis\.value$", re.I),
    "error": re.compile(_MODEL + r"fluxaxis\.accuracy\.staterror$", re.I),
    "quality": re.compile(_MODEL + r"fluxaxis\.accuracy\.qualitystatus$", re.I),
}
_UCDS = {
    "wavelength": re.compile(
        r"^em\.(wl|freq|energy)(;obs\.atmos)?(;meta\.main)?$", re.I
    ),
    "flux": re.compile(r"^(phot\.flux|arith\.ratio|phot\.count)", re.I),
    "error": re.compile(r"^stat\.error;(phot\.flux|meta\.main)", re.I),
    "quality": re.compile(r"^meta\.code\.qual;meta\.main", re.I),
}
# Names of columns in lower case, without underscores and units.
_NAMES = {
    "wavelength": "wavelength wave lambda lam wl wavelengths spectralaxis waveair "
    "wavevac wavelengthair wavelengthvac wavelengthvacuum lambdaair lambdavac",
    "loglam": "loglam loglambda logwave logwavelength",
    "flux": "flux flam flambda fnu fluxdensity f intensity",
    "error": "error err sigma sig std stddev fluxerror fluxerr errflux errorflux eflux "
    "uncertainty unc fluxunc dflux fluxuncertainty noise",
    "ivar": "ivar fluxivar inversevariance invvar",
    "variance": "variance var fluxvar fluxvariance",
}
_ROLE_OF_NAME = {name: role for role, names in _NAMES.items() for name in names.split()}
# Names of errors may mean something else, such as the width of lines.
_ERROR_ROLES = ("ivar", "variance", "error")
_USUAL = ("wavelength", "flux", "error")
_MOST_COLUMNS, _LEAST_ROWS = 5, 5
_COMMENT = re.compile(r"^\s*[#%;!/]+\s*")
_WORD = re.compile(r"[^\s,\[(|]+(?:\s*(?:\[[^\]]*\]|\([^)]*\)+))?")
_FIRST_UNIT = re.compile(r"[\[(](.*)[\])]\s*$")


class _Column(NamedTuple):
    """Description of a column of a FITS table."""

    name: str
    utype: str
    ucd: str


def role_of(name: str) -> str | None:
    """Tell what a column is by its name."""
    return _ROLE_OF_NAME.get(re.sub(r"[\s_\-.]", "", name.lower()))


def _by_role(names: Iterable[str]) -> dict[str, str]:
    """Name the column of each role, and refuse several of one role."""
    found: dict[str, str] = {}
    for name in names:
        role = role_of(name)
        if role in found:
            raise ValueError(
                f"several columns may be the {role}: {found[role]} and {name}; keep "
                "one of them, or rename the others"
            )
        if role is not None:
            found[role] = name
    return found


def from_columns(columns: Mapping[str, Any], header: Mapping[str, Any]) -> dict:
    """Make a spectrum of columns by role: wavelength or loglam, flux, error, ..."""
    if "loglam" in columns:
        wavelength, unit = 10.0 ** np.asarray(split_unit(columns["loglam"])[0]), None
    else:
        wavelength, unit = split_unit(columns["wavelength"])
    if unit is not None and unit != units.dimensionless_unscaled:
        wavelength = (np.asarray(wavelength, np.float64) * unit).to(
            units.Angstrom, equivalencies=units.spectral()
        )
    flux, flux_unit = split_unit(columns["flux"])
    flux_unit = flux_unit or units.dimensionless_unscaled
    role = next((role for role in _ERROR_ROLES if role in columns), None)
    error = None
    if role is not None:
        values, unit = split_unit(columns[role])
        power = {"error": 1, "ivar": -2, "variance": 2}[role]
        factor = 1.0 if unit is None else unit.to(flux_unit**power)
        values = np.asarray(values, np.float64) * factor
        if role == "ivar":
            good = values > 0
            error = np.where(good, np.where(good, values, 1) ** -0.5, np.nan)
        else:
            error = values if role == "error" else np.sqrt(np.clip(values, 0, None))
    if error is not None and "quality" in columns:
        error = np.where(np.asarray(columns["quality"]) == 0, error, np.nan)
    flux, error, flux_unit = _representable(
        np.asarray(flux, np.float64), error, flux_unit
    )
    order = slice(None, None, -1 if wavelength[0] > wavelength[-1] else 1)
    return {
        "wavelength": wavelength[order],
        "flux": flux[order],
        "ivar": None if error is None else inverse_variance(error=error)[order],
        "flux_unit": flux_unit,
        "medium": medium_of(header),
        "frame": frame_of(header),
    }


def _representable(
    flux: np.ndarray, error: np.ndarray | None, unit: units.UnitBase
) -> tuple[np.ndarray, np.ndarray | None, units.UnitBase]:
    """Change the unit if single precision cannot hold the flux or its variance."""
    sizes = [flux[np.isfinite(flux) & (flux != 0)]]
    if error is not None:
        sizes.append(error[np.isfinite(error) & (error > 0)])
    sizes = [np.abs(values) for values in sizes if values.size]
    if not sizes or min(values.min() for values in sizes[1:] or sizes) > 1e-18:
        return flux, error, unit
    target = units.Unit(1e-17 * unit)
    if unit.is_equivalent(SDSS_FLUX_UNIT):
        target = SDSS_FLUX_UNIT
    factor = unit.to(target)
    return flux * factor, None if error is None else error * factor, target


def _described(hdu: fits.BinTableHDU) -> list[_Column]:
    header = hdu.header
    return [
        _Column(
            text(header.get(f"TTYPE{index}")),
            text(first([f"TUTYP{index}", f"TUTYPE{index}"], header)),
            text(header.get(f"TUCD{index}")),
        )
        for index in range(1, 1 + header["TFIELDS"])
    ]


def _roles(columns: list[_Column]) -> dict[str, _Column]:
    """Find the columns by UTYPE or else UCD; "meta.main" decides between several."""
    found = {}
    for role in _UTYPES:
        by_utype = [c for c in columns if _UTYPES[role].match(c.utype)]
        by_ucd = [c for c in columns if _UCDS[role].match(c.ucd) and not c.utype]
        if role == "flux":
            by_ucd = [c for c in by_ucd if "continuum" not in c.ucd]
        candidates = by_utype or by_ucd
        if len(candidates) > 1:
            main = [c for c in candidates if "meta.main" in c.ucd.lower()]
            candidates = main or candidates
        if len(candidates) == 1:
            found[role] = candidates[0]
        elif candidates and role in ("wavelength", "flux"):
            names = ", ".join(column.name for column in candidates)
            raise ValueError(f"several columns may be the {role}: {names}")
    missing = [role for role in ("wavelength", "flux") if role not in found]
    if missing:
        raise ValueError(f"no column is the {' and the '.join(missing)}")
    return found


def _vo_table(hdul: fits.HDUList) -> Any:
    for hdu in hdul[1:]:
        if is_table(hdu):
            columns = _described(hdu)
            if all(
                any(
                    _UTYPES[role].match(c.utype) or _UCDS[role].match(c.ucd)
                    for c in columns
                )
                for role in ("wavelength", "flux")
            ):
                return hdu
    return None


def _is_vo(hdul: fits.HDUList) -> bool:
    return _vo_table(hdul) is not None


@register_layout(
    "vo-spectrum",
    _is_vo,
    description="VO or ESO phase 3 table with UTYPE or UCD of wavelength and flux",
)
def _read_vo(hdul: fits.HDUList) -> dict:
    """Read the main spectrum of a table of one row of vectors, or of a row a pixel."""
    hdu, primary = _vo_table(hdul), hdul[0].header
    roles = _roles(_described(hdu))
    columns = {role: _vector(hdu, column.name) for role, column in roles.items()}
    header = fits.Header([*primary.cards, *hdu.header.cards])
    spectrum = from_columns(columns, header)
    ucd = roles["wavelength"].ucd.lower()
    is_eso = "ESO" in text(primary.get("ORIGIN")) or "ESO" in text(
        hdu.header.get("VOPUB")
    )
    if spectrum["medium"] is None and ("obs.atmos" in ucd or is_eso):
        spectrum["medium"] = "air" if "obs.atmos" in ucd else "vacuum"
    if "VACUUM" not in header and not ucd.startswith("em.wl"):
        spectrum["medium"] = "vacuum"
    name = next(
        (c.name for c in _described(hdu) if c.utype.startswith("continuum:")), None
    )
    if name is not None:
        continuum = split_unit(_vector(hdu, name))[0]
        flux = split_unit(columns["flux"])[0]
        with np.errstate(all="ignore"):
            spectrum["normalized"] = flux / continuum
    return spectrum | dict(
        id=text(first(["OBJECT", "TITLE"], hdu.header, primary)),
        survey=text(first(["INSTRUME"], primary)),
        release=text(first(["PROCSOFT"], primary)),
        ra=number(first(["RA"], hdu.header, primary)),
        dec=number(first(["DEC"], hdu.header, primary)),
        snr=number(first(["SNR"], hdu.header, primary)),
        header=primary,
    )


def _is_votable(content: str) -> bool:
    return "<VOTABLE" in content[:2000]


@add_layout(
    "votable",
    _is_votable,
    "VOTable with UTYPE or UCD of wavelength and flux",
    opens="text",
)
def _read_votable(content: str) -> dict:
    """Read the first table of a VOTable."""
    votable = parse_single_table(io.BytesIO(content.encode()))
    described = [
        _Column(str(field.name), text(field.utype), text(field.ucd))
        for field in votable.fields
    ]
    roles, table = _roles(described), votable.to_table(use_names_over_ids=True)
    columns = {role: table[column.name] for role, column in roles.items()}
    spectrum = from_columns(
        {
            role: column if column.unit is None else column.quantity
            for role, column in columns.items()
        },
        {},
    )
    if "obs.atmos" in roles["wavelength"].ucd.lower():
        spectrum["medium"] = "air"
    return spectrum


def _vector(hdu: fits.BinTableHDU, name: str) -> Any:
    """Read a column of pixels, or the only row of a column of vectors."""
    values = read_quantity(hdu, name)
    if values.ndim == 2:
        if len(values) > 1:
            raise ValueError(f"the table holds {len(values)} spectra, expected one")
        values = values[0]
    return values


def _extractions(hdul: fits.HDUList) -> list[fits.BinTableHDU]:
    return [
        hdu
        for hdu in hdul[1:]
        if hdu.name in ("EXTRACT1D", "COMBINE1D")
        and is_table(hdu)
        and {"WAVELENGTH", "FLUX"} <= {*column_names(hdu)}
    ]


def _is_x1d(hdul: fits.HDUList) -> bool:
    return bool(_extractions(hdul))


@register_layout(
    "jwst-x1d",
    _is_x1d,
    description="JWST x1d or c1d table EXTRACT1D of WAVELENGTH, FLUX, FLUX_ERROR",
    many=True,
)
def _read_x1d(hdul: fits.HDUList) -> dict:
    """Read the spectra of all sources and orders, a table or a row of vectors each."""
    primary, spectra, frames, names = hdul[0].header, [], [], []
    for hdu in _extractions(hdul):
        header, known = hdu.header, column_names(hdu)
        error = first(["FLUX_ERROR", "ERROR"], known)
        read = {"wavelength": "WAVELENGTH", "flux": "FLUX", "error": error}
        columns = {
            role: read_quantity(hdu, name)
            for role, name in (read | {"quality": "DQ"}).items()
            if name in known
        }
        is_vector = columns["flux"].ndim == 1
        for row in range(1 if is_vector else len(columns["flux"])):
            one = {
                role: values if is_vector else values[row]
                for role, values in columns.items()
            }
            # Pixels that no light reaches have no wavelength.
            used = split_unit(one["wavelength"])[0] > 0
            one = {role: values[used] for role, values in one.items()}
            if "quality" in one:
                # Bit 0: do not use.
                one["quality"] = one["quality"].astype(np.int64) & 1
            spectra.append(from_columns(one, header))
            frames.append(text(frame_of(header, frame_of(primary))))
            sources = ["SRCNAME", "SOURCEID", "TARGNAME"]
            names.append(text(first(sources, header, primary)))
    if len({spectrum["flux"].size for spectrum in spectra}) > 1:
        raise ValueError(
            f"its {len(spectra)} spectra differ in length; split it by source first"
        )
    ivars = [spectrum["ivar"] for spectrum in spectra]
    return {
        "flux": np.stack([spectrum["flux"] for spectrum in spectra]),
        "ivar": None if any(ivar is None for ivar in ivars) else np.stack(ivars),
        "wavelength": units.Quantity([spectrum["wavelength"] for spectrum in spectra]),
        "flux_unit": spectra[0]["flux_unit"],
        "medium": "vacuum",
        "frame": frames,
        "survey": "JWST",
        "release": text(primary.get("CAL_VER")),
        "id": names,
        "ra": number(first(["TARG_RA"], primary)),
        "dec": number(first(["TARG_DEC"], primary)),
        "header": primary,
    }


def _named_table(hdul: fits.HDUList) -> Any:
    """Return the only table with columns of wavelength, in a unit, and flux."""
    found = []
    for hdu in hdul[1:]:
        if is_table(hdu):
            roles = {name: role_of(name) for name in column_names(hdu).values()}
            units_of = [
                text(hdu.columns[name].unit)
                for name, role in roles.items()
                if role == "wavelength"
            ]
            found += [hdu] * (any(units_of) and "flux" in roles.values())
    return found[0] if len(found) == 1 else None


def _is_table(hdul: fits.HDUList) -> bool:
    return _named_table(hdul) is not None


@add_layout(
    "table",
    _is_table,
    "table with a column of wavelengths, in a unit, and one of flux",
    is_generic=True,
)
def _read_table(hdul: fits.HDUList) -> dict:
    """Read a table by the names of its columns."""
    hdu, primary = _named_table(hdul), hdul[0].header
    names = _by_role(column_names(hdu).values())
    columns = {role: _vector(hdu, name) for role, name in names.items()}
    header = fits.Header([*primary.cards, *hdu.header.cards])
    spectrum = from_columns(columns, header)
    spectrum["medium"] = spectrum["medium"] or _medium_of_name(names["wavelength"])
    return spectrum | {
        "id": text(first(["OBJECT"], hdu.header, primary)),
        "header": header,
    }


def _is_ecsv(content: str) -> bool:
    return content.startswith("# %ECSV")


@add_layout(
    "ecsv", _is_ecsv, "ECSV table with columns of wavelength and flux", opens="text"
)
def _read_ecsv(content: str) -> dict:
    """Read a table with units, whose metadata may state medium and frame."""
    table = Table.read(content.splitlines(), format="ascii.ecsv")
    names = _by_role(table.colnames)
    columns = {
        role: table[name] if table[name].unit is None else table[name].quantity
        for role, name in names.items()
    }
    if not ({"wavelength", "loglam"} & {*columns} and "flux" in columns):
        raise ValueError(
            "expected columns such as wavelength and flux; the columns are "
            f"{', '.join(table.colnames)}"
        )
    meta = {str(key).upper(): value for key, value in table.meta.items()}
    spectrum = from_columns(columns, meta)
    name = names.get("wavelength", "")
    spectrum["medium"] = spectrum["medium"] or _medium_of_name(name)
    for field in ("medium", "frame"):
        spectrum[field] = text(meta.get(field.upper())).lower() or spectrum[field]
    return spectrum | {"id": text(first(["ID", "OBJECT", "NAME"], meta))}


def _numbers(line: str) -> list[float] | None:
    """Return the numbers of a line, None if something else is on it."""
    line = re.sub(r"(?<=[\d.])[dD](?=[-+]?\d)", "e", line.strip(" \t,|\r"))
    try:
        return [float(word) for word in re.split(r"[\s,|]+", line)]
    except ValueError:
        return None


def _is_columns(content: str) -> bool:
    """Recognize rows of equally many numbers, at most comments and names before."""
    if _is_ecsv(content):
        return False
    lengths: list[int] = []
    for line in content.splitlines()[:2000]:
        if line.strip() and not _COMMENT.match(line):
            numbers = _numbers(line)
            if numbers is None and lengths:
                return False
            if numbers is not None:
                lengths.append(len(numbers))
        if len(lengths) >= _LEAST_ROWS:
            break
    return len(lengths) >= _LEAST_ROWS and len({*lengths}) == 1 and lengths[0] > 1


@add_layout(
    "ascii",
    _is_columns,
    "text of 2 to 5 columns: wavelength, flux, error; a line of names may precede",
    opens="text",
    is_generic=True,
)
def _read_ascii(content: str) -> dict:
    """Read columns of numbers, named by the line before them or in the usual order."""
    lines = [line for line in content.splitlines() if line.strip()]
    start = next(
        index
        for index, line in enumerate(lines)
        if not _COMMENT.match(line) and _numbers(line) is not None
    )
    rows = [line for line in lines[start:] if not _COMMENT.match(line)]
    numbers = [_numbers(line) or [] for line in rows]
    n_columns = len(numbers[0])
    for index, row in enumerate(numbers):
        if len(row) != n_columns:
            raise ValueError(
                f"data row {index + 1} must hold {n_columns} numbers, as the first "
                f"one does; it is {rows[index].strip()[:60]!r}: the file is damaged"
            )
    columns = np.array(numbers, dtype=np.float64).T
    named = _named_columns(lines[:start], n_columns)
    values = _usual_columns(columns) if named is None else {}
    for index, (role, unit) in (named or {}).items():
        values[role] = columns[index] if unit is None else columns[index] * unit
    comments = [_COMMENT.sub("", line) for line in lines[:start]]
    cards = dict(
        re.split(r"\s*[=:]\s*", line.partition(" / ")[0].strip(), maxsplit=1)
        for line in comments
        if re.match(r"^[A-Z][A-Z0-9_-]*\s*[=:]\s*\S", line)
    )
    cards = {key: value.strip("' ") for key, value in cards.items()}
    spectrum = from_columns(values, cards)
    if spectrum["medium"] is None:
        spectrum["medium"] = _medium_of_name(comments[-1] if comments else "")
    return spectrum | {"id": cards.get("OBJECT", "")}


def _usual_columns(columns: np.ndarray) -> dict[str, Any]:
    """Take columns without names for wavelength, flux and error."""
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(
            f"it has {len(columns)} columns without names; write a line such as "
            "'# wavelength flux error' before the numbers"
        )
    if len(columns) > 2 and (columns[2] < 0).any():
        raise ValueError(
            "its third column has negative values and cannot be the error of the "
            "flux; name the columns in a line such as '# wavelength flux sky'"
        )
    return dict(zip(_USUAL, columns, strict=False))


def _named_columns(
    before: list[str], n_columns: int
) -> dict[int, tuple[str, units.UnitBase | None]] | None:
    """Find roles and units in the last line before the numbers that names columns."""
    for line in reversed(before):
        words = _WORD.findall(_COMMENT.sub("", line))
        names = [re.split(r"[\[(]", word)[0] for word in words]
        roles = [role_of(name) for name in names]
        if len(words) == n_columns and {"wavelength", "loglam"} & {*roles}:
            break
    else:
        return None
    if "flux" not in roles:
        raise ValueError(
            f"its columns are {', '.join(names)}; none of them is named flux"
        )
    found = {}
    for role, name in _by_role(names).items():
        index = names.index(name)
        unit = _FIRST_UNIT.search(words[index])
        stated = unit[1].strip() if unit else ""
        found[index] = role, parse_unit(stated) if stated else None
    return found


def _medium_of_name(names: str) -> str | None:
    """Tell the medium from a name such as "wave_air" or "wavelength (vacuum)"."""
    found = re.findall(
        r"(?<![a-z])(air|vac|vacuum)(?![a-z])", names.lower().replace("_", " ")
    )
    media = {"air" if word == "air" else "vacuum" for word in found}
    return media.pop() if len(media) == 1 else None
