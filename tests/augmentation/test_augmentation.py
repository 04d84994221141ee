# SPDX-License-Identifier: BSD-3-Clause
"""Variation of training batches."""

import numpy as np
import pytest
import torch

from skastro import SpectrumClassifier
from skastro.augmentation import Compose, GaussianNoise, ShiftSpectra


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(500, 40), (300, 3, 50)])
def test_noise_has_the_strength_it_says(shape):
    flux = 7 * torch.randn(shape, generator=generator(1)) + 3
    noise = GaussianNoise(0.4)(flux, generator=generator()) - flux
    deviation = flux.std(dim=-1, correction=0)
    # Strengths are even from 0 to 0.4: their mean square is 0.4^2 / 3.
    ratio = (noise.square().mean(dim=-1) / deviation.square()).mean().sqrt()
    assert ratio == pytest.approx(0.4 / 3**0.5, rel=0.1)
    assert noise.mean() == pytest.approx(0, abs=0.1)


def test_noise_of_constant_spectra_is_nil():
    flux = torch.full((2, 10), 4.0)
    assert torch.equal(GaussianNoise()(flux), flux)
    assert torch.equal(GaussianNoise()(torch.ones(3, 1)), torch.ones(3, 1))


@pytest.mark.parametrize("channels", [(), (2,)])
def test_shift_moves_whole_spectra(channels):
    length, largest = 200, 10
    line = torch.zeros(400, *channels, length)
    line[..., 100] = 1
    shifted = ShiftSpectra(largest / length)(line, generator=generator())
    assert torch.equal(shifted.sum(dim=-1), torch.ones(400, *channels))
    moved = shifted.argmax(dim=-1) - 100
    assert set(moved.flatten().tolist()) == set(range(-largest, largest + 1))
    if channels:
        assert torch.equal(moved[:, 0], moved[:, 1])


def test_shift_repeats_the_edge_and_leaves_short_spectra_alone():
    ramp = torch.arange(10.0).expand(50, 10)
    shifted = ShiftSpectra(0.3)(ramp, generator=generator())
    assert (shifted.diff(dim=-1) >= 0).all()
    assert torch.equal(ShiftSpectra(0.09)(ramp), ramp)


@pytest.mark.parametrize("operation", [GaussianNoise(), ShiftSpectra(0.2)])
def test_draws_follow_the_generator_and_leave_the_batch_alone(operation):
    flux = torch.randn(8, 30, generator=generator(5))
    before = flux.clone()
    first = operation(flux, generator=generator(2))
    assert torch.equal(operation(flux, generator=generator(2)), first)
    assert not torch.equal(operation(flux, generator=generator(3)), first)
    assert torch.equal(flux, before)


def test_compose_keeps_the_order():
    def double(batch, generator=None):
        return 2 * batch

    def increment(batch, generator=None):
        return batch + 1

    assert Compose([double, increment])(torch.ones(1, 1)).item() == 3
    assert Compose([increment, double])(torch.ones(1, 1)).item() == 4
    with pytest.raises(TypeError, match="must be callable, but got 3"):
        Compose([double, 3])


@pytest.mark.parametrize("value", [-0.1, float("nan"), 2.0])
def test_bad_parameters(value):
    if value < 1.5:
        with pytest.raises(ValueError, match="max_scale"):
            GaussianNoise(value)
    with pytest.raises(ValueError, match="max_shift"):
        ShiftSpectra(value)


@pytest.mark.parametrize("weighted", [False, True])
def test_only_training_rows_are_varied(weighted):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 2
    varied = []

    def augment(batch):
        varied.append(batch.clone())
        return batch + 1

    clf = SpectrumClassifier(
        "mlp",
        augment=augment,
        normalization=None,
        max_epochs=1,
        train_split=0.25,
        verbose=0,
        random_state=0,
    ).fit(X, y, sample_weight=np.ones(40) if weighted else None)
    assert sum(len(batch) for batch in varied) == 30
    rows = {tuple(row) for batch in varied for row in batch.tolist()}
    assert rows < {tuple(row) for row in X.tolist()}
    clf.predict(X)
    assert sum(len(batch) for batch in varied) == 30
