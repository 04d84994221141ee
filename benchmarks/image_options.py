# SPDX-License-Identifier: BSD-3-Clause
"""Ways to train on few images of galaxies, compared by cross-validation.

Three quarters of the images, those that a benchmark with ``--seed 0`` trains on, are
predicted in four folds, so that the quarter that is judged elsewhere chooses nothing::

    SKASTRO_DATA=... python -m benchmarks.image_options galaxies_efigi
    SKASTRO_DATA=... python -m benchmarks.image_options galaxies --only none colors

Images have 44 pixels and the network a width of 16, so that all options take an hour of
one core. The balanced accuracy is of all predictions; the folds show the scatter.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from skorch.callbacks import Callback
from torch.distributions import Beta
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from skastro import GalaxyClassifier
from skastro.augmentation import ColorJitter, Compose, RandomAffine
from skastro.datasets import read_galaxy10

N_FOLDS = 4


class MixedClassifier(GalaxyClassifier):
    """A classifier whose batches may be mixed with themselves in another order."""

    def get_loss(
        self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        """Mix the losses of both labels as the images were mixed."""
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        mixed, Mixing.last = Mixing.last, None
        if not training or mixed is None:
            return loss
        order, part = mixed
        y_true = torch.as_tensor(y_true)[order]
        other = super().get_loss(y_pred, y_true, X=X, training=training)
        return part * loss + (1 - part) * other


class Mixing:
    """Mixup and cutmix, after the usual rotations; remembers what it mixed."""

    last: tuple[torch.Tensor, float] | None = None

    def __init__(self, alpha: float, *, cut: bool) -> None:
        self.alpha, self.cut, self.turn = alpha, cut, RandomAffine()

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Mix each image with another one of the batch."""
        X = self.turn(X)
        # Half of the batches of cutmix stay whole.
        if self.cut and torch.rand(1) < 0.5:
            return X
        part = float(Beta(self.alpha, self.alpha).sample())
        order = torch.randperm(len(X))
        if self.cut:
            X, part = self._paste(X, order, part)
        else:
            X = part * X + (1 - part) * X[order]
        Mixing.last = order, part
        return X

    def _paste(
        self, X: torch.Tensor, order: torch.Tensor, part: float
    ) -> tuple[torch.Tensor, float]:
        height, width = (int(n * (1 - part) ** 0.5) for n in X.shape[2:])
        top = int(torch.randint(X.shape[2] - height + 1, (1,)))
        left = int(torch.randint(X.shape[3] - width + 1, (1,)))
        box = (..., slice(top, top + height), slice(left, left + width))
        other, X = X[order], X.clone()
        X[box] = other[box]
        return X, 1 - height * width / (X.shape[2] * X.shape[3])


class Averaging(Callback):
    """Keep the exponential moving average of the weights of all steps."""

    def on_train_begin(self, net: Any, *_: Any, **__: Any) -> None:
        """Begin with the weights of the start."""
        average = get_ema_multi_avg_fn(0.99)
        self.model = AveragedModel(net.module_, multi_avg_fn=average, use_buffers=True)

    def on_batch_end(
        self, net: Any, *_: Any, training: bool = False, **__: Any
    ) -> None:
        """Add the weights of a step."""
        if training:
            self.model.update_parameters(net.module_)

    def on_train_end(self, net: Any, *_: Any, **__: Any) -> None:
        """Keep the average."""
        net.module_.load_state_dict(self.model.module.state_dict())


def colors(change: float, hue: float) -> Callable:
    """Rotate images, and change their colors."""
    return Compose([RandomAffine(), ColorJitter(change, change, change, hue)])


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "weights averaged": {"callbacks": [Averaging()]},
    "labels smoothed": {"criterion__label_smoothing": 0.1},
    "mixup": {"augment": Mixing(0.2, cut=False)},
    "cutmix": {"augment": Mixing(1.0, cut=True)},
    "scale 0.7 to 1.4": {"augment": RandomAffine(scale=(0.7, 1.4))},
    "colors": {"augment": colors(0.3, 0.02)},
}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", choices=["galaxies_efigi", "galaxies"])
    parser.add_argument("--only", nargs="+", default=list(OPTIONS), metavar="NAME")
    options = parser.parse_args()
    path = Path(os.environ["SKASTRO_DATA"]) / f"{options.data}.h5"
    galaxies = read_galaxy10(path, verbose=0)
    rows, _ = train_test_split(
        np.arange(len(galaxies.target)),
        test_size=0.25,
        stratify=galaxies.target,
        random_state=0,
    )
    X, y = galaxies.images[rows], galaxies.target[rows]
    print("| option | balanced accuracy | folds | log-loss | fit (CPU s) |")
    print("|---|---|---|---|---|")
    for name in options.only:
        probability = np.zeros((len(y), len(np.unique(y))))
        start, scores = time.process_time(), []
        folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y)
        for seed, (train, test) in enumerate(folds):
            settings = {"image_size": 44, "module__width": 16, "module__dropout": 0.0}
            settings |= {"train_split": None, "tta": True, "precision": "float32"}
            settings |= {"sampler": "balanced"} if options.data == "galaxies" else {}
            settings |= OPTIONS[name]
            clf = MixedClassifier(random_state=seed, verbose=0, **settings)
            clf.fit(X[train], y[train])
            # Test-time averages in single precision need not sum to one exactly.
            found = clf.predict_proba(X[test]).astype(np.float64)
            probability[test] = found / found.sum(axis=1, keepdims=True)
            predicted = clf.classes_[found.argmax(axis=1)]
            scores.append(balanced_accuracy_score(y[test], predicted))
        seconds = (time.process_time() - start) / N_FOLDS
        predicted = clf.classes_[probability.argmax(axis=1)]
        listed = ", ".join(f"{score:.3f}" for score in scores)
        print(
            f"| {name} | {balanced_accuracy_score(y, predicted):.4f} | {listed} | "
            f"{log_loss(y, probability):.3f} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
