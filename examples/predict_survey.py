# SPDX-License-Identifier: BSD-3-Clause
"""
Predict a survey: from a folder of files to a table, on a cluster
=================================================================

Without arguments the script simulates a survey of files, one of them damaged, trains a
classifier on other simulated spectra, and predicts the files with one process a core::

    python examples/predict_survey.py

``--survey`` names a folder of real files, ``--model`` a pipeline, such as one that
``skastro train spectra`` has trained, and ``--scheduler`` a Dask scheduler whose
workers read the files themselves::

    python examples/predict_survey.py --survey /survey --model pipeline.skastro
    python examples/predict_survey.py --survey /survey --scheduler tcp://node001:8786

The ending of ``--out`` determines the format: ``.parquet``, ``.zarr``, ``.h5`` or
``.csv``. A run that was interrupted goes on when the command is repeated.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/predict_survey.png'

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet
import zarr
from astropy import units
from astropy.table import Table
from distributed import Client, LocalCluster

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import make_spectra, read_spectra
from skastro.distributed import predict


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--survey", metavar="FOLDER", help="folder of files; simulated by default")
    add("--model", metavar="FILE", help="a fitted pipeline; trained by default")
    add(
        "--grid",
        nargs=3,
        type=float,
        default=[3900, 9000, 3000],
        metavar=("FIRST", "LAST", "PIXELS"),
        help="wavelengths in Angstrom of the spectra that the pipeline was trained on",
    )
    add("--scheduler", metavar="ADDRESS", help="tcp://...; a local cluster by default")
    add("--workers", type=int, default=os.cpu_count(), help="of the local cluster")
    add("--files", type=int, default=32, help="files that a worker takes at a time")
    add("--out", type=Path, default=Path("classes.parquet"), help="the results")
    add("--seed", type=int, default=0, help="seed of simulation and training")
    add("--quick", action="store_true", help="few spectra and a small network")
    return parser.parse_args(arguments)


def simulate_survey(folder: Path, grid: np.ndarray, n_files: int, seed: int) -> None:
    """Write a file for each spectrum, and a damaged one."""
    spectra = make_spectra(n_files, wavelength=grid, random_state=seed)
    for number, flux in enumerate(spectra.flux):
        table = Table({"wavelength": grid * units.AA, "flux": flux})
        table.write(folder / f"spectrum-{number:05d}.fits")
    (folder / "damaged.fits").write_bytes(b"SIMPLE  =                    T")


def train(grid: np.ndarray, seed: int, quick: bool) -> Pipeline:
    """Train a classifier on simulated spectra."""
    spectra = make_spectra(120 if quick else 1800, wavelength=grid, random_state=seed)
    settings = {"module": "mlp", "max_epochs": 2} if quick else {}
    pipe = Pipeline(
        [
            StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate"),
            SpectrumClassifier(random_state=seed, verbose=0, **settings),
        ]
    )
    return pipe.fit(spectra.flux, spectra.target)


@contextmanager
def connect(options: argparse.Namespace) -> Iterator[Client]:
    """Connect to the scheduler, or start one and workers of one thread each."""
    if options.scheduler:
        with Client(options.scheduler) as client:
            yield client
    else:
        with (
            LocalCluster(
                n_workers=options.workers,
                threads_per_worker=1,
                dashboard_address=":0",
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def read_results(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the class and the failure of each row; the class of a failed one is ""."""
    if out.suffix == ".parquet":
        table = pyarrow.parquet.read_table(out, columns=["class", "failure"])
        classes, failures = (column.to_pylist() for column in table.columns)
        return np.array([name or "" for name in classes]), np.array(failures)
    if out.suffix == ".csv":
        table = Table.read(out, format="ascii.csv", fill_values=[])
        names = [name for name in table.colnames if name.startswith("probability_")]
        labels = np.array([name.removeprefix("probability_") for name in names])
        probability = np.stack([table[name] for name in names], axis=1)
        failures = np.array(table["failure"], str)
    else:
        file = h5py.File(out) if out.suffix == ".h5" else zarr.open_group(out, mode="r")
        probability = file["predict_proba"][:]
        labels, failures = (text(file[name]) for name in ("classes", "failure"))
    best = labels[np.nan_to_num(probability).argmax(axis=1)]
    return np.where(failures == "", best, ""), failures


def text(column: h5py.Dataset | zarr.Array) -> np.ndarray:
    """Read a column of text."""
    values = column.asstr()[:] if hasattr(column, "asstr") else column[:]
    return np.array(values.tolist())


def summarize(out: Path) -> None:
    """Print how many rows have which class, or which failure."""
    classes, failures = read_results(out)
    print(f"{len(classes)} rows, {np.count_nonzero(failures)} of them without a result")
    for name, count in Counter(classes[failures == ""].tolist()).most_common():
        print(f"{count:8d} {name}")
    for reason, count in Counter(failures[failures != ""].tolist()).most_common(10):
        print(f"{count:8d} failed: {reason}")


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    first, last, n_pixels = options.grid
    grid = np.linspace(first, last, int(n_pixels))
    with tempfile.TemporaryDirectory() as folder, connect(options) as client:
        survey, pipe = options.survey, options.model
        if survey is None:
            survey = Path(folder)
            simulate_survey(survey, grid, 60 if options.quick else 1000, options.seed)
        if pipe is None:
            pipe = train(grid, options.seed + 1, options.quick)
        predict(
            pipe,
            survey,
            out=options.out,
            client=client,
            read=partial(read_spectra, wavelength=grid, verbose=0),
            partition_size=options.files,
        )
    summarize(options.out)
    print(f"Wrote {options.out}")


# Each worker is a process that begins by importing this file.
if __name__ == "__main__":
    main()
