# SPDX-License-Identifier: BSD-3-Clause
"""Predict ``rows.npy`` of a folder, and be killed in the partition after some."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from distributed import Client
from sklearn.linear_model import LogisticRegression

from skastro.distributed import predict

SIZE = 10


class Killed(LogisticRegression):
    """A classifier that kills its process when asked for one partition too many."""

    n_done = 0

    def predict_proba(self, X):
        if len(X) == SIZE:
            if self.n_done == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            self.n_done += 1
        return super().predict_proba(X)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    X = np.load(folder / "rows.npy")
    model = Killed().fit(X, np.where(X[:, 0] > 0, "STAR", "QSO"))
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ):
        predict(model, X, out=folder / "a.zarr", partition_size=SIZE, verbose=0)
