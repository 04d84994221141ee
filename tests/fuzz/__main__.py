# SPDX-License-Identifier: BSD-3-Clause
"""Feed damaged files and odd arrays to skastro: ``python -m tests.fuzz --minutes 5``.

Each case is a small good file, or array, with a few random damages. A child process
reads it under limits of time and memory. Good outcomes are a result, and an
``OSError``, ``ValueError`` or ``TypeError`` that names the file. Everything else is a
finding: another exception, an end of the process, a case that takes too long or too
much memory, a result that contradicts itself, and other numbers than before where the
damage leaves the numbers as they were. A finding is reduced to as few damages as it
needs, and its file is kept. ``--kind K --seed S --cases 1`` repeats the case of seed S;
without ``--kind`` the kinds take turns.
"""

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

from . import KINDS, kind_of_finding, load, make_case
from .worker import GIBIBYTES, Worker, shrink


def run(
    kinds: list[str],
    minutes: float,
    n_cases: int,
    seed: int,
    keep: Path,
    gibibytes: float,
) -> int:
    """Run cases until the time or their number is reached; return the findings."""
    end = time.monotonic() + 60 * minutes
    counts = {kind: collections.Counter() for kind in kinds}
    findings: collections.Counter[str] = collections.Counter()
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(gibibytes, Path(folder))
        while number < n_cases and time.monotonic() < end:
            kind, case_seed = kinds[number % len(kinds)], seed + number
            case = make_case(kind, case_seed)
            outcome = worker.outcome(kind, case)
            counts[kind][outcome if outcome[0] != "!" else "finding"] += 1
            if outcome[0] == "!":
                key = kind_of_finding(f"{kind} {case[0]} {outcome}")
                findings[key] += 1
                if findings[key] == 1:
                    module, case = load(kind), shrink(worker, kind, case)
                    steps = [module.DAMAGES[index].__name__ for index, _ in case[1]]
                    print(
                        f"--kind {kind} --seed {case_seed}: {case[0]} {steps}\n"
                        f"  {outcome}",
                        flush=True,
                    )
                    if hasattr(module, "build"):
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{kind}_{case_seed}").write_bytes(module.build(case))
            number += 1
        worker.stop()
    print(f"{number} cases, seeds {seed} to {seed + number - 1}:")
    for kind in kinds:
        print(f"{kind}: {counts[kind].total()}, {dict(counts[kind])}")
    for kind, count in findings.most_common():
        print(f"{count} times {kind.splitlines()[0][:200]}")
    return sum(findings.values())


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--gibibytes", type=float, default=GIBIBYTES)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    options = vars(parser.parse_args())
    options["n_cases"] = options.pop("cases")
    sys.exit(bool(run(options.pop("kind") or [*KINDS], **options)))


if __name__ == "__main__":
    main()
