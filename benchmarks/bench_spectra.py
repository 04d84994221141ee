# SPDX-License-Identifier: BSD-3-Clause
"""Compare the scores of classifiers of real spectra on rows kept apart.

All pipelines use the same stratified splits, a quarter kept apart, and the same
scaling. The script prints a Markdown table of means over the seeds::

    SKASTRO_DATA=... python benchmarks/bench_spectra.py spectra
    SKASTRO_DATA=... python benchmarks/bench_spectra.py lamost --seeds 3
"""

import argparse
import ast
import os
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import read_spectra


def load(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read flux, classes and whether a spectrum is from SDSS or BOSS."""
    path = Path(os.environ["SKASTRO_DATA"]) / f"{name}.fits"
    column = "subclass" if name == "lamost" else None
    spectra = read_spectra(path, label_column=column, verbose=0)
    target = spectra.target
    if name == "lamost":
        target = np.array([str(label)[:1] for label in target])
    kept = np.isin(target, list("AFGK")) if name == "lamost" else target != ""
    lamost = np.char.startswith(np.asarray(spectra.survey, str), "LAMOST")
    return spectra.flux[kept], target[kept], ~lamost[kept]


def candidates(parameters: list[str]) -> dict[str, Pipeline]:
    """Make the pipelines; ``parameters`` are name=value pairs of the network."""
    scaler = StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate")
    given = dict(item.split("=", 1) for item in parameters)
    given = {name: _value(value) for name, value in given.items()}
    return {
        "random forest": Pipeline([scaler, RandomForestClassifier(500, n_jobs=2)]),
        "PCA + logistic regression": Pipeline(
            [scaler, PCA(30), LogisticRegression(max_iter=5000)]
        ),
        "SpectrumClassifier": Pipeline(
            [scaler, SpectrumClassifier(verbose=0, **given)]
        ),
    }


def _value(text: str) -> object:
    """Read numbers, None and the like; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", choices=["spectra", "lamost"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", help="part of the name of the pipelines to run")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    flux, target, sdss = load(options.data)
    print("| pipeline | accuracy | macro-F1 | macro-F1, SDSS/BOSS alone | fit (s) |")
    print("|---|---|---|---|---|")
    for name, pipe in candidates(options.set).items():
        if options.only and options.only not in name:
            continue
        rows = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            train, test = train_test_split(
                np.arange(len(target)),
                test_size=0.25,
                stratify=target,
                random_state=seed,
            )
            fitted = clone(pipe).set_params(
                **{f"{pipe.steps[-1][0]}__random_state": seed}
            )
            start = time.perf_counter()
            fitted.fit(flux[train], target[train])
            seconds = time.perf_counter() - start
            predicted = fitted.predict(flux[test])
            alone = sdss[test]
            rows.append(
                [
                    accuracy_score(target[test], predicted),
                    f1_score(target[test], predicted, average="macro"),
                    f1_score(target[test][alone], predicted[alone], average="macro")
                    if alone.any()
                    else np.nan,
                    seconds,
                ]
            )
        mean = np.mean(rows, axis=0)
        spread = np.std(rows, axis=0)
        print(
            f"| {name} | {mean[0]:.3f} | {mean[1]:.3f} ± {spread[1]:.3f} | "
            f"{mean[2]:.3f} ± {spread[2]:.3f} | {mean[3]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
