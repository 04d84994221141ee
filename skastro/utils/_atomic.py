# SPDX-License-Identifier: BSD-3-Clause
"""Files that appear under their name only when they are complete."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(
    path: str | os.PathLike,
    mode: str = "w",
    *,
    encoding: str | None = None,
    newline: str | None = None,
) -> Iterator[IO]:
    """Open a file that gets its name only when it has been written to the end.

    The content goes to a temporary file in the same folder, with the same suffix,
    which is renamed to `path` when the block ends, and removed when the block raises.
    So a reader never sees half a file, and an interrupted run leaves an older file of
    that name as it was. The permissions of a file that is replaced are kept. `mode` is
    "w" or "wb"; text is UTF-8 unless `encoding` says otherwise, and `newline` is that
    of :func:`open`. The file's ``name`` is the temporary path, for writers that want a
    path instead of a file object.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}.")
    # A symbolic link is kept; the file that it points to is replaced.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {path}: the folder {target.parent} does not exist."
        )
    temporary = target.with_name(
        f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}"
    )
    if mode == "w":
        encoding = encoding or "utf-8"
    try:
        with open(temporary, mode, encoding=encoding, newline=newline) as file:
            yield file
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
