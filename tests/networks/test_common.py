# SPDX-License-Identifier: BSD-3-Clause
"""What every registered network must do."""

import copy
import inspect
import pickle

import pytest
import torch

from skastro.networks import get_module

pytestmark = pytest.mark.once

TINY = {
    "resnet10": {"width": 2},
    "resnet18": {"width": 2},
    "resnet34": {"width": 2},
    "resnet50": {"width": 1},
    "resnet101": {"width": 1},
    "densenet": {"growth_rate": 1},
    "mlp": {"hidden": (3, 2), "batch_norm": True},
    "convnet": {"widths": (2, 3), "hidden": 4},
    "redshift": {"width": 3, "n_blocks": 1, "n_features": 2, "n_templates": 2},
}
NETWORKS = [(name, 1) for name in TINY] + [
    (name, 2) for name in TINY if name not in ("densenet", "convnet", "redshift")
]
LENGTHS = [1, 2, 3, 5, 17, 100, 2600, 10_000]
IMAGES = [(1, 1), (1, 7), (5, 2), (33, 64)]


def build(name, shape, n_outputs=3, seed=0, **settings):
    """Make a tiny network for input of one shape (batch, channels, ...)."""
    module = get_module(name, ndim=len(shape) - 2)
    sizes = {
        "n_channels": shape[1],
        "n_outputs": n_outputs,
        "input_size": shape[2] if len(shape) == 3 else shape[2:],
    }
    accepted = inspect.signature(module).parameters
    sizes = {key: value for key, value in sizes.items() if key in accepted}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return module(**sizes, **TINY[name] | settings)


def example(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_works(name, shape):
    network = build(name, shape)
    for n_rows in (shape[0], 1):
        x = example((n_rows, *shape[1:]))
        for training in (True, False):
            output = network.train(training)(x)
            assert output.shape == (n_rows, 3)
            assert output.isfinite().all()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("length", LENGTHS)
def test_any_length_and_a_batch_of_one(name, length):
    assert_works(name, (2, 1, length))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("n_channels", [2, 3, 4, 5])
def test_any_number_of_channels(name, n_channels):
    assert_works(name, (2, n_channels, 40))


@pytest.mark.parametrize("name", [name for name, ndim in NETWORKS if ndim == 2])
@pytest.mark.parametrize("size", IMAGES)
def test_any_image_size(name, size):
    assert_works(name, (2, 3, *size))


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_gradients_reach_every_parameter(name, ndim):
    shape = (4, 2, 130) if ndim == 1 else (4, 2, 40, 48)
    wider = {"mlp": {"hidden": (16, 16)}, "convnet": {"hidden": 16}}.get(name, {})
    network = build(name, shape, **wider)
    network(example(shape)).logsumexp(1).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_same_seed_gives_same_weights(name, ndim):
    shape = (2, 1, 30) if ndim == 1 else (2, 1, 9, 10)
    first, again, other = (build(name, shape, seed=seed) for seed in (0, 0, 1))
    x = example(shape)
    torch.testing.assert_close(first.eval()(x), again.eval()(x), rtol=0, atol=0)
    assert not torch.equal(first(x), other.eval()(x))


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_copies_predict_the_same(name, ndim):
    shape = (2, 1, 30) if ndim == 1 else (2, 1, 9, 10)
    network = build(name, shape)
    network(example(shape))  # moves the running statistics
    network.eval()
    x = example(shape, seed=2)
    loaded = build(name, shape, seed=5).eval()
    loaded.load_state_dict(network.state_dict())
    copies = [pickle.loads(pickle.dumps(network)), copy.deepcopy(network), loaded]
    for duplicate in copies:
        torch.testing.assert_close(duplicate(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_state_is_contiguous(name, ndim):
    """Some file formats of checkpoints take no other tensors."""
    network = build(name, (2, 1, 30) if ndim == 1 else (2, 1, 9, 10))
    assert all(value.is_contiguous() for value in network.state_dict().values())


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_rows_do_not_influence_each_other_at_predict(name, ndim):
    shape = (5, 2, 77) if ndim == 1 else (5, 2, 20, 31)
    network = build(name, shape).eval()
    x = example(shape)
    together = network(x)
    for i in range(len(x)):
        alone = network(x[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_input_is_left_as_it_was(name, ndim):
    shape = (3, 1, 50) if ndim == 1 else (3, 1, 12, 13)
    x = example(shape)
    kept = x.clone()
    build(name, shape)(x)
    torch.testing.assert_close(x, kept, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_mixed_precision_stays_close_and_answers_in_float32(name, ndim):
    shape = (8, 1, 200) if ndim == 1 else (8, 1, 40, 41)
    wider = {"mlp": {}, "densenet": {"growth_rate": 4}, "convnet": {"hidden": 16}}.get(
        name, {"width": 8}
    )
    network = build(name, shape, **wider)
    network(example(shape))
    network.eval()
    x = example(shape, seed=3)
    expected = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x)
    assert output.dtype == torch.float32
    scale = expected.abs().max().item()
    torch.testing.assert_close(output, expected, rtol=0, atol=0.05 * scale)


@pytest.mark.parametrize("name", [name for name in TINY if name != "mlp"])
def test_wrong_number_of_axes_is_named(name):
    with pytest.raises(
        ValueError, match=r"takes tensors of shape .*got shape \(3, 9\)"
    ):
        build(name, (3, 1, 9))(torch.zeros(3, 9))
