# SPDX-License-Identifier: BSD-3-Clause
"""The journal of what is finished, and whether a call continues the same run."""

import hashlib
import json
import numbers
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np
from scipy import sparse

from skastro.streaming._output import Output, as_text, plain_values

try:
    import fcntl
except ImportError:  # Windows, where simultaneous runs are not detected.
    fcntl = None  # type: ignore[assignment]  # a module, elsewhere

_FORMAT = 1
_CHECKSUM_BYTES = 4
# Sorted by how well they distinguish models; labels often agree.
_PROBE_METHODS = ("predict_proba", "decision_function", "transform", "predict")
_N_PROBES = 16
_VALUES_PER_PROBE = 1000
# The same computation on another number of threads differs by about 1e-6 in float32;
# another model differs by far more in at least one of the values.
_RELATIVE_TOLERANCE = 1e-3
_TOLERANCE_OF_LARGEST = 1e-6
# Names of the entries for messages, in the order of comparison.
_ENTRIES = {
    "source": "the kind of X",
    "files": "the list of files, or one of them,",
    "n_rows": "the number of rows of X",
    # The rows that are compared depend on them.
    "partition_size": "partition_size",
    "partitions": "the division of X into partitions",
    "data": "X",
    "ids": "ids",
    "method": "method",
    "chunk_size": "chunk_size",
    "classes": "the estimator's classes",
    "dtype": "the type of the output",
    "shape": "the shape of the output for a row",
    "probe_method": "the methods of the estimator",
}
# Entries whose values tell a reader nothing.
_DIGESTS = ("files", "partitions", "ids")


class Journal:
    """Finished parts of a run, in a file that remains valid after any interruption.

    The file holds a line of JSON, which describes the run, then records, each with its
    CRC-32. Records are only appended. The last record of an interrupted run may be
    incomplete; the next run cuts it off. Subclasses say what a record holds.

    The file is locked until it is closed, by the operating system, which unlocks it
    when a process dies. ``entries`` describe the run that wrote the journal (empty: no
    run yet); ``n_done`` rows are in complete records.
    """

    # The function that writes the journal, and the entry that the file begins with.
    command: ClassVar[str]
    key: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_done = 0
        self.entries: dict[str, Any] = {}
        self._file = _open_locked(path, self.command)
        try:
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the journal; delete it if it is empty."""
        if self._file.closed:
            return
        if not self.n_done:
            self.remove()
        # All data were written before; a write that failed is not repeated.
        with suppress(OSError):
            self._file.close()

    def begin(self, entries: dict[str, Any], resume: bool) -> None:
        """Continue the run in the journal, which must be the same, or start one."""
        if resume and self.n_done:
            _check_same_run(self.entries, entries, self.path)
        else:
            self._start(entries)

    def _start(self, entries: dict[str, Any]) -> None:
        """Begin a run that `entries` describe; discard the content of the journal."""
        self._file.truncate(0)
        line = json.dumps({self.key: _FORMAT, **entries}) + "\n"
        self._write(line.encode())
        self._first_record = self._file.tell()
        self.entries = entries
        self.n_done = 0

    def remove(self) -> None:
        """Delete the journal."""
        # Delete the file before it is unlocked, so that no other run can continue it.
        # An open file cannot be deleted on systems without fcntl.
        if fcntl is None:
            self._file.close()
        self.path.unlink(missing_ok=True)
        # Closing repeats a write that failed.
        with suppress(OSError):
            self._file.close()

    def _recover_record(self) -> bool:
        """Note the next record of the file; False where it is incomplete or damaged."""
        raise NotImplementedError

    def _append_record(self, content: bytes) -> None:
        self._write(content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little"))

    def _read_record(self, n_bytes: int) -> bytes | None:
        """Read the next record; None where it is incomplete or damaged."""
        content = self._file.read(n_bytes)
        checksum = self._file.read(_CHECKSUM_BYTES)
        if len(content) < n_bytes or len(checksum) < _CHECKSUM_BYTES:
            return None
        if zlib.crc32(content) != int.from_bytes(checksum, "little"):
            return None
        return content

    def _damaged(self) -> OSError:
        return OSError(f"{self.path} was damaged while it was in use.")

    def _recover(self) -> None:
        """Read what the journal holds, and cut off an incomplete record."""
        start = f'{{"{self.key}": '.encode()
        self._file.seek(0)
        if not start.startswith(self._file.read(len(start))):
            raise ValueError(
                f"{self.path} is no journal of {self.command}, but has its name; move "
                "it away."
            )
        self._file.seek(0)
        line = self._file.readline()
        if not line.endswith(b"\n"):
            return
        entries = json.loads(line)
        if entries.pop(self.key) != _FORMAT:
            raise ValueError(
                f"{self.path} was written by another version of skastro; continue with "
                "that version, or delete the journal to start anew."
            )
        self.entries = entries
        self._first_record = end = self._file.tell()
        while self._recover_record():
            end = self._file.tell()
        self._file.truncate(end)

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            error.filename = os.fspath(self.path)
            raise


class ChunkJournal(Journal):
    """Finished chunks of rows, in their order: the bytes of their values."""

    command = "predict_stream"
    key = "skastro_journal"

    def append(self, values: np.ndarray) -> None:
        """Keep the next chunk, contiguous and of the type that the entries name."""
        self._append_record(values.tobytes())
        self.n_done += len(values)

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the rows and the values of the chunks that are kept."""
        self._file.seek(self._first_record)
        start, n_rows = 0, self.entries["n_rows"]
        while start < n_rows:
            values = self._read_chunk(start)
            if values is None:
                raise self._damaged()
            yield slice(start, start + len(values)), values
            start += len(values)

    def _recover_record(self) -> bool:
        if self.n_done == self.entries["n_rows"]:
            return False
        values = self._read_chunk(self.n_done)
        self.n_done += 0 if values is None else len(values)
        return values is not None

    def _read_chunk(self, start: int) -> np.ndarray | None:
        """Read the chunk that begins with a row."""
        n_rows = min(self.entries["chunk_size"], self.entries["n_rows"] - start)
        dtype, shape = np.dtype(self.entries["dtype"]), self.entries["shape"]
        n_values = n_rows * int(np.prod(shape, dtype=np.int64))
        content = self._read_record(n_values * dtype.itemsize)
        if content is None:
            return None
        return np.frombuffer(content, dtype).reshape(n_rows, *shape)


def _open_locked(path: Path, command: str) -> BinaryIO:
    """Open a file that no other run has open."""
    while True:
        file = open(path, "a+b")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RuntimeError(
                f"Another run of {command} has {path} open, hence writes the same "
                "file; wait for it to end, or choose another name."
            ) from None
        except OSError:
            # Some file systems of computing centers cannot lock.
            return file
        # The run that held the lock may have deleted the file in the meantime.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def probe_rows(n_rows: int) -> list[int]:
    """Return the numbers of the rows that runs are compared by."""
    rows = np.unique(np.linspace(0, n_rows - 1, _N_PROBES).round().astype(int))
    return rows.tolist()


def fingerprint(
    estimator: Any, samples: Iterable[Any], output: Output, **about: Any
) -> dict[str, Any]:
    """Describe a run for the comparison with another, in values that JSON can hold.

    The samples are single rows of X, and `about` is what else must be the same.
    """
    methods = [name for name in _PROBE_METHODS if hasattr(estimator, name)]
    probe_method = methods[0] if methods else output.method
    digests, probes = [], []
    with_std = output.with_std and probe_method == output.method
    options = {"return_std": True} if with_std else {}
    for sample in samples:
        digests.append(_digest(sample))
        probes.append(_probe(estimator, probe_method, sample, options))
    return {
        **about,
        "method": ", ".join(output.parts),
        "dtype": output.dtype.str,
        "shape": list(output.shape),
        "classes": None if output.classes is None else _listed(output.classes),
        "data": digests,
        "probe_method": probe_method,
        "probes": probes,
    }


def _check_same_run(old: dict[str, Any], new: dict[str, Any], journal: Path) -> None:
    """Refuse to continue a run of another model, other data or other settings."""
    different = [entry for entry in _ENTRIES if old.get(entry) != new.get(entry)]
    if different:
        reason = f"{_ENTRIES[different[0]]} differs"
        before, now = old.get(different[0]), new.get(different[0])
        if isinstance(now, int | str) and different[0] not in _DIGESTS:
            reason = f"{_ENTRIES[different[0]]} was {before!r} and is {now!r}"
    elif not _agree(old["probes"], new["probes"]):
        reason = (
            f"the estimator's {new['probe_method']} for rows of X is not what it was, "
            "as after another fit or on another kind of device"
        )
    else:
        return
    raise ValueError(
        f"{journal} keeps the results of an interrupted run that this call cannot "
        f"continue: {reason}. Repeat the call of that run, or delete the journal or "
        "pass resume=False to start anew."
    )


def _probe(estimator: Any, method: str, row: Any, options: dict) -> list:
    """Call the estimator for a row, and keep a part of a large result."""
    results = getattr(estimator, method)(row, **options)
    if sparse.issparse(results):
        results = results.toarray()
    # Several targets come as a list of arrays.
    results = results if isinstance(results, list | tuple) else [results]
    values = np.concatenate([np.asarray(result).ravel() for result in results])
    values = values[:: max(1, -(-values.size // _VALUES_PER_PROBE))]
    return _listed(plain_values(values, f"{type(estimator).__name__}.{method}"))


def _digest(rows: Any) -> str:
    """Return a checksum of some rows."""
    values = np.asarray(rows)
    if values.dtype.hasobject:
        content = "\0".join(map(_identity, values.ravel().tolist())).encode()
    else:
        content = values.tobytes()
    return hashlib.sha256(f"{values.shape}".encode() + content).hexdigest()[:16]


def _identity(value: Any) -> str:
    """Write a value as text; write the type of an object that may print its address."""
    known = str | bytes | numbers.Number | os.PathLike
    return str(value) if isinstance(value, known) else type(value).__name__


def _listed(values: np.ndarray) -> list:
    return as_text(values) if values.dtype.kind == "S" else values.tolist()


def _agree(old: list[list], new: list[list]) -> bool:
    """Compare earlier and present results of the estimator within rounding."""
    before, now = np.asarray(old), np.asarray(new)
    if before.shape != now.shape:
        return False
    if before.dtype.kind not in "iuf" or now.dtype.kind not in "iuf":
        return np.array_equal(before, now)
    finite = np.abs(before[np.isfinite(before)])
    atol = _TOLERANCE_OF_LARGEST * finite.max(initial=0.0)
    return np.allclose(now, before, rtol=_RELATIVE_TOLERANCE, atol=atol, equal_nan=True)
