# SPDX-License-Identifier: BSD-3-Clause
"""What a file or a folder is."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from sklearn.utils import Bunch

from skastro.cli._read import read_any_images
from skastro.datasets import read_spectra
from skastro.persistence import model_card

# Problems, classes and layouts that are listed one by one.
_LISTED = 12


def describe_file(source: str) -> str:
    """Describe a file or folder of spectra or images, or a model."""
    path = Path(source)
    if path.suffix.lower() == ".skastro":
        return f"{path}: a fitted model\n\n{model_card(path)}"
    if path.is_file() and h5py.is_hdf5(path):
        return "\n".join(_of_images(path, read_any_images([source], lazy=True)))
    try:
        with warnings.catch_warnings():
            # What could not be read is listed.
            warnings.simplefilter("ignore", UserWarning)
            spectra = read_spectra(path, recursive=True, verbose=0)
        return "\n".join(_of_spectra(path, spectra))
    except (ValueError, OSError) as no_spectra:
        try:
            return "\n".join(_of_images(path, read_any_images([source], lazy=True)))
        except (ValueError, OSError) as no_images:
            raise ValueError(
                f"{path} holds neither spectra nor images. As spectra: {no_spectra} "
                f"As images: {no_images}"
            ) from no_images


def _of_spectra(path: Path, spectra: Bunch) -> Iterator[str]:
    n_spectra, n_pixels = spectra.flux.shape
    grid = ""
    if spectra.wavelength is not None:
        low, high = spectra.wavelength[[0, -1]]
        grid = f" from {low:g} to {high:g} {spectra.wavelength_unit}"
    # Files of one spectrum each have grids of their own.
    verb = "brought to" if spectra.layout == "single-files" else "of"
    yield f"{path}: {n_spectra} spectra {verb} {n_pixels} pixels{grid}"
    if spectra.layout == "single-files":
        yield f"layouts: {_count(spectra.table['layout'])}"
    else:
        yield f"layout: {spectra.layout}"
    columns = spectra.table.colnames
    more = ", ..." if len(columns) > _LISTED else ""
    yield f"columns: {', '.join(columns[:_LISTED])}{more}"
    if spectra.left_out:
        yield f"left out: {_count([kind for _, kind in spectra.left_out])}"
    unknown = np.isnan(spectra.flux).mean(axis=1)
    yield f"spectra with pixels that are not covered: {np.sum(unknown > 0)}"
    yield from _of_all(spectra)


def _of_images(path: Path, images: Bunch) -> Iterator[str]:
    n_images, *shape = images.images.shape
    size = " x ".join(map(str, shape))
    yield f"{path}: {n_images} images of {size}, {images.images.dtype}"
    yield from _of_all(images)


def _of_all(data: Bunch) -> Iterator[str]:
    """Tell the classes, and what could not be read."""
    if data.target is None:
        yield "classes: none"
    elif data.target_names is None:
        low, high = np.nanmin(data.target), np.nanmax(data.target)
        yield f"target: numbers from {low:g} to {high:g}"
    else:
        yield f"classes: {_count(data.target)}"
    failures = list(data.get("failures") or ())
    if failures:
        yield f"not read: {len(failures)}"
    yield from (f"  {name}: {reason}" for name, reason in failures[:_LISTED])
    if len(failures) > _LISTED:
        yield f"  and {len(failures) - _LISTED} more"


def _count(values: Iterable[Any]) -> str:
    names, counts = np.unique(np.asarray(values).astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    texts = [f"{names[row] or 'unknown'} {counts[row]}" for row in order[:_LISTED]]
    if len(names) > _LISTED:
        texts.append(f"and {len(names) - _LISTED} more")
    return ", ".join(texts)
