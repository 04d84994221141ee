# SPDX-License-Identifier: BSD-3-Clause
"""
Redshifts: p(z), templates and lines
====================================

:class:`~skastro.RedshiftRegressor` measures redshifts with weights that come with the
package. This page draws what it finds, tests whether p(z) is right, and looks at
redshifts that differ from those of a catalog.

With real data the spectra are those of ``spectra.fits``, in the folder that the
environment variable ``SKASTRO_DATA`` names: galaxies and quasars of SDSS and BOSS. The
network saw simulated spectra only. Without them all spectra are simulated.
"""

# %%
# Spectra
# -------
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from skastro import RedshiftRegressor
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import RedshiftDisplay

path = Path(os.environ.get("SKASTRO_DATA", "")) / "spectra.fits"
if path.is_file():
    spectra = read_spectra(path, verbose=0)
    known = np.asarray(spectra.table["z"], dtype=float)
    rows = np.flatnonzero(spectra.target != "STAR")
else:
    spectra = make_spectra(
        100,
        class_proportions={"GALAXY": 1, "QSO": 2},
        redshift={"GALAXY": (0, 0.6), "QSO": (0.3, 3.8)},
        snr=(1.5, 15),
        random_state=0,
    )
    known = spectra.redshift
    rows = np.arange(100)
flux, target, known = spectra.flux[rows], spectra.target[rows], known[rows]
print(f"{np.sum(target == 'GALAXY')} galaxies, {np.sum(target == 'QSO')} quasars")

# %%
# Redshifts
# ---------
# The regressor needs the wavelengths of the pixels, in vacuum. It takes spectra of any
# unit, and NaN for pixels that are not known.
reg = RedshiftRegressor.from_pretrained(wavelength=spectra.wavelength, verbose=0)
z, std = reg.predict(flux, return_std=True)
flags = reg.zwarning(flux)
off = (z - known) / (1 + known)
for name, limit in [("GALAXY", 0.003), ("QSO", 0.01)]:
    of_class = target == name
    right = np.abs(off) < limit
    print(
        f"{name}: {right[of_class].mean():.1%} within {limit}, without a warning "
        f"{np.mean(flags[of_class] == 0):.1%}, of these within "
        f"{right[of_class & (flags == 0)].mean():.1%}"
    )

# %%
# Gray are two spectra, red the templates that fit best, dotted the lines of their
# class. On the right is p(z), on a logarithmic scale, with the most probable redshifts
# (red) and the known one (dotted).
shown = [np.flatnonzero(target == name)[4] for name in ("GALAXY", "QSO")]
RedshiftDisplay.from_estimator(reg, flux[shown], z_true=known[shown])

# %%
# Other redshifts than in the catalog
# -----------------------------------
# Redshifts that are far from the known ones are worth a look: some catalogs are wrong.
# The solutions of each spectrum are a table.
wrong = np.flatnonzero(np.abs(off) > 0.01)
wrong = wrong[np.argsort(flags[wrong], kind="stable")][:4]
solutions = reg.predict_solutions(flux, k=2)
for row in wrong:
    table = Table(solutions[row])
    for name, form in [("z", ".4f"), ("std", ".4f"), ("probability", ".3f")]:
        table[name].format = form
    table["gain"].format = ".2f"
    print(f"{target[row]}, known {known[row]:.4f}, zwarning {flags[row]}")
    table.pprint()
if len(wrong):
    RedshiftDisplay.from_estimator(reg, flux[wrong], z_true=known[wrong])

# %%
# Is p(z) right?
# --------------
# The part of p(z) below the true redshift, the probability integral transform, is
# uniform between 0 and 1 if p(z) is right. A hump shows errors that are too large,
# peaks at the ends errors that are too small. Known redshifts have errors of their own:
# those of quasars are a few hundred km/s.
grid, pdf = reg.z_grid_, reg.predict_pdf(flux)
steps = (pdf[:, 1:] + pdf[:, :-1]) / 2 * np.diff(grid)
below = [
    np.interp(true, grid[1:], np.cumsum(part))
    for true, part in zip(known, steps, strict=True)
]
fig, axes = plt.subplots(ncols=2, figsize=(8, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, ("GALAXY", "QSO"), strict=True):
    values = np.array(below)[target == name]
    ax.hist(values, np.linspace(0, 1, 11), histtype="stepfilled", alpha=0.6)
    ax.axhline(len(values) / 10, color="0.3", linestyle=":")
    ax.set(title=name, xlabel="Part of p(z) below the known redshift")
axes[0].set_ylabel("Spectra")
plt.show()
