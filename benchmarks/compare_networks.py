# SPDX-License-Identifier: BSD-3-Clause
"""The multi-scale DenseNet of Wang, Zhao & Fan (2020) and its three baselines.

Repeats the comparison in their table 3 (*Astronomical Research and Technology* 17(1),
85-95): the multi-scale DenseNet with squeeze-and-excitation, a plain DenseNet of 36
layers, a deep belief network and a perceptron of 4 layers, trained in the same way on
the same spectra, with the recipes of ``SpectrumClassifier``::

    python -m benchmarks.compare_networks --simulate 20000
    python -m benchmarks.compare_networks --train survey.fits --robust

The simulated survey has the proportions of the paper, 98.5 stars to 1.2 galaxies and
0.3 quasars, and its 2600 pixels from 3690 to 9100 Å; half as many (``--n-pixels``) cost
half as much. Balanced batches contain few of many thousand stars more than once, so
that a training on a random subset of stars (``--at-most 2000``) loses little accuracy
and saves most of the time; galaxies and quasars are repeated, each time with new noise.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

from skastro import MinMaxSpectra, NoiseResampler, Pipeline, SpectrumClassifier
from skastro.datasets import make_spectra, read_spectra

NETWORKS = {
    "full": ("multi-scale SE-DenseNet", "wang2020"),
    "densenet": ("plain DenseNet-36", "wang2020-densenet"),
    "dbn": ("4-layer deep belief network", "wang2020-dbn"),
    "mlp": ("4-layer network", "wang2020-mlp"),
}
CLASSES = ("STAR", "GALAXY", "QSO")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train", metavar="FILE", help="file or folder of labeled spectra")
    add("--label-column", metavar="NAME", help="column that holds the labels")
    add("--simulate", type=int, metavar="N", help="simulate a survey of N spectra")
    add(
        "--proportions",
        type=float,
        nargs=3,
        default=(98.5, 1.2, 0.3),
        metavar=CLASSES,
        help="of the classes in the simulated survey",
    )
    add("--n-pixels", type=int, default=2600, help="of a simulated spectrum")
    add("--n-spectra", type=int, metavar="N", help="take at most N spectra")
    add("--test-size", type=float, default=0.25, help="part that is kept apart")
    add("--rows", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="networks")
    add("--epochs", type=int, default=60, help="passes over the training spectra")
    add("--at-most", type=int, metavar="N", help="train on at most N of each class")
    add(
        "--robust",
        action="store_true",
        help="normalize by the 1st and 99th percentiles instead of the extremes",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of simulation, splits and training")
    options = parser.parse_args(arguments)
    if options.train is None and options.simulate is None:
        options.simulate = 2000
    return options


def load(options: argparse.Namespace) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read and simulate the selected spectra: flux and classes, by name."""
    data = {}
    if options.train is not None:
        print(f"Reading {options.train}")
        spectra = read_spectra(options.train, label_column=options.label_column)
        if spectra.target is None:
            raise SystemExit("The file has no labels; see --label-column.")
        labeled = spectra.target != ""
        data[Path(options.train).name] = thin_out(
            spectra.flux[labeled], spectra.target[labeled], options
        )
    if options.simulate is not None:
        n_spectra = min(options.simulate, options.n_spectra or options.simulate)
        print(f"Simulating {n_spectra} spectra")
        spectra = make_spectra(
            n_spectra,
            wavelength=np.linspace(3690, 9100, options.n_pixels),
            class_proportions=dict(zip(CLASSES, options.proportions, strict=True)),
            random_state=options.seed,
            verbose=1,
        )
        data["simulated survey"] = spectra.flux, spectra.target
    return data


def thin_out(
    flux: np.ndarray, target: np.ndarray, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Take some of the spectra, in the proportions of the classes."""
    if options.n_spectra is None or options.n_spectra >= len(target):
        return flux, target
    rows, _ = train_test_split(
        np.arange(len(target)),
        train_size=options.n_spectra,
        stratify=target,
        random_state=options.seed,
    )
    return flux[rows], target[rows]


def make_pipeline(
    recipe: str, target: np.ndarray, options: argparse.Namespace
) -> Pipeline:
    """Normalize each spectrum, thin out the large classes, then classify."""
    labels, counts = np.unique(target, return_counts=True)
    wanted = np.minimum(counts, options.at_most or counts)
    fewer = NoiseResampler(
        sampling_strategy=dict(zip(labels.tolist(), wanted.tolist(), strict=True)),
        random_state=options.seed,
    )
    limits = (1.0, 99.0) if options.robust else (0.0, 100.0)
    return Pipeline(
        [
            MinMaxSpectra(
                quantile_range=limits, clip=options.robust, nan_policy="interpolate"
            ),
            fewer,
            SpectrumClassifier.from_recipe(
                recipe,
                max_epochs=options.epochs,
                device=options.device,
                random_state=options.seed,
            ),
        ]
    )


def judge(
    pipe: Pipeline, flux: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score by class, with the macro averages in the last row; and count confusions."""
    predicted = pipe.predict(flux)
    labels = pipe.classes_
    scores = precision_recall_fscore_support(
        target, predicted, labels=labels, zero_division=0
    )
    by_class = np.array(scores[:3]).T
    table = np.vstack([by_class, by_class.mean(axis=0)])
    return table, confusion_matrix(target, predicted, labels=labels)


def show(labels: list[str], scores: np.ndarray, confusion: np.ndarray) -> None:
    """Print the scores and the confusion matrix of a network."""
    columns = "".join(f"{label:>9}" for label in labels)
    print(f"{'':10}{'precision':>9}{'recall':>9}{'F1':>9}   taken for{columns}")
    counts = ["".join(f"{n:9}" for n in row) for row in confusion]
    for label, row, line in zip([*labels, "macro"], scores, [*counts, ""], strict=True):
        numbers = "".join(f"{score:9.4f}" for score in row)
        print(f"{label:10}{numbers}   {'':9}{line}".rstrip())


def main(arguments: list[str] | None = None) -> dict[tuple[str, str], tuple]:
    """Run the comparison; return scores and confusion by data and network."""
    options = parse_arguments(arguments)
    found, summary = {}, []
    for source, (flux, target) in load(options).items():
        train, test = train_test_split(
            np.arange(len(target)),
            test_size=options.test_size,
            stratify=target,
            random_state=options.seed,
        )
        print(f"\n{source}: {len(train)} spectra to train on, {len(test)} kept apart")
        for name in options.rows:
            title, recipe = NETWORKS[name]
            pipe = make_pipeline(recipe, target[train], options)
            start = time.perf_counter()
            pipe.fit(flux[train], target[train])
            seconds = time.perf_counter() - start
            n_weights = sum(weight.numel() for weight in pipe[-1].module_.parameters())
            scores, confusion = judge(pipe, flux[test], target[test])
            print(f"\n{title}: {n_weights} weights, trained in {seconds:.0f} s")
            show(pipe.classes_.tolist(), scores, confusion)
            summary.append(f"{source:20}{title:30}{scores[-1, 2]:9.4f}{seconds:9.0f}")
            found[source, name] = scores, confusion
    print(f"\n{'data':20}{'network':30}{'macro-F1':>9}{'seconds':>9}")
    print("\n".join(summary))
    return found


if __name__ == "__main__":
    main()
