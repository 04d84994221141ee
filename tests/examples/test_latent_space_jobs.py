# SPDX-License-Identifier: BSD-3-Clause
"""The jobs around latent spaces, run as a user runs them, on few small images."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from skastro import load_model
from skastro.datasets import read_galaxy10

EXAMPLES = Path(__file__).parents[2] / "examples"
N_IMAGES = 60
QUICK = ["--epochs", "1", "--latent-dim", "4", "--device", "cpu"]
# After one epoch few dimensions are in use.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings(
        "ignore:.*latent dimensions are active:sklearn.exceptions.ConvergenceWarning"
    ),
]


def load(name):
    """Load a script."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images():
    """Return disks of two sizes in sky, in random colors."""
    rng = np.random.default_rng(0)
    radius = np.hypot(*np.indices((18, 16)) - np.array([9, 8])[:, None, None])
    size = np.where(np.arange(N_IMAGES) % 2, 3.0, 6.0)[:, None, None]
    light = np.exp(-((radius / size) ** 2))[..., None] * rng.uniform(
        0.5, 1, size=(N_IMAGES, 1, 1, 3)
    )
    return (230 * light + rng.uniform(0, 10, light.shape)).astype(np.uint8)


@pytest.fixture
def galaxy_file(tmp_path, images):
    """Return a file in the layout of Galaxy10."""
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["ans"] = images, np.arange(N_IMAGES) % 2
        file.attrs["class_names"] = ["large", "small"]
    return path


def test_clusters(galaxy_file, tmp_path, capsys):
    out = tmp_path / "results"
    options = ["--clustering", "mixture", "--n-clusters", "3", "--map", "tsne"]
    load("cluster_galaxies").main(
        [*QUICK, *options, "--galaxies", str(galaxy_file), "--out", str(out)]
    )
    figures = ["between", "clusters", "history", "map", "neighbors", "outliers"]
    figures += ["reconstructions", "thumbnails"]
    written = [f"{name}.png" for name in figures]
    written += ["clusters.csv", "pipeline.skastro"]
    assert sorted(item.name for item in out.iterdir()) == sorted(written)
    catalog = Table.read(out / "clusters.csv")
    assert len(catalog) == N_IMAGES - 6
    images = read_galaxy10(galaxy_file, verbose=0).images
    pipe = load_model(out / "pipeline.skastro")
    predicted = pipe.predict(images[catalog["row"]])
    np.testing.assert_array_equal(catalog["cluster"], predicted)
    np.testing.assert_allclose(
        catalog["vaetransformer3"],
        pipe[0].transform(images[catalog["row"]])[:, 3],
        rtol=1e-4,
        atol=1e-5,
    )
    assert "Adjusted mutual information" in capsys.readouterr().out


def test_latent_sizes(galaxy_file, tmp_path):
    out = tmp_path / "results"
    options = ["--sizes", "3", "1", "--epochs", "1", "--n-images", "48"]
    load("compare_latent_sizes").main(
        [*options, "--train", str(galaxy_file), "--device", "cpu", "--out", str(out)]
    )
    assert sorted(item.name for item in out.iterdir()) == [
        "latent_sizes.csv",
        "latent_sizes.png",
        "reconstructions.png",
    ]
    table = Table.read(out / "latent_sizes.csv")
    assert list(table["latent_dim"]) == [1, 3]
    assert table["pca_error"][1] < table["pca_error"][0] < 0.1
    assert (table["error"] > 0).all()


def test_latent_sizes_need_bytes(tmp_path):
    path = tmp_path / "fluxes.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((10, 16, 16))
    with pytest.raises(SystemExit, match=r"must be bytes.*float64"):
        load("compare_latent_sizes").main(["--train", str(path)])


@pytest.mark.parametrize("pack", [False, True])
def test_image_files(tmp_path, images, capsys, pack):
    folder, out = tmp_path / "images", tmp_path / "results"
    folder.mkdir()
    for number, image in enumerate(images[:40]):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    Image.new("RGB", (20, 20)).save(folder / "other.png")
    options = ["--shape", "3", "18", "16", "--keep-apart", "10"]
    options += ["--pack"] if pack else []
    load("train_vae_from_files").main(
        [*QUICK, *options, "--images", str(folder), "--out", str(out)]
    )
    assert "40 images listed" in capsys.readouterr().out
    table = Table.read(out / "latent.csv")
    assert [Path(path).name for path in table["path"]] == [
        f"{number:02}.png" for number in range(40)
    ]
    vae = load_model(out / "vae.skastro")
    latent = vae.transform(images[:40])
    np.testing.assert_allclose(
        table["vaetransformer0"], latent[:, 0], rtol=1e-4, atol=1e-5
    )
    assert (out / "reconstructions.png").is_file()
    assert (out / "images.h5").is_file() == pack
