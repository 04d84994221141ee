# SPDX-License-Identifier: BSD-3-Clause
"""The command ``skastro``."""

from skastro.cli._main import main

__all__ = ["main"]
