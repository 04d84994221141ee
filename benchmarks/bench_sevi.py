# SPDX-License-Identifier: BSD-3-Clause
"""Measure anisotropies in simulated images of electrons by several methods.

All methods get the same electrons, drawn one by one. A row per image and method is
added to a file as soon as it is known; rows in the file are not measured again.
``--table`` prints means::

    python -m benchmarks.bench_sevi --cases one-1e4 two-5e3 --n-images 1000
    python -m benchmarks.bench_sevi --table
"""

import argparse
import time
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.sevi_cases import CASES, CHUNK, throw
from benchmarks.sevi_methods import METHODS, Options, make_method
from benchmarks.sevi_scores import append, missing, score, table


def run(
    scores: Path,
    cases: list[str],
    methods: list[str],
    n_images: int,
    options: Options,
) -> None:
    """Measure what the file of scores lacks.

    Parameters
    ----------
    scores : pathlib.Path
        The file.
    cases, methods : list of str
        Their names.
    n_images : int
        Images of each case.
    options : Options
        Settings of the methods.
    """
    for name in cases:
        case = CASES[name]
        for first in tqdm(range(0, n_images, CHUNK), name, unit="chunk"):
            n = min(CHUNK, n_images - first)
            images = range(first, first + n)
            wanted = [one for one in methods if missing(scores, name, one, images)]
            made = {one: make_method(one, case, options) for one in wanted}
            made = {one: method for one, method in made.items() if method is not None}
            if not made:
                continue
            batch = throw(case, first // CHUNK, n, options.seed, progress=True)
            for one, method in made.items():
                start = time.process_time()
                answer = method(batch)
                seconds = time.process_time() - start
                rows = score(batch, name, one, answer, seconds)
                append(scores, rows)
                loss = rows[["loss_1", "loss_2"]].mean(axis=1).mean()
                tqdm.write(
                    f"{name:22} {one:13} {first:5} to {first + n:5}: loss {loss:.3g}, "
                    f"{seconds / n:.3g} s an image {answer.settings}"
                )


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--scores", type=Path, default=Path("sevi_scores.csv"))
    add("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME")
    add("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    add("--n-images", type=int, default=1000, help="of each case")
    add("--n-validation", type=int, default=100, help="images that tune PyAbel")
    add("--seed", type=int, default=5, help="of the test images")
    add("--pretrained", action="store_true", help="skastro's weights of the package")
    add("--threads", type=int, default=1)
    add("--table", action="store_true", help="print the tables and do no more")
    asked = parser.parse_args(arguments)
    if not asked.table:
        torch.set_num_threads(asked.threads)
        options = Options(asked.seed, asked.pretrained, asked.n_validation)
        with threadpool_limits(asked.threads):
            run(asked.scores, asked.cases, asked.methods, asked.n_images, options)
    print(table(asked.scores, METHODS))


if __name__ == "__main__":
    main()
