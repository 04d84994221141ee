# SPDX-License-Identifier: BSD-3-Clause
"""Data on a CUDA device: kept there if they fit, otherwise copied in advance."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

# Memory that is left free, as a fraction of what the network has needed so far: later
# batches can need more if the memory is fragmented.
_HEADROOM = 0.25
_LEAST_HEADROOM = 2**28
_BATCHES_AHEAD = 3


def placed_on_device(source: Any, device: torch.device, placed: dict) -> Any:
    """Find the arrays of a source on a device; None if they were not placed there."""
    whole = placed.get((id(source.owner), device))
    if whole is None:
        return None
    rows = None if source.rows is None else source.rows.to(device)
    return replace(source, X=whole.X, y=whole.y, rows=rows)


def place_on_device(source: Any, device: torch.device, placed: dict) -> Any:
    """Copy the arrays of a source to a CUDA device; None if they do not fit.

    Call it after the first steps of a training: the memory that is free then, less a
    fraction of what the network has needed, is available for data. ``placed`` keeps the
    whole arrays of a data set, which its training and its validation part share.
    """
    if source.nbytes > free_for_data(device):
        return None
    try:
        # The owner is kept as well, so that no other object gets its identity.
        placed[id(source.owner), device] = replace(source, rows=None).to(device)
    except torch.OutOfMemoryError:
        return None
    return placed_on_device(source, device, placed)


def free_for_data(device: torch.device) -> int:
    """Return how many bytes the network leaves for the data; may be negative."""
    held = torch.cuda.memory_allocated(device)
    steps = torch.cuda.max_memory_allocated(device) - held
    headroom = max(int(_HEADROOM * steps), _LEAST_HEADROOM)
    return available_memory(device) - steps - headroom


def available_memory(device: torch.device) -> int:
    """Return the number of bytes that torch has reserved or could reserve."""
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + cached


def on_device(batches: Iterator[tuple], device: torch.device) -> Iterator[tuple]:
    """Copy batches to a CUDA device while the network computes on earlier ones."""
    stream = _copy_stream(device)

    def send(tensor: torch.Tensor) -> torch.Tensor:
        # A part of a strided array would be pinned with everything in between.
        pinned = tensor if tensor.is_pinned() else tensor.contiguous().pin_memory()
        return pinned.to(device, non_blocking=True)

    def work() -> Iterator[tuple]:
        for batch in batches:
            try:
                with torch.cuda.stream(stream):
                    sent = _each_tensor(send, batch)
                    event = stream.record_event()
            except torch.OutOfMemoryError:
                # The training step copies it, and halves it if necessary.
                sent, event = batch, None
            yield sent, event

    for batch, sent in ahead(work(), _BATCHES_AHEAD):
        if sent is None:
            yield batch
            continue
        current = torch.cuda.current_stream(device)
        current.wait_event(sent)
        # Otherwise the allocator could reuse the memory while it is being read.
        _each_tensor(partial(_record_stream, stream=current), batch)
        yield batch


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    # One stream for all calls: torch keeps the memory that a stream has used for it.
    return torch.cuda.Stream(device)


def _record_stream(tensor: torch.Tensor, stream: Any) -> None:
    tensor.record_stream(stream)


def _each_tensor(function: Callable[[torch.Tensor], Any], batch: tuple) -> tuple:
    X, y = batch
    if isinstance(X, dict):
        return {name: function(values) for name, values in X.items()}, function(y)
    return function(X), function(y)


def ahead(items: Iterator[Any], n_ahead: int) -> Iterator[Any]:
    """Draw from an iterator in a thread, up to ``n_ahead`` items ahead of the consumer.

    Exceptions of the iterator are raised in the consumer.
    """
    waiting: queue.Queue = queue.Queue(n_ahead)
    stopped = threading.Event()

    def put(entry: tuple) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="skastro-batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        # The garbage collector may close this in the thread itself.
        if thread is not threading.current_thread():
            thread.join()
