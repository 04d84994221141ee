# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves: weights of the package, random weights and classical methods.

Three jobs on real spectra: ``stars`` tells types A, F, G and K of LAMOST; ``classes``
stars, galaxies and quasars of SDSS and BOSS; ``parameters`` measures Teff, log g and
[Fe/H] of stars of LAMOST::

    SKASTRO_DATA=... python -m benchmarks.start_weights stars --labels 100 300

Labeled spectra are drawn, in the proportions of the classes, from the even rows; all
odd rows are the test. Settings were chosen on even rows alone. Each number is the mean
of some draws, and their standard deviation. ``shipped`` starts from the weights of the
package, ``same network`` from random ones, all else equal; ``default`` is the estimator
as it is. Support vectors and logistic regression get principal components of the flux
in the best of three forms, standardized, over its continuum or over its mean; form and
settings are searched for by cross-validation among the labeled spectra.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.ndimage import uniform_filter1d
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, SVR

from skastro import SpectrumClassifier, SpectrumRegressor, StandardizeSpectra
from skastro.datasets import read_spectra

Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def over_mean(X: np.ndarray) -> np.ndarray:
    """Divide spectra by the mean of their absolute flux."""
    return X / np.abs(X).mean(axis=1, keepdims=True)


def over_continuum(X: np.ndarray) -> np.ndarray:
    """Divide spectra by their running mean, twice taken."""
    X = over_mean(X)
    width = X.shape[1] // 15
    continuum = uniform_filter1d(uniform_filter1d(X, width, mode="nearest"), width)
    return (X / continuum.clip(0.05)).clip(0, 3)


# What makes an estimator start from random weights, with one rate for all of them.
FRESH: dict[str, Any] = {"backbone": None, "backbone_lr": None}
FORMS = [
    StandardizeSpectra(robust=True, clip=8),
    FunctionTransformer(over_continuum),
    FunctionTransformer(over_mean),
]


def load_stars(folder: Path) -> Data:
    """Return spectra of LAMOST and their types."""
    spectra = read_spectra(folder / "lamost.fits", verbose=0)
    types = np.array([name.lstrip("dgs")[:1] for name in spectra.subclass])
    # Even and odd rows are those of the file.
    types[~np.isin(types, list("AFGK"))] = ""
    return spectra.wavelength, spectra.flux, types


def load_classes(folder: Path) -> Data:
    """Return spectra of SDSS and BOSS and their classes; others have none."""
    spectra = read_spectra(folder / "spectra.fits", verbose=0)
    is_lamost = np.array(["LAMOST" in str(name).upper() for name in spectra.survey])
    return spectra.wavelength, spectra.flux, np.where(is_lamost, "", spectra.class_name)


def load_parameters(folder: Path) -> Data:
    """Return spectra of LAMOST and parameters of the stars, NaN where unknown."""
    spectra = read_spectra(folder / "lamost.fits", verbose=0)
    table = Table.read(folder / "lamost_parameters.csv")
    known = {
        row["id"]: [row[name] for name in ("teff", "logg", "feh")] for row in table
    }
    unknown = [np.nan] * 3
    y = np.array([known.get(name, unknown) for name in spectra.id], dtype=float)
    return spectra.wavelength, spectra.flux, y


def classifiers(wavelength: np.ndarray, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the methods that tell classes."""
    common = {"verbose": 0, "random_state": seed, "device": "cpu"}
    shipped = SpectrumClassifier.from_pretrained(
        "spectra", wavelength=wavelength, **common
    )
    yield "shipped", shipped
    yield "same network", clone(shipped).set_params(**FRESH)
    yield "default", SpectrumClassifier(**common)
    # On even rows forests were best with the continuum divided out.
    forest = {"n_estimators": 300, "max_features": 0.05, "random_state": seed}
    for name, method in (
        ("random forest", RandomForestClassifier(class_weight="balanced", **forest)),
        ("extra trees", ExtraTreesClassifier(class_weight="balanced", **forest)),
    ):
        yield name, make_pipeline(FORMS[1], method)
    for name, method, grid in (
        ("support vectors", SVC(class_weight="balanced"), {"svc__C": [1, 10]}),
        (
            "logistic regression",
            LogisticRegression(max_iter=5000, class_weight="balanced"),
            {"logisticregression__C": [1, 10]},
        ),
    ):
        model = make_pipeline(FORMS[0], PCA(random_state=0), StandardScaler(), method)
        grid |= {
            "standardizespectra": FORMS,
            "pca__n_components": [10, 20, 40],
            "standardscaler": [StandardScaler(), "passthrough"],
        }
        yield name, GridSearchCV(model, grid, scoring="f1_macro", cv=3)


def regressors(wavelength: np.ndarray, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the methods that measure."""
    common = {"verbose": 0, "random_state": seed, "device": "cpu"}
    shipped = SpectrumRegressor.from_pretrained(
        "spectra", wavelength=wavelength, **common
    )
    yield "shipped", shipped
    yield "same network", clone(shipped).set_params(**FRESH)
    yield "default", SpectrumRegressor(**common)
    yield "support vectors", None


def fit_vectors(X: np.ndarray, y: np.ndarray) -> Callable:
    """Fit support vectors to one target at a time."""
    models = []
    for target in y.T:
        known = ~np.isnan(target)
        model = make_pipeline(FORMS[0], PCA(random_state=0), SVR())
        scaled = TransformedTargetRegressor(model, transformer=StandardScaler())
        grid = {
            "regressor__standardizespectra": FORMS,
            "regressor__pca__n_components": [15, 30, 60],
            "regressor__svr__C": [1, 10, 100],
        }
        search = GridSearchCV(scaled, grid, cv=3, scoring="neg_mean_absolute_error")
        models.append(search.fit(X[known], target[known]))
    return lambda X: np.column_stack([model.predict(X) for model in models])


def halves(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the even and the odd rows with a known target."""
    known = y != "" if y.ndim == 1 else ~np.isnan(y).any(axis=1)
    (rows,) = np.nonzero(known)
    return rows[rows % 2 == 0], rows[rows % 2 == 1]


def draw(pool: np.ndarray, y: np.ndarray, n_labels: int, seed: int) -> np.ndarray:
    """Draw labeled rows, or take all."""
    if n_labels >= len(pool):
        return pool
    classes = y[pool] if y.ndim == 1 else None
    rows, _ = train_test_split(
        pool, train_size=n_labels, stratify=classes, random_state=seed
    )
    return rows


def score(job: str, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return macro-F1, or the scatter of each parameter."""
    if job != "parameters":
        return np.array([f1_score(truth, found, average="macro")])
    cool = truth[:, 0] < 7000
    off = [(found - truth)[cool, 0], *(found - truth)[:, 1:].T]
    return np.array([1.4826 * np.median(np.abs(o - np.median(o))) for o in off])


def measure(
    job: str, data: Data, n_labels: int, n_draws: int, only: list[str] | None
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Return mean, scatter and seconds of each method."""
    wavelength, X, y = data
    pool, test = halves(y)
    methods = regressors if job == "parameters" else classifiers
    scores: dict[str, list] = {}
    seconds: dict[str, float] = {}
    for seed in range(n_draws):
        rows = draw(pool, y, n_labels, seed)
        for name, method in methods(wavelength, seed):
            if only and name not in only:
                continue
            started = time.process_time()
            with warnings.catch_warnings():
                # Of classes with fewer spectra than folds.
                warnings.simplefilter("ignore", UserWarning)
                predict = (
                    fit_vectors(X[rows], y[rows])
                    if method is None
                    else method.fit(X[rows], y[rows]).predict
                )
            found = predict(X[test])
            scores.setdefault(name, []).append(score(job, y[test], found))
            seconds[name] = time.process_time() - started
    return {
        name: (np.mean(runs, axis=0), np.std(runs, axis=0), seconds[name])
        for name, runs in scores.items()
    }


LOADERS = {
    "stars": load_stars,
    "classes": load_classes,
    "parameters": load_parameters,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", choices=LOADERS)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 10_000])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="some of the methods")
    options = parser.parse_args()
    data = LOADERS[options.job](Path(os.environ["SKASTRO_DATA"]))
    pool, test = halves(data[2])
    print(f"{len(pool)} spectra with labels to draw from, {len(test)} in the test")
    for n_labels in options.labels:
        n_labels = min(n_labels, len(pool))
        print(f"\n{n_labels} labels, {options.draws} draws")
        results = measure(options.job, data, n_labels, options.draws, options.only)
        for name, (mean, scatter, seconds) in results.items():
            numbers = "  ".join(
                f"{m:8.3f} ± {s:.3f}" for m, s in zip(mean, scatter, strict=True)
            )
            print(f"{name:20s} {numbers}   {seconds:.0f} s a draw", flush=True)


if __name__ == "__main__":
    main()
