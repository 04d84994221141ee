# SPDX-License-Identifier: BSD-3-Clause
"""Figures of activation maps: colors, lines, labels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units

from skastro import GalaxyClassifier, Pipeline, RebinSpectra, SpectrumClassifier
from skastro.inspection import ActivationMapDisplay, class_activation_map
from skastro.inspection._spectral_lines import _apart

WAVELENGTH = np.linspace(3900, 9000, 300)


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    return 5 + rng.normal(size=(6, 300)).astype(np.float32)


@pytest.fixture(scope="module")
def classifier(spectra):
    clf = SpectrumClassifier(
        module__width=4, max_epochs=1, verbose=0, random_state=0, device="cpu"
    )
    return clf.fit(spectra, ["STAR", "GALAXY", "QSO"] * 2)


def test_colors_are_the_map(classifier, spectra):
    display = ActivationMapDisplay.from_estimator(
        classifier, spectra[:2], wavelength=WAVELENGTH
    )
    expected = class_activation_map(classifier, spectra[:2], normalize=True)
    for ax, colors, flux in zip(display.axes_, expected, spectra, strict=False):
        (line,) = ax.collections
        np.testing.assert_allclose(line.get_array(), colors, atol=1e-5)
        middles = np.array([segment[1] for segment in line.get_segments()])
        np.testing.assert_allclose(middles, np.stack([WAVELENGTH, flux], axis=1))
    assert display.ax_ is display.axes_[0]
    assert display.figure_ is display.ax_.figure
    label = classifier.predict(spectra[:1])[0]
    assert display.ax_.get_title(loc="left").startswith(f"{label}, probability 0.")
    assert display.axes_[-1].get_xlabel() == "Wavelength (Å)"
    assert (display.colorbar_.vmin, display.colorbar_.vmax) == (0, 1)
    display.figure_.canvas.draw()


@pytest.mark.parametrize("shape", [(1, 60), (1, 16, 16), (3, 16, 16)], ids=str)
def test_the_scale_is_not_cut_off(shape):
    values = np.random.default_rng(0).uniform(size=shape)
    display = ActivationMapDisplay(values, values, titles=["a"] * len(values)).plot()
    display.figure_.canvas.draw()
    texts = [display.colorbar_.ax.yaxis.label, *display.colorbar_.ax.get_yticklabels()]
    assert [text.get_text() for text in texts] == ["Class activation", "min.", "max."]
    for text in texts:
        extent, figure = text.get_window_extent(), display.figure_.bbox
        assert figure.y0 <= extent.y0 <= extent.y1 <= figure.y1
        assert figure.x0 <= extent.x0 <= extent.x1 <= figure.x1
    plt.close(display.figure_)


def test_lines_stand_at_their_observed_wavelengths(classifier, spectra):
    display = ActivationMapDisplay.from_estimator(
        classifier,
        spectra[:2],
        target="QSO",
        wavelength=WAVELENGTH / 10 * units.nm,
        redshift=[0.0, 2.0],
    )
    drawn = [[line.get_xdata()[0] for line in ax.lines] for ax in display.axes_]
    names = [[text.get_text() for text in ax.texts] for ax in display.axes_]
    assert 6564.61 in np.round(drawn[0], 2)
    assert r"H$\alpha$" in names[0]
    assert "C IV" not in names[0]
    np.testing.assert_allclose(drawn[1][names[1].index("C IV")], 3 * 1549.06)
    assert r"H$\alpha$" not in names[1]
    for ax in display.axes_:
        places = [text.get_position()[0] for text in ax.texts]
        assert np.diff(places).min() > 50
        assert all(3900 <= place <= 9000 for place in places)
        assert all(line.get_xdata()[0] <= 9000 for line in ax.lines)


def test_no_lines_without_a_redshift(spectra):
    display = ActivationMapDisplay(
        spectra[:1],
        np.ones((1, 300)),
        wavelength=WAVELENGTH,
        marks=[[("H alpha", 6564.6)]],
    ).plot()
    assert not list(display.ax_.texts)
    plt.close(display.figure_)


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (None, None),
        ((), []),
        ({"mine": 5000.0, "beyond": 10000.0}, ["mine"]),
        (["H beta", "Ca II K"], ["Ca K", r"H$\beta$"]),
        # A triplet is named once.
        (["Mg I 5169", "Mg I 5174", "Mg I 5185"], ["Mg b"]),
    ],
)
def test_choice_of_lines(classifier, spectra, lines, labels):
    display = ActivationMapDisplay.from_estimator(
        classifier,
        spectra[:1],
        target="STAR",
        wavelength=WAVELENGTH,
        redshift=0.001,
        lines=lines,
    )
    found = [text.get_text() for text in display.ax_.texts]
    if labels is None:
        assert "Ca T" in found
    else:
        assert found == labels


def test_labels_move_apart_as_little_as_possible():
    at = np.array([1.0, 10.0, 10.5, 11.0, 30.0])
    places = _apart(at, 2.0, 0.0, 31.0)
    np.testing.assert_allclose(places, [1.0, 8.5, 10.5, 12.5, 30.0])
    # At the ends of the axis they move inwards.
    np.testing.assert_allclose(_apart(np.array([9.8, 9.9]), 2, 0, 10), [8, 10])
    np.testing.assert_allclose(_apart(np.array([0.1, 0.2]), 2, 0, 10), [0, 2])


def test_on_given_axes_without_colorbar(classifier, spectra):
    figure, axes = plt.subplots(2)
    display = ActivationMapDisplay.from_estimator(
        classifier, spectra[:1], ax=axes[1], colorbar=False, titles=["mine"]
    )
    assert display.ax_ is axes[1]
    assert display.colorbar_ is None
    assert len(figure.axes) == 2
    assert not axes[0].collections
    assert axes[1].get_xlabel() == "Pixel"
    assert axes[1].get_title(loc="left") == "mine"


def test_spectra_as_the_network_reads_them_where_the_grid_changes(spectra):
    clf = SpectrumClassifier(
        module__width=4, max_epochs=1, verbose=0, random_state=0, device="cpu"
    )
    pipe = Pipeline([RebinSpectra(n_bins=50), clf]).fit(spectra, [0, 1] * 3)
    display = ActivationMapDisplay.from_estimator(pipe, spectra[:1])
    np.testing.assert_allclose(display.X, pipe[0].transform(spectra[:1]))
    with pytest.raises(ValueError, match="new_wavelength_"):
        ActivationMapDisplay.from_estimator(pipe, spectra[:1], wavelength=WAVELENGTH)


def test_spectra_on_another_grid_are_drawn_as_the_network_reads_them(spectra):
    new = np.linspace(4200, 8700, 300)
    pipe = Pipeline([RebinSpectra(new_wavelength=new), SpectrumClassifier("resnet10")])
    pipe.set_params(
        spectrumclassifier__module__width=4,
        spectrumclassifier__max_epochs=1,
        spectrumclassifier__verbose=0,
    )
    given = [(WAVELENGTH[i:], row[i:]) for i, row in enumerate(spectra)]
    pipe.fit(given, [0, 1] * 3)
    display = ActivationMapDisplay.from_estimator(pipe, given[:2], wavelength=new)
    (line,) = display.ax_.collections
    middles = np.array([segment[1] for segment in line.get_segments()])
    np.testing.assert_allclose(middles[:, 1], pipe[0].transform(given[:1])[0])
    same = ActivationMapDisplay.from_estimator(
        pipe, {"flux": spectra[:2], "wavelength": WAVELENGTH}, wavelength=new
    )
    expected = pipe[0].transform([(WAVELENGTH, row) for row in spectra[:2]])
    np.testing.assert_allclose(same.X, expected)
    plt.close(display.figure_)
    plt.close(same.figure_)


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_images(n_channels):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, n_channels, 20, 25)).astype(np.float32)
    clf = GalaxyClassifier(
        module__width=4, max_epochs=1, verbose=0, channel_axis=1, device="cpu"
    )
    clf.fit(X, [0, 1] * 3)
    display = ActivationMapDisplay.from_estimator(clf, X[:5])
    assert display.axes_.shape == (5,)
    picture, heat = display.ax_.images
    assert picture.get_array().shape[:2] == heat.get_array().shape == (20, 25)
    np.testing.assert_allclose(
        heat.get_array(), class_activation_map(clf, X[:1], normalize=True)[0], atol=1e-5
    )
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("n", "kwargs", "message"),
    [
        (
            2,
            {"wavelength": WAVELENGTH[1:]},
            r"\(299,\), but a sample has shape \(300,\)",
        ),
        (
            2,
            {"redshift": [0.1]},
            r"redshift .* each of the 2 samples, but has shape \(1,\)",
        ),
        (
            2,
            {"titles": ["one"]},
            "titles must have one entry for each of the 2 samples, but has 1",
        ),
        (2, {"target": "star"}, "its classes are"),
        (1, {"redshift": 0.0, "lines": ["H omega"]}, "no line 'H omega'"),
        (1, {"redshift": 0.0, "lines": "PLANET"}, "STAR, GALAXY, QSO"),
        (21, {}, "21 samples, but a figure holds 1 to 20"),
    ],
)
def test_bad_arguments(classifier, spectra, n, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ActivationMapDisplay.from_estimator(
            classifier, np.resize(spectra, (n, 300)), **kwargs
        )


def test_number_of_axes(classifier, spectra):
    _, axes = plt.subplots(3)
    with pytest.raises(ValueError, match="ax must hold 2 Axes, but got 3"):
        ActivationMapDisplay.from_estimator(classifier, spectra[:2], ax=axes)
