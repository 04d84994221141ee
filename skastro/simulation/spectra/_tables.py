# SPDX-License-Identifier: BSD-3-Clause
"""Tables of lines and strengths, from files in the folder ``data``."""

import csv
from importlib.resources import files


def read_table(name: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read the pairs of numbers of each group from a table of three columns."""
    content = (files("skastro.simulation.spectra") / "data" / name).read_text("utf-8")
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    groups: dict[str, list] = {}
    for group, first, second in list(csv.reader(lines))[1:]:
        groups.setdefault(group, []).append((float(first), float(second)))
    return {group: tuple(pairs) for group, pairs in groups.items()}
