# SPDX-License-Identifier: BSD-3-Clause
"""What a network and templates together tell of a redshift."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch.nn import functional as F

from skastro.estimators._template_scan import TemplateScan
from skastro.training import BinnedLikelihood

# Spectra whose templates are fitted at once, to limit memory.
_AT_ONCE = 4
# Without validation: the weight of the network, and of ln χ² of templates.
_UNWEIGHED = 1.0, 100.0
# The weight of the best ln χ² of classes beside each other. Validation samples hardly
# tell it; larger ones take humps of a response for lines of quasars.
_BETWEEN_CLASSES = 20.0
# The logarithm of no evidence.
_NEVER = -1e4

Weights = Mapping[str, Any]


def weights_for(known: Weights, classes: Iterable[str]) -> dict[str, float]:
    """Return weights of the network and of classes: those that are known, or usual."""
    network, gain = _UNWEIGHED
    weights = {"network": float(known.get("network", network))}
    for name in classes:
        weights[f"gain {name}"] = float(known.get(f"gain {name}", gain))
        weights[f"constant {name}"] = float(known.get(f"constant {name}", 0.0))
    return weights


def gains_on_grid(
    spectra: torch.Tensor, scans: list[TemplateScan], ln_redshift: np.ndarray
) -> torch.Tensor:
    """Fit templates at values of ln(1 + z).

    The result (n, n_classes, n_grid) is -inf beyond the range of a class.
    """
    shape = len(spectra), len(scans), ln_redshift.size
    gains = torch.full(shape, -torch.inf, device=spectra.device)
    for column, scan in enumerate(scans):
        low, high = np.log1p(scan.templates.redshift)
        inside = (ln_redshift > low - 1e-9) & (ln_redshift < high + 1e-9)
        (index,) = np.nonzero(inside)
        for first in range(0, len(spectra), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            gain = _cubic(scan(spectra[rows]), scan.ln_redshift, ln_redshift[index])
            gains[rows, column, index[0] : index[-1] + 1] = gain.float()
    return gains


def _cubic(values: torch.Tensor, at: np.ndarray, wanted: np.ndarray) -> torch.Tensor:
    """Interpolate along the last axis, from equally spaced points, by cubics.

    The cubics are those of Catmull and Rom, through four points.
    """
    position = (wanted - at[0]) / (at[1] - at[0])
    lower = np.clip(np.floor(position).astype(int), 0, at.size - 2)
    t = torch.from_numpy(position - lower).to(values)
    index = [np.clip(lower + k, 0, at.size - 1) for k in (-1, 0, 1, 2)]
    a, b, c, d = (values[..., torch.from_numpy(i).to(values.device)] for i in index)
    slope, next_slope = (c - a) / 2, (d - b) / 2
    curve = 2 * (b - c) + slope + next_slope
    return ((curve * t + 3 * (c - b) - 2 * slope - next_slope) * t + slope) * t + b


def _class_terms(weights: Weights, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return weights and constants of the classes, each of shape (n_classes,)."""
    parts = [
        [value for name, value in weights.items() if name.startswith(part)]
        for part in ("gain ", "constant ")
    ]
    return tuple(torch.stack([torch.as_tensor(v) for v in p]).to(like) for p in parts)


def combine(
    network: torch.Tensor, gains: torch.Tensor, weights: Weights
) -> torch.Tensor:
    """Add the logarithms of the network (n, n_grid) and of the templates.

    Lines of quasars move, so that their χ² tells less of the redshift than that of
    galaxies. It tells as much of the class: the best redshifts of all classes are
    compared with one weight.
    """
    weight, constant = _class_terms(weights, gains)
    covered = gains.isfinite()
    finite = torch.where(covered, gains, 0.0)
    best = finite.amax(dim=2, keepdim=True)
    evidence = weight[:, None] / 2 * (finite - best) + constant[:, None]
    evidence = evidence + _BETWEEN_CLASSES / 2 * best
    evidence = torch.where(covered, evidence, _NEVER).logsumexp(dim=1)
    # Between the ranges of classes only the network speaks.
    evidence = torch.where(covered.any(dim=1), evidence, 0.0)
    return weights["network"] * network + evidence


def weigh(
    network: torch.Tensor,
    gains: torch.Tensor,
    position: np.ndarray,
    weights: dict[str, float],
) -> dict[str, float]:
    """Find the weights under which true redshifts, by position, are most probable."""
    at = torch.from_numpy(position).to(network.device)
    loss = BinnedLikelihood()
    # Weights are positive, constants are of any sign.
    start = [
        value if name.startswith("constant") else np.log(value)
        for name, value in weights.items()
    ]

    def named(values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            name: value if name.startswith("constant") else value.clamp(-12, 8).exp()
            for name, value in zip(weights, values, strict=True)
        }

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        trial = torch.tensor(values, dtype=torch.float32, requires_grad=True)
        value = loss(combine(network, gains, named(trial)), at)
        value.backward()
        return float(value.detach()), trial.grad.double().numpy()

    with torch.enable_grad():
        options = {"maxiter": 30}
        found = minimize(cost, start, jac=True, method="L-BFGS-B", options=options)
    return {k: float(v) for k, v in named(torch.from_numpy(found.x)).items()}


def find_solutions(
    log_p: torch.Tensor,
    gains: torch.Tensor | None,
    flattery: torch.Tensor,
    ln_redshift: np.ndarray,
    k: int,
    *,
    half_width: float,
    distance: float,
) -> torch.Tensor:
    """Find the k most probable intervals of ln(1 + z).

    The result (n, k, 5) holds mean and standard deviation of z, the probability, the
    gain of the best templates, and the number of their class, from 1. Less `flattery`
    (n_classes,) gains of classes are compared. Where no probability is left there is no
    solution: NaN, and class 0.
    """
    p = log_p.double().exp()
    step = ln_redshift[1] - ln_redshift[0]
    grid = torch.from_numpy(ln_redshift).to(p)
    half = int(half_width / step)
    found = []
    for _ in range(k):
        total = F.pad(F.pad(p.cumsum(1), (half + 1, 0)), (0, half), mode="replicate")
        mass = total[:, 2 * half + 1 :] - total[:, : -2 * half - 1]
        best = mass.argmax(1, keepdim=True)
        near = (torch.arange(p.shape[1], device=p.device) - best).abs() <= half
        inside = torch.where(near, p, 0.0)
        probability = inside.sum(1, keepdim=True)
        share = inside / probability.clamp(min=1e-300)
        mean = (share * grid).sum(1, keepdim=True)
        mean = torch.where(probability > 0, mean, torch.nan)
        variance = (share * (grid - mean).square()).sum(1, keepdim=True)
        # Nothing is known between two points.
        std = (variance + step**2 / 12).sqrt() * mean.exp()
        gain, number = torch.full_like(mean, torch.nan), torch.zeros_like(mean)
        if gains is not None:
            peak = inside.argmax(1)[:, None, None].expand(-1, gains.shape[1], 1)
            at_peak = gains.gather(2, peak)[..., 0]
            column = (at_peak - flattery.to(at_peak)).argmax(1, keepdim=True)
            gain = torch.where(probability > 0, at_peak.gather(1, column), torch.nan)
            number = torch.where(probability > 0, 1.0 + column, 0.0)
        found.append(
            torch.cat([torch.expm1(mean), std, probability, gain.to(p), number], dim=1)
        )
        p = torch.where(((grid - mean).abs() > distance) & ~near, p, 0.0)
    return torch.stack(found, dim=1)
