# SPDX-License-Identifier: BSD-3-Clause
"""
A latent space of galaxies
==========================

A variational autoencoder encodes each image in a few numbers, from which it can be
reconstructed. It needs no labels, and similar galaxies have similar numbers. This
example uses simulated galaxies, whose magnitudes and radii are known; the same code
works for those of a survey.
"""

# %%
# Galaxies
# --------
# Bulges of old stars and disks of younger ones, in three bands, drawn as colors.
import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import make_lupton_rgb
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from skastro import VAETransformer, make_pipeline
from skastro.datasets import make_galaxies
from skastro.inspection import (
    ClusterMosaicDisplay,
    LatentSpaceDisplay,
    ReconstructionDisplay,
)

galaxies = make_galaxies(
    500,
    size=48,
    bands=("g", "r", "z"),
    profile="both",
    sersic_index=(1, 2),
    magnitude=(17, 19),
    half_light_radius=(0.6, 2.0),
    random_state=0,
    verbose=0,
)


def colors(image: np.ndarray) -> np.ndarray:
    """Draw three bands as blue, green and red, faint light beside bright."""
    # Pixels are set to at least 1 electron: the stretch divides by the brightness.
    blue, green, red = np.maximum(np.moveaxis(image, -1, 0), 1)
    return make_lupton_rgb(red / 1.6, green, 1.6 * blue, stretch=400, Q=8)


images = np.stack([colors(image) for image in galaxies.images])
train, test = images[:400], images[400:]

# %%
# Eight numbers per image
# -----------------------
# Training images are shown in random orientations. The reconstructions are of galaxies
# that were kept apart. Eight numbers cannot encode the noise and shades of color.
pipe = make_pipeline(
    VAETransformer(
        latent_dim=8,
        module__widths=(16, 32, 64),
        augment="symmetries",
        lr=3e-3,
        max_epochs=30,
        random_state=0,
        verbose=0,
    ),
    KMeans(6, n_init=10, random_state=0),
).fit(train)
ReconstructionDisplay.from_estimator(pipe, test[:7], residuals=True)

# %%
# A map
# -----
# Two principal components of the eight numbers make a map. The galaxies are ordered by
# their magnitude, which the network does not know.
latent = pipe[:-1].transform(images)
LatentSpaceDisplay.from_predictions(
    latent,
    images=images,
    labels=galaxies.parameters["magnitude"],
    label_name="Magnitude",
    random_state=0,
)

# %%
# Clusters
# --------
# The pipeline ends in a clustering. The figure shows the galaxies nearest to the center
# of each cluster, and the size of the cluster in parentheses.
ClusterMosaicDisplay.from_estimator(pipe, images)

# %%
# Similar galaxies
# ----------------
# Neighbors in the latent space look similar. Each row begins with the galaxy itself.
search = NearestNeighbors(n_neighbors=8).fit(latent)
_, rows = search.kneighbors(latent[[3, 14, 15]])

figure, axes = plt.subplots(3, 8, figsize=(8, 3.2), layout="constrained")
for ax, row in zip(axes.flat, rows.flat, strict=True):
    ax.imshow(images[row])
    ax.set_axis_off()

# %%
# From one galaxy to another
# --------------------------
# Every point of the latent space can be decoded, including those between two galaxies.
start, end = latent[[3, 15]]
points = np.linspace(start, end, 8)
between = pipe[0].inverse_transform(points)

figure, axes = plt.subplots(1, 8, figsize=(8, 1.2), layout="constrained")
for ax, image in zip(axes, between, strict=True):
    ax.imshow(image.clip(0, 255).astype(np.uint8))
    ax.set_axis_off()
plt.show()
