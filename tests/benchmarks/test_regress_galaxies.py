# SPDX-License-Identifier: BSD-3-Clause
"""The comparison of networks with photometry, on few images."""

from functools import partial

import numpy as np
import pytest

from skastro.datasets import make_galaxies

pytestmark = pytest.mark.once

SIMPLE = {"size": 32, "sersic_index": 1.0, "half_light_radius": (0.3, 0.6)}


@pytest.fixture
def job():
    from benchmarks import regress_galaxies

    return regress_galaxies


def test_scores(job, monkeypatch):
    # GalSim prepares these profiles quickly.
    quick = partial(make_galaxies, sersic_index=(0.5, 1.5))
    monkeypatch.setattr(job, "make_galaxies", quick)
    arguments = ["--n-galaxies", "60", "--size", "24", "--copies", "2", "--jobs", "1"]
    arguments += ["--width", "4", "--epochs", "2", "--device", "cpu"]
    scores = job.main(arguments)
    scores = scores[scores["magnitudes"] == "all"]
    assert (scores["galaxies"] == 12).all()
    assert set(scores["parameter"]) == {"magnitude", *job.SEVERAL}
    ways = scores["measured by"][scores["parameter"] == "magnitude"]
    assert set(ways) == {"summed flux", "best aperture", "curve of growth", "network"}


def test_photometry_finds_magnitudes(job):
    galaxies = make_galaxies(
        400, magnitude=(17, 20), random_state=0, verbose=0, **SIMPLE
    )
    apart = np.arange(400) >= 300
    truth = np.asarray(galaxies.parameters["magnitude"])[apart]
    measured = job.photometry(galaxies, galaxies.images, apart)
    scatter = {name: np.std(values - truth) for name, values in measured.items()}
    assert scatter["best aperture"] < scatter["summed flux"] < 0.08
    assert scatter["curve of growth"] < 0.03
    # A sum over a large circle needs next to no correction.
    names, sums = job.aperture_magnitudes(galaxies, galaxies.images[apart])
    assert names[-1] == "whole image"
    assert np.median(sums[:, -2] - truth) == pytest.approx(0, abs=0.04)


def test_orientations_turn_the_ellipticity(job):
    galaxies = make_galaxies(
        3, noise=None, random_state=0, verbose=0, **SIMPLE | {"ellipticity": 0.6}
    )
    names = ("sersic_index", "g1", "g2")
    truth = np.column_stack([galaxies.parameters[name] for name in names])
    rows, columns = np.indices((32, 32)) - 15.5
    seen = []
    for images, signs in job.orientations(galaxies.images, names):
        light = images / images.sum(axis=(1, 2), keepdims=True)
        x, y = ((light * axis).sum(axis=(1, 2)) for axis in (columns, rows))
        xx = (light * columns**2).sum(axis=(1, 2)) - x**2
        yy = (light * rows**2).sum(axis=(1, 2)) - y**2
        xy = (light * rows * columns).sum(axis=(1, 2)) - x * y
        expected = truth * signs
        np.testing.assert_allclose(
            np.arctan2(2 * xy, xx - yy),
            np.arctan2(expected[:, 2], expected[:, 1]),
            atol=0.05,
        )
        assert (signs[0] == 1).all()
        seen.append(images)
    assert len({images.tobytes() for images in seen}) == 8
