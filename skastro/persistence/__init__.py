# SPDX-License-Identifier: BSD-3-Clause
"""Fitted models in files that hold no code, with a card that describes them."""

from skastro.persistence._card import model_card
from skastro.persistence._model_file import load_model, save_model

__all__ = ["load_model", "model_card", "save_model"]
