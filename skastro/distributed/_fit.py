# SPDX-License-Identifier: BSD-3-Clause
"""Training of one network by several processes, each with a device."""

import os
import warnings
from typing import Any

import torch

from skastro.training import PARTED, Ranks, current_ranks, training_on


def fit(
    estimator: Any, X: Any, y: Any = None, *, accelerator: Any = None, **fit_params: Any
) -> Any:
    """Fit an estimator on several devices, one process a device.

    A script that calls this function is started once a device, by ``accelerate launch
    script.py`` or ``torchrun --nproc_per_node=4 script.py``. Each process computes its
    part of every batch, and gradients are summed, so that all hold the same network.
    In a script that is started alone this is ``estimator.fit(X, y)``.

    Parameters
    ----------
    estimator : estimator
        An estimator of skastro, or anything that fits one in the process itself, such
        as a pipeline. Its ``random_state`` has to be an int. ``batch_size`` counts the
        samples of one process: two processes of 32 train as one of 64 does.
    X : array-like of shape (n_samples, ...)
        The samples, the same in all processes: an array, or a
        :class:`~skastro.datasets.LazyArray` on disk, of which each process reads its
        part.
    y : array-like of shape (n_samples, ...), default=None
        The target.
    accelerator : accelerate.Accelerator, default=None
        Names the process and its device. None makes one from what the launcher says.
    **fit_params : dict
        As in the estimator's ``fit``, ``resume`` included, whose file the first process
        writes and all read.

    Returns
    -------
    estimator : object
        The fitted estimator, the same in all processes, on the device of each. It is an
        ordinary one: it predicts alone, and can be pickled.

    Raises
    ------
    ImportError
        If Accelerate is not installed.
    ValueError
        If data or parameters differ between the processes; if ``random_state`` is no
        int; if the accelerator asks for more than data parallelism; or if the network
        is trained by iterators, or overridden steps, that cannot be shared.
    RuntimeError
        If another process has ended.

    Warns
    -----
    UserWarning
        If the estimator has trained no network of skastro in this process, so that
        all processes have done the same work.

    Notes
    -----
    Losses are means over the batches of all processes, those at uneven ends too; batch
    norms take the statistics of all samples. Losses and the outputs for validation
    samples are the same in all processes, so that early stopping, schedules and the
    best weights are as in one process. ``sampler="balanced"``, ``class_weight`` and
    calibration are as well. The first process alone writes checkpoints and prints.
    Without random augmentation and dropout the loss curve is that of one process with
    the whole batch size, but for rounding.

    A process that ends by an error or a signal ends the others, within seconds on CPUs;
    on GPUs after the time limit of NCCL, unless the launcher ends them.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import SpectrumClassifier
    >>> from skastro.distributed import fit
    >>> X = np.random.default_rng(0).normal(size=(40, 60)).astype("float32")
    >>> clf = SpectrumClassifier(max_epochs=2, random_state=0, verbose=0)
    >>> clf = fit(clf, X, np.repeat(["QSO", "STAR"], 20))
    >>> len(clf.history)
    2
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError(
            "Training on several devices needs accelerate: pip install 'skastro[scale]'"
        ) from error
    if accelerator is None:
        # Without a GPU it joins the other processes only if it is told so.
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
    _check(accelerator)
    if accelerator.num_processes == 1:
        return estimator.fit(X, y, **fit_params)
    if current_ranks() is not None:
        raise RuntimeError("This thread is in a training on several devices already.")
    if not torch.distributed.is_initialized():
        raise RuntimeError(PARTED)
    device = accelerator.device
    if device.type == "cpu":
        # Accelerate counts CPUs, of which torch knows one.
        device = torch.device("cpu")
    ranks = Ranks(accelerator.process_index, accelerator.num_processes, device)
    try:
        with training_on(ranks):
            estimator.fit(X, y, **fit_params)
    except BaseException:
        ranks.part()
        raise
    if not ranks.was_used:
        warnings.warn(
            f"{type(estimator).__name__} has trained no network of skastro in its own "
            "process: each of the processes has done the same work.",
            stacklevel=2,
        )
    return estimator


def _check(accelerator: Any) -> None:
    """Refuse what would have no effect."""
    n_started = int(os.environ.get("WORLD_SIZE", "1"))
    if n_started != accelerator.num_processes:
        raise ValueError(
            f"{n_started} processes were started (WORLD_SIZE), but accelerator knows "
            f"{accelerator.num_processes}, so that each would train by itself. On CPUs "
            "make it by Accelerator(cpu=True), and a PartialState before it by "
            "PartialState(cpu=True)."
        )
    name = accelerator.distributed_type.value
    if name not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"accelerator is one of {name}, but each device holds the whole network: "
            "expected MULTI_GPU or MULTI_CPU."
        )
    if accelerator.mixed_precision != "no":
        raise ValueError(
            f"accelerator has mixed_precision={accelerator.mixed_precision!r}, from "
            "its call, the launcher or accelerate's configuration; leave that out, and "
            "set the estimator's parameter precision."
        )
    if accelerator.gradient_accumulation_steps != 1:
        raise ValueError(
            "accelerator asks for gradient_accumulation_steps="
            f"{accelerator.gradient_accumulation_steps}, which skastro does not do."
        )
