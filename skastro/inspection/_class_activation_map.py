# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps: which pixels a network's decision rests on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skastro.base import BaseClassifier
from skastro.inspection._display import prediction_steps
from skastro.networks.layers import global_average
from skastro.utils import as_lazy, check_count, check_option, is_lazy, plain_array

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
    """Map how much each pixel speaks for a class.

    A network that averages its last feature maps over all pixels and then weighs them
    linearly, as :class:`~skastro.networks.ResNet` and
    :class:`~skastro.networks.SEDenseNet` do, could as well weigh first and average
    later. What it would average is the class activation map [1]_: the feature maps,
    weighted with the last layer's weights of the class and summed. Its mean over its
    pixels plus the class's bias is the class's logit, exactly. For other
    convolutional networks Grad-CAM [2]_ takes, in place of these weights, the
    gradient of the logit by each feature map, averaged over the pixels, and keeps
    what speaks for the class. Read more in the :ref:`User Guide <explaining>`.

    Parameters
    ----------
    estimator : SpectrumClassifier, GalaxyClassifier or Pipeline
        A fitted classifier, or a pipeline that ends in one. The steps before transform
        X first; samplers are passed over, as in prediction.
    X : array-like of shape (n_samples, ...)
        Spectra or images, as ``estimator.predict`` takes them.
    target : label or array-like of shape (n_samples,), default=None
        The class whose map is made: one label for all samples, or one for each. None
        means the class that is predicted.
    method : {"auto", "cam", "gradcam"}, default="auto"
        ``"cam"`` is the map of [1]_, for networks with a method ``forward_features``
        and a linear layer ``fc`` whose output is ``fc`` of the features' mean over
        their pixels, which is tried out. ``"gradcam"`` is that of [2]_, for all
        networks with convolutions; it needs captum, ``pip install "skastro[explain]"``.
        ``"auto"`` is ``"cam"`` where that is possible and no `layer` is named, and
        ``"gradcam"`` elsewhere.
    layer : str, default=None
        Whose feature maps Grad-CAM takes: a name among ``module_.named_modules()``.
        None means the last convolution's, after the batch norm, the activation and
        the shortcut that follow it at the same size.
    normalize : bool, default=False
        Whether to bring each sample's map to [0, 1] by its minimum and maximum. A
        constant map becomes 0. By default maps are in units of the logit; those of
        ``"cam"`` can be negative, where pixels speak against the class.
    batch_size : int, default=None
        Samples computed at once. None means the estimator's `batch_size`.

    Returns
    -------
    maps : ndarray of shape (n_samples, length) or (n_samples, height, width), float32
        One map for each spectrum or image, of the pixels that the network reads. If
        a step of the pipeline changes their number, as
        :class:`~skastro.RebinSpectra` does, the maps are on the new pixels.

    Raises
    ------
    TypeError
        If the estimator is none of these, or its network cannot be explained this way.
    ValueError
        If labels are not among the classes, X has another shape than in ``fit``, there
        is no such layer, or a parameter has another value than those listed.
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If Grad-CAM is asked for and captum is not installed.

    See Also
    --------
    ActivationMapDisplay : Draw the maps over spectra or images.
    deletion_score : Measure whether the maps tell the truth.

    Notes
    -----
    Maps are interpolated linearly to the pixels of the input. Each pixel of the feature
    maps is placed at the center of the pixels that it sees, by the strides, kernels and
    paddings of the layers before. What a pixel of the feature maps sees is wider than
    the distance between them, though, and in deep networks as wide as the input. Then
    the evidence need not stand where the map says: measure by :func:`deletion_score`.
    That is so for the SE-DenseNet with its default of seven dense blocks, whose last
    kernels span 2600 pixels. Fewer blocks, or Grad-CAM of an earlier layer such as
    ``layer="transitions.2"``, put its maps in place.

    Networks compute in float32 here, whatever the estimator's ``precision``.

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
    maps = np.empty((len(X), *trace.sizes), dtype=np.float32)
    for start in range(0, len(X), batch_size):
        rows = slice(start, start + batch_size)
        x = net.module_input(X[rows])
        maps[rows] = trace.spread(explain(x, codes[rows].to(x.device))).cpu().numpy()
    return _normalized(maps) if normalize else maps


def find_classifier(estimator: Any, X: Any, caller: str) -> tuple[BaseClassifier, Any]:
    """Find the classifier at a pipeline's end, and transform X by the steps before."""
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
    for step in prediction_steps(estimator)[:-1]:
        X = step.transform(X)
    if isinstance(X, Tensor):
        X = X.numpy(force=True)
    return net, as_lazy(X) if is_lazy(X) else plain_array(X)


def encode_target(net: BaseClassifier, X: Any, target: Any) -> np.ndarray:
    """Return the numbers of the classes asked for, shape (n_samples,)."""
    if target is None:
        return net.predict_proba(X).argmax(axis=1)
    labels = np.asarray(target)
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
            "method='cam' always takes the last feature maps; leave out layer, or take "
            "method='gradcam'."
        )
    if batch_size is not None:
        check_count(batch_size, "batch_size", 1)


def _normalized(maps: np.ndarray) -> np.ndarray:
    """Bring each map to [0, 1]."""
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    return (maps - low) / np.where(span > 0, span, 1)


# From one batch of module inputs and the classes' numbers to maps of any size.
_Explanation = Callable[[Tensor, Tensor], Tensor]


def _choose_method(
    net: BaseClassifier, x: Tensor, method: str, layer: str | None
) -> tuple[_Explanation, "_LayerTrace"]:
    """Find out what the network allows, by running it on one sample."""
    module, name = net.module_, type(net.module_).__name__
    # Not from x: modules that take no sizes get images in the layout of the user's X.
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
                "Take method='gradcam', or a network that does, such as 'resnet18'."
            )
    if layer is None:
        chosen = trace.last_maps()
        if chosen is None:
            raise TypeError(
                f"{name} has no convolution whose feature maps show where in the input "
                "something is. Name a layer that has such maps by layer=..., or take a "
                "convolutional network, such as 'resnet18'."
            )
        return _grad_cam(module, chosen, len(sizes)), trace
    layers = dict(module.named_modules())
    if layer not in layers or layer == "":
        known = ", ".join(repr(known) for known in layers if known)
        raise ValueError(f"{name} has no layer {layer!r}; it has {known}.")
    if not trace.has_maps_of(layers[layer]):
        raise ValueError(
            f"The layer {layer!r} of {name} gives no feature maps: a tensor of shape "
            "(batch, channels, pixels, ...), once for each input."
        )
    return _grad_cam(module, layers[layer], len(sizes)), trace


def _class_activation(module: nn.Module) -> _Explanation:
    """Return the function to sums of the last feature maps, weighted by ``fc``."""

    @torch.no_grad()
    def explain(x: Tensor, codes: Tensor) -> Tensor:
        features = module.forward_features(x)
        return torch.einsum("nk...,nk->n...", features, module.fc.weight[codes])

    return explain


def _grad_cam(module: nn.Module, layer: nn.Module, n_axes: int) -> _Explanation:
    """Return the function to sums of a layer's maps, weighted by mean gradients."""
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
    """Return the function from inputs to logits, not compiled, which hooks see."""

    def logits(x: Tensor) -> Tensor:
        result = module.forward(x)
        return result[0] if isinstance(result, tuple) else result

    return logits


def _averages_maps(module: nn.Module, x: Tensor, outputs: Tensor, n_axes: int) -> bool:
    """Tell whether a network's logits are ``fc`` of the mean of its feature maps."""
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
    """What a network's layers did to the pixels of one input.

    Strides and pooling leave maps of fewer pixels than the input. Each of these is
    centered somewhere in the input, which follows from the kernels, strides and
    paddings on the way [1]_. Where in the network two branches run side by side they
    have the same strides, or their maps could not be joined; so the way to maps of
    some length is told by the first layer that made such maps.

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
        """Record what a layer has done; a forward hook."""
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
        """Find the last layer whose maps have the size of the last convolution's.

        This is the last convolution, or what follows it without pooling: its batch
        norm, its activation, the sum with a shortcut. None without convolutions.
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
        """Tell whether a layer ran once, and gave feature maps."""
        return sum(called is layer for called, _ in self._calls) == 1

    def spread(self, maps: Tensor) -> Tensor:
        """Interpolate maps of shape (n_samples, ...) linearly to the input's pixels.

        Beyond the first and the last pixel of a map values stay constant. Where layers
        other than convolutions and pooling changed the size, the pixels of a map
        divide the input evenly.
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
    """Record what a module's layers do while the block runs."""
    trace = _LayerTrace(sizes)
    layers = [layer for layer in module.modules() if layer is not module]
    handles = [layer.register_forward_hook(trace.note) for layer in layers]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _along(value: int | tuple[int, ...], axis: int) -> int:
    """Pick an axis' entry of a layer's setting."""
    return value[axis] if isinstance(value, tuple) else value
