# SPDX-License-Identifier: BSD-3-Clause
"""A variational autoencoder as a transformer."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state, check_scalar
from skorch.callbacks import PassthroughScoring
from skorch.dataset import Dataset, unpack_data
from torch.utils.data import Subset
from typing_extensions import override

from skastro._compat import Interval, StrOptions
from skastro.augmentation import AUGMENTATIONS, IMAGE_AUGMENTATIONS, RandomAffine
from skastro.base import BaseTransformer
from skastro.estimators._evidence import (
    LIKELIHOODS,
    SMALLEST_NOISE,
    EvidenceBound,
    fixed_draws,
)
from skastro.estimators._images import (
    channel_constants,
    sky_of,
    some_samples,
    spread_runs,
)
from skastro.estimators._scale import refuse_other_scale, size_of
from skastro.training import BatchIterator, fast_kernels, separate_weight
from skastro.utils import ImageLayout, inherit_parameters, plain_array

# Enough to know the size of their numbers.
_N_FOR_SIZE = 256
# What a module gets to start from: so many samples, or so many bytes of them.
_N_TO_START = 2048
_BYTES_TO_START = 2**27
# Variance of the posterior means above which a dimension counts as active: Burda,
# Grosse & Salakhutdinov (2016), https://arxiv.org/abs/1509.00519.
_ACTIVE = 0.01
# In units of the sky's noise: what is fainter is shown in proportion to its flux.
_SOFTENING = 3.0

# Settings of published systems; "Open" marks what the source does not give.
RECIPES: dict[str, dict[str, Any]] = {
    # An autoencoder for 290 613 galaxies of 256 x 256 pixels in three colors.
    "galaxy-vae": {
        "module": "vae",
        "latent_dim": 35,
        "max_epochs": 100,
        "stretch": None,
        "augment": None,
        # Open: all that follows.
        "beta": 1.0,
        "noise_scale": None,
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "batch_size": 64,
        "schedule": None,
        "train_split": 0.1,
        "restore_best_weights": True,
    },
    # This project's own, chosen on part of the training images of 1417 galaxies.
    "few-images": {
        "module": "vae-axes",
        "latent_dim": 35,
        "max_epochs": 110,
        # Latent numbers closer to the prior tell classes better apart, and cost the
        # reconstructions nothing that could be measured.
        "beta": 100.0,
        "noise_scale": None,
        "stretch": None,
        # All orientations are within the network.
        "augment": RandomAffine(translate=0.02, scale=(0.87, 1.15)),
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 0.01,
        "lr": 2e-3,
        "batch_size": 32,
        "schedule": "cosine",
        # Nothing can be spared for a validation, and the last weights are good.
        "train_split": None,
    },
}


@inherit_parameters
# Properties stand in for class attributes, and get_loss takes `training` by name.
class VAETransformer(BaseTransformer):
    """Find a latent space of images or spectra by a variational autoencoder.

    An encoder turns a sample into a normal distribution over a few latent numbers, a
    decoder turns latent numbers back into a sample; both are trained to make the
    samples probable while the distributions stay close to a standard normal one
    [1]_. ``transform`` gives the distributions' means, as features for a clustering, a
    classifier, a search for neighbors; ``score_samples`` finds outliers.

    The estimator is at the same time a scikit-learn transformer and a
    :class:`~skorch.net.NeuralNet` of skorch: parameters of its parts are reached as
    ``module__widths``, ``optimizer__weight_decay``, ``callbacks__print_log``, ... in
    the constructor, in ``set_params`` and in searches.

    Samples are brought to the range from -1 to 1 on the device, bytes from 0 to 255,
    other numbers by the limits of the training samples; ``inverse_transform`` gives
    them in the units and in the shape in which X was given.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="vae"
        The network: a name such as ``"vae"``, see
        ``skastro.networks.available_modules``, or any module with the methods
        ``encode``, from a batch to ``(mean, log_variance)``, both of shape
        ``(n_samples, latent_dim)``, and ``decode``, from latent numbers to a batch,
        whose ``forward`` gives ``(reconstruction, mean, log_variance)``; the
        reconstruction is that of a draw from the posterior in training, of its mean
        otherwise. An instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``input_size`` or
        ``latent_dim`` get these, and batches of shape ``(batch, n_channels, height,
        width)`` or, of spectra, ``(batch, n_channels, length)``; a module that takes
        neither ``n_channels`` nor ``input_size`` gets batches in the shape of X. All
        batches are scaled. A method ``start_from``, where there is one, gets some
        training samples before the first step of the first training.
    latent_dim : int, default=35
        Number of latent dimensions. A module that does not take it has its own.
    beta : float, default=1.0
        Factor of the divergence between posterior and prior. 1 is the evidence lower
        bound; larger values give up details for latent numbers that are closer to
        independent [2]_, smaller ones the reverse.
    beta_warmup : float, default=0.0
        Part of the training in which the factor rises from 0 to `beta`, epoch by
        epoch; the first call of ``fit`` or ``partial_fit`` alone has such a part.
    free_bits : float, default=0.0
        Nats of divergence, in each latent dimension and in the mean over a batch, that
        training does not try to save [3]_, against posteriors that collapse.
    likelihood : {"normal", "laplace"}, default="normal"
        Distribution of the noise that the samples have around what the decoder gives,
        independent in each pixel. ``"laplace"`` counts residuals and not their squares,
        so that a few bad pixels and noisy samples weigh less; scores then tell
        outliers among samples of very different noise better apart.
    noise_scale : float, default=None
        Scale of the noise, in units of the range from -1 to 1: the standard deviation
        of a normal distribution, the mean absolute value of a Laplace distribution. It
        weighs the reconstruction against the divergence. None: in each batch the one
        with which the batch is most probable [4]_, which is the root mean square, or
        the mean absolute value, of the residuals, but no less than 0.001; for scores
        that of the validation samples.
    stretch : {"asinh"} or None, default=None
        ``"asinh"`` compresses the numbers to arsinh((x - sky) / softening) before they
        are scaled, and undoes that after decoding. Reconstructions are thus compared
        on a scale on which the faint outskirts of galaxies count beside the bright
        cores of others [6]_. The sky is the median of the training samples' pixels, the
        softening three times their scatter around it.
    channel_axis : {-1, 1, 2, 3, -2, -3} or None, default=None
        The axis of 4-D X that holds the channels (colors), as in scikit-image. 3-D X
        are images of one channel. None
        is the last one, but refuses X whose axes look swapped; a number says that its
        axes are meant as they are.
    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)`` or with the channels, where X is 2-D and
        a row is an image written out. With None a row of 2-D X is a spectrum, for
        networks of one dimension. Spectra have one channel.
    augment : {"symmetries", "rotations", "rotations-without-flips", \
            "rotations-and-colors", "noise", "wang2020", "resclass"}, callable or \
            None, default=None
        How training batches are varied before the network sees them, and tries to
        reproduce them as varied. The names are those of
        :class:`~skastro.GalaxyClassifier` for images and of
        :class:`~skastro.SpectrumClassifier` for spectra. A callable takes a Tensor of
        shape ``(batch, n_channels, height, width)``, images of bytes divided by 255, or
        ``(batch, n_channels, length)``, and gives one of the same shape, on its
        device; ``skastro.augmentation`` has some. Draws come from torch's global
        generator, which ``random_state`` governs during ``fit``.

    Attributes
    ----------
    latent_variance_ : ndarray of shape (latent_dim,)
        Variance of the posterior means over the training samples (of many, over 4096
        spread over all).
    n_active_dimensions_ : int
        Number of latent dimensions in which that variance is above 0.01 [5]_; the
        others tell nothing of a sample. Below a quarter of all, ``fit`` warns.
    noise_scale_ : float
        `noise_scale`, or, with None, that of the validation samples, of the training
        samples where there is no validation.
    channel_low_, channel_high_ : ndarray of shape (n_channels,)
        What is scaled to -1 and to 1, in units of X: 0 and 255 for bytes, else the
        limits of the training samples (of many, of 4096 spread over all).
    image_layout_ : tuple
        `channel_axis` and `image_shape` in ``fit``.
    pixel_size_ : ndarray of shape (3,)
        Mean and highest absolute value of some training samples, and 1 where all are
        whole numbers. Numbers that cannot be on their scale are refused.
    channel_sky_, channel_softening_ : ndarray of shape (n_channels,)
        What compressed numbers begin and bend at, in units of X; only with `stretch`.
    history : skorch.history.History
        What was recorded in each epoch: ``train_loss``, and apart its terms
        ``train_reconstruction``, the negative logarithm of the likelihood, and
        ``train_divergence``, without `beta` and `free_bits`, all in nats a sample;
        and ``valid_loss`` with its terms, where `beta` is not warmed up and no bits
        are free.

    Warns
    -----
    ConvergenceWarning
        If fewer than a quarter of the latent dimensions are active after ``fit``.

    See Also
    --------
    sklearn.decomposition.PCA : A linear latent space.
    GalaxyClassifier : Classes of galaxies in images.
    skastro.datasets.read_images : Images in files of their own, with labels.
    skastro.datasets.ImageFiles : Image files as an array on disk.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    Scores are logarithms of densities in scaled units, so that those of estimators with
    another `stretch`, or fitted on samples with other limits, do not compare.

    Default callbacks besides those of all estimators are ``train_reconstruction``,
    ``train_divergence``, ``valid_reconstruction`` and ``valid_divergence``.

    Arrays on disk are read in batches, in ``fit`` and in all that takes X.

    Recipes of ``from_recipe``: ``"galaxy-vae"``, a published autoencoder of galaxies,
    and ``"few-images"``, this project's own for a thousand images; :ref:`the user guide
    <recipes>` tells what is in them.

    References
    ----------
    .. [1] Kingma, D. P. & Welling, M. (2014). "Auto-encoding variational Bayes". ICLR.
           https://arxiv.org/abs/1312.6114
    .. [2] Higgins, I. et al. (2017). "beta-VAE: Learning basic visual concepts with a
           constrained variational framework". ICLR.
           https://openreview.net/forum?id=Sy2fzU9gl
    .. [3] Kingma, D. P. et al. (2016). "Improved variational inference with inverse
           autoregressive flow". NeurIPS. https://arxiv.org/abs/1606.04934
    .. [4] Rybkin, O., Daniilidis, K. & Levine, S. (2021). "Simple and effective VAE
           training with calibrated decoders". ICML. https://arxiv.org/abs/2006.13202
    .. [5] Burda, Y., Grosse, R. & Salakhutdinov, R. (2016). "Importance weighted
           autoencoders". ICLR. https://arxiv.org/abs/1509.00519
    .. [6] Lupton, R. H., Gunn, J. E. & Szalay, A. S. (1999). "A modified magnitude
           system that produces well-behaved magnitudes, colors, and errors even for
           low signal-to-noise ratio measurements". AJ 118, 1406.
           https://doi.org/10.1086/301004

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import VAETransformer
    >>> rng = np.random.default_rng(0)
    >>> center = rng.uniform(12, 36, size=300)
    >>> spectra = np.exp(-0.5 * ((np.arange(48) - center[:, None]) / 3) ** 2)
    >>> vae = VAETransformer(
    ...     latent_dim=2,
    ...     module__widths=(8, 16),
    ...     max_epochs=20,
    ...     verbose=0,
    ...     random_state=0,
    ... )
    >>> latent = vae.fit_transform(spectra)
    >>> latent.shape
    (300, 2)
    >>> error = vae.inverse_transform(latent) - spectra
    >>> bool(error.var() < 0.2 * spectra.var())
    True
    >>> bool(vae.score(spectra) > vae.score(spectra[:, rng.permutation(48)]))
    True
    """

    _finite_advice = (
        "Missing pixels can be filled beforehand, with numpy.nan_to_num for instance, "
        "those of spectra by MinMaxSpectra(nan_policy='interpolate')."
    )
    _input_ndims: ClassVar[tuple[int, ...]] = (2, 3, 4)
    # Bytes stay bytes; all else becomes float32, the first of the list.
    _input_dtypes: ClassVar = (np.float32, np.uint8)
    _recipes: ClassVar = RECIPES
    _parameter_constraints: ClassVar[dict] = {
        **BaseTransformer._parameter_constraints,
        **ImageLayout.constraints,
        "stretch": [None, StrOptions({"asinh"})],
        "augment": [
            None,
            callable,
            StrOptions({*AUGMENTATIONS, *IMAGE_AUGMENTATIONS}),
        ],
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "beta_warmup": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS))],
        "noise_scale": [None, Interval(Real, 0, None, closed="neither")],
    }
    _kept: ClassVar[tuple[str, ...]] = (
        "channel_axis",
        "image_shape",
        "latent_dim",
        "stretch",
    )
    criterion: ClassVar = EvidenceBound
    predict_nonlinearity: ClassVar = None
    # Whether the module has got samples to start from.
    _has_started = False
    # Of the latest loss, until the history has them.
    _terms: dict[str, torch.Tensor]

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "vae",
        *,
        latent_dim: int = 35,
        beta: float = 1.0,
        beta_warmup: float = 0.0,
        free_bits: float = 0.0,
        likelihood: str = "normal",
        noise_scale: float | None = None,
        stretch: str | None = None,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 1e-3,
        max_epochs: int = 80,
        batch_size: int = 32,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        augment: str | Callable | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        callbacks: list | str | None = None,
        iterator_train: type = BatchIterator,
        iterator_valid: type = BatchIterator,
        dataset: type = Dataset,
        compile: bool = False,
        use_caching: bool | str = "auto",
        torch_load_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self._set_init_params(locals())

    def transform(self, X: Any, return_std: bool = False) -> Any:
        """Give the means of the posteriors in the latent space.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The samples, in the shape and units that they had in ``fit``.
        return_std : bool, default=False
            Whether to give the posteriors' standard deviations too.

        Returns
        -------
        mean : ndarray of shape (n_samples, latent_dim), float32
            The means; the same at each call. A data frame with
            ``set_output(transform="pandas")``.
        std : ndarray of shape (n_samples, latent_dim), float32
            The standard deviations; only with `return_std`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity.
        """
        self.check_is_fitted()
        mean, std = np.split(self._predict_outputs(X, self._encode), 2, axis=1)
        return (mean, std) if return_std else mean

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
        Z = check_array(
            plain_array(Z, "Z"), dtype=np.float32, input_name="Z", estimator=self
        )
        latent_size = self._n_features_out
        if Z.shape[1] != latent_size:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} has "
                f"{latent_size} latent dimensions."
            )

        def step(part: Any) -> torch.Tensor:
            z, _ = unpack_data(part)
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

    # Input of the module ----------------------------------------------------------

    @property
    def _layout(self) -> ImageLayout:
        given = self.channel_axis, self.image_shape
        return ImageLayout(*getattr(self, "image_layout_", given))

    @property
    def _holds_spectra(self) -> bool:
        is_row = len(getattr(self, "sample_shape_", ())) == 1
        return is_row and self._layout.image_shape is None

    @property
    def _module_ndim(self) -> int:  # type: ignore[override]  # a constant elsewhere
        return 1 if self._holds_spectra else 2

    @property
    def _augmentations(  # type: ignore[override]  # a constant elsewhere
        self,
    ) -> Mapping[str, Callable]:
        return AUGMENTATIONS if self._holds_spectra else IMAGE_AUGMENTATIONS

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        n_channels, size = self._layout.sizes_of(sample_shape)
        if isinstance(self.augment, str) and self.augment not in self._augmentations:
            known = ", ".join(map(repr, sorted(self._augmentations)))
            kind = "spectra" if self._holds_spectra else "images"
            raise ValueError(
                f"augment={self.augment!r} is not for {kind}, which X holds; those "
                f"for {kind} are {known}. Rows of numbers are taken as images where "
                "image_shape is given."
            )
        return {
            "n_channels": n_channels,
            "input_size": size[1] if self._holds_spectra else size,
        }

    # From -1 to 1 and back -----------------------------------------------------------

    def _prepare(self, x: Any) -> torch.Tensor:
        """Scale a batch; in the layout of X for modules that take no sizes."""
        x, _ = separate_weight(x)
        x = self._send(x)
        if hasattr(self, "pixel_size_"):
            were_bytes = self.channel_unit_ == 255
            refuse_other_scale(self, x, were_bytes, self.pixel_size_)
        shape = x.shape
        x = self._layout.to_images(x).float()
        if self._augments_now:
            x = self._vary(x / self.channel_unit_) * self.channel_unit_
        x = self._scale(x)
        if not self._takes_sizes:
            return self._layout.to_samples(x, shape)
        return x[:, :, 0] if self._holds_spectra else x

    def _vary(self, images: torch.Tensor) -> torch.Tensor:
        if self._holds_spectra:
            return self._augment(images[:, :, 0])[:, :, None]
        return self._augment(images)

    def _to_units_of_X(self, batch: torch.Tensor) -> torch.Tensor:
        """Undo ``_prepare`` for what the module gives back."""
        shape = (batch.shape[0], *self.sample_shape_)
        if not self._takes_sizes:
            images = self._layout.to_images(batch.reshape(shape))
        elif self._holds_spectra:
            images = batch[:, :, None]
        else:
            images = batch
        return self._layout.to_samples(self._unscale(images), shape)

    def _scale(self, images: torch.Tensor) -> torch.Tensor:
        sky, softening, low, high = self._range_on(images.device)
        if self._is_stretched:
            images = torch.asinh((images - sky) / softening)
        return (images - low) * (2 / (high - low)) - 1

    def _unscale(self, images: torch.Tensor) -> torch.Tensor:
        sky, softening, low, high = self._range_on(images.device)
        images = (images + 1) * ((high - low) / 2) + low
        if self._is_stretched:
            images = torch.sinh(images) * softening + sky
        return images

    @property
    def _is_stretched(self) -> bool:
        return hasattr(self, "channel_sky_")

    def _range_on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        self._check_state_is_complete()
        low, high = self.channel_low_, self.channel_high_
        sky, softening = np.zeros_like(low), np.ones_like(low)
        if self._is_stretched:
            sky, softening = self.channel_sky_, self.channel_softening_
            low, high = (np.arcsinh((edge - sky) / softening) for edge in (low, high))
        return tuple(
            constant
            for pair in ((sky, softening), (low, high))
            for constant in channel_constants(*pair, device)
        )

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        self._require_learned("channel_low_", "channel_high_")

    # Learning the range -----------------------------------------------------------

    def _learn_range(self, dataset: Any) -> None:
        """Measure the limits of the training samples."""

        def batches() -> Any:
            for samples in some_samples(dataset):
                yield self._layout.to_images(torch.as_tensor(samples))

        are_bytes = next(batches()).dtype == torch.uint8
        if self.stretch is not None:
            self.channel_sky_, noise = sky_of(map(torch.Tensor.double, batches()))
            self.channel_softening_ = _SOFTENING * noise
        if are_bytes:
            n_channels = self.module_sizes_["n_channels"]
            low, high = np.zeros(n_channels), np.full(n_channels, 255.0)
        else:
            limits = [
                (
                    images.amin(dim=(0, 2, 3)).numpy(),
                    images.amax(dim=(0, 2, 3)).numpy(),
                )
                for images in map(torch.Tensor.double, batches())
            ]
            low = np.min([low for low, _ in limits], axis=0)
            high = np.max([high for _, high in limits], axis=0)
            # A channel of one value has no range of its own.
            high = np.where(high > low, high, low + np.maximum(np.abs(low), 1.0))
        self.image_layout_ = self.channel_axis, self.image_shape
        self.channel_unit_ = 255.0 if are_bytes else 1.0
        self.pixel_size_ = size_of(some_samples(dataset, _N_FOR_SIZE))
        self.channel_low_, self.channel_high_ = low, high

    # Training ----------------------------------------------------------------------

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
        self._has_started = False
        return self

    @property
    def _n_features_out(self) -> int:
        """Number of latent dimensions; a module may have its own."""
        if hasattr(self, "latent_dim_"):
            return self.latent_dim_
        # During the first training, and where weights were loaded.
        blank = torch.zeros(1, *self.sample_shape_)
        with torch.no_grad():
            self._set_training(False)
            mean, _ = self.module_.encode(self._prepare(blank))
        return mean.shape[1]

    @override
    def infer(self, x: Any, **fit_params: Any) -> tuple[torch.Tensor, ...]:
        # The output is followed by what the module was given: varied and scaled.
        # Reconstructions are from a draw of the posterior in training and validation.
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
        super()._learn_from_training_data(dataset)
        if not hasattr(self, "channel_low_"):
            self._learn_range(dataset)
        start_from = getattr(self.module_, "start_from", None)
        if start_from is None or self._has_started:
            return
        self._has_started = True
        n_bytes = 4 * int(np.prod(self.sample_shape_))
        n_samples = min(_N_TO_START, max(1, _BYTES_TO_START // n_bytes))
        start_from(
            torch.cat(
                [self._prepare(some) for some in some_samples(dataset, n_samples)]
            )
        )

    # The loss ---------------------------------------------------------------------

    @override
    def get_loss(  # type: ignore[override]  # `training` by name, no other keyword
        self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        # In validation beta is the same from the first epoch on, and there are no free
        # bits, so that epochs compare.
        _, weight = separate_weight(X)
        if weight is not None:
            weight = weight.to(y_pred[0].device)
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

        def step(part: Any) -> torch.Tensor:
            nonlocal n_pixels
            X, _ = unpack_data(part)
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
