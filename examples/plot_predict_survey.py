# SPDX-License-Identifier: BSD-3-Clause
"""
A survey on a cluster
=====================

:func:`skastro.distributed.predict` divides a survey among the workers of a Dask
cluster. Here one of two dies in the middle of the run. See also :ref:`distributed`.
"""

# %%
# A survey
# --------
# The survey is written in chunks, each of which a worker reads by itself.

import subprocess
import sys
import tempfile
import threading
import time

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import zarr
from distributed import Client, LocalCluster, get_task_stream

from skastro import SpectrumClassifier
from skastro.datasets import make_spectra
from skastro.distributed import predict

folder = tempfile.mkdtemp()
spectra = make_spectra(600, wavelength=np.linspace(3900, 9000, 1500), random_state=0)
clf = SpectrumClassifier(module__width=8, max_epochs=4, random_state=0, verbose=0)
clf.fit(spectra.flux, spectra.target)
layout = {"shape": (40_000, 1500), "chunks": (1000, 1500), "dtype": "f4"}
survey = zarr.create_array(f"{folder}/survey.zarr", **layout)
for start in range(0, 40_000, 500):
    survey[start : start + 500] = spectra.flux[:500]

# %%
# A cluster
# ---------
# ``dask worker ADDRESS`` starts a worker, on any machine that reads the same files. The
# result for a dask array is one, of which only what is needed is computed.

cluster = LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50)
command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny"]
command += ["--nthreads", "1", cluster.scheduler_address]
workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
client = Client(cluster)
client.wait_for_workers(2)
probability = predict(clf, da.from_zarr(survey)[:4000])
certain = (probability.max(axis=1) > 0.9).mean().compute()
print(f"{certain:.1%} of the classes have a probability above 0.9")

# %%
# A worker dies
# -------------
# Its partition goes to the other worker, and nothing is missing in the result. Each bar
# of the figure is a partition.

began = time.time()
threading.Timer(2.0, workers[0].kill).start()
with get_task_stream(client) as stream:
    predict(clf, survey, out=f"{folder}/classes.zarr", partition_size=1000, verbose=0)
client.close()
cluster.close()
found = zarr.open_group(f"{folder}/classes.zarr", mode="r")["predict_proba"][:]
print(f"{np.isfinite(found).all(axis=1).sum()} of {len(found)} have a result")

figure, ax = plt.subplots(figsize=(8, 2), layout="constrained")
names = sorted({task["worker"] for task in stream.data})
for task in stream.data:
    for span in task["startstops"]:
        bar = (span["start"] - began, span["stop"] - span["start"])
        place = names.index(task["worker"])
        ax.broken_barh([bar], (place - 0.4, 0.8), ec="white", fc=f"C{place}")
ax.set(xlabel="Time (s)", yticks=range(len(names)), ylabel="Worker")
plt.show()
