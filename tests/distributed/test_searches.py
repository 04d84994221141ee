# SPDX-License-Identifier: BSD-3-Clause
"""Searches on a Dask cluster find what they find in one process."""

import joblib
import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV
from skorch.callbacks import Checkpoint
from tiny_estimators import make_tiny

from skastro import MinMaxSpectra, Pipeline, SpectrumClassifier
from skastro.datasets import LazyArray

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
Y = np.repeat([0, 1], 60)
X = RNG.normal(size=(120, 24)).astype(np.float32)
X[Y == 1, :8] += 3
GRID = {"net__lr": [1e-4, 1e-2], "net__batch_size": [16, 32]}


class Counted(LazyArray):
    """Data that count how often they are sent away."""

    n_sent = 0

    def __reduce__(self):
        Counted.n_sent += 1
        return LazyArray, (self.source,)


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            resources={"GPU": 1},
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def make_pipeline(**params):
    net = make_tiny(SpectrumClassifier, **{"max_epochs": 2, "device": "auto", **params})
    return Pipeline([("scale", MinMaxSpectra()), ("net", net)])


def test_the_scores_are_those_of_one_process(client, tmp_path):
    checkpoint = Checkpoint(
        dirname=tmp_path,
        f_params="{net.training_id_}.pt",
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        load_best=True,
    )
    pipe = make_pipeline(callbacks=[checkpoint])
    searches = [
        GridSearchCV(pipe, GRID, cv=2),
        HalvingRandomSearchCV(pipe, GRID, cv=2, random_state=0, min_resources=60),
    ]
    data = Counted(X)
    for search in searches:
        alone = search.fit(LazyArray(X), Y).cv_results_
        files = {path.name for path in tmp_path.iterdir()}
        with joblib.parallel_config("dask", scatter=[data, Y], resources={"GPU": 1}):
            n_sent = Counted.n_sent
            search.fit(data, Y)
        assert Counted.n_sent == n_sent > 0
        for name in ("params", "split0_test_score", "split1_test_score"):
            np.testing.assert_array_equal(search.cv_results_[name], alone[name])
        assert {path.name for path in tmp_path.iterdir()} == files
        assert search.best_estimator_.predict_proba(X).shape == (120, 2)


@pytest.mark.filterwarnings("ignore:DaskStorage is experimental")
def test_trials_without_promise_end_early(client):
    optuna = pytest.importorskip("optuna")
    from optuna_integration import DaskStorage, SkorchPruningCallback

    pipe = make_pipeline(max_epochs=6)

    def objective(trial):
        pipe.set_params(
            net__lr=trial.suggest_float("lr", 1e-9, 1.0, log=True),
            net__callbacks=[SkorchPruningCallback(trial, "valid_acc")],
        )
        history = pipe.fit(X, Y)[-1].history
        return max(history[:, "valid_acc"])

    study = optuna.create_study(
        storage=DaskStorage(client=client),
        direction="maximize",
        pruner=optuna.pruners.ThresholdPruner(lower=0.8, n_warmup_steps=3),
    )
    study.enqueue_trial({"lr": 3e-2})
    study.enqueue_trial({"lr": 1e-9})
    futures = [
        client.submit(study.optimize, objective, n_trials=1, pure=False)
        for _ in range(2)
    ]
    client.gather(futures)
    good, bad = sorted(study.trials, key=lambda trial: -trial.params["lr"])
    assert good.state.name == "COMPLETE"
    assert bad.state.name == "PRUNED"
    assert max(bad.intermediate_values) == 3
    assert study.best_params == {"lr": 3e-2}
