# SPDX-License-Identifier: BSD-3-Clause
"""Comparison of training and prediction of one case by all loops.

The loops time the training; this module times the prediction, from rows in the memory
of the loop (arrays for skorch and skastro, tensors on the device for the compute bound)
to an array of probabilities.
"""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.cases import Case
from benchmarks.loops import (
    WHOLE,
    ComputeBound,
    IndexingLoop,
    Observation,
    SkastroLoop,
    SkorchLoop,
)
from benchmarks.measure import Stopwatch, take_turns
from benchmarks.seed_loop import SeedLoop

SEED = "(a) per-sample Dataset and DataLoader, augmented"
SKORCH = "(b) skorch"
SKASTRO = "(c) skastro"
AUGMENTED = "(c) skastro, augmented"
WHOLE_FIT = "(c) skastro, whole call of `fit`"
BOUND = "(d) compute bound"
INDEXING = "(e) plain torch indexing"

# A prediction may take milliseconds; it is repeated for this time.
_LEAST_SECONDS = 0.5

Rates = dict[str, list[float]]


@dataclass
class Measured:
    """Samples per second by loop, of each round; number formats by loop; remarks."""

    training: Rates
    prediction: Rates
    formats: dict[str, str]
    notes: str


def compare(
    case: Case, device: str, rounds: int, quick: bool
) -> tuple[list[str], list[str], list[str]]:
    """Measure one case.

    Parameters
    ----------
    case : Case
        The case.
    device : {"cpu", "cuda"}
        Where.
    rounds : int
        Rounds in which all loops take turns, after one to warm up.
    quick : bool
        Whether to take few rows, only to see that all runs.

    Returns
    -------
    rates, ratios, notes : lists of str
        Two tables and remarks, in Markdown.

    Raises
    ------
    RuntimeError
        If the predictions of the loops differ.
    """
    found = measure(case, device, rounds, quick)
    return (
        _rates_table(found.training, found.prediction, found.formats),
        _ratios_table(found.training, found.prediction),
        [found.notes],
    )


def measure(
    case: Case, device: str, rounds: int, quick: bool, *, slow: bool = True
) -> Measured:
    """Measure one case as `compare` does, or leave out the slow loops (a) and (b)."""
    n_rows, n_slow, epochs = case.rows.resolve(device, quick)
    X, y = case.make_data(n_rows)

    first = slice(2 * case.batch_size)
    source = case.make_estimator(device, max_epochs=1).fit(X[first], y[first])
    seen = Observation(source, X)
    trainers: dict[str, Any] = {}
    if slow:
        few = X[:n_slow], y[:n_slow]
        network = case.plain()
        network.load_state_dict(seen.network.state_dict())
        convert = case.make_converter(source)
        workers = (0,) if quick else None
        trainers[SEED] = SeedLoop(case, *few, network, convert, device, workers)
        seen_few = seen.limited(n_slow)
        trainers[SKORCH] = SkorchLoop(case, seen_few, few[1], device, epochs)
    trainers[SKASTRO] = SkastroLoop(case, X, y, device, epochs)
    trainers[AUGMENTED] = SkastroLoop(case, X, y, device, epochs, vary=True)
    trainers[BOUND] = bound = ComputeBound(case, seen, y, device, epochs)
    if case.indexing:
        for dtype in dict.fromkeys((None, seen.dtype)):
            name = f"{INDEXING}, {_name(dtype)}"
            trainers[name] = IndexingLoop(case, seen, y, device, epochs, dtype)
    tasks = {
        name: lambda name=name, loop=loop: {
            WHOLE_FIT if label == WHOLE else name: rate
            for label, rate in loop.train().items()
        }
        for name, loop in trainers.items()
    }
    training = take_turns(tasks, rounds, f"{case.name}: training")

    # After the training the weights of the loops differ.
    for name in {SEED, SKORCH} & set(trainers):
        trainers[name].load(seen.network)
    trainers[SKASTRO].estimator = source
    least_seconds = 0.05 if quick else _LEAST_SECONDS
    bound.choose_batch(least_seconds)
    answers: dict[str, np.ndarray] = {}

    def predict(name: str) -> dict[str, float]:
        seconds, n_predicted = 0.0, 0
        while seconds < least_seconds:
            with Stopwatch(device) as watch:
                answers[name] = trainers[name].predict()
            seconds += watch.seconds
            n_predicted += len(answers[name])
        return {name: n_predicted / seconds}

    predictors = [n for n in (SEED, SKORCH, SKASTRO, BOUND) if n in trainers]
    tasks = {name: lambda name=name: predict(name) for name in predictors}
    prediction = take_turns(tasks, rounds, f"{case.name}: prediction")
    difference = _check_agreement(answers, seen.dtype)

    formats = {SEED: "float32", SKORCH: "float32"}
    formats |= dict.fromkeys((SKASTRO, AUGMENTED, WHOLE_FIT, BOUND), seen.format)
    notes = (
        f"Rows in an epoch: {n_rows}"
        + (f" ({n_slow} for a and b)" if n_slow < n_rows else "")
        + f"; epochs in a call of `fit`: {epochs}. Medians of {rounds} interleaved "
        "round(s), with the least and the most."
        + (f" (a) has {trainers[SEED].description}." if slow else "")
        + f" (d) predicts {bound.predict_batch} rows at once. Probabilities of all "
        f"loops agree within {difference:.1g}."
    )
    return Measured(training, prediction, formats, notes)


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype or torch.float32).removeprefix("torch.")


def _check_agreement(
    answers: dict[str, np.ndarray], dtype: torch.dtype | None
) -> float:
    """Return the largest difference from skastro's probabilities."""
    difference = max(
        float(np.abs(answer - answers[SKASTRO][: len(answer)]).max())
        for answer in answers.values()
    )
    tolerance = 1e-3 if dtype is None else 0.1
    if not difference <= tolerance:
        raise RuntimeError(
            f"The loops' probabilities differ by {difference:.3g}, more than "
            f"{tolerance}: they do not compute the same, and their times cannot be "
            "compared."
        )
    return difference


def _number(value: float) -> str:
    """Write three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rates_table(
    training: Rates, prediction: Rates, formats: dict[str, str]
) -> list[str]:
    def cell(rates: list[float] | None) -> str:
        if rates is None:
            return ""
        low, high = _number(min(rates)), _number(max(rates))
        return f"{_number(median(rates))} ({low} to {high})"

    header = ["loop", "training, samples/s", "prediction, samples/s"]
    rows = []
    for name, rates in training.items():
        label = f"{name}, {formats[name]}" if name in formats else name
        rows.append([label, cell(rates), cell(prediction.get(name))])
    return report.table(header, rows)


def _ratios_table(training: Rates, prediction: Rates) -> list[str]:
    """Compare skastro with each loop, with augmentation if the loop has it."""

    def ratio(rates: Rates, ours: str, theirs: str) -> str:
        return f"{median(rates[ours]) / median(rates[theirs]):.2f}"

    header = ["skastro's speed over", "training", "prediction"]
    rows = [
        [
            f"{SEED} (skastro augmented too)",
            ratio(training, AUGMENTED, SEED),
            ratio(prediction, SKASTRO, SEED),
        ]
    ]
    for theirs in (SKORCH, BOUND):
        both = [ratio(rates, SKASTRO, theirs) for rates in (training, prediction)]
        rows.append([theirs, *both])
    rows.append([f"{BOUND}, skastro augmented", ratio(training, AUGMENTED, BOUND), ""])
    bare = [name for name in training if name.startswith(INDEXING)]
    if bare:
        best = max(bare, key=lambda name: median(training[name]))
        rows.append([f"{best} (the fastest)", ratio(training, SKASTRO, best), ""])
    return report.table(header, rows)
