# SPDX-License-Identifier: BSD-3-Clause
"""ReconstructionDisplay: samples beside what comes back."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import Isomap
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro import MinMaxSpectra
from skastro import make_pipeline as make_skastro_pipeline
from skastro.inspection import (
    ReconstructionDisplay,
)


class ImagePCA(TransformerMixin, BaseEstimator):
    """Stands in for an autoencoder: PCA of images, with its method reconstruct."""

    def __init__(self, n_components=3, channel_axis=-1):
        self.n_components = n_components
        self.channel_axis = channel_axis

    def fit(self, X, y=None):
        """Find the components."""
        self.pca_ = PCA(self.n_components, random_state=0).fit(
            np.reshape(X, (len(X), -1))
        )
        return self

    def transform(self, X):
        """Project."""
        return self.pca_.transform(np.reshape(X, (len(X), -1)))

    def reconstruct(self, X):
        """Project and restore."""
        return self.pca_.inverse_transform(self.transform(X)).reshape(np.shape(X))


def test_images_stand_above_their_reconstructions(drawn_images):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(20, 6, 9, 3), dtype=np.uint8)
    model = ImagePCA().fit(X)
    display = ReconstructionDisplay.from_estimator(model, X[:4], titles=list("abcd"))
    assert display.axes_.shape == (2, 4)
    assert display.ax_ is display.axes_[0, 0]
    assert display.figure_ is display.ax_.figure
    restored = model.reconstruct(X[:4])
    for sample in range(4):
        (original,) = drawn_images(display.axes_[0, sample])
        (shown,) = drawn_images(display.axes_[1, sample])
        np.testing.assert_allclose(original, X[sample] / 255)
        np.testing.assert_allclose(shown, np.clip(restored[sample] / 255, 0, 1))
        expected = np.sqrt(np.mean((restored[sample] - X[sample]) ** 2))
        assert display.error[sample] == pytest.approx(expected)
        assert display.axes_[1, sample].get_title() == f"RMS {expected:.3g}"
        assert display.axes_[0, sample].get_title() == "abcd"[sample]
    display.figure_.canvas.draw()


@pytest.mark.parametrize("channel_axis", [1, -3, 2, 3])
def test_channels_on_any_axis(channel_axis, drawn_images):
    X = np.random.default_rng(0).uniform(size=(12, 8, 5, 3))
    model = ImagePCA(channel_axis=channel_axis).fit(np.moveaxis(X, -1, channel_axis))
    display = ReconstructionDisplay.from_estimator(
        model, np.moveaxis(X, -1, channel_axis)[:2]
    )
    (shown,) = drawn_images(display.axes_[0, 1])
    np.testing.assert_allclose(shown, X[1])


def test_fluxes_have_the_limits_of_their_original(drawn_images):
    rng = np.random.default_rng(0)
    X = rng.normal(1000, 10, size=(2, 16, 12))
    X[1] *= 1e-20
    display = ReconstructionDisplay.from_predictions(X, np.median(X) + 0 * X)
    for sample in range(2):
        (original,) = drawn_images(display.axes_[0, sample])
        assert (original == 0).mean() == pytest.approx(0.005, abs=0.005)
        assert 0.4 < original.mean() < 0.6
    (first,), (second,) = map(drawn_images, display.axes_[1])
    assert first.std() == 0
    assert second.min() == 1


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_other_channels_are_averaged(n_channels, drawn_images):
    X = np.random.default_rng(0).integers(0, 255, (2, 7, 7, n_channels), dtype=np.uint8)
    display = ReconstructionDisplay.from_predictions(X, X, residuals=True)
    assert display.axes_.shape == (3, 2)
    (shown,) = drawn_images(display.axes_[0, 0])
    np.testing.assert_allclose(shown, X[0].mean(axis=2) / 255)
    assert not display.error.any()
    display.figure_.canvas.draw()


def test_residuals_share_a_scale():
    X = np.full((2, 5, 5), 100, dtype=np.uint8)
    restored = X.astype(float)
    restored[0] -= 30
    restored[1] += 10
    display = ReconstructionDisplay.from_predictions(X, restored, residuals=True)
    images = [ax.images[0] for ax in display.axes_[2]]
    assert [image.get_array().mean() for image in images] == [-30, 10]
    assert all(image.get_clim() == (-30, 30) for image in images)


def test_rows_are_images_where_their_shape_is_known(drawn_images):
    X = np.random.default_rng(0).uniform(size=(30, 24))
    display = ReconstructionDisplay.from_estimator(
        PCA(3).fit(X), X[:2], image_shape=(4, 6)
    )
    assert display.axes_.shape == (2, 2)
    assert drawn_images(display.ax_)[0].shape == (4, 6)


def test_spectra_are_two_lines():
    X = np.random.default_rng(0).uniform(1, 2, size=(30, 24))
    pipe = make_pipeline(StandardScaler(), PCA(5), KMeans(2, n_init=1)).fit(X)
    display = ReconstructionDisplay.from_estimator(
        pipe, X[:3], wavelength=np.linspace(400, 900, 24) * units.nm, residuals=True
    )
    restored = pipe[:-1].inverse_transform(pipe[:-1].transform(X[:3]))
    assert display.axes_.shape == (3, 2)
    for sample, (ax, beside) in enumerate(display.axes_):
        original, shown = ax.get_lines()
        np.testing.assert_allclose(original.get_xdata(), np.linspace(4000, 9000, 24))
        np.testing.assert_array_equal(original.get_ydata(), X[sample])
        np.testing.assert_allclose(shown.get_ydata(), restored[sample])
        difference = beside.get_lines()[1].get_ydata()
        np.testing.assert_allclose(difference, restored[sample] - X[sample])
    assert display.axes_[-1, 0].get_xlabel() == "Wavelength (Å)"


def test_steps_that_cannot_be_undone_stay_done():
    X = np.random.default_rng(0).uniform(1, 2, size=(30, 24))
    pipe = make_skastro_pipeline(MinMaxSpectra(), PCA(5)).fit(X)
    display = ReconstructionDisplay.from_estimator(pipe, X[:2])
    np.testing.assert_allclose(display.X, MinMaxSpectra().fit_transform(X[:2]))
    np.testing.assert_allclose(
        display.X_reconstructed, pipe[1].inverse_transform(pipe[1].transform(display.X))
    )


def test_reconstructions_on_given_axes():
    X = np.zeros((2, 4, 4))
    figure, axes = plt.subplots(2, 2)
    display = ReconstructionDisplay.from_predictions(X, X, ax=axes)
    assert (display.axes_ == axes).all()
    assert display.figure_ is figure
    with pytest.raises(ValueError, match=r"in the shape \(2, 2\), but got 3"):
        display.plot(ax=axes.ravel()[:3])


@pytest.mark.parametrize(
    ("X", "restored", "options", "message"),
    [
        (np.zeros((21, 5)), np.zeros((21, 5)), {}, "21 samples, but a figure holds"),
        (np.zeros((0, 5)), np.zeros((0, 5)), {}, "0 samples"),
        (np.zeros((3, 5)), np.zeros((3, 6)), {}, r"one shape.*\(3, 5\) and \(3, 6\)"),
        (
            np.zeros((3, 5)),
            np.zeros((3, 5)),
            {"titles": ["a"]},
            "titles .* each of the 3 samples, but has 1",
        ),
        (
            np.zeros((3, 5)),
            np.zeros((3, 5)),
            {"wavelength": [1, 2]},
            r"wavelength has shape \(2,\), but a sample has shape \(5,\)",
        ),
        (np.zeros((3, 5)), np.zeros((3, 5)), {"image_shape": (2, 3)}, "does not fit X"),
        (np.zeros(3), np.zeros(3), {}, "X of 1 axes"),
        (
            np.zeros((1, 2, 2, 3)),
            np.zeros((1, 2, 2, 3)),
            {"channel_axis": 4},
            "one of .* but got 4",
        ),
    ],
    ids=["many", "none", "shape", "titles", "wavelength", "image_shape", "1-D", "axis"],
)
def test_reconstructions_that_do_not_fit(X, restored, options, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionDisplay.from_predictions(X, restored, **options)


def test_what_cannot_reconstruct():
    X = np.random.default_rng(0).uniform(size=(20, 5))
    with pytest.raises(TypeError, match=r"reconstruct or inverse_transform.* Isomap"):
        ReconstructionDisplay.from_estimator(Isomap().fit(X), X)
    with pytest.raises(TypeError, match=r"takes a transformer.*LogisticRegression"):
        ReconstructionDisplay.from_estimator(
            LogisticRegression().fit(X, np.arange(20) % 2), X
        )
