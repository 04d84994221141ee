# SPDX-License-Identifier: BSD-3-Clause
"""Catalogs: tables of objects with what a fitted estimator says of them."""

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.votable.exceptions import W03
from astropy.table import Column, Table
from sklearn.utils.validation import check_is_fitted

from skastro.utils import (
    atomic_write,
    fill_masks,
    gives_errors,
    knows_samples,
    prediction_steps,
)

# What astropy calls the formats, by the ends of files.
_FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
# As text, astropy writes behind the end of its memory if a row has 256, 512, 1024, ...
# characters: https://github.com/astropy/astropy/issues/20419.
_OPTIONS = {"votable": {"tabledata_format": "binary2"}}
# Units and words of the Virtual Observatory, https://www.ivoa.net/documents/UCD1+/, of
# columns that have neither.
_UNITS = {"ra": "deg", "dec": "deg"}
_UCDS = {
    "id": "meta.id;meta.main",
    "path": "meta.file",
    "ra": "pos.eq.ra;meta.main",
    "dec": "pos.eq.dec;meta.main",
    "z": "src.redshift",
    "redshift": "src.redshift",
    "class": "meta.code.class",
    "probability": "stat.probability",
    "unfamiliar": "meta.code.qual",
    "zwarning": "meta.code.qual",
}
_SAID_ALREADY = "survey_"
# What is left of a card of 80 characters behind its keyword, and between quotes.
_LONGEST_IN_FITS = 68


def to_catalog(
    estimator: Any,
    X: Any,
    out: str | os.PathLike | None = None,
    *,
    objects: Table | Mapping[str, Any] | None = None,
) -> Table:
    """Predict, and make a table of the results that other programs open.

    One row is one object. The columns are those of `objects`, and then

    - of a classifier ``class``, its ``probability``, and ``probability_<name>`` of each
      class;
    - of a regressor ``value``, or ``value_0``, ``value_1``, ... of several numbers, and
      ``value_error`` where it gives standard deviations; of votes
      ``<question>_<answer>``, where `criterion__questions` names them; of a
      :class:`~skastro.RedshiftRegressor` ``redshift``, ``redshift_error`` and
      ``zwarning``;
    - ``score_samples``, how alike an object is to the training set, and ``unfamiliar``
      where it is less so than any object of the validation, if the estimator knows.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier or regressor, a pipeline, or a search.
    X : array-like of shape (n_samples, ...)
        What the estimator predicts from.
    out : str or path-like, default=None
        File to write, which replaces one of that name when it is complete. Its end
        tells the format: ``.fits``, ``.vot`` or ``.xml`` (VOTable), ``.ecsv``,
        ``.csv``, ``.parquet`` (which needs pyarrow), ``.h5``. TOPCAT and astropy open
        all of them but the last, which astropy opens. CSV loses units and header.
    objects : Table, DataFrame or mapping of str to array-like, default=None
        What is known of the objects, such as ``id``, ``path``, ``ra`` and ``dec``: the
        table of :func:`~skastro.datasets.read_spectra`, for instance. Units are kept;
        ``ra`` and ``dec`` are degrees where no unit is given. A column that the catalog
        has itself, such as ``class``, becomes ``survey_class``. None numbers the rows
        in a column ``row``.

    Returns
    -------
    catalog : :class:`~astropy.table.Table`
        The table. Its ``meta`` names the estimator (``MODEL``), its network
        (``NETWORK``) and the version of skastro (``CREATOR``).

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it has no ``predict``.
    ValueError
        If the end of `out` is none of these, if `objects` has other rows than X, if
        two columns of it would have the same name, or if FITS is to hold text that is
        not ASCII.
    FileNotFoundError
        If the folder of `out` does not exist.
    ImportError
        If `out` ends in ``.parquet`` and pyarrow is not installed.

    See Also
    --------
    predict_stream : Predict what does not fit into memory.
    skastro.distributed.predict : Predict on a cluster.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> from skastro.streaming import to_catalog
    >>> spectra = make_spectra(60, random_state=0)
    >>> clf = SpectrumClassifier(max_epochs=1, verbose=0, random_state=0)
    >>> clf = clf.fit(spectra.flux, spectra.target)
    >>> objects = {"id": [f"J{n:04}" for n in range(3)], "ra": [0.1, 20.0, 359.9]}
    >>> catalog = to_catalog(clf, spectra.flux[:3], objects=objects)
    >>> catalog.colnames[:4], catalog["ra"].unit
    (['id', 'ra', 'class', 'probability'], Unit("deg"))
    """
    path = None if out is None else check_table_path(out)
    if not hasattr(estimator, "predict"):
        raise TypeError(
            f"{type(estimator).__name__} has no predict; give a classifier or a "
            "regressor, or a pipeline that ends in one."
        )
    check_is_fitted(estimator)
    # A mapping holds spectra, with their wavelengths, as RebinSpectra takes them.
    n_rows = len(X["flux"] if isinstance(X, Mapping) else X)
    said = _describe(objects, n_rows)
    if path is not None:
        is_fits = _FORMATS[path.suffix.lower()] == "fits"
        _check_texts(said, getattr(estimator, "classes_", ()), is_fits)
    *steps, last = prediction_steps(estimator)
    X = X if knows_samples(estimator) else fill_masks(X)
    for step in steps:
        X = step.transform(X)
    catalog = Table(meta=_origin(last))
    results = dict(_results(last, X))
    for name, column in said.items():
        column.name = f"{_SAID_ALREADY}{name}" if name in results else name
        if column.name in catalog.colnames:
            raise ValueError(
                f"The catalog would have two columns {column.name!r}: rename that of "
                "objects."
            )
        catalog.add_column(column)
    for name, values in results.items():
        catalog[name] = values
    for name in catalog.colnames:
        _annotate(catalog[name])
    if path is not None:
        write_table(catalog, path)
    return catalog


def check_table_path(out: str | os.PathLike) -> Path:
    """Refuse a file that cannot be written, before the work."""
    path = Path(out)
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"out={str(out)!r} ends in none of {', '.join(_FORMATS)}, which tell the "
            "format of a catalog."
        )
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            "A catalog in Parquet needs pyarrow: pip install pyarrow, or let out end "
            "in .fits."
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {path}: the folder {path.absolute().parent} does not exist."
        )
    return path


def _describe(objects: Any, n_rows: int) -> dict[str, Column]:
    """Copy the columns of the objects, one number or text a row each."""
    if objects is None:
        return {"row": Column(np.arange(n_rows))}
    if hasattr(objects, "to_numpy"):
        objects = Table.from_pandas(objects)
    table = (
        Table(objects) if isinstance(objects, Mapping) else Table(objects, copy=True)
    )
    if len(table) != n_rows:
        raise ValueError(f"objects has {len(table)} rows, but X has {n_rows}.")
    deep = [name for name in table.colnames if table[name].ndim > 1]
    if deep:
        raise ValueError(
            f"objects has columns with several numbers a row, {', '.join(deep)}: leave "
            "them out, since a catalog of them opens in few programs."
        )
    for name in table.colnames:
        if table[name].dtype.kind == "O":
            texts = ["" if value is None else str(value) for value in table[name]]
            table[name] = texts
    return {name: table[name] for name in table.colnames}


def _check_texts(said: Mapping[str, Column], classes: Any, is_fits: bool) -> None:
    """Refuse text that a file cannot hold, before the work."""
    classes = [*map(str, classes)]
    names = [*said, *(f"probability_{name}" for name in classes)]
    texts = {*said, *classes}
    for column in said.values():
        if column.dtype.kind == "U":
            texts.update(map(str, np.unique(column)))
    for text in sorted(texts):
        if {*text} & {"\n", "\r", "\0"}:
            raise ValueError(
                f"The catalog has {text!r}, of several lines, which other programs "
                "would not read: rename it."
            )
        if is_fits and not text.isascii():
            raise ValueError(
                f"FITS holds ASCII text only, but the catalog has {text!r}: let out "
                "end in .vot or .ecsv, for instance, or rename it."
            )
    for column in said.values() if is_fits else ():
        if column.unit is not None:
            try:
                column.unit.to_string("fits")
            except ValueError as error:
                raise ValueError(
                    f"FITS has no unit {column.unit}, which column {column.name!r} of "
                    "objects has: convert it."
                ) from error
    for name in names if is_fits else ():
        if len(name) > _LONGEST_IN_FITS or name != name.rstrip():
            raise ValueError(
                f"FITS takes names of columns up to {_LONGEST_IN_FITS} characters, "
                f"without blanks at the end, but the catalog has {name!r}: let out end "
                "in .vot or .ecsv, for instance, or rename it."
            )


def _origin(estimator: Any) -> dict[str, Any]:
    origin: dict[str, Any] = {
        "CREATOR": f"skastro {sys.modules['skastro'].__version__}",
        "MODEL": type(estimator).__name__,
    }
    if hasattr(estimator, "module_"):
        origin["NETWORK"] = type(estimator.module_).__name__
    return origin


def _results(estimator: Any, X: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield columns of what the estimator says."""
    if hasattr(estimator, "classes_"):
        yield from _classes(estimator, X)
    else:
        yield from _numbers(estimator, X)
    if hasattr(estimator, "score_samples"):
        score = np.asarray(estimator.score_samples(X))
        yield "score_samples", score
        threshold = getattr(estimator, "novelty_threshold_", None)
        if threshold is not None:
            yield "unfamiliar", score < threshold


def _classes(estimator: Any, X: Any) -> Iterator[tuple[str, np.ndarray]]:
    found = np.asarray(estimator.predict(X))
    yield "class", found if found.dtype.kind != "O" else found.astype(str)
    if hasattr(estimator, "predict_proba"):
        probability = np.asarray(estimator.predict_proba(X))
        yield "probability", probability.max(axis=1)
        for name, column in zip(estimator.classes_, probability.T, strict=True):
            yield f"probability_{name}", column


def _numbers(estimator: Any, X: Any) -> Iterator[tuple[str, np.ndarray]]:
    stem = "redshift" if hasattr(estimator, "zwarning") else "value"
    has_errors = gives_errors(estimator)
    found = (
        estimator.predict(X, return_std=True) if has_errors else estimator.predict(X)
    )
    parts = found if has_errors else (found,)
    for values, end in zip(parts, ("", "_error"), strict=False):
        columns = np.asarray(values)
        if columns.ndim == 1:
            yield f"{stem}{end}", columns
            continue
        names = getattr(estimator, "_answer_names", None)
        names = names or [f"{stem}_{number}" for number in range(columns.shape[1])]
        for name, column in zip(names, columns.T, strict=True):
            yield f"{name}{end}", column
    if hasattr(estimator, "zwarning"):
        yield "zwarning", np.asarray(estimator.zwarning(X))


def _annotate(column: Column) -> None:
    """Give a column its unit and its word, where it has none."""
    name = column.name
    if column.unit is None and name in _UNITS:
        column.unit = _UNITS[name]
    if "ucd" not in column.meta:
        if name.startswith("probability_"):
            column.meta["ucd"] = "stat.probability"
        elif name.endswith("_error"):
            column.meta["ucd"] = "stat.error"
        elif name in _UCDS:
            column.meta["ucd"] = _UCDS[name]


def write_table(catalog: Table, path: Path) -> None:
    """Write a table in the format of its ending, with units and words."""
    kind = _FORMATS[path.suffix.lower()]
    with atomic_write(path, "wb") as file:
        if kind == "fits":
            _to_fits(catalog).writeto(file.name, overwrite=True)
        elif kind == "hdf5":
            catalog.write(
                file.name,
                path="catalog",
                format=kind,
                serialize_meta=True,
                overwrite=True,
            )
        else:
            with warnings.catch_warnings():
                # Of VOTable: it makes identifiers of names, and keeps the names.
                warnings.simplefilter("ignore", W03)
                catalog.write(
                    file.name, format=kind, overwrite=True, **_OPTIONS.get(kind, {})
                )


def _to_fits(catalog: Table) -> fits.HDUList:
    """Make a table of FITS, whose header has the words of the columns too."""
    table = fits.table_to_hdu(catalog)
    table.name = "CATALOG"
    for number, name in enumerate(catalog.colnames, 1):
        if ucd := catalog[name].meta.get("ucd"):
            table.header[f"TUCD{number}"] = ucd
    return fits.HDUList([fits.PrimaryHDU(), table])
