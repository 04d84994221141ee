# SPDX-License-Identifier: BSD-3-Clause
"""
Robust limits for real spectra
==============================

Scaling each spectrum by its minimum and maximum is the usual first step before a
network. In real spectra these two pixels are often the residual of a sky line, a cosmic
ray or noise, and compress all others into a small part of the range. Quantiles as
limits do not. The spectra are those of ``spectra.fits`` in the folder ``SKASTRO_DATA``,
or simulated.
"""

# %%
# Plain and robust limits
# -----------------------
# The robust scaling clips beyond the percentiles 0.5 and 99.5 of each spectrum.

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from skastro import MinMaxSpectra, RebinSpectra, make_pipeline
from skastro.datasets import make_spectra, read_spectra

if data := os.environ.get("SKASTRO_DATA"):
    spectra = read_spectra(f"{data}/spectra.fits", verbose=0)
else:
    spectra = make_spectra(400, random_state=0)
flux, target = spectra.flux, spectra.target
scalers = {
    "plain minimum and maximum": MinMaxSpectra(),
    "percentiles 0.5 and 99.5": MinMaxSpectra(quantile_range=(0.5, 99.5), clip=True),
}
scaled = {name: scaler.transform(flux) for name, scaler in scalers.items()}

# %%
# How much of the range is used
# -----------------------------
# The central 98 % of the pixels of a spectrum should use most of the range from 0 to 1.

used = [np.ptp(np.percentile(v, [1, 99], axis=1), axis=0) for v in scaled.values()]
figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
ax.hist(used, bins=np.linspace(0, 1, 21), label=list(scaled))
ax.set(xlabel="Part of the range that the central pixels use", ylabel="Spectra")
ax.legend(loc="upper left")

# %%
# The most affected spectra
# -------------------------
# Strong emission lines have the same effect as sky residuals, but they belong to the
# object: clipping reduces their height and does not remove them.

shape = {"figsize": (9, 6), "sharex": True, "sharey": True, "layout": "constrained"}
figure, axes = plt.subplots(3, 2, **shape)
for row, label in zip(axes, ("STAR", "GALAXY", "QSO"), strict=True):
    members = np.flatnonzero(target == label)
    worst = members[used[0][members].argmin()]
    for ax, (name, values) in zip(row, scaled.items(), strict=True):
        ax.plot(spectra.wavelength, values[worst], linewidth=0.6)
        ax.set_title(f"{label}, {name}", fontsize="medium")
figure.supxlabel("Wavelength (Å)")
figure.supylabel("Scaled flux")

# %%
# The effect on a classifier
# --------------------------

for name, scaler in scalers.items():
    pipe = make_pipeline(scaler, RebinSpectra(n_bins=100), KNeighborsClassifier())
    scores = cross_val_score(pipe, flux, target, cv=4, scoring="f1_macro")
    print(f"five nearest neighbors, {name}: macro-F1 {scores.mean():.3f} in four folds")
plt.show()
