# SPDX-License-Identifier: BSD-3-Clause
"""Galaxy10 and simulated images of galaxies."""
