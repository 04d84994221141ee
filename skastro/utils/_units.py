# SPDX-License-Identifier: BSD-3-Clause
"""Numbers in a known unit, from plain numbers and from astropy's quantities."""

from typing import Any

import numpy as np
from astropy import units


def to_value(values: Any, unit: str, name: str) -> np.ndarray:
    """Return numbers in `unit` as float64, with NaN for masked ones.

    Plain numbers are taken to be in `unit`; quantities and columns of tables are
    converted. An empty `unit` stands for numbers without one.

    >>> from astropy import units as u
    >>> to_value([0.5, 0.6] * u.um, "Angstrom", "wavelength")
    array([5000., 6000.])
    """
    wanted = units.Unit(unit)
    try:
        quantity = units.Quantity(values, dtype=np.float64)
        if quantity.unit == units.dimensionless_unscaled:
            quantity = units.Quantity(quantity.value, wanted)
        numbers = quantity.to_value(wanted, units.temperature())
    except (TypeError, ValueError) as error:
        is_unit = isinstance(error, units.UnitsError)
        raise (units.UnitConversionError if is_unit else ValueError)(
            f"{name} must be real numbers "
            f"{f'in {wanted}, or quantities that convert to it' * bool(unit)}"
            f"{'without a unit' * (not unit)}; got {values!r} ({error})."
        ) from error
    numbers = np.array(getattr(numbers, "unmasked", numbers))
    if isinstance(values, np.ndarray) and hasattr(values, "mask"):
        numbers[np.broadcast_to(values.mask, numbers.shape)] = np.nan
    return numbers


def without_unit(value: Any, unit: str, name: str) -> Any:
    """Convert a quantity, or a pair of them, to `unit`; leave other values alone."""
    parts = value if isinstance(value, tuple | list) else (value,)
    if any(hasattr(part, "unit") for part in parts):
        return to_value(value, unit, name).tolist()
    return value


def to_positive(values: Any, unit: str, name: str) -> np.ndarray:
    """Return positive, finite numbers in `unit` as float64, see `to_value`."""
    numbers = to_value(values, unit, name)
    if not ((numbers > 0) & np.isfinite(numbers)).all():
        wrong = numbers[~((numbers > 0) & np.isfinite(numbers))]
        raise ValueError(
            f"{name} must be positive and finite; {wrong.size} of {numbers.size} "
            f"values are not, such as {wrong.flat[0]:g}."
        )
    return numbers
