# SPDX-License-Identifier: BSD-3-Clause
"""Shells of electrons, measured in images from files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from sklearn.utils import Bunch

from skastro.cli._output import check_output
from skastro.sevi import fit_shells, read_sevi
from skastro.streaming._to_catalog import write_table


def measure_shells(
    files: Sequence[str],
    out: str,
    *,
    n_shells: int,
    polarization_axis: int,
    convention: str,
    quick: bool,
    overwrite: bool,
) -> Table:
    """Fit shells to all images, and write a table with a row for each shell."""
    check_output(out, overwrite)
    tables = []
    for file in files:
        sevi = read_sevi(file, polarization_axis=polarization_axis)
        shells = fit_shells(
            sevi.images,
            n_shells,
            polarization_axis=sevi.polarization_axis,
            convention=convention,
            distortion=False if quick else "auto",
            verbose=1,
        )
        tables.append(_as_table(Path(file).name, shells, convention))
    table = vstack(tables)
    table.meta["CONVENTN"] = convention
    if table["out_of_range"].all():
        warnings.warn(
            "No image shows the shells that are looked for: images must be centered, "
            "with --n-shells shells whose radii are 0.3 to 0.9 of half the side. "
            "SEVIRegressor fits others; see examples/plot_measure_anisotropy.py.",
            UserWarning,
            stacklevel=2,
        )
    write_table(table, Path(out))
    return table


def _as_table(name: str, shells: Bunch, convention: str) -> Table:
    n_images, n_shells = shells.radius.shape
    table = Table(
        {
            "file": np.full(n_images * n_shells, name),
            "image": np.repeat(np.arange(n_images), n_shells),
            "shell": np.tile(np.arange(n_shells), n_images),
        }
    )
    for key in ("radius", "radius_width", "n_electrons"):
        table[key] = shells[key].ravel()
        table[f"{key}_error"] = shells[f"{key}_std"].ravel()
    letter = "beta" if convention == "density" else "b"
    for degree in range(shells.beta.shape[2]):
        table[f"{letter}_{degree + 1}"] = shells.beta[..., degree].ravel()
        error = shells.beta_std[..., degree].ravel()
        table[f"{letter}_{degree + 1}_error"] = error
    for key in ("misfit", "out_of_range"):
        table[key] = np.repeat(shells[key], n_shells)
    table["radius"].description = "in units of half the side of the image"
    table["radius_width"].description = "standard deviation, in the units of radius"
    table["n_electrons"].description = "with those that miss the image"
    table[
        "misfit"
    ].description = (
        "standard deviations by which chi-square exceeds its expectation; bad above 6"
    )
    table["out_of_range"].description = "the image does not show such shells"
    for name in table.colnames:
        if name.endswith("_error"):
            table[name].description = "standard deviation"
    return table
