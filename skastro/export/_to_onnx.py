# SPDX-License-Identifier: BSD-3-Clause
"""A fitted estimator or pipeline as one ONNX graph."""

import copy
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy import units
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skastro.estimators import (
    RedshiftRegressor,
    RejectingClassifier,
    VAETransformer,
)
from skastro.estimators._images import ImageInput
from skastro.estimators._spectra import SpectrumInput
from skastro.estimators.meta import Ensemble
from skastro.export import runtime as light_runtime
from skastro.export._graph import Chain, build_chain, passes_by
from skastro.export.runtime import OnnxModel, load_onnx
from skastro.preprocessing import RebinSpectra
from skastro.preprocessing._collect_spectra import SpectraBlock, collect_spectra
from skastro.utils import atomic_write, plain_array

# Rows that are compared, at most.
_MOST_ROWS = 1000
# The largest difference of probabilities, and of numbers in units of the largest one.
_TOLERANCE = 1e-4


def to_onnx(
    model: Any,
    path: str | os.PathLike,
    X: Any,
    *,
    method: str | None = None,
    runtime: bool = False,
) -> OnnxModel:
    """Write a fitted estimator or pipeline as one ONNX graph.

    The graph takes what the first step takes, flux or images, and gives what `method`
    returns. It holds the transformers, the normalization, the network, and what turns
    outputs into probabilities or numbers, in single precision, for batches of any size.
    :func:`load_onnx` runs it without PyTorch.

    Parameters
    ----------
    model : estimator
        A fitted estimator of skastro, one around such estimators
        (:class:`~skastro.EnsembleClassifier`, :class:`~skastro.EnsembleRegressor`,
        :class:`~skastro.RejectingClassifier`), or a pipeline that ends in one. The
        steps before may be the transformers of skastro, samplers, which predictions
        pass by, and ``StandardScaler``, ``MinMaxScaler`` and ``PCA`` of scikit-learn.
        It is not changed.
    path : str or path-like
        The file, such as ``"model.onnx"``. An older one is replaced when the new one is
        complete.
    X : array-like of shape (n_samples, ...)
        Real samples, in the shape and units of ``fit``; up to 1000 are used. The graph
        is held against `model` on them. It takes uint8 where these are uint8, else
        float32. For :class:`~skastro.RebinSpectra` as the first step also spectra with
        their wavelengths, all on one grid: the graph is for this grid.
    method : {"predict_proba", "predict", "transform", "inverse_transform", \
            "reconstruct"}, default=None
        What the graph computes. None: ``"predict_proba"`` of classifiers, ``"predict"``
        of regressors, with error bars where these have calibrated ones (not of
        ensembles), and ``"transform"`` of :class:`~skastro.VAETransformer`, which alone
        has the last two.
    runtime : bool, default=False
        Whether to write a Python module beside the graph, ``model_runtime.py`` for
        ``model.onnx``, whose function ``load_onnx`` runs it where skastro is not
        installed: it needs numpy and onnxruntime alone.

    Returns
    -------
    exported : OnnxModel
        The graph as :func:`load_onnx` loads it.

    Raises
    ------
    ImportError
        If onnx, onnxscript or onnxruntime are not installed.
    TypeError
        If a step or the estimator is of a class of which there is no graph.
    ValueError
        If the estimator computes something that a graph cannot hold, such as a fit of
        each sample (``refine=True``); if torch cannot export the module; or if the
        graph gives other results than `model`.
    NotFittedError
        If `model` is not fitted.
    FileNotFoundError
        If the folder of `path` does not exist.

    See Also
    --------
    load_onnx : Run the graph.

    Notes
    -----
    A graph raises no errors: NaN in a sample, where the pipeline refuses it, gives NaN.
    :class:`OnnxModel` raises an error, and checks shapes and data types as well.

    Results are compared with those of `model` at ``precision="float32"``: probabilities
    may differ by 1e-4, numbers by 1e-4 of the largest one. What they differ by is kept
    in the file.

    The metadata of the file tell the classes, the shape of a sample, wavelengths and
    units where they are known, and the version of skastro, in JSON.

    Examples
    --------
    >>> import tempfile
    >>> from skastro import MinMaxSpectra, SpectrumClassifier, make_pipeline
    >>> from skastro.datasets import make_spectra
    >>> from skastro.export import load_onnx, to_onnx
    >>> train = make_spectra(60, wavelength=range(3900, 9000, 50), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=2, verbose=0, random_state=0)
    >>> pipe = make_pipeline(MinMaxSpectra(), clf).fit(train.flux, train.target)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_onnx(pipe, f"{folder}/model.onnx", train.flux)
    ...     model = load_onnx(f"{folder}/model.onnx")
    >>> model.classes_.tolist()
    ['GALAXY', 'QSO', 'STAR']
    >>> bool((model.predict(train.flux) == pipe.predict(train.flux)).all())
    True
    """
    _check_installed()
    check_is_fitted(model)
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Cannot write {path}: there is no {path.parent}.")
    # On the CPU, in single precision.
    model = copy.deepcopy(model)
    X = X if isinstance(X, Mapping) else X[:_MOST_ROWS]
    block = _collect(model, X)
    chain, method = build_chain(model, method, block)
    expected = _expected(model, method, X, chain)
    dtype = np.uint8 if chain.takes_bytes and block.flux.dtype == np.uint8 else None
    samples = block.flux.astype(dtype or np.float32)
    content = _export(chain, samples)
    about = {
        "skastro_version": sys.modules["skastro"].__version__,
        "estimator": _class_names(model),
        "method": method,
        "sample_shape": samples.shape[1:],
        "dtype": str(samples.dtype),
        "takes_nan": chain.takes_nan,
        "gives_nan": chain.gives_nan,
        **_about_columns(model),
        **_about_grid(model, block),
        **_about_classes(model),
    }
    graph = OnnxModel(_with_metadata(content, about))
    # A module may treat a single sample in another way.
    parts = zip(graph.compute(samples[:1]), graph.compute(samples), strict=True)
    found = tuple(map(np.concatenate, parts))
    expected = tuple(np.concatenate([e[:1], e]) for e in map(np.asarray, expected))
    about["largest_difference"] = _compare(found, expected, chain.names)
    with atomic_write(path, "wb") as file:
        file.write(_with_metadata(content, about))
    if runtime:
        name = re.sub(r"\W", "_", path.stem)
        source = Path(light_runtime.__file__).read_text(encoding="utf-8")
        with atomic_write(path.with_name(f"{name}_runtime.py")) as file:
            file.write(source)
    return load_onnx(path)


def _about_columns(model: Any) -> dict[str, Any]:
    names = getattr(model, "feature_names_in_", None)
    return {} if names is None else {"feature_names": [str(name) for name in names]}


def _check_installed() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f"to_onnx needs {name}: pip install 'skastro[onnx]'"
            ) from error


def _class_names(model: Any) -> str:
    if not isinstance(model, Pipeline):
        return type(model).__name__
    return ", ".join(_class_names(step) for _, step in model.steps)


def _first_of(model: Any) -> Any:
    """Find the step that sees X first in a prediction."""
    if isinstance(model, Ensemble):
        return _first_of(model.estimators_[0])
    if isinstance(model, RejectingClassifier):
        return _first_of(model.estimator_)
    if isinstance(model, Pipeline):
        return _first_of(next(step for _, step in model.steps if not passes_by(step)))
    return model


def _last_of(model: Any) -> Any:
    """Find the network's estimator."""
    if isinstance(model, Ensemble):
        return _last_of(model.estimators_[0])
    if isinstance(model, RejectingClassifier):
        return _last_of(model.estimator_)
    return _last_of(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def _collect(model: Any, X: Any) -> SpectraBlock:
    """Return the samples as an array, with the wavelengths that X states."""
    first = _first_of(model)
    if not isinstance(first, RebinSpectra):
        return SpectraBlock(plain_array(X, any_unit=True))
    blocks, _, _ = collect_spectra(X, flux_unit=first.flux_unit_)
    if len(blocks) > 1:
        raise ValueError(
            f"X holds spectra on {len(blocks)} grids of wavelengths, media or "
            "resolutions, but a graph is for one: export a graph for each, with X of "
            "this one alone."
        )
    return blocks[0]._replace(flux=plain_array(blocks[0].flux, any_unit=True))


def _expected(model: Any, method: str, X: Any, chain: Chain) -> tuple[np.ndarray, ...]:
    """Compute what the graph should give."""
    if len(chain.names) > 1:
        return getattr(model, method)(X, return_std=True)
    return (np.asarray(getattr(model, method)(X)),)


def _export(chain: Chain, samples: np.ndarray) -> bytes:
    """Let torch write the graph."""
    from onnxscript import optimizer

    # Of a single sample torch would fix the number.
    example = torch.from_numpy(samples[np.arange(2) % len(samples)])
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                chain.eval(), (example,), dynamic_shapes=({0: batch},), strict=False
            )
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                # This would take numbers below 1e-8 for zero.
                optimize=False,
                input_names=["X"],
                output_names=list(chain.names),
            )
            optimizer.fold_constants(onnx_program.model)
            optimizer.remove_unused_nodes(onnx_program.model)
    except Exception as error:
        # The exporter's own errors are about its stages.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().split("\n")[0]
        raise ValueError(
            f"torch cannot export {chain.module_name}: {type(cause).__name__}: "
            f"{reason} A module can be exported whose forward neither depends on the "
            "values of its input nor on len(x): take x.shape[0]."
        ) from error
    return onnx_program.model_proto.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter reports of itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _with_metadata(content: bytes, about: dict[str, Any]) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(content)
    texts = {name: json.dumps(value) for name, value in about.items()}
    onnx.helper.set_model_props(proto, texts)
    return proto.SerializeToString()


def _about_grid(model: Any, block: SpectraBlock) -> dict[str, Any]:
    """Tell the wavelengths of the input, and the scale of images, where known."""
    first, last = _first_of(model), _last_of(model)
    about: dict[str, Any] = {}
    if isinstance(first, RebinSpectra):
        values, medium, unit = block.wavelength, block.medium, units.Angstrom
        if values is None:
            values, medium, _ = first._given
            unit = first.wavelength_unit_
        about = {"frame": first.frame_}
        about["flux_unit"] = None if first.flux_unit_ is None else str(first.flux_unit_)
        if unit is not None:
            about |= {"wavelength": values.tolist(), "wavelength_unit": str(unit)}
            about["medium"] = medium or first.medium_
    elif first is last and isinstance(last, SpectrumInput):
        if last.wavelength is not None:
            values = last._pixels().tolist()
            about = {"wavelength": values, "wavelength_unit": "Angstrom"}
            about["medium"] = "vacuum"
    elif first is last and isinstance(last, RedshiftRegressor):
        values = last.wavelength_.tolist()
        about = {"wavelength": values, "wavelength_unit": "Angstrom"}
        about["medium"] = "vacuum"
    if isinstance(last, ImageInput | VAETransformer):
        about["pixel_size"] = last.pixel_size_.tolist()
    return about


def _about_classes(model: Any) -> dict[str, Any]:
    """Tell the classes, and what is rejected."""
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    about: dict[str, Any] = {}
    if is_classifier(last):
        classes = last.classes_
        about["classes"] = classes.tolist()
        about["classes_dtype"] = classes.dtype.str
    if isinstance(last, RejectingClassifier) and last.threshold_ > -np.inf:
        label = np.asarray(last.reject_label_)
        about |= {"threshold": last.threshold_, "reject_label": label.item()}
    return about


def _compare(
    found: tuple[np.ndarray, ...], expected: Any, names: tuple[str, ...]
) -> float:
    """Refuse a graph that gives other results; return the largest difference."""
    largest = 0.0
    for name, here, there in zip(names, found, expected, strict=True):
        there = np.asarray(there)
        if here.shape != there.shape:
            raise ValueError(
                f"The graph gives {name} of shape {here.shape}, but the estimator "
                f"{there.shape}. No file is written."
            )
        both_nan = np.isnan(here) & np.isnan(there)
        difference = np.where(both_nan, 0, np.abs(here.astype(float) - there))
        if name != "probability":
            size = np.nanmax(np.abs(there), axis=0, initial=0)
            difference = difference / np.where(size > 0, size, 1)
        # NaN is larger than all that is permitted.
        largest = max(largest, float(difference.max()), key=np.nan_to_num)
        if not difference.max() <= _TOLERANCE:
            raise ValueError(
                f"The graph gives other numbers than the estimator: {name} differs by "
                f"up to {difference.max():.1e}, where {_TOLERANCE:g} is permitted, so "
                "that no file is written. Are the samples in X like those of fit? In "
                "single precision a small signal on a large offset is lost: take the "
                "offset away before."
            )
    return largest
