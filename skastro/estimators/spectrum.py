# SPDX-License-Identifier: BSD-3-Clause
"""Networks for spectra."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset

from skastro.base import BaseClassifier
from skastro.estimators._spectrum_recipes import RECIPES
from skastro.training import BatchIterator


class SpectrumClassifier(BaseClassifier):
    """Classify spectra with a neural network.

    The estimator is at the same time a scikit-learn classifier and a
    :class:`skorch.NeuralNetClassifier`: parameters of its parts are reached as
    ``module__width``, ``optimizer__weight_decay``, ``callbacks__print_log``, ... in
    the constructor, in ``set_params`` and in searches.

    Spectra should be brought to one scale before, each by itself: put
    :class:`~skastro.StandardizeSpectra` or :class:`~skastro.MinMaxSpectra` in front, in
    a :class:`~skastro.Pipeline`.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(1)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` get these sizes from the data, and then batches of shape
        ``(batch, n_channels, length)``; a module that takes none of them gets X in
        the shape in which it was given. It returns one logit a class.

    criterion : class, default=torch.nn.CrossEntropyLoss
        The loss.

    optimizer : class, default=torch.optim.AdamW
        The optimizer.

    lr : float, default=3e-3
        The learning rate; with a schedule the highest one.

    max_epochs : int, default=40
        Passes over the training samples in one call of ``fit``.

    batch_size : int, default=16
        Samples in a training batch. Prediction takes as many at least;
        ``iterator_valid__batch_size`` sets how many. -1 takes all at once.

    schedule : {"cosine", "cosine_cycles", "steps"}, callable or None, default="cosine"
        How the learning rate changes at every step. ``"cosine"``: a linear warm-up
        over the first tenth of the training, then half a cosine down to zero
        [4]_. ``"cosine_cycles"``: the same in two cycles, the second half as high.
        ``"steps"``: divided by ten after one half and three quarters. A callable takes
        the progress from 0 to 1 and gives a factor, as
        :class:`~skastro.training.CosineCycles` and :class:`~skastro.training.Steps` do.
        None: a constant rate, or the schedule of a callback of yours.

    train_split : float, callable or None, default=0.1
        A float sets that part of the samples aside for validation, drawn with
        ``random_state``, in the classes' proportions; of fewer than 20 samples none
        is set aside. A callable takes and gives what skorch's
        :class:`~skorch.dataset.ValidSplit` does. None: no validation.

    restore_best_weights : bool, default=True
        Keep the weights of the epoch with the highest validation accuracy, the later
        one of equals, in the last quarter of the training, where the scheduled rate is
        low. Without validation those of the last epoch stay.
        ``callbacks__best_weights__monitor`` and its kin choose otherwise.

    calibrate : bool, default=False
        Divide the logits by a temperature, fitted on the validation samples after the
        training, so that probabilities are what they promise; see :ref:`the user guide
        <trust>`. It needs `train_split` and the default criterion. ``class_weight`` and
        `sampler` shift probabilities towards rare classes, which no temperature mends.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss, by label; ``"balanced"`` makes them
        inversely proportional to the classes' numbers.

    sampler : {"balanced"} or None, default=None
        ``"balanced"`` draws training samples with replacement such that all classes
        come equally often.

    augment : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How training batches are varied before the network sees them; validation and
        prediction are not. ``"noise"``: white noise of up to half the spectrum's
        standard deviation, :class:`skastro.augmentation.GaussianNoise`.
        ``"wang2020"``: noise, cosmic rays and bad pixels of min-max normalised flux
        [2]_. ``"resclass"``: noise and spikes, for standardised flux. A callable
        takes a Tensor of the shape of X and gives one, on its device;
        ``skastro.augmentation`` has some. Draws come from torch's global generator,
        which ``random_state`` governs during ``fit``.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Number format of the network's computations. ``"auto"``: bfloat16 where the
        hardware computes in it (float16 on GPUs that are fast in that format only) and
        samples and network are large enough for that to pay, float32 elsewhere.
        Weights, losses and probabilities are float32 in any case.

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

    classes : array-like of shape (n_classes,), default=None
        All labels, where the training samples may not show every class.

    callbacks : list of skorch callbacks, "disable" or None, default=None
        Callbacks besides the default ones, which are ``epoch_timer``, ``train_loss``,
        ``valid_loss``, ``valid_acc``, ``lr_schedule``, ``best_weights``, ``progress``
        and ``print_log``. ``"disable"`` leaves the default ones out too.

    iterator_train : class, default=skastro.training.BatchIterator
        Iterator over training batches, such as :class:`torch.utils.data.DataLoader`.

    iterator_valid : class, default=skastro.training.BatchIterator
        Iterator over batches in validation and prediction.

    dataset : class, default=skorch.dataset.Dataset
        Data set that X and y are wrapped in.

    predict_nonlinearity : callable, "auto" or None, default="auto"
        Function from the module's output to probabilities; ``"auto"`` follows the
        criterion.

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
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; the columns of ``predict_proba``.

    n_features_in_ : int
        Length of the second axis of X in ``fit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a data frame.

    sample_shape_ : tuple of int
        Shape of one sample in ``fit``: ``(length,)`` or ``(n_channels, length)``.

    module_sizes_ : dict
        The sizes that were inferred from the data.

    module_, criterion_, optimizer_, callbacks_ : objects
        The parts, built.

    temperature_ : float
        What the logits are divided by; 1 unless `calibrate`.

    training_features_ : ndarray of shape (n_kept, n_features)
        Features of some training samples, which ``score_samples`` compares others
        with; of modules with a method ``forward_features``.

    history : skorch.history.History
        What was recorded in each epoch.

    See Also
    --------
    skastro.StandardizeSpectra : Bring each spectrum to one scale.
    skastro.datasets.read_spectra : Read survey files.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    The default network is a residual network [1]_ of 10 layers with kernels of 7
    samples; :ref:`the user guide <estimators>` shows the measurements behind it and
    the other defaults. ``module="densenet"`` is the multi-scale network of [2]_.

    :meth:`from_recipe` gives the settings of published systems; the :ref:`user guide
    <recipes>` names what their sources leave open:

    - ``"resclass"``: ResNet-18 with a stem of stride 1 for LAMOST spectra;
      :class:`~skastro.StandardizeSpectra` belongs in front;
    - ``"wang2020"``: the multi-scale network as [2]_ trained it, after
      :class:`~skastro.MinMaxSpectra`;
    - ``"wang2020-densenet"``, ``"wang2020-dbn"``, ``"wang2020-mlp"``: the networks that
      [2]_ compares it with, a plain DenseNet of 36 layers, a deep belief network and a
      perceptron of 4 layers, trained alike.

    Callbacks that score during training see encoded targets, 0 to n_classes - 1.

    ``fit`` takes ``sample_weight`` as a further argument.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90
    .. [2] Wang, Q., Zhao, G. & Fan, Z. (2020). Astronomical Research and Technology,
           17(1), 85-95.
    .. [3] Loshchilov, I. & Hutter, F. (2019). "Decoupled weight decay
           regularization". ICLR. https://arxiv.org/abs/1711.05101
    .. [4] Loshchilov, I. & Hutter, F. (2017). "SGDR: Stochastic gradient descent with
           warm restarts". ICLR. https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra
    >>> from skastro.datasets import make_spectra
    >>> train = make_spectra(300, wavelength=range(3900, 9000, 20), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=10, verbose=0, random_state=0)
    >>> pipe = Pipeline([StandardizeSpectra(robust=True, clip=8), clf])
    >>> pipe = pipe.fit(train.flux, train.target)
    >>> test = make_spectra(100, wavelength=range(3900, 9000, 20), random_state=1)
    >>> pipe.score(test.flux, test.target) > 0.5
    True
    >>> pipe.classes_.tolist()
    ['GALAXY', 'QSO', 'STAR']
    >>> SpectrumClassifier.from_recipe("wang2020", batch_size=128).lr
    0.01
    """

    _recipes = RECIPES
    _finite_advice = (
        "Masked and uncovered pixels can be filled beforehand by "
        "MinMaxSpectra(nan_policy='interpolate')."
    )

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet10",
        *,
        criterion: type = torch.nn.CrossEntropyLoss,
        optimizer: type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 16,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        calibrate: bool = False,
        class_weight: dict | str | None = None,
        sampler: str | None = None,
        augment: str | Callable | None = "noise",
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        classes: Any = None,
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
