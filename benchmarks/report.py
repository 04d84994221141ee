# SPDX-License-Identifier: BSD-3-Clause
"""Tables in Markdown, and their place in RESULTS.md."""

import os
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import torch

from skastro.utils import atomic_write

RESULTS = Path(__file__).with_name("RESULTS.md")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def block(title: str, provenance: str, *parts: Sequence[str]) -> str:
    """Write one comparison: its title, where it was measured, tables and notes."""
    paragraphs = [f"### {title}", provenance, *("\n".join(part) for part in parts)]
    return "\n\n".join(paragraphs)


def hardware(device: str) -> str:
    """Describe the machine."""
    model = "CPU"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"model name\s*: (.*)", cpuinfo.read_text(encoding="utf-8"))
        model = found[1] if found else model
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    capability = torch.backends.cpu.get_cpu_capability()
    text = f"{cores} cores of {model} ({capability}), torch {torch.__version__}"
    text += f" on {torch.get_num_threads()} threads"
    if device == "cuda":
        text = f"{torch.cuda.get_device_name()} and {text}"
    return text


def provenance(device: str, command: str) -> str:
    """Say when, on what and how something was measured."""
    return f"{date.today().isoformat()}, {hardware(device)}, `{command}`"


def update(
    path: Path, device: str, blocks: dict[str, str], order: Sequence[str]
) -> None:
    """Replace some comparisons of one device in a file and leave all else.

    Parameters
    ----------
    path : pathlib.Path
        The file; made where there is none. Comparisons stand between
        ``<!-- fast path, DEVICE -->`` and ``<!-- end -->``, and each begins with
        ``<!-- NAME -->``. What is missing is added at the end.
    device : str
        Whose section.
    blocks : dict of str
        Comparisons by name.
    order : sequence of str
        The order in which they stand.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    opening, closing = f"<!-- fast path, {device} -->", "<!-- end -->"
    if opening not in text:
        title = {"cpu": "CPU", "cuda": "GPU"}[device]
        text = f"{text.rstrip()}\n\n## The fast path, {title}\n\n{opening}\n{closing}\n"
    before, rest = text.split(opening, 1)
    section, after = rest.split(closing, 1)
    pieces = re.split(r"^<!-- (\S+) -->$", section, flags=re.MULTILINE)
    kept = dict(zip(pieces[1::2], map(str.strip, pieces[2::2]), strict=True))
    kept.update(blocks)
    section = "".join(
        f"\n<!-- {name} -->\n\n{kept[name]}\n"
        for name in sorted(kept, key=[*order, *kept].index)
    )
    with atomic_write(path) as file:
        file.write(f"{before}{opening}\n{section}\n{closing}{after}")
