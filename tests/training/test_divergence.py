# SPDX-License-Identifier: BSD-3-Clause
"""A training that diverges ends with an error, and no estimator that predicts."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback
from tiny_estimators import make_tiny
from torch import nn

import skastro
from skastro import SpectrumClassifier
from skastro.base import _net
from skastro.networks import ResNet

pytestmark = pytest.mark.once

X = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
Y = np.repeat([0, 1], 20)


def check_is_not_fitted(net):
    with pytest.raises(NotFittedError):
        net.predict(X)
    # And anew.
    net.set_params(lr=1e-3, callbacks=None).fit(X, Y).predict(X)


def test_loss():
    class Poison(Callback):
        def on_epoch_begin(self, net, **_):
            if len(net.history) == 3:
                with torch.no_grad():
                    next(net.module_.parameters()).fill_(torch.nan)

    net = make_tiny(SpectrumClassifier, callbacks=[Poison()])
    with pytest.raises(ValueError, match=r"diverged: in epoch 3 .*Lower lr \(it is"):
        net.fit(X, Y)
    check_is_not_fitted(net)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_gradient_of_the_last_step(value):
    """No later loss shows it."""

    class Poison(Callback):
        def on_grad_computed(self, net, named_parameters, **_):
            if len(net.history) == 2:
                next(iter(named_parameters))[1].grad[0] = value

    net = make_tiny(SpectrumClassifier, max_epochs=2, batch_size=100)
    net.set_params(callbacks=[Poison()], train_split=None)
    with pytest.raises(ValueError, match="diverged: in epoch 2"):
        net.fit(X, Y)
    check_is_not_fitted(net)


@pytest.mark.parametrize("name", ["SEVIRegressor", "VAETransformer", "GalaxyRegressor"])
def test_every_kind_of_net(name):
    images = np.random.default_rng(0).normal(size=(30, 16, 16, 3)).astype(np.float32)
    images = images[..., 0] if name == "SEVIRegressor" else images
    # Two steps an epoch.
    settings = {"optimizer": torch.optim.SGD, "lr": 1e30, "batch_size": 16}
    net = make_tiny(getattr(skastro, name), **settings)
    y = None if name == "VAETransformer" else np.linspace(-0.5, 1, 30)
    with pytest.raises(ValueError, match="The training diverged: in epoch 1"):
        net.fit(np.abs(images), y)


def test_only_the_packages_networks_are_computed_in_short_formats(monkeypatch):
    """Torch's gradients of strided convolutions are wrong in these, on CPUs."""
    monkeypatch.setattr(_net, "resolve_precision", lambda *_: torch.bfloat16)
    formats = {}

    class Own(ResNet):
        def forward(self, x):
            return super().forward(x)

    for module in ("resnet18", Own):
        net = make_tiny(SpectrumClassifier, module=module, module__width=2)
        net.set_params(max_epochs=1, precision="auto").fit(X, Y)
        formats[module] = net._autocast_dtype(1000)
        net.set_params(precision="bfloat16")
        assert net._autocast_dtype(1000) is torch.bfloat16
    assert formats == {"resnet18": torch.bfloat16, Own: None}


def test_modules_of_the_user_are_warned_of():
    """As skorch does, their training goes on."""
    net = make_tiny(SpectrumClassifier, module=nn.Linear, max_epochs=3)
    net.set_params(module__in_features=24, module__out_features=2, augment=None)
    net.set_params(optimizer=torch.optim.SGD, lr=1e38)
    with pytest.warns(ConvergenceWarning, match="diverged: in epoch 1") as caught:
        net.fit(1e3 * X, Y)
    assert len([w for w in caught if "diverged" in str(w.message)]) == 1
    assert len(net.history) == 3


def test_infinite_buffers_are_no_divergence():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor(-torch.inf))
            self.fc = nn.Linear(24, 2)

        def forward(self, x):
            return self.fc(x)

    make_tiny(SpectrumClassifier, module=Masked, max_epochs=1).fit(X, Y)
