# SPDX-License-Identifier: BSD-3-Clause
"""Files of fitted models that run no code when they are opened."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from safetensors import SafetensorError
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skastro.base._net import check_device_exists
from skastro.base._validation import package_versions
from skastro.persistence._card import model_card
from skastro.persistence._objects import GivenError, Reader, Writer
from skastro.utils import atomic_write, read_archive, read_bytes, write_archive

_FORMAT, _VERSION = "skastro model", 1
_CONTENT, _CARD = "model.json", "card.md"


def save_model(
    model: BaseEstimator, path: str | os.PathLike, *, description: str | None = None
) -> None:
    """Save a fitted pipeline or estimator to a file that holds no code.

    The file is a zip archive of JSON, weights in safetensors and a card
    (:func:`model_card`). It holds everything that predictions need: parameters,
    weights, classes, wavelengths, constants of the preprocessing, the temperature; and
    the history. :func:`load_model` opens it. Steps of scikit-learn are written by
    skops.

    Parameters
    ----------
    model : estimator
        A fitted estimator of skastro, or a pipeline, search or other meta-estimator of
        scikit-learn, imbalanced-learn or skastro, whose parts are of these packages or
        of your own.
    path : str or path-like
        The file, by convention with the suffix ``.skastro``. It gets its name when it
        is complete and has been read back; until then an older file stays.
    description : str, default=None
        What the model is for and where its limits are, in Markdown, for the card.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If a part cannot be written, such as a lambda. The message names it.

    See Also
    --------
    load_model : Open the file.
    model_card : The card alone.

    Notes
    -----
    The state of the optimizer is not written: ``partial_fit`` of a loaded model goes on
    with a new one. Nor are ``compile`` and ``torch_load_kwargs``, which are about a
    machine. A pickle keeps all of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skastro import MinMaxSpectra, SpectrumClassifier
    >>> from skastro import load_model, make_pipeline, save_model
    >>> from skastro.datasets import make_spectra
    >>> spectra = make_spectra(60, random_state=0)
    >>> pipe = make_pipeline(
    ...     MinMaxSpectra(), SpectrumClassifier("mlp", max_epochs=2, verbose=0)
    ... ).fit(spectra.flux, spectra.target)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(pipe, Path(folder) / "stars.skastro")
    ...     same = load_model(Path(folder) / "stars.skastro")
    >>> bool((same.predict(spectra.flux) == pipe.predict(spectra.flux)).all())
    True
    """
    if not isinstance(description, str | None):
        raise TypeError(f"description must be text, got {description!r}.")
    if not isinstance(model, BaseEstimator) or isinstance(model, type):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise TypeError(
            f"save_model takes a fitted estimator or pipeline, but got {kind}."
        )
    check_is_fitted(model)
    writer = Writer()
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "model": writer.write(model, type(model).__name__),
    }
    members = {
        _CONTENT: json.dumps(content | {"needs": sorted(writer.given)}).encode(),
        _CARD: model_card(model, description=description).encode(),
        **writer.members,
    }
    # What cannot be opened shows now, and not when the model is needed.
    Reader(writer.members, writer.given, "cpu").read(content["model"])
    with atomic_write(path, "wb") as file:
        file.write(write_archive(members))


def load_model(
    path: str | os.PathLike,
    module: type | Callable | Sequence[Any] | None = None,
    *,
    device: str | torch.device | None = None,
) -> Any:
    """Open a file that :func:`~skastro.save_model` wrote.

    No code runs, whatever the file holds: it names classes by their public names in
    skastro, scikit-learn and the packages beneath, and gives plain values for what they
    have learned.

    Parameters
    ----------
    path : str or path-like
        The file.
    module : class, function, torch.nn.Module instance or sequence of them, default=None
        Networks, steps and functions of your own that the model was built with. The
        file only holds their names; the message of the error tells which are missing.
        For a network that was an instance give an instance alike, whose weights
        are replaced.
    device : str, torch.device or None, default=None
        Where the networks are to compute, in place of their parameter ``device``, for
        instance ``"cpu"`` for a model that was trained with ``device="cuda"``.

    Returns
    -------
    model : estimator
        The fitted model. On the same machine it predicts the same numbers, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, holds what :func:`save_model` never writes, was written by a
        later version, or needs a class that was not given.

    See Also
    --------
    save_model : Write the file.

    Notes
    -----
    A model tells what it wants to tell: a file of a stranger runs no code, but its
    predictions may be wrong on purpose. Compiled routines of scikit-learn, such as
    support vectors and neighbors, trust their learned arrays; trees are checked.

    Examples
    --------
    See :func:`save_model`.
    """
    given = _by_name(module)
    if device is not None:
        check_device_exists(device)
    members = _read_members(path)
    try:
        content = json.loads(members[_CONTENT])
        if content["format"] != _FORMAT:
            raise ValueError(f"it is a file of {content['format']!r}")
        if content["version"] > _VERSION:
            raise GivenError(
                f"it was written by skastro {content['versions'].get('skastro')}, "
                "which is newer than this one; update skastro"
            )
        model = Reader(members, given, device).read(content["model"])
        if not isinstance(model, BaseEstimator):
            raise ValueError(f"it holds a {type(model).__name__}")
        return model
    except GivenError as error:
        raise ValueError(f"{path} cannot be opened: {error}.") from None
    # Content that is damaged, or made up, leads to any of these.
    except (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
        *(RuntimeError, MemoryError, EOFError, ImportError, OSError, AssertionError),
        SafetensorError,
    ) as error:
        raise ValueError(
            f"{path} is damaged, or was not written by save_model: "
            f"{str(error) or type(error).__name__}"
        ) from error


def read_card(path: str | os.PathLike) -> str:
    """Read the card of a file, and nothing else of it."""
    return _read_members(path)[_CARD].decode()


def _read_members(path: str | os.PathLike) -> dict[str, bytes]:
    try:
        members = read_archive(read_bytes(path).getvalue())
        if not {_CONTENT, _CARD} <= set(members):
            raise ValueError(f"it has no member {_CONTENT!r} or {_CARD!r}")
    except ValueError as error:
        raise ValueError(
            f"{path} is no file of save_model: {error}. Pickles are opened by joblib "
            "or pickle, and files of weights by load_params."
        ) from None
    return members


def _by_name(module: Any) -> dict[str, Any]:
    """Give classes, functions and instances of a user's own by the names in files."""
    if module is None:
        return {}
    items = list(module) if isinstance(module, list | tuple | set) else [module]
    given: dict[str, Any] = {}
    for item in items:
        is_instance = isinstance(item, torch.nn.Module)
        name = getattr(type(item) if is_instance else item, "__qualname__", None)
        if name is None:
            raise TypeError(
                f"module is {item!r}, but must be a class, a function, an instance of "
                "torch.nn.Module, or a list of these."
            )
        if given.setdefault(name, item) is not item:
            raise ValueError(f"module has two values with the name {name!r}.")
    return given
