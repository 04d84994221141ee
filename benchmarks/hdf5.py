# SPDX-License-Identifier: BSD-3-Clause
"""Training from an HDF5 file that is larger than the available memory.

Each training runs in a separate process::

    python -m benchmarks.hdf5 images.h5 cpu
    python -m benchmarks.hdf5 images.h5 cpu --in-memory 70000

and prints its speed and its peak memory as JSON.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks import report
from benchmarks.measure import EpochClock, Stopwatch, peak_memory, run_apart
from benchmarks.networks import SmallImageNet

TITLE = "Images from an HDF5 file larger than memory (small network, one epoch)"
SHAPE = (69, 69, 3)
N_CLASSES = 4
BATCH_SIZE = 256
IN_MEMORY_BYTES = 1e9


def make_file(path: Path, gigabytes: float) -> int:
    """Write images of noise whose brightness depends on the class; return their number.

    Parameters
    ----------
    path : pathlib.Path
        The file, of the layout of Galaxy10: ``images``, uint8, and ``ans``.
    gigabytes : float
        Its size, in units of 1e9 bytes.
    """
    n_images = int(gigabytes * 1e9 / np.prod(SHAPE))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 128, (4096, *SHAPE), np.uint8)
    y = rng.integers(0, N_CLASSES, n_images)
    with h5py.File(path, "w") as file:
        file["ans"] = y
        images = file.create_dataset("images", (n_images, *SHAPE), np.uint8)
        starts = range(0, n_images, len(noise))
        for start in tqdm(starts, f"Writing {path}", leave=False, disable=None):
            signal = (30 * y[start : start + len(noise)]).astype(np.uint8)
            # Rolled, so that no two images of the file are the same.
            rolled = np.roll(noise[: len(signal)], start // len(noise), axis=2)
            images[start : start + len(signal)] = rolled + signal[:, None, None, None]
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    return n_images


def forget(path: Path) -> None:
    """Drop a file from the system's cache, so that it is read from disk."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: Path, device: str, n_in_memory: int | None) -> dict[str, float]:
    """Train one epoch, from the file or from an array of its first rows.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    device : {"cpu", "cuda"}
        Where to train.
    n_in_memory : int or None
        Rows to read into an array beforehand; None trains on the data set of the
        file itself.

    Returns
    -------
    result : dict
        ``rate``, samples a second in the epoch; ``whole``, the same for the whole
        call of ``fit``; ``peak``, the highest resident memory of the process in
        bytes; ``loss``, that of the training.
    """
    from skastro import GalaxyClassifier

    clock = EpochClock(device)
    classifier = GalaxyClassifier(
        SmallImageNet,
        batch_size=BATCH_SIZE,
        lr=1e-3,
        max_epochs=1,
        augment=None,
        train_split=None,
        schedule=None,
        verbose=0,
        device=device,
        random_state=0,
        callbacks=[("clock", clock)],
    )
    with h5py.File(path) as file:
        X = file["images"]
        if n_in_memory is not None:
            X = X[:n_in_memory]
        y = file["ans"][: len(X)]
        with Stopwatch(device) as watch:
            classifier.fit(X, y)
    return {
        "rate": len(y) / clock.seconds_per_epoch,
        "whole": len(y) / watch.seconds,
        "peak": peak_memory(),
        "loss": classifier.history[-1]["train_loss"],
    }


def compare(
    device: str, gigabytes: float, folder: Path, keep: bool
) -> tuple[list[str], ...]:
    """Train from the file, and before and after that from memory.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where to train.
    gigabytes : float
        Size of the file.
    folder : pathlib.Path
        Folder of the file.
    keep : bool
        Whether to keep the file, and to use an existing one.

    Returns
    -------
    table, notes : lists of str
        In Markdown.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = folder / f"images_{gigabytes:g}GB.h5"
        if not keep:
            path = Path(temporary) / path.name
        if path.exists():
            with h5py.File(path) as file:
                n_images = len(file["images"])
        else:
            partial = Path(temporary) / "partial.h5"
            n_images = make_file(partial, gigabytes)
            partial.replace(path)
        n_part = min(n_images, int(IN_MEMORY_BYTES / np.prod(SHAPE)))
        part = ("--in-memory", n_part)
        before = run_apart("hdf5", path, device, *part)
        forget(path)
        streamed = run_apart("hdf5", path, device)
        after = run_apart("hdf5", path, device, *part)

    def row(label: str, result: dict[str, float]) -> list[str]:
        return [
            label,
            f"{result['rate']:,.0f}",
            f"{result['whole']:,.0f}",
            f"{result['peak'] / 1e9:.2f} GB",
            f"{result['loss']:.3f}",
        ]

    header = ["X", "samples/s", "whole call of `fit`", "peak resident", "loss"]
    rows = [
        row(f"array of {n_part:,} images, before", before),
        row(f"`h5py.Dataset` of {n_images:,} images", streamed),
        row(f"array of {n_part:,} images, after", after),
    ]
    ratio = streamed["rate"] / (0.5 * (before["rate"] + after["rate"]))
    notes = [
        f"From the file over from memory: {ratio:.2f}. Batches of {BATCH_SIZE}; the "
        "file was dropped from the system's cache before it was trained on. The peak "
        "is that of the whole process, including imports."
    ]
    return report.table(header, rows), notes


def main() -> None:
    """Read the command line and print one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("device", choices=["cpu", "cuda"])
    parser.add_argument("--in-memory", type=int, metavar="N")
    options = parser.parse_args()
    torch.manual_seed(0)
    result = measure(options.path, options.device, options.in_memory)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
