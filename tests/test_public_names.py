# SPDX-License-Identifier: BSD-3-Clause
"""What ``import skastro`` offers, and what it costs."""

import subprocess
import sys

import pytest

import skastro
from skastro import datasets


def test_every_public_name_loads():
    namespace = {}
    exec("from skastro import *", namespace)
    assert set(skastro.__all__) <= set(namespace)


def test_every_name_of_datasets_loads():
    assert all(callable(getattr(datasets, name)) for name in datasets.__all__)


def test_unloaded_names_are_listed():
    code = "import skastro; assert set(skastro.__all__) <= set(dir(skastro))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No skastro attribute SpectrumClasifier"):
        skastro.SpectrumClasifier  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import skastro",
        "from skastro import CropPadImages, MinMaxSpectra, RebinSpectra",
        "from skastro import Pipeline",
        "import skastro.datasets",
        "from skastro.sevi import read_sevi",
    ],
)
def test_torch_is_not_imported_before_it_is_needed(statement):
    code = f"{statement}\nimport sys\nsys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("from skastro import RebinSpectra", "skastro.datasets.spectra"),
        ("from skastro import SpectrumClassifier", "skastro.estimators.redshift"),
        # Torch's compiler takes as long to import as the rest of torch.
        ("from skastro import RedshiftRegressor", "torch._dynamo"),
    ],
)
def test_names_do_without_what_they_do_not_use(statement, module):
    code = f"{statement}\nimport sys\nsys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_estimators_have_few_bases():
    public = [getattr(skastro, name) for name in skastro.__all__]
    classes = [value for value in public if isinstance(value, type)]
    assert max(len(cls.__mro__) for cls in classes) <= 12
