# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of galaxies: stellar populations and nebular emission."""

import numpy as np

from skastro.simulation.spectra._formulas import extinction_curve
from skastro.simulation.spectra._grid import (
    LIGHT_SPEED,
    LogGrid,
    draw_redshifts,
    mix,
)
from skastro.simulation.spectra._lines import SPECTRAL_LINES
from skastro.simulation.spectra._stars import (
    GIANT_OFFSET,
    StellarLibrary,
    main_sequence_gravity,
)
from skastro.simulation.spectra._tables import read_rows, read_table

# Interstellar lines: vacuum wavelength and equivalent width (Å).
_INTERSTELLAR = np.array(read_rows("interstellar_lines.csv"), dtype=float)

# Width and outflow of the interstellar gas (km/s).
_INTERSTELLAR_WIDTH = 120.0
_OUTFLOW = 100.0

# [Fe/H] of the stars of galaxies.
_METALLICITY = -0.08

# Stars of populations: temperature (K), share of the light at 5500 Å, 1 for giants.
_POPULATIONS = read_table("stellar_populations.csv")

# Types: share, concentration of the Dirichlet distribution of the populations' light
# at 5500 Å, median and scatter (ln) of the equivalent width of H alpha (Å), mean
# color excess of the stars.
_TYPES = {
    "PASSIVE": (0.36, (14.0, 1.6, 0.15, 0.05), 0.5, 0.5, 0.06),
    "INTERMEDIATE": (0.16, (6.0, 4.0, 1.2, 0.8), 4.0, 0.5, 0.13),
    "STARFORMING": (0.28, (3.0, 3.0, 2.0, 3.0), 20.0, 0.5, 0.19),
    "STARBURST": (0.10, (0.8, 1.0, 1.5, 6.0), 80.0, 0.6, 0.12),
    "AGN": (0.10, (8.0, 3.0, 0.8, 0.4), 9.0, 0.7, 0.14),
}

# Line ratios to Hβ that are nearly fixed (case B, 10⁴ K; Osterbrock & Ferland 2006).
_HYDROGEN_RATIOS = {"H alpha": 2.86, "H beta": 1.0, "H gamma": 0.468, "H delta": 0.259}

# Color excess of stars over that of gas (Calzetti et al. 2000).
_STARS_OVER_GAS = 0.44

_MAX_REDSHIFT = 0.7

# Galaxies with emission lines of DESI reach 1.6; the ultraviolet of this model ends a
# little beyond Lyman alpha.
GALAXY_REDSHIFT_LIMIT = 1.7


class GalaxyModel:
    """Draws galaxies and computes their spectra at the resolution of the instrument."""

    def __init__(self, grid: LogGrid, max_redshift: float = _MAX_REDSHIFT) -> None:
        self.grid = grid
        # The rest-frame grid always includes H alpha and 5500 Å, where the strengths of
        # the lines are defined.
        low = min(grid.wavelength[0] / (1 + max_redshift), 3600.0) * 0.99
        high = max(grid.wavelength[-1], 6800.0) * 1.01
        self.rest = LogGrid(low, high, grid.step)
        self.populations = self._population_spectra()
        # Optical depths for a color excess of one, and for gas of unit strength.
        self.interstellar = np.array(
            [
                0.4 * np.log(10) * attenuation(self.rest.wavelength),
                self._interstellar_lines(),
            ],
            dtype=np.float32,
        )

    def _population_spectra(self) -> np.ndarray:
        """Templates (n_populations, rest.size), one at 5500 Å, float32."""
        library = StellarLibrary(self.rest)
        templates = []
        for stars in _POPULATIONS.values():
            temperature, share, giant = np.transpose(stars)
            gravity = main_sequence_gravity(temperature) + giant * GIANT_OFFSET
            metallicity = np.full(temperature.size, _METALLICITY)
            strengths = library.strengths(temperature)
            library.adjust(strengths, temperature, gravity, metallicity)
            flux = library.flux(temperature, strengths)
            reference = self._around(flux, 5500.0)
            templates.append((share / reference) @ flux)
        return np.array(templates, dtype=np.float32)

    def _interstellar_lines(self) -> np.ndarray:
        """Optical depth of lines of the interstellar gas, a little saturated."""
        center, width = _INTERSTELLAR.T
        speed = _INTERSTELLAR_WIDTH / LIGHT_SPEED
        peak = width / (center * speed * np.sqrt(2 * np.pi))
        # Saturation takes a part, which ln restores at the center.
        depth = -np.log1p(-np.minimum(peak, 0.9))
        moved = center * (1 - _OUTFLOW / LIGHT_SPEED)
        return self.rest.profile(moved, depth, _INTERSTELLAR_WIDTH)

    def _around(self, flux: np.ndarray, wavelength: float) -> np.ndarray:
        """Mean flux within 1 per cent of a rest wavelength."""
        near = np.abs(self.rest.wavelength / wavelength - 1) < 0.01
        return flux[..., near].mean(axis=-1)

    def stellar_flux(
        self,
        weights: np.ndarray,
        redshift: np.ndarray,
        velocity: np.ndarray,
        excess: np.ndarray,
        gas: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """Starlight (n, grid.size) on the observed grid, blurred by the instrument.

        `weights` (n, n_populations) are the light of the populations at 5500 Å,
        `velocity` the dispersion in km/s, `excess` the galaxy's own E(B-V), `gas` the
        strength of its interstellar lines in the ultraviolet.
        """
        start, shift = self.grid.window(self.rest, redshift)
        flux = mix(self.populations, weights, start, self.grid.size)
        amounts = np.column_stack(np.broadcast_arrays(excess, gas))
        flux *= np.exp(-mix(self.interstellar, amounts, start, self.grid.size))
        return self.grid.blur(flux, self.grid.sigma(velocity), shift=shift)

    def continuum(self, weights: np.ndarray, wavelength: float) -> np.ndarray:
        """Starlight (n,) at a rest wavelength from 3600 to 6800 Å."""
        return weights @ self._around(self.populations, wavelength)

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        redshift_range: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw galaxies; the result is that of :meth:`StarModel.simulate`."""
        names = np.array(list(_TYPES))
        shares = np.array([entry[0] for entry in _TYPES.values()])
        kind = rng.choice(names.size, n, p=shares / shares.sum())
        subclass = names[kind]
        weights = np.empty((n, len(_POPULATIONS)))
        alpha_width, dust = np.empty(n), np.empty(n)
        for index, entry in enumerate(_TYPES.values()):
            (rows,) = np.nonzero(kind == index)
            _, concentration, median, scatter, mean_dust = entry
            weights[rows] = rng.dirichlet(concentration, rows.size)
            alpha_width[rows] = median * np.exp(rng.normal(0.0, scatter, rows.size))
            dust[rows] = rng.exponential(mean_dust, rows.size)
        dust = np.minimum(dust, 0.6)
        agn = subclass == "AGN"
        red = np.isin(subclass, ("PASSIVE", "INTERMEDIATE"))

        redshift = np.clip(rng.gamma(3.0, 0.035, n), 0.003, 0.35)
        distant = red & (rng.random(n) < 0.3)
        redshift[distant] = np.clip(rng.normal(0.42, 0.12, n)[distant], 0.05, 0.7)
        if redshift_range is not None:
            redshift = draw_redshifts(n, redshift_range, rng)
        dispersion = np.where(red, rng.normal(210, 50, n), rng.normal(110, 35, n))
        dispersion = np.clip(dispersion, 60, 380)
        gas = np.exp(rng.normal(0.0, 0.4, n)).clip(max=2.0)
        gas[subclass == "PASSIVE"] = 0.0
        flux = self.stellar_flux(weights, redshift, dispersion, dust, gas)

        line_flux = self._line_fluxes(subclass, weights, alpha_width, dust, rng)
        speed = np.where(agn, rng.uniform(120, 280, n), rng.uniform(50, 130, n))
        sigma = self.grid.sigma(speed)
        for name, strength in line_flux.items():
            center = SPECTRAL_LINES[name].wavelength * (1 + redshift)
            # The flux density on this grid is that of the rest frame.
            self.grid.add_lines(flux, center, sigma, strength * (1 + redshift))
        return {
            "flux": flux,
            "subclass": subclass,
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(0.04, n), 0.5),
        }

    def _line_fluxes(
        self,
        subclass: np.ndarray,
        weights: np.ndarray,
        alpha_width: np.ndarray,
        dust: np.ndarray,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """Fluxes of the nebular lines, in units of the continuum times Å.

        The ratios are on the sequences of the diagram of Baldwin, Phillips and
        Terlevich: star formation at redshift zero after Kewley et al. (2013, ApJ 774,
        100), Seyfert nuclei and LINERs above it.
        """
        n = len(subclass)
        active = np.isin(subclass, ("AGN", "PASSIVE"))
        nitrogen = np.where(
            active, rng.normal(0.05, 0.15, n), rng.normal(-0.5, 0.2, n).clip(-1.4, -0.2)
        )
        nitrogen = np.where(subclass == "STARBURST", nitrogen - 0.35, nitrogen)
        sequence = np.maximum(0.61 / (np.minimum(nitrogen, -0.2) + 0.08) + 1.1, -0.9)
        oxygen = np.where(
            active, rng.normal(0.55, 0.25, n), sequence + rng.normal(0.0, 0.12, n)
        )
        alpha = alpha_width * self.continuum(
            weights, SPECTRAL_LINES["H alpha"].wavelength
        )
        excess = dust / _STARS_OVER_GAS
        ratios = {name: np.full(n, r) for name, r in _HYDROGEN_RATIOS.items()}
        ratios["[O III] 5008"] = 10**oxygen
        ratios["[O III] 4960"] = 10**oxygen / 2.98
        ratios["[O III] 4364"] = 10**oxygen * 0.008
        ratios["[N II] 6585"] = 2.86 * 10**nitrogen
        ratios["[N II] 6550"] = 2.86 * 10**nitrogen / 2.96
        sulfur = 2.86 * 10 ** rng.normal(-0.45, 0.1, n)
        ratios["[S II] 6718"] = sulfur * 0.58
        ratios["[S II] 6733"] = sulfur * 0.42
        oxygen_ii = 10 ** rng.normal(0.45, 0.15, n)
        ratios["[O II] 3727"] = oxygen_ii * 0.42
        ratios["[O II] 3730"] = oxygen_ii * 0.58
        ratios["[O I] 6302"] = np.where(active, 0.4, 0.1)
        ratios["[Ne III] 3870"] = 10**oxygen * 0.08
        ratios["He I 5877"] = np.full(n, 0.12)
        ratios["[Ar III] 7138"] = np.full(n, 0.08)
        ratios["[S III] 9071"] = np.full(n, 0.25)
        rest = np.array([SPECTRAL_LINES[name].wavelength for name in ratios])
        dimming = 10 ** (-0.4 * excess[:, None] * _magnitudes_per_excess(rest))
        at_alpha = dimming[:, list(ratios).index("H alpha")]
        # The equivalent width of H alpha is the observed one, after extinction.
        alpha = alpha * at_alpha**_STARS_OVER_GAS
        beta = alpha / (_HYDROGEN_RATIOS["H alpha"] * at_alpha)
        return {
            name: beta * ratio * dimming[:, column]
            for column, (name, ratio) in enumerate(ratios.items())
        }


def _magnitudes_per_excess(wavelength: np.ndarray) -> np.ndarray:
    """Extinction of the gas in magnitudes for E(B-V) = 1."""
    return 3.1 * extinction_curve(wavelength)


def attenuation(wavelength: np.ndarray) -> np.ndarray:
    """Attenuation of starlight in magnitudes for E(B-V) = 1 (Calzetti et al. 2000).

    Stars among the dust: without the bump of the Milky Way at 2175 Å. The law, their
    equation 4, holds from 1200 to 22000 Å and is constant below.
    """
    x = 1e4 / np.maximum(wavelength, 1200.0)
    blue = np.polynomial.polynomial.polyval(x, (-2.156, 1.509, -0.198, 0.011))
    return 2.659 * np.where(x > 1 / 0.63, blue, -1.857 + 1.040 * x) + 4.05
