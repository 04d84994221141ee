# SPDX-License-Identifier: BSD-3-Clause
"""Votes of Galaxy Zoo 2 on 698 real galaxies, by a network and by baselines.

A quarter of the galaxies is kept apart. The network learns the counts of votes on three
questions, smooth or featured, edge-on and spiral arms; ``ridge`` and ``boosting``
regress the fraction of one answer each on features of the same images, with settings
searched for by cross-validation among the training galaxies; ``constant`` is the mean::

    SKASTRO_DATA=... python -m benchmarks.galaxy_votes --seeds 0 1 2

``--weights`` names files of weights to start from, as ``python -m
benchmarks.few_galaxies`` does; they must not have seen the quarter.

The table tells debiased fractions, and the number of volunteers; counts are made of
both, see :func:`skastro.datasets.read_votes`. The root mean square error is that of the
debiased fractions as the table has them: of all galaxies, among which the fractions of
questions without votes are 0, and of those with 5 votes or more. "covered" is
:func:`skastro.inspection.vote_coverage` of the counts at 0.9, and "within" the part in
intervals of whole counts. Baselines get the width that their cross-validated
predictions of the training galaxies have.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro import GalaxyRegressor
from skastro.datasets import read_votes
from skastro.estimators._votes import count_quantiles
from skastro.inspection import vote_coverage
from skastro.training import DirichletMultinomialLikelihood

# The questions, and the column of their counts that is judged.
QUESTIONS = {"t01_smooth_or_features": 0, "t02_edgeon": 3, "t04_spiral": 5}
COLUMNS = (
    "t01_smooth_or_features_a01_smooth_debiased",
    "t02_edgeon_a04_yes_debiased",
    "t04_spiral_a08_spiral_debiased",
)
NAMES = ("smooth", "edge-on", "spiral")
FEWEST = 5


def load(folder: Path, crop: int, size: int, kind: str) -> tuple:
    """Return images, votes and the fractions of the judged answers."""
    table = Table.read(folder / "gz2_votes.csv")
    votes = read_votes(
        table, kind=kind, n_votes="total_classifications", questions=[*QUESTIONS]
    )
    edge = (224 - crop) // 2
    images = []
    for name in table["asset_id"]:
        with Image.open(folder / "gz2_votes" / f"{name}.jpg") as image:
            part = image.crop((edge, edge, 224 - edge, 224 - edge))
            images.append(part.resize((size, size), Image.Resampling.BOX))
    true = np.column_stack([np.asarray(table[name], float) for name in COLUMNS])
    # A galaxy whose debiased fractions are not known has no votes.
    for name in ("counts", "n_votes"):
        votes[name] = np.nan_to_num(votes[name])
    return np.stack([np.asarray(image) for image in images]), votes, true


def features(images: np.ndarray) -> np.ndarray:
    """Measure colors, profiles, shapes and asymmetries, and small images."""
    X = images.astype(float) / 255
    X = X - np.median(X[:, :4].reshape(len(X), -1, 3), axis=1)[:, None, None]
    light = X.mean(axis=3).clip(0)
    n = X.shape[1]
    y, x = np.indices((n, n)) - (n - 1) / 2
    radius = np.hypot(x, y)
    rings = np.digitize(radius, np.linspace(0, n / 2, 13))
    profile = np.stack([X[:, rings == i].mean(axis=1) for i in range(1, 13)], axis=1)
    total = light.sum(axis=(1, 2))
    weight = light / total[:, None, None]
    growth = np.stack(
        [weight[:, radius < r * n / 2].sum(1) for r in (0.1, 0.2, 0.4)], 1
    )
    moments = [(weight * m).sum(axis=(1, 2)) for m in (x * x, y * y, x * y)]
    mean, difference = (moments[0] + moments[1]) / 2, (moments[0] - moments[1]) / 2
    long = np.hypot(difference, moments[2])
    axes = [np.sqrt((mean - long) / (mean + long)), np.sqrt(mean)]
    turned = np.abs(light - light[:, ::-1, ::-1]).sum(axis=(1, 2)) / total
    quarter = np.abs(light - np.rot90(light, axes=(1, 2))).sum(axis=(1, 2)) / total
    smooth = light.copy()
    for axis in (1, 2):
        smooth = (smooth + np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis)) / 3
    clumps = np.abs(light - smooth).sum(axis=(1, 2)) / total
    angle = np.digitize(np.arctan2(y, x), np.linspace(-np.pi, np.pi, 25))
    waves = []
    for low, high in ((0.15, 0.35), (0.35, 0.6), (0.6, 0.9)):
        ring = (radius >= low * n / 2) & (radius < high * n / 2)
        sectors = np.stack(
            [light[:, ring & (angle == i)].mean(axis=1) for i in range(1, 25)], axis=1
        )
        power = np.abs(np.fft.rfft(sectors, axis=1))
        waves.append(power[:, 1:6] / np.maximum(power[:, :1], 1e-3))
    small = light[:, : n // 8 * 8, : n // 8 * 8]
    small = small.reshape(len(X), 8, n // 8, 8, n // 8).mean(axis=(2, 4))
    return np.column_stack(
        [
            profile.reshape(len(X), -1),
            profile[..., 0] - profile[..., 2],
            growth,
            *axes,
            turned,
            quarter,
            clumps,
            *waves,
            np.sqrt(small.reshape(len(X), -1)),
        ]
    )


def ridge(seed: int) -> Any:
    """Make a ridge regression on principal components."""
    return make_pipeline(
        StandardScaler(), PCA(60, random_state=seed), RidgeCV(np.logspace(-1, 4, 16))
    )


def boosting(seed: int) -> Any:
    """Make boosted trees with searched settings."""
    grid = {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 8, 16]}
    return GridSearchCV(
        HistGradientBoostingRegressor(max_iter=80, random_state=seed),
        grid,
        scoring="neg_mean_squared_error",
        cv=KFold(3, shuffle=True, random_state=seed),
    )


def fit_width(p: np.ndarray, votes: np.ndarray, n: np.ndarray) -> float:
    """Find the concentration that makes counts around predictions most probable."""

    def loss(log_total: float) -> float:
        total = np.exp(log_total)
        return -betabinom.logpmf(votes, n, total * p, total * (1 - p)).sum()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 8), method="bounded").x))


def by_features(
    make: Callable, X: np.ndarray, votes: Any, y: np.ndarray, rows: tuple, seed: int
) -> tuple[np.ndarray, list]:
    """Fit a baseline for each answer; return fractions, and beta distributions."""
    train, test = rows
    found, widths = [], []
    for i, column in enumerate(QUESTIONS.values()):
        reg = make(seed).fit(X[train], y[train, i])
        p = reg.predict(X[test]).clip(0, 1)
        # With the settings found.
        reg = clone(getattr(reg, "best_estimator_", reg))
        folds = KFold(5, shuffle=True, random_state=seed)
        inside = cross_val_predict(reg, X[train], y[train, i], cv=folds)
        n, k = votes.n_votes[train, i], votes.counts[train, column]
        inside = inside.clip(0.01, 0.99)
        total = fit_width(inside[n > 0], k[n > 0], n[n > 0])
        found.append(p)
        p = p.clip(0.01, 0.99)
        widths.append(np.column_stack([total * p, total * (1 - p)]))
    return np.column_stack(found), widths


def constant(seed: int) -> Any:
    """Make the mean of the training galaxies."""
    return DummyRegressor()


def network(
    seed: int, questions: Any, weights: str | None, **settings: Any
) -> GalaxyRegressor:
    """Make the network, with weights to start from or without."""
    settings = {
        "augment": "rotations",
        "tta": True,
        "train_split": 0.15,
        "criterion": DirichletMultinomialLikelihood,
        "criterion__questions": questions,
        "verbose": 0,
        "random_state": seed,
        **settings,
    }
    if weights is None:
        return GalaxyRegressor(**settings)
    return GalaxyRegressor.from_pretrained(weights.format(seed=seed), **settings)


def describe(
    name: str,
    found: np.ndarray,
    widths: list,
    counts: np.ndarray,
    n_votes: np.ndarray,
    true: np.ndarray,
) -> None:
    """Print errors and coverage of each answer."""
    for i, (answer, column) in enumerate(zip(NAMES, QUESTIONS.values(), strict=True)):
        n, k = n_votes[:, i].astype(int), counts[:, column].astype(int)
        off = found[:, i] - true[:, i]
        off, many = off[~np.isnan(off)], n[~np.isnan(off)] >= FEWEST
        covered = vote_coverage(np.column_stack([k, n - k]), widths[i])[0]
        low, high = count_quantiles(*widths[i].T, n, 0.05, 0.95)
        within = ((low <= k) & (k <= high))[n > 0].mean()
        print(
            f"{name} {answer}: RMSE {np.sqrt(np.mean(off**2)):.3f} of {len(off)}, "
            f"{np.sqrt(np.mean(off[many] ** 2)):.3f} of {many.sum()} with votes; "
            f"covered {covered:.3f}, within {within:.3f}",
            flush=True,
        )


def main() -> None:
    """Fit the methods and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    methods = ["network", "boosting", "ridge", "constant"]
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--crop", type=int, default=160, help="of 224 pixels")
    parser.add_argument("--size", type=int, default=64, help="pixels after reduction")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--weights", metavar="FILE", help="with {seed}")
    parser.add_argument("--kind", default="debiased")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = Path(os.environ["SKASTRO_DATA"])
    images, votes, true = load(folder, options.crop, options.size, options.kind)
    measured = features(images)
    known = np.nan_to_num(true)
    for method in options.methods:
        for seed in options.seeds:
            split = ShuffleSplit(1, test_size=0.25, random_state=seed).split(images)
            train, test = next(split)
            start = time.process_time()
            if method == "network":
                reg = network(
                    seed, votes.questions, options.weights, max_epochs=options.epochs
                )
                reg.fit(images[train], votes.counts[train])
                alpha = reg.predict_distribution(images[test])
                columns = [*QUESTIONS.values()]
                found = reg.predict(images[test])[:, columns]
                rest = alpha[:, columns] / found - alpha[:, columns]
                widths = [
                    np.column_stack(pair)
                    for pair in zip(alpha[:, columns].T, rest.T, strict=True)
                ]
            else:
                make = {"ridge": ridge, "boosting": boosting, "constant": constant}
                found, widths = by_features(
                    make[method], measured, votes, known, (train, test), seed
                )
            print(f"{method}, seed {seed}: {time.process_time() - start:.0f} CPU s")
            counts, n_votes = votes.counts[test], votes.n_votes[test]
            describe(f"{method} {seed}", found, widths, counts, n_votes, true[test])


if __name__ == "__main__":
    main()
