# SPDX-License-Identifier: BSD-3-Clause
"""Where weights come from: files of this machine, and addresses with checksums."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from skastro.utils import fetch_file, find_data_home

_CHECKSUM = re.compile("sha256=([0-9a-fA-F]{64})")


def is_address(source: Any) -> bool:
    """Tell an address such as https://... from names and paths."""
    return isinstance(source, str) and "://" in source


def looks_like_file(source: Any) -> bool:
    """Tell paths and addresses from names of weights."""
    if isinstance(source, os.PathLike) or is_address(source):
        return True
    if not isinstance(source, str):
        return False
    path = Path(source).expanduser()
    return bool(path.suffix) or path.name != source or path.exists()


def add_checksum(source: Any, sha256: str | None) -> Any:
    """Put the checksum of a file behind its address, so that both are one value."""
    if sha256 is None:
        return source
    if not is_address(source):
        raise ValueError(
            f"sha256 is for addresses (https://...), but the weights are {source!r}; "
            "leave it out."
        )
    if "#" in source:
        raise ValueError(
            f"{source!r} has a part behind '#' already; give the checksum there, as "
            "#sha256=..., or by sha256=..., not both."
        )
    return f"{source}#sha256={sha256}"


def find_file(source: str | os.PathLike, verbose: int = 1) -> Path:
    """Return the path of a file; one at an address is downloaded unless it was before.

    It then lies in the folder ``weights`` of the data home, in one of its checksum's
    first digits.
    """
    if is_address(source):
        url, sha256 = _split(str(source))
        name = PurePosixPath(unquote(urlsplit(url).path)).name or "weights"
        path = find_data_home() / "weights" / sha256[:16] / name
        return fetch_file(url, path, sha256=sha256, verbose=verbose)
    path = Path(source).expanduser()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{str(source)!r} {kind}; give a file of weights (.pth, .pt, "
            ".safetensors or .skastro)."
        )
    return path


def _split(source: str) -> tuple[str, str]:
    """Split an address into that of the file and the checksum, or refuse it."""
    url, _, fragment = source.partition("#")
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        raise ValueError(
            f"{url!r} is a file of this machine; give its path, without 'file://'."
        )
    if scheme != "https":
        raise ValueError(
            f"Weights are downloaded over https only, but the address is {url!r}. Give "
            "an address that begins with https://, or the path of a file."
        )
    found = _CHECKSUM.fullmatch(fragment)
    if found is None:
        given = f"which is {fragment!r}, no" if fragment else "and there is no"
        raise ValueError(
            f"Weights at an address need the SHA-256 checksum of the file, 64 "
            f"hexadecimal digits, {given} checksum at {url!r}. Give "
            f"from_pretrained({url!r}, sha256='...') or backbone='{url}#sha256=...'. "
            "The publisher may state the checksum; for a file that you have and trust, "
            "pooch.file_hash('FILE') gives it."
        )
    return url, found[1].lower()
