# SPDX-License-Identifier: BSD-3-Clause
"""Every tile of the gallery has a picture of its own, and a place."""

import ast
import hashlib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# The others run while the documentation is built, and have figures of their own.
JOBS = [path for path in EXAMPLES if not path.name.startswith("plot_")]
THUMBNAIL = re.compile(r"^# sphinx_gallery_thumbnail_path = '([^']+)'$", re.MULTILINE)


def thumbnail_of(path: Path) -> Path:
    """Return the picture that a script names, and fail if it names none."""
    found = THUMBNAIL.findall(path.read_text(encoding="utf-8"))
    assert len(found) == 1, f"{path.name}: add # sphinx_gallery_thumbnail_path = '...'"
    return ROOT / "docs" / found[0]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job_has_a_thumbnail(path):
    thumbnail = thumbnail_of(path)
    assert thumbnail.read_bytes().startswith(b"\x89PNG")
    assert thumbnail.stat().st_size < 60_000


def test_thumbnails_differ():
    pictures = [
        path.read_bytes()
        for path in (ROOT / "docs" / "_static" / "gallery").glob("*.png")
    ]
    assert len({hashlib.sha256(data).digest() for data in pictures}) == len(pictures)
    assert len(pictures) >= len(JOBS)


def test_gallery_orders_every_example():
    tree = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    (order,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "GALLERY_ORDER"
    ]
    assert sorted(order) == [path.name for path in EXAMPLES]
