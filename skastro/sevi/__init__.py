# SPDX-License-Identifier: BSD-3-Clause
"""Electron images of slow-electron velocity-map imaging (SEVI).

The package contains an estimator of angular distributions, the fit of shells to counts,
simulation, readers and a display. Names are loaded on first use, so that files can be
read without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
