# SPDX-License-Identifier: BSD-3-Clause
"""Archives of members that are stored as they are, and arrays in them."""

import io
import math
import re
import zipfile
from collections.abc import Mapping

import numpy as np

# Folders and names of members. Nothing is ever written to disk under them.
_MEMBER = re.compile(r"[A-Za-z0-9_-][\w.-]*(/[A-Za-z0-9_-][\w.-]*)*")
# Sparse matrices are compressed; all of them may unpack to this many bytes, and to so
# many times the bytes of all arrays.
_MOST_UNPACKED, _MOST_RATIO = 2**24, 20


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Put members into a zip archive, without compressing them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            # The same content makes the same file at any time.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def read_archive(content: bytes) -> dict[str, bytes]:
    """Read all members of an archive that :func:`write_archive` made.

    They take no more memory than the archive does: compressed, encrypted, overlapping
    or repeated members are refused, and so is a damaged archive, by ValueError.
    """
    try:
        if not content.startswith(b"PK\3\4"):
            raise ValueError("it does not begin with a member")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            odd = [name for name in names if not _MEMBER.fullmatch(name)]
            if odd or len(set(names)) < len(names):
                raise ValueError(
                    f"odd or repeated names of members: {(odd or names)[:3]}"
                )
            for member in members:
                is_stored = member.compress_type == zipfile.ZIP_STORED
                if not is_stored or member.flag_bits & 1:
                    raise ValueError(f"{member.filename!r} is compressed or encrypted")
            if sum(member.file_size for member in members) > len(content):
                raise ValueError("its members are said to be larger than the file")
            return {name: archive.read(name) for name in names}
    # A damaged directory leads zipfile to any of these.
    except (
        *(zipfile.BadZipFile, ValueError, OverflowError, EOFError, OSError),
        *(NotImplementedError, RuntimeError, UnicodeError, LookupError),
    ) as error:
        raise ValueError(f"it is damaged or no archive: {error}") from error


def check_arrays(members: Mapping[str, bytes]) -> None:
    """Refuse all but NumPy's arrays that take no more memory than the members hold."""
    left = _MOST_UNPACKED + _MOST_RATIO * sum(map(len, members.values()))
    for name, content in members.items():
        if name.endswith(".npy"):
            _check_array(name, io.BytesIO(content), len(content))
        elif name.endswith(".npz"):
            left -= _check_packed(name, content, left)
        else:
            raise ValueError(f"{name} is no array")


def _check_array(name: str, file: io.BytesIO, n_bytes: int) -> None:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{name} is an array in an unknown format")
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects")
    if math.prod(shape) * max(dtype.itemsize, 1) > n_bytes or min(shape, default=0) < 0:
        raise ValueError(f"{name} is said to be larger than the file")


def _check_packed(name: str, content: bytes, limit: int) -> int:
    """Give the bytes that compressed arrays take."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > limit:
            raise ValueError(f"{name} would unpack to more than {limit} bytes")
        for member in archive.infolist():
            unpacked = archive.read(member)
            _check_array(
                f"{member.filename} in {name}", io.BytesIO(unpacked), len(unpacked)
            )
    return n_bytes
