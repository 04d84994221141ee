# SPDX-License-Identifier: BSD-3-Clause
"""
A latent space of galaxies
==========================

A variational autoencoder encodes each image in a few numbers, from which it can be
reconstructed. It needs no labels, and similar galaxies have similar numbers.
"""

# %%
# Galaxies
# --------
# Bulges of old stars and disks of younger ones are simulated in three bands and drawn
# as colors. :func:`~skastro.datasets.read_galaxy10` reads those of surveys.

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

kinds = {"profile": "both", "sersic_index": (1, 2), "bands": ("g", "r", "z")}
sizes = {"size": 48, "magnitude": (17, 19), "half_light_radius": (0.6, 2.0)}
galaxies = make_galaxies(500, random_state=0, verbose=0, **kinds, **sizes)
bands = np.moveaxis(galaxies.images, -1, 0).clip(min=1)
colors = zip(bands[2] / 1.6, bands[1], 1.6 * bands[0], strict=True)
images = np.stack([make_lupton_rgb(*color, stretch=400, Q=8) for color in colors])

# %%
# Eight numbers per image
# -----------------------
# The reconstructions are of galaxies that were kept apart. Eight numbers cannot encode
# the noise and shades of color.

settings = {"module__widths": (16, 32, 64), "augment": "symmetries", "lr": 3e-3}
vae = VAETransformer(latent_dim=8, max_epochs=30, random_state=0, verbose=0, **settings)
pipe = make_pipeline(vae, KMeans(6, n_init=10, random_state=0)).fit(images[:400])
ReconstructionDisplay.from_estimator(pipe, images[400:407], residuals=True)

# %%
# A map
# -----
# It has two principal components of the eight numbers. The network knows no magnitudes.

latent = pipe[0].transform(images)
magnitude = {"labels": galaxies.parameters["magnitude"], "label_name": "Magnitude"}
LatentSpaceDisplay.from_predictions(latent, images=images, random_state=0, **magnitude)

# %%
# Clusters
# --------
# Each row has the galaxies nearest to the center of a cluster, and its size.

ClusterMosaicDisplay.from_estimator(pipe, images)

# %%
# Neighbors, and galaxies in between
# ----------------------------------
# The upper row has the galaxies most similar to the first one, the lower row what the
# decoder makes of points between two galaxies.

search = NearestNeighbors(n_neighbors=8).fit(latent)
nearest = images[search.kneighbors(latent[[3]])[1][0]]
between = pipe[0].inverse_transform(np.linspace(latent[3], latent[15], 8)).clip(0, 255)
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2), layout="constrained")
for ax, image in zip(axes.flat, [*nearest, *between], strict=True):
    ax.imshow(image.astype(np.uint8))
    ax.set_axis_off()
plt.show()
