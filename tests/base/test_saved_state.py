# SPDX-License-Identifier: BSD-3-Clause
"""save_params and load_params keep all that fit has learned."""

import inspect
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, LoadInitState
from tiny_estimators import make_tiny, public_estimators
from torch import nn

import skastro
from skastro import SpectrumClassifier
from skastro.base import BaseRegressor
from skastro.sevi import make_sevi

pytestmark = [
    pytest.mark.once,
    # The images hold no electrons.
    pytest.mark.filterwarnings("ignore:.* do not look like counts of electrons"),
]

# Runs in another process. For each case: builds the estimator of its parameters, loads
# the file, and writes what its methods give.
SCRIPT = """
import json, sys
from pathlib import Path

import numpy as np
import torch
from tiny_estimators import make_tiny

import skastro
from test_saved_state_methods import outputs_of

torch.set_num_threads(1)
folder = Path(sys.argv[1])
for case in json.loads((folder / "cases.json").read_text()):
    net = make_tiny(getattr(skastro, case["class"]), **case["params"])
    if case["initialize"]:
        net.set_params(**case["sizes"]).initialize()
    path = folder / f"{case['name']}.{case['format']}"
    net.load_params(path, use_safetensors=case["format"] == "safetensors")
    outputs = outputs_of(net, np.load(folder / f"{case['name']}-X.npy"))
    np.savez(folder / f"{case['key']}.npz", **outputs)
"""
# A function that both processes use.
METHODS = '''
import numpy as np


def outputs_of(net, X):
    """Return what all methods of prediction give, by name."""
    names = ("predict", "predict_proba", "score_samples", "transform")
    names += ("predict_pdf", "zwarning")
    outputs = {n: getattr(net, n)(X) for n in names if hasattr(net, n)}
    if hasattr(net, "inverse_transform"):
        outputs["inverse_transform"] = net.inverse_transform(outputs["transform"])
        outputs["score"] = net.score(X)
        outputs["latent_std"] = net.transform(X, return_std=True)[1]
    if hasattr(net, "predict_interval"):
        outputs["std"] = net.predict(X, return_std=True)[1]
        outputs["interval"] = net.predict_interval(X)
    if hasattr(net, "predict_solutions"):
        solutions = net.predict_solutions(X)
        outputs |= {f"solution {k}": solutions[k] for k in solutions.dtype.names}
    return {name: np.asarray(value) for name, value in outputs.items()}
'''

# By name: class, parameters, kind of X, of y, and whether there are weights.
CASES = {
    "plain": ("SpectrumClassifier", {}, "spectra", "text", False),
    "numbers": ("SpectrumClassifier", {}, "spectra", "int", False),
    "floats": ("SpectrumClassifier", {}, "spectra", "float", False),
    "truth": ("SpectrumClassifier", {}, "spectra", "bool", False),
    "objects": ("SpectrumClassifier", {"calibrate": True}, "spectra", "object", False),
    "calibrated": (
        "SpectrumClassifier",
        {"module": "resnet10", "module__width": 4, "calibrate": True, "max_epochs": 3},
        "spectra",
        "text",
        False,
    ),
    "weighted": (
        "SpectrumClassifier",
        {"class_weight": "balanced", "calibrate": True},
        "spectra",
        "text",
        True,
    ),
    "channels": ("SpectrumClassifier", {}, "channels", "text", False),
    "galaxies": ("GalaxyClassifier", {}, "bytes", "text", False),
    "imagenet": (
        "GalaxyClassifier",
        {"normalization": "imagenet", "calibrate": True},
        "bytes",
        "int",
        True,
    ),
    "raw": ("GalaxyClassifier", {"normalization": None}, "images", "text", False),
    "stretched": ("GalaxyClassifier", {"stretch": "asinh"}, "images", "text", False),
    "rotated": (
        "GalaxyClassifier",
        {"tta": "rotations", "class_weight": "balanced"},
        "images",
        "text",
        False,
    ),
    "redshift": ("GalaxyRegressor", {}, "images", "number", False),
    "targets": ("GalaxyRegressor", {}, "bytes", "numbers", True),
    "unscaled": ("GalaxyRegressor", {"scale_target": False}, "images", "number", False),
    "single": (
        "GalaxyRegressor",
        {"stretch": "asinh", "normalization": None},
        "images",
        "short",
        False,
    ),
    "redshifts": (
        "RedshiftRegressor",
        {
            "wavelength": np.linspace(4000, 8000, 300).tolist(),
            "redshift": {"GALAXY": [0.0, 0.05]},
        },
        "long spectra",
        "redshifts",
        False,
    ),
    "features": ("RedshiftRegressor", {}, "spectra", "redshifts", True),
    "stars": ("SpectrumRegressor", {"max_epochs": 3}, "spectra", "numbers", True),
    "vae": ("VAETransformer", {}, "images", None, False),
    "vae-spectra": ("VAETransformer", {}, "spectra", None, True),
    "vae-bytes": ("VAETransformer", {}, "bytes", None, False),
    "sevi": ("SEVIRegressor", {"max_epochs": 2}, "electrons", "beta", False),
    "sevi-weighted": ("SEVIRegressor", {"max_epochs": 2}, "electrons", "beta", True),
}


def make_X(kind):
    """Make 40 samples of two classes, every other of each."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    if kind == "spectra":
        X = rng.normal(size=(40, 24))
        X[y == 1, 6:12] += 1.5
    elif kind == "long spectra":
        X = rng.normal(1, 0.1, size=(40, 300))
    elif kind == "channels":
        X = rng.normal(size=(40, 2, 24))
        X[y == 1, :, 6:12] += 1.5
    elif kind == "electrons":
        return make_sevi(40, size=16, n_electrons=1e4, random_state=0).images
    else:
        X = rng.uniform(0, 0.5, size=(40, 16, 16, 3))
        X[y == 1, 4:12, 4:12] += 0.4
        if kind == "bytes":
            return (255 * X).astype(np.uint8)
    return X.astype(np.float32)


def make_y(kind):
    """Make the targets that belong to them."""
    codes = np.arange(40) % 2
    numbers = 1e6 + codes + np.linspace(0, 0.1, 40)
    return {
        None: None,
        "text": np.array(["GALAXY", "STAR"])[codes],
        "int": 7 + 4 * codes,
        "float": 2.0 * codes,
        "bool": codes == 1,
        "object": np.array(["a star", "QSO"], dtype=object)[codes],
        "number": numbers,
        "numbers": np.column_stack([numbers, -codes]),
        "short": codes.astype(np.float32).reshape(-1, 1),
        "beta": np.linspace(-1, 2, 40),
        "redshifts": np.linspace(0.001, 0.049, 40),
    }[kind]


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """Fit all cases, load them in another process; return both processes' outputs."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "test_saved_state_methods.py").write_text(METHODS)
    scope = {}
    exec(METHODS, scope)
    expected, cases = {}, []
    for name, (owner, params, kind, target, weighted) in CASES.items():
        params = {"max_epochs": 2, **params}
        net = make_tiny(getattr(skastro, owner), **params)
        X = make_X(kind)
        weight = {"sample_weight": np.linspace(0, 2, 40)} if weighted else {}
        with warnings.catch_warnings():
            # Two epochs are not enough for an autoencoder.
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(X, make_y(target), **weight)
        # The fit of one image of electrons takes a second.
        X = X[: 2 if kind == "electrons" else 8]
        np.save(folder / f"{name}-X.npy", X)
        expected[name] = scope["outputs_of"](net, X)
        names = inspect.signature(type(net.module_)).parameters
        sizes = {f"module__{k}": v for k, v in net.module_sizes_.items() if k in names}
        for form in ("torch", "safetensors"):
            net.save_params(
                folder / f"{name}.{form}", use_safetensors=form == "safetensors"
            )
            for initialize in (False, True):
                cases.append(
                    {
                        "key": f"{name}-{form}-{initialize}",
                        "name": name,
                        "class": owner,
                        "params": params,
                        "format": form,
                        "initialize": initialize,
                        "sizes": sizes,
                    }
                )
    (folder / "cases.json").write_text(json.dumps(cases))
    helpers = str(Path(inspect.getfile(make_tiny)).parent)
    root = str(Path(skastro.__file__).parents[1])
    paths = [str(folder), helpers, root]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], check=True, env=environment
    )
    found = {
        case["key"]: np.load(folder / f"{case['key']}.npz", allow_pickle=True)
        for case in cases
    }
    return expected, found


@pytest.mark.parametrize("initialize", [False, True], ids=["fresh", "initialized"])
@pytest.mark.parametrize("form", ["torch", "safetensors"])
@pytest.mark.parametrize("name", CASES)
def test_another_process_predicts_the_same(restored, name, form, initialize):
    expected, found = restored
    found = found[f"{name}-{form}-{initialize}"]
    assert set(found.files) == set(expected[name])
    for method, values in expected[name].items():
        assert found[method].dtype == values.dtype
        np.testing.assert_array_equal(found[method], values, err_msg=method)


def test_every_net_has_a_case():
    nets = {cls.__name__ for cls in public_estimators() if hasattr(cls, "save_params")}
    assert {owner for owner, *_ in CASES.values()} == nets


# In this process --------------------------------------------------------------------


tiny = partial(make_tiny, SpectrumClassifier, max_epochs=4)


@pytest.fixture
def fitted(spectra):
    return tiny(calibrate=True).fit(*spectra)


@pytest.mark.parametrize("safe", [False, True])
def test_file_objects(spectra, fitted, safe):
    file = io.BytesIO()
    fitted.save_params(file, use_safetensors=safe)
    file.seek(0)
    fresh = tiny(calibrate=True)
    fresh.load_params(file, use_safetensors=safe)
    X, _ = spectra
    np.testing.assert_array_equal(fresh.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(fresh.predict(X), fitted.predict(X))


def test_optimizer_criterion_and_history(spectra, fitted, tmp_path):
    files = {
        f"f_{n}": tmp_path / n for n in "params optimizer criterion history".split()
    }
    fitted.save_params(**files)
    fresh = tiny(calibrate=True)
    fresh.load_params(**files)
    assert fresh.history == fitted.history
    first, second = fresh.optimizer_.state_dict(), fitted.optimizer_.state_dict()
    assert str(first) == str(second)


def test_loading_replaces_all_that_was_learned(spectra, fitted):
    X, y = spectra
    file = io.BytesIO()
    fitted.save_params(file)
    file.seek(0)
    other = tiny(calibrate=True, random_state=1).fit(X, np.where(y == "STAR", "a", "b"))
    other.load_params(file)
    np.testing.assert_array_equal(other.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(other.classes_, fitted.classes_)
    # The next fit forgets it.
    other.fit(X, np.where(y == "STAR", "a", "b"))
    assert list(other.classes_) == ["a", "b"]


@pytest.mark.parametrize("weights_only", [True, False])
def test_torch_and_skorch_read_the_weights(spectra, fitted, tmp_path, weights_only):
    fitted.save_params(tmp_path / "net.pt")
    weights = torch.load(tmp_path / "net.pt", weights_only=weights_only)
    module = type(fitted.module_)(**fitted.get_params_for("module"))
    module.load_state_dict(weights)
    module.eval()
    X = fitted.module_input(spectra[0])
    with torch.no_grad():
        torch.testing.assert_close(module(X), fitted.module_(X))
    plain = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss).initialize()
    plain.load_params(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("owner", "params", "kind", "target", "missing"),
    [
        ("SpectrumClassifier", {"calibrate": True}, "spectra", "text", "temperature_"),
        ("GalaxyClassifier", {}, "images", "text", "channel_mean_"),
        ("GalaxyRegressor", {}, "images", "number", "target_mean_"),
        ("VAETransformer", {}, "images", None, "channel_low_"),
        ("SEVIRegressor", {"max_epochs": 2}, "electrons", "beta", "target_mean_"),
    ],
)
def test_weights_alone_do_not_predict(owner, params, kind, target, missing):
    X = make_X(kind)
    net = make_tiny(getattr(skastro, owner), **params).fit(X, make_y(target))
    file = io.BytesIO()
    torch.save(dict(net.module_.state_dict()), file)
    names = inspect.signature(type(net.module_)).parameters
    sizes = {f"module__{k}": v for k, v in net.module_sizes_.items() if k in names}
    bare = make_tiny(getattr(skastro, owner), **params)
    file.seek(0)
    with pytest.raises(NotFittedError, match="un-initialized"):
        bare.load_params(file)
    bare.set_params(**sizes).initialize()
    file.seek(0)
    bare.load_params(file)
    for method in ("predict", "predict_proba", "score_samples", "transform"):
        if hasattr(bare, method):
            with pytest.raises(NotFittedError, match=missing):
                getattr(bare, method)(X)


def test_scores_of_novelty_need_the_training_features(spectra, tmp_path):
    X, y = spectra
    sizes = {"module__n_outputs": 2, "module__n_channels": 1, "normalization": None}
    net = tiny("resnet10", module__width=4, max_epochs=2, normalization=None).fit(X, y)
    bare = tiny("resnet10", module__width=4, **sizes).initialize()
    torch.save(net.module_.state_dict(), tmp_path / "weights.pt")
    bare.load_params(tmp_path / "weights.pt")
    # In batches of other sizes, since the shape of X is not known.
    np.testing.assert_allclose(bare.predict_proba(X), net.predict_proba(X), atol=1e-6)
    with pytest.raises(NotFittedError, match="training_features_"):
        bare.score_samples(X)


def test_checkpoint_of_a_training(spectra, tmp_path):
    X, y = spectra
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    net = tiny(callbacks=[checkpoint], restore_best_weights=False).fit(X, y)
    fresh = tiny()
    fresh.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(fresh.predict(X), net.predict(X))
    np.testing.assert_array_equal(fresh.predict_proba(X), net.predict_proba(X))
    assert len(fresh.history) == 4
    # The temperature is measured after the last epoch, which is not in the checkpoint.
    calibrated = tiny(calibrate=True)
    calibrated.load_params(checkpoint=checkpoint)
    with pytest.raises(NotFittedError, match=r"temperature_.*during the training"):
        calibrated.predict(X)


def test_checkpoint_puts_the_best_weights_back(spectra, tmp_path):
    X, y = spectra
    checkpoint = Checkpoint(dirname=tmp_path, monitor="valid_acc_best", load_best=True)
    settings = {"calibrate": True, "restore_best_weights": False, "lr": 0.05}
    net = tiny(callbacks=[checkpoint], **settings).fit(X, y)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, weight in net.module_.state_dict().items():
        assert torch.equal(weight, saved[name])
    # What follows the training belongs to these weights.
    assert net.temperature_ != 1
    logits = net.forward(X)
    expected = (logits / net.temperature_).softmax(dim=1).numpy()
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize("safe", [False, True])
def test_training_goes_on_from_a_checkpoint(spectra, tmp_path, safe):
    X, y = spectra
    settings = {"schedule": None, "restore_best_weights": False, "calibrate": True}
    # The state of an optimizer cannot be written as safetensors.
    options = {"use_safetensors": True, "f_optimizer": None} if safe else {}
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, **options)
    first = tiny(callbacks=[checkpoint], **settings).fit(X, y)
    load = LoadInitState(checkpoint, use_safetensors=safe)
    second = tiny(callbacks=[load], max_epochs=3, **settings).fit(X, y)
    assert len(second.history) == 7
    assert second.history[:4, "train_loss"] == first.history[:, "train_loss"]
    assert second.history[4, "train_loss"] < first.history[0, "train_loss"]
    assert list(second.classes_) == ["GALAXY", "STAR"]
    assert second.score(X, y) > 0.8


def test_training_does_not_go_on_with_other_data(spectra, tmp_path):
    X, y = spectra
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    tiny(callbacks=[checkpoint]).fit(X, y)
    other = tiny(callbacks=[LoadInitState(checkpoint)])
    with pytest.raises(ValueError, match=r"classes.*GALAXY.*QSO"):
        other.fit(X, np.where(y == "STAR", "QSO", y))


class Keeper(BaseRegressor):
    """Learns an attribute."""

    def __init__(self, module="mlp", *args, make=None, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.make = make

    def _after_training(self, train, valid):
        super()._after_training(train, valid)
        self.kept_ = self.make()


def keeper(make):
    return Keeper(make=make, max_epochs=1, verbose=0, device="cpu", random_state=0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        float("inf"),
        "text",
        np.float32(0.1),
        np.arange(6).reshape(2, 3),
        np.array(["a", "bc"]),
        np.array(["a", 1, None], dtype=object),
        np.zeros((0, 2), dtype=np.int16),
        np.array(3.5),
        np.datetime64("2026-01-01"),
        np.dtype("<f4"),
        (1, [2.5, "x"], {"a": (None,)}),
        {1, 2},
        {"array": np.arange(2), "tensor": {"scalar": 3}},
        {1: "one", (2, 3): [None]},
        torch.arange(3),
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.tensor(2.0),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("safe", [False, True])
def test_values_that_can_be_written(spectra, tmp_path, value, safe):
    X, _ = spectra
    net = keeper(lambda: value).fit(X, X[:, 0])
    net.save_params(tmp_path / "net", use_safetensors=safe)
    fresh = keeper(None)
    fresh.load_params(tmp_path / "net", use_safetensors=safe)
    kept = fresh.kept_
    assert type(kept) is type(value)
    if isinstance(value, torch.Tensor):
        assert kept.dtype == value.dtype
        assert torch.equal(kept, value)
    elif isinstance(value, np.ndarray):
        assert kept.dtype == value.dtype
        assert kept.shape == value.shape
        np.testing.assert_array_equal(kept, value)
    else:
        np.testing.assert_equal(kept, value)
    np.testing.assert_array_equal(fresh.predict(X), net.predict(X))


@pytest.mark.parametrize(
    "value", [lambda: 0, object(), [1, {"deep": object()}], {1: object()}, 1j]
)
def test_values_that_cannot_be_written(spectra, tmp_path, value):
    X, _ = spectra
    net = keeper(lambda: value).fit(X, X[:, 0])
    with pytest.raises(TypeError, match=r"Keeper\.kept_.*_fitted_state"):
        net.save_params(tmp_path / "net")
    assert not (tmp_path / "net").exists()


class Converter(Keeper):
    """Converts an attribute that cannot be written."""

    def _fitted_state(self):
        state = super()._fitted_state()
        return {**state, "kept_": [state["kept_"].real, state["kept_"].imag]}

    def _restore_fitted_state(self, state):
        super()._restore_fitted_state(state)
        self.kept_ = complex(*state["kept_"])


def test_hooks_convert_state(spectra, tmp_path):
    X, _ = spectra
    settings = {"max_epochs": 1, "verbose": 0, "device": "cpu"}
    net = Converter(make=lambda: 1 + 2j, **settings).fit(X, X[:, 0])
    net.save_params(tmp_path / "net.pt")
    fresh = Converter(**settings)
    fresh.load_params(tmp_path / "net.pt")
    assert fresh.kept_ == 1 + 2j


def test_files_of_another_kind_of_estimator_are_refused(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    net = BaseRegressor("mlp", max_epochs=1, verbose=0).fit(X, X[:, 0])
    net.save_params(f_params=tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="written by BaseRegressor, a regressor"):
        SpectrumClassifier("mlp").load_params(f_params=tmp_path / "weights.pt")
