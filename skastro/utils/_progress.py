# SPDX-License-Identifier: BSD-3-Clause
"""Progress bars: quick on terminals and in notebooks, a line a minute elsewhere."""

import sys
from functools import partial

from tqdm.auto import tqdm

# Seconds between what a log file gets, to which standard error is redirected.
_PAUSE = 60.0
_in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
_is_watched = _in_notebook or (sys.stderr is not None and sys.stderr.isatty())
_pauses = {} if _is_watched else {"mininterval": _PAUSE, "maxinterval": _PAUSE}

# As tqdm.tqdm, with other pauses where nobody watches.
progress_bar = partial(tqdm, **_pauses)
