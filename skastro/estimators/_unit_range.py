# SPDX-License-Identifier: BSD-3-Clause
"""Spectra and images brought to the range from -1 to 1, and back."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from skastro._compat import StrOptions
from skastro.augmentation import AUGMENTATIONS, IMAGE_AUGMENTATIONS
from skastro.estimators._image_batches import (
    ImageBatches,
    channel_constants,
    sky_of,
    some_samples,
)
from skastro.training import separate_weight

# In units of the sky's noise: what is fainter is shown in proportion to its flux.
_SOFTENING = 3.0


class UnitRange(ImageBatches):
    """What the module sees lies between -1 and 1, by the training samples' limits.

    Rows of numbers are spectra unless ``image_shape`` says that they are images.
    """

    _range_constraints: ClassVar[dict] = {
        **ImageBatches._layout_constraints,
        "stretch": [None, StrOptions({"asinh"})],
        "augment": [
            None,
            callable,
            StrOptions({*AUGMENTATIONS, *IMAGE_AUGMENTATIONS}),
        ],
    }

    @property
    def _holds_spectra(self) -> bool:
        return self.image_shape is None and len(getattr(self, "sample_shape_", ())) == 1

    @property
    def _module_ndim(self) -> int:
        return 1 if self._holds_spectra else 2

    @property
    def _augmentations(self) -> Mapping[str, Callable]:
        return AUGMENTATIONS if self._holds_spectra else IMAGE_AUGMENTATIONS

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        shape = list(self._image_shape_of(sample_shape))
        n_channels = shape.pop(self._axis_in_sample()) if len(shape) == 3 else 1
        if isinstance(self.augment, str) and self.augment not in self._augmentations:
            known = ", ".join(map(repr, sorted(self._augmentations)))
            kind = "spectra" if self._holds_spectra else "images"
            raise ValueError(
                f"augment={self.augment!r} is not for {kind}, which X holds; those "
                f"for {kind} are {known}. Rows of numbers are taken as images where "
                "image_shape is given."
            )
        size = shape[1] if self._holds_spectra else tuple(shape)
        return {"n_channels": n_channels, "input_size": size}

    # There and back -------------------------------------------------------------

    def _prepare(self, x: Any) -> torch.Tensor:
        """Scale a batch; in the layout of X for modules that take no sizes."""
        x, _ = separate_weight(x)
        x = self._send(x)
        shape = x.shape
        x = self._to_images(x).float()
        if self._augments_now:
            x = self._vary(x / self.channel_unit_) * self.channel_unit_
        x = self._scale(x)
        if not self._takes_sizes:
            return self._to_samples(x, shape)
        return x[:, :, 0] if self._holds_spectra else x

    def _vary(self, images: torch.Tensor) -> torch.Tensor:
        if self._holds_spectra:
            return self._augment(images[:, :, 0])[:, :, None]
        return self._augment(images)

    def _to_units_of_X(self, batch: torch.Tensor) -> torch.Tensor:
        """Undo ``_prepare`` for what the module gives back."""
        shape = torch.Size([len(batch), *self.sample_shape_])
        if not self._takes_sizes:
            images = self._to_images(batch.reshape(shape))
        elif self._holds_spectra:
            images = batch[:, :, None]
        else:
            images = batch
        return self._to_samples(self._unscale(images), shape)

    def _scale(self, images: torch.Tensor) -> torch.Tensor:
        sky, softening, low, high = self._range_on(images.device)
        if self._is_stretched:
            images = torch.asinh((images - sky) / softening)
        return (images - low) * (2 / (high - low)) - 1

    def _unscale(self, images: torch.Tensor) -> torch.Tensor:
        sky, softening, low, high = self._range_on(images.device)
        images = (images + 1) * ((high - low) / 2) + low
        if self._is_stretched:
            images = torch.sinh(images) * softening + sky
        return images

    @property
    def _is_stretched(self) -> bool:
        return hasattr(self, "channel_sky_")

    def _range_on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        self._check_state_is_complete()
        low, high = self.channel_low_, self.channel_high_
        sky, softening = np.zeros_like(low), np.ones_like(low)
        if self._is_stretched:
            sky, softening = self.channel_sky_, self.channel_softening_
            low, high = (np.arcsinh((edge - sky) / softening) for edge in (low, high))
        return tuple(
            constant
            for pair in ((sky, softening), (low, high))
            for constant in channel_constants(
                tuple(pair[0].tolist()), tuple(pair[1].tolist()), device
            )
        )

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        self._require_learned("channel_low_", "channel_high_")

    # Learning the range -----------------------------------------------------------

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Measure the limits of the training samples."""
        super()._learn_from_training_data(dataset)
        if hasattr(self, "channel_low_"):
            return

        def batches() -> Any:
            for samples in some_samples(dataset):
                yield self._to_images(torch.as_tensor(samples))

        are_bytes = next(batches()).dtype == torch.uint8
        if self.stretch is not None:
            self.channel_sky_, noise = sky_of(map(torch.Tensor.double, batches()))
            self.channel_softening_ = _SOFTENING * noise
        if are_bytes:
            n_channels = self.module_sizes_["n_channels"]
            low, high = np.zeros(n_channels), np.full(n_channels, 255.0)
        else:
            limits = [
                (
                    images.amin(dim=(0, 2, 3)).numpy(),
                    images.amax(dim=(0, 2, 3)).numpy(),
                )
                for images in map(torch.Tensor.double, batches())
            ]
            low = np.min([low for low, _ in limits], axis=0)
            high = np.max([high for _, high in limits], axis=0)
            # A channel of one value has no range of its own.
            high = np.where(high > low, high, low + np.maximum(np.abs(low), 1.0))
        self.channel_unit_ = 255.0 if are_bytes else 1.0
        self.channel_low_, self.channel_high_ = low, high
