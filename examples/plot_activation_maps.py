# SPDX-License-Identifier: BSD-3-Clause
"""
Where a network looks: class activation maps of spectra
=======================================================

A class activation map shows how much each pixel contributes to the classification of a
spectrum. This example draws it as color over test spectra, for correct and for wrong
predictions. It then tests whether the maps are right: the probability of a class should
drop more when highlighted pixels are deleted than when random pixels are.

The spectra are those of the file ``spectra.fits`` in the folder that the environment
variable ``SKASTRO_DATA`` names, or simulated ones if there is no such file.
"""

# %%
# A network
# ---------
# One pixel of the last feature maps of the default network covers 64 pixels of the
# spectrum. With one stage of blocks less the resolution is twice as high.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import ActivationMapDisplay, deletion_curve, deletion_score

path = Path(os.environ.get("SKASTRO_DATA", "")) / "spectra.fits"
if path.is_file():
    spectra = read_spectra(path, verbose=0)
else:
    spectra = make_spectra(400, random_state=0)
flux, wavelength, target = spectra.flux, spectra.wavelength, spectra.target
train, test = train_test_split(
    np.arange(len(flux)), test_size=0.3, stratify=target, random_state=0
)

pipe = Pipeline(
    [
        StandardizeSpectra(robust=True, clip=8.0),
        SpectrumClassifier(
            module__n_blocks=(1, 1, 1),
            module__width=16,
            max_epochs=20,
            batch_size=32,
            class_weight="balanced",
            random_state=0,
            verbose=0,
        ),
    ]
).fit(flux[train], target[train])
predicted = pipe.predict(flux[test])
right = predicted == target[test]
print(f"accuracy on {len(test)} spectra kept apart: {right.mean():.3f}")


def draw(rows: np.ndarray, titles: list[str] | None = None) -> ActivationMapDisplay:
    """Draw maps of the classes that were predicted."""
    return ActivationMapDisplay.from_estimator(
        pipe,
        flux[rows],
        wavelength=wavelength,
        redshift=spectra.redshift[rows],
        titles=titles,
    )


# %%
# Stars, galaxies, quasars
# ------------------------
# The figure shows the two correctly classified spectra of each class with the highest
# signal-to-noise ratio. Dotted lines mark the prominent lines of the class at the
# redshift of the object.
order = np.argsort(-spectra.snr[test], kind="stable")
for name in ("STAR", "GALAXY", "QSO"):
    members = order[(right & (target[test] == name))[order]]
    draw(test[members[:2]])

# %%
# Mistakes
# --------
# The map of the class that was wrongly predicted shows what misled the network: lines
# are marked at the wavelengths where an object of that class would have them.
wrong = order[~right[order]][:3]
if len(wrong):
    titles = [
        f"{truth}, taken for {answer}"
        for truth, answer in zip(target[test[wrong]], predicted[wrong], strict=True)
    ]
    draw(test[wrong], titles)

# %%
# Are the maps right?
# -------------------
# A tenth of the pixels of each spectrum is replaced by the local continuum: the tenth
# with the highest values in the map, or runs of the same lengths at random places. The
# probability of the predicted class should drop by more in the first case.
score = deletion_score(pipe, flux[test], random_state=0)
for name in ("STAR", "GALAXY", "QSO"):
    rows = score.target == name
    print(
        f"{name}: probability {score.probability[rows].mean():.2f}, less "
        f"{score.drop[rows].mean():.3f} without the highlighted tenth, less "
        f"{score.random_drop[rows].mean():.3f} without a random tenth"
    )
print(
    f"the highlighted tenth matters more than the median random tenth in "
    f"{score.wins:.0%} of the spectra (p = {score.p_value:.1g})"
)

# %%
# The curves show the probability as a function of the deleted fraction.
curve = deletion_curve(pipe, flux[test], random_state=0)
fig, axes = plt.subplots(
    1, 3, figsize=(9, 3), sharex=True, sharey=True, layout="constrained"
)
for ax, name in zip(axes, ("STAR", "GALAXY", "QSO"), strict=True):
    rows = curve.target == name
    for values, label in [
        (curve.probability, "highlighted"),
        (curve.random_probability, "random"),
    ]:
        ax.plot(curve.fractions, values[rows].mean(axis=0), "o-", ms=3, label=label)
    ax.set(title=name, xlabel="Fraction of pixels deleted")
axes[0].set_ylabel("Mean probability")
axes[0].legend(title="Deleted pixels")
plt.show()
