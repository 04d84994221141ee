# SPDX-License-Identifier: BSD-3-Clause
"""Magnitudes and shapes of galaxies, by networks and by aperture photometry.

GalSim simulates the galaxies. A first network measures the magnitude, a second one the
half-light radius, the Sérsic index and both components of the ellipticity at once; a
fifth of the galaxies is kept apart. The magnitude is compared with summed fluxes on the
same noisy images::

    python -m benchmarks.regress_galaxies --width 16 --epochs 20
"""

import argparse
import time
from collections.abc import Iterator, Sequence

import numpy as np
from astropy.table import Table
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import Bunch

from skastro import GalaxyRegressor
from skastro.datasets import make_galaxies

SEVERAL = ("half_light_radius", "sersic_index", "g1", "g2")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
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
    return parser.parse_args(arguments)


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


def main(arguments: list[str] | None = None) -> Table:
    """Simulate, train, measure and print the scores."""
    options = parse_arguments(arguments)
    print(f"Simulating {options.n_galaxies} galaxies")
    galaxies = make_galaxies(
        options.n_galaxies,
        size=options.size,
        splits=(0.8, 0.2),
        random_state=options.seed,
        n_jobs=options.jobs,
    )
    apart = np.asarray(galaxies.parameters["split"]) == "test"
    truth = {
        name: np.asarray(galaxies.parameters[name]) for name in ("magnitude", *SEVERAL)
    }
    kept = {name: values[apart] for name, values in truth.items()}
    predicted = {
        ("magnitude", way): values
        for way, values in photometry(galaxies, galaxies.images, apart).items()
    }
    for names in (("magnitude",), SEVERAL):
        targets = np.column_stack([truth[name] for name in names])[~apart]
        start = time.perf_counter()
        network = train(options, names, galaxies.images[~apart], targets)
        print(f"Trained for {', '.join(names)} in {time.perf_counter() - start:.0f} s")
        measured = measure(network, names, galaxies.images[apart])
        for name, values in zip(names, measured.T, strict=True):
            predicted[name, "network"] = values
    scores = score(kept, predicted, kept["magnitude"])
    scores.pprint(max_lines=-1, max_width=-1)
    return scores


if __name__ == "__main__":
    main()
