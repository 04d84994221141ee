# SPDX-License-Identifier: BSD-3-Clause
"""
Classify galaxies: from a file of images to a table, figures and a fitted classifier
====================================================================================

Trains a network on the images and labels of an HDF5 file in the layout of Galaxy10
(``images`` and ``ans``) and reports on a quarter of them that is kept apart::

    python examples/classify_galaxies.py --train Galaxy10.h5

A recipe has the settings of a published system. That of ``resclass`` keeps the first
ten images apart and reports its validation accuracy; ``mlp`` is the usual baseline,
which ``--baseline`` trains too, on the same images, for a second row in the table::

    python examples/classify_galaxies.py --train Galaxy10.h5 --recipe resclass \
        --keep-apart 10
    python examples/classify_galaxies.py --train Galaxy10.h5 --baseline --tta

With ``--test`` all of ``--train`` is learned and another file predicted; with
``--model`` a fitted classifier only predicts::

    python examples/classify_galaxies.py --model out/classifier.skastro --test new.h5

Everything goes to the folder ``--out``: ``scores.csv``, ``history.csv`` (loss and
accuracy of each epoch, in training and validation), ``results.csv`` (predicted and true
classes), ``probabilities.csv``, ``confusion_matrix.png``, ``history.png``,
``mosaic.png`` (correctly classified images, and the mistakes with the highest
confidence) and ``classifier.skastro``; for the baseline ``baseline_history.csv`` and
``baseline_results.csv``.
"""

import argparse
import time
from pathlib import Path

import h5py
import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    accuracy_score,
    classification_report,
    f1_score,
    recall_score,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch
from skorch.callbacks import EpochScoring

from skastro import GalaxyClassifier, load_model, save_model
from skastro.datasets import read_galaxy10
from skastro.inspection import HistoryDisplay
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# A class needs an image on each side of both splits.
SMALLEST_CLASS = 4
# Columns of skorch's history, with the usual names and order of such tables.
HISTORY = {
    "train_loss": "loss",
    "train_acc": "accuracy",
    "valid_loss": "val_loss",
    "valid_acc": "val_accuracy",
}
MOSAIC = (2, 6)
COSTS = ("weights", "seconds")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train", metavar="FILE", help="HDF5 file of labeled images")
    add("--test", metavar="FILE", help="HDF5 file of images to predict")
    add("--model", metavar="FILE", help="a fitted classifier; only predict with it")
    add("--target", default="ans", metavar="NAME", help="data set of the labels")
    add("--keep-apart", type=int, metavar="N", help="keep the first N images apart")
    add("--test-size", type=float, default=0.25, help="else keep this part apart")
    add("--recipe", help="settings of a published system: resclass or mlp")
    add("--baseline", action="store_true", help="train the recipe mlp too")
    add("--module", help="name of the network, such as resnet18 or resnet50")
    add("--backbone", help="weights to start from: galaxies, or a file")
    add("--backbone-lr", type=float, help="their learning rate; 0 freezes them")
    add("--epochs", type=int, help="passes over the training images")
    add("--tta", action="store_true", help="average predictions over the symmetries")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of splits and training")
    add("--out", type=Path, default=Path("classify_galaxies_output"), help="folder")
    options = parser.parse_args(arguments)
    if (options.train is None) == (options.model is None):
        parser.error("give --train FILE, or --model FILE and --test FILE")
    if options.model and not options.test:
        parser.error("--model only predicts; name the images with --test")
    if options.model and options.baseline:
        parser.error("--baseline is trained, and so needs --train")
    return options


def load(path: str, options: argparse.Namespace) -> Bunch:
    """Read images, and classes if the file has them."""
    print(f"Reading {path}")
    target = options.target
    if path == options.test and h5py.is_hdf5(path):
        with h5py.File(path) as file:
            target = target if target in file else None
    galaxies = read_galaxy10(path, target=target)
    rows = np.arange(len(galaxies.images))
    return Bunch(images=galaxies.images, target=galaxies.target, row=rows)


def select(galaxies: Bunch, rows: np.ndarray) -> Bunch:
    """Take some of the galaxies."""
    return Bunch(**{key: value[rows] for key, value in galaxies.items()})


def split(galaxies: Bunch, options: argparse.Namespace) -> tuple[Bunch, Bunch]:
    """Keep images apart: the first ones, or some of every class."""
    n_images = len(galaxies.row)
    if options.keep_apart is not None:
        if not 0 < options.keep_apart < n_images:
            raise SystemExit(
                f"--keep-apart must be between 1 and {n_images - 1}, the file has "
                f"{n_images} images."
            )
        first = np.arange(n_images) < options.keep_apart
        return select(galaxies, ~first), select(galaxies, first)
    names, counts = np.unique(galaxies.target, return_counts=True)
    rare = counts < SMALLEST_CLASS
    if rare.any():
        listed = ", ".join(
            f"{name} {count}"
            for name, count in zip(names[rare], counts[rare], strict=True)
        )
        print(f"Left out, fewer than {SMALLEST_CLASS} images: {listed}")
        galaxies = select(galaxies, ~np.isin(galaxies.target, names[rare]))
    rows = train_test_split(
        np.arange(len(galaxies.row)),
        test_size=options.test_size,
        stratify=galaxies.target,
        random_state=options.seed,
    )
    return select(galaxies, rows[0]), select(galaxies, rows[1])


def make_classifier(options: argparse.Namespace) -> GalaxyClassifier:
    """Make the classifier of the options."""
    chosen = {
        "module": options.module,
        "max_epochs": options.epochs,
        "backbone": options.backbone,
        "backbone_lr": options.backbone_lr,
        "tta": options.tta or None,
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    settings |= {"device": options.device, "random_state": options.seed}
    if options.recipe:
        return GalaxyClassifier.from_recipe(options.recipe, **settings)
    accuracy = EpochScoring(
        "accuracy", lower_is_better=False, on_train=True, name="train_acc"
    )
    settings["callbacks"] = [("train_acc", accuracy)]
    if options.backbone:
        return GalaxyClassifier.from_pretrained(settings.pop("backbone"), **settings)
    return GalaxyClassifier(**settings)


def make_baseline(options: argparse.Namespace) -> GalaxyClassifier:
    """Make the baseline perceptron with its own settings."""
    return GalaxyClassifier.from_recipe(
        "mlp", device=options.device, random_state=options.seed
    )


def history_table(net: GalaxyClassifier) -> Table:
    """Return losses and accuracies, one row per epoch."""
    names = [name for name in HISTORY if name in net.history[-1]]
    return Table({HISTORY[name]: net.history[:, name] for name in names})


def train(net: GalaxyClassifier, galaxies: Bunch) -> dict[str, float]:
    """Fit a classifier; print the time and the validation scores."""
    start = time.perf_counter()
    net.fit(galaxies.images, galaxies.target)
    seconds = time.perf_counter() - start
    n_weights = sum(weight.numel() for weight in net.module_.parameters())
    print(f"Trained in {seconds:.0f} s")
    validation = np.nan
    if "valid_acc" in net.history[-1]:
        best = dict(net.callbacks_)["best_weights"]
        kept = best.best_epoch_ if net.restore_best_weights else len(net.history)
        validation = net.history[kept - 1, "valid_acc"]
    return {
        "validation": validation,
        "weights": n_weights,
        "seconds": round(seconds, 1),
    }


def score(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Compute the accuracy and two scores that weight all true classes equally."""
    # A few images may not contain all predicted classes.
    settings = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    return {
        "accuracy": accuracy_score(truth, predicted),
        "balanced": recall_score(truth, predicted, **settings),
        "macro_f1": f1_score(truth, predicted, **settings),
    }


def show(rows: list[dict]) -> None:
    """Print the table of classifiers."""
    columns = [name for name in rows[0] if name != "classifier"]
    print(f"{'':20}" + "".join(f"{name:>12}" for name in columns))
    for row in rows:
        numbers = (
            f"{row[name]:12}" if name in COSTS else f"{row[name]:12.3f}"
            for name in columns
        )
        print(f"{row['classifier']:20}" + "".join(numbers))


def write_predictions(net: GalaxyClassifier, test: Bunch, out: Path) -> np.ndarray:
    """Predict, and write probabilities of all classes, one row per image."""
    probability = net.predict_proba(test.images)
    predicted = net.classes_[probability.argmax(axis=1)]
    table = Table({"row": test.row, "predicted": predicted})
    if test.target is not None:
        table["truth"] = test.target
    for name, column in zip(net.classes_, probability.T, strict=True):
        table[f"probability_{name}"] = column
    write_csv(table, out / "probabilities.csv")
    return probability


def draw_confusion(truth: np.ndarray, predicted: np.ndarray, out: Path) -> None:
    """Draw the confusion matrix."""
    size = 3 + 0.6 * len(np.unique(np.concatenate([truth, predicted])))
    figure, ax = plt.subplots(figsize=(size, size), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        truth, predicted, ax=ax, cmap="Blues", colorbar=False
    )
    plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    ax.set_title(f"{len(truth)} galaxies kept apart")
    save_figure(figure, out / "confusion_matrix.png")


def draw_mosaic(
    net: GalaxyClassifier,
    test: Bunch,
    probability: np.ndarray,
    out: Path,
    seed: int,
) -> None:
    """Draw some correct images, and the mistakes with the highest confidence."""
    predicted = net.classes_[probability.argmax(axis=1)]
    surest = probability.max(axis=1)
    n_rows, n_columns = MOSAIC
    right = np.flatnonzero(predicted == test.target)
    right = np.random.default_rng(seed).permutation(right)
    wrong = np.flatnonzero(predicted != test.target)
    wrong = wrong[np.argsort(-surest[wrong], kind="stable")]
    figure = plt.figure(figsize=(1.9 * n_columns, 5 * n_rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    titles = {
        top: f"Right: {len(right)} of {len(predicted)}, some of them",
        bottom: f"Wrong: {len(wrong)} of {len(predicted)}, the surest of them",
    }
    for part, rows in ((top, right), (bottom, wrong)):
        part.suptitle(titles[part])
        for place, ax in enumerate(part.subplots(n_rows, n_columns).flat):
            ax.axis("off")
            if place >= len(rows):
                continue
            row = rows[place]
            ax.imshow(to_picture(test.images[row]), cmap="gray")
            label = f"{predicted[row]}\n{surest[row]:.2f}"
            if predicted[row] != test.target[row]:
                of_truth = probability[row, net.classes_ == test.target[row]]
                shown = f" {of_truth[0]:.2f}" if len(of_truth) else ""
                label += f"\nis {test.target[row]}{shown}"
            ax.set_title(label, fontsize=7)
    save_figure(figure, out / "mosaic.png")


def to_picture(image: np.ndarray) -> np.ndarray:
    """Convert an image to numbers from 0 to 1, colors or gray, for matplotlib."""
    if image.dtype == np.uint8:
        image = image / 255
        low, high = 0.0, 1.0
    else:
        low, high = np.percentile(image, [0.5, 99.5])
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(axis=-1)
    return np.clip((image - low) / (high - low or 1), 0, 1)


def write_training(net: GalaxyClassifier, out: Path) -> None:
    """Write the history, as a table and as a figure, and the fitted classifier."""
    write_csv(history_table(net), out / "history.csv")
    save_figure(HistoryDisplay.from_estimator(net).figure_, out / "history.png")
    save_model(net, out / "classifier.skastro")


def report(
    net: GalaxyClassifier, test: Bunch, probability: np.ndarray, seed: int, out: Path
) -> dict[str, float]:
    """Score predictions; print, write and draw the results."""
    predicted = net.classes_[probability.argmax(axis=1)]
    print(classification_report(test.target, predicted, digits=3, zero_division=0))
    write_csv(Table({"predict": predicted, "test": test.target}), out / "results.csv")
    draw_confusion(test.target, predicted, out)
    draw_mosaic(net, test, probability, out, seed)
    return score(test.target, predicted)


def add_baseline(learned: Bunch, test: Bunch, options: argparse.Namespace) -> dict:
    """Train the baseline on the same images; write its history and results."""
    net = make_baseline(options)
    row = train(net, learned)
    predicted = net.predict(test.images)
    write_csv(history_table(net), options.out / "baseline_history.csv")
    results = Table({"predict": predicted, "test": test.target})
    write_csv(results, options.out / "baseline_results.csv")
    return {"classifier": "mlp recipe", **score(test.target, predicted), **row}


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
        net, costs = load_model(options.model), {}
        test = load(options.test, options)
    else:
        learned = load(options.train, options)
        if options.test:
            test = load(options.test, options)
        else:
            learned, test = split(learned, options)
        shape = learned.images.shape[1:]
        print(f"Training on {len(learned.row)} images of shape {shape}")
        net = make_classifier(options)
        costs = train(net, learned)
        write_training(net, options.out)
    probability = write_predictions(net, test, options.out)
    known = None if test.target is None else np.isin(test.target, net.classes_)
    if known is not None and not known.all():
        print(f"Not scored, of classes that were not learned: {(~known).sum()}")
        test, probability = select(test, known), probability[known]
    if test.target is None or not len(test.target):
        print("No image has a label among the classes, so there is nothing to score.")
    else:
        scores = report(net, test, probability, options.seed, options.out)
        name = options.recipe or str(vars(net)["module"])
        rows = [{"classifier": name, **scores, **costs}]
        if options.baseline:
            rows.append(add_baseline(learned, test, options))
        show(rows)
        write_csv(Table(rows), options.out / "scores.csv")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


if __name__ == "__main__":
    main()
