# SPDX-License-Identifier: BSD-3-Clause
"""Networks that classify spectra, and networks that measure them."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from astropy.units import Quantity
from numpy.typing import ArrayLike
from skorch.dataset import Dataset
from skorch.utils import to_tensor
from typing_extensions import override

from skastro.base import BaseClassifier, BaseRegressor
from skastro.base._parameters import find_part
from skastro.base._regressor import score_known
from skastro.base._validation import check_target
from skastro.estimators._spectra import SpectrumInput
from skastro.training import (
    SAMPLE_WEIGHT,
    BatchIterator,
    CosineCycles,
    GreedyPretraining,
    NegativeLogLikelihood,
    Steps,
    separate_weight,
)
from skastro.utils import check_finite, inherit_parameters, name_rows, plain_array

# Settings of published systems; "Open" marks what the source does not give.

# A one-dimensional ResNet-18 for spectra of LAMOST, of a competition.
_RESCLASS: dict[str, Any] = {
    "module": "resnet18",
    "module__stem": "stride1",
    "module__width": 64,
    # The scaler in front, and nothing else.
    "normalization": None,
    "augment": "resclass",
    "sampler": "balanced",
    "batch_size": 64,
    "train_split": 0.2,
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.AdamW,
    # Open: the rate, from where it rises and down to where it falls. These are the
    # numbers published with a ResNet-50 for images of galaxies that is trained alike.
    "lr": 1e-3,
    "schedule": CosineCycles(
        n_cycles=2,
        decay=0.5,
        warm_up=4 / 50,
        # Two cycles of 25 epochs leave no room before them.
        overlap=True,
        start=1e-5 / 1e-3,
        end=1e-6 / 1e-3,
    ),
    "max_epochs": 50,
    # Both the lowest loss and the highest accuracy were published; this is the latter.
    "restore_best_weights": True,
    "callbacks__best_weights__monitor": "valid_acc",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# How Wang, Zhao & Fan (2020) trained; the networks of their table 3 differ in the
# module alone.
_WANG_TRAINING: dict[str, Any] = {
    "normalization": None,
    "augment": "wang2020",
    "sampler": "balanced",
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "schedule": Steps(at=(10 / 60, 30 / 60, 50 / 60), factor=0.1),
    "max_epochs": 60,
    # Open: the size of batches and of the validation part.
    "batch_size": 64,
    "train_split": 0.2,
    # Open: what makes the best epoch. Macro-F1 is the paper's own measure, and unlike
    # accuracy no network reaches 0.985 by calling everything a star.
    "restore_best_weights": True,
    "callbacks__valid_acc__scoring": "f1_macro",
    "callbacks__valid_acc__name": "valid_f1_macro",
    "callbacks__best_weights__monitor": "valid_f1_macro",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# Open: the units of the two networks without convolutions.
_WANG_HIDDEN = (512, 256, 128)

RECIPES: dict[str, dict[str, Any]] = {
    "resclass": _RESCLASS,
    "wang2020": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__kernel_sizes": (1, 11, 25, 41),
        # Open: the numbers of feature maps.
        "module__growth_rate": 12,
        **_WANG_TRAINING,
    },
    "wang2020-densenet": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__growth_rate": 12,
        "module__kernel_sizes": (3,),
        # As many feature maps between the two convolutions as with four widths.
        "module__branch_width": 48,
        "module__squeeze_excitation": False,
        "module__extra_transitions": False,
        **_WANG_TRAINING,
    },
    "wang2020-dbn": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        "module__activation": "sigmoid",
        "callbacks": [("pretraining", GreedyPretraining)],
        **_WANG_TRAINING,
    },
    "wang2020-mlp": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        **_WANG_TRAINING,
    },
}


@inherit_parameters
class SpectrumClassifier(SpectrumInput, BaseClassifier):
    """Classify spectra with a neural network.

    The estimator is at the same time a scikit-learn classifier and a
    :class:`~skorch.classifier.NeuralNetClassifier` of skorch: parameters of its parts
    are reached as ``module__width``, ``optimizer__weight_decay``,
    ``callbacks__print_log``, ... in the constructor, in ``set_params`` and in searches.

    Spectra are brought to one scale on the device, each by itself, so that their flux
    can be in any unit, and any scaler may stand in front.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(1)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` get these sizes from the data, and then normalized batches of
        shape ``(batch, n_channels, length)``; a module that takes none of them gets X
        in the shape and in the numbers in which it was given. It returns one logit a
        class.
    augment : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How training batches are varied before the network sees them; validation and
        prediction are not. ``"noise"``: white noise of up to half the spectrum's
        standard deviation, :class:`skastro.augmentation.GaussianNoise`.
        ``"wang2020"``: noise, cosmic rays and bad pixels of min-max normalized flux
        [2]_. ``"resclass"``: noise and spikes, for standardized flux. A callable
        takes a normalized Tensor of the shape of X and gives one, on its device;
        ``skastro.augmentation`` has some. Draws come from torch's global generator,
        which ``random_state`` governs during ``fit``.

    Warns
    -----
    UserWarning
        If a network that nothing normalizes for gets numbers far from 1.

    See Also
    --------
    skastro.StandardizeSpectra : Fill and scale spectra before.
    skastro.datasets.read_spectra : Read survey files.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    The default network is a residual network [1]_ of 10 layers with kernels of 7
    samples; :ref:`the user guide <tuning>` shows the measurements behind it and
    the other defaults. ``module="densenet"`` is the multi-scale network of [2]_.

    :meth:`from_recipe` gives the settings of published systems; the :ref:`user guide
    <recipes>` names what their sources leave open:

    - ``"resclass"``: ResNet-18 with a stem of stride 1 for LAMOST spectra;
      :class:`~skastro.StandardizeSpectra` belongs in front;
    - ``"wang2020"``: the multi-scale network as [2]_ trained it, after
      :class:`~skastro.MinMaxSpectra`;
    - ``"wang2020-densenet"``, ``"wang2020-dbn"``, ``"wang2020-mlp"``: the networks that
      [2]_ compares it with, a plain DenseNet of 36 layers, a deep belief network and a
      perceptron of 4 layers, trained alike.

    Callbacks that score during training see encoded targets, 0 to n_classes - 1.

    ``fit`` takes ``sample_weight`` and ``groups`` as further arguments.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90
    .. [2] Wang, Q., Zhao, G. & Fan, Z. (2020). Astronomical Research and Technology,
           17(1), 85-95.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> train = make_spectra(300, wavelength=range(3900, 9000, 20), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=10, verbose=0, random_state=0)
    >>> clf = clf.fit(train.flux, train.target)
    >>> test = make_spectra(100, wavelength=range(3900, 9000, 20), random_state=1)
    >>> clf.score(test.flux, test.target) > 0.5
    True
    >>> clf.classes_.tolist()
    ['GALAXY', 'QSO', 'STAR']
    >>> SpectrumClassifier.from_recipe("wang2020", batch_size=128).lr
    0.01
    """

    _recipes = RECIPES
    # Noise made the start from weights, which have seen noise, a little worse.
    _fine_tuning: ClassVar[dict[str, Any]] = {
        "module__dropout": 0.3,
        "lr": 3e-3,
        "backbone_lr": 1e-3,
        "augment": None,
        "train_split": None,
    }
    _parameter_constraints: ClassVar[dict] = {
        **BaseClassifier._parameter_constraints,
        **SpectrumInput._spectrum_constraints,
    }
    _finite_advice = (
        "Masked and uncovered pixels can be filled beforehand by "
        "MinMaxSpectra(nan_policy='interpolate')."
    )

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet10",
        *,
        criterion: str | type = torch.nn.CrossEntropyLoss,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 16,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        calibrate: bool = False,
        class_weight: dict | str | None = None,
        sampler: str | None = None,
        augment: str | Callable | None = "noise",
        normalization: str | None = "robust",
        wavelength: ArrayLike | Quantity | None = None,
        backbone: str | os.PathLike | None = None,
        backbone_lr: float | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        classes: Any = None,
        warn_novelty: bool = False,
        callbacks: list | str | None = None,
        iterator_train: type = BatchIterator,
        iterator_valid: type = BatchIterator,
        dataset: type = Dataset,
        predict_nonlinearity: Callable | str | None = "auto",
        compile: bool = False,
        use_caching: bool | str = "auto",
        torch_load_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self._set_init_params(locals())


# What measurement errors of the targets are called beside X.
_TARGET_STD = "_target_std"
# The part of the validation samples within 1.645 error bars, as of a normal
# distribution.
_COVERAGE, _INTERVAL = 0.9, 1.6448536269514722
# Of fewer validation samples no such part is known.
_LEAST_CALIBRATED = 10


@inherit_parameters
class SpectrumRegressor(SpectrumInput, BaseRegressor):
    """Measure numbers, such as temperatures of stars, in spectra, with error bars.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`~skorch.regressor.NeuralNetRegressor` of skorch: parameters of its parts are
    reached as ``module__widths``, ``optimizer__weight_decay``,
    ``callbacks__print_log``, ... in the constructor, in ``set_params`` and in searches.

    For each target the network gives a number and the logarithm of its error, which
    maximize the likelihood [1]_. Targets of any scale and offset, one or several a
    spectrum, are scaled for the network and scaled back in ``predict``; NaN stands for
    a target that is not known, which the loss leaves out.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="convnet"
        The network: a name that ``skastro.networks.available_modules(1)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` get these sizes from the data, and then normalized batches of
        shape ``(batch, n_channels, length)``; a module that takes none of them gets X
        in the shape and in the numbers in which it was given. It returns one number a
        target, in scaled units, and with the default criterion behind these the
        logarithm of each one's error: ``n_outputs`` is twice the number of targets.
    criterion : str or class, default=skastro.training.NegativeLogLikelihood
        The loss, of scaled targets. With a loss without errors, such as
        :class:`torch.nn.MSELoss`, there are no error bars.
    restore_best_weights : bool, default=False
        Keep the weights of the epoch with the lowest validation loss. The default keeps
        the last ones: predictions go on to improve while error bars become too small,
        which `calibrate` mends.
    log_target : bool or sequence of bool, default=False
        Whether the network measures the logarithm of the target, or of which of several
        ones; for positive numbers over a wide range. An error bar of 0.1 of the natural
        logarithm is then one of a tenth of the prediction.
    calibrate : bool, default=True
        Scale the error bars such that nine tenths of the validation samples are within
        1.645 of them, as in a normal distribution [2]_: a network is more certain of
        samples that it was trained on than it should be of others. It needs
        `train_split`, and does nothing with fewer than 10 validation samples.
    augment : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How training batches are varied before the network sees them; validation and
        prediction are not. See :class:`SpectrumClassifier`.

    Attributes
    ----------
    log_target_ : ndarray of shape (n_outputs,), bool
        Whether the logarithm is measured, for each target.
    std_scale_ : ndarray of shape (n_outputs,)
        What the network's errors are multiplied by, 1 with `y_std`; only with
        `calibrate`.
    std_added_ : ndarray of shape (n_outputs,)
        The error that is added to that of the network in quadrature, in units of the
        targets' standard deviation; only with `calibrate` and `y_std`.

    Warns
    -----
    UserWarning
        If a network that nothing normalizes for gets numbers far from 1; or if `y_std`
        is too large for error bars to be scaled.

    See Also
    --------
    SpectrumClassifier : Classes in place of numbers.
    skastro.RebinSpectra : One grid of wavelengths for all spectra.
    skastro.datasets.read_spectra : Read survey files.

    Notes
    -----
    :ref:`The user guide <measuring>` shows the measurements behind the defaults.

    Callbacks that score during training compare predictions with targets as they were
    given; the losses in ``history`` and what ``forward`` returns are in scaled units.

    ``fit`` takes ``sample_weight``, ``groups`` and ``y_std`` as further arguments.
    ``y_std`` is an array of the shape of y: the standard deviations with which the
    targets were measured. Error bars of predictions are then those of the true values,
    which the validation samples tell the less the larger `y_std` is.

    References
    ----------
    .. [1] Nix, D. A. & Weigend, A. S. (1994). "Estimating the mean and variance of the
           target probability distribution". IEEE ICNN.
           https://doi.org/10.1109/ICNN.1994.374138
    .. [2] Lei, J. et al. (2018). "Distribution-free predictive inference for
           regression". JASA 113, 1094. https://doi.org/10.1080/01621459.2017.1307116

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import SpectrumRegressor
    >>> rng = np.random.default_rng(0)
    >>> wavelength = np.linspace(4000, 5000, 200)
    >>> depth = rng.uniform(0.1, 0.9, size=400)
    >>> line = np.exp(-0.5 * ((wavelength - 4500) / 10) ** 2)
    >>> flux = 1 - depth[:, None] * line + rng.normal(scale=0.05, size=(400, 200))
    >>> reg = SpectrumRegressor(max_epochs=20, verbose=0, random_state=0)
    >>> reg = reg.fit(flux[::2], depth[::2])
    >>> found, std = reg.predict(flux[1::2], return_std=True)
    >>> bool(np.median(np.abs(found - depth[1::2])) < 0.05)
    True
    >>> bool(np.mean(np.abs(found - depth[1::2]) < 1.645 * std) > 0.7)
    True
    """

    # Error bars that a pipeline is asked for are asked of its last step.
    __metadata_request__predict: ClassVar[dict] = {"return_std": True}
    __metadata_request__fit: ClassVar[dict] = {"y_std": None}
    __metadata_request__partial_fit: ClassVar[dict] = {"y_std": None}

    _fine_tuning: ClassVar[dict[str, Any]] = {
        "lr": 3e-3,
        "backbone_lr": 1e-3,
        "augment": None,
    }
    _takes_missing_targets = True
    _kept = ("log_target",)
    _sample_params = ("sample_weight", "y_std")
    _parameter_constraints: ClassVar[dict] = {
        **BaseRegressor._parameter_constraints,
        **SpectrumInput._spectrum_constraints,
        "log_target": ["boolean", "array-like"],
        "calibrate": ["boolean"],
    }
    _finite_advice = SpectrumClassifier._finite_advice

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "convnet",
        *,
        criterion: str | type = NegativeLogLikelihood,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 1e-3,
        max_epochs: int = 60,
        batch_size: int = 16,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.15,
        restore_best_weights: bool = False,
        scale_target: bool = True,
        log_target: bool | Sequence[bool] = False,
        calibrate: bool = True,
        augment: str | Callable | None = "noise",
        normalization: str | None = "continuum",
        wavelength: ArrayLike | Quantity | None = None,
        backbone: str | os.PathLike | None = None,
        backbone_lr: float | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        warn_novelty: bool = False,
        callbacks: list | str | None = None,
        iterator_train: type = BatchIterator,
        iterator_valid: type = BatchIterator,
        dataset: type = Dataset,
        predict_nonlinearity: Callable | str | None = "auto",
        compile: bool = False,
        use_caching: bool | str = "auto",
        torch_load_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self._set_init_params(locals())

    # Targets and their errors ------------------------------------------------------

    @property
    def _gives_errors(self) -> bool:
        return issubclass(self._criterion_type, NegativeLogLikelihood)

    @property
    def _log_std_limits(self) -> tuple[float, float]:
        # Also those of a subclass.
        return find_part("criterion", self.criterion).log_std_limits

    def _infer_output_size(self, y: Any) -> dict[str, int]:
        n_targets = super()._infer_output_size(y)["n_outputs"]
        return {"n_outputs": n_targets * (1 + self._gives_errors)}

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        if reset:
            self.log_target_ = self._which_are_logs()
        flat = y.reshape(len(y), -1)
        unknown = np.isnan(flat).all(axis=0)
        # A batch of partial_fit may know nothing of a target.
        if reset and unknown.any():
            raise ValueError(
                f"All values of y are NaN for the targets {np.flatnonzero(unknown)}. "
                "Leave these targets out."
            )
        bad = (flat <= 0)[:, self.log_target_].any(axis=1)
        if bad.any():
            raise ValueError(
                f"log_target asks for logarithms, but y holds numbers that are not "
                f"positive, in rows {name_rows(np.flatnonzero(bad))}. Leave these rows "
                "out, or set log_target=False."
            )
        return y

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        self.log_target_ = self._which_are_logs()

    def _which_are_logs(self) -> np.ndarray:
        n_targets = int(np.prod(self.target_shape_))
        is_log = np.asarray(self.log_target, dtype=bool)
        if is_log.ndim and is_log.shape != (n_targets,):
            raise ValueError(
                f"log_target has shape {is_log.shape} for {n_targets} targets; give "
                "one bool, or one a target."
            )
        return np.full(n_targets, is_log)

    def _attach(
        self, X: Any, y: Any, sample_weight: Any = None, y_std: Any = None
    ) -> tuple[Any, Any]:
        if y_std is None:
            return super()._attach(X, y, sample_weight)
        if not self._gives_errors:
            raise ValueError(
                "y_std needs a criterion that knows errors, such as "
                f"skastro.training.NegativeLogLikelihood, not {self.criterion!r}."
            )
        y_std = plain_array(y_std, "y_std").astype(np.float64)
        if y_std.shape != y.shape:
            raise ValueError(f"y_std has shape {y_std.shape}, but y {y.shape}.")
        # What is not known needs no error.
        check_finite(y_std[~np.isnan(y)], input_name="y_std")
        if (y_std < 0).any():
            raise ValueError("y_std has negative values; give standard deviations.")
        rows = np.arange(len(y))
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        X, rows = super()._attach(X, rows, weight)
        if not isinstance(X, dict):
            X = {"X": X, SAMPLE_WEIGHT: np.ones(len(rows), np.float32)}
        std = np.nan_to_num(y_std[rows]).reshape(len(rows), -1)
        return {**X, _TARGET_STD: std}, y[rows]

    def _transform_target(self, y: torch.Tensor) -> torch.Tensor:
        is_log = torch.from_numpy(self.log_target_).to(y.device)
        return torch.where(is_log, y.log(), y) if is_log.any() else y

    def _restore_target(self, y: np.ndarray) -> np.ndarray:
        return np.exp(y, where=self.log_target_, out=y.astype(np.float64))

    @override
    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        y_true = to_tensor(y_true, device=None)
        known = ~y_true.isnan()
        is_weighted = separate_weight(X)[1] is not None
        std = X.get(_TARGET_STD) if isinstance(X, dict) else None
        if std is not None:
            y_true = torch.cat([y_true.reshape(std.shape), std.to(y_true)], dim=1)
        loss = super().get_loss(y_pred, y_true, X=X, **kwargs)
        if is_weighted and self._gives_errors:
            # A mean over all targets so far. Without weights it is one of those known.
            loss = loss * (known.numel() / known.sum().clamp(min=1)).to(loss)
        return loss

    def _count_terms(self, y: Any, is_weighted: bool) -> float | None:
        return float((~y.isnan()).sum()) if self._gives_errors else None

    def _scale_target(self, y: torch.Tensor) -> torch.Tensor:
        n_targets = int(np.prod(self.target_shape_))
        y = y.reshape(len(y), -1)
        values, std = y[:, :n_targets], y[:, n_targets:]
        scaled = super()._scale_target(values)
        if not std.shape[1]:
            return scaled
        is_log = torch.from_numpy(self.log_target_).to(y.device)
        std = torch.where(is_log, std / values, std)
        if "target_scale_" in self.__dict__:
            std = std / torch.from_numpy(self.target_scale_).to(std)
        return torch.cat([scaled, std.to(scaled)], dim=1)

    def _match(self, target: torch.Tensor, y_pred: Any) -> torch.Tensor:
        if not self._gives_errors:
            return super()._match(target, y_pred)
        n_targets = int(np.prod(self.target_shape_))
        if y_pred.ndim != 2 or y_pred.shape[1] != 2 * n_targets:
            self._refuse_outputs(tuple(y_pred.shape[1:]))
        return target.to(y_pred)

    def _refuse_outputs(self, shape: tuple[int, ...]) -> None:
        if not self._gives_errors:
            super()._refuse_outputs(shape)
        raise ValueError(
            f"The module gives outputs of shape {shape} for targets of shape "
            f"{self.target_shape_}. Give it two outputs a target: all numbers, then "
            "the logarithms of their errors; or choose another criterion, such as "
            "torch.nn.MSELoss."
        )

    # Error bars --------------------------------------------------------------------

    def _after_training(self, train: Any, valid: Any) -> None:
        super()._after_training(train, valid)
        for name in ("std_scale_", "std_added_"):
            self.__dict__.pop(name, None)
        if not (self.calibrate and self._gives_errors) or valid is None:
            return
        offs, errors = [], []
        for X, output, y in self._evaluate(valid):
            std = X.get(_TARGET_STD) if isinstance(X, dict) else None
            if std is not None:
                y = torch.cat([y.reshape(std.shape), std.to(y)], dim=1)
            target = self._scale_target(to_tensor(y, device=output.device))
            mean, log_std = output.double().chunk(2, dim=1)
            off = (target[:, : mean.shape[1]] - mean).square() / _INTERVAL**2
            if std is not None:
                # This part of the difference is not the network's.
                off = off - target[:, mean.shape[1] :].square()
            offs.append(off.cpu().numpy())
            log_std = log_std.clamp(*self._log_std_limits)
            errors.append(log_std.exp().cpu().numpy())
        off, error = np.concatenate(offs), np.concatenate(errors)
        if np.isfinite(off).sum(axis=0).min() < _LEAST_CALIBRATED:
            return
        if std is None:
            self.std_scale_ = _value_of_most(np.sqrt(off) / error)
            return
        # Training targets with large errors tell the network little of its own, which
        # then vary by chance from sample to sample, so that a factor would make some
        # too large and the others too small.
        self.std_scale_ = np.ones(off.shape[1])
        added = _value_of_most(off - error**2)
        self.std_added_ = np.sqrt(np.maximum(added, 0.0))
        self._warn_of_hidden_errors(_value_of_most(off))

    def _warn_of_hidden_errors(self, off: np.ndarray) -> None:
        unseen = np.flatnonzero(off <= 0)
        if unseen.size:
            warnings.warn(
                "y_std is as large as the differences between predictions and the "
                f"validation samples, so that the error bars of the targets {unseen} "
                "could not be scaled: they are too small. Check y_std.",
                UserWarning,
                stacklevel=2,
            )

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or \
                (n_samples, n_channels, n_pixels) or torch.utils.data.Dataset
            Spectra, in the shape that they had in ``fit``.
        return_std : bool, default=False
            Whether to return the error bars as well.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As many axes as y had in ``fit``; float64 where y was, else float32.
        std : ndarray of the shape of y
            Standard deviations; only with `return_std`. An interval of 1.645 of them on
            both sides holds nine tenths of the true values.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized, or has weights from
            ``load_params`` alone and scales its targets.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, if the
            module's outputs do not match the targets, or if the criterion knows no
            errors and `return_std` asks for them.

        Warns
        -----
        UserWarning
            If `return_std` asks for error bars that no validation samples have scaled:
            they are those of the training samples, which are too small. With
            `warn_novelty`, if samples are unlike the training set.
        """
        if return_std and not self._gives_errors:
            raise ValueError(
                f"criterion={self.criterion!r} knows no errors, so that there are no "
                "error bars; take skastro.training.NegativeLogLikelihood, the default."
            )
        self.check_is_fitted()
        output = self._predict_outputs(X)
        self._warn_of_novelty(X)
        if not self._gives_errors or not hasattr(self, "target_shape_"):
            return self._unscale(output)
        n_targets = int(np.prod(self.target_shape_))
        if output.ndim != 2 or output.shape[1] != 2 * n_targets:
            self._refuse_outputs(output.shape[1:])
        y = self._unscale(output[:, :n_targets])
        if not return_std:
            return y
        if "std_scale_" not in self.__dict__:
            warnings.warn(
                "The error bars are those of the training samples, which are too "
                "small: fit with calibrate=True and train_split=0.15, for instance, "
                "and enough samples.",
                UserWarning,
                stacklevel=2,
            )
        log_std = output[:, n_targets:].astype(np.float64)
        std = np.exp(log_std.clip(*self._log_std_limits))
        std *= self.__dict__.get("std_scale_", 1.0)
        if "std_added_" in self.__dict__:
            std = np.hypot(std, self.std_added_)
        std *= self.__dict__.get("target_scale_", 1.0)
        std = np.where(self.log_target_, std * y.reshape(std.shape), std)
        return y, std.astype(y.dtype).reshape(y.shape)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination, R², of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            Spectra, in the shape that they had in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets; those that are NaN are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        r2 : float
            The mean over the targets of which y has two values or more; 1 for perfect
            predictions, 0 for those of the mean of y.

        Raises
        ------
        ValueError
            If y has another number of targets than in ``fit``, or no target has two
            values.
        """
        y = check_target(self, y)
        return score_known(self.predict(X), y, sample_weight)


def _value_of_most(values: np.ndarray) -> np.ndarray:
    """Find the number of each column that nine tenths of its known values stay below.

    The sample to come is one more than those that are counted.
    """
    n_known = np.isfinite(values).sum(axis=0)
    parts = np.minimum(1, _COVERAGE * (n_known + 1) / n_known)
    return np.array(
        [
            np.nanquantile(column, part, method="higher")
            for column, part in zip(values.T, parts, strict=True)
        ]
    )
