# SPDX-License-Identifier: BSD-3-Clause
"""What training and prediction cost: measured, modeled, and checked by other runs.

The model is t = start + epochs x samples x cost(size), with the cost between two sizes
on a line in logarithms. Each run has a process of its own on one thread; time is CPU
time. No other program should use the machine. Both tables of the guide are written anew
by::

    python -m benchmarks.cost --csv docs/user_guide
"""

import argparse
import csv
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from tqdm.auto import tqdm

import skastro
from benchmarks import report
from benchmarks.measure import peak_memory, run_apart
from skastro.sevi import make_sevi
from skastro.utils import atomic_write

TABLE, CHECK = "cost.csv", "cost_check.csv"
# Samples of the example in the table.
_N_EXAMPLE = 10_000
# Where Linux forgets a process's peak of memory.
CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Model:
    """An estimator with its defaults, and what is measured of it.

    ``sizes`` are lengths of spectra, or sides of images. ``check`` is the number of
    samples, size and epochs of a run that the model has not seen.
    """

    estimator: str
    sizes: tuple[int, ...]
    n_samples: int
    epochs: int
    check: tuple[int, int, int]
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """Whether samples are images."""
        return self.estimator not in ("SpectrumClassifier", "SpectrumRegressor")

    @property
    def is_fitted(self) -> bool:
        """Whether only the prediction is measured."""
        return self.estimator == "SEVIRegressor"

    def make_data(self, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Make samples and targets."""
        rng = np.random.default_rng(0)
        if self.is_fitted:
            n_shells = self.params["n_shells"]
            made = make_sevi(
                n, n_shells=n_shells, size=size, n_electrons=1e5, random_state=0
            )
            return made.images, made.beta
        y = np.arange(n) % 3
        if self.is_image:
            return rng.integers(0, 255, (n, size, size, 3), np.uint8), y
        return rng.standard_normal((n, size), np.float32) + 10, y

    def make(self, size: int, **params: Any) -> Any:
        """Make the estimator, fitted where that is all."""
        kind = getattr(skastro, self.estimator)
        settings = {"verbose": 0, "random_state": 0, "device": "cpu"}
        if self.is_fitted:
            name = f"sevi-{self.params['n_shells']}shell"
            return kind.from_pretrained(name, size=size, **settings)
        return kind(**self.params, **settings, **params)


_SPECTRA = {"sizes": (1000, 2000, 4000), "n_samples": 142, "epochs": 6}
_IMAGES = {"sizes": (32, 64, 128), "n_samples": 71, "epochs": 3}
MODELS = {
    "SpectrumClassifier": Model("SpectrumClassifier", **_SPECTRA, check=(500, 3000, 4)),
    "SpectrumClassifier, resnet18": Model(
        "SpectrumClassifier",
        **_SPECTRA,
        check=(300, 1500, 3),
        params={"module": "resnet18"},
    ),
    "SpectrumRegressor": Model("SpectrumRegressor", **_SPECTRA, check=(500, 3000, 5)),
    "GalaxyClassifier": Model("GalaxyClassifier", **_IMAGES, check=(400, 48, 4)),
    "GalaxyClassifier, resnet18": Model(
        "GalaxyClassifier",
        **_IMAGES,
        check=(200, 96, 2),
        params={"module": "resnet18"},
    ),
    "GalaxyClassifier, resnet50": Model(
        "GalaxyClassifier",
        **_IMAGES,
        check=(200, 48, 3),
        params={"module": "resnet50"},
    ),
    "VAETransformer": Model("VAETransformer", **_IMAGES, check=(250, 96, 2)),
    "SEVIRegressor, one shell": Model(
        "SEVIRegressor", (256, 384), 32, 0, (48, 320, 0), {"n_shells": 1}
    ),
    "SEVIRegressor, two shells": Model(
        "SEVIRegressor", (256, 384), 32, 0, (48, 320, 0), {"n_shells": 2}
    ),
}


class Times(Callback):
    """CPU time at the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Note the time."""
        self.ends.append(time.process_time())


def measure(name: str, n: int, size: int, epochs: int) -> dict[str, float]:
    """Train and predict once, in a process that has done nothing else.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    n, size, epochs : int
        Samples, their size, and epochs.

    Returns
    -------
    found : dict of float
        CPU seconds: ``fit`` of the whole call, ``epoch`` of the fastest epoch after the
        first, ``start`` of the call without epochs, ``first`` and ``again`` of two
        predictions of all samples; and ``memory``, the peak of the process in bytes,
        without X.
    """
    model, found = MODELS[name], {}
    X, y = model.make_data(n, size)
    if CLEAR_PEAK.exists():
        # The data took more memory while they were made.
        CLEAR_PEAK.write_text("5", encoding="ascii")
    times = Times()
    training = {"max_epochs": epochs, "callbacks": [("times", times)]}
    net = model.make(size, **({} if model.is_fitted else training))
    if not model.is_fitted:
        with warnings.catch_warnings():
            # A few epochs teach an autoencoder little.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found["fit"] = _seconds(partial(net.fit, X, y))
        found["epoch"] = min(np.diff(times.ends))
        later = times.ends[-1] - times.ends[0]
        found["start"] = found["fit"] - later - found["epoch"]
    predict = net.predict if hasattr(net, "predict") else net.transform
    for call in ("first", "again"):
        found[call] = _seconds(partial(predict, X))
    return {**found, "memory": peak_memory() - X.nbytes}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


Constants = dict[str, dict[int, dict[str, float]]]


def constants_of(found: Constants, models: dict[str, Model]) -> Constants:
    """Find the constants of the model in what was measured, by network and size."""
    constants: Constants = {}
    for name, sizes in found.items():
        model = models[name]
        constants[name] = {
            size: {
                "memory": one["memory"],
                "prediction": one["again"] / model.n_samples,
                "first": max(one["first"] - one["again"], 0.0),
                "training": one.get("epoch", 0) / model.n_samples,
                "start": max(one.get("start", 0), 0.0),
            }
            for size, one in sizes.items()
        }
    return constants


def forecast(
    sizes: dict[int, dict[str, float]], n: int, size: int, epochs: int
) -> float:
    """Forecast the CPU seconds of ``fit``, or with 0 epochs of the first prediction.

    Parameters
    ----------
    sizes : dict
        The constants of a network, by size.
    n, size, epochs : int
        Samples, their size, and epochs.
    """

    def at(name: str) -> float:
        values = [max(one[name], 1e-9) for one in sizes.values()]
        return math.exp(np.interp(math.log(size), np.log(list(sizes)), np.log(values)))

    if epochs:
        return at("start") + epochs * n * at("training")
    return at("first") + n * at("prediction")


def table(constants: Constants, models: dict[str, Model]) -> list[list[str]]:
    """Write the constants, and what the defaults cost, as rows of text."""
    rows = [
        [
            "Network",
            "Size",
            "Training, ms a sample and epoch",
            "Prediction, ms a sample",
            "Start of fit, s",
            "Peak memory without X, MB",
            f"Training on {_N_EXAMPLE:,} samples, min",
        ]
    ]
    for name, sizes in constants.items():
        model = models[name]
        for size, one in sizes.items():
            cells = [f"{1e3 * one['prediction']:.3g}", "", f"{one['memory'] / 1e6:.0f}"]
            training = ["", *cells, ""]
            if not model.is_fitted:
                whole = forecast(sizes, _N_EXAMPLE, size, model.make(size).max_epochs)
                training = [f"{1e3 * one['training']:.3g}", *cells, f"{whole / 60:.3g}"]
                training[2] = f"{one['start']:.2f}"
            side = f"{size} x {size}" if model.is_image else f"{size}"
            rows.append([name, side, *training])
    return rows


def check(
    constants: Constants, models: dict[str, Model], run: Callable[..., dict[str, float]]
) -> list[list[str]]:
    """Compare runs that the model has not seen with its forecast, as rows of text."""
    header = [
        "Network",
        "Samples",
        "Size",
        "Epochs",
        "Measured, s",
        "Model, s",
        "Error",
    ]
    rows = [header]
    for name in tqdm(constants, "check", leave=False, disable=None):
        n, size, epochs = models[name].check
        found = run(name, n, size, epochs)
        for call in (epochs, 0) if epochs else (0,):
            measured = found["fit" if call else "first"]
            model = forecast(constants[name], n, size, call)
            cells = [str(n), str(size), str(call) if call else "prediction"]
            cells += [f"{measured:.3g}", f"{model:.3g}", f"{model / measured - 1:+.0%}"]
            rows.append([name, *cells])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--csv", type=Path, help=f"folder of {TABLE} and {CHECK}")
    parser.add_argument(
        "--one", nargs=4, help="name, samples, size, epochs; print JSON"
    )
    options = parser.parse_args(arguments)
    if options.one:
        torch.set_num_threads(1)
        name, *numbers = options.one
        print(json.dumps(measure(name, *map(int, numbers))))
        return
    run = partial(run_apart, "cost", "--one")
    found: Constants = {name: {} for name in options.only}
    for name in tqdm(options.only, "networks", leave=False, disable=None):
        model = MODELS[name]
        for size in model.sizes:
            found[name][size] = run(name, model.n_samples, size, model.epochs)
    constants = constants_of(found, MODELS)
    for name, rows in (
        (TABLE, table(constants, MODELS)),
        (CHECK, check(constants, MODELS, run)),
    ):
        print("\n" + "\n".join(report.table(rows[0], rows[1:])), flush=True)
        if options.csv:
            with atomic_write(options.csv / name, newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"\n{report.provenance('cpu', 'python -m benchmarks.cost')}")


if __name__ == "__main__":
    main()
