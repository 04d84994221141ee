# SPDX-License-Identifier: BSD-3-Clause
"""Arrays on disk train and predict as arrays in memory do."""

import os
import subprocess
import sys

import h5py
import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from skastro.datasets import LazyArray

pytestmark = pytest.mark.once


def test_data_on_disk_train_as_data_in_memory_do(tiny, spectra, on_disk):
    X, y = spectra
    from_disk = tiny().fit(on_disk, y)
    in_memory = tiny().fit(X, y)
    assert from_disk.score(X, y) > 0.95
    np.testing.assert_allclose(
        from_disk.predict_proba(on_disk), from_disk.predict_proba(X), atol=1e-6
    )
    # Other orders of the samples, but the same split and the same number of them.
    assert from_disk.history[-1]["valid_acc"] == in_memory.history[-1]["valid_acc"]
    sizes = from_disk.history[-1, "batches", :, "train_batch_size"]
    assert sizes == in_memory.history[-1, "batches", :, "train_batch_size"]
    assert from_disk.n_features_in_ == X.shape[1]


@pytest.mark.parametrize(
    "params",
    [
        {"sampler": "balanced"},
        {"class_weight": "balanced"},
        {"train_split": None, "schedule": None},
        {"precision": "bfloat16"},
    ],
)
def test_settings_work_on_disk_too(tiny, spectra, on_disk, params):
    X, y = spectra
    # Buffers of a few rows, so that the array is read in many pieces.
    clf = tiny(**params, iterator_train__buffer_size=24 * X[0].nbytes)
    clf.fit(on_disk, y)
    assert clf.score(on_disk, y) > 0.9
    again = tiny(**params, iterator_train__buffer_size=24 * X[0].nbytes)
    np.testing.assert_array_equal(
        again.fit(on_disk, y).predict_proba(X), clf.predict_proba(X)
    )


def test_samples_of_weight_zero_are_left_out_on_disk_too(tiny, spectra, on_disk):
    X, y = spectra
    weight = np.where(np.arange(len(X)) % 3 == 0, 0.0, 1.0)
    clf = tiny(train_split=None).fit(on_disk, y, sample_weight=weight)
    assert sum(clf.history[-1, "batches", :, "train_batch_size"]) == 80
    assert clf.score(X, y) > 0.9


def test_cross_validation_of_an_array_on_disk(tiny, spectra, on_disk):
    scores = cross_val_score(tiny(), LazyArray(on_disk), spectra[1], cv=3)
    in_memory = cross_val_score(tiny(), spectra[0], spectra[1], cv=3)
    np.testing.assert_allclose(scores, in_memory, atol=0.08)
    assert scores.mean() > 0.9


def test_bad_data_on_disk_are_refused(tiny, spectra, tmp_path):
    X, y = spectra
    clf = tiny(max_epochs=1).fit(X, y)
    X = X.copy()
    X[[7, 100], 3] = np.nan
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        bad = file.create_dataset("flux", data=X)
        names = file.create_dataset("names", data=np.full((120, 4), b"star"))
        phases = file.create_dataset("phases", data=np.full((120, 4), 1j))
        for refused in (lambda: clf.fit(bad, y), lambda: clf.predict(bad)):
            with pytest.raises(ValueError, match=r"2 NaN in 2 of 120 rows \(7, 100\)"):
                refused()
        with pytest.raises(TypeError, match="holds numbers"):
            clf.fit(names, y)
        with pytest.raises(ValueError, match="takes real numbers"):
            clf.fit(phases, y)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            clf.fit(bad, y[:-1])
        with pytest.raises(ValueError, match=r"shape \(4, 12\)"):
            clf.predict(file.create_dataset("cube", data=X.reshape(120, 4, 12)))
        with pytest.raises(ValueError, match="0 sample"):
            clf.predict(file.create_dataset("none", data=X[:0]))
        with pytest.raises(ValueError, match="takes 2-D or 3-D X"):
            clf.fit(file.create_dataset("row", data=X[:, 0]), y)
    assert clf.score(spectra[0], y) > 0.5


def test_spectra_on_disk_in_another_type(tiny, spectra, on_disk):
    X, y = spectra
    clf = tiny().fit(on_disk.astype("f8"), y)
    np.testing.assert_allclose(
        clf.predict_proba(on_disk.astype("f8")), clf.predict_proba(X), atol=1e-6
    )


def test_float64_on_disk_beyond_float32_is_refused(tiny, spectra, tmp_path):
    clf = tiny(max_epochs=1).fit(*spectra)
    X = spectra[0].astype(np.float64)
    X[5, 5] = 1e300
    with h5py.File(tmp_path / "large.h5", "w") as file:
        large = file.create_dataset("flux", data=X)
        for refused in (lambda: clf.fit(large, spectra[1]), lambda: clf.predict(large)):
            with pytest.raises(ValueError, match=r"1e\+300, in rows 5"):
                refused()


def test_memory_maps_from_joblib_give_the_same(tiny, spectra, tmp_path):
    X, y = spectra
    joblib.dump(X, tmp_path / "X.joblib")
    mapped = joblib.load(tmp_path / "X.joblib", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(
        tiny().fit(mapped, y).predict_proba(X), tiny().fit(X, y).predict_proba(X)
    )


MEMORY_SCRIPT = """
import resource, sys
import h5py, numpy as np, torch
from skastro import GalaxyClassifier
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
class Small(torch.nn.Module):
    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.conv = torch.nn.Conv2d(n_channels, 4, 8, stride=8)
        self.linear = torch.nn.Linear(4, n_outputs)
    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).mean(dim=(2, 3)))
settings = dict(max_epochs=1, verbose=0, batch_size=32,
                iterator_train__buffer_size=2**23, iterator_valid__buffer_size=2**23)
with h5py.File(sys.argv[1]) as file:
    y = file["ans"][:]
    GalaxyClassifier(Small, **settings).fit(file["images"][:64], y[:64])
    before = peak()
    clf = GalaxyClassifier(Small, **settings).fit(file["images"], y)
    clf.predict_proba(file["images"])
    print(peak() - before, file["images"].nbytes / 2**20)
"""


def test_memory_stays_small_beside_data_on_disk(tmp_path):
    path = tmp_path / "images.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (4000, 128, 128, 3), dtype="u1")
        block = rng.integers(0, 255, (250, 128, 128, 3), dtype=np.uint8)
        for start in range(0, len(images), len(block)):
            images[start : start + len(block)] = block
        file["ans"] = np.arange(len(images)) % 2
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(path)],
        capture_output=True,
        text=True,
        check=True,
        # What glibc holds back of freed memory differs from run to run.
        env={
            **os.environ,
            "MALLOC_MMAP_THRESHOLD_": "1048576",
            "MALLOC_TRIM_THRESHOLD_": "0",
        },
    )
    used, size = map(float, result.stdout.split())
    assert size > 180
    # Two buffers of 8 MiB, and what batches and threads take.
    assert used < 100
