# SPDX-License-Identifier: BSD-3-Clause
"""Compare engines of prediction on one core of this machine's CPU.

Networks are trained on real spectra and galaxies of SKASTRO_DATA, exported, and run in
each engine on rows kept apart. The baseline is the bare forward pass of the same
module in PyTorch, on tensors in memory, in the best of some batch sizes. Engines are
called through :func:`skastro.export.load_onnx`, with its checks. Rates are per second
of CPU time of one thread, the best of several rounds in which all engines take turns,
so that other processes have little effect. Run it from the root of the repository::

    SKASTRO_DATA=... python -m benchmarks.engines
    SKASTRO_DATA=... python -m benchmarks.engines --only default --rounds 2
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from benchmarks import report
from benchmarks.bench_spectra import load
from benchmarks.loops import Observation
from benchmarks.measure import Rates, take_turns
from skastro import (
    GalaxyClassifier,
    SpectrumClassifier,
    StandardizeSpectra,
    make_pipeline,
)
from skastro.datasets import read_galaxy10
from skastro.export import load_onnx, quantize, to_onnx

# torch.compile compiles for one size, of which the rows are multiples.
BATCH = 64
BATCHES = (16, 32, BATCH, 128)
N_TIMED = 256
N_CALIBRATION = 256
TITLES = {
    "default": "The default network of `SpectrumClassifier`",
    "resnet18": "1-D ResNet-18, width 64",
    "galaxies": "2-D ResNet-18, width 64",
}
Predict = Callable[[np.ndarray], np.ndarray]


def train(name: str) -> tuple[BaseEstimator, np.ndarray, np.ndarray]:
    """Train one of the pipelines; return it, its samples and those kept apart."""
    settings: dict[str, Any] = {"verbose": 0, "random_state": 0}
    if name == "galaxies":
        path = Path(os.environ["SKASTRO_DATA"]) / "galaxies_efigi.h5"
        galaxies = read_galaxy10(path, verbose=0)
        X, y = galaxies.images, galaxies.target
        pipe = make_pipeline(GalaxyClassifier("resnet18", max_epochs=20, **settings))
    else:
        X, y, _ = load("lamost")
        # The network alone is exported, too: scaling is a step of its own.
        settings["normalization"] = None
        if name == "resnet18":
            settings |= {"module": "resnet18", "max_epochs": 12}
        pipe = make_pipeline(
            StandardizeSpectra(robust=True, clip=8.0), SpectrumClassifier(**settings)
        )
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.5, stratify=y, random_state=0
    )
    pipe.fit(X_train, y_train)
    X_test, y_test = X_test[: len(X_test) // BATCH * BATCH], y_test
    print(
        f"{name}: accuracy {(pipe.predict(X_test) == y_test[: len(X_test)]).mean():.3f}"
        f" on {len(X_test)} rows kept apart",
        flush=True,
    )
    return pipe, X_train, X_test


def forward(
    network: torch.nn.Module, bfloat16: bool, batch: int, inputs: torch.Tensor
) -> np.ndarray:
    """Compute probabilities of rows in memory in PyTorch."""
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    ):
        parts = [network(rows) for rows in inputs.split(batch)]
    return torch.cat(parts).float().softmax(dim=1).numpy()


def seconds(task: Callable[[], object]) -> float:
    """Measure the CPU time of this process."""
    start = time.process_time()
    task()
    return time.process_time() - start


def best_batch(network: torch.nn.Module, bfloat16: bool, inputs: torch.Tensor) -> int:
    """Find the fastest batch size of the bare forward pass."""
    times = {
        batch: min(
            seconds(partial(forward, network, bfloat16, batch, inputs[:N_TIMED]))
            for _ in range(3)
        )
        for batch in BATCHES
    }
    return min(times, key=times.__getitem__)


def engines_of(
    classifier: Any, X_train: np.ndarray, X_test: np.ndarray, folder: Path
) -> dict[tuple[str, str], tuple[Predict, Any]]:
    """Make functions that predict, each with its input, by engine and precision."""
    # Observed in single precision; the baseline chooses its own.
    classifier.set_params(precision="float32")
    seen = Observation(classifier, X_test)
    network, inputs = seen.copy_network().eval(), seen.inputs.contiguous()
    found: dict[tuple[str, str], tuple[Predict, Any]] = {}
    for precision in ("float32", "bfloat16"):
        short = precision == "bfloat16"
        batch = best_batch(network, short, inputs)
        found["PyTorch", precision] = partial(forward, network, short, batch), inputs
    for precision in ("float32", "bfloat16"):
        compiled = torch.compile(network, dynamic=False)
        short = precision == "bfloat16"
        found["torch.compile", precision] = (
            partial(forward, compiled, short, BATCH),
            inputs,
        )
    path, small = folder / "network.onnx", folder / "small.onnx"
    to_onnx(classifier, path, X_test)
    quantized = quantize(path, X_train[:N_CALIBRATION], small, least_agreement=0.0)
    print(f"quantized: {quantized.metadata['quantized']}", flush=True)
    for precision, file, settings in (
        ("float32", path, {"engine": "onnxruntime"}),
        ("float32", path, {"engine": "openvino"}),
        ("bfloat16", path, {"engine": "openvino", "precision": "bfloat16"}),
        ("int8", small, {"engine": "onnxruntime"}),
        ("int8", small, {"engine": "openvino", "precision": "bfloat16"}),
    ):
        model = load_onnx(file, threads=1, **settings)
        found[settings["engine"], precision] = model.predict_proba, X_test
    return found


def timed(predict: Predict, X: Any, name: str) -> Rates:
    """Predict some rows, and return how many a second."""
    return {name: N_TIMED / seconds(lambda: predict(X[:N_TIMED]))}


def compare(
    tasks: dict[tuple[str, str], tuple[Predict, Any]], rounds: int
) -> list[list[str]]:
    """Measure rates and probabilities of all engines; return the rows of a table."""
    rates = take_turns(
        {str(key): partial(timed, *task, str(key)) for key, task in tasks.items()},
        rounds,
        "engines",
    )
    reference = next(iter(tasks.values()))
    expected = reference[0](reference[1])
    rows = []
    for key, (predict, X) in tasks.items():
        rate = max(rates[str(key)])
        ratios = []
        for precision in (key[1], "float32", "bfloat16"):
            bare = rates.get(str(("PyTorch", precision)))
            ratios.append("" if bare is None else f"{rate / max(bare):.2f}")
        probability = predict(X)
        same = (probability.argmax(axis=1) == expected.argmax(axis=1)).mean()
        change = np.abs(probability - expected).max()
        hours = f"{1e7 / rate / 3600:.2f}"
        rows.append(
            [*key, f"{rate:.0f}", *ratios, f"{same:.4f}", f"{change:.3f}", hours]
        )
    return rows


HEADER = [
    "engine",
    "precision",
    "rows a second and core",
    "times PyTorch, same precision",
    "times PyTorch, float32",
    "times PyTorch, bfloat16",
    "equal labels",
    "largest change of p",
    "core-hours for 10^7",
]


def measure(name: str, rounds: int) -> tuple[list[str], list[str]]:
    """Compare the engines on the network alone, and on the whole pipeline."""
    pipe, X_train, X_test = train(name)
    *scaling, (_, classifier) = pipe.steps
    Z_train, Z_test = X_train[:N_CALIBRATION], X_test
    for _, step in scaling:
        Z_train, Z_test = step.transform(Z_train), step.transform(Z_test)
    with tempfile.TemporaryDirectory() as folder:
        alone = engines_of(classifier, Z_train, Z_test, Path(folder))
        rows = compare(alone, rounds)
        path, small = Path(folder, "pipe.onnx"), Path(folder, "small.onnx")
        to_onnx(pipe, path, X_test)
        quantize(path, X_train[:N_CALIBRATION], small, least_agreement=0.0)
        whole = {}
        for precision in ("float32", "bfloat16"):
            whole["PyTorch", precision] = (
                partial(predict_whole, pipe, precision),
                X_test,
            )
            model = load_onnx(path, engine="openvino", precision=precision, threads=1)
            whole["openvino", precision] = model.predict_proba, X_test
        model = load_onnx(small, engine="openvino", precision="bfloat16", threads=1)
        whole["openvino", "int8"] = model.predict_proba, X_test
        return report.table(HEADER, rows), report.table(HEADER, compare(whole, rounds))


def predict_whole(pipe: Any, precision: str, X: np.ndarray) -> np.ndarray:
    """Predict with the pipeline itself."""
    pipe[-1].set_params(precision=precision)
    return pipe.predict_proba(X)


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=TITLES, default=[*TITLES])
    parser.add_argument("--rounds", type=int, default=8, help="besides one warm-up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    command = " ".join(["python -m benchmarks.engines", *sys.argv[1:]])
    for name in options.only:
        alone, whole = measure(name, options.rounds)
        where = report.provenance("cpu", command)
        parts = [
            ["The network alone:"],
            alone,
            ["The pipeline, from flux or images in memory to probabilities:"],
            whole,
        ]
        print(f"\n{report.block(TITLES[name], where, *parts)}\n", flush=True)


if __name__ == "__main__":
    main()
