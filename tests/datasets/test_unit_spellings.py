# SPDX-License-Identifier: BSD-3-Clause
"""Units as files spell them."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from skastro.datasets import read_spectra
from skastro.datasets.spectra._fields import parse_unit
from skastro.datasets.spectra._fits import read_log_wavelength

SPELLINGS = {
    u.nm: ("nm", "NM", "Nm", "nanometers", "NANOMETER", "nanometre"),
    u.um: ("um", "UM", "µm", "MICRON", "Microns", "micrometer", "Micrometres"),
    u.Angstrom: (
        "A",
        "AA",
        "ANGSTROM",
        "Angstroms",
        "angstrom",
        "Ang",
        "Å",
        "Ångström",
    ),
    u.cm: ("cm", "CM", "Centimeters"),
    u.mm: ("mm", "millimeter"),
    u.m: ("m", "METERS"),
}
CASES = [(unit, spelling) for unit, group in SPELLINGS.items() for spelling in group]


@pytest.mark.parametrize(("unit", "spelling"), CASES)
def test_wavelengths_of_a_matrix(unit, spelling, tmp_path):
    wavelength = np.linspace(4000, 9000, 200)
    grid = fits.ImageHDU((wavelength * u.Angstrom).to_value(unit), name="WAVELENGTH")
    # Characters beyond ASCII are not allowed in headers.
    grid.header["BUNIT"] = spelling if spelling.isascii() else "Angstrom"
    path = tmp_path / "matrix.fits"
    fits.HDUList([fits.PrimaryHDU(np.ones((3, 200))), grid]).writeto(path)
    if spelling.isascii():
        np.testing.assert_allclose(read_spectra(path).wavelength, wavelength)
    assert parse_unit(spelling) == unit


@pytest.mark.parametrize("spelling", ["MM", "M", "furlongs", "PM", "LAMBDA"])
def test_other_spellings_of_a_matrix_are_refused(spelling, tmp_path):
    grid = fits.ImageHDU(np.linspace(4, 9, 200), name="WAVELENGTH")
    grid.header["BUNIT"] = spelling
    path = tmp_path / "matrix.fits"
    fits.HDUList([fits.PrimaryHDU(np.ones((3, 200))), grid]).writeto(path)
    with pytest.raises(ValueError, match=f"'{spelling}' is no known unit.* nm"):
        read_spectra(path)


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("ERG/S/CM**2/ANGSTROM", u.erg / u.s / u.cm**2 / u.Angstrom),
        ("10^-17 ergs/s/cm2/NM", 1e-17 * u.erg / u.s / u.cm**2 / u.nm),
        ("1E-17 ERG/S/CM^2/A", 1e-17 * u.erg / u.s / u.cm**2 / u.Angstrom),
        ("ERG/S/CM2/HZ", u.erg / u.s / u.cm**2 / u.Hz),
        ("COUNTS", u.ct),
        ("JY", u.Jy),
        ("mJy", u.mJy),
        ("MJy/sr", u.MJy / u.sr),
        ("ADU", u.adu),
        ("mA", u.mA),
    ],
)
@pytest.mark.filterwarnings("ignore:.*multiple slashes")
def test_flux(spelling, unit):
    assert parse_unit(spelling).to(unit) == pytest.approx(1)


@pytest.mark.parametrize("spelling", ["log10(NM)", "log(nm)", "[nm]"])
def test_logarithms_of_wavelengths(spelling):
    logarithm = np.log10([400.0, 900.0])
    column = fits.Column("LOGLAM", "D", unit=spelling, array=logarithm)
    wavelength = read_log_wavelength(fits.BinTableHDU.from_columns([column]))
    np.testing.assert_allclose(wavelength.to_value("Angstrom"), [4000, 9000])
