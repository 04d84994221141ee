# SPDX-License-Identifier: BSD-3-Clause
"""
Spectra that stay on disk
=========================

A survey may not fit into memory. This page writes simulated spectra to an HDF5 file in
parts, trains from the file, and writes predictions into another file. The spectra are
never all in memory; the same code works for files a thousand times as large.
"""

# %%
# Writing the survey
# ------------------

import tempfile

import h5py
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from skastro import SpectrumClassifier
from skastro.datasets import LazyArray, make_spectra
from skastro.streaming import predict_stream

folder = tempfile.mkdtemp()
wavelength = np.linspace(3900, 9000, 600)
with h5py.File(f"{folder}/survey.h5", "w") as file:
    file.create_dataset("flux", (1200, 600), dtype="f4")
    file.create_dataset("class", 1200, dtype=h5py.string_dtype())
    for start in range(0, 1200, 300):
        part = make_spectra(300, wavelength=wavelength, random_state=start)
        file["flux"][start : start + 300] = part.flux
        file["class"][start : start + 300] = part.target.astype(object)

# %%
# Training from the file
# ----------------------
# A :class:`~skastro.datasets.LazyArray` has some rows of a file, and reads them when
# they are needed, in a thread that reads ahead. The last quarter is kept apart.

survey = h5py.File(f"{folder}/survey.h5")
target = survey["class"].asstr()[:]
train, test = np.arange(900), np.arange(900, 1200)
clf = SpectrumClassifier(module__width=16, max_epochs=15, random_state=0, verbose=0)
clf.fit(LazyArray(survey["flux"], train), target[train])

# %%
# Predicting into a file
# ----------------------
# Chunks are read, predicted and written one after another. After an interruption the
# same call continues with the next chunk, and the resulting file is the same.

predict_stream(
    clf,
    LazyArray(survey["flux"], test),
    chunk_size=100,
    out=f"{folder}/classes.h5",
    ids=test,
    verbose=0,
)
with h5py.File(f"{folder}/classes.h5") as file:
    classes, row = file["classes"].asstr()[:], file["id"][:]
    predicted = classes[file["predict_proba"][:].argmax(axis=1)]

# %%
# Scores of spectra kept apart
# ----------------------------

print(classification_report(target[row], predicted, digits=3))
ConfusionMatrixDisplay.from_predictions(
    target[row], predicted, cmap="Blues", colorbar=False
)
plt.show()
survey.close()
