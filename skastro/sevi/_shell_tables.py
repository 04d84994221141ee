# SPDX-License-Identifier: BSD-3-Clause
"""The shells of SEVI files, and to which images they belong."""

from dataclasses import dataclass

import numpy as np

from skastro.datasets._sevi_tables import SEVITable
from skastro.utils import check_finite, name_rows


@dataclass(frozen=True)
class Shells:
    """Shells, one a row.

    Parameters
    ----------
    where : str
        File and table, for messages.
    id : ndarray of shape (n_shells,), int64
        Their names.
    image_id : ndarray of shape (n_shells,), int64, or None
        The images that they are in, where the table says so.
    radius, radius_width : ndarray of shape (n_shells,), float64, or None
        Mean and standard deviation of the radii.
    beta : ndarray of shape (n_shells, 12), float64, or None
        The coefficients.
    """

    where: str
    id: np.ndarray
    image_id: np.ndarray | None = None
    radius: np.ndarray | None = None
    radius_width: np.ndarray | None = None
    beta: np.ndarray | None = None


def read_shells(table: SEVITable) -> Shells:
    """Read the table of shells.

    Parameters
    ----------
    table : SEVITable
        ``Truth``, ``Answer`` or ``DistributionParameters``.

    Returns
    -------
    shells : Shells
        In the order of the table.

    Raises
    ------
    ValueError
        If the table lacks columns or rows, or has values that are not finite.
    """
    table.require("radius")
    if not len(table):
        raise ValueError(f"{table.where} has no rows; expected one a shell.")
    columns: dict[str, np.ndarray | None] = {"beta": table.read_beta()}
    for name in ("radius", "radius_width"):
        columns[name] = table.read(name) if table.has(name) else None
    for name, values in columns.items():
        if values is not None:
            check_finite(values, input_name=f"{table.where}, column {name!r}")
    has_id, has_image = table.has("shell_id"), table.has("image_id")
    return Shells(
        table.where,
        table.read("shell_id") if has_id else np.arange(len(table)),
        table.read("image_id") if has_image else None,
        **columns,
    )


def place_shells(
    shells: Shells, image_id: np.ndarray | None, n_shells: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find out which shells are in which image.

    In this order: a column of image ids decides; shells that share their id are in the
    image of that id; or else the shells, sorted by id, are divided evenly among the
    images, sorted by id.

    Parameters
    ----------
    shells : Shells
        The shells.
    image_id : ndarray of shape (n_images,), or None
        Names of the images. None where the shells decide how many there are.
    n_shells : int or None
        Shells of an image, where it is known.

    Returns
    -------
    image_id : ndarray of shape (n_images,)
        As given, or else names for the images.
    place : ndarray of shape (n_images, most_shells), int
        Rows of `shells`, smaller radius first. -1 where an image has fewer than others.

    Raises
    ------
    ValueError
        If shells or images have no partner, or if it is not clear which.
    """
    if image_id is not None and len(np.unique(image_id)) < len(image_id):
        names, counts = np.unique(image_id, return_counts=True)
        raise ValueError(
            f"{shells.where} cannot be matched to images of which several have one id: "
            f"{name_rows(names[counts > 1])}."
        )
    owner = _owners(shells, image_id, n_shells)
    if image_id is None:
        image_id = np.unique(owner)
    _check_partners(shells, owner, image_id, n_shells)
    by_id = np.argsort(image_id)
    image = by_id[np.searchsorted(image_id, owner, sorter=by_id)]
    size = np.zeros(len(owner)) if shells.radius is None else shells.radius
    order = np.lexsort([size, image])
    counts = np.bincount(image, minlength=len(image_id))
    if n_shells is not None and (counts != n_shells).any():
        raise ValueError(
            f"{shells.where} has {counts.min()} to {counts.max()} shells an image, but "
            f"n_shells={n_shells}; leave n_shells=None to read what there is."
        )
    place = np.full((len(image_id), counts.max()), -1)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    place[image[order], np.arange(len(order)) - first] = order
    return image_id, place


def in_place(values: np.ndarray | None, place: np.ndarray) -> np.ndarray | None:
    """Arrange values of shells by images.

    Parameters
    ----------
    values : ndarray of shape (n_shells, ...), or None
        The values.
    place : ndarray of shape (n_images, most_shells), int
        What :func:`place_shells` gives.

    Returns
    -------
    arranged : ndarray of shape (n_images, most_shells, ...), or None
        NaN, or -1 of integers, where an image has fewer shells than others.
    """
    if values is None:
        return None
    absent = np.full((1, *values.shape[1:]), -1 if values.dtype.kind == "i" else np.nan)
    return np.concatenate([values, absent.astype(values.dtype)])[place]


def _owners(
    shells: Shells, image_id: np.ndarray | None, n_shells: int | None
) -> np.ndarray:
    """Name the image of each shell."""
    if shells.image_id is not None:
        return shells.image_id
    ids, n = shells.id, len(shells.id)
    if len(np.unique(ids)) < n:
        return ids
    if n_shells is None:
        each, rest = divmod(n, len(image_id)) if image_id is not None else (1, 0)
        if each == 1 and rest == 0:
            return ids
        if rest or np.ptp(ids) != n - 1:
            raise ValueError(
                f"{shells.where} does not tell in which image a shell is: it has no "
                f"column ImageId, and {n} different ids for {len(image_id)} images. "
                "Where the shells, in the order of their ids, fill the images one "
                "after the other, say how many shells an image has by n_shells=...."
            )
    else:
        each = n_shells
    n_images = n // each if image_id is None else len(image_id)
    if n != each * n_images:
        raise ValueError(
            f"{shells.where} has {n} shells, which do not fill "
            f"{'images' if image_id is None else f'{n_images} images'} of {each} "
            "shells each; check n_shells."
        )
    owner = np.empty(n, dtype=np.int64)
    names = np.arange(n_images) if image_id is None else np.sort(image_id)
    if image_id is None and each == 1:
        names = np.sort(ids)
    owner[np.argsort(ids)] = np.repeat(names, each)
    return owner


def _check_partners(
    shells: Shells, owner: np.ndarray, image_id: np.ndarray, n_shells: int | None
) -> None:
    without_image = np.setdiff1d(owner, image_id)
    without_shell = np.setdiff1d(image_id, owner)
    if not len(without_image) and not len(without_shell):
        return
    complaints = []
    if len(without_image):
        complaints.append(f"no image with the id {name_rows(without_image)}")
    if len(without_shell):
        complaints.append(f"no shell for the image {name_rows(without_shell)}")
    advice = ""
    by_their_ids = shells.image_id is None and n_shells is None
    if by_their_ids and len(np.unique(owner)) == len(owner):
        advice = (
            " To match shells and images in the order of their ids, whatever these "
            "are, say n_shells=1."
        )
    raise ValueError(
        f"{shells.where} and the images do not belong together: there is "
        f"{' and '.join(complaints)}.{advice}"
    )
