# SPDX-License-Identifier: BSD-3-Clause
"""Train the weights that estimators of spectra start from, and write their card.

    python tools/train_pretrained_spectra.py

writes ``spectra.safetensors`` and ``spectra.md`` to ``skastro/estimators/pretrained``.
One network learns several things of simulated spectra at once: the class, lg Teff,
log g and [Fe/H] of stars, the redshift of galaxies and quasars. Each time it sees a
spectrum, that is blurred, reddened, wrongly calibrated, made noisy and cropped anew.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import skorch
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import skastro
from skastro.base._pretrained import Pretrained
from skastro.datasets import make_spectra
from skastro.estimators._spectra import GRID, split_channels
from skastro.networks import ConvNet
from skastro.simulation import extinction_curve
from skastro.utils import atomic_write

CLASSES = ("GALAXY", "QSO", "STAR")
PROPORTIONS = {"STAR": 0.6, "GALAXY": 0.2, "QSO": 0.2}
# Center, scale and weight in the loss of what is measured beside the class; the scales
# are about the scatter among the spectra.
TARGETS = {
    "lg(Teff/K)": (3.8, 0.12, 3.0),
    "log g": (3.8, 0.8, 1.0),
    "[Fe/H]": (-0.3, 0.4, 1.0),
    "white dwarf": (0.0, 1.0, 0.5),
    "ln(1+z)": (0.0, 0.25, 1.0),
}
# Above this temperature (K) stars hardly show metals.
HOTTEST_WITH_METALS = 10_000.0
# Those of the simulated spectra, before they are blurred and made noisy.
RESOLUTION = 2400.0
# Ranges from which the rest is drawn.
MOST_BLUR = 1.6  # pixels of the grid, standard deviation
SNR = (5.0, 200.0)
MOST_CROPPED = 0.3  # of the grid, at each end

_CARD = """\
# spectra

Weights to start from, for spectra of stars, galaxies and quasars:
`SpectrumClassifier.from_pretrained("spectra", wavelength=...)` and
`SpectrumRegressor.from_pretrained("spectra", wavelength=...)`. Written by
`python tools/train_pretrained_spectra.py`; nothing here was entered by hand.

## How made

`ConvNet` with {n_weights} weights, stored in half precision, trained on {n_spectra}
spectra of `skastro.datasets.make_spectra` (seeds from {seed}; resolving power
{resolution:g}, class proportions {proportions}) in {n_pixels} pixels from {low:g} to
{high:g} Å in vacuum, evenly spaced in the logarithm. No real spectrum was used.
In each of {epochs} epochs every spectrum was blurred by up to {blur:g} pixels,
reddened, calibrated wrongly by smooth curves of up to some tens of per cent and by
wiggles of a few per cent, cropped by up to {cropped:.0%} at each end, with noise of S/N
{snr[0]:g} to {snr[1]:g} a pixel, spikes and wrong pixels. Targets: the class, and
{targets}, where they are known.
AdamW, batches of {batch_size}, learning rate {lr:g} with a warm-up and half a cosine,
seed {seed}. {simulation_cpu_s} s on one core for the spectra, {training_cpu_s} s for
the network.
Versions: {versions}.

## Range of validity

- Optical spectra with vacuum wavelengths, of any grid that shares pixels with
  {low:g} to {high:g} Å, and of a resolving power of about 800 to {resolution:g}.
- The head is new: the weights are a start, and predict nothing by themselves.
- Stars of type O to M and white dwarfs, galaxies to redshift {redshift[0]:.1f}, quasars
  to {redshift[1]:.1f}. The simulator's stars have artificial weak lines, no emission
  but that of active M dwarfs, and solar ratios of the elements.

## Measured

On {n_valid} other simulated spectra, treated in the same way (seed {seed_valid}):
accuracy of the class {accuracy:.4f}; root mean square error of lg(Teff/K)
{errors[0]:.4f}, of log g {errors[1]:.2f}, of [Fe/H] {errors[2]:.2f}, of ln(1 + z)
{errors[4]:.3f}. Learning curves with real spectra are in the user guide
(`python -m benchmarks.start_weights`).
"""


def simulate(n_spectra: int, seed: int) -> dict[str, Tensor]:
    """Simulate spectra without noise, their classes and targets (NaN: unknown)."""
    parts = []
    for start in tqdm(range(0, n_spectra, 3000), desc="simulate", unit="chunk"):
        spectra = make_spectra(
            min(3000, n_spectra - start),
            wavelength=GRID,
            class_proportions=PROPORTIONS,
            snr=(50, 100),
            resolution=RESOLUTION,
            sky_residuals=0,
            cosmic_rays=0,
            bad_pixels=0,
            return_truth=True,
            random_state=seed + start,
        )
        flux = spectra.true_flux
        flux /= np.abs(flux).mean(axis=1, keepdims=True)
        is_star = spectra.target == "STAR"
        has_metals = spectra.teff < HOTTEST_WITH_METALS
        dwarf = spectra.subclass == "WD"
        values = np.column_stack(
            [
                np.where(dwarf, np.nan, np.log10(spectra.teff)),
                np.where(dwarf, np.nan, spectra.logg),
                np.where(has_metals, spectra.feh, np.nan),
                np.where(is_star, dwarf, np.nan),
                np.where(is_star, np.nan, np.log1p(spectra.redshift)),
            ]
        )
        center, scale, _ = np.transpose(list(TARGETS.values()))
        parts.append(
            {
                "flux": flux.astype(np.float16),
                "class": np.searchsorted(CLASSES, spectra.target),
                "values": ((values - center) / scale).astype(np.float32),
            }
        )
    return {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
        for name in parts[0]
    }


class Observation:
    """What telescopes and reductions do to spectra, and ranges that they cover."""

    def __init__(self) -> None:
        x = np.linspace(-1, 1, GRID.size)
        curves = np.polynomial.chebyshev.chebvander(x, 4)[:, 1:].T
        # Where the two arms of spectrographs meet.
        step = 1 / (1 + np.exp((5900 - GRID) / 60))
        self.x = torch.from_numpy(x).float()
        self.curves = torch.from_numpy(np.vstack([curves, step])).float()
        self.sizes = torch.tensor([0.25, 0.12, 0.06, 0.05, 0.05])
        self.extinction = torch.from_numpy(3.1 * extinction_curve(GRID)).float()

    def __call__(self, flux: Tensor, generator: torch.Generator) -> Tensor:
        """Give what networks see of noiseless spectra (n, n_pixels)."""
        n, size = flux.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        flux = _blur(flux, MOST_BLUR * float(uniform(1)))
        exponent = (normal(n, 5) * self.sizes * 1.5 * uniform(n, 1)) @ self.curves
        excess = -0.1 * torch.log(uniform(n, 1).clamp(min=1e-3))
        exponent -= 0.4 * np.log(10) * excess * self.extinction
        wiggles = 0.02 * uniform(n, 1, 1) * normal(n, 1, 24)
        exponent += functional.interpolate(
            wiggles, size=size, mode="linear", align_corners=True
        )[:, 0]
        flux = flux * exponent.exp()
        flux /= flux.abs().mean(dim=1, keepdim=True)
        # Photons of object and sky, and a throughput that falls toward the ends.
        throughput = torch.exp(-1.2 * uniform(n, 1) * self.x.abs() ** 2)
        throughput = throughput * torch.exp(0.6 * normal(n, 1) * self.x)
        variance = (flux.clamp(min=0) + 1.5 * uniform(n, 1)) / throughput
        variance /= variance.mean(dim=1, keepdim=True)
        low, high = np.log(SNR)
        snr = torch.exp(low + (high - low) * uniform(n, 1))
        flux = flux + normal(n, size) * variance.sqrt() / snr
        for _ in range(2):
            rows = torch.nonzero(uniform(n) < 0.4)[:, 0]
            columns = torch.randint(size, rows.shape, generator=generator)
            flux[rows, columns] += 2 * normal(len(rows))
        place = torch.arange(size) / size
        ends = MOST_CROPPED * uniform(2, n, 1) * (uniform(2, n, 1) < 0.7)
        covered = ((place >= ends[0]) & (place < 1 - ends[1])).float()
        return split_channels((flux * covered)[:, None], covered[:, None])


def _blur(flux: Tensor, sigma: float) -> Tensor:
    if sigma < 0.25:
        return flux
    kernel = torch.exp(-0.5 * (torch.arange(-6, 7) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    return functional.conv1d(flux[:, None], kernel, padding=6)[:, 0]


def loss_of(outputs: Tensor, classes: Tensor, values: Tensor) -> Tensor:
    """Sum the losses of the class and of what is known of the other targets."""
    known = ~values.isnan()
    off = functional.smooth_l1_loss(
        outputs[:, len(CLASSES) :], values.nan_to_num(), reduction="none", beta=0.3
    )
    mean = (off * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    weights = torch.tensor([weight for _, _, weight in TARGETS.values()])
    loss = functional.cross_entropy(outputs[:, : len(CLASSES)], classes)
    return loss + (weights * mean).sum()


def train(options: argparse.Namespace) -> tuple[nn.Module, dict]:
    """Train a network; return it with what its card tells."""
    torch.manual_seed(options.seed)
    started = time.process_time()
    data = simulate(options.n_spectra, options.seed)
    simulated = time.process_time()
    network = ConvNet(2, len(CLASSES) + len(TARGETS), GRID.size)
    observe, generator = Observation(), torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr)
    n_batches = options.n_spectra // options.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, total_steps=options.epochs * n_batches, pct_start=0.15
    )
    for epoch in range(options.epochs):
        order = torch.randperm(options.n_spectra, generator=generator)
        batches = order[: n_batches * options.batch_size].split(options.batch_size)
        bar = tqdm(batches, desc=f"epoch {epoch + 1}", unit="batch")
        for rows in bar:
            outputs = network(observe(data["flux"][rows].float(), generator))
            loss = loss_of(outputs, data["class"][rows], data["values"][rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    trained = time.process_time()
    redshift = [
        np.expm1(0.25 * data["values"][data["class"] == row, -1].max().item())
        for row in range(2)
    ]
    seed_valid = options.seed + 10**6
    return network.eval(), {
        "redshift": redshift,
        "seed_valid": seed_valid,
        "simulation_cpu_s": round(simulated - started),
        "training_cpu_s": round(trained - simulated),
        "n_weights": sum(weight.numel() for weight in network.parameters()),
        **measure(network.eval(), options.n_valid, seed_valid),
    }


@torch.no_grad()
def measure(network: nn.Module, n_spectra: int, seed: int) -> dict:
    """Measure a network on other simulated spectra."""
    data = simulate(n_spectra, seed)
    observe, generator = Observation(), torch.Generator().manual_seed(seed)
    outputs = torch.cat(
        [network(observe(f.float(), generator)) for f in data["flux"].split(100)]
    )
    found = outputs[:, : len(CLASSES)].argmax(dim=1)
    off = outputs[:, len(CLASSES) :] - data["values"]
    scale = torch.tensor([scale for _, scale, _ in TARGETS.values()])
    return {
        "accuracy": float((found == data["class"]).float().mean()),
        "errors": (off.square().nanmean(dim=0).sqrt() * scale).tolist(),
    }


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    folder = Path(skastro.__file__).parent / "estimators" / "pretrained"
    parser.add_argument("--output", type=Path, default=folder, metavar="FOLDER")
    parser.add_argument("--n-spectra", type=int, default=36_000)
    parser.add_argument("--n-valid", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network, notes = train(options)
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    packages = {"skastro": skastro, "torch": torch, "skorch": skorch}
    notes |= {
        **vars(options),
        "resolution": RESOLUTION,
        "proportions": ", ".join(f"{k} {v:g}" for k, v in PROPORTIONS.items()),
        "n_pixels": GRID.size,
        "low": GRID[0],
        "high": GRID[-1],
        "blur": MOST_BLUR,
        "cropped": MOST_CROPPED,
        "snr": SNR,
        "targets": ", ".join(TARGETS),
        "versions": ", ".join(f"{k} {v.__version__}" for k, v in packages.items()),
    }
    settings = {"parameters": {"module": "convnet", "normalization": "split"}}
    Pretrained(weights, {}, settings).save(options.output / "spectra.safetensors")
    with atomic_write(options.output / "spectra.md", "w", encoding="utf-8") as file:
        file.write(_CARD.format(**notes))


if __name__ == "__main__":
    main()
