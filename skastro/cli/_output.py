# SPDX-License-Identifier: BSD-3-Clause
"""Files that a command is to write."""

import warnings
from pathlib import Path
from typing import Any

import click
from astropy.table import Table

from skastro.streaming import to_catalog
from skastro.streaming._to_catalog import check_table_path


def check_output(out: str, overwrite: bool, ending: str | None = None) -> None:
    """Refuse a file that would replace another, or whose name hides what it is.

    Without `ending` it is a table, in any of the formats of catalogs.
    """
    path = check_table_path(out) if ending is None else Path(out)
    if ending is not None and path.suffix != ending:
        raise ValueError(f"--out {out} must end in {ending}.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: the folder {path.parent} does not exist.")
    if path.exists() and not overwrite:
        raise ValueError(f"{out} exists. Give another --out, or --overwrite.")


def write_catalog(estimator: Any, X: Any, out: Path | str, objects: Any) -> Table:
    """Write a catalog, and say how many of its rows mean little."""
    with warnings.catch_warnings():
        ignore_novelty()
        catalog = to_catalog(estimator, X, out, objects=objects)
    if "unfamiliar" in catalog.colnames and (n_odd := catalog["unfamiliar"].sum()):
        click.echo(
            f"{n_odd} of {len(catalog)} are unlike the training set, so that their "
            "predictions mean little: see the column unfamiliar."
        )
    return catalog


def ignore_novelty() -> None:
    """Pass by warnings of what catalogs and reports show."""
    warnings.filterwarnings("ignore", ".*less alike to the training set", UserWarning)
