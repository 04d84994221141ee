# SPDX-License-Identifier: BSD-3-Clause
"""Looking at fitted estimators: displays in scikit-learn's manner."""

from skastro.inspection._history import HistoryDisplay

__all__ = ["HistoryDisplay"]
