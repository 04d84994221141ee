# SPDX-License-Identifier: BSD-3-Clause
"""Galaxy10, simulated images of galaxies, and votes of Galaxy Zoo."""

from skastro.datasets.galaxies._galaxy10 import fetch_galaxy10, read_galaxy10
from skastro.datasets.galaxies._make_galaxies import make_galaxies, read_galaxies
from skastro.datasets.galaxies._votes import read_votes

__all__ = [
    "fetch_galaxy10",
    "make_galaxies",
    "read_galaxies",
    "read_galaxy10",
    "read_votes",
]
