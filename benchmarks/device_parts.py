# SPDX-License-Identifier: BSD-3-Clause
"""What is measured on a device within a budget, the most important first.

Nothing but the checkout is needed: all data are made, and weights are the package's.
"""

import dataclasses
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.profiler import ProfilerActivity, profile

import skastro
from benchmarks import compare
from benchmarks.budget import Figures, Part
from benchmarks.cases import CASES, Case, Rows
from benchmarks.measure import EpochClock, Stopwatch
from benchmarks.profile import JOBS
from benchmarks.profile import measure as attribute
from skastro.sevi import SEVISimulator, make_sevi

ROOT = Path(__file__).parents[1]
# The tests, the seconds that they may take, and a pattern of their summary.
TESTS, _TEST_SECONDS = ROOT / "tests", 120
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected)")

# Rows on a CPU, on a GPU, and at least; and the seconds that these take on a CPU.
ROWS = {
    "spectra-default": (640, 20_000, 128, 10),
    "spectra": (256, 10_000, 128, 50),
    "tiny-64": (20_000, 40_000, 512, 2),
    "tiny-256": (20_000, 40_000, 512, 2),
    "images-default": (640, 20_000, 128, 15),
    "images-18": (640, 20_000, 128, 20),
    "images-50": (256, 10_000, 128, 60),
}
# The default networks, besides those of the comparison.
DEFAULTS = {
    "spectra-default": dataclasses.replace(
        CASES["spectra"], name="default", module="resnet10", module_params={}
    ),
    "images-default": dataclasses.replace(
        CASES["images-18"], name="images-10", module="resnet10"
    ),
}
FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "auto": {"precision": "auto"},
}
COMPILED = {"bfloat16, compiled": {"precision": "bfloat16", "compile": True}}


def run_tests(rows: int, rounds: int, *, seconds: float) -> Figures:
    """Run the tests that need a GPU; where there is none they are skipped."""
    files = [TESTS] if TESTS.is_file() else sorted(TESTS.rglob("test_*.py"))
    chosen = [f for f in files if "mark.gpu" in f.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--tb=short"]
    command += ["-p", "no:cacheprovider", *map(str, chosen)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, timeout=seconds, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        # Without the command, which names folders of this machine.
        raise TimeoutError(f"The tests take more than {seconds:.0f} s.") from error
    counts = {what: float(n) for n, what in _COUNT.findall(done.stdout[-500:])}
    if done.returncode:
        raise RuntimeError(
            f"pytest ended with {done.returncode}: {done.stdout[-1500:]}"
        )
    return counts


def compare_loops(
    rows: int, rounds: int, *, case: Case, device: str, slow: bool
) -> Figures:
    """Compare training and prediction with the compute bound, and with slow loops."""
    whole = Rows(rows, rows, rows, cpu_epochs=2, cuda_epochs=2)
    case = dataclasses.replace(case, rows=whole)
    found = compare.measure(case, device, rounds, quick=not slow, slow=slow)
    figures = {}
    for what in ("training", "prediction"):
        rates = getattr(found, what)
        for loop, values in rates.items():
            figures[f"{what} {loop}, samples/s"] = median(values)
        ratio = median(rates[compare.SKASTRO]) / median(rates[compare.BOUND])
        figures[f"{what}, of the bound"] = ratio
    return figures


def train(
    rows: int, rounds: int, *, estimator: Callable, data: Callable, device: str
) -> Figures:
    """Train and apply an estimator: rates, and the peak of the device's memory."""
    X, y = data(rows)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    def note_memory(name: str) -> None:
        if device == "cuda":
            note(f"{name}, MB", torch.cuda.max_memory_allocated() / 1e6)
            torch.cuda.reset_peak_memory_stats()

    for _ in range(rounds):
        clock = EpochClock(device)
        net = estimator(max_epochs=3, callbacks=[("clock", clock)])
        with warnings.catch_warnings(), Stopwatch(device) as watch:
            # A few epochs teach an autoencoder little.
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(X, y)
        note("training, samples/s", len(X) / clock.seconds_per_epoch)
        note("whole fit, samples/s", 3 * len(X) / watch.seconds)
        note_memory("memory in training")
        apply = getattr(net, "predict_proba", None) or net.transform
        with Stopwatch(device) as watch:
            apply(X)
        note("prediction, samples/s", len(X) / watch.seconds)
        note_memory("memory in prediction")
    return {name: median(values) for name, values in found.items()}


def compare_formats(
    rows: int, rounds: int, *, case: Case, device: str, formats: dict
) -> Figures:
    """Train and apply the network of a case in several number formats."""
    figures = {}
    for name, settings in formats.items():
        make = partial(case.make_estimator, device, **settings)
        taken = train(rows, rounds, estimator=make, data=case.make_data, device=device)
        figures.update({f"{name}: {what}": value for what, value in taken.items()})
    return figures


def device_share(rows: int, rounds: int, *, case: Case, device: str) -> Figures:
    """Find the part of a training in which the GPU computes, at least."""
    X, y = case.make_data(rows)
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if device == "cuda" else []
    which = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    net = case.make_estimator(device, max_epochs=2)
    with profile(activities=kinds) as recorded, Stopwatch(device) as watch:
        net.fit(X, y)
    busy = sum(getattr(event, which) for event in recorded.key_averages()) / 1e6
    return {"kernels, of the time of fit": busy / watch.seconds}


def find_shares(rows: int, rounds: int, *, job: str, device: str) -> Figures:
    """Attribute the time of a training to its parts."""
    shares, _ = attribute(JOBS[job](device, rows <= 64), device, rounds)
    return {f"{part}, of the time": share for part, share in shares.items()}


def simulate_shells(rows: int, rounds: int, *, device: str) -> Figures:
    """Simulate electron images."""
    figures = {}
    for n_shells in (1, 2):
        simulator = SEVISimulator(
            n_shells=n_shells, n_electrons=(1e4, 1e6), device=device
        )
        generator = torch.Generator(device).manual_seed(0)
        rates = []
        for _ in range(rounds):
            with Stopwatch(device) as watch:
                simulator(rows, generator)
            rates.append(rows / watch.seconds)
        figures[f"{n_shells} shell(s), images/s"] = median(rates)
    return figures


def predict_shells(rows: int, rounds: int, *, refine: bool, device: str) -> Figures:
    """Measure anisotropies by the fit of the shells, or by the network alone."""
    figures = {}
    for n_shells in (1, 2):
        scenes = {"n_shells": n_shells, "size": 256, "n_electrons": 1e5}
        made = make_sevi(rows, random_state=0, **scenes)
        net = skastro.SEVIRegressor.from_pretrained(
            f"sevi-{n_shells}shell", refine=refine, device=device, verbose=0
        )
        rates = []
        for _ in range(rounds):
            with Stopwatch(device) as watch:
                beta = net.predict(made.images)
            rates.append(rows / watch.seconds)
        name = f"{n_shells} shell(s)"
        figures[f"{name}, images/s"] = median(rates)
        error = np.square(beta - made.beta).mean() ** 0.5
        figures[f"{name}, root mean square error"] = float(error)
    return figures


def _large_images(n: int) -> tuple[np.ndarray, None]:
    return np.random.default_rng(0).integers(0, 255, (n, 256, 256, 3), np.uint8), None


def make_parts(device: str, budget: float, quick: bool) -> list[Part]:
    """List all parts for a device, the most important first."""
    limit = min(_TEST_SECONDS, budget / 4)
    parts = [Part("tests", partial(run_tests, seconds=limit), weight=3)]

    def add(name: str, run: Callable, rows: tuple[int, ...], **options: Any) -> None:
        """Add a part, with the rows that the device deserves."""
        cpu, cuda, least, seconds = rows
        most = least if quick else {"cpu": cpu, "cuda": cuda}[device]
        weight, begins = (options.pop(n, 1) for n in ("weight", "least_seconds"))
        if device == "cpu":
            begins = max(begins, seconds)
        run = partial(run, device=device, **options)
        parts.append(Part(name, run, most, least, weight=weight, least_seconds=begins))

    for name, case in {**DEFAULTS, **CASES}.items():
        settings = {"case": case, "slow": False, "weight": 2}
        add(name, compare_loops, ROWS[name], **settings)
    networks = ("spectra-default", "spectra", "images-18")
    known = {**DEFAULTS, **CASES}
    for name in networks:
        settings = {"case": known[name], "formats": FORMATS, "weight": 2}
        add(f"{name}, formats", compare_formats, ROWS[name], **settings)
    make = partial(skastro.VAETransformer, device=device, verbose=0, random_state=0)
    settings = {"estimator": make, "data": _large_images}
    add("vae, images of 256 x 256", train, (64, 2048, 16, 6), **settings)
    add("sevi, simulation", simulate_shells, (64, 4096, 8, 1))
    for name, refine in (("fit of the shells", True), ("network", False)):
        add(f"sevi, {name}", predict_shells, (32, 1024, 4, 8), refine=refine)
    for name in networks:
        add(f"{name}, kernels", device_share, (640, 5000, 64, 8), case=known[name])
    for name in ("tiny-64", "spectra-18", "images-18"):
        add(f"{name}, parts of fit", find_shares, (640, 640, 64, 8), job=name)
    for name in ("images-default", "images-50"):
        make = partial(known[name].make_estimator, device)
        settings = {"estimator": make, "data": known[name].make_data}
        add(f"{name}, memory", train, ROWS[name], **settings)
    for name in networks:
        settings = {"case": known[name], "formats": COMPILED, "least_seconds": 60}
        add(f"{name}, compiled", compare_formats, ROWS[name], **settings)
    for name, case in CASES.items():
        settings = {"case": case, "slow": True, "least_seconds": 30}
        add(f"{name}, other loops", compare_loops, ROWS[name], **settings)
    return parts
