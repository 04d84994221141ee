# SPDX-License-Identifier: BSD-3-Clause
"""Integer labels of galaxies, and the names of the classes behind them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skastro.utils import name_rows

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
# Beyond, numbers of 64 bits are no integers one by one.
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


def check_labels(values: np.ndarray | None, n_images: int, where: str) -> np.ndarray:
    """Check that there is one integer or text for each image.

    Parameters
    ----------
    values : ndarray or None
        What the file holds; None where it is a group.
    n_images : int
        Number of images.
    where : str
        File and data set, for messages.

    Returns
    -------
    values : ndarray of shape (n_images,)
        Integers or texts. Integers that were stored as real numbers are integers.

    Raises
    ------
    ValueError
        If that is not what they are.
    """
    if values is not None and values.shape == (n_images, 1):
        values = values[:, 0]
    shape = None if values is None else values.shape
    if shape is None or len(shape) != 1:
        found = "is a group" if shape is None else f"has shape {shape}"
        raise ValueError(
            f"{where} {found}, but labels are one number or text a galaxy, of shape "
            f"({n_images},). Of one column a class, take numpy.argmax(..., axis=1)."
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


def find_class_names(
    attributes: Mapping[str, Any], target: str, path: str
) -> list[str] | None:
    """Find the names of classes among the attributes of a file.

    Parameters
    ----------
    attributes : mapping of str to object
        The attributes of the file and of the labels.
    target : str
        The labels' name.
    path : str
        The file, for messages.

    Returns
    -------
    class_names : list of str or None
        None where there are none.

    Raises
    ------
    ValueError
        If the attribute is no list of texts.
    """
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


def recognise_variant(shape: tuple[int, ...], labels: np.ndarray) -> str | None:
    """Tell the published data sets from others by their images and labels.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array of images.
    labels : ndarray of shape (n_images,)
        Integer labels.

    Returns
    -------
    variant : {"sdss", "decals"} or None
        None where it is neither.
    """
    if not np.array_equal(np.unique(labels), np.arange(10)):
        return None
    for variant, image_shape in _IMAGE_SHAPES.items():
        if shape[1:] == image_shape:
            return variant
    return None


def name_labels(
    labels: np.ndarray, class_names: ClassNames | None, where: str
) -> tuple[np.ndarray, dict[int, str] | None]:
    """Put the names of classes in the place of integer labels.

    Parameters
    ----------
    labels : ndarray of int of shape (n_images,)
        The labels.
    class_names : sequence of str or dict of int to str or None
        Their names.
    where : str
        File and data set, for messages.

    Returns
    -------
    target : ndarray of shape (n_images,)
        The names, or the labels where there are no names.
    class_names : dict of int to str or None
        The names by label.

    Raises
    ------
    ValueError
        If a label is negative or has no name.
    """
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
    """Raise an error that names the labels that are wrong, and where they are."""
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    raise ValueError(
        f"{where} holds {what}: {name_rows(np.unique(labels[rows]).tolist())}, in "
        f"{len(rows)} of {len(labels)} rows ({name_rows(rows.tolist())}). Say what "
        "each label means by class_names={0: ..., 1: ...}, or leave these rows out of "
        "the file."
    )
