# SPDX-License-Identifier: BSD-3-Clause
"""Weights from paths and addresses, for all estimators."""

import hashlib
import io
import pickle
import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import torch
from file_server import Server
from numpy.testing import assert_array_equal
from safetensors.torch import save
from sklearn.base import clone
from tiny_estimators import make_tiny

from skastro import (
    CropPadImages,
    GalaxyClassifier,
    GalaxyRegressor,
    RedshiftRegressor,
    SEVIRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
    VAETransformer,
    make_pipeline,
    save_model,
)
from skastro.base._pretrained import Pretrained, find_pretrained
from skastro.networks import get_module
from skastro.utils import _download

pytestmark = pytest.mark.once
URL = "https://example.org/files/weights.pth?download=1"
BACKBONES = (
    GalaxyClassifier,
    GalaxyRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
)
FITTED = (RedshiftRegressor, SEVIRegressor, VAETransformer)
QUIET = {"verbose": 0, "device": "cpu", "random_state": 0}
WAVELENGTH = np.linspace(4000, 9000, 60)


def bytes_of(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def state():
    """Make weights of a small network for images."""
    torch.manual_seed(0)
    return get_module("resnet18", 2)(3, 7, width=4).state_dict()


@pytest.fixture
def site(state, tmp_path, monkeypatch):
    """Let a server on this machine answer for all addresses."""
    content = bytes_of(state)
    monkeypatch.setenv("SKASTRO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_download, "_CHUNK_BYTES", 10_000)
    with Server(content) as server:
        get, urls = requests.get, []

        def get_here(url, **options):
            urls.append(url)
            return get(server.url, **options)

        monkeypatch.setattr(requests, "get", get_here)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        sha256 = hashlib.sha256(content).hexdigest()
        yield SimpleNamespace(
            server=server,
            urls=urls,
            sha256=sha256,
            folder=tmp_path / "home" / "weights" / sha256[:16],
        )
        server.shutdown()
        thread.join()


def images():
    X = np.random.default_rng(0).integers(0, 255, size=(24, 12, 12, 3), dtype=np.uint8)
    return X, np.arange(24) % 2


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("upper", [False, True])
def test_a_file_is_downloaded_once(site, state, upper):
    sha256 = site.sha256.upper() if upper else site.sha256
    clf = GalaxyClassifier.from_pretrained(URL, sha256=sha256, max_epochs=0, **QUIET)
    assert clf.backbone == f"{URL}#sha256={sha256}"
    assert clf.get_params()["module__width"] == 4
    clf.fit(*images())
    assert torch.equal(clf.module_.conv1.weight, state["conv1.weight"])
    clone(clf).fit(*images())
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(images()[0]), clf.predict_proba(images()[0]))
    assert site.urls == [URL]
    assert names(site.folder) == ["weights.pth"]


def test_backbones_at_an_address(site, state, capfd):
    address = f"{URL}#sha256={site.sha256}"
    clf = GalaxyClassifier(
        "resnet18", module__width=4, backbone=address, max_epochs=0, **QUIET
    )
    clf.fit(*images())
    assert torch.equal(clf.module_.conv1.weight, state["conv1.weight"])
    assert capfd.readouterr() == ("", "")
    GalaxyClassifier("resnet18").load_backbone(address)
    assert site.urls == [URL]
    # Where the file was put by hand, no server is needed.
    assert names(site.folder) == ["weights.pth"]


def test_safetensors_keep_their_suffix(site, state):
    site.server.content = save(state)
    sha256 = hashlib.sha256(site.server.content).hexdigest()
    url = "https://example.org/a%20b/net.safetensors"
    GalaxyClassifier.from_pretrained(url, sha256=sha256, verbose=0)
    assert names(site.folder.parent / sha256[:16]) == ["net.safetensors"]


def test_an_interrupted_download_goes_on(site):
    site.server.breaks = [50_000, 0, 70_000]
    start = partial(
        GalaxyClassifier.from_pretrained, URL, sha256=site.sha256, verbose=0
    )
    with pytest.raises(ConnectionError, match=r"50000 bytes are kept in .*pth\.part"):
        start()
    start()
    ranges = ["bytes=50000-", "bytes=50000-", "bytes=120000-"]
    assert site.server.asked == [None, *ranges]
    assert names(site.folder) == ["weights.pth"]


@pytest.mark.parametrize("cls", [*BACKBONES, *FITTED])
def test_wrong_checksums(site, cls):
    wrong = "0" * 63 + "1"
    required = {"wavelength": WAVELENGTH} if cls is RedshiftRegressor else {}
    with pytest.raises(
        OSError, match=f"another checksum .*SHA-256 checksum is {wrong}"
    ):
        cls.from_pretrained(URL, sha256=wrong, verbose=0, **required)
    assert names(site.folder.parent / wrong[:16]) == []


def test_offline(tmp_path, monkeypatch, site):
    def get(url, **options):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(ConnectionError) as error:
        GalaxyClassifier.from_pretrained(URL, sha256=site.sha256)
    by_hand = f"download {URL} by other means and put the file at {site.folder}"
    assert by_hand in str(error.value)
    assert f"its SHA-256 checksum is {site.sha256}" in str(error.value)
    (site.folder / "weights.pth").write_bytes(site.server.content)
    GalaxyClassifier.from_pretrained(URL, sha256=site.sha256)


BAD_ADDRESSES = {
    "https://example.org/w.pth": r"need the SHA-256 .* there is no checksum at .*"
    r"from_pretrained\('https://example.org/w.pth', sha256='...'\) or .*#sha256=\.\.\."
    ".*file_hash",
    "https://example.org/w.pth#sha256=12": "which is 'sha256=12', no checksum",
    "https://example.org/w.pth#md5=" + 32 * "a": "no checksum",
    "http://example.org/w.pth#sha256=" + 64 * "a": "over https only",
    "ftp://example.org/w.pth": "over https only",
    "file:///home/me/w.pth": "give its path, without 'file://'",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("cls", [GalaxyClassifier, SpectrumRegressor, VAETransformer])
def test_addresses_that_are_refused(cls, address, site):
    with pytest.raises(ValueError, match=BAD_ADDRESSES[address]):
        cls.from_pretrained(address)
    if cls is GalaxyClassifier:
        with pytest.raises(ValueError, match=BAD_ADDRESSES[address]):
            cls(backbone=address, **QUIET).fit(*images())
    assert site.urls == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("weights.pth", "sha256 is for addresses"),
        ("spectra", "sha256 is for addresses"),
        (f"{URL}#sha256={64 * 'a'}", "not both"),
    ],
)
def test_checksums_without_use(source, message):
    with pytest.raises(ValueError, match=message):
        SpectrumClassifier.from_pretrained(source, sha256=64 * "a")


@pytest.mark.parametrize("cls", [*BACKBONES, *FITTED])
def test_files_that_are_not_there(cls, tmp_path):
    start = cls.from_pretrained
    if cls is RedshiftRegressor:
        start = partial(start, wavelength=WAVELENGTH)
    for source in (tmp_path / "gone.pth", str(tmp_path / "gone"), "gone.pth"):
        with pytest.raises(FileNotFoundError, match=r"gone(\.pth)?' does not exist"):
            start(source)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        start(tmp_path)
    with pytest.raises(ValueError, match="no pretrained weights 'zoo', and there is"):
        start("zoo")
    with pytest.raises(ValueError, match="no pretrained weights 3"):
        start(3)
    for suffix in ("pth", "safetensors"):
        path = tmp_path / f"noise.{suffix}"
        path.write_bytes(b"no weights" * 50)
        with pytest.raises(ValueError, match="damaged"):
            start(path)


def spectra():
    X = np.random.default_rng(0).normal(1, 0.1, size=(24, 60)).astype(np.float32)
    return X, np.linspace(0.01, 0.3, 24)


def counts():
    X = np.random.default_rng(0).poisson(3, size=(24, 32, 32)).astype(np.float32)
    return X, np.linspace(-1, 2, 24)


CASES = {
    RedshiftRegressor: (spectra, {"refine": False, "wavelength": WAVELENGTH}),
    SEVIRegressor: (counts, {"refine": False}),
    VAETransformer: (images, {}),
}


# One epoch is short.
@pytest.mark.filterwarnings("ignore:Only 0 of 3 latent dimensions")
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("cls", FITTED)
def test_fitted_estimators(cls, suffix, tmp_path, monkeypatch, site):
    data, params = CASES[cls]
    X, y = data()
    net = make_tiny(cls, **{"max_epochs": 1} | params).fit(X, y)
    apply = "transform" if cls is VAETransformer else "predict"
    expected = getattr(net, apply)(X)
    path = tmp_path / f"own.{suffix}"
    net.save_params(f_params=path, use_safetensors=suffix == "safetensors")
    site.server.content = path.read_bytes()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for source in (path, f"https://example.org/own.{suffix}#sha256={sha256}"):
        again = cls.from_pretrained(source, **net.get_params(deep=False))
        assert_array_equal(getattr(again, apply)(X), expected)
    with pytest.raises(TypeError, match="speed"):
        cls.from_pretrained(path, **params, speed=3)


@pytest.mark.parametrize("cls", FITTED)
def test_weights_alone_make_no_fitted_estimator(cls, state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    (tmp_path / "weights.safetensors").write_bytes(save(state))
    params = {"wavelength": WAVELENGTH} if cls is RedshiftRegressor else {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=f"not what {cls.__name__} learns beside"):
            cls.from_pretrained(path, **params)


def test_weights_of_an_own_classifier_start_another(tmp_path):
    X, y = images()
    small = {"module": "resnet18", "module__width": 4, "max_epochs": 1}
    clf = make_tiny(GalaxyClassifier, **small).fit(X, y)
    clf.save_params(f_params=tmp_path / "own.pth")
    other = GalaxyRegressor.from_pretrained(tmp_path / "own.pth", **QUIET)
    assert other.get_params()["module__width"] == 4
    other.set_params(max_epochs=0).fit(X, y.astype(float))
    assert torch.equal(other.module_.conv1.weight, clf.module_.conv1.weight)
    mlp = make_tiny(GalaxyClassifier, module="mlp", max_epochs=1).fit(X, y)
    mlp.save_params(f_params=tmp_path / "mlp.pth")
    with pytest.raises(ValueError, match=r"known by name\. Give the module"):
        GalaxyClassifier.from_pretrained(tmp_path / "mlp.pth")
    GalaxyClassifier.from_pretrained(tmp_path / "mlp.pth", module="mlp")


def test_files_of_the_kind_that_comes_with_the_package(tmp_path):
    weights = find_pretrained(
        "spectra", ("spectra",), "SpectrumClassifier", "skastro.estimators"
    )
    path = tmp_path / "own.safetensors"
    weights.save(path)
    wavelength = np.linspace(3900, 9000, 300)
    start = partial(SpectrumClassifier.from_pretrained, wavelength=wavelength)
    ours, theirs = start(path), start("spectra")
    for name in ("module", "normalization", "lr", "backbone_lr", "max_epochs"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.backbone == path
    X = np.random.default_rng(0).normal(1, 0.1, (24, 300)).astype(np.float32)
    ours.set_params(max_epochs=0, **QUIET).fit(X, np.arange(24) % 2)
    name = "maps.0.weight"
    assert torch.equal(ours.module_.get_parameter(name), weights.weights[name].float())
    with pytest.raises(TypeError, match="needs wavelength"):
        SpectrumClassifier.from_pretrained(path)
    with pytest.raises(ValueError, match="but normalization='robust'"):
        start(path, normalization="robust")


@pytest.mark.parametrize("cls", FITTED)
def test_files_of_the_kind_for_other_estimators(cls, tmp_path):
    path = tmp_path / "own.safetensors"
    settings = {"parameters": {"module": "mlp"}, "target_shape": [1]}
    Pretrained({"fc.weight": torch.ones(2)}, {}, settings).save(path)
    params = {"wavelength": WAVELENGTH} if cls is RedshiftRegressor else {}
    message = f"another estimator than {cls.__name__}|{cls.__name__} learns beside"
    with pytest.raises(ValueError, match=message):
        cls.from_pretrained(path, **params)


def test_redshifts_of_other_pixels(tmp_path):
    X, y = spectra()
    reg = make_tiny(RedshiftRegressor, **CASES[RedshiftRegressor][1], max_epochs=1)
    reg.fit(X, y).save_params(f_params=tmp_path / "own.pt")
    params = reg.get_params(deep=False) | {"wavelength": WAVELENGTH + 50}
    with pytest.raises(ValueError, match=r"60 pixels, 4000 to 9000 Å, .* 4050"):
        RedshiftRegressor.from_pretrained(tmp_path / "own.pt", **params)


def test_files_of_whole_models(tmp_path):
    images = np.random.default_rng(0).uniform(size=(24, 16, 16, 3)).astype(np.float32)
    y = np.arange(24) % 2
    resnet = {"module": "resnet18", "module__width": 4, "max_epochs": 1, "verbose": 0}
    first = GalaxyClassifier(**resnet).fit(images, y)
    save_model(first, tmp_path / "first.skastro")
    second = GalaxyClassifier.from_pretrained(
        tmp_path / "first.skastro", max_epochs=1, lr=1e-12, verbose=0
    ).fit(images, np.arange(24) % 3)
    weight = first.module_.conv1.weight
    assert second.get_params()["module__width"] == 4
    torch.testing.assert_close(second.module_.conv1.weight, weight)
    # Other steps would be lost.
    pipe = make_pipeline(CropPadImages(16), GalaxyClassifier(**resnet))
    save_model(pipe.fit(images, y), tmp_path / "pipe.skastro")
    with pytest.raises(ValueError, match="holds more than a network"):
        GalaxyClassifier.from_pretrained(tmp_path / "pipe.skastro")
    # Networks that are known by their parameters only.
    spectra = np.random.default_rng(0).normal(size=(24, 30))
    settings = {"module__hidden": (7, 5), "max_epochs": 1, "verbose": 0}
    net = SpectrumClassifier("mlp", **settings).fit(spectra, y)
    save_model(net, tmp_path / "mlp.skastro")
    other = SpectrumClassifier.from_pretrained(tmp_path / "mlp.skastro", verbose=0)
    assert other.module == "mlp"
    assert other.get_params()["module__hidden"] == (7, 5)
    with pytest.raises(ValueError, match=r"is a whole model.*load_model"):
        VAETransformer.from_pretrained(tmp_path / "first.skastro")
