# SPDX-License-Identifier: BSD-3-Clause
"""A usual training loop, which loads one sample at a time, in float32."""

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

from benchmarks.cases import Case
from benchmarks.measure import Rates, Stopwatch, synchronize

# Numbers of workers that are tried; more did not help on the machines measured.
WORKERS = {"cpu": (0, 1, 2), "cuda": (0, 4, 8, 16)}
_TRIAL_SECONDS = 2.0


class Samples(Dataset):
    """Samples that are augmented and converted to the network's input one by one."""

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        convert: Callable[[np.ndarray], Tensor],
        vary: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None,
    ) -> None:
        self.X = X
        self.y = y
        self.convert = convert
        self.vary = vary
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.X)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Give a sample and its class."""
        sample = self.X[i]
        if self.vary is not None:
            sample = self.vary(sample, self.rng)
        return self.convert(sample), int(self.y[i])


def _seed_worker(_: int) -> None:
    worker = get_worker_info()
    worker.dataset.rng = np.random.default_rng(worker.seed)


class SeedLoop:
    """A ``Dataset``, a ``DataLoader``, and the usual loop around a plain network.

    Batches come from the number of workers that a short trial on this machine finds
    fastest, for training and for prediction; they persist, and on CUDA the memory is
    pinned and copies do not block. Training rows are varied one by one.
    """

    def __init__(
        self,
        case: Case,
        X: np.ndarray,
        y: np.ndarray,
        network: nn.Module,
        convert: Callable[[np.ndarray], Tensor],
        device: str,
        workers: tuple[int, ...] | None = None,
    ) -> None:
        self.case = case
        self.X, self.y = X, y
        self.convert = convert
        self.device = device
        self.network = network.to(device)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        self.criterion = nn.CrossEntropyLoss()
        counts = WORKERS[device] if workers is None else workers
        counts = [n for n in counts if n <= (os.cpu_count() or 1)]
        self.train_workers, self.train_loader = self._fastest(
            counts, self._training_loader, self._train_on
        )
        self.predict_workers, self.predict_loader = self._fastest(
            counts, self._prediction_loader, self._predict_on
        )

    @property
    def description(self) -> str:
        """Say which workers were chosen."""
        return (
            f"{self.train_workers} workers in training and {self.predict_workers} in "
            "prediction"
        )

    def _loader(self, vary: bool, n_workers: int) -> DataLoader:
        return DataLoader(
            Samples(self.X, self.y, self.convert, self.case.vary_one if vary else None),
            batch_size=self.case.batch_size,
            shuffle=vary,
            num_workers=n_workers,
            pin_memory=self.device == "cuda",
            persistent_workers=n_workers > 0,
            worker_init_fn=_seed_worker,
        )

    def _training_loader(self, n_workers: int) -> DataLoader:
        return self._loader(True, n_workers)

    def _prediction_loader(self, n_workers: int) -> DataLoader:
        return self._loader(False, n_workers)

    def _fastest(
        self,
        counts: list[int],
        make_loader: Callable[[int], DataLoader],
        work: Callable[[Iterator], Iterator[Tensor]],
    ) -> tuple[int, DataLoader]:
        """Try numbers of workers for a moment each, on the work itself."""
        if len(counts) == 1:
            return counts[0], make_loader(counts[0])
        best_rate, best = 0.0, None
        for count in counts:
            loader = make_loader(count)
            started = time.perf_counter()
            batches = work(iter(loader))
            n_batches = 0
            if len(loader) > 1:
                # The first batch waits for the workers to start.
                next(batches)
                synchronize(self.device)
                started = time.perf_counter()
            for _ in batches:
                n_batches += 1
                if time.perf_counter() - started > _TRIAL_SECONDS:
                    break
            synchronize(self.device)
            rate = n_batches / (time.perf_counter() - started)
            if rate > best_rate:
                best_rate, best = rate, (count, loader)
        return best

    def _train_on(self, batches: Iterator) -> Iterator[Tensor]:
        self.network.train()
        for X, y in batches:
            X = X.to(self.device, non_blocking=True)
            y = y.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            loss = self.criterion(self.network(X), y)
            loss.backward()
            self.optimizer.step()
            yield loss.detach()

    def _predict_on(self, batches: Iterator) -> Iterator[Tensor]:
        self.network.eval()
        for X, _ in batches:
            with torch.no_grad():
                output = self.network(X.to(self.device, non_blocking=True))
                yield output.softmax(dim=1)

    def train(self) -> Rates:
        """Train one epoch and give the samples a second."""
        with Stopwatch(self.device) as watch:
            losses = list(self._train_on(iter(self.train_loader)))
            torch.stack(losses).mean().item()
        return {"": len(self.X) / watch.seconds}

    def predict(self) -> np.ndarray:
        """Predict all rows."""
        parts = list(self._predict_on(iter(self.predict_loader)))
        return torch.cat(parts).cpu().numpy()

    def load(self, network: nn.Module) -> None:
        """Take another network's weights."""
        self.network.load_state_dict(network.state_dict())
