# SPDX-License-Identifier: BSD-3-Clause
"""Plug-ins for skorch's training loop: batches, splits, schedules, best weights."""

from skastro.training._batches import BatchIterator, NotFiniteError
from skastro.training._best_weights import BestWeights
from skastro.training._device import forget_placed, samples_at_once
from skastro.training._log import EpochLog, EpochProgress
from skastro.training._pieces import PieceByPiece, concatenate, n_samples_in, pieces_of
from skastro.training._precision import PRECISIONS, fast_kernels, resolve_precision
from skastro.training._pretraining import GreedyPretraining
from skastro.training._schedule import SCHEDULES, CosineCycles, Schedule, Steps
from skastro.training._sources import find_source
from skastro.training._split import ValidationSplit

__all__ = [
    "PRECISIONS",
    "SCHEDULES",
    "BatchIterator",
    "BestWeights",
    "CosineCycles",
    "EpochLog",
    "EpochProgress",
    "GreedyPretraining",
    "NotFiniteError",
    "PieceByPiece",
    "Schedule",
    "Steps",
    "ValidationSplit",
    "concatenate",
    "fast_kernels",
    "find_source",
    "forget_placed",
    "n_samples_in",
    "pieces_of",
    "resolve_precision",
    "samples_at_once",
]
