# SPDX-License-Identifier: BSD-3-Clause
"""
Measure anisotropy: from a photoelectron image to the coefficients of its rings
===============================================================================

Fits electron shells to a measured image and compares their anisotropy with the inverse
Abel transform of PyAbel, if that is installed::

    python examples/measure_anisotropy.py --image O2-ANU1024.txt.bz2
    python examples/measure_anisotropy.py --image scan.tif --polarization-axis 1 \
        --n-shells 3 --radius 60 200 --width 1 6 --block 1

Without ``--image`` the script uses the file ``O2-ANU1024.txt.bz2`` in the folder that
the environment variable ``SKASTRO_DATA`` names, an image of photoelectrons of O2- with
many vibrational rings, or a simulated image if there is none. The defaults of the other
options are for this image. Lengths are in pixels of the image.

Electrons that one photon detaches have the angular density 1 + b P_2(cos θ), with b
from -1 to 2. Few simulated images of such shells are enough to fit the regressor: they
define the number of shells and the range of b. The range of the radii should include
all visible rings, because the innermost shells absorb the counts within.

Pixels of a camera are not independent counts of electrons. Their excess scatter is
measured by comparing the image with itself, rotated by 180 degrees, and the image is
divided by it before the fit. The resulting errors are statistical only. Fits to the
four quadrants show the systematic errors of the detector.

The folder ``--out`` receives ``rings.csv`` (radius of each ring, its coefficient with
error bars, PyAbel's), ``shells.png`` (the fit) and ``anisotropy.png`` (coefficients
over the radius).
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/measure_anisotropy.png'

import argparse
import os
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
from astropy.table import Table
from scipy.signal import fftconvolve
from scipy.stats import chi2
from sklearn.utils import Bunch

from skastro import SEVIRegressor
from skastro.sevi import SEVIDisplay, SEVIPrior, SEVISimulator, read_sevi
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

N_TRAINING = 20
# Rings with fewer of all electrons are fitted, but not listed.
LEAST_SHARE = 0.03
# Half the width of a ring in PyAbel's distributions.
NEAR = 4


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
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
    add("--out", type=Path, default=Path("measure_anisotropy_output"), help="folder")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> np.ndarray:
    """Read an image; or simulate one."""
    path = options.image
    if path is None:
        path = Path(os.environ.get("SKASTRO_DATA", "")) / "O2-ANU1024.txt.bz2"
        if not path.is_file():
            print("Simulating an image")
            return simulate(options)
    print(f"Reading {path}")
    images = read_sevi(path, verbose=0).images
    if len(images) != 1:
        raise SystemExit(f"{path} has {len(images)} images; expected one.")
    return images[0]


def simulate(options: argparse.Namespace) -> np.ndarray:
    """Draw rings of O2- with the radii and coefficients that were measured."""
    radius = np.array([211, 240, 267, 292, 318, 340, 360, 379, 398, 416])
    b = [-0.2, -0.32, -0.43, -0.58, -0.75, -0.84, -0.9, -0.93, -0.93, -0.87]
    number = [0.6, 1.5, 2.3, 2, 2, 2.6, 4.3, 4.8, 3.2, 1.1]
    size = 1024
    simulator = SEVISimulator(
        n_shells=len(radius),
        size=size,
        prior=SEVIPrior(radius_width=(2.0 * 2 / size, 2.0 * 2 / size)),
        polarization_axis=options.polarization_axis,
    )
    generator = torch.Generator().manual_seed(options.seed)
    scenes = simulator.draw(1, generator)
    scenes["beta"] = coefficients(np.array(b)[None])
    scenes["radius"] = torch.as_tensor(radius * 2 / size)[None]
    scenes["n_electrons"] = torch.tensor([number]) * 1e6
    return simulator.count(scenes, generator)[0].numpy()


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


def draw_anisotropy(table: Table, abel: Bunch | None, path: Path) -> None:
    """Draw coefficients over the radius, and how they differ from PyAbel's."""
    n_axes = 1 if abel is None else 2
    figure, axes = plt.subplots(
        n_axes,
        1,
        figsize=(7, 2 + 2.5 * n_axes),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    ax = axes[0, 0]
    ax.plot(table["radius"], table["b"], "o", markersize=5, label="skastro")
    ax.axhline(-1, color="0.5", linestyle=":", linewidth=1)
    ax.set(ylabel="$b$ of $1 + b P_2$")
    if abel is not None:
        ax.plot(table["radius"], table["b_pyabel"], "x", color="C3", label="PyAbel")
        bright = abel.intensity > 0.02 * abel.intensity.max()
        ax.plot(
            abel.radius[bright],
            abel.b[bright],
            ".",
            color="0.75",
            zorder=0,
            label="PyAbel, each radius",
        )
        ax.set(ylim=(max(-1.5, ax.get_ylim()[0]), min(2.2, ax.get_ylim()[1])))
        draw_difference(table, axes[1, 0])
    ax.legend(fontsize="small")
    axes[-1, 0].set_xlabel("Radius (pixels)")
    save_figure(figure, path)


def draw_difference(table: Table, ax: plt.Axes) -> None:
    """Draw the differences of both, with the error bars."""
    errors = {"b_quadrants": "scatter of quadrants", "b_std": "chance"}
    for name, meaning in errors.items():
        if name in table.colnames:
            ax.errorbar(
                table["radius"],
                table["b"] - table["b_pyabel"],
                yerr=table[name],
                fmt="o",
                markersize=4,
                color="C0",
                elinewidth=1 if name == "b_quadrants" else 3,
                label=f"error bar: {meaning}",
            )
    ax.axhline(0, color="0.5", linewidth=1)
    ax.set(ylabel="skastro minus PyAbel")
    ax.legend(fontsize="small", loc="upper left")


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure atomically."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> Table:
    """Run the job."""
    options = parse_arguments(arguments)
    image = load(options)
    center = find_center(image) if options.center is None else options.center
    print(f"Center at row {center[0]:.2f}, column {center[1]:.2f}")
    part = cut_out(image, center, max(options.radius), options.block)
    overdispersion = measure_overdispersion(part.blocks)
    print(
        f"{image.sum():.4g} counts; cells of {options.block} x {options.block} pixels "
        f"have {overdispersion:.2f} times the variance of independent counts"
    )
    counts = (part.blocks / overdispersion).astype(np.float32)
    options.out.mkdir(parents=True, exist_ok=True)
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
    with atomic_write(options.out / "rings.csv") as file:
        table.write(file, format="ascii.csv")
    first = Bunch(**{name: values[:1] for name, values in shells.items()})
    display = SEVIDisplay.from_predictions(
        counts, first, convention="vmi", polarization_axis=options.polarization_axis
    )
    save_figure(display.figure_, options.out / "shells.png")
    draw_anisotropy(table, abel, options.out / "anisotropy.png")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")
    return table


if __name__ == "__main__":
    main()
