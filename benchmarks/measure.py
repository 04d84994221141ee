# SPDX-License-Identifier: BSD-3-Clause
"""Clocks, interleaved rounds, and peak memory."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from skorch.callbacks import Callback
from tqdm.auto import tqdm

Rates = dict[str, float]


def synchronize(device: str) -> None:
    """Wait until the device has finished all work."""
    if device == "cuda":
        torch.cuda.synchronize()


class Stopwatch:
    """Measure the wall-clock time of a ``with`` block, including the device's work."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> Self:
        """Start."""
        synchronize(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        synchronize(self.device)
        self.seconds = time.perf_counter() - self._start


class EpochClock(Callback):
    """Record when the epochs of a skorch net end, after waiting for the device.

    skorch's own ``dur`` does not wait for the device.
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def _now(self) -> float:
        synchronize(self.device)
        return time.perf_counter()

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Forget earlier trainings."""
        self._times = []

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Note the beginning of the first epoch."""
        if not self._times:
            self._times.append(self._now())

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Note the end of each."""
        self._times.append(self._now())

    @property
    def seconds_per_epoch(self) -> float:
        """Mean over all epochs but the first, or the time of the only one."""
        times = self._times[1:] if len(self._times) > 2 else self._times
        return (times[-1] - times[0]) / (len(times) - 1)


def take_turns(
    tasks: dict[str, Callable[[], Rates]], rounds: int, what: str
) -> dict[str, list[float]]:
    """Run all tasks in turn, `rounds` times after one round to warm up.

    Parameters
    ----------
    tasks : dict of callables
        Each does its work once and returns named rates.
    rounds : int
        Rounds that count.
    what : str
        What the progress bar shows.

    Returns
    -------
    rates : dict of list of float
        The rates of all rounds.
    """
    rates: dict[str, list[float]] = {}
    # Garbage of other loops and of imported modules must not slow down a loop.
    gc.collect()
    gc.freeze()
    try:
        with tqdm(total=(rounds + 1) * len(tasks), leave=False, disable=None) as bar:
            for number in range(rounds + 1):
                for name, task in tasks.items():
                    bar.set_description(f"{what}, {name.split(',')[0]}")
                    gc.collect()
                    for label, rate in task().items():
                        if number:
                            rates.setdefault(label, []).append(rate)
                    bar.update()
    finally:
        gc.unfreeze()
    return rates


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes.

    Linux's ``VmHWM`` is that of this program; ``ru_maxrss`` includes the process that
    started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_apart(module: str, *arguments: object) -> dict[str, float]:
    """Run a module of this package in a separate process; it prints JSON at the end."""
    root = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [os.environ.get("PYTHONPATH"), root])
        ),
    }
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
