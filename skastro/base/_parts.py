# SPDX-License-Identifier: BSD-3-Clause
"""Building the parts of a strict net: callbacks, module, criterion, optimizer, data."""

import copy
import inspect
import math
from typing import Any, ClassVar, Self

import numpy as np
import torch
from skorch import NeuralNet
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, IterableDataset, Subset

from skastro.base._parameters import accepted_names, check_part_names
from skastro.networks import get_module
from skastro.training import (
    BatchIterator,
    BestWeights,
    EpochLog,
    EpochProgress,
    Schedule,
    ValidationSplit,
    samples_at_once,
)

_FUSED_DEVICES = ("cpu", "cuda")
_SIZES = ("n_channels", "n_outputs", "input_size")


class PartsBuilder(NeuralNet):
    """Parts of a net, built from parameters and from the sizes that the data have."""

    # What kinds of estimators differ in.
    _module_ndim = 1
    _stratify = False
    # Classes or numbers, unlike reconstructions.
    _gives_outputs = True
    _monitored: ClassVar[dict[str, Any]] = {}
    _learned_from_rows: ClassVar[tuple[str, ...]] = ()

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks = dict(super()._default_callbacks)
        callbacks["lr_schedule"] = Schedule(vars(self).get("schedule"))
        callbacks["best_weights"] = BestWeights(
            restore=vars(self).get("restore_best_weights", True), **self._monitored
        )
        callbacks["progress"] = EpochProgress()
        callbacks["print_log"] = EpochLog()
        return list(callbacks.items())

    def initialize(self) -> Self:
        """Build all parts anew: callbacks, module, criterion, optimizer, history.

        Returns
        -------
        self : object
            The estimator.
        """
        self._validate_params()
        vars(self).pop("_scaler", None)
        super().initialize()
        return self

    def initialize_callbacks(self) -> Self:
        """Build the callbacks.

        Returns
        -------
        self : object
            The estimator.
        """
        names = {name for name, _ in self._uniquely_named_callbacks()}
        for name in self.get_params_for("callbacks"):
            callback = name.split("__")[0]
            if callback not in names:
                known = ", ".join(map(repr, sorted(names)))
                raise ValueError(
                    f"callbacks__{name} was given, but there is no callback "
                    f"{callback!r}; the callbacks are {known}."
                )
        return super().initialize_callbacks()

    def _module_class(self) -> Any:
        """Give the module's class, or the instance where the user gave one."""
        module = vars(self)["module"]
        if not isinstance(module, str):
            return module
        factory = get_module(module, self._module_ndim)
        if self._gives_outputs and _is_autoencoder(factory):
            raise ValueError(
                f"The network {module!r} is an autoencoder, for VAETransformer; "
                f"{type(self).__name__} needs one that takes n_outputs."
            )
        return factory

    def _names_taken(self) -> set[str]:
        """List the parameters that the module names in its signature."""
        module = self._module_class()
        if isinstance(module, torch.nn.Module):
            module = type(module)
        return accepted_names(module) or set()

    def _sizes_taken(self) -> set[str]:
        """Tell which inferred sizes the module takes."""
        return set(_SIZES) & self._names_taken()

    def _sizes_known(self) -> dict[str, Any]:
        """Give what a module is told if its signature asks for it."""
        return getattr(self, "module_sizes_", {})

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Collect the parameters of a part; for the module, the inferred sizes too.

        Parameters
        ----------
        prefix : str
            The part's name.

        Returns
        -------
        params : dict
            Names without the prefix, and values.
        """
        params = super().get_params_for(prefix)
        if prefix == "module" and not isinstance(self.module, torch.nn.Module):
            taken = self._names_taken()
            sizes = {k: v for k, v in self._sizes_known().items() if k in taken}
            params = {**sizes, **params}
        return params

    def initialize_module(self) -> Self:
        """Build the module, with the sizes that fit inferred.

        Returns
        -------
        self : object
            The estimator.
        """
        module = self._module_class()
        params = self.get_params_for("module")
        factory = type(module) if isinstance(module, torch.nn.Module) else module
        check_part_names("module", factory, params)
        if factory is module:
            required = {
                name
                for name, parameter in inspect.signature(module).parameters.items()
                if name in _SIZES and parameter.default is parameter.empty
            }
            if missing := sorted(required - set(params)):
                raise ValueError(
                    f"The module needs {', '.join(missing)}, which fit infers from "
                    "the data. To initialize without data, give them yourself: "
                    + ", ".join(f"module__{name}=..." for name in missing)
                )
        elif not params:
            # fit must not train the parameter itself: every fit starts from it.
            module = copy.deepcopy(module)
        self.module_ = self.initialized_instance(module, params)
        self._takes_sizes = bool(self._sizes_taken())
        self._n_weights = sum(
            weight.numel()
            for weight in self.module_.parameters()
            if not is_lazy(weight)
        )
        return self

    def torch_compile(self, module: Any, name: str) -> Any:
        """Compile a module, in place, so that it is pickled like any other.

        Parameters
        ----------
        module : torch.nn.Module
            The module.
        name : str
            Its name; unused.

        Returns
        -------
        module : torch.nn.Module
            The same module.
        """
        if self.compile and isinstance(module, torch.nn.Module):
            module.compile(**self.get_params_for("compile"))
        return module

    def initialize_criterion(self) -> Self:
        """Build the criterion.

        Returns
        -------
        self : object
            The estimator.
        """
        check_part_names("criterion", self.criterion, self.get_params_for("criterion"))
        return super().initialize_criterion()

    def initialize_optimizer(self) -> Self:
        """Build the optimizer.

        Returns
        -------
        self : object
            The estimator.
        """
        given = self.get_params_for("optimizer")
        check_part_names("optimizer", self.optimizer, given, also=["param_groups"])
        return super().initialize_optimizer()

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> tuple:
        """Collect the parameters of an optimizer; it steps in one kernel if it can.

        Parameters
        ----------
        prefix : str
            The optimizer's name.
        named_parameters : iterable of (str, Parameter)
            What it optimizes.

        Returns
        -------
        args, kwargs : tuple
            Arguments of the optimizer's ``__init__``.
        """
        named_parameters = list(named_parameters)
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        choices = {"fused", "foreach", "capturable", "differentiable"}
        if (
            "fused" in (accepted_names(getattr(self, prefix)) or ())
            and not choices & set(kwargs)
            and all(
                not is_lazy(weight)
                and weight.is_floating_point()
                and weight.device.type in _FUSED_DEVICES
                for _, weight in named_parameters
            )
            # Fused kernels take no sparse gradients.
            and not any(getattr(m, "sparse", False) for m in self.module_.modules())
        ):
            kwargs["fused"] = True
        return args, kwargs

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Make the iterator over batches; in training it shuffles.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            The data.
        training : bool, default=False
            Whether the batches are for training.

        Returns
        -------
        iterator : object
            An ``iterator_train`` or ``iterator_valid``.
        """
        part = "iterator_train" if training else "iterator_valid"
        iterator = getattr(self, part)
        options = self.get_params_for(part)
        if _is_batch_iterator(iterator):
            options.setdefault("device", torch.device(self.device or "cpu"))
            if not training:
                options.setdefault("batch_size", self._prediction_batch_size())
        options.setdefault("batch_size", self.batch_size)
        if options["batch_size"] == -1:
            options["batch_size"] = len(dataset)
        if not training:
            return iterator(dataset, **options)
        if self.sampler == "balanced":
            self._check_can_sample(dataset)
            labels = np.unique(_targets_of(dataset), return_inverse=True)[1]
            options["sampling_weights"] = 1.0 / np.bincount(labels)[labels]
        elif self._shuffles(dataset, options):
            options.setdefault("shuffle", True)
        return iterator(dataset, **options)

    def _prediction_batch_size(self) -> int:
        """Choose how many samples to predict at once."""
        sample_size = math.prod(getattr(self, "sample_shape_", ()))
        if not sample_size or self.batch_size == -1:
            return self.batch_size
        device = torch.device(self.device or "cpu")
        return max(self.batch_size, samples_at_once(device, sample_size))

    def _shuffles(self, dataset: Any, options: dict[str, Any]) -> bool:
        loader = self.iterator_train
        return (
            isinstance(loader, type)
            and issubclass(loader, BatchIterator | DataLoader)
            and not isinstance(dataset, IterableDataset)
            and not {"sampler", "batch_sampler"} & set(options)
        )

    def _check_can_sample(self, dataset: Any) -> None:
        batches = self.iterator_train
        if not _is_batch_iterator(batches) or _targets_of(dataset) is None:
            raise ValueError(
                "sampler='balanced' needs X and y as arrays and the default "
                f"iterator_train, but got {type(dataset).__name__} and {batches!r}; "
                "give your iterator a sampler of its own (iterator_train__sampler)."
            )

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        """Split the data into a training and a validation part.

        Parameters
        ----------
        X : array or dataset
            The input.
        y : array, default=None
            The encoded target.
        **fit_params : dict
            Parameters for the split.

        Returns
        -------
        dataset_train, dataset_valid : datasets
            The parts; the second may be None.
        """
        if isinstance(self.train_split, float):
            split = ValidationSplit(
                self.train_split, self._stratify, random_state=self.random_state
            )
            train, valid = split(self.get_dataset(X, y), y)
        else:
            train, valid = super().get_split_datasets(X, y, **fit_params)
        self._learn_from_rows(train)
        return train, valid

    def _learn_from_rows(self, dataset: Any) -> None:
        """Learn what has to be known of the training samples before the first step."""


def _is_autoencoder(factory: Any) -> bool:
    names = accepted_names(factory) or set()
    return "latent_dim" in names and "n_outputs" not in names


def _is_batch_iterator(iterator: Any) -> bool:
    return isinstance(iterator, type) and issubclass(iterator, BatchIterator)


def _targets_of(dataset: Any) -> np.ndarray | None:
    """Find the encoded targets of a data set made from arrays."""
    if isinstance(dataset, Subset):
        targets = _targets_of(dataset.dataset)
        return None if targets is None else targets[np.asarray(dataset.indices)]
    return getattr(dataset, "y", None)
