# SPDX-License-Identifier: BSD-3-Clause
"""Processes that train one network together, each with a part of every batch.

The network, the optimizer and the callbacks exist in each process and take the same
decisions, because all of them see the same losses and the same gradients: sums over the
processes. Hence only batches, losses, gradients and the statistics of batch norms are
exchanged, and the estimator remains an ordinary one.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from skastro.utils import own_generator

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Weights that should be equal may differ by rounding on different processors.
_TOLERANCE = 1e-4
# Longer values of what differs are not shown.
_LONGEST = 200
# How gloo and NCCL tell that another process has ended.
_ENDED = re.compile(
    r"connect|closed|reset|broken pipe|timed? ?out|(read|write|recv|send) error|"
    r"remote process|socket|aborted|EOF",
    re.IGNORECASE,
)


PARTED = (
    "The processes have parted, as after an error in one of them. Start the script "
    "again; fit(..., resume='file') goes on where a training has ended."
)


class Ranks:
    """The processes of a training; each has a number, its rank.

    Parameters
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    device : torch.device
        Where this process trains.

    Attributes
    ----------
    was_used : bool
        Whether a network has been trained.
    have_stopped : bool
        Whether they have agreed to end the training that runs.
    n_whole : int
        Samples in the latest batch, those of the other processes included.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.was_used = False
        self.have_stopped = False
        self.n_whole = 0
        self._sizes = np.ones(size, np.int64)
        self.is_shared = False

    # Which samples are whose -----------------------------------------------------

    def deal(self, n_samples: int, batch_size: int) -> "tuple[Deal, np.ndarray]":
        """Deal out samples in an order that all know; give those of this process."""
        whole = batch_size * self.size
        starts = np.arange(0, n_samples, whole)
        totals = np.minimum(whole, n_samples - starts)
        # As numpy.array_split cuts them.
        sizes = totals[:, None] // self.size + (
            np.arange(self.size) < (totals % self.size)[:, None]
        )
        firsts = starts[:, None] + np.cumsum(sizes, axis=1) - sizes
        # Samples fewer than processes go to all of them.
        few = totals < self.size
        sizes[few], firsts[few] = totals[few, None], starts[few, None]
        own = sizes[:, self.rank]
        before = np.cumsum(own) - own
        rows = np.repeat(firsts[:, self.rank] - before, own) + np.arange(own.sum())
        return Deal(self.rank, sizes, totals), rows

    def spread(self, counts: np.ndarray, batch_size: int) -> "Deal | None":
        """Spread samples, so many of each process, over batches; None if too few."""
        n_batches = -(-int(counts.sum()) // (batch_size * self.size))
        steps = np.arange(n_batches + 1)[:, None]
        sizes = np.diff(steps * counts // n_batches, axis=0)
        return Deal(self.rank, sizes, sizes.sum(axis=1)) if sizes.all() else None

    def begin_batch(self, sizes: np.ndarray, total: int) -> None:
        """Note how many samples of the next batch each process has, and all have."""
        self._sizes = sizes
        self.n_whole = int(total)
        self.is_shared = int(sizes.sum()) != total

    @property
    def weight(self) -> float:
        """Part of the batch that this process has, which weights its mean loss."""
        if self.is_shared:
            return 1.0 / self.size
        return float(self._sizes[self.rank] / self._sizes.sum())

    # What is exchanged -----------------------------------------------------------

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes."""
        total = values.detach().clone()
        self._exchange(dist.all_reduce, total)
        return total

    def weight_of(self, reduction: str, n_terms: float | None) -> float:
        """Weight a loss: a sum, or a mean over so many terms, None for the samples."""
        if self.is_shared or (reduction != "sum" and n_terms is None):
            return self.weight
        if reduction == "sum":
            return 1.0
        counts = torch.tensor(float(n_terms or 0), device=self.device)
        return float(counts / self.sum(counts).clamp(min=1))

    def sum_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of all processes, in one message a data type."""
        by_type: dict[torch.dtype, list[nn.Parameter]] = {}
        for weight in weights:
            if weight.requires_grad:
                by_type.setdefault(weight.dtype, []).append(weight)
        for dtype, group in by_type.items():
            # A weight without a gradient here may have one in another process.
            parts = [
                (torch.zeros_like(w) if w.grad is None else w.grad.to_dense()).flatten()
                for w in group
            ]
            known = [float(w.grad is not None) for w in group]
            flags = torch.tensor(known, dtype=dtype, device=parts[0].device)
            total = torch.cat([*parts, flags])
            self._exchange(dist.all_reduce, total)
            *sums, flags = total.split([*(part.numel() for part in parts), len(group)])
            for weight, gradient, n_known in zip(
                group, sums, flags.tolist(), strict=True
            ):
                if n_known:
                    weight.grad = gradient.view_as(weight)

    def gather(self, values: Any) -> Any:
        """Join the samples of a batch, a tensor or tensors, of all processes."""
        if isinstance(values, tuple | list):
            return type(values)(map(self.gather, values))
        if isinstance(values, Mapping):
            return {name: self.gather(part) for name, part in values.items()}
        is_batch = isinstance(values, Tensor) and values.ndim > 0
        if self.is_shared or not is_batch or len(values) != self._sizes[self.rank]:
            return values
        own = values.detach().to(self.device)
        most = int(self._sizes.max())
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own
        received = [torch.empty_like(padded) for _ in range(self.size)]
        self._exchange(dist.all_gather, received, padded)
        parts = [
            part[:size]
            for part, size in zip(received, self._sizes.tolist(), strict=True)
        ]
        return torch.cat(parts).to(values.device)

    def gather_objects(self, value: Any) -> list[Any]:
        """Collect an object of each process, in the order of their ranks."""
        received: list[Any] = [None] * self.size
        self._exchange(dist.all_gather_object, received, value)
        return received

    def from_first(self, value: Any) -> Any:
        """Return the object of the first process."""
        held = [value]
        self._exchange(dist.broadcast_object_list, held, 0)
        return held[0]

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        for tensor in tensors:
            sent = tensor.detach().to(self.device).contiguous()
            self._exchange(dist.broadcast, sent, 0)
            with torch.no_grad():
                tensor.copy_(sent)

    def _exchange(self, function: Callable, *args: Any) -> None:
        if not dist.is_initialized():
            raise RuntimeError(PARTED)
        try:
            function(*args)
        except RuntimeError as error:
            if not _ENDED.search(str(error)):
                raise
            raise RuntimeError(
                f"Process {self.rank} of {self.size} cannot reach the others any more: "
                "one has ended, by an error that it reports or because it was killed "
                f"({str(error).split('. ')[0]}). Start all of them again; "
                "fit(..., resume='file') goes on where a training has ended."
            ) from error

    @staticmethod
    def part() -> None:
        """Leave the others, which would wait for this process forever."""
        if dist.is_initialized():
            dist.destroy_process_group()

    # What has to be the same -----------------------------------------------------

    def check_same(self, facts: Mapping[str, str], advice: str) -> None:
        """Refuse to train what differs between the processes."""
        others = self.gather_objects(dict(facts))
        for name in facts:
            told = [other.get(name) for other in others]
            if len(set(told)) > 1:
                first = next(rank for rank, v in enumerate(told) if v != told[0])
                values = f": {told[0]} in process 0, {told[first]} in {first}"
                if len(values) > _LONGEST:
                    values = ""
                raise ValueError(
                    f"{name} differs between the processes{values}. {advice}"
                )

    def agree_to_stop(self, wants_to_stop: bool, weights: Iterable[Tensor]) -> bool:
        """Tell whether a process ends the training, and check that weights agree."""
        norms = [float(w.detach().double().norm()) for w in weights]
        told = self.gather_objects((wants_to_stop, norms))
        found = np.array([norm for _, norm in told])
        if not np.allclose(found, found[0], rtol=_TOLERANCE, atol=0, equal_nan=True):
            raise RuntimeError(
                "The weights of the processes have drifted apart. Something changes "
                "them, or their gradients, in one process only, such as a callback or "
                "a module that draws numbers of its own."
            )
        return any(wants for wants, _ in told)

    def draw_apart(self, n_epochs: int = 0) -> None:
        """Let this process vary its samples otherwise than the first one does."""
        for device in ("cpu", self.device.type):
            generator = own_generator(torch.device(device))
            if self.rank and generator is not None:
                state = np.random.SeedSequence(
                    [generator.initial_seed(), self.rank, n_epochs]
                )
                generator.manual_seed(int(state.generate_state(1, np.uint64)[0] >> 1))

    @contextlib.contextmanager
    def drawing_alike(self) -> Iterator[None]:
        """Draw as the first process does."""
        generator = own_generator()
        if generator is None:
            raise RuntimeError("A training over processes needs a seed.")
        own = generator.get_state()
        generator.set_state(self.from_first(own))
        try:
            yield
        finally:
            if self.rank:
                generator.set_state(own)

    # Batch norm ------------------------------------------------------------------

    def normalize(self, layer: Any, x: Tensor) -> Tensor:
        if not layer.training:
            return type(layer).forward(layer, x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            axes = [0, *range(2, x.ndim)]
            # The sums of squares are those about a number near the mean.
            about = torch.zeros(x.shape[1], device=x.device)
            if layer.running_mean is not None:
                about = layer.running_mean.detach().clone()
            shape = [-1, *[1] * (x.ndim - 2)]
            moved = values - about.view(shape)
            count = x.numel() / x.shape[1]
            sums = torch.stack([moved.sum(axes), moved.square().sum(axes)])
            sums = torch.cat([sums.flatten(), sums.new_tensor([count])])
            sums = _Sum.apply(sums, self)
            total = sums[-1].detach()
            first, second = (sums[:-1] / total).view(2, -1)
            variance = (second - first.square()).clamp_min(0)
            self._note_statistics(layer, about + first, variance, float(total))
            scale = (variance + layer.eps).rsqrt()
            if layer.affine:
                scale = scale * layer.weight
            offset = -first * scale
            if layer.affine:
                offset = offset + layer.bias
            return torch.addcmul(offset.view(shape), moved, scale.view(shape)).to(
                x.dtype
            )

    @staticmethod
    @torch.no_grad()
    def _note_statistics(
        layer: Any, mean: Tensor, variance: Tensor, count: float
    ) -> None:
        """Update the running statistics as torch's layers do."""
        if layer.running_mean is None:
            return
        layer.num_batches_tracked.add_(1)
        share = layer.momentum
        if share is None:
            share = 1.0 / float(layer.num_batches_tracked)
        variance = variance * count / max(1.0, count - 1)
        layer.running_mean.lerp_(mean.to(layer.running_mean), share)
        layer.running_var.lerp_(variance.to(layer.running_var), share)


class Deal:
    """How many samples of each batch each process has.

    Attributes
    ----------
    sizes : ndarray of shape (n_batches, n_ranks)
        Samples of each process in each batch.
    totals : ndarray of shape (n_batches,)
        Different samples of all processes together.
    ends : ndarray of shape (n_batches,)
        Where the batches of this process end among its samples.
    """

    def __init__(self, rank: int, sizes: np.ndarray, totals: np.ndarray) -> None:
        self.sizes = sizes
        self.totals = totals
        self.ends = np.cumsum(sizes[:, rank])


class _Sum(torch.autograd.Function):
    """Sum over the processes, with its gradient."""

    @staticmethod
    def forward(context: Any, values: Tensor, ranks: Ranks) -> Tensor:
        context.ranks = ranks
        return ranks.sum(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.ranks.sum(gradient), None


@contextlib.contextmanager
def batch_norms_of_all(ranks: Ranks, parts: Iterable[Any]) -> Iterator[None]:
    """Let batch norms take the statistics of the samples of all processes."""
    if ranks.is_shared:
        yield
        return
    layers: list[Any] = [
        layer
        for part in parts
        if isinstance(part, nn.Module)
        for layer in part.modules()
        if isinstance(layer, _BATCH_NORMS) and "forward" not in vars(layer)
    ]
    # Sums over processes end a graph anyway. As a decorator, `disable` would make each
    # import of the package import torch's compiler.
    normalize = torch.compiler.disable(ranks.normalize)
    for layer in layers:
        layer.forward = partial(normalize, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
