# SPDX-License-Identifier: BSD-3-Clause
"""Reading many files of one spectrum each onto one wavelength grid."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from joblib import Parallel, delayed
from sklearn.utils import Bunch
from tqdm.auto import tqdm

from skastro.datasets.spectra._fields import BANDS, WAVELENGTH_UNIT
from skastro.datasets.spectra._read_spectrum import read_spectrum
from skastro.utils import rebin

_MOST_NAMED = 5

# Column of the table: field of a spectrum. The names are those of files of many
# spectra, so that `label_column` means the same for both.
_COLUMNS = {
    "id": "id",
    "class": "class_name",
    "subclass": "subclass",
    "z": "redshift",
    "zwarning": "redshift_warning",
    "snr": "snr",
    "ra": "ra",
    "dec": "dec",
    "survey": "survey",
    "release": "release",
    "layout": "layout",
    "kind": "kind",
    "vacuum": "vacuum",
    "doppler_redshift": "doppler_redshift",
    "flux_unit": "flux_unit",
    "path": "path",
}
COLUMNS = (*_COLUMNS, *(f"snr_{band}" for band in BANDS))
_COLUMN_UNITS = {"ra": "deg", "dec": "deg"}


class Failure(NamedTuple):
    """A file that could not be read.

    Attributes
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it.
    """

    path: str
    reason: str


class LeftOut(NamedTuple):
    """A file that was read but not wanted.

    Attributes
    ----------
    path : str
        The file.
    kind : str
        What its spectrum is of, such as "sky".
    """

    path: str
    kind: str


class _Row(NamedTuple):
    flux: np.ndarray
    record: dict


def list_files(folder: str | os.PathLike, pattern: str, recursive: bool) -> list[str]:
    """List the files of a folder whose name fits a pattern, sorted, hidden ones not."""
    folder = Path(folder)
    found = sorted(
        str(path)
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if fnmatch(path.name.lower(), pattern.lower())
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not found:
        below = " or below it" if recursive else ""
        raise ValueError(
            f"{folder}: no file in this folder{below} fits the pattern {pattern!r}."
        )
    return found


def read_single_files(
    paths: Sequence[str | os.PathLike],
    grid: np.ndarray,
    *,
    kinds: frozenset[str],
    n_jobs: int | None,
    verbose: int,
) -> Bunch:
    """Read files in parallel and gather what could be read.

    Parameters
    ----------
    paths : sequence of path-like
        The files.
    grid : ndarray of shape (n_pixels,)
        Wavelengths to which each spectrum is rebinned, in Angstrom.
    kinds : frozenset of str
        Kinds of spectra to keep.
    n_jobs : int or None
        Number of processes.
    verbose : int
        0 for silence.

    Returns
    -------
    spectra : Bunch
        With `flux`, `wavelength`, `wavelength_unit`, `table`, `layout`, `failures` and
        `left_out`.
    """
    flux = np.empty((len(paths), grid.size), dtype=np.float32)
    records: list[dict] = []
    failures: list[Failure] = []
    left_out: list[LeftOut] = []
    tasks = (delayed(_read_row)(os.fspath(path), grid, kinds) for path in paths)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    for result in tqdm(
        results,
        total=len(paths),
        desc="Reading spectra",
        unit="file",
        disable=not verbose,
    ):
        if isinstance(result, _Row):
            flux[len(records)] = result.flux
            records.append(result.record)
        else:
            (failures if isinstance(result, Failure) else left_out).append(result)
    _report(len(paths), len(records), failures, left_out, verbose)
    table = Table({name: [row[name] for row in records] for name in COLUMNS})
    for name, unit in _COLUMN_UNITS.items():
        table[name].unit = unit
    return Bunch(
        flux=flux[: len(records)],
        wavelength=grid,
        wavelength_unit=WAVELENGTH_UNIT,
        table=table,
        layout="single-files",
        failures=failures,
        left_out=left_out,
    )


def _read_row(path: str, grid: np.ndarray, kinds: frozenset[str]) -> tuple:
    """Read and rebin one file; return what is wrong with it instead of raising."""
    try:
        spectrum = read_spectrum(path)
    except (OSError, ValueError) as error:
        return Failure(path, str(error).removeprefix(f"{path}: "))
    if spectrum.kind not in kinds:
        return LeftOut(path, spectrum.kind)
    flux = rebin(spectrum.flux, spectrum.wavelength, grid)
    if np.isnan(flux).all():
        first, last = spectrum.wavelength[[0, -1]]
        return Failure(
            path,
            f"its wavelengths, {first:.1f} to {last:.1f} Å, do not reach the grid, "
            f"{grid[0]:.1f} to {grid[-1]:.1f} Å.",
        )
    record = {column: spectrum[field] for column, field in _COLUMNS.items()}
    record["flux_unit"] = spectrum.flux_unit.to_string()
    record |= {f"snr_{band}": value for band, value in spectrum.snr_bands.items()}
    return _Row(flux, record)


def _report(
    n_files: int,
    n_read: int,
    failures: list[Failure],
    left_out: list[LeftOut],
    verbose: int,
) -> None:
    """Say at the end what is missing; raise where nothing is left."""
    messages = []
    if failures:
        messages.append(
            f"{len(failures)} of {n_files} files could not be read:\n"
            + "\n".join(f"  {path}: {why}" for path, why in failures[:_MOST_NAMED])
        )
        hidden = len(failures) - _MOST_NAMED
        if hidden > 0:
            messages[0] += f"\n  and {hidden} more"
    counts = Counter(kind for _, kind in left_out)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    if not n_read:
        if left_out:
            messages.append(
                f"{len(left_out)} of {n_files} files were left out for their kind "
                f"({kinds}); the parameter kinds says which to keep"
            )
        raise ValueError("No spectrum was read. " + "\n".join(messages))
    if failures:
        warnings.warn(
            f"{messages[0]}\nThe list is in the attribute failures.",
            UserWarning,
            stacklevel=4,
        )
    if left_out and verbose:
        print(f"Left out {len(left_out)} of {n_files} files for their kind: {kinds}.")
