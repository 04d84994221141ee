# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of one process or of several; started as a script, one of several.

``python trainings.py FOLDER`` runs all trainings by the environment's rank, and writes
what each gives to a file of the folder.
"""

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
)

from skastro import SpectrumClassifier, SpectrumRegressor, VAETransformer
from skastro.datasets import LazyArray
from skastro.distributed import fit

WHOLE = 32


def spectra(n_samples: int = 117) -> tuple[np.ndarray, np.ndarray]:
    """Make noise whose mean tells the class; one in four samples is of class B."""
    rng = np.random.default_rng(3)
    y = np.where(np.arange(n_samples) % 4, "A", "B")
    X = rng.normal(size=(n_samples, 40)) + np.where(y == "A", 0.3, -0.3)[:, None]
    return X.astype(np.float32), y


def classifier(n_ranks: int, **params: Any) -> SpectrumClassifier:
    """Make a network without random numbers in its training."""
    given = {
        "module__n_blocks": (1, 1),
        "module__width": 8,
        "module__dropout": 0.0,
        "max_epochs": 4,
        "batch_size": WHOLE // n_ranks,
        "augment": None,
        "precision": "float32",
        "random_state": 0,
        "verbose": 0,
    }
    return SpectrumClassifier(**given | params)


def told(net: Any, X: np.ndarray) -> dict[str, Any]:
    """Tell what a training has given."""
    names = ("train_loss", "valid_loss", "valid_acc", "train_f1", "error")
    history = {
        name: [float(row[name]) for row in net.history if name in row] for name in names
    }
    batches = [row["train_batch_size"] for row in net.history[0]["batches"][:-1]]
    method = "predict_proba" if hasattr(net, "predict_proba") else "transform"
    if isinstance(net, SpectrumRegressor):
        method = "predict"
    return {
        "history": history,
        "n_epochs": len(net.history),
        "batches": [n for n in batches if n is not None],
        "kept_epoch": net.training_data_[-1]["kept_epoch"],
        "temperature": getattr(net, "temperature_", None),
        "output": getattr(net, method)(X[:8]).tolist(),
    }


def plain(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Calibrate, and score training samples too; the last batch is uneven."""
    X, y = spectra()
    scores = EpochScoring("f1_macro", False, on_train=True, name="train_f1")
    clf = classifier(n_ranks, calibrate=True, callbacks=[("f1", scores)])
    return told(fit(clf, X, y), X)


def last_of_one(n_ranks: int, folder: Path) -> dict[str, Any]:
    """End each epoch with a batch of one sample, which all processes get."""
    X, y = spectra(97)
    return told(fit(classifier(n_ranks, train_split=None), X, y), X)


def balanced(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Draw the classes equally often."""
    X, y = spectra()
    return told(fit(classifier(n_ranks, sampler="balanced"), X, y), X)


def weighted(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Weight classes and samples; some samples have no weight."""
    X, y = spectra()
    weight = np.linspace(0, 2, len(X))
    clf = classifier(n_ranks, class_weight="balanced")
    return told(fit(clf, X, y, sample_weight=weight), X)


def summed(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Sum the losses of a batch, some of which have weights."""
    X, y = spectra()
    weight = np.linspace(1, 2, len(X))
    clf = classifier(n_ranks, criterion__reduction="sum", lr=1e-4)
    return told(fit(clf, X, y, sample_weight=weight), X)


def weighted_by_criterion(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Let the loss weight the classes, as torch does."""
    X, y = spectra()
    clf = classifier(n_ranks, criterion__weight=torch.tensor([1.0, 5.0]))
    return told(fit(clf, X, y), X)


def stopped(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Stop early, by the loss of validation samples."""
    X, y = spectra()
    clf = classifier(
        n_ranks, lr=0.1, max_epochs=30, callbacks=[EarlyStopping(patience=2)]
    )
    return told(fit(clf, X, y), X)


class _StopsInOne(Callback):
    """End the training from the last process alone."""

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        if len(net.history) == 2 and os.environ.get("RANK", "1") == "1":
            raise KeyboardInterrupt


def stopped_by_one(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Stop all where a callback of one process stops."""
    X, y = spectra()
    return told(fit(classifier(n_ranks, callbacks=[_StopsInOne()]), X, y), X)


def checkpoints(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Load the best weights from a file that one process has written."""
    X, y = spectra()
    rank = int(os.environ.get("RANK", "0"))
    # Of other processes the folder would show what they write.
    checkpoint = Checkpoint(dirname=folder / f"rank{rank}", load_best=True)
    clf = classifier(
        n_ranks, lr=0.05, restore_best_weights=False, callbacks=[checkpoint]
    )
    return told(fit(clf, X, y), X)


def resumed(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Go on with a training that was stopped after two epochs."""
    X, y = spectra()
    path = folder / "training.pt"
    clf = classifier(n_ranks, callbacks=[_StopsInOne()])
    fit(clf, X, y, resume=path)
    clf = classifier(n_ranks)
    return told(fit(clf, X, y, resume=path), X)


def streamed(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Read an array on disk, of which each process reads a part."""
    X, y = spectra(400)
    path = folder / f"rank{os.environ.get('RANK', 'none')}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flux", data=X, chunks=(10, 40))
    with h5py.File(path) as file:
        clf = classifier(n_ranks, iterator_train__buffer_size=80 * 160)
        return told(fit(clf, LazyArray(file["flux"]), y), X)


def regressed(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Regress two targets, of which some are unknown."""
    X, _ = spectra()
    y = np.stack([X.mean(axis=1), X[:, 0]], axis=1)
    y[::7, 1] = np.nan
    return told(fit(regressor(n_ranks), X, y), X)


def scored(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Score batches; without other scores no outputs would be collected."""
    X, _ = spectra()
    scores = BatchScoring("neg_mean_absolute_error", False, name="error")
    net = regressor(n_ranks, callbacks=[("score", scores)])
    return told(fit(net, X, X.mean(axis=1)), X)


def regressor(n_ranks: int, **params: Any) -> SpectrumRegressor:
    """Make a network without random numbers in its training."""
    return SpectrumRegressor(
        module="resnet10",
        augment=None,
        module__width=4,
        module__dropout=0.0,
        max_epochs=4,
        batch_size=WHOLE // n_ranks,
        precision="float32",
        random_state=0,
        verbose=0,
        **params,
    )


def varied(n_ranks: int, folder: Path) -> dict[str, Any]:
    """Draw noise, dropout and latent numbers, in each process others."""
    X = np.random.default_rng(0).integers(0, 255, (80, 16, 16, 1), np.uint8)
    net = VAETransformer(
        latent_dim=3,
        beta=1e-3,
        module__widths=(4, 8),
        max_epochs=2,
        batch_size=WHOLE // n_ranks,
        augment="symmetries",
        random_state=0,
        verbose=0,
    )
    with warnings.catch_warnings():
        # Two epochs are too few for latent numbers that tell something.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return told(fit(net, X), X)


TRAININGS = {
    training.__name__: training
    for training in (
        plain,
        last_of_one,
        balanced,
        weighted,
        summed,
        weighted_by_criterion,
        stopped,
        stopped_by_one,
        checkpoints,
        resumed,
        streamed,
        regressed,
        scored,
        varied,
    )
}


class _Dies(Callback):
    """Kill the last process in the middle of a training."""

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run all trainings, then one in which a process is killed."""
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    results = {name: training(2, folder) for name, training in TRAININGS.items()}
    (folder / f"{rank}.json").write_text(json.dumps(results))
    X, y = spectra()
    errors = []
    # In the second the processes have parted.
    for _ in range(2):
        try:
            fit(classifier(2, callbacks=[_Dies()]), X, y)
        except RuntimeError as error:
            errors.append(str(error))
    (folder / f"errors{rank}.json").write_text(json.dumps(errors))


if __name__ == "__main__":
    main()
