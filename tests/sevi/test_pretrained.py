# SPDX-License-Identifier: BSD-3-Clause
"""Pretrained weights: what comes with the package, and what estimators make of it."""

import os
import pickle
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skastro import SEVIRegressor
from skastro.base._pretrained import Pretrained
from skastro.sevi import LegendreLoss, make_sevi
from skastro.sevi._prior import ShellPrior

pytestmark = pytest.mark.once

NAMES = {"sevi-1shell": 1, "sevi-2shell": 2}
FOLDER = files("skastro.sevi") / "pretrained"


def pretrained(name="sevi-1shell", **params):
    """Make a quiet estimator on the CPU."""
    defaults = {"verbose": 0, "device": "cpu"}
    return SEVIRegressor.from_pretrained(name, **(defaults | params))


@cache
def shared(name="sevi-1shell"):
    """Make it once: the first fit of shells prepares much that others share."""
    return pretrained(name)


def loss(answer, beta, n_shells):
    """Give the mean loss per shell."""
    pair = (torch.as_tensor(np.array(part, np.float64)) for part in (answer, beta))
    return float(LegendreLoss()(*pair)) / n_shells


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    """Name weights."""
    return request.param


@pytest.fixture(scope="module")
def sevi(name):
    """Make images for them."""
    return make_sevi(
        50, NAMES[name], n_electrons=1e5, min_separation=0.02, random_state=0
    )


@pytest.fixture(scope="module")
def one_shell():
    """Make images of one shell."""
    return make_sevi(3, n_electrons=1e4, random_state=1)


def test_files():
    sizes = [len((FOLDER / f"{name}.safetensors").read_bytes()) for name in NAMES]
    assert sum(sizes) < 10e6
    for name in NAMES:
        card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        training = Pretrained.read(FOLDER / f"{name}.safetensors").settings["training"]
        assert f'from_pretrained("{name}")' in card
        assert f"{training['valid_loss']:.2e}".replace("e-0", "e-") in card
        assert f"seed {training['seeds']['validation']}" in card
        rows = [line.split("|") for line in card.splitlines() if "±" in line]
        assert [row[1].strip() for row in rows] == [
            *("1e3", "1e4", "1e5", "1e6", "1e5"),
            *("256", "300", "384", "512", "1024"),
        ]


def test_fitted_estimator(name, sevi):
    reg = shared(name)
    check_is_fitted(reg)
    assert not hasattr(clone(reg), "module_")
    images, truth = sevi.images[:3], sevi.beta[:3]
    beta, std = reg.predict(images, return_std=True)
    assert beta.shape == std.shape == (3, 12 * NAMES[name])
    assert (np.abs(beta - truth) < 5 * std).all()
    shells = reg.predict_shells(images)
    np.testing.assert_allclose(shells.radius, sevi.radius[:3], atol=0.002)
    assert not shells.out_of_range.any()


def test_pickle(one_shell):
    again = pickle.loads(pickle.dumps(shared()))
    np.testing.assert_array_equal(
        again.predict(one_shell.images), shared().predict(one_shell.images)
    )
    again.set_params(refine=False)
    np.testing.assert_array_equal(
        again.predict(one_shell.images),
        pretrained(refine=False).predict(one_shell.images),
    )


def test_as_a_fit_with_the_same_prior(one_shell):
    reg = shared()
    fitted = SEVIRegressor(
        module__widths=(4,), module__hidden=4, max_epochs=1, verbose=0, device="cpu"
    ).fit(one_shell.images, one_shell.beta)
    fitted.prior_ = reg.prior_
    expected = fitted.predict_shells(one_shell.images)
    shells = reg.predict_shells(one_shell.images)
    for key in ("beta", "beta_std", "radius", "n_electrons"):
        np.testing.assert_array_equal(shells[key], expected[key])
    np.testing.assert_array_equal(
        reg.predict_interval(one_shell.images),
        fitted.predict_interval(one_shell.images),
    )


def test_network_alone(name, sevi):
    reg = pretrained(name, refine=False)
    beta, std = reg.predict(sevi.images, return_std=True)
    n_shells = NAMES[name]
    always = loss(np.broadcast_to(reg.target_mean_, beta.shape), sevi.beta, n_shells)
    assert loss(beta, sevi.beta, n_shells) < always / 10
    np.testing.assert_allclose(std[0], reg.residual_std_, rtol=1e-6)


@pytest.mark.parametrize("size", [255, 300, 512])
def test_network_at_other_sizes(size):
    sevi = make_sevi(20, size=size, n_electrons=1e5, random_state=0)
    beta = pretrained(size=size, refine=False).predict(sevi.images)
    assert loss(beta, sevi.beta, 1) < 3e-3


def test_residuals_are_those_of_fresh_images():
    sevi = make_sevi(
        100,
        n_electrons=(3e2, 3e6),
        background=(0, 0.3),
        random_state=np.random.RandomState(5),
    )
    reg = pretrained(refine=False)
    error = reg.predict(sevi.images) - sevi.beta
    ratio = np.sqrt((error**2).mean(0)) / reg.residual_std_
    assert 0.7 < ratio.mean() < 1.3


@pytest.mark.parametrize("refine", [True, False])
def test_conventions_and_axes(refine, one_shell):
    def like_shared(**params):
        reg = pretrained(refine=refine, **params)
        for part in ("lower", "upper", "mean", "sigma"):
            own, other = getattr(reg.prior_, part), getattr(shared().prior_, part)
            assert torch.equal(own, other)
        reg.prior_ = shared().prior_
        return reg

    X = one_shell.images
    beta, std = like_shared().predict(X, return_std=True)
    vmi = like_shared(convention="vmi").predict(X, return_std=True)
    np.testing.assert_allclose(vmi[0], 2 * beta, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(vmi[1], 2 * std, rtol=1e-5)
    turned = like_shared(polarization_axis=0)
    np.testing.assert_array_equal(turned.predict(X.transpose(0, 2, 1)), beta)
    rows = like_shared(image_shape=(256, 256))
    np.testing.assert_array_equal(rows.predict(X.reshape(3, -1)), beta)


def test_extent_and_ranges(one_shell):
    reg = pretrained(extent=2.0, radius=(0.6, 1.8), radius_width=(0.01, 0.018))
    assert (reg.prior_.radius, reg.prior_.radius_width) == ((0.6, 1.8), (0.01, 0.018))
    shells = reg.predict_shells(one_shell.images[:1])
    np.testing.assert_allclose(shells.radius, 2 * one_shell.radius[:1], atol=0.004)
    # The network knows its radii in units of the image.
    alone = {"extent": 2.0, "refine": False, "radius_width": (0.01, 0.018)}
    pretrained(**alone, radius=(0.6, 1.8))
    with pytest.raises(
        ValueError, match=r"radius from 0.6 to 1.8, but radius is \(0.3"
    ):
        pretrained(**alone)
    with pytest.raises(ValueError, match="radius_width is"):
        pretrained(refine=False, radius_width=(0.01, 0.02))


def test_published_prior():
    reg = pretrained(prior="published")
    expected = ShellPrior.published(12, (0.3, 0.9), (0.005, 0.009))
    np.testing.assert_array_equal(reg.prior_.upper, expected.upper)


def test_training_on(one_shell):
    reg = pretrained(max_epochs=1, lr=1e-12, train_split=None, random_state=0)
    before = reg.module_.fc.weight.detach().clone()
    mean = reg.target_mean_.copy()
    reg.partial_fit(one_shell.images, one_shell.beta)
    np.testing.assert_allclose(reg.module_.fc.weight.detach(), before, atol=1e-8)
    np.testing.assert_array_equal(reg.target_mean_, mean)


def test_global_generators_stay():
    state, rng = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    pretrained()
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], rng)  # noqa: NPY002


def test_parameters_of_the_fit():
    reg = pretrained(distortion=True, size=300, iterator_valid__batch_size=7)
    assert reg.distortion
    assert reg.sample_shape_ == (300, 300)
    with pytest.raises(ValueError, match="fitted on samples of shape"):
        reg.predict(np.ones((1, 256, 256)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_betas": 3}, "n_betas=3 contradicts .* n_betas=12"),
        ({"module": "resnet18"}, "module='resnet18' contradicts"),
        ({"module__hidden": 8}, "module__hidden=8 contradicts"),
        ({"scale_target": False}, "scale_target=False contradicts"),
        ({"normalization": "total"}, "normalization='total' contradicts"),
        ({"size": 128}, "at least 255 x 255 pixels, but size is 128"),
        ({"image_shape": (64, 64)}, "at least 255 x 255 pixels, but size is 64"),
        ({"image_shape": (256, 300)}, r"must be \(256, 256\), but is \(256, 300\)"),
        ({"image_shape": (300, 300), "size": 256}, r"must be \(256, 256\)"),
        ({"image_shape": 65536}, r"must be \(256, 256\), but is 65536"),
        ({"radius": (0.9, 0.3)}, "radius must be two positive numbers"),
        ({"convention": "newton"}, "convention"),
    ],
)
def test_refused_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        pretrained(**params)


def test_refused_names_and_kinds():
    with pytest.raises(
        ValueError, match=r"mean 'sevi-2shell'\? Known: 'sevi-1shell', "
    ):
        pretrained("sevi-2shells")
    with pytest.raises(ValueError, match="Known: 'sevi-1shell'"):
        pretrained(np.array(["sevi-1shell"]))
    with pytest.raises(TypeError, match=r"size must be an integer; got 256\.0"):
        pretrained(size=256.0)
    with pytest.raises(TypeError, match="unexpected parameter 'extend'"):
        pretrained(extend=2)


@pytest.mark.parametrize("damage", ["cut", "header", "bytes", "foreign", "missing"])
def test_damaged_file(damage, tmp_path, monkeypatch):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    path = folder / "sevi-1shell.safetensors"
    content = bytearray((FOLDER / path.name).read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "header":
        content[:20] = b"version https://git-"
    elif damage == "bytes":
        content[-1] ^= 1
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(3)}, path)
    elif damage != "missing":
        path.write_bytes(content)
    monkeypatch.setattr("skastro.base._pretrained.files", lambda _: tmp_path)
    with pytest.raises(ValueError, match="missing or damaged"):
        pretrained()


def test_saved_and_read(tmp_path):
    original = Pretrained(
        {"fc.weight": torch.arange(6.0).reshape(2, 3).T},
        {"target_mean": torch.ones(2, dtype=torch.float64)},
        {"parameters": {"module": "mlp"}, "target_shape": [2]},
    )
    original.save(tmp_path / "own.safetensors")
    again = Pretrained.read(tmp_path / "own.safetensors")
    assert again.settings == original.settings
    assert torch.equal(again.weights["fc.weight"], original.weights["fc.weight"])
    assert again.learned["target_mean"].dtype is torch.float64


@pytest.mark.slow
def test_script(tmp_path):
    script = Path(__file__).parents[2] / "tools" / "train_pretrained_sevi.py"
    few = "--n-images 40 --n-valid 20 --max-epochs 1 --n-test 2".split()
    # The script finds its neighbor by the folder that it lies in.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run(
        [sys.executable, script, "sevi-1shell", "--output", tmp_path, *few],
        check=True,
        env=env,
    )
    weights = Pretrained.read(tmp_path / "sevi-1shell.safetensors")
    reg = SEVIRegressor._from_pretrained(weights, None, {"verbose": 0})
    assert reg.predict(np.ones((1, 256, 256))).shape == (1, 12)
    assert "40 simulated images" in (tmp_path / "sevi-1shell.md").read_text("utf-8")
