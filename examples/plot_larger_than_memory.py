# SPDX-License-Identifier: BSD-3-Clause
"""
Spectra that stay on disk
=========================

A survey may not fit into memory. This example writes simulated spectra to an HDF5 file
in parts, trains a pipeline from the file, and writes its predictions into another file.
The spectra are never all in memory; the same code works for files a thousand times as
large.
"""

# %%
# Writing the survey
# ------------------
import tempfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import LazyArray, make_spectra

folder = Path(tempfile.mkdtemp())
wavelength = np.linspace(3900, 9000, 600)
n_parts, n_part = 4, 300

with h5py.File(folder / "survey.h5", "w") as survey:
    survey.create_dataset("flux", (n_parts * n_part, len(wavelength)), dtype="f4")
    survey.create_dataset("class", n_parts * n_part, dtype=h5py.string_dtype())
    for part in range(n_parts):
        spectra = make_spectra(n_part, wavelength=wavelength, random_state=part)
        rows = slice(part * n_part, (part + 1) * n_part)
        survey["flux"][rows] = spectra.flux
        survey["class"][rows] = spectra.target.astype(object)

# %%
# Training from the file
# ----------------------
# A :class:`~skastro.datasets.LazyArray` contains some rows of a file and reads them
# when they are needed. The last quarter is kept apart. Spectra are standardized in the
# thread that reads ahead.
survey = h5py.File(folder / "survey.h5")
flux, target = survey["flux"], survey["class"].asstr()[:]
rows = np.arange(len(target))
train, test = rows[: 3 * n_part], rows[3 * n_part :]

pipe = Pipeline(
    [
        StandardizeSpectra(robust=True, clip=8),
        SpectrumClassifier(module__width=16, max_epochs=15, random_state=0, verbose=0),
    ]
)
pipe.fit(LazyArray(flux, train), target[train])

# %%
# Predicting into a file
# ----------------------
# :meth:`~skastro.Pipeline.predict_stream` reads, predicts and writes chunk by chunk.
# After an interruption the same call continues with the next chunk, and the resulting
# file is the same.
out = pipe.predict_stream(
    LazyArray(flux, test),
    chunk_size=100,
    out=folder / "classes.h5",
    ids=test,
    verbose=0,
)
with h5py.File(out) as file:
    classes = file["classes"].asstr()[:]
    probability = file["predict_proba"][:]
    row = file["id"][:]

predicted = classes[probability.argmax(axis=1)]
print(classification_report(target[row], predicted, digits=3))

# %%
# The figure shows the probabilities of correct and wrong predictions for the spectra
# that were kept apart.
right = predicted == target[row]
figure, (matrix, certainty) = plt.subplots(ncols=2, figsize=(9, 3.6), layout="tight")
ConfusionMatrixDisplay.from_predictions(
    target[row], predicted, ax=matrix, colorbar=False, cmap="Blues"
)
certainty.hist(
    [probability[right].max(axis=1), probability[~right].max(axis=1)],
    bins=np.linspace(1 / 3, 1, 15),
    stacked=True,
    label=["right", "wrong"],
    color=["tab:blue", "tab:red"],
)
certainty.set(
    xlabel="probability of the predicted class", ylabel="spectra", yscale="log"
)
certainty.legend()
plt.show()

survey.close()
