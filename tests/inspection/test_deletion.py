# SPDX-License-Identifier: BSD-3-Clause
"""Whether activation maps tell the truth: pixels deleted by them and at random."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from skastro import (
    GalaxyClassifier,
    Pipeline,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.datasets import read_spectra
from skastro.inspection import class_activation_map, deletion_curve, deletion_score
from skastro.inspection._deletion import fill_from_neighbors, random_like

pytestmark = pytest.mark.once


def test_map_peaks_at_the_line_and_deletion_finds_it(line_classifier, line_data):
    X, y = line_data(40, seed=2)
    X, y = X[y == "line"], y[y == "line"]
    maps = class_activation_map(line_classifier, X)
    # The pixels of the feature maps are 8 apart.
    peak = maps.argmax(axis=1)
    assert ((peak >= 400 - 8) & (peak <= 420 + 8)).all()

    score = deletion_score(line_classifier, X, random_state=0)
    assert score.target.tolist() == ["line"] * len(X)
    assert score.mean_drop > 0.2
    assert score.mean_drop > 5 * score.mean_random_drop
    assert score.wins == 1
    assert score.p_value < 1e-4
    # A random map is no better than chance.
    noise = np.random.default_rng(0).random(maps.shape)
    noise = deletion_score(line_classifier, X, maps=noise, random_state=0)
    assert noise.mean_drop < 0.1
    assert noise.p_value > 1e-3


@pytest.mark.slow
def test_deletion_finds_what_matters_in_real_spectra(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    train, test = train_test_split(
        np.arange(len(spectra.flux)),
        test_size=0.25,
        stratify=spectra.target,
        random_state=0,
    )
    clf = SpectrumClassifier(
        module__n_blocks=(1, 1, 1),
        module__width=16,
        max_epochs=20,
        class_weight="balanced",
        verbose=0,
        random_state=0,
        device="cpu",
    )
    pipe = Pipeline([StandardizeSpectra(robust=True, clip=8.0), clf])
    pipe.fit(spectra.flux[train], spectra.target[train])
    score = deletion_score(pipe, spectra.flux[test], random_state=0)
    assert score.mean_drop > 3 * score.mean_random_drop
    assert score.p_value < 1e-3
    for label in pipe.classes_:
        rows = score.target == label
        assert score.drop[rows].mean() > score.random_drop[rows].mean()


def test_deleted_runs_become_the_continuum():
    line = np.linspace(1, 3, 50)
    channels = np.stack([line, -line])
    channels[:, 20:30] += 7
    channels[:, :3] += 7
    mask = np.zeros(50, dtype=bool)
    mask[20:30] = mask[:3] = True
    kept = channels[:, ~mask].copy()
    fill_from_neighbors(channels, mask)
    # Between the medians of ten pixels on either side of a straight line.
    middle = (line[14:16].mean() + line[34:36].mean()) / 2
    np.testing.assert_allclose(channels[0, 20:30].mean(), middle)
    np.testing.assert_allclose(channels[1], -channels[0])
    np.testing.assert_allclose(channels[0, :3], np.median(line[3:13]))
    np.testing.assert_array_equal(channels[:, ~mask], kept)


def test_random_deletions_have_the_same_runs():
    mask = np.zeros((200, 60), dtype=bool)
    mask[:, [1, 2, 3, 20, 30, 31]] = True
    moved = random_like(mask, np.random.RandomState(0))
    for row in moved:
        parts = "".join("x" if pixel else " " for pixel in row).split()
        assert sorted(map(len, parts)) == [1, 2, 3]
    # All places are about equally likely.
    assert moved.mean(axis=0)[5:-5].std() < 0.04
    region = np.zeros((3, 8, 9), dtype=bool)
    region[:, 2:4, 5:8] = True
    assert (random_like(region, np.random.RandomState(0)).sum(axis=(1, 2)) == 6).all()


def test_deletion_curve(line_classifier, line_data):
    X, y = line_data(20, seed=4)
    X, y = X[y == "line"], y[y == "line"]
    kwargs = {"fractions": [0.05, 0.3], "random_state": 0}
    curve = deletion_curve(line_classifier, X, "line", **kwargs)
    np.testing.assert_array_equal(curve.fractions, [0, 0.05, 0.3])
    proba = line_classifier.predict_proba(X)[:, 0]
    np.testing.assert_allclose(curve.probability[:, 0], proba)
    assert (curve.probability[:, 1] < curve.random_probability[:, 1]).all()
    again = deletion_curve(line_classifier, X, "line", **kwargs)
    np.testing.assert_array_equal(again.random_probability, curve.random_probability)


def test_deletion_in_images(quiet):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 40, size=(60, 24, 24, 3), dtype=np.uint8)
    y = np.arange(60) % 2
    X[y == 1, 4:9, 14:19] += 200
    clf = GalaxyClassifier(
        module__width=4,
        module__n_blocks=(1, 1),
        max_epochs=15,
        batch_size=10,
        **quiet,
    ).fit(X, y)
    given = X.copy()
    score = deletion_score(clf, X[1::2], 1, random_state=0)
    assert score.mean_drop > score.mean_random_drop + 0.1
    assert score.p_value < 1e-3
    np.testing.assert_array_equal(X, given)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fraction": 0}, "between 0 and 1"),
        ({"fraction": 1.0}, "between 0 and 1"),
        ({"n_random": 0}, "n_random"),
        ({"maps": np.zeros((6, 5))}, r"\(6, 5\).*\(6, 117\)"),
        ({"target": "star"}, "its classes are"),
    ],
)
def test_bad_arguments_of_deletion(untrained, flux, kwargs, message):
    X = flux()
    with pytest.raises(ValueError, match=message):
        deletion_score(untrained(X, module__width=4), X, **kwargs)
