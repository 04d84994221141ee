# SPDX-License-Identifier: BSD-3-Clause
"""Small tools that several rooms share: files, rebinning, checks of input."""

from skastro.utils._atomic import atomic_write
from skastro.utils._batches import row_batches
from skastro.utils._rebin import (
    apply_rebin_matrix,
    bin_edges,
    rebin,
    rebin_matrix,
    to_unit_of,
)
from skastro.utils._validation import check_finite, name_rows, plain_array

__all__ = [
    "apply_rebin_matrix",
    "atomic_write",
    "bin_edges",
    "check_finite",
    "name_rows",
    "plain_array",
    "rebin",
    "rebin_matrix",
    "row_batches",
    "to_unit_of",
]
