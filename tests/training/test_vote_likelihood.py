# SPDX-License-Identifier: BSD-3-Clause
"""The loss of votes, against SciPy's Dirichlet-multinomial distribution."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import betabinom, dirichlet_multinomial

from skastro.training import DirichletMultinomialLikelihood

pytestmark = pytest.mark.once

QUESTIONS = {
    "smooth": ["yes", "no", "star"],
    "edge": ["yes", "no"],
    "arms": list("1234"),
}
SIZES = (3, 2, 4)
RNG = np.random.default_rng(0)
OUTPUT = torch.from_numpy(RNG.normal(scale=2, size=(7, 9)))
VOTES = torch.from_numpy(RNG.integers(0, 30, size=(7, 9)).astype(float))


def reference(output, votes, sizes=SIZES):
    """Compute the loss of each sample and question by SciPy."""
    ends = np.cumsum(sizes)
    return np.column_stack(
        [
            -dirichlet_multinomial.logpmf(
                votes[:, end - size : end].astype(int),
                np.exp(output[:, end - size : end]),
                votes[:, end - size : end].astype(int).sum(axis=1),
            )
            for size, end in zip(sizes, ends, strict=True)
        ]
    )


@pytest.mark.parametrize("questions", [QUESTIONS, SIZES, list(SIZES)])
def test_against_scipy(questions):
    expected = reference(OUTPUT.numpy(), VOTES.numpy())
    loss = DirichletMultinomialLikelihood(questions, "none")(OUTPUT, VOTES)
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    for reduction in ("mean", "sum"):
        loss = DirichletMultinomialLikelihood(questions, reduction)(OUTPUT, VOTES)
        np.testing.assert_allclose(loss, getattr(np, reduction)(expected))


def test_all_columns_are_one_question_by_default():
    loss = DirichletMultinomialLikelihood(reduction="none")(OUTPUT, VOTES)
    np.testing.assert_allclose(
        loss, reference(OUTPUT.numpy(), VOTES.numpy(), (9,)), rtol=1e-10
    )


def test_two_answers_are_beta_binomial():
    loss = DirichletMultinomialLikelihood((2,), "none")(OUTPUT[:, :2], VOTES[:, :2])
    a, b = np.exp(OUTPUT[:, :2].numpy().T)
    k, n = VOTES[:, 0].numpy(), VOTES[:, :2].numpy().sum(axis=1)
    np.testing.assert_allclose(loss[:, 0], -betabinom.logpmf(k, n, a, b), rtol=1e-9)


def test_probabilities_of_all_counts_sum_to_one():
    votes = [k for k in product(range(6), repeat=3) if sum(k) == 5]
    output = OUTPUT[:1, :3].expand(len(votes), 3)
    loss = DirichletMultinomialLikelihood((3,), "none")(output, torch.tensor(votes))
    np.testing.assert_allclose(torch.exp(-loss).sum(), 1)


def test_expected_fractions_are_the_softmax():
    alpha = DirichletMultinomialLikelihood().concentration(OUTPUT).numpy()
    fraction = alpha / alpha.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fraction, softmax(OUTPUT.numpy(), axis=1))


@pytest.mark.parametrize("nothing", [0.0, torch.nan])
def test_questions_without_votes_count_for_nothing(nothing):
    votes = VOTES.clone()
    votes[[0, 3], 3:5] = nothing
    output = OUTPUT.clone().requires_grad_()
    loss = DirichletMultinomialLikelihood(QUESTIONS, "none")(output, votes)
    loss.sum().backward()
    assert (loss[[0, 3], 1] == 0).all()
    assert (output.grad[[0, 3], 3:5] == 0).all()
    others = torch.ones(7, 3, dtype=torch.bool)
    others[[0, 3], 1] = False
    expected = torch.from_numpy(reference(OUTPUT.numpy(), VOTES.numpy()))
    torch.testing.assert_close(loss[others], expected[others])


def test_gradients():
    loss = DirichletMultinomialLikelihood(QUESTIONS)
    torch.autograd.gradcheck(lambda x: loss(x, VOTES), OUTPUT.clone().requires_grad_())


def test_fractions_of_votes_lie_between_whole_ones():
    loss = DirichletMultinomialLikelihood((2,))
    losses = [loss(OUTPUT[:1, :2], torch.tensor([[k, 9.0]])) for k in (3, 3.5, 4)]
    assert min(losses[0], losses[2]) < losses[1] < max(losses[0], losses[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_many_votes_in_short_formats(dtype, size):
    output = (OUTPUT + 5).to(dtype)
    votes = (VOTES * size).to(torch.float32)
    expected = reference(output.double().numpy(), votes.double().numpy())
    output.requires_grad_()
    loss = DirichletMultinomialLikelihood(QUESTIONS, "none")(output, votes)
    assert loss.dtype == torch.float32
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-6)
    loss.sum().backward()
    double = output.detach().double().requires_grad_()
    DirichletMultinomialLikelihood(QUESTIONS, "sum")(double, votes).backward()
    rtol = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(output.grad.double(), double.grad, rtol=rtol, atol=1e-4)


def test_extreme_outputs_have_finite_losses_and_gradients():
    output = torch.tensor([[1e30, -1e30], [-50.0, -60.0]], requires_grad=True)
    loss = DirichletMultinomialLikelihood()(output, torch.tensor([[0.0, 9], [7, 2]]))
    loss.backward()
    assert loss.isfinite()
    assert output.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"reduction": "median"}, ValueError, "reduction must be one of"),
        ({"questions": {"edge": "yes"}}, TypeError, "the list of answers"),
        ({"questions": {"edge": ["yes"]}}, ValueError, "'edge' has 1 answers"),
        ({"questions": {}}, ValueError, "is empty"),
        ({"questions": ()}, ValueError, "is empty"),
        ({"questions": (2, 1)}, ValueError, "at least 2"),
        ({"questions": 3}, TypeError, "sequence of integers"),
    ],
)
def test_refusals(settings, error, message):
    with pytest.raises(error, match=message):
        DirichletMultinomialLikelihood(**settings)


def test_other_numbers_of_columns_are_refused():
    with pytest.raises(ValueError, match=r"8 columns of votes for answers \(3, 2, 4\)"):
        DirichletMultinomialLikelihood(QUESTIONS)(OUTPUT[:, :8], VOTES[:, :8])
    with pytest.raises(ValueError, match="1 columns of votes for one question"):
        DirichletMultinomialLikelihood()(OUTPUT[:, :1], VOTES[:, :1])
