# SPDX-License-Identifier: BSD-3-Clause
"""Reading images of slow-electron velocity-map imaging."""

import bz2
import codecs
import gzip
import io
import lzma
import math
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.table import Table
from sklearn.utils import Bunch

from skastro.datasets._hdf5 import open_hdf5, read_images, reading_hdf5
from skastro.sevi._electrons import FACTORS, bin_electrons
from skastro.sevi._tables import (
    Join,
    Lookup,
    SEVITable,
    Shells,
    different_ids,
    find_tables,
    in_place,
    parts,
    place_shells,
    read_shells,
)
from skastro.utils import (
    IMAGE_SUFFIXES,
    LazyArray,
    RowwiseSource,
    check_count,
    check_file,
    check_finite,
    check_memory,
    check_number,
    check_option,
    open_image,
    plain_array,
    progress_bar,
    read_bytes,
)

_OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DELIMITERS = (",", ";")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Text with at most this many numbers in a line, and more lines, is a list of pixels.
_MOST_IN_LIST = 3


class ImageColumn:
    """The images of a table as an array that a LazyArray reads."""

    def __init__(self, table: SEVITable) -> None:
        table.require("image")
        self.dataset = table.dataset
        self.field = table.name_of("image")
        stored = self.dataset.dtype[self.field]
        if len(stored.shape) != 2 or stored.base.kind not in "iuf" or 0 in stored.shape:
            raise ValueError(
                f"{table.where}: column {self.field!r} holds values of shape "
                f"{stored.shape} and type {stored.base}; expected images, numbers of "
                "shape (height, width)."
            )
        if not len(table):
            raise ValueError(f"{table.where} has no rows; expected one per image.")
        self.shape = (len(table), *stored.shape)
        self.dtype = stored.base

    @property
    def chunks(self) -> Any:
        """The chunks of the array on disk."""
        return self.dataset.chunks

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.dataset.fields(self.field)[rows]

    def __getstate__(self) -> dict[str, Any]:
        place = os.path.abspath(self.dataset.file.filename), self.dataset.name
        return {**self.__dict__, "dataset": place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        path, name = state["dataset"]
        self.__dict__.update(state, dataset=open_hdf5(path, True)[name])


def arrange(images: LazyArray, transpose: bool, size: int | None) -> LazyArray:
    """Transpose images, and sum blocks of pixels to `size`, as they are read."""
    if not transpose and size is None:
        return images
    change = partial(_change, transpose=transpose, size=size)
    probe = change(np.zeros((1, *images.shape[1:]), images.dtype))
    return LazyArray(RowwiseSource(images, change, probe.shape[1:], probe.dtype))


def _change(images: np.ndarray, transpose: bool, size: int | None) -> np.ndarray:
    images = images.swapaxes(1, 2) if transpose else images
    return images if size is None else sum_pixels(images, size)


def sum_pixels(images: np.ndarray, size: int) -> np.ndarray:
    """Make images (n, height, width) smaller by summing square blocks of pixels."""
    check_pixels(images, "images")
    n, height, width = images.shape
    block, rest = divmod(height, size)
    if height != width or rest or not block:
        raise ValueError(
            f"size={size} does not divide images of {height} x {width} pixels: blocks "
            "of pixels are summed, so height and width must be the same multiple of "
            "size. Set size=None to read the images unchanged."
        )
    blocks = images.reshape(n, size, block, size, block)
    return blocks.sum((2, 4), dtype=np.float64).astype(np.float32)


def check_pixels(images: np.ndarray, where: str) -> None:
    """Refuse pixels that are no numbers of electrons."""
    check_finite(images, input_name=where)
    if images.size and (least := images.min()) < 0:
        raise ValueError(
            f"{where}: pixels hold numbers of electrons, but {(images < 0).sum()} of "
            f"them are negative, down to {least:g}. Add the background that was "
            "subtracted, and fill dead pixels."
        )


def read_plain_images(path: Path, lazy: bool, max_bytes: float | None) -> np.ndarray:
    """Read images (n, height, width) from text, an array of numpy, or by Pillow.

    With `lazy` an array of numpy stays on disk.
    """
    path = check_file(path)
    suffix = path.suffix.lower()
    if lazy and suffix != ".npy":
        raise ValueError(
            f"{path}: only images in tables FinalImage and in files .npy can be left "
            "on disk; set lazy=False."
        )
    if suffix == ".npy":
        images = _read_npy(path, lazy, max_bytes)
    elif suffix in IMAGE_SUFFIXES:
        images = _read_pages(path, max_bytes)
    else:
        images = _read_text(path, max_bytes)
    images = images[None] if images.ndim == 2 else images
    if images.ndim != 3 or images.dtype.kind not in "iuf" or 0 in images.shape:
        raise ValueError(
            f"{path}: holds an array of shape {images.shape} and type {images.dtype}; "
            "expected numbers of shape (height, width) or (n, height, width)."
        )
    if lazy:
        return images
    images = plain_array(images)
    check_pixels(images, str(path))
    return images


def _read_npy(path: Path, lazy: bool, max_bytes: float | None) -> np.ndarray:
    try:
        # A map is as long as the file; otherwise its header decides.
        images = np.load(path, mmap_mode="r")
    # Numpy raises errors of many kinds on damaged headers.
    except Exception as error:
        raise OSError(f"{path}: not a readable file of numpy: {error}") from error
    if not isinstance(images, np.ndarray):
        images.close()
        raise OSError(f"{path}: not a readable file of numpy: it is an archive.")
    if lazy:
        return images
    check_memory(images.nbytes, path, max_bytes)
    return np.array(images)


def _read_pages(path: Path, max_bytes: float | None) -> np.ndarray:
    from PIL import ImageSequence

    pages = []
    with open_image(path) as file:
        mode = file.mode
        for number, page in enumerate(ImageSequence.Iterator(file), 1):
            # Four bytes a pixel at most; all pages, and the array of them.
            check_memory(8 * number * math.prod(page.size), path, max_bytes)
            pages.append(np.array(page))
    if mode == "P" or pages[0].ndim != 2 or pages[0].dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: holds images of mode {mode!r}; expected gray levels (L, I;16, I "
            "or F): counts of electrons have no color."
        )
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        shapes = sorted({f"{page.shape} {page.dtype}" for page in pages})
        raise ValueError(
            f"{path}: its pages must all have one shape and type; got "
            f"{', '.join(shapes)}."
        )
    return np.stack(pages)


def _read_text(path: Path, max_bytes: float | None) -> np.ndarray:
    opener = _OPENERS.get(path.suffix.lower(), open)
    content = read_bytes(path, opener, max_bytes)
    # A number of two characters becomes four bytes.
    check_memory(3 * content.getbuffer().nbytes, path, max_bytes)
    encoding = "utf-16" if content.read(2) in _UTF16 else "utf-8-sig"
    content.seek(0)
    try:
        with io.TextIOWrapper(content, encoding, errors="replace") as file:
            stripped = (line.strip() for line in file)
            lines = (line for line in stripped if line and line[0] != "#")
            first = next(lines, "")
            if first.startswith("SIMPLE"):
                raise ValueError("it is a FITS file")
            heading = "" if re.search(r"\d|nan|inf", first, re.IGNORECASE) else first
            if not (row := next(lines, "") if heading else first):
                raise ValueError("it has no lines of numbers")
            delimiter = next((mark for mark in _DELIMITERS if mark in row), None)
            table = np.loadtxt(
                chain([row], lines), dtype=np.float32, delimiter=delimiter, ndmin=2
            )
            if table.shape[1] <= _MOST_IN_LIST < len(table):
                return _arrange_list(table, heading.strip("\"'").lower())
    except ValueError as error:
        raise ValueError(
            f"{path}: not an image as plain text, rows of as many numbers each: "
            f"{str(error).rstrip('.')}. Expected is this, an HDF5 file, an array of "
            f"numpy (.npy) or an image ({', '.join(sorted(IMAGE_SUFFIXES))})."
        ) from error
    return table


def _arrange_list(table: np.ndarray, heading: str) -> np.ndarray:
    """Arrange lines of x, y and count, one for each pixel, to an image[y, x]."""
    x_first = not heading.startswith(("y", "row"))
    columns = table.T[:2][::-1] if x_first else table.T[:2]
    found = [np.unique(column, return_inverse=True) for column in columns]
    axes, places = zip(*found, strict=True)
    image = np.full([len(axis) for axis in axes], np.nan, dtype=np.float32)
    steps = [np.diff(axis) for axis in axes]
    even = all(np.ptp(step) <= 0.01 * step.mean() for step in steps if len(step))
    if table.shape[1] == 3 and image.size == len(table) and even:
        image[places] = table[:, 2]
    if np.isnan(image).any():
        raise ValueError(
            f"{len(table)} lines of {table.shape[1]} numbers are no image, nor a list "
            "of x, y and count that has every pixel of a rectangle once, those without "
            "electrons too. Single electrons are counted by skastro.sevi.bin_electrons"
        )
    return image


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, or is named so."""
    if path.suffix.lower() in (".h5", ".hdf5", ".hdf"):
        return True
    return path.is_file() and h5py.is_hdf5(path)


def read_electrons(
    tables: dict[str, SEVITable],
    shells: Shells | None,
    *,
    size: int,
    extent: float,
    n_shells: int | None,
    return_electrons: bool,
    verbose: int,
) -> Bunch:
    """Count electrons, reading the table in parts.

    Returns ``images`` (n_images, size, size), polarized along axis 1; ``image_id``
    (n_images,); ``shells``, as given, or as the electrons name them, or None; ``place``
    (n_images, most_shells), rows of the shells, and ``n_electrons``, of the same shape,
    each None if it is unknown; ``electrons``, a Table, or None.
    """
    detected, generated = tables["DetectedElectrons"], tables.get("GeneratedElectrons")
    detected.require("x", "z")
    if not len(detected):
        raise ValueError(f"{detected.where} has no rows; expected one per electron.")
    owner = _find_owner(detected, generated, shells)
    join = None
    wanted = return_electrons and detected.has("electron_id")
    if generated is not None and (owner == "generated" or wanted):
        join = Join(generated, detected)
    place = column_of = None
    if owner == "image_id":
        ids = image_id = different_ids(detected, "image_id")
        image_of = np.arange(len(image_id))
        if shells is not None:
            image_id, place = place_shells(shells, image_id, n_shells)
    else:
        if shells is None:
            shells = Shells(detected.where, _shell_ids(owner, detected, join))
        ids = shells.id
        image_id, place = place_shells(shells, None, n_shells)
        image_of, column_of = _image_and_column(place)
    lookup = Lookup(ids, detected.where if shells is None else shells.where)

    def find_rows(rows: slice, partner: np.ndarray | None) -> np.ndarray:
        if owner is None:
            return np.zeros(rows.stop - rows.start, dtype=np.int64)
        if join is not None and owner == "generated":
            return lookup.find(join.shell_id[partner], join.generated.where)
        return lookup.find(detected.read(owner, rows), detected.where)

    images = np.zeros((len(image_id), size, size), dtype=np.float32)
    counts = np.zeros(len(ids), dtype=np.int64)
    kept: list[dict[str, np.ndarray]] = []
    for rows in _with_progress(detected, verbose):
        x, z = detected.read("x", rows), detected.read("z", rows)
        partner = None if join is None else join.find(rows)
        row = find_rows(rows, partner)
        counts += np.bincount(row, minlength=len(counts))
        for image, inside in _groups(image_of[row]):
            images[image] += bin_electrons(x[inside], z[inside], size, extent)
        if return_electrons:
            part = {"image": image_of[row], "x": x, "z": z}
            if column_of is not None:
                part["shell"] = column_of[row]
            if detected.has("electron_id"):
                part["electron_id"] = detected.read("electron_id", rows)
            if partner is not None:
                part["generated_row"] = partner
            kept.append(part)
    n_electrons = None
    if owner != "image_id":
        n_electrons = in_place(counts.astype(np.float64), place)
    return Bunch(
        images=images,
        image_id=image_id,
        shells=shells,
        place=place,
        n_electrons=n_electrons,
        electrons=_electron_table(kept, generated) if return_electrons else None,
    )


def _find_owner(
    detected: SEVITable, generated: SEVITable | None, shells: Shells | None
) -> str | None:
    """Return the column that assigns electrons to images or shells."""
    for column in ("image_id", "shell_id"):
        if detected.has(column):
            return column
    if generated is not None and generated.has("shell_id"):
        if detected.has("electron_id"):
            return "generated"
    if shells is None or len(shells.id) == 1:
        return None
    raise ValueError(
        f"{detected.where} does not tell to which of the {len(shells.id)} shells an "
        "electron belongs. Expected a column ImageId or DistributionId, or ElectronId "
        "and a table GeneratedElectrons with the column DistributionId; it has the "
        f"columns {list(detected.names)}."
    )


def _shell_ids(owner: str | None, detected: SEVITable, join: Join | None) -> np.ndarray:
    """Return the ids of the shells that electrons refer to."""
    if owner is None:
        return np.zeros(1, dtype=np.int64)
    if join is not None and owner == "generated":
        return np.unique(join.shell_id)
    return different_ids(detected, owner)


def _image_and_column(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of each shell, and its position among the shells there."""
    image, column = np.nonzero(place >= 0)
    order = np.argsort(place[image, column])
    return image[order], column[order]


def _groups(image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each image that occurs, and the positions at which it does."""
    order = np.argsort(image, kind="stable")
    names, first = np.unique(image[order], return_index=True)
    yield from zip(names, np.split(order, first[1:]), strict=True)


def _with_progress(table: SEVITable, verbose: int) -> Iterator[slice]:
    with progress_bar(
        total=len(table),
        desc="Reading",
        unit="electron",
        unit_scale=True,
        delay=2,
        disable=not verbose,
    ) as bar:
        for rows in parts(table):
            yield rows
            bar.update(rows.stop - rows.start)


def _electron_table(
    kept: list[dict[str, np.ndarray]], generated: SEVITable | None
) -> Table:
    table = Table()
    for name in kept[0]:
        table[name] = np.concatenate([part[name] for part in kept])
    if generated is not None and "generated_row" in table.colnames:
        for column, name in (("radius", "r"), ("cos_theta", "cos_theta")):
            if generated.has(column):
                table[name] = generated.read(column)[table["generated_row"]]
    return table


# As in make_sevi.
_DEFAULT_SIZE = 256

# Tables of shells, those that belong to the images first.
_TABLES_OF_SHELLS = {
    "images": ("Truth", "Answer", "DistributionParameters"),
    "electrons": ("DistributionParameters", "Truth", "Answer"),
}


def read_sevi(
    path: str | os.PathLike,
    *,
    source: str = "auto",
    n_shells: int | None = None,
    size: int | None = None,
    extent: float = 1.0,
    polarization_axis: int | None = None,
    convention: str = "density",
    return_electrons: bool = False,
    lazy: bool = False,
    verbose: int = 1,
    max_bytes: int | None = None,
    allow_external: bool = False,
) -> Bunch:
    """Read images of slow-electron velocity-map imaging, and the shells in them.

    There are three kinds of files, which are recognized by their content. HDF5 files of
    images have a table ``FinalImage`` (ImageId, Image), and tables ``Truth`` (SphereId,
    R, sigma_R, beta) or ``Answer`` (SphereId, R, beta) of the shells. HDF5 files of
    electrons have the tables ``DistributionParameters`` (DistributionId, R, sigma_R,
    beta), ``GeneratedElectrons`` (r, cosθ) and ``DetectedElectrons`` (ElectronId, x,
    z); the detected electrons are counted in pixels. Other files contain only images:
    plain text, TIFF with one page or several, other image formats, and numpy arrays.
    Read more in the :ref:`User Guide <sevi>`.

    Case, underscores and spaces in the names of tables and columns are ignored, Greek
    letters may be spelled out, and beta may be a column of 12 numbers or the columns
    beta1 to beta12.

    Parameters
    ----------
    path : path-like
        The file. Text may be compressed (``.gz``, ``.bz2``, ``.xz``), its numbers
        separated by blanks, commas or semicolons; a first line without numbers is
        left out. Each line is a row of the image; or each line has x, y and count of a
        pixel, in any order of the pixels, where x is the column and y the row, unless
        the first line begins with "y" or "row".
    source : {"auto", "images", "electrons"}, default="auto"
        Source of the images in a file that has both: the table of images, which "auto"
        prefers, or the detected electrons.
    n_shells : int, default=None
        Shells per image. None stands for the first of these rules that applies: a
        column ImageId in the table of shells; shells with the same SphereId are in the
        image of that id; if there are as many shells as images, they have the same ids;
        twice (three times …) as many shells with consecutive ids are divided, in their
        order, among the images in their order. With a number the last rule is used for
        all ids. Without images, it is the number of shells whose electrons are counted
        in one image; None means 1.
    size : int, default=None
        Height and width of the images. Electrons are counted in this many pixels; None
        means 256. Stored images are summed over square blocks of pixels, so that counts
        remain counts; None leaves them unchanged.
    extent : float, default=1
        Half the side of the images of tables and electrons, in the unit of the radii.
        Electrons beyond are not counted.
    polarization_axis : {0, 1} or None, default=None
        Axis of the images along which the electrons are polarized. Images in HDF5 files
        are image[x, z], polarized along axis 1, which is the meaning of None; for 0
        they are transposed. Images in other files are not transposed, and this value is
        stored in the result.
    convention : {"density", "vmi"}, default="density"
        Meaning of the returned coefficients: "density" is β_l of the density
        1/2 + Σ β_l P_2l(cos θ), as stored; "vmi" is b_l = 2 β_l of the density
        1 + Σ b_l P_2l(cos θ).
    return_electrons : bool, default=False
        Whether to return the single electrons too, which takes about 60 bytes for each.
    lazy : bool, default=False
        Leave the images of a table ``FinalImage`` or of a numpy array on disk;
        estimators read them batch by batch. The file stays open as long as they are
        used.
    verbose : int, default=1
        Whether to show a progress bar if reading takes more than two seconds; 0 is
        silent.
    max_bytes : int, default=None
        Memory that the content of the file may take; a larger one is an error. None
        means half of the memory that is available.
    allow_external : bool, default=False
        Whether an HDF5 file may refer to other files, by external links, external
        storage or virtual data sets.

    Returns
    -------
    sevi : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes, named as those of
        :func:`make_sevi`. None stands for unknown values.

        images : ndarray or :class:`~skastro.datasets.LazyArray` of shape \
            (n_images, height, width)
            Numbers of electrons, float32, if electrons were counted, blocks of pixels
            summed, or text read; otherwise as stored. None for a file that only has
            shells.
        beta : ndarray of shape (n_images, 12 * n_shells), float64, or None
            The coefficients, those of the smallest shell first.
        radius, radius_width : ndarray of shape (n_images, n_shells), float64, or None
            Mean, ascending, and standard deviation of the distance of a shell's
            electrons from the center. If images have unequal numbers of shells, missing
            ones are NaN, here and in `beta`.
        n_electrons : ndarray of shape (n_images, n_shells), float64, or None
            Numbers of detected electrons, including those that miss the image, if the
            shells of electrons are known.
        image_id : ndarray of shape (n_images,), int64, or None
            Ids of the images, or those of their shells if only shells have ids and each
            image has one shell.
        shell_id : ndarray of shape (n_images, n_shells), int64, or None
            SphereId or DistributionId; -1 for a missing shell.
        electrons : :class:`astropy.table.Table` or None
            With `return_electrons` the detected electrons in the order of the file:
            the row of `images` (column "image"), the column of `radius` ("shell") and
            ElectronId if they are known; "x" and "z" as stored, across and along the
            polarization; and, for the generated electron, the row in
            ``GeneratedElectrons`` ("generated_row"), "r" and "cos_theta".
        pixel_size : float or None
            Side of a pixel in the unit of the radii.
        convention : str
            Meaning of `beta`.
        polarization_axis : int or None
            Axis of the images.
        kind : {"images", "electrons", "shells", "plain"}
            Kind of the file.
        DESCR : str
            Description of the file.
        path : :class:`pathlib.Path`
            The file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    OSError
        If the file is empty, truncated, damaged, or takes more memory than `max_bytes`.
    TypeError, ValueError
        If pixels or positions are not finite, or counts are negative; if it refers to
        other files; if it is not a SEVI file (the message lists its
        content and what is expected); if a table lacks a column, or has one of a wrong
        length; if images, shells or electrons cannot be matched unambiguously; or if a
        parameter is wrong.

    See Also
    --------
    make_sevi : Simulates such images.

    Notes
    -----
    Electrons are read a million at a time. If their shells are looked up in
    ``GeneratedElectrons``, the ids of all generated electrons are held in memory, 24
    bytes each.

    ElectronId is looked up in the column of that name of ``GeneratedElectrons``, within
    the electron's shell if ids start again there. Without such a column it counts rows
    from zero, or from one if the largest id is the number of rows and zero does not
    occur.

    Published images are divided by their total and multiplied by 255, or were taken by
    a camera. They are not counts, and error bars derived from them are meaningless.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> from skastro.sevi import read_sevi
    >>> shells = np.zeros(2, [("SphereId", int), ("R", float), ("beta", float, 12)])
    >>> shells["R"] = 0.7, 0.4
    >>> images = np.zeros(1, [("ImageId", int), ("Image", "u1", (64, 64))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["FinalImage"], file["Answer"] = images, shells
    ...     sevi = read_sevi(path)
    >>> sevi.images.shape, sevi.beta.shape, sevi.radius
    ((1, 64, 64), (1, 24), array([[0.4, 0.7]]))
    """
    check_option(source, "source", ("auto", "images", "electrons"))
    check_option(convention, "convention", tuple(FACTORS))
    check_option(polarization_axis, "polarization_axis", (0, 1, None))
    check_number(extent, "extent", 1e-9, 1e9)
    if n_shells is not None:
        n_shells = check_count(n_shells, "n_shells", 1)
    if size is not None:
        size = check_count(size, "size", 1)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"path must be the path of one file; got {path!r}. Read several files one "
            "by one, and join their images by numpy.concatenate."
        )
    path = Path(path)
    sevi = Bunch(
        images=None,
        beta=None,
        radius=None,
        radius_width=None,
        n_electrons=None,
        image_id=None,
        shell_id=None,
        electrons=None,
        pixel_size=None,
        convention=convention,
        polarization_axis=polarization_axis,
        kind="plain",
        path=path,
    )
    if is_hdf5(path):
        _read_tables(
            sevi,
            source,
            n_shells,
            size,
            extent,
            return_electrons,
            lazy,
            verbose,
            max_bytes,
            allow_external,
        )
    elif source == "electrons" or return_electrons:
        raise ValueError(f"{path}: not an HDF5 file, so it holds no electrons.")
    else:
        images = read_plain_images(path, lazy, max_bytes)
        sevi.images = arrange(LazyArray(images), False, size) if lazy else images
        if size is not None and not lazy:
            sevi.images = sum_pixels(images, size)
    sevi.DESCR = _describe(sevi)
    return sevi


def _read_tables(
    sevi: Bunch,
    source: str,
    n_shells: int | None,
    size: int | None,
    extent: float,
    return_electrons: bool,
    lazy: bool,
    verbose: int,
    max_bytes: int | None,
    allow_external: bool,
) -> None:
    """Read an HDF5 file."""
    if sevi.polarization_axis is None:
        sevi.polarization_axis = 1
    with reading_hdf5(sevi.path, allow_external) as file:
        tables = find_tables(file)
        sevi.kind = _choose_kind(tables, source, sevi.path)
        if sevi.kind != "electrons" and return_electrons:
            raise ValueError(
                f"{sevi.path}: return_electrons=True is for the detected electrons of "
                "a file; set source='electrons' if it has both images and electrons. "
                f"It has the tables {list(tables)}."
            )
        if sevi.kind != "images" and lazy:
            raise ValueError(
                f"{sevi.path}: only images can be left on disk, but this reads "
                f"{sevi.kind}; set lazy=False."
            )
        first = _TABLES_OF_SHELLS.get(sevi.kind, _TABLES_OF_SHELLS["images"])
        table = next((tables[name] for name in first if name in tables), None)
        shells, place = None if table is None else read_shells(table), None
        if sevi.kind == "images":
            place = _read_image_table(sevi, tables["FinalImage"], shells, n_shells)
            images = arrange(sevi.images, sevi.polarization_axis == 0, size)
            sevi.images = None
            if not lazy:
                sevi.images = read_images(images, sevi.path, max_bytes, verbose)
                check_pixels(sevi.images, tables["FinalImage"].where)
            name = tables["FinalImage"].dataset.name
        elif sevi.kind == "electrons":
            found = read_electrons(
                tables,
                shells,
                size=_DEFAULT_SIZE if size is None else size,
                extent=extent,
                n_shells=n_shells,
                return_electrons=return_electrons,
                verbose=verbose,
            )
            shells, place = found.pop("shells"), found.pop("place")
            if sevi.polarization_axis == 0:
                found.images = np.ascontiguousarray(found.images.swapaxes(1, 2))
            sevi.update(found)
        elif shells is not None:
            sevi.image_id, place = place_shells(shells, None, n_shells)
    if lazy:
        # A separate handle, which closes when the array is deleted.
        column = ImageColumn(SEVITable(open_hdf5(sevi.path, allow_external)[name]))
        sevi.images = arrange(LazyArray(column), sevi.polarization_axis == 0, size)
    if sevi.images is not None:
        sevi.pixel_size = 2 * extent / sevi.images.shape[1]
    if shells is not None and place is not None:
        _arrange_shells(sevi, shells, place)


def _read_image_table(
    sevi: Bunch, table: SEVITable, shells: Shells | None, n_shells: int | None
) -> np.ndarray | None:
    """Open the images, and find their shells."""
    sevi.images = LazyArray(ImageColumn(table))
    has_id = table.has("image_id")
    sevi.image_id = table.read("image_id") if has_id else np.arange(len(table))
    return None if shells is None else place_shells(shells, sevi.image_id, n_shells)[1]


def _arrange_shells(sevi: Bunch, shells: Shells, place: np.ndarray) -> None:
    sevi.shell_id = in_place(shells.id, place)
    sevi.radius = in_place(shells.radius, place)
    sevi.radius_width = in_place(shells.radius_width, place)
    beta = in_place(shells.beta, place)
    if beta is not None:
        sevi.beta = beta.reshape(len(beta), -1) * FACTORS[sevi.convention]


def _choose_kind(tables: dict[str, SEVITable], source: str, path: Path) -> str:
    """Choose the source of the images."""
    needed = {"images": "FinalImage", "electrons": "DetectedElectrons"}
    for kind, name in needed.items():
        if source in ("auto", kind) and name in tables:
            return kind
    if source == "auto" and set(tables) & set(_TABLES_OF_SHELLS["images"]):
        return "shells"
    expected = needed.get(source, "FinalImage or DetectedElectrons")
    raise ValueError(
        f"{path}: has no table {expected}, only {', '.join(sorted(tables))}."
    )


def _describe(sevi: Bunch) -> str:
    """Describe the file in a few lines."""
    lines = [f"{sevi.path.name}, read as {sevi.kind}."]
    if sevi.images is not None:
        n, height, width = sevi.images.shape
        lines.append(f"{n} image(s) of {height} x {width} pixels.")
    if sevi.radius is not None:
        n, most = sevi.radius.shape
        absent = np.isnan(sevi.radius).any()
        lines.append(f"{'Up to ' if absent else ''}{most} shell(s) per image.")
    return "\n".join(lines)
