# SPDX-License-Identifier: BSD-3-Clause
"""
Measure galaxies
================

A network measures the magnitude and the half-light radius of faint galaxies. GalSim
simulates them, so that the truth is known, and the magnitudes are compared with those
of summed pixels.
"""

# %%
# Images
# ------

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from skastro import GalaxyRegressor
from skastro.datasets import make_galaxies
from skastro.inspection import MeasurementDisplay

settings = {"magnitude": (20, 23), "sersic_index": (0.5, 2), "random_state": 0}
galaxies = make_galaxies(1000, size=40, verbose=0, **settings)
images, table = galaxies.images, galaxies.parameters
y = np.column_stack([table["magnitude"], np.log10(table["half_light_radius"])])
train, test = train_test_split(np.arange(1000), test_size=0.25, random_state=0)

# %%
# Training
# --------
# Neither number depends on the orientation, so that images are turned and mirrored in
# training, and predictions averaged over these symmetries. ``stretch`` shows faint
# outskirts beside bright cores.

reg = GalaxyRegressor(
    module__width=16,
    stretch="asinh",
    augment="symmetries",
    tta=True,
    max_epochs=20,
    random_state=0,
    verbose=0,
)
reg.fit(images[train], y[train])

# %%
# Measurements of galaxies kept apart
# -----------------------------------

found = reg.predict(images[test])
MeasurementDisplay.from_predictions(
    y[test], found, target_names=["Magnitude", "lg of the radius (arcsec)"]
)
plt.show()

# %%
# Summed light
# ------------
# A sum over all pixels, on a scale fitted to the training images, has all the noise of
# the sky. The network weighs the pixels.

flux = images.sum(axis=(1, 2)).clip(min=1)
instrumental = -2.5 * np.log10(flux)[:, None]
line = LinearRegression().fit(instrumental[train], y[train, 0])
ways = {"summed pixels": line.predict(instrumental[test]), "network": found[:, 0]}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, magnitude in ways.items():
    off = magnitude - y[test, 0]
    ax.plot(y[test, 0], off, ".", label=f"{name}, scatter {off.std():.3f} mag")
ax.axhline(0, color="black", linewidth=0.7)
ax.set(xlabel="True magnitude", ylabel="Measured - true (mag)")
ax.legend()
plt.show()
