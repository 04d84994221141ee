# SPDX-License-Identifier: BSD-3-Clause
"""Pipelines whose steps need no names."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.pipeline
from imblearn.over_sampling import RandomOverSampler
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import check_estimator

from skastro.pipeline import Pipeline, make_pipeline
from skastro.preprocessing import MinMaxSpectra, RebinSpectra, StandardizeSpectra


@pytest.fixture
def spectra():
    """Return two classes of spectra that differ by a line, of any brightness."""
    rng = np.random.default_rng(0)
    X = rng.normal(10, 0.3, size=(60, 50))
    y = np.repeat(["star", "quasar"], [40, 20])
    X[y == "quasar", 20:25] += 5
    return X * rng.uniform(1, 1000, size=(60, 1)), y


class CountingSampler(BaseEstimator):
    """Repeats all rows and counts how often it was asked to."""

    def fit(self, X, y):
        return self

    def fit_resample(self, X, y):
        self.calls_ = getattr(self, "calls_", 0) + 1
        return np.concatenate([X, X]), np.concatenate([y, y])


class RowRecorder(LogisticRegression):
    """Notes how many rows it was fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.n_rows_ = len(X)
        self.weighted_ = sample_weight is not None
        return super().fit(X, y, sample_weight)


def names(pipeline):
    return [name for name, _ in pipeline.steps]


@pytest.mark.parametrize(
    "steps",
    [
        [MinMaxSpectra(), LogisticRegression()],
        [MinMaxSpectra(), MinMaxSpectra(), PCA(), MinMaxSpectra()],
        ["passthrough", PCA(), "passthrough", LogisticRegression()],
        [LogisticRegression()],
    ],
)
def test_names_are_those_of_scikit_learn(steps):
    expected = sklearn.pipeline.make_pipeline(*steps).steps
    assert Pipeline(steps).steps == expected
    assert Pipeline(tuple(steps)).steps == expected
    assert make_pipeline(*steps).steps == expected


def test_named_and_unnamed_steps_mix():
    pipeline = Pipeline(
        [
            MinMaxSpectra(),
            ("minmaxspectra", MinMaxSpectra()),
            ["pca", PCA()],
            PCA(),
            PCA(),
            ("pca-2", PCA()),
            LogisticRegression(),
        ]
    )
    assert names(pipeline) == [
        "minmaxspectra-1",
        "minmaxspectra",
        "pca",
        "pca-1",
        "pca-3",
        "pca-2",
        "logisticregression",
    ]
    X = np.random.default_rng(0).normal(size=(20, 8))
    assert pipeline.fit(X, np.arange(20) % 2).predict(X).shape == (20,)


def test_named_steps_are_kept_as_the_very_object():
    steps = [("scale", MinMaxSpectra()), ("classify", LogisticRegression())]
    assert Pipeline(steps).steps is steps
    assert Pipeline(steps).get_params(deep=False)["steps"] is steps


def test_given_list_is_not_changed(spectra):
    steps = [MinMaxSpectra(), LogisticRegression()]
    before = list(steps)
    Pipeline(steps).fit(*spectra)
    assert steps == before


def test_fit_predict_score(spectra):
    X, y = spectra
    pipeline = Pipeline([MinMaxSpectra(), LogisticRegression()]).fit(X, y)
    assert_array_equal(pipeline.classes_, ["quasar", "star"])
    assert pipeline.score(X, y) > 0.95
    assert pipeline.predict_proba(X).shape == (60, 2)
    assert pipeline.n_features_in_ == 50
    by_hand = LogisticRegression().fit(MinMaxSpectra().fit_transform(X), y)
    assert_array_equal(
        pipeline.predict(X), by_hand.predict(MinMaxSpectra().transform(X))
    )


def test_clone(spectra):
    pipeline = Pipeline(
        [MinMaxSpectra(clip=True), LogisticRegression(C=3)], memory=None, verbose=False
    ).fit(*spectra)
    copy = clone(pipeline)
    assert type(copy) is Pipeline
    assert names(copy) == names(pipeline)
    assert copy["minmaxspectra"] is not pipeline["minmaxspectra"]
    assert copy["logisticregression"].C == 3
    with pytest.raises(NotFittedError):
        copy.predict(spectra[0])
    clone(copy).fit(*spectra)


def test_get_and_set_params():
    pipeline = Pipeline([MinMaxSpectra(), LogisticRegression()])
    params = pipeline.get_params()
    assert params["minmaxspectra__quantile_range"] == (0.0, 100.0)
    assert params["logisticregression"] is pipeline[1]
    pipeline.set_params(minmaxspectra__clip=True, logisticregression__C=2.0)
    assert pipeline["minmaxspectra"].clip
    pipeline.set_params(minmaxspectra="passthrough")
    assert pipeline[0] == "passthrough"
    pipeline.set_params(**pipeline.get_params())
    assert names(pipeline) == ["minmaxspectra", "logisticregression"]
    with pytest.raises(ValueError, match="Invalid parameter 'minmaxspektra'"):
        pipeline.set_params(minmaxspektra__clip=True)


def test_steps_can_be_replaced_with_and_without_names(spectra):
    pipeline = Pipeline([MinMaxSpectra(), LogisticRegression()])
    pipeline.set_params(steps=[StandardizeSpectra(), PCA(2), LogisticRegression()])
    assert names(pipeline) == ["standardizespectra", "pca", "logisticregression"]
    pipeline.set_params(steps=[PCA(3), LogisticRegression()], pca__n_components=4)
    assert pipeline.fit(*spectra)["pca"].n_components_ == 4


def test_slicing(spectra):
    pipeline = Pipeline([RebinSpectra(n_bins=25), MinMaxSpectra(), PCA(2)])
    pipeline.fit(spectra[0])
    front = pipeline[:-1]
    assert type(front) is Pipeline
    assert names(front) == ["rebinspectra", "minmaxspectra"]
    assert front.transform(spectra[0]).shape == (60, 25)
    assert pipeline[-1] is pipeline.named_steps.pca
    assert len(pipeline) == 3


def test_grid_search(spectra):
    search = GridSearchCV(
        Pipeline([MinMaxSpectra(), RandomOverSampler(random_state=0), RowRecorder()]),
        {
            "minmaxspectra__quantile_range": [(0.0, 100.0), (1.0, 99.0)],
            "minmaxspectra": [MinMaxSpectra(), MinMaxSpectra(clip=True)],
            "rowrecorder__C": [0.1, 1.0],
        },
        cv=2,
    ).fit(*spectra)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_score_ > 0.9
    assert search.best_estimator_["rowrecorder"].n_rows_ == 80


def test_samplers_act_in_fit_only(spectra):
    X, y = spectra
    pipeline = Pipeline([MinMaxSpectra(), CountingSampler(), RowRecorder()]).fit(X, y)
    assert pipeline["rowrecorder"].n_rows_ == 120
    assert pipeline.predict(X).shape == (60,)
    pipeline.score(X, y)
    assert pipeline["countingsampler"].calls_ == 1
    predicted = cross_val_predict(clone(pipeline), X, y, cv=3)
    assert predicted.shape == (60,)


def test_three_dimensional_spectra():
    cube = np.random.default_rng(0).normal(size=(6, 2, 30))
    pipeline = Pipeline([RebinSpectra(n_bins=10), MinMaxSpectra()])
    scaled = pipeline.fit_transform(cube)
    assert scaled.shape == (6, 2, 10)
    assert_array_equal(scaled.max(axis=-1), 1)
    assert_array_equal(clone(pipeline).fit(cube).transform(cube), scaled)


def test_stateless_pipeline_transforms_without_fit(spectra):
    pipeline = Pipeline([MinMaxSpectra(), StandardizeSpectra()])
    assert_array_equal(
        pipeline.transform(spectra[0]), clone(pipeline).fit_transform(spectra[0])
    )


def test_pickle(spectra):
    X, y = spectra
    pipeline = Pipeline([MinMaxSpectra(), LogisticRegression()]).fit(X, y)
    again = pickle.loads(pickle.dumps(pipeline))
    assert names(again) == names(pipeline)
    assert_array_equal(again.predict_proba(X), pipeline.predict_proba(X))


def test_text_and_html():
    pipeline = Pipeline([MinMaxSpectra(clip=True), LogisticRegression()])
    assert "('minmaxspectra', MinMaxSpectra(clip=True))" in repr(pipeline)
    html = estimator_html_repr(pipeline)
    for text in ("Pipeline", "MinMaxSpectra", "LogisticRegression"):
        assert text in html
    assert pipeline._repr_mimebundle_()["text/html"]


def test_set_output(spectra):
    frame = pd.DataFrame(spectra[0], columns=[f"pixel{i}" for i in range(50)])
    pipeline = Pipeline([MinMaxSpectra(), RebinSpectra(n_bins=5), StandardScaler()])
    out = pipeline.set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns) == [f"rebinspectra{i}" for i in range(5)]
    assert list(pipeline.get_feature_names_out()) == list(out.columns)
    assert_array_equal(pipeline.feature_names_in_, frame.columns)


def test_memory(spectra, tmp_path):
    pipeline = Pipeline([MinMaxSpectra(), PCA(2), LogisticRegression()])
    pipeline.set_params(memory=str(tmp_path)).fit(*spectra)
    assert any(tmp_path.rglob("*.pkl"))
    again = clone(pipeline).fit(*spectra)
    assert_array_equal(again.predict(spectra[0]), pipeline.predict(spectra[0]))


def test_verbose(spectra, capsys):
    make_pipeline(MinMaxSpectra(), LogisticRegression(), verbose=True).fit(*spectra)
    printed = capsys.readouterr().out
    assert "(step 1 of 2) Processing minmaxspectra" in printed
    Pipeline([MinMaxSpectra(), LogisticRegression()]).fit(*spectra)
    assert capsys.readouterr().out == ""


def test_fit_parameters_by_step_name(spectra):
    pipeline = Pipeline([MinMaxSpectra(), RowRecorder()])
    pipeline.fit(*spectra, rowrecorder__sample_weight=np.ones(60))
    assert pipeline["rowrecorder"].weighted_


def test_metadata_routing(spectra):
    weight = np.where(spectra[1] == "star", 1.0, 2.0)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = RowRecorder().set_fit_request(sample_weight=True)
        classifier.set_score_request(sample_weight=True)
        pipeline = Pipeline([MinMaxSpectra(), classifier])
        pipeline.fit(*spectra, sample_weight=weight)
        assert pipeline["rowrecorder"].weighted_
        pipeline.score(*spectra, sample_weight=weight)


def test_transform_input(spectra):
    class Validating(LogisticRegression):
        """Notes the validation spectra that it is given."""

        def fit(self, X, y, X_val=None):
            self.X_val_ = X_val
            return super().fit(X, y)

    X, y = spectra
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            MinMaxSpectra(),
            Validating().set_fit_request(X_val=True),
            transform_input=["X_val"],
        )
        pipeline.fit(X, y, X_val=X[:7])
    assert_array_equal(pipeline[-1].X_val_, MinMaxSpectra().transform(X[:7]))


def failed_checks(pipeline):
    results = check_estimator(pipeline, on_fail=None, on_skip=None)
    return {x["check_name"] for x in results if x["status"] == "failed"}


def test_scikit_learn_contract_is_kept_as_by_scikit_learns_pipeline():
    # Its pipeline fits the steps that it was given, against the rule for estimators.
    steps = StandardScaler(), LogisticRegression()
    allowed = failed_checks(sklearn.pipeline.make_pipeline(*steps))
    assert allowed <= {
        "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters",
    }
    assert failed_checks(make_pipeline(*steps)) <= allowed


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (MinMaxSpectra(), TypeError, r"steps must be a list .* got MinMaxSpectra\(\)"),
        ([], ValueError, "pipeline is empty"),
        ([MinMaxSpectra, PCA()], TypeError, r"class MinMaxSpectra: write MinMaxSp"),
        ([("a", MinMaxSpectra), PCA()], TypeError, r"write MinMaxSpectra\(\)"),
        ([("a", PCA(), 3)], TypeError, r"a \(name, estimator\) pair, got \('a'"),
        ([("a", PCA()), ("a", PCA())], ValueError, "not unique"),
        (["minmax", PCA()], TypeError, "'minmax'"),
        ([LogisticRegression(), PCA()], TypeError, "fit and transform"),
    ],
)
def test_mistakes_are_named_by_fit_and_not_before(steps, error, message, spectra):
    pipeline = Pipeline(steps)
    clone(pipeline)
    repr(pipeline)
    with pytest.raises(error, match=message):
        pipeline.fit(*spectra)
