# SPDX-License-Identifier: BSD-3-Clause
"""What SEVIRegressor refuses, and what a training on simulated images sees."""

from itertools import pairwise

import numpy as np
import pytest
from skorch.callbacks import Callback

from skastro import SEVIRegressor
from skastro.sevi import SEVISimulator, make_sevi
from skastro.sevi._regressor import _simulated_images

QUICK = {"max_epochs": 1, "random_state": 0, "verbose": 0, "device": "cpu"}
TINY = {**QUICK, "module__widths": (8,), "module__hidden": 16}


@pytest.fixture(scope="module")
def sevi():
    """Make images of two shells."""
    return make_sevi(8, 2, size=16, n_electrons=1e4, random_state=0)


@pytest.mark.parametrize("options", [{}, {"module": "resnet10", "module__width": 4}])
def test_network_alone_refuses_what_are_no_counts(sevi, options):
    own = QUICK if options else TINY
    reg = SEVIRegressor(refine=False, **options, **own).fit(sevi.images, sevi.beta)
    negative, empty = sevi.images.copy(), sevi.images.copy()
    negative[3, 5, 5], empty[6] = -1, 0
    with pytest.raises(ValueError, match=r"X\[3\] falls to -1"):
        reg.predict(negative)
    with pytest.raises(ValueError, match=r"without any electron, such as X\[6\]"):
        reg.predict(empty)
    assert reg.predict(sevi.images).shape == (8, 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": (100.0, 400.0)}, "beyond the corners of images of extent=1"),
        ({"radius": (0.9, 0.3)}, "radius must be two positive numbers"),
        ({"radius_width": (0.0, 0.3)}, "radius_width must be two positive numbers"),
    ],
)
def test_ranges_are_checked_before_anything_is_done(sevi, settings, message):
    reg = SEVIRegressor(**settings, **TINY)
    with pytest.raises(ValueError, match=message):
        reg.fit(sevi.images, sevi.beta)
    assert not hasattr(reg, "module_")


def test_published_networks_have_one_channel_and_12_outputs_a_shell(sevi):
    reg = SEVIRegressor("resnet18", module__width=4, refine=False, **QUICK)
    reg.fit(sevi.images, sevi.beta)
    assert reg.module_.conv1.in_channels == 1
    assert reg.module_.fc.out_features == 24


class Watch(Callback):
    """Note the images of each epoch."""

    def initialize(self):
        self.seeds_ = []
        return self

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.seeds_.append(_simulated_images(dataset_train).seeds.clone())


def test_images_are_replaced_while_the_network_is_trained():
    watch = Watch()
    reg = SEVIRegressor(
        **{**TINY, "max_epochs": 5},
        n_simulated=30,
        n_replaced=4,
        replace_every=2,
        callbacks=[("watch", watch)],
    )
    reg.fit_simulator(SEVISimulator(size=8, n_electrons=1e3))
    seeds = dict(reg.callbacks_)["watch"].seeds_
    changed = [int((a != b).sum()) for a, b in pairwise(seeds)]
    np.testing.assert_array_equal(changed, [0, 4, 0, 4])
