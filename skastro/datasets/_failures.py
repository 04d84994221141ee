# SPDX-License-Identifier: BSD-3-Clause
"""Files that could not be used, and messages that report them."""

from collections.abc import Sequence
from typing import NamedTuple

_MOST_NAMED = 5


class Failure(NamedTuple):
    """A file that could not be read, and the reason."""

    path: str
    reason: str


class NothingReadError(ValueError):
    """None of some files could be used; the attributes tell why."""

    def __init__(
        self,
        message: str,
        failures: Sequence[Failure] = (),
        left_out: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.failures = failures
        self.left_out = left_out


def name_failures(failures: Sequence[tuple]) -> str:
    """Name the first few files that could not be used, one per line."""
    lines = [f"  {path}: {' '.join(map(str, why))}" for path, *why in failures]
    hidden = len(lines) - _MOST_NAMED
    return "\n".join(lines[:_MOST_NAMED] + [f"  and {hidden} more"] * (hidden > 0))


def report_failures(failures: Sequence[tuple], n_files: int) -> str:
    """Count the files that could not be read, and name the first few."""
    count = f"{len(failures)} of {n_files} files could not be read"
    return f"{count}:\n{name_failures(failures)}"
