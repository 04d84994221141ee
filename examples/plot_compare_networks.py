# SPDX-License-Identifier: BSD-3-Clause
"""
Compare networks
================

Three networks and a random forest classify the same spectra, in the same folds. Two of
the networks have the settings of a published system (:ref:`recipes`); the trainings
are short, to keep this page short. :doc:`/systems/index` has scores of whole trainings.
"""

# %%
# Spectra
# -------

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score

from skastro import MinMaxSpectra, SpectrumClassifier, make_pipeline
from skastro.datasets import make_spectra

spectra = make_spectra(
    400, wavelength=np.linspace(3690, 9100, 325), snr=(2, 20), random_state=0
)

# %%
# Classifiers
# -----------
# All of them are estimators of scikit-learn, and stand in the same pipeline.

recipe = SpectrumClassifier.from_recipe
quiet = {"random_state": 0, "verbose": 0}
classifiers = {
    "default network": SpectrumClassifier(max_epochs=10, **quiet),
    "DenseNet": recipe("wang2020-densenet", max_epochs=10, **quiet),
    "perceptron": recipe("wang2020-mlp", **quiet),
    "random forest": RandomForestClassifier(300, random_state=0),
}

# %%
# Scores
# ------
# A split at random changes the score by some hundredths. Therefore all classifiers see
# the same folds, and the scores of a fold are compared with each other. The F1 score is
# averaged over the classes, so that rare ones count as much as frequent ones.

folds = StratifiedKFold(3, shuffle=True, random_state=0)
scores = {}
for name, classifier in classifiers.items():
    pipe = make_pipeline(MinMaxSpectra(quantile_range=(1, 99), clip=True), classifier)
    scores[name] = cross_val_score(
        pipe, spectra.flux, spectra.target, cv=folds, scoring="f1_macro"
    )
    print(f"{name}: {scores[name].mean():.3f}")

# %%
# Each line is a fold.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(list(scores), np.array(list(scores.values())), "o-", alpha=0.7)
ax.set_ylabel("Macro-F1 of spectra kept apart")
plt.show()
