# SPDX-License-Identifier: BSD-3-Clause
"""Entry points, by which installed packages extend skastro."""

import functools
import warnings
from importlib.metadata import entry_points


@functools.cache
def load_entry_points(group: str) -> None:
    """Import the objects that the entry points of a group name, once per process.

    The import is expected to register something, as decorators do. An entry point that
    cannot be imported causes a warning, so that a broken package does not stop skastro.
    """
    for entry_point in entry_points(group=group):
        try:
            entry_point.load()
        except Exception as error:
            warnings.warn(
                f"The entry point {entry_point.name!r} of the group {group!r}, "
                f"{entry_point.value!r}, cannot be loaded ({error!r}). Repair or "
                "uninstall the package that declares it.",
                UserWarning,
                stacklevel=3,
            )
