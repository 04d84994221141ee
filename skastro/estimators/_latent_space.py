# SPDX-License-Identifier: BSD-3-Clause
"""What a fitted variational autoencoder gives: samples, reconstructions, scores."""

from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state, check_scalar
from skorch.dataset import unpack_data

from skastro.estimators._unit_range import UnitRange
from skastro.estimators._variational import Variational
from skastro.training import fast_kernels


class LatentSpace(Variational, UnitRange):
    """The way back from the latent space, and the bound; ``transform`` is the way in.

    ``transform`` is left to the class that derives from it, because scikit-learn wraps
    it for ``set_output`` only where it is defined beside that.
    """

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Decode points of the latent space.

        Parameters
        ----------
        Z : array-like of shape (n_samples, latent_dim)
            The points.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), float32
            The samples that the decoder makes of them, in the shape and units that X
            had in ``fit``; images of bytes as floats from 0 to 255.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If Z has another number of columns, or holds NaN or infinity.
        """
        self.check_is_fitted()
        self._check_state_is_complete()
        Z = check_array(Z, dtype=np.float32, input_name="Z", estimator=self)
        latent_size = self._n_features_out
        if Z.shape[1] != latent_size:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} has "
                f"{latent_size} latent dimensions."
            )

        def step(piece: Any) -> torch.Tensor:
            z, _ = unpack_data(piece)
            with torch.no_grad():
                self._set_training(False)
                with self._autocast(self._torch_device, Z.shape[1]):
                    batch = self.module_.decode(self._send(z))
                return self._to_units_of_X(batch.float()).cpu()

        with fast_kernels(self._torch_device, self.precision):
            # Into one array: all batches and then their copy would be twice as much.
            X = np.empty((len(Z), *self.sample_shape_), dtype=np.float32)
            first = 0
            for batch in self._run_batches(step, Z, check=False):
                X[first : first + len(batch)] = batch.numpy()
                first += len(batch)
        return X

    def reconstruct(self, X: Any) -> np.ndarray:
        """Encode samples and decode the means of their posteriors.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The samples, in the shape and units that they had in ``fit``.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, ...), float32
            What is ``inverse_transform(transform(X))``.
        """
        return self.inverse_transform(np.asarray(self.transform(X)))

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Draw samples from the model: latent points from the prior, decoded.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Seed of the latent points.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), float32
            What the decoder makes of them, without noise, in the shape and units that
            X had in ``fit``.
        """
        self.check_is_fitted()
        self._check_state_is_complete()
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        shape = (n_samples, self._n_features_out)
        return self.inverse_transform(
            check_random_state(random_state).normal(size=shape)
        )

    def score_samples(self, X: Any, n_draws: int = 8) -> np.ndarray:
        """Estimate the evidence lower bound of each sample; low values are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The samples, in the shape and units that they had in ``fit``.
        n_draws : int, default=8
            Draws from each posterior, over which the bound is averaged. They are the
            same standard normal numbers for all samples and at all calls, in pairs on
            opposite sides of the mean, so that results are, too.

        Returns
        -------
        bound : ndarray of shape (n_samples,), float32
            Lower bounds of the logarithm of the samples' probability density, in nats
            and in units of the range from -1 to 1, with `noise_scale_`. `beta` and
            `free_bits` do not enter.
        """
        self.check_is_fitted()
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        return self._predict_outputs(X, partial(self._bound, n_draws=n_draws))

    def score(self, X: Any, y: Any = None) -> float:
        """Estimate the mean evidence lower bound of some samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The samples.
        y : None
            Ignored.

        Returns
        -------
        bound : float
            The mean of ``score_samples``: the higher, the better.
        """
        return float(self.score_samples(X).mean(dtype=np.float64))
