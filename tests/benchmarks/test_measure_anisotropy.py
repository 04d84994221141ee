# SPDX-License-Identifier: BSD-3-Clause
"""The measurement of rings, on simulated images and a real one."""

import re

import numpy as np
import pytest
import torch

from skastro.sevi import read_sevi

pytestmark = pytest.mark.once

B = np.array([-0.9, -0.3, 1.2])


@pytest.fixture
def script():
    from benchmarks import measure_anisotropy

    return measure_anisotropy


@pytest.fixture
def rings(script):
    """Return three rings whose center is the pixel (67, 61) of 128 x 130 pixels."""
    simulator = script.SEVISimulator(n_shells=3, size=121)
    generator = torch.Generator().manual_seed(0)
    scenes = simulator.draw(1, generator)
    scenes["beta"] = script.coefficients(B[None])
    scenes["radius"] = torch.tensor([[25.0, 40.0, 54.0]]) / 60.5
    scenes["radius_width"] = torch.full((1, 3), 1.5 / 60.5)
    scenes["n_electrons"] = torch.full((1, 3), 2e5)
    image = simulator.count(scenes, generator)[0].numpy()
    return np.pad(image, ((7, 0), (1, 8)))


def test_simulated_rings(script, rings, tmp_path, capsys):
    np.save(tmp_path / "rings.npy", rings)
    options = ["--polarization-axis", "1", "--n-shells", "3", "--radius", "20", "58"]
    options += ["--width", "1", "3", "--block", "1"]
    table = script.main(["--image", str(tmp_path / "rings.npy"), *options])
    np.testing.assert_allclose(table["radius"], [25, 40, 54], atol=0.1)
    assert (np.abs(table["b"] - B) < 4 * table["b_std"]).all()
    assert (table["b_std"] < 0.02).all()
    assert (table["b_quadrants"] < 0.05).all()
    center = re.search(r"row ([\d.]+), column ([\d.]+)", capsys.readouterr().out)
    np.testing.assert_allclose(np.array(center.groups(), float), [67, 61], atol=0.1)


def test_counts_that_scatter_more(script):
    counts = np.random.default_rng(0).poisson(30, size=(101, 101)).astype(float)
    assert script.measure_overdispersion(counts) == pytest.approx(1, abs=0.06)
    assert script.measure_overdispersion(3 * counts) == pytest.approx(3, abs=0.18)


def test_quadrants_hold_a_quarter_each(script):
    image = np.arange(25.0).reshape(5, 5)
    first, _, _, last = script.quadrants(image)
    assert 4 * first[4, 4] == 4 * first[0, 4] == image[4, 4]
    assert 4 * last[4, 4] == 4 * last[0, 0] == image[0, 0]
    np.testing.assert_array_equal(last, last[::-1])


def test_rings_that_do_not_fit(script, rings, tmp_path):
    np.save(tmp_path / "rings.npy", rings)
    for options in (["--radius", "20", "80"], ["--radius", "20", "58", "--block", "2"]):
        with pytest.raises(SystemExit, match="do not fit about the center"):
            script.main(["--image", str(tmp_path / "rings.npy"), *options])


# The measured image deviates from the model of the fit.
@pytest.mark.filterwarnings("ignore:.* do not look like counts:UserWarning")
def test_oxygen_as_pyabel_has_it(script, data_dir):
    abel = pytest.importorskip("abel")
    path = data_dir / "O2-ANU1024.txt.bz2"
    options = ["--n-shells", "10", "--radius", "205", "430", "--width", "1.5", "4"]
    options += ["--block", "9", "--no-quadrants"]
    table = script.main(["--image", str(path), *options])
    image = read_sevi(path, verbose=0).images[0].astype(float)
    _, distributions = abel.rbasex.rbasex_transform(
        image, origin=(512, 512), order=2, rmax="MIN", out=None
    )
    radius, intensity, b = distributions.rIbeta()
    for ring in (340, 360, 379, 398):
        row = table[np.abs(table["radius"] - ring).argmin()]
        assert row["radius"] == pytest.approx(ring, abs=1.0)
        near = np.abs(radius - ring) <= 4
        theirs = np.average(b[near], weights=intensity[near])
        assert row["b"] == pytest.approx(theirs, abs=0.05)
        assert row["b_pyabel"] == pytest.approx(theirs, abs=0.02)
        assert row["b_std"] < 0.01
