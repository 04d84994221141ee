# SPDX-License-Identifier: BSD-3-Clause
"""Inspection of fitted estimators: displays, calibration metrics, explanations."""

from skastro.inspection._activation_map_display import ActivationMapDisplay
from skastro.inspection._calibration import (
    ReliabilityDisplay,
    RiskCoverageDisplay,
    expected_calibration_error,
    risk_coverage_curve,
)
from skastro.inspection._class_activation_map import class_activation_map
from skastro.inspection._cluster_mosaic import ClusterMosaicDisplay
from skastro.inspection._deletion import deletion_curve, deletion_score
from skastro.inspection._display import DisplayMixin
from skastro.inspection._embeddings import LatentSpaceDisplay
from skastro.inspection._history import HistoryDisplay
from skastro.inspection._measurement import MeasurementDisplay
from skastro.inspection._reconstruction import ReconstructionDisplay
from skastro.inspection._redshift import RedshiftDisplay
from skastro.inspection._report import report
from skastro.inspection._votes import vote_coverage

__all__ = [
    "ActivationMapDisplay",
    "ClusterMosaicDisplay",
    "DisplayMixin",
    "HistoryDisplay",
    "LatentSpaceDisplay",
    "MeasurementDisplay",
    "ReconstructionDisplay",
    "RedshiftDisplay",
    "ReliabilityDisplay",
    "RiskCoverageDisplay",
    "class_activation_map",
    "deletion_curve",
    "deletion_score",
    "expected_calibration_error",
    "report",
    "risk_coverage_curve",
    "vote_coverage",
]
