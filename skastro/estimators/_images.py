# SPDX-License-Identifier: BSD-3-Clause
"""What estimators of images share: layout, normalization, trained backbones."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import median_abs_deviation
from skorch import NeuralNet
from skorch.dataset import unpack_data

from skastro._compat import Interval, StrOptions
from skastro.augmentation import IMAGE_AUGMENTATIONS, image_symmetries
from skastro.base._backbone import BACKBONE_CONSTRAINTS
from skastro.base._parameters import validate_constraints
from skastro.estimators._scale import refuse_other_scale, size_of, warn_of_size
from skastro.training import find_source
from skastro.utils import ImageLayout, check_rows_are_images, linear_weights

# Enough images for a mean that is known to a thousandth of the scatter, taken in runs
# of neighbors, which are quick to read from a disk.
_N_SAMPLES = 4096
_RUN = 64
_PIXELS_IN_RUN = 2**15
# Larger images would take the memory of a machine, for a file of a few bytes.
_MOST_ALONG_SIDE = 2**12
# Enough to know the size of their numbers.
_N_FOR_SIZE = 256
# Numbers from 0 to 1 that were resampled may go so far.
_HIGHEST_OF_UNIT = 2.0
# In units of the sky's noise. Where the compression begins at the noise itself, the
# network learns radii, profiles and magnitudes less well.
_SOFTENING = 10.0
# Mean and deviation of the colors of ImageNet's images, of bytes divided by 255, by
# which torchvision's networks are trained.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageInput(NeuralNet):
    """Mixin of nets for images, to the left of the net's own base.

    It normalizes images on the device and can start from a trained backbone, which is
    the network without its last layer, the head.

    Parameters
    ----------
    channel_axis : {-1, 1, 2, 3, -2, -3} or None, default=None
        The axis of 4-D X that holds the channels (colors), as in scikit-image. 3-D X
        are images of one channel. None
        is the last one, but refuses X whose axes look swapped; a number says that its
        axes are meant as they are.
    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)`` or with the channels, where X is 2-D and
        a row is an image written out. With None a row of 2-D X is an image of height 1;
        rows of more than 32 numbers, which may be spectra, are then refused.
    image_size : int, default=None
        Pixels, 8 to 4096, along the longer side of the images that the network sees.
        The shorter side keeps the proportions. Images are resampled on the device,
        before augmentation and normalization: by averages where pixels become larger,
        by linear interpolation where they become smaller. None leaves them as they are.
    normalization : {"training", "imagenet"} or None, default="training"
        What each channel is brought to. ``"training"``: mean 0 and standard deviation
        1, by what the training images have. ``"imagenet"``: bytes, or numbers from 0 to
        1, in three colors, less the means of ImageNet's images and divided by their
        deviations, as torchvision's networks are trained. None: bytes are divided by
        255, and that is all.
    stretch : {"asinh"} or None, default=None
        ``"asinh"`` gives the network each channel twice: as it is, and compressed to
        arsinh((x - sky) / softening), which shows the faint outskirts of galaxies
        beside the bright cores of others (Lupton, Gunn & Szalay 1999,
        https://doi.org/10.1086/301004). The sky is the median of the training images'
        pixels, the softening ten times their scatter around it. Recommended for images
        of flux or counts, where galaxies differ by magnitudes.
    backbone : str, path-like or None, default=None
        A file with the weights of a trained network, to start from: ``.safetensors``,
        or what :func:`torch.save` writes of a ``state_dict()``, under the names that
        `module` has, behind any prefix; those of torchvision, timm and Zoobot do for
        ``"resnet18"`` to ``"resnet101"``. A file elsewhere is
        ``"https://.../weights.pth#sha256=..."``, its address and its checksum.
        ``"galaxies"`` are weights that come with the package, for which
        :meth:`from_pretrained` makes the other settings. Only the last layer, the head,
        starts anew. Where X has other channels than the trained network, each gets the
        same share of the first convolution's sum over its own. The file is read
        whenever the network is built: at each ``fit``, not by a loaded pickle. See
        :ref:`the user guide <backbone>`.
    backbone_lr : float, default=None
        Learning rate of the backbone, which is the network without its last layer; `lr`
        is then that of the head alone, and the schedule scales both. 0 freezes the
        backbone, with the means and variances of its batch norms. None: `lr`.
    augment : {"symmetries", "rotations", "rotations-without-flips", \
            "rotations-and-colors", "resclass"}, callable or None, default="rotations"
        How training batches are varied before the network sees them; validation and
        prediction are not. ``"symmetries"``: quarter turns and flips,
        :class:`skastro.augmentation.RandomDihedral`. ``"rotations"``: turns by any
        angle, flips, small shifts and changes of scale,
        :class:`skastro.augmentation.RandomAffine`;
        ``"rotations-without-flips"`` keeps the sense in which spirals wind;
        ``"rotations-and-colors"`` also changes brightness, contrast and saturation by
        up to 30 % and the hue a little.
        ``"resclass"``: turns by up to 30 degrees, flips, and changes of brightness and
        color. These leave images of one row, as 2-D X has without `image_shape`, as
        they are. A callable takes a Tensor of shape ``(batch, n_channels, height,
        width)``, images of bytes divided by 255, and gives one of the same shape, on
        its device; ``skastro.augmentation`` has some. Draws come from torch's global
        generator, which ``random_state`` governs during ``fit``. Targets stay as they
        are, so that a position angle, say, allows for no turns.
    tta : bool or "rotations", default=False
        Test-time averaging: with True, predictions (of classifiers the probabilities)
        and ``score_samples`` are averages over each image turned by 0, 90, 180 and 270
        degrees and its four mirror images. They take eight times as long and depend on
        none of these. ``"rotations"`` leaves the mirror images out. Images that are not
        square are turned by 0 and 180 degrees only, and 2-D X without `image_shape` not
        at all. Scores in the course of the training are those of the images as they
        are.

    Attributes
    ----------
    channel_mean_, channel_scale_ : ndarray of shape (n_channels,)
        What is taken from each channel, and what the rest is divided by: mean and
        standard deviation of the training images, of bytes divided by 255, unless
        `normalization` says otherwise. Of many images, 4096 spread over all are looked
        at.
    image_layout_ : tuple
        `channel_axis` and `image_shape` in ``fit``.
    pixel_unit_ : float
        What samples are divided by, whatever their data type: 255 where those in
        ``fit`` were bytes, else 1. Numbers that cannot be on that scale are refused.
    pixel_size_ : ndarray of shape (3,)
        Mean and highest absolute value of some training samples, and 1 where all are
        whole numbers. Numbers that cannot be on their scale are refused.
    channel_sky_, channel_softening_ : ndarray of shape (n_channels,)
        What the compressed channels begin and bend at; only with `stretch`. The mean
        and scale of these channels then stand behind those of the others.
    """

    _pretrained: ClassVar[tuple[str, ...]] = ("galaxies",)
    _pretrained_package: ClassVar[str] = "skastro.estimators"
    _fine_tuning: ClassVar[dict[str, Any]] = {
        "image_size": 88,
        "lr": 1e-3,
        "backbone_lr": 3e-4,
        "max_epochs": 12,
    }
    _augmentations: ClassVar[Mapping[str, Callable]] = IMAGE_AUGMENTATIONS
    _module_ndim = 2
    _input_ndims: ClassVar[tuple[int, ...]] = (2, 3, 4)
    # Bytes stay bytes; all else becomes float32, the first of the list.
    _input_dtypes: ClassVar = (np.float32, np.uint8)
    _finite_advice = (
        "Missing pixels can be filled beforehand, with numpy.nan_to_num for instance."
    )
    _image_constraints: ClassVar[dict] = {
        **ImageLayout.constraints,
        "image_size": [None, Interval(Integral, 8, _MOST_ALONG_SIDE, closed="both")],
        "normalization": [None, StrOptions({"training", "imagenet"})],
        "stretch": [None, StrOptions({"asinh"})],
        "augment": [None, callable, StrOptions(set(IMAGE_AUGMENTATIONS))],
        "tta": ["boolean", StrOptions({"rotations"})],
        **BACKBONE_CONSTRAINTS,
    }
    _kept: ClassVar[tuple[str, ...]] = (
        "channel_axis",
        "image_shape",
        "image_size",
        "normalization",
        "stretch",
    )

    # Images in X ----------------------------------------------------------------

    @property
    def _layout(self) -> ImageLayout:
        given = self.channel_axis, self.image_shape
        return ImageLayout(*getattr(self, "image_layout_", given))

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        if len(sample_shape) == 1 and self.image_shape is None:
            check_rows_are_images(*sample_shape)
        n_channels, size = self._layout.sizes_of(sample_shape)
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
        if self.image_size is not None:
            self._check_resampled(sample_shape)
            size = resampled_size(size, self.image_size)
        if self.stretch is not None:
            n_channels *= 2
        return {"n_channels": n_channels, "input_size": size}

    def _check_resampled(self, sample_shape: tuple[int, ...]) -> None:
        """Refuse `image_size` where there are no images, or nobody to resample for."""
        if not self._sizes_taken():
            raise ValueError(
                f"image_size={self.image_size!r} resamples images, but the module "
                "takes no sizes and gets X as it is. Let its __init__ take input_size "
                "or n_channels, or take image_size=None."
            )
        if len(sample_shape) == 1 and self.image_shape is None:
            raise ValueError(
                f"image_size={self.image_size!r} resamples images, but X is 2-D: say "
                "by image_shape=(height, width) what images its rows are, or take "
                "image_size=None."
            )

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        # It may have been set after fit.
        constraints = {"tta": self._image_constraints["tta"]}
        validate_constraints(constraints, {"tta": self.tta}, type(self).__name__)
        # Scores during a training are to cost little.
        if not self.tta or self._is_training():
            yield from super()._predict_batches(X, function, check=check)
            return

        def step(part: Any) -> torch.Tensor:
            X, y = unpack_data(part)
            # Once, not once for each view. torch cannot turn all kinds of integers.
            X = self._send(X)
            X = X if X.dtype is torch.uint8 else X.float()
            total, n_views = 0, 0
            for view in self._views(X):
                output = self.evaluation_step((view, y))
                output = output[0] if isinstance(output, tuple) else output
                total, n_views = total + function(output), n_views + 1
            return total / n_views

        yield from self._run_batches(step, X, check=check)

    def _views(self, X: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield a batch in the orientations that predictions are averaged over."""
        # Rows of numbers that nobody calls images have no symmetries.
        layout = self._layout
        if not self.tta or (X.ndim == 2 and layout.image_shape is None):
            yield X
            return
        flips = self.tta != "rotations"
        for images in image_symmetries(layout.to_images(X), flips=flips):
            yield layout.to_samples(images, X.shape)

    def _augment(self, X: torch.Tensor) -> torch.Tensor:
        # Rows of numbers that nobody calls images have no symmetries.
        if isinstance(self.augment, str) and X.shape[1] == X.shape[2] == 1:
            return X
        return super()._augment(X)

    def _augment_as_given(self, X: torch.Tensor) -> torch.Tensor:
        # The operations know images of one layout and, of bytes, one scale.
        images = self._augment(self._normalize(X))
        return self._layout.to_samples(images, X.shape) * self._unit_of(X)

    def _unit_of(self, X: Any) -> float:
        """Tell what X is divided by: 255 where the samples in ``fit`` were bytes."""
        return getattr(self, "pixel_unit_", 255.0 if X.dtype == torch.uint8 else 1.0)

    def _send(self, x: Any) -> torch.Tensor:
        x = super()._send(x)
        if hasattr(self, "pixel_unit_"):
            refuse_other_scale(self, x, self.pixel_unit_ == 255, self.pixel_size_)
        return x

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        unit, images = self._unit_of(X), self._layout.to_images(X)
        if unit == 1:
            return self._resample(images.float())
        # float() has copied all numbers that are not floating-point.
        return self._resample(
            images / unit if images.is_floating_point() else images.float().div_(unit)
        )

    def _resample(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images to the pixels that the network was trained on."""
        longest = self.__dict__.get("kept_params_", {}).get("image_size")
        if longest is None:
            return images
        return resample(images, resampled_size(images.shape[2:], longest))

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        mean, scale = channel_constants(
            self.channel_mean_, self.channel_scale_, X.device
        )
        X = self._add_stretched(X)
        if X.is_contiguous() or not X.is_contiguous(memory_format=torch.channels_last):
            return (X - mean) / scale
        # torch is several times as fast on long rows as on a few channels.
        rows = X.movedim(1, -1).flatten(2)
        mean, scale = (part.flatten().repeat(X.shape[-1]) for part in (mean, scale))
        rows = (rows - mean).div_(scale)
        return rows.unflatten(2, (X.shape[-1], -1)).movedim(-1, 1)

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if self._takes_sizes:
            self._require_learned("channel_mean_", "channel_scale_")

    def _check_saved_state(self, state: dict[str, Any]) -> None:
        super()._check_saved_state(state)
        longest = state.get("kept_params_", {}).get("image_size") or 0
        if self._is_restoring and longest > _MOST_ALONG_SIDE:
            raise ValueError(
                f"The file is for images of {longest} pixels along a side."
            )
        if "pixel_unit_" not in state and state.get("sample_shape_") is not None:
            warnings.warn(
                "The file does not tell whether the images in fit were bytes, so that "
                "numbers on another scale cannot be refused: give X in the data type "
                "that it had in fit, or fit anew.",
                UserWarning,
                stacklevel=4,
            )

    def _add_stretched(self, X: torch.Tensor) -> torch.Tensor:
        """Put compressed copies behind the channels, where the fit asked for them."""
        if not hasattr(self, "channel_sky_"):
            return X
        sky, softening = channel_constants(
            self.channel_sky_, self.channel_softening_, X.device
        )
        return torch.cat([X, torch.asinh((X - sky) / softening)], dim=1)

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Measure the channels of the training images."""
        super()._learn_from_training_data(dataset)
        if not self._has_shape:
            return
        if not hasattr(self, "pixel_unit_"):
            self._learn_unit(dataset)
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

    def _learn_unit(self, dataset: Any) -> None:
        """Tell bytes from other numbers, and warn of numbers that nothing scales."""
        some = next(some_samples(dataset, 1))
        self.image_layout_ = self.channel_axis, self.image_shape
        self.pixel_unit_ = 255.0 if some.dtype == np.uint8 else 1.0
        self.pixel_size_ = size_of(some_samples(dataset, _N_FOR_SIZE))
        if not self._takes_sizes or self.normalization is None:
            advice = "leave normalization at its default, for a module with n_channels"
            warn_of_size(self, some / self.pixel_unit_, f"Scale X, or {advice}.")
        elif self.normalization == "imagenet" and self.pixel_unit_ == 1:
            if self.pixel_size_[1] > _HIGHEST_OF_UNIT:
                raise ValueError(
                    "normalization='imagenet' takes bytes, or numbers from 0 to 1, but "
                    f"X has numbers up to {self.pixel_size_[1]:.3g} of dtype "
                    f"{some.dtype}. Give bytes (uint8), or divide X."
                )

    def _some_images(self, dataset: Any) -> Iterator[torch.Tensor]:
        """Yield some training images, bytes divided by 255, in double precision."""
        for images in some_samples(dataset):
            X = self._layout.to_images(torch.as_tensor(images))
            yield self._resample(X.double() / self._unit_of(X))


def sky_of(batches: Iterable[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Measure the level and the noise of the sky in each channel.

    The median of the pixels and their median absolute deviation, as that of a normal
    distribution, are the sky's where the galaxies cover less than half of the pixels.
    """
    rng = np.random.default_rng(0)
    some = []
    for X in batches:
        pixels = X.movedim(1, 0).flatten(1).numpy()
        if pixels.shape[1] > _PIXELS_IN_RUN:
            pixels = pixels[:, rng.integers(pixels.shape[1], size=_PIXELS_IN_RUN)]
        some.append(pixels)
    pixels = np.concatenate(some, axis=1)
    sky = np.median(pixels, axis=1)
    noise = median_abs_deviation(pixels, axis=1, scale="normal")
    # Without noise any other measure of the pixels' size will do.
    noise = np.where(noise > 0, noise, pixels.std(axis=1))
    return sky, np.where(noise > 0, noise, 1.0)


def resampled_size(size: Sequence[int], longest: int) -> tuple[int, ...]:
    """Scale height and width so that the larger is `longest`.

    >>> resampled_size((30, 40), 64), resampled_size((1, 100), 8)
    ((48, 64), (1, 8))
    """
    return tuple(max(1, round(n * int(longest) / max(size))) for n in size)


def resample(images: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Resample images ``(..., height, width)`` to pixels of another number.

    By averages where pixels become larger, by linear interpolation where they become
    smaller; as ``interpolate(mode="bilinear", antialias=True)`` of torch.
    """
    # TensorFloat, which products on CUDA devices may use, has three digits.
    dtype = torch.float64 if images.is_cuda else images.dtype
    # What is made during an export belongs to it.
    make = _weights.__wrapped__ if torch.compiler.is_exporting() else _weights
    rows, columns = (
        make(*lengths, images.device).to(dtype)
        for lengths in zip(images.shape[-2:], size, strict=True)
    )
    return (rows @ (images.to(dtype) @ columns.T)).to(images.dtype)


@lru_cache(maxsize=16)
def _weights(length: int, new_length: int, device: torch.device) -> torch.Tensor:
    # Kept for all later calls, of which some may need gradients.
    with torch.inference_mode(False):
        return torch.tensor(linear_weights(length, new_length), device=device)


def channel_constants(
    first: np.ndarray, second: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Bring two numbers of each channel to a device, once."""
    # What is made during an export belongs to it.
    make = _constants.__wrapped__ if torch.compiler.is_exporting() else _constants
    return make(tuple(first.tolist()), tuple(second.tolist()), device)


@lru_cache(maxsize=16)
def _constants(*values: Any) -> tuple[torch.Tensor, ...]:
    *arrays, device = values
    # Kept for all later calls, of which some may need gradients.
    with torch.inference_mode(False):
        return tuple(
            torch.tensor(array, dtype=torch.float32, device=device)
            .reshape(1, -1, 1, 1)
            .contiguous()
            for array in arrays
        )


def spread_runs(n_samples: int, n_wanted: int = _N_SAMPLES) -> list[np.ndarray]:
    """List runs of rows: all rows, or about as many as wanted, spread over all."""
    starts = np.arange(0, n_samples, _RUN)
    n_runs = -(-n_wanted // _RUN)
    if len(starts) > n_runs:
        starts = np.linspace(0, n_samples - _RUN, n_runs).astype(np.int64)
    return [np.arange(start, min(start + _RUN, n_samples)) for start in starts]


def some_samples(dataset: Any, n_wanted: int = _N_SAMPLES) -> Iterator[np.ndarray]:
    """Yield samples of a training set, all or runs spread over it."""
    source = find_source(dataset)
    for index in spread_runs(len(dataset), n_wanted):
        if source is None:
            yield np.stack([np.asarray(dataset[row][0]) for row in index])
            continue
        rows = index if source.rows is None else source.rows.numpy()[index]
        if source.is_lazy:
            yield source.lazy.read_rows(rows)
        else:
            yield source.lazy.numpy()[rows]
