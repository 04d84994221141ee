# SPDX-License-Identifier: BSD-3-Clause
"""
Classify radio galaxies
=======================

Jets of radio galaxies end in hot spots (Fanaroff-Riley class II) or fade away from the
core (class I); others are bent, or too small to be resolved. A network tells the four
classes, after pixels below three standard deviations of the noise are set to zero. The
images are those of ``galaxies_radio.h5`` in the folder ``SKASTRO_DATA``, or simulated.
"""

# %%
# Images
# ------

import os

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import sigma_clipped_stats
from scipy.ndimage import gaussian_filter
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skastro import GalaxyClassifier
from skastro.datasets import read_galaxy10

NAMES = ["FRI", "FRII", "Compact", "Bent"]
rng = np.random.default_rng(0)


def simulate(kind: str) -> np.ndarray:
    """Draw two jets on noise."""
    along, image = np.linspace(-1, 1, 61), np.zeros((150, 150))
    length = 1 if kind == "Compact" else rng.uniform(12, 30)
    angle = rng.uniform(0, np.pi) + along * (kind == "Bent")
    flux = along**6 if kind == "FRII" else np.exp(-3 * np.abs(along))
    row, column = length * along * np.stack([np.sin(angle), np.cos(angle)])
    np.add.at(image, ((75 + row).astype(int), (75 + column).astype(int)), flux)
    image = gaussian_filter(image, 2)
    return image * 200 / image.max() + rng.normal(12, 4, image.shape)


if data := os.environ.get("SKASTRO_DATA"):
    galaxies = read_galaxy10(f"{data}/galaxies_radio.h5", verbose=0)
    images, target = galaxies.images, galaxies.target
    is_train = np.asarray(galaxies.table["split"]) == "train"
else:
    target, is_train = np.array(NAMES * 150), np.arange(600) < 400
    images = np.array([simulate(kind) for kind in target]).clip(0, 255).astype(np.uint8)
classes = [np.flatnonzero(is_train & (target == name))[:100] for name in NAMES]
train, test = np.concatenate(classes), np.flatnonzero(~is_train)
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, name, rows in zip(axes, NAMES, classes, strict=True):
    ax.imshow(images[rows[0]], cmap="inferno", origin="lower")
    ax.set(title=name, xticks=[], yticks=[])
plt.show()

# %%
# A pipeline
# ----------
# The noise is estimated in each image. The weights of the package have learned from the
# training part of the real images, among others, but have not seen those kept apart.


def clip_noise(images: np.ndarray) -> np.ndarray:
    """Set noise to zero, and keep the middle of the images."""
    _, level, noise = sigma_clipped_stats(images, axis=(1, 2))
    source = images > (level + 3 * noise)[:, None, None]
    return np.where(source, images, 0)[:, 25:-25, 25:-25]


settings = {"tta": True, "random_state": 0, "verbose": 0}
network = GalaxyClassifier.from_pretrained("galaxies", **settings)
pipe = make_pipeline(FunctionTransformer(clip_noise), network)
predicted = pipe.fit(images[train], target[train]).predict(images[test])
ConfusionMatrixDisplay.from_predictions(target[test], predicted, labels=NAMES)
plt.show()
