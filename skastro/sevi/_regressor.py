# SPDX-License-Identifier: BSD-3-Clause
"""Angular distributions of photoelectrons, measured in their images."""

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from skorch import NeuralNetRegressor
from skorch.dataset import Dataset

from skastro.base import StrictRegressor
from skastro.estimators._legendre_loss import LegendreLoss
from skastro.estimators._sevi_input import SEVIInput
from skastro.estimators._sevi_pretrained import SEVIPretrained
from skastro.estimators._sevi_recipes import RECIPES
from skastro.estimators._sevi_refinement import ShellRefinement
from skastro.estimators._simulated_images import SimulatedImages, check_simulator
from skastro.simulation.sevi import SEVISimulator
from skastro.training import BatchIterator


class SEVIRegressor(
    SEVIPretrained, ShellRefinement, SEVIInput, StrictRegressor, NeuralNetRegressor
):
    """Measure the angular distributions of electrons in velocity-map images.

    An image shows electrons of one or several shells, projected along an axis across
    the polarisation. Of each shell the coefficients β_l of the density
    1/2 + Σ β_l P_2l(cos θ) are sought.

    A network proposes an answer; the default one sees the image's rings and their
    angular moments. For images of whole counts the answer is then refined: shells, with
    their radii, widths, numbers of electrons and a background, are fitted to the counts
    by their Poisson likelihood and a prior of the coefficients, learned from y. The
    refined coefficients are the means of the posterior and come with standard
    deviations. The fit finds the radii by itself, and its coefficients do not depend on
    the network's weights, so that few training images, or few epochs, will do for it.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`skorch.NeuralNetRegressor`: parameters of its parts are reached as
    ``module__hidden``, ``optimizer__weight_decay``, ``callbacks__print_log``, ... in
    the constructor, in ``set_params`` and in searches.

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
        Coefficients of a shell. y has that many columns for each shell; the number of
        shells follows.

    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients in y and in predictions: "density" is β_l of
        1/2 + Σ β_l P_2l(cos θ), "vmi" is b_l = 2 β_l of 1 + Σ b_l P_2l(cos θ).

    polarization_axis : {0, 1}, default=1
        Axis of an image along which the electrons are polarised.

    refine : bool, default=True
        Whether predictions for images are refined by a fit of shells to the counts. The
        fit knows at most 12 coefficients; images of one row, as 2-D X has without
        `image_shape`, are not fitted.

    distortion : bool, default=False
        Whether the fit also looks for a tilt of the polarisation axis, an ellipticity
        and a displacement of the centre, of a few degrees, per cent and pixels. It
        then takes about ten times as long.

    prior : {"training", "published"}, default="training"
        Distribution of the coefficients that the fit starts from: ``"training"`` takes
        limits, mean and scatter of each coefficient from the training samples,
        ``"published"`` those of :class:`skastro.simulation.sevi.SEVIPrior`.

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
        What the network sees: ``"counts"`` as they are, or, ``"total"``, divided by
        their total and multiplied by 255, as published. ``"auto"``: counts for
        ``"polar"``, which takes their total into account, the latter for others.

    criterion : class, default=LegendreLoss
        The loss, of coefficients of densities;
        :class:`~skastro.estimators.LegendreLoss` is the squared distance of the angular
        densities.

    optimizer : class, default=torch.optim.AdamW
        The optimizer.

    lr : float, default=2e-3
        The learning rate; with a schedule the highest one.

    max_epochs : int, default=30
        Passes over the training samples in one call of ``fit``.

    batch_size : int, default=64
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

    scale_target : bool, default=True
        Whether the network's outputs are in units of the scatter of each coefficient,
        from its mean, over the training samples. The loss is that of the coefficients
        in any case.

    augment : callable, default=None
        How training batches are varied before the network sees them. It takes a Tensor
        of shape ``(batch, 1, height, width)``, polarised along the last axis, and gives
        one of the same shape. The targets stay as they are.

    n_simulated : int, default=4096
        Images of an epoch of ``fit_simulator``.

    n_replaced : int, default=None
        Images that ``fit_simulator`` replaces by new ones every `replace_every` epochs,
        while the others stay. None: all images are new at every epoch.

    replace_every : int, default=5
        Epochs between these replacements.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Number format of the network's computations. ``"auto"``: bfloat16 where the
        hardware computes in it (float16 on GPUs that are fast in that format only) and
        samples and network are large enough for that to pay, float32 elsewhere and in
        prediction, whose numbers would be rounded to two or three digits. Weights and
        losses are float32 in any case.

    device : str, torch.device or None, default="auto"
        Where to compute. ``"auto"``: a CUDA device where there is one, else Apple's
        MPS, else the CPU; a pickled estimator then looks anew where it is loaded.

    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the validation split, the order of the samples and
        dropout. With an int, results are the same at each call on the CPU and the
        global generators stay untouched. None follows the global generators, so
        that ``torch.manual_seed`` governs.

    warm_start : bool, default=False
        Whether ``fit`` trains a fitted network on, instead of starting anew.

    verbose : int, default=1
        0: silent; 1: a progress bar; 2: also skorch's table of epochs.

    callbacks : list of skorch callbacks, "disable" or None, default=None
        Callbacks besides the default ones, which are ``epoch_timer``, ``train_loss``,
        ``valid_loss``, ``lr_schedule``, ``best_weights``, ``progress`` and
        ``print_log``. ``"disable"`` leaves the default ones out too.

    iterator_train : class, default=skastro.training.BatchIterator
        Iterator over training batches, such as :class:`torch.utils.data.DataLoader`.

    iterator_valid : class, default=skastro.training.BatchIterator
        Iterator over batches in validation and prediction.

    dataset : class, default=skorch.dataset.Dataset
        Data set that X and y are wrapped in.

    predict_nonlinearity : callable, "auto" or None, default="auto"
        Function from the module's output to scaled targets; ``"auto"`` follows the
        criterion and leaves outputs as they are for those named above.

    compile : bool, default=False
        Whether to compile the module by :func:`torch.compile`.

    use_caching : bool or "auto", default="auto"
        Whether scoring callbacks reuse the predictions of training and validation.

    torch_load_kwargs : dict, default=None
        Arguments of :func:`torch.load` in ``load_params``.

    **kwargs : dict
        Parameters of the parts, with the prefixes ``module__``, ``criterion__``,
        ``optimizer__``, ``iterator_train__``, ``iterator_valid__``, ``callbacks__``,
        ``dataset__`` and ``compile__``.

    Attributes
    ----------
    prior_ : object
        What the fit knows of shells beforehand. Only for at most 12 coefficients.

    residual_std_ : ndarray of shape (n_outputs,)
        Root mean square error of the network on the validation samples, or, without
        any, on the training samples.

    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training targets. Only with `scale_target`.

    target_shape_ : tuple of int
        Shape of one sample's target: ``()`` where y was 1-D, else ``(n_outputs,)``.

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
        What was recorded in each epoch.

    See Also
    --------
    skastro.datasets.make_sevi : Images to try it on.
    skastro.simulation.sevi.SEVISimulator : Ever new images, for ``fit_simulator``.

    Notes
    -----
    Recipes of ``from_recipe``: ``"published"``, a ResNet-18 trained on simulated images
    of which some are replaced every few epochs. Weights of ``from_pretrained``:
    ``"sevi-1shell"`` and ``"sevi-2shell"``.

    Without `distortion` the fit assumes round images whose centre is in their middle,
    with the polarisation along an axis. ``out_of_range`` of ``predict_shells`` says
    where an image is none of such shells. Images whose pixels are fine in comparison
    with the shells' widths are rebinned.

    ``fit`` takes ``sample_weight`` as a further argument.

    References
    ----------
    .. [1] Minka, T. P. (2001). "Expectation propagation for approximate Bayesian
           inference". UAI. https://arxiv.org/abs/1301.2294

    Examples
    --------
    >>> from skastro import SEVIRegressor
    >>> from skastro.datasets import make_sevi
    >>> train = make_sevi(200, size=64, n_electrons=1e4, random_state=0)
    >>> test = make_sevi(2, size=64, n_electrons=1e4, random_state=1)
    >>> reg = SEVIRegressor(max_epochs=2, verbose=0, random_state=0)
    >>> reg = reg.fit(train.images, train.beta)
    >>> beta, std = reg.predict(test.images, return_std=True)
    >>> bool((abs(beta - test.beta) < 5 * std).all())
    True
    """

    _finite_advice = "Dead pixels can be filled beforehand by their mirror images."
    _recipes: ClassVar = RECIPES
    _parameter_constraints: ClassVar[dict] = {
        **StrictRegressor._parameter_constraints,
        **SEVIInput._sevi_constraints,
        "refine": ["boolean"],
        "distortion": ["boolean"],
        "n_simulated": [Interval(Integral, 1, None, closed="left")],
        "n_replaced": [None, Interval(Integral, 1, None, closed="left")],
        "replace_every": [Interval(Integral, 1, None, closed="left")],
        "radius": [tuple, list],
        "radius_width": [tuple, list],
    }
    _learned_from_rows: ClassVar = (
        *SEVIInput._learned_from_rows,
        *StrictRegressor._learned_from_rows,
    )

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "polar",
        *,
        n_betas: int = 12,
        convention: str = "density",
        polarization_axis: int = 1,
        refine: bool = True,
        distortion: bool = False,
        prior: str = "training",
        radius: tuple[float, float] = (0.3, 0.9),
        radius_width: tuple[float, float] = (0.005, 0.009),
        extent: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        normalization: str = "auto",
        criterion: type = LegendreLoss,
        optimizer: type = torch.optim.AdamW,
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

    def fit_simulator(self, simulator: SEVISimulator) -> Self:
        """Fit the network to images that are simulated while it is trained.

        Parameters
        ----------
        simulator : skastro.simulation.sevi.SEVISimulator
            The source of images; `n_simulated`, `n_replaced` and `replace_every` say
            how many are drawn when. A part of them, `train_split`, is for validation.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If `simulator` is of another kind.
        ValueError
            If its coefficients, its axis or its ranges are others than the estimator's.

        Examples
        --------
        >>> from skastro import SEVIRegressor
        >>> from skastro.simulation.sevi import SEVISimulator
        >>> simulator = SEVISimulator(size=32, n_electrons=(1e3, 1e5))
        >>> reg = SEVIRegressor(n_simulated=128, max_epochs=2, verbose=0)
        >>> reg = reg.fit_simulator(simulator)
        """
        self._validate_params()
        self._ranges()
        check_simulator(simulator, self)
        images = SimulatedImages(
            simulator, self.n_simulated, self.n_replaced, self.replace_every
        )
        return self.fit(images, None)
