# SPDX-License-Identifier: BSD-3-Clause
"""The decorators of the deprecation policy work on functions and on estimators."""

import pytest
from astropy.utils.decorators import deprecated, deprecated_renamed_argument
from sklearn.base import clone

from skastro import StandardizeSpectra


class Scaler(StandardizeSpectra):
    @deprecated_renamed_argument(
        "sturdy", "robust", since="0.3", warning_type=FutureWarning
    )
    def __init__(self, *, robust=False, clip=None, nan_policy="raise"):
        super().__init__(robust=robust, clip=clip, nan_policy=nan_policy)


def test_renamed_parameter_of_an_estimator():
    with pytest.warns(FutureWarning, match='"sturdy" was deprecated in version 0.3'):
        old = Scaler(sturdy=True)
    assert repr(old) == repr(Scaler(robust=True)) == "Scaler(robust=True)"
    # Neither warns, which would be an error here.
    assert set(clone(old).get_params()) == {"robust", "clip", "nan_policy"}
    with (
        pytest.raises(TypeError, match="cannot specify both"),
        pytest.warns(FutureWarning, match="sturdy"),
    ):
        Scaler(sturdy=True, robust=True)


def test_deprecated_function():
    @deprecated("0.3", alternative="skastro.new", warning_type=FutureWarning)
    def add(x, y):
        """Add two numbers."""
        return x + y

    with pytest.warns(FutureWarning, match=r"add function .*\s+Use skastro\.new inst"):
        assert add(2, y=3) == 5
    assert ".. deprecated:: 0.3" in add.__doc__
    assert "Add two numbers." in add.__doc__


def test_deprecated_class():
    @deprecated("0.3", alternative="skastro.Other", warning_type=FutureWarning)
    class Old(StandardizeSpectra):
        """Standardize."""

    with pytest.warns(FutureWarning, match=r"Old class .*\s+Use skastro\.Other inst"):
        old = Old(robust=True)
    assert old.get_params()["robust"] is True
    assert ".. deprecated:: 0.3" in Old.__doc__
