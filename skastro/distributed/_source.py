# SPDX-License-Identifier: BSD-3-Clause
"""What all sources of a survey have in common: partitions that a worker reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from skastro.streaming._output import IdColumn

# Rows of X in a partition: large enough for any device and small for any memory.
PARTITION_BYTES = 2**26


class Rows(NamedTuple):
    """Rows that were read, and the rows of the result, among which they are `kept`."""

    X: Any
    kept: np.ndarray | slice
    n_rows: int
    # What stands beside the results, such as the reasons of rows that are not kept.
    columns: dict[str, np.ndarray]

    @classmethod
    def all_of(cls, X: Any) -> Self:
        """Keep all rows of X, with nothing beside them."""
        return cls(X, slice(None), len(X), {})


class Part(ABC):
    """A small description of a partition, which a worker can open."""

    @abstractmethod
    def read(self) -> Rows:
        """Read the rows; raise FileNotFoundError where a file of the client is not."""


class Source(ABC):
    """A survey in partitions.

    A *span* says which rows, or files, are in a partition; a part is what travels.
    """

    kind: ClassVar[str]
    # What a size counts.
    unit: ClassVar[str] = "rows"
    # Whether there may be rows without a result.
    may_fail: ClassVar[bool] = False
    # The ids, where the client has them; workers return others.
    ids: IdColumn | None = None
    n_items: int
    # Sizes of partitions: as many as fit into memory, and as few as are worth a task.
    most: int
    fewest: int = 16

    @abstractmethod
    def split(self, size: int) -> list[Any]:
        """Return the spans of the partitions."""

    @abstractmethod
    def size_of(self, span: Any) -> int:
        """Return the number of rows or files in a span."""

    @abstractmethod
    def part(self, span: Any) -> Part:
        """Return what a worker needs to read the rows."""

    @abstractmethod
    def name(self, span: Any) -> str:
        """Name the rows or files in messages."""

    @abstractmethod
    def samples(self, client: Any = None) -> Iterator[Any]:
        """Read single rows, at least one, which two runs are compared by."""

    def columns(self) -> list[str]:
        """Name the columns beside the values."""
        return [] if self.ids is None else ["id"]

    def head(self, n_rows: int) -> Any:
        """Read the first rows; None where this takes long."""
        return None

    def aligned(self, size: int) -> int:
        """Fit a size to the way in which the rows are stored."""
        return size

    def about(self) -> dict[str, Any]:
        """Describe X for the comparison with another run."""
        ids = None if self.ids is None else self.ids.digest
        return {"source": self.kind, "n_rows": self.n_items, "ids": ids}

    def submit(self, client: Any, run: str, span: Any, **options: Any) -> Any:
        """Let a worker predict a partition."""
        from skastro.distributed._worker import predict_part

        return client.submit(predict_part, run, self.part(span), **options)
