# SPDX-License-Identifier: BSD-3-Clause
"""Subclasses with constructors, parts and steps of their own, as in skorch's guides."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.utils.data import Dataset

from skastro import SpectrumClassifier
from skastro.base import BaseClassifier, BaseRegressor

QUICK = {"max_epochs": 3, "lr": 1e-2, "random_state": 0, "verbose": 0, "device": "cpu"}


class OtherDefaults(SpectrumClassifier):
    """Other defaults, everything else upward."""

    def __init__(self, module="mlp", max_epochs=8, random_state=0, verbose=0, **kwargs):
        super().__init__(
            module,
            max_epochs=max_epochs,
            random_state=random_state,
            verbose=verbose,
            **kwargs,
        )


class Fixed(SpectrumClassifier):
    """Parameters that the constructor sets itself."""

    def __init__(self, **kwargs):
        super().__init__("mlp", max_epochs=3, module__hidden=(4,), **kwargs)


class Positional(SpectrumClassifier):
    """Arguments by position go upward, too."""

    def __init__(self, *args, verbose=0, **kwargs):
        super().__init__(*args, verbose=verbose, **kwargs)


class Derived(SpectrumClassifier):
    """Parameters of the parts that follow from parameters of its own."""

    def __init__(self, width=8, penalty=0.0, n_steps=None, **kwargs):
        super().__init__(
            "mlp",
            module__hidden=(width, width),
            optimizer__weight_decay=penalty,
            **kwargs,
        )
        self.width = width
        self.penalty = penalty
        self.n_steps = n_steps


class NotStored(SpectrumClassifier):
    """A parameter of its own that the constructor does not even store."""

    def __init__(self, module="mlp", *, width=8, **kwargs):
        super().__init__(module, module__hidden=(width,), **kwargs)


class Grandchild(Derived):
    """A subclass of a subclass."""

    def __init__(self, depth=1, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth


class Inherited(Derived):
    """A subclass without a constructor."""


class Closed(SpectrumClassifier):
    """A constructor that passes nothing on but what it names."""

    def __init__(self, max_epochs=2):
        super().__init__(
            "mlp", max_epochs=max_epochs, verbose=0, device="cpu", random_state=0
        )


CLASSES = [
    OtherDefaults,
    Fixed,
    Positional,
    Derived,
    NotStored,
    Grandchild,
    Inherited,
]


@parametrize_with_checks([OtherDefaults(lr=1e-2, device="cpu")])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_parameters_are_those_of_the_constructor_and_its_bases(cls):
    names = set(cls().get_params(deep=False))
    own = set(inspect.signature(cls).parameters) - {"args", "kwargs"}
    assert own <= names
    assert {"lr", "batch_size", "calibrate", "random_state"} <= names
    assert not {"args", "kwargs"} & names


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_fit_clone_pickle_and_repr(spectra, cls):
    X, y = spectra
    net = cls(lr=1e-2, device="cpu", random_state=3, verbose=0)
    net.set_params(batch_size=32, optimizer__eps=1e-7)
    fresh = clone(net)
    assert fresh.get_params(deep=False) == net.get_params(deep=False)
    assert type(fresh) is cls
    net.set_params(max_epochs=2).fit(X, y)
    probability = net.predict_proba(X)
    again = clone(net).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(again, probability)
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.predict_proba(X), probability)
    assert loaded.get_params(deep=False) == net.get_params(deep=False)
    assert repr(net).startswith(f"{cls.__name__}(")
    assert "lr=0.01" in repr(net)
    assert len(net.history) == 2
    assert net.module_.training is False


def test_defaults_of_the_subclass_count():
    net = OtherDefaults()
    assert (net.module, net.max_epochs) == ("mlp", 8)
    assert OtherDefaults(max_epochs=1).max_epochs == 1
    assert OtherDefaults("resnet18").module == "resnet18"
    assert repr(net) == "OtherDefaults()"
    # Those of the base are in place as well.
    assert net.lr == SpectrumClassifier().lr
    assert OtherDefaults(batch_size=7).get_params()["batch_size"] == 7


def test_fixed_parameters_can_be_set_later():
    net = Fixed(lr=0.1)
    assert (net.module, net.max_epochs, net.lr) == ("mlp", 3, 0.1)
    net.set_params(max_epochs=5, module__hidden=(3,))
    fresh = clone(net)
    assert (fresh.max_epochs, fresh.module__hidden) == (5, (3,))
    with pytest.raises(TypeError, match="max_epochs"):
        Fixed(max_epochs=4)


def test_arguments_by_position():
    net = Positional("mlp", lr=0.5)
    assert (net.module, net.lr) == ("mlp", 0.5)
    assert clone(net).module == "mlp"
    assert repr(Positional("mlp")) == "Positional(module='mlp')"


@pytest.mark.parametrize("cls", [Derived, Grandchild, Inherited])
def test_derived_parameters_follow(spectra, cls):
    net = cls(width=3, penalty=0.1, **QUICK)
    assert net.module__hidden == (3, 3)
    net.set_params(width=5)
    assert net.module__hidden == (5, 5)
    assert net.optimizer__weight_decay == 0.1
    assert clone(net).module__hidden == (5, 5)
    # What is set by name stays as it is set.
    net.set_params(width=6, module__hidden=(2,))
    assert (net.width, net.module__hidden) == (6, (2,))
    assert clone(net).module__hidden == (2,)
    net.set_params(penalty=0.2)
    assert (net.module__hidden, net.optimizer__weight_decay) == ((2,), 0.2)
    net.set_params(width=4).fit(*spectra)
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.2
    assert [w.shape[0] for w in net.module_.parameters() if w.ndim == 2] == [4, 4, 2]


def test_set_params_of_an_unstored_parameter():
    net = NotStored(width=3)
    assert net.width == 3
    net.set_params(width=4)
    assert (net.width, net.module__hidden) == (4, (4,))
    assert repr(net) == "NotStored(module__hidden=(4,), width=4)"


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_search_over_own_and_inherited_parameters(spectra, n_jobs):
    grid = {"width": [2, 6], "lr": [1e-2, 1e-9]}
    search = GridSearchCV(Derived(**QUICK), grid, cv=3, n_jobs=n_jobs, refit=True)
    search.fit(*spectra)
    assert search.best_params_["lr"] == 1e-2
    best = search.best_estimator_
    assert best.module__hidden == (best.width,) * 2
    sizes = [w.shape[0] for w in best.module_.parameters() if w.ndim == 2]
    assert sizes == [best.width, best.width, 2]
    search = RandomizedSearchCV(
        make_pipeline(FunctionTransformer(), Grandchild(**QUICK)),
        {"grandchild__width": [2, 3], "grandchild__depth": [1, 2]},
        n_iter=2,
        cv=2,
        random_state=0,
    )
    search.fit(*spectra)
    best = search.best_estimator_[-1]
    assert best.module__hidden == (best.width,) * 2


def test_cross_validation(spectra):
    scores = cross_val_score(OtherDefaults(lr=1e-2, device="cpu"), *spectra, cv=3)
    assert scores.mean() > 0.8


def test_typos_name_parameters_of_the_subclass():
    with pytest.raises(TypeError, match=r"Derived.*'widht'.*did you mean 'width'"):
        Derived(widht=3)
    with pytest.raises(TypeError, match="did you mean 'batch_size'"):
        Grandchild(batchsize=3)
    with pytest.raises(ValueError, match="did you mean 'penalty'"):
        Derived().set_params(penalti=3)
    with pytest.raises(TypeError, match="lr"):
        Closed(lr=3)
    with pytest.raises(ValueError, match=r"Invalid parameter 'lr'.*'max_epochs'"):
        Closed().set_params(lr=3)


def test_closed_constructor(spectra):
    net = Closed(max_epochs=1)
    assert list(net.get_params(deep=False)) == ["max_epochs"]
    net.set_params(max_epochs=2).fit(*spectra)
    assert len(net.history) == 2
    assert len(clone(net).fit(*spectra).history) == 2
    assert net.score(*spectra) > 0.5


def test_values_of_own_parameters_reach_methods(spectra):
    class Clipped(SpectrumClassifier):
        def __init__(self, module="mlp", limit=1.0, **kwargs):
            super().__init__(module, **kwargs)
            self.limit = limit

        def _normalize(self, X):
            return X.clip(-self.limit, self.limit)

    X, y = spectra
    net = Clipped(limit=0.5, **QUICK).fit(X, y)
    assert float(net.module_input(X[:3]).abs().max()) == 0.5
    assert float(clone(net).set_params(limit=0.25).fit(X, y).module_input(X).max()) == (
        0.25
    )


# Parts of one's own -----------------------------------------------------------------


class TwoNetworks(BaseClassifier):
    """An encoder and a decoder, a second criterion and two optimizers."""

    def __init__(self, module, decoder, *args, weight=0.1, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.decoder = decoder
        self.weight = weight

    def initialize_module(self):
        super().initialize_module()
        params = self.get_params_for("decoder")
        self.decoder_ = self.initialized_instance(self.decoder, params)
        return self

    def initialize_criterion(self):
        super().initialize_criterion()
        self.distance_ = nn.MSELoss(**self.get_params_for("distance"))
        return self

    def initialize_optimizer(self):
        super().initialize_optimizer()
        named = self.decoder_.named_parameters()
        args, kwargs = self.get_params_for_optimizer("optimizer", named)
        self.second_ = torch.optim.SGD(*args, lr=kwargs["lr"])
        return self

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        rebuilt = self.decoder_(y_pred)
        return loss + self.weight * self.distance_(rebuilt, self._prepare(X))


class Decoder(nn.Module):
    def __init__(self, length=48, bias=True):
        super().__init__()
        self.fc = nn.Linear(2, length, bias=bias)

    def forward(self, x):
        return self.fc(x)


def two_networks(**params):
    module = nn.Sequential(nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    return TwoNetworks(module, Decoder, **{**QUICK, "schedule": None, **params})


def test_registered_parts_are_trained_and_reported(spectra):
    X, y = spectra
    net = two_networks(decoder__bias=False, distance__reduction="sum").fit(X, y)
    assert {"decoder", "distance", "second"} <= set(net.prefixes_)
    assert net.decoder_.fc.bias is None
    assert net.distance_.reduction == "sum"
    names = [name for name, _ in net.get_all_learnable_params()]
    assert "fc.weight" in names
    start = two_networks(decoder__bias=False, distance__reduction="sum", max_epochs=0)
    start.fit(X, y)
    assert not torch.equal(start.decoder_.fc.weight, net.decoder_.fc.weight)
    assert not net.decoder_.training


def test_registered_parts_are_saved_and_pickled(spectra, tmp_path):
    X, y = spectra
    net = two_networks().fit(X, y)
    net.save_params(tmp_path / "module", f_decoder=tmp_path / "decoder")
    fresh = two_networks().initialize()
    fresh.load_params(tmp_path / "module", f_decoder=tmp_path / "decoder")
    np.testing.assert_array_equal(fresh.predict(X), net.predict(X))
    assert torch.equal(fresh.decoder_.fc.weight, net.decoder_.fc.weight)
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    again = clone(net).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_registered_parts_follow_set_params(spectra):
    net = two_networks().fit(*spectra)
    with pytest.warns(UserWarning, match="what was trained is lost"):
        net.set_params(decoder__bias=False)
    assert net.decoder_.fc.bias is None
    with pytest.raises(ValueError, match="decodr"):
        two_networks().initialize().set_params(decodr__bias=True)
    with pytest.raises(TypeError, match="decodr"):
        two_networks(decodr__bias=True).fit(*spectra)


class Accumulating(SpectrumClassifier):
    """skorch's FAQ: a step of the optimizer for several batches."""

    def __init__(self, *args, acc_steps=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.acc_steps = acc_steps

    def get_loss(self, *args, **kwargs):
        loss = super().get_loss(*args, **kwargs)
        return loss / self.acc_steps

    def train_step(self, batch, **fit_params):
        n_train_batches = len(self.history[-1, "batches"])
        step = self.train_step_single(batch, **fit_params)
        if n_train_batches % self.acc_steps == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


def test_gradient_accumulation_equals_larger_batches(spectra):
    X, y = spectra
    settings = {**QUICK, "schedule": None, "train_split": None, "augment": None}
    settings |= {"optimizer": torch.optim.SGD, "module__dropout": 0.0}
    large = SpectrumClassifier("mlp", batch_size=40, **settings).fit(X, y)
    small = Accumulating("mlp", batch_size=20, acc_steps=2, **settings).fit(X, y)
    np.testing.assert_allclose(
        small.predict_proba(X), large.predict_proba(X), atol=1e-6
    )


class Lasso(SpectrumClassifier):
    """skorch's FAQ: a loss with an extra term."""

    def __init__(self, *args, lambda1=0.01, **kwargs):
        super().__init__(*args, **kwargs)
        self.lambda1 = lambda1

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        return loss + self.lambda1 * sum(
            w.abs().sum() for w in self.module_.parameters()
        )


def test_loss_with_an_extra_term(spectra):
    X, y = spectra
    norms = []
    for lambda1 in (0.0, 0.1):
        net = Lasso("mlp", lambda1=lambda1, **QUICK)
        net.fit(X, y, sample_weight=np.ones(len(X)))
        weights = net.module_.state_dict().values()
        norms.append(sum(float(w.abs().sum()) for w in weights))
    assert norms[1] < norms[0]
    assert GridSearchCV(net, {"lambda1": [0.0, 1e-4]}, cv=2).fit(X, y).score(X, y) > 0.5


def test_several_learning_rates_in_a_subclass(spectra):
    class TwoRates(SpectrumClassifier):
        def __init__(self, module="mlp", head_lr=0.5, **kwargs):
            groups = [("fc.*", {"lr": head_lr})]
            super().__init__(module, optimizer__param_groups=groups, **kwargs)
            self.head_lr = head_lr

    net = TwoRates("resnet10", module__width=4, schedule=None, **QUICK)
    net.set_params(head_lr=0.25).fit(*spectra)
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.25, 1e-2]


# Inputs and outputs of one's own ----------------------------------------------------


class Pairs(Dataset):
    """Pairs of spectra: of one class, or of two."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        j = (7 * i + 3) % len(self.X)
        return (self.X[i], self.X[j]), int(self.y[i] == self.y[j])


class Siamese(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(48, width), nn.Tanh())
        self.fc = nn.Linear(1, 2)

    def forward(self, pair):
        first, second = map(self.embed, pair)
        return self.fc((first - second).pow(2).sum(dim=1, keepdim=True))


def test_siamese_input(spectra):
    X, y = spectra
    pairs = Pairs(X, y)
    target = np.array([pairs[i][1] for i in range(len(pairs))])
    net = BaseClassifier(Siamese, **{**QUICK, "max_epochs": 30}).fit(pairs, target)
    assert net.predict_proba(pairs).shape == (len(X), 2)
    assert net.score(pairs, target) > 0.7
    # The attribute y of this data set does not hold the targets.
    with pytest.raises(AttributeError, match="provide the 'classes' argument"):
        clone(net).fit(pairs)
    again = clone(net).set_params(classes=[0, 1]).fit(pairs)
    assert again.predict(pairs).shape == (len(X),)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(49, 2)

    def forward(self, flux, redshift):
        return self.fc(torch.cat([flux, redshift], dim=1))


@pytest.mark.parametrize("train_split", [0.2, None])
def test_dict_input(spectra, train_split):
    X, y = spectra
    inputs = {"flux": X, "redshift": np.zeros((len(X), 1), np.float32)}
    settings = {**QUICK, "max_epochs": 20, "train_split": train_split}
    net = BaseClassifier(TwoInputs, **settings).fit(inputs, y)
    assert net.predict_proba(inputs).shape == (len(X), 2)
    assert (net.predict(inputs) == y).mean() > 0.8
    again = clone(net).fit(inputs, y)
    np.testing.assert_array_equal(
        again.predict_proba(inputs), net.predict_proba(inputs)
    )


class Branches(nn.Module):
    """Class, brightness and features."""

    def __init__(self, width=8):
        super().__init__()
        self.trunk = nn.Linear(48, width)
        self.classes = nn.Linear(width, 2)
        self.brightness = nn.Linear(width, 1)

    def forward(self, x):
        features = self.trunk(x).relu()
        return self.classes(features), self.brightness(features), features


class BranchesClassifier(BaseClassifier):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        logits, brightness, _ = y_pred
        loss = super().get_loss(logits, y_true, X=X, training=training)
        return loss + (brightness[:, 0] - self._prepare(X).mean(dim=1)).pow(2).mean()


@pytest.mark.parametrize("weighted", [False, True])
def test_several_outputs(spectra, weighted):
    X, y = spectra
    settings = {**QUICK, "max_epochs": 20, "batch_size": 50}
    settings |= {"class_weight": "balanced" if weighted else None}
    net = BranchesClassifier(Branches, **settings).fit(X, y)
    # The first output is the one that predict takes.
    assert net.score(X, y) > 0.8
    outputs = net.forward(X)
    assert [tuple(output.shape) for output in outputs] == [(120, 2), (120, 1), (120, 8)]
    batches = list(net.set_params(iterator_valid__batch_size=50).forward_iter(X))
    assert [len(batch[1]) for batch in batches] == [50, 50, 20]
    for i, output in enumerate(outputs):
        rejoined = torch.cat([batch[i] for batch in batches])
        torch.testing.assert_close(rejoined, output)
    np.testing.assert_allclose(
        net.predict_proba(X), outputs[0].softmax(dim=1).numpy(), atol=1e-6
    )


class NoisyRegressor(BaseRegressor):
    """Mean and variance in two outputs, of which predict gives the mean."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        mean, log_variance = y_pred
        residual = mean - self._scale_target(torch.as_tensor(y_true)).to(mean)
        return (residual.pow(2) / log_variance.exp() + log_variance).mean()


class MeanAndVariance(nn.Module):
    def __init__(self, n_channels, n_outputs, input_size):
        super().__init__()
        self.mean = nn.Linear(n_channels * input_size, n_outputs)
        self.log_variance = nn.Linear(n_channels * input_size, n_outputs)

    def forward(self, x):
        x = x.flatten(1)
        return self.mean(x), self.log_variance(x)


def test_several_outputs_of_a_regressor(spectra):
    X, _ = spectra
    y = 100 + 5 * X[:, 10:20].mean(axis=1)
    net = NoisyRegressor(MeanAndVariance, **{**QUICK, "max_epochs": 20}).fit(X, y)
    assert net.predict(X).shape == y.shape
    assert net.score(X, y) > 0.5


@pytest.mark.parametrize("given", [{"lr": 0.5}, {"lrr": 1}, {"module__hidden": (3,)}])
def test_values_that_are_not_passed_on_are_refused(given):
    class Dropping(SpectrumClassifier):
        def __init__(self, module="mlp", **kwargs):
            super().__init__(module)

    (name,) = given
    with pytest.raises(TypeError, match=rf"{name}=.* does not pass this on"):
        Dropping(**given)


def test_parameters_that_a_class_between_does_not_store_are_told():
    class Between(SpectrumClassifier):
        def __init__(self, width=3, **kwargs):
            super().__init__("mlp", module__hidden=(width,), **kwargs)

    class Derived(Between):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    with pytest.raises(AttributeError, match=r"self\.width = width"):
        Derived(width=5).get_params()
