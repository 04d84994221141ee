# SPDX-License-Identifier: BSD-3-Clause
from .galaxy import GalaxyClassifier as GalaxyClassifier
from .galaxy import GalaxyRegressor as GalaxyRegressor
from .meta import EnsembleClassifier as EnsembleClassifier
from .meta import EnsembleRegressor as EnsembleRegressor
from .meta import RejectingClassifier as RejectingClassifier
from .redshift import ZWARNING as ZWARNING
from .redshift import RedshiftRegressor as RedshiftRegressor
from .spectrum import SpectrumClassifier as SpectrumClassifier
from .spectrum import SpectrumRegressor as SpectrumRegressor
from .vae import VAETransformer as VAETransformer
