# SPDX-License-Identifier: BSD-3-Clause
"""Files that cannot be read, files of older versions, and parameters that are kept."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Checkpoint, LoadInitState
from tiny_estimators import make_tiny
from torch import nn

from skastro import (
    GalaxyClassifier,
    GalaxyRegressor,
    SEVIRegressor,
    SpectrumClassifier,
    VAETransformer,
)
from skastro.base import BaseRegressor
from skastro.base._state import _KEY, decode_state, encode_state
from skastro.sevi import make_sevi

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=2)

NETS = {
    "spectra": tiny,
    "images": partial(make_tiny, GalaxyClassifier),
    "regression": partial(make_tiny, GalaxyRegressor),
    "vae": partial(make_tiny, VAETransformer),
    "sevi": partial(make_tiny, SEVIRegressor, refine=False),
}


@pytest.fixture(params=["pt", "safetensors"])
def format(request):
    return request.param


# Files that cannot be read -----------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_missing_file(name, format, tmp_path):
    path = tmp_path / "missing.pt"
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        NETS[name]().load_params(path, use_safetensors=format == "safetensors")


@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_file(spectra, format, damage, is_fitted, tmp_path):
    net, path = tiny().fit(*spectra), tmp_path / f"weights.{format}"
    options = {"use_safetensors": format == "safetensors"}
    net.save_params(path, **options)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:100], "empty": b"", "text": b"# text"}[damage])
    before = net.predict_proba(spectra[0])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        (net if is_fitted else tiny()).load_params(path, **options)
    if is_fitted:
        np.testing.assert_array_equal(net.predict_proba(spectra[0]), before)


def test_damaged_file_of_an_optimizer(spectra, tmp_path):
    net, path = tiny().fit(*spectra), tmp_path / "optimizer.pt"
    path.write_bytes(b"# text")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        net.load_params(f_optimizer=path)


def test_no_file_can_start_a_module_without_sizes(tmp_path):
    net = BaseRegressor(nn.Linear, module__in_features=3, module__out_features=1)
    with pytest.raises(NotFittedError, match="initialize first"):
        net.load_params(tmp_path / "missing.pt")


class WithExtraState(nn.Module):
    """A module whose state dict does not hold tensors alone."""

    def __init__(self, input_size, n_outputs):
        super().__init__()
        self.linear = nn.Linear(input_size, n_outputs)

    def forward(self, X):
        return self.linear(X[:, 0])

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        assert state == {"version": 3}


def test_extra_state_of_modules(spectra, tmp_path):
    X, y = spectra
    net = tiny(WithExtraState).fit(X, y)
    net.save_params(tmp_path / "weights.pt")
    loaded = tiny(WithExtraState)
    loaded.load_params(tmp_path / "weights.pt")
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_weights_of_a_module_that_computes_something_else(use_safetensors, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (20, 16, 16, 3), dtype=np.uint8), np.arange(20) % 2
    settings = {"module__width": 4, "max_epochs": 1, "verbose": 0, "random_state": 0}
    net = GalaxyClassifier(module__dropout=0.1, **settings).fit(X, y)
    path = tmp_path / "weights"
    net.save_params(path, use_safetensors=use_safetensors)
    # The shapes are those of the weights: only the strides differ.
    other = GalaxyClassifier(module__stem="imagenet", **settings)
    for loaded in (other, clone(other).fit(X, y)):
        with pytest.raises(ValueError, match=r"set_params\(module__stem='stride2'\)"):
            loaded.load_params(path, use_safetensors=use_safetensors)
    # Dropout does nothing to predictions.
    same = GalaxyClassifier(module__stem="stride2", module__dropout=0.5, **settings)
    same.load_params(path, use_safetensors=use_safetensors)
    np.testing.assert_array_equal(same.predict_proba(X), net.predict_proba(X))


# Files of older versions ------------------------------------------------------


def write_as_before(net, path, *unknown):
    """Write the file of a version that had not yet some learned attributes."""
    net.save_params(path)
    weights = torch.load(path, weights_only=True)
    content = decode_state(weights._metadata[_KEY])
    state = {k: v for k, v in content["state"].items() if k not in unknown}
    weights._metadata[_KEY] = encode_state(
        content["class"], content["kind"], state, content["measured"]
    )
    torch.save(weights, path)


@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("normalization", ["robust", "training"])
def test_file_from_before_spectra_were_normalized(
    spectra, normalization, is_fitted, tmp_path
):
    X, y = spectra
    before = tiny(normalization=None).fit(X, y)
    write_as_before(before, tmp_path / "old.pt", "normalization_", "kept_params_")
    net = tiny(normalization=normalization)
    net = net.fit(X, y) if is_fitted else net
    with pytest.raises(ValueError, match="Give normalization=None"):
        net.load_params(tmp_path / "old.pt")
    net = tiny(normalization=None)
    net.load_params(tmp_path / "old.pt")
    np.testing.assert_array_equal(net.predict_proba(X), before.predict_proba(X))


def test_training_does_not_start_from_such_a_file(spectra, tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, f_pickle=None)
    net = tiny(normalization=None, callbacks=[checkpoint]).fit(*spectra)
    start = LoadInitState(checkpoint)
    with pytest.raises(ValueError, match="normalization=None"):
        tiny(callbacks=[start]).fit(*spectra)
    write_as_before(net, tmp_path / "params.pt", "normalization_", "kept_params_")
    with pytest.raises(ValueError, match="Give normalization=None"):
        tiny(callbacks=[start]).fit(*spectra)


def test_file_from_before_images_had_a_unit(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (40, 8, 8, 3), np.uint8), np.arange(40) % 2
    before = make_tiny(GalaxyClassifier, max_epochs=1).fit(X, y)
    write_as_before(before, tmp_path / "old.pt", "pixel_unit_", "pixel_size_")
    net = make_tiny(GalaxyClassifier)
    with pytest.warns(UserWarning, match="in the data type that it had in fit"):
        net.load_params(tmp_path / "old.pt")
    np.testing.assert_array_equal(net.predict_proba(X), before.predict_proba(X))


# Parameters whose results are kept ----------------------------------------------------

OTHERS = {
    "spectra": {"normalization": None},
    "images": {
        "normalization": None,
        "stretch": "asinh",
        "channel_axis": -1,
        "image_shape": (8, 8, 3),
        "image_size": 10,
    },
    "regression": {"scale_target": False, "stretch": "asinh"},
    "vae": {"latent_dim": 2, "stretch": "asinh", "image_shape": (8, 8, 3)},
    "sevi": {"normalization": "counts", "scale_target": False, "prior": "published"},
}
CASES = [(name, key, value) for name, d in OTHERS.items() for key, value in d.items()]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 8, 8, 3)).astype(np.float32)
    spectra = rng.normal(size=(40, 32)).astype(np.float32)
    electrons = make_sevi(40, size=16, n_electrons=1e3, random_state=0)
    labels = np.arange(40) % 2
    return {
        "spectra": (spectra, labels),
        "images": (images, labels),
        "regression": (images, images.mean((1, 2, 3))),
        "vae": (images, None),
        "sevi": (electrons.images, electrons.beta),
    }


@pytest.mark.filterwarnings("ignore:Only . of . latent dimensions")
@pytest.mark.parametrize(("name", "key", "value"), CASES)
def test_going_on_with_another_parameter(data, name, key, value):
    X, y = data[name]
    net = NETS[name](max_epochs=1, warm_start=True).fit(X, y)
    was = net.get_params()[key]
    weights = [w.detach().clone() for _, w in net.get_all_learnable_params()]
    net.set_params(**{key: value})
    advice = re.escape(f"Call set_params({key}={was!r}), or fit anew")
    with pytest.raises(ValueError, match=advice):
        net.fit(X, y)
    with pytest.raises(ValueError, match=advice):
        net.partial_fit(X, y)
    for before, (_, now) in zip(weights, net.get_all_learnable_params(), strict=True):
        assert torch.equal(before, now)
    net.set_params(**{key: was}).partial_fit(X, y)
    fresh = NETS[name](max_epochs=1, **{key: value}).fit(X, y)
    anew = net.set_params(warm_start=False, **{key: value}).fit(X, y)
    method = "transform" if name == "vae" else "predict"
    np.testing.assert_array_equal(getattr(anew, method)(X), getattr(fresh, method)(X))


@pytest.mark.parametrize("key", ["normalization", "scale_target"])
def test_predictions_of_electron_images_go_with_the_fit(data, key, tmp_path):
    X, y = data["sevi"]
    net = NETS["sevi"](max_epochs=1).fit(X, y)
    net.save_params(tmp_path / "weights.pt")
    other = NETS["sevi"](**{key: OTHERS["sevi"][key]})
    other.load_params(tmp_path / "weights.pt")
    for changed in (net.set_params(**{key: OTHERS["sevi"][key]}), other):
        with pytest.raises(ValueError, match=f"were trained with {key}="):
            changed.predict(X)


def test_going_on_with_other_classes(data):
    X, y = data["spectra"]
    y = np.array(["GALAXY", "STAR"])[y]
    net = tiny(max_epochs=1).partial_fit(X, y, classes=["STAR", "QSO", "GALAXY"])
    with pytest.raises(ValueError, match=r"\['GALAXY', 'STAR'\], but .* with \['GAL"):
        net.partial_fit(X, y, classes=["GALAXY", "STAR"])
    net.set_params(classes=["A", "B"], warm_start=True)
    with pytest.raises(ValueError, match=r"\['A', 'B'\], but .* with \['GALAXY"):
        net.fit(X, np.arange(40) % 2)
    net.set_params(classes=None).partial_fit(X, y, classes=["GALAXY", "QSO", "STAR"])
    assert net.classes_.tolist() == ["GALAXY", "QSO", "STAR"]
