# SPDX-License-Identifier: BSD-3-Clause
"""Prediction of catalogs, in memory or larger than it."""

from skastro.streaming._predict_stream import predict_stream
from skastro.streaming._to_catalog import to_catalog

__all__ = ["predict_stream", "to_catalog"]
