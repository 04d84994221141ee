# SPDX-License-Identifier: BSD-3-Clause
"""GalSim, which only those who simulate images of galaxies need."""

from types import ModuleType


def import_galsim() -> ModuleType:
    """Import GalSim, or say how to get it.

    Returns
    -------
    galsim : module
        GalSim (Rowe, B. T. P. et al. 2015, Astronomy and Computing 10, 121,
        doi:10.1016/j.ascom.2015.02.002).

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import galsim
    except ImportError as error:
        raise ImportError(
            "Images of galaxies are simulated by GalSim, which is not installed; "
            'install it with pip install "skastro[sim]".'
        ) from error
    return galsim
