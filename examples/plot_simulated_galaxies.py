# SPDX-License-Identifier: BSD-3-Clause
"""
Simulated galaxies
==================

:func:`~skastro.datasets.make_galaxies` simulates images of galaxies whose magnitude,
size, profile and shape are known. This page shows images in colors, what noise and
seeing do to them, and compares profiles with Sérsic's law.
"""

# %%
# A survey of galaxies
# --------------------
# Every galaxy is the sum of a bulge of old stars and a disk of younger ones, or has a
# Sérsic profile. Seeing blurs it, and the sky and the detector add noise.

import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import make_lupton_rgb

from skastro.datasets import make_galaxies
from skastro.simulation import sersic_flux_fraction

kinds = {"bands": ("g", "r", "z"), "profile": "both", "sersic_index": (1, 2)}
survey = make_galaxies(
    28, size=96, magnitude=(17.5, 20.5), random_state=0, verbose=0, **kinds
)
print(survey.parameters["profile", "magnitude", "half_light_radius", "ellipticity"])

figure, axes = plt.subplots(4, 7, figsize=(10.5, 6), layout="constrained")
for ax, image in zip(axes.flat, survey.images, strict=True):
    # The stretch divides by the brightness: hence at least one electron.
    blue, green, red = np.moveaxis(image, -1, 0).clip(min=1)
    ax.imshow(make_lupton_rgb(red / 1.6, green, 1.6 * blue, stretch=150, Q=8))
    ax.set_axis_off()

# %%
# What noise and seeing do
# ------------------------
# With the same ``random_state`` the galaxies are the same for any noise.

settings = {"size": 64, "magnitude": (18, 22), "half_light_radius": 1.2}
settings |= {"sersic_index": 1.0, "random_state": 4, "verbose": 0}
samples = {
    "no noise": make_galaxies(6, noise=None, **settings),
    "noise": make_galaxies(6, **settings),
    "twice the seeing": make_galaxies(6, psf_fwhm=(1.2, 2.0), **settings),
}
figure, axes = plt.subplots(3, 6, figsize=(10.5, 5.4), layout="constrained")
for line, (name, sample) in zip(axes, samples.items(), strict=True):
    line[0].set_ylabel(name)
    magnitudes = sample.parameters["magnitude"]
    for ax, image, magnitude in zip(line, sample.images, magnitudes, strict=True):
        ax.imshow(np.arcsinh(image / 30), origin="lower", cmap="magma", vmin=-1)
        ax.set(xticks=[], yticks=[], title=f"{magnitude:.1f} mag")

# %%
# Profiles
# --------
# Circles are the light within a radius, in images without noise, and lines Sérsic's
# law; the dotted line is the half-light radius. Seeing moves some light outwards.

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
radii = np.linspace(0.3, 12, 60)
settings = {"magnitude": 18, "half_light_radius": 2.5, "ellipticity": 0, "verbose": 0}
settings |= {"psf_fwhm": 0.5, "noise": None, "random_state": 0}
for index, color in ((0.5, "C0"), (1.0, "C2"), (4.0, "C3")):
    sample = make_galaxies(1, sersic_index=index, **settings)
    x, y = sample.parameters["x"][0], sample.parameters["y"][0]
    rows, columns = np.indices(sample.images[0].shape)
    distance = np.hypot(columns - x, rows - y) * sample.pixel_scale
    total = 10 ** (-0.4 * (18 - sample.zero_points[0]))
    light = [sample.images[0][distance < radius].sum() / total for radius in radii]
    ax.plot(radii, light, ".", color=color, label=f"n = {index:g}")
    ax.plot(radii, sersic_flux_fraction(radii / 2.5, index), color=color)
ax.axvline(2.5, color="black", linestyle=":", linewidth=1)
ax.set(xlabel="Radius (arcsec)", ylabel="Part of the light within it")
ax.legend()
plt.show()
