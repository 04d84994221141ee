# SPDX-License-Identifier: BSD-3-Clause
"""Schedules against what can be computed by hand."""

import copy
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import clone
from skorch.callbacks import Callback

from skastro import SpectrumClassifier
from skastro.training import SCHEDULES, CosineCycles, Steps


def test_one_cosine_fills_the_training():
    schedule = CosineCycles()
    progress = np.linspace(0, 1, 11)
    expected = (1 + np.cos(np.pi * progress)) / 2
    np.testing.assert_allclose([schedule(p) for p in progress], expected, atol=1e-15)


def test_cycles_behind_the_warm_up():
    """4 epochs of 50 from 1e-5 to 1e-3, 45 down to 1e-6, and one epoch there."""
    schedule = CosineCycles(warm_up=4 / 50, length=45 / 50, start=1e-2, end=1e-3)
    rate = [1e-3 * schedule(epoch / 50) for epoch in range(51)]
    np.testing.assert_allclose(rate[:5], np.linspace(1e-5, 1e-3, 5))
    assert max(rate) == rate[4]
    np.testing.assert_allclose(rate[4 + 15], 1e-6 + (1e-3 - 1e-6) * 0.75)
    np.testing.assert_allclose(rate[4 + 30], 1e-6 + (1e-3 - 1e-6) * 0.25)
    np.testing.assert_allclose(rate[49:], 1e-6)


def test_overlapping_warm_up_meets_the_cosine():
    """Two cycles of 25 epochs, the second half as high, the first 4 epochs warm-up."""
    schedule = CosineCycles(
        n_cycles=2, decay=0.5, warm_up=4 / 50, overlap=True, start=0.01, end=0.001
    )

    def cosine(height, epoch):
        fall = (1 + math.cos(math.pi * epoch / 25)) / 2
        return 0.001 + (height - 0.001) * fall

    at_4 = cosine(1.0, 4)
    for epoch in (0, 1, 2.5, 4):
        expected = 0.01 + (at_4 - 0.01) * epoch / 4
        assert schedule(epoch / 50) == pytest.approx(expected)
    for epoch in (4.01, 12.5, 20, 24.99):
        assert schedule(epoch / 50) == pytest.approx(cosine(1.0, epoch))
    for epoch in (25.01, 37.5, 49, 50):
        assert schedule(epoch / 50) == pytest.approx(cosine(0.5, epoch - 25))
    # The step that ends the first cycle belongs to it.
    assert schedule(0.5) == pytest.approx(0.001)
    assert schedule(0.5 + 1e-9) == pytest.approx(0.5)


def test_steps_change_behind_their_moments():
    schedule = Steps(at=(10 / 60, 30 / 60, 50 / 60), factor=0.1)
    batches = 7
    for epoch, expected in enumerate([1] * 10 + [0.1] * 20 + [0.01] * 20 + [1e-3] * 10):
        for batch in (1, batches):
            done = epoch * batches + batch
            assert schedule(done / (60 * batches)) == pytest.approx(expected)
    assert Steps([])(0.7) == 1.0


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_names_stay_between_zero_and_one(name):
    factors = [SCHEDULES[name](p) for p in np.linspace(0.01, 1, 100)]
    assert max(factors) == pytest.approx(1.0)
    assert min(factors) >= 0
    assert factors[-1] < 0.02


@pytest.mark.parametrize(
    "schedule", [CosineCycles(3, decay=0.7, warm_up=0.1), Steps([0.2, 0.4], factor=0.5)]
)
def test_schedules_are_parameters(schedule):
    """Equal when copied, so that clones and pickles of an estimator are equal too."""
    for same in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert same == schedule
        assert hash(same) == hash(schedule)
    names = {"CosineCycles": CosineCycles, "Steps": Steps}
    assert eval(repr(schedule), names) == schedule
    clf = SpectrumClassifier(schedule=schedule)
    assert clone(clf).schedule == schedule
    assert repr(schedule) in repr(clf).replace("\n", "").replace(" " * 19, "")


def test_steps_are_seen_in_the_history():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 12)).astype(np.float32), np.arange(40) % 2
    clf = SpectrumClassifier(
        "mlp",
        lr=0.5,
        max_epochs=6,
        schedule=Steps([2 / 6, 4 / 6]),
        batch_size=9,
        sampler="balanced",
        verbose=0,
        device="cpu",
        random_state=0,
    ).fit(X, y)
    expected = np.repeat([0.5, 0.05, 0.005], 2)
    np.testing.assert_allclose(clf.history[:, "lr"], expected)


class Stop(Callback):
    """An error at the end of the fourth epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 4:
            raise RuntimeError("stop")


def test_an_error_does_not_leave_its_rate_to_the_next_training():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 12)).astype(np.float32), np.arange(24) % 2
    settings = {"max_epochs": 4, "batch_size": 4, "verbose": 0, "device": "cpu"}
    clf = SpectrumClassifier(
        "mlp", lr=0.1, callbacks=[Stop()], schedule=Steps([0.5, 0.9]), **settings
    )
    with pytest.raises(RuntimeError, match="stop"):
        clf.fit(X, y)
    for go_on, first in (
        (pickle.loads(pickle.dumps(clf)), 0.1),
        (copy.deepcopy(clf).set_params(lr=0.2), 0.2),
    ):
        go_on.partial_fit(X, y)
        np.testing.assert_allclose(go_on.history[4:, "lr"][:2], first)
        np.testing.assert_allclose(go_on.optimizer_.param_groups[0]["lr"], first)


@dataclass
class Halved:
    """A schedule that cannot be hashed, as data classes cannot."""

    factor: float = 0.5

    def __call__(self, progress):
        return self.factor


def test_any_callable_is_a_schedule():
    rates = []

    class Recorder(Callback):
        def on_grad_computed(self, net, *args, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    X, y = np.ones((8, 5), np.float32), np.arange(8) % 2
    SpectrumClassifier(
        "mlp",
        lr=0.5,
        max_epochs=1,
        schedule=Halved(),
        callbacks=[Recorder()],
        verbose=0,
        device="cpu",
    ).fit(X, y)
    assert rates == [0.25]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CosineCycles(0), ValueError, "n_cycles must be at least 1"),
        (lambda: CosineCycles(1.5), TypeError, "n_cycles must be an integer"),
        (lambda: CosineCycles(warm_up=4), ValueError, "warm_up .* divide epochs by"),
        (lambda: CosineCycles(warm_up="4"), TypeError, "warm_up must be a number"),
        (
            lambda: CosineCycles(decay=-1),
            ValueError,
            "decay must be at least 0; got",
        ),
        (
            lambda: CosineCycles(end=math.inf),
            ValueError,
            "end must be at least 0 and finite",
        ),
        (
            lambda: CosineCycles(2, warm_up=0.2, length=0.5),
            ValueError,
            "The 2 cycles of length=0.5 from 0.2 on must lie within",
        ),
        (lambda: CosineCycles(length=0), ValueError, "must lie within"),
        (lambda: Steps([10, 30]), ValueError, "each of at must be a part"),
        (lambda: Steps([0.5, 0.2]), ValueError, "at must be ascending"),
        (lambda: Steps([0.5], factor=None), TypeError, "factor must be a number"),
    ],
)
def test_bad_settings_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
