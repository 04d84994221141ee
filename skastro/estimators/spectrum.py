# SPDX-License-Identifier: BSD-3-Clause
"""Networks for spectra."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from skorch.dataset import Dataset

from skastro.base import BaseClassifier
from skastro.estimators._spectra import SpectrumInput
from skastro.training import BatchIterator, CosineCycles, GreedyPretraining, Steps
from skastro.utils import inherit_parameters

# Settings of published systems; "Open" marks what the source does not give.

# A one-dimensional ResNet-18 for spectra of LAMOST, of a competition.
_RESCLASS: dict[str, Any] = {
    "module": "resnet18",
    "module__stem": "stride1",
    "module__width": 64,
    # The scaler in front, and nothing else.
    "normalization": None,
    "augment": "resclass",
    "sampler": "balanced",
    "batch_size": 64,
    "train_split": 0.2,
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.AdamW,
    # Open: the rate, from where it rises and down to where it falls. These are the
    # numbers published with a ResNet-50 for images of galaxies that is trained alike.
    "lr": 1e-3,
    "schedule": CosineCycles(
        n_cycles=2,
        decay=0.5,
        warm_up=4 / 50,
        # Two cycles of 25 epochs leave no room before them.
        overlap=True,
        start=1e-5 / 1e-3,
        end=1e-6 / 1e-3,
    ),
    "max_epochs": 50,
    # Both the lowest loss and the highest accuracy were published; this is the latter.
    "restore_best_weights": True,
    "callbacks__best_weights__monitor": "valid_acc",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# How Wang, Zhao & Fan (2020) trained; the networks of their table 3 differ in the
# module alone.
_WANG_TRAINING: dict[str, Any] = {
    "normalization": None,
    "augment": "wang2020",
    "sampler": "balanced",
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "schedule": Steps(at=(10 / 60, 30 / 60, 50 / 60), factor=0.1),
    "max_epochs": 60,
    # Open: the size of batches and of the validation part.
    "batch_size": 64,
    "train_split": 0.2,
    # Open: what makes the best epoch. Macro-F1 is the paper's own measure, and unlike
    # accuracy no network reaches 0.985 by calling everything a star.
    "restore_best_weights": True,
    "callbacks__valid_acc__scoring": "f1_macro",
    "callbacks__valid_acc__name": "valid_f1_macro",
    "callbacks__best_weights__monitor": "valid_f1_macro",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# Open: the units of the two networks without convolutions.
_WANG_HIDDEN = (512, 256, 128)

RECIPES: dict[str, dict[str, Any]] = {
    "resclass": _RESCLASS,
    "wang2020": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__kernel_sizes": (1, 11, 25, 41),
        # Open: the numbers of feature maps.
        "module__growth_rate": 12,
        **_WANG_TRAINING,
    },
    "wang2020-densenet": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__growth_rate": 12,
        "module__kernel_sizes": (3,),
        # As many feature maps between the two convolutions as with four widths.
        "module__branch_width": 48,
        "module__squeeze_excitation": False,
        "module__extra_transitions": False,
        **_WANG_TRAINING,
    },
    "wang2020-dbn": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        "module__activation": "sigmoid",
        "callbacks": [("pretraining", GreedyPretraining)],
        **_WANG_TRAINING,
    },
    "wang2020-mlp": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        **_WANG_TRAINING,
    },
}


@inherit_parameters
class SpectrumClassifier(SpectrumInput, BaseClassifier):
    """Classify spectra with a neural network.

    The estimator is at the same time a scikit-learn classifier and a
    :class:`skorch.NeuralNetClassifier`: parameters of its parts are reached as
    ``module__width``, ``optimizer__weight_decay``, ``callbacks__print_log``, ... in
    the constructor, in ``set_params`` and in searches.

    Spectra are brought to one scale on the device, each by itself, so that their flux
    can be in any unit, and any scaler may stand in front.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance, default="resnet10"
        The network: a name that ``skastro.networks.available_modules(1)`` lists, or any
        module; an instance is copied, so that each ``fit`` starts from its weights.
        Modules whose ``__init__`` takes ``n_channels``, ``n_outputs`` or
        ``input_size`` get these sizes from the data, and then normalized batches of
        shape ``(batch, n_channels, length)``; a module that takes none of them gets X
        in the shape and in the numbers in which it was given. It returns one logit a
        class.
    augment : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How training batches are varied before the network sees them; validation and
        prediction are not. ``"noise"``: white noise of up to half the spectrum's
        standard deviation, :class:`skastro.augmentation.GaussianNoise`.
        ``"wang2020"``: noise, cosmic rays and bad pixels of min-max normalized flux
        [2]_. ``"resclass"``: noise and spikes, for standardized flux. A callable
        takes a normalized Tensor of the shape of X and gives one, on its device;
        ``skastro.augmentation`` has some. Draws come from torch's global generator,
        which ``random_state`` governs during ``fit``.

    Warns
    -----
    UserWarning
        If a network that nothing normalizes for gets numbers far from 1.

    See Also
    --------
    skastro.StandardizeSpectra : Fill and scale spectra before.
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

    ``fit`` takes ``sample_weight`` and ``groups`` as further arguments.

    References
    ----------
    .. [1] He, K. et al. (2016). "Deep residual learning for image recognition". CVPR.
           https://doi.org/10.1109/CVPR.2016.90
    .. [2] Wang, Q., Zhao, G. & Fan, Z. (2020). Astronomical Research and Technology,
           17(1), 85-95.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> train = make_spectra(300, wavelength=range(3900, 9000, 20), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=10, verbose=0, random_state=0)
    >>> clf = clf.fit(train.flux, train.target)
    >>> test = make_spectra(100, wavelength=range(3900, 9000, 20), random_state=1)
    >>> clf.score(test.flux, test.target) > 0.5
    True
    >>> clf.classes_.tolist()
    ['GALAXY', 'QSO', 'STAR']
    >>> SpectrumClassifier.from_recipe("wang2020", batch_size=128).lr
    0.01
    """

    _recipes = RECIPES
    _parameter_constraints: ClassVar[dict] = {
        **BaseClassifier._parameter_constraints,
        **SpectrumInput._spectrum_constraints,
    }
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
        normalization: str | None = "robust",
        precision: str = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 1,
        classes: Any = None,
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
