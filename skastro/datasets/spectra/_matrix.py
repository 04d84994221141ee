# SPDX-License-Identifier: BSD-3-Clause
"""Files that hold a matrix of many spectra on one wavelength grid."""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table

from skastro.datasets.spectra._fields import (
    known,
    parse_unit,
    with_unit,
    without_nulls,
)
from skastro.datasets.spectra._fits import (
    column_names,
    image_shape,
    is_table,
    read_column,
)
from skastro.datasets.spectra._layouts import register_layout
from skastro.datasets.spectra._marz import is_marz

COMPETITION = "competition"
MATRICES = (COMPETITION, "labeled-matrix")
# The classes of the LAMOST data competition, in the order of its integer labels.
COMPETITION_CLASSES = ("GALAXY", "QSO", "STAR")
# Its files contain no wavelengths; these are the pixels, in Angstrom.
_COMPETITION_GRID = np.linspace(3900.0, 9000.0, 3000)
_COMPETITION_COLUMNS = {"OBJID", "LABEL"}
_WAVELENGTH_NAMES = {"WAVELENGTH", "WAVE", "LAMBDA", "LOGLAM", "LOGLAMBDA"}
_COLUMNS_WITH_GAPS = {"CLASS", "SUBCLASS", "Z", "SNR", "RA", "DEC"}
# Cards of images of the sky and of instruments.
_FOREIGN_CARDS = {"COEFF0", "CRVAL1", "CTYPE1", "CD1_1", "CDELT1", "WCSAXES"}
_FOREIGN_CARDS |= {"TELESCOP", "INSTRUME", "DETECTOR", "EXPTIME"}

ClassNames = Sequence[str] | Mapping[int, str]


def _is_labeled_matrix(hdul: fits.HDUList) -> bool:
    """Recognize a matrix with its wavelengths in an HDU."""
    is_matrix = len(image_shape(hdul[0])) == 2 and bool(_wavelength_hdus(hdul))
    return is_matrix and not is_marz(hdul)


@register_layout(
    "labeled-matrix",
    _is_labeled_matrix,
    description="matrix of many spectra with an image WAVELENGTH",
    many=True,
)
def _read_labeled_matrix(hdul: fits.HDUList) -> dict:
    """Read the flux of the primary HDU, the wavelengths and the table of labels."""
    hdu = _wavelength_hdus(hdul)[0]
    wavelength = with_unit(hdu.data, hdu.header.get("BUNIT"))
    n_pixels = image_shape(hdul[0])[1]
    if wavelength.size != n_pixels:
        raise ValueError(
            f"the flux has {n_pixels} pixels, but HDU WAVELENGTH {wavelength.size}"
        )
    return {
        "flux": hdul[0].data,
        "wavelength": wavelength,
        "table": _label_table(hdul),
    }


def _is_competition(hdul: fits.HDUList) -> bool:
    """Recognize the files of the competition, whose headers do not identify them.

    Files with objects or labels in HDU 1 are unambiguous. Those without, such as the
    file to be classified, are recognized by the number of pixels only.
    """
    shape, header = image_shape(hdul[0]), hdul[0].header
    if len(shape) != 2 or any(hdu.name in _WAVELENGTH_NAMES for hdu in hdul[1:]):
        return False
    if _FOREIGN_CARDS & {*header}:
        return False
    if len(hdul) > 1 and is_table(hdul[1]):
        return bool(_COMPETITION_COLUMNS & {*column_names(hdul[1])})
    return header["BITPIX"] < 0 and shape[1] == _COMPETITION_GRID.size


@register_layout(
    COMPETITION,
    _is_competition,
    description="matrix of many spectra of the LAMOST data competition",
    many=True,
)
def _read_competition(hdul: fits.HDUList) -> dict:
    """Read the flux of the primary HDU and the table of integer labels."""
    # Labels of other files may mean something else.
    known_grid = image_shape(hdul[0])[1] == _COMPETITION_GRID.size
    table = _label_table(hdul)
    columns = {name.upper() for name in table.colnames}
    named = known_grid and columns >= _COMPETITION_COLUMNS and "CLASS" not in columns
    return {
        "flux": hdul[0].data,
        "wavelength": _COMPETITION_GRID if known_grid else None,
        "table": table,
        "class_names": COMPETITION_CLASSES if named else None,
    }


def _wavelength_hdus(hdul: fits.HDUList) -> list[fits.ImageHDU]:
    return [
        hdu
        for hdu in hdul[1:]
        if hdu.name == "WAVELENGTH" and len(image_shape(hdu)) == 1
    ]


def _label_table(hdul: fits.HDUList) -> Table:
    """Copy the table of labels with native numbers and trimmed strings.

    Unknown values are NaN, "" or masked.
    """
    tables = [hdu for hdu in hdul[1:] if is_table(hdu)]
    labels = next((hdu for hdu in tables if hdu.name == "LABELS"), None)
    if labels is None and tables:
        labels = tables[0]
    table = Table()
    if labels is None:
        return table
    for column in labels.columns:
        values = read_column(labels, column.name)
        if column.name.upper() in _COLUMNS_WITH_GAPS:
            values = known(values)
        table[column.name] = values
        if column.unit:
            table[column.name].unit = _unit_of(column.unit)
    return table


def _unit_of(spelling: str) -> units.UnitBase:
    """Read the unit of a column that nothing is computed from."""
    try:
        return parse_unit(spelling)
    except ValueError:
        return units.UnrecognizedUnit(spelling)


def name_classes(table: Table, class_names: ClassNames) -> None:
    """Write the names of the integer labels to the column "class", "" for no label."""
    names = {name.upper(): name for name in table.colnames}
    if "LABEL" not in names:
        raise ValueError(
            "class_names was given, but the file has no column 'label' of integers; "
            f"its columns are {', '.join(table.colnames) or 'none'}"
        )
    labels = without_nulls(table[names["LABEL"]])
    if labels.dtype.kind in "SU":
        table["class"] = labels
        return
    if not isinstance(class_names, Mapping):
        class_names = dict(enumerate(class_names))
    known_labels = labels[labels == labels]
    unnamed = sorted({*known_labels.tolist()} - {*class_names})
    if unnamed:
        raise ValueError(
            f"class_names names the labels {sorted(class_names)}, but the file also "
            f"has {unnamed[:10]}; give a name for each"
        )
    values, index = np.unique(labels, return_inverse=True)
    target = np.array([str(class_names.get(value, "")) for value in values])[index]
    table["class"] = target
