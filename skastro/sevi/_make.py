# SPDX-License-Identifier: BSD-3-Clause
"""Simulated images of slow-electron velocity-map imaging."""

import numpy as np
from sklearn.utils import Bunch, check_random_state
from tqdm import tqdm

from skastro.utils import check_count, check_option

# Pixels of the images that are drawn at once.
_PIXELS_AT_ONCE = 2**22

_DESCRIPTION = """\
Simulated images of slow-electron velocity-map imaging
------------------------------------------------------
Number of images: {n_images}, of {n_shells} shell(s) each
Images: {size} x {size} pixels, from -{extent:g} to {extent:g}
Polarisation along axis {polarization_axis}
Coefficients: {formula}
Electrons of a shell: {n_electrons}
Background: {background} of the electrons
Tilt: {tilt} degrees; ellipticity: {ellipticity}; centre within {center_offset:g} pixels

Made by skastro.datasets.make_sevi; its documentation says what is simulated.
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

    Electrons fly out on one or several shells. On each their distance from the centre
    is normally distributed with mean R and standard deviation w, the cosine of their
    angle from the polarisation axis has the density 1/2 + Σ β_l P_2l(cos θ),
    l = 1 … 12, and the azimuth is uniform. The detector, in which the polarisation
    axis lies, counts them in its pixels.

    The coefficients β_l have truncated normal distributions that fall with l; those
    that would give a negative density at some angle are drawn again. Radii are
    uniform. Shells are sorted by radius.
    :class:`~skastro.simulation.sevi.SEVIPrior` holds all of this.

    Where a range is asked for, a pair (lowest, highest) is one from which each image
    draws evenly, and a number is the same for all.

    Parameters
    ----------
    n_images : int, default=1000
        Number of images.
    n_shells : int, default=1
        Shells of an image.
    size : int, default=256
        Height and width of the images, in pixels; at least 8.
    n_electrons : float or tuple of (float, float), default=2e6
        Range of the expected number of electrons of a shell, drawn evenly in its
        logarithm, such as ``(3e2, 3e6)``. The number thrown has Poisson's distribution.
    contrast : float, default=1
        Largest ratio of the electrons of two shells of an image. Their relative numbers
        are drawn evenly in their logarithm; `n_electrons` is then their mean.
    radius : float or tuple of (float, float), default=(0.3, 0.9)
        Range of R, in units in which the image of ``extent=1`` reaches from -1 to 1.
    radius_width : float or tuple of (float, float), default=(0.005, 0.009)
        Range of w. R is to be at least 6 times as large.
    min_separation : float, default=0
        Least distance of the radii R of the shells of an image.
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
    extent : float, default=1
        Half the side of the image. Pixels have the side ``2 * extent / size``;
        electrons beyond are lost.
    polarization_axis : {0, 1}, default=1
        Axis of the images along which the electrons are polarised.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients that are returned: "density" is β_l as above, "vmi"
        is b_l = 2 β_l of the density 1 + Σ b_l P_2l(cos θ), as is usual in velocity-map
        imaging.
    method : {"poisson", "electrons"}, default="poisson"
        "poisson" computes the expected images and draws counts from them. "electrons"
        throws each electron, for reference: as exact as can be, and much slower for
        many electrons. Both have the same distribution and, for the same
        `random_state`, show the same shells.
    random_state : int, RandomState instance or None, default=None
        Determines all that is random; pass an int for the same images every time.
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
            Expected numbers of electrons, with those that miss the image and without
            the background.
        background, tilt, ellipticity : ndarray of shape (n_images,), float64
            As above.
        center : ndarray of shape (n_images, 2), float64
            Where the centre is: row and column, in pixels from the centre of the first
            pixel.
        pixel_size : float
            Side of a pixel.
        convention : str
            Meaning of `beta`.
        polarization_axis : int
            Axis of the images.
        DESCR : str
            What this is.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    See Also
    --------
    skastro.simulation.sevi.SEVISimulator : Draws batch after batch, on any device.

    Examples
    --------
    >>> from skastro.datasets import make_sevi
    >>> sevi = make_sevi(4, n_shells=2, size=64, n_electrons=1e4, random_state=0)
    >>> sevi.images.shape, sevi.beta.shape
    ((4, 64, 64), (4, 24))
    >>> sevi.radius.round(2).tolist()
    [[0.41, 0.75], [0.32, 0.33], [0.66, 0.87], [0.35, 0.61]]
    """
    # Readers of spectra need not wait for PyTorch.
    import torch

    from skastro.simulation.sevi import SEVIPrior, SEVISimulator

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
    with tqdm(total=n_images, disable=not verbose, unit="image") as progress:
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
        "tilt": tilt,
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
