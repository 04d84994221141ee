# SPDX-License-Identifier: BSD-3-Clause
"""Compare skastro's training and prediction with other loops.

Run from the root of the repository::

    python -m benchmarks
    python -m benchmarks --device cuda
    python -m benchmarks --only tiny images-18
    python -m benchmarks --only hdf5 --gigabytes 8 --folder /tmp
    python -m benchmarks --device cuda --budget 480

The tables are printed, and those in RESULTS.md are replaced, each as soon as it is
measured.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import budget, experiments, hdf5, memory, profile, report
from benchmarks.cases import CASES
from benchmarks.compare import compare
from benchmarks.device_parts import make_parts

NAMES = [*CASES, "profile", "experiments", "memory", "hdf5"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=NAMES,
        help=f"some of {', '.join(NAMES)}, or the part before the hyphen",
    )
    parser.add_argument("--rounds", type=int, default=5, help="besides one warm-up")
    parser.add_argument(
        "--write", action="store_true", help="write results of --quick too"
    )
    parser.add_argument(
        "--results", type=Path, help="file to write to, those of --quick too"
    )
    parser.add_argument("--epochs", type=int, default=2, help="of the experiments")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help="all that fits, in one run"
    )
    parser.add_argument("--json", type=Path, help="results of --budget")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of the HDF5 file")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="for it")
    parser.add_argument("--keep", action="store_true", help="leave that file there")
    options = parser.parse_args(arguments)
    writes = options.write or options.results is not None or not options.quick
    results_file = (options.results or report.RESULTS) if writes else None
    chosen = [
        name
        for name in NAMES
        if any(name == only or name.startswith(f"{only}-") for only in options.only)
    ]
    for only in options.only:
        if not any(name == only or name.startswith(f"{only}-") for name in NAMES):
            parser.error(f"there is no {only!r}; known are {', '.join(NAMES)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device")

    torch.manual_seed(0)
    rounds = 1 if options.quick else options.rounds
    command = " ".join(["python -m benchmarks", *arguments])
    if options.budget is not None:
        if not _run_within_budget(options, command, results_file):
            sys.exit(1)
        return
    for name in chosen:
        if name == "memory":
            title = memory.TITLE
            parts = memory.compare(options.device, options.quick)
        elif name == "profile":
            title = profile.TITLE
            parts = profile.compare(options.device, min(rounds, 2), options.quick)
        elif name == "experiments":
            title = experiments.TITLE
            few, epochs = min(rounds, 3), options.epochs
            parts = experiments.compare(few, options.quick, epochs, options.device)
        elif name == "hdf5":
            title = hdf5.TITLE
            gigabytes = 0.05 if options.quick else options.gigabytes
            parts = hdf5.compare(
                options.device, gigabytes, options.folder, options.keep
            )
        else:
            title = CASES[name].title
            parts = compare(CASES[name], options.device, rounds, options.quick)
        where = report.provenance(options.device, command)
        block = report.block(title, where, *parts)
        print(f"\n{block}\n", flush=True)
        if results_file is not None:
            report.update(results_file, options.device, {name: block}, NAMES)


def _run_within_budget(
    options: argparse.Namespace, command: str, results_file: Path | None
) -> bool:
    """Measure what fits into the seconds; tell whether all of it went well."""
    device, seconds = options.device, options.budget
    path = options.json or report.RESULTS.with_name(f"budget_{device}.json")

    def write(results: list[dict[str, Any]], spent: float) -> None:
        budget.write(path, device, command, seconds, results, spent)
        done = [r["name"] for r in results if r["cut"] != budget.NOT_RUN]
        print(f"{spent:6.1f} s  {done[-1] if done else ''}", flush=True)

    parts = make_parts(device, seconds, options.quick)
    results = budget.spend(parts, seconds, after_each=write)
    where = report.provenance(device, command)
    block = report.block(budget.TITLE, where, *budget.tables(results))
    print(f"\n{block}\n", flush=True)
    if results_file is not None:
        report.update(results_file, device, {"budget": block}, [*NAMES, "budget"])
    return not any(result["error"] for result in results)


if __name__ == "__main__":
    main()
