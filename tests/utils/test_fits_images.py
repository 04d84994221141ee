# SPDX-License-Identifier: BSD-3-Clause
"""FITS images as arrays: the numbers, bands and orientation are those of astropy."""

import pickle

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from skastro.datasets import ImageFiles, images_to_hdf5, select_images
from skastro.utils import read_fits_image, read_image_header

RNG = np.random.default_rng(0)
SHAPE = (6, 5)
COUNTS = RNG.integers(0, 100, SHAPE)
# Name: pixels, keywords.
CASES = {
    "uint8": (COUNTS.astype("u1"), {}),
    "int16": (COUNTS.astype("i2"), {}),
    "uint16": (COUNTS.astype("u2") + 60000, {}),
    "uint32": (COUNTS.astype("u4") + 2**31, {}),
    "int8": (COUNTS.astype("i1") - 50, {}),
    "int64": (COUNTS, {}),
    "float32": (COUNTS.astype("f4") / 7, {}),
    "float64": (COUNTS / 7, {}),
    "scaled": (COUNTS.astype("i2"), {"BSCALE": 0.1, "BZERO": 5.0}),
    "blank": (COUNTS.astype("i2"), {"BLANK": int(COUNTS[2, 3])}),
    "scaled and blank": (COUNTS.astype("i4"), {"BSCALE": 2.0, "BLANK": 7}),
    "scaled floats": (COUNTS.astype("f4"), {"BSCALE": 2.0}),
    "cube": (RNG.normal(size=(3, *SHAPE)).astype("f4"), {}),
    "scaled cube": (COUNTS.astype("i2") + np.zeros((4, 1, 1), "i2"), {"BSCALE": 0.5}),
}


def write(path, pixels, keywords=(), kind=fits.PrimaryHDU):
    hdu = kind(pixels)
    hdu.header.update(dict(keywords))
    first = [] if kind is fits.PrimaryHDU else [fits.PrimaryHDU()]
    fits.HDUList([*first, hdu]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "png"])
@pytest.mark.parametrize("name", CASES)
def test_same_numbers_as_astropy(tmp_path, name, suffix):
    path = write(tmp_path / "a.fits", *CASES[name])
    expected = fits.getdata(path)
    path = path.rename(write(tmp_path / f"b.{suffix}", *CASES[name]))
    if expected.ndim == 3:
        expected = np.moveaxis(expected, 0, -1)
    images = ImageFiles([path, path])
    assert images.shape == (2, *expected.shape)
    assert images.dtype == expected.dtype.newbyteorder("=")
    for image in images[:]:
        np.testing.assert_array_equal(image, expected)
    assert read_image_header(path) == (expected.shape, images.dtype)
    first = ImageFiles([path], channel_axis=1)[0]
    np.testing.assert_array_equal(first, fits.getdata(path))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[1], expected)


def test_known_values(tmp_path):
    stored = np.array([[31500, 1], [2, -9]], "i2")
    keywords = {"BSCALE": 0.1, "BZERO": 0.0, "BLANK": -9}
    image = ImageFiles([write(tmp_path / "a.fits", stored, keywords)])[0]
    np.testing.assert_allclose(image, [[3150, 0.1], [0.2, np.nan]], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "blank"), [("u2", -32768 + 7), ("u4", -(2**31) + 7)])
def test_blank_pixels_of_unsigned_images(tmp_path, dtype, blank):
    """Astropy gives the number 7 for them."""
    stored = np.array([[7, 8], [9, 7]], dtype)
    path = write(tmp_path / "a.fits", stored, {"BLANK": blank})
    image = ImageFiles([path])[0]
    assert image.dtype == ("f8" if dtype == "u4" else "f4")
    np.testing.assert_array_equal(image, [[np.nan, 8], [9, np.nan]])


@pytest.mark.parametrize("dtype", ["i2", "u2", "f4"])
def test_tile_compressed(tmp_path, dtype):
    pixels = RNG.normal(100, 5, (2, 40, 30)).astype(dtype)
    path = write(tmp_path / "a.fits", pixels, kind=fits.CompImageHDU)
    expected = np.moveaxis(fits.getdata(path), 0, -1)
    np.testing.assert_array_equal(ImageFiles([path])[0], expected)


def test_the_hdu_must_be_clear(tmp_path):
    path = tmp_path / "a.fits"
    science, error = (
        fits.ImageHDU(COUNTS + n, name=s) for n, s in [(0, "S"), (1, "E")]
    )
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), science, error, table]).writeto(path)
    with pytest.raises(
        ValueError, match=r"a\.fits: expected one image, .*1 \(S\): \(6, 5"
    ):
        ImageFiles([path])
    for hdu, expected in [
        (1, COUNTS),
        ("S", COUNTS),
        ("E", COUNTS + 1),
        (-2, COUNTS + 1),
    ]:
        np.testing.assert_array_equal(ImageFiles([path], hdu=hdu)[0], expected)
    for hdu in (0, 3, 9, "none"):
        with pytest.raises(ValueError, match=r"a\.fits: expected an image hdu="):
            ImageFiles([path], hdu=hdu)


def test_packed_from_one_of_several_hdus(tmp_path):
    path = tmp_path / "a.fits"
    hdus = [fits.ImageHDU(COUNTS.astype("f4") + n, name=s) for n, s in enumerate("SE")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    found = select_images([path], SHAPE, None, dtype="float32", hdu="E", verbose=0)
    packed = images_to_hdf5(found.paths, tmp_path / "a.h5", hdu="E", verbose=0)
    np.testing.assert_array_equal(packed.images[0], COUNTS + 1)
    with pytest.raises(OSError, match=r"expected one image.*Name one by hdu"):
        images_to_hdf5([path], tmp_path / "b.h5", verbose=0)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5), (0, 5)])
def test_other_axes_are_refused(tmp_path, shape):
    path = write(tmp_path / "a.fits", np.zeros(shape, "f4"))
    with pytest.raises(ValueError, match=r"a\.fits: "):
        ImageFiles([path])


def test_files_without_images(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits: expected one image, .* none"):
        ImageFiles([tmp_path / "a.fits"])
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  = " + bytes(5000))
    with pytest.raises(OSError, match=r"a\.fits: not a readable FITS file"):
        ImageFiles([tmp_path / "a.fits"])


def test_limit(tmp_path):
    path = write(tmp_path / "a.fits", np.zeros((100, 100), "i2"), {"BSCALE": 0.1})
    assert ImageFiles([path], max_bytes=40_000)[:].any() == np.False_
    with pytest.raises(OSError, match=r"a\.fits: its content takes at least 4e-05 GB"):
        ImageFiles([path], max_bytes=39_999)


def test_damaged_tiles_name_the_file(tmp_path):
    path = write(
        tmp_path / "a.fits", RNG.integers(0, 99, (64, 64), "i2"), kind=fits.CompImageHDU
    )
    content = bytearray(path.read_bytes())
    content[-2880:] = bytes(255 for _ in range(2880))
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a\.fits: "):
        ImageFiles([path])[:]


def test_selected_and_packed(tmp_path):
    paths = [write(tmp_path / f"{n}.fits", CASES["cube"][0] + n) for n in range(3)]
    Image.fromarray(COUNTS.astype("u1")).save(tmp_path / "other.png")
    files = [*paths, tmp_path / "other.png"]
    found = select_images(files, (3, *SHAPE), None, dtype="float32", verbose=0)
    assert found.paths == [str(path) for path in paths]
    packed = images_to_hdf5(paths, tmp_path / "a.h5", channel_axis=1, verbose=0)
    expected = [fits.getdata(path) for path in paths]
    np.testing.assert_array_equal(packed.images[:], expected)


def test_header_only(tmp_path):
    shape, dtype, pixels = read_fits_image(
        write(tmp_path / "a.fits", *CASES["scaled cube"]), header_only=True
    )
    assert (shape, dtype, pixels) == ((4, *SHAPE), np.float32, None)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colors_of_16_bits_are_refused(tmp_path, suffix):
    """Pillow keeps the upper half of each number."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        import struct
        import zlib

        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        row = b"\0" + np.arange(6, dtype=">u2").tobytes()
        content = b"\x89PNG\r\n\x1a\n"
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b""))
        for kind, data in chunks:
            check = struct.pack(">I", zlib.crc32(kind + data))
            content += struct.pack(">I", len(data)) + kind + data + check
        path.write_bytes(content)
    else:
        tags = {256: (4, 2), 257: (4, 1), 258: (3, 16), 259: (3, 1), 262: (3, 2)}
        tags |= {273: (4, 200), 277: (3, 3), 278: (4, 1), 279: (4, 12)}
        entries = b""
        for tag, (kind, value) in tags.items():
            if tag == 258:
                entries += np.array([tag, kind], "<u2").tobytes()
                entries += np.array([3, 180], "<u4").tobytes()
                continue
            entries += np.array([tag, kind], "<u2").tobytes()
            entries += np.array([1, value], "<u4").tobytes()
        content = b"II*\0\x08\0\0\0" + np.array([len(tags)], "<u2").tobytes() + entries
        content = (content + bytes(4)).ljust(180, b"\0")
        content += np.array([16, 16, 16], "<u2").tobytes()
        path.write_bytes(
            content.ljust(200, b"\0") + np.arange(6, dtype="<u2").tobytes()
        )
    with pytest.raises(ValueError, match=r"a\.\w+' has several channels of 16 bits"):
        ImageFiles([path])
