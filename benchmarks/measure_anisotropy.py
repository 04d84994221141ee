# SPDX-License-Identifier: BSD-3-Clause
"""Anisotropies of the rings of a measured image, by the fit of shells and by PyAbel.

The image is ``O2-ANU1024.txt.bz2`` in the folder ``SKASTRO_DATA``, photoelectrons of
O2- with many vibrational rings, or the file given; the defaults are for the former, in
pixels of the image::

    SKASTRO_DATA=... python -m benchmarks.measure_anisotropy

Pixels of a camera are not independent counts of electrons. Their excess scatter is
measured by comparing the image with itself, rotated by 180 degrees, and the image is
divided by it before the fit. The resulting errors are statistical only; the scatter of
fits to the four quadrants shows the systematic errors of the detector.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from scipy.signal import fftconvolve
from scipy.stats import chi2
from sklearn.utils import Bunch

from skastro import SEVIRegressor
from skastro.sevi import SEVIPrior, SEVISimulator, read_sevi

N_TRAINING = 20
# Rings with fewer of all electrons are fitted, but not listed.
LEAST_SHARE = 0.03
# Half the width of a ring in PyAbel's distributions.
NEAR = 4


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--image", metavar="FILE", help="image: text, TIFF, array of numpy")
    add("--polarization-axis", type=int, choices=(0, 1), default=0, help="of the image")
    add("--center", type=float, nargs=2, metavar=("ROW", "COLUMN"), help="or found")
    add("--n-shells", type=int, default=18, help="shells to fit")
    pair = {"type": float, "nargs": 2, "metavar": ("LOW", "HIGH")}
    add("--radius", **pair, default=(140, 465), help="range of the radii")
    add("--width", **pair, default=(1, 4), help="range of their standard deviations")
    add("--block", type=int, default=3, help="sum blocks of so many pixels a side")
    add("--distortion", action="store_true", help="look for tilt and ellipticity too")
    add("--no-quadrants", action="store_true", help="do not fit quadrants apart")
    add("--seed", type=int, default=0, help="seed of all that is drawn by chance")
    return parser.parse_args(arguments)


def coefficients(b: np.ndarray) -> torch.Tensor:
    """Write densities 1 + b P_2 with the 12 coefficients of the simulator."""
    beta = torch.zeros(*b.shape, 12, dtype=torch.float64)
    beta[..., 0] = torch.as_tensor(b) / 2
    return beta


def find_center(image: np.ndarray) -> np.ndarray:
    """Find the point about which the image is most symmetric under a half turn."""
    correlation = fftconvolve(image, image)
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    center = []
    for axis, place in enumerate(peak):
        line = np.moveaxis(correlation, axis, 0)[(slice(None), *np.delete(peak, axis))]
        before, at, after = line[place - 1 : place + 2]
        # The maximum of a parabola through three points.
        center.append(place + (before - after) / (before - 2 * at + after) / 2)
    return np.array(center) / 2


def cut_out(image: np.ndarray, center: np.ndarray, outer: float, block: int) -> Bunch:
    """Cut a square about the pixel of the center, and sum blocks of pixels.

    An odd number of pixels has the center in the middle of one.
    """
    row, column = np.rint(center).astype(int)
    most = min(row, column, image.shape[0] - 1 - row, image.shape[1] - 1 - column)
    n_blocks = int((2 * min(1.03 * outer, most) + 1) // block)
    n_blocks -= 1 - n_blocks % 2
    if block % 2 == 0 or n_blocks < 32 or n_blocks * block < 2 * outer:
        raise SystemExit(
            f"Rings up to {outer:g} pixels do not fit about the center ({row}, "
            f"{column}) with {most} pixels beside it in blocks of {block}; blocks must "
            "be odd, at least 32 of them."
        )
    half = n_blocks * block // 2
    part = image[row - half : row + half + 1, column - half : column + half + 1]
    blocks = part.reshape(n_blocks, block, n_blocks, block)
    return Bunch(
        pixels=part,
        blocks=blocks.sum((1, 3), dtype=np.float64),
        # Pixels in the unit in which the cut image reaches from -1 to 1.
        unit=n_blocks * block / 2,
    )


def measure_overdispersion(blocks: np.ndarray) -> float:
    """Compare the image with itself, rotated by 180°: 1 for independent counts."""
    turned = blocks[::-1, ::-1]
    bright = blocks + turned > 0.2 * np.median(blocks[blocks > 0])
    square = (blocks - turned) ** 2 / (blocks + turned).clip(min=1)
    # The median is robust against a few defects.
    return max(1.0, float(np.median(square[bright]) / chi2.median(1)))


def fit_regressor(size: int, unit: float, options: argparse.Namespace) -> SEVIRegressor:
    """Fit the regressor to a few images of such shells."""
    radius, width = (
        tuple(np.divide(part, unit)) for part in (options.radius, options.width)
    )
    simulator = SEVISimulator(
        n_shells=options.n_shells,
        size=size,
        n_electrons=1e5,
        prior=SEVIPrior(radius, width),
        polarization_axis=options.polarization_axis,
        convention="vmi",
    )
    rng = np.random.default_rng(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    scenes = simulator.draw(N_TRAINING, generator)
    b = rng.uniform(-1, 2, size=(N_TRAINING, options.n_shells))
    scenes["beta"] = coefficients(b)
    reg = SEVIRegressor(
        n_betas=1,
        convention="vmi",
        polarization_axis=options.polarization_axis,
        radius=radius,
        radius_width=width,
        distortion=options.distortion,
        max_epochs=1,
        random_state=options.seed,
        verbose=0,
    )
    return reg.fit(simulator.count(scenes, generator).numpy(), b)


def quadrants(image: np.ndarray) -> np.ndarray:
    """Make four symmetric images, each of one quadrant and with its counts."""
    size = len(image)
    fold = np.abs(np.arange(size) - size // 2)
    turned = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    corners = [part[size // 2 :, size // 2 :] for part in turned]
    # Each count is there four times.
    return np.stack([corner[fold][:, fold] / 4 for corner in corners])


def list_rings(shells: Bunch, unit: float) -> Table:
    """List the rings of the first image, with their scatter over the others."""
    share = shells.n_electrons[0] / shells.n_electrons[0].sum()
    chosen = np.flatnonzero(share > LEAST_SHARE)
    table = Table(
        {
            "radius": shells.radius[0, chosen] * unit,
            "radius_std": shells.radius_std[0, chosen] * unit,
            "share": share[chosen],
            "b": shells.beta[0, chosen, 0],
            "b_std": shells.beta_std[0, chosen, 0],
        }
    )
    if len(shells.radius) > 1:
        apart = np.abs(shells.radius[1:, :, None] - shells.radius[0, chosen])
        nearest = apart.argmin(axis=1)
        b = np.take_along_axis(shells.beta[1:, :, 0], nearest, axis=1)
        # Standard error of the mean of four.
        table["b_quadrants"] = b.std(axis=0, ddof=1) / 2
    return table


def transform(image: np.ndarray, polarization_axis: int) -> Bunch | None:
    """Compute intensity and anisotropy over the radius by PyAbel."""
    try:
        from abel.rbasex import rbasex_transform
    except ImportError:
        print("PyAbel is not installed: nothing to compare with")
        return None
    upright = image if polarization_axis == 0 else image.T
    _, distributions = rbasex_transform(
        upright.astype(float), order=2, rmax="MIN", out=None
    )
    radius, intensity, b = distributions.rIbeta()
    return Bunch(radius=radius, intensity=intensity, b=b)


def mean_in_rings(abel: Bunch, radius: np.ndarray) -> np.ndarray:
    """Average PyAbel's anisotropy over rings, with the intensity as weight."""
    near = np.abs(abel.radius - np.asarray(radius)[:, None]) <= NEAR
    weight = near * abel.intensity
    # The anisotropy is undefined without intensity.
    return (weight * np.where(near.any(0), abel.b, 0)).sum(1) / weight.sum(1)


def main(arguments: list[str] | None = None) -> Table:
    """Measure an image, and print its rings."""
    options = parse_arguments(arguments)
    path = options.image
    if path is None:
        path = Path(os.environ["SKASTRO_DATA"], "O2-ANU1024.txt.bz2")
    image = read_sevi(path, verbose=0).images[0]
    center = find_center(image) if options.center is None else options.center
    print(f"Center at row {center[0]:.2f}, column {center[1]:.2f}")
    part = cut_out(image, center, max(options.radius), options.block)
    overdispersion = measure_overdispersion(part.blocks)
    print(
        f"{image.sum():.4g} counts; cells of {options.block} x {options.block} pixels "
        f"have {overdispersion:.2f} times the variance of independent counts"
    )
    counts = (part.blocks / overdispersion).astype(np.float32)
    start = time.perf_counter()
    reg = fit_regressor(len(counts), part.unit, options)
    X = counts[None]
    if not options.no_quadrants:
        X = np.concatenate([X, quadrants(counts)])
    shells = reg.predict_shells(X)
    print(f"Fitted {options.n_shells} shells in {time.perf_counter() - start:.0f} s")
    table = list_rings(shells, part.unit)
    abel = transform(part.pixels, options.polarization_axis)
    if abel is not None:
        table["b_pyabel"] = mean_in_rings(abel, table["radius"])
    for name in table.colnames:
        table[name].info.format = ".2f" if name == "radius" else ".4f"
    table.pprint_all()
    return table


if __name__ == "__main__":
    main()
