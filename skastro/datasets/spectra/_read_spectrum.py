# SPDX-License-Identifier: BSD-3-Clause
"""Reading the file of one spectrum."""

import os

from astropy.io import fits
from sklearn.utils import Bunch

from skastro.datasets.spectra._fits import describe_hdus, read_fits
from skastro.datasets.spectra._layouts import LAYOUTS, find_layout
from skastro.datasets.spectra._matrix import is_matrix


def read_spectrum(path: str | os.PathLike) -> Bunch:
    """Read one spectrum from a survey's FITS file.

    The layout is recognised by what the file holds, never by its name: LAMOST low
    resolution (all three layouts of DR1 to DR10), SDSS, BOSS and eBOSS ``spec`` files,
    the older SDSS ``spSpec`` files and 6dFGS. Nothing is masked, filled, normalised
    or shifted. Read more in the :ref:`User Guide <reading>`.

    Parameters
    ----------
    path : str or path-like
        The file, gzip-compressed or not.

    Returns
    -------
    spectrum : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes. Arrays are native-endian
        copies of ``n_pixels`` values.

        flux : ndarray of shape (n_pixels,), float32
            Flux in `flux_unit`.
        ivar : ndarray of shape (n_pixels,), float32
            Inverse variance of the flux, 0 where the survey rejected the pixel.
        wavelength : ndarray of shape (n_pixels,), float64
            Ascending wavelengths of the pixels' centres in Å.
        mask : ndarray of shape (n_pixels,), bool
            True where the flux is not to be trusted: `ivar` is 0 or the flux is not
            finite.
        and_mask, or_mask : ndarray of shape (n_pixels,), int64, or None
            The survey's bits, set in all exposures or in any; None where the file has
            no such mask.
        kind : {"science", "sky", "template"}
            What the spectrum is of: an object, a fibre on empty sky, or a template of
            the survey's pipeline.
        layout : str
            Name of the layout: "lamost-image", "lamost-log-image", "lamost-coadd",
            "sdss-spec", "sdss-spspec" or "6dfgs".
        survey : str
            "LAMOST", "6dFGS", or what the SDSS catalogue says: "SDSS", "SEGUE1",
            "BOSS", ...
        release : str
            Data release or version of the pipeline, as the file has it.
        id : str
            ``spec-LMJD-PLANID_spSPID-FIBERID`` (LAMOST), ``PLATE-MJD-FIBERID`` (SDSS)
            or the target's name (6dFGS).
        class_name : str
            Class in upper case, such as "STAR", "GALAXY" or "QSO". Empty where the
            file has none or says "Unknown", and for sky.
        subclass : str
            Subclass, empty where there is none.
        redshift : float
            Redshift, NaN where the file has none and for sky.
        redshift_warning : int
            ZWARNING of SDSS; 0 is good, -1 means that the survey has no such flag.
        ra, dec : float
            Position of the object in degrees.
        snr : float
            Median signal-to-noise ratio per pixel: over all pixels for ``spec`` files,
            in the r band for LAMOST and ``spSpec``, NaN for 6dFGS.
        snr_bands : dict of str to float
            Signal-to-noise ratios in the bands u, g, r, i and z.
        vacuum : bool
            Whether wavelengths are those in vacuum (LAMOST, SDSS) or in air (6dFGS).
        doppler_redshift : float
            Redshift that was taken out of the wavelengths: 0 for observed wavelengths.
            ``wavelength * (1 + doppler_redshift)`` is the observed wavelength.
        flux_unit, wavelength_unit : :class:`astropy.units.Unit`
            1e-17 erg/s/cm²/Å for SDSS, dimensionless (relative flux) for LAMOST, counts
            for 6dFGS; Å.
        header : :class:`astropy.io.fits.Header`
            The primary header.
        path : str
            The file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    OSError
        If the file is empty, truncated, damaged or not FITS.
    ValueError
        If it is FITS but holds no spectrum in a known layout, or many.

    See Also
    --------
    read_spectra : Many spectra on one wavelength grid.

    References
    ----------
    LAMOST data model:
    http://www.lamost.org/dr10/v2.0/doc/lr-data-production-description

    SDSS data model, ``spec``:
    https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html

    SDSS data model, ``spSpec``:
    https://classic.sdss.org/dr7/dm/flatFiles/spSpec.html

    6dFGS file description: http://www-wfau.roe.ac.uk/6dFGS/fits.html

    Examples
    --------
    A file in one of the layouts, made by hand:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from skastro.datasets import read_spectrum
    >>> header = fits.Header({"TELESCOP": "LAMOST", "CLASS": "STAR", "SUBCLASS": "G2"})
    >>> wavelength = 10 ** (3.5682 + 1e-4 * np.arange(3909))
    >>> flux, zero = np.ones(3909), np.zeros(3909)
    >>> rows = np.float32([flux, flux, wavelength, zero, zero])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "any.name"
    ...     fits.PrimaryHDU(rows, header).writeto(path)
    ...     spectrum = read_spectrum(path)
    >>> spectrum.layout, spectrum.class_name, spectrum.subclass
    ('lamost-image', 'STAR', 'G2')
    >>> spectrum.wavelength[[0, -1]].round(1)
    array([3700. , 9099.1])
    """
    spectrum = read_fits(path, _read)
    spectrum.path = os.fspath(path)
    return spectrum


def _read(hdul: fits.HDUList) -> Bunch:
    layout = find_layout(hdul)
    if layout is None:
        held = describe_hdus(hdul)
        if is_matrix(hdul):
            raise ValueError(
                f"expected one spectrum, found a matrix of many ({held}); give the "
                "file to read_spectra, on its own"
            )
        expected = "; ".join(known.description for known in LAYOUTS)
        raise ValueError(
            f"no spectrum in a known layout: {held}. Expected one of: {expected}"
        )
    spectrum = layout.read(hdul)
    spectrum.layout = layout.name
    return spectrum
