# SPDX-License-Identifier: BSD-3-Clause
"""set_params on a fitted net: what it predicts stays, or a warning says otherwise."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyClassifier, GalaxyRegressor, SpectrumClassifier
from skastro.base import BaseClassifier

pytestmark = pytest.mark.once

LOST = "built the network anew, .*what was trained is lost. Call fit"


@pytest.fixture
def fitted(tiny, spectra):
    return tiny(module="resnet10", module__width=4, calibrate=True).fit(*spectra)


@pytest.mark.parametrize(
    "params",
    [
        {"compile": True, "compile__backend": "eager"},
        {"module__dropout": 0.3},
        {"module__dropout": 0.3, "lr": 0.1, "compile": False},
        {"criterion__label_smoothing": 0.1},
        {"criterion__weight": torch.ones(2)},
        {"augment": None},
        {"batch_size": 3, "random_state": 5, "verbose": 0},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_weights_and_predictions_stay(fitted, spectra, params):
    X, _ = spectra
    expected, scores = fitted.predict_proba(X), fitted.score_samples(X)
    state = torch.get_rng_state()
    fitted.set_params(**params)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-5)
    np.testing.assert_allclose(fitted.score_samples(X), scores, atol=1e-5)
    # Trained on, it goes on from there.
    before = copy.deepcopy(fitted.module_.state_dict())
    fitted.set_params(lr=1e-9, max_epochs=1).partial_fit(*spectra)
    for name, weight in fitted.module_.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "value"), [("precision", "flaot32"), ("lr", -1.0), ("warn_novelty", 3)]
)
def test_values_are_checked_at_once(fitted, spectra, name, value):
    expected = fitted.predict_proba(spectra[0])
    with pytest.raises(ValueError, match=f"The '{name}' parameter of Spectrum"):
        fitted.set_params(**{name: value})
    assert getattr(fitted, name) != value
    np.testing.assert_array_equal(fitted.predict_proba(spectra[0]), expected)
    # Before fit nothing is checked, as in scikit-learn.
    clone(fitted).set_params(**{name: value})


def test_every_sample_is_predicted_in_its_place(fitted, spectra):
    with pytest.warns(UserWarning, match="will be shuffled"):
        fitted.set_params(iterator_valid__shuffle=True)
    fitted.set_params(iterator_valid__shuffle=False, iterator_valid__drop_last=True)
    fitted.set_params(iterator_valid__batch_size=len(spectra[0]) - 1)
    with pytest.raises(ValueError, match=r"unset what leaves some out, of .*drop_"):
        fitted.predict(spectra[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compile_goes_on_and_off(fitted, spectra):
    X, _ = spectra
    module = fitted.module_
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    expected = fitted.predict_proba(X[:4])
    fitted.set_params(compile=True, compile__backend=backend)
    np.testing.assert_allclose(fitted.predict_proba(X[:4]), expected, atol=1e-6)
    n_graphs = len(compiled)
    assert n_graphs
    fitted.set_params(compile=False)
    np.testing.assert_allclose(fitted.predict_proba(X[:3]), expected[:3], atol=1e-6)
    assert len(compiled) == n_graphs
    assert next(fitted.module_.parameters()) is next(module.parameters())


@pytest.mark.parametrize(
    "params",
    [
        {"module__width": 6},
        {"module": "mlp", "module__dropout": 0.0},
        {"module__activation": nn.ReLU, "module": nn.Linear(48, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("verbose", [0, 1])
def test_lost_weights_are_told_of(tiny, spectra, params, verbose):
    clf = tiny("resnet10", module__width=4, verbose=verbose, max_epochs=1).fit(*spectra)
    params = dict(params)
    if "module" in params:
        del clf.__dict__["_extras"]
        params = {"module": params["module"]}
    with pytest.warns(UserWarning, match=LOST):
        clf.set_params(**params)


def test_the_same_parameters_once_more(fitted, spectra):
    X, _ = spectra
    expected = fitted.predict_proba(X)
    fitted.set_params(**fitted.get_params(deep=False))
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_optimizers_and_their_parameters(fitted, spectra):
    fitted.set_params(optimizer__weight_decay=0.7)
    assert fitted.get_params()["optimizer__weight_decay"] == 0.7
    assert fitted.optimizer_.param_groups[0]["weight_decay"] == 0.7
    assert fitted.fit(*spectra).optimizer_.param_groups[0]["weight_decay"] == 0.7
    fitted.set_params(optimizer=torch.optim.SGD, optimizer__momentum=0.5)
    assert isinstance(fitted.optimizer_, torch.optim.SGD)
    assert fitted.optimizer_.param_groups[0]["momentum"] == 0.5


def test_a_module_of_the_users_own_is_not_written_to(spectra):
    X, y = spectra

    class Scaled(nn.Module):
        def __init__(self, factor=1.0):
            super().__init__()
            self.register_buffer("factor", torch.tensor(factor))
            self.linear, self.norm = nn.Linear(48, 2), nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(self.linear(x * self.factor))

    given = Scaled()
    before = copy.deepcopy(given.state_dict())
    net = BaseClassifier(given, max_epochs=2, verbose=0, device="cpu").fit(X, y)
    # A buffer that a parameter sets cannot be told from one that was learned.
    with pytest.warns(UserWarning, match=LOST):
        net.set_params(module__factor=2.0)
    assert net.module_.factor == 2
    for name, value in given.state_dict().items():
        assert torch.equal(value, before[name])


def test_clones_and_unfitted_nets_do_not_warn(fitted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(fitted).set_params(module__width=7, module="mlp")
        SpectrumClassifier().set_params(module__width=7)


def test_scale_of_targets_stays(spectra):
    X, _ = spectra
    reg = make_tiny(GalaxyRegressor, max_epochs=1, image_shape=(1, X.shape[1]))
    reg.fit(X, 1e4 + X[:, 0])
    expected = reg.predict(X)
    np.testing.assert_array_equal(
        reg.set_params(scale_target=False).predict(X), expected
    )


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((6, 6, 6), {"channel_axis": 1}),
        ((24,), {"image_shape": (6, 4)}),
        ((24,), {"image_shape": None}),
    ],
)
@pytest.mark.parametrize("tta", [False, True])
def test_layout_of_images_stays(shape, params, tta):
    X = np.random.default_rng(0).uniform(size=(30, *shape))
    image_shape = (4, 6) if len(shape) == 1 else None
    clf = make_tiny(GalaxyClassifier, max_epochs=1, image_shape=image_shape, tta=tta)
    expected = clf.fit(X, np.arange(30) % 2).predict_proba(X)
    np.testing.assert_array_equal(clf.set_params(**params).predict_proba(X), expected)
    # The next fit takes what was set.
    clf.fit(X, np.arange(30) % 2)
    assert clf.image_layout_ == (clf.channel_axis, clf.image_shape)
