# SPDX-License-Identifier: BSD-3-Clause
"""
Classify radio galaxies: clip the noise, start from trained weights
===================================================================

Jets of radio galaxies end in hot spots (Fanaroff-Riley class II) or fade away from the
core (class I); others are bent, or too small to be resolved. A network tells these four
classes in images of the survey FIRST, with the pipeline that such images need: pixels
below three standard deviations of the noise are set to zero, and the middle is kept.

The images are those of ``galaxies_radio.h5`` in the folder that the environment
variable ``SKASTRO_DATA`` names, or simulated ones if there is no such file.
"""

# %%
# Images
# ------
# Training and test are the parts that the file calls train and valid. To be quick, the
# network is trained on 100 images of each class.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import sigma_clipped_stats
from scipy.ndimage import gaussian_filter
from sklearn.metrics import ConfusionMatrixDisplay, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skastro import GalaxyClassifier
from skastro.datasets import read_galaxy10

NAMES = ["FRI", "FRII", "Compact", "Bent"]


def simulate(n_images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw jets as rows of blobs on noise."""
    images, labels = np.zeros((n_images, 150, 150)), np.arange(n_images) % 4
    along = np.linspace(0, 1, 30)
    for image, label in zip(images, labels, strict=True):
        length = rng.uniform(12, 30) if label != 2 else 1.0
        flux = along**6 * 3 if label == 1 else np.exp(-3 * along)
        bend = rng.uniform(0.5, 1.0) if label == 3 else 0.0
        first = rng.uniform(0, 2 * np.pi)
        for side in (0, np.pi):
            angle = first + side + bend * along * (1 if side else -1)
            x, y = length * along * np.cos(angle), length * along * np.sin(angle)
            np.add.at(image, ((75 + y).astype(int), (75 + x).astype(int)), flux)
        image[:] = gaussian_filter(image, 2.0)
        image *= 200 / image.max()
    images += rng.normal(12, 4, size=images.shape)
    return images.clip(0, 255).astype(np.uint8), np.array(NAMES)[labels]


path = Path(os.environ.get("SKASTRO_DATA", "")) / "galaxies_radio.h5"
rng = np.random.default_rng(0)
if path.is_file():
    galaxies = read_galaxy10(path, verbose=0)
    images, target = galaxies.images, galaxies.target
    is_train = np.asarray(galaxies.table["split"]) == "train"
else:
    images, target = simulate(600, rng)
    is_train = np.arange(600) < 400
train = np.concatenate(
    [
        rng.choice(np.flatnonzero(is_train & (target == name)), 100, replace=False)
        for name in NAMES
    ]
)
test = np.flatnonzero(~is_train)
print(f"{len(train)} images to learn from, {len(test)} kept apart")

# %%
# A pipeline
# ----------
# The noise is estimated in each image from pixels without sources. Images of FIRST in
# the file were clipped before; clipping them again changes nothing. The network starts
# from weights that come with the package. These have learned from all images of the
# training part and their classes, among others, but have not seen those kept apart.


def clip_noise(images: np.ndarray) -> np.ndarray:
    """Set pixels to zero that are below three standard deviations of the noise."""
    _, level, noise = sigma_clipped_stats(images, axis=(1, 2))
    return np.where(images > (level + 3 * noise)[:, None, None], images, 0)


def crop(images: np.ndarray) -> np.ndarray:
    """Keep the middle of the images, where the source is."""
    return images[:, 25:-25, 25:-25]


pipe = make_pipeline(
    FunctionTransformer(clip_noise),
    FunctionTransformer(crop),
    GalaxyClassifier.from_pretrained(
        "galaxies", tta=True, random_state=0, verbose=0, device="cpu"
    ),
).fit(images[train], target[train])
probability = pipe.predict_proba(images[test])
predicted = pipe.classes_[probability.argmax(axis=1)]
print(f"macro-F1: {f1_score(target[test], predicted, average='macro'):.2f}")

# %%
# Which classes are confused?
# ---------------------------
figure, ax = plt.subplots(figsize=(5, 4.2), layout="tight")
ConfusionMatrixDisplay.from_predictions(
    target[test], predicted, labels=NAMES, colorbar=False, cmap="Blues", ax=ax
)
plt.show()

# %%
# The surest right and wrong answers
# ----------------------------------
# The upper row shows the surest right answer of each class, the lower row the surest
# wrong ones, with the class predicted and, in brackets, the true one.
surest = np.argsort(-probability.max(axis=1))
right = predicted == target[test]
best = [[row for row in surest if right[row] and predicted[row] == n] for n in NAMES]
wrong = [row for row in surest if not right[row]]
figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
shown = [(ax, rows[0]) for ax, rows in zip(axes[0], best, strict=True) if rows]
shown += zip(axes[1], wrong, strict=False)
for ax in axes.flat:
    ax.axis("off")
for ax, row in shown:
    ax.imshow(crop(images[test[row]][None])[0], cmap="inferno", origin="lower")
    name = predicted[row] + ("" if right[row] else f" ({target[test[row]]})")
    ax.set_title(f"{name}: {probability[row].max():.2f}", fontsize=10)
plt.show()
