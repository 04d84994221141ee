# SPDX-License-Identifier: BSD-3-Clause
"""Reading many spectra into one matrix."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skastro.datasets.spectra._fields import in_angstrom
from skastro.datasets.spectra._fits import read_fits
from skastro.datasets.spectra._matrix import ClassNames, is_matrix, read_matrix
from skastro.datasets.spectra._single_files import (
    COLUMNS,
    list_files,
    read_single_files,
)
from skastro.utils import rebin

KINDS = ("science", "sky", "template")

# Attribute of the result: column of the table that it shows.
_ATTRIBUTES = {
    "id": ("id", "objid"),
    "label": ("label",),
    "class_name": ("class",),
    "subclass": ("subclass",),
    "redshift": ("z",),
    "snr": ("snr",),
    "survey": ("survey",),
}


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
) -> Bunch:
    """Read many spectra on one wavelength grid, ready for an estimator.

    Either one file holds them all as a matrix, or each has its own file in any layout
    that :func:`read_spectrum` reads. Layouts are recognised by what the files hold.
    Nothing is masked, filled or normalised, and wavelengths stay in vacuum or air, and
    in the frame, in which a file gives them. Read more in the
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
        Column of `table` that becomes `target`. None means "class" where there is one,
        else "label", else no target.
    class_names : sequence of str or dict of int to str, default=None
        Names of the integer labels in a file of many spectra. None means GALAXY, QSO,
        STAR for 0, 1, 2 in the files of the competition; other files carry the names
        themselves in a column "class".
    wavelength : array-like of shape (n_pixels,), default=None
        Ascending wavelengths to which the spectra are rebinned, conserving flux, in Å
        unless it is an astropy quantity. None means ``np.linspace(3900, 9000, 3000)``
        for files of one spectrum, and the file's own grid for others. For a file of
        many spectra that carries no wavelengths they are taken to be these.
    kinds : str or iterable of str, default="science"
        Which spectra to keep of files of one spectrum each: "science", "sky" and
        "template".
    pattern : str, default="*.fit*"
        Which files of a folder to read, in the shell's notation, upper and lower case
        being the same.
    recursive : bool, default=False
        Whether to read the folders in the folder too.
    n_jobs : int, default=None
        Number of processes that read files of one spectrum each; None means 1 unless
        in a :obj:`joblib.parallel_config` context, -1 all processors.
    verbose : int, default=1
        Whether to show a progress bar and say how many spectra were left out for
        their kind; 0 is silent.

    Returns
    -------
    spectra : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        flux : ndarray of shape (n_spectra, n_pixels), float32
            Flux in native byte order. Pixels of the grid that a spectrum does not
            cover are NaN. Inverse variances are left out: see :func:`read_spectrum`.
        wavelength : ndarray of shape (n_pixels,), float64, or None
            Wavelengths in `wavelength_unit`; None where the file does not tell.
        wavelength_unit : :class:`astropy.units.Unit`
            Å.
        target : ndarray of shape (n_spectra,), or None
            What to predict: names of classes unless `label_column` says otherwise;
            an empty string where the survey could not tell. None without labels.
        target_names : ndarray, or None
            The different values of `target` but for the empty string, sorted; None
            where there is no target or where it is a real number.
        label : ndarray of shape (n_spectra,), or None
            Integer labels as stored in the file.
        id, class_name, subclass, redshift, snr, survey : ndarray or None
            Columns of `table` in brief, of shape (n_spectra,), each None where the
            table has no such column.
        table : :class:`astropy.table.Table`
            One row a spectrum with all that is known of it. For files of one spectrum
            the columns are id, class, subclass, z, zwarning, snr, ra, dec, survey,
            release, layout, kind, vacuum, doppler_redshift, flux_unit, path and
            snr_u, ..., snr_z, with the meanings of :func:`read_spectrum`.
        layout : {"competition", "labelled-matrix", "single-files"}
            How the spectra were stored.
        failures : list of (path, reason)
            Files that could not be read.
        left_out : list of (path, kind)
            Files that were left out for their kind.

    Raises
    ------
    FileNotFoundError
        If `source` is a path that does not exist.
    OSError
        If a file of many spectra is empty, truncated, damaged or not FITS.
    ValueError
        If a parameter is wrong, a file of many spectra contradicts itself, the folder
        holds no fitting file, or no spectrum at all could be read.

    Warns
    -----
    UserWarning
        If some files could not be read; all are named in `failures`.

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
    spectra = None
    if isinstance(source, str | os.PathLike):
        if Path(source).is_dir():
            paths = list_files(source, pattern, recursive)
        else:
            paths = [source]
            spectra = _read_matrix_file(source, grid, label_column, class_names)
    else:
        paths = list(source)
        if not paths:
            raise ValueError("The list of files is empty.")
    if spectra is None:
        if class_names is not None:
            raise ValueError(
                "class_names names the integer labels of a file of many spectra; "
                "files of one spectrum carry the names of their classes themselves."
            )
        _find_column(COLUMNS, label_column)
        spectra = read_single_files(
            paths,
            np.linspace(3900.0, 9000.0, 3000) if grid is None else grid,
            kinds=kinds,
            n_jobs=n_jobs,
            verbose=verbose,
        )
    for attribute, columns in _ATTRIBUTES.items():
        found = (_match(spectra.table.colnames, column) for column in columns)
        column = next((name for name in found if name is not None), None)
        spectra[attribute] = None if column is None else _values(spectra.table, column)
    _set_target(spectra, label_column)
    return spectra


def _read_matrix_file(
    path: str | os.PathLike,
    grid: np.ndarray | None,
    label_column: str | None,
    class_names: ClassNames | None,
) -> Bunch | None:
    """Read a file of many spectra; None where it is not one."""

    def read(hdul: fits.HDUList) -> Bunch | None:
        if not is_matrix(hdul):
            return None
        matrix = read_matrix(hdul, class_names)
        _find_column(matrix.table.colnames, label_column)
        return matrix

    matrix = read_fits(path, read)
    if matrix is None:
        return None
    n_pixels = matrix.flux.shape[1]
    if grid is not None and matrix.wavelength is not None:
        matrix.flux = rebin(matrix.flux, matrix.wavelength, grid)
    elif grid is not None and grid.size != n_pixels:
        raise ValueError(
            f"{path}: the spectra have {n_pixels} pixels and the file does not tell "
            f"their wavelengths, but wavelength has {grid.size} values."
        )
    if grid is not None:
        matrix.wavelength = grid
    matrix.failures, matrix.left_out = [], []
    return matrix


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
    return np.asarray(table[column])


def _match(columns: Iterable[str], wanted: str) -> str | None:
    """Find a column, in its own spelling or else in upper or lower case."""
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
    grid = in_angstrom(wavelength)
    if not (
        grid.ndim == 1
        and grid.size > 0
        and np.isfinite(grid).all()
        and (np.diff(grid) > 0).all()
    ):
        raise ValueError(
            "wavelength must be a vector of finite values in ascending order, in Å; "
            f"got an array of shape {grid.shape} that is not."
        )
    return grid
