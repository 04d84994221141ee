# SPDX-License-Identifier: BSD-3-Clause
"""A child process that tries cases under limits of time and memory."""

import multiprocessing
import os
import re
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from . import Case, load

# Limits for a case, of the processor's time, the clock and memory.
SECONDS, MOST_WAITED, GIBIBYTES = 10.0, 300.0, 2.0


def work(pipe: Connection, gibibytes: float, folder: Path) -> None:
    """Try the cases that arrive, in a process of limited memory."""
    import resource

    import torch

    import skastro.datasets.spectra  # noqa: F401

    torch.set_num_threads(1)
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    warnings.simplefilter("ignore")
    used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    limit = used * 1024 + int(gibibytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    pipe.send("ready")
    while True:
        kind, case = pipe.recv()
        module = load(kind)
        # What is made once is no part of a case.
        module.names()
        pipe.send("ready")
        pipe.send(module.attempt(case, folder))


class Worker:
    """A child process that is replaced when it ends or takes too long."""

    def __init__(self, gibibytes: float, folder: Path) -> None:
        self.gibibytes, self.folder = gibibytes, folder
        self.process = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, self.gibibytes, self.folder), daemon=True
        )
        self.process.start()
        other.close()
        self.pipe.recv()

    def outcome(self, kind: str, case: Case) -> str:
        if self.process is None:
            self.start()
        self.pipe.send((kind, case))
        self.pipe.recv()
        used, end = self.cpu_seconds(), time.monotonic() + MOST_WAITED
        try:
            # The clock alone would blame a case for a busy machine.
            while self.cpu_seconds() < used + SECONDS and time.monotonic() < end:
                if self.pipe.poll(1):
                    return self.pipe.recv()
            found = f"! more than {SECONDS:g} s, or no end"
        except EOFError:
            found = "! the process ended"
        self.stop()
        return found

    def cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
        ticks = [int(field) for field in stat.split()[11:13]]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def shrink(worker: Worker, kind: str, case: Case) -> Case:
    """Leave out damages as long as there is still a finding."""
    name, damages = case
    for damage in list(damages):
        fewer = [other for other in damages if other != damage]
        if fewer and worker.outcome(kind, (name, fewer)).startswith("!"):
            damages = fewer
    return name, damages
