# SPDX-License-Identifier: BSD-3-Clause
"""The module that runs graphs needs numpy and onnxruntime alone."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import SpectrumClassifier
from skastro.export import OnnxModel, load_onnx, to_onnx

pytest.importorskip("onnxscript", reason="needs skastro[onnx]")
pytest.importorskip("onnxruntime", reason="needs skastro[onnx]")

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 30))
Y = np.where(X[:, 0] > 0, 7, -3)


@pytest.fixture(scope="module")
def clf():
    return make_tiny(SpectrumClassifier, max_epochs=1, precision="float32").fit(X, Y)


@pytest.fixture(scope="module")
def path(clf, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "my-model.onnx"
    to_onnx(clf, path, X, runtime=True)
    return path


ALONE = """
import sys
sys.modules.update(dict.fromkeys(["torch", "skastro", "sklearn", "scipy", "onnx"]))
import numpy as np
from my_model_runtime import load_onnx

model = load_onnx("my-model.onnx", threads=1)
np.save("labels.npy", model.predict(np.load("X.npy")))
"""


def test_copy_runs_alone(clf, path, tmp_path):
    for name in ("my-model.onnx", "my_model_runtime.py"):
        shutil.copy(path.with_name(name), tmp_path)
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "script.py").write_text(ALONE)
    # The folder of a script may be out of the search path.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "script.py"]
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    assert (np.load(tmp_path / "labels.npy") == clf.predict(X)).all()


def test_loading_imports_no_torch(path):
    code = f"""
import sys
from skastro.export import load_onnx
load_onnx({str(path)!r})
sys.exit(bool({{"torch", "onnx", "sklearn"}} & {{*sys.modules}}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_no_engine():
    code = "import sys, skastro.export\n"
    code += "sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_batches_make_no_difference(clf, path):
    expected = clf.predict_proba(X)
    for model in (load_onnx(path, batch_size=7), load_onnx(path.read_bytes())):
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
        np.testing.assert_allclose(
            model.predict_proba(np.asfortranarray(X)), expected, atol=1e-6
        )
        np.testing.assert_allclose(model.predict_proba(X.tolist()), expected, atol=1e-6)


def test_labels_have_their_type(clf, path):
    labels = load_onnx(path).predict(X)
    assert labels.dtype == clf.predict(X).dtype
    assert (labels == clf.predict(X)).all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (X[:, :-1], r"shape \(40, 29\), but the graph takes \(n_samples, 30\)"),
        (X[0], r"shape \(30,\), but the graph"),
        (X[:0], "at least one sample"),
        (np.where(np.arange(40)[:, None] == 3, np.nan, X), "in rows 3: leave"),
        (X * 1e60, "in single precision, holds NaN or infinity in rows 0, 1, 2"),
        (X.astype(str), "real numbers, but has dtype <U"),
        (X * 1j, "real numbers, but has dtype complex128"),
        (np.ma.masked_greater(X, 2.0), "NaN or infinity in rows"),
    ],
)
def test_wrong_samples_are_refused(path, samples, message):
    with pytest.raises(ValueError, match=message):
        load_onnx(path).predict(samples)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"engine": "tensorrt"}, r"engine must be one of \['onnxruntime'"),
        ({"threads": 0}, "threads must be a positive int, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a positive int, got 2.5"),
    ],
)
def test_wrong_arguments_are_refused(path, params, message):
    with pytest.raises(ValueError, match=message):
        OnnxModel(path, **params)


def test_other_files_are_refused(path, tmp_path):
    import onnx

    with pytest.raises(FileNotFoundError):
        load_onnx(tmp_path / "missing.onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"other\.onnx is no ONNX graph"):
        load_onnx(other)
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, other)
    with pytest.raises(ValueError, match="was not written by skastro"):
        load_onnx(other)


def test_missing_packages_are_named(clf, path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript: pip install 'skastro\[onnx\]'"):
        to_onnx(clf, tmp_path / "a.onnx", X)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'skastro\[onnx\]', or"):
        load_onnx(path)


def test_methods_are_those_that_were_exported(path):
    model = load_onnx(path)
    assert not hasattr(model, "transform")
    with pytest.raises(ValueError, match="no error bars"):
        model.predict(X, return_std=True)
