# SPDX-License-Identifier: BSD-3-Clause
"""Plug-ins for skorch's training loop: batches, splits, schedules, best weights."""

from skastro.training._batches import BatchIterator
from skastro.training._best_weights import BestWeights
from skastro.training._log import EpochLog, EpochProgress
from skastro.training._precision import PRECISIONS, resolve_precision
from skastro.training._schedule import SCHEDULES, Schedule
from skastro.training._split import ValidationSplit

__all__ = [
    "PRECISIONS",
    "SCHEDULES",
    "BatchIterator",
    "BestWeights",
    "EpochLog",
    "EpochProgress",
    "Schedule",
    "ValidationSplit",
    "resolve_precision",
]
