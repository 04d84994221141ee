# SPDX-License-Identifier: BSD-3-Clause
"""Measure what the steps of a prediction over a survey cost on one core.

Each constant is a number of seconds for one item: a spectrum, a row, a task or a start.
CPU time is that of all threads of the process, with its finished children; other
programs on the machine change it little. All tasks take turns, and the medians of the
rounds count. Files are read from the system's page cache, so that the model adds the
bandwidth of a disk or of a shared file system itself.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import train_test_split

from benchmarks.measure import Rates, take_turns
from skastro import (
    Pipeline,
    RebinSpectra,
    SpectrumClassifier,
    StandardizeSpectra,
    save_model,
)
from skastro.datasets import read_spectra, read_spectrum
from skastro.distributed import predict
from skastro.streaming import predict_stream

KINDS = ("science", "sky", "template")
N_PIXELS = 3000
GRID = np.linspace(3900, 9000, N_PIXELS)
# Each layout is read at least so often in a round.
N_FILES = 16
# A partition of an array, 64 MiB of float32.
N_ROWS = 2**26 // (4 * N_PIXELS)
N_WRITTEN = 200_000
N_TASKS = 500
# Tasks that the client keeps waiting for each worker.
WINDOW = 3

START = """
import sys
import numpy as np
from skastro import load_model
model = load_model(sys.argv[1])
model.predict_proba(np.random.default_rng(0).normal(size=(1, int(sys.argv[2]))))
"""


def data_folder() -> Path:
    """Return the folder of real survey data."""
    try:
        return Path(os.environ["SKASTRO_DATA"])
    except KeyError:
        raise SystemExit("Set SKASTRO_DATA to the folder of survey data.") from None


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished children."""
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Steps:
    """The steps to measure, by name, and the bytes of what they read."""

    def __init__(self) -> None:
        self.tasks: dict[str, Callable[[], Rates]] = {}
        self.sizes: dict[str, float] = {}

    def add(
        self,
        name: str,
        n_items: int,
        task: Callable[[], object],
        size: float | None = None,
    ) -> None:
        """Add a task that treats some items, of a number of bytes each."""
        self.tasks[name] = partial(self.timed, name, n_items, task)
        if size is not None:
            self.sizes[name] = size

    @staticmethod
    def timed(name: str, n_items: int, task: Callable[[], object]) -> Rates:
        """Run a task, and return its CPU and wall seconds for one item."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        task()
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        return {f"{name}/cpu": cpu / n_items, f"{name}/wall": wall / n_items}

    def measure(self, rounds: int) -> dict[str, dict[str, Any]]:
        """Run all tasks in turn; return medians and ranges."""
        constants: dict[str, dict[str, Any]] = {}
        for label, values in take_turns(self.tasks, rounds, "constants").items():
            name, clock = label.rsplit("/", 1)
            entry = constants.setdefault(name, {})
            entry[clock] = float(np.median(values))
            entry[f"{clock}_range"] = [min(values), max(values)]
        for name, size in self.sizes.items():
            constants[name]["bytes"] = size
        return constants


def files_by_layout() -> dict[str, list[Path]]:
    """Sort the survey files by layout, packed ones apart; leave out other files."""
    folder = data_folder()
    found = defaultdict(list)
    for part in ("survey_files", "survey_files_2"):
        for path in sorted((folder / part).rglob("*")):
            if path.is_file():
                try:
                    layout = read_spectrum(path).layout
                except ValueError:
                    # Files of many spectra, and catalogs.
                    continue
                packed = ", gzip" if path.suffix == ".gz" else ""
                found[f"{layout}{packed}"].append(path)
    return dict(found)


def make_rows() -> tuple[np.ndarray, np.ndarray]:
    """Repeat real spectra with noise, so that they compress as real ones do."""
    spectra = read_spectra(data_folder() / "spectra.fits", verbose=0)
    rows = np.arange(N_ROWS) % len(spectra.flux)
    flux = spectra.flux[rows].astype(np.float32)
    noise = np.random.default_rng(0).normal(size=flux.shape).astype(np.float32)
    return flux + 0.01 * np.nanstd(flux) * noise, np.asarray(spectra.target)[rows]


def train(flux: np.ndarray, target: np.ndarray) -> Pipeline:
    """Train the default network shortly: its speed does not depend on its weights."""
    flux, _, target, _ = train_test_split(
        flux, target, train_size=600, stratify=target, random_state=0
    )
    pipe = Pipeline(
        [
            StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate"),
            SpectrumClassifier(max_epochs=1, verbose=0, random_state=0),
        ]
    )
    return pipe.fit(flux, target)


def read_each(paths: list[Path]) -> None:
    """Read files one by one, each on its own grid."""
    for path in paths:
        read_spectrum(path)


def add_files(steps: Steps) -> None:
    """Read survey files, alone and with rebinning to one grid."""
    for layout, paths in files_by_layout().items():
        size = float(np.mean([path.stat().st_size for path in paths]))
        paths = paths * -(-N_FILES // len(paths))
        steps.add(f"read/{layout}", len(paths), partial(read_each, paths), size)
        if layout.startswith(("lamost", "sdss")):
            to_grid = partial(
                read_spectra, paths, wavelength=GRID, kinds=KINDS, verbose=0
            )
            steps.add(f"read to the grid/{layout}", len(paths), to_grid, size)
    # A file of many spectra, each in three arms.
    path = data_folder() / "survey_files_2" / "desi" / "quasarnp_test_coadd.fits"
    to_grid = partial(read_spectra, path, wavelength=GRID, verbose=0)
    n_spectra = len(to_grid().flux)
    size = path.stat().st_size / n_spectra
    steps.add(f"read to the grid/desi, {n_spectra} a file", n_spectra, to_grid, size)


def add_arrays(steps: Steps, flux: np.ndarray, folder: Path) -> None:
    """Read a partition of each format of arrays."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr

    paths = {name: folder / f"flux.{name}" for name in ("zarr", "h5", "parquet")}
    chunks = (1024, N_PIXELS)
    store = zarr.create_array(
        paths["zarr"], shape=flux.shape, dtype="f4", chunks=chunks
    )
    store[:] = flux
    with h5py.File(paths["h5"], "w") as file:
        file["flux"] = flux
    values = pa.FixedSizeListArray.from_arrays(pa.array(flux.ravel()), N_PIXELS)
    pq.write_table(pa.table({"flux": values}), paths["parquet"], row_group_size=1024)

    def read_hdf5() -> np.ndarray:
        with h5py.File(paths["h5"]) as file:
            return file["flux"][:]

    def read_parquet() -> np.ndarray:
        table = pq.read_table(paths["parquet"], use_threads=False)
        column = table.column("flux").combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), -1)

    readers = {
        "zarr": lambda: zarr.open_array(paths["zarr"], mode="r")[:],
        "h5": read_hdf5,
        "parquet": read_parquet,
    }
    for name, reader in readers.items():
        parts = [path for path in (paths[name], *paths[name].rglob("*"))]
        total = sum(part.stat().st_size for part in parts if part.is_file())
        steps.add(f"read/{name}", len(flux), reader, total / len(flux))


def add_pipeline(steps: Steps, pipe: Pipeline, flux: np.ndarray) -> None:
    """Rebinning with one matrix, scaling, and the network in two formats."""
    # From 4600 logarithmic pixels, as many as a spectrum of SDSS has.
    pixels = np.geomspace(3800, 9200, 4600)
    wide = np.resize(flux, (1024, len(pixels)))
    rebin = RebinSpectra(pixels, GRID, nan_policy="interpolate").fit(wide[:2])
    steps.add("rebin", len(wide), partial(rebin.transform, wide))
    scaler, classifier = pipe[0], pipe[-1]
    steps.add("standardize", len(flux), partial(scaler.transform, flux))
    few = scaler.transform(flux[:1024])
    for precision in ("float32", "auto"):
        task = partial(predict_in, precision, classifier, few)
        steps.add(f"predict/{precision}", len(few), task)


def predict_in(precision: str, classifier: Any, flux: np.ndarray) -> np.ndarray:
    """Predict in one number format."""
    return classifier.set_params(precision=precision).predict_proba(flux)


def add_writing(steps: Steps, target: np.ndarray, folder: Path) -> None:
    """Keep probabilities in the journal, then write the file; nothing to predict."""
    rows = np.zeros((N_WRITTEN, 1), np.float32)
    dummy = DummyClassifier().fit(np.zeros((len(target), 1)), target)
    for suffix in ("h5", "csv"):
        out = folder / f"out.{suffix}"
        write = partial(predict_stream, dummy, rows, out=out, verbose=0)
        steps.add(f"write/{suffix}", N_WRITTEN, write)


def empty_tasks(client: Any) -> None:
    """Send tasks that do nothing through the scheduler, a bounded number at a time."""
    from distributed import as_completed

    n_ahead = WINDOW * len(client.scheduler_info()["workers"])
    numbers = iter(range(N_TASKS))
    queue = as_completed(
        [client.submit(int, next(numbers), pure=False) for _ in range(n_ahead)],
        with_results=True,
    )
    for _ in queue:
        number = next(numbers, None)
        if number is not None:
            queue.add(client.submit(int, number, pure=False))


def small_partitions(client: Any, classes: np.ndarray, folder: Path) -> Rates:
    """Predict partitions without work; return what one costs on either side."""
    X = np.zeros((4 * N_TASKS, 1), np.float32)
    dummy = DummyClassifier().fit(np.zeros((len(classes), 1)), classes)
    before = sum(client.run(time.process_time).values())
    costs = Steps.timed(
        "partition",
        N_TASKS,
        partial(
            predict,
            dummy,
            X,
            out=folder / "small.h5",
            client=client,
            partition_size=4,
            verbose=0,
        ),
    )
    seconds = sum(client.run(time.process_time).values()) - before
    worker = dict.fromkeys(("cpu", "wall"), seconds / N_TASKS)
    return costs | {f"partition, worker/{clock}": s for clock, s in worker.items()}


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    """Measure all constants.

    Parameters
    ----------
    rounds : int
        Rounds that count, after one to warm up.

    Returns
    -------
    constants : dict of dict
        By name of the step: the medians ``cpu`` and ``wall`` in seconds for an item,
        their ranges, and ``bytes`` of an item where something is read. The CPU time of
        an ``empty task`` and of a ``partition`` is that of scheduler and client
        together, which share a process here.
    """
    from distributed import Client, LocalCluster

    warnings.simplefilter("ignore")
    flux, target = make_rows()
    pipe = train(flux, target)
    steps = Steps()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "model.skastro"
        save_model(pipe, model)
        add_files(steps)
        add_arrays(steps, flux, folder)
        add_pipeline(steps, pipe, flux)
        add_writing(steps, target, folder)
        command = [sys.executable, "-W", "ignore", "-c", START, model, str(N_PIXELS)]
        steps.add("start of a worker", 1, partial(subprocess.run, command, check=True))
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            steps.add("empty task", N_TASKS, partial(empty_tasks, client))
            small = partial(small_partitions, client, pipe.classes_, folder)
            steps.tasks["partition"] = small
            few, out = flux[:16], folder / "few.h5"
            begin = partial(predict, pipe, few, out=out, client=client, verbose=0)
            steps.add("start of a run", 1, begin)
            return steps.measure(rounds)
