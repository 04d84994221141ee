# SPDX-License-Identifier: BSD-3-Clause
"""Every public callable takes numbers of every container, or says what to do.

The callables are found by their public names, and the methods on tiny estimators that
are fitted. Each gets its arrays in all the forms of a zoo: the result is the same as
that of the plain array, or a TypeError or ValueError tells what is wrong. A callable
that is new must be described here, or the first test fails.
"""

import importlib
import inspect
import pkgutil
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from functools import cache, partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from astropy import units
from astropy.nddata import CCDData
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked
from PIL import Image
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from skorch.dataset import ValidSplit
from tiny_estimators import make_tiny

import skastro
from skastro.utils import LazyArray, is_lazy

# Networks that are trained for a moment.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
HIDDEN = 97.0
rng = np.random.default_rng(0)
# Whole numbers up to 96, which bytes and half precision hold too.
SPECTRA = rng.integers(0, 97, size=(12, 10)).astype(np.float64)
IMAGES = rng.integers(0, 97, size=(12, 7, 6)).astype(np.float64)
COUNTS = rng.integers(1, 97, size=(4, 8, 8)).astype(np.float64)
LABELS = np.array(["GALAXY", "STAR"] * 6)
NUMBERS = np.arange(12.0)
GRID = np.arange(4000.0, 4010.0)


# The zoo ------------------------------------------------------------------------------


FILES = count()


def in_hdf5(array: np.ndarray) -> h5py.Dataset:
    """Put an array into a file in memory."""
    name = f"zoo {next(FILES)}"
    file = h5py.File(name, "w", driver="core", backing_store=False)
    return file.create_dataset("data", data=array)


def containers(X: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
    """Put the same numbers into all kinds of containers."""
    yield "big-endian", X.astype(">f8")
    yield "float32", X.astype(np.float32)
    yield "Fortran", np.asfortranarray(X)
    yield "negative strides", X[::-1].copy()[::-1]
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    memory_map = np.memmap(folder / "X.bin", np.float64, "w+", shape=X.shape)
    memory_map[...] = X
    yield "memmap", memory_map
    yield "masked, without masks", np.ma.array(X)
    yield "column", Column(X)
    yield "dimensionless", units.Quantity(X)
    yield "percent", units.Quantity(100 * X, "percent")
    yield "list", X.tolist()
    yield "list of arrays", list(X)
    yield "list of tensors", [torch.tensor(row) for row in X]
    yield "tuple", tuple(X.tolist())
    yield "object", X.astype(object)
    rows = np.empty(len(X), object)
    rows[:] = list(X)
    yield "object array of rows", rows
    yield "series of rows", pd.Series(list(X))
    if X.ndim == 1:
        yield "series", pd.Series(X)
        yield "nullable series", pd.Series(X).astype("Float64")
        yield "decimals", [Decimal(str(value)) for value in X]
    if X.ndim == 2:
        yield "frame", pd.DataFrame(X)
        yield "nullable frame", pd.DataFrame(X).astype("Float64")
    if X.ndim == 3 and (X == X.astype(np.uint8)).all():
        images = [Image.fromarray(image.astype(np.uint8)) for image in X]
        yield "images of Pillow", images
    yield "tensor", torch.tensor(X)
    yield "tensor with gradient", torch.tensor(X, dtype=float, requires_grad=True)
    if (X == torch.tensor(X).bfloat16().double().numpy()).all():
        yield "bfloat16", torch.tensor(X).bfloat16()
    yield "hdf5", in_hdf5(X)
    yield "lazy", LazyArray(X)
    for dtype in ("uint8", "uint16", "int64", "float16", "longdouble"):
        with np.errstate(all="ignore"):
            short = X.astype(dtype)
        if (short == X).all():
            yield dtype, short
    try:
        import zarr

        yield "zarr", zarr.array(X)
    except ImportError:
        pass
    try:
        import dask.array

        yield "dask", dask.array.from_array(X)
    except ImportError:
        pass


def masked(X: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Hide the first number behind masks of all kinds."""
    X = X.copy()
    X.flat[0] = HIDDEN
    mask = np.zeros(X.shape, bool)
    mask.flat[0] = True
    array = np.ma.array(X, mask=mask)
    yield "numpy", array
    if (X == X.astype(int)).all():
        yield "numpy, integers", np.ma.array(X.astype(int), mask=mask)
    yield "numpy, big-endian", np.ma.array(X.astype(">f4"), mask=mask)
    yield "astropy", Masked(X, mask=mask)
    yield "astropy quantity", Masked(units.Quantity(X), mask=mask)
    yield "column", MaskedColumn(array)
    yield "list of numpy's", list(array) if X.ndim > 1 else [*array]
    yield "list of astropy's", list(Masked(X, mask=mask))
    if X.ndim <= 2:
        yield "image of astropy", CCDData(X, unit="", mask=mask)
    missing = X.astype(object)
    for value in (None, pd.NA):
        missing.flat[0] = value
        yield f"object with {value}", missing.copy()
        yield f"list with {value}", missing.tolist()
    if X.ndim == 2:
        yield "frame", pd.DataFrame(X).astype("Float64").where(~mask, pd.NA)
    if X.ndim == 1:
        yield "series", pd.Series(X).astype("Float64").where(~mask, pd.NA)


def refused(X: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Give what holds no plain numbers."""
    yield "text", X.astype(str)
    yield "bytes", X.astype("S8")
    yield "list of text", X.astype(str).tolist()
    yield "object array of text", X.astype(str).astype(object)
    yield "dates", X.astype("datetime64[D]")
    yield "complex", X + 1j
    yield "table", np.zeros(X.shape, [("flux", float)])


def strange(X: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Give what may be refused, or has a result, but no other error."""
    for value in (np.nan, np.inf, -np.inf, 1e-40, 1e38, 3e38, 1e300):
        some = X.copy()
        some.flat[0] = value
        yield f"with {value}", some
        yield f"all {value}", np.full_like(X, value)
        if np.isfinite(value) and value < 1e39:
            yield f"all {value}, float32", np.full(X.shape, value, np.float32)
    yield "empty", X[:0]
    yield "empty list", []
    yield "one row", X[:1]
    yield "None", None
    yield "number", 3.0
    yield "sparse", csr_array(X.reshape(len(X), -1))
    yield "generator", (row for row in X)


# What a callable makes of it ----------------------------------------------------------


def values_of(result: Any) -> Any:
    """Reduce a result to numbers and text that can be compared."""
    if isinstance(result, Mapping):
        return {str(key): values_of(value) for key, value in result.items()}
    if isinstance(result, torch.nn.Module):
        return values_of(result.state_dict())
    if isinstance(result, Path):
        with h5py.File(result) as file:
            return {name: values_of(file[name][()]) for name in file}
    if isinstance(result, torch.Tensor):
        return result.detach().numpy()
    if isinstance(result, np.ndarray) and result.dtype.names:
        return {name: result[name] for name in result.dtype.names}
    if isinstance(result, LazyArray | h5py.Dataset | pd.DataFrame | pd.Series):
        return np.asarray(result)
    if isinstance(result, np.ndarray | float | int | str | np.generic):
        return np.asarray(result)
    if hasattr(result, "tocsr"):
        return result.toarray()
    if isinstance(result, list | tuple) or inspect.isgenerator(result):
        return [values_of(part) for part in result]
    if isinstance(result, BaseEstimator):
        learned = {
            name: value
            for name, value in vars(result).items()
            if name.endswith("_") and name[0] != "_"
            if name not in ("callbacks_", "history_", "optimizer_", "criterion_")
            # Frames have names; dtypes of targets follow those of y.
            if name not in ("feature_names_in_", "target_dtype_", "virtual_params_")
        }
        return values_of(learned)
    if type(result).__name__.endswith("Display"):
        drawn = vars(result).items()
        frames = np.ndarray | pd.DataFrame
        is_array = {k: isinstance(v, frames) or is_lazy(v) for k, v in drawn}
        return values_of({k: v for k, v in drawn if is_array[k]})
    return np.asarray(repr(type(result)))


def outcome(call: Callable, *args: Any) -> Any:
    """Return the values of a result, or the error that a user may get."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*feature names")
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        warnings.filterwarnings("ignore", ".*not writable")
        try:
            return values_of(call(*args))
        except (TypeError, ValueError) as error:
            return error


def assert_same(value: Any, expected: Any, form: str) -> None:
    """Compare reduced results."""
    if isinstance(expected, dict):
        assert value.keys() == expected.keys(), form
        for key, item in expected.items():
            assert_same(value[key], item, f"{form}: {key}")
    elif isinstance(expected, list):
        assert len(value) == len(expected), form
        for item, other in zip(value, expected, strict=True):
            assert_same(item, other, form)
    elif expected.dtype.kind in "fc":
        np.testing.assert_allclose(
            np.asarray(value, float), expected, 1e-4, 1e-5, err_msg=form
        )
    else:
        np.testing.assert_array_equal(value, expected, err_msg=form)


def feed(
    call: Callable,
    plain: np.ndarray,
    folder: Path,
    skip: Collection[str] = (),
    step: int = 1,
    start: int = 0,
) -> None:
    """Hold the outcomes of all forms, or one in `step`, against the plain array's."""
    some = slice(start % step, None, step)
    expected = outcome(call, plain)
    assert not isinstance(expected, Exception), expected
    for form, value in [*containers(plain, folder)][some]:
        result = outcome(call, value)
        if not isinstance(result, Exception) and form not in skip:
            assert_same(result, expected, form)
        elif isinstance(result, Exception) and form in MUST_WORK:
            raise AssertionError(f"{form} is refused: {result}") from result
    hidden = plain.copy()
    hidden.flat[0] = np.nan
    expected = outcome(call, hidden)
    for form, value in [*masked(plain)][some]:
        result = outcome(call, value)
        if isinstance(expected, Exception):
            assert isinstance(result, Exception), f"masked {form} is taken"
        elif not isinstance(result, Exception) and f"masked {form}" not in skip:
            assert_same(result, expected, f"masked {form}")
    for form, value in refused(plain):
        assert isinstance(outcome(call, value), Exception), f"{form} is taken"
    for _, value in [*strange(plain)][some]:
        outcome(call, value)
    # A unit must not be lost, unless it does not matter: then no unit gives the same.
    results = [outcome(call, plain * unit) for unit in (units.Jy, units.mJy, units.m)]
    taken = [result for result in results if not isinstance(result, Exception)]
    for result in taken[1:]:
        assert_same(result, taken[0], "unit")


# Random numbers in another precision are others.
OTHER_DRAWS = {
    "float32",
    "float16",
    "bfloat16",
    "longdouble",
    "masked numpy, big-endian",
}
MUST_WORK = {
    "big-endian",
    "float32",
    "Fortran",
    "negative strides",
    "read-only",
    "memmap",
    "masked, without masks",
}


# All public callables -----------------------------------------------------------------


@cache
def public_callables() -> dict[str, Any]:
    """Find the functions and classes in ``__all__`` of all packages."""
    found: dict[int, tuple[str, Any]] = {}
    names = ["skastro"] + [
        f"skastro.{module.name}"
        for module in pkgutil.iter_modules(skastro.__path__)
        # Commands take texts; click checks them.
        if not module.name.startswith("_") and module.name != "cli"
    ]
    for name in names:
        package = importlib.import_module(name)
        public = getattr(package, "__all__", None) or [
            key
            for key, value in vars(package).items()
            if not key.startswith("_") and getattr(value, "__module__", "") == name
        ]
        for key in public:
            value = getattr(package, key)
            # Progress bars are tqdm's.
            if callable(value) and not isinstance(value, partial):
                found.setdefault(id(value), (name, value))
    return {
        f"{package}.{value.__name__}".removeprefix("skastro."): value
        for package, value in found.values()
    }


@cache
def public_methods(cls: type) -> dict[str, Callable]:
    """Find the methods that skastro defines, or documents as scikit-learn's."""
    found = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__call__":
            continue
        static = inspect.getattr_static(cls, name)
        function = inspect.unwrap(getattr(static, "__func__", static))
        if callable(function) and not inspect.isclass(function):
            own = getattr(function, "__module__", "").startswith("skastro")
            if own or name in ("fit_transform", "score", "fit_predict"):
                found[name] = function
    return found


# Methods of estimators ----------------------------------------------------------------

# Arrays on disk are shuffled otherwise.
NET = {
    "max_epochs": 1,
    "callbacks": "disable",
    "batch_size": 8,
    "train_split": None,
    "iterator_train__shuffle": False,
}
# What an estimator is made of, where the tiny one does not do, its X and its y.
SETTINGS: dict[str, dict[str, Any]] = {
    "GalaxyClassifier": {"module": "mlp", "augment": None},
    "GalaxyRegressor": {"module": "mlp", "augment": None},
    "VAETransformer": {"module__widths": (4,), "latent_dim": 2, "noise_scale": 1.0},
    "MinMaxSpectra": {"nan_policy": "interpolate"},
    "StandardizeSpectra": {"nan_policy": "interpolate"},
    "RebinSpectra": {"n_bins": 4, "nan_policy": "interpolate"},
    "CropPadImages": {"size": 4},
    "SEVIRegressor": {
        "module__widths": (4,),
        "module__hidden": 4,
        "n_betas": 1,
        "refine": False,
    },
    "BaseClassifier": {"module": "mlp"},
    "BaseRegressor": {"module": "mlp"},
}
DATA = {
    "GalaxyClassifier": (IMAGES, LABELS),
    "GalaxyRegressor": (IMAGES, NUMBERS),
    "SEVIRegressor": (COUNTS, np.array([0.0, 1.0, 0.0, 1.0])),
    "BaseRegressor": (SPECTRA, NUMBERS),
    "RedshiftRegressor": (SPECTRA, NUMBERS),
    "SpectrumRegressor": (SPECTRA, NUMBERS),
    "EnsembleRegressor": (SPECTRA, NUMBERS),
    "CropPadImages": (IMAGES, LABELS),
}
# Bytes are numbers from 0 to 1 to networks of images.
BYTES_DIFFER = {"GalaxyClassifier", "GalaxyRegressor", "VAETransformer"}
# Methods that skorch calls with what ``fit`` and ``predict`` have checked.
CALLED_BY_SKORCH = {
    "check_data",
    "evaluation_step",
    "fit_loop",
    "get_iterator",
    "get_loss",
    "get_params_for_optimizer",
    "get_split_datasets",
    "infer",
    "notify",
    "on_epoch_begin",
    "run_single_epoch",
    "torch_compile",
    "train_step",
    "train_step_single",
    "validation_step",
}
METHODS_WITHOUT_ARRAYS = {
    "fit_simulator": "takes a simulator",
    "forward_iter": "skorch's, to which a list is several inputs",
    "from_pretrained": "takes a name or a file",
    "from_recipe": "takes a name",
    "get_all_learnable_params": "takes nothing",
    "get_metadata_routing": "takes nothing",
    "get_params": "takes no data",
    "get_params_for": "takes no data",
    "initialize": "takes nothing",
    "initialize_callbacks": "takes nothing",
    "initialize_criterion": "takes nothing",
    "initialize_module": "takes nothing",
    "initialize_optimizer": "takes nothing",
    "load_backbone": "takes a file",
    "load_params": "takes files",
    "predict_flux": "needs templates, after the checks of predict_solutions",
    "predict_shells": "fits as fit_shells does, after the checks of predict",
    "sample": "takes a number",
    "save_params": "takes files",
    "set_params": "takes no data",
}
ABSTRACT = {"BaseNet", "BaseTransformer"}


def estimator_classes() -> list[type[BaseEstimator]]:
    return [
        value
        for value in public_callables().values()
        if inspect.isclass(value) and issubclass(value, BaseEstimator)
        if value.__name__ not in ABSTRACT
    ]


def methods_with_samples() -> list[Any]:
    return [
        pytest.param(cls, name, id=f"{cls.__name__}.{name}")
        for cls in estimator_classes()
        for name, function in public_methods(cls).items()
        if name not in CALLED_BY_SKORCH and name not in METHODS_WITHOUT_ARRAYS
        # That is fed as a function.
        if function is not skastro.streaming.predict_stream
        if {"X", "Z"} & set(inspect.signature(function).parameters)
    ]


def case_of(cls: type[BaseEstimator]) -> tuple[BaseEstimator, np.ndarray, np.ndarray]:
    """Make a small estimator that is not fitted, its samples and its targets."""
    name = cls.__name__
    settings = dict(SETTINGS.get(name, {}))
    if "max_epochs" in inspect.signature(cls).parameters:
        settings |= NET
        if "augment" in inspect.signature(cls).parameters:
            settings["augment"] = None
    if name == "Pipeline":
        steps = [skastro.MinMaxSpectra(), LogisticRegression()]
        return cls(steps), SPECTRA, LABELS
    if "estimator" in inspect.signature(cls).parameters:
        kind = "Regressor" if "Regressor" in cls.__name__ else "Classifier"
        settings["estimator"] = case_of(getattr(skastro, f"Spectrum{kind}"))[0]
    return make_tiny(cls, **settings), *DATA.get(name, (SPECTRA, LABELS))


# A callable gets every second form by default, or every sixth where it trains, each
# callable other ones; the tests marked slow give all forms to all.
all_forms = pytest.mark.parametrize(
    "all_forms", [False, pytest.param(True, marks=pytest.mark.slow)]
)


def step_of(all_forms: bool, method: str = "", least: int = 1) -> int:
    is_training = method in ("fit", "partial_fit", "fit_transform")
    return max(least, 1 if all_forms else 6 if is_training else 2)


def start_of(name: str) -> int:
    return zlib.crc32(name.encode())


FITTED: dict[type, BaseEstimator] = {}


def fitted(cls: type[BaseEstimator]) -> BaseEstimator:
    """Fit an estimator once for all tests."""
    if cls not in FITTED:
        estimator, X, y = case_of(cls)
        FITTED[cls] = estimator.fit(X, y)
    return FITTED[cls]


def call_of(
    cls: type[BaseEstimator], method: str, folder: Path, **params: Any
) -> Callable:
    """Return a function of X, and of y and others by name, that calls a method.

    Estimators that are fitted anew get the further parameters.
    """
    y = case_of(cls)[2]
    parameters = inspect.signature(public_methods(cls)[method]).parameters
    takes_y = parameters.get("y") is not None

    def call(X: Any, **others: Any) -> Any:
        anew = method in ("fit", "partial_fit", "fit_resample", "fit_transform")
        made = clone(case_of(cls)[0]).set_params(**params) if anew else None
        estimator = fitted(cls) if made is None else made
        if takes_y:
            others = {"y": y} | others
        if method == "predict_stream":
            others |= {"out": folder / "out.h5", "resume": False, "verbose": 0}
        return getattr(estimator, method)(X, **others)

    return call


@all_forms
@pytest.mark.parametrize(("cls", "method"), methods_with_samples())
def test_samples(
    cls: type[BaseEstimator], method: str, all_forms: bool, tmp_path: Path
) -> None:
    plain = case_of(cls)[1]
    if method == "inverse_transform":
        plain = rng.integers(0, 5, size=(12, 2)).astype(np.float64)
    skip: Collection[str] = ()
    if not hasattr(fitted(cls), method):
        pytest.skip("not a method of this pipeline")
    if cls.__name__ in BYTES_DIFFER:
        skip = ("uint8", "images of Pillow")
    elif hasattr(cls, "fit_resample"):
        skip = OTHER_DRAWS
    # What takes long gets some of the forms; the same code converts them all.
    takes_estimator = "estimator" in getattr(cls, "_parameter_constraints", ())
    is_slow = takes_estimator or method == "partial_fit"
    least = 12 if cls is skastro.SEVIRegressor else 4 if is_slow else 1
    step, start = step_of(all_forms, method, least), start_of(cls.__name__ + method)
    feed(call_of(cls, method, tmp_path), plain, tmp_path, skip, step, start)


def labels(y: np.ndarray = LABELS) -> Iterator[tuple[str, Any]]:
    """Put the labels into all kinds of containers."""
    yield "list", y.tolist()
    yield "object", y.astype(object)
    yield "bytes", y.astype("S")
    yield "padded bytes", np.char.ljust(y.astype("S"), 9)
    yield "list of bytes", y.astype("S").tolist()
    yield "object array of bytes", y.astype("S").astype(object)
    yield "column", Column(y)
    yield "column of bytes", Column(y.astype("S"))
    yield "masked, without masks", MaskedColumn(y)
    yield "series", pd.Series(y)
    yield "nullable series", pd.Series(y, dtype="string")
    yield "categories", pd.Series(y, dtype="category")
    yield "tuple", tuple(y.tolist())
    yield "hdf5", in_hdf5(y.astype("S"))


def missing_labels(y: np.ndarray = LABELS) -> Iterator[tuple[str, Any]]:
    """Hide the label in row 3 in all kinds of containers."""
    mask = np.arange(len(y)) == 3
    yield "numpy", np.ma.array(y, mask=mask)
    yield "column", MaskedColumn(y, mask=mask)
    yield "column of bytes", MaskedColumn(y.astype("S"), mask=mask)
    codes = np.arange(len(y)) % 2
    yield "codes", np.ma.array(codes, mask=mask)
    yield "codes of astropy", Masked(codes, mask=mask)
    yield "list of codes of astropy", list(Masked(codes, mask=mask))
    yield "codes of pandas", pd.Series(codes, dtype="Int64").where(~mask, pd.NA)
    yield "codes with NaN", np.where(mask, np.nan, codes)
    for value in (None, pd.NA, np.nan):
        some = y.astype(object)
        some[3] = value
        yield f"object with {value}", some
        yield f"list with {value}", some.tolist()
        yield f"series with {value}", pd.Series(some)
    some = pd.Series(y).where(~mask, None).astype("category")
    yield "categories", some


def methods_with(parameter: str, *, classifier: bool | None = None) -> list[Any]:
    found = []
    for cls in estimator_classes():
        is_regressor = "Regressor" in cls.__name__
        is_labeled = hasattr(cls, "classes_") or hasattr(cls, "fit_resample")
        if classifier is not None and (is_regressor if classifier else is_labeled):
            continue
        if classifier and not is_labeled:
            continue
        for name, function in public_methods(cls).items():
            taken = {*inspect.signature(function).parameters}
            if name in ("fit", "partial_fit") and "fit_params" in taken:
                taken |= {"sample_weight", "groups"}
            if name in CALLED_BY_SKORCH or parameter not in taken:
                continue
            found.append(pytest.param(cls, name, id=f"{cls.__name__}.{name}"))
    return found


@all_forms
@pytest.mark.parametrize(("cls", "method"), methods_with("y", classifier=True))
def test_labels(
    cls: type[BaseEstimator], method: str, all_forms: bool, tmp_path: Path
) -> None:
    if cls is skastro.Pipeline:
        pytest.skip("scikit-learn's own step judges the labels")
    call, X = call_of(cls, method, tmp_path), case_of(cls)[1]

    def with_labels(y: Any) -> Any:
        return call(X, y=y)

    step, start = step_of(all_forms, method), start_of(cls.__name__ + method)
    some = slice(start % step, None, step)
    expected = outcome(with_labels, LABELS)
    for form, y in [*labels()][some]:
        result = outcome(with_labels, y)
        assert not isinstance(result, Exception), (form, result)
        assert_same(result, expected, form)
    for form, y in [*missing_labels()][some]:
        result = outcome(with_labels, y)
        message = "y has missing labels in rows 3"
        assert isinstance(result, ValueError), form
        assert message in str(result), (form, result)


REGRESSORS = [
    case
    for case in methods_with("y", classifier=False)
    if "Regressor" in case.values[0].__name__
]


@pytest.mark.parametrize(("cls", "method"), REGRESSORS)
def test_targets(cls: type[BaseEstimator], method: str, tmp_path: Path) -> None:
    call, (_, X, y) = call_of(cls, method, tmp_path), case_of(cls)
    feed(lambda y: call(X, y=y), y, tmp_path, step=12 if len(y) < 12 else 4)


@all_forms
@pytest.mark.parametrize(("cls", "method"), methods_with("sample_weight"))
def test_weights(
    cls: type[BaseEstimator], method: str, all_forms: bool, tmp_path: Path
) -> None:
    if cls is skastro.Pipeline:
        pytest.skip("weights are those of scikit-learn's own step")
    call, X = call_of(cls, method, tmp_path), case_of(cls)[1]

    def with_weights(weight: Any) -> Any:
        return call(X, sample_weight=weight)

    step = step_of(all_forms, method, 4 if len(X) == 12 else 12)
    start = start_of(cls.__name__ + method)
    weights = np.tile([1.0, 3.0, 2.0], 4)[: len(X)]
    feed(with_weights, weights, tmp_path, step=step, start=start)
    for form, weight in [*masked(np.ones(len(X)))][start % step :: step]:
        assert isinstance(outcome(with_weights, weight), Exception), form


@all_forms
@pytest.mark.parametrize(("cls", "method"), methods_with("groups"))
def test_groups(
    cls: type[BaseEstimator], method: str, all_forms: bool, tmp_path: Path
) -> None:
    # What is learned depends on which groups are set aside.
    split = {"train_split": ValidSplit(GroupKFold(2))}
    call, X = call_of(cls, method, tmp_path, **split), case_of(cls)[1]

    def with_groups(groups: Any) -> Any:
        return call(X, groups=groups)

    codes = np.tile([3.0, 1.0, 2.0, 7.0], 3)[: len(X)]
    names = np.char.add("SN ", codes.astype(int).astype(str))
    step, start = step_of(all_forms, method), start_of(cls.__name__ + method)
    some = slice(start % step, None, step)
    expected = outcome(with_groups, names)
    with pytest.raises(AssertionError):
        assert_same(outcome(with_groups, np.roll(names, 1)), expected, "others")
    for form, groups in [*labels(names), *containers(codes, tmp_path)][some]:
        result = outcome(with_groups, groups)
        assert not isinstance(result, Exception), (form, result)
        assert_same(result, expected, form)
    for form, groups in [*missing_labels(names), *masked(codes)][some]:
        result = outcome(with_groups, groups)
        assert isinstance(result, ValueError), form
        assert "groups has missing values in rows" in str(result), (form, result)
    empty = np.where(np.arange(len(X)) == 2, "", names)
    for groups, message in (
        (empty, "groups is empty in rows 2. Give"),
        (empty.astype("S"), "groups is empty in rows 2. Give"),
        (names[1:], "inconsistent numbers of samples"),
        (np.stack([names, names]).T, rf"array of shape ({len(X)}, 2)"),
        ("SN 1", "groups"),
        (3, "groups"),
        (csr_array(codes[None]), "groups"),
    ):
        result = outcome(with_groups, groups)
        assert isinstance(result, TypeError | ValueError), message
        assert message in str(result), result


def test_names_of_rows(tmp_path: Path) -> None:
    call = call_of(skastro.Pipeline, "predict_stream", tmp_path)

    def with_ids(ids: Any) -> Any:
        return call(SPECTRA, ids=ids)

    expected = outcome(with_ids, LABELS)
    for form, ids in labels():
        assert_same(outcome(with_ids, ids), expected, form)
    for form, ids in missing_labels():
        result = outcome(with_ids, ids)
        assert isinstance(result, ValueError), form
        assert "ids has missing values in rows 3" in str(result), form


# Functions and other classes ----------------------------------------------------------

PROBABILITY = np.tile([[0.25, 0.75], [1.0, 0.0]], (6, 1))


def spectra_net() -> Any:
    return fitted(skastro.SpectrumClassifier)


def _small_resnet() -> Any:
    """Fit a network that has maps."""
    if skastro not in FITTED:
        net = make_tiny(
            skastro.SpectrumClassifier,
            "resnet10",
            **NET,
            module__width=4,
            module__n_blocks=(1,),
            augment=None,
        )
        FITTED[skastro] = net.fit(SPECTRA, LABELS)
    return FITTED[skastro]


def _autoencoder() -> Any:
    return make_plain_pipeline(PCA(2, random_state=0)).fit(SPECTRA)


def _ridge() -> Any:
    return make_plain_pipeline(PCA(2, random_state=0), BayesianRidge()).fit(
        SPECTRA, NUMBERS
    )


def _clusters() -> Any:
    return make_plain_pipeline(
        PCA(2, random_state=0), KMeans(2, n_init=1, random_state=0)
    ).fit(SPECTRA)


def _check_X_y(X: Any, y: Any) -> Any:
    from skastro.base import check_X_y

    return check_X_y(clone(case_of(skastro.SpectrumClassifier)[0]), X, y, reset=True)


def _predict_survey(X: Any, folder: Path) -> Path:
    from distributed import Client

    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as client:
        return skastro.distributed.predict(
            spectra_net(),
            X,
            out=folder / "out.h5",
            client=client,
            resume=False,
            verbose=0,
        )


def _fit_shells(images: Any) -> Any:
    """Give the images that would be fitted, since the fit takes long."""
    shells = SimpleNamespace(to_bunch=lambda *_: shells.images)

    def fit(images: np.ndarray, *_: Any, **__: Any) -> Any:
        shells.images = images
        return shells

    with mock.patch("skastro.sevi._shell_fit.fit_posterior", fit):
        return skastro.sevi.fit_shells(images)


# Arrays of a callable, each of which is varied in turn; all else stays as it is. What
# is called is the first entry where it is not the callable itself.
FUNCTIONS: dict[str, dict[str, Any]] = {
    "augmentation.augment_array": {
        "operation": lambda batch: batch.clone(),
        "array": SPECTRA,
    },
    "base.check_X_y": {"call": _check_X_y, "X": SPECTRA, "y": LABELS},
    "base.fit_temperature": {
        "logits": np.tile([[0.0, 2.0], [3.0, 1.0]], (6, 1)),
        "codes": (np.arange(12) % 2).tolist(),
    },
    "datasets.LazyArray": {"source": SPECTRA},
    "distributed.predict": {"call": _predict_survey, "X": SPECTRA},
    "inspection.class_activation_map": {
        "estimator": _small_resnet,
        "X": SPECTRA,
        "target": LABELS,
    },
    "inspection.deletion_curve": {
        "estimator": _small_resnet,
        "X": SPECTRA[:4],
        "maps": SPECTRA[4:8],
        "n_random": 1,
        "fractions": [0.2],
        "random_state": 0,
    },
    "inspection.deletion_score": {
        "estimator": _small_resnet,
        "X": SPECTRA[:4],
        "maps": SPECTRA[4:8],
        "n_random": 1,
        "random_state": 0,
    },
    "inspection.expected_calibration_error": {
        "y_true": LABELS,
        "probability": PROBABILITY,
        "labels": LABELS[:2],
    },
    "inspection.risk_coverage_curve": {
        "y_true": LABELS,
        "probability": PROBABILITY,
        "confidence": NUMBERS,
    },
    "inspection.ActivationMapDisplay.from_estimator": {
        "estimator": _small_resnet,
        "X": SPECTRA,
        "target": LABELS,
        "wavelength": GRID,
    },
    "inspection.ClusterMosaicDisplay.from_estimator": {
        "estimator": _clusters,
        "X": SPECTRA,
    },
    "inspection.ClusterMosaicDisplay.from_predictions": {
        "X": SPECTRA,
        "labels": LABELS,
        "latent": SPECTRA[:, :2],
        "random_state": 0,
    },
    "inspection.LatentSpaceDisplay.from_estimator": {
        "estimator": _autoencoder,
        "X": SPECTRA,
        "labels": LABELS,
    },
    "inspection.LatentSpaceDisplay.from_predictions": {
        "latent": SPECTRA,
        "labels": LABELS,
        "images": SPECTRA,
        "random_state": 0,
    },
    "inspection.MeasurementDisplay.from_estimator": {
        "estimator": _ridge,
        "X": SPECTRA,
        "y": NUMBERS,
    },
    "inspection.MeasurementDisplay.from_predictions": {
        "y_true": NUMBERS,
        "y_pred": NUMBERS[::-1].copy(),
        "std": np.abs(NUMBERS),
    },
    "inspection.ReconstructionDisplay.from_estimator": {
        "estimator": _autoencoder,
        "X": SPECTRA,
        "wavelength": GRID,
    },
    "inspection.ReconstructionDisplay.from_predictions": {
        "X": SPECTRA,
        "X_reconstructed": SPECTRA[::-1].copy(),
        "wavelength": GRID,
    },
    "inspection.ReliabilityDisplay.from_estimator": {
        "estimator": spectra_net,
        "X": SPECTRA,
        "y": LABELS,
    },
    "inspection.ReliabilityDisplay.from_predictions": {
        "y_true": LABELS,
        "probability": PROBABILITY,
    },
    "inspection.RiskCoverageDisplay.from_estimator": {
        "estimator": spectra_net,
        "X": SPECTRA,
        "y": LABELS,
    },
    "inspection.RiskCoverageDisplay.from_predictions": {
        "y_true": LABELS,
        "probability": PROBABILITY,
    },
    "inspection.vote_coverage": {
        "counts": SPECTRA,
        "concentration": SPECTRA + 1,
        "questions": (4, 6),
    },
    "sevi.angular_density": {
        "beta": np.array([1.0, 0.0]),
        "cos_theta": np.array([0.0, 1.0, -1.0]),
    },
    "sevi.bin_electrons": {
        "x": np.tile([0.0, 1.0], 3),
        "z": np.tile([0.0, -1.0], 3),
        "size": 4,
        "extent": 2.0,
    },
    "simulation.air_to_vacuum": {"wavelength": GRID},
    "simulation.extinction_curve": {"wavelength": GRID},
    "simulation.planck_flux": {"wavelength": GRID, "temperature": 6000.0},
    "simulation.vacuum_to_air": {"wavelength": GRID},
    "streaming.predict_stream": {"estimator": spectra_net, "X": SPECTRA},
    "streaming.to_catalog": {"estimator": spectra_net, "X": SPECTRA},
    "utils.bin_edges": {"centers": GRID},
    "utils.check_wavelength": {"values": GRID},
    "utils.check_weights": {"sample_weight": NUMBERS},
    "utils.in_unit": {"values": GRID, "unit": "Angstrom", "name": "wavelength"},
    "utils.pixel_matrix": {
        "centers": GRID,
        "new_edges": GRID[::3].copy(),
        "sigma": np.linspace(1.0, 2.0, GRID.size) * np.diff(GRID)[0],
    },
    "utils.plain_array": {"X": SPECTRA},
    "utils.rebin": {
        "flux": SPECTRA,
        "wavelength": GRID,
        "new_wavelength": GRID[1:8:2].copy(),
    },
    "utils.rebin_matrix": {"edges": GRID, "new_edges": GRID[::3].copy()},
}
FUNCTIONS |= {
    "datasets.make_spectra": {
        "n_samples": 3,
        "wavelength": np.arange(4000.0, 6000.0, 200.0),
        "random_state": 0,
        "verbose": 0,
    },
    "sevi.fit_shells": {"call": _fit_shells, "images": COUNTS},
    "sevi.ShellPrior.from_samples": {
        "beta": np.tile([[0.0, 1.0], [1.0, 0.0]], (3, 1)),
        "radius": (0.3, 0.9),
        "radius_width": (0.005, 0.009),
    },
    "simulation.sersic_flux_fraction": {
        "radius": NUMBERS,
        "sersic_index": np.tile([1.0, 4.0], 6),
    },
    "simulation.Instrument.resolving_power": {
        "call": lambda wavelength: (
            importlib.import_module("skastro.simulation")
            .INSTRUMENTS["boss"]
            .resolving_power(wavelength)
        ),
        "wavelength": GRID,
    },
    "utils.apply_rebin_matrix": {
        "call": lambda flux: importlib.import_module(
            "skastro.utils"
        ).apply_rebin_matrix(
            importlib.import_module("skastro.utils").rebin_matrix(
                np.arange(11.0), [0.0, 5.0, 10.0]
            ),
            flux,
        ),
        "flux": SPECTRA,
    },
    "utils.to_unit_of": {"wavelength": None, "new_wavelength": GRID},
}
INSTANCES: dict[str, Callable[[], Any]] = {
    name: lambda name=name, options=options: getattr(skastro.augmentation, name)(
        **options
    )
    for name, options in {
        "BadPixels": {},
        "CCDNoise": {},
        "ColorJitter": {},
        "CosmicRays": {},
        "GaussianNoise": {},
        "PixelNoise": {},
        "RandomAffine": {},
        "RandomDihedral": {},
        "RandomFlip": {},
        "RandomRotation": {},
        "RandomTranslateScale": {},
        "ScaleContinuum": {},
        "ShiftSpectra": {},
        "SpikedNoise": {},
        "Compose": {"operations": []},
    }.items()
}
# Prefixes of names, or names, of callables that take no arrays, and why.
WITHOUT_ARRAYS = {
    "augmentation.BatchAugmentation": "abstract",
    "augmentation.ImageAugmentation": "abstract",
    "augmentation.SpectrumAugmentation": "abstract",
    "augmentation.image_symmetries": "takes tensors that an estimator has made",
    "base.BaseNet": "abstract",
    "base.BaseTransformer": "abstract",
    "export.OnnxModel": "takes plain arrays, where nothing but numpy is installed",
    "export.load_onnx": "takes a file",
    "export.quantize": "takes what its graph takes, for seconds",
    "distributed.fit": "takes what its estimator takes",
    "export.to_onnx": "takes what its estimator takes, for seconds",
    "datasets.ImageFiles": "takes paths",
    "datasets.ParquetColumn": "takes paths",
    "datasets.LazyArray.": "row numbers and sizes",
    "datasets.fetch_galaxy10": "takes names",
    "datasets.group_objects": "takes names, and positions that may be nowhere",
    "datasets.images_to_hdf5": "takes paths; its labels are tested with it",
    "datasets.make_galaxies": "takes numbers and ranges",
    "datasets.read_": "takes files",
    "datasets.register_layout": "takes functions",
    "datasets.select_images": "takes paths",
    "inspection.ActivationMapDisplay.plot": "takes axes",
    "inspection.ClusterMosaicDisplay.plot": "takes axes",
    "inspection.DisplayMixin": "abstract",
    "inspection.HistoryDisplay": "takes a fitted net",
    "inspection.LatentSpaceDisplay.plot": "takes axes",
    "inspection.MeasurementDisplay.plot": "takes axes",
    "inspection.ReconstructionDisplay.plot": "takes axes",
    "inspection.RedshiftDisplay": "draws what an estimator predicts, after its checks",
    "inspection.ReliabilityDisplay.plot": "takes axes",
    "inspection.RiskCoverageDisplay.plot": "takes axes",
    "inspection.report": "draws what an estimator predicts, after its checks",
    "load_model": "takes a file",
    "make_pipeline": "takes estimators",
    "model_card": "takes an estimator or a file",
    "networks.": "modules, which take tensors, and their names",
    "save_model": "takes an estimator and a file",
    "sevi.LegendreLoss": "takes tensors",
    "sevi.SEVIDisplay": "draws what fit_shells or an estimator gives",
    "sevi.SEVIPrior": "takes tensors",
    "sevi.SEVISimulator": "takes numbers of images, and tensors of its own",
    "sevi.ShellBasis": "takes tensors",
    "sevi.ShellPrior.": "takes numbers",
    "sevi.even_legendre": "takes tensors",
    "sevi.line_of_sight_moments": "takes tensors",
    "sevi.make_sevi": "takes numbers and ranges",
    "sevi.read_sevi": "takes files",
    "sevi.throw_electrons": "takes the parameters of one image",
    "simulation.Galaxy": "takes what a population has drawn",
    "simulation.Instrument.with_changes": "takes the parameters of the class",
    "simulation.RealGalaxyPopulation": "takes a catalog",
    "simulation.SpectralLine": "a record",
    "simulation.lines_of": "takes a name",
    "simulation.simulate_": "takes what a population has drawn",
    "simulation.spectra_at_rest": "takes pixels that a caller has made",
    "training.": "parts of skorch's loop, behind the checks",
    "utils.ImageLayout": "takes what was checked",
    "utils.RowwiseSource": "takes arrays on disk",
    "utils.TooLargeError": "takes a message",
    "utils.array_of_numbers": "tested as plain_labels",
    "utils.as_lazy": "tested as LazyArray",
    "utils.atomic_": "takes a path",
    "utils.check_": "numbers, names and shapes, or what was converted before",
    "utils.crop_pad": "takes an image that a reader has made",
    "utils.describe_fits_image": "takes a path",
    "utils.draw_from_seed": "takes a seed",
    "utils.error_text": "takes an error",
    "utils.fetch_file": "takes addresses",
    "utils.find_data_home": "takes a path",
    "utils.fit_into": "takes an image that a reader has made",
    "utils.arm_starts": "takes checked wavelengths",
    "utils.fitting_factor": "takes shapes",
    "utils.gives_errors": "takes an estimator",
    "utils.prediction_steps": "takes an estimator",
    "utils.linear_weights": "takes two numbers",
    "utils.free_memory": "takes nothing",
    "utils.fill_masks": "tested by the pipeline",
    "utils.format_path_list": "takes paths",
    "utils.gzip_limit": "takes a path",
    "utils.holds_fits": "takes a path",
    "utils.inherit_parameters": "takes a class",
    "utils.is_lazy": "looks at the type only",
    "utils.is_missing": "takes an item of a list",
    "utils.knows_samples": "takes an estimator",
    "utils.lend_": "takes functions and objects",
    "utils.load_": "takes a name or a file",
    "utils.name_rows": "takes row numbers",
    "utils.open_": "takes a path",
    "utils.own_generator": "takes a device",
    "utils.plain_labels": "tested by all that take labels",
    "utils.plain_samples": "tested by the estimators around others",
    "utils.plain_values": "tested by the displays",
    "utils.read_": "takes a path",
    "utils.refuse_bunch": "looks at a class",
    "utils.row_batches": "takes a shape",
    "utils.score_plain": "takes what was converted before",
    "utils.shared_range": "takes lengths",
    "utils.suggest_name": "takes names",
    "utils.unit_of": "looks at the unit only",
    "utils.without_unit": "tested by the simulations",
    "utils.write_archive": "takes bytes",
    "utils.zoom": "takes an image that a reader has made",
}


@cache
def other_callables() -> dict[str, Any]:
    """Find functions, and methods of classes that are no estimators."""
    found = {}
    for name, value in public_callables().items():
        if not inspect.isclass(value):
            found[name] = value
        elif not issubclass(value, BaseEstimator):
            found[name] = value
            for method in sorted(set(public_methods(value)) - {"__call__"}):
                static = inspect.getattr_static(value, method)
                if isinstance(static, classmethod | staticmethod):
                    found[f"{name}.{method}"] = getattr(value, method)
                else:
                    found[f"{name}.{method}"] = None
    return found


def reason_of(name: str) -> str | None:
    """Find the longest entry of the list that a name begins with."""
    entries = [key for key in WITHOUT_ARRAYS if name.startswith(key)]
    return max(entries, key=len, default=None)


def is_described(name: str) -> bool:
    last = name.rpartition(".")[2]
    if name in FUNCTIONS or reason_of(name) is not None or last in INSTANCES:
        return True
    # A class whose methods are described needs no entry of its own.
    return any(key.startswith(name + ".") for key in FUNCTIONS)


def test_all_callables_are_in_the_zoo() -> None:
    names = other_callables()
    new = [name for name in names if not is_described(name)]
    assert not new, "describe in FUNCTIONS or WITHOUT_ARRAYS"
    methods = {method for cls in estimator_classes() for method in public_methods(cls)}
    fed = {case.values[1] for case in methods_with_samples()}
    fed.add("predict_stream")
    assert methods - fed - CALLED_BY_SKORCH - set(METHODS_WITHOUT_ARRAYS) == set()
    # Nothing is listed that does not exist.
    stale = set(FUNCTIONS) - set(names)
    stale |= {*CALLED_BY_SKORCH, *METHODS_WITHOUT_ARRAYS} - methods
    known = {*names, *(f"base.{name}" for name in ABSTRACT)}
    stale |= {
        key for key in WITHOUT_ARRAYS if not any(name.startswith(key) for name in known)
    }
    assert not stale


@pytest.fixture
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_drawing(monkeypatch)


def leave_out_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of displays out, which take longer than all else."""
    from skastro import inspection

    for name in inspection.__all__:
        display = getattr(inspection, name)
        if hasattr(display, "plot"):
            monkeypatch.setattr(display, "plot", lambda self, **_: self)


ARRAYS = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, arguments in FUNCTIONS.items()
    for key, value in arguments.items()
    if isinstance(value, np.ndarray)
]


def function_call(name: str, key: str, folder: Path) -> tuple[Callable, np.ndarray]:
    """Return a function of one argument of a callable, and what it is as a rule."""
    arguments = dict(FUNCTIONS[name])
    function = arguments.pop("call", None) or other_callables()[name]
    if callable(arguments.get("estimator")):
        arguments["estimator"] = arguments["estimator"]()
    if name.endswith("predict_stream"):
        arguments |= {"out": folder / "out.h5", "resume": False, "verbose": 0}
    if function is _predict_survey:
        arguments["folder"] = folder
    return lambda value: function(**(arguments | {key: value})), arguments[key]


@all_forms
@pytest.mark.usefixtures("_no_drawing")
@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_functions(name: str, key: str, all_forms: bool, tmp_path: Path) -> None:
    call, plain = function_call(name, key, tmp_path)
    if plain.dtype.kind != "U":
        steps = {"inspection": 4, "streaming": 4, "datasets": 12, "distributed": 12}
        step = steps.get(name.partition(".")[0], 1) * step_of(all_forms)
        feed(call, plain, tmp_path, step=step, start=start_of(name + key))
        return
    expected = outcome(call, plain)
    assert not isinstance(expected, Exception), expected
    for form, value in labels():
        result = outcome(call, value)
        if len(plain) == len(LABELS):
            assert not isinstance(result, Exception), (form, result)
            assert_same(result, expected, form)
    for form, value in missing_labels():
        result = outcome(call, value)
        if "codes" not in form:
            assert isinstance(result, ValueError), (form, result)


@pytest.mark.parametrize("name", sorted(INSTANCES))
def test_augmentations(name: str, tmp_path: Path) -> None:
    operation = INSTANCES[name]()
    is_spectral = isinstance(operation, skastro.augmentation.SpectrumAugmentation)
    batch = SPECTRA if is_spectral or name == "Compose" else IMAGES[:, None]
    feed(lambda batch: operation(batch, generator=0), batch, tmp_path, OTHER_DRAWS)
