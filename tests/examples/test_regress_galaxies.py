# SPDX-License-Identifier: BSD-3-Clause
"""The regression of galaxies, run as a user runs it, on few images."""

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from sklearn.metrics import r2_score

from skastro.datasets import make_galaxies

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "regress_galaxies.py"
QUICK = ["--width", "4", "--epochs", "2", "--copies", "2", "--device", "cpu"]
FILES = ["magnitude.png", "parameters.png", "predictions.csv"]
FILES += ["scores.csv", "scores.png"]
SIMPLE = {"size": 32, "sersic_index": 1.0, "half_light_radius": (0.3, 0.6)}


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("regress_galaxies", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("bands", "splits", "apart"), [("r", (0.8, 0.1, 0.1), 20), (["r", "z"], None, None)]
)
def test_file_of_galaxies(job, tmp_path, capsys, bands, splits, apart):
    path = tmp_path / "galaxies.h5"
    make_galaxies(
        200, bands=bands, splits=splits, out=path, random_state=0, verbose=0, **SIMPLE
    )
    out = tmp_path / "results"
    job.main([*QUICK, "--galaxies", str(path), "--out", str(out)])
    assert sorted(item.name for item in out.iterdir()) == FILES
    catalog = Table.read(out / "predictions.csv")
    if apart:
        assert list(catalog["row"]) == list(range(180, 200))
    scores = Table.read(out / "scores.csv")
    scores = scores[scores["magnitudes"] == "all"]
    assert set(scores["parameter"]) == {
        "magnitude",
        "half_light_radius",
        "sersic_index",
        "g1",
        "g2",
    }
    for row in scores:
        name, way = row["parameter"], row["measured by"]
        truth, values = catalog[name], catalog[f"{name} by {way}"]
        assert row["galaxies"] == len(catalog)
        assert row["scatter"] == pytest.approx(np.std(values - truth), abs=1e-4)
        if name != "sersic_index":
            assert row["R2"] == pytest.approx(r2_score(truth, values), abs=1e-4)
    assert "curve of growth" in capsys.readouterr().out


def test_simulated_galaxies(job, tmp_path, monkeypatch):
    # GalSim prepares these profiles quickly.
    quick = partial(make_galaxies, sersic_index=(0.5, 1.5))
    monkeypatch.setattr(job, "make_galaxies", quick)
    arguments = ["--n-galaxies", "60", "--size", "24", "--copies", "1"]
    arguments += ["--out", str(tmp_path)]
    job.main([*QUICK, *arguments])
    assert len(Table.read(tmp_path / "predictions.csv")) == 12


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


def test_unknown_parameters(job, tmp_path):
    path = tmp_path / "galaxies.h5"
    make_galaxies(20, size=16, profile="bulge+disk", out=path, verbose=0)
    with pytest.raises(SystemExit, match="no known sersic_index"):
        job.main(["--galaxies", str(path), "--out", str(tmp_path)])
