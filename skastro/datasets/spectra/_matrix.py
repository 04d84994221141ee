# SPDX-License-Identifier: BSD-3-Clause
"""Files that hold a matrix of many spectra on one wavelength grid."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from sklearn.utils import Bunch

from skastro.datasets.spectra._fields import (
    WAVELENGTH_UNIT,
    floats,
    in_angstrom,
    known,
    text,
)
from skastro.datasets.spectra._fits import column_names, image_shape, is_table

# The classes of the LAMOST data competition, in the order of its integer labels.
COMPETITION_CLASSES = ("GALAXY", "QSO", "STAR")
# Its files carry no wavelengths; their pixels are these, in Angstrom.
_COMPETITION_GRID = np.linspace(3900.0, 9000.0, 3000)
_COMPETITION_COLUMNS = {"OBJID", "LABEL"}
_COLUMNS_WITH_GAPS = {"CLASS", "SUBCLASS", "Z", "SNR"}

ClassNames = Sequence[str] | Mapping[int, str]


def is_matrix(hdul: fits.HDUList) -> bool:
    """Tell a file of many spectra from others.

    The primary HDU is a matrix, and the file either carries the matrix's wavelengths
    or is one of the competition's.
    """
    return len(image_shape(hdul[0])) == 2 and (
        _wavelength_hdu(hdul) is not None or _is_competition(hdul)
    )


def read_matrix(hdul: fits.HDUList, class_names: ClassNames | None = None) -> Bunch:
    """Read a file of many spectra.

    Parameters
    ----------
    hdul : HDUList
        An open file for which :func:`is_matrix` is true.
    class_names : sequence of str or dict of int to str, default=None
        Names of the integer labels. None means those of the competition for its
        files, and the file's own column of classes for others.

    Returns
    -------
    matrix : Bunch
        With `flux` (n_spectra, n_pixels) in native float32, `wavelength` (n_pixels,)
        in `wavelength_unit` or None where it is not known, `table` of what is known of
        each spectrum, with classes in its column "class", and `layout`.
    """
    n_spectra, n_pixels = image_shape(hdul[0])
    competition = _is_competition(hdul)
    if competition:
        wavelength = _COMPETITION_GRID if n_pixels == _COMPETITION_GRID.size else None
    else:
        hdu = _wavelength_hdu(hdul)
        wavelength = in_angstrom(hdu.data, text(hdu.header.get("BUNIT")))
        if wavelength.size != n_pixels:
            raise ValueError(
                f"the flux has {n_pixels} pixels, but HDU WAVELENGTH {wavelength.size}"
            )
    table = _label_table(hdul, n_spectra)
    _name_classes(table, class_names, competition)
    return Bunch(
        flux=floats(hdul[0].data),
        wavelength=None if wavelength is None else wavelength.copy(),
        wavelength_unit=WAVELENGTH_UNIT,
        table=table,
        layout="competition" if competition else "labelled-matrix",
    )


def _wavelength_hdu(hdul: fits.HDUList) -> fits.ImageHDU | None:
    for hdu in hdul[1:]:
        if hdu.name == "WAVELENGTH" and len(image_shape(hdu)) == 1:
            return hdu
    return None


def _is_competition(hdul: fits.HDUList) -> bool:
    """Tell the competition's files, whose headers say nothing.

    With objects or labels in HDU 1 they are clear; without, as the file to be
    classified may be, only the number of pixels is left to go by.
    """
    header = hdul[0].header
    if _wavelength_hdu(hdul) is not None or "COEFF0" in header or "CRVAL1" in header:
        return False
    if len(hdul) > 1 and is_table(hdul[1]):
        return bool(_COMPETITION_COLUMNS & {*column_names(hdul[1])})
    n_pixels = image_shape(hdul[0])[1]
    return header["BITPIX"] < 0 and n_pixels == _COMPETITION_GRID.size


def _label_table(hdul: fits.HDUList, n_spectra: int) -> Table:
    """Copy the table of labels with native numbers and trimmed strings.

    What is unknown of an object is NaN or "", as it is of single spectra.
    """
    tables = [hdu for hdu in hdul[1:] if is_table(hdu)]
    labels = next((hdu for hdu in tables if hdu.name == "LABELS"), None)
    if labels is None and tables:
        labels = tables[0]
    table = Table()
    if labels is None:
        return table
    if len(labels.data) != n_spectra:
        raise ValueError(
            f"the flux has {n_spectra} spectra, but the table of labels "
            f"{len(labels.data)} rows"
        )
    for column in labels.columns:
        values = _native(labels.data[column.name])
        if column.name.upper() in _COLUMNS_WITH_GAPS:
            values = known(values)
        table[column.name] = values
        table[column.name].unit = column.unit
    return table


def _native(values: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind in "SU":
        return np.char.strip(values.astype(np.str_))
    return values.astype(values.dtype.newbyteorder("="))


def _name_classes(
    table: Table, class_names: ClassNames | None, competition: bool
) -> None:
    """Write the names of the integer labels to the column "class"."""
    names = {name.upper(): name for name in table.colnames}
    if class_names is None:
        if not competition or "CLASS" in names:
            return
        class_names = COMPETITION_CLASSES
        if "LABEL" not in names:
            return
    if "LABEL" not in names:
        raise ValueError(
            "class_names was given, but the file has no column 'label' of integers; "
            f"its columns are {', '.join(table.colnames) or 'none'}"
        )
    labels = np.asarray(table[names["LABEL"]])
    if labels.dtype.kind in "SU":
        table["class"] = labels
        return
    if not isinstance(class_names, Mapping):
        class_names = dict(enumerate(class_names))
    unnamed = sorted({*labels.tolist()} - {*class_names})
    if unnamed:
        raise ValueError(
            f"class_names names the labels {sorted(class_names)}, but the file also "
            f"has {unnamed[:10]}; give a name for each"
        )
    values, index = np.unique(labels, return_inverse=True)
    table["class"] = np.array([str(class_names[value]) for value in values])[index]
