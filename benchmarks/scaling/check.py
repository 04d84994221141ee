# SPDX-License-Identifier: BSD-3-Clause
"""Compare runs of ``skastro.distributed.predict`` with the model and with one process.

The surveys are rows of a zarr array, and copies of real survey files in a folder. At
each size one process without Dask, a cluster of one worker and one of two take turns.
Each worker has one thread; clusters are started beforehand.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from tqdm.auto import tqdm

from benchmarks.measure import peak_memory
from benchmarks.scaling import constants, model
from skastro.datasets import read_spectra
from skastro.distributed import predict
from skastro.streaming import predict_stream

N_WORKERS = (1, 2)
# Of layouts whose reading to the grid is among the constants.
LAYOUTS = ("lamost", "sdss")
READ = partial(
    read_spectra, wavelength=constants.GRID, kinds=constants.KINDS, verbose=0
)


class Survey(NamedTuple):
    """Spectra to predict, and what the model says of one of them."""

    kind: str
    n_rows: int
    X: Any
    options: dict[str, Any]
    costs: model.Costs
    # Predicts in this process into a file, and returns the probabilities.
    alone: Callable[[Any, Path], np.ndarray]


class Run(NamedTuple):
    """Seconds of a run: by the clock, of the CPU, and of each partition."""

    wall: float
    worker_cpu: float
    client_cpu: float
    partitions: np.ndarray
    peak: float
    probability: np.ndarray


def read_probability(path: Path) -> np.ndarray:
    """Read results."""
    with h5py.File(path) as file:
        return file["predict_proba"][:]


def make_rows(n_rows: int, flux: np.ndarray, folder: Path) -> Survey:
    """Write rows of a zarr array."""
    import zarr

    path, chunk = folder / f"flux-{n_rows}.zarr", 512
    shape = (n_rows, flux.shape[1])
    rows = zarr.create_array(path, shape=shape, dtype="f4", chunks=(chunk, shape[1]))
    for start in range(0, n_rows, chunk):
        part = np.arange(start, min(start + chunk, n_rows))
        rows[part[0] : part[-1] + 1] = flux[part % len(flux)]

    def alone(pipe: Any, out: Path) -> np.ndarray:
        return read_probability(predict_stream(pipe, rows, out=out, verbose=0))

    costs = model.Costs.of(model.load_constants(), "zarr")
    return Survey("rows", n_rows, path, {}, costs, alone)


def make_files(n_files: int, folder: Path) -> Survey:
    """Copy the survey files until there are enough."""
    folder = folder / f"files-{n_files}"
    folder.mkdir()
    measured = model.load_constants()
    layouts = [
        (layout, path)
        for layout, paths in constants.files_by_layout().items()
        if layout.startswith(LAYOUTS)
        for path in paths
    ]
    paths, costs = [], []
    for number in range(n_files):
        layout, path = layouts[number % len(layouts)]
        paths.append(shutil.copy(path, folder / f"{number:06d}-{path.name}"))
        step = f"read to the grid/{layout}"
        costs.append(model.Costs.of(measured, step))

    def alone(pipe: Any, out: Path) -> np.ndarray:
        parts = range(0, n_files, 32)
        return np.concatenate(
            [pipe.predict_proba(READ(paths[part : part + 32]).flux) for part in parts]
        )

    mean = costs[0]._replace(read=float(np.mean([cost.read for cost in costs])))
    return Survey("files", n_files, folder, {"read": READ}, mean, alone)


def run(client: Any, pipe: Any, survey: Survey, out: Path) -> Run:
    """Predict a survey on a cluster."""
    from distributed import get_task_stream

    before = sum(client.run(time.process_time).values())
    with get_task_stream(client) as stream:
        wall, cpu = time.perf_counter(), time.process_time()
        predict(pipe, survey.X, out=out, client=client, verbose=0, **survey.options)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    partitions = [
        span["stop"] - span["start"]
        for task in stream.data
        for span in task["startstops"]
        if span["action"] == "compute"
    ]
    worker_cpu = sum(client.run(time.process_time).values()) - before
    peak = max(client.run(peak_memory).values()) / 1e6
    probability = read_probability(out)
    return Run(wall, worker_cpu, cpu, np.array(partitions), peak, probability)


def check(
    sizes: dict[str, Sequence[int]], rounds: int, folder: Path
) -> Iterator[list[str]]:
    """Run all surveys; yield the rows of a table with the columns ``HEADER``.

    Parameters
    ----------
    sizes : dict of sequence of int
        Numbers of "rows" and of "files", ascending: peaks of memory are those so far.
    rounds : int
        Rounds of which the medians count, after one to warm up.
    folder : pathlib.Path
        For the surveys and the results.
    """
    from distributed import Client, LocalCluster

    warnings.simplefilter("ignore")
    flux, target = constants.make_rows()
    pipe = constants.train(flux, target)
    surveys = [make_rows(n_rows, flux, folder) for n_rows in sizes["rows"]]
    surveys += [make_files(n_files, folder) for n_files in sizes["files"]]
    out = folder / "out.h5"
    with (
        ExitStack() as stack,
        tqdm(total=len(surveys) * rounds, leave=False, disable=None) as bar,
    ):
        clients = {}
        for n_workers in N_WORKERS:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
                )
            )
            clients[n_workers] = stack.enter_context(Client(cluster))
            run(clients[n_workers], pipe, surveys[0], out)
        for survey in surveys:
            alone: list[float] = []
            runs: dict[int, list[Run]] = {n_workers: [] for n_workers in clients}
            for _ in range(rounds):
                start = time.perf_counter()
                expected = survey.alone(pipe, folder / "alone.h5")
                alone.append(time.perf_counter() - start)
                for n_workers, client in clients.items():
                    runs[n_workers].append(run(client, pipe, survey, out))
                bar.update()
            yield from compare(survey, alone, runs, expected)


HEADER = [
    "Survey",
    "Workers",
    "Measured, s",
    "Model, s",
    "CPU of workers, ms a spectrum",
    "Model, ms a spectrum",
    "Rate of each, over one worker's",
    "Rate of each, over one process without Dask",
    "Workers idle",
    "Client and scheduler, ms of CPU a partition",
    "Spread of ln(duration)",
    "Peak of a worker, MB",
    "Largest difference",
]


def compare(
    survey: Survey,
    alone: list[float],
    runs: dict[int, list[Run]],
    expected: np.ndarray,
) -> list[list[str]]:
    """Compare the runs of one survey."""
    rows = []
    one = np.median([run.wall for run in runs[1]])
    process = np.median(alone)
    for n_workers, results in runs.items():
        wall = np.median([run.wall for run in results])
        n_partitions = np.median([len(run.partitions) for run in results])
        seconds = survey.costs.work * survey.n_rows / n_partitions
        # The clusters run already.
        costs = survey.costs._replace(start=0.0)
        said = model.forecast(costs, model.Plan(survey.n_rows, n_workers, seconds))
        cpu = np.median([run.worker_cpu for run in results]) / survey.n_rows
        idle = [1 - run.partitions.sum() / run.wall / n_workers for run in results]
        client = np.median([run.client_cpu for run in results]) / n_partitions
        spread = np.median([np.log(run.partitions).std() for run in results])
        difference = np.nanmax(np.abs(results[-1].probability - expected))
        rows.append(
            [
                f"{survey.n_rows} {survey.kind}",
                f"{n_workers}",
                f"{wall:.2f}",
                f"{said.seconds:.2f}",
                f"{1e3 * cpu:.3g}",
                f"{1e3 * survey.costs.work:.3g}",
                f"{one / wall / n_workers:.2f}",
                f"{process / wall / n_workers:.2f}",
                f"{np.median(idle):.1%}",
                f"{1e3 * client:.2g}",
                f"{spread:.2f}",
                f"{max(run.peak for run in results):.0f}",
                f"{difference:.1g}",
            ]
        )
    return rows
