# SPDX-License-Identifier: BSD-3-Clause
"""All estimators of scikit-learn that fit two classes are written and read."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.discovery import all_estimators

from skastro import load_model, save_model

pytestmark = pytest.mark.once
# They take other data: text, dicts, images, one feature, several targets, kernels.
OTHER_DATA = {
    *("CountVectorizer", "DictVectorizer", "FeatureHasher", "HashingVectorizer"),
    *("IsotonicRegression", "KernelCenterer", "LabelBinarizer", "LabelEncoder"),
    *("MultiLabelBinarizer", "MultiTaskElasticNet", "MultiTaskElasticNetCV"),
    *("MultiTaskLasso", "MultiTaskLassoCV", "PatchExtractor", "TfidfTransformer"),
    *("RadiusNeighborsRegressor", "TfidfVectorizer", "SparseCoder"),
    *("CCA", "PLSCanonical", "PLSSVD"),
}
# Those that other estimators are given to.
AROUND = {
    *(
        "ClassifierChain",
        "ColumnTransformer",
        "FeatureUnion",
        "FixedThresholdClassifier",
    ),
    *(
        "FrozenEstimator",
        "GridSearchCV",
        "HalvingGridSearchCV",
        "HalvingRandomSearchCV",
    ),
    *("MultiOutputClassifier", "MultiOutputRegressor", "OneVsOneClassifier"),
    *("OneVsRestClassifier", "OutputCodeClassifier", "Pipeline", "RFE", "RFECV"),
    *(
        "RandomizedSearchCV",
        "RegressorChain",
        "SelectFromModel",
        "SelfTrainingClassifier",
    ),
    *("SequentialFeatureSelector", "StackingClassifier", "StackingRegressor"),
    *("TunedThresholdClassifierCV", "VotingClassifier", "VotingRegressor"),
}
# skops does not know the nodes of its tree.
NOT_WRITTEN = {"Birch"}


def dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


@pytest.mark.parametrize(
    "name",
    [n for n, _ in all_estimators() if n not in OTHER_DATA | AROUND | NOT_WRITTEN],
)
def test_estimators(name, tmp_path):
    rng = np.random.default_rng(0)
    X, y = np.abs(rng.normal(size=(40, 6))), 1 + np.arange(40) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        model = dict(all_estimators())[name]()
        settings = {"random_state": 0}
        settings |= {"n_components": 3} if name.endswith("RandomProjection") else {}
        known = model.get_params()
        model.set_params(**{k: v for k, v in settings.items() if k in known})
        model.fit(X, y)
        save_model(model, tmp_path / "model.skastro")
        loaded = load_model(tmp_path / "model.skastro")
        for method in ("predict", "transform"):
            if hasattr(model, method):
                expected = dense(getattr(model, method)(X))
                np.testing.assert_array_equal(
                    dense(getattr(loaded, method)(X)), expected
                )
    assert type(loaded) is type(model)
