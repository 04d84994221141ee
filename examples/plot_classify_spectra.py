# SPDX-License-Identifier: BSD-3-Clause
"""
Classify spectra
================

A network that starts from weights of the package learns stars, galaxies and quasars
from a few hundred spectra, and is judged on spectra kept apart. ``skastro train
spectra`` does the same with files, from the command line.
"""

# %%
# Spectra
# -------
# They are simulated here. :func:`~skastro.datasets.read_spectra` reads those of
# surveys, with the same attributes.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from skastro import SpectrumClassifier
from skastro.datasets import make_spectra
from skastro.inspection import HistoryDisplay

spectra = make_spectra(400, wavelength=range(3900, 9000, 4), random_state=0)
train, test = train_test_split(
    np.arange(400), test_size=0.25, stratify=spectra.target, random_state=0
)

# %%
# Training
# --------
# The weights were trained on other simulated spectra, and only the last layer is new.
# Spectra need no scaling, since the network divides the flux by its continuum.

clf = SpectrumClassifier.from_pretrained(
    "spectra",
    wavelength=spectra.wavelength,
    max_epochs=8,
    verbose=0,
    random_state=0,
)
clf.fit(spectra.flux[train], spectra.target[train])
HistoryDisplay.from_estimator(clf)
plt.show()

# %%
# Scores of spectra kept apart
# ----------------------------

predicted = clf.predict(spectra.flux[test])
ConfusionMatrixDisplay.from_predictions(
    spectra.target[test], predicted, cmap="Blues", colorbar=False
)
plt.show()

# %%
# The spectra of which it is least sure
# -------------------------------------
# More figures are on the page that :func:`skastro.inspection.report` writes.

probability = clf.predict_proba(spectra.flux[test]).max(axis=1)
figure, axes = plt.subplots(3, 1, figsize=(8, 6), sharex=True, layout="constrained")
for ax, row in zip(axes, np.argsort(probability), strict=False):
    ax.plot(spectra.wavelength, spectra.flux[test[row]], linewidth=0.8)
    truth = spectra.target[test[row]]
    ax.set_title(f"{predicted[row]} ({probability[row]:.2f}), is {truth}", loc="left")
axes[-1].set_xlabel("Wavelength (Å)")
# sphinx_gallery_thumbnail_number = 3
plt.show()
