# SPDX-License-Identifier: BSD-3-Clause
"""The file that keeps finished chunks until all are there."""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: runs at the same time are not told apart there.
    fcntl = None

_START = b'{"skastro_journal": '
_FORMAT = 1
_CHECKSUM_BYTES = 4


class Journal:
    """Finished chunks of a run, in a file that survives the run at any byte.

    The file holds a line of JSON, which describes the run, then the chunks in their
    order: the rows' bytes and a CRC-32 of them. Chunks are only ever appended. Of an
    interrupted run the last chunk may be incomplete, and is cut off by the next run.

    Parameters
    ----------
    path : Path
        The journal. It is created if missing, and locked until it is closed, by the
        operating system, which unlocks it when a process dies.

    Attributes
    ----------
    entries : dict or None
        Description of the run that wrote the journal; None where there is none yet.
    n_done : int
        Rows of the whole chunks.

    Raises
    ------
    RuntimeError
        If another run has the journal open.
    ValueError
        If the file is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_done = 0
        self.entries = None
        self._file = _open_locked(path)
        try:
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the journal; one that keeps nothing is removed."""
        if self._file.closed:
            return
        if not self.n_done:
            self.remove()
        # All was written before; what a full disk did not take is not tried again.
        with suppress(OSError):
            self._file.close()

    def start(self, entries: dict[str, Any]) -> None:
        """Begin a run; what the journal held is dropped.

        Parameters
        ----------
        entries : dict
            Description of the run, with ``n_rows``, ``chunk_size`` and the ``dtype``
            and ``shape`` of the output for a row.
        """
        self._file.truncate(0)
        line = json.dumps({"skastro_journal": _FORMAT, **entries}) + "\n"
        self._write(line.encode())
        self._first_chunk = self._file.tell()
        self.entries = entries
        self.n_done = 0

    def append(self, values: np.ndarray) -> None:
        """Keep the next chunk.

        Parameters
        ----------
        values : ndarray of shape (n_rows, ...)
            Contiguous, in the type that ``entries`` name.
        """
        content = values.tobytes()
        self._write(content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little"))
        self.n_done += len(values)

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Read back what is kept.

        Yields
        ------
        rows : slice
            Which rows they are.
        values : ndarray of shape (n_rows, ...)
            Their values.
        """
        self._file.seek(self._first_chunk)
        for rows in self._chunks():
            values = self._read_chunk(rows)
            if values is None:
                raise OSError(f"{self.path} was damaged while it was in use.")
            yield rows, values

    def remove(self) -> None:
        """Delete the journal."""
        # Deleted before it is unlocked, so that no other run can take it up; an open
        # file cannot be deleted where there is no fcntl.
        if fcntl is None:
            self._file.close()
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _chunks(self) -> Iterator[slice]:
        n_rows, chunk_size = self.entries["n_rows"], self.entries["chunk_size"]
        for start in range(0, n_rows, chunk_size):
            yield slice(start, min(start + chunk_size, n_rows))

    def _read_chunk(self, rows: slice) -> np.ndarray | None:
        """Read the next chunk; None where it is incomplete or damaged."""
        dtype = np.dtype(self.entries["dtype"])
        shape = (rows.stop - rows.start, *self.entries["shape"])
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        content = self._file.read(n_bytes)
        checksum = self._file.read(_CHECKSUM_BYTES)
        if len(content) < n_bytes or len(checksum) < _CHECKSUM_BYTES:
            return None
        if zlib.crc32(content) != int.from_bytes(checksum, "little"):
            return None
        return np.frombuffer(content, dtype).reshape(shape)

    def _recover(self) -> None:
        """Find out what the journal keeps, and cut off an incomplete chunk."""
        self._file.seek(0)
        if not _START.startswith(self._file.read(len(_START))):
            raise ValueError(
                f"{self.path} is no journal of predict_stream, but has its name; move "
                "it away."
            )
        self._file.seek(0)
        line = self._file.readline()
        if not line.endswith(b"\n"):
            return
        entries = json.loads(line)
        if entries.pop("skastro_journal") != _FORMAT:
            raise ValueError(
                f"{self.path} was written by another version of skastro; go on with "
                "that version, or delete the journal to start anew."
            )
        self.entries = entries
        self._first_chunk = end = self._file.tell()
        for rows in self._chunks():
            if self._read_chunk(rows) is None:
                break
            self.n_done = rows.stop
            end = self._file.tell()
        self._file.truncate(end)

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()


def _open_locked(path: Path) -> BinaryIO:
    """Open a file that no other run has open."""
    while True:
        file = open(path, "a+b")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RuntimeError(
                f"Another run of predict_stream has {path} open, hence writes the same "
                "file; wait for it to end, or choose another name."
            ) from None
        except OSError:
            # Some file systems of computing centres cannot lock.
            return file
        # The run that held the lock may have deleted the file meanwhile.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
