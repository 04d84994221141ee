# SPDX-License-Identifier: BSD-3-Clause
"""Tables of lines and strengths, from files in the folder ``data``."""

import csv
from importlib.resources import files


def read_rows(name: str) -> list[list[str]]:
    """Read the rows of a table as text, without its comments and header."""
    content = (files("skastro.simulation.spectra") / "data" / name).read_text("utf-8")
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    return list(csv.reader(lines))[1:]


def read_table(name: str) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Read the rows of numbers of each group, which the first column names."""
    groups: dict[str, list] = {}
    for group, *numbers in read_rows(name):
        groups.setdefault(group, []).append(tuple(map(float, numbers)))
    return {group: tuple(rows) for group, rows in groups.items()}
