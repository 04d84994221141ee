# SPDX-License-Identifier: BSD-3-Clause
"""The page that tells how an estimator does."""

import base64
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, f1_score
from tiny_estimators import make_tiny
from torch import nn

from skastro import (
    GalaxyClassifier,
    Pipeline,
    SpectrumClassifier,
    SpectrumRegressor,
    StandardizeSpectra,
    VAETransformer,
)
from skastro.inspection import report

WAVELENGTH = np.linspace(4000.0, 8000.0, 80)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    flux = rng.normal(5, 1, (60, 80)).astype(np.float32)
    target = np.array(["GALAXY", "QSO", "STAR"])[np.arange(60) % 3]
    flux[target == "QSO", 20:30] += 4
    # One label is wrong, so that there is a mistake to draw.
    target[-1] = "QSO"
    return flux, target


@pytest.fixture(scope="module")
def pipeline(spectra):
    net = SpectrumClassifier(
        module__width=4, module__n_blocks=(1,), max_epochs=4, verbose=0, random_state=0
    )
    return Pipeline([StandardizeSpectra(), net]).fit(*spectra)


def figures(page):
    """Decode the pictures of a page."""
    found = re.findall(r'<img id="(\w+)" alt="([^"]+)" src="([^"]+)"', page)
    assert len(found) == page.count("<img")
    pictures = {}
    for name, alt, source in found:
        kind, content = source.split(",")
        assert kind == "data:image/png;base64"
        assert alt
        pictures[name] = Image.open(io.BytesIO(base64.b64decode(content)))
        assert min(pictures[name].size) > 100
    return pictures


def table(page, title):
    """Read the table of a section."""
    section = page[page.index(f"<h2>{title}</h2>") :]
    section = section[: section.index("</section>")]
    rows = re.findall(r"<tr>(.*?)</tr>", section)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows]


def test_page_of_a_classifier(pipeline, spectra, tmp_path):
    flux, target = spectra
    survey = np.where(np.arange(60) % 3, "SDSS", "LAMOST <5>")
    path = report(
        pipeline,
        flux,
        target,
        out=tmp_path / "report.html",
        title="Stars & others",
        survey=survey,
        names=[f"s{n}" for n in range(60)],
        wavelength=WAVELENGTH,
    )
    page = path.read_text(encoding="utf-8")
    assert "<title>Stars &amp; others</title>" in page
    assert set(figures(page)) == {
        "confusion",
        "calibration",
        "coverage",
        "mistakes",
        "history",
        "unfamiliar",
    }
    # Nothing comes from elsewhere.
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script|<link', page)
    predicted = pipeline.predict(flux)
    assert f"<dd>{accuracy_score(target, predicted):.3f}</dd>" in page
    assert f"<dd>{f1_score(target, predicted, average='macro'):.3f}</dd>" in page
    names, *rows = table(page, "Scores of each class")
    assert names == ["class", "precision", "recall", "F1", "samples"]
    assert [row[0] for row in rows] == ["GALAXY", "QSO", "STAR"]
    assert [row[-1] for row in rows] == ["20", "21", "19"]
    _, lamost, sdss = table(page, "Scores of each survey")
    assert lamost[0] == "LAMOST &lt;5&gt;"
    assert lamost[-1] == "QSO, STAR"
    mine = survey == "SDSS"
    score = f1_score(
        target[mine], predicted[mine], labels=["QSO", "STAR"], average="macro"
    )
    assert sdss[2] == f"{score:.3f}"
    surest = table(page, "Mistakes with the highest probability")[1]
    probability = pipeline.predict_proba(flux).max(axis=1)
    wrong = predicted != target
    assert surest[2] == f"{probability[wrong].max():.3f}"
    assert surest[0] == f"s{np.flatnonzero(wrong)[probability[wrong].argmax()]}"
    assert "module__width=4" in page


def test_classes_that_are_absent_rare_or_unknown(pipeline, spectra, tmp_path):
    flux, target = spectra
    rows = np.flatnonzero(target != "STAR")[:25]
    labels = target[rows].copy()
    labels[0] = "COMET"
    page = report(pipeline, flux[rows], labels, out=tmp_path / "r.html").read_text()
    assert "Not in the test set, and so without a score: STAR." in page
    assert "Not scored: 1 samples of classes that the estimator was not fitted" in page
    assert table(page, "Scores of each class")[3][1:] == ["-", "-", "-", "0"]
    few = report(pipeline, flux[:6], target[:6], out=tmp_path / "f.html").read_text()
    assert "GALAXY (2), QSO (2), STAR (2)" in few


def test_page_of_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    target = np.arange(24) % 2
    clf = make_tiny(GalaxyClassifier).fit(images, target)
    page = report(clf, images, target, out=tmp_path / "r.html", n_examples=3)
    pictures = figures(page.read_text())
    assert {"confusion", "unfamiliar"} <= set(pictures)
    # Three images are beside each other.
    assert pictures["unfamiliar"].width > 1.5 * pictures["unfamiliar"].height


def test_page_of_a_regressor(spectra, tmp_path):
    flux, _ = spectra
    y = np.column_stack([flux.mean(axis=1), flux.std(axis=1)])
    net = make_tiny(SpectrumRegressor, criterion=nn.MSELoss).fit(flux, y)
    names = ["mean (Jy)", "scatter (Jy)"]
    path = report(net, flux, y, out=tmp_path / "r.html", target_names=names)
    page = path.read_text()
    assert {"measurement", "history"} <= set(figures(page))
    _, first, second = table(page, "Errors of each target")
    assert (first[0], second[0]) == tuple(names)
    residual = net.predict(flux) - y
    assert float(first[1]) == pytest.approx(np.median(residual[:, 0]), rel=1e-3)
    rms = np.sqrt(np.mean(residual**2, axis=0))
    assert float(second[3]) == pytest.approx(rms[1], rel=1e-3)


def test_page_of_other_classifiers(spectra, tmp_path):
    flux, target = spectra
    for estimator in (RandomForestClassifier(5, random_state=0), DummyClassifier()):
        path = report(estimator.fit(flux, target), flux, target, out=tmp_path / "r")
        assert "confusion" in figures(path.read_text())


def test_refusals_write_nothing(pipeline, spectra, tmp_path):
    flux, target = spectra
    out = tmp_path / "report.html"
    with pytest.raises(NotFittedError):
        report(SpectrumClassifier(), flux, target, out=out)
    with pytest.raises(TypeError, match="neither a classifier nor a regressor"):
        report(make_tiny(VAETransformer), flux, target, out=out)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        report(pipeline, flux, target[:-1], out=out)
    with pytest.raises(ValueError, match="No label of y is among the classes"):
        report(pipeline, flux, np.full(60, "COMET"), out=out)
    with pytest.raises(ValueError, match="wavelength has shape"):
        report(pipeline, flux, target, out=out, wavelength=WAVELENGTH[1:])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report(pipeline, flux, target, out=tmp_path / "no" / "report.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_browser_finds_nothing_to_complain_of(pipeline, spectra, tmp_path):
    page = report(pipeline, *spectra, out=tmp_path / "report.html")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.count("<img") == len(figures(page.read_text()))
    assert "CONSOLE" not in done.stderr
