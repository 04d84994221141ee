# SPDX-License-Identifier: BSD-3-Clause
"""
==================================
Simulated spectra beside real ones
==================================

:func:`~skastro.datasets.make_spectra` simulates optical spectra of stars, galaxies and
quasars, so that every example and test runs without a download. This example compares
real spectra with the simulated ones that are most similar in type, redshift and
signal-to-noise ratio.

The real spectra are those of LAMOST and SDSS in the file ``spectra.fits`` of the folder
that the environment variable ``SKASTRO_DATA`` names. If it is not set, only simulated
spectra are drawn.
"""

# %%
# Simulate
# --------
# The result contains the true class, type, redshift and S/N of each spectrum.

import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import lines_of

simulated = make_spectra(3000, snr=(2, 80), random_state=0)
print(simulated.DESCR)

folder = os.environ.get("SKASTRO_DATA", "")
path = Path(folder) / "spectra.fits"
real = read_spectra(path, verbose=0) if folder and path.is_file() else None
if real is None:
    print("SKASTRO_DATA is not set: only simulated spectra are drawn.")

# %%
# Draw a class
# ------------
# Spectra are scaled by their medians. Dotted lines mark the lines of the class at the
# redshift of the spectrum, by their vacuum wavelengths in
# :data:`skastro.simulation.SPECTRAL_LINES`.


def draw(axes, spectra, index, source) -> None:
    """Draw one spectrum with the lines of its class."""
    wavelength, flux = spectra.wavelength, spectra.flux[index]
    scaled = flux / np.nanmedian(flux)
    low, high = np.nanpercentile(scaled, [0.5, 99.6])
    axes.plot(wavelength, scaled, linewidth=0.5, color="black")
    axes.set_ylim(min(0, low) - 0.1, 1.25 * high)
    axes.set_xlim(wavelength[0], wavelength[-1])
    redshift = spectra.redshift[index]
    for line in lines_of(spectra.target[index]):
        position = line.wavelength * (1 + redshift)
        if wavelength[0] < position < wavelength[-1]:
            axes.axvline(position, color="tab:red", linewidth=0.6, linestyle=":")
    subclass = spectra.subclass[index] or spectra.target[index]
    axes.set_title(
        f"{source}: {subclass}, z = {redshift:.4f}, S/N {spectra.snr[index]:.0f}",
        fontsize="small",
    )


def type_number(subclasses) -> np.ndarray:
    """Spectral types as numbers, ten per letter from O0 = 0; NaN for other names."""
    found = [re.match(r"[dg]?([OBAFGKM])(\d)", name) for name in subclasses]
    return np.array(
        [10 * "OBAFGKM".find(m[1]) + int(m[2]) if m else np.nan for m in found]
    )


def most_alike(index) -> int:
    """Find the simulated spectrum that is most like a real one."""
    if real.target[index] == "STAR":
        kind = type_number(real.subclass[[index]])
        distance = np.abs(type_number(simulated.subclass) - kind)
    else:
        # The shape of the continuum represents the type of the galaxy.
        color = np.log(blue_to_red(simulated.flux) / blue_to_red(real.flux[[index]]))
        stretch = np.log((1 + simulated.redshift) / (1 + real.redshift[index]))
        distance = np.abs(color) + 20 * np.abs(stretch)
    distance[simulated.target != real.target[index]] = np.nan
    noise = np.abs(np.log(simulated.snr / np.clip(real.snr[index], 2, 80)))
    return int(np.nanargmin(distance + 0.3 * noise))


def blue_to_red(flux) -> np.ndarray:
    """Ratio of the blue to the red half of spectra."""
    half = flux.shape[1] // 2
    blue, red = np.median(flux[:, :half], axis=1), np.median(flux[:, half:], axis=1)
    return np.maximum(blue, 1e-3) / np.maximum(red, 1e-3)


def draw_class(target, n_rows=6) -> None:
    """Draw spectra of one class, with real ones, if any, on the left."""
    spectra = simulated if real is None else real
    good = (spectra.target == target) & np.isfinite(spectra.flux).all(axis=1)
    good &= (np.median(spectra.flux, axis=1) > 0) & (spectra.snr > 1)
    key = type_number(spectra.subclass) if target == "STAR" else spectra.redshift
    good &= np.isfinite(key)
    (rows,) = np.nonzero(good)
    rows = rows[np.argsort(key[rows], kind="stable")]
    count = n_rows if real is not None else 2 * n_rows
    chosen = rows[np.linspace(0, rows.size - 1, count).astype(int)]
    figure, axes = plt.subplots(
        n_rows, 2, figsize=(12, 1.7 * n_rows), layout="constrained"
    )
    if real is None:
        for axis, index in zip(axes.T.ravel(), chosen, strict=True):
            draw(axis, simulated, index, "simulated")
    else:
        for (left, right), index in zip(axes, chosen, strict=True):
            draw(left, real, index, f"real ({real.survey[index]})")
            draw(right, simulated, most_alike(index), "simulated")
    for axis in axes[-1]:
        axis.set_xlabel("vacuum wavelength (Å)")
    figure.supylabel("flux / median")


# %%
# Stars
# -----
# From hot to cool stars the Balmer lines become weaker, metals and the G band appear,
# and finally the bands of TiO.

draw_class("STAR")

# %%
# Galaxies
# --------
# Old stars show the 4000 Å break and Mg b, gas around young stars emission lines.

draw_class("GALAXY")

# %%
# Quasars
# -------
# Quasars have broad lines that shift with the redshift, and the Lyman-alpha forest from
# redshift 2.2.

draw_class("QSO")

# %%
# Noise
# -----
# Noise increases toward both ends, where the throughput falls, and where the sky is
# bright: the spike at 5579 Å is oxygen, the groups beyond 7000 Å are OH. It is measured
# by the differences of pixels four apart, in faint quasars, whose noise is dominated by
# the sky.


def noise_profile(flux, width=12) -> tuple[np.ndarray, np.ndarray]:
    """Noise in windows of `width` pixels, relative to that at 6400 to 6600 Å."""
    difference = np.abs(flux[:, 4:] - flux[:, :-4]) * 1.4826 / np.sqrt(2)
    windows = difference.shape[1] // width
    shape = (len(flux), windows, width)
    profile = np.median(difference[:, : windows * width].reshape(shape), axis=2)
    centers = simulated.wavelength[2:-2][: windows * width].reshape(windows, width)
    centers = centers.mean(axis=1)
    reference = np.median(profile[:, (centers > 6400) & (centers < 6600)], axis=1)
    return centers, np.median(profile / reference[:, None], axis=0)


faint = make_spectra(
    200, class_proportions={"QSO": 1}, snr=(1, 5), cosmic_rays=0, random_state=1
)
figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
axis.plot(*noise_profile(faint.flux), label="simulated", color="tab:orange")
if real is not None:
    rows = (real.survey == "BOSS") & (real.snr > 0) & (real.snr < 5)
    rows &= np.isfinite(real.flux).all(axis=1)
    axis.plot(*noise_profile(real.flux[rows]), label="BOSS", color="tab:blue")
axis.set(xlabel="vacuum wavelength (Å)", ylabel="noise / noise at 6500 Å")
axis.legend()

plt.show()
