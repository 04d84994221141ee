# SPDX-License-Identifier: BSD-3-Clause
"""Registry of the names of networks, such as ``module="resnet18"``."""

from collections.abc import Callable

from torch import nn

from skastro.utils import load_entry_points, suggest_name

ModuleFactory = Callable[..., nn.Module]

# Networks by name and number of axes. The file of each network calls `register`.
_MODULES: dict[tuple[str, int], ModuleFactory] = {}
_ENTRY_POINTS = "skastro.networks"


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
    An estimator passes a network those of the sizes ``n_channels``, ``n_outputs`` and
    ``input_size`` that the network's signature names.

    A name that a script registers is known in the process of the script only. For
    worker processes, pass the class itself to the estimator. The names of an installed
    package are known in all processes if the package declares the module or class that
    registers them in the entry-point group ``skastro.networks``.

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
        If there is no network of this name for `ndim` axes.

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
    Known: ... Pass the class of a module for any other.
    """
    _check_ndim(ndim)
    if (name, ndim) in _MODULES:
        return _MODULES[name, ndim]
    names = available_modules(ndim)
    if name in names:
        return _MODULES[name, ndim]
    message = f"There is no network {name!r} for {ndim}-D input."
    if (name, 3 - ndim) in _MODULES:
        message += f" (There is one for {3 - ndim}-D input.)"
    raise ValueError(
        f"{message} {suggest_name(name, names)} Pass the class of a module for any "
        "other."
    )


def available_modules(ndim: int) -> list[str]:
    """List the names of the networks for spectra or for images.

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
    >>> "resnet18" in available_modules(ndim=2)
    True
    """
    _check_ndim(ndim)
    load_entry_points(_ENTRY_POINTS)
    return sorted(name for name, axes in _MODULES if axes == ndim)


def _check_ndim(ndim: int) -> None:
    if ndim not in (1, 2):
        raise ValueError(
            f"ndim must be 1 (spectra) or 2 (images), but got {ndim!r}; channels are "
            "not counted."
        )


def _origin(module: ModuleFactory) -> object:
    """Identify a module by where it is defined.

    A class that is defined again, by a notebook cell that ran twice, is the same
    network.
    """
    if hasattr(module, "__qualname__"):
        return module.__module__, module.__qualname__
    return module
