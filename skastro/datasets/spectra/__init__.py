# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey spectra, and simulated spectra."""
