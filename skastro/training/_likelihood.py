# SPDX-License-Identifier: BSD-3-Clause
"""The losses of networks that predict a number and its error, or its distribution."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from skastro.utils import check_option


class NegativeLogLikelihood(torch.nn.Module):
    """Negative log likelihood of targets, given predictions and their errors [1]_.

    The network gives two numbers a target: the prediction, and the logarithm of the
    standard deviation of what remains.

    Parameters
    ----------
    distribution : {"laplace", "normal"}, default="laplace"
        What targets scatter like. Outliers move the predictions less with
        ``"laplace"``.
    reduction : {"mean", "sum", "none"}, default="mean"
        What is done with the losses of a batch: their mean or sum over all known
        targets, or one loss for each target.

    Attributes
    ----------
    log_std_limits : tuple of float
        Natural logarithms of the smallest and the largest error, in units of the
        targets' standard deviation. Outputs beyond them stand for these.

    Raises
    ------
    ValueError
        If an argument is none of these.

    References
    ----------
    .. [1] Nix, D. A. & Weigend, A. S. (1994). "Estimating the mean and variance of the
           target probability distribution". IEEE ICNN.
           https://doi.org/10.1109/ICNN.1994.374138

    Examples
    --------
    >>> import torch
    >>> from skastro.training import NegativeLogLikelihood
    >>> loss = NegativeLogLikelihood("normal", reduction="none")
    >>> output = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> loss(output, torch.tensor([[1.0], [3.0]])).tolist()
    [[0.9189...], [2.9189...]]
    """

    log_std_limits: ClassVar[tuple[float, float]] = (-7.0, 5.0)

    def __init__(self, distribution: str = "laplace", reduction: str = "mean") -> None:
        super().__init__()
        check_option(distribution, "distribution", ("laplace", "normal"))
        check_option(reduction, "reduction", ("mean", "sum", "none"))
        self.distribution = distribution
        self.reduction = reduction

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        output : Tensor of shape (batch, 2 * n_targets)
            Predictions, then the logarithms of their errors.
        target : Tensor of shape (batch, n_targets) or (batch, 2 * n_targets)
            True values, NaN where they are unknown; then, where given, the standard
            deviations with which they were measured.

        Returns
        -------
        loss : Tensor
            A number, or of shape (batch, n_targets); 0 where the target is unknown.
        """
        n_targets = output.shape[1] // 2
        mean, log_std = output.split(n_targets, dim=1)
        log_std = log_std.clamp(*self.log_std_limits)
        measured = None
        if target.shape[1] > n_targets:
            target, measured = target.split(n_targets, dim=1)
        known = ~target.isnan()
        if measured is not None:
            # Errors of the network and of the measurement are independent. NaN has no
            # place where the target is unknown: its gradient would be NaN, too.
            variance = 2 * torch.where(known, measured, 0.0).log()
            log_std = 0.5 * torch.logaddexp(2 * log_std, variance)
        off = torch.where(known, target - mean, 0.0) * (-log_std).exp()
        if self.distribution == "laplace":
            loss = math.sqrt(2) * off.abs() + log_std + 0.5 * math.log(2)
        else:
            loss = 0.5 * off.square() + log_std + 0.5 * math.log(2 * math.pi)
        loss = torch.where(known, loss, 0.0)
        if self.reduction == "none":
            return loss
        total = loss.sum()
        return total if self.reduction == "sum" else total / known.sum().clamp(min=1)


class BinnedLikelihood(torch.nn.Module):
    """Negative log likelihood of positions on a grid, given logits of its points [1]_.

    The network gives the whole distribution of a number. A position between two points
    of the grid shares its loss among both, the closer one more.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        What is done with the losses of a batch.

    Raises
    ------
    ValueError
        If `reduction` is none of these.

    References
    ----------
    .. [1] Pasquet, J. et al. (2019). "Photometric redshifts from SDSS images using a
           convolutional neural network". A&A 621, A26.
           https://doi.org/10.1051/0004-6361/201833617

    Examples
    --------
    >>> import torch
    >>> from skastro.training import BinnedLikelihood
    >>> logits = torch.tensor([[0.0, 1.0, 3.0]])
    >>> round(BinnedLikelihood()(logits, torch.tensor([1.5])).item(), 3)
    1.17
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_option(reduction, "reduction", ("mean", "sum", "none"))
        self.reduction = reduction

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        output : Tensor of shape (batch, n_points)
            Logits.
        target : Tensor of shape (batch,)
            Positions from 0 to n_points - 1; those beyond stand for the end.

        Returns
        -------
        loss : Tensor
            A number, or of shape (batch,).
        """
        last = output.shape[1] - 1
        target = target.reshape(-1, 1).clamp(0, last)
        # The loss of NaN is NaN, which training tells; NaN is no index.
        lower = target.nan_to_num().floor().clamp(max=max(last - 1, 0))
        part = (target - lower).to(output.dtype)
        lower = lower.long()
        log_p = output.log_softmax(dim=1)
        near = log_p.gather(1, lower), log_p.gather(1, (lower + 1).clamp(max=last))
        loss = -((1 - part) * near[0] + part * near[1])[:, 0]
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()
