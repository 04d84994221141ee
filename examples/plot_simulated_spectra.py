# SPDX-License-Identifier: BSD-3-Clause
"""
Simulated spectra beside real ones
==================================

:func:`~skastro.datasets.make_spectra` simulates optical spectra of stars, galaxies and
quasars. This page draws spectra of LAMOST and SDSS, those of ``spectra.fits`` in the
folder ``SKASTRO_DATA``, beside the most similar simulated ones. Without this file
others are simulated in their place.
"""

# %%
# Simulate
# --------

import os

import matplotlib.pyplot as plt
import numpy as np

from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import lines_of

simulated = make_spectra(1500, snr=(5, 80), random_state=0)
print(simulated.DESCR)
if data := os.environ.get("SKASTRO_DATA"):
    others = read_spectra(f"{data}/spectra.fits", verbose=0)
else:
    others = make_spectra(300, snr=(5, 80), random_state=1)
for spectra in (simulated, others):
    spectra.flux /= np.median(spectra.flux, axis=1, keepdims=True)


def draw(ax, spectra, row, name) -> None:
    """Draw a spectrum with the lines of its class."""
    ax.plot(spectra.wavelength, spectra.flux[row], linewidth=0.5, color="black")
    for line in lines_of(spectra.target[row]):
        place = line.wavelength * (1 + spectra.redshift[row])
        ax.axvline(place, color="tab:red", linewidth=0.6, linestyle=":")
    ax.set(xlim=(3900, 9000), ylim=np.percentile(spectra.flux[row], [0.1, 99.9]))
    title = f"{name}: {spectra.subclass[row]}, z = {spectra.redshift[row]:.3f}"
    ax.set_title(title, fontsize="small")


def draw_class(label: str) -> None:
    """Draw spectra of a class on the left, and on the right the most similar ones."""
    rows = np.flatnonzero((others.target == label) & (others.snr > 5))
    rows = rows[np.argsort(others.redshift[rows])][len(rows) // 8 :: len(rows) // 4]
    figure, axes = plt.subplots(
        4, 2, figsize=(12, 7), sharex=True, layout="constrained"
    )
    for line, row in zip(axes, rows, strict=False):
        away = np.median(np.abs(simulated.flux - others.flux[row]), axis=1)
        away[simulated.target != label] = np.inf
        draw(line[0], others, row, "real" if data else "simulated")
        draw(line[1], simulated, away.argmin(), "simulated")
    figure.supxlabel("Vacuum wavelength (Å)")
    figure.supylabel("Flux / median")


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
