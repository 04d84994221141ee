# SPDX-License-Identifier: BSD-3-Clause
"""Prediction chunk by chunk into a file, which resumes after an interruption."""

import math
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skastro.streaming._journal import (
    ChunkJournal,
    Journal,
    fingerprint,
    probe_rows,
)
from skastro.streaming._output import (
    Chunks,
    IdColumn,
    Output,
    Writer,
    call,
    choose_method,
    take_rows,
    write_csv,
    write_hdf5,
)
from skastro.utils import progress_bar

# A chunk of this size is large enough for any device and small for any memory.
_CHUNK_BYTES = 2**26
# Rows of a chunk if their size is not known, such as the size of images given by paths.
_ROWS_OF_UNKNOWN_SIZE = 1024
_WRITERS: dict[str, Writer] = {
    ".h5": write_hdf5,
    ".hdf5": write_hdf5,
    ".csv": write_csv,
}


def predict_stream(
    estimator: Any,
    X: Any,
    chunk_size: int | None = None,
    *,
    out: str | os.PathLike,
    method: str = "auto",
    return_std: bool = False,
    ids: Any = None,
    resume: bool = True,
    verbose: int = 1,
) -> Path:
    """Predict a catalog that is larger than memory into a file.

    X is read, and the file written, a chunk of rows at a time. After an interruption of
    any kind, the same call continues with the first unfinished chunk, and the file is
    byte for byte that of an uninterrupted run.

    Parameters
    ----------
    estimator : estimator
        Any fitted estimator or pipeline with scikit-learn's interface.
    X : array-like of shape (n_rows, ...)
        The rows, in anything that has a length and slices ``X[start:stop]``: an
        array, :class:`numpy.memmap`, ``h5py.Dataset``, zarr array, table of pandas, or
        list such as one of paths, if the estimator takes lists. Only contiguous slices
        are read, of `chunk_size` rows or a single one.
    chunk_size : int, default=None
        Rows that are read and predicted together. None means as many as make 64 MiB of
        X, or 1024 where X has no shape, as a list.
    out : str or path-like
        The file, which ends in ``.h5`` or ``.hdf5``, or in ``.csv``. It appears under
        its name when it is complete; an older file of that name stays until then, and
        is replaced.
    method : str, default="auto"
        What to compute: "predict_proba", "predict_log_proba", "decision_function",
        "score_samples", "predict" or "transform". "auto" is the first of
        "predict_proba", "predict" and "transform" that the estimator has.
    return_std : bool, default=False
        Whether to write error bars as well, which the method returns with
        ``return_std=True``.
    ids : array-like of shape (n_rows,), default=None
        Names or numbers of the objects, which the file lists beside the results.
    resume : bool, default=True
        Whether to continue an interrupted run. False drops its finished chunks and
        starts anew.
    verbose : int, default=1
        Whether to show a progress bar; 0 is quiet.

    Returns
    -------
    path : Path
        The file, `out`.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `out` has another ending, if the estimator lacks the method, or the method
        error bars that `return_std` asks for, if X has no rows or is read from `out`
        itself, if `ids` has another length, if an output of more than two dimensions
        shall go into a CSV, or if the interrupted run was one of another model, of
        other data or with other arguments.
    TypeError
        If X has no length or slices, if the output or `ids` hold neither numbers nor
        text, or if `ids` hold whole numbers that no type holds together.
    RuntimeError
        If another run is writing `out` at this time.

    Notes
    -----
    An HDF5 file holds a data set with the name of the method, one row per row of X, in
    the type that the method returns; one named after it with ``_std``, such as
    ``predict_std``, with the error bars; ``id`` if `ids` are given; ``classes``, the
    estimator's labels, if it has any; and ``feature_names`` of a transformer that knows
    them. Text is UTF-8 (read it by ``dataset.asstr()``). The attributes ``method``,
    ``estimator`` and ``skastro_version`` name the origin. A CSV table has a line of
    names: ``id``, or ``row`` for the row's number in X, then ``probability_`` and the
    name of each class, the names of features, or the method's name, and after all
    these the same with ``_std`` for error bars. Numbers have the fewest digits that
    restore them in the type that the method returns.

    Finished chunks are kept in a journal beside `out`, named ``.NAME.journal`` after
    it, until the file is complete; at the end the two together take up twice the space
    of the results. An error leaves the journal as it is. Before a run continues a
    journal it compares up to 16 rows, evenly spread over X, with the earlier ones: the
    rows must be the same, and the estimator's probabilities for them (or its decision
    function, ``transform`` or ``predict``) must agree to a relative 1e-3, or to 1e-6 of
    the largest. Changes elsewhere in X go unnoticed.

    A lock keeps two runs from writing the same file, except on Windows and on file
    systems without locks.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skastro.streaming import predict_stream
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 5))
    >>> model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "QSO", "STAR"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = predict_stream(model, X, out=Path(folder) / "classes.h5", verbose=0)
    ...     with h5py.File(out) as file:
    ...         probability = file["predict_proba"][:]
    ...         classes = file["classes"].asstr()[:]
    >>> probability.shape, classes.tolist()
    ((1000, 2), ['QSO', 'STAR'])
    """
    target, writer = check_out(out, _WRITERS, X=X, ids=ids)
    check_is_fitted(estimator)
    method = choose_method(estimator, method, return_std)
    n_rows = count_rows(X)
    if chunk_size is None:
        chunk_size = default_chunk_size(X)
    check_scalar(chunk_size, "chunk_size", Integral, min_val=1)
    chunk_size = min(int(chunk_size), n_rows)
    names = None if ids is None else IdColumn(ids, n_rows)
    sample = call(estimator, method, take_rows(X, 0, 1), 1, return_std)
    output = Output.of(estimator, method, sample, return_std)
    if writer is write_csv:
        output.column_names()
    run = fingerprint(
        estimator,
        (take_rows(X, row, row + 1) for row in probe_rows(n_rows)),
        output,
        n_rows=n_rows,
        chunk_size=chunk_size,
        ids=None if names is None else names.digest,
    )

    with ChunkJournal(journal_path(target)) as journal:
        journal.begin(run, resume)
        with hint_at_resuming(journal, n_rows):
            with progress(method, n_rows, journal.n_done, verbose) as bar:
                for start in range(journal.n_done, n_rows, chunk_size):
                    stop = min(start + chunk_size, n_rows)
                    rows = take_rows(X, start, stop)
                    values = call(estimator, method, rows, stop - start, return_std)
                    journal.append(output.pack(values))
                    bar.update(stop - start)
            with progress(f"write {target.name}", n_rows, 0, verbose) as bar:
                columns = {} if names is None else {"id": names.dtype}
                chunks = shown(_with_names(journal.chunks(), names), bar)
                writer(target, n_rows, output, columns, chunks)
        journal.remove()
    return Path(out)


def check_out(
    out: str | os.PathLike, writers: Mapping[str, Writer], **inputs: Any
) -> tuple[Path, Writer]:
    """Return the path to write and the writer, or raise if it cannot be written."""
    # A symbolic link is kept; the file that it points to is replaced.
    target = Path(os.path.realpath(out))
    writer = writers.get(Path(out).suffix.lower())
    if writer is None:
        raise ValueError(f"out must end in one of {', '.join(writers)}; got {out!s}.")
    if target.is_dir() and writer in _WRITERS.values():
        raise IsADirectoryError(f"{out} is a folder; give the name of a file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {out}: the folder {target.parent} does not exist."
        )
    for name, values in inputs.items():
        if is_read_from(values, target):
            raise ValueError(
                f"{name} is read from {out}, which would be replaced; choose another "
                "name for out."
            )
    return target, writer


def journal_path(target: Path) -> Path:
    """Return the name of the journal beside a file."""
    return target.with_name(f".{target.name}.journal")


def _with_names(chunks: Any, names: IdColumn | None) -> Chunks:
    """Add the ids to the rows and values of chunks."""
    for rows, values in chunks:
        yield rows, values, {} if names is None else {"id": names[rows]}


def progress(text: str, total: int, done: int, verbose: int, unit: str = "rows") -> Any:
    """Return a progress bar of rows."""
    return progress_bar(
        total=total, initial=done, desc=text, unit=f" {unit}", disable=not verbose
    )


def shown(chunks: Chunks, bar: Any) -> Chunks:
    """Show how many rows of chunks are written."""
    for rows, *content in chunks:
        yield rows, *content
        bar.update(rows.stop - rows.start)


@contextmanager
def hint_at_resuming(
    journal: Journal, n_rows: int, unit: str = "rows"
) -> Iterator[None]:
    """Add a note to an error that the finished rows are kept."""
    try:
        yield
    except BaseException as error:
        if journal.n_done:
            error.add_note(
                f"{journal.n_done} of {n_rows} {unit} are finished and kept in "
                f"{journal.path}; the same call continues from there."
            )
        raise


def count_rows(X: Any) -> int:
    """Count the rows of X, at least one, without reading them."""
    shape = getattr(X, "shape", None)
    is_sliced = hasattr(X, "__getitem__") and (shape or hasattr(X, "__len__"))
    if not is_sliced or isinstance(X, str | bytes | Mapping | Set):
        raise TypeError(
            "X must have a length and slices of rows, X[start:stop], as arrays, "
            f"memory maps, HDF5 data sets and lists have; got {type(X).__name__}."
        )
    n_rows = int(shape[0]) if shape else len(X)
    if n_rows == 0:
        raise ValueError("X has no rows, so there is nothing to predict.")
    return n_rows


def default_chunk_size(X: Any) -> int:
    """Return the number of rows of X that take about 64 MiB."""
    shape = getattr(X, "shape", None)
    if not shape:
        return _ROWS_OF_UNKNOWN_SIZE
    # A table has a type for each column, most of them of eight bytes.
    value_bytes = getattr(getattr(X, "dtype", None), "itemsize", 8)
    row_bytes = value_bytes * math.prod(shape[1:])
    return max(1, _CHUNK_BYTES // max(1, row_bytes))


def is_read_from(values: Any, path: Path) -> bool:
    """Tell whether an array lies in a file, which must then not be overwritten."""
    while hasattr(values, "source"):
        values = values.source
    file = getattr(values, "file", None)
    name = getattr(values, "filename", None) or getattr(file, "filename", None)
    if not isinstance(name, str | os.PathLike) or not path.exists():
        return False
    return os.path.exists(name) and os.path.samefile(name, path)
