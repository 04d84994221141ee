# SPDX-License-Identifier: BSD-3-Clause
"""
Rings of a camera image
=======================

An image of photoelectrons has a ring for each vibrational state of the molecule. This
page finds the center of such an image, measures how much its pixels scatter, and fits
the anisotropy of each ring. :func:`~skastro.sevi.read_sevi` reads measured images.
"""

# %%
# The image
# ---------
# Five rings of O₂⁻ are simulated, with radii and anisotropies as measured. A camera
# adds up light, so that its pixels scatter more: here each electron counts twice.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.signal import fftconvolve
from scipy.stats import chi2

from skastro.sevi import SEVIDisplay, SEVISimulator, ShellPrior, fit_shells

radius = np.array([318, 340, 360, 379, 398])
b = np.array([-0.75, -0.84, -0.9, -0.93, -0.93])
simulator = SEVISimulator(n_shells=5, size=963, polarization_axis=0)
generator = torch.Generator().manual_seed(0)
scenes = simulator.draw(1, generator)
scenes["radius"] = torch.tensor(radius[None] / 481.5)
scenes["beta"] = torch.nn.functional.pad(torch.tensor(b[None, :, None] / 2), (0, 11))
scenes["n_electrons"] = torch.full((1, 5), 3e5)
image = np.pad(2 * simulator.count(scenes, generator)[0].numpy(), ((5, 20), (31, 8)))

# %%
# Center and scatter
# ------------------
# The center is where the image is most symmetric under a half turn. The scatter is
# measured by comparing the image with itself, turned, in blocks of 3 x 3 pixels.

correlation = fftconvolve(image, image)
row, column = np.unravel_index(correlation.argmax(), correlation.shape)
row, column = row // 2, column // 2
part = image[row - 481 : row + 482, column - 481 : column + 482]
counts = part.reshape(321, 3, 321, 3).sum(axis=(1, 3))
turned = counts[::-1, ::-1]
square = (counts - turned) ** 2 / (counts + turned).clip(min=1)
excess = np.median(square[counts + turned > 10]) / chi2.median(1)
print(f"center {row}, {column}; {excess:.2f} times the variance of electrons")

# %%
# The fit
# -------
# Electrons that one photon detaches have the density 1 + b P₂(cos θ), with b from -1 to
# 2. The prior is in the package's convention, half of b.

prior = ShellPrior.from_samples(
    np.linspace(-0.5, 1, 100)[:, None], radius=(0.5, 0.95), radius_width=(0.002, 0.01)
)
shape = {"convention": "vmi", "polarization_axis": 0}
shells = fit_shells(counts[None] / excess, 5, prior=prior, **shape)
SEVIDisplay.from_predictions(counts / excess, shells, **shape)

# %%
# The error bars are those of chance. In a measured image, fits to the four quadrants
# show those of the detector.

figure, ax = plt.subplots(layout="constrained")
found, error = shells.beta[0, :, 0], shells.beta_std[0, :, 0]
ax.errorbar(481.5 * shells.radius[0], found, error, fmt="o", label="measured")
ax.plot(radius, b, "k_", markersize=15, label="true")
ax.set(xlabel="Radius (pixels)", ylabel="Anisotropy b")
ax.legend()
plt.show()
