# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of any grid, and weights of the package to start from."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units as u
from sklearn.base import clone
from tiny_estimators import make_tiny

import skastro
from skastro import SpectrumClassifier, SpectrumRegressor
from skastro.base._pretrained import Pretrained
from skastro.datasets import make_spectra
from skastro.estimators._spectra import GRID
from skastro.utils import rebin

pytestmark = pytest.mark.once

BOTH = pytest.mark.parametrize("cls", [SpectrumClassifier, SpectrumRegressor])
WAVELENGTH = np.linspace(3900.0, 9000.0, 700)


@pytest.fixture(scope="module")
def spectra():
    """Make a few spectra of three classes."""
    return make_spectra(90, wavelength=WAVELENGTH, snr=(20, 50), random_state=0)


def seen(X, wavelength=None, **params):
    """Give what a network sees of spectra."""
    clf = make_tiny(
        SpectrumClassifier,
        wavelength=wavelength,
        **{"max_epochs": 1, "augment": None} | params,
    )
    return clf.fit(X, np.arange(len(X)) % 2).module_input(X)


@pytest.mark.parametrize(
    "wavelength",
    [
        np.linspace(3900, 9000, 1500),
        np.geomspace(3000, 10400, 4000),
        np.linspace(5000, 5600, 100),
        np.r_[np.linspace(3700, 5900, 300), np.linspace(5903, 9100, 500)],
        np.r_[np.linspace(3900, 5800, 700), np.linspace(7000, 9000, 400)],
    ],
    ids=["linear", "finer and beyond", "short", "two arms", "gap"],
)
def test_pixels_are_rebinned_to_the_grid(wavelength):
    X = np.random.default_rng(0).normal(1, 0.2, (20, wavelength.size))
    X = X.astype(np.float32)
    found = seen(X, wavelength, normalization=None)[:, 0]
    expected = rebin(X, wavelength, GRID, fill_value=0.0)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_other_normalizations_stay_as_they_are(spectra):
    robust = seen(spectra.flux, WAVELENGTH, normalization="robust")[:, 0]
    plain = seen(spectra.flux, normalization="robust")[:, 0]
    expected = rebin(plain.numpy(), WAVELENGTH, GRID, fill_value=0.0)
    np.testing.assert_allclose(robust, expected, atol=1e-4)


def test_split_into_lines_and_colors():
    # A power law has no lines, and the logarithm of its continuum is a straight line.
    power_law = 7e-17 * WAVELENGTH**-1.5
    line = np.exp(-0.5 * ((WAVELENGTH - 6500) / 15) ** 2)
    X = np.stack([power_law, power_law * (1 - 0.4 * line)])
    X = np.repeat(X, 10, axis=0).astype(np.float32)
    batch = seen(X, WAVELENGTH, normalization="split").numpy()
    assert batch.shape == (20, 2, GRID.size)
    covered = (GRID > 3900) & (GRID < 9000)
    assert not batch[:, :, (GRID < 3890) | (GRID > 9010)].any()
    # Away from the ends, where a running mean is one-sided.
    inner = (GRID > 4500) & (GRID < 7900)
    np.testing.assert_allclose(batch[0, 0, inner], 0, atol=0.03)
    slope = np.polyfit(np.log(GRID[inner]), batch[0, 1, inner], 1)[0]
    assert slope == pytest.approx(-1.5, abs=0.01)
    assert batch[10, 0, covered].min() == pytest.approx(-5 * 0.4, rel=0.1)
    at = GRID[np.argmin(batch[10, 0])]
    assert at == pytest.approx(6500, abs=8)


def test_neither_unit_nor_length_unit_count(spectra):
    first = seen(spectra.flux, WAVELENGTH, normalization="split")
    other = seen(1e-17 * spectra.flux, WAVELENGTH, normalization="split")
    torch.testing.assert_close(first, other, rtol=1e-4, atol=1e-4)
    nanometers = seen(spectra.flux, WAVELENGTH / 10 * u.nm, normalization="split")
    torch.testing.assert_close(first, nanometers, rtol=1e-5, atol=1e-4)


def test_several_channels_and_plain_pixels(spectra):
    X = np.stack([spectra.flux, 3 * spectra.flux[:, ::-1]], axis=1)
    batch = seen(X, WAVELENGTH, normalization="split", module__n_channels=4)
    assert batch.shape == (90, 4, GRID.size)
    alone = seen(X[:, 0], WAVELENGTH, normalization="split")
    torch.testing.assert_close(batch[:, [0, 2]], alone)
    assert seen(spectra.flux, normalization="split").shape == (90, 2, 700)


def test_odd_spectra_stay_finite():
    X = np.zeros((20, 700), np.float32)
    X[1], X[2, 3], X[3], X[4] = 1, 1e30, -5, 1e38
    assert seen(X, WAVELENGTH, normalization="split").isfinite().all()


def test_wavelengths_that_do_not_fit(spectra):
    def fit(wavelength, **params):
        clf = make_tiny(SpectrumClassifier, wavelength=wavelength, **params)
        clf.fit(spectra.flux, spectra.target)

    with pytest.raises(ValueError, match=r"shape \(699,\), but spectra in X have 700"):
        fit(WAVELENGTH[1:])
    with pytest.raises(ValueError, match="390 to 900 Å, but the network sees 3600"):
        fit(WAVELENGTH / 10)
    with pytest.raises(ValueError, match=r"strictly ascending\. It is descending"):
        fit(WAVELENGTH[::-1])
    with pytest.raises(ValueError, match="finite; 1 of"):
        fit(np.where(WAVELENGTH > 8999, np.nan, WAVELENGTH))
    with pytest.raises(ValueError, match="kg"):
        fit(WAVELENGTH * u.kg)
    clf = make_tiny(SpectrumClassifier, wavelength=WAVELENGTH, max_epochs=1)
    clf.fit(spectra.flux, spectra.target).set_params(wavelength=WAVELENGTH / 10)
    with pytest.raises(ValueError, match="390 to 900 Å, but the network sees 3600"):
        clf.predict(spectra.flux)
    module = torch.nn.Sequential(torch.nn.Linear(700, 3))
    for params in ({"wavelength": WAVELENGTH}, {"normalization": "split"}):
        with pytest.raises(ValueError, match="this one gets X as it is"):
            make_tiny(SpectrumClassifier, module=module, **params).fit(
                spectra.flux, spectra.target
            )


@pytest.mark.parametrize("wavelength", [WAVELENGTH, WAVELENGTH / 1e4 * u.um])
def test_clones_pickles_and_files(spectra, wavelength, tmp_path):
    X, y = spectra.flux, spectra.target
    settings = {"wavelength": wavelength, "normalization": "split", "max_epochs": 2}
    clf = make_tiny(SpectrumClassifier, **settings).fit(X, y)
    expected = clf.predict_proba(X)
    again = clone(clf).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    clf.save_params(f_params=tmp_path / "clf.pt")
    other = make_tiny(SpectrumClassifier, **settings)
    other.load_params(f_params=tmp_path / "clf.pt")
    np.testing.assert_array_equal(other.predict_proba(X), expected)
    clf.partial_fit(X, y)
    with pytest.raises(ValueError, match="weights were trained with wavelength"):
        clf.set_params(wavelength=WAVELENGTH + 5).partial_fit(X, y)


# Weights of the package ---------------------------------------------------------------


@BOTH
def test_short_form(cls):
    net = cls.from_pretrained("spectra", wavelength=WAVELENGTH, max_epochs=3)
    assert (net.backbone, net.normalization, net.max_epochs) == ("spectra", "split", 3)
    assert net.wavelength is WAVELENGTH
    assert clone(net).get_params()["backbone"] == "spectra"
    with pytest.raises(ValueError, match="no pretrained weights 'spectrum'"):
        cls.from_pretrained("spectrum", wavelength=WAVELENGTH)
    with pytest.raises(TypeError, match="wavelength"):
        cls.from_pretrained("spectra")


@BOTH
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"module": "resnet10"}, "but module='resnet10'"),
        ({"normalization": "robust"}, "but normalization='robust'"),
        ({"wavelength": None}, "but wavelength=None"),
    ],
)
def test_contradictions(cls, params, message, spectra):
    settings = {"wavelength": WAVELENGTH, "verbose": 0} | params
    with pytest.raises(ValueError, match=message) as error:
        cls.from_pretrained("spectra", **settings)
    assert f"{cls.__name__}.from_pretrained('spectra', wavelength=...)" in str(
        error.value
    )
    net = cls.from_pretrained("spectra", wavelength=WAVELENGTH, verbose=0)
    net.set_params(**params)
    with pytest.raises(ValueError, match=message):
        net.fit(spectra.flux, np.arange(90) % 2)


def test_networks_of_other_sizes(spectra):
    clf = SpectrumClassifier.from_pretrained(
        "spectra", wavelength=WAVELENGTH, module__hidden=12, verbose=0
    )
    with pytest.raises(ValueError, match=r"do not fit.*hidden.2.weight"):
        clf.fit(spectra.flux, spectra.target)
    clf.set_params(module__hidden=128, module__dropout=0.5, max_epochs=1)
    clf.fit(spectra.flux, spectra.target)


def test_all_but_the_head_is_loaded(spectra):
    start = {"wavelength": WAVELENGTH, "verbose": 0, "random_state": 0, "device": "cpu"}
    clf = SpectrumClassifier.from_pretrained("spectra", **start, max_epochs=0)
    clf.fit(spectra.flux, spectra.target)
    weights = clf._read_backbone("spectra")
    for name, value in clf.module_.state_dict().items():
        if not name.startswith("fc."):
            torch.testing.assert_close(value, weights[name].to(value.dtype))
    # Nothing of the package is written to.
    reg = SpectrumRegressor.from_pretrained("spectra", **start, max_epochs=0)
    reg.fit(spectra.flux, spectra.redshift)
    name = "maps.0.weight"
    assert torch.equal(reg.module_.get_parameter(name), clf.module_.get_parameter(name))


def test_few_spectra_of_another_grid_suffice():
    wavelength = np.geomspace(4000, 8800, 1200)
    shape = {"wavelength": wavelength, "snr": (10, 30), "resolution": 1000}
    few = make_spectra(45, **shape, random_state=1)
    test = make_spectra(200, **shape, random_state=2)
    clf = SpectrumClassifier.from_pretrained(
        "spectra",
        wavelength=wavelength,
        backbone_lr=0,
        verbose=0,
        random_state=0,
        device="cpu",
    )
    fresh = clone(clf).set_params(backbone=None, backbone_lr=None)
    scores = [
        net.fit(few.flux, few.target).score(test.flux, test.target)
        for net in (clf, fresh)
    ]
    assert scores[0] > max(0.93, scores[1])


@pytest.mark.parametrize("name", ["spectra", "redshift"])
def test_files_of_the_package(name):
    folder = Path(skastro.__file__).parent / "estimators" / "pretrained"
    path = folder / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for part in ("make_spectra", f'from_pretrained("{name}"', "Versions"):
        assert part in card


@pytest.mark.slow
def test_script(tmp_path):
    script = Path(__file__).parents[2] / "tools" / "train_pretrained_spectra.py"
    few = "--n-spectra 128 --n-valid 50 --epochs 1".split()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, script, "--output", tmp_path, *few]
    subprocess.run(command, check=True, env=env)
    found = Pretrained.read(tmp_path / "spectra.safetensors")
    shipped = Pretrained.read(
        Path(skastro.__file__).parent / "estimators/pretrained/spectra.safetensors"
    )
    assert found.settings == shipped.settings
    assert found.weights.keys() == shipped.weights.keys()
    assert "trained on 128" in (tmp_path / "spectra.md").read_text(encoding="utf-8")
