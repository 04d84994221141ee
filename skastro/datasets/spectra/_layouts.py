# SPDX-License-Identifier: BSD-3-Clause
"""The layouts in which surveys publish spectra: registry, recognition, checks."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table
from sklearn.utils import Bunch

from skastro.datasets.spectra._fields import (
    BANDS,
    WAVELENGTH_UNIT,
    bits,
    check_wavelength,
    floats,
    integer,
    number,
    split_unit,
    text,
)
from skastro.utils import suggest_name

ENTRY_POINTS = "skastro.spectrum_layouts"

_NEEDED = ("flux", "ivar", "wavelength")
_OPTIONAL = {
    "and_mask": None,
    "or_mask": None,
    "kind": "science",
    "survey": "",
    "release": "",
    "id": "",
    "class_name": "",
    "subclass": "",
    "redshift": np.nan,
    "redshift_warning": -1,
    "ra": np.nan,
    "dec": np.nan,
    "snr": np.nan,
    "snr_bands": None,
    "vacuum": True,
    "doppler_redshift": 0.0,
    "flux_unit": None,
    "header": None,
}
_OF_MANY = ("flux", "wavelength", "table", "class_names")
KINDS = ("science", "sky", "template")

Recognizer = Callable[[Any], bool]
Reader = Callable[[Any], Mapping[str, Any]]


class Layout(NamedTuple):
    """A layout: its name, its recognizer and its reader."""

    name: str
    recognize: Recognizer
    read: Reader
    description: str
    many: bool
    opens: str

    @property
    def is_built_in(self) -> bool:
        """Whether the layout is one of skastro's own."""
        return self.read.__module__.partition(".")[0] == "skastro"

    def matches(self, file: fits.HDUList | Path) -> bool:
        """Call the recognizer."""
        answer = self._call(self.recognize, file)
        if not isinstance(answer, bool | np.bool_):
            raise ValueError(
                f"the recognizer of layout {self.name!r} must return True or False; "
                f"got {answer!r}"
            )
        return bool(answer)

    def read_one(self, file: fits.HDUList | Path) -> Bunch:
        """Read and check a file of one spectrum."""
        found = self._returned(file, {*_NEEDED, *_OPTIONAL}, _NEEDED)
        spectrum = check_spectrum(_OPTIONAL | found)
        if spectrum.header is None:
            spectrum.header = (
                file[0].header if isinstance(file, fits.HDUList) else fits.Header()
            )
        spectrum.layout = self.name
        return spectrum

    def read_many(self, file: fits.HDUList | Path) -> Bunch:
        """Read and check a file of many spectra."""
        found = self._returned(file, {*_OF_MANY}, ("flux",))
        flux, wavelength = floats(found["flux"]), found.get("wavelength")
        unit = getattr(found["flux"], "unit", None)
        if flux.ndim != 2 or flux.size == 0:
            raise ValueError(
                f"the flux of layout {self.name!r}, a file of many spectra, must have "
                f"shape (n_spectra, n_pixels); got {flux.shape}"
            )
        n_spectra, n_pixels = flux.shape
        if wavelength is not None:
            if np.shape(wavelength) != (n_pixels,):
                raise ValueError(
                    f"the flux has {n_pixels} pixels, but the wavelengths have shape "
                    f"{np.shape(wavelength)}"
                )
            wavelength = check_wavelength(wavelength)
        table = Table(found.get("table"))
        if table.colnames and len(table) != n_spectra:
            raise ValueError(
                f"the flux has {n_spectra} spectra, but the table of labels "
                f"{len(table)} rows"
            )
        if unit is not None:
            table["flux_unit"] = np.full(n_spectra, unit.to_string())
        return Bunch(
            flux=flux,
            wavelength=wavelength,
            wavelength_unit=WAVELENGTH_UNIT,
            table=table,
            class_names=found.get("class_names"),
            layout=self.name,
        )

    def _returned(
        self, file: fits.HDUList | Path, known: set[str], needed: tuple[str, ...]
    ) -> dict[str, Any]:
        """Call the reader, and check the names of the returned fields."""
        found = self._call(self.read, file)
        if not isinstance(found, Mapping):
            raise ValueError(
                f"the reader of layout {self.name!r} must return a dictionary with "
                f"{', '.join(needed)}; got {type(found).__name__}"
            )
        for name in found:
            if name not in known:
                raise ValueError(
                    f"the reader of layout {self.name!r} returned the unknown field "
                    f"{name!r}. {suggest_name(name, known, list_all=False)}"
                )
        missing = [name for name in needed if found.get(name) is None]
        if missing:
            raise ValueError(
                f"the reader of layout {self.name!r} returned no {', '.join(missing)}"
            )
        return dict(found)

    def _call(self, function: Callable, file: fits.HDUList | Path) -> Any:
        """Call a function of the layout; errors of registered ones name the layout."""
        try:
            return function(file)
        except Exception as error:
            if self.is_built_in:
                raise
            what = "recognizer" if function is self.recognize else "reader"
            raise ValueError(
                f"the {what} of layout {self.name!r} failed: "
                f"{type(error).__name__}: {error}"
            ) from error


_LAYOUTS: dict[str, Layout] = {}


def register_layout(
    name: str,
    recognize: Recognizer,
    read: Reader | None = None,
    *,
    description: str = "",
    many: bool = False,
    opens: str = "fits",
    overwrite: bool = False,
) -> Reader | Callable[[Reader], Reader]:
    """Add a survey's layout to those that the readers of spectra recognize.

    :func:`read_spectrum` and :func:`read_spectra` then read its files like those of the
    built-in layouts. Without `read` the function returns a decorator for the reader.
    A package can register its layouts for everybody who installs it by an entry point
    of the group ``skastro.spectrum_layouts`` that names the decorated reader. Read more
    in :ref:`extending_layout`.

    Parameters
    ----------
    name : str
        Name of the layout, which becomes `layout` of the spectra.
    recognize : callable
        Takes the open file and returns whether it has this layout. It is called with
        files of all layouts, so it must not assume content that only its own files
        have.
    read : callable, default=None
        Takes the open file and returns a dictionary. For one spectrum ``flux``,
        ``ivar`` and ``wavelength`` of shape (n_pixels,) are needed; every other field
        of :func:`read_spectrum` is optional, apart from ``mask``, ``wavelength_unit``,
        ``layout`` and ``path``, which skastro adds. Wavelengths ascend and are in Å or
        an astropy quantity, which they must be below 900 Å or if they end below 3000.
        Flux may be a quantity, too; otherwise ``flux_unit`` is dimensionless by
        default. ``vacuum`` is True by default. skastro copies the arrays. None returns
        a decorator.
    description : str, default=""
        Content of a file of this layout, for the message about unknown files. Empty
        means the name.
    many : bool, default=False
        Whether a file holds many spectra; only :func:`read_spectra` reads it. The
        dictionary then has ``flux`` of shape (n_spectra, n_pixels) and, if known,
        ``wavelength`` of shape (n_pixels,), ``table`` (anything that
        :class:`astropy.table.Table` accepts, with n_spectra rows and the column names
        of :func:`read_spectra`) and ``class_names``, the default of that parameter.
    opens : {"fits", "path"}, default="fits"
        Argument of both functions: "fits" is an open :class:`astropy.io.fits.HDUList`,
        "path" the :class:`~pathlib.Path` of a file that need not be FITS.
    overwrite : bool, default=False
        Whether to replace a layout of the same name.

    Returns
    -------
    read : callable
        The reader unchanged, or the decorator.

    Raises
    ------
    TypeError
        If `name` is not a text, or `recognize` or `read` not callable.
    ValueError
        If a layout of this name exists, or `name` is empty or `opens` unknown.

    See Also
    --------
    read_spectrum : Reads a file of one spectrum.
    read_spectra : Reads many files, or a file of many spectra.

    Notes
    -----
    Registered layouts precede the built-in ones; among them, those with
    ``opens="path"`` precede those with ``opens="fits"``. If two layouts of one such
    group recognize a file, the readers refuse it and name both. An exception in
    `read`, or in `recognize` for a file that no other layout recognizes, becomes a
    ``ValueError`` that names the file and the layout; :func:`read_spectra` lists the
    file in `failures` and continues. Processes that read in parallel receive the
    layouts of the calling process.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from skastro.datasets import read_spectrum, register_layout
    >>> def is_mine(hdul):
    ...     return hdul[0].header.get("ORIGIN") == "my telescope"
    >>> @register_layout("my-telescope", is_mine, overwrite=True)
    ... def read_mine(hdul):
    ...     flux, error = hdul[0].data
    ...     wavelength = np.linspace(4000, 7000, flux.size)
    ...     return {"flux": flux, "ivar": error**-2, "wavelength": wavelength}
    >>> with tempfile.NamedTemporaryFile(suffix=".fits") as file:
    ...     header = fits.Header({"ORIGIN": "my telescope"})
    ...     fits.PrimaryHDU(np.ones((2, 100)), header).writeto(file)
    ...     _ = file.flush()
    ...     spectrum = read_spectrum(file.name)
    >>> spectrum.layout, spectrum.flux.shape
    ('my-telescope', (100,))
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text; got {name!r}.")
    if not name.strip():
        raise ValueError("name must not be empty.")
    if opens not in ("fits", "path"):
        raise ValueError(f"opens must be 'fits' or 'path'; got {opens!r}.")
    if name in _LAYOUTS and not overwrite:
        raise ValueError(
            f"there is a layout {name!r} already; take another name, or replace it by "
            "overwrite=True."
        )

    def register(read: Reader) -> Reader:
        for what, function in (("recognize", recognize), ("read", read)):
            if not callable(function):
                raise TypeError(f"{what} must be callable; got {function!r}.")
        _LAYOUTS[name] = Layout(name, recognize, read, description or name, many, opens)
        return read

    return register if read is None else register(read)


@cache
def _load_entry_points() -> None:
    """Import the readers that installed packages offer; warn about those that fail."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            reader = point.load()
            if all(layout.read is not reader for layout in _LAYOUTS.values()):
                raise ValueError(
                    "it is not a reader that register_layout has decorated"
                )
        # An error in another package must not affect the other layouts.
        except Exception as error:
            warnings.warn(
                f"The entry point {point.name!r} ({point.value}) of group "
                f"{ENTRY_POINTS!r} gives no layout: {type(error).__name__}: {error}",
                UserWarning,
                stacklevel=2,
            )


def known_layouts() -> tuple[Layout, ...]:
    """Return all layouts, including those of entry points."""
    _load_entry_points()
    return tuple(_LAYOUTS.values())


def find_layout(
    file: fits.HDUList | Path, layouts: tuple[Layout, ...], opens: str = "fits"
) -> Layout | None:
    """Find the layout of a file, a registered one before a built-in one.

    A recognizer that fails matters only if no other one recognizes the file.
    """
    failures: list[Exception] = []
    for built_in in (False, True):
        found: list[Layout] = []
        for layout in layouts:
            if (layout.is_built_in, layout.opens) == (built_in, opens):
                try:
                    found += [layout] * layout.matches(file)
                except Exception as error:
                    failures.append(error)
        if len(found) > 1:
            names = ", ".join(repr(layout.name) for layout in found)
            raise ValueError(
                f"several layouts recognize it: {names}; make the recognizers of all "
                "but one stricter"
            )
        if found:
            return found[0]
    if failures:
        raise failures[0]
    return None


def check_spectrum(fields: dict[str, Any]) -> Bunch:
    """Check the fields of one spectrum and complete those of read_spectrum."""
    spectrum = Bunch(**fields)
    flux, unit = fields["flux"], fields["flux_unit"]
    stated = units.Unit(getattr(flux, "unit", None) or unit or "")
    spectrum.flux_unit = units.Unit(unit or stated)
    spectrum.flux = floats(_in_unit(flux, stated, spectrum.flux_unit))
    ivar = _in_unit(fields["ivar"], stated**-2, spectrum.flux_unit**-2)
    spectrum.ivar = floats(ivar, "ivar")
    spectrum.wavelength = check_wavelength(fields["wavelength"])
    spectrum.wavelength_unit = WAVELENGTH_UNIT
    shapes = [spectrum[name].shape for name in _NEEDED]
    if spectrum.flux.ndim != 1 or spectrum.flux.size < 2 or len({*shapes}) > 1:
        raise ValueError(
            "flux, ivar and wavelength must be vectors of one length, at least 2; "
            f"their shapes are {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    good = np.isfinite(spectrum.flux) & np.isfinite(spectrum.ivar) & (spectrum.ivar > 0)
    spectrum.mask = ~good
    for name in ("and_mask", "or_mask"):
        if fields[name] is not None:
            spectrum[name] = bits(fields[name])
            if spectrum[name].shape != spectrum.flux.shape:
                raise ValueError(
                    f"{name} must have the shape of flux, {spectrum.flux.shape}; got "
                    f"{spectrum[name].shape}"
                )
    if fields["kind"] not in KINDS:
        raise ValueError(
            f"kind must be one of {', '.join(map(repr, KINDS))}; got {fields['kind']!r}"
        )
    for name in ("survey", "release", "id", "class_name", "subclass"):
        spectrum[name] = text(fields[name])
    for name in ("redshift", "snr", "doppler_redshift"):
        spectrum[name] = number(fields[name])
    for name in ("ra", "dec"):
        spectrum[name] = number(fields[name], units.deg)
    spectrum.redshift_warning = integer(fields["redshift_warning"])
    spectrum.vacuum = bool(fields["vacuum"])
    if fields["kind"] == "sky":
        # The pipelines also classify residuals of the sky.
        spectrum.class_name, spectrum.subclass, spectrum.redshift = "", "", np.nan
    snr_bands = fields["snr_bands"] or {}
    spectrum.snr_bands = {band: number(snr_bands.get(band)) for band in BANDS}
    return spectrum


def _in_unit(values: Any, stated: units.UnitBase, unit: units.UnitBase) -> Any:
    """Convert a quantity, or an array in the unit `stated`, to `unit`."""
    plain, own = split_unit(values)
    own = stated if own is None else own
    if own == unit:
        return plain
    return np.asarray(plain, dtype=np.float64) * own.to(unit)
