# SPDX-License-Identifier: BSD-3-Clause
"""Classifying galaxies, as a user does it, on few images and a small network."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.table import Table
from sklearn.metrics import accuracy_score, balanced_accuracy_score

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "classify_galaxies.py"
QUICK = ["--module", "mlp", "--epochs", "3", "--device", "cpu"]
WRITTEN = {
    "classifier.skastro",
    "confusion_matrix.png",
    "history.csv",
    "history.png",
    "mosaic.png",
    "probabilities.csv",
    "results.csv",
    "scores.csv",
}


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("classify_galaxies", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def survey(tmp_path):
    """Write round and flat galaxies, two classes that are easily told apart."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1], [60, 40]))
    grid = np.arange(24) - 11.5
    sigma = np.where(y == 0, 5.0, 1.5)[:, None, None]
    light = np.exp(-(grid[:, None] ** 2) / (2 * sigma**2) - grid**2 / 50)
    images = 200 * light[..., None] * rng.uniform(0.5, 1, (100, 1, 1, 3))
    path = tmp_path / "galaxies.h5"
    with h5py.File(path, "w") as file:
        file["images"] = (images + rng.uniform(0, 20, images.shape)).astype(np.uint8)
        file["ans"] = y
        file["ans"].attrs["class_names"] = '["round", "edge-on"]'
    return path


@pytest.fixture
def _small_mosaic(job, monkeypatch):
    """Draw few images, which is quick."""
    monkeypatch.setattr(job, "MOSAIC", (1, 2))


def add_class(path, n_images):
    with h5py.File(path, "r+") as file:
        labels = file["ans"][:]
        labels[5 : 5 + n_images] = 2
        file["ans"][:] = labels
        file["ans"].attrs["class_names"] = '["round", "edge-on", "merger"]'


def test_a_quarter_is_kept_apart(job, survey, tmp_path, capsys):
    out = tmp_path / "out"
    job.main([*QUICK, "--train", str(survey), "--baseline", "--out", str(out)])
    baseline = {"baseline_history.csv", "baseline_results.csv"}
    assert {path.name for path in out.iterdir()} == WRITTEN | baseline
    for name in ("results.csv", "baseline_results.csv"):
        assert Table.read(out / name).colnames == ["predict", "test"]
        assert len(Table.read(out / name)) == 25
    for name, n_epochs in (("history.csv", 3), ("baseline_history.csv", 10)):
        history = Table.read(out / name)
        columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
        assert history.colnames == columns
        assert len(history) == n_epochs
    scores = Table.read(out / "scores.csv")
    assert list(scores["classifier"]) == ["mlp", "mlp recipe"]
    for row, name in zip(scores, ("results.csv", "baseline_results.csv"), strict=True):
        results = Table.read(out / name)
        truth, predicted = results["test"], results["predict"]
        assert row["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
        expected = balanced_accuracy_score(truth, predicted)
        assert row["balanced"] == pytest.approx(expected)
    assert scores["accuracy"][1] > 0.9
    printed = capsys.readouterr().out
    assert f"{scores['accuracy'][1]:.3f}" in printed.splitlines()[-3]
    table = Table.read(out / "probabilities.csv")
    assert table.colnames[:3] == ["row", "predicted", "truth"]
    probability = np.stack([table[name] for name in table.colnames[3:]], axis=1)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    with h5py.File(survey) as file:
        names = np.array(["round", "edge-on"])[file["ans"][:]]
    np.testing.assert_array_equal(table["truth"], names[table["row"]])


@pytest.mark.usefixtures("_small_mosaic")
def test_the_first_images_are_kept_apart(job, survey, tmp_path):
    out = ["--out", str(tmp_path / "out")]
    job.main([*QUICK, "--train", str(survey), "--keep-apart", "10", *out])
    table = Table.read(tmp_path / "out" / "probabilities.csv")
    assert list(table["row"]) == list(range(10))
    # All of one class, of which not all are recognized.
    with h5py.File(survey, "r+") as file:
        file["ans"][:10] = 0
        file["images"][:5] = 0
        file["images"][:5, 12] = 200
    job.main([*QUICK, "--train", str(survey), "--keep-apart", "10", *out])
    scores = Table.read(tmp_path / "out" / "scores.csv")
    assert scores["balanced"][0] == scores["accuracy"][0] < 1
    with pytest.raises(SystemExit, match="between 1 and 99, the file has 100"):
        job.main([*QUICK, "--train", str(survey), "--keep-apart", "100", *out])


@pytest.mark.usefixtures("_small_mosaic")
def test_another_file_without_labels(job, survey, tmp_path, capsys):
    out = tmp_path / "out"
    job.main([*QUICK, "--train", str(survey), "--test", str(survey), "--out", str(out)])
    assert len(Table.read(out / "results.csv")) == 100
    new = tmp_path / "new.h5"
    with h5py.File(new, "w") as file, h5py.File(survey) as known:
        file["images"] = known["images"][:30]
    again = tmp_path / "again"
    model = str(out / "classifier.skastro")
    job.main(["--model", model, "--test", str(new), "--out", str(again)])
    assert {path.name for path in again.iterdir()} == {"probabilities.csv"}
    expected = Table.read(out / "probabilities.csv")[:30]
    table = Table.read(again / "probabilities.csv")
    for name in table.colnames[2:]:
        np.testing.assert_allclose(table[name], expected[name], atol=1e-6)
    capsys.readouterr()
    add_class(survey, 3)
    job.main(["--model", model, "--test", str(survey), "--out", str(again)])
    assert "Not scored, of classes that were not learned: 3" in capsys.readouterr().out
    assert len(Table.read(again / "results.csv")) == 97
    with h5py.File(survey, "r+") as file:
        file["ans"][:] = 2
    job.main(["--model", model, "--test", str(survey), "--out", str(again)])
    assert "nothing to score" in capsys.readouterr().out


def test_options_reach_the_classifier(job):
    options = job.parse_arguments(
        "--train a.h5 --recipe resclass --module resnet18 --backbone b.pth "
        "--backbone-lr 0 --epochs 3 --seed 5 --device cpu --tta".split()
    )
    params = job.make_classifier(options).get_params()
    assert (params["module"], params["max_epochs"], params["tta"]) == (
        "resnet18",
        3,
        True,
    )
    assert (params["backbone"], params["backbone_lr"]) == ("b.pth", 0)
    assert (params["sampler"], params["augment"]) == ("balanced", "resclass")
    assert (params["random_state"], params["device"]) == (5, "cpu")


def test_rare_classes_are_left_out(job, survey, capsys):
    add_class(survey, 3)
    options = job.parse_arguments(["--train", str(survey)])
    learned, test = job.split(job.load(str(survey), options), options)
    assert "Left out, fewer than 4 images: merger 3" in capsys.readouterr().out
    assert len(learned.row) + len(test.row) == 97
    assert not set(learned.row) & set(test.row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--train FILE, or --model FILE"),
        (["--train", "a.h5", "--model", "b.skastro"], "--train FILE, or --model FILE"),
        (["--model", "b.skastro"], "name the images with --test"),
        (["--model", "b", "--test", "c.h5", "--baseline"], "--baseline is trained"),
    ],
    ids=["nothing", "both", "model alone", "baseline"],
)
def test_bad_arguments(job, arguments, message, capsys):
    with pytest.raises(SystemExit):
        job.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("_small_mosaic")
def test_real_galaxies(job, data_dir, tmp_path, capsys):
    path = str(data_dir / "galaxies.h5")
    quick = ["--recipe", "mlp", "--epochs", "1", "--device", "cpu"]
    job.main([*quick, "--train", path, "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == WRITTEN
    scores = Table.read(tmp_path / "scores.csv")
    # Four classes, the largest of which has a third of the images.
    assert scores["accuracy"][0] > 0.4
    assert "merger" in capsys.readouterr().out
