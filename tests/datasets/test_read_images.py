# SPDX-License-Identifier: BSD-3-Clause
"""Images in files of their own, with labels from a table."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.visualization import AsinhStretch, ManualInterval, make_lupton_rgb
from astropy.wcs import WCS
from PIL import Image
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_score

from skastro import CropPadImages, GalaxyClassifier, GalaxyRegressor
from skastro.datasets import ImageFiles, LazyArray, read_images
from skastro.datasets._failures import NothingReadError

RNG = np.random.default_rng(0)
SHAPE = (8, 9)
read = partial(read_images, verbose=0)


def sky_image(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return RNG.normal(10, 3, shape).astype(np.float32)


def header_of(
    scale: float, center: tuple[float, float] = (0, 0), declination: float = 2.0
) -> fits.Header:
    """Return a header of pixels of so many arcseconds; x and y of one count from 0."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, declination]
    wcs.wcs.crpix = [center[0] + 1, center[1] + 1]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs.to_header()


def write_fits(
    path: Path, data: np.ndarray, header: fits.Header | None = None, **more: np.ndarray
) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    hdus = [fits.PrimaryHDU(data, header)]
    hdus += [fits.ImageHDU(values, name=name) for name, values in more.items()]
    fits.HDUList(hdus).writeto(path)
    return str(path)


def write_picture(path: Path, shape: tuple[int, ...] = (*SHAPE, 3)) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three pictures."""
    for name in ("b", "a", "c"):
        write_picture(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images"


LABELS = Table(
    {
        "name": ["c", "a", "b"],
        "z": [0.3, 0.1, 0.2],
        "class": ["spiral", "bar", "spiral"],
    }
)


# Names and tables ---------------------------------------------------------------------


def test_folder_and_table(folder):
    images = read(folder, LABELS)
    assert images.id.tolist() == ["a", "b", "c"]
    assert images.target.tolist() == ["bar", "spiral", "spiral"]
    assert images.target_names.tolist() == ["bar", "spiral"]
    assert images.table["z"].tolist() == [0.1, 0.2, 0.3]
    assert images.path.tolist() == [str(folder / f"{name}.png") for name in "abc"]
    assert images.id_column == "name"
    assert images.images.dtype == np.uint8
    np.testing.assert_array_equal(images.images, ImageFiles(images.path)[:])
    assert images.groups.tolist() == [0, 1, 2]
    assert images.n_filled.tolist() == [0, 0, 0]
    assert np.isnan(images.pixel_scale).all()
    assert (images.failures, images.left_out, images.without_image) == ([], [], [])


def test_without_a_table(folder, tmp_path):
    paths = [folder / "c.png", str(folder / "a.png")]
    images = read(paths)
    assert images.id.tolist() == ["c", "a"]
    assert (images.target, images.table, images.target_names) == (None, None, None)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, paths)))
    np.testing.assert_array_equal(read(listed).images, images.images)
    assert read(paths[0]).images.shape == (1, *SHAPE, 3)
    # Only a table needs names to be different.
    assert read([paths[0]] * 2).groups.tolist() == [0, 0]


def test_what_has_no_partner_is_named(folder, capsys):
    table = LABELS[:2]
    table.add_row(["d", 0.4, "ring"])
    images = read_images(folder, table, id_column="name")
    assert images.id.tolist() == ["a", "c"]
    path = str(folder / "b.png")
    assert images.left_out == [(path, "no row of the table has the name 'b'")]
    assert images.without_image == ["d"]
    assert images.target_names.tolist() == ["bar", "spiral"]
    printed = capsys.readouterr().out
    assert "Left out 1 of 3 files" in printed
    assert path in printed
    assert "Rows of the table without an image: 1." in printed


def save_as(table: Table, suffix: str, folder: Path) -> Any:
    path = folder / f"labels{suffix}"
    if suffix == "pandas":
        return table.to_pandas()
    if suffix == "index":
        return table.to_pandas().set_index("name")
    if suffix == "structured":
        return table.as_array()
    if suffix == "qtable":
        table = QTable(table)
        table["z"] = table["z"] * u.mag
        return table
    if suffix == ".bom.csv":
        table.write(path, format="ascii.csv")
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        return path
    options = {"format": "votable"} if suffix in (".xml", ".vot") else {}
    table.write(path, **options)
    return str(path)


FORMS = [".csv", ".csv.gz", ".bom.csv", ".ecsv", ".fits", ".fits.gz", ".xml", ".vot"]
FORMS += ["pandas", "index", "structured", "qtable"]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_tables(folder, tmp_path, form):
    if form == ".csv.gz":
        import gzip

        path = Path(save_as(LABELS, ".csv", tmp_path))
        table = tmp_path / "labels.csv.gz"
        table.write_bytes(gzip.compress(path.read_bytes()))
    else:
        table = save_as(LABELS, form, tmp_path)
    images = read(folder, table)
    assert images.target.tolist() == ["bar", "spiral", "spiral"]
    assert images.id_column == "name"
    assert read(folder, table, label_column="Z").target.tolist() == [0.1, 0.2, 0.3]


def test_zeros_at_the_start_count(tmp_path):
    paths = [write_picture(tmp_path / f"{name}.png") for name in ("007", "7", "0012")]
    table = tmp_path / "labels.csv"
    table.write_text("number,label\n7,1\n007,2\n0012,3\n")
    images = read(paths, table)
    assert images.target.tolist() == [2, 1, 3]
    assert images.table["number"].tolist() == [7, 7, 12]
    with pytest.raises(ValueError, match=r"begins with '7', and the images with '007'"):
        read(paths[::2], Table.read(table), id_column="number")


@pytest.mark.parametrize(
    "names",
    [
        ["587739505552785605", "587729154670395609"],
        np.array([587739505552785605, 587729154670395609]),
        [b"587739505552785605 ", b"587729154670395609 "],
        ["587739505552785605.jpg", "587729154670395609.JPG"],
        ["a/587739505552785605.fits.gz", "b/c/587729154670395609.png"],
    ],
    ids=["text", "integers", "bytes", "endings", "paths"],
)
def test_forms_of_names(tmp_path, names):
    for name in ("587739505552785605", "587729154670395609"):
        write_picture(tmp_path / f"{name}.png")
    images = read(tmp_path, Table({"objid": names, "label": [0, 1]}))
    assert images.target.tolist() == [1, 0]


def test_tables_of_the_skyserver(tmp_path):
    paths = [write_picture(tmp_path / f"{name}.png") for name in ("007", "7")]
    (tmp_path / "labels.csv").write_text("#Table1\nnumber,label\n7,1\n007,2\n")
    assert read(paths, tmp_path / "labels.csv").target.tolist() == [2, 1]


def test_names_with_dots(tmp_path):
    for name in ("J0004.19+02.0", "J0012.06-00.4"):
        write_picture(tmp_path / f"{name}.jpg")
    table = Table({"file": ["J0004.19+02.0.jpg", "J0012.06-00.4.jpg"], "ring": [1, 0]})
    images = read(tmp_path, table, label_column="ring")
    assert images.target.tolist() == [1, 0]
    assert images.id.tolist() == ["J0004.19+02.0", "J0012.06-00.4"]


def test_real_numbers_are_no_exact_names(tmp_path):
    write_picture(tmp_path / "12.png")
    table = pd.DataFrame({"id": [12.0, 13.0], "label": [1, 2]})
    assert read(tmp_path, table, id_column="id").target.tolist() == [1]
    table["id"] = [12.5, 5.8e17]
    with pytest.raises(ValueError, match=r"'id' of the table holds real numbers"):
        read(tmp_path, table, id_column="id")
    table = pd.DataFrame({"id": ["12", None], "label": [1, 2]})
    with pytest.raises(ValueError, match=r"missing names in rows 1"):
        read(tmp_path, table, id_column="id")


def test_column_of_names_is_found_by_its_content(folder, capsys):
    table = LABELS.copy()
    table["file"] = ["c.png", "a.png", "b.png"]
    table["some"] = ["x", "a", "y"]
    assert read_images(folder, table).id_column == "name"
    assert "column 'name' of the table names the images" in capsys.readouterr().out
    table["name"] = ["a", "c", "b"]
    with pytest.raises(ValueError, match=r"'file' names 3 .* other rows than 'name'"):
        read(folder, table)
    assert read(folder, table, id_column="FILE").target[0] == "bar"
    table.remove_columns(["name", "file", "some"])
    with pytest.raises(ValueError, match=r"No column .* such as 'a'.*class \('spiral'"):
        read(folder, table)
    with pytest.raises(ValueError, match=r"'class' holds none of the images"):
        read(folder, table, id_column="class")


NUMBERS = {
    "row": range(1, 11),
    "id": [3, 7, 5, *range(20, 27)],
    "class": [*"abcdefghij"],
}


@pytest.fixture
def numbers(tmp_path):
    """Return a folder of four pictures whose names are numbers."""
    for number in (3, 7, 5, 9):
        write_picture(tmp_path / "numbers" / f"{number}.png")
    return tmp_path / "numbers"


def test_a_column_of_numbers_is_not_taken_for_the_names(numbers, tmp_path):
    match = r"not certain .* 'id' names 3 of the 4 images, in other rows than 'row'"
    with pytest.raises(ValueError, match=match):
        read(numbers, Table(NUMBERS))
    assert read(numbers, Table(NUMBERS), id_column="id").target.tolist() == [*"acb"]
    del (table := Table(NUMBERS))["row"]
    with pytest.raises(ValueError, match=r"'id' names 3 of the 4 images, but not '9'"):
        read(numbers, table)
    # The index of a data frame has no name.
    frame = table.to_pandas().set_axis(range(1, 11))
    frame.to_csv(tmp_path / "index.csv")
    with pytest.raises(ValueError, match=r"in other rows than 'col0'"):
        read(numbers, tmp_path / "index.csv")


@pytest.mark.parametrize(
    ("id_", "reason"),
    [
        ([3, 7, 5, 9, 9, *range(20, 25)], "'id' names 4 .* holds '9' in 2 rows"),
        ([3, 7, 5, 9, None, *range(20, 25)], "'id' names 4 .* missing names in rows 4"),
    ],
    ids=["twice", "missing"],
)
@pytest.mark.parametrize("form", ["frame", "file"])
@pytest.mark.parametrize("has_row", [True, False])
def test_a_column_of_names_with_faults_is_told(
    numbers, tmp_path, id_, reason, form, has_row
):
    frame = pd.DataFrame(NUMBERS | {"id": id_})
    if not has_row:
        del frame["row"]
    if form == "file":
        frame.to_csv(tmp_path / "labels.csv", index=False)
        frame = tmp_path / "labels.csv"
    with pytest.raises(ValueError, match=reason):
        read(numbers, frame)
    with pytest.raises(ValueError, match=reason.split(" .* ")[1]):
        read(numbers, frame, id_column="id")


def test_few_names_by_chance_do_no_harm(numbers):
    table = Table({"id": [3, 7, 5, 9, 1], "n_votes": [3, 3, 40, 41, 40]})
    assert read(numbers, table).id_column == "id"
    table["weight"] = [3.0, 0.5, 1.5, np.nan, 2]
    assert read(numbers, table).id_column == "id"


def test_repeated_names(folder):
    table = Table({"name": ["a", "b", "a", "d", "d"], "label": range(5)})
    with pytest.raises(ValueError, match=r"'name' of the table holds 'a' in 2 rows"):
        read(folder, table, id_column="name")
    assert read([folder / "b.png"], table).target.tolist() == [1]
    write_picture(folder / "more" / "a.jpg")
    with pytest.raises(ValueError, match=r"Two files have the name 'a'"):
        read(folder, LABELS)


def test_labels(folder):
    table = Table({"name": ["a", "b", "c"], "t": [1.5, np.nan, 2.5]})
    table["n"] = MaskedColumn([4, 5, 6], mask=[False, True, False])
    table["kind"] = MaskedColumn(["E", "S", "E"], mask=[False, False, True])
    table["ok"] = [True, False, True]
    assert read(folder, table).target is None
    values = {name: read(folder, table, label_column=name).target for name in "tn"}
    np.testing.assert_array_equal(values["t"], [1.5, np.nan, 2.5])
    np.testing.assert_array_equal(values["n"], [4, np.nan, 6])
    kinds = read(folder, table, label_column="kind")
    assert kinds.target.tolist() == ["E", "S", ""]
    assert kinds.target_names.tolist() == ["E", "S"]
    both = read(folder, table, label_column=["t", "n"])
    np.testing.assert_array_equal(both.target, [[1.5, 4], [np.nan] * 2, [2.5, 6]])
    assert both.target_names is None
    with pytest.raises(ValueError, match=r"no column label_column='q'.*name, t, n"):
        read(folder, table, label_column="q")
    with pytest.raises(ValueError, match=r"'kind' holds values such as"):
        read(folder, table, label_column=["t", "kind"])
    with pytest.raises(ValueError, match=r"label_column='t' is of a table"):
        read(folder, label_column="t")
    frame = pd.DataFrame({"name": ["a", "b", "c"], "label": ["x", None, "y"]})
    assert read(folder, frame).target.tolist() == ["x", "", "y"]
    frame["label"] = pd.Categorical(["x", "y", "y"])
    assert read(folder, frame).target.tolist() == ["x", "y", "y"]
    frame["label"] = pd.array([1, None, 2], "Int64")
    np.testing.assert_array_equal(read(folder, frame).target, [1, np.nan, 2])


def test_tables_that_are_none(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: there is no such file"):
        read(folder, tmp_path / "none.csv")
    path = tmp_path / "labels.txt"
    path.write_text("a b c")
    with pytest.raises(
        ValueError, match=r"labels\.txt: cannot .* tell the format\. Read"
    ):
        read(folder, path)
    two = fits.HDUList([fits.PrimaryHDU(), *[fits.BinTableHDU(LABELS)] * 2])
    two.writeto(tmp_path / "two.fits")
    with pytest.raises(ValueError, match=r"expected one table, but HDUs \[1, 2\]"):
        read(folder, tmp_path / "two.fits")
    with pytest.raises(TypeError, match=r"table must be the path of a table"):
        read(folder, 3.0)
    with pytest.raises(ValueError, match=r"table of labels has no rows"):
        read(folder, LABELS[:0])


# FITS ---------------------------------------------------------------------------------

COUNTS = RNG.integers(100, 3000, SHAPE)


def scaled() -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU(COUNTS.astype(np.float32) / 4 - 7)
    hdu.scale("int16", bscale=0.25, bzero=-7)
    return hdu


HDUS = {
    "float": lambda: fits.PrimaryHDU(COUNTS.astype(">f4")),
    "double": lambda: fits.PrimaryHDU(COUNTS.astype(">f8")),
    "integers": lambda: fits.PrimaryHDU(COUNTS.astype(">i4")),
    "unsigned": lambda: fits.PrimaryHDU(COUNTS.astype("u2")),
    "scaled": scaled,
    "rice": lambda: fits.CompImageHDU(COUNTS.astype("i4"), compression_type="RICE_1"),
    "gzip tiles": lambda: fits.CompImageHDU(
        COUNTS.astype("f4"), compression_type="GZIP_2", quantize_level=0
    ),
    "four axes": lambda: fits.PrimaryHDU(COUNTS.astype("f4")[None, None]),
    "extension": lambda: fits.ImageHDU(COUNTS.astype("f4"), name="SCI"),
}


@pytest.mark.parametrize("suffix", [".fits", ".fit.gz", ".FITS", ".fits.fz"])
@pytest.mark.parametrize("kind", HDUS)
def test_kinds_of_fits(tmp_path, kind, suffix):
    hdu = HDUS[kind]()
    table = fits.BinTableHDU(Table({"a": [1]}))
    # Neither the table nor an empty or one-dimensional HDU is the image.
    hdus = [hdu, table]
    if not isinstance(hdu, fits.PrimaryHDU):
        hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(np.zeros(5)), hdu]
    hdus.append(fits.ImageHDU(np.ones((3, 4)), name="WEIGHT"))
    fits.HDUList(hdus).writeto(tmp_path / f"a{suffix}")
    images = read(tmp_path)
    assert images.id.tolist() == ["a"]
    assert images.images.dtype == np.float32
    assert images.images.dtype.isnative
    expected = COUNTS / 4 - 7 if kind == "scaled" else COUNTS
    np.testing.assert_array_equal(images.images[0], expected)
    assert (read(tmp_path, hdu="WEIGHT").images == 1).all()


def test_cube_is_bands(tmp_path):
    cube = sky_image((4, *SHAPE))
    write_fits(tmp_path / "a.fits", cube)
    np.testing.assert_array_equal(read(tmp_path).images[0], np.moveaxis(cube, 0, -1))


def test_bytes_in_fits_stay_bytes(tmp_path):
    pixels = RNG.integers(0, 255, SHAPE, np.uint8)
    write_fits(tmp_path / "a.fits", pixels)
    images = read(tmp_path).images
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], pixels)


def test_blank_integers_are_filled(tmp_path):
    hdu = fits.PrimaryHDU(COUNTS.astype("i2"))
    hdu.data[2, 3:5] = -1
    hdu.header["BLANK"] = -1
    hdu.writeto(tmp_path / "a.fits")
    images = read(tmp_path, fill_value=-5)
    assert images.n_filled.tolist() == [2]
    expected = COUNTS.copy()
    expected[2, 3:5] = -5
    np.testing.assert_array_equal(images.images[0], expected)


def test_files_of_bands(tmp_path):
    pixels = {}
    for name in ("ngc_1", "ngc-2"):
        for band, separator in zip("grz", "_-.", strict=True):
            pixels[name, band] = sky_image()
            path = tmp_path / f"{name}{separator}{band}.fits"
            write_fits(path, pixels[name, band])
    write_fits(tmp_path / "alone_g.fits", sky_image())
    write_fits(tmp_path / "weight.fits", sky_image())
    images = read(tmp_path, bands=("z", "g", "r"))
    assert images.id.tolist() == ["ngc-2", "ngc_1"]
    for row, name in enumerate(images.id):
        expected = np.stack([pixels[name, band] for band in "zgr"], axis=-1)
        np.testing.assert_array_equal(images.images[row], expected)
    assert images.path.shape == (2, 3)
    assert images.path[1, 1] == str(tmp_path / "ngc_1_g.fits")
    reasons = {Path(path).name: reason for path, reason in images.left_out}
    assert reasons == {
        "alone_g.fits": "'alone' has no file of band 'z', 'r'",
        "weight.fits": "its name is not that of an object and one of "
        "bands=('z', 'g', 'r')",
    }
    table = Table({"name": ["ngc_1"], "class": ["S"]})
    labeled = read(tmp_path, table, bands=("g", "z"), id_column="name")
    assert labeled.images.shape == (1, *SHAPE, 2)
    assert labeled.target.tolist() == ["S"]
    assert len(labeled.left_out) == 6


def test_pattern_of_names(tmp_path):
    for band in ("F115W", "F115W2"):
        write_fits(tmp_path / f"cutout_{band}_id7_v2.fits", sky_image())
    images = read(tmp_path, bands=["F115W2", "F115W"], pattern="cutout_{band}_{id}_v*")
    assert images.id.tolist() == ["id7"]
    assert "F115W2" in images.path[0, 0]
    images = read(tmp_path, pattern="*F115W_{id}_v2")
    assert images.id.tolist() == ["id7"]
    assert images.left_out[0][1] == "its name does not have the form of pattern"
    with pytest.raises(ValueError, match=r"No image is complete: .* 2 files are left"):
        read(tmp_path, bands=["g"])
    for pattern in ("*{id}", "cutout_F115W_{id}*"):
        with pytest.raises(ValueError, match=r"what is between \{id\} and \*"):
            read(tmp_path, pattern=pattern)
    assert read(tmp_path, pattern="*_{id}_v2").id.tolist() == ["id7", "id7"]
    for pattern, bands in (("{id}", ["g"]), ("{id}_{band}", None), ("x", None)):
        with pytest.raises(ValueError, match="pattern must be"):
            read(tmp_path, pattern=pattern, bands=bands)
    with pytest.raises(TypeError, match="bands must be a sequence of names"):
        read(tmp_path, bands="grz")
    with pytest.raises(ValueError, match="bands must be different names"):
        read(tmp_path, bands=["g", "g"])


def test_a_folder_of_each_band(tmp_path):
    for band in "gr":
        for name in ("a_1", "b"):
            write_fits(tmp_path / "all" / band / f"{name}.fits", sky_image())
    images = read(tmp_path, bands=["r", "g"], pattern="{band}/{id}")
    assert images.id.tolist() == ["a_1", "b"]
    assert images.path[0].tolist() == [
        str(tmp_path / "all" / band / "a_1.fits") for band in "rg"
    ]
    one = read(tmp_path, bands=["g"], pattern="*/{band}/{id}")
    assert one.images.shape == (2, *SHAPE)
    assert one.path.shape == (2, 1)


def test_a_band_twice(tmp_path):
    for name in ("a_g.fits", "a-g.fits", "a_r.fits"):
        write_fits(tmp_path / name, sky_image())
    with pytest.raises(ValueError, match=r"Two files are the band 'g' of 'a'"):
        read(tmp_path, bands="g r".split())


# Bad pixels ---------------------------------------------------------------------------


def test_nan_and_masks_are_filled_and_counted(tmp_path):
    cube = sky_image((2, *SHAPE))
    cube[0, 0, :3] = np.nan
    cube[1, 4, 4] = np.inf
    mask = np.zeros(SHAPE, np.int16)
    mask[7, 8] = 4
    write_fits(tmp_path / "a.fits", cube, MASK=mask)
    write_fits(tmp_path / "b.fits", np.nan_to_num(cube, posinf=0), MASK=0 * mask)
    images = read(tmp_path, mask="mask")
    # The mask of one band is that of both.
    assert images.n_filled.tolist() == [6, 0]
    bad = ~np.isfinite(cube) | (mask > 0)
    for band in range(2):
        median = np.median(cube[band][~bad[band]])
        expected = np.where(bad[band], median, cube[band])
        np.testing.assert_array_equal(images.images[0, ..., band], expected)
    filled = read(tmp_path, mask=1, fill_value=-1.5).images[0]
    assert (filled[np.moveaxis(bad, 0, -1)] == -1.5).all()
    assert read(tmp_path).n_filled.tolist() == [4, 0]
    write_fits(tmp_path / "c.fits", cube, MASK=np.zeros((3, 3)))
    with pytest.warns(UserWarning, match="1 of 3 files"):
        images = read(tmp_path, mask="MASK")
    assert "its mask='MASK' has the shape (3, 3)" in images.failures[0].reason


def test_images_without_a_good_pixel_are_failures(tmp_path):
    good = sky_image((2, *SHAPE))
    write_fits(tmp_path / "a.fits", good)
    bad = good.copy()
    bad[1] = np.nan
    write_fits(tmp_path / "b.fits", bad)
    with pytest.warns(UserWarning, match=r"1 of 2 files could not be read"):
        images = read(tmp_path)
    assert images.failures == [
        (str(tmp_path / "b.fits"), "all of its pixels are NaN or masked in band 1")
    ]


def test_numbers_too_large_for_single_precision(tmp_path):
    write_fits(tmp_path / "a.fits", np.full(SHAPE, 1e300))
    with pytest.raises(NothingReadError, match="single precision cannot hold"):
        read(tmp_path)


# Sizes --------------------------------------------------------------------------------


def test_several_sizes_are_an_error_that_counts_them(tmp_path):
    for name, shape in {"a": (8, 8), "b": (8, 8), "c": (6, 10)}.items():
        write_fits(tmp_path / f"{name}.fits", sky_image(shape))
    match = r"2 sizes: \(8, 8\): 2, such as .*a\.fits'; \(6, 10\): 1, .*c\.fits'\. Give"
    with pytest.raises(ValueError, match=match):
        read(tmp_path)
    with pytest.raises(ValueError, match=match):
        read(tmp_path, lazy=True)


def test_cut_and_padded(tmp_path):
    pixels = [sky_image((12, 7)), sky_image((5, 9))]
    for name, image in zip("ab", pixels, strict=True):
        write_fits(tmp_path / f"{name}.fits", image)
    images = read(tmp_path, size=(8, 8), fill_value=0)
    expected = CropPadImages(8).transform(pixels)
    np.testing.assert_array_equal(images.images, expected)
    images = read(tmp_path, size=8).images
    for row in range(2):
        fill = np.median(pixels[row])
        expected = CropPadImages(8, fill_value=float(fill)).transform([pixels[row]])
        np.testing.assert_array_equal(images[row], expected[0])


def test_resized(tmp_path):
    for name, shape in {"a": (16, 16), "b": (24, 32)}.items():
        write_fits(tmp_path / f"{name}.fits", np.ones(shape), header_of(0.5))
    images = read(tmp_path, size=8, resize=True)
    np.testing.assert_allclose(images.images, np.ones((2, 8, 8)), rtol=1e-6)
    np.testing.assert_allclose(images.pixel_scale, [1.0, 1.5])


@pytest.mark.parametrize("cards", ["cdelt", "cd", "rotated", "cube"])
def test_pixel_scale(tmp_path, cards):
    header = header_of(0.396)
    data = sky_image((3, *SHAPE) if cards == "cube" else SHAPE)
    if cards in ("cd", "rotated"):
        angle = np.deg2rad(30) if cards == "rotated" else 0
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = np.diag([-0.396, 0.396]) / 3600 @ turn
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
        for i, j in np.ndindex(2, 2):
            header[f"CD{i + 1}_{j + 1}"] = matrix[i, j]
    elif cards == "cube":
        header.update({"WCSAXES": 3, "CTYPE3": "FREQ", "CDELT3": 1e6, "CRVAL3": 1e9})
    write_fits(tmp_path / "a.fits", data, header)
    assert read(tmp_path).pixel_scale == pytest.approx([0.396])


def test_headers_without_a_scale(tmp_path):
    write_fits(tmp_path / "a.fits", sky_image())
    header = fits.Header({"CTYPE1": "LINEAR", "CDELT1": 2.0})
    write_fits(tmp_path / "b.fits", sky_image(), header)
    # By default the pixels of FITS are of a degree.
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    write_fits(tmp_path / "d.fits", sky_image(), header)
    assert np.isnan(read(tmp_path).pixel_scale).all()
    write_fits(tmp_path / "c.fits", sky_image(), header_of(1.0))
    with pytest.warns(UserWarning, match="3 of 4 files"):
        images = read(tmp_path, pixel_scale=1.0)
    assert images.id.tolist() == ["c"]
    assert "states no pixel scale" in images.failures[0].reason


def test_coordinates_of_the_primary_header(tmp_path):
    hdus = [fits.PrimaryHDU(header=header_of(0.396)), fits.ImageHDU(sky_image())]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert read(tmp_path).pixel_scale == pytest.approx([0.396])


def galaxy(
    scale: float, length: int, center: tuple[float, float] | None = None
) -> np.ndarray:
    """Return a Gaussian of 2 arcsec about x and y, or the central pixel, per area."""
    x0, y0 = center or (length // 2, length // 2)
    y, x = np.mgrid[:length, :length]
    x, y = scale * (x - x0), scale * (y - y0)
    return np.exp(-0.5 * (x**2 + (y / 0.6) ** 2) / 2**2).astype(np.float32)


def test_one_pixel_scale_for_all(tmp_path):
    scales = {"a": (0.25, 128), "b": (0.4, 81), "c": (0.5, 64)}
    for name, (scale, length) in scales.items():
        image = galaxy(scale, length)
        write_fits(tmp_path / f"{name}.fits", image, header_of(scale))
    images = read(tmp_path, pixel_scale=0.5 * u.arcsec, size=60, fill_value=0)
    expected = galaxy(0.5, 60)
    np.testing.assert_allclose(images.images[2], expected)
    for row in range(2):
        np.testing.assert_allclose(images.images[row], expected, atol=0.05)
    np.testing.assert_allclose(images.pixel_scale, 0.5)
    with pytest.raises(ValueError, match=r"sizes: "):
        read(tmp_path, pixel_scale=0.5)
    with pytest.raises(ValueError, match="both resample images"):
        read(tmp_path, pixel_scale=0.5, size=60, resize=True)
    with pytest.raises(NothingReadError, match=r"are less than one of 1000"):
        read(tmp_path, pixel_scale=1000)


def write_bands(folder, **bands):
    """Write bands by scale, length, and x and y of the galaxy and of the sky."""
    for band, (scale, length, center) in bands.items():
        header = header_of(scale, center, 60.0)
        image = galaxy(scale, length, center)
        write_fits(folder / f"a_{band}.fits", image, header)
    return list(bands)


@pytest.mark.parametrize(
    "second",
    [(0.2, 64, (31.5, 31.5)), (0.2, 64, (25.2, 40.7)), (0.3, 60, (29, 33.25))],
    ids=["centered", "shifted", "coarse"],
)
def test_bands_are_at_one_place_of_the_sky(tmp_path, second):
    first = (0.1, 128, (63.5, 63.5))
    bands = write_bands(tmp_path, g=first, k=second, r=(0.2, 64, (32.25, 30.0)))
    images = read(tmp_path, bands=bands, pixel_scale=0.2, size=40, fill_value=0)
    # The central pixel of the first band becomes that of the image.
    expected = galaxy(0.2, 40, (20 - 0.25, 20 - 0.25))
    for band in range(3):
        image = images.images[0, ..., band]
        np.testing.assert_allclose(image, expected, atol=0.05)
        for axis in (0, 1):
            found = np.average(np.arange(40), weights=image.sum(axis))
            true = np.average(np.arange(40), weights=expected.sum(axis))
            assert found == pytest.approx(true, abs=0.02)
    lazy = read(
        tmp_path, bands=bands, pixel_scale=0.2, size=40, fill_value=0, lazy=True
    )
    np.testing.assert_array_equal(lazy.images[:], images.images)


@pytest.mark.parametrize(
    ("second", "options", "match"),
    [
        ((0.5, 50, (25, 25)), {"size": 40}, "50 x 50 pixels are not the 100 x 100"),
        ((0.25, 60, (30, 30)), {"size": 40, "resize": True}, "60 x 60 pixels are not"),
        ((0.5, 100, (50, 50)), {"size": 40}, "up to 10 pixels off"),
        ((0.25, 100, (51, 50)), {}, "up to 1 pixels off"),
        ((0.25, 100, (50, 180)), {"pixel_scale": 0.5, "size": 40}, "less than one of"),
    ],
    ids=["sizes", "resized", "scales", "shift", "outside"],
)
def test_bands_of_other_pixels(tmp_path, second, options, match):
    bands = write_bands(tmp_path, g=(0.25, 100, (50, 50)), k=second)
    with pytest.raises(NothingReadError, match=match):
        read(tmp_path, bands=bands, **options)


def test_bands_that_are_off_by_less_than_half_a_pixel_stay(tmp_path):
    bands = write_bands(tmp_path, g=(0.25, 20, (10, 10)), k=(0.25, 20, (10.4, 10)))
    images = read(tmp_path, bands=bands).images
    np.testing.assert_array_equal(images[0, ..., 1], galaxy(0.25, 20, (10.4, 10)))
    # Without coordinates nothing is known.
    write_fits(tmp_path / "b_g.fits", sky_image())
    write_fits(tmp_path / "b_k.fits", sky_image(), header_of(3.0))
    assert len(read(tmp_path, bands=bands, size=8).images) == 2


def test_turned_bands(tmp_path):
    write_bands(tmp_path, g=(0.25, 40, (20, 20)))
    header = header_of(0.25, (20, 20), 60.0)
    header["CDELT1"] *= -1
    write_fits(tmp_path / "a_k.fits", galaxy(0.25, 40), header)
    for options in ({}, {"pixel_scale": 0.5, "size": 16}):
        with pytest.raises(NothingReadError, match=r"pixels off those of .*a_g"):
            read(tmp_path, bands=["g", "k"], **options)


def test_pixels_that_are_not_square(tmp_path):
    header = header_of(0.4)
    header["CDELT2"] /= 2
    write_fits(tmp_path / "a.fits", sky_image(), header)
    assert np.isnan(read(tmp_path).pixel_scale).all()
    with pytest.raises(NothingReadError, match="no pixel scale of square pixels"):
        read(tmp_path, pixel_scale=0.4)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("options", [{"pixel_scale": 0.005}, {"size": 3000}], ids=str)
def test_memory_of_new_pixels(tmp_path, options, lazy):
    write_fits(tmp_path / "a.fits", sky_image(), header_of(1.0))
    with pytest.raises(NothingReadError, match=r"more than the limit .* \(max_bytes\)"):
        read(tmp_path, max_bytes=1e5, lazy=lazy, **options)


def test_kinds_of_images_are_not_mixed(tmp_path, folder):
    write_picture(folder / "gray.png", SHAPE)
    write_fits(folder / "number.fits", sky_image())
    match = r"3 kinds: an axis of 3 channels, bytes: 3, such as .*a\.png'; one channel,"
    with pytest.raises(ValueError, match=match):
        read(folder)
    cube = write_fits(tmp_path / "a_g.fits", sky_image((2, *SHAPE)))
    write_fits(tmp_path / "a_r.fits", sky_image())
    with pytest.raises(NothingReadError, match="one of several bands, but has 2"):
        read([cube, tmp_path / "a_r.fits"], bands=["g", "r"])


# Stretches ----------------------------------------------------------------------------


def test_stretches_of_astropy(tmp_path):
    cube = sky_image((3, *SHAPE))
    write_fits(tmp_path / "a.fits", cube)
    image = np.moveaxis(cube, 0, -1)
    stretch = AsinhStretch(0.1) + ManualInterval(0, 20)
    images = read(tmp_path, stretch=stretch).images
    assert images.dtype == np.float32
    expected = np.arcsinh(np.clip(image / 20, 0, 1) / 0.1) / np.arcsinh(1 / 0.1)
    np.testing.assert_allclose(images[0], expected, rtol=1e-5)
    colors = read(tmp_path, stretch=make_lupton_rgb).images
    assert colors.dtype == np.uint8
    # The last band is the reddest.
    np.testing.assert_array_equal(colors[0], make_lupton_rgb(*cube[::-1]))
    some = partial(make_lupton_rgb, Q=4, stretch=2, minimum=1)
    np.testing.assert_array_equal(
        read(tmp_path, stretch=some, lazy=True).images[0], some(*cube[::-1])
    )


def test_functions_that_do_not_stretch(tmp_path):
    write_fits(tmp_path / "a.fits", sky_image())
    with pytest.raises(NothingReadError, match="makes colors of three bands"):
        read(tmp_path, stretch=make_lupton_rgb)
    with pytest.raises(NothingReadError, match="height and width must stay"):
        read(tmp_path, stretch=np.ravel)
    with pytest.raises(NothingReadError, match="returned NaN or infinity"):
        read(tmp_path, stretch=lambda image: image * np.nan)
    with pytest.raises(TypeError, match=r"stretch must be a function .*AsinhStretch"):
        read(tmp_path, stretch="asinh")


# Copies, damage, large sets -----------------------------------------------------------


def test_copies_have_one_group(folder, capsys):
    image = Image.open(folder / "a.png")
    image.save(folder / "d.bmp")
    image.save(folder / "e.tiff")
    table = Table({"name": [*"abcde"], "class": [*"xyzxw"]})
    images = read_images(folder, table)
    assert images.groups.tolist() == [0, 1, 2, 0, 0]
    printed = capsys.readouterr().out
    assert "Copies of other images: 2, 1 of them with another label." in printed
    folds = GroupKFold(3).split(images.images, groups=images.groups)
    for train, test in folds:
        assert not {*images.groups[train]} & {*images.groups[test]}


def test_copies_with_unknown_labels(folder, capsys):
    for name in "def":
        Image.open(folder / "a.png").save(folder / f"{name}.bmp")
    labels = {"name": [*"abcdef"], "t": [np.nan, 1, 2, np.nan, np.nan, 3]}
    read_images(folder, Table(labels), label_column="t")
    printed = capsys.readouterr().out
    assert "Copies of other images: 3, 1 of them with another label." in printed
    table = Table(labels | {"u": [1.0, 1, 2, 1, 4, 1]})
    read_images(folder, table, label_column=["t", "u"])
    assert ": 3, 2 of them with another label." in capsys.readouterr().out


def test_same_numbers_in_other_shapes_or_types_are_no_copies(tmp_path):
    write_fits(tmp_path / "a.fits", np.zeros((4, 6), np.float32))
    write_fits(tmp_path / "b.fits", np.zeros((6, 4), np.float32))
    write_fits(tmp_path / "c.fits", np.zeros((4, 6), np.int16))
    assert read(tmp_path, size=6).groups.tolist() == [0, 1, 0]


def test_damaged_files(folder, capsys):
    (folder / "bad.png").write_bytes(b"no image")
    cut = folder / "cut.png"
    cut.write_bytes((folder / "a.png").read_bytes()[:150])
    with pytest.warns(UserWarning, match=r"2 of 5 files could not be read") as caught:
        images = read_images(folder)
    assert caught[0].filename == __file__
    assert images.id.tolist() == ["a", "b", "c"]
    assert {Path(path).name for path, _ in images.failures} == {"bad.png", "cut.png"}
    np.testing.assert_array_equal(images.images, ImageFiles(images.path)[:])
    with pytest.raises(NothingReadError, match="No image was read") as error:
        read([cut])
    assert error.value.failures[0].path == str(cut)


def test_damaged_band(tmp_path):
    for name in "ab":
        for band in "gr":
            write_fits(tmp_path / f"{name}_{band}.fits", sky_image())
    bad = tmp_path / "a_r.fits"
    bad.write_bytes(bad.read_bytes()[:3000])
    with pytest.warns(UserWarning, match="1 of 4 files"):
        images = read(tmp_path, bands=["g", "r"])
    assert images.id.tolist() == ["b"]
    assert images.failures[0].path == str(bad)
    assert images.left_out == [
        (str(tmp_path / "a_g.fits"), "another band of 'a' cannot be read")
    ]


def test_lazy(tmp_path):
    for name, shape in {"a": (9, 9), "b": (7, 9), "d": (9, 9)}.items():
        image = sky_image((2, *shape))
        image[0, 0, 0] = np.nan
        write_fits(tmp_path / f"{name}.fits", image, header_of(1.0))
    (tmp_path / "c.fits").write_bytes(b"SIMPLE")
    options = {"size": 8, "stretch": np.arcsinh}
    with pytest.warns(UserWarning, match="1 of 4 files"):
        eager = read(tmp_path, **options)
    with pytest.warns(UserWarning, match="1 of 4 files"):
        lazy = read(tmp_path, lazy=True, **options)
    assert isinstance(lazy.images, LazyArray)
    assert lazy.images.shape == (3, 8, 8, 2)
    assert lazy.images.dtype == np.float32
    np.testing.assert_array_equal(lazy.images[:], eager.images)
    np.testing.assert_array_equal(lazy.images[[2, 0]][:], eager.images[[2, 0]])
    again = pickle.loads(pickle.dumps(lazy.images))
    np.testing.assert_array_equal(again[1], eager.images[1])
    for name in ("groups", "n_filled", "id", "pixel_scale"):
        np.testing.assert_array_equal(lazy[name], eager[name])
    (tmp_path / "b.fits").unlink()
    with pytest.raises(OSError, match=r"b\.fits: there is no such file"):
        lazy.images[:]


def test_a_file_that_has_changed(folder):
    images = read(folder, lazy=True).images
    write_picture(folder / "b.png", (4, 4, 3))
    with pytest.raises(OSError, match=r"b\.png: has changed; .* \(8, 9, 3\)"):
        images[:]


def test_too_much_memory(folder):
    with pytest.raises(OSError, match=r"more than the limit of .* \(max_bytes\)"):
        read(folder, max_bytes=500)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_threads_keep_the_order(tmp_path, n_jobs):
    paths = [write_picture(tmp_path / f"{i}.png") for i in range(20)]
    images = read(paths, n_jobs=n_jobs)
    np.testing.assert_array_equal(images.images, ImageFiles(paths)[:])


def test_progress(folder, capsys):
    read_images(folder)
    shown = capsys.readouterr()
    assert "Reading headers" in shown.err
    assert "Reading images" in shown.err
    read(folder)
    assert capsys.readouterr() == ("", "")


def test_sources_that_are_none(tmp_path, folder):
    (folder / "notes.md").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There are no images: .* hold no file"):
        read(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"the list of files is empty"):
        read([])
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")
    with pytest.raises(TypeError, match="source must be a folder, or paths"):
        read(3)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 8.5}, TypeError, "size must be an integer"),
        ({"size": (8, 8, 3)}, ValueError, r"size must be .*\(height, width\)"),
        ({"resize": True}, ValueError, "resize=True needs size"),
        ({"fill_value": "mean"}, ValueError, "number or 'median'; got 'mean'"),
        ({"fill_value": np.nan}, ValueError, r"fill_value must be .*finite"),
        ({"fill_value": 1e39}, ValueError, r"fill_value must be from -3.4"),
        ({"fill_value": 300}, ValueError, "images of bytes cannot hold"),
        ({"pixel_scale": -1}, ValueError, "pixel_scale must be positive"),
        ({"pixel_scale": 3 * u.s}, ValueError, "cannot be converted to arcsec"),
        ({"hdu": 1.5}, TypeError, "hdu must be the number or name"),
        ({"mask": True}, TypeError, "mask must be the number or name"),
        ({"mask": 1}, NothingReadError, "only FITS files have a mask=1"),
    ],
    ids=str,
)
def test_options_that_are_wrong(folder, options, error, match):
    with pytest.raises(error, match=match):
        read(folder, **options)


# Estimators ---------------------------------------------------------------------------


def test_labeled_images_train_a_classifier(tmp_path):
    kinds = ["dark", "bright"] * 8
    for number, kind in enumerate(kinds):
        for band in "gr":
            pixels = sky_image((12, 12)) + 40 * (kind == "bright")
            pixels[0, 0] = np.nan
            write_fits(tmp_path / "stamps" / f"{number:03d}_{band}.fits", pixels)
    table = tmp_path / "labels.csv"
    rows = [f"{number:03d},{kind}" for number, kind in enumerate(kinds)]
    table.write_text("\n".join(["id,class", *rows]))
    for lazy in (False, True):
        images = read(tmp_path / "stamps", table, bands=["g", "r"], lazy=lazy)
        clf = GalaxyClassifier(
            "mlp", module__hidden=(8,), augment=None, max_epochs=10, verbose=0
        )
        clf.set_params(train_split=None, random_state=0)
        scores = cross_val_score(
            clf,
            images.images,
            images.target,
            cv=StratifiedGroupKFold(2),
            groups=images.groups,
        )
        assert scores.mean() > 0.9


def test_estimators_tell_how_to_read_files(folder):
    for X in (["a.fits", "b.fits"], np.array(["a.fits.gz"]), f"{folder}/"):
        with pytest.raises(TypeError, match=r"skastro\.datasets\.read_images reads"):
            GalaxyClassifier().fit(X, [0, 1])


def test_real_votes(data_dir):
    images = read(
        data_dir / "gz2_votes",
        data_dir / "gz2_votes.csv",
        label_column=["score_smooth", "score_edge"],
        size=32,
        resize=True,
    )
    assert images.id_column in ("asset_id", "asset_key", "filepath")
    assert images.images.shape == (698, 32, 32, 3)
    assert images.images.dtype == np.uint8
    assert (images.failures, images.left_out, images.without_image) == ([], [], [])
    expected = Table.read(data_dir / "gz2_votes.csv")
    row = np.flatnonzero(expected["asset_id"] == int(images.id[5]))[0]
    assert images.target[5, 0] == expected["score_smooth"][row]
    some = slice(64)
    net = GalaxyRegressor(max_epochs=1, random_state=0, verbose=0, module__width=4)
    net.fit(images.images[some], images.target[some])
    assert net.predict(images.images[some]).shape == (64, 2)


def test_real_rings(data_dir):
    images = read(
        data_dir / "vae_images",
        data_dir / "vae_images.csv",
        label_column="ring",
        size=32,
        resize=True,
    )
    assert images.id_column == "file"
    assert len(images.images) == 300
    assert images.target_names.tolist() == [0, 1]
    some = slice(60)
    net = GalaxyClassifier(max_epochs=1, random_state=0, verbose=0)
    net.set_params(module__width=4)
    net.fit(images.images[some], images.target[some])
    assert net.predict(images.images[some]).shape == (60,)
