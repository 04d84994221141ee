# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks; ``python -m benchmarks`` compares training loops."""
