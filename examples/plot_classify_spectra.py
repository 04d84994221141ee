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
from skastro.inspection import ActivationMapDisplay, HistoryDisplay

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
# What the network looks at
# -------------------------
# The color is the evidence for the class. More figures are on the page that
# :func:`skastro.inspection.report` writes.

rows = [test[predicted == name][0] for name in clf.classes_]
ActivationMapDisplay.from_estimator(
    clf,
    spectra.flux[rows],
    wavelength=spectra.wavelength,
    redshift=spectra.redshift[rows],
)
# sphinx_gallery_thumbnail_number = 3
plt.show()
