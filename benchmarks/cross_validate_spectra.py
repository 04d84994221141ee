# SPDX-License-Identifier: BSD-3-Clause
"""Cross-validate networks and baselines on real spectra, all in the same five folds.

The script compares the recipes of published systems and the default network, alone (the
first member of the ensemble) and as an ensemble, with a random forest and logistic
regression on principal components, whose settings are searched for inside each training
fold. Scores are added to a file as soon as they are known; ``--table`` prints a table
of means::

    SKASTRO_DATA=... python -m benchmarks.cross_validate_spectra
    python -m benchmarks.cross_validate_spectra --table

Networks are slow on a CPU. ``--rebin 2`` averages neighboring pixels for them, and
``--epochs`` shortens the training of the recipes and their schedules; the table
contains these settings.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from threadpoolctl import threadpool_limits

from benchmarks.bench_spectra import load
from skastro import (
    EnsembleClassifier,
    MinMaxSpectra,
    Pipeline,
    SpectrumClassifier,
    StandardizeSpectra,
)

N_FOLDS = 5
FIELDS = ("data", "pipeline", "settings", "fold", "accuracy", "macro_f1", "seconds")


def scaled(estimator: BaseEstimator, *steps: BaseEstimator) -> Pipeline:
    """Standardize each spectrum by its median and spread, before other steps."""
    scaler = StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate")
    return Pipeline([scaler, *steps, estimator])


def searched(pipe: Pipeline, grid: dict[str, list], seed: int) -> GridSearchCV:
    """Choose a baseline's settings by cross-validation inside the training fold."""
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return GridSearchCV(pipe, grid, scoring="f1_macro", cv=folds)


def candidates(
    seed: int, epochs: int | None = None, members: int = 5
) -> dict[str, BaseEstimator]:
    """Make the pipelines, by name."""
    forest = scaled(RandomForestClassifier(500, random_state=seed))
    linear = scaled(
        LogisticRegression(max_iter=5000), PCA(svd_solver="full", random_state=seed)
    )
    network = scaled(SpectrumClassifier(verbose=0, random_state=seed))
    shorter = {"verbose": 0, "random_state": seed}
    if epochs is not None:
        shorter["max_epochs"] = epochs
    limits = MinMaxSpectra(
        quantile_range=(1.0, 99.0), clip=True, nan_policy="interpolate"
    )
    multi_scale = SpectrumClassifier.from_recipe("wang2020", **shorter)
    resclass = SpectrumClassifier.from_recipe("resclass", **shorter)
    return {
        "random forest": searched(
            forest,
            {
                "randomforestclassifier__min_samples_leaf": [1, 3],
                "randomforestclassifier__class_weight": [None, "balanced"],
            },
            seed,
        ),
        "PCA + logistic regression": searched(
            linear,
            {
                "pca__n_components": [20, 50, 100],
                "logisticregression__C": [0.01, 0.1, 1.0, 10.0],
            },
            seed,
        ),
        "ensemble": EnsembleClassifier(
            network, n_estimators=members, random_state=seed
        ),
        "wang2020": Pipeline([limits, multi_scale]),
        "resclass": scaled(resclass),
    }


def judge(
    data: str,
    name: str,
    fold: int,
    options: argparse.Namespace,
) -> list[dict]:
    """Fit one pipeline on one training fold, and score it on the fold kept apart."""
    torch.set_num_threads(options.threads)
    flux, target, _ = load(data)
    is_recipe = name in ("wang2020", "resclass")
    is_network = is_recipe or name == "ensemble"
    if is_network and options.rebin > 1:
        n_pixels = flux.shape[1] // options.rebin * options.rebin
        flux = flux[:, :n_pixels].reshape(len(flux), -1, options.rebin).mean(axis=2)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=options.seed)
    train, test = list(folds.split(flux, target))[fold]
    pipes = candidates(options.seed + fold, options.epochs, options.members)
    pipe = pipes[name]
    start = time.perf_counter()
    with threadpool_limits(options.threads):
        pipe.fit(flux[train], target[train])
    seconds = time.perf_counter() - start

    epochs = f"{options.epochs} epochs, " if is_recipe and options.epochs else ""
    settings = f"{epochs}rebin {options.rebin}" if is_network else "searched"
    fitted = {(name, settings): pipe}
    if name == "ensemble":
        fitted = {("SpectrumClassifier", settings): pipe.estimators_[0]}
        if options.members > 1:
            fitted[f"ensemble of {options.members}", settings] = pipe
    rows = []
    for (title, text), estimator in fitted.items():
        predicted = estimator.predict(flux[test])
        scores = (
            accuracy_score(target[test], predicted),
            f1_score(target[test], predicted, average="macro"),
        )
        share = options.members if title == "SpectrumClassifier" else 1
        values = (data, title, text, fold, *scores, seconds / share)
        rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows


def table(path: Path) -> str:
    """Average over the folds."""
    scores: dict[tuple, list] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(row[name] for name in FIELDS[:3])
            scores.setdefault(key, []).append([float(row[name]) for name in FIELDS[4:]])
    lines = [
        "| data | pipeline | settings | folds | accuracy | macro-F1 | fit (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, values in sorted(scores.items(), key=lambda item: (item[0][0], item[1])):
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        lines.append(
            f"| {' | '.join(key)} | {len(values)} | {mean[0]:.3f} | "
            f"{mean[1]:.3f} ± {spread[1]:.3f} | {mean[2]:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    names = list(candidates(0))
    files = ["spectra", "lamost"]
    add("--data", nargs="+", choices=files, default=files, help="what to classify")
    add("--pipelines", nargs="+", choices=names, default=names, metavar="NAME")
    add("--folds", type=int, nargs="+", default=list(range(N_FOLDS)))
    add("--epochs", type=int, help="of the recipes, if not their own")
    add("--rebin", type=int, default=1, help="pixels to average for the networks")
    add("--members", type=int, default=5, help="networks of the ensemble")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=2, help="folds at the same time")
    add("--threads", type=int, default=1, help="of each of them")
    add("--scores", type=Path, default=Path("cross_validation.csv"))
    add("--table", action="store_true", help="print the table and do no more")
    options = parser.parse_args()
    runs = [] if options.table else options.data
    for data in runs:
        for name in options.pipelines:
            results = Parallel(options.jobs, return_as="generator_unordered")(
                delayed(judge)(data, name, fold, options) for fold in options.folds
            )
            for rows in results:
                is_new = not options.scores.exists()
                with options.scores.open("a", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    if is_new:
                        writer.writeheader()
                    writer.writerows(rows)
                for row in rows:
                    print(*row.values(), flush=True)
    print(table(options.scores))


if __name__ == "__main__":
    main()
