# SPDX-License-Identifier: BSD-3-Clause
"""Model of the time and the money that a prediction over a survey takes.

A worker of one thread reads, prepares and predicts its partitions one after the other.
The partitions of all workers pass through two parts that there is once: the file
system, and scheduler and client, which keep each result. The slowest of the three sets
the time. Before that the workers start; after it some wait for the last partition, and
the client writes the file from its journal.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, Self

CONSTANTS = Path(__file__).with_name("constants.json")
# The step that stands for reading, by kind of source.
SOURCES = {
    "lamost": "read to the grid/lamost-coadd, gzip",
    "sdss": "read to the grid/sdss-spec",
    "desi": "read to the grid/desi, 25 a file",
    "zarr": "read/zarr",
    "h5": "read/h5",
    "parquet": "read/parquet",
}
# Assumptions to be replaced, in US dollars of November 2026: the class of prices at
# which a core and an accelerator are rented.
DOLLARS_A_CORE_HOUR = 0.04
DOLLARS_A_GPU_HOUR = 2.5


def load_constants(path: Path = CONSTANTS) -> dict[str, Any]:
    """Read measured constants."""
    return json.loads(path.read_text(encoding="utf-8"))


class Costs(NamedTuple):
    """What the steps cost.

    Parameters
    ----------
    read, prepare, predict : float
        Seconds of a worker for a spectrum.
    size : float
        Bytes that are read for a spectrum.
    fixed : float
        Seconds of a worker for a partition, beside its spectra.
    task : float
        Seconds of scheduler and client for a partition.
    write : float
        Seconds of the client for a row of the file.
    start : float
        Seconds until a worker has made its first prediction.
    begin : float
        Seconds of a run on few spectra: the model travels, the data are looked at.
    """

    read: float
    prepare: float
    predict: float
    size: float
    fixed: float
    task: float
    write: float
    start: float
    begin: float

    @property
    def work(self) -> float:
        """Seconds of a worker for a spectrum."""
        return self.read + self.prepare + self.predict

    @classmethod
    def of(
        cls, constants: dict[str, Any], source: str, rate: float | None = None
    ) -> Self:
        """Take measured constants.

        Parameters
        ----------
        constants : dict
            What :func:`load_constants` returns.
        source : str
            One of the keys of ``SOURCES``, or the name of a step that reads.
        rate : float, default=None
            Spectra that a worker predicts in a second, of another network, engine or
            device. None means the measured rate of the default network.
        """
        steps = constants["steps"]
        reading = steps[SOURCES.get(source, source)]
        return cls(
            read=reading["cpu"],
            prepare=steps["standardize"]["cpu"],
            predict=1 / rate if rate else steps["predict/auto"]["cpu"],
            size=reading["bytes"],
            fixed=steps["partition, worker"]["cpu"],
            task=steps["partition"]["cpu"],
            write=steps["write/h5"]["cpu"],
            start=steps["start of a worker"]["wall"],
            begin=steps["start of a run"]["wall"],
        )


class Plan(NamedTuple):
    """A run.

    Parameters
    ----------
    n_spectra : float
        Spectra.
    n_workers : int
        Workers of one thread each; a worker has a core, or a GPU and a core.
    partition_seconds : float, default=60.0
        Work of a partition.
    bandwidth : float, default=1e9
        Bytes a second that the file system gives to all workers together.
    price : float, default=DOLLARS_A_CORE_HOUR
        Dollars an hour of a worker.
    """

    n_spectra: float
    n_workers: int
    partition_seconds: float = 60.0
    bandwidth: float = 1e9
    price: float = DOLLARS_A_CORE_HOUR


class Forecast(NamedTuple):
    """What the model says.

    Attributes
    ----------
    parts : dict of str to float
        Seconds of workers, client and file system, of which the largest counts.
    seconds : float
        Seconds of the run.
    worker_hours : float
        Time that is paid for.
    dollars : float
        What it costs.
    """

    parts: dict[str, float]
    seconds: float
    worker_hours: float
    dollars: float

    @property
    def limit(self) -> str:
        """The part that sets the time."""
        return max(self.parts, key=self.parts.__getitem__)


def forecast(costs: Costs, plan: Plan) -> Forecast:
    """Apply the model."""
    n_rows = max(1, round(plan.partition_seconds / costs.work))
    n_partitions = math.ceil(plan.n_spectra / n_rows)
    parts = {
        "workers": (plan.n_spectra * costs.work + n_partitions * costs.fixed)
        / plan.n_workers,
        "client": n_partitions * costs.task,
        "file system": plan.n_spectra * costs.size / plan.bandwidth,
    }
    # The mean of what is left of a partition when the first worker finds no other one.
    n_busy = min(plan.n_workers, n_partitions)
    last = n_rows * costs.work / 2 * (1 - 1 / n_busy)
    before = costs.start + costs.begin
    seconds = before + max(parts.values()) + last + plan.n_spectra * costs.write
    hours = seconds * plan.n_workers / 3600
    return Forecast(parts, seconds, hours, hours * plan.price)


def most_workers(costs: Costs, plan: Plan) -> dict[str, float]:
    """Return how many workers the client and the file system keep busy."""
    return {
        "client": plan.partition_seconds / costs.task,
        "file system": plan.bandwidth * costs.work / costs.size,
    }
