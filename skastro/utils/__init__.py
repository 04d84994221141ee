# SPDX-License-Identifier: BSD-3-Clause
"""What several packages share: files, downloads, arrays on disk, rebinning, checks."""

from skastro.utils._archive import check_arrays, read_archive, write_archive
from skastro.utils._arrays import (
    check_rows_are_images,
    check_spectra_layout,
    fill_masks,
    in_unit,
    knows_samples,
    name_rows,
    plain_array,
    plain_labels,
    plain_samples,
    plain_values,
    unit_of,
    without_unit,
)
from skastro.utils._atomic import atomic_hdf5, atomic_write, check_space
from skastro.utils._docstrings import inherit_parameters
from skastro.utils._download import fetch_file, find_data_home
from skastro.utils._entry_points import load_entry_points
from skastro.utils._files import (
    check_file,
    check_memory,
    free_memory,
    gzip_limit,
    read_bytes,
)
from skastro.utils._fits import error_text, open_fits, read_fits_image
from skastro.utils._generators import (
    draw_from_seed,
    lend_generators,
    lend_to,
    lend_to_each,
    own_generator,
)
from skastro.utils._image_files import (
    ImageFiles,
    ImageLayout,
    format_path_list,
    open_image,
    read_image_header,
    read_path_list,
)
from skastro.utils._lazy import (
    IMAGE_SUFFIXES,
    LazyArray,
    RowwiseSource,
    as_lazy,
    is_lazy,
    row_batches,
)
from skastro.utils._rebin import (
    apply_rebin_matrix,
    bin_edges,
    pixel_matrix,
    rebin,
    rebin_matrix,
    to_unit_of,
)
from skastro.utils._tensors import TooLargeError, load_tensors
from skastro.utils._validation import (
    check_count,
    check_each,
    check_finite,
    check_number,
    check_option,
    check_range,
    check_real,
    check_weights,
    score_plain,
    suggest_name,
)
from skastro.utils._wavelength import check_wavelength

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFiles",
    "ImageLayout",
    "LazyArray",
    "RowwiseSource",
    "TooLargeError",
    "apply_rebin_matrix",
    "as_lazy",
    "atomic_hdf5",
    "atomic_write",
    "bin_edges",
    "check_arrays",
    "check_count",
    "check_each",
    "check_file",
    "check_finite",
    "check_memory",
    "check_number",
    "check_option",
    "check_range",
    "check_real",
    "check_rows_are_images",
    "check_space",
    "check_spectra_layout",
    "check_wavelength",
    "check_weights",
    "draw_from_seed",
    "error_text",
    "fetch_file",
    "fill_masks",
    "find_data_home",
    "format_path_list",
    "free_memory",
    "gzip_limit",
    "in_unit",
    "inherit_parameters",
    "is_lazy",
    "knows_samples",
    "lend_generators",
    "lend_to",
    "lend_to_each",
    "load_entry_points",
    "load_tensors",
    "name_rows",
    "open_fits",
    "open_image",
    "own_generator",
    "pixel_matrix",
    "plain_array",
    "plain_labels",
    "plain_samples",
    "plain_values",
    "read_archive",
    "read_bytes",
    "read_fits_image",
    "read_image_header",
    "read_path_list",
    "rebin",
    "rebin_matrix",
    "row_batches",
    "score_plain",
    "suggest_name",
    "to_unit_of",
    "unit_of",
    "without_unit",
    "write_archive",
]
