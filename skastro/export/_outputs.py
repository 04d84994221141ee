# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators as modules of torch: from samples to what a method returns."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skastro.base import BaseNet
from skastro.estimators import SpectrumRegressor
from skastro.estimators._images import ImageInput
from skastro.export._steps import Step


class Outputs(Step):
    """What a method of a net gives of a batch, on the CPU and in single precision.

    The net's own hooks make of the batch what its module takes.
    """

    names: tuple[str, ...]

    def __init__(self, net: BaseNet) -> None:
        super().__init__()
        net.set_params(device="cpu", precision="float32", compile=False)
        if net._keeps_features:
            net.set_params(warn_novelty=False)
        net.check_is_fitted()
        net._check_state_is_complete()
        net._set_training(False)
        self.net = net
        # Registered, so that its weights are those of this module, too.
        self.module = net.module_.to("cpu")
        self.module_name = type(self.module).__name__
        self.takes_nan = net._takes_nan
        self.takes_bytes = np.uint8 in net._input_dtypes

    def _infer(self, x: Tensor) -> Tensor:
        """Compute what ``predict`` calls outputs, after the nonlinearity."""
        function = self.net._get_predict_nonlinearity()
        views = self.net._views(x) if isinstance(self.net, ImageInput) else [x]
        parts = []
        for view in views:
            output = self.net.infer(view)
            parts.append(function(output[0] if isinstance(output, tuple) else output))
        return torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]


class Probabilities(Outputs):
    """``predict_proba`` of a classifier."""

    names = ("probability",)

    def forward(self, x: Tensor) -> Tensor:
        """Compute probabilities (batch, n_classes)."""
        return self._infer(x)


class Numbers(Outputs):
    """``predict`` of a regressor, with error bars where the network gives them."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        net._require_learned("target_shape_")
        self._n_targets = math.prod(net.target_shape_)
        self._gives_errors = isinstance(net, SpectrumRegressor) and hasattr(
            net, "std_scale_"
        )
        self.names = ("y", "std") if self._gives_errors else ("y",)

    def forward(self, x: Tensor) -> Any:
        """Compute numbers in the units and the shape of the targets."""
        net = self.net
        output = self._infer(x).flatten(1).double()
        y = output[:, : self._n_targets]
        scale = torch.as_tensor(net.__dict__.get("target_scale_", 1.0)).double()
        y = y * scale + torch.as_tensor(net.__dict__.get("target_mean_", 0.0)).double()
        is_log = None
        if isinstance(net, SpectrumRegressor):
            is_log = torch.from_numpy(net.log_target_)
            y = torch.where(is_log, y.exp(), y)
        if not self._gives_errors:
            return self._like_target(y)
        std = output[:, self._n_targets :].clamp(*net._log_std_limits).exp()
        std = std * torch.as_tensor(net.__dict__.get("std_scale_", 1.0)).double()
        if "std_added_" in net.__dict__:
            std = (std.square() + torch.from_numpy(net.std_added_).square()).sqrt()
        std = torch.where(is_log, std * scale * y, std * scale)
        return self._like_target(y), self._like_target(std)

    def _like_target(self, values: Tensor) -> Tensor:
        is_short = self.net.target_dtype_ == "float32"
        values = values.float() if is_short else values
        return values.reshape(values.shape[0], *self.net.target_shape_)


class Fractions(Outputs):
    """``predict`` of a regressor of votes, with widths where these are calibrated."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self._gives_errors = hasattr(net, "concentration_scale_")
        self.names = ("y", "std") if self._gives_errors else ("y",)

    def forward(self, x: Tensor) -> Any:
        """Compute the expected fractions of the votes, and their widths."""
        net: Any = self.net
        alpha = net.criterion_.concentration(self._infer(x).double())
        sizes = net.question_sizes_
        if hasattr(net, "concentration_scale_"):
            alpha = alpha * torch.as_tensor(np.repeat(net.concentration_scale_, sizes))
        fractions, stds = [], []
        for part in torch.split(alpha, sizes, dim=1):
            total = part.sum(1, keepdim=True)
            fraction = part / total
            fractions.append(fraction)
            stds.append((fraction * (1 - fraction) / (total + 1)).sqrt())
        y, std = torch.cat(fractions, 1), torch.cat(stds, 1)
        is_short = net.target_dtype_ == "float32"
        y, std = (y.float(), std.float()) if is_short else (y, std)
        return (y, std) if self._gives_errors else y


class Redshifts(Outputs):
    """``predict`` of a :class:`~skastro.RedshiftRegressor` without templates."""

    names = ("y", "std")
    # Of spectra of which nothing is known.
    gives_nan = True

    def forward(self, x: Tensor) -> Any:
        """Compute the most probable redshift, and its error."""
        net: Any = self.net
        log_p = net._on_grid(net.infer(x).log_softmax(1))
        permitted = torch.from_numpy(net._is_permitted(net.z_grid_))
        log_p = torch.where(permitted, log_p, -torch.inf).log_softmax(1)
        z, std = net._solve(log_p, None, 1)[:, 0, :2].unbind(1)
        known = (net._normalize(x)[:, 1] > 0).any(1)
        return torch.where(known, z, torch.nan), torch.where(known, std, torch.nan)


class Latent(Outputs):
    """``transform`` of a :class:`~skastro.VAETransformer`."""

    names = ("Z",)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the means of the posteriors (batch, latent_dim)."""
        net: Any = self.net
        return net._encode(net._prepare(x)).chunk(2, dim=1)[0]


class Decoded(Outputs):
    """``inverse_transform`` of a :class:`~skastro.VAETransformer`."""

    names = ("samples",)

    def forward(self, z: Tensor) -> Tensor:
        """Decode points of the latent space."""
        net: Any = self.net
        return net._to_units_of_X(net.module_.decode(z).float())


class Reconstructed(Latent):
    """``reconstruct`` of a :class:`~skastro.VAETransformer`."""

    names = ("samples",)

    def forward(self, x: Tensor) -> Tensor:
        """Encode samples and decode the means of their posteriors."""
        net: Any = self.net
        return net._to_units_of_X(net.module_.decode(super().forward(x)).float())
