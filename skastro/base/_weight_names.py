# SPDX-License-Identifier: BSD-3-Clause
"""Weights of other libraries, brought to the names of a network.

One rule serves the checkpoints of torchvision, timm, Zoobot, MoCo, SimCLR, BYOL, ...:
the names of the backbone's weights may stand behind any prefix, the same for all
(``encoder.``, ``module.encoder_q.``, ...), in place of the network's own (``""``,
``encoder.``), and its children may be numbered, as in :class:`torch.nn.Sequential`. All
must be there, in the network's shapes, and no others but heads and running averages
of the network. What stands under other prefixes is left out.
"""

import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from skastro.networks import get_module

Weights = dict[str, Tensor]

# What networks call their layers behind the backbone.
_HEADS = {
    *("fc", "linear", "classifier", "head", "prototypes"),
    *("projection_head", "prediction_head", "projector", "predictor"),
}
# In names of networks that follow the trained one as a running average of it.
_AVERAGES = {"momentum", "teacher", "target", "key", "k", "ema"}
# Networks that published weights are most often of, and their stems by kernel size.
_USUAL = ("resnet18", "resnet34", "resnet50", "resnet101")
_STEM_OF_KERNEL = {3: "stride1", 7: "imagenet", 15: "stride4"}
# How the names of weights end in networks that are often taken for the usual ones.
_OTHERS = {
    "conv1.0.weight": "a ResNet whose stem is of several convolutions, such as timm's "
    "resnet50d",
    "shortcut.0.weight": "a ResNet that names its shortcuts otherwise, such as "
    "lightly's for small images",
    "stem.0.weight": "a ConvNeXt",
    "conv_stem.weight": "an EfficientNet, or another network of timm with its stem",
    "patch_embed.proj.weight": "a vision transformer",
    "embedder.embedder.convolution.weight": "a ResNet of Hugging Face's transformers",
}


def find_head(module: nn.Module) -> tuple[str, nn.Module]:
    """Find name and module of a network's last layer, which gives the outputs.

    It is the last one with weights of its own, in the order in which they were made.
    """
    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    if len(layers) < 2:
        raise ValueError(
            "backbone and backbone_lr need a network of several layers, of which the "
            f"last is its head, but {type(module).__name__} has {len(layers)} with "
            "weights."
        )
    return layers[-1]


def first_convolution(module: nn.Module) -> str:
    """Name the weights that read the channels of the input."""
    convolutions = (
        name
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Conv1d, nn.Conv2d))
    )
    return next(convolutions, "") + ".weight"


def state_but_head(module: nn.Module) -> Weights:
    """Return the state of a network without its head's."""
    head = find_head(module)[0] + "."
    return {k: v for k, v in module.state_dict().items() if not k.startswith(head)}


def name_as_in(module: nn.Module, weights: Weights, source: Any) -> Weights:
    """Give weights the names that they have in a network, and leave heads out.

    Weights that fit under no prefix are given the names that come closest, for messages
    about what is missing. `source` is where they are from.
    """
    own = state_but_head(module)
    found = _renamed(module, weights)
    fitting = [prefix for prefix in found if _fits(module, own, found[prefix])]
    if (prefix := _common_prefix(own)) in fitting:
        return found[prefix]
    fitting = [p for p in fitting if not _is_average(p)] or fitting
    if len(fitting) > 1:
        raise ValueError(
            f"{source} holds several networks that fit {type(module).__name__}, with "
            f"names that begin with {' and '.join(map(repr, fitting))}. Save the "
            "weights of one of them to a file of their own."
        )
    if fitting:
        return found[fitting[0]]
    head = find_head(module)[0] + "."
    as_they_are = {k: v for k, v in weights.items() if not k.startswith(head)}
    return max(
        [as_they_are, *found.values()],
        key=lambda given: sum(
            name in own and value.shape == own[name].shape
            for name, value in given.items()
        ),
    )


def find_network(weights: Weights, ndim: int) -> dict[str, Any]:
    """Name the usual network that weights are of, with its settings; {} if none.

    A stem's stride and pooling have no weights; the usual ones for its kernel are
    meant.
    """
    for stem in _stems(weights):
        if stem.ndim != ndim + 2:
            continue
        settings: dict[str, Any] = {"width": len(stem)}
        if stem.shape[-1] in _STEM_OF_KERNEL:
            settings["stem"] = _STEM_OF_KERNEL[stem.shape[-1]]
        for name in _USUAL:
            factory: Callable[..., nn.Module] = get_module(name, ndim)
            with torch.device("meta"):
                network = factory(n_channels=stem.shape[1], n_outputs=1, **settings)
            own = state_but_head(network)
            if any(_fits(network, own, g) for g in _renamed(network, weights).values()):
                return {"module": name} | {
                    f"module__{key}": value for key, value in settings.items()
                }
    return {}


def say_network(weights: Weights, ndim: int) -> str:
    """Say which network weights are of, or ask for it."""
    if settings := find_network(weights, ndim):
        named = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        return f"They fit {named}."
    ask = "Give the module that they were trained with, and its module__... settings."
    for name in weights:
        for ending, architecture in _OTHERS.items():
            if f".{name}".endswith(f".{ending}"):
                return (
                    f"They look like those of {architecture}, which is none of the "
                    f"networks here: {name!r} tells. {ask}"
                )
    return ask


def _stems(weights: Weights) -> Iterator[Tensor]:
    """Yield the first convolutions of what may be usual networks."""
    for first, second in (
        ("conv1.weight", "layer1.0.conv1.weight"),
        ("0.weight", "4.0.conv1.weight"),
    ):
        for name, value in weights.items():
            if name.removesuffix(first) + second in weights and name.endswith(first):
                yield value


def _renamed(module: nn.Module, weights: Weights) -> dict[str, Weights]:
    """Give weights the names that they have in a network, for each possible prefix."""
    own = state_but_head(module)
    head = find_head(module)[0] + "."
    common = _common_prefix(own)
    parts = [name for name, _ in module.get_submodule(common[:-1]).named_children()]
    names = {}
    for key in own:
        part, dot, rest = key.removeprefix(common).partition(".")
        names[part + dot + rest] = key
        if part in parts:
            names.setdefault(f"{parts.index(part)}{dot}{rest}", key)
    first = next(iter(own))
    found: dict[str, Weights] = {}
    for ending in [short for short, key in names.items() if key == first]:
        for name in weights:
            prefix = name.removesuffix(ending)
            if not f".{name}".endswith(f".{ending}") or prefix in found:
                continue
            given = {}
            for key, value in weights.items():
                short = key.removeprefix(prefix)
                full = names.get(short, common + short)
                part = short.partition(".")[0]
                is_extra = part in _HEADS or _is_average(part) or full.startswith(head)
                if key.startswith(prefix) and (full in own or not is_extra):
                    given[full] = value
            found[prefix] = given
    return found


def _common_prefix(own: Weights) -> str:
    """Return the modules that all names begin with, such as ``encoder.``."""
    paths = {tuple(name.split(".")[:-1]) for name in own}
    if len(paths) == 1:
        # The name of a single layer is all that tells it from others.
        paths = {path[:-1] for path in paths}
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return "".join(f"{parts[0]}." for parts in common)


def _fits(module: nn.Module, own: Weights, given: Weights) -> bool:
    """Tell whether names and shapes are the network's, except for the channels."""
    stem = first_convolution(module)

    def shape(name: str, value: Tensor) -> tuple[int, ...]:
        return value.shape[:1] + value.shape[2:] if name == stem else value.shape

    return not (missing_from(own, given) or given.keys() - own.keys()) and all(
        shape(name, value) == shape(name, own[name]) for name, value in given.items()
    )


def missing_from(own: Weights, given: Weights) -> list[str]:
    """List the names that are not given."""
    return [
        name
        for name in own
        # Counts of batches are of no use here, and old checkpoints have none.
        if name not in given and not name.endswith("num_batches_tracked")
    ]


def _is_average(prefix: str) -> bool:
    return not _AVERAGES.isdisjoint(re.split(r"[._]", prefix))
