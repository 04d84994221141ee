# SPDX-License-Identifier: BSD-3-Clause
from .estimators import EnsembleClassifier as EnsembleClassifier
from .estimators import EnsembleRegressor as EnsembleRegressor
from .estimators import GalaxyClassifier as GalaxyClassifier
from .estimators import GalaxyRegressor as GalaxyRegressor
from .estimators import RedshiftRegressor as RedshiftRegressor
from .estimators import RejectingClassifier as RejectingClassifier
from .estimators import SpectrumClassifier as SpectrumClassifier
from .estimators import SpectrumRegressor as SpectrumRegressor
from .estimators import VAETransformer as VAETransformer
from .persistence import load_model as load_model
from .persistence import model_card as model_card
from .persistence import save_model as save_model
from .pipeline import Pipeline as Pipeline
from .pipeline import make_pipeline as make_pipeline
from .preprocessing import CropPadImages as CropPadImages
from .preprocessing import MinMaxSpectra as MinMaxSpectra
from .preprocessing import RebinSpectra as RebinSpectra
from .preprocessing import StandardizeSpectra as StandardizeSpectra
from .resampling import NoiseAugmenter as NoiseAugmenter
from .resampling import NoiseResampler as NoiseResampler
from .sevi import SEVIRegressor as SEVIRegressor

__version__: str
