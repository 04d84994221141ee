# SPDX-License-Identifier: BSD-3-Clause
"""Files of electron images in all their kinds, written here and read again."""

import bz2
import pickle

import h5py
import numpy as np
import pytest
from PIL import Image

from skastro.datasets import LazyArray
from skastro.sevi import _tables, bin_electrons, make_sevi, read_sevi, throw_electrons

BETA = np.zeros(12)
BETA[:3] = 0.4, 0.2, -0.05


def records(**columns):
    """Put columns together to a table."""
    columns = {name: np.asarray(values) for name, values in columns.items()}
    types = [(name, v.dtype, v.shape[1:]) for name, v in columns.items()]
    table = np.empty(len(next(iter(columns.values()))), types)
    for name, values in columns.items():
        table[name] = values
    return table


def write(path, **tables):
    with h5py.File(path, "w") as file:
        for name, table in tables.items():
            file[name] = table
    return path


@pytest.fixture(scope="module")
def thrown():
    """Three shells, in no order, with their electrons."""
    rng = np.random.default_rng(0)
    radii, widths = (0.8, 0.3, 0.5), (0.005, 0.006, 0.007)
    electrons = [
        throw_electrons(BETA * (i + 1) / 3, r, w, 500 + 100 * i, rng)
        for i, (r, w) in enumerate(zip(radii, widths, strict=True))
    ]
    beta = [BETA * (i + 1) / 3 for i in range(3)]
    return {"R": radii, "sigma_R": widths, "beta": beta}, electrons


def join(electrons, name):
    return np.concatenate([part[name] for part in electrons])


def electron_tables(thrown, generated_ids=True, first=0):
    """Tables of the electrons of all shells, some of which are not detected."""
    shells, electrons = thrown
    rng = np.random.default_rng(1)
    shell = np.repeat([7, 5, 6], [len(part["r"]) for part in electrons])
    n = len(shell)
    ids = rng.permutation(n) + 1000 if generated_ids else np.arange(n) + first
    seen = np.sort(rng.choice(n, n - 200, replace=False))
    seen = np.union1d(seen, [0, n - 1])
    generated = {"DistributionId": shell, "r": join(electrons, "r")}
    generated["cos_theta"] = join(electrons, "cos_theta")
    if generated_ids:
        generated["ElectronId"] = ids
    return (
        {
            "DistributionParameters": records(DistributionId=[7, 5, 6], **shells),
            "GeneratedElectrons": records(**generated),
            "DetectedElectrons": records(
                ElectronId=ids[seen],
                x=join(electrons, "x")[seen],
                z=join(electrons, "z")[seen],
            ),
        },
        seen,
        shell[seen],
    )


def image_table(images, ids=None):
    images = np.asarray(images, dtype="u1")
    return records(ImageId=np.arange(len(images)) if ids is None else ids, Image=images)


def shell_table(radii, ids, **columns):
    radii = np.asarray(radii)
    beta = radii[:, None] + np.arange(12) / 100
    return records(SphereId=ids, R=radii, sigma_R=radii / 100, beta=beta, **columns)


@pytest.mark.parametrize("generated_ids", [True, False])
def test_electrons(tmp_path, thrown, generated_ids):
    tables, seen, shell = electron_tables(thrown, generated_ids)
    path = write(tmp_path / "a.h5", **tables)
    sevi = read_sevi(path, size=50, return_electrons=True)
    assert sevi.kind == "electrons"
    assert sevi.images.shape == (3, 50, 50)
    assert sevi.images.dtype == np.float32
    assert sevi.shell_id.tolist() == [[5], [6], [7]]
    assert sevi.image_id.tolist() == [5, 6, 7]
    assert sevi.radius.tolist() == [[0.3], [0.5], [0.8]]
    assert sevi.radius_width.tolist() == [[0.006], [0.007], [0.005]]
    np.testing.assert_allclose(sevi.beta[:, 0], [0.4 * 2 / 3, 0.4, 0.4 / 3])
    assert sevi.pixel_size == 2 / 50
    assert sevi.polarization_axis == 1
    x, z = join(thrown[1], "x")[seen], join(thrown[1], "z")[seen]
    for i, name in enumerate([5, 6, 7]):
        mine = shell == name
        np.testing.assert_array_equal(
            sevi.images[i], bin_electrons(x[mine], z[mine], 50)
        )
        assert sevi.n_electrons[i] == mine.sum()
    table = sevi.electrons
    np.testing.assert_array_equal(table["generated_row"], seen)
    np.testing.assert_array_equal(table["r"], join(thrown[1], "r")[seen])
    # The joined electron is the one that flew there.
    np.testing.assert_allclose(table["r"] * table["cos_theta"], table["z"], atol=1e-12)
    np.testing.assert_array_equal(table["image"], shell - 5)
    assert not table["shell"].any()


def test_electrons_of_several_shells_in_an_image(tmp_path, thrown):
    tables, seen, shell = electron_tables(thrown)
    path = write(tmp_path / "a.h5", **tables)
    sevi = read_sevi(path, size=32, n_shells=3, return_electrons=True)
    assert sevi.images.shape == (1, 32, 32)
    assert sevi.radius.tolist() == [[0.3, 0.5, 0.8]]
    assert sevi.shell_id.tolist() == [[5, 6, 7]]
    assert sevi.beta.shape == (1, 36)
    np.testing.assert_allclose(sevi.beta[0, 12:24], BETA)
    assert sevi.n_electrons.tolist() == [[np.sum(shell == name) for name in (5, 6, 7)]]
    np.testing.assert_array_equal(sevi.electrons["shell"], shell - 5)
    x, z = join(thrown[1], "x")[seen], join(thrown[1], "z")[seen]
    np.testing.assert_array_equal(sevi.images[0], bin_electrons(x, z, 32))
    with pytest.raises(ValueError, match="3 shells, which do not fill images of 2"):
        read_sevi(path, n_shells=2)


def test_electrons_in_parts(tmp_path, thrown, monkeypatch):
    path = write(tmp_path / "a.h5", **electron_tables(thrown)[0])
    whole = read_sevi(path, size=32, return_electrons=True)
    monkeypatch.setattr(_tables, "_ROWS_AT_ONCE", 97)
    parts = read_sevi(path, size=32, return_electrons=True)
    np.testing.assert_array_equal(parts.images, whole.images)
    np.testing.assert_array_equal(parts.n_electrons, whole.n_electrons)
    assert (parts.electrons == whole.electrons).all()


def test_electrons_of_one_shell(tmp_path, thrown):
    electrons = thrown[1][0]
    path = write(
        tmp_path / "shell.h5",
        DistributionParameters=records(
            DistributionId=[3], R=[0.8], sigma_R=[0.005], beta=[BETA]
        ),
        GeneratedElectrons=records(r=electrons["r"], cosθ=electrons["cos_theta"]),
        DetectedElectrons=records(
            ElectronId=np.arange(500)[::2], x=electrons["x"][::2], z=electrons["z"][::2]
        ),
    )
    sevi = read_sevi(path, extent=0.7, return_electrons=True)
    assert sevi.images.shape == (1, 256, 256)
    expected = bin_electrons(electrons["x"][::2], electrons["z"][::2], 256, 0.7)
    np.testing.assert_array_equal(sevi.images[0], expected)
    # Those beyond the image count too.
    assert expected.sum() < sevi.n_electrons.item() == 250
    assert sevi.pixel_size == 1.4 / 256
    np.testing.assert_array_equal(sevi.electrons["r"], electrons["r"][::2])
    np.testing.assert_array_equal(
        sevi.electrons["cos_theta"], electrons["cos_theta"][::2]
    )


def test_electron_ids_from_one(tmp_path, thrown):
    tables, seen, _ = electron_tables(thrown, generated_ids=False, first=1)
    tables["DetectedElectrons"] = tables["DetectedElectrons"][1:]
    path = write(tmp_path / "a.h5", **tables)
    sevi = read_sevi(path, size=16, return_electrons=True)
    np.testing.assert_array_equal(sevi.electrons["generated_row"], seen[1:])


def test_electron_ids_that_start_again_in_each_shell(tmp_path):
    path = write(
        tmp_path / "a.h5",
        DistributionParameters=records(
            DistributionId=[0, 1], R=[0.5, 0.6], sigma_R=[0.1, 0.1], beta=[BETA, BETA]
        ),
        GeneratedElectrons=records(
            DistributionId=[0, 0, 1, 1],
            ElectronId=[1, 2, 1, 2],
            r=[0.1, 0.2, 0.3, 0.4],
        ),
        DetectedElectrons=records(
            DistributionId=[1, 0], ElectronId=[2, 2], x=[0.0, 0.0], z=[0.4, 0.2]
        ),
    )
    table = read_sevi(path, size=8, return_electrons=True).electrons
    assert table["r"].tolist() == [0.4, 0.2]
    with h5py.File(path, "a") as file:
        file["DetectedElectrons"]["ElectronId"] = 0
        rows = file["DetectedElectrons"][:]
        rows["ElectronId"] = 3
        file["DetectedElectrons"][:] = rows
    with pytest.raises(ValueError, match=r"no matching row in .*GeneratedElectrons"):
        read_sevi(path, size=8, return_electrons=True)


def test_image_ids_of_electrons(tmp_path):
    """Files of images with the electrons that they were made of."""
    rng = np.random.default_rng(0)
    x, z = rng.uniform(-1, 1, (2, 300))
    image = np.repeat([2, 0, 1], 100)
    tables = {
        "FinalImage": image_table(np.ones((3, 8, 8))),
        "Truth": shell_table([0.5, 0.4, 0.3], [0, 1, 2]),
        "DetectedElectrons": records(ImageId=image, x=x, z=z),
    }
    path = write(tmp_path / "a.h5", **tables)
    assert (read_sevi(path).images == 1).all()
    sevi = read_sevi(path, source="electrons", size=16)
    assert sevi.image_id.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(
        sevi.images[0], bin_electrons(x[100:200], z[100:200], 16)
    )
    assert sevi.radius.tolist() == [[0.5], [0.4], [0.3]]
    assert sevi.n_electrons is None
    del tables["Truth"]
    sevi = read_sevi(write(path, **tables), source="electrons", size=16)
    assert sevi.beta is None
    np.testing.assert_array_equal(sevi.images[2], bin_electrons(x[:100], z[:100], 16))


def test_electrons_without_a_table_of_shells(tmp_path):
    electrons = {"x": [0.1, 0.2, 0.3], "z": [0.0, 0.0, 0.0]}
    path = write(tmp_path / "a.h5", DetectedElectrons=records(**electrons))
    sevi = read_sevi(path, size=4)
    assert sevi.images.sum((1, 2)).tolist() == [3]
    assert sevi.beta is sevi.radius is None
    shells = records(SphereId=[4, 9, 4], **electrons)
    sevi = read_sevi(write(path, DetectedElectrons=shells), size=4)
    assert sevi.images.sum((1, 2)).tolist() == [2, 1]
    assert sevi.shell_id.tolist() == [[4], [9]]


def test_simulated_images_come_back(tmp_path):
    """What make_sevi gives is the same after writing and reading."""
    made = make_sevi(4, n_shells=2, size=32, n_electrons=2e3, random_state=0)
    assert made.images.max() < 256
    place = [[1, 0], [0, 1], [0, 1], [1, 0]]
    mixed = {
        "R": np.take_along_axis(made.radius, np.array(place), 1).ravel(),
        "sigma_R": np.take_along_axis(made.radius_width, np.array(place), 1).ravel(),
        "beta": made.beta.reshape(4, 2, 12)[np.arange(4)[:, None], place].reshape(
            8, 12
        ),
    }
    path = write(
        tmp_path / "a.h5",
        FinalImage=image_table(made.images),
        Truth=records(SphereId=np.repeat(np.arange(4), 2), **mixed),
    )
    sevi = read_sevi(path)
    for name in ("images", "beta", "radius", "radius_width"):
        np.testing.assert_array_equal(sevi[name], made[name])
    assert sevi.images.dtype == np.uint8
    assert sevi.pixel_size == made.pixel_size
    assert set(made) - {"background", "tilt", "ellipticity", "center"} <= set(sevi)
    vmi = read_sevi(path, convention="vmi")
    np.testing.assert_array_equal(vmi.beta, 2 * made.beta)
    assert vmi.convention == "vmi"
    turned = read_sevi(path, polarization_axis=0)
    np.testing.assert_array_equal(turned.images, made.images.swapaxes(1, 2))
    assert turned.polarization_axis == 0
    smaller = read_sevi(path, size=8)
    assert smaller.images.dtype == np.float32
    expected = made.images.reshape(4, 8, 4, 8, 4).sum((2, 4))
    np.testing.assert_array_equal(smaller.images, expected)
    assert smaller.pixel_size == 0.25


def test_lazy_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8))
    path = write(
        tmp_path / "a.h5",
        FinalImage=image_table(images),
        Answer=shell_table([0.3] * 5, np.arange(5)),
    )
    sevi = read_sevi(path, lazy=True)
    assert isinstance(sevi.images, LazyArray)
    np.testing.assert_array_equal(sevi.images[1:4], images[1:4])
    np.testing.assert_array_equal(sevi.images[[4, 0]][:], images[[4, 0]])
    again = pickle.loads(pickle.dumps(sevi.images))
    np.testing.assert_array_equal(again[:], images)
    changed = read_sevi(path, lazy=True, polarization_axis=0, size=4).images
    now = read_sevi(path, polarization_axis=0, size=4).images
    assert changed.shape == (5, 4, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(changed))[:], now)
    np.save(tmp_path / "a.npy", images)
    lazy = read_sevi(tmp_path / "a.npy", lazy=True, size=2).images
    assert isinstance(lazy, LazyArray)
    np.testing.assert_array_equal(lazy[:], images.reshape(5, 2, 4, 2, 4).sum((2, 4)))


@pytest.mark.parametrize(
    ("ids", "columns", "settings", "radii"),
    [
        # A column says so, whatever the SphereId.
        ([9, 8, 7, 6], {"ImageId": [1, 0, 0, 1]}, {}, [[0.4, 0.5], [0.3, 0.6]]),
        # The SphereId is that of the image.
        ([1, 0, 1, 0], {}, {}, [[0.4, 0.6], [0.3, 0.5]]),
        # Consecutive spheres, in the order of their ids.
        ([3, 2, 1, 0], {}, {}, [[0.5, 0.6], [0.3, 0.4]]),
        ([1, 2, 3, 4], {}, {}, [[0.3, 0.4], [0.5, 0.6]]),
        # Others have to be announced.
        ([10, 50, 20, 40], {}, {"n_shells": 2}, [[0.3, 0.5], [0.4, 0.6]]),
        # Not all images have as many.
        ([0, 0, 0, 1], {}, {}, [[0.3, 0.4, 0.5], [0.6, np.nan, np.nan]]),
    ],
    ids=["column", "equal", "descending", "from-one", "announced", "unequal"],
)
def test_which_shells_are_in_an_image(tmp_path, ids, columns, settings, radii):
    path = write(
        tmp_path / "a.h5",
        # Images in the order of the file, not of their ids.
        FinalImage=image_table(
            np.arange(2)[::-1, None, None] * np.ones((8, 8)), [1, 0]
        ),
        Truth=shell_table([0.3, 0.4, 0.5, 0.6], ids, **columns),
    )
    sevi = read_sevi(path, **settings)
    assert sevi.image_id.tolist() == [1, 0]
    assert sevi.images[:, 0, 0].tolist() == [1, 0]
    np.testing.assert_array_equal(sevi.radius[::-1], radii)
    np.testing.assert_array_equal(np.isnan(sevi.beta[:, ::12]), np.isnan(sevi.radius))
    np.testing.assert_array_equal(sevi.beta[:, ::12], sevi.radius)
    np.testing.assert_array_equal(sevi.shell_id == -1, np.isnan(sevi.radius))


def test_shells_by_their_ids(tmp_path):
    path = write(
        tmp_path / "a.h5",
        FinalImage=image_table(np.zeros((3, 4, 4)), [4, 2, 9]),
        Truth=shell_table([0.9, 0.2, 0.4], [9, 2, 4]),
    )
    assert read_sevi(path).radius.tolist() == [[0.4], [0.2], [0.9]]


def test_shells_alone(tmp_path):
    table = shell_table([0.5, 0.3, 0.4, 0.6], [3, 2, 1, 0])
    path = write(tmp_path / "a.h5", Answer=table[["SphereId", "R", "beta"]])
    sevi = read_sevi(path)
    assert sevi.images is sevi.radius_width is None
    assert sevi.radius.tolist() == [[0.6], [0.4], [0.3], [0.5]]
    assert read_sevi(path, n_shells=2).radius.tolist() == [[0.4, 0.6], [0.3, 0.5]]


NUMBERED = [f"β{i}" for i in "₁₂₃₄₅₆₇₈₉"] + ["β₁₀", "β₁₁", "β₁₂"]


@pytest.mark.parametrize(
    "names",
    [
        ("Sphere_Id", "r", "\u03c3R", ["beta"]),
        ("sphere id", "R", "sigmaR", [f"beta_{i:02}" for i in range(1, 13)]),
        ("SPHEREID", "Radius", "\u03c3_R", NUMBERED[::-1]),
        ("DistributionId", "R", "ΣR", ["β"]),
    ],
    ids=["short", "numbered", "greek", "capital"],
)
@pytest.mark.parametrize("table", ["Truth", "truth", "results/Truth"])
def test_spellings(tmp_path, names, table):
    sphere, radius, width, betas = names
    columns = {sphere: [1], radius: [0.5], width: [0.007]}
    if len(betas) == 1:
        columns[betas[0]] = [np.arange(1.0, 13)]
    else:
        ascending = betas if betas is not None and "01" in betas[0] else betas[::-1]
        values = {name: float(i + 1) for i, name in enumerate(ascending)}
        columns.update({name: [values[name]] for name in betas})
    path = write(tmp_path / "a.h5", **{table: records(**columns)})
    sevi = read_sevi(path)
    assert sevi.radius.tolist() == [[0.5]]
    assert sevi.radius_width.tolist() == [[0.007]]
    assert sevi.beta.tolist() == [list(range(1, 13))]


def test_big_endian_tables(tmp_path):
    table = np.zeros(1, [("SphereId", ">i4"), ("R", ">f4"), ("beta", ">f8", 12)])
    table["R"], table["beta"] = 0.5, BETA
    images = np.zeros(1, [("ImageId", ">i4"), ("Image", ">u2", (4, 4))])
    images["Image"] = 300
    path = write(tmp_path / "a.h5", Truth=table, FinalImage=images)
    sevi = read_sevi(path)
    np.testing.assert_array_equal(sevi.beta[0], BETA)
    assert sevi.images.dtype == np.uint16
    assert sevi.images.dtype.isnative
    assert (sevi.images == 300).all()


@pytest.mark.parametrize("delimiter", [" ", ",", "; ", "\t"])
@pytest.mark.parametrize("suffix", [".txt", ".dat.bz2", ".csv.gz"])
def test_text(tmp_path, delimiter, suffix):
    image = np.random.default_rng(0).integers(0, 1000, (6, 4))
    path = tmp_path / f"image{suffix}"
    np.savetxt(path, image, fmt="%d", delimiter=delimiter, header="counts")
    sevi = read_sevi(path, polarization_axis=0)
    assert sevi.kind == "plain"
    assert sevi.images.dtype == np.float32
    np.testing.assert_array_equal(sevi.images, image[None])
    assert sevi.polarization_axis == 0
    assert sevi.pixel_size is None
    assert read_sevi(path).polarization_axis is None


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_tiff(tmp_path, dtype):
    images = np.random.default_rng(0).integers(0, 255, (3, 6, 4)).astype(dtype)
    pages = [Image.fromarray(image) for image in images]
    pages[0].save(tmp_path / "one.tif")
    pages[0].save(tmp_path / "all.tiff", save_all=True, append_images=pages[1:])
    one = read_sevi(tmp_path / "one.tif").images
    assert one.dtype == dtype
    np.testing.assert_array_equal(one, images[:1])
    np.testing.assert_array_equal(read_sevi(tmp_path / "all.tiff").images, images)


def test_numpy_array(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((8, 8), dtype=">f4"))
    images = read_sevi(tmp_path / "a.npy", size=4).images
    assert images.shape == (1, 4, 4)
    assert (images == 4).all()


def test_measured_image(data_dir):
    sevi = read_sevi(data_dir / "O2-ANU1024.txt.bz2")
    image = sevi.images[0].astype(np.float64)
    assert image.shape == (1024, 1024)
    assert image.sum() == 58104223
    rows, columns = image.sum(1), image.sum(0)
    places = np.arange(1024)
    assert places @ rows / rows.sum() == pytest.approx(512.5, abs=0.1)
    assert places @ columns / columns.sum() == pytest.approx(512.9, abs=0.1)


IMAGES = image_table(np.zeros((3, 8, 8)))
ONE = records(ElectronId=[0], x=[0.0], z=[0.0])
PARAMETERS = shell_table([0.3, 0.4], [0, 1])


@pytest.mark.parametrize(
    ("tables", "settings", "message"),
    [
        ({"spectra": np.zeros(3)}, {}, r"not a SEVI file: it holds 'spectra'.*Final"),
        ({"FinalImage": np.zeros((3, 8, 8))}, {}, "'FinalImage' is not a table"),
        ({"Truth": PARAMETERS, "truth": PARAMETERS}, {}, "both .* tables 'Truth'"),
        ({"FinalImage": ONE}, {}, "no column 'image'; it has the columns .'Electron"),
        ({"Truth": PARAMETERS[["R", "SphereId"]]}, {}, "no column 'beta'"),
        ({"Truth": PARAMETERS[["beta"]]}, {}, "no column 'radius'"),
        ({"Truth": PARAMETERS[:0]}, {}, "has no rows"),
        (
            {"Truth": records(R=[0.5], beta=np.zeros((1, 8)))},
            {},
            r"coefficients of shape \(8,\).*expected 12 numbers",
        ),
        (
            {"Truth": records(R=[0.5], beta1=[0.0], beta2=[0.0])},
            {},
            r"'beta1', 'beta2'.*'beta1' to 'beta12'",
        ),
        ({"Truth": shell_table([np.nan], [0])}, {}, "column 'beta' contains NaN"),
        ({"Truth": records(R=[b"a"], beta=[BETA])}, {}, "expected one number per row"),
        ({"Truth": records(R=[0.1], r=[0.2], beta=[BETA])}, {}, "'R' and 'r' differ"),
        (
            {"FinalImage": IMAGES, "Truth": PARAMETERS},
            {},
            "2 different ids for 3 images",
        ),
        (
            {"FinalImage": IMAGES[:2], "Truth": shell_table([0.3] * 4, [0, 1, 5, 6])},
            {},
            "does not tell in which image.*n_shells=",
        ),
        (
            {"FinalImage": IMAGES, "Truth": shell_table([0.3] * 3, [1, 2, 3])},
            {},
            "no image with the id 3 and no shell for the image 0.*n_shells=1",
        ),
        (
            {"FinalImage": IMAGES, "Truth": shell_table([0.3] * 4, [0, 0, 1, 1])},
            {},
            "no shell for the image 2.$",
        ),
        (
            {"FinalImage": IMAGES[:2], "Truth": shell_table([0.3] * 4, [0, 0, 1, 1])},
            {"n_shells": 1},
            "2 to 2 shells per image, but n_shells=1",
        ),
        (
            {"FinalImage": IMAGES[[0, 0]], "Truth": PARAMETERS},
            {},
            "several have one id: 0",
        ),
        (
            {"DistributionParameters": PARAMETERS, "DetectedElectrons": ONE},
            {},
            "to which of the 2 shells an electron belongs",
        ),
        (
            {
                "DistributionParameters": PARAMETERS,
                "DetectedElectrons": records(SphereId=[0, 4], x=[0.0, 1], z=[0.0, 1]),
            },
            {},
            "no matching row in .*'DistributionParameters' for the id 4",
        ),
        (
            {
                "GeneratedElectrons": records(r=[0.5]),
                "DetectedElectrons": records(ElectronId=[3], x=[0.0], z=[0.0]),
            },
            {"return_electrons": True},
            "no row in .*'GeneratedElectrons', of 1 rows, for the id 3",
        ),
        (
            {
                "GeneratedElectrons": records(ElectronId=[3, 3], r=[0.5, 0.5]),
                "DetectedElectrons": ONE,
            },
            {"return_electrons": True},
            "several rows have the id 3",
        ),
        ({"DetectedElectrons": ONE[["x"]]}, {}, "no column 'z'"),
        ({"DetectedElectrons": ONE[:0]}, {}, "DetectedElectrons' has no rows"),
        ({"GeneratedElectrons": records(r=[0.5])}, {}, "no table FinalImage or Detec"),
        ({"DetectedElectrons": ONE}, {"source": "images"}, "no table FinalImage, only"),
        ({"FinalImage": IMAGES}, {"size": 3}, "size=3 does not divide images of 8 x 8"),
        ({"FinalImage": IMAGES}, {"return_electrons": True}, "source='electrons'"),
        ({"DetectedElectrons": ONE}, {"lazy": True}, "this reads electrons"),
        ({"FinalImage": IMAGES}, {"source": "image"}, "source must be one of"),
        ({"FinalImage": IMAGES}, {"convention": "abel"}, "convention must be one of"),
        ({"FinalImage": IMAGES}, {"polarization_axis": 2}, "polarization_axis must be"),
        ({"FinalImage": IMAGES}, {"n_shells": 0}, "n_shells must be at least 1"),
        ({"FinalImage": IMAGES}, {"size": 0}, "size must be at least 1"),
        ({"FinalImage": IMAGES}, {"extent": 0}, "extent must be from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_in_tables(tmp_path, tables, settings, message):
    path = write(tmp_path / "a.h5", **tables)
    with pytest.raises(ValueError, match=message):
        read_sevi(path, **settings)


def test_errors_in_files(tmp_path):
    def write_bytes(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    with pytest.raises(FileNotFoundError, match="no such file"):
        read_sevi(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_sevi(tmp_path)
    with pytest.raises(TypeError, match="path must be the path of one file"):
        read_sevi([tmp_path / "a.txt"])
    with pytest.raises(OSError, match="not a readable HDF5 file"):
        read_sevi(write_bytes("a.h5", b"1 2 3"))
    with pytest.raises(ValueError, match="not an image as plain text"):
        read_sevi(write_bytes("a.txt", b"1 2 3\n4 5\n"))
    with pytest.raises(ValueError, match="not an image as plain text"):
        read_sevi(write_bytes("a.fits", b"SIMPLE  = T"))
    with pytest.raises(ValueError, match="no lines of numbers"):
        read_sevi(write_bytes("empty.txt", b"# counts\n"))
    cut = bz2.compress(b"1 2 3\n" * 1000)[:-9]
    with pytest.raises(OSError, match="cannot be read"):
        read_sevi(write_bytes("cut.txt.bz2", cut))
    with pytest.raises(OSError, match="Cannot read the image file"):
        read_sevi(write_bytes("a.tif", b"no image"))
    with pytest.raises(OSError, match="not a readable file of numpy"):
        read_sevi(write_bytes("a.npy", b"no array"))
    Image.new("RGB", (4, 4)).save(tmp_path / "color.png")
    with pytest.raises(ValueError, match="images of mode 'RGB'; expected gray"):
        read_sevi(tmp_path / "color.png")
    first, second = Image.new("L", (4, 4)), Image.new("L", (4, 5))
    first.save(tmp_path / "b.tif", save_all=True, append_images=[second])
    with pytest.raises(ValueError, match="pages must all have one shape"):
        read_sevi(tmp_path / "b.tif")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array of shape \(3,\)"):
        read_sevi(tmp_path / "b.npy")
    text = write_bytes("b.txt", b"1 2\n3 4\n")
    with pytest.raises(ValueError, match="can be left on disk"):
        read_sevi(text, lazy=True)
    with pytest.raises(ValueError, match="holds no electrons"):
        read_sevi(text, source="electrons")
