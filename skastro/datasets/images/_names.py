# SPDX-License-Identifier: BSD-3-Clause
"""Which object, and which band, the name of an image file tells."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from skastro.datasets._failures import Failure
from skastro.datasets.images._select_images import list_images
from skastro.utils import IMAGE_SUFFIXES, read_path_list

_FITS = (".fits", ".fit", ".fts")
# Endings of files, in lower case: those of images, and of compressed FITS files.
_PACKED = (".gz", ".fz")
ENDINGS = (
    *sorted(IMAGE_SUFFIXES),
    *_FITS,
    *(fits + packed for fits in _FITS for packed in _PACKED),
)
# What may stand between the object and the band.
_SEPARATORS = "[-_.]"


class Named(NamedTuple):
    """An object by its name, and its files, one for each band."""

    id: str
    paths: tuple[str, ...]


def list_files(
    source: str | os.PathLike | Iterable[str | os.PathLike],
) -> tuple[list[str], list[Failure]]:
    """Return the image files of a folder, a list or a text file, and failures."""
    failures: list[Failure] = []
    if not isinstance(source, str | os.PathLike):
        if hasattr(source, "read") or not isinstance(source, Iterable):
            raise TypeError(
                f"source must be a folder, or paths of images; got {source!r}."
            )
        paths = [os.fsdecode(path) for path in source]
        where = "the list of files is empty"
    elif os.path.isdir(source):
        paths, failures = list_images(os.fsdecode(source), ENDINGS)
        where = (
            f"{os.fsdecode(source)!r} and the folders below it hold no file that ends "
            f"in {', '.join(ENDINGS[:-2])}"
        )
    elif os.fsdecode(source).lower().endswith(ENDINGS):
        paths, where = [os.fsdecode(source)], ""
    else:
        paths = read_path_list(source)
        where = f"the list {os.fsdecode(source)!r} is empty"
    if not paths:
        raise ValueError(f"There are no images: {where}.")
    return paths, failures


def name_of(path: str) -> str:
    """Return the name of a file without its folder and its ending.

    >>> name_of("stamps/J0004.1+0209.24.fits.fz"), name_of("J0004.1")
    ('J0004.1+0209.24', 'J0004.1')
    """
    name = os.path.basename(path)
    ending = max(
        (ending for ending in ENDINGS if name.lower().endswith(ending)),
        key=len,
        default="",
    )
    return name[: len(name) - len(ending)] or name


class NamePattern(NamedTuple):
    """The expression that names of files match, with so many of their folders."""

    expression: re.Pattern
    n_folders: int

    def match(self, path: str) -> re.Match | None:
        """Match the end of a path without its ending."""
        folders = Path(path).parts[:-1]
        tail = folders[max(0, len(folders) - self.n_folders) :]
        return self.expression.fullmatch("/".join([*tail, name_of(path)]))


def check_bands(bands: Sequence[str] | None, pattern: str | None) -> NamePattern | None:
    """Return the pattern of names of files; None if each name is that of an object."""
    if bands is not None:
        if isinstance(bands, str) or not all(isinstance(band, str) for band in bands):
            raise TypeError(
                "bands must be a sequence of names, as in ('g', 'r', 'z'); got "
                f"{bands!r}."
            )
        if not bands or len({*bands}) < len(bands) or "" in bands:
            raise ValueError(f"bands must be different names; got {bands!r}.")
    if pattern is None:
        if bands is None:
            return None
        expression = f"{{id}}{_SEPARATORS}{{band}}"
    else:
        wanted = {"{id}": 1, "{band}": 0 if bands is None else 1}
        if not isinstance(pattern, str) or any(
            pattern.count(key) != number for key, number in wanted.items()
        ):
            raise ValueError(
                "pattern must be the name of a file without its ending, with {id} "
                f"{'and {band} ' if bands is not None else ''}once each"
                f"{' and no {band}, unless bands is given' if bands is None else ''}; "
                f"got {pattern!r}."
            )
        if "*{id}" in pattern or "{id}*" in pattern:
            raise ValueError(
                "pattern must say what is between {id} and *, as in '{id}_*': "
                f"otherwise any part of a name may be that of the object; got "
                f"{pattern!r}."
            )
        expression = re.escape(pattern).replace(r"\*", ".*")
        for key in wanted:
            expression = expression.replace(re.escape(key), key)
    # The longest first: one band may begin as another does.
    options = "|".join(map(re.escape, sorted(bands or [""], key=len, reverse=True)))
    expression = expression.replace("{id}", "(?P<id>.+)")
    expression = expression.replace("{band}", f"(?P<band>{options})")
    return NamePattern(re.compile(expression, re.DOTALL), (pattern or "").count("/"))


def name_objects(
    paths: Sequence[str], bands: Sequence[str] | None, pattern: NamePattern | None
) -> tuple[list[Named], list[Failure]]:
    """Sort files by the objects that their names tell; return those left out, too."""
    left_out: list[Failure] = []
    found: dict[str, dict[str, str]] = {}
    objects: list[Named] = []
    for path in paths:
        match = None if pattern is None else pattern.match(path)
        if pattern is None:
            objects.append(Named(name_of(path), (path,)))
        elif match is None:
            reason = "its name does not have the form of pattern"
            if bands is not None:
                reason = f"its name is not that of an object and one of bands={bands}"
            left_out.append(Failure(path, reason))
        elif bands is None:
            objects.append(Named(match["id"], (path,)))
        else:
            of_object = found.setdefault(match["id"], {})
            if match["band"] in of_object:
                raise ValueError(
                    f"Two files are the band {match['band']!r} of {match['id']!r}: "
                    f"{of_object[match['band']]!r} and {path!r}. Give the paths of one."
                )
            of_object[match["band"]] = path
    for name, files in found.items():
        missing = [band for band in bands or () if band not in files]
        if not missing:
            objects.append(Named(name, tuple(files[band] for band in bands or ())))
            continue
        reason = f"{name!r} has no file of band {', '.join(map(repr, missing))}"
        left_out += [Failure(path, reason) for path in files.values()]
    if not objects:
        advice = "Set bands and pattern after the names of the files."
        raise ValueError(
            f"No image is complete: {left_out[0].path!r}: {left_out[0].reason}. "
            f"{len(left_out)} files are left out. {advice}"
        )
    return objects, left_out
