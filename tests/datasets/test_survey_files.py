# SPDX-License-Identifier: BSD-3-Clause
"""The readers on the surveys' own files."""

import numpy as np
import pytest
from astropy.io import fits

from skastro.datasets import read_spectra, read_spectrum


def is_sdss_spec(path):
    return path.name.startswith(("sdss_", "boss_", "eboss_")) and path.suffix == ".fits"


EXPECTED = {
    "6dfgs": "6dfgs",
    "boss": "sdss-spec",
    "eboss": "sdss-spec",
    "lamost_dr1": "lamost-log-image",
    "lamost_dr5": "lamost-image",
    "lamost_dr7": "lamost-image",
    "lamost_dr8": "lamost-image",
    "lamost_dr9": "lamost-coadd",
    "lamost_dr10": "lamost-coadd",
    "sdss_SKY": "sdss-spec",
    "sdss_full": "sdss-spec",
    "sdss_legacy": "sdss-spec",
    "sdss_spDR2": "sdss-spspec",
}


@pytest.fixture(scope="module")
def survey_files(data_dir):
    paths = sorted((data_dir / "survey_files").iterdir())
    assert len(paths) == 25
    return {path: read_spectrum(path) for path in paths}


def header_wavelength(header, n_pixels, first):
    """Wavelengths by the header; `first` tells where a trimmed table begins."""
    if "COEFF0" in header:
        start = round((np.log10(first) - header["COEFF0"]) / header["COEFF1"])
        pixel = start + np.arange(n_pixels)
        return 10 ** (header["COEFF0"] + header["COEFF1"] * pixel)
    return header["CRVAL1"] + header["CDELT1"] * np.arange(n_pixels)


def test_layouts_and_kinds_of_survey_files(survey_files):
    for path, spectrum in survey_files.items():
        known = max((key for key in EXPECTED if path.name.startswith(key)), key=len)
        assert spectrum.layout == EXPECTED[known], path.name
        kind = {"sdss_SKY": "sky", "sdss_spDR2": "template"}.get(known, "science")
        assert spectrum.kind == kind, path.name
        for name in ("STAR", "GALAXY", "QSO"):
            if f"_{name}_" in path.name:
                assert spectrum.class_name == name
        if "Unknown" in path.name:
            assert spectrum.class_name == ""
        survey = "BOSS" if "boss" in path.name else path.name.partition("_")[0].upper()
        assert spectrum.survey.upper() in (survey, "SEGUE1"), path.name


def test_wavelengths_of_survey_files_agree_with_the_headers(survey_files):
    for path, spectrum in survey_files.items():
        wavelength = spectrum.wavelength
        expected = header_wavelength(
            fits.getheader(path), wavelength.size, wavelength[0]
        )
        np.testing.assert_allclose(
            wavelength, expected, rtol=0, atol=0.01, err_msg=path.name
        )
        # Only the tables of SDSS-I and -II are trimmed.
        if not path.name.startswith("sdss"):
            header = fits.getheader(path)
            start = 10 ** header["COEFF0"] if "COEFF0" in header else header["CRVAL1"]
            assert wavelength[0] == pytest.approx(start, abs=0.01)


def test_6dfgs_doppler_correction_leads_back_to_the_observed_wavelengths(survey_files):
    path, spectrum = next(iter(survey_files.items()))
    observed = fits.getdata(path)[3]
    assert spectrum.doppler_redshift == pytest.approx(0.033102)
    np.testing.assert_allclose(
        spectrum.wavelength * (1 + spectrum.doppler_redshift), observed, atol=0.01
    )


def test_observed_wavelengths_of_6dfgs_are_those_at_the_telescope(data_dir):
    path = next((data_dir / "survey_files").glob("6dfgs*"))
    observed = read_spectrum(path, frame="topocentric")
    assert (observed.frame, observed.doppler_redshift) == ("topocentric", 0)
    row = fits.getdata(path)[3]
    np.testing.assert_allclose(observed.wavelength, row, atol=0.01)
    for frame in ("heliocentric", "barycentric"):
        with pytest.raises(ValueError, match="does not hold the velocity"):
            read_spectrum(path, frame=frame)


def test_identifiers_are_those_of_the_surveys(survey_files):
    for path, spectrum in survey_files.items():
        if path.name.startswith("lamost"):
            stem = fits.getheader(path)["FILENAME"].removesuffix(".fits")
        elif is_sdss_spec(path):
            stem = path.stem.partition("__spec-")[2]
        else:
            continue
        assert spectrum.id == stem


def test_one_object_in_two_containers_reads_the_same(survey_files):
    one, other = (
        spectrum for path, spectrum in survey_files.items() if "sp05-172" in path.name
    )
    for field in ("flux", "ivar", "wavelength", "mask", "and_mask", "or_mask"):
        np.testing.assert_array_equal(one[field], other[field])
    assert one.id == other.id


def test_full_file_gives_the_coadd_not_an_exposure(survey_files):
    path = next(path for path in survey_files if "full_exposures" in path.name)
    assert survey_files[path].flux.size == len(fits.getdata(path, "COADD")) == 3834


def test_full_file_in_another_order_gives_the_coadd(survey_files, tmp_path):
    path = next(path for path in survey_files if "full_exposures" in path.name)
    with fits.open(path) as hdul:
        fits.HDUList([hdul[0], *reversed(hdul[1:])]).writeto(tmp_path / "other.fits")
    spectrum = read_spectrum(tmp_path / "other.fits")
    np.testing.assert_array_equal(spectrum.wavelength, survey_files[path].wavelength)


@pytest.fixture(scope="module")
def survey_spectra(data_dir):
    return read_spectra(data_dir / "survey_files", verbose=0)


def test_survey_files(survey_spectra):
    spectra = survey_spectra
    assert spectra.flux.shape == (23, 3000)
    assert [kind for _, kind in spectra.left_out] == ["sky", "template"]
    assert np.isnan(spectra.flux).any(axis=1).sum() == 1  # 6dFGS


@pytest.mark.parametrize(
    ("name", "n_common"),
    [("spectra.fits", 6), ("lamost.fits", 6), ("galaxies_6dfgs.fits", 1)],
)
def test_survey_files_rebinned_are_the_rows_of_the_matrices(
    data_dir, survey_spectra, name, n_common
):
    """The matrices were made by other code from the same survey's files."""
    matrix = read_spectra(data_dir / name)
    single = survey_spectra
    rows = {str(key).removesuffix(".ir"): row for row, key in enumerate(matrix.id)}
    common = {key: k for k, key in enumerate(single.id) if key in rows}
    assert len(common) == n_common
    for key, k in common.items():
        row = rows[key]
        expected, found = matrix.flux[row], single.flux[k]
        # Half-covered pixels at both ends are a matter of convention.
        assert np.count_nonzero(np.isnan(expected) != np.isnan(found)) <= 2
        both = np.isfinite(expected) & np.isfinite(found)
        scale = np.abs(expected[both]).max()
        np.testing.assert_allclose(found[both], expected[both], atol=1e-5 * scale)
        assert single.redshift[k] == pytest.approx(matrix.redshift[row], rel=1e-5)
        if single.survey[k] != "6dFGS":
            assert single.class_name[k] == matrix.class_name[row]
            assert single.subclass[k] == matrix.subclass[row]
        if single.survey[k] == "LAMOST":
            assert single.snr[k] == pytest.approx(matrix.snr[row])


def test_real_matrices(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits")
    assert spectra.flux.shape == (492, 3000)
    names, counts = np.unique(spectra.target, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "GALAXY": 44,
        "QSO": 126,
        "STAR": 322,
    }
    np.testing.assert_allclose(spectra.wavelength, np.linspace(3900, 9000, 3000))
    assert read_spectra(data_dir / "lamost.fits").flux.shape == (1727, 3000)
    galaxies = read_spectra(data_dir / "galaxies_6dfgs.fits")
    assert np.isnan(galaxies.flux).any(axis=1).all()
