# SPDX-License-Identifier: BSD-3-Clause
"""Train the pretrained weights of RedshiftRegressor, and write their card.

    python tools/train_pretrained_redshift.py

writes ``redshift.safetensors`` and ``redshift.md`` to
``skastro/estimators/pretrained``. Nothing but simulated spectra is used.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import skorch
import torch
from tqdm import tqdm

import skastro
from skastro import RedshiftRegressor
from skastro.base._pretrained import Pretrained
from skastro.datasets import make_spectra
from skastro.estimators._log_pixels import LN_WAVELENGTH, LogPixels
from skastro.utils import atomic_write

# Parts of the training spectra by their instrument.
INSTRUMENTS = {
    "survey": 0.2,
    "lamost": 0.2,
    "sdss": 0.2,
    "boss": 0.2,
    "desi": 0.1,
    "6dfgs": 0.1,
}
SNR = (1.5, 40.0)
CLASSES = {"GALAXY": 0.4, "QSO": 0.4, "STAR": 0.2}
REDSHIFT = {"GALAXY": (0.0, 1.5), "QSO": (0.03, 4.2)}
# Of galaxies so many are nearby, as in surveys.
NEARBY, NEARBY_REDSHIFT = 0.4, {"GALAXY": (0.0, 0.3)}
# Sizes of Chebyshev polynomials in ln(flux), by order: what calibrations leave, and for
# half of the spectra the humps of a response that was not calibrated.
SMOOTH, WIGGLES = [0.3, 0.2, 0.12, 0.08], [0.04] * 12
TOLERANCE = {"GALAXY": 0.003, "QSO": 0.01, "STAR": 0.003}
SNR_EDGES = (1.5, 3.0, 6.0, 12.0, 40.0)
_AT_ONCE = 256

_CARD = """\
# redshift

Weights of `RedshiftRegressor`: `RedshiftRegressor.from_pretrained("redshift",
wavelength=...)`. Written by `python tools/train_pretrained_redshift.py`; nothing here
was entered by hand.

## How made

`RedshiftNet` with {n_weights} weights, trained on {n_samples} simulated spectra
(`make_spectra`, seed {seed}) of {instruments}: {classes}; redshifts of galaxies uniform
in ln(1 + z) to 1.5 and, for {nearby:.0%} of them, to 0.3; those of quasars to 4.2; S/N
per pixel from {snr[0]:g} to {snr[1]:g}, uniform in the logarithm. In training
the ends of spectra are cut off at random, and the flux is multiplied by smooth curves,
for half of the spectra by curves with humps, as of a response that was not calibrated.
{max_epochs} epochs in batches of {batch_size}, AdamW, learning rate {lr} with a warm-up
and half a cosine. The weights of the network and of the templates in p(z) are those
under which the true redshifts of 400 validation spectra are most probable. No real
spectrum was used; colors of stars and the response of 6dFGS in the simulator follow
means of real ones. {simulation_cpu_s} s on one core for the spectra,
{training_cpu_s} s for the network. Versions: {versions}.

## Range of validity

- Spectra of stars, galaxies and quasars between 3500 and 10400 Å, of any part of it of
  at least a factor of 1.22 in wavelength, at resolving powers from 500 to 5000.
- Galaxies to z = 1.5, quasars to z = 4.2, stars within 900 km/s.
- The simulated spectra lack objects that real surveys have: pairs of objects, unusual
  stars, quasars with overlapping absorption, broken calibration. A probability near one
  is less certain for real spectra than for simulated ones.

## Measured on simulated spectra

{n_test} other spectra (seed {test_seed}), in equal parts of the instruments. Right:
|Δz|/(1+z) below 0.003 for galaxies and stars, 0.01 for quasars. Certain: without a
warning. Scatter: 1.4826 times the median of |Δz|/(1+z). Pull: 1.4826 times the
median of |Δz| over its error bar.

{table}
"""


class CutAndMiscalibrate:
    """Cut the ends of spectra off, and multiply the flux by smooth curves."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Vary a batch (batch, 2, n_pixels) of flux and inverse variance."""
        n, _, n_pixels = X.shape
        draws = torch.rand(n, 4, generator=self.generator)
        cut = 0.3 * draws[:, :2] * (draws[:, 2:] < 0.5)
        position = torch.linspace(0, 1, n_pixels)
        kept = (position >= cut[:, :1]) & (position <= 1 - cut[:, 1:])
        size = torch.tensor(SMOOTH + WIGGLES).expand(n, -1).clone()
        size[torch.rand(n, generator=self.generator) < 0.5, len(SMOOTH) :] = 0
        size *= torch.rand(n, 1, generator=self.generator)
        curve = torch.randn(size.shape, generator=self.generator) * size
        x = 2 * position.numpy() - 1
        powers = np.polynomial.chebyshev.chebvander(x, size.shape[1])[:, 1:]
        factor = torch.exp(curve @ torch.from_numpy(powers.T).float())
        return torch.stack(
            [X[:, 0] * factor * kept, X[:, 1] / factor.square() * kept], dim=1
        )


def simulate(n_samples: int, seed: int, parts: dict[str, float]) -> dict:
    """Simulate spectra of all instruments, on the pixels of the network."""
    found = {name: [] for name in ("X", "redshift", "target", "snr")}
    rng = np.random.default_rng(seed)
    for instrument, part in tqdm(parts.items(), desc="simulate"):
        n = round(n_samples * part)
        n_nearby = round(n * CLASSES["GALAXY"] * NEARBY)
        for count, classes, redshift in (
            (n_nearby, {"GALAXY": 1.0}, NEARBY_REDSHIFT),
            (
                n - n_nearby,
                {**CLASSES, "GALAXY": CLASSES["GALAXY"] * (1 - NEARBY)},
                REDSHIFT,
            ),
        ):
            if not count:
                continue
            spectra = make_spectra(
                count,
                instrument=instrument,
                class_proportions=classes,
                snr=SNR,
                redshift={k: v for k, v in redshift.items() if k in classes},
                random_state=int(rng.integers(2**31)),
            )
            pixels = LogPixels(spectra.wavelength)
            for first in range(0, count, _AT_ONCE):
                rows = slice(first, first + _AT_ONCE)
                both = np.stack([spectra.flux[rows], spectra.ivar[rows]], axis=1)
                found["X"].append(pixels(torch.from_numpy(both)).numpy())
            for name in ("redshift", "target", "snr"):
                found[name].append(spectra[name])
    return {name: np.concatenate(values) for name, values in found.items()}


def train(options: argparse.Namespace) -> Pretrained:
    """Train a network, and gather what belongs to it."""
    started = time.process_time()
    spectra = simulate(options.n_samples, options.seed, INSTRUMENTS)
    simulated = time.process_time()
    settings = {
        "max_epochs": options.max_epochs,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "random_state": options.seed,
    }
    reg = RedshiftRegressor(
        wavelength=np.exp(LN_WAVELENGTH),
        redshift={"GALAXY": (-0.003, 1.5), "QSO": (0.03, 4.2), "STAR": (-0.003, 0.003)},
        augment=CutAndMiscalibrate(options.seed),
        precision="float32",
        device="cpu",
        train_split=0.05,
        verbose=2,
        **settings,
    ).fit(spectra["X"], spectra["redshift"])
    training = {
        "n_samples": options.n_samples,
        "seed": options.seed,
        **settings,
        "n_weights": sum(weight.numel() for weight in reg.module_.parameters()),
        "valid_loss": min(reg.history[:, "valid_loss"]),
        "simulation_cpu_s": round(simulated - started),
        "training_cpu_s": round(time.process_time() - simulated),
        "versions": {
            "skastro": skastro.__version__,
            "torch": torch.__version__,
            "skorch": skorch.__version__,
        },
    }
    return Pretrained(
        reg.module_.state_dict(),
        {},
        {
            "parameters": {"module": "redshift"},
            "target_shape": (),
            "redshift_range": reg.redshift_range_,
            "weights": reg.weights_,
            "training": training,
        },
    )


def write_card(path: Path, n_test: int) -> None:
    """Measure the weights in a file on simulated spectra, and write the card."""
    pretrained = Pretrained.read(path)
    training = pretrained.settings["training"]
    seed = training["seed"] + 1000
    spectra = simulate(n_test, seed, dict.fromkeys(INSTRUMENTS, 1 / len(INSTRUMENTS)))
    reg = RedshiftRegressor._from_pretrained(
        pretrained, np.exp(LN_WAVELENGTH), True, {"device": "cpu", "verbose": 0}
    )
    solutions = reg.predict_solutions(spectra["X"], k=1)[:, 0]
    certain = reg.zwarning(spectra["X"]) == 0
    off = np.abs(solutions["z"] - spectra["redshift"])
    relative = off / (1 + spectra["redshift"])
    rows = [
        "| class | S/N | spectra | right | certain | of these right | scatter | pull |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, tolerance in TOLERANCE.items():
        for low, high in pairwise(SNR_EDGES):
            chosen = (spectra["target"] == name) & (spectra["snr"] >= low)
            chosen &= spectra["snr"] < high
            right = relative[chosen] < tolerance
            sure = certain[chosen]
            pull = 1.4826 * np.median(off[chosen] / solutions["std"][chosen])
            rows.append(
                f"| {name} | {low:g} to {high:g} | {chosen.sum()} | {right.mean():.3f} "
                f"| {sure.mean():.3f} | {right[sure].mean():.4f} "
                f"| {1.4826 * np.median(relative[chosen]):.1e} | {pull:.2f} |"
            )
    versions = ", ".join(f"{k} {v}" for k, v in training["versions"].items())
    card = _CARD.format(
        **{**training, "versions": versions},
        instruments=", ".join(f"{k} {v:.0%}" for k, v in INSTRUMENTS.items()),
        classes=", ".join(f"{v:.0%} {k}" for k, v in CLASSES.items()),
        nearby=NEARBY,
        snr=SNR,
        n_test=n_test,
        test_seed=seed,
        table="\n".join(rows),
    )
    with atomic_write(path.with_suffix(".md"), "w", encoding="utf-8") as file:
        file.write(card)


def main() -> None:
    """Train, save, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    folder = Path(skastro.__file__).parent / "estimators" / "pretrained"
    parser.add_argument("--output", type=Path, default=folder, metavar="FOLDER")
    parser.add_argument("--n-samples", type=int, default=24_000)
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-test", type=int, default=3000)
    parser.add_argument("--card-only", action="store_true", help="train nothing")
    options = parser.parse_args()
    path = options.output / "redshift.safetensors"
    if not options.card_only:
        path.parent.mkdir(parents=True, exist_ok=True)
        train(options).save(path)
    write_card(path, options.n_test)


if __name__ == "__main__":
    main()
