# SPDX-License-Identifier: BSD-3-Clause
"""Cross-validation, grid search and ensemble, in one process and in two.

The networks are the default ones, on the 492 real spectra if ``SKASTRO_DATA`` names
their folder, else on simulated ones::

    SKASTRO_DATA=... OMP_NUM_THREADS=1 python -m benchmarks --only experiments
"""

import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)

import skastro
from benchmarks import report
from benchmarks.bench_spectra import load
from benchmarks.measure import take_turns
from skastro.datasets import make_spectra

TITLE = "Many fits of the default network on spectra"
GRID = {
    "lr": [1e-3, 2e-3, 3e-3, 5e-3],
    "optimizer__weight_decay": [1e-3, 1e-2, 1e-1],
    "augment": ["noise", None],
}
N_FOLDS = N_MEMBERS = 5
ONE_FIT = "one fit"

Experiment = Callable[[Any, np.ndarray, np.ndarray], Any]


def cross_validate(clf: Any, X: np.ndarray, y: np.ndarray, *, n_jobs: int) -> Any:
    """Score the classifier in folds."""
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    return cross_val_score(clf, X, y, cv=folds, n_jobs=n_jobs, error_score="raise")


def search(clf: Any, X: np.ndarray, y: np.ndarray, *, n_jobs: int) -> Any:
    """Score each candidate on one split."""
    split = StratifiedShuffleSplit(1, test_size=0.25, random_state=0)
    settings = {"cv": split, "refit": False, "error_score": "raise"}
    return GridSearchCV(clf, GRID, n_jobs=n_jobs, **settings).fit(X, y)


def fit_ensemble(clf: Any, X: np.ndarray, y: np.ndarray, *, n_jobs: int) -> Any:
    """Fit members that differ by their seeds."""
    settings = {"n_estimators": N_MEMBERS, "random_state": 0, "n_jobs": n_jobs}
    return skastro.EnsembleClassifier(clf, **settings).fit(X, y)


N_CANDIDATES = len(list(itertools.product(*GRID.values())))
# The fits, and the part of the samples that each one takes.
EXPERIMENTS = {
    f"{N_FOLDS}-fold `cross_val_score`": (cross_validate, N_FOLDS, 1 - 1 / N_FOLDS),
    f"`GridSearchCV` of {N_CANDIDATES} points, one split": (search, N_CANDIDATES, 0.75),
    f"`EnsembleClassifier` of {N_MEMBERS}": (fit_ensemble, N_MEMBERS, 1.0),
}
# Ways to train them: experiments by name, of which a way may lack some. The first one
# is what the others are compared with.
WAYS: dict[str, dict[str, Experiment]] = {
    way: {name: partial(run, n_jobs=n_jobs) for name, (run, *_) in EXPERIMENTS.items()}
    for way, n_jobs in {"one process": 1, "`n_jobs=2`": 2}.items()
}


def start_workers() -> tuple[float, int]:
    """Start two workers anew: seconds until both have imported all, and their threads.

    Their first task must be a large one: from it on, loky restarts workers whose memory
    grows much.
    """
    get_reusable_executor().shutdown(wait=True)
    start = time.perf_counter()
    threads = Parallel(n_jobs=2)(delayed(_count_threads)() for _ in range(2))
    return time.perf_counter() - start, max(threads)


def _count_threads() -> int:
    # Names of the package load on first use.
    _ = skastro.SpectrumClassifier, skastro.EnsembleClassifier
    return torch.get_num_threads()


def load_spectra(quick: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """Read the real spectra, or simulate some: flux, classes and what they are."""
    if "SKASTRO_DATA" in os.environ and not quick:
        flux, target, _ = load("spectra")
        scaler = skastro.StandardizeSpectra(nan_policy="interpolate")
        return scaler.fit_transform(flux), target, "real spectra"
    grid = np.linspace(4000, 9000, 100 if quick else 3000)
    made = make_spectra(60 if quick else 492, wavelength=grid, random_state=0)
    return made.flux, made.target, "simulated spectra"


def compare(
    rounds: int, quick: bool, epochs: int, device: str, ways: dict = WAYS
) -> tuple[list[str], ...]:
    """Measure all experiments in all ways, in turn.

    Parameters
    ----------
    rounds : int
        Rounds that count.
    quick : bool
        Whether to take few simulated samples, only to see that all runs.
    epochs : int
        Epochs of each fit.
    device : {"cpu", "cuda"}
        Where.
    ways : dict of dict of callables
        As `WAYS`.

    Returns
    -------
    parts : tuple of lists of str
        A table and notes, in Markdown.
    """
    X, y, what = load_spectra(quick)
    clf = skastro.SpectrumClassifier(
        "mlp" if quick else "resnet10",
        max_epochs=epochs,
        device=device,
        verbose=0,
        random_state=0,
    )

    def seconds(name: str, run: Callable[[], Any]) -> dict[str, float]:
        start = time.perf_counter()
        run()
        return {name: time.perf_counter() - start}

    jobs: dict[str, Callable[[], Any]] = {ONE_FIT: lambda: clf.fit(X, y)}
    for name in EXPERIMENTS:
        for way, known in ways.items():
            if name in known:
                jobs[f"{name}, {way}"] = partial(known[name], clf, X, y)
    tasks = {name: partial(seconds, name, run) for name, run in jobs.items()}
    start, threads = start_workers()
    found = take_turns(tasks, rounds, "experiments")
    one = median(found[ONE_FIT])
    first = next(iter(ways))
    rows = []
    for name, (_, n_fits, part) in EXPERIMENTS.items():
        base = median(found[f"{name}, {first}"])
        for way in ways:
            if (times := found.get(f"{name}, {way}")) is None:
                continue
            spent = median(times)
            cells = [f"{spent:.3g} ({min(times):.3g} to {max(times):.3g})"]
            cells += [f"{base / spent:.2f}", f"{spent / (n_fits * part * one):.2f}"]
            rows.append([name, way, str(n_fits), *cells])
    header = ["experiment", "way", "fits", "seconds", f"speed over {first}", "in fits"]
    notes = (
        f"{len(X)} {what} of {X.shape[1]} pixels, {epochs} epoch(s) a fit; one fit on "
        f"all takes {one:.3g} s. Medians of {rounds} interleaved round(s), with the "
        "least and the most. In fits: seconds over those of as many single fits on as "
        f"many samples. This process has {torch.get_num_threads()} thread(s), each of "
        f"two workers {threads}. Their start with all imports, {start:.2g} s, is "
        "not in the table: joblib keeps workers for later calls."
    )
    return report.table(header, rows), [notes]
