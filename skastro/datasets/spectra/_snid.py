# SPDX-License-Identifier: BSD-3-Clause
"""The layout of templates of supernovae by SNID, ``.lnw``.

Blondin, S. & Tonry, J. L. 2007, ApJ 666, 1024, doi:10.1086/520494: one object, spectra
of several epochs in the rest frame on logarithmic bins, divided by their continuum,
less 1, and 0 outside the observed range. It does not say whether the wavelengths are
those in air.
"""

import numpy as np
from astropy.table import Table

from skastro.datasets.spectra._layouts import add_layout

# Epochs, bins, first and last wavelength, knots, name, delta m15, type, subtypes.
_N_WORDS = 10


def _is_lnw(text: str) -> bool:
    words = text.partition("\n")[0].split()
    return (
        len(words) == _N_WORDS
        and all(words[index].isdigit() for index in (0, 1, 4, 8, 9))
        and not _is_number(words[5])
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


@add_layout(
    "snid-lnw",
    _is_lnw,
    "SNID template .lnw",
    many=True,
    opens="text",
)
def _read_lnw(text: str) -> dict:
    """Read all epochs of a template."""
    lines = text.splitlines()
    words = lines[0].split()
    n_epochs, n_bins, n_knots = (int(words[index]) for index in (0, 1, 4))
    # The knots of the splines of the continua stand between.
    first = 2 + n_knots
    if len(lines) < first + 1 + n_bins:
        raise ValueError(
            f"the first line announces {n_bins} bins, but the file has {len(lines)} "
            f"lines instead of {first + 1 + n_bins}: it is cut"
        )
    ages = np.array(lines[first].split()[1:], dtype=np.float64)
    rows = [line.split() for line in lines[first + 1 : first + 1 + n_bins]]
    if ages.size != n_epochs or {len(row) for row in rows} != {n_epochs + 1}:
        raise ValueError(
            f"the first line announces {n_epochs} epochs, but there are {ages.size} "
            f"ages and rows of {len(rows[0]) - 1} values"
        )
    values = np.array(rows, dtype=np.float64)
    name, spectral_type = words[5], words[7]
    return {
        "flux": values[:, 1:].T,
        "wavelength": values[:, 0],
        "id": name,
        "class_name": spectral_type,
        "frame": "rest",
        "doppler_redshift": np.nan,
        "table": Table({"age": ages}),
    }
