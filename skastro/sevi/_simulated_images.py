# SPDX-License-Identifier: BSD-3-Clause
"""A data set whose images are simulated when they are asked for."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from skastro.simulation.sevi import N_BETAS, SEVISimulator


class SimulatedImages(Dataset):
    """Images of a simulator: new ones at each epoch, or few new ones now and then.

    Seeds stand for images, so that any number takes no memory. All draws come from
    torch's global generator.

    Parameters
    ----------
    simulator : SEVISimulator
        The source.
    n_images : int
        Images of an epoch.
    n_replaced : int, default=None
        Images that are replaced by new ones every `replace_every` epochs; None: all at
        each epoch.
    replace_every : int, default=1
        Epochs between replacements.
    """

    def __init__(
        self,
        simulator: SEVISimulator,
        n_images: int,
        n_replaced: int | None = None,
        replace_every: int = 1,
    ) -> None:
        self.simulator = simulator
        self.n_images = n_images
        self.n_replaced = n_replaced
        self.replace_every = replace_every
        self.epoch = 0
        self._seeds: torch.Tensor | None = None

    def __len__(self) -> int:
        """Count the images of an epoch."""
        return self.n_images

    def next_epoch(self) -> None:
        """Replace images, where it is time to."""
        self.epoch += 1
        if self.n_replaced is None or self.epoch == 1:
            return
        if (self.epoch - 1) % self.replace_every == 0:
            replaced = torch.randperm(self.n_images)[: self.n_replaced]
            self.seeds[replaced] = _draw_seeds(len(replaced))

    @property
    def seeds(self) -> torch.Tensor:
        """Seeds of the images; drawn when first needed, in the course of a fit."""
        if self._seeds is None:
            self._seeds = _draw_seeds(self.n_images)
        return self._seeds

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Simulate an image."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Any]]:
        """Simulate a batch of images."""
        if self.n_replaced is None:
            # As many at once as there are; which one stands where is no matter.
            batch = self.simulator(len(indices), _generator(_draw_seeds(1)[0]))
            return list(zip(*batch, strict=True))
        singles = (self.simulator(1, _generator(self.seeds[i])) for i in indices)
        return [(images[0], beta[0]) for images, beta in singles]

    def some_targets(self, n: int) -> torch.Tensor:
        """Draw coefficients alone, which is quick."""
        generator = _generator(_draw_seeds(1)[0])
        return self.simulator.coefficients(self.simulator.draw(n, generator))


def _draw_seeds(n: int) -> torch.Tensor:
    return torch.randint(2**62, (n,))


def _generator(seed: torch.Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))


def check_simulator(simulator: Any, estimator: Any) -> None:
    """Refuse simulators whose images the estimator would misread.

    Parameters
    ----------
    simulator : object
        What was given as the source.
    estimator : SEVIRegressor
        Whose parameters have to go with it.

    Raises
    ------
    TypeError
        If it is no simulator.
    ValueError
        If it is one of other images.
    """
    if not isinstance(simulator, SEVISimulator):
        raise TypeError(
            "fit_simulator takes a skastro.simulation.sevi.SEVISimulator, but got "
            f"{simulator!r}."
        )
    for name in ("convention", "polarization_axis", "extent"):
        ours, theirs = getattr(estimator, name), getattr(simulator, name)
        if ours != theirs:
            raise ValueError(
                f"The simulator has {name}={theirs!r}, but the estimator "
                f"{name}={ours!r}; make them the same."
            )
    if estimator.n_betas != N_BETAS:
        raise ValueError(
            f"Simulated images have {N_BETAS} coefficients a shell, but n_betas is "
            f"{estimator.n_betas}."
        )
    for name in ("radius", "radius_width") if estimator.refine else ():
        theirs = np.broadcast_to(getattr(simulator.prior, name), 2)
        ours = getattr(estimator, name)
        if theirs[0] < ours[0] or theirs[1] > ours[1]:
            raise ValueError(
                f"The simulator draws {name} from {theirs[0]:g} to {theirs[1]:g}, but "
                f"the fit looks for {name}={tuple(ours)}; widen the latter."
            )
