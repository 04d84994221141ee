# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of stars, galaxies and quasars, and the spectrograph."""
