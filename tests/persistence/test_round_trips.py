# SPDX-License-Identifier: BSD-3-Clause
"""What save_model writes, load_model gives back, bit for bit."""

import os
import pickle
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units
from imblearn.over_sampling import SMOTE, RandomOverSampler
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch, KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from tiny_estimators import make_tiny, public_estimators
from torch import nn

import skastro
from skastro import (
    EnsembleClassifier,
    EnsembleRegressor,
    GalaxyClassifier,
    MinMaxSpectra,
    NoiseAugmenter,
    NoiseResampler,
    Pipeline,
    RebinSpectra,
    RedshiftRegressor,
    RejectingClassifier,
    SEVIRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
    StandardizeSpectra,
    VAETransformer,
    load_model,
    make_pipeline,
    save_model,
)
from skastro.augmentation import GaussianNoise
from skastro.sevi import make_sevi
from skastro.training import CosineCycles

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* do not look like counts of electrons"
)
METHODS = ("predict", "predict_proba", "score_samples", "transform", "predict_pdf")


def outputs_of(model, X):
    """Return what all methods of prediction give, by name."""
    outputs = {
        name: getattr(model, name)(X) for name in METHODS if hasattr(model, name)
    }
    return {name: np.asarray(value) for name, value in outputs.items()}


def same_text(model):
    """Show the parameters, but for the addresses of objects in them."""
    return re.sub(r"at 0x\w+", "", repr(model), flags=re.IGNORECASE)


def check_round_trip(model, X, folder, **options):
    save_model(model, folder / "model.skastro")
    loaded = load_model(folder / "model.skastro", **options)
    assert type(loaded) is type(model)
    expected, found = outputs_of(model, X), outputs_of(loaded, X)
    assert expected
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    return loaded


@pytest.fixture(scope="module")
def data():
    """Make 60 spectra of 24 pixels, of two classes, with numbers and colors of them."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(5, 1, size=(60, 24))
    X[y == 1, 6:12] += 1.5
    return X.astype(np.float32), np.array(["GALAXY", "STAR"])[y]


def net(*module, **params):
    return make_tiny(SpectrumClassifier, *module, **{"max_epochs": 2, **params})


# Estimators and pipelines -------------------------------------------------------------


@pytest.mark.parametrize("cls", public_estimators(), ids=lambda cls: cls.__name__)
def test_public_estimators(cls, data, tmp_path):
    X, y = data
    model = make_tiny(cls)
    if cls is SEVIRegressor or cls.__name__.startswith("Galaxy"):
        sevi = make_sevi(60, size=16, n_electrons=1e4, random_state=0)
        X = (
            sevi.images
            if cls is SEVIRegressor
            else sevi.images[..., None].repeat(3, -1)
        )
    if cls.__name__.endswith("Regressor"):
        y = np.linspace(-0.5, 1, len(X))
    if hasattr(model, "fit_resample"):
        # A sampler has no state but its parameters.
        model = Pipeline([("sampler", model), ("net", net())])
    if "max_epochs" in model.get_params():
        model.set_params(max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    loaded = check_round_trip(model, X[:9], tmp_path)
    assert repr(loaded) == repr(model)


def mixed():
    columns = [("blue", StandardScaler(), slice(0, 12)), ("red", PCA(3), slice(12, 24))]
    return ColumnTransformer(columns)


PIPELINES = {
    "own steps": lambda: make_pipeline(StandardizeSpectra(), MinMaxSpectra(), net()),
    "scaler and components": lambda: PlainPipeline(
        [("scale", StandardScaler()), ("pca", PCA(5)), ("net", net())]
    ),
    "columns": lambda: make_pipeline(mixed(), net()),
    "net in columns": lambda: make_pipeline(
        ColumnTransformer(
            [
                ("vae", make_tiny(VAETransformer, max_epochs=1), slice(0, 24)),
                ("rest", "passthrough", slice(0, 3)),
            ]
        ),
        LogisticRegression(),
    ),
    "union": lambda: make_pipeline(
        FeatureUnion([("pca", PCA(2)), ("own", MinMaxSpectra())]), net()
    ),
    "samplers": lambda: Pipeline(
        [
            ("balance", RandomOverSampler(random_state=0)),
            ("smote", SMOTE(random_state=0)),
            ("noise", NoiseResampler(random_state=0)),
            ("augment", NoiseAugmenter(random_state=0)),
            ("net", net(sampler="balanced")),
        ]
    ),
    "rejecting": lambda: RejectingClassifier(
        make_pipeline(MinMaxSpectra(), net(calibrate=True, max_epochs=3))
    ),
    "ensemble": lambda: EnsembleClassifier(net(), n_estimators=3, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(net(), cv=2),
    "components and clusters": lambda: make_pipeline(
        make_tiny(VAETransformer, max_epochs=1),
        KMeans(3, n_init=2, random_state=0),
    ),
    "search": lambda: GridSearchCV(
        make_pipeline(MinMaxSpectra(), net()),
        {"spectrumclassifier__lr": [1e-2, 1e-3]},
        cv=KFold(2),
    ),
    "stacking": lambda: StackingClassifier(
        [("net", net()), ("forest", RandomForestClassifier(3, random_state=0))],
        final_estimator=LogisticRegression(),
        cv=2,
    ),
    "forest": lambda: make_pipeline(
        MinMaxSpectra(), RandomForestClassifier(4, random_state=0)
    ),
    "boosting": lambda: make_pipeline(
        SelectKBest(f_classif, k=8), HistGradientBoostingClassifier(max_iter=3)
    ),
    "neighbors": lambda: make_pipeline(MinMaxSpectra(), KNeighborsClassifier(3)),
    "support vectors": lambda: make_pipeline(StandardScaler(), SVC()),
    "logarithm": lambda: make_pipeline(FunctionTransformer(np.abs), net()),
    "rebinned": lambda: make_pipeline(
        RebinSpectra(
            np.linspace(4000, 5000, 24) * units.Angstrom,
            new_wavelength=np.linspace(410, 490, 20) * units.nm,
            medium="air",
        ),
        net(),
    ),
    "callbacks": lambda: net(
        callbacks=[
            ("stop", EarlyStopping(patience=5)),
            ("score", EpochScoring("f1_macro", name="f1")),
        ],
        callbacks__stop__threshold=1e-3,
        augment=GaussianNoise(0.1),
        schedule=CosineCycles(2),
        class_weight={"GALAXY": 1.0, "STAR": 2.0},
        criterion=nn.CrossEntropyLoss,
        criterion__label_smoothing=0.1,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        random_state=np.random.RandomState(3),
    ),
    "warm": lambda: net(warm_start=True, verbose=0),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name, data, tmp_path):
    X, y = data
    model = PIPELINES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    loaded = check_round_trip(model, X[:9], tmp_path)
    assert same_text(loaded) == same_text(model)


def test_regressors(data, tmp_path):
    X, _ = data
    y = X[:, :2].astype(np.float64)
    kernel = RBF() + WhiteKernel()
    tiny = make_tiny(SpectrumRegressor, max_epochs=2)
    check_round_trip(EnsembleRegressor(tiny, 2, random_state=0).fit(X, y), X, tmp_path)
    check_round_trip(TransformedTargetRegressor(tiny).fit(X, y), X, tmp_path)
    model = make_pipeline(PCA(2), GaussianProcessRegressor(kernel)).fit(X, y[:, 0])
    check_round_trip(model, X, tmp_path)


@pytest.mark.parametrize("name", ["sevi-1shell", "sevi-2shell"])
def test_pretrained(name, tmp_path):
    images = make_sevi(1, size=256, n_electrons=1e4, random_state=0).images
    model = SEVIRegressor.from_pretrained(name, refine=False, verbose=0)
    check_round_trip(model, images, tmp_path)


def test_pixels_as_bytes(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, size=(30, 16, 16, 3), dtype=np.uint8)
    model = make_tiny(GalaxyClassifier, max_epochs=1, stretch="asinh", tta="rotations")
    check_round_trip(model.fit(X, np.arange(30) % 3), X[:5], tmp_path)


@pytest.mark.filterwarnings("ignore:Two epochs")
def test_another_process_predicts_the_same(data, tmp_path):
    X, y = data
    model = PIPELINES["rejecting"]().fit(X, y)
    save_model(model, tmp_path / "model.skastro")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, torch; from skastro import load_model;"
        "torch.set_num_threads(1); folder = sys.argv[1];"
        "model = load_model(folder + '/model.skastro');"
        "np.save(folder + '/p.npy', model.predict_proba(np.load(folder + '/X.npy')))"
    )
    root = str(Path(skastro.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), model.predict_proba(X))


# What users add ----------------------------------------------------------------------


class Perceptron(nn.Module):
    """A network that is told its sizes."""

    def __init__(self, input_size, n_outputs, width=5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(input_size, width), nn.Linear(width, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


class Fixed(nn.Module):
    """A network that takes X as it is, and is told nothing."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 2)

    def forward(self, x):
        return self.layer(x)


class Scaler(TransformerMixin, BaseEstimator):
    """A step of a user's own."""

    def __init__(self, shift=0.0, power=1.0):
        self.shift = shift
        self.power = power

    def fit(self, X, y=None):
        self.scale_ = np.abs(X).max()
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return (X / self.scale_ + self.shift) ** self.power


class Classifier(SpectrumClassifier):
    """A classifier of a user's own, with an ``__init__`` of its own."""

    def __init__(self, module="mlp", *, extra=1, **kwargs):
        super().__init__(module, **kwargs)
        self.extra = extra


class Silent(EarlyStopping):
    """A callback of a user's own."""


def double(X):
    return 2 * X


OWN = {
    "network": (lambda: net(Perceptron, module__width=7), Perceptron),
    "network without sizes": (lambda: net(Fixed), Fixed),
    "instance": (lambda: net(Perceptron(24, 2)), Perceptron(24, 2)),
    "instance of torch": (
        lambda: net(nn.Sequential(nn.Linear(24, 2))),
        nn.Sequential(nn.Linear(24, 2)),
    ),
    "step": (lambda: make_pipeline(Scaler(power=2.0), net()), Scaler),
    "function": (lambda: make_pipeline(FunctionTransformer(double), net()), double),
    "estimator": (
        lambda: make_tiny(Classifier, "mlp", max_epochs=2, extra=3, verbose=0),
        Classifier,
    ),
    "several": (
        lambda: make_pipeline(Scaler(), net(Perceptron, callbacks=[Silent()])),
        [Silent, Perceptron, Scaler],
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_own_classes_are_given(name, data, tmp_path):
    X, y = data
    make, module = OWN[name]
    model = make().fit(X, y)
    check_round_trip(model, X, tmp_path, module=module)
    named = module[-1] if isinstance(module, list) else module
    if isinstance(named, nn.Module):
        named = type(named)
    with pytest.raises(ValueError, match=f"needs {named.__qualname__}, which is not"):
        load_model(tmp_path / "model.skastro")


def test_given_instances_are_left_alone(data, tmp_path):
    X, y = data
    model = net(Perceptron(24, 2)).fit(X, y)
    save_model(model, tmp_path / "model.skastro")
    given = Perceptron(24, 2)
    before = given.layers[1].weight.clone()
    load_model(tmp_path / "model.skastro", given)
    torch.testing.assert_close(given.layers[1].weight, before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_pipeline(FunctionTransformer(lambda X: X), net()), r"func is a lambda"),
        (net(augment=lambda X: X), r"SpectrumClassifier\.augment is a lambda"),
        (make_pipeline(Birch(n_clusters=2)), r"_CFSubcluster, cannot be written"),
    ],
)
def test_what_cannot_be_written(model, message, data, tmp_path):
    X, y = data
    model.fit(X, y)
    with pytest.raises(TypeError, match=message):
        save_model(model, tmp_path / "model.skastro")
    assert os.listdir(tmp_path) == []


# What a loaded model can do -----------------------------------------------------------


def test_loaded_models_are_ordinary(data, tmp_path):
    X, y = data
    model = net(max_epochs=4).fit(X, y)
    loaded = check_round_trip(model, X, tmp_path)
    assert loaded.history == model.history
    assert loaded.training_data_ == model.training_data_
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    check_round_trip(loaded, X, tmp_path)
    # The same seed gives the same weights.
    for one in (model, loaded):
        one.fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_training_goes_on(data, tmp_path):
    X, y = data
    stop = EarlyStopping(patience=1, threshold=0.5, monitor="train_loss")
    model = net(max_epochs=3, schedule=None, callbacks=[("stop", stop)]).fit(X, y)
    save_model(model, tmp_path / "model.skastro")
    loaded = load_model(tmp_path / "model.skastro")
    n_epochs = len(loaded.history)
    loaded.partial_fit(X, y)
    assert len(loaded.history) > n_epochs
    assert "stop" in dict(loaded.callbacks_)
    assert len(loaded.training_data_) == 2


def test_opening_makes_no_folders_and_reads_no_backbone(data, tmp_path):
    X, y = data
    resnet = {"module": "resnet10", "module__width": 4}
    first = net(**resnet).fit(X, y)
    first.save_params(tmp_path / "first.pt")
    folder = tmp_path / "checkpoints"
    model = net(
        **resnet,
        backbone=tmp_path / "first.pt",
        callbacks=[Checkpoint(dirname=folder, monitor=None)],
    ).fit(X, y)
    save_model(model, tmp_path / "model.skastro")
    for path in [*folder.iterdir(), tmp_path / "first.pt"]:
        path.unlink()
    folder.rmdir()
    with pytest.raises(ValueError, match="needs Checkpoint"):
        load_model(tmp_path / "model.skastro")
    loaded = load_model(tmp_path / "model.skastro", Checkpoint)
    assert not folder.exists()
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_device_is_replaced(data, tmp_path):
    X, y = data
    model = make_pipeline(MinMaxSpectra(), net(device=None).fit(X, y)).fit(X, y)
    model[-1].device = "cuda:7"
    save_model(model, tmp_path / "model.skastro")
    loaded = load_model(tmp_path / "model.skastro", device="cpu")
    assert loaded[-1].device == "cpu"
    assert loaded.predict(X).shape == y.shape


def test_random_numbers_are_left_alone(data, tmp_path):
    X, y = data
    save_model(net(random_state=None).fit(X, y), tmp_path / "model.skastro")
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    load_model(tmp_path / "model.skastro")
    drawn = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    assert (torch.rand(1), np.random.rand()) == drawn  # noqa: NPY002


def test_what_is_not_fitted_is_refused(tmp_path):
    for model in (net(), make_pipeline(MinMaxSpectra(), net())):
        with pytest.raises(NotFittedError):
            save_model(model, tmp_path / "model.skastro")
    with pytest.raises(TypeError, match="got SpectrumClassifier"):
        save_model(SpectrumClassifier, tmp_path / "model.skastro")
    with pytest.raises(TypeError, match="got dict"):
        save_model({}, tmp_path / "model.skastro")


def test_an_older_file_stays(data, tmp_path):
    X, y = data
    path = tmp_path / "model.skastro"
    save_model(net().fit(X, y), path)
    before = path.read_bytes()
    broken = make_pipeline(FunctionTransformer(lambda X: X), net()).fit(X, y)
    with pytest.raises(TypeError, match="lambda"):
        save_model(broken, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.skastro"]


def test_wavelengths_of_fit_go_before_the_parameter(data, tmp_path):
    X, _ = data
    grids = [np.linspace(low, 8000, 24).tolist() for low in (4000, 4500)]
    settings = {"refine": False, "redshift": {"GALAXY": [0.0, 0.02]}, "max_epochs": 1}
    model = make_tiny(RedshiftRegressor, wavelength=grids[0], **settings)
    model.fit(X, np.linspace(0, 0.02, len(X)), wavelength=grids[1])
    loaded = check_round_trip(model, X, tmp_path)
    np.testing.assert_array_equal(loaded.wavelength_, grids[1])
    model.save_params(tmp_path / "params.pt")
    other = make_tiny(RedshiftRegressor, wavelength=grids[0], **settings)
    with pytest.raises(ValueError, match="24 pixels, 4500 to 8000 Å, but wavelength"):
        other.load_params(tmp_path / "params.pt")


class Shifted(nn.Module):
    """A network that keeps more than its state dict holds."""

    def __init__(self, n_outputs=2):
        super().__init__()
        self.layer = nn.Linear(24, n_outputs)
        self.register_buffer("shift", torch.randn(24), persistent=False)

    def forward(self, x):
        return self.layer(x.flatten(1) + self.shift)


class Tied(nn.Module):
    """A network of two layers with one weight, which is not contiguous."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(24, 24)
        self.first.weight = nn.Parameter(torch.randn(24, 24).T)
        self.second = nn.Linear(24, 24)
        self.second.weight = self.first.weight
        self.last = nn.Linear(24, 2)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


class Lossy(SpectrumClassifier):
    """A classifier that keeps something under a name that is no learned one."""

    def fit(self, X, y=None, **fit_params):
        self.offset = 3
        return super().fit(X, y, **fit_params)


def test_what_a_file_would_lose_is_refused(data, tmp_path):
    X, y = data
    path = tmp_path / "model.skastro"
    with pytest.raises(ValueError, match="Shifted does not give what it gave"):
        save_model(net(Shifted).fit(X, y), path)
    lossy = make_tiny(Lossy, "mlp", max_epochs=1, verbose=0).fit(X, y)
    with pytest.raises(TypeError, match="Lossy has offset, which is neither"):
        save_model(lossy, path)
    split = predefined_split(Dataset(X, np.arange(60) % 2))
    model = net().fit(X, y)
    model.train_split = split
    with pytest.raises(TypeError, match="Dataset, which holds samples"):
        save_model(model, path)
    assert os.listdir(tmp_path) == []


def test_layers_with_one_weight(data, tmp_path):
    X, y = data
    check_round_trip(net(Tied).fit(X, y), X, tmp_path, module=Tied)


def test_another_class_of_the_name_is_noticed(data, tmp_path):
    X, y = data
    save_model(net(Fixed).fit(X, y), tmp_path / "model.skastro")

    class Other(Fixed):
        def forward(self, x):
            return self.layer(torch.tanh(x))

    Other.__qualname__ = "Fixed"
    with pytest.raises(ValueError, match="Other does not give what it gave"):
        load_model(tmp_path / "model.skastro", Other)


def test_settings_of_many_kinds(data, tmp_path):
    X, y = data
    wavelength = np.linspace(4000, 7000, 24)
    for grid in (wavelength * units.Angstrom, range(4000, 6400, 100)):
        check_round_trip(net(wavelength=grid).fit(X, y), X, tmp_path)
    with config_context(enable_metadata_routing=True):
        weighted = net().set_fit_request(sample_weight=True)
        scaled = StandardScaler().set_fit_request(sample_weight=True)
        pipe = make_pipeline(scaled, weighted)
        pipe.fit(X, y, sample_weight=np.ones(60))
        loaded = check_round_trip(pipe, X, tmp_path)
        # Both steps still take the weights: refused otherwise.
        loaded.fit(X, y, sample_weight=np.ones(60))
    partial_step = FunctionTransformer(partial(double))
    pipe = make_pipeline(partial_step, net()).fit(X, y)
    check_round_trip(pipe, X, tmp_path, module=double)
    spaces = {"lr": loguniform(1e-3, 1e-2), "module__hidden": [(4,), (5, 6)]}
    search = RandomizedSearchCV(net(), spaces, n_iter=2, cv=2, random_state=0)
    loaded = check_round_trip(search.fit(X, y), X, tmp_path)
    assert loaded.cv_results_["params"] == search.cv_results_["params"]


def test_devices_that_are_not_there(data, tmp_path):
    X, y = data
    model = net().fit(X, y)
    model.device = "cuda:7"
    save_model(model, tmp_path / "model.skastro")
    with pytest.raises(ValueError, match=r"cuda:7.*load_model\(path, device='cpu'\)"):
        load_model(tmp_path / "model.skastro")
    with pytest.raises(ValueError, match="no device that torch knows"):
        load_model(tmp_path / "model.skastro", device="gpu")
