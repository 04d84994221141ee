# SPDX-License-Identifier: BSD-3-Clause
"""Classifiers trained on files, and what tells how they do."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import matplotlib
import numpy as np
from astropy.table import Table
from sklearn.metrics import classification_report
from sklearn.model_selection import StratifiedGroupKFold

from skastro.base._net import check_device_exists
from skastro.cli._output import ignore_novelty, write_catalog
from skastro.cli._read import blank_rows, known_flux, read_any_images
from skastro.datasets import group_objects, make_spectra, read_images, read_spectra
from skastro.estimators import GalaxyClassifier, SpectrumClassifier
from skastro.inspection import report
from skastro.networks import get_module
from skastro.persistence import save_model
from skastro.pipeline import Pipeline
from skastro.preprocessing import MinMaxSpectra, RebinSpectra, StandardizeSpectra
from skastro.utils import atomic_write, name_rows

# One part of so many is kept apart. Each part has some samples of each class.
_PARTS = 4
_SMALLEST_CLASS = 8
# What --quick makes do with.
_QUICK_SAMPLES, _QUICK_EPOCHS = 300, 4
# Weights of the package see optical wavelengths, of which spectra share so much.
_OPTICAL = 3600.0, 9500.0
_SHARED = 0.5
# Columns of the history, with the usual names of such tables.
_HISTORY = {
    "epoch": "epoch",
    "train_loss": "loss",
    "train_acc": "accuracy",
    "valid_loss": "val_loss",
    "valid_acc": "val_accuracy",
    "dur": "seconds",
}
_MODEL = "model.skastro"
# What the recipes expect in front of them.
_RECIPE_SCALERS = {"resclass": StandardizeSpectra, "wang2020": MinMaxSpectra}


@dataclass
class Samples:
    """Labeled samples, and what is known of them."""

    X: Any
    target: np.ndarray
    groups: np.ndarray
    objects: Table
    survey: np.ndarray | None = None
    wavelength: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Samples":
        """Take some rows."""
        survey = None if self.survey is None else self.survey[rows]
        parts = (self.X[rows], self.target[rows], self.groups[rows], self.objects[rows])
        return Samples(*parts, survey, self.wavelength)


def train_spectra(
    files: Sequence[str],
    out: str,
    *,
    label_column: str | None,
    label_letters: int | None,
    n_simulated: int | None,
    **options: Any,
) -> None:
    """Train a classifier of spectra, and write model, catalog and report."""
    if (n_simulated is None) == (not files):
        raise click.ClickException("Give FILES, or --simulate and how many spectra.")
    _check_options(Path(out), 1, options)
    if n_simulated is not None:
        click.echo(f"Simulating {n_simulated} spectra.")
        spectra = make_spectra(n_simulated, random_state=options["seed"])
        names = [f"simulated-{number:05}" for number in range(n_simulated)]
        objects, survey = Table({"id": names}), None
    else:
        source: Any = files[0] if len(files) == 1 else list(files)
        spectra = read_spectra(source, label_column=label_column, recursive=True)
        table = spectra.table
        flat = [name for name in table.colnames if np.ndim(table[name]) == 1]
        objects, survey = table[flat], spectra.survey
        if "id" not in flat:
            objects.add_column(np.arange(len(table)), name="id", index=0)
    samples = Samples(
        known_flux(spectra.flux),
        _labels(spectra.target, label_letters),
        _groups(objects),
        objects,
        None if survey is None else np.asarray(survey).astype(str),
        spectra.wavelength,
    )
    _train(samples, Path(out), _spectrum_classifier, **options)


def train_galaxies(
    files: Sequence[str],
    out: str,
    *,
    labels: str | None,
    id_column: str | None,
    label_column: str | None,
    size: int | None,
    **options: Any,
) -> None:
    """Train a classifier of images, and write model, catalog and report."""
    _check_options(Path(out), 2, options)
    if labels is None:
        images = read_any_images(files, target=label_column, size=size)
    else:
        source: Any = files[0] if len(files) == 1 else list(files)
        images = read_images(
            source,
            labels,
            id_column=id_column,
            label_column=label_column,
            size=size,
            resize=size is not None,
        )
    n_images = len(images.images)
    if n_images < 2:
        raise click.ClickException(
            f"{', '.join(files)} holds one image, of {images.images.shape[1:]} pixels. "
            "Spectra are for skastro train spectra."
        )
    names = images.get("id")
    objects = Table({"id": np.arange(n_images) if names is None else names})
    groups = images.get("groups")
    samples = Samples(
        images.images,
        _labels(images.target, None),
        np.arange(n_images) if groups is None else groups,
        objects,
    )
    _train(samples, Path(out), _galaxy_classifier, **options)


def _check_options(out: Path, ndim: int, options: dict[str, Any]) -> None:
    """Refuse what cannot end well, before the work."""
    overwrite = options.pop("overwrite")
    module, device = options["module"], options["device"]
    if out.exists() and not out.is_dir():
        raise click.ClickException(f"--out {out} is a file; give a folder.")
    if (out / _MODEL).exists() and not overwrite:
        raise click.ClickException(
            f"{out} holds a trained model already. Give another --out, or --overwrite."
        )
    if module is not None:
        get_module(module, ndim)
    if device is not None:
        check_device_exists(device)


def _labels(target: Any, n_letters: int | None) -> np.ndarray:
    if target is None:
        raise click.ClickException(
            "The files have no labels: --label-column names the column that has them."
        )
    target = np.asarray(target)
    if target.dtype.kind == "f":
        raise click.ClickException(
            "The labels are real numbers, but classes are wanted: choose another "
            "--label-column, or regress them in Python."
        )
    names = np.char.strip(target.astype(str))
    return names if n_letters is None else names.astype(f"U{n_letters}")


def _groups(objects: Table) -> np.ndarray:
    """Find rows of one object, by names and positions."""
    place = {name: objects[name] for name in ("ra", "dec") if name in objects.colnames}
    return group_objects(objects["id"], **(place if len(place) == 2 else {}))


def _spectrum_classifier(
    samples: Samples, recipe: str | None, settings: dict[str, Any]
) -> Any:
    if recipe is not None:
        scaler = _RECIPE_SCALERS[recipe.split("-")[0]](nan_policy="interpolate")
        return Pipeline([scaler, SpectrumClassifier.from_recipe(recipe, **settings)])
    grid = samples.wavelength
    fills: Any = StandardizeSpectra(robust=True, clip=8.0, nan_policy="interpolate")
    if settings.get("module") is not None or grid is None or not _is_optical(grid):
        return Pipeline([fills, SpectrumClassifier(**settings)])
    # The weights see flux, not its distance from the median.
    fills = RebinSpectra(grid, grid, nan_policy="interpolate")
    return Pipeline(
        [
            fills,
            SpectrumClassifier.from_pretrained("spectra", **settings, wavelength=grid),
        ]
    )


def _is_optical(grid: np.ndarray) -> bool:
    low, high = max(grid[0], _OPTICAL[0]), min(grid[-1], _OPTICAL[1])
    return (high - low) / (_OPTICAL[1] - _OPTICAL[0]) > _SHARED


def _galaxy_classifier(
    samples: Samples, recipe: str | None, settings: dict[str, Any]
) -> Any:
    if recipe is not None:
        return GalaxyClassifier.from_recipe(recipe, **settings)
    if settings.get("module") is not None:
        return GalaxyClassifier(tta=True, **settings)
    return GalaxyClassifier.from_pretrained("galaxies", tta=True, **settings)


def _train(
    samples: Samples,
    out: Path,
    make: Any,
    *,
    recipe: str | None,
    module: str | None,
    epochs: int | None,
    device: str | None,
    seed: int,
    quick: bool,
    keep_apart: int | None = None,
) -> None:
    matplotlib.use("Agg")
    samples = _without_blank(samples)
    samples = _without_rare(samples)
    _tell_duplicates(samples)
    if quick:
        epochs = _QUICK_EPOCHS if epochs is None else epochs
        samples = _fewer(samples, seed)
    fitted, apart = _keep_apart(samples, seed, keep_apart)
    chosen = {"module": module, "max_epochs": epochs, "device": device}
    settings = {name: value for name, value in chosen.items() if value is not None}
    # Catalogs then mark what is unlike the training set.
    settings |= {"random_state": seed, "warn_novelty": True}
    estimator = make(fitted, recipe, settings)
    shape = " x ".join(map(str, fitted.X.shape[1:]))
    click.echo(
        f"Training on {len(fitted.target)} samples of {shape} pixels; "
        f"{len(apart.target)} are kept apart."
    )
    start = time.perf_counter()
    estimator.fit(fitted.X, fitted.target)
    seconds = time.perf_counter() - start
    network = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    # An epoch that was interrupted has no loss.
    epochs_done = sum("train_loss" in epoch for epoch in network.history)
    if not epochs_done:
        raise click.ClickException("Interrupted within the first epoch; wrote nothing.")
    if epochs_done < network.max_epochs:
        click.echo(f"Ended early, after {epochs_done} of {network.max_epochs} epochs.")
    click.echo(f"Trained in {seconds:.0f} s.")
    out.mkdir(parents=True, exist_ok=True)
    _write(estimator, network, apart, out)


def _without_blank(samples: Samples) -> Samples:
    """Leave out spectra without any flux."""
    blank = blank_rows(samples.X)
    if blank.any():
        names = [str(name) for name in samples.objects["id"][blank]]
        click.echo(
            f"Left out, without any known pixel: {blank.sum()} ({name_rows(names)})."
        )
    return samples.take(np.flatnonzero(~blank))


def _without_rare(samples: Samples) -> Samples:
    """Leave out samples without a label, and classes with few of them."""
    names, counts = np.unique(samples.target, return_counts=True)
    rare = (counts < _SMALLEST_CLASS) | (names == "")
    if rare.any():
        listed = [f"{n or 'no label'} {c}" for n, c in zip(names, counts, strict=True)]
        left_out = [text for text, is_rare in zip(listed, rare, strict=True) if is_rare]
        click.echo(
            f"Left out, without a label or with too few samples: {name_rows(left_out)}."
        )
    if np.sum(~rare) < 2:
        raise click.ClickException(
            f"A classifier needs two classes of {_SMALLEST_CLASS} samples or more, but "
            f"found {', '.join(names[~rare]) or 'none'}."
        )
    return samples.take(np.flatnonzero(~np.isin(samples.target, names[rare])))


def _tell_duplicates(samples: Samples) -> None:
    n_samples, n_objects = len(samples.groups), len(np.unique(samples.groups))
    if n_objects < n_samples:
        click.echo(
            f"{n_samples} samples are of {n_objects} objects; those of one object stay "
            "on one side of the split."
        )


def _fewer(samples: Samples, seed: int) -> Samples:
    """Choose some samples at random, as many of each class as there may be."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(samples.target))
    _, codes = np.unique(samples.target[order], return_inverse=True)
    most = _QUICK_SAMPLES // (codes.max() + 1)
    kept = np.zeros(len(order), dtype=bool)
    for code in range(codes.max() + 1):
        kept[np.flatnonzero(codes == code)[: max(most, _SMALLEST_CLASS)]] = True
    return samples.take(np.sort(order[kept]))


def _keep_apart(
    samples: Samples, seed: int, n_first: int | None
) -> tuple[Samples, Samples]:
    """Split off a part of the objects, or the first samples."""
    n_samples = len(samples.target)
    if n_first is not None and n_first >= n_samples:
        raise click.ClickException(
            f"--keep-apart {n_first} leaves none of {n_samples}."
        )
    if n_first is not None:
        rows = np.arange(n_samples)
        return samples.take(rows[n_first:]), samples.take(rows[:n_first])
    splitter = StratifiedGroupKFold(_PARTS, shuffle=True, random_state=seed)
    parts = next(splitter.split(samples.target, samples.target, samples.groups))
    return samples.take(parts[0]), samples.take(parts[1])


def _write(estimator: Any, network: Any, apart: Samples, out: Path) -> None:
    """Write the model first, which took longest, and then what tells of it."""
    save_model(estimator, out / _MODEL)
    epochs = [epoch for epoch in network.history if "train_loss" in epoch]
    columns = [name for name in _HISTORY if name in epochs[0]]
    history = Table(
        {_HISTORY[name]: [epoch[name] for epoch in epochs] for name in columns}
    )
    _write_csv(history, out / "history.csv")
    objects = apart.objects.copy()
    objects["label"] = apart.target
    # FITS holds ASCII text only.
    texts = [*map(str, network.classes_)]
    texts += [str(text) for name in objects.colnames for text in objects[name]]
    ending = "fits" if "".join(texts).isascii() else "vot"
    path = out / f"predictions.{ending}"
    catalog = write_catalog(estimator, apart.X, path, objects)
    found = np.asarray(catalog["class"])
    _write_csv(Table({"predict": found, "test": apart.target}), out / "results.csv")
    click.echo(classification_report(apart.target, found, digits=3, zero_division=0))
    with warnings.catch_warnings():
        ignore_novelty()
        report(
            estimator,
            apart.X,
            apart.target,
            out=out / "report.html",
            title=f"{type(network).__name__}, on samples kept apart",
            survey=apart.survey,
            names=np.asarray(objects["id"]),
            wavelength=apart.wavelength,
        )
    names = ", ".join(sorted(path.name for path in out.iterdir()))
    click.echo(f"{out} holds {names}.")


def _write_csv(table: Table, path: Path) -> None:
    with atomic_write(path) as file:
        table.write(file, format="ascii.csv")
