# SPDX-License-Identifier: BSD-3-Clause
"""A fitted model applied to files."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from skastro.cli._output import check_output, write_catalog
from skastro.cli._read import blank_rows, known_flux, read_any_images
from skastro.datasets import read_spectra
from skastro.estimators import GalaxyClassifier, GalaxyRegressor
from skastro.persistence import load_model


def predict_files(
    model: str,
    files: Sequence[str],
    out: str,
    *,
    device: str | None,
    size: int | None,
    overwrite: bool,
) -> Table:
    """Read spectra or images, whichever a model is for, and write a catalog."""
    check_output(out, overwrite)
    estimator = load_model(model)
    networks = [part for part in _parts(estimator) if hasattr(part, "module_")]
    if device is not None:
        for network in networks:
            network.set_params(device=device)
    takes_images = (GalaxyClassifier, GalaxyRegressor)
    has_images = any(isinstance(network, takes_images) for network in networks)
    try:
        if has_images:
            return _predict_images(estimator, files, out, size)
        return _predict_spectra(estimator, files, out)
    except (ValueError, OSError) as error:
        kind = "images of galaxies" if has_images else "spectra"
        name = type(networks[-1] if networks else estimator).__name__
        raise ValueError(f"{error} ({model} is a {name}, for {kind}.)") from error


def _predict_images(
    estimator: Any, files: Sequence[str], out: str, size: int | None
) -> Table:
    images = read_any_images(files, size=size)
    names = [name for name in ("id", "ra", "dec") if images.get(name) is not None]
    objects = {name: images[name] for name in names}
    return write_catalog(estimator, images.images, out, objects or None)


def _predict_spectra(estimator: Any, files: Sequence[str], out: str) -> Table:
    grids = [getattr(part, "wavelength", None) for part in _parts(estimator)]
    grid = next((grid for grid in grids if grid is not None), None)
    source: Any = files[0] if len(files) == 1 else list(files)
    spectra = read_spectra(source, wavelength=grid, recursive=True)
    n_pixels = getattr(estimator, "n_features_in_", spectra.flux.shape[1])
    if spectra.flux.shape[1] != n_pixels:
        raise ValueError(
            f"The model was fitted on spectra of {n_pixels} pixels, but those of "
            f"{files[0]} have {spectra.flux.shape[1]}. Fit a SpectrumClassifier with "
            "wavelength=..., which takes spectra of any grid."
        )
    table = spectra.table.copy()
    columns = [name for name in table.colnames if np.ndim(table[name]) == 1]
    flux = known_flux(spectra.flux)
    blank = blank_rows(flux)
    if blank.any():
        warnings.warn(
            f"Left out, without any known pixel: {blank.sum()} of {len(blank)}.",
            UserWarning,
            stacklevel=2,
        )
    return write_catalog(estimator, flux[~blank], out, table[columns][~blank])


def _parts(estimator: Any) -> list[Any]:
    """List an estimator and all that it is made of, outside first."""
    inner = [step for _, step in getattr(estimator, "steps", ())]
    inner += getattr(estimator, "estimators_", ())
    inner += [
        getattr(estimator, name)
        for name in ("estimator_", "best_estimator_")
        if hasattr(estimator, name)
    ]
    return [estimator, *(part for step in inner for part in _parts(step))]
