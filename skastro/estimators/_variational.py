# SPDX-License-Identifier: BSD-3-Clause
"""Variational autoencoders: their training, and what is measured after it."""

import inspect
import warnings
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import PassthroughScoring
from skorch.dataset import unpack_data
from skorch.utils import to_device
from torch.utils.data import Subset
from typing_extensions import override

from skastro.estimators._evidence import (
    LIKELIHOODS,
    SMALLEST_NOISE,
    EvidenceBound,
    fixed_draws,
)
from skastro.estimators._image_batches import some_samples, spread_runs
from skastro.training import separate_weight

# What a module gets to start from: so many samples, or so many bytes of them.
_N_TO_START = 2048
_BYTES_TO_START = 2**27
# Variance of the posterior means above which a dimension counts as active: Burda,
# Grosse & Salakhutdinov (2016), https://arxiv.org/abs/1509.00519.
_ACTIVE = 0.01


class Variational(NeuralNet):
    """Mixin over the strict net: modules that encode and decode.

    A module has the methods ``encode``, from a batch to the means and the logarithms of
    the variances of the posteriors, and ``decode``, back from the latent space; and
    ``forward`` gives the reconstruction, the means and the logarithms.
    """

    criterion: ClassVar = EvidenceBound
    predict_nonlinearity: ClassVar = None

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks = []
        for name, callback in super()._default_callbacks:
            callbacks.append((name, callback))
            if name in ("train_loss", "valid_loss"):
                part = name.removesuffix("_loss")
                for term in ("reconstruction", "divergence"):
                    key = f"{part}_{term}"
                    scoring = PassthroughScoring(key, on_train=part == "train")
                    callbacks.append((key, scoring))
        return callbacks

    # The module -------------------------------------------------------------------

    def _sizes_known(self) -> dict[str, Any]:
        return {**super()._sizes_known(), "latent_dim": self.latent_dim}

    @override
    def initialize_module(self) -> Self:
        factory = self._module_factory()
        factory = factory.func if isinstance(factory, partial) else factory
        if inspect.isclass(factory):
            _check_is_autoencoder(factory)
        super().initialize_module()
        _check_is_autoencoder(self.module_)
        return self

    @property
    def _n_features_out(self) -> int:
        """Number of latent dimensions; a module may have its own."""
        if "latent_dim_" in vars(self):
            return self.latent_dim_
        # During the first training, and where weights were loaded.
        blank = torch.zeros(1, *self.sample_shape_)
        with torch.no_grad():
            self._set_training(False)
            mean, _ = self.module_.encode(self._prepare(blank))
        return mean.shape[1]

    def infer(self, x: Any, **fit_params: Any) -> tuple[torch.Tensor, ...]:
        """Run the module on a batch.

        Parameters
        ----------
        x : Tensor or dict
            The batch; a dict where weights travel with it.
        **fit_params : dict
            Further arguments of the module's ``forward``.

        Returns
        -------
        reconstruction : Tensor of the shape of the batch
            From a draw of the posterior in training and validation, else from its mean.
        mean, log_variance : Tensor of shape (n_samples, latent_dim)
            Of the posterior.
        batch : Tensor
            What the module was given: varied where ``augment`` says so, and scaled.
        """
        batch = self._prepare(x)
        with self._autocast(self._torch_device, batch[0].numel()):
            if self._is_training() and not self.module_.training:
                output = self._reconstruct_draw(batch)
            else:
                output = self.module_(batch, **fit_params)
        _check_output(self.module_, output, batch)
        return (*(part.float() for part in output), batch)

    def _reconstruct_draw(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # The posterior's mean would hide from the validation what its width costs. The
        # draws are the same in each epoch, which makes epochs easier to compare.
        mean, log_variance = self.module_.encode(batch)
        draws = fixed_draws(len(mean), mean.shape[1], mean.device)
        draws = mean + draws * (0.5 * log_variance).exp()
        return self.module_.decode(draws), mean, log_variance

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Show training samples to a new module that wants to start from them."""
        super()._learn_from_training_data(dataset)
        start_from = getattr(self.module_, "start_from", None)
        if start_from is None or hasattr(self, "latent_dim_"):
            return
        n_bytes = 4 * int(np.prod(self.sample_shape_))
        n_samples = min(_N_TO_START, max(1, _BYTES_TO_START // n_bytes))
        start_from(
            torch.cat(
                [self._prepare(some) for some in some_samples(dataset, n_samples)]
            )
        )

    # The loss ---------------------------------------------------------------------

    def get_loss(
        self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        """Compute a batch's loss.

        Parameters
        ----------
        y_pred : tuple of Tensor
            What ``infer`` returns.
        y_true : Tensor
            Not looked at.
        X : Tensor or dict, default=None
            The batch; a dict where weights travel with it.
        training : bool, default=False
            Whether the step is one of training. In validation `beta` is the same from
            the first epoch on, and there are no free bits, so that epochs compare.

        Returns
        -------
        loss : Tensor of shape ()
            The mean over the batch, in nats.
        """
        _, weight = separate_weight(X)
        if weight is not None:
            weight = to_device(weight, y_pred[0].device)
        loss, terms = self.criterion_(
            y_pred,
            likelihood=self.likelihood,
            noise_scale=self.noise_scale,
            beta=self._beta_now() if training else self.beta,
            free_bits=self.free_bits if training else 0.0,
            weight=weight,
        )
        self._terms = terms
        return loss

    def _loss_terms(self) -> dict[str, torch.Tensor]:
        return self.__dict__.pop("_terms", {})

    def _beta_now(self) -> float:
        epochs = self.beta_warmup * self.max_epochs
        # Counted over all calls of partial_fit, so that only the first one warms up.
        done = len(self.history) - 1
        return self.beta * min(1.0, done / epochs) if epochs else self.beta

    # After the training -------------------------------------------------------------

    def _after_training(self, train: Any, valid: Any) -> None:
        """Measure the noise and count the dimensions that are in use."""
        super()._after_training(train, valid)
        mean, misfit = self._posterior_of(train)
        if valid is not None and len(valid):
            _, misfit = self._posterior_of(valid)
        self.latent_dim_ = mean.shape[1]
        self.noise_scale_ = self.noise_scale
        if self.noise_scale is None:
            best = LIKELIHOODS[self.likelihood].best_scale(torch.tensor(misfit))
            self.noise_scale_ = max(best.item(), SMALLEST_NOISE)
        # Scores go with the noise that was measured, whatever is set later.
        self.fitted_likelihood_ = self.likelihood
        self.latent_variance_ = mean.var(axis=0)
        self.n_active_dimensions_ = int((self.latent_variance_ > _ACTIVE).sum())
        # Of weights that diverged another warning tells.
        tells = len(mean) > 1 and np.isfinite(self.latent_variance_).all()
        if tells and self.n_active_dimensions_ < self.latent_dim_ / 4:
            warnings.warn(
                f"Only {self.n_active_dimensions_} of {self.latent_dim_} latent "
                "dimensions are active: the posterior has collapsed onto the prior in "
                "the others, whose means have a variance of no more than "
                f"{_ACTIVE}. Lower beta, give beta_warmup or free_bits, train longer, "
                "or take a smaller latent_dim.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _posterior_of(self, dataset: Any) -> tuple[np.ndarray, float]:
        """Find the posterior means of some samples, and the misfit of a pixel."""
        rows = np.concatenate(spread_runs(len(dataset)))
        some = dataset if len(rows) == len(dataset) else Subset(dataset, rows)
        misfit_of = LIKELIHOODS[self.likelihood].misfit
        n_pixels = 1

        def step(piece: Any) -> torch.Tensor:
            nonlocal n_pixels
            X, _ = unpack_data(piece)
            with torch.no_grad():
                self._set_training(False)
                reconstruction, mean, _, batch = self.infer(X)
            n_pixels = batch[0].numel()
            misfit = misfit_of(reconstruction, batch)
            return torch.cat([mean, misfit[:, None]], dim=1)

        # Copied once the feature maps are gone, lest they leave holes.
        outputs = self._run_batches(step, some, check=False)
        table = np.concatenate([part.cpu().numpy().copy() for part in outputs])
        return table[:, :-1], table[:, -1].mean(dtype=np.float64) / n_pixels

    # The bound --------------------------------------------------------------------

    def _encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Give means and standard deviations side by side."""
        mean, log_variance = self.module_.encode(batch)
        return torch.cat([mean, (0.5 * log_variance.float()).exp()], dim=1)

    def _bound(self, batch: torch.Tensor, n_draws: int) -> torch.Tensor:
        """Estimate the evidence lower bound of each sample.

        The mean of log p(x, z) - log q(z | x) over draws z from q, which come in pairs
        on opposite sides of the mean. Where q is the true posterior, each draw gives
        log p(x) exactly.
        """
        self._require_learned("noise_scale_", "fitted_likelihood_")
        mean, log_variance = (part.float() for part in self.module_.encode(batch))
        half = fixed_draws(-(-n_draws // 2), mean.shape[1], mean.device)
        draws = torch.stack([half, -half], dim=1).flatten(0, 1)[:n_draws]
        width = (0.5 * log_variance).exp()
        noise = LIKELIHOODS[self.fitted_likelihood_]
        scale = torch.tensor(self.noise_scale_, device=mean.device)
        total = torch.zeros(len(batch), device=mean.device)
        for draw in draws:
            z = mean + width * draw
            misfit = noise.misfit(self.module_.decode(z).float(), batch)
            total -= noise.negative_log(misfit, scale, batch[0].numel())
            total += 0.5 * (draw.square() - z.square() + log_variance).sum(dim=1)
        return total / n_draws


def _check_is_autoencoder(module: Any) -> None:
    missing = [name for name in ("encode", "decode") if not hasattr(module, name)]
    if missing:
        name = module.__name__ if inspect.isclass(module) else type(module).__name__
        raise TypeError(
            f"{name} has no {' and no '.join(missing)}. The module of a "
            "VAETransformer has encode(x), which gives mean and log_variance, "
            "decode(z), and forward(x), which gives reconstruction, mean and "
            "log_variance; module='vae' is one."
        )


def _check_output(module: Any, output: Any, batch: torch.Tensor) -> None:
    """Refuse outputs that are no reconstruction, means and logarithms of variances."""
    if isinstance(output, tuple) and len(output) == 3:
        reconstruction, mean, log_variance = output
        if reconstruction.shape == batch.shape and (
            mean.ndim == 2 and mean.shape == log_variance.shape
        ):
            return
        gave = "tensors of shapes " + ", ".join(str(tuple(p.shape)) for p in output)
    else:
        gave = type(output).__name__
    raise ValueError(
        f"{type(module).__name__}.forward must give the reconstruction, of the shape "
        f"{tuple(batch.shape)} of its input, and mean and log_variance of shape "
        f"(n_samples, latent_dim), but gave {gave}."
    )
