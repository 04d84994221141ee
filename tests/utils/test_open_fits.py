# SPDX-License-Identifier: BSD-3-Clause
"""Damaged, truncated and huge FITS files end in one clear error, at once."""

import gzip
import os
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skastro.utils import free_memory, open_fits


@pytest.fixture
def path(tmp_path):
    """Write an image, a table and a compressed image."""
    table = Table({"label": np.arange(300), "name": ["ab"] * 300, "x": np.ones(300)})
    image = np.arange(2000, dtype="i2").reshape(50, 40)
    hdul = [fits.PrimaryHDU(np.ones((10, 500), "f4")), fits.BinTableHDU(table)]
    fits.HDUList([*hdul, fits.CompImageHDU(image)]).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def damage(path, key, value, occurrence=0):
    """Write another value into a card."""
    content = bytearray(path.read_bytes())
    found = [*re.finditer(rb"%-8s= " % key.encode(), content)][occurrence]
    card = f"{key:8}= {value:>20}".encode().ljust(80)
    content[found.start() : found.start() + 80] = card
    path.write_bytes(content)


def refused(path, message, **options):
    with pytest.raises(OSError, match=message) as caught, open_fits(path, **options):
        pass
    assert str(caught.value).startswith(f"{path}: not a readable FITS file: ")


@pytest.mark.parametrize("packed", [False, True])
def test_good_files(path, packed):
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with open_fits(path) as hdul:
        assert [hdu.shape for hdu in (hdul[0], hdul[2])] == [(10, 500), (50, 40)]
        assert hdul[1].data["label"][299] == 299


def test_scaled_and_unsigned_images(tmp_path):
    for dtype in ("u2", "u4", "u1", "i1"):
        image = fits.PrimaryHDU(np.arange(100, dtype=dtype))
        image.writeto(tmp_path / f"{dtype}.fits")
        with open_fits(tmp_path / f"{dtype}.fits") as hdul:
            np.testing.assert_array_equal(hdul[0].data, np.arange(100))
    header = fits.Header({"BLANK": 3})
    image = fits.PrimaryHDU(np.arange(100, dtype="i2"), header)
    image.scale("int16", bscale=2, bzero=100)
    image.writeto(tmp_path / "blank.fits")
    with open_fits(tmp_path / "blank.fits") as hdul:
        assert hdul[0].data[50] == 50


def test_what_is_no_file(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="there is no such file"),
        open_fits("x"),
    ):
        pass
    with pytest.raises(IsADirectoryError, match="is a folder"), open_fits(tmp_path):
        pass
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(tmp_path / "pipe.fits")
    with (
        pytest.raises(OSError, match="is not a regular file"),
        open_fits(tmp_path / "pipe.fits"),
    ):
        pass


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NAXIS1", "-500", "NAXIS1 = -500"),
        ("NAXIS2", "-1", "NAXIS2 = -1"),
        ("NAXIS", "-2", "NAXIS = -2"),
        ("NAXIS", "999999999", "NAXIS = 999999999"),
        ("NAXIS", "900", "has no NAXIS3"),
        ("NAXIS1", "1.5", "NAXIS1 = 1.5"),
        ("NAXIS1", "'x'", "NAXIS1 = x"),
        ("NAXIS2", "999999999999", "truncated|more than"),
        ("NAXIS2", "9" * 19, "no integer"),
        ("BITPIX", "31", "BITPIX = 31"),
        ("SIMPLE", "F", "SIMPLE is not T"),
        ("NAXIS1", "499", "more follow"),
        ("NAXIS2", "1", "more follow"),
        ("NAXIS", "0", "data follow its last HDU"),
        ("EXTEND", "T", None),
    ],
)
def test_damaged_primary_headers(path, key, value, message, packed):
    damage(path, key, value)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    if message:
        refused(path, message)
    else:
        with open_fits(path) as hdul:
            assert len(hdul) == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("PCOUNT", "-9999999", "PCOUNT = -9999999"),
        ("GCOUNT", "-1", "GCOUNT = -1"),
        ("GCOUNT", "0", "GCOUNT = 0"),
        ("TFIELDS", "999999999", "TFIELDS = 999999999"),
        ("TFIELDS", "-1", "TFIELDS = -1"),
        ("TFIELDS", "900", "no valid TFORM4"),
        ("TFIELDS", "2", "columns of 10 bytes a row, but NAXIS1 = 18"),
        ("TFORM1", "'Y'", "no valid TFORM1"),
        ("TFORM1", "'J'", "columns of 14 bytes a row, but NAXIS1 = 18"),
        ("TFORM1", "'999999999999K'", "columns of 8000000000002"),
    ],
)
def test_damaged_tables(path, key, value, message):
    damage(path, key, value)
    refused(path, message)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content))
    refused(path, message)


@pytest.mark.parametrize("key", ["NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT"])
@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("value", ["-1", "-2880", "-999999999999"])
def test_negative_sizes_anywhere_end_at_once(path, key, occurrence, value):
    damage(path, key, value, occurrence - (key in ("PCOUNT", "GCOUNT")))
    refused(path, f"{key} = {value}")


def test_repeated_and_missing_cards(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"NAXIS2  =", b"NAXIS1  =", 1))
    refused(path, "HDU 0 repeats NAXIS1")
    path.write_bytes(content.replace(b"BITPIX  =", b"BITPOX  =", 1))
    refused(path, "HDU 0 has no BITPIX")
    path.write_bytes(content.replace(b"END     ", b"ENDE    ", 1))
    refused(path, "repeats|truncated|END")


def test_a_header_without_end_is_not_read_to_the_end(tmp_path):
    head = b"SIMPLE  =                    T".ljust(80)
    content = head + b"COMMENT".ljust(80) * 36 * 4100
    (tmp_path / "long.fits").write_bytes(content)
    refused(tmp_path / "long.fits", "has no END card")


def test_truncation_at_any_place(path):
    content = path.read_bytes()
    with fits.open(path) as hdul:
        whole = {hdul.fileinfo(k)["hdrLoc"] for k in range(3)}
    for cut in range(0, len(content), 719):
        path.write_bytes(content[:cut])
        if cut not in whole or cut == 0:
            refused(path, "truncated|empty|keyword SIMPLE")


def test_damaged_gzip(path):
    packed = gzip.compress(path.read_bytes())
    for content in (packed[:-30], packed[:200], packed[:50] + b"x" * 50 + packed[100:]):
        path.write_bytes(content)
        refused(path, "end-of-stream|decompress|CRC|truncated|Error")


def test_bombs_are_refused_before_they_unpack(tmp_path):
    """64 GiB of zeros announced in a file of a few kilobytes."""
    header = fits.PrimaryHDU(np.zeros((1, 1), "f4")).header
    header["NAXIS1"], header["NAXIS2"] = 2**17, 2**17
    content = header.tostring().encode() + bytes(10**6)
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(content))
    refused(path, "needs 687.* bytes of memory, more than the 67108864 .*max_bytes")
    refused(path, "more than the 1000000 that are allowed", max_bytes=10**6)
    # More zeros than the header announces.
    header["NAXIS1"], header["NAXIS2"] = 10, 10
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(10**6)))
    refused(path, "unpacks to more than", max_bytes=10**5)
    # A compressed image in a plain file.
    image = fits.CompImageHDU(np.zeros((100, 100), "i2"))
    image.writeto(tmp_path / "image.fits")
    damage(tmp_path / "image.fits", "ZNAXIS1", 10**9)
    refused(tmp_path / "image.fits", "more than", max_bytes=10**8)


def test_limit_for_plain_files(path):
    refused(path, "more than the 20000 that are allowed", max_bytes=20000)
    with open_fits(path, max_bytes=10**6) as hdul:
        assert len(hdul) == 3
    assert 2**20 < free_memory() < 2**50


def test_errors_inside_the_block_pass(path):
    with pytest.raises(KeyError, match="mine"), open_fits(path):
        raise KeyError("mine")
