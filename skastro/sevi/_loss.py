# SPDX-License-Identifier: BSD-3-Clause
"""The distance of angular densities, as a loss of their coefficients."""

import torch


class LegendreLoss(torch.nn.Module):
    r"""Squared distance of angular densities, from their Legendre coefficients.

    .. math:: \sum_{shells} \sum_l \frac{2}{4l + 1} (\Delta\beta_l)^2
              = \sum_{shells} \int_{-1}^1 (\Delta\rho)^2 \, d\cos\theta

    of densities 1/2 + Σ β_l P_2l(cos θ), as ∫ P_2l² = 2 / (4l + 1).

    Parameters
    ----------
    n_betas : int, default=12
        Coefficients of a shell.
    reduction : {"mean", "sum", "none"}, default="mean"
        What to do with the losses of a batch.

    Examples
    --------
    >>> import torch
    >>> from skastro.sevi import LegendreLoss
    >>> loss = LegendreLoss(n_betas=2)
    >>> float(loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])))
    0.4000000059604645
    """

    def __init__(self, n_betas: int = 12, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"reduction must be 'mean', 'sum' or 'none', but got {reduction!r}."
            )
        self.n_betas = n_betas
        self.reduction = reduction

    def forward(self, y_pred: torch.Tensor, y_true: torch.Tensor) -> torch.Tensor:
        """Compute the loss.

        Parameters
        ----------
        y_pred, y_true : Tensors of shape (n_samples, n_shells * n_betas)
            Coefficients, shell after shell.

        Returns
        -------
        loss : Tensor of shape () or, not reduced, (n_samples,)
            Summed over shells.
        """
        if y_pred.shape != y_true.shape:
            raise ValueError(
                f"y_pred has the shape {tuple(y_pred.shape)}, but y_true "
                f"{tuple(y_true.shape)}."
            )
        order = torch.arange(1, self.n_betas + 1, device=y_pred.device)
        squares = (y_pred - y_true).reshape(len(y_pred), -1, self.n_betas).square()
        loss = (squares * (2 / (4 * order + 1)).to(squares)).sum((1, 2))
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()
