# SPDX-License-Identifier: BSD-3-Clause
"""Measure as much as fits into a number of seconds, the most important first.

Each part gets its share of the time that is left. What does not fit is cut: rounds
first, then rows, then whole parts from the end of the list.
"""

import gc
import json
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from skastro.utils import atomic_write

Figures = dict[str, float]
NOT_RUN = "not run"
TITLE = "All that fits into a number of seconds"


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Parameters
    ----------
    name : str
        Its name.
    run : callable
        ``run(rows, rounds)`` gives named figures.
    rows, least_rows : int
        How many rows it takes at best, and at least. Where they are equal the part
        cannot be shortened: it runs once.
    rounds : int, default=3
        How many rounds it takes at best.
    weight : float, default=1.0
        Its share of the time, in proportion to the other weights.
    least_seconds : float, default=0.0
        With less time left it is not begun.
    """

    name: str
    run: Callable[[int, int], Figures]
    rows: int = 0
    least_rows: int = 0
    rounds: int = 3
    weight: float = 1.0
    least_seconds: float = 0.0


def spend(
    parts: Sequence[Part],
    budget: float,
    clock: Callable[[], float] = time.monotonic,
    after_each: Callable[[list[dict[str, Any]], float], None] = lambda *_: None,
) -> list[dict[str, Any]]:
    """Measure parts until the time is over.

    Parameters
    ----------
    parts : sequence of Part
        By importance, the most important first.
    budget : float
        Seconds.
    clock : callable, default=time.monotonic
        The time.
    after_each : callable
        Gets the results so far, of all parts, and the seconds that passed; before
        the first part too.

    Returns
    -------
    results : list of dict
        For each part ``name``, ``figures``, ``rows``, ``rounds``, ``seconds``, ``cut``:
        what had to be left out, or None; and ``error``: what went wrong, or None.
    """
    start = clock()
    empty = {"figures": {}, "rows": 0, "rounds": 0, "seconds": 0.0, "error": None}
    results = [{"name": part.name, **empty, "cut": NOT_RUN} for part in parts]
    after_each(results, 0.0)
    for i, part in enumerate(parts):
        begun = clock()
        left = budget - (begun - start)
        if left <= part.least_seconds:
            continue
        share = left * part.weight / sum(later.weight for later in parts[i:])
        try:
            _fit_in(part, share, clock, results[i])
        except Exception as error:
            # Figures of fewer rows, if there are any, stay.
            place = traceback.extract_tb(error.__traceback__)[-1]
            results[i]["cut"] = None
            results[i]["error"] = (
                f"{type(error).__name__}: {error} "
                f"({Path(place.filename).name}, line {place.lineno})"
            )
        results[i]["seconds"] = clock() - begun
        # What a part, or its error, left on the device would be missing to the next.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        after_each(results, clock() - start)
    return results


def _fit_in(
    part: Part, share: float, clock: Callable[[], float], found: dict[str, Any]
) -> None:
    """Run a part with as many rows and rounds as fit into some seconds."""

    def run(rows: int, rounds: int) -> float:
        begun = clock()
        figures = part.run(rows, rounds)
        cut = None if part.rows == part.least_rows else _describe(part, rows, rounds)
        found.update(figures=figures, rows=rows, rounds=rounds, cut=cut)
        return clock() - begun

    first = run(part.least_rows, 1)
    if part.rows == part.least_rows or 2 * first > share:
        return
    # The first run loads kernels and tries algorithms; the second shows the costs.
    pilot = run(part.least_rows, 1)
    left = share - first - pilot
    affordable = left / pilot if pilot else math.inf
    rounds = int(min(part.rounds, affordable * part.least_rows / part.rows))
    rows = part.rows if rounds else int(affordable * part.least_rows)
    if rows > part.least_rows:
        run(rows, max(rounds, 1))


def _describe(part: Part, rows: int, rounds: int) -> str | None:
    cuts = []
    if rounds < part.rounds:
        cuts.append(f"{rounds} of {part.rounds} rounds")
    if rows < part.rows:
        cuts.append(f"{rows} of {part.rows} rows")
    return ", ".join(cuts) or None


def tables(results: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Write the figures, and how each part was measured, as Markdown."""
    figures = [
        [result["name"], name, f"{value:,.4g}"]
        for result in results
        for name, value in result["figures"].items()
    ]
    parts = [
        [
            result["name"],
            str(result["rows"] or ""),
            str(result["rounds"] or ""),
            f"{result['seconds']:.1f}",
            result["cut"] or "",
            (result["error"] or "").replace("\n", " ").replace("|", "/")[:200],
        ]
        for result in results
    ]
    header = ["part", "rows", "rounds", "seconds", "cut", "error"]
    return (
        report.table(["part", "figure", "value"], figures),
        report.table(header, parts),
    )


def write(
    path: Path,
    device: str,
    command: str,
    budget: float,
    results: list[dict[str, Any]],
    spent: float,
) -> None:
    """Write the results as JSON."""
    text = {
        "where": report.provenance(device, command),
        "device": device,
        "budget": budget,
        "spent": spent,
        "cut": {r["name"]: r["cut"] for r in results if r["cut"]},
        "errors": {r["name"]: r["error"] for r in results if r["error"]},
        "parts": results,
    }
    with atomic_write(path) as file:
        json.dump(text, file, indent=1)
        file.write("\n")
