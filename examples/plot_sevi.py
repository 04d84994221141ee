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
# Each image has two shells of about ten thousand electrons, on a background of a tenth
# as many. The coefficients β_1 to β_12 of the angular density
# 1/2 + Σ β_l P_2l(cos θ) are known, 12 for each shell.
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
# The regressor learns from the training images how many shells there are, and how their
# coefficients are distributed. To predict, it fits shells to the counts of each image:
# radii, widths, numbers of electrons, background and coefficients. It finds the radii
# by itself, and a short training of its network is enough.
reg = SEVIRegressor(max_epochs=2, random_state=0, verbose=0)
reg.fit(train.images, train.beta)
beta, beta_std = reg.predict(test.images, return_std=True)

# %%
# A figure of a fit
# -----------------
# The upper left shows the image, with the fitted rings in one half. The upper right
# shows the residual in standard deviations, which is only noise. The lower left shows
# the angular densities with 90 % bands, and the true ones, dashed. The lower right
# shows the mean counts along the radius.
SEVIDisplay.from_estimator(reg, test.images[1], beta_true=test.beta[1])

# %%
# Are the error bars right?
# -------------------------
# The errors of all coefficients, in units of their error bars, have a standard
# deviation of about one.
pull = (beta - test.beta) / beta_std
print(f"standard deviation of the pulls: {pull.std():.2f}")

figure, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
for order, color in enumerate(["C0", "C1", "C2"]):
    columns = [order, order + 12]
    ax.errorbar(
        test.beta[:, columns].ravel(),
        beta[:, columns].ravel(),
        yerr=beta_std[:, columns].ravel(),
        fmt="o",
        markersize=3,
        color=color,
        label=rf"$\beta_{order + 1}$",
    )
ax.axline((0.5, 0.5), slope=1, color="0.6", linewidth=1, zorder=0)
ax.set(xlabel="True", ylabel="Measured")
ax.legend()

# %%
# A distorted image
# -----------------
# Detectors rotate, stretch and displace images. A fit without distortion then leaves a
# large residual, and its coefficients are wrong.
odd = make_sevi(
    1,
    size=80,
    n_electrons=3e4,
    tilt=6,
    ellipticity=0.03,
    center_offset=1.5,
    random_state=3,
    verbose=0,
)
one_shell = make_sevi(50, size=80, n_electrons=3e4, random_state=1, verbose=0)
upright = SEVIRegressor(distortion=False, max_epochs=1, random_state=0, verbose=0)
upright.fit(one_shell.images, one_shell.beta)
SEVIDisplay.from_estimator(upright, odd.images, beta_true=odd.beta)

# %%
# By default the regressor tests each image, and also fits tilt, ellipticity and center
# of those that are distorted:
regressor = SEVIRegressor(max_epochs=1, random_state=0, verbose=0)
regressor.fit(one_shell.images, one_shell.beta)
display = SEVIDisplay.from_estimator(regressor, odd.images, beta_true=odd.beta)
found = display.shells
print(
    f"tilt {found.tilt[0]:.2f} degrees (true {odd.tilt[0]:.2f}), ellipticity "
    f"{found.ellipticity[0]:.4f} ({odd.ellipticity[0]:.4f}), center "
    f"{np.round(found.center[0] + 39.5, 2)} ({np.round(odd.center[0], 2)})"
)
plt.show()
