# SPDX-License-Identifier: BSD-3-Clause
"""
Supernova types, with several spectra of each object
====================================================

A supernova is observed at several epochs, and its spectra are alike. If some of them
are in the training set and others in the test set, the score tells how well a network
recognizes objects that it knows. :ref:`groups` has scores on real supernovae.
"""

# %%
# Spectra and their objects
# -------------------------
# Lines of a type have P Cygni profiles. Each object has its own velocity, strengths of
# lines and residual of the continuum, and each epoch its own noise.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, f1_score
from sklearn.model_selection import StratifiedGroupKFold

from skastro import SpectrumClassifier

LINES = {
    "Ia": {3945: 0.8, 4481: 0.4, 5640: 0.6, 6355: 1.0, 8542: 0.6},
    "Ib": {5169: 0.5, 5876: 1.0, 6678: 0.4, 7065: 0.5, 8542: 0.6},
    "Ic": {5169: 0.7, 6355: 0.3, 7774: 0.7, 8542: 0.8},
    "II": {4861: 0.6, 5169: 0.4, 5876: 0.2, 6563: 1.0, 8542: 0.4},
}
rng = np.random.default_rng(0)
wavelength = np.geomspace(3500, 9000, 400)


def observe(kind: str, n_epochs: int) -> np.ndarray:
    """Simulate the epochs of one supernova, over the continuum."""
    knots = np.linspace(3500, 9000, 22)
    flux = np.interp(wavelength, knots, rng.normal(0, 0.5, 22))
    velocity = rng.normal(0.035, 0.008)
    for line, depth in LINES[kind].items():
        depth *= rng.lognormal(0, 0.8)
        for center, height in ((line * (1 - velocity), -depth), (line, 0.7 * depth)):
            flux += height * np.exp(
                -((wavelength / center / 0.013 - 1 / 0.013) ** 2) / 2
            )
    return flux + rng.normal(0, 0.3, (n_epochs, 400))


kinds = rng.choice(list(LINES), 120)
n_epochs = rng.integers(3, 9, 120)
flux = np.concatenate([observe(*each) for each in zip(kinds, n_epochs, strict=True)])
kind, name = np.repeat(kinds, n_epochs), np.repeat(np.arange(120), n_epochs)

# %%
# Folds of spectra and folds of objects
# -------------------------------------
# The higher score is wrong: no survey offers labeled epochs of a new supernova. With
# ``groups`` also the validation samples of the network are other objects.

groups = {"folds of spectra": np.arange(len(kind)), "folds of objects": name}
folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
clf = SpectrumClassifier("convnet", max_epochs=10, random_state=0, verbose=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for ax, (title, group) in zip(axes, groups.items(), strict=True):
    predicted = np.empty_like(kind)
    for train, test in folds.split(flux, kind, group):
        clf.fit(flux[train], kind[train], groups=group[train])
        predicted[test] = clf.predict(flux[test])
    ConfusionMatrixDisplay.from_predictions(kind, predicted, ax=ax, colorbar=False)
    score = f1_score(kind, predicted, average="macro")
    ax.set_title(f"{title}: macro-F1 {score:.3f}")
plt.show()
