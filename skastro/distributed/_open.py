# SPDX-License-Identifier: BSD-3-Clause
"""What X can be, and the source that reads it."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from glob import has_magic
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py

from skastro.datasets._parquet import PARQUET_SUFFIXES, find_parquet
from skastro.distributed._arrays import ArraySource, DaskSource, open_store
from skastro.distributed._files import FilesSource
from skastro.distributed._parquet import ParquetSource
from skastro.distributed._source import Source

# Files that tell that a folder is a HATS catalog, of its first versions too.
_HATS_FILES = ("hats.properties", "properties", "catalog_info.json")


def open_source(X: Any, ids: Any, name: str | None, read: Any) -> Source:
    """Return the source of the survey."""
    if is_dask_array(X):
        check_unused(X, name=name, read=read)
        return DaskSource(X, ids)
    paths = _list_paths(X, read)
    if paths and all(Path(path).suffix.lower() in PARQUET_SUFFIXES for path in paths):
        check_package("pyarrow")
        check_unused(X, read=read)
        if not isinstance(ids, str | None):
            raise ValueError("ids of a table is the name of a column; got an array.")
        return ParquetSource(paths, name, ids)
    if paths:
        check_unused(X, ids=ids, name=name)
        return FilesSource(paths, read)
    check_unused(X, read=read)
    if isinstance(X, str | os.PathLike):
        if os.path.isdir(X):
            check_package("zarr")
        X, ids = open_store(Path(X), name, ids)
    else:
        check_unused(X, name=name)
    if isinstance(ids, str):
        raise ValueError(f"ids={ids!r} is a name, but X is no store and no table.")
    return ArraySource(X, ids)


def is_dask_array(X: Any) -> bool:
    """Tell whether X is a dask array, without importing dask."""
    return type(X).__module__.startswith("dask.array")


def _list_paths(X: Any, read: Any) -> list[str] | None:
    """Return the files that X stands for; None where it is an array or a store."""
    if getattr(getattr(X, "dtype", None), "kind", "f") in "OSTU":
        raise TypeError(
            f"X is an array of {X.dtype}, but must hold numbers; paths are given by a "
            "list, such as X.tolist()."
        )
    if isinstance(X, Iterator):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once; give a list of "
            "paths, list(X)."
        )
    if isinstance(X, list | tuple):
        if not X or not all(isinstance(path, str | os.PathLike) for path in X):
            raise TypeError(
                "X must be an array, a path or a list of paths; got "
                f"{'an empty list' if not X else 'a list of other things'}."
            )
        return [os.fspath(path) for path in X]
    if not isinstance(X, str | os.PathLike):
        return None
    path = Path(X).absolute()
    if not path.exists():
        raise FileNotFoundError(
            f"X: there is no {path}. Patterns are resolved by sorted(glob.glob(X))."
            if has_magic(path.name)
            else f"X: there is no {path}."
        )
    if path.is_file():
        return None if h5py.is_hdf5(path) else [str(path)]
    if any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
        return None
    pattern = "*" if read is not None else "*.fit*"
    files = sorted(
        str(file)
        for file in path.iterdir()
        if fnmatch(file.name.lower(), pattern) and file.name[0] != "."
        if file.is_file()
    )
    tables = [] if read is not None else [str(file) for file in find_parquet(path)]
    # A HATS catalog has a map of the sky beside its tables.
    if tables and files and not any((path / name).is_file() for name in _HATS_FILES):
        raise ValueError(
            f"{path} holds survey files and tables; give a list of the files or of the "
            "tables."
        )
    if not tables and not files:
        raise ValueError(
            f"{path} holds no survey files ({pattern}), no tables (*.parquet) and no "
            "zarr store; give a list of files for other names."
        )
    return tables or files


def check_not_inside(target: Path, values: Any, name: str) -> None:
    """Refuse to write into, or over, what is read."""
    for path in _origins(values, target):
        origin = Path(os.path.realpath(path))
        if origin == target or origin in target.parents or target in origin.parents:
            raise ValueError(
                f"out, {target}, and {name}, {origin}, lie in each other; choose "
                "another place for out."
            )


def _origins(values: Any, target: Path) -> list[Any]:
    """Return the files and folders of an array or a survey, as far as they tell."""
    while hasattr(values, "source"):
        values = values.source
    if isinstance(values, str | os.PathLike):
        return [values]
    # Those of a ParquetColumn, or a list, which may be long.
    files = getattr(values, "files", values)
    if isinstance(files, list | tuple):
        paths = [file for file in files if isinstance(file, str | os.PathLike)]
        return paths if target.exists() else []
    root = getattr(getattr(values, "store", None), "root", None)
    return [] if root is None else [root]


def check_package(package: str) -> None:
    """Refuse to go on without a package."""
    try:
        import_module(package)
    except ImportError as error:
        raise ImportError(
            f"skastro.distributed.predict needs {package.partition('.')[0]}: "
            "pip install 'skastro[scale]'"
        ) from error


def check_unused(X: Any, **arguments: Any) -> None:
    """Refuse arguments that have no meaning for this X."""
    for argument, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"{argument} does not go with X, which is {_kind(X)}; leave it out."
            )


def _kind(X: Any) -> str:
    if isinstance(X, str | os.PathLike):
        return f"read from {os.fspath(X)}"
    return "a list of files" if isinstance(X, list | tuple) else type(X).__name__
