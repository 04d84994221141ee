# SPDX-License-Identifier: BSD-3-Clause
"""
A survey on a cluster
=====================

:func:`skastro.distributed.predict` divides a survey among the workers of a Dask
cluster. This page starts a cluster of two processes on one machine, predicts an array
lazily, kills a worker in the middle of a run, and shows which worker computed what.

Dask starts its processes by importing the script. Therefore all that runs stands below
``if __name__ == "__main__":``.
"""

# %%
# A survey in a zarr store
# ------------------------
# A classifier is trained on simulated spectra. The survey consists of others, repeated
# with new noise. The store has chunks, so that a worker reads its rows and no others.
import os
import tempfile
import threading
import time
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import zarr
from distributed import Client, LocalCluster, get_task_stream

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import make_spectra
from skastro.distributed import predict

wavelength = np.linspace(3900, 9000, 1500)
n_spectra, n_chunk = 30_000, 250


def train() -> Pipeline:
    """Train on simulated spectra."""
    spectra = make_spectra(600, wavelength=wavelength, random_state=0)
    network = SpectrumClassifier(
        module__width=8, max_epochs=8, random_state=0, verbose=0
    )
    return Pipeline([StandardizeSpectra(robust=True, clip=8), network]).fit(
        spectra.flux, spectra.target
    )


def write_survey(path: Path) -> None:
    """Write the survey, a chunk at a time."""
    flux = make_spectra(n_chunk, wavelength=wavelength, random_state=1).flux
    noise = np.random.default_rng(2)
    survey = zarr.create_array(
        path,
        shape=(n_spectra, len(wavelength)),
        chunks=(n_chunk, len(wavelength)),
        dtype="f4",
    )
    for start in range(0, n_spectra, n_chunk):
        scatter = noise.normal(scale=0.05 * flux.std(), size=flux.shape)
        survey[start : start + n_chunk] = flux + scatter


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    pipe = train()
    write_survey(folder / "survey.zarr")

# %%
# The cluster
# -----------
# One process with one thread for each core. On a real cluster, ``Client`` takes the
# address of its scheduler, such as ``Client("tcp://node001:8786")``. :ref:`scaling`
# says how many workers are of use.
if __name__ == "__main__":
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )
    client = Client(cluster)

# %%
# Lazy results
# ------------
# The result for a dask array is a dask array. It computes nothing until it is asked to,
# and then only what is needed: here the share of spectra whose class is almost certain,
# of the first tenth of the survey. The probabilities stay on the workers.
if __name__ == "__main__":
    survey = da.from_zarr(folder / "survey.zarr")
    probability = predict(pipe, survey[: n_spectra // 10])
    print(probability)
    certain = (probability.max(axis=1) > 0.9).mean().compute()
    print(f"{certain:.1%} of the classes have a probability above 0.9")

# %%
# A worker dies
# -------------
# With ``out`` the client keeps the results of each partition, and writes them when all
# are there. Two seconds after the beginning one of the two processes is killed, as
# happens where memory runs out. Its partition is given to the other worker, and Dask
# starts a new process, which receives the model.


def kill(pid: int, times: list[float]) -> None:
    """Kill a process, and note the time."""
    times.append(time.time())
    os.kill(pid, 9)


if __name__ == "__main__":
    pid = next(iter(client.run(os.getpid).values()))
    killed: list[float] = []
    began = time.time()
    timer = threading.Timer(2.0, kill, (pid, killed))
    with get_task_stream(client) as stream:
        timer.start()
        out = predict(
            pipe,
            folder / "survey.zarr",
            out=folder / "classes.zarr",
            partition_size=n_chunk,
            client=client,
            verbose=0,
        )
    print(f"{n_spectra / (time.time() - began):.0f} spectra a second")

# %%
# Nothing is missing, and the results are those of one process, up to the rounding of
# bfloat16 where the processor computes in it.
if __name__ == "__main__":
    results = zarr.open_group(out, mode="r")
    rows = np.linspace(0, n_spectra - n_chunk, 5, dtype=int)
    for start in rows // n_chunk * n_chunk:
        part = slice(start, start + n_chunk)
        alone = pipe.predict_proba(zarr.open_array(folder / "survey.zarr")[part])
        np.testing.assert_allclose(results["predict_proba"][part], alone, atol=1e-2)
    labels, counts = np.unique(
        results["predict_proba"][:].argmax(axis=1), return_counts=True
    )
    for label, count in zip(results["classes"][:][labels], counts, strict=True):
        print(f"{label}: {count}")

# %%
# Who computed what
# -----------------
# Each bar is a partition. The dotted line is the moment at which a process was killed.
# The first partition of the new one takes some seconds longer: it imports PyTorch.
if __name__ == "__main__":
    spans = [
        (task["worker"], span["start"] - began, span["stop"] - span["start"])
        for task in stream.data
        for span in task["startstops"]
        if span["action"] == "compute"
    ]
    workers = sorted({worker for worker, *_ in spans}, key=[w for w, *_ in spans].index)
    figure, ax = plt.subplots(figsize=(9, 2.4), layout="tight")
    for number, worker in enumerate(workers):
        bars = [span[1:] for span in spans if span[0] == worker]
        ax.broken_barh(bars, (number - 0.4, 0.8), ec="white", lw=0.5, fc=f"C{number}")
    ax.axvline(killed[0] - began, color="black", ls=":")
    ax.set(
        xlabel="time [s]",
        yticks=range(len(workers)),
        yticklabels=[f"process {number + 1}" for number in range(len(workers))],
    )
    ax.invert_yaxis()
    plt.show()

    client.close()
    cluster.close()
