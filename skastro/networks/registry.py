# SPDX-License-Identifier: BSD-3-Clause
"""Names of networks: what ``module="resnet18"`` means."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from torch import nn

from skastro.networks.densenet import SEDenseNet
from skastro.networks.mlp import MLP
from skastro.networks.polar import PolarNet
from skastro.networks.resnet import ResNet
from skastro.networks.vae import ConvVAE

ModuleFactory = Callable[..., nn.Module]

_RESNETS = {
    "resnet18": {"block": "basic", "n_blocks": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "n_blocks": (3, 4, 6, 3)},
    "resnet50": {"block": "bottleneck", "n_blocks": (3, 4, 6, 3)},
    "resnet101": {"block": "bottleneck", "n_blocks": (3, 4, 23, 3)},
}

_MODULES: dict[tuple[str, int], ModuleFactory] = {
    ("densenet", 1): SEDenseNet,
    ("mlp", 1): MLP,
    # Few, wide kernels: measured to learn more from a few hundred spectra, and faster,
    # than many narrow ones.
    ("resnet10", 1): partial(
        ResNet,
        ndim=1,
        block="basic",
        n_blocks=(1, 1, 1, 1),
        width=32,
        kernel_size=7,
        stem="stride4",
        dropout=0.5,
    ),
    ("mlp", 2): MLP,
    ("polar", 2): PolarNet,
    # Galaxies of a few dozen pixels keep their arms only where the first stage sees
    # every second pixel; a thousand images do not fill more layers.
    ("resnet10", 2): partial(
        ResNet,
        ndim=2,
        block="basic",
        n_blocks=(1, 1, 1, 1),
        width=32,
        stem="stride2",
        dropout=0.5,
    ),
    **{
        (name, ndim): partial(ResNet, ndim=ndim, **settings)
        for name, settings in _RESNETS.items()
        for ndim in (1, 2)
    },
    ("vae", 1): ConvVAE,
    ("vae", 2): ConvVAE,
    # Smaller than the published network, and no worse than principal components from
    # its first step on: for a thousand samples rather than for hundred thousands.
    ("vae-axes", 1): partial(
        ConvVAE, widths=(32, 64, 128), output="linear", around_axes=True
    ),
    ("vae-axes", 2): partial(
        ConvVAE,
        widths=(32, 64, 128),
        output="linear",
        max_size=64,
        invariant=0.6,
        around_axes=True,
    ),
}


def register(name: str, ndim: int) -> Callable[[ModuleFactory], ModuleFactory]:
    """Give a network a name by which estimators find it; a decorator.

    Parameters
    ----------
    name : str
        The name, as in ``module="resnet18"``.
    ndim : {1, 2}
        1 if the network reads spectra ``(batch, channels, length)``, 2 if it reads
        images ``(batch, channels, height, width)``. Decorate twice for both.

    Returns
    -------
    decorator : callable
        It takes a subclass of :class:`torch.nn.Module`, or a function that makes one,
        and returns it unchanged.

    Raises
    ------
    ValueError
        If the name belongs to another network, or if `ndim` is not 1 or 2.
    TypeError
        If `name` is not a string, or if what is decorated cannot be called.

    Notes
    -----
    Of the sizes ``n_channels``, ``n_outputs`` and ``input_size``, a network is given
    those that its signature names. Registration is per process: in worker processes
    that were not forked, pass the class itself to the estimator instead of its name.

    Examples
    --------
    >>> from torch import nn
    >>> from skastro.networks import get_module, register
    >>> @register("average", ndim=1)
    ... class Average(nn.Module):
    ...     def __init__(self, n_channels, n_outputs):
    ...         super().__init__()
    ...         self.fc = nn.Linear(n_channels, n_outputs)
    ...
    ...     def forward(self, x):
    ...         return self.fc(x.mean(dim=2))
    >>> get_module("average", ndim=1) is Average
    True
    """
    _check_ndim(ndim)
    if not isinstance(name, str):
        raise TypeError(
            f"The name of a network must be a string, but got {name!r} of type "
            f"{type(name).__name__}."
        )

    def decorator(module: ModuleFactory) -> ModuleFactory:
        if not callable(module):
            raise TypeError(
                "A subclass of torch.nn.Module, or a function that makes a module, can "
                f"be registered, but got {module!r}."
            )
        known = _MODULES.get((name, ndim), module)
        if _origin(known) != _origin(module):
            raise ValueError(
                f"The name {name!r} belongs to {known!r} for {ndim}-D input; choose "
                "another name."
            )
        _MODULES[name, ndim] = module
        return module

    return decorator


def get_module(name: str, ndim: int) -> ModuleFactory:
    """Find a network by its name.

    Parameters
    ----------
    name : str
        A name that :func:`available_modules` lists.
    ndim : {1, 2}
        1 for spectra, 2 for images.

    Returns
    -------
    module : callable
        A subclass of :class:`torch.nn.Module`, or a callable that makes one; its
        signature names the sizes and hyperparameters that it takes.

    Raises
    ------
    ValueError
        If there is no such network for input of so many axes.

    Examples
    --------
    >>> from skastro.networks import get_module
    >>> network = get_module("resnet50", ndim=2)(n_channels=3, n_outputs=1000)
    >>> sum(parameter.numel() for parameter in network.parameters())
    25557032
    >>> get_module("resnet81", ndim=2)
    Traceback (most recent call last):
        ...
    ValueError: There is no network 'resnet81' for 2-D input. Did you mean 'resnet18'?
    Known are 'mlp', 'polar', 'resnet10', 'resnet101', 'resnet18', 'resnet34',
    'resnet50', 'vae', 'vae-axes'; pass the class of a module for any other.
    """
    _check_ndim(ndim)
    if (name, ndim) in _MODULES:
        return _MODULES[name, ndim]
    names = available_modules(ndim)
    message = f"There is no network {name!r} for {ndim}-D input."
    close = get_close_matches(str(name).lower(), names, n=1)
    if (name, 3 - ndim) in _MODULES:
        message += f" (There is one for {3 - ndim}-D input.)"
    elif close:
        message += f" Did you mean {close[0]!r}?"
    known = ", ".join(map(repr, names))
    raise ValueError(
        f"{message} Known are {known}; pass the class of a module for any other."
    )


def available_modules(ndim: int) -> list[str]:
    """List the names of the networks for input of so many axes.

    Parameters
    ----------
    ndim : {1, 2}
        1 for spectra, 2 for images.

    Returns
    -------
    names : list of str
        In alphabetical order.

    Examples
    --------
    >>> from skastro.networks import available_modules
    >>> available_modules(ndim=2)
    ['mlp', 'polar', 'resnet10', 'resnet101', 'resnet18', 'resnet34', 'resnet50',
     'vae', 'vae-axes']
    """
    _check_ndim(ndim)
    return sorted(name for name, axes in _MODULES if axes == ndim)


def _check_ndim(ndim: int) -> None:
    if ndim not in (1, 2):
        raise ValueError(
            f"ndim must be 1 (spectra) or 2 (images), but got {ndim!r}; channels are "
            "not counted."
        )


def _origin(module: ModuleFactory) -> object:
    """Tell modules apart by where they are defined.

    A class defined again, in a notebook cell that ran twice, is the same network.
    """
    if hasattr(module, "__qualname__"):
        return module.__module__, module.__qualname__
    return module
