# SPDX-License-Identifier: BSD-3-Clause
"""Write the small models of a release, which later releases have to open.

    python tools/write_golden_models.py

writes a folder of the version to ``tests/persistence/golden``. The models are fitted to
random numbers. Beside each stands what it predicts for some samples.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import skastro
from skastro import (
    EnsembleClassifier,
    GalaxyClassifier,
    MinMaxSpectra,
    Pipeline,
    RebinSpectra,
    RedshiftRegressor,
    RejectingClassifier,
    SEVIRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
    VAETransformer,
    make_pipeline,
    save_model,
)
from skastro.resampling import NoiseResampler
from skastro.sevi import make_sevi

FOLDER = Path(__file__).parents[1] / "tests" / "persistence" / "golden"
TINY = {"max_epochs": 2, "verbose": 0, "random_state": 0, "device": "cpu"}
RESNET = {"module": "resnet10", "module__width": 4}
VAE = {"module": "vae", "module__widths": (2, 4), "latent_dim": 2}
SEVI = {"n_betas": 1, "module__widths": (8,), "module__hidden": 8}


def main() -> None:
    """Fit and write all models."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    flux = rng.normal(5, 1, size=(40, 24)).astype(np.float32)
    flux[y == 1, 6:12] += 1.5
    labels = np.array(["GALAXY", "STAR"])[y]
    images = rng.integers(0, 255, size=(40, 16, 16, 3), dtype=np.uint8)
    electrons = make_sevi(40, size=16, n_electrons=1e4, random_state=0).images
    wavelength = np.linspace(4000, 5000, 24)
    spectra = SpectrumClassifier("mlp", **TINY)
    columns = [("blue", StandardScaler(), slice(0, 12)), ("red", PCA(2), slice(12, 24))]
    models = {
        "pipeline": (
            Pipeline(
                [
                    ("rebin", RebinSpectra(wavelength, n_bins=20)),
                    ("scale", MinMaxSpectra()),
                    ("noise", NoiseResampler(random_state=0)),
                    ("net", SpectrumClassifier(**RESNET, calibrate=True, **TINY)),
                ]
            ),
            (flux, labels),
        ),
        "columns": (make_pipeline(ColumnTransformer(columns), spectra), (flux, labels)),
        "ensemble": (EnsembleClassifier(spectra, 2, random_state=0), (flux, labels)),
        "rejecting": (RejectingClassifier(spectra), (flux, labels)),
        "regressor": (SpectrumRegressor("mlp", **TINY), (flux, flux[:, :2] * 1e3)),
        "redshift": (
            RedshiftRegressor(
                "mlp",
                module__hidden=(2,),
                wavelength=wavelength.tolist(),
                redshift={"GALAXY": [0.0, 0.02]},
                refine=False,
                **TINY,
            ),
            (flux, np.linspace(0, 0.02, 40)),
        ),
        "galaxies": (GalaxyClassifier(**RESNET, **TINY), (images, labels)),
        "clusters": (
            make_pipeline(
                VAETransformer(**VAE, **TINY), KMeans(2, n_init=1, random_state=0)
            ),
            (flux, None),
        ),
        "electrons": (
            SEVIRegressor(**SEVI, refine=False, **TINY),
            (electrons, np.linspace(-1, 2, 40)),
        ),
    }
    folder = FOLDER / skastro.__version__
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, (model, (X, target)) in models.items():
        model.fit(X, target)
        methods = ("predict", "predict_proba", "transform")
        found = {m: getattr(model, m)(X[:5]) for m in methods if hasattr(model, m)}
        save_model(model, folder / f"{name}.skastro")
        np.savez(folder / f"{name}.npz", X=X[:5], **found)


if __name__ == "__main__":
    main()
