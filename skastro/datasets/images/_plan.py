# SPDX-License-Identifier: BSD-3-Clause
"""Headers of image files, which tell whether the images can form one array."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skastro.datasets._failures import Failure
from skastro.datasets.images._cutouts import Grid, Header, Steps
from skastro.datasets.images._names import Named
from skastro.datasets.images._select_images import in_threads, reason_of
from skastro.utils import check_memory, fitting_factor, zoomed_shape

# Pixels by which an image may be off at its edge before it is resampled.
_TOLERANCE = 0.1
# Pixels by which bands of an object may be off each other.
_MOST_OFF = 0.5
_MOST_NAMED = 5


class Planned(NamedTuple):
    """An object, its new pixels in those of each file, and their width in arcsec."""

    named: Named
    grids: tuple[Grid, ...]
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
        if len(good) == len(found):
            grids = [
                _grid_of(header, path, good[0], named.paths[0], steps, pixel_scale)
                for path, header in zip(named.paths, good, strict=True)
            ]
            bad = [grid for grid in grids if isinstance(grid, Failure)]
        else:
            bad = [header for header in found if isinstance(header, Failure)]
        if bad:
            failures += bad
            left_out += other_bands(named, {failure.path for failure in bad})
            continue
        kept = tuple(grid for grid in grids if isinstance(grid, Grid))
        for path, header, grid in zip(named.paths, good, kept, strict=True):
            height, width = _new_shape(header, grid)
            sizes.setdefault(f"({height}, {width})", []).append(path)
            kind = _describe_kind(header, len(kept))
            kinds.setdefault(kind, []).append(path)
        scale = good[0].pixel_scale * kept[0].factor
        if steps.size is not None and steps.resize:
            scale *= fitting_factor(good[0].shape, steps.size)
        planned.append(Planned(named, kept, scale))
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
            path,
            "its header states no pixel scale of square pixels, which pixel_scale=... "
            "needs",
        )
    return header


def _grid_of(
    header: Header,
    path: str,
    first: Header,
    first_path: str,
    steps: Steps,
    pixel_scale: float | None,
) -> Grid | Failure:
    """Find the new pixels of a band, at the places of those of the first band."""
    height, width = header.shape[:2]
    if pixel_scale is None and header.shape[:2] != first.shape[:2]:
        return Failure(
            path,
            f"its {height} x {width} pixels are not the {first.shape[0]} x "
            f"{first.shape[1]} of {first_path!r}; pixel_scale=... and size=... bring "
            "bands to one grid, by the coordinates in their headers",
        )
    grid = Grid(_factor(header, pixel_scale))
    if header is not first and header.place is not None and first.place is not None:
        offset, matrix = _map_pixels(first.place, header.place)
        start = Grid(_factor(first, pixel_scale))
        corner = np.array(_new_shape(first, start)) / 2
        if steps.size is not None and not steps.resize:
            corner = np.minimum(corner, np.array(steps.size) / 2)
        corners = corner[:, None] * [[1, 1], [1, -1]]
        turned = start.factor * matrix @ corners / grid.factor - corners
        off = np.abs(turned).max()
        if pixel_scale is None:
            off = (np.abs(turned).max(axis=1) + np.abs(offset)).max()
        elif grid.factor != 1 or np.abs(offset).max() > _TOLERANCE:
            grid = Grid(grid.factor, (float(offset[0]), float(offset[1])))
        if not off <= _MOST_OFF:
            advice = "bring them to one grid first, by reproject for instance"
            if pixel_scale is None:
                advice = "pixel_scale=... and size=... bring shifted bands to one grid"
            return Failure(
                path,
                f"its pixels are up to {off:.3g} pixels off those of {first_path!r} on "
                f"the sky; {advice}",
            )
    if 0 in _new_shape(header, grid):
        return Failure(
            path,
            f"its {height} x {width} pixels of {header.pixel_scale:g} arcsec are less "
            f"than one of {pixel_scale:g} about the center of {first_path!r}",
        )
    largest = max(math.prod(_new_shape(header, grid)), math.prod(steps.size or (0,)))
    n_bytes = largest * math.prod(header.shape[2:]) * (1 if header.is_bytes else 4)
    try:
        check_memory(n_bytes, path, steps.max_bytes)
    except OSError as error:
        return Failure(path, reason_of(path, error))
    return grid


def _map_pixels(first: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map pixels of a band to those of another, by their places, linearly.

    Returns where the center of the first is, from that of the other, and the matrix of
    steps, all in rows and columns; NaN where the other is not on this half of the sky.
    """
    (center, *_), steps = first, (first[1:] - first[0])[::-1].T
    own = (other[1:] - other[0])[::-1].T
    if center @ other[0] <= 0:
        return np.full(2, np.nan), np.full((2, 2), np.nan)
    # The direction to the center crosses the plane of the other image.
    offset = np.linalg.solve(np.column_stack([own, -center]), -other[0])[:2]
    return offset, np.linalg.pinv(own) @ steps


def _factor(header: Header, pixel_scale: float | None) -> float:
    """Return the width of a new pixel in old ones; 1 where they are nearly alike."""
    if pixel_scale is None:
        return 1.0
    factor = pixel_scale / header.pixel_scale
    return 1.0 if abs(factor - 1) * max(header.shape[:2]) < _TOLERANCE else factor


def _new_shape(header: Header, grid: Grid) -> tuple[int, int]:
    if grid == Grid():
        return header.shape[0], header.shape[1]
    return zoomed_shape(header.shape, *grid)


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
