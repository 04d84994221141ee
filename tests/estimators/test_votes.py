# SPDX-License-Identifier: BSD-3-Clause
"""GalaxyRegressor of votes: distributions that are known, and all that nets can do."""

import pickle
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import betabinom, dirichlet, dirichlet_multinomial
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer
from skorch.dataset import Dataset
from torch import nn

from skastro import (
    EnsembleRegressor,
    GalaxyRegressor,
    Pipeline,
    load_model,
    save_model,
)
from skastro.estimators._votes import count_quantiles, fit_scales
from skastro.inspection import MeasurementDisplay, vote_coverage
from skastro.training import DirichletMultinomialLikelihood

pytestmark = pytest.mark.once

QUESTIONS = {"smooth": ["yes", "no"], "arms": ["one", "two", "more"]}
SIZES = (2, 3)

votes_net = partial(
    GalaxyRegressor,
    criterion=DirichletMultinomialLikelihood,
    criterion__questions=QUESTIONS,
    verbose=0,
    random_state=0,
    device="cpu",
)
tiny = partial(votes_net, "mlp", module__hidden=(16,), max_epochs=6, lr=1e-2)


class Constant(nn.Module):
    """A network that gives the same for each image."""

    def __init__(self, n_outputs, value=0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.full((n_outputs,), value))

    def forward(self, x):
        """Repeat the bias."""
        return self.bias.expand(len(x), -1)


class Given(nn.Module):
    """A network that gives the image itself, but for a factor of one."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        """Flatten the image."""
        return self.factor * x.flatten(1)


def draw(alpha, n_votes, seed=0):
    """Draw counts of the votes on one question of concentrations (n, n_answers)."""
    rng = np.random.default_rng(seed)
    p = rng.gamma(alpha)
    return rng.multinomial(n_votes, p / p.sum(axis=1, keepdims=True))


def clone_of(net):
    """Copy a fitted net."""
    return pickle.loads(pickle.dumps(net))


@pytest.fixture(scope="module")
def galaxies():
    """Make images whose brightness tells how many call them smooth."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=240)
    images = rng.normal(scale=0.3, size=(240, 6, 5, 1)) + x[:, None, None, None]
    smooth = draw(np.column_stack([8 * x + 0.5, 8 * (1 - x) + 0.5]), 30)
    p = np.column_stack([0.2 + 0.6 * x, 0.3 - 0.2 * x, 0.5 - 0.4 * x])
    # Asked of those who do not call it smooth.
    arms = rng.multinomial(smooth[:, 1], p)
    return images.astype(np.float32), np.hstack([smooth, arms])


@pytest.fixture(scope="module")
def fitted(galaxies):
    X, y = galaxies
    return tiny(max_epochs=15, batch_size=16).fit(X[:180], y[:180])


# Distributions ------------------------------------------------------------------------


def test_the_most_probable_concentrations():
    alpha = np.array([0.6, 2.0, 5.0])
    counts = draw(np.tile(alpha, (300, 1)), 25)

    def loss(log_alpha):
        return -dirichlet_multinomial.logpmf(counts, np.exp(log_alpha), 25).sum()

    expected = np.exp(minimize(loss, np.zeros(3), method="BFGS").x)
    reg = votes_net(
        Constant,
        criterion__questions=None,
        train_split=None,
        batch_size=-1,
        lr=0.1,
        optimizer__weight_decay=0,
        # Gradients become much smaller than the first ones.
        optimizer__betas=(0.9, 0.9),
        max_epochs=120,
    )
    X = np.zeros((300, 4, 4, 1), np.float32)
    found = reg.fit(X, counts).predict_distribution(X[:2])
    np.testing.assert_allclose(found, np.tile(expected, (2, 1)), rtol=0.03)
    np.testing.assert_allclose(expected, alpha, rtol=0.25)


def test_fractions_and_their_widths(galaxies, fitted):
    X, _ = galaxies
    alpha = fitted.predict_distribution(X[180:])
    assert alpha.shape == (60, 5)
    fraction, std = fitted.predict(X[180:], return_std=True)
    np.testing.assert_array_equal(fitted.predict(X[180:]), fraction)
    for part in (slice(0, 2), slice(2, 5)):
        np.testing.assert_allclose(fraction[:, part].sum(axis=1), 1, rtol=1e-6)
        for row in (0, 7):
            known = dirichlet(alpha[row, part])
            np.testing.assert_allclose(fraction[row, part], known.mean(), rtol=1e-5)
            variance = std[row, part] ** 2
            np.testing.assert_allclose(variance, known.var(), rtol=1e-5)


def test_intervals_are_quantiles_of_scipy(galaxies, fitted):
    X, _ = galaxies
    alpha = fitted.predict_distribution(X[:4])
    total = np.repeat(
        np.column_stack([alpha[:, :2].sum(1), alpha[:, 2:].sum(1)]), SIZES, axis=1
    )
    by_question = np.array([[40, 3], [0, 5], [7, 0], [1, 1]])
    for n_votes in (25, [40, 30, 1, 0], by_question):
        n = np.asarray(n_votes)
        n = n[:, None] if n.ndim == 1 else n
        n = np.repeat(np.broadcast_to(n, (4, 2)), SIZES, axis=1)
        for coverage in (0.5, 0.9):
            low, high = fitted.predict_interval(X[:4], n_votes, coverage)
            tails = [(1 - coverage) / 2, (1 + coverage) / 2]
            expected = [betabinom.ppf(q, n, alpha, total - alpha) for q in tails]
            np.testing.assert_array_equal(low, expected[0])
            np.testing.assert_array_equal(high, expected[1])


def test_quantiles_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.3, 9, size=(2, 7, 3))
    n = rng.integers(0, 50, size=(7, 3))
    whole = count_quantiles(a, b, n, 0.05, 0.5)
    monkeypatch.setattr("skastro.estimators._votes._BLOCK", 120)
    np.testing.assert_array_equal(count_quantiles(a, b, n, 0.05, 0.5), whole)
    assert whole[0].shape == (7, 3)


def test_validation_samples_set_the_width():
    rng = np.random.default_rng(0)
    alpha = rng.uniform(0.5, 3, size=(400, 2, 2))
    counts = draw(alpha.reshape(400, 4)[:, :2], 40)
    counts = np.hstack([counts, draw(alpha.reshape(400, 4)[:, 2:], 40, seed=1)])
    # The network is eight times too sure of the first question.
    X = np.log(alpha * np.array([[8.0], [1.0]])).astype(np.float32)[..., None]
    reg = votes_net(
        Given,
        criterion__questions=(2, 2),
        channel_axis=-1,
        train_split=0.5,
        lr=1e-12,
        max_epochs=1,
        normalization=None,
    )
    reg.fit(X, counts)
    np.testing.assert_allclose(reg.concentration_scale_, [1 / 8, 1], rtol=0.2)
    covered = vote_coverage(counts, reg.predict_distribution(X), (2, 2))
    np.testing.assert_allclose(covered, 0.9, atol=0.03)
    sure = clone(reg).set_params(calibrate=False).fit(X, counts)
    assert not hasattr(sure, "concentration_scale_")
    assert vote_coverage(counts, sure.predict_distribution(X), (2, 2))[0] < 0.7
    for call in (
        partial(sure.predict_interval, n_votes=5),
        partial(sure.predict, return_std=True),
    ):
        with pytest.warns(UserWarning, match="of the training samples"):
            call(X)
    np.testing.assert_allclose(sure.predict(X), reg.predict(X), rtol=1e-6)


def test_questions_of_few_validation_samples_keep_their_width(galaxies):
    X, y = galaxies
    y = y.astype(float)
    y[5:, 2:] = 0
    reg = tiny(train_split=0.5).fit(X, y)
    assert reg.concentration_scale_[0] != 1
    assert reg.concentration_scale_[1] == 1


def test_score_of_known_predictions(galaxies, fitted):
    X, y = galaxies
    X, y = X[180:], y[180:]
    found = fitted.predict(X).astype(float)
    scores = []
    for part in (slice(0, 2), slice(2, 5)):
        n = y[:, part].sum(axis=1)
        k, p, n = y[n > 0, part], found[n > 0, part], n[n > 0, None]
        true = k / n
        mean = (n * true).sum(axis=0) / n.sum()
        off, scatter = (n * (true - p) ** 2).sum(), (n * (true - mean) ** 2).sum()
        scores.append(1 - off / scatter)
    assert np.isclose(fitted.score(X, y), np.mean(scores))
    assert scores[0] > 0.5
    # NaN stands for no votes.
    gone = y.astype(float)
    gone[:, 2:] = np.nan
    assert np.isclose(fitted.score(X, gone), scores[0])
    weight = np.repeat([1.0, 0.0], 30)
    expected = fitted.score(X[:30], y[:30])
    assert np.isclose(fitted.score(X, y, sample_weight=weight), expected)


def test_questions_that_were_not_asked_teach_nothing(galaxies):
    X, y = galaxies
    y = y.astype(float)
    zero, nan = y.copy(), y.copy()
    zero[::3, 2:], nan[::3, 2:] = 0, np.nan
    expected = tiny(max_epochs=2).fit(X, zero).predict_distribution(X)
    found = tiny(max_epochs=2).fit(X, nan).predict_distribution(X)
    np.testing.assert_array_equal(found, expected)


def test_width_by_weighted_validation_samples():
    rng = np.random.default_rng(0)
    alpha = rng.uniform(0.5, 3, size=(600, 2))
    # Samples of weight 0.01 scatter as four times the concentrations.
    wide = np.arange(600) % 2 == 0
    counts = draw(np.where(wide[:, None], alpha, 4 * alpha), 40)
    weight = torch.tensor(np.where(wide, 1.0, 0.01))
    alpha, counts = torch.tensor(alpha), torch.tensor(counts).double()
    plain, _ = fit_scales(alpha, counts, (2,))
    weighted, _ = fit_scales(alpha, counts, (2,), weight)
    only, _ = fit_scales(alpha[::2], counts[::2], (2,))
    assert weighted == pytest.approx(only, rel=0.06)
    assert weighted == pytest.approx([1.0], rel=0.2)
    assert plain[0] > 1.4


def test_weights_reach_the_calibration():
    rng = np.random.default_rng(0)
    alpha = rng.uniform(0.5, 3, size=(400, 2))
    wide = np.arange(400) % 4 < 2
    counts = draw(np.where(wide[:, None], alpha, 4 * alpha), 40)
    reg = votes_net(
        Given,
        criterion__questions=(2,),
        channel_axis=-1,
        train_split=0.5,
        lr=1e-12,
        max_epochs=1,
        normalization=None,
    )
    X = np.log(alpha).astype(np.float32)[:, :, None, None]
    scale = reg.fit(X, counts).concentration_scale_[0]
    reg.fit(X, counts, sample_weight=np.where(wide, 1.0, 0.01))
    assert reg.concentration_scale_[0] < 0.8 * scale


def test_widths_that_no_factor_reaches():
    rng = np.random.default_rng(0)
    alpha = rng.uniform(1, 3, size=(300, 2))
    counts = torch.tensor(draw(alpha, 60)).double()
    scale, is_least = fit_scales(torch.tensor(alpha * 20), counts, (2,))
    assert scale == pytest.approx([1 / 20], rel=0.2)
    assert not is_least
    reg = votes_net(
        Given,
        criterion__questions={"smooth": ["yes", "no"]},
        channel_axis=-1,
        train_split=0.5,
        lr=1e-12,
        max_epochs=1,
        normalization=None,
    )
    X = np.log(400 * alpha).astype(np.float32)[:, :, None, None]
    with pytest.warns(
        UserWarning, match=r"on the questions \['smooth'\]: their widths"
    ):
        reg.fit(X, counts.numpy())


def test_single_votes_tell_nothing_of_the_width():
    alpha = torch.tensor([[3.0, 1.0]]).double().expand(20, 2)
    counts = torch.eye(2).repeat(10, 1).double()
    assert fit_scales(alpha, counts, (2,))[0] == 1


# What nets can do ---------------------------------------------------------------------


def test_clones_pickles_and_files(galaxies, fitted, tmp_path):
    X, _ = galaxies
    expected = fitted.predict_distribution(X)
    assert clone(fitted).get_params()["criterion__questions"] == QUESTIONS
    loaded = clone_of(fitted)
    np.testing.assert_array_equal(loaded.predict_distribution(X), expected)
    save_model(fitted, tmp_path / "votes.skastro")
    loaded = load_model(tmp_path / "votes.skastro")
    np.testing.assert_array_equal(loaded.predict_distribution(X), expected)
    low, high = loaded.predict_interval(X[:3], 10)
    assert (low <= high).all()
    fitted.save_params(f_params=tmp_path / "votes.pt")
    loaded = tiny()
    loaded.load_params(f_params=tmp_path / "votes.pt")
    np.testing.assert_array_equal(loaded.predict_distribution(X), expected)


def test_pipelines_and_searches(galaxies):
    X, y = galaxies
    pipe = Pipeline([("scale", FunctionTransformer()), ("net", tiny(max_epochs=2))])
    search = GridSearchCV(tiny(), {"lr": [1e-2, 1e-7], "calibrate": [True]}, cv=2)
    assert search.fit(X, y).best_params_["lr"] == 1e-2
    pipe.set_params(net__image_shape=(6, 5)).fit(X.reshape(240, -1), y)
    fraction = pipe.predict(X.reshape(240, -1))
    np.testing.assert_allclose(fraction[:, :2].sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(pipe.score(X.reshape(240, -1), y))


def test_training_goes_on(galaxies):
    X, y = galaxies
    reg = tiny(max_epochs=2).fit(X, y)
    before = reg.score(X, y)
    reg.partial_fit(X, y).partial_fit(X, y)
    assert reg.score(X, y) > before
    with pytest.raises(ValueError, match="targets of shape"):
        reg.partial_fit(X, y[:, :4])
    with pytest.raises(ValueError, match=r"fitted on questions of \(2, 3\)"):
        clone_of(reg).set_params(criterion__questions=(3, 2)).partial_fit(X, y)
    # Later samples may have no votes on a question.
    few = np.where([True, True, False, False, False], y, 0)
    reg.set_params(warm_start=True).fit(X, few)


def test_weights_of_samples(galaxies):
    X, y = galaxies
    other = y.copy()
    other[::2, :2] = other[::2, 1::-1]
    weight = np.tile([0.0, 1.0], 120)
    found = tiny().fit(X, other, sample_weight=weight).predict(X)
    np.testing.assert_array_equal(found, tiny().fit(X[1::2], y[1::2]).predict(X))
    weight = np.tile([0.5, 1.0], 120)
    assert np.isfinite(tiny().fit(X, y, sample_weight=weight).score(X, y))


def test_data_sets(galaxies):
    X, y = galaxies
    reg = tiny().fit(Dataset(X, y.astype(np.float32)), y=None)
    assert reg.question_sizes_ == SIZES
    assert reg.score(X, y) > 0


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y / y.max(), "fractions for the question 'smooth'"),
        (lambda y: with_value(y, 3, 1, np.nan), "some of the answers to .* 'smooth'"),
        (lambda y: with_value(y, 3, 1, -1), "negative numbers, in rows 3"),
        (lambda y: with_value(y, 3, 1, np.inf), "infinit"),
    ],
    ids=["fractions", "partial", "negative", "infinite"],
)
def test_data_sets_of_other_than_votes(galaxies, change, message, is_plain):
    X, y = galaxies
    data = Dataset(X, change(y).astype(np.float32))
    if not is_plain:
        data = [data[row] for row in range(len(data))]
        data = torch.utils.data.Subset(data, range(len(data)))
    with pytest.raises(ValueError, match=message):
        tiny().fit(data, y=None)


ORDERS = {
    "answers": ["yes", "no", "one", "two", "more"],
    "questions": ["smooth_yes", "smooth_no", "arms_one", "arms_two", "arms_more"],
    "table": [f"{q}_{a}_count" for q, answers in QUESTIONS.items() for a in answers],
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_columns_in_another_order(galaxies, fitted, names):
    X, y = galaxies
    frame = pd.DataFrame(y, columns=names)
    assert fitted.score(X, frame) == fitted.score(X, y)
    other = frame[[*names[2:], *names[:2]]]
    match = f"column '{names[2]}' where the answer 'yes' to 'smooth' should be"
    with pytest.raises(ValueError, match=match):
        tiny().fit(X, other)
    with pytest.raises(ValueError, match=match):
        fitted.score(X, other)
    # Other names tell nothing.
    frame.columns = [f"column {name}" for name in names[::-1]]
    assert fitted.score(X, frame) == fitted.score(X, y)


def test_questions_as_pairs(galaxies, fitted):
    X, y = galaxies
    reg = tiny(max_epochs=15, batch_size=16, criterion__questions=[*QUESTIONS.items()])
    # The text keeps the order, in which scikit-learn sorts the names of a dict.
    assert repr(reg).index("'smooth'") < repr(reg).index("'arms'")
    reg = clone(reg).fit(X[:180], y[:180])
    np.testing.assert_array_equal(reg.predict(X), fitted.predict(X))
    alpha = reg.predict_distribution(X)
    np.testing.assert_array_equal(
        vote_coverage(y, alpha, [*QUESTIONS.items()]), vote_coverage(y, alpha, SIZES)
    )
    twice = [("smooth", ["yes", "no"])] * 2
    with pytest.raises(ValueError, match="different names"):
        DirichletMultinomialLikelihood(twice)


def test_another_criterion_again(galaxies):
    X, y = galaxies
    reg = tiny(max_epochs=1)
    reg.set_params(criterion=nn.MSELoss, criterion__questions=None).fit(X, y)
    assert not hasattr(reg, "question_sizes_")


def test_averages_over_orientations(galaxies, fitted):
    X, _ = galaxies
    reg = clone_of(fitted).set_params(tta=True)
    alpha = reg.predict_distribution(X)
    turned = reg.predict_distribution(X[:, ::-1, ::-1])
    np.testing.assert_allclose(turned, alpha, rtol=1e-4)
    views = [X[:9], X[:9, ::-1], X[:9, :, ::-1], X[:9, ::-1, ::-1]]
    logs = [np.log(fitted.predict_distribution(view)) for view in views]
    np.testing.assert_allclose(alpha[:9], np.exp(np.mean(logs, axis=0)), rtol=1e-4)
    assert not np.allclose(logs[0], logs[-1])


def test_streams_and_displays(galaxies, fitted, tmp_path):
    X, y = galaxies
    out = fitted.predict_stream(
        X, out=tmp_path / "votes.h5", return_std=True, verbose=0
    )
    fraction, std = fitted.predict(X, return_std=True)
    with h5py.File(out) as file:
        np.testing.assert_allclose(file["predict"][:], fraction, rtol=1e-5)
        np.testing.assert_allclose(file["predict_std"][:], std, rtol=1e-5)
    true = y[:, :2] / y[:, :2].sum(axis=1, keepdims=True)
    display = MeasurementDisplay.from_predictions(true, fraction[:, :2], std=std[:, :2])
    assert display.coverage.shape == (2,)


def test_ensembles(galaxies):
    X, y = galaxies
    reg = EnsembleRegressor(tiny(), n_estimators=2, random_state=0).fit(
        X[:180], y[:180]
    )
    fraction, std = reg.predict(X[180:], return_std=True)
    np.testing.assert_allclose(fraction[:, 2:].sum(axis=1), 1, rtol=1e-5)
    assert (std > 0).all()
    scores = [member.score(X[180:], y[180:]) for member in reg.estimators_]
    assert reg.score(X[180:], y[180:]) > min(scores)


@pytest.mark.parametrize("tta", [False, True])
def test_graphs(galaxies, fitted, tta, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from skastro.export import to_onnx

    X, _ = galaxies
    reg = clone_of(fitted).set_params(tta=tta)
    model = to_onnx(reg, tmp_path / "votes.onnx", X)
    for found, expected in zip(
        model.predict(X, return_std=True), reg.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_predictions_have_the_format_of_the_counts(galaxies):
    X, y = galaxies
    for dtype, expected in (
        (np.int64, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ):
        reg = tiny(max_epochs=1).fit(X, y.astype(dtype))
        assert reg.predict(X).dtype == expected


# Refusals -----------------------------------------------------------------------------


def with_value(y, row, column, value):
    y = y.astype(float)
    y[row, column] = value
    return y


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: with_value(y, 3, 1, -1), "negative numbers, in rows 3, but votes"),
        (lambda y: with_value(y, 3, 1, np.inf), "infinit"),
        (lambda y: with_value(y, 3, 1, np.nan), "some of the answers to .* 'smooth'"),
        (lambda y: y[:, :4], r"4 columns of votes for answers \(2, 3\)"),
        (lambda y: y[:, 0], "one column for each answer"),
        (lambda y: with_value(y, slice(None), slice(2, 5), 0), r"questions \['arms'\]"),
        (
            lambda y: with_value(y, slice(None), slice(2, 5), np.nan),
            r"no votes on the questions \['arms'\]",
        ),
        (lambda y: y / y.max(), "fractions for the question 'smooth'"),
        (
            lambda y: np.hstack([y[:, :2], y[:, 2:] / 99]),
            "fractions for the question 'arms'",
        ),
        (
            lambda y: np.where(y == y.max(), 1.0000001, y / y.max()),
            "fractions for the question 'smooth'",
        ),
        (
            lambda y: np.hstack([100 / 3 * np.ones((len(y), 1)) * [1, 2], y[:, 2:]]),
            "percentages for the question 'smooth'",
        ),
    ],
    ids=[
        *("negative", "infinite", "partial", "columns", "one axis", "no votes"),
        *("not asked", "fractions", "some fractions", "rounded", "percentages"),
    ],
)
def test_targets_that_are_no_counts(galaxies, change, message):
    X, y = galaxies
    reg = tiny()
    with pytest.raises(ValueError, match=message):
        reg.fit(X, change(y))
    assert not hasattr(reg, "question_sizes_")


def test_counts_may_be_weighted(galaxies):
    X, y = galaxies
    reg = tiny(max_epochs=1).fit(X, 0.97 * y)
    assert np.isfinite(reg.score(X, 0.97 * y))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "whole numbers"),
        ((2.5,), "whole numbers"),
        ((np.nan,), "whole numbers"),
        ((np.inf,), "whole numbers from 0 to 1000000"),
        (([1, 2, 3],), r"shape \(3,\)"),
        ((10, 1.5), "coverage must be"),
    ],
)
def test_intervals_of_impossible_numbers(galaxies, fitted, arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict_interval(galaxies[0], *arguments)


def test_scores_of_other_targets_are_refused(galaxies, fitted):
    X, y = galaxies
    with pytest.raises(ValueError, match="counts of all answers"):
        fitted.score(X, y[:, :4])
    with pytest.raises(ValueError, match="negative"):
        fitted.score(X, -y)
    with pytest.raises(ValueError, match="votes on two samples"):
        fitted.score(X, 0 * y)
    with pytest.raises(ValueError, match=r"NaN for the others, in rows 3\."):
        fitted.score(X, with_value(y, 3, 1, np.nan))


def test_losses_that_are_not_one_number(galaxies):
    with pytest.raises(ValueError, match=r"reduction='none' .* choose 'mean' or 'sum'"):
        tiny(criterion__reduction="none").fit(*galaxies)


def test_outputs_that_do_not_match_the_answers(galaxies):
    X, y = galaxies
    with pytest.raises(ValueError, match="one output a target"):
        votes_net(nn.Sequential(nn.Flatten(), nn.Linear(30, 4)), max_epochs=1).fit(X, y)


def test_other_criteria_know_no_votes(galaxies):
    X, y = galaxies
    reg = GalaxyRegressor("mlp", max_epochs=1, verbose=0, random_state=0).fit(X, y)
    assert not hasattr(reg, "predict_distribution")
    assert not hasattr(reg, "predict_interval")
    assert not hasattr(reg, "concentration_scale_")
    with pytest.raises(ValueError, match="DirichletMultinomialLikelihood"):
        reg.predict(X, return_std=True)
    assert reg.predict(X).shape == y.shape


def test_not_fitted(galaxies):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        tiny().predict_distribution(galaxies[0])
