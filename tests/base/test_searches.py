# SPDX-License-Identifier: BSD-3-Clause
"""Candidates of a search that are trained at the same time do not meet."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Checkpoint, EarlyStopping, LoadInitState
from tiny_estimators import make_tiny

from skastro import SpectrumClassifier

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 24)).astype(np.float32)
Y = np.repeat([0, 0, 1], 20)
OWN_FILES = {
    "f_params": "{net.training_id_}.pt",
    "f_optimizer": None,
    "f_criterion": None,
    "f_history": None,
    "load_best": True,
}


def make(**params):
    return make_tiny(SpectrumClassifier, **{"max_epochs": 2, **params})


def id_of(net, X=X, y=Y, **kwargs):
    return net.fit(X, y, **kwargs).training_id_


def test_the_id_names_parameters_callbacks_and_data():
    ids = [
        id_of(make()),
        id_of(make(lr=0.02)),
        id_of(make(module__hidden=(7,))),
        id_of(make(random_state=1)),
        id_of(make(criterion__weight=torch.tensor([1.0, 2.0]))),
        id_of(make(callbacks=[EarlyStopping(patience=3)])),
        id_of(make(callbacks=[EarlyStopping(patience=4)])),
        id_of(make(), X[::-1].copy()),
        id_of(make(), y=1 - Y),
        id_of(make(), groups=np.arange(60) // 2),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(bytes.fromhex(one)) == 6 for one in ids)
    assert id_of(make(verbose=0, device="auto")) == ids[0]


def test_other_processes_find_the_same_id():
    code = textwrap.dedent("""
        import numpy as np
        from skastro import SpectrumClassifier
        X = np.arange(40, dtype="float32").reshape(10, 4)
        net = SpectrumClassifier("mlp", max_epochs=1, random_state=0, verbose=0)
        print(net.fit(X, np.arange(10) % 2).training_id_)
        """)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    net = SpectrumClassifier("mlp", max_epochs=1, random_state=0, verbose=0)
    data = np.arange(40, dtype="float32").reshape(10, 4)
    assert run.stdout.strip() == id_of(net, data, np.arange(10) % 2)


@pytest.mark.parametrize(
    "params",
    [{"random_state": None}, {"predict_nonlinearity": lambda x: x}],
    ids=["no seed", "lambda"],
)
def test_what_cannot_be_told_apart_has_an_id_of_its_own(params):
    assert id_of(make(**params)) != id_of(make(**params))


def test_the_id_is_kept(tmp_path):
    net = make().fit(X, Y)
    first = net.training_id_
    net.save_params(tmp_path / "params.pt")
    loaded = make()
    loaded.load_params(tmp_path / "params.pt")
    assert loaded.training_id_ == first
    assert net.partial_fit(X[:40], Y[:40]).training_id_ == first
    assert id_of(net, X[:50], Y[:50]) != first


def test_each_candidate_keeps_its_own_best_weights(tmp_path):
    net = make(max_epochs=4, callbacks=[Checkpoint(dirname=tmp_path, **OWN_FILES)])
    grid = {"lr": [1e-3, 0.5]}
    search = GridSearchCV(net, grid, cv=2, n_jobs=2).fit(X, Y)
    files = {path.name for path in tmp_path.iterdir()}
    assert len(files) == 5
    alone = GridSearchCV(net, grid, cv=2).fit(X, Y)
    assert {path.name for path in tmp_path.iterdir()} == files
    for name in ("split0_test_score", "split1_test_score"):
        found, expected = (s.cv_results_[name] for s in (search, alone))
        np.testing.assert_array_equal(found, expected)


class Intrudes(Checkpoint):
    """Another training writes the same file after the last epoch."""

    def on_train_end(self, net, **kwargs):
        other = make(lr=0.2).fit(X, Y)
        other.save_params(**{self.target: self.get_formatted_files(net)[self.target]})
        super().on_train_end(net, **kwargs)


@pytest.mark.parametrize("target", ["f_params", "f_history"])
def test_files_of_other_trainings_are_not_loaded(tmp_path, target):
    intrudes = Intrudes(dirname=tmp_path, load_best=True)
    intrudes.target = target
    net = make(callbacks=[intrudes])
    with pytest.raises(ValueError, match=r"another training.*net\.training_id_"):
        net.fit(X, Y)


def test_a_training_may_begin_with_the_files_of_another(tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path)
    other = make(callbacks=[checkpoint]).fit(X, Y)
    net = make(lr=0.02, callbacks=[LoadInitState(checkpoint)]).fit(X, Y)
    assert len(net.history) > 2
    assert net.training_id_ != other.training_id_
