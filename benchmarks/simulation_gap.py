# SPDX-License-Identifier: BSD-3-Clause
"""How simulated spectra differ from real ones of the same kind.

Stars of LAMOST by type, galaxies and quasars of SDSS and BOSS; each is compared with
simulated objects that are most alike in parameters or redshift, and S/N. The parameters
are those of LAMOST, or for K and M stars without them those of dwarfs of their type::

    SKASTRO_DATA=... python -m benchmarks.simulation_gap
    SKASTRO_DATA=... python -m benchmarks.simulation_gap --half odd --seeds 0 1 2

"AUC" is the area under the ROC curve of a logistic regression on 30 principal
components that tells real from simulated spectra, cross-validated; 0.5 is no
difference. The residuals are medians in bins of real over simulated flux, both divided
by their mean, in per cent. Settings of the simulation are chosen on even rows of the
files only.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from astropy.table import Table
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro.datasets import make_spectra, read_spectra
from skastro.simulation.spectra._stars import (
    main_sequence_gravity,
    spectral_type_temperature,
)

# Flux, and what is matched.
Group = tuple[np.ndarray, np.ndarray]

LETTERS = "OBAFGKM"
# Distances that count as much as a factor e in S/N: ln(Teff), log g and [Fe/H], or
# ln(1 + z).
STAR_SCALES, REDSHIFT_SCALES = (0.03, 0.3, 0.3), (0.02,)
# Simulated objects for each real one: there are few real galaxies and quasars.
N_ALIKE = {"LAMOST": 1, "SDSS": 3}
EDGES = np.arange(3900.0, 9001.0, 300.0)


def signal_to_noise(flux: np.ndarray) -> np.ndarray:
    """S/N per pixel from the spectra alone (Stoehr et al. 2008, DER_SNR)."""
    second = 2 * flux[:, 2:-2] - flux[:, :-4] - flux[:, 4:]
    noise = 1.482602 / np.sqrt(6) * np.median(np.abs(second), axis=1)
    return np.median(flux, axis=1) / noise


def type_number(subclass: np.ndarray) -> np.ndarray:
    """Spectral types as numbers, ten a letter; NaN for others."""
    return np.array(
        [
            10 * LETTERS.index(name[0]) + float(name[1])
            if name[:1] and name[0] in LETTERS and name[1:2].isdigit()
            else np.nan
            for name in subclass
        ]
    )


def normalized(flux: np.ndarray) -> np.ndarray:
    """Flux over its mean, without the extremes of cosmic rays and sky lines."""
    return np.clip(flux / flux.mean(axis=1, keepdims=True), -1.0, 6.0)


def stellar_parameters(folder: Path, names: np.ndarray, code: np.ndarray) -> np.ndarray:
    """ln(Teff), log g and [Fe/H] of LAMOST, else those of a dwarf of the type."""
    table = Table.read(folder / "lamost_parameters.csv")
    known = {
        str(row["id"]): (np.log(row["teff"]), row["logg"], row["feh"]) for row in table
    }
    temperature = spectral_type_temperature(np.nan_to_num(code, nan=42.0) + 0.5)
    dwarf = np.column_stack(
        [
            np.log(temperature),
            main_sequence_gravity(temperature),
            np.full(code.size, -0.2),
        ]
    )
    return np.array(
        [known.get(str(name), row) for name, row in zip(names, dwarf, strict=True)]
    )


def load(folder: Path, half: str) -> dict[str, Group]:
    """Real flux, what is matched, and its scale, of each group."""
    groups = {}

    def in_half(n: int) -> np.ndarray:
        return (half == "all") | (
            np.arange(n) % 2 == ("even", "odd", "all").index(half)
        )

    lamost = read_spectra(folder / "lamost.fits", verbose=0)
    used = in_half(len(lamost.flux))
    code = type_number(lamost.subclass)
    parameters = stellar_parameters(folder, lamost.table["id"], code)
    for letter in "AFGKM":
        rows = used & (np.floor(code / 10) == LETTERS.index(letter))
        groups[f"LAMOST {letter}"] = lamost.flux[rows], parameters[rows]
    mixed = read_spectra(folder / "spectra.fits", verbose=0)
    used = in_half(len(mixed.flux))
    sloan = np.array(
        ["LAMOST" not in str(name).upper() for name in mixed.table["survey"]]
    )
    for target in ("GALAXY", "QSO"):
        rows = used & sloan & (mixed.target == target)
        groups[f"SDSS {target}"] = (
            mixed.flux[rows],
            np.log1p(mixed.redshift[rows])[:, None],
        )
    return groups


def simulate(
    name: str, n: int, snr: tuple[float, float], wavelength: np.ndarray, seed: int
) -> Group:
    """Flux of a pool of simulated objects, and what is matched."""
    instrument = "lamost" if name.startswith("LAMOST") else "boss"
    target = "STAR" if instrument == "lamost" else name.split()[1]
    spectra = make_spectra(
        n,
        instrument=instrument,
        wavelength=wavelength,
        class_proportions={target: 1},
        snr=snr,
        random_state=seed,
        verbose=0,
    )
    if target == "STAR":
        values = np.log(spectra.teff), spectra.logg, spectra.feh
        return spectra.flux, np.column_stack(values)
    return spectra.flux, np.log1p(spectra.redshift)[:, None]


def alike(
    real: Group, simulated: Group, scales: tuple[float, ...], n_alike: int
) -> np.ndarray:
    """Rows of the simulated objects most alike to each real one, once each."""
    (flux, values), (pool, pool_values) = real, simulated
    ratio = np.log(signal_to_noise(flux)[:, None] / signal_to_noise(pool))
    distance = np.abs(ratio) + sum(
        np.abs(value[:, None] - others) / scale
        for value, others, scale in zip(values.T, pool_values.T, scales, strict=True)
    )
    distance[~np.isfinite(distance)] = np.inf
    chosen = []
    for _ in range(n_alike):
        for row in distance:
            best = row.argmin()
            chosen.append(best)
            distance[:, best] = np.inf
    return np.array(chosen)


def separability(real: np.ndarray, simulated: np.ndarray, seed: int) -> float:
    """Area under the curve of a classifier of real and simulated spectra."""
    flux = normalized(np.concatenate([real, simulated]))
    is_real = np.repeat([1, 0], [len(real), len(simulated)])
    model = make_pipeline(
        PCA(min(30, len(real) // 2), random_state=seed),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    probability = cross_val_predict(
        model, flux, is_real, cv=folds, method="predict_proba"
    )
    return roc_auc_score(is_real, probability[:, 1])


def residuals(
    wavelength: np.ndarray, real: np.ndarray, simulated: np.ndarray
) -> np.ndarray:
    """Real over simulated medians by bin of wavelength, minus one, in per cent."""
    median = [np.median(normalized(flux), axis=0) for flux in (real, simulated)]
    place = np.digitize(wavelength, EDGES[1:-1])
    means = [np.bincount(place, each) / np.bincount(place) for each in median]
    return 100 * (means[0] / means[1] - 1)


def main() -> None:
    """Print a row for each group."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--half", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--pool", type=int, default=20000, help="to choose from")
    options = parser.parse_args()
    folder = Path(os.environ["SKASTRO_DATA"])
    wavelength = np.linspace(3900.0, 9000.0, 3000)
    start = time.process_time()
    centers = (EDGES[1:] + EDGES[:-1]) / 2
    print("group        n   AUC         " + "".join(f"{x:6.0f}" for x in centers))
    pools: dict[tuple[str, int], Group] = {}
    for name, (flux, value) in load(folder, options.half).items():
        ratio = signal_to_noise(flux)
        good = np.isfinite(flux).all(axis=1) & (ratio > 3)
        good &= np.isfinite(value).all(axis=1)
        if good.sum() < 5:
            continue
        flux, value, ratio = flux[good], value[good], ratio[good]
        areas, rows = [], []
        for seed in options.seeds:
            survey = name.split()[0]
            kind = (survey if survey == "LAMOST" else name), seed
            if kind not in pools:
                snr = (3.0, 400.0) if survey == "LAMOST" else (2.0, 80.0)
                pools[kind] = simulate(name, options.pool, snr, wavelength, seed)
            scales = STAR_SCALES if survey == "LAMOST" else REDSHIFT_SCALES
            chosen = alike((flux, value), pools[kind], scales, N_ALIKE[survey])
            simulated = pools[kind][0][chosen]
            # Too few for five folds.
            few = len(flux) < 15
            areas.append(np.nan if few else separability(flux, simulated, seed))
            rows.append(residuals(wavelength, flux, simulated))
        area = f"{np.mean(areas):.3f}±{np.std(areas):.3f}"
        row = "".join(f"{x:6.1f}" for x in np.mean(rows, axis=0))
        print(f"{name:12} {len(flux):<3} {area} {row}")
    print(f"{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
