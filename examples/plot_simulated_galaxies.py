# SPDX-License-Identifier: BSD-3-Clause
"""
Simulated galaxies
==================

:func:`~skastro.datasets.make_galaxies` simulates images of galaxies whose magnitude,
size, profile and shape are known. This example shows images as a survey takes them, in
colors, and compares the profiles of single galaxies with Sérsic's law.
"""

# %%
# A survey of galaxies
# --------------------
# Every galaxy is the sum of a bulge of old stars and a disk of younger ones, or has a
# Sérsic profile. Seeing blurs it, and the sky and the detector add noise. Stamps have
# random sizes and are surrounded by zeros.

import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import make_lupton_rgb

from skastro.datasets import make_galaxies
from skastro.simulation import sersic_flux_fraction

galaxies = make_galaxies(
    28,
    size=96,
    stamp_size=(64, 140),
    bands=("g", "r", "z"),
    profile="both",
    sersic_index=(1, 2),
    magnitude=(17.5, 20.5),
    n_neighbors=1.0,
    random_state=0,
    verbose=0,
)
print(galaxies.DESCR)
print(galaxies.parameters["profile", "magnitude", "half_light_radius", "ellipticity"])


def draw(axis, image) -> None:
    """Draw three bands as blue, green and red; faint light shows beside bright."""
    # Pixels are set to at least 1 electron: the stretch divides by the brightness.
    blue, green, red = np.maximum(np.moveaxis(image, -1, 0), 1)
    axis.imshow(
        make_lupton_rgb(red / 1.6, green, 1.6 * blue, stretch=150, Q=8), origin="lower"
    )
    axis.set_axis_off()


figure, axes = plt.subplots(4, 7, figsize=(10.5, 6), layout="constrained")
for axis, image in zip(axes.ravel(), galaxies.images, strict=True):
    draw(axis, image)

# %%
# What noise and seeing do
# ------------------------
# With the same `random_state` the galaxies are the same for any noise. Position angles
# are measured from the direction of growing columns to that of growing rows.

settings = {
    "size": 64,
    "sersic_index": 1.0,
    "magnitude": (18, 22),
    "half_light_radius": 1.2,
    "ellipticity": 0.6,
    "random_state": 4,
    "verbose": 0,
}
rows = {
    "no noise": make_galaxies(6, noise=None, **settings),
    "noise": make_galaxies(6, **settings),
    "blurred twice as much": make_galaxies(6, psf_fwhm=(1.2, 2.0), **settings),
}
figure, axes = plt.subplots(3, 6, figsize=(10.5, 5.6), layout="constrained")
for line, (name, sample) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, image, row in zip(line, sample.images, sample.parameters, strict=True):
        axis.imshow(np.arcsinh(image / 30), origin="lower", cmap="magma", vmin=-1)
        axis.set(xticks=[], yticks=[])
        angle = np.radians(row["position_angle"])
        along = 14 * np.array([-1, 1])
        axis.plot(
            row["x"] + along * np.cos(angle),
            row["y"] + along * np.sin(angle),
            color="white",
            linewidth=0.6,
        )
        if name == "no noise":
            axis.set_title(
                f"{row['magnitude']:.1f} mag, {row['position_angle']:.0f}°",
                fontsize="small",
            )

# %%
# Profiles
# --------
# Galaxies with the same half-light radius differ in the light at large radii. Circles
# show the light within a radius, measured in images without noise, and lines show
# Sérsic's law; the dotted line is the half-light radius. Seeing moves some light
# outwards.

figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
radii = np.linspace(0.3, 12, 60)
for index, color in ((0.5, "tab:blue"), (1.0, "tab:green"), (4.0, "tab:red")):
    sample = make_galaxies(
        1,
        magnitude=18,
        sersic_index=index,
        half_light_radius=2.5,
        ellipticity=0,
        psf_fwhm=0.5,
        noise=None,
        random_state=0,
        verbose=0,
    )
    x, y = sample.parameters["x"][0], sample.parameters["y"][0]
    height, width = np.indices(sample.images[0].shape)
    distance = np.hypot(width - x, height - y) * sample.pixel_scale
    total = 10 ** (-0.4 * (18 - sample.zero_points[0]))
    measured = [sample.images[0][distance < radius].sum() / total for radius in radii]
    axis.plot(radii, measured, "o", markersize=3, color=color, label=f"n = {index:g}")
    axis.plot(radii, sersic_flux_fraction(radii / 2.5, index), color=color)
axis.axvline(2.5, color="black", linestyle=":", linewidth=1)
axis.set(xlabel="radius (arcsec)", ylabel="fraction of light within it", ylim=(0, 1.02))
axis.legend()
plt.show()
