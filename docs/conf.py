# SPDX-License-Identifier: BSD-3-Clause
"""Configuration of the documentation."""

import faulthandler
import inspect
import pkgutil
import re
import warnings
from typing import Any

import matplotlib
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_gallery.sorting import ExplicitOrder

import skastro

matplotlib.use("agg")
# A gallery example that warns would print the warning into the page: stop instead.
warnings.filterwarnings("error", module="__main__")

# Many times what the build takes: an example that waits for ever ends it.
faulthandler.dump_traceback_later(2700, exit=True)

project = "skastro"
author = "skastro developers"
project_copyright = "2026, skastro developers"
release = version = skastro.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "py:obj"
# A reference to a name without a page is an error.
nitpicky = True
# Docstrings write their own parameters, attributes and methods in the default role.
nitpick_ignore_regex = [("py:obj", r"[a-z]\w*|X")]
# The criterion of VAETransformer, which is private.
nitpick_ignore = [("py:class", "skastro.estimators._evidence.EvidenceBound")]

extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}

# The docstrings state the types, with shapes and units.
autodoc_typehints = "none"
# The template of the generated pages lists the members itself.
numpydoc_show_class_members = False

# The page of a whole package lists what its ``__all__`` names.
autosummary_ignore_module_all = False
autosummary_imported_members = True

# The inventories are in the repository, so that links are made without a network.
# tools/write_inventories.py writes them.
intersphinx_mapping = {
    name: (address, f"inventories/{name}.inv")
    for name, address in {
        "astropy": "https://docs.astropy.org/en/stable/",
        "h5py": "https://docs.h5py.org/en/stable/",
        "imblearn": "https://imbalanced-learn.org/stable/",
        "joblib": "https://joblib.readthedocs.io/en/stable/",
        "matplotlib": "https://matplotlib.org/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "python": "https://docs.python.org/3/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "sklearn": "https://scikit-learn.org/stable/",
        "skorch": "https://skorch.readthedocs.io/en/stable/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}

# The tiles of the gallery by subject: spectra, galaxies, latent spaces, electrons,
# large data.
GALLERY_ORDER = [
    "plot_classify_spectra.py",
    "plot_survey_to_catalog.py",
    "plot_robust_limits.py",
    "plot_activation_maps.py",
    "plot_supernova_types.py",
    "plot_compare_networks.py",
    "plot_stellar_parameters.py",
    "plot_redshifts.py",
    "plot_simulated_spectra.py",
    "plot_classify_galaxies.py",
    "plot_radio_galaxies.py",
    "plot_regress_galaxies.py",
    "plot_simulated_galaxies.py",
    "plot_latent_space.py",
    "plot_compare_latent_sizes.py",
    "plot_sevi.py",
    "plot_measure_anisotropy.py",
    "plot_larger_than_memory.py",
    "plot_predict_survey.py",
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": ExplicitOrder(GALLERY_ORDER),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("skastro",),
    "reference_url": {"skastro": None},
    "download_all_examples": False,
    "min_reported_time": 5,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skastro"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skastro"},
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}


def is_of_others(member: Any) -> bool:
    """Tell whether another project defines the member of a class."""
    function = member.fget if isinstance(member, property) else member
    module = getattr(function, "__module__", None) or "skastro"
    return not module.startswith("skastro")


def skip_members_of_others(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the members that scikit-learn, skorch and imbalanced-learn document.

    The generated pages list them by name: autosummary, which makes these lists, passes
    no options.
    """
    if not options:
        return None
    return True if is_of_others(member) else None


def unlink_references_of_others(
    app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]
) -> None:
    """Make literals of the references in what other projects wrote.

    They are relative to pages and names that only the documentation there has.
    """
    if is_of_others(member):
        reference = r"(?<!`)(?::[a-z:]+:)?`~?([^`<]+?)(?: <[^`]+>)?`(?![`_])"
        lines[:] = [re.sub(reference, r"``\1``", line) for line in lines]


def allow_undescribed_members(app: Sphinx, domain: Any, node: Any) -> bool | None:
    """Accept methods without a description here in the lists of all methods."""
    try:
        member = pkgutil.resolve_name(node["reftarget"])
    except (AttributeError, ImportError, ValueError):
        return None
    return True if is_of_others(member) or not inspect.getdoc(member) else None


def allow_missing_figures(app: Sphinx, config: Config) -> None:
    """Accept that figures of the gallery are missing where it is not run."""
    if config.plot_gallery in (False, "False", "0"):
        config.suppress_warnings.append("image.not_readable")


def shorten_defaults(
    app: Sphinx,
    what: str,
    name: str,
    member: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write classes that are defaults by their names, without module and brackets."""
    if signature is not None:
        signature = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature)
    return signature, returned


def setup(app: Sphinx) -> None:
    """Connect the hooks above."""
    app.connect("autodoc-process-signature", shorten_defaults)
    app.connect("autodoc-skip-member", skip_members_of_others)
    app.connect("autodoc-process-docstring", unlink_references_of_others)
    app.connect("config-inited", allow_missing_figures)
    app.connect("warn-missing-reference", allow_undescribed_members)


# Several classes have an attribute such as classes_. A name alone refers to the class
# in whose description it stands; Sphinx says that it could be another's.
suppress_warnings = ["ref.python"]
