# SPDX-License-Identifier: BSD-3-Clause
"""
Robust limits for real spectra
==============================

Scaling each spectrum by its minimum and maximum is the usual first step before a
network. In real spectra these two pixels are often not light of the object, but the
residual of a bright sky line (most often [O I] at 5577 Å), a cosmic ray or noise at the
blue end. One such pixel compresses all others into a small part of the range. This
example measures this effect, and the gain by limits that are quantiles.

The spectra are those of the file ``spectra.fits`` in the folder that the environment
variable ``SKASTRO_DATA`` names, or simulated ones if there is no such file.
"""

# %%
# Plain and robust limits
# -----------------------
# The robust scaling uses the percentiles 0.5 and 99.5 of each spectrum as its limits
# and clips values beyond them.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skastro import MinMaxSpectra, Pipeline, RebinSpectra
from skastro.datasets import make_spectra, read_spectra

path = Path(os.environ.get("SKASTRO_DATA", "")) / "spectra.fits"
if path.is_file():
    spectra = read_spectra(path, verbose=0)
else:
    spectra = make_spectra(400, random_state=0)
flux, wavelength, target = spectra.flux, spectra.wavelength, spectra.target

scalers = {
    "plain minimum and maximum": MinMaxSpectra(),
    "percentiles 0.5 and 99.5": MinMaxSpectra(quantile_range=(0.5, 99.5), clip=True),
}
scaled = {name: scaler.transform(flux) for name, scaler in scalers.items()}

# %%
# How much of the range is used
# -----------------------------
# The range of the scaled flux is [0, 1]. The central 98 % of the pixels of a spectrum
# (without the thirty highest and thirty lowest of 3000) should use most of it.
used = {}
for name, values in scaled.items():
    low, high = np.percentile(values, [1, 99], axis=1)
    used[name] = high - low
    print(
        f"{name}: the central 98 % of pixels use {np.median(used[name]):.2f} of the "
        f"range in the median spectrum, and less than half of it in "
        f"{np.mean(used[name] < 0.5):.1%} of the {len(flux)} spectra"
    )

sky_line = np.abs(wavelength - 5577.3) < 15
at_sky_line = sky_line[flux.argmax(axis=1)] | sky_line[flux.argmin(axis=1)]
print(f"minimum or maximum at the sky line 5577 Å: {at_sky_line.mean():.1%} of spectra")

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
ax.hist(list(used.values()), bins=np.linspace(0, 1, 21), label=list(used))
ax.set(
    xlabel="Fraction of the range that the central 98 % of pixels use",
    ylabel="Number of spectra",
)
ax.legend(loc="upper left")

# %%
# The most affected spectra
# -------------------------
# The figure shows the spectrum of each class that uses the smallest part of its range
# with plain limits. Left and right are the same pixels. Strong emission lines have the
# same effect as sky residuals, but they belong to the object: clipping reduces their
# height and does not remove them.
fig, axes = plt.subplots(
    3, 2, figsize=(9, 6), sharex=True, sharey=True, layout="constrained"
)
for row, name in zip(axes, np.unique(target[target != ""])[:3], strict=True):
    members = np.flatnonzero(target == name)
    worst = members[used["plain minimum and maximum"][members].argmin()]
    for ax, (scaling, values) in zip(row, scaled.items(), strict=True):
        ax.plot(wavelength, values[worst], lw=0.6, color="C0")
        ax.set_title(f"{name}, {scaling}", fontsize="medium")
    row[0].set_ylabel("Scaled flux")
for ax in axes[-1]:
    ax.set_xlabel("Wavelength (Å)")

# %%
# The effect on classifiers
# -------------------------
# Two classifiers of the scaled flux are compared by the F1 score averaged over the
# classes, in four-fold cross-validation.
classifiers = {
    "five nearest neighbors": [RebinSpectra(n_bins=100), KNeighborsClassifier()],
    "components and logistic regression": [
        PCA(30, random_state=0),
        StandardScaler(),
        LogisticRegression(C=10, max_iter=3000),
    ],
}
folds = StratifiedKFold(4, shuffle=True, random_state=0)
known = target != ""
for classifier, steps in classifiers.items():
    for name, scaler in scalers.items():
        scores = cross_val_score(
            Pipeline([scaler, *steps]),
            flux[known],
            target[known],
            cv=folds,
            scoring="f1_macro",
        )
        print(f"{classifier}, {name}: macro-F1 {scores.mean():.3f}")

plt.show()
