# SPDX-License-Identifier: BSD-3-Clause
"""Seeds: a torch generator of the estimator's own, the global ones left alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state


def draw_seed(random_state: int | np.random.RandomState | None) -> int | None:
    """Draw a seed for one fit; None asks for torch's global generator, as torch does.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        The estimator's ``random_state``.

    Returns
    -------
    seed : int or None
        An int gives the same seed at each call, a RandomState instance a new one.
    """
    if random_state is None:
        return None
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def torch_generator(
    device: torch.device, seed: int | None, state: torch.Tensor | None = None
) -> Iterator[None]:
    """Run a block on a torch generator of its own and put the global one back.

    Parameters
    ----------
    device : torch.device
        The device whose generator is set aside beside the CPU's.
    seed : int or None
        Seed at the block's start. With None the block draws from the global generator.
    state : Tensor, optional
        A CPU generator's state to continue from, in place of the seed's.
    """
    if seed is None:
        yield
        return
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which seeds the generators of all devices.
        torch.default_generator.manual_seed(seed)
        if state is not None:
            torch.set_rng_state(state)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int(torch.randint(2**62, ())))
        elif device.type == "mps":
            torch.mps.manual_seed(int(torch.randint(2**62, ())))
        yield
