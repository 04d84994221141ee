# SPDX-License-Identifier: BSD-3-Clause
"""The network of redshifts: shifts of the input are shifts of the output."""

import pytest
import torch

from skastro.networks import RedshiftNet
from skastro.networks.redshift import TemplateHead

pytestmark = pytest.mark.once


def example(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("n_features", "length", "n_outputs", "n_templates"),
    [(1, 1, 1, 1), (1, 1, 30, 2), (3, 40, 1, 2), (3, 40, 25, 4), (2, 7, 60, 1)],
)
def test_head_against_a_loop(n_features, length, n_outputs, n_templates):
    head = TemplateHead(n_features, length, n_outputs, n_templates).double()
    n_offsets = head.bias.shape[1]
    with torch.no_grad():
        head.weight.normal_()
        # Equal offsets of a template are no matter of how they are interpolated.
        head.bias[:] = torch.arange(n_templates)[:, None].expand(-1, n_offsets) / 3
        maps = example(5, n_features, length).double()
        found = head(maps)
    for j in range(n_outputs):
        first = n_outputs - 1 - j
        part = head.weight.detach()[:, :, first : first + length]
        score = (maps[:, None] * part).sum(dim=(2, 3)) + head.bias.detach()[:, 0]
        torch.testing.assert_close(
            found[:, j].double(), score.logsumexp(dim=1), rtol=1e-4, atol=1e-4
        )


def test_offsets_of_templates_are_smooth():
    head = TemplateHead(1, 10, 200, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.normal_()
        offset = head(torch.zeros(1, 1, 10))[0]
    assert offset[0] == pytest.approx(head.bias[0, 0].item())
    assert offset[-1] == pytest.approx(head.bias[0, -1].item())
    # Straight lines between few points.
    bends = (offset.diff().diff().abs() > 1e-4).sum()
    assert bends <= 2 * head.bias.shape[1]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_shifts_of_the_input_are_shifts_of_the_output(stride):
    n_outputs = 50
    network = RedshiftNet(
        3,
        n_outputs,
        600,
        width=4,
        n_blocks=2,
        stride=stride,
        n_features=3,
        n_templates=2,
    )
    network.eval()
    # A spectrum that is known in the middle only.
    x = torch.zeros(2, 3, 600)
    x[..., 200:400] = example(2, 3, 200)
    x[:, 2] = (x[:, 2] != 0).float()
    with torch.no_grad():
        expected = network(x)
        for n_steps in (1, 7):
            found = network(x.roll(n_steps * stride, dims=2))
            # Redshifts are larger by as many steps.
            torch.testing.assert_close(
                found[:, n_steps:], expected[:, :-n_steps], rtol=1e-4, atol=1e-4
            )


def test_without_any_pixel_all_shifts_are_alike():
    network = RedshiftNet(3, 20, 300, width=4, n_blocks=1, n_features=3)
    output = network.eval()(torch.zeros(2, 3, 300))
    torch.testing.assert_close(output, output[:, :1].expand(-1, 20))


def test_it_learns_shifts():
    torch.manual_seed(0)
    network = RedshiftNet(3, 40, 240, width=4, n_blocks=1, n_features=3, n_templates=1)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    generator = torch.Generator().manual_seed(0)
    template = torch.zeros(240)
    template[[60, 66, 90]] = torch.tensor([3.0, 2.0, -2.0])
    for step in range(60):
        shift = torch.randint(0, 40, (32,), generator=generator)
        x = torch.stack([template.roll(3 * int(s)) for s in shift])
        x = x + 0.3 * torch.randn(x.shape, generator=generator)
        x = torch.stack([x, torch.zeros_like(x), torch.ones_like(x)], dim=1)
        output = network(x)
        loss = torch.nn.functional.cross_entropy(output, shift)
        if step == 59:
            # It has not seen as many as there are.
            assert (output.argmax(1) == shift).float().mean() > 0.9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_formats(dtype):
    network = RedshiftNet(3, 30, 200, width=8, n_blocks=1).eval()
    x = example(4, 3, 200)
    expected = network(x)
    with torch.autocast("cpu", dtype=dtype):
        found = network(x)
        found.sum().backward()
    assert found.dtype == torch.float32
    scale = expected.std().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1 * scale)
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("n_pixels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n_outputs", [1, 2, 30])
def test_tiny_sizes(n_pixels, n_outputs):
    network = RedshiftNet(1, n_outputs, n_pixels, width=1, n_blocks=0, n_features=1)
    output = network(example(2, 1, n_pixels))
    assert output.shape == (2, n_outputs)
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width"),
        ({"n_blocks": -1}, "n_blocks"),
        ({"kernel_size": 4}, "kernel_size"),
        ({"stride": 0}, "stride"),
        ({"n_features": 0}, "n_features"),
        ({"n_templates": 1.5}, "n_templates"),
        ({"n_outputs": 0}, "n_outputs"),
        ({"n_channels": 0}, "n_channels"),
        ({"input_size": 0}, "input_size"),
    ],
)
def test_arguments_are_checked(settings, message):
    sizes = {"n_channels": 3, "n_outputs": 5, "input_size": 30}
    with pytest.raises((ValueError, TypeError), match=message):
        RedshiftNet(**(sizes | settings))
