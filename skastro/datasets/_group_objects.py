# SPDX-License-Identifier: BSD-3-Clause
"""Rows of one object, by its name or its position on the sky."""

from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import check_consistent_length

from skastro.utils import in_unit, is_missing


def group_objects(
    id: ArrayLike | None = None,
    *,
    ra: ArrayLike | units.Quantity | None = None,
    dec: ArrayLike | units.Quantity | None = None,
    radius: float | units.Quantity = 1.0,
) -> np.ndarray:
    """Find rows that show the same object, by names, positions, or both.

    Several spectra or images of one object must not be on both sides of a split: a
    score would tell how well the object is remembered. Give the result as ``groups`` to
    ``fit`` and to splitters such as :class:`~sklearn.model_selection.GroupKFold`.

    Parameters
    ----------
    id : array-like of shape (n_rows,), default=None
        Names of the objects. Rows with one name are one object; empty and masked names
        are of nobody.
    ra, dec : array-like of shape (n_rows,) or Quantity, default=None
        Right ascension and declination; plain numbers are in degrees. Rows closer than
        `radius` are one object, also by way of a third; NaN is nowhere.
    radius : float or Quantity, default=1.0
        The distance; a plain number is in arcsec.

    Returns
    -------
    groups : ndarray of int of shape (n_rows,)
        The first row of the same object; the row itself if there is none before.

    Raises
    ------
    ValueError
        If there are neither names nor positions, only one of `ra` and `dec`, lengths
        that disagree, a declination beyond 90 degrees, or a radius that is not
        positive.

    See Also
    --------
    read_images : Its ``groups`` are images with the same pixels.

    Examples
    --------
    >>> from skastro.datasets import group_objects
    >>> group_objects(["M51", "M101", "M51"]).tolist()
    [0, 1, 0]
    >>> group_objects(ra=[10.0, 50.0, 10.0001], dec=[0.0, 20.0, 0.0]).tolist()
    [0, 1, 0]
    """
    if (ra is None) != (dec is None) or (id is None and ra is None):
        raise ValueError(
            "group_objects needs id, or both ra and dec; got "
            f"{[n for n, v in (('id', id), ('ra', ra), ('dec', dec)) if v is not None]}"
            "."
        )
    check_consistent_length(id, ra, dec)
    pairs = [np.empty((2, 0), dtype=np.intp)]
    n_rows = len(np.ma.asarray(id if id is not None else ra))
    if id is not None:
        pairs.append(_same_name(id))
    if ra is not None:
        pairs.append(_same_place(ra, dec, radius))
    first, second = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(first.size), (first, second)), shape=(n_rows, n_rows))
    _, number = connected_components(links, directed=False)
    _, first_rows = np.unique(number, return_index=True)
    return first_rows[number]


def _same_name(id: Any) -> np.ndarray:
    """Pair each row with the first of its name."""
    id = id.to_numpy() if hasattr(id, "to_numpy") else id
    masked = np.ma.getmaskarray(np.ma.asarray(id))
    plain = np.asarray(np.ma.getdata(id))
    if plain.ndim != 1:
        raise ValueError(
            f"id must hold one name a row, but has the shape {plain.shape}."
        )
    # None and NaN stand for missing names.
    if plain.dtype == object:
        plain = np.array(["" if is_missing(name) else str(name) for name in plain])
    if plain.dtype.kind == "f":
        masked = masked | np.isnan(plain)
    names = np.char.strip(plain.astype(str))
    rows = np.flatnonzero((names != "") & ~masked)
    _, first, number = np.unique(names[rows], return_index=True, return_inverse=True)
    return np.stack([rows, rows[first[number]]])


def _same_place(ra: Any, dec: Any, radius: Any) -> np.ndarray:
    """Pair rows that are close to each other."""
    longitude, latitude = in_unit(ra, "deg", "ra"), in_unit(dec, "deg", "dec")
    distance = float(in_unit(radius, "arcsec", "radius"))
    if not distance > 0:
        raise ValueError(f"radius must be positive, but got {radius!r}.")
    rows = np.flatnonzero(np.isfinite(longitude) & np.isfinite(latitude))
    if not rows.size:
        return np.empty((2, 0), dtype=np.intp)
    places = SkyCoord(longitude[rows], latitude[rows], unit="deg")
    one, other, _, _ = places.search_around_sky(places, distance * units.arcsec)
    return np.stack([rows[one], rows[other]])
