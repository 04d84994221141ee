# SPDX-License-Identifier: BSD-3-Clause
"""The variational autoencoder: the published network, any size, and the options."""

import copy
import pickle

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from skastro.networks import ConvVAE, get_module

pytestmark = pytest.mark.once


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(*sizes, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ConvVAE(*sizes, **settings)


def layers_of(module):
    """Name the layers in the order of the forward pass, as published."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.modules.batchnorm._BatchNorm)
    listed = []
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            listed.append(("up", *_convolution(layer), layer.output_padding))
        elif isinstance(layer, nn.Conv2d):
            listed.append(("conv", *_convolution(layer)))
        elif isinstance(layer, kinds):
            listed.append(("norm", layer.num_features))
        elif isinstance(layer, nn.LeakyReLU):
            listed.append(("leaky", layer.negative_slope))
    return listed


def _convolution(layer):
    assert layer.bias is not None
    return (
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
    )


def test_published_network_layer_by_layer():
    with torch.device("meta"):
        network = get_module("vae", ndim=2)(n_channels=3, input_size=(256, 256))
    three, two, one = (3, 3), (2, 2), (1, 1)
    encoder = []
    for n_read, n_written in [(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)]:
        encoder += [("conv", n_read, n_written, three, two, one)]
        encoder += [("norm", n_written), ("leaky", 0.01)]
    assert layers_of(network.encoder) == encoder
    decoder = []
    for n_read, n_written in [(512, 256), (256, 128), (128, 64), (64, 32), (32, 32)]:
        decoder += [("up", n_read, n_written, three, two, one, one)]
        decoder += [("norm", n_written), ("leaky", 0.01)]
    assert layers_of(network.decoder) == decoder
    assert layers_of(network.to_pixels) == [("conv", 32, 3, three, one, one)]
    assert isinstance(network.output, nn.Tanh)
    for layer, n_read, n_written in [
        (network.fc_mu, 512 * 8 * 8, 35),
        (network.fc_var, 512 * 8 * 8, 35),
        (network.fc_decode, 35, 512 * 8 * 8),
    ]:
        assert (layer.in_features, layer.out_features) == (n_read, n_written)


def test_number_of_parameters_of_the_published_network():
    with torch.device("meta"):
        network = ConvVAE(3, (256, 256))
    encoder = 896 + 18_496 + 73_856 + 295_168 + 1_180_160
    decoder = 1_179_904 + 295_040 + 73_792 + 18_464 + 9_248 + 867
    norms = 2 * (32 + 64 + 128 + 256 + 512 + 256 + 128 + 64 + 32 + 32)
    linear = 2 * (32_768 * 35 + 35) + (35 * 32_768 + 32_768)
    total = encoder + decoder + norms + linear
    assert total == 6_622_377
    assert sum(value.numel() for value in network.parameters()) == total


@pytest.mark.parametrize("size", [100, (88, 88), (256, 200)], ids=str)
@pytest.mark.parametrize("latent_dim", [1, 4, 35])
def test_variant_around_axes(size, latent_dim):
    ndim = 1 if isinstance(size, int) else 2
    with torch.device("meta"):
        network = get_module("vae-axes", ndim)(3, size, latent_dim)
    assert network.axes.scales.shape == (latent_dim,)
    if ndim == 2:
        assert network.n_invariant == {1: 1, 4: 2, 35: 21}[latent_dim]
        sizes = {88: (44, 44), 256: (64, 50)}[size[0]]
        assert network.axes.mean.shape == (3, *sizes)


SIZES = [
    (1,),
    (10,),
    (16,),
    (17,),
    (31,),
    (100,),
    (3001,),
    (1, 7),
    (16, 16),
    (16, 50),
    (69, 69),
    (88, 45),
    (33, 17),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("n_levels", [1, 5, 7])
def test_any_size_comes_back(size, n_levels):
    network = build(2, size, 3, widths=(2,) * n_levels)
    for n_rows in (3, 1):
        x = normal(n_rows, 2, *size)
        for training in (True, False):
            network.train(training)
            reconstruction, mean, log_variance = network(x)
            assert reconstruction.shape == x.shape
            assert mean.shape == log_variance.shape == (n_rows, 3)
            for part in (reconstruction, mean, log_variance):
                assert part.isfinite().all()
            assert reconstruction.abs().max() <= 1


@pytest.mark.parametrize("n_channels", [1, 2, 5, 9])
@pytest.mark.parametrize("size", [40, (20, 24)], ids=str)
def test_any_number_of_channels(n_channels, size):
    network = build(n_channels, size, 4, widths=(3, 5), kernel_size=5)
    sizes = (size,) if isinstance(size, int) else size
    x = normal(2, n_channels, *sizes)
    assert network(x)[0].shape == x.shape


def plain_1d(network):
    """Rebuild a network for spectra from torch's own 1-D layers."""
    levels = []
    for conv, norm, _ in [*network.encoder, *network.decoder]:
        kind = nn.ConvTranspose1d if isinstance(conv, nn.ConvTranspose1d) else nn.Conv1d
        settings = {
            "kernel_size": conv.kernel_size,
            "stride": conv.stride,
            "padding": conv.padding,
        }
        if kind is nn.ConvTranspose1d:
            settings["output_padding"] = conv.output_padding
        plain = kind(conv.in_channels, conv.out_channels, **settings)
        plain.load_state_dict(conv.state_dict())
        plain_norm = nn.BatchNorm1d(norm.num_features)
        levels.append(nn.Sequential(plain, plain_norm, nn.LeakyReLU(0.01)))
    n = len(network.encoder)
    return nn.Sequential(*levels[:n]), nn.Sequential(*levels[n:])


def test_spectra_against_layers_of_torch():
    network = build(2, 45, 4, widths=(3, 6), kernel_size=5)
    encoder, decoder = plain_1d(network)
    x = normal(6, 2, 45)
    features = encoder(x).flatten(1)
    mean, log_variance = network.encode(x)
    torch.testing.assert_close(mean, network.fc_mu(features))
    torch.testing.assert_close(log_variance, network.fc_var(features))
    maps = decoder(network.fc_decode(mean).view(6, 6, 12))
    pixels = nn.functional.conv1d(
        maps, network.to_pixels.weight, network.to_pixels.bias, padding=2
    )
    torch.testing.assert_close(network.decode(mean), pixels.tanh())


def test_draws_in_training_and_means_in_evaluation():
    network = build(1, 32, 3, widths=(4,))
    x = normal(1, 1, 32).expand(4000, 1, 32)
    drawn = []
    network.decode = lambda z: drawn.append(z) or x
    _, mean, log_variance = network.train()(x)
    torch.testing.assert_close(drawn[0].mean(0), mean[0], atol=0.1, rtol=0)
    width = (0.5 * log_variance[0]).exp()
    torch.testing.assert_close(drawn[0].std(0), width, atol=0, rtol=0.1)
    _, mean, _ = network.eval()(x)
    torch.testing.assert_close(drawn[1], mean, rtol=0, atol=0)


OURS = {"output": "linear", "invariant": 0.5, "around_axes": True, "max_size": 16}
VARIANTS = {
    "spectra": ((2, 50, 4), {}),
    "images": ((2, (20, 24), 4), {}),
    "spectra around axes": (
        (2, 50, 4),
        OURS | {"invariant": 0.0},
    ),
    "images around axes": ((2, (20, 20), 4), OURS),
    "oblong images around axes": ((2, (36, 20), 4), OURS),
}


def variant(name, **settings):
    """Build a network, and samples of which it knows the axes."""
    sizes, options = VARIANTS[name]
    network = build(*sizes, widths=(4, 6), **options | settings)
    samples = 0.3 * normal(40, 2, *network.input_size)
    network.start_from(samples)
    return network, samples


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_every_parameter(name):
    network, x = variant(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # around axes some layers begin at zero
        optimizer.zero_grad()
        reconstruction, mean, log_variance = network(x)
        error = (reconstruction - x).square().mean()
        (error + mean.square().mean() + log_variance.square().mean()).backward()
        optimizer.step()
    for key, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), key
        # A bias before batch norm changes nothing.
        if not (key.endswith("0.bias") and key.startswith(("encoder", "decoder"))):
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", VARIANTS)
def test_copies_and_single_rows_give_the_same(name):
    network, x = variant(name)
    network(x)  # moves the running statistics
    network.eval()
    expected = network(x)
    loaded = build(*VARIANTS[name][0], widths=(4, 6), seed=5, **VARIANTS[name][1])
    loaded.load_state_dict(network.state_dict())
    for same in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        loaded.eval(),
    ):
        torch.testing.assert_close(same(x), expected, rtol=0, atol=0)
    assert all(value.is_contiguous() for value in network.state_dict().values())
    alone = network(x[3:4])
    for part, whole in zip(alone, expected, strict=True):
        torch.testing.assert_close(part, whole[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_mixed_precision_stays_close_and_answers_in_float32(name):
    network, x = variant(name)
    network(x)
    network.eval()
    expected = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x)
        for part in network.train()(x):
            part.sum().backward(retain_graph=True)
    for part, whole in zip(output, expected, strict=True):
        assert part.dtype == torch.float32
        scale = whole.abs().max().item()
        torch.testing.assert_close(part, whole, rtol=0, atol=0.05 * scale)


@pytest.mark.parametrize("size", [(24, 24), (24, 40)], ids=str)
def test_invariant_latent_numbers_do_not_depend_on_the_orientation(size):
    network = build(3, size, 6, widths=(4, 8), invariant=0.5)
    x = normal(5, 3, *size)
    network(x)
    network.eval()
    assert network.n_invariant == 3
    turns = [x.flip(-1), x.flip(-2), x.rot90(2, (-2, -1))]
    if size[0] == size[1]:
        turns += [x.rot90(1, (-2, -1)), x.transpose(-1, -2)]
    for part, turned in ((part, turn) for turn in turns for part in (0, 1)):
        expected, found = network.encode(x)[part], network.encode(turned)[part]
        torch.testing.assert_close(found[:, :3], expected[:, :3])
        assert (found[:, 3:] - expected[:, 3:]).abs().amax(dim=0).min() > 1e-4


def test_invariant_latent_numbers_come_from_one_orientation_in_training():
    network = build(1, (16, 16), 2, widths=(4,), invariant=0.5)
    for level in network.encoder:
        level[1].eval()  # else the other rows would enter
    x = normal(1, 1, 16, 16).expand(64, 1, 16, 16)
    mean, _ = network.encode(x)
    assert len(set(mean[:, 0].detach().numpy().round(4).tolist())) == 8
    assert len(set(mean[:, 1].detach().numpy().round(4).tolist())) == 1


def test_spectra_start_from_principal_components():
    network, x = variant("spectra around axes", max_size=None)
    rows = x.flatten(1).numpy()
    model = PCA(4, whiten=True, svd_solver="full").fit(rows)
    reconstruction, mean, _ = network.eval()(x)
    expected = torch.from_numpy(model.inverse_transform(model.transform(rows)))
    error, least = (
        (result.flatten(1) - x.flatten(1)).square().mean()
        for result in (reconstruction, expected)
    )
    torch.testing.assert_close(error, least, rtol=0.03, atol=0)
    torch.testing.assert_close(mean.var(dim=0), torch.ones(4), rtol=0.01, atol=0)


def test_images_start_from_components_of_all_orientations():
    network, x = variant("images around axes")
    network.eval()
    mean = network.axes.mean
    assert network.factor == 2
    assert mean.shape == (2, 10, 10)
    torch.testing.assert_close(mean, mean.flip(-1))
    torch.testing.assert_close(mean, mean.rot90(1, (-2, -1)))
    common, others = network.axes.axes[:2], network.axes.axes[2:]
    torch.testing.assert_close(common, common.rot90(1, (-2, -1)))
    summed = sum(others.rot90(turn, (-2, -1)) for turn in range(4))
    assert (summed + summed.flip(-1)).abs().max() < 1e-4
    reduced = nn.functional.avg_pool2d(x, 2)
    components = network.axes.project(reduced)
    torch.testing.assert_close(network.encode(x)[0], components)
    restored = network.axes.restore(components) + mean
    smooth = nn.functional.interpolate(restored, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(network(x)[0], smooth)


@pytest.mark.parametrize(("n_samples", "n_axes"), [(4, 3), (1, 0)])
def test_few_samples_leave_the_other_axes_at_zero(n_samples, n_axes):
    network = build(1, 20, 6, output="linear", around_axes=True, widths=(3,))
    samples = normal(n_samples, 1, 20)
    network.start_from(samples)
    lengths = network.axes.axes.flatten(1).norm(dim=1)
    expected = torch.cat([torch.ones(n_axes), torch.zeros(6 - n_axes)])
    torch.testing.assert_close(lengths, expected)
    reconstruction, _, _ = network.eval()(samples)
    torch.testing.assert_close(reconstruction, samples, rtol=0, atol=1e-4)


def test_constant_samples_have_no_axes():
    network = build(1, 20, 6, output="linear", around_axes=True, widths=(3,))
    network.start_from(torch.ones(30, 1, 20))
    assert not network.axes.axes.any()
    reconstruction, mean, _ = network.eval()(torch.ones(2, 1, 20))
    torch.testing.assert_close(reconstruction, torch.ones(2, 1, 20))
    assert not mean.any()


def test_axes_stay_where_they_are():
    network, _ = variant("spectra around axes")
    before = copy.deepcopy(network.state_dict())
    network.start_from(normal(9, 2, 50, seed=1))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_networks_without_axes_start_from_nothing():
    network = build(1, 20, 2, widths=(3,))
    before = copy.deepcopy(network.state_dict())
    network.start_from(normal(4, 1, 20))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"input_size": 0}, ValueError, r"input_size must be at least 1; got 0"),
        ({"input_size": (40, 40, 3)}, ValueError, r"height and width.*\(40, 40, 3\)"),
        ({"input_size": 20.0}, TypeError, r"input_size must be an integer.*20.0"),
        ({"latent_dim": 0}, ValueError, r"latent_dim must be at least 1"),
        ({"widths": ()}, ValueError, r"widths must hold at least 1"),
        ({"widths": 32}, TypeError, r"Write \(32,\)"),
        ({"kernel_size": 4}, ValueError, r"must be odd"),
        ({"kernel_size": 1}, ValueError, r"at least 3"),
        ({"output": "sigmoid"}, ValueError, r"'tanh', 'linear'.; got 'sigmoid'"),
        ({"max_size": 8}, ValueError, r"max_size must be at least 16; got 8"),
        ({"invariant": 1.5}, ValueError, "invariant must be from 0 to 1; got 1.5"),
        ({"invariant": True}, TypeError, "invariant must be a number; got True"),
        ({"invariant": 0.5}, ValueError, r"Spectra have one orientation"),
        ({"around_axes": True}, ValueError, r"output='linear' with it.*'tanh'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        ConvVAE(**{"n_channels": 1, "input_size": 64} | settings)


@pytest.mark.parametrize("shape", [(2, 1, 63), (2, 64), (2, 1, 64, 64)], ids=str)
def test_wrong_input_is_named(shape):
    network = build(1, 64, 2, widths=(3,))
    with pytest.raises(ValueError, match=r"\(batch, channels, 64\), but got shape"):
        network(torch.zeros(shape))
