# SPDX-License-Identifier: BSD-3-Clause
"""The run on each worker; imported only where distributed is installed."""

from distributed import WorkerPlugin

from skastro.distributed._memory import keep_freed_memory
from skastro.distributed._model import forget_models
from skastro.distributed._run import Run


class RunPlugin(WorkerPlugin):
    """Keeps a run on a worker; the scheduler hands it to each new worker."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def setup(self, worker: object) -> None:
        """Prepare the process for batches."""
        keep_freed_memory(True)

    def teardown(self, worker: object) -> None:
        """Release the memory of the model."""
        forget_models()
        keep_freed_memory(False)
