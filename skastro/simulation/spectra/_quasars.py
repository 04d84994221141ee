# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of quasars: continuum, lines, host galaxies, intervening absorption."""

import numpy as np

from skastro.simulation.spectra._formulas import planck_flux
from skastro.simulation.spectra._galaxy_spectra import GalaxyModel
from skastro.simulation.spectra._grid import (
    LIGHT_SPEED,
    SIGMA_PER_FWHM,
    LogGrid,
    draw_redshifts,
    mix,
)
from skastro.simulation.spectra._lines import SPECTRAL_LINES
from skastro.simulation.spectra._tables import read_rows, read_table

# Rest equivalent widths (Å) of the broad and the narrow lines.
_WIDTHS = read_rows("quasar_lines.csv")
_BROAD_LINES = {line: float(width) for kind, line, width in _WIDTHS if kind == "broad"}
_NARROW_LINES = {
    line: float(width) for kind, line, width in _WIDTHS if kind == "narrow"
}
_HIGH_IONIZATION = ("O VI", "N V", "Si IV", "C IV", "He II 1640")

# Scatter (km/s) of the velocities of broad lines in the frame of the host galaxy (Shen
# et al. 2016, ApJ 831, 7, doi:10.3847/0004-637X/831/1/7).
_LINE_SCATTER, _BALMER_SCATTER = 230.0, 400.0

# Blends of Fe II: center (Å), standard deviation (Å), relative height.
_IRON = read_table("quasar_iron.csv")

# Troughs of broad absorption: line and optical depth relative to C IV.
_TROUGHS = {"C IV": 1.0, "Si IV": 0.5, "N V": 0.8, "O VI": 0.8}

_LYMAN_ALPHA = SPECTRAL_LINES["Ly alpha"].wavelength
_BREAK_WAVELENGTH = 5000.0
_MIN_REDSHIFT = 0.05
_MAX_REDSHIFT = 5.0
_MAX_HOST_REDSHIFT = 0.9
LYMAN_LIMIT = 911.75

# Scatter of ln τ in the forest and its correlation lengths (km/s) with their shares.
_SCATTER = 1.8
_CORRELATIONS = ((45.0, 0.8), (250.0, 0.6))

# Optical depth of Lyman beta over that of Lyman alpha: ratio of f λ (Morton 2003).
_BETA_OVER_ALPHA = 0.16


class QuasarModel:
    """Draws quasars and computes their spectra at the resolution of the instrument."""

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        low, high = grid.wavelength[[0, -1]]
        self.max_redshift = quasar_redshift_limit(high)
        self.rest = LogGrid(low / (1 + _MAX_REDSHIFT) * 0.99, high * 1.01, grid.step)
        self.blends = np.array(
            [
                _bumps(self.rest.wavelength, _IRON["ultraviolet"]),
                _bumps(self.rest.wavelength, _IRON["optical"]),
                _balmer_continuum(self.rest.wavelength),
            ],
            dtype=np.float32,
        )
        self.galaxies = GalaxyModel(grid, max_redshift=_MAX_HOST_REDSHIFT)
        self.medium = IntergalacticMedium(grid)

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        redshift_range: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw quasars; the result is that of :meth:`StarModel.simulate`."""
        if redshift_range is None:
            redshift = _survey_redshifts(n, self.max_redshift, rng)
        else:
            redshift = draw_redshifts(n, redshift_range, rng)
        continuum = _Continuum(n, rng)
        rest = self.grid.wavelength / (1 + redshift)[:, None]
        flux = continuum.flux(rest) * (1 + self._pseudo_continuum(redshift, rng))
        self._add_emission_lines(flux, redshift, continuum, rng)
        absorbed = self._broad_absorption(flux, redshift, rng)
        flux = flux.astype(np.float32)
        self.medium.absorb(flux, redshift, rng)
        flux = self.grid.blur(flux, self.grid.sigma())
        share = self._add_host(flux, redshift, continuum, rng)
        subclass = np.full(n, "BROADLINE", dtype="U9")
        subclass[absorbed] = "BAL"
        subclass[share > 0.4] = "SEYFERT 1"
        return {
            "flux": flux,
            "subclass": subclass,
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(0.04, n), 0.5),
        }

    def _pseudo_continuum(
        self, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Blends of Fe II and the Balmer continuum, in units of the power law."""
        n = len(redshift)
        median = np.array([0.22, 0.16, 0.12])
        strength = median * np.exp(rng.normal(0.0, 0.45, (n, median.size)))
        start, _ = self.grid.window(self.rest, redshift)
        return mix(self.blends, strength, start, self.grid.size)

    def _add_emission_lines(
        self,
        flux: np.ndarray,
        redshift: np.ndarray,
        continuum: "_Continuum",
        rng: np.random.Generator,
    ) -> None:
        n = len(flux)
        fwhm = np.clip(4000.0 * np.exp(rng.normal(0.0, 0.4, n)), 1500.0, 14000.0)
        overall = np.exp(rng.normal(0.0, 0.3, n))
        wind = rng.normal(-600.0, 450.0, n)
        for name, width in _BROAD_LINES.items():
            scatter = np.exp(rng.normal(0.0, 0.3, n))
            own = _BALMER_SCATTER if name.startswith("H ") else _LINE_SCATTER
            offset = rng.normal(0.0, own, n) + (name in _HIGH_IONIZATION) * wind
            line_width = fwhm * np.exp(rng.normal(0.0, 0.1, n))
            # A core and a wing three times as wide: more peaked than a Gaussian.
            for share, factor in ((0.6, 0.8), (0.4, 2.2)):
                velocity = factor * line_width * SIGMA_PER_FWHM
                strength = share * width * overall * scatter
                self._add_line(
                    flux, name, strength, velocity, offset, redshift, continuum
                )
        narrow = np.exp(rng.normal(0.0, 0.8, n)) / (1 + redshift)
        velocity = rng.uniform(120.0, 350.0, n)
        for name, width in _NARROW_LINES.items():
            strength = width * narrow * np.exp(rng.normal(0.0, 0.25, n))
            self._add_line(
                flux, name, strength, velocity, np.zeros(n), redshift, continuum
            )

    def _add_line(
        self,
        flux: np.ndarray,
        name: str,
        equivalent_width: np.ndarray,
        velocity: np.ndarray,
        offset: np.ndarray,
        redshift: np.ndarray,
        continuum: "_Continuum",
    ) -> None:
        rest = SPECTRAL_LINES[name].wavelength
        strength = equivalent_width * (1 + redshift) * continuum.flux(rest)[:, 0]
        center = rest * (1 + redshift) * (1 + offset / LIGHT_SPEED)
        self.grid.add_lines(flux, center, velocity / LIGHT_SPEED, strength)

    def _broad_absorption(
        self, flux: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Cut broad absorption troughs, in place; return which spectra show one."""
        n = len(flux)
        c_iv = SPECTRAL_LINES["C IV"].wavelength * (1 + redshift)
        low, high = self.grid.wavelength[[0, -1]]
        visible = (c_iv * 0.97 > low) & (c_iv < high)
        (rows,) = np.nonzero(visible & (rng.random(n) < 0.12))
        chosen = redshift[rows]
        for _ in range(2):
            velocity = rng.uniform(3000.0, 18000.0, rows.size)
            width = rng.uniform(700.0, 2200.0, rows.size)
            depth = rng.uniform(0.5, 3.0, rows.size)
            for name, relative in _TROUGHS.items():
                wavelength = SPECTRAL_LINES[name].wavelength
                center = np.log(
                    wavelength * (1 + chosen) * (1 - velocity / LIGHT_SPEED)
                )
                distance = self.grid.ln_wavelength - center[:, None]
                scaled = distance / (width / LIGHT_SPEED)[:, None]
                profile = np.exp(-0.5 * scaled**2)
                flux[rows] *= np.exp(-(relative * depth)[:, None] * profile)
        absorbed = np.zeros(n, dtype=bool)
        absorbed[rows] = True
        return absorbed

    def _add_host(
        self,
        flux: np.ndarray,
        redshift: np.ndarray,
        continuum: "_Continuum",
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Add the light of host galaxies, in place; return its share at 5100 Å."""
        n = len(flux)
        nearness = np.clip((_MAX_HOST_REDSHIFT - redshift) / 0.6, 0.0, 1.0)
        share = rng.uniform(0.0, 0.6, n) * nearness
        (rows,) = np.nonzero(share > 0.01)
        if rows.size:
            weights = rng.dirichlet((4.0, 3.0, 1.5, 0.8), rows.size)
            host = self.galaxies.stellar_flux(
                weights,
                redshift[rows],
                rng.uniform(100.0, 250.0, rows.size),
                rng.exponential(0.08, rows.size),
            )
            at_5100 = self.galaxies.continuum(weights, 5100.0)
            nucleus = continuum.flux(5100.0)[rows, 0]
            scale = share[rows] / (1 - share[rows]) * nucleus / at_5100
            flux[rows] += host * scale[:, None].astype(np.float32)
        return share


class _Continuum:
    """Powers of the wavelength that change at 5000 Å, where they are one.

    Selsing, J. et al. (2016, A&A 585, A87, doi:10.1051/0004-6361/201527096) find F_λ ∝
    λ^-1.70 in bright quasars, whose host galaxies are negligible. The optical slope is
    flatter, but steeper than that of Vanden Berk et al. (2001): host galaxies are added
    by themselves.
    """

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.blue = rng.normal(-1.7, 0.3, n)[:, None]
        # Some quasars are red: dust, synchrotron light.
        self.blue[rng.random(n) < 0.08] += 1.2
        self.red = self.blue + rng.normal(0.7, 0.25, n)[:, None]

    def flux(self, rest_wavelength: np.ndarray | float) -> np.ndarray:
        """Flux densities (n, m) at rest wavelengths (n, m) or at one wavelength."""
        ratio = np.log(np.asarray(rest_wavelength) / _BREAK_WAVELENGTH)
        slope = np.where(ratio < 0, self.blue, self.red)
        return np.exp(slope * ratio)


def quasar_redshift_limit(last_wavelength: float) -> float:
    """Highest redshift on a grid: a twentieth of it is redder than Lyman alpha."""
    return min(_MAX_REDSHIFT, last_wavelength / _LYMAN_ALPHA / 1.05 - 1)


def _survey_redshifts(n: int, highest: float, rng: np.random.Generator) -> np.ndarray:
    """Redshifts of a survey: a broad distribution and the peak of BOSS at 2.4."""
    kind = rng.choice(3, n, p=(0.15, 0.5, 0.35))
    redshift = np.select(
        [kind == 0, kind == 1],
        [rng.uniform(0.05, 0.7, n), rng.normal(1.5, 0.65, n)],
        rng.normal(2.45, 0.4, n),
    )
    # Values outside the range are redistributed uniformly over the range.
    outside = (redshift < _MIN_REDSHIFT) | (redshift > highest)
    return np.where(outside, rng.uniform(_MIN_REDSHIFT, highest, n), redshift)


def _bumps(wavelength: np.ndarray, bumps: tuple) -> np.ndarray:
    return sum(
        height * np.exp(-0.5 * ((wavelength - center) / width) ** 2)
        for center, width, height in bumps
    )


def _balmer_continuum(rest: np.ndarray) -> np.ndarray:
    """Balmer continuum below 3646 Å over a power law, one at the edge (Grandi 1982).

    Optically thick at the edge (τ = 1), 15 000 K. Between 3646 and 3750 Å the crowded
    high Balmer lines represent it.
    """
    edge = 3646.0
    below = np.minimum(rest, edge)
    depth = 1 - np.exp(-((below / edge) ** 3))
    black_body = planck_flux(below, 15000.0) / planck_flux(edge, 15000.0)
    power_law = (below / edge) ** -1.5
    fade = np.clip((3790.0 - rest) / (3790.0 - edge), 0.0, 1.0)
    return fade * depth / (1 - np.exp(-1)) * black_body / power_law


def effective_optical_depth(redshift: np.ndarray) -> np.ndarray:
    """Effective optical depth of the Lyman forest (Becker et al. 2013).

    The fit holds for 2.15 < z < 4.85; it is continued to other redshifts, and does not
    fall below 0.02.

    Becker, G. D. et al. 2013, MNRAS 430, 2067, doi:10.1093/mnras/stt031.
    """
    growth = ((1 + np.maximum(redshift, 0.0)) / 4.5) ** 2.90
    return np.maximum(0.751 * growth - 0.132, 0.02)


class IntergalacticMedium:
    """Forests of Lyman alpha and beta, damped and Lyman-limit systems.

    The optical depth of the forest is a log-normal random field, as in the
    approximation of Bi and Davidsen (1997), scaled so that its mean transmission is
    that of :func:`effective_optical_depth`.
    """

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        self.scale_table = _mean_transmission_table()

    def absorb(
        self, flux: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Multiply spectra (n, grid.size) by the transmission of the gas, in place."""
        alpha = SPECTRAL_LINES["Ly alpha"].wavelength
        first = self.grid.wavelength[0]
        (rows,) = np.nonzero(alpha * (1 + redshift) > first)
        if not rows.size:
            return
        last = alpha * (1 + redshift[rows].max())
        stop = int(np.searchsorted(self.grid.wavelength, last))
        wavelength = self.grid.wavelength[:stop]
        depth = np.zeros((rows.size, stop), dtype=np.float32)
        beta = SPECTRAL_LINES["Ly beta"].wavelength
        for line, strength in ((alpha, 1.0), (beta, _BETA_OVER_ALPHA)):
            gas_redshift = wavelength / line - 1
            if gas_redshift[0] > redshift[rows].max():
                continue
            scale = self._scale(gas_redshift) * strength
            field = self._field(rows.size, rng)[:, :stop]
            in_front = gas_redshift < redshift[rows, None]
            depth += np.where(in_front, scale * np.exp(_SCATTER * field), 0.0)
        depth += self._damped_systems(wavelength, redshift[rows], rng)
        depth += self._limit_systems(wavelength, redshift[rows], rng)
        flux[rows, :stop] *= np.exp(-depth)

    def _scale(self, redshift: np.ndarray) -> np.ndarray:
        depth, scale = self.scale_table
        return np.interp(effective_optical_depth(redshift), depth, scale)

    def _field(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Gaussian random field of unit variance, with correlations in velocity."""
        total = np.zeros((n, self.grid.size), dtype=np.float32)
        for velocity, share in _CORRELATIONS:
            noise = rng.standard_normal((n, self.grid.size), dtype=np.float32)
            sigma = velocity / LIGHT_SPEED
            # Smoothing leaves 1 / (2 √π sigma) of the variance of white noise.
            kept = 1 / (2 * np.sqrt(np.pi) * sigma / self.grid.step)
            total += self.grid.blur(noise, sigma) * np.float32(share / np.sqrt(kept))
        return total

    def _damped_systems(
        self, wavelength: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Damping wings τ = (a / Δλ)², with a in Å at rest = 2.06 √(N / 1e20 cm⁻²).

        That is the equivalent width of 7.3 Å at 1e20 cm⁻² (Draine 2011).
        """
        n = len(redshift)
        alpha = SPECTRAL_LINES["Ly alpha"].wavelength
        lowest = max(wavelength[0] / alpha - 1, 0.0)
        highest = redshift - 0.03
        gas_redshift = lowest + rng.random(n) * np.maximum(highest - lowest, 0.0)
        half_width = 2.06 * 10 ** (0.5 * rng.uniform(0.0, 1.3, n))
        present = (rng.random(n) < 0.15) & (highest > lowest)
        half_width[~present] = 0.0
        rest = wavelength / (1 + gas_redshift)[:, None]
        # Half an Å of offset keeps the square finite; the core is black there.
        offset = np.maximum(np.abs(rest - alpha), 0.25)
        return np.minimum((half_width[:, None] / offset) ** 2, 50.0)

    def _limit_systems(
        self, wavelength: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """One opaque system in front of each source; incidence of Songaila & Cowie."""
        incidence = 2.8 * ((1 + redshift) / 4.5) ** 1.94
        gas_redshift = np.maximum(redshift - rng.exponential(1 / incidence), 0.0)
        rest = wavelength / (1 + gas_redshift)[:, None]
        depth = np.exp(rng.normal(1.3, 0.8, len(redshift)))[:, None]
        return np.where(rest < LYMAN_LIMIT, depth * (rest / LYMAN_LIMIT) ** 3, 0.0)


def _mean_transmission_table() -> tuple[np.ndarray, np.ndarray]:
    """Effective optical depth as a function of the scale of a log-normal field."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    scale = np.geomspace(1e-4, 1e3, 200)
    transmission = np.exp(-np.outer(scale, np.exp(_SCATTER * nodes))) @ weights
    return -np.log(transmission), scale
