# SPDX-License-Identifier: BSD-3-Clause
"""The name under which the display of electron images imports a function."""

from skastro.inspection._display import prediction_steps as steps_of

__all__ = ["steps_of"]
