# SPDX-License-Identifier: BSD-3-Clause
"""Named spectral lines with vacuum wavelengths and their sources."""

from typing import NamedTuple


class SpectralLine(NamedTuple):
    """A spectral line for figures and simulations.

    Parameters
    ----------
    name : str
        Species and, if a species has several lines, the vacuum wavelength in whole Å;
        ions in Roman numerals, forbidden lines in brackets.
    wavelength : float
        Rest wavelength in vacuum, in Å. Blends have their mean.
    targets : tuple of str
        The classes, out of "STAR", "GALAXY" and "QSO", in which the line is prominent.
    label : str
        Short label for figures, in matplotlib's mathtext.
    source : str
        Key of `LINE_SOURCES`.

    Examples
    --------
    >>> from skastro.simulation import SPECTRAL_LINES
    >>> SPECTRAL_LINES["Ly alpha"].wavelength
    1215.67
    """

    name: str
    wavelength: float
    targets: tuple[str, ...]
    label: str
    source: str


LINE_SOURCES: dict[str, str] = {
    "NIST": "Kramida, A. et al., NIST Atomic Spectra Database (version 5), "
    "doi:10.18434/T4W30F; wavelengths in air converted by Morton (2000, ApJS 130, "
    "403), doi:10.1086/317349",
    "M03": "Morton, D. C. 2003, ApJS 149, 205, doi:10.1086/377639 (vacuum)",
    "SDSS": "Line list of the SDSS spectroscopic pipelines: Stoughton, C. et al. 2002, "
    "AJ 123, 485, doi:10.1086/324741 (vacuum)",
    "VB01": "Vanden Berk, D. E. et al. 2001, AJ 122, 549, doi:10.1086/321167, table 2 "
    "(vacuum, laboratory wavelengths and blends)",
}

_STAR, _GALAXY, _QSO = ("STAR",), ("GALAXY",), ("QSO",)
_OLD = ("STAR", "GALAXY")
_GAS = ("GALAXY", "QSO")
_ALL = ("STAR", "GALAXY", "QSO")

_LINES = (
    # Ultraviolet: quasars.
    SpectralLine("Ly beta", 1025.72, _QSO, r"Ly$\beta$", "M03"),
    SpectralLine("O VI", 1033.83, _QSO, "O VI", "VB01"),
    SpectralLine("Ly alpha", 1215.67, _QSO, r"Ly$\alpha$", "M03"),
    SpectralLine("N V", 1240.14, _QSO, "N V", "VB01"),
    SpectralLine("O I 1304", 1304.35, _QSO, "O I", "VB01"),
    SpectralLine("C II 1335", 1335.30, _QSO, "C II", "VB01"),
    SpectralLine("Si IV", 1396.76, _QSO, "Si IV", "VB01"),
    SpectralLine("C IV", 1549.06, _QSO, "C IV", "VB01"),
    SpectralLine("He II 1640", 1640.42, _QSO, "He II", "VB01"),
    SpectralLine("O III] 1663", 1663.48, _QSO, "O III]", "VB01"),
    SpectralLine("Al III", 1857.40, _QSO, "Al III", "VB01"),
    SpectralLine("C III]", 1908.73, _QSO, "C III]", "VB01"),
    SpectralLine("C II] 2326", 2326.44, _QSO, "C II]", "VB01"),
    SpectralLine("Mg II 2796", 2796.35, (), "Mg II", "M03"),
    SpectralLine("Mg II", 2798.75, _QSO, "Mg II", "VB01"),
    SpectralLine("Mg II 2803", 2803.53, (), "Mg II", "M03"),
    # Nebular emission.
    SpectralLine("[Ne V] 3347", 3346.79, _QSO, "[Ne V]", "SDSS"),
    SpectralLine("[Ne V] 3427", 3426.85, _QSO, "[Ne V]", "SDSS"),
    SpectralLine("[O II] 3727", 3727.09, _GAS, "[O II]", "SDSS"),
    SpectralLine("[O II] 3730", 3729.88, _GAS, "[O II]", "SDSS"),
    SpectralLine("[Ne III] 3870", 3869.86, _GAS, "[Ne III]", "SDSS"),
    SpectralLine("[O III] 4364", 4364.44, _GAS, "[O III]", "SDSS"),
    SpectralLine("He II 4687", 4687.02, _GAS, "He II", "NIST"),
    SpectralLine("[O III] 4960", 4960.30, _GAS, "[O III]", "SDSS"),
    SpectralLine("[O III] 5008", 5008.24, _GAS, "[O III]", "SDSS"),
    SpectralLine("He I 5877", 5877.24, _GAS, "He I", "NIST"),
    SpectralLine("[O I] 6302", 6302.05, _GAS, "[O I]", "SDSS"),
    SpectralLine("[N II] 6550", 6549.86, _GAS, "[N II]", "SDSS"),
    SpectralLine("[N II] 6585", 6585.27, _GAS, "[N II]", "SDSS"),
    SpectralLine("[S II] 6718", 6718.29, _GAS, "[S II]", "SDSS"),
    SpectralLine("[S II] 6733", 6732.68, _GAS, "[S II]", "SDSS"),
    SpectralLine("[Ar III] 7138", 7137.76, _GAS, "[Ar III]", "NIST"),
    SpectralLine("[S III] 9071", 9071.09, _GAS, "[S III]", "NIST"),
    # Hydrogen: absorption in stars, emission in gas.
    SpectralLine("H alpha", 6564.61, _ALL, r"H$\alpha$", "SDSS"),
    SpectralLine("H beta", 4862.68, _ALL, r"H$\beta$", "SDSS"),
    SpectralLine("H gamma", 4341.68, _ALL, r"H$\gamma$", "SDSS"),
    SpectralLine("H delta", 4102.89, _ALL, r"H$\delta$", "SDSS"),
    SpectralLine("H epsilon", 3971.20, _STAR, r"H$\epsilon$", "SDSS"),
    SpectralLine("H 8", 3890.15, _STAR, "H8", "SDSS"),
    SpectralLine("H 9", 3836.48, _STAR, "H9", "NIST"),
    SpectralLine("H 10", 3798.99, _STAR, "H10", "NIST"),
    # Absorption of stellar atmospheres.
    SpectralLine("Ca II K", 3934.78, _OLD, "Ca K", "M03"),
    SpectralLine("Ca II H", 3969.59, _OLD, "Ca H", "M03"),
    SpectralLine("Ca I 4228", 4227.92, _STAR, "Ca I", "NIST"),
    SpectralLine("G band", 4305.61, _OLD, "G", "SDSS"),
    SpectralLine("He I 4473", 4472.73, (), "He I", "NIST"),
    SpectralLine("Mg I 5169", 5168.76, _OLD, "Mg b", "NIST"),
    SpectralLine("Mg I 5174", 5174.13, _OLD, "Mg b", "NIST"),
    SpectralLine("Mg I 5185", 5185.05, _OLD, "Mg b", "NIST"),
    SpectralLine("Fe I 5271", 5271.00, _OLD, "Fe", "NIST"),
    SpectralLine("Na I D2", 5891.58, _OLD, "Na D", "M03"),
    SpectralLine("Na I D1", 5897.56, _OLD, "Na D", "M03"),
    SpectralLine("K I 7667", 7667.01, (), "K I", "M03"),
    SpectralLine("K I 7701", 7701.08, (), "K I", "M03"),
    SpectralLine("Na I 8186", 8185.51, (), "Na I", "NIST"),
    SpectralLine("Na I 8197", 8197.08, (), "Na I", "NIST"),
    SpectralLine("Ca II 8500", 8500.36, _OLD, "Ca T", "SDSS"),
    SpectralLine("Ca II 8544", 8544.44, _OLD, "Ca T", "SDSS"),
    SpectralLine("Ca II 8665", 8664.52, _OLD, "Ca T", "SDSS"),
)

#: Named lines by name, all wavelengths in vacuum; see :class:`SpectralLine`.
SPECTRAL_LINES: dict[str, SpectralLine] = {line.name: line for line in _LINES}


def lines_of(target: str) -> list[SpectralLine]:
    """List the prominent lines of a class of objects, in order of wavelength.

    Parameters
    ----------
    target : {"STAR", "GALAXY", "QSO"}
        The class.

    Returns
    -------
    lines : list of SpectralLine
        Lines whose `targets` contain the class.

    Raises
    ------
    ValueError
        If the class is not one of the three.

    Examples
    --------
    >>> from skastro.simulation import lines_of
    >>> [line.name for line in lines_of("QSO")][:3]
    ['Ly beta', 'O VI', 'Ly alpha']
    """
    if target not in _ALL:
        raise ValueError(f"target must be one of {', '.join(_ALL)}; got {target!r}.")
    found = [line for line in _LINES if target in line.targets]
    return sorted(found, key=lambda line: line.wavelength)
