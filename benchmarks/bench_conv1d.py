# SPDX-License-Identifier: BSD-3-Clause
"""Compare ways to convolve spectra on this machine's CPU.

It prints two tables: one for a convolution, and one for a training step and a
prediction of whole networks. ``Conv1d`` is torch's 1-D convolution on (batch, channels,
length); ``(1, k)`` and ``(k, 1)`` put the length on the last or on the last but one
axis of a 2-D convolution; ``channels-last`` names the memory layout of skastro's
networks, with the length on the last axis.

Times are CPU seconds of this process, the minimum of several interleaved rounds, so
that other processes have little effect.
"""

import argparse
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.networks import ResNet, SEDenseNet
from skastro.networks import densenet as densenet_module
from skastro.networks import resnet as resnet_module
from skastro.networks.layers import enter_maps

# The first layer of the networks.
LAYOUTS = {
    "Conv1d": lambda x, ndim: x,
    "(1,k) channels-first": lambda x, ndim: x.unsqueeze(2),
    "(1,k) channels-last": enter_maps,
}


def least_seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict:
    """Run all tasks in turn, several times, and return the least CPU time of each."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds + 1):  # The first round also warms up.
        for name, task in tasks.items():
            start = time.process_time()
            task()
            best[name] = min(best[name], time.process_time() - start)
    return best


def print_table(title: str, columns: dict[str, dict[str, float]]) -> None:
    """Print times in ms, each with its ratio to the first row of its column."""
    print(f"\n{title}\n")
    print("| layout |" + "".join(f" {column} |" for column in columns))
    print("|---|" + "---:|" * len(columns))
    rows = next(iter(columns.values()))
    for row in rows:
        cells = []
        for times in columns.values():
            ratio = next(iter(times.values())) / times[row]
            cells.append(f" {1e3 * times[row]:.1f} ms ({ratio:.2f}x) |")
        print(f"| {row} |" + "".join(cells))


def layer_task(layout: str, dtype: torch.dtype, args: argparse.Namespace) -> Callable:
    """Return the forward and backward pass of one convolution of width k."""
    axis, _, memory = layout.partition(" ")
    n, k = args.layer_channels, args.kernel_size
    x = torch.randn(args.batch, n, args.layer_length, dtype=dtype)
    weight = torch.randn(n, n, k, dtype=dtype)
    if axis == "Conv1d":
        convolve = F.conv1d
        padding: int | tuple[int, int] = k // 2
    else:
        convolve = F.conv2d
        new_axis = 2 if axis == "(1,k)" else 3
        x, weight = x.unsqueeze(new_axis), weight.unsqueeze(new_axis)
        padding = (0, k // 2) if new_axis == 2 else (k // 2, 0)
        if memory == "channels-last":
            x = x.contiguous(memory_format=torch.channels_last)
            weight = weight.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    weight.requires_grad_()

    def task() -> None:
        output = convolve(x, weight, padding=padding)
        torch.autograd.grad(output, (x, weight), torch.ones_like(output))

    return task


def compare_layers(args: argparse.Namespace) -> None:
    """Print the table of one convolution."""
    layouts = ["Conv1d"]
    for axis in ("(1,k)", "(k,1)"):
        layouts += [f"{axis} channels-first", f"{axis} channels-last"]
    columns = {}
    for dtype in (torch.float32, torch.bfloat16):
        tasks = {layout: layer_task(layout, dtype, args) for layout in layouts}
        columns[str(dtype).removeprefix("torch.")] = least_seconds(tasks, args.rounds)
    n = args.layer_channels
    title = (
        f"One convolution, {n} -> {n} maps, k = {args.kernel_size}, batch {args.batch} "
        f"x {args.layer_length} samples, forward and backward"
    )
    print_table(title, columns)


def network_task(
    network: nn.Module, x: Tensor, layout: str, bfloat16: bool, training: bool
) -> Callable:
    """Return a training step, or a prediction, in one layout."""
    ends = {"enter_maps": LAYOUTS[layout], "leave_maps": lambda maps, ndim: maps}

    def task() -> None:
        network.train(training)
        with (
            patch.multiple(resnet_module, **ends),
            patch.multiple(densenet_module, **ends),
            torch.set_grad_enabled(training),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16),
        ):
            output = network(x)
        if training:
            output.logsumexp(dim=1).sum().backward()
            network.zero_grad()

    return task


def compare_networks(args: argparse.Namespace) -> None:
    """Print one table for each network."""
    networks = {
        f"ResNet-18, stem {stem}, width {width}": ResNet(1, 3, stem=stem, width=width)
        for stem in args.stems
        for width in args.widths
    }
    if not args.no_densenet:
        networks["SE-DenseNet"] = SEDenseNet(1, 3)
    x = torch.randn(args.batch, 1, args.length)
    for name, network in networks.items():
        columns = {}
        for training in (True, False):
            for bfloat16 in (False, True):
                tasks = {
                    layout: network_task(network, x, layout, bfloat16, training)
                    for layout in LAYOUTS
                }
                column = "bfloat16 autocast" if bfloat16 else "float32"
                column += ", training step" if training else ", prediction"
                columns[column] = least_seconds(tasks, args.rounds)
        title = f"{name}, batch {args.batch} x {args.length} samples"
        print_table(title, columns)


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="spectra in a batch")
    parser.add_argument("--length", type=int, default=3000, help="samples a spectrum")
    parser.add_argument("--layer-channels", type=int, default=64)
    parser.add_argument("--layer-length", type=int, default=750)
    parser.add_argument("--kernel-size", type=int, default=3)
    parser.add_argument("--stems", nargs="*", default=["imagenet", "stride1"])
    parser.add_argument("--widths", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--no-densenet", action="store_true")
    parser.add_argument("--rounds", type=int, default=2, help="after one warm-up")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{args.threads} thread(s)"
    )
    compare_layers(args)
    compare_networks(args)


if __name__ == "__main__":
    main()
