# SPDX-License-Identifier: BSD-3-Clause
"""Headers of image files, which tell whether the images can form one array."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skastro.datasets._failures import Failure
from skastro.datasets.images._cutouts import Header, Steps
from skastro.datasets.images._names import Named
from skastro.datasets.images._select_images import in_threads
from skastro.utils import fitting_factor, zoomed_shape

# Pixels by which an image may be off at its edge before it is resampled.
_TOLERANCE = 0.1
_MOST_NAMED = 5


class Planned(NamedTuple):
    """An object, the widths of its new pixels in those of each file, and in arcsec."""

    named: Named
    factors: tuple[float, ...]
    pixel_scale: float


def plan_images(
    objects: Sequence[Named],
    steps: Steps,
    pixel_scale: float | None,
    failures: list[Failure],
    left_out: list[Failure],
    n_jobs: int | None,
    verbose: int,
) -> list[Planned]:
    """Read headers, and refuse images of which no array can be made.

    Files that cannot be used are added to `failures`, and the other files of their
    objects to `left_out`.
    """
    paths = [path for named in objects for path in named.paths]
    read = in_threads(steps.describe, paths, "Reading headers", n_jobs, verbose)
    headers = iter([*read])
    planned: list[Planned] = []
    sizes: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for named in objects:
        found = [
            _check_header(path, next(headers), len(named.paths), pixel_scale)
            for path in named.paths
        ]
        good = [header for header in found if isinstance(header, Header)]
        if len(good) < len(found):
            bad = [header for header in found if isinstance(header, Failure)]
            failures += bad
            left_out += other_bands(named, {failure.path for failure in bad})
            continue
        factors = tuple(_factor(header, pixel_scale) for header in good)
        for path, header, factor in zip(named.paths, good, factors, strict=True):
            height, width = _new_shape(header, factor)
            sizes.setdefault(f"({height}, {width})", []).append(path)
            kind = _describe_kind(header, len(factors))
            kinds.setdefault(kind, []).append(path)
        scale = good[0].pixel_scale * factors[0]
        if steps.size is not None and steps.resize:
            scale *= fitting_factor(good[0].shape, steps.size)
        planned.append(Planned(named, factors, scale))
    _check_kinds(kinds, steps.fill_value)
    if len(sizes) > 1 and steps.size is None:
        raise ValueError(
            f"The images have {len(sizes)} sizes: {_count(sizes)}. Give size=(height, "
            "width), to which they are cut and padded about their centers, or with "
            "resize=True resampled."
        )
    return planned


def other_bands(named: Named, bad: set[str]) -> list[Failure]:
    """Return the other files of an object of which some cannot be read."""
    reason = f"another band of {named.id!r} cannot be read"
    return [Failure(path, reason) for path in named.paths if path not in bad]


def _check_header(
    path: str, header: Header | Failure, n_files: int, pixel_scale: float | None
) -> Header | Failure:
    """Refuse an image that is no band, or of an unknown scale where it is needed."""
    if isinstance(header, Failure):
        return header
    if n_files > 1 and len(header.shape) == 3 and header.shape[2] > 1:
        return Failure(
            path, f"it is one of several bands, but has {header.shape[2]} itself"
        )
    if pixel_scale is None:
        return header
    if np.isnan(header.pixel_scale):
        return Failure(
            path, "its header states no pixel scale, which pixel_scale=... needs"
        )
    if 0 in _new_shape(header, _factor(header, pixel_scale)):
        return Failure(
            path,
            f"its {header.shape[0]} x {header.shape[1]} pixels of "
            f"{header.pixel_scale:g} arcsec are less than one of {pixel_scale:g}",
        )
    return header


def _factor(header: Header, pixel_scale: float | None) -> float:
    """Return the width of a new pixel in old ones; 1 where they are nearly alike."""
    if pixel_scale is None:
        return 1.0
    factor = pixel_scale / header.pixel_scale
    return 1.0 if abs(factor - 1) * max(header.shape[:2]) < _TOLERANCE else factor


def _new_shape(header: Header, factor: float) -> tuple[int, int]:
    if factor == 1:
        return header.shape[0], header.shape[1]
    return zoomed_shape(header.shape, factor)


def _describe_kind(header: Header, n_files: int) -> str:
    channels = "one channel"
    if len(header.shape) == 3 and n_files == 1:
        channels = f"an axis of {header.shape[2]} channels"
    return f"{channels}, {'bytes' if header.is_bytes else 'floats'}"


def _check_kinds(kinds: dict[str, list[str]], fill_value: float | str) -> None:
    if len(kinds) > 1:
        raise ValueError(
            f"The images are of {len(kinds)} kinds: {_count(kinds)}. Give the paths of "
            "those of one kind, or convert the others."
        )
    is_bytes = any(kind.endswith("bytes") for kind in kinds)
    if is_bytes and fill_value not in ("median", *range(256)):
        raise ValueError(
            f"fill_value={fill_value!r} is a value that images of bytes cannot hold; "
            "give a whole number from 0 to 255."
        )


def _count(paths_of: dict[str, list[str]]) -> str:
    """Count files of each kind, the most frequent first, and name one of each."""
    kinds = sorted(paths_of.items(), key=lambda item: -len(item[1]))
    named = [
        f"{kind}: {len(paths)}, such as {paths[0]!r}"
        for kind, paths in kinds[:_MOST_NAMED]
    ]
    hidden = len(kinds) - _MOST_NAMED
    return "; ".join(named + [f"and {hidden} others"] * (hidden > 0))
