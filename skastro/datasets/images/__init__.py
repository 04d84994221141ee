# SPDX-License-Identifier: BSD-3-Clause
"""Image files: choosing those of one shape, packing them into one file."""
