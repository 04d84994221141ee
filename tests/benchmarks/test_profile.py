# SPDX-License-Identifier: BSD-3-Clause
"""Timers attribute all of a call's time, and leave the estimators as they were."""

import numpy as np
import pytest

from skastro import SpectrumClassifier

pytestmark = pytest.mark.once


class Clock:
    """A clock that moves only when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


def test_parts_exclude_what_they_call():
    from benchmarks.timers import Timers

    clock = Clock()
    timers = Timers(clock)

    def outer():
        clock.wait(1)
        timers.call("inner", False, clock.wait, 10)
        timers.call("closed", True, closed)
        clock.wait(2)

    def closed():
        timers.call("inner", False, clock.wait, 100)
        clock.wait(200)

    timers.call("outer", False, outer)
    assert timers.seconds == {"outer": 3, "inner": 10, "closed": 300}


def test_a_part_that_fails_is_closed():
    from benchmarks.timers import Timers

    clock = Clock()
    timers = Timers(clock)

    def fail():
        clock.wait(1)
        raise OSError("on purpose")

    for absorbs in (True, False):
        with pytest.raises(OSError, match="on purpose"):
            timers.call("failing", absorbs, fail)
    timers.call("next", False, clock.wait, 5)
    assert timers.seconds == {"failing": 2, "next": 5}


def test_training_with_timers_is_the_same_training():
    import time

    from benchmarks.timers import METHODS, Timers

    rng = np.random.default_rng(0)
    X = rng.standard_normal((48, 40)).astype(np.float32)
    y = np.arange(48) % 3
    settings = {"module": "mlp", "max_epochs": 2, "verbose": 0, "random_state": 0}
    plain = SpectrumClassifier(**settings).fit(X, y)
    methods = {
        (kind, name): vars(kind)[name]
        for name in METHODS
        for kind in SpectrumClassifier.__mro__
        if name in vars(kind)
    }
    assert {name for _, name in methods} == set(METHODS)
    timers = Timers(time.perf_counter)
    timed = SpectrumClassifier(**settings)
    start = time.perf_counter()
    with timers.attached(timed):
        timers.call("whole", False, timed.fit, X, y)
    elapsed = time.perf_counter() - start
    assert all(vars(kind)[name] is f for (kind, name), f in methods.items())
    assert timers.seconds.total() <= elapsed
    parts = {"whole", "network", "optimizer", "normalization", "augmentation"}
    parts |= {"batches", "validation", "checks, set-up", "after the last epoch"}
    assert parts <= set(timers.seconds)
    assert min(timers.seconds.values()) > 0
    np.testing.assert_array_equal(timed.predict_proba(X), plain.predict_proba(X))


def test_table_of_shares(monkeypatch, capsys):
    from benchmarks.profile import compare

    monkeypatch.delenv("SKASTRO_DATA", raising=False)
    names = ["tiny-64", "spectra", "predict-tiny", "sevi-1"]
    fits, predictions, _, notes = compare("cpu", 1, True, names)
    for table, header in (
        (fits, ["`fit`", "tiny-64"]),
        (predictions, ["`predict`", "predict-tiny", "sevi-1"]),
    ):
        rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in table]
        assert rows[0] == header
        shares = np.array([row[1:] for row in rows[2:]], float)
        np.testing.assert_allclose(shares.sum(axis=0), 100, atol=1.5)
        assert (shares >= 0).all()
    labels = [row.split("|")[1].strip() for row in [*fits, *predictions]]
    assert "network: convolution, matrix product" in labels
    assert "fit of the shells: convolution, matrix product" in labels
    assert [note.split(":")[0] for note in notes] == [f"- {name}" for name in names]
    assert "spectra: left out, KeyError('SKASTRO_DATA')" in notes[1]
