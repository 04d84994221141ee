# SPDX-License-Identifier: BSD-3-Clause
"""Electron images in X, coefficients of densities in y: checks, layout, loss."""

from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, Options, StrOptions
from skorch import NeuralNet
from skorch.utils import is_dataset
from torch.utils.data import Subset

from skastro.estimators._legendre_loss import LegendreLoss
from skastro.estimators._shell_prior import ShellPrior
from skastro.estimators._simulated_images import SimulatedImages
from skastro.networks import PolarNet
from skastro.training import find_source
from skastro.utils import ImageLayout

# The largest number of coefficients of which there are basis images.
MOST_BETAS = 12

# How the coefficients are multiplied: 1/2 + Σ β_l P_2l, or 1 + Σ b_l P_2l.
FACTORS = {"density": 1.0, "vmi": 2.0}

# As published networks took them.
_PUBLISHED_TOTAL = 255.0
_AT_ONCE = 256
_N_TARGETS = 4096


class SEVIInput(ImageLayout, NeuralNet):
    """Counts of electrons in X, Legendre coefficients in y."""

    _input_ndims: ClassVar = (2, 3)
    _input_dtypes: ClassVar = (np.float32,)
    _module_ndim = 2
    # Images have one channel; the shared layout asks where it would be.
    channel_axis = -1
    _learned_from_rows: ClassVar = ("prior_", "residual_std_")
    _sevi_constraints: ClassVar[dict] = {
        "image_shape": ImageLayout._layout_constraints["image_shape"],
        "augment": [None, callable],
        "convention": [StrOptions(set(FACTORS))],
        "polarization_axis": [Options(Integral, {0, 1})],
        "n_betas": [Interval(Integral, 1, None, closed="left")],
        "normalization": [StrOptions({"auto", "counts", "total"})],
        "prior": [StrOptions({"training", "published"})],
        "extent": [Interval(Real, 0, None, closed="neither")],
    }

    @property
    def _n_shells(self) -> int:
        return int(np.prod(self.target_shape_)) // self.n_betas

    @property
    def _factor(self) -> float:
        return FACTORS[self.convention]

    # Checks ---------------------------------------------------------------------

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        shape = self._image_shape_of(tuple(sample_shape))
        if len(shape) != 2:
            raise ValueError(
                f"Electron images have no channels; image_shape must be (height, "
                f"width), but is {shape}."
            )
        return {"n_channels": 1, "input_size": shape}

    def _are_images(self) -> bool:
        """Tell images from rows of numbers that nobody calls images."""
        return len(self.sample_shape_) > 1 or self.image_shape is not None

    def _check_training_data(self, X: Any, y: Any, *args: Any, **kwargs: Any) -> tuple:
        self._ranges()
        X, y = super()._check_training_data(X, y, *args, **kwargs)
        if not is_dataset(X):
            self._check_counts(X["X"] if isinstance(X, dict) else X)
        return X, y

    def _ranges(self) -> list[tuple[float, float]]:
        """Give the checked ranges of radii and widths."""
        ranges = [_checked_range(self, name) for name in ("radius", "radius_width")]
        if ranges[0][0] > 2**0.5 * self.extent:
            raise ValueError(
                f"radius={self.radius!r} begins beyond the corners of images of "
                f"extent={self.extent:g}, half their side; give both in one unit."
            )
        return ranges

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        # Of an array that is predicted; others are no images of the user's.
        if check:
            self._check_counts(X)
        return super()._predict_batches(X, function, check=check)

    def _check_counts(self, X: Any) -> None:
        """Refuse what cannot be numbers of electrons in the pixels of an image."""
        name = type(self).__name__
        if self._are_images():
            height, width = self._image_shape_of(tuple(X.shape[1:]))
            if height != width:
                raise ValueError(
                    f"{name} takes square images with the centre in their middle, but "
                    f"X has images of {height} x {width} pixels; cut or pad them, with "
                    "skastro.CropPadImages for instance."
                )
        for first in range(0, len(X), _AT_ONCE):
            part = np.asarray(X[first : first + _AT_ONCE])
            part = part.reshape(len(part), -1)
            if (part < 0).any():
                row = first + int((part < 0).any(1).argmax())
                raise ValueError(
                    f"Negative values in data passed to {name}: X[{row}] falls to "
                    f"{part[row - first].min():g}, but pixels hold numbers of "
                    "electrons. Add the background that was subtracted again."
                )
            empty = ~part.any(1)
            if self._are_images() and empty.any():
                rows = (first + empty.nonzero()[0])[:5].tolist()
                raise ValueError(
                    f"X has images without any electron, such as X[{rows[0]}] "
                    f"(rows {rows}); leave them out."
                )

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        n_columns = y.reshape(len(y), -1).shape[1]
        if n_columns % self.n_betas:
            raise ValueError(
                f"y has {n_columns} columns, but {type(self).__name__} expects "
                f"{self.n_betas} coefficients for each shell, those of the smallest "
                "shell first: a multiple of that. Set n_betas if there are fewer."
            )
        return y

    # What the network sees ------------------------------------------------------

    def _upright(self, X: torch.Tensor) -> torch.Tensor:
        """View samples as images (n, height, width), polarised along the last axis."""
        X = X.reshape(len(X), *self._image_shape_of(tuple(X.shape[1:])))
        return X.mT if self.polarization_axis == 0 and self._are_images() else X

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        X = self._upright(X).float()[:, None]
        counts = self.normalization == "counts" or (
            self.normalization == "auto" and isinstance(self.module_, PolarNet)
        )
        if counts:
            return X
        total = X.sum((1, 2, 3), keepdim=True).clamp(min=1e-30)
        return X / total * _PUBLISHED_TOTAL

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        return X

    # The loss -------------------------------------------------------------------

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Collect the parameters of a part; the loss is told the number of betas.

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
        criterion = vars(self)["criterion"]
        if (
            prefix == "criterion"
            and isinstance(criterion, type)
            and issubclass(criterion, LegendreLoss)
        ):
            params = {"n_betas": self.n_betas, **params}
        return params

    def _scale_target(self, y: torch.Tensor) -> torch.Tensor:
        # The loss is one of coefficients of densities as they are.
        return y / self._factor

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        """Compute a batch's loss, of coefficients of densities.

        Parameters
        ----------
        y_pred : Tensor
            The module's output.
        y_true : Tensor
            The target, as the user gave it.
        X : Tensor or dict, default=None
            The batch.
        **kwargs : dict
            ``training``, whether the step is one of training.

        Returns
        -------
        loss : Tensor of shape ()
            The mean over the batch.
        """
        return super().get_loss(self._to_betas(y_pred), y_true, X=X, **kwargs)

    def _to_betas(self, output: Any) -> torch.Tensor:
        """Turn outputs into coefficients of densities."""
        output = output[0] if isinstance(output, tuple) else output
        if self.scale_target and output.numel() == len(output) * len(self.target_mean_):
            output = output.reshape(len(output), -1)
            output = output * torch.as_tensor(self.target_scale_).to(output)
            output = output + torch.as_tensor(self.target_mean_).to(output)
        return output / self._factor

    # What is learned besides the weights -----------------------------------------

    def _learn_from_rows(self, dataset: Any) -> None:
        """Learn the distribution of the coefficients from the training targets."""
        simulated = simulated_images(dataset)
        if simulated is not None and not hasattr(self, "prior_"):
            y = simulated.some_targets(_N_TARGETS).cpu().numpy()
            if self.scale_target:
                self.target_mean_ = y.mean(0)
                self.target_scale_ = np.where(y.std(0) > 0, y.std(0), 1.0)
        super()._learn_from_rows(dataset)
        if hasattr(self, "prior_") or self.n_betas > MOST_BETAS:
            return
        ranges = self._ranges()
        if self.prior == "published":
            self.prior_ = ShellPrior.published(self.n_betas, *ranges)
            return
        if simulated is None:
            y = _targets_of(dataset)
        beta = y.reshape(-1, self.n_betas) / self._factor
        self.prior_ = ShellPrior.learn(beta, *ranges)

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Renew simulated images.

        Parameters
        ----------
        net : SEVIInput
            The estimator itself.
        dataset_train : dataset
            The training samples.
        **kwargs : dict
            The validation samples.
        """
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        simulated = simulated_images(dataset_train)
        if simulated is not None:
            simulated.next_epoch()

    def _after_training(self, train: Any, valid: Any) -> None:
        """Measure how far the network's answers are off."""
        super()._after_training(train, valid)
        residuals = torch.cat(list(self._residuals(train if valid is None else valid)))
        residuals = residuals.double().cpu().numpy()
        self.residual_std_ = np.sqrt((residuals**2).mean(0)) * self._factor

    def _residuals(self, dataset: Any) -> Iterator[torch.Tensor]:
        for X, y in self.get_iterator(dataset, training=False):
            output = self._to_betas(self.evaluation_step((X, y)))
            output = output.reshape(len(output), -1)
            y = torch.as_tensor(y).to(output).reshape(output.shape)
            yield output - y / self._factor

    def __sklearn_tags__(self) -> Tags:
        """Say that counts are positive."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def _checked_range(estimator: Any, name: str) -> tuple[float, float]:
    value = getattr(estimator, name)
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"{name} must be two positive numbers (lowest, highest); got {value!r}."
        )
    return low, high


def simulated_images(dataset: Any) -> SimulatedImages | None:
    """Find the simulated images behind a data set."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, SimulatedImages) else None


def _targets_of(dataset: Any) -> np.ndarray:
    source = find_source(dataset)
    if source is not None and source.y is not None:
        y = source.y if source.rows is None else source.y[source.rows]
        return y.double().numpy().reshape(len(y), -1)
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _N_TARGETS)).astype(int)
    return np.stack([np.asarray(dataset[row][1], np.float64).ravel() for row in rows])
