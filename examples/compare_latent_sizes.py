# SPDX-License-Identifier: BSD-3-Clause
"""
Compare latent sizes: how many numbers does an image need?
==========================================================

Trains a variational autoencoder with each of several numbers of latent dimensions on
the same images of galaxies, from an HDF5 file in the layout of Galaxy10, and compares
their reconstructions of images kept apart::

    python examples/compare_latent_sizes.py --train Galaxy10.h5 \
        --recipe galaxy-vae --epochs 100

The recipe ``galaxy-vae`` is a published autoencoder, and ``few-images`` one for files
of a thousand images or so. Without a file a few hundred galaxies are simulated.

For each latent size the script prints the loss (the negative evidence lower bound, in
nats per image), the mean squared error of the reconstructions and of those by the same
number of principal components, both with white at 1, the number of active dimensions
and the time. The folder ``--out`` receives them as ``latent_sizes.csv``, complete after
each size, and two figures: ``latent_sizes.png``, loss and error against latent size,
and ``reconstructions.png``, the same galaxies as each size reconstructs them.

To choose a number without figures, use scikit-learn's search::

    search = GridSearchCV(VAETransformer(), {"latent_dim": [8, 16, 32]})
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/compare_latent_sizes.png'

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skastro import VAETransformer
from skastro.datasets import make_galaxies, read_galaxy10
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt

N_DRAWN = 8


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train", metavar="FILE", help="HDF5 file of images")
    add("--simulate", type=int, default=400, metavar="N", help="galaxies without FILE")
    add("--n-images", type=int, metavar="N", help="take at most N images of FILE")
    add("--test-size", type=float, default=0.25, help="part that is kept apart")
    add(
        "--sizes",
        type=int,
        nargs="+",
        default=[4, 8, 16, 32, 64, 128],
        metavar="N",
        help="numbers of latent dimensions",
    )
    add("--recipe", default="few-images", help="settings: galaxy-vae or few-images")
    add("--epochs", type=int, default=20, help="passes over the images")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of split and training")
    add("--out", type=Path, default=Path("compare_latent_sizes_output"), help="folder")
    options = parser.parse_args(arguments)
    if min(options.sizes) < 1:
        parser.error("--sizes are numbers of dimensions, at least 1")
    options.sizes = sorted(set(options.sizes))
    return options


def load(options: argparse.Namespace) -> np.ndarray:
    """Read or simulate images."""
    if options.train is not None:
        print(f"Reading {options.train}")
        images = read_galaxy10(options.train, target=None).images
        if images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)):
            raise SystemExit(
                "The images must be bytes, gray or of 3 colors, but are "
                f"{images.dtype} of shape {images.shape[1:]}."
            )
        rows = np.random.default_rng(options.seed).permutation(len(images))
        return images[np.sort(rows[: options.n_images])]
    print(f"Simulating {options.simulate} galaxies")
    galaxies = make_galaxies(
        options.simulate,
        size=48,
        bands=("g", "r", "z"),
        profile="both",
        sersic_index=(1, 2),
        magnitude=(17, 19),
        half_light_radius=(0.6, 2.0),
        random_state=options.seed,
    )
    return np.stack([to_colors(image) for image in galaxies.images])


def to_colors(image: np.ndarray) -> np.ndarray:
    """Draw three bands as blue, green and red, faint light beside bright."""
    # Pixels are set to at least 1 electron: the stretch divides by the brightness.
    blue, green, red = np.maximum(np.moveaxis(image, -1, 0), 1)
    return make_lupton_rgb(red / 1.6, green, 1.6 * blue, stretch=400, Q=8)


def squared_error(restored: np.ndarray, images: np.ndarray) -> float:
    """Compare images of bytes with their reconstructions, with white at 1."""
    difference = (restored.reshape(images.shape) - images.astype(np.float64)) / 255
    return float(np.square(difference).mean())


def linear_errors(
    train: np.ndarray, test: np.ndarray, options: argparse.Namespace
) -> list[float]:
    """Reconstruct by principal components, one for each latent dimension."""
    rows, new = (images.reshape(len(images), -1) / 255 for images in (train, test))
    most = min(max(options.sizes), *rows.shape)
    pca = PCA(most, svd_solver="randomized", random_state=options.seed).fit(rows)
    places, errors = pca.transform(new), []
    for size in options.sizes:
        axes = pca.components_[:size]
        restored = pca.mean_ + places[:, : len(axes)] @ axes
        errors.append(squared_error(255 * restored, test))
    return errors


def draw_sizes(table: Table, path: Path) -> None:
    """Draw loss and error against latent size."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6, 6.5), sharex=True, layout="constrained"
    )
    sizes = table["latent_dim"]
    above.plot(sizes, table["loss"], "o-")
    above.set_ylabel("Held-out loss (nats an image)")
    below.plot(sizes, table["error"], "o-", label="variational autoencoder")
    below.plot(sizes, table["pca_error"], "o--", color="0.5", label="PCA")
    below.set(ylabel="Held-out mean squared error", xlabel="Latent dimensions")
    below.set_xscale("log", base=2)
    below.set_xticks(sizes, labels=[f"{size}" for size in sizes])
    below.minorticks_off()
    below.legend()
    save_figure(figure, path)


def draw_reconstructions(shown: dict[str, np.ndarray], path: Path) -> None:
    """Draw the same galaxies in each row."""
    n_columns = len(next(iter(shown.values())))
    figure, axes = plt.subplots(
        len(shown),
        n_columns,
        figsize=(1.2 * n_columns + 0.4, 1.22 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    for row, (name, images) in zip(axes, shown.items(), strict=True):
        row[0].set_ylabel(name)
        for ax, image in zip(row, images, strict=True):
            ax.imshow(np.clip(image / 255, 0, 1), cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
    save_figure(figure, path)


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure atomically."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    train, test = train_test_split(
        load(options), test_size=options.test_size, random_state=options.seed
    )
    print(f"Training on {len(train)} images of shape {train.shape[1:]}")
    pca_errors = linear_errors(train, test, options)
    shown = {"original": test[:N_DRAWN]}
    rows = []
    for size, pca_error in zip(options.sizes, pca_errors, strict=True):
        start = time.perf_counter()
        vae = VAETransformer.from_recipe(
            options.recipe,
            latent_dim=size,
            max_epochs=options.epochs,
            device=options.device,
            random_state=options.seed,
        ).fit(train)
        seconds = time.perf_counter() - start
        restored = vae.reconstruct(test)
        shown[f"{size}"] = restored[:N_DRAWN]
        row = {
            "latent_dim": size,
            "loss": round(-vae.score(test), 2),
            "error": round(squared_error(restored, test), 7),
            "pca_error": round(pca_error, 7),
            "active": vae.n_active_dimensions_,
            "seconds": round(seconds, 1),
        }
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()))
        with atomic_write(options.out / "latent_sizes.csv") as file:
            Table(rows).write(file, format="ascii.csv")
    draw_sizes(Table(rows), options.out / "latent_sizes.png")
    draw_reconstructions(shown, options.out / "reconstructions.png")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


if __name__ == "__main__":
    main()
