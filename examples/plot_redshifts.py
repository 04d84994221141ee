# SPDX-License-Identifier: BSD-3-Clause
"""
Redshifts
=========

:class:`~skastro.RedshiftRegressor` measures redshifts with weights that come with the
package and have seen simulated spectra only. This page draws p(z), makes a catalog, and
tests the error bars. The spectra are the galaxies and quasars of ``spectra.fits`` in
the folder ``SKASTRO_DATA``, or simulated.
"""

# %%
# Spectra
# -------

import os

import matplotlib.pyplot as plt
import numpy as np

from skastro import RedshiftRegressor
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import RedshiftDisplay
from skastro.streaming import to_catalog

if data := os.environ.get("SKASTRO_DATA"):
    spectra = read_spectra(f"{data}/spectra.fits", verbose=0)
else:
    spectra = make_spectra(150, snr=(2, 15), random_state=0)
rows = np.flatnonzero(spectra.target != "STAR")
flux, target, known = spectra.flux[rows], spectra.target[rows], spectra.redshift[rows]

# %%
# p(z)
# ----
# Gray are two spectra, red the templates that fit best, dotted the lines of their
# class. On the right is p(z), on a logarithmic scale, with the most probable redshifts
# (red) and the known one (dotted).

reg = RedshiftRegressor.from_pretrained(wavelength=spectra.wavelength, verbose=0)
shown = [np.flatnonzero(target == name)[4] for name in ("GALAXY", "QSO")]
RedshiftDisplay.from_estimator(reg, flux[shown], z_true=known[shown])
plt.show()

# %%
# A catalog
# ---------
# ``zwarning`` is 0 where a redshift is certain.

catalog = to_catalog(reg, flux, objects={"class": target, "known": known})
catalog.round(4)
catalog.pprint(max_lines=10, max_width=-1)
certain = catalog["zwarning"] == 0
off = np.abs(catalog["redshift"] - known) / (1 + known)
right = np.mean(off[certain] < 0.01)
print(f"{certain.mean():.1%} are certain, {right:.1%} of them right")

# %%
# Is p(z) right?
# --------------
# The part of p(z) below the true redshift is uniform between 0 and 1 if p(z) is right.
# A hump shows errors that are too large, peaks at the ends errors that are too small.
# Known redshifts of quasars have errors of a few hundred km/s themselves.

grid, pdf = reg.z_grid_, reg.predict_pdf(flux)
cdf = np.cumsum((pdf[:, 1:] + pdf[:, :-1]) / 2 * np.diff(grid), axis=1)
below = np.array([np.interp(z, grid[1:], c) for z, c in zip(known, cdf, strict=True)])
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, ("GALAXY", "QSO"), strict=True):
    ax.hist(below[target == name], np.linspace(0, 1, 11), alpha=0.6)
    ax.set(title=name, xlabel="Part of p(z) below the known redshift")
axes[0].set_ylabel("Spectra")
plt.show()
