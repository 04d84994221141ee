# SPDX-License-Identifier: BSD-3-Clause
"""Images of galaxies against what is known analytically."""

import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.integrate import quad

from skastro.datasets import make_galaxies
from skastro.simulation import (
    GalaxyCamera,
    GalaxyPopulation,
    RealGalaxyPopulation,
    sersic_flux_fraction,
    simulate_galaxies,
)
from skastro.simulation.galaxies._population import (
    _open_catalog,
    bulge_and_disk_radii,
    flux_ratios,
)

pytestmark = pytest.mark.once

FWHM_OF_SIGMA = np.sqrt(8 * np.log(2))


def population(**settings):
    defaults = {
        "profile": "sersic",
        "bands": ("r",),
        "magnitude": (20.0, 20.0),
        "half_light_radius": (1.0, 1.0),
        "sersic_index": (1.0, 1.0),
        "ellipticity": (0.0, 0.0),
        "bulge_fraction": (0.0, 1.0),
    }
    return GalaxyPopulation(**defaults | settings)


def camera(size, **settings):
    defaults = {
        "pixel_scale": 0.2,
        "psf": "gaussian",
        "noise": None,
        "zero_points": (30.0,),
        "sky_brightness": (21.0,),
        "read_noise": 5.0,
    }
    return GalaxyCamera(size=size, **defaults | settings)


def simulate(galaxies, size, n=1, fwhm=0.4, seed=0, n_neighbors=0.0, **settings):
    drawn = galaxies.draw(n, np.random.default_rng(seed))
    drawn["psf_fwhm"] = np.full(n, fwhm)
    drawn["stamp_size"] = np.full(n, size)
    drawn["offset_x"] = drawn["offset_y"] = np.zeros(n)
    result = simulate_galaxies(
        drawn,
        population=galaxies,
        camera=camera(size, **settings),
        seed=seed,
        n_neighbors=n_neighbors,
    )
    return drawn, result["images"], result


def radii(size):
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    return np.hypot(rows, columns)


def second_moments(image):
    """Mean of x², y² and xy, weighted by the light."""
    rows, columns = np.indices(image.shape) - (len(image) - 1) / 2
    return tuple(
        (image * product).sum() / image.sum()
        for product in (columns**2, rows**2, columns * rows)
    )


# Profiles.


@pytest.mark.parametrize("index", [0.5, 1.0, 2.7, 4.0, 6.0])
def test_flux_fraction_is_the_integral_of_the_profile(index):
    def light(radius):
        # The exact solution of half the light within radius 1, found by bisection.
        return radius * np.exp(-scale * radius ** (1 / index))

    low, high = 0.01, 20.0
    for _ in range(50):
        scale = (low + high) / 2
        inside, everything = quad(light, 0, 1)[0], quad(light, 0, np.inf, limit=200)[0]
        low, high = (scale, high) if inside < everything / 2 else (low, scale)
    for radius in (0.3, 1.0, 2.5):
        expected = quad(light, 0, radius)[0] / everything
        assert sersic_flux_fraction(radius, index) == pytest.approx(expected, rel=1e-5)


def test_bulge_and_disc_have_half_of_the_light_in_the_given_radius():
    rng = np.random.default_rng(0)
    radius, fraction = rng.uniform(0.3, 3, 50), rng.uniform(0, 1, 50)
    ratio = rng.uniform(0.1, 2, 50)
    bulge, disk = bulge_and_disk_radii(radius, fraction, ratio)
    np.testing.assert_allclose(bulge / disk, ratio)
    light = fraction * sersic_flux_fraction(radius / bulge, 4)
    light += (1 - fraction) * sersic_flux_fraction(radius / disk, 1)
    np.testing.assert_allclose(light, 0.5)


# Images without noise.


@pytest.mark.parametrize("psf", GalaxyCamera.PSFS)
@pytest.mark.parametrize("profile", ["sersic", "bulge+disk"])
def test_flux_is_that_of_the_magnitude(psf, profile):
    galaxies = population(
        profile=profile, magnitude=(17.0, 19.0), half_light_radius=(0.5, 0.5)
    )
    drawn, images, _ = simulate(galaxies, 256, n=2, fwhm=0.8, psf=psf)
    expected = 10 ** (-0.4 * (drawn["magnitude"] - 30))
    # What is missing is far from the center: wings of the bulge and of the PSF.
    np.testing.assert_allclose(images.sum(axis=(1, 2, 3)), expected, rtol=0.012)


@pytest.mark.parametrize("index", [0.5, 1.0, 2.5, 4.0])
def test_light_within_radii(index):
    radius = 6.0
    galaxies = population(
        half_light_radius=(radius, radius), sersic_index=(index, index)
    )
    _, images, _ = simulate(galaxies, 256, zero_points=(20.0,))
    apart = radii(256) * 0.2
    for factor in (0.5, 1.0, 2.0):
        inside = images[0, ..., 0][apart < factor * radius].sum()
        expected = sersic_flux_fraction(factor, index)
        assert inside == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("index", "radius"), [(1.0, 1.0), (3.0, 0.6)])
def test_shape_and_position_angle(index, radius):
    galaxies = population(
        sersic_index=(index, index),
        half_light_radius=(radius, radius),
        ellipticity=(0.3, 0.6),
    )
    drawn, images, _ = simulate(galaxies, 200, n=4)
    pixel = 1 / 12
    seeing = (0.4 / FWHM_OF_SIGMA / 0.2) ** 2
    for i, image in enumerate(images[..., 0].astype(np.float64)):
        xx, yy, xy = second_moments(image)
        # Blurs add to the moments.
        xx, yy = xx - seeing - pixel, yy - seeing - pixel
        angle = np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180
        difference = (angle - drawn["position_angle"][i] + 90) % 180 - 90
        assert difference == pytest.approx(0, abs=0.5)
        root = np.hypot((xx - yy) / 2, xy)
        axis_ratio = np.sqrt(((xx + yy) / 2 - root) / ((xx + yy) / 2 + root))
        assert 1 - axis_ratio == pytest.approx(drawn["ellipticity"][i], abs=0.02)
        assert np.hypot(drawn["g1"][i], drawn["g2"][i]) == pytest.approx(
            (1 - axis_ratio) / (1 + axis_ratio), abs=0.015
        )
        assert np.arctan2(drawn["g2"][i], drawn["g1"][i]) % (2 * np.pi) == (
            pytest.approx(2 * np.radians(drawn["position_angle"][i]))
        )


def test_position_angle_turns_from_columns_to_rows():
    galaxies = population(ellipticity=(0.7, 0.7))
    drawn = galaxies.draw(1, np.random.default_rng(0))
    drawn |= {"psf_fwhm": [0.4], "stamp_size": [64], "offset_x": [0], "offset_y": [0]}
    drawn |= {"g1": np.zeros(1), "g2": np.array([0.7 / 1.3])}
    result = simulate_galaxies(drawn, population=galaxies, camera=camera(64), seed=0)
    image = result["images"][0, ..., 0]
    # 45 degrees: bright where both indices grow.
    assert image[42, 42] > 10 * image[42, 21]


def test_bulge_fraction():
    galaxies = population(
        profile="bulge+disk", bulge_fraction=(0.3, 0.3), half_light_radius=(5.0, 5.0)
    )
    drawn, images, _ = simulate(galaxies, 256, zero_points=(20.0,))
    ratio = drawn["bulge_radius_ratio"]
    bulge, disk = bulge_and_disk_radii(5.0, 0.3, ratio)
    apart = radii(256) * 0.2
    for radius in (2.0, 5.0, 12.0):
        expected = 0.3 * sersic_flux_fraction(radius / bulge, 4)
        expected += 0.7 * sersic_flux_fraction(radius / disk, 1)
        inside = images[0, ..., 0][apart < radius].sum()
        assert inside == pytest.approx(expected[0], abs=0.008)


@pytest.mark.parametrize("psf", GalaxyCamera.PSFS)
def test_width_of_the_point_spread_function(psf):
    galaxies = population(half_light_radius=(0.01, 0.01), sersic_index=(0.5, 0.5))
    _, images, _ = simulate(galaxies, 129, fwhm=4.0, psf=psf)
    across = images[0, 64, :, 0]
    positions = (np.arange(129) - 64) * 0.2
    half = np.interp(2.0, positions, across)
    assert half == pytest.approx(across.max() / 2, rel=0.01)


# Colors.


def test_old_light_is_red():
    old, young = flux_ratios(("g", "r", "z"), np.full(2, 0.1), np.array([0.0, 1.0]))
    np.testing.assert_allclose(old[:, 0], 1)
    np.testing.assert_allclose(young[:, 0], 1)
    colors = 2.5 * np.log10([old[0, 1], *young[:, 1]])
    # g - r of ellipticals at this redshift, of spirals and irregulars.
    assert colors[0] == pytest.approx(0.95, abs=0.15)
    assert colors[0] > colors[1] + 0.2 > colors[2] + 0.2
    assert (old[:, 2] > old[:, 1]).all()


def test_bands_have_their_magnitudes():
    galaxies = population(
        profile="both", bands=("g", "r", "z"), half_light_radius=(0.4, 0.4)
    )
    drawn, images, _ = simulate(
        galaxies, 128, n=4, zero_points=(30.0, 31.0, 29.0), sky_brightness=(21.0,) * 3
    )
    assert set(drawn["profile"]) == {"sersic", "bulge+disk"}
    np.testing.assert_allclose(drawn["magnitude_g"], drawn["magnitude"])
    for i, (band, zero) in enumerate(zip("grz", (30, 31, 29), strict=True)):
        expected = 10 ** (-0.4 * (drawn[f"magnitude_{band}"] - zero))
        np.testing.assert_allclose(images[..., i].sum(axis=(1, 2)), expected, rtol=0.02)


def test_bulges_are_redder_than_their_discs():
    galaxies = population(
        profile="bulge+disk",
        bands=("g", "z"),
        half_light_radius=(2.0, 2.0),
        bulge_fraction=(0.5, 0.5),
    )
    _, images, _ = simulate(
        galaxies, 96, n=3, zero_points=(30.0, 30.0), sky_brightness=(21.0,) * 2
    )
    color = images[..., 1] / images[..., 0]
    apart = radii(96)
    assert (color[:, apart < 3].mean(axis=1) > color[:, apart > 25].mean(axis=1)).all()


# Noise.


@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
def test_noise_of_an_empty_image(noise):
    galaxies = population(magnitude=(40.0, 40.0))
    _, images, _ = simulate(galaxies, 200, noise=noise)
    sky = 0.2**2 * 10 ** (0.4 * (30 - 21))
    assert images.mean() == pytest.approx(0, abs=4 * np.sqrt(sky + 25) / 200)
    assert images.var() == pytest.approx(sky + 25, rel=0.03)
    assert camera(200).background_std == pytest.approx(np.sqrt(sky + 25))


@pytest.mark.parametrize(("noise", "photons"), [("poisson", 1.0), ("gaussian", 0.0)])
def test_noise_of_a_bright_galaxy(noise, photons):
    galaxies = population(magnitude=(14.0, 14.0), half_light_radius=(10.0, 10.0))
    settings = {"sky_brightness": (np.inf,), "read_noise": 3.0}
    _, truth, _ = simulate(galaxies, 128, noise=None, **settings)
    _, images, _ = simulate(galaxies, 128, noise=noise, **settings)
    pull = (images - truth) / np.sqrt(photons * truth + 9)
    assert pull.mean() == pytest.approx(0, abs=0.03)
    assert pull.std() == pytest.approx(1, rel=0.02)


def test_signal_to_noise():
    galaxies = population(magnitude=(20.0, 20.0))
    _, truth, exact = simulate(galaxies, 64, noise=None)
    assert exact["snr"] == np.inf
    _, _, result = simulate(galaxies, 64, noise="gaussian")
    weight = truth[0, ..., 0] / (truth[0, ..., 0] ** 2).sum()
    trials = np.random.default_rng(0).normal(
        truth[0, ..., 0], camera(64).background_std, (1000, 64, 64)
    )
    measured = (trials * weight).sum(axis=(1, 2))
    assert result["snr"][0] == pytest.approx(1 / measured.std(), rel=0.08)


# Neighbors.


def test_neighbors_add_light_and_leave_the_galaxy():
    galaxies = population(half_light_radius=(0.5, 0.5))
    _, alone, _ = simulate(galaxies, 96, n=6)
    _, images, result = simulate(galaxies, 96, n=6, n_neighbors=2.0)
    assert result["n_neighbors"].sum() > 4
    added = (images - alone).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(added > 1, result["n_neighbors"] > 0)


# The effort.


@pytest.mark.parametrize("settings", [{"psf": "moffat"}, {"psf": "gaussian"}], ids=str)
@pytest.mark.parametrize("profile", ["sersic", "bulge+disk"])
def test_transforms_are_no_longer_than_estimated(profile, settings):
    galaxies = population(
        profile=profile, half_light_radius=(0.5, 2.0), ellipticity=(0.0, 0.8)
    )
    seen_by = camera(16, **settings)
    drawn = galaxies.draw(30, np.random.default_rng(0))
    lengths = []
    for i in range(30):
        row = {name: values[i] for name, values in drawn.items()}
        for light, _ in galaxies.components(row, seen_by.options):
            lengths.append(seen_by.transform_length(light, 0.5))
    longest = max(
        seen_by.transform_length(light, 0.4)
        for light in galaxies.most_extended(seen_by.options)
    )
    assert longest / 5 < max(lengths) <= longest


# Real galaxies: a catalog in the format that GalSim documents, with two Gaussians.


def real_catalog(folder, sigmas=(5.0, 8.0), magnitudes=(19.0, 21.0)):
    rows, columns = np.indices((101, 101)) - 50

    def gaussian(width):
        image = np.exp(-(rows**2 + columns**2) / 2 / width**2)
        return fits.ImageHDU((image / image.sum()).astype(np.float32))

    images = fits.HDUList([fits.PrimaryHDU(), *map(gaussian, sigmas)])
    images.writeto(folder / "galaxies.fits")
    fits.HDUList([fits.PrimaryHDU(), gaussian(1.5)]).writeto(folder / "psf.fits")
    n = len(sigmas)
    Table(
        {
            "IDENT": np.arange(n),
            "GAL_FILENAME": ["galaxies.fits"] * n,
            "PSF_FILENAME": ["psf.fits"] * n,
            "GAL_HDU": np.arange(n) + 1,
            "PSF_HDU": np.ones(n, dtype=int),
            "PIXEL_SCALE": np.full(n, 0.05),
            "NOISE_MEAN": np.zeros(n),
            "NOISE_VARIANCE": np.full(n, 1e-12),
            "MAG": magnitudes,
            "BAND": ["F814W"] * n,
            "WEIGHT": np.ones(n),
        }
    ).write(folder / "catalog.fits")
    return folder / "catalog.fits"


def test_real_galaxies(tmp_path):
    path = real_catalog(tmp_path)
    galaxies = RealGalaxyPopulation(path, (18.0, 22.0))
    drawn, images, _ = simulate(galaxies, 64, n=6, fwhm=0.6)
    assert set(drawn["catalog_index"]) == {0, 1}
    expected = 10 ** (-0.4 * (drawn["magnitude"] - 30))
    np.testing.assert_allclose(images.sum(axis=(1, 2, 3)), expected, rtol=0.01)
    for image, index in zip(images[..., 0], drawn["catalog_index"], strict=True):
        # The telescope's PSF of 1.5 pixels is taken out, the camera's comes in.
        intrinsic = ((5.0, 8.0)[index] ** 2 - 1.5**2) * 0.05**2
        width = (intrinsic + (0.6 / FWHM_OF_SIGMA) ** 2) / 0.2**2 + 1 / 12
        assert second_moments(image)[0] == pytest.approx(width, rel=0.05)


def test_data_set_of_real_galaxies(tmp_path):
    path = real_catalog(tmp_path)
    settings = {"size": 32, "real_catalog": path, "random_state": 0, "verbose": 0}
    one, two = (
        make_galaxies(12, n_neighbors=0.5, n_jobs=n_jobs, **settings)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.images, two.images)
    assert one.images.shape == (12, 32, 32)
    assert set(one.parameters["magnitude"]) == {19.0, 21.0}
    assert one.parameters["rotation"].unit == "deg"
    assert "sersic_index" not in one.parameters.colnames
    assert "real galaxies" in one.DESCR


def test_real_galaxies_of_a_range_of_magnitudes(tmp_path):
    path = real_catalog(tmp_path)
    drawn = RealGalaxyPopulation(path, (20, 22)).draw(5, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn["magnitude"], 21)
    with pytest.raises(ValueError, match=r"none of the 2 galaxies.*19 to 21"):
        RealGalaxyPopulation(path, (10, 12))


def test_catalog_of_a_relative_path(tmp_path, monkeypatch):
    real_catalog(tmp_path)
    monkeypatch.chdir(tmp_path)
    galaxies = RealGalaxyPopulation("catalog.fits", (18.0, 22.0))
    # As in another process, which works elsewhere and has not opened it yet.
    monkeypatch.chdir("/")
    _open_catalog.cache_clear()
    assert simulate(galaxies, 16)[1].shape == (1, 16, 16, 1)


def test_not_a_catalog(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such catalog"):
        RealGalaxyPopulation(tmp_path / "none.fits", (18, 22))
    path = tmp_path / "table.fits"
    Table({"name": ["a"]}).write(path)
    with pytest.raises(ValueError, match="not a catalog"):
        RealGalaxyPopulation(path, (18, 22))
    path = tmp_path / "text.fits"
    path.write_text("not a FITS file")
    with pytest.raises(ValueError, match="not a catalog"):
        RealGalaxyPopulation(path, (18, 22))


def test_without_galsim(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(ImportError, match=r'pip install "skastro\[sim\]"'):
        camera(32)
