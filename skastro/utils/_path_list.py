# SPDX-License-Identifier: BSD-3-Clause
"""Text files that list the paths of other files, one a line."""

import os
from collections.abc import Iterable
from pathlib import Path

# Names of files need not be UTF-8; so they pass through unchanged.
_ERRORS = "surrogateescape"


def read_path_list(path: str | os.PathLike) -> list[str]:
    r"""Read a text file of paths, one a line.

    Parameters
    ----------
    path : str or path-like
        The file, UTF-8. Empty lines have no meaning.

    Returns
    -------
    paths : list of str
        The lines. Nothing is made of them: relative paths stay relative.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    ValueError
        If it is not a text file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skastro.utils import read_path_list
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train.txt"
    ...     _ = path.write_text("a.jpg\nb.jpg\n")
    ...     read_path_list(path)
    ['a.jpg', 'b.jpg']
    """
    content = Path(path).read_bytes()
    if b"\0" in content:
        raise ValueError(
            f"{os.fspath(path)!r} is not a text file of paths, one a line. Give a "
            "single file as a list of one: [path]."
        )
    lines = content.decode("utf-8-sig", _ERRORS).split("\n")
    return [line for line in (line.removesuffix("\r") for line in lines) if line]


def format_path_list(paths: Iterable[str]) -> bytes:
    r"""Give the content of a text file of paths, one a line.

    Parameters
    ----------
    paths : iterable of str
        The paths.

    Returns
    -------
    content : bytes
        The lines in UTF-8; names of files that are not are left as they are.

    Raises
    ------
    ValueError
        If a path holds the end of a line, which such a file cannot.

    Examples
    --------
    >>> from skastro.utils import format_path_list
    >>> format_path_list(["a.jpg", "b.jpg"])
    b'a.jpg\nb.jpg\n'
    """
    lines = [f"{path}\n" for path in paths]
    for line in lines:
        if "\n" in line[:-1] or "\r" in line:
            raise ValueError(
                f"{line[:-1]!r} has the end of a line in its name, so it cannot stand "
                "in a text file of one path a line; rename it."
            )
    return "".join(lines).encode("utf-8", _ERRORS)
