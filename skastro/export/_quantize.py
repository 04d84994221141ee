# SPDX-License-Identifier: BSD-3-Clause
"""Graphs of classifiers whose convolutions compute with 8-bit numbers."""

import json
import os
import tempfile
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from skastro.export.runtime import OnnxModel, load_onnx
from skastro.utils import atomic_write

# A convolution of fewer channels is cheap, and reads the data themselves.
_LEAST_CHANNELS = 4
# What OpenVINO and onnxruntime join with a convolution.
_OPERATIONS = ["Conv", "MaxPool", "Relu"]


def quantize(
    path: str | os.PathLike,
    X: Any,
    new_path: str | os.PathLike,
    *,
    least_agreement: float = 0.99,
) -> OnnxModel:
    """Write the graph of a classifier with convolutions in 8-bit numbers.

    Processors with instructions for such numbers run it several times as fast, with
    ``load_onnx(new_path, engine="openvino")`` in particular. What comes before the
    network, its first convolution and its last layer stay in single precision.

    Parameters
    ----------
    path : str or path-like
        The graph that :func:`to_onnx` has written.
    X : array-like of shape (n_samples, ...)
        Real samples of all kinds that will be predicted, such as some hundreds of those
        of the training. The ranges of the 8-bit numbers are taken from them.
    new_path : str or path-like
        The file to write.
    least_agreement : float, default=0.99
        The fraction of the samples whose label must stay the same, between 0 and 1.

    Returns
    -------
    quantized : OnnxModel
        The new graph. Its metadata tell, as ``"quantized"``, how the results changed
        on X: ``agreement``, the fraction of equal labels, and ``largest_difference`` of
        a probability, with the number of samples as ``n_samples``.

    Raises
    ------
    ImportError
        If onnx or onnxruntime are not installed.
    ValueError
        If `new_path` is `path`; if the graph is of no classifier, has no convolutions
        to quantize, or is quantized already; if X is not what it takes; or if too many
        labels change.

    See Also
    --------
    to_onnx : Write a graph in single precision.

    Notes
    -----
    Each output channel of a kernel has a scale of its own, and each map one range, from
    the least to the largest value on X [1]_. Probabilities change by some hundredths;
    labels change where two classes are almost equally probable.

    References
    ----------
    .. [1] B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
       Integer-Arithmetic-Only Inference", CVPR 2018, doi:10.1109/CVPR.2018.00286.

    Examples
    --------
    >>> import tempfile
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> from skastro.export import quantize, to_onnx
    >>> train = make_spectra(60, wavelength=range(3900, 9000, 50), random_state=0)
    >>> clf = SpectrumClassifier(module__width=4, max_epochs=2, verbose=0)
    >>> clf = clf.fit(train.flux, train.target)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_onnx(clf, f"{folder}/model.onnx", train.flux)
    ...     model = quantize(
    ...         f"{folder}/model.onnx",
    ...         train.flux,
    ...         f"{folder}/small.onnx",
    ...         least_agreement=0.5,
    ...     )
    >>> model.predict(train.flux).shape
    (60,)
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(
            "quantize needs onnx and onnxruntime: pip install 'skastro[onnx]'"
        ) from error
    if not isinstance(least_agreement, Real) or not 0 <= least_agreement <= 1:
        raise ValueError(
            f"least_agreement must be between 0 and 1, got {least_agreement!r}."
        )
    if os.path.realpath(path) == os.path.realpath(new_path):
        raise ValueError("new_path is the file of the graph itself; give another name.")
    model = load_onnx(path)
    if "classes" not in model.metadata:
        raise ValueError(
            f"{os.fspath(path)} gives {model.metadata['method']} of "
            f"{model.metadata['estimator']}: 8 bits are enough for the labels of "
            "classifiers, but not for numbers."
        )
    if "quantized" in model.metadata:
        raise ValueError(f"{os.fspath(path)} is quantized already.")
    expected = model.predict_proba(X)

    class Reader(quantization.CalibrationDataReader):
        """Give one batch of X after the other."""

        def __init__(self) -> None:
            self.batches = model._batches(X)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"X": batch}

    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder, "folded.onnx"), Path(folder, "new.onnx")
        # Batch norms become part of the convolutions.
        quant_pre_process(path, folded, skip_symbolic_shape=True)
        graph = onnx.load(folded).graph
        shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        cheap = [
            node.name
            for node in convolutions
            if shapes[node.input[1]][1] < _LEAST_CHANNELS
        ]
        softmax = [node.name for node in graph.node if node.op_type == "Softmax"]
        if len(cheap) == len(convolutions):
            raise ValueError(
                f"{os.fspath(path)} has no convolution of at least {_LEAST_CHANNELS} "
                "channels: there is nothing to quantize."
            )
        quantization.quantize_static(
            folded,
            quantized,
            Reader(),
            # onnxruntime before 1.21 fails where it has not seen a softmax's range.
            op_types_to_quantize=[*_OPERATIONS, "Softmax"],
            nodes_to_exclude=cheap + softmax,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # A sum of two maps is rounded once, when a convolution takes it.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
        )
        proto = onnx.load(quantized)
    found = OnnxModel(_with_metadata(proto, model.metadata)).predict_proba(X)
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if agreement < least_agreement:
        raise ValueError(
            f"In 8-bit numbers {agreement:.1%} of the labels of X stay the same, where "
            f"least_agreement demands {least_agreement:.1%}, so that no file is "
            "written. More samples, or a longer training, may help."
        )
    about = {
        "agreement": agreement,
        "largest_difference": float(np.abs(found - expected).max()),
        "n_samples": len(found),
    }
    content = _with_metadata(proto, model.metadata | {"quantized": about})
    with atomic_write(Path(new_path), "wb") as file:
        file.write(content)
    return load_onnx(new_path)


def _with_metadata(proto: Any, about: dict[str, Any]) -> bytes:
    from onnx import helper

    texts = {name: json.dumps(value) for name, value in about.items()}
    helper.set_model_props(proto, texts)
    return proto.SerializeToString()
