# SPDX-License-Identifier: BSD-3-Clause
"""Images of galaxies, and the camera."""
