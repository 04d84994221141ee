# SPDX-License-Identifier: BSD-3-Clause
"""Train the weights that estimators of galaxies start from, and write their card.

    SKASTRO_DATA=... python tools/train_pretrained_galaxies.py

writes ``galaxies.safetensors`` and ``galaxies.md`` to the folder of the package,
``skastro/estimators/pretrained``. One network learns several sets of real images at
once, each with a head of its own: classes, stages along the Hubble sequence, votes of
volunteers, rings, radio galaxies.

The weights that come with the package have seen all optical images, so that nothing can
be judged on these; the validation part of the radio galaxies is always left out.
``--apart SEED`` leaves out a quarter of each set too, and ``--without efigi`` a whole
set: with weights that were made so ``python -m benchmarks.few_galaxies`` measures what
they are worth. ``--teachers 2`` trains two networks first, whose mean answers about all
images a third one learns beside the labels (Hinton, Vinyals & Dean 2015,
arXiv:1503.02531). ``--bfloat16`` halves the time on processors that compute in it.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import skorch
import torch
from astropy.table import Table
from PIL import Image
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import skastro
from skastro.augmentation import (
    Compose,
    ImageAugmentation,
    PixelNoise,
    RandomAffine,
)
from skastro.base._pretrained import Pretrained
from skastro.datasets import read_votes
from skastro.estimators._images import resample
from skastro.networks import get_module
from skastro.training import DirichletMultinomialLikelihood
from skastro.utils import atomic_write

# Of the images of Galaxy Zoo 2 and of radio galaxies, around their centers.
CROPPED_VOTES, CROPPED_RADIO = 160, 100
# T-types are regressed in units of their scatter, about.
STAGE_SCALE = 4.0
# With a stem that halves the pixels twice, 88 pixels cost as much as 48 with the
# default stem, and taught more.
PARAMETERS = {"module": "resnet10", "module__stem": "imagenet"}
SIZE = 88
# Parts of the answers of teachers in the loss, and of those about images of other sets.
TAUGHT, TAUGHT_OF_OTHERS = 0.7, 0.3


_CARD = """\
# galaxies

Weights to start from, for images of galaxies: `GalaxyClassifier.from_pretrained(
"galaxies")` and `GalaxyRegressor.from_pretrained("galaxies")`. Written by
`python tools/train_pretrained_galaxies.py`; nothing here was entered by hand.

## How made

`ResNet` ("{module}", stem "{stem}") with {n_weights} weights, stored in half precision,
trained on {n_images} real images in {size} x {size} pixels and three channels, each set
brought to mean 0 and standard deviation 1 a channel. One network learned all sets at
once, with an output layer of its own for each, which the file lacks:

{sets}

In each of {epochs} epochs every image was turned by any angle, mirrored, shifted by up
to 6 %, magnified by 0.75 to 1.25, and changed in brightness and colors; 15 % of them
became gray; noise was added. Classes: cross-entropy, rare ones weighted by the root of
their rarity, labels smoothed by 0.1; T-types: smooth absolute error; votes: Dirichlet-
multinomial likelihood. AdamW, batches of {batch_size}, learning rate {lr:g} with a
warm-up and half a cosine, weight decay 0.05, seed {seed}.{taught}
{cpu_s} s on one core. Versions: {versions}.

## Range of validity

- Images of one galaxy each, in the middle, as composite colors of *gri* or as one band;
  other bands start from the mean of the colors. The optical images are of SDSS (EFIGI;
  Galaxy Zoo 1 and 2), and of galaxies up to a redshift of about 0.2, but for the
  example images; radio galaxies are of FIRST.
- The head is new: the weights are a start, and predict nothing by themselves.
- **The weights have seen all images named above.** Scores on any of these are too good.
  The validation part of the radio galaxies is not among them.

## Measured

By weights of the same recipe that were trained without the judged images:
`python -m benchmarks.few_galaxies`; the table is in the user guide. The weights help
with the classes that they have learned, and little with other ones.

## Sources of the images

SDSS, with Galaxy Zoo 1 (Lintott et al. 2011, MNRAS 410, 166) and Galaxy Zoo 2 (Willett
et al. 2013, MNRAS 435, 2835; Hart et al. 2016, MNRAS 461, 3663); EFIGI (Baillard et al.
2011, A&A 532, A74); Zoobot (Walmsley et al. 2023, JOSS 8, 5312); FIRST (Becker, White &
Helfand 1995, ApJ 450, 559) as labeled by Griese, Kummer & Brüggen (2023, Data in Brief
47, 108974). The weights contain no image.
"""


@dataclass
class Task:
    """Images, what is known of them, and how answers are judged."""

    about: str
    images: np.ndarray
    targets: np.ndarray
    n_outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    strata: np.ndarray | None = None
    # Rows that are judged, and never learned from.
    is_test: np.ndarray | None = None

    def rows(self, seed: int | None) -> np.ndarray:
        """List the rows to learn from: all, or all but a quarter."""
        rows = np.arange(len(self.images))
        if self.is_test is not None:
            return rows[~self.is_test]
        if seed is None:
            return rows
        return train_test_split(
            rows, test_size=0.25, stratify=self.strata, random_state=seed
        )[0]


class Classes:
    """Cross-entropy in which rare classes count more, by the root of their rarity."""

    def __init__(self, labels: np.ndarray, *, smoothing: float = 0.1) -> None:
        frequency = np.bincount(labels) / len(labels)
        weights = 1 / np.sqrt(frequency)
        self.weights = torch.from_numpy(weights / (weights * frequency).sum()).float()
        self.smoothing = smoothing

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Give the mean loss."""
        losses = functional.cross_entropy(
            outputs,
            targets[:, 0].long(),
            weight=self.weights,
            label_smoothing=self.smoothing,
            reduction="none",
        )
        return losses.mean()


class ClassesAndStages(Classes):
    """Classes, and a number in the last columns of outputs and targets."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Give the mean loss."""
        off = functional.smooth_l1_loss(outputs[:, -1], targets[:, -1], beta=0.3)
        return super().__call__(outputs[:, :-1], targets) + off


def read_tasks(folder: Path, size: int) -> dict[str, Task]:
    """Read the sets of images, in `size` pixels a side."""
    tasks = {}
    votes_table = Table.read(folder / "gz2_votes.csv")
    with h5py.File(folder / "galaxies_efigi.h5") as file:
        labels, images = file["ans"][:].astype(int), file["images"][:]
        stages = file["efigi_T"][:] / STAGE_SCALE
        tasks["efigi"] = Task(
            "EFIGI, five classes and T-types",
            shrink(images, size),
            np.column_stack([labels, stages]),
            labels.max() + 2,
            ClassesAndStages(labels),
            labels,
        )
    with h5py.File(folder / "galaxies.h5") as file:
        labels, images = file["ans"][:].astype(int), file["images"][:]
        ids = file["id"][:].astype(str)
        tasks["sdss"] = Task(
            "SDSS, four classes of Galaxy Zoo 1",
            shrink(images, size),
            labels[:, None],
            labels.max() + 1,
            Classes(labels),
            labels,
        )
    votes = read_votes(votes_table, kind="debiased", n_votes="total_classifications")
    names = [f"gz2_votes/{name}.jpg" for name in votes_table["asset_id"]]
    # Of galaxies that are in another set too, the votes would tell the class.
    counts = np.nan_to_num(votes.counts)
    counts[np.isin(np.asarray(votes_table["objid"]).astype(str), ids)] = 0
    tasks["votes"] = Task(
        "SDSS, votes of Galaxy Zoo 2",
        shrink(read_files(folder, names, CROPPED_VOTES), size),
        counts,
        counts.shape[1],
        DirichletMultinomialLikelihood(votes.questions),
    )
    table = Table.read(folder / "vae_images.csv")
    names = [f"vae_images/{name}" for name in table["file"]]
    labels = np.asarray(table["ring"]).astype(int)
    tasks["rings"] = Task(
        "example images of Zoobot, with a ring or without",
        shrink(read_files(folder, names, 256), size),
        labels[:, None],
        2,
        Classes(labels),
        labels,
    )
    with h5py.File(folder / "galaxies_radio.h5") as file:
        labels, images = file["ans"][:].astype(int), file["images"][:]
        split = file["split"][:].astype(str)
        edge = (images.shape[1] - CROPPED_RADIO) // 2
        images = images[:, edge:-edge, edge:-edge, None].repeat(3, axis=3)
        tasks["radio"] = Task(
            "FIRST, four classes of radio galaxies, training part",
            shrink(images, size),
            labels[:, None],
            labels.max() + 1,
            Classes(labels),
            is_test=split != "train",
        )
    return tasks


def read_files(folder: Path, names: list[str], crop: int) -> np.ndarray:
    """Read image files, and keep their centers."""
    images = []
    for name in names:
        with Image.open(folder / name) as image:
            edge = (np.array(image.size) - crop) // 2
            images.append(np.asarray(image.crop((*edge, *(edge + crop)))))
    return np.stack(images)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Resample bytes (n, height, width, 3), and bring channels to mean 0, scatter 1."""
    parts = [
        resample(torch.from_numpy(part).movedim(3, 1).float(), (size, size))
        for part in np.array_split(images, max(1, len(images) // 200))
    ]
    X = torch.cat(parts)
    mean, scale = X.mean(dim=(0, 2, 3)), X.std(dim=(0, 2, 3))
    X = (X - mean[:, None, None]) / scale[:, None, None]
    return X.half().numpy()


class VaryColors(ImageAugmentation):
    """Change brightness and contrast of each channel; make some images gray."""

    def _augment(self, batch: Tensor, generator: torch.Generator | None) -> Tensor:
        drawn = torch.rand(len(batch), 8, 1, 1, generator=generator)
        common, own, offset = drawn[:, :1], drawn[:, 1:4], drawn[:, 4:7]
        gain = 1 + 0.3 * (2 * common - 1) + 0.15 * (2 * own - 1)
        batch = batch * gain + 0.1 * (2 * offset - 1)
        gray = batch.mean(dim=1, keepdim=True).expand_as(batch)
        return torch.where(drawn[:, 7:] < 0.15, gray, batch)


def make_network(tasks: dict[str, Task]) -> nn.Module:
    """Make a network with the outputs of all tasks side by side."""
    n_outputs = sum(task.n_outputs for task in tasks.values())
    return get_module(PARAMETERS["module"], ndim=2)(
        n_channels=3, n_outputs=n_outputs, stem=PARAMETERS["module__stem"]
    )


def mimic(outputs: Tensor, answers: list[Tensor], task: Task) -> Tensor:
    """Give the loss of each image against the mean answer of teachers."""
    n_classes = task.n_outputs - isinstance(task.loss, ClassesAndStages)
    probability = torch.stack([a[:, :n_classes].softmax(1) for a in answers]).mean(0)
    loss = -(probability * outputs[:, :n_classes].log_softmax(1)).sum(dim=1)
    if n_classes < task.n_outputs:
        stage = torch.stack([answer[:, -1] for answer in answers]).mean(dim=0)
        loss += functional.smooth_l1_loss(
            outputs[:, -1], stage, beta=0.3, reduction="none"
        )
    return loss


def train(
    tasks: dict[str, Task],
    rows: dict[str, np.ndarray],
    options: argparse.Namespace,
    seed: int,
    teachers: list[nn.Module],
) -> nn.Module:
    """Train a network on these rows of the tasks, and on what teachers say of them."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    names = list(tasks)
    network = make_network(tasks).to(memory_format=torch.channels_last)
    vary = Compose(
        [
            RandomAffine(scale=(0.75, 1.25), translate=0.06),
            VaryColors(),
            PixelNoise(0.1),
        ]
    )
    first = np.cumsum([0] + [task.n_outputs for task in tasks.values()])
    images = torch.from_numpy(
        np.concatenate([tasks[name].images[rows[name]] for name in tasks])
    )
    targets = [torch.from_numpy(tasks[n].targets[rows[n]]).float() for n in tasks]
    task_of = torch.from_numpy(np.repeat(np.arange(len(tasks)), [*map(len, targets)]))
    start = torch.from_numpy(np.cumsum([0, *map(len, targets)]))
    n_batches = len(images) // options.batch_size
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.lr, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, total_steps=options.epochs * n_batches, pct_start=0.1
    )
    bar = tqdm(range(options.epochs), desc="train", unit="epoch")
    for _ in bar:
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for batch in order[: n_batches * options.batch_size].split(options.batch_size):
            X = vary(images[batch].float(), generator=generator)
            X = X.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                outputs = network(X).float()
                with torch.no_grad():
                    answers = [teacher(X).float() for teacher in teachers]
            loss = torch.zeros(())
            for number, (name, task) in enumerate(tasks.items()):
                own = task_of[batch] == number
                part = slice(first[number], first[number + 1])
                if own.any():
                    y = targets[number][batch[own] - start[number]]
                    known = task.loss(outputs[own, part], y) * own.float().mean()
                    loss = loss + known * (1 - TAUGHT if teachers else 1)
                # Votes have no probabilities of classes. Radio sources look unlike
                # galaxies in visible light.
                if teachers and name != "votes":
                    is_radio = task_of[batch] == names.index("radio")
                    weight = torch.where(own, 1.0, TAUGHT_OF_OTHERS)
                    weight = weight * (is_radio == (name == "radio"))
                    said = [answer[:, part] for answer in answers]
                    losses = mimic(outputs[:, part], said, task)
                    loss = loss + TAUGHT * (weight * losses).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        bar.set_postfix(loss=f"{total / n_batches:.3f}", refresh=False)
    return network.eval()


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    folder = Path(skastro.__file__).parent / "estimators" / "pretrained"
    add = parser.add_argument
    add("--output", type=Path, default=folder, metavar="FOLDER")
    add("--apart", type=int, metavar="SEED", help="leave out what is judged")
    add("--without", nargs="*", default=[], metavar="SET", help="leave out whole sets")
    add("--size", type=int, default=SIZE, help="pixels a side")
    add("--epochs", type=int, default=50)
    add("--batch-size", type=int, default=32)
    add("--lr", type=float, default=3e-3)
    add("--seed", type=int, default=0)
    add("--teachers", type=int, default=0, help="networks to learn from")
    add("--bfloat16", action="store_true", help="compute in bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = read_tasks(Path(os.environ["SKASTRO_DATA"]), options.size)
    if unknown := set(options.without) - set(tasks):
        parser.error(f"no sets {sorted(unknown)}; there are {sorted(tasks)}")
    tasks = {name: task for name, task in tasks.items() if name not in options.without}
    rows = {name: task.rows(options.apart) for name, task in tasks.items()}
    started = time.process_time()
    seeds = range(options.seed + 1, options.seed + 1 + options.teachers)
    teachers = [train(tasks, rows, options, seed, []) for seed in seeds]
    network = train(tasks, rows, options, options.seed, teachers)
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith("fc.")
    }
    packages = {"skastro": skastro, "torch": torch, "skorch": skorch}
    notes = {
        **vars(options),
        "module": PARAMETERS["module"],
        "stem": PARAMETERS["module__stem"],
        "n_weights": sum(
            weight.numel()
            for name, weight in network.named_parameters()
            if not name.startswith("fc.")
        ),
        "n_images": sum(map(len, rows.values())),
        "sets": "\n".join(
            f"- {tasks[n].about}: {len(r)} images" for n, r in rows.items()
        ),
        "taught": (
            f"\nThe mean answers of {options.teachers} networks that were trained "
            f"alike are {TAUGHT} of the loss."
            if options.teachers
            else ""
        ),
        "cpu_s": round(time.process_time() - started),
        "versions": ", ".join(f"{k} {v.__version__}" for k, v in packages.items()),
    }
    settings = {"parameters": PARAMETERS}
    Pretrained(weights, {}, settings).save(options.output / "galaxies.safetensors")
    with atomic_write(options.output / "galaxies.md", "w", encoding="utf-8") as file:
        file.write(_CARD.format(**notes))


if __name__ == "__main__":
    main()
