# SPDX-License-Identifier: BSD-3-Clause
"""What cannot be saved is refused before the training; a failed fit changes nothing."""

from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, Checkpoint, EpochScoring, TrainEndCheckpoint
from tiny_estimators import make_tiny

from skastro import SpectrumClassifier

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=3)


class Fails(Callback):
    """Raise in an epoch, counted from 1, or at the end."""

    def __init__(self, where="on_batch_end", epoch=1, error=RuntimeError):
        self.where, self.epoch, self.error = where, epoch, error

    def _fail(self, where, net):
        if where == self.where and len(net.history) == self.epoch:
            raise self.error("on purpose")

    def on_batch_begin(self, net, **_):
        self._fail("on_batch_begin", net)

    def on_batch_end(self, net, **_):
        self._fail("on_batch_end", net)

    def on_epoch_end(self, net, **_):
        self._fail("on_epoch_end", net)


class HoldsFunction(Callback):
    """Note a function, which neither a pickle nor a file of a training holds."""

    def initialize(self):
        self.function = lambda net: None
        return self


# Saving ------------------------------------------------------------------------------


class Counts(Callback):
    """Count the epochs that began."""

    n_epochs = 0

    def on_epoch_begin(self, net, **_):
        Counts.n_epochs += 1


@pytest.fixture(autouse=True)
def _nothing_is_counted():
    Counts.n_epochs = 0


@pytest.mark.parametrize("saver", [Checkpoint, TrainEndCheckpoint])
@pytest.mark.parametrize("holder", ["another", "score"])
def test_checkpoint_that_pickles(spectra, saver, holder, tmp_path):
    options = {"monitor": None} if saver is Checkpoint else {}
    checkpoint = saver(f_pickle="net.pkl", dirname=tmp_path, **options)
    held = {
        "another": HoldsFunction(),
        "score": EpochScoring(lambda net, X, y: 0.0, name="zero"),
    }[holder]
    net = tiny(callbacks=[("counts", Counts()), ("held", held), checkpoint])
    with pytest.raises(TypeError, match=r"'\w+Checkpoint|'Checkpoint.*f_pickle=None"):
        net.fit(*spectra)
    assert Counts.n_epochs == 0
    assert not (tmp_path / "net.pkl").exists()
    checkpoint.f_pickle = None
    assert len(net.fit(*spectra).history) == 3


def test_checkpoint_of_what_cannot_be_written(spectra, tmp_path):
    class Learns(SpectrumClassifier):
        def _check_training_data(self, *args, **kwargs):
            found = super()._check_training_data(*args, **kwargs)
            self.function_ = print
            return found

    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    with pytest.raises(TypeError, match="function_ is a builtin_function_or_method"):
        make_tiny(Learns, callbacks=[("counts", Counts()), checkpoint]).fit(*spectra)
    assert Counts.n_epochs == 0


def test_resume_with_a_callback_that_cannot_be_written(spectra, tmp_path):
    net = tiny(callbacks=[("counts", Counts()), ("held", HoldsFunction())])
    with pytest.raises(TypeError, match=r"held\.function is a function"):
        net.fit(*spectra, resume=tmp_path / "training.pt")
    assert not (tmp_path / "training.pt").exists()
    assert Counts.n_epochs == 0


# Failing -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["on_batch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("error", [RuntimeError, KeyError, MemoryError])
def test_refit_that_fails_in_its_first_epoch(spectra, where, error):
    X, y = spectra
    net = tiny().fit(X, y)
    before, history = net.predict_proba(X), net.history
    net.set_params(callbacks=[("fails", Fails(where, error=error))], random_state=5)
    with pytest.raises(error, match="on purpose"):
        net.fit(X[:, :20], np.where(y == "STAR", "QSO", "AGN"))
    np.testing.assert_array_equal(net.predict_proba(X), before)
    assert net.classes_.tolist() == ["GALAXY", "STAR"]
    assert net.history is history
    net.set_params(callbacks=None).partial_fit(X, y)


def test_first_fit_that_fails_in_its_first_epoch(spectra):
    X, y = spectra
    net = tiny(callbacks=[("fails", Fails())])
    with pytest.raises(RuntimeError, match="on purpose"):
        net.fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    expected = tiny().fit(X, y).predict_proba(X)
    net.set_params(callbacks=None)
    np.testing.assert_array_equal(net.fit(X, y).predict_proba(X), expected)


def test_epochs_that_are_complete_stay(spectra):
    X, y = spectra
    net = tiny(callbacks=[("fails", Fails(epoch=3))])
    with pytest.raises(RuntimeError, match="on purpose"):
        net.fit(X, y)
    assert len(net.history) == 3
    assert len(net.predict(X)) == len(X)
