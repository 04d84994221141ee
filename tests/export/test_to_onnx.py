# SPDX-License-Identifier: BSD-3-Clause
"""Graphs of pipelines give what the pipelines give."""

import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import MinMaxSpectra, SpectrumClassifier, make_pipeline
from skastro.datasets import make_spectra
from skastro.export import load_onnx, to_onnx

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

SPECTRA = make_spectra(60, wavelength=np.arange(3900.0, 9000.0, 20.0), random_state=0)


@pytest.fixture(scope="module")
def pipe():
    clf = make_tiny(SpectrumClassifier, max_epochs=3, precision="float32")
    return make_pipeline(MinMaxSpectra(), clf).fit(SPECTRA.flux, SPECTRA.target)


@pytest.fixture(scope="module")
def path(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    to_onnx(pipe, path, SPECTRA.flux[:20])
    return path


@pytest.mark.parametrize("n_samples", [1, 1000])
def test_any_number_of_samples(pipe, path, n_samples):
    X = SPECTRA.flux[np.arange(n_samples) % 60]
    model = load_onnx(path, threads=1)
    np.testing.assert_allclose(model.predict_proba(X), pipe.predict_proba(X), atol=1e-5)
    assert (model.predict(X) == pipe.predict(X)).all()
