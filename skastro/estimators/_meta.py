# SPDX-License-Identifier: BSD-3-Clause
"""What classifiers around another estimator share."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping


class MetaClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifiers that show what the estimator inside has learnt of the data."""

    def _fitted(self) -> Any:
        """Give a fitted estimator of those inside; AttributeError before ``fit``."""
        return self.estimator_

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, sorted; the columns of ``predict_proba``."""
        return self._fitted().classes_

    @property
    def n_features_in_(self) -> int:
        """Length of the second axis of X in ``fit``."""
        return self._fitted().n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns, where X was a data frame."""
        return self._fitted().feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that parameters of ``fit`` go to that of the estimator inside.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(
            estimator=self.estimator, method_mapping=mapping
        )

    def __sklearn_tags__(self) -> Tags:
        """Take the input that the estimator inside takes."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.target_tags = replace(inner.target_tags, multi_output=False)
        if inner.classifier_tags is not None:
            tags.classifier_tags = replace(inner.classifier_tags, multi_label=False)
        return tags
