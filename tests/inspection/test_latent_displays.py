# SPDX-License-Identifier: BSD-3-Clause
"""The figures of latent spaces: reconstructions, maps and mosaics of clusters."""

import sys

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units
from matplotlib.colors import to_rgba
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import Isomap
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro import MinMaxSpectra, VAETransformer
from skastro import make_pipeline as make_skastro_pipeline
from skastro.datasets import LazyArray
from skastro.inspection import (
    ClusterMosaicDisplay,
    LatentSpaceDisplay,
    ReconstructionDisplay,
)

CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


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


@pytest.fixture
def groups():
    """Return points around three centres, in a random order, and their groups."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    return CENTERS[labels] + rng.normal(size=(60, 2)), labels


@pytest.fixture
def pictures(groups):
    """Return images of bytes, 6 x 9 in three colours, each with a level of its own."""
    levels = np.arange(60, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(levels, (60, 6, 9, 3)) + np.arange(3, dtype=np.uint8)


def drawn_images(ax):
    """Return the arrays that the axes show."""
    return [np.asarray(image.get_array()) for image in ax.images]


# Reconstructions ------------------------------------------------------------------


def test_images_stand_above_their_reconstructions():
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
def test_channels_on_any_axis(channel_axis):
    X = np.random.default_rng(0).uniform(size=(12, 8, 5, 3))
    model = ImagePCA(channel_axis=channel_axis).fit(np.moveaxis(X, -1, channel_axis))
    display = ReconstructionDisplay.from_estimator(
        model, np.moveaxis(X, -1, channel_axis)[:2]
    )
    (shown,) = drawn_images(display.axes_[0, 1])
    np.testing.assert_allclose(shown, X[1])


def test_fluxes_have_the_limits_of_their_original():
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
def test_other_channels_are_averaged(n_channels):
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


def test_rows_are_images_where_their_shape_is_known():
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
        (np.zeros((3, 5)), np.zeros((3, 5)), {"titles": ["a"]}, "1 entries for 3"),
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
    with pytest.raises(TypeError, match=r"can undo .* Isomap"):
        ReconstructionDisplay.from_estimator(Isomap().fit(X), X)
    with pytest.raises(TypeError, match=r"takes a transformer.*LogisticRegression"):
        ReconstructionDisplay.from_estimator(
            LogisticRegression().fit(X, np.arange(20) % 2), X
        )


# Maps -----------------------------------------------------------------------------


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
    # Samples of one cluster have one colour, which the legend tells.
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
    with pytest.raises(ValueError, match="61 samples of its fit alone, but X has 60"):
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
    with pytest.raises(ValueError, match=r"TruncatedSVD gave shape \(60, 1\)"):
        LatentSpaceDisplay.from_predictions(Z, method=TruncatedSVD(1))
    with pytest.raises(TypeError, match=r"'umap'.* but got 'mds'"):
        LatentSpaceDisplay.from_predictions(Z, method="mds")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
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
    # All that would have found room are there.
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


def test_only_drawn_images_are_read(groups, pictures, tmp_path):
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
        ({"labels": [1, 2]}, r"each of the 60 samples, but have shape \(2,\)"),
        ({"images": np.zeros((3, 4, 4))}, "3 images for 60 samples"),
        ({"thumbnail_size": 0}, "above 0 and up to 1, but got 0"),
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


# Mosaics --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kmeans", "mixture", "agglomerative", "hdbscan"])
def test_members_nearest_to_the_centres(groups, name):
    Z, _ = groups
    clustering = {
        "kmeans": KMeans(3, n_init=3, random_state=0),
        "mixture": GaussianMixture(3, random_state=0),
        "agglomerative": AgglomerativeClustering(3),
        "hdbscan": HDBSCAN(min_cluster_size=5, store_centers="medoid", copy=True),
    }[name]
    pipe = make_pipeline(StandardScaler(), clustering).fit(Z)
    display = ClusterMosaicDisplay.from_estimator(pipe, Z, n_columns=4)
    scaled = pipe[0].transform(Z)
    labels = getattr(clustering, "labels_", None)
    labels = clustering.predict(scaled) if labels is None else labels
    assert list(display.sizes) == list(display.members) == [0, 1, 2]
    for label in range(3):
        assert display.sizes[label] == (labels == label).sum()
        center = {
            "kmeans": lambda label: clustering.cluster_centers_[label],
            "mixture": lambda label: clustering.means_[label],
            "agglomerative": lambda label: scaled[labels == label].mean(axis=0),
            "hdbscan": lambda label: clustering.medoids_[label],
        }[name](label)
        distance = np.linalg.norm(scaled - center, axis=1)
        distance[labels != label] = np.inf
        np.testing.assert_array_equal(display.members[label], np.argsort(distance)[:4])


def test_mosaic_is_drawn_in_order(groups, pictures):
    Z, labels = groups
    display = ClusterMosaicDisplay.from_predictions(
        pictures, labels, Z, clusters=[2, 0], n_columns=12
    )
    # The cluster of 10 has fewer than 12 members.
    assert [len(rows) for rows in display.members.values()] == [10, 12]
    shown = drawn_images(display.ax_)
    drawn = np.concatenate([display.members[2], display.members[0]])
    np.testing.assert_allclose(shown, pictures[drawn] / 255)
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == ["2 (10)", "0 (30)"]
    left, right, bottom, top = display.ax_.images[0].get_extent()
    assert right - left == pytest.approx(1)
    assert top - bottom == pytest.approx(6 / 9)
    # The first row is the upper one.
    assert display.ax_.images[-1].get_extent()[3] < bottom
    display.figure_.canvas.draw()


def test_noise_is_left_out(groups, pictures):
    Z, labels = groups
    labels = np.where(labels == 1, -1, labels)
    display = ClusterMosaicDisplay.from_predictions(pictures, labels, Z)
    assert list(display.members) == [0, 2]
    assert display.n_noise == 20
    assert "20 in no cluster" in display.ax_.get_xlabel()
    display = ClusterMosaicDisplay.from_predictions(
        pictures, labels, Z, noise_label=None
    )
    assert list(display.members) == [-1, 0, 2]


def test_classes_by_chance(groups, pictures):
    names = np.array(["spiral", "elliptical", "edge-on"])[groups[1]]
    first, second, other = (
        ClusterMosaicDisplay.from_predictions(pictures, names, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert list(first.members) == ["edge-on", "elliptical", "spiral"]
    for name, rows in first.members.items():
        assert (names[rows] == name).all()
        np.testing.assert_array_equal(rows, second.members[name])
    assert (first.members["spiral"] != other.members["spiral"]).any()


def test_mosaic_of_spectra_on_given_axes(groups):
    X = np.random.default_rng(0).uniform(size=(60, 30))
    _, ax = plt.subplots()
    display = ClusterMosaicDisplay.from_predictions(
        X, groups[1], groups[0], n_columns=3, ax=ax
    )
    assert display.ax_ is ax
    assert len(ax.get_lines()) == 9


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros(3), {}, r"each of the 60 samples, but have shape \(3,\)"),
        (np.full(60, -1), {}, "all samples are noise"),
        (np.arange(60), {}, "60 clusters, but a figure holds at most 40"),
        (np.arange(60) % 3, {"clusters": [1, 7]}, r"\[0, 1, 2\], but got \[7\]"),
        (np.arange(60) % 3, {"latent": np.zeros((3, 2))}, "3 rows for 60 samples"),
        (np.arange(60) % 3, {"centers": np.zeros((3, 2))}, "Centres need latent"),
        (
            np.arange(60) % 3,
            {"latent": np.zeros((60, 2)), "centers": np.zeros((2, 2))},
            r"centre of label k in row k.*\(2, 2\)",
        ),
        (np.arange(60) % 3, {"n_columns": 0}, "n_columns == 0"),
    ],
    ids=["labels", "noise", "many", "unknown", "latent", "alone", "centres", "columns"],
)
def test_mosaics_that_do_not_fit(pictures, labels, options, message):
    with pytest.raises(ValueError, match=message):
        ClusterMosaicDisplay.from_predictions(pictures, labels, **options)


def test_a_mosaic_needs_a_clustering(groups):
    X, y = groups
    for model in (PCA(2), make_pipeline(PCA(2), LogisticRegression())):
        with pytest.raises(TypeError, match="ends in a clustering"):
            ClusterMosaicDisplay.from_estimator(model.fit(X, y), X)


# With the autoencoder itself --------------------------------------------------------


def test_autoencoder_in_a_pipeline():
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
