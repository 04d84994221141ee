# SPDX-License-Identifier: BSD-3-Clause
"""Surveys in files of spectra or images, which workers read by themselves."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skastro.datasets import ImageFiles, read_spectra
from skastro.datasets._failures import NothingReadError, name_failures
from skastro.datasets.spectra._fields import parse_unit
from skastro.distributed._process import no_warnings_of_files
from skastro.distributed._source import Part, Rows, Source
from skastro.streaming._journal import probe_rows
from skastro.utils import error_text, is_lazy

# Files of a partition, which take about a second to read.
_N_FILES = 32

Reader = Callable[[list[str]], Any]


class _Found(NamedTuple):
    """Rows that were read, with the number of the file of each, and failures alike."""

    X: Any
    files: np.ndarray
    ids: list[str]
    flux_units: Sequence[str] | None
    failures: list[tuple[int, str]]


@dataclass(frozen=True)
class _FilesPart(Part):
    paths: list[str]
    reader: Reader
    flux_unit: str | None
    # Those that the client does not find either.
    missing: frozenset[str]

    def read(self) -> Rows:
        with no_warnings_of_files:
            found = _read(self.paths, self.reader)
        for file, _ in found.failures:
            path = self.paths[file]
            if path not in self.missing and not os.path.exists(path):
                raise FileNotFoundError(path)
        X = _in_unit(found, self.flux_unit)
        # The rows of a file come where it is in the list.
        files = np.concatenate([found.files, [file for file, _ in found.failures]])
        order = np.argsort(files, kind="stable")
        n_kept = len(found.files)
        kept, taken = np.flatnonzero(order < n_kept), order[order < n_kept]
        if (np.diff(taken) != 1).any():
            X = X[taken] if isinstance(X, np.ndarray) else [X[row] for row in taken]
        ids = np.array([*found.ids, *[""] * len(found.failures)], object)
        reasons = [*[""] * n_kept, *(reason for _, reason in found.failures)]
        columns = {
            "id": ids[order],
            "path": [self.paths[int(file)] for file in files[order]],
            "failure": np.array(reasons, object)[order],
        }
        encoded = {
            name: np.array([text.encode(errors="replace") for text in texts], np.bytes_)
            for name, texts in columns.items()
        }
        return Rows(X, kept, len(order), encoded)


class FilesSource(Source):
    """Files of a list or a folder."""

    kind = "files"
    unit = "files"
    may_fail = True
    most = _N_FILES
    fewest = 1

    def __init__(self, paths: list[str], reader: Reader | None) -> None:
        self._missing = {path for path in paths if not os.path.exists(path)}
        # Names that are no files of the client are for the reader.
        paths = [
            path if path in self._missing else str(Path(path).absolute())
            for path in paths
        ]
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(f"X lists {twice} twice; list each file once.")
        for path in paths:
            if path != path.encode(errors="replace").decode():
                raise ValueError(
                    f"The name of the file {path!r} is not UTF-8; rename it."
                )
        self._paths = paths
        if reader is None:
            images = is_lazy(paths)
            reader = ImageFiles if images else partial(read_spectra, verbose=0)
        self._reader = reader
        self._flux_unit: str | None = None
        self.n_items = len(paths)

    def split(self, size: int) -> list[slice]:
        """Return ranges of files."""
        return [slice(k, k + size) for k in range(0, self.n_items, size)]

    def size_of(self, span: slice) -> int:
        """Return the number of files."""
        return len(self._paths[span])

    def part(self, span: slice) -> _FilesPart:
        """Return the paths."""
        paths = self._paths[span]
        missing = self._missing.intersection(paths)
        return _FilesPart(paths, self._reader, self._flux_unit, frozenset(missing))

    def name(self, span: slice) -> str:
        """Name the files."""
        paths = self._paths[span]
        return paths[0] if len(paths) == 1 else f"{paths[0]} to {paths[-1]}"

    def columns(self) -> list[str]:
        """Name what stands beside the values of a file."""
        return ["id", "path", "failure"]

    def samples(self, client: Any = None) -> Iterator[Any]:
        """Read the first row of the first file that has one, and of some others."""
        first, failures = 0, []
        while first < self.n_items:
            found = self._sample(first)
            if len(found.X):
                break
            failures += [(self._paths[first], reason) for _, reason in found.failures]
            first += 1
        else:
            raise ValueError(f"No file of X could be read:\n{name_failures(failures)}")
        # In one process all flux would have the unit of the first spectrum.
        if found.flux_units is not None:
            self._flux_unit = found.flux_units[0]
        yield found.X[:1]
        for file in probe_rows(self.n_items):
            if file > first:
                found = self._sample(file)
                if len(found.X):
                    yield _in_unit(found, self._flux_unit)[:1]

    def _sample(self, file: int) -> _Found:
        with no_warnings_of_files:
            return _read(self._paths[file : file + 1], self._reader)

    def about(self) -> dict[str, Any]:
        """Add the list of files."""
        listed = "\0".join(self._paths).encode()
        return super().about() | {"files": hashlib.sha256(listed).hexdigest()}


def _read(paths: list[str], reader: Reader) -> _Found:
    """Read files, one by one where a reader fails for all of them together."""
    try:
        return _unpack(reader(paths), paths)
    except MemoryError:
        raise
    except NothingReadError as error:
        return _Found([], np.zeros(0, int), [], None, _failures(error, paths))
    # One file, or the function of a user, must not end the run.
    except Exception as error:
        if len(paths) == 1:
            reason = error_text(error).rpartition(f"{paths[0]}: ")[2]
            return _Found([], np.zeros(0, int), [], None, [(0, reason)])
        return _join([_read([path], reader) for path in paths])


def _unpack(result: Any, paths: list[str]) -> _Found:
    """Take rows, their files and the failures from what a reader returns."""
    if not isinstance(result, Mapping):
        # One row for each file; lazy ones are read here, so that errors name files.
        X = result[:]
        if len(X) != len(paths):
            raise ValueError(
                f"the reader returned {len(X)} rows for {len(paths)} files"
            )
        return _Found(X, np.arange(len(paths)), [""] * len(paths), None, [])
    X = result["flux"] if "flux" in result else result["images"]
    X = X[:]
    failures = _failures(result, paths)
    table = result.get("table")
    columns = [] if table is None else table.colnames
    if table is not None and "path" in columns:
        number = {path: file for file, path in enumerate(paths)}
        files = np.array([number[str(path)] for path in table["path"]], int)
    else:
        files = np.setdiff1d(np.arange(len(paths)), [file for file, _ in failures])
    if len(X) != len(files):
        raise ValueError(
            f"the reader returned {len(X)} rows for {len(files)} files that it could "
            "read, without a column path of its table, which would tell their files"
        )
    ids = result.get("id")
    ids = [""] * len(X) if ids is None else [*map(str, ids)]
    known = {*files.tolist(), *(file for file, _ in failures)}
    failures += [
        (file, "it holds no spectrum")
        for file in range(len(paths))
        if file not in known
    ]
    flux_units = None
    if table is not None and "flux_unit" in columns:
        flux_units = [*map(str, table["flux_unit"])]
    return _Found(X, files, ids, flux_units, failures)


def _failures(result: Any, paths: list[str]) -> list[tuple[int, str]]:
    """Return the numbers of files without a result, and the reasons."""
    of = result.get if isinstance(result, Mapping) else partial(getattr, result)
    failed = [(path, reason) for path, reason in of("failures", ())]
    failed += [
        (path, f"left out: the kind of the spectrum is {kind}")
        for path, kind in of("left_out", ())
    ]
    number = {path: file for file, path in enumerate(paths)}
    return [(number[os.fspath(path)], str(reason)) for path, reason in failed]


def _join(parts: list[_Found]) -> _Found:
    """Join what was read from single files."""
    kept = [part.X for part in parts if len(part.X)]
    shapes = {X.shape[1:] for X in kept if isinstance(X, np.ndarray)}
    is_array = len(shapes) == 1 and all(isinstance(X, np.ndarray) for X in kept)
    X = np.concatenate(kept) if is_array else [row for rows in kept for row in rows]
    known = [part.flux_units for part in parts if part.flux_units is not None]
    flux_units = [unit for listed in known for unit in listed]
    return _Found(
        X,
        np.concatenate([part.files + file for file, part in enumerate(parts)]),
        [name for part in parts for name in part.ids],
        flux_units if len(flux_units) == len(X) else None,
        [
            (file, reason)
            for file, part in enumerate(parts)
            for _, reason in part.failures
        ],
    )


def _in_unit(found: _Found, unit: str | None) -> Any:
    """Convert flux to the unit of the survey's first spectrum, as read_spectra does."""
    X = found.X
    if unit is None or found.flux_units is None:
        return X
    for own in set(found.flux_units) - {unit}:
        with no_warnings_of_files:
            given, wanted = parse_unit(own), parse_unit(unit)
        if given.is_equivalent(wanted):
            rows = [row for row, name in enumerate(found.flux_units) if name == own]
            X[rows] *= given.to(wanted)
    return X
