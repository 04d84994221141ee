# SPDX-License-Identifier: BSD-3-Clause
"""The fast path seen from an estimator: optimizers, callbacks, input, devices."""

import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from torch import nn

from skastro import GalaxyClassifier

pytestmark = pytest.mark.once

# The optimizer and compilation ------------------------------------------------------


def test_the_optimizer_steps_in_one_kernel_unless_told_otherwise(tiny, spectra):
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
def test_compiled_networks_learn_and_pickle(tiny, spectra, backend, tmp_path):
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


# Networks of the user's own ---------------------------------------------------------


def test_sparse_gradients(tiny, spectra):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(4, 2, sparse=True)

        def forward(self, x):
            return self.words(x.long().clamp(0, 3)).mean(dim=1)

    clf = tiny(module=Words, optimizer=torch.optim.SGD, augment=None)
    assert not clf.fit(*spectra).optimizer_.param_groups[0].get("fused")


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules(tiny, spectra):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    assert tiny(module=module).fit(*spectra).score(*spectra) > 0.8


def test_instances_start_from_their_weights(tiny, spectra):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(spectra[0].shape[1], 4), nn.Linear(4, 2))
    clf = tiny(module=module, optimizer=torch.optim.SGD, lr=0.1)
    assert clf.fit(*spectra).score(*spectra) > 0.8


# Callbacks and modes ------------------------------------------------------------------


def test_callbacks_see_each_loss_when_they_look(tiny, spectra):
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


def test_every_layer_is_in_the_mode_of_the_step(tiny, spectra):
    class Modes(nn.Module):
        def __init__(self):
            super().__init__()
            self.modes = []

        def forward(self, x):
            self.modes.append(self.training)
            return x

    module = nn.Sequential(Modes().eval(), nn.Linear(spectra[0].shape[1], 2))
    clf = tiny(module=module, max_epochs=2, train_split=None).fit(*spectra)
    assert set(clf.module_[0].modes) == {True}
    clf.module_[0].train()
    clf.predict(spectra[0][:2])
    assert clf.module_[0].modes[-1] is False


def test_outputs_in_training_mode_keep_the_order(tiny, spectra):
    X, y = spectra
    clf = tiny(max_epochs=1, augment=None, sampler="balanced").fit(X, y)
    torch.testing.assert_close(clf.forward(X, training=True), clf.forward(X))


# Input --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_predictions_look_at_every_batch(tiny, spectra, bad):
    clf = tiny(max_epochs=1).fit(*spectra)
    X = spectra[0].copy()
    X[-1, -1] = bad
    with pytest.raises(ValueError, match=r"1 of 120 rows \(119\)"):
        clf.predict_proba(X)
    # A sum that overflows is no infinity in X; the network's answer to it is.
    X[:] = 3e38
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match="The network gives NaN or infinity"),
    ):
        clf.predict_proba(X)


def test_predictions_through_a_data_loader_look_for_nan_too(tiny, spectra):
    X, y = spectra
    clf = tiny(max_epochs=1, iterator_valid__num_workers=0).fit(X, y)
    X = X.copy()
    X[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 120 rows \(3\)"):
        clf.predict_proba(X)


@pytest.mark.parametrize("options", [{}, {"iterator_valid__num_workers": 0}])
@pytest.mark.parametrize("method", ["predict_proba", "score_samples"])
def test_data_sets_are_looked_at_too(tiny, spectra, options, method):
    X, y = spectra
    clf = tiny(max_epochs=1, **options).fit(X, y)
    dataset = [(row, 0) for row in torch.as_tensor(X, dtype=torch.float32)]
    dataset = torch.utils.data.StackDataset(*map(list, zip(*dataset, strict=True)))
    np.testing.assert_allclose(
        getattr(clf, method)(dataset), getattr(clf, method)(X), atol=1e-6
    )
    dataset[70][0][2] = np.inf
    with pytest.raises(ValueError, match="Sample 70 of X has NaN or infinity"):
        getattr(clf, method)(dataset)


def test_reversed_spectra(tiny, spectra):
    X, y = spectra
    clf = tiny().fit(X[:, ::-1], y)
    np.testing.assert_array_equal(
        clf.predict(X[:, ::-1]), clf.predict(X[:, ::-1].copy())
    )


def test_samplers_of_the_users_own(tiny, spectra):
    X, y = spectra
    sampler = torch.utils.data.SubsetRandomSampler(range(30))
    clf = tiny(iterator_train__sampler=sampler, train_split=None).fit(X, y)
    assert sum(clf.history[-1, "batches", :, "train_batch_size"]) == 30


def test_class_weights_need_arrays(tiny, spectra):
    dataset = torch.utils.data.TensorDataset(
        torch.as_tensor(spectra[0]), torch.zeros(120, dtype=torch.int64)
    )
    with pytest.raises(ValueError, match="class_weight needs X and y as arrays"):
        tiny(class_weight="balanced", classes=[0, 1]).fit(dataset)


def test_images_need_their_normalization():
    X = np.zeros((30, 8, 8, 3), np.uint8)
    params = {"module__width": 4, "max_epochs": 1, "verbose": 0}
    clf = GalaxyClassifier(
        **params, module__n_channels=3, module__n_outputs=2
    ).initialize()
    with pytest.raises(NotFittedError, match=r"lacks channel_mean_.*save_params"):
        clf.predict(X)


# Devices ------------------------------------------------------------------------------


def test_no_device_means_where_the_module_is(tiny, spectra):
    clf = tiny(device=None).fit(*spectra)
    assert clf.score(*spectra) > 0.9
    assert clf.score_samples(spectra[0]).shape == (len(spectra[0]),)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_the_gpu_agrees_with_the_cpu(tiny, spectra, precision):
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
def test_resident_and_streamed_data_train_alike(
    tiny, spectra, on_disk, fits, monkeypatch
):
    if not fits:
        monkeypatch.setattr("skastro.training._device.free_for_data", lambda device: 0)
    X, y = spectra
    for data in (X, on_disk):
        assert tiny(device="cuda").fit(data, y).score(X, y) > 0.95


@pytest.mark.gpu
def test_batches_do_not_wait_for_the_gpu(tiny, spectra):
    def count_waits(n_copies):
        X, y = (np.concatenate([array] * n_copies) for array in spectra)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                tiny(device="cuda", max_epochs=2, batch_size=16).fit(X, y)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(w.message) for w in caught)

    assert 0 < count_waits(1) == count_waits(4)
