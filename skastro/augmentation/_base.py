# SPDX-License-Identifier: BSD-3-Clause
"""Base classes of augmentations, and functions for arrays, seeds and random draws."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from numbers import Integral
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from skastro.utils import own_generator, plain_array, row_batches

Batch = TypeVar("Batch", torch.Tensor, np.ndarray)
Seed: TypeAlias = torch.Generator | np.random.RandomState | int | None


class BatchAugmentation(ABC):
    """Base class of augmentations, which change whole batches at random.

    A class of your own derives from this one, or from :class:`SpectrumAugmentation` or
    :class:`ImageAugmentation`, which check the shape and the dtype of a batch first.
    Its ``__init__`` stores the parameters as attributes of the same names. Its method
    ``_augment(batch, generator)`` receives a Tensor that is not empty, which it must
    not change, and a :class:`torch.Generator`, or None for torch's global generator. It
    returns a new Tensor of the same shape and dtype on the same device. It should draw
    the random numbers for all samples at once, on ``batch.device``.

    Instances are callable with tensors and numpy arrays. Use them as ``augment`` of the
    estimators, as ``noise`` of the samplers and in :class:`Compose`.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import BatchAugmentation
    >>> class Negate(BatchAugmentation):
    ...     def __init__(self, probability=0.5):
    ...         self.probability = probability
    ...
    ...     def _augment(self, batch, generator):
    ...         shape = (len(batch), *[1] * (batch.ndim - 1))
    ...         drawn = torch.rand(shape, generator=generator, device=batch.device)
    ...         return torch.where(drawn < self.probability, -batch, batch)
    >>> Negate()
    Negate(probability=0.5)
    >>> Negate()(torch.ones(3, 2), generator=0)
    tensor([[-1., -1.],
            [ 1.,  1.],
            [-1., -1.]])
    """

    def __call__(self, batch: Batch, *, generator: Seed = None) -> Batch:
        """Augment a batch.

        Parameters
        ----------
        batch : Tensor or ndarray of shape (n_samples, ...)
            The samples, which are not changed.
        generator : torch.Generator, RandomState instance or int, default=None
            Source of randomness: a generator on the batch's device, or a seed. None is
            torch's global generator, and in a training that of the estimator.

        Returns
        -------
        augmented : Tensor or ndarray of the same shape and dtype
            New samples.
        """
        if isinstance(batch, np.ndarray):
            generator = _as_generator(generator, torch.device("cpu"))
            return augment_array(partial(self, generator=generator), batch)
        if not isinstance(batch, torch.Tensor):
            raise TypeError(
                f"{type(self).__name__} takes torch tensors and numpy arrays, but got "
                f"{type(batch).__name__}: convert it, for instance by numpy.asarray."
            )
        self._check_batch(batch)
        generator = _as_generator(generator, batch.device)
        # torch warns about statistics of empty batches.
        return self._augment(batch, generator) if len(batch) else batch.clone()

    @abstractmethod
    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Return the augmented batch; see the class."""

    def _check_batch(self, batch: torch.Tensor) -> None:  # noqa: B027
        """Refuse a batch of the wrong shape or dtype; a subclass may do so."""

    def __repr__(self) -> str:
        """Show the parameters."""
        parameters = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in signature(type(self)).parameters
            if hasattr(self, name)
        )
        return f"{type(self).__name__}({parameters})"


class SpectrumAugmentation(BatchAugmentation):
    """Base class of augmentations of spectra; see :class:`BatchAugmentation`.

    ``_augment`` receives flux of shape (n_samples, length) or (n_samples, n_channels,
    length), in floating point. Other batches raise ValueError or TypeError.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import SpectrumAugmentation
    >>> class Reverse(SpectrumAugmentation):
    ...     def _augment(self, batch, generator):
    ...         return batch.flip(-1)
    >>> Reverse()(np.array([[1.0, 2.0, 3.0]]))
    array([[3., 2., 1.]])
    """

    def _check_batch(self, batch: torch.Tensor) -> None:
        if batch.ndim not in (2, 3) or batch.shape[-1] == 0:
            raise ValueError(
                f"{type(self).__name__} takes spectra of shape (n_samples, length) or "
                f"(n_samples, n_channels, length), but got {tuple(batch.shape)}."
            )
        if not batch.is_floating_point():
            raise TypeError(
                f"{type(self).__name__} needs flux in floating point, but got "
                f"{batch.dtype}: convert it to float32."
            )


class ImageAugmentation(BatchAugmentation):
    """Base class of augmentations of images; see :class:`BatchAugmentation`.

    ``_augment`` receives images of shape (n_samples, n_channels, height, width), in
    floating point. Estimators of images divide bytes by 255 first. Other batches raise
    ValueError or TypeError.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import ImageAugmentation
    >>> class Transpose(ImageAugmentation):
    ...     def _augment(self, batch, generator):
    ...         return batch.transpose(-1, -2)
    >>> Transpose()(torch.arange(4.0).reshape(1, 1, 2, 2))
    tensor([[[[0., 2.],
              [1., 3.]]]])
    """

    def _check_batch(self, batch: torch.Tensor) -> None:
        check_images(batch, type(self).__name__)
        if not batch.is_floating_point():
            raise TypeError(
                f"{type(self).__name__} needs images in floating point, but got "
                f"{batch.dtype}: convert them to float32, and divide bytes by 255."
            )


class Compose(BatchAugmentation):
    """Apply augmentations in their order.

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

    def __init__(self, operations: Sequence[Callable[..., torch.Tensor]]) -> None:
        for operation in operations:
            if not callable(operation):
                raise TypeError(
                    f"Operations must be callable, but got {operation!r} of type "
                    f"{type(operation).__name__}."
                )
        self.operations = operations

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        for operation in self.operations:
            batch = operation(batch, generator=generator)
        return batch


def check_images(batch: torch.Tensor, caller: str) -> None:
    """Refuse a tensor that holds no images, or images without pixels."""
    if batch.ndim != 4 or 0 in batch.shape[1:]:
        raise ValueError(
            f"{caller} takes images of shape (n_samples, n_channels, height, width), "
            f"but got {tuple(batch.shape)}. Move channels from the last axis by "
            "movedim(-1, 1), and add an axis for one channel by [:, None]."
        )


def augment_array(
    operation: Callable[[torch.Tensor], torch.Tensor], array: np.ndarray
) -> np.ndarray:
    """Apply an operation on tensors to a numpy array, a few hundred kilobytes at once.

    Parameters
    ----------
    operation : callable
        Takes a batch, a Tensor of shape (n_samples, ...), and returns one of that
        shape, as the parameter ``augment`` of estimators.
    array : ndarray of shape (n_samples, ...)
        The samples, which are not changed.

    Returns
    -------
    augmented : ndarray of the same shape and dtype
        New samples.

    Raises
    ------
    ValueError
        If the operation returns another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import augment_array
    >>> augment_array(lambda flux: flux.flip(-1), np.arange(3.0)[None])
    array([[2., 1., 0.]])
    """
    array = plain_array(array)
    augmented = np.empty(array.shape, dtype=array.dtype)
    for rows in row_batches(array.shape):
        # A copy, so that no operation can write into the caller's array.
        batch = torch.tensor(np.ascontiguousarray(array[rows]))
        block = operation(batch)
        if block.shape != batch.shape:
            raise ValueError(
                f"An operation must keep the shape of a batch, but {operation!r} made "
                f"{tuple(block.shape)} of {tuple(batch.shape)}."
            )
        augmented[rows] = block.numpy()
    return augmented


def draw_uniform(
    batch: torch.Tensor, generator: torch.Generator | None, size: int = 1
) -> torch.Tensor:
    """Draw numbers from 0 to below 1 for each sample, shape (n_samples, [1,] size).

    The channels of a sample share them. They have at least single precision, because
    half precision cannot resolve the pixels of a spectrum.
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


def _as_generator(generator: Seed, device: torch.device) -> torch.Generator | None:
    if generator is None:
        return own_generator(device)
    if isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, np.random.RandomState):
        generator = generator.randint(np.iinfo(np.int32).max)
    if not isinstance(generator, Integral):
        raise TypeError(
            "generator must be a torch.Generator, a numpy.random.RandomState, an int "
            f"or None, but got {generator!r}."
        )
    return torch.Generator(device).manual_seed(int(generator))
