# SPDX-License-Identifier: BSD-3-Clause
"""Graphs of pipelines give what the pipelines give."""

import re

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import QuantileTransformer
from tiny_estimators import make_tiny
from torch import nn

import skastro
from skastro import (
    MinMaxSpectra,
    NoiseAugmenter,
    RebinSpectra,
    SpectrumClassifier,
    StandardizeSpectra,
    make_pipeline,
)
from skastro.datasets import make_spectra
from skastro.export import load_onnx, to_onnx

pytest.importorskip("onnxscript", reason="needs skastro[onnx]")
pytest.importorskip("onnxruntime", reason="needs skastro[onnx]")

rng = np.random.default_rng(0)
WAVELENGTH = np.arange(3900.0, 9000.0, 20.0)
SPECTRA = make_spectra(60, wavelength=WAVELENGTH, random_state=0)
NUMBERS = SPECTRA.flux[:, :9].mean(axis=1)
IMAGES = rng.integers(0, 97, size=(24, 14, 14, 3), dtype=np.uint8)
TYPES = np.array(["spiral", "elliptical"] * 12)


def tiny(name, *module, **params):
    params = {"max_epochs": 1, "callbacks": "disable", "precision": "float32"} | params
    return make_tiny(getattr(skastro, name), *module, **params)


@pytest.fixture(scope="module")
def pipe():
    """Fit a pipeline, most of whose steps do something odd."""
    steps = [
        RebinSpectra(WAVELENGTH, n_bins=150, nan_policy="interpolate"),
        NoiseAugmenter(random_state=0),
        "passthrough",
        StandardizeSpectra(robust=True, clip=6),
        tiny("SpectrumClassifier", "resnet10", module__width=4, calibrate=True),
    ]
    return skastro.Pipeline(steps).fit(SPECTRA.flux, SPECTRA.target)


@pytest.fixture(scope="module")
def path(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    text, before = str(pipe), pipe.predict_proba(SPECTRA.flux)
    to_onnx(pipe, path, SPECTRA.flux[:20])
    # The pipeline is as it was.
    assert str(pipe) == text
    np.testing.assert_array_equal(pipe.predict_proba(SPECTRA.flux), before)
    return path


def assert_same(exported, estimator, X, method="predict", **options):
    expected = getattr(estimator, method)(X)
    found = getattr(exported, method)(X)
    assert found.dtype == expected.dtype
    if expected.dtype.kind in "US":
        assert (found == expected).all()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# Pipelines ------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 1000])
def test_any_number_of_samples(pipe, path, n_samples):
    X = SPECTRA.flux[np.arange(n_samples) % 60]
    exported = load_onnx(path, threads=1)
    assert_same(exported, pipe, X, "predict_proba")
    assert_same(exported, pipe, X)


def test_missing_pixels_are_interpolated(pipe, path):
    X = SPECTRA.flux.copy()
    X[:, 30:40] = X[3, :9] = np.nan
    assert_same(load_onnx(path), pipe, X, "predict_proba")


def test_nan_gives_nan_and_an_error(pipe, path):
    import onnxruntime

    X = SPECTRA.flux[:5].astype(np.float32)
    X[1] = np.nan
    X[3, 7] = np.inf
    session = onnxruntime.InferenceSession(path)
    (probability,) = session.run(None, {"X": X})
    assert np.isnan(probability).all(axis=1).tolist() == [False, True] * 2 + [False]
    with pytest.raises(ValueError, match="NaN or infinity in rows 3:"):
        load_onnx(path).predict(X)
    with pytest.raises(ValueError, match="NaN or infinity for samples in rows 1:"):
        load_onnx(path).predict(X[:2])


def test_metadata(pipe, path):
    about = load_onnx(path).metadata
    assert about["skastro_version"] == skastro.__version__
    assert about["estimator"].endswith("StandardizeSpectra, SpectrumClassifier")
    assert about["method"] == "predict_proba"
    assert about["sample_shape"] == [WAVELENGTH.size]
    assert about["dtype"] == "float32"
    assert about["wavelength"] == WAVELENGTH.tolist()
    assert about["wavelength_unit"] == "Angstrom"
    assert 0 <= about["largest_difference"] < 1e-5
    labels = load_onnx(path).classes_
    assert labels.dtype == pipe.classes_.dtype
    assert (labels == pipe.classes_).all()


def test_spectra_with_their_own_wavelengths(tmp_path):
    fitted = make_pipeline(RebinSpectra(n_bins=90), tiny("SpectrumClassifier"))
    fitted.fit({"flux": SPECTRA.flux, "wavelength": WAVELENGTH}, SPECTRA.target)
    finer = np.linspace(3890.0, 9000.0, 400)
    other = make_spectra(20, wavelength=finer, random_state=1)
    exported = to_onnx(
        fitted, tmp_path / "a.onnx", {"flux": other.flux, "wavelength": finer}
    )
    assert exported.metadata["wavelength"] == finer.tolist()
    expected = fitted.predict_proba({"flux": other.flux, "wavelength": finer})
    np.testing.assert_allclose(exported.predict_proba(other.flux), expected, atol=1e-5)
    several = [(finer, other.flux[0]), (WAVELENGTH, SPECTRA.flux[0])]
    with pytest.raises(ValueError, match="spectra on 2 grids"):
        to_onnx(fitted, tmp_path / "a.onnx", several)


@pytest.mark.parametrize("normalization", ["split", "continuum"])
def test_spectra_on_the_grid_of_the_network(normalization, tmp_path):
    clf = tiny(
        "SpectrumClassifier",
        "convnet",
        module__widths=(4, 4),
        normalization=normalization,
        wavelength=WAVELENGTH,
    )
    clf.fit(SPECTRA.flux, SPECTRA.target)
    exported = to_onnx(clf, tmp_path / "a.onnx", SPECTRA.flux)
    assert exported.metadata["medium"] == "vacuum"
    assert_same(exported, clf, SPECTRA.flux, "predict_proba")


def test_scikit_learns_transformers(tmp_path):
    fitted = make_pipeline(PCA(5, whiten=True), tiny("SpectrumClassifier"))
    fitted.fit(SPECTRA.flux, SPECTRA.target)
    exported = to_onnx(fitted, tmp_path / "a.onnx", SPECTRA.flux)
    assert_same(exported, fitted, SPECTRA.flux, "predict_proba")


# Estimators -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"stretch": "asinh", "tta": True},
        {"normalization": "imagenet", "tta": "rotations"},
        {"image_size": 9, "stretch": "asinh", "tta": True},
        {"image_size": 32},
    ],
    ids=str,
)
def test_images(params, tmp_path):
    clf = tiny("GalaxyClassifier", "mlp", **params).fit(IMAGES, TYPES)
    exported = to_onnx(clf, tmp_path / "a.onnx", IMAGES)
    assert exported.metadata["dtype"] == "uint8"
    assert_same(exported, clf, IMAGES, "predict_proba")
    with pytest.raises(ValueError, match="takes bytes"):
        exported.predict(IMAGES / 255)


def test_numbers_with_error_bars(tmp_path):
    y = np.stack([NUMBERS, np.exp(NUMBERS)], axis=1).astype(np.float64)
    reg = tiny("SpectrumRegressor", log_target=[False, True], train_split=0.3)
    reg.fit(SPECTRA.flux, y)
    exported = to_onnx(reg, tmp_path / "a.onnx", SPECTRA.flux)
    assert_same(exported, reg, SPECTRA.flux)
    expected = reg.predict(SPECTRA.flux, return_std=True)[1]
    found = exported.predict(SPECTRA.flux, return_std=True)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    with pytest.raises(AttributeError, match=r"no predict_proba: it computes predict"):
        exported.predict_proba(SPECTRA.flux)
    assert not hasattr(exported, "classes_")


def test_redshifts_without_templates(tmp_path):
    reg = tiny(
        "RedshiftRegressor",
        refine=False,
        redshift={"GALAXY": (0.0, 0.05)},
        wavelength=WAVELENGTH,
    )
    X = SPECTRA.flux.copy()
    reg.fit(X, np.linspace(0, 0.05, 60))
    X[:, 20:30] = X[1] = np.nan
    exported = to_onnx(reg, tmp_path / "a.onnx", X)
    assert_same(exported, reg, X)
    assert np.isnan(exported.predict(X)).sum() == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "reconstruct"])
def test_autoencoders(method, tmp_path):
    vae = tiny("VAETransformer", noise_scale=1.0, latent_dim=2, stretch="asinh")
    X = IMAGES[..., :1] / 3
    vae.fit(X)
    if method == "inverse_transform":
        X = rng.normal(size=(7, 2))
    exported = to_onnx(vae, tmp_path / "a.onnx", X, method=method)
    assert_same(exported, vae, X, method)


def test_ensembles_and_rejection(tmp_path):
    member = make_pipeline(MinMaxSpectra(), tiny("SpectrumClassifier"))
    ensemble = skastro.EnsembleClassifier(member, n_estimators=2, random_state=0)
    ensemble.fit(SPECTRA.flux, SPECTRA.target)
    highest = np.sort(ensemble.predict_proba(SPECTRA.flux).max(axis=1))
    # Between two samples, as rounding differs.
    clf = skastro.RejectingClassifier(
        ensemble, threshold=float(highest[29:31].mean()), cv="prefit"
    )
    clf.fit(SPECTRA.flux, SPECTRA.target)
    exported = to_onnx(clf, tmp_path / "a.onnx", SPECTRA.flux)
    assert_same(exported, clf, SPECTRA.flux, "predict_proba")
    assert_same(exported, clf, SPECTRA.flux)
    assert (exported.predict(SPECTRA.flux) == "UNKNOWN").sum() == 30


def test_rejection_of_images_knows_their_scale(tmp_path):
    X = IMAGES[..., 0] / 255
    clf = skastro.RejectingClassifier(tiny("GalaxyClassifier", "mlp")).fit(X, TYPES)
    exported = to_onnx(clf, tmp_path / "a.onnx", skastro.datasets.LazyArray(X))
    assert_same(exported, clf, X)
    with pytest.raises(ValueError, match="cannot be the same scale"):
        exported.predict(IMAGES[..., 0])


def test_modules_of_users(tmp_path):
    module = nn.Sequential(nn.Linear(WAVELENGTH.size, 3), nn.Tanh())
    clf = tiny("SpectrumClassifier", module).fit(SPECTRA.flux, SPECTRA.target)
    exported = to_onnx(clf, tmp_path / "a.onnx", SPECTRA.flux)
    assert_same(exported, clf, SPECTRA.flux, "predict_proba")


# Refusals ---------------------------------------------------------------------------


def fitted_with(*steps):
    clf = tiny("SpectrumClassifier")
    return make_pipeline(*steps, clf).fit(SPECTRA.flux, SPECTRA.target)


class OwnScaler(MinMaxSpectra):
    pass


class OwnClassifier(SpectrumClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X) ** 2


def cases():
    X, y = SPECTRA.flux, SPECTRA.target
    quantiles = QuantileTransformer(n_quantiles=9)
    yield "QuantileTransformer", fitted_with, (quantiles,), "QuantileTransformer, the"
    yield "OwnScaler", fitted_with, (OwnScaler(),), "OwnScaler, the step 'ownscaler'"
    regression = LogisticRegression(tol=1.0)
    yield "LogisticRegression", regression.fit, (X, y), "LogisticRegression,"
    own = make_tiny(OwnClassifier, "mlp", max_epochs=1, verbose=0)
    yield "own method", own.fit, (X, y), "OwnClassifier.predict_proba is code of its"
    counts = rng.poisson(5.0, size=(8, 12, 12)).astype(float)
    sevi = tiny("SEVIRegressor")
    yield "SEVIRegressor", sevi.fit, (counts, np.zeros((8, 1))), "refine=True"
    rejecting = skastro.RejectingClassifier(
        tiny("SpectrumClassifier"), confidence="score_samples", threshold=0.0
    )
    yield "score_samples", rejecting.fit, (X, y), "a graph does not hold"


@pytest.mark.parametrize(
    ("fit", "args", "message"),
    [pytest.param(*case[1:], id=case[0]) for case in cases()],
)
def test_what_has_no_graph_is_named(fit, args, message, tmp_path):
    model = fit(*args)
    X = args[0] if isinstance(args[0], np.ndarray) else SPECTRA.flux
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        to_onnx(model, tmp_path / "a.onnx", X)
    assert not [*tmp_path.iterdir()]


def test_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        to_onnx(tiny("SpectrumClassifier"), tmp_path / "a.onnx", SPECTRA.flux)


def test_missing_folder(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match="Cannot write"):
        to_onnx(pipe, tmp_path / "missing" / "a.onnx", SPECTRA.flux)


def test_unknown_method(pipe, tmp_path):
    with pytest.raises(ValueError, match=r"method must be one of \['predict_proba'\]"):
        to_onnx(pipe, tmp_path / "a.onnx", SPECTRA.flux, method="predict")


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WAVELENGTH.size, 3)

    def forward(self, x):
        return self.layer(x) if x.mean() > 0 else self.layer(-x)


class Doubting(Branching):
    def forward(self, x):
        return self.layer(x) * (2.0 if torch.compiler.is_exporting() else 1.0)


def test_modules_that_cannot_be_exported(tmp_path):
    clf = tiny("SpectrumClassifier", Branching).fit(SPECTRA.flux, SPECTRA.target)
    with pytest.raises(ValueError, match="torch cannot export Branching"):
        to_onnx(clf, tmp_path / "a.onnx", SPECTRA.flux)


def test_other_results_leave_the_older_file(tmp_path):
    clf = tiny("SpectrumClassifier", Doubting).fit(SPECTRA.flux, SPECTRA.target)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="other numbers than the estimator"):
        to_onnx(clf, path, SPECTRA.flux, runtime=True)
    assert path.read_bytes() == b"older"
    assert [*tmp_path.iterdir()] == [path]
