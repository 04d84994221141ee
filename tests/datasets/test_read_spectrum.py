# SPDX-License-Identifier: BSD-3-Clause
"""Reading files of one spectrum: layouts, fields, bad files."""

import gzip
import pickle

import numpy as np
import pytest
from astropy import units
from astropy.io import fits

from skastro.datasets import read_spectrum

LAYOUTS = [
    "lamost-image",
    "lamost-log-image",
    "lamost-coadd",
    "sdss-spec",
    "sdss-spec-upper",
    "sdss-spspec",
    "6dfgs",
]
FIELDS = {
    *("flux", "ivar", "wavelength", "mask", "and_mask", "or_mask", "kind", "layout"),
    *("survey", "release", "id", "class_name", "subclass", "redshift"),
    *("redshift_warning", "ra", "dec", "snr", "snr_bands", "vacuum"),
    *("medium", "frame", "normalized"),
    *("doppler_redshift", "flux_unit", "wavelength_unit", "header", "path"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_each_layout(write_spectrum, layout):
    made = write_spectrum(layout)
    spectrum = read_spectrum(made.path)
    assert spectrum.layout == layout.removesuffix("-upper")
    assert spectrum.kind == "science"
    assert spectrum.path == str(made.path)
    np.testing.assert_array_equal(spectrum.flux, made.flux)
    np.testing.assert_allclose(spectrum.ivar, made.ivar, rtol=1e-6)
    np.testing.assert_allclose(spectrum.wavelength, made.wavelength, atol=0.01)
    np.testing.assert_array_equal(np.flatnonzero(spectrum.mask), [7])
    for name, dtype in [("flux", "f4"), ("ivar", "f4"), ("wavelength", "f8")]:
        assert spectrum[name].dtype == np.dtype(dtype)
        assert spectrum[name].dtype.isnative
    assert spectrum.wavelength_unit == units.Angstrom
    assert set(spectrum) == FIELDS
    again = pickle.loads(pickle.dumps(spectrum))
    np.testing.assert_array_equal(again.flux, spectrum.flux)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("name", "zipped"),
    [("a.fits.fits", False), ("b.fits.gz", True), ("c.fits", True), ("d.gz", False)],
)
def test_content_decides_not_the_name(write_spectrum, compress, layout, name, zipped):
    made = write_spectrum(layout, "plain.fits")
    path = made.path.rename(made.path.with_name(name))
    if zipped:
        compress(path)
    spectrum = read_spectrum(path)
    assert spectrum.layout == layout.removesuffix("-upper")
    np.testing.assert_array_equal(spectrum.flux, made.flux)


def test_fields_of_lamost(write_spectrum):
    spectrum = read_spectrum(write_spectrum("lamost-image").path)
    assert spectrum.survey == "LAMOST"
    assert spectrum.release == "LAMOST DR7"
    assert spectrum.id == "spec-58575-HD1_sp03-008"
    assert (spectrum.class_name, spectrum.subclass) == ("STAR", "G3")
    assert spectrum.redshift == -1e-4
    assert spectrum.redshift_warning == -1
    assert (spectrum.ra, spectrum.dec, spectrum.vacuum) == (158.5, 35.7, True)
    assert spectrum.snr == 3.0
    assert spectrum.snr_bands == {"u": 1.0, "g": 2.0, "r": 3.0, "i": 4.0, "z": 5.0}
    assert spectrum.flux_unit == units.dimensionless_unscaled
    np.testing.assert_array_equal(np.flatnonzero(spectrum.or_mask), [7])
    assert spectrum.header["PLANID"] == "HD1"


def test_lamost_spells_signal_to_noise_and_missing_values_in_two_ways(write_spectrum):
    old = {f"SNR{band}": None for band in "UGRIZ"}
    made = write_spectrum("lamost-log-image", **old, SN_R=19.7, SN_G=-9999)
    with fits.open(made.path, "update") as hdul:
        for key in old:
            del hdul[0].header[key]
    spectrum = read_spectrum(made.path)
    assert spectrum.snr == 19.7
    assert np.isnan(spectrum.snr_bands["g"])
    unknown = read_spectrum(
        write_spectrum(
            "lamost-coadd", "u.fits", CLASS="Unknown", SUBCLASS="Non", Z=-9999
        ).path
    )
    assert unknown.class_name == unknown.subclass == ""
    assert np.isnan(unknown.redshift)
    assert unknown.kind == "science"


def test_lamost_row_of_wavelengths_is_found_without_the_list_of_rows(write_spectrum):
    for layout in ["lamost-image", "lamost-log-image"]:
        made = write_spectrum(layout, layout, EXTEN0="")
        spectrum = read_spectrum(made.path)
        assert spectrum.layout == layout
        np.testing.assert_allclose(spectrum.wavelength, made.wavelength, atol=0.01)


def test_lamost_third_row_is_not_wavelength_in_the_first_release(write_spectrum):
    made = write_spectrum("lamost-log-image", COEFF0=3.6)
    expected = 10 ** (3.6 + 1e-3 * np.arange(made.flux.size))
    wavelength = read_spectrum(made.path).wavelength
    np.testing.assert_allclose(wavelength, expected, rtol=1e-12)


def test_fields_of_sdss(write_spectrum):
    spectrum = read_spectrum(write_spectrum("sdss-spec").path)
    assert spectrum.id == "0266-51630-0168"
    assert (spectrum.survey, spectrum.release) == ("SDSS", "26")
    assert (spectrum.class_name, spectrum.subclass) == ("GALAXY", "STARFORMING")
    assert spectrum.redshift == pytest.approx(0.0674)
    assert spectrum.redshift_warning == 0
    # The object's place, not the telescope's.
    assert (spectrum.ra, spectrum.dec) == (146.2, -0.4)
    assert spectrum.snr == pytest.approx(23.7)
    assert spectrum.snr_bands["i"] == 33.0
    flux = 2 * spectrum.flux_unit
    assert flux.to_value("W / (m2 um)") == pytest.approx(2e-16)
    np.testing.assert_array_equal(spectrum.or_mask, np.arange(spectrum.flux.size))


def test_sdss_survey_of_the_boss_pipeline(write_spectrum):
    made = write_spectrum("sdss-spec", SURVEY=None, SOURCETYPE=None, RUN2D="v5_7_0")
    assert read_spectrum(made.path).survey == "BOSS"


def test_sdss_coadd_without_catalog(write_spectrum):
    made = write_spectrum("sdss-spec")
    with fits.open(made.path) as hdul:
        hdul[:2].writeto(made.path.with_name("coadd.fits"))
        hdul[0].header["TELESCOP"] = "SDSS 2.5-M"
        hdul[:2].writeto(made.path.with_name("cut.fits"))
    # The telescope's name tells that a row of the catalog should follow.
    with pytest.raises(ValueError, match="row of the catalog is missing"):
        read_spectrum(made.path.with_name("cut.fits"))
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(made.path.with_name("coadd.fits"))


@pytest.mark.parametrize(
    ("layout", "cards"),
    [
        ("sdss-spec", {"SOURCETYPE": "SKY"}),
        ("sdss-spec", {"OBJTYPE": "SKY", "SOURCETYPE": None}),
        ("sdss-spec", {"ZWARNING": 5}),
        ("sdss-spec-upper", {"OBJTYPE": "SKY"}),
        ("sdss-spspec", {"SPEC_CLN": 5}),
        ("lamost-image", {"FIBERTYP": "Sky"}),
        ("lamost-coadd", {"FIBERTYP": "Sky"}),
    ],
)
def test_sky_fibers_have_no_class(write_spectrum, layout, cards):
    spectrum = read_spectrum(write_spectrum(layout, **cards).path)
    assert spectrum.kind == "sky"
    assert spectrum.class_name == spectrum.subclass == ""
    assert np.isnan(spectrum.redshift)


def test_good_redshift_warnings_are_not_taken_for_sky(write_spectrum):
    spectrum = read_spectrum(write_spectrum("sdss-spec", ZWARNING=4 + 16).path)
    assert (spectrum.kind, spectrum.redshift_warning) == ("science", 20)


def test_fields_of_spspec(write_spectrum):
    spectrum = read_spectrum(write_spectrum("sdss-spspec").path)
    assert spectrum.id == "0432-51884-0391"
    assert (spectrum.kind, spectrum.class_name) == ("science", "QSO")
    assert (spectrum.ra, spectrum.dec) == (114.7, 40.3)
    assert (spectrum.snr, spectrum.redshift) == (50.9, 1.5)
    # The pipeline wrote a wrong unit into BUNIT.
    assert spectrum.flux_unit.is_equivalent("erg / (s cm2 Angstrom)")


@pytest.mark.parametrize("cards", [{"VERS_1D": "NOCVS:spectro"}, {"FIBERID": 0}])
def test_templates_are_told_apart(write_spectrum, cards):
    assert read_spectrum(write_spectrum("sdss-spspec", **cards).path).kind == "template"


def test_fields_of_6dfgs(write_spectrum):
    spectrum = read_spectrum(write_spectrum("6dfgs").path)
    assert (spectrum.survey, spectrum.id) == ("6dFGS", "g0022390-240737")
    assert spectrum.vacuum is False
    assert spectrum.redshift == 0.03
    assert (spectrum.ra, spectrum.dec) == (5.66, -24.1)
    assert spectrum.doppler_redshift == pytest.approx(0.03)
    assert spectrum.flux_unit == units.count
    assert spectrum.and_mask is None
    assert np.isnan(spectrum.snr)


def write_image(path, shape=(3, 8, 8), **cards):
    fits.PrimaryHDU(np.zeros(shape, np.float32), fits.Header(cards)).writeto(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.fits: there is no such file"):
        read_spectrum(tmp_path / "gone.fits")
    with pytest.raises(IsADirectoryError, match="is a folder; read_spectra reads"):
        read_spectrum(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"id,class\n1,STAR\n" * 500, "does not begin with the keyword SIMPLE"),
        (gzip.compress(b"hello" * 1000, mtime=0), "its content is not FITS"),
        (gzip.compress(b"SIMPLE" * 1000, mtime=0)[:-20], "end-of-stream"),
        (b"SIMPLE  =                    T" + b" " * 4000, "not a readable FITS file"),
    ],
    # The processes of a test run must agree on the tests' names.
    ids=["empty", "text", "zipped text", "cut zip", "bare keyword"],
)
def test_files_that_are_not_fits(tmp_path, content, reason):
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(OSError, match=reason) as caught:
        read_spectrum(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", ["plain", "zipped", "zipped after"])
def test_truncated_files(write_spectrum, layout, zipped):
    path = write_spectrum(layout).path
    content = path.read_bytes()
    whole = gzip.compress(content) if zipped == "zipped" else content
    for part in [10, 2880, 3100, len(whole) // 2, len(whole) - 2900, len(whole) - 1]:
        cut = whole[: min(part, len(whole) - 1)]
        path.write_bytes(gzip.compress(cut) if zipped == "zipped after" else cut)
        with pytest.raises((OSError, ValueError)) as caught:
            read_spectrum(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_truncation_says_what_is_missing(write_spectrum):
    path = write_spectrum("sdss-spec").path
    with fits.open(path) as hdul:
        header_start = hdul.fileinfo(2)["hdrLoc"]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    expected = f"truncated: {size - 1} bytes where its headers announce {size}"
    with pytest.raises(OSError, match=expected):
        read_spectrum(path)
    # Cut inside the header of the catalog, where astropy drops the HDU.
    path.write_bytes(path.read_bytes()[: header_start + 300])
    with pytest.raises(OSError, match="ends inside the header of HDU 2"):
        read_spectrum(path)


def test_junk_behind_the_last_hdu_is_harmless(write_spectrum):
    for layout in ["lamost-image", "sdss-spec"]:
        made = write_spectrum(layout, layout)
        for junk in [b"\0" * 2880, b"junk"]:
            content = made.path.read_bytes()
            made.path.write_bytes(content + junk)
            np.testing.assert_array_equal(read_spectrum(made.path).flux, made.flux)
            made.path.write_bytes(content)


@pytest.mark.parametrize(
    "cards", [{}, {"TELESCOP": "LAMOST"}, {"CRVAL1": 1.0, "CUNIT1": "Angstrom"}]
)
@pytest.mark.parametrize("shape", [(3, 8, 8), (64, 64), (500,)])
def test_images_without_spectra(tmp_path, shape, cards):
    path = tmp_path / "image.fits"
    write_image(path, shape, **cards)
    with pytest.raises(ValueError, match="no spectrum in a known layout") as caught:
        read_spectrum(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert f"HDU 0 holds an image of shape {shape}" in message
    assert "Expected one of: LAMOST image of 5 rows" in message


def test_table_without_spectra_and_empty_primary(tmp_path):
    columns = [fits.Column(f"c{k}", "J", array=[1, 2]) for k in range(12)]
    table = fits.BinTableHDU.from_columns(columns)
    hdul = fits.HDUList([fits.PrimaryHDU(), table, *[fits.ImageHDU()] * 6])
    hdul.writeto(tmp_path / "table.fits")
    with pytest.raises(ValueError, match="a table of 2 rows with columns c0") as caught:
        read_spectrum(tmp_path / "table.fits")
    assert "c7, ...;" in str(caught.value)
    assert "2 more HDUs follow" in str(caught.value)
    fits.PrimaryHDU().writeto(tmp_path / "nothing.fits")
    with pytest.raises(ValueError, match="HDU 0 holds no data"):
        read_spectrum(tmp_path / "nothing.fits")


def test_matrix_of_spectra_is_sent_to_the_other_reader(tmp_path):
    write_image(tmp_path / "test.fits", (5, 3000))
    with pytest.raises(ValueError, match="read this file with read_spectra"):
        read_spectrum(tmp_path / "test.fits")


@pytest.mark.parametrize(
    ("layout", "cards", "reason"),
    [
        ("lamost-log-image", {"COEFF0": "none"}, "gives no wavelengths"),
        ("lamost-log-image", {"COEFF1": 0.0}, "gives no wavelengths"),
        ("lamost-log-image", {"COEFF0": 0.5}, "in Angstrom, between 100 and 1e"),
        ("lamost-log-image", {"COEFF0": 400.0}, "400 of 400 wavelengths are not"),
        ("6dfgs", {"CDELT1": -1.0}, "gives no wavelengths"),
        ("6dfgs", {"DOPCOR01": "what"}, "cannot read the Doppler correction"),
    ],
)
def test_headers_without_sense(write_spectrum, layout, cards, reason):
    made = write_spectrum(layout, **cards)
    with pytest.raises(ValueError, match=reason) as caught:
        read_spectrum(made.path)
    assert str(caught.value).startswith(f"{made.path}: ")


def test_wavelengths_that_do_not_ascend(write_spectrum):
    made = write_spectrum("lamost-image")
    with fits.open(made.path, "update") as hdul:
        hdul[0].data[2, 11] = 1.0
    with pytest.raises(ValueError, match=r"must ascend.* of pixel 10 is followed by 1"):
        read_spectrum(made.path)


def test_multi_arm_files_are_refused(write_spectrum):
    made = write_spectrum("lamost-coadd")
    with fits.open(made.path, "append") as hdul:
        hdul.append(hdul[1].copy())
    with pytest.raises(ValueError, match="found 2 rows in 2 tables"):
        read_spectrum(made.path)
