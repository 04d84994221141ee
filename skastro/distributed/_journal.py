# SPDX-License-Identifier: BSD-3-Clause
"""The journal of finished partitions, which come in any order."""

import io
import os
import struct
from typing import Any

import numpy as np

from skastro.streaming._journal import Journal
from skastro.streaming._output import Chunks, IdColumn, common_dtype

# The name of the results among the arrays of a partition; others are columns beside.
VALUES = "values"
# Number of the partition, its rows or files, and bytes of its results.
_HEAD = struct.Struct("<QQQ")


class PartitionJournal(Journal):
    """Finished partitions: the arrays that a worker has returned, in numpy's format."""

    command = "skastro.distributed.predict"
    key = "skastro_partitions"
    # Where a record is in the file, and its length.
    _places: dict[int, tuple[int, int]]

    def __contains__(self, number: int) -> bool:
        """Tell whether a partition is finished."""
        return number in self._places

    def append(self, number: int, n_items: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the results of a partition of so many rows or files."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        begin = os.fstat(self._file.fileno()).st_size
        self._append_record(_HEAD.pack(number, n_items, len(content)) + content)
        self._places[number] = begin, _HEAD.size + len(content)
        self.n_done += n_items

    def chunks(self, n_partitions: int, ids: IdColumn | None) -> Chunks:
        """Yield rows, values and columns of the partitions."""
        start = 0
        for number in range(n_partitions):
            columns = self._read(number)
            values = columns.pop(VALUES)
            # Blocks of a dask array may be empty.
            if not len(values):
                continue
            rows = slice(start, start + len(values))
            if ids is not None:
                columns = {"id": ids[rows], **columns}
            yield rows, values, columns
            start = rows.stop

    def describe(
        self, n_partitions: int, ids: IdColumn | None
    ) -> tuple[int, dict[str, np.dtype], int, str]:
        """Describe the result.

        Return the number of its rows, the types of the columns beside the values, the
        number of failures and the reason of the first.
        """
        n_rows, n_failed, reason = 0, 0, b""
        dtypes: dict[str, set[np.dtype]] = {}
        for rows, _, found in self.chunks(n_partitions, ids):
            n_rows = rows.stop
            failures = found.get("failure", np.empty(0, "S1"))
            failures = failures[failures != b""]
            n_failed += len(failures)
            reason = reason or next(iter(failures), b"")
            for column, values in found.items():
                dtypes.setdefault(column, set()).add(values.dtype)
        columns = {name: common_dtype(some, name) for name, some in dtypes.items()}
        return n_rows, columns, n_failed, reason.decode()

    def _read(self, number: int) -> dict[str, np.ndarray]:
        begin, n_bytes = self._places[number]
        self._file.seek(begin)
        content = self._read_record(n_bytes)
        if content is None:
            raise self._damaged()
        with np.load(io.BytesIO(content[_HEAD.size :])) as arrays:
            return dict(arrays)

    def _start(self, entries: dict[str, Any]) -> None:
        super()._start(entries)
        self._places = {}

    def _recover(self) -> None:
        self._places = {}
        super()._recover()

    def _recover_record(self) -> bool:
        begin = self._file.tell()
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return False
        number, n_items, n_bytes = _HEAD.unpack(head)
        n_bytes += _HEAD.size
        # A damaged length may be any number.
        if begin + n_bytes > os.fstat(self._file.fileno()).st_size:
            return False
        self._file.seek(begin)
        if self._read_record(n_bytes) is None:
            return False
        self._places[number] = begin, n_bytes
        self.n_done += n_items
        return True
