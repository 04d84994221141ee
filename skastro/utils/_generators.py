# SPDX-License-Identifier: BSD-3-Clause
"""Random numbers of a training's own, whatever other threads draw meanwhile.

torch has one generator for each device, which all threads share. A seeded training
therefore has generators of its own: :func:`own_generator` gives them to the package's
code. Code that draws from torch's global generators, such as a user's module, runs in a
block of :func:`lend_generators`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Readers and transformers do without torch.
    import torch

_THIS_THREAD = threading.local()
_LOCK = threading.RLock()
_END = object()


class OwnGenerators:
    """A generator for the CPU, and one for the device of a training."""

    def __init__(self, device: "torch.device", seed: int, state: Any = None) -> None:
        import torch

        cpu = torch.Generator().manual_seed(seed)
        if state is not None:
            cpu.set_state(state)
        self.by_device = {"cpu": cpu}
        self._global: dict[str, tuple[Callable, Callable]] = {
            "cpu": (torch.get_rng_state, torch.set_rng_state)
        }
        if device.type in ("cuda", "mps"):
            first = int(torch.randint(2**62, (), generator=cpu))
            self.by_device[device.type] = torch.Generator(device).manual_seed(first)
            options = {"device": device} if device.type == "cuda" else {}
            part = getattr(torch, device.type)
            self._global[device.type] = (
                partial(part.get_rng_state, **options),
                partial(part.set_rng_state, **options),
            )
        self.are_lent = False

    def swap(self) -> None:
        """Exchange the states of these generators and of torch's global ones."""
        for device, generator in self.by_device.items():
            get_state, set_state = self._global[device]
            state = get_state()
            set_state(generator.get_state())
            generator.set_state(state)
        self.are_lent = not self.are_lent


@contextmanager
def draw_from_seed(
    device: "torch.device", seed: int | None, state: Any = None
) -> Iterator[OwnGenerators | None]:
    """Run a block with generators of its own, from a seed or a generator's state.

    With None for the seed the block draws as if it were not there.
    """
    if seed is None:
        yield None
        return
    before = getattr(_THIS_THREAD, "own", None)
    _THIS_THREAD.own = OwnGenerators(device, seed, state)
    try:
        yield _THIS_THREAD.own
    finally:
        _THIS_THREAD.own = before


def own_generator(device: "torch.device | None" = None) -> "torch.Generator | None":
    """Return the generator to draw from in this thread; None is torch's global one."""
    import torch

    if torch.compiler.is_compiling():
        return None
    own = getattr(_THIS_THREAD, "own", None)
    if own is None or own.are_lent:
        return None
    return own.by_device.get("cpu" if device is None else device.type)


@contextmanager
def lend_generators() -> Iterator[None]:
    """Let torch's global generators continue the own ones of this thread.

    Only one thread at a time can be in such a block.
    """
    own = getattr(_THIS_THREAD, "own", None)
    if own is None or own.are_lent:
        yield
        return
    with _LOCK:
        own.swap()
        try:
            yield
        finally:
            own.swap()


def lend_to(function: Any) -> AbstractContextManager:
    """Lend the generators if a function is not the package's own."""
    functions = [function, *getattr(function, "operations", ())]
    own = all(type(f).__module__.startswith("skastro.") for f in functions)
    return nullcontext() if own else lend_generators()


def lend_to_each(iterable: Iterable[Any]) -> Iterator[Any]:
    """Make an iterator, and lend the generators to it at each step."""
    with lend_generators():
        iterator = iter(iterable)
    return _lent(iterator)


def _lent(iterator: Iterator[Any]) -> Iterator[Any]:
    while True:
        with lend_generators():
            item = next(iterator, _END)
        if item is _END:
            return
        yield item
