# SPDX-License-Identifier: BSD-3-Clause
"""
Stellar parameters across two surveys
=====================================

A network learns temperatures, gravities and metallicities from the spectra of one
survey, and measures stars of another one, which has other pixels. The result is a
catalog with error bars. :ref:`measuring` has results for real stars.
"""

# %%
# Two surveys
# -----------
# Both are simulated, with the pixels, the resolution and the noise of LAMOST and SDSS.
# :func:`~skastro.datasets.read_spectra` reads real ones.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skastro import RebinSpectra, SpectrumRegressor, make_pipeline
from skastro.datasets import make_spectra
from skastro.inspection import MeasurementDisplay
from skastro.streaming import to_catalog

TARGETS = ["Teff (K)", "log g (dex)", "[Fe/H] (dex)"]


def make_stars(n_stars: int, instrument: str, random_state: int) -> tuple:
    """Simulate stars, and return those below 8000 K with their parameters."""
    stars = make_spectra(
        n_stars,
        instrument=instrument,
        class_proportions={"STAR": 1},
        snr=(20, 100),
        random_state=random_state,
    )
    y = np.column_stack([stars.teff, stars.logg, stars.feh])
    cool = stars.teff < 8000
    return stars.flux[cool], stars.wavelength, y[cool]


flux, wavelength, y = make_stars(1200, "lamost", 0)
X, X_test, y, y_test = train_test_split(flux, y, test_size=0.25, random_state=0)

# %%
# Training
# --------
# The first step brings all spectra to the same pixels and medium, and convolves sharper
# ones where they state their resolution. Of the temperature the logarithm is measured.

pipe = make_pipeline(
    RebinSpectra(wavelength, np.arange(3900, 8900, 5), medium="vacuum"),
    SpectrumRegressor(
        log_target=[True, False, False], max_epochs=15, random_state=0, verbose=0
    ),
)
pipe.fit(X, y)
MeasurementDisplay.from_estimator(pipe, X_test, y_test, target_names=TARGETS)

# %%
# The other survey
# ----------------
# Error bars know nothing of what else differs between surveys, and are too small here
# for the metallicity: test them on stars with known parameters.

new, other_wavelength, known = make_stars(300, "sdss", 1)
rebinned = pipe[0].transform({"flux": new, "wavelength": other_wavelength})
MeasurementDisplay.from_estimator(pipe[1], rebinned, known, target_names=TARGETS)
plt.show()

# %%
# The columns ``value_0`` to ``value_2`` are those of the targets.

catalog = to_catalog(pipe[1], rebinned)
catalog.round(3)
catalog.pprint(max_lines=10, max_width=-1)
