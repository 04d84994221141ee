# SPDX-License-Identifier: BSD-3-Clause
"""VAETransformer: both contracts, shapes and units of X."""

import pickle
from functools import partial
from math import prod

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback
from tiny_estimators import make_tiny
from torch import nn

from skastro import MinMaxSpectra, VAETransformer
from skastro.datasets import LazyArray

pytestmark = pytest.mark.once


class LinearVAE(nn.Module):
    """The smallest autoencoder, for samples of any size."""

    def __init__(self, n_channels, input_size, latent_dim):
        super().__init__()
        size = (input_size,) if isinstance(input_size, int) else input_size
        self.shape = (n_channels, *size)
        self.mean = nn.Linear(prod(self.shape), latent_dim)
        self.log_variance = nn.Linear(prod(self.shape), latent_dim)
        self.decoder = nn.Linear(latent_dim, prod(self.shape))
        # Narrow posteriors of different means: no collapse after a few steps.
        nn.init.constant_(self.log_variance.bias, -4)
        nn.init.normal_(self.mean.weight, std=2 / prod(self.shape) ** 0.5)

    def encode(self, x):
        """Give the posterior."""
        x = x.flatten(1)
        return self.mean(x), self.log_variance(x)

    def decode(self, z):
        """Give the reconstruction."""
        return self.decoder(z).unflatten(1, self.shape)

    def forward(self, x):
        """Encode, draw and decode."""
        mean, log_variance = self.encode(x)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(z), mean, log_variance


tiny = partial(make_tiny, VAETransformer, module=LinearVAE, noise_scale=None)


# On the few numbers of some checks there is nothing that a network would keep.
@pytest.mark.filterwarnings("ignore:Only . of 3 latent dimensions are active")
@parametrize_with_checks(
    [
        tiny(noise_scale=0.02),
        tiny(
            beta=0.01, beta_warmup=0.5, free_bits=0.1, stretch="asinh", augment="noise"
        ),
        tiny(module="vae-axes", module__widths=(4,), noise_scale=0.02),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def spectra():
    """Make spectra that three numbers describe, and noise."""
    rng = np.random.default_rng(0)
    lines = np.exp(-0.5 * ((np.arange(24) - [[4], [12], [19]]) / 1.5) ** 2)
    strength = rng.normal(size=(240, 3)) + 3 * rng.choice([-1, 1], size=(240, 1))
    X = strength @ lines + 0.1 * rng.normal(size=(240, 24))
    return X.astype(np.float32)


def images(shape, dtype, seed=0):
    """Make images of two patterns, one of which is strong."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(2, *shape))
    values = np.tensordot(rng.normal(size=(60, 2)) * [3, 0.3], patterns, axes=1)
    values = (values - values.min()) / np.ptp(values)
    if np.issubdtype(dtype, np.integer):
        return np.round(250 * values).astype(dtype)
    return (40 * values - 7).astype(dtype)


# scikit-learn ---------------------------------------------------------------------


def test_latent_space_and_back(spectra):
    vae = tiny(max_epochs=40, noise_scale=0.02).fit(spectra)
    mean, std = vae.transform(spectra, return_std=True)
    assert mean.shape == std.shape == (240, 3)
    assert mean.dtype == np.float32
    assert (std > 0).all()
    assert (std.mean(axis=0) < 0.5).all()
    assert vae.n_active_dimensions_ == 3
    back = vae.inverse_transform(mean)
    assert np.var(back - spectra) < 0.05 * np.var(spectra)
    np.testing.assert_array_equal(vae.reconstruct(spectra), back)
    np.testing.assert_array_equal(vae.transform(spectra), mean)
    np.testing.assert_array_equal(
        vae.score_samples(spectra), vae.score_samples(spectra)
    )
    assert vae.score(spectra) == pytest.approx(vae.score_samples(spectra).mean())
    assert vae.score(spectra) > vae.score(spectra[:, ::-1]) + 10


def test_same_seed_same_numbers(spectra):
    before = torch.get_rng_state()
    first, second = tiny().fit(spectra), tiny().fit(spectra)
    np.testing.assert_array_equal(first.transform(spectra), second.transform(spectra))
    assert first.score(spectra) == second.score(spectra)
    np.testing.assert_array_equal(
        first.sample(3, random_state=1), second.sample(3, random_state=1)
    )
    torch.testing.assert_close(torch.get_rng_state(), before)
    fitted = tiny()
    np.testing.assert_array_equal(
        fitted.fit_transform(spectra), first.transform(spectra)
    )
    assert len(fitted.history) == 4
    other = tiny(random_state=1).fit(spectra)
    assert not np.allclose(other.transform(spectra), first.transform(spectra))


def test_samples_look_like_the_data(spectra):
    # Without the divergence posteriors would not fill the prior.
    vae = tiny(max_epochs=40).fit(spectra)
    drawn = vae.sample(500, random_state=0)
    assert drawn.shape == (500, 24)
    np.testing.assert_allclose(drawn.std(axis=0), spectra.std(axis=0), atol=0.5)
    with pytest.raises(ValueError, match="n_samples == 0"):
        vae.sample(0)


def test_names_of_the_features(spectra):
    frame = pd.DataFrame(spectra, columns=[f"flux{i}" for i in range(24)])
    vae = tiny().set_output(transform="pandas").fit(frame)
    names = [f"vaetransformer{i}" for i in range(3)]
    assert vae.get_feature_names_out().tolist() == names
    latent = vae.transform(frame)
    assert latent.columns.tolist() == names
    mean, std = vae.transform(frame, return_std=True)
    pd.testing.assert_frame_equal(mean, latent)
    assert std.shape == (240, 3)
    assert vae.reconstruct(frame).shape == (240, 24)
    with pytest.raises(NotFittedError):
        tiny().get_feature_names_out()


def test_pipelines_and_searches(spectra):
    pipe = make_pipeline(MinMaxSpectra(), tiny(max_epochs=5), KMeans(2, n_init=3))
    labels = pipe.fit_predict(spectra)
    assert len(np.unique(labels)) == 2
    search = GridSearchCV(
        tiny(max_epochs=20, noise_scale=0.05), {"latent_dim": [1, 3]}, cv=2
    )
    search.fit(spectra)
    assert search.best_params_ == {"latent_dim": 3}
    assert search.score(spectra) == search.best_estimator_.score(spectra)


def test_weights_are_routed_through_pipelines(spectra):
    weight = (spectra[:, 4] > 0).astype(float)
    expected = tiny().fit(spectra, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        vae = tiny().set_fit_request(sample_weight=True)
        kmeans = KMeans(2, n_init=3).set_fit_request(sample_weight=False)
        pipe = make_pipeline(vae, kmeans)
        pipe.fit(spectra, sample_weight=weight)
    np.testing.assert_array_equal(
        pipe[:-1].transform(spectra), expected.transform(spectra)
    )


def test_targets_are_ignored(spectra):
    expected = tiny().fit(spectra).transform(spectra)
    for y in np.full(240, np.nan), ["star"] * 240:
        np.testing.assert_array_equal(
            tiny().fit(spectra, y).transform(spectra), expected
        )
    assert not hasattr(tiny(), "predict")
    assert not hasattr(tiny(), "predict_proba")


def test_bad_input_is_refused(spectra):
    with pytest.raises(NotFittedError):
        tiny().transform(spectra)
    with pytest.raises(NotFittedError):
        tiny().sample()
    vae = tiny().fit(spectra)
    bad = spectra.copy()
    bad[[3, 5], 7] = np.nan
    for refused in (tiny().fit, vae.transform, vae.reconstruct, vae.score_samples):
        with pytest.raises(ValueError, match=r"contains NaN: 2 .* \(3, 5\)"):
            refused(bad)
    with pytest.raises(ValueError, match="23 features"):
        vae.transform(spectra[:, 1:])
    with pytest.raises(ValueError, match=r"Z has 4 columns, but .* 3 latent"):
        vae.inverse_transform(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        vae.inverse_transform(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="'free_bits' parameter"):
        tiny(free_bits=-1).fit(spectra)
    with pytest.raises(TypeError, match="did you mean 'latent_dim'"):
        VAETransformer(latent_dims=3)
    with pytest.raises(ValueError, match="augment='symmetries' is not for spectra"):
        tiny(augment="symmetries").fit(spectra)
    with pytest.raises(ValueError, match="augment='noise' is not for images"):
        tiny(augment="noise", image_shape=(4, 6)).fit(spectra)


class Forgetful(LinearVAE):
    """An autoencoder that does not give its posterior."""

    def forward(self, x):
        """Give the reconstruction alone."""
        return super().forward(x)[0]


def test_modules_that_are_no_autoencoder(spectra):
    with pytest.raises(TypeError, match="MLP has no encode and no decode"):
        tiny(module="mlp").fit(spectra)
    with pytest.raises(TypeError, match="Linear has no encode"):
        tiny(module=nn.Linear(24, 2)).fit(spectra)
    with pytest.raises(
        ValueError, match=r"Forgetful\.forward must give .* gave Tensor"
    ):
        tiny(module=Forgetful).fit(spectra)


# skorch -----------------------------------------------------------------------------


def test_parts_and_their_parameters(spectra, tmp_path):
    vae = tiny(
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=1e-4,
        module=LinearVAE(1, 24, latent_dim=5),
        callbacks__progress=None,
        callbacks__train_divergence=None,
        iterator_train__shuffle=False,
    ).fit(spectra)
    # An instance has its own latent size.
    assert vae.transform(spectra).shape == (240, 5)
    assert vae.optimizer_.defaults["momentum"] == 0.9
    assert "train_reconstruction" in vae.history[-1]
    assert "train_divergence" not in vae.history[-1]
    other = clone(vae).set_params(random_state=1).fit(spectra)
    vae.save_params(f_params=tmp_path / "weights.pt")
    other.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(other.transform(spectra), vae.transform(spectra))
    with pytest.raises(ValueError, match="did you mean 'latent_dim'"):
        tiny(module__latent_dims=3).fit(spectra)


def test_weights_alone_are_not_enough(spectra, tmp_path):
    torch.save(tiny().fit(spectra).module_.state_dict(), tmp_path / "weights.pt")
    vae = tiny(module__n_channels=1, module__input_size=24).initialize()
    vae.load_params(f_params=tmp_path / "weights.pt")
    for refused in (vae.transform, vae.score_samples, vae.reconstruct):
        with pytest.raises(NotFittedError, match="channel_low_"):
            refused(spectra)


@pytest.mark.parametrize("initialized", [False, True])
def test_saved_parameters_are_enough(spectra, tmp_path, initialized):
    fitted = tiny().fit(spectra)
    fitted.save_params(f_params=tmp_path / "weights.pt")
    vae = tiny(module__n_channels=1, module__input_size=24)
    if initialized:
        vae.initialize()
    vae.load_params(f_params=tmp_path / "weights.pt")
    for method in ("transform", "score_samples", "reconstruct"):
        expected = getattr(fitted, method)(spectra)
        np.testing.assert_array_equal(getattr(vae, method)(spectra), expected)


def test_pickles_and_further_training(spectra):
    vae = tiny().fit(spectra)
    copy = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(copy.transform(spectra), vae.transform(spectra))
    assert copy.score(spectra) == vae.score(spectra)
    before = vae.score(spectra)
    low = vae.channel_low_
    vae.partial_fit(2 * spectra)
    assert len(vae.history) == 8
    # The scaling stays that of the first samples.
    np.testing.assert_array_equal(vae.channel_low_, low)
    assert vae.score(spectra) != before
    assert clone(vae).get_params()["module"] is LinearVAE


def test_weights_of_samples(spectra):
    weight = (spectra[:, 4] > 0).astype(float)
    params = {"max_epochs": 3, "train_split": None}
    vae = tiny(**params).fit(spectra, sample_weight=weight)
    kept = spectra[weight > 0]
    expected = tiny(**params).fit(kept)
    np.testing.assert_allclose(vae.score(kept), expected.score(kept), rtol=1e-4)
    vae = tiny(**params).fit(spectra, sample_weight=1 + weight)
    assert abs(vae.score(kept) / expected.score(kept) - 1) > 1e-3


def test_weights_that_are_loaded_into_a_new_module(spectra, tmp_path):
    vae = tiny(module=LinearVAE(1, 24, latent_dim=5)).fit(spectra)
    vae.set_output(transform="pandas")
    latent = vae.transform(spectra)
    expected = vae.inverse_transform(latent)
    score = vae.score(spectra)
    torch.save(vae.module_.state_dict(), tmp_path / "alone.pt")
    vae.save_params(f_params=tmp_path / "weights.pt")
    vae.initialize().load_params(f_params=tmp_path / "weights.pt")
    pd.testing.assert_frame_equal(vae.transform(spectra), latent)
    np.testing.assert_array_equal(vae.inverse_transform(latent), expected)
    assert vae.sample(2).shape == (2, 24)
    assert vae.score(spectra) == score
    vae.initialize().load_params(f_params=tmp_path / "alone.pt")
    with pytest.raises(NotFittedError, match="noise_scale_"):
        vae.score(spectra)


class Watching(Callback):
    """Reconstruct samples after each epoch."""

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Note latent means and reconstructions."""
        X = dataset_train.dataset.X
        net.seen = [*getattr(net, "seen", []), (net.transform(X), net.reconstruct(X))]


def test_callbacks_can_reconstruct(spectra):
    vae = tiny(callbacks=[Watching()]).set_output(transform="pandas").fit(spectra)
    latent, back = vae.seen[1]
    assert latent.columns.tolist() == vae.get_feature_names_out().tolist()
    assert back.shape == spectra.shape
    # To look at them changes nothing.
    expected = tiny().fit(spectra)
    np.testing.assert_array_equal(vae.transform(spectra), expected.transform(spectra))


def test_batches_are_joined_in_order(spectra):
    vae = tiny(iterator_valid__batch_size=50).fit(spectra)
    latent = vae.transform(spectra)
    whole = vae.inverse_transform(latent)
    assert whole.shape == (240, 24)
    np.testing.assert_allclose(
        whole[100:140], vae.inverse_transform(latent[100:140]), rtol=1e-5, atol=1e-5
    )


def test_module_with_axes_goes_on_from_its_weights(spectra):
    vae = tiny(module="vae-axes", module__widths=(4,)).fit(spectra)
    again = tiny(module=vae.module_, max_epochs=0).fit(spectra)
    for name, value in vae.module_.state_dict().items():
        torch.testing.assert_close(again.module_.state_dict()[name], value)


class Started(LinearVAE):
    """An autoencoder that looks at samples before its training."""

    def start_from(self, samples):
        """Note them."""
        self.started = [*getattr(self, "started", []), samples]


def test_module_that_starts_from_samples(spectra):
    vae = tiny(module=Started, train_split=None).fit(spectra).partial_fit(spectra)
    (seen,) = vae.module_.started
    assert seen.shape == (240, 1, 24)
    assert (seen.min(), seen.max()) == (-1, 1)


# Images -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channel_axis", "dtype", "stretch"),
    [
        ((7, 9), -1, "uint8", None),
        ((9, 7, 3), -1, "uint8", "asinh"),
        ((2, 5, 6), 1, "uint16", None),
        ((2, 5, 6), -3, "float32", "asinh"),
        ((9, 7, 3), 3, ">f8", None),
    ],
)
def test_images_come_back_in_their_shape_and_units(shape, channel_axis, dtype, stretch):
    X = images(shape, np.dtype(dtype))
    params = {"stretch": stretch, "channel_axis": channel_axis, "noise_scale": 0.02}
    vae = tiny(max_epochs=40, **params).fit(X)
    back = vae.reconstruct(X)
    assert back.dtype == np.float32
    assert back.shape == X.shape
    assert np.var(back - X) < 0.2 * np.var(X.astype(float))
    n_channels = 1 if len(shape) == 2 else shape[channel_axis - (channel_axis > 0)]
    assert vae.channel_low_.shape == (n_channels,)
    if dtype == "uint8":
        np.testing.assert_array_equal(vae.channel_high_, 255)
    # What was reconstructed can be encoded in turn.
    again = vae.transform(back)
    assert np.corrcoef(again.ravel(), vae.transform(X).ravel())[0, 1] > 0.95
    flat = tiny(max_epochs=40, image_shape=shape, **params).fit(X.reshape(60, -1))
    np.testing.assert_allclose(
        flat.reconstruct(X.reshape(60, -1)).reshape(X.shape), back, rtol=1e-3, atol=1e-3
    )


class Seen(LinearVAE):
    """A network that notes what it is given."""

    def forward(self, x):
        """Encode and decode."""
        if self.training:
            self.batches = [*getattr(self, "batches", []), x.detach().clone()]
        return super().forward(x)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_varied_is_what_is_reproduced(dtype):
    X = images((6, 6), np.dtype(dtype))
    targets = []

    class Watched(VAETransformer):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            if training:
                targets.append(y_pred[3])
            return super().get_loss(y_pred, y_true, X=X, training=training)

    def to_one_value(batch):
        assert batch.shape[1:] == (1, 6, 6)
        # Bytes are divided by 255 for it, other numbers are as they are.
        assert batch.max() <= (1 if dtype == np.uint8 else 33)
        return torch.zeros_like(batch)

    vae = Watched(
        Seen,
        latent_dim=2,
        augment=to_one_value,
        max_epochs=1,
        verbose=0,
        batch_size=-1,
        train_split=None,
        device="cpu",
    ).fit(X)
    (seen,), (target,) = vae.module_.batches, targets
    torch.testing.assert_close(seen, target)
    expected = (
        2
        * (0 - vae.channel_low_[0])
        / np.ptp([vae.channel_low_[0], vae.channel_high_[0]])
        - 1
    )
    torch.testing.assert_close(seen, torch.full_like(seen, expected))
    # The validation and the transform see X as it is.
    assert vae.transform(X).std() > 0


def test_images_on_disk(tmp_path):
    X = images((8, 6, 3), np.uint8)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        data = file.create_dataset("images", data=X)
        vae = tiny(augment="rotations", max_epochs=3).fit(data)
        np.testing.assert_allclose(vae.transform(data), vae.transform(X), atol=1e-5)
        assert vae.score(LazyArray(data)) == pytest.approx(vae.score(X), rel=1e-5)
        out = vae.predict_stream(data, 16, out=tmp_path / "latent.h5", verbose=0)
    with h5py.File(out) as file:
        np.testing.assert_allclose(file["transform"][:], vae.transform(X), atol=1e-5)
        names = file["feature_names"].asstr()[:].tolist()
    assert names == vae.get_feature_names_out().tolist()


def test_stretch_shows_what_is_faint():
    rng = np.random.default_rng(0)
    X = rng.normal(10, 1, size=(80, 8, 8)).astype(np.float32)
    X[:, 4, 4] = 10 ** rng.uniform(2, 5, size=80)
    plain = tiny(module=Seen, max_epochs=1).fit(X)
    stretched = tiny(module=Seen, stretch="asinh", max_epochs=1).fit(X)
    np.testing.assert_allclose(stretched.channel_sky_, 10, atol=0.1)
    np.testing.assert_allclose(stretched.channel_softening_, 3, atol=0.2)

    def scatter_of_the_sky(vae):
        batch = torch.cat(vae.module_.batches)
        assert -1 - 1e-5 <= batch.min() <= batch.max() <= 1 + 1e-5
        return float(batch[:, :, :3].std())

    assert scatter_of_the_sky(stretched) > 500 * scatter_of_the_sky(plain)
