# SPDX-License-Identifier: BSD-3-Clause
"""
Where a network looks
=====================

A class activation map shows how much each pixel contributes to the classification of a
spectrum. This page draws maps, and tests them: the probability of a class should drop
more when highlighted pixels are deleted than when random ones are. The spectra are
those of ``spectra.fits`` in the folder ``SKASTRO_DATA``, or simulated.
"""

# %%
# A network
# ---------
# With one stage of blocks less than by default, the maps have twice the resolution.

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skastro import SpectrumClassifier
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import ActivationMapDisplay, deletion_curve

if data := os.environ.get("SKASTRO_DATA"):
    spectra = read_spectra(f"{data}/spectra.fits", verbose=0)
else:
    spectra = make_spectra(400, random_state=0)
flux, target = spectra.flux, spectra.target
train, test = train_test_split(
    np.arange(len(flux)), test_size=0.3, stratify=target, random_state=0
)
clf = SpectrumClassifier(
    module__n_blocks=(1, 1, 1),
    module__width=16,
    max_epochs=20,
    random_state=0,
    verbose=0,
)
clf.fit(flux[train], target[train])
right = clf.predict(flux[test]) == target[test]
print(f"accuracy on {len(test)} spectra kept apart: {right.mean():.3f}")

# %%
# Stars, galaxies, quasars
# ------------------------
# Of each class the best spectra that are classified correctly. Dotted lines are those
# of the class at the redshift of the object.

order = test[right][np.argsort(-spectra.snr[test[right]], kind="stable")]
for name in ("STAR", "GALAXY", "QSO"):
    rows = order[target[order] == name][:2]
    redshift = spectra.redshift[rows]
    ActivationMapDisplay.from_estimator(
        clf, flux[rows], wavelength=spectra.wavelength, redshift=redshift
    )
# sphinx_gallery_thumbnail_number = 3

# %%
# Are the maps right?
# -------------------
# Pixels of each spectrum are replaced by the local continuum: those with the highest
# values in the map, or runs of the same lengths at random places.

curve = deletion_curve(clf, flux[test], random_state=0)
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, ("STAR", "GALAXY", "QSO"), strict=True):
    rows = curve.target == name
    highlighted = curve.probability[rows].mean(axis=0)
    ax.plot(curve.fractions, highlighted, "o-", label="highlighted")
    at_random = curve.random_probability[rows].mean(axis=0)
    ax.plot(curve.fractions, at_random, "o-", label="random")
    ax.set(title=name, xlabel="Part of the pixels deleted")
axes[0].set_ylabel("Mean probability")
axes[0].legend()
plt.show()
