# SPDX-License-Identifier: BSD-3-Clause
"""The Galaxy10 data sets: reading files in their layout, and downloading them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from astropy.table import Table
from sklearn.utils import Bunch

from skastro.datasets._hdf5 import (
    find_dataset,
    open_hdf5,
    read_attributes,
    read_column,
    read_images,
    reading_hdf5,
)
from skastro.utils import LazyArray, fetch_file, find_data_home, name_rows

ClassNames = Sequence[str] | Mapping[int, str]

# The classes of the published data sets, in the order of their integer labels.
VARIANTS = {
    "sdss": (
        "disk face-on no spiral",
        "smooth completely round",
        "smooth in-between round",
        "smooth cigar-shaped",
        "disk edge-on rounded bulge",
        "disk edge-on boxy bulge",
        "disk edge-on no bulge",
        "disk face-on tight spiral",
        "disk face-on medium spiral",
        "disk face-on loose spiral",
    ),
    "decals": (
        "disturbed",
        "merging",
        "round smooth",
        "in-between round smooth",
        "cigar-shaped smooth",
        "barred spiral",
        "unbarred tight spiral",
        "unbarred loose spiral",
        "edge-on without bulge",
        "edge-on with bulge",
    ),
}
# Double precision does not represent all larger integers.
_LARGEST_LABEL = 2**53
_IMAGE_SHAPES = {"sdss": (69, 69, 3), "decals": (256, 256, 3)}

CREDITS = {
    "sdss": (
        "Galaxy10 SDSS (Leung & Bovy 2019, MNRAS 483, 3255): images of the Sloan "
        "Digital Sky Survey, classes by Galaxy Zoo (Lintott et al. 2008, MNRAS 389, "
        "1179; Lintott et al. 2011, MNRAS 410, 166)."
    ),
    "decals": (
        "Galaxy10 DECaLS (Leung & Bovy 2019, MNRAS 483, 3255): images of the DESI "
        "Legacy Imaging Surveys (Dey et al. 2019, AJ 157, 168), classes by Galaxy Zoo "
        "(Lintott et al. 2008, MNRAS 389, 1179; Lintott et al. 2011, MNRAS 410, 166; "
        "Walmsley et al. 2022, MNRAS 509, 3966)."
    ),
}
# Attribute of the result: column of the table.
_ATTRIBUTES = {
    "id": "id",
    "ra": "ra",
    "dec": "dec",
    "redshift": "redshift",
    "pixel_scale": "pxscale",
}
_UNITS = {"ra": "deg", "dec": "deg", "pxscale": "arcsec"}
_UNEQUAL = (
    "It looks like images of unequal size, but the images of one data set must all "
    "have the same size. Read them one by one with h5py, bring them to one size, by "
    "skastro.CropPadImages(size).transform(list_of_images) or by resizing, and store "
    "the resulting array."
)


class _Remote(NamedTuple):
    name: str
    url: str
    sha256: str
    # More than the size of the file.
    most_bytes: int = 5 * 10**9


_FILES = {
    "sdss": _Remote(
        "Galaxy10.h5",
        "https://zenodo.org/records/10844811/files/Galaxy10.h5",
        "969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
    ),
    "decals": _Remote(
        "Galaxy10_DECals.h5",
        "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5",
        "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
    ),
}


def fetch_galaxy10(
    variant: str = "sdss",
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    lazy: bool = False,
    url: str | None = None,
    n_retries: int = 3,
    verbose: int = 1,
) -> Bunch | tuple[np.ndarray | LazyArray, np.ndarray]:
    """Download a Galaxy10 data set once, and read it.

    ========== ======== ============== ==================================
    `variant`  images   size           in memory
    ========== ======== ============== ==================================
    "sdss"     21 785   69 x 69 x 3    0.3 GB
    "decals"   17 736   256 x 256 x 3  3.5 GB, or on disk by ``lazy=True``
    ========== ======== ============== ==================================

    Both have ten classes, named as in the description of the data sets. The checksum of
    the file is checked whenever it is read. Read more in the :ref:`User Guide
    <reading_images>`.

    Parameters
    ----------
    variant : {"sdss", "decals"}, default="sdss"
        Which data set.
    data_home : path-like, default=None
        Folder for the file. None means the environment variable ``SKASTRO_HOME`` or, if
        it is not set, the folder ``skastro`` in the operating system's folder for
        caches, such as ``~/.cache/skastro``.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        Return only ``(images, target)``.
    lazy : bool, default=False
        Leave the images on disk; estimators read them batch by batch.
    url : str, default=None
        URL to download from, such as a mirror. None means zenodo.org, records 10844811
        and 10845026.
    n_retries : int, default=3
        Number of retries after the connection is lost during the download, or the
        server is busy: after 1, 2, 4, … seconds, or as it asks, up to a minute.
        Received data are kept in any case, also if the process is killed, and the next
        call continues from there.
    verbose : int, default=1
        Whether to show a progress bar; 0 is silent.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch` or tuple (images, target)
        The result of :func:`read_galaxy10`.

    Raises
    ------
    FileNotFoundError
        If the file is absent and `download_if_missing` is False.
    ConnectionError
        If the server cannot be reached. The message tells where to put a file that was
        downloaded by other means.
    OSError
        If the server refuses, or sends more than the file can have; or if the checksum
        of the file is wrong. A downloaded file is then deleted; a file that existed
        before is not changed.
    ValueError
        If `variant` is unknown.

    See Also
    --------
    read_galaxy10 : Read any file in this layout.

    Examples
    --------
    >>> from skastro.datasets import fetch_galaxy10
    >>> galaxies = fetch_galaxy10("sdss")  # doctest: +SKIP
    >>> galaxies.images.shape  # doctest: +SKIP
    (21785, 69, 69, 3)
    """
    if variant not in _FILES:
        raise ValueError(
            f"variant must be one of {', '.join(map(repr, _FILES))}; got {variant!r}."
        )
    remote = _FILES[variant]
    path = fetch_file(
        remote.url if url is None else url,
        find_data_home(data_home) / remote.name,
        sha256=remote.sha256,
        most_bytes=remote.most_bytes,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        verbose=verbose,
    )
    galaxies = read_galaxy10(path, variant=variant, lazy=lazy, verbose=verbose)
    return (galaxies.images, galaxies.target) if return_X_y else galaxies


def read_galaxy10(
    path: str | os.PathLike,
    *,
    images: str = "images",
    target: str | None = "ans",
    class_names: ClassNames | None = None,
    variant: str | None = None,
    lazy: bool = False,
    verbose: int = 1,
    max_bytes: int | None = None,
    allow_external: bool = False,
) -> Bunch:
    """Read images of galaxies and their classes from an HDF5 file.

    The layout is that of the Galaxy10 data sets [1]_, with classes from Galaxy Zoo
    [2]_ [3]_: an array of images, an array of integer labels, and any further data sets
    with one entry per galaxy. Pixels are not changed. Read more in the :ref:`User Guide
    <reading_images>`.

    Parameters
    ----------
    path : path-like
        The file.
    images : str, default="images"
        Data set of the images.
    target : str or None, default="ans"
        Data set of the labels: integers, or names of classes. None reads images
        without labels.
    class_names : sequence of str or dict of int to str, default=None
        Names of the integer labels. None means those of `variant` or, without it, those
        in the file's attribute ``class_names`` (``<target>_names`` for another target
        than "ans"): a list of strings, or one as JSON.
    variant : {"sdss", "decals"} or None, default=None
        The published data set whose class names apply. With None, and if the file names
        no classes, a published data set is recognized by images of shape (69, 69, 3) or
        (256, 256, 3) and all labels from 0 to 9.
    lazy : bool, default=False
        Leave the images on disk; estimators read them batch by batch. The file stays
        open as long as they are used.
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
    galaxies : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : ndarray or :class:`LazyArray` of shape \
                (n_galaxies, height, width[, n_channels])
            Images with the file's data type, uint8 in the published data sets.
        target : ndarray of shape (n_galaxies,), or None
            Names of classes; the integers if their names are not known. None without
            labels.
        target_names : ndarray, or None
            The different values of `target`, sorted as in an estimator's ``classes_``.
        label : ndarray of shape (n_galaxies,), or None
            Integer labels as stored in the file.
        class_names : dict of int to str, or None
            The name of each label, including labels that do not occur.
        id, ra, dec, redshift, pixel_scale : ndarray or None
            Columns of `table`, of shape (n_galaxies,), each None if the table has no
            such column: name, coordinates in degrees, redshift, and arcseconds per
            pixel (column "pxscale").
        table : :class:`astropy.table.Table`
            One row per galaxy with all other data sets that have one number, string or
            vector per galaxy, including the labels.
        left_out : list of (name, shape)
            Data sets that have another length or more axes.
        variant : {"sdss", "decals"} or None
            The published data set whose class names were used.
        attributes : dict
            Attributes of the file, such as its source.
        DESCR : str
            Description of the file, with the references to cite.
        path : :class:`pathlib.Path`
            The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is empty, truncated, damaged, not HDF5, or takes more memory than
        `max_bytes`.
    ValueError
        If the file refers to other files; if a data set is absent (the message lists
        those present), or holds no images or images of unequal size; if the number of
        labels differs from that of images, or labels are not integers, are negative or
        have no name; or if a parameter is wrong.

    See Also
    --------
    fetch_galaxy10 : Download one of the published data sets and read it.
    read_images : One file per image, and a table of labels.
    skastro.GalaxyClassifier : Classifier of such images.

    References
    ----------
    .. [1] Leung, H. W. & Bovy, J. (2019). "Deep learning of multi-element abundances
           from high-resolution spectroscopic data". MNRAS 483, 3255.
           https://doi.org/10.1093/mnras/sty3217
    .. [2] Lintott, C. et al. (2011). "Galaxy Zoo 1: data release of morphological
           classifications for nearly 900 000 galaxies". MNRAS 410, 166.
           https://doi.org/10.1111/j.1365-2966.2010.17432.x
    .. [3] Walmsley, M. et al. (2022). "Galaxy Zoo DECaLS". MNRAS 509, 3966.
           https://doi.org/10.1093/mnras/stab2093

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> from skastro.datasets import read_galaxy10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "galaxies.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["images"] = np.zeros((4, 32, 32, 3), dtype="uint8")
    ...         file["ans"] = [1, 0, 0, 1]
    ...         file["redshift"] = [0.05, 0.11, 0.02, 0.07]
    ...     galaxies = read_galaxy10(path, class_names=["smooth", "spiral"])
    >>> galaxies.images.shape, galaxies.target.tolist()
    ((4, 32, 32, 3), ['spiral', 'smooth', 'smooth', 'spiral'])
    >>> galaxies.redshift
    array([0.05, 0.11, 0.02, 0.07])
    """
    if variant is not None and variant not in VARIANTS:
        raise ValueError(
            f"variant must be one of {', '.join(map(repr, VARIANTS))} or None; got "
            f"{variant!r}."
        )
    if variant is not None and class_names is not None:
        raise ValueError(
            "class_names and variant both define the meaning of the labels: set one of "
            "them to None."
        )
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path}: is a folder; skastro.datasets.read_images reads folders of "
            "images, with labels from a table."
        )
    with reading_hdf5(path, allow_external) as file:
        dataset = _find_images(file, images)
        galaxies = Bunch(images=None, target=None, target_names=None, label=None)
        galaxies.class_names = None
        galaxies.variant = variant
        galaxies.attributes = read_attributes(file) | read_attributes(dataset.parent)
        if target is not None:
            _read_labels(galaxies, file, dataset, target, class_names, max_bytes)
        galaxies.table, galaxies.left_out = _read_table(dataset, max_bytes)
        columns = {name.lower(): name for name in galaxies.table.colnames}
        for attribute, column in _ATTRIBUTES.items():
            found = columns.get(column)
            galaxies[attribute] = None if found is None else galaxies.table[found].value
        if not lazy:
            galaxies.images = read_images(dataset, path, max_bytes, verbose)
    if lazy:
        # A separate handle, which closes when the array is deleted.
        galaxies.images = LazyArray(open_hdf5(path, allow_external)[images])
    galaxies.path = path
    galaxies.DESCR = _describe(galaxies)
    return galaxies


def _find_images(file: h5py.File, name: str) -> h5py.Dataset:
    """Look up the images, and check their shape and type."""
    dataset = find_dataset(file, name, "Name the images by images=....")
    where = f"{file.filename}: data set {name!r}"
    if isinstance(dataset, h5py.Group):
        raise ValueError(
            f"{where} is a group of {len(dataset)} items, not one array. {_UNEQUAL}"
        )
    if h5py.check_vlen_dtype(dataset.dtype) or dataset.dtype.kind == "O":
        raise ValueError(
            f"{where} of shape {dataset.shape} has items of varying length. {_UNEQUAL}"
        )
    shape = dataset.shape
    if shape is None or len(shape) not in (3, 4) or dataset.dtype.kind not in "biuf":
        raise ValueError(
            f"{where} has shape {shape} and type {dataset.dtype}, but images are "
            "numbers of shape (n, height, width) or (n, height, width, channels). "
            "Name the images by images=...."
        )
    if 0 in shape:
        raise ValueError(f"{where} holds no images: its shape is {shape}.")
    return dataset


def _read_labels(
    galaxies: Bunch,
    file: h5py.File,
    images: h5py.Dataset,
    name: str,
    class_names: ClassNames | None,
    max_bytes: int | None,
) -> None:
    """Read the labels and their names."""
    advice = "Name the labels by target=..., or read images alone by target=None."
    dataset = find_dataset(file, name, advice)
    is_group = isinstance(dataset, h5py.Group)
    values = None if is_group else read_column(dataset, max_bytes)
    where = f"{file.filename}: data set {name!r}"
    values = check_labels(values, len(images), where)
    if values.dtype.kind == "U":
        galaxies.target = values
    else:
        short_name = name.rpartition("/")[2]
        attributes = galaxies.attributes | read_attributes(dataset)
        if class_names is None and galaxies.variant is None:
            class_names = _find_class_names(attributes, short_name, file.filename)
            if class_names is None and short_name == "ans":
                galaxies.variant = _recognize_variant(images.shape, values)
        if class_names is None and galaxies.variant is not None:
            class_names = VARIANTS[galaxies.variant]
        galaxies.label = values
        galaxies.target, galaxies.class_names = _name_labels(values, class_names, where)
    galaxies.target_names = np.unique(galaxies.target)


def _read_table(
    images: h5py.Dataset, max_bytes: int | None
) -> tuple[Table, list[tuple[str, tuple]]]:
    """Read the other data sets that have one entry per galaxy."""
    table, left_out = Table(), []
    for name, item in images.parent.items():
        if not isinstance(item, h5py.Dataset) or item.name == images.name:
            continue
        shape = item.shape or ()
        if not shape or len(shape) > 2 or shape[0] != len(images):
            left_out.append((name, shape))
            continue
        table[name] = read_column(item, max_bytes)
        table[name].unit = _UNITS.get(name.lower())
    return table, left_out


def _describe(galaxies: Bunch) -> str:
    """Describe the file in a few lines."""
    shape = " x ".join(map(str, galaxies.images.shape[1:]))
    lines = [f"{len(galaxies.images)} images of {shape} pixels, {galaxies.path.name}."]
    if galaxies.variant is not None:
        lines.append(CREDITS[galaxies.variant])
    lines += [
        f"{name}: {value}"
        for name, value in galaxies.attributes.items()
        if isinstance(value, str) and not name.endswith("_names")
    ]
    return "\n".join(lines)


def check_labels(values: np.ndarray | None, n_images: int, where: str) -> np.ndarray:
    """Check that there is one integer or text for each image; whole floats pass."""
    if values is not None and values.shape == (n_images, 1):
        values = values[:, 0]
    if values is None or values.ndim != 1:
        found = "is a group" if values is None else f"has shape {values.shape}"
        raise ValueError(
            f"{where} {found}, but labels are one number or text per galaxy, of shape "
            f"({n_images},). Use numpy.argmax(..., axis=1) for one column per class."
        )
    if len(values) != n_images:
        raise ValueError(
            f"{where} has {len(values)} labels, but there are {n_images} images."
        )
    if values.dtype.kind == "f":
        integers = (np.abs(values) < _LARGEST_LABEL) & (values == np.round(values))
        if not integers.all():
            rows = np.flatnonzero(~integers)
            raise ValueError(
                f"{where} holds no integer labels: {len(rows)} of {n_images} values "
                f"are not whole numbers, such as {values[rows[0]]:g} in row {rows[0]}. "
                "For a quantity to regress, read with target=None and take the column "
                "of the table."
            )
        return values.astype(np.int64)
    if values.dtype.kind not in "biuU":
        raise ValueError(
            f"{where} has type {values.dtype}, but labels are integers or texts."
        )
    return values


def _find_class_names(
    attributes: Mapping[str, Any], target: str, path: str
) -> list[str] | None:
    """Find the names of classes in a file's attributes; None if there are none."""
    key = f"{target}_names"
    if key not in attributes and target == "ans":
        key = "class_names"
    names = attributes.get(key)
    if names is None:
        return None
    if isinstance(names, str):
        try:
            names = json.loads(names)
        except json.JSONDecodeError:
            names = None
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{path}: the attribute {key!r} is not a list of texts, nor one as JSON, "
            f"but {attributes[key]!r}. Give class_names=[...]."
        )
    return names


def _recognize_variant(shape: tuple[int, ...], labels: np.ndarray) -> str | None:
    """Recognize the published data sets by their images and labels."""
    if not np.array_equal(np.unique(labels), np.arange(10)):
        return None
    for variant, image_shape in _IMAGE_SHAPES.items():
        if shape[1:] == image_shape:
            return variant
    return None


def _name_labels(
    labels: np.ndarray, class_names: ClassNames | None, where: str
) -> tuple[np.ndarray, dict[int, str] | None]:
    """Replace integer labels by the names of classes; return both."""
    if isinstance(class_names, str):
        raise ValueError(
            f"class_names must be a list of names, but got the text {class_names!r}."
        )
    if class_names is None:
        _refuse(labels, labels < 0, "negative labels", where)
        return labels, None
    try:
        if not isinstance(class_names, Mapping):
            class_names = dict(enumerate(class_names))
        class_names = {int(key): _text(name) for key, name in class_names.items()}
    except (TypeError, ValueError):
        raise ValueError(
            "class_names must be a list of names, or a dictionary with the labels as "
            f"keys; got {class_names!r}."
        ) from None
    values, index = np.unique(labels, return_inverse=True)
    unnamed = ~np.isin(values, [*class_names])
    what = f"labels without a name (names are given to {sorted(class_names)})"
    _refuse(labels, unnamed[index], what, where)
    target = np.array([class_names[int(value)] for value in values])[index]
    return target, class_names


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _refuse(labels: np.ndarray, bad: np.ndarray, what: str, where: str) -> None:
    """Raise an error that names the wrong labels and their rows."""
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    raise ValueError(
        f"{where} holds {what}: {name_rows(np.unique(labels[rows]).tolist())}, in "
        f"{len(rows)} of {len(labels)} rows ({name_rows(rows.tolist())}). Name each "
        "label by class_names={0: ..., 1: ...}, or leave these rows out of the file."
    )
