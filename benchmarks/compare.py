# SPDX-License-Identifier: BSD-3-Clause
"""Comparison of training and prediction of one case by all loops.

The loops time the training; this module times the prediction, from rows in the memory
of the loop (arrays for skorch and skastro, tensors on the device for the compute bound)
to an array of probabilities.
"""

from statistics import median

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
    n_rows, n_slow, epochs = case.rows.resolve(device, quick)
    X, y = case.make_data(n_rows)

    few = slice(2 * case.batch_size)
    source = case.make_estimator(device, max_epochs=1).fit(X[few], y[few])
    seen = Observation(source, X)
    slow = X[:n_slow], y[:n_slow]
    network = case.plain()
    network.load_state_dict(seen.network.state_dict())
    convert = case.make_converter(source)
    workers = (0,) if quick else None
    seed = SeedLoop(case, *slow, network, convert, device, workers)
    skorch = SkorchLoop(case, seen.limited(n_slow), slow[1], device, epochs)
    skastro = SkastroLoop(case, X, y, device, epochs)
    augmented = SkastroLoop(case, X, y, device, epochs, vary=True)
    bound = ComputeBound(case, seen, y, device, epochs)
    trainers = {
        SEED: seed,
        SKORCH: skorch,
        SKASTRO: skastro,
        AUGMENTED: augmented,
        BOUND: bound,
    }
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
    for loop in (seed, skorch):
        loop.load(seen.network)
    skastro.estimator = source
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

    predictors = (SEED, SKORCH, SKASTRO, BOUND)
    tasks = {name: lambda name=name: predict(name) for name in predictors}
    prediction = take_turns(tasks, rounds, f"{case.name}: prediction")
    difference = _check_agreement(answers, seen.dtype)

    formats = {SEED: "float32", SKORCH: "float32"}
    formats |= dict.fromkeys((SKASTRO, AUGMENTED, WHOLE_FIT, BOUND), seen.format)
    notes = [
        f"Rows in an epoch: {n_rows}"
        + (f" ({n_slow} for a and b)" if n_slow < n_rows else "")
        + f"; epochs in a call of `fit`: {epochs}. Medians of {rounds} interleaved "
        f"round(s), with the least and the most. (a) has {seed.description}. (d) "
        f"predicts {bound.predict_batch} rows at once. Probabilities of all loops "
        f"agree within {difference:.1g}."
    ]
    return (
        _rates_table(training, prediction, formats),
        _ratios_table(training, prediction),
        notes,
    )


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
