# SPDX-License-Identifier: BSD-3-Clause
"""Memory stays with the process while a network computes on the CPU."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library's settings"),
]

PROGRAM = """
import ctypes, resource
import torch
from skastro.training import fast_kernels

def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

known = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
torch.set_num_threads(1)
counts = [count()]
with fast_kernels(torch.device("cpu"), "auto"):
    with fast_kernels(torch.device("cpu"), "auto"):
        torch.ones(2**24)
    counts.append(count())
print(known, *counts)
"""


@pytest.mark.parametrize("setting", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}], ids=str)
def test_freed_memory_is_used_again(setting):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environment, **setting},
        capture_output=True,
        text=True,
        check=True,
    )
    known, *counts = done.stdout.split()
    if known != "True":
        pytest.skip("another C library")
    before, within = map(int, counts)
    # 64 MiB are 16384 pages, or fewer of a larger size.
    if setting:
        # A user's choice.
        assert min(before, within) > 100
    else:
        assert within < before / 10
