# SPDX-License-Identifier: BSD-3-Clause
"""Reading one spectrum, or many spectra on one wavelength grid."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from tqdm.auto import tqdm

from skastro.datasets._failures import Failure, report_failures
from skastro.datasets.spectra._fields import (
    BANDS,
    SDSS_FLUX_UNIT,
    WAVELENGTH_UNIT,
    check_wavelength,
    without_nulls,
)
from skastro.datasets.spectra._fits import describe_hdus, read_fits
from skastro.datasets.spectra._layouts import (
    KINDS,
    Layout,
    find_layout,
    known_layouts,
)
from skastro.datasets.spectra._matrix import ClassNames, name_classes
from skastro.utils import error_text, rebin

# Column of the table: field of a spectrum. Files of many spectra use the same names of
# columns, so that `label_column` means the same for both.
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
_UNITS_OF_SURVEYS = {"", SDSS_FLUX_UNIT.to_string(), units.ct.to_string()}
# A step this many times as wide as those beside it is a gap between arms.
_GAP = 10
# Attribute of the result: column of the table.
_ATTRIBUTES = {
    "id": ("id", "objid"),
    "label": ("label",),
    "class_name": ("class",),
    "subclass": ("subclass",),
    "redshift": ("z",),
    "snr": ("snr",),
    "survey": ("survey",),
}


class LeftOut(NamedTuple):
    """A file that was read but not selected, and the kind of its spectrum."""

    path: str
    kind: str


class _Row(NamedTuple):
    flux: np.ndarray
    record: dict


def read_spectrum(path: str | os.PathLike, *, max_bytes: float | None = None) -> Bunch:
    """Read one spectrum from a survey's FITS file.

    The layout is recognized by the content of the file, never by its name: LAMOST low
    resolution (all three layouts of DR1 to DR10) and medium resolution (both arms, with
    the gap between them), SDSS, BOSS and eBOSS ``spec`` files, the older SDSS
    ``spSpec`` files, 6dFGS, and layouts that :func:`register_layout` has added. Nothing
    is masked, filled, normalized or shifted. Read more in the :ref:`User Guide
    <reading>`.

    Parameters
    ----------
    path : str or path-like
        The file, gzip-compressed or not.
    max_bytes : float, default=None
        Largest size of the unpacked file in bytes. None means half of the free memory
        and, for a gzip-compressed file, at most 200 times its size or 64 MiB.

    Returns
    -------
    spectrum : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes. Arrays are native-endian
        copies of ``n_pixels`` values.

        flux : ndarray of shape (n_pixels,), float32
            Flux in `flux_unit`.
        ivar : ndarray of shape (n_pixels,), float32
            Inverse variance of the flux, 0 where the survey rejected the pixel.
        wavelength : ndarray of shape (n_pixels,), float64
            Ascending wavelengths of the pixels' centers in Å.
        mask : ndarray of shape (n_pixels,), bool
            True for bad pixels: `ivar` is not positive, or it or the flux is not
            finite.
        and_mask, or_mask : ndarray of shape (n_pixels,), int64, or None
            The survey's bits, set in all exposures or in any; None if the file has no
            such mask.
        kind : {"science", "sky", "template"}
            Kind of the spectrum: an object, a fiber on empty sky, or a template of the
            survey's pipeline.
        layout : str
            Name of the layout: "lamost-image", "lamost-log-image", "lamost-coadd",
            "lamost-medium", "sdss-spec", "sdss-spspec", "6dfgs" or a registered one.
        survey : str
            "LAMOST", "6dFGS", or the survey in the SDSS catalog: "SDSS", "SEGUE1",
            "BOSS", ...
        release : str
            Data release or version of the pipeline, as written in the file.
        id : str
            ``spec-LMJD-PLANID_spSPID-FIBERID`` (LAMOST, with ``med`` for medium
            resolution), ``PLATE-MJD-FIBERID`` (SDSS) or the target's name (6dFGS).
        class_name : str
            Class in upper case, such as "STAR", "GALAXY" or "QSO". Empty if the file
            has none or "Unknown", and for sky.
        subclass : str
            Subclass, empty if there is none.
        redshift : float
            Redshift, NaN if the file has none and for sky.
        redshift_warning : int
            ZWARNING of SDSS; 0 is good, -1 means that the survey has no such flag.
        ra, dec : float
            Position of the object in degrees.
        snr : float
            Median signal-to-noise ratio per pixel: over all pixels for ``spec`` files,
            in the r band for LAMOST and ``spSpec``, NaN for 6dFGS.
        snr_bands : dict of str to float
            Signal-to-noise ratios in the bands u, g, r, i and z.
        vacuum : bool
            Whether wavelengths are those in vacuum (LAMOST, SDSS) or in air (6dFGS).
        doppler_redshift : float
            Redshift by which the wavelengths were corrected; 0 for observed ones.
            ``wavelength * (1 + doppler_redshift)`` is the observed wavelength.
        flux_unit, wavelength_unit : :class:`astropy.units.Unit`
            1e-17 erg/s/cm²/Å for SDSS, dimensionless (relative flux) for LAMOST, counts
            for 6dFGS; Å. Columns whose TUNIT states another unit are converted.
        header : :class:`astropy.io.fits.Header`
            The primary header.
        path : str
            The file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    OSError
        If the file is empty, truncated, damaged or not FITS, or needs more memory than
        `max_bytes`.
    TypeError
        If `path` is not a path.
    ValueError
        If it is FITS but holds no spectrum in a known layout, or several; or if its
        wavelengths do not ascend, or may be in Å or nm.

    See Also
    --------
    read_spectra : Many spectra on one wavelength grid.

    References
    ----------
    LAMOST data model:
    http://www.lamost.org/dr10/v2.0/doc/lr-data-production-description

    SDSS data model, ``spec``:
    https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html

    SDSS data model, ``spSpec``:
    https://classic.sdss.org/dr7/dm/flatFiles/spSpec.html

    6dFGS file description: http://www-wfau.roe.ac.uk/6dFGS/fits.html

    Examples
    --------
    A file in one of the layouts, made by hand:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from skastro.datasets import read_spectrum
    >>> header = fits.Header({"TELESCOP": "LAMOST", "CLASS": "STAR", "SUBCLASS": "G2"})
    >>> wavelength = 10 ** (3.5682 + 1e-4 * np.arange(3909))
    >>> flux, zero = np.ones(3909), np.zeros(3909)
    >>> rows = np.float32([flux, flux, wavelength, zero, zero])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "any.name"
    ...     fits.PrimaryHDU(rows, header).writeto(path)
    ...     spectrum = read_spectrum(path)
    >>> spectrum.layout, spectrum.class_name, spectrum.subclass
    ('lamost-image', 'STAR', 'G2')
    >>> spectrum.wavelength[[0, -1]].round(1)
    array([3700. , 9099.1])
    """
    return _read_one(_check_path(path), known_layouts(), max_bytes)


def _check_path(path: Any) -> str | os.PathLike:
    if not isinstance(path, str | os.PathLike):
        advice = "; give its path, as in file.name" if hasattr(path, "read") else ""
        raise TypeError(f"a file is given by its path; got {path!r}{advice}.")
    return path


def _read_file(
    path: str | os.PathLike,
    layouts: tuple[Layout, ...],
    read: Callable[[Layout | None, fits.HDUList | Path], Any],
    max_bytes: float | None,
) -> Any:
    """Find the layout of a file, open the file and call `read`."""
    path = Path(path)
    if path.is_file() and any(layout.opens == "path" for layout in layouts):
        try:
            layout = find_layout(path, layouts, opens="path")
            if layout is not None:
                return read(layout, path)
        except Exception as error:
            raise ValueError(f"{path}: {error_text(error)}") from error
    return read_fits(
        path, lambda hdul: read(find_layout(hdul, layouts), hdul), max_bytes
    )


def _read_one(
    path: str | os.PathLike, layouts: tuple[Layout, ...], max_bytes: float | None
) -> Bunch:
    """Read a file of one spectrum in one of the layouts."""

    def read(layout: Layout | None, file: fits.HDUList | Path) -> Bunch:
        held = describe_hdus(file) if isinstance(file, fits.HDUList) else str(file)
        if layout is None:
            expected = "; ".join(
                known.description for known in layouts if not known.many
            )
            raise ValueError(
                f"no spectrum in a known layout: {held}. Expected one of: {expected}"
            )
        if layout.many:
            raise ValueError(
                f"expected one spectrum, found a matrix of many ({held}); read this "
                "file with read_spectra"
            )
        return layout.read_one(file)

    spectrum = _read_file(path, layouts, read, max_bytes)
    spectrum.path = os.fspath(path)
    return spectrum


def read_spectra(
    source: str | os.PathLike | Iterable[str | os.PathLike],
    *,
    label_column: str | None = None,
    class_names: ClassNames | None = None,
    wavelength: ArrayLike | None = None,
    kinds: str | Iterable[str] = "science",
    pattern: str = "*.fit*",
    recursive: bool = False,
    n_jobs: int | None = None,
    verbose: int = 1,
    max_bytes: float | None = None,
) -> Bunch:
    """Read many spectra on one wavelength grid, ready for an estimator.

    Either one file holds them all as a matrix, or each spectrum has its own file in any
    layout that :func:`read_spectrum` reads. Layouts are recognized by the content of
    the files. Nothing is masked, filled or normalized, and wavelengths keep the medium
    (vacuum or air) and the frame that a file has. Read more in the
    :ref:`User Guide <reading>`.

    Parameters
    ----------
    source : path-like, or iterable of path-like
        One of

        - a file of many spectra: the primary HDU is the flux ``(n_spectra,
          n_pixels)``, with the integer labels of the LAMOST data competition in HDU 1
          (``objid``, ``label``) or with a table ``LABELS`` of any columns and the
          wavelengths in an image ``WAVELENGTH``;
        - a folder of files of one spectrum each;
        - a file of one spectrum, or an iterable of such files.
    label_column : str, default=None
        Column of `table` that becomes `target`. None means "class" if there is one,
        otherwise "label", otherwise no target.
    class_names : sequence of str or dict of int to str, default=None
        Names of the integer labels in a file of many spectra. None means GALAXY, QSO,
        STAR for 0, 1, 2 in the files of the competition; other files contain the names
        in a column "class".
    wavelength : array-like of shape (n_pixels,), default=None
        Ascending wavelengths to which the spectra are rebinned, conserving flux, in Å
        unless it is an astropy quantity. None means ``np.linspace(3900, 9000, 3000)``
        for files of one spectrum, and the grid of the file for others. If a file of
        many spectra contains no wavelengths, these are its wavelengths.
    kinds : str or iterable of str, default="science"
        Kinds of spectra to keep from files of one spectrum each: "science", "sky" and
        "template".
    pattern : str, default="*.fit*"
        Shell-style pattern of the files of a folder; case is ignored.
    recursive : bool, default=False
        Whether to read subfolders too.
    n_jobs : int, default=None
        Number of processes that read files of one spectrum each; None means 1 unless
        in a :obj:`joblib.parallel_config` context, -1 all processors.
    verbose : int, default=1
        Whether to show a progress bar and print how many spectra were left out for
        their kind; 0 is silent.
    max_bytes : float, default=None
        Largest size of an unpacked file in bytes, as for :func:`read_spectrum`.

    Returns
    -------
    spectra : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        flux : ndarray of shape (n_spectra, n_pixels), float32
            Flux in native byte order. Pixels of the grid that a spectrum does not
            cover, between its arms too, are NaN. There are no inverse variances: see
            :func:`read_spectrum`. Units of flux that differ by a factor are converted
            to that of the first spectrum; the others are as in `table`.
        wavelength : ndarray of shape (n_pixels,), float64, or None
            Wavelengths in `wavelength_unit`; None if they are unknown.
        wavelength_unit : :class:`astropy.units.Unit`
            Å.
        target : ndarray of shape (n_spectra,), or None
            Target: names of classes by default, or the values of `label_column`; an
            empty string if the survey does not know the class, NaN in place of an
            integer that is missing. None without labels.
        target_names : ndarray, or None
            The different values of `target` except the empty string, sorted; None if
            there is no target or if it is a real number.
        label : ndarray of shape (n_spectra,), or None
            Integer labels as stored in the file; real numbers with NaN if some are
            missing.
        id, class_name, subclass, redshift, snr, survey : ndarray or None
            Columns of `table`, of shape (n_spectra,), each None if the table has no
            such column.
        table : :class:`astropy.table.Table`
            One row per spectrum. For files of one spectrum the columns are id, class,
            subclass, z, zwarning, snr, ra, dec, survey, release, layout, kind, vacuum,
            doppler_redshift, flux_unit, path and snr_u, ..., snr_z, as explained in
            :func:`read_spectrum`.
        layout : {"competition", "labeled-matrix", "single-files"}
            How the spectra were stored; a registered layout of many spectra has its
            own name.
        failures : list of (path, reason)
            Files that could not be read, for whatever reason.
        left_out : list of (path, kind)
            Files that were left out for their kind.

    Raises
    ------
    FileNotFoundError
        If `source` is a path that does not exist.
    OSError
        If a file of many spectra is empty, truncated, damaged or not FITS, or needs
        more memory than `max_bytes`.
    TypeError
        If `source` is neither a path nor paths.
    ValueError
        If a parameter is wrong, a file of many spectra is inconsistent, the folder
        holds no matching file, or no spectrum could be read.

    Warns
    -----
    UserWarning
        If some files could not be read; all are named in `failures`. If spectra in
        units that cannot be converted come together in layouts that are not skastro's.

    See Also
    --------
    read_spectrum : One spectrum with its variances and masks.

    Examples
    --------
    A file in the layout of the competition, and its use:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astropy.table import Table
    >>> from skastro.datasets import read_spectra
    >>> flux = np.random.default_rng(0).normal(size=(4, 3000)).astype(np.float32)
    >>> labels = Table({"objid": [11, 12, 13, 14], "label": [2, 0, 1, 2]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train.fits"
    ...     file = fits.HDUList([fits.PrimaryHDU(flux), fits.BinTableHDU(labels)])
    ...     file.writeto(path)
    ...     spectra = read_spectra(path)
    >>> spectra.flux.shape, spectra.target.tolist()
    ((4, 3000), ['STAR', 'GALAXY', 'QSO', 'STAR'])
    """
    kinds = _check_kinds(kinds)
    grid = None if wavelength is None else _check_grid(wavelength)
    layouts = known_layouts()
    spectra = None
    if isinstance(source, str | os.PathLike):
        if Path(source).is_dir():
            paths: list[str | os.PathLike] = [*_list_files(source, pattern, recursive)]
        else:
            paths = [source]
            spectra = _read_matrix_file(
                source, layouts, grid, label_column, class_names, max_bytes
            )
    else:
        if hasattr(source, "read") or not isinstance(source, Iterable):
            _check_path(source)
        paths = [_check_path(path) for path in source]
        if not paths:
            raise ValueError("The list of files is empty.")
    if spectra is None:
        if class_names is not None:
            raise ValueError(
                "class_names names the integer labels of a file of many spectra; "
                "files of one spectrum contain the names of their classes."
            )
        _find_column(COLUMNS, label_column)
        spectra = _read_single_files(
            paths,
            np.linspace(3900.0, 9000.0, 3000) if grid is None else grid,
            layouts,
            kinds=kinds,
            n_jobs=n_jobs,
            verbose=verbose,
            max_bytes=max_bytes,
        )
    for attribute, columns in _ATTRIBUTES.items():
        found = (_match(spectra.table.colnames, column) for column in columns)
        column = next((name for name in found if name is not None), None)
        spectra[attribute] = None if column is None else _values(spectra.table, column)
    _set_target(spectra, label_column)
    return spectra


def _read_matrix_file(
    path: str | os.PathLike,
    layouts: tuple[Layout, ...],
    grid: np.ndarray | None,
    label_column: str | None,
    class_names: ClassNames | None,
    max_bytes: float | None,
) -> Bunch | None:
    """Read a file of many spectra; None if it is not one."""

    def read(layout: Layout | None, file: fits.HDUList | Path) -> Bunch | None:
        if layout is None or not layout.many:
            return None
        matrix = layout.read_many(file)
        names = matrix.pop("class_names") if class_names is None else class_names
        matrix.pop("class_names", None)
        if names is not None:
            name_classes(matrix.table, names)
        _find_column(matrix.table.colnames, label_column)
        return matrix

    matrix = _read_file(path, layouts, read, max_bytes)
    if matrix is None:
        return None
    n_pixels = matrix.flux.shape[1]
    if grid is not None and matrix.wavelength is not None:
        matrix.flux = _rebin(matrix.flux, matrix.wavelength, grid)
        if np.isnan(matrix.flux).all():
            raise ValueError(f"{path}: {_no_overlap(matrix.wavelength, grid)}")
    elif grid is not None and grid.size != n_pixels:
        raise ValueError(
            f"{path}: the spectra have {n_pixels} pixels and the file does not contain "
            f"their wavelengths, but wavelength has {grid.size} values."
        )
    if grid is not None:
        matrix.wavelength = grid
    matrix.failures, matrix.left_out = [], []
    return matrix


def _list_files(folder: str | os.PathLike, pattern: str, recursive: bool) -> list[str]:
    """List the files of a folder that match a pattern, sorted, without hidden ones."""
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
            f"{folder}: no file in this folder{below} matches the pattern {pattern!r}."
        )
    return found


def _read_single_files(
    paths: Sequence[str | os.PathLike],
    grid: np.ndarray,
    layouts: tuple[Layout, ...],
    *,
    kinds: frozenset[str],
    n_jobs: int | None,
    verbose: int,
    max_bytes: float | None,
) -> Bunch:
    """Read files of one spectrum in parallel, and collect the results."""
    flux = np.empty((len(paths), grid.size), dtype=np.float32)
    records: list[dict] = []
    failures: list[Failure] = []
    left_out: list[LeftOut] = []
    tasks = (
        delayed(_read_row)(os.fspath(path), grid, kinds, layouts, max_bytes)
        for path in paths
    )
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
    _unify_units(flux[: len(records)], records)
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


def _read_row(
    path: str,
    grid: np.ndarray,
    kinds: frozenset[str],
    layouts: tuple[Layout, ...],
    max_bytes: float | None,
) -> tuple:
    """Read and rebin one file; return a Failure instead of raising."""
    try:
        spectrum = _read_one(path, layouts, max_bytes)
        flux = _rebin(spectrum.flux, spectrum.wavelength, grid)
    # One file, or a layout of a user, must not affect the other files.
    except Exception as error:
        known = isinstance(error, OSError | ValueError)
        reason = str(error) if known else error_text(error)
        return Failure(path, reason.removeprefix(f"{path}: "))
    if spectrum.kind not in kinds:
        return LeftOut(path, spectrum.kind)
    if np.isnan(flux).all():
        return Failure(path, _no_overlap(spectrum.wavelength, grid))
    record = {column: spectrum[field] for column, field in _COLUMNS.items()}
    record["flux_unit"] = spectrum.flux_unit.to_string()
    record |= {f"snr_{band}": value for band, value in spectrum.snr_bands.items()}
    return _Row(flux, record)


def _rebin(flux: np.ndarray, wavelength: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Rebin the parts between gaps in the wavelengths, and leave the gaps NaN."""
    steps = np.diff(wavelength)
    wide = _GAP * np.pad(steps, 1, constant_values=0)
    gaps = (steps > wide[:-2]) & (steps > wide[2:]) & (wide[:-2] > 0) & (wide[2:] > 0)
    rebinned = np.full((*flux.shape[:-1], grid.size), np.nan, flux.dtype)
    for part in np.split(np.arange(wavelength.size), 1 + np.flatnonzero(gaps)):
        values = rebin(flux[..., part], wavelength[part], grid)
        rebinned = np.where(np.isnan(rebinned), values, rebinned)
    return rebinned


def _no_overlap(wavelength: np.ndarray, grid: np.ndarray) -> str:
    return (
        f"its wavelengths, {wavelength[0]:.1f} to {wavelength[-1]:.1f} Å, do not "
        f"overlap the grid, {grid[0]:.1f} to {grid[-1]:.1f} Å."
    )


def _unify_units(flux: np.ndarray, records: list[dict]) -> None:
    """Convert units of flux that differ by a factor; warn about others once.

    The built-in layouts have the known units of their surveys side by side.
    """
    first = units.Unit(records[0]["flux_unit"])
    for row, record in zip(flux, records, strict=True):
        unit = units.Unit(record["flux_unit"])
        if unit != first and unit.is_equivalent(first):
            row *= unit.to(first)
            record["flux_unit"] = first.to_string()
    found = {record["flux_unit"] for record in records}
    if len(found) > 1 and not found <= _UNITS_OF_SURVEYS:
        warnings.warn(
            "The spectra have units of flux that do not differ by a factor only: "
            f"{', '.join(sorted(map(repr, found)))}. The column flux_unit of the table "
            "has that of each.",
            UserWarning,
            stacklevel=4,
        )


def _report(
    n_files: int,
    n_read: int,
    failures: list[Failure],
    left_out: list[LeftOut],
    verbose: int,
) -> None:
    """Report missing files at the end; raise if no spectrum is left."""
    failed = report_failures(failures, n_files) if failures else ""
    counts = Counter(kind for _, kind in left_out)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    if not n_read:
        if left_out:
            failed += "\n" * bool(failed) + (
                f"{len(left_out)} of {n_files} files were left out for their kind "
                f"({kinds}); the parameter kinds selects which to keep"
            )
        raise ValueError(f"No spectrum was read. {failed}")
    if failed:
        warnings.warn(
            f"{failed}\nThe list is in the attribute failures.",
            UserWarning,
            stacklevel=4,
        )
    if left_out and verbose:
        print(f"Left out {len(left_out)} of {n_files} files for their kind: {kinds}.")


def _set_target(spectra: Bunch, label_column: str | None) -> None:
    spectra.target = spectra.target_names = None
    columns = spectra.table.colnames
    if label_column is not None:
        column = _find_column(columns, label_column)
    else:
        column = _match(columns, "class") or _match(columns, "label")
    if column is None:
        return
    spectra.target = _values(spectra.table, column)
    if spectra.target.dtype.kind != "f":
        values = np.unique(spectra.target)
        spectra.target_names = (
            values[values != ""] if values.dtype.kind == "U" else values
        )


def _values(table: Table, column: str) -> np.ndarray:
    return without_nulls(table[column])


def _match(columns: Iterable[str], wanted: str) -> str | None:
    """Find a column by its exact name, or else ignoring case."""
    columns = list(columns)
    if wanted in columns:
        return wanted
    return next((name for name in columns if name.lower() == wanted.lower()), None)


def _find_column(columns: Iterable[str], wanted: str | None) -> str | None:
    columns = list(columns)
    found = None if wanted is None else _match(columns, wanted)
    if found is None and wanted is not None:
        raise ValueError(
            f"there is no column {wanted!r} to take the labels from; label_column can "
            f"be one of: {', '.join(columns) or 'none, the file has no labels'}."
        )
    return found


def _check_kinds(kinds: str | Iterable[str]) -> frozenset[str]:
    kinds = frozenset([kinds] if isinstance(kinds, str) else kinds)
    if not kinds or not kinds <= {*KINDS}:
        raise ValueError(
            f"kinds must be one or more of {', '.join(map(repr, KINDS))}; got "
            f"{', '.join(map(repr, sorted(map(str, kinds)))) or 'none'}."
        )
    return kinds


def _check_grid(wavelength: ArrayLike) -> np.ndarray:
    try:
        return check_wavelength(wavelength)
    except ValueError as error:
        raise ValueError(
            "wavelength must be a vector of finite values in ascending order, in Å or "
            f"with another unit: {error}."
        ) from error
