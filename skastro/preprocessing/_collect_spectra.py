# SPDX-License-Identifier: BSD-3-Clause
"""Spectra on several wavelength grids, sorted into blocks that share one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy import units

from skastro._compat import safe_indexing
from skastro.preprocessing._resolution import check_resolution
from skastro.utils import (
    check_option,
    check_wavelength,
    is_lazy,
    plain_array,
    plain_samples,
    unit_of,
)


class SpectraBlock(NamedTuple):
    """Spectra on one grid; no rows stand for all, no wavelengths for the default."""

    flux: Any
    wavelength: np.ndarray | None = None
    medium: str | None = None
    resolution: Any = None
    rows: np.ndarray | None = None


class SpectraCollection(NamedTuple):
    """Blocks, the unit of their flux, and the frames of their wavelengths."""

    blocks: list[SpectraBlock]
    flux_unit: Any
    frames: set[str]


class _Spectrum(NamedTuple):
    flux: Any
    wavelength: Any
    medium: Any = None
    resolution: Any = None
    unit: Any = None
    frame: Any = None


def collect_spectra(
    X: Any,
    wavelength: Any = None,
    medium: Any = None,
    resolution: Any = None,
    flux_unit: Any = None,
) -> SpectraCollection:
    """Sort spectra by their wavelengths, in Angstrom, their medium and resolution.

    The unit of their flux becomes `flux_unit`, or that of the first spectrum that has
    one.
    """
    frames: set[str] = set()
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = X.tolist()
    if _holds_wavelengths(X):
        whole = _unpack(X, "X")
        if np.ndim(whole.flux) < 2:
            raise ValueError(
                "X is a single spectrum; give a list of spectra, as in [spectrum]."
            )
        flux_unit = flux_unit or whole.unit
        flux = _in_flux_unit(whole, flux_unit, "X")
        own, own_states = whole.wavelength, (whole.medium, whole.resolution)
        frames = _known_frames(whole)
    elif isinstance(X, list | tuple) and X and _is_spectrum(X[0]):
        names = [f"X[{row}]" for row in range(len(X))]
        spectra = [*map(_unpack, X, names)]
        known = (spectrum.unit for spectrum in spectra if spectrum.unit)
        flux_unit = flux_unit or next(known, None)
        flux = [
            _in_flux_unit(spectrum, flux_unit, name)
            for spectrum, name in zip(spectra, names, strict=True)
        ]
        own = [spectrum.wavelength for spectrum in spectra]
        own_states = (
            [spectrum.medium for spectrum in spectra],
            [spectrum.resolution for spectrum in spectra],
        )
        frames = frames.union(*map(_known_frames, spectra))
    else:
        _refuse_wavelengths(X)
        flux, own, own_states = X, None, (None, None)
    if own is not None and wavelength is not None:
        raise ValueError(
            "X holds the wavelengths of its spectra, so wavelength= is one too many."
        )
    wavelength = own if wavelength is None else wavelength
    medium, resolution = (
        own_state if state is None else state
        for own_state, state in zip(own_states, (medium, resolution), strict=True)
    )
    if _is_per_spectrum(wavelength):
        blocks = _sort_rows(flux, wavelength, medium, resolution)
        return SpectraCollection(blocks, flux_unit, frames)
    grid = None if wavelength is None else check_grid(wavelength, "wavelength")
    if not _is_each(medium) and not _is_each(resolution):
        state = _check_medium(medium), check_resolution(resolution)
        return SpectraCollection([SpectraBlock(flux, grid, *state)], flux_unit, frames)
    states = _check_states(medium, resolution, len(flux))
    flux = plain_samples(flux)
    blocks = []
    for members in _group(states).values():
        rows = None if len(members) == len(states) else np.array(members)
        part = flux if rows is None else safe_indexing(flux, rows)
        blocks.append(SpectraBlock(part, grid, *states[members[0]], rows))
    return SpectraCollection(blocks, flux_unit, frames)


def _sort_rows(
    flux: Any, wavelength: Any, medium: Any, resolution: Any
) -> list[SpectraBlock]:
    """Sort spectra that have wavelengths each."""
    if not isinstance(flux, list | tuple):
        flux = plain_array(flux)
    if len(flux) != len(wavelength):
        raise ValueError(
            f"X holds {len(flux)} spectra, but wavelength has {len(wavelength)} grids: "
            "give one grid for all spectra, or one for each."
        )
    states = _check_states(medium, resolution, len(flux))
    rows, grids = [], []
    for row, (values, grid) in enumerate(zip(flux, wavelength, strict=True)):
        name = f"X[{row}]"
        values, grid = plain_array(values, name), check_grid(grid, name)
        if values.shape != grid.shape:
            raise ValueError(
                f"{name}: the flux has shape {values.shape} and the wavelengths "
                f"{grid.shape}; expected two vectors of one length."
            )
        rows.append(values)
        grids.append(grid)
    groups = _group(
        [(grid.tobytes(), *state) for grid, state in zip(grids, states, strict=True)]
    )
    is_single = len(groups) == 1
    return [
        SpectraBlock(
            np.stack([rows[row] for row in members]),
            grids[members[0]],
            *states[members[0]],
            None if is_single else np.array(members),
        )
        for members in groups.values()
    ]


def _holds_wavelengths(item: Any) -> bool:
    """Whether something is what a reader returns, or an object like specutils'."""
    if isinstance(item, Mapping):
        return "flux" in item and "wavelength" in item
    return hasattr(item, "spectral_axis") and hasattr(item, "flux")


def _is_spectrum(item: Any) -> bool:
    """Whether an item of a list is a spectrum with its wavelengths."""
    if isinstance(item, tuple):
        return len(item) in (2, 3) and all(np.ndim(part) == 1 for part in item)
    return _holds_wavelengths(item)


def _refuse_wavelengths(X: Any) -> None:
    """Refuse wavelengths that would be taken for a spectrum or a channel."""
    is_one = isinstance(X, tuple)
    pair = X if is_one else X[0] if isinstance(X, list) and X else None
    if not (isinstance(pair, tuple | list) and len(pair) in (2, 3)):
        return
    if any(np.ndim(part) != 1 for part in pair):
        return
    try:
        check_wavelength(pair[0])
    except (ValueError, TypeError):
        return
    raise ValueError(
        "X begins with wavelengths. "
        + (
            "Give a single spectrum as a list, [(wavelength, flux)]."
            if is_one
            else "Give each spectrum as a tuple, [(wavelength, flux), ...]."
        )
    )


def _is_per_spectrum(wavelength: Any) -> bool:
    """Whether wavelengths are those of each spectrum rather than one grid."""
    if isinstance(wavelength, list | tuple):
        return any(np.ndim(item) for item in wavelength)
    return getattr(wavelength, "ndim", 1) == 2


def _unpack(item: Any, name: str) -> _Spectrum:
    """Take flux, wavelengths, medium and unit; bad pixels become NaN."""
    ivar = mask = medium = resolution = unit = frame = None
    if isinstance(item, Mapping) and _holds_wavelengths(item):
        flux, wavelength = item["flux"], item["wavelength"]
        ivar, mask, unit = map(item.get, ("ivar", "mask", "flux_unit"))
        medium, resolution, frame = map(item.get, ("medium", "resolution", "frame"))
    elif isinstance(item, tuple) and len(item) in (2, 3):
        wavelength, flux, *rest = item
        ivar = rest[0] if rest else None
    elif _holds_wavelengths(item):
        flux, wavelength, mask = item.flux, item.spectral_axis, item.mask
        # Standard deviations and variances are positive for good pixels, too.
        ivar = getattr(item.uncertainty, "array", None)
        axis = getattr(item, "spectral_axis_index", None)
        # specutils says 0 of collections of vectors, though each has its wavelengths.
        is_last = axis in (None, flux.ndim - 1) or wavelength.ndim == flux.ndim
        if not is_last:
            raise ValueError(
                f"{name} has its spectral axis at {axis}, but the "
                "last one is needed; build it with move_spectral_axis='last'."
            )
    else:
        raise TypeError(
            f"{name} is {type(item).__name__}, but items before it are spectra with "
            "wavelengths; give each as (wavelength, flux) or (wavelength, flux, ivar), "
            "or as an object with spectral_axis and flux."
        )
    unit = unit_of(flux) or units.Unit(unit or "")
    unit = None if unit == units.dimensionless_unscaled else unit
    if is_lazy(flux) and ivar is None and mask is None:
        return _Spectrum(flux, wavelength, medium, resolution, unit, frame)
    flux = plain_array(flux, name, any_unit=True)
    bad = np.zeros(flux.shape, dtype=bool)
    for what, values in (("ivar", ivar), ("mask", mask)):
        if values is None:
            continue
        values = plain_array(values, f"{what} of {name}", any_unit=True)
        if values.shape != flux.shape:
            raise ValueError(
                f"{name}: {what} has shape {values.shape}, but the flux {flux.shape}."
            )
        bad |= ~(np.isfinite(values) & (values > 0)) if what == "ivar" else values != 0
    if bad.any():
        flux = np.where(bad, np.nan, flux)
    return _Spectrum(flux, wavelength, medium, resolution, unit, frame)


def _known_frames(spectrum: _Spectrum) -> set[str]:
    """Return the frames that a reader states, that of the Sun under one name."""
    names = {str(name) for name in np.ravel(spectrum.frame) if name}
    return {"heliocentric" if name == "barycentric" else name for name in names}


def _in_flux_unit(spectrum: _Spectrum, unit: Any, name: str) -> Any:
    """Convert the flux to a unit; relative flux has none and stays."""
    if spectrum.unit is None or spectrum.unit == unit:
        return spectrum.flux
    flux = plain_array(spectrum.flux)
    try:
        # Not a factor, which magnitudes do not differ by.
        return spectrum.unit.to(unit, flux).astype(flux.dtype)
    except units.UnitConversionError as error:
        raise ValueError(
            f"{name} has a flux in {spectrum.unit}, which does not convert to {unit}, "
            "the unit of other spectra; convert it first, or give plain numbers."
        ) from error


def check_grid(wavelength: Any, name: str) -> np.ndarray:
    """Return wavelengths in Angstrom, or refuse them with the name of the spectrum."""
    unit = unit_of(wavelength) or units.Angstrom
    if unit.physical_type not in ("length", "dimensionless"):
        raise ValueError(
            f"{name} is in {unit}, which is no unit of wavelengths. Convert it by "
            "wavelength.to('Angstrom', equivalencies=astropy.units.spectral()), and "
            "reverse it, and the flux with it, if it descends then."
        )
    try:
        return check_wavelength(wavelength)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}.") from error


def _check_medium(medium: Any) -> str | None:
    """Check one medium; readers write an empty text for an unknown one."""
    if medium is None or medium is np.ma.masked or str(medium) == "":
        return None
    check_option(str(medium), "medium", ["air", "vacuum"])
    return str(medium)


def _is_each(values: Any) -> bool:
    """Whether there is one value for each spectrum, rather than one for all."""
    # numpy refuses lists of quantities.
    return isinstance(values, list | tuple) or np.ndim(values) > 0


def _check_states(
    medium: Any, resolution: Any, n_spectra: int
) -> list[tuple[Any, Any]]:
    """Return the medium and the resolution of each spectrum."""
    columns = []
    for name, values, check in (
        ("medium", medium, _check_medium),
        ("resolution", resolution, check_resolution),
    ):
        if not _is_each(values):
            columns.append([check(values)] * n_spectra)
            continue
        if len(values) != n_spectra:
            raise ValueError(
                f"{name} has {len(values)} values for {n_spectra} spectra: give one "
                "for all of them, or one for each."
            )
        unit = getattr(values, "unit", None)
        if unit is not None and not isinstance(values, units.Quantity):
            # Items of table columns lack the unit.
            values = [one if one is np.ma.masked else one * unit for one in values]
        columns.append([*map(check, values)])
    return [*zip(columns[0], columns[1], strict=True)]


def _group(keys: Sequence[tuple]) -> dict[Any, list[int]]:
    """Return the rows that have each key."""
    groups: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return groups
