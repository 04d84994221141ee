# SPDX-License-Identifier: BSD-3-Clause
"""Several operations, one after the other."""

from collections.abc import Callable, Sequence

import torch

from skastro.augmentation._base import BatchOperation

Operation = Callable[..., torch.Tensor]


class Compose(BatchOperation):
    """Apply operations in their order.

    Parameters
    ----------
    operations : sequence of callables
        Each takes a batch, a Tensor of shape (n_samples, ...), and the keyword
        ``generator``, and returns a batch of the same shape.

    Raises
    ------
    TypeError
        If something in the sequence cannot be called.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import Compose, GaussianNoise, ShiftSpectra
    >>> augment = Compose([GaussianNoise(0.1), ShiftSpectra(0.01)])
    >>> augment(torch.ones(4, 1000)).shape
    torch.Size([4, 1000])
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if not callable(operation):
                raise TypeError(
                    f"Operations must be callable, but got {operation!r} of type "
                    f"{type(operation).__name__}."
                )
        self.operations = operations

    def _vary(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        for operation in self.operations:
            batch = operation(batch, generator=generator)
        return batch

    def __repr__(self) -> str:
        """Name the operations."""
        return f"Compose({list(self.operations)!r})"
