# SPDX-License-Identifier: BSD-3-Clause
"""Redshifts of real and of simulated spectra by a network that saw simulations only.

The real spectra are ``spectra.fits`` (SDSS, BOSS, LAMOST) and galaxies of 6dFGS
(``galaxies_6dfgs.fits``), whose rows are at rest and in air, so that their wavelengths
are multiplied by 1 + z first::

    SKASTRO_DATA=... python -m benchmarks.redshifts

``--weights`` names files of ``tools/train_pretrained_redshift.py``, such as those of
several seeds, in place of those that come with the package.

"Right" is |Δz|/(1+z) below 0.003 for galaxies and stars, and below 0.01 for quasars;
"certain" are those without a warning. PIT, the probability integral transform, is the
part of p(z) below the known redshift: uniform from 0 to 1 if p(z) is right.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch

from skastro import RedshiftRegressor
from skastro.base._pretrained import Pretrained
from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import air_to_vacuum

TOLERANCE = {"GALAXY": 0.003, "QSO": 0.01, "STAR": 0.003}
SIMULATED_SNR = ((2.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0))


def make_regressor(weights: Path | None, wavelength: Any) -> RedshiftRegressor:
    """Make a regressor for a grid, with weights from a file or of the package."""
    options = {"device": "cpu", "verbose": 0}
    if weights is None:
        return RedshiftRegressor.from_pretrained(wavelength=wavelength, **options)
    pretrained = Pretrained.read(weights)
    return RedshiftRegressor._from_pretrained(pretrained, wavelength, False, options)


def measure(reg: RedshiftRegressor, flux: np.ndarray, z: np.ndarray) -> Bunch:
    """Measure spectra, and compare with what is known."""
    start = time.process_time()
    solutions = reg.predict_solutions(flux, k=2)
    seconds = time.process_time() - start
    grid, pdf = reg.z_grid_, reg.predict_pdf(flux)
    cumulative = np.concatenate(
        [
            np.zeros((len(pdf), 1)),
            np.cumsum((pdf[:, 1:] + pdf[:, :-1]) / 2 * np.diff(grid), axis=1),
        ],
        axis=1,
    )
    return Bunch(
        z=z,
        found=solutions[:, 0],
        certain=reg.zwarning(flux) == 0,
        pit=np.array(
            [np.interp(a, grid, c) for a, c in zip(z, cumulative, strict=True)]
        ),
        seconds=np.full(len(z), seconds / len(z)),
    )


def join(results: list[Bunch]) -> Bunch:
    """Join the results of several parts."""
    return Bunch(**{k: np.concatenate([r[k] for r in results]) for k in results[0]})


def describe(name: str, result: Bunch, tolerance: float) -> str:
    """Write a row of a table."""
    off = (result.found["z"] - result.z) / (1 + result.z)
    right, certain = np.abs(off) < tolerance, result.certain
    counts = np.histogram(result.pit, np.linspace(0, 1, 6))[0]
    pull = np.abs(result.found["z"] - result.z) / result.found["std"]
    return (
        f"| {name} | {len(off)} | {right.mean():.3f} | {certain.mean():.3f} "
        f"| {right[certain].mean():.4f} | {np.median(off):+.1e} "
        f"| {1.4826 * np.median(np.abs(off)):.1e} | {1.4826 * np.median(pull):.2f} "
        f"| {' '.join(map(str, counts))} | {1e3 * result.seconds.mean():.0f} |"
    )


HEADER = (
    "| spectra | number | right | certain | right if certain | median | scatter | pull "
    "| PIT in fifths | ms |\n|" + "---|" * 10
)


def real(weights: Path | None, folder: Path) -> None:
    """Measure real spectra."""
    known = read_spectra(folder / "spectra.fits", verbose=0)
    target = np.asarray(known.table["class"]).astype(str)
    z = np.asarray(known.table["z"], dtype=float)
    reg = make_regressor(weights, known.wavelength)
    parts = []
    for name in ("GALAXY", "QSO", "STAR"):
        rows = target == name
        result = measure(reg, known.flux[rows], z[rows])
        print(describe(f"real {name}", result, TOLERANCE[name]))
        if name != "STAR":
            parts.append((name, result))
            for row in np.flatnonzero(
                np.abs(result.found["z"] - result.z) / (1 + result.z) >= TOLERANCE[name]
            ):
                print(
                    f"  row {np.flatnonzero(rows)[row]}: known {result.z[row]:.4f}, "
                    f"found {result.found['z'][row]:.4f} "
                    f"{result.found['class'][row]}, P = "
                    f"{result.found['probability'][row]:.3f}, "
                    f"{'certain' if result.certain[row] else 'with a warning'}"
                )
    six = read_spectra(folder / "galaxies_6dfgs.fits", verbose=0)
    z = np.asarray(six.table["z"], dtype=float)
    results = []
    for row, redshift in enumerate(z):
        wavelength = air_to_vacuum(six.wavelength * (1 + redshift))
        reg = make_regressor(weights, wavelength)
        results.append(measure(reg, six.flux[row : row + 1], z[row : row + 1]))
    result = join(results)
    print(describe("real 6dFGS", result, TOLERANCE["GALAXY"]))
    parts.append(("GALAXY", result))
    right = np.concatenate(
        [
            (np.abs(r.found["z"] - r.z) / (1 + r.z) < TOLERANCE[name])[r.certain]
            for name, r in parts
        ]
    )
    print(f"{right.size} galaxies and quasars are certain, right: {right.mean():.4f}")


def simulated(weights: Path | None, n_samples: int, seed: int) -> None:
    """Measure other simulated spectra, by class and S/N."""
    for name in TOLERANCE:
        for low, high in SIMULATED_SNR:
            redshift = {"GALAXY": (0.0, 1.5), "QSO": (0.03, 4.0)}
            spectra = make_spectra(
                n_samples,
                class_proportions={name: 1.0},
                snr=(low, high),
                redshift={k: v for k, v in redshift.items() if k == name},
                random_state=seed,
            )
            reg = make_regressor(weights, spectra.wavelength)
            result = measure(reg, spectra.flux, spectra.redshift)
            label = f"simulated {name}, S/N {low:g} to {high:g}"
            print(describe(label, result, TOLERANCE[name]))


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, nargs="+", default=[None])
    parser.add_argument("--n-simulated", type=int, default=200, help="of each row")
    parser.add_argument("--seed", type=int, default=5000, help="of the simulated ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for weights in options.weights:
        print(f"\n{weights or 'weights of the package'}\n\n{HEADER}")
        real(weights, Path(os.environ["SKASTRO_DATA"]))
        if options.n_simulated:
            simulated(weights, options.n_simulated, options.seed)


if __name__ == "__main__":
    main()
