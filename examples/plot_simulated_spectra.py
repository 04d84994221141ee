# SPDX-License-Identifier: BSD-3-Clause
"""
Simulated spectra beside real ones
==================================

:func:`~skastro.datasets.make_spectra` simulates optical spectra of stars, galaxies and
quasars, so that every example and test runs without a download. This page draws them
beside real spectra of the same type or redshift, those of LAMOST and SDSS in
``spectra.fits`` of the folder ``SKASTRO_DATA``. Without it all are simulated.
"""

# %%
# Simulate
# --------
# The result has the true class, type, redshift and S/N of each spectrum.

import os

import matplotlib.pyplot as plt
import numpy as np

from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import lines_of

simulated = make_spectra(1500, snr=(5, 80), random_state=0)
print(simulated.DESCR)
if data := os.environ.get("SKASTRO_DATA"):
    other = read_spectra(f"{data}/spectra.fits", verbose=0)
else:
    other = make_spectra(500, snr=(5, 80), random_state=1)
source = "real" if data else "simulated"


def draw_class(label: str) -> None:
    """Draw spectra of a class on the left, and on the right the most similar ones."""
    rows = np.flatnonzero((other.target == label) & (other.snr > 5))
    rows = rows[np.argsort(other.redshift[rows], kind="stable")]
    candidates = np.flatnonzero(simulated.target == label)
    figure, axes = plt.subplots(
        4, 2, figsize=(12, 7), sharex=True, layout="constrained"
    )
    for line, row in zip(axes, rows[:: len(rows) // 4], strict=False):
        flux = other.flux[row] / np.median(other.flux[row])
        color = np.median(flux[:1500]) / np.median(flux[1500:])
        halves = np.split(simulated.flux[candidates], 2, axis=1)
        colors = np.divide(*(np.median(half, axis=1) for half in halves))
        away = np.abs(simulated.redshift[candidates] - other.redshift[row])
        like = candidates[np.argmin(20 * away + np.abs(np.log(colors / color)))]
        draw(line[0], other, row, source)
        draw(line[1], simulated, like, "simulated")
    figure.supxlabel("Vacuum wavelength (Å)")
    figure.supylabel("Flux / median")


def draw(ax, spectra, row, name) -> None:
    """Draw a spectrum with the lines of its class."""
    flux = spectra.flux[row] / np.median(spectra.flux[row])
    ax.plot(spectra.wavelength, flux, linewidth=0.5, color="black")
    for line in lines_of(spectra.target[row]):
        place = line.wavelength * (1 + spectra.redshift[row])
        ax.axvline(place, color="tab:red", linewidth=0.6, linestyle=":")
    ax.set(xlim=(3900, 9000), ylim=np.percentile(flux, [0.1, 99.8]) + [-0.2, 0.2])
    title = f"{name}: {spectra.subclass[row]}, z = {spectra.redshift[row]:.3f}"
    ax.set_title(title, fontsize="small")


# %%
# Stars
# -----
# Dotted are the lines of :data:`skastro.simulation.SPECTRAL_LINES`.

draw_class("STAR")

# %%
# Galaxies
# --------

draw_class("GALAXY")

# %%
# Quasars
# -------

draw_class("QSO")
plt.show()
