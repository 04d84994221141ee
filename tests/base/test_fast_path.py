# SPDX-License-Identifier: BSD-3-Clause
"""The fast path seen from an estimator: precision, memory, data on disk."""

import pickle
import shutil
import subprocess
import sys

import h5py
import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback
from torch import nn

from skastro import GalaxyClassifier, SpectrumClassifier
from skastro.datasets import LazyArray

LENGTH = 48


@pytest.fixture
def spectra():
    """Make two classes of spectra that a network tells apart."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, LENGTH)).astype(np.float32)
    y = np.repeat(["GALAXY", "STAR"], 60)
    X[y == "STAR", 10:20] += 1.5
    return X, y


@pytest.fixture
def on_disk(spectra, tmp_path):
    """Write the spectra into an HDF5 file and open it."""
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file.create_dataset("flux", data=spectra[0], chunks=(16, LENGTH))
    with h5py.File(tmp_path / "spectra.h5") as file:
        yield file["flux"]


def tiny(**params):
    """Make an instance that trains in a blink."""
    defaults = {
        "module": "mlp",
        "max_epochs": 6,
        "lr": 1e-2,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
    }
    return SpectrumClassifier(**(defaults | params))


# Precision ------------------------------------------------------------------------

# The largest difference of a probability that the same weights may give. bfloat16
# keeps 8 bits of a number, float16 11; the networks are a dozen layers deep.
BOUND = {"bfloat16": 0.03, "float16": 0.005}


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("module", ["resnet10", "resnet18", "mlp", "densenet"])
def test_precisions_predict_alike(spectra, module, precision):
    X, y = np.repeat(spectra[0], 12, axis=1), spectra[1]
    settings = {"module__width": 8} if module.startswith("resnet") else {}
    if module == "densenet":
        settings = {"module__growth_rate": 4, "module__n_dense_blocks": 2}
    clf = tiny(module=module, precision="float32", max_epochs=2, **settings).fit(X, y)
    exact = clf.predict_proba(X)
    rounded = clf.set_params(precision=precision).predict_proba(X)
    assert exact.dtype == rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < BOUND[precision]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(spectra, precision):
    X, y = spectra
    clf = tiny(precision=precision).fit(X[::2], y[::2])
    assert clf.score(X[1::2], y[1::2]) > 0.9
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}


class SmallSignal(nn.Module):
    """A network whose gradients are below what float16 can hold."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(LENGTH, 8, bias=False)
        self.outer = nn.Linear(8, 2, bias=False)

    def forward(self, x):
        """Multiply by little on the way."""
        return self.outer(self.inner(x) * 1e-6) * 1e-3


def test_gradients_of_float16_are_scaled(spectra):
    class Gradients(Callback):
        def on_grad_computed(self, net, named_parameters, **_):
            self.largest = max(
                float(weight.grad.abs().max()) for _, weight in named_parameters
            )

    largest = []
    for precision in ("float32", "float16"):
        watch = Gradients()
        tiny(
            module=SmallSignal,
            precision=precision,
            max_epochs=1,
            augment=None,
            callbacks=[watch],
        ).fit(*spectra)
        largest.append(watch.largest)
    # What callbacks see, to clip it for instance, is the gradient itself.
    assert largest[1] == pytest.approx(largest[0], rel=0.05)


def test_small_networks_stay_with_float32(spectra):
    X, y = np.repeat(spectra[0], 12, axis=1), spectra[1]
    auto, exact = (
        tiny(module__hidden=(4,), precision=precision).fit(X, y).predict_proba(X)
        for precision in ("auto", "float32")
    )
    np.testing.assert_array_equal(auto, exact)


# The optimizer and compilation ------------------------------------------------------


def test_the_optimizer_steps_in_one_kernel_unless_told_otherwise(spectra):
    def groups(**params):
        return tiny(max_epochs=1, **params).fit(*spectra).optimizer_.param_groups[0]

    assert groups()["fused"]
    assert groups(optimizer=torch.optim.SGD)["fused"]
    assert not groups(optimizer__foreach=True)["fused"]
    assert "fused" not in groups(optimizer=torch.optim.Rprop)


class Doubling(nn.Module):
    """A linear classifier with a seam that the compiler sees through."""

    def __init__(self, n_outputs, input_size):
        super().__init__()
        self.linear = nn.Linear(input_size, n_outputs)

    def forward(self, x):
        """Classify twice the flux."""
        return self.linear(x[:, 0] * 2)


# The compiler's own, of torch's older one.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_compiled_networks_learn_and_pickle(spectra, backend, tmp_path):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("compiling for the CPU needs a C++ compiler")
    X, y = spectra
    settings = {"module": Doubling, "max_epochs": 3, "batch_size": 32}
    plain = tiny(**settings).fit(X, y)
    compiled = tiny(**settings, compile=True, compile__backend=backend).fit(X, y)
    np.testing.assert_allclose(
        compiled.predict_proba(X), plain.predict_proba(X), atol=1e-5
    )
    assert list(compiled.module_.state_dict()) == list(plain.module_.state_dict())
    copy = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_allclose(
        copy.predict_proba(X), compiled.predict_proba(X), atol=1e-6
    )
    copy.partial_fit(X, y)
    assert len(copy.history) == 6


# Batches too large for the memory -----------------------------------------------------


class Hungry(nn.Module):
    """A network for which the memory is too small above a number of samples."""

    def __init__(self, n_outputs, input_size, most=8):
        super().__init__()
        self.linear = nn.Linear(input_size, n_outputs)
        self.most = most
        self.sizes = []

    def forward(self, x):
        """Fail as a device does."""
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.sizes.append(len(x))
        return self.linear(x[:, 0])


def test_batches_are_halved_until_they_fit(spectra):
    X, y = spectra
    clf = tiny(module=Hungry, batch_size=32, train_split=None, augment=None)
    with pytest.warns(RuntimeWarning) as warned:
        clf.fit(X, y)
    messages = [str(warning.message) for warning in warned]
    assert [m.split(";")[0].split()[-2] for m in messages] == ["32", "16"]
    assert "batches of 8" in messages[1]
    assert "batch_size=8" in messages[1]
    # Every sample was seen in every epoch, in steps of their own.
    sizes = clf.history[:, "batches", :, "train_batch_size"]
    assert [sum(epoch) for epoch in sizes] == [120] * 6
    assert {size for epoch in sizes for size in epoch} == {8}
    assert clf.history[-1]["train_loss"] < clf.history[0]["train_loss"]
    with pytest.warns(RuntimeWarning, match="going on with batches of"):
        probability = clf.predict_proba(X)
    one_by_one = np.concatenate([clf.predict_proba(X[i : i + 5]) for i in (0, 5)])
    np.testing.assert_allclose(probability[:10], one_by_one, atol=1e-6)


def test_training_goes_on_from_the_same_weights(spectra):
    X, y = spectra
    settings = {"train_split": None, "augment": None, "max_epochs": 1}
    small = tiny(module=Hungry, batch_size=8, **settings).fit(X, y)
    with pytest.warns(RuntimeWarning, match="batches of 8"):
        halved = tiny(module=Hungry, batch_size=16, **settings).fit(X, y)
    np.testing.assert_allclose(
        halved.predict_proba(X[:8]), small.predict_proba(X[:8]), atol=1e-6
    )


def test_memory_too_small_for_one_sample(spectra):
    clf = tiny(module=Hungry, module__most=0, batch_size=4)
    with (
        pytest.warns(RuntimeWarning, match="going on with batches of"),
        pytest.raises(torch.OutOfMemoryError),
    ):
        clf.fit(*spectra)


# Arrays on disk ---------------------------------------------------------------------


def test_data_on_disk_train_as_data_in_memory_do(spectra, on_disk):
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
    assert from_disk.n_features_in_ == LENGTH


@pytest.mark.parametrize(
    "params",
    [
        {"sampler": "balanced"},
        {"class_weight": "balanced"},
        {"train_split": None, "schedule": None},
        {"precision": "bfloat16"},
    ],
)
def test_settings_work_on_disk_too(spectra, on_disk, params):
    X, y = spectra
    # Buffers of a few rows, so that the array is read in many pieces.
    clf = tiny(**params, iterator_train__buffer_size=24 * LENGTH * 4)
    clf.fit(on_disk, y)
    assert clf.score(on_disk, y) > 0.9
    again = tiny(**params, iterator_train__buffer_size=24 * LENGTH * 4)
    np.testing.assert_array_equal(
        again.fit(on_disk, y).predict_proba(X), clf.predict_proba(X)
    )


def test_samples_of_weight_zero_are_left_out_on_disk_too(spectra, on_disk):
    X, y = spectra
    weight = np.where(np.arange(len(X)) % 3 == 0, 0.0, 1.0)
    clf = tiny(train_split=None).fit(on_disk, y, sample_weight=weight)
    assert sum(clf.history[-1, "batches", :, "train_batch_size"]) == 80
    assert clf.score(X, y) > 0.9


def test_cross_validation_of_an_array_on_disk(spectra, on_disk):
    scores = cross_val_score(tiny(), LazyArray(on_disk), spectra[1], cv=3)
    in_memory = cross_val_score(tiny(), spectra[0], spectra[1], cv=3)
    np.testing.assert_allclose(scores, in_memory, atol=0.08)
    assert scores.mean() > 0.9


def test_bad_data_on_disk_are_refused(spectra, tmp_path):
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_predictions_look_at_every_batch(spectra, bad):
    clf = tiny(max_epochs=1).fit(*spectra)
    X = spectra[0].copy()
    X[-1, -1] = bad
    with pytest.raises(ValueError, match=r"1 of 120 rows \(119\)"):
        clf.predict_proba(X)
    # A sum that overflows is no infinity in X.
    X[:] = 3e38
    with np.errstate(over="ignore"):
        assert clf.predict_proba(X).shape == (120, 2)


def test_memory_maps_from_joblib_give_the_same(spectra, tmp_path):
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
    GalaxyClassifier(Small, **settings).fit(file["images"][:256], y[:256])
    before = peak()
    clf = GalaxyClassifier(Small, **settings).fit(file["images"], y)
    clf.predict_proba(file["images"])
    print(peak() - before, file["images"].nbytes / 2**20)
"""


def test_memory_stays_small_beside_data_on_disk(tmp_path):
    path = tmp_path / "images.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (16_000, 64, 64, 3), dtype="u1")
        block = rng.integers(0, 255, (1000, 64, 64, 3), dtype=np.uint8)
        for start in range(0, len(images), len(block)):
            images[start : start + len(block)] = block
        file["ans"] = np.arange(len(images)) % 2
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    used, size = map(float, result.stdout.split())
    assert size > 180
    # Two buffers of 8 MiB, and what batches, threads and the allocator take.
    assert used < 100


# Callbacks, and devices ---------------------------------------------------------------


def test_callbacks_see_each_loss_when_they_look(spectra):
    class Watch(Callback):
        def on_batch_end(self, net, training, **_):
            key = "train_loss" if training else "valid_loss"
            self.losses.append(net.history[-1, "batches", -1, key])

        def on_train_begin(self, net, **_):
            self.losses = []

    clf = tiny(callbacks=[("watch", Watch())], max_epochs=2).fit(*spectra)
    losses = dict(clf.callbacks_)["watch"].losses
    assert len(losses) == 2 * (7 + 1)
    assert all(isinstance(loss, float) for loss in losses)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_the_gpu_agrees_with_the_cpu(spectra, precision):
    X, y = spectra
    on_gpu = tiny(device="cuda", precision=precision).fit(X, y)
    assert on_gpu.score(X, y) > 0.95
    probability = on_gpu.predict_proba(X)
    on_cpu = pickle.loads(pickle.dumps(on_gpu)).set_params(precision="float32")
    on_cpu.set_params(device="cpu")
    on_cpu.module_.to("cpu")
    np.testing.assert_allclose(on_cpu.predict_proba(X), probability, atol=0.03)


@pytest.mark.gpu
def test_data_stay_on_the_gpu_in_their_own_dtype():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4000, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 2, 4000)

    class Memory(Callback):
        def on_epoch_end(self, net, **_):
            self.used = torch.cuda.memory_allocated()

    watch = Memory()
    clf = GalaxyClassifier(
        module__width=4, max_epochs=2, verbose=0, device="cuda", callbacks=[watch]
    )
    clf.fit(images, y)
    assert images.nbytes < watch.used < 2.5 * images.nbytes
    del clf
    assert torch.cuda.memory_allocated() < images.nbytes


@pytest.mark.gpu
@pytest.mark.parametrize("fits", [True, False])
def test_resident_and_streamed_data_train_alike(spectra, on_disk, fits, monkeypatch):
    if not fits:
        monkeypatch.setattr("skastro.training._device.free_for_data", lambda device: 0)
    X, y = spectra
    for data in (X, on_disk):
        assert tiny(device="cuda").fit(data, y).score(X, y) > 0.95


# What a fresh pair of eyes found ----------------------------------------------------


def test_predictions_through_a_data_loader_look_for_nan_too(spectra):
    X, y = spectra
    clf = tiny(max_epochs=1, iterator_valid__num_workers=0).fit(X, y)
    X = X.copy()
    X[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 120 rows \(3\)"):
        clf.predict_proba(X)


class Steep(nn.Module):
    """A network whose first scaled gradients overflow in float16."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(LENGTH, 2)

    def forward(self, x):
        """Classify three hundred times the flux."""
        return self.linear(x * 300)


def test_partial_fit_keeps_the_scale_of_float16(spectra):
    X, y = spectra
    clf = tiny(module=Steep, precision="float16", max_epochs=1, lr=1e-3)
    clf.set_params(train_split=None, augment=None, batch_size=-1, schedule=None)
    before = clf.partial_fit(X, y).score(X, y)
    for _ in range(40):
        clf.partial_fit(X, y)
    assert clf.score(X, y) > before + 0.1
    pickle.loads(pickle.dumps(clf)).partial_fit(X, y)


def test_float16_needs_an_optimizer_that_steps_once(spectra):
    clf = tiny(precision="float16", optimizer=torch.optim.LBFGS)
    with pytest.raises(ValueError, match="precision='bfloat16'"):
        clf.fit(*spectra)


def test_every_layer_is_in_the_mode_of_the_step(spectra):
    class Modes(nn.Module):
        def __init__(self):
            super().__init__()
            self.modes = []

        def forward(self, x):
            self.modes.append(self.training)
            return x

    module = nn.Sequential(Modes().eval(), nn.Linear(LENGTH, 2))
    clf = tiny(module=module, max_epochs=2, train_split=None).fit(*spectra)
    assert set(clf.module_[0].modes) == {True}
    clf.module_[0].train()
    clf.predict(spectra[0][:2])
    assert clf.module_[0].modes[-1] is False


def test_outputs_in_training_mode_keep_the_order(spectra):
    X, y = spectra
    clf = tiny(max_epochs=1, augment=None, sampler="balanced").fit(X, y)
    torch.testing.assert_close(clf.forward(X, training=True), clf.forward(X))


def test_spectra_on_disk_in_another_type(spectra, on_disk):
    X, y = spectra
    clf = tiny().fit(on_disk.astype("f8"), y)
    np.testing.assert_allclose(
        clf.predict_proba(on_disk.astype("f8")), clf.predict_proba(X), atol=1e-6
    )


def test_float64_on_disk_beyond_float32_is_refused(spectra, tmp_path):
    clf = tiny(max_epochs=1).fit(*spectra)
    X = spectra[0].astype(np.float64)
    X[5, 5] = 1e300
    with h5py.File(tmp_path / "large.h5", "w") as file:
        large = file.create_dataset("flux", data=X)
        for refused in (lambda: clf.fit(large, spectra[1]), lambda: clf.predict(large)):
            with pytest.raises(ValueError, match=r"1 of 120 rows \(5\)"):
                refused()


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules(spectra):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    assert tiny(module=module).fit(*spectra).score(*spectra) > 0.8


def test_instances_start_from_their_weights(spectra):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(LENGTH, 4), nn.Linear(4, 2))
    clf = tiny(module=module, optimizer=torch.optim.SGD, lr=0.1)
    assert clf.fit(*spectra).score(*spectra) > 0.8


def test_sparse_gradients(spectra):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(4, 2, sparse=True)

        def forward(self, x):
            return self.words(x.long().clamp(0, 3)).mean(dim=1)

    clf = tiny(module=Words, optimizer=torch.optim.SGD, augment=None)
    assert not clf.fit(*spectra).optimizer_.param_groups[0].get("fused")


def test_samplers_of_the_users_own(spectra):
    X, y = spectra
    sampler = torch.utils.data.SubsetRandomSampler(range(30))
    clf = tiny(iterator_train__sampler=sampler, train_split=None).fit(X, y)
    assert sum(clf.history[-1, "batches", :, "train_batch_size"]) == 30


def test_reversed_spectra(spectra):
    X, y = spectra
    clf = tiny().fit(X[:, ::-1], y)
    np.testing.assert_array_equal(
        clf.predict(X[:, ::-1]), clf.predict(X[:, ::-1].copy())
    )


def test_no_device_means_where_the_module_is(spectra):
    assert tiny(device=None).fit(*spectra).score(*spectra) > 0.9


def test_class_weights_need_arrays(spectra):
    dataset = torch.utils.data.TensorDataset(
        torch.as_tensor(spectra[0]), torch.zeros(120, dtype=torch.int64)
    )
    with pytest.raises(ValueError, match="class_weight needs X and y as arrays"):
        tiny(class_weight="balanced", classes=[0, 1]).fit(dataset)


def test_images_need_their_normalisation():
    X = np.zeros((30, 8, 8, 3), np.uint8)
    params = {"module__width": 4, "max_epochs": 1, "verbose": 0}
    clf = GalaxyClassifier(
        **params, module__n_channels=3, module__n_outputs=2
    ).initialize()
    with pytest.raises(NotFittedError, match="load_params restores weights alone"):
        clf.predict(X)
