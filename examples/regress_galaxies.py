# SPDX-License-Identifier: BSD-3-Clause
"""
Measure galaxies: magnitude, size, profile and shape from images
================================================================

A first network is trained to tell the magnitude of a galaxy from its image, a second
one to tell half-light radius, Sérsic index and both components of the ellipticity at
once. The galaxies are simulated, so that the truth is known. The magnitude is compared
with photometry by summed fluxes on the same noisy images::

    python examples/regress_galaxies.py

Or the images are those of a file that ``make_galaxies(..., out="galaxies.h5")`` has
written. If it has a column ``split``, the rows named "test" there are kept apart, else
a tenth of them::

    python examples/regress_galaxies.py --galaxies galaxies.h5 --out results

Everything goes to the folder ``--out``: ``predictions.csv``, ``scores.csv`` and the
figures ``magnitude.png``, ``parameters.png`` and ``scores.png``.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/regress_galaxies.png'

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import Bunch

from skastro import GalaxyRegressor
from skastro.datasets import make_galaxies, read_galaxies
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LABELS = {
    "magnitude": "magnitude",
    "half_light_radius": "half-light radius (arcsec)",
    "sersic_index": "Sérsic index",
    "g1": "ellipticity $g_1$",
    "g2": "ellipticity $g_2$",
}
SEVERAL = tuple(LABELS)[1:]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--galaxies", metavar="FILE", help="HDF5 file of make_galaxies")
    add("--n-galaxies", type=int, default=4000, help="how many to simulate")
    add("--size", type=int, default=64, help="height and width of simulated images")
    add("--jobs", type=int, help="processes of the simulation")
    add("--module", default="resnet18", help="resnet18, resnet34, resnet50 or so")
    add("--width", type=int, default=24, help="channels of its first stage")
    add("--epochs", type=int, default=40, help="passes over the training images")
    add(
        "--copies",
        type=int,
        default=8,
        choices=(1, 2, 4, 8),
        help="orientations of each image for the second network, which takes as many "
        "times the memory and as many times fewer epochs",
    )
    add("--batch-size", type=int, default=32, help="images in a batch")
    add("--lr", type=float, default=2e-3, help="highest learning rate")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of simulation, split and training")
    add("--out", type=Path, default=Path("regress_galaxies_output"), help="folder")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> tuple[Bunch, np.ndarray]:
    """Read or simulate galaxies; say which rows are kept apart."""
    if options.galaxies is None:
        print(f"Simulating {options.n_galaxies} galaxies")
        galaxies = make_galaxies(
            options.n_galaxies,
            size=options.size,
            splits=(0.8, 0.2),
            random_state=options.seed,
            n_jobs=options.jobs,
        )
    else:
        print(f"Reading {options.galaxies}")
        galaxies = read_galaxies(options.galaxies)
    missing = [
        name
        for name in LABELS
        if name not in galaxies.parameters.colnames
        or np.isnan(galaxies.parameters[name]).any()
    ]
    if missing:
        raise SystemExit(
            f"The galaxies have no known {', '.join(missing)}; this script wants "
            'those of make_galaxies(profile="sersic").'
        )
    if "split" in galaxies.parameters.colnames:
        apart = np.asarray(galaxies.parameters["split"]) == "test"
    else:
        apart = np.random.default_rng(options.seed).uniform(size=len(galaxies.images))
        apart = apart < 0.1
    return galaxies, apart


def aperture_magnitudes(galaxies: Bunch, images: np.ndarray) -> tuple:
    """Sum the flux in growing circles about the center, in the first band.

    The result is in asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), which
    are ordinary ones for bright sources and defined for fluxes below zero.
    """
    size = images.shape[1]
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    distance = np.hypot(rows, columns).ravel()
    radii = np.geomspace(2.0, size / 2, 14)
    # Pixels on the edge count in part; the last row of weights is the whole stamp's.
    weights = np.clip(radii[:, None] + 0.5 - distance, 0, 1)
    weights = np.vstack([weights, np.ones(size * size)]).astype(np.float32)
    names = [f"{radius * galaxies.pixel_scale:.1f} arcsec" for radius in radii]
    if images.ndim == 4:
        images = images[..., 0]
    flux = images.reshape(len(images), -1) @ weights.T
    softening = galaxies.background_std[0] * np.sqrt((weights**2).sum(axis=1))
    softening = np.maximum(softening, 1.0)
    scaled = np.arcsinh(flux / (2 * softening)) + np.log(softening)
    return [*names, "whole image"], galaxies.zero_points[0] - 2.5 / np.log(10) * scaled


def photometry(galaxies: Bunch, images: np.ndarray, apart: np.ndarray) -> dict:
    """Measure magnitudes with apertures that are chosen on the training images.

    Three ways: the sum over the whole image; the one circle that is best after a
    linear correction; and all circles together, the curve of growth, by a regression
    with quadratic terms.
    """
    names, sums = aperture_magnitudes(galaxies, images)
    train, truth = ~apart, np.asarray(galaxies.parameters["magnitude"])
    # The scatter that is expected of each on further images.
    scatter = [
        np.std(
            cross_val_predict(LinearRegression(), sums[train][:, [i]], truth[train])
            - truth[train]
        )
        for i in range(len(names))
    ]
    best = int(np.argmin(scatter[:-1]))
    print(f"The best aperture has a radius of {names[best]}")
    # The magnitude in one circle, and what each further one adds to it.
    growth = np.column_stack([sums[:, best], np.diff(sums, axis=1)])
    curve = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        RidgeCV(np.logspace(-3, 4, 15)),
    )
    ways = {
        "summed flux": (LinearRegression(), sums[:, [-1]]),
        "best aperture": (LinearRegression(), sums[:, [best]]),
        "curve of growth": (curve, growth),
    }
    return {
        name: model.fit(values[train], truth[train]).predict(values[apart])
        for name, (model, values) in ways.items()
    }


def orientations(
    images: np.ndarray, names: Sequence[str], count: int = 8
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Turn and mirror images, and say which parameters change their sign thereby."""
    for number in range(count):
        mirrored, turns = divmod(number, 4)
        turned = np.rot90(images, turns, axes=(1, 2))
        # A quarter of a turn swaps the axes; a mirror reverses the sense of rotation.
        signs = np.array(
            [-1 if turns % 2 and name in ("g1", "g2") else 1 for name in names]
        )
        if mirrored:
            turned = turned[:, :, ::-1]
            signs = signs * [-1 if name == "g2" else 1 for name in names]
        yield turned, signs


def train(
    options: argparse.Namespace,
    names: Sequence[str],
    images: np.ndarray,
    targets: np.ndarray,
) -> GalaxyRegressor:
    """Train a network on images in all orientations."""
    settings = {"max_epochs": options.epochs}
    if not {"g1", "g2"} & set(names):
        settings["augment"] = "symmetries"
    elif options.copies > 1:
        # What varies batches knows nothing of targets, which have to turn, too. No
        # images are set aside for validation: copies of them would be in both parts.
        pairs = list(orientations(images, names, options.copies))
        images = np.concatenate([turned for turned, _ in pairs])
        targets = np.concatenate([targets * signs for _, signs in pairs])
        epochs = max(1, round(options.epochs / options.copies))
        settings = {"max_epochs": epochs, "train_split": None}
    network = GalaxyRegressor(
        options.module,
        module__width=options.width,
        stretch="asinh",
        batch_size=options.batch_size,
        lr=options.lr,
        device=options.device,
        random_state=options.seed,
        **settings,
    )
    return network.fit(images, targets)


def measure(
    network: GalaxyRegressor, names: Sequence[str], images: np.ndarray
) -> np.ndarray:
    """Average what the network says of all eight orientations."""
    return np.mean(
        [
            signs * network.predict(np.ascontiguousarray(turned))
            for turned, signs in orientations(images, names)
        ],
        axis=0,
    )


def bins_of(magnitude: np.ndarray, count: int = 4) -> list[tuple[str, np.ndarray]]:
    """Cut the galaxies into bins of equal width in magnitude."""
    edges = np.linspace(magnitude.min(), magnitude.max(), count + 1)
    number = np.clip(np.digitize(magnitude, edges) - 1, 0, count - 1)
    return [
        (f"{edges[i]:.1f} to {edges[i + 1]:.1f}", number == i) for i in range(count)
    ]


def score(truth: dict, predicted: dict, magnitude: np.ndarray) -> Table:
    """Give R² and scatter of everything, over all galaxies and by magnitude."""
    groups = [("all", np.ones(len(magnitude), bool)), *bins_of(magnitude)]
    lines = []
    for (name, way), values in predicted.items():
        residual = values - truth[name]
        for group, rows in groups:
            if rows.sum() < 2:
                continue
            spread = np.median(np.abs(residual[rows] - np.median(residual[rows])))
            lines.append(
                {
                    "parameter": name,
                    "measured by": way,
                    "magnitudes": group,
                    "galaxies": int(rows.sum()),
                    "R2": round(r2_score(truth[name][rows], values[rows]), 4),
                    "scatter": round(float(residual[rows].std()), 4),
                    "robust scatter": round(1.4826 * float(spread), 4),
                }
            )
    return Table(lines)


def draw_magnitude(truth: np.ndarray, predicted: dict, path: Path) -> None:
    """Draw predicted against true magnitudes, and residuals against magnitude."""
    figure, axes = plt.subplots(
        2, len(predicted), figsize=(3.4 * len(predicted), 6), layout="constrained"
    )
    limits = np.array([truth.min(), truth.max()])
    worst = max(np.abs(values - truth).max() for values in predicted.values())
    largest = min(worst, 0.8)
    for (upper, lower), (way, values) in zip(axes.T, predicted.items(), strict=True):
        residual = values - truth
        upper.plot(truth, values, ".", markersize=2, alpha=0.5)
        upper.plot(limits, limits, color="black", linewidth=0.7)
        upper.set_title(f"{way}\nR² = {r2_score(truth, values):.4f}", fontsize="medium")
        upper.sharex(lower)
        shown = np.clip(residual, -largest, largest)
        lower.plot(truth, shown, ".", markersize=2, alpha=0.5)
        for _, rows in bins_of(truth, 8):
            if rows.sum() > 1:
                lower.errorbar(
                    truth[rows].mean(),
                    residual[rows].mean(),
                    residual[rows].std(),
                    fmt="o",
                    markersize=3,
                    color="black",
                    capsize=2,
                )
        lower.axhline(0, color="black", linewidth=0.7)
        lower.set(ylim=(-1.05 * largest, 1.05 * largest), xlabel="true magnitude")
        lower.set_title(f"scatter {residual.std():.3f} mag", fontsize="medium")
    axes[0, 0].set_ylabel("measured magnitude")
    axes[1, 0].set_ylabel("measured - true")
    save_figure(figure, path)


def draw_parameters(truth: dict, predicted: dict, magnitude, path: Path) -> None:
    """Draw predicted against true values of several parameters."""
    figure, axes = plt.subplots(
        1, len(SEVERAL), figsize=(3.6 * len(SEVERAL), 3.6), layout="constrained"
    )
    for axis, name in zip(axes, SEVERAL, strict=True):
        values = predicted[name, "network"]
        points = axis.scatter(
            truth[name], values, c=magnitude, s=3, cmap="viridis", rasterized=True
        )
        limits = np.array([truth[name].min(), truth[name].max()])
        axis.plot(limits, limits, color="black", linewidth=0.7)
        axis.set_title(f"R² = {r2_score(truth[name], values):.3f}")
        axis.set(xlabel=f"true {LABELS[name]}", ylabel="measured")
    figure.colorbar(points, ax=axes, label="magnitude")
    save_figure(figure, path)


def draw_scores(scores: Table, path: Path) -> None:
    """Draw how R² and the scatter of the magnitude depend on the magnitude."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    scores = scores[scores["magnitudes"] != "all"]
    for name in SEVERAL:
        rows = scores[scores["parameter"] == name]
        left.plot(rows["magnitudes"], rows["R2"], "o-", label=LABELS[name])
    left.set(xlabel="magnitude", ylabel="R²")
    left.set_ylim(top=1)
    left.legend(fontsize="small")
    magnitudes = scores[scores["parameter"] == "magnitude"]
    for way in dict.fromkeys(magnitudes["measured by"]):
        rows = magnitudes[magnitudes["measured by"] == way]
        right.plot(rows["magnitudes"], rows["scatter"], "o-", label=way)
    right.set(xlabel="magnitude", ylabel="scatter (mag)")
    right.set_ylim(bottom=0)
    right.legend(fontsize="small")
    save_figure(figure, path)


def write_csv(table: Table, path: Path) -> None:
    """Write a table, whole or not at all."""
    with atomic_write(path) as file:
        table.write(file, format="ascii.csv")


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure, whole or not at all."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    galaxies, apart = load(options)
    images = galaxies.images[:]
    truth = {name: np.asarray(galaxies.parameters[name]) for name in LABELS}
    kept = {name: values[apart] for name, values in truth.items()}
    predicted = {
        ("magnitude", way): values
        for way, values in photometry(galaxies, images, apart).items()
    }
    for names in (("magnitude",), SEVERAL):
        targets = np.column_stack([truth[name] for name in names])[~apart]
        print(f"Training on {len(targets)} images for {', '.join(names)}")
        start = time.perf_counter()
        network = train(options, names, images[~apart], targets)
        print(f"Trained in {time.perf_counter() - start:.0f} s")
        measured = measure(network, names, images[apart])
        for name, values in zip(names, measured.T, strict=True):
            predicted[name, "network"] = values

    scores = score(kept, predicted, kept["magnitude"])
    scores[scores["magnitudes"] == "all"].pprint(max_lines=-1, max_width=-1)
    write_csv(scores, options.out / "scores.csv")
    catalog = Table({"row": np.flatnonzero(apart), **kept})
    for (name, way), values in predicted.items():
        catalog[f"{name} by {way}"] = values
    write_csv(catalog, options.out / "predictions.csv")
    magnitudes = {
        way: values for (name, way), values in predicted.items() if name == "magnitude"
    }
    draw_magnitude(kept["magnitude"], magnitudes, options.out / "magnitude.png")
    draw_parameters(kept, predicted, kept["magnitude"], options.out / "parameters.png")
    draw_scores(scores, options.out / "scores.png")
    written = ", ".join(sorted(path.name for path in options.out.iterdir()))
    print(f"Wrote {written} to {options.out}")


if __name__ == "__main__":
    main()
