# SPDX-License-Identifier: BSD-3-Clause
"""Scores of measured anisotropies: a file with a row an image, and tables of it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.sevi_cases import CASES, Batch
from skastro.sevi import N_BETAS

FIELDS = (
    "case",
    "method",
    "image",
    "separation",
    "loss_1",
    "loss_2",
    "pull_sum",
    "pull_squares",
    "n_pulls",
    "n_inside",
    "failed",
    "seconds",
    "settings",
)
_KEYS = ["case", "method", "image"]
_SEPARATIONS = (0.0, 0.005, 0.01, 0.02, 0.05, 1.0)


@dataclass
class Answer:
    """What a method says of n images.

    Attributes
    ----------
    beta : ndarray of shape (n, n_shells, 12), default=None
        The coefficients.
    std : ndarray of shape (n, n_shells, 12), default=None
        Their standard deviations.
    interval : ndarray of shape (n, n_shells, 12, 2), default=None
        Intervals that are to hold 90 % of them.
    variance : ndarray of shape (n, n_shells, 12), default=None
        Squared errors to be expected, where there is no `beta`.
    failed : ndarray of bool of shape (n,), default=None
        Where the method warns of its answer.
    settings : str, default=""
        What was chosen.
    """

    beta: np.ndarray | None = None
    std: np.ndarray | None = None
    interval: np.ndarray | None = None
    variance: np.ndarray | None = None
    failed: np.ndarray | None = None
    settings: str = ""


def legendre_loss(beta: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Give the squared distances of angular densities, of coefficients (..., 12)."""
    return (np.asarray(beta) - np.asarray(truth)) ** 2 @ _weights()


def _weights() -> np.ndarray:
    return 2 / (4 * np.arange(1, N_BETAS + 1) + 1)


def score(
    batch: Batch, name: str, method: str, answer: Answer, seconds: float
) -> pd.DataFrame:
    """Compare an answer with the truth.

    Parameters
    ----------
    batch : Batch
        The images.
    name, method : str
        Of the case and the method.
    answer : Answer
        What the method says.
    seconds : float
        Time of the processor that all images took.

    Returns
    -------
    rows : DataFrame
        A row an image.
    """
    n, n_shells = len(batch), batch.case.n_shells
    rows = pd.DataFrame(index=range(n), columns=list(FIELDS))
    rows["case"], rows["method"], rows["settings"] = name, method, answer.settings
    rows["image"] = batch.first + np.arange(n)
    rows["seconds"] = seconds / n
    if n_shells > 1:
        rows["separation"] = batch.scenes["radius"].diff(dim=1).amin(1).numpy()
    truth = batch.scenes["beta"].numpy()
    if answer.variance is not None:
        losses = answer.variance @ _weights()
    else:
        losses = legendre_loss(answer.beta, truth)
    for shell in range(n_shells):
        rows[f"loss_{shell + 1}"] = losses[:, shell]
    if answer.std is not None:
        pulls = (answer.beta - truth) / answer.std
        rows["pull_sum"] = pulls.sum((1, 2))
        rows["pull_squares"] = (pulls**2).sum((1, 2))
        rows["n_pulls"] = pulls[0].size
    if answer.interval is not None:
        inside = (truth >= answer.interval[..., 0]) & (truth <= answer.interval[..., 1])
        rows["n_inside"] = inside.sum((1, 2))
    if answer.failed is not None:
        rows["failed"] = answer.failed.astype(int)
    return rows


def append(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to a file, but for those of images that it has."""
    if path.exists():
        have = pd.MultiIndex.from_frame(pd.read_csv(path, usecols=_KEYS)[_KEYS])
        rows = rows[~pd.MultiIndex.from_frame(rows[_KEYS]).isin(have)]
    rows.to_csv(path, mode="a", header=not path.exists(), index=False)


def missing(path: Path, name: str, method: str, images: Iterable[int]) -> bool:
    """Say whether the file lacks some of the images."""
    if not path.exists():
        return True
    rows = pd.read_csv(path, usecols=_KEYS)
    have = rows.image[(rows.case == name) & (rows.method == method)]
    return not set(images) <= set(have)


def _read(path: Path) -> pd.DataFrame:
    rows = pd.read_csv(path)
    rows["loss"] = rows[["loss_1", "loss_2"]].mean(axis=1)
    rows["case"] = pd.Categorical(rows.case, list(CASES), ordered=True)
    return rows


def _markdown(head: list[str], lines: Iterable[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float, form: str) -> str:
    return "" if np.isnan(value) else format(value, form)


def table(path: Path, methods: dict[str, str]) -> str:
    """Give means over the images, and what distortions and close shells cost.

    Parameters
    ----------
    path : pathlib.Path
        The file of scores.
    methods : dict of str to str
        What the methods are called in the table, in order.

    Returns
    -------
    text : str
        Tables in Markdown.
    """
    rows = _read(path)
    groups = {
        (name, method): part
        for name in CASES
        for method in methods
        if len(part := rows[(rows.case == name) & (rows.method == method)])
    }
    tables = [_scores(groups, methods), _costs(groups, methods)]
    tables.append(_separations(groups, methods))
    return "\n\n".join(part for part in tables if part)


def _scores(groups: dict[tuple, pd.DataFrame], methods: dict[str, str]) -> str:
    head = ["case", "method", "images", "loss per shell", "median", "pulls"]
    head += ["in 90 %", "warned of", "CPU s an image"]
    lines = []
    for (name, method), part in groups.items():
        n_pulls = part.n_pulls.sum()
        spread = np.nan
        if n_pulls:
            mean = part.pull_sum.sum() / n_pulls
            spread = np.sqrt(part.pull_squares.sum() / n_pulls - mean**2)
        inside = part.n_inside.sum() / n_pulls if n_pulls else np.nan
        error = part.loss.std() / np.sqrt(len(part))
        lines.append(
            [
                name,
                methods[method],
                str(len(part)),
                f"{part.loss.mean():.3g} ± {error:.1g}",
                f"{np.nanmedian(part[['loss_1', 'loss_2']]):.3g}",
                _number(spread, ".2f"),
                _number(inside, ".3f"),
                _number(part.failed.mean(), ".3f"),
                f"{part.seconds.mean():.3g}",
            ]
        )
    return _markdown(head, lines)


def _costs(groups: dict[tuple, pd.DataFrame], methods: dict[str, str]) -> str:
    lines = []
    for (name, method), part in groups.items():
        clean = CASES[name].clean
        # A fit that looks for distortions costs something without any, too.
        plain = groups.get((clean, "skastro" if method == "distorted" else method))
        if plain is None:
            continue
        both = part.merge(plain, on="image", suffixes=("", "_clean"))
        if not len(both):
            continue
        ratio = both.loss.mean() / both.loss_clean.mean()
        excess = both.loss - both.loss_clean
        error = excess.std() / np.sqrt(len(both))
        cost = f"{excess.mean():.2g} ± {error:.1g}"
        lines.append([name, methods[method], str(len(both)), f"{ratio:.2f}", cost])
    head = ["case", "method", "images", "loss over that without", "loss minus that"]
    return _markdown(head, lines) if lines else ""


def _separations(groups: dict[tuple, pd.DataFrame], methods: dict[str, str]) -> str:
    lines = []
    classes = list(itertools.pairwise(_SEPARATIONS))
    for (name, method), part in groups.items():
        if CASES[name].n_shells < 2 or CASES[name].separation is not None:
            continue
        cells = []
        for low, high in classes:
            here = part.loss[(part.separation >= low) & (part.separation < high)]
            cells.append(f"{here.mean():.3g} ({len(here)})" if len(here) else "")
        lines.append([name, methods[method], *cells])
    last = [f"from {_SEPARATIONS[-2]:g}"]
    ranges = [f"{low:g} to {high:g}" for low, high in classes[:-1]] + last
    head = ["case", "method", *ranges]
    return _markdown(head, lines) if lines else ""
