# SPDX-License-Identifier: BSD-3-Clause
"""Layouts of further surveys and of no survey, in files made by hand and real ones."""

import gzip

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table

from skastro.datasets import read_spectra, read_spectrum
from skastro.simulation import air_to_vacuum, vacuum_to_air

LAYOUTS = {
    # unit of flux, medium, frame, id
    "desi": ("1e-17 erg / (s cm2 AA)", "vacuum", "barycentric", "39633300968442591"),
    "galah": ("ct", "air", "barycentric", "gaia 1 blue"),
    "marz": ("", "vacuum", "topocentric", "D1"),
    "vo-spectrum": ("1e-16 erg / (s cm2 nm)", "vacuum", "barycentric", "HD 1"),
    "jwst-x1d": ("Jy", "vacuum", "barycentric", "HD 1"),
    "table": ("", None, None, ""),
    "image": ("", None, None, "HD 1"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_made_files(write_spectrum, layout):
    made, (unit, medium, frame, name) = write_spectrum(layout), LAYOUTS[layout]
    spectrum = read_spectrum(made.path)
    assert (spectrum.layout, spectrum.id) == (layout, name)
    assert (spectrum.medium, spectrum.frame) == (medium, frame)
    assert spectrum.vacuum is {"vacuum": True, "air": False, None: None}[medium]
    np.testing.assert_allclose(spectrum.wavelength, made.wavelength, atol=1e-6)
    factor = spectrum.flux_unit.to(units.Unit(unit))
    np.testing.assert_allclose(spectrum.flux * factor, made.flux, rtol=1e-6)
    good = made.flux != 0  # A relative error says nothing there.
    np.testing.assert_allclose(
        (spectrum.ivar.astype(float) / factor**2)[good], made.ivar[good], rtol=1e-6
    )
    assert spectrum.mask[7]


def test_fields_of_galah_and_marz(write_spectrum):
    galah = read_spectrum(write_spectrum("galah", "g.fits").path)
    assert (galah.class_name, galah.survey, galah.snr) == ("STAR", "GALAH", 22.0)
    assert galah.redshift == pytest.approx(-1e-4)
    np.testing.assert_allclose(galah.normalized, galah.flux / 20, rtol=1e-6)
    marz = read_spectrum(write_spectrum("marz", "m.fits").path)
    assert (marz.ra, marz.dec) == pytest.approx((np.degrees(0.5), np.degrees(-0.25)))


def test_galah_refuses_absolute_errors(write_spectrum):
    made = write_spectrum("galah")
    with fits.open(made.path, "update") as hdul:
        hdul["relative_error"].data[:] = 25.0
    with pytest.raises(ValueError, match="must hold relative errors"):
        read_spectrum(made.path)


def test_marz_reads_all_fibers_and_leaves_out_the_sky(tmp_path):
    rng = np.random.default_rng(0)
    flux, variance = rng.normal(size=(3, 50)), rng.uniform(1, 2, (3, 50))
    header = fits.Header({"CRVAL1": 4010.0, "CDELT1": 10.0, "CRPIX1": 2.0})
    header["CUNIT1"] = "Angstroms"
    table = Table({"NAME": ["a", "b", "c"], "RA": [0.1] * 3, "TYPE": ["P", "S", "P"]})
    hdus = [fits.PrimaryHDU(flux, header), fits.ImageHDU(variance, name="VARIANCE")]
    path = tmp_path / "marz.fits"
    fits.HDUList([*hdus, fits.BinTableHDU(table, name="FIBRES")]).writeto(path)
    spectra = read_spectra(path, return_ivar=True, verbose=0)
    assert spectra.id.tolist() == ["a", "c"]
    np.testing.assert_allclose(spectra.flux, flux[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(spectra.ivar, 1 / variance[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(spectra.wavelength, 4000 + 10 * np.arange(50))
    # Marz takes wavelengths for those in air unless the header says otherwise.
    assert spectra.medium.tolist() == ["air", "air"]
    assert [kind for _, kind in spectra.left_out] == ["sky"]
    sky = read_spectra(path, kinds="sky", verbose=0)
    assert sky.id.tolist() == ["b"]
    np.testing.assert_allclose(read_spectrum(path, index=2).flux, flux[2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"found a matrix of many.*index=0 to 2"):
        read_spectrum(path)
    with pytest.raises(ValueError, match="holds 3 spectra, so index=3 is too large"):
        read_spectrum(path, index=3)
    # A folder may hold files of many spectra and of one.
    grid = np.arange(4100.0, 4300.0, 10.0)
    both = read_spectra([path, path], wavelength=grid, verbose=0, return_ivar=True)
    assert both.id.tolist() == ["a", "c"] * 2
    np.testing.assert_allclose(both.flux[2:], flux[[0, 2], 10:30], rtol=1e-6)
    np.testing.assert_allclose(both.ivar[:2], 1 / variance[[0, 2], 10:30], rtol=1e-6)


def test_desi_joins_arms_by_inverse_variance(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for arm, start, value, ivar in (("B", 0, 1.0, 3.0), ("R", 8, 5.0, 1.0)):
        hdus += [
            fits.ImageHDU(
                4000 + 0.8 * np.arange(start, start + 10), name=f"{arm}_WAVELENGTH"
            ),
            fits.ImageHDU(np.full((2, 10), value), name=f"{arm}_FLUX"),
            fits.ImageHDU(np.full((2, 10), ivar), name=f"{arm}_IVAR"),
            fits.ImageHDU(np.zeros((2, 10), np.int32), name=f"{arm}_MASK"),
        ]
    hdus[4].data[1, 9] = 4
    path = tmp_path / "coadd.fits"
    fits.HDUList(hdus).writeto(path)
    spectra = read_spectra(path, return_ivar=True)
    assert spectra.table["flux_unit"][0] == "1e-17 erg / (Angstrom s cm2)"
    np.testing.assert_allclose(spectra.wavelength, 4000 + 0.8 * np.arange(18))
    np.testing.assert_allclose(spectra.flux[0], [1.0] * 8 + [2.0] * 2 + [5.0] * 8)
    np.testing.assert_allclose(spectra.ivar[0], [3.0] * 8 + [4.0] * 2 + [1.0] * 8)
    # A masked pixel of one arm leaves that of the other.
    assert (spectra.flux[1, 9], spectra.ivar[1, 9]) == (5.0, 1.0)
    assert read_spectrum(path, index=1).or_mask[9] == 4
    hdus[5].data += 0.4
    fits.HDUList(hdus).writeto(path, overwrite=True)
    with pytest.raises(ValueError, match="pixels of the arms do not coincide"):
        read_spectra(path)


def write_catalog(path, **columns):
    table = Table({"TARGETID": [39633300968442591, 5], "Z": [0.25, 1.5], **columns})
    hdu = fits.BinTableHDU(table, name="REDSHIFTS")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def test_catalog_of_redshifts(write_spectrum, tmp_path):
    made, catalog = write_spectrum("desi"), tmp_path / "redrock.fits"
    write_catalog(catalog, ZWARN=[4, 0], SPECTYPE=["QSO", "STAR"], SUBTYPE=["LOZ", ""])
    for read in (read_spectrum, read_spectra):
        with pytest.raises(ValueError, match=r"a catalog of 2 redshifts .* catalog="):
            read(catalog)
    spectra = read_spectra(made.path, catalog=catalog)
    assert spectra.target.tolist() == ["QSO"]
    assert (spectra.redshift[0], spectra.table["zwarning"][0]) == (0.25, 4)
    table = Table({"ID": ["39633300968442591"], "CLASS": ["GALAXY"]})
    assert read_spectra(made.path, catalog=table).target.tolist() == ["GALAXY"]
    with pytest.raises(ValueError, match="the catalog holds none of the spectra"):
        read_spectra(made.path, catalog=Table({"TARGETID": [1], "Z": [0.5]}))
    with pytest.raises(ValueError, match="has 2 rows of TARGETID 1"):
        read_spectra(made.path, catalog=Table({"TARGETID": [1, 1], "Z": [0.5, 0.6]}))
    with pytest.raises(ValueError, match="must have a column of TARGETID"):
        read_spectra(made.path, catalog=Table({"name": ["a"], "Z": [0.5]}))


def test_catalog_leaves_objects_unknown(write_spectrum):
    paths = [
        write_spectrum("desi", "a.fits").path,
        write_spectrum("marz", "b.fits").path,
    ]
    catalog = Table({"TARGETID": [39633300968442591], "Z": [0.5], "SPECTYPE": ["QSO"]})
    spectra = read_spectra(paths, catalog=catalog, verbose=0)
    assert spectra.target.tolist() == ["QSO", ""]
    np.testing.assert_array_equal(spectra.redshift, [0.5, np.nan])


def test_spectra_go_to_rest_by_the_catalog(write_spectrum, tmp_path):
    labels = Table({"id": ["a", "b"], "z": [0.9, 0.9], "medium": ["vacuum"] * 2})
    labels["frame"] = ["barycentric"] * 2
    wavelength = np.linspace(4000.0, 5000.0, 400)
    line = np.exp(-0.5 * ((wavelength - 4500) / 20) ** 2)
    path = tmp_path / "many.fits"
    hdus = [fits.PrimaryHDU([line, line]), fits.BinTableHDU(labels, name="LABELS")]
    fits.HDUList([*hdus, fits.ImageHDU(wavelength, name="WAVELENGTH")]).writeto(path)
    catalog = Table({"ID": ["c", "b", "a"], "Z": [0.3, 0.1, 0.0]})
    asked = {"catalog": catalog, "frame": "rest", "verbose": 0}
    spectra = read_spectra(path, wavelength=np.arange(4000.0, 4600), **asked)
    assert spectra.redshift.tolist() == [0.0, 0.1]
    peaks = spectra.wavelength[np.nanargmax(spectra.flux, axis=1)]
    np.testing.assert_allclose(peaks, [4500, 4500 / 1.1], atol=3)
    assert spectra.table["doppler_redshift"].tolist() == [0.0, 0.1]
    # Files of one spectrum, which state another redshift or none.
    made = write_spectrum("desi")
    galah = read_spectrum(write_spectrum("galah", "g.fits").path)
    catalog = Table({"ID": ["39633300968442591", galah.id], "Z": [0.25, 0.5]})
    grid, both = np.arange(2000.0, 9000, 5), [made.path, tmp_path / "g.fits"]
    asked["catalog"] = catalog
    spectra = read_spectra(both, wavelength=grid, **asked)
    np.testing.assert_allclose(spectra.table["doppler_redshift"], spectra.redshift)
    assert spectra.redshift.tolist() == [0.25, 0.5]
    observed = read_spectra(both, wavelength=grid, verbose=0)
    for rest, there, z in zip(spectra.flux, observed.flux, [0.25, 0.5], strict=True):
        covered, before = (grid[np.isfinite(flux)] for flux in (rest, there))
        np.testing.assert_allclose(covered[0], before[0] / (1 + z), atol=6)
    # Redshifts of the files count where the catalog has none.
    asked["catalog"] = Table({"ID": [galah.id], "CLASS": ["STAR"]})
    spectra = read_spectra(both[1:], wavelength=grid, **asked)
    np.testing.assert_allclose(spectra.table["doppler_redshift"], galah.redshift)


@pytest.mark.parametrize("z", [np.nan, None])
def test_catalogs_without_the_redshift(write_spectrum, z):
    path = write_spectrum("desi").path
    name = 39633300968442591 if z is not None else 7
    catalog = Table({"TARGETID": [name], "Z": [np.nan]})
    with pytest.raises(ValueError, match="no redshift of 39633300968442591, so that"):
        read_spectra(path, catalog=catalog, frame="rest", verbose=0)


LNW = """\
    2   4   2500.00  10000.00      2     sn2006gz       0.69  Ia-pec      1  6
      2  0.1  2  0.2
      1  2.49   0.07  2.45   0.08
      2  2.54   0.08  2.54   0.08
       0  -13.300  5.500
  2973.02    0.100    0.200
  4204.48   -0.300    0.400
  5946.04    0.500   -0.600
  8408.96    0.700    0.800
"""


def test_supernova_template(tmp_path):
    path = tmp_path / "sn.lnw"
    path.write_text(LNW)
    spectra = read_spectra(path)
    np.testing.assert_allclose(spectra.flux[1], [0.2, 0.4, -0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(spectra.wavelength[[0, -1]], [2973.02, 8408.96])
    assert spectra.table["age"].tolist() == [-13.3, 5.5]
    assert spectra.target.tolist() == ["Ia-pec"] * 2
    assert spectra.frame.tolist() == ["rest"] * 2
    assert read_spectrum(path, index=0).ivar is None
    path.write_text(LNW[:-50])
    with pytest.raises(ValueError, match=r"sn\.lnw: .*it is cut"):
        read_spectra(path)


ROWS = np.column_stack([np.linspace(4000, 5000, 20), np.arange(20.0), np.full(20, 0.5)])


def write_columns(path, header="", rows=ROWS, delimiter=" "):
    np.savetxt(path, rows, header=header, comments="", delimiter=delimiter)
    return path


@pytest.mark.parametrize("name", ["a.flm", "a.dat", "a.txt.gz"])
@pytest.mark.parametrize(
    ("header", "delimiter", "n_columns"),
    [
        ("", " ", 2),
        ("", " ", 3),
        ("# wavelength flux", " ", 2),
        ("# a comment\n# WAVE(A) FLUX ERROR", "\t", 3),
        ("lambda,flux,sigma", ",", 3),
        ("% wave flux err sky", " ", 4),
        ("", " ", 5),
        ("!1st line\n!2nd line", "  ", 3),
    ],
)
def test_columns_of_text(tmp_path, name, header, delimiter, n_columns):
    rows = np.column_stack([ROWS, np.ones(20), np.ones(20)])[:, :n_columns]
    path = write_columns(tmp_path / name, header, rows, delimiter)
    spectrum = read_spectrum(path)
    assert (spectrum.layout, spectrum.id) == ("ascii", "a")
    np.testing.assert_allclose(spectrum.wavelength, ROWS[:, 0])
    np.testing.assert_allclose(spectrum.flux, ROWS[:, 1])
    if n_columns == 2:
        assert spectrum.ivar is None
        assert not spectrum.mask.any()
    else:
        np.testing.assert_allclose(spectrum.ivar, 4.0)
    assert spectrum.medium is None


def test_columns_are_known_by_their_names(tmp_path):
    header = "# VACUUM = T\n# SPECSYS = HELIOCENT\n# flux(erg/s/cm2/A) wave[nm] ivar"
    rows = np.column_stack([ROWS[:, 1] * 1e-16, ROWS[:, 0] / 10, np.full(20, 1e34)])
    spectrum = read_spectrum(write_columns(tmp_path / "a.txt", header, rows))
    np.testing.assert_allclose(spectrum.wavelength, ROWS[:, 0])
    flux = spectrum.flux * spectrum.flux_unit
    expected = ROWS[:, 1] * 1e-16 * units.Unit("erg / (s cm2 AA)")
    np.testing.assert_allclose(flux.to_value(expected.unit), expected.value, rtol=1e-6)
    error = spectrum.ivar.astype(float) ** -0.5 * spectrum.flux_unit
    np.testing.assert_allclose(error.to_value(expected.unit), 1e-17, rtol=1e-6)
    assert (spectrum.medium, spectrum.frame) == ("vacuum", "heliocentric")
    loglam = np.column_stack([np.log10(ROWS[:, 0]), ROWS[:, 1:]])
    spectrum = read_spectrum(
        write_columns(tmp_path / "b", "# loglam flux sigma", loglam)
    )
    np.testing.assert_allclose(spectrum.wavelength, ROWS[:, 0])
    air = write_columns(tmp_path / "c", "# wave_air flux err")
    assert read_spectrum(air).medium == "air"


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("", ROWS * [1, 1, -1], "third column has negative values"),
        ("", np.column_stack([ROWS, ROWS]), "6 columns without names"),
        ("# wavelength sky error", ROWS, "none of them is named flux"),
        ("", ROWS / [10, 1, 1], "may be in Angstrom or in nanometers"),
        ("", ROWS[[0, 2, 1, *range(3, 20)]], "wavelengths must ascend"),
    ],
)
def test_columns_that_are_ambiguous(tmp_path, header, rows, message):
    path = write_columns(tmp_path / "a.txt", header, rows)
    with pytest.raises(ValueError, match=message) as caught:
        read_spectrum(path)
    assert str(caught.value).startswith(str(path))


def test_damaged_text(tmp_path):
    path = write_columns(tmp_path / "a.txt")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:12], "5000 *** 1", *lines[13:]]))
    with pytest.raises(
        ValueError, match=r"data row 13 must hold 3 numbers.*'5000 \*\*"
    ):
        read_spectrum(path)
    path.write_bytes(gzip.compress(b"4000 1\n" * 10**5))
    with pytest.raises(OSError, match="max_bytes"):
        read_spectrum(path, max_bytes=1000)


def test_ecsv(tmp_path):
    table = Table({"wavelength": ROWS[:, 0] / 1e4, "flux": ROWS[:, 1]})
    table["uncertainty"] = 1000 * ROWS[:, 2]
    table["wavelength"].unit, table["flux"].unit = "um", "Jy"
    table["uncertainty"].unit = "mJy"
    table.meta |= {"OBJECT": "HD 1", "medium": "air", "frame": "topocentric"}
    table.write(tmp_path / "a.ecsv", format="ascii.ecsv")
    spectrum = read_spectrum(tmp_path / "a.ecsv")
    assert (spectrum.layout, spectrum.id) == ("ecsv", "HD 1")
    assert (spectrum.medium, spectrum.frame) == ("air", "topocentric")
    np.testing.assert_allclose(spectrum.wavelength, ROWS[:, 0])
    np.testing.assert_allclose(spectrum.flux, ROWS[:, 1])
    np.testing.assert_allclose(spectrum.ivar, 4.0, rtol=1e-6)
    assert spectrum.flux_unit == units.Jy


def write_table(path, kind, columns):
    table = Table(columns)
    for name in table.colnames:
        if name.startswith("WAVE"):
            table[name].unit = "Angstrom"
    if kind == "fits":
        table.write(path, format="fits")
    elif kind == "ecsv":
        table.write(path, format="ascii.ecsv")
    else:
        table.write(path, format="ascii.commented_header")


@pytest.mark.parametrize("kind", ["fits", "ecsv", "text"])
@pytest.mark.parametrize(
    "names", [("FLUX", "FLAM"), ("WAVE_AIR", "WAVE_VAC"), ("ERROR", "SIGMA")]
)
def test_several_columns_of_one_kind_are_refused(tmp_path, kind, names):
    columns = {"WAVE": ROWS[:, 0], "FLUX": ROWS[:, 1]}
    if "WAVE_AIR" in names:
        del columns["WAVE"]
    columns |= {name: ROWS[:, 0] + i for i, name in enumerate(names)}
    write_table(tmp_path / "a", kind, columns)
    message = f"several columns may be the [a-z]*: {names[0]} and {names[1]}"
    with pytest.raises(ValueError, match=message):
        read_spectrum(tmp_path / "a")


@pytest.mark.parametrize("kind", ["fits", "ecsv", "text"])
def test_names_of_columns_tell_medium_and_errors(tmp_path, kind):
    columns = {"WAVE_AIR": ROWS[:, 0], "FLUX": ROWS[:, 1]}
    # A column sigma beside an inverse variance is another width.
    columns |= {"IVAR": np.full(len(ROWS), 4.0), "SIGMA": np.full(len(ROWS), 9.0)}
    write_table(tmp_path / "a", kind, columns)
    spectrum = read_spectrum(tmp_path / "a")
    assert spectrum.medium == "air"
    np.testing.assert_allclose(spectrum.ivar, 4.0)


@pytest.mark.parametrize(
    ("card", "medium"), [(True, "vacuum"), ("VAC", "vacuum"), ("F", "air"), ("?", None)]
)
def test_medium_by_the_card(tmp_path, card, medium):
    cards = {"CRVAL1": 4000.0, "CDELT1": 5.0, "CUNIT1": "Angstrom", "VACUUM": card}
    write_vector(tmp_path / "a.fits", **cards)
    assert read_spectrum(tmp_path / "a.fits").medium == medium


def write_vector(path, *others, **cards):
    flux = np.arange(1.0, 31.0)
    hdu = fits.PrimaryHDU(flux, fits.Header({"CRPIX1": 1.0, **cards}))
    fits.HDUList([hdu, *others]).writeto(path)
    return flux


PIXEL = np.arange(30)
LINEAR = 4000.0 + 2.0 * PIXEL


@pytest.mark.parametrize(
    ("cards", "expected", "medium"),
    [
        ({"CD1_1": 2.0, "DC-FLAG": 0}, LINEAR, None),
        ({"CDELT1": 2.0, "CUNIT1": "Angstrom"}, LINEAR, None),
        ({"CDELT1": 2.0, "CTYPE1": "AWAV", "CUNIT1": "Angstrom"}, LINEAR, "air"),
        ({"CDELT1": 2.0, "CTYPE1": "WAVE", "CUNIT1": "Angstrom"}, LINEAR, "vacuum"),
        ({"CDELT1": 2.0, "CTYPE1": "WAVELENGTH", "CUNIT1": "Angstrom"}, LINEAR, None),
        (
            {"CRVAL1": 400.0, "CDELT1": 0.2, "CTYPE1": "LINEAR", "CUNIT1": "nm"},
            LINEAR,
            None,
        ),
        (
            {"CTYPE1": "WAVE-LOG", "CDELT1": 2.0, "CUNIT1": "Angstrom"},
            4000 * np.exp(2.0 * PIXEL / 4000),
            "vacuum",
        ),
        (
            {"CRVAL1": 3.6, "CDELT1": 1e-4, "DC-FLAG": 1},
            10 ** (3.6 + 1e-4 * PIXEL),
            None,
        ),
        ({"CD1_1": 2.0, "DC-FLAG": 0, "CRPIX1": 11.0}, LINEAR - 20, None),
        (
            {"CRVAL1": 5e14, "CDELT1": 1e12, "CTYPE1": "FREQ", "CUNIT1": "Hz"},
            2.99792458e18 / (5e14 + 1e12 * PIXEL[::-1]),
            "vacuum",
        ),
    ],
)
def test_wavelengths_of_headers(tmp_path, cards, expected, medium):
    path = tmp_path / "a.fits"
    flux = write_vector(path, **{"CRVAL1": 4000.0, **cards})
    spectrum = read_spectrum(path)
    np.testing.assert_allclose(spectrum.wavelength, expected, rtol=1e-9)
    np.testing.assert_array_equal(
        spectrum.flux, flux[:: -1 if "FREQ" in str(cards) else 1]
    )
    assert (spectrum.medium, spectrum.ivar) == (medium, None)


def test_grism(tmp_path):
    """The equation of the grating, with angles of 8 degrees and at 5000 Å."""
    cards = {"CRVAL1": 5e-7, "CRPIX1": 6.0, "CDELT1": 1e-10, "CUNIT1": "m"}
    grism = {"CTYPE1": "WAVE-GRI", "PV1_0": 3e5, "PV1_1": 1.0, "PV1_2": 8.0}
    flux = write_vector(tmp_path / "a.fits", **cards, **grism)
    incident, pixel = np.sin(np.radians(8)), np.arange(len(flux)) - 5
    emergent = np.arcsin(3e5 * 5e-7 - incident)
    turn = np.arctan(pixel * 1e-10 * 3e5 / np.cos(emergent))
    expected = (incident + np.sin(emergent + turn)) / 3e5 * 1e10
    spectrum = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_allclose(spectrum.wavelength, expected, rtol=1e-9)
    assert spectrum.medium == "vacuum"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("WAVE-TAB", "'WAVE-TAB': the wavelengths are in a look-up table"),
        ("WAVE-GRI", "'WAVE-GRI': the header leaves wavelengths undefined; the cards"),
        ("WAVE-XYZ", "'WAVE-XYZ': astropy.wcs does not compute its wavelengths"),
        ("ZOPT-F2W", "'ZOPT-F2W' is a non-linear axis of velocities or the like"),
    ],
)
def test_axes_that_cannot_be_computed(tmp_path, kind, message):
    cards = {"CRVAL1": 4000.0, "CDELT1": 2.0, "CRPIX1": 1.0, "CUNIT1": "Angstrom"}
    write_vector(tmp_path / "a.fits", CTYPE1=kind, **cards)
    with pytest.raises(ValueError, match=message):
        read_spectrum(tmp_path / "a.fits")


def test_steps_of_headers_are_multiplied(tmp_path):
    cards = {"CRVAL1": 4000.0, "CDELT1": 5.0, "PC1_1": 2.0, "CTYPE1": "WAVE"}
    flux = write_vector(tmp_path / "a.fits", CUNIT1="Angstrom", **cards)
    found = read_spectrum(tmp_path / "a.fits").wavelength
    np.testing.assert_allclose(found, 4000 + 10 * np.arange(len(flux)))


def test_image_without_calibration_is_refused(tmp_path):
    write_vector(tmp_path / "a", **{"DC-FLAG": -1, "CRVAL1": 1.0, "CDELT1": 1.0})
    with pytest.raises(ValueError, match="no wavelength calibration"):
        read_spectrum(tmp_path / "a")
    sigma = fits.ImageHDU(np.ones(29), name="SIGMA")
    write_vector(tmp_path / "b", sigma, **{"DC-FLAG": 0, "CRVAL1": 4e3, "CDELT1": 1.0})
    with pytest.raises(ValueError, match=r"image SIGMA has shape \(29,\)"):
        read_spectrum(tmp_path / "b")


def test_axis_of_the_standard_needs_its_reference_pixel(tmp_path):
    cards = {"CTYPE1": "AWAV", "CUNIT1": "Angstrom", "CRVAL1": 4e3, "CDELT1": 1.0}
    fits.PrimaryHDU(np.ones(30), fits.Header(cards)).writeto(tmp_path / "a")
    with pytest.raises(ValueError, match="CRPIX1 is missing"):
        read_spectrum(tmp_path / "a")


def test_doppler_correction_of_unknown_kind(tmp_path):
    cards = {"DC-FLAG": 0, "CRVAL1": 4e3, "CDELT1": 1.0, "DOPCOR01": "13.4 *"}
    write_vector(tmp_path / "a", **cards)
    assert np.isnan(read_spectrum(tmp_path / "a").doppler_redshift)


def write_multispec(path, *apertures, **cards):
    header = fits.Header({"WAT0_001": "system=multispec", "CTYPE1": "MULTISPE"})
    header["WAT1_001"] = "wtype=multispec label=Wavelength units=angstroms"
    text = " ".join(f'spec{i + 1} = "{a}"' for i, a in enumerate(apertures))
    text = f"wtype=multispec {text}"
    for index, start in enumerate(range(0, len(text), 68), start=1):
        header[f"WAT2_{index:03d}"] = text[start : start + 68]
    header.update(cards)
    flux = np.arange(30.0 * len(apertures)).reshape(len(apertures), 30)
    fits.PrimaryHDU(flux, header).writeto(path)
    return flux


def test_multispec(tmp_path):
    path = tmp_path / "orders.fits"
    chebyshev = "1. 0. 1 3 1. 30. 5000. 100. 3."
    flux = write_multispec(
        path,
        "1 45 0 4000. 2. 30 0. 10. 20.",
        "2 44 1 3.65 1.0E-4 30 0.001 10. 20.",
        f"3 43 2 4900. 7. 30 0. 10. 20. {chebyshev}",
        f"4 42 2 4900. 7. 30 0. 10. 20. 0.5 10. 2 2 1. 30. 11000. 100. {chebyshev}",
    )
    x = (2 * (PIXEL + 1.0) - 31) / 29
    cubic = 5000 + 100 * x + 3 * (2 * x**2 - 1)
    expected = [
        LINEAR,
        10 ** (3.65 + 1e-4 * PIXEL) / 1.001,
        cubic,
        0.5 * (11010 + 100 * x) + cubic,
    ]
    for index, grid in enumerate(expected):
        spectrum = read_spectrum(path, index=index)
        np.testing.assert_allclose(spectrum.wavelength, grid, rtol=1e-12)
        np.testing.assert_array_equal(spectrum.flux, flux[index])
    assert read_spectrum(path, index=1).doppler_redshift == 0.001
    with pytest.raises(ValueError, match="each of its spectra has its own wavelengths"):
        read_spectra(path)
    grid = np.linspace(4010.0, 5050.0, 20)
    spectra = read_spectra(path, wavelength=grid)
    assert spectra.flux.shape == (4, 20)
    assert np.isfinite(spectra.flux).any(axis=1).sum() == 2


@pytest.mark.parametrize(
    ("aperture", "cards", "message"),
    [
        ("1 1 2 4900. 7. 30 0. 1. 2. 1. 0. 3 3 1. 30. 5. 1. 3.", {}, "of type 3"),
        ("1 1 2 4900. 7. 30 0. 1. 2. 1. 0. 1 3 1. 30. 5.", {}, "are cut"),
        ("1 1 -1 1. 1. 30 0. 1. 2.", {}, "no wavelength calibration"),
        ("1 1 0 4000. 2. 29 0. 1. 2.", {}, "has 29 pixels, but the image 30"),
        ("1 1 0 four", {}, "cannot read spec1"),
        ("1 1 0 4000. 2. 30 0. 1. 2.", {"LTV1": -10.0}, "a section of another"),
    ],
)
def test_multispec_that_is_refused(tmp_path, aperture, cards, message):
    write_multispec(tmp_path / "a", aperture, **cards)
    with pytest.raises(ValueError, match=message):
        read_spectrum(tmp_path / "a")


def test_one_row_is_a_vector(tmp_path):
    cards = {"DC-FLAG": 0, "CRVAL1": 4e3, "CDELT1": 2.0}
    fits.PrimaryHDU(np.ones((1, 30)), fits.Header(cards)).writeto(tmp_path / "a")
    np.testing.assert_allclose(read_spectrum(tmp_path / "a").wavelength, LINEAR)
    # Rows without a hint that they are spectra may be an image of the sky.
    fits.PrimaryHDU(np.ones((2, 30)), fits.Header(cards)).writeto(tmp_path / "b")
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(tmp_path / "b")


def test_bands_of_iraf(tmp_path):
    flux = np.stack([np.arange(1.0, 31.0), np.zeros(30), np.full(30, 0.5)])[:, None]
    header = fits.Header({"WAT0_001": "system=equispec", "APNUM1": "1 1 2.0 3.0"})
    header.update({"CRVAL1": 4e3, "CD1_1": 2.0, "DC-FLAG": 0})
    header.update({"BANDID1": "spectrum - variance", "BANDID3": "sigma - clean"})
    fits.PrimaryHDU(flux, header).writeto(tmp_path / "a")
    spectrum = read_spectrum(tmp_path / "a")
    np.testing.assert_array_equal(spectrum.flux, flux[0, 0])
    np.testing.assert_allclose(spectrum.ivar, 4.0)
    np.testing.assert_allclose(spectrum.wavelength, LINEAR)


def test_rows_of_x1d(write_spectrum):
    made = write_spectrum("jwst-x1d")
    with fits.open(made.path) as hdul:
        one = Table(hdul[1].data)
        rows = Table({name: [one[name], one[name]] for name in one.colnames})
        rows["FLUX"][1] *= 2
        for name, unit in (("WAVELENGTH", "um"), ("FLUX", "Jy"), ("FLUX_ERROR", "mJy")):
            rows[name].unit = unit
        hdus = fits.HDUList([hdul[0], fits.BinTableHDU(rows, name="EXTRACT1D")])
        hdus.writeto(made.path, overwrite=True)
    spectra = read_spectra(made.path, return_ivar=True)
    np.testing.assert_allclose(spectra.flux, [made.flux, 2 * made.flux], rtol=1e-6)
    np.testing.assert_allclose(spectra.ivar[1], made.ivar * 1e6, rtol=1e-5)
    np.testing.assert_allclose(spectra.wavelength, made.wavelength, atol=1e-6)
    assert spectra.medium.tolist() == ["vacuum"] * 2


def test_columns_by_ucd(write_spectrum):
    made = write_spectrum("vo-spectrum")
    with fits.open(made.path, "update") as hdul:
        header = hdul[1].header
        for index in (1, 2, 3):
            del header[f"TUTYP{index}"]
        header["TUCD1"], header["TUCD3"] = "em.wl;obs.atmos", "stat.error;phot.flux"
    spectrum = read_spectrum(made.path)
    assert spectrum.medium == "air"
    np.testing.assert_allclose(spectrum.wavelength, made.wavelength)
    assert np.flatnonzero(spectrum.mask).tolist() == [7]
    with fits.open(made.path, "update") as hdul:
        hdul[1].header["TUCD3"] = "phot.flux.density;em.wl"
    with pytest.raises(ValueError, match="several columns may be the flux: FLUX, ERR"):
        read_spectrum(made.path)


VOTABLE = """\
<?xml version="1.0"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE utype="spec:Spectrum"><TABLE>
<FIELD name="w" datatype="double" unit="nm" ucd="em.wl;obs.atmos"
 utype="spec:Spectrum.Data.SpectralAxis.Value"/>
<FIELD name="sky" datatype="double" ucd="phot.flux.density"/>
<FIELD name="f" datatype="double" unit="Jy" utype="spec:Spectrum.Data.FluxAxis.Value"/>
<FIELD name="e" datatype="double" unit="mJy"
 utype="spec:Spectrum.Data.FluxAxis.Accuracy.StatError"/>
<DATA><TABLEDATA>
%s</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""


def test_votable(tmp_path):
    rows = [
        f"<TR><TD>{w / 10}</TD><TD>9</TD><TD>{f}</TD><TD>500</TD></TR>\n"
        for w, f, _ in ROWS
    ]
    (tmp_path / "a.xml").write_text(VOTABLE % "".join(rows))
    spectrum = read_spectrum(tmp_path / "a.xml")
    assert (spectrum.layout, spectrum.id, spectrum.medium) == ("votable", "a", "air")
    np.testing.assert_allclose(spectrum.wavelength, ROWS[:, 0])
    np.testing.assert_allclose(spectrum.flux, ROWS[:, 1])
    np.testing.assert_allclose(spectrum.ivar, 4.0, rtol=1e-6)
    content = (VOTABLE % "".join(rows)).replace("SpectralAxis", "Sky")
    (tmp_path / "a.xml").write_text(content.replace("em.wl;obs.atmos", ""))
    with pytest.raises(ValueError, match=r"a\.xml: no column is the wavelength"):
        read_spectrum(tmp_path / "a.xml")


@pytest.mark.parametrize("medium", ["air", "vacuum"])
def test_media_are_converted(write_spectrum, medium):
    convert = {"air": vacuum_to_air, "vacuum": air_to_vacuum}[medium]
    for layout in ("galah", "desi", "6dfgs"):
        made = write_spectrum(layout, f"{layout}.fits")
        spectrum = read_spectrum(made.path, medium=medium)
        own = read_spectrum(made.path)
        same = own.medium == medium
        expected = made.wavelength if same else convert(made.wavelength)
        np.testing.assert_allclose(spectrum.wavelength, expected, atol=1e-6)
        assert (spectrum.medium, spectrum.vacuum) == (medium, medium == "vacuum")
        assert spectrum.frame == own.frame
        # A matrix, and a list of files.
        grid = np.linspace(4000.0, 8000.0, 50)
        for source in (made.path, [made.path]):
            spectra = read_spectra(source, wavelength=grid, medium=medium, verbose=0)
            own = np.interp(grid, expected, np.arange(expected.size))
            assert np.isfinite(own).all()
            assert spectra.medium.tolist() == [medium]


def test_air_and_vacuum_differ_on_a_grid(tmp_path):
    """One line at 5891.58 Å in vacuum, 5889.95 Å in air."""
    grid = np.arange(5800.0, 6000.0, 0.25)
    rows = np.column_stack([grid, np.exp(-0.5 * ((grid - 5889.95) / 0.5) ** 2)])
    path = write_columns(tmp_path / "a", "# wave_air flux", rows)
    spectra = read_spectra([path], wavelength=grid[20:-20], medium="vacuum", verbose=0)
    peak = spectra.flux[0] @ spectra.wavelength / spectra.flux[0].sum()
    assert peak == pytest.approx(5891.58, abs=0.01)


def test_frames_are_converted(write_spectrum):
    made = write_spectrum("galah")
    rest = read_spectrum(made.path, frame="rest")
    expected = vacuum_to_air(air_to_vacuum(made.wavelength) / (1 - 1e-4))
    np.testing.assert_allclose(rest.wavelength, expected, rtol=1e-9)
    assert (rest.medium, rest.frame) == ("air", "rest")
    assert rest.doppler_redshift == pytest.approx(-1e-4)
    near = read_spectrum(made.path, frame="heliocentric")
    np.testing.assert_array_equal(near.wavelength, read_spectrum(made.path).wavelength)
    spectra = read_spectra([made.path], frame="rest", verbose=0)
    assert spectra.frame.tolist() == ["rest"]


@pytest.mark.parametrize(
    ("layout", "conversion", "message"),
    [
        ("table", {"medium": "vacuum"}, "in air or in vacuum, so it cannot be"),
        ("table", {"frame": "rest"}, "its frame is unknown"),
        ("marz", {"frame": "rest"}, "frame is 'topocentric'.*velocity"),
        ("desi", {"frame": "rest"}, "its redshift is unknown"),
        ("desi", {"frame": "topocentric"}, "does not hold the velocity"),
        ("desi", {"medium": "glass"}, r"medium must be one of \[None, 'air', 'vacuum'"),
        ("desi", {"frame": "galactic"}, "frame must be one of"),
    ],
)
def test_unknown_states_are_not_converted(write_spectrum, layout, conversion, message):
    path = write_spectrum(layout).path
    with pytest.raises(ValueError, match=message):
        read_spectrum(path, **conversion)
    with pytest.raises(ValueError, match=message):
        read_spectra([path], **conversion, verbose=0)


def test_labels_of_a_matrix_state_medium_and_frame(tmp_path):
    flux, wavelength = np.ones((2, 40)), np.linspace(4000.0, 5000.0, 40)
    labels = Table({"id": ["a", "b"], "medium": ["air", "air"], "z": [0.0, 0.1]})

    def write():
        hdus = [fits.PrimaryHDU(flux), fits.BinTableHDU(labels, name="LABELS")]
        hdus.append(fits.ImageHDU(wavelength, name="WAVELENGTH"))
        fits.HDUList(hdus).writeto(tmp_path / "m.fits", overwrite=True)
        return tmp_path / "m.fits"

    spectra = read_spectra(write(), medium="vacuum")
    np.testing.assert_allclose(spectra.wavelength, air_to_vacuum(wavelength))
    assert spectra.medium.tolist() == ["vacuum"] * 2
    labels["medium"], labels["frame"] = ["vacuum"] * 2, ["barycentric"] * 2
    rest = read_spectra(write(), frame="rest", wavelength=wavelength[5:20])
    assert rest.flux.shape == (2, 15)
    with pytest.raises(ValueError, match="each of its spectra has its own wavelengths"):
        read_spectra(write(), frame="rest")
    labels.remove_columns(["medium", "frame"])
    with pytest.raises(ValueError, match="in air or in vacuum"):
        read_spectra(write(), medium="vacuum")


def test_inverse_variances_are_rebinned(tmp_path):
    rows = np.column_stack([np.arange(4000.0, 4020.0), np.ones(20), np.full(20, 0.5)])
    rows[3, 2] = 0
    path = write_columns(tmp_path / "a.txt", rows=rows)
    grid = np.arange(4000.5, 4020.0, 2.0)
    spectra = read_spectra([path], wavelength=grid, return_ivar=True, verbose=0)
    # The mean of two pixels has half the variance; one of a bad pixel is unknown.
    expected = np.full(10, 8.0)
    expected[1] = 0
    np.testing.assert_allclose(spectra.ivar[0], expected)
    assert "ivar" not in read_spectra([path], wavelength=grid, verbose=0)


def write_apstar(path, flux):
    """Write a combined spectrum and one visit in the layout of APOGEE."""
    header = fits.Header({"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1})
    header["SFILE1"] = "apVisit-r12.fits"
    header["HISTORY"] = "APOGEE Reduction Pipeline"
    hdus = [fits.PrimaryHDU(header=header)]
    for data, unit in ((flux, "Flux (10^-17 erg/s/cm^2/Ang)"), (0 * flux + 0.5, "Err")):
        hdus.append(fits.ImageHDU(np.stack([data, data + 1]), header))
        hdus[-1].header["BUNIT"] = unit
    fits.HDUList([*hdus, fits.ImageHDU(np.zeros((2, flux.size), "i2"))]).writeto(path)


def test_specutils_reads_what_skastro_does_not_know(tmp_path):
    pytest.importorskip("specutils")
    flux = np.arange(1.0, 101.0, dtype="f4")
    write_apstar(tmp_path / "a.fits", flux)
    spectrum = read_spectrum(tmp_path / "a.fits")
    assert spectrum.layout == "specutils APOGEE apStar"
    np.testing.assert_allclose(spectrum.flux, flux)
    np.testing.assert_allclose(spectrum.ivar, 4.0)
    grid = 10 ** (4.179 + 6e-6 * np.arange(100))
    np.testing.assert_allclose(spectrum.wavelength, grid)
    assert (spectrum.medium, spectrum.frame) == ("vacuum", "rest")
    assert spectrum.flux_unit == units.Unit("1e-17 erg / (s cm2 AA)")
    spectra = read_spectra([tmp_path / "a.fits"], wavelength=grid[9:50], verbose=0)
    np.testing.assert_allclose(spectra.flux[0], flux[9:50], rtol=1e-6)


def test_specutils_reads_stars_of_sdss_v(tmp_path):
    pytest.importorskip("specutils")
    grid = 10 ** (3.5523 + 1e-4 * np.arange(60))
    row = {
        "telescope": ["apo25m"],
        "min_mjd": [59000],
        "max_mjd": [59100],
        "snr": [9.0],
    }
    row |= {"sdss_id": [5], "wavelength": [grid], "flux": [np.arange(1.0, 61.0)]}
    row |= {"ivar": [np.full(60, 4.0)], "pixel_flags": [np.zeros(60, int)]}
    hdus = [fits.PrimaryHDU(header=fits.Header({"SDSS_ID": 5, "V_ASTRA": "0.6.0"}))]
    for name in ("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO"):
        table = Table(row) if name == "BOSS/APO" else Table(row)[:0]
        hdus.append(fits.BinTableHDU(table, name=name))
    fits.HDUList(hdus).writeto(tmp_path / "mwmStar.fits", checksum=True)
    spectrum = read_spectrum(tmp_path / "mwmStar.fits")
    assert spectrum.layout == "specutils SDSS-V mwm"
    np.testing.assert_allclose(spectrum.wavelength, grid)
    np.testing.assert_allclose(spectrum.flux, np.arange(1.0, 61.0))
    np.testing.assert_allclose(spectrum.ivar, 4.0)
    assert (spectrum.medium, spectrum.frame) == ("vacuum", "rest")


def test_loaders_of_specutils_that_guess_are_not_asked(tmp_path):
    """The first axis or column that may be right is a wrong number in other files."""
    pytest.importorskip("specutils")
    fits.PrimaryHDU(np.ones(500), fits.Header({"CRVAL1": 1.0})).writeto(tmp_path / "a")
    table = Table({"flux": np.ones(9), "radius": np.arange(1.0, 10.0)})
    table.write(tmp_path / "b.fits")
    for name in ("a", "b.fits"):
        with pytest.raises(ValueError, match="no spectrum in a known layout"):
            read_spectrum(tmp_path / name)


def test_sdss_v(write_spectrum):
    made = write_spectrum("sdss-spec-upper", RUN2D="v6_1_3")
    with fits.open(made.path) as hdul:
        catalog = Table(hdul[2].data)
        catalog.remove_columns(["PLATE", "FIBERID", "SURVEY"])
        catalog["FIELD"], catalog["CATALOGID"] = 15000, 27021598048679601
        catalog["FIBER_RA"], catalog["FIBER_DEC"] = 10.5, -5.25
        hdul[2] = fits.BinTableHDU(catalog, name="SPALL")
        for key in ("PLUG_RA", "PLUG_DEC"):
            del hdul[0].header[key]
        hdul.writeto(made.path, overwrite=True)
    spectrum = read_spectrum(made.path)
    assert (spectrum.layout, spectrum.survey) == ("sdss-spec", "SDSS-V")
    assert spectrum.id == "15000-51630-27021598048679601"
    assert (spectrum.ra, spectrum.dec) == (10.5, -5.25)
    assert (spectrum.medium, spectrum.frame) == ("vacuum", "heliocentric")
    np.testing.assert_array_equal(spectrum.flux, made.flux)


@pytest.fixture(scope="module")
def survey_dir(data_dir):
    return data_dir / "survey_files_2"


def test_real_desi_coadds(survey_dir):
    for name, shape in (
        ("coadd-5-169-thru20210419.fits", (2, 7781)),
        ("quasarnp_test_coadd.fits", (25, 7781)),
    ):
        path = survey_dir / "desi" / name
        spectra = read_spectra(path, return_ivar=True, verbose=0)
        assert spectra.flux.shape == spectra.ivar.shape == shape
        assert {*spectra.frame} == {"barycentric"}
        with fits.open(path) as hdul:
            rows = [1, 4] if shape[0] == 2 else slice(None)
            total = np.zeros(shape)
            for arm in "BRZ":
                wavelength = hdul[f"{arm}_WAVELENGTH"].data
                at = np.searchsorted(spectra.wavelength, wavelength - 0.01)
                np.testing.assert_allclose(
                    spectra.wavelength[at], wavelength, atol=1e-6
                )
                total[:, at] += hdul[f"{arm}_IVAR"].data[rows]
            np.testing.assert_allclose(spectra.ivar, total, rtol=1e-5)
            blue = (spectra.wavelength < 5759.9)[: hdul["B_FLUX"].data.shape[1]]
            alone = hdul["B_FLUX"].data[rows][:, blue]
            np.testing.assert_allclose(spectra.flux[:, : blue.sum()], alone, rtol=1e-5)
    with pytest.raises(ValueError, match="holds none of the spectra"):
        read_spectra(
            survey_dir / "desi/coadd-5-169-thru20210419.fits",
            catalog=survey_dir / "desi/redrock-test.fits",
            verbose=0,
        )


@pytest.mark.parametrize(
    ("name", "what"),
    [("redrock-test.fits", "3 redshifts"), ("zbest-16-1.fits", "247 redshifts")],
)
def test_real_catalogs_say_what_they_are(survey_dir, name, what):
    with pytest.raises(ValueError, match=f"is a catalog of {what} and classes"):
        read_spectra(survey_dir / "desi" / name, verbose=0)


def header_wavelength(header, n_pixels):
    pixel = np.arange(1, n_pixels + 1) - header["CRPIX1"]
    return header["CRVAL1"] + header["CDELT1"] * pixel


def test_real_files_of_one_spectrum(survey_dir):
    galah = read_spectrum(survey_dir / "galah/2101150001010011.fits")
    with fits.open(survey_dir / "galah/2101150001010011.fits") as hdul:
        expected = header_wavelength(hdul[0].header, 4096)
        np.testing.assert_allclose(galah.wavelength, expected, atol=0.001)
        np.testing.assert_allclose(galah.flux, hdul[0].data, rtol=1e-6)
        np.testing.assert_allclose(galah.normalized, hdul[1].data, rtol=1e-6)
        error = hdul[2].data * hdul[0].data
        np.testing.assert_allclose(galah.ivar, error**-2.0, rtol=1e-5)
    # Lines of iron in air, at the velocity of the star in the barycentric frame.
    velocities = []
    for line in (4736.773, 4802.880, 4859.741, 4871.318, 4891.492):
        near = np.flatnonzero(np.abs(galah.wavelength - line) < 0.6)
        core = near[np.argmin(galah.normalized[near])] + np.arange(-2, 3)
        curve = np.polynomial.Polynomial.fit(
            galah.wavelength[core] - line, galah.normalized[core], 2
        )
        velocities.append(299792.458 * curve.deriv().roots()[0] / line)
    assert np.median(velocities) == pytest.approx(299792.458 * galah.redshift, abs=1)

    marz = read_spectrum(survey_dir / "marz/emlLogVacuumHelioCMB.fits")
    with fits.open(survey_dir / "marz/emlLogVacuumHelioCMB.fits") as hdul:
        np.testing.assert_allclose(marz.wavelength, 10 ** hdul[2].data, atol=0.001)
        np.testing.assert_array_equal(marz.flux, hdul[0].data)
        good = ~marz.mask
        np.testing.assert_allclose(marz.ivar[good], 1 / hdul[1].data[good], rtol=1e-6)
    assert (marz.medium, marz.frame) == ("vacuum", "topocentric")

    path = survey_dir / "linetools/XShooter_XQ100.fits.gz"
    xshooter = read_spectrum(path)
    row = fits.getdata(path, 1)[0]
    np.testing.assert_allclose(
        xshooter.wavelength, 10 * row["WAVE"].astype(float), rtol=1e-9
    )
    np.testing.assert_array_equal(xshooter.flux, row["FLUX"])
    assert xshooter.flux_unit == units.Unit("erg / (s cm2 nm)")
    good = ~xshooter.mask
    np.testing.assert_allclose(
        xshooter.ivar[good] ** -0.5, row["ERR_FLUX"][good], rtol=1e-5
    )
    assert (xshooter.medium, xshooter.frame) == ("vacuum", "heliocentric")

    path = survey_dir / "linetools/specexample1.fits"
    example = read_spectrum(path)
    with fits.open(path) as hdul:
        np.testing.assert_allclose(example.wavelength, hdul["WAVELENGTH"].data)
        np.testing.assert_array_equal(example.flux, hdul["FLUX"].data)
        np.testing.assert_allclose(example.ivar**-0.5, hdul["ERROR"].data, rtol=1e-5)
    assert (example.medium, example.frame) == ("vacuum", None)


def test_real_texts(survey_dir):
    for name, n_columns in (
        ("snid/sn2005cf-20050611.205-ui.flm", 2),
        ("linetools/UM184.dat.gz", 3),
    ):
        columns = np.loadtxt(survey_dir / name, unpack=True)
        assert len(columns) == n_columns
        spectrum = read_spectrum(survey_dir / name)
        np.testing.assert_array_equal(spectrum.wavelength, columns[0])
        np.testing.assert_allclose(spectrum.flux, columns[1], rtol=1e-6)
        if n_columns == 2:
            assert spectrum.ivar is None
        else:
            np.testing.assert_array_equal(spectrum.mask, columns[2] == 0)
            good = ~spectrum.mask
            np.testing.assert_allclose(
                spectrum.ivar[good] ** -0.5, columns[2][good], rtol=1e-5
            )
    path = survey_dir / "snid/sn2006gz.lnw"
    template = read_spectra(path)
    columns = np.loadtxt(path, skiprows=12)
    np.testing.assert_allclose(template.flux, columns[:, 1:].T, rtol=1e-6)
    # Logarithmic bins between 2500 and 10 000 Å.
    bins = 2500 * 4.0 ** ((np.arange(1024) + 0.5) / 1024)
    np.testing.assert_allclose(template.wavelength, bins, atol=0.01)
    assert template.table["age"][0] == -13.3


def test_real_files_of_known_surveys_state_medium_and_frame(data_dir):
    spectra = read_spectra(data_dir / "survey_files", verbose=0)
    is_6dfgs = spectra.survey == "6dFGS"
    assert {*spectra.medium[~is_6dfgs]} == {"vacuum"}
    assert {*spectra.frame[~is_6dfgs]} == {"heliocentric"}
    assert (spectra.medium[is_6dfgs], spectra.frame[is_6dfgs]) == ("air", "rest")
    vacuum = read_spectra(data_dir / "survey_files", medium="vacuum", verbose=0)
    assert vacuum.failures == []
    assert {*vacuum.medium} == {"vacuum"}
    same = np.isfinite(spectra.flux[~is_6dfgs])
    np.testing.assert_array_equal(
        vacuum.flux[~is_6dfgs][same], spectra.flux[~is_6dfgs][same]
    )
