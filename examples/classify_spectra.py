# SPDX-License-Identifier: BSD-3-Clause
"""
Classify spectra: from a file to a table, a catalog and a fitted pipeline
=========================================================================

Without arguments the script simulates stars, galaxies and quasars, trains a network on
three quarters of them and reports on the quarter kept apart::

    python examples/classify_spectra.py

With ``--train`` it does the same on a file of real spectra, or trains on all of it
if ``--test`` names a second file. With ``--model`` it loads a fitted pipeline and
only predicts::

    python examples/classify_spectra.py --train survey.fits --out results
    python examples/classify_spectra.py --model results/pipeline.skastro --test new.fits

Everything goes to the folder ``--out``: ``predictions.csv``, ``history.csv``,
``confusion_matrix.png``, ``history.png`` and ``pipeline.skastro``, the
fitted pipeline, with a card that describes it.
"""

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    classification_report,
    f1_score,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch

from skastro import (
    Pipeline,
    SpectrumClassifier,
    StandardizeSpectra,
    load_model,
    save_model,
)
from skastro.datasets import make_spectra, read_spectra
from skastro.inspection import HistoryDisplay
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# A class needs a few spectra on each side of both splits.
SMALLEST_CLASS = 20


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train", metavar="FILE", help="file or folder of labeled spectra")
    add("--test", metavar="FILE", help="file or folder of spectra to predict")
    add("--model", metavar="FILE", help="a fitted pipeline; only predict with it")
    add("--label-column", metavar="NAME", help="column that holds the labels")
    add(
        "--label-letters",
        type=int,
        metavar="N",
        help="classes are the first N letters of the labels (1 for subclasses, so that "
        "A5V counts as A; by default the whole label)",
    )
    add("--module", help="name of the network, such as resnet18 or densenet")
    add("--epochs", type=int, help="passes over the training spectra")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--n-spectra", type=int, default=1800, help="how many to simulate")
    add("--seed", type=int, default=0, help="seed of simulation, splits and training")
    add("--out", type=Path, default=Path("classify_spectra_output"), help="folder")
    options = parser.parse_args(arguments)
    if options.model and options.train:
        parser.error("--model only predicts; name the spectra with --test")
    if options.label_letters is None and options.label_column == "subclass":
        options.label_letters = 1
    return options


def load(path: str | None, options: argparse.Namespace, seed: int) -> Bunch:
    """Read spectra from a file or a folder, or simulate them if there is none."""
    if path is None:
        print(f"Simulating {options.n_spectra} spectra")
        spectra = make_spectra(options.n_spectra, random_state=seed, verbose=1)
        ids = np.array([f"simulated-{i:05d}" for i in range(options.n_spectra)])
        return Bunch(flux=spectra.flux, target=spectra.target, id=ids, survey=None)
    print(f"Reading {path}")
    spectra = read_spectra(path, label_column=options.label_column)
    target = spectra.target
    if target is not None and options.label_letters:
        target = np.array(
            [str(label).strip()[: options.label_letters] for label in target]
        )
    return Bunch(flux=spectra.flux, target=target, id=spectra.id, survey=spectra.survey)


def select(spectra: Bunch, rows: np.ndarray) -> Bunch:
    """Take some of the spectra."""
    return Bunch(
        **{
            key: None if value is None else value[rows]
            for key, value in spectra.items()
        }
    )


def without_rare_classes(spectra: Bunch) -> Bunch:
    """Leave out unlabeled spectra and classes with few spectra."""
    if spectra.target is None:
        raise SystemExit("The training file has no labels; see --label-column.")
    names, counts = np.unique(spectra.target, return_counts=True)
    rare = (counts < SMALLEST_CLASS) | (names == "")
    if rare.any():
        listed = ", ".join(
            f"{name or 'unlabeled'} {count}"
            for name, count in zip(names[rare], counts[rare], strict=True)
        )
        print(f"Left out, fewer than {SMALLEST_CLASS} or unlabeled: {listed}")
    return select(spectra, ~np.isin(spectra.target, names[rare]))


def make_pipeline(options: argparse.Namespace) -> Pipeline:
    """Scale each spectrum robustly, then classify it."""
    chosen = {"module": options.module, "max_epochs": options.epochs}
    return Pipeline(
        [
            StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate"),
            SpectrumClassifier(
                device=options.device,
                random_state=options.seed,
                **{name: value for name, value in chosen.items() if value is not None},
            ),
        ]
    )


def predict(pipe: Pipeline, spectra: Bunch, out: Path) -> np.ndarray:
    """Predict, and write the catalog."""
    probability = pipe.predict_proba(spectra.flux)
    predicted = pipe.classes_[probability.argmax(axis=1)]
    catalog = Table({"id": spectra.id, "predicted": predicted})
    for name, column in zip(pipe.classes_, probability.T, strict=True):
        catalog[f"probability_{name}"] = column
    if spectra.target is not None:
        catalog["truth"] = spectra.target
    write_csv(catalog, out / "predictions.csv")
    return predicted


def report(pipe: Pipeline, spectra: Bunch, predicted: np.ndarray, out: Path) -> None:
    """Print the scores, overall and by survey, and draw the confusion matrix."""
    known = np.isin(spectra.target, pipe.classes_)
    truth, predicted = spectra.target[known], predicted[known]
    if not len(truth):
        print(
            "No spectrum has a label among the classes, so there is nothing to score."
        )
        return
    print(classification_report(truth, predicted, digits=3, zero_division=0))
    if spectra.survey is not None:
        lamost = np.char.startswith(np.asarray(spectra.survey[known], str), "LAMOST")
        for name, rows in (("LAMOST", lamost), ("other surveys", ~lamost)):
            if 0 < rows.sum() < len(rows):
                labels = np.unique(truth[rows])
                score = f1_score(
                    truth[rows],
                    predicted[rows],
                    labels=labels,
                    average="macro",
                    zero_division=0,
                )
                print(f"macro-F1 on {name} alone ({rows.sum()} spectra): {score:.3f}")
    display = ConfusionMatrixDisplay.from_predictions(
        truth, predicted, cmap="Blues", colorbar=False
    )
    display.ax_.set_title(f"{len(truth)} spectra kept apart")
    save_figure(display.figure_, out / "confusion_matrix.png")


def write_training(pipe: Pipeline, out: Path) -> None:
    """Write the history, as a table and as a figure, and the fitted pipeline."""
    history = pipe[-1].history
    columns = ["epoch", "train_loss", "valid_loss", "valid_acc", "lr", "dur"]
    present = [name for name in columns if name in history[-1]]
    write_csv(Table({name: history[:, name] for name in present}), out / "history.csv")
    save_figure(HistoryDisplay.from_estimator(pipe).figure_, out / "history.png")
    save_model(pipe, out / "pipeline.skastro")


def write_csv(table: Table, path: Path) -> None:
    """Write a table atomically."""
    with atomic_write(path) as file:
        table.write(file, format="ascii.csv")


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure atomically."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model:
        pipe = load_model(options.model)
        test = load(options.test, options, seed=options.seed + 1)
    else:
        train = without_rare_classes(load(options.train, options, seed=options.seed))
        if options.test:
            test = load(options.test, options, seed=options.seed + 1)
        else:
            rows = train_test_split(
                np.arange(len(train.flux)),
                test_size=0.25,
                stratify=train.target,
                random_state=options.seed,
            )
            train, test = select(train, rows[0]), select(train, rows[1])
        print(f"Training on {len(train.flux)} spectra of {train.flux.shape[1]} pixels")
        start = time.perf_counter()
        pipe = make_pipeline(options).fit(train.flux, train.target)
        print(f"Trained in {time.perf_counter() - start:.0f} s")
        write_training(pipe, options.out)
    predicted = predict(pipe, test, options.out)
    if test.target is not None:
        report(pipe, test, predicted, options.out)
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


if __name__ == "__main__":
    main()
