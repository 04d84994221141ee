# SPDX-License-Identifier: BSD-3-Clause
"""Draw the thumbnails of examples that are not run while the documentation is built.

::

    python tools/draw_gallery.py docs/_static/gallery

runs these scripts in a small form, on simulated data, and cuts a thumbnail out of a
figure of each. All of them take about six minutes of one core; names of scripts after
the folder select some.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from PIL import Image

from skastro.datasets import make_galaxies

matplotlib.use("agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
SIZE = 400, 280


def write_images(folder: Path) -> None:
    """Write simulated galaxies as JPEG files."""
    galaxies = make_galaxies(
        200,
        size=48,
        bands=("g", "r", "z"),
        profile="both",
        sersic_index=(1, 2),
        magnitude=(17, 19),
        half_light_radius=(0.6, 2.0),
        random_state=0,
        verbose=0,
    )
    blue, green, red = np.maximum(np.moveaxis(galaxies.images, -1, 0), 1)
    bands = zip(red / 1.6, green, 1.6 * blue, strict=True)
    images = np.stack([make_lupton_rgb(*each, stretch=400, Q=8) for each in bands])
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"{number:03}.jpg", quality=92)


def draw_scores(folder: Path) -> None:
    """Draw the macro-F1 of each network."""
    scores = Table.read(folder / "scores.csv")
    scores = scores[scores["class"] == "macro"]
    figure, axes = plt.subplots(figsize=(4, 2.8), layout="constrained")
    axes.barh(list(scores["network"]), scores["f1"], color="tab:blue")
    axes.set(xlim=(0, 1), xlabel="Macro-F1")
    axes.invert_yaxis()
    figure.savefig(folder / "figure.png", dpi=100)


def draw_classes(folder: Path) -> None:
    """Draw the highest probabilities of the predicted classes."""
    table = Table.read(folder / "classes.csv")
    names = ["STAR", "GALAXY", "QSO"]
    probability = np.stack(
        [np.asarray(table[f"probability_{name}"], float) for name in names]
    )
    probability = probability[:, np.isfinite(probability).all(axis=0)]
    best = probability.argmax(axis=0)
    values = [probability[row, best == row] for row in range(3)]
    figure, axes = plt.subplots(figsize=(4, 2.8), layout="constrained")
    axes.hist(values, np.linspace(0.3, 1, 15), stacked=True, label=names)
    axes.set(xlabel="Probability of the predicted class", ylabel="Spectra")
    axes.legend()
    figure.savefig(folder / "figure.png", dpi=100)


# Arguments of each script, its figure, and the part of this that is shown: left, upper,
# right and lower border, from 0 to 1.
SCRIPTS: dict[str, tuple[str, str | Callable, tuple[float, ...]]] = {
    "compare_networks": (
        "--simulate 400 --proportions 1 1 1 --n-pixels 325 --epochs 16 "
        "--rows full densenet mlp --out {out}",
        draw_scores,
        (0, 0, 1, 1),
    ),
    "predict_survey": (
        "--quick --workers 1 --out {out}/classes.csv",
        draw_classes,
        (0, 0, 1, 1),
    ),
}


def draw(name: str, folder: Path) -> Image.Image:
    """Run a script in a folder, and return the thumbnail of its figure."""
    arguments, figure, box = SCRIPTS[name]
    out = folder / name
    out.mkdir()
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    # Thumbnails show simulated data only.
    environment.pop("SKASTRO_DATA", None)
    script = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    subprocess.run(
        [*script, *arguments.format(out=name).split()],
        cwd=folder,
        env=environment,
        check=True,
    )
    if callable(figure):
        figure(out)
        figure = "figure.png"
    picture = Image.open(out / figure).convert("RGB")
    size = np.array([*picture.size, *picture.size])
    picture = picture.crop(tuple(np.round(size * box).astype(int).tolist()))
    picture.thumbnail(SIZE, Image.Resampling.LANCZOS)
    thumbnail = Image.new("RGB", SIZE, "white")
    space = np.subtract(SIZE, picture.size) // 2
    thumbnail.paste(picture, tuple(space.tolist()))
    return thumbnail.quantize(96, dither=Image.Dither.NONE)


def main(arguments: list[str] | None = None) -> None:
    """Draw the thumbnails of the scripts on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=", ".join(SCRIPTS))
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        write_images(Path(temporary))
        for name in options.names or SCRIPTS:
            thumbnail = draw(name, Path(temporary))
            thumbnail.save(options.folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
