# SPDX-License-Identifier: BSD-3-Clause
"""Side-by-side measurements; ``python -m benchmarks`` compares training loops."""
