# SPDX-License-Identifier: BSD-3-Clause
"""Types of real supernovae, in folds of spectra and in folds of objects.

The spectra are the templates of SNID (Blondin & Tonry 2007,
https://doi.org/10.1086/520494) and of later sets in ``supernovae.fits``, at rest and
divided by the continuum, with several epochs of each object. Folds of spectra put
epochs of one object on both sides, so that their score is wrong::

    SKASTRO_DATA=... python -m benchmarks.supernova_types

The network learns the subtypes, and the probability of a type is the sum of those of
its subtypes. All subtypes are drawn equally often, and within a subtype all objects.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from skastro import SpectrumClassifier
from skastro.augmentation import Compose, GaussianNoise, ShiftSpectra

# The beginnings of the names of subtypes, as in SNID. IIb stand by themselves, because
# they change from II to Ib within weeks.
KINDS = ("IIb", "II", "Ia", "Ib", "Ic")


def load(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spectra of 512 pixels, subtypes and names of objects."""
    with fits.open(path) as file:
        flux = file[0].data.astype(np.float32)
        labels = file["LABELS"].data
        types = np.char.strip(np.array(labels["type"]))
        # The same object is written in lower and in upper case.
        names = np.char.lower(np.char.strip(np.array(labels["name"])))
    # Lines are some thousand km/s wide: pixels of 800 km/s are narrow enough.
    flux = np.clip(flux, -1, 3).reshape(len(flux), 512, 2).mean(axis=2)
    covered = np.maximum(np.count_nonzero(flux, axis=1, keepdims=True), 1)
    scale = np.sqrt((flux**2).sum(axis=1, keepdims=True) / covered)
    return np.clip(flux / scale, -5, 5), types, names


def hide_ends(
    flux: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Set up to a quarter of the pixels to zero at each end."""
    place = torch.linspace(0, 1, flux.shape[1])
    start, stop = torch.rand(2, len(flux), 1, generator=generator) / 4
    return flux * ((place >= start) & (place <= 1 - stop))


def main() -> None:
    """Score both kinds of folds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    flux, types, names = load(Path(os.environ["SKASTRO_DATA"], "supernovae.fits"))
    kind = np.array([next(k for k in KINDS if t.startswith(k)) for t in types])
    kind_of, labels = dict(zip(types, kind, strict=True)), np.unique(kind)
    clf = SpectrumClassifier(
        "convnet",
        module__dropout=0.5,
        normalization=None,
        augment=Compose([GaussianNoise(), ShiftSpectra(4 / 512), hide_ends]),
        sampler="balanced",
        train_split=None,
        batch_size=64,
        max_epochs=options.epochs,
        device="cpu",
        random_state=0,
        verbose=0,
    )
    by_spectrum = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    by_object = StratifiedGroupKFold(options.folds, shuffle=True, random_state=0)
    folds = {
        "spectra": [*by_spectrum.split(flux, kind)],
        "objects": [*by_object.split(flux, kind, names)],
    }
    for title, splits in folds.items():
        start = time.process_time()
        probability = np.zeros((len(flux), len(labels)))
        for train, test in splits:
            clf.fit(flux[train], types[train], groups=names[train])
            is_of = labels == np.array([[kind_of[name]] for name in clf.classes_])
            probability[test] = clf.predict_proba(flux[test]) @ is_of
        predicted = labels[probability.argmax(axis=1)]
        scores = f1_score(kind, predicted, average=None, labels=labels)
        by_kind = zip(labels, scores, strict=True)
        print(f"folds of {title}: macro-F1 {scores.mean():.3f}", end=" (")
        print(*(f"{name} {score:.2f}" for name, score in by_kind), sep=", ", end="), ")
        print(f"{time.process_time() - start:.0f} CPU s")
        _, first, place = np.unique(names, return_index=True, return_inverse=True)
        mean = np.zeros((len(first), len(labels)))
        np.add.at(mean, place, probability)
        answer = labels[mean.argmax(axis=1)]
        score = f1_score(kind[first], answer, average="macro")
        print(f"one answer for each of {len(first)} objects: macro-F1 {score:.3f}")


if __name__ == "__main__":
    main()
