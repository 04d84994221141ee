# SPDX-License-Identifier: BSD-3-Clause
"""Compare the scores of classifiers of real galaxies on images kept apart.

All classifiers use the same stratified splits, a quarter kept apart. The script prints
each score as soon as it is known, and a Markdown table of means over the seeds::

    SKASTRO_DATA=... python benchmarks/bench_galaxies.py galaxies_efigi
    SKASTRO_DATA=... python benchmarks/bench_galaxies.py galaxies --seeds 0 1 2
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skastro import EnsembleClassifier, GalaxyClassifier
from skastro.datasets import read_galaxy10


def flatten(images: np.ndarray) -> np.ndarray:
    """Flatten each image to a row of numbers."""
    return images.reshape(len(images), -1) / np.float32(255)


def candidates(balanced: bool) -> dict[str, BaseEstimator]:
    """Make the classifiers, by name."""
    network = GalaxyClassifier(verbose=0, sampler="balanced" if balanced else None)
    machine = make_pipeline(
        FunctionTransformer(flatten),
        PCA(100, svd_solver="randomized", random_state=0),
        StandardScaler(),
        SVC(class_weight="balanced" if balanced else None),
    )
    search = GridSearchCV(
        machine,
        {"svc__C": [0.3, 1.0, 3.0, 10.0], "svc__gamma": ["scale", 0.002]},
        scoring="balanced_accuracy",
        cv=3,
    )
    return {
        "PCA + support vectors": search,
        "MLP recipe": GalaxyClassifier.from_recipe("mlp", verbose=0),
        "GalaxyClassifier": network,
        "ensemble of 3": EnsembleClassifier(network, n_estimators=3),
    }


def judge(
    classifier: BaseEstimator, images: np.ndarray, target: np.ndarray
) -> tuple[float, float]:
    """Return the accuracy, and the mean accuracy of the classes."""
    predicted = classifier.predict(images)
    return (
        accuracy_score(target, predicted),
        balanced_accuracy_score(target, predicted),
    )


def set_tta(classifier: BaseEstimator) -> None:
    """Average predictions over the symmetries from now on."""
    for network in getattr(classifier, "estimators_", [classifier]):
        network.set_params(tta=True)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = list(candidates(False))
    parser.add_argument("data", choices=["galaxies_efigi", "galaxies"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=names, metavar="NAME")
    options = parser.parse_args()
    path = Path(os.environ["SKASTRO_DATA"]) / f"{options.data}.h5"
    galaxies = read_galaxy10(path, verbose=0)
    images, target = galaxies.images, galaxies.target
    scores: dict[str, list] = {}
    for seed in options.seeds:
        train, test = train_test_split(
            np.arange(len(target)), test_size=0.25, stratify=target, random_state=seed
        )
        for name, classifier in candidates(options.data == "galaxies").items():
            if name not in options.only:
                continue
            fitted = clone(classifier)
            if "random_state" in fitted.get_params():
                fitted.set_params(random_state=seed)
            start, start_cpu = time.perf_counter(), time.process_time()
            fitted.fit(images[train], target[train])
            seconds = (time.perf_counter() - start, time.process_time() - start_cpu)
            rows = {name: judge(fitted, images[test], target[test])}
            if "Galaxy" in name or "ensemble" in name:
                set_tta(fitted)
                rows[f"{name}, tta"] = judge(fitted, images[test], target[test])
            for title, row in rows.items():
                scores.setdefault(title, []).append([*row, *seconds])
                print(seed, title, *np.round(scores[title][-1], 3), flush=True)
    print("| classifier | accuracy | balanced accuracy | fit (s) | fit (CPU s) |")
    print("|---|---|---|---|---|")
    for title, values in scores.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        print(
            f"| {title} | {mean[0]:.3f} ± {spread[0]:.3f} | "
            f"{mean[1]:.3f} ± {spread[1]:.3f} | {mean[2]:.0f} | {mean[3]:.0f} |"
        )


if __name__ == "__main__":
    main()
