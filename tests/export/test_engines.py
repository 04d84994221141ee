# SPDX-License-Identifier: BSD-3-Clause
"""OpenVINO and 8-bit numbers give the labels of the graph in single precision."""

import sys

import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import (
    MinMaxSpectra,
    SpectrumClassifier,
    SpectrumRegressor,
    make_pipeline,
)
from skastro.datasets import make_spectra
from skastro.export import load_onnx, quantize, to_onnx

pytest.importorskip("onnxscript", reason="needs skastro[onnx]")
pytest.importorskip("onnxruntime", reason="needs skastro[onnx]")

SPECTRA = make_spectra(120, wavelength=np.arange(3900.0, 9000.0, 20.0), random_state=0)
FLUX = SPECTRA.flux


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def path(folder):
    clf = make_tiny(SpectrumClassifier, "resnet10", module__width=8, max_epochs=12)
    pipe = make_pipeline(MinMaxSpectra(), clf).fit(FLUX, SPECTRA.target)
    to_onnx(pipe, folder / "model.onnx", FLUX[:20])
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def small(path, folder):
    quantize(path, FLUX[:60], folder / "small.onnx", least_agreement=0.9)
    return folder / "small.onnx"


@pytest.fixture(scope="module")
def expected(path):
    return load_onnx(path, threads=1).predict_proba(FLUX)


def assert_same_labels(found, expected):
    """Compare labels, except where two classes are about equally probable."""
    second, first = np.sort(expected, axis=1)[:, -2:].T
    is_clear = first - second > 0.1
    assert is_clear.mean() > 0.8
    np.testing.assert_array_equal(
        found.argmax(axis=1)[is_clear], expected.argmax(axis=1)[is_clear]
    )


@pytest.mark.parametrize(("precision", "atol"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_openvino_gives_the_same(path, expected, precision, atol):
    pytest.importorskip("openvino", reason="needs skastro[onnx]")
    model = load_onnx(path, engine="openvino", precision=precision, threads=1)
    found = model.predict_proba(FLUX)
    np.testing.assert_allclose(found, expected, atol=atol)
    assert_same_labels(found, expected)
    np.testing.assert_allclose(model.predict_proba(FLUX[:1]), expected[:1], atol=atol)
    assert model.metadata == load_onnx(path).metadata


def test_openvino_runs_what_flux_enters_directly(folder):
    pytest.importorskip("openvino", reason="needs skastro[onnx]")
    reg = make_tiny(
        SpectrumRegressor, "resnet10", module__width=4, normalization=None, max_epochs=1
    )
    X = FLUX / FLUX.mean()
    to_onnx(reg.fit(X, X[:, 0]), folder / "numbers.onnx", X[:20])
    found = load_onnx(folder / "numbers.onnx", engine="openvino", threads=1).predict(X)
    expected = load_onnx(folder / "numbers.onnx", threads=1).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_eight_bits_give_the_same_labels(small, expected):
    model = load_onnx(small, threads=1)
    found = model.predict_proba(FLUX)
    assert_same_labels(found, expected)
    # Not the same graph.
    assert 1e-5 < np.abs(found - expected).max() < 0.2
    about = model.metadata["quantized"]
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    assert about["agreement"] == same[:60].mean()
    assert about["n_samples"] == 60
    np.testing.assert_allclose(
        about["largest_difference"], np.abs(found - expected)[:60].max(), rtol=1e-3
    )
    assert model.classes_.tolist() == ["GALAXY", "QSO", "STAR"]


def test_openvino_runs_eight_bits(small, expected):
    pytest.importorskip("openvino", reason="needs skastro[onnx]")
    model = load_onnx(small, engine="openvino", precision="bfloat16", threads=1)
    found = model.predict_proba(FLUX)
    assert_same_labels(found, expected)


def test_unknown_settings_are_refused(path):
    with pytest.raises(ValueError, match=r"engine must be one of .*'openvino'"):
        load_onnx(path, engine="tensorrt")
    with pytest.raises(ValueError, match=r"precision must be one of .*'bfloat16'"):
        load_onnx(path, engine="openvino", precision="int8")
    with pytest.raises(ValueError, match="needs engine='openvino'"):
        load_onnx(path, precision="bfloat16")


@pytest.mark.parametrize("missing", ["onnx", "openvino"])
def test_missing_engine_is_named(path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"openvino: pip install 'skastro\[onnx\]'"):
        load_onnx(path, engine="openvino")


def test_graph_without_convolutions_is_refused(folder):
    pytest.importorskip("openvino", reason="needs skastro[onnx]")
    clf = make_tiny(SpectrumClassifier, "mlp", max_epochs=1)
    path = folder / "mlp.onnx"
    to_onnx(clf.fit(FLUX, SPECTRA.target), path, FLUX[:20])
    with pytest.raises(ValueError, match=r"no convolution.*take engine='onnxruntime'"):
        load_onnx(path, engine="openvino")
    with pytest.raises(ValueError, match="no convolution of at least"):
        quantize(path, FLUX, folder / "none.onnx")
    assert not (folder / "none.onnx").exists()


def test_what_is_not_quantized(path, small, folder):
    new = folder / "none.onnx"
    with pytest.raises(ValueError, match="quantized already"):
        quantize(small, FLUX, new)
    with pytest.raises(ValueError, match="least_agreement must be between 0 and 1"):
        quantize(path, FLUX, new, least_agreement=99)
    with pytest.raises(ValueError, match="X has shape"):
        quantize(path, FLUX[:, 1:], new)
    with pytest.raises(ValueError, match="of the labels of X stay the same"):
        quantize(path, FLUX, new, least_agreement=1)
    assert not new.exists()
