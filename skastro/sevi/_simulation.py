# SPDX-License-Identifier: BSD-3-Clause
"""Simulated images of slow-electron velocity-map imaging."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch, check_random_state
from torch.utils.data import Dataset

from skastro.sevi._basis import ShellBasis, detector_matrix
from skastro.sevi._electrons import FACTORS, bin_electrons, throw_electrons
from skastro.sevi._prior import SEVIPrior, check_shells, pair
from skastro.utils import (
    check_count,
    check_number,
    check_option,
    check_range,
    own_generator,
    progress_bar,
    without_unit,
)


@dataclass(frozen=True, kw_only=True)
class SEVISimulator:
    """A source of images of slow-electron velocity-map imaging.

    Call it with a number of images and a generator. It draws new shells and returns
    their images, with Poisson noise, and their coefficients.

    From a range, a pair (lowest, highest), each image draws uniformly. A number is the
    same for all images.

    Parameters
    ----------
    n_shells : int, default=1
        Shells of an image.
    size : int, default=256
        Height and width of the images, in pixels.
    n_electrons : float or tuple of (float, float), default=2e6
        Range of the expected number of electrons of a shell, drawn uniformly in its
        logarithm, including those that miss the image.
    contrast : float, default=1
        Largest ratio of the electrons of two shells of an image. The logarithms of
        their relative numbers are drawn uniformly; their mean is `n_electrons`.
    background : float or tuple of (float, float), default=0
        Range of the number of electrons of a uniform background, as a fraction of those
        of all shells; 0.3 is 30 %.
    tilt : float or tuple of (float, float), default=0
        Range of the angle from `polarization_axis` to the axis of the electrons,
        toward the other axis of the image; plain numbers are in degrees.
    ellipticity : float or tuple of (float, float), default=0
        Range of the ratio of the stretch along `polarization_axis` to that along the
        other axis, minus one, at constant area. 0.01 is 1 %.
    center_offset : float, default=0
        Largest displacement of the center in pixels along each axis, drawn uniformly.
    prior : SEVIPrior, default=SEVIPrior()
        Distribution of the shells.
    extent : float, default=1
        Half the side of the image, in the unit of the radii. Pixels have the side
        ``2 * extent / size``.
    polarization_axis : {0, 1}, default=1
        Axis of the images along which the electrons are polarized.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients that a call returns: β_l of the density
        1/2 + Σ β_l P_2l, or b_l = 2 β_l of 1 + Σ b_l P_2l.
    device : str, default="cpu"
        Device on which images are computed and returned.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    See Also
    --------
    skastro.sevi.make_sevi : A fixed set of such images.

    Examples
    --------
    >>> import torch
    >>> from skastro.sevi import SEVISimulator
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
        object.__setattr__(self, "tilt", without_unit(self.tilt, "deg", "tilt"))
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
        check_option(self.convention, "convention", tuple(FACTORS))

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
        """Draw the parameters of images.

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
        # By powers, so that a fixed number is exact.
        fewest, most = pair(self.n_electrons)
        mean = fewest * (most / fewest) ** even(0, 1, 1)
        scenes["n_electrons"] = mean * share
        for name in ("background", "tilt", "ellipticity"):
            scenes[name] = even(*pair(getattr(self, name)))
        scenes["center"] = even(-self.center_offset, self.center_offset, 2)
        return {name: part.to(self.device) for name, part in scenes.items()}

    def coefficients(self, scenes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the coefficients of images.

        Parameters
        ----------
        scenes : dict of str to Tensor
            What :meth:`draw` gives.

        Returns
        -------
        beta : Tensor of shape (n, 12 * n_shells), float64
            Coefficients in the simulator's convention.
        """
        return scenes["beta"].flatten(1) * FACTORS[self.convention]

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
        # Interpolated densities may be negative.
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
        # One generator per image, so that several threads can draw, and images do not
        # depend on the number of images.
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
        """Draw images electron by electron, which is slow and exact.

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


class SimulatedImages(Dataset):
    """Images of a simulator that are replaced, all or some of them, during a training.

    With `n_replaced`, this many of the `n_images` are replaced every `replace_every`
    epochs, otherwise all at each epoch. Images are represented by seeds, which take
    little memory. All draws come from torch's global generator.
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
        """Replace images if they are due."""
        self.epoch += 1
        if self.n_replaced is None or self.epoch == 1:
            return
        if (self.epoch - 1) % self.replace_every == 0:
            replaced = torch.randperm(self.n_images, generator=own_generator())[
                : self.n_replaced
            ]
            self.seeds[replaced] = _draw_seeds(len(replaced))

    @property
    def seeds(self) -> torch.Tensor:
        """Seeds of the images, drawn on first use during a fit."""
        if self._seeds is None:
            self._seeds = _draw_seeds(self.n_images)
        return self._seeds

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from epoch to epoch."""
        return {"epoch": self.epoch, "seeds": self._seeds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.epoch, self._seeds = state["epoch"], state["seeds"]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Simulate an image."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Any]]:
        """Simulate a batch of images."""
        if self.n_replaced is None:
            # All images are new, so their order does not matter.
            batch = self.simulator(len(indices), _generator(_draw_seeds(1)[0]))
            return list(zip(*batch, strict=True))
        singles = (self.simulator(1, _generator(self.seeds[i])) for i in indices)
        return [(images[0], beta[0]) for images, beta in singles]

    def some_targets(self, n: int) -> torch.Tensor:
        """Draw coefficients without images, which is fast."""
        generator = _generator(_draw_seeds(1)[0])
        return self.simulator.coefficients(self.simulator.draw(n, generator))


def _draw_seeds(n: int) -> torch.Tensor:
    return torch.randint(2**62, (n,), generator=own_generator())


def _generator(seed: torch.Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))


# Pixels of the images that are drawn at once.
_PIXELS_AT_ONCE = 2**22

_DESCRIPTION = """\
Simulated images of slow-electron velocity-map imaging
------------------------------------------------------
Number of images: {n_images}, of {n_shells} shell(s) each
Images: {size} x {size} pixels, from -{extent:g} to {extent:g}
Polarization along axis {polarization_axis}
Coefficients: {formula}
Electrons of a shell: {n_electrons}
Background: {background} of the electrons
Tilt: {tilt} degrees; ellipticity: {ellipticity}; center within {center_offset:g} pixels

Made by skastro.sevi.make_sevi; its documentation describes the simulation.
"""

_FORMULAS = {
    "density": "beta_l of the density 1/2 + sum beta_l P_2l(cos theta)",
    "vmi": "b_l of 1 + sum b_l P_2l(cos theta)",
}


def make_sevi(
    n_images: int = 1000,
    n_shells: int = 1,
    size: int = 256,
    *,
    n_electrons: float | tuple[float, float] = 2e6,
    contrast: float = 1.0,
    radius: float | tuple[float, float] = (0.3, 0.9),
    radius_width: float | tuple[float, float] = (0.005, 0.009),
    min_separation: float = 0.0,
    background: float | tuple[float, float] = 0.0,
    tilt: float | tuple[float, float] = 0.0,
    ellipticity: float | tuple[float, float] = 0.0,
    center_offset: float = 0.0,
    extent: float = 1.0,
    polarization_axis: int = 1,
    convention: str = "density",
    method: str = "poisson",
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> Bunch:
    """Simulate images of slow-electron velocity-map imaging.

    Electrons are on one or several shells. In each shell their distance from the center
    is normally distributed with mean R and standard deviation w, the cosine of their
    angle from the polarization axis has the density 1/2 + Σ β_l P_2l(cos θ),
    l = 1 … 12, and the azimuth is uniform. The detector is parallel to the polarization
    axis and counts electrons in its pixels.

    The coefficients β_l have truncated normal distributions whose width decreases with
    l; coefficients with a negative density at some angle are drawn again. Radii are
    uniform. Shells are sorted by radius. :class:`~skastro.sevi.SEVIPrior` defines these
    distributions.

    From a range, a pair (lowest, highest), each image draws uniformly. A number is the
    same for all images.

    Parameters
    ----------
    n_images : int, default=1000
        Number of images.
    n_shells : int, default=1
        Shells of an image.
    size : int, default=256
        Height and width of the images, in pixels; at least 8.
    n_electrons : float or tuple of (float, float), default=2e6
        Range of the expected number of electrons of a shell, drawn uniformly in its
        logarithm, such as ``(3e2, 3e6)``. The number itself has a Poisson distribution.
    contrast : float, default=1
        Largest ratio of the electrons of two shells of an image. The logarithms of
        their relative numbers are drawn uniformly; their mean is `n_electrons`.
    radius : float or tuple of (float, float), default=(0.3, 0.9)
        Range of R, in units in which the image of ``extent=1`` reaches from -1 to 1.
    radius_width : float or tuple of (float, float), default=(0.005, 0.009)
        Range of w. R must be at least 6 times as large.
    min_separation : float, default=0
        Least distance of the radii R of the shells of an image.
    background : float or tuple of (float, float), default=0
        Range of the number of electrons of a uniform background, as a fraction of those
        of all shells; 0.3 is 30 %.
    tilt : float or tuple of (float, float), default=0
        Range of the angle from `polarization_axis` to the axis of the electrons,
        toward the other axis of the image; plain numbers are in degrees.
    ellipticity : float or tuple of (float, float), default=0
        Range of the ratio of the stretch along `polarization_axis` to that along the
        other axis, minus one, at constant area. 0.01 is 1 %.
    center_offset : float, default=0
        Largest displacement of the center in pixels along each axis, drawn uniformly.
    extent : float, default=1
        Half the side of the image. Pixels have the side ``2 * extent / size``;
        electrons beyond are lost.
    polarization_axis : {0, 1}, default=1
        Axis of the images along which the electrons are polarized.
    convention : {"density", "vmi"}, default="density"
        Meaning of the returned coefficients: "density" is β_l as above, "vmi" is
        b_l = 2 β_l of the density 1 + Σ b_l P_2l(cos θ), as is usual in velocity-map
        imaging.
    method : {"poisson", "electrons"}, default="poisson"
        "poisson" computes the expected images and draws counts from them. "electrons"
        draws each electron: an exact reference, much slower for many electrons. Both
        have the same distribution and, for the same `random_state`, the same shells.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers; pass an int for the same images every time.
    verbose : int, default=0
        1 shows a progress bar, 0 is silent.

    Returns
    -------
    sevi : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : ndarray of shape (n_images, size, size), float32
            Numbers of electrons.
        beta : ndarray of shape (n_images, 12 * n_shells), float64
            The coefficients, those of the smallest shell first.
        radius, radius_width : ndarray of shape (n_images, n_shells), float64
            R, ascending, and w.
        n_electrons : ndarray of shape (n_images, n_shells), float64
            Expected numbers of electrons, including those that miss the image, without
            the background.
        background, tilt, ellipticity : ndarray of shape (n_images,), float64
            As above.
        center : ndarray of shape (n_images, 2), float64
            Row and column of the center, in pixels from the center of the first pixel.
        pixel_size : float
            Side of a pixel.
        convention : str
            Meaning of `beta`.
        polarization_axis : int
            Axis of the images.
        DESCR : str
            Description of the data set.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    See Also
    --------
    skastro.sevi.SEVISimulator : Draws batch after batch, on any device.

    Examples
    --------
    >>> from skastro.sevi import make_sevi
    >>> sevi = make_sevi(4, n_shells=2, size=64, n_electrons=1e4, random_state=0)
    >>> sevi.images.shape, sevi.beta.shape
    ((4, 64, 64), (4, 24))
    >>> sevi.radius.round(2).tolist()
    [[0.41, 0.75], [0.32, 0.33], [0.66, 0.87], [0.35, 0.61]]
    """
    n_images = check_count(n_images, "n_images", 1)
    check_option(method, "method", ("poisson", "electrons"))
    simulator = SEVISimulator(
        n_shells=n_shells,
        size=size,
        n_electrons=n_electrons,
        contrast=contrast,
        background=background,
        tilt=tilt,
        ellipticity=ellipticity,
        center_offset=center_offset,
        prior=SEVIPrior(radius, radius_width, min_separation),
        extent=extent,
        polarization_axis=polarization_axis,
        convention=convention,
    )
    seed = check_random_state(random_state).randint(2**31 - 1)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    scenes = simulator.draw(n_images, generator)
    images = np.empty((n_images, size, size), dtype=np.float32)
    step = max(1, _PIXELS_AT_ONCE // size**2) if method == "poisson" else 1
    with progress_bar(
        total=n_images, desc="Simulating images", unit="image", disable=not verbose
    ) as progress:
        for first in range(0, n_images, step):
            rows = slice(first, first + step)
            part = {name: values[rows] for name, values in scenes.items()}
            if method == "poisson":
                images[rows] = simulator.count(part, generator).numpy()
            else:
                images[rows] = simulator.throw(part, rng)
            progress.update(len(images[rows]))
    described = {
        "n_electrons": n_electrons,
        "background": background,
        "tilt": simulator.tilt,
        "ellipticity": ellipticity,
        "center_offset": center_offset,
    }
    arrays = {name: values.numpy() for name, values in scenes.items()}
    arrays["beta"] = simulator.coefficients(scenes).numpy()
    arrays["center"] = arrays["center"] + (size - 1) / 2
    return Bunch(
        images=images,
        **arrays,
        pixel_size=2 * extent / size,
        convention=convention,
        polarization_axis=polarization_axis,
        DESCR=_DESCRIPTION.format(
            n_images=n_images,
            n_shells=n_shells,
            size=size,
            extent=extent,
            polarization_axis=polarization_axis,
            formula=_FORMULAS[convention],
            **described,
        ),
    )
