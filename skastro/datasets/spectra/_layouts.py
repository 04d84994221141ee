# SPDX-License-Identifier: BSD-3-Clause
"""The layouts in which surveys publish spectra: registry, recognition, checks."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
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
    floats,
    integer,
    number,
    split_unit,
    text,
)
from skastro.utils import check_wavelength, suggest_name

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
    "medium": None,
    "vacuum": None,
    "frame": None,
    "doppler_redshift": 0.0,
    "flux_unit": None,
    "normalized": None,
    "header": None,
}
# Column of the table of read_spectra: field of a spectrum. Files of many spectra use
# the same names of columns, so that `label_column` means the same for both.
COLUMNS = {
    "id": "id",
    "class": "class_name",
    "subclass": "subclass",
    "z": "redshift",
    "zwarning": "redshift_warning",
    "snr": "snr",
    "ra": "ra",
    "dec": "dec",
    "survey": "survey",
    "release": "release",
    "layout": "layout",
    "kind": "kind",
    "medium": "medium",
    "vacuum": "vacuum",
    "frame": "frame",
    "doppler_redshift": "doppler_redshift",
    "flux_unit": "flux_unit",
    "path": "path",
}
_ARRAYS = ("flux", "ivar", "and_mask", "or_mask", "normalized")
_TEXTS = ("survey", "release", "id", "class_name", "subclass")
_OF_MANY = {*_NEEDED, *_OPTIONAL, "table", "class_names"} - {"snr_bands", "vacuum"}
KINDS = ("science", "sky", "template")
MEDIA = ("air", "vacuum")
FRAMES = ("topocentric", "heliocentric", "barycentric", "rest")

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
    is_generic: bool = False

    @property
    def is_built_in(self) -> bool:
        """Whether the layout is one of skastro's own."""
        return self.read.__module__.partition(".")[0] == "skastro"

    def matches(self, file: Any) -> bool:
        """Call the recognizer."""
        answer = self._call(self.recognize, file)
        if not isinstance(answer, bool | np.bool_):
            raise ValueError(
                f"the recognizer of layout {self.name!r} must return True or False; "
                f"got {answer!r}"
            )
        return bool(answer)

    def read_one(self, file: Any) -> Bunch:
        """Read and check a file of one spectrum."""
        found = self._returned(file, {*_NEEDED, *_OPTIONAL}, _NEEDED)
        spectrum = check_spectrum(_OPTIONAL | found)
        if spectrum.header is None:
            spectrum.header = (
                file[0].header if isinstance(file, fits.HDUList) else fits.Header()
            )
        spectrum.layout = self.name
        return spectrum

    def read_many(self, file: Any) -> Bunch:
        """Read and check a file of many spectra.

        What a reader returns of the fields of a spectrum becomes columns of `table`.
        """
        found = self._returned(file, _OF_MANY, ("flux",))
        unit = units.Unit(found["flux_unit"]) if found.get("flux_unit") else None
        stated = unit or getattr(found["flux"], "unit", None)
        flux = floats(_in_unit(found["flux"], stated, stated))
        if flux.ndim != 2 or flux.size == 0:
            raise ValueError(
                f"the flux of layout {self.name!r}, a file of many spectra, must have "
                f"shape (n_spectra, n_pixels); got {flux.shape}"
            )
        n_spectra, n_pixels = flux.shape
        matrix = Bunch(flux=flux, wavelength=found.get("wavelength"))
        if matrix.wavelength is not None:
            if np.shape(matrix.wavelength) not in [(n_pixels,), flux.shape]:
                raise ValueError(
                    f"the flux has {n_pixels} pixels, but the wavelengths have shape "
                    f"{np.shape(matrix.wavelength)}"
                )
            matrix.wavelength = check_grids(matrix.wavelength)
        for name in _ARRAYS[1:]:
            values = found.get(name)
            if values is not None and np.shape(values) != flux.shape:
                raise ValueError(
                    f"{name} must have the shape of flux, {flux.shape}; got "
                    f"{np.shape(values)}"
                )
            matrix[name] = values
        if matrix.ivar is not None:
            inverse = None if stated is None else stated**-2
            matrix.ivar = floats(_in_unit(matrix.ivar, inverse, inverse), "ivar")
        table = Table()
        for column, field in COLUMNS.items():
            if field not in _OPTIONAL or field not in found:
                continue
            values = found[field]
            if field == "flux_unit" or values is None:
                continue
            if field in _TEXTS or field in ("kind", "medium", "frame"):
                values = np.asarray(values, dtype=np.str_)
            else:
                values = split_unit(values)[0]
            table[column] = np.broadcast_to(values, n_spectra).copy()
        extra = Table(found.get("table"))
        if extra.colnames and len(extra) != n_spectra:
            raise ValueError(
                f"the flux has {n_spectra} spectra, but the table of labels "
                f"{len(extra)} rows"
            )
        for name in extra.colnames:
            if name not in table.colnames:
                table[name] = extra[name]
        if stated is not None:
            table["flux_unit"] = np.full(n_spectra, stated.to_string())
        matrix.kinds = table["kind"].tolist() if "kind" in found else None
        return Bunch(
            **matrix,
            wavelength_unit=WAVELENGTH_UNIT,
            table=table,
            class_names=found.get("class_names"),
            header=found.get("header"),
            layout=self.name,
        )

    def one_of_many(self, matrix: Bunch, index: int) -> Bunch:
        """Return one spectrum of a file of many."""
        wavelength = matrix.wavelength
        if wavelength is None:
            raise ValueError("the file does not contain the wavelengths")
        fields = _row_of(matrix, index)
        own = wavelength if wavelength.ndim == 1 else wavelength[index]
        fields["wavelength"] = own * WAVELENGTH_UNIT
        for name in _ARRAYS:
            fields[name] = None if matrix[name] is None else matrix[name][index]
        spectrum = check_spectrum(fields)
        spectrum.layout = self.name
        return spectrum

    def _returned(
        self, file: Any, known: set[str], needed: tuple[str, ...]
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
        # A reader that returns None for ivar says that the file states no errors.
        missing = [
            name
            for name in needed
            if name not in found or (found[name] is None and name != "ivar")
        ]
        if missing:
            raise ValueError(
                f"the reader of layout {self.name!r} returned no {', '.join(missing)}"
            )
        return dict(found)

    def _call(self, function: Callable, file: Any) -> Any:
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
        default. ``ivar`` is None if the file states no errors. ``medium`` and
        ``frame`` are None, unknown, by default. skastro copies the arrays. None
        returns a decorator.
    description : str, default=""
        Content of a file of this layout, for the message about unknown files. Empty
        means the name.
    many : bool, default=False
        Whether a file holds many spectra; only :func:`read_spectra` reads it. The
        dictionary then has ``flux`` of shape (n_spectra, n_pixels) and, if known,
        ``wavelength`` of shape (n_pixels,), ``table`` (anything that
        :class:`astropy.table.Table` accepts, with n_spectra rows and the column names
        of :func:`read_spectra`) and ``class_names``, the default of that parameter.
        The fields of one spectrum are allowed, too, as arrays of n_spectra rows or,
        where they are the same for all, as single values; so are wavelengths of shape
        (n_spectra, n_pixels), each row on its own grid.
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

    register = add_layout(name, recognize, description, many=many, opens=opens)
    return register if read is None else register(read)


def add_layout(
    name: str,
    recognize: Recognizer,
    description: str = "",
    *,
    many: bool = False,
    opens: str = "fits",
    is_generic: bool = False,
) -> Callable[[Reader], Reader]:
    """Return a decorator that adds a reader.

    Generic layouts are those of files that no survey defines; they come last. The
    argument of those with ``opens="text"`` is the content of a text file.
    """

    def register(read: Reader) -> Reader:
        for what, function in (("recognize", recognize), ("read", read)):
            if not callable(function):
                raise TypeError(f"{what} must be callable; got {function!r}.")
        _LAYOUTS[name] = Layout(
            name, recognize, read, description or name, many, opens, is_generic
        )
        return read

    return register


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
    file: Any, layouts: tuple[Layout, ...], opens: str = "fits"
) -> Layout | None:
    """Find the layout of a file: a registered, a built-in, or a generic one.

    A recognizer that fails matters only if no other one recognizes the file.
    """
    failures: list[Exception] = []
    for rank in (0, 1, 2):
        found: list[Layout] = []
        for layout in layouts:
            own = layout.is_built_in + layout.is_generic
            if (own, layout.opens) == (rank, opens):
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
    spectrum = _check_labels(fields)
    flux, unit = fields["flux"], fields["flux_unit"]
    stated = units.Unit(getattr(flux, "unit", None) or unit or "")
    spectrum.flux_unit = units.Unit(unit or stated)
    spectrum.flux = floats(_in_unit(flux, stated, spectrum.flux_unit))
    if fields["ivar"] is not None:
        ivar = _in_unit(fields["ivar"], stated**-2, spectrum.flux_unit**-2)
        spectrum.ivar = floats(ivar, "ivar")
    spectrum.wavelength = check_wavelength(fields["wavelength"])
    spectrum.wavelength_unit = WAVELENGTH_UNIT
    shapes = [np.shape(spectrum[name]) for name in _NEEDED]
    if spectrum.ivar is None:
        shapes[1] = shapes[0]
    if spectrum.flux.ndim != 1 or spectrum.flux.size < 2 or len({*shapes}) > 1:
        raise ValueError(
            "flux, ivar and wavelength must be vectors of one length, at least 2; "
            f"their shapes are {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    spectrum.mask = ~np.isfinite(spectrum.flux)
    if spectrum.ivar is not None:
        spectrum.mask |= ~(np.isfinite(spectrum.ivar) & (spectrum.ivar > 0))
    for name in ("and_mask", "or_mask", "normalized"):
        if fields[name] is not None:
            convert = floats if name == "normalized" else bits
            spectrum[name] = convert(fields[name])
            if spectrum[name].shape != spectrum.flux.shape:
                raise ValueError(
                    f"{name} must have the shape of flux, {spectrum.flux.shape}; got "
                    f"{spectrum[name].shape}"
                )
    return spectrum


def _check_labels(fields: dict[str, Any]) -> Bunch:
    """Check the fields of one spectrum other than arrays."""
    spectrum = Bunch(**fields)
    if fields["kind"] not in KINDS:
        raise ValueError(
            f"kind must be one of {', '.join(map(repr, KINDS))}; got {fields['kind']!r}"
        )
    for name in _TEXTS:
        spectrum[name] = text(fields[name])
    for name in ("redshift", "snr", "doppler_redshift"):
        spectrum[name] = number(fields[name])
    for name in ("ra", "dec"):
        spectrum[name] = number(fields[name], units.deg)
    spectrum.redshift_warning = integer(fields["redshift_warning"])
    medium = fields["medium"]
    if medium is None and fields["vacuum"] is not None:
        medium = "vacuum" if fields["vacuum"] else "air"
    for name, value, known in (
        ("medium", medium, MEDIA),
        ("frame", fields["frame"], FRAMES),
    ):
        spectrum[name] = text(value) or None
        if spectrum[name] not in (None, *known):
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, known))} or None, for "
                f"unknown; got {value!r}"
            )
    spectrum.vacuum = None if spectrum.medium is None else spectrum.medium == "vacuum"
    if fields["kind"] == "sky":
        # The pipelines also classify residuals of the sky.
        spectrum.class_name, spectrum.subclass, spectrum.redshift = "", "", np.nan
    spectrum.flux_unit = units.Unit(fields["flux_unit"] or "")
    snr_bands = fields["snr_bands"] or {}
    spectrum.snr_bands = {band: number(snr_bands.get(band)) for band in BANDS}
    return spectrum


def columns_of(table: Table) -> dict[str, str]:
    """Map names in lower case to columns; one that is so written goes first."""
    names = {name.lower(): name for name in table.colnames}
    return names | {name: name for name in table.colnames if name.islower()}


def _row_of(matrix: Bunch, index: int) -> dict[str, Any]:
    """Return the fields, other than arrays, of one spectrum of a file of many."""
    names = columns_of(matrix.table)
    fields = {
        field: matrix.table[names[column]][index]
        for column, field in COLUMNS.items()
        if column in names and field in _OPTIONAL
    }
    return _OPTIONAL | {"header": matrix.header or fits.Header()} | fields


def labels_of(matrix: Bunch) -> Iterator[Bunch]:
    """Yield the fields, other than arrays, of all spectra of a file of many."""
    for index in range(len(matrix.flux)):
        spectrum = _check_labels(_row_of(matrix, index))
        spectrum.layout, spectrum.path = matrix.layout, ""
        yield spectrum


def check_grids(wavelength: Any) -> np.ndarray:
    """Check one grid, or a grid for each spectrum; equal ones become one."""
    if np.ndim(wavelength) == 1:
        return check_wavelength(wavelength)
    if (np.asarray(wavelength) == np.asarray(wavelength[0])).all():
        return check_wavelength(wavelength[0])
    return np.stack([check_wavelength(grid) for grid in wavelength])


def _in_unit(values: Any, stated: Any, unit: Any) -> Any:
    """Convert a quantity, or an array in the unit `stated`, to `unit`."""
    plain, own = split_unit(values)
    own = stated if own is None else own
    if own == unit:
        return plain
    return np.asarray(plain, dtype=np.float64) * own.to(unit)
