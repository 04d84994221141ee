# SPDX-License-Identifier: BSD-3-Clause
"""Measure pretrained weights of SEVIRegressor on fresh images, and write their card."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from skastro import SEVIRegressor
from skastro.base._pretrained import Pretrained
from skastro.sevi import LegendreLoss, SEVISimulator
from skastro.utils import atomic_write

# Electrons of a shell, and background as a fraction of all electrons.
ROWS = ((1e3, 0.0), (1e4, 0.0), (1e5, 0.0), (1e6, 0.0), (1e5, 0.3))
SIZES = (256, 300, 384, 512, 1024)
# Up to this number images are made electron by electron, above from a Poisson law.
MOST_THROWN = 1e5
# Seeds of the rows of the first table, and of the second, count on from here.
SEED, SEED_OF_SIZES = 1000, 2000

_CARD = """\
# {name}

Weights of `SEVIRegressor` for images of {n_shells} electron shell{plural}:
`SEVIRegressor.from_pretrained("{name}")`. Written by
`python tools/train_pretrained_sevi.py {name}`; nothing here was entered by hand.

## How made

`PolarNet` with {n_weights} weights, trained on {n_images} simulated images
(`SEVISimulator`, seed {seed_training}) of {sizes} pixels:
{n_electrons} electrons in a shell, uniform in the logarithm; a uniform background of
{background} of the electrons; coefficients, radii and widths of `SEVIPrior`.
{max_epochs} epochs in batches of {batch_size}, AdamW, learning rate {lr} with a warm-up
and half a cosine, seed {random_state}. The weights of epoch {best_epoch} are kept, by
the loss of {n_valid} other images (seed {seed_validation}): {valid_loss}. That of
the training images in the last epoch is {train_loss}{summed}.
{simulation_cpu_s} s on one core for the images, {training_cpu_s} s for the network.
Versions: {versions}.

`residual_std_` is the root mean square error on these {n_valid} images. The prior of
the fit (`prior_`) is learned from the coefficients of the training images.

## Range of validity

- Square images of at least {least_size} pixels per side, of counts, centered, polarized
  along `polarization_axis`.
- Radii from {radius} and widths from {radius_width}, in units of half the side of the
  image. With `refine` other ranges can be set.
- {n_electrons} electrons in a shell. Coefficients in the range of `SEVIPrior`.
- The network was not trained on tilt, ellipticity or displaced centers, nor on shells
  with unequal numbers of electrons. The fit (`refine=True`) handles unequal numbers,
  and unless `distortion` is False the others.
- The error bars of the network are the same for all images: `residual_std_`, over all
  numbers of electrons. Those of the fit are computed for each image.

## Measured

Loss per shell, Σ 2/(4l+1) (Δβ_l)²: mean over {n_test} images of 256 x 256 pixels, and
its standard error. "Mean" always predicts the mean of the training images. The first
{n_refined} images are refined. Pulls are errors of the refined predictions divided by
their error bars; their standard deviation should be one. Images of up to {most_thrown}
electrons are drawn electron by electron, brighter ones from a Poisson distribution.

{table}

The network alone at other sizes, {n_test} images each of {size_electrons} electrons
in a shell:

{table_of_sizes}
"""


def write_card(path: Path, n_test: int, n_refined: int) -> None:
    """Measure the weights in a file, and write the card beside it.

    Parameters
    ----------
    path : Path
        The file of safetensors.
    n_test : int
        Images of each row of the tables.
    n_refined : int
        How many of them are refined, which takes longer.
    """
    pretrained = Pretrained.read(path)
    n_shells = pretrained.settings["target_shape"][0] // 12
    card = _CARD.format(
        name=path.stem,
        n_shells="one" if n_shells == 1 else "two",
        plural="s" * (n_shells > 1),
        summed=", both summed over shells" if n_shells > 1 else "",
        n_test=n_test,
        n_refined=n_refined,
        most_thrown=_short(MOST_THROWN),
        size_electrons=_short(MOST_THROWN),
        table=_table_of_electrons(pretrained, n_shells, n_test, n_refined),
        table_of_sizes=_table_of_sizes(pretrained, n_shells, n_test),
        **_described(pretrained.settings),
    )
    with atomic_write(path.with_suffix(".md")) as file:
        file.write(card)


def _described(settings: dict) -> dict:
    """Put the numbers of the training into words."""
    words = dict(settings["training"])
    seeds, versions = words.pop("seeds"), words.pop("versions")
    parts = [f"{size} ({part:.0%})" for size, part in words.pop("sizes").items()]
    low, high = words.pop("n_electrons")
    background = words.pop("background")
    return {
        **words,
        "train_loss": _short(words["train_loss"], 2),
        "valid_loss": _short(words["valid_loss"], 2),
        "sizes": ", ".join(parts),
        "n_electrons": f"{_short(low)} to {_short(high)}",
        "background": f"{background[0]:.0%} to {background[1]:.0%}",
        "seed_training": seeds["training"],
        "seed_validation": seeds["validation"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "least_size": settings["least_size"],
        **{
            name: f"{ends[0]:g} to {ends[1]:g}"
            for name, ends in settings["ranges"].items()
        },
    }


def _table_of_electrons(
    pretrained: Pretrained, n_shells: int, n_test: int, n_refined: int
) -> str:
    lines = [
        "| electrons in a shell | background | network alone | refined | pulls | mean "
        "| seed |",
        "|---|---|---|---|---|---|---|",
    ]
    reg = SEVIRegressor._from_pretrained(pretrained, 256, {"verbose": 0})
    rows = tqdm(ROWS, desc="measure", unit="row")
    for seed, (n_electrons, background) in enumerate(rows, SEED):
        images, beta = _draw(n_shells, 256, n_electrons, background, n_test, seed)
        alone = reg.set_params(refine=False).predict(images)
        reg.set_params(refine=True)
        refined, std = reg.predict(images[:n_refined], return_std=True)
        answers = (alone, refined)
        losses = [_loss(part, beta[: len(part)], n_shells) for part in answers]
        pulls = ((refined - beta[:n_refined]) / std).std()
        always = _loss(np.broadcast_to(reg.target_mean_, beta.shape), beta, n_shells)
        lines.append(
            f"| {_short(n_electrons)} | {background:.0%} | {losses[0]} | {losses[1]} | "
            f"{pulls:.2f} | {always} | {seed} |"
        )
    return "\n".join(lines)


def _table_of_sizes(pretrained: Pretrained, n_shells: int, n_test: int) -> str:
    lines = ["| pixels a side | network alone | seed |", "|---|---|---|"]
    sizes = tqdm(SIZES, desc="measure", unit="size")
    for seed, size in enumerate(sizes, SEED_OF_SIZES):
        images, beta = _draw(
            n_shells, size, MOST_THROWN, 0.0, n_test, seed, thrown=False
        )
        reg = SEVIRegressor._from_pretrained(
            pretrained, size, {"verbose": 0, "refine": False}
        )
        loss = _loss(reg.predict(images), beta, n_shells)
        lines.append(f"| {size} | {loss} | {seed} |")
    return "\n".join(lines)


def _draw(
    n_shells: int,
    size: int,
    n_electrons: float,
    background: float,
    n_test: int,
    seed: int,
    *,
    thrown: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Make fresh images and their coefficients."""
    simulator = SEVISimulator(
        n_shells=n_shells, size=size, n_electrons=n_electrons, background=background
    )
    generator = torch.Generator().manual_seed(seed)
    scenes = simulator.draw(n_test, generator)
    beta = simulator.coefficients(scenes).numpy()
    if thrown and n_electrons <= MOST_THROWN:
        return simulator.throw(scenes, np.random.default_rng(seed)), beta
    parts = [
        simulator.count({k: v[i : i + 16] for k, v in scenes.items()}, generator)
        for i in range(0, n_test, 16)
    ]
    return torch.cat(parts).numpy(), beta


def _loss(answer: np.ndarray, beta: np.ndarray, n_shells: int) -> str:
    """Give the mean loss per shell with its standard error."""
    each = LegendreLoss(reduction="none")(
        torch.as_tensor(np.array(answer, np.float64)), torch.as_tensor(beta)
    )
    each = each / n_shells
    error = each.std() / len(each) ** 0.5
    return f"{_short(each.mean(), 2)} ± {_short(error)}"


def _short(number: float, n_decimals: int = 0) -> str:
    """Write a number with its power of ten, such as 3e6."""
    digits, power = f"{number:.{n_decimals}e}".split("e")
    return f"{digits}e{int(power)}"
