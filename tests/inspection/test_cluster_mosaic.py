# SPDX-License-Identifier: BSD-3-Clause
"""ClusterMosaicDisplay: what is in each cluster."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro.inspection import (
    ClusterMosaicDisplay,
)


@pytest.mark.parametrize("name", ["kmeans", "mixture", "agglomerative", "hdbscan"])
def test_members_nearest_to_the_centers(groups, name):
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


def test_mosaic_is_drawn_in_order(groups, pictures, drawn_images):
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
        (np.zeros(3), {}, r"each of the 60 samples, but has shape \(3,\)"),
        (np.full(60, -1), {}, "all samples are noise"),
        (np.arange(60), {}, "60 clusters, but a figure holds at most 40"),
        (np.arange(60) % 3, {"clusters": [1, 7]}, r"\[0, 1, 2\], but got \[7\]"),
        (
            np.arange(60) % 3,
            {"latent": np.zeros((3, 2))},
            "latent .* each of the 60 samples, but has 3",
        ),
        (np.arange(60) % 3, {"centers": np.zeros((3, 2))}, "Centers need latent"),
        (
            np.arange(60) % 3,
            {"latent": np.zeros((60, 2)), "centers": np.zeros((2, 2))},
            r"center of label k in row k.*\(2, 2\)",
        ),
        (np.arange(60) % 3, {"n_columns": 0}, "n_columns == 0"),
    ],
    ids=["labels", "noise", "many", "unknown", "latent", "alone", "centers", "columns"],
)
def test_mosaics_that_do_not_fit(pictures, labels, options, message):
    with pytest.raises(ValueError, match=message):
        ClusterMosaicDisplay.from_predictions(pictures, labels, **options)


def test_a_mosaic_needs_a_clustering(groups):
    X, y = groups
    for model in (PCA(2), make_pipeline(PCA(2), LogisticRegression())):
        with pytest.raises(TypeError, match="ends in a clustering"):
            ClusterMosaicDisplay.from_estimator(model.fit(X, y), X)
