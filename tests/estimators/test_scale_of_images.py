# SPDX-License-Identifier: BSD-3-Clause
"""Images in another data type than in fit: the same numbers, or a refusal."""

from functools import partial

import h5py
import numpy as np
import pytest
import torch
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyClassifier, GalaxyRegressor, VAETransformer
from skastro.inspection import class_activation_map

pytestmark = pytest.mark.filterwarnings("ignore:Only . of 3 latent dimensions")

tiny = partial(make_tiny, GalaxyClassifier, max_epochs=2)

SAME_NUMBERS = {
    "float32": lambda X: X.astype(np.float32),
    "float64": lambda X: X.astype(np.float64),
    "float16": lambda X: X.astype(np.float16),
    "int": lambda X: X.astype(np.int64),
    "uint16": lambda X: X.astype(np.uint16),
    "big-endian": lambda X: X.astype(">i2"),
    "tensor": lambda X: torch.tensor(X).int(),
    "list": np.ndarray.tolist,
    "one image": lambda X: X[:1].astype(float),
    "dark": lambda X: (X[:3] > 200).astype(int),
}
OTHER_NUMBERS = {
    "from 0 to 1": lambda X: X / 255,
    "standardized": lambda X: (X - X.mean()) / X.std(),
    "16 bits": lambda X: X.astype(np.uint16) * 257,
    "cgs": lambda X: X * 1e-17,
}
REFUSED = "fitted on .* up to .*, but X has .* up to .*, which cannot be the same scale"


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, size=(60, 12, 10, 3), dtype=np.uint8)
    y = np.arange(60) % 2
    X[y == 1, 3:9, 2:8] += 150
    X[0] = 255
    return X, y


@pytest.fixture(scope="module", params=["GalaxyClassifier", "GalaxyRegressor", "VAE"])
def on_bytes(request, images):
    """Return a method that answers for images, fitted on bytes."""
    X, y = images
    if request.param == "VAE":
        return make_tiny(VAETransformer, max_epochs=1).fit(X).transform
    if request.param == "GalaxyRegressor":
        return make_tiny(GalaxyRegressor, max_epochs=1).fit(X, y).predict
    return tiny(tta=True).fit(X, y).predict_proba


@pytest.mark.parametrize("kind", SAME_NUMBERS)
def test_the_same_numbers_after_bytes(on_bytes, images, kind):
    X = SAME_NUMBERS[kind](images[0])
    expected = on_bytes(np.asarray(X).astype(np.uint8))
    np.testing.assert_array_equal(on_bytes(X), expected)


@pytest.mark.parametrize("kind", OTHER_NUMBERS)
def test_other_numbers_after_bytes(on_bytes, images, kind):
    with pytest.raises(ValueError, match=REFUSED):
        on_bytes(OTHER_NUMBERS[kind](images[0]))


@pytest.mark.parametrize("kind", sorted(SAME_NUMBERS.keys() - {"one image", "dark"}))
def test_bytes_after_the_same_numbers(images, kind):
    X, y = images
    expected = tiny(augment=None).fit(X, y).predict_proba(X)
    clf = tiny(augment=None).fit(SAME_NUMBERS[kind](X), y)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-3)


@pytest.mark.parametrize("kind", OTHER_NUMBERS)
@pytest.mark.parametrize("cls", [GalaxyRegressor, VAETransformer])
def test_bytes_after_other_numbers(images, kind, cls):
    X, y = images
    net = make_tiny(cls, max_epochs=1).fit(OTHER_NUMBERS[kind](X), y)
    predict = net.transform if cls is VAETransformer else net.predict
    assert np.isfinite(predict(OTHER_NUMBERS[kind](X))).all()
    with pytest.raises(ValueError, match=REFUSED):
        predict(X)


def test_fractions_and_whole_numbers_without_bytes(images):
    X, y = images
    with pytest.raises(ValueError, match=REFUSED):
        tiny().fit(X.astype(int), y).predict(X / 255)
    with pytest.raises(ValueError, match=REFUSED):
        tiny().fit(X / 255, y).predict(X.astype(np.float32))


def test_flux_of_any_brightness_is_taken(images):
    """Galaxies differ by magnitudes; numbers that are no bytes may be of any size."""
    X, y = images
    clf = tiny().fit(X * 0.013, y)
    for factor in (1e-4, 1e3, 0.0):
        assert np.isfinite(clf.predict_proba(X * 0.013 * factor)).all()


def test_on_disk_in_streams_and_in_maps(images, tmp_path):
    X, y = images
    clf = tiny(module__width=4).fit(X, y)
    expected = clf.predict_proba(X)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["same"], file["other"] = X.astype(np.int16), X / 255
        np.testing.assert_allclose(clf.predict_proba(file["same"]), expected, atol=1e-6)
        with pytest.raises(ValueError, match=REFUSED):
            clf.predict_proba(file["other"])
        with pytest.raises(ValueError, match=REFUSED):
            clf.predict_stream(file["other"], out=tmp_path / "out.h5")
    with pytest.raises(ValueError, match=REFUSED):
        class_activation_map(clf, X[:2] / 255)
    with pytest.raises(ValueError, match=REFUSED):
        clf.partial_fit(X / 255, y)
    clf.save_params(tmp_path / "weights.pt")
    other = tiny(module__width=4)
    other.load_params(tmp_path / "weights.pt")
    np.testing.assert_allclose(other.predict_proba(X.astype(float)), expected)


def test_a_module_that_takes_no_sizes(images):
    X, y = images
    module = nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    clf = tiny(module, lr=1e-5).fit(X, y)
    expected = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(X.astype(float)), expected)
    with pytest.raises(ValueError, match=REFUSED):
        clf.predict(X / 255)
    with pytest.warns(UserWarning, match="numbers of about .* leave normalization at"):
        tiny(module, lr=1e-9).fit(X * 1e4, y)


def test_imagenet_is_for_bytes_or_fractions(images):
    X, y = images
    expected = tiny(normalization="imagenet").fit(X, y).predict_proba(X)
    clf = tiny(normalization="imagenet").fit(X / 255, y)
    np.testing.assert_allclose(clf.predict_proba(X / 255), expected, atol=1e-3)
    with pytest.raises(ValueError, match=r"takes bytes, or numbers from 0 to 1, .*255"):
        tiny(normalization="imagenet").fit(X.astype(float), y)
