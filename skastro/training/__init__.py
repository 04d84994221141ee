# SPDX-License-Identifier: BSD-3-Clause
"""Plug-ins for skorch's training loop: batches, splits, schedules, callbacks."""

from skastro.training._batches import (
    SAMPLE_WEIGHT,
    BatchHalving,
    BatchIterator,
    NotFiniteError,
    check_batches,
    concatenate,
    current_ranks,
    find_source,
    n_samples_in,
    samples_at_once,
    separate_weight,
    split_batch,
    training_on,
)
from skastro.training._callbacks import (
    SCHEDULES,
    BestWeights,
    CosineCycles,
    EpochLog,
    EpochProgress,
    Schedule,
    Steps,
)
from skastro.training._compute import PRECISIONS, fast_kernels, resolve_precision
from skastro.training._likelihood import (
    BinnedLikelihood,
    DirichletMultinomialLikelihood,
    NegativeLogLikelihood,
)
from skastro.training._pretraining import GreedyPretraining
from skastro.training._ranks import PARTED, Ranks, batch_norms_of_all
from skastro.training._split import ValidationSplit, encode_groups

__all__ = [
    "PARTED",
    "PRECISIONS",
    "SAMPLE_WEIGHT",
    "SCHEDULES",
    "BatchHalving",
    "BatchIterator",
    "BestWeights",
    "BinnedLikelihood",
    "CosineCycles",
    "DirichletMultinomialLikelihood",
    "EpochLog",
    "EpochProgress",
    "GreedyPretraining",
    "NegativeLogLikelihood",
    "NotFiniteError",
    "Ranks",
    "Schedule",
    "Steps",
    "ValidationSplit",
    "batch_norms_of_all",
    "check_batches",
    "concatenate",
    "current_ranks",
    "encode_groups",
    "fast_kernels",
    "find_source",
    "n_samples_in",
    "resolve_precision",
    "samples_at_once",
    "separate_weight",
    "split_batch",
    "training_on",
]
