# SPDX-License-Identifier: BSD-3-Clause
"""Time and money of a prediction over a survey: measured, modeled and simulated."""
