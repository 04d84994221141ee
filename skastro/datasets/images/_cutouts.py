# SPDX-License-Identifier: BSD-3-Clause
"""Images of one size, which files of any size and kind become when they are read."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike

from skastro.datasets._failures import Failure
from skastro.datasets.images._select_images import N_THREADS, reason_of
from skastro.datasets.spectra._fields import floats
from skastro.utils import (
    crop_pad,
    describe_fits_image,
    error_text,
    fit_into,
    holds_fits,
    plain_array,
    read_image,
    read_image_header,
    read_masked_fits_image,
    zoom,
)

# Functions of astropy that make a color image of three bands, red first.
_COLOR_FUNCTIONS = ("make_lupton_rgb", "make_rgb")


class Header(NamedTuple):
    """Height, width, any channels; if pixels are bytes; arcsec per pixel; directions.

    The directions are those of ``describe_fits_image``.
    """

    shape: tuple[int, ...]
    is_bytes: bool
    pixel_scale: float
    place: np.ndarray | None


class Grid(NamedTuple):
    """The width of new pixels in old ones, and how far their center is from the old."""

    factor: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)


class Cutout(NamedTuple):
    """An image of an object; how many values were filled; a hash of its files."""

    image: np.ndarray
    n_filled: int
    digest: bytes


@dataclass(frozen=True)
class Steps:
    """What is done with each image, in this order.

    Values that are masked or not finite are filled, the image is resampled, cut and
    padded, and stretched.
    """

    hdu: int | str | None = None
    mask: int | str | None = None
    fill_value: float | str = "median"
    size: tuple[int, int] | None = None
    resize: bool = False
    stretch: Callable[[np.ndarray], ArrayLike] | None = None
    max_bytes: float | None = None

    def describe(self, path: str) -> Header | Failure:
        """Read what the header of a file tells about its image."""
        try:
            if holds_fits(path):
                shape, dtype, scale, place = describe_fits_image(
                    path, self.hdu, max_bytes=self.max_bytes
                )
                shape = (*shape[-2:], *shape[:-2])
            else:
                (shape, dtype), scale, place = read_image_header(path), np.nan, None
        # One bad file must not stop the work on the others.
        except Exception as error:
            return Failure(path, reason_of(path, error))
        return Header(tuple(shape), dtype == np.uint8, scale, place)

    def read(self, paths: Sequence[str], grids: Sequence[Grid]) -> Cutout | Failure:
        """Read the image of an object; of several files each is a band.

        `grids` are the new pixels of each file in its own.
        """
        digest = hashlib.blake2b(digest_size=16)
        bands, n_filled = [], 0
        for path, grid in zip(paths, grids, strict=True):
            try:
                image, bad = self._decode(path)
                digest.update(f"{image.shape} {image.dtype}".encode())
                digest.update(np.ascontiguousarray(image))
                n_filled += int(bad.sum())
                bands.append(self._bring_to_size(image, bad, grid))
            except Exception as error:
                return Failure(path, reason_of(path, error))
        image = bands[0]
        if len(bands) > 1:
            planes = [band.reshape(band.shape[:2]) for band in bands]
            image = np.stack(planes, axis=-1)
        if self.stretch is not None:
            try:
                image = _stretch(self.stretch, image)
            except Exception as error:
                return Failure(paths[0], f"stretch failed: {error_text(error)}")
        return Cutout(image, n_filled, digest.digest())

    def _bring_to_size(
        self, image: np.ndarray, bad: np.ndarray, grid: Grid
    ) -> np.ndarray:
        whole = np.atleast_1d(bad.all(axis=(0, 1)))
        if whole.any():
            where = "" if bad.ndim == 2 else f" in band {whole.argmax()}"
            raise ValueError(f"all of its pixels are NaN or masked{where}")
        new = image
        if bad.any():
            new = np.where(bad, self._fill_of(image, bad), image)
        if grid != Grid():
            new = zoom(new, *grid)
        if self.size is None or new.shape[:2] == self.size:
            return new
        if self.resize:
            return fit_into(new, self.size)
        is_padded = np.less(new.shape[:2], self.size).any()
        return crop_pad(new, self.size, self._fill_of(image, bad) if is_padded else 0)

    def _decode(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels, bytes or single precision, and where they are bad."""
        mask = None
        if holds_fits(path):
            pixels, mask = read_masked_fits_image(
                path, self.hdu, self.mask, max_bytes=self.max_bytes
            )
            if pixels.ndim == 3:
                pixels = np.moveaxis(pixels, 0, -1)
                mask = None if mask is None else np.moveaxis(mask, 0, -1)
        elif self.mask is not None:
            raise ValueError(f"only FITS files have a mask={self.mask!r}")
        else:
            pixels = read_image(path, self.max_bytes)
        if pixels.dtype != np.uint8:
            # It says itself which numbers are too large.
            with np.errstate(over="ignore"):
                pixels = floats(pixels, "the image")
        bad = np.zeros(pixels.shape, bool) if mask is None else mask
        if pixels.dtype.kind == "f":
            bad = bad | ~np.isfinite(pixels)
        return pixels, bad

    def _fill_of(self, image: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """Return the value, of each channel, for bad pixels and padding."""
        if self.fill_value != "median":
            return np.asarray(self.fill_value, image.dtype)
        planes = np.moveaxis(image.reshape(*image.shape[:2], -1), -1, 0)
        masks = np.moveaxis(bad.reshape(planes.shape[1:] + planes.shape[:1]), -1, 0)
        medians = [
            np.median(plane[~mask]) for plane, mask in zip(planes, masks, strict=True)
        ]
        fill = np.array(medians).reshape(image.shape[2:])
        return (np.rint(fill) if image.dtype == np.uint8 else fill).astype(image.dtype)


def _stretch(stretch: Callable, image: np.ndarray) -> np.ndarray:
    """Apply a function of astropy or of the user to an image."""
    function = getattr(stretch, "func", stretch)
    name = getattr(function, "__name__", type(function).__name__)
    if name in _COLOR_FUNCTIONS:
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"{name} makes colors of three bands, but the image has the shape "
                f"{image.shape}"
            )
        blue, green, red = np.moveaxis(image, -1, 0)
        new = stretch(red, green, blue)
    else:
        new = stretch(image)
    new = plain_array(new, "the stretched image")
    if new.ndim not in (2, 3) or new.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"stretch returned the shape {new.shape} for an image {image.shape}; "
            "height and width must stay"
        )
    if new.dtype != np.uint8:
        with np.errstate(over="ignore"):
            new = floats(new, "the stretched image")
    if not np.isfinite(new).all():
        raise ValueError("stretch returned NaN or infinity for finite pixels")
    return new


class CutoutRows:
    """The images of many objects as the source of a ``LazyArray``.

    `jobs` are the arguments of ``steps.read`` for each object.
    """

    def __init__(
        self,
        jobs: Sequence[tuple[tuple[str, ...], tuple[Grid, ...]]],
        steps: Steps,
        image_shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        self.jobs = jobs
        self.steps = steps
        self.shape = (len(jobs), *image_shape)
        self.dtype = dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        numbers = np.arange(*rows.indices(len(self.jobs)))
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        self.read_rows(numbers, out)
        return out

    def read_rows(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read images in any order into an array."""
        n_threads = min(N_THREADS, joblib.cpu_count(), len(rows))
        if n_threads <= 1:
            for row, image in zip(rows, out, strict=True):
                self._read_into(image, row)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            # list() raises the first error.
            list(pool.map(self._read_into, out, rows))

    def _read_into(self, out: np.ndarray, row: int) -> None:
        cutout = self.steps.read(*self.jobs[row])
        if isinstance(cutout, Failure):
            raise OSError(f"{cutout.path}: {cutout.reason}")
        image = cutout.image
        if image.shape != out.shape or image.dtype != out.dtype:
            raise OSError(
                f"{self.jobs[row][0][0]}: has changed; its image was {out.shape} "
                f"{out.dtype}, and is {image.shape} {image.dtype}."
            )
        out[...] = image
