# SPDX-License-Identifier: BSD-3-Clause
"""Random images of electron shells, drawn in batches on a device."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from skastro.simulation._sevi_basis import ShellBasis
from skastro.simulation._sevi_electrons import bin_electrons, throw_electrons
from skastro.simulation._sevi_frame import detector_matrix
from skastro.simulation._sevi_prior import SEVIPrior, check_shells, pair
from skastro.utils import check_count, check_number, check_option, check_range

_CONVENTIONS = {"density": 1.0, "vmi": 2.0}


@dataclass(frozen=True, kw_only=True)
class SEVISimulator:
    """A source of images of slow-electron velocity-map imaging.

    Called with a number of images and a generator it draws new shells, their images
    with Poisson noise and the coefficients to be found in them.

    Where a range is asked for, a pair (lowest, highest) is one from which each image
    draws evenly, and a number is the same for all.

    Parameters
    ----------
    n_shells : int, default=1
        Shells of an image.
    size : int, default=256
        Height and width of the images, in pixels.
    n_electrons : float or tuple of (float, float), default=2e6
        Range of the expected number of electrons of a shell, drawn evenly in its
        logarithm; those that miss the image count too.
    contrast : float, default=1
        Largest ratio of the electrons of two shells of an image. Their relative numbers
        are drawn evenly in their logarithm, `n_electrons` is their mean.
    background : float or tuple of (float, float), default=0
        Range of the number of electrons that are spread evenly over the image, as a
        part of that of all shells; 0.3 is 30 %.
    tilt : float or tuple of (float, float), default=0
        Range of the angle from `polarization_axis` to the axis of the electrons,
        towards the other axis of the image, in degrees.
    ellipticity : float or tuple of (float, float), default=0
        Range of the stretch of the image along `polarization_axis` over that along the
        other axis, minus one; areas stay the same. 0.01 is 1 %.
    center_offset : float, default=0
        Largest displacement of the centre in pixels, along each axis. It is drawn
        evenly.
    prior : SEVIPrior, default=SEVIPrior()
        Distribution of the shells.
    extent : float, default=1
        Half the side of the image, in the unit of the radii. Pixels have the side
        ``2 * extent / size``.
    polarization_axis : {0, 1}, default=1
        Axis of the images along which the electrons are polarised.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients that a call returns: β_l of the density
        1/2 + Σ β_l P_2l, or b_l = 2 β_l of 1 + Σ b_l P_2l.
    device : str, default="cpu"
        Where images are computed and returned.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    See Also
    --------
    skastro.datasets.make_sevi : A fixed set of such images.

    Examples
    --------
    >>> import torch
    >>> from skastro.simulation.sevi import SEVISimulator
    >>> simulator = SEVISimulator(n_shells=2, size=64, n_electrons=(3e2, 3e6))
    >>> images, beta = simulator(8, torch.Generator().manual_seed(0))
    >>> images.shape, beta.shape
    (torch.Size([8, 64, 64]), torch.Size([8, 24]))
    """

    n_shells: int = 1
    size: int = 256
    n_electrons: float | tuple[float, float] = 2e6
    contrast: float = 1.0
    background: float | tuple[float, float] = 0.0
    tilt: float | tuple[float, float] = 0.0
    ellipticity: float | tuple[float, float] = 0.0
    center_offset: float = 0.0
    prior: SEVIPrior = field(default_factory=SEVIPrior)
    extent: float = 1.0
    polarization_axis: int = 1
    convention: str = "density"
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_count(self.n_shells, "n_shells", 1)
        check_count(self.size, "size", 8)
        limits = {
            "n_electrons": (1, 1e12),
            "background": (0, 1e6),
            "tilt": (-90, 90),
            "ellipticity": (-0.5, 1),
        }
        for name, (low, high) in limits.items():
            check_range(getattr(self, name), name, low, high)
        check_number(self.contrast, "contrast", 1, 1e6)
        check_number(self.center_offset, "center_offset", 0, self.size / 2)
        check_number(self.extent, "extent", 1e-9, 1e9)
        check_shells(self.prior, self.n_shells)
        if self.polarization_axis not in (0, 1):
            raise ValueError(
                f"polarization_axis must be 0 or 1; got {self.polarization_axis!r}."
            )
        check_option(self.convention, "convention", tuple(_CONVENTIONS))

    @cached_property
    def basis(self) -> ShellBasis:
        """The images of shells without noise."""
        return ShellBasis(
            self.size,
            extent=self.extent,
            finest_width=pair(self.prior.radius_width)[0],
            device=self.device,
        )

    def __call__(
        self, n: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw new images.

        Parameters
        ----------
        n : int
            Number of images.
        generator : torch.Generator
            Source of randomness, on the simulator's device or on the CPU.

        Returns
        -------
        images : Tensor of shape (n, size, size), float32
            Numbers of electrons.
        beta : Tensor of shape (n, 12 * n_shells), float32
            Coefficients of the shells in the order of their radii.
        """
        scenes = self.draw(n, generator)
        beta = self.coefficients(scenes).to(torch.float32)
        return self.count(scenes, generator), beta

    def draw(self, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw what is to be seen in images.

        Parameters
        ----------
        n : int
            Number of images.
        generator : torch.Generator
            Source of randomness.

        Returns
        -------
        scenes : dict of str to Tensor of shape (n, ...), float64
            ``beta`` (n, n_shells, 12), by the convention "density"; ``radius``,
            ``radius_width``, ``n_electrons`` (n, n_shells); ``background``, ``tilt``,
            ``ellipticity`` (n,); ``center`` (n, 2), in pixels along both axes of the
            image.
        """
        scenes = self.prior.sample(n, self.n_shells, generator)
        like: dict[str, Any] = {
            "generator": generator,
            "device": generator.device,
            "dtype": torch.float64,
        }

        def even(low: float, high: float, *shape: int) -> torch.Tensor:
            return low + (high - low) * torch.rand((n, *shape), **like)

        share = self.contrast ** even(0, 1, self.n_shells)
        share = share / share.mean(dim=1, keepdim=True)
        # By powers, since those of one give a fixed number exactly.
        fewest, most = pair(self.n_electrons)
        mean = fewest * (most / fewest) ** even(0, 1, 1)
        scenes["n_electrons"] = mean * share
        for name in ("background", "tilt", "ellipticity"):
            scenes[name] = even(*pair(getattr(self, name)))
        scenes["center"] = even(-self.center_offset, self.center_offset, 2)
        return {name: part.to(self.device) for name, part in scenes.items()}

    def coefficients(self, scenes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Give the coefficients that are to be found in images.

        Parameters
        ----------
        scenes : dict of str to Tensor
            What :meth:`draw` gives.

        Returns
        -------
        beta : Tensor of shape (n, 12 * n_shells), float64
            By the simulator's convention.
        """
        return scenes["beta"].flatten(1) * _CONVENTIONS[self.convention]

    def expected(self, scenes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Compute images without noise.

        Parameters
        ----------
        scenes : dict of str to Tensor
            What :meth:`draw` gives.

        Returns
        -------
        expected : Tensor of shape (n, size, size), float32
            Expected numbers of electrons, with the background.
        """
        distortion: dict[str, torch.Tensor | None] = {
            name: scenes[name] if scenes[name].any() else None
            for name in ("tilt", "ellipticity", "center")
        }
        if self.polarization_axis == 0 and distortion["center"] is not None:
            distortion["center"] = scenes["center"].flip(-1)
        shells = (
            scenes[name] for name in ("beta", "radius", "radius_width", "n_electrons")
        )
        images = self.basis.expected(*shells, **distortion)
        background = scenes["background"] * scenes["n_electrons"].sum(1) / self.size**2
        # Interpolation may fall below a density of zero.
        images = images.clamp_(min=0) + background.to(images)[:, None, None]
        return images if self.polarization_axis == 1 else images.mT.contiguous()

    def count(
        self, scenes: Mapping[str, torch.Tensor], generator: torch.Generator
    ) -> torch.Tensor:
        """Draw images with Poisson noise.

        Parameters
        ----------
        scenes : dict of str to Tensor
            What :meth:`draw` gives.
        generator : torch.Generator
            Source of randomness, on the simulator's device or on the CPU.

        Returns
        -------
        images : Tensor of shape (n, size, size), float32
            Numbers of electrons.
        """
        expected = self.expected(scenes)
        if generator.device.type == expected.device.type != "cpu":
            return torch.poisson(expected, generator=generator)
        # A generator for each image, so that several threads can draw, and that images
        # do not depend on how many are drawn at once.
        seeds = torch.randint(
            2**62, (len(expected),), generator=generator, device=generator.device
        )
        if expected.device.type != "cpu":
            seed = int(seeds.sum()) % 2**62
            return torch.poisson(
                expected, generator=torch.Generator(self.device).manual_seed(seed)
            )

        def draw(index: int, seed: int) -> None:
            own = torch.Generator().manual_seed(seed)
            expected[index] = torch.poisson(expected[index], generator=own)

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(draw, range(len(expected)), seeds.tolist()))
        return expected

    def throw(
        self, scenes: Mapping[str, torch.Tensor], rng: np.random.Generator
    ) -> np.ndarray:
        """Draw images electron by electron: slow, and without any approximation.

        Parameters
        ----------
        scenes : dict of str to Tensor
            What :meth:`draw` gives.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        images : ndarray of shape (n, size, size), float32
            Numbers of electrons.
        """
        scenes = {name: part.cpu() for name, part in scenes.items()}
        matrices = detector_matrix(scenes["tilt"], scenes["ellipticity"]).numpy()
        arrays = {name: part.numpy() for name, part in scenes.items()}
        images = np.empty((len(matrices), self.size, self.size), dtype=np.float32)
        for i, matrix in enumerate(matrices):
            center = arrays["center"][i] * (2 * self.extent / self.size)
            if self.polarization_axis == 0:
                center = center[::-1]
            image = rng.poisson(
                arrays["background"][i] * arrays["n_electrons"][i].sum() / self.size**2,
                (self.size, self.size),
            )
            for shell, mean in enumerate(arrays["n_electrons"][i]):
                electrons = throw_electrons(
                    arrays["beta"][i, shell],
                    arrays["radius"][i, shell],
                    arrays["radius_width"][i, shell],
                    int(rng.poisson(mean)),
                    rng,
                )
                x, z = matrix @ np.stack([electrons["x"], electrons["z"]])
                image += bin_electrons(
                    x + center[0], z + center[1], self.size, self.extent
                )
            images[i] = image if self.polarization_axis == 1 else image.T
        return images
