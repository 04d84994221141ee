# SPDX-License-Identifier: BSD-3-Clause
"""The strict net's computing: batches through the module, losses, predictions."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import is_dataset, to_device

from skastro.augmentation import AUGMENTATIONS
from skastro.base._door import check_X_y
from skastro.streaming import predict_stream
from skastro.training import (
    BatchIterator,
    NotFiniteError,
    PieceByPiece,
    concatenate,
    fast_kernels,
    resolve_precision,
)
from skastro.utils import check_finite, plain_array

# Outputs of a prediction stay on the device until they take this many bytes, so that
# the host does not wait for each batch.
_OUTPUTS_ON_DEVICE = 2**28
# The C library keeps larger blocks apart.
_SMALL = 2**17


class Computing(NeuralNet):
    """What happens to a batch between the iterator and the loss."""

    # Set while a training step runs; a class attribute, so that it is in no pickle.
    _varies_batches = False
    # Whether outputs are measurements, whose every digit counts.
    _measures = False
    # What the names mean that ``augment`` takes.
    _augmentations: ClassVar[Mapping[str, Callable]] = AUGMENTATIONS

    @property
    def _torch_device(self) -> torch.device:
        """Where the module is; with ``device=None`` wherever the user has put it."""
        if self.device is not None:
            return torch.device(self.device)
        weights = next(self.module_.parameters(), None)
        return torch.device("cpu") if weights is None else weights.device

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        """Bring a batch on the device to the numbers that augmentation expects."""
        return X

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        """Bring a batch into the layout ``(batch, channels, length)``."""
        return X[:, None] if X.ndim == 2 else X

    def _augment(self, X: torch.Tensor) -> torch.Tensor:
        augment = self.augment
        if isinstance(augment, str):
            augment = self._augmentations[augment]
        varied = augment(X)
        # One image channel in place of three, say, would be taken for all of them.
        if not isinstance(varied, torch.Tensor) or varied.shape != X.shape:
            is_tensor = isinstance(varied, torch.Tensor)
            gave = tuple(varied.shape) if is_tensor else type(varied).__name__
            raise ValueError(
                "augment must give a Tensor of the shape of the batch that it takes, "
                f"{tuple(X.shape)}, but {augment!r} gave {gave}."
            )
        return varied

    def _augment_as_given(self, X: torch.Tensor) -> torch.Tensor:
        """Vary a batch for a module that takes X as the user gave it."""
        return self._augment(X.float())

    def _send(self, x: Any) -> torch.Tensor:
        """Bring a batch, without the weights that may travel with it, to the device."""
        x = torch.as_tensor(x["X"] if isinstance(x, dict) else x)
        if x.dtype is torch.float64:
            # Half as much to send, and some devices have no float64.
            x = x.float()
        return to_device(x, self._torch_device)

    def _prepare(self, x: Any) -> torch.Tensor:
        """Make of a batch what the module takes, on its device."""
        x = self._send(x)
        # Arrays on disk and those of a user's own data sets come in any dtype.
        if self._takes_sizes:
            x = self._normalize(x).float()
            if self._varies_batches:
                x = self._augment(x)
            return self._to_module_layout(x)
        return self._augment_as_given(x) if self._varies_batches else x.float()

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Run the module on a batch.

        Parameters
        ----------
        x : Tensor or dict
            The batch; a dict where weights travel with it.
        **fit_params : dict
            Further arguments of the module's ``forward``.

        Returns
        -------
        y_pred : Tensor or tuple of Tensor
            The module's output, float32.
        """
        x = self._prepare(x)
        with self._autocast(self._torch_device, x[0].numel()):
            output = self.module_(x, **fit_params)
        if isinstance(output, tuple):
            return tuple(part.float() for part in output)
        return output.float()

    def _autocast_dtype(self, input_size: int) -> torch.dtype | None:
        return resolve_precision(
            self.precision, self._torch_device, input_size, self._n_weights
        )

    def _autocast(self, device: torch.device, input_size: int) -> Any:
        # Short formats round numbers to two or three digits, which is nothing to the
        # noise of gradients, but much to a measurement.
        if self._measures and self.precision == "auto" and not self.module_.training:
            return contextlib.nullcontext()
        dtype = self._autocast_dtype(input_size)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        """Compute a batch's loss, weighted where weights travel with X.

        Parameters
        ----------
        y_pred : Tensor
            The module's output.
        y_true : Tensor
            The encoded target.
        X : Tensor or dict, default=None
            The batch.
        **kwargs : dict
            ``training``, whether the step is one of training.

        Returns
        -------
        loss : Tensor of shape ()
            The mean over the batch.
        """
        if not isinstance(X, dict):
            return super().get_loss(y_pred, y_true, X=X, **kwargs)
        reduction = getattr(self.criterion_, "reduction", None)
        if reduction is None:
            raise TypeError(
                f"Sample and class weights need a criterion with a 'reduction', as "
                f"torch's losses have; {type(self.criterion_).__name__} has none."
            )
        self.criterion_.reduction = "none"
        try:
            loss = super().get_loss(y_pred, y_true, X=X["X"], **kwargs)
        finally:
            self.criterion_.reduction = reduction
        loss = loss.reshape(len(loss), -1).mean(dim=1)
        return (loss * to_device(X["sample_weight"], self.device)).mean()

    # Predicting -----------------------------------------------------------------

    def evaluation_step(self, batch: Any, training: bool = False) -> Any:
        """Run the module on a batch for prediction.

        Parameters
        ----------
        batch : tuple
            X and y.
        training : bool, default=False
            Leave dropout and the like active, and gradients on.

        Returns
        -------
        y_pred : Tensor or tuple of Tensor
            The module's output.
        """
        X, _ = unpack_data(batch)
        with torch.set_grad_enabled(training):
            self._set_training(training)
            output = self.infer(X)
        return output if training else _compact(output)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute a validation batch's outputs and loss.

        Parameters
        ----------
        batch : tuple
            X and y.
        **fit_params : dict
            Further arguments of the module.

        Returns
        -------
        step : dict
            ``loss`` and ``y_pred``.
        """
        step = super().validation_step(batch, **fit_params)
        return {**step, "y_pred": _compact(step["y_pred"])}

    def forward_iter(
        self,
        X: Any,
        training: bool = False,
        device: Any = "cpu",
        *,
        check: bool = False,
    ) -> Iterator[Any]:
        """Run the module on batch after batch.

        Parameters
        ----------
        X : array or dataset
            The input.
        training : bool, default=False
            Leave dropout and the like active, and gradients on.
        device : str or torch.device, default="cpu"
            Where to put the outputs.
        check : bool, default=False
            Refuse NaN and infinity in X. A data set of the user's own is not checked.

        Yields
        ------
        y_pred : Tensor or tuple of Tensor
            The module's output for the next samples. Where a batch is too large for
            the device's memory it is cut into pieces.
        """

        def step(piece: Any) -> Any:
            return self.evaluation_step(piece, training=training)

        for output in self._run_batches(step, X, check=check):
            yield to_device(output, device=device)

    def _run_batches(
        self, step: Callable[[Any], Any], X: Any, *, check: bool
    ) -> Iterator[Any]:
        """Yield what a step gives for batch after batch."""
        self.check_is_fitted()
        pieces = PieceByPiece("iterator_valid__batch_size")
        # In the samples' order, whatever the mode of the layers.
        iterator = self.get_iterator(self.get_dataset(X), training=False)
        if check and isinstance(iterator, BatchIterator):
            iterator.checks_finite = True
        elif check:
            check_finite(X, advice=self._finite_advice)
        try:
            for batch in iterator:
                yield concatenate([output for _, output in pieces.run(step, batch)])
        except NotFiniteError:
            # Says in which rows.
            check_finite(X, advice=self._finite_advice)
            raise

    def _predict_outputs(self, X: Any, function: Callable | None = None) -> np.ndarray:
        """Gather a function of all outputs; None stands for the nonlinearity."""
        is_array = not (is_dataset(X) or isinstance(X, dict))
        if is_array:
            X, _ = check_X_y(self, X, reset=False, finite=False)
        if function is None:
            function = self._get_predict_nonlinearity()
        device = self._torch_device
        waiting, done = [], []
        n_bytes = 0
        with fast_kernels(device, self.precision):
            for results in self._predict_batches(X, function, check=is_array):
                waiting.append(results)
                n_bytes += waiting[-1].nbytes
                if n_bytes > _OUTPUTS_ON_DEVICE:
                    done.append(torch.cat(waiting).cpu())
                    waiting, n_bytes = [], 0
            if not waiting and not done:
                raise ValueError("X has no samples; give at least one.")
            if waiting:
                done.append(torch.cat(waiting).cpu())
            return torch.cat(done).numpy() if len(done) > 1 else done[0].numpy()

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        """Yield a function of the outputs for batch after batch, on the device."""
        for output in self.forward_iter(
            X, training=False, device=self._torch_device, check=check
        ):
            output = output[0] if isinstance(output, tuple) else output
            # Those of a training step, kept for scoring, carry gradients.
            yield function(output.detach())

    def predict_stream(
        self,
        X: Any,
        chunk_size: int | None = None,
        *,
        out: str | os.PathLike,
        method: str = "auto",
        ids: Any = None,
        resume: bool = True,
        verbose: int = 1,
    ) -> Path:
        """Predict a catalogue larger than memory, chunk by chunk, into a file.

        An interrupted prediction goes on where it stopped when it is called again. See
        :func:`skastro.streaming.predict_stream` for the parameters and the layout of
        the file.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The input: an array, a memory map, an HDF5 data set.
        chunk_size : int, default=None
            Samples in a chunk; None takes about 64 MiB.
        out : str or path-like
            The file to write, ``.h5``, ``.hdf5`` or ``.csv``.
        method : str, default="auto"
            The estimator's method to call.
        ids : array-like of shape (n_samples,), default=None
            Names of the samples for the file's first column.
        resume : bool, default=True
            Whether to go on with an interrupted prediction.
        verbose : int, default=1
            0 shows no progress bar.

        Returns
        -------
        path : Path
            The file.
        """
        return predict_stream(
            self,
            X,
            chunk_size,
            out=out,
            method=method,
            ids=ids,
            resume=resume,
            verbose=verbose,
        )

    def module_input(self, X: Any) -> torch.Tensor:
        """Return what the module sees of X in prediction.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as ``predict`` takes them.

        Returns
        -------
        x : Tensor of shape (n_samples, n_channels, length) or \
                (n_samples, n_channels, height, width), float32
            The normalized samples, on the module's device: the argument of
            ``module_.forward``. A module that takes no sizes sees X in the shape in
            which it was given.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        X, _ = check_X_y(self, X, reset=False)
        # A copy, which the caller may change.
        return self._prepare(torch.tensor(plain_array(np.asarray(X[:]))))


def _compact(output: Any) -> Any:
    """Copy small outputs on the CPU, now that the feature maps are gone.

    Outputs are kept while large feature maps come and go. Where they were made, in the
    midst of those, they would leave holes into which no later map fits, and memory
    would grow with the number of batches.
    """
    if isinstance(output, tuple):
        return tuple(_compact(part) for part in output)
    is_tensor = isinstance(output, torch.Tensor) and output.device.type == "cpu"
    return output.clone() if is_tensor and output.nbytes < _SMALL else output
