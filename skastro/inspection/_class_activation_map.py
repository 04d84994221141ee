# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps: the contribution of each pixel to a network's decision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skastro.base import BaseClassifier
from skastro.estimators._images import ImageInput, resample
from skastro.estimators._spectra import GRID
from skastro.inspection._display import samples_for
from skastro.networks.layers import global_average
from skastro.utils import (
    as_lazy,
    check_count,
    check_option,
    is_lazy,
    plain_labels,
    plain_samples,
    prediction_steps,
)

METHODS = ("auto", "cam", "gradcam")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


def class_activation_map(
    estimator: Any,
    X: Any,
    target: Any = None,
    *,
    method: str = "auto",
    layer: str | None = None,
    normalize: bool = False,
    batch_size: int | None = None,
) -> np.ndarray:
    """Compute maps of how much each pixel contributes to the score of a class.

    Networks such as :class:`~skastro.networks.ResNet` and
    :class:`~skastro.networks.SEDenseNet` average their last feature maps over all
    pixels and pass the means to a linear layer. The class activation map [1]_ is the
    sum of these feature maps, weighted with the weights of the class in the linear
    layer. Its mean over the pixels plus the bias of the class is exactly the logit of
    the class. For other convolutional networks, Grad-CAM [2]_ replaces these weights by
    the gradient of the logit with respect to each feature map, averaged over the
    pixels, and keeps positive values. Read more in the :ref:`User Guide <explaining>`.

    Parameters
    ----------
    estimator : SpectrumClassifier, GalaxyClassifier or Pipeline
        A fitted classifier, or a pipeline that ends in one. The previous steps
        transform X; samplers are skipped, as in prediction.
    X : array-like of shape (n_samples, ...)
        Spectra or images, as ``estimator.predict`` takes them.
    target : label or array-like of shape (n_samples,), default=None
        The class of the maps: one label for all samples, or one for each. None means
        the predicted class.
    method : {"auto", "cam", "gradcam"}, default="auto"
        ``"cam"`` is the map of [1]_, for networks with a method ``forward_features``
        and a linear layer ``fc`` whose output is ``fc`` of the mean of the features
        over their pixels; this is checked. ``"gradcam"`` is that of [2]_, for all
        networks with convolutions; it needs captum, ``pip install "skastro[explain]"``.
        ``"auto"`` is ``"cam"`` if that is possible and no `layer` is given, otherwise
        ``"gradcam"``.
    layer : str, default=None
        The layer whose feature maps Grad-CAM uses: a name among
        ``module_.named_modules()``. None means the last convolution, after the batch
        norm, the activation and the shortcut that follow it at the same size.
    normalize : bool, default=False
        Whether to scale the map of each sample to [0, 1] by its minimum and maximum. A
        constant map becomes 0. By default maps are in units of the logit; those of
        ``"cam"`` are negative for pixels that lower the logit.
    batch_size : int, default=None
        Samples per batch. None means the estimator's `batch_size`.

    Returns
    -------
    maps : ndarray of shape (n_samples, length) or (n_samples, height, width), float32
        One map for each spectrum or image, on the pixels that the classifier gets. If
        a step of the pipeline changes their number, as :class:`~skastro.RebinSpectra`
        does, the maps are on the new pixels; `image_size` and `wavelength` of the
        classifier do not.

    Raises
    ------
    TypeError
        If the estimator is of another kind, or its network does not allow such maps.
    ValueError
        If labels are not among the classes, X has another shape than in ``fit``, the
        layer does not exist, or a parameter has another value than those listed.
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If Grad-CAM is needed and captum is not installed.

    See Also
    --------
    ActivationMapDisplay : Draw the maps over spectra or images.
    deletion_score : Test whether the maps are right.

    Notes
    -----
    Maps are interpolated linearly to the pixels of the input. Each pixel of the feature
    maps is at the center of its receptive field, which follows from the strides,
    kernels and paddings of the previous layers. Receptive fields are wider than the
    distance between these pixels, and in deep networks as wide as the input. The
    evidence is then not necessarily at the maximum of the map: test it by
    :func:`deletion_score`. This is the case for the SE-DenseNet with its default of
    seven dense blocks, whose last kernels span 2600 pixels. Fewer blocks, or Grad-CAM
    of an earlier layer such as ``layer="transitions.2"``, give correct positions.

    Networks compute in float32 here, independent of the estimator's ``precision``.

    References
    ----------
    .. [1] B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, "Learning Deep
       Features for Discriminative Localization", CVPR 2016,
       doi:10.1109/CVPR.2016.319.
    .. [2] R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks
       via Gradient-Based Localization", ICCV 2017, doi:10.1109/ICCV.2017.74.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import SpectrumClassifier
    >>> from skastro.inspection import class_activation_map
    >>> rng = np.random.default_rng(0)
    >>> flux = rng.normal(size=(80, 200))
    >>> target = np.repeat(["line", "no line"], 40)
    >>> flux[target == "line", 140:150] += 5
    >>> clf = SpectrumClassifier(
    ...     module__width=8, module__n_blocks=(1,), verbose=0, random_state=0
    ... )
    >>> maps = class_activation_map(clf.fit(flux, target), flux[:3])
    >>> maps.shape
    (3, 200)
    >>> bool((abs(maps.argmax(axis=1) - 145) < 10).all())
    True
    """
    _check_options(method, layer, batch_size)
    net, X = find_classifier(estimator, X, "class_activation_map")
    codes = torch.from_numpy(encode_target(net, X, target))
    net.module_.eval()
    x = net.module_input(X[:1])
    explain, trace = _choose_method(net, x, method, layer)
    batch_size = net.batch_size if batch_size is None else batch_size
    if batch_size == -1:
        batch_size = len(X)
    sizes, to_own_pixels = _own_pixels(net, X, trace.sizes)
    maps = np.empty((len(X), *sizes), dtype=np.float32)
    for start in range(0, len(X), batch_size):
        rows = slice(start, start + batch_size)
        x = net.module_input(X[rows])
        maps[rows] = to_own_pixels(trace.spread(explain(x, codes[rows].to(x.device))))
    return _normalized(maps) if normalize else maps


def _own_pixels(
    net: BaseClassifier, X: Any, sizes: Sequence[int]
) -> tuple[Sequence[int], Callable[[Tensor], np.ndarray]]:
    """Tell the pixels of X, and how maps on those of the network get there."""
    if isinstance(net, ImageInput):
        own = net._layout.sizes_of(tuple(X.shape[1:]))[1]
        if own != sizes:
            return own, lambda maps: resample(maps, own).cpu().numpy()
    elif getattr(net, "wavelength", None) is not None:
        pixels = net._pixels()

        def interpolate(maps: Tensor) -> np.ndarray:
            # The network does not see pixels beyond its own.
            return np.stack(
                [np.interp(pixels, GRID, row, 0, 0) for row in maps.cpu().numpy()]
            )

        return pixels.shape, interpolate
    return sizes, lambda maps: maps.cpu().numpy()


def find_classifier(estimator: Any, X: Any, caller: str) -> tuple[BaseClassifier, Any]:
    """Find the classifier at the end of a pipeline, and transform X by its steps."""
    net = estimator
    while isinstance(net, Pipeline):
        net = net.steps[-1][1]
    if not isinstance(net, BaseClassifier):
        message = (
            f"{caller} takes a SpectrumClassifier, a GalaxyClassifier or a pipeline "
            f"that ends in one, but got {type(net).__name__}."
        )
        if hasattr(net, "best_estimator_"):
            message += " Give its best_estimator_."
        raise TypeError(message)
    net.check_is_fitted()
    X = samples_for(estimator, X)
    for step in prediction_steps(estimator)[:-1]:
        X = step.transform(X)
    return net, as_lazy(X) if is_lazy(X) else plain_samples(X)


def encode_target(net: BaseClassifier, X: Any, target: Any) -> np.ndarray:
    """Return the class indices of the target, shape (n_samples,)."""
    if target is None:
        return net.predict_proba(X).argmax(axis=1)
    labels = plain_labels(target, "target")
    if labels.ndim == 0:
        labels = np.full(len(X), labels)
    if labels.shape != (len(X),):
        raise ValueError(
            f"target must be None, one label, or one label for each of the {len(X)} "
            f"samples of X, but got an array of shape {labels.shape}."
        )
    code_of = {label: code for code, label in enumerate(net.classes_.tolist())}
    unknown = sorted({str(label) for label in labels.tolist() if label not in code_of})
    if unknown:
        raise ValueError(
            f"target has labels that the classifier does not know: {unknown}; its "
            f"classes are {list(code_of)}."
        )
    return np.array([code_of[label] for label in labels.tolist()])


def _check_options(method: str, layer: str | None, batch_size: int | None) -> None:
    check_option(method, "method", METHODS)
    if layer is not None and not isinstance(layer, str):
        raise TypeError(
            "layer must be the name of a layer, such as 'layer4', but got a "
            f"{type(layer).__name__}."
        )
    if layer is not None and method == "cam":
        raise ValueError(
            "method='cam' always uses the last feature maps; leave out layer, or use "
            "method='gradcam'."
        )
    if batch_size is not None:
        check_count(batch_size, "batch_size", 1)


def _normalized(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1]."""
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    return (maps - low) / np.where(span > 0, span, 1)


# A function of a batch of module inputs and class indices that returns maps.
_Explanation = Callable[[Tensor, Tensor], Tensor]


def _choose_method(
    net: BaseClassifier, x: Tensor, method: str, layer: str | None
) -> tuple[_Explanation, "_LayerTrace"]:
    """Choose the method that the network allows, by running it on one sample."""
    module, name = net.module_, type(net.module_).__name__
    # Not from x: modules that take no sizes get images in the layout of X.
    known = getattr(net, "module_sizes_", {"input_size": x.shape[2:]})
    sizes = np.atleast_1d(known["input_size"]).tolist()
    with torch.no_grad(), traced(module, sizes) as trace:
        outputs = _logits_of(module)(x)
    if method != "gradcam" and layer is None:
        if _averages_maps(module, x, outputs, len(sizes)):
            return _class_activation(module), trace
        if method == "cam":
            raise TypeError(
                f"{name} does not average its last feature maps over the pixels and "
                "pass them to a linear layer 'fc', which class activation maps need. "
                "Use method='gradcam', or a network that does, such as 'resnet18'."
            )
    if layer is None:
        chosen = trace.last_maps()
        if chosen is None:
            raise TypeError(
                f"{name} has no convolution whose feature maps have positions in the "
                "input. Name a layer that has such maps by layer=..., or use a "
                "convolutional network, such as 'resnet18'."
            )
        return _grad_cam(module, chosen, len(sizes)), trace
    layers = dict(module.named_modules())
    if layer not in layers or layer == "":
        known = ", ".join(repr(known) for known in layers if known)
        raise ValueError(f"{name} has no layer {layer!r}; it has {known}.")
    if not trace.has_maps_of(layers[layer]):
        raise ValueError(
            f"The layer {layer!r} of {name} does not return feature maps: a tensor of "
            "shape (batch, channels, pixels, ...), once for each input."
        )
    return _grad_cam(module, layers[layer], len(sizes)), trace


def _class_activation(module: nn.Module) -> _Explanation:
    """Return the function that sums the last feature maps, weighted by ``fc``."""

    @torch.no_grad()
    def explain(x: Tensor, codes: Tensor) -> Tensor:
        features = module.forward_features(x)
        return torch.einsum("nk...,nk->n...", features, module.fc.weight[codes])

    return explain


def _grad_cam(module: nn.Module, layer: nn.Module, n_axes: int) -> _Explanation:
    """Return the function that sums a layer's maps, weighted by mean gradients."""
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise ImportError(
            "Grad-CAM needs captum; install it with pip install 'skastro[explain]'."
        ) from error
    method = LayerGradCam(_logits_of(module), layer)

    def explain(x: Tensor, codes: Tensor) -> Tensor:
        maps = method.attribute(
            x.requires_grad_(), target=codes, relu_attributions=True
        )
        # One-dimensional maps can have a height of 1.
        return maps.detach().reshape(len(x), *maps.shape[-n_axes:])

    return explain


def _logits_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the uncompiled function from inputs to logits, on which hooks work."""

    def logits(x: Tensor) -> Tensor:
        result = module.forward(x)
        return result[0] if isinstance(result, tuple) else result

    return logits


def _averages_maps(module: nn.Module, x: Tensor, outputs: Tensor, n_axes: int) -> bool:
    """Return whether the logits are ``fc`` of the mean of the feature maps."""
    fc = getattr(module, "fc", None)
    if not isinstance(fc, nn.Linear) or not hasattr(module, "forward_features"):
        return False
    with torch.no_grad():
        features = module.forward_features(x)
        if features.dim() != n_axes + 2 or features.shape[1] != fc.in_features:
            return False
        logits = fc(global_average(features, fc.weight.dtype))
    return logits.shape == outputs.shape and torch.allclose(
        logits, outputs, rtol=1e-3, atol=1e-3 * outputs.abs().max().item()
    )


class _LayerTrace:
    """Positions of the pixels of feature maps in the input.

    Strides and pooling give maps of fewer pixels than the input. The center of each of
    these pixels in the input follows from the kernels, strides and paddings of the
    layers [1]_. Parallel branches have the same strides, because their maps could not
    be joined otherwise. The first layer that returns maps of a given length therefore
    determines the positions for this length.

    References
    ----------
    .. [1] A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional
       Neural Networks", Distill, 2019, doi:10.23915/distill.00021.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        # For each axis: length of the maps -> (step, position of the first pixel).
        self._grids = [{size: (1.0, 0.0)} for size in sizes]
        self._calls: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(self, layer: nn.Module, inputs: tuple, output: Any) -> None:
        """Record the output of a layer; a forward hook."""
        n_axes = len(self.sizes)
        if not isinstance(output, Tensor) or output.dim() < n_axes + 2:
            return
        self._calls.append((layer, tuple(output.shape[-n_axes:])))
        if not isinstance(layer, _CONVOLUTIONS + _POOLS):
            return
        for axis in range(-n_axes, 0):
            before, after = inputs[0].shape[axis], output.shape[axis]
            grid = self._grids[axis]
            if before not in grid or after in grid:
                continue
            step, start = grid[before]
            reach = _along(getattr(layer, "dilation", 1), axis) * (
                _along(layer.kernel_size, axis) - 1
            )
            padding = {"valid": 0, "same": reach // 2}.get(layer.padding)
            if padding is None:
                padding = _along(layer.padding, axis)
            grid[after] = (
                step * _along(layer.stride, axis),
                start + step * (reach / 2 - padding),
            )

    def last_maps(self) -> nn.Module | None:
        """Find the last layer whose maps have the size of the last convolution.

        This is the last convolution, or a layer that follows it without pooling: batch
        norm, activation, the sum with a shortcut. None without convolutions.
        """
        sizes = [
            size for layer, size in self._calls if isinstance(layer, _CONVOLUTIONS)
        ]
        # Gates of channels can be written as convolutions of single pixels.
        sizes = [size for size in sizes if max(size) > 1] or sizes
        if not sizes:
            return None
        return next(
            (
                layer
                for layer, size in reversed(self._calls)
                if size == sizes[-1] and self.has_maps_of(layer)
            ),
            None,
        )

    def has_maps_of(self, layer: nn.Module) -> bool:
        """Return whether a layer ran once, and returned feature maps."""
        return sum(called is layer for called, _ in self._calls) == 1

    def spread(self, maps: Tensor) -> Tensor:
        """Interpolate maps of shape (n_samples, ...) linearly to the input's pixels.

        Beyond the first and the last pixel of a map values are constant. If layers
        other than convolutions and pooling changed the size, the pixels of a map divide
        the input evenly.
        """
        for axis in range(-len(self.sizes), 0):
            size, n = self.sizes[axis], maps.shape[axis]
            step, start = self._grids[axis].get(n, (size / n, (size / n - 1) / 2))
            pixel = torch.arange(size, dtype=torch.float64)
            place = ((pixel - start) / step).clamp(0, n - 1)
            left = place.floor().long()
            right = (left + 1).clamp(max=n - 1)
            part = (place - left).to(maps.device, maps.dtype)
            part = part.reshape(-1, *[1] * (-1 - axis))
            maps = (
                maps.index_select(axis, left.to(maps.device)) * (1 - part)
                + maps.index_select(axis, right.to(maps.device)) * part
            )
        return maps


@contextmanager
def traced(module: nn.Module, sizes: Sequence[int]) -> Iterator[_LayerTrace]:
    """Record the outputs of a module's layers while the block runs."""
    trace = _LayerTrace(sizes)
    layers = [layer for layer in module.modules() if layer is not module]
    handles = [layer.register_forward_hook(trace.note) for layer in layers]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _along(value: int | tuple[int, ...], axis: int) -> int:
    """Return the entry of a layer's setting for an axis."""
    return value[axis] if isinstance(value, tuple) else value
