# SPDX-License-Identifier: BSD-3-Clause
"""Redshifts of spectra: the whole distribution, from a network and from templates."""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from astropy import units
from numpy.typing import ArrayLike
from skorch.dataset import Dataset, unpack_data
from skorch.utils import is_dataset
from torch.nn import functional as F
from typing_extensions import override

from skastro.base import BaseRegressor
from skastro.base._source import add_checksum
from skastro.base._validation import check_X_y
from skastro.datasets import make_spectra
from skastro.estimators._log_pixels import (
    LN_WAVELENGTH,
    N_PIXELS,
    STEP,
    LogPixels,
    mean_flux,
    running_mean,
)
from skastro.estimators._redshift_evidence import (
    combine,
    find_solutions,
    gains_on_grid,
    weigh,
    weights_for,
)
from skastro.estimators._redshift_templates import (
    CLASSES,
    FLATTERY,
    own_templates,
    simulated_templates,
)
from skastro.estimators._template_scan import TemplateScan, TemplateSet
from skastro.training import BatchIterator, BinnedLikelihood, fast_kernels
from skastro.utils import (
    check_count,
    check_number,
    check_range,
    check_spectra_layout,
    check_wavelength,
    inherit_parameters,
    name_rows,
)

# Pixels from one output of the network to the next, and points of the grid of p(z).
_STRIDE, _POINTS = 3, 6
_COARSE, _FINE = STEP * _STRIDE, STEP * _STRIDE / _POINTS
# Rows of fewer numbers are features of any kind, which no template fits.
_SHORTEST_SPECTRUM = 100
# Where wavelengths of such rows run from and to, in Å.
_DEFAULT_ENDS = 3900.0, 9000.0
# Redshifts that simulated galaxies and quasars reach.
_SIMULATED_RANGE = {"GALAXY": (0.0, 1.5), "QSO": (0.03, 4.2)}
# Windows of the continuum that the network is shown, in pixels.
_NARROW, _WIDE, _SCATTER_WINDOW = 101, 201, 401
_SPIKES = 15.0
# Validation samples by which network and templates are weighed.
_N_WEIGHED = 400
# No source is known beyond.
_HIGHEST = 50.0
_MOST_SOLUTIONS = 100
# Half the width of a solution, and the least distance of two, in ln(1 + z).
_HALF_WIDTH, _DISTANCE = 0.005, 0.01
# The least probability of a solution without a warning: real spectra are less certain
# than simulated ones. It was chosen on the even rows of spectra.fits and 6dFGS.
_CERTAIN = 0.999
# The least extent of known pixels in ln(wavelength).
_LEAST_EXTENT = 0.2

#: Meanings of the bits of ``zwarning``, where they can be as in the SDSS pipeline.
ZWARNING: dict[str, int] = {
    "LITTLE_COVERAGE": 1 << 1,
    "SMALL_DELTA": 1 << 2,
    "Z_FITLIMIT": 1 << 5,
    "NODATA": 1 << 9,
}


@inherit_parameters
class RedshiftRegressor(BaseRegressor):
    """Measure redshifts: a network proposes, templates decide.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`~skorch.regressor.NeuralNetRegressor` of skorch: parameters of its parts are
    reached as ``module__width``, ``optimizer__weight_decay``, ``callbacks__print_log``,
    ... in the constructor, in ``set_params`` and in searches.

    Spectra of any wavelengths are brought to pixels of equal width in ln(wavelength),
    where a redshift is a shift. A network gives the probability of each redshift.
    Templates of galaxies, quasars and stars are fitted by least squares at each
    redshift [1]_, and lower χ² by some gain. The logarithm of p(z) is a sum of both,
    whose weights maximize the likelihood of the validation samples. The network can be
    fitted to spectra of known redshift, or to simulated ones (`fit_simulator`), or is
    one that comes with the package (`from_pretrained`).

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="redshift"
        The network: :class:`~skastro.networks.RedshiftNet`, a name that
        ``skastro.networks.available_modules(1)`` lists, or any module. Modules whose
        ``__init__`` takes ``n_channels``, ``n_outputs`` or ``input_size`` get batches
        of shape ``(batch, 3, length)``: flux less its continuum, the continuum, and
        where pixels are known, on pixels of equal width in ln(wavelength). It returns
        the logarithm of p(z), but for a constant, at redshifts that are equally spaced
        in ln(1 + z).
    wavelength : array-like of shape (n_pixels,), default=None
        Centers of the pixels, vacuum wavelengths in Å or a
        :class:`~astropy.units.Quantity` of length, ascending. Those between 3500 and
        10400 Å are used. ``fit`` takes it as well. None is permitted for rows of fewer
        than 100 numbers only, which are taken for features of any kind.
    redshift : dict of str to tuple of (float, float), default=None
        Classes of objects and ranges of their redshifts. None: ``{"GALAXY": (-0.003,
        1.5), "QSO": (0.03, 4.2), "STAR": (-0.003, 0.003)}``. p(z) extends over all of
        them, after ``fit`` over those of y.
    templates : dict of str to tuple of (array-like, array-like), default=None
        Own templates by class: vacuum wavelengths (n_pixels,) at rest, in Å or a
        :class:`~astropy.units.Quantity`, and flux per Å (n_templates, n_pixels), NaN
        where it is unknown; spectra, not eigenvectors. They replace those of a class;
        other names need a range in `redshift`. None: principal components of simulated
        spectra.
    refine : bool, default=True
        Whether templates take part. Without them p(z) is that of the network alone.
    criterion : str or class, default=skastro.training.BinnedLikelihood
        The loss, of logits and positions on the grid of redshifts.

    Attributes
    ----------
    wavelength_ : ndarray of shape (n_pixels,)
        Centers of the pixels, in Å.
    z_grid_ : ndarray of shape (n_grid,)
        Redshifts of p(z), equally spaced in ln(1 + z).
    redshift_range_ : tuple of float
        The ends of the grid of redshifts.
    templates_ : dict of str to dict
        Components of the templates by class; only with `refine`.
    weights_ : dict of str to float
        Weights of the network, and of the gain in χ² and a constant for each class;
        only with `refine`.

    See Also
    --------
    SpectrumRegressor : Other numbers in place of redshifts.
    skastro.datasets.make_spectra : Simulated spectra of any redshift.

    Notes
    -----
    Redshifts are those of the spectrum as it is: heliocentric if wavelengths are.

    References
    ----------
    .. [1] Bolton, A. S. et al. (2012). "Spectral classification and redshift
           measurement for the SDSS-III BOSS". AJ 144, 144.
           https://doi.org/10.1088/0004-6256/144/5/144

    Examples
    --------
    >>> from skastro import RedshiftRegressor
    >>> from skastro.datasets import make_spectra
    >>> spectra = make_spectra(
    ...     8,
    ...     class_proportions={"GALAXY": 1},
    ...     redshift={"GALAXY": (0, 0.5)},
    ...     snr=(10, 20),
    ...     random_state=0,
    ... )
    >>> reg = RedshiftRegressor.from_pretrained(
    ...     "redshift", wavelength=spectra.wavelength
    ... )
    >>> z, std = reg.predict(spectra.flux, return_std=True)
    >>> bool((abs(z - spectra.redshift) < 0.001).all())
    True
    """

    # Error bars that a pipeline is asked for are asked of its last step.
    __metadata_request__predict: ClassVar[dict] = {"return_std": True}

    _pretrained: ClassVar = ("redshift",)
    _pretrained_package: ClassVar = "skastro.estimators"
    _pretrained_settings: ClassVar = ("redshift_range", "weights")
    _target_checks: ClassVar = {"multi_output": False, "y_numeric": True}
    # Positions on the grid stand for targets.
    scale_target = False
    _kept = ("redshift", "refine")
    _finite_advice = "Set unknown pixels to NaN."
    _takes_nan = True
    _given_wavelength: Any = None
    _parameter_constraints: ClassVar[dict] = {
        **BaseRegressor._parameter_constraints,
        "wavelength": [None, "array-like"],
        "redshift": [None, dict],
        "templates": [None, dict],
        "refine": ["boolean"],
    }

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "redshift",
        *,
        wavelength: ArrayLike | units.Quantity | None = None,
        redshift: Mapping[str, tuple[float, float]] | None = None,
        templates: Mapping[str, tuple] | None = None,
        refine: bool = True,
        criterion: str | type = BinnedLikelihood,
        optimizer: str | type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 5,
        batch_size: int = 64,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        augment: str | Callable | None = None,
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        warn_novelty: bool = False,
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

    # Fitting -----------------------------------------------------------------------

    @override
    def fit(
        self,
        X: Any,
        y: Any = None,
        wavelength: ArrayLike | units.Quantity | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the network to spectra of known redshift, and weigh the templates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Flux, NaN where it is not known; or flux and its inverse variance, 0 where
            it is not known. Without inverse variances a flux of exactly 0 is not known,
            either, and the noise is measured.
        y : array-like of shape (n_samples,), default=None
            Redshifts; None where X is a data set that holds them.
        wavelength : array-like of shape (n_pixels,), default=None
            Centers of the pixels, in place of the parameter `wavelength`.
        **fit_params : dict
            ``sample_weight``, ``groups`` and ``resume``, as for all estimators; others
            go to the module's ``forward``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._given_wavelength = wavelength
        try:
            return super().fit(X, y, **fit_params)
        finally:
            self.__dict__.pop("_given_wavelength", None)

    def fit_simulator(
        self,
        n_samples: int = 20_000,
        *,
        instrument: Any = "survey",
        snr: tuple[float, float] = (2.0, 50.0),
        ivar: bool = False,
    ) -> Self:
        """Fit the network to simulated spectra.

        Parameters
        ----------
        n_samples : int, default=20000
            Number of spectra, of all classes of `redshift` and `templates`; stars are
            half as many as the others.
        instrument : str or :class:`~skastro.simulation.Instrument`, default="survey"
            Spectrograph, see :func:`skastro.datasets.make_spectra`. Its pixels are
            those of `wavelength` where that is given.
        snr : tuple of (float, float), default=(2, 50)
            Range of the mean signal-to-noise ratio per pixel.
        ivar : bool, default=False
            Whether X will be flux and inverse variance.

        Returns
        -------
        self : object
            The fitted estimator. Its clones are not fitted.

        Raises
        ------
        ValueError
            If an argument is out of its range.
        """
        self._validate_params()
        check_count(n_samples, "n_samples", 20)
        ranges = self._ranges()
        spectra = make_spectra(
            n_samples,
            instrument=instrument,
            wavelength=self.wavelength,
            class_proportions={name: 0.5 if name == "STAR" else 1.0 for name in ranges},
            snr=snr,
            redshift={
                name: self._simulated_range(name, *interval)
                for name, interval in ranges.items()
                if name != "STAR"
            },
            templates=self.templates,
            random_state=self.random_state,
            verbose=self.verbose,
        )
        X = spectra.flux
        if ivar:
            X = np.stack([spectra.flux, spectra.ivar], axis=1)
        return self.fit(X, spectra.redshift, wavelength=spectra.wavelength)

    def _simulated_range(
        self, name: str, low: float, high: float
    ) -> tuple[float, float]:
        """Return the part of a range that simulated spectra can have."""
        if name in (self.templates or {}):
            return max(low, 0.0), high
        most = _SIMULATED_RANGE[name][1]
        if high <= 0 or low >= most:
            raise ValueError(
                f"redshift of {name} is {low:g} to {high:g}, but simulated spectra "
                f"have 0 to {most:g}; fit spectra of your own, by fit."
            )
        return max(low, 0.0), min(high, most)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # wavelength is needed always
        cls,
        source: str | os.PathLike = "redshift",
        *,
        wavelength: ArrayLike | units.Quantity,
        ivar: bool = False,
        sha256: str | None = None,
        **parameters: Any,
    ) -> Self:
        """Make a fitted estimator from pretrained weights.

        Parameters
        ----------
        source : {"redshift"}, str or path-like, default="redshift"
            Weights of the package; or a file that ``save_params`` of a fitted estimator
            wrote, for X of the same pixels: its path, or its address, which begins with
            ``https://``.
        wavelength : array-like of shape (n_pixels,)
            Centers of the pixels of X, vacuum wavelengths in Å or a
            :class:`~astropy.units.Quantity` of length.
        ivar : bool, default=False
            Whether X is flux and inverse variance, ``(n_samples, 2, n_pixels)``. A file
            of ``save_params`` tells it itself.
        sha256 : str, default=None
            SHA-256 checksum of the file, 64 hexadecimal digits; needed for an address,
            unless that ends with ``#sha256=...`` itself.
        **parameters : dict
            Parameters of the constructor, such as `templates`, `redshift`, `refine` and
            `device`.

        Returns
        -------
        estimator : object
            A fitted estimator. Its clones are not fitted.

        Raises
        ------
        ValueError
            If the weights do not exist or their file is damaged, or if `parameters`
            contradict them; or if an address has no checksum or does not begin with
            ``https://``.
        FileNotFoundError
            If there is no such file.
        OSError
            If the download fails, or has another checksum.
        TypeError
            If a parameter does not exist.

        Notes
        -----
        The network of ``"redshift"`` was trained on simulated spectra only. The card
        beside the weights, in ``skastro/estimators/pretrained``, says how, and how far
        they carry.

        ``fit`` starts anew, from random weights; with ``warm_start=True`` it trains
        these weights on.
        """
        source = add_checksum(source, sha256)
        pretrained = cls._read_pretrained(source, parameters)
        if pretrained is not None:
            return cls._from_pretrained(pretrained, wavelength, ivar, parameters)
        return super().from_pretrained(source, wavelength=wavelength, **parameters)

    @override
    def _check_saved_state(self, state: dict[str, Any]) -> None:
        super()._check_saved_state(state)
        learned = state.get("wavelength_")
        # What fit is given goes before the parameter.
        if self._is_restoring or self.wavelength is None or learned is None:
            return
        pixels = check_wavelength(self.wavelength)
        if pixels.shape != learned.shape or not np.allclose(pixels, learned, atol=0):
            raise ValueError(
                f"The file is for spectra of {learned.size} pixels, {learned[0]:g} to "
                f"{learned[-1]:g} Å, but wavelength has {pixels.size} pixels, "
                f"{pixels[0]:g} to {pixels[-1]:g} Å. Rebin X, or fit anew."
            )

    @classmethod
    def _from_pretrained(
        cls, pretrained: Any, wavelength: Any, ivar: bool, parameters: dict[str, Any]
    ) -> Self:
        settings = pretrained.settings
        if wavelength is None:
            raise ValueError("wavelength is None; give the centers of the pixels of X.")
        pixels = check_wavelength(wavelength)
        shape = (2, pixels.size) if ivar else (pixels.size,)
        reg = cls(**{"wavelength": wavelength, **parameters})
        reg._validate_params()
        low, high = settings["redshift_range"]
        for each, (first, last) in reg._ranges().items():
            if first < low or last > high:
                raise ValueError(
                    f"redshift of {each!r} is {first:g} to {last:g}, but the weights "
                    f"are for {low:g} to {high:g}; fit a network of your own."
                )
        reg = pretrained.build(
            cls,
            {"wavelength": wavelength, **parameters},
            shape,
            {"wavelength_": pixels, "redshift_range_": (low, high)},
        )
        reg.target_dtype_ = np.dtype(np.float64)
        reg._wavelength_at_fit = reg.wavelength
        if reg.refine:
            reg.templates_ = reg._find_templates()
            reg.weights_ = weights_for(settings["weights"], reg.templates_)
        return reg

    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of redshifts by class, or refuse them."""
        ranges = CLASSES if self.redshift is None else self.redshift
        if not ranges:
            raise ValueError(
                "redshift names no class; give ranges such as {'GALAXY': (0, 1)}."
            )
        checked = {
            name: check_range(interval, f"redshift of {name}", -0.1, _HIGHEST)
            for name, interval in ranges.items()
        }
        if empty := [name for name, (low, high) in checked.items() if low == high]:
            raise ValueError(
                f"redshift of {empty} is one number; give a range (lowest, highest)."
            )
        known = {*CLASSES, *(self.templates or {})}
        if unknown := [name for name in checked if name not in known]:
            raise ValueError(
                f"redshift names {unknown}, of which there are no templates; give "
                "them by templates={...}."
            )
        if lost := [name for name in self.templates or {} if name not in checked]:
            raise ValueError(
                f"templates names {lost}, which have no range in redshift={ranges!r}."
            )
        return checked

    def _find_templates(self) -> dict[str, dict[str, Any]]:
        """Prepare the templates of all classes."""
        ranges, own = self._ranges(), self.templates or {}
        found = {}
        if self.redshift is None:
            # Training redshifts may be beyond the usual ones.
            first, last = self.redshift_range_
            for name, (low, high) in ranges.items():
                reaches = max(high, last) if name == "QSO" else high
                ranges[name] = (low if name == "QSO" else min(low, first)), reaches
        for name, interval in ranges.items():
            low, high = np.clip(interval, *self.redshift_range_)
            if low >= high:
                continue
            if name in own:
                templates = own_templates(name, own[name], (low, high))
            else:
                templates = simulated_templates(name, (low, high))
            found[name] = vars(templates)
        return found

    @override
    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        check_spectra_layout(sample_shape, "two channels, flux and ivar,")
        n_pixels = sample_shape[-1]
        if len(sample_shape) == 2 and sample_shape[0] != 2:
            raise ValueError(
                f"X has {sample_shape[0]} channels, but redshifts are measured in "
                "flux, or in flux and inverse variance: give X of shape (n_samples, "
                "n_pixels) or (n_samples, 2, n_pixels)."
            )
        self._wavelength_at_fit = self.wavelength
        given = self._given_wavelength
        given = self.wavelength if given is None else given
        if given is not None:
            self.wavelength_ = check_wavelength(given)
        elif n_pixels < _SHORTEST_SPECTRUM:
            self.wavelength_ = np.linspace(*_DEFAULT_ENDS, n_pixels)
        else:
            raise ValueError(
                "Redshifts need the wavelengths of the pixels: give wavelength to "
                f"{type(self).__name__} or to fit."
            )
        if self.wavelength_.size != n_pixels:
            raise ValueError(
                f"wavelength has {self.wavelength_.size} values, but spectra have "
                f"{n_pixels} pixels."
            )
        LogPixels(self.wavelength_)
        return {"n_channels": 3, "input_size": N_PIXELS}

    @override
    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        y = super()._encode_target(y, reset=reset, classes=classes)
        wrong = np.flatnonzero(y <= -1)
        if wrong.size:
            raise ValueError(
                f"y holds redshifts of -1 or less, in rows {name_rows(wrong)}; they "
                "are changes of the wavelength over the wavelength at rest."
            )
        is_spectrum = self.sample_shape_[-1] >= _SHORTEST_SPECTRUM
        if is_spectrum and (y > _HIGHEST).any():
            raise ValueError(
                f"y holds numbers up to {y.max():g}, but redshifts are at most "
                f"{_HIGHEST:g}; divide velocities by the speed of light."
            )
        if reset:
            self.target_dtype_ = np.dtype(np.float64)
            low, high = self._extent()
            if self.redshift is None:
                # What was in no training spectrum has no probability.
                low, high = min(low, y.min() * 1.01), max(y.max() * 1.01, 0.01)
            self.redshift_range_ = float(low), float(high)
        low, high = self.redshift_range_
        outside = np.flatnonzero((y < low) | (y > high))
        if outside.size:
            raise ValueError(
                f"y holds redshifts outside the range {low:g} to {high:g}, in rows "
                f"{name_rows(outside)}; leave these rows out, or set redshift."
            )
        return y

    @override
    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        self.target_dtype_ = np.dtype(np.float64)
        self.redshift_range_ = self._extent()

    def _extent(self) -> tuple[float, float]:
        """Return the lowest and the highest redshift of all classes."""
        ranges = self._ranges().values()
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    @override
    def _infer_output_size(self, y: Any) -> dict[str, int]:
        # What is wrong with templates is told before the training.
        own = self.templates or {} if self.refine else {}
        for name, interval in self._ranges().items():
            if name in own:
                own_templates(name, own[name], interval)
        return {"n_outputs": self._n_coarse}

    @property
    def _n_coarse(self) -> int:
        low, high = np.log1p(self.redshift_range_)
        return int(np.ceil((high - low) / _COARSE)) + 1

    @override
    def _scale_target(self, y: torch.Tensor) -> torch.Tensor:
        # Positions on the grid of the network.
        low = np.log1p(self.redshift_range_[0])
        exact = y if y.device.type == "mps" else y.double()
        return (torch.log1p(exact).reshape(-1) - low) / _COARSE

    @override
    def _match(self, target: torch.Tensor, y_pred: Any) -> torch.Tensor:
        n_outputs = self._n_coarse
        if y_pred.ndim != 2 or y_pred.shape[1] != n_outputs:
            raise ValueError(
                f"The module gives outputs of shape {tuple(y_pred.shape[1:])}; give "
                f"it n_outputs, here {n_outputs}, the redshifts of p(z)."
            )
        return target.to(y_pred)

    # What the network sees ---------------------------------------------------------

    @override
    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        # Sums are rounded by the order in memory.
        X = X.float().contiguous()
        return _pixels_of(self.wavelength_.tobytes())(X)

    @override
    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        flux, ivar = X.unbind(1)
        known = (ivar > 0).to(flux.dtype)
        # Glitches must neither move the continuum nor outshine the lines.
        near = flux - running_mean(flux, known, _NARROW)
        limit = _SPIKES * running_mean(near.abs(), known, _SCATTER_WINDOW)
        flux = flux - near + near.clamp(-limit, limit)
        continuum = running_mean(flux, known, _WIDE)
        lines = (flux - continuum) * known
        size = lines.abs().sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(1)
        lines = torch.asinh(lines / size.clamp(min=1e-6))
        shape = torch.asinh(3 * (continuum - 1)) * known
        return torch.stack([lines, shape, known], dim=1)

    # Weighing the templates --------------------------------------------------------

    @override
    def _after_training(self, train: Any, valid: Any) -> None:
        super()._after_training(train, valid)
        self.__dict__.pop("templates_", None)
        # Those of pretrained weights hold where too few samples tell others.
        known = self.__dict__.pop("weights_", {})
        if not self.refine or self.sample_shape_ is None:
            return
        if self.sample_shape_[-1] < _SHORTEST_SPECTRUM:
            return
        self.templates_ = self._find_templates()
        self.weights_ = weights_for(known, self.templates_)
        if valid is None:
            return
        network, gains, true = [], [], []
        scans, n_left = self._scans(), _N_WEIGHED
        low = np.log1p(self.redshift_range_[0])
        for X, logits, y in self._evaluate(valid):
            spectra = _where_float64_is(self._normalize(self._send(X)))[:n_left]
            logits = _where_float64_is(logits)
            network.append(self._on_grid(logits.log_softmax(1)[:n_left]))
            gains.append(gains_on_grid(spectra, scans, np.log1p(self.z_grid_)))
            true.append(np.log1p(np.asarray(y, dtype=float)[:n_left]) - low)
            n_left -= len(spectra)
            if not n_left:
                break
        if len(np.concatenate(true)) >= 20:
            self.weights_ = weigh(
                torch.cat(network),
                torch.cat(gains),
                np.concatenate(true) / _FINE,
                self.weights_,
            )

    def _scans(self) -> list[TemplateScan]:
        return [TemplateScan(TemplateSet(**each)) for each in self.templates_.values()]

    def _on_grid(self, logits: torch.Tensor) -> torch.Tensor:
        """Interpolate the network's logarithms to the grid of p(z)."""
        n_points = (logits.shape[1] - 1) * _POINTS + 1
        return F.interpolate(
            logits[:, None].float(), size=n_points, mode="linear", align_corners=True
        )[:, 0]

    # Predicting --------------------------------------------------------------------

    @property
    def z_grid_(self) -> np.ndarray:
        """Redshifts of p(z), equally spaced in ln(1 + z): ndarray (n_grid,)."""
        if "redshift_range_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet.")
        low = np.log1p(self.redshift_range_[0])
        n_points = (self._n_coarse - 1) * _POINTS + 1
        return np.expm1(low + _FINE * np.arange(n_points))

    def _is_permitted(self, z: np.ndarray) -> np.ndarray:
        """Tell which redshifts are in the range of a class."""
        if self.redshift is None:
            return np.ones(z.shape, dtype=bool)
        ranges = self._ranges().values()
        return np.any(
            [(z > low - 1e-9) & (z < high + 1e-9) for low, high in ranges], axis=0
        )

    def _summaries(self, X: Any, function: Callable) -> np.ndarray:
        """Gather a function of the logarithm of p(z), of gains and of spectra."""
        self.check_is_fitted()
        self._check_state_is_complete()
        if not is_dataset(X):
            X, _ = check_X_y(self, X, reset=False, finite=False)
        is_array = not is_dataset(X)
        ln_redshift = np.log1p(self.z_grid_)
        at_fit = self.__dict__.get("_wavelength_at_fit", self.wavelength)
        if at_fit is not self.wavelength and not np.array_equal(
            at_fit, self.wavelength
        ):
            raise ValueError(
                "wavelength has changed since the estimator was made for that in "
                "wavelength_: fit anew, or call from_pretrained with it."
            )
        permitted = torch.from_numpy(self._is_permitted(self.z_grid_))
        if not permitted.any():
            raise ValueError(
                f"redshift={self.redshift!r} permits none of the {len(self.z_grid_)} "
                f"redshifts from {self.z_grid_[0]:.4g} to {self.z_grid_[-1]:.4g} that "
                "were fitted: widen it, or fit anew."
            )
        refined = self.refine and "weights_" in self.__dict__
        scans = self._scans() if refined else []

        def step(batch: Any) -> torch.Tensor:
            logits = self.evaluation_step(batch)
            spectra = self._normalize(self._send(unpack_data(batch)[0]))
            log_p = self._on_grid(logits.log_softmax(1))
            spectra, log_p = _where_float64_is(spectra), _where_float64_is(log_p)
            gains = None
            if scans:
                gains = gains_on_grid(spectra, scans, ln_redshift)
                log_p = combine(log_p, gains, self.weights_)
            log_p = torch.where(permitted.to(log_p.device), log_p, -torch.inf)
            return function(log_p.log_softmax(1), gains, spectra).cpu()

        with torch.no_grad(), fast_kernels(self._torch_device, self.precision):
            parts = list(self._run_batches(step, X, check=is_array))
        if not parts:
            raise ValueError("X has no samples; give at least one.")
        return torch.cat(parts).numpy()

    @override
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the redshifts of the most probable solutions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Spectra, in the shape that they had in ``fit``.
        return_std : bool, default=False
            Whether to return the error bars as well.

        Returns
        -------
        z : ndarray of shape (n_samples,), float64
            Means of p(z) over the most probable interval of 3000 km/s; NaN where no
            pixel is known.
        std : ndarray of shape (n_samples,), float64
            Standard deviations of p(z) there; only with `return_std`. Whether another
            solution may be the right one is told by ``zwarning``.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds infinity.
        """
        solutions = self.predict_solutions(X, k=1)[:, 0]
        z = solutions["z"].astype(self.target_dtype_)
        return (z, solutions["std"].astype(self.target_dtype_)) if return_std else z

    def predict_pdf(self, X: Any) -> np.ndarray:
        """Predict the probability densities of the redshifts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Spectra, in the shape that they had in ``fit``.

        Returns
        -------
        pdf : ndarray of shape (n_samples, n_grid), float32
            p(z) at ``z_grid_``. Its integral by the trapezoidal rule is 1.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds infinity.
        """
        self.check_is_fitted()
        grid = torch.from_numpy(self.z_grid_)

        def density(log_p: torch.Tensor, *_: Any) -> torch.Tensor:
            z = grid.to(log_p)
            # Equal steps of ln(1 + z) are wider and wider ones of z.
            p = log_p.exp() / (1 + z)
            return p / torch.trapezoid(p, z, dim=1)[:, None]

        return self._summaries(X, density)

    def predict_solutions(self, X: Any, k: int = 3) -> np.ndarray:
        """Predict the k most probable redshifts of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Spectra, in the shape that they had in ``fit``.
        k : int, default=3
            Number of solutions, at most 100.

        Returns
        -------
        solutions : structured ndarray of shape (n_samples, k)
            The most probable one first. ``z`` and ``std``: mean and standard deviation
            of p(z) within 1500 km/s, the latter at least 10 km/s, as points of the grid
            are 35 km/s apart; ``probability``: its integral there; ``gain``: by how
            much the templates lower ln χ², NaN without templates; ``class``: that of
            the templates that fit best, empty without them; the probability is that of
            z, not of the class. NaN where no pixel is known, and of solutions without
            any probability. ``astropy.table.Table`` takes a column of these.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds infinity, or k is
            not positive.
        """
        k = int(check_number(check_count(k, "k"), "k", 1, _MOST_SOLUTIONS))
        names = np.array(["", *self.__dict__.get("templates_", {})])
        record = [(name, "f8") for name in ("z", "std", "probability", "gain")]

        def solve(
            log_p: torch.Tensor, gains: torch.Tensor | None, spectra: torch.Tensor
        ) -> torch.Tensor:
            found = self._solve(log_p, gains, k)
            unknown = torch.tensor([torch.nan, torch.nan, 0, torch.nan, 0]).to(found)
            known = (spectra[:, 1] > 0).any(1)[:, None, None]
            return torch.where(known, found, unknown)

        values = self._summaries(X, solve)
        dtype = np.dtype([*record, ("class", names.dtype)])
        solutions = np.empty(values.shape[:2], dtype=dtype)
        for column, name in enumerate(("z", "std", "probability", "gain")):
            solutions[name] = values[..., column]
        solutions["class"] = names[values[..., 4].astype(int)]
        return solutions

    def predict_flux(self, X: Any) -> np.ndarray:
        """Predict the flux: the best templates at the most probable redshifts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Spectra, in the shape that they had in ``fit``.

        Returns
        -------
        flux : ndarray of shape (n_samples, n_pixels), float64
            The best sum of templates of the class of the first solution, times the
            continuum of the spectrum; NaN beyond its first and last known pixel, and
            beyond 3500 and 10400 Å.

        Raises
        ------
        NotFittedError
            If the net is not fitted, or has no templates.
        ValueError
            If X has another shape than in ``fit``, or holds infinity.
        """
        self.check_is_fitted()
        if not self.refine:
            raise ValueError("refine=False knows no templates; set refine=True.")
        self._require_learned("templates_")
        solutions = self.predict_solutions(X, k=1)[:, 0]
        X, _ = check_X_y(self, X, reset=False, finite=False)
        scans = dict(zip(self.templates_, self._scans(), strict=True))
        fluxes = np.empty((len(solutions), self.wavelength_.size))
        for row, solution in enumerate(solutions):
            x = torch.from_numpy(np.asarray(X[row : row + 1], dtype=np.float32))
            if not solution["class"]:
                fluxes[row] = np.nan
                continue
            scan = scans[str(solution["class"])]
            model = scan.model(
                self._normalize(self._send(x)), np.log1p([solution["z"]])
            )
            fluxes[row] = np.interp(
                np.log(self.wavelength_),
                LN_WAVELENGTH,
                mean_flux(x)[0].item() * model[0].numpy(),
                left=np.nan,
                right=np.nan,
            )
            flux = x[0] if x.ndim == 2 else x[0, 0]
            known = torch.isfinite(flux) & (flux != 0 if x.ndim == 2 else x[0, 1] > 0)
            (seen,) = np.nonzero(known.numpy())
            fluxes[row, : seen[0]] = fluxes[row, seen[-1] + 1 :] = np.nan
        return fluxes

    def _solve(
        self, log_p: torch.Tensor, gains: torch.Tensor | None, k: int
    ) -> torch.Tensor:
        flattery = [
            FLATTERY.get(name, 0.0) for name in self.__dict__.get("templates_", {})
        ]
        return find_solutions(
            log_p,
            gains,
            torch.tensor(flattery),
            np.log1p(self.z_grid_),
            k,
            half_width=_HALF_WIDTH,
            distance=_DISTANCE,
        )

    def zwarning(self, X: Any) -> np.ndarray:
        """Tell why redshifts may be wrong.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, 2, n_pixels)
            Spectra, in the shape that they had in ``fit``.

        Returns
        -------
        flags : ndarray of shape (n_samples,), int64
            0 where nothing is wrong, else a sum of: 2 (``LITTLE_COVERAGE``), known
            pixels extend over less than a factor of 1.22 in wavelength; 4
            (``SMALL_DELTA``), the best solution is less probable than 0.999; 32
            (``Z_FITLIMIT``), it is at an end of the permitted redshifts; 512
            (``NODATA``), no pixel is known. ``skastro.estimators.ZWARNING`` holds the
            names; the numbers are those of the SDSS pipeline.

        Raises
        ------
        NotFittedError
            If the net is not fitted.
        ValueError
            If X has another shape than in ``fit``, or holds infinity.
        """
        self.check_is_fitted()
        permitted = self._is_permitted(self.z_grid_)
        first, last = np.log1p(self.redshift_range_)
        # Where permitted redshifts begin and end.
        steps = np.flatnonzero(np.diff(permitted))
        ends = [first, last, *np.log1p(self.z_grid_[steps])]
        ends = torch.tensor(ends, dtype=torch.float64)

        def flags(
            log_p: torch.Tensor, gains: torch.Tensor | None, spectra: torch.Tensor
        ) -> torch.Tensor:
            z, _, probability = self._solve(log_p, gains, 1)[:, 0, :3].unbind(1)
            distance = (torch.log1p(z)[:, None] - ends.to(z)).abs().amin(1)
            known = spectra[:, 1] > 0
            extent = known.sum(1) * STEP
            found = {
                "LITTLE_COVERAGE": extent < _LEAST_EXTENT,
                # Also where there is no solution, and NaN.
                "SMALL_DELTA": ~(probability >= _CERTAIN),
                "Z_FITLIMIT": distance < _COARSE,
                "NODATA": ~known.any(1),
            }
            return sum(ZWARNING[name] * where.long() for name, where in found.items())

        return self._summaries(X, flags)

    def __sklearn_tags__(self) -> Any:
        """Say that targets are single numbers above -1."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        tags.target_tags.positive_only = True
        tags.regressor_tags.poor_score = True
        return tags


def _where_float64_is(x: torch.Tensor) -> torch.Tensor:
    """Move what is on one of Apple's devices, which know no float64, to the CPU."""
    return x.cpu() if x.device.type == "mps" else x


@lru_cache(maxsize=8)
def _pixels_of(wavelength: bytes) -> LogPixels:
    return LogPixels(np.frombuffer(wavelength))
