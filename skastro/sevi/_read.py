# SPDX-License-Identifier: BSD-3-Clause
"""Reading images of slow-electron velocity-map imaging."""

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skastro.datasets._hdf5 import open_hdf5, read_images, reading_hdf5
from skastro.datasets._sevi_electrons import read_electrons
from skastro.datasets._sevi_images import (
    ImageColumn,
    arrange,
    is_hdf5,
    read_plain_images,
    sum_pixels,
)
from skastro.datasets._sevi_shells import Shells, in_place, place_shells, read_shells
from skastro.datasets._sevi_tables import SEVITable, find_tables
from skastro.utils import LazyArray, check_count, check_number, check_option

# As of make_sevi.
_DEFAULT_SIZE = 256

_FACTORS = {"density": 1.0, "vmi": 2.0}

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
) -> Bunch:
    """Read images of slow-electron velocity-map imaging, and the shells in them.

    Files are of three kinds; what a file holds decides how it is read. HDF5 files of
    images have a table ``FinalImage`` (ImageId, Image), and tables ``Truth`` (SphereId,
    R, sigma_R, beta) or ``Answer`` (SphereId, R, beta) of the shells. HDF5 files of
    electrons have the tables ``DistributionParameters`` (DistributionId, R, sigma_R,
    beta), ``GeneratedElectrons`` (r, cosθ) and ``DetectedElectrons`` (ElectronId, x,
    z); the detected ones are counted in pixels. Other files are images alone: plain
    text, TIFF with one page or several, other formats of images, and arrays of numpy.
    Read more in the :ref:`User Guide <sevi>`.

    Case, underscores and spaces in the names of tables and columns do not matter, Greek
    letters may be spelled out, and beta may be a column of 12 numbers or the columns
    beta1 to beta12.

    Parameters
    ----------
    path : path-like
        The file. Text may be compressed (``.gz``, ``.bz2``, ``.xz``), its numbers
        separated by blanks, commas or semicolons.
    source : {"auto", "images", "electrons"}, default="auto"
        What the images are made of in a file that has both: the table of images, which
        "auto" prefers, or the detected electrons.
    n_shells : int, default=None
        Shells of an image. None means what the file tells, by these rules in this
        order: a column ImageId in the table of shells; shells that share their
        SphereId are in the image of that id; as many shells as images have the same
        ids; twice (three times …) as many shells with consecutive ids are divided, in
        their order, among the images in theirs. With a number the last rule is taken
        whatever the ids are. Without images, it is the number of shells whose electrons
        are counted in one image; None means 1.
    size : int, default=None
        Height and width of the images. Electrons are counted in so many pixels; None
        means 256. Images that are stored are summed over square blocks of pixels, so
        that counts stay counts; None leaves them as they are.
    extent : float, default=1
        Half the side of the images of tables and electrons, in the unit of the radii.
        Electrons beyond are not counted.
    polarization_axis : {0, 1} or None, default=None
        Axis of the images along which the electrons are polarised. Those of HDF5 files
        are image[x, z], polarised along axis 1, which is what None means there, and are
        transposed for 0. Other files do not tell: their images are left as they are,
        and what is given here is noted in the result.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients that are returned: "density" is β_l of the density
        1/2 + Σ β_l P_2l(cos θ), as stored; "vmi" is b_l = 2 β_l of the density
        1 + Σ b_l P_2l(cos θ).
    return_electrons : bool, default=False
        Whether to give the electrons one by one, too, which takes memory: some 60 bytes
        for each.
    lazy : bool, default=False
        Leave the images of a table ``FinalImage`` or of an array of numpy on disk, from
        where estimators read them batch by batch. The file stays open as long as they
        are used.
    verbose : int, default=1
        Whether to show a progress bar where reading takes more than two seconds; 0 is
        silent.

    Returns
    -------
    sevi : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes, named as those of
        :func:`make_sevi`. None stands for what the file does not tell.

        images : ndarray or :class:`LazyArray` of shape (n_images, height, width)
            Numbers of electrons, float32, where electrons were counted, blocks of
            pixels summed, or text read; otherwise as stored. None for a file of shells
            alone.
        beta : ndarray of shape (n_images, 12 * n_shells), float64, or None
            The coefficients, those of the smallest shell first.
        radius, radius_width : ndarray of shape (n_images, n_shells), float64, or None
            Mean, ascending, and standard deviation of the distance of a shell's
            electrons from the centre. Where images have unequal numbers of shells,
            missing ones are NaN, here and in `beta`.
        n_electrons : ndarray of shape (n_images, n_shells), float64, or None
            Numbers of detected electrons, with those that miss the image, where
            electrons tell of their shells.
        image_id : ndarray of shape (n_images,), int64, or None
            Names of the images; where only shells have names, and are alone in their
            image, theirs.
        shell_id : ndarray of shape (n_images, n_shells), int64, or None
            SphereId or DistributionId, -1 of a missing shell.
        electrons : :class:`astropy.table.Table` or None
            With `return_electrons` the detected electrons in the order of the file:
            the row of `images` (column "image"), the place in `radius` ("shell") and
            ElectronId where they are known; "x" and "z" as stored, across and along
            the polarisation; and, of the electron that was generated, the row in
            ``GeneratedElectrons`` ("generated_row"), "r" and "cos_theta".
        pixel_size : float or None
            Side of a pixel in the unit of the radii.
        convention : str
            Meaning of `beta`.
        polarization_axis : int or None
            Axis of the images.
        kind : {"images", "electrons", "shells", "plain"}
            What the file was read as.
        DESCR : str
            What is known of the file.
        path : :class:`pathlib.Path`
            The file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    OSError
        If the file is empty, truncated or damaged.
    TypeError, ValueError
        If it is no SEVI file (the message lists what it holds, and what is expected);
        if a table lacks a column, or has one of a wrong length; if images, shells or
        electrons have no partner, or it is not clear which; or if a parameter is wrong.

    See Also
    --------
    make_sevi : Simulates such images.

    Notes
    -----
    Electrons are read a million at a time. Where their shells are to be looked up in
    ``GeneratedElectrons``, the ids of all that were generated are held in memory, 24
    bytes each.

    ElectronId is looked up in the column of that name of ``GeneratedElectrons``, within
    the electron's shell if ids start again there. Without such a column it counts rows
    from zero, or from one if the largest id is the number of rows and zero does not
    occur.

    Published images are divided by their total and multiplied by 255, or are those of a
    camera: they are no counts, and error bars that are derived from them have no
    meaning.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> from skastro.datasets import read_sevi
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
    check_option(convention, "convention", tuple(_FACTORS))
    check_option(polarization_axis, "polarization_axis", (0, 1, None))
    check_number(extent, "extent", 1e-9, 1e9)
    if n_shells is not None:
        n_shells = check_count(n_shells, "n_shells", 1)
    if size is not None:
        size = check_count(size, "size", 1)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"path must be that of one file; got {path!r}. Read several files one by "
            "one, and join their images by numpy.concatenate."
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
            sevi, source, n_shells, size, extent, return_electrons, lazy, verbose
        )
    elif source == "electrons" or return_electrons:
        raise ValueError(f"{path}: not an HDF5 file, so it holds no electrons.")
    else:
        images = read_plain_images(path, lazy)
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
) -> None:
    """Read an HDF5 file."""
    if sevi.polarization_axis is None:
        sevi.polarization_axis = 1
    with reading_hdf5(sevi.path) as file:
        tables = find_tables(file)
        sevi.kind = _choose_kind(tables, source, sevi.path)
        if sevi.kind != "electrons" and return_electrons:
            raise ValueError(
                f"{sevi.path}: return_electrons=True is for the detected electrons of "
                "a file; say source='electrons' where it has them beside images. It "
                f"has the tables {list(tables)}."
            )
        if sevi.kind != "images" and lazy:
            raise ValueError(
                f"{sevi.path}: only images can be left on disk, but this reads "
                f"{sevi.kind}; say lazy=False."
            )
        first = _TABLES_OF_SHELLS.get(sevi.kind, _TABLES_OF_SHELLS["images"])
        table = next((tables[name] for name in first if name in tables), None)
        shells, place = None if table is None else read_shells(table), None
        if sevi.kind == "images":
            place = _read_image_table(sevi, tables["FinalImage"], shells, n_shells)
            images = arrange(sevi.images, sevi.polarization_axis == 0, size)
            sevi.images = None if lazy else read_images(images, verbose)
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
        else:
            sevi.image_id, place = place_shells(shells, None, n_shells)
    if lazy:
        # A handle of its own, which closes when the array is forgotten.
        column = ImageColumn(SEVITable(open_hdf5(sevi.path)[name]))
        sevi.images = arrange(LazyArray(column), sevi.polarization_axis == 0, size)
    if sevi.images is not None:
        sevi.pixel_size = 2 * extent / sevi.images.shape[1]
    if place is not None:
        _arrange_shells(sevi, shells, place)


def _read_image_table(
    sevi: Bunch, table: SEVITable, shells: Shells | None, n_shells: int | None
) -> np.ndarray | None:
    """Open the images, and find the shells that are in them."""
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
        sevi.beta = beta.reshape(len(beta), -1) * _FACTORS[sevi.convention]


def _choose_kind(tables: dict[str, SEVITable], source: str, path: Path) -> str:
    """Decide what to make images of."""
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
    """Say what is known of the file in a few lines."""
    lines = [f"{sevi.path.name}, read as {sevi.kind}."]
    if sevi.images is not None:
        n, height, width = sevi.images.shape
        lines.append(f"{n} image(s) of {height} x {width} pixels.")
    if sevi.radius is not None:
        n, most = sevi.radius.shape
        absent = np.isnan(sevi.radius).any()
        lines.append(f"{'Up to ' if absent else ''}{most} shell(s) an image.")
    return "\n".join(lines)
