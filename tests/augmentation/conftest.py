# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for batches of images."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def make_images() -> Callable[..., torch.Tensor]:
    """Return a function that makes images of uniform noise."""

    def make_images(n, channels=3, height=12, width=12, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n, channels, height, width, generator=generator)

    return make_images
