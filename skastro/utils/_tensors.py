# SPDX-License-Identifier: BSD-3-Clause
"""Files of tensors that take no more memory than they hold."""

import os
import zipfile
from typing import Any


class TooLargeError(ValueError):
    """A file of a few bytes stands for tensors of many."""


def load_tensors(file: Any, **options: Any) -> Any:
    """Call :func:`torch.load`, and refuse a file that claims more than it holds.

    Compressed files, and tensors that repeat a few stored numbers, would take memory
    out of all proportion. Objects other than tensors and plain values are not loaded
    unless the options say so.
    """
    import torch

    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise TooLargeError(
                f"{_name(file)} is compressed, which torch.save never does; unpack it "
                "and save its tensors again."
            )
    if not isinstance(file, str | os.PathLike):
        file.seek(0)
    options = {"map_location": "cpu", "weights_only": True, **options}
    content = torch.load(file, **options)
    _check_stored(content, _name(file))
    return content


def _name(file: Any) -> str:
    return str(file) if isinstance(file, str | os.PathLike) else "The file"


def _check_stored(content: Any, name: str) -> None:
    import torch

    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list | tuple):
        for part in content:
            _check_stored(part, name)
    elif isinstance(content, torch.Tensor) and content.layout is torch.strided:
        needed, held = content.nbytes, content.untyped_storage().nbytes()
        if needed > held:
            raise TooLargeError(
                f"{name} has a tensor of shape {tuple(content.shape)}, {needed} bytes, "
                f"of which it stores {held}. Save tensors that are contiguous."
            )
