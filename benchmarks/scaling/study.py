# SPDX-License-Identifier: BSD-3-Clause
"""What the simulation says about the size of partitions and the number of workers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from benchmarks.scaling.simulation import Cluster, simulate
from skastro.utils import atomic_write

N_WORKERS = 500
HOUR = 3600.0


@dataclass(frozen=True)
class Settings:
    """What is the same in all runs; the defaults are measured, see docs/scaling.rst.

    Parameters
    ----------
    spread : float
        Standard deviation of the logarithm of the durations of partitions.
    fixed, overhead : float
        Seconds of a worker, and of client and scheduler, for each partition.
    n_seeds : int
        Runs of which the mean is taken.
    """

    spread: float = 0.3
    fixed: float = 0.003
    overhead: float = 0.004
    n_seeds: int = 1

    def efficiency(self, n_workers: int, n_partitions: int, **others: float) -> float:
        """Return the mean efficiency of some runs."""
        cluster = Cluster(
            n_workers,
            n_partitions,
            spread=self.spread,
            fixed=self.fixed,
            overhead=self.overhead,
            **others,
        )
        runs = [simulate(cluster, seed) for seed in range(self.n_seeds)]
        return float(np.mean([run.efficiency for run in runs]))

    def best_size(self, failures: float) -> float:
        """Return the partition, in seconds, that loses least to failures of workers.

        A partition of t seconds loses ``fixed`` to itself, and half of t to each of
        ``failures * t`` failures; Young's formula is the least sum over t.
        """
        return math.sqrt(2 * self.fixed * HOUR / failures) if failures else math.inf


@dataclass(frozen=True)
class Question:
    """Efficiencies as a function of the partition's seconds and of one other number."""

    title: str
    axis: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    run: Callable[[Settings, float, float], float]

    def answer(self, settings: Settings) -> np.ndarray:
        """Simulate all combinations, one row for each value."""
        with tqdm(
            total=len(self.values) * len(self.sizes), desc=self.axis, disable=None
        ) as bar:
            rows = []
            for value in self.values:
                rows.append([])
                for size in self.sizes:
                    rows[-1].append(self.run(settings, size, value))
                    bar.update()
        return np.array(rows)


def fail(settings: Settings, seconds: float, failures: float) -> float:
    """Simulate an hour of 500 workers that fail."""
    n_partitions = round(N_WORKERS * HOUR / seconds)
    return settings.efficiency(
        N_WORKERS, n_partitions, seconds=seconds, failures=failures
    )


def feed(settings: Settings, seconds: float, n_workers: float) -> float:
    """Simulate thirty partitions for each worker."""
    return settings.efficiency(int(n_workers), 30 * int(n_workers), seconds=seconds)


def straggle(settings: Settings, seconds: float, slow_share: float) -> float:
    """Simulate an hour of 500 workers of which some are slow."""
    n_partitions = round(N_WORKERS * HOUR / seconds)
    return settings.efficiency(
        N_WORKERS, n_partitions, seconds=seconds, slow_share=slow_share
    )


QUESTIONS = (
    Question(
        f"Efficiency of {N_WORKERS} workers with an hour of work each that fail",
        "failures of a worker in an hour",
        (1, 3, 10, 30, 100, 300, 1000),
        (0.0, 0.1, 1.0),
        fail,
    ),
    Question(
        "Efficiency without failures, thirty partitions for each worker",
        "workers",
        (1, 3, 10, 30, 100),
        (100, 1000, 10_000),
        feed,
    ),
    Question(
        f"Efficiency of {N_WORKERS} workers with an hour of work each, some of which "
        "take three times as long",
        "share of slow workers",
        (10, 100, 300, 1000, 3600),
        (0.0, 0.02, 0.1),
        straggle,
    ),
)


def draw(answers: list[np.ndarray], settings: Settings, path: Path) -> None:
    """Draw the efficiencies over the size of a partition."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="tight")
    for question, answer, ax in zip(QUESTIONS, answers, axes, strict=True):
        for value, row in zip(question.values, answer, strict=True):
            (line,) = ax.plot(question.sizes, row, "o-", ms=3, label=f"{value:,g}")
            best = settings.best_size(value) if question.run is fail else math.inf
            if best <= question.sizes[-1]:
                ax.axvline(best, color=line.get_color(), ls=":", lw=1)
        ax.set(xscale="log", xlabel="work of a partition [s]", ylim=(0, 1.02))
        ax.legend(title=question.axis, fontsize="small", title_fontsize="small")
    axes[0].set_ylabel("efficiency")
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format=path.suffix[1:], dpi=100)
    plt.close(figure)
