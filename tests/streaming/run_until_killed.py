# SPDX-License-Identifier: BSD-3-Clause
"""Stream predictions into files; be killed in the chunk after N_CHUNKS of a file.

Called as ``run_until_killed.py N_CHUNKS FILE...``. Prints how many rows were computed.
"""

import os
import signal
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression

from skastro.streaming import predict_stream


class Killed(LogisticRegression):
    """A classifier that kills its process when asked for one chunk too many."""

    def predict_proba(self, X):
        # Single rows are the probes that every run begins with.
        if len(X) > 1:
            if self.n_chunks_ == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
            self.n_chunks_ += 1
            self.n_rows_ += len(X)
        return super().predict_proba(X)


rng = np.random.default_rng(0)
X = rng.normal(size=(1000, 20)).astype(np.float32)
model = Killed().fit(X, np.where(X[:, 0] > 0, "STAR", "QSO"))
for out in sys.argv[2:]:
    model.n_chunks_ = model.n_rows_ = 0
    predict_stream(model, X, 80, out=out, verbose=0)
    print(model.n_rows_)
