# SPDX-License-Identifier: BSD-3-Clause
"""The other loops: skorch, skastro, plain torch from memory, and the compute bound.

Each has ``train()``, which returns rates, samples per second by label, and
``predict()``, which returns the probabilities of all rows. Trainings have `epochs`
epochs; the time until the end of the first epoch does not count unless a label says so.
"""

import copy
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import Case
from benchmarks.measure import EpochClock, Rates, Stopwatch

WHOLE = "whole"


class Observation:
    """The input of the network of a fitted estimator in prediction.

    The other loops get the same input, so that they do the same computations.

    Parameters
    ----------
    estimator : estimator of skastro
        Fitted.
    X : array of shape (n_samples, ...)
        Rows to predict.

    Attributes
    ----------
    network : torch.nn.Module
        The fitted network itself.
    inputs : Tensor of shape (n_samples, n_channels, ...)
        Inputs of the network, in order, on its device.
    dtype : torch.dtype or None
        The format of autocast, or None without.
    """

    def __init__(self, estimator: Any, X: np.ndarray) -> None:
        self.network = estimator.module_
        seen: list[Tensor] = []
        self.dtype: torch.dtype | None = None

        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            device = inputs[0].device.type
            seen.append(inputs[0].detach().clone())
            if torch.is_autocast_enabled(device):
                self.dtype = torch.get_autocast_dtype(device)

        handle = self.network.register_forward_pre_hook(look)
        try:
            estimator.predict_proba(X)
        finally:
            handle.remove()
        self.inputs = torch.cat(seen)
        if len(self.inputs) != len(X):
            raise RuntimeError(
                f"The network was given {len(self.inputs)} samples for {len(X)} rows."
            )

    def limited(self, n_rows: int) -> "Observation":
        """Return the observation of the first rows."""
        limited = copy.copy(self)
        limited.inputs = self.inputs[:n_rows]
        return limited

    @property
    def format(self) -> str:
        """Name the number format."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    def copy_network(self) -> nn.Module:
        """Copy the network with its weights and memory layout."""
        return copy.deepcopy(self.network)


class SkorchLoop:
    """skorch with its default loader, in float32."""

    def __init__(
        self, case: Case, seen: Observation, y: np.ndarray, device: str, epochs: int
    ) -> None:
        self.X = seen.inputs.float().contiguous().cpu().numpy()
        self.y = y
        self.clock = EpochClock(device)
        self.net = NeuralNetClassifier(
            seen.copy_network(),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            batch_size=case.batch_size,
            max_epochs=epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            device=device,
            callbacks=[("clock", self.clock)],
        ).initialize()
        self.device = device

    def load(self, network: nn.Module) -> None:
        """Load the weights of another network."""
        self.net.module_.load_state_dict(network.state_dict())

    def train(self) -> Rates:
        """Train; the time of an epoch once it runs."""
        self.net.partial_fit(self.X, self.y)
        return {"": len(self.X) / self.clock.seconds_per_epoch}

    def predict(self) -> np.ndarray:
        """Predict all rows."""
        return self.net.predict_proba(self.X)


class SkastroLoop:
    """skastro's estimator, made and fitted anew each time."""

    def __init__(
        self,
        case: Case,
        X: np.ndarray,
        y: np.ndarray,
        device: str,
        epochs: int,
        vary: bool = False,
    ) -> None:
        self.case = case
        self.X, self.y = X, y
        self.device = device
        self.epochs = epochs
        self.vary = vary
        self.estimator = None

    def train(self) -> Rates:
        """Train; the time of an epoch once it runs, and of the whole call of fit."""
        clock = EpochClock(self.device)
        with Stopwatch(self.device) as watch:
            self.case.make_estimator(
                self.device,
                max_epochs=self.epochs,
                augment=self.case.vary_batch if self.vary else None,
                callbacks=[("clock", clock)],
            ).fit(self.X, self.y)
        rates = {"": len(self.X) / clock.seconds_per_epoch}
        if not self.vary:
            rates[WHOLE] = self.epochs * len(self.X) / watch.seconds
        return rates

    def predict(self) -> np.ndarray:
        """Predict all rows with the estimator that was set."""
        return self.estimator.predict_proba(self.X)


def _autocast(device: str, dtype: torch.dtype | None) -> AbstractContextManager:
    return nullcontext() if dtype is None else torch.autocast(device, dtype)


def _tuned_cudnn(device: str) -> AbstractContextManager:
    """Let cuDNN try its algorithms, as a hand-tuned loop does."""
    if device != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True)


class ComputeBound:
    """The same network, format and optimizer without a data pipeline: the upper limit.

    It trains repeatedly on one resident batch, and predicts slices of resident rows in
    the batch size that a trial finds fastest.
    """

    def __init__(
        self, case: Case, seen: Observation, y: np.ndarray, device: str, epochs: int
    ) -> None:
        self.case = case
        self.device = device
        self.dtype = seen.dtype
        self.inputs = seen.inputs
        self.steps = epochs * -(-len(seen.inputs) // case.batch_size)
        self.X = seen.inputs[: case.batch_size].to(device).clone()
        self.y = torch.from_numpy(y[: case.batch_size]).to(device)
        self.frozen = seen.copy_network().eval()
        self.network = seen.copy_network().train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-3, fused=True
        )
        self.predict_batch = 0

    def train(self) -> Rates:
        """Make as many steps as there are batches in the rows."""
        with _tuned_cudnn(self.device), Stopwatch(self.device) as watch:
            for _ in range(self.steps):
                self.optimizer.zero_grad()
                with _autocast(self.device, self.dtype):
                    output = self.network(self.X)
                F.cross_entropy(output.float(), self.y).backward()
                self.optimizer.step()
        return {"": self.steps * len(self.X) / watch.seconds}

    def choose_batch(self, seconds: float) -> None:
        """Find the batch size that predicts fastest, between 64 and all rows.

        Parameters
        ----------
        seconds : float
            How long to try each size, after one prediction to warm up.
        """
        sizes = [2**i for i in range(6, 15) if 2**i < len(self.inputs)]
        best = {}
        for size in [*sizes, len(self.inputs)]:
            self.predict_batch = size
            self.predict()
            best[size] = math.inf
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                with Stopwatch(self.device) as watch:
                    self.predict()
                best[size] = min(best[size], watch.seconds)
        self.predict_batch = min(best, key=best.get)

    def predict(self) -> np.ndarray:
        """Predict the resident rows."""
        with (
            torch.inference_mode(),
            _tuned_cudnn(self.device),
            _autocast(self.device, self.dtype),
        ):
            parts = [
                self.frozen(batch) for batch in self.inputs.split(self.predict_batch)
            ]
            return torch.cat(parts).float().softmax(dim=1).cpu().numpy()


class IndexingLoop:
    """Plain torch: resident rows with a shuffled index."""

    def __init__(
        self,
        case: Case,
        seen: Observation,
        y: np.ndarray,
        device: str,
        epochs: int,
        dtype: torch.dtype | None,
    ) -> None:
        self.case = case
        self.device = device
        self.epochs = epochs
        self.dtype = dtype
        self.X = seen.inputs.to(device)
        self.y = torch.from_numpy(y).to(device)
        self.network = seen.copy_network().train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-3, fused=True
        )

    def train(self) -> Rates:
        """Train whole epochs."""
        with _tuned_cudnn(self.device), Stopwatch(self.device) as watch:
            for _ in range(self.epochs):
                order = torch.randperm(len(self.X), device=self.device)
                for rows in order.split(self.case.batch_size):
                    self.optimizer.zero_grad()
                    with _autocast(self.device, self.dtype):
                        output = self.network(self.X[rows])
                    F.cross_entropy(output.float(), self.y[rows]).backward()
                    self.optimizer.step()
        return {"": self.epochs * len(self.X) / watch.seconds}
