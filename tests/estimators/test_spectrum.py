# SPDX-License-Identifier: BSD-3-Clause
"""Classifying spectra: every shape with every network, and real spectra."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from skastro import MinMaxSpectra, Pipeline, SpectrumClassifier, StandardizeSpectra
from skastro.datasets import make_spectra, read_spectra
from skastro.networks import available_modules

TINY = {
    "convnet": {"module__widths": (2, 2), "module__hidden": 3},
    "densenet": {"module__growth_rate": 1},
    "mlp": {"module__hidden": (2,)},
    "resnet50": {"module__width": 1},
    "resnet101": {"module__width": 1},
}


@pytest.mark.parametrize(
    "shape", [(1,), (2,), (1, 3), (3, 7), (2, 100), (5, 1), (10_000,)]
)
@pytest.mark.parametrize(
    "module", [name for name in available_modules(1) if not name.startswith("vae")]
)
def test_any_length_and_number_of_channels(module, shape):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, *shape))
    y = ["a", "b", "c", "a", "b"]
    settings = TINY.get(module, {"module__width": 2})
    if shape == (5, 1):
        # The axes are as they look.
        settings = settings | {"module__n_channels": 5}
    clf = SpectrumClassifier(
        # The last batch holds one sample.
        module,
        max_epochs=1,
        batch_size=4,
        verbose=0,
        random_state=0,
        **settings,
    ).fit(X, y)
    one_by_one = np.concatenate([clf.predict_proba(row[None]) for row in X])
    np.testing.assert_allclose(clf.predict_proba(X), one_by_one, atol=2e-2)
    assert set(clf.predict(X)) <= {"a", "b", "c"}


@pytest.mark.parametrize("module", ["vae", "vae-axes"])
def test_autoencoders_are_refused(module):
    clf = SpectrumClassifier(module, verbose=0)
    with pytest.raises(ValueError, match=f"'{module}' is an autoencoder, for VAETrans"):
        clf.fit(np.ones((4, 20)), [0, 1, 0, 1])


@pytest.mark.once
def test_defaults_learn_what_simulated_spectra_show():
    wavelength = np.linspace(3900, 9000, 300)
    train, test = (
        make_spectra(300, wavelength=wavelength, snr=(20, 50), random_state=seed)
        for seed in (0, 1)
    )
    pipe = Pipeline(
        [
            StandardizeSpectra(robust=True, clip=8),
            SpectrumClassifier(verbose=0, random_state=0, max_epochs=15),
        ]
    ).fit(train.flux, train.target)
    score = f1_score(test.target, pipe.predict(test.flux), average="macro")
    assert score > 0.8


@pytest.mark.once
def test_real_spectra_end_to_end(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    X = spectra.flux.reshape(-1, 600, 5).mean(axis=2)
    X_train, X_test, y_train, y_test = train_test_split(
        X, spectra.target, stratify=spectra.target, random_state=0
    )
    clf = SpectrumClassifier(verbose=0, random_state=0, max_epochs=15)
    pipe = Pipeline([MinMaxSpectra(quantile_range=(1, 99)), clf])
    predicted = pipe.fit(X_train, y_train).predict(X_test)
    assert f1_score(y_test, predicted, average="macro") > 0.7


@pytest.mark.slow
def test_defaults_beat_a_linear_model_on_real_spectra(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    scaler = StandardizeSpectra(robust=True, clip=8, nan_policy="interpolate")
    linear = Pipeline([scaler, PCA(20), LogisticRegression(max_iter=2000)])
    network = Pipeline([scaler, SpectrumClassifier(verbose=0, random_state=0)])
    scores = {"linear": [], "network": []}
    for seed in range(3):
        X_train, X_test, y_train, y_test = train_test_split(
            spectra.flux,
            spectra.target,
            test_size=0.25,
            stratify=spectra.target,
            random_state=seed,
        )
        for name, pipe in (("linear", linear), ("network", network)):
            predicted = pipe.fit(X_train, y_train).predict(X_test)
            scores[name].append(f1_score(y_test, predicted, average="macro"))
    assert np.mean(scores["network"]) > 0.92
    assert np.mean(scores["network"]) > np.mean(scores["linear"])
