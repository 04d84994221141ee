# SPDX-License-Identifier: BSD-3-Clause
"""Networks that measure galaxies in images."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from skorch.dataset import Dataset

from skastro.base import BaseRegressor
from skastro.estimators._backbone import Backbone
from skastro.estimators._images import ImageInput
from skastro.training import BatchIterator


class GalaxyRegressor(ImageInput, Backbone, BaseRegressor):
    """Measure numbers, such as a magnitude or a radius, in images of galaxies.

    The estimator is at the same time a scikit-learn regressor and a
    :class:`skorch.NeuralNetRegressor`: parameters of its parts are reached as
    ``module__width``, ``optimizer__weight_decay``, ``callbacks__print_log``, ... in
    the constructor, in ``set_params`` and in searches.

    Images of bytes stay bytes until they are on the device, where they are divided by
    255. There each channel is brought to mean 0 and standard deviation 1, by what the
    training images have. Targets of any scale and offset, one or several a galaxy, are
    scaled for the network and scaled back in ``predict``.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(2)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` (height and width) get these sizes from the data, and then
        normalised batches of shape ``(batch, n_channels, height, width)``; a module
        that takes none of them gets X in the shape and in the numbers in which it was
        given. It returns one number a target, in scaled units.

    channel_axis : {-1, 1, 2, 3, -2, -3}, default=-1
        The axis of 4-D X that holds the channels (colours), as in scikit-image. 3-D X
        are images of one channel.

    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)`` or with the channels, where X is 2-D and
        a row is an image written out. With None a row of 2-D X is an image of height 1.

    normalization : {"training", "imagenet"} or None, default="training"
        What each channel is brought to. ``"training"``: mean 0 and standard deviation
        1, by what the training images have. ``"imagenet"``: bytes, or numbers from 0 to
        1, in three colours, less the means of ImageNet's images and divided by their
        deviations, as torchvision's networks are trained. None: bytes are divided by
        255, and that is all.

    stretch : {"asinh"} or None, default=None
        ``"asinh"`` gives the network each channel twice: as it is, and compressed to
        arsinh((x - sky) / softening), which shows the faint outskirts of galaxies
        beside the bright cores of others [4]_. The sky is the median of the training
        images' pixels, the softening ten times their scatter around it. Recommended for
        images of flux or counts, where galaxies differ by magnitudes; a trained
        `backbone` for images in three colours does not fit six channels.

    backbone : str, path-like or None, default=None
        A file with the weights of a trained network, to start from: ``.safetensors``,
        or what :func:`torch.save` writes of a ``state_dict()``, under the names that
        `module` has; torchvision's do for ``"resnet18"`` to ``"resnet101"``. Only the
        last layer, the head, starts anew. Where X has one channel and the trained
        network read colours, the first convolution is summed over them. The file is
        read whenever the network is built: at each ``fit``, not by a loaded pickle.
        See :ref:`the user guide <backbone>`.

    backbone_lr : float, default=None
        Learning rate of the backbone, which is the network without its last layer; `lr`
        is then that of the head alone, and the schedule scales both. 0 freezes the
        backbone, with the means and variances of its batch norms. None: `lr`.

    criterion : class, default=torch.nn.MSELoss
        The loss, of scaled targets. :class:`torch.nn.HuberLoss`,
        :class:`torch.nn.SmoothL1Loss` and :class:`torch.nn.L1Loss` give less weight to
        targets that are far off.

    optimizer : class, default=torch.optim.AdamW
        The optimizer.

    lr : float, default=3e-3
        The learning rate; with a schedule the highest one.

    max_epochs : int, default=40
        Passes over the training samples in one call of ``fit``.

    batch_size : int, default=32
        Samples in a training batch. Prediction takes as many at least;
        ``iterator_valid__batch_size`` sets how many. -1 takes all at once.

    schedule : {"cosine", "cosine_cycles", "steps"}, callable or None, default="cosine"
        How the learning rate changes at every step. ``"cosine"``: a linear warm-up
        over the first tenth of the training, then half a cosine down to zero
        [3]_. ``"cosine_cycles"``: the same in two cycles, the second half as high.
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
        Bring each target to mean 0 and standard deviation 1 for the loss, by what the
        training samples have, so that `lr` means the same for magnitudes and for
        radii, and several targets count alike. ``partial_fit`` and ``warm_start`` keep
        the first scaling.

    augment : {"symmetries", "rotations", "rotations-without-flips", "resclass"}, \
            callable or None, default=None
        How training batches are varied before the network sees them; validation and
        prediction are not. ``"symmetries"``: quarter turns and flips,
        :class:`skastro.augmentation.RandomDihedral`. ``"rotations"``: turns by any
        angle, flips, small shifts and changes of scale,
        :class:`skastro.augmentation.RandomAffine`;
        ``"rotations-without-flips"`` keeps the sense in which spirals wind.
        ``"resclass"``: turns by up to 30 degrees, flips, and changes of brightness and
        colour. These leave images of one row, as 2-D X has without `image_shape`, as
        they are. A callable takes a Tensor of shape ``(batch, n_channels, height,
        width)``, images of bytes divided by 255, and gives one of the same shape, on
        its device; ``skastro.augmentation`` has some. Draws come from torch's global
        generator, which ``random_state`` governs during ``fit``. The targets stay as
        they are, so that a position angle, say, allows for no turns.

    tta : bool or "rotations", default=False
        Test-time averaging: with True, ``predict`` averages the predictions for each
        image turned by 0, 90, 180 and 270 degrees and for its four mirror images, so
        that it takes eight times as long and depends on none of these.
        ``"rotations"`` leaves the mirror images out. Images that are not square are
        turned by 0 and 180 degrees only, and 2-D X without `image_shape` not at all.
        Scores in the course of the training are those of the images as they are.

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
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training targets, weighted where the samples
        are; the scale of a constant target is 1. Only with `scale_target`.

    target_shape_ : tuple of int
        Shape of one sample's target: ``()`` where y was 1-D, else ``(n_outputs,)``.

    channel_mean_, channel_scale_ : ndarray of shape (n_channels,)
        What is taken from each channel, and what the rest is divided by: mean and
        standard deviation of the training images, of bytes divided by 255, unless
        `normalization` says otherwise. Of many images, 4096 spread over all are looked
        at.

    channel_sky_, channel_softening_ : ndarray of shape (n_channels,)
        What the compressed channels begin and bend at; only with `stretch`. The mean
        and scale of these channels then stand behind those of the others.

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
    GalaxyClassifier : Classes in place of numbers.
    skastro.datasets.ImageFiles : Images in files of their own.
    skastro.inspection.HistoryDisplay : Draw the history.

    Notes
    -----
    The default network is a ResNet [1]_ of four basic blocks, see :ref:`the user guide
    <networks>`; with torchvision's names of parameters, as all ResNets here.

    Callbacks that score during training compare predictions with targets as they were
    given; the losses in ``history`` and what ``forward`` returns are in scaled units.

    ``fit`` takes ``sample_weight`` as a further argument.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90
    .. [2] Loshchilov, I. & Hutter, F. (2019). "Decoupled weight decay
           regularization". ICLR. https://arxiv.org/abs/1711.05101
    .. [3] Loshchilov, I. & Hutter, F. (2017). "SGDR: Stochastic gradient descent with
           warm restarts". ICLR. https://arxiv.org/abs/1608.03983
    .. [4] Lupton, R. H., Gunn, J. E. & Szalay, A. S. (1999). "A modified magnitude
           system that produces well-behaved magnitudes, colors, and errors even for
           low signal-to-noise ratio measurements". AJ 118, 1406.
           https://doi.org/10.1086/301004

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import GalaxyRegressor
    >>> rng = np.random.default_rng(0)
    >>> magnitude = rng.uniform(18, 21, size=400)
    >>> offset = np.arange(16) - 7.5
    >>> profile = np.exp(-(offset**2 + offset[:, None] ** 2) / 8)
    >>> flux = 10 ** (-0.4 * (magnitude - 25))
    >>> images = flux[:, None, None] * profile / profile.sum()
    >>> images += rng.normal(scale=0.5, size=images.shape)
    >>> reg = GalaxyRegressor(
    ...     module__width=8,
    ...     stretch="asinh",
    ...     lr=3e-3,
    ...     batch_size=16,
    ...     verbose=0,
    ...     random_state=0,
    ... )
    >>> reg = reg.fit(images[::2], magnitude[::2])
    >>> bool(reg.score(images[1::2], magnitude[1::2]) > 0.9)
    True
    """

    _finite_advice = (
        "Missing pixels can be filled beforehand, with numpy.nan_to_num for instance."
    )
    _parameter_constraints: ClassVar[dict] = {
        **BaseRegressor._parameter_constraints,
        **ImageInput._image_constraints,
        **Backbone._backbone_constraints,
    }

    def __init__(
        self,
        module: str | type[torch.nn.Module] | torch.nn.Module = "resnet10",
        *,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        normalization: str | None = "training",
        stretch: str | None = None,
        backbone: str | os.PathLike | None = None,
        backbone_lr: float | None = None,
        criterion: type = torch.nn.MSELoss,
        optimizer: type = torch.optim.AdamW,
        lr: float = 3e-3,
        max_epochs: int = 40,
        batch_size: int = 32,
        schedule: str | Callable[[float], float] | None = "cosine",
        train_split: float | Callable | None = 0.1,
        restore_best_weights: bool = True,
        scale_target: bool = True,
        augment: str | Callable | None = None,
        tta: bool | str = False,
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
