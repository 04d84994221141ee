# SPDX-License-Identifier: BSD-3-Clause
"""Units, wavelengths, missing values and layouts: right numbers or a clear error."""

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table

from skastro.datasets import read_spectra, read_spectrum, register_layout
from skastro.datasets.spectra import _layouts

GRID = np.linspace(4000.0, 8000.0, 50)
CGS = units.Unit("erg / (s cm2 Angstrom)")


@pytest.fixture
def layouts(monkeypatch):
    """Forget the layouts that a test registers."""
    monkeypatch.setattr(_layouts, "_LAYOUTS", dict(_layouts._LAYOUTS))


def write_matrix(path, flux, table=None, wavelength=None):
    hdus = [fits.PrimaryHDU(flux)]
    if table is not None:
        hdus.append(fits.BinTableHDU(Table(table)))
    if wavelength is not None:
        hdus.append(fits.ImageHDU(wavelength, name="WAVELENGTH"))
    fits.HDUList(hdus).writeto(path)
    return path


def edit(path, change):
    with fits.open(path) as hdul:
        hdul = fits.HDUList([hdu.copy() for hdu in hdul])
    change(hdul)
    hdul.writeto(path, overwrite=True)
    return path


def replace_column(hdul, index, name, values, unit=None, form=None):
    """Write other values, in double precision, to a column of a table."""
    old = hdul[index].columns
    columns = [
        fits.Column(c.name, form or c.format.replace("E", "D"), array=values, unit=unit)
        if c.name.upper() == name
        else c
        for c in old
    ]
    hdul[index] = fits.BinTableHDU.from_columns(
        columns, header=None, name=hdul[index].name
    )


# Units of columns.


@pytest.mark.parametrize("layout", ["sdss-spec", "lamost-coadd"])
@pytest.mark.parametrize(("unit", "factor"), [("nm", 0.1), ("Angstrom", 1.0)])
def test_unit_of_the_wavelength_column(write_spectrum, layout, unit, factor):
    made = write_spectrum(layout)
    name, values = "WAVELENGTH", [made.wavelength * factor]
    if layout == "sdss-spec":
        name, values, unit = "LOGLAM", np.log10(values[0]), f"log10({unit})"
    edit(made.path, lambda hdul: replace_column(hdul, 1, name, values, unit))
    np.testing.assert_allclose(read_spectrum(made.path).wavelength, made.wavelength)


@pytest.mark.parametrize(
    "unit",
    [
        "erg/s/cm2/Angstrom",
        "erg/cm^2/s/Ang",
        "ergs/s/cm^2/A",
        "erg s-1 cm-2 Angstrom-1",
    ],
)
def test_flux_in_cgs_is_not_multiplied_again(write_spectrum, unit):
    made = write_spectrum("sdss-spec")

    def change(hdul):
        replace_column(hdul, 1, "FLUX", made.flux * 1e-17, unit)
        replace_column(hdul, 1, "IVAR", made.ivar * np.float64(1e40))

    spectrum = read_spectrum(edit(made.path, change))
    flux = (spectrum.flux * spectrum.flux_unit).to_value(CGS)
    np.testing.assert_allclose(flux, made.flux.astype(float) * 1e-17, rtol=1e-6)
    np.testing.assert_allclose(spectrum.ivar, made.ivar * 1e6, rtol=1e-6)


def test_units_of_sdss_that_change_nothing(write_spectrum):
    made = write_spectrum("sdss-spec")
    for unit in ["1E-17 erg/cm^2/s/Ang", "10^-17 ergs/s/cm^2/A", "1e-17 erg/s/cm2/AA"]:
        edit(
            made.path,
            lambda hdul, unit=unit: replace_column(hdul, 1, "FLUX", made.flux, unit),
        )
        np.testing.assert_allclose(read_spectrum(made.path).flux, made.flux, rtol=1e-6)


def test_unit_in_the_header_of_sdss(write_spectrum):
    made = write_spectrum("sdss-spec")

    def change(hdul):
        hdul[0].header["BUNIT"] = "erg/cm^2/s/Ang"
        replace_column(hdul, 1, "FLUX", made.flux * 1e-17)
        replace_column(hdul, 1, "IVAR", made.ivar * np.float64(1e34))

    spectrum = read_spectrum(edit(made.path, change))
    np.testing.assert_allclose(spectrum.flux, made.flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.ivar, made.ivar, rtol=1e-6)


@pytest.mark.parametrize("unit", ["Jy", "nonsense"])
def test_units_that_are_no_flux_density_are_refused(write_spectrum, unit):
    made = write_spectrum("sdss-spec")
    edit(made.path, lambda hdul: replace_column(hdul, 1, "FLUX", made.flux, unit))
    with pytest.raises(ValueError, match=unit):
        read_spectrum(made.path)


# Layouts that users register.


def register(name="mine", **fields):
    def recognize(hdul):
        return hdul[0].header.get("ORIGIN") == name

    wavelength = np.linspace(4000.0, 8000.0, 100)
    arrays = {"flux": np.ones(100), "ivar": np.ones(100), "wavelength": wavelength}
    register_layout(name, recognize, lambda hdul: arrays | fields, overwrite=True)


@pytest.fixture
def mine(tmp_path, layouts):
    path = tmp_path / "mine.fits"
    fits.PrimaryHDU(np.ones(3), fits.Header({"ORIGIN": "mine"})).writeto(path)
    return path


def test_quantities_of_a_registered_reader_keep_their_unit(mine):
    register(flux=np.full(100, 3.0) * units.mJy, ivar=np.full(100, 4.0) / units.uJy**2)
    spectrum = read_spectrum(mine)
    assert spectrum.flux_unit == units.mJy
    np.testing.assert_allclose(spectrum.flux, 3.0)
    np.testing.assert_allclose(spectrum.ivar, 4e6)
    register(flux=np.full(100, 3.0) * units.Jy, flux_unit=units.mJy)
    spectrum = read_spectrum(mine)
    np.testing.assert_allclose(spectrum.flux, 3000.0)
    # Plain variances are those of the flux as it was returned.
    np.testing.assert_allclose(spectrum.ivar, 1e-6)


def test_quantity_of_a_registered_matrix(tmp_path, mine):
    def read(hdul):
        return {
            "flux": np.ones((3, 100)) * units.Jy,
            "wavelength": np.arange(4e3, 4.1e3),
        }

    register_layout("mine", lambda hdul: True, read, many=True)
    assert read_spectra(mine).table["flux_unit"].tolist() == ["Jy"] * 3


@pytest.mark.parametrize("scale", [1e-17, 1e-60])
def test_variances_beyond_single_precision(mine, scale):
    register(flux=np.full(100, scale), ivar=np.full(100, 1e5 / scale**2))
    with pytest.raises(ValueError, match=r"single precision cannot hold.*1e-17 erg"):
        read_spectrum(mine)


def test_units_of_flux_are_unified_or_named(mine, tmp_path):
    paths = []
    for name, unit in [("a", units.Jy), ("b", units.mJy), ("c", units.ct)]:
        register(name, flux_unit=unit)
        paths.append(tmp_path / f"{name}.fits")
        header = fits.Header({"ORIGIN": name})
        fits.PrimaryHDU(np.ones(3), header).writeto(paths[-1])
    spectra = read_spectra(paths[:2], verbose=0)
    assert spectra.table["flux_unit"].tolist() == ["Jy", "Jy"]
    np.testing.assert_allclose(np.nanmax(spectra.flux, axis=1), [1.0, 1e-3])
    with pytest.warns(UserWarning, match="do not differ by a factor only: 'Jy', 'c"):
        read_spectra(paths, verbose=0)


def test_bytes_quantities_and_masked_fields_of_a_registered_reader(mine):
    flux = np.ma.masked_equal(np.r_[-99, np.ones(99)], -99)
    register(class_name=b"STAR", ra=10 * units.hourangle, flux=flux, z=None)
    with pytest.raises(ValueError, match="unknown field 'z'"):
        read_spectrum(mine)
    register(class_name=b"STAR", ra=10 * units.hourangle, flux=flux, redshift=np.inf)
    spectrum = read_spectrum(mine)
    assert (spectrum.class_name, spectrum.ra) == ("STAR", pytest.approx(150.0))
    assert np.isnan(spectrum.redshift)
    assert np.isnan(spectrum.flux[0])
    np.testing.assert_array_equal(np.flatnonzero(spectrum.mask), [0])


# Wavelengths.

BAD_WAVELENGTHS = {
    "logarithm": (np.linspace(3.59, 3.95, 60), "between 100 and"),
    "nanometers": (np.linspace(390.0, 900.0, 60), "may be in .*nanometers"),
    "near-infrared nanometers": (np.linspace(1000.0, 2500.0, 60), "nanometers"),
    "descending": (np.linspace(9000.0, 3900.0, 60), "must ascend"),
    "not a number": (np.r_[4000.0, np.nan, np.linspace(5e3, 6e3, 58)], "not finite"),
    "repeated": (np.repeat(np.linspace(4000.0, 9000.0, 30), 2), "must ascend"),
    "all equal": (4000.0 + 1e-9 * np.arange(60), "must ascend"),
}


@pytest.mark.parametrize("kind", BAD_WAVELENGTHS)
@pytest.mark.parametrize("grid", [None, GRID])
def test_wavelengths_of_a_matrix_are_checked(tmp_path, kind, grid):
    wavelength, message = BAD_WAVELENGTHS[kind]
    path = write_matrix(tmp_path / "m.fits", np.ones((4, 60)), None, wavelength)
    with pytest.raises(ValueError, match=f"m.fits: .*{message}"):
        read_spectra(path, wavelength=grid)


@pytest.mark.parametrize("kind", BAD_WAVELENGTHS)
def test_wavelengths_of_registered_readers_and_grids_are_checked(mine, kind):
    wavelength, message = BAD_WAVELENGTHS[kind]
    register(flux=np.ones(60), ivar=np.ones(60), wavelength=wavelength)
    with pytest.raises(ValueError, match=message):
        read_spectrum(mine)
    with pytest.raises(ValueError, match=f"wavelength must be a vector.*{message}"):
        read_spectra(mine, wavelength=wavelength)


def test_wavelengths_with_a_unit_may_be_short(mine, tmp_path):
    far = np.linspace(150.0, 300.0, 100)
    register(wavelength=far * units.nm)
    np.testing.assert_allclose(read_spectrum(mine).wavelength, 10 * far)
    register(wavelength=far * units.Angstrom)
    np.testing.assert_allclose(read_spectrum(mine).wavelength, far)
    path = write_matrix(tmp_path / "m.fits", np.ones((4, 100)), None, far)
    with fits.open(path, "update") as hdul:
        hdul["WAVELENGTH"].header["BUNIT"] = "nm"
    np.testing.assert_allclose(read_spectra(path).wavelength, 10 * far)


def test_grid_beside_the_wavelengths_of_a_matrix(tmp_path):
    path = write_matrix(tmp_path / "m.fits", np.ones((4, 50)), None, GRID + 20000)
    with pytest.raises(ValueError, match="do not overlap the grid"):
        read_spectra(path, wavelength=np.append(GRID, 8100.0))


def test_equal_wavelengths_of_a_header(write_spectrum):
    made = write_spectrum("lamost-log-image", COEFF1=1e-12)
    with pytest.raises(ValueError, match="must ascend"):
        read_spectrum(made.path)


def test_gaps_are_not_filled(mine):
    wavelength = np.r_[np.linspace(4000, 5000, 50), np.linspace(7000, 8000, 50)]
    register(wavelength=wavelength)
    spectra = read_spectra(mine, wavelength=np.arange(3950.0, 8100.0, 50.0), verbose=0)
    inside = (spectra.wavelength > 5040) & (spectra.wavelength < 6960)
    assert np.isnan(spectra.flux[0, inside]).all()
    assert np.isfinite(spectra.flux[0, spectra.wavelength == 4950]).all()


# Missing values.


@pytest.mark.parametrize("unsigned", [False, True])
def test_integers_without_a_value_are_no_class(tmp_path, unsigned):
    labels = np.array([0, 999999, 2, 1], dtype=np.int32)
    column = fits.Column("label", "J", array=labels, null=999999)
    if unsigned:
        column = fits.Column(
            "label",
            "J",
            array=labels.astype(np.uint32),
            null=999999 - 2**31,
            bzero=2**31,
        )
    names = fits.Column("objid", "K", array=[1, -1, 3, 4], null=-1)
    table = fits.BinTableHDU.from_columns([column, names])
    flux = np.ones((4, 3000), dtype=np.float32)
    path = tmp_path / "m.fits"
    fits.HDUList([fits.PrimaryHDU(flux), table]).writeto(path)
    spectra = read_spectra(path)
    assert spectra.target.tolist() == ["GALAXY", "", "STAR", "QSO"]
    assert spectra.target_names.tolist() == ["GALAXY", "QSO", "STAR"]
    np.testing.assert_array_equal(spectra.label, [0, np.nan, 2, 1])
    np.testing.assert_array_equal(spectra.id, [1, np.nan, 3, 4])
    target = read_spectra(path, label_column="label").target
    np.testing.assert_array_equal(target, [0, np.nan, 2, 1])
    assert spectra.table["label"].mask.tolist() == [False, True, False, False]


def test_logical_values_without_a_value(tmp_path):
    table = fits.BinTableHDU(Table({"label": [1, 0, 1], "member": [True, False, True]}))
    hdul = fits.HDUList([fits.PrimaryHDU(np.ones((3, 3000), "f4")), table])
    hdul.writeto(tmp_path / "m.fits")
    content = bytearray((tmp_path / "m.fits").read_bytes())
    with fits.open(tmp_path / "m.fits") as opened:
        start, row = opened.fileinfo(1)["datLoc"], opened[1].header["NAXIS1"]
    assert content[start + 8 : start + 9] == b"T"
    content[start + row + 8] = 0
    (tmp_path / "m.fits").write_bytes(content)
    target = read_spectra(tmp_path / "m.fits", label_column="member").target
    np.testing.assert_array_equal(target, [1.0, np.nan, 1.0])


def test_labels_of_varying_length(tmp_path):
    label = np.array([np.array([1, 2]), np.array([3])], dtype=object)
    table = fits.BinTableHDU.from_columns([fits.Column("label", "PJ()", array=label)])
    flux = fits.PrimaryHDU(np.ones((2, 3000), "f4"))
    fits.HDUList([flux, table]).writeto(tmp_path / "m.fits")
    with pytest.raises(ValueError, match="column label holds arrays of varying length"):
        read_spectra(tmp_path / "m.fits")


def test_infinite_values_are_unknown(write_spectrum):
    made = write_spectrum("sdss-spec", Z=np.inf, SN_MEDIAN_ALL=np.inf)

    def change(hdul):
        hdul[0].header["PLUG_RA"] = "Infinity"
        hdul[0].header["PLUG_DEC"] = "-inf"
        values = np.r_[np.inf, np.nan, -1.0, 0.0, made.ivar[4:]]
        replace_column(hdul, 1, "IVAR", values)

    spectrum = read_spectrum(edit(made.path, change))
    np.testing.assert_array_equal(np.flatnonzero(spectrum.mask), [0, 1, 2, 3, 7])
    unknown = [spectrum[name] for name in ("redshift", "ra", "dec", "snr")]
    assert np.isnan(unknown).all()


# Layouts.


def test_tables_of_other_telescopes_are_not_lamost_or_sdss(write_spectrum):
    for layout in ["lamost-coadd", "sdss-spec"]:
        for telescope in ["", "Mayall 4m"]:
            made = write_spectrum(layout, f"{layout}{telescope}.fits")

            def change(hdul, telescope=telescope):
                hdul[0].header["TELESCOP"] = telescope
                del hdul[2:]

            with pytest.raises(ValueError, match="no spectrum in a known layout"):
                read_spectrum(edit(made.path, change))


@pytest.mark.parametrize("layout", ["lamost-image", "lamost-log-image"])
@pytest.mark.parametrize("telescope", ["", "ESO-VLT-U2"])
def test_images_of_other_telescopes_are_not_lamost(write_spectrum, layout, telescope):
    made = write_spectrum(layout, TELESCOP=telescope, EXTEN0="a b c d e")
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(made.path)


def test_images_of_four_rows_are_not_6dfgs(tmp_path):
    header = fits.Header({"CRVAL1": 4000.0, "CDELT1": 1.0, "CUNIT1": "Angstrom"})
    fits.PrimaryHDU(np.ones((4, 100)), header).writeto(tmp_path / "iraf.fits")
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(tmp_path / "iraf.fits")


def test_images_of_the_sky_are_not_the_competition(tmp_path):
    header = fits.Header({"CTYPE1": "RA---TAN", "INSTRUME": "camera"})
    image = fits.PrimaryHDU(np.ones((10, 3000), "f4"), header)
    image.writeto(tmp_path / "sky.fits")
    with pytest.raises(ValueError, match="No spectrum was read"):
        read_spectra(tmp_path / "sky.fits", verbose=0)


def test_labels_that_may_mean_something_else_have_no_names(tmp_path):
    labels = {"objid": [5, 6, 7], "label": [0, 1, 2]}
    path = write_matrix(tmp_path / "a.fits", np.ones((3, 50)), labels)
    assert read_spectra(path).target.tolist() == [0, 1, 2]
    labels = {"label": [0, 1, 2]}
    path = write_matrix(tmp_path / "b.fits", np.ones((3, 3000)), labels)
    assert read_spectra(path).target.tolist() == [0, 1, 2]
    # Wavelengths of each spectrum: not those of the competition.
    path = write_matrix(tmp_path / "c.fits", np.ones((3, 3000), "f4"), labels)
    wavelength = fits.ImageHDU(np.ones((3, 3000)), name="WAVELENGTH")
    edit(path, lambda hdul: hdul.append(wavelength))
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectra(path, verbose=0)


def write_medium(path, arms=("B", "R"), vectors=False, reverse=False, **cards):
    header = {"TELESCOP": "LAMOST", "LMJD": 58407, "PLANID": "NT1", "SPID": 2}
    header |= {"FIBERID": 7, "RA": 10.0, "DEC": 20.0, "VACUUM": True, **cards}
    hdus = [fits.PrimaryHDU(header=fits.Header(header))]
    waves = {"B": np.linspace(4950.0, 5350.0, 40), "R": np.linspace(6300.0, 6800.0, 50)}
    for arm in arms:
        wave = waves[arm]
        data = {"FLUX": wave / 100, "IVAR": np.full(wave.size, 4.0)}
        data |= {"WAVELENGTH": wave} if vectors else {"LOGLAM": np.log10(wave)}
        data["ORMASK"] = np.arange(wave.size)
        columns = [
            fits.Column(
                name,
                f"{wave.size}D" if vectors else "D",
                array=[values] if vectors else values[:: -1 if reverse else 1],
            )
            for name, values in data.items()
        ]
        for name in (f"COADD_{arm}", f"{arm}-84420148"):
            hdus.append(fits.BinTableHDU.from_columns(columns, name=name))
    fits.HDUList(hdus).writeto(path)
    return path, np.concatenate([waves[arm] for arm in sorted(arms)])


@pytest.mark.parametrize("arms", ["BR", "RB", "B", "R"])
@pytest.mark.parametrize("vectors", [False, True])
def test_medium_resolution(tmp_path, arms, vectors):
    path, wave = write_medium(tmp_path / "med.fits.gz", arms, vectors)
    spectrum = read_spectrum(path)
    assert (spectrum.layout, spectrum.survey) == ("lamost-medium", "LAMOST")
    assert spectrum.id == "med-58407-NT1_sp02-007"
    np.testing.assert_allclose(spectrum.wavelength, wave)
    np.testing.assert_allclose(spectrum.flux, wave / 100, rtol=1e-6)
    assert (spectrum.ivar == 4).all()
    assert spectrum.or_mask.size == wave.size
    flux = read_spectra(path, verbose=0).flux[0]
    covered = np.isfinite(flux)
    grid = np.linspace(3900, 9000, 3000)
    blue, red = (grid > 4960) & (grid < 5340), (grid > 6310) & (grid < 6790)
    assert covered[blue].all() == ("B" in arms)
    assert covered[red].all() == ("R" in arms)
    assert not covered[(grid > 5360) & (grid < 6290)].any()


def test_medium_resolution_in_reverse_or_elsewhere(tmp_path):
    path, wave = write_medium(tmp_path / "a.fits", reverse=True)
    np.testing.assert_allclose(read_spectrum(path).flux, wave / 100, rtol=1e-6)
    path, _ = write_medium(tmp_path / "b.fits", TELESCOP="Mayall 4m")
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(path)
    path, _ = write_medium(tmp_path / "c.fits", arms="BBR")
    with pytest.raises(ValueError, match="expected one table an arm"):
        read_spectrum(path)


# What is not a path.


def test_open_files_and_other_objects(write_spectrum):
    path = write_spectrum("lamost-image").path
    for read in (read_spectra, read_spectrum):
        with path.open("rb") as file, pytest.raises(TypeError, match="give its path"):
            read(file)
    for source in (5, b"a.fits", [path, None], [b"a.fits"]):
        with pytest.raises(TypeError, match="a file is given by its path"):
            read_spectra(source)


@pytest.mark.parametrize("max_bytes", [10_000, 10**9])
def test_largest_size(write_spectrum, max_bytes):
    path = write_spectrum("sdss-spec").path
    if max_bytes > 10_000:
        assert read_spectrum(path, max_bytes=max_bytes).flux.size == 400
        return
    with pytest.raises(OSError, match=r"some.fits: .*more than the 10000 that are all"):
        read_spectrum(path, max_bytes=max_bytes)
    with pytest.raises(OSError, match="more than the 10000"):
        read_spectra(path, max_bytes=max_bytes)
    with pytest.raises(ValueError, match=r"No spectrum was read.*\n.*more than the 10"):
        read_spectra([path], max_bytes=max_bytes, verbose=0)
    with pytest.raises(TypeError, match="max_bytes must be a number"):
        read_spectrum(path, max_bytes="1 GB")


def test_matrix_shorter_than_its_labels(tmp_path):
    """A smaller NAXIS2 hides the table behind the matrix."""
    labels = {"objid": np.arange(40), "label": np.arange(40) % 3}
    path = write_matrix(tmp_path / "m.fits", np.ones((40, 3000), "f4"), labels)
    content = path.read_bytes()
    for rows in (1, 4, 16, 39):
        card = f"NAXIS2  = {rows:>20}".encode()
        path.write_bytes(content.replace(b"NAXIS2  =                   40", card, 1))
        with pytest.raises(OSError, match=r"m.fits: .*(more|data) follow"):
            read_spectra(path)


# Layouts that fail.


def test_a_recognizer_that_fails_leaves_other_layouts(mine, write_spectrum):
    good = write_spectrum("lamost-image").path
    register_layout("broken", lambda hdul: hdul[7].header["X"] == 1, lambda hdul: None)
    assert read_spectrum(good).layout == "lamost-image"
    register()
    assert len(read_spectra([mine, good], verbose=0).flux) == 2
    with fits.open(mine, "update") as hdul:
        hdul[0].header["ORIGIN"] = "unknown"
    with pytest.raises(ValueError, match="recognizer of layout 'broken' failed: Index"):
        read_spectrum(mine)


@pytest.mark.parametrize(
    "fields",
    [
        {"snr_bands": [1, 2]},
        {"flux_unit": "nonsense"},
        {"and_mask": np.zeros(7)},
        {"ivar": np.ones((2, 50))},
        {"wavelength": "text"},
        {"redshift": object(), "flux": {}},
    ],
)
def test_whatever_a_reader_returns_is_a_failure(mine, write_spectrum, fields):
    good = write_spectrum("lamost-image").path
    register(**fields)
    with pytest.warns(UserWarning, match="1 of 2 files could not be read"):
        spectra = read_spectra([mine, good], verbose=0)
    assert [path for path, _ in spectra.failures] == [str(mine)]


def test_odd_scalars_do_not_spoil_the_table(mine, write_spectrum):
    good = write_spectrum("lamost-image").path
    register(
        redshift=[1, 2], id={"a": 1}, ra="none", snr=10**400, redshift_warning=1e400
    )
    spectra = read_spectra([mine, good], verbose=0)
    assert np.isnan(spectra.redshift[0])
    assert spectra.table["zwarning"][0] == -1


@pytest.mark.parametrize("unit", ["10**99999999", "erg**-99999999", "10+(99999999)"])
def test_gigantic_exponents_of_units_are_not_computed(tmp_path, unit):
    labels = fits.BinTableHDU(Table({"label": [0], "z": [0.1]}), name="LABELS")
    labels.header["TUNIT2"] = unit
    image = fits.PrimaryHDU(np.ones((1, 30), "f4"))
    wavelength = fits.ImageHDU(np.linspace(4000, 5000, 30), name="WAVELENGTH")
    hdul = fits.HDUList([image, labels, wavelength])
    hdul.writeto(tmp_path / "labels.fits")
    spectra = read_spectra(tmp_path / "labels.fits", verbose=0)
    assert str(spectra.table["z"].unit) == unit

    wavelength.header["BUNIT"] = unit
    hdul.writeto(tmp_path / "grid.fits")
    with pytest.raises(ValueError, match="exponent of over three digits"):
        read_spectra(tmp_path / "grid.fits", verbose=0)
