# SPDX-License-Identifier: BSD-3-Clause
"""The display of the samples nearest to the center of each cluster."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_random_state, check_scalar

from skastro.inspection._display import DisplayMixin
from skastro.inspection._embeddings import (
    NOISE,
    cluster_centers,
    cluster_labels,
    is_clustering,
    layout_of,
    split_latent,
)
from skastro.inspection._thumbnails import Thumbnails, read_samples
from skastro.utils import plain_array, plain_labels, plain_samples

_MOST_CLUSTERS = 40
# Gap between thumbnails, in widths of one.
_GAP = 0.06


class ClusterMosaicDisplay(DisplayMixin):
    """Rows of thumbnails: the samples nearest to the center of each cluster.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Images or spectra. Only samples that are drawn are read from an array on disk.
    members : dict of label to ndarray of shape (n_shown,), int
        The rows of X to draw for each cluster, from left to right.
    sizes : dict of label to int
        Number of samples of each cluster.
    n_noise : int, default=0
        Number of samples in no cluster.
    column_name : str, default=None
        Description of the order from left to right.
    channel_axis : int, default=-1
        The axis of 4-D X that holds the channels.
    image_shape : tuple of int, default=None
        Shape of one image, if the rows of 2-D X are images and not spectra.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with all thumbnails, each one unit wide.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    LatentSpaceDisplay : A map of the latent space.
    ReconstructionDisplay : Samples and their reconstructions.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skastro.inspection import ClusterMosaicDisplay
    >>> X = load_digits().data[:200]
    >>> pipe = make_pipeline(PCA(10), KMeans(4, n_init=1, random_state=0)).fit(X)
    >>> display = ClusterMosaicDisplay.from_estimator(
    ...     pipe, X, n_columns=6, image_shape=(8, 8))
    >>> sum(display.sizes.values()), display.members[0].shape
    (200, (6,))
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        X: Any,
        members: Mapping[Any, np.ndarray],
        sizes: Mapping[Any, int],
        *,
        n_noise: int = 0,
        column_name: str | None = None,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.X = X
        self.members = members
        self.sizes = sizes
        self.n_noise = n_noise
        self.column_name = column_name
        self.channel_axis = channel_axis
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_columns: int = 8,
        clusters: ArrayLike | None = None,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Cluster samples and draw those nearest to the centers.

        Parameters
        ----------
        estimator : Pipeline
            A fitted pipeline of transformers that ends in a clustering or a Gaussian
            mixture. Centers are its attribute ``cluster_centers_``, ``means_``,
            ``medoids_`` or ``centroids_`` or, without these, the means of the samples
            in X that belong to a cluster. Distances are Euclidean, in the space that is
            clustered.
        X : array-like of shape (n_samples, ...)
            The samples, as ``estimator.fit`` takes them. If the clustering has no
            ``predict``, as HDBSCAN, the samples of its fit.
        n_columns : int, default=8
            Largest number of samples to draw per cluster.
        clusters : array-like of labels, default=None
            Clusters to draw, from top to bottom; at most 40. None draws all, sorted by
            their labels.
        channel_axis : int, default=None
            The axis of 4-D X that holds the channels. None means the estimator's
            `channel_axis`, or -1.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D X are images and not spectra. None
            means the estimator's, if it has one.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : ClusterMosaicDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is not such a pipeline.
        ValueError
            If there are no clusters or too many, or samples cannot be drawn.
        """
        encoder, clustering = split_latent(estimator, cls.__name__)
        if not is_clustering(clustering):
            raise TypeError(
                "ClusterMosaicDisplay takes a pipeline that ends in a clustering or a "
                "mixture, such as make_pipeline(VAETransformer(), KMeans()), but got "
                f"{type(estimator).__name__}. For other labels use from_predictions."
            )
        latent = np.asarray(encoder.transform(plain_samples(X)))
        return cls.from_predictions(
            X,
            cluster_labels(clustering, latent),
            latent,
            centers=cluster_centers(clustering),
            n_columns=n_columns,
            clusters=clusters,
            ax=ax,
            **layout_of(estimator, channel_axis, image_shape),
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: ArrayLike,
        latent: ArrayLike | None = None,
        *,
        centers: ArrayLike | None = None,
        n_columns: int = 8,
        clusters: ArrayLike | None = None,
        noise_label: Any = NOISE,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw samples of given clusters or classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images or spectra.
        labels : array-like of shape (n_samples,)
            The cluster or class of each.
        latent : array-like of shape (n_samples, n_features), default=None
            Latent numbers of the samples. None chooses members at random.
        centers : array-like of shape (n_clusters, n_features), default=None
            Centers of the clusters, that of label k in row k. None: the means of the
            members.
        n_columns : int, default=8
            Largest number of samples to draw per cluster.
        clusters : array-like of labels, default=None
            Clusters to draw, from top to bottom; at most 40. None draws all, sorted by
            their labels.
        noise_label : label, default=-1
            The label of samples in no cluster, which are left out. None: there is none.
        channel_axis : int, default=-1
            The axis of 4-D X that holds the channels.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D X are images and not spectra.
        random_state : int, RandomState instance or None, default=None
            Seed of the random choice.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : ClusterMosaicDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are no clusters or too many, or numbers of samples do not agree.
        """
        check_scalar(n_columns, "n_columns", Integral, min_val=1)
        X = plain_samples(X, any_unit=True)
        labels = plain_labels(labels, "labels")
        cls._check_entries("labels", labels, len(X), n_axes=1)
        rows_of = _rows_of_clusters(labels, noise_label, clusters)
        if latent is not None:
            latent = check_array(plain_array(latent, "latent"), input_name="latent")
            cls._check_entries("latent", latent, len(labels))
        if centers is not None:
            centers = _check_centers(centers, latent, rows_of)
        rng = check_random_state(random_state)
        members = {}
        for label, rows in rows_of.items():
            if latent is None:
                members[label] = rng.permutation(rows)[:n_columns]
                continue
            own = latent[rows]
            center = own.mean(axis=0) if centers is None else centers[label]
            distance = np.linalg.norm(own - center, axis=1)
            members[label] = rows[np.argsort(distance, kind="stable")[:n_columns]]
        return cls(
            X,
            members,
            {label: len(rows) for label, rows in rows_of.items()},
            n_noise=sum(label == noise_label for label in labels.tolist()),
            column_name=None if latent is None else "from the center outwards",
            channel_axis=channel_axis,
            image_shape=image_shape,
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw the thumbnails.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : ClusterMosaicDisplay
            The display itself.
        """
        drawn = np.concatenate(list(self.members.values()))
        thumbnails = Thumbnails(
            read_samples(self.X, drawn), self.channel_axis, self.image_shape
        )
        height = thumbnails.height_to_width
        n_columns = max(len(rows) for rows in self.members.values())
        size = (
            n_columns * (1 + _GAP) - _GAP,
            len(self.members) * (height + _GAP) - _GAP,
        )
        names = [f"{label} ({self.sizes[label]})" for label in self.members]
        beside = 0.3 + 0.09 * max(map(len, names))
        self._make_axes(ax, figsize=(0.95 * size[0] + beside, 0.95 * size[1] + 0.5))
        ax = self.ax_
        line: dict[str, Any] = (
            {"color": "C0", "linewidth": 0.5} if thumbnails.are_spectra else {}
        )
        middles, number = [], 0
        for row, members in enumerate(self.members.values()):
            top = size[1] - row * (height + _GAP)
            middles.append(top - height / 2)
            for column in range(len(members)):
                left = column * (1 + _GAP)
                box = (left, left + 1, top - height, top)
                thumbnails.draw(ax, number, box, **line)
                number += 1
        ax.set_yticks(middles, labels=names)
        ax.tick_params(left=False)
        ax.set(xticks=[], xlim=(0, size[0]), ylim=(0, size[1]))
        ax.set_aspect("equal")
        ax.spines[:].set_visible(False)
        remarks = [] if self.column_name is None else [self.column_name]
        if self.n_noise:
            remarks.append(f"{self.n_noise} in no cluster")
        ax.set_xlabel(", ".join(remarks))
        return self


def _rows_of_clusters(
    labels: np.ndarray, noise_label: Any, clusters: ArrayLike | None
) -> dict[Any, np.ndarray]:
    """Return the samples of each cluster to draw."""
    known = [label for label in np.unique(labels).tolist() if label != noise_label]
    if not known:
        raise ValueError("There are no clusters: all samples are noise.")
    if clusters is None:
        wanted = known
    else:
        wanted = plain_labels(clusters, "clusters").ravel().tolist()
        unknown = [label for label in wanted if label not in known]
        if unknown or not wanted:
            raise ValueError(
                f"clusters must be some of {known}, but got {unknown or wanted}."
            )
    if len(wanted) > _MOST_CLUSTERS:
        raise ValueError(
            f"There are {len(wanted)} clusters, but a figure holds at most "
            f"{_MOST_CLUSTERS}; choose some with clusters."
        )
    return {label: np.flatnonzero(labels == label) for label in wanted}


def _check_centers(
    centers: ArrayLike, latent: np.ndarray | None, rows_of: dict[Any, np.ndarray]
) -> np.ndarray:
    centers = check_array(plain_array(centers, "centers"), input_name="centers")
    if latent is None:
        raise ValueError("Centers need latent, in which distances are measured.")
    fits = all(
        isinstance(label, int) and 0 <= label < len(centers) for label in rows_of
    )
    if not fits or centers.shape[1] != latent.shape[1]:
        raise ValueError(
            "centers must hold the center of label k in row k, in as many dimensions "
            f"as latent ({latent.shape[1]}), but has shape {centers.shape}, and the "
            f"labels are {list(rows_of)}."
        )
    return centers
