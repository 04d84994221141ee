# SPDX-License-Identifier: BSD-3-Clause
"""Damaged image files, lists of them, and HDF5 files of galaxies.

The damaged file stands between two good ones, which must read as ever. Formats with
checksums, and files that are only cut, give the undamaged pixels or an error.
"""

import gzip
import io
import json
import random
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits
from PIL import Image

from . import Case, apply, cut, error_outcome, flip_bytes

COLORS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
GRAY = COLORS[..., 0].copy()
DEEP = GRAY.astype(np.uint16) * 257
LABELS = [2, 0, 1, 1, 0, 2]
# Names do not decide how a file is read.
SUFFIXES = [".png", ".jpg", ".tif", ".fits", ".txt", ".npy", ".PNG", ""]


def encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def as_fits(array: np.ndarray, **cards: Any) -> bytes:
    buffer = io.BytesIO()
    hdu = fits.PrimaryHDU(array)
    hdu.header.update(cards)
    hdu.writeto(buffer, checksum=False)
    return buffer.getvalue()


def hdf5(fill: Callable[[h5py.File], None], **options: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with h5py.File(path, "w", **options) as file:
            fill(file)
        return path.read_bytes()


def galaxies(**changed: Any) -> Callable[[h5py.File], None]:
    """Return what fills a file in the layout of Galaxy10."""
    content = {"images": np.stack([COLORS] * 6), "ans": LABELS}
    content |= {"ra": np.linspace(0, 50, 6), "id": np.array([*"abcdef"], "S1")}

    def fill(file: h5py.File) -> None:
        options = changed.pop("options", {})
        for name, values in (content | changed).items():
            if isinstance(values, h5py.ExternalLink | h5py.SoftLink | h5py.Empty):
                file[name] = values
            elif values is not None:
                many = options if np.ndim(values) else {}
                file.create_dataset(name, data=values, **many)
        file.attrs["class_names"] = json.dumps(["E", "S", "merger"])

    return fill


def virtual(file: h5py.File) -> None:
    galaxies(images=None)(file)
    layout = h5py.VirtualLayout((6, 24, 20, 3), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6, 24, 20, 3))
    file.create_virtual_dataset("images", layout)


def stored_elsewhere(file: h5py.File) -> None:
    galaxies(images=None)(file)
    file.create_dataset(
        "images", (1, 10, 10), "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


@cache
def originals() -> dict[str, tuple[bytes, np.ndarray | None]]:
    """Return small files and their pixels; None for files that are to be refused."""
    made = {
        "rgb.png": (encoded(COLORS, "PNG"), COLORS),
        "gray.png": (encoded(GRAY, "PNG"), GRAY),
        "deep.png": (encoded(DEEP, "PNG"), DEEP),
        "rgb.tif": (encoded(COLORS, "TIFF"), COLORS),
        "lzw.tif": (encoded(COLORS, "TIFF", compression="tiff_lzw"), COLORS),
        "float.tif": (encoded(GRAY.astype("f4"), "TIFF"), GRAY.astype("f4")),
        "rgb.bmp": (encoded(COLORS, "BMP"), COLORS),
        "rgb.webp": (encoded(COLORS, "WEBP", lossless=True), COLORS),
        "gray.fits": (as_fits(GRAY), GRAY),
        "bands.fits": (as_fits(np.moveaxis(COLORS, -1, 0).astype("f4")), None),
        "unsigned.fits": (as_fits(DEEP), DEEP),
    }
    made["bands.fits"] = made["bands.fits"][0], COLORS.astype("f4")
    made["gray.fits.gz"] = gzip.compress(made["gray.fits"][0], mtime=0), GRAY
    jpeg = encoded(COLORS, "JPEG")
    made["rgb.jpg"] = jpeg, np.asarray(Image.open(io.BytesIO(jpeg)))
    images = np.stack([COLORS] * 6)
    kept = {"options": {"fletcher32": True}}
    link, empty = h5py.ExternalLink("/etc/hosts", "images"), h5py.Empty("u1")
    tables = np.zeros(6, [("a", int)])
    made |= {
        "plain.h5": (hdf5(galaxies()), images),
        "checked.h5": (hdf5(galaxies(**kept), libver="latest"), images),
        "gzip.h5": (
            hdf5(galaxies(options={"compression": "gzip", "chunks": True})),
            images,
        ),
        "big-endian.h5": (hdf5(galaxies(images=images.astype(">i4"))), images),
        "half.h5": (hdf5(galaxies(images=images.astype("f2"))), images),
        "bool.h5": (hdf5(galaxies(images=images > 9)), images > 9),
        "extra.h5": (hdf5(galaxies(note=["a"], empty=empty, t=tables)), images),
        "no-images.h5": (hdf5(galaxies(images=None)), None),
        "no-labels.h5": (hdf5(galaxies(ans=None)), None),
        "empty.h5": (hdf5(galaxies(images=empty)), None),
        "no-rows.h5": (hdf5(galaxies(images=images[:0], ans=[])), None),
        "short-labels.h5": (hdf5(galaxies(ans=LABELS[:4])), None),
        "odd-labels.h5": (hdf5(galaxies(ans=[0.5, 1, 2, 0, 1, 2])), None),
        "unknown-labels.h5": (hdf5(galaxies(ans=[7, 1, 2, 0, 1, 2])), None),
        "negative-labels.h5": (hdf5(galaxies(ans=[-1, 1, 2, 0, 1, 2])), None),
        "empty-labels.h5": (hdf5(galaxies(ans=empty)), None),
        "complex.h5": (hdf5(galaxies(images=images * 1j)), None),
        "table.h5": (hdf5(galaxies(images=tables)), None),
        "text.h5": (hdf5(galaxies(images=[b"a"] * 6)), None),
        "linked.h5": (hdf5(galaxies(images=link)), None),
        "linked-labels.h5": (hdf5(galaxies(ans=link)), None),
        "dangling.h5": (hdf5(galaxies(images=h5py.SoftLink("/nothing"))), None),
        "loop.h5": (hdf5(galaxies(images=h5py.SoftLink("/images"))), None),
        "virtual.h5": (hdf5(virtual), None),
        "elsewhere.h5": (hdf5(stored_elsewhere), None),
    }
    return made


def names() -> list[str]:
    return sorted(originals())


# Damages ------------------------------------------------------------------------------


def damage_start(content: bytearray, rng: random.Random) -> None:
    """Change the first bytes, which hold the sizes of most formats."""
    for _ in range(rng.choice([1, 2, 5])):
        content[rng.randrange(min(len(content), 120))] = rng.choice([0, 1, 255, 127, 3])


def write_number(content: bytearray, rng: random.Random) -> None:
    value = rng.choice([0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1])
    width = 2 if value < 2**16 and rng.random() < 0.5 else 4
    position = rng.randrange(len(content) - 4)
    content[position : position + width] = value.to_bytes(width, rng.choice(ENDS))


ENDS = ("little", "big")


def damage_png_size(content: bytearray, rng: random.Random) -> None:
    """Change the size of a PNG image, and make its checksum right again."""
    if not content.startswith(b"\x89PNG"):
        raise ValueError("no PNG")
    position = rng.choice([16, 20])
    value = rng.choice([0, 1, 10, 23, 25, 1000, 50000, 2**31 - 1])
    content[position : position + 4] = value.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")


def damage_card(content: bytearray, rng: random.Random) -> None:
    """Change a number in a header of FITS."""
    if not content.startswith(b"SIMPLE"):
        raise ValueError("no FITS")
    key = rng.choice([b"NAXIS1", b"NAXIS2", b"NAXIS ", b"BITPIX", b"BZERO ", b"BSCALE"])
    position = content.index(key)
    value = rng.choice([b"0", b"-1", b"19", b"21", b"999999999", b"2.5", b"NaN", b"8"])
    content[position + 10 : position + 30] = value.rjust(20)


def append(content: bytearray, rng: random.Random) -> None:
    content += bytes(rng.randrange(256) for _ in range(rng.choice([1, 100])))


def move_part(content: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 16, 500])
    source, target = (rng.randrange(len(content)) for _ in range(2))
    content[target : target + rng.choice([0, size])] = content[source : source + size]


def splice(content: bytearray, rng: random.Random) -> None:
    other = rng.choice([*originals().values()])[0]
    content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]


def pack(content: bytearray, rng: random.Random) -> None:
    content[:] = gzip.compress(content, mtime=0)


def leave(content: bytearray, rng: random.Random) -> None:
    """Only the name of the file is another one."""


DAMAGES = [damage_start, write_number, damage_png_size, damage_card, append]
DAMAGES += [move_part, splice, pack, leave, flip_bytes, flip_bytes, cut, cut]
# Damages after which the pixels are the same, or the file is refused.
ONLY_LESS = (leave, cut, append)
CHECKED = ("rgb.png", "gray.png", "deep.png", "checked.h5", "gray.fits.gz")


def build(case: Case) -> bytes:
    return apply(DAMAGES, case, originals()[case[0]][0])


def attempt(case: Case, folder: Path) -> str:
    name, damages = case
    rng = random.Random(damages[0][1] if damages else 0)
    content, pixels = build(case), originals()[name][1]
    whole = content == originals()[name][0]
    used = [DAMAGES[number] for number, _ in damages]
    same = all(damage in ONLY_LESS for damage in used)
    if name in CHECKED and not {damage_png_size, splice, pack} & {*used}:
        same = True
    if name.endswith(".h5"):
        path = folder / "damaged.h5"
        path.write_bytes(content)
        return try_galaxies(path, pixels, same, whole)
    path = folder / f"damaged{rng.choice(SUFFIXES)}"
    path.write_bytes(content)
    good = folder / "good"
    good.write_bytes(originals()[name][0])
    read = rng.choice([read_files, pack_files, skip_files, read_set])
    try:
        found = read([good, path, good], folder / "out.h5")
    except BaseException as error:
        if whole:
            return f"! a good file is refused: {error!r}"
        return error_outcome(error, path)
    if len(found) == 2:
        return "skipped" if not whole else "! a good file is skipped"
    if not all(np.array_equal(image, pixels, equal_nan=True) for image in found[::2]):
        return "! other pixels of the good files"
    if same and not np.array_equal(found[1], pixels):
        return "! other pixels of a cut or checked file"
    return "read"


def read_files(paths: list[Path], out: Path) -> np.ndarray:
    from skastro.datasets import ImageFiles

    return ImageFiles(paths)[:]


def read_set(paths: list[Path], out: Path) -> np.ndarray:
    from skastro.datasets import read_images

    images = read_images(paths, verbose=0)
    assert len(images.failures) == 3 - len(images.images), "left out in silence"
    return images.images


def pack_files(paths: list[Path], out: Path, on_error: str = "raise") -> np.ndarray:
    from skastro.datasets import images_to_hdf5, read_galaxy10

    labels = ["a", "damaged", "b"]
    packed = images_to_hdf5(
        paths, out, labels=labels, on_error=on_error, n_jobs=1, verbose=0
    )
    galaxies = read_galaxy10(out, verbose=0)
    expected = ["a", "b"] if len(packed.images) == 2 else labels
    assert galaxies.target.tolist() == expected, "labels are of other files"
    assert len(packed.skipped) == 3 - len(packed.images), "skipped in silence"
    return galaxies.images


def skip_files(paths: list[Path], out: Path) -> np.ndarray:
    return pack_files(paths, out, "skip")


def try_galaxies(path: Path, pixels: np.ndarray | None, same: bool, whole: bool) -> str:
    from skastro.datasets import read_galaxy10

    try:
        galaxies = read_galaxy10(path, verbose=0)
    except BaseException as error:
        if whole and pixels is not None:
            return f"! a good file is refused: {error!r}"
        return error_outcome(error, path)
    if whole and pixels is None:
        return "! a file is read that should be refused"
    n_images = len(galaxies.images)
    if galaxies.images.ndim not in (3, 4) or galaxies.images.dtype.kind not in "biuf":
        return f"! images of shape {galaxies.images.shape}"
    lengths = {len(galaxies.target), n_images}
    lengths |= {len(galaxies.table)} if galaxies.table.colnames else set()
    if len(lengths) > 1:
        return f"! lengths differ: {lengths}"
    if not np.isin(galaxies.target, galaxies.target_names).all():
        return "! unknown names of classes"
    if same and pixels is not None:
        if not np.array_equal(galaxies.images, pixels):
            return "! other pixels of a cut or checked file"
        if galaxies.label.tolist() != LABELS:
            return "! other labels of a cut or checked file"
    try:
        lazy = read_galaxy10(path, verbose=0, lazy=True)
        equal = np.array_equal(lazy.images[:], galaxies.images, equal_nan=True)
    except BaseException as error:
        return f"! only lazily refused: {error!r}"
    return "read" if equal else "! other pixels with lazy=True"
