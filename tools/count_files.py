# SPDX-License-Identifier: BSD-3-Clause
"""Count the files of skastro whose code a fit and a prediction run.

Whoever reads the path of one call reads these files. The limits hold for the default
network on arrays. Run it as ``python tools/count_files.py``; it exits with 1 where a
count is above its limit.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import skastro

ROOT = Path(skastro.__file__).parent
LIMITS = {"fit": 18, "predict_proba": 12}


def files_touched(function: Callable[[], Any]) -> dict[str, set[str]]:
    """Return the functions that a call enters, by file of skastro."""
    touched: dict[str, set[str]] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            name = path.relative_to(ROOT).as_posix()
            touched.setdefault(name, set()).add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return touched


def main() -> int:
    """Print both lists; return 1 where one is too long."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 200)).astype(np.float32)
    y = np.repeat(["GALAXY", "STAR"], 30)
    clf = skastro.SpectrumClassifier("resnet10", max_epochs=2)
    # The first fit imports modules, which is no part of the path.
    skastro.SpectrumClassifier("resnet10", max_epochs=1, verbose=0).fit(X, y)
    counts = {
        "fit": files_touched(lambda: clf.fit(X, y)),
        "predict_proba": files_touched(lambda: clf.predict_proba(X)),
    }
    for name, touched in counts.items():
        print(f"\n{name}: {len(touched)} files, at most {LIMITS[name]}")
        for path, functions in sorted(touched.items()):
            print(f"  {path}: {', '.join(sorted(functions))}")
    mro = [cls.__name__ for cls in type(clf).__mro__]
    print(f"\n{len(mro)} classes in the MRO: {', '.join(mro)}")
    return int(any(len(counts[name]) > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
