# SPDX-License-Identifier: BSD-3-Clause
"""The simulated galaxies as users see them."""

import os
import sys

import h5py
import numpy as np
import pytest
from astropy.table import Table

from skastro.datasets import LazyArray, make_galaxies, read_galaxies

pytestmark = pytest.mark.once

# Indices for which GalSim prepares the profile quickly.
QUICK = {"size": 32, "sersic_index": (0.5, 2.0), "verbose": 0}
COLUMNS = [
    "profile",
    "magnitude",
    "half_light_radius",
    "sersic_index",
    "bulge_fraction",
    "bulge_radius_ratio",
    "ellipticity",
    "position_angle",
    "g1",
    "g2",
    "psf_fwhm",
    "stamp_size",
    "x",
    "y",
    "n_neighbors",
    "snr",
]


def make(n_galaxies=5, **settings):
    return make_galaxies(n_galaxies, **{"random_state": 0, **QUICK, **settings})


@pytest.fixture(scope="module")
def galaxies():
    return make(200)


def test_fields(galaxies):
    assert galaxies.images.shape == (200, 32, 32)
    assert galaxies.images.dtype == np.float32
    assert np.isfinite(galaxies.images).all()
    assert galaxies.parameters.colnames == COLUMNS
    assert len(galaxies.parameters) == 200
    assert galaxies.bands == ("r",)
    assert galaxies.pixel_scale == 0.2
    assert galaxies.zero_points.tolist() == [32.0]
    assert galaxies.background_std == pytest.approx(30.28, abs=0.01)
    assert galaxies.filename is None
    assert "200 (sersic)" in galaxies.DESCR
    units = {name: str(galaxies.parameters[name].unit) for name in COLUMNS}
    assert units["half_light_radius"] == units["psf_fwhm"] == "arcsec"
    assert units["position_angle"] == "deg"
    assert units["x"] == units["stamp_size"] == "pix"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("magnitude", 18, 22),
        ("half_light_radius", 0.4, 2.5),
        ("sersic_index", 0.5, 2),
        ("ellipticity", 0, 0.7),
        ("position_angle", 0, 180),
        ("psf_fwhm", 0.6, 1.0),
        ("x", 15, 16),
        ("y", 15, 16),
    ],
)
def test_ranges(galaxies, name, low, high):
    values = np.asarray(galaxies.parameters[name])
    width = high - low
    assert low <= values.min() < low + 0.1 * width
    assert high >= values.max() > high - 0.1 * width


def test_parameters_are_independent(galaxies):
    names = ["magnitude", "half_light_radius", "sersic_index", "ellipticity"]
    names += ["position_angle", "psf_fwhm", "x", "y"]
    values = np.stack([np.asarray(galaxies.parameters[name]) for name in names])
    correlation = np.corrcoef(values) - np.eye(len(names))
    assert np.abs(correlation).max() < 0.25


def test_radii_are_even_in_the_logarithm(galaxies):
    radius = np.asarray(galaxies.parameters["half_light_radius"])
    assert (radius < 1).mean() == pytest.approx(0.5, abs=0.1)


def test_indices_are_rounded(galaxies):
    index = np.asarray(galaxies.parameters["sersic_index"])
    np.testing.assert_array_equal(index, np.round(index, 1))
    assert len(np.unique(index)) == 16
    index = make(2, sersic_index=1.234).parameters["sersic_index"]
    np.testing.assert_array_equal(index, 1.234)


def test_images_belong_to_their_parameters(galaxies):
    flux = galaxies.images.sum(axis=(1, 2))
    measured = 32 - 2.5 * np.log10(np.maximum(flux, 1))
    difference = measured - galaxies.parameters["magnitude"]
    bright = galaxies.parameters["snr"] > 50
    # Light outside of the image is missing.
    assert 0 < np.median(difference[bright]) < 0.15
    # The center is where the table says.
    compact = bright & (galaxies.parameters["half_light_radius"] < 0.7)
    columns = np.arange(32)
    center = (galaxies.images.sum(axis=1) * columns).sum(axis=1) / flux
    error = (center - galaxies.parameters["x"])[compact]
    assert np.abs(error).mean() < 0.15


def test_same_images_for_any_number_of_processes():
    one, two = (make(70, n_neighbors=1.0, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.images, two.images)
    for name in COLUMNS:
        np.testing.assert_array_equal(one.parameters[name], two.parameters[name])


def test_random_state():
    one, same, other = (make(3, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.images, same.images)
    assert not np.array_equal(one.images, other.images)
    state = np.random.RandomState(0)
    first, second = (make(3, random_state=state) for _ in range(2))
    assert not np.array_equal(first.images, second.images)


def test_global_generator_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make(2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_without_noise_all_else_is_the_same(galaxies):
    clean = make(200, noise=None)
    np.testing.assert_array_equal(
        clean.parameters["magnitude"], galaxies.parameters["magnitude"]
    )
    noise = galaxies.images - clean.images
    faint = np.asarray(galaxies.parameters["magnitude"]) > 21
    assert noise[faint].std() == pytest.approx(galaxies.background_std[0], rel=0.03)
    assert np.isinf(clean.parameters["snr"]).all()
    assert clean.background_std == 0


@pytest.mark.parametrize("psf", ["moffat", "kolmogorov", "gaussian"])
@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
def test_options(psf, noise):
    galaxies = make(3, psf=psf, noise=noise, psf_fwhm=0.7, size=17)
    assert galaxies.images.shape == (3, 17, 17)
    np.testing.assert_array_equal(galaxies.parameters["psf_fwhm"], 0.7)


@pytest.mark.parametrize(
    ("bands", "shape"), [("i", (4, 32, 32)), (["i"], (4, 32, 32, 1)), ("ugy", None)]
)
def test_bands(bands, shape):
    if shape is None:
        with pytest.raises(ValueError, match="bands must be one or several"):
            make(4, bands=bands)
        return
    assert make(4, bands=bands).images.shape == shape


def test_colors():
    galaxies = make(
        8, bands=("g", "r", "z"), profile="both", zero_point={"g": 32, "r": 31, "z": 30}
    )
    table = galaxies.parameters
    assert galaxies.images.shape == (8, 32, 32, 3)
    assert galaxies.zero_points.tolist() == [32, 31, 30]
    np.testing.assert_allclose(table["magnitude_g"], table["magnitude"])
    assert (table["magnitude_r"] < table["magnitude_g"]).all()
    assert set(table["profile"]) == {"sersic", "bulge+disk"}
    both = np.asarray(table["profile"]) == "bulge+disk"
    np.testing.assert_array_equal(np.isnan(table["bulge_fraction"]), ~both)
    np.testing.assert_array_equal(np.isnan(table["sersic_index"]), both)
    assert (table["redshift"] <= 0.3).all()


@pytest.mark.parametrize("stamp_size", [(12, 50), 21, 40])
def test_stamps_are_padded_or_cropped(stamp_size):
    galaxies = make(20, stamp_size=stamp_size, noise="gaussian")
    table = galaxies.parameters
    low, high = np.broadcast_to(stamp_size, 2)
    assert table["stamp_size"].min() >= low
    assert table["stamp_size"].max() <= high
    for image, row in zip(galaxies.images, table, strict=True):
        side = min(row["stamp_size"], 32)
        before = (32 - side) // 2
        filled = np.zeros((32, 32), bool)
        filled[before : before + side, before : before + side] = True
        np.testing.assert_array_equal(image != 0, filled)
        middle = before + (side - 1) / 2
        assert abs(row["x"] - middle) <= 0.5
        assert abs(row["y"] - middle) <= 0.5


def test_splits(galaxies):
    assert "split" not in galaxies.parameters.colnames
    split = make(20, splits=(0.8, 0.1, 0.1)).parameters["split"]
    assert split.tolist() == ["train"] * 16 + ["valid"] * 2 + ["test"] * 2
    split = make(9, splits=[0.7, 0.3]).parameters["split"]
    assert split.tolist() == ["train"] * 6 + ["test"] * 3


# Files.


@pytest.mark.parametrize("bands", ["r", ("g", "r")])
def test_file(tmp_path, bands):
    settings = {"bands": bands, "profile": "both", "splits": (0.5, 0.5)}
    memory = make(70, **settings)
    path = tmp_path / "galaxies.h5"
    path.write_text("an older file")
    written = make(70, out=path, n_jobs=2, **settings)
    assert [item.name for item in tmp_path.iterdir()] == ["galaxies.h5"]
    for galaxies in (written, read_galaxies(path)):
        assert isinstance(galaxies.images, LazyArray)
        assert galaxies.images.dtype == np.float32
        np.testing.assert_array_equal(galaxies.images[:], memory.images)
        np.testing.assert_array_equal(
            galaxies.images[[40, 3]][:], memory.images[[40, 3]]
        )
        assert galaxies.parameters.colnames == memory.parameters.colnames
        for name in memory.parameters.colnames:
            column = galaxies.parameters[name]
            np.testing.assert_array_equal(column, memory.parameters[name])
            assert column.unit == memory.parameters[name].unit
            assert column.dtype.kind == memory.parameters[name].dtype.kind
        for name in ("bands", "pixel_scale", "DESCR"):
            assert galaxies[name] == memory[name]
        for name in ("zero_points", "background_std"):
            np.testing.assert_array_equal(galaxies[name], memory[name])
        assert galaxies.filename == str(path)
    with h5py.File(path) as file:
        assert file["images"].chunks[0] > 1
    assert Table.read(path, "parameters")["split"][0] == "train"


def test_failure_leaves_no_file(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(
        "skastro.datasets.galaxies._make_galaxies.simulate_galaxies", fail
    )
    with pytest.raises(RuntimeError, match="the disk is full"):
        make(3, out=tmp_path / "galaxies.h5")
    assert list(tmp_path.iterdir()) == []


def test_files_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_galaxies(tmp_path / "none.h5")
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["spectra"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"no data set 'images'.*'spectra'"):
        read_galaxies(path)
    with h5py.File(path, "a") as file:
        file["images"] = np.zeros((3, 8, 8))
        file["parameters"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"lack the attributes.*make_galaxies"):
        read_galaxies(path)


def test_damaged_parameters(tmp_path):
    path = tmp_path / "galaxies.h5"
    make(3, out=path)
    content = path.read_bytes()
    # Text that is none, in the table's description of itself.
    path.write_bytes(content.replace(b"half_light_radius", b"\xff" * 17))
    with pytest.raises(OSError, match=r"galaxies\.h5: the file is damaged: .*utf-8"):
        read_galaxies(path)
    os.truncate(path, len(content) - 100)
    with pytest.raises(OSError, match="it is truncated"):
        read_galaxies(path)


@pytest.mark.parametrize("profile", ["sersic", "bulge+disk"])
def test_galaxies_that_memory_cannot_hold(profile):
    settings = {"profile": profile, "half_light_radius": (1, 20), "sersic_index": 4}
    make(1, **settings)
    message = r"half_light_radius, sersic_index and .* too large together.*16384"
    with pytest.raises(ValueError, match=message):
        make(1, ellipticity=(0, 0.95), **settings)


def test_progress_bar(capsys):
    make(3, verbose=0)
    assert capsys.readouterr() == ("", "")
    make(3, verbose=1)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_galaxies": 0}, ValueError, "n_galaxies must be at least 1; got 0"),
        ({"n_galaxies": 2.5}, TypeError, "n_galaxies must be an integer"),
        ({"size": 4}, ValueError, "size must be at least 8; got 4"),
        ({"stamp_size": (8.5, 20)}, TypeError, "stamp_size must be an integer"),
        ({"stamp_size": 4}, ValueError, "stamp_size must be at least 8"),
        ({"bands": "H"}, ValueError, "got 'H'"),
        ({"bands": ("r", "r")}, ValueError, "several different ones"),
        ({"bands": ()}, ValueError, "one or several"),
        ({"bands": 3}, ValueError, "got 3"),
        ({"profile": "spiral"}, ValueError, "profile must be one of.*got 'spiral'"),
        ({"magnitude": (22, 18)}, ValueError, r"\(lowest, highest\); got \(22, 18\)"),
        ({"magnitude": "faint"}, TypeError, "a number or a pair"),
        ({"magnitude": np.nan}, ValueError, "magnitude must be finite"),
        ({"half_light_radius": 0}, ValueError, "above 0, at most 20; got 0"),
        ({"half_light_radius": 30}, ValueError, "at most 20; got 30"),
        ({"sersic_index": (0.5, 8)}, ValueError, "from 0.3 to 6.2"),
        ({"ellipticity": 1.0}, ValueError, "from 0 to 0.95; got 1.0"),
        ({"bulge_fraction": (0, 2)}, ValueError, "from 0 to 1"),
        ({"n_neighbors": -1}, ValueError, "n_neighbors must be at least 0; got -1"),
        ({"pixel_scale": 0}, ValueError, "pixel_scale must be positive"),
        ({"pixel_scale": "0.2"}, TypeError, "pixel_scale must be a number"),
        ({"psf": "airy"}, ValueError, "psf must be one of.*moffat"),
        ({"psf_fwhm": 0.1}, ValueError, "psf_fwhm must be at least 0.2; got 0.1"),
        ({"noise": "white"}, ValueError, "noise must be one of"),
        ({"zero_point": {"g": 30}}, ValueError, r"no value for \['r'\]; it has \['g'"),
        ({"zero_point": np.inf}, ValueError, "zero_point must be a magnitude"),
        ({"sky_brightness": "dark"}, TypeError, "sky_brightness must be a number"),
        (
            {"read_noise": np.inf},
            ValueError,
            "read_noise must be at least 0 and finite; got inf",
        ),
        ({"splits": (0.5, 0.4)}, ValueError, "sum 1; got.*sum 0.9"),
        ({"splits": 0.5}, ValueError, "two or three numbers"),
        ({"splits": (0.9, 0.1)}, ValueError, "leave a part empty"),
        ({"real_catalog": "none.fits"}, FileNotFoundError, "none.fits: there is no"),
        (
            {"real_catalog": "none.fits", "bands": ("g", "r")},
            ValueError,
            "one band only",
        ),
        ({"out": "no/such/folder.h5"}, FileNotFoundError, "does not exist"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make(**{"n_galaxies": 3, **arguments})


def test_galsim_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(ImportError, match=r'pip install "skastro\[sim\]"'):
        make(2)
