# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps: which pixels a network's decision rests on."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skastro.base import StrictClassifier
from skastro.inspection._feature_maps import Trace, traced
from skastro.inspection._network import encode_target, module_input, reach_network
from skastro.networks.layers import global_average

METHODS = ("auto", "cam", "gradcam")


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
        Samples computed at once. None means as many as ``predict`` takes, and for
        Grad-CAM, which needs more memory, as many as a batch in training.

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
    maps is placed at the centre of the pixels that it sees, by the strides, kernels and
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
    net, X = reach_network(estimator, X, "class_activation_map")
    codes = encode_target(net, target, len(X))
    net._set_training(False)
    explain, trace = _choose_method(net, module_input(net, X[:1]), method, layer)
    if batch_size is None and explain.needs_gradients:
        batch_size = net.batch_size
    elif batch_size is None:
        batch_size = net._prediction_batch_size()
    if batch_size == -1:
        batch_size = len(X)
    maps = np.empty((len(X), *trace.sizes), dtype=np.float32)
    for start in range(0, len(X), batch_size):
        rows = slice(start, start + batch_size)
        x = module_input(net, X[rows])
        chosen = None if codes is None else torch.from_numpy(codes[rows]).to(x.device)
        maps[rows] = trace.spread(explain(x, chosen)).cpu().numpy()
    return _normalized(maps) if normalize else maps


def _check_options(method: str, layer: str | None, batch_size: int | None) -> None:
    if method not in METHODS:
        raise ValueError(
            f"method must be one of {', '.join(map(repr, METHODS))}, but got "
            f"{method!r}."
        )
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
    if batch_size is not None and (
        isinstance(batch_size, bool)
        or not isinstance(batch_size, Integral)
        or batch_size < 1
    ):
        raise ValueError(
            f"batch_size must be a positive integer or None, but got {batch_size!r}."
        )


def _normalized(maps: np.ndarray) -> np.ndarray:
    """Bring each map to [0, 1]."""
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    return (maps - low) / np.where(span > 0, span, 1)


class _Cam:
    """Weighted sums of the last feature maps."""

    needs_gradients = False

    def __init__(self, net: StrictClassifier) -> None:
        self.module = net.module_
        self.nonlinearity = net._get_predict_nonlinearity()

    @torch.no_grad()
    def __call__(self, x: Tensor, codes: Tensor | None) -> Tensor:
        fc = self.module.fc
        features = self.module.forward_features(x)
        if codes is None:
            outputs = fc(global_average(features, fc.weight.dtype))
            codes = self.nonlinearity(outputs).argmax(dim=1)
        return torch.einsum("nk...,nk->n...", features, fc.weight[codes])


class _GradCam:
    """Sums of a layer's maps, weighted with the mean gradient of the class's logit."""

    needs_gradients = True

    def __init__(self, net: StrictClassifier, layer: nn.Module) -> None:
        try:
            from captum.attr import LayerGradCam
        except ImportError as error:
            raise ImportError(
                "Grad-CAM needs captum; install it with pip install 'skastro[explain]'."
            ) from error
        self.nonlinearity = net._get_predict_nonlinearity()
        self.n_axes = net._module_ndim
        self.outputs = _outputs_of(net.module_)
        self.method = LayerGradCam(self.outputs, layer)

    def __call__(self, x: Tensor, codes: Tensor | None) -> Tensor:
        if codes is None:
            with torch.no_grad():
                codes = self.nonlinearity(self.outputs(x)).argmax(dim=1)
        maps = self.method.attribute(
            x.requires_grad_(), target=codes, relu_attributions=True
        )
        # One-dimensional maps can have a height of 1.
        return maps.detach().reshape(len(x), *maps.shape[-self.n_axes :])


def _outputs_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Give the function from inputs to logits, not compiled, which hooks can watch."""

    def outputs(x: Tensor) -> Tensor:
        result = module.forward(x)
        return result[0] if isinstance(result, tuple) else result

    return outputs


def _choose_method(
    net: StrictClassifier, x: Tensor, method: str, layer: str | None
) -> tuple[_Cam | _GradCam, Trace]:
    """Find out what the network allows, by running it on one sample."""
    module, name = net.module_, type(net.module_).__name__
    sizes = x.shape[-net._module_ndim :]
    if net._module_ndim == 2 and not net._takes_sizes:
        sizes = net._to_images(x).shape[-2:]
    with torch.no_grad(), traced(module, sizes) as trace:
        outputs = _outputs_of(module)(x)
    if method != "gradcam" and layer is None:
        if _averages_maps(module, x, outputs, net._module_ndim):
            return _Cam(net), trace
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
        return _GradCam(net, chosen), trace
    layers = dict(module.named_modules())
    if layer not in layers or layer == "":
        known = ", ".join(repr(known) for known in layers if known)
        raise ValueError(f"{name} has no layer {layer!r}; it has {known}.")
    if not trace.has_maps_of(layers[layer]):
        raise ValueError(
            f"The layer {layer!r} of {name} gives no feature maps: a tensor of shape "
            "(batch, channels, pixels, ...), once for each input."
        )
    return _GradCam(net, layers[layer]), trace


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
