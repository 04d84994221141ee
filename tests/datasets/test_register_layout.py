# SPDX-License-Identifier: BSD-3-Clause
"""Layouts that users add to the readers of spectra."""

import sys

import numpy as np
import pytest
from astropy import units
from astropy.io import fits

from skastro.datasets import read_spectra, read_spectrum, register_layout

WAVELENGTH = np.linspace(4000.0, 8000.0, 100)


@pytest.fixture(autouse=True)
def _only_built_in_layouts(monkeypatch):
    """Forget the layouts that a test registers."""
    # Collecting the examples in docstrings may import the module a second time.
    module = register_layout.__globals__
    monkeypatch.setitem(module, "_LAYOUTS", dict(module["_LAYOUTS"]))
    module["_load_entry_points"].cache_clear()
    yield
    module["_load_entry_points"].cache_clear()


@pytest.fixture
def mine(tmp_path):
    """Write a file of no built-in layout."""
    path = tmp_path / "mine.fits"
    header = fits.Header({"ORIGIN": "mine"})
    fits.PrimaryHDU(np.ones((2, 100)), header).writeto(path)
    return path


def is_mine(hdul):
    return hdul[0].header.get("ORIGIN") == "mine"


def fields(**others):
    arrays = {"flux": np.arange(100), "ivar": np.ones(100), "wavelength": WAVELENGTH}
    return arrays | others


def register(read=lambda hdul: fields(), recognize=is_mine, name="mine", **options):
    return register_layout(name, recognize, read, **options)


def test_a_file_is_unknown_before_and_read_after(mine):
    with pytest.raises(ValueError, match="no spectrum in a known layout"):
        read_spectrum(mine)
    register()
    spectrum = read_spectrum(mine)
    assert (spectrum.layout, spectrum.kind, spectrum.path) == (
        "mine",
        "science",
        str(mine),
    )
    np.testing.assert_array_equal(spectrum.flux, np.arange(100))
    assert spectrum.flux.dtype == np.float32
    assert not spectrum.mask.any()
    assert np.isnan(spectrum.redshift)
    assert spectrum.header["ORIGIN"] == "mine"
    assert spectrum.flux_unit == units.dimensionless_unscaled


def test_it_has_the_fields_of_the_built_in_layouts(mine, write_spectrum):
    register()
    assert set(read_spectrum(mine)) == set(
        read_spectrum(write_spectrum("lamost-image").path)
    )


def test_decorator(mine):
    @register_layout("mine", is_mine)
    def read(hdul):
        return fields(wavelength=WAVELENGTH / 10 * units.nm, class_name="QSO")

    assert callable(read)
    spectra = read_spectra([mine], verbose=0)
    assert spectra.target.tolist() == ["QSO"]
    assert spectra.table["layout"].tolist() == ["mine"]
    np.testing.assert_allclose(read_spectrum(mine).wavelength, WAVELENGTH)


def test_other_processes_know_the_layout(mine):
    register()
    spectra = read_spectra([mine, mine], n_jobs=2, verbose=0)
    assert spectra.flux.shape == (2, 3000)


def test_it_precedes_the_built_in_layouts(write_spectrum):
    path = write_spectrum("lamost-image").path
    assert read_spectrum(path).layout == "lamost-image"
    register(recognize=lambda hdul: hdul[0].header["TELESCOP"] == "LAMOST")
    assert read_spectrum(path).layout == "mine"


def test_two_that_recognize_a_file(mine):
    register()
    register(name="other")
    with pytest.raises(
        ValueError, match=r"mine\.fits: several layouts .*'mine', 'other'"
    ):
        read_spectrum(mine)


def test_a_name_is_taken_once(mine):
    register()
    with pytest.raises(ValueError, match="there is a layout 'mine' already"):
        register()
    with pytest.raises(ValueError, match="'sdss-spec' already"):
        register(name="sdss-spec")
    register(lambda hdul: fields(id="new"), overwrite=True)
    assert read_spectrum(mine).id == "new"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, is_mine, fields), TypeError, "name must be a text"),
        ((" ", is_mine, fields), ValueError, "name must not be empty"),
        (("mine", "is_mine", fields), TypeError, "recognize must be callable"),
        (("mine", is_mine, "read"), TypeError, "read must be callable"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        register_layout(*arguments)


def test_unknown_way_to_open():
    with pytest.raises(ValueError, match="opens must be 'fits' or 'path'; got 'hdf5'"):
        register(opens="hdf5")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "must return a dictionary with flux, ivar, wavelength; got NoneType"),
        ({"flux": np.ones(9)}, "returned no ivar, wavelength"),
        (fields(redshfit=1), "unknown field 'redshfit'. Did you mean 'redshift'"),
        (fields(flux=np.ones(9)), "must be vectors of one length"),
        (fields(wavelength=WAVELENGTH[::-1]), "the wavelengths must ascend"),
        (fields(wavelength=np.log10(WAVELENGTH)), "must be in Angstrom"),
        (fields(and_mask=np.zeros(3)), r"and_mask must have the shape of flux"),
        (fields(kind="galaxy"), "kind must be one of 'science'"),
    ],
)
def test_wrong_values_returned_by_the_reader(mine, returned, message):
    register(lambda hdul: returned)
    with pytest.raises(ValueError, match=f"mine.fits: .*{message}"):
        read_spectrum(mine)


def test_wrong_value_returned_by_the_recognizer(mine):
    register(recognize=lambda hdul: None)
    with pytest.raises(ValueError, match="'mine' must return True or False; got None"):
        read_spectrum(mine)


def test_errors_are_failures_of_read_spectra(mine, write_spectrum):
    good = write_spectrum("sdss-spec").path

    def read(hdul):
        return hdul.no_such_thing

    register(read)
    with pytest.warns(UserWarning, match="1 of 2 files could not be read"):
        spectra = read_spectra([mine, good], verbose=0)
    ((path, reason),) = spectra.failures
    assert path == str(mine)
    assert "the reader of layout 'mine' failed: AttributeError" in reason


def test_errors_of_the_recognizer_name_it(mine):
    register(recognize=lambda hdul: 1 / 0)
    with pytest.raises(ValueError, match="recognizer of layout 'mine' failed: ZeroDiv"):
        read_spectrum(mine)


def test_files_of_many_spectra(mine):
    matrix = {"flux": np.ones((3, 100)), "wavelength": WAVELENGTH}
    matrix |= {"table": {"label": [1, 0, 1]}, "class_names": ["STAR", "QSO"]}
    register(lambda hdul: matrix, many=True)
    spectra = read_spectra(mine)
    assert spectra.layout == "mine"
    assert spectra.target.tolist() == ["QSO", "STAR", "QSO"]
    assert read_spectra(mine, class_names=["A", "B"]).target.tolist() == ["B", "A", "B"]
    assert read_spectra(mine, wavelength=WAVELENGTH[10:20]).flux.shape == (3, 10)
    with pytest.raises(ValueError, match="expected one spectrum, found a matrix"):
        read_spectrum(mine)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"flux": np.ones(9)}, r"must have shape \(n_spectra, n_pixels\); got \(9,\)"),
        ({"flux": np.ones((2, 9)), "wavelength": np.ones(8)}, "has 9 pixels"),
        ({"flux": np.ones((2, 9)), "table": {"id": [1]}}, "2 spectra, but the table"),
        ({"flux": np.ones((2, 9)), "ivar": 1}, "ivar must have the shape of flux"),
        ({"flux": np.ones((2, 9)), "mask": 1}, "unknown field 'mask'"),
    ],
)
def test_wrong_values_returned_for_many_spectra(mine, returned, message):
    register(lambda hdul: returned, many=True)
    with pytest.raises(ValueError, match=f"mine.fits: .*{message}"):
        read_spectra(mine)


def test_files_that_are_not_fits(tmp_path, write_spectrum):
    path = tmp_path / "spectrum.txt"
    np.savetxt(path, np.column_stack([WAVELENGTH, np.ones(100)]))

    @register_layout("text", lambda path: path.suffix == ".txt", opens="path")
    def read(path):
        wavelength, flux = np.loadtxt(path, unpack=True)
        return fields(wavelength=wavelength, flux=flux)

    assert read_spectrum(path).layout == "text"
    assert len(read_spectrum(path).header) == 0
    assert read_spectra(tmp_path, pattern="*.txt", verbose=0).flux.shape == (1, 3000)
    assert read_spectrum(write_spectrum("6dfgs").path).layout == "6dfgs"
    path.write_text("no numbers")
    with pytest.raises(ValueError, match="reader of layout 'text' failed"):
        read_spectrum(path)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with an entry point on the search path."""

    def write(module, target="read"):
        info = tmp_path / "site" / "plugin-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: plugin\nVersion: 1"
        )
        (info / "entry_points.txt").write_text(
            f"[skastro.spectrum_layouts]\nmine = layout_plugin:{target}\n"
        )
        (info.parent / "layout_plugin.py").write_text(module)
        monkeypatch.syspath_prepend(str(info.parent))
        monkeypatch.delitem(sys.modules, "layout_plugin", raising=False)

    yield write
    sys.modules.pop("layout_plugin", None)


PLUGIN = """
import numpy as np
from skastro.datasets import register_layout

def is_mine(hdul):
    return hdul[0].header.get("ORIGIN") == "mine"

@register_layout("mine", is_mine)
def read(hdul):
    wavelength = np.linspace(4000, 8000, 100)
    return {"flux": wavelength, "ivar": np.ones(100), "wavelength": wavelength}

def other(hdul):
    pass
"""


def test_entry_point(mine, install):
    install(PLUGIN)
    assert read_spectrum(mine).layout == "mine"


@pytest.mark.parametrize(
    ("module", "target", "reason"),
    [
        (PLUGIN, "other", "ValueError: it is not a reader"),
        ("import no_such_module", "read", "ModuleNotFoundError"),
    ],
)
def test_bad_entry_points_leave_the_others_readable(
    write_spectrum, install, module, target, reason
):
    install(module, target)
    path = write_spectrum("lamost-coadd").path
    with pytest.warns(UserWarning, match=f"entry point 'mine' .* no layout: {reason}"):
        assert read_spectrum(path).layout == "lamost-coadd"
    # Once is enough.
    assert read_spectrum(path).layout == "lamost-coadd"
