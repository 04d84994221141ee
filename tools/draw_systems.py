# SPDX-License-Identifier: BSD-3-Clause
"""Draw the figures of the pages on published systems.

::

    SKASTRO_DATA=folder python -m tools.draw_systems docs/_static/systems

trains the network of each system for one to three minutes of one core, on less data and
for fewer epochs than published, and draws what it says of samples kept apart. It prints
the scores that the captions state. Names of systems after the folder select some. Three
figures show real data, of the files ``lamost.fits``, ``spectra.fits`` and
``galaxies_efigi.h5``; the others are of simulated data.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import ConfusionMatrixDisplay, f1_score, r2_score
from sklearn.model_selection import train_test_split

from benchmarks.simulated_galaxy10 import CLASSES, simulate
from skastro import (
    GalaxyClassifier,
    GalaxyRegressor,
    MinMaxSpectra,
    Pipeline,
    SEVIRegressor,
    SpectrumClassifier,
    StandardizeSpectra,
    VAETransformer,
)
from skastro.datasets import make_galaxies, read_galaxy10, read_spectra
from skastro.inspection import ActivationMapDisplay
from skastro.sevi import SEVISimulator, angular_density, make_sevi

matplotlib.use("agg")
import matplotlib.pyplot as plt

DATA = Path(os.environ.get("SKASTRO_DATA", ""))
COMMON: dict[str, Any] = {"random_state": 0, "verbose": 0}
GALAXY_CLASSES = [name for name, *_ in CLASSES]


def split(target: np.ndarray, test_size: float = 0.25) -> list[np.ndarray]:
    """Return the rows to learn from, and those kept apart."""
    return train_test_split(
        np.arange(len(target)), test_size=test_size, stratify=target, random_state=0
    )


def draw_confusion(
    axes: plt.Axes, true: np.ndarray, predicted: np.ndarray, names: Any, size: float = 8
) -> None:
    """Draw the fractions of each true class, without those that round to zero."""
    display = ConfusionMatrixDisplay.from_predictions(
        true,
        predicted,
        labels=range(len(names)) if np.issubdtype(true.dtype, np.integer) else names,
        display_labels=names,
        normalize="true",
        values_format=".2f",
        cmap="Blues",
        colorbar=False,
        text_kw={"fontsize": size},
        ax=axes,
    )
    for text in display.text_.ravel():
        if text.get_text() == "0.00":
            text.set_text("")
    axes.set(xlabel="Predicted class", ylabel="True class")
    axes.tick_params(labelsize=size)


def bin_spectra(flux: np.ndarray, n_pixels: int) -> np.ndarray:
    """Average neighboring pixels."""
    return flux.reshape(len(flux), -1, n_pixels).mean(axis=2)


def simulated_galaxy10(n_galaxies: int) -> tuple[np.ndarray, ...]:
    """Return images and classes to learn from, and of a fifth kept apart."""
    images, target = simulate(n_galaxies, 0)
    train, test = split(target, 0.2)
    return images[train], target[train], images[test], target[test]


def draw_galaxy10_resnet() -> Figure:
    """Draw a galaxy of each class, and what a short training confuses."""
    images, target, test_images, test_target = simulated_galaxy10(2000)
    # Half the size, so that ten epochs take minutes.
    small, test_small = (
        x[:, :68, :68].reshape(-1, 34, 2, 34, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
        for x in (images, test_images)
    )
    clf = GalaxyClassifier.from_recipe("resclass", max_epochs=8, **COMMON)
    predicted = clf.fit(small, target).predict(test_small)
    report("galaxy10_resnet", small, test_small, accuracy=predicted == test_target)
    figure = plt.figure(figsize=(8, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    examples = left.subplots(5, 2)
    for number, axes in enumerate(examples.T.ravel()):
        axes.imshow(images[target == number][1], origin="lower")
        axes.set_title(GALAXY_CLASSES[number], fontsize=8, pad=2)
        axes.set_axis_off()
    axes = right.subplots()
    draw_confusion(axes, test_target, predicted, GALAXY_CLASSES, 7)
    axes.tick_params(axis="x", rotation=60)
    return figure


def draw_galaxy10_mlp() -> Figure:
    """Draw what the perceptron confuses, and its training."""
    images, target, test_images, test_target = simulated_galaxy10(2000)
    clf = GalaxyClassifier.from_recipe("mlp", **COMMON).fit(images, target)
    predicted = clf.predict(test_images)
    report("galaxy10_mlp", images, test_images, accuracy=predicted == test_target)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 4.2), layout="constrained", width_ratios=(1, 1.5)
    )
    epoch = clf.history[:, "epoch"]
    left.plot(epoch, clf.history[:, "train_acc"], label="training")
    left.plot(epoch, clf.history[:, "valid_acc"], label="validation")
    left.set(xlabel="Epoch", ylabel="Accuracy", ylim=(0, 1))
    left.legend()
    draw_confusion(right, test_target, predicted, GALAXY_CLASSES, 7)
    right.tick_params(axis="x", rotation=60)
    return figure


def draw_lamost_resnet() -> Figure:
    """Draw the mean spectra of the types of stars, and what is confused."""
    spectra = read_spectra(DATA / "lamost.fits", label_column="subclass", verbose=0)
    names = ["A", "F", "G", "K"]
    target = spectra.target.astype("U1")
    rows = np.isin(target, names)
    flux, target = bin_spectra(spectra.flux[rows], 8), target[rows]
    train, test = split(target)
    resnet = SpectrumClassifier.from_recipe("resclass", max_epochs=8, **COMMON)
    pipe = Pipeline([StandardizeSpectra(), resnet]).fit(flux[train], target[train])
    predicted = pipe.predict(flux[test])
    report("lamost_resnet", train, test, macro_f1=f1_of(target[test], predicted))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.6), layout="constrained", width_ratios=(1.6, 1)
    )
    scaled = flux / np.median(flux, axis=1, keepdims=True)
    wavelength = bin_spectra(spectra.wavelength[None], 8)[0]
    for level, name in enumerate(names):
        mean = np.median(scaled[target == name], axis=0)
        left.plot(wavelength, mean + 1.2 * (3 - level), linewidth=1)
        left.text(9000, mean[-1] + 1.2 * (3 - level) + 0.15, name, ha="right")
    left.set(xlabel="Wavelength (Å)", ylabel="Flux, with offsets", yticks=[])
    draw_confusion(right, target[test], predicted, names)
    return figure


def draw_se_densenet() -> Figure:
    """Draw activation maps of a star, a galaxy and a quasar kept apart."""
    spectra = read_spectra(DATA / "spectra.fits", verbose=0)
    flux, target = bin_spectra(spectra.flux, 8), spectra.target
    train, test = split(target)
    densenet = SpectrumClassifier.from_recipe("wang2020", max_epochs=30, **COMMON)
    pipe = Pipeline([MinMaxSpectra(), densenet]).fit(flux[train], target[train])
    predicted = pipe.predict(flux[test])
    report("se_densenet", train, test, macro_f1=f1_of(target[test], predicted))
    right = test[predicted == target[test]]
    order = right[np.argsort(-spectra.snr[right], kind="stable")]
    best = [order[target[order] == name][0] for name in ("STAR", "GALAXY", "QSO")]
    figure, axes = plt.subplots(
        3, 1, figsize=(8, 5.4), layout="constrained", sharex=True
    )
    ActivationMapDisplay.from_estimator(
        pipe,
        flux[best],
        wavelength=bin_spectra(spectra.wavelength[None], 8)[0],
        redshift=spectra.redshift[best],
        ax=axes,
    )
    for axis in axes[:-1]:
        axis.set_xlabel("")
    return figure


def draw_sevi_resnet() -> Figure:
    """Draw an image of electrons, and the angular distributions measured in it."""
    simulator = SEVISimulator(size=64, n_electrons=(1e4, 1e6))
    network = SEVIRegressor.from_recipe(
        "published", n_simulated=600, n_replaced=60, max_epochs=12, **COMMON
    ).fit_simulator(simulator)
    fit = SEVIRegressor.from_pretrained("sevi-1shell", verbose=0)
    sevi = make_sevi(200, size=256, n_electrons=1e5, random_state=1, verbose=0)
    small = sevi.images.reshape(200, 64, 4, 64, 4).sum(axis=(2, 4))
    cosine = np.linspace(-1, 1, 201)
    beta = fit.predict(sevi.images)
    # Largest anisotropy: what the figure is to show.
    row = int(np.argmax(np.ptp(angular_density(sevi.beta, cosine), axis=1)))
    short = network.predict(small)
    weights = 2 / (4 * np.arange(1, 13) + 1)
    for name, predicted in {"network": short, "fit": beta}.items():
        loss = ((predicted - sevi.beta) ** 2 @ weights).mean()
        print(f"sevi_resnet, {name}: loss in 200 images {loss:.2g}")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.6), layout="constrained", width_ratios=(1, 1.4)
    )
    blocks = sevi.images[row].reshape(128, 2, 128, 2).sum(axis=(1, 3))
    left.imshow(blocks, cmap="magma", vmax=np.percentile(blocks, 99.5))
    left.set_axis_off()
    right.plot(cosine, angular_density(sevi.beta[row], cosine), "k", label="true")
    right.plot(
        cosine, angular_density(beta[row], cosine), "C0--", label="fit of shells"
    )
    right.plot(
        cosine, angular_density(short[row], cosine), "C1", label="ResNet-18 alone"
    )
    right.set(xlabel=r"$\cos\theta$", ylabel="Density of electrons")
    right.legend()
    return figure


def draw_galaxy_vae() -> Figure:
    """Draw galaxies kept apart above their reconstructions."""
    galaxies = read_galaxy10(DATA / "galaxies_efigi.h5")
    images = galaxies.images[:, 4:84, 4:84]
    images = images.reshape(-1, 40, 2, 40, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    train, test = split(galaxies.target)
    vae = VAETransformer.from_recipe("few-images", max_epochs=60, **COMMON)
    decoded = vae.fit(images[train]).reconstruct(images[test])
    flat = images.reshape(len(images), -1) / 255
    pca = PCA(35, random_state=0).fit(flat[train])
    linear = pca.inverse_transform(pca.transform(flat[test]))
    error = ((decoded / 255 - images[test] / 255) ** 2).mean()
    error_pca = ((linear - flat[test]) ** 2).mean()
    report("galaxy_vae", train, test, error=error, principal_components=error_pca)
    figure, axes = plt.subplots(3, 6, figsize=(6.4, 3.3), layout="constrained")
    rows = [images[test] / 255, decoded / 255, linear.reshape(decoded.shape)]
    labels = ["image", "autoencoder", "principal\ncomponents"]
    for line, label, pictures in zip(axes, labels, rows, strict=True):
        for axis, picture in zip(line, pictures[::55], strict=False):
            # Faint outskirts show where the scale is not linear.
            axis.imshow(picture.clip(0, 1) ** 0.7)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=8)
    return figure


def draw_galaxy_regression() -> Figure:
    """Draw the errors of magnitudes over the magnitudes."""
    galaxies = make_galaxies(
        4000, size=48, magnitude=(18, 22), random_state=0, verbose=0
    )
    magnitude = galaxies.parameters["magnitude"]
    train, test = np.arange(3200), np.arange(3200, 4000)
    reg = GalaxyRegressor(stretch="asinh", module__width=16, max_epochs=15, **COMMON)
    reg.fit(galaxies.images[train], magnitude[train])
    network = reg.predict(galaxies.images[test]) - magnitude[test]
    flux = galaxies.images.sum(axis=tuple(range(1, galaxies.images.ndim)))
    summed = -2.5 * np.log10(np.maximum(flux, 1)) - magnitude
    summed = summed[test] - np.median(summed[train])
    report(
        "galaxy_regression",
        train,
        test,
        r2=r2_score(magnitude[test], magnitude[test] + network),
        scatter=network.std(),
        summed=summed.std(),
    )
    figure, panels = plt.subplots(
        1, 2, figsize=(8, 3.4), layout="constrained", sharex=True, sharey=True
    )
    for axes, name, error in zip(
        panels, ("Summed flux", "Network"), (summed, network), strict=True
    ):
        axes.plot(magnitude[test], error, ".", markersize=4)
        axes.axhline(0, color="k", linewidth=0.8)
        axes.set(title=name, xlabel="True magnitude", ylim=(-0.6, 0.6))
    panels[0].set_ylabel("Measured - true magnitude")
    return figure


def f1_of(true: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the macro-F1."""
    return f1_score(true, predicted, average="macro")


def report(name: str, train: Any, test: Any, **scores: Any) -> None:
    """Print what the caption of a figure states."""
    numbers = ", ".join(f"{key} {np.mean(value):.5g}" for key, value in scores.items())
    print(f"{name}: {len(train)} to learn from, {len(test)} kept apart: {numbers}")


FIGURES: dict[str, Callable[[], Figure]] = {
    "galaxy10_resnet": draw_galaxy10_resnet,
    "lamost_resnet": draw_lamost_resnet,
    "se_densenet": draw_se_densenet,
    "sevi_resnet": draw_sevi_resnet,
    "galaxy_vae": draw_galaxy_vae,
    "galaxy_regression": draw_galaxy_regression,
    "galaxy10_mlp": draw_galaxy10_mlp,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure in few colors, for a small file."""
    figure.set_dpi(100)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(pixels).quantize(160, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Draw the figures named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=", ".join(FIGURES))
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or FIGURES:
        start = time.process_time()
        save(FIGURES[name](), options.folder / f"{name}.png")
        print(f"{name}: {time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
