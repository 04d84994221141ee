# SPDX-License-Identifier: BSD-3-Clause
"""Regressor of the angular distributions of photoelectrons in images."""

import os
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.stats import norm
from sklearn.utils import Bunch, Tags
from skorch.dataset import Dataset
from skorch.utils import is_dataset
from torch.utils.data import Subset
from typing_extensions import override

from skastro._compat import Interval, Options, StrOptions, safe_indexing
from skastro.base import BaseRegressor, check_X_y
from skastro.base._pretrained import Pretrained
from skastro.base._source import add_checksum
from skastro.networks import PolarNet
from skastro.sevi._electrons import FACTORS, N_BETAS
from skastro.sevi._loss import LegendreLoss
from skastro.sevi._prior import ShellPrior, check_ends
from skastro.sevi._shell_fit import ShellPosterior, check_counts, fit_posterior
from skastro.sevi._simulation import SEVISimulator, SimulatedImages
from skastro.training import BatchIterator, find_source
from skastro.utils import (
    ImageLayout,
    check_count,
    check_rows_are_images,
    inherit_parameters,
)

# Total of an image for published networks.
_PUBLISHED_TOTAL = 255.0
# Maximum number of samples for the scale of the targets.
_N_TARGETS = 4096
# Size of images for pretrained weights, if none is given.
_DEFAULT_SIZE = 256

RECIPES: dict[str, dict[str, Any]] = {
    "published": {
        "module": "resnet18",
        # Each image divided by its total and multiplied by 255.
        "normalization": "total",
        "refine": False,
        "scale_target": False,
        "criterion": LegendreLoss,
        # Images of fit_simulator: 400 of 8000 are replaced every 5 epochs.
        "n_simulated": 8000,
        "n_replaced": 400,
        "replace_every": 5,
        # Open: optimizer, learning rate, batches, number of epochs.
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "schedule": None,
        "batch_size": 32,
        "max_epochs": 100,
    },
}


@inherit_parameters
class SEVIRegressor(BaseRegressor):
    """Measure the angular distributions of electrons in velocity-map images.

    An image shows electrons of one or several shells, projected along an axis
    perpendicular to the polarization. The estimator predicts the coefficients β_l of
    the density 1/2 + Σ β_l P_2l(cos θ) of each shell.

    A network predicts the coefficients; the default network reads angular moments of
    rings. For images of counts this prediction is then refined: shells, with their
    radii, widths, numbers of electrons and a background, are fitted to the counts by
    their Poisson likelihood and a prior of the coefficients, learned from y. The
    refined coefficients are the means of the posterior and have standard deviations.
    The fit finds the radii by itself, and its coefficients do not depend on the weights
    of the network, so that few training images, or few epochs, are enough.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`~skorch.regressor.NeuralNetRegressor` of skorch: parameters of its parts are
    reached as ``module__hidden``, ``optimizer__weight_decay``,
    ``callbacks__print_log``, ... in the constructor, in ``set_params`` and in searches.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="polar"
        The network: ``"polar"`` is :class:`~skastro.networks.PolarNet`; ``"resnet18"``,
        ``"resnet34"`` and ``"resnet101"``, with one input channel, are as published. Or
        another name that ``skastro.networks.available_modules(2)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` (height and width) get these sizes from the data, and batches of
        shape ``(batch, 1, height, width)``; a module that takes none of them gets X as
        it was given.
    n_betas : int, default=12
        Coefficients per shell. y has this many columns for each shell, which determines
        the number of shells.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients in y and in predictions: "density" is β_l of
        1/2 + Σ β_l P_2l(cos θ), "vmi" is b_l = 2 β_l of 1 + Σ b_l P_2l(cos θ).
    polarization_axis : {0, 1}, default=1
        Axis of an image along which the electrons are polarized.
    refine : bool, default=True
        Whether predictions for images are refined by
        :func:`~skastro.sevi.fit_shells`. The fit has at most 12 coefficients. Images of
        one row (2-D X without `image_shape`) are not fitted.
    distortion : bool or "auto", default="auto"
        Whether the fit also looks for a tilt of the polarization axis, an ellipticity
        and a displacement of the center, of a few degrees, per cent and pixels. It
        then takes five to twenty times as long. "auto" does so for images that a test
        finds distorted, and for those that are otherwise out of range.
    prior : {"training", "published"}, default="training"
        Distribution of the coefficients that the fit starts from: ``"training"`` takes
        limits, mean and scatter of each coefficient from the training samples,
        ``"published"`` those of :class:`skastro.sevi.SEVIPrior`.
    radius : tuple of (float, float), default=(0.3, 0.9)
        Range in which the fit looks for the shells' mean radii, in the unit of
        `extent`.
    radius_width : tuple of (float, float), default=(0.005, 0.009)
        Range of the standard deviations of the radii of a shell.
    extent : float, default=1.0
        Half the side of the images, in the unit of the radii.
    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)``, where X is 2-D and a row is an image
        written out. With None a row of 2-D X is an image of height 1.
    normalization : {"auto", "counts", "total"}, default="auto"
        Input of the network: ``"counts"``, or ``"total"``: counts divided by their
        total and multiplied by 255, as published. ``"auto"``: ``"counts"`` for
        ``"polar"``, which uses the total, ``"total"`` for other networks.
    criterion : str or class, default=LegendreLoss
        The loss, a function of coefficients of densities;
        :class:`~skastro.sevi.LegendreLoss` is the squared distance of the angular
        densities.
    scale_target : bool, default=True
        Whether the outputs of the network are standardized: deviations of each
        coefficient from its mean, in units of its scatter over the training samples.
        The loss is that of the coefficients in any case.
    augment : callable, default=None
        How training batches are varied before the network sees them. It takes a Tensor
        of shape ``(batch, 1, height, width)``, polarized along the last axis, and gives
        one of the same shape. The targets stay as they are.
    n_simulated : int, default=4096
        Images per epoch of ``fit_simulator``.
    n_replaced : int, default=None
        Number of images that ``fit_simulator`` replaces by new ones every
        `replace_every` epochs. None: all images are new at every epoch.
    replace_every : int, default=5
        Epochs between these replacements.

    Attributes
    ----------
    prior_ : ShellPrior
        Prior of the fit. Only with at most 12 coefficients per shell.
    residual_std_ : ndarray of shape (n_outputs,)
        Root mean square error of the network on the validation samples, or, without
        any, on the training samples.

    See Also
    --------
    skastro.sevi.fit_shells : The fit without a network.
    skastro.sevi.make_sevi : Simulated images.
    skastro.sevi.SEVISimulator : A source of images, for ``fit_simulator``.

    Notes
    -----
    Recipes of ``from_recipe``: ``"published"``, a ResNet-18 trained on simulated
    images, some of which are replaced every few epochs. Weights of ``from_pretrained``:
    ``"sevi-1shell"`` and ``"sevi-2shell"``.

    With ``distortion=False`` the fit assumes round, centered images with the
    polarization along an axis. ``out_of_range`` of ``predict_shells`` marks images that
    do not show such shells, and all methods that fit shells warn of them. Images with
    pixels much finer than the widths of the shells are rebinned.

    ``fit`` takes ``sample_weight`` and ``groups`` as further arguments.

    Examples
    --------
    >>> from skastro import SEVIRegressor
    >>> from skastro.sevi import make_sevi
    >>> train = make_sevi(200, size=64, n_electrons=1e4, random_state=0)
    >>> test = make_sevi(2, size=64, n_electrons=1e4, random_state=1)
    >>> reg = SEVIRegressor(max_epochs=2, verbose=0, random_state=0)
    >>> reg = reg.fit(train.images, train.beta)
    >>> beta, std = reg.predict(test.images, return_std=True)
    >>> bool((abs(beta - test.beta) < 5 * std).all())
    True
    """

    _finite_advice = "Dead pixels can be filled beforehand by their mirror images."
    _module_ndim = 2
    # Whether images show shells tells the fit.
    _keeps_features = False
    _recipes: ClassVar = RECIPES
    _pretrained: ClassVar = ("sevi-1shell", "sevi-2shell")
    _pretrained_package: ClassVar = "skastro.sevi"
    _pretrained_settings: ClassVar = ("least_size", "ranges")
    _kept: ClassVar[tuple[str, ...]] = (
        "convention",
        "n_betas",
        "normalization",
        "prior",
    )
    _parameter_constraints: ClassVar[dict] = {
        **BaseRegressor._parameter_constraints,
        "image_shape": [None, tuple, list],
        "augment": [None, callable],
        "convention": [StrOptions(set(FACTORS))],
        "polarization_axis": [Options(Integral, {0, 1})],
        "n_betas": [Interval(Integral, 1, None, closed="left")],
        "normalization": [StrOptions({"auto", "counts", "total"})],
        "prior": [StrOptions({"training", "published"})],
        "extent": [Interval(Real, 0, None, closed="neither")],
        "refine": ["boolean"],
        "distortion": ["boolean", StrOptions({"auto"})],
        "n_simulated": [Interval(Integral, 1, None, closed="left")],
        "n_replaced": [None, Interval(Integral, 1, None, closed="left")],
        "replace_every": [Interval(Integral, 1, None, closed="left")],
        "radius": [tuple, list],
        "radius_width": [tuple, list],
    }

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "polar",
        *,
        n_betas: int = 12,
        convention: str = "density",
        polarization_axis: int = 1,
        refine: bool = True,
        distortion: bool | str = "auto",
        prior: str = "training",
        radius: tuple[float, float] = (0.3, 0.9),
        radius_width: tuple[float, float] = (0.005, 0.009),
        extent: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        normalization: str = "auto",
        criterion: str | type = LegendreLoss,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 2e-3,
        max_epochs: int = 30,
        batch_size: int = 64,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        scale_target: bool = True,
        augment: Callable | None = None,
        n_simulated: int = 4096,
        n_replaced: int | None = None,
        replace_every: int = 5,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
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

    def fit_simulator(self, simulator: SEVISimulator, **fit_params: Any) -> Self:
        """Fit the network to images that are simulated during the training.

        Parameters
        ----------
        simulator : skastro.sevi.SEVISimulator
            The source of images; `n_simulated`, `n_replaced` and `replace_every` set
            how many are drawn. The fraction `train_split` is for validation.
        **fit_params : dict
            As in ``fit``, such as ``resume``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If `simulator` is of another kind.
        ValueError
            If its coefficients, axis or ranges differ from those of the estimator.

        Examples
        --------
        >>> from skastro import SEVIRegressor
        >>> from skastro.sevi import SEVISimulator
        >>> simulator = SEVISimulator(size=32, n_electrons=(1e3, 1e5))
        >>> reg = SEVIRegressor(n_simulated=128, max_epochs=2, verbose=0)
        >>> reg = reg.fit_simulator(simulator)
        """
        self._validate_params()
        self._ranges()
        self._check_simulator(simulator)
        images = SimulatedImages(
            simulator, self.n_simulated, self.n_replaced, self.replace_every
        )
        return self.fit(images, None, **fit_params)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike,
        *,
        size: int | None = None,
        sha256: str | None = None,
        **parameters: Any,
    ) -> Self:
        """Make a fitted estimator from pretrained weights.

        Parameters
        ----------
        source : {"sevi-1shell", "sevi-2shell"}, str or path-like
            Weights of the package, for images of one shell or of two; or a file that
            ``save_params`` of a fitted estimator wrote: its path, or its address, which
            begins with ``https://``.
        size : int, default=None
            Height and width of the images to be measured, in pixels, at least 255.
            None: those of `image_shape`, or 256. A file of ``save_params`` tells it
            itself.
        sha256 : str, default=None
            SHA-256 checksum of the file, 64 hexadecimal digits; needed for an address,
            unless that ends with ``#sha256=...`` itself.
        **parameters : dict
            Parameters of the constructor, such as `convention`, `polarization_axis`,
            `extent`, `radius`, `refine`, `distortion`, `image_shape` and `device`. The
            weights require the defaults of `n_betas`, `normalization`, `scale_target`
            and the network.

        Returns
        -------
        estimator : object
            A fitted estimator. Its clones are not fitted.

        Raises
        ------
        ValueError
            If the weights do not exist or their file is damaged, if `parameters`
            contradict them, or if the images are too small; with ``refine=False`` also
            if `radius` or `radius_width` is out of the range of the training; or if an
            address has no checksum or does not begin with ``https://``.
        FileNotFoundError
            If there is no such file.
        OSError
            If the download fails, or has another checksum.
        TypeError
            If a parameter does not exist, or `size` is not an integer.

        Notes
        -----
        The networks of the package were trained on images of a
        :class:`~skastro.sevi.SEVISimulator`. A card for each file of weights, in
        ``skastro/sevi/pretrained``, describes how they were made, for which images they
        are, and how good they are. With `refine` predictions depend on the weights only
        if the fit fails. ``partial_fit`` continues their training.

        The default ranges of `radius` and `radius_width` are those of
        :class:`~skastro.sevi.SEVIPrior`, from which the training images were drawn.

        Examples
        --------
        >>> from skastro import SEVIRegressor
        >>> from skastro.sevi import make_sevi
        >>> sevi = make_sevi(2, size=256, n_electrons=1e5, random_state=0)
        >>> reg = SEVIRegressor.from_pretrained("sevi-1shell", verbose=0)
        >>> beta, std = reg.predict(sevi.images, return_std=True)
        >>> bool((abs(beta - sevi.beta) < 5 * std).all())
        True
        """
        source = add_checksum(source, sha256)
        pretrained = cls._read_pretrained(source, parameters)
        if pretrained is None:
            return super().from_pretrained(source, **parameters)
        return cls._from_pretrained(pretrained, size, parameters)

    @classmethod
    def _from_pretrained(
        cls, pretrained: Pretrained, size: int | None, parameters: dict[str, Any]
    ) -> Self:
        shape = _sample_shape(
            size, parameters.get("image_shape"), pretrained.settings["least_size"]
        )
        reg = pretrained.build(cls, parameters, shape)
        ranges = reg._ranges()
        if not reg.refine:
            named = dict(zip(("radius", "radius_width"), ranges, strict=True))
            _check_trained(named, reg.extent, pretrained.settings["ranges"])
        learned = pretrained.learned
        for part in ("target_mean", "target_scale", "residual_std"):
            setattr(reg, f"{part}_", learned[part].numpy() * reg._factor)
        if reg.prior == "published":
            reg.prior_ = ShellPrior.published(reg.n_betas, *ranges)
        else:
            names = ("lower", "upper", "mean", "sigma")
            reg.prior_ = ShellPrior(
                *(learned[f"prior.{name}"] for name in names), *ranges
            )
        return reg

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples, n_shells * n_betas)
            The coefficients, those of the smallest shell first; with `refine` the means
            of the posterior. Predictions for images whose fit fails, for data sets, and
            during training are those of the network.
        y_std : ndarray of the same shape
            Standard deviations of the posterior, or the root mean square error of the
            network on the validation samples. Only with `return_std`.

        Warns
        -----
        UserWarning
            If images are ``out_of_range`` of the fit, see :meth:`predict_shells`: their
            coefficients and standard deviations are unreliable.
        """
        self.check_is_fitted()
        self._check_state_is_complete()
        if self._is_training() or not self._refines(X):
            y = super().predict(X)
            if not return_std:
                return y
            std = self.residual_std_.reshape(self.target_shape_)
            return y, np.broadcast_to(std, y.shape).astype(y.dtype)
        shells = self._fit_shells(X)
        shape = (len(shells.beta), *self.target_shape_)
        y, std = (
            (part.cpu().numpy() * self._factor).reshape(shape)
            for part in (shells.beta, shells.beta_std)
        )
        failed = shells.failed
        if len(failed):
            y[failed] = super().predict(safe_indexing(X, failed))
            std[failed] = self.residual_std_.reshape(self.target_shape_)
        y, std = (part.astype(self.target_dtype_) for part in (y, std))
        return (y, std) if return_std else y

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that contain the coefficients with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.
        coverage : float, default=0.9
            The probability.

        Returns
        -------
        interval : ndarray of shape (n_samples, n_shells * n_betas, 2)
            Ends of the central interval of each coefficient. For predictions of the
            network, those of a normal distribution with its root mean square error.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1.

        Warns
        -----
        UserWarning
            If images are ``out_of_range`` of the fit.
        """
        self.check_is_fitted()
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1; got {coverage!r}.")
        if not self._refines(X):
            return self._network_interval(X, coverage)
        shells = self._fit_shells(X)
        interval = shells.interval(coverage, self.prior_) * self._factor
        failed = shells.failed
        if len(failed):
            interval[failed] = self._network_interval(
                safe_indexing(X, failed), coverage
            )
        return interval

    def predict_shells(self, X: Any) -> Bunch:
        """Fit shells to images, and return all their parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width)
            Numbers of electrons, in the shape they had in ``fit``.

        Returns
        -------
        shells : :class:`~sklearn.utils.Bunch`
            The result of :func:`~skastro.sevi.fit_shells`, with the prior and the
            `convention` of the estimator: ``beta``, ``beta_cov``, ``radius``,
            ``radius_width``, ``n_electrons``, ``background``, ``tilt``,
            ``ellipticity``, ``center``, ``misfit``, ``out_of_range`` and standard
            deviations.

        Raises
        ------
        ValueError
            If shells cannot be fitted to X.

        Warns
        -----
        UserWarning
            If images are ``out_of_range``.
        """
        return self._fit_shells(X).to_bunch(self._factor, self.polarization_axis)

    # The fit of shells ----------------------------------------------------------

    def _refines(self, X: Any) -> bool:
        is_array = not (is_dataset(X) or isinstance(X, dict))
        return self.refine and is_array and self._can_fit_shells()

    def _can_fit_shells(self) -> bool:
        return self._are_images() and self.n_betas <= N_BETAS and self._n_shells >= 1

    def _fit_shells(self, X: Any) -> ShellPosterior:
        self.check_is_fitted()
        if not self._can_fit_shells():
            raise ValueError(
                f"{type(self).__name__} fits shells to images (n_samples, size, size), "
                f"or to rows of pixels with image_shape, with at most {N_BETAS} "
                f"coefficients per shell; but it was fitted on samples of shape "
                f"{self.sample_shape_} with n_betas={self.n_betas}."
            )
        X, _ = check_X_y(self, X, reset=False)
        self._check_counts(X)
        return fit_posterior(
            X,
            self._upright,
            self._image_shape_of(tuple(X.shape[1:]))[0],
            self._n_shells,
            self.prior_,
            extent=float(self.extent),
            distortion=self.distortion,
            device=self._torch_device,
            verbose=self.verbose,
        )

    def _network_interval(self, X: Any, coverage: float) -> np.ndarray:
        tail = (1 - coverage) / 2
        y = super().predict(X)
        y = np.asarray(y, np.float64).reshape(len(y), -1, 1)
        return y + self.residual_std_.reshape(-1, 1) * norm.ppf([tail, 1 - tail])

    @property
    def _n_shells(self) -> int:
        return int(np.prod(self.target_shape_)) // self.n_betas

    @property
    def _factor(self) -> float:
        return FACTORS[self.convention]

    # Checks ---------------------------------------------------------------------

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        if len(sample_shape) == 1 and self.image_shape is None:
            check_rows_are_images(*sample_shape)
        shape = self._image_shape_of(tuple(sample_shape))
        if len(shape) != 2:
            raise ValueError(
                f"Electron images have no channels; image_shape must be (height, "
                f"width), but is {shape}."
            )
        return {"n_channels": 1, "input_size": shape}

    def _image_shape_of(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        layout = ImageLayout(image_shape=self.image_shape)
        return layout.image_shape_of(sample_shape)

    def _are_images(self) -> bool:
        """Return whether samples are images, or rows of numbers without a shape."""
        return len(self.sample_shape_) > 1 or self.image_shape is not None

    def _check_training_data(self, X: Any, y: Any, *args: Any, **kwargs: Any) -> tuple:
        self._ranges()
        X, y = super()._check_training_data(X, y, *args, **kwargs)
        if not is_dataset(X):
            self._check_counts(X["X"] if isinstance(X, dict) else X)
        return X, y

    def _ranges(self) -> list[tuple[float, float]]:
        """Return the checked ranges of radii and widths."""
        names = ("radius", "radius_width")
        ranges = [check_ends(getattr(self, name), name) for name in names]
        if ranges[0][0] > 2**0.5 * self.extent:
            raise ValueError(
                f"radius={self.radius!r} begins beyond the corners of images of "
                f"extent={self.extent:g}, half their side; give both in one unit."
            )
        return ranges

    def _check_simulator(self, simulator: Any) -> None:
        """Check that the simulated images are those that the estimator expects."""
        if not isinstance(simulator, SEVISimulator):
            raise TypeError(
                f"fit_simulator takes a skastro.sevi.SEVISimulator, but got "
                f"{simulator!r}."
            )
        for name in ("convention", "polarization_axis", "extent"):
            ours, theirs = getattr(self, name), getattr(simulator, name)
            if ours != theirs:
                raise ValueError(
                    f"The simulator has {name}={theirs!r}, but the estimator "
                    f"{name}={ours!r}; make them the same."
                )
        if self.n_betas != N_BETAS:
            raise ValueError(
                f"Simulated images have {N_BETAS} coefficients per shell, but n_betas "
                f"is {self.n_betas}."
            )
        for name in ("radius", "radius_width") if self.refine else ():
            theirs = np.broadcast_to(getattr(simulator.prior, name), 2)
            ours = getattr(self, name)
            if theirs[0] < ours[0] or theirs[1] > ours[1]:
                raise ValueError(
                    f"The simulator draws {name} from {theirs[0]:g} to {theirs[1]:g}, "
                    f"but the fit looks for {name}={tuple(ours)}; widen the latter."
                )

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        # Without `check`, X is a data set of the training, checked before.
        if check:
            self._check_counts(X)
        return super()._predict_batches(X, function, check=check)

    def _check_counts(self, X: Any) -> None:
        shape = None
        if self._are_images():
            shape = self._image_shape_of(tuple(X.shape[1:]))
        check_counts(X, shape, type(self).__name__)

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        n_columns = y.reshape(len(y), -1).shape[1]
        if n_columns % self.n_betas:
            raise ValueError(
                f"y has {n_columns} columns, but {type(self).__name__} expects "
                f"{self.n_betas} coefficients for each shell, those of the smallest "
                "shell first: a multiple of this. Set n_betas if there are fewer."
            )
        return y

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    # Input of the network -------------------------------------------------------

    def _upright(self, X: torch.Tensor) -> torch.Tensor:
        """View samples as images (n, height, width), polarized along the last axis."""
        X = X.reshape(len(X), *self._image_shape_of(tuple(X.shape[1:])))
        return X.mT if self.polarization_axis == 0 and self._are_images() else X

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        X = self._upright(X).float()[:, None]
        counts = self.normalization == "counts" or (
            self.normalization == "auto" and isinstance(self.module_, PolarNet)
        )
        if counts:
            return X
        total = X.sum((1, 2, 3), keepdim=True).clamp(min=1e-30)
        return X / total * _PUBLISHED_TOTAL

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        return X

    # The loss -------------------------------------------------------------------

    @override
    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        is_class = isinstance(self.criterion, type)
        if (
            prefix == "criterion"
            and is_class
            and issubclass(self.criterion, LegendreLoss)
        ):
            params = {"n_betas": self.n_betas, **params}
        return params

    def _scale_target(self, y: torch.Tensor) -> torch.Tensor:
        # The loss takes coefficients of densities, without scaling.
        return y / self._factor

    @override
    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        return super().get_loss(self._to_betas(y_pred), y_true, X=X, **kwargs)

    def _to_betas(self, output: Any) -> torch.Tensor:
        """Convert outputs to coefficients of densities."""
        output = output[0] if isinstance(output, tuple) else output
        if self.scale_target and output.numel() == len(output) * len(self.target_mean_):
            output = output.reshape(len(output), -1)
            output = output * torch.as_tensor(self.target_scale_).to(output)
            output = output + torch.as_tensor(self.target_mean_).to(output)
        return output / self._factor

    # Learned state besides the weights --------------------------------------------

    def _learn_from_training_data(self, dataset: Any) -> None:
        """Learn the distribution of the coefficients from the training targets."""
        simulated = _simulated_images(dataset)
        if simulated is not None and not hasattr(self, "prior_"):
            y = simulated.some_targets(_N_TARGETS).cpu().numpy()
            if self.scale_target:
                self.target_mean_ = y.mean(0)
                self.target_scale_ = np.where(y.std(0) > 0, y.std(0), 1.0)
        super()._learn_from_training_data(dataset)
        if hasattr(self, "prior_") or self.n_betas > N_BETAS:
            return
        ranges = self._ranges()
        if self.prior == "published":
            self.prior_ = ShellPrior.published(self.n_betas, *ranges)
            return
        if simulated is None:
            y = _targets_of(dataset)
        beta = y.reshape(-1, self.n_betas) / self._factor
        self.prior_ = ShellPrior.from_samples(beta, *ranges)

    @override
    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        simulated = _simulated_images(dataset_train)
        if simulated is not None:
            simulated.next_epoch()

    def _after_training(self, train: Any, valid: Any) -> None:
        """Measure the errors of the network."""
        super()._after_training(train, valid)
        residuals = torch.cat(list(self._residuals(train if valid is None else valid)))
        residuals = residuals.double().cpu().numpy()
        self.residual_std_ = np.sqrt((residuals**2).mean(0)) * self._factor

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        kept = self.__dict__.get("kept_params_", {})
        # The prior that was learned stays in use.
        self._refuse_changed({k: v for k, v in kept.items() if k != "prior"})

    def _fitted_state(self) -> dict[str, Any]:
        state = super()._fitted_state()
        if "prior_" in state:
            state["prior_"] = state["prior_"].to_dict()
        return state

    def _restore_fitted_state(self, state: dict[str, Any]) -> None:
        super()._restore_fitted_state(state)
        if "prior_" in state:
            self.prior_ = ShellPrior.from_dict(state["prior_"])

    def _residuals(self, dataset: Any) -> Iterator[torch.Tensor]:
        for X, y in self.get_iterator(dataset, training=False):
            output = self._to_betas(self.evaluation_step((X, y)))
            output = output.reshape(len(output), -1)
            y = torch.as_tensor(y).to(output).reshape(output.shape)
            yield output - y / self._factor


def _simulated_images(dataset: Any) -> SimulatedImages | None:
    """Return the simulated images of a data set, or None."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, SimulatedImages) else None


def _targets_of(dataset: Any) -> np.ndarray:
    source = find_source(dataset)
    if source is not None and source.y is not None:
        y = source.y if source.rows is None else source.y[source.rows]
        return y.double().numpy().reshape(len(y), -1)
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _N_TARGETS)).astype(int)
    return np.stack([np.asarray(dataset[row][1], np.float64).ravel() for row in rows])


_AT_ONCE = 64


def _sample_shape(
    size: int | None, image_shape: Any, least_size: int
) -> tuple[int, ...]:
    """Return the shape of a sample in X."""
    if size is not None:
        size = check_count(size, "size", 1)
    if image_shape is not None:
        shape = tuple(image_shape) if isinstance(image_shape, tuple | list) else ()
        if len(shape) != 2 or shape[0] != shape[1] or size not in (None, shape[0]):
            size = shape[0] if size is None and shape else size or _DEFAULT_SIZE
            raise ValueError(
                "Pretrained weights are for square images: image_shape must be "
                f"({size}, {size}), but is {image_shape!r}."
            )
        size = check_count(shape[0], "image_shape", 1)
    size = _DEFAULT_SIZE if size is None else size
    if size < least_size:
        raise ValueError(
            f"The pretrained weights are for images of at least {least_size} x "
            f"{least_size} pixels, but size is {size}. For smaller ones fit anew, by "
            f"SEVIRegressor().fit_simulator(SEVISimulator(size={size})) or by fit. Few "
            "images are enough: with refine=True weights have no effect."
        )
    return (size, size) if image_shape is None else (size * size,)


def _check_trained(
    ranges: dict[str, tuple[float, float]],
    extent: float,
    trained: dict[str, tuple[float, float]],
) -> None:
    """Check that the network has been trained on shells of these ranges."""
    for name, (low, high) in ranges.items():
        low, high = low / extent, high / extent
        least, most = trained[name]
        if low < 0.999 * least or high > 1.001 * most:
            raise ValueError(
                f"In images from -{extent:g} to {extent:g} the network knows {name} "
                f"from {least * extent:g} to {most * extent:g}, but {name} is "
                f"({low * extent:g}, {high * extent:g}). Give a range within, or use "
                "the fit (refine=True)."
            )
