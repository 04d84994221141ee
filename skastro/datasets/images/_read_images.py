# SPDX-License-Identifier: BSD-3-Clause
"""Images in files of their own, with labels from a table."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skastro.datasets._failures import (
    Failure,
    NothingReadError,
    name_failures,
    report_failures,
)
from skastro.datasets.images._cutouts import Cutout, CutoutRows, Grid, Steps
from skastro.datasets.images._labels import (
    Join,
    Labels,
    find_column,
    join_labels,
    read_labels,
    target_of,
)
from skastro.datasets.images._names import (
    Named,
    check_bands,
    list_files,
    name_objects,
)
from skastro.datasets.images._plan import Planned, other_bands, plan_images
from skastro.datasets.images._select_images import in_threads
from skastro.utils import LazyArray, check_count, check_memory, check_number

# Images decoded by one task of a thread: a few, so that little is kept in memory.
_TASK = 4
# Any positive number.
_LEAST = 5e-324
# What single precision holds.
_LARGEST = float(np.finfo(np.float32).max)


class _Read(NamedTuple):
    """The images, which of the planned ones they are, and what reading them told."""

    images: np.ndarray | LazyArray
    rows: list[int]
    groups: np.ndarray
    n_filled: np.ndarray


def read_images(
    source: str | os.PathLike | Iterable[str | os.PathLike],
    table: Any = None,
    *,
    id_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    bands: Sequence[str] | None = None,
    pattern: str | None = None,
    hdu: int | str | None = None,
    mask: int | str | None = None,
    fill_value: float | str = "median",
    pixel_scale: float | None = None,
    size: int | tuple[int, int] | None = None,
    resize: bool = False,
    stretch: Callable[..., ArrayLike] | None = None,
    lazy: bool = False,
    n_jobs: int | None = None,
    verbose: int = 1,
    max_bytes: float | None = None,
) -> Bunch:
    """Read images in files of their own, with labels from a table.

    The name of a file without its ending is the name of its object, by which a table
    gives it labels. Files are FITS, also compressed, JPEG, PNG, TIFF, BMP, GIF or WebP;
    their content decides, not their names. Bytes stay bytes, and other pixels become
    single precision. Read more in the :ref:`User Guide <reading_labeled_images>`.

    Parameters
    ----------
    source : path-like, or iterable of path-like
        One of

        - a folder, which is searched with all folders below it for names that end as
          those of images; hidden ones are left out;
        - the files themselves, in any order;
        - a text file that lists them, one per line.
    table : path-like, Table, DataFrame or structured array, default=None
        Labels: a file that :class:`astropy.table.Table` reads, such as CSV, FITS, ECSV
        or VOTable, or a table in memory. None reads images without labels.
    id_column : str, default=None
        Column of the table that holds the names of the files, with or without their
        endings and folders. Numbers are compared as they are written, with zeros at
        their start. None means the column that holds the names of all files, if there
        is but one.
    label_column : str or sequence of str, default=None
        Column that becomes `target`, or several columns of numbers to regress. None
        means "class" if there is one, otherwise "label", otherwise no target.
    bands : sequence of str, default=None
        Names of the bands, in the order of the channels, if each band of an object has
        a file of its own: "M51_g.fits", "M51_r.fits", with "-", "_" or "." before the
        band. Without `pixel_scale` they must have one size and, by any coordinates in
        their headers, show the same sky to half a pixel. None means that a file holds
        all bands of an object.
    pattern : str, default=None
        Names of the files, without their endings, in which ``{id}`` stands for the
        object, ``{band}`` for the band and ``*`` for anything, as in
        ``"cutout_{band}_{id}_v*"``, or ``"{band}/{id}"`` for a folder of each band.
        Where a name can be divided in several ways, what comes first is as long as
        possible; ``*`` next to ``{id}`` says nothing of where the object ends, and is
        refused. None means ``{id}`` or, with `bands`, that of the files above.
    hdu : int or str, default=None
        Number or name of the HDU of the image in FITS files. None means the first with
        an image of two axes, or of three, bands first.
    mask : int or str, default=None
        Number or name of the HDU of a mask in FITS files, which is not 0 where pixels
        are bad. None means that there is none.
    fill_value : float or "median", default="median"
        Value of pixels that are masked, NaN or infinite, and of those around an image
        that is smaller than `size`. "median" is that of the good pixels of the image,
        in each band: about the level of the sky.
    pixel_scale : float, default=None
        Width of the new pixels in arcsec, to which all images are resampled by the
        coordinates in their headers; old ones must be square. What is at the center of
        the first band of an object is then at that of the others, too; bands that are
        turned or distorted against it by more than half a pixel are failures. None
        keeps their pixels.
    size : int or pair of int, default=None
        Height and width of the images. They are cut and padded about their centers, as
        by :class:`~skastro.CropPadImages`. With None, images of several sizes are an
        error, which counts them.
    resize : bool, default=False
        Whether images are resampled to `size` instead: the largest central part of each
        with the proportions of `size`.
    stretch : callable, default=None
        Function that is applied to each image ``(height, width[, n_bands])`` at the
        end, such as ``AsinhStretch(0.1) + ManualInterval(0, 50)`` of
        :mod:`astropy.visualization`. :func:`~astropy.visualization.make_lupton_rgb`
        [1]_, or a :func:`functools.partial` of it with its parameters, makes color
        images in bytes of three bands, of which the last is red. None keeps the
        numbers.
    lazy : bool, default=False
        Leave the images on disk. They are read once, to find damaged files and copies,
        and again, batch by batch, by the estimators.
    n_jobs : int, default=None
        Number of threads that read; None means 8, -1 one per processor.
    verbose : int, default=1
        Whether to show progress bars and print what was left out, filled or found
        twice; 0 is silent.
    max_bytes : float, default=None
        Memory that each file, and all images together, may take; more is an error. None
        means half of the memory that is available.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes. Rows are in the order of
        the files, which are sorted if `source` is a folder.

        images : ndarray or :class:`LazyArray` of shape \
                (n_images, height, width[, n_channels])
            Images, uint8 if all files hold bytes, otherwise float32. FITS images have
            the orientation of :mod:`astropy.io.fits`: their first row is the lowest.
        target : ndarray of shape (n_images,) or (n_images, n_label_columns), or None
            Labels; NaN for unknown numbers, an empty string for unknown names. None
            without labels.
        target_names : ndarray, or None
            The different values of `target` except the empty string, sorted; None if
            there is no target or if it is real numbers.
        id : ndarray of str of shape (n_images,)
            Names of the objects.
        groups : ndarray of int of shape (n_images,)
            The first row whose files hold the same pixels, the row itself if there is
            none before. As ``groups`` of :class:`~sklearn.model_selection.GroupKFold`
            they keep copies in one fold.
        pixel_scale : ndarray of shape (n_images,)
            Width of the pixels in arcsec, by the header of the first band; NaN where it
            states none.
        n_filled : ndarray of int of shape (n_images,)
            How many values of the files were masked, NaN or infinite.
        path : ndarray of str of shape (n_images,) or (n_images, n_bands)
            The files.
        table : :class:`astropy.table.Table` or None
            The row of each image in the table.
        id_column : str or None
            The column by which the table was joined.
        failures : list of (path, reason)
            Files that could not be read, for whatever reason; the other bands of their
            objects are left out.
        left_out : list of (path, reason)
            Files whose object has no row in the table or not all bands, or whose name
            does not follow `pattern`.
        without_image : list of str
            Names in the table for which there is no file.

    Raises
    ------
    FileNotFoundError
        If a folder, list or table does not exist.
    TypeError
        If `source` or `table` is something else.
    ValueError
        If there are no images, or none can be read; if the table cannot be read, has no
        such columns or no row of any image, or names one twice; if, without
        `id_column`, a column lacks files or several name other rows; if images differ
        in size without `size`, in their channels or in bytes and numbers; or if a
        parameter is wrong.
    OSError
        If the images take more memory than `max_bytes`.

    Warns
    -----
    UserWarning
        If some files could not be read; all are named in `failures`.

    See Also
    --------
    ImageFiles : Images of one shape as an array on disk, without a table.
    images_to_hdf5 : Packs images into one file, which is faster to train on.
    read_galaxy10 : Images and labels in one HDF5 file.

    Notes
    -----
    Images are resampled by linear interpolation and, where new pixels are larger,
    averages over them. Values per area of the sky, such as surface brightness, are
    kept; values per pixel, such as counts, are not summed. Where a star is narrower
    than two old pixels, its sum depends on its place within a pixel: of one with a
    standard deviation of 0.6 pixels a tenth can be lost.

    References
    ----------
    .. [1] Lupton, R. et al. (2004). "Preparing Red-Green-Blue Images from CCD Data".
           PASP 116, 133. https://doi.org/10.1086/382245

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astropy.table import Table
    >>> from skastro.datasets import read_images
    >>> table = Table({"name": ["M51", "M87"], "class": ["spiral", "elliptical"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in table["name"]:
    ...         for band in "gr":
    ...             image = fits.PrimaryHDU(np.ones((64, 64), np.float32))
    ...             image.writeto(f"{folder}/{name}_{band}.fits")
    ...     images = read_images(folder, table, bands=("g", "r"), verbose=0)
    >>> images.images.shape, images.target.tolist()
    ((2, 64, 64, 2), ['spiral', 'elliptical'])
    >>> images.groups
    array([0, 0])
    """
    steps = _check_options(
        Steps(hdu, mask, fill_value, None, resize, stretch, max_bytes), size
    )
    if pixel_scale is not None:
        pixel_scale = _check_scale(pixel_scale, resize)
    expression = check_bands(bands, pattern)
    labels = None if table is None else read_labels(table)
    _check_columns(labels, id_column, label_column)
    paths, failures = list_files(source)
    objects, left_out = name_objects(paths, bands, expression)
    joined = None
    if labels is not None:
        joined = join_labels(labels, id_column, _unique_ids(objects))
        objects = _with_row(objects, joined, left_out)
    reports = failures, left_out
    plan = plan_images(objects, steps, pixel_scale, *reports, n_jobs, verbose)
    read = _read(plan, steps, lazy, *reports, n_jobs, verbose)
    if read is None:
        reason = report_failures(failures, len(paths))
        raise NothingReadError(f"No image was read. {reason}", *reports)

    kept = [plan[row] for row in read.rows]
    files = [item.named.paths for item in kept]
    images = Bunch(
        images=read.images,
        target=None,
        target_names=None,
        id=np.array([item.named.id for item in kept]),
        groups=read.groups,
        pixel_scale=np.array([item.pixel_scale for item in kept]),
        n_filled=read.n_filled,
        path=np.array(files if bands else [path for (path,) in files]),
        table=None,
        id_column=None,
        failures=failures,
        left_out=left_out,
        without_image=[],
    )
    if labels is not None and joined is not None:
        images.table = labels.table[[joined.row_of[name] for name in images.id]]
        images.target, images.target_names = target_of(images.table, label_column)
        images.id_column, images.without_image = joined.column, joined.without_image
        if verbose and id_column is None:
            print(f"The column {joined.column!r} of the table names the images.")
    _report(images, len(paths), verbose)
    return images


def _check_options(steps: Steps, size: int | tuple[int, int] | None) -> Steps:
    for name in ("hdu", "mask"):
        value = getattr(steps, name)
        if not isinstance(value, str | Integral | None) or isinstance(value, bool):
            raise TypeError(
                f"{name} must be the number or name of an HDU, or None; got {value!r}."
            )
    if isinstance(steps.fill_value, str) and steps.fill_value != "median":
        raise ValueError(
            f"fill_value must be a number or 'median'; got {steps.fill_value!r}."
        )
    if not isinstance(steps.fill_value, str):
        check_number(steps.fill_value, "fill_value", -_LARGEST, _LARGEST)
    if steps.stretch is not None and not callable(steps.stretch):
        raise TypeError(
            "stretch must be a function of an image, such as AsinhStretch(0.1) + "
            "ManualInterval(0, 50) or make_lupton_rgb of astropy.visualization; got "
            f"{steps.stretch!r}."
        )
    if steps.max_bytes is not None:
        check_number(steps.max_bytes, "max_bytes", least=0)
    if size is None:
        if steps.resize:
            raise ValueError("resize=True needs size=..., the size of the new images.")
        return steps
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ValueError(
            f"size must be a number of pixels or (height, width); got {size!r}."
        )
    height, width = (check_count(length, "size") for length in pair)
    return replace(steps, size=(height, width))


def _check_scale(pixel_scale: Any, resize: bool) -> float:
    if resize:
        raise ValueError(
            "pixel_scale and resize=True both resample images: give one of them. With "
            "pixel_scale, images are cut and padded to size."
        )
    return check_number(pixel_scale, "pixel_scale", least=_LEAST, unit="arcsec")


def _check_columns(
    labels: Labels | None,
    id_column: str | None,
    label_column: str | Sequence[str] | None,
) -> None:
    """Refuse columns that the table does not have, or not as labels."""
    if labels is None:
        given = {"id_column": id_column, "label_column": label_column}
        for parameter, column in given.items():
            if column is not None:
                raise ValueError(
                    f"{parameter}={column!r} is of a table: give the table, too."
                )
        return
    if id_column is not None:
        find_column(labels.table, id_column, "id_column")
    target_of(labels.table, label_column)


def _unique_ids(objects: Sequence[Named]) -> list[str]:
    """Return the names of objects, or refuse two files of one name."""
    path_of: dict[str, str] = {}
    for named in objects:
        if named.id in path_of:
            raise ValueError(
                f"Two files have the name {named.id!r}, by which the table is joined: "
                f"{path_of[named.id]!r} and {named.paths[0]!r}. Give the paths of one "
                "of them."
            )
        path_of[named.id] = named.paths[0]
    return [*path_of]


def _with_row(
    objects: Sequence[Named], joined: Join, left_out: list[Failure]
) -> list[Named]:
    """Return the objects that have a row in the table, and add the others' files."""
    for named in objects:
        if named.id not in joined.row_of:
            reason = f"no row of the table has the name {named.id!r}"
            left_out += [Failure(path, reason) for path in named.paths]
    return [named for named in objects if named.id in joined.row_of]


def _read(
    plan: Sequence[Planned],
    steps: Steps,
    lazy: bool,
    failures: list[Failure],
    left_out: list[Failure],
    n_jobs: int | None,
    verbose: int,
) -> _Read | None:
    """Read all images, into an array unless `lazy`; None if none can be read."""
    jobs = [(item.named.paths, item.grids) for item in plan]
    function = partial(_read_one, steps, lazy)
    cutouts = in_threads(
        function, jobs, "Reading images", n_jobs, verbose, n_task=_TASK, unit="image"
    )
    first: Cutout | None = None
    out = np.empty(0)
    first_row_of: dict[bytes, int] = {}
    rows: list[int] = []
    groups: list[int] = []
    n_filled: list[int] = []
    for row, cutout in enumerate(cutouts):
        if isinstance(cutout, Failure):
            failures.append(cutout)
            left_out += other_bands(plan[row].named, {cutout.path})
            continue
        image = cutout.image
        if first is None:
            first = cutout
            if not lazy:
                n_bytes = len(plan) * image.nbytes
                check_memory(n_bytes, plan[row].named.paths[0], steps.max_bytes)
                out = np.empty((len(plan), *image.shape), image.dtype)
        if image.shape != first.image.shape or image.dtype != first.image.dtype:
            raise ValueError(
                f"stretch must return images of one shape and type; got {image.shape} "
                f"{image.dtype} for {jobs[row][0][0]!r} after {first.image.shape} "
                f"{first.image.dtype}."
            )
        if not lazy:
            out[len(rows)] = image
        groups.append(first_row_of.setdefault(cutout.digest, len(rows)))
        n_filled.append(cutout.n_filled)
        rows.append(row)
    if first is None:
        return None
    images: np.ndarray | LazyArray = out[: len(rows)]
    if lazy:
        kept = [jobs[row] for row in rows]
        shape, dtype = first.image.shape, first.image.dtype
        images = LazyArray(CutoutRows(kept, steps, shape, dtype))
    return _Read(images, rows, np.array(groups), np.array(n_filled))


def _read_one(
    steps: Steps, lazy: bool, job: tuple[tuple[str, ...], tuple[Grid, ...]]
) -> Cutout | Failure:
    cutout = steps.read(*job)
    if lazy and isinstance(cutout, Cutout):
        # Shape and type remain, without the memory.
        empty = np.broadcast_to(np.zeros((), cutout.image.dtype), cutout.image.shape)
        return cutout._replace(image=empty)
    return cutout


def _report(images: Bunch, n_files: int, verbose: int) -> None:
    """Warn of damaged files, and print what else a user may not expect."""
    if images.failures:
        warnings.warn(
            f"{report_failures(images.failures, n_files)}\nThe list is in the "
            "attribute failures.",
            UserWarning,
            stacklevel=3,
        )
    if not verbose:
        return
    if images.left_out:
        print(
            f"Left out {len(images.left_out)} of {n_files} files:\n"
            f"{name_failures(images.left_out)}"
        )
    if images.without_image:
        print(f"Rows of the table without an image: {len(images.without_image)}.")
    if images.n_filled.any():
        filled = images.n_filled[images.n_filled > 0]
        print(f"Filled values: {filled.sum()}, in {len(filled)} of the images.")
    copies = np.flatnonzero(images.groups != np.arange(len(images.groups)))
    if len(copies):
        others = ""
        if images.target is not None:
            pairs = images.target[copies], images.target[images.groups[copies]]
            different = pairs[0] != pairs[1]
            if images.target.dtype.kind == "f":
                different &= ~(np.isnan(pairs[0]) & np.isnan(pairs[1]))
            n_others = np.count_nonzero(different.reshape(len(copies), -1).any(axis=1))
            others = f", {n_others} of them with another label"
        print(
            f"Copies of other images: {len(copies)}{others}. Keep them in one fold by "
            "groups."
        )
