# SPDX-License-Identifier: BSD-3-Clause
"""Rows of one object."""

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn, Table

from skastro.datasets import group_objects


def test_names():
    names = ["a", "b ", "a", "", "", None, np.nan, "b"]
    assert group_objects(names).tolist() == [0, 1, 0, 3, 4, 5, 6, 1]
    masked = MaskedColumn(["x", "x", "x"], mask=[False, True, False])
    assert group_objects(masked).tolist() == [0, 1, 0]
    assert group_objects(np.array([7, 8, 7])).tolist() == [0, 1, 0]


def test_places_across_zero_and_at_the_pole():
    second = 1 / 3600
    ra = [359.9999, 0.0001, 90.0, 270.0, np.nan, np.nan]
    dec = [0.0, 0.0, 90 - 0.2 * second, 90 - 0.2 * second, 10.0, 10.0]
    # 0.0002 degrees are 0.72 arcsec.
    assert group_objects(ra=ra, dec=dec).tolist() == [0, 0, 2, 2, 4, 5]
    assert group_objects(ra=ra, dec=dec, radius=0.3).tolist() == [0, 1, 2, 3, 4, 5]
    far = group_objects(ra=ra, dec=dec, radius=0.01 * u.arcmin)
    assert far.tolist() == [0, 1, 2, 2, 4, 5]
    table = Table({"ra": ra, "dec": dec})
    for name in ("ra", "dec"):
        table[name].unit = "deg"
    radians = {name: np.radians(table[name].data) * u.rad for name in table.colnames}
    assert group_objects(**radians).tolist() == [0, 0, 2, 2, 4, 5]
    assert group_objects(ra=table["ra"], dec=table["dec"]).tolist()[:2] == [0, 0]


def test_names_and_places_chain():
    # 1 and 2 share a name, 0 and 1 a place, and so 0, 1 and 2 are one object.
    ra, dec = [10.0, 10.0001, 50.0, 80.0], np.zeros(4)
    found = group_objects(["p", "q", "q", "r"], ra=ra, dec=dec)
    assert found.tolist() == [0, 0, 0, 3]


def test_nothing_is_close():
    assert group_objects(ra=[np.nan, np.nan], dec=[0.0, 0.0]).tolist() == [0, 1]
    assert group_objects([]).tolist() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs id, or both ra and dec"),
        ({"ra": [1.0]}, "both ra and dec; got \\['ra'\\]"),
        ({"id": ["a"], "dec": [1.0]}, "both ra and dec"),
        ({"id": ["a", "b"], "ra": [1.0], "dec": [1.0]}, "inconsistent numbers"),
        ({"ra": [1.0], "dec": [91.0]}, "Latitude"),
        ({"ra": [1.0], "dec": [1.0], "radius": 0}, "radius must be positive"),
        ({"ra": [1.0] * u.s, "dec": [1.0]}, "ra has the unit s"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        group_objects(**arguments)


@pytest.mark.parametrize(
    "id",
    [
        np.array([11.0, np.nan, np.nan, 11.0], dtype=np.float32),
        pd.Series([11, pd.NA, pd.NA, 11], dtype="Int64"),
        pd.Series(["a", pd.NA, pd.NA, "a"], dtype="string"),
        np.ma.masked_array([11, 5, 5, 11], mask=[0, 1, 1, 0]),
    ],
    ids=["float", "Int64", "string", "masked"],
)
def test_missing_names_are_of_nobody(id):
    assert group_objects(id).tolist() == [0, 1, 2, 0]


def test_one_name_a_row():
    with pytest.raises(ValueError, match=r"one name a row, but has the shape \(2, 2\)"):
        group_objects([["a", "b"], ["a", "b"]])
