# SPDX-License-Identifier: BSD-3-Clause
"""
Supernova types, with several spectra of each object
====================================================

A supernova is observed at several epochs, and its spectra are alike. If some of them
are in the training set and others in the test set, the test shows how well a network
recognizes objects that it knows, and not how well it classifies new ones. This example
classifies supernovae with folds of spectra and with folds of objects, shows the
difference, and explains why the higher score is wrong.

The spectra are those of the file ``supernovae.fits`` in the folder that the environment
variable ``SKASTRO_DATA`` names, or simulated ones if there is no such file. With the
file this example takes a minute or two.
"""

# %%
# Spectra and their objects
# -------------------------
# The file holds templates of SNID (`Blondin & Tonry 2007
# <https://doi.org/10.1086/520494>`_) and of later sets, at rest and divided by the
# continuum; pixels outside of the observed range are zero. Without the file this code
# simulates objects. The lines of a type have P Cygni profiles; each object has its own
# velocity, strengths of lines and residual of the continuum, and each epoch its own
# depths and noise.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from astropy.io import fits
from sklearn.metrics import ConfusionMatrixDisplay, f1_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import NearestNeighbors

from skastro import SpectrumClassifier
from skastro.augmentation import Compose, GaussianNoise, ShiftSpectra

LINES = {
    "Ia": {3945: 0.8, 4481: 0.4, 5640: 0.6, 6355: 1.0, 8542: 0.6},
    "Ib": {5169: 0.5, 5876: 1.0, 6678: 0.4, 7065: 0.5, 8542: 0.6},
    "IIb": {4861: 0.4, 5169: 0.5, 5876: 0.7, 6563: 0.7, 8542: 0.6},
    "Ic": {5169: 0.7, 6355: 0.3, 7774: 0.7, 8542: 0.8},
    "II": {4861: 0.6, 5169: 0.4, 5876: 0.2, 6563: 1.0, 8542: 0.4},
}


def simulate(n_objects: int = 120) -> tuple[np.ndarray, ...]:
    """Make spectra, wavelengths, types and names of objects."""
    rng = np.random.default_rng(0)
    wavelength = np.geomspace(2501, 9993, 1024)
    flux, types, names = [], [], []
    for number in range(n_objects):
        kind = rng.choice([*LINES], p=[0.4, 0.15, 0.1, 0.15, 0.2])
        velocity = rng.normal(0.035, 0.008)
        strength = {line: rng.lognormal(0, 0.5) for line in LINES[kind]}
        knots = np.linspace(2500, 10_000, 30)
        own = np.interp(wavelength, knots, rng.normal(0, 0.25, len(knots)))
        for _ in range(rng.integers(3, 9)):
            spectrum = own + 0.15 * rng.normal(size=len(wavelength))
            for line, depth in LINES[kind].items():
                depth = depth * strength[line] * rng.uniform(0.5, 1)
                for shift, sign in ((1 - velocity, -1), (1, 0.7)):
                    offset = (wavelength / (line * shift) - 1) / 0.013
                    spectrum += sign * depth * np.exp(-(offset**2) / 2)
            flux.append(0.2 * spectrum)
            types.append(kind)
            names.append(f"simulated-{number}")
    return np.array(flux, np.float32), wavelength, np.array(types), np.array(names)


path = Path(os.environ.get("SKASTRO_DATA", "")) / "supernovae.fits"
if path.is_file():
    with fits.open(path) as file:
        flux = file[0].data.astype(np.float32)
        wavelength = file["WAVELENGTH"].data.astype(float)
        types = np.char.strip(np.array(file["LABELS"].data["type"]))
        # The same object is written in lower and in upper case.
        names = np.char.lower(np.char.strip(np.array(file["LABELS"].data["name"])))
else:
    flux, wavelength, types, names = simulate()

# %%
# The usual five types are the beginnings of the names of subtypes, as in SNID: Ia
# (normal, 91T, 91bg, 99aa, 02cx, csm and peculiar), Ib (normal and Ibn), IIb, Ic
# (normal, broad-lined and peculiar) and II (P, L, n and peculiar). IIb stand by
# themselves, because they change from II to Ib within weeks.
order = ["IIb", "II", "Ia", "Ib", "Ic"]
kind = np.array([next(k for k in order if name.startswith(k)) for name in types])
for label in np.unique(kind):
    here = kind == label
    largest = np.unique(names[here], return_counts=True)[1].max()
    print(
        f"{label:3s}: {here.sum():4d} spectra of {len(np.unique(names[here])):3d} "
        f"objects, {largest} of one"
    )

# %%
# The figure shows three epochs of two objects of one type. The epochs of an object
# resemble each other more than those of another object do.
fig, axes = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
members, counts = np.unique(names[kind == "Ic"], return_counts=True)
for ax, member in zip(axes, members[np.argsort(-counts)[:2]], strict=True):
    rows = np.flatnonzero(names == member)
    for place, row in enumerate(rows[:: max(1, len(rows) // 3)][:3]):
        ax.plot(wavelength, flux[row] - 0.6 * place, lw=0.7)
    ax.set_title(f"{member}, type Ic", loc="left", fontsize="medium")
    ax.set_ylabel("Flux / continuum - 1")
ax.set_xlabel("Wavelength at rest (Å)")

# %%
# A classifier
# ------------
# Lines of supernovae are some thousand km/s wide: pixels of 800 km/s are narrow enough.
# Each spectrum is divided by the root mean square of its covered pixels; the others
# remain zero. The network ``convnet`` knows at which wavelength a line is. In training,
# noise, shifts of up to four pixels and hidden ends vary them. The network learns
# the subtypes, which say more than the types, and ``sampler="balanced"`` draws all
# subtypes equally often, and within a subtype all objects.
flux = np.clip(flux, -1, 3).reshape(len(flux), 512, 2).mean(axis=2)
covered = np.maximum(np.count_nonzero(flux, axis=1, keepdims=True), 1)
flux = np.clip(flux / np.sqrt((flux**2).sum(axis=1, keepdims=True) / covered), -5, 5)


def hide_ends(
    flux: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Set up to a quarter of the pixels to zero at each end."""
    place = torch.linspace(0, 1, flux.shape[1])
    start, stop = torch.rand(2, len(flux), 1, generator=generator) / 4
    return flux * ((place >= start) & (place <= 1 - stop))


clf = SpectrumClassifier(
    "convnet",
    module__dropout=0.5,
    normalization=None,
    augment=Compose([GaussianNoise(), ShiftSpectra(4 / 512), hide_ends]),
    sampler="balanced",
    train_split=None,
    batch_size=64,
    max_epochs=12,
    device="cpu",
    random_state=0,
    verbose=0,
)

# %%
# Folds of spectra and folds of objects
# -------------------------------------
# ``StratifiedKFold`` distributes spectra, ``StratifiedGroupKFold`` distributes objects.
# The names of the objects reach the folds and also the network, which draws all objects
# equally often. Two folds and few epochs keep this page short; with four folds of 20
# epochs the scores are higher.
by_spectrum = StratifiedKFold(2, shuffle=True, random_state=0)
by_object = StratifiedGroupKFold(2, shuffle=True, random_state=0)
folds = {
    "folds of spectra": [*by_spectrum.split(flux, kind)],
    "folds of objects": [*by_object.split(flux, kind, names)],
}
labels = np.unique(kind)
kind_of = dict(zip(types, kind, strict=True))
probability = {}
for title, splits in folds.items():
    probability[title] = np.zeros((len(flux), len(labels)))
    for train, test in splits:
        clf.fit(flux[train], types[train], groups=names[train])
        # The probability of a type is the sum of those of its subtypes.
        is_of = labels == np.array([[kind_of[name]] for name in clf.classes_])
        probability[title][test] = clf.predict_proba(flux[test]) @ is_of

predicted = {title: labels[p.argmax(axis=1)] for title, p in probability.items()}
for title, answer in predicted.items():
    print(f"{title}: macro-F1 {f1_score(kind, answer, average='macro'):.3f}")

# %%
# Why the higher score is wrong
# -----------------------------
# Of each test spectrum, this code finds the most similar spectrum of the training set.
# In folds of spectra it is mostly another epoch of the same object, whose type the
# network has been told. No survey offers that: a new supernova has no labeled epochs.
# In folds of objects the nearest spectrum is one of another object, as it will be for
# new supernovae. The score of these folds is the one to quote. :ref:`groups` has the
# scores on the real spectra.
for title, splits in folds.items():
    same = np.zeros(len(flux), dtype=bool)
    for train, test in splits:
        nearest = NearestNeighbors(n_neighbors=1).fit(flux[train])
        neighbor = train[nearest.kneighbors(flux[test])[1][:, 0]]
        same[test] = names[neighbor] == names[test]
    print(f"{title}: the nearest is of the same object for {same.mean():.0%}")

# %%
# One answer for each object
# --------------------------
# Where an object has several spectra, the mean of their probabilities is a better
# answer than each alone. Each object then counts once, so that the matrix on the right
# is not dominated by the objects with most spectra.
members, first, place = np.unique(names, return_index=True, return_inverse=True)
mean = np.zeros((len(members), len(labels)))
np.add.at(mean, place, probability["folds of objects"])
answers = {
    "spectra": (kind, predicted["folds of objects"]),
    "objects": (kind[first], labels[mean.argmax(axis=1)]),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for ax, (title, (truth, answer)) in zip(axes, answers.items(), strict=True):
    ConfusionMatrixDisplay.from_predictions(
        truth, answer, ax=ax, cmap="Blues", colorbar=False
    )
    score = f1_score(truth, answer, average="macro")
    ax.set_title(f"{len(truth)} {title}: macro-F1 {score:.3f}")

plt.show()
