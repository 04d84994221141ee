# SPDX-License-Identifier: BSD-3-Clause
"""Reading many spectra: files of many, folders and lists of single ones."""

import pickle

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table

from skastro.datasets import read_spectra, read_spectrum
from skastro.utils import rebin

GRID = np.linspace(4000.0, 8000.0, 300)


def write_matrix(path, flux, table=None, wavelength=None, name=None):
    hdus = [fits.PrimaryHDU(flux)]
    if table is not None:
        hdus.append(fits.BinTableHDU(Table(table), name=name))
    if wavelength is not None:
        hdus.append(fits.ImageHDU(wavelength, name="WAVELENGTH"))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture
def flux():
    return np.random.default_rng(1).normal(size=(6, 3000)).astype(np.float32)


@pytest.fixture
def competition(tmp_path, flux):
    table = {"objid": np.arange(6) + 100, "label": [2, 0, 1, 2, 2, 0]}
    return write_matrix(tmp_path / "train_data_10.fits", flux, table)


@pytest.fixture
def labeled(tmp_path, flux):
    table = {
        "label": [0, 1, 0, 2, 0, 0],
        "class": ["STAR", "GALAXY", "STAR", "QSO", "STAR", "Unknown"],
        "subclass": ["F0", "Non", "A5", "", "K7", ""],
        "z": np.float32([1e-5, 0.1, -1e-4, 2.5, 0, -9999]),
        "snr": np.float32([10, 20, -9999, 5, 3, 2]),
        "survey": ["LAMOST DR1", "BOSS", "LAMOST DR5", "BOSS", "LAMOST DR1", "BOSS"],
        "id": [f"s{k}" for k in range(6)],
    }
    path = tmp_path / "labeled.fits"
    wavelength = np.linspace(3900.0, 9000.0, 1000)
    return write_matrix(path, flux[:, :1000], table, wavelength, name="LABELS")


def test_competition_layout(competition, flux):
    spectra = read_spectra(competition)
    assert spectra.layout == "competition"
    np.testing.assert_array_equal(spectra.flux, flux)
    assert spectra.flux.dtype == np.float32
    assert spectra.flux.dtype.isnative
    assert spectra.flux.flags.c_contiguous
    assert spectra.flux.flags.writeable
    expected = ["STAR", "GALAXY", "QSO", "STAR", "STAR", "GALAXY"]
    assert spectra.target.tolist() == expected
    assert spectra.target_names.tolist() == ["GALAXY", "QSO", "STAR"]
    assert spectra.label.tolist() == [2, 0, 1, 2, 2, 0]
    assert spectra.label.dtype.isnative
    assert spectra.id.tolist() == [100, 101, 102, 103, 104, 105]
    np.testing.assert_array_equal(spectra.wavelength, np.linspace(3900, 9000, 3000))
    assert spectra.failures == spectra.left_out == []
    assert spectra.redshift is None
    again = pickle.loads(pickle.dumps(spectra))
    np.testing.assert_array_equal(again.target, spectra.target)


@pytest.mark.parametrize("with_ids", [True, False])
def test_competition_file_without_labels(tmp_path, flux, with_ids):
    table = {"objid": np.arange(6)} if with_ids else None
    spectra = read_spectra(write_matrix(tmp_path / "test.fits", flux, table))
    assert spectra.layout == "competition"
    np.testing.assert_array_equal(spectra.flux, flux)
    assert spectra.target is None
    assert spectra.target_names is None
    assert spectra.label is None
    assert (spectra.id is None) != with_ids
    with pytest.raises(ValueError, match="no column 'label' to take the labels from"):
        read_spectra(tmp_path / "test.fits", label_column="label")


def test_zipped_competition_file(competition, compress, flux):
    compress(competition)
    np.testing.assert_array_equal(read_spectra(competition).flux, flux)


def test_class_names_are_explicit(competition):
    spectra = read_spectra(competition, class_names=["a", "b", "c"])
    assert spectra.target.tolist() == ["c", "a", "b", "c", "c", "a"]
    names = {0: "star", 1: "galaxy", 2: "quasar", 9: "unused"}
    assert read_spectra(competition, class_names=names).target[0] == "quasar"
    with pytest.raises(ValueError, match=r"labels \[0, 1\], but the file also has \[2"):
        read_spectra(competition, class_names=["a", "b"])


def test_integer_labels_as_target(competition):
    spectra = read_spectra(competition, label_column="label")
    assert spectra.target.tolist() == [2, 0, 1, 2, 2, 0]
    assert spectra.target_names.tolist() == [0, 1, 2]


def test_labeled_matrix(labeled, flux):
    spectra = read_spectra(labeled)
    assert spectra.layout == "labeled-matrix"
    np.testing.assert_array_equal(spectra.flux, flux[:, :1000])
    np.testing.assert_array_equal(spectra.wavelength, np.linspace(3900, 9000, 1000))
    # Here 0 is a star: the column of names decides, not the competition's order.
    assert spectra.target.tolist() == ["STAR", "GALAXY", "STAR", "QSO", "STAR", ""]
    assert spectra.target_names.tolist() == ["GALAXY", "QSO", "STAR"]
    assert spectra.subclass.tolist() == ["F0", "", "A5", "", "K7", ""]
    assert spectra.label.tolist() == [0, 1, 0, 2, 0, 0]
    assert spectra.survey[0] == "LAMOST DR1"
    assert np.isnan(spectra.snr[2])
    assert np.isnan(spectra.redshift[5])
    assert spectra.redshift.dtype == np.float32
    assert spectra.table.colnames[:3] == ["label", "class", "subclass"]


def test_label_column(labeled):
    by_type = read_spectra(labeled, label_column="subclass")
    assert by_type.target_names.tolist() == ["A5", "F0", "K7"]
    assert read_spectra(labeled, label_column="SUBCLASS").target[0] == "F0"
    by_redshift = read_spectra(labeled, label_column="z")
    assert by_redshift.target_names is None
    assert by_redshift.target[3] == 2.5
    with pytest.raises(ValueError, match=r"'subclas'.*one of: label, class, subclass"):
        read_spectra(labeled, label_column="subclas")


def test_labels_without_names_stay_integers(tmp_path, flux):
    path = tmp_path / "m.fits"
    table = {"label": [0, 1, 0, 2, 0, 0]}
    write_matrix(path, flux, table, np.arange(4000.0, 7000.0), name="LABELS")
    assert read_spectra(path).target.tolist() == [0, 1, 0, 2, 0, 0]
    assert read_spectra(path, class_names=["S", "G", "Q"]).target[3] == "Q"
    unlabeled = tmp_path / "u.fits"
    write_matrix(unlabeled, flux, None, np.arange(4000.0, 7000.0))
    spectra = read_spectra(unlabeled)
    assert spectra.target is None
    assert spectra.flux.shape == (6, 3000)
    with pytest.raises(ValueError, match="no column 'label' of integers"):
        read_spectra(unlabeled, class_names=["S", "G", "Q"])


def test_matrices_are_rebinned_to_a_given_grid(labeled, competition, flux):
    spectra = read_spectra(labeled, wavelength=GRID)
    old = np.linspace(3900, 9000, 1000)
    np.testing.assert_array_equal(spectra.flux, rebin(flux[:, :1000], old, GRID))
    np.testing.assert_array_equal(spectra.wavelength, GRID)
    assert read_spectra(competition, wavelength=GRID).flux.shape == (6, 300)


def test_units_of_wavelengths(labeled):
    spectra = read_spectra(labeled, wavelength=GRID / 10 * units.nm)
    np.testing.assert_allclose(spectra.wavelength, GRID)
    assert spectra.wavelength_unit == units.Angstrom
    for unit, factor in [("nm", 10), ("Angstroms", 1), ("", 1)]:
        with fits.open(labeled, "update") as hdul:
            hdul["WAVELENGTH"].header["BUNIT"] = unit
        expected = np.linspace(3900, 9000, 1000) * factor
        np.testing.assert_allclose(read_spectra(labeled).wavelength, expected)
    with fits.open(labeled, "update") as hdul:
        hdul["WAVELENGTH"].header["BUNIT"] = "s"
    with pytest.raises(ValueError, match=r"labeled.fits: 's' .*not convertible"):
        read_spectra(labeled)


def test_wavelengths_of_a_matrix_that_carries_none(tmp_path, flux):
    path = tmp_path / "short.fits"
    write_matrix(path, flux[:, :50], {"objid": np.arange(6)})
    assert read_spectra(path).wavelength is None
    given = read_spectra(path, wavelength=np.arange(4000.0, 4050.0))
    np.testing.assert_array_equal(given.wavelength, np.arange(4000.0, 4050.0))
    np.testing.assert_array_equal(given.flux, flux[:, :50])
    with pytest.raises(ValueError, match=r"have 50 pixels .* has 300 values"):
        read_spectra(path, wavelength=GRID)


def test_contradictory_matrices(tmp_path, flux):
    path = tmp_path / "rows.fits"
    write_matrix(path, flux, {"objid": [1, 2], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"rows.fits: .*6 spectra.*labels 2 rows"):
        read_spectra(path)
    path = tmp_path / "grid.fits"
    write_matrix(path, flux, None, np.arange(4000.0, 4100.0))
    with pytest.raises(ValueError, match="3000 pixels, but HDU WAVELENGTH 100"):
        read_spectra(path)


def test_truncated_matrix(competition):
    competition.write_bytes(competition.read_bytes()[:40000])
    with pytest.raises(OSError, match="truncated: 40000 bytes"):
        read_spectra(competition)


@pytest.fixture
def folder(write_spectrum, tmp_path):
    """Write a folder of seven good files, a sky fiber and a template, and bad ones."""
    for layout in ["lamost-image", "lamost-log-image", "lamost-coadd", "sdss-spec"]:
        write_spectrum(layout, f"files/{layout}.fits")
    write_spectrum("sdss-spec-upper", "files/UPPER.FITS", CLASS="QSO", SUBCLASS="")
    write_spectrum("lamost-image", "files/unknown.fits", CLASS="Unknown")
    write_spectrum("6dfgs", "files/6dfgs.fit")
    write_spectrum("sdss-spec", "files/sky.fits", SOURCETYPE="SKY")
    write_spectrum("sdss-spspec", "files/template.fit", VERS_1D="NOCVS:spectro")
    write_spectrum("sdss-spec", "files/deeper/more.fits")
    (tmp_path / "files/readme.txt").write_text("not a spectrum")
    (tmp_path / "files/.hidden.fits").write_text("not a spectrum")
    return tmp_path / "files"


def test_folder(folder, capsys):
    spectra = read_spectra(folder, verbose=0)
    assert capsys.readouterr() == ("", "")
    assert spectra.layout == "single-files"
    assert spectra.flux.shape == (7, 3000)
    assert spectra.flux.dtype == np.float32
    np.testing.assert_array_equal(spectra.wavelength, np.linspace(3900, 9000, 3000))
    names = [path.rpartition("/")[2] for path in spectra.table["path"]]
    assert names == [
        "6dfgs.fit",
        "UPPER.FITS",
        "lamost-coadd.fits",
        "lamost-image.fits",
        "lamost-log-image.fits",
        "sdss-spec.fits",
        "unknown.fits",
    ]
    expected = ["", "QSO", "STAR", "STAR", "STAR", "GALAXY", ""]
    assert spectra.target.tolist() == spectra.class_name.tolist() == expected
    assert spectra.target_names.tolist() == ["GALAXY", "QSO", "STAR"]
    assert [kind for _, kind in spectra.left_out] == ["sky", "template"]
    assert spectra.failures == []
    assert spectra.label is None
    for row, path in zip(spectra.flux, spectra.table["path"], strict=True):
        single = read_spectrum(path)
        expected = rebin(single.flux, single.wavelength, spectra.wavelength)
        np.testing.assert_array_equal(row, expected)
    assert spectra.table["vacuum"].tolist() == [False] + 6 * [True]
    assert spectra.table["doppler_redshift"][0] == pytest.approx(0.03)
    assert spectra.table["flux_unit"][0] == "ct"
    assert spectra.table["ra"].unit == "deg"


def test_progress_and_summary(folder, capsys):
    read_spectra(folder)
    out, err = capsys.readouterr()
    assert "Left out 2 of 9 files for their kind: 1 sky, 1 template." in out
    assert "Reading spectra: 100%" in err


def test_parallel_reading_gives_the_same(folder):
    one = read_spectra(folder, verbose=0)
    two = read_spectra(folder, verbose=0, n_jobs=2)
    np.testing.assert_array_equal(one.flux, two.flux)
    assert (one.table["path"] == two.table["path"]).all()


def test_kinds(folder):
    everything = read_spectra(
        folder, kinds=["science", "sky", "template"], verbose=0, wavelength=GRID
    )
    assert everything.flux.shape == (9, 300)
    sky = read_spectra(folder, kinds="sky", verbose=0)
    assert sky.table["kind"].tolist() == ["sky"]
    assert sky.target.tolist() == [""]
    with pytest.raises(ValueError, match="kinds must be one or more of 'science', 's"):
        read_spectra(folder, kinds="skies")


def test_pattern_and_recursion(folder):
    deep = read_spectra(folder, recursive=True, verbose=0)
    assert len(deep.flux) == 8
    assert len(read_spectra(folder, pattern="LAMOST*", verbose=0).flux) == 3
    with pytest.raises(ValueError, match="no file in this folder matches the pattern"):
        read_spectra(folder, pattern="*.csv")


def test_list_of_files_and_label_column(folder):
    paths = (folder / name for name in ["sdss-spec.fits", "UPPER.FITS"])
    spectra = read_spectra(paths, label_column="subclass", verbose=0)
    assert spectra.target.tolist() == ["STARFORMING", ""]
    assert spectra.id.tolist() == 2 * ["0266-51630-0168"]
    with pytest.raises(ValueError, match=r"no column 'objid'.*one of: id, class, sub"):
        read_spectra(folder, label_column="objid")
    with pytest.raises(ValueError, match="class_names names the integer labels"):
        read_spectra(folder, class_names=["a"])
    with pytest.raises(ValueError, match="list of files is empty"):
        read_spectra([])


def test_single_file(folder):
    spectra = read_spectra(folder / "lamost-image.fits", wavelength=GRID, verbose=0)
    assert spectra.flux.shape == (1, 300)
    assert spectra.target.tolist() == ["STAR"]


def test_flux_is_conserved_and_uncovered_pixels_are_nan(write_spectrum):
    made = write_spectrum("lamost-log-image", COEFF0=3.65)
    wavelength = 10 ** (3.65 + 1e-3 * np.arange(400))
    grid = np.arange(4000.0, 9000.0, 40.0)
    flux = read_spectra(made.path, wavelength=grid, verbose=0).flux[0]
    nan = np.isnan(flux)
    assert nan[grid < 4400].all()
    assert not nan[grid > 4500].any()
    # Integral over whole new bins against the cumulated old pixels.
    edges = 0.5 * (wavelength[1:] + wavelength[:-1])
    cumulated = np.cumsum(made.flux[1:-1] * np.diff(edges))
    low, high = np.interp([4500, 8980], edges[1:], cumulated)
    inside = (grid > 4500) & (grid < 8980)
    assert np.sum(flux[inside]) * 40.0 == pytest.approx(high - low, rel=1e-5)


def test_failures_are_reported_together(folder, write_spectrum):
    (folder / "a_empty.fits").touch()
    (folder / "b_text.fits").write_text("hello " * 1000)
    good = (folder / "sdss-spec.fits").read_bytes()
    (folder / "c_cut.fits").write_bytes(good[:9000])
    fits.PrimaryHDU(np.zeros((3, 4, 5))).writeto(folder / "d_cube.fits")
    write_spectrum("lamost-log-image", "files/e_infrared.fits", COEFF0=4.1)
    fits.PrimaryHDU(np.zeros((3, 3000), "f4")).writeto(folder / "f_matrix.fits")
    with pytest.warns(UserWarning, match="6 of 15 files could not be read") as caught:
        spectra = read_spectra(folder, verbose=0)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "a_empty.fits: not a readable FITS file: it is empty" in message
    assert "and 1 more" in message
    assert caught[0].filename == __file__
    assert len(spectra.flux) == 7
    paths, reasons = zip(*spectra.failures, strict=True)
    assert [path.rpartition("/")[2][0] for path in paths] == list("abcdef")
    for reason, part in zip(
        reasons,
        ["empty", "SIMPLE", "truncated", "(3, 4, 5)", "do not overlap", "read_spectra"],
        strict=True,
    ):
        assert part in reason
        assert str(folder) not in reason


def test_missing_file_in_a_list_is_a_failure(folder):
    paths = [folder / "gone.fits", folder / "sdss-spec.fits"]
    with pytest.warns(UserWarning, match="there is no such file"):
        assert len(read_spectra(paths, verbose=0).flux) == 1


def test_error_if_nothing_can_be_read(folder, tmp_path):
    with pytest.raises(ValueError, match=r"No spectrum was read. 1 of 1 files could"):
        read_spectra([folder / "readme.txt"], verbose=0)
    paths = [folder / "sky.fits", folder / "template.fit"]
    with pytest.raises(ValueError, match=r"left out .*\(1 sky, 1 template\).* kinds"):
        read_spectra(paths, verbose=0)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_spectra(tmp_path / "nowhere")
    with pytest.raises(OSError, match="does not begin with"):
        read_spectra(folder / "readme.txt")


@pytest.mark.parametrize(
    "grid", [[[4000.0, 5000.0]], [], [5000.0, 4000.0], [4000.0, np.nan], 4000.0]
)
def test_bad_grids(folder, grid):
    with pytest.raises(ValueError, match="wavelength must be a vector of finite"):
        read_spectra(folder, wavelength=grid)
