# SPDX-License-Identifier: BSD-3-Clause
"""Networks for spectra."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset

from skastro.base import StrictClassifier
from skastro.training import BatchIterator


class SpectrumClassifier(StrictClassifier, NeuralNetClassifier):
    """Doc."""

    _finite_advice = (
        "Masked and uncovered pixels can be filled beforehand by "
        "MinMaxSpectra(nan_policy='interpolate')."
    )

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet18",
        *,
        criterion: type = torch.nn.CrossEntropyLoss,
        optimizer: type = torch.optim.AdamW,
        lr: float = 1e-3,
        max_epochs: int = 30,
        batch_size: int = 32,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        class_weight: dict | str | None = None,
        sampler: str | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        classes: Any = None,
        callbacks: list | str | None = None,
        iterator_train: type = BatchIterator,
        iterator_valid: type = BatchIterator,
        dataset: type = Dataset,
        predict_nonlinearity: Callable | str | None = "auto",
        compile: bool = False,
        use_caching: bool | str = "auto",
        torch_load_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self._set_init_params(locals())
