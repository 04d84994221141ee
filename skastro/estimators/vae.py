# SPDX-License-Identifier: BSD-3-Clause
"""A variational autoencoder as a transformer."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from skorch.dataset import Dataset

from skastro._compat import Interval, StrOptions
from skastro.base import BaseTransformer
from skastro.estimators._evidence import LIKELIHOODS
from skastro.estimators._latent_space import LatentSpace
from skastro.estimators._vae_recipes import RECIPES
from skastro.training import BatchIterator


# Properties stand in for class attributes, and get_loss takes `training` by name.
class VAETransformer(LatentSpace, BaseTransformer):  # type: ignore[misc, override]
    """Find a latent space of images or spectra by a variational autoencoder.

    An encoder turns a sample into a normal distribution over a few latent numbers, a
    decoder turns latent numbers back into a sample; both are trained to make the
    samples probable while the distributions stay close to a standard normal one
    [1]_. ``transform`` gives the distributions' means, as features for a clustering, a
    classifier, a search for neighbours; ``score_samples`` finds outliers.

    The estimator is at the same time a scikit-learn transformer and a
    :class:`skorch.NeuralNet`: parameters of its parts are reached as
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

    channel_axis : {-1, 1, 2, 3, -2, -3}, default=-1
        The axis of 4-D X that holds the channels (colours), as in scikit-image. 3-D X
        are images of one channel.

    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)`` or with the channels, where X is 2-D and
        a row is an image written out. With None a row of 2-D X is a spectrum, for
        networks of one dimension. Spectra have one channel.

    optimizer : class, default=torch.optim.AdamW
        The optimizer.

    lr : float, default=1e-3
        The learning rate; with a schedule the highest one.

    max_epochs : int, default=80
        Passes over the training samples in one call of ``fit``.

    batch_size : int, default=32
        Samples in a training batch. Prediction takes as many at least;
        ``iterator_valid__batch_size`` sets how many. -1 takes all at once.

    schedule : {"cosine", "cosine_cycles", "steps"}, callable or None, default="cosine"
        How the learning rate changes at every step. ``"cosine"``: a linear warm-up
        over the first tenth of the training, then half a cosine down to zero.
        ``"cosine_cycles"``: the same in two cycles, the second half as high.
        ``"steps"``: divided by ten after one half and three quarters. A callable takes
        the progress from 0 to 1 and gives a factor, as
        :class:`~skastro.training.CosineCycles` and :class:`~skastro.training.Steps` do.
        None: a constant rate, or the schedule of a callback of yours.

    train_split : float, callable or None, default=0.1
        A float sets that part of the samples aside for validation, drawn with
        ``random_state``; of fewer than 20 samples none is set aside. A callable takes
        and gives what skorch's :class:`~skorch.dataset.ValidSplit` does. None: no
        validation.

    restore_best_weights : bool, default=True
        Keep the weights of the epoch with the lowest validation loss. Without
        validation those of the last epoch stay. ``callbacks__best_weights__monitor``
        and its kin choose otherwise.

    augment : {"symmetries", "rotations", "rotations-without-flips", "noise", \
            "wang2020", "resclass"}, callable or None, default=None
        How training batches are varied before the network sees them, and tries to
        reproduce them as varied. The names are those of
        :class:`~skastro.GalaxyClassifier` for images and of
        :class:`~skastro.SpectrumClassifier` for spectra. A callable takes a Tensor of
        shape ``(batch, n_channels, height, width)``, images of bytes divided by 255, or
        ``(batch, n_channels, length)``, and gives one of the same shape, on its
        device; ``skastro.augmentation`` has some. Draws come from torch's global
        generator, which ``random_state`` governs during ``fit``.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Number format of the network's computations. ``"auto"``: bfloat16 where the
        hardware computes in it (float16 on GPUs that are fast in that format only) and
        samples and network are large enough for that to pay, float32 elsewhere and
        after the training. Weights and losses are float32 in any case.

    device : str, torch.device or None, default="auto"
        Where to compute. ``"auto"``: a CUDA device where there is one, else Apple's
        MPS, else the CPU; a pickled estimator then looks anew where it is loaded.

    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the validation split, the order of the samples and the
        draws in training. With an int, results are the same at each call on the CPU
        and the global generators stay untouched. None follows the global generators,
        so that ``torch.manual_seed`` governs.

    warm_start : bool, default=False
        Whether ``fit`` trains a fitted network on, instead of starting anew.

    verbose : int, default=1
        0: silent; 1: a progress bar; 2: also skorch's table of epochs.

    callbacks : list of skorch callbacks, "disable" or None, default=None
        Callbacks besides the default ones, which are ``epoch_timer``, ``train_loss``,
        ``train_reconstruction``, ``train_divergence``, ``valid_loss``,
        ``valid_reconstruction``, ``valid_divergence``, ``lr_schedule``,
        ``best_weights``, ``progress`` and ``print_log``. ``"disable"`` leaves the
        default ones out too.

    iterator_train : class, default=skastro.training.BatchIterator
        Iterator over training batches, such as :class:`torch.utils.data.DataLoader`.

    iterator_valid : class, default=skastro.training.BatchIterator
        Iterator over batches in validation and prediction.

    dataset : class, default=skorch.dataset.Dataset
        Data set that X is wrapped in.

    compile : bool, default=False
        Whether to compile the module's ``forward`` by :func:`torch.compile`.

    use_caching : bool or "auto", default="auto"
        Whether scoring callbacks reuse the predictions of training and validation.

    torch_load_kwargs : dict, default=None
        Arguments of :func:`torch.load` in ``load_params``.

    **kwargs : dict
        Parameters of the parts, with the prefixes ``module__``, ``optimizer__``,
        ``iterator_train__``, ``iterator_valid__``, ``callbacks__``, ``dataset__`` and
        ``compile__``.

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

    channel_sky_, channel_softening_ : ndarray of shape (n_channels,)
        What compressed numbers begin and bend at, in units of X; only with `stretch`.

    n_features_in_ : int
        Length of the second axis of X in ``fit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a data frame.

    sample_shape_ : tuple of int
        Shape of one sample in ``fit``.

    module_sizes_ : dict
        The sizes that were inferred from the data.

    module_, criterion_, optimizer_, callbacks_ : objects
        The parts, built.

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
    skastro.datasets.ImageFiles : Images in files of their own.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    Scores are logarithms of densities in scaled
    units, so that those of estimators with another `stretch`, or fitted on samples with
    other limits, do not compare.

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
    >>> centre = rng.uniform(12, 36, size=300)
    >>> spectra = np.exp(-0.5 * ((np.arange(48) - centre[:, None]) / 3) ** 2)
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
    _recipes: ClassVar = RECIPES
    _parameter_constraints: ClassVar[dict] = {
        **BaseTransformer._parameter_constraints,
        **LatentSpace._range_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "beta_warmup": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS))],
        "noise_scale": [None, Interval(Real, 0, None, closed="neither")],
    }

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
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        optimizer: type = torch.optim.AdamW,
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
