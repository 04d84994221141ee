# SPDX-License-Identifier: BSD-3-Clause
"""What estimators of spectra share: the normalization of their flux, their grid."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet

from skastro._compat import StrOptions
from skastro.base._backbone import BACKBONE_CONSTRAINTS
from skastro.base._source import add_checksum
from skastro.estimators._images import channel_constants, some_samples
from skastro.estimators._scale import warn_of_size
from skastro.utils import arm_starts, bin_edges, in_unit

# Rows of fewer numbers are taken as features of any kind, whose level tells something.
_SHORTEST_SPECTRUM = 100
# The standard deviation of normally distributed values over their median absolute
# deviation, and the limit of what is so many of these away from the median.
_SIGMA_PER_MAD = 1.482602218505602
_LIMIT = 8.0
# Flux whose differences float32 can hold, in the units that are usual.
_USUAL_FLUX = 1e-25, 1e15
# The continuum is a mean over one part of so many, at least this part of the mean flux,
# and at most so many times exceeded.
_CONTINUUM_PARTS = 15
_LEAST_CONTINUUM = 0.05
_MOST_FLUX = 3.0
# Vacuum wavelengths (Å) of the pixels that networks see where wavelengths are given.
# Each is 95 km/s wide, half of what spectrographs of surveys resolve.
GRID = np.geomspace(3600.0, 9500.0, 3072)
# Lines of a few per cent are to be as large as the continuum's logarithm.
_LINES_SCALE = 5.0
_ADVICE = "Put StandardizeSpectra(robust=True, clip=8) in front, in a Pipeline."


class SpectrumInput(NeuralNet):
    """Mixin of nets for spectra, to the left of the net's own base.

    It normalizes spectra on the device.

    Parameters
    ----------
    wavelength : array-like of shape (n_pixels,) or Quantity, default=None
        Centers of the pixels of X, ascending vacuum wavelengths; plain numbers are in
        Å. The network then sees each spectrum, normalized and augmented, in 3072 pixels
        from 3600 to 9500 Å, evenly spaced in the logarithm, so that trained weights
        serve spectra of any grid; pixels that X does not cover are zero. None: the
        pixels as they are.
    normalization : {"robust", "mean", "continuum", "training", "split", None}, \
            default="robust"
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
        than 100 numbers always. ``"split"``: each spectrum, and each of its channels,
        into two channels, of lines and of colors: five times what divides the flux from
        its continuum, flux over continuum less 1, and the logarithm of the continuum
        over the mean flux; it learns nothing from the training spectra. None: nothing.
        A module that takes no sizes gets X as it is.
    backbone : str, path-like or None, default=None
        A file with the weights of a trained network, to start from: ``.safetensors``,
        or what :func:`torch.save` writes of a ``state_dict()``, under the names that
        `module` has, behind any prefix. A file elsewhere is
        ``"https://.../weights.pth#sha256=..."``, its address and its checksum.
        ``"spectra"`` are weights that come with the package, for which
        :meth:`from_pretrained` makes the other settings. Only the last layer, the head,
        starts anew. The file is read whenever the network is built: at each ``fit``,
        not by a loaded pickle. See :ref:`the user guide <backbone>`.
    backbone_lr : float, default=None
        Learning rate of the backbone, which is the network without its last layer; `lr`
        is then that of the head alone, and the schedule scales both. 0 freezes the
        backbone, with the means and variances of its batch norms. None: `lr`.

    Attributes
    ----------
    normalization_ : {"robust", "mean", "continuum", "training", "split"} or None
        What was done in ``fit``.
    pixel_mean_, pixel_scale_ : ndarray of shape (n_channels * n_pixels,)
        What is taken from each pixel, and what the rest is divided by; not with
        ``"robust"``, ``"split"`` and None. Of many spectra, 4096 spread over all are
        looked at.
    """

    _spectrum_constraints: ClassVar[dict] = {
        "normalization": [
            None,
            StrOptions({"robust", "mean", "continuum", "training", "split"}),
        ],
        "wavelength": [None, "array-like"],
        **BACKBONE_CONSTRAINTS,
    }
    _kept: ClassVar[tuple[str, ...]] = ("normalization", "wavelength")
    _pretrained: ClassVar[tuple[str, ...]] = ("spectra",)
    _pretrained_package: ClassVar[str] = "skastro.estimators"
    _needed_by_weights: ClassVar[tuple[str, ...]] = ("wavelength",)

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        sizes = super()._infer_sizes(sample_shape)
        splits = self._normalization_of(sample_shape[-1]) == "split"
        if (splits or self.wavelength is not None) and not self._sizes_taken():
            raise ValueError(
                "wavelength and normalization='split' are for modules whose __init__ "
                "takes n_channels, n_outputs or input_size; this one gets X as it is."
            )
        if splits:
            sizes["n_channels"] *= 2
        if self.wavelength is not None:
            _check_covers(self._pixels(), sample_shape[-1])
            sizes["input_size"] = GRID.size
        return sizes

    # Weights of the package ----------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike, *, sha256: str | None = None, **parameters: Any
    ) -> Self:
        """Make an estimator that starts from trained weights.

        It is to be fitted. Few labeled spectra suffice for weights of the package,
        since their network knows spectra already; the :ref:`user guide <start-weights>`
        tells how many.

        Parameters
        ----------
        source : {"spectra"}, str or path-like
            Weights of the package; or a file: its path, or its address, which begins
            with ``https://``. What is downloaded stays in the folder ``weights`` of
            ``SKASTRO_HOME`` or, where this variable is not set, of the system's folder
            for caches.
        sha256 : str, default=None
            SHA-256 checksum of the file, 64 hexadecimal digits; needed for an address,
            unless that ends with ``#sha256=...`` itself.
        **parameters : dict
            Parameters of the constructor. ``"spectra"`` needs ``wavelength``, and
            requires ``module`` and ``normalization`` as they are; of the others the
            defaults, such as ``lr`` and ``max_epochs``, are those that were measured to
            be best. A file of ``resnet18`` to ``resnet101`` sets ``module``,
            ``module__width`` and ``module__stem``, unless they are given here; for
            other files ``module`` is needed.

        Returns
        -------
        estimator : object
            An estimator that is not fitted.

        Raises
        ------
        ValueError
            If the weights do not exist, if their file is damaged, or if `parameters`
            contradict them; or if an address has no checksum or does not begin with
            ``https://``.
        FileNotFoundError
            If there is no such file.
        OSError
            If the download fails, or has another checksum.
        TypeError
            If a parameter does not exist or is ``backbone``, or ``wavelength`` is
            missing.

        Notes
        -----
        The network of ``"spectra"`` was trained on spectra of
        :func:`skastro.datasets.make_spectra`. A card beside the weights, in
        ``skastro/estimators/pretrained``, tells how.

        Examples
        --------
        >>> from skastro import SpectrumClassifier
        >>> from skastro.datasets import make_spectra
        >>> spectra = make_spectra(60, random_state=0)
        >>> clf = SpectrumClassifier.from_pretrained(
        ...     "spectra",
        ...     wavelength=spectra.wavelength,
        ...     max_epochs=5,
        ...     verbose=0,
        ...     random_state=0,
        ... )
        >>> clf = clf.fit(spectra.flux, spectra.target)
        >>> test = make_spectra(50, random_state=1)
        >>> clf.score(test.flux, test.target) > 0.8
        True
        """
        source = add_checksum(source, sha256)
        weights = cls._read_pretrained(source, parameters)
        if weights is None:
            return super().from_pretrained(source, **parameters)
        if "wavelength" not in parameters:
            raise TypeError(
                f"{cls.__name__}.from_pretrained({source!r}) needs wavelength=..., the "
                "centers of the pixels of X."
            )
        return super().from_pretrained(source, **parameters)

    # Normalization and grid ----------------------------------------------------------

    def _pixels(self) -> np.ndarray:
        """Return the centers of the pixels of X in Å."""
        return in_unit(self.wavelength, "Angstrom", "wavelength")

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
        if kind == "split":
            return _divide_by_mean(X)
        if kind is None:
            return X
        self._require_learned("pixel_mean_", "pixel_scale_")
        mean, scale = channel_constants(self.pixel_mean_, self.pixel_scale_, X.device)
        if kind in _DIVIDED:
            X = _DIVIDED[kind](X)
        X = ((X.flatten(1) - mean.flatten()) / scale.flatten()).reshape(X.shape)
        return X.clamp(-_LIMIT, _LIMIT) if kind in _DIVIDED else X

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        splits = self._normalization_of(X.shape[-1]) == "split"
        X = super()._to_module_layout(X)
        covered = torch.ones_like(X[0, 0])
        if self.wavelength is not None:
            # It may have been set after fit.
            _check_covers(self._pixels(), X.shape[-1])
            X, covered = _to_grid(X, tuple(self._pixels().tolist()))
        return split_channels(X, covered) if splits else X

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
        elif kind not in ("robust", "split"):
            X = np.concatenate(list(some_samples(dataset)))
            if kind in _DIVIDED:
                X = _DIVIDED[kind](torch.from_numpy(X).float()).numpy()
            scaler = StandardScaler().fit(X.reshape(len(X), -1).astype(np.float64))
            self.pixel_mean_, self.pixel_scale_ = scaler.mean_, scaler.scale_
        self.normalization_ = kind


def _standardize(X: torch.Tensor) -> torch.Tensor:
    """Standardize spectra robustly, whatever float32 their numbers are."""
    largest = X.abs().amax(dim=-1, keepdim=True)
    usual = (largest > _USUAL_FLUX[0]) & (largest < _USUAL_FLUX[1])
    # A graph has no branches, and a GPU would have to stop at each.
    branches = X.device.type == "cpu" and not torch.compiler.is_exporting()
    if not (branches and usual.all()):
        # Squares and differences of the largest and the smallest numbers are no
        # numbers.
        size = _median(X.abs())
        size = torch.where(size > 0, size, largest)
        size = torch.where((size > 0) & ~usual, size, 1.0)
        # One pixel of 1e30 must not make zeros of all others.
        X = (X / size).clamp(-1e15, 1e15)
    X = X - _median(X)
    scale = _SIGMA_PER_MAD * _median(X.abs())
    if not (branches and (scale > 0).all()):
        # Squares of usual flux may be too small.
        size = X.abs().amax(dim=-1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        root = size * (X / size).square().mean(-1, keepdim=True).sqrt()
        scale = torch.where(scale > 0, scale, root)
        scale = torch.where(scale > 0, scale, 1.0)
    return (X / scale).clamp_(-_LIMIT, _LIMIT)


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
    return (X / continuum.clamp(min=_LEAST_CONTINUUM)).clamp(0.0, _MOST_FLUX)


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


def _check_covers(pixels: np.ndarray, length: int) -> None:
    if pixels.shape != (length,):
        raise ValueError(
            f"wavelength has shape {pixels.shape}, but spectra in X have {length} "
            "pixels: give one wavelength a pixel."
        )
    covered = bin_edges(pixels)
    if not (covered[0] < GRID[-1] and covered[-1] > GRID[0]):
        raise ValueError(
            f"wavelength lies from {pixels[0]:g} to {pixels[-1]:g} Å, but the network "
            f"sees {GRID[0]:g} to {GRID[-1]:g} Å. Give vacuum wavelengths in Å, or a "
            "Quantity."
        )


def _to_grid(
    X: torch.Tensor, pixels: tuple[float, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average spectra over the pixels of the grid; tell also which are covered."""
    old, part, width, covered, old_width = _overlaps(pixels, X.device)
    # Sums of many pixels need the digits; there is no float64 on Apple's devices.
    exact = X if X.device.type == "mps" else X.double()
    total = torch.nn.functional.pad((exact * old_width).cumsum(dim=-1), (1, 0))
    # The flux up to each edge of the grid.
    total = total[..., old] + part * (total[..., old + 1] - total[..., old])
    return (total.diff(dim=-1) / width).to(X.dtype) * covered, covered


@lru_cache(maxsize=16)
def _overlaps(
    pixels: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Tell where the edges of the grid lie among those of the pixels."""
    centers, grid = np.array(pixels), bin_edges(GRID)
    # No pixel extends into the gap between two arms.
    arms = [bin_edges(arm) for arm in np.split(centers, arm_starts(centers))]
    lower = np.concatenate([edges[:-1] for edges in arms])
    old_width = np.concatenate([np.diff(edges) for edges in arms])
    old = (np.searchsorted(lower, grid, side="right") - 1).clip(0)
    part = ((grid - lower[old]) / old_width[old]).clip(0, 1)
    known = np.concatenate([[0], old_width.cumsum()])[old] + part * old_width[old]
    width = np.diff(known)
    covered = width >= (0.5 - 1e-9) * np.diff(grid)
    real = np.float32 if device.type == "mps" else np.float64
    arrays = (
        old,
        part.astype(real),
        np.where(covered, width, 1).astype(real),
        covered.astype(np.float32),
        old_width.astype(real),
    )
    # Kept for all later calls, of which some may need gradients.
    with torch.inference_mode(False):
        return tuple(torch.as_tensor(array, device=device) for array in arrays)


def split_channels(X: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """Make of each channel one of lines and one of colors, zero where nothing is."""
    mean = X.abs().sum(dim=-1, keepdim=True) / covered.sum(dim=-1, keepdim=True)
    X = X / torch.where(mean > 0, mean, 1.0)
    exact = X if X.device.type == "mps" else X.double()
    continuum = exact
    part = _running_mean(covered.to(exact.dtype)).clamp(min=1e-9)
    for _ in range(2):
        continuum = _running_mean(continuum * covered) / part
    continuum = continuum.to(X.dtype).clamp(min=_LEAST_CONTINUUM)
    lines = (X / continuum).clamp(0.0, _MOST_FLUX) - 1
    return torch.cat([_LINES_SCALE * lines, continuum.log()], dim=1) * covered


def _median(X: torch.Tensor) -> torch.Tensor:
    """Find the median along the last axis, which is kept."""
    length = X.shape[-1]
    if torch.compiler.is_exporting():
        # The highest of the lower half: graphs know no partition.
        lower = X.topk(length // 2 + 1, largest=False, sorted=False).values
        return lower.topk(2 - length % 2, sorted=False).values.mean(-1, keepdim=True)
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
