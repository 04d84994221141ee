# SPDX-License-Identifier: BSD-3-Clause
"""The published networks for Galaxy10 on galaxies that GalSim simulates.

Ten classes, those of Galaxy10 SDSS, are made by parameters: profile, ellipticity,
fraction of the bulge, and the pitch angle of two logarithmic spiral arms. They are as
frequent as in Galaxy10, and have its 69 x 69 pixels in three colors::

    python -m benchmarks.simulated_galaxy10 --galaxies 2000

A fifth is kept apart and judged once, by the epoch of lowest validation loss: of the
ResNet-50 of the recipe ``resclass``, of the perceptron of ``mlp``, and of
``GalaxyClassifier`` as it is. ``--galaxies 20000`` is the size of the real set. The
table says how well parameters can be read from images, not how the networks do on real
galaxies, whose labels are votes. ``--draw FILE`` draws some galaxies of each class.
"""

import argparse
import time

import numpy as np
import torch
from astropy.visualization import make_lupton_rgb
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import train_test_split

from skastro import GalaxyClassifier
from skastro.datasets import make_galaxies

SIZE = 69
BANDS = ("g", "r", "i")
SKY = 3000.0
ROUND, FLAT = {"profile": "sersic"}, {"profile": "bulge+disk"}
FACE_ON, EDGE_ON = (0.0, 0.35), (0.75, 0.88)
# Class, its part of Galaxy10 SDSS, parameters, and the pitch angles of arms in degrees.
CLASSES = (
    ("face-on disk", 0.157, FLAT, FACE_ON, {"bulge_fraction": (0.05, 0.4)}, None),
    ("round", 0.321, ROUND, (0.0, 0.15), {"sersic_index": (2.5, 5)}, None),
    ("in between", 0.289, ROUND, (0.2, 0.5), {"sersic_index": (2.5, 5)}, None),
    ("cigar", 0.018, ROUND, (0.6, 0.8), {"sersic_index": (2.5, 5)}, None),
    ("edge-on, bulge", 0.070, FLAT, EDGE_ON, {"bulge_fraction": (0.25, 0.5)}, None),
    # No profile is boxy: the bulge has most of the light.
    ("edge-on, boxy", 0.001, FLAT, EDGE_ON, {"bulge_fraction": (0.6, 0.8)}, None),
    ("edge-on, no bulge", 0.027, FLAT, EDGE_ON, {"bulge_fraction": (0, 0.05)}, None),
    ("tight arms", 0.051, FLAT, FACE_ON, {"bulge_fraction": (0.1, 0.4)}, (8, 14)),
    ("medium arms", 0.042, FLAT, FACE_ON, {"bulge_fraction": (0.05, 0.3)}, (14, 22)),
    ("loose arms", 0.024, FLAT, FACE_ON, {"bulge_fraction": (0, 0.2)}, (22, 40)),
)
# A class needs galaxies in all three parts.
FEWEST = 6


def simulate(n_galaxies: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of bytes and the numbers of their classes."""
    rng = np.random.default_rng(seed)
    images, target = [], []
    for number, (_, part, profile, ellipticity, more, pitch) in enumerate(CLASSES):
        galaxies = make_galaxies(
            max(FEWEST, round(part * n_galaxies)),
            size=SIZE,
            bands=BANDS,
            magnitude=(14.5, 17.5),
            half_light_radius=(2.0, 5.5),
            ellipticity=ellipticity,
            pixel_scale=0.396,
            psf_fwhm=(1.0, 1.6),
            noise=None,
            random_state=seed + number,
            verbose=0,
            **profile,
            **more,
        )
        flux = galaxies.images
        if pitch is not None:
            flux = flux * arms(galaxies.parameters, np.radians(pitch), rng)
        flux = rng.poisson(np.maximum(flux, 0) + SKY) - SKY
        # Pixels without light in any band divide by 0, and become black.
        with np.errstate(invalid="ignore"):
            images += [
                # Axes of the sky, not transposed; the reddest band becomes red.
                make_lupton_rgb(*np.moveaxis(image, -1, 0)[::-1], stretch=400, Q=8)
                for image in flux
            ]
        target += [number] * len(flux)
    return np.stack(images), np.array(target)


def arms(
    parameters: np.ndarray, pitch: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return factors that make two arms, which begin at half the half-light radius."""
    rows, columns = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    factors = []
    for galaxy in parameters:
        turn = np.radians(galaxy["position_angle"])
        along = columns * np.cos(turn) + rows * np.sin(turn)
        across = rows * np.cos(turn) - columns * np.sin(turn)
        across /= 1 - galaxy["ellipticity"]
        radius = np.hypot(along, across)
        scale = galaxy["half_light_radius"] / 0.396
        winding = np.log(np.maximum(radius, 0.5) / scale) / np.tan(rng.uniform(*pitch))
        winding *= rng.choice([-1, 1])
        phase = 2 * (np.arctan2(across, along) - winding) + rng.uniform(0, 2 * np.pi)
        strength = rng.uniform(0.5, 0.9) / (1 + (0.5 * scale / (radius + 0.1)) ** 4)
        factors.append(1 + strength * np.cos(phase))
    return np.stack(factors)[..., None]


def candidates(seed: int) -> dict[str, BaseEstimator]:
    """Make the classifiers, by name."""
    common = {"random_state": seed, "verbose": 0}
    return {
        "mlp": GalaxyClassifier.from_recipe("mlp", **common),
        "default": GalaxyClassifier(sampler="balanced", **common),
        "resclass": GalaxyClassifier.from_recipe("resclass", **common),
    }


def draw(images: np.ndarray, target: np.ndarray, path: str) -> None:
    """Draw a row of galaxies of each class."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(10, 6, figsize=(6, 10.5), layout="constrained")
    for number, row in enumerate(axes):
        row[0].set_ylabel(CLASSES[number][0], rotation=0, ha="right")
        for axis, image in zip(row, images[target == number], strict=False):
            axis.imshow(image, origin="lower")
            axis.set(xticks=[], yticks=[])
    figure.savefig(path)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(candidates(0)))
    parser.add_argument("--draw", metavar="FILE")
    options = parser.parse_args()
    images, target = simulate(options.galaxies, options.seed)
    if options.draw:
        draw(images, target, options.draw)
    train, test = train_test_split(
        np.arange(len(target)), test_size=0.2, stratify=target, random_state=0
    )
    print(f"{torch.get_num_threads()} threads, {len(train)} + {len(test)} galaxies")
    print("| network | validation | kept apart | balanced | fit (CPU s) |")
    print("|---|---|---|---|---|")
    for name, classifier in candidates(options.seed).items():
        if name not in options.only:
            continue
        start = time.process_time()
        classifier.fit(images[train], target[train])
        seconds = time.process_time() - start
        losses = classifier.history[:, "valid_loss"]
        best = classifier.history[int(np.argmin(losses)), "valid_acc"]
        predicted = classifier.predict(images[test])
        print(
            f"| {name} | {best:.3f} | {accuracy_score(target[test], predicted):.3f} | "
            f"{balanced_accuracy_score(target[test], predicted):.3f} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
