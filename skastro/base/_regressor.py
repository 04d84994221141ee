# SPDX-License-Identifier: BSD-3-Clause
"""The base of regressors: targets scaled for the loss, and back."""

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, check_consistent_length
from skorch import NeuralNetRegressor
from skorch.utils import to_tensor
from typing_extensions import override

from skastro.base._net import BaseNet, spread_rows
from skastro.base._validation import check_target
from skastro.training import SAMPLE_WEIGHT, find_source
from skastro.utils import check_weights, plain_array, score_plain

# Of a data set without arrays so many targets are read, spread over all.
_N_READ = 4096
# Largest numbers of a target of which means of squares are precise.
_SIZES = 1e-140, 1e140
_LOSSES_OF_CLASSES = (
    torch.nn.CrossEntropyLoss,
    torch.nn.NLLLoss,
    torch.nn.BCELoss,
    torch.nn.BCEWithLogitsLoss,
)


class BaseRegressor(BaseNet, NeuralNetRegressor):
    """The base of regressors: targets of any scale and offset, one or several a sample.

    The criterion compares scaled numbers: the mean of the training rows is taken away
    from each target and the rest divided by their standard deviation, in double
    precision, so that a small scatter around a large number is not lost. All else sees
    the user's numbers: data sets, splits, callbacks and ``predict``. The losses in the
    history are in scaled units, and so is what the module gives (``forward``).

    Further parameters are those of :class:`BaseNet`.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance
        The network.
    criterion : str or class, default=torch.nn.MSELoss
        The loss, of scaled targets. :class:`torch.nn.HuberLoss`,
        :class:`torch.nn.SmoothL1Loss` and :class:`torch.nn.L1Loss`, or ``"huber"``,
        ``"smooth_l1"`` and ``"l1"``, give less weight to targets that are far off.
    scale_target : bool, default=True
        Bring each target to mean 0 and standard deviation 1 for the loss, by what the
        training samples have, so that `lr` means the same for magnitudes and for
        radii, and several targets count alike. ``partial_fit`` and ``warm_start`` keep
        the first scaling.
    warn_novelty : bool, default=False
        Whether predictions warn of samples that are less alike to the training set, by
        ``score_samples``, than any sample of the validation. It takes a second pass
        through the network.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training targets, weighted where the samples
        are; the scale of a constant target is 1. Only with `scale_target`.
    target_shape_ : tuple of int
        Shape of one sample's target: ``()`` where y was 1-D, else ``(n_outputs,)``.
    target_dtype_ : dtype
        Dtype of the predictions.

    Examples
    --------
    The guide :ref:`extending-estimator` shows a complete regressor. A module alone is
    enough:

    >>> import numpy as np
    >>> from torch import nn
    >>> from skastro.base import BaseRegressor
    >>> X = np.random.default_rng(0).normal(size=(40, 30)).astype("float32")
    >>> net = BaseRegressor(nn.Linear(30, 1), max_epochs=2, verbose=0)
    >>> net.fit(X, 5000 + 300 * X[:, 3]).predict(X).shape
    (40,)
    """

    _is_measurement = True
    _keeps_features = True
    _kept: ClassVar[tuple[str, ...]] = ("scale_target",)
    _target_checks: ClassVar = {"multi_output": True, "y_numeric": True}

    def __init__(
        self,
        module: Any,
        criterion: Any = torch.nn.MSELoss,
        *,
        scale_target: bool = True,
        warn_novelty: bool = False,
        **kwargs: Any,
    ) -> None:
        BaseNet.__init__(self, module, criterion, **kwargs)
        self.scale_target = scale_target
        self.warn_novelty = warn_novelty

    def _validate_params(self) -> None:
        super()._validate_params()
        if (
            issubclass(self._criterion_type, _LOSSES_OF_CLASSES)
            and self._scales_target
            and not self._is_overridden("get_loss")
        ):
            raise ValueError(
                f"criterion={self.criterion!r} compares probabilities, but a regressor "
                "scales its targets to a mean of 0: take 'mse' or 'smooth_l1', or a "
                "classifier for classes. Targets that are probabilities themselves "
                "need a regressor with scale_target=False."
            )

    @property
    def _takes_missing_targets(self) -> bool:
        """Whether targets may be unknown, NaN."""
        return False

    @property
    def predict_proba(self) -> Any:
        """Absent: numbers have no probabilities."""
        raise AttributeError(f"{type(self).__name__} has no predict_proba.")

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        if classes is not None:
            raise ValueError(
                f"{type(self).__name__} predicts numbers and knows no classes; leave "
                "classes out."
            )
        y = np.asarray(y)
        if reset:
            self.target_shape_ = y.shape[1:]
            self.target_dtype_ = _dtype_for(y)
        elif y.shape[1:] != self.target_shape_:
            raise ValueError(
                f"y has targets of shape {y.shape[1:]}, but {type(self).__name__} was "
                f"fitted on targets of shape {self.target_shape_}."
            )
        return y.astype(np.float64)

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        target = np.asarray(dataset[0][1])
        self.target_shape_ = target.shape
        self.target_dtype_ = _dtype_for(target)

    def _infer_output_size(self, y: Any) -> dict[str, int]:
        return {"n_outputs": int(np.prod(self.target_shape_))}

    # Scaling ---------------------------------------------------------------------

    @property
    def _scales_target(self) -> bool:
        return self.scale_target

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Measure the training targets."""
        super()._learn_from_training_data(dataset)
        if not self._scales_target or "target_mean_" in self.__dict__:
            return
        y, weight = targets_of(dataset)
        given = y.reshape(len(y), -1)
        y = self._transform_target(torch.from_numpy(given)).numpy()
        lost = np.isfinite(given) & ~np.isfinite(y)
        if lost.any():
            # Only of data sets, whose targets nothing has checked.
            raise ValueError(
                f"Targets such as {given[lost][0]:g} cannot be transformed: log_target "
                "asks for logarithms, for which they must be positive."
            )
        unknown = np.flatnonzero(np.isnan(y).all(axis=0))
        if unknown.size:
            raise ValueError(
                f"No training sample has a value of the targets {unknown}: y is NaN in "
                "all rows that are neither set aside for validation nor of weight 0. "
                "Leave these targets out, or set train_split=None."
            )
        size = np.nanmax(np.abs(y), axis=0)
        low, high = _SIZES
        odd = np.flatnonzero((size > high) | ((size > 0) & (size < low)))
        if odd.size:
            raise ValueError(
                f"The targets {odd} are numbers up to {size[odd[0]]:.3g}, of whose "
                "squares double precision does not hold the mean. Multiply them by a "
                f"constant, so that they are between {low:g} and {high:g}, or take "
                "their logarithms."
            )
        scaler = StandardScaler().fit(y, sample_weight=weight)
        self.target_mean_, self.target_scale_ = scaler.mean_, scaler.scale_

    def _transform_target(self, y: torch.Tensor) -> torch.Tensor:
        """Turn targets of shape ``(n, n_outputs)`` into what is scaled; a hook."""
        return y

    def _restore_target(self, y: np.ndarray) -> np.ndarray:
        """Undo ``_transform_target``; a hook."""
        return y

    def _scale_target(self, y: torch.Tensor) -> torch.Tensor:
        if "target_shape_" in self.__dict__:
            y = self._transform_target(y.reshape(len(y), -1))
        if "target_mean_" not in self.__dict__:
            return y
        # There is no float64 on Apple's devices.
        dtype = torch.float32 if y.device.type == "mps" else torch.float64
        mean, scale = _constants(
            tuple(self.target_mean_.tolist()),
            tuple(self.target_scale_.tolist()),
            y.device,
            dtype,
        )
        return (y.to(dtype).reshape(len(y), -1) - mean) / scale

    @override
    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        scaled = self._scale_target(to_tensor(y_true, device=None))
        return super().get_loss(y_pred, self._match(scaled, y_pred), X=X, **kwargs)

    def _match(self, target: torch.Tensor, y_pred: Any) -> torch.Tensor:
        """Bring targets into the shape and dtype of the module's output.

        Of ``(n, 1)`` and ``(n,)`` torch's losses would compare each with each.
        """
        output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        if output.numel() != target.numel():
            self._refuse_outputs(tuple(output.shape[1:]))
        target = target.to(output).reshape(output.shape)
        if self._takes_missing_targets:
            # What is unknown is no error, and has no gradient.
            target = torch.where(target.isnan(), output.detach(), target)
        return target

    def _refuse_outputs(self, shape: tuple[int, ...]) -> None:
        raise ValueError(
            f"The module gives outputs of shape {shape} for targets of shape "
            f"{self.target_shape_}. Give it one output a target."
        )

    # Predicting --------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As many axes as y had in ``fit``; float64 where y was, else float32, of
            integers as long as float32 holds them.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized, or has weights from
            ``load_params`` alone and scales its targets.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, or if the
            module's outputs do not match the targets.
        """
        self.check_is_fitted()
        y = self._unscale(self._predict_outputs(X))
        self._warn_of_novelty(X)
        return y

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination, R², of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        r2 : float
            1 for perfect predictions, 0 for those of the mean of y.

        Raises
        ------
        ValueError
            If targets are missing.
        """
        return score_plain(super().score, X, check_target(self, y), sample_weight)

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if self._scales_target:
            self._require_learned("target_mean_", "target_scale_", "target_shape_")

    def _unscale(self, output: np.ndarray) -> np.ndarray:
        """Turn outputs into numbers like the targets, in their shape."""
        if not hasattr(self, "target_shape_"):
            return output
        y = output.reshape(len(output), -1)
        if y.shape[1] != np.prod(self.target_shape_):
            self._refuse_outputs(output.shape[1:])
        if "target_mean_" in self.__dict__:
            y = y.astype(np.float64) * self.target_scale_ + self.target_mean_
        y = self._restore_target(y)
        return y.astype(self.target_dtype_).reshape(len(y), *self.target_shape_)

    def __sklearn_tags__(self) -> Tags:
        """Say that there may be several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _dtype_for(y: np.ndarray) -> np.dtype:
    """Choose the dtype of predictions of such targets."""
    if y.dtype.kind == "f":
        is_short = y.dtype.itemsize <= 4
    else:
        is_short = (y.astype(np.float32) == y).all()
    return np.dtype(np.float32 if is_short else np.float64)


def targets_of(dataset: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Find the targets of a data set, and the samples' weights where there are any."""
    source = find_source(dataset)
    if source is None or source.y is None:
        rows = spread_rows(np.arange(len(dataset)), _N_READ)
        y = np.stack([np.asarray(dataset[row][1], np.float64) for row in rows])
        return y, None
    rows = slice(None) if source.rows is None else source.rows
    weight = source.X.get(SAMPLE_WEIGHT) if isinstance(source.X, dict) else None
    y = source.y[rows].double().numpy()
    return y, None if weight is None else weight[rows].numpy()


@lru_cache(maxsize=16)
def _constants(
    mean: tuple[float, ...],
    scale: tuple[float, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, ...]:
    """Bring the targets' means and scales to a device, once."""
    with torch.inference_mode(False):
        return tuple(
            torch.tensor(values, dtype=dtype, device=device) for values in (mean, scale)
        )


def score_known(found: np.ndarray, y: Any, sample_weight: Any = None) -> float:
    """Average the coefficients of determination, R², over targets that are not NaN.

    >>> score_known(np.array([1.0, 2.0, 5.0]), [1.0, 2.0, np.nan])
    1.0
    """
    y = plain_array(y, "y").astype(np.float64)
    weight = None if sample_weight is None else check_weights(sample_weight)
    check_consistent_length(y, found, weight)
    y, found = y.reshape(len(y), -1), found.reshape(len(found), -1)
    if y.shape != found.shape:
        raise ValueError(
            f"y has {y.shape[1]} targets, but the predictions {found.shape[1]}, as "
            "there were in fit."
        )
    missing, scores = np.isnan(y), []
    for true, predicted, known in zip(y.T, found.T, ~missing.T, strict=True):
        if known.sum() > 1 or not missing.any():
            w = None if weight is None else weight[known]
            scores.append(r2_score(true[known], predicted[known], sample_weight=w))
    if not scores:
        raise ValueError(
            "No target has two known values in y, which R² needs: give more rows whose "
            "targets are not NaN."
        )
    return float(np.mean(scores))
