# SPDX-License-Identifier: BSD-3-Clause
"""Every public name has a complete numpydoc docstring with an example."""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import skastro

pytestmark = pytest.mark.once

# numpydoc's checks that are left out: the form of lines and sentences, which is the
# linter's task, and sections that not every object needs (ES01 extended summary,
# SA01 See Also).
LEFT_OUT = {"GL01", "GL02", "GL03", "SS05", "SS06", "ES01", "SA01"}
LEFT_OUT |= {"PR08", "PR09", "RT02", "RT04", "RT05"}
# These packages serve the other packages, not users.
INNER_PACKAGES = {"_compat", "base", "training", "utils"}


def public_objects() -> Iterator[tuple[str, object]]:
    """Yield the classes and functions that the packages list, by their public path."""
    packages = {package.name for package in pkgutil.iter_modules(skastro.__path__)}
    packages -= INNER_PACKAGES
    for path in sorted(f"skastro.{package}" for package in packages):
        module = import_module(path)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{path}.{name}", value


def public_methods() -> Iterator[str]:
    """Yield the methods and properties of public classes that skastro defines."""
    for path, value in public_objects():
        for name in dir(value) if inspect.isclass(value) else ():
            member = inspect.getattr_static(value, name)
            member = getattr(member, "fget", None) or getattr(
                member, "__func__", member
            )
            if name.startswith("_") or not inspect.isfunction(member):
                continue
            # Overrides without a docstring show that of the base.
            if member.__module__.startswith("skastro.") and (
                member.__doc__ or not is_override(value, name)
            ):
                yield f"{path}.{name}"


def is_override(cls: type, name: str) -> bool:
    return sum(name in vars(base) for base in cls.__mro__) > 1


def complaints(path: str, left_out: set[str]) -> list[str]:
    """Return what numpydoc finds wrong with the docstring of an object."""
    errors = validate(path)["errors"]
    return [f"{code}: {text}" for code, text in errors if code not in left_out]


@pytest.mark.parametrize("path", [path for path, _ in public_objects()])
def test_class_or_function(path):
    assert complaints(path, LEFT_OUT) == []


@pytest.mark.parametrize("path", list(public_methods()))
def test_method(path):
    assert complaints(path, LEFT_OUT | {"EX01"}) == []


@pytest.mark.parametrize(
    "path", [*(path for path, _ in public_objects()), *public_methods()]
)
def test_listed_references_are_cited(path):
    doc = inspect.getdoc(attrgetter(path.removeprefix("skastro."))(skastro)) or ""
    text, _, references = doc.partition("\nReferences\n---")
    listed = re.findall(r"^\.\. \[(\w+)\]", references, flags=re.MULTILINE)
    cited = set(re.findall(r"\[(\w+)\]_", text))
    assert cited == set(listed)


def test_every_public_name_is_in_the_reference():
    page = Path(__file__).parents[1] / "docs" / "api.rst"
    package, documented = "skastro", set()
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"\.\. (current)?module:: ", line):
            package = line.split(":: ")[1]
        elif re.fullmatch(r"   [\w.]+", line):
            name = line.strip()
            prefix = "" if name.startswith("skastro.") else f"{package}."
            documented.add(prefix + name)
    # Names of the estimators' packages are documented where users import them from.
    at_top = {f"skastro.{name}" for name in skastro.__all__ if name[0] != "_"}
    public = at_top | {
        path
        for path, value in public_objects()
        if getattr(skastro, path.rpartition(".")[2], None) is not value
    }
    # The page of a package lists all that the package names, by its template.
    whole = {
        path for path, _ in public_objects() if path.rpartition(".")[0] in documented
    }
    assert sorted(public - documented - whole) == []
    assert all(
        attrgetter(path.removeprefix("skastro."))(skastro) for path in documented
    )


def entries(path: str, section: str) -> dict[str, tuple[str, list[str]]]:
    """Return type, without the default, and text of all that a docstring lists."""
    parsed = get_doc_object(attrgetter(path)(skastro))
    return {
        entry.name: (re.sub(r",? *default=\S+$", "", entry.type), entry.desc)
        for entry in parsed[section]
    }


# Public objects of which equal names of parameters mean the same, and the parameters
# whose text differs for a reason.
NETS = ["SpectrumClassifier", "GalaxyClassifier", "GalaxyRegressor", "SEVIRegressor"]
NETS += ["RedshiftRegressor"]
ALIKE = [
    (
        ["SpectrumClassifier", "GalaxyClassifier"],
        {"module", "augment", "normalization", "backbone"},
    ),
    (
        ["GalaxyClassifier", "GalaxyRegressor"],
        {"module"} | {"criterion", "restore_best_weights", "calibrate"},
    ),
    (
        [*NETS, "VAETransformer"],
        {"module", "criterion", "restore_best_weights", "augment", "history"}
        | {"image_shape", "normalization", "stretch", "backbone", "scale_target"}
        | {"refine", "channel_sky_, channel_softening_", "wavelength", "calibrate"},
    ),
    (["EnsembleClassifier", "EnsembleRegressor"], {"estimator"}),
    (
        ["EnsembleClassifier", "RejectingClassifier"],
        {"estimator", "n_jobs", "classes_"},
    ),
    (["MinMaxSpectra", "StandardizeSpectra", "RebinSpectra"], {"clip", "fill_value"}),
    (
        ["RebinSpectra", "CropPadImages"],
        {"fill_value", "channel_axis", "sample_shape_", "n_features_in_"},
    ),
    (["NoiseAugmenter", "NoiseResampler"], set()),
    (["Pipeline", "make_pipeline"], {"steps"}),
]


@pytest.mark.parametrize(
    ("paths", "different"), ALIKE, ids=["-".join(paths) for paths, _ in ALIKE]
)
@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_shared_parameters_have_one_text(paths, different, section):
    texts = {}
    for path in paths:
        for name, entry in entries(path, section).items():
            texts.setdefault(name, {})[path] = entry
    for name in texts.keys() - different:
        first, *others = texts[name].values()
        assert all(other == first for other in others), (name, texts[name])
