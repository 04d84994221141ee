# SPDX-License-Identifier: BSD-3-Clause
"""Looking at fitted estimators: displays in scikit-learn's manner, explanations."""

from skastro.inspection._activation_display import ActivationMapDisplay
from skastro.inspection._activation_map import class_activation_map
from skastro.inspection._cluster_mosaic import ClusterMosaicDisplay
from skastro.inspection._deletion import deletion_curve, deletion_score
from skastro.inspection._history import HistoryDisplay
from skastro.inspection._latent_space import LatentSpaceDisplay
from skastro.inspection._reconstruction import ReconstructionDisplay
from skastro.inspection._reliability import ReliabilityDisplay
from skastro.inspection._risk_coverage import RiskCoverageDisplay
from skastro.inspection._trust import expected_calibration_error, risk_coverage_curve

__all__ = [
    "ActivationMapDisplay",
    "ClusterMosaicDisplay",
    "HistoryDisplay",
    "LatentSpaceDisplay",
    "ReconstructionDisplay",
    "ReliabilityDisplay",
    "RiskCoverageDisplay",
    "class_activation_map",
    "deletion_curve",
    "deletion_score",
    "expected_calibration_error",
    "risk_coverage_curve",
]
