# SPDX-License-Identifier: BSD-3-Clause
"""SEVIDisplay: electron images, fitted rings, residuals and densities."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.polynomial import legendre
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from skastro import CropPadImages, SEVIRegressor, make_pipeline
from skastro.sevi import SEVIDisplay, make_sevi

SIZE = 60


def shells_of(sevi, row=0, std=0.02):
    """Give the true shells of a simulated image in the form of fitted ones."""
    beta = sevi.beta[row].reshape(sevi.radius.shape[1], -1)
    counts = sevi.n_electrons[row].sum() * (1 + sevi.background[row])
    return {
        "beta": beta,
        "beta_std": np.full(beta.shape, std),
        "radius": sevi.radius[row],
        "radius_std": np.full(len(beta), 0.001),
        "radius_width": sevi.radius_width[row],
        "n_electrons": sevi.n_electrons[row],
        "background": sevi.background[row] * sevi.n_electrons[row].sum() / counts,
        "tilt": sevi.tilt[row],
        "ellipticity": sevi.ellipticity[row],
        "center": sevi.center[row] - (len(sevi.images[row]) - 1) / 2,
    }


def draw(sevi, row=0, **options):
    """Draw a simulated image with its true shells."""
    options = {"polarization_axis": sevi.polarization_axis} | options
    shells = shells_of(sevi, row)
    return SEVIDisplay.from_predictions(
        sevi.images[row], shells, convention=sevi.convention, **options
    )


@pytest.fixture(autouse=True)
def _close_figures():
    """Close what a test leaves open."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sevi():
    return make_sevi(
        1, n_shells=2, size=SIZE, n_electrons=2e5, background=0.2, random_state=4
    )


@pytest.fixture(scope="module")
def regressor():
    train = make_sevi(30, size=SIZE, n_electrons=1e4, random_state=0)
    reg = SEVIRegressor(max_epochs=1, verbose=0, random_state=0, device="cpu")
    return reg.fit(train.images, train.beta)


def test_four_axes(sevi):
    display = draw(sevi)
    assert display.axes_.shape == (2, 2)
    assert display.ax_ is display.axes_[0, 0]
    assert display.figure_ is display.ax_.figure
    np.testing.assert_array_equal(display.ax_.images[0].get_array(), sevi.images[0])
    assert display.ax_.get_title() == f"{sevi.images[0].sum():.3g} counts"
    display.figure_.canvas.draw()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n_electrons", [3e3, 3e5])
def test_the_residual_of_the_true_shells_is_noise(axis, n_electrons):
    sevi = make_sevi(
        1,
        n_shells=2,
        size=SIZE,
        n_electrons=n_electrons,
        background=0.3,
        tilt=12,
        ellipticity=0.05,
        center_offset=4,
        polarization_axis=axis,
        random_state=1,
        extent=1.1,
    )
    display = draw(sevi, extent=1.1)
    # Of n cells the rms is known to 1 / sqrt(2 n).
    n_cells = display.residual.size
    assert abs(display.residual_std - 1) < 5 / np.sqrt(2 * n_cells)
    assert abs(display.residual.mean()) < 5 / np.sqrt(n_cells)
    upright = shells_of(sevi) | {"tilt": 0.0, "ellipticity": 0.0, "center": np.zeros(2)}
    wrong = SEVIDisplay.from_predictions(
        sevi.images[0], upright, polarization_axis=axis, extent=1.1
    )
    assert wrong.residual_std > 1.5 * display.residual_std
    other = SEVIDisplay.from_predictions(
        sevi.images[0], shells_of(sevi), polarization_axis=1 - axis, extent=1.1
    )
    assert other.residual_std > 1.5 * display.residual_std


def test_cells_hold_enough_counts():
    blocks = []
    for n_electrons in (300, 3e4, 3e6):
        display = draw(make_sevi(1, size=SIZE, n_electrons=n_electrons, random_state=0))
        blocks.append(display.block)
        n_cells = -(-SIZE // display.block)
        assert display.residual.shape == (n_cells, n_cells)
        # All pixels count, also those of smaller cells at the edge.
        first = np.arange(0, SIZE, display.block)
        counts, expected = (
            np.add.reduceat(np.add.reduceat(pixels, first, axis=0), first, axis=1)
            for pixels in (display.image, display.expected)
        )
        residual = (counts - expected) / np.sqrt(expected.clip(min=1))
        np.testing.assert_allclose(display.residual, residual, rtol=1e-9)
    assert blocks[0] > blocks[1] >= blocks[2] == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_rings_have_the_fitted_radii(sevi, axis):
    shells = shells_of(sevi)
    display = SEVIDisplay.from_predictions(
        sevi.images[0], shells, polarization_axis=axis
    )
    *rings, direction = display.ax_.get_lines()
    for ring, band, radius, width in zip(
        rings,
        display.ax_.patches,
        shells["radius"],
        shells["radius_width"],
        strict=True,
    ):
        np.testing.assert_allclose(np.hypot(*ring.get_data()), radius)
        ends = np.hypot(*band.get_xy().T)
        np.testing.assert_allclose(
            [ends.min(), ends.max()], [radius - width, radius + width]
        )
        assert ring.get_color() == f"C{rings.index(ring)}"
    columns, rows = direction.get_data()
    along, across = (columns, rows) if axis == 1 else (rows, columns)
    np.testing.assert_allclose(across, 0, atol=1e-12)
    assert abs(along).min() > shells["radius"].max()


@pytest.mark.parametrize("axis", [0, 1])
def test_distorted_rings(axis):
    sevi = make_sevi(
        1,
        size=SIZE,
        tilt=20,
        ellipticity=0.2,
        center_offset=6,
        polarization_axis=axis,
        random_state=2,
    )
    display = draw(sevi)
    ring, direction = display.ax_.get_lines()
    middle = (sevi.center[0] - (SIZE - 1) / 2) * sevi.pixel_size
    ends = np.array(direction.get_data())
    np.testing.assert_allclose(ends.mean(axis=1), middle[::-1])
    # From the polarization axis toward the other.
    columns, rows = ends[:, 0] - ends.mean(axis=1)
    along, across = (columns, rows) if axis == 1 else (rows, columns)
    tilt = np.rad2deg(np.arctan2(across * 1.2, along))
    assert tilt == pytest.approx(20)
    columns, rows = np.array(ring.get_data()) - middle[::-1, None]
    along, across = (columns, rows) if axis == 1 else (rows, columns)
    np.testing.assert_allclose(
        along**2 / 1.2 + across**2 * 1.2, sevi.radius[0, 0] ** 2, rtol=1e-6
    )


@pytest.mark.parametrize("convention", ["density", "vmi"])
def test_densities_and_their_truth(convention):
    sevi = make_sevi(
        1, n_shells=2, size=SIZE, n_electrons=1e4, convention=convention, random_state=4
    )
    display = draw(sevi, beta_true=sevi.beta[0], coverage=0.6827)
    ax = display.axes_[1, 0]
    lines = ax.get_lines()
    cosine = np.cos(np.deg2rad(lines[0].get_xdata()))
    factor = {"density": 1, "vmi": 2}[convention]
    for line, true, beta in zip(
        lines[:2], lines[2:], sevi.beta.reshape(2, 12), strict=True
    ):
        series = np.zeros(25)
        series[0], series[2::2] = 0.5 * factor, beta
        np.testing.assert_allclose(line.get_ydata(), legendre.legval(cosine, series))
        np.testing.assert_allclose(true.get_ydata(), line.get_ydata())
    # One standard deviation at the pole, where all polynomials are 1.
    top = ax.collections[0].get_paths()[0].vertices
    top = top[top[:, 0] == 0, 1]
    expected = lines[0].get_ydata()[0] + np.array([-1, 1]) * 0.02 * np.sqrt(12)
    np.testing.assert_allclose([top.min(), top.max()], expected, rtol=1e-3)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        *(f"R = {radius:.4f} ± 0.001" for radius in sevi.radius[0]),
        "true",
    ]


def test_bands_follow_the_covariance(sevi):
    shells = shells_of(sevi)
    # All errors of a shell are one: the density is exact where Σ P_2l is zero.
    shells["beta_cov"] = np.full((2, 12, 12), 0.02**2)
    display = SEVIDisplay.from_predictions(sevi.images[0], shells, coverage=0.6827)
    (line, *_) = display.axes_[1, 0].get_lines()
    angle, density = line.get_data()
    series = np.zeros(25)
    series[2::2] = 1
    half = 0.02 * np.abs(legendre.legval(np.cos(np.deg2rad(angle)), series))
    band = display.axes_[1, 0].collections[0].get_paths()[0].vertices
    for at in (0, 40, 180):
        found = band[band[:, 0] == angle[at], 1]
        expected = [max(density[at] - half[at], 0), density[at] + half[at]]
        np.testing.assert_allclose([found.min(), found.max()], expected, rtol=1e-3)
    with pytest.raises(ValueError, match=r"beta_cov must have the shape \(2, 12, 12\)"):
        SEVIDisplay.from_predictions(
            sevi.images[0], shells | {"beta_cov": np.ones((2, 3, 3))}
        )


def test_the_profile_is_that_of_the_image(sevi):
    ax = draw(sevi).axes_[1, 1]
    counts, edges, _ = ax.patches[0].get_data()
    half = (SIZE - 1) / 2
    rows, columns = (np.indices((SIZE, SIZE)) - half) / (SIZE / 2)
    distance = np.hypot(rows, columns)
    ring = (distance >= edges[10]) & (distance < edges[11])
    assert counts[10] == pytest.approx(sevi.images[0][ring].mean())
    expected = ax.get_lines()[0].get_ydata()
    np.testing.assert_allclose(counts, expected, rtol=0.2, atol=2)


def test_many_shells_have_a_scale():
    sevi = make_sevi(1, n_shells=7, size=SIZE, n_electrons=1e4, random_state=0)
    display = draw(sevi)
    assert display.axes_[1, 0].get_legend() is None
    (scale,) = [ax for ax in display.figure_.axes if ax.get_ylabel() == "Radius"]
    np.testing.assert_allclose(scale.get_ylim(), sevi.radius[0, [0, -1]])


def test_an_estimator_and_its_pipeline(regressor):
    sevi = make_sevi(1, size=SIZE, n_electrons=1e4, random_state=3)
    display = SEVIDisplay.from_estimator(
        regressor, sevi.images[0], beta_true=sevi.beta[0]
    )
    shells = regressor.predict_shells(sevi.images)
    ring = display.ax_.get_lines()[0]
    np.testing.assert_allclose(np.hypot(*ring.get_data()), shells.radius[0, 0])
    assert display.residual_std == pytest.approx(1, abs=0.15)
    assert display.expected.sum() == pytest.approx(sevi.images.sum(), rel=0.03)
    line, true = display.axes_[1, 0].get_lines()
    band = display.axes_[1, 0].collections[0].get_paths()[0].vertices
    inside = [
        band[band[:, 0] == angle, 1].min()
        <= value
        <= band[band[:, 0] == angle, 1].max()
        for angle, value in zip(*true.get_data(), strict=True)
    ]
    assert np.mean(inside) > 0.7
    wide = np.pad(sevi.images, ((0, 0), (5, 5), (5, 5)))
    pipe = make_pipeline(CropPadImages(SIZE), regressor)
    piped = SEVIDisplay.from_estimator(pipe, wide)
    np.testing.assert_array_equal(piped.image, sevi.images[0])
    np.testing.assert_allclose(
        piped.axes_[1, 0].get_lines()[0].get_ydata(), line.get_ydata(), rtol=1e-5
    )


def test_images_in_rows():
    train = make_sevi(
        25,
        size=32,
        n_electrons=1e4,
        convention="vmi",
        polarization_axis=0,
        random_state=0,
    )
    rows = train.images.reshape(25, -1)
    reg = SEVIRegressor(
        image_shape=(32, 32),
        convention="vmi",
        polarization_axis=0,
        max_epochs=1,
        verbose=0,
        random_state=0,
        device="cpu",
    ).fit(rows, train.beta)
    for image in (rows[0], rows[:1], train.images[0]):
        display = SEVIDisplay.from_estimator(reg, image)
        np.testing.assert_array_equal(display.image, train.images[0])
        assert (display.convention, display.polarization_axis) == ("vmi", 0)
    with pytest.raises(ValueError, match=r"of shape \(32, 32\), or a row"):
        SEVIDisplay.from_estimator(reg, rows[:2])


def test_given_axes(sevi):
    figure, axes = plt.subplots(1, 4)
    display = draw(sevi, ax=axes)
    assert list(display.axes_.flat) == list(axes)
    assert display.figure_ is figure
    again = display.plot(coverage=0.5)
    assert again is display
    assert display.figure_ is not figure
    with pytest.raises(ValueError, match="ax must hold 4 Axes, but got 1"):
        display.plot(ax=axes[0])
    with pytest.raises(ValueError, match=r"coverage must be between 0 and 1; got 90"):
        display.plot(coverage=90)


def test_images_of_no_shells_say_so(sevi):
    display = SEVIDisplay.from_predictions(
        sevi.images[0], shells_of(sevi) | {"out_of_range": True}
    )
    assert display.ax_.get_title().endswith("counts, out of range")


def test_other_estimators():
    with pytest.raises(TypeError, match=r"takes a SEVIRegressor.*got LinearRegression"):
        SEVIDisplay.from_estimator(LinearRegression(), np.ones((4, 4)))
    with pytest.raises(NotFittedError):
        SEVIDisplay.from_estimator(SEVIRegressor(), np.ones((32, 32)))


def test_what_is_no_image(regressor, sevi):
    for wrong in (sevi.images[0, 0], np.ones((2, SIZE, SIZE))):
        with pytest.raises(
            ValueError, match=r"draws one image, of shape \(size, size\)"
        ):
            SEVIDisplay.from_estimator(regressor, wrong)
    with pytest.raises(ValueError, match="shape"):
        SEVIDisplay.from_estimator(regressor, np.ones((20, 20)))
    shells = shells_of(sevi)
    with pytest.raises(ValueError, match=r"must be square.*\(60, 59\)"):
        SEVIDisplay.from_predictions(sevi.images[0, :, 1:], shells)
    with pytest.raises(ValueError, match="NaN or infinity"):
        SEVIDisplay.from_predictions(sevi.images[0] * np.nan, shells)


def test_what_are_no_shells(sevi):
    image, shells = sevi.images[0], shells_of(sevi)
    few = {name: shells[name] for name in ("beta", "radius")}
    with pytest.raises(ValueError, match="lacks beta_std, radius_width, n_electrons"):
        SEVIDisplay.from_predictions(image, few)
    with pytest.raises(ValueError, match=r"those of one image.*shape \(3, 2\)"):
        SEVIDisplay.from_predictions(image, shells | {"radius": np.ones((3, 2))})
    with pytest.raises(
        ValueError, match=r"n_electrons must have an entry for each of 2"
    ):
        SEVIDisplay.from_predictions(image, shells | {"n_electrons": np.ones(3)})
    wide = {name: np.ones((2, 13)) for name in ("beta", "beta_std")}
    with pytest.raises(ValueError, match="1 to 12 coefficients per shell, but has 13"):
        SEVIDisplay.from_predictions(image, shells | wide)
    with pytest.raises(ValueError, match="fit of shells has failed: radius is"):
        SEVIDisplay.from_predictions(image, shells | {"radius": np.full(2, np.nan)})
    with pytest.raises(ValueError, match="beta_true has 13 coefficients for 2 shells"):
        SEVIDisplay.from_predictions(image, shells, beta_true=np.ones(13))
    with pytest.raises(ValueError, match="convention"):
        SEVIDisplay.from_predictions(image, shells, convention="b")
    with pytest.raises(ValueError, match="polarization_axis must be 0 or 1; got 2"):
        SEVIDisplay.from_predictions(image, shells, polarization_axis=2)
