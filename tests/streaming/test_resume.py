# SPDX-License-Identifier: BSD-3-Clause
"""Interrupted streams go on where they stopped, and only with the same run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skastro.streaming import predict_stream

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).with_name("run_until_killed.py")
CHUNK = 10


class Interruptible(LogisticRegression):
    """Counts the rows that it is asked for, and stops after some chunks."""

    def predict_proba(self, X):
        if len(X) > 1:
            if self.n_rows_ >= self.limit_:
                raise self.error_
            self.n_rows_ += len(X)
        return super().predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def stopping_after(self, limit, error=None):
        self.n_rows_, self.limit_, self.error_ = 0, limit, error
        return self


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(95, 4)).astype(np.float32)


@pytest.fixture
def y(X):
    return np.array(["STAR", "GALAXY", "QSO"])[X[:, :3].argmax(axis=1)]


@pytest.fixture
def model(X, y):
    return Interruptible().fit(X, y).stopping_after(np.inf)


@pytest.fixture(params=["h5", "csv"])
def name(request):
    return f"classes.{request.param}"


@pytest.fixture
def unbroken(model, X, name, tmp_path):
    """Return the bytes that one run writes."""
    (tmp_path / "unbroken").mkdir()
    out = tmp_path / "unbroken" / name
    return predict_stream(model, X, CHUNK, out=out, verbose=0).read_bytes()


def interrupt(model, X, out, limit=40, error=KeyboardInterrupt, **arguments):
    """Run until some rows are done, and return the journal."""
    model.stopping_after(limit, error())
    with pytest.raises(error):
        predict_stream(model, X, CHUNK, out=out, verbose=0, **arguments)
    model.stopping_after(np.inf)
    return out.with_name(f".{out.name}.journal")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_only_the_missing_chunks_are_computed(
    model, X, name, unbroken, error, tmp_path
):
    out = tmp_path / name
    out.write_text("older")
    journal = interrupt(model, X, out, error=error)
    assert journal.exists()
    assert out.read_text() == "older"
    predict_stream(model, X, CHUNK, out=out, verbose=0)
    assert model.n_rows_ == 95 - 40
    assert out.read_bytes() == unbroken
    assert not journal.exists()


def test_note_says_how_to_go_on(model, X, tmp_path):
    model.stopping_after(40, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        predict_stream(model, X, CHUNK, out=tmp_path / "a.h5", verbose=0)
    (note,) = caught.value.__notes__
    assert note.startswith("40 of 95 rows are finished and kept in ")
    assert note.endswith("the same call continues from there.")


def test_progress_goes_on_too(model, X, tmp_path, capsys):
    interrupt(model, X, tmp_path / "a.h5")
    predict_stream(model, X, CHUNK, out=tmp_path / "a.h5")
    assert "40/95" in capsys.readouterr().err


def test_failure_in_the_first_chunk_leaves_nothing(model, X, tmp_path):
    interrupt(model, X, tmp_path / "a.h5", limit=0, error=MemoryError)
    assert os.listdir(tmp_path) == []


def test_journal_cut_anywhere(model, X, name, unbroken, tmp_path):
    out = tmp_path / name
    journal = interrupt(model, X, out, limit=40)
    content = journal.read_bytes()
    header = content.index(b"\n") + 1
    row = model.predict_proba(X[:1]).nbytes
    chunk = CHUNK * row + 4
    assert len(content) == header + 4 * chunk
    cuts = [0, 1, 10, 30, header - 1, header, header + 1, header + row]
    for n_chunks in range(1, 5):
        end = header + n_chunks * chunk
        cuts += [end - row, end - 5, end - 4, end - 1, end, end + 1, end + row]
    for cut in cuts:
        journal.write_bytes(content[:cut])
        model.stopping_after(np.inf)
        predict_stream(model, X, CHUNK, out=out, verbose=0)
        whole_chunks = max(0, min(cut, len(content)) - header) // chunk
        assert model.n_rows_ == 95 - whole_chunks * CHUNK
        assert out.read_bytes() == unbroken
        assert not journal.exists()


def test_damaged_chunk_is_computed_again(model, X, name, unbroken, tmp_path):
    out = tmp_path / name
    journal = interrupt(model, X, out, limit=40)
    content = bytearray(journal.read_bytes())
    content[-20] ^= 1
    journal.write_bytes(content)
    predict_stream(model, X, CHUNK, out=out, verbose=0)
    assert model.n_rows_ == 95 - 30
    assert out.read_bytes() == unbroken


def test_interrupted_while_the_file_is_written(
    model, X, name, unbroken, tmp_path, monkeypatch
):
    def interrupted(source, target):
        raise KeyboardInterrupt

    out = tmp_path / name
    with monkeypatch.context() as context:
        context.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_stream(model, X, CHUNK, out=out, verbose=0)
    assert set(os.listdir(tmp_path)) == {"unbroken", f".{name}.journal"}
    # What a killed run leaves of the file itself is removed.
    (tmp_path / f".classes.0123abcd.part{out.suffix}").write_text(
        "left by a killed run"
    )
    model.stopping_after(0)
    predict_stream(model, X, CHUNK, out=out, verbose=0)
    assert out.read_bytes() == unbroken
    assert set(os.listdir(tmp_path)) == {"unbroken", name}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_process(tmp_path):
    """What a killed process leaves is finished by another one."""

    def run(n_chunks, *files):
        command = [sys.executable, SCRIPT, str(n_chunks), *files]
        return subprocess.run(command, capture_output=True, text=True)

    names = ["classes.h5", "classes.csv"]
    unbroken = run(100, *(tmp_path / name for name in names))
    assert unbroken.returncode == 0, unbroken.stderr
    folder = tmp_path / "killed"
    folder.mkdir()
    for name in names:
        assert run(7, folder / name).returncode == -signal.SIGKILL
    assert set(os.listdir(folder)) == {f".{name}.journal" for name in names}
    # As if one kill had come while a chunk was being written.
    journal = folder / f".{names[0]}.journal"
    journal.write_bytes(journal.read_bytes()[:-50])
    finished = run(100, *(folder / name for name in names))
    assert finished.stdout.split() == [str(1000 - 6 * 80), str(1000 - 7 * 80)]
    assert set(os.listdir(folder)) == set(names)
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


def test_other_model_is_refused(model, X, y, tmp_path):
    out = tmp_path / "a.h5"
    journal = interrupt(model, X, out)
    content = journal.read_bytes()
    other = Interruptible(C=0.5).fit(X, y).stopping_after(np.inf)
    with pytest.raises(
        ValueError, match=r"predict_proba .* not what it was.* resume=F"
    ):
        predict_stream(other, X, CHUNK, out=out, verbose=0)
    assert other.n_rows_ == 0
    assert journal.read_bytes() == content
    predict_stream(other, X, CHUNK, out=out, resume=False, verbose=0)
    assert other.n_rows_ == 95
    expected = predict_stream(other, X, CHUNK, out=tmp_path / "b.h5", verbose=0)
    assert out.read_bytes() == expected.read_bytes()


def test_same_model_fitted_again_goes_on(model, X, y, tmp_path):
    interrupt(model, X, tmp_path / "a.h5")
    again = Interruptible().fit(X, y).stopping_after(np.inf)
    predict_stream(again, X, CHUNK, out=tmp_path / "a.h5", verbose=0)
    assert again.n_rows_ == 95 - 40


def test_other_class_names_are_refused(model, X, y, tmp_path):
    interrupt(model, X, tmp_path / "a.h5")
    model.classes_ = np.array(["galaxy", "qso", "star"])
    with pytest.raises(ValueError, match="the estimator's classes differs"):
        predict_stream(model, X, CHUNK, out=tmp_path / "a.h5", verbose=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_size": 9}, "chunk_size was 10 and is 9"),
        ({"method": "predict_log_proba"}, "'predict_proba' and is 'predict_log_proba'"),
        ({"ids": np.arange(95)}, "ids differs"),
        ({"ids": None}, "ids differs"),
    ],
)
def test_other_arguments_are_refused(model, X, changes, message, tmp_path):
    arguments = {"chunk_size": CHUNK, "ids": np.arange(1, 96), "out": tmp_path / "a.h5"}
    model.stopping_after(40, MemoryError())
    with pytest.raises(MemoryError):
        predict_stream(model, X, **arguments, verbose=0)
    with pytest.raises(ValueError, match=message):
        predict_stream(model, X, **(arguments | changes), verbose=0)


def test_other_data_are_refused(model, X, tmp_path):
    interrupt(model, X, tmp_path / "a.h5")
    with pytest.raises(ValueError, match="number of rows of X was 95 and is 90"):
        predict_stream(model, X[:90], CHUNK, out=tmp_path / "a.h5", verbose=0)
    with pytest.raises(ValueError, match="X differs"):
        predict_stream(model, X[::-1], CHUNK, out=tmp_path / "a.h5", verbose=0)


def test_ids_go_on(model, X, name, tmp_path):
    ids = [f"object {number}" for number in range(95)]
    interrupt(model, X, tmp_path / name, ids=ids)
    out = predict_stream(model, X, CHUNK, out=tmp_path / name, ids=ids, verbose=0)
    content = out.read_bytes()
    out = predict_stream(model, X, CHUNK, out=out, ids=ids, verbose=0)
    assert out.read_bytes() == content


def test_labels_go_on(model, X, name, tmp_path):
    out = tmp_path / name
    arguments = {"method": "predict", "verbose": 0}
    expected = predict_stream(model, X, CHUNK, out=out, **arguments).read_bytes()
    interrupt(model, X, out, method="predict")
    predict_stream(model, X, CHUNK, out=out, **arguments)
    assert model.n_rows_ == 95 - 40
    assert out.read_bytes() == expected


def test_two_runs_at_once_are_refused(model, X, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "a.h5"
    journal = interrupt(model, X, out)
    with open(journal, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="Another run of predict_stream"):
            predict_stream(model, X, CHUNK, out=out, verbose=0)
    predict_stream(model, X, CHUNK, out=out, verbose=0)
    assert model.n_rows_ == 95 - 40


def test_foreign_file_under_the_journals_name(model, X, tmp_path):
    foreign = tmp_path / ".a.h5.journal"
    foreign.write_text("Dear diary")
    with pytest.raises(ValueError, match="is no journal of predict_stream"):
        predict_stream(model, X, CHUNK, out=tmp_path / "a.h5", verbose=0)
    foreign.write_text('{"skastro_journal": 99}\n')
    with pytest.raises(ValueError, match="another version of skastro"):
        predict_stream(model, X, CHUNK, out=tmp_path / "a.h5", verbose=0)
    assert foreign.read_text() == '{"skastro_journal": 99}\n'
