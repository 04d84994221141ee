# SPDX-License-Identifier: BSD-3-Clause
"""
How many numbers does an image need?
====================================

Autoencoders with different numbers of latent dimensions are compared by their
reconstructions of images kept apart, and with as many principal components. Without
figures, ``GridSearchCV`` over ``latent_dim`` chooses the number by the likelihood.
"""

# %%
# Galaxies
# --------

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from skastro import VAETransformer
from skastro.datasets import make_galaxies

ranges = {
    "sersic_index": (0.5, 2),
    "magnitude": (17, 19),
    "half_light_radius": (0.5, 2),
}
galaxies = make_galaxies(500, size=32, random_state=0, verbose=0, **ranges)
images = np.arcsinh(galaxies.images / 100)
train, test = images[:400], images[400:]

# %%
# One training for each size
# --------------------------

sizes = [1, 2, 4, 8]
rows = {"original": test[:8]}
errors = {"autoencoder": [], "principal components": []}
for size in sizes:
    vae = VAETransformer(
        latent_dim=size,
        module__widths=(16, 32, 64),
        augment="symmetries",
        lr=3e-3,
        max_epochs=20,
        random_state=0,
        verbose=0,
    ).fit(train)
    pca = PCA(size, random_state=0).fit(train.reshape(400, -1))
    linear = pca.inverse_transform(pca.transform(test.reshape(100, -1)))
    restored = vae.reconstruct(test)
    rows[f"{size}"] = restored[:8]
    for name, values in zip(
        errors, (restored, linear.reshape(test.shape)), strict=True
    ):
        errors[name].append(np.mean((values - test) ** 2))

# %%
# Errors of images kept apart
# ---------------------------
# These galaxies differ in magnitude, radius, profile and shape; the rest is noise.

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, values in errors.items():
    ax.semilogy(sizes, values, "o-", label=name)
ax.set(xlabel="Latent dimensions", ylabel="Mean squared error (arcsinh of counts)")
ax.legend()
plt.show()

# %%
# The same galaxies with each number of dimensions
# ------------------------------------------------

figure, axes = plt.subplots(len(rows), 8, figsize=(8, 5.2), layout="constrained")
for line, (name, shown) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for ax, image in zip(line, shown, strict=True):
        ax.imshow(image, cmap="gray", vmin=test.min(), vmax=test.max())
        ax.set(xticks=[], yticks=[])
plt.show()
