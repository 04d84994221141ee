# SPDX-License-Identifier: BSD-3-Clause
"""Neural networks for astronomy behind scikit-learn's interface.

The stub ``__init__.pyi`` lists the public names. Each is loaded on first use, so that
reading or simulating spectra does not import PyTorch.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
