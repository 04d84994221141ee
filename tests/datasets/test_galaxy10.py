# SPDX-License-Identifier: BSD-3-Clause
"""Reading files in the layout of Galaxy10."""

import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skastro.datasets import LazyArray, read_galaxy10
from skastro.datasets.galaxies._galaxy10 import VARIANTS

LABELS = [2, 0, 1, 1, 0, 2]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)


@pytest.fixture
def write(tmp_path, images):
    """Return a function that writes data sets and attributes to a file."""

    def write_file(attributes=(), **datasets) -> Path:
        path = tmp_path / "galaxies.h5"
        with h5py.File(path, "w") as file:
            for name, values in ({"images": images, "ans": LABELS} | datasets).items():
                if values is not None:
                    file[name] = values
            file.attrs.update(attributes)
        return path

    return write_file


def test_all_that_a_file_holds(write, images):
    path = write(
        attributes={"class_names": json.dumps(["E", "S", "merger", "star"])}
        | {"source": np.bytes_("a survey"), "seed": np.int64(3)},
        ra=np.linspace(0, 50, 6).astype(">f8"),
        DEC=np.linspace(-5, 5, 6),
        redshift=np.linspace(0, 1, 6),
        pxscale=np.full(6, 0.262),
        id=np.array([f"G{i}".encode() for i in range(6)]),
        notes=["", "é", "b", "c", "d", "e"],
        ellipse=np.ones((6, 4)),
        masks=np.ones((6, 9, 7)),
        filters=[1, 2, 3],
        version=4,
    )
    galaxies = read_galaxy10(path)
    assert_array_equal(galaxies.images, images)
    assert galaxies.images.dtype == np.uint8
    assert galaxies.target.tolist() == ["merger", "E", "S", "S", "E", "merger"]
    assert galaxies.target_names.tolist() == ["E", "S", "merger"]
    assert galaxies.class_names == {0: "E", 1: "S", 2: "merger", 3: "star"}
    assert galaxies.label.tolist() == LABELS
    assert_array_equal(galaxies.ra, np.linspace(0, 50, 6))
    assert galaxies.ra.dtype.isnative
    assert_array_equal(galaxies.dec, np.linspace(-5, 5, 6))
    assert_array_equal(galaxies.redshift, np.linspace(0, 1, 6))
    assert_array_equal(galaxies.pixel_scale, 0.262)
    assert galaxies.id.tolist() == ["G0", "G1", "G2", "G3", "G4", "G5"]
    assert galaxies.table["notes"][1] == "é"
    assert galaxies.table["ellipse"].shape == (6, 4)
    assert galaxies.table["ra"].unit == "deg"
    assert sorted(galaxies.left_out) == [
        ("filters", (3,)),
        ("masks", (6, 9, 7)),
        ("version", ()),
    ]
    assert galaxies.attributes["source"] == "a survey"
    assert galaxies.attributes["seed"] == 3
    assert galaxies.variant is None
    assert galaxies.path == path
    assert (
        galaxies.DESCR == "6 images of 9 x 7 x 3 pixels, galaxies.h5.\nsource: a survey"
    )


def test_labels_without_names_stay_integers(write):
    galaxies = read_galaxy10(write(ans=np.array([3.0, 1, 1, 3, 8, 1])))
    assert galaxies.target.tolist() == [3, 1, 1, 3, 8, 1]
    assert galaxies.target.dtype.kind == "i"
    assert galaxies.target_names.tolist() == [1, 3, 8]
    assert galaxies.class_names is None
    assert galaxies.ra is None


def test_labels_in_a_column(write):
    galaxies = read_galaxy10(write(ans=np.array(LABELS)[:, None]))
    assert galaxies.target.tolist() == LABELS


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c"], ["c", "a", "b"]),
        (np.array([b"a", b"b", b"c"]), ["c", "a", "b"]),
        ({0: "a", 1: "b", 2: "b", -1: "none"}, ["b", "a", "b"]),
    ],
    ids=["sequence", "bytes", "dict"],
)
def test_class_names_may_be_given(write, names, expected):
    # They win over those of the file.
    path = write({"class_names": ["x", "y", "z"]})
    assert read_galaxy10(path).target[:3].tolist() == ["z", "x", "y"]
    galaxies = read_galaxy10(path, class_names=names)
    assert galaxies.target[:3].tolist() == expected


def test_other_names_of_datasets(write, images):
    path = write(
        {"class_names": ["x", "y", "z"], "shape_names": ["round", "edge-on"]},
        stamps=images[..., 0],
        shape=[0, 1, 1, 0, 0, 1],
        bar=[0, 1, 1, 0, 0, 1],
        kind=["b", "a", "b", "b", "a", "a"],
    )
    galaxies = read_galaxy10(path, images="stamps", target="shape")
    assert_array_equal(galaxies.images, images[..., 0])
    assert galaxies.target[:2].tolist() == ["round", "edge-on"]
    # The names of "ans" are not those of others.
    assert read_galaxy10(path, target="bar").target.tolist() == [0, 1, 1, 0, 0, 1]
    galaxies = read_galaxy10(path, target="kind")
    assert galaxies.target.tolist() == ["b", "a", "b", "b", "a", "a"]
    assert galaxies.label is None
    galaxies = read_galaxy10(path, target=None)
    assert galaxies.target is galaxies.target_names is galaxies.label is None


def test_datasets_in_a_group(tmp_path, images):
    with h5py.File(tmp_path / "split.h5", "w") as file:
        file.attrs["source"] = "s"
        for part, rows in [("train", slice(4)), ("test", slice(4, 6))]:
            file[f"{part}/images"] = images[rows]
            file[f"{part}/ans"] = LABELS[rows]
            file[f"{part}/redshift"] = np.arange(6.0)[rows]
            file[part].attrs["class_names"] = ["a", "b", "c"]
    galaxies = read_galaxy10(
        tmp_path / "split.h5", images="test/images", target="test/ans"
    )
    assert_array_equal(galaxies.images, images[4:])
    assert galaxies.target.tolist() == ["a", "c"]
    assert galaxies.redshift.tolist() == [4, 5]
    assert galaxies.attributes["source"] == "s"


@pytest.mark.parametrize(("variant", "length"), [("sdss", 69), ("decals", 256)])
def test_the_published_data_sets_are_recognized(write, variant, length):
    images = np.zeros((12, length, length, 3), np.uint8)
    labels = [*range(10), 3, 3]
    galaxies = read_galaxy10(write(images=images, ans=labels))
    assert galaxies.variant == variant
    assert galaxies.target[:10].tolist() == list(VARIANTS[variant])
    assert "Leung & Bovy" in galaxies.DESCR
    # A class is missing, or the file has names of its own: something else.
    path = write(images=images, ans=np.minimum(labels, 8))
    assert read_galaxy10(path).variant is None
    assert read_galaxy10(path, variant=variant).target[3] == VARIANTS[variant][3]
    path = write({"class_names": list("abcdefghij")}, images=images, ans=labels)
    assert read_galaxy10(path).target[9] == "j"


def test_images_may_stay_on_disk(write, images):
    galaxies = read_galaxy10(write(), lazy=True)
    assert isinstance(galaxies.images, LazyArray)
    assert galaxies.images.shape == images.shape
    assert_array_equal(galaxies.images[2:4], images[2:4])
    again = pickle.loads(pickle.dumps(galaxies))
    assert_array_equal(again.images[[5, 1]][:], images[[5, 1]])


def test_memory_of_all_kinds(write, images):
    for dtype in (">f4", "f8", "u2", ">i2"):
        galaxies = read_galaxy10(write(images=images.astype(dtype)), verbose=0)
        assert_array_equal(galaxies.images, images)
        assert galaxies.images.dtype == np.dtype(dtype).newbyteorder("=")


def test_real_files(data_dir):
    sdss = read_galaxy10(data_dir / "galaxies.h5")
    assert sdss.images.shape == (2250, 69, 69, 3)
    names, counts = np.unique(sdss.target, return_counts=True)
    counts = dict(zip(names, counts.tolist(), strict=True))
    assert counts == {"elliptical": 778, "spiral": 638, "edge-on": 748, "merger": 86}
    assert sdss.variant is None
    original = read_galaxy10(data_dir / "galaxies.h5", target="ans_gz1", lazy=True)
    spirals = np.char.endswith(original.target, "clockwise spiral")
    spirals |= original.target == "Clockwise spiral"
    assert_array_equal(spirals, sdss.target == "spiral")

    efigi = read_galaxy10(data_dir / "galaxies_efigi.h5", lazy=True)
    assert efigi.images.shape == (1417, 88, 88, 3)
    assert len(efigi.target_names) == 5
    late = efigi.table["efigi_T"] >= 9
    assert set(efigi.target[late]) == {"irregular/dwarf (T>=9)"}
    assert "Baillard" in efigi.DESCR
    with pytest.raises(ValueError, match=r"'efigi_T' holds negative labels: -6, -5, "):
        read_galaxy10(data_dir / "galaxies_efigi.h5", target="efigi_T", lazy=True)


def test_absent_datasets_are_named_with_those_present(write):
    path = write()
    message = r"no data set 'image'; the file holds 'ans' \(6,\) int64, 'images' \(6, 9"
    with pytest.raises(ValueError, match=message):
        read_galaxy10(path, images="image")
    with pytest.raises(ValueError, match=r"no data set 'label'.*target=None"):
        read_galaxy10(path, target="label")
    many = {f"column{i}": [i] for i in range(20)}
    with pytest.raises(ValueError, match=r"and 10 more\. Name the images by"):
        read_galaxy10(write(**many), images="image")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6,), r"has shape \(6,\) and type uint8, but images are"),
        ((6, 441), r"has shape \(6, 441\)"),
        ((6, 3, 3, 7, 7), r"has shape \(6, 3, 3, 7, 7\)"),
        ((0, 9, 7, 3), r"holds no images: its shape is \(0, 9, 7, 3\)"),
        ((6, 9, 0, 3), r"holds no images"),
    ],
)
def test_shapes_that_are_no_images(write, shape, message):
    with pytest.raises(ValueError, match=message):
        read_galaxy10(write(images=np.zeros(shape, np.uint8)))


def test_images_of_complex_numbers(write):
    with pytest.raises(ValueError, match="type complex128, but images are numbers"):
        read_galaxy10(write(images=np.ones((6, 3, 3), complex)))


def test_images_of_unequal_size(tmp_path):
    path = tmp_path / "unequal.h5"
    with h5py.File(path, "w") as file:
        stamps = [np.zeros((size, size), "u1") for size in (5, 6)]
        bytes_of_any_number = h5py.vlen_dtype(np.uint8)
        flat = file.create_dataset("flat", (2,), bytes_of_any_number)
        for row, stamp in enumerate(stamps):
            file[f"images/{row}"] = stamp
            flat[row] = stamp.ravel()
        file["ans"] = [0, 1]
    for name, found in [("images", "group of 2 items"), ("flat", "varying length")]:
        with pytest.raises(ValueError, match=rf"{found}.*unequal size.*CropPadImages"):
            read_galaxy10(path, images=name)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "has 3 labels, but there are 6 images"),
        ([[0, 1]] * 6, r"has shape \(6, 2\), but labels are one.*argmax"),
        (1, r"has shape \(\)"),
        ([0, 1, 2, 1.5, 0, np.nan], "2 of 6 values are not whole numbers, such as 1.5"),
        ([0, 1, 2, 1e30, 0, 0], "1 of 6 values are not whole numbers, such as 1e.30"),
        ([0, 1, 2, -1, 0, -1], r"without a name .*\[0, 1, 2\]\): -1, in 2 .*\(3, 5\)"),
        ([0, 1, 2, 7, 0, 9], r"without a name .*: 7, 9, in 2 of 6 rows \(3, 5\)"),
        (np.ones(6, complex), "has type complex128"),
    ],
    ids=["few", "columns", "scalar", "real", "huge", "negative", "range", "complex"],
)
def test_bad_labels(write, labels, message):
    with pytest.raises(ValueError, match=message):
        read_galaxy10(write({"class_names": ["a", "b", "c"]}, ans=labels))


def test_negative_labels_need_names(write):
    path = write(ans=[0, 1, -1, -2, 0, 0])
    with pytest.raises(ValueError, match=r"negative labels: -2, -1, in 2 .*\(2, 3\)"):
        read_galaxy10(path)
    galaxies = read_galaxy10(path, class_names={-2: "?", -1: "star", 0: "E", 1: "S"})
    assert galaxies.target[:4].tolist() == ["E", "S", "star", "?"]


def test_labels_in_a_group(write):
    with h5py.File(write(ans=None), "a") as file:
        file["ans/0"] = [1]
        path = file.filename
    with pytest.raises(ValueError, match="'ans' is a group, but labels are"):
        read_galaxy10(path)


@pytest.mark.parametrize("names", ["E, S", "[1, 2]", "{}", 5], ids=str)
def test_class_names_of_the_file_that_make_no_sense(write, names):
    path = write({"class_names": names})
    with pytest.raises(ValueError, match="'class_names' is not a list of texts"):
        read_galaxy10(path)
    assert read_galaxy10(path, class_names=["a", "b", "c"]).target[0] == "c"


def test_bad_parameters(write):
    with pytest.raises(ValueError, match="one of 'sdss', 'decals' or None; got 'x'"):
        read_galaxy10(write(), variant="x")
    with pytest.raises(ValueError, match="set one of them to None"):
        read_galaxy10(write(), variant="sdss", class_names=["a"])
    with pytest.raises(ValueError, match="list of names, but got the text 'abc'"):
        read_galaxy10(write(), class_names="abc")
    for names in (5, {"a": 0}):
        with pytest.raises(ValueError, match="a list of names, or a dictionary with"):
            read_galaxy10(write(), class_names=names)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5: there is no such file"):
        read_galaxy10(tmp_path / "none.h5")
    with pytest.raises(IsADirectoryError, match=r"is a folder; .*read_images"):
        read_galaxy10(tmp_path)
    path = tmp_path / "galaxies.h5"
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"it is empty \(0 bytes\)"):
        read_galaxy10(path)
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(OSError, match="does not begin with the signature of HDF5"):
        read_galaxy10(path)


@pytest.mark.parametrize("lazy", [False, True])
def test_truncated_file(write, lazy):
    path = write()
    size = path.stat().st_size
    os.truncate(path, size - 100)
    message = f"galaxies.h5: not a readable .* {size - 100} bytes where .* {size}"
    with pytest.raises(OSError, match=message):
        read_galaxy10(path, lazy=lazy)


def test_damaged_images(tmp_path):
    path = tmp_path / "galaxies.h5"
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "images", data=images, chunks=(4, 16, 16), shuffle=True, compression="gzip"
        )
        file["ans"] = np.arange(40) % 2
        offset = data.id.get_chunk_info(5).byte_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 50)
    with pytest.raises(OSError, match=r"Cannot read rows 0 to 39 of '/images' in .*5"):
        read_galaxy10(path)
    galaxies = read_galaxy10(path, lazy=True)
    assert_array_equal(galaxies.images[:20], images[:20])
    with pytest.raises(
        OSError, match=r"rows 20 to 22 .* damaged there or .* cut short"
    ):
        galaxies.images[20:23]


def test_damaged_labels(write):
    path = write()
    with h5py.File(path, "a") as file:
        del file["ans"]
        data = file.create_dataset("ans", data=LABELS, chunks=(6,), fletcher32=True)
        offset = data.id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x07")
    with pytest.raises(OSError, match=r"galaxies\.h5: the file is damaged: "):
        read_galaxy10(path)
