# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of stars, galaxies and quasars, and the spectrograph."""

from skastro.simulation.spectra._simulate_spectra import redshift_limits

__all__ = ["redshift_limits"]
