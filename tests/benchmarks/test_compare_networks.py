# SPDX-License-Identifier: BSD-3-Clause
"""The comparison of networks, on few spectra."""

import numpy as np
import pytest

pytestmark = pytest.mark.once

QUICK = ["--epochs", "1", "--device", "cpu", "--proportions", "2", "1", "1"]


@pytest.fixture
def job():
    from benchmarks import compare_networks

    return compare_networks


def test_simulated_survey(job, capsys):
    found = job.main([*QUICK, "--simulate", "40", "--n-pixels", "300"])
    printed = capsys.readouterr().out
    assert "30 spectra to train on, 10 kept apart" in printed
    assert [name for _, name in found] == ["full", "densenet", "dbn", "mlp"]
    for scores, counts in found.values():
        assert counts.sum() == 10
        right = np.diag(counts)
        precision = right / np.maximum(counts.sum(axis=0), 1)
        recall = right / counts.sum(axis=1)
        f1 = 2 * right / (counts.sum(axis=0) + counts.sum(axis=1))
        np.testing.assert_allclose(scores[:-1], np.stack([precision, recall, f1], 1))
        np.testing.assert_allclose(scores[-1], scores[:-1].mean(axis=0))
        assert f"{scores[-1, 2]:9.4f}" in printed


def test_real_spectra(job, data_dir, capsys):
    path = str(data_dir / "spectra.fits")
    small = ["--n-spectra", "60", "--rows", "mlp", "--robust", "--test-size", "0.5"]
    found = job.main([*QUICK, *small, "--train", path])
    assert "30 spectra to train on, 30 kept apart" in capsys.readouterr().out
    assert list(found) == [("spectra.fits", "mlp")]


def test_small_survey_without_options(job):
    options = job.parse_arguments([])
    assert options.simulate == 2000
    assert options.train is None
    assert options.epochs == 60


def test_large_classes_are_thinned_out_in_training_alone(job):
    target = np.repeat(["GALAXY", "QSO", "STAR"], [3, 9, 40])
    flux = np.random.default_rng(0).normal(size=(52, 20)).astype(np.float32)
    options = job.parse_arguments(["--at-most", "5"])
    pipe = job.make_pipeline("wang2020-mlp", target, options)
    _, resampled = pipe[1].fit_resample(flux, target)
    assert np.unique(resampled, return_counts=True)[1].tolist() == [3, 5, 5]
    everything = job.make_pipeline("wang2020-mlp", target, job.parse_arguments([]))
    _, resampled = everything[1].fit_resample(flux, target)
    assert len(resampled) == 52
