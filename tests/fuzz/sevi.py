# SPDX-License-Identifier: BSD-3-Clause
"""Damaged files of electron images: text, lists of pixels, arrays, pages and tables.

Where all damages of a text are harmless, such as blanks and comments, the image must be
the undamaged one.
"""

import bz2
import gzip
import io
import lzma
import random
import re
import tempfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from . import Case, apply, cut, error_outcome, flip_bytes

COUNTS = np.random.default_rng(0).integers(0, 300, (8, 8)).astype(np.float32)
NUMBERS = ["nan", "inf", "-inf", "-5", "1e400", "1e38", "1e-45", "abc", "", "0x1F"]
NUMBERS += ["1_000", "\uff11", "1,5", "9" * 400, "1j", "True", "1 2", "'3'", "+", "--1"]
NUMBERS += ["\x00", "1e", "#", "\u22125", "255.0000001", "4294967296", "None"]
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def tables() -> dict[str, np.ndarray]:
    """Return the tables of a file of images, and of one of electrons."""
    rng = np.random.default_rng(1)
    images = np.zeros(3, [("ImageId", int), ("Image", "u2", (8, 8))])
    images["ImageId"], images["Image"] = [4, 5, 6], rng.integers(0, 99, (3, 8, 8))
    shells = np.zeros(6, [("SphereId", int), ("R", float), ("beta", float, 12)])
    shells["SphereId"], shells["R"] = [4, 5, 6] * 2, rng.uniform(0.1, 0.9, 6)
    shells["beta"] = rng.uniform(-0.5, 0.5, (6, 12))
    names = [("DistributionId", int), ("R", float), ("sigma_R", float)]
    distributions = np.zeros(3, [*names, ("beta", float, 12)])
    distributions["DistributionId"], distributions["R"] = [1, 2, 3], [0.2, 0.4, 0.6]
    electrons = np.zeros(50, [("DistributionId", int), ("x", float), ("z", float)])
    electrons["DistributionId"] = rng.integers(1, 4, 50)
    electrons["x"], electrons["z"] = rng.uniform(-0.5, 0.5, (2, 50))
    return {
        "FinalImage": images,
        "Answer": shells,
        "DistributionParameters": distributions,
        "DetectedElectrons": electrons,
    }


def texts() -> dict[str, str]:
    rows = [" ".join(f"{value:g}" for value in row) for row in COUNTS]
    y, x = np.indices(COUNTS.shape)
    points = zip(x.ravel(), y.ravel(), COUNTS.ravel(), strict=True)
    pixels = [f"{x} {y} {count:g}" for x, y, count in points]
    found = {}
    for name, lines in (("rows", rows), ("list", pixels)):
        text = "\n".join(lines) + "\n"
        found[f"{name}.txt"] = text
        found[f"{name}.csv"] = text.replace(" ", ",")
        found[f"{name}.dat"] = text.replace(" ", "; ")
        found[f"{name}-tabs.txt"] = text.replace(" ", "\t")
    found["list-heading.csv"] = "x,y,count\n" + found["list.csv"]
    swapped = [" ".join(np.array(line.split())[[1, 0, 2]]) for line in pixels]
    found["list-rows-first.txt"] = "\n".join(["y x count", *swapped])
    return found


@cache
def originals() -> dict[str, bytes]:
    """Return small good files; those of text and gray levels hold COUNTS."""
    files = {name: text.encode() for name, text in texts().items()}
    files |= {
        f"rows.txt{suffix}": pack(files["rows.txt"]) for suffix, pack in PACKERS.items()
    }
    files["bom.txt"] = texts()["rows.txt"].encode("utf-8-sig")
    files["utf16.txt"] = texts()["list.txt"].encode("utf-16")
    for dtype in ("<f4", ">f8", "<u2", ">i4"):
        buffer = io.BytesIO()
        np.save(buffer, np.asfortranarray(COUNTS.astype(dtype)))
        files[f"{dtype}.npy"] = buffer.getvalue()
    pages = [Image.fromarray(COUNTS), Image.fromarray(COUNTS[::-1].copy())]
    for name, options in {
        "page.tif": {},
        "deflated.tif": {"compression": "tiff_adobe_deflate"},
        "pages.tif": {"save_all": True, "append_images": pages[1:]},
    }.items():
        buffer = io.BytesIO()
        pages[0].save(buffer, "TIFF", **options)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(COUNTS.astype(np.uint16)).save(buffer, "PNG")
    files["gray.png"] = buffer.getvalue()
    kinds = {"images": ("FinalImage", "Answer"), "all": tuple(tables())}
    kinds |= {"electrons": ("DistributionParameters", "DetectedElectrons")}
    kinds |= {"shells": ("Answer",), "latest": ("FinalImage", "Answer")}
    for name, kept in kinds.items():
        libver = "latest" if name == "latest" else None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            with h5py.File(path, "w", libver=libver) as file:
                for table in kept:
                    # Checksums find each damage of the data.
                    file.create_dataset(
                        table,
                        data=tables()[table],
                        fletcher32=name == "latest" or None,
                    )
            files[f"{name}.h5"] = path.read_bytes()
    return files


def names() -> list[str]:
    return sorted(originals())


def is_text(name: str) -> bool:
    return name.endswith((".txt", ".csv", ".dat"))


# Damages that leave the numbers as they are -------------------------------------------


def change_lines(content: bytearray, change) -> None:
    """Change the lines of a plain text, in its encoding."""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if utf16 else "utf-8"
    lines = bytes(content).decode(encoding).split("\n")
    if not re.search(r"\d", lines[-2]):
        raise ValueError("no text")
    content[:] = "\n".join(change(lines)).encode(encoding)


def add_blanks(content: bytearray, rng: random.Random) -> None:
    blanks = rng.choice([" ", "   ", "\t", "\r"])
    change_lines(content, lambda lines: [f"{line}{blanks}" for line in lines])


def add_empty_lines(content: bytearray, rng: random.Random) -> None:
    row, line = rng.random(), rng.choice(["", "  ", "# comment 1 2 3", "#\xb5"])

    def insert(lines: list[str]) -> list[str]:
        # A byte-order mark stays at the beginning.
        number = 1 + int(row * (len(lines) - 1))
        return [*lines[:number], line, *lines[number:]]

    change_lines(content, insert)


def write_otherwise(content: bytearray, rng: random.Random) -> None:
    style = rng.choice(["{:.3f}", "{:e}", "+{:g}", "{:08.1f}", "{:G}"])

    def rewrite(lines: list[str]) -> list[str]:
        return [
            re.sub(r"[\d.]+", lambda found: style.format(float(found[0])), line)
            if re.fullmatch(r"[\ufeff\d.\s,;]*", line)
            else line
            for line in lines
        ]

    change_lines(content, rewrite)


def comment_line_ends(content: bytearray, rng: random.Random) -> None:
    change_lines(
        content, lambda lines: [f"{x} # {x}" if x.strip() else x for x in lines]
    )


HARMLESS = [add_blanks, add_empty_lines, write_otherwise, comment_line_ends]

# Damages ------------------------------------------------------------------------------


def put_number(content: bytearray, rng: random.Random) -> None:
    found = [*re.finditer(rb"[^\s,;]+", content)]
    start, stop = rng.choice(found).span()
    content[start:stop] = rng.choice(NUMBERS).encode("utf-8")


def drop_number(content: bytearray, rng: random.Random) -> None:
    start, stop = rng.choice([*re.finditer(rb"[^\s,;]+[\s,;]?", content)]).span()
    del content[start:stop]


def change_line_order(content: bytearray, rng: random.Random) -> None:
    row, action = rng.random(), rng.randrange(3)

    def change(lines: list[str]) -> list[str]:
        number = int(row * len(lines))
        kept = lines[:number] + lines[number + 1 :]
        return [kept, [lines[number], *lines], [*kept, lines[number]]][action]

    change_lines(content, change)


def change_separator(content: bytearray, rng: random.Random) -> None:
    found = [*re.finditer(rb"[ \t,;]+", content)]
    start, stop = rng.choice(found).span()
    content[start:stop] = rng.choice([b",", b";", b" ", b"|", b"\t", b",,", b"\n"])


def pack(content: bytearray, rng: random.Random) -> None:
    content[:] = rng.choice([*PACKERS.values()])(bytes(content))


def splice(content: bytearray, rng: random.Random) -> None:
    other = rng.choice([*originals().values()])
    content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]


DAMAGES = [*HARMLESS, put_number, drop_number, change_line_order, change_separator]
DAMAGES += [flip_bytes, cut, splice, pack]


def build(case: Case) -> bytes:
    return apply(DAMAGES, case, originals()[case[0]])


def attempt(case: Case, folder: Path) -> str:
    from skastro.sevi import read_sevi

    name, damages = case
    path = folder / f"damaged_{name}"
    path.write_bytes(build(case))
    harmless = all(DAMAGES[number] in HARMLESS for number, _ in damages)
    # Damages of texts do not change other files.
    harmless = harmless and (is_text(name) or name.endswith((".txt.gz", ".npy", ".h5")))
    try:
        sevi = read_sevi(path, verbose=0)
    except BaseException as error:
        if harmless:
            return f"! refused after harmless damages: {error!r}"
        return error_outcome(error, path)
    if problem := contradiction(sevi, name, harmless):
        return f"! {problem}"
    if path.suffix not in (".npy", ".h5") or sevi.kind not in ("plain", "images"):
        return "read"
    try:
        lazy = read_sevi(path, verbose=0, lazy=True)
        same = np.array_equal(lazy.images[:], sevi.images)
    except BaseException as error:
        return f"! only lazily refused: {error!r}"
    return "read" if same else "! other pixels with lazy=True"


def contradiction(sevi: dict, name: str, harmless: bool) -> str:
    """Describe what is wrong with a result; empty if nothing is."""
    images = sevi.images
    if images is not None:
        if images.ndim != 3 or images.dtype.kind not in "iuf":
            return f"images of shape {images.shape} and type {images.dtype}"
        if not (np.isfinite(images).all() and (images >= 0).all()):
            return "pixels that are no counts"
        if harmless and sevi.kind == "plain" and not np.array_equal(images, [COUNTS]):
            return "other numbers after harmless damages"
    if name == "latest.h5":
        original = np.zeros(0) if images is None else images
        if not np.array_equal(original, tables()["FinalImage"]["Image"]):
            return "other pixels, although there are checksums"
        beta = np.zeros(0) if sevi.beta is None else sevi.beta.reshape(3, 2, 12)
        rows = tables()["Answer"].reshape(2, 3).T
        order = np.argsort(rows["R"], axis=1)
        expected = np.take_along_axis(rows["beta"], order[..., None], axis=1)
        if not np.array_equal(beta, expected):
            return "other coefficients, although there are checksums"
    if sevi.radius is not None:
        n_images = len(sevi.radius if images is None else images)
        if len(sevi.radius) != n_images or len(sevi.image_id) != n_images:
            return "lengths differ"
        if (np.diff(sevi.radius, axis=1) < 0).any() or (sevi.radius < 0).any():
            return "radii are not ascending"
        if sevi.beta is not None and sevi.beta.shape[1] != 12 * sevi.radius.shape[1]:
            return "coefficients do not fit the radii"
        if np.isinf(sevi.radius).any():
            return "infinite radii"
    return ""
