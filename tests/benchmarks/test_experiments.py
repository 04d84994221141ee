# SPDX-License-Identifier: BSD-3-Clause
"""Experiments give the same in all ways, and their table compares these."""

import numpy as np
import pytest

pytestmark = pytest.mark.once


def test_experiments_fit_as_often_as_they_say():
    from benchmarks.experiments import EXPERIMENTS, WAYS, load_spectra
    from skastro import SpectrumClassifier

    X, y, _ = load_spectra(quick=True)
    sizes = []

    class Counting(SpectrumClassifier):
        def fit(self, X, y=None, **fit_params):
            sizes.append(len(X))
            return super().fit(X, y, **fit_params)

    clf = Counting("mlp", max_epochs=1, verbose=0, random_state=0)
    for name, (_, n_fits, part) in EXPERIMENTS.items():
        sizes.clear()
        WAYS["one process"][name](clf, X, y)
        assert len(sizes) == n_fits
        assert np.mean(sizes) == pytest.approx(part * len(X))


def test_table_has_further_ways(monkeypatch):
    from benchmarks import experiments
    from benchmarks.experiments import WAYS, compare

    monkeypatch.setattr(experiments, "start_workers", lambda: (2.0, 1))
    calls = []
    one = WAYS["one process"]
    name = next(iter(one))
    ways = {
        "one process": {key: lambda clf, X, y: calls.append(len(X)) for key in one},
        "another": {name: lambda clf, X, y: calls.append(-len(X))},
    }
    table, notes = compare(2, True, 1, "cpu", ways)
    assert sorted(set(calls)) == [-60, 60]
    # Two rounds that count, and one to warm up.
    assert calls.count(-60) == 3
    rows = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table]
    expected = [[key, "one process"] for key in one]
    expected.insert(1, [name, "another"])
    assert [row[:2] for row in rows[2:]] == expected
    assert rows[2][4] == "1.00"
    assert "60 simulated spectra of 100 pixels, 1 epoch(s) a fit" in notes[0]
    assert "each of two workers 1." in notes[0]
