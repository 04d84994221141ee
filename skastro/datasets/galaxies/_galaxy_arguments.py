# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what :func:`skastro.datasets.make_galaxies` is asked for."""

from collections.abc import Mapping, Sequence

import numpy as np

from skastro.simulation import GalaxyCamera, GalaxyPopulation
from skastro.utils import check_real

_SPLIT_NAMES = {2: ("train", "test"), 3: ("train", "valid", "test")}


def check_numbers(**values: float) -> list[float]:
    """Check numbers that are finite, and zero or positive; a scale is not zero."""
    for name, value in values.items():
        check_real(value, name)
        if not np.isfinite(value) or value < 0 or (value == 0 and "scale" in name):
            limit = "positive" if "scale" in name else "zero or positive"
            raise ValueError(f"{name} must be {limit} and finite; got {value!r}.")
    return [float(value) for value in values.values()]


def check_bands(bands: str | Sequence[str]) -> tuple[str, ...]:
    """Check the names of one or several bands."""
    try:
        names = (bands,) if isinstance(bands, str) else tuple(bands)
    except TypeError:
        names = (bands,)
    unknown = [name for name in names if name not in GalaxyPopulation.BANDS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            "bands must be one or several different ones of "
            f"{list(GalaxyPopulation.BANDS)}; got {bands!r}."
        )
    return names


def check_per_band(
    value: float | Mapping[str, float], name: str, bands: tuple[str, ...]
) -> tuple[float, ...]:
    """Check a magnitude for all bands, or one for each by its name."""
    if isinstance(value, Mapping):
        missing = [band for band in bands if band not in value]
        if missing:
            raise ValueError(
                f"{name} has no value for {missing}; it has {sorted(value)}."
            )
        values = tuple(value[band] for band in bands)
    else:
        values = (value,) * len(bands)
    for number in values:
        check_real(number, name)
        if (
            np.isnan(number)
            or number == -np.inf
            or (name == "zero_point" and number == np.inf)
        ):
            raise ValueError(f"{name} must be a magnitude; got {number!r}.")
    return tuple(float(number) for number in values)


def check_extent(
    population: GalaxyPopulation, camera: GalaxyCamera, fwhm: float
) -> None:
    """Refuse ranges whose largest galaxies would not fit into memory."""
    length = max(
        camera.transform_length(light, fwhm)
        for light in population.most_extended(camera.options)
    )
    if length > camera.LONGEST_TRANSFORM:
        raise ValueError(
            "half_light_radius, sersic_index and ellipticity (or bulge_fraction) are "
            "too large together, for pixels and a point spread function so small: "
            f"GalSim would compute with {length} x {length} pixels, more than "
            f"{camera.LONGEST_TRANSFORM} x {camera.LONGEST_TRANSFORM}. Lower the upper "
            "limit of one of them."
        )


def check_splits(splits: Sequence[float] | None, n_galaxies: int) -> np.ndarray | None:
    """Check the parts of a split, and name the part of each row."""
    if splits is None:
        return None
    parts = np.asarray(splits)
    if parts.shape not in ((2,), (3,)) or parts.dtype.kind not in "iuf":
        raise ValueError(
            "splits must be two or three numbers, such as (0.8, 0.1, 0.1); got "
            f"{splits!r}."
        )
    if not (parts > 0).all() or not np.isclose(parts.sum(), 1):
        raise ValueError(
            f"splits must be positive and have the sum 1; got {splits!r}, with the sum "
            f"{parts.sum():g}."
        )
    ends = np.round(np.cumsum(parts) * n_galaxies).astype(int)
    counts = np.diff(ends, prepend=0)
    if not counts.all():
        raise ValueError(
            f"splits {splits!r} of {n_galaxies} galaxies leave a part empty; make more."
        )
    return np.repeat(_SPLIT_NAMES[parts.size], counts)
