# SPDX-License-Identifier: BSD-3-Clause
"""Files that earlier releases wrote are opened, and predict what they did there."""

from pathlib import Path

import numpy as np
import pytest

from skastro import load_model, model_card

pytestmark = [
    pytest.mark.once,
    # Written with another version of scikit-learn.
    pytest.mark.filterwarnings("ignore:Trying to unpickle estimator"),
    pytest.mark.filterwarnings("ignore:.* do not look like counts of electrons"),
]
FILES = sorted((Path(__file__).parent / "golden").glob("*/*.skastro"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_earlier_files_predict_the_same(path):
    model = load_model(path)
    with np.load(path.with_suffix(".npz")) as expected:
        methods = set(expected.files) - {"X"}
        assert methods
        for method in methods:
            found = getattr(model, method)(expected["X"])
            assert found.dtype == expected[method].dtype
            if found.dtype.kind == "f":
                # Processors differ in the last digits.
                np.testing.assert_allclose(
                    found, expected[method], rtol=1e-3, atol=1e-4
                )
            else:
                np.testing.assert_array_equal(found, expected[method])
    assert model_card(path).startswith(f"# {type(model).__name__}\n")


def test_there_are_files_of_each_kind():
    assert len(FILES) >= 9
