# SPDX-License-Identifier: BSD-3-Clause
"""Compare latent spaces of real galaxies with principal components.

Each transformer is fitted to the same training images and scored on a stratified
quarter kept apart: the mean squared error of its reconstructions, of pixels from 0 to
1, and the balanced accuracy of a logistic regression on the latent numbers, whose
regularization is chosen by cross-validation on the training images. The script prints
each score as soon as it is known, and a Markdown table of means::

    SKASTRO_DATA=... python benchmarks/bench_latent.py
    SKASTRO_DATA=... python benchmarks/bench_latent.py --rows few-images --seeds 0 1 2
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro import VAETransformer
from skastro.datasets import read_galaxy10

ROWS = ("PCA", "few-images", "galaxy-vae")


def make_transformer(
    name: str, n_components: int, epochs: int | None, seed: int
) -> BaseEstimator:
    """Make a transformer by its name."""
    if name == "PCA":
        return PCA(n_components, svd_solver="randomized", random_state=seed)
    fewer = {} if epochs is None else {"max_epochs": epochs}
    if name == "galaxy-vae":
        # The others are trained on the images in all orientations.
        fewer["augment"] = "symmetries"
    return VAETransformer.from_recipe(
        name, latent_dim=n_components, random_state=seed, verbose=0, **fewer
    )


def probe(seed: int) -> GridSearchCV:
    """Make the classifier of latent numbers."""
    return GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)),
        {"logisticregression__C": np.logspace(-3, 1, 9)},
        scoring="balanced_accuracy",
        cv=StratifiedKFold(5, shuffle=True, random_state=seed),
    )


def judge(
    transformer: BaseEstimator,
    images: np.ndarray,
    target: np.ndarray,
    seed: int,
) -> tuple[float, float, float, float]:
    """Return the error, the balanced accuracy, and the time of the training."""
    train, test = train_test_split(
        np.arange(len(target)), test_size=0.25, stratify=target, random_state=seed
    )
    X = images
    if isinstance(transformer, PCA):
        X = images.reshape(len(images), -1).astype(np.float32)
    start, start_cpu = time.perf_counter(), time.process_time()
    transformer.fit(X[train])
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    latent = transformer.transform(X)
    residual = (transformer.inverse_transform(latent[test]) - X[test]) / 255
    classifier = probe(seed).fit(latent[train], target[train])
    accuracy = balanced_accuracy_score(target[test], classifier.predict(latent[test]))
    return float(np.square(residual).mean()), accuracy, wall, cpu


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default="galaxies_efigi", help="file of galaxies in SKASTRO_DATA")
    add("--rows", nargs="+", choices=ROWS, default=ROWS, help="what to compare")
    add("--seeds", type=int, nargs="+", default=[0], help="of splits and trainings")
    add("--latent", type=int, default=35, help="number of components")
    add("--epochs", type=int, help="of the networks, if not their own")
    add("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = Path(os.environ["SKASTRO_DATA"], f"{options.data}.h5")
    galaxies = read_galaxy10(path)
    print(
        "| transformer | squared error | balanced accuracy | fit (s) | CPU s |\n"
        "|---|---|---|---|---|"
    )
    for name in options.rows:
        scores = []
        for seed in options.seeds:
            transformer = make_transformer(name, options.latent, options.epochs, seed)
            scores.append(judge(transformer, galaxies.images, galaxies.label, seed))
            if len(options.seeds) > 1:
                print("#", name, seed, *(f"{score:.5f}" for score in scores[-1]))
        mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0)
        print(
            f"| {name} | {mean[0]:.6f} | {mean[1]:.3f} ± {spread[1]:.3f} | "
            f"{mean[2]:.0f} | {mean[3]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
