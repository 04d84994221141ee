# SPDX-License-Identifier: BSD-3-Clause
"""
From survey files to a catalog
==============================

This tutorial starts from a folder of spectra in the layouts of several surveys. The
result is a table with a class for each object, a calibrated probability, and flags for
predictions that are not reliable. It explains how to avoid the most frequent mistakes:
objects that are also in the training set, surveys that are correlated with classes,
thresholds chosen on the spectra to which they apply, and objects that belong to no
class.

With real data the classifier learns from the file ``spectra.fits``, and the folder is
``survey_files``, both in the folder that the environment variable ``SKASTRO_DATA``
names. Without them all spectra are simulated, and the folder is written first.
"""

# %%
# A folder of survey files
# ------------------------
# If there is no such folder, this code writes one: spectra of stars, galaxies and
# quasars with headers and tables as LAMOST and SDSS publish them, and two fibers that
# missed their object and recorded only noise.
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy.table import Table, join
from sklearn.base import clone
from sklearn.metrics import ConfusionMatrixDisplay, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from skastro import (
    Pipeline,
    RebinSpectra,
    RejectingClassifier,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import (
    ActivationMapDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
)


def as_lamost(spectrum: Table, known: dict) -> fits.HDUList:
    """Make a table of one row, with a vector in each column."""
    header = {"TELESCOP": "LAMOST", "LMJD": 59500, "PLANID": "SIM", "SPID": 1}
    header |= {name: known[name] for name in ("FIBERID", "CLASS", "Z", "RA", "DEC")}
    header |= {"SNRR": known["SNR"], "VACUUM": True}
    vectors = Table({name.upper(): [spectrum[name]] for name in spectrum.colnames})
    primary = fits.PrimaryHDU(header=fits.Header(header))
    return fits.HDUList([primary, fits.BinTableHDU(vectors, name="COADD")])


def as_sdss(spectrum: Table, known: dict) -> fits.HDUList:
    """Make a table of one row per pixel, and the object's row of the catalog."""
    coadd = Table({"flux": spectrum["flux"], "ivar": spectrum["ivar"]})
    coadd["loglam"] = np.log10(spectrum["wavelength"])
    row = {"SURVEY": "sdss", "PLATE": 9999, "MJD": 59500, "ZWARNING": 0}
    row |= {name: known[name] for name in ("FIBERID", "CLASS", "Z")}
    row |= {"PLUG_RA": known["RA"], "PLUG_DEC": known["DEC"]}
    row |= {"SN_MEDIAN_ALL": known["SNR"], "SUBCLASS": ""}
    tables = [coadd, Table({name: [value] for name, value in row.items()})]
    return fits.HDUList([fits.PrimaryHDU(), *map(fits.BinTableHDU, tables)])


def write_survey(folder: Path, n_spectra: int = 24) -> None:
    """Simulate spectra and write a file for each."""
    wavelength = 10 ** np.arange(3.585, 3.96, 1e-4)
    made = make_spectra(n_spectra, wavelength=wavelength, snr=(8, 50), random_state=2)
    rng = np.random.default_rng(3)
    for number in range(n_spectra):
        known = {
            "FIBERID": number + 1,
            "CLASS": str(made.target[number]),
            "Z": made.redshift[number],
            "RA": rng.uniform(0, 360),
            "DEC": np.degrees(np.arcsin(rng.uniform(-0.2, 0.9))),
            "SNR": made.snr[number],
        }
        flux = made.flux[number]
        if number >= n_spectra - 2:
            known |= {"CLASS": "Unknown", "Z": 0.0, "SNR": 0.0}
            flux = rng.normal(size=flux.shape).astype(flux.dtype)
        columns = {"flux": flux, "ivar": made.ivar[number], "wavelength": wavelength}
        layout = as_sdss if number % 2 else as_lamost
        path = folder / f"{layout.__name__[3:]}-{number + 1:02d}.fits"
        layout(Table(columns), known).writeto(path)


work = Path(tempfile.mkdtemp())
data = Path(os.environ.get("SKASTRO_DATA", ""))
is_real = (data / "spectra.fits").is_file() and (data / "survey_files").is_dir()
folder = data / "survey_files" if is_real else work / "survey_files"
if not is_real:
    folder.mkdir()
    write_survey(folder)
print(f"{len(list(folder.iterdir()))} files")

# %%
# Reading it
# ----------
# :func:`~skastro.datasets.read_spectra` recognizes the layout of each file, and rebins
# all spectra to one wavelength grid, conserving flux. No file is dropped silently:
# ``failures`` lists the files that could not be read, and ``left_out`` the spectra of
# empty sky and the templates, which are not objects. Wavelengths remain in vacuum or
# air as in the survey (the column ``medium``); here the difference, 1 to 3 Å, is less
# than a pixel of the network's input. Pixels that a survey does not cover are NaN.
new = read_spectra(folder, verbose=0)
print(f"{len(new.flux)} spectra of {new.flux.shape[1]} pixels, in Å:")
print(f"from {new.wavelength[0]:.0f} to {new.wavelength[-1]:.0f}")
print(f"not read: {len(new.failures)}, left out: {[kind for _, kind in new.left_out]}")

# %%
# Archives contain some objects several times. The catalog lists each object once.
first = np.sort(np.unique(new.id, return_index=True)[1])
flux, table = new.flux[first], new.table[first]
print(f"{len(flux)} objects")
table["id", "survey", "layout", "snr", "class"].pprint(max_lines=12, max_width=-1)

# %%
# The figure shows one spectrum of each layout, scaled to its median. The units and the
# shapes of the continua differ between surveys: some publish flux, others counts.
# Therefore each spectrum is standardized by itself.
layouts, rows = np.unique(table["layout"], return_index=True)
fig, axes = plt.subplots(
    len(rows), 1, figsize=(8, 1 + 1.3 * len(rows)), sharex=True, layout="constrained"
)
for ax, layout, row in zip(np.ravel(axes), layouts, rows, strict=True):
    ax.plot(new.wavelength, flux[row] / np.nanmedian(flux[row]), lw=0.6)
    ax.set_ylim(*np.nanpercentile(flux[row] / np.nanmedian(flux[row]), [0.3, 99.7]))
    kind = table["class"][row] or "no class"
    ax.set_title(f"{layout}: {kind}", loc="left", fontsize="medium")
ax.set_xlabel("Wavelength (Å)")
fig.supylabel("Flux over its median")

# %%
# What to learn from
# ------------------
# The classifier needs labeled spectra of the same kind. A network could memorize an
# object that is in both sets; such objects are removed from the training set.
if is_real:
    known = read_spectra(data / "spectra.fits", verbose=0)
else:
    known = make_spectra(500, snr=(8, 50), random_state=0)
    known.id = np.array([f"simulated-{number}" for number in range(500)])
    known.survey = np.full(500, "simulated")
apart = ~np.isin(known.id, table["id"])
X, y, survey = known.flux[apart], known.target[apart], known.survey[apart]
print(f"{len(X)} labeled spectra, {np.sum(~apart)} left out as they are in the folder")

# %%
# The next table shows the classes of each survey.
surveys = np.array([str(name).split()[0].split("-")[0] for name in survey])
counts = Table({"class": np.unique(y)})
for name in np.unique(surveys):
    counts[name] = [np.sum((y == label) & (surveys == name)) for label in np.unique(y)]
counts.pprint()

# %%
# If one survey has nearly all the stars and another nearly all the quasars, features of
# the spectrographs predict the class: the flux calibration, the residuals of the sky or
# the wavelength at which the blue and the red arm meet. The network uses these
# features, cross-validation does not notice it, and quasars from the survey of stars
# are classified as stars. No setting corrects this; spectra of all classes from each
# survey do. The errors within each survey (see below) reveal the problem: a survey with
# many more errors than the others, or a class that is correct in one survey only.
#
# A pipeline
# ----------
# The steps that prepare a spectrum belong in the pipeline, so that the pickled pipeline
# takes spectra as they were read. None of these steps learns from the spectra; a step
# that does must be in the pipeline, so that cross-validation fits it on training folds
# only.
#
# :class:`~skastro.RebinSpectra` makes pixels of 5 Å, about the resolution of these
# surveys, and fills gaps. :class:`~skastro.StandardizeSpectra` subtracts the median and
# divides by the scatter of the pixels, both robust against sky residuals. Temperature
# scaling, ``calibrate=True``, takes a tenth of the training spectra that the network
# does not learn from. Rare classes are not given higher weights, because probabilities
# would then be those of a sky in which all classes are equally frequent.
pipe = Pipeline(
    [
        RebinSpectra(known.wavelength, n_bins=1000, nan_policy="interpolate"),
        StandardizeSpectra(robust=True, clip=8),
        SpectrumClassifier(
            module__n_blocks=(1, 1, 1),
            module__width=16,
            max_epochs=20,
            calibrate=True,
            random_state=0,
            verbose=0,
        ),
    ]
)

# %%
# How good is it?
# ---------------
# All scores and thresholds below come from predictions for spectra that were not in the
# training folds. scikit-learn's ``cross_val_predict`` returns only the probabilities;
# this loop also computes the similarity to the training set.
probability = np.zeros((len(X), len(np.unique(y))))
similarity = np.zeros(len(X))
others = {"white noise": [], "red and blue swapped": []}
noise = np.random.default_rng(0).normal(size=(100, X.shape[1]))
for train, test in StratifiedKFold(4, shuffle=True, random_state=0).split(X, y):
    fold = clone(pipe).fit(X[train], y[train])
    probability[test] = fold.predict_proba(X[test])
    similarity[test] = fold.score_samples(X[test])
    others["white noise"].append(fold.score_samples(noise))
    others["red and blue swapped"].append(fold.score_samples(X[test][:, ::-1]))
others = {name: np.concatenate(values) for name, values in others.items()}

classes = fold.classes_
predicted = classes[probability.argmax(axis=1)]
print(f"macro-F1: {f1_score(y, predicted, average='macro'):.3f}")
for name in np.unique(surveys):
    rows = surveys == name
    error = np.mean(predicted[rows] != y[rows])
    print(f"{name}: {error:.1%} of {rows.sum()} spectra misclassified")

# %%
# The rows of this matrix are the true classes. For a rare class the matrix says more
# than the accuracy.
ConfusionMatrixDisplay.from_predictions(y, predicted, cmap="Blues", colorbar=False)

# %%
# Are its probabilities calibrated?
# ---------------------------------
# The left figure compares probability and accuracy: nine in ten spectra with a
# probability of about 0.9 should be correct. Most of the few hundred spectra have a
# probability near one, so the bins of lower probability hold few spectra and scatter.
# The right figure shows the error if the spectra with the lowest probabilities are
# rejected.
fig, (left, right) = plt.subplots(ncols=2, figsize=(9, 4), layout="constrained")
ReliabilityDisplay.from_predictions(y, probability, labels=classes, n_bins=8, ax=left)
RiskCoverageDisplay.from_predictions(y, probability, labels=classes, ax=right)
left.legend(loc="lower right")

# %%
# The 95 % of the spectra with the highest confidence get a class, the others the answer
# UNKNOWN. The threshold is a quantile of these probabilities, because probabilities of
# training spectra are too high. :class:`~skastro.RejectingClassifier` can find the
# threshold with ``coverage=0.95``, by another cross-validation. With a given threshold
# it only fits the final network on all labeled spectra.
threshold = np.quantile(probability.max(axis=1), 0.05)
final = RejectingClassifier(pipe, threshold=threshold).fit(X, y)
accepted = probability.max(axis=1) >= threshold
print(
    f"threshold {threshold:.2f}: error {np.mean(predicted != y):.1%} on all, "
    f"{np.mean((predicted != y)[accepted]):.1%} on the {accepted.mean():.0%} accepted"
)

# %%
# Which objects are unlike the training set?
# ------------------------------------------
# A probability compares the classes with each other; it does not tell whether any of
# them applies. ``score_samples`` measures how similar the features of a spectrum are to
# those of the training set; the highest value is 1. The threshold is the 2 % quantile
# of the labeled spectra in cross-validation. It is tested on noise, which is easy, and
# on spectra with red and blue ends swapped, which consist of real pixels.
lowest_score = np.quantile(similarity, 0.02)
fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
for name, values in {"labeled spectra, kept apart": similarity, **others}.items():
    distance = np.clip(1 - values, 1e-4, None)
    weights = np.full(len(values), 1 / len(values))
    bins = np.geomspace(1e-4, 1, 50)
    ax.hist(distance, bins, weights=weights, histtype="step", lw=1.5, label=name)
ax.axvline(1 - lowest_score, color="0.4", ls="--", label="threshold")
ax.set(xlabel="1 - similarity to the training set", ylabel="Fraction of the spectra")
ax.set_xscale("log")
ax.legend(loc="upper left")
for name, values in others.items():
    score = roc_auc_score(
        np.repeat([1, 0], [len(similarity), len(values)]), np.append(similarity, values)
    )
    print(f"{name}: {np.mean(values < lowest_score):.0%} rejected, ROC AUC {score:.3f}")

# %%
# Which pixels does it use?
# -------------------------
# Activation maps show the pixels on which a decision depends. The figure shows the
# galaxy and the quasar of the folder with the highest signal-to-noise ratio that are
# classified correctly. Colors show how much a pixel contributes to the class, dotted
# lines the lines of the class at the redshift of the survey. High values at the ends of
# the spectrum, or where the arms of the spectrograph meet, would be suspicious.
network = final.estimator_
right = network.predict(flux) == table["class"]
by_signal = np.argsort(-np.nan_to_num(table["snr"]), kind="stable")
shown = [
    next(row for row in by_signal if right[row] and table["class"][row] == name)
    for name in ("GALAXY", "QSO")
]
ActivationMapDisplay.from_estimator(
    network,
    flux[shown],
    wavelength=network[0].new_wavelength_,
    redshift=table["z"][shown],
)

# %%
# The catalog
# -----------
# ``predict_stream`` reads, predicts and writes in chunks, and resumes after an
# interruption. The same code works for ten million spectra in an array on disk. The
# files contain the names of the objects, so that the order of rows does not matter.
for method, name in [("predict_proba", "classes"), ("score_samples", "scores")]:
    network.predict_stream(
        flux, out=work / f"{name}.csv", method=method, ids=table["id"], verbose=0
    )

# %%
# The catalog joins the two tables with the values of the headers, by the names.
catalog = join(Table.read(work / "classes.csv"), Table.read(work / "scores.csv"))
values = np.stack([catalog[f"probability_{label}"] for label in classes], axis=1)
catalog["class"] = classes[values.argmax(axis=1)]
catalog["probability"] = values.max(axis=1)
catalog["unsure"] = catalog["probability"] < threshold
catalog["unknown"] = catalog["score_samples"] < lowest_score
catalog = join(catalog, table["id", "ra", "dec"])
header = table["id", "class", "survey"]
header.rename_column("class", "survey_class")
catalog = join(catalog, header)
columns = ["id", "ra", "dec", "class", "probability", "score_samples"]
catalog = catalog[*columns, "unsure", "unknown", "survey_class"]
for name, digits in [("ra", 4), ("dec", 4), ("probability", 3), ("score_samples", 3)]:
    catalog[name].format = f".{digits}f"
catalog.write(work / "catalog.fits")
catalog.pprint(max_lines=-1, max_width=-1)

# %%
# The figure shows the probability of each object's class against its distance from the
# training set. Predictions in the upper left are reliable. Objects in the lower half
# are between classes. Objects on the right should be inspected: those in the upper
# right have a high probability although they are unlike the training set, and a catalog
# of probabilities alone misclassifies them.
fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
agree = np.asarray(catalog["class"] == catalog["survey_class"])
blank = np.asarray(catalog["survey_class"] == "")
for rows, marker, label in [
    (agree, "o", "class as the survey has it"),
    (~agree & ~blank, "X", "another class"),
    (blank, "s", "no class in the survey"),
]:
    ax.scatter(
        1 - catalog["score_samples"][rows],
        catalog["probability"][rows],
        marker=marker,
        alpha=0.8,
        label=label,
    )
ax.axvline(1 - lowest_score, color="0.4", ls="--", lw=1)
ax.axhline(threshold, color="0.4", ls="--", lw=1)
ax.set(xlabel="1 - similarity to the training set", ylabel="Probability of the class")
ax.set_xscale("log")
ax.legend(loc="lower left")
plt.show()
