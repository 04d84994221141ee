# SPDX-License-Identifier: BSD-3-Clause
"""The command skastro, as a user types it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner
from PIL import Image
from tiny_estimators import make_tiny

import skastro
from skastro import GalaxyClassifier, MinMaxSpectra, Pipeline, SpectrumClassifier
from skastro.cli import main
from skastro.datasets import read_spectra

WAVELENGTH = np.linspace(4000.0, 8000.0, 300)
IMAGES = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)


def run(*arguments, expected=0):
    """Run the command in this process; return what it prints."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expected, result.output
    return result.output


@pytest.fixture
def survey(tmp_path):
    """Write a matrix of spectra and their classes."""
    flux = np.random.default_rng(0).normal(5, 1, (30, 300)).astype(np.float32)
    labels = Table({"id": [f"s{n}" for n in range(30)], "class": ["STAR", "QSO"] * 15})
    labels["ra"], labels["dec"] = np.linspace(0, 90, 30), np.zeros(30)
    path = tmp_path / "survey.fits"
    hdus = [fits.PrimaryHDU(flux), fits.BinTableHDU(labels, name="LABELS")]
    hdus.append(fits.ImageHDU(WAVELENGTH, name="WAVELENGTH"))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture
def model(survey, tmp_path):
    """Fit a pipeline to the survey, and save it."""
    spectra = read_spectra(survey, verbose=0)
    pipe = Pipeline(
        [("scale", MinMaxSpectra()), ("net", make_tiny(SpectrumClassifier))]
    )
    skastro.save_model(
        pipe.fit(spectra.flux, spectra.target), tmp_path / "model.skastro"
    )
    return pipe, tmp_path / "model.skastro"


def test_help_is_short_and_quick():
    code = (
        "import sys; from skastro.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'sklearn', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("info", "inspect", "predict"):
        assert f"\n  {name} " in done.stdout
    assert len(done.stdout.splitlines()) < 25


def test_info():
    text = run("info")
    assert f"skastro {skastro.__version__}" in text
    assert re.search(r"^torch 2\.", text, re.M)
    assert "devices: cpu" in text
    assert re.search(r"^threads: \d+$", text, re.M)


def test_inspect_spectra(survey):
    text = run("inspect", survey)
    assert "30 spectra of 300 pixels from 4000 to 8000 Angstrom" in text
    assert "layout: labeled-matrix" in text
    assert "columns: id, class, ra, dec" in text
    assert "QSO 15, STAR 15" in text


def test_inspect_images_and_models(tmp_path, model):
    with h5py.File(tmp_path / "galaxies.h5", "w") as file:
        file["images"], file["ans"] = IMAGES, np.arange(12) % 3
    for number, image in enumerate(IMAGES):
        (tmp_path / "stamps").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "stamps" / f"g{number}.png")
    text = run("inspect", tmp_path / "galaxies.h5", tmp_path / "stamps", model[1])
    assert text.count("12 images of 16 x 16 x 3, uint8") == 2
    assert "classes: 0 4, 1 4, 2 4" in text
    assert "classes: none" in text
    assert "MinMaxSpectra" in text
    assert "SpectrumClassifier" in text


def test_predict_spectra(survey, model, tmp_path):
    pipe, path = model
    out = tmp_path / "catalog.vot"
    text = run("predict", path, survey, "--out", out, "--device", "cpu")
    assert f"Wrote 30 objects to {out}." in text
    catalog = Table.read(out)
    flux = read_spectra(survey, verbose=0).flux
    assert catalog["class"].tolist() == pipe.predict(flux).tolist()
    assert catalog["id"][3] == "s3"
    assert catalog["survey_class"][3] == "QSO"
    assert str(catalog["ra"].unit) == "deg"


def test_predict_images(tmp_path):
    clf = make_tiny(GalaxyClassifier).fit(IMAGES, np.arange(12) % 2)
    skastro.save_model(clf, tmp_path / "galaxies.skastro")
    folder = tmp_path / "stamps"
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"g{number:02}.png")
    out = tmp_path / "catalog.csv"
    run("predict", tmp_path / "galaxies.skastro", folder, "--out", out)
    catalog = Table.read(out)
    assert catalog["id"].tolist() == [f"g{number:02}" for number in range(12)]
    assert catalog["class"].tolist() == clf.predict(IMAGES).tolist()


def test_errors_are_one_line(survey, model, tmp_path):
    path = tmp_path / "short.fits"
    fits.PrimaryHDU(np.ones((5, 60), np.float32)).writeto(path)
    for arguments, message in (
        (["inspect", __file__], "holds neither spectra nor images"),
        (["predict", survey, survey], "damaged|not written by save_model"),
        (["predict", model[1], survey, "--out", "a.txt"], r"ends in none of \.fits"),
    ):
        text = run(*arguments, expected=1)
        assert re.search(message, text)
        assert text.startswith("Error: ")
        assert "Traceback" not in text
    result = CliRunner().invoke(main, ["--debug", "inspect", __file__])
    assert isinstance(result.exception, ValueError)
    # What comes after a file that cannot be read is not lost.
    assert "30 spectra" in run("inspect", __file__, survey, expected=1)


@pytest.mark.skipif("SKASTRO_DATA" not in os.environ, reason="needs SKASTRO_DATA")
def test_inspect_survey_files():
    text = run("inspect", Path(os.environ["SKASTRO_DATA"]) / "survey_files")
    assert re.search(r"left out: .*sky", text)
    assert re.search(
        r"\d+ spectra brought to 3000 pixels from 3900 to 9000 Angstrom", text
    )
    assert "lamost" in text


def test_wrong_arguments_and_files(model, survey, tmp_path):
    _, path = model
    for arguments, expected in (
        (["predict", path], "Error: Missing argument 'FILES...'. See main predict"),
        (["inspect", "--fast", survey], "--fast"),
        (["predict", path, "no.fits"], "'no.fits' does not exist. See main predict"),
    ):
        text = run(*arguments, expected=2)
        assert expected in text
        assert len(text.splitlines()) == 1
    images = tmp_path / "galaxies.h5"
    with h5py.File(images, "w") as file:
        file["images"], file["ans"] = IMAGES, np.arange(12) % 2
    text = run("predict", path, images, "--out", tmp_path / "a.fits", expected=1)
    assert f"({path} is a SpectrumClassifier, for spectra.)" in text
    clf = make_tiny(GalaxyClassifier).fit(IMAGES, np.arange(12) % 2)
    skastro.save_model(clf, tmp_path / "galaxies.skastro")
    model = tmp_path / "galaxies.skastro"
    text = run("predict", model, survey, "--out", tmp_path / "a.fits", expected=1)
    assert f"({model} is a GalaxyClassifier, for images of galaxies.)" in text
    assert not (tmp_path / "a.fits").exists()
