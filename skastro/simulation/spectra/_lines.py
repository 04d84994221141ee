# SPDX-License-Identifier: BSD-3-Clause
"""Named spectral lines with vacuum wavelengths and their sources."""

from typing import NamedTuple

from skastro.simulation.spectra._tables import read_rows


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
        Key of `~skastro.simulation.LINE_SOURCES`.

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

_TARGETS = ("STAR", "GALAXY", "QSO")

#: Named lines by name, all wavelengths in vacuum; see :class:`SpectralLine`.
SPECTRAL_LINES: dict[str, SpectralLine] = {
    name: SpectralLine(name, float(wavelength), tuple(targets.split()), label, source)
    for name, wavelength, targets, label, source in read_rows("spectral_lines.csv")
}


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
    if target not in _TARGETS:
        raise ValueError(
            f"target must be one of {', '.join(_TARGETS)}; got {target!r}."
        )
    found = [line for line in SPECTRAL_LINES.values() if target in line.targets]
    return sorted(found, key=lambda line: line.wavelength)
