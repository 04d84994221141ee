# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a pipeline that make a latent space, and that cluster it."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import ClusterMixin, DensityMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

# Where clusterings and mixtures keep the centres of their clusters, by label.
_CENTERS = ("cluster_centers_", "means_", "medoids_", "centroids_")
# The label of samples in no cluster.
NOISE = -1


class LatentParts(NamedTuple):
    """What leads to the latent space, and what stands behind it, if anything."""

    encoder: Any
    last: Any


def split_latent(estimator: Any, caller: str) -> LatentParts:
    """Tell the transformer in front from a clustering or another model at the end.

    Parameters
    ----------
    estimator : transformer or Pipeline
        A fitted transformer, or a pipeline of transformers, with or without a
        clustering, a classifier, ... at its end.
    caller : str
        Who asks, for the message.

    Returns
    -------
    parts : LatentParts
        The transformer, and the model at the end or None.

    Raises
    ------
    TypeError
        If nothing transforms.
    """
    encoder, last = estimator, None
    if isinstance(estimator, Pipeline):
        end = estimator[-1]
        # KMeans transforms too, to distances from its centres.
        if isinstance(end, ClusterMixin) or not hasattr(end, "transform"):
            encoder, last = (estimator[:-1] if len(estimator) > 1 else None), end
            if end is not None and end != "passthrough":
                check_is_fitted(end)
    if isinstance(encoder, ClusterMixin) or not hasattr(encoder, "transform"):
        raise TypeError(
            f"{caller} takes a transformer, such as VAETransformer or PCA, or a "
            "pipeline that has one in front, such as make_pipeline(VAETransformer(), "
            f"KMeans()), but got {type(estimator).__name__}. For latent numbers that "
            "you have already take from_predictions."
        )
    return LatentParts(encoder, last)


def is_clustering(model: Any) -> bool:
    """Tell clusterings and mixtures from other models."""
    return isinstance(model, ClusterMixin | DensityMixin)


def cluster_labels(clustering: Any, latent: np.ndarray) -> np.ndarray:
    """Give the clusters of samples.

    Parameters
    ----------
    clustering : clustering or mixture
        A fitted one, with ``predict`` or ``labels_``.
    latent : ndarray of shape (n_samples, n_features)
        Where the samples are.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Their clusters; -1 for samples in none.

    Raises
    ------
    ValueError
        If the clustering only knows its training samples, and these are others.
    """
    if hasattr(clustering, "predict"):
        return np.asarray(clustering.predict(latent))
    labels = np.asarray(clustering.labels_)
    if len(labels) != len(latent):
        raise ValueError(
            f"{type(clustering).__name__} knows the clusters of the {len(labels)} "
            f"samples of its fit alone, but X has {len(latent)}: give the very samples "
            "that it was fitted on."
        )
    return labels


def cluster_centers(clustering: Any) -> np.ndarray | None:
    """Give the centres of clusters, in the order of their labels.

    Parameters
    ----------
    clustering : clustering or mixture
        A fitted one.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features) or None
        The centres, or None where it keeps none.
    """
    for name in _CENTERS:
        centers = getattr(clustering, name, None)
        if centers is not None:
            return np.asarray(centers)
    return None


def steps_of(estimator: Any) -> list[Any]:
    """List the steps of a pipeline, of pipelines within it too, that predict."""
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [
        inner
        for _, step in estimator.steps
        if step not in (None, "passthrough") and not hasattr(step, "fit_resample")
        for inner in steps_of(step)
    ]


def layout_of(
    estimator: Any,
    channel_axis: int | None,
    image_shape: tuple[int, ...] | None,
) -> dict[str, Any]:
    """Say how images stand in X, as an estimator knows where the caller does not.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Of a pipeline the first step that has such parameters is asked.
    channel_axis : int or None
        As the caller gave it.
    image_shape : tuple of int or None
        As the caller gave it.

    Returns
    -------
    layout : dict
        `channel_axis` and `image_shape`.
    """
    for step in steps_of(estimator):
        if channel_axis is None:
            channel_axis = getattr(step, "channel_axis", None)
        if image_shape is None:
            image_shape = getattr(step, "image_shape", None)
    return {
        "channel_axis": -1 if channel_axis is None else channel_axis,
        "image_shape": image_shape,
    }
