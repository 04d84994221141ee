# SPDX-License-Identifier: BSD-3-Clause
"""The cases of the comparison: data, network, augmentation, numbers of rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import skastro
from benchmarks import variations
from benchmarks.networks import PlainResNet, TinyNet


@dataclass(frozen=True)
class Rows:
    """The amount of training in one round.

    Rows per epoch, on the CPU separately for the slow loops; and epochs per call of
    ``fit``, of which the first does not count unless it is the only one.
    """

    cpu: int
    cuda: int
    quick: int
    slow_cpu: int | None = None
    cpu_epochs: int = 1
    cuda_epochs: int = 3

    def resolve(self, device: str, quick: bool) -> tuple[int, int, int]:
        """Return the rows, the rows of slow loops, and the epochs."""
        if quick:
            return self.quick, self.quick, 2
        if device == "cuda":
            return self.cuda, self.cuda, self.cuda_epochs
        return self.cpu, self.slow_cpu or self.cpu, self.cpu_epochs


@dataclass(frozen=True)
class Case:
    """One row of the comparison.

    ``module`` and ``module_params`` make the network of the estimator, ``plain`` that
    of the loop written by hand. ``vary_one`` varies one sample there; ``vary_batch`` is
    what ``augment=`` gets.
    """

    name: str
    title: str
    sample_shape: tuple[int, ...]
    n_classes: int
    estimator: str
    module: Any
    plain: Callable[[], nn.Module]
    vary_one: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    vary_batch: Callable[..., Tensor]
    rows: Rows
    module_params: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    indexing: bool = False

    def make_data(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Make rows of noise with a class signal: X and the classes.

        Spectra are standardized, for all loops. Only the memory of X is used.
        """
        rng = np.random.default_rng(0)
        y = np.arange(n_rows) % self.n_classes
        images = len(self.sample_shape) == 3
        X = np.empty((n_rows, *self.sample_shape), np.uint8 if images else np.float32)
        for start in range(0, n_rows, 256):
            rows = slice(start, start + 256)
            shape = X[rows].shape
            if images:
                X[rows] = rng.integers(0, 128, shape, np.uint8)
                X[rows] += (12 * y[rows, None, None, None]).astype(np.uint8)
            else:
                X[rows] = rng.standard_normal(shape, np.float32)
                X[rows, :50] += y[rows, None]
                X[rows] -= X[rows].mean(axis=1, keepdims=True)
                X[rows] /= X[rows].std(axis=1, keepdims=True)
        return X, y

    def make_estimator(self, device: str, **params: Any) -> Any:
        """Make skastro's estimator for this case."""
        # The other loops do not normalize spectra either.
        settings = {} if len(self.sample_shape) == 3 else {"normalization": None}
        return getattr(skastro, self.estimator)(
            self.module,
            **{
                **settings,
                "batch_size": self.batch_size,
                "lr": 1e-3,
                "augment": None,
                "train_split": None,
                "schedule": None,
                "verbose": 0,
                "device": device,
                "random_state": 0,
                **{f"module__{name}": v for name, v in self.module_params.items()},
                **params,
            },
        )

    def make_converter(self, estimator: Any) -> Callable[[np.ndarray], Tensor]:
        """Make the function that converts one sample to the network's input.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator; images are normalized in the same way.
        """
        if len(self.sample_shape) == 1:
            return lambda flux: torch.from_numpy(flux[None])
        mean = estimator.channel_mean_.astype(np.float32)
        scale = estimator.channel_scale_.astype(np.float32)

        def convert(image: np.ndarray) -> Tensor:
            scaled = (image.astype(np.float32) / 255 - mean) / scale
            return torch.from_numpy(scaled.transpose(2, 0, 1).copy())

        return convert


def _spectra(**settings: Any) -> Case:
    return Case(
        estimator="SpectrumClassifier",
        n_classes=3,
        vary_one=variations.vary_spectrum,
        vary_batch=variations.vary_spectra,
        **settings,
    )


def _tiny(batch_size: int) -> Case:
    return _spectra(
        name=f"tiny-{batch_size}",
        title=f"Tiny network (4 maps, stride 8), spectra of 1000 samples, batches of "
        f"{batch_size}",
        sample_shape=(1000,),
        module=TinyNet,
        plain=lambda: TinyNet(1, 3),
        rows=Rows(cpu=20_000, cuda=20_000, quick=512, cpu_epochs=6),
        batch_size=batch_size,
        indexing=True,
    )


def _images(name: str, n_blocks: tuple[int, ...], cpu_rows: int) -> Case:
    return Case(
        name=f"images-{name.removeprefix('resnet')}",
        title=f"ResNet-{name.removeprefix('resnet')}, images of 69 x 69 x 3 (uint8), "
        "batches of 64",
        sample_shape=(69, 69, 3),
        n_classes=10,
        estimator="GalaxyClassifier",
        module=name,
        plain=lambda: PlainResNet(
            3, 10, ndim=2, n_blocks=n_blocks, bottleneck=name == "resnet50"
        ),
        vary_one=variations.vary_image,
        vary_batch=variations.vary_images,
        rows=Rows(cpu=cpu_rows, cuda=10_000, quick=128),
    )


CASES = {
    case.name: case
    for case in (
        _spectra(
            name="spectra",
            title="1-D ResNet-18, stem of stride 1, width 64, spectra of 2600 samples, "
            "batches of 64",
            sample_shape=(2600,),
            module="resnet18",
            module_params={"stem": "stride1"},
            plain=lambda: PlainResNet(1, 3, ndim=1, stride1=True),
            rows=Rows(cpu=256, cuda=20_000, quick=64, slow_cpu=64),
        ),
        _tiny(64),
        _tiny(256),
        _images("resnet18", (2, 2, 2, 2), 640),
        _images("resnet50", (3, 4, 6, 3), 320),
    )
}
