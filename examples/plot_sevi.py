# SPDX-License-Identifier: BSD-3-Clause
"""
Anisotropy of electrons in velocity-map images
==============================================

Light detaches electrons from ions, and a detector shows where they arrive. Electrons of
one energy form a shell, and the detector records its projection. The aim is the angular
distribution of the electrons relative to the polarization of the light, with error
bars.
"""

# %%
# Simulated images
# ----------------
# Each image has two shells, each with 12 coefficients of its angular density
# 1/2 + Σ β_l P_2l(cos θ), on a background of a tenth as many electrons.

import matplotlib.pyplot as plt
import numpy as np

from skastro import SEVIRegressor
from skastro.sevi import SEVIDisplay, make_sevi

shells = {"n_shells": 2, "size": 96, "min_separation": 0.1, "background": 0.1}
train = make_sevi(80, n_electrons=(3e3, 3e4), random_state=0, verbose=0, **shells)
test = make_sevi(10, n_electrons=1e4, random_state=7, verbose=0, **shells)

# %%
# A fit with error bars
# ---------------------
# The regressor learns how many shells there are, and how their coefficients are
# distributed. To predict, it fits shells to the counts of each image. It finds the
# radii by itself, and a short training of its network is enough.

reg = SEVIRegressor(max_epochs=2, random_state=0, verbose=0)
reg.fit(train.images, train.beta)
beta, beta_std = reg.predict(test.images, return_std=True)

# %%
# The figure shows the image with the fitted rings in one half, the residual, angular
# densities with 90 % bands, the true ones dashed, and the counts along the radius.

SEVIDisplay.from_estimator(reg, test.images[1], beta_true=test.beta[1])

# %%
# Are the error bars right?
# -------------------------
# In units of its error bar, an error has a standard deviation of about one.

print(f"standard deviation: {np.std((beta - test.beta) / beta_std):.2f}")
figure, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
for order in range(3):
    # The first shell has columns 0 to 11, the second one 12 to 23.
    each = [values[:, order::12].ravel() for values in (test.beta, beta, beta_std)]
    ax.errorbar(*each, fmt="o", markersize=3, label=rf"$\beta_{order + 1}$")
ax.axline((0.5, 0.5), slope=1, color="0.6", linewidth=1, zorder=0)
ax.set(xlabel="True coefficient", ylabel="Measured coefficient")
ax.legend()

# %%
# A distorted image
# -----------------
# Detectors rotate, stretch and displace images. The regressor tests each image, and
# fits tilt, ellipticity and center of those that are distorted.

settings = {"size": 96, "n_electrons": 3e4, "verbose": 0}
known = make_sevi(50, random_state=1, **settings)
odd = make_sevi(
    1, tilt=6, ellipticity=0.03, center_offset=1.5, random_state=3, **settings
)
single = SEVIRegressor(max_epochs=1, random_state=0, verbose=0)
single.fit(known.images, known.beta)
found = SEVIDisplay.from_estimator(single, odd.images, beta_true=odd.beta).shells
print(f"tilt {found.tilt[0]:.2f} degrees (true {odd.tilt[0]:.2f})")
print(f"ellipticity {found.ellipticity[0]:.4f} (true {odd.ellipticity[0]:.4f})")
plt.show()
