# SPDX-License-Identifier: BSD-3-Clause
"""Interruptions, full disks, threads: ``python -m tests.campaign kill|disk|threads``.

``kill`` ends processes by SIGKILL at random times while they write files; ``disk`` lets
the disk fill up while they do; ``threads`` compares fits in threads with fits alone.
docs/reliability.rst says what is promised. The exit status is 1 if a promise is broken.
"""

import argparse
import errno
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from astropy.table import Table
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch
from skorch.callbacks import Checkpoint

from skastro import GalaxyClassifier, SpectrumClassifier
from skastro.datasets import images_to_hdf5, select_images
from skastro.datasets.galaxies import _make_galaxies
from skastro.streaming import predict_stream
from skastro.utils import _atomic

N_IMAGES, SIDE = 300, 32
# Exit statuses of children: an OSError that names the file; any other exception.
REFUSED, WRONG = 10, 11
OLD = b"an older file"


def make_spectra(n_rows: int = 60, length: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Make spectra of two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % 2
    X = rng.normal(size=(n_rows, length)) + y[:, None] * np.sin(np.arange(length))
    return X.astype(np.float32), np.where(y, "QSO", "STAR")


def make_classifier(**parameters: Any) -> SpectrumClassifier:
    """Make a classifier that is fitted in a fraction of a second."""
    options = {"max_epochs": 3, "batch_size": 16, "random_state": 0, "device": "cpu"}
    return SpectrumClassifier("mlp", **(options | {"verbose": 0} | parameters))


def pack(inputs: Path, out: Path, **options: Any) -> None:
    """Pack images."""
    images_to_hdf5(sorted(inputs.glob("*.png")), out, verbose=0, **options)


def pack_gzip(inputs: Path, out: Path) -> None:
    """Pack images into a compressed file."""
    pack(inputs, out, compression="gzip")


def stream(inputs: Path, out: Path) -> None:
    """Predict a catalog into a file."""
    X = np.load(inputs / "X.npy", mmap_mode="r")
    model = LogisticRegression().fit(X[:200], X[:200, 0] > 0)
    predict_stream(model, X, 500, out=out, ids=np.arange(len(X)), verbose=0)


def select(inputs: Path, out: Path) -> None:
    """List images."""
    select_images(inputs, (3, SIDE, SIDE), out, verbose=0)


def simulate(inputs: Path, out: Path) -> None:
    """Write a file of galaxies, whose simulation would take long."""
    rng = np.random.default_rng(0)

    def fill(images: Any) -> Table:
        for row in range(0, len(images), 10):
            images[row : row + 10] = rng.random((10, 64, 64), np.float32)
        return Table({"magnitude": rng.random(len(images))})

    about = dict.fromkeys(("zero_points", "background_std", "pixel_scale"), 1.0)
    about = Bunch(bands=("r",), DESCR="galaxies", **about)
    _make_galaxies._write_galaxies(out, (400, 64, 64), fill, about)


def save(inputs: Path, out: Path) -> None:
    """Save the parameters of a network again and again."""
    X, y = make_spectra(length=4096)
    net = make_classifier(max_epochs=1).fit(X, y)
    for _ in range(20):
        net.save_params(f_params=out, use_safetensors=out.suffix == ".safetensors")


def fit(inputs: Path, out: Path) -> None:
    """Fit a network that keeps its best weights in a file."""
    X, y = make_spectra(length=2048)
    keep = Checkpoint(
        dirname=out.parent, f_params=out.name, f_optimizer=None, f_criterion=None,
        f_history=None, monitor=None,
    )  # fmt: skip
    make_classifier(callbacks=[keep], max_epochs=10).fit(X, y)


def resume(inputs: Path, out: Path) -> None:
    """Fit a network, and keep the state after each epoch."""
    X, y = make_spectra(length=1024)
    net = make_classifier(max_epochs=20, sampler="balanced", augment="noise")
    net.fit(X, y, resume=out)


def digest_bytes(path: Path) -> str:
    """Return a checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_weights(path: Path) -> str:
    """Return a checksum of the weights in a file, which must be complete."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights = load_file(path)
    else:
        weights = torch.load(path, weights_only=True)
        # A training, with its state.
        weights = weights.get("parts", {}).get("module_", weights)
    content = b"".join(weights[name].numpy().tobytes() for name in sorted(weights))
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Job:
    """Work that writes a file, and a checksum of its content."""

    run: Callable[[Path, Path], None]
    out: str
    digest: Callable[[Path], str] = digest_bytes
    # Whether a run replaces the file several times.
    repeats: bool = False
    # Whether an older file is in its place; the file of a training would be continued.
    replaces: bool = True

    @property
    def name(self) -> str:
        """The function and the file."""
        return f"{self.run.__name__} {self.out}"


JOBS = [
    Job(pack, "images.h5"),
    Job(pack_gzip, "packed.h5"),
    Job(stream, "classes.h5"),
    Job(stream, "classes.csv"),
    Job(select, "train.txt"),
    Job(simulate, "galaxies.h5"),
    Job(save, "params.pt", digest_weights, True),
    Job(save, "params.safetensors", digest_weights, True),
    Job(fit, "best.pt", digest_weights, True),
    Job(resume, "training.pt", digest_weights, True, replaces=False),
]


def make_inputs(folder: Path) -> None:
    """Write what the jobs read."""
    rng = np.random.default_rng(0)
    for number in range(N_IMAGES):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    np.save(folder / "X.npy", rng.normal(size=(20_000, 30)).astype(np.float32))


def start(
    job: Job, inputs: Path, out: Path, most: int | None = None, full: bool = False
) -> int:
    """Start a child that does a job, and return its process id.

    `most` is the most bytes of a file. With `full` the disk is filled by others after
    the job has looked at its free space.
    """
    pid = os.fork()
    if pid:
        return pid
    status = WRONG
    try:
        if full:
            _atomic.shutil.disk_usage = lambda path: Bunch(free=2**50)
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        job.run(inputs, out)
        status = 0
    except OSError as error:
        named = str(out) in str(error) or f".{out.name}." in str(error)
        if error.errno in (errno.ENOSPC, errno.EFBIG) and named:
            status = REFUSED
        else:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def finish(pid: int) -> int:
    """Wait for a child; return its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def reference(job: Job, inputs: Path, folder: Path) -> tuple[str, int, float]:
    """Return checksum, size and duration of an undisturbed run."""
    folder.mkdir()
    out = folder / job.out
    begin = time.perf_counter()
    status = finish(start(job, inputs, out))
    duration = time.perf_counter() - begin
    if status:
        raise RuntimeError(f"{job.name} fails undisturbed, with status {status}.")
    return job.digest(out), out.stat().st_size, duration


def look(job: Job, out: Path, expected: str) -> str:
    """Tell whether a file is the old or the new one; raise if it is neither."""
    if not out.exists() or out.read_bytes() == OLD:
        return "old"
    if job.digest(out) == expected:
        return "new"
    if job.repeats:
        return "earlier"
    raise ValueError("the file is neither the old nor the new one")


def kill(job: Job, inputs: Path, folder: Path, n_runs: int, rng: Any) -> Counter:
    """Kill a job at random times: its file is old or new, the next run cleans up."""
    expected, _, duration = reference(job, inputs, folder / "reference")
    counts: Counter = Counter()
    for number in range(n_runs):
        out = folder / str(number) / job.out
        out.parent.mkdir()
        if job.replaces:
            out.write_bytes(OLD)
        pid = start(job, inputs, out)
        time.sleep(rng.uniform(0, 1.05 * duration))
        os.kill(pid, signal.SIGKILL)
        finish(pid)
        try:
            counts[look(job, out, expected)] += 1
            counts["with a temporary file"] += set(os.listdir(out.parent)) > {job.out}
            status = finish(start(job, inputs, out))
            if status or look(job, out, expected) != "new":
                raise ValueError(f"the next run ends with status {status}")
            if os.listdir(out.parent) != [job.out]:
                raise ValueError(f"the next run leaves {os.listdir(out.parent)}")
        except Exception as error:
            counts["FAILED"] += 1
            print(f"{job.name}, run {number}: {error!r}", file=sys.stderr)
        shutil.rmtree(out.parent)
    return counts


def disk(
    job: Job, inputs: Path, folder: Path, n_runs: int, rng: Any, small: Path | None
) -> Counter:
    """Limit the space; the file is new, or old after an OSError that names it.

    The limit is that of a small file system, or of the size of files (RLIMIT_FSIZE).
    """
    expected, size, _ = reference(job, inputs, folder / "reference")
    counts: Counter = Counter()
    for number in range(n_runs):
        place = (folder if small is None else small) / str(number)
        place.mkdir()
        out = place / job.out
        if job.replaces:
            out.write_bytes(OLD)
        space = int(rng.uniform(0, 1.1) * size)
        if small is not None:
            free = shutil.disk_usage(small).free
            (small / "ballast").write_bytes(bytes(max(0, free - space)))

        status = finish(start(job, inputs, out, None if small else space, full=True))
        if small is not None:
            (small / "ballast").unlink()
        try:
            found = look(job, out, expected)
            refused = status == REFUSED and (found == "old" or job.repeats)
            # skorch's Checkpoint prints the error, and the training goes on.
            refused |= status == 0 and found != "new" and job.run is fit
            if not refused and (status, found) != (0, "new"):
                raise ValueError(f"status {status}, and the file is {found}")
            parts = [name for name in os.listdir(place) if re.search(r"\.part", name)]
            if parts:
                raise ValueError(f"the run leaves {parts}")
            counts["refused" if refused else "written"] += 1
        except Exception as error:
            counts["FAILED"] += 1
            print(f"{job.name}, run {number}: {error!r}", file=sys.stderr)
        shutil.rmtree(place)
    return counts


def fits() -> dict[str, Callable[[int], Any]]:
    """Return functions that fit an estimator with a seed."""
    X, y = make_spectra()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(24) % 2

    def plain(seed: int) -> Any:
        return make_classifier(random_state=seed).fit(X, y)

    def balanced(seed: int) -> Any:
        net = make_classifier(random_state=seed, sampler="balanced", augment="noise")
        return net.fit(X, y)

    def galaxies(seed: int) -> Any:
        net = GalaxyClassifier(
            "resnet10", module__width=4, max_epochs=2, batch_size=8, verbose=0,
            random_state=seed, device="cpu",
        )  # fmt: skip
        return net.fit(images, labels)

    return {"plain": plain, "sampler and noise": balanced, "images": galaxies}


def threads(name: str, n_runs: int) -> Counter:
    """Compare the weights of fits in threads with those of fits alone."""
    fit_one = fits()[name]

    def weights(seed: int) -> str:
        state = fit_one(seed).module_.state_dict()
        content = b"".join(value.cpu().numpy().tobytes() for value in state.values())
        return hashlib.sha256(content).hexdigest()

    alone = [weights(seed) for seed in range(4)]
    counts: Counter = Counter()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for _ in range(n_runs):
        together = joblib.Parallel(4, backend="threading")(
            joblib.delayed(weights)(seed) for seed in range(4)
        )
        same = together == alone and torch.equal(before, torch.get_rng_state())
        counts["equal" if same else "FAILED"] += 1
    return counts


def in_small_filesystem(arguments: list[str]) -> int:
    """Run the command again where it can mount a file system of 16 MB."""
    with tempfile.TemporaryDirectory() as folder:
        script = 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"'
        command = [sys.executable, __file__, *arguments]
        command += ["--small", folder]
        return subprocess.run(
            ["unshare", "-Urm", "sh", "-c", script, folder, *command]
        ).returncode


def main(arguments: list[str]) -> int:
    """Run a campaign, and print what happened in each job."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("campaign", choices=("kill", "disk", "threads"))
    parser.add_argument("--runs", type=int, default=20, help="runs of each job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default="", help="regular expression of names")
    parser.add_argument(
        "--limit", choices=("files", "filesystem"), default="files",
        help="what disk limits: the size of files, or a small file system (Linux)",
    )  # fmt: skip
    parser.add_argument("--small", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.limit == "filesystem" and options.small is None:
        return in_small_filesystem(arguments)
    torch.set_num_threads(1)
    # The first optimizer imports much, which each child would repeat.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    rng = np.random.default_rng(options.seed)
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        jobs = {job.name: job for job in JOBS}
        names = list(fits()) if options.campaign == "threads" else list(jobs)
        for number, job in enumerate(names):
            if not re.search(options.jobs, job):
                continue
            folder = Path(name) / str(number)
            folder.mkdir()
            if options.campaign == "threads":
                counts = threads(job, options.runs)
            elif options.campaign == "kill":
                counts = kill(jobs[job], inputs, folder, options.runs, rng)
            else:
                counts = disk(
                    jobs[job], inputs, folder, options.runs, rng, options.small
                )
            failed += counts["FAILED"]
            seen = ", ".join(f"{n} {key}" for key, n in sorted(counts.items()) if n)
            print(f"{options.campaign} {job}: {seen}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
