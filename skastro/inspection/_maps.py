# SPDX-License-Identifier: BSD-3-Clause
"""Two-dimensional maps of latent spaces, and the colours of what is on them."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize, to_rgba_array
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

METHODS = ("pca", "tsne", "umap")
_MOST_NAMES = 20
_ABSENT = "0.75"


class Colours(NamedTuple):
    """The colour of each sample, and what explains it."""

    # One for each sample.
    rgba: np.ndarray
    # The colour of each name, in order, for a legend; None for numbers.
    names: dict[str, Any] | None
    # The range and colours of numbers, for a colour bar; None for names.
    scale: tuple[Normalize, Any] | None


def map_to_plane(
    latent: np.ndarray, method: Any, random_state: Any
) -> tuple[np.ndarray, tuple[str, str]]:
    """Bring latent numbers to two dimensions.

    Parameters
    ----------
    latent : ndarray of shape (n_samples, n_features)
        The latent numbers.
    method : {"pca", "tsne", "umap"}, object with fit_transform, or None
        How; None takes the first two.
    random_state : int, RandomState instance or None
        Seed of methods named by a text.

    Returns
    -------
    embedding : ndarray of shape (n_samples, 2)
        The map.
    axis_names : tuple of (str, str)
        What its axes are.

    Raises
    ------
    ImportError
        If UMAP is not installed.
    TypeError
        If the method is no such thing.
    ValueError
        If there are too few samples or dimensions, or too many dimensions come out.
    """
    n_samples, n_features = latent.shape
    if n_features < 2 or n_samples < 3:
        raise ValueError(
            "A map needs at least 3 samples and 2 latent dimensions, but there are "
            f"{n_samples} and {n_features}."
        )
    if method is None:
        return latent[:, :2], ("Latent dimension 1", "Latent dimension 2")
    name, axis_names = method, None
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
            f"method must be one of {METHODS}, None, or an object with fit_transform, "
            f"but got {method!r}."
        )
    embedding = np.asarray(method.fit_transform(latent))
    if embedding.shape != (n_samples, 2):
        raise ValueError(
            f"method must give two numbers for each of {n_samples} samples, but "
            f"{type(method).__name__} gave shape {embedding.shape}; set its number of "
            "components to 2."
        )
    if isinstance(name, str) and name == "pca":
        part = 100 * np.nan_to_num(method.explained_variance_ratio_)
        axis_names = tuple(
            f"Principal component {number} ({percent:.0f} %)"
            for number, percent in enumerate(part, start=1)
        )
    if axis_names is None:
        axis_names = tuple(f"{type(method).__name__} {number}" for number in (1, 2))
    return embedding, axis_names


def _umap(n_samples: int, random_state: Any) -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs umap-learn: pip install umap-learn. 'tsne' needs "
            "nothing more."
        ) from error
    # A seed allows one thread; UMAP warns of what it would take itself.
    return UMAP(
        n_neighbors=min(15, n_samples - 1),
        random_state=random_state,
        n_jobs=-1 if random_state is None else 1,
    )


def choose_colours(
    labels: np.ndarray | None, n_samples: int, noise_label: Any, cmap: Any
) -> Colours:
    """Choose a colour for each sample.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,) or None
        Names, or numbers. Integers of up to 20 values are names.
    n_samples : int
        How many samples.
    noise_label : label or None
        The label of samples in no class.
    cmap : str, matplotlib Colormap or None
        The colours; None chooses.

    Returns
    -------
    colours : Colours
        The colours.
    """
    if labels is None:
        return Colours(np.tile(to_rgba_array("C0"), (n_samples, 1)), None, None)
    # Not ==, which compares an array of texts with a number to False, with a warning.
    is_noise = np.array([label == noise_label for label in labels.tolist()], dtype=bool)
    names = np.unique(labels[~is_noise]) if labels.dtype.kind not in "fiu" else None
    if labels.dtype.kind in "iu":
        values = np.unique(labels[~is_noise])
        names = values if len(values) <= _MOST_NAMES else None
    if names is None:
        values = np.where(is_noise, np.nan, labels.astype(np.float64))
        known = np.isfinite(values)
        cmap = plt.get_cmap(cmap or "viridis")
        low, high = (
            (values[known].min(), values[known].max()) if known.any() else (0, 1)
        )
        scale = Normalize(low, high)
        rgba = cmap(scale(np.where(known, values, low)))
        rgba[~known] = to_rgba_array(_ABSENT)[0]
        return Colours(rgba, None, (scale, cmap))
    cmap = plt.get_cmap(cmap or ("tab10" if len(names) <= 10 else "tab20"))
    if cmap.N <= _MOST_NAMES and len(names) <= cmap.N:
        palette = cmap(np.arange(len(names)))
    else:
        cmap = cmap if cmap.N > _MOST_NAMES else plt.get_cmap("turbo")
        palette = cmap(np.linspace(0, 1, max(len(names), 2)))[: len(names)]
    shown = {
        f"{name}": color for name, color in zip(names.tolist(), palette, strict=True)
    }
    rgba = np.tile(to_rgba_array(_ABSENT), (n_samples, 1))
    if len(names):
        rgba[~is_noise] = palette[np.searchsorted(names, labels[~is_noise])]
    if is_noise.any():
        shown["none"] = _ABSENT
    return Colours(rgba, shown, None)


def without_overlap(
    place: np.ndarray, extent: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Choose thumbnails that do not overlap.

    Parameters
    ----------
    place : ndarray of shape (n_samples, 2)
        Where their centres are.
    extent : ndarray of shape (2,)
        Width and height of all of them.
    order : ndarray of shape (n_samples,), int
        Numbers of the samples, the most important first.

    Returns
    -------
    chosen : ndarray of shape (n_chosen,), int
        The samples whose thumbnails overlap none that was chosen before.
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


def check_thumbnail_size(thumbnail_size: float) -> None:
    """Refuse sizes that are no part of the map."""
    if not 0 < thumbnail_size <= 1:
        raise ValueError(
            "thumbnail_size must be a part of the map's width, above 0 and up to 1, "
            f"but got {thumbnail_size!r}."
        )
