# SPDX-License-Identifier: BSD-3-Clause
"""Simulated galaxies, made piece by piece in several processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.table import Table
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from skastro.simulation import (
    GalaxyCamera,
    GalaxyPopulation,
    RealGalaxyPopulation,
    simulate_galaxies,
)

# Galaxies in one task: enough to hide the cost of handing it to another process.
_TASK = 32

_UNITS = {
    "half_light_radius": "arcsec",
    "position_angle": "deg",
    "rotation": "deg",
    "psf_fwhm": "arcsec",
    "x": "pix",
    "y": "pix",
    "stamp_size": "pix",
}


def simulate_pieces(
    drawn: dict[str, np.ndarray], n_jobs: int | None, *common: Any
) -> Iterator[tuple]:
    """Make the images of all galaxies, piece by piece and in order."""
    n_galaxies = len(drawn["stamp_size"])
    starts = range(0, n_galaxies, _TASK)
    tasks = (
        delayed(_simulate_piece)(
            {name: values[start : start + _TASK] for name, values in drawn.items()},
            start,
            *common,
        )
        for start in starts
    )
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    yield from zip(starts, results, strict=True)


def _simulate_piece(
    galaxies: dict[str, np.ndarray],
    first: int,
    n_neighbours: float,
    population: GalaxyPopulation | RealGalaxyPopulation,
    camera: GalaxyCamera,
    seed: int,
) -> dict[str, np.ndarray]:
    return simulate_galaxies(
        galaxies,
        population=population,
        camera=camera,
        seed=seed,
        first=first,
        n_neighbours=n_neighbours,
    )


def fill_images(
    images: Any,
    pieces: Iterator[tuple],
    drawn: dict[str, np.ndarray],
    size: int,
    split: np.ndarray | None,
    verbose: int,
) -> Table:
    """Put the images where they belong, and collect the parameters in a table."""
    n_galaxies = len(images)
    snr = np.empty(n_galaxies)
    n_neighbours = np.empty(n_galaxies, dtype=np.int64)
    with tqdm(
        total=n_galaxies,
        desc="Simulating galaxies",
        unit=" galaxies",
        disable=not verbose,
    ) as bar:
        for start, piece in pieces:
            rows = slice(start, start + len(piece["snr"]))
            images[rows] = piece["images"].reshape(-1, *images.shape[1:])
            snr[rows] = piece["snr"]
            n_neighbours[rows] = piece["n_neighbours"]
            bar.update(len(piece["snr"]))

    hidden = ("flux", "flux_old", "flux_young", "offset_x", "offset_y")
    table = Table(
        {name: values for name, values in drawn.items() if name not in hidden}
    )
    # A stamp with an odd rest of pixels around it has one more after it than before.
    side = np.minimum(drawn["stamp_size"], size)
    centre = (size - side) // 2 + (side - 1) / 2
    table["x"] = centre + drawn["offset_x"]
    table["y"] = centre + drawn["offset_y"]
    table["n_neighbours"] = n_neighbours
    table["snr"] = snr
    if split is not None:
        table["split"] = split
    for name in set(table.colnames) & set(_UNITS):
        table[name].unit = _UNITS[name]
    return table
