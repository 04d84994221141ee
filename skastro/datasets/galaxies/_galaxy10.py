# SPDX-License-Identifier: BSD-3-Clause
"""Reading images of galaxies in the layout of the Galaxy10 data sets."""

import os
from pathlib import Path

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
from skastro.datasets.galaxies._galaxy_labels import (
    CREDITS,
    VARIANTS,
    ClassNames,
    check_labels,
    find_class_names,
    name_labels,
    recognise_variant,
)
from skastro.utils import LazyArray

# Attribute of the result: column of the table that it shows.
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
    "have one. Read them one by one with h5py, bring them to one size, by cutting and "
    "padding with skastro.CropPadImages(size).transform(list_of_images) or by "
    "resizing, and store the array that results."
)


def read_galaxy10(
    path: str | os.PathLike,
    *,
    images: str = "images",
    target: str | None = "ans",
    class_names: ClassNames | None = None,
    variant: str | None = None,
    lazy: bool = False,
    verbose: int = 1,
) -> Bunch:
    """Read images of galaxies and their classes from an HDF5 file.

    The layout is that of the Galaxy10 data sets: an array of images, integer labels
    beside it, and any further data sets with one entry a galaxy. Pixels are left as
    they are. Read more in the :ref:`User Guide <reading_images>`.

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
        Names of the integer labels. None means those of `variant`, or else those in
        the file's attribute ``class_names`` (for another target than "ans"
        ``<target>_names``): a list of texts, or one as JSON.
    variant : {"sdss", "decals"} or None, default=None
        Which of the two published data sets the labels are those of. None recognises
        them, where the file names no classes, by images of shape (69, 69, 3) or (256,
        256, 3) and all labels from 0 to 9.
    lazy : bool, default=False
        Leave the images on disk, from where estimators read them batch by batch. The
        file stays open as long as they are used.
    verbose : int, default=1
        Whether to show a progress bar where reading takes more than two seconds; 0 is
        silent.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : ndarray or :class:`LazyArray` of shape \
                (n_galaxies, height, width[, n_channels])
            Images with the file's data type, uint8 in the published data sets.
        target : ndarray of shape (n_galaxies,), or None
            Names of classes; the integers where their names are not known. None
            without labels.
        target_names : ndarray, or None
            The different values of `target`, sorted as in an estimator's ``classes_``.
        label : ndarray of shape (n_galaxies,), or None
            Integer labels as stored in the file.
        class_names : dict of int to str, or None
            The name of each label, those that do not occur included.
        id, ra, dec, redshift, pixel_scale : ndarray or None
            Columns of `table` in brief, of shape (n_galaxies,), each None where the
            table has no such column: name, coordinates in degrees, redshift, and
            arcseconds a pixel (column "pxscale").
        table : :class:`astropy.table.Table`
            One row a galaxy with all other data sets beside the images that have one
            number, text or vector a galaxy, the labels included.
        left_out : list of (name, shape)
            Data sets beside the images that have another length or more axes.
        variant : {"sdss", "decals"} or None
            Which published data set it was taken for.
        attributes : dict
            Attributes of the file, such as its source.
        DESCR : str
            What is known of the file, and whom to credit.
        path : :class:`pathlib.Path`
            The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is empty, truncated, damaged or not HDF5.
    ValueError
        If a data set is absent (the message lists those present), holds no images, or
        images of unequal size; if labels are not as many as the images, no integers,
        negative or without a name; or if a parameter is wrong.

    See Also
    --------
    fetch_galaxy10 : Download one of the published data sets and read it.
    ImageFiles : Images in files of their own.
    skastro.GalaxyClassifier : What they are for.

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
            "class_names and variant both say what the labels mean: set one of them to "
            "None."
        )
    path = Path(path)
    with reading_hdf5(path) as file:
        dataset = _find_images(file, images)
        galaxies = Bunch(images=None, target=None, target_names=None, label=None)
        galaxies.class_names = None
        galaxies.variant = variant
        galaxies.attributes = read_attributes(file) | read_attributes(dataset.parent)
        if target is not None:
            _read_labels(galaxies, file, dataset, target, class_names)
        galaxies.table, galaxies.left_out = _read_table(dataset)
        columns = {name.lower(): name for name in galaxies.table.colnames}
        for attribute, column in _ATTRIBUTES.items():
            found = columns.get(column)
            galaxies[attribute] = None if found is None else galaxies.table[found].value
        if not lazy:
            galaxies.images = read_images(dataset, verbose)
        name = dataset.name
    if lazy:
        # A handle of its own, which closes when the array is forgotten.
        galaxies.images = LazyArray(open_hdf5(path)[name])
    galaxies.path = path
    galaxies.DESCR = _describe(galaxies)
    return galaxies


def _find_images(file: h5py.File, name: str) -> h5py.Dataset:
    """Look up the images, and refuse what estimators could not take."""
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
) -> None:
    """Read the labels and give them their names."""
    advice = "Name the labels by target=..., or read images alone by target=None."
    dataset = find_dataset(file, name, advice)
    values = None if isinstance(dataset, h5py.Group) else read_column(dataset)
    where = f"{file.filename}: data set {name!r}"
    values = check_labels(values, len(images), where)
    if values.dtype.kind == "U":
        galaxies.target = values
    else:
        short_name = name.rpartition("/")[2]
        attributes = galaxies.attributes | read_attributes(dataset)
        if class_names is None and galaxies.variant is None:
            class_names = find_class_names(attributes, short_name, file.filename)
            if class_names is None and short_name == "ans":
                galaxies.variant = recognise_variant(images.shape, values)
        if class_names is None and galaxies.variant is not None:
            class_names = VARIANTS[galaxies.variant]
        galaxies.label = values
        galaxies.target, galaxies.class_names = name_labels(values, class_names, where)
    galaxies.target_names = np.unique(galaxies.target)


def _read_table(images: h5py.Dataset) -> tuple[Table, list[tuple[str, tuple]]]:
    """Read what stands beside the images with one entry a galaxy."""
    table, left_out = Table(), []
    for name, item in images.parent.items():
        if not isinstance(item, h5py.Dataset) or item.name == images.name:
            continue
        shape = item.shape or ()
        if not shape or len(shape) > 2 or shape[0] != len(images):
            left_out.append((name, shape))
            continue
        table[name] = read_column(item)
        table[name].unit = _UNITS.get(name.lower())
    return table, left_out


def _describe(galaxies: Bunch) -> str:
    """Say what is known of the file in a few lines."""
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
