# SPDX-License-Identifier: BSD-3-Clause
"""The losses of networks that predict a number and its error, or its distribution."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from skastro.utils import check_count, check_each, check_option


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


class DirichletMultinomialLikelihood(torch.nn.Module):
    r"""Negative log likelihood of votes on the answers to questions [1]_, [2]_.

    The network gives the logarithm of a concentration :math:`\alpha_a` for each answer.
    The probabilities with which a volunteer chooses the answers of a question have a
    Dirichlet distribution of these concentrations, and the counts :math:`k_a` of
    :math:`n` votes are drawn with them. With :math:`A = \sum_a \alpha_a`

    .. math:: P(k) = \frac{n!\, \Gamma(A)}{\Gamma(n + A)}
        \prod_a \frac{\Gamma(k_a + \alpha_a)}{k_a!\, \Gamma(\alpha_a)}.

    A question without votes has probability 1, and no gradient.

    Parameters
    ----------
    questions : mapping, sequence of int or of pairs, or None, default=None
        The names of the answers to each question, by its name, or how many answers each
        question has, in the order of the columns. None: all columns are the answers to
        one question. A list of pairs, ``[("smooth", ["yes", "no"]), ...]``, stands for
        a mapping; in the text of an estimator it keeps the order, where scikit-learn
        sorts the names in a dict.
    reduction : {"mean", "sum", "none"}, default="mean"
        What is done with the losses of a batch: their mean or sum over all samples and
        questions, or one loss for each.

    Attributes
    ----------
    log_limits : tuple of float
        Natural logarithms of the smallest and the largest concentration. Outputs
        beyond them stand for these.

    Raises
    ------
    TypeError
        If `questions` is nothing of the kind.
    ValueError
        If a question has less than two answers, or if `reduction` is none of these.

    Notes
    -----
    The expected fractions of the votes, :math:`\alpha_a / A`, are the softmax of the
    outputs. Concentrations below 1, which other parametrizations exclude, mean that one
    answer will get most votes, and that it is not known which.

    Logarithms of the gamma function of thousands of votes differ by less than single
    precision rounds them: the loss is computed in double precision, except on Apple's
    devices, which have none.

    References
    ----------
    .. [1] Walmsley, M. et al. (2020). "Galaxy Zoo: probabilistic morphology through
           Bayesian CNNs and active learning". MNRAS 491, 1554.
           https://doi.org/10.1093/mnras/stz2816
    .. [2] Walmsley, M. et al. (2022). "Galaxy Zoo DECaLS: detailed visual morphology
           measurements from volunteers and deep learning for 314 000 galaxies". MNRAS
           509, 3966. https://doi.org/10.1093/mnras/stab2093

    Examples
    --------
    >>> import torch
    >>> from skastro.training import DirichletMultinomialLikelihood
    >>> questions = {"smooth": ["yes", "no"], "arms": ["1", "2", "more"]}
    >>> loss = DirichletMultinomialLikelihood(questions, reduction="none")
    >>> loss(torch.zeros(1, 5), torch.tensor([[3.0, 1.0, 0.0, 0.0, 0.0]])).exp().round()
    tensor([[5., 1.]])
    """

    log_limits: ClassVar[tuple[float, float]] = (-10.0, 10.0)

    def __init__(
        self,
        questions: Mapping[str, Sequence[str]]
        | Sequence[tuple[str, Sequence[str]]]
        | Sequence[int]
        | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_option(reduction, "reduction", ("mean", "sum", "none"))
        self.questions = _without_pairs(questions)
        self.reduction = reduction
        self._sizes = _answers_a_question(self.questions)

    def sizes(self, n_answers: int) -> tuple[int, ...]:
        """Tell how many answers each question has, given that of all columns."""
        sizes = (n_answers,) if self._sizes is None else self._sizes
        if sum(sizes) != n_answers or min(sizes) < 2:
            known = "one question" if self._sizes is None else f"answers {sizes}"
            raise ValueError(
                f"There are {n_answers} columns of votes for {known}. Give one column "
                "for each answer, two or more a question, and say by "
                "questions={'name': ['answer', ...], ...} which belong together."
            )
        return sizes

    def names(self, n_answers: int) -> list[str]:
        """Name the questions."""
        if isinstance(self.questions, Mapping):
            return list(self.questions)
        return [str(number) for number in range(len(self.sizes(n_answers)))]

    def concentration(self, output: Tensor) -> Tensor:
        """Turn outputs into concentrations."""
        return output.clamp(*self.log_limits).exp()

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        output : Tensor of shape (batch, n_answers)
            Logarithms of the concentrations.
        target : Tensor of shape (batch, n_answers)
            Numbers of votes, not only whole ones; NaN stands for none.

        Returns
        -------
        loss : Tensor
            A number, or of shape (batch, n_questions); 0 where there are no votes.
        """
        dtype = torch.float32 if output.device.type == "mps" else torch.float64
        sizes = self.sizes(output.shape[1])
        sum_of_answers = _membership(sizes, output.device, dtype)
        alpha = self.concentration(output.to(dtype))
        votes = target.to(dtype)
        votes = torch.where(votes.isnan(), 0.0, votes)
        total, n = alpha @ sum_of_answers, votes @ sum_of_answers
        of_answers = (votes + alpha).lgamma() - alpha.lgamma() - (votes + 1).lgamma()
        loss = (n + total).lgamma() - total.lgamma() - (n + 1).lgamma()
        loss = loss - of_answers @ sum_of_answers
        loss = loss.to(torch.promote_types(output.dtype, torch.float32))
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()


def _without_pairs(questions: Any) -> Any:
    """Make a mapping of pairs of names and answers."""
    if not isinstance(questions, list | tuple) or not questions:
        return questions
    if not all(isinstance(item, list | tuple) and len(item) == 2 for item in questions):
        return questions
    by_name = dict(questions)
    if len(by_name) < len(questions):
        raise ValueError(
            "questions must have different names; got "
            f"{[name for name, _ in questions]}."
        )
    return by_name


def _answers_a_question(
    questions: Mapping[str, Sequence[str]] | Sequence[int] | None,
) -> tuple[int, ...] | None:
    """Count the answers to each question."""
    if questions is None:
        return None
    if not isinstance(questions, Mapping):
        return check_each(
            questions, "questions", lambda n, name: check_count(n, name, 2), min_size=1
        )
    if not questions:
        raise ValueError("questions must name one question at least; it is empty.")
    for name, answers in questions.items():
        if isinstance(answers, str) or not isinstance(answers, Sequence):
            raise TypeError(
                f"questions must give the list of answers to each question, but gives "
                f"{answers!r} for {name!r}."
            )
        if len(answers) < 2:
            raise ValueError(
                f"The question {name!r} has {len(answers)} answers, of which one gets "
                "all votes. Name all answers; a last one may stand for the others."
            )
    return tuple(map(len, questions.values()))


@lru_cache(maxsize=16)
def _membership(
    sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Make the matrix that sums answers to questions, once."""
    with torch.inference_mode(False):
        blocks = [torch.ones(size, 1, dtype=dtype) for size in sizes]
        return torch.block_diag(*blocks).to(device)
