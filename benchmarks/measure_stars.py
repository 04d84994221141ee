# SPDX-License-Identifier: BSD-3-Clause
"""Temperatures, gravities and metallicities of real stars, by a network and a baseline.

Four jobs: ``lamost`` keeps a quarter of the stars with parameters apart; ``miles``
cross-validates the library, with half the pixels, in five folds; ``transfer`` trains on
LAMOST and measures MILES, another grid, resolution and medium, without training on it;
``unlike`` trains on 800 stars, with half the pixels, and scores how alike to them other
spectra are::

    SKASTRO_DATA=... python -m benchmarks.measure_stars lamost --seeds 0 1 2

The scatter is 1.4826 times the median absolute difference, for the temperature of stars
below a limit; "covered" is the part within 1.645 error bars, and "rank" Spearman's rank
correlation of error bars with absolute differences. The ensemble averages five
networks. The baseline is support vectors on principal components of the flux over its
mean or its continuum; its settings are searched for by cross-validation among the
training stars.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy import units
from astropy.table import Table
from scipy.ndimage import uniform_filter1d
from scipy.stats import spearmanr
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVR

from skastro import EnsembleRegressor, RebinSpectra, SpectrumRegressor
from skastro.datasets import read_spectra

TARGETS = ("teff", "logg", "feh")
# LAMOST and MILES share wavelengths up to 7400 Angstrom; beyond this one the air
# absorbs in bands, for which the library is corrected.
LONGEST = 6800.0
# Full widths at half maximum. That of MILES is published (Falcon-Barroso et al. 2011,
# https://doi.org/10.1051/0004-6361/201116842). Blurred to that of LAMOST, the mean of
# spectra of MILES agrees best with that of stars of LAMOST with the same parameters.
LAMOST_RESOLUTION, MILES_RESOLUTION = 3.5 * units.AA, 2.51 * units.AA


def load_lamost(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return wavelengths, spectra and parameters of the stars with parameters."""
    table = Table.read(folder / "lamost_parameters.csv")
    files = [
        read_spectra(folder / name, verbose=0)
        for name in ("lamost.fits", "spectra.fits")
    ]
    names = np.concatenate([spectra.table["id"] for spectra in files])
    flux = np.concatenate([spectra.flux for spectra in files])
    row_of = {name: row for row, name in reversed([*enumerate(names)])}
    rows = [row_of[name] for name in table["id"]]
    y = np.column_stack([np.asarray(table[name], float) for name in TARGETS])
    return files[0].wavelength, flux[rows], y


def load_miles(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return wavelengths in air, spectra and parameters of the library."""
    stars = read_spectra(folder / "miles.fits", verbose=0)
    y = np.column_stack(
        [
            np.ma.filled(np.ma.asarray(stars.table[name], float), np.nan)
            for name in TARGETS
        ]
    )
    return stars.wavelength, stars.flux, y


def over_mean(X: np.ndarray) -> np.ndarray:
    """Divide spectra by their mean flux."""
    return X / X.mean(axis=1, keepdims=True)


def over_continuum(X: np.ndarray) -> np.ndarray:
    """Divide spectra by their running mean, taken twice."""
    width = X.shape[1] // 15
    mean = uniform_filter1d(uniform_filter1d(X.astype(float), width), width)
    return np.clip(X / np.maximum(mean, 0.05 * X.mean(axis=1, keepdims=True)), 0, 3)


def baseline(n_pixels: int, seed: int) -> GridSearchCV:
    """Make support vectors on principal components, with searched settings."""
    pipe = make_pipeline(
        FunctionTransformer(over_mean),
        StandardScaler(),
        PCA(60, svd_solver="full"),
        TransformedTargetRegressor(SVR(epsilon=0.02), transformer=StandardScaler()),
    )
    grid = {
        "functiontransformer__func": [over_mean, over_continuum],
        "transformedtargetregressor__regressor__C": [10.0, 100.0],
        # The sum of the variances of all pixels is their number.
        "transformedtargetregressor__regressor__gamma": [
            factor / n_pixels for factor in (0.1, 0.3, 1.0)
        ],
    }
    folds = KFold(3, shuffle=True, random_state=seed)
    return GridSearchCV(pipe, grid, scoring="neg_median_absolute_error", cv=folds)


def network(seed: int, **settings: Any) -> SpectrumRegressor:
    """Make the network, with its defaults besides the settings."""
    return SpectrumRegressor(
        verbose=0, random_state=seed, log_target=[True, False, False], **settings
    )


def measure(
    method: str, train: tuple, X: np.ndarray, seed: int, **settings: Any
) -> tuple:
    """Train on stars, and return predictions and error bars of others."""
    if method != "baseline":
        reg = network(seed, **settings)
        if method == "ensemble":
            reg = EnsembleRegressor(reg, n_estimators=5, random_state=seed)
        return reg.fit(*train).predict(X, return_std=True)
    found = []
    for target, y in zip(TARGETS, train[1].T, strict=True):
        known = ~np.isnan(y)
        y = np.log(y[known]) if target == "teff" else y[known]
        reg = baseline(X.shape[1], seed).fit(train[0][known], y)
        found.append(reg.predict(X))
    found[0] = np.exp(found[0])
    return np.column_stack(found), np.full((len(X), 3), np.nan)


def describe(name: str, off: np.ndarray, std: np.ndarray, cool: np.ndarray) -> None:
    """Print scatter, bias, coverage and rank correlation of each target."""
    for i, target in enumerate(TARGETS):
        rows = ~np.isnan(off[:, i]) & (cool if target == "teff" else True)
        d, s = off[rows, i], std[rows, i]
        rank = spearmanr(np.abs(d), s).statistic if np.isfinite(s).all() else np.nan
        print(
            f"{name} {target}: {len(d)} stars, scatter "
            f"{1.4826 * np.median(np.abs(d)):.4g}, bias {np.median(d):.3g}, covered "
            f"{np.mean(np.abs(d) < 1.645 * s):.3f}, rank {rank:.2f}",
            flush=True,
        )


def score_unlike(folder: Path, seed: int) -> None:
    """Print how well likeness and error bars tell other spectra from stars apart."""
    wavelength, X, y = load_lamost(folder)
    others = read_spectra(folder / "spectra.fits", verbose=0)
    split = ShuffleSplit(1, train_size=800, random_state=seed).split(X)
    train, test = next(split)
    reg = network(seed).fit(halve(X[train]), y[train])
    stars = X[test]
    step = round(100 / (wavelength[1] - wavelength[0]))
    spectra = {
        "galaxies": others.flux[others.target == "GALAXY"],
        "quasars": others.flux[others.target == "QSO"],
        "white noise": np.random.default_rng(seed).normal(size=stars.shape),
        "the stars shifted by 100 Angstrom": np.concatenate(
            [np.repeat(stars[:, :1], step, axis=1), stars[:, :-step]], axis=1
        ),
    }
    std, score = (call(halve(stars)) for call in judges(reg))
    lowest, largest = np.percentile(score, 1), np.percentile(std, 99, axis=0)
    for name, foreign in spectra.items():
        other_std, other = (call(halve(foreign)) for call in judges(reg))
        is_foreign = np.repeat([0, 1], [len(stars), len(foreign)])
        area = roc_auc_score(is_foreign, -np.concatenate([score, other]))
        by_std = [
            roc_auc_score(is_foreign, np.concatenate(pair))
            for pair in zip(std.T, other_std.T, strict=True)
        ]
        is_low, is_wide = other < lowest, (other_std > largest).any(axis=1)
        print(
            f"unlike {seed}, {len(foreign)} {name}: area {area:.3f}, by error bars "
            f"{np.round(by_std, 3)}; beyond 99 % of stars {is_low.mean():.2f}, with "
            f"one of the error bars {is_wide.mean():.2f}, with one of the four "
            f"{(is_low | is_wide).mean():.2f}",
            flush=True,
        )


def judges(reg: SpectrumRegressor) -> tuple[Callable, Callable]:
    """Return functions that give error bars and likeness."""
    return lambda X: reg.predict(X, return_std=True)[1], reg.score_samples


def halve(X: np.ndarray) -> np.ndarray:
    """Average pairs of pixels."""
    return X.reshape(len(X), -1, 2).mean(axis=2)


def main() -> None:
    """Run a job and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=["lamost", "miles", "transfer", "unlike"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--methods", nargs="+", default=["network", "ensemble", "baseline"]
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = Path(os.environ["SKASTRO_DATA"])
    if options.job == "unlike":
        for seed in options.seeds:
            score_unlike(folder, seed)
        return
    if options.job != "miles":
        wavelength, X, y = load_lamost(folder)
    if options.job != "lamost":
        other_wavelength, other_X, other_y = load_miles(folder)
    for method in options.methods:
        for seed in options.seeds:
            start = time.process_time()
            if options.job == "lamost":
                split = ShuffleSplit(1, test_size=0.25, random_state=seed).split(X)
                train, test = next(split)
                found, std = measure(method, (X[train], y[train]), X[test], seed)
                true, limit = y[test], 7000
            elif options.job == "miles":
                true, limit, halved = other_y, 8000, halve(other_X)
                found, std = np.empty((2, *true.shape))
                folds = KFold(5, shuffle=True, random_state=seed)
                for train, test in folds.split(halved):
                    data = halved[train], other_y[train]
                    # The flux of the library is calibrated.
                    found[test], std[test] = measure(
                        method, data, halved[test], seed, normalization="mean"
                    )
            else:
                common = wavelength < LONGEST
                rebin = RebinSpectra(
                    wavelength,
                    wavelength[common],
                    medium="vacuum",
                    resolution=LAMOST_RESOLUTION,
                )
                rows = (other_y[:, 0] > 4900) & (other_y[:, 0] < 7000)
                data = rebin.fit_transform(X), y
                here = rebin.transform(
                    other_X[rows],
                    wavelength=other_wavelength,
                    medium="air",
                    resolution=MILES_RESOLUTION,
                )
                found, std = measure(method, data, here, seed)
                true, limit = other_y[rows], 7000
            seconds = time.process_time() - start
            print(f"{options.job}, {method}, seed {seed}: {seconds:.0f} CPU s")
            cool = true[:, 0] < limit
            describe(f"{options.job} {method} {seed}", found - true, std, cool)


if __name__ == "__main__":
    main()
