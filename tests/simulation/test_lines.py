# SPDX-License-Identifier: BSD-3-Clause
"""Wavelengths of spectral lines, in air and in vacuum."""

import numpy as np
import pytest

from skastro.simulation import (
    LINE_SOURCES,
    SPECTRAL_LINES,
    air_to_vacuum,
    lines_of,
)
from skastro.simulation.spectra._spectrograph import SKY_LINES
from skastro.simulation.spectra._stars import hydrogen_wavelength
from skastro.simulation.spectra._tables import read_table

pytestmark = pytest.mark.once

# Wavelengths in air of the NIST Atomic Spectra Database.
AIR = {
    "H beta": 4861.35,
    "H gamma": 4340.472,
    "[O II] 3727": 3726.032,
    "[O II] 3730": 3728.815,
    "[O III] 4960": 4958.911,
    "[O III] 5008": 5006.843,
    "[O I] 6302": 6300.304,
    "[N II] 6585": 6583.45,
    "[S II] 6718": 6716.44,
    "[S II] 6733": 6730.82,
    "Ca II K": 3933.663,
    "Ca II H": 3968.469,
    "Ca I 4228": 4226.728,
    "Mg I 5174": 5172.684,
    "Mg I 5185": 5183.604,
    "Na I D2": 5889.951,
    "Na I D1": 5895.924,
    "K I 7667": 7664.899,
    "Ca II 8544": 8542.09,
    "He I 5877": 5875.615,
}


@pytest.mark.parametrize("name", AIR)
def test_table_agrees_with_wavelengths_in_air(name):
    vacuum = air_to_vacuum(AIR[name])
    assert SPECTRAL_LINES[name].wavelength == pytest.approx(vacuum, abs=0.035)


def test_air_to_vacuum_agrees_with_ciddor():
    # Ciddor (1996, Applied Optics 35, 1566), eq. 1: an independent dispersion formula.
    vacuum = np.linspace(3000.0, 10000.0, 200)
    squared = (1e4 / vacuum) ** 2
    index = 1 + 0.05792105 / (238.0185 - squared) + 0.00167917 / (57.362 - squared)
    np.testing.assert_allclose(air_to_vacuum(vacuum / index), vacuum, atol=3e-3)


@pytest.mark.parametrize("bad", [1215.67, np.nan, [5000.0, np.inf]])
def test_air_to_vacuum_refuses(bad):
    with pytest.raises(ValueError, match="at least 2000"):
        air_to_vacuum(bad)


def test_hydrogen_lines_follow_rydberg():
    for name, upper in {"H alpha": 3, "H beta": 4, "H delta": 6, "H 9": 9}.items():
        tabulated = SPECTRAL_LINES[name].wavelength
        assert tabulated == pytest.approx(hydrogen_wavelength(2, upper), abs=0.11)


def test_table_is_complete():
    assert len(SPECTRAL_LINES) > 50
    for name, line in SPECTRAL_LINES.items():
        assert line.name == name
        assert line.source in LINE_SOURCES
        assert set(line.targets) <= {"STAR", "GALAXY", "QSO"}
        assert 1000 < line.wavelength < 10000
    # Names that carry a wavelength carry that of the line, within a doublet.
    for name, line in SPECTRAL_LINES.items():
        number = name.split()[-1]
        if number.isdigit() and int(number) > 100:
            assert abs(int(number) - line.wavelength) < 1.0


@pytest.mark.parametrize("target", ["STAR", "GALAXY", "QSO"])
def test_lines_of(target):
    found = lines_of(target)
    wavelengths = [line.wavelength for line in found]
    assert wavelengths == sorted(wavelengths)
    assert all(target in line.targets for line in found)
    assert len(found) >= 15


def test_lines_of_refuses_other_classes():
    with pytest.raises(ValueError, match="STAR, GALAXY, QSO; got 'PLANET'"):
        lines_of("PLANET")


def test_private_tables_are_in_order():
    for table in (
        read_table("stellar_lines.csv")["neutral_metals"],
        read_table("stellar_lines.csv")["ionized_metals"],
        *SKY_LINES.values(),
    ):
        wavelengths = [wavelength for wavelength, _ in table]
        assert wavelengths == sorted(wavelengths)
        assert all(strength > 0 for _, strength in table)


def test_green_sky_line_is_in_vacuum():
    ((wavelength, intensity),) = SKY_LINES["oxygen green"]
    assert wavelength == pytest.approx(air_to_vacuum(5577.339), abs=0.01)
    optical = [i for name, rows in SKY_LINES.items() for w, i in rows if w < 8000]
    assert intensity == max(optical)
