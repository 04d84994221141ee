# SPDX-License-Identifier: BSD-3-Clause
"""Networks in short formats predict and learn as those in float32."""

import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

pytestmark = pytest.mark.once

# The largest difference of a probability that the same weights may give. bfloat16
# keeps 8 bits of a number, float16 11; the networks are a dozen layers deep.
BOUND = {"bfloat16": 0.03, "float16": 0.005}


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("module", ["resnet10", "resnet18", "mlp", "densenet"])
def test_precisions_predict_alike(tiny, spectra, module, precision):
    X, y = np.repeat(spectra[0], 12, axis=1), spectra[1]
    settings = {"module__width": 8} if module.startswith("resnet") else {}
    if module == "densenet":
        settings = {"module__growth_rate": 4, "module__n_dense_blocks": 2}
    clf = tiny(module=module, precision="float32", max_epochs=2, **settings).fit(X, y)
    exact = clf.predict_proba(X)
    rounded = clf.set_params(precision=precision).predict_proba(X)
    assert exact.dtype == rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < BOUND[precision]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(tiny, spectra, precision):
    X, y = spectra
    clf = tiny(precision=precision).fit(X[::2], y[::2])
    assert clf.score(X[1::2], y[1::2]) > 0.9
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}


class SmallSignal(nn.Module):
    """A network whose gradients are below what float16 can hold."""

    def __init__(self, input_size):
        super().__init__()
        self.inner = nn.Linear(input_size, 8, bias=False)
        self.outer = nn.Linear(8, 2, bias=False)

    def forward(self, x):
        """Multiply by little on the way."""
        return self.outer(self.inner(x[:, 0]) * 1e-6) * 1e-3


def test_gradients_of_float16_are_scaled(tiny, spectra):
    class Gradients(Callback):
        def on_grad_computed(self, net, named_parameters, **_):
            self.largest = max(
                float(weight.grad.abs().max()) for _, weight in named_parameters
            )

    largest = []
    for precision in ("float32", "float16"):
        watch = Gradients()
        tiny(
            module=SmallSignal,
            precision=precision,
            max_epochs=1,
            augment=None,
            callbacks=[watch],
        ).fit(*spectra)
        largest.append(watch.largest)
    # What callbacks see, to clip it for instance, is the gradient itself.
    assert largest[1] == pytest.approx(largest[0], rel=0.05)


def test_small_networks_stay_with_float32(tiny, spectra):
    X, y = np.repeat(spectra[0], 12, axis=1), spectra[1]
    auto, exact = (
        tiny(module__hidden=(4,), precision=precision).fit(X, y).predict_proba(X)
        for precision in ("auto", "float32")
    )
    np.testing.assert_array_equal(auto, exact)


class Steep(nn.Module):
    """A network whose first scaled gradients overflow in float16."""

    def __init__(self, input_size):
        super().__init__()
        self.linear = nn.Linear(input_size, 2)

    def forward(self, x):
        """Classify three hundred times the flux."""
        return self.linear(x[:, 0] * 300)


def test_partial_fit_keeps_the_scale_of_float16(tiny, spectra):
    X, y = spectra
    clf = tiny(module=Steep, precision="float16", max_epochs=1, lr=1e-3)
    clf.set_params(train_split=None, augment=None, batch_size=-1, schedule=None)
    before = clf.partial_fit(X, y).score(X, y)
    for _ in range(40):
        clf.partial_fit(X, y)
    assert clf.score(X, y) > before + 0.1
    pickle.loads(pickle.dumps(clf)).partial_fit(X, y)


def test_float16_needs_an_optimizer_that_steps_once(tiny, spectra):
    clf = tiny(precision="float16", optimizer=torch.optim.LBFGS)
    with pytest.raises(ValueError, match="precision='bfloat16'"):
        clf.fit(*spectra)
