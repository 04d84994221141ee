# SPDX-License-Identifier: BSD-3-Clause
"""The input layer: plain arrays of what users give, and refusal of swapped axes."""

import os
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch

_ROWS_NAMED = 10
# What names of files of images and spectra hold.
_FILE = r"[/\\]$|\.(fits?|fts|png|jpe?g|tiff?|h5|hdf5)(\.[fg]z)?$"
# Modes of Pillow's images whose pixels are brightness or colors.
_PIXEL_MODES = {"L", "LA", "RGB", "RGBA", "I", "I;16", "I;16L", "I;16B", "F"}
# More channels than any camera, and fewer pixels than any spectrum or image.
_MOST_CHANNELS = 12
_FEWEST_PIXELS = 4
# Below this number of pixels a square is no evidence for an image.
_SMALLEST_SQUARE = 8
# Longer rows of numbers are spectra rather than images of one row.
_LONGEST_ROW = 32


def plain_array(X: Any, name: str = "X", *, any_unit: bool = False) -> np.ndarray:
    """Convert numbers of any container to a plain array; masked values become NaN.

    `X` is an array of numpy, its masked arrays and astropy's ones, a table column, a
    Quantity, a Tensor, a data frame, an array on disk, an image of Pillow, or lists and
    object arrays of such. The result has the machine's byte order and the dtype of
    `X`; masked or missing integers make it float64. What needs no change is returned
    as it is. A unit would be lost, so that it is refused unless `any_unit` says that
    it does not matter. Text, dates, tables and complex numbers are refused.

    >>> plain_array(np.ma.masked_equal([1.0, -99.0], -99.0))
    array([ 1., nan])
    >>> plain_array(["1.0", "2.0"], "flux")
    Traceback (most recent call last):
        ...
    TypeError: flux must hold numbers, but holds text (dtype <U3). Convert it first,
    with numpy.asarray(flux, dtype=float) for instance.
    """
    if type(X) is np.ndarray and X.dtype.kind in "biuf":
        return X if X.dtype.isnative else X.astype(X.dtype.newbyteorder("="))
    X = _in_memory(X, name)
    if isinstance(X, list | tuple):
        return _join(X, name, any_unit)
    X, mask = _without_mask(_without_unit(X, name, any_unit))
    if mask is not None and mask.any():
        X = X.astype(X.dtype if X.dtype.kind in "fcO" else np.float64)
        X[mask] = np.nan
    if X.dtype == object and not X.size:
        return X.astype(np.float64)
    if X.dtype == object:
        return _join(X.tolist(), name, any_unit) if X.ndim else _number(X.item(), name)
    if X.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {X.dtype}. Give its real "
            "part or its absolute values."
        )
    if X.dtype.kind not in "biuf":
        _refuse_dtype(X, name)
    return X if X.dtype.isnative else X.astype(X.dtype.newbyteorder("="))


def plain_labels(
    y: Any,
    name: str = "y",
    *,
    what: str = "labels",
    first_row: int = 0,
    advice: str = "Leave these rows out.",
) -> np.ndarray:
    """Convert labels, or names of rows, to an array; bytes become text.

    Masked and missing ones (None, NaN, ``pandas.NA``) are refused, with their rows,
    counted from `first_row`, and with `advice`. Blanks at the end, with which FITS
    files fill up bytes, go.

    >>> plain_labels([b"STAR", b"QSO "])
    array(['STAR', 'QSO'], dtype='<U4')
    >>> plain_labels(["STAR", None])
    Traceback (most recent call last):
        ...
    ValueError: y has missing labels in rows 1. Leave these rows out.
    """
    if y is None:
        raise ValueError(f"{name} should be a 1d array of {what}; got None.")
    y = _in_memory(y, name)
    if isinstance(y, list | tuple):
        y = _labels_of(y, name)
    is_padded = type(y).__name__ == "chararray"
    y, mask = _without_mask(_without_unit(y, name, any_unit=True))
    missing = np.zeros(y.shape, bool) if mask is None else mask
    if y.dtype.kind in "fmM":
        missing = missing | np.isnan(y)
    elif y.dtype == object:
        absent = [is_missing(item) for item in y.ravel()]
        missing = missing | np.reshape(np.array(absent, bool), y.shape)
    if missing.any():
        missing = np.atleast_1d(missing)
        rows = np.flatnonzero(missing.reshape(len(missing), -1).any(axis=1))
        raise ValueError(
            f"{name} has missing {what} in rows {name_rows(first_row + rows)}. {advice}"
        )
    if y.dtype == object and any(isinstance(item, bytes) for item in y.flat):
        y = np.array(y.tolist(), dtype=np.bytes_)
    if y.dtype.kind == "S":
        y, is_padded = np.char.decode(y, "utf-8"), True
    if is_padded:
        y = np.char.rstrip(y, " ")
    return y if y.dtype.isnative else y.astype(y.dtype.newbyteorder("="))


def plain_samples(X: Any, name: str = "X", *, any_unit: bool = False) -> Any:
    """Convert samples for estimators that may know no masks, such as scikit-learn's.

    Data frames keep their names; sparse matrices and what has several parts, or is on
    disk, stays as it is.
    """
    from skastro.utils._lazy import is_lazy

    stays = hasattr(X, "columns") or hasattr(X, "nnz") or isinstance(X, Mapping)
    return X if stays or is_lazy(X) else plain_array(X, name, any_unit=any_unit)


def knows_samples(estimator: Any) -> bool:
    """Whether what sees X first is skastro's, which knows masks, and lists of samples.

    These may be of several lengths, such as spectra with their wavelengths. In a
    pipeline samplers see X in ``fit`` only, and the step behind them in ``predict``.
    """
    steps = getattr(estimator, "steps", None)
    if steps is None:
        classes = type(estimator).__mro__
        return any(cls.__module__.startswith("skastro.") for cls in classes)
    for _, step in steps:
        if step in (None, "passthrough"):
            continue
        if not knows_samples(step):
            return False
        if not hasattr(step, "fit_resample"):
            return True
    return False


def fill_masks(X: Any, name: str = "X") -> Any:
    """Convert what is masked, or a list of such, to a plain array with NaN."""
    items = X if isinstance(X, list | tuple) else [X]
    masked = (isinstance(x, np.ma.MaskedArray) or hasattr(x, "unmasked") for x in items)
    return plain_array(X, name) if any(masked) else X


def plain_values(values: Any, name: str) -> np.ndarray:
    """Convert numbers, which may be missing, or else labels."""
    try:
        return plain_array(values, name, any_unit=True)
    except TypeError:
        return plain_labels(values, name)


def in_unit(values: Any, unit: Any, name: str) -> Any:
    """Convert numbers, a Quantity or a table column to plain numbers in a unit.

    Numbers without a unit are taken to be in it already. The result is float64, an
    array or for a single number a scalar; masked values are NaN. Raises ValueError
    for a unit of another dimension.

    >>> from astropy import units as u
    >>> round(float(in_unit(2.166 * u.um, "Angstrom", "wavelength")), 3)
    21660.0
    >>> in_unit([1 * u.s], "Angstrom", "wavelength")
    Traceback (most recent call last):
        ...
    ValueError: wavelength has the unit s, which cannot be converted to Angstrom. Give
    it in a unit like Angstrom, or as plain numbers in Angstrom.
    """
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim:
        values = values.tolist()
    if isinstance(values, list | tuple) and any(
        isinstance(item, list | tuple) or hasattr(item, "unit") for item in values
    ):
        return np.stack([in_unit(item, unit, name) for item in values])
    own = unit_of(values)
    plain = plain_array(values, name, any_unit=True)
    if own is not None:
        # Percentages and the like are plain numbers by now.
        own = own / own if own.is_equivalent("") else own
        try:
            plain = own.to(unit, plain)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{name} has the unit {own or '1'}, which cannot be converted to "
                f"{unit}. Give it in a unit like {unit}, or as plain numbers in {unit}."
            ) from error
    return np.asarray(plain, dtype=np.float64)[()]


def without_unit(value: Any, unit: str, name: str) -> Any:
    """Convert a quantity, or a pair of them, to `unit`; leave other values alone.

    With an empty `unit` quantities are refused.
    """
    parts = value if isinstance(value, tuple | list) else (value,)
    if not any(hasattr(part, "unit") for part in parts):
        return value
    return (in_unit(value, unit, name) if unit else plain_array(value, name)).tolist()


def name_rows(rows: Any) -> str:
    """List row numbers or names for a message; the first ten if there are more.

    >>> name_rows(range(100))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 90 more'
    """
    rows = list(rows)
    text = ", ".join(str(row) for row in rows[:_ROWS_NAMED])
    hidden = len(rows) - _ROWS_NAMED
    return f"{text}, and {hidden} more" if hidden > 0 else text


def _in_memory(X: Any, name: str) -> Any:
    """Read what other packages hold into an array; lists stay lists."""
    from skastro.utils._lazy import as_lazy, is_lazy

    if isinstance(X, np.ndarray):
        return X
    if hasattr(X, "nnz") and hasattr(X, "toarray"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use "
            f"{name}.toarray()."
        )
    package = type(X).__module__.partition(".")[0]
    if hasattr(X, "detach"):
        # numpy has no bfloat16.
        X = X.float() if str(X.dtype) == "torch.bfloat16" else X
        return X.detach().resolve_conj().resolve_neg().cpu().numpy()
    if hasattr(X, "compute") and package == "dask":
        return np.asanyarray(X.compute())
    if package in ("h5py", "zarr"):
        return np.asarray(X[...])
    if is_lazy(X):
        return as_lazy(X)[:]
    if hasattr(X, "to_numpy"):
        return X.to_numpy()
    if package == "PIL":
        if X.mode not in _PIXEL_MODES:
            raise TypeError(
                f"{name} holds an image of mode {X.mode!r}, but expected gray levels "
                "or RGB; convert it with Pillow's Image.convert('RGB')."
            )
        return np.asarray(X)
    if hasattr(X, "mask") and hasattr(X, "unit") and hasattr(X, "data"):
        # NDData of astropy; without this its unit would be lost.
        array = np.ma.array(X.data, mask=np.ma.nomask if X.mask is None else X.mask)
        if X.unit is None:
            return array
        from astropy.table import MaskedColumn

        return MaskedColumn(array, unit=X.unit)
    return X if isinstance(X, list | tuple) else np.asanyarray(X)


def _without_unit(X: np.ndarray, name: str, any_unit: bool) -> np.ndarray:
    """Take the unit off a Quantity or a column, or refuse it."""
    is_masked = isinstance(X, np.ma.MaskedArray)
    if is_masked and hasattr(type(X), "unit") and not hasattr(X, "unit"):
        raise ValueError(
            f"{name} was joined by a function of NumPy that drops the masks of columns "
            "of a table, so that unknown values would count as numbers. Take the "
            "function of the same name in numpy.ma, such as numpy.ma.column_stack."
        )
    unit = getattr(X, "unit", None)
    if unit is None:
        return X
    try:
        factor = float(unit.to(""))
    except (ValueError, TypeError):
        if any_unit:
            return X.value
        raise TypeError(
            f"{name} has the unit {unit}, which would be lost: results do not know it, "
            f"and other data may have another. Give plain numbers, all in one unit: "
            f"{name}.value, or {name}.to_value({str(unit)!r})."
        ) from None
    return X.value if factor == 1 else X.value * factor


def _without_mask(X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Separate values from their mask, that of numpy or of astropy."""
    if isinstance(X, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(X) if X.dtype.names is None else None
        return np.asarray(np.ma.getdata(X)), mask
    if hasattr(X, "unmasked"):
        return np.asarray(X.unmasked), np.asarray(X.mask)
    return np.asarray(X), None


def unit_of(values: Any) -> Any:
    """Return the unit of an array, or of the first item of a list that has one."""
    items = values if isinstance(values, list | tuple) else [values]
    units = (getattr(item, "unit", None) for item in items)
    return next((unit for unit in units if unit is not None), None)


def _to_plain_items(values: Any) -> Any:
    """Bring the items of a list that have units to that of the first."""
    unit = unit_of(values)
    if unit is None or not isinstance(values, list | tuple):
        return values
    from astropy.units import Quantity

    return [Quantity(value, subok=True).to_value(unit) for value in values]


def _join(items: Sequence[Any], name: str, any_unit: bool) -> np.ndarray:
    """Make one array of a list of numbers, lists or arrays."""
    if any_unit:
        items = _to_plain_items(items)
    items = [np.nan if is_missing(item) else item for item in items]
    if all(issubclass(kind, Real) for kind in {type(item) for item in items}):
        array = np.asarray(items)
        return array.astype(np.float64) if array.dtype == object else array
    parts = [plain_array(item, name, any_unit=any_unit) for item in items]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:5]))
        raise ValueError(
            f"{name} is a list of arrays of {len(shapes)} different shapes, such as "
            f"{some}, but all samples must have one. skastro.CropPadImages cuts and "
            "pads images to one size; skastro.RebinSpectra brings spectra to one grid."
        )
    return np.stack(parts)


def _labels_of(items: Sequence[Any], name: str) -> np.ndarray:
    """Make an array of a list of labels, so that numpy turns none into text."""
    items = [item.item() if hasattr(item, "detach") else item for item in items]
    if any(is_missing(item) for item in items):
        array = np.empty(len(items), object)
        array[:] = items
        return array
    is_text = {isinstance(item, str | bytes) for item in items}
    if len(is_text) > 1:
        raise ValueError(f"{name} mixes text and numbers; give labels of one kind.")
    return array_of_numbers(items, name)


def array_of_numbers(items: Sequence[Any], name: str) -> np.ndarray:
    """Make an array of a list, which rounds no whole numbers."""
    array = np.asarray(items)
    if array.size and array.dtype.kind == "f":
        if all(isinstance(item, Integral) and int(item) >= 0 for item in items):
            return np.array(items, np.uint64)
        for item in items:
            if isinstance(item, Integral) and int(float(item)) != item:
                raise TypeError(
                    f"{name} holds {item} beside other numbers, and would be rounded, "
                    "since no type of whole numbers holds all of them; give text."
                )
    return array


def is_missing(item: Any) -> bool:
    """Return whether an item of a list stands for no value: None, NaN, or masked."""
    if item is None or item is np.ma.masked or type(item).__name__ == "NAType":
        return True
    if hasattr(item, "unmasked"):
        # A value of astropy, which keeps what is behind its mask.
        return item.ndim == 0 and bool(item.mask)
    return isinstance(item, float) and item != item


def _number(item: Any, name: str) -> np.ndarray:
    """Convert a single object, such as a Decimal."""
    refuse_bunch(item, name)
    if isinstance(item, os.PathLike):
        _refuse_dtype(np.asarray(os.fspath(item)), name)
    try:
        return np.asarray(float(item))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold numbers: {error}.") from error


def refuse_bunch(X: Any, name: str) -> None:
    """Refuse all that a reader returns, where one array of it is meant."""
    if isinstance(X, Bunch):
        arrays = [key for key in ("flux", "images", "data") if key in X]
        raise TypeError(
            f"{name} must be an array, but is a Bunch, as readers and simulators "
            f"return. Give one of its arrays: {name}.{arrays[0] if arrays else '...'}."
        )


def _refuse_dtype(X: np.ndarray, name: str) -> None:
    if X.dtype.kind == "V":
        raise TypeError(
            f"{name} must hold numbers, but is a table with the columns "
            f"{X.dtype.names}. Give one of the columns, or several as numbers by "
            "numpy.ma.column_stack."
        )
    what = "dates" if X.dtype.kind in "mM" else "text"
    advice = f"Convert it first, with numpy.asarray({name}, dtype=float) for instance."
    if X.size and re.search(_FILE, str(X.flat[0])):
        advice = (
            "Read the files first: skastro.datasets.read_images reads images, "
            "read_spectra spectra."
        )
    raise TypeError(
        f"{name} must hold numbers, but holds {what} (dtype {X.dtype}). {advice}"
    )


def check_spectra_layout(shape: tuple[int, ...], meant: str) -> None:
    """Refuse samples ``(n_channels, n_pixels)`` that hold no spectra by their shape.

    `meant` is what the user writes if the layout is right.

    >>> check_spectra_layout((3000, 1), "channel_axis=1")
    Traceback (most recent call last):
        ...
    ValueError: X has samples of shape (3000, 1), which would be spectra of 1 pixel in
    3000 channels. Spectra have the shape (n_samples, n_channels, n_pixels): give
    X.transpose(0, 2, 1), or X[:, :, 0] for one channel. If the shape is meant, give
    channel_axis=1.
    """
    if len(shape) != 2:
        return
    n_channels, n_pixels = shape
    is_square = n_channels == n_pixels >= _SMALLEST_SQUARE
    few_pixels = n_pixels <= _FEWEST_PIXELS and n_channels > _MOST_CHANNELS
    if is_square:
        problem = "which look like square images"
        advice = "take an estimator of images, such as GalaxyClassifier"
    elif few_pixels or n_pixels == 1 < n_channels:
        problem = (
            f"which would be spectra of {n_pixels} pixel{'s' * (n_pixels > 1)} in "
            f"{n_channels} channels"
        )
        advice = "give X.transpose(0, 2, 1)" + (
            ", or X[:, :, 0] for one channel" if n_pixels == 1 else ""
        )
    else:
        return
    raise ValueError(
        f"X has samples of shape {shape}, {problem}. Spectra have the shape "
        f"(n_samples, n_channels, n_pixels): {advice}. If the shape is meant, give "
        f"{meant}."
    )


def check_images_layout(shape: tuple[int, ...]) -> None:
    """Refuse samples ``(height, width[, n_channels])`` that hold no images so.

    >>> check_images_layout((3, 64, 64))
    Traceback (most recent call last):
        ...
    ValueError: X has samples of shape (3, 64, 64), which would be images of 3 x 64
    pixels in 64 channels. If the channels stand first, give channel_axis=1; if they
    stand last, channel_axis=-1.
    """
    if len(shape) == 3:
        height, width, n_channels = shape
        channels_first = height <= _FEWEST_PIXELS and height < min(width, n_channels)
        is_square = _SMALLEST_SQUARE <= width == n_channels != height
        if channels_first or is_square or n_channels > _MOST_CHANNELS:
            raise ValueError(
                f"X has samples of shape {shape}, which would be images of {height} x "
                f"{width} pixels in {n_channels} channels. If the channels stand "
                "first, give channel_axis=1; if they stand last, channel_axis=-1."
            )
    elif len(shape) == 2 and min(shape) <= _FEWEST_PIXELS and max(shape) > _LONGEST_ROW:
        raise ValueError(
            f"X has samples of shape {shape}, which are no images of one channel, "
            "unless very narrow ones. Give a single image as X[None], and spectra to "
            "an estimator of spectra. If the shape is meant, give channel_axis=-1."
        )


def check_rows_are_images(n_numbers: int) -> None:
    """Refuse long rows of numbers where images are expected."""
    if n_numbers > _LONGEST_ROW:
        raise ValueError(
            f"X has rows of {n_numbers} numbers, which look like spectra. Give images "
            "as (n_images, height, width) or with channels, or say by image_shape="
            f"(height, width) that rows are images: image_shape=(1, {n_numbers}) for "
            "images of one row. SpectrumClassifier takes spectra."
        )
