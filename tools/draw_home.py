# SPDX-License-Identifier: BSD-3-Clause
"""Draw the pictures of the documentation's home page, from simulated data.

::

    python tools/draw_home.py docs/_static/home

draws ``spectra.png``, ``galaxies.png``, ``latent.png`` and ``electrons.png`` in about a
minute of one core. ``confusion_matrix.png`` in the same folder is what the snippets of
``docs/getting_started.rst`` write.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from sklearn.decomposition import PCA

from skastro import VAETransformer
from skastro.datasets import make_galaxies, make_spectra
from skastro.sevi import make_sevi

matplotlib.use("agg")
import matplotlib.pyplot as plt

BACKGROUND = "#10182b"
COLORS = {"STAR": "#ffb454", "GALAXY": "#7fd1ae", "QSO": "#7aa2f7"}


def canvas() -> tuple[Figure, plt.Axes]:
    """Return a figure of 480 x 300 pixels and axes that fill it."""
    figure = plt.figure(figsize=(4.8, 3.0), dpi=100, facecolor=BACKGROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def galaxy_colors(images: np.ndarray) -> np.ndarray:
    """Make colors of three bands, faint light beside bright."""
    blue, green, red = np.maximum(np.moveaxis(images, -1, 0), 1)
    pairs = zip(red / 1.6, green, 1.6 * blue, strict=True)
    return np.stack([make_lupton_rgb(*bands, stretch=500, Q=8) for bands in pairs])


def draw_spectra() -> Figure:
    """Draw a star, a galaxy and a quasar above each other."""
    spectra = make_spectra(300, snr=(30, 60), random_state=0)
    figure, axes = canvas()
    for level, (name, color) in enumerate(COLORS.items()):
        rows = np.flatnonzero(spectra.target == name)
        # The spectrum with the largest lines: they are what the picture is to show.
        smooth = spectra.flux[rows].reshape(len(rows), -1, 6).mean(axis=2)
        smooth /= np.median(smooth, axis=1, keepdims=True)
        contrast = np.abs(np.diff(smooth, axis=1)).mean(axis=1)
        flux = smooth[np.argsort(contrast)[-len(rows) // 10]]
        low, high = np.percentile(flux, [0.2, 99.8])
        height = 2 - level + 0.8 * ((flux - low) / (high - low)).clip(-0.1, 1.1)
        wavelength = spectra.wavelength.reshape(-1, 6).mean(axis=1)
        axes.plot(wavelength, height, color=color, linewidth=1.1)
        label = {"STAR": "star", "GALAXY": "galaxy", "QSO": "quasar"}[name]
        axes.text(8960, 2.84 - level, label, color=color, ha="right", fontsize=11)
    axes.set(xlim=(3850, 9050), ylim=(-0.15, 3.1))
    return figure


def draw_galaxies() -> Figure:
    """Draw a mosaic of galaxies in three bands."""
    galaxies = make_galaxies(
        24,
        size=80,
        bands=("g", "r", "z"),
        profile="both",
        sersic_index=(1, 2),
        magnitude=(17, 18.5),
        half_light_radius=(0.8, 1.8),
        noise=None,
        random_state=3,
        verbose=0,
    )
    figure, axes = canvas()
    mosaic = np.vstack(
        [
            np.hstack(list(row))
            for row in galaxy_colors(galaxies.images).reshape(4, 6, 80, 80, 3)
        ]
    )
    axes.imshow(mosaic, aspect="auto", interpolation="nearest")
    axes.set_ylim(310, 10)
    return figure


def draw_latent() -> Figure:
    """Draw galaxies at their places in the latent space of an autoencoder."""
    settings = {
        "size": 40,
        "bands": ("g", "r", "z"),
        "profile": "both",
        "sersic_index": (1, 2),
        "magnitude": (17, 19),
        "half_light_radius": (0.5, 1.2),
        "random_state": 0,
        "verbose": 0,
    }
    images = galaxy_colors(make_galaxies(260, **settings).images)
    # The same galaxies without noise are drawn: their sky is black.
    clean = galaxy_colors(make_galaxies(260, noise=None, **settings).images)
    vae = VAETransformer(
        latent_dim=6,
        module__widths=(16, 32),
        lr=3e-3,
        max_epochs=20,
        random_state=0,
        verbose=0,
    )
    places = PCA(2, random_state=0).fit_transform(vae.fit_transform(images))
    figure, axes = canvas()
    # Stamps fade out toward their edges.
    rows, columns = np.indices(clean.shape[1:3])
    fade = (20 - np.hypot(rows - 19.5, columns - 19.5)).clip(0, 5)[..., None] / 5
    taken: list[np.ndarray] = []
    span = np.ptp(places, axis=0)
    for place, image in zip(places, clean, strict=True):
        distances = [np.hypot(*((place - other) / span * (16, 10))) for other in taken]
        axes.plot(*place, ".", color="#7aa2f7", markersize=4, alpha=0.6)
        if min(distances, default=9) > 1.0:
            taken.append(place)
            # Dark sky is transparent, so that the points show.
            alpha = (image.max(axis=2, keepdims=True) / 60.0 - 0.4).clip(0, 1)
            thumbnail = np.concatenate([image / 255, alpha * fade], axis=2)
            box = OffsetImage(thumbnail, zoom=0.9)
            axes.add_artist(AnnotationBbox(box, place, frameon=False, zorder=3))
    low, high = places.min(axis=0) - 0.07 * span, places.max(axis=0) + 0.07 * span
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return figure


def draw_electrons() -> Figure:
    """Draw the image of two shells of electrons."""
    sevi = make_sevi(
        1,
        n_shells=2,
        size=300,
        n_electrons=2e5,
        min_separation=0.3,
        background=0.05,
        random_state=4,
        verbose=0,
    )
    figure, axes = canvas()
    image = sevi.images[0].astype(float)
    # Pairs of pixels are summed, so that single electrons do not make the file large.
    image = image.reshape(150, 2, 150, 2).sum(axis=(1, 3))
    norm = PowerNorm(0.6, 0, np.percentile(image, 99.5))
    axes.imshow(image, cmap="magma", norm=norm, interpolation="nearest")
    axes.set_ylim(142, 8)
    figure.set_facecolor(plt.get_cmap("magma")(0.0))
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "spectra": draw_spectra,
    "galaxies": draw_galaxies,
    "latent": draw_latent,
    "electrons": draw_electrons,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure without an alpha channel, in steps of 4, for a small file."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    Image.fromarray(pixels & 0xFC).save(path, optimize=True)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Draw the pictures named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=", ".join(PICTURES))
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or PICTURES:
        save(PICTURES[name](), options.folder / f"{name}.png")


if __name__ == "__main__":
    main()
