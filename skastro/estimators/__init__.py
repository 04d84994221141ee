# SPDX-License-Identifier: BSD-3-Clause
"""The estimators: one file a subject.

The stub ``__init__.pyi`` lists the public names. Each is loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
