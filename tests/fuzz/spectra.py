# SPDX-License-Identifier: BSD-3-Clause
"""Damaged files of spectra in all layouts.

Two layouts cannot tell that an image has more columns than its data, which end in
zeros.
"""

import gzip
import io
import random
import re
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from . import Case, apply, cut, error_outcome, flip_bytes

BLOCK, CARD = 2880, 80
GRID = np.linspace(3900.0, 9000.0, 100)

# Images without wavelengths, whose rows begin at other values if NAXIS1 is larger.
UNAWARE = ("sdss-spspec", "lamost-log-image")
SIZES = re.compile(r"NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|TFORM\d+|BITPIX|GROUPS|THEAP")
NUMBERS = ["-1", "0", "1", "2", "3", "7", "999", "1000", "999999999", "-2880", "1.5"]
NUMBERS += ["1E400", "-1E400", "NaN", "T", "F", "''", "'text'", "", "1E-12", "-9999"]
NUMBERS += [str(2**31), str(2**63), str(-(2**63)), "9" * 60, "'\xb5'", "'" + "x" * 60]
NUMBERS += ["(1, 2)", "'10**99999999'", "'nm'", "'erg/s/cm2/Angstrom'", "1 / 0", "=="]
FORMS = ["E", "D", "J", "K", "1PE(9)", "QD", "X", "9999999A", "0E", "L", "M", "5E", "?"]


def names() -> list[str]:
    return sorted(originals())


@cache
def originals() -> dict[str, bytes]:
    """Return small good files in all layouts."""
    import conftest

    files = {}
    flux, ivar = conftest._numbers()

    def keep(name: str, hdul: fits.HDUList) -> None:
        buffer = io.BytesIO()
        hdul.writeto(buffer)
        files[name] = buffer.getvalue()

    for name, make in conftest.MAKERS.items():
        keep(name, make(flux, ivar, {}))
    labels = {"objid": [5, 6, 7], "label": [0, 2, 1], "z": [0.1, 0.2, 0.3]}
    labels |= {"class": ["STAR", "QSO", ""], "member": [True, False, True]}
    table = fits.BinTableHDU(Table(labels), name="LABELS")
    table.columns["label"].null = 99
    matrix = fits.PrimaryHDU(np.stack([flux, 2 * flux, 3 * flux]))
    wavelength = fits.ImageHDU(conftest.LINEAR_WAVELENGTH, name="WAVELENGTH")
    keep("labeled-matrix", fits.HDUList([matrix, table, wavelength]))
    wide = np.arange(9000, dtype="f4").reshape(3, 3000)
    keep("competition", fits.HDUList([fits.PrimaryHDU(wide), table]))
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "LAMOST"}))]
    for arm, start in (("B", 4950.0), ("R", 6300.0)):
        wave = start + np.arange(200.0)
        columns = {"FLUX": flux[:200], "IVAR": ivar[:200], "LOGLAM": np.log10(wave)}
        hdus.append(fits.BinTableHDU(Table(columns), name=f"COADD_{arm}"))
    keep("lamost-medium", fits.HDUList(hdus))
    return files


def cards(content: bytearray) -> list[int]:
    """Return where the cards of all headers begin."""
    return [
        position
        for position in range(0, len(content) - CARD, CARD)
        if re.match(rb"[A-Z][A-Z0-9_-]* *= ", content[position : position + 10])
    ]


def set_card(content: bytearray, position: int, value: str) -> None:
    key = bytes(content[position : position + 8])
    card = key + b"= " + value.rjust(20).encode("latin-1")
    content[position : position + CARD] = card.ljust(CARD)[:CARD]


def pick(content: bytearray, rng: random.Random, pattern: str | re.Pattern) -> int:
    """Choose a card whose keyword matches a pattern."""
    found = [
        position
        for position in cards(content)
        if re.fullmatch(pattern, content[position : position + 8].decode().strip())
    ]
    return rng.choice(found) if found else 0


def damage_size(content: bytearray, rng: random.Random) -> None:
    position = pick(content, rng, SIZES)
    key, old = content[position : position + 8], content[position + 10 : position + 30]
    value = rng.choice(FORMS if key.startswith(b"TFORM") else NUMBERS)
    if rng.random() < 0.5 and old.strip().isdigit():
        value = str(int(old) + rng.choice([-1, 1, -2, 5, 72, -100, 2880]))
    set_card(content, position, f"'{value}'" if key.startswith(b"TFORM") else value)


def damage_value(content: bytearray, rng: random.Random) -> None:
    set_card(content, pick(content, rng, ".*"), rng.choice(NUMBERS))


def damage_keyword(content: bytearray, rng: random.Random) -> None:
    first, second = (pick(content, rng, ".*") for _ in range(2))
    content[first : first + 8] = content[second : second + 8]


def remove_card(content: bytearray, rng: random.Random) -> None:
    position = pick(content, rng, ".*")
    content[position : position + CARD] = b" " * CARD


def add_card(content: bytearray, rng: random.Random) -> None:
    keys = ["TUNIT1", "TUNIT3", "TNULL1", "TSCAL1", "TZERO2", "TDIM1", "THEAP"]
    keys += ["BUNIT", "BSCALE", "BZERO", "BLANK", "ZIMAGE", "GROUPS", "LONGSTRN"]
    key = rng.choice(keys)
    position = pick(content, rng, ".*")
    content[position : position + 8] = key.encode().ljust(8)
    set_card(content, position, rng.choice(NUMBERS))


def write_extremes(content: bytearray, rng: random.Random) -> None:
    values = [np.nan, np.inf, -np.inf, 3e38, 1e-40, -9999.0, 0.0]
    position = rng.randrange(0, len(content) - 4, 4)
    content[position : position + 4] = np.array(rng.choice(values), ">f4").tobytes()


def move_block(content: bytearray, rng: random.Random) -> None:
    source, target = (rng.randrange(0, len(content), BLOCK) for _ in range(2))
    block = rng.choice([content[source : source + BLOCK], bytes(BLOCK), b""])
    content[target : target + rng.choice([0, BLOCK])] = block


def splice(content: bytearray, rng: random.Random) -> None:
    other = rng.choice([*originals().values()])
    content[rng.randrange(0, len(content), BLOCK) :] = other[
        rng.randrange(0, len(other), BLOCK) :
    ]


def pack(content: bytearray, rng: random.Random) -> None:
    content[:] = gzip.compress(content, rng.choice([1, 9]), mtime=0)


DAMAGES = [
    damage_size,
    damage_size,
    damage_value,
    damage_keyword,
    remove_card,
    add_card,
]
DAMAGES += [flip_bytes, write_extremes, cut, move_block, splice, pack]


def build(case: Case) -> bytes:
    return apply(DAMAGES, case, originals()[case[0]], BLOCK)


def contradiction(spectrum: dict, many: bool) -> str:
    """Describe what is wrong with a result; empty if nothing is."""
    wavelength, flux = spectrum["wavelength"], spectrum["flux"]
    if flux.dtype != np.float32 or flux.ndim != 1 + many:
        return f"flux of shape {flux.shape} and type {flux.dtype}"
    if wavelength is not None:
        if wavelength.shape != flux.shape[-1:] or not (np.diff(wavelength) > 0).all():
            return "wavelengths do not fit"
        if not (wavelength.min() >= 100 and wavelength.max() <= 1e6):
            return "wavelengths out of range"
    if many:
        target = spectrum["target"]
        if len(spectrum["table"].colnames) and len(spectrum["table"]) != len(flux):
            return "table and flux differ in length"
        return "" if target is None or len(target) == len(flux) else "lost labels"
    ivar = np.ones_like(flux) if spectrum["ivar"] is None else spectrum["ivar"]
    bad = ~np.isfinite(flux) | ~np.isfinite(ivar) | ~(ivar > 0)
    if not np.array_equal(bad, spectrum["mask"]):
        return "the mask is wrong"
    numbers = [spectrum[name] for name in ("redshift", "ra", "dec", "snr")]
    return "infinite values" if np.isinf(numbers).any() else ""


def read(path: Path, name: str) -> dict:
    from skastro.datasets import read_spectra, read_spectrum

    if name in ("labeled-matrix", "competition"):
        return read_spectra(path, verbose=0)
    return read_spectrum(path)


def attempt(case: Case, folder: Path) -> str:
    content = build(case)
    path = folder / "damaged.fits"
    path.write_bytes(content)
    # Another type of the same width is no size.
    forms = re.findall(rb"TFORM.{75}", content)
    sizes = all(DAMAGES[number] is damage_size for number, _ in case[1]) and (
        forms == re.findall(rb"TFORM.{75}", originals()[case[0]])
    )
    return try_file(path, case[0], sizes)


def try_file(path: Path, name: str, only_sizes: bool) -> str:
    """Read a file; return the outcome."""
    try:
        result = read(path, name)
    except BaseException as error:
        known = re.match(r"(No spectrum was read. 1 of 1 files.*\n *)?", str(error))
        if isinstance(error, OSError | ValueError | TypeError) and not str(error)[
            known.end() :
        ].startswith(str(path)):
            return f"! without the path: {error!r}"
        return error_outcome(error)
    many = result["flux"].ndim == 2
    if problem := contradiction(result, many):
        return f"! {problem}"
    if only_sizes and not many:
        whole = path.with_name("whole.fits")
        whole.write_bytes(originals()[name])
        expected = read(whole, name)
        more = name in UNAWARE and result["flux"].size > expected["flux"].size
        if not more and not all(
            np.array_equal(result[key], expected[key], equal_nan=True)
            for key in ("flux", "ivar", "wavelength")
        ):
            return "! other numbers by another size"
    return "read"
