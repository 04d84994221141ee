# SPDX-License-Identifier: BSD-3-Clause
"""Small tools that several rooms share: files, lazy arrays, rebinning, checks."""

from skastro.utils._arguments import (
    check_count,
    check_number,
    check_option,
    check_range,
    check_real,
)
from skastro.utils._atomic import atomic_write
from skastro.utils._batches import row_batches
from skastro.utils._image_files import IMAGE_SUFFIXES, ImageFiles, read_image_header
from skastro.utils._image_layout import ImageLayout
from skastro.utils._lazy import LazyArray
from skastro.utils._lazy_input import RowwiseSource, as_lazy, is_lazy
from skastro.utils._path_list import format_path_list, read_path_list
from skastro.utils._rebin import (
    apply_rebin_matrix,
    bin_edges,
    rebin,
    rebin_matrix,
    to_unit_of,
)
from skastro.utils._validation import check_finite, name_rows, plain_array

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFiles",
    "ImageLayout",
    "LazyArray",
    "RowwiseSource",
    "apply_rebin_matrix",
    "as_lazy",
    "atomic_write",
    "bin_edges",
    "check_count",
    "check_finite",
    "check_number",
    "check_option",
    "check_range",
    "check_real",
    "format_path_list",
    "is_lazy",
    "name_rows",
    "plain_array",
    "read_image_header",
    "read_path_list",
    "rebin",
    "rebin_matrix",
    "row_batches",
    "to_unit_of",
]
