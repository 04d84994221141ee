# SPDX-License-Identifier: BSD-3-Clause
"""Cards of models: what was fitted, to what, and how well, as Markdown."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skastro.base import BaseNet
from skastro.base._validation import package_versions

# Networks, classes and figures that a card lists at most.
_MOST_LISTED = 40
_USE = """\
For samples that were taken and prepared as those of the training. How it does on
others, such as other instruments, resolutions, magnitudes or classes, was not measured
here. `predict` gives an answer for every sample, whatever it shows."""


def model_card(
    model: BaseEstimator | str | os.PathLike, *, description: str | None = None
) -> str:
    """Describe a fitted model in Markdown: data, validation, settings, use.

    Parameters
    ----------
    model : estimator, str or path-like
        A fitted estimator or pipeline, or a file of :func:`save_model`, whose card is
        read without building the model.
    description : str, default=None
        What the model is for and where its limits are, in Markdown; it takes the place
        of a general text. Not for files, which have theirs.

    Returns
    -------
    card : str
        The card.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ValueError
        If the file is none of :func:`save_model`, or a description is given with it.

    Notes
    -----
    The sections follow [1]_ as far as an estimator knows them. The figures are those of
    the epoch whose weights were kept, on the validation samples, which chose this
    epoch: on other samples they will be lower.

    References
    ----------
    .. [1] Mitchell, M. et al. (2019). "Model cards for model reporting". FAT*.
           https://doi.org/10.1145/3287560.3287596

    Examples
    --------
    >>> from skastro import SpectrumClassifier, model_card
    >>> from skastro.datasets import make_spectra
    >>> spectra = make_spectra(60, random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=2, verbose=0)
    >>> print(model_card(clf.fit(spectra.flux, spectra.target)))
    # SpectrumClassifier
    ...
    """
    if isinstance(model, str | os.PathLike):
        from skastro.persistence._model_file import read_card

        if description is not None:
            raise ValueError("A file has its card; give no description with it.")
        return read_card(model)
    check_is_fitted(model)
    nets = list(_nets_in(model))
    settings = f"```python\n{model!r}\n```"
    versions = ", ".join(f"{k} {v}" for k, v in package_versions().items())
    parts = [f"# {type(model).__name__}", "## Use", description or _USE]
    for i, net in enumerate(nets[:_MOST_LISTED]):
        which = f" {i + 1} of {len(nets)}" if len(nets) > 1 else ""
        parts += [f"## Network{which}", *_describe(net)]
    parts += ["## Settings", settings, f"Written with {versions}."]
    return "\n\n".join(parts) + "\n"


def _nets_in(value: Any) -> Iterator[BaseNet]:
    """Find the fitted networks in a model."""
    if isinstance(value, BaseNet):
        if value.initialized_:
            yield value
    elif isinstance(value, BaseEstimator):
        for part in vars(value).values():
            yield from _nets_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _nets_in(part)


def _describe(net: BaseNet) -> Iterator[str]:
    n_weights = sum(weight.numel() for _, weight in net.get_all_learnable_params())
    names = f"`{type(net).__name__}`: `{type(net.module_).__name__}`"
    yield f"{names} with {n_weights} weights{_sizes(net)}."
    for record in vars(net).get("training_data_", [])[-_MOST_LISTED:]:
        yield from _describe_training(record, net.history)


def _sizes(net: BaseNet) -> str:
    shape = vars(net).get("sample_shape_")
    return "" if shape is None else f", for samples of shape {tuple(shape)}"


def _describe_training(record: dict[str, Any], history: Any) -> Iterator[str]:
    rows = {
        "samples": record.get("n_samples"),
        "of these in training": record.get("n_training"),
        "of these in validation": record.get("n_validation"),
        "types": ", ".join(record.get("dtypes", ())) or None,
        "epochs": len(history),
        "kept epoch": record.get("kept_epoch"),
        "SHA-256 of shape and targets": record.get("sha256"),
    }
    for i, (low, high) in enumerate(record.get("target_ranges", ())):
        rows[f"range of target {i + 1}"] = f"{low:.6g} to {high:.6g}"
    yield "### Training"
    yield _table({k: v for k, v in rows.items() if v is not None}, "", "")
    classes = dict(list(record.get("classes", {}).items())[:_MOST_LISTED])
    if classes:
        yield _table(classes, "class", "samples")
    epoch = record.get("kept_epoch") or 0
    figures = {
        name: f"{value:.4g}"
        for name, value in (
            history[epoch - 1] if 0 < epoch <= len(history) else {}
        ).items()
        if name.startswith("valid_") and isinstance(value, float | np.floating)
    }
    if figures:
        yield "### Validation"
        yield "On the validation samples, which chose the epoch:"
        yield _table(figures, "figure", "value")
    versions = ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items())
    yield f"Fitted with {versions}."


def _table(rows: dict[str, Any], left: str, right: str) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
