# SPDX-License-Identifier: BSD-3-Clause
"""Properties of the readers of spectra, for files and damages that hypothesis makes."""

import gzip
import io

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from skastro.datasets import read_spectra, read_spectrum
from skastro.utils import rebin

settings.register_profile(
    "readers",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
profile = settings.get_profile("readers")
values = st.floats(-1e6, 1e6, width=32)


@st.composite
def spectra(draw):
    """Flux, inverse variance and ascending wavelengths of one length."""
    n_pixels = draw(st.integers(2, 40))
    flux = draw(arrays.arrays(np.float32, n_pixels, elements=values))
    ivar = draw(arrays.arrays(np.float32, n_pixels, elements=st.floats(width=32)))
    start, step = draw(st.floats(3000, 9000)), draw(st.floats(1e-5, 1e-2))
    return flux, ivar, start * np.exp(step * np.arange(n_pixels))


def write(path, *hdus):
    fits.HDUList([*hdus]).writeto(path, overwrite=True)
    return path


def coadd(path, flux, ivar, wavelength, unit=None):
    columns = [
        fits.Column(name, f"{flux.size}D", array=[vector], unit=given)
        for name, vector, given in [
            ("FLUX", flux, None),
            ("IVAR", ivar, None),
            ("WAVELENGTH", wavelength, unit),
        ]
    ]
    primary = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "LAMOST"}))
    return write(path, primary, fits.BinTableHDU.from_columns(columns, name="COADD"))


@profile
@given(spectra(), st.sampled_from(["Angstrom", "nm", "um", "m"]))
def test_what_was_written_is_read(tmp_path, spectrum, unit):
    flux, ivar, wavelength = spectrum
    stated = (wavelength * units.Angstrom).to_value(unit)
    path = coadd(tmp_path / "a.fits", flux, ivar, stated, unit)
    found = read_spectrum(path)
    np.testing.assert_array_equal(found.flux, flux)
    np.testing.assert_array_equal(found.ivar, ivar)
    np.testing.assert_allclose(found.wavelength, wavelength, rtol=1e-12)
    np.testing.assert_array_equal(found.mask, ~((ivar > 0) & (ivar < np.inf)))


@profile
@given(spectra(), st.data())
def test_wavelengths_in_any_other_order_are_refused(tmp_path, spectrum, data):
    flux, ivar, wavelength = spectrum
    order = data.draw(st.permutations(range(flux.size)))
    path = coadd(tmp_path / "a.fits", flux, ivar, wavelength[order])
    if order == sorted(order):
        np.testing.assert_array_equal(read_spectrum(path).wavelength, wavelength)
    else:
        with pytest.raises(ValueError, match="must ascend"):
            read_spectrum(path)


@profile
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=8),
    st.sampled_from("IJK"),
    st.sampled_from([99, -1, -32768]),
)
def test_missing_labels_have_no_name(tmp_path, labels, form, null):
    stored = [null if label is None else label for label in labels]
    column = fits.Column("label", form, array=stored, null=null)
    flux = np.arange(3000.0 * len(labels), dtype="f4").reshape(-1, 3000)
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(flux),
        fits.BinTableHDU.from_columns([column, fits.Column("objid", "K")]),
    )
    found = read_spectra(path)
    names = {None: "", 0: "GALAXY", 1: "QSO", 2: "STAR"}
    assert found.target.tolist() == [names[label] for label in labels]
    assert {*found.target_names} == {*found.target} - {""}
    np.testing.assert_array_equal(found.flux, flux)


@profile
@given(
    arrays.arrays(
        st.sampled_from([">f4", ">f8", ">i2", ">u2", ">i4"]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=20),
        elements=st.integers(0, 1000),
    ),
    st.booleans(),
)
def test_matrices_of_all_types(tmp_path, flux, packed):
    wavelength = np.linspace(4000.0, 8000.0, flux.shape[1])
    hdu = fits.ImageHDU(wavelength, name="WAVELENGTH")
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(flux), hdu)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = read_spectra(path)
    np.testing.assert_array_equal(found.flux, flux)
    assert found.flux.dtype == np.float32
    grid = np.linspace(4500.0, 7000.0, 7)
    np.testing.assert_array_equal(
        read_spectra(path, wavelength=grid).flux,
        rebin(np.float32(flux), wavelength, grid),
    )


def read_or_refuse(path, read=lambda path: read_spectra(path, verbose=0)):
    """Read a file, or return None if an error names it."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        message = str(error)
    assert f"{path}: " in message
    return None


def example() -> bytes:
    table = Table({"label": np.arange(40) % 3, "x": np.ones(40)})
    buffer = io.BytesIO()
    flux = np.arange(40 * 60, dtype="f4").reshape(40, 60) + 1
    wavelength = fits.ImageHDU(np.linspace(4e3, 8e3, 60), name="WAVELENGTH")
    primary, labels = fits.PrimaryHDU(flux), fits.BinTableHDU(table, name="LABELS")
    fits.HDUList([primary, labels, wavelength]).writeto(buffer)
    return buffer.getvalue()


EXAMPLE = example()


@profile
@given(
    st.sampled_from(["NAXIS1", "NAXIS2", "NAXIS", "BITPIX", "PCOUNT", "GCOUNT"]),
    st.integers(0, 2),
    st.one_of(st.integers(-3000, 3000), st.integers(-(2**63), 2**63)),
)
def test_sizes_are_right_or_refused(tmp_path, key, occurrence, size):
    content, position = bytearray(EXAMPLE), -1
    for _ in range(occurrence + 1):
        after = content.find(b"%-8s=" % key.encode(), position + 1)
        position = after if after >= 0 else position
    content[position : position + 80] = f"{key:8}= {size:>20}".encode().ljust(80)
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    if found := read_or_refuse(path):
        np.testing.assert_array_equal(found.flux, np.arange(2400).reshape(40, 60) + 1)
        assert found.target.tolist() == [k % 3 for k in range(40)]


@profile
@given(st.lists(st.tuples(st.integers(0, 10**9), st.binary(min_size=1, max_size=90))))
def test_damaged_bytes_never_crash(tmp_path, damages):
    content = bytearray(EXAMPLE)
    for position, new in damages:
        start = position % len(content)
        content[start : start + len(new)] = new
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    read_or_refuse(path)
    read_or_refuse(path, read_spectrum)
