# SPDX-License-Identifier: BSD-3-Clause
"""
Train an autoencoder from image files: a folder of JPEG images that stays on disk
=================================================================================

Lists the images of one shape in a folder, trains a variational autoencoder that reads
them during the training, and draws reconstructions of test images::

    python examples/train_vae_from_files.py --images images/ --epochs 100

Only the headers of the files are read for the list, which is written to ``train.txt``.
Only a few batches of images are in memory at any time, so the script works for hundreds
of thousands of files. With ``--pack`` they are decoded once, into an HDF5 file, from
which each epoch reads faster.

The autoencoder is a published one, the recipe ``galaxy-vae`` of ``VAETransformer``. It
has 100 epochs; fewer show the time that it needs. With 35 latent dimensions it has 6.6
million parameters for images of 3 x 256 x 256.

The folder ``--out`` receives ``train.txt``, ``reconstructions.png``, ``history.png``,
``latent.csv`` (the latent numbers of each file) and ``vae.skastro``.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/train_vae_from_files.png'

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from astropy.table import Table

from skastro import VAETransformer, save_model
from skastro.datasets import (
    ImageFiles,
    LazyArray,
    images_to_hdf5,
    read_galaxy10,
    select_images,
)
from skastro.inspection import HistoryDisplay, ReconstructionDisplay
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
    add("--images", metavar="FOLDER", required=True, help="folder, or list of files")
    add(
        "--shape",
        type=int,
        nargs=3,
        default=[3, 256, 256],
        metavar=("CHANNELS", "HEIGHT", "WIDTH"),
        help="of the images to take",
    )
    add("--pack", action="store_true", help="decode them once, into images.h5")
    add("--keep-apart", type=int, default=20, metavar="N", help="images to judge by")
    add("--latent-dim", type=int, default=35, help="latent dimensions")
    add("--epochs", type=int, default=10, help="passes over the images")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of all that is drawn by chance")
    add("--out", type=Path, default=Path("train_vae_output"), help="folder")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    listed = options.out / "train.txt"
    selection = select_images(options.images, tuple(options.shape), listed)
    print(
        f"{len(selection.paths)} images listed in {listed}, {len(selection.rejected)} "
        f"of another shape, {len(selection.unreadable)} unreadable"
    )
    paths = np.array(selection.paths)
    images: Any = ImageFiles(listed)
    if options.pack:
        images_to_hdf5(listed, options.out / "images.h5")
        images = read_galaxy10(options.out / "images.h5", target=None, lazy=True).images
    order = np.random.default_rng(options.seed).permutation(len(images))
    if not 0 < options.keep_apart < len(order):
        raise SystemExit(f"--keep-apart must be from 1 to {len(order) - 1}.")
    apart, learned = (
        np.sort(order[: options.keep_apart]),
        np.sort(order[options.keep_apart :]),
    )

    start = time.perf_counter()
    vae = VAETransformer.from_recipe(
        "galaxy-vae",
        latent_dim=options.latent_dim,
        max_epochs=options.epochs,
        device=options.device,
        random_state=options.seed,
    ).fit(LazyArray(images, learned))
    n_weights = sum(weight.numel() for weight in vae.module_.parameters())
    print(f"Trained {n_weights} weights in {time.perf_counter() - start:.0f} s")
    test = LazyArray(images, apart)
    print(f"Evidence lower bound of images kept apart: {vae.score(test):.0f} nats")

    latent = vae.transform(images)
    table = Table({"path": paths})
    for name, column in zip(vae.get_feature_names_out(), latent.T, strict=True):
        table[name] = column
    with atomic_write(options.out / "latent.csv") as file:
        table.write(file, format="ascii.csv")
    drawn = ReconstructionDisplay.from_estimator(vae, test[:N_DRAWN])
    save_figure(drawn.figure_, options.out / "reconstructions.png")
    history = HistoryDisplay.from_estimator(vae)
    save_figure(history.figure_, options.out / "history.png")
    save_model(vae, options.out / "vae.skastro")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Save a figure, whole or not at all."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
