# SPDX-License-Identifier: BSD-3-Clause
"""Files that a command is to write."""

from pathlib import Path

from skastro.streaming._to_catalog import check_table_path


def check_output(out: str, overwrite: bool, ending: str | None = None) -> None:
    """Refuse a file that would replace another, or whose name hides what it is.

    Without `ending` it is a table, in any of the formats of catalogs.
    """
    path = check_table_path(out) if ending is None else Path(out)
    if ending is not None and path.suffix != ending:
        raise ValueError(f"--out {out} must end in {ending}.")
    if path.exists() and not overwrite:
        raise ValueError(f"{out} exists. Give another --out, or --overwrite.")
