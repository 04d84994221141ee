# SPDX-License-Identifier: BSD-3-Clause
"""The base of all estimators: a skorch net that keeps scikit-learn's contract."""

import contextlib
import copy
import inspect
import io
import math
import os
import pickle
import reprlib
import secrets
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import starmap
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    MlflowLogger,
    NeptuneLogger,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    WandbLogger,
)
from skorch.dataset import Dataset, unpack_data
from skorch.hf import HfHubStorage
from skorch.history import History
from skorch.utils import TeeGenerator, is_dataset, params_for, to_device
from torch.nn.functional import normalize
from torch.nn.parameter import is_lazy as is_lazy_weight
from torch.utils.data import DataLoader, IterableDataset, Subset
from typing_extensions import override

from skastro._compat import is_normalization, validate_as_skorch, visual_block
from skastro.augmentation import AUGMENTATIONS
from skastro.base._backbone import (
    MODEL_SUFFIX,
    Weights,
    all_but_head,
    load_all_but_head,
    module_in_model_file,
    read_weights,
)
from skastro.base._parameters import (
    CATCH_ALL,
    SHARED_CONSTRAINTS,
    UnknownParameterError,
    accepted_names,
    bind_call,
    check_part_names,
    complete_signature,
    find_part,
    initializers,
    is_part_parameter,
    names_of,
    own_names,
    parameter_names,
    unknown_name,
    validate_constraints,
)
from skastro.base._pretrained import Pretrained, find_pretrained, is_pretrained
from skastro.base._resume import TrainingFile, as_told
from skastro.base._source import add_checksum, find_file, looks_like_file
from skastro.base._state import (
    ModuleWithState,
    add_state_to_safetensors,
    decode_state,
    encode_state,
    state_in_file,
)
from skastro.base._validation import (
    check_groups,
    check_sample_weight,
    check_X_y,
    describe_samples,
    fingerprint,
    package_versions,
)
from skastro.base._weight_names import find_network, say_network
from skastro.networks import get_module
from skastro.networks.layers import FoldedWeights
from skastro.streaming import predict_stream
from skastro.training import (
    SAMPLE_WEIGHT,
    BatchHalving,
    BatchIterator,
    BestWeights,
    EpochLog,
    EpochProgress,
    NotFiniteError,
    Ranks,
    Schedule,
    ValidationSplit,
    batch_norms_of_all,
    check_batches,
    concatenate,
    current_ranks,
    encode_groups,
    fast_kernels,
    find_source,
    n_samples_in,
    resolve_precision,
    samples_at_once,
    separate_weight,
)
from skastro.utils import (
    LazyArray,
    TooLargeError,
    atomic_write,
    check_finite,
    check_spectra_layout,
    draw_from_seed,
    is_lazy,
    lend_generators,
    lend_to,
    lend_to_each,
    name_rows,
    plain_array,
    suggest_name,
)

_SIZES = ("n_channels", "n_outputs", "input_size")
# Words in the names of arguments that act on the training alone, or are compared by the
# shapes of weights.
_NOT_COMPARED = (*_SIZES, "dropout", "zero_init", "invariant")
_FUSED_DEVICES = ("cpu", "cuda")
_MISSING = object()
# Parts that a net builds when it needs them, or changes in place.
_STORED_PARTS = ("callbacks", "iterator_train", "iterator_valid", "dataset", "compile")
_BATCH_EVENTS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
# The methods of a step, which may draw random numbers where a user overrides them.
_STEP_METHODS = (
    "train_step",
    "train_step_single",
    "validation_step",
    "evaluation_step",
    "infer",
    "get_loss",
    "_prepare",
    "_normalize",
    "_to_module_layout",
    "_loss_terms",
)
# Layers of torch that draw random numbers, by parts of their names.
_DRAWING_LAYERS = ("Dropout", "RReLU", "RNN", "LSTM", "GRU", "Attention", "Fractional")
# Methods that sum over the processes of a training on several devices.
_SHARED_METHODS = (
    "fit_loop",
    "run_single_epoch",
    "train_step",
    "train_step_single",
    "validation_step",
)
_SAME = "Give all processes the same data, parameters and files."
# Callbacks that write or print, which one process does for all.
_WRITING_CALLBACKS = (
    Checkpoint,
    EpochProgress,
    HfHubStorage,
    MlflowLogger,
    NeptuneLogger,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    WandbLogger,
)
# What callbacks do with batches without reading their losses.
_READ_NO_LOSS = (
    *(getattr(Callback, name) for name in _BATCH_EVENTS),
    EpochProgress.on_batch_end,
    EpochScoring.on_batch_end,
    Schedule.on_batch_begin,
    Schedule.on_batch_end,
)
# Batches from these sizes on are taken as they are on a CPU: in prediction, and in
# validation, whose samples are fewer.
_LARGE_BATCH, _LARGE_VALIDATION_BATCH = 128, 33
# Outputs of a prediction stay on the device until they take this many bytes, so that
# the host does not wait for each batch.
_OUTPUTS_ON_DEVICE = 2**28
# The C library keeps larger blocks apart.
_SMALL = 2**17
# Training samples whose features are kept, which others are compared with, at most.
MOST_KEPT = 2048
# Samples kept for each that an epoch of the training went through. A prediction takes
# about a third of a training step, so that keeping them adds less than 2 % to it.
_KEPT_PER_TRAINED = 0.05
# At least so many, where there are no classes that all have to be among them.
_LEAST_KEPT = 50
# Seconds between two writes of the state of a training within an epoch.
_RESUME_EVERY = 600.0
# The neighbor that counts: one odd training sample cannot vouch for others like it.
_NEIGHBOR = 3
# Some networks build grids of the size of a sample, which no file holds.
_MOST_PIXELS = 2**22
# Attributes that skorch sets in ``initialize``; they end in an underscore, as learned
# attributes do, but are no learned state.
# Attributes of skorch's nets that completion does not offer: what the training loop
# calls, and what subclasses override.
_HOOKS = {name for name in vars(NeuralNet) if not name.startswith("_")} - {
    "check_is_fitted",
    "fit",
    "forward",
    "get_params",
    "history",
    "initialize",
    "load_params",
    "partial_fit",
    "predict",
    "predict_proba",
    "save_params",
    "set_params",
}
_SKORCH_ATTRIBUTES = {
    "callbacks_",
    "cuda_dependent_attributes_",
    "history_",
    "init_context_",
    "initialized_",
    "prefixes_",
    "virtual_params_",
}
_PART_ATTRIBUTES = {"criterion_", "module_", "optimizer_"}
# Attributes that live as long as a training runs, and are in no pickle.
_TRANSIENT_ATTRIBUTES = {
    "_training",
    "_groups",
    "_is_fitting",
    "_scaler",
    "_state_text",
}


class _DivergedError(ValueError):
    """The weights of a net are worth nothing any more."""


@dataclass
class _Training:
    """What a running ``fit`` or ``partial_fit`` keeps from batch to batch."""

    first_epoch: int = 0
    has_begun: bool = False
    file: TrainingFile | None = None
    # The processes that train together.
    ranks: Ranks | None = None
    augments: bool = False
    has_diverged: bool = False
    split: tuple[Any, Any] = (None, None)
    # What did not fit into the memory once would not fit the next time.
    halving: dict[str, BatchHalving] = field(default_factory=dict)
    # Callbacks that act on batches, by event.
    listeners: dict[str, tuple[list, list[Callable]]] = field(default_factory=dict)
    # Data sets on the device, shared by training and validation.
    placed: dict[Any, Any] = field(default_factory=dict)


def _has_features(net: Any) -> bool:
    """Tell whether a net has features, of one that is not built whether it may."""
    is_built = "module_" in vars(net)
    return net._keeps_features and (
        not is_built or hasattr(net.module_, "forward_features")
    )


def _has_score_samples(net: Any) -> bool:
    return _has_features(net) or (net._keeps_features and net._scores_logits)


def _has_backbone(net: Any) -> bool:
    return "backbone" in parameter_names(type(net))


class BaseNet(NeuralNet):
    """A skorch net that keeps scikit-learn's contract; the base of all estimators.

    Derive from :class:`BaseClassifier`, :class:`BaseRegressor` or
    :class:`BaseTransformer`, which know their targets. A subclass may have an
    ``__init__`` of its own that passes ``**kwargs`` upward: ``get_params``,
    ``set_params``, ``clone`` and searches follow its signature. skorch's methods
    (``initialize_module``, ``get_loss``, ``train_step``, ...) can be overridden as in
    skorch. Beyond these a subclass may override the following hooks; the guide
    :ref:`extending` shows examples.

    ``_infer_sizes(sample_shape) -> dict``
        Sizes for the module (``n_channels``, ``input_size``), from a sample's shape.
    ``_infer_output_size(y) -> dict``
        ``n_outputs``, from the encoded target.
    ``_encode_target(y, *, reset, classes) -> ndarray``
        The target for the criterion; with ``reset`` learn how to encode.
    ``_class_weight_per_sample(y) -> ndarray or None``
        Weights that come from the encoded target.
    ``_learn_from_training_data(dataset) -> None``
        Learn attributes from the training rows, before the first step. The method
        ``_sample_batches(dataset)`` yields these rows in batches.
    ``_normalize(X) -> Tensor``
        A batch on the device, in the units that augmentation expects.
    ``_augment(X) -> Tensor``
        A varied training batch.
    ``_to_module_layout(X) -> Tensor``
        A normalized batch in the layout ``(batch, channels, ...)``.
    ``_loss_terms() -> dict of str to Tensor``
        Terms of the latest loss, for the history.
    ``_count_terms(y, is_weighted) -> float or None``
        The number of terms, or the sum of their weights, that the loss of a batch is a
        mean of; None for its samples. For trainings on several devices.
    ``_after_training(train, valid) -> None``
        Learn attributes from the trained module (a temperature, ...).
    ``_fitted_state() -> dict`` and ``_restore_fitted_state(state) -> None``
        The learned state as plain values (numbers, text, arrays, tensors; tuples,
        lists and dicts of them), and back.
    ``_check_state_is_complete() -> None``
        Call ``_require_learned("name_", ...)`` for what predictions need: it raises
        NotFittedError where a file has not restored it.

    **Learned state.** Every attribute whose name ends in an underscore, parts of the
    net apart, is learned state. It is forgotten by the next ``fit``, it is pickled,
    and ``save_params`` and ``load_params`` write and read it with the weights.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance
        The network.
    criterion : str or class
        The loss. A name is that of a loss of torch or of :mod:`skastro.training`; case,
        underscores and the ending do not matter: ``"mse"``, ``"smooth_l1"``.
    optimizer : str or class, default=torch.optim.AdamW
        The optimizer, by a name of ``torch.optim`` (``"sgd"``, ``"adam"``) or as a
        class; the default decays weights apart from the gradient (Loshchilov & Hutter
        2019, https://arxiv.org/abs/1711.05101).
    lr : float, default=3e-3
        The learning rate; with a schedule the highest one.
    max_epochs : int, default=40
        Passes over the training samples in one call of ``fit``.
    batch_size : int, default=16
        Samples in a training batch. Prediction takes at least as many;
        ``iterator_valid__batch_size`` sets how many. -1 takes all at once.
    schedule : {"cosine", "cosine_cycles", "steps"}, callable or None, default="cosine"
        How the learning rate changes at every step. ``"cosine"``: a linear warm-up
        over the first tenth of the training, then half a cosine down to zero
        (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983).
        ``"cosine_cycles"``: the same in two cycles, the second half as high.
        ``"steps"``: divided by ten after one half and three quarters. A callable takes
        the progress from 0 to 1 and gives a factor, as
        :class:`~skastro.training.CosineCycles` and :class:`~skastro.training.Steps` do.
        None: a constant rate, or the schedule of a callback of yours.
    train_split : float, callable or None, default=0.1
        A float sets that part of the samples aside for validation, drawn with
        ``random_state``, by classifiers in the proportions of the classes; of fewer
        than 20 samples none is set aside. Samples of one group (``fit``) stay on one
        side. A callable takes and gives what skorch's
        :class:`~skorch.dataset.ValidSplit` does. None: no validation.
    restore_best_weights : bool, default=True
        Keep the weights of the epoch with the lowest validation loss. Without
        validation those of the last epoch stay. ``callbacks__best_weights__monitor``
        names another figure.
    augment : str, callable or None, default=None
        How training batches are varied before the network sees them.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Number format of the network's computations. ``"auto"``: bfloat16 where the
        hardware computes in it (float16 on GPUs that are fast in that format only) and
        samples and network are large enough for that to pay, float32 elsewhere.
        Regressors and transformers predict in float32 then, as shorter formats round
        to two or three digits. Weights, losses and probabilities are always float32.
    device : str, torch.device or None, default="auto"
        Where to compute. ``"auto"``: a CUDA device where there is one, else Apple's
        MPS, else the CPU; a pickled estimator then looks anew where it is loaded.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the validation split, the order of the samples, dropout
        and other draws of the training. With an int, results are the same at each call
        on the CPU, if torch has the same number of threads, and the global generators
        stay untouched. None follows the global generators, so that
        ``torch.manual_seed`` governs.
    warm_start : bool, default=False
        Whether ``fit`` trains a fitted network on, instead of starting anew.
    verbose : int, default=1
        0: silent; 1: a progress bar; 2: also skorch's table of epochs.
    callbacks : list of skorch callbacks, "disable" or None, default=None
        Callbacks besides the default ones, which are ``epoch_timer``, ``train_loss``,
        ``valid_loss``, ``lr_schedule``, ``best_weights``, ``progress`` and
        ``print_log``, and ``valid_acc`` of classifiers. ``"disable"`` leaves the
        default ones out too.
    iterator_train, iterator_valid, dataset : class
        As of :class:`skorch.NeuralNet`: iterators over batches of the training, and of
        validation and prediction (default: :class:`skastro.training.BatchIterator`),
        and the data set around X and y (default: :class:`skorch.dataset.Dataset`).
    predict_nonlinearity : callable, "auto" or None, default="auto"
        Function from the module's output to probabilities or to scaled targets;
        ``"auto"`` follows the criterion, and leaves outputs as they are for losses of
        regression.
    compile, use_caching, torch_load_kwargs : bool, bool or "auto", dict or None
        As of :class:`skorch.NeuralNet`: whether to call :func:`torch.compile`, whether
        scoring callbacks reuse predictions, and arguments of :func:`torch.load`.
    **kwargs : dict
        Parameters of the parts, such as ``module__width``, with the prefixes
        ``module__``, ``criterion__``, ``optimizer__``, ``iterator_train__``,
        ``iterator_valid__``, ``callbacks__``, ``dataset__`` and ``compile__``.

    Attributes
    ----------
    n_features_in_ : int
        Length of the second axis of X in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a data frame.
    sample_shape_ : tuple of int
        Shape of one sample in ``fit``.
    module_sizes_ : dict
        The sizes that were inferred from the data.
    kept_params_ : dict
        Parameters in ``fit`` whose results ``partial_fit`` and ``warm_start`` keep;
        these refuse other values.
    training_data_ : list of dict
        For each call of ``fit`` or ``partial_fit`` since the weights were drawn: the
        number of samples, of these in training and validation, their shape, the classes
        or the range of the targets, the SHA-256 of the text of X's shape and the
        targets, each on a line, the epoch whose weights were kept, and versions.
    training_id_ : str
        Twelve hexadecimal digits that name the training: a digest of its parameters,
        callbacks and data. ``Checkpoint(f_params="{net.training_id_}.pt")`` thus gives
        each candidate of a search files of its own. The digits are random where
        ``random_state`` is None, X is a data set, or a parameter cannot be pickled.
        ``partial_fit`` and ``warm_start`` keep them.
    training_features_ : ndarray of shape (n_kept, n_features)
        Features of some training samples, which ``score_samples`` compares others
        with; of estimators with a parameter `warn_novelty` and modules with a method
        ``forward_features``.
    novelty_threshold_ : float
        The lowest ``score_samples`` of the validation samples, without validation of
        the training samples; only with `warn_novelty`.
    module_, criterion_, optimizer_, callbacks_ : objects
        The parts, built.
    history : skorch.history.History
        What was recorded in each epoch.

    See Also
    --------
    BaseClassifier : The base of classifiers.
    BaseRegressor : The base of regressors.
    BaseTransformer : The base of transformers.

    Examples
    --------
    A net that normalizes its input otherwise:

    >>> import numpy as np
    >>> from skastro.base import BaseClassifier
    >>> class LogFlux(BaseClassifier):
    ...     def _normalize(self, X):
    ...         return X.clip(min=1e-3).log10()
    >>> X = np.random.default_rng(0).uniform(1, 10, size=(40, 30)).astype("float32")
    >>> y = np.repeat(["GALAXY", "STAR"], 20)
    >>> net = LogFlux("mlp", max_epochs=2, verbose=0).fit(X, y)
    >>> bool(net.module_input(X).max() <= 1)
    True
    """

    # Which arrays are taken.
    _input_ndims: ClassVar[tuple[int, ...]] = (2, 3)
    _input_dtypes: ClassVar[tuple] = (np.float32,)
    _finite_advice: ClassVar[str] = ""
    # Whether NaN stands for unknown numbers of X.
    _takes_nan: ClassVar[bool] = False
    # Arguments of scikit-learn's validation that concern y.
    _target_checks: ClassVar[dict[str, bool]] = {}
    # Axes of a sample in the named networks: 1 for spectra, 2 for images.
    _module_ndim = 1
    # Names of weights that come with the class, the package that has them, and what
    # their files tell beside the parameters.
    _pretrained: ClassVar[tuple[str, ...]] = ()
    _pretrained_package: ClassVar[str] = ""
    _pretrained_settings: ClassVar[tuple[str, ...]] = ()
    # Parameters that weights of the package need besides those in their file.
    _needed_by_weights: ClassVar[tuple[str, ...]] = ()
    # How weights of the package are best trained on.
    _fine_tuning: ClassVar[dict[str, Any]] = {}
    # What the names mean that ``augment`` takes.
    _augmentations: ClassVar[Mapping[str, Callable]] = AUGMENTATIONS
    # Arguments of the callback BestWeights.
    _monitored: ClassVar[dict[str, Any]] = {}
    # Whether the validation split keeps the proportions of the classes.
    _stratify = False
    # Whether the module returns classes or numbers, unlike reconstructions.
    _has_outputs = True
    # Whether ``fit`` keeps features of training samples, for ``score_samples``, and
    # whether outputs can stand in for them.
    _keeps_features = False
    _scores_logits = False
    # Parameters of ``fit`` that have one value a sample.
    _sample_params: ClassVar[tuple[str, ...]] = ("sample_weight",)
    # Whether outputs are measurements, whose every digit counts.
    _is_measurement = False
    # Parameters by which fit learns what partial_fit and warm_start keep.
    _kept: ClassVar[tuple[str, ...]] = ()
    # Parameters of the constructor, by the recipe's name.
    _recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    _parameter_constraints: ClassVar[dict] = SHARED_CONSTRAINTS

    # Routed groups are respected by default, as by scikit-learn's splitters of groups.
    # Older versions of scikit-learn take no other names than these in set_fit_request.
    __metadata_request__fit: ClassVar[dict] = {"groups": True, "sample_weight": None}
    __metadata_request__partial_fit: ClassVar[dict] = __metadata_request__fit

    # skorch sets these in ``__init__``, where scikit-learn allows parameters only.
    history_ = None
    initialized_ = False
    virtual_params_: ClassVar[dict] = {}

    _training: _Training | None = None
    # What the samples of a running training belong to.
    _groups: np.ndarray | None = None
    _is_fitting = False
    # Whether weights and all that was learned come from a file that is being read.
    _is_restoring = False
    # Whether the next training has to build the callbacks of such a net.
    _lacks_callbacks = False
    _state_text: str | None = None
    # Whether weights were loaded without what fit learns beside them.
    _has_weights_alone = False

    # What estimators without these parameters do.
    backbone: str | os.PathLike | None = None
    backbone_lr: float | None = None
    # Weights that the running training does not change, by name.
    _frozen: tuple[str, ...] | list[str] = ()

    # Parameters -----------------------------------------------------------------

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the signature show all parameters."""
        super().__init_subclass__(**kwargs)
        kept = [name for base in cls.__mro__ for name in vars(base).get("_kept", ())]
        cls._kept = tuple(dict.fromkeys(kept))
        complete_signature(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the parameters that the call names, whatever ``__init__`` makes of it.

        ``clone`` repeats the call; and a subclass need not store the parameters that
        it only passes upward.
        """
        net = super().__new__(cls)
        own, given = bind_call(cls, args, kwargs)
        for name, value in own.items():
            setattr(net, name, value)
        net._given = given
        return net

    def __init__(
        self,
        module: Any,
        criterion: Any,
        *,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 16,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        augment: str | Callable | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
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

    def _set_init_params(self, arguments: dict[str, Any]) -> None:
        """Store what ``__init__`` was called with, given its ``locals()``."""
        extras = dict(arguments[CATCH_ALL])
        if "history" in extras and "history" not in parameter_names(type(self)):
            # skorch takes a history to write to.
            self.history_ = extras.pop("history")
        self._check_names(extras, built=not self._builds_own_parts())
        for name, value in {**arguments, **extras}.items():
            if name not in ("self", "__class__", CATCH_ALL) or name in extras:
                setattr(self, name, value)
        self._check_passed_on({**arguments, **arguments[CATCH_ALL]})

    def _check_passed_on(self, received: dict[str, Any]) -> None:
        """Refuse a call whose values the ``__init__`` of a subclass did not pass on."""
        given = self.__dict__.pop("_given", {})
        self._given_names = tuple(given)
        # A class between may name a parameter, and pass on what it derives from it.
        between = {n for init in initializers(type(self))[1:-1] for n in names_of(init)}
        for name, value in given.items():
            if name not in between and received.get(name, _MISSING) is not value:
                raise TypeError(
                    f"{type(self).__name__}() was called with {name}={value!r}, but "
                    "its __init__ does not pass this on. Let it take **kwargs and call "
                    "super().__init__(..., **kwargs)."
                )

    def _builds_own_parts(self) -> bool:
        """Tell whether a subclass builds parts, whose names are known afterwards."""
        methods = ("initialize_module", "initialize_criterion", "initialize_optimizer")
        return any(map(self._is_overridden, methods))

    def _is_overridden(self, method: str) -> bool:
        """Tell whether a method comes from outside of skastro."""
        function = getattr(type(self), method)
        own = function.__module__.startswith(("skastro.", "skorch.net"))
        return method in self.__dict__ or not own

    def _lend_to(self, *methods: str) -> contextlib.AbstractContextManager:
        """Let torch's global generators be seeded where a user's method may draw."""
        overridden = any(map(self._is_overridden, methods))
        return lend_generators() if overridden else contextlib.nullcontext()

    def _check_names(self, names: Iterable[str], *, built: bool) -> None:
        """Refuse unknown parameters, those of unknown parts once these are built."""
        problems = {
            name: problem
            for name in names
            if (built or "__" not in name) and (problem := unknown_name(self, name))
        }
        if problems:
            raise UnknownParameterError(type(self).__name__, problems)

    @classmethod
    def from_recipe(cls, name: str, **overrides: Any) -> Self:
        """Make an estimator with the settings of a published system.

        Parameters
        ----------
        name : str
            The recipe; those of the class are listed in its notes.
        **overrides : dict
            Parameters of the constructor that differ from the recipe. A part that is
            replaced, as by ``module=...`` or ``optimizer=...``, leaves the recipe's
            settings of that part (``module__...``) out; further ``callbacks`` leave
            those of the default callbacks as they are.

        Returns
        -------
        estimator : object
            A new estimator, not fitted.

        Raises
        ------
        ValueError
            If the class has no such recipe.
        TypeError
            If it has no such parameter.
        """
        if name not in list(cls._recipes):
            raise ValueError(
                f"{cls.__name__} has no recipe {name!r}. "
                f"{suggest_name(name, cls._recipes)}"
            )
        replaced = set(overrides)
        if overrides.get("callbacks") != "disable":
            replaced.discard("callbacks")
        settings = {
            key: copy.deepcopy(value)
            for key, value in cls._recipes[name].items()
            if key.partition("__")[0] not in replaced
        }
        return cls(**(settings | overrides))

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike, *, sha256: str | None = None, **parameters: Any
    ) -> Self:
        """Make an estimator from trained weights: of the package, or in a file.

        Estimators with the parameter ``backbone`` start from the weights and are to be
        fitted; the others are fitted, by a file that ``save_params`` wrote.

        Parameters
        ----------
        source : {"galaxies"}, str or path-like
            Weights of the package: ``"galaxies"`` for the estimators of galaxies; or a
            file: its path, or its address, which begins with ``https://``. What is
            downloaded stays in the folder ``weights`` of ``SKASTRO_HOME`` or, where
            this variable is not set, of the system's folder for caches.
        sha256 : str, default=None
            SHA-256 checksum of the file, 64 hexadecimal digits; needed for an address,
            unless that ends with ``#sha256=...`` itself.
        **parameters : dict
            Parameters of the constructor. ``"galaxies"`` requires ``module`` and
            ``module__stem`` as they are; of the others the defaults, such as ``lr``,
            ``max_epochs`` and ``image_size``, are those that were measured to be best.
            For weights of ``resnet18`` to ``resnet101`` the file sets ``module``,
            ``module__width`` and ``module__stem``, unless they are given here; for
            others ``module`` is needed.

        Returns
        -------
        estimator : object
            The estimator, not fitted, with ``backbone=source``; or a fitted one, with
            the parameters given here.

        Raises
        ------
        ValueError
            If there are no such weights; if the file is damaged, holds something else,
            or are weights of an unknown network; if `parameters` contradict the weights
            of the package; or if an address has no checksum or does not begin with
            ``https://``.
        FileNotFoundError
            If there is no such file.
        OSError
            If the download fails, or has another checksum. The message tells where to
            put a file that was downloaded by other means.
        TypeError
            If a parameter does not exist, or is ``backbone``.

        See Also
        --------
        load_params : Read what was learned into an estimator.

        Notes
        -----
        The :ref:`user guide <backbone>` tells whose weights fit, and what else fits.

        The network of ``"galaxies"`` was trained on real images of galaxies, those of
        the benchmarks of this package among them. A card beside the weights, in
        ``skastro/estimators/pretrained``, tells which and how.

        Examples
        --------
        >>> from skastro import GalaxyClassifier
        >>> clf = GalaxyClassifier.from_pretrained("galaxies", max_epochs=30)
        >>> clf.image_size, clf.max_epochs
        (88, 30)

        Weights in a file:

        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from skastro.networks import get_module
        >>> trained = get_module("resnet34", ndim=2)(n_channels=3, n_outputs=9, width=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "trained.pth"
        ...     torch.save(trained.state_dict(), path)
        ...     clf = GalaxyClassifier.from_pretrained(path, lr=1e-3)
        >>> clf.module, clf.get_params()["module__width"]
        ('resnet34', 8)
        """
        source = add_checksum(source, sha256)
        if "backbone" in parameters:
            raise TypeError(
                f"{cls.__name__}.from_pretrained({source!r}) starts from {source!r}, "
                f"but got backbone={parameters['backbone']!r} too. Leave it out."
            )
        # Files are of the package's own kind, of weights alone, of save_params or of
        # save_model.
        pretrained = cls._read_pretrained(source, parameters)
        if "backbone" in parameter_names(cls):
            settings = (
                cls._network_of(source, parameters)
                if pretrained is None
                else pretrained.settings["parameters"] | cls._fine_tuning
            )
            net = cls(**{**settings, "backbone": source, **parameters})
            if pretrained is not None:
                net._check_fits_weights(pretrained)
            return net
        file = find_file(source, parameters.get("verbose", 1))
        if file.suffix.lower() == MODEL_SUFFIX:
            raise ValueError(
                f"{source} is a whole model, parameters included: open it by "
                f"skastro.load_model({str(file)!r})."
            )
        is_safetensors = file.suffix.lower() == ".safetensors"
        if pretrained or state_in_file(file, is_safetensors, None)[0] is None:
            raise ValueError(
                f"{source} holds weights, but not what {cls.__name__} learns beside "
                "them; give a file that save_params of a fitted one wrote."
            )
        net = cls(**parameters)
        net.load_params(f_params=file, use_safetensors=is_safetensors)
        return net

    @classmethod
    def _read_pretrained(
        cls, source: Any, parameters: dict[str, Any]
    ) -> Pretrained | None:
        """Read weights of the package, or a file of their kind; None for others."""
        if not looks_like_file(source) or source in cls._pretrained:
            return cls._find_pretrained(source)
        file = find_file(source, parameters.get("verbose", 1))
        if not is_pretrained(file):
            return None
        pretrained = Pretrained.read(file)
        lost = [n for n in cls._pretrained_settings if n not in pretrained.settings]
        if lost:
            raise ValueError(
                f"{source} does not tell {', '.join(lost)}: it holds weights of "
                f"another estimator than {cls.__name__}."
            )
        return pretrained

    @classmethod
    def _find_pretrained(cls, name: Any) -> Pretrained:
        """Read weights that come with the class."""
        return find_pretrained(
            name, cls._pretrained, cls.__name__, cls._pretrained_package
        )

    @classmethod
    def _network_of(
        cls, source: str | os.PathLike, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Find the network that weights are of, if it was not given otherwise."""
        verbose = parameters.get("verbose", 1)
        weights = read_weights(source, verbose)
        file = find_file(source, verbose)
        settings = (
            module_in_model_file(file)
            if file.suffix.lower() == MODEL_SUFFIX
            else find_network(weights, cls._module_ndim)
        )
        if "module" in parameters and parameters["module"] != settings.get("module"):
            return {}
        if not settings:
            raise ValueError(
                f"The weights in {source} are of no network that is known by name. "
                f"{say_network(weights, cls._module_ndim)}"
            )
        return settings

    # skorch keeps module__width among the attributes. scikit-learn counts attributes
    # that are not in the signature as set in __init__, so they live in a dict here.

    @property
    def _part_params(self) -> dict[str, Any]:
        return self.__dict__.get("_extras", {})

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep parameters apart from the torch components that skorch registers."""
        if is_part_parameter(name):
            self.__dict__["_extras"] = {**self._part_params, name: value}
        elif name in parameter_names(type(self)):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Find the parameters of parts."""
        if isinstance(found := getattr(type(self), name, None), property):
            # The property has raised AttributeError, with a message of its own.
            return found.__get__(self)
        try:
            return self.__dict__["_extras"][name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            ) from None

    def __dir__(self) -> list[str]:
        """List what completion offers; hooks of the training loop are left out."""
        return [name for name in super().__dir__() if name not in _HOOKS]

    def _sk_visual_block_(self) -> Any:
        """Show the layers of the network, once it is built, below the parameters."""
        module = self.__dict__.get("module_")
        if not isinstance(module, torch.nn.Module):
            name = type(self).__name__
            return visual_block("single", self, names=name, name_details=str(self))
        blocks = []
        for name, layer in [*module.named_children()] or [("module", module)]:
            known = (w.numel() for w in layer.parameters() if not is_lazy_weight(w))
            title = f"{name}: {type(layer).__name__}"
            if n_weights := sum(known):
                title += f", {n_weights} weights"
            options = {"names": title, "name_details": repr(layer)}
            blocks.append(visual_block("single", title, **options))
        return visual_block("serial", blocks)

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        return params_for(prefix, self._part_params)

    def _get_param_names(self) -> list[str]:
        extras = [name for name in self._part_params if name != CATCH_ALL]
        return [*parameter_names(type(self)), *sorted(extras)]

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in self._get_param_names() if "__" in name}

    @override
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        params = self._get_params_callbacks(deep=deep)
        for name in self._get_param_names():
            stored = self._part_params if "__" in name else self.__dict__
            if name not in stored:
                raise AttributeError(
                    f"{type(self).__name__} has not stored its parameter {name!r}. Let "
                    f"the __init__ that names it set self.{name} = {name}."
                )
            params[name] = stored[name]
        return params

    def _get_params_callbacks(self, deep: bool = True) -> dict[str, Any]:
        # Fresh callbacks in place of the fitted ones, so that fit changes no parameter.
        params: dict[str, Any] = {}
        if not deep:
            return params
        callbacks = dict(self.__dict__.get("callbacks_", ()))
        for name, callback in {
            **callbacks,
            **dict(self.get_default_callbacks()),
        }.items():
            params[f"callbacks__{name}"] = callback
            for key, value in callback.get_params().items():
                params[f"callbacks__{name}__{key}"] = value
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the parts included.

        On an initialized net new parameters of the module, the criterion or the
        callbacks build that part anew at once, and those of the optimizer change it,
        as in skorch. A module built anew takes over the weights of the one before
        where it has weights of the same names and shapes; `compile` leaves the module
        in place. Parameters that the ``__init__`` of a subclass derives from others
        follow them.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or if an initialized net does not take the
            value.

        Warns
        -----
        UserWarning
            If the weights are lost.
        """
        for name in params:
            if "__" in name and self._builds_own_parts() and not self.initialized_:
                continue
            if problem := unknown_name(self, name):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}: "
                    f"{problem} Valid parameters are: "
                    f"{', '.join(self._get_param_names())}."
                )
        params = {**self._derived_params(params), **params}
        self._check_passive_parts(params)
        if self.initialized_:
            # No fit that would check them may follow.
            constraints = {
                k: v for k, v in self._parameter_constraints.items() if k in params
            }
            validate_constraints(constraints, params, type(self).__name__)
            if params.get("iterator_valid__shuffle"):
                validate_as_skorch(["iterator_valid__shuffle"], self.prefixes_)
        # Nothing has to be built anew for these.
        stored = {
            name: value
            for name, value in params.items()
            if name.split("__")[0] in (*_STORED_PARTS, CATCH_ALL)
        }
        for name, value in stored.items():
            callback = name.split("__")[1:2]
            if len(name.split("__")) > 2 and (
                self._part_params.get(f"callbacks__{''.join(callback)}", "") is None
            ):
                raise ValueError(
                    f"Trying to set a parameter for callback {callback[0]} which does "
                    "not exist."
                )
            setattr(self, name, value)
        if self.initialized_ and any(name.startswith("callbacks") for name in stored):
            self._initialize_callbacks()
        if self.initialized_ and any(name.startswith("compile") for name in stored):
            self._compile_anew()
        self._set_and_keep_weights({k: v for k, v in params.items() if k not in stored})
        # The next fit loads a new backbone, even with warm_start.
        if self.initialized_ and "backbone" in params:
            self.initialized_ = False
        elif self.initialized_ and "backbone_lr" in params:
            self._initialize_optimizer()
        return self

    def _compile_anew(self) -> None:
        """Compile the modules as `compile` says now; they keep their weights."""
        for name in (f"{name}_" for name in [*self._modules, *self._criteria]):
            part = self.__dict__.get(name)
            if isinstance(part, torch.nn.Module):
                # A shallow copy has the same weights, and is not compiled.
                self.__dict__[name] = self.torch_compile(copy.copy(part), name[:-1])

    def _set_and_keep_weights(self, params: dict[str, Any]) -> None:
        """Set parameters, and put the weights back into modules built anew."""
        names = [*self._modules, *self._criteria]
        if self.initialized_:
            now = self.get_params(deep=False)
            for name in [*params]:
                is_part = name.split("__")[0] in [*names, *self._optimizers]
                if is_part and name in now and _same(now[name], params[name]):
                    del params[name]
        # skorch changes the optimizer in place and forgets what the next one needs; of
        # another optimizer it does not know.
        of_optimizers = {
            name: value
            for name, value in params.items()
            if name.split("__")[0] in self._optimizers
            and "__param_groups__" not in name
        }
        for name, value in of_optimizers.items():
            setattr(self, name, value)
        is_replaced = self.initialized_ and params.keys() & self._optimizers
        if is_replaced:
            params = {n: v for n, v in params.items() if n not in of_optimizers}
        changed = {name for name in params if name.split("__")[0] in names}
        if not self.initialized_ or not changed:
            super().set_params(**params)
            if is_replaced:
                self._initialize_optimizer()
            return
        before = dict(self.__dict__)
        # Modules are built on the CPU; what they draw is mostly overwritten.
        with torch.random.fork_rng(devices=[]):
            super().set_params(**params)
        pairs = [(before.get(f"{n}_"), self.__dict__.get(f"{n}_")) for n in names]
        # Modules that were given are the user's.
        if changed & {*self._modules} or not all(starmap(_take_over_weights, pairs)):
            warnings.warn(
                f"set_params({', '.join(f'{n}=...' for n in sorted(changed))}) built "
                "the network anew, with other weights than before: what was trained is "
                "lost. Call fit before you predict.",
                UserWarning,
                stacklevel=3,
            )
            return
        for name in before.get("_measured", ()):
            if name in before:
                self.__dict__[name] = before[name]
        self._measured = before.get("_measured", ())

    def _check_passive_parts(self, params: Mapping[str, Any]) -> None:
        """Refuse unknown parameters of the parts that are built at each use."""
        parts: dict[str, Any] = {
            name: params.get(name, self.__dict__[name])
            for name in ("iterator_train", "iterator_valid", "dataset")
        }
        parts["compile"] = torch.compile
        if self.initialized_ and "optimizer" in self._optimizers:
            # Parameters of a built one are set in its groups, whatever their names.
            given = params.get("optimizer", self.optimizer)
            parts["optimizer"] = find_part("optimizer", given)
        for part, function in parts.items():
            names = params_for(part, params)
            further = DataLoader if _is_batch_iterator(function) else None
            check_part_names(part, function, names, ["param_groups"], further)

    def _derived_params(self, changed: dict[str, Any]) -> dict[str, Any]:
        """Find the parameters that a subclass's ``__init__`` makes of changed ones."""
        current = self.get_params(deep=False)
        inits = initializers(type(self))
        derived: dict[str, Any] = {}
        for i, init in reversed(list(enumerate(inits[:-1]))):
            below = {name for lower in inits[:i] for name in names_of(lower)}
            own = set(names_of(init))
            if not changed.keys() & (own - below):
                continue
            given = [name for name in self._given_names if name not in below]
            values = {n: current[n] for n in [*own, *given] if n in current}
            before = self._call_init(init, values)
            values |= {n: value for n, value in changed.items() if n in own}
            derived |= {
                name: value
                for name, value in self._call_init(init, values).items()
                if name not in own and not _same(before.get(name), value)
            }
        return derived

    def _call_init(self, init: Callable, values: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that one of the ``__init__`` sets, given its values."""
        net = object.__new__(type(self))
        init(net, **values)
        stored = net.__dict__ | net._part_params
        return {n: stored[n] for n in net._get_param_names() if n in stored}

    @classmethod
    def _with_params(cls, params: dict[str, Any], given_names: Iterable[str]) -> Self:
        """Build a net with the parameters of another, whose call named some of them."""
        names = {*own_names(cls), *given_names}
        net = cls(**{n: value for n, value in params.items() if n in names})
        stored = net.get_params(deep=False)
        for name, value in params.items():
            if name not in names:
                setattr(net, name, value)
            elif stored[name] is not value:
                raise RuntimeError(
                    f"Cannot clone {cls.__name__}: its __init__ sets or changes the "
                    f"parameter {name!r}. Let it store the very value that it gets."
                )
        return net

    def __sklearn_clone__(self) -> Self:
        """Clone the parameters only; a net under training stays out of it."""
        params = {
            name: clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        fresh = self._with_params(params, self._given_names)
        if hasattr(self, "_metadata_request"):
            fresh._metadata_request = copy.deepcopy(self._metadata_request)
        if hasattr(self, "_sklearn_output_config"):
            fresh._sklearn_output_config = copy.deepcopy(self._sklearn_output_config)
        return fresh

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Show the parameters that differ from their defaults."""
        return BaseEstimator.__repr__(self, N_CHAR_MAX=N_CHAR_MAX)

    def _validate_params(self) -> None:
        names = parameter_names(type(self))
        if CATCH_ALL in self._part_params:
            problem = unknown_name(self, CATCH_ALL, strict=True)
            raise UnknownParameterError(type(self).__name__, {CATCH_ALL: problem})
        constraints = {
            k: v for k, v in self._parameter_constraints.items() if k in names
        }
        validate_constraints(
            constraints, self.get_params(deep=False), type(self).__name__
        )
        if self._part_params.get("iterator_valid__shuffle"):
            validate_as_skorch(["iterator_valid__shuffle"], self.prefixes_)

    def _check_fits_weights(self, weights: Pretrained) -> None:
        """Refuse parameters that contradict the weights of the package."""
        required = weights.settings["parameters"]
        given = self.get_params(deep=False)
        wrong = [
            f"{name}={given.get(name)!r}"
            for name, value in required.items()
            if given.get(name) != value
        ]
        also = [name for name in self._needed_by_weights if given[name] is None]
        if wrong or also:
            needed = ", ".join(f"{name}={value!r}" for name, value in required.items())
            needed += "".join(f", and {name}=..." for name in self._needed_by_weights)
            wrong += [f"{name}=None" for name in also]
            arguments = [repr(self.backbone)]
            arguments += [f"{name}=..." for name in self._needed_by_weights]
            raise ValueError(
                f"backbone={self.backbone!r} are weights for {needed}, but "
                f"{', '.join(wrong)}. {type(self).__name__}.from_pretrained("
                f"{', '.join(arguments)}) sets all."
            )

    @property
    def device(self) -> Any:
        """The device in use: what ``"auto"`` stands for on this machine."""
        device = self.__dict__["device"]
        if device != "auto":
            return device
        ranks = current_ranks()
        return _fastest_device() if ranks is None else str(ranks.device)

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    def __sklearn_tags__(self) -> Tags:
        """Say what input the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = 3 in self._input_ndims
        tags.input_tags.allow_nan = self._takes_nan
        return tags

    # Building -------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        params = self.__dict__
        return [
            *(item for item in super()._default_callbacks if item[0] != "print_log"),
            ("lr_schedule", Schedule(params.get("schedule"))),
            (
                "best_weights",
                BestWeights(
                    restore=params.get("restore_best_weights", True), **self._monitored
                ),
            ),
            ("progress", EpochProgress()),
            ("print_log", EpochLog()),
        ]

    @override
    def initialize(self) -> Self:
        self._validate_params()
        self._check_passive_parts(self._part_params)
        self.__dict__.pop("_scaler", None)
        with lend_generators():
            super().initialize()
        self._check_names(self._part_params, built=True)
        return self

    @override
    def initialize_callbacks(self) -> Self:
        if self._is_restoring:
            # Some callbacks make folders. The next training builds them.
            self.callbacks_: list[tuple[str, Callback]] = []
            self._lacks_callbacks = True
            return self
        self.__dict__.pop("_lacks_callbacks", None)
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

    def _module_factory(self) -> Any:
        """Look up the module's class, or the instance where the user gave one."""
        module = self.__dict__["module"]
        if not isinstance(module, str):
            return module
        factory = get_module(module, self._module_ndim)
        names = accepted_names(factory) or set()
        if self._has_outputs and "latent_dim" in names and "n_outputs" not in names:
            raise ValueError(
                f"The network {module!r} is an autoencoder, for VAETransformer; "
                f"{type(self).__name__} needs one that takes n_outputs."
            )
        return factory

    def _module_parameters(self) -> set[str]:
        """List the parameters that the module names in its signature."""
        module = self._module_factory()
        if isinstance(module, torch.nn.Module):
            module = type(module)
        return accepted_names(module) or set()

    def _sizes_taken(self) -> set[str]:
        """Tell which inferred sizes the module takes."""
        return set(_SIZES) & self._module_parameters()

    def _sizes_known(self) -> dict[str, Any]:
        """Return what a module is told if its signature asks for it."""
        return self.__dict__.get("module_sizes_", {})

    @override
    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        if prefix == "module" and not isinstance(self.module, torch.nn.Module):
            taken = self._module_parameters()
            sizes = {k: v for k, v in self._sizes_known().items() if k in taken}
            params = {**sizes, **params}
        return params

    @override
    def initialize_module(self) -> Self:
        # Settings that contradict the weights are refused before they shape a network.
        weights = None
        if self.backbone is not None and not self._is_restoring:
            weights = self._fitting_weights(self.backbone)
        module = self._module_factory()
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
        elif not params and self._is_fitting:
            # fit must not train the parameter itself: every fit starts from it.
            module = copy.deepcopy(module)
        self.module_ = self.initialized_instance(module, params)
        if torch.get_default_dtype() is torch.float64:
            # Samples are in single precision.
            self.module_.float()
        if weights is not None and self.backbone is not None:
            load_all_but_head(self.module_, weights, self.backbone, self._module_ndim)
        return self

    def _initialize_module(self, *args: Any, **kwargs: Any) -> Self:
        # What was learned from another module says nothing of this one.
        self._forget_measurements()
        super()._initialize_module(*args, **kwargs)
        self._takes_sizes = bool(self._sizes_taken())
        self._n_weights = sum(
            weight.numel()
            for _, weight in self.get_all_learnable_params()
            if not is_lazy_weight(weight)
        )
        return self

    def get_all_learnable_params(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yield names and parameters of the modules and criteria that are built.

        Yields
        ------
        name : str
            The parameter's name in its module.
        parameter : torch.nn.Parameter
            The parameter; one that two modules share is yielded once.
        """
        seen = set()
        for name in [*self._modules, *self._criteria]:
            part = self.__dict__.get(f"{name}_")
            for key, value in getattr(part, "named_parameters", dict().items)():
                if value not in seen:
                    seen.add(value)
                    yield key, value

    @override
    def torch_compile(self, module: Any, name: str) -> Any:
        # In place, so that it is pickled like any other.
        if self.compile and isinstance(module, torch.nn.Module):
            module.compile(**self.get_params_for("compile"))
        return module

    @override
    def initialize_criterion(self) -> Self:
        criterion = find_part("criterion", self.criterion)
        given = self.get_params_for("criterion")
        check_part_names("criterion", criterion, given)
        self.criterion_ = self.initialized_instance(criterion, given)
        return self

    @override
    def initialize_optimizer(self) -> Self:
        optimizer = find_part("optimizer", self.optimizer)
        given = self.get_params_for("optimizer")
        check_part_names("optimizer", optimizer, given, also=["param_groups"])
        weights = self.get_all_learnable_params()
        args, kwargs = self.get_params_for_optimizer("optimizer", weights)
        self.optimizer_ = optimizer(*args, **kwargs)
        return self

    @property
    def _criterion_type(self) -> type:
        """The class of the criterion, of which the user may have given an instance."""
        criterion = find_part("criterion", self.criterion)
        return criterion if isinstance(criterion, type) else type(criterion)

    @override
    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> tuple:
        named_parameters = list(named_parameters)
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if prefix == "optimizer" and self.backbone_lr is not None:
            args = (self._two_rates(args[0]), *args[1:])
        # One kernel for a step, where the optimizer and the weights allow it.
        optimizer = find_part("optimizer", getattr(self, prefix, None))
        choices = {"fused", "foreach", "capturable", "differentiable"}
        modules = [self.__dict__.get(f"{name}_") for name in self._modules]
        layers = (
            layer
            for module in modules
            if isinstance(module, torch.nn.Module)
            for layer in module.modules()
        )
        if (
            "fused" in (accepted_names(optimizer) or ())
            and not choices & set(kwargs)
            and all(
                not is_lazy_weight(weight)
                and weight.is_floating_point()
                and weight.device.type in _FUSED_DEVICES
                for _, weight in named_parameters
            )
            # Fused kernels take no sparse gradients.
            and not any(getattr(layer, "sparse", False) for layer in layers)
        ):
            kwargs["fused"] = True
        return args, kwargs

    # The backbone -------------------------------------------------------------------

    @available_if(_has_backbone)
    def load_backbone(self, path: str | os.PathLike) -> Self:
        """Let the following ``fit`` start from the weights of a trained network.

        It is the same as ``set_params(backbone=path)``, but for the file, which is
        read here at once, so that one that is missing or damaged shows early.

        Parameters
        ----------
        path : str or path-like
            A file of weights or its address, see the parameter ``backbone``.

        Returns
        -------
        self : object
            The estimator, which is to be fitted, also where it was before.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        OSError
            If a download fails.
        ValueError
            If the file cannot be read or holds something else. Whether the weights
            fit the network shows in ``fit``, before the training.

        See Also
        --------
        from_pretrained : It takes the network's settings from the file too.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from skastro import GalaxyClassifier
        >>> from skastro.networks import get_module
        >>> trained = get_module("resnet18", ndim=2)(n_channels=3, n_outputs=1000)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "resnet18.pth"
        ...     torch.save(trained.state_dict(), path)
        ...     clf = GalaxyClassifier("resnet18").load_backbone(path)
        >>> clf.backbone.name
        'resnet18.pth'
        """
        self._read_backbone(path)
        return self.set_params(backbone=path)

    def _fitting_weights(self, backbone: str | os.PathLike) -> Weights:
        """Read a backbone, and refuse parameters that contradict it."""
        if backbone in self._pretrained:
            pretrained = self._find_pretrained(backbone)
        else:
            file = find_file(backbone, self.verbose)
            if not is_pretrained(file):
                return self._read_backbone(backbone)
            pretrained = Pretrained.read(file)
        self._check_fits_weights(pretrained)
        return pretrained.weights

    def _read_backbone(self, backbone: str | os.PathLike) -> Weights:
        if backbone in self._pretrained:
            return self._find_pretrained(backbone).weights
        return read_weights(backbone, self.verbose)

    def _two_rates(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the backbone a rate of its own."""
        if "param_groups" in self.get_params_for("optimizer"):
            raise ValueError(
                "Both backbone_lr and optimizer__param_groups set learning rates; give "
                "one of them."
            )
        (group,) = groups
        slow = {id(weight) for weight in all_but_head(self.module_).values()}
        # The head stands first: the history records the rate of the first group.
        head = [weight for weight in group["params"] if id(weight) not in slow]
        backbone = [weight for weight in group["params"] if id(weight) in slow]
        return [{"params": head}, {"params": backbone, "lr": self.backbone_lr}]

    @property
    def _is_frozen(self) -> bool:
        return self.backbone_lr is not None and self.backbone_lr == 0

    def _freeze(self) -> None:
        """Fix the weights of a backbone whose rate is zero, and set that of others."""
        # A copy that was pickled in the middle of a training is still frozen.
        self._thaw()
        if self.backbone_lr is not None:
            # set_params(lr=...) on an initialized net sets the rate of all groups.
            self.optimizer_.param_groups[-1]["lr"] = self.backbone_lr
        if self._is_frozen:
            weights = all_but_head(self.module_)
            self._frozen = [k for k, weight in weights.items() if weight.requires_grad]
            for name in self._frozen:
                weights[name].requires_grad_(False)

    def _thaw(self) -> None:
        for name in self._frozen:
            self.module_.get_parameter(name).requires_grad_(True)
        self._frozen = ()

    @override
    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        part = "iterator_train" if training else "iterator_valid"
        iterator = getattr(self, part)
        options = self.get_params_for(part)
        if _is_batch_iterator(iterator):
            options.setdefault("device", torch.device(self.device or "cpu"))
            if self._training is not None:
                options.setdefault("placed", self._training.placed)
            if not training:
                options.setdefault("batch_size", self._prediction_batch_size())
        options.setdefault("batch_size", self.batch_size)
        size = options["batch_size"]
        if size == -1:
            options["batch_size"] = len(dataset)
        elif _is_batch_iterator(iterator) and not (
            isinstance(size, Integral) and int(size) >= 1
        ):
            raise ValueError(
                f"{part}__batch_size must be a whole number from 1 on, or -1 for all "
                f"samples at once, but got {size!r}."
            )
        if not training:
            return iterator(dataset, **options)
        return self._share(self._training_iterator(iterator, dataset, options))

    def _training_iterator(self, iterator: Any, dataset: Any, options: dict) -> Any:
        if getattr(self, "sampler", None) == "balanced":
            targets = _targets_of(dataset)
            if not _is_batch_iterator(iterator) or targets is None:
                raise ValueError(
                    "sampler='balanced' needs X and y as arrays and the default "
                    f"iterator_train, but got {type(dataset).__name__} and "
                    f"{iterator!r}; give your iterator a sampler of its own "
                    "(iterator_train__sampler)."
                )
            groups = _of_samples(self._groups, dataset)
            options["sampling_weights"] = _balanced_weights(targets, groups)
        elif (
            isinstance(iterator, type)
            and issubclass(iterator, BatchIterator | DataLoader)
            and not isinstance(dataset, IterableDataset)
            and not {"sampler", "batch_sampler"} & set(options)
        ):
            options.setdefault("shuffle", True)
        return iterator(dataset, **options)

    def _identify_training(self, train: Any, valid: Any) -> str:
        """Digest parameters, callbacks and data; draw it where one is unknown."""
        if self.random_state is None or any(
            data is not None and find_source(data) is None for data in (train, valid)
        ):
            return secrets.token_hex(6)
        facts = [
            type(self).__name__,
            {
                # The pickle of a tensor holds its address.
                name: value.numpy(force=True) if torch.is_tensor(value) else value
                for name, value in self.get_params(deep=False).items()
                if name not in ("callbacks", "device", "verbose")
            },
            [
                (
                    name,
                    type(part),
                    {k: vars(part).get(k) for k in parameter_names(type(part))},
                )
                for name, part in self.callbacks_
            ],
            fingerprint(train, valid, groups=self._groups),
        ]
        try:
            return joblib.hash(facts)[:12]
        except Exception:
            # Of what users give, pickle refuses some with errors of many kinds.
            return secrets.token_hex(6)

    def _share(self, iterator: Any) -> Any:
        """Let an iterator yield the part of each batch that this process computes."""
        ranks = None if self._training is None else self._training.ranks
        if ranks is not None:
            if not isinstance(iterator, BatchIterator):
                raise ValueError(
                    "A training on several devices needs the default iterators, but "
                    f"got {type(iterator).__name__}."
                )
            iterator.ranks = ranks
        return iterator

    def _prediction_batch_size(self) -> int:
        shape = self.__dict__.get("sample_shape_")
        if not shape or self.batch_size == -1:
            return self.batch_size
        device = torch.device(self.device or "cpu")
        large = _LARGE_VALIDATION_BATCH if self._is_training() else _LARGE_BATCH
        at_once = samples_at_once(device, math.prod(shape))
        # Of small samples more are better; modules of a user's own may not agree.
        grows = self._takes_sizes and at_once > 256
        if device.type == "cpu" and self.batch_size >= large and not grows:
            return self.batch_size
        return max(self.batch_size, at_once)

    @override
    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        if isinstance(self.train_split, float):
            split = ValidationSplit(
                self.train_split, self._stratify, random_state=self.random_state
            )
            train, valid = split(self.get_dataset(X, y), y, self._groups)
        else:
            if self._groups is not None and self.train_split:
                names = accepted_names(self.train_split)
                if names is not None and "groups" not in names:
                    raise ValueError(
                        f"train_split={self.train_split!r} takes no groups, and would "
                        "put samples of one group on both sides. Let it take an "
                        "argument groups, as skorch.dataset.ValidSplit does, or give a "
                        "float."
                    )
                fit_params = {**fit_params, "groups": self._groups}
            with lend_to(self.train_split):
                train, valid = super().get_split_datasets(X, y, **fit_params)
            if self._groups is not None and _whole(train) is _whole(valid):
                codes = encode_groups(self._groups)
                parts = [_of_samples(codes, part) for part in (train, valid)]
                if n_both := len(np.intersect1d(*parts)):
                    raise ValueError(
                        f"train_split={self.train_split!r} puts samples of {n_both} "
                        "groups on both sides. Take a splitter of groups, as in "
                        "skorch.dataset.ValidSplit(GroupKFold(5)), or a float."
                    )
        with self._lend_to("_learn_from_training_data", "_sample_batches"):
            self._learn_from_training_data(train)
        if self._training is not None:
            self._training.split = train, valid
            ranks = self._training.ranks
            if ranks is not None:
                digest = fingerprint(train, valid, groups=self._groups)
                ranks.check_same({"X, y or groups": digest}, _SAME)
            if "training_id_" not in self.__dict__:
                own = self._identify_training(train, valid)
                self.training_id_ = own if ranks is None else ranks.from_first(own)
            sizes = {"n_training": train, "n_validation": valid or ()}
            self._note(**{k: len(v) for k, v in sizes.items() if hasattr(v, "__len__")})
            if self._training.file is not None:
                self._training.file.begin(train, valid)
                if self._training.ranks is not None:
                    self._training.ranks.draw_apart(self._training.file.n_epochs)
        return train, valid

    # Validation -----------------------------------------------------------------

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        """Name the sizes of one sample, as modules take them."""
        if self._sizes_taken() and "module__n_channels" not in self._part_params:
            n_channels = sample_shape[0] if sample_shape else 1
            check_spectra_layout(sample_shape, f"module__n_channels={n_channels}")
        if len(sample_shape) == 1:
            return {"n_channels": 1, "input_size": sample_shape[0]}
        return {"n_channels": sample_shape[0], "input_size": sample_shape[1]}

    def _infer_output_size(self, y: Any) -> dict[str, Any]:
        """Name the size of the output, as modules take it."""
        return {}

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> Any:
        """Turn the target into what the criterion takes."""
        return y

    def _class_weight_per_sample(self, y: Any) -> np.ndarray | None:
        """Turn class weights into weights of samples; None where there are none."""
        return None

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Learn what has to be known of the training samples before the first step."""
        if self._warns_of_novelty:
            # Before the training, rather than at its end.
            self._check_has_score()

    def _sample_batches(self, dataset: Any) -> Iterator[torch.Tensor]:
        """Yield the samples of a data set, batch by batch, as the user gave them."""
        for X, _ in self.get_iterator(dataset, training=False):
            yield separate_weight(X)[0]

    def _check_training_data(
        self, X: Any, y: Any, given: dict[str, Any], classes: Any, *, reset: bool
    ) -> tuple[Any, Any]:
        """Validate, learn shapes and labels, and encode for skorch's loop."""
        if reset:
            self._forget_learned()
            if self._kept:
                self.kept_params_ = {name: getattr(self, name) for name in self._kept}
        else:
            self._refuse_changed(self.__dict__.get("kept_params_", {}))
        record: dict[str, Any] = {"versions": package_versions()}
        if not is_dataset(X):
            if self._is_overridden("get_loss") and _is_structured(y):
                X, _ = check_X_y(self, X, reset=reset)
                record |= describe_samples(X, None, False)
            else:
                X, y = check_X_y(self, X, y, reset=reset)
                record |= describe_samples(X, y, self._kind == "classifier")
                if y is not None:
                    y = self._encode_target(y, reset=reset, classes=classes)
            X, y = self._attach(X, y, **given)
        elif given:
            raise ValueError(
                f"{' and '.join(given)} cannot be given beside a data set; give X and "
                "y as arrays."
            )
        elif getattr(self, "class_weight", None) is not None:
            raise ValueError(
                "class_weight needs X and y as arrays, but X is a data set; give "
                "arrays, or weights to the criterion."
            )
        elif reset:
            self._inspect_dataset(X, y)
        if reset:
            self.module_sizes_ = {
                **(self._infer_sizes(self.sample_shape_) if self._has_shape else {}),
                **self._infer_output_size(y),
            }
        self.training_data_ = [*self.__dict__.get("training_data_", ()), record]
        return X, y

    def _note(self, **facts: Any) -> None:
        """Add to what is known of the training that runs."""
        *earlier, record = self.training_data_
        self.training_data_ = [*earlier, record | facts]

    def _refuse_changed(self, kept: Mapping[str, Any]) -> None:
        """Refuse parameters that differ from those by which something was learned."""
        for name, value in kept.items():
            now = getattr(self, name)
            if not (_same(now, value) or np.array_equal(now, value)):
                raise ValueError(
                    f"{name}={now!r}, but the weights were trained with {name}="
                    f"{value!r}, and what was learned with it is kept. Call set_params"
                    f"({name}={value!r}), or fit anew, with warm_start=False."
                )

    @property
    def _has_shape(self) -> bool:
        """Whether samples are arrays of one shape, and no dicts or tuples of them."""
        return self.__dict__.get("sample_shape_") is not None

    def _attach(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any]:
        """Let weights travel with X to the loss, and leave out samples of weight 0."""
        class_weight = self._class_weight_per_sample(y)
        if sample_weight is None and class_weight is None:
            return X, y
        if isinstance(X, Mapping | list | tuple):
            raise ValueError(
                f"Sample and class weights need X as one array, but X is a "
                f"{type(X).__name__}. Put the weights into X, and use them in get_loss."
            )
        weight = check_sample_weight(sample_weight, X, class_weight)
        kept = weight > 0
        if not kept.all():
            self._groups = None if self._groups is None else self._groups[kept]
            X = LazyArray(X)[kept] if is_lazy(X) else X[kept]
            y, weight = None if y is None else y[kept], weight[kept]
        if (weight == weight[0]).all():
            return X, y
        # Their mean is 1, so that a weighted loss is as large as an unweighted one and
        # the learning rate keeps its meaning.
        weight = (weight / weight.mean()).astype(np.float32)
        return {"X": X, SAMPLE_WEIGHT: weight}, y

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        """Learn the shape of a sample from a data set, as ``check_X_y`` does."""
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"A data set needs a length and samples by number, but got "
                f"{type(dataset).__name__}. Give arrays, or arrays on disk, which may "
                "be larger than memory."
            )
        item = dataset[0]
        # skorch's error names what a data set has to return.
        sample, _ = unpack_data(item if isinstance(item, list | tuple) else (item,))
        if isinstance(sample, Mapping | list | tuple):
            self.sample_shape_: Any = None
            return
        sample = np.asarray(sample)
        self.sample_shape_ = sample.shape
        self.n_features_in_ = sample.shape[0] if sample.ndim else 1

    # Training -------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the network; with ``warm_start`` and an initialized net, train it on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input. A data set, or a dict of arrays, is passed on to skorch as it is.
        y : array-like of shape (n_samples, ...), default=None
            The target; None where X is a data set that holds it.
        **fit_params : dict
            ``sample_weight``, array-like of shape (n_samples,): weights in the loss, on
            training and validation samples alike; samples of weight zero are left
            out.
            ``groups``, array-like of shape (n_samples,): what each sample belongs to,
            such as the name of its object, of which there are several spectra. All
            samples of a group are on one side of the validation split, and
            ``sampler="balanced"`` draws the groups of a class equally often.
            ``resume``, str or path-like: a file that holds the training. If it exists,
            the training goes on from there. On the CPU the result is, bit for bit, that
            of a training without interruption, whatever ended the process; on several
            devices only where nothing but the order is drawn. The data and the
            parameters must be the same.
            ``resume_every``, float, default=600.0: the file is written after each
            epoch, and within an epoch after so many seconds, at the end of a batch. 0
            stands for each batch, and infinity for epochs only.
            All others go to the module's ``forward``, as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.

        Notes
        -----
        ``sample_weight`` is not in the signature because scikit-learn would take that
        for the promise that a weight of two equals a sample given twice, which holds
        for no network trained on batches. With metadata routing it is requested by
        ``set_fit_request(sample_weight=True)``; groups are requested unless
        ``set_fit_request(groups=False)`` says otherwise.
        """
        reset = not (self.warm_start and self.initialized_)
        return self._train(X, y, fit_params, method="fit", reset=reset)

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> Self:
        """Train for another ``max_epochs`` epochs without starting anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input.
        y : array-like of shape (n_samples, ...), default=None
            The target.
        classes : array-like of shape (n_classes,), default=None
            All labels that later calls may bring; at the first call only, and by
            classifiers only.
        **fit_params : dict
            As in ``fit``.

        Returns
        -------
        self : object
            The estimator.
        """
        reset = "sample_shape_" not in self.__dict__
        return self._train(
            X, y, fit_params, method="partial_fit", reset=reset, classes=classes
        )

    def _train(
        self,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        *,
        method: str,
        reset: bool,
        classes: Any = None,
    ) -> Self:
        self.check_training_readiness()
        self._validate_params()
        if self.device is not None:
            check_device_exists(self.device)
        nonlinearity = self.predict_nonlinearity
        if not (nonlinearity in (None, "auto") or callable(nonlinearity)):
            raise TypeError(
                "predict_nonlinearity must be a callable, 'auto' or None, but got "
                f"{nonlinearity!r}."
            )
        before = dict(self.__dict__)
        fit_params = dict(fit_params)
        path = fit_params.pop("resume", None)
        every = fit_params.pop("resume_every", None)
        is_seeded = isinstance(self.random_state, Integral)
        if path is not None and not (method == "fit" and reset and is_seeded):
            raise ValueError(
                "resume=... needs a training that begins anew the same way: fit, with "
                f"an int as random_state (it is {self.random_state!r}), and not "
                "partial_fit or warm_start."
            )
        if every is not None and (path is None or not _is_duration(every)):
            raise ValueError(
                "resume_every=... is the number of seconds, 0 or more, between writes "
                f"of the file of resume=..., but got {every!r} with resume={path!r}."
            )
        ranks = current_ranks()
        if ranks is not None:
            self._check_can_share(ranks)
        seed = draw_seed(self.random_state)
        state = None if reset else self.__dict__.get("_generator_state")
        device = torch.device(self.device or "cpu")
        with (
            draw_from_seed(device, seed, state) as own,
            fast_kernels(device, self.precision, search=True),
        ):
            with self._unchanged_on_error():
                self._groups = check_groups(fit_params.pop("groups", None), X)
                given = {
                    name: value
                    for name in self._sample_params
                    if (value := fit_params.pop(name, None)) is not None
                }
                X, y = self._check_training_data(X, y, given, classes, reset=reset)
                if method == "fit" and reset:
                    # skorch announces what replaces weights that were not trained.
                    self.initialized_ = self.initialized_ and not self.history
                    self._is_fitting = True
                    self.initialize()
                    self._is_fitting = False
                elif self._lacks_callbacks:
                    self._initialize_callbacks()
            try:
                with self._while_training(ranks):
                    if path is not None and self._training is not None:
                        self._training.file = TrainingFile(
                            path, self, own, _RESUME_EVERY if every is None else every
                        )
                    super().partial_fit(X, y, _routing_method=method, **fit_params)
            except _DivergedError:
                for name in self._modules:
                    self.__dict__.pop(f"{name}_", None)
                self.initialized_ = False
                raise
            except Exception:
                # Not one epoch is worth keeping: what was fitted before is as it was.
                if reset and len(self.history) < 2:
                    self.__dict__.clear()
                    self.__dict__.update(before)
                raise
            if own is not None:
                state = own.by_device["cpu"].get_state()
                self._generator_state = (
                    state if ranks is None else ranks.from_first(state)
                )
        return self

    def _check_can_share(self, ranks: Ranks) -> None:
        """Refuse, before any work, what several processes cannot train together."""
        if not isinstance(self.random_state, Integral):
            raise ValueError(
                "A training on several devices needs an int as random_state, so that "
                f"all processes draw the same samples; it is {self.random_state!r}."
            )
        overridden = [n for n in _SHARED_METHODS if self._is_overridden(n)]
        if overridden:
            raise ValueError(
                f"{type(self).__name__} overrides {', '.join(overridden)}, where the "
                "losses of several devices are weighted and summed. Override get_loss "
                "instead."
            )
        index = torch.device(self.device or "cpu").index
        if index not in (None, ranks.device.index):
            raise ValueError(
                f"device={self.device!r} is one device for all processes; take "
                "device='auto', which is the one of each."
            )

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave a fitted net as it was where new data or parameters are refused."""
        before = dict(self.__dict__)
        try:
            yield
        except Exception:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    @contextlib.contextmanager
    def _while_training(self, ranks: Ranks | None = None) -> Iterator[None]:
        """Mark the time when callbacks compare predictions with encoded targets."""
        self._training = _Training(ranks=ranks)
        try:
            with self._as_one_of(ranks):
                yield
        finally:
            self._thaw()
            self.__dict__.pop("_training", None)
            self.__dict__.pop("_groups", None)

    @contextlib.contextmanager
    def _as_one_of(self, ranks: Ranks | None) -> Iterator[None]:
        """Let the first process alone write files and tell of the training."""
        if ranks is None:
            yield
            return
        ranks.was_used = True
        ranks.draw_apart()
        verbose, callbacks = self.__dict__["verbose"], self.callbacks_
        if ranks.rank:
            self.__dict__["verbose"] = 0
            self.callbacks_ = [
                (name, callback)
                for name, callback in callbacks
                if not isinstance(callback, _WRITING_CALLBACKS)
            ]
        try:
            yield
        except BaseException:
            # An outer estimator, such as a search, may go on after an error.
            ranks.part()
            raise
        finally:
            self.__dict__["verbose"], self.callbacks_ = verbose, callbacks

    def _is_training(self) -> bool:
        return self._training is not None

    @override
    def notify(self, method_name: str, **kwargs: Any) -> None:
        if method_name in _BATCH_EVENTS:
            for listener in self._listeners(method_name):
                listener(self, **kwargs)
            return
        if method_name == "on_train_begin":
            self._forget_measurements()
            self._freeze()
            if self._training is not None:
                self._training.first_epoch = len(self.history)
        if method_name == "on_epoch_begin" and self._training is not None:
            self._training.has_begun = True
        if method_name == "on_epoch_begin" and kwargs.get("dataset_valid") is None:
            self._check_monitors("valid")
        own = all(_is_own(callback) for _, callback in self.callbacks_)
        ranks = None if self._training is None else self._training.ranks
        stops: list[KeyboardInterrupt] = []
        with self._lend_to(method_name) if own else lend_generators():
            try:
                super().notify(method_name, **kwargs)
            except KeyError:
                if method_name == "on_epoch_end":
                    self._check_monitors("")
                raise
            except KeyboardInterrupt as error:
                if ranks is None or method_name != "on_epoch_end":
                    raise
                stops.append(error)
        if ranks is not None:
            self._agree(ranks, method_name, stops)
        if method_name == "on_train_begin":
            self._check_can_be_saved()
        if method_name == "on_epoch_end" and self._training is not None:
            if self._training.file is not None and (ranks is None or not ranks.rank):
                self._training.file.save()
        # The callbacks have put the best weights back.
        if method_name == "on_train_end" and self._training is not None:
            epoch = len(self.history)
            best = dict(self.callbacks_).get("best_weights")
            if isinstance(best, BestWeights) and best.restore:
                epoch = best.best_epoch_ or epoch
            self._note(kept_epoch=epoch)
            known = set(self._learned_names())
            with self._lend_to("_after_training"):
                self._after_training(*self._training.split)
            self._measured = tuple(set(self._learned_names()) - known)
            if ranks is not None:
                rows = ranks.from_first(self.history.to_list())
                self.__dict__["history_"] = History(rows)
                text = ranks.from_first(self._write_state())
                if ranks.rank:
                    self._read_state(text)

    def _agree(
        self, ranks: Ranks, method_name: str, stops: list[KeyboardInterrupt]
    ) -> None:
        """Let the processes begin alike, stop together and end alike."""
        weights = [weight for _, weight in self.get_all_learnable_params()]
        if any(map(is_lazy_weight, weights)):
            raise ValueError(
                "A training on several devices needs a network whose weights have "
                "their sizes before the first batch; give the sizes to its layers."
            )
        if method_name == "on_train_begin":
            ranks.check_same(self._identity(), _SAME)
        if method_name == "on_epoch_end" and ranks.agree_to_stop(bool(stops), weights):
            ranks.have_stopped = True
            raise KeyboardInterrupt from (stops[0] if stops else None)
        if method_name == "on_train_end":
            # A Checkpoint has read the best weights in the first process only.
            parts = [getattr(self, f"{n}_") for n in self._modules + self._criteria]
            ranks.copy_from_first(
                tensor
                for part in parts
                if isinstance(part, torch.nn.Module)
                for tensor in part.state_dict().values()
                if isinstance(tensor, torch.Tensor)
            )

    def _identity(self) -> dict[str, str]:
        """Tell what makes this training another one than that of other data."""
        weights = [w.detach().double() for _, w in self.get_all_learnable_params()]
        file = None if self._training is None else self._training.file
        return {
            "The class": type(self).__name__,
            **{
                f"The parameter {name}": as_told(value)
                for name, value in self.get_params(deep=False).items()
                if name not in ("callbacks", "device", "verbose")
            },
            "What is known of the data": repr(self.training_data_[-1]),
            "The sum of the weights": f"{sum(float(w.sum()) for w in weights):.6g}",
            "Where to go on": file.place if file else "",
        }

    def _check_can_be_saved(self) -> None:
        """Refuse, before the training, what a Checkpoint could not write after it."""
        for name, callback in self.callbacks_:
            if not isinstance(callback, Checkpoint | TrainEndCheckpoint):
                continue
            if callback.f_params:
                self._write_state()
            if not callback.f_pickle:
                continue
            try:
                pickle.dumps(self)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise TypeError(
                    f"The callback {name!r} is to pickle the estimator, which cannot "
                    f"be done: {error}. Take functions and classes of a module in "
                    "place of lambdas and local ones, or give f_pickle=None."
                ) from error

    def _check_monitors(self, start: str) -> None:
        """Refuse callbacks that follow a figure, named so, that no epoch has."""
        known = set(self.history[-1]) if self.history else set()
        for name, callback in self.callbacks_:
            monitor = getattr(callback, "monitor", None)
            if isinstance(callback, BestWeights) or not isinstance(monitor, str):
                continue
            if monitor.startswith(start) and monitor not in known:
                why = "there is no validation split"
                if not start:
                    why = f"the history has only {', '.join(sorted(known))}"
                raise ValueError(
                    f"The callback {name!r} follows {monitor!r}, but {why}. Give "
                    "train_split (20 samples or more are split), or "
                    f"callbacks__{name}__monitor='train_loss', or put a callback that "
                    "records the figure before it."
                )

    def _listeners(self, method_name: str) -> list[Callable]:
        """Find the methods that act on batches, once for all batches."""
        known = {} if self._training is None else self._training.listeners
        callbacks, listeners = known.get(method_name, (None, []))
        if callbacks is not self.callbacks_:
            method = getattr(self, method_name)
            overridden = self._is_overridden(method_name)
            listeners = [lend_generators()(method) if overridden else method]
            for _, callback in self.callbacks_:
                method = getattr(callback, method_name)
                default = getattr(Callback, method_name)
                if getattr(method, "__func__", None) is not default:
                    own = _is_own(callback)
                    listeners.append(method if own else lend_generators()(method))
            known[method_name] = self.callbacks_, listeners
        return listeners

    def _losses_are_watched(self) -> bool:
        """Whether something may read a batch's loss before the epoch is over."""
        for name in _BATCH_EVENTS:
            if getattr(type(self), name) is not getattr(NeuralNet, name):
                return True
            for _, callback in self.callbacks_:
                method = getattr(type(callback), name, None)
                if method not in _READ_NO_LOSS or name in vars(callback):
                    return True
        return False

    @override
    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> Self:
        if self._training is not None and self._training.file is not None:
            epochs = self.max_epochs - self._training.file.n_epochs
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except KeyboardInterrupt as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            by_callback = frame.f_globals["__name__"].startswith("skorch.callbacks")
            ranks = None if self._training is None else self._training.ranks
            if ranks is not None and not ranks.have_stopped:
                raise RuntimeError(
                    f"The training was interrupted in epoch {len(self.history)} of one "
                    "process, which the others cannot know. fit(..., resume='file') "
                    "goes on from its last epoch."
                ) from error
            if not by_callback and ranks is None:
                # Else EarlyStopping has ended the training.
                warnings.warn(
                    f"The training was interrupted in epoch {len(self.history)}, and "
                    f"{type(self).__name__} keeps the weights that it has. To be able "
                    "to go on, call fit(..., resume='file').",
                    stacklevel=2,
                )
            raise

    @override
    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable,
        **fit_params: Any,
    ) -> None:
        # On a device other than the CPU losses are fetched once an epoch, unless
        # something looks at each. Batches too large for the device's memory are halved.
        if iterator is None:
            return
        ranks = None if self._training is None else self._training.ranks
        if ranks is not None:
            self._share(iterator)
        if not training:
            step_fn = self._fold(step_fn, getattr(iterator, "dataset", None))
        wait = self._torch_device.type == "cpu" or self._losses_are_watched()
        draws = self._may_draw()
        halving = BatchHalving()
        if self._training is not None:
            halving = self._training.halving.setdefault(prefix, halving)
        waiting: list[tuple[dict, str, torch.Tensor]] = []
        fetched: list[float] = []
        n_batches = 0
        # Callbacks that keep predictions need those of all processes.
        hears = any(
            isinstance(callback, EpochScoring | BatchScoring) or not _is_own(callback)
            for _, callback in self.callbacks_
        )

        def step_on(batch: Any) -> dict[str, Any]:
            self.notify("on_batch_begin", batch=batch, training=training)
            parts = [getattr(self, f"{name}_") for name in self._modules]
            lent = lend_generators() if draws else contextlib.nullcontext()
            together = (
                contextlib.nullcontext()
                if ranks is None
                else batch_norms_of_all(ranks, parts)
            )
            try:
                with together, lent:
                    return step_fn(batch, **fit_params)
            except torch.OutOfMemoryError as error:
                if ranks is not None:
                    raise RuntimeError(
                        "The device's memory is too small for a batch of "
                        f"{n_samples_in(batch)} samples; lower batch_size."
                    ) from error
                # The batch begins anew, in halves.
                self.history[-1]["batches"].pop()
                self._zero_grad_optimizer()
                raise

        def fetch() -> None:
            values = [value for *_, value in waiting]
            numbers = torch.stack(values).tolist() if values else []
            for (record, name, _), number in zip(waiting, numbers, strict=True):
                record[name] = number
            fetched.extend(numbers)
            waiting.clear()

        file = self._training.file if training and self._training is not None else None
        n_done, was_streamed = (0, None) if file is None else file.begin_epoch()
        if _is_own(iterator):
            iterator.skip(n_done, was_streamed)
        batches = self._batches_from(iterator, n_done, ranks if training else None)
        if file is not None and n_done:
            n_batches = len(self.history[-1]["batches"])
            file.order_is_drawn()
            if ranks is not None:
                ranks.draw_apart(file.n_epochs)
        try:
            for place, whole in enumerate(batches, n_done):
                if ranks is not None:
                    sizes, totals = iterator.deal.sizes, iterator.deal.totals
                    ranks.begin_batch(sizes[place], totals[place])
                for batch, step in halving.run(step_on, whole):
                    record = self.history[-1]["batches"][-1]
                    n_samples, terms = n_samples_in(batch), self._loss_terms()
                    if ranks is not None:
                        n_samples = ranks.n_whole
                        terms = {
                            n: ranks.sum(v * ranks.weight) for n, v in terms.items()
                        }
                        if hears:
                            batch, step = self._of_all(ranks, batch, step)
                    record[prefix + "_batch_size"] = n_samples
                    for term, value in {"loss": step["loss"], **terms}.items():
                        name, value = f"{prefix}_{term}", value.detach()
                        record[name] = value.item() if wait else None
                        if not wait:
                            waiting.append((record, name, value.reshape(())))
                    if training and wait:
                        self._check_converges([record[f"{prefix}_loss"]])
                    n_batches += 1
                    self.notify("on_batch_end", batch=batch, training=training, **step)
                if file is None or (ranks is not None and ranks.rank):
                    continue
                if file.is_due():
                    fetch()
                    self._check_converges(fetched)
                    file.save(place + 1, getattr(iterator, "is_streamed", None))
        finally:
            # A thread that reads ahead ends here, and not with the error's traceback.
            del batches
            fetch()
        self.history.record(prefix + "_batch_count", n_batches)
        if training:
            # Gradients that are not finite leave their trace in the weights.
            learned = [w for _, w in self.get_all_learnable_params() if w.requires_grad]
            finite = all([w.detach().isfinite().all() for w in learned])
            self._check_converges([*fetched, 0.0 if finite else math.nan])

    @staticmethod
    def _batches_from(iterator: Any, n_done: int, ranks: Ranks | None) -> Iterator[Any]:
        """Draw the order of the batches, which all share, and leave out the first."""
        own = _is_own(iterator)
        with contextlib.nullcontext() if ranks is None else ranks.drawing_alike():
            batches = iter(iterator) if own else lend_to_each(iterator)
            for _ in range(0 if own else n_done):
                next(batches)
        return batches

    @staticmethod
    def _of_all(ranks: Ranks, batch: Any, step: dict[str, Any]) -> tuple[Any, Any]:
        """Join the targets and predictions of all processes; X remains its part."""
        X, y = unpack_data(batch)
        return (X, ranks.gather(y)), {**step, "y_pred": ranks.gather(step["y_pred"])}

    def _may_draw(self) -> bool:
        """Tell whether a step may draw from torch's global generators."""
        parts = [getattr(self, f"{n}_") for n in self._modules + self._criteria]
        layers = [
            layer
            for part in parts
            for layer in (
                part.modules() if isinstance(part, torch.nn.Module) else [part]
            )
        ]
        optimizers = [getattr(self, f"{name}_") for name in self._optimizers]
        return (
            self.compile
            or any(map(self._is_overridden, _STEP_METHODS))
            or not all(map(_draws_nothing, [*layers, *optimizers]))
        )

    def _check_converges(self, numbers: list[float]) -> None:
        """Stop a training that leads nowhere; with the user's own module only warn."""
        if all(map(math.isfinite, numbers)):
            return
        text = (
            f"The training diverged: in epoch {len(self.history)} the loss or a weight "
            f"was NaN or infinite. Lower lr (it is {self.lr}), scale X, take "
            "precision='float32', or look for NaN in a data set of your own; then fit "
            "anew."
        )
        if self._takes_sizes:
            raise _DivergedError(text)
        if self._training is not None and not self._training.has_diverged:
            self._training.has_diverged = True
            warnings.warn(text, ConvergenceWarning, stacklevel=2)

    def _loss_terms(self) -> dict[str, torch.Tensor]:
        """Name the terms of the latest loss, for the history."""
        return {}

    def _set_training(self, training: bool = True) -> None:
        # Setting the mode of all layers before every step takes longer than looking.
        parts = [getattr(self, name + "_") for name in self._modules + self._criteria]
        if any(
            layer.training != training
            for part in parts
            if isinstance(part, torch.nn.Module)
            for layer in part.modules()
        ):
            super()._set_training(training)
        if training and self._is_frozen:
            # Running means and variances are as much part of the backbone as weights.
            for layer in self.module_.modules():
                if is_normalization(layer):
                    layer.eval()

    @override
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        scaler = self._gradient_scaler(batch)
        if scaler is None:
            return super().train_step(batch, **fit_params)
        optimizers = [getattr(self, name + "_") for name in self._optimizers]
        for optimizer in optimizers:
            _check_steps_alone(optimizer)
        self._zero_grad_optimizer()
        try:
            step = self.train_step_single(batch, **fit_params)
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
            self.notify(
                "on_grad_computed",
                named_parameters=TeeGenerator(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
        except BaseException:
            # Half-way through a step a scaler is of no more use.
            self.__dict__.pop("_scaler", None)
            raise
        return step

    @override
    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        X, y = unpack_data(batch)
        with self._augmenting():
            y_pred = self.infer(X, **fit_params)
        loss = self.get_loss(y_pred, y, X=X, training=True)
        ranks = None if self._training is None else self._training.ranks
        if ranks is not None:
            loss = loss * self._share_of_loss(ranks, X, y)
        scaler = self._gradient_scaler(batch)
        (loss if scaler is None else scaler.scale(loss)).backward()
        if ranks is not None:
            ranks.sum_gradients(w for _, w in self.get_all_learnable_params())
            loss = ranks.sum(loss)
        return {"loss": loss, "y_pred": y_pred}

    def _share_of_loss(self, ranks: Ranks, X: Any, y: Any) -> float:
        """Weight the loss of this process's samples in that of all."""
        is_weighted = separate_weight(X)[1] is not None
        # get_loss takes the mean of weighted losses.
        reduction = getattr(self.criterion_, "reduction", "mean")
        reduction = "mean" if is_weighted else reduction
        return ranks.weight_of(reduction, self._count_terms(y, is_weighted))

    def _count_terms(self, y: Any, is_weighted: bool) -> float | None:
        """Count what the loss of a batch is a mean of; None stands for the samples."""
        return None

    @contextlib.contextmanager
    def _augmenting(self) -> Iterator[None]:
        """Let ``infer`` vary the batches, whose signature is skorch's."""
        if self._training is None or self.augment is None:
            yield
            return
        self._training.augments = True
        try:
            yield
        finally:
            self._training.augments = False

    @property
    def _augments_now(self) -> bool:
        return self._training is not None and self._training.augments

    def _gradient_scaler(self, batch: Any) -> torch.amp.GradScaler | None:
        """Get the scaler that keeps small gradients above float16's smallest number."""
        # "auto" never means float16 on the CPU, where steps can be short.
        on_cpu = self._torch_device.type == "cpu"
        if self.precision != "float16" and (self.precision != "auto" or on_cpu):
            return None
        X, _ = separate_weight(unpack_data(batch)[0])
        if self._autocast_dtype(_sample_size(X)) is not torch.float16:
            return None
        if "_scaler" not in self.__dict__:
            self._scaler = torch.amp.GradScaler(self._torch_device.type)
        return self._scaler

    @override
    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        step = super().validation_step(batch, **fit_params)
        if self._training is not None and self._training.ranks is not None:
            ranks, (X, y) = self._training.ranks, unpack_data(batch)
            step["loss"] = ranks.sum(step["loss"] * self._share_of_loss(ranks, X, y))
        return {**step, "y_pred": _compact(step["y_pred"])}

    @override
    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        X, weight = separate_weight(X)
        if weight is None:
            return super().get_loss(y_pred, y_true, X=X, **kwargs)
        reduction = getattr(self.criterion_, "reduction", None)
        if reduction is None:
            raise TypeError(
                f"Sample and class weights need a criterion with a 'reduction', as "
                f"torch's losses have; {type(self.criterion_).__name__} has none."
            )
        self.criterion_.reduction = "none"
        try:
            loss = super().get_loss(y_pred, y_true, X=X, **kwargs)
        finally:
            self.criterion_.reduction = reduction
        loss = loss.reshape(len(loss), -1).mean(dim=1)
        return (loss * to_device(weight, self.device)).mean()

    def _after_training(self, train: Any, valid: Any) -> None:
        """Learn from the trained module; ``valid`` may be None."""
        if not self._keeps_features:
            return
        first_epoch = self._training.first_epoch if self._training else 0
        self._learn_features(train, len(self.history) - first_epoch)
        if self._warns_of_novelty:
            known = self.score_samples(train if valid is None else valid)
            self.novelty_threshold_ = float(known.min())

    def _evaluate(self, dataset: Any) -> Iterator[tuple[Any, torch.Tensor, Any]]:
        """Yield X, the module's output and the target, batch by batch."""
        halving = BatchHalving()
        step = self._fold(self.evaluation_step, dataset)
        for batch in self.get_iterator(dataset, training=False):
            for part, output in halving.run(step, batch):
                X, y = unpack_data(part)
                yield X, output[0] if isinstance(output, tuple) else output, y

    # From a batch to the module's output ------------------------------------------

    @property
    def _torch_device(self) -> torch.device:
        """Where the module is; with ``device=None`` wherever the user has put it."""
        if self.device is not None:
            return torch.device(self.device)
        weight = next(self.get_all_learnable_params(), None)
        return torch.device("cpu") if weight is None else weight[1].device

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        """Bring a batch on the device to the numbers that augmentation expects."""
        return X

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        """Bring a batch into the layout ``(batch, channels, length)``."""
        return X[:, None] if X.ndim == 2 else X

    def _augment(self, X: torch.Tensor) -> torch.Tensor:
        augment = self.augment
        if isinstance(augment, str):
            augment = self._augmentations[augment]
        with lend_to(augment):
            varied = augment(X)
        # One image channel in place of three, say, would be taken for all of them.
        if not isinstance(varied, torch.Tensor) or varied.shape != X.shape:
            is_tensor = isinstance(varied, torch.Tensor)
            gave = tuple(varied.shape) if is_tensor else type(varied).__name__
            raise ValueError(
                "augment must give a Tensor of the shape of the batch that it takes, "
                f"{tuple(X.shape)}, but {augment!r} gave {gave}."
            )
        return varied

    def _augment_as_given(self, X: torch.Tensor) -> torch.Tensor:
        """Vary a batch for a module that takes X as the user gave it."""
        return self._augment(X.float())

    def _send(self, x: Any) -> torch.Tensor:
        """Bring one array of a batch to the device."""
        x = torch.as_tensor(x)
        if x.dtype is torch.float64:
            # Half as much to send, and some devices have no float64.
            x = x.float()
        return to_device(x, self._torch_device)

    def _prepare(self, x: Any) -> Any:
        """Make of a batch what the module takes, on its device."""
        x, _ = separate_weight(x)
        if isinstance(x, Mapping):
            return {name: self._send(values) for name, values in x.items()}
        if isinstance(x, list | tuple):
            return type(x)(self._send(values) for values in x)
        x = self._send(x)
        # Arrays on disk and those of a user's own data sets come in any dtype.
        if self._takes_sizes:
            x = self._normalize(x).float()
            if self._augments_now:
                x = self._augment(x).float()
            return self._to_module_layout(x)
        return self._augment_as_given(x) if self._augments_now else x.float()

    def module_input(self, X: Any) -> torch.Tensor:
        """Give what the module sees of some samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The samples, in the shape they had in ``fit``.

        Returns
        -------
        batch : Tensor of shape (n_samples, n_channels, ...)
            float32, normalized, on the module's device, in one batch.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        X, _ = check_X_y(self, X, reset=False)
        if not isinstance(X, Mapping):
            # A copy, which the caller may change. torch takes no negative strides.
            X = torch.tensor(np.ascontiguousarray(X[:]))
        with torch.no_grad():
            return self._prepare(X)

    @override
    def infer(self, x: Any, **fit_params: Any) -> Any:
        x = self._prepare(x)
        with self._autocast(self._torch_device, _sample_size(x)):
            if isinstance(x, Mapping):
                x = self._merge_x_and_fit_params(x, fit_params)
                output = self.module_(**x)
            else:
                output = self.module_(x, **fit_params)
        if isinstance(output, tuple):
            return tuple(map(_to_float32, output))
        return _to_float32(output)

    def _autocast_dtype(self, input_size: int) -> torch.dtype | None:
        on_cpu = self._torch_device.type == "cpu"
        module = self.__dict__.get("module_")
        if on_cpu and self.precision == "auto" and not _is_own(module):
            # Only the package's networks avoid torch's wrong gradients, see
            # skastro.networks.layers.convolve.
            return None
        return resolve_precision(
            self.precision, self._torch_device, input_size, self._n_weights
        )

    def _autocast(self, device: torch.device, input_size: int) -> Any:
        # Short formats round numbers to two or three digits, which is nothing to the
        # noise of gradients, but much to a measurement.
        if self._is_measurement and self.precision == "auto":
            if not self.module_.training:
                return contextlib.nullcontext()
        dtype = self._autocast_dtype(input_size)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype)

    # Predicting -----------------------------------------------------------------

    @override
    def evaluation_step(self, batch: Any, training: bool = False) -> Any:
        self.check_is_fitted()
        X, _ = unpack_data(batch)
        with torch.set_grad_enabled(training):
            self._set_training(training)
            output = self.infer(X)
        return output if training else _compact(output)

    def forward_iter(
        self,
        X: Any,
        training: bool = False,
        device: Any = "cpu",
        *,
        check: bool = False,
    ) -> Iterator[Any]:
        """Run the module on batch after batch.

        Parameters
        ----------
        X : array or dataset
            The input.
        training : bool, default=False
            Leave dropout and the like active, and gradients on.
        device : str or torch.device, default="cpu"
            Where to put the outputs.
        check : bool, default=False
            Refuse NaN and infinity in X, of data sets in tensors alone.

        Yields
        ------
        y_pred : Tensor or tuple of Tensor
            The module's output for the next samples. A batch that is too large for
            the device's memory is halved.
        """

        def step(batch: Any) -> Any:
            return self.evaluation_step(batch, training=training)

        for output in self._run_batches(step, X, check=check):
            yield to_device(output, device=device)

    def _run_batches(
        self, step: Callable[[Any], Any], X: Any, *, check: bool
    ) -> Iterator[Any]:
        """Yield what a step gives for batch after batch."""
        self.check_is_fitted()
        if isinstance(X, np.ndarray | torch.Tensor):
            X = plain_array(X)
        halving = BatchHalving("iterator_valid__batch_size")
        # In the samples' order, whatever the mode of the layers.
        dataset = self.get_dataset(X)
        iterator = self.get_iterator(dataset, training=False)
        step = self._fold(step, dataset)
        batches = iterator if _is_own(iterator) else lend_to_each(iterator)
        if check and isinstance(iterator, BatchIterator):
            iterator.checks_finite = True
            iterator.allows_nan = self._takes_nan
        elif check and is_dataset(X):
            batches = check_batches(batches, self._takes_nan)
        elif check:
            self._check_finite(X)
        try:
            for batch in batches:
                yield concatenate([output for _, output in halving.run(step, batch)])
        except NotFiniteError as error:
            if is_dataset(X):
                raise NotFiniteError(f"{error} {self._finite_advice}") from None
            # Says in which rows.
            self._check_finite(X)
            raise

    def _fold(self, step: Callable, dataset: Any) -> Callable:
        """Let the module use folded weights in the steps of a pass over a data set."""
        try:
            folded = FoldedWeights(len(dataset))
        except TypeError:
            # Data sets may have no length.
            return step

        def folded_step(batch: Any, **params: Any) -> Any:
            with folded.used():
                return step(batch, **params)

        return folded_step

    def _check_finite(self, X: Any) -> None:
        check_finite(X, advice=self._finite_advice, allow_nan=self._takes_nan)

    def _predict_outputs(self, X: Any, function: Callable | None = None) -> np.ndarray:
        """Gather a function of all outputs; None stands for the nonlinearity."""
        self._check_state_is_complete()
        if not is_dataset(X):
            X, _ = check_X_y(self, X, reset=False, finite=False)
        # Parts of another kind are for the user's own network.
        check = not isinstance(X, Mapping | list | tuple)
        if is_dataset(X):
            check = not self._is_training()
        if function is None:
            function = self._get_predict_nonlinearity()
        device = self._torch_device
        waiting, done = [], []
        n_bytes = 0
        with fast_kernels(device, self.precision):
            for results in self._predict_batches(X, function, check=check):
                waiting.append(torch.as_tensor(results))
                n_bytes += waiting[-1].nbytes
                if n_bytes > _OUTPUTS_ON_DEVICE:
                    done.append(torch.cat(waiting).cpu())
                    waiting, n_bytes = [], 0
            if not waiting and not done:
                raise ValueError("X has no samples; give at least one.")
            if waiting:
                done.append(torch.cat(waiting).cpu())
            outputs = torch.cat(done).numpy() if len(done) > 1 else done[0].numpy()
        if not self._is_training():
            _check_outputs(outputs)
            names = [n for n in self._part_params if n.startswith("iterator_valid__")]
            if names and hasattr(X, "shape") and len(outputs) != len(X):
                raise ValueError(
                    f"Only {len(outputs)} of {len(X)} samples were predicted: unset "
                    f"what leaves some out, of {', '.join(names)}."
                )
        return outputs

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        """Yield a function of the outputs for batch after batch, on the device."""
        for output in self.forward_iter(
            X, training=False, device=self._torch_device, check=check
        ):
            output = output[0] if isinstance(output, tuple) else output
            # Those of a training step, kept for scoring, carry gradients.
            yield function(output.detach())

    predict_stream = predict_stream

    # Features, and how alike samples are to the training set ------------------------

    @property
    def _warns_of_novelty(self) -> bool:
        return self._keeps_features and self.warn_novelty

    def _feature_net(self) -> Any:
        """Give a net that shares everything with this one, but predicts features."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view.__dict__["module_"] = _Features(self.module_)
        return view

    @available_if(_has_features)
    def extract_features(self, X: Any) -> np.ndarray:
        """Give what the network knows of samples before its last layers.

        The features are what the module's method ``forward_features`` gives, averaged
        over the pixels, and with ``tta`` over the orientations of images too. They
        serve other estimators, such as a logistic regression on few labels, or a map of
        similar objects. A network that starts from trained weights has features
        already after ``fit`` with ``max_epochs=0``, which needs y, but learns nothing
        from it. With ``precision="auto"`` classifiers may compute in bfloat16, with two
        to three digits.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), float32
            As many as the network has channels there.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        AttributeError
            If the module has no method ``forward_features``.
        TypeError
            If that method does not return a tensor (batch, channels, ...).
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        return self._feature_net()._predict_outputs(X, lambda features: features)

    def _learn_features(self, dataset: Any, n_epochs: int) -> None:
        """Keep the features of some of the samples that so many epochs went through."""
        has_features = hasattr(self.module_, "forward_features")
        if not has_features or isinstance(dataset, IterableDataset):
            return
        n_wanted = int(_KEPT_PER_TRAINED * n_epochs * len(dataset))
        some = Subset(dataset, self._rows_to_keep(dataset, n_wanted))
        try:
            outputs = torch.cat(list(self._feature_net().forward_iter(some)))
        except _NoFeaturesError as error:
            warnings.warn(
                f"There is no score_samples: {error}", UserWarning, stacklevel=2
            )
            return
        self.training_features_ = normalize(outputs, dim=1).numpy()

    def _rows_to_keep(self, dataset: Any, n_wanted: int) -> np.ndarray:
        """Choose training samples whose features stand for all."""
        n_kept = min(max(_LEAST_KEPT, n_wanted), MOST_KEPT)
        return spread_rows(np.arange(len(dataset)), n_kept)

    def _check_has_score(self) -> None:
        """Refuse modules whose outputs tell nothing of how alike samples are."""
        if not hasattr(self.module_, "forward_features"):
            raise ValueError(
                "score_samples needs features: a module with a method "
                f"forward_features; but {type(self.module_).__name__} has none."
            )

    @available_if(_has_score_samples)
    def score_samples(self, X: Any) -> np.ndarray:
        """Say how alike samples are to the training set.

        Noise, other instruments or objects of other kinds get low scores, whatever is
        predicted. The score is the cosine of the angle between the features of the
        sample and those of its third nearest neighbor among training samples [1]_,
        which show all classes alike: all of them, or 2048, or fewer after less than 20
        epochs, see the :ref:`User Guide <trust>`. The features are what the module's
        method ``forward_features`` gives, averaged over the pixels. For a classifier
        whose module lacks that method the score is the logarithm of the sum of the
        exponentials of the logits [2]_, which tells less; a regressor then has no
        ``score_samples``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), float32
            The higher, the more alike; at most 1 where there are features.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized, or if its file does not hold
            the features of training samples.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, or if
            there are neither features nor logits.

        References
        ----------
        .. [1] Sun, Y. et al. (2022). "Out-of-distribution detection with deep nearest
               neighbors". ICML. https://arxiv.org/abs/2204.06507
        .. [2] Liu, W. et al. (2020). "Energy-based out-of-distribution detection".
               NeurIPS. https://arxiv.org/abs/2010.03759
        """
        self.check_is_fitted()
        self._check_state_is_complete()
        if hasattr(self.module_, "forward_features"):
            self._require_learned("training_features_")
        known = self.__dict__.get("training_features_")
        if known is not None:
            known = torch.as_tensor(known, device=self._torch_device)
            n_nearest = min(_NEIGHBOR, len(known))

            def of_nearest(features: torch.Tensor) -> torch.Tensor:
                cosines = normalize(features, dim=1) @ known.T
                return cosines.topk(n_nearest, dim=1).values[:, -1]

            return self._feature_net()._predict_outputs(X, of_nearest)
        self._check_has_score()
        return self._predict_outputs(X, lambda logits: logits.logsumexp(dim=1))

    def _warn_of_novelty(self, X: Any, advice: str = "") -> None:
        if not self._warns_of_novelty or self._is_training():
            return
        foreign = np.flatnonzero(self.score_samples(X) < self.novelty_threshold_)
        if len(foreign):
            warnings.warn(
                f"{len(foreign)} samples, in rows {name_rows(foreign)}, are less alike "
                "to the training set than any sample of the validation: their "
                f"predictions mean little. score_samples tells how alike they are"
                f"{advice}.",
                UserWarning,
                stacklevel=3,
            )

    # Learned state, in pickles and in files ---------------------------------------

    def _learned_names(self) -> list[str]:
        parts = {f"{n}_" for n in self._modules + self._criteria + self._optimizers}
        return [
            name
            for name in self.__dict__
            if name.endswith("_")
            and not name.startswith("_")
            and name not in parts | _SKORCH_ATTRIBUTES
            and not is_part_parameter(name)
        ]

    def _forget_learned(self) -> None:
        for name in self._learned_names():
            del self.__dict__[name]
        self.__dict__.pop("_measured", None)

    def _forget_measurements(self) -> None:
        """Forget what was learned from the predictions of a trained module."""
        for name in self.__dict__.pop("_measured", ()):
            self.__dict__.pop(name, None)

    def _fitted_state(self) -> dict[str, Any]:
        """Return the learned state as plain values, see the class's docstring."""
        return {name: self.__dict__[name] for name in self._learned_names()}

    def _restore_fitted_state(self, state: dict[str, Any]) -> None:
        """Set the learned attributes from what ``_fitted_state`` returned."""
        self.__dict__.update(state)

    def _check_state_is_complete(self) -> None:
        """Raise NotFittedError where predictions need what no file has restored."""
        if self._warns_of_novelty and not self._is_training():
            self._require_learned("novelty_threshold_")

    def _require_learned(self, *names: str) -> None:
        missing = [name for name in names if name not in self.__dict__]
        if missing:
            raise NotFittedError(
                f"This {type(self).__name__} has weights, but lacks "
                f"{', '.join(missing)}, which predictions need: the file that was "
                "loaded does not hold what fit learns beside the weights, or was saved "
                "during the training. Fit it, or load a file that save_params wrote "
                "after fit."
            )

    def _get_module(self, name: str, msg: str) -> Any:
        # What save_params writes.
        module = super()._get_module(name, msg)
        if name != "module_" or self._state_text is None:
            return module
        return ModuleWithState(module, self._state_text)

    def _write_state(self) -> str:
        return encode_state(
            type(self).__name__,
            self._kind,
            self._fitted_state(),
            self.__dict__.get("_measured", ()),
            self._module_arguments(),
        )

    def _module_arguments(self) -> dict[str, Any]:
        """Give the plain arguments that shape what the module computes."""
        module = self._module_factory()
        if isinstance(module, torch.nn.Module):
            return {}
        arguments = {
            name: parameter.default
            for name, parameter in inspect.signature(module).parameters.items()
            if parameter.default is not parameter.empty
        }
        arguments |= self.get_params_for("module")
        return {
            name: value
            for name, value in arguments.items()
            if not any(word in name for word in _NOT_COMPARED) and _is_plain(value)
        }

    def _refuse_other_module(self, arguments: Mapping[str, Any]) -> None:
        """Refuse weights whose shapes fit a module that computes something else."""
        own = self._module_arguments()
        for name, value in arguments.items():
            if name in own and not np.array_equal(own[name], value):
                raise ValueError(
                    f"The file holds weights of a module with {name}="
                    f"{reprlib.repr(value)}, but here it is {reprlib.repr(own[name])}. "
                    f"Call set_params(module__{name}={reprlib.repr(value)}), and load "
                    "the file then."
                )

    @property
    def _kind(self) -> str:
        return get_tags(self).estimator_type or "transformer"

    def _read_state(self, text: str | None) -> None:
        """Take over the learned state of a file; None stands for a file without it."""
        if text is None:
            self._forget_measurements()
            self._has_weights_alone = True
            return
        content = decode_state(text)
        state = content["state"]
        if self._is_training():
            # The training that goes on measures anew.
            left_out = {*content["measured"], "training_id_"}
            state = {k: v for k, v in state.items() if k not in left_out}
            self._restore_fitted_state(state)
            return
        self._forget_learned()
        self._restore_fitted_state(state)
        self._measured = tuple(content["measured"])

    def _check_saved_state(self, state: dict[str, Any]) -> None:
        """Refuse the learned state of a file that this class reads otherwise."""
        for name in state:
            known = inspect.getattr_static(type(self), name, None)
            kept = _SKORCH_ATTRIBUTES | _PART_ATTRIBUTES | {*self._get_param_names()}
            if name.startswith("_") or name in kept or hasattr(known, "__get__"):
                raise ValueError(f"The file sets {name!r}, which is nothing learned.")
        sizes = np.atleast_1d(state.get("module_sizes_", {}).get("input_size", 1))
        if self._is_restoring and math.prod(sizes.tolist()) > _MOST_PIXELS:
            raise ValueError(f"The file is for samples of {sizes.tolist()} pixels.")

    def _check_same_data(self, state: dict[str, Any]) -> None:
        """Refuse weights for other data than those of the running training."""
        self._refuse_changed(state.get("kept_params_", {}))
        for name in ("sample_shape_", "classes_inferred_", "target_shape_"):
            if name not in state or name not in self.__dict__:
                continue
            if not np.array_equal(state[name], self.__dict__[name]):
                raise ValueError(
                    f"The weights to start from belong to {name}={state[name]!r}, but "
                    f"the training data have {self.__dict__[name]!r}. Give data of the "
                    "same kind, or start without these weights."
                )

    def _check_same_training(self, file: Any, is_same: bool) -> None:
        """Refuse, once the first epoch has begun, what another training has written."""
        if self._training is not None and self._training.has_begun and not is_same:
            raise ValueError(
                f"{file} was written by another training; the training_id_ of this one "
                f"is {self.training_id_!r}. Give each a file of its own: Checkpoint("
                "f_params='{net.training_id_}.pt', f_optimizer=None, f_criterion=None, "
                "f_history=None)."
            )

    def save_params(
        self,
        f_params: Any = None,
        f_optimizer: Any = None,
        f_criterion: Any = None,
        f_history: Any = None,
        use_safetensors: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save weights and all that was learned beside them, optimizer and history.

        A path gets its file when that is complete; until then an older file stays.

        Parameters
        ----------
        f_params : str, path-like or file, default=None
            The module's weights, with everything else that predictions need: classes,
            scales, temperature, ...; torch and skorch can read the weights too.
        f_optimizer, f_criterion, f_history : str, path-like or file, default=None
            State of the optimizer and the criterion, and the history.
        use_safetensors : bool, default=False
            Write safetensors in place of torch's format.
        **kwargs : dict
            Files for other modules and optimizers, such as ``f_module2``.

        Raises
        ------
        TypeError
            If a learned attribute is of a kind that cannot be written.
        """
        if f_params is None:
            # skorch's callbacks call it by the module's name.
            f_params = kwargs.pop("f_module", None)
        if f_params is not None and self.initialized_:
            self._state_text = self._write_state()
        targets = {
            "f_params": f_params,
            "f_optimizer": f_optimizer,
            "f_criterion": f_criterion,
            "f_history": f_history,
            **kwargs,
        }
        buffer = io.BytesIO()
        with contextlib.ExitStack() as writing:
            writing.callback(self.__dict__.pop, "_state_text", None)
            files = {
                name: writing.enter_context(
                    atomic_write(target, "w" if name == "f_history" else "wb")
                )
                if isinstance(target, str | os.PathLike)
                else target
                for name, target in targets.items()
            }
            file = files["f_params"]
            if file is not None and use_safetensors:
                files["f_params"] = buffer
            super().save_params(**files, use_safetensors=use_safetensors)
            if file is not None and use_safetensors:
                text = self._state_text or ""
                file.write(add_state_to_safetensors(buffer.getvalue(), text))

    def load_params(
        self,
        f_params: Any = None,
        f_optimizer: Any = None,
        f_criterion: Any = None,
        f_history: Any = None,
        checkpoint: Any = None,
        use_safetensors: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load what ``save_params`` has written.

        An estimator that was neither fitted nor initialized is initialized with the
        sizes that the file names.

        Parameters
        ----------
        f_params : str, path-like or file, default=None
            The module's weights, with everything else that was learned.
        f_optimizer, f_criterion, f_history : str, path-like or file, default=None
            State of the optimizer and the criterion, and the history.
        checkpoint : skorch.callbacks.Checkpoint, default=None
            The checkpoint whose files to load.
        use_safetensors : bool, default=False
            Read safetensors in place of torch's format.
        **kwargs : dict
            Files of other modules and optimizers, such as ``f_module2``.

        Raises
        ------
        NotFittedError
            If the net is not initialized, and the file does not hold its sizes.
        """
        if f_params is None:
            # skorch's callbacks call it by the module's name.
            f_params = kwargs.pop("f_module", None)
        file = f_params
        others = {"f_optimizer": f_optimizer, "f_criterion": f_criterion, **kwargs}
        if file is None and checkpoint is not None:
            if checkpoint.f_history is not None:
                history = History.from_file(checkpoint.f_history_)
                is_same = _is_beginning(history, self)
                self._check_same_training(checkpoint.f_history_, is_same)
                self.history = history
            others = checkpoint.get_formatted_files(self) | others
            file = others.pop("f_params", None)
        options = self.torch_load_kwargs
        text, n_numbers = None, 0
        starts = not self.initialized_ and bool(self._sizes_taken())
        # Elsewhere skorch tells of missing files, after what else is wrong.
        with contextlib.suppress(*() if starts else (OSError,)):
            text, n_numbers = state_in_file(file, use_safetensors, options)
        for name, other in others.items():
            if name not in ("f_history", "f_pickle"):
                with contextlib.suppress(OSError):
                    state_in_file(other, use_safetensors, options)
        if text is not None:
            content = decode_state(text)
            state = content["state"]
            if content["kind"] != self._kind:
                raise ValueError(
                    f"The file was written by {content['class']}, a {content['kind']}, "
                    f"and cannot be loaded into {type(self).__name__}, a {self._kind}."
                )
            self._check_saved_state(state)
            self._refuse_other_module(content.get("arguments", {}))
            if self._is_training():
                own = self.__dict__.get("training_id_")
                self._check_same_training(file, state.get("training_id_", own) == own)
                self._check_same_data(state)
            elif not self.initialized_ and self._sizes_taken():
                self._validate_params()
                with self._unchanged_on_error():
                    self._restore_fitted_state(state)
                    self._check_holds_module(n_numbers)
                    self.initialize()
        super().load_params(
            f_params=f_params,
            f_optimizer=f_optimizer,
            f_criterion=f_criterion,
            f_history=f_history,
            checkpoint=checkpoint,
            use_safetensors=use_safetensors,
            **kwargs,
        )
        if file is not None:
            self._read_state(text)

    def _check_holds_module(self, n_numbers: int) -> None:
        """Refuse a file that names sizes of a module much larger than its weights."""
        module, params = self._module_factory(), self.get_params_for("module")
        try:
            with torch.device("meta"):
                needed = sum(map(torch.numel, module(**params).state_dict().values()))
        except TooLargeError:
            raise
        except Exception:
            # Some modules compute numbers when they are built.
            return
        if needed > n_numbers:
            raise ValueError(
                f"The file holds {n_numbers} numbers, but {self._sizes_known()}, which "
                f"it names, makes a module of {needed}. Load a file that save_params "
                "wrote, with the parameters of the module that it had."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave what belongs to a running training out of a pickle."""
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k not in _TRANSIENT_ATTRIBUTES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a pickled net; with ``device="auto"``, on what this machine has."""
        if "_given_names" in self.__dict__:
            raise TypeError("__setstate__ is for a net that is being unpickled.")
        requested = state["device"]
        if requested == "auto":
            state = {**state, "device": _fastest_device()}
        super().__setstate__(state)
        if requested == "auto":
            self.device = "auto"


complete_signature(BaseNet)


class _NoFeaturesError(TypeError):
    """A network's ``forward_features`` gives something else."""


class _Features(torch.nn.Module):
    """What a network gives to its last layers, averaged over the pixels."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average the feature maps over their pixels."""
        maps = self.network.forward_features(x)
        if not isinstance(maps, torch.Tensor) or maps.ndim < 2:
            shape = f" of shape {tuple(maps.shape)}" if hasattr(maps, "shape") else ""
            raise _NoFeaturesError(
                f"forward_features of {type(self.network).__name__} must return a "
                f"tensor (batch, channels, ...), but gave a {type(maps).__name__}"
                f"{shape}."
            )
        if maps.ndim == 2:
            return maps.float()
        # Transformers have their channels last, as their last layer shows.
        linear = [m for m in self.network.modules() if isinstance(m, torch.nn.Linear)]
        n_channels = linear[-1].in_features if linear else maps.shape[1]
        if maps.shape[1] != n_channels == maps.shape[-1]:
            maps = maps.movedim(-1, 1)
        return maps.float().flatten(2).mean(dim=2)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def spread_rows(rows: np.ndarray, n_wanted: int) -> np.ndarray:
    """Choose rows, evenly spread over those given; all where these are too few."""
    if len(rows) <= n_wanted:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_wanted).astype(np.int64)]


def draw_seed(random_state: int | np.random.RandomState | None) -> int | None:
    """Draw a seed for one fit; None asks for torch's global generator, as torch does.

    An int gives the same seed at each call, a RandomState instance a new one.
    """
    if random_state is None:
        return None
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


# Asked several times a batch.
@cache
def _fastest_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device_exists(name: Any) -> None:
    advice = "Take device='auto' to use what there is, or device='cpu'."
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={name!r} is no device that torch knows. {advice}"
        ) from error
    n_devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise ValueError(
            f"device={str(name)!r} was asked for, but torch sees "
            f"{n_devices} CUDA devices. {advice}"
        )


def _take_over_weights(before: Any, after: Any) -> bool:
    """Copy the weights of a module into one built anew; False where some are lost."""
    if after is before or not isinstance(before, torch.nn.Module):
        return True
    if not isinstance(after, torch.nn.Module):
        return False
    running = {
        f"{name}.{buffer}" if name else buffer
        for name, layer in before.named_modules()
        if is_normalization(layer)
        for buffer, _ in layer.named_buffers(recurse=False)
    }
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    if not old and not running:
        return True
    buffers, others = dict(before.named_buffers()), dict(after.named_buffers())
    if any(map(is_lazy_weight, [*old.values(), *new.values()])):
        return False
    if any(
        {name: x.shape for name, x in had.items()}
        != {name: x.shape for name, x in has.items()}
        for had, has in ((old, new), (buffers, others))
    ):
        return False
    # Nothing tells buffers that the new parameters set from those that were learned.
    if not all(torch.equal(buffers[n], others[n]) for n in buffers.keys() - running):
        return False
    with torch.no_grad():
        for name, weight in new.items():
            weight.copy_(old[name])
        for name in running:
            others[name].copy_(buffers[name])
    return True


def _is_duration(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and float(value) >= 0


def _same(a: Any, b: Any) -> bool:
    """Compare parameters, of which some are arrays."""
    if a is b:
        return True
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):
        return False


def _is_structured(y: Any) -> bool:
    """Tell whether each sample has a target of several axes, or of its own length."""
    if isinstance(y, np.ndarray) and y.dtype == object:
        return y.ndim == 1 and all(isinstance(target, np.ndarray) for target in y)
    return getattr(y, "ndim", 1) > 2


def _sample_size(x: Any) -> int:
    """Count the numbers in one sample of a batch."""
    if isinstance(x, Mapping):
        x = list(x.values())
    if isinstance(x, list | tuple):
        return sum(map(_sample_size, x))
    return math.prod(x.shape[1:])


def _is_beginning(history: list[dict[str, Any]], net: Any) -> bool:
    """Tell whether a net's own history begins with the losses of another."""
    losses, own = (
        # As text, in which NaN equals NaN.
        [repr([batch.get("train_loss") for batch in row["batches"]]) for row in rows]
        for rows in (history, net.history or [])
    )
    return own[: len(losses)] == losses


def _to_float32(output: Any) -> Any:
    """Bring outputs of autocast back; whole numbers and the like stay."""
    is_float = isinstance(output, torch.Tensor) and output.is_floating_point()
    return output.float() if is_float else output


def _is_own(part: Any) -> bool:
    """Tell whether an object is of a class of the package, or a callback of skorch."""
    return type(part).__module__.startswith(("skastro.", "skorch.callbacks"))


def _draws_nothing(part: Any) -> bool:
    """Tell whether a layer, a loss or an optimizer draws no random numbers.

    Those of the package draw from the training's own generator.
    """
    name, module = type(part).__name__, type(part).__module__
    return _is_own(part) or (
        module.startswith(("torch.nn.modules.", "torch.optim."))
        and not any(word in name for word in _DRAWING_LAYERS)
    )


def _is_batch_iterator(iterator: Any) -> bool:
    return isinstance(iterator, type) and issubclass(iterator, BatchIterator)


def _targets_of(dataset: Any) -> np.ndarray | None:
    """Find the encoded targets of a data set made from arrays."""
    return _of_samples(getattr(_whole(dataset), "y", None), dataset)


def _whole(dataset: Any) -> Any:
    """Find the data set that a part was taken from."""
    return _whole(dataset.dataset) if isinstance(dataset, Subset) else dataset


def _of_samples(values: np.ndarray | None, dataset: Any) -> np.ndarray | None:
    """Select the values of the samples in a part of a data set."""
    if values is None:
        return None
    if isinstance(dataset, Subset):
        whole = _of_samples(values, dataset.dataset)
        return None if whole is None else whole[np.asarray(dataset.indices)]
    if len(values) != len(dataset):
        raise ValueError(
            f"train_split gives a data set of {len(dataset)} samples that is no "
            f"torch.utils.data.Subset of the {len(values)} samples of fit, so that "
            "their groups are not known, as sampler='balanced' needs them."
        )
    return values


def _balanced_weights(y: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Weight classes equally, in a class its groups, and in a group its samples."""
    codes = np.unique(y, return_inverse=True)[1]
    groups = np.arange(len(y)) if groups is None else encode_groups(groups)
    pairs, places = np.unique(codes * (groups.max() + 1) + groups, return_inverse=True)
    n_groups = np.bincount(pairs // (groups.max() + 1))
    return 1.0 / (n_groups[codes] * np.bincount(places)[places])


def _check_steps_alone(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"{type(optimizer).__name__} computes the loss several times a step, which "
            "does not go with the scaled gradients of float16. Take "
            "precision='bfloat16' or 'float32'."
        )


def _check_outputs(outputs: np.ndarray) -> None:
    """Refuse NaN and infinity, of which a class or a number would be made."""
    if outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
        finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
        raise ValueError(
            "The network gives NaN or infinity for some samples, in rows "
            f"{name_rows(np.flatnonzero(~finite))}. Either these have numbers too "
            "large for it: scale X, by skastro.StandardizeSpectra for instance. Or the "
            "weights diverged in the training: fit with a lower lr."
        )


def _compact(output: Any) -> Any:
    """Copy small outputs on the CPU, now that the feature maps are gone.

    Outputs are kept while large feature maps come and go. Where they were made, in the
    midst of those, they would leave holes into which no later map fits, and memory
    would grow with the number of batches.
    """
    if isinstance(output, tuple):
        return tuple(_compact(part) for part in output)
    is_tensor = isinstance(output, torch.Tensor) and output.device.type == "cpu"
    return output.clone() if is_tensor and output.nbytes < _SMALL else output
