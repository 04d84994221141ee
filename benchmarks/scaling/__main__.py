# SPDX-License-Identifier: BSD-3-Clause
"""Measure, model and simulate predictions over surveys; check the model.

Run from the root of the repository::

    SKASTRO_DATA=... python -m benchmarks.scaling measure
    python -m benchmarks.scaling model --spectra 1e8 --workers 500 --source lamost
    python -m benchmarks.scaling simulate
    SKASTRO_DATA=... python -m benchmarks.scaling check
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.scaling import model, study
from benchmarks.scaling.constants import measure
from skastro.utils import atomic_write


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and do what it asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    for run, text, add_options in (
        (run_measure, "constants of this machine", add_measure),
        (run_model, "time and money of a run", add_model),
        (run_simulate, "slow workers and failures", add_simulate),
        (run_check, "measured runs against the model", add_check),
    ):
        command = commands.add_parser(
            run.__name__.removeprefix("run_"),
            help=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        add_options(command.add_argument)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    # A worker has one thread.
    torch.set_num_threads(1)
    options.run(options)


def add_measure(add: Callable) -> None:
    """Describe the options of ``measure``."""
    add("--rounds", type=int, default=7, help="besides one warm-up")
    add("--out", type=Path, default=model.CONSTANTS, help="JSON file")


def add_model(add: Callable) -> None:
    """Describe the options of ``model``."""
    add("--constants", type=Path, default=model.CONSTANTS, help="JSON file")
    add("--spectra", type=float, nargs="+", default=[1e7, 1e8, 1e9])
    add("--workers", type=int, nargs="+", default=[100])
    add("--source", nargs="+", choices=model.SOURCES, default=[*model.SOURCES])
    add("--rate", type=float, help="spectra that a worker predicts in a second")
    add("--partition-seconds", type=float, default=60.0, help="work of a partition")
    add("--bandwidth", type=float, default=1000.0, help="of the file system, MB/s")
    price = model.DOLLARS_A_CORE_HOUR
    add("--price", type=float, default=price, help="dollars an hour of a worker")


def add_simulate(add: Callable) -> None:
    """Describe the options of ``simulate``."""
    usual = study.Settings()
    add("--spread", type=float, default=usual.spread, help="of ln of the durations")
    add("--fixed", type=float, default=usual.fixed, help="s of a worker, a partition")
    client = "s of the client, a partition"
    add("--overhead", type=float, default=usual.overhead, help=client)
    add("--seeds", type=int, default=usual.n_seeds, help="runs of a mean")
    add("--figure", type=Path, help="file of the figure, .svg or .png")


def add_check(add: Callable) -> None:
    """Describe the options of ``check``."""
    add("--rows", type=int, nargs="*", default=[2000, 10_000, 50_000])
    add("--files", type=int, nargs="*", default=[200, 500, 1000])
    add("--rounds", type=int, default=3, help="of which the medians count")
    add("--folder", type=Path, help="for the surveys; a temporary one by default")
    add("--csv", type=Path, help="file of the table, such as docs/scaling_check.csv")


def run_measure(options: argparse.Namespace) -> None:
    """Measure, print and write the constants."""
    steps = measure(options.rounds)
    constants = {
        "date": date.today().isoformat(),
        "hardware": report.hardware("cpu"),
        "rounds": options.rounds,
        "steps": steps,
    }
    with atomic_write(options.out) as file:
        json.dump(constants, file, indent=1)
        file.write("\n")
    rows = [
        [
            name,
            f"{1e3 * step['cpu']:.4g}",
            f"{1e3 * step['wall']:.4g}",
            f"{1 / step['cpu']:.4g}",
            f"{step['bytes'] / 1e6 / step['cpu']:.3g}" if "bytes" in step else "",
        ]
        for name, step in steps.items()
    ]
    header = ["step", "CPU, ms", "wall, ms", "items a second", "MB/s"]
    print(f"{constants['date']}, {constants['hardware']}\n")
    print("\n".join(report.table(header, rows)))


def run_model(options: argparse.Namespace) -> None:
    """Print the forecasts."""
    constants = model.load_constants(options.constants)
    rows = []
    for source in options.source:
        costs = model.Costs.of(constants, source, options.rate)
        for n_spectra in options.spectra:
            for n_workers in options.workers:
                plan = model.Plan(
                    n_spectra,
                    n_workers,
                    options.partition_seconds,
                    1e6 * options.bandwidth,
                    options.price,
                )
                found = model.forecast(costs, plan)
                most = model.most_workers(costs, plan)
                rows.append(
                    [
                        source,
                        f"{n_spectra:.0e}",
                        f"{n_workers:d}",
                        f"{1e3 * costs.work:.3g}",
                        f"{found.seconds / 3600:.3g}",
                        f"{found.worker_hours:.3g}",
                        f"{found.dollars:.3g}",
                        found.limit,
                        f"{min(most.values()):.0f} ({min(most, key=most.get)})",
                    ]
                )
    header = [
        "source",
        "spectra",
        "workers",
        "ms a spectrum",
        "hours",
        "worker-hours",
        "dollars",
        "limit",
        "workers kept busy",
    ]
    print("\n".join(report.table(header, rows)))


def run_simulate(options: argparse.Namespace) -> None:
    """Print the tables of the simulation, and draw its figure."""
    settings = study.Settings(
        options.spread, options.fixed, options.overhead, options.seeds
    )
    answers = []
    for question in study.QUESTIONS:
        answer = question.answer(settings)
        answers.append(answer)
        header = [question.axis, *(f"{size} s" for size in question.sizes)]
        rows = [
            [f"{value:g}", *(f"{efficiency:.3f}" for efficiency in row)]
            for value, row in zip(question.values, answer, strict=True)
        ]
        print(f"{question.title}, by the work of a partition\n")
        print("\n".join(report.table(header, rows)), end="\n\n", flush=True)
    if options.figure:
        study.draw(answers, settings, options.figure)


def run_check(options: argparse.Namespace) -> None:
    """Print measured runs beside what the model says."""
    # It needs the packages of skastro[scale].
    from benchmarks.scaling.check import HEADER, check

    print(f"{date.today().isoformat()}, {report.hardware('cpu')}\n")
    print("\n".join(report.table(HEADER, [])), flush=True)
    sizes = {"rows": options.rows, "files": options.files}
    rows = [HEADER]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for row in check(sizes, options.rounds, Path(folder)):
            print(f"| {' | '.join(row)} |", flush=True)
            rows.append(row)
    if options.csv:
        with atomic_write(options.csv, newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
