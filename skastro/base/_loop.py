# SPDX-License-Identifier: BSD-3-Clause
"""The strict net's loop: epochs, training steps, gradients in short formats."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import unpack_data
from skorch.utils import TeeGenerator

from skastro.training import EpochProgress, PieceByPiece, Schedule, n_samples_in

_OF_BATCHES = ("on_batch_begin", "on_batch_end", "on_grad_computed")
# What callbacks do with batches that needs no losses.
_BLIND_TO_LOSSES = (
    *(getattr(Callback, name) for name in _OF_BATCHES),
    EpochProgress.on_batch_end,
    EpochScoring.on_batch_end,
    Schedule.on_batch_begin,
    Schedule.on_batch_end,
)


class TrainingLoop(NeuralNet):
    """skorch's loop, with less waiting and with room for errors.

    On a device other than the CPU losses are fetched once an epoch, unless a callback
    looks at each batch; batches that are too large for the device's memory are halved;
    gradients of float16 networks are scaled.
    """

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable,
        **fit_params: Any,
    ) -> None:
        """Run a step on every batch and record the losses.

        Parameters
        ----------
        iterator : iterable or None
            The batches; None does nothing.
        training : bool
            Whether the steps are of training.
        prefix : str
            Of the names in the history, ``"train"`` or ``"valid"``.
        step_fn : callable
            Takes a batch, returns a dict with ``loss`` and ``y_pred``.
        **fit_params : dict
            Further arguments of ``step_fn``.
        """
        if iterator is None:
            return
        wait = self._torch_device.type == "cpu" or self._losses_are_watched()
        # Kept over the epochs: what did not fit once would not fit the next time.
        pieces = vars(self).setdefault("_pieces", {}).setdefault(prefix, PieceByPiece())
        waiting: list[tuple[dict, str, torch.Tensor]] = []
        n_batches = 0

        def step_on(piece: Any) -> dict[str, Any]:
            self.notify("on_batch_begin", batch=piece, training=training)
            try:
                return step_fn(piece, **fit_params)
            except torch.OutOfMemoryError:
                # The batch begins anew, in halves.
                self.history[-1]["batches"].pop()
                self._zero_grad_optimizer()
                raise

        try:
            for batch in iterator:
                for piece, step in pieces.run(step_on, batch):
                    record = self.history[-1]["batches"][-1]
                    record[prefix + "_batch_size"] = n_samples_in(piece)
                    for term, value in {
                        "loss": step["loss"],
                        **self._terms_of_loss(),
                    }.items():
                        name, value = f"{prefix}_{term}", value.detach()
                        record[name] = value.item() if wait else None
                        if not wait:
                            waiting.append((record, name, value.reshape(())))
                    n_batches += 1
                    self.notify("on_batch_end", batch=piece, training=training, **step)
        finally:
            fetched = [value for *_, value in waiting]
            fetched = torch.stack(fetched).tolist() if fetched else []
            for (record, name, _), value in zip(waiting, fetched, strict=True):
                record[name] = value
        self.history.record(prefix + "_batch_count", n_batches)

    def _terms_of_loss(self) -> dict[str, torch.Tensor]:
        """Name the parts of the latest loss, for the history."""
        return {}

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call a method of the net and of every callback.

        Parameters
        ----------
        method_name : str
            Such as ``"on_batch_end"``.
        **kwargs : dict
            Its arguments.
        """
        if method_name not in _OF_BATCHES:
            super().notify(method_name, **kwargs)
            return
        getattr(self, method_name)(self, **kwargs)
        for listener in self._listeners(method_name):
            listener(self, **kwargs)

    def _listeners(self, method_name: str) -> list[Callable]:
        """Find the callbacks that do something with a batch, once for all batches."""
        known = vars(self).setdefault("_listening", {})
        callbacks, listeners = known.get(method_name, (None, ()))
        if callbacks is not self.callbacks_:
            listeners = [
                getattr(callback, method_name)
                for _, callback in self.callbacks_
                if getattr(type(callback), method_name, None)
                is not getattr(Callback, method_name)
                or method_name in vars(callback)
            ]
            known[method_name] = self.callbacks_, listeners
        return listeners

    def _losses_are_watched(self) -> bool:
        """Whether something may read a batch's loss before the epoch is over."""
        for name in _OF_BATCHES:
            if getattr(type(self), name) is not getattr(NeuralNet, name):
                return True
            for _, callback in self.callbacks_:
                method = getattr(type(callback), name, None)
                if method not in _BLIND_TO_LOSSES or name in vars(callback):
                    return True
        return False

    def _set_training(self, training: bool = True) -> None:
        # Setting the mode of all layers before every step takes longer than looking.
        parts = [getattr(self, name + "_") for name in self._modules + self._criteria]
        if any(
            layer.training != training
            for part in parts
            if isinstance(part, torch.nn.Module)
            for layer in part.modules()
        ):
            super()._set_training(training)

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute a batch's gradients and let the optimizer take a step.

        Parameters
        ----------
        batch : tuple
            X and y.
        **fit_params : dict
            Further arguments of the module's ``forward``.

        Returns
        -------
        step : dict
            ``loss`` and ``y_pred``.
        """
        scaler = self._gradient_scaler(batch)
        if scaler is None:
            return super().train_step(batch, **fit_params)
        optimizers = [getattr(self, name + "_") for name in self._optimizers]
        for optimizer in optimizers:
            _check_steps_alone(optimizer)
        self._zero_grad_optimizer()
        try:
            step = self.train_step_single(batch, **fit_params)
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
            self.notify(
                "on_grad_computed",
                named_parameters=TeeGenerator(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
        except BaseException:
            # Half-way through a step a scaler is of no more use.
            vars(self).pop("_scaler", None)
            raise
        return step

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Vary a training batch, then compute its loss and gradients.

        Parameters
        ----------
        batch : tuple
            X and y.
        **fit_params : dict
            Further arguments of the module's ``forward``.

        Returns
        -------
        step : dict
            ``loss`` and ``y_pred``.
        """
        self._set_training(True)
        X, y = unpack_data(batch)
        vars(self)["_varies_batches"] = self.augment is not None
        try:
            y_pred = self.infer(X, **fit_params)
        finally:
            del vars(self)["_varies_batches"]
        loss = self.get_loss(y_pred, y, X=X, training=True)
        scaler = self._gradient_scaler(batch)
        (loss if scaler is None else scaler.scale(loss)).backward()
        return {"loss": loss, "y_pred": y_pred}

    def _gradient_scaler(self, batch: Any) -> torch.amp.GradScaler | None:
        """Get the scaler that keeps small gradients above float16's smallest number."""
        # "auto" never means float16 on the CPU, where steps can be short.
        on_cpu = self._torch_device.type == "cpu"
        if self.precision != "float16" and (self.precision != "auto" or on_cpu):
            return None
        X, _ = unpack_data(batch)
        X = X["X"] if isinstance(X, dict) else X
        if self._autocast_dtype(X[0].numel()) is not torch.float16:
            return None
        if "_scaler" not in vars(self):
            self._scaler = torch.amp.GradScaler(self._torch_device.type)
        return self._scaler


def _check_steps_alone(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"{type(optimizer).__name__} computes the loss several times a step, which "
            "does not go with the scaled gradients of float16. Take "
            "precision='bfloat16' or 'float32'."
        )
