# SPDX-License-Identifier: BSD-3-Clause
"""Embeddings of latent spaces in two dimensions, and their display."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from sklearn.base import ClusterMixin, DensityMixin
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skastro.inspection._display import DisplayMixin, samples_for
from skastro.inspection._thumbnails import Thumbnails, read_samples
from skastro.utils import (
    check_number,
    plain_array,
    plain_samples,
    plain_values,
    prediction_steps,
)

# The label of samples in no cluster.
NOISE = -1
_METHODS = ("pca", "tsne", "umap")
# Attributes of clusterings and mixtures that hold the centers, by label.
_CENTERS = ("cluster_centers_", "means_", "medoids_", "centroids_")
_MOST_NAMES = 20
_NAMES_IN_COLUMN = 20
_ABSENT = "0.75"
# The limit that stands for any positive number in check_number.
_POSITIVE = 5e-324


class _Colors(NamedTuple):
    """The color of each sample, with its legend or color bar."""

    rgba: np.ndarray
    # The color of each name, in order, for a legend; None for numbers.
    names: dict[str, Any] | None
    # The range and colors of numbers, for a color bar; None for names.
    scale: tuple[Normalize, Any] | None


class LatentSpaceDisplay(DisplayMixin):
    """A map of a latent space: samples as points or as thumbnails.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, 2)
        Positions of the samples on the map.
    labels : ndarray of shape (n_samples,), default=None
        Values that determine the colors. Strings, and integers of up to 20 values, are
        names with a legend; other numbers have a color bar, and NaN is gray.
    label_name : str, default=None
        Title of the legend or the color bar.
    noise_label : label, default=None
        The label of samples that are in no cluster, which are gray.
    images : array-like of shape (n_samples, ...), default=None
        Images or spectra of the samples. Those that do not overlap are drawn as
        thumbnails; only these are read from an array on disk. None: points.
    axis_names : tuple of (str, str), default=("Dimension 1", "Dimension 2")
        Labels of the axes.
    channel_axis : int, default=-1
        The axis of 4-D `images` that holds the channels.
    image_shape : tuple of int, default=None
        Shape of one image, if the rows of 2-D `images` are not spectra.
    random_state : int, RandomState instance or None, default=None
        Seed of the order in which thumbnails are placed.

    Attributes
    ----------
    thumbnails_ : ndarray of shape (n_thumbnails,)
        Indices of the samples that are drawn as thumbnails.
    ax_ : matplotlib Axes
        The axes with the map.
    figure_ : matplotlib Figure
        The figure that holds them.
    legend_ : matplotlib Legend or None
        The legend of names.
    colorbar_ : matplotlib Colorbar or None
        The color bar of numbers.

    See Also
    --------
    ClusterMosaicDisplay : Samples of each cluster.
    ReconstructionDisplay : Samples and their reconstructions.

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
        axis_names: Sequence[str] = ("Dimension 1", "Dimension 2"),
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
        """Transform samples and draw a map of them.

        Parameters
        ----------
        estimator : transformer or Pipeline
            A fitted transformer, such as :class:`~skastro.VAETransformer`, or a
            pipeline of transformers, which may end in a clustering.
        X : array-like of shape (n_samples, ...)
            The samples, as ``estimator.transform`` takes them. If the pipeline ends in
            a clustering without ``predict``, such as HDBSCAN, the samples of its fit.
        labels : array-like of shape (n_samples,), default=None
            Values that determine the colors: strings or integers, such as classes, or
            numbers. None shows the clusters, if the pipeline ends in a clustering.
        label_name : str, default=None
            Title of the legend or the color bar.
        method : {"pca", "tsne", "umap"}, object with fit_transform, or None, \
                default="pca"
            Projection to two dimensions: the first two principal components, t-SNE
            [1]_, UMAP [2]_ (the extra ``umap``), or any object that returns
            two columns. None uses the first two latent dimensions.
        thumbnails : bool, default=False
            Whether to draw X as thumbnails.
        thumbnail_size : float, default=0.07
            Width of a thumbnail, as a fraction of that of the map.
        channel_axis : int, default=None
            The axis of 4-D X that holds the channels. None means the estimator's
            `channel_axis`, or -1.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D X are images and not spectra. None
            means the estimator's, if it has one.
        random_state : int, RandomState instance or None, default=None
            Seed of the named methods, and of the order of thumbnails.
        cmap : str or matplotlib Colormap, default=None
            The colors; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If UMAP is needed and not installed.
        TypeError
            If the estimator does not transform, or the method is unknown.
        ValueError
            If numbers of samples do not agree, or samples cannot be drawn.

        References
        ----------
        .. [1] van der Maaten, L. & Hinton, G. (2008). "Visualizing data using t-SNE".
               JMLR 9, 2579. https://www.jmlr.org/papers/v9/vandermaaten08a.html
        .. [2] McInnes, L., Healy, J. & Melville, J. (2018). "UMAP: Uniform manifold
               approximation and projection for dimension reduction".
               https://arxiv.org/abs/1802.03426
        """
        encoder, last = split_latent(estimator, cls.__name__)
        latent = np.asarray(encoder.transform(samples_for(encoder, X)))
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
        """Draw a map of latent numbers.

        Parameters
        ----------
        latent : array-like of shape (n_samples, n_features)
            Latent numbers, as ``transform`` returns them.
        labels : array-like of shape (n_samples,), default=None
            Values that determine the colors: strings or integers, such as classes, or
            numbers.
        label_name : str, default=None
            Title of the legend or the color bar.
        noise_label : label, default=None
            The label of samples that are in no cluster, which are gray.
        method : {"pca", "tsne", "umap"}, object with fit_transform, or None, \
                default="pca"
            Projection to two dimensions, as in :meth:`from_estimator`.
        images : array-like of shape (n_samples, ...), default=None
            Images or spectra to draw as thumbnails.
        thumbnail_size : float, default=0.07
            Width of a thumbnail, as a fraction of that of the map.
        channel_axis : int, default=-1
            The axis of 4-D `images` that holds the channels.
        image_shape : tuple of int, default=None
            Shape of one image, if the rows of 2-D `images` are not spectra.
        random_state : int, RandomState instance or None, default=None
            Seed of the named methods, and of the order of thumbnails.
        cmap : str or matplotlib Colormap, default=None
            The colors; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If UMAP is needed and not installed.
        TypeError
            If the method is unknown.
        ValueError
            If numbers of samples do not agree, or samples cannot be drawn.
        """
        latent = check_array(plain_array(latent, "latent"), input_name="latent")
        if labels is not None:
            labels = plain_values(labels, "labels")
            cls._check_entries("labels", labels, len(latent), n_axes=1)
        if images is not None:
            images = plain_samples(images, "images", any_unit=True)
            cls._check_entries("images", images, len(latent))
        check_number(thumbnail_size, "thumbnail_size", _POSITIVE, 1)
        embedding, axis_names = _embed(latent, method, random_state)
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
            Width of a thumbnail, as a fraction of that of the map.
        cmap : str or matplotlib Colormap, default=None
            The colors; None chooses.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display itself.
        """
        check_number(thumbnail_size, "thumbnail_size", _POSITIVE, 1)
        own_figure = ax is None
        side = 5.2 if self.images is None else 8
        # More than needed, because tick labels grow while the layout is computed.
        beside = 0.6 if self.labels is None else 2.2
        self._make_axes(ax, figsize=(side + beside, side))
        ax = self.ax_
        place = np.asarray(self.embedding, dtype=np.float64)
        labels = None if self.labels is None else np.asarray(self.labels)
        colors = _choose_colors(labels, len(place), self.noise_label, cmap)
        low, high = place.min(axis=0), place.max(axis=0)
        margin = (0.04 if self.images is None else 0.6 * thumbnail_size) * (high - low)
        margin = np.where(margin > 0, margin, 1.0)
        low, high = low - margin, high + margin
        size = float(np.clip(4000 / len(place), 4, 25))
        ax.scatter(*place.T, s=size, c=colors.rgba, linewidths=0, zorder=1)
        self.thumbnails_ = np.empty(0, dtype=np.int64)
        if self.images is not None:
            self._draw_thumbnails(place, high - low, colors, thumbnail_size)
        # Images change the limits.
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        # Thumbnails keep their proportions in any units.
        ax.set_box_aspect(1)
        self._explain(colors, own_figure)
        return self

    def _draw_thumbnails(
        self, place: np.ndarray, span: np.ndarray, colors: _Colors, size: float
    ) -> None:
        # All thumbnails have the same proportions.
        layout = self.channel_axis, self.image_shape
        ratio = Thumbnails(read_samples(self.images, [0]), *layout).height_to_width
        extent = np.array([size, size * ratio]) * span
        order = check_random_state(self.random_state).permutation(len(place))
        self.thumbnails_ = _without_overlap(place, extent, order)
        samples = Thumbnails(read_samples(self.images, self.thumbnails_), *layout)
        for row, sample in enumerate(self.thumbnails_):
            left, bottom = place[sample] - extent / 2
            color = colors.rgba[sample] if self.labels is not None else "0.5"
            frame = Rectangle(
                (left, bottom),
                *extent,
                facecolor="white" if samples.are_spectra else "none",
                edgecolor=color,
                linewidth=1.5,
                zorder=2 if samples.are_spectra else 3,
            )
            self.ax_.add_patch(frame)
            box = (left, left + extent[0], bottom, bottom + extent[1])
            line = {"color": "black", "linewidth": 0.6} if samples.are_spectra else {}
            samples.draw(self.ax_, row, box, zorder=2.5, **line)

    def _explain(self, colors: _Colors, own_figure: bool) -> None:
        self.legend_ = self.colorbar_ = None
        if colors.scale is not None:
            norm, cmap = colors.scale
            self.colorbar_ = self.figure_.colorbar(
                ScalarMappable(norm, cmap), ax=self.ax_, label=self.label_name or ""
            )
        if colors.names is not None:
            dots = [
                Line2D([], [], marker="o", linestyle="", color=color, label=name)
                for name, color in colors.names.items()
            ]
            beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            self.legend_ = self.ax_.legend(
                handles=dots,
                title=self.label_name,
                ncols=-(-len(dots) // _NAMES_IN_COLUMN),
                fontsize="small",
                **(beside if own_figure else {"loc": "best"}),
            )


def _embed(
    latent: np.ndarray, method: Any, random_state: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an embedding of shape (n_samples, 2), and the names of its axes."""
    n_samples, n_features = latent.shape
    if n_features < 2 or n_samples < 3:
        raise ValueError(
            "A map needs at least 3 samples and 2 latent dimensions, but there are "
            f"{n_samples} and {n_features}."
        )
    if method is None:
        return latent[:, :2], ("Latent dimension 1", "Latent dimension 2")
    name = method
    axis_names: tuple[str, ...] = ()
    if method == "pca":
        method = PCA(n_components=2, random_state=random_state)
    elif method == "tsne":
        perplexity = min(30.0, (n_samples - 1) / 3)
        method = TSNE(perplexity=perplexity, random_state=random_state)
        axis_names = ("t-SNE 1", "t-SNE 2")
    elif method == "umap":
        method = _umap(n_samples, random_state)
        axis_names = ("UMAP 1", "UMAP 2")
    elif not hasattr(method, "fit_transform"):
        raise TypeError(
            f"method must be one of {_METHODS}, None, or an object with fit_transform, "
            f"but got {method!r}."
        )
    embedding = np.asarray(method.fit_transform(latent))
    if embedding.shape != (n_samples, 2):
        raise ValueError(
            f"method must return two numbers for each of {n_samples} samples, but "
            f"{type(method).__name__} returned shape {embedding.shape}; set its number "
            "of components to 2."
        )
    if isinstance(name, str) and name == "pca":
        part = 100 * np.nan_to_num(method.explained_variance_ratio_)
        axis_names = tuple(
            f"Principal component {number} ({percent:.0f} %)"
            for number, percent in enumerate(part, start=1)
        )
    if not axis_names:
        axis_names = tuple(f"{type(method).__name__} {number}" for number in (1, 2))
    return embedding, axis_names


def _umap(n_samples: int, random_state: Any) -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs umap-learn: pip install 'skastro[umap]'. 'tsne' needs "
            "no further package."
        ) from error
    # With a seed UMAP uses one thread, and warns unless n_jobs is 1.
    return UMAP(
        n_neighbors=min(15, n_samples - 1),
        random_state=random_state,
        n_jobs=-1 if random_state is None else 1,
    )


def _choose_colors(
    labels: np.ndarray | None, n_samples: int, noise_label: Any, cmap: Any
) -> _Colors:
    """Choose a color for each sample; integers of up to 20 values are names."""
    if labels is None:
        return _Colors(np.tile(to_rgba_array("C0"), (n_samples, 1)), None, None)
    # == would warn for an array of strings and a number.
    is_noise = np.array([label == noise_label for label in labels.tolist()], dtype=bool)
    names = np.unique(labels[~is_noise]) if labels.dtype.kind not in "fiu" else None
    if labels.dtype.kind in "iu":
        values = np.unique(labels[~is_noise])
        names = values if len(values) <= _MOST_NAMES else None
    if names is None:
        values = np.where(is_noise, np.nan, labels.astype(np.float64))
        known = np.isfinite(values)
        cmap = mpl.colormaps.get_cmap(cmap or "viridis")
        low, high = (
            (values[known].min(), values[known].max()) if known.any() else (0, 1)
        )
        scale = Normalize(low, high)
        rgba = cmap(scale(np.where(known, values, low)))
        rgba[~known] = to_rgba_array(_ABSENT)[0]
        return _Colors(rgba, None, (scale, cmap))
    cmap = mpl.colormaps.get_cmap(cmap or ("tab10" if len(names) <= 10 else "tab20"))
    if cmap.N <= _MOST_NAMES and len(names) <= cmap.N:
        palette = cmap(np.arange(len(names)))
    else:
        cmap = cmap if cmap.N > _MOST_NAMES else mpl.colormaps.get_cmap("turbo")
        palette = cmap(np.linspace(0, 1, max(len(names), 2)))[: len(names)]
    shown = {
        f"{name}": color for name, color in zip(names.tolist(), palette, strict=True)
    }
    rgba = np.tile(to_rgba_array(_ABSENT), (n_samples, 1))
    if len(names):
        rgba[~is_noise] = palette[np.searchsorted(names, labels[~is_noise])]
    if is_noise.any():
        shown["none"] = _ABSENT
    return _Colors(rgba, shown, None)


def _without_overlap(
    place: np.ndarray, extent: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Choose thumbnails of one width and height that do not overlap.

    `place` of shape (n_samples, 2) holds their centers, `order` the indices of the
    samples, the most important first.
    """
    chosen = np.empty(len(order), dtype=np.int64)
    taken = np.empty((len(order), 2))
    n_chosen = 0
    for sample in order:
        apart = np.abs(taken[:n_chosen] - place[sample]) >= extent
        if apart.any(axis=1).all():
            chosen[n_chosen], taken[n_chosen] = sample, place[sample]
            n_chosen += 1
    return chosen[:n_chosen]


def split_latent(estimator: Any, caller: str) -> tuple[Any, Any]:
    """Split an estimator into its transformer and the final model, or None.

    The final model may be a clustering, a classifier or the like.
    """
    encoder, last = estimator, None
    if isinstance(estimator, Pipeline):
        end = estimator[-1]
        # KMeans transforms too, to distances from its centers.
        if isinstance(end, ClusterMixin) or not hasattr(end, "transform"):
            encoder, last = (estimator[:-1] if len(estimator) > 1 else None), end
            if end is not None and end != "passthrough":
                check_is_fitted(end)
    if isinstance(encoder, ClusterMixin) or not hasattr(encoder, "transform"):
        raise TypeError(
            f"{caller} takes a transformer, such as VAETransformer or PCA, or a "
            "pipeline that begins with one, such as make_pipeline(VAETransformer(), "
            f"KMeans()), but got {type(estimator).__name__}. For given latent numbers "
            "use from_predictions."
        )
    return encoder, last


def is_clustering(model: Any) -> bool:
    """Return whether a model is a clustering or a mixture."""
    return isinstance(model, ClusterMixin | DensityMixin)


def cluster_labels(clustering: Any, latent: np.ndarray) -> np.ndarray:
    """Return the clusters of samples in latent space; -1 for samples in none."""
    if hasattr(clustering, "predict"):
        return np.asarray(clustering.predict(latent))
    labels = np.asarray(clustering.labels_)
    if len(labels) != len(latent):
        raise ValueError(
            f"{type(clustering).__name__} only knows the clusters of the {len(labels)} "
            f"samples of its fit, but X has {len(latent)}: give the samples of its fit."
        )
    return labels


def cluster_centers(clustering: Any) -> np.ndarray | None:
    """Return the centers of clusters in the order of their labels, if it has them."""
    for name in _CENTERS:
        centers = getattr(clustering, name, None)
        if centers is not None:
            return np.asarray(centers)
    return None


def layout_of(
    estimator: Any,
    channel_axis: int | None,
    image_shape: tuple[int, ...] | None,
) -> dict[str, Any]:
    """Return `channel_axis` and `image_shape`, by default those of the estimator.

    Those of the first step of a pipeline that has such parameters are used.
    """
    for step in prediction_steps(estimator):
        if channel_axis is None:
            channel_axis = getattr(step, "channel_axis", None)
        if image_shape is None:
            image_shape = getattr(step, "image_shape", None)
    return {
        "channel_axis": -1 if channel_axis is None else channel_axis,
        "image_shape": image_shape,
    }
