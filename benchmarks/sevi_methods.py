# SPDX-License-Identifier: BSD-3-Clause
"""Ways to measure anisotropies, and their limits, each for a batch of images."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from benchmarks import sevi_limits, sevi_pyabel
from benchmarks.sevi_cases import SIZE, VALIDATION, Batch, Case, throw
from benchmarks.sevi_scores import Answer
from skastro import SEVIRegressor
from skastro.sevi import make_sevi

METHODS = {
    "skastro": "skastro",
    "upright": "skastro, `distortion=False`",
    "distorted": "skastro, `distortion=True`",
    "pyabel-16": "PyAbel rBasex, order 16",
    "pyabel-20": "PyAbel rBasex, order 20",
    "pyabel-tuned": "PyAbel rBasex, tuned",
    "ml": "maximum likelihood, radii, widths and background known",
    "crlb": "bound of Cramér and Rao",
    "limit": "limit with the prior",
}
# Values of the parameter `distortion`.
_DISTORTION = {"skastro": "auto", "upright": False, "distorted": True}
# These take images as round.
_ROUND_ONLY = ("crlb", "limit")
# 90 % of a normal distribution are within so many standard deviations.
_NINETY = 1.6448536269514722
_N_TRAINING = 500
_TRAINING_SEED = 20_220_101

Method = Callable[[Batch], Answer]


@dataclass(frozen=True)
class Options:
    """What methods are told.

    Parameters
    ----------
    seed : int
        Of the test images; those for choosing settings are others of this seed.
    pretrained : bool, default=False
        Whether skastro uses the weights of the package rather than a short training.
    n_validation : int, default=100
        Images by which PyAbel's settings are chosen.
    """

    seed: int
    pretrained: bool = False
    n_validation: int = 100


def make_method(name: str, case: Case, options: Options) -> Method | None:
    """Make a method for a case; None where it is not for such images."""
    if name in _ROUND_ONLY and not case.is_round:
        return None
    if name in ("upright", "distorted") and case.clean is None:
        return None
    if name in _DISTORTION:
        fitted = _regressor(case.n_shells, options.pretrained)
        return lambda batch: _measured(fitted, _DISTORTION[name], batch)
    if name.startswith("pyabel"):
        settings = _pyabel_settings(name, case, options)
        return lambda batch: Answer(
            sevi_pyabel.measure(batch, settings), settings=str(settings)
        )
    return {"ml": _maximum_likelihood, "crlb": _cramer_rao, "limit": _limit}[name]


class _FitsOnce(SEVIRegressor):
    """Answers, error bars, intervals and warnings of the same images share a fit."""

    def _fit_shells(self, X: Any) -> Any:
        last = getattr(self, "_last_fit", (None, None))
        if last[0] is not X:
            # Images that are out of range are counted instead.
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                last = X, super()._fit_shells(X)
            vars(self)["_last_fit"] = last
        return last[1]


@lru_cache(maxsize=2)
def _regressor(n_shells: int, pretrained: bool) -> SEVIRegressor:
    """Train a network for an epoch; refined answers need only the prior from it."""
    if pretrained:
        name = f"sevi-{n_shells}shell"
        return _FitsOnce.from_pretrained(name, size=SIZE, verbose=0, device="cpu")
    train = make_sevi(
        _N_TRAINING,
        n_shells=n_shells,
        size=SIZE,
        n_electrons=(3e2, 3e6),
        random_state=_TRAINING_SEED,
    )
    regressor = _FitsOnce(max_epochs=1, verbose=0, device="cpu", random_state=0)
    return regressor.fit(train.images, train.beta)


def _measured(regressor: SEVIRegressor, distortion: bool | str, batch: Batch) -> Answer:
    regressor.set_params(distortion=distortion)
    vars(regressor).pop("_last_fit", None)
    shape = (len(batch), batch.case.n_shells, -1)
    beta, std = regressor.predict(batch.images, return_std=True)
    interval = regressor.predict_interval(batch.images, coverage=0.9)
    return Answer(
        beta.reshape(shape),
        std.reshape(shape),
        interval.reshape(*shape, 2),
        failed=regressor.predict_shells(batch.images).out_of_range,
    )


@lru_cache(maxsize=2)
def _pyabel_settings(name: str, case: Case, options: Options) -> sevi_pyabel.Settings:
    if name != "pyabel-tuned":
        return sevi_pyabel.Settings(int(name.removeprefix("pyabel-")))
    batch = throw(case, VALIDATION, options.n_validation, options.seed)
    return sevi_pyabel.tuned(batch, progress=True)


def _maximum_likelihood(batch: Batch) -> Answer:
    basis, parts, first = sevi_limits.shell_basis(), [], 0
    for scenes in batch.split(sevi_limits.GROUP):
        images = torch.as_tensor(batch.images[first : first + sevi_limits.GROUP])
        parts.append(sevi_limits.maximum_likelihood(images, scenes, basis))
        first += len(images)
    beta, std, converged = (
        torch.cat(part).numpy() for part in zip(*parts, strict=True)
    )
    interval = np.stack([beta - _NINETY * std, beta + _NINETY * std], axis=-1)
    return Answer(beta, std, interval, failed=~converged)


def _cramer_rao(batch: Batch) -> Answer:
    basis = sevi_limits.shell_basis()
    groups = batch.split(sevi_limits.GROUP)
    variance = torch.cat([sevi_limits.cramer_rao(part, basis) for part in groups])
    return Answer(variance=variance.numpy())


def _limit(batch: Batch) -> Answer:
    basis = sevi_limits.shell_basis()
    generator = torch.Generator().manual_seed(batch.first)
    variance = sevi_limits.prior_informed(batch.scenes, basis, generator)
    return Answer(variance=variance.numpy())
