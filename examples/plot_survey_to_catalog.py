# SPDX-License-Identifier: BSD-3-Clause
"""
From survey files to a catalog
==============================

A classifier learns from labeled spectra, and makes a catalog of survey files, as
``skastro train spectra`` and ``skastro predict`` do. The files are those in the folder
``SKASTRO_DATA``, or simulated; :ref:`trust` says more about the checks.
"""

# %%
# The files
# ---------
# Without real files this code writes one, in which some fibers missed their objects.
# All layouts are brought to the same wavelengths; ``new.failures`` lists bad files.

import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy.table import Table
from sklearn.model_selection import train_test_split

from skastro import RebinSpectra, SpectrumClassifier, make_pipeline
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import report
from skastro.streaming import to_catalog

work = tempfile.mkdtemp()
if data := os.environ.get("SKASTRO_DATA"):
    files, known = f"{data}/survey_files", read_spectra(f"{data}/spectra.fits")
else:
    files = f"{work}/survey.fits"
    known = make_spectra(480, snr=(8, 50), random_state=0)
    known.id = [f"known-{number}" for number in range(480)]
    made = make_spectra(40, snr=(8, 50), random_state=1)
    made.flux[-6:] = np.random.default_rng(2).normal(size=made.flux[-6:].shape)
    labels = Table({"id": [f"new-{n}" for n in range(40)], "class": made.target})
    hdus = [fits.PrimaryHDU(made.flux), fits.BinTableHDU(labels, name="LABELS")]
    hdus.append(fits.ImageHDU(made.wavelength, name="WAVELENGTH"))
    fits.HDUList(hdus).writeto(files)
new = read_spectra(files, wavelength=known.wavelength, verbose=0)

# %%
# Training
# --------
# Objects of the survey are not learned from, as the network would remember them.

rows = np.flatnonzero(~np.isin(known.id, new.id))
flux, y = known.flux[rows], known.target[rows]
X, X_test, y, y_test = train_test_split(flux, y, stratify=y, random_state=0)
pipe = make_pipeline(
    RebinSpectra(known.wavelength, n_bins=1000, nan_policy="interpolate"),
    SpectrumClassifier(calibrate=True, max_epochs=20, random_state=0, verbose=0),
)
pipe.fit(X, y)
print(f"accuracy on {len(y_test)} spectra kept apart: {pipe.score(X_test, y_test):.3f}")
report(pipe, X_test, y_test, out=f"{work}/report.html")

# %%
# The catalog
# -----------
# Spectra are marked if they are less alike to the training set than 98 % of those kept
# apart (right of the line). Their classes and probabilities then mean nothing.

lowest = np.quantile(pipe.score_samples(X_test), 0.02)
catalog = to_catalog(pipe, new.flux, objects=new.table["id", "class"])
catalog["unlike"] = catalog["score_samples"] < lowest
catalog.write(f"{work}/catalog.fits")
catalog["id", "class", "probability", "unlike", "survey_class"].pprint(max_lines=12)

plt.scatter(1 - catalog["score_samples"], catalog["probability"])
plt.axvline(1 - lowest, color="0.5", linestyle="--")
plt.xscale("log")
plt.xlabel("1 - similarity to the training set")
plt.ylabel("Probability of the class")
plt.show()
