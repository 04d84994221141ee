# SPDX-License-Identifier: BSD-3-Clause
"""A figure of where samples are in a latent space."""

from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_random_state

from skastro.inspection._latent import (
    NOISE,
    cluster_labels,
    is_clustering,
    layout_of,
    split_latent,
)
from skastro.inspection._maps import (
    Colours,
    check_thumbnail_size,
    choose_colours,
    map_to_plane,
    without_overlap,
)
from skastro.inspection._thumbnails import Pictures, read_samples

# Of the legend's columns.
_NAMES_IN_COLUMN = 20


class LatentSpaceDisplay:
    """A map of a latent space: samples as points or as thumbnails.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, 2)
        Where the samples are on the map.
    labels : ndarray of shape (n_samples,), default=None
        What colours tell. Texts, and integers of up to 20 values, are names, explained
        by a legend; other numbers have a colour bar, and NaN is grey.
    label_name : str, default=None
        What `labels` are, for the legend or the colour bar.
    noise_label : label, default=None
        The label of samples that are in no cluster, which are grey.
    images : array-like of shape (n_samples, ...), default=None
        Images or spectra of the samples, of which those are drawn as thumbnails that
        do not overlap. An array on disk is read for these alone. None: points.
    axis_names : tuple of (str, str), default=("Dimension 1", "Dimension 2")
        What the axes are.
    channel_axis : int, default=-1
        The axis of 4-D `images` that holds the channels.
    image_shape : tuple of int, default=None
        Shape of one image, where the rows of 2-D `images` are not spectra.
    random_state : int, RandomState instance or None, default=None
        Seed of which thumbnails have precedence.

    Attributes
    ----------
    thumbnails_ : ndarray of shape (n_thumbnails,)
        Numbers of the samples that are drawn as thumbnails.
    ax_ : matplotlib Axes
        The axes with the map.
    figure_ : matplotlib Figure
        The figure that holds them.
    legend_ : matplotlib Legend or None
        The names of the colours.
    colorbar_ : matplotlib Colorbar or None
        The numbers of the colours.

    See Also
    --------
    ClusterMosaicDisplay : Samples of each cluster.
    ReconstructionDisplay : What an autoencoder makes of samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skastro.inspection import LatentSpaceDisplay
    >>> X = load_digits().data[:200]
    >>> pipe = make_pipeline(PCA(10), KMeans(4, n_init=1, random_state=0)).fit(X)
    >>> display = LatentSpaceDisplay.from_estimator(pipe, X)
    >>> display.embedding.shape, display.legend_.get_title().get_text()
    ((200, 2), 'Cluster')
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        embedding: np.ndarray,
        *,
        labels: np.ndarray | None = None,
        label_name: str | None = None,
        noise_label: Any = None,
        images: Any = None,
        axis_names: tuple[str, str] = ("Dimension 1", "Dimension 2"),
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.embedding = embedding
        self.labels = labels
        self.label_name = label_name
        self.noise_label = noise_label
        self.images = images
        self.axis_names = axis_names
        self.channel_axis = channel_axis
        self.image_shape = image_shape
        self.random_state = random_state

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        labels: ArrayLike | None = None,
        label_name: str | None = None,
        method: Any = "pca",
        thumbnails: bool = False,
        thumbnail_size: float = 0.07,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        cmap: str | Colormap | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Transform samples and draw where they are.

        Parameters
        ----------
        estimator : transformer or Pipeline
            A fitted transformer, such as :class:`~skastro.VAETransformer`, or a
            pipeline of transformers; at its end there may be a clustering.
        X : array-like of shape (n_samples, ...)
            The samples, as ``estimator.transform`` takes them. Where the pipeline ends
            in a clustering without ``predict``, such as HDBSCAN, those of its fit.
        labels : array-like of shape (n_samples,), default=None
            What colours tell: texts or integers, such as classes, or numbers. None
            tells the clusters, where the pipeline ends in a clustering.
        label_name : str, default=None
            What `labels` are.
        method : {"pca", "tsne", "umap"}, object with fit_transform, or None, \
                default="pca"
            How two dimensions are made of all: the first two principal components,
            t-SNE [1]_, UMAP [2]_ (``pip install umap-learn``), or any object that gives
            two columns. None takes the first two latent dimensions as they are.
        thumbnails : bool, default=False
            Whether to draw X as thumbnails.
        thumbnail_size : float, default=0.07
            Width of a thumbnail, as part of that of the map.
        channel_axis : int, default=None
            The axis of 4-D X that holds the channels. None means the estimator's
            `channel_axis`, or -1.
        image_shape : tuple of int, default=None
            Shape of one image, where the rows of 2-D X are images and not spectra. None
            means the estimator's, if it has one.
        random_state : int, RandomState instance or None, default=None
            Seed of the methods named by a text, and of which thumbnails are shown.
        cmap : str or matplotlib Colormap, default=None
            The colours; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If UMAP is asked for and not installed.
        TypeError
            If the estimator does not transform, or the method is none.
        ValueError
            If numbers of samples do not agree, or something cannot be drawn.

        References
        ----------
        .. [1] van der Maaten, L. & Hinton, G. (2008). "Visualizing data using t-SNE".
               JMLR 9, 2579. https://www.jmlr.org/papers/v9/vandermaaten08a.html
        .. [2] McInnes, L., Healy, J. & Melville, J. (2018). "UMAP: Uniform manifold
               approximation and projection for dimension reduction".
               https://arxiv.org/abs/1802.03426
        """
        encoder, last = split_latent(estimator, "LatentSpaceDisplay")
        latent = np.asarray(encoder.transform(X))
        noise_label = None
        if labels is None and last is not None and is_clustering(last):
            labels, noise_label = cluster_labels(last, latent), NOISE
            label_name = "Cluster" if label_name is None else label_name
        return cls.from_predictions(
            latent,
            labels=labels,
            label_name=label_name,
            noise_label=noise_label,
            method=method,
            images=X if thumbnails else None,
            thumbnail_size=thumbnail_size,
            random_state=random_state,
            cmap=cmap,
            ax=ax,
            **layout_of(estimator, channel_axis, image_shape),
        )

    @classmethod
    def from_predictions(
        cls,
        latent: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        label_name: str | None = None,
        noise_label: Any = None,
        method: Any = "pca",
        images: Any = None,
        thumbnail_size: float = 0.07,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        cmap: str | Colormap | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw where latent numbers are.

        Parameters
        ----------
        latent : array-like of shape (n_samples, n_features)
            What a ``transform`` gave.
        labels : array-like of shape (n_samples,), default=None
            What colours tell: texts or integers, such as classes, or numbers.
        label_name : str, default=None
            What `labels` are.
        noise_label : label, default=None
            The label of samples that are in no cluster, which are grey.
        method : {"pca", "tsne", "umap"}, object with fit_transform, or None, \
                default="pca"
            How two dimensions are made of all, as in :meth:`from_estimator`.
        images : array-like of shape (n_samples, ...), default=None
            Images or spectra to draw as thumbnails.
        thumbnail_size : float, default=0.07
            Width of a thumbnail, as part of that of the map.
        channel_axis : int, default=-1
            The axis of 4-D `images` that holds the channels.
        image_shape : tuple of int, default=None
            Shape of one image, where the rows of 2-D `images` are not spectra.
        random_state : int, RandomState instance or None, default=None
            Seed of the methods named by a text, and of which thumbnails are shown.
        cmap : str or matplotlib Colormap, default=None
            The colours; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If UMAP is asked for and not installed.
        TypeError
            If the method is none.
        ValueError
            If numbers of samples do not agree, or something cannot be drawn.
        """
        latent = check_array(latent, input_name="latent")
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != (len(latent),):
                raise ValueError(
                    f"labels must have one entry for each of the {len(latent)} "
                    f"samples, but have shape {labels.shape}."
                )
        if images is not None and len(images) != len(latent):
            raise ValueError(
                f"There are {len(images)} images for {len(latent)} samples."
            )
        check_thumbnail_size(thumbnail_size)
        embedding, axis_names = map_to_plane(latent, method, random_state)
        return cls(
            embedding,
            labels=labels,
            label_name=label_name,
            noise_label=noise_label,
            images=images,
            axis_names=axis_names,
            channel_axis=channel_axis,
            image_shape=image_shape,
            random_state=random_state,
        ).plot(thumbnail_size=thumbnail_size, cmap=cmap, ax=ax)

    def plot(
        self,
        *,
        thumbnail_size: float = 0.07,
        cmap: str | Colormap | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the map.

        Parameters
        ----------
        thumbnail_size : float, default=0.07
            Width of a thumbnail, as part of that of the map.
        cmap : str or matplotlib Colormap, default=None
            The colours; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display itself.
        """
        check_thumbnail_size(thumbnail_size)
        own_figure = ax is None
        if own_figure:
            side = 5.2 if self.images is None else 8
            # Room to spare: tick labels grow while the layout is being found.
            beside = 0.6 if self.labels is None else 2.2
            _, ax = plt.subplots(figsize=(side + beside, side), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        place = np.asarray(self.embedding, dtype=np.float64)
        labels = None if self.labels is None else np.asarray(self.labels)
        colours = choose_colours(labels, len(place), self.noise_label, cmap)
        low, high = place.min(axis=0), place.max(axis=0)
        margin = (0.04 if self.images is None else 0.6 * thumbnail_size) * (high - low)
        margin = np.where(margin > 0, margin, 1.0)
        low, high = low - margin, high + margin
        size = float(np.clip(4000 / len(place), 4, 25))
        ax.scatter(*place.T, s=size, c=colours.rgba, linewidths=0, zorder=1)
        self.thumbnails_ = np.empty(0, dtype=np.int64)
        if self.images is not None:
            self._draw_thumbnails(place, high - low, colours, thumbnail_size)
        # Images set limits of their own.
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        # Thumbnails keep their proportions, whatever the units.
        ax.set_box_aspect(1)
        self._explain(colours, own_figure)
        return self

    def _draw_thumbnails(
        self, place: np.ndarray, span: np.ndarray, colours: Colours, size: float
    ) -> None:
        # The proportions of all are those of any.
        layout = {"channel_axis": self.channel_axis, "image_shape": self.image_shape}
        ratio = Pictures(read_samples(self.images, [0]), **layout).height_to_width
        extent = np.array([size, size * ratio]) * span
        order = check_random_state(self.random_state).permutation(len(place))
        self.thumbnails_ = without_overlap(place, extent, order)
        pictures = Pictures(read_samples(self.images, self.thumbnails_), **layout)
        for row, sample in enumerate(self.thumbnails_):
            left, bottom = place[sample] - extent / 2
            color = colours.rgba[sample] if self.labels is not None else "0.5"
            frame = Rectangle(
                (left, bottom),
                *extent,
                facecolor="white" if pictures.are_spectra else "none",
                edgecolor=color,
                linewidth=1.5,
                zorder=2 if pictures.are_spectra else 3,
            )
            self.ax_.add_patch(frame)
            box = (left, left + extent[0], bottom, bottom + extent[1])
            line = {"color": "black", "linewidth": 0.6} if pictures.are_spectra else {}
            pictures.draw(self.ax_, row, box, zorder=2.5, **line)

    def _explain(self, colours: Colours, own_figure: bool) -> None:
        self.legend_ = self.colorbar_ = None
        if colours.scale is not None:
            norm, cmap = colours.scale
            self.colorbar_ = self.figure_.colorbar(
                ScalarMappable(norm, cmap), ax=self.ax_, label=self.label_name or ""
            )
        if colours.names is not None:
            dots = [
                Line2D([], [], marker="o", linestyle="", color=color, label=name)
                for name, color in colours.names.items()
            ]
            beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            self.legend_ = self.ax_.legend(
                handles=dots,
                title=self.label_name,
                ncols=-(-len(dots) // _NAMES_IN_COLUMN),
                fontsize="small",
                **(beside if own_figure else {"loc": "best"}),
            )
