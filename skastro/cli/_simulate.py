# SPDX-License-Identifier: BSD-3-Clause
"""Simulated data in files, which the other commands read."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from skastro.datasets import make_galaxies, make_spectra
from skastro.sevi import make_sevi
from skastro.utils import atomic_hdf5, atomic_write

_BETAS = 12


def simulate_spectra(n: int, out: str, seed: int) -> None:
    """Write a matrix of spectra with a table of their classes and redshifts."""
    spectra = make_spectra(n, random_state=seed, verbose=1)
    names = [f"simulated-{number:05}" for number in range(n)]
    labels = Table({"id": names, "class": spectra.target, "z": spectra.redshift})
    table = fits.table_to_hdu(labels)
    table.name = "LABELS"
    grid = fits.ImageHDU(spectra.wavelength, name="WAVELENGTH")
    with atomic_write(out, "wb") as file:
        hdus = fits.HDUList([fits.PrimaryHDU(spectra.flux), table, grid])
        hdus.writeto(file.name, overwrite=True)


def simulate_galaxies(n: int, out: str, seed: int) -> None:
    """Write images of galaxies with their parameters."""
    make_galaxies(n, out=out, random_state=seed)


def simulate_shells(n: int, out: str, seed: int, n_shells: int) -> None:
    """Write images of electrons with the shells that they show."""
    sevi = make_sevi(n, n_shells, random_state=seed, verbose=1)
    image = [("ImageId", "i8"), ("Image", "f4", sevi.images.shape[1:])]
    images = np.empty(n, dtype=image)
    images["ImageId"], images["Image"] = np.arange(n), sevi.images
    shell = [("SphereId", "i8"), ("R", "f8"), ("sigma_R", "f8"), ("beta", "f8", _BETAS)]
    shells = np.empty(n * n_shells, dtype=shell)
    shells["SphereId"] = np.repeat(np.arange(n), n_shells)
    shells["R"], shells["sigma_R"] = sevi.radius.ravel(), sevi.radius_width.ravel()
    shells["beta"] = sevi.beta.reshape(-1, _BETAS)
    with atomic_hdf5(out) as file:
        file["FinalImage"], file["Truth"] = images, shells
