# SPDX-License-Identifier: BSD-3-Clause
"""
Measure redshifts: from a folder of spectra to a catalog
========================================================

Without arguments the script simulates spectra; with a file or a folder it reads real
ones, of any layout that :func:`skastro.datasets.read_spectra` knows::

    python examples/measure_redshifts.py
    python examples/measure_redshifts.py spectra/ --out results

Everything goes to the folder ``--out``: ``catalog.ecsv``, and ``redshifts.png`` with
the first spectra, their templates and p(z). The catalog has for each spectrum the
redshift, its error, its probability, the class of the templates, ``zwarning``, the
second-best redshift, and the redshift in the file where there is one: 0 where the file
holds the spectrum at rest. Files that could not be read are rows with ``zwarning`` 512.
``--medium vacuum`` converts wavelengths in air, where files tell which they are; the
difference is 80 km/s.
"""

# sphinx_gallery_thumbnail_path = '_static/gallery/measure_redshifts.png'

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.utils import Bunch

from skastro import RedshiftRegressor
from skastro.datasets import make_spectra, read_spectra
from skastro.estimators import ZWARNING
from skastro.inspection import RedshiftDisplay
from skastro.utils import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("spectra", nargs="?", metavar="FILE", help="file or folder of spectra")
    add("--n-spectra", type=int, default=30, help="how many to simulate")
    add("--n-drawn", type=int, default=4, help="spectra in the figure")
    add("--medium", choices=["vacuum"], help="convert wavelengths to vacuum")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--seed", type=int, default=0, help="seed of the simulation")
    add("--out", type=Path, default=Path("measure_redshifts_output"), help="folder")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> Bunch:
    """Read spectra, or simulate them if there is no file."""
    if options.spectra is None:
        print(f"Simulating {options.n_spectra} spectra")
        made = make_spectra(
            options.n_spectra, instrument="boss", random_state=options.seed
        )
        ids = [f"simulated-{row:04d}" for row in range(options.n_spectra)]
        return Bunch(**made, id=ids, failures=[])
    print(f"Reading {options.spectra}")
    # All that the weights know, in pixels of 69 km/s.
    wavelength = np.geomspace(3600, 10300, 4570)
    read = read_spectra(options.spectra, wavelength=wavelength, medium=options.medium)
    rows = [f"row-{row:06d}" for row in range(len(read.flux))]
    ids = np.ma.asarray(rows if read.id is None else read.id)
    ids = np.where(np.ma.getmaskarray(ids), rows, ids.filled(""))
    redshift = np.full(len(ids), np.nan)
    if read.redshift is not None:
        redshift = np.ma.filled(np.ma.asarray(read.redshift, float), np.nan)
        if read.frame is not None:
            redshift[np.asarray(read.frame) == "rest"] = 0.0
    return Bunch(
        flux=np.where(np.isfinite(read.flux), read.flux, np.nan),
        wavelength=read.wavelength,
        id=[str(name) for name in ids],
        redshift=redshift,
        failures=read.failures,
    )


def measure(reg: RedshiftRegressor, spectra: Bunch) -> Table:
    """Measure redshifts, and put them into a table."""
    best, second = reg.predict_solutions(spectra.flux, k=2).T
    catalog = Table({"id": spectra.id})
    catalog["z"], catalog["z_error"] = best["z"], best["std"]
    catalog["probability"], catalog["class"] = best["probability"], best["class"]
    catalog["zwarning"] = reg.zwarning(spectra.flux)
    catalog["z_second"] = second["z"]
    catalog["probability_second"] = second["probability"]
    catalog["z_of_file"] = spectra.redshift
    for failure in spectra.failures:
        unread = dict.fromkeys(catalog.colnames, np.nan)
        unread |= {"id": Path(failure[0]).name, "class": ""}
        catalog.add_row(unread | {"zwarning": ZWARNING["NODATA"]})
    for name in catalog.colnames:
        if catalog[name].dtype.kind == "f":
            catalog[name].format = ".5f" if name.startswith("z") else ".3f"
    return catalog


def main(arguments: list[str] | None = None) -> None:
    """Run the job."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    spectra = load(options)
    reg = RedshiftRegressor.from_pretrained(
        wavelength=spectra.wavelength, device=options.device
    )
    catalog = measure(reg, spectra)
    with atomic_write(options.out / "catalog.ecsv") as file:
        catalog.write(file, format="ascii.ecsv")
    known = np.isfinite(catalog["z_of_file"])
    certain = known & (catalog["zwarning"] == 0)
    off = np.abs(catalog["z"] - catalog["z_of_file"]) / (1 + catalog["z_of_file"])
    for name, rows in (("all", known), ("certain", certain)):
        if rows.any():
            print(f"{rows.sum()} {name}: {np.mean(off[rows] < 0.01):.1%} within 0.01")
    shown = slice(min(options.n_drawn, len(spectra.flux)))
    display = RedshiftDisplay.from_estimator(
        reg, spectra.flux[shown], z_true=spectra.redshift[shown]
    )
    with atomic_write(options.out / "redshifts.png", "wb") as file:
        display.figure_.savefig(file, dpi=150, format="png")
    plt.close(display.figure_)
    catalog.pprint(max_lines=12, max_width=-1)
    print(f"Wrote catalog.ecsv and redshifts.png to {options.out}")


if __name__ == "__main__":
    main()
