# SPDX-License-Identifier: BSD-3-Clause
"""Prediction of a survey by the workers of a Dask cluster."""

import hashlib
import inspect
import json
import math
import os
import queue
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skastro.distributed._journal import PartitionJournal
from skastro.distributed._lazy import predict_lazily
from skastro.distributed._model import Model
from skastro.distributed._open import (
    check_not_inside,
    check_package,
    check_unused,
    is_dask_array,
    open_source,
)
from skastro.distributed._process import one_thread
from skastro.distributed._source import Source
from skastro.distributed._tables import (
    check_folder,
    parquet_names,
    write_parquet,
    write_zarr,
)
from skastro.streaming._journal import fingerprint
from skastro.streaming._output import (
    Output,
    Writer,
    call,
    check_exact,
    choose_method,
    write_csv,
    write_hdf5,
)
from skastro.streaming._predict_stream import (
    check_out,
    hint_at_resuming,
    journal_path,
    progress,
    shown,
)

_WRITERS: dict[str, Writer] = {
    ".h5": write_hdf5,
    ".hdf5": write_hdf5,
    ".csv": write_csv,
    ".zarr": write_zarr,
    ".parquet": write_parquet,
}
_FOLDERS = (write_zarr, write_parquet)
# Work of a partition in seconds: long for the scheduler, short for a killed worker.
_SECONDS = 1.0
_TIMED_ROWS = 64
# Partitions of each thread at least, so that all threads end at about the same time.
_PARTITIONS_A_THREAD = 4
# Partitions of each thread that are sent in advance: one runs while others arrive.
_AHEAD = 3
# Seconds without a finished partition, after which to look for workers.
_PATIENCE = 60.0
# Seconds between looks at the connection.
_PAUSE = 1.0
# What Dask calls a client that has given up.
_LOST = ("closing", "closed")
# How often a partition is sent again after its workers died. Dask itself gives it to
# four workers before it reports that.
_MOST_ATTEMPTS = 4


def predict(
    estimator: Any,
    X: Any,
    *,
    out: str | os.PathLike | None = None,
    client: Any = None,
    method: str = "auto",
    return_std: bool = False,
    ids: Any = None,
    name: str | None = None,
    read: Callable[[list[str]], Any] | None = None,
    partition_size: int | None = None,
    resume: bool = True,
    verbose: int = 1,
) -> Any:
    """Predict a survey on the workers of a Dask cluster.

    X is divided into partitions. Each worker reads its partitions by itself, and the
    client writes the results in the order of X. After an interruption of any kind, the
    same call continues with the partitions that are missing. A dask array without
    `out` gives a dask array of the results, which computes nothing yet.

    All workers must see the survey under the same absolute path. One that does not find
    a file of the client raises an error; blocks of a dask array are read by Dask, which
    may give zeros for a zarr store that is not there.

    Parameters
    ----------
    estimator : estimator or path-like
        Any fitted estimator or pipeline with scikit-learn's interface, or a file of
        :func:`~skastro.save_model`.
    X : dask array, array-like, path-like or list of path-like
        The survey, one of

        - a dask array of shape (n_rows, ...), whose blocks of rows are the partitions;
        - a zarr array, ``h5py.Dataset``, :class:`numpy.memmap`,
          :class:`~skastro.datasets.LazyArray` or array of that shape. Workers open the
          file themselves; rows of arrays in memory, and of tables of pandas, are sent
          to them;
        - the path of a zarr store or HDF5 file with such an array;
        - a folder or list of survey files. A folder stands for its files that match
          ``*.fit*``, or for all of them if `read` is given, sorted by name and without
          hidden ones;
        - a Parquet file, a list of them or a folder with them at any depth, such as a
          HATS catalog, with a column of lists that are the spectra.
    out : str or path-like, default=None
        File or folder of the results, which ends in ``.h5``, ``.hdf5``, ``.csv``,
        ``.zarr`` or ``.parquet``. It appears under its name when it is complete; an
        older result of that name stays until then, and is replaced. None is for dask
        arrays.
    client : distributed.Client, default=None
        The client of a cluster. None means the current one or, if there is none, a
        cluster of one process with one thread for each core, which is closed at the
        end.
    method : str, default="auto"
        What to compute: "predict_proba", "predict_log_proba", "decision_function",
        "score_samples", "predict" or "transform". "auto" is the first of
        "predict_proba", "predict" and "transform" that the estimator has.
    return_std : bool, default=False
        Whether to write error bars as well, which the method returns with
        ``return_std=True``.
    ids : array-like of shape (n_rows,) or str, default=None
        Names or numbers of the objects, which the result lists beside the values; or
        the name of the array in the store, or of the column of the table, that holds
        them. None means the array ``id`` beside that of X, if there is one of its
        length, and the column ``id``, ``object_id`` or ``_healpix_29`` of a table.
        Survey files have names of their own, so that None is required.
    name : str, default=None
        Name of the array in a store, or of the column of a table. None means "flux" or
        "X" in a store and "flux" in a table, or the only one that can be meant.
    read : callable, default=None
        Function that a worker calls with a list of paths of survey files. It returns
        what :func:`~skastro.datasets.read_spectra` does, of which `flux` (otherwise
        `images`), `table`, `id`, `failures` and `left_out` are used; or an array, or a
        list, with one item for each file. None means
        :func:`~skastro.datasets.read_spectra`, or
        :class:`~skastro.datasets.ImageFiles` for a list of images.
    partition_size : int, default=None
        Rows of a partition, or survey files. Row groups of Parquet are not divided.
        None means about a second of work, at most 64 MiB of X or 32 files, and the
        blocks of a dask array.
    resume : bool, default=True
        Whether to continue an interrupted run. False drops its finished partitions and
        starts anew.
    verbose : int, default=1
        Whether to show a progress bar; 0 is quiet.

    Returns
    -------
    result : Path or dask array
        The file or folder `out`. Without `out`, a dask array of shape (n_rows, ...),
        or with `return_std` a tuple of two: the values and their errors.

    Raises
    ------
    ImportError
        If dask or distributed are not installed, or what a format needs: zarr, pyarrow.
    NotFittedError
        If the estimator is not fitted.
    FileNotFoundError
        If X or the folder of `out` do not exist.
    FileExistsError
        If `out` is a folder that holds no earlier result.
    TypeError
        If X is none of the above, if the estimator can neither be saved nor pickled, if
        the output or `ids` hold neither numbers nor text, or if whole numbers would be
        rounded: `ids` of several types, or an output beyond 2**53 that is written as
        floats.
    ValueError
        If a parameter is wrong or does not go with X, if no file of X can be read, or
        if the interrupted run was one of another model, of other data or with other
        arguments.
    RuntimeError
        If the client is closed, if another run is writing `out` at this time, if the
        scheduler is lost, if a worker does not find a file that the client does or
        declares a GPU but has no CUDA, or if a partition has ended all workers that
        it was given to. The message names the partition.

    Warns
    -----
    RuntimeWarning
        If nothing is finished for a minute and the cluster has no workers, or none of
        those with a GPU that a run on GPUs began with.
    UserWarning
        If rows have no result. The column ``failure`` tells the reasons.

    See Also
    --------
    skastro.streaming.predict_stream : The same in one process.

    Notes
    -----
    An HDF5 file and a zarr store hold what that of
    :func:`~skastro.streaming.predict_stream` holds, and a CSV table has the same
    columns. For survey files ``id``, ``path`` and ``failure`` stand beside the values,
    for Parquet ``failure``. A file that cannot be read, and a spectrum that the reader
    leaves out, is a row whose values are NaN, or an empty label, with the reason in
    ``failure``, which is empty for all other rows; ``path`` is absolute. Whole numbers
    are written as floats for survey files and Parquet. A Parquet folder holds files
    ``part-00000.parquet``, ... in order, with these columns, and for probabilities
    ``class``, the label of the largest one. :class:`~skastro.RejectingClassifier`
    rejects rows in ``predict`` only, hence not in ``class``.

    The model reaches each process once, as a file of :func:`~skastro.save_model` if it
    can be one, otherwise as a pickle. If workers declare the resource ``GPU``, each
    task takes one of it, and the model computes there. Otherwise each task computes on
    the CPU in one thread.

    Finished partitions are kept in a journal beside `out`, as those of
    :func:`~skastro.streaming.predict_stream`, and compared with the run in the same
    way, and by the sizes and times of Parquet files. Partitions of workers that die are
    given to others.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skastro.distributed import predict
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 5))
    >>> model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "QSO", "STAR"))
    >>> survey = da.from_array(X, chunks=(250, 5))
    >>> probability = predict(model, survey)
    >>> probability.shape, probability.numblocks
    ((1000, 2), (4, 1))
    >>> best = probability.argmax(axis=1).compute(scheduler="threads")
    >>> bool((model.classes_[best] == model.predict(X)).all())
    True
    """
    for package in ("dask.array", "distributed"):
        check_package(package)
    if partition_size is not None:
        check_scalar(partition_size, "partition_size", Integral, min_val=1)
    if out is None:
        if not is_dask_array(X):
            raise ValueError(
                "out=None is for dask arrays, whose results are dask arrays; give the "
                "name of a file, or make X one, such as by dask.array.from_zarr."
            )
        check_unused(X, ids=ids, name=name, read=read)
        X = X if partition_size is None else X.rechunk({0: partition_size})
        model, estimator = Model.of(estimator)
        method = choose_method(estimator, method, return_std)
        return predict_lazily(model, estimator, X, method, return_std)

    from skastro.distributed._worker import Run

    target, writer = check_out(out, _WRITERS, X=X, ids=ids)
    check_not_inside(target, X, "X")
    if not isinstance(ids, str):
        check_not_inside(target, ids, "ids")
    if writer in _FOLDERS:
        check_package("zarr" if writer is write_zarr else "pyarrow")
        check_folder(target)
    if client is not None:
        _check_client(client)
    model, estimator = Model.of(estimator)
    method = choose_method(estimator, method, return_std)
    source = open_source(X, ids, name, read)
    with PartitionJournal(journal_path(target)) as journal, _cluster(client) as client:
        on_gpu = _has_gpus(client)
        samples = list(source.samples(client))
        output = _describe_output(estimator, method, return_std, samples[0], source)
        if writer is write_csv:
            output.column_names()
        elif writer is write_parquet:
            parquet_names(output, source.columns())
        if partition_size is None and resume and journal.n_done:
            # The default depends on the cluster.
            partition_size = journal.entries.get("partition_size")
        if partition_size is None:
            seconds = 0 if on_gpu else _seconds(estimator, output, source)
            partition_size = _default_size(source, seconds, _n_threads(client))
        spans = source.split(int(partition_size))
        sizes = [source.size_of(span) for span in spans]
        run = fingerprint(
            estimator,
            samples,
            output,
            **source.about(),
            partition_size=int(partition_size),
            partitions=hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        )
        journal.begin(run, resume)
        with hint_at_resuming(journal, source.n_items, source.unit):
            missing = [number for number in range(len(spans)) if number not in journal]
            settings = Run(model, output, on_gpu)
            with progress(
                method, source.n_items, journal.n_done, verbose, source.unit
            ) as bar:
                for number, arrays in _compute(
                    client, settings, source, spans, missing
                ):
                    journal.append(number, sizes[number], arrays)
                    bar.update(sizes[number])
            n_rows, columns, n_failed, reason = journal.describe(len(spans), source.ids)
            with progress(f"write {target.name}", n_rows, 0, verbose) as bar:
                chunks = shown(journal.chunks(len(spans), source.ids), bar)
                writer(target, n_rows, output, columns, chunks)
        journal.remove()
    if n_failed:
        warnings.warn(
            f"{n_failed} of {n_rows} rows have no result, the first one because: "
            f"{reason}. The column failure has the reasons of all.",
            UserWarning,
            stacklevel=2,
        )
    return Path(out)


# What is checked ----------------------------------------------------------------------


def _check_client(client: Any) -> None:
    from distributed import Client

    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(
            "client must be a distributed.Client that is not asynchronous; got "
            f"{type(client).__name__}."
        )
    if client.status != "running":
        raise RuntimeError(
            f"The client is {client.status}, not running; connect a new one to the "
            "cluster."
        )


# What is computed ---------------------------------------------------------------------


@contextmanager
def _cluster(client: Any) -> Iterator[Any]:
    """Return the client, the current one, or one of a cluster of this machine."""
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster, get_client

    if client is None:
        with suppress(ValueError):
            client = get_client()
    if client is not None:
        _check_client(client)
        yield client
        return
    with (
        LocalCluster(
            n_workers=CPU_COUNT, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as own,
    ):
        # Workers that do not come back are replaced.
        cluster.adapt(minimum=CPU_COUNT, maximum=CPU_COUNT)
        yield own


def _has_gpus(client: Any) -> bool:
    """Tell whether workers declare GPUs."""
    # Newer versions list five workers unless they are told otherwise.
    lists_some = "n_workers" in inspect.signature(client.scheduler_info).parameters
    info = (
        client.scheduler_info(n_workers=-1) if lists_some else client.scheduler_info()
    )
    return any("GPU" in worker["resources"] for worker in info["workers"].values())


def _n_threads(client: Any) -> int:
    return max(1, sum(client.nthreads().values()))


def _describe_output(
    estimator: Any, method: str, return_std: bool, sample: Any, source: Source
) -> Output:
    values = call(estimator, method, sample, 1, return_std)
    output = Output.of(estimator, method, values, return_std)
    if source.may_fail and output.dtype.kind in "biu":
        # Whole numbers have no NaN.
        output = replace(output, dtype=np.dtype(np.float64))
        if method == "predict" and output.classes is not None:
            check_exact(output.classes, f"{output.estimator}.predict")
    return output


def _seconds(estimator: Any, output: Output, source: Source) -> float:
    """Measure how long a thread takes for a row."""
    rows = source.head(_TIMED_ROWS)
    if rows is None:
        return 0
    with one_thread():
        start = time.perf_counter()
        call(estimator, output.method, rows, len(rows), output.with_std)
        return (time.perf_counter() - start) / len(rows)


def _default_size(source: Source, seconds: float, n_threads: int) -> int:
    """Return the size of a partition that takes about a second and fits into memory."""
    shared = math.ceil(source.n_items / (_PARTITIONS_A_THREAD * n_threads))
    timely = int(_SECONDS / seconds) if seconds else source.most
    size = max(min(shared, timely), source.fewest)
    return source.aligned(min(size, source.most))


def _compute(
    client: Any, run: Any, source: Source, spans: list[Any], numbers: list[int]
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield the results of some partitions, as they are finished."""
    from distributed import CancelledError, KilledWorker

    waiting = iter(numbers)
    name = f"skastro-{uuid.uuid4().hex}"
    attempts: Counter[int] = Counter()
    sent: dict[Any, int] = {}
    finished: queue.Queue[Any] = queue.Queue()
    options = {"resources": {"GPU": 1}} if run.on_gpu else {}

    def submit(number: int) -> None:
        key = f"predict-{name}-{number}-{attempts[number]}"
        future = source.submit(client, name, spans[number], key=key, **options)
        sent[future] = number
        future.add_done_callback(finished.put)

    try:
        _give_model(client, run, name)
        for number in islice(waiting, _AHEAD * _n_threads(client)):
            submit(number)
        while sent:
            future = _next(finished, client)
            if future is None:
                _warn_of_no_workers(client, run.on_gpu)
                continue
            number = sent.pop(future)
            try:
                arrays = future.result(timeout=_PATIENCE)
            except (KilledWorker, CancelledError) as error:
                attempts[number] += 1
                if attempts[number] == _MOST_ATTEMPTS:
                    raise RuntimeError(
                        f"Partition {number}, {source.name(spans[number])}, has ended "
                        f"all workers that it was given to, {_MOST_ATTEMPTS} times; "
                        "does it take more memory than they have? A smaller "
                        "partition_size, with resume=False, takes less."
                    ) from error
                submit(number)
                continue
            except Exception as error:
                if isinstance(error, TimeoutError) and future.status != "error":
                    # The worker has died since, and another one is to compute it.
                    sent[future] = number
                    future.add_done_callback(finished.put)
                    _warn_of_no_workers(client, run.on_gpu)
                    continue
                error.add_note(f"In partition {number}: {source.name(spans[number])}.")
                raise
            # The worker forgets the results when the last reference is gone.
            del future
            yield number, arrays
            window = _AHEAD * _n_threads(client)
            for number in islice(waiting, max(0, window - len(sent))):
                submit(number)
    except Exception as error:
        if client.status not in _LOST:
            raise
        raise RuntimeError(
            "The connection to the scheduler of Dask is lost; start the scheduler, and "
            "repeat the call with a new client."
        ) from error
    finally:
        # The cluster may be gone.
        with suppress(Exception):
            client.cancel([*sent])
            client.unregister_worker_plugin(name)


def _give_model(client: Any, run: Any, name: str) -> None:
    """Give the model to the workers.

    Dask raises if one of them dies meanwhile, or has died unnoticed.
    """
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        _wait_for_scheduler(client)
        try:
            client.register_plugin(run, name=name)
        except OSError:
            if attempt == _MOST_ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _wait_for_scheduler(client: Any) -> None:
    """Wait while Dask tries to connect anew, and raise when it has given up."""
    while client.status == "connecting":
        time.sleep(_PAUSE)
    if client.status in _LOST:
        raise ConnectionError("The client is closed.")


def _next(finished: queue.Queue, client: Any) -> Any:
    """Wait for a partition; return None if there is none for a while."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        _wait_for_scheduler(client)
        with suppress(queue.Empty):
            future = finished.get(timeout=_PAUSE)
            _wait_for_scheduler(client)
            return future
    return None


def _warn_of_no_workers(client: Any, on_gpu: bool) -> None:
    """Say so if there is nobody to compute what is missing."""
    if not (_has_gpus(client) if on_gpu else client.nthreads()):
        warnings.warn(
            f"The cluster has no workers{' with a GPU' * on_gpu}; the prediction "
            "goes on when there are some. What is finished is kept if you stop it.",
            RuntimeWarning,
            stacklevel=4,
        )
