# SPDX-License-Identifier: BSD-3-Clause
"""What estimators of spectra share: the normalization of their flux."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet

from skastro._compat import StrOptions
from skastro.base._backbone import BACKBONE_CONSTRAINTS
from skastro.estimators._images import channel_constants, some_samples
from skastro.estimators._scale import warn_of_size

# Rows of fewer numbers are taken as features of any kind, whose level tells something.
_SHORTEST_SPECTRUM = 100
# The standard deviation of normally distributed values over their median absolute
# deviation, and the limit of what is so many of these away from the median.
_SIGMA_PER_MAD = 1.482602218505602
_LIMIT = 8.0
# The continuum is a mean over one part of so many, at least this part of the mean flux,
# and at most so many times exceeded.
_CONTINUUM_PARTS = 15
_LEAST_CONTINUUM = 0.05
_MOST_FLUX = 3.0
_ADVICE = "Put StandardizeSpectra(robust=True, clip=8) in front, in a Pipeline."


class SpectrumInput(NeuralNet):
    """Mixin of nets for spectra, to the left of the net's own base.

    It normalizes spectra on the device.

    Parameters
    ----------
    normalization : {"robust", "mean", "continuum", "training", None}, default="robust"
        What spectra are brought to before the network and `augment` see them, so that
        the unit of the flux does not matter. ``"robust"``: each spectrum, and each of
        its channels, to median 0 and a median absolute deviation that stands for a
        standard deviation of 1, limited to 8 standard deviations, as by
        ``StandardizeSpectra(robust=True, clip=8)``. ``"mean"``: each spectrum, and each
        of its channels, divided by the mean of its absolute flux, and then each pixel
        as with ``"training"``, so that lines and colors count. ``"continuum"``:
        likewise, but divided by its continuum, a running mean, taken twice, over a
        fifteenth of its length, so that neither dust nor the calibration of the flux
        counts. ``"training"``: each pixel to mean 0 and standard deviation 1 by what
        the training spectra have, so that the level of a spectrum counts; rows of fewer
        than 100 numbers always. None: nothing. A module that takes no sizes gets X as
        it is.
    backbone : str, path-like or None, default=None
        A file with the weights of a trained network, to start from: ``.safetensors``,
        or what :func:`torch.save` writes of a ``state_dict()``, under the names that
        `module` has. Only the last layer, the head, starts anew. The file is read
        whenever the network is built: at each ``fit``, not by a loaded pickle. See
        :ref:`the user guide <backbone>`.
    backbone_lr : float, default=None
        Learning rate of the backbone, which is the network without its last layer; `lr`
        is then that of the head alone, and the schedule scales both. 0 freezes the
        backbone, with the means and variances of its batch norms. None: `lr`.

    Attributes
    ----------
    normalization_ : {"robust", "mean", "continuum", "training"} or None
        What was done in ``fit``.
    pixel_mean_, pixel_scale_ : ndarray of shape (n_channels * n_pixels,)
        What is taken from each pixel, and what the rest is divided by; not with
        ``"robust"`` and None. Of many spectra, 4096 spread over all are looked at.
    """

    _spectrum_constraints: ClassVar[dict] = {
        "normalization": [
            None,
            StrOptions({"robust", "mean", "continuum", "training"}),
        ],
        **BACKBONE_CONSTRAINTS,
    }
    _kept: ClassVar[tuple[str, ...]] = ("normalization",)

    def _normalization_of(self, length: int) -> str | None:
        """Name what is done to spectra of a length: what was done in ``fit``."""
        if "normalization_" in self.__dict__:
            return self.normalization_
        is_short = self.normalization is not None and length < _SHORTEST_SPECTRUM
        return "training" if is_short else self.normalization

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        kind, X = self._normalization_of(X.shape[-1]), X.float()
        if kind == "robust":
            return _standardize(X)
        if kind is None:
            return X
        self._require_learned("pixel_mean_", "pixel_scale_")
        mean, scale = channel_constants(self.pixel_mean_, self.pixel_scale_, X.device)
        if kind in _DIVIDED:
            X = _DIVIDED[kind](X)
        X = ((X.flatten(1) - mean.flatten()) / scale.flatten()).reshape(X.shape)
        return X.clamp(-_LIMIT, _LIMIT) if kind in _DIVIDED else X

    def _check_saved_state(self, state: dict[str, Any]) -> None:
        super()._check_saved_state(state)
        knows = "normalization_" in state or state.get("sample_shape_") is None
        if not knows and self.normalization is not None and self._sizes_taken():
            raise ValueError(
                "The file does not tell how spectra were normalized: it is from a "
                f"version of {type(self).__name__} that did not normalize them, and "
                f"normalization={self.normalization!r} would give other numbers to its "
                "weights. Give normalization=None, and the transformers in front that "
                "there were in fit; or fit anew."
            )

    def _augment(self, X: torch.Tensor) -> torch.Tensor:
        if self.augment != "wang2020" or not (
            self._takes_sizes and self._normalization_of(X.shape[-1])
        ):
            return super()._augment(X)
        # This noise is for spectra between 0 and 1.
        low = X.amin(dim=-1, keepdim=True)
        width = X.amax(dim=-1, keepdim=True) - low
        width = torch.where(width > 0, width, 1.0)
        return super()._augment((X - low) / width) * width + low

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Measure the pixels of the training spectra, or warn of their size."""
        super()._learn_from_training_data(dataset)
        if "normalization_" in self.__dict__ or not self._has_shape:
            return
        kind = self._normalization_of(self.sample_shape_[-1])
        if not self._takes_sizes or kind is None:
            warn_of_size(self, next(some_samples(dataset, 1)), _ADVICE)
            kind = None
        elif kind != "robust":
            X = np.concatenate(list(some_samples(dataset)))
            if kind in _DIVIDED:
                X = _DIVIDED[kind](torch.from_numpy(X).float()).numpy()
            scaler = StandardScaler().fit(X.reshape(len(X), -1).astype(np.float64))
            self.pixel_mean_, self.pixel_scale_ = scaler.mean_, scaler.scale_
        self.normalization_ = kind


def _standardize(X: torch.Tensor) -> torch.Tensor:
    """Standardize spectra robustly, whatever float32 their numbers are."""
    # Squares and differences of the largest and the smallest numbers are no numbers.
    size = _median(X.abs())
    size = torch.where(size > 0, size, X.abs().amax(dim=-1, keepdim=True))
    # One pixel of 1e30 must not make zeros of all others.
    X = (X / torch.where(size > 0, size, 1.0)).clamp(-1e15, 1e15)
    X = X - _median(X)
    scale = _SIGMA_PER_MAD * _median(X.abs())
    scale = torch.where(scale > 0, scale, X.square().mean(-1, keepdim=True).sqrt())
    return (X / torch.where(scale > 0, scale, 1.0)).clamp(-_LIMIT, _LIMIT)


def _divide_by_mean(X: torch.Tensor) -> torch.Tensor:
    """Divide spectra by the mean of their absolute flux."""
    for size_of in (torch.amax, torch.mean):
        # The sum of the largest numbers is no number.
        size = size_of(X.abs(), dim=-1, keepdim=True)
        X = X / torch.where(size > 0, size, 1.0)
    return X


def _divide_by_continuum(X: torch.Tensor) -> torch.Tensor:
    """Divide spectra by their running mean, twice taken."""
    X = _divide_by_mean(X)
    # Sums of many pixels need the digits; there is no float64 on Apple's devices.
    exact = X if X.device.type == "mps" else X.double()
    continuum = _running_mean(_running_mean(exact)).to(X.dtype)
    # Where there is hardly any flux, noise would become anything.
    return (X / continuum.clamp(min=_LEAST_CONTINUUM)).clamp(0, _MOST_FLUX)


# What spectra are divided by before each pixel is scaled as in the training spectra.
_DIVIDED: dict[str | None, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": _divide_by_mean,
    "continuum": _divide_by_continuum,
}


def _running_mean(X: torch.Tensor) -> torch.Tensor:
    """Average over a fifteenth of the last axis around each pixel, less at the ends."""
    length = X.shape[-1]
    half = length // (2 * _CONTINUUM_PARTS)
    pixels = torch.arange(length, device=X.device)
    upper, lower = (pixels + half + 1).clamp(max=length), (pixels - half).clamp(min=0)
    total = torch.nn.functional.pad(X.cumsum(dim=-1), (1, 0))
    return (total[..., upper] - total[..., lower]) / (upper - lower)


def _median(X: torch.Tensor) -> torch.Tensor:
    """Find the median along the last axis, which is kept."""
    length = X.shape[-1]
    if X.device.type != "cpu":
        # torch's median on GPUs is refused where deterministic algorithms are asked
        # for, and takes the lower one of two.
        middle = slice((length - 1) // 2, length // 2 + 1)
        return X.sort(dim=-1).values[..., middle].mean(dim=-1, keepdim=True)
    # Ten times as fast as torch's.
    parted = np.partition(X.detach().numpy(), length // 2, axis=-1)
    upper = torch.from_numpy(parted[..., length // 2, None])
    if length % 2:
        return upper
    below = parted[..., : length // 2].max(axis=-1, keepdims=True)
    return (upper + torch.from_numpy(below)) / 2
