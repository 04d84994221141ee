# SPDX-License-Identifier: BSD-3-Clause
"""Networks that classify galaxies in images, and networks that measure them."""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from skorch.callbacks import EpochScoring, LRScheduler
from skorch.dataset import Dataset
from skorch.utils import to_tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from skastro.base import BaseClassifier, BaseRegressor
from skastro.base._parameters import find_part
from skastro.base._regressor import targets_of
from skastro.base._validation import check_target
from skastro.estimators._images import ImageInput
from skastro.estimators._votes import (
    check_n_votes,
    count_quantiles,
    counts_votes,
    fit_scales,
    misplaced_column,
    score_votes,
    sum_answers,
)
from skastro.training import (
    BatchIterator,
    CosineCycles,
    DirichletMultinomialLikelihood,
    separate_weight,
)
from skastro.utils import check_number, inherit_parameters, name_rows

# Settings of published systems; "Open" marks what the source does not give.

# So that the history holds the losses and the accuracies of both parts.
_TRAIN_ACCURACY = (
    "train_acc",
    EpochScoring("accuracy", lower_is_better=False, on_train=True, name="train_acc"),
)


def _watched_loss(net: Any) -> float:
    """Give the validation loss, or the training's where nothing was set aside."""
    record = net.history[-1]
    return record.get("valid_loss", record["train_loss"])


# Decimals of fractions may round up.
_HIGHEST_FRACTION = 1.001

RECIPES: dict[str, dict[str, Any]] = {
    # A ResNet-50 for the 69 x 69 pixels of Galaxy10.
    "resclass": {
        "module": "resnet50",
        # Open: the stem. This is the one of ResNet-50 as published.
        "module__stem": "imagenet",
        "normalization": "imagenet",
        "augment": "resclass",
        "sampler": "balanced",
        "batch_size": 64,
        # Its validation images were varied too, by an oversight; here they are not.
        "train_split": 0.2,
        "criterion": torch.nn.CrossEntropyLoss,
        # Open: the weight decay; torch's default is 0.01.
        "optimizer": torch.optim.AdamW,
        "lr": 1e-3,
        # The epoch that is left behind the cosine stays at its end.
        "schedule": CosineCycles(
            warm_up=4 / 50, length=45 / 50, start=1e-5 / 1e-3, end=1e-6 / 1e-3
        ),
        "max_epochs": 50,
        # Both the lowest loss and the highest accuracy were published; this is the
        # former.
        "restore_best_weights": True,
        "callbacks": [_TRAIN_ACCURACY],
        "callbacks__best_weights__monitor": "valid_loss",
        "callbacks__best_weights__lower_is_better": True,
        "callbacks__best_weights__start": 0.0,
    },
    # A perceptron, the baseline for Galaxy10.
    "mlp": {
        "module": "mlp",
        "module__hidden": (128,),
        "module__activation": "relu",
        # The pixels are divided by 255, and that is all.
        "normalization": None,
        "augment": None,
        "sampler": None,
        # Of 64 : 16 : 20 the last is what the user keeps apart.
        "train_split": 0.2,
        "criterion": torch.nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "schedule": None,
        "max_epochs": 10,
        # Open: the batches.
        "batch_size": 32,
        # Open: when the rate falls, and by how much. The usual patience of ten epochs
        # would never see it fall.
        "callbacks": [
            _TRAIN_ACCURACY,
            (
                "reduce_on_plateau",
                LRScheduler(
                    policy=ReduceLROnPlateau,
                    monitor=_watched_loss,
                    factor=0.5,
                    patience=1,
                ),
            ),
        ],
        # Open: which weights are kept; these are the last epoch's.
        "restore_best_weights": False,
    },
}


@inherit_parameters
class GalaxyClassifier(ImageInput, BaseClassifier):
    """Classify images of galaxies with a neural network.

    The estimator is at the same time a scikit-learn classifier and a
    :class:`~skorch.classifier.NeuralNetClassifier` of skorch: parameters of its parts
    are reached as ``module__width``, ``optimizer__weight_decay``,
    ``callbacks__print_log``, ... in the constructor, in ``set_params`` and in searches.

    Images of bytes stay bytes until they are on the device, where they are divided by
    255. There each channel is brought to mean 0 and standard deviation 1, by what the
    training images have.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(2)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` (height and width) get these sizes from the data, and then
        normalized batches of shape ``(batch, n_channels, height, width)``; a module
        that takes none of them gets X in the shape and in the numbers in which it was
        given. It returns one logit a class.

    See Also
    --------
    SpectrumClassifier : The same for spectra.
    skastro.datasets.read_images : Images in files of their own, with labels.
    skastro.datasets.ImageFiles : Image files as an array on disk.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    The default network is a ResNet [1]_ of four basic blocks, see :ref:`the user guide
    <networks>`; with torchvision's names of parameters, as all ResNets here.

    Recipes of ``from_recipe``: ``"resclass"``, a published ResNet-50 for Galaxy10, and
    ``"mlp"``, a published perceptron with one hidden layer; :ref:`the user guide
    <recipes>` tells what their sources give and what they leave open.

    Callbacks that score during training see encoded targets, 0 to n_classes - 1.

    ``fit`` takes ``sample_weight`` and ``groups`` as further arguments.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import GalaxyClassifier
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 128, size=(80, 16, 16, 3), dtype=np.uint8)
    >>> target = np.repeat(["spiral", "elliptical"], 40)
    >>> images[target == "spiral", 4:12, 4:12] += 96
    >>> clf = GalaxyClassifier(
    ...     module__width=8, max_epochs=20, batch_size=8, verbose=0, random_state=0
    ... )
    >>> clf.fit(images[::2], target[::2]).score(images[1::2], target[1::2])
    1.0
    """

    _recipes: ClassVar = RECIPES
    _fine_tuning: ClassVar = {**ImageInput._fine_tuning, "train_split": None}
    _parameter_constraints: ClassVar[dict] = {
        **BaseClassifier._parameter_constraints,
        **ImageInput._image_constraints,
    }

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet10",
        *,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        image_size: int | None = None,
        normalization: str | None = "training",
        stretch: str | None = None,
        backbone: str | os.PathLike | None = None,
        backbone_lr: float | None = None,
        criterion: str | type = torch.nn.CrossEntropyLoss,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 32,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        calibrate: bool = False,
        class_weight: dict | str | None = None,
        sampler: str | None = None,
        augment: str | Callable | None = "rotations",
        tta: bool | str = False,
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


@inherit_parameters
class GalaxyRegressor(ImageInput, BaseRegressor):
    """Measure numbers, such as a magnitude or votes, in images of galaxies.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`~skorch.regressor.NeuralNetRegressor` of skorch: parameters of its parts are
    reached as ``module__width``, ``optimizer__weight_decay``, ``callbacks__print_log``,
    ... in the constructor, in ``set_params`` and in searches.

    Images of bytes stay bytes until they are on the device, where they are divided by
    255. There each channel is brought to mean 0 and standard deviation 1, by what the
    training images have. Targets of any scale and offset, one or several a galaxy, are
    scaled for the network and scaled back in ``predict``.

    With :class:`~skastro.training.DirichletMultinomialLikelihood` as `criterion` the
    targets are the votes of volunteers on questions, as those of Galaxy Zoo: y has one
    column for each answer, with the number of votes for it, and NaN for all answers to
    a question that was not asked. ``predict`` gives the expected fractions of the votes
    and, on request, how widely the fractions scatter. :ref:`The user guide <votes>`
    tells more.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(2)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` (height and width) get these sizes from the data, and then
        normalized batches of shape ``(batch, n_channels, height, width)``; a module
        that takes none of them gets X in the shape and in the numbers in which it was
        given. It returns one number a target, in scaled units, or for votes the
        logarithm of a concentration for each answer.
    criterion : str or class, default=torch.nn.MSELoss
        The loss, of scaled targets; or, of counts of votes,
        :class:`~skastro.training.DirichletMultinomialLikelihood`, which takes
        ``criterion__questions``, such as
        ``{"smooth": ["yes", "no"], "arms": ["1", "2", "more"]}`` for five columns, or
        a list of such pairs. Columns of a data frame that are named after answers must
        be in their order.
    scale_target : bool, default=True
        Bring each target to mean 0 and standard deviation 1 for the loss, by what the
        training samples have; votes stay as they are.
    calibrate : bool, default=True
        Of votes, multiply the concentrations of each question by the factor that makes
        the votes on the validation samples most probable: a network is more certain of
        samples that it was trained on than it should be of others. Expected fractions
        do not change. It needs `train_split`, and does nothing for questions with two
        votes or more on fewer than 10 validation samples, or with another criterion.
        Factors are from 0.018, of which a warning tells, to 7.4, with which the widths
        may still be too large.

    Attributes
    ----------
    question_sizes_ : tuple of int
        How many answers each question has; only where the targets are votes.
    concentration_scale_ : ndarray of shape (n_questions,)
        What the concentrations of each question are multiplied by; only with
        `calibrate` and where the targets are votes.

    See Also
    --------
    GalaxyClassifier : Classes in place of numbers.
    skastro.datasets.read_images : Images in files of their own, with labels.
    skastro.datasets.ImageFiles : Image files as an array on disk.
    skastro.datasets.read_votes : Read tables of Galaxy Zoo.
    skastro.inspection.vote_coverage : Whether widths of votes are right.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    The default network is a ResNet [1]_ of four basic blocks, see :ref:`the user guide
    <networks>`; with torchvision's names of parameters, as all ResNets here.

    Callbacks that score during training compare predictions with targets as they were
    given; the losses in ``history`` and what ``forward`` returns are in scaled units.
    Of votes, ``scoring=None`` uses ``score``, which compares fractions.

    ``fit`` takes ``sample_weight`` and ``groups`` as further arguments.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import GalaxyRegressor
    >>> rng = np.random.default_rng(0)
    >>> magnitude = rng.uniform(18, 21, size=400)
    >>> offset = np.arange(16) - 7.5
    >>> profile = np.exp(-(offset**2 + offset[:, None] ** 2) / 8)
    >>> flux = 10 ** (-0.4 * (magnitude - 25))
    >>> images = flux[:, None, None] * profile / profile.sum()
    >>> images += rng.normal(scale=0.5, size=images.shape)
    >>> reg = GalaxyRegressor(
    ...     module__width=8,
    ...     stretch="asinh",
    ...     max_epochs=15,
    ...     lr=1e-2,
    ...     batch_size=32,
    ...     verbose=0,
    ...     random_state=0,
    ... )
    >>> reg = reg.fit(images[::2], magnitude[::2])
    >>> bool(reg.score(images[1::2], magnitude[1::2]) > 0.9)
    True

    Of forty volunteers, more call a galaxy smooth the brighter it is here:

    >>> from skastro.training import DirichletMultinomialLikelihood
    >>> smooth = rng.binomial(40, (21 - magnitude) / 3)
    >>> votes = np.column_stack([smooth, 40 - smooth])
    >>> reg = reg.set_params(
    ...     criterion=DirichletMultinomialLikelihood,
    ...     criterion__questions={"smooth-or-featured": ["smooth", "featured"]},
    ... )
    >>> reg = reg.fit(images[::2], votes[::2])
    >>> fraction, std = reg.predict(images[1::2], return_std=True)
    >>> bool(reg.score(images[1::2], votes[1::2]) > 0.7)
    True
    >>> low, high = reg.predict_interval(images[1::2], n_votes=40)
    >>> bool(((low <= votes[1::2]) & (votes[1::2] <= high)).mean() > 0.8)
    True
    """

    # Widths that a pipeline is asked for are asked of its last step.
    __metadata_request__predict: ClassVar[dict] = {"return_std": True}

    _parameter_constraints: ClassVar[dict] = {
        **BaseRegressor._parameter_constraints,
        **ImageInput._image_constraints,
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet10",
        *,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        image_size: int | None = None,
        normalization: str | None = "training",
        stretch: str | None = None,
        backbone: str | os.PathLike | None = None,
        backbone_lr: float | None = None,
        criterion: str | type = torch.nn.MSELoss,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 32,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        scale_target: bool = True,
        calibrate: bool = True,
        augment: str | Callable | None = None,
        tta: bool | str = False,
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

    # Counts of votes in y ------------------------------------------------------------

    @property
    def _gives_errors(self) -> bool:
        return counts_votes(self)

    @property
    def _answer_names(self) -> list[str]:
        """Name what is predicted as tables of votes do, if the questions have names."""
        questions = self._criterion_of_votes().questions if counts_votes(self) else ()
        if not isinstance(questions, Mapping):
            return []
        return [f"{name}_{answer}" for name in questions for answer in questions[name]]

    @property
    def _takes_missing_targets(self) -> bool:
        # Questions that nobody was asked.
        return counts_votes(self)

    @property
    def _scales_target(self) -> bool:
        return not counts_votes(self) and super()._scales_target

    def __sklearn_tags__(self) -> Tags:
        """Say that votes are not negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = counts_votes(self)
        return tags

    @override
    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        if prefix == "criterion" and not counts_votes(self):
            # None unsets the questions of votes, which no other criterion takes.
            params = {k: v for k, v in params.items() if (k, v) != ("questions", None)}
        return params

    def _check_training_data(
        self, X: Any, y: Any, given: dict[str, Any], classes: Any, *, reset: bool
    ) -> tuple[Any, Any]:
        if counts_votes(self):
            self._check_columns(y)
        return super()._check_training_data(X, y, given, classes, reset=reset)

    def _check_columns(self, y: Any) -> None:
        """Refuse a table whose columns are named in another order than the answers."""
        names = getattr(y, "colnames", getattr(y, "columns", None))
        if names is None:
            return
        found = misplaced_column([*names], self._criterion_of_votes().questions)
        if found:
            raise ValueError(
                f"y has the column {found}: bring its columns into the order of the "
                "answers in criterion__questions."
            )

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        if counts_votes(self):
            known = None if reset else self.__dict__.get("question_sizes_")
            self._note_questions(y.shape)
            if known not in (None, self.question_sizes_):
                raise ValueError(
                    f"criterion__questions says that the questions have "
                    f"{self.question_sizes_} answers, but {type(self).__name__} was "
                    f"fitted on questions of {known}: fit anew, with warm_start=False."
                )
            self._check_counts(y, must_have_votes=reset)
        return y

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        if counts_votes(self):
            self._note_questions((len(dataset), *self.target_shape_))
            counts, _ = targets_of(dataset)
            check_target(self, counts)
            # Of data that are not in memory some rows are read.
            self._check_counts(counts, must_have_votes=len(counts) == len(dataset))

    def _criterion_of_votes(self) -> DirichletMultinomialLikelihood:
        """Make the criterion, which tells which columns belong together."""
        criterion = find_part("criterion", self.criterion)
        if isinstance(criterion, type):
            return criterion(**self.get_params_for("criterion"))
        return criterion

    def _note_questions(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"y has shape {shape}, but votes have one column for each answer: give "
                "y of shape (n_samples, n_answers)."
            )
        criterion = self._criterion_of_votes()
        if criterion.reduction == "none":
            raise ValueError(
                "criterion__reduction='none' gives a loss for each question and "
                "sample, but training minimizes one number: choose 'mean' or 'sum'."
            )
        self.question_sizes_ = criterion.sizes(shape[1])

    def _check_counts(self, y: np.ndarray, *, must_have_votes: bool) -> None:
        negative = (y < 0).any(axis=1)
        if negative.any():
            raise ValueError(
                "y has negative numbers, in rows "
                f"{name_rows(np.flatnonzero(negative))}, but votes are counted: give "
                "0, or NaN for all answers to a question that was not asked."
            )
        names = self._criterion_of_votes().names(y.shape[1])
        parts = np.split(y, np.cumsum(self.question_sizes_)[:-1], axis=1)
        without = []
        for name, votes in zip(names, parts, strict=True):
            unknown = np.isnan(votes)
            partial = unknown.any(axis=1) & ~unknown.all(axis=1)
            if partial.any():
                raise ValueError(
                    f"y has votes on some of the answers to the question {name!r} and "
                    f"NaN for the others, in rows {name_rows(np.flatnonzero(partial))}."
                    " Give the counts of all answers, or NaN for all."
                )
            known = votes[~unknown]
            total = votes.sum(axis=1)
            total = total[total > 0]
            seen = ""
            if (known % 1).any() and known.max() <= _HIGHEST_FRACTION:
                seen = "fractions for the question {!r}, from 0 to 1"
            elif (known % 1).any() and (np.abs(total - 100) < 1).all():
                seen = "percentages for the question {!r}, which sum to 100"
            if seen:
                raise ValueError(
                    f"y has {seen.format(name)}. Their errors depend on how many votes "
                    "there were: give counts, which are fractions times the number of "
                    "votes on the question; skastro.datasets.read_votes(table, "
                    "n_votes=...) makes them."
                )
            if not known.any():
                without.append(name)
        if without and must_have_votes:
            raise ValueError(
                f"y has no votes on the questions {without}, so that nothing can be "
                "learned of them: leave their columns out, and their names in "
                "criterion__questions."
            )

    def _match(self, target: torch.Tensor, y_pred: Any) -> torch.Tensor:
        if not counts_votes(self):
            return super()._match(target, y_pred)
        if y_pred.shape != target.shape:
            self._refuse_outputs(tuple(y_pred.shape[1:]))
        return target.to(y_pred)

    # Widths --------------------------------------------------------------------------

    def _after_training(self, train: Any, valid: Any) -> None:
        super()._after_training(train, valid)
        self.__dict__.pop("concentration_scale_", None)
        if not (counts_votes(self) and self.calibrate) or valid is None:
            return
        outputs, counts, weights = [], [], []
        for X, output, y in self._evaluate(valid):
            outputs.append(output.cpu().double())
            counts.append(to_tensor(y, device="cpu").double())
            _, weight = separate_weight(X)
            weights += [] if weight is None else [weight.cpu().double()]
        alpha = self.criterion_.concentration(torch.cat(outputs))
        self.concentration_scale_, is_least = fit_scales(
            alpha,
            torch.cat(counts),
            self.question_sizes_,
            torch.cat(weights) if weights else None,
        )
        if is_least.any():
            names = np.array(self._criterion_of_votes().names(alpha.shape[1]))[is_least]
            warnings.warn(
                "The votes of the validation samples scatter more widely than "
                f"calibration reaches, on the questions {names.tolist()}: their widths "
                "are too small. Train for fewer epochs, or see whether these votes "
                "belong to the images.",
                UserWarning,
                stacklevel=2,
            )

    # Predicting ----------------------------------------------------------------------

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if counts_votes(self):
            self._require_learned("question_sizes_", "target_shape_")

    def _warn_of_widths(self) -> None:
        if "concentration_scale_" not in self.__dict__:
            warnings.warn(
                "The widths are those of the training samples, which are too small: "
                "fit with calibrate=True and train_split=0.15, for instance.",
                UserWarning,
                stacklevel=3,
            )

    def _predict_votes(self, X: Any, return_std: bool) -> Any:
        concentration = self.predict_distribution(X)
        if return_std:
            self._warn_of_widths()
        total = sum_answers(concentration, self.question_sizes_)
        fraction = concentration / total
        std = np.sqrt(fraction * (1 - fraction) / (total + 1))
        fraction, std = (part.astype(self.target_dtype_) for part in (fraction, std))
        return (fraction, std) if return_std else fraction

    @available_if(counts_votes)
    def predict_distribution(self, X: Any) -> np.ndarray:
        """Predict the distribution of the fractions of the votes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        concentration : ndarray of shape (n_samples, n_answers), float64
            Concentrations of a Dirichlet distribution for each question:
            :obj:`scipy.stats.dirichlet` of them is the distribution of the fractions,
            :obj:`scipy.stats.dirichlet_multinomial` that of the counts of some votes.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        output = self._predict_outputs(X)
        if output.shape[1:] != self.target_shape_:
            self._refuse_outputs(output.shape[1:])
        output = torch.from_numpy(output.astype(np.float64))
        concentration = self.criterion_.concentration(output).numpy()
        if "concentration_scale_" in self.__dict__:
            concentration *= np.repeat(self.concentration_scale_, self.question_sizes_)
        self._warn_of_novelty(X)
        return concentration

    @available_if(counts_votes)
    def predict_interval(
        self, X: Any, n_votes: Any, coverage: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict between which counts the votes for each answer will be.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        n_votes : int or array-like of shape (n_samples,) or (n_samples, n_questions)
            How many volunteers answer: all questions of all samples, those of each
            sample, or each question of each sample.
        coverage : float, default=0.9
            The part of the counts that is to be in the interval. As votes are whole, it
            is more, most of all where there are few.

        Returns
        -------
        low, high : ndarray of shape (n_samples, n_answers), int64
            The first and the last count in the interval, quantiles of a beta-binomial
            distribution.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If `n_votes` or `coverage` is out of its range, if X has another shape than
            in ``fit``, or holds NaN or infinity.

        Warns
        -----
        UserWarning
            If no validation samples have set the widths.

        See Also
        --------
        skastro.inspection.vote_coverage : Whether the intervals are right.
        """
        check_number(coverage, "coverage", 0, 1)
        concentration = self.predict_distribution(X)
        n_votes = check_n_votes(n_votes, len(concentration), len(self.question_sizes_))
        self._warn_of_widths()
        sizes = self.question_sizes_
        rest = sum_answers(concentration, sizes) - concentration
        n_votes = np.repeat(n_votes, sizes, axis=1)
        tail = (1 - coverage) / 2
        low, high = count_quantiles(concentration, rest, n_votes, tail, 1 - tail)
        return low, high

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the targets; of votes the expected fractions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        return_std : bool, default=False
            Whether to return the widths of the fractions as well; of votes only.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As many axes as y had in ``fit``; float64 where y was, else float32, of
            integers as long as float32 holds them. Of votes the fractions, of which
            those of a question sum to one.
        std : ndarray of the shape of y
            Standard deviations of the fractions that very many volunteers would give;
            only with `return_std`.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized, or has weights from
            ``load_params`` alone and scales its targets.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, if the
            module's outputs do not match the targets, or if `return_std` is asked of
            targets that are no votes.

        Warns
        -----
        UserWarning
            If `return_std` asks for widths that no validation samples have set. With
            `warn_novelty`, if samples are unlike the training set.
        """
        if self._gives_errors:
            return self._predict_votes(X, return_std)
        if return_std:
            raise ValueError(
                f"criterion={self.criterion!r} knows no errors, so that there are no "
                "error bars; counts of votes have, with "
                "skastro.training.DirichletMultinomialLikelihood."
            )
        return super().predict(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination, R², of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets; counts of votes, where those in ``fit`` were.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        r2 : float
            1 for perfect predictions, 0 for those of the mean of y. Of votes, R² of
            the fractions, in which each sample has the weight of its votes on the
            question; answers with larger variance weigh more, and questions are
            averaged. As fractions of few votes scatter, 1 is out of reach.

        Raises
        ------
        ValueError
            If targets are missing, if y has another shape than in ``fit`` or columns in
            another order, or if counts are negative or there are no two samples with
            votes.
        """
        if self._gives_errors:
            self._check_columns(y)
            y = check_target(self, y)
            return score_votes(self.predict(X), y, self.question_sizes_, sample_weight)
        return super().score(X, y, sample_weight)
