# SPDX-License-Identifier: BSD-3-Clause
"""What estimators of images share: the layout of X, and its normalisation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from skorch.dataset import unpack_data

from skastro._compat import StrOptions
from skastro.augmentation import IMAGE_AUGMENTATIONS, image_symmetries
from skastro.estimators._image_batches import (
    ImageBatches,
    channel_constants,
    sky_of,
    some_samples,
)

# In units of the sky's noise. Where the compression begins at the noise itself, the
# network learns radii, profiles and magnitudes less well.
_SOFTENING = 10.0
# Mean and deviation of the colours of ImageNet's images, of bytes divided by 255, by
# which torchvision's networks are trained.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageInput(ImageBatches):
    """Images in X: where their channels are, how they are normalised and turned."""

    # Of estimators that do not offer them as parameters.
    normalization: str | None = "training"
    stretch: str | None = None
    tta: bool | str = False
    _augmentations: ClassVar[Mapping[str, Callable]] = IMAGE_AUGMENTATIONS
    _module_ndim = 2
    _image_constraints: ClassVar[dict] = {
        **ImageBatches._layout_constraints,
        "normalization": [None, StrOptions({"training", "imagenet"})],
        "stretch": [None, StrOptions({"asinh"})],
        "augment": [None, callable, StrOptions(set(IMAGE_AUGMENTATIONS))],
        "tta": ["boolean", StrOptions({"rotations"})],
    }

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        shape = list(self._image_shape_of(sample_shape))
        n_channels = shape.pop(self._axis_in_sample()) if len(shape) == 3 else 1
        if self.normalization == "imagenet" and n_channels != 3:
            raise ValueError(
                "normalization='imagenet' is for images of 3 channels, but X has "
                f"{n_channels}. Take normalization='training'."
            )
        if self.stretch is not None and not self._sizes_taken():
            raise ValueError(
                f"stretch={self.stretch!r} doubles the channels, but the module takes "
                "no sizes and gets X as it is. Let its __init__ take n_channels, or "
                "take stretch=None."
            )
        if self.stretch is not None:
            n_channels *= 2
        return {"n_channels": n_channels, "input_size": tuple(shape)}

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        # Scores during a training are to cost little.
        if not self.tta or self._is_training():
            yield from super()._predict_batches(X, function, check=check)
            return

        def step(piece: Any) -> torch.Tensor:
            X, y = unpack_data(piece)
            # Once, not once for each view. torch cannot turn all kinds of integers.
            X = self._send(X)
            X = X if X.dtype is torch.uint8 else X.float()
            views: Iterable[torch.Tensor] = [X]
            # Rows of numbers that nobody calls images have no symmetries.
            if X.ndim > 2 or self.image_shape is not None:
                images = image_symmetries(self._to_images(X), flips=self.tta is True)
                views = (self._to_samples(view, X.shape) for view in images)
            total, n_views = 0, 0
            for view in views:
                output = self.evaluation_step((view, y))
                output = output[0] if isinstance(output, tuple) else output
                total, n_views = total + function(output), n_views + 1
            return total / n_views

        yield from self._run_batches(step, X, check=check)

    def _augment(self, X: torch.Tensor) -> torch.Tensor:
        # Rows of numbers that nobody calls images have no symmetries.
        if isinstance(self.augment, str) and X.shape[1] == X.shape[2] == 1:
            return X
        return super()._augment(X)

    def _augment_as_given(self, X: torch.Tensor) -> torch.Tensor:
        # The operations know images of one layout and, of bytes, one scale.
        images = self._augment(self._normalize(X))
        unit = 255 if X.dtype == torch.uint8 else 1
        return self._to_samples(images, X.shape) * unit

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        X = self._to_images(X)
        return X.float() / 255 if X.dtype == torch.uint8 else X.float()

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        mean, scale = channel_constants(
            tuple(self.channel_mean_.tolist()),
            tuple(self.channel_scale_.tolist()),
            X.device,
        )
        return (self._add_stretched(X) - mean) / scale

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if self._takes_sizes:
            self._require_learned("channel_mean_", "channel_scale_")

    def _add_stretched(self, X: torch.Tensor) -> torch.Tensor:
        """Put compressed copies behind the channels, where the fit asked for them."""
        if not hasattr(self, "channel_sky_"):
            return X
        sky, softening = channel_constants(
            tuple(self.channel_sky_.tolist()),
            tuple(self.channel_softening_.tolist()),
            X.device,
        )
        return torch.cat([X, torch.asinh((X - sky) / softening)], dim=1)

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Measure the channels of the training images."""
        super()._learn_from_training_data(dataset)
        if not self._takes_sizes or hasattr(self, "channel_mean_"):
            return
        if self.stretch is not None:
            self.channel_sky_, noise = sky_of(self._some_images(dataset))
            self.channel_softening_ = _SOFTENING * noise
        n_pixels, total, squares = 0, np.float64(0), np.float64(0)
        for X in self._some_images(dataset):
            X = self._add_stretched(X)
            n_pixels += X[:, 0].numel()
            total += X.sum(dim=(0, 2, 3)).numpy()
            squares += X.square().sum(dim=(0, 2, 3)).numpy()
        mean = total / n_pixels
        variance = squares / n_pixels - mean**2
        # Of a channel with one value rounding leaves something, above or below zero.
        flat = variance <= 1e-12 * squares / n_pixels
        scale = np.where(flat, 1.0, np.sqrt(np.abs(variance)))
        if self.normalization != "training":
            # Nobody knows beforehand what the compressed copies behind will be like.
            own = slice(len(mean) // (1 if self.stretch is None else 2))
            mean[own], scale[own] = (
                _IMAGENET if self.normalization == "imagenet" else (0.0, 1.0)
            )
        self.channel_mean_, self.channel_scale_ = mean, scale

    def _some_images(self, dataset: Any) -> Iterator[torch.Tensor]:
        """Yield some training images, bytes divided by 255, in double precision."""
        for images in some_samples(dataset):
            X = self._to_images(torch.as_tensor(images))
            yield X.double() / (255 if X.dtype == torch.uint8 else 1)
