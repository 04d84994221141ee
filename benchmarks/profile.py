# SPDX-License-Identifier: BSD-3-Clause
"""Where the time of a whole ``fit`` or prediction goes.

Timers attribute the time to the parts of the call; another call, on few rows and under
torch's profiler, divides the computations by kernels. Single jobs::

    SKASTRO_DATA=... OMP_NUM_THREADS=1 python -m benchmarks.profile spectra images-18
"""

import argparse
import contextlib
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from re import search
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm.auto import tqdm

import skastro
from benchmarks import bench_spectra, report
from benchmarks.cases import CASES
from benchmarks.measure import synchronize
from benchmarks.timers import NETWORK, OTHER, Timers
from skastro.sevi import make_sevi

TITLE = "Where the time goes"
SHELLS = "fit of the shells"
# Patterns of the names of kernels; the first that fits counts.
KERNELS = {
    "convolution, matrix product": "conv|mm|linear|einsum|linalg|chol",
    "batch norm": "batch_norm",
    "conversion, copy": "copy|aten::to|clone|contiguous",
    "pooling": "pool",
    "activation, loss, other": "aten::|skastro::|mkldnn",
}
# Python, and what torch does around its kernels.
BETWEEN = "between kernels"
# Rows of the first call, and batches under the profiler.
_N_WARM_UP, _N_BATCHES = 64, 8


@dataclass
class Job:
    """A call to measure: ``fit``, or ``predict`` where there is no y.

    ``make`` gives the estimator; ``outermost`` is the part of what no timer takes.
    """

    make: Callable[[], Any]
    X: np.ndarray
    y: np.ndarray | None = None
    outermost: str = OTHER

    def run(self, timers: Timers | None = None, n_rows: int | None = None) -> None:
        """Make the call, with timers if they are given, or on the first rows."""
        estimator = self.make()
        if self.y is None:
            call = partial(estimator.predict, self.X[:n_rows])
        else:
            if n_rows is not None:
                estimator.set_params(max_epochs=1)
            call = partial(estimator.fit, self.X[:n_rows], self.y[:n_rows])
        # The progress bar is drawn, but not shown.
        with contextlib.redirect_stderr(io.StringIO()):
            if timers is None:
                call()
            else:
                with timers.attached(estimator):
                    timers.call(self.outermost, False, call)


def _fit(kind: str, data: Callable, device: str, quick: bool, **params: Any) -> Job:
    X, y = data()
    rows = np.random.default_rng(0).permutation(len(X))[: 64 if quick else None]
    make = partial(getattr(skastro, kind), device=device, random_state=0, **params)
    return Job(make, X[rows], y[rows])


def _predict(
    kind: str, data: Callable, n_rows: int, device: str, quick: bool, **params: Any
) -> Job:
    params = {**params, "max_epochs": 1, "verbose": 0}
    job = _fit(kind, data, device, True, **params)
    fitted = job.make().fit(job.X, job.y)
    n_rows = 64 if quick else n_rows
    return Job(lambda: fitted, np.resize(job.X, (n_rows, *job.X.shape[1:])))


def _shells(n_shells: int, n_images: int, device: str, quick: bool) -> Job:
    scenes = {"n_shells": n_shells, "size": 256, "n_electrons": 1e5}
    images = make_sevi(2 if quick else n_images, random_state=0, **scenes).images
    weights, make = f"sevi-{n_shells}shell", skastro.SEVIRegressor.from_pretrained
    return Job(partial(make, weights, device=device, verbose=0), images, None, SHELLS)


def _real(name: str) -> tuple[np.ndarray, np.ndarray]:
    flux, target, _ = bench_spectra.load(name)
    scaler = skastro.StandardizeSpectra(nan_policy="interpolate")
    return scaler.fit_transform(flux), target


_SPECTRUM, _GALAXY = "SpectrumClassifier", "GalaxyClassifier"
_TINY = partial(CASES["tiny-64"].make_data, 10_000)
_TINY_PARAMS = {"module": CASES["tiny-64"].module, "max_epochs": 8}
_LONG = partial(CASES["spectra"].make_data, 320)
_IMAGES = partial(CASES["images-18"].make_data, 320)
# Parameters that are not named are the estimators' defaults.
JOBS: dict[str, Callable[[str, bool], Job]] = {
    "tiny-64": partial(_fit, _SPECTRUM, _TINY, batch_size=64, **_TINY_PARAMS),
    "tiny-256": partial(_fit, _SPECTRUM, _TINY, batch_size=256, **_TINY_PARAMS),
    "spectra": partial(_fit, _SPECTRUM, partial(_real, "spectra"), max_epochs=8),
    "lamost": partial(_fit, _SPECTRUM, partial(_real, "lamost"), max_epochs=3),
    "spectra-18": partial(_fit, _SPECTRUM, _LONG, module="resnet18", max_epochs=2),
    "images-10": partial(_fit, _GALAXY, _IMAGES, max_epochs=2),
    "images-18": partial(_fit, _GALAXY, _IMAGES, module="resnet18", max_epochs=2),
    "images-50": partial(_fit, _GALAXY, _IMAGES, module="resnet50", max_epochs=1),
    "vae": partial(_fit, "VAETransformer", _IMAGES, max_epochs=1),
    "predict-tiny": partial(_predict, _SPECTRUM, _TINY, 40_000, **_TINY_PARAMS),
    "predict-spectra": partial(_predict, _SPECTRUM, _LONG, 1000),
    "predict-images": partial(_predict, _GALAXY, _IMAGES, 1000),
    "sevi-1": partial(_shells, 1, 64),
    "sevi-2": partial(_shells, 2, 16),
}


def measure(job: Job, device: str, rounds: int) -> tuple[dict[str, float], str]:
    """Attribute the time of a call.

    Parameters
    ----------
    job : Job
        The call.
    device : {"cpu", "cuda"}
        Where.
    rounds : int
        Rounds, each with and without timers; the fastest of each counts.

    Returns
    -------
    shares : dict of float
        Of the parts, which add up to 1.
    note : str
        How long the call took, what the timers added, and how long threads waited.
    """
    threads = torch.get_num_threads()
    alone = threads == 1 and device == "cpu"
    # On one thread what other programs take of the core belongs to no part.
    clock = time.process_time if alone else time.perf_counter
    job.run(n_rows=_N_WARM_UP)
    plain: list[tuple] = []
    timed: list[tuple] = []
    for _ in range(rounds):
        for runs in (plain, timed):
            timers = None if runs is plain else Timers(clock)
            synchronize(device)
            start, start_cpu = time.perf_counter(), time.process_time()
            job.run(timers)
            synchronize(device)
            wall = time.perf_counter() - start
            cpu = time.process_time() - start_cpu
            runs.append((cpu if alone else wall, wall, cpu, timers))
    bare, wall, cpu, _ = min(plain, key=lambda run: run[0])
    whole, *_, timers = min(timed, key=lambda run: run[0])
    seconds = timers.seconds
    # The estimator is made outside of the call.
    seconds[OTHER] += whole - seconds.total()
    for part in {NETWORK, SHELLS} & set(seconds):
        inside = seconds.pop(part)
        for kernel, share in kernels(job, part, device).items():
            seconds[f"{part}: {kernel}"] += inside * share
    idle = 1 - cpu / (threads * wall)
    note = f"{wall:.3g} s, timers {whole / bare - 1:+.1%}, threads idle {idle:.0%}"
    return {part: value / whole for part, value in seconds.items()}, note


def kernels(job: Job, part: str, device: str) -> dict[str, float]:
    """Divide the time of a part by kernels, as torch's profiler sees it."""
    kinds = [ProfilerActivity.CPU]
    if device == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    timers, spent = Timers(time.perf_counter, record=True), Counter()
    with profile(activities=kinds, acc_events=True) as recorded:
        job.run(timers, _N_BATCHES * job.make().batch_size)
    which = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    for event in recorded.events():
        outer = event
        while outer is not None and not outer.name.startswith("part:"):
            outer = outer.cpu_parent
        # On a GPU the backward pass has a thread of its own.
        inside = NETWORK if outer is None else outer.name.removeprefix("part:")
        if inside == part:
            found = (k for k, names in KERNELS.items() if search(names, event.name))
            spent[next(found, BETWEEN)] += getattr(event, which)
    return {kernel: value / spent.total() for kernel, value in spent.items()}


def compare(
    device: str, rounds: int, quick: bool, names: Sequence[str] = tuple(JOBS)
) -> tuple[list[str], ...]:
    """Measure jobs of `JOBS` in `rounds` rounds; give tables and notes in Markdown."""
    shares: dict[str, dict[str, dict[str, float]]] = {"fit": {}, "predict": {}}
    notes = []
    for name in tqdm(names, TITLE, leave=False, disable=None):
        try:
            job = JOBS[name](device, quick)
        except (KeyError, FileNotFoundError) as error:
            notes.append(f"- {name}: left out, {error!r}; set SKASTRO_DATA.")
            continue
        call = "predict" if job.y is None else "fit"
        shares[call][name], note = measure(job, device, rounds)
        notes.append(f"- {name}: `{call}`, {len(job.X)} samples, {note}.")
    tables = [_table(call, found) for call, found in shares.items() if found]
    about = (
        "Shares of the time in %, of CPU time where there is one thread; those of a "
        "call add up to 100. What the network takes is divided by torch's profiler in "
        f"a call of {_N_BATCHES} batches. Idle threads wait, or other programs run."
    )
    return (*tables, [about], notes)


def _table(call: str, shares: dict[str, dict[str, float]]) -> list[str]:
    sums = sum((Counter(found) for found in shares.values()), Counter())
    rows = [
        [part, *(f"{100 * found.get(part, 0):.1f}" for found in shares.values())]
        for part, _ in sums.most_common()
    ]
    return report.table([f"`{call}`", *shares], rows)


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    names = options.names or list(JOBS)
    for part in compare(options.device, options.rounds, False, names):
        print("", *part, sep="\n")


if __name__ == "__main__":
    main()
