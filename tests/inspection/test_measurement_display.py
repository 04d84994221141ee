# SPDX-License-Identifier: BSD-3-Clause
"""MeasurementDisplay: predictions, their error bars and their residuals."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from sklearn import config_context
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import MSELoss

from skastro import RebinSpectra, SpectrumRegressor, make_pipeline
from skastro.inspection import MeasurementDisplay


def drawn(ax):
    """Give what error bars show: places, values and half lengths."""
    (container,) = ax.containers
    line, _, bars = container
    ends = np.array([segment[:, 1] for bar in bars for segment in bar.get_segments()])
    half = np.diff(ends, axis=1).ravel() / 2 if len(ends) else None
    return line.get_xdata(), line.get_ydata(), half


def test_numbers_by_hand():
    y = np.array([[5000.0, 1.0], [6000, np.nan], [7000, 3], [8000, 4]])
    off = np.array([[10.0, 0.1], [-20, 9], [100, 0.2], [-30, -0.4]])
    std = np.array([[10.0, 0.1], [12, 9], [50, 0.1], [20, 0.3]])
    names = ["Teff (K)", "log g"]
    display = MeasurementDisplay.from_predictions(
        y, np.nan_to_num(y) + off, std=std, target_names=names
    )
    np.testing.assert_allclose(display.scatter, [1.482602 * 25, 1.482602 * 0.2], 1e-5)
    np.testing.assert_allclose(display.bias, [-5, 0.1])
    # 20 of 12 and 100 of 50 are more than 1.645 error bars, so is 0.2 of 0.1.
    np.testing.assert_allclose(display.coverage, [2 / 4, 2 / 3])
    assert display.axes_.shape == (2, 2)
    for target, known in enumerate([[0, 1, 2, 3], [0, 2, 3]]):
        upper, lower = display.axes_[:, target]
        for ax, values in ((upper, y + off), (lower, off)):
            x, shown, half = drawn(ax)
            np.testing.assert_array_equal(x, y[known, target])
            np.testing.assert_allclose(shown, values[known, target])
            np.testing.assert_allclose(half, std[known, target])
        assert lower.get_xlabel() == f"True {names[target]}"
        assert upper.get_ylabel() == f"Predicted {names[target]}"
    assert display.ax_.get_title("left") == (
        "scatter 37.1, bias -5\n50% within 1.645 error bars"
    )
    display.figure_.canvas.draw()


def test_without_errors_on_given_axes():
    _, axes = plt.subplots(2, 1)
    display = MeasurementDisplay.from_predictions(
        [1, 2, 4], [1.5, 2, 4], ax=axes, marker="x", c="red"
    )
    assert display.coverage is None
    assert (display.axes_[:, 0] == axes).all()
    line = axes[0].containers[0][0]
    assert (line.get_marker(), line.get_color()) == ("x", "red")
    assert drawn(axes[1])[2] is None
    assert axes[0].get_title("left") == "scatter 0, bias +0"
    with pytest.raises(ValueError, match=r"in the shape \(2, 1\), but got 1"):
        display.plot(ax=axes[0])


def test_units_are_refused_as_in_fit():
    teff = Table({"teff": [5000, 6000] * units.K})["teff"]
    with pytest.raises(TypeError, match="y_true has the unit K"):
        MeasurementDisplay.from_predictions(teff, [5.1, 6.1] * units.kK)


@pytest.mark.parametrize("routing", [False, True])
def test_error_bars_of_pipelines(routing):
    rng = np.random.default_rng(0)
    X = rng.normal(5, 2, size=(40, 3))
    y = X[:, 0] + rng.normal(0, 0.1, size=40)
    pipe = make_pipeline(StandardScaler(), GaussianProcessRegressor(alpha=0.01))
    with config_context(enable_metadata_routing=routing):
        pipe.fit(X[:30], y[:30])
        display = MeasurementDisplay.from_estimator(pipe, X[30:], y[30:])
    expected = pipe[-1].predict(pipe[0].transform(X[30:]), return_std=True)
    np.testing.assert_allclose(display.y_pred[:, 0], expected[0])
    np.testing.assert_allclose(display.std[:, 0], expected[1])
    plain = MeasurementDisplay.from_estimator(LinearRegression().fit(X, y), X, y)
    assert plain.std is None


def test_spectra_on_several_grids():
    grid = np.linspace(4000, 5000, 40)
    flux = np.random.default_rng(0).normal(1, 0.1, size=(30, 40))
    spectra = [(grid[i % 3 :], row[i % 3 :]) for i, row in enumerate(flux)]
    rebin = RebinSpectra(new_wavelength=np.linspace(4100, 4900, 20))
    reg = SpectrumRegressor("mlp", max_epochs=1, verbose=0, calibrate=False)
    pipe = make_pipeline(rebin, reg).fit(spectra, flux[:, 9])
    with pytest.warns(UserWarning, match="error bars are those of the training"):
        display = MeasurementDisplay.from_estimator(pipe, spectra, flux[:, 9])
    np.testing.assert_allclose(display.y_pred[:, 0], pipe.predict(spectra))
    plt.close(display.figure_)


def test_networks_with_and_without_errors():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 110)).astype(np.float32)
    y = np.column_stack([X[:, 3], X[:, 5]])
    y[::7, 1] = np.nan
    tiny = {"module": "mlp", "max_epochs": 1, "verbose": 0, "random_state": 0}
    reg = SpectrumRegressor(**tiny, train_split=0.25).fit(X, y)
    display = MeasurementDisplay.from_estimator(reg, X, y, target_names=["a", "b"])
    np.testing.assert_array_equal(display.std, reg.predict(X, return_std=True)[1])
    assert (display.coverage > 0.7).all()
    without = SpectrumRegressor(**tiny, criterion=MSELoss).fit(X, y)
    assert MeasurementDisplay.from_estimator(without, X, y).std is None


@pytest.mark.parametrize(
    ("y", "found", "options", "message"),
    [
        ([1, 2], [1, 2, 3], {}, r"one shape.* got \(2,\), \(3,\)"),
        ([[1], [2]], [1, 2], {}, r"got \(2, 1\), \(2,\)"),
        ([1, 2], [1, 2], {"std": [1]}, r"\(2,\), \(1,\)"),
        ([[[1]]], [[[1]]], {}, r"got \(1, 1, 1\)"),
        ([], [], {}, r"got \(0,\)"),
        ([1, 2], [1, np.nan], {}, "y_pred contains NaN"),
        ([1, np.inf], [1, 2], {}, "y_true contains infinity"),
        ([1, 2], [1, 2], {"std": [1, -1]}, "std has negative values"),
        ([np.nan, np.nan], [1, 2], {}, r"All values of y_true are NaN.*\[0\]"),
        ([1, 2], [1, 2], {"target_names": ["a", "b"]}, "1 targets, but has 2"),
    ],
)
def test_predictions_that_do_not_fit(y, found, options, message):
    with pytest.raises(ValueError, match=message):
        MeasurementDisplay.from_predictions(y, found, **options)
