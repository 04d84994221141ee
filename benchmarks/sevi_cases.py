# SPDX-License-Identifier: BSD-3-Clause
"""Conditions under which anisotropies are measured, and test images of each.

Electrons are drawn one by one on a fine grid; every method gets the same electrons in
pixels of its choice. The shells of an image depend only on its number and the seed, so
that they are the same with and without a distortion.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from skastro.sevi import SEVIPrior, SEVISimulator

SIZE = 256
# Size of the grid, and the number of its pixels that are summed to one pixel.
_FINE = 1024
_JOINED = _FINE // SIZE
_CENTERED = (_JOINED, _JOINED // 2)
# Images that are drawn with one seed.
CHUNK = 100
# Chunks from this number on are used to choose settings.
VALIDATION = 10**6


@dataclass(frozen=True)
class Case:
    """A condition.

    Parameters
    ----------
    n_shells : int
        Shells of an image.
    n_electrons : float
        Expected number of electrons of each.
    separation : float, default=None
        Fixed distance of the radii of two shells. None: as the prior has it.
    tilt, ellipticity, background : float, default=0
        As in :class:`~skastro.sevi.SEVISimulator`.
    clean : str, default=None
        Name of the case without the distortion.
    """

    n_shells: int
    n_electrons: float
    separation: float | None = None
    tilt: float = 0.0
    ellipticity: float = 0.0
    background: float = 0.0
    clean: str | None = None

    @property
    def is_round(self) -> bool:
        """Whether images are upright and round."""
        return self.tilt == self.ellipticity == 0

    def simulator(self, size: int = SIZE) -> SEVISimulator:
        """Give the source of images."""
        return SEVISimulator(
            n_shells=self.n_shells,
            size=size,
            n_electrons=self.n_electrons,
            tilt=self.tilt,
            ellipticity=self.ellipticity,
            background=self.background,
        )


def _all_cases() -> dict[str, Case]:
    one = ("3e2", "1e3", "3e3", "1e4", "3e4", "1e5", "3e5", "1e6", "2e6")
    two = ("5e2", "5e3", "5e4", "2.15e6")
    cases = {f"one-{number}": Case(1, float(number)) for number in one}
    cases |= {f"two-{number}": Case(2, float(number)) for number in two}
    for separation in (0.005, 0.01, 0.02, 0.05):
        cases[f"two-close-{separation:g}"] = Case(2, 1e5, separation=separation)
    for clean, name, option, value in (
        ("one-1e5", "tilt2", "tilt", 2.0),
        ("one-1e5", "ellipticity1", "ellipticity", 0.01),
        ("one-1e5", "ellipticity3", "ellipticity", 0.03),
        ("one-1e5", "background30", "background", 0.3),
        ("one-1e5", "background100", "background", 1.0),
        ("two-5e4", "tilt2", "tilt", 2.0),
        ("two-5e4", "ellipticity1", "ellipticity", 0.01),
        ("two-5e4", "background30", "background", 0.3),
    ):
        plain = cases[clean]
        cases[f"{clean}-{name}"] = Case(
            plain.n_shells, plain.n_electrons, clean=clean, **{option: value}
        )
    return cases


CASES = _all_cases()


@dataclass
class Batch:
    """Test images of a chunk.

    Attributes
    ----------
    case : Case
        Their condition.
    first : int
        Number of the first one.
    scenes : dict of str to Tensor
        Parameters of the images, as :meth:`SEVISimulator.draw` returns them.
    images : ndarray of shape (n, 256, 256), float32
        Numbers of electrons, polarized along the last axis.
    centered : dict of int to ndarray of shape (n, size, size), float32
        By size, 255 and 511, the same electrons in pixels of the same side and of half
        of it, the middle one of which has the center in its middle. What is left over
        is cut off all around.
    """

    case: Case
    first: int
    scenes: dict[str, torch.Tensor]
    images: np.ndarray
    centered: dict[int, np.ndarray]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def split(self, n: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the scenes, n images at a time."""
        for first in range(0, len(self), n):
            yield {name: part[first : first + n] for name, part in self.scenes.items()}


def draw_scenes(case: Case, chunk: int, seed: int) -> dict[str, torch.Tensor]:
    """Draw the shells of a chunk."""
    own = int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(own)
    scenes = case.simulator().draw(CHUNK, generator)
    if case.separation is not None:
        low, high = SEVIPrior().radius
        places = torch.rand(CHUNK, generator=generator, dtype=torch.float64)
        inner = low + (high - case.separation - low) * places
        scenes["radius"] = torch.stack([inner, inner + case.separation], dim=1)
    return scenes


def throw(
    case: Case, chunk: int, n_images: int, seed: int, *, progress: bool = False
) -> Batch:
    """Draw the electrons of the first images of a chunk; no training uses these.

    Parameters
    ----------
    case : Case
        The condition.
    chunk : int
        Number of the chunk of a hundred images.
    n_images : int
        How many of them.
    seed : int
        Seed of all chunks.
    progress : bool, default=False
        Whether to show a bar.

    Returns
    -------
    batch : Batch
        The images.
    """
    simulator = case.simulator(_FINE)
    scenes = draw_scenes(case, chunk, seed)
    scenes = {name: part[:n_images] for name, part in scenes.items()}
    images = np.empty((n_images, SIZE, SIZE), dtype=np.float32)
    sides = [_FINE // joined - 1 for joined in _CENTERED]
    centered = {side: np.empty((n_images, side, side), np.float32) for side in sides}
    for i in tqdm(range(n_images), "throw", disable=not progress, leave=False):
        rng = np.random.default_rng([seed, chunk, i])
        fine = simulator.throw({k: part[i : i + 1] for k, part in scenes.items()}, rng)
        images[i] = join_pixels(fine[0], _JOINED)
        for joined, part in zip(_CENTERED, centered.values(), strict=True):
            # Without half a pixel at each side the grid moves by half a pixel.
            inside = slice(joined // 2, -joined // 2)
            part[i] = join_pixels(fine[0, inside, inside], joined)
    return Batch(case, chunk * CHUNK, scenes, images, centered)


def join_pixels(image: np.ndarray, n: int) -> np.ndarray:
    """Sum blocks of n by n pixels."""
    side = len(image) // n
    return image.reshape(side, n, side, n).sum((1, 3))
