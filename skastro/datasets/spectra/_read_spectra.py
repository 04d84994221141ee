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
from astropy.table import MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skastro.datasets._failures import Failure, NothingReadError, report_failures
from skastro.datasets.spectra._catalogs import (
    Redshifts,
    describe_catalog,
    find_catalog,
    find_key,
    join_catalog,
    read_catalog,
)
from skastro.datasets.spectra._conversion import check_conversion, convert
from skastro.datasets.spectra._fields import (
    BANDS,
    SDSS_FLUX_UNIT,
    WAVELENGTH_UNIT,
    inverse_variance,
    text,
    without_nulls,
)
from skastro.datasets.spectra._fits import describe_hdus, read_fits, read_text
from skastro.datasets.spectra._layouts import (
    COLUMNS,
    KINDS,
    Layout,
    check_grids,
    find_layout,
    known_layouts,
    labels_of,
)
from skastro.datasets.spectra._matrix import (
    COMPETITION,
    MATRICES,
    ClassNames,
    name_classes,
)
from skastro.datasets.spectra._specutils import find_with_specutils
from skastro.utils import (
    apply_rebin_matrix,
    bin_edges,
    check_count,
    check_number,
    check_wavelength,
    error_text,
    progress_bar,
    rebin_matrix,
)

_COLUMN_NAMES = (*COLUMNS, *(f"snr_{band}" for band in BANDS))
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
    "medium": ("medium",),
    "frame": ("frame",),
}
# Arrays of a file of many that only read_spectrum returns.
_ARRAYS = ("and_mask", "or_mask", "normalized")


class LeftOut(NamedTuple):
    """A file that was read but not selected, and the kind of its spectrum."""

    path: str
    kind: str


class _Rows(NamedTuple):
    """Spectra of one file on the common grid, and those that were left out."""

    flux: np.ndarray
    ivar: np.ndarray | None
    records: list[dict]
    left_out: list[LeftOut]


class _Options(NamedTuple):
    """How files are read, the same for all."""

    layouts: tuple[Layout, ...]
    max_bytes: float | None = None
    medium: str | None = None
    frame: str | None = None
    kinds: frozenset[str] = frozenset(KINDS)
    return_ivar: bool = False
    # Those that shift spectra to rest, in place of the files' own.
    redshifts: Redshifts | None = None


def read_spectrum(
    path: str | os.PathLike,
    *,
    index: int | None = None,
    medium: str | None = None,
    frame: str | None = None,
    max_bytes: float | None = None,
) -> Bunch:
    """Read one spectrum from a survey's file.

    The layout is recognized by the content of the file, never by its name: LAMOST low
    resolution (all three layouts of DR1 to DR10) and medium resolution (both arms, with
    the gap between them), SDSS, BOSS, eBOSS and SDSS-V ``spec`` files, the older SDSS
    ``spSpec`` files, 6dFGS, DESI, GALAH, Marz, ESO phase 3 and other tables of the
    Virtual Observatory, JWST ``x1d``, SNID templates, IRAF's images, tables with named
    columns, ECSV, columns of text, and layouts that :func:`register_layout` has added.
    Files that only one loader of specutils identifies are read by it if it is
    installed. Nothing is masked, filled, normalized or, unless asked for, shifted. Read
    more in the :ref:`User Guide <reading>`.

    Parameters
    ----------
    path : str or path-like
        The file, gzip-compressed or not.
    index : int, default=None
        Which spectrum of a file of many, from 0. None means the only one.
    medium : {"air", "vacuum"}, default=None
        Medium to whose wavelengths those of the file are converted. None means that of
        the file.
    frame : {"topocentric", "heliocentric", "barycentric", "rest"}, default=None
        Frame to which the wavelengths are converted: to "rest" by the redshift in the
        file, and back. Heliocentric and barycentric wavelengths differ by less than
        1e-7 and count as the same. None means that of the file.
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
            Inverse variance of the flux, 0 where the survey rejected the pixel. None if
            the file states no errors.
        wavelength : ndarray of shape (n_pixels,), float64
            Ascending wavelengths of the pixels' centers in Å.
        mask : ndarray of shape (n_pixels,), bool
            True for bad pixels: `ivar` is not positive, or it or the flux is not
            finite.
        normalized : ndarray of shape (n_pixels,), float32, or None
            Flux over its continuum by the survey; None if the file has neither.
        and_mask, or_mask : ndarray of shape (n_pixels,), int64, or None
            The survey's bits, set in all exposures or in any; None if the file has no
            such mask.
        kind : {"science", "sky", "template"}
            Kind of the spectrum: an object, a fiber on empty sky, or a template of the
            survey's pipeline.
        layout : str
            Name of the layout: "lamost-image", "lamost-log-image", "lamost-coadd",
            "lamost-medium", "sdss-spec", "sdss-spspec", "6dfgs", "desi", "galah",
            "marz", "vo-spectrum", "votable", "jwst-x1d", "snid-lnw", "image",
            "table", "ecsv", "ascii", "specutils" and the name of the loader, or a
            registered one.
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
        medium : {"air", "vacuum"} or None
            Medium of the wavelengths; None if neither the file nor the survey's data
            model states it.
        vacuum : bool or None
            Whether `medium` is "vacuum"; None if it is unknown.
        frame : {"topocentric", "heliocentric", "barycentric", "rest"} or None
            Frame of the wavelengths: that of the telescope, the Sun, the barycenter of
            the solar system, or the object; None if it is unknown.
        doppler_redshift : float
            Redshift by which the wavelengths were corrected; 0 for observed ones, NaN
            if it is unknown. ``wavelength * (1 + doppler_redshift)`` is the observed
            wavelength.
        flux_unit, wavelength_unit : :class:`astropy.units.Unit`
            1e-17 erg/s/cm²/Å for SDSS, dimensionless (relative flux) for LAMOST, counts
            for 6dFGS, and otherwise that of the file, dimensionless if it states none;
            Å. Columns of SDSS whose TUNIT states another unit are converted.
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
        If it is FITS but holds no spectrum in a known layout, or several; if its
        wavelengths do not ascend, or may be in Å or nm; or if a conversion needs what
        the file does not state.

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

    DESI data model:
    https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/

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
    if index is not None:
        index = check_count(index, "index", 0)
    check_conversion(medium, frame)
    options = _Options(known_layouts(), max_bytes, medium, frame)
    return _read_one(_check_path(path), options, index)


def _check_path(path: Any) -> str | os.PathLike:
    if not isinstance(path, str | os.PathLike):
        advice = "; give its path, as in file.name" if hasattr(path, "read") else ""
        raise TypeError(f"a file is given by its path; got {path!r}{advice}.")
    return path


def _read_file(
    path: str | os.PathLike,
    options: _Options,
    read: Callable[[Layout | None, Any], Any],
) -> Any:
    """Find the layout of a file, open the file and call `read`."""
    path, layouts = Path(path), options.layouts
    if options.max_bytes is not None:
        check_number(options.max_bytes, "max_bytes", least=0)
    if path.is_file():
        content = read_text(path, options.max_bytes)
        for opens, file in (("path", path), ("text", content)):
            try:
                layout = None if file is None else find_layout(file, layouts, opens)
                if layout is not None:
                    with warnings.catch_warnings():
                        # Spellings of units, for instance, are not the user's.
                        warnings.simplefilter("ignore", AstropyWarning)
                        return read(layout, file)
            except Exception as error:
                raise ValueError(f"{path}: {error_text(error)}") from error

    def read_hdus(hdul: fits.HDUList) -> Any:
        layout = find_layout(hdul, layouts)
        catalog = None if layout else find_catalog(hdul)
        if catalog is not None:
            raise ValueError(describe_catalog(catalog))
        return read(layout or find_with_specutils(path), hdul)

    return read_fits(path, read_hdus, options.max_bytes)


def _require_layout(layout: Layout | None, hdul: Any, options: _Options) -> Layout:
    """Refuse a file of no known layout."""
    if layout is None:
        expected = "; ".join(
            known.description
            for known in sorted(options.layouts, key=lambda known: known.is_generic)
            if known.opens == "fits"
        )
        raise ValueError(
            f"no spectrum in a known layout: {describe_hdus(hdul)}. Expected one of: "
            f"{expected}"
        )
    return layout


def _read_one(
    path: str | os.PathLike, options: _Options, index: int | None = None
) -> Bunch:
    """Read one spectrum."""

    def read(layout: Layout | None, file: Any) -> Bunch:
        layout = _require_layout(layout, file, options)
        if not layout.many:
            if index not in (None, 0):
                raise ValueError(
                    f"it holds one spectrum, so index={index} is too large"
                )
            spectrum = layout.read_one(file)
        else:
            matrix = layout.read_many(file)
            n_spectra = len(matrix.flux)
            if index is None and n_spectra > 1:
                held = describe_hdus(file) if layout.opens == "fits" else "text"
                raise ValueError(
                    f"expected one spectrum, found a matrix of many ({held}); read "
                    "this file with read_spectra, or one of its "
                    f"{n_spectra} spectra with index=0 to {n_spectra - 1}"
                )
            if index is not None and index >= n_spectra:
                raise ValueError(
                    f"it holds {n_spectra} spectra, so index={index} is too large"
                )
            spectrum = layout.one_of_many(matrix, index or 0)
        if options.redshifts is not None:
            spectrum.redshift = options.redshifts.find(spectrum.id)
        if options.medium or options.frame:
            convert(spectrum, options.medium, options.frame)
        if layout.opens == "text":
            # Text files seldom name the object.
            name = os.path.basename(path).removesuffix(".gz")
            spectrum.id = spectrum.id or Path(name).stem
        return spectrum

    spectrum = _read_file(path, options, read)
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
    medium: str | None = None,
    frame: str | None = None,
    catalog: str | os.PathLike | Table | None = None,
    return_ivar: bool = False,
    n_jobs: int | None = None,
    verbose: int = 1,
    max_bytes: float | None = None,
) -> Bunch:
    """Read many spectra on one wavelength grid, ready for an estimator.

    Either one file holds them all as a matrix, or each spectrum has its own file in any
    layout that :func:`read_spectrum` reads. Layouts are recognized by the content of
    the files. Nothing is masked, filled or normalized, and wavelengths keep the medium
    (vacuum or air) and the frame that a file has unless another is asked for. Read more
    in the :ref:`User Guide <reading>`.

    Parameters
    ----------
    source : path-like, or iterable of path-like
        One of

        - a file of many spectra: the primary HDU is the flux ``(n_spectra,
          n_pixels)``, with the integer labels of the LAMOST data competition in HDU 1
          (``objid``, ``label``) or with a table ``LABELS`` of any columns and the
          wavelengths in an image ``WAVELENGTH``; or a survey's file of the spectra of
          many fibers, orders or epochs;
        - a folder of files in any layout that states the wavelengths;
        - a file of one spectrum, or an iterable of files.
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
        Kinds of spectra to keep from the files of surveys: "science", "sky" and
        "template".
    pattern : str, default="*.fit*"
        Shell-style pattern of the files of a folder; case is ignored.
    recursive : bool, default=False
        Whether to read subfolders too.
    medium : {"air", "vacuum"}, default=None
        Medium to whose wavelengths those of all files are converted. None means that of
        each file. A file that does not state its medium is refused.
    frame : {"topocentric", "heliocentric", "barycentric", "rest"}, default=None
        Frame to which all wavelengths are converted, as in :func:`read_spectrum`: to
        "rest" by the redshifts of the `catalog` if it has any, otherwise by those in
        the files.
    catalog : path-like or :class:`~astropy.table.Table`, default=None
        Redshifts and classes of the spectra: a file of redrock (``redrock``, ``zbest``)
        or a table with a column ``TARGETID``, ``ID`` or ``OBJID``, which is compared
        with `id`, and columns such as ``Z``, ``ZERR``, ``ZWARN``, ``SPECTYPE`` and
        ``SUBTYPE``, or ``CLASS`` and ``SUBCLASS``. They become the columns z, z_error,
        zwarning, class and subclass, in place of what the files state. Spectra that it
        does not hold have no class and redshift, and cannot be converted to rest.
    return_ivar : bool, default=False
        Whether to return inverse variances, too.
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
            cover, between its arms too, are NaN. Units of flux that differ by a factor
            are converted to that of the first spectrum; the others are as in `table`.
        ivar : ndarray of shape (n_spectra, n_pixels), float32, or None
            With `return_ivar` the inverse variance of the flux, rebinned as that of
            independent pixels. It is 0 where it is unknown, the flux is NaN or a bad
            pixel contributes; None if a file of many spectra states no errors.
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
        id, class_name, subclass, redshift, snr, survey, medium, frame : ndarray or None
            Columns of `table`, of shape (n_spectra,), each None if the table has no
            such column.
        table : :class:`astropy.table.Table`
            One row per spectrum. For files of one spectrum the columns are id, class,
            subclass, z, zwarning, snr, ra, dec, survey, release, layout, kind, medium,
            vacuum, frame, doppler_redshift, flux_unit, path and snr_u, ..., snr_z, as
            explained in :func:`read_spectrum`; an unknown medium or frame is an empty
            string. For a file of many spectra the columns are those of the file, such
            as DESI's ``FIBERMAP``, and those of these that it states.
        layout : str
            How the spectra were stored: "single-files", or the layout of a file of many
            spectra, such as "competition", "labeled-matrix" or "desi".
        failures : list of (path, reason)
            Files that could not be read, for whatever reason.
        left_out : list of (path, kind)
            Spectra that were left out for their kind.

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
    check_conversion(medium, frame)
    grid = None if wavelength is None else _check_grid(wavelength)
    options = _Options(known_layouts(), max_bytes, medium, frame, kinds, return_ivar)
    labels = None if catalog is None else read_catalog(catalog, max_bytes)
    if labels is not None and frame == "rest":
        options = options._replace(redshifts=Redshifts.of(labels))
    spectra = None
    if isinstance(source, str | os.PathLike):
        if Path(source).is_dir():
            paths: list[str | os.PathLike] = [*_list_files(source, pattern, recursive)]
        else:
            paths = [source]
            spectra = _read_matrix_file(source, options, grid, class_names)
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
        if labels is None:
            _find_column(_COLUMN_NAMES, label_column)
        spectra = _read_single_files(
            paths,
            np.linspace(3900.0, 9000.0, 3000) if grid is None else grid,
            options,
            n_jobs=n_jobs,
            verbose=verbose,
        )
    elif spectra.left_out and verbose:
        n_spectra = len(spectra.flux) + len(spectra.left_out)
        print(
            f"Left out {len(spectra.left_out)} of {n_spectra} spectra for their kind: "
            f"{_count_kinds(spectra.left_out)}."
        )
    if labels is not None:
        join_catalog(spectra.table, labels)
    _find_column(spectra.table.colnames, label_column)
    for attribute, columns in _ATTRIBUTES.items():
        found = (_match(spectra.table.colnames, column) for column in columns)
        column = next((name for name in found if name is not None), None)
        spectra[attribute] = None if column is None else _values(spectra.table, column)
    _set_target(spectra, label_column)
    return spectra


def _read_matrix_file(
    path: str | os.PathLike,
    options: _Options,
    grid: np.ndarray | None,
    class_names: ClassNames | None,
) -> Bunch | None:
    """Read a file of many spectra; None if it is not one."""

    def read(layout: Layout | None, file: Any) -> Bunch | None:
        if layout is None or not layout.many:
            return None
        matrix = layout.read_many(file)
        own = layout.is_built_in and layout.name not in MATRICES
        if len(matrix.flux) == 1 and own:
            return None
        names = matrix.pop("class_names") if class_names is None else class_names
        if names is not None:
            name_classes(matrix.table, names)
        return _on_grid(matrix, os.fspath(path), grid, options)

    matrix = _read_file(path, options, read)
    if matrix is None:
        return None
    if grid is not None and np.isnan(matrix.flux).all():
        raise ValueError(f"{path}: {_no_overlap(matrix.own_wavelength, grid)}")
    for name in ("class_names", "kinds", "header", "own_wavelength", *_ARRAYS):
        matrix.pop(name, None)
    if not options.return_ivar:
        del matrix["ivar"]
    matrix.failures = []
    return matrix


def _on_grid(
    matrix: Bunch, path: str, grid: np.ndarray | None, options: _Options
) -> Bunch:
    """Select, convert and rebin the spectra of a file of many."""
    matrix.left_out = []
    if matrix.kinds is not None:
        kept = np.isin(matrix.kinds, [*options.kinds])
        matrix.left_out = [
            LeftOut(path, kind)
            for kind, keep in zip(matrix.kinds, kept, strict=True)
            if not keep
        ]
        matrix.table = matrix.table[kept]
        for name in ("flux", "ivar"):
            if matrix[name] is not None:
                matrix[name] = matrix[name][kept]
        if np.ndim(matrix.wavelength) == 2:
            matrix.wavelength = matrix.wavelength[kept]
    _convert_matrix(matrix, options)
    if not options.return_ivar:
        matrix.ivar = None
    wavelength = matrix.own_wavelength = matrix.wavelength
    n_pixels = matrix.flux.shape[1]
    if wavelength is None:
        if grid is not None and grid.size != n_pixels:
            raise ValueError(
                f"the spectra have {n_pixels} pixels and the file does not contain "
                f"their wavelengths, but wavelength has {grid.size} values"
            )
    elif grid is not None and wavelength.ndim == 1:
        matrix.flux, matrix.ivar = _rebin(matrix.flux, matrix.ivar, wavelength, grid)
    elif grid is not None:
        ivar = [None] * len(wavelength) if matrix.ivar is None else matrix.ivar
        rows = [*map(_rebin, matrix.flux, ivar, wavelength, [grid] * len(wavelength))]
        matrix.flux = np.stack([flux for flux, _ in rows])
        if matrix.ivar is not None:
            matrix.ivar = np.stack([ivar for _, ivar in rows])
    elif wavelength.ndim == 2:
        raise ValueError(
            "each of its spectra has its own wavelengths; give the parameter "
            "wavelength, a grid to which all are rebinned"
        )
    if grid is not None:
        matrix.wavelength = grid
    return matrix


def _convert_matrix(matrix: Bunch, options: _Options) -> None:
    """Convert the wavelengths of all spectra to the medium and frame asked for."""
    if (options.medium, options.frame) == (None, None) or not len(matrix.flux):
        return
    if matrix.wavelength is None:
        raise ValueError("the file does not contain the wavelengths to be converted")
    states, grids = [*labels_of(matrix)], matrix.wavelength
    if options.redshifts is not None:
        names = matrix.table[find_key(matrix.table)]
        for state, name in zip(states, names, strict=True):
            state.redshift = options.redshifts.find(name)
    if grids.ndim == 1:
        different = {
            (state.medium, state.frame, state.doppler_redshift) for state in states
        }
        if len(different) == 1 and options.frame != "rest":
            states = states[:1]
        grids = [grids] * len(states)
    for state, grid in zip(states, grids, strict=True):
        state["wavelength"] = grid
        convert(state, options.medium, options.frame)
    matrix.wavelength = check_grids(np.stack([row["wavelength"] for row in states]))
    for field in ("medium", "frame", "doppler_redshift"):
        values = [state[field] for state in states]
        if field != "doppler_redshift":
            values = [text(value) for value in values]
        matrix.table[field] = np.broadcast_to(values, len(matrix.flux))


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
    options: _Options,
    *,
    n_jobs: int | None,
    verbose: int,
) -> Bunch:
    """Read files in parallel, and collect their spectra."""
    shape = (len(paths), grid.size)
    arrays = [np.empty(shape, np.float32) for _ in range(1 + options.return_ivar)]
    records: list[dict] = []
    failures: list[Failure] = []
    left_out: list[LeftOut] = []
    tasks = (delayed(_read_rows)(os.fspath(path), grid, options) for path in paths)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    for result in progress_bar(
        results,
        total=len(paths),
        desc="Reading spectra",
        unit="file",
        disable=not verbose,
    ):
        if isinstance(result, Failure):
            failures.append(result)
            continue
        left_out += result.left_out
        start, end = len(records), len(records) + len(result.records)
        if end > len(arrays[0]):
            more = np.empty((end, grid.size), np.float32)
            arrays = [np.concatenate([array[:start], more]) for array in arrays]
        arrays[0][start:end] = result.flux
        if options.return_ivar:
            arrays[1][start:end] = 0 if result.ivar is None else result.ivar
        records += result.records
    _report(len(paths), len(records), failures, left_out, verbose)
    arrays = [array[: len(records)] for array in arrays]
    _unify_units(arrays, records)
    table = Table({name: [row[name] for row in records] for name in _COLUMN_NAMES})
    unknown = table["medium"] == ""
    if unknown.any():
        table["vacuum"] = MaskedColumn(table["medium"] == "vacuum", mask=unknown)
    for name, unit in _COLUMN_UNITS.items():
        table[name].unit = unit
    return Bunch(
        flux=arrays[0],
        **({"ivar": arrays[1]} if options.return_ivar else {}),
        wavelength=grid,
        wavelength_unit=WAVELENGTH_UNIT,
        table=table,
        layout="single-files",
        failures=failures,
        left_out=left_out,
    )


def _read_rows(path: str, grid: np.ndarray, options: _Options) -> _Rows | Failure:
    """Read and rebin one file; return a Failure instead of raising."""

    def read_many(layout: Layout | None, file: Any) -> Bunch | None:
        layout = _require_layout(layout, file, options)
        if not layout.many:
            return None
        if layout.name == COMPETITION:
            raise ValueError(
                "expected spectra with their wavelengths, found a matrix of many as in "
                "the data competition; read this file by itself with read_spectra"
            )
        return _on_grid(layout.read_many(file), path, grid, options)

    try:
        matrix = _read_file(path, options, read_many)
        if matrix is not None:
            records = [_record(row) | {"path": path} for row in labels_of(matrix)]
            rows = _Rows(matrix.flux, matrix.ivar, records, matrix.left_out)
            wavelength = np.ravel(matrix.own_wavelength)
        else:
            spectrum = _read_one(path, options)
            if spectrum.kind not in options.kinds:
                return _Rows(grid[None][:0], None, [], [LeftOut(path, spectrum.kind)])
            ivar = spectrum.ivar if options.return_ivar else None
            flux, ivar = _rebin(spectrum.flux, ivar, spectrum.wavelength, grid)
            rows = _Rows(flux, ivar, [_record(spectrum)], [])
            wavelength = spectrum.wavelength
    # One file, or a layout of a user, must not affect the other files.
    except Exception as error:
        known = isinstance(error, OSError | ValueError)
        reason = str(error) if known else error_text(error)
        return Failure(path, reason.removeprefix(f"{path}: "))
    if rows.records and np.isnan(rows.flux).all():
        return Failure(path, _no_overlap(wavelength, grid))
    return rows


def _record(spectrum: Bunch) -> dict:
    """Row of the table."""
    record = {column: spectrum[field] for column, field in COLUMNS.items()}
    record |= {field: record[field] or "" for field in ("medium", "frame")}
    record["flux_unit"] = spectrum.flux_unit.to_string()
    return record | {f"snr_{band}": value for band, value in spectrum.snr_bands.items()}


def _rebin(
    flux: np.ndarray, ivar: np.ndarray | None, wavelength: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rebin the parts between gaps in the wavelengths, and leave the gaps NaN.

    The inverse variance is 0 where the flux is NaN or a bad pixel contributes.
    """
    steps = np.diff(wavelength)
    wide = _GAP * np.pad(steps, 1, constant_values=0)
    gaps = (steps > wide[:-2]) & (steps > wide[2:]) & (wide[:-2] > 0) & (wide[2:] > 0)
    shape = (*flux.shape[:-1], grid.size)
    rebinned = np.full(shape, np.nan, flux.dtype)
    inverse = None if ivar is None else np.zeros(shape, np.float32)
    for part in np.split(np.arange(wavelength.size), 1 + np.flatnonzero(gaps)):
        matrix = rebin_matrix(bin_edges(wavelength[part]), bin_edges(grid))
        values = apply_rebin_matrix(matrix, flux[..., part])
        empty = np.isnan(rebinned)
        rebinned = np.where(empty, values, rebinned)
        if ivar is not None:
            good = np.isfinite(ivar[..., part]) & (ivar[..., part] > 0)
            variance = np.where(good, 1 / np.where(good, ivar[..., part], 1), 0)
            variance = apply_rebin_matrix(matrix.power(2), variance)
            bad = apply_rebin_matrix(matrix, (~good).astype(np.float32)) != 0
            known = inverse_variance(variance=np.where(bad, np.nan, variance))
            inverse = np.where(empty, known, inverse).astype(np.float32)
    return rebinned, inverse


def _no_overlap(wavelength: np.ndarray, grid: np.ndarray) -> str:
    """Tell why no pixel has a flux."""
    if wavelength[0] < grid[-1] and grid[0] < wavelength[-1]:
        return "no pixel of its flux is known within the grid."
    return (
        f"its wavelengths, {wavelength[0]:.1f} to {wavelength[-1]:.1f} Å, do not "
        f"overlap the grid, {grid[0]:.1f} to {grid[-1]:.1f} Å."
    )


def _unify_units(arrays: list[np.ndarray], records: list[dict]) -> None:
    """Convert units of flux that differ by a factor; warn about others once.

    The built-in layouts have the known units of their surveys side by side.
    """
    first = units.Unit(records[0]["flux_unit"])
    for index, record in enumerate(records):
        unit = units.Unit(record["flux_unit"])
        if unit != first and unit.is_equivalent(first):
            for array, power in zip(arrays, (1, -2), strict=False):
                array[index] *= unit.to(first) ** power
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
    if not n_read:
        if left_out:
            failed += "\n" * bool(failed) + (
                f"{len(left_out)} spectra were left out for their kind "
                f"({_count_kinds(left_out)}); the parameter kinds selects which to keep"
            )
        message = f"No spectrum was read. {failed}"
        raise NothingReadError(message, failures, left_out)
    if failed:
        warnings.warn(
            f"{failed}\nThe list is in the attribute failures.",
            UserWarning,
            stacklevel=4,
        )
    if left_out and verbose:
        kinds = _count_kinds(left_out)
        print(f"Left out {len(left_out)} of {n_files} files for their kind: {kinds}.")


def _count_kinds(left_out: list[LeftOut]) -> str:
    counts = Counter(kind for _, kind in left_out)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


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
