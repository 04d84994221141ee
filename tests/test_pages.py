# SPDX-License-Identifier: BSD-3-Clause
"""What the pages of the documentation name exists: paths, links, calls, parameters.

References are checked by Sphinx, which is told to be nitpicky. These tests read what it
does not: names in literals and in code that is not run.
"""

import ast
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import skastro

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("the folder docs is not here", allow_module_level=True)
MADE_BY_SPHINX = {"_build", "auto_examples", "generated"}
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.rst")]
    if not MADE_BY_SPHINX & set(page.relative_to(DOCS.parent).parts)
}
# An estimator and a network that pages write there, and a group of entry points.
NO_PATHS = {
    "skastro.PixelRegressor",
    "skastro.networks.two_scales",
    "skastro.spectrum_layouts",
}
# Keywords that pages write of functions of other projects.
OF_OTHERS = {
    "cpu",
    "delta",
    "fletcher32",
    "fused",
    "label_smoothing",
    "param_groups",
    "resources",
    "scatter",
    "scoring",
    "shuffle",
    "voting",
    "weight_decay",
    "weights_only",
}


def public_objects() -> dict[str, object]:
    """Return what the packages list, by name."""
    packages = sorted(
        f"skastro.{p.name}" for p in pkgutil.iter_modules(skastro.__path__)
    )
    modules = [skastro, *map(import_module, packages)]
    return {
        name: getattr(module, name)
        for module in modules
        for name in getattr(module, "__all__", ())
    }


PUBLIC = public_objects()


def keywords_of(function: object) -> set[str] | None:
    """Return the keywords that a function takes, None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return {p.name for p in parameters}
    if inspect.isclass(function) and hasattr(function, "get_params"):
        return set(function().get_params())
    return None


def methods_of(cls: type) -> Iterator[object]:
    for name in dir(cls):
        if not name.startswith("_") and inspect.isroutine(getattr(cls, name)):
            yield getattr(cls, name)


def all_keywords() -> set[str]:
    """Return the keywords of all public functions, classes and methods."""
    found = set(OF_OTHERS)
    for value in filter(callable, PUBLIC.values()):
        if inspect.isabstract(value) or getattr(value, "__abstractmethods__", None):
            continue
        members = methods_of(value) if inspect.isclass(value) else ()
        for function in (value, *members):
            try:
                found |= keywords_of(function) or set()
            except (TypeError, ValueError):
                # Without a signature, or the constructor needs arguments.
                continue
    return found


def literals(name: str) -> list[str]:
    """Return what a page writes as code within its sentences."""
    if name.endswith(".rst"):
        found = re.findall(r"``([^`]+)``", PAGES[name])
    else:
        found = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", PAGES[name])
    return [" ".join(literal.split()) for literal in found]


def code_of(name: str) -> ast.Module:
    """Return the Python code of a page, without lines of output."""
    if name.endswith(".md"):
        found = re.findall(r"```python\n(.*?)```", PAGES[name], flags=re.DOTALL)
        return ast.parse("\n".join(found))
    block = r"\.\. code-block:: python\n(?: +:.+\n)*\n((?: +.*\n|\n)+)"
    found = [textwrap.dedent(body) for body in re.findall(block, PAGES[name] + "\n")]
    prompt = r"^ *(?:>>>|\.\.\.)(?: |$)"
    inputs = [line for line in PAGES[name].splitlines() if re.match(prompt, line)]
    return ast.parse("\n".join([*found, *(re.sub(prompt, "", x) for x in inputs)]))


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the packages of skastro from which code imports, with each name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("skastro"):
            yield from ((node.module, alias.name) for alias in node.names)


def wrong_keywords(tree: ast.AST) -> Iterator[str]:
    """Yield the keywords of calls of public names that these do not take."""
    # A page may write the network whose parameters it gives.
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        function = PUBLIC.get(node.func.id)
        known = keywords_of(function) if callable(function) else None
        for keyword in node.keywords:
            if keyword.arg and known is not None and keyword.arg not in known:
                # Parameters of parts are those of a class that the call may choose.
                prefix, *_, last = keyword.arg.split("__")
                if last != prefix and last in KEYWORDS | own:
                    continue
                yield f"{node.func.id}({keyword.arg}=)"


KEYWORDS = all_keywords()


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name):
    paths = set(re.findall(r"\bskastro(?:\.[A-Za-z_]\w*)+", PAGES[name]))
    for path in paths - NO_PATHS:
        # Names of files are no paths of Python.
        if path.rsplit(".", 1)[1] not in {"h5", "org", "pyi", "skastro", "yml"}:
            pkgutil.resolve_name(path)


@pytest.mark.parametrize("name", PAGES)
def test_code_names_what_exists(name):
    tree = code_of(name)
    assert list(wrong_keywords(tree)) == []
    for package, imported in imports_of(tree):
        if f"{package}.{imported}" not in NO_PATHS:
            pkgutil.resolve_name(f"{package}:{imported}")


@pytest.mark.parametrize("name", PAGES)
def test_literals_name_what_exists(name):
    for literal in literals(name):
        keyword = re.match(r"([a-z]\w*)=", literal)
        if keyword and not keyword[1].startswith("callbacks__"):
            assert keyword[1].split("__")[-1] in KEYWORDS, literal
        elif re.match(r"[A-Za-z]\w*\(.*\)$", literal):
            # Dots at the end of a call stand for whatever else it needs.
            call = re.sub(r",\s*\.\.\.\s*\)", ")", literal.replace("…", "..."))
            assert list(wrong_keywords(ast.parse(call))) == [], literal


LISTED = set(re.findall(r"\w+", PAGES["docs/api.rst"]))
LISTED.update(import_module("skastro.augmentation").__all__)


@pytest.mark.parametrize("name", PAGES)
def test_public_names_are_in_the_reference(name):
    mentioned = set(re.findall(r"[`.](\w+)`", PAGES[name])) & set(PUBLIC)
    mentioned |= {imported for _, imported in imports_of(code_of(name))}
    assert mentioned <= LISTED


def test_links_lead_somewhere():
    text = "\n".join(PAGES.values())
    labels = set(re.findall(r"^\.\. _([\w-]+):$", text, flags=re.MULTILINE))
    for name, page in PAGES.items():
        links = re.findall(r":ref:`(?:[^`<]+<)?([\w-]+)>?`", page)
        assert {x for x in links if not x.startswith("sphx_glr_")} <= labels, name
        for link in re.findall(r":doc:`(?:[^`<]+<)?([\w/]+)>?`", page):
            folder = DOCS if link.startswith("/") else (ROOT / name).parent
            assert (folder / f"{link.lstrip('/')}.rst").is_file(), f"{name}: {link}"
        for link in re.findall(
            r"\]\(([\w./-]+)\)", page if name.endswith("md") else ""
        ):
            assert ((ROOT / name).parent / link).exists(), f"{name}: {link}"
