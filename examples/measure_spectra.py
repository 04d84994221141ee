# SPDX-License-Identifier: BSD-3-Clause
"""
Measure spectra: from a file to a catalog of numbers, error bars and flags
==========================================================================

Without arguments the script simulates stars, trains a network on three quarters of them
to measure temperature, gravity and metallicity, and reports on the quarter kept apart::

    python examples/measure_spectra.py

With ``--train`` and ``--parameters`` it does the same on a file or a folder of real
spectra and a table (CSV, ECSV or FITS) that names each spectrum in its column ``id``.
``--test`` names further spectra for the catalog, and ``--model`` loads a fitted
pipeline and only predicts::

    python examples/measure_spectra.py --train stars.fits --parameters stars.csv
    python examples/measure_spectra.py --model results/model.joblib --test folder

Everything goes to the folder ``--out``: ``catalog.ecsv``, ``measurements.png``,
``history.png`` and ``model.joblib``. The catalog has a number, its error and their unit
for each parameter, and the flag ``good``, or why these are not to be trusted:

- ``unreadable``: the file could not be read;
- ``gaps``: half of the pixels or more are missing;
- ``medium``: wavelengths are in air and those of the training in vacuum, or conversely;
- ``outside``: a number is beyond those of the training;
- ``error``: an error bar is larger than that of 99 % of the spectra kept apart;
- ``unlike``: it is less alike to the training spectra than 99 % of those kept apart.

Some spectra of other kinds, such as galaxies among stars, are ``good``: classify first.
Load models from sources that you trust only: joblib files can run code.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/measure_spectra.png'

import argparse
import time
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch

from skastro import Pipeline, RebinSpectra, SpectrumRegressor
from skastro.datasets import read_spectra
from skastro.inspection import HistoryDisplay, MeasurementDisplay
from skastro.simulation import lines_of, planck_flux
from skastro.utils import atomic_write, in_unit

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Where the table of parameters states no units.
UNITS = {"teff": "K", "logg": "dex", "feh": "dex"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train", metavar="FILE", help="file or folder of spectra with parameters")
    add("--parameters", metavar="FILE", help="table of the parameters, with ids")
    add("--test", metavar="FILE", help="file or folder of spectra to measure")
    add("--model", metavar="FILE", help="a fitted model; only predict with it")
    add("--targets", nargs="+", default=[*UNITS], help="columns to measure")
    add(
        "--log-targets",
        nargs="*",
        default=["teff"],
        help="those of which the logarithm is measured, positive over a wide range",
    )
    add("--module", help="name of the network, such as convnet or resnet10")
    add("--epochs", type=int, help="passes over the training spectra")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--n-spectra", type=int, default=1200, help="how many to simulate")
    add("--seed", type=int, default=0, help="seed of simulation, splits and training")
    add("--out", type=Path, default=Path("measure_spectra_output"), help="folder")
    options = parser.parse_args(arguments)
    if options.model and options.train:
        parser.error("--model only predicts; name the spectra with --test")
    if options.train and not options.parameters:
        parser.error("--train needs --parameters, the table of what to measure")
    return options


def simulate_stars(n_spectra: int, seed: int) -> Bunch:
    """Simulate black bodies with absorption lines, and noise.

    Hydrogen lines grow with the temperature, lines of metals with the metallicity and
    toward cool stars. The gravity broadens them. The stars of
    :func:`skastro.datasets.make_spectra` have more details, but no known parameters.
    """
    rng = np.random.default_rng(seed)
    wavelength = np.linspace(3900, 9000, 1500)
    teff = np.exp(rng.uniform(*np.log([4000, 8500]), n_spectra))
    logg, feh = rng.uniform(1, 5, n_spectra), rng.uniform(-2, 0.5, n_spectra)
    hydrogen = 1.2 * np.exp(-0.5 * (np.log(teff / 9000) / 0.3) ** 2)
    metals = 0.6 * 10 ** (0.4 * feh) * (5000 / teff) ** 3
    depth = np.zeros((n_spectra, len(wavelength)))
    for line in lines_of("STAR"):
        strength = hydrogen if line.name.startswith("H ") else metals
        width = (3 + logg)[:, None]
        distance = (wavelength - line.wavelength) / width
        depth += strength[:, None] * np.exp(-0.5 * distance**2)
    flux = planck_flux(wavelength, teff[:, None]) * np.exp(-depth)
    flux /= flux.mean(axis=1, keepdims=True)
    noise = 1 / rng.uniform(20, 100, (n_spectra, 1))
    flux += noise * rng.standard_normal(flux.shape)
    ids = [f"simulated-{seed}-{i:05d}" for i in range(n_spectra)]
    return Bunch(
        flux=flux.astype(np.float32),
        wavelength=wavelength,
        id=ids,
        parameters=Table({"id": ids, "teff": teff, "logg": logg, "feh": feh}),
    )


def load(
    path: str | None, options: argparse.Namespace, seed: int, model: Bunch | None = None
) -> Bunch:
    """Read spectra, or simulate them if there is no file, and what is known of them.

    `y` of shape (n_spectra, n_targets) is in `units`, and NaN where it is not known.
    """
    targets = options.targets if model is None else model.targets
    if path is None:
        print(f"Simulating {options.n_spectra} spectra")
        spectra = simulate_stars(options.n_spectra, seed)
        parameters = spectra.parameters
    else:
        print(f"Reading {path}")
        grid = None if model is None else model.pipeline[0].wavelength
        spectra = read_spectra(path, wavelength=grid)
        parameters = Table.read(options.parameters) if options.parameters else None
    n_spectra = len(spectra.flux)
    ids = np.arange(n_spectra) if spectra.id is None else spectra.id
    ids = np.asarray(ids, dtype=str)
    units = None if model is None else model.units
    y, units = join_parameters(ids, parameters, targets, units)
    return Bunch(
        flux=np.where(np.isfinite(spectra.flux), spectra.flux, np.nan),
        wavelength=spectra.wavelength,
        id=ids,
        # What does not state its medium is taken to be in vacuum.
        is_vacuum=np.broadcast_to(spectra.get("medium"), n_spectra) != "air",
        failures=spectra.get("failures", []),
        y=y,
        units=units,
    )


def join_parameters(
    ids: np.ndarray, parameters: Table | None, targets: list, units: list | None = None
) -> tuple[np.ndarray, list]:
    """Find the parameters of spectra by their ids, in units or those of the table."""
    y = np.full((len(ids), len(targets)), np.nan)
    if parameters is None:
        return y, units
    missing = {"id", *targets} - {*parameters.colnames}
    if missing:
        raise SystemExit(f"The table of parameters has no columns {sorted(missing)}.")
    rows = {str(name): row for row, name in enumerate(parameters["id"])}
    if len(rows) < len(parameters):
        raise SystemExit("Some ids are in the table of parameters several times.")
    if units is None:
        units = [str(parameters[name].unit or UNITS.get(name, "")) for name in targets]
    found = np.array([rows.get(name, -1) for name in ids])
    for i, name in enumerate(targets):
        values = in_unit(parameters[name], units[i], name)
        y[found >= 0, i] = values[found[found >= 0]]
    return y, units


def is_covered(spectra: Bunch) -> np.ndarray:
    """Tell which spectra have more than half of their pixels."""
    return np.isfinite(spectra.flux).mean(axis=1) > 0.5


def train(spectra: Bunch, options: argparse.Namespace) -> tuple[Bunch, np.ndarray]:
    """Fit a pipeline to three quarters, and tell which rows were kept apart."""
    known = np.isfinite(spectra.y).any(axis=1)
    print(f"{known.sum()} of {len(known)} spectra have parameters")
    rows = np.flatnonzero(known & is_covered(spectra))
    if len(rows) < 100:
        raise SystemExit(
            f"Only {len(rows)} spectra have ids that are in the table of parameters, "
            f"such as {spectra.id[0]}."
        )
    rows, apart = train_test_split(rows, test_size=0.25, random_state=options.seed)
    chosen = {"module": options.module, "max_epochs": options.epochs}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    pipe = Pipeline(
        [
            # Fills gaps, and keeps the wavelengths beside the network.
            RebinSpectra(
                spectra.wavelength, spectra.wavelength, nan_policy="interpolate"
            ),
            SpectrumRegressor(
                log_target=[name in options.log_targets for name in options.targets],
                device=options.device,
                random_state=options.seed,
                **chosen,
            ),
        ]
    )
    start = time.perf_counter()
    pipe.fit(spectra.flux[rows], spectra.y[rows])
    print(f"Trained on {len(rows)} spectra in {time.perf_counter() - start:.0f} s")
    _, std = pipe.predict(spectra.flux[apart], return_std=True)
    model = Bunch(
        pipeline=pipe,
        targets=options.targets,
        units=spectra.units,
        limits=np.nanpercentile(spectra.y[rows], [0, 100], axis=0),
        largest_std=np.percentile(std, 99, axis=0),
        lowest_score=np.percentile(pipe.score_samples(spectra.flux[apart]), 1),
        is_vacuum=bool(spectra.is_vacuum[rows].all()),
    )
    with atomic_write(options.out / "model.joblib", "wb") as file:
        joblib.dump(model, file)
    save_figure(HistoryDisplay.from_estimator(pipe).figure_, options.out, "history")
    return model, apart


def measure(model: Bunch, spectra: Bunch) -> Table:
    """Measure spectra, and flag what is not to be trusted."""
    covered = is_covered(spectra)
    found = np.full_like(spectra.y, np.nan)
    std = np.full_like(spectra.y, np.nan)
    score = np.full(len(covered), np.nan)
    if covered.any():
        flux = spectra.flux[covered]
        found[covered], std[covered] = model.pipeline.predict(flux, return_std=True)
        score[covered] = model.pipeline.score_samples(flux)
    lowest, highest = model.limits
    flags = {
        "gaps": ~covered,
        "medium": spectra.is_vacuum != model.is_vacuum,
        "outside": ((found < lowest) | (found > highest)).any(axis=1),
        "error": (std > model.largest_std).any(axis=1),
        "unlike": score < model.lowest_score,
    }
    n_failures = len(spectra.failures)
    nothing = np.full((n_failures, len(model.targets)), np.nan)
    found, std = np.concatenate([[found, std], [nothing, nothing]], axis=1)
    catalog = Table({"id": [*spectra.id, *(Path(f[0]).name for f in spectra.failures)]})
    for i, (name, unit) in enumerate(zip(model.targets, model.units, strict=True)):
        catalog[name], catalog[f"{name}_error"] = found[:, i], std[:, i]
        for column in (name, f"{name}_error"):
            catalog[column].unit, catalog[column].format = unit, ".5g"
    raised = np.column_stack([*flags.values()])
    names = [",".join(np.array([*flags])[row]) or "good" for row in raised]
    catalog["flag"] = [*names, *["unreadable"] * n_failures]
    return catalog


def report(model: Bunch, spectra: Bunch, catalog: Table, out: Path) -> None:
    """Print scatter, bias and coverage where parameters are known, and draw them."""
    rows = np.isfinite(spectra.y).any(axis=1) & is_covered(spectra)
    if not rows.any():
        print("No spectrum has known parameters, so there is nothing to compare.")
        return
    catalog, y = catalog[: len(rows)][rows], spectra.y[rows]
    known = np.flatnonzero(np.isfinite(y).any(axis=0))
    names = [model.targets[target] for target in known]
    units = [model.units[target] for target in known]
    display = MeasurementDisplay.from_predictions(
        y[:, known],
        np.column_stack([catalog[name] for name in names]),
        std=np.column_stack([catalog[f"{name}_error"] for name in names]),
        target_names=[
            f"{name} ({unit})" if unit else name
            for name, unit in zip(names, units, strict=True)
        ],
    )
    scores = Table(
        {
            "parameter": names,
            "spectra": np.isfinite(y[:, known]).sum(axis=0),
            "scatter": display.scatter,
            "bias": display.bias,
            "within 1.645 errors": display.coverage,
        }
    )
    scores.round(3)
    scores.pprint(max_lines=-1, max_width=-1)
    save_figure(display.figure_, out, "measurements")


def save_figure(figure: plt.Figure, out: Path, name: str) -> None:
    """Save a figure, whole or not at all."""
    with atomic_write(out / f"{name}.png", "wb") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model:
        model = joblib.load(options.model)
        spectra = load(options.test, options, options.seed + 1, model)
    else:
        spectra = load(options.train, options, options.seed)
        model, apart = train(spectra, options)
        kept = ("flux", "id", "is_vacuum", "y")
        spectra.update({name: spectra[name][apart] for name in kept}, failures=[])
        if options.test:
            report(model, spectra, measure(model, spectra), options.out)
            spectra = load(options.test, options, options.seed + 1, model)
    catalog = measure(model, spectra)
    report(model, spectra, catalog, options.out)
    with atomic_write(options.out / "catalog.ecsv") as file:
        catalog.write(file, format="ascii.ecsv")
    n_flagged = np.count_nonzero(catalog["flag"] != "good")
    print(f"{n_flagged} of {len(catalog)} rows of the catalog have a flag")
    print(f"Wrote {', '.join(sorted(p.name for p in options.out.iterdir()))}")
    print(f"to {options.out}")


if __name__ == "__main__":
    main()
