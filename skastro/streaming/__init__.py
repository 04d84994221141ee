# SPDX-License-Identifier: BSD-3-Clause
"""Prediction of catalogs that are larger than memory."""

from skastro.streaming._predict_stream import predict_stream

__all__ = ["predict_stream"]
