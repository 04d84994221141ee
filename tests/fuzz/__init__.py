# SPDX-License-Identifier: BSD-3-Clause
"""Damaged files and odd arrays for the public functions.

A case is the name of an original, a good file or the plain array of a callable, and the
damages that it gets, each by its number and a seed of its own. A module per kind has
the list ``DAMAGES``, and the functions ``names()`` of the originals and ``attempt(case,
folder)``, which returns the outcome of a case; findings begin with "!". Modules of
files have ``build(case)``, the content of the damaged file.
"""

import importlib
import random
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
KINDS = ("spectra", "images", "sevi", "arrays")
Case = tuple[str, list[tuple[int, int]]]
Damage = Callable[[bytearray, random.Random], None]


def load(kind: str) -> ModuleType:
    """Import the module of a kind, and what the tests have for it."""
    folders = [str(ROOT / "tests" / name) for name in ("datasets", "helpers", "")]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    return importlib.import_module(f"{__name__}.{kind}")


def make_case(kind: str, seed: int) -> Case:
    """Choose an original and the damages."""
    rng = random.Random(seed)
    module = load(kind)
    n_damages = rng.choice([1, 1, 1, 2, 3, 6])
    damages = [
        (rng.randrange(len(module.DAMAGES)), rng.randrange(2**32))
        for _ in range(n_damages)
    ]
    return rng.choice(module.names()), damages


def apply(damages: list[Damage], case: Case, original: bytes, least: int = 0) -> bytes:
    """Damage a file that is longer than `least`; a shorter one can be packed only."""
    content = bytearray(original)
    for number, seed in case[1]:
        damage = damages[number]
        if len(content) > least or damage.__name__.startswith("pack"):
            # A damage may find nothing that it can change.
            try:
                damage(content, random.Random(seed))
            except (ValueError, IndexError, UnicodeDecodeError):
                continue
    return bytes(content)


def error_outcome(error: BaseException, path: Path | None = None) -> str:
    """Judge an exception; one of a file should name it."""
    if not isinstance(error, OSError | ValueError | TypeError):
        trace = "".join(traceback.format_exception(error, limit=-2))
        return f"! {type(error).__name__}: {trace}"
    if path is not None and path.name not in str(error):
        return f"! without the path: {error!r}"
    return type(error).__name__


def flip_bytes(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 4, 60])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def cut(content: bytearray, rng: random.Random) -> None:
    step = rng.choice([1, 80, 2880])
    del content[rng.randrange(0, len(content), step) :]


def kind_of_finding(outcome: str) -> str:
    """Leave out the numbers, in which findings of one kind differ."""
    return re.sub(r"[\d.]+", "#", outcome)
