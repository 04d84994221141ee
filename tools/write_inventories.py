# SPDX-License-Identifier: BSD-3-Clause
"""Write the inventories by which the documentation links to that of other projects.

::

    python tools/write_inventories.py
    python tools/write_inventories.py sklearn=objects.inv

fetches the inventory of each project that ``docs/conf.py`` names, or reads it from a
file. Of it, ``docs/inventories`` keeps what the pages, the docstrings and the examples
mention. Names that an inventory lacks are printed.
"""

import argparse
import ast
import re
import runpy
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "inventories"


def referenced_names() -> set[str]:
    """Return the names in roles and under "See Also", and those the gallery imports."""
    names: set[str] = set()
    for path in [*ROOT.glob("docs/**/*.rst"), *ROOT.glob("skastro/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"(?<!`)(?:`~?|`[^`<]+<)(\w+(?:\.\w+)+)>?`(?!`)", text))
        names.update(re.findall(r"^ +(\w+(?:\.\w+)+) : ", text, flags=re.MULTILINE))
    for path in ROOT.glob("examples/plot_*.py"):
        names.update(imported_names(path.read_text(encoding="utf-8")))
    return names


def imported_names(source: str) -> Iterator[str]:
    """Yield the full names that a script imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def select(inventory: bytes, names: set[str]) -> tuple[bytes, set[str]]:
    """Return an inventory of the Python names given, and those that it has."""
    # Four lines of text, then compressed lines "name domain:type priority page title".
    *header, packed = inventory.split(b"\n", 4)
    kept = {}
    for line in zlib.decompress(packed).decode().splitlines():
        name, kind = line.split(" ", 2)[:2]
        if name in names and kind.startswith("py:"):
            kept[line] = name
    lines = "".join(f"{line}\n" for line in sorted(kept))
    return b"\n".join([*header, zlib.compress(lines.encode(), 9)]), set(kept.values())


def main(arguments: list[str] | None = None) -> None:
    """Write the inventories of the projects on the command line, or of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", metavar="PROJECT=FILE")
    options = parser.parse_args(arguments)
    files = dict(argument.split("=", 1) for argument in options.files)
    projects = runpy.run_path(str(ROOT / "docs" / "conf.py"))["intersphinx_mapping"]
    unused = referenced_names()
    FOLDER.mkdir(exist_ok=True)
    for project in files or projects:
        if project in files:
            inventory = Path(files[project]).read_bytes()
        else:
            with urlopen(f"{projects[project][0]}objects.inv", timeout=60) as answer:
                inventory = answer.read()
        inventory, found = select(inventory, unused)
        (FOLDER / f"{project}.inv").write_bytes(inventory)
        lacking = {x for x in unused - found if x.startswith(f"{project}.")}
        print(f"{project}: {len(found)} names", *sorted(lacking))


if __name__ == "__main__":
    main()
