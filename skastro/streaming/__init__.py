# SPDX-License-Identifier: BSD-3-Clause
"""Prediction of catalogues that are larger than memory."""

from skastro.streaming._predict import predict_stream

__all__ = ["predict_stream"]
