# SPDX-License-Identifier: BSD-3-Clause
"""Votes of Galaxy Zoo: columns of its tables as counts, question by question."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import Bunch

from skastro.datasets.images._labels import read_table
from skastro.utils import check_option, name_rows, plain_array, suggest_name

# What a column holds, the most direct first, by the end of its name.
_KINDS = ("count", "fraction", "weighted_fraction", "debiased")
_ALIASES = {"count_fraction": "fraction", "weight_fraction": "weighted_fraction"}
# Decimals of fractions may round up.
_HIGHEST_FRACTION = 1.001
# By how much fractions, and counts, of all answers may miss their total by rounding.
_TOLERANCE, _FEW_VOTES = 0.03, 0.5
# Of these only rounding changes the sum.
_SUM_TO_ONE = ("fraction", "weighted_fraction")

# Answers that lead to a question; of others each leads to the same, or to none. A
# question without any is asked of everyone.
_Tree = Mapping[str, tuple[tuple[str, str], ...]]
_GZ2_TREE: _Tree = {
    "t01": (),
    "t02": (("t01", "a02"),),
    "t03": (("t02", "a05"),),
    "t04": (("t02", "a05"),),
    "t05": (("t02", "a05"),),
    "t06": (("t01", "a01"), ("t01", "a02")),
    "t07": (("t01", "a01"),),
    "t08": (("t06", "a14"),),
    "t09": (("t02", "a04"),),
    "t10": (("t04", "a08"),),
    "t11": (("t04", "a08"),),
}
_SMOOTH, _FEATURED = (
    ("smooth-or-featured", answer) for answer in ("smooth", "featured-or-disk")
)
_EDGE_ON, _FACE_ON = (("disk-edge-on", answer) for answer in ("yes", "no"))
_SPIRAL = ("has-spiral-arms", "yes")
_DECALS_TREE: _Tree = {
    "smooth-or-featured": (),
    "disk-edge-on": (_FEATURED,),
    "has-spiral-arms": (_FACE_ON,),
    "bar": (_FACE_ON,),
    "bulge-size": (_FACE_ON,),
    "how-rounded": (_SMOOTH,),
    "edge-on-bulge": (_EDGE_ON,),
    "bulge-shape": (_EDGE_ON,),
    "spiral-winding": (_SPIRAL,),
    "spiral-arm-count": (_SPIRAL,),
    "merging": (_SMOOTH, _FEATURED),
    "something-odd": (_SMOOTH, _FEATURED),
}


# Of all campaigns; other columns may begin like a question.
_DECALS_ANSWERS = (
    *("smooth", "featured-or-disk", "features", "artifact", "problem", "yes", "no"),
    *("strong", "weak", "tight", "medium", "loose", "1", "2", "3", "4", "more-than-4"),
    *("cant-tell", "dominant", "large", "moderate", "obvious", "just-noticeable"),
    *("small", "none", "boxy", "rounded", "no-bulge", "round", "in-between"),
    *("cigar-shaped", "cigar", "completely", "merger", "major-disturbance"),
    *("minor-disturbance", "neither", "tidal-debris", "both"),
)


class _Names(NamedTuple):
    """How a survey names columns; what comes first in a name is in the tree."""

    tree: _Tree
    answer: re.Pattern
    total: re.Pattern

    def key(self, question: str) -> tuple[str, str]:
        """Give a question's name in the tree, and that of its campaign."""
        if self.tree is _GZ2_TREE:
            return question[:3], ""
        name = next(name for name in _LONGEST_FIRST if question.startswith(name))
        return name, question.removeprefix(name)


_LONGEST_FIRST = sorted(_DECALS_TREE, key=len, reverse=True)
_QUESTION = rf"(?P<question>(?:{'|'.join(_LONGEST_FIRST)})(?:-[a-z0-9]+)?)"
_SURVEYS = {
    "gz2": _Names(
        _GZ2_TREE,
        re.compile(
            r"(?P<question>t(?:0[1-9]|1[01])_[a-z_]+?)_(?P<answer>a\d\d_[a-z0-9_]+?)_"
            rf"(?P<kind>{'|'.join([*_KINDS, *_ALIASES])})"
        ),
        re.compile(r"(?P<question>t(?:0[1-9]|1[01])_[a-z_]+?)_total_(?:count|votes)"),
    ),
    "decals": _Names(
        _DECALS_TREE,
        re.compile(
            rf"{_QUESTION}_(?P<answer>{'|'.join(_DECALS_ANSWERS)})"
            "(?:_(?P<kind>fraction|debiased))?"
        ),
        re.compile(_QUESTION + "_total-votes"),
    ),
}
# Questions of surveys with another tree.
_OTHER_TREES = re.compile(r"clumpy-appearance.*|t1[2-9]_.*|t00_.*")


def read_votes(
    table: Any,
    survey: str = "auto",
    *,
    kind: str = "auto",
    n_votes: Any = None,
    questions: Iterable[str] | None = None,
) -> Bunch:
    """Read the votes in a table of Galaxy Zoo.

    Columns are found by their names, those of other kinds are left alone:

    - Galaxy Zoo 2 [1]_, [2]_: ``t01_smooth_or_features_a01_smooth_count``, and
      ``..._fraction``, ``..._weighted_fraction`` or ``..._debiased``;
    - Galaxy Zoo DECaLS [3]_ and DESI: ``smooth-or-featured_smooth``, which is a count,
      ``..._fraction``, ``..._debiased`` and ``smooth-or-featured_total-votes``; also
      with the name of a campaign, as ``smooth-or-featured-dr5_smooth``.

    A table of fractions alone does not tell how many votes these are of. `n_votes` says
    it for the first question; each other question is then taken to be answered by all
    who gave an answer that leads to it. Fractions share out the votes on the question:
    counts are whole, by the largest remainders, and sum to this number.

    Parameters
    ----------
    table : path-like, Table, DataFrame or mapping of str to array-like
        The table, or a file that :meth:`astropy.table.Table.read` reads. For images of
        :func:`read_images` it is the ``table`` of these, which has their order.
    survey : {"auto", "gz2", "decals"}, default="auto"
        Whose names the columns have; "decals" stands for DESI as well.
    kind : {"auto", "count", "fraction", "weighted_fraction", "debiased"}, \
            default="auto"
        What the counts are made of. ``"auto"``: the first of these that all answers to
        a question have. Fractions share out the votes that were cast, also where they
        are ``"debiased"``, corrected for what distance hides, which need not sum to
        one: they are divided by their sum.
    n_votes : int, array-like of shape (n_galaxies,) or str, default=None
        Number of votes on the first question where the table has fractions alone; a str
        names a column, such as ``"total_classifications"``.
    questions : iterable of str, default=None
        Names of the questions to read. None: all that the table has.

    Returns
    -------
    votes : :class:`~sklearn.utils.Bunch`
        ``counts`` : ndarray of shape (n_galaxies, n_answers), float64
            Number of votes for each answer; NaN for all answers to a question where the
            table does not tell one of them.
        ``fractions`` : ndarray of shape (n_galaxies, n_answers)
            Counts over the number of votes; NaN where there are none.
        ``n_votes`` : ndarray of shape (n_galaxies, n_questions)
            Number of votes on each question; NaN where it is not known.
        ``questions`` : dict of str to tuple of str
            The answers to each question, in the order of the columns.
        ``asked_after`` : dict of str to tuple of (str, str)
            Questions and their answers that lead to each question; empty where it is
            asked of all.
        ``survey`` : str
            ``"gz2"`` or ``"decals"``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there are no such columns, if the number of votes is not known, if numbers
        are out of their range, or if an answer has no column: a question has but one
        answer, its fractions do not sum to one, or its counts not to their total.

    See Also
    --------
    skastro.GalaxyRegressor : Predicts votes.

    References
    ----------
    .. [1] Willett, K. W. et al. (2013). "Galaxy Zoo 2". MNRAS 435, 2835.
           https://doi.org/10.1093/mnras/stt1458
    .. [2] Hart, R. E. et al. (2016). "Galaxy Zoo: comparing the demographics of spiral
           arm number and a new method for correcting redshift bias". MNRAS 461, 3663.
           https://doi.org/10.1093/mnras/stw1588
    .. [3] Walmsley, M. et al. (2022). "Galaxy Zoo DECaLS". MNRAS 509, 3966.
           https://doi.org/10.1093/mnras/stab2093

    Examples
    --------
    >>> from skastro.datasets import read_votes
    >>> table = {
    ...     "smooth-or-featured_smooth": [4, 30],
    ...     "smooth-or-featured_featured-or-disk": [36, 8],
    ...     "smooth-or-featured_artifact": [0, 2],
    ...     "disk-edge-on_yes": [9, 0],
    ...     "disk-edge-on_no": [27, 8],
    ... }
    >>> votes = read_votes(table)
    >>> votes.questions["disk-edge-on"], votes.asked_after["disk-edge-on"]
    (('yes', 'no'), (('smooth-or-featured', 'featured-or-disk'),))
    >>> votes.n_votes.astype(int).tolist()
    [[40, 36], [40, 8]]
    >>> fractions = {
    ...     "smooth-or-featured_smooth_fraction": [0.1, 0.75],
    ...     "smooth-or-featured_featured-or-disk_fraction": [0.9, 0.25],
    ... }
    >>> read_votes(fractions, n_votes=40).counts.astype(int).tolist()
    [[4, 36], [30, 10]]
    """
    check_option(kind, "kind", ("auto", *_KINDS))
    if isinstance(table, str | os.PathLike):
        table = read_table(os.fsdecode(table))
    columns = _column_names(table)
    found = _Columns(table, columns, _find_survey(survey, columns), kind, n_votes)
    names = list(found.answers)
    if questions is not None:
        questions = [questions] if isinstance(questions, str) else list(questions)
        for name in questions:
            if name not in names:
                raise ValueError(
                    f"The table has no question {name!r}. {suggest_name(name, names)}"
                )
        names = [name for name in names if name in questions]
    counts = [found.counts(name) for name in names]
    if n_votes is not None and not found.used_n_votes:
        raise ValueError(
            "The table tells how many votes there are on each question; leave n_votes "
            "out."
        )
    totals = np.column_stack([part.sum(axis=1) for part in counts])
    fractions = []
    for part, total in zip(counts, totals.T, strict=True):
        voted = total[:, None] > 0
        unknown = np.full(part.shape, np.nan)
        fractions.append(np.divide(part, total[:, None], out=unknown, where=voted))
    return Bunch(
        counts=np.hstack(counts),
        fractions=np.hstack(fractions),
        n_votes=totals,
        questions={name: tuple(found.answers[name]) for name in names},
        asked_after={name: found.asked_after(name) for name in names},
        survey=found.survey,
    )


def _column_names(table: Any) -> list[str]:
    for attribute in ("colnames", "columns"):
        if (names := getattr(table, attribute, None)) is not None:
            return [str(name) for name in names]
    if not isinstance(table, Mapping):
        raise TypeError(
            "table must be a file, a Table of astropy, a DataFrame or a dict of "
            f"columns; got {type(table).__name__}."
        )
    return list(table)


def _find_survey(survey: str, columns: list[str]) -> str:
    check_option(survey, "survey", ("auto", *_SURVEYS))
    other = [name for name in columns if _OTHER_TREES.fullmatch(name)]
    if other:
        raise ValueError(
            f"The column {other[0]!r} is that of a survey whose questions depend on "
            "each other in another way: rename the columns of counts that you need as "
            "those of DECaLS, such as 'smooth-or-featured_smooth', and leave out the "
            "others."
        )
    fitting = [
        name
        for name, names in _SURVEYS.items()
        if survey in ("auto", name) and any(map(names.answer.fullmatch, columns))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(
            f"The table has columns of {' and '.join(fitting)}: choose by survey=."
        )
    raise ValueError(
        "The table has no columns of votes with names such as "
        "'t01_smooth_or_features_a01_smooth_fraction' or 'smooth-or-featured_smooth'; "
        f"its columns are {', '.join(columns[:10])}{', ...' * (len(columns) > 10)}."
    )


class _Columns:
    """The columns of votes of a table, and what they tell together."""

    def __init__(
        self, table: Any, columns: list[str], survey: str, kind: str, n_votes: Any
    ) -> None:
        self.table = table
        self.survey = survey
        self.names = _SURVEYS[survey]
        self.kind = kind
        self.n_votes = n_votes
        self.used_n_votes = False
        # By question and answer the names of columns by their kind.
        self.answers: dict[str, dict[str, dict[str, str]]] = {}
        self.totals: dict[str, str] = {}
        for column in columns:
            if match := self.names.total.fullmatch(column):
                self.totals[match["question"]] = column
            elif match := self.names.answer.fullmatch(column):
                found = _ALIASES.get(match["kind"], match["kind"]) or "count"
                answers = self.answers.setdefault(match["question"], {})
                answers.setdefault(match["answer"], {})[found] = column
        self._cast: dict[str, np.ndarray] = {}

    def asked_after(self, question: str) -> tuple[tuple[str, str], ...]:
        """Name the answers, as the table does, that lead to a question."""
        key, campaign = self.names.key(question)
        if self.survey == "decals":
            return tuple((q + campaign, answer) for q, answer in self.names.tree[key])
        return tuple(
            (self._begins(self.answers, q), self._begins(self._answers_of(q), answer))
            for q, answer in self.names.tree[key]
        )

    @staticmethod
    def _begins(names: Iterable[str], beginning: str) -> str:
        return next((name for name in names if name.startswith(beginning)), beginning)

    def _answers_of(self, question: str) -> Iterable[str]:
        return self.answers.get(self._begins(self.answers, question), ())

    def counts(self, question: str) -> np.ndarray:
        """Give the counts of a question, of the kind that was asked for."""
        self._check_answers(question)
        cast = self.cast(question)
        if self._best(question) == "count" and question in self.totals:
            self._check_total(question, cast)
        if self.kind == "auto" or self.kind == self._best(question):
            return cast
        shares = self._matrix(question, self.kind)
        if self.kind == "count":
            return shares
        return _share_out(cast.sum(axis=1), shares)

    def cast(self, question: str) -> np.ndarray:
        """Give the votes that were cast on a question."""
        if question not in self._cast:
            best = self._best(question)
            values = self._matrix(question, best)
            if best != "count":
                self._check_answers(question)
                values = _share_out(self._total(question), values)
            self._cast[question] = values
        return self._cast[question]

    def _best(self, question: str) -> str:
        """Choose the most direct kind of columns that all answers have."""
        answers = self.answers[question].values()
        for kind in _KINDS:
            if all(kind in columns for columns in answers):
                return kind
        raise ValueError(
            f"The question {question!r} has no kind of columns for all its answers, "
            f"{list(self.answers[question])}. Leave it out, by questions=."
        )

    def _check_answers(self, question: str) -> None:
        if len(self.answers[question]) < 2:
            raise ValueError(
                f"The table has columns of one answer to {question!r} alone, "
                f"{list(self.answers[question])}: add those of the others, or leave "
                "the question out, by questions=."
            )

    def _check_total(self, question: str, counts: np.ndarray) -> None:
        total = self._column(self.totals[question])
        off = np.abs(counts.sum(axis=1) - total) > _FEW_VOTES + _TOLERANCE * total
        if off.any():
            row = off.argmax()
            raise ValueError(
                f"The counts of the answers {list(self.answers[question])} to "
                f"{question!r} sum to {counts[row].sum():g} in row {row}, but "
                f"{self.totals[question]!r} is {total[row]:g}; likewise in "
                f"{off.sum()} rows. Add the columns of answers that the table lacks, "
                "or leave the question or the column of totals out."
            )

    def _matrix(self, question: str, kind: str) -> np.ndarray:
        answers = self.answers[question]
        missing = [a for a, columns in answers.items() if kind not in columns]
        if missing:
            raise ValueError(
                f"The table has no {kind} of the answers {missing} to {question!r}: "
                "choose another kind, or leave the question out, by questions=."
            )
        names = [columns[kind] for columns in answers.values()]
        values = np.column_stack([self._column(name) for name in names])
        values[np.isnan(values).any(axis=1) & (kind == "count")] = np.nan
        high = np.inf if kind == "count" else _HIGHEST_FRACTION
        for name, column in zip(names, values.T, strict=True):
            bad = np.flatnonzero((column < 0) | (column > high) | np.isinf(column))
            if bad.size:
                limits = "from 0 on" if kind == "count" else "from 0 to 1"
                raise ValueError(
                    f"The column {name!r} has numbers such as {column[bad[0]]:g}, in "
                    f"rows {name_rows(bad)}, but must be {limits}. Replace what stands "
                    "for missing values by NaN."
                )
        total = values.sum(axis=1)
        off = (total > 0) & (np.abs(total - 1) > _TOLERANCE)
        if kind in _SUM_TO_ONE and off.any():
            raise ValueError(
                f"The fractions of the answers {list(answers)} to {question!r} sum to "
                f"{total[off.argmax()]:.3g} in row {off.argmax()}, and not to 1 in "
                f"{off.sum()} rows. Add the columns of answers that the table lacks, "
                "such as one of what is left of 1, or leave the question out, by "
                "questions=."
            )
        return values

    def _column(self, name: str) -> np.ndarray:
        return plain_array(self.table[name], name).astype(np.float64)

    def _total(self, question: str) -> np.ndarray:
        """Find how many votes there are on a question of which fractions are known."""
        if question in self.totals:
            return self._column(self.totals[question])
        parents = self.asked_after(question)
        if not parents:
            return self._given_total(question)
        total: Any = 0.0
        for parent, answer in parents:
            if answer not in self.answers.get(parent, ()):
                raise ValueError(
                    f"How many votes there are on {question!r} depends on the answer "
                    f"{answer!r} to {parent!r}, of which the table has no column. "
                    "Leave the question out, by questions=."
                )
            total = (
                total + self.cast(parent)[:, list(self.answers[parent]).index(answer)]
            )
        return total

    def _given_total(self, question: str) -> np.ndarray:
        if self.n_votes is None:
            raise ValueError(
                f"The table has fractions of votes on {question!r}, but not how many "
                "votes these are of. Say how many there are on the first question: "
                "n_votes=40, an array, or the name of a column."
            )
        self.used_n_votes = True
        is_name = isinstance(self.n_votes, str)
        if is_name and self.n_votes not in _column_names(self.table):
            raise ValueError(f"n_votes names {self.n_votes!r}, which is no column.")
        given = self.table[self.n_votes] if is_name else self.n_votes
        n = plain_array(given, "n_votes").astype(np.float64)
        n_rows = len(self._matrix(question, self._best(question)))
        if n.shape not in ((), (n_rows,)):
            raise ValueError(
                f"n_votes has shape {n.shape} for {n_rows} galaxies; give one number, "
                "or one for each."
            )
        if (n < 0).any() or np.isinf(n).any():
            raise ValueError("n_votes must be numbers from 0 on; some are not.")
        return np.broadcast_to(n, n_rows)


def _share_out(total: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Share out whole votes, by the largest remainders; none where all shares are 0.

    >>> _share_out(np.array([5, 40]), np.array([[0.5, 0.5], [0.8, 0.9]]))
    array([[ 3.,  2.],
           [19., 21.]])
    """
    n, whole = np.rint(total)[:, None], shares.sum(axis=1, keepdims=True)
    parts = n * np.divide(shares, whole, out=np.zeros_like(shares), where=whole != 0)
    counts = np.floor(parts)
    rank = np.argsort(np.argsort(counts - parts, axis=1, kind="stable"), axis=1)
    counts += (rank < n - counts.sum(axis=1, keepdims=True)) & (whole > 0)
    counts[np.isnan(counts).any(axis=1)] = np.nan
    counts[total == 0] = 0
    return counts
