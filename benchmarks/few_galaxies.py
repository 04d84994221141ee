# SPDX-License-Identifier: BSD-3-Clause
"""Few labeled images of galaxies: weights of the package, random ones, and baselines.

The weights that come with the package have seen all these images. So weights of the
same recipe are trained first, without what is judged: a quarter of each set, and the
validation part of the radio galaxies::

    python tools/train_pretrained_galaxies.py --apart 0 --output weights/0
    SKASTRO_DATA=... python -m benchmarks.few_galaxies efigi \
        --weights "weights/{seed}/galaxies.safetensors" --seeds 0 1 2

``--per-class 10`` leaves so many labeled images a class; of EFIGI with weights that
were trained ``--without efigi``. Each number is the mean over the seeds, which choose
split, labeled images and draws of the training, and their standard deviation. Settings
were chosen on other rows of the training parts, with weights that had not seen these.

These weights have learned from the other rows of the same sets already: what they save
on a set of other galaxies is told by weights that were trained ``--without`` the set.

``start`` starts from the weights, ``random`` trains the same network from random ones
for longer; ``head`` fits a logistic regression to what ``extract_features`` gives with
these weights, ``principal components`` to those of the images. ``calibrated`` is
``start`` with ``calibrate=True`` and a sixth of the training images set aside; its
calibration error has 15 bins of equal counts, and beside it stands what a classifier
would have whose probabilities are right.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro import GalaxyClassifier
from skastro.inspection import expected_calibration_error

FILES = {
    "efigi": "galaxies_efigi.h5",
    "sdss": "galaxies.h5",
    "radio": "galaxies_radio.h5",
}
# Radio sources are small, and in the middle of their images.
CROPPED_RADIO = 100
N_BINS = 15


def load(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return images, labels, and which rows are judged where that is fixed."""
    with h5py.File(Path(os.environ["SKASTRO_DATA"]) / FILES[name]) as file:
        images, labels = file["images"][:], file["ans"][:].astype(int)
        if name != "radio":
            return images, labels, None
        edge = (images.shape[1] - CROPPED_RADIO) // 2
        images = images[:, edge:-edge, edge:-edge]
        return images, labels, file["split"][:].astype(str) != "train"


def split_rows(
    labels: np.ndarray, is_test: np.ndarray | None, seed: int, per_class: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose labeled and judged rows."""
    rows = np.arange(len(labels))
    if is_test is None:
        train, test = train_test_split(
            rows, test_size=0.25, stratify=labels, random_state=seed
        )
    else:
        train, test = rows[~is_test], rows[is_test]
    if per_class is not None:
        rng = np.random.default_rng(seed)
        groups = [train[labels[train] == number] for number in np.unique(labels)]
        train = np.concatenate(
            [rng.choice(group, per_class, replace=False) for group in groups]
        )
    return train, test


def network(name: str, weights: str, seed: int, few: bool) -> GalaxyClassifier:
    """Make the classifier that starts from weights."""
    clf = GalaxyClassifier.from_pretrained(
        weights, tta=True, verbose=0, random_state=seed, device="cpu"
    )
    if name != "efigi":
        # Classes of other sizes, all of which count in the scores.
        clf.set_params(sampler="balanced")
    if few:
        clf.set_params(max_epochs=60, batch_size=10)
    return clf


def regression(seed: int, n_components: int | None = None) -> GridSearchCV:
    """Make a logistic regression whose regularization is searched for."""
    steps = [StandardScaler()]
    if n_components is not None:
        steps.insert(0, PCA(n_components, random_state=seed))
    model = make_pipeline(
        *steps, LogisticRegression(max_iter=3000, class_weight="balanced")
    )
    grid = {"logisticregression__C": np.logspace(-5, 0, 11)}
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=3)


def predict(
    method: str,
    options: argparse.Namespace,
    seed: int,
    images: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
) -> np.ndarray:
    """Fit a method; return probabilities of the judged images."""
    train, test = images
    if method == "principal components":
        rows = [part.reshape(len(part), -1) / np.float32(255) for part in images]
        n_components = min(60, len(labels) // 2)
        return (
            regression(seed, n_components).fit(rows[0], labels).predict_proba(rows[1])
        )
    weights = options.weights.format(seed=seed)
    clf = network(options.data, weights, seed, options.per_class is not None)
    if method == "head":
        clf.set_params(max_epochs=0).fit(train, labels)
        model = regression(seed).fit(clf.extract_features(train), labels)
        return model.predict_proba(clf.extract_features(test))
    if method == "random":
        clf.set_params(backbone=None, backbone_lr=None, lr=3e-3)
        clf.set_params(
            max_epochs=options.epochs * (1 if options.per_class is None else 4)
        )
    if method == "calibrated":
        clf.set_params(calibrate=True, train_split=1 / 6)
    return clf.fit(train, labels).predict_proba(test)


def calibration(
    true: np.ndarray, probability: np.ndarray, seed: int, n_draws: int = 200
) -> list[float]:
    """Give the error, and its mean and deviation if the probabilities are right."""

    def error_of(true: np.ndarray) -> float:
        return expected_calibration_error(
            true,
            probability,
            labels=np.arange(probability.shape[1]),
            n_bins=N_BINS,
            strategy="quantile",
        )

    rng = np.random.default_rng(seed)
    cumulative = probability.cumsum(axis=1)
    drawn = (rng.random((n_draws, len(true), 1)) > cumulative[:, :-1]).sum(axis=2)
    if_right = [error_of(labels) for labels in drawn]
    return [error_of(true), np.mean(if_right), np.std(if_right)]


def main() -> None:
    """Fit the methods and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    methods = ["start", "random", "head", "principal components", "calibrated"]
    parser.add_argument("data", choices=FILES)
    parser.add_argument("--weights", required=True, metavar="FILE", help="with {seed}")
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--per-class", type=int, help="labeled images; all if not given"
    )
    parser.add_argument("--epochs", type=int, default=30, help="from random weights")
    options = parser.parse_args()
    few = options.per_class is not None
    if "{seed}" not in options.weights and (len(options.seeds) > 1 and not few):
        parser.error("weights of one split have seen what is judged in the others")
    torch.set_num_threads(1)
    images, labels, is_test = load(options.data)
    scores: dict[str, list[Any]] = {}
    judged: dict[str, list[tuple]] = {}
    for seed in options.seeds:
        train, test = split_rows(labels, is_test, seed, options.per_class)
        for method in options.methods:
            start = time.process_time()
            probability = predict(
                method, options, seed, (images[train], images[test]), labels[train]
            )
            seconds = time.process_time() - start
            found, true = probability.argmax(axis=1), labels[test]
            row = [
                balanced_accuracy_score(true, found),
                f1_score(true, found, average="macro"),
                *calibration(true, probability, seed),
                seconds,
            ]
            scores.setdefault(method, []).append(row)
            judged.setdefault(method, []).append((true, probability))
            print(seed, method, *np.round(row, 3), flush=True)
    print("| method | balanced accuracy | macro-F1 | calibration error | CPU s |")
    print("|---|---|---|---|---|")
    for method, rows in scores.items():
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
        print(
            f"| {method} | {mean[0]:.3f} ± {spread[0]:.3f} | "
            f"{mean[1]:.3f} ± {spread[1]:.3f} | {mean[2]:.3f} ± {spread[2]:.3f} "
            f"(if right {mean[3]:.3f} ± {mean[4]:.3f}) | {mean[5]:.0f} |"
        )
    if is_test is None and len(options.seeds) > 1:
        # Most galaxies are judged in one split alone.
        for method, parts in judged.items():
            true, probability = map(np.concatenate, zip(*parts, strict=True))
            error, mean, spread = calibration(true, probability, 0)
            print(
                f"{method}: calibration error of all {len(true)} predictions "
                f"{error:.3f} (if right {mean:.3f} ± {spread:.3f})"
            )


if __name__ == "__main__":
    main()
