# SPDX-License-Identifier: BSD-3-Clause
"""What the operations have in common: tensors and arrays in, seeds, draws."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import TypeVar

import numpy as np
import torch

from skastro.utils import plain_array, row_batches

Batch = TypeVar("Batch", torch.Tensor, np.ndarray)
Seed = torch.Generator | np.random.RandomState | int | None


class BatchOperation(ABC):
    """Template of an operation on batches.

    Subclasses define `_vary` for tensors. What is drawn at random is drawn for all
    samples at once, on the batch's device.
    """

    def __call__(self, batch: Batch, *, generator: Seed = None) -> Batch:
        """Vary a batch.

        Parameters
        ----------
        batch : Tensor or ndarray of shape (n_samples, ...)
            The samples, which are left as they are.
        generator : torch.Generator, RandomState instance or int, default=None
            Where to draw from: a generator on the batch's device, or a seed. None is
            torch's global generator.

        Returns
        -------
        varied : Tensor or ndarray of the same shape and dtype
            New samples.
        """
        if isinstance(batch, np.ndarray):
            generator = _as_generator(generator, torch.device("cpu"))
            return vary_array(partial(self, generator=generator), batch)
        if not isinstance(batch, torch.Tensor):
            raise TypeError(
                f"{type(self).__name__} varies torch tensors and numpy arrays, but got "
                f"{type(batch).__name__}: convert it, for instance by numpy.asarray."
            )
        return self._vary(batch, _as_generator(generator, batch.device))

    @abstractmethod
    def _vary(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Vary a tensor, and leave it as it is."""


class SpectrumOperation(BatchOperation):
    """Template of an operation on spectra; subclasses define `_vary_spectra`."""

    def _vary(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        if batch.ndim not in (2, 3) or batch.shape[-1] == 0:
            raise ValueError(
                f"{type(self).__name__} varies spectra of shape (n_samples, length) or "
                f"(n_samples, n_channels, length), but got {tuple(batch.shape)}."
            )
        if not batch.is_floating_point():
            raise TypeError(
                f"{type(self).__name__} needs flux in floating point, but got "
                f"{batch.dtype}: convert it to float32."
            )
        # torch warns of statistics of nothing.
        return self._vary_spectra(batch, generator) if len(batch) else batch.clone()

    @abstractmethod
    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Vary flux of shape (n_samples, [n_channels,] length)."""


class ImageOperation(BatchOperation):
    """Template of an operation on images; subclasses define `_vary_images`."""

    def _vary(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        check_images(batch, type(self).__name__)
        if not batch.is_floating_point():
            raise TypeError(
                f"{type(self).__name__} needs images in floating point, but got "
                f"{batch.dtype}: convert them to float32, and divide bytes by 255."
            )
        return self._vary_images(batch, generator) if len(batch) else batch.clone()

    @abstractmethod
    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Vary images of shape (n_samples, n_channels, height, width)."""


def check_images(batch: torch.Tensor, caller: str) -> None:
    """Refuse a tensor that holds no images, or images without pixels."""
    if batch.ndim != 4 or 0 in batch.shape[1:]:
        raise ValueError(
            f"{caller} takes images of shape (n_samples, n_channels, height, width), "
            f"but got {tuple(batch.shape)}. Channels in the last place are moved by "
            "movedim(-1, 1), images of one channel get theirs by [:, None]."
        )


def vary_array(
    operation: Callable[[torch.Tensor], torch.Tensor], array: np.ndarray
) -> np.ndarray:
    """Apply an operation on tensors to a numpy array, a few hundred kilobytes at once.

    Parameters
    ----------
    operation : callable
        Takes a batch, a Tensor of shape (n_samples, ...), and returns one of that
        shape: whatever ``augment=`` takes.
    array : ndarray of shape (n_samples, ...)
        The samples, which are left as they are.

    Returns
    -------
    varied : ndarray of the same shape and dtype
        New samples.

    Raises
    ------
    ValueError
        If the operation returns another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import vary_array
    >>> vary_array(lambda flux: flux.flip(-1), np.arange(3.0)[None])
    array([[2., 1., 0.]])
    """
    array = plain_array(array)
    varied = np.empty(array.shape, dtype=array.dtype)
    for rows in row_batches(array.shape):
        # A copy, so that no operation can write into the caller's array.
        batch = torch.tensor(np.ascontiguousarray(array[rows]))
        block = operation(batch)
        if block.shape != batch.shape:
            raise ValueError(
                f"An operation must keep the shape of a batch, but {operation!r} made "
                f"{tuple(block.shape)} of {tuple(batch.shape)}."
            )
        varied[rows] = block.numpy()
    return varied


def draw_uniform(
    batch: torch.Tensor, generator: torch.Generator | None, size: int = 1
) -> torch.Tensor:
    """Draw numbers from 0 to below 1 for each sample, shape (n_samples, [1,] size).

    The channels of a sample share them. At least single precision, because half
    precision could not tell the pixels of a spectrum apart.
    """
    return torch.rand(
        len(batch),
        *[1] * (batch.ndim - 2),
        size,
        generator=generator,
        device=batch.device,
        dtype=torch.promote_types(batch.dtype, torch.float32),
    )


def draw_below(
    limit: int | torch.Tensor,
    batch: torch.Tensor,
    generator: torch.Generator | None,
    size: int = 1,
) -> torch.Tensor:
    """Draw whole numbers from 0 to below a limit for each sample."""
    # The largest single-precision number below 1, times a whole number below 2**24,
    # is never rounded up to that whole number.
    return (draw_uniform(batch, generator, size) * limit).long()


def check_number(
    name: str, value: float, low: float = 0.0, high: float = float("inf")
) -> None:
    """Refuse a parameter that is no number, or not within its bounds."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, but got {value!r}.")
    if not (low <= value <= high and value < float("inf")):
        to = "or more" if high == float("inf") else f"to {high:g}"
        raise ValueError(f"{name} must be {low:g} {to}, but got {value!r}.")


def _as_generator(generator: Seed, device: torch.device) -> torch.Generator | None:
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, np.random.RandomState):
        generator = generator.randint(np.iinfo(np.int32).max)
    if not isinstance(generator, Integral):
        raise TypeError(
            "generator must be a torch.Generator, a numpy.random.RandomState, an int "
            f"or None, but got {generator!r}."
        )
    return torch.Generator(device).manual_seed(int(generator))
