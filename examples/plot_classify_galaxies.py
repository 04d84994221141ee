# SPDX-License-Identifier: BSD-3-Clause
"""
Classify galaxies
=================

A network learns to tell disks from spheroids in images that GalSim simulates. It starts
from weights of the package, and averages over the orientations of an image in
prediction. ``skastro train galaxies`` does the same with files, from the command line.
"""

# %%
# Images
# ------
# :func:`~skastro.datasets.read_galaxy10` and :func:`~skastro.datasets.read_images` read
# those of surveys.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from skastro import GalaxyClassifier
from skastro.datasets import make_galaxies

kinds = {"disk": 1.0, "spheroid": 4.0}
settings = {"size": 48, "half_light_radius": (1.2, 2.5), "magnitude": (18, 19)}
images = np.concatenate(
    [
        make_galaxies(90, sersic_index=index, random_state=0, verbose=0, **settings)[
            "images"
        ]
        for index in kinds.values()
    ]
)
target = np.repeat(list(kinds), 90)
train, test = train_test_split(
    np.arange(180), test_size=1 / 3, stratify=target, random_state=0
)

# %%
# Training
# --------
# Images are resampled to the 88 pixels of the weights, on the device.

clf = GalaxyClassifier.from_pretrained(
    "galaxies", tta=True, max_epochs=10, verbose=0, random_state=0
)
clf.fit(images[train], target[train])

# %%
# Scores of images kept apart
# ---------------------------

predicted = clf.predict(images[test])
ConfusionMatrixDisplay.from_predictions(
    target[test], predicted, cmap="Blues", colorbar=False
)
plt.show()

# %%
# The mistakes come first, and then images in the order of their probabilities.

probability = clf.predict_proba(images[test]).max(axis=1)
order = np.lexsort([probability, predicted == target[test]])
figure, axes = plt.subplots(2, 5, figsize=(9, 4.4), layout="constrained")
for ax, row in zip(axes.flat, order, strict=False):
    ax.imshow(np.arcsinh(images[test[row]] / 30), cmap="gray", origin="lower")
    ax.set_title(f"{predicted[row]} {probability[row]:.2f}\nis {target[test[row]]}")
    ax.set_axis_off()
# sphinx_gallery_thumbnail_number = 2
plt.show()
