# SPDX-License-Identifier: BSD-3-Clause
"""LatentSpaceDisplay: maps of latent spaces, and the displays together."""

import sys

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from skastro import VAETransformer
from skastro import make_pipeline as make_skastro_pipeline
from skastro.datasets import LazyArray
from skastro.inspection import (
    ClusterMosaicDisplay,
    LatentSpaceDisplay,
    ReconstructionDisplay,
)


def test_map_by_principal_components(groups):
    Z, _ = groups
    X = np.column_stack([Z, np.zeros(60)])
    model = make_pipeline(PCA(3), KMeans(3, n_init=1, random_state=0)).fit(X)
    display = LatentSpaceDisplay.from_estimator(model, X)
    np.testing.assert_allclose(display.embedding, PCA(2).fit_transform(X), atol=1e-9)
    np.testing.assert_array_equal(display.labels, model.predict(X))
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["0", "1", "2"]
    assert display.legend_.get_title().get_text() == "Cluster"
    # Samples of one cluster have one color, which the legend tells.
    (points,) = display.ax_.collections
    np.testing.assert_allclose(points.get_offsets(), display.embedding)
    handles = display.legend_.legend_handles
    for label, color in zip(display.labels, points.get_facecolors(), strict=True):
        assert to_rgba(handles[label].get_color()) == pytest.approx(tuple(color))
    ratio = PCA().fit(X).explained_variance_ratio_
    assert display.ax_.get_xlabel() == f"Principal component 1 ({100 * ratio[0]:.0f} %)"
    assert display.colorbar_ is None
    assert len(display.thumbnails_) == 0


def test_labels_of_any_kind(groups):
    Z, labels = groups
    names = np.array(["spiral", "elliptical", "edge-on"])[labels]
    display = LatentSpaceDisplay.from_predictions(Z, labels=names, label_name="Class")
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["edge-on", "elliptical", "spiral"]
    many = LatentSpaceDisplay.from_predictions(Z, labels=np.arange(60) // 2)
    assert many.legend_ is None
    assert (many.colorbar_.vmin, many.colorbar_.vmax) == (0, 29)
    texts = LatentSpaceDisplay.from_predictions(Z, labels=[f"{n}" for n in range(60)])
    assert len(texts.legend_.get_texts()) == 60
    number = np.where(labels == 0, np.nan, labels + 0.5)
    display = LatentSpaceDisplay.from_predictions(Z, labels=number, label_name="z")
    assert display.colorbar_.ax.get_ylabel() == "z"
    assert (display.colorbar_.vmin, display.colorbar_.vmax) == (1.5, 2.5)
    colors = display.ax_.collections[0].get_facecolors()
    np.testing.assert_allclose(colors[labels == 0], [to_rgba("0.75")] * 30)
    plain = LatentSpaceDisplay.from_predictions(Z)
    assert plain.legend_ is None
    assert plain.colorbar_ is None


def test_clusters_of_hdbscan_and_mixtures(groups):
    Z, _ = groups
    Z = np.concatenate([Z, [[300.0, 300.0]]])
    pipe = make_pipeline(PCA(2), HDBSCAN(min_cluster_size=5, copy=True)).fit(Z)
    display = LatentSpaceDisplay.from_estimator(pipe, Z)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["0", "1", "2", "none"]
    colors = display.ax_.collections[0].get_facecolors()
    assert tuple(colors[-1]) == pytest.approx(to_rgba("0.75"))
    with pytest.raises(ValueError, match="61 samples of its fit, but X has 60"):
        LatentSpaceDisplay.from_estimator(pipe, Z[1:])
    mixture = make_pipeline(PCA(2), GaussianMixture(3, random_state=0)).fit(Z[:-1])
    display = LatentSpaceDisplay.from_estimator(mixture, Z[:5])
    np.testing.assert_array_equal(display.labels, mixture.predict(Z[:5]))


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_maps_are_the_same_at_each_call(groups, pictures, method):
    Z = np.random.default_rng(1).normal(size=(60, 5))
    options = {"method": method, "images": pictures, "random_state": 3}
    first = LatentSpaceDisplay.from_predictions(Z, **options)
    second = LatentSpaceDisplay.from_predictions(Z, **options)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    np.testing.assert_array_equal(first.thumbnails_, second.thumbnails_)


def test_other_methods(groups, monkeypatch):
    Z, _ = groups
    display = LatentSpaceDisplay.from_predictions(Z, method=None)
    np.testing.assert_array_equal(display.embedding, Z)
    display = LatentSpaceDisplay.from_predictions(Z, method=TruncatedSVD(2))
    assert display.ax_.get_xlabel() == "TruncatedSVD 1"
    with pytest.raises(ValueError, match=r"TruncatedSVD returned shape \(60, 1\)"):
        LatentSpaceDisplay.from_predictions(Z, method=TruncatedSVD(1))
    with pytest.raises(TypeError, match=r"'umap'.* but got 'mds'"):
        LatentSpaceDisplay.from_predictions(Z, method="mds")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"pip install 'skastro\[umap\]'"):
        LatentSpaceDisplay.from_predictions(Z, method="umap")


def test_umap_is_seeded(groups, monkeypatch):
    class UMAP:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, Z):
            assert self.options == {"n_neighbors": 15, "random_state": 7, "n_jobs": 1}
            return Z + 1

    module = type(sys)("umap")
    module.UMAP = UMAP
    monkeypatch.setitem(sys.modules, "umap", module)
    Z, _ = groups
    display = LatentSpaceDisplay.from_predictions(Z, method="umap", random_state=7)
    np.testing.assert_array_equal(display.embedding, Z + 1)
    assert display.ax_.get_ylabel() == "UMAP 2"


def test_thumbnails_do_not_overlap_and_keep_their_proportions(groups, pictures):
    Z, labels = groups
    display = LatentSpaceDisplay.from_predictions(
        Z, images=pictures, labels=labels, random_state=0, method=None
    )
    ax = display.ax_
    display.figure_.canvas.draw()
    boxes = [frame.get_window_extent() for frame in ax.patches]
    assert 10 < len(boxes) == len(display.thumbnails_) < 60
    for number, box in enumerate(boxes):
        assert box.height / box.width == pytest.approx(6 / 9, rel=0.01)
        assert box.width / ax.bbox.width == pytest.approx(0.07)
        for other in boxes[:number]:
            apart = max(
                abs(box.x0 - other.x0) / box.width, abs(box.y0 - other.y0) / box.height
            )
            assert apart > 0.999
    # All thumbnails that fit are drawn.
    extent = np.array([ax.patches[0].get_width(), ax.patches[0].get_height()])
    for place in Z:
        near = np.abs(Z[display.thumbnails_] - place) < extent
        assert near.all(axis=1).any()
    palette = plt.get_cmap("tab10")
    for image, frame, sample in zip(
        ax.images, ax.patches, display.thumbnails_, strict=True
    ):
        np.testing.assert_allclose(image.get_array(), pictures[sample] / 255)
        center = frame.get_center()
        np.testing.assert_allclose(center, Z[sample])
        assert frame.get_edgecolor() == pytest.approx(palette(labels[sample]))


def test_spectra_as_thumbnails(groups):
    X = np.random.default_rng(0).uniform(size=(40, 30))
    display = LatentSpaceDisplay.from_estimator(
        PCA(4).fit(X), X, thumbnails=True, random_state=0
    )
    assert len(display.ax_.get_lines()) == len(display.thumbnails_) > 3
    display.figure_.canvas.draw()


def test_only_drawn_images_are_read(groups, pictures, tmp_path, drawn_images):
    Z, _ = groups
    with h5py.File(tmp_path / "images.h5", "w") as file:
        stored = file.create_dataset("images", data=pictures)
        display = LatentSpaceDisplay.from_predictions(
            Z, images=LazyArray(stored), thumbnail_size=0.3, random_state=0
        )
        again = ClusterMosaicDisplay.from_predictions(stored, groups[1], Z)
    in_memory = LatentSpaceDisplay.from_predictions(
        Z, images=pictures, thumbnail_size=0.3, random_state=0
    )
    for one, other in zip(
        drawn_images(display.ax_), drawn_images(in_memory.ax_), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert len(drawn_images(again.ax_)) == 24


def test_map_on_given_axes(groups):
    _, ax = plt.subplots()
    display = LatentSpaceDisplay.from_predictions(groups[0], labels=groups[1], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [1, 2]}, r"each of the 60 samples, but has shape \(2,\)"),
        (
            {"images": np.zeros((3, 4, 4))},
            "images .* each of the 60 samples, but has 3",
        ),
        ({"thumbnail_size": 0}, "thumbnail_size must be above 0, at most 1; got 0"),
    ],
    ids=["labels", "images", "size"],
)
def test_maps_that_do_not_fit(groups, options, message):
    with pytest.raises(ValueError, match=message):
        LatentSpaceDisplay.from_predictions(groups[0], **options)


def test_too_few_dimensions_or_samples(groups):
    with pytest.raises(ValueError, match=r"at least 3 samples and 2 .* 60 and 1"):
        LatentSpaceDisplay.from_predictions(groups[0][:, :1])
    with pytest.raises(ValueError, match=r"at least 3 samples and 2 .* 2 and 2"):
        LatentSpaceDisplay.from_predictions(groups[0][:2])
    with pytest.raises(TypeError, match=r"takes a transformer.* got KMeans"):
        LatentSpaceDisplay.from_estimator(KMeans(2, n_init=1).fit(groups[0]), groups[0])


def test_autoencoder_in_a_pipeline(drawn_images):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(40, 3, 16, 16), dtype=np.uint8)
    vae = VAETransformer(
        latent_dim=3,
        channel_axis=1,
        beta=0.01,
        module__widths=(4,),
        max_epochs=3,
        verbose=0,
        random_state=0,
        device="cpu",
    )
    pipe = make_skastro_pipeline(vae, KMeans(2, n_init=1, random_state=0)).fit(X)
    display = ReconstructionDisplay.from_estimator(pipe, X[:2])
    np.testing.assert_array_equal(display.X_reconstructed, vae.reconstruct(X[:2]))
    np.testing.assert_allclose(
        drawn_images(display.ax_)[0], X[0].transpose(1, 2, 0) / 255
    )
    display = LatentSpaceDisplay.from_estimator(pipe, X, thumbnails=True)
    np.testing.assert_array_equal(display.labels, pipe.predict(X))
    display = ClusterMosaicDisplay.from_estimator(pipe, X, n_columns=2)
    assert drawn_images(display.ax_)[0].shape == (16, 16, 3)
