# SPDX-License-Identifier: BSD-3-Clause
"""Probabilities that can be believed: a temperature for the logits."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from skorch import NeuralNet
from skorch.dataset import unpack_data

from skastro.training import PieceByPiece

# Of log(temperature). What lies beyond comes from logits that tell nothing.
_BOUNDS = (-4.0, 4.0)
# Standard deviation of the prior of log(temperature). Of 0.2 to 0.5, and none, it gave
# the lowest log loss on real spectra, with 37 to 127 samples for the temperature.
_PRIOR_WIDTH = 0.25


def fit_temperature(logits: np.ndarray, codes: np.ndarray) -> float:
    """Find the temperature by which to divide logits, from samples kept apart.

    The log loss is minimised [1]_, with a normal prior of the temperature's logarithm
    about zero. Where all of a few samples are classified correctly, the loss alone
    would ask for certainty, and one error too many for much doubt; a few hundred
    samples outweigh the prior.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes)
        Outputs of the network.
    codes : ndarray of shape (n_samples,)
        The columns of the true classes.

    Returns
    -------
    temperature : float
        Above 1 where the network is too confident; 1 where logits are not finite.

    References
    ----------
    .. [1] Guo, C. et al. (2017). "On calibration of modern neural networks". ICML.
           https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.base._calibration import fit_temperature
    >>> logits = np.repeat([[8.0, 0.0]], 10_000, axis=0)
    >>> temperature = fit_temperature(logits, np.repeat([0, 1], [9000, 1000]))
    >>> probability = 1 / (1 + np.exp(-8 / temperature))
    >>> print(f"{probability:.2f}")
    0.90
    """
    logits = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(logits).all():
        return 1.0
    rows = np.arange(len(logits))

    def loss(log_temperature: float) -> float:
        log_probability = log_softmax(logits * math.exp(-log_temperature), axis=1)
        prior = 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2
        return prior - float(log_probability[rows, codes].sum())

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded")
    return math.exp(found.x)


class Calibration(NeuralNet):
    """Classifiers whose logits are divided by a temperature after training."""

    def _check_can_calibrate(self) -> None:
        """Refuse, before any work, what leaves no temperature to fit."""
        if not self.calibrate:
            return
        if self.train_split is None:
            raise ValueError(
                "calibrate=True fits a temperature on the validation samples, but "
                "train_split=None sets none aside; give train_split=0.1 for instance."
            )
        criterion = self.criterion
        if not isinstance(criterion, type):
            criterion = type(criterion)
        if (
            not issubclass(criterion, torch.nn.CrossEntropyLoss)
            or self.predict_nonlinearity != "auto"
        ):
            raise ValueError(
                "calibrate=True divides logits, which go with "
                "criterion=torch.nn.CrossEntropyLoss and predict_nonlinearity='auto', "
                f"but got criterion={self.criterion!r} and "
                f"predict_nonlinearity={self.predict_nonlinearity!r}."
            )

    def _calibrate(self, dataset: Any) -> None:
        """Fit the temperature on the validation samples; None are none."""
        self.temperature_ = 1.0
        if not self.calibrate:
            return
        if dataset is None:
            warnings.warn(
                "The samples are too few to set some aside for validation, so that "
                "calibrate=True leaves the probabilities as they are.",
                UserWarning,
                stacklevel=2,
            )
            return
        logits, codes = [], []
        pieces = PieceByPiece()
        for batch in self.get_iterator(dataset, training=False):
            for piece, output in pieces.run(self.evaluation_step, batch):
                output = output[0] if isinstance(output, tuple) else output
                logits.append(output.cpu())
                codes.append(unpack_data(piece)[1].cpu())
        self.temperature_ = fit_temperature(
            torch.cat(logits).numpy(), torch.cat(codes).numpy()
        )

    def _get_predict_nonlinearity(self) -> Callable:
        nonlinearity = super()._get_predict_nonlinearity()
        temperature = vars(self).get("temperature_", 1.0)
        if temperature == 1.0:
            return nonlinearity
        return lambda logits: nonlinearity(logits / temperature)
