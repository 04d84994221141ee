# SPDX-License-Identifier: BSD-3-Clause
"""Every registered network can be exported."""

import numpy as np
import pytest
from tiny_estimators import make_tiny

import skastro
from skastro import CropPadImages, MinMaxSpectra, make_pipeline
from skastro.export import to_onnx
from skastro.networks import available_modules

pytest.importorskip("onnxscript", reason="needs skastro[onnx]")
pytest.importorskip("onnxruntime", reason="needs skastro[onnx]")

pytestmark = pytest.mark.once
rng = np.random.default_rng(0)
SPECTRA = rng.normal(size=(24, 130)).astype(np.float32)
COLORED = rng.integers(0, 256, size=(24, 20, 18, 3), dtype=np.uint8)
COUNTS = rng.poisson(3.0, size=(24, 21, 21)).astype(np.float32)
NUMBERS = rng.normal(size=24)
LABELS = np.array(["GALAXY", "STAR"] * 12)

# What makes networks small.
SMALL = {
    "convnet": {"widths": (4, 4)},
    "densenet": {"n_dense_blocks": 1, "n_conv_blocks": 1, "growth_rate": 2},
    "polar": {"widths": (4,), "hidden": 4, "n_rings": 6, "n_moments": 3},
    "redshift": {"width": 4, "n_blocks": 1, "n_features": 2, "n_templates": 2},
    "resnet10": {"width": 4},
    "vae": {"widths": (4, 4)},
    "vae-axes": {"widths": (4, 4)},
} | {f"resnet{n}": {"width": 4, "n_blocks": (1, 1)} for n in (18, 34, 50, 101)}

# Before other tests register networks of their own.
KNOWN = {name for ndim in (1, 2) for name in available_modules(ndim)}


def small_net(name, kind):
    settings = {f"module__{key}": v for key, v in SMALL.get(name, {}).items()}
    if name == "polar":
        # It takes counts.
        settings["normalization"] = None
    if kind is skastro.VAETransformer:
        settings["latent_dim"] = 3
    return make_tiny(kind, name, max_epochs=1, callbacks="disable", **settings)


def cases(ndim):
    """List networks by themselves and in a pipeline; one of each kind by default."""
    return [
        pytest.param(name, raw, marks=[pytest.mark.slow] * is_slow)
        for name in available_modules(ndim)
        for raw in (False, True)
        if raw or name != "polar"
        for is_slow in [
            name in ("resnet34", "resnet101") or raw != (name in ("convnet", "polar"))
        ]
    ]


def check_export(model, X, path):
    """Compare the graph with the model, one by one and a thousand at once."""
    exported = to_onnx(model, path / "model.onnx", X)
    assert exported.metadata["largest_difference"] < 1e-5
    expected, *_ = exported.compute(X)
    many = np.resize(X, (1000, *X.shape[1:]))
    for batch in (X[:1], many):
        found, *_ = exported.compute(batch)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found, np.resize(expected, found.shape), atol=1e-4 * scale, rtol=0
        )


def test_every_name_is_tested():
    assert KNOWN - {"mlp"} == {*SMALL}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "raw"), cases(1))
def test_networks_for_spectra(name, raw, tmp_path):
    kind = skastro.SpectrumClassifier
    if name.startswith("vae"):
        kind = skastro.VAETransformer
    net = small_net(name, kind)
    model = net if raw else make_pipeline(MinMaxSpectra(), net)
    check_export(model.fit(SPECTRA, LABELS), SPECTRA, tmp_path)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "raw"), cases(2))
def test_networks_for_images(name, raw, tmp_path):
    X = COUNTS if name == "polar" else COLORED
    kind = skastro.GalaxyRegressor
    if name.startswith("vae"):
        kind = skastro.VAETransformer
    net = small_net(name, kind)
    model = net if raw else make_pipeline(CropPadImages(16), net)
    check_export(model.fit(X, NUMBERS), X, tmp_path)
