# SPDX-License-Identifier: BSD-3-Clause
"""The table of the layouts in which surveys publish single spectra."""

from collections.abc import Callable
from dataclasses import dataclass

from astropy.io import fits
from sklearn.utils import Bunch

from skastro.datasets.spectra import _lamost, _sdss, _sixdfgs


@dataclass(frozen=True)
class Layout:
    """One layout: how it is recognised, and how it is read.

    Attributes
    ----------
    name : str
        Name that readers report.
    description : str
        What a file of this layout holds, for messages.
    matches : callable
        Takes an open file and tells whether it has this layout.
    read : callable
        Takes an open file of this layout and returns the spectrum.
    """

    name: str
    description: str
    matches: Callable[[fits.HDUList], bool]
    read: Callable[[fits.HDUList], Bunch]


# No file matches two of them, so the order is of no consequence.
LAYOUTS = (
    Layout(
        "lamost-image",
        "LAMOST image of 5 rows: flux, ivar, wavelength, and-mask, or-mask",
        _lamost.is_image,
        _lamost.read_image,
    ),
    Layout(
        "lamost-log-image",
        "LAMOST image of 5 rows without wavelengths, and COEFF0, COEFF1 in the header",
        _lamost.is_log_linear_image,
        _lamost.read_log_linear_image,
    ),
    Layout(
        "lamost-coadd",
        "LAMOST table of one row with vectors FLUX, IVAR, WAVELENGTH",
        _lamost.is_coadd,
        _lamost.read_coadd,
    ),
    Layout(
        "sdss-spec",
        "SDSS, BOSS or eBOSS table with columns flux, ivar, loglam",
        _sdss.is_spec,
        _sdss.read_spec,
    ),
    Layout(
        "sdss-spspec",
        "SDSS image of 4 or 5 rows (spectrum, continuum-subtracted, error, mask) and "
        "COEFF0, COEFF1 in the header",
        _sdss.is_spspec,
        _sdss.read_spspec,
    ),
    Layout(
        "6dfgs",
        "6dFGS image of 4 rows (spectrum, variance, sky, wavelength) with a linear "
        "axis in Angstrom",
        _sixdfgs.is_image,
        _sixdfgs.read_image,
    ),
)


def find_layout(hdul: fits.HDUList) -> Layout | None:
    """Find the layout of an open file; None where it has none of them."""
    return next((layout for layout in LAYOUTS if layout.matches(hdul)), None)
