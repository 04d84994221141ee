# SPDX-License-Identifier: BSD-3-Clause
"""Run what ``skastro.export.to_onnx`` has written, with numpy and onnxruntime alone.

This file needs nothing else of skastro: a copy beside a graph makes predictions on a
machine where neither skastro nor PyTorch is installed. ``engine="openvino"`` needs onnx
and openvino, too.
"""

import json
import os
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import numpy as np

# Numbers in a batch: a batch of spectra of 4000 pixels has 64 rows.
_BATCH_NUMBERS = 2**18
_MOST_ROWS_NAMED = 10
# Runs a batch; gives an array for each output.
Run = Callable[[np.ndarray], list[np.ndarray]]
# And their names in OpenVINO.
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class _Offered:
    """A method that is there only if the graph computes it."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods

    def __call__(self, function: Callable) -> "_Offered":
        self.function = function
        self.__doc__ = function.__doc__
        return self

    def __get__(self, model: Any, owner: type) -> Any:
        if model is None:
            return self.function
        if model.metadata["method"] not in self.methods:
            raise AttributeError(
                f"This graph has no {self.function.__name__}: it computes "
                f"{model.metadata['method']} of {model.metadata['estimator']}."
            )
        return MethodType(self.function, model)


class OnnxModel:
    """A graph that :func:`~skastro.export.to_onnx` has written.

    It has the method that was exported: ``predict_proba`` and ``predict`` of
    classifiers, ``predict`` of regressors, ``transform``, ``inverse_transform`` or
    ``reconstruct`` of autoencoders.

    Parameters
    ----------
    path : str, path-like or bytes
        The file, or its content.
    engine : {"onnxruntime", "openvino"}, default="onnxruntime"
        What runs the graph. ``"openvino"`` runs the network, from its first convolution
        on, with OpenVINO, and what comes before with onnxruntime.
    precision : {"float32", "bfloat16"}, default="float32"
        What the network is computed in; ``"bfloat16"`` with ``engine="openvino"`` only.
        It is faster on processors with instructions for this format, which has three
        digits; others compute in single precision. What comes before the first
        convolution is computed in single precision in any case.
    threads : int, default=None
        Threads that compute one batch. None: as many as the engine takes.
    batch_size : int, default=None
        Samples that are computed at once, which bounds the memory. None: about as many
        as make 262144 numbers.

    Attributes
    ----------
    metadata : dict
        What the file tells: ``estimator``, ``method``, ``sample_shape``, ``dtype`` and
        ``skastro_version``; ``classes``; ``wavelength``, ``wavelength_unit`` and
        ``medium`` where they are known; and ``largest_difference``, by which results
        differed from the estimator's when it was exported.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, the columns of ``predict_proba``; of classifiers.

    Raises
    ------
    ImportError
        If the engine is not installed.
    ValueError
        If the file is no such graph, or an argument is wrong.

    See Also
    --------
    skastro.export.to_onnx : Write the file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skastro import SpectrumRegressor
    >>> from skastro.export import OnnxModel, to_onnx
    >>> X = np.random.default_rng(0).normal(size=(40, 120))
    >>> y = X[:, :9].mean(axis=1)
    >>> reg = SpectrumRegressor("mlp", max_epochs=2, verbose=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_onnx(reg, f"{folder}/model.onnx", X)
    ...     model = OnnxModel(f"{folder}/model.onnx", threads=1)
    >>> model.metadata["sample_shape"]
    [120]
    >>> model.predict(X).shape
    (40,)
    """

    def __init__(
        self,
        path: str | os.PathLike | bytes,
        *,
        engine: str = "onnxruntime",
        precision: str = "float32",
        threads: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        if engine not in _ENGINES:
            raise ValueError(f"engine must be one of {[*_ENGINES]}, got {engine!r}.")
        if precision not in _PRECISIONS:
            raise ValueError(
                f"precision must be one of {[*_PRECISIONS]}, got {precision!r}."
            )
        if precision != "float32" and engine != "openvino":
            raise ValueError(
                f"engine={engine!r} computes in float32 alone: precision={precision!r} "
                "needs engine='openvino'."
            )
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a positive int, got {value!r}.")
        what = "The content"
        if not isinstance(path, bytes):
            what = os.fspath(path)
            with open(path, "rb") as file:
                path = file.read()
        self._run, texts = _ENGINES[engine](path, precision, threads, what)
        if "skastro_version" not in texts:
            raise ValueError(f"{what} was not written by skastro.export.to_onnx.")
        self.metadata = {name: json.loads(text) for name, text in texts.items()}
        self._batch_size = batch_size

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes."""
        if "classes" not in self.metadata:
            raise AttributeError("This graph is of no classifier, and has no classes_.")
        return np.array(
            self.metadata["classes"], dtype=np.dtype(self.metadata["classes_dtype"])
        )

    @_Offered("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples in the shape and units that they had in ``fit``.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes), float32
            One column a class, in the order of `classes_`.
        """
        return self.compute(X)[0]

    @_Offered("predict", "predict_proba")
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict classes or numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples in the shape and units that they had in ``fit``.
        return_std : bool, default=False
            Return error bars, too, of regressors that have them.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The most probable classes, or the numbers.
        std : ndarray of the shape of y
            Standard deviations; only with `return_std`.
        """
        outputs = self.compute(X)
        if self.metadata["method"] == "predict_proba":
            if return_std:
                raise ValueError("Classifiers have no error bars: return_std=False.")
            return self._labels(outputs[0])
        if not return_std:
            return outputs[0]
        if len(outputs) < 2:
            raise ValueError("This graph gives no error bars: return_std=False.")
        return outputs[0], outputs[1]

    def _labels(self, probability: np.ndarray) -> np.ndarray:
        labels = self.classes_[probability.argmax(axis=1)]
        if "threshold" not in self.metadata:
            return labels
        rejected = np.array(self.metadata["reject_label"])
        labels = labels.astype(np.result_type(labels, np.min_scalar_type(rejected)))
        labels[probability.max(axis=1) < self.metadata["threshold"]] = rejected
        return labels

    @_Offered("transform")
    def transform(self, X: Any) -> np.ndarray:
        """Find the points of samples in the latent space.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples in the shape and units that they had in ``fit``.

        Returns
        -------
        Z : ndarray of shape (n_samples, latent_dim), float32
            Means of the posteriors.
        """
        return self.compute(X)[0]

    @_Offered("inverse_transform")
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Decode points of the latent space.

        Parameters
        ----------
        Z : array-like of shape (n_samples, latent_dim)
            The points.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), float32
            Samples in the units of ``fit``.
        """
        return self.compute(Z)[0]

    @_Offered("reconstruct")
    def reconstruct(self, X: Any) -> np.ndarray:
        """Encode samples, and decode them.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples in the shape and units that they had in ``fit``.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, ...), float32
            The reconstructions.
        """
        return self.compute(X)[0]

    def compute(self, X: Any) -> tuple[np.ndarray, ...]:
        """Compute all outputs of the graph.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the graph takes.

        Returns
        -------
        outputs : tuple of ndarray
            Each with a row a sample.

        Raises
        ------
        ValueError
            If X has another shape or scale than in ``fit``, or holds NaN or infinity;
            or if an output is not finite.
        TypeError
            If X is an array with a unit.
        """
        parts = [self._run(batch) for batch in self._batches(X)]
        outputs = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
        if not self.metadata["gives_nan"]:
            for output in outputs:
                _check_rows(output, 0, "The graph gives NaN or infinity for samples")
        return outputs

    def _batches(self, X: Any) -> Iterator[np.ndarray]:
        """Check X and cut it into what the graph takes."""
        X = self._check(X)
        size = int(np.prod(X.shape[1:], dtype=np.int64))
        step = self._batch_size or max(1, _BATCH_NUMBERS // size)
        for start in range(0, len(X), step):
            batch = self._convert(X[start : start + step], start)
            yield np.ascontiguousarray(batch)

    def _check(self, X: Any) -> np.ndarray:
        """Check shape and data type."""
        names = self.metadata.get("feature_names")
        if names is not None and [*getattr(X, "columns", names)] != names:
            raise ValueError(
                "X has other columns than in fit, or in another order: select them by "
                "X[model.metadata['feature_names']]."
            )
        if isinstance(X, np.ma.MaskedArray):
            X = X.astype(np.float64).filled(np.nan)
        elif isinstance(X, np.ndarray) and type(X) not in (np.ndarray, np.memmap):
            raise TypeError(
                f"X is a {type(X).__name__}, whose units or masks would be lost: give "
                "a plain array in the units of fit."
            )
        X = np.asarray(X)
        shape = tuple(self.metadata["sample_shape"])
        if X.ndim != len(shape) + 1 or X.shape[1:] != shape or not len(X):
            raise ValueError(
                f"X has shape {X.shape}, but the graph takes (n_samples, "
                f"{', '.join(map(str, shape))}), at least one sample."
            )
        if X.dtype.kind not in "biuf":
            raise ValueError(f"X must hold real numbers, but has dtype {X.dtype}.")
        if self.metadata["dtype"] == "uint8" and X.dtype != np.uint8:
            raise ValueError(
                f"X has dtype {X.dtype}, but the graph takes bytes (uint8) as in fit."
            )
        return X

    def _convert(self, batch: np.ndarray, start: int) -> np.ndarray:
        """Convert a batch to the data type of the graph, and check its values."""
        if self.metadata["dtype"] == "uint8":
            return batch
        with np.errstate(over="ignore"):
            batch = batch.astype(np.float32, copy=False)
        known = batch
        if self.metadata["takes_nan"]:
            known = np.where(np.isnan(batch), np.float32(0), batch)
        what = "X, in single precision, holds NaN or infinity"
        _check_rows(known, start, what)
        if "pixel_size" in self.metadata:
            self._check_scale(batch)
        return batch

    def _check_scale(self, batch: np.ndarray) -> None:
        """Refuse fractions of 1 where there were whole numbers in fit, or reversely."""
        _, highest, were_whole = self.metadata["pixel_size"]
        low, high = batch.min(), batch.max()
        is_whole = (batch == np.round(batch)).all()
        if were_whole and highest > 1:
            differs = not is_whole and 0 <= low <= high <= 1
        else:
            differs = not were_whole and highest <= 1 and is_whole and high > 1
        if differs:
            raise ValueError(
                f"X has numbers up to {high:.3g}, but in fit up to {highest:.3g}, "
                "which cannot be the same scale: multiply or divide X by 255, for "
                "instance."
            )


def load_onnx(
    path: str | os.PathLike | bytes,
    *,
    engine: str = "onnxruntime",
    precision: str = "float32",
    threads: int | None = None,
    batch_size: int | None = None,
) -> OnnxModel:
    """Load a graph that :func:`~skastro.export.to_onnx` has written.

    Neither PyTorch nor scikit-learn is imported.

    Parameters
    ----------
    path : str, path-like or bytes
        The file, or its content.
    engine : {"onnxruntime", "openvino"}, default="onnxruntime"
        What runs the graph. ``"openvino"`` runs the network, from its first convolution
        on, with OpenVINO, and what comes before with onnxruntime.
    precision : {"float32", "bfloat16"}, default="float32"
        What the network is computed in; ``"bfloat16"`` with ``engine="openvino"`` only.
        It is faster on processors with instructions for this format, which has three
        digits; others compute in single precision. What comes before the first
        convolution is computed in single precision in any case.
    threads : int, default=None
        Threads that compute one batch. None: as many as the engine takes.
    batch_size : int, default=None
        Samples that are computed at once, which bounds the memory. None: about as many
        as make 262144 numbers.

    Returns
    -------
    model : OnnxModel
        It has the method that was exported, and ``classes_`` of classifiers.

    Raises
    ------
    ImportError
        If the engine is not installed.
    ValueError
        If the file is no such graph, or an argument is wrong.

    See Also
    --------
    skastro.export.to_onnx : Write the file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skastro import SpectrumClassifier
    >>> from skastro.export import load_onnx, to_onnx
    >>> X = np.random.default_rng(0).normal(size=(40, 120))
    >>> y = np.where(X[:, :9].mean(axis=1) > 0, "STAR", "QSO")
    >>> clf = SpectrumClassifier("mlp", max_epochs=2, verbose=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_onnx(clf, f"{folder}/model.onnx", X)
    ...     model = load_onnx(f"{folder}/model.onnx", threads=1)
    >>> model.predict_proba(X).shape
    (40, 2)
    """
    return OnnxModel(
        path,
        engine=engine,
        precision=precision,
        threads=threads,
        batch_size=batch_size,
    )


def _check_rows(values: np.ndarray, start: int, what: str) -> None:
    """Refuse NaN and infinity, with the rows."""
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        rows = start + np.flatnonzero(~finite)
        named = ", ".join(map(str, rows[:_MOST_ROWS_NAMED]))
        more = ", ..." if len(rows) > _MOST_ROWS_NAMED else ""
        raise ValueError(f"{what} in rows {named}{more}: leave these rows out.")


# Engines: from the content of a file to what runs a batch, and the metadata. ----------


def _onnxruntime(
    content: bytes, precision: str, threads: int | None, what: str
) -> tuple[Run, dict[str, str]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "engine='onnxruntime' needs onnxruntime: pip install 'skastro[onnx]', or "
            "onnxruntime alone"
        ) from error
    options = onnxruntime.SessionOptions()
    # Errors are raised; warnings are about the engine's own optimizations.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ValueError(f"{what} is no ONNX graph: {error}") from error
    (taken,) = session.get_inputs()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {taken.name: batch})

    return run, session.get_modelmeta().custom_metadata_map


def _openvino(
    content: bytes, precision: str, threads: int | None, what: str
) -> tuple[Run, dict[str, str]]:
    try:
        import onnx
        import openvino
    except ImportError as error:
        raise ImportError(
            "engine='openvino' needs onnx and openvino: pip install 'skastro[onnx]'"
        ) from error
    # Checks the content, too.
    _, texts = _onnxruntime(content, "float32", threads, what)
    proto = onnx.load_model_from_string(content)
    taken = proto.graph.input[0].name
    between = _entering_network(proto.graph)
    if not between:
        raise ValueError(
            f"{what} has no convolution, of which OpenVINO is faster: take "
            "engine='onnxruntime'."
        )
    # Before the network flux is sorted, which onnxruntime does ten times as fast, and
    # normalized, which needs more digits than bfloat16 has.
    parts = onnx.utils.Extractor(proto)
    between = [name for name in between if name != taken]
    if between:
        before = parts.extract_model([taken], between).SerializeToString()
        prepare, _ = _onnxruntime(before, "float32", threads, what)
    # Some networks ask X itself for the number of samples.
    outputs = [output.name for output in proto.graph.output]
    network = parts.extract_model([taken, *between], outputs)
    # Left to itself OpenVINO rounds to bfloat16.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _PRECISIONS[precision]}
    if threads is not None:
        settings |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(network.SerializeToString()), "CPU", settings
    )
    names = [port.get_any_name() for port in compiled.inputs]

    def run(batch: np.ndarray) -> list[np.ndarray]:
        values = {taken: batch}
        if between:
            values |= zip(between, prepare(batch), strict=True)
        # One request a call: several threads may use the model.
        request = compiled.create_infer_request()
        return [*request.infer({name: values[name] for name in names}).values()]

    return run, texts


def _entering_network(graph: Any) -> list[str]:
    """List what the first convolutions, and all that depends on them, take from before.

    Both parts hold the constants and the shapes that they need.
    """
    before: set[str] = {graph.input[0].name}
    after: set[str] = set()
    entering: dict[str, None] = {}
    for node in graph.node:
        if after.intersection(node.input) or (
            node.op_type == "Conv" and before.intersection(node.input)
        ):
            after.update(node.output)
            entering |= dict.fromkeys(name for name in node.input if name in before)
        elif before.intersection(node.input) and node.op_type != "Shape":
            before.update(node.output)
    return list(entering)


_ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino}
