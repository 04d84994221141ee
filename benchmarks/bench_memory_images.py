# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory of a variational autoencoder that is trained from an HDF5 file.

The script makes a file of large images, and trains and applies a VAETransformer on its
data set in a separate process::

    SKASTRO_DATA=... python -m benchmarks.bench_memory_images
    SKASTRO_DATA=... python -m benchmarks.bench_memory_images --widths published

The images are those of ``vae_images`` in the folder that ``SKASTRO_DATA`` names, in all
orientations and with their colors in any order. The script exits with an error if the
peak of the training is above the limit.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from itertools import permutations, product
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks import report
from benchmarks.measure import Stopwatch, peak_memory, run_apart
from skastro import VAETransformer
from skastro.datasets import ImageFiles, select_images

SHAPE = (256, 256, 3)
LIMIT = 1.5e9
WIDTHS = {
    "published": (32, 64, 128, 256, 512),
    "narrow": (8, 16, 32, 64, 128),
}


def make_file(path: Path, n_images: int, folder: Path) -> None:
    """Write real images, then turned copies with other colors, until there are enough.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    n_images : int
        Number of images.
    folder : pathlib.Path
        Folder of the JPEG files.
    """
    real = ImageFiles(select_images(folder, out=None, verbose=0).paths)[:]
    ways = list(product(permutations(range(3)), range(4), (False, True)))
    if n_images > len(real) * len(ways):
        raise ValueError(f"There are {len(real) * len(ways)} different images only.")
    starts = range(0, n_images, len(real))
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "images", (n_images, *SHAPE), np.uint8, chunks=(1, *SHAPE)
        )
        progress = tqdm(starts, f"Writing {path}", leave=False, disable=None)
        for start, (colors, turns, flip) in zip(progress, ways, strict=False):
            varied = np.rot90(real[..., colors], turns, axes=(1, 2))
            varied = varied[:, ::-1] if flip else varied
            images[start : start + len(real)] = varied[: n_images - start]
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


class PhasePeak:
    """Watch this process's resident memory, and note the peak of a ``with`` block."""

    def __enter__(self) -> "PhasePeak":
        """Start."""
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, resident_memory())
            if self._ended.wait(0.005):
                return


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; 0 if it is unknown."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return 0
    pages = int(statm.read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(path: Path, widths: str, batch_size: int, device: str) -> dict[str, float]:
    """Train one epoch, and apply the network to all images.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    widths : str
        A key of `WIDTHS`.
    batch_size : int
        Images in a training batch.
    device : {"cpu", "cuda"}
        Device of the computation.

    Returns
    -------
    result : dict
        In bytes ``imports``, the resident memory at the start; ``fit``, its peak until
        the end of the training; ``transform`` and ``score``, the peaks in these; and
        ``whole``, that of the process. In seconds ``fit_time`` and ``transform_time``.
        ``loss``, that of the training.
    """
    result = {"imports": resident_memory()}
    vae = VAETransformer(
        module__widths=WIDTHS[widths],
        max_epochs=1,
        batch_size=batch_size,
        device=device,
        random_state=0,
        verbose=0,
    )
    with h5py.File(path) as file:
        X = file["images"]
        result["data"] = X.nbytes
        with Stopwatch(device) as watch:
            vae.fit(X)
        result["fit"] = peak_memory()
        result["fit_time"] = watch.seconds
        with PhasePeak() as phase, Stopwatch(device) as watch:
            vae.transform(X)
        result["transform"] = phase.peak
        result["transform_time"] = watch.seconds
        with PhasePeak() as phase:
            vae.score_samples(X)
        result["score"] = phase.peak
    result["whole"] = peak_memory()
    result["loss"] = vae.history[-1]["train_loss"]
    return result


def tabulate(result: dict[str, float]) -> list[str]:
    """Make the table of one measurement."""
    header = ["", "peak resident", "time"]
    rows = [
        ["after the imports", f"{result['imports'] / 1e6:.0f} MB", ""],
        ["`fit`", f"{result['fit'] / 1e6:.0f} MB", f"{result['fit_time']:.0f} s"],
        [
            "`transform`",
            f"{result['transform'] / 1e6:.0f} MB",
            f"{result['transform_time']:.0f} s",
        ],
        ["`score_samples`", f"{result['score'] / 1e6:.0f} MB", ""],
        ["X itself", f"{result['data'] / 1e6:.0f} MB", ""],
    ]
    return report.table(header, rows)


def main() -> None:
    """Read the command line, make the file, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5000, metavar="N")
    parser.add_argument("--widths", choices=WIDTHS, default="narrow")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--folder", type=Path, default=None, help="for the file")
    parser.add_argument("--file", type=Path, help="measure on this one, print JSON")
    options = parser.parse_args()
    settings = (options.widths, options.batch_size, options.device)
    if options.file is not None:
        torch.manual_seed(0)
        print(json.dumps(measure(options.file, *settings)))
        return
    data = os.environ.get("SKASTRO_DATA")
    if not data:
        parser.error("set SKASTRO_DATA to the folder of real survey data")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "images.h5"
        start = time.perf_counter()
        make_file(path, options.images, Path(data) / "vae_images")
        print(f"Made {path} in {time.perf_counter() - start:.0f} s.", flush=True)
        names = ("--widths", "--batch-size", "--device")
        pairs = zip(names, settings, strict=True)
        arguments = [part for pair in pairs for part in pair]
        result = run_apart("bench_memory_images", "--file", path, *arguments)
    print("\n".join(tabulate(result)))
    if result["fit"] > LIMIT:
        sys.exit(f"Training took more than {LIMIT / 1e9:g} GB.")


if __name__ == "__main__":
    main()
