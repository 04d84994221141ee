# SPDX-License-Identifier: BSD-3-Clause
"""A page that tells how a fitted estimator does, in one file."""

import base64
import datetime
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from astropy import units
from astropy.stats import mad_std
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    r2_score,
    recall_score,
)
from sklearn.utils import check_consistent_length, get_tags
from sklearn.utils.validation import check_is_fitted

from skastro.inspection._activation_map_display import ActivationMapDisplay
from skastro.inspection._calibration import (
    ReliabilityDisplay,
    RiskCoverageDisplay,
    expected_calibration_error,
)
from skastro.inspection._class_activation_map import find_classifier
from skastro.inspection._display import check_wavelength
from skastro.inspection._history import HistoryDisplay
from skastro.inspection._measurement import MeasurementDisplay
from skastro.inspection._thumbnails import Thumbnails, read_samples
from skastro.persistence import model_card
from skastro.utils import (
    as_lazy,
    atomic_write,
    check_count,
    is_lazy,
    plain_labels,
    prediction_steps,
)

# A score of a class with fewer samples says little.
_FEW = 10
_MOST_EXAMPLES = 20
_N_BINS = 10
_RESOLUTION = 110


def report(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    out: str | os.PathLike = "report.html",
    title: str | None = None,
    survey: ArrayLike | None = None,
    names: ArrayLike | None = None,
    target_names: Sequence[str] | None = None,
    wavelength: ArrayLike | units.Quantity | None = None,
    n_examples: int = 6,
) -> Path:
    """Write a page of HTML that tells how a fitted estimator does on a test set.

    The file holds its figures and needs no other file and no network. Of a classifier
    it has the scores of each class and each survey, the confusion matrix, calibration,
    the error against the part of the samples that is accepted, and the mistakes with
    the highest probability, with class activation maps where the network allows them;
    of a regressor errors of each target, and predictions against the truth. Both have
    the history of the training, the samples that are least like the training set, and
    the card of the model.

    Parameters
    ----------
    estimator : estimator or Pipeline
        A fitted classifier or regressor.
    X : array-like of shape (n_samples, ...)
        Samples that it was not fitted on, as ``predict`` takes them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their labels or targets. Samples of other classes than those that were fitted
        are counted and left out.
    out : str or path-like, default="report.html"
        File to write, which replaces one of that name when it is complete.
    title : str, default=None
        Title of the page. None takes the class of the estimator.
    survey : array-like of shape (n_samples,), default=None
        Survey or instrument of each sample, for scores of each of them.
    names : array-like of shape (n_samples,), default=None
        Name of each sample. None counts rows.
    target_names : sequence of str, default=None
        Names of a regressor's targets, with their units.
    wavelength : array-like of shape (n_pixels,), default=None
        Wavelengths of spectra in Å, for the figures, or a
        :class:`~astropy.units.Quantity` of length.
    n_examples : int, default=6
        How many mistakes, and how many unfamiliar samples, to draw; at most 20.

    Returns
    -------
    path : pathlib.Path
        The file.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is neither a classifier nor a regressor.
    ValueError
        If lengths disagree, or no sample has a known class or target.
    FileNotFoundError
        If the folder of `out` does not exist.

    See Also
    --------
    skastro.model_card : Text alone, without a test set.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> from skastro.inspection import report
    >>> spectra = make_spectra(60, wavelength=range(4000, 9000, 20), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=2, verbose=0, random_state=0)
    >>> clf = clf.fit(spectra.flux[:40], spectra.target[:40])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(
    ...         clf, spectra.flux[40:], spectra.target[40:], out=f"{folder}/report.html"
    ...     )
    ...     "Confusion matrix" in page.read_text()
    True
    """
    path = Path(out)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {path}: the folder {path.absolute().parent} does not exist."
        )
    check_count(n_examples, "n_examples", 0)
    n_examples = min(n_examples, _MOST_EXAMPLES)
    kind = get_tags(estimator).estimator_type
    if kind not in ("classifier", "regressor"):
        raise TypeError(
            f"{type(estimator).__name__} is neither a classifier nor a regressor, so "
            "that there is nothing to compare y with."
        )
    check_is_fitted(estimator)
    X = as_lazy(X) if is_lazy(X) else X
    y = plain_labels(y, "y") if kind == "classifier" else np.asarray(y, np.float64)
    n_samples = len(y)
    names = np.arange(n_samples) if names is None else np.asarray(names)
    survey = None if survey is None else np.asarray(survey).astype(str)
    check_consistent_length(X, y, names, survey)
    wavelength = check_wavelength(wavelength, np.shape(X)[1:])
    data = _Data(estimator, X, y, names, survey, wavelength)
    if kind == "classifier":
        headline, sections = _of_classifier(data, n_examples)
    else:
        headline, sections = _of_regressor(data, target_names)
    sections += [*_training(estimator), *_unfamiliar(data, n_examples)]
    sections.append(_Section("Model card", summary="Card", text=model_card(estimator)))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("skastro.inspection").joinpath("report.html.jinja")
    model = type(prediction_steps(estimator)[-1]).__name__
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=title or model,
        subtitle=f"{model} on {n_samples} samples of shape {np.shape(X)[1:]}, "
        f"{datetime.date.today()}",
        headline=headline,
        sections=sections,
    )
    with atomic_write(path) as file:
        file.write(page)
    return path


@dataclass
class _Data:
    """What a page is about."""

    estimator: Any
    X: Any
    y: np.ndarray
    names: np.ndarray
    survey: np.ndarray | None
    wavelength: np.ndarray | None


@dataclass
class _Section:
    """A part of the page."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[tuple[Sequence[str], list[list[str]]]] = field(default_factory=list)
    figures: list[tuple[str, str, str, bool]] = field(default_factory=list)
    summary: str = ""
    text: str = ""

    def draw(
        self, name: str, caption: str, figure: Figure, *, wide: bool = False
    ) -> None:
        """Add a figure, and close it."""
        import matplotlib.pyplot as plt

        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=_RESOLUTION, bbox_inches="tight")
        # pyplot keeps the figures of displays.
        plt.close(figure)
        text = base64.b64encode(picture.getvalue()).decode()
        self.figures.append((name, caption, text, wide))


# Classifiers ------------------------------------------------------------------------


def _of_classifier(data: _Data, n_examples: int) -> tuple[list, list[_Section]]:
    classes = data.estimator.classes_
    known = np.isin(data.y, classes)
    if not known.any():
        raise ValueError(
            f"No label of y is among the classes of the estimator, {classes.tolist()}."
        )
    rows = np.flatnonzero(known)
    truth = data.y[rows]
    gives = hasattr(data.estimator, "predict_proba")
    probability = None
    if gives:
        probability = np.asarray(data.estimator.predict_proba(data.X))[rows]
    predicted = np.asarray(data.estimator.predict(data.X))[rows]
    present = np.unique(truth)
    headline = [
        ("accuracy", f"{accuracy_score(truth, predicted):.3f}"),
        ("macro-F1", f"{_macro(f1_score, truth, predicted):.3f}"),
        ("balanced accuracy", f"{_macro(recall_score, truth, predicted):.3f}"),
        ("samples", str(len(rows))),
    ]
    scores = _Section("Scores of each class")
    if len(rows) < len(known):
        others = ", ".join(map(str, np.unique(data.y[~known])[:10]))
        scores.sentences.append(
            f"Not scored: {np.sum(~known)} samples of classes that the estimator was "
            f"not fitted on ({others})."
        )
    scores.sentences += _rare(classes, truth)
    scores.tables.append(_class_table(classes, truth, predicted))
    sections = [scores]
    if data.survey is not None:
        sections.append(_by_survey(classes, truth, predicted, data.survey[rows]))
    matrix = _Section("Confusion matrix")
    size = 2.6 + 0.55 * len(np.union1d(present, predicted))
    figure = Figure(figsize=(size, size), layout="constrained")
    display = ConfusionMatrixDisplay.from_predictions(
        truth, predicted, ax=figure.subplots(), cmap="Blues", colorbar=False
    )
    for label in display.ax_.get_xticklabels():
        label.set(rotation=35, ha="right", rotation_mode="anchor")
    matrix.draw("confusion", f"Confusion matrix of {len(rows)} samples", figure)
    sections.append(matrix)
    if probability is not None:
        sections.append(_confidence(truth, probability, classes))
        sections += _mistakes(data, rows, predicted, probability, n_examples)
    return headline, sections


def _macro(score: Callable, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Average a score over the classes that are there."""
    return score(
        truth, predicted, labels=np.unique(truth), average="macro", zero_division=0
    )


def _rare(classes: np.ndarray, truth: np.ndarray) -> Iterator[str]:
    """Tell of classes whose scores say little or nothing."""
    counts = {name: int(np.sum(truth == name)) for name in classes.tolist()}
    absent = [str(name) for name, count in counts.items() if not count]
    if absent:
        yield f"Not in the test set, and so without a score: {', '.join(absent)}."
    few = [f"{name} ({n})" for name, n in counts.items() if 0 < n < _FEW]
    if few:
        yield (
            f"Classes with fewer than {_FEW} samples, whose scores say little: "
            f"{', '.join(few)}."
        )


def _class_table(
    classes: np.ndarray, truth: np.ndarray, predicted: np.ndarray
) -> tuple[Sequence[str], list[list[str]]]:
    parts = precision_recall_fscore_support(
        truth, predicted, labels=classes, zero_division=0
    )
    rows = []
    for name, precision, recall, score, count in zip(classes, *parts, strict=True):
        shown = [f"{value:.3f}" for value in (precision, recall, score)]
        if not count:
            shown = ["-"] * 3
        rows.append([str(name), *shown, str(int(count))])
    return ("class", "precision", "recall", "F1", "samples"), rows


def _by_survey(
    classes: np.ndarray, truth: np.ndarray, predicted: np.ndarray, survey: np.ndarray
) -> _Section:
    section, rows = _Section("Scores of each survey"), []
    for name in np.unique(survey):
        mine = survey == name
        absent = np.setdiff1d(classes, truth[mine])
        rows.append(
            [
                name or "unknown",
                f"{accuracy_score(truth[mine], predicted[mine]):.3f}",
                f"{_macro(f1_score, truth[mine], predicted[mine]):.3f}",
                str(mine.sum()),
                ", ".join(map(str, absent)) or "-",
            ]
        )
    section.sentences.append("Means are over the classes that a survey has.")
    columns = ("survey", "accuracy", "macro-F1", "samples", "classes it lacks")
    section.tables.append((columns, rows))
    return section


def _confidence(
    truth: np.ndarray, probability: np.ndarray, classes: np.ndarray
) -> _Section:
    error = expected_calibration_error(
        truth, probability, labels=classes, n_bins=_N_BINS, strategy="quantile"
    )
    section = _Section(
        "Probabilities",
        [
            f"Expected calibration error, {_N_BINS} bins of equal numbers: {error:.3f}."
            " It is 0 for probabilities that are right, but for chance."
        ],
    )
    display = ReliabilityDisplay.from_predictions(
        truth, probability, labels=classes, n_bins=_N_BINS, strategy="quantile"
    )
    section.draw(
        "calibration", "Accuracy against predicted probability", display.figure_
    )
    curve = RiskCoverageDisplay.from_predictions(truth, probability, labels=classes)
    section.draw("coverage", "Error where only the surest are accepted", curve.figure_)
    return section


def _mistakes(
    data: _Data,
    rows: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    n_examples: int,
) -> Iterator[_Section]:
    """Draw the mistakes that have the highest probability."""
    surest = probability.max(axis=1)
    wrong = np.flatnonzero(predicted != data.y[rows])
    wrong = wrong[np.argsort(-surest[wrong], kind="stable")][:n_examples]
    if not len(wrong):
        return
    section = _Section("Mistakes with the highest probability")
    titles = [
        f"{data.names[rows[i]]}: {predicted[i]} ({surest[i]:.2f}), is {data.y[rows[i]]}"
        for i in wrong
    ]
    section.tables.append(
        (
            ("name", "predicted", "probability", "label"),
            [
                [
                    str(data.names[rows[i]]),
                    str(predicted[i]),
                    f"{surest[i]:.3f}",
                    str(data.y[rows[i]]),
                ]
                for i in wrong
            ],
        )
    )
    samples = read_samples(data.X, rows[wrong])
    titles = _short(titles, samples)
    try:
        _, seen = find_classifier(data.estimator, samples, "report")
        # A step may have changed the pixels.
        same = np.shape(seen)[1:] == samples.shape[1:]
        figure = ActivationMapDisplay.from_estimator(
            data.estimator,
            samples,
            wavelength=data.wavelength if same else None,
            titles=titles,
        ).figure_
        caption = "Mistakes; color is the evidence for the class that was predicted"
    except ImportError as error:
        figure = _draw_samples(data, samples, titles)
        caption = f"Mistakes, without activation maps: {error}"
    except TypeError:
        # Perceptrons have no such maps, and neither have searches and ensembles.
        figure = _draw_samples(data, samples, titles)
        caption = "Mistakes"
    section.draw("mistakes", caption, figure, wide=True)
    yield section


def _short(titles: list[str], samples: np.ndarray) -> list[str]:
    """Break titles above images, which are narrow."""
    if samples.ndim == 2:
        return titles
    return [title.replace(": ", "\n").replace(", is", "\nis") for title in titles]


# Regressors -------------------------------------------------------------------------


def _of_regressor(
    data: _Data, target_names: Sequence[str] | None
) -> tuple[list, list[_Section]]:
    display = MeasurementDisplay.from_estimator(
        data.estimator, data.X, data.y, target_names=target_names
    )
    true, found = display.y_true, display.y_pred
    if target_names is None:
        target_names = [f"target {number}" for number in range(true.shape[1])]
    rows = []
    for number, name in enumerate(target_names):
        known = ~np.isnan(true[:, number])
        residual = found[known, number] - true[known, number]
        score = r2_score(true[known, number], found[known, number])
        row = [f"{np.median(residual):.4g}", f"{mad_std(residual):.4g}"]
        row += [f"{np.sqrt(np.mean(residual**2)):.4g}", f"{score:.4f}"]
        coverage = display.coverage
        covered = "-" if coverage is None else f"{coverage[number]:.3f}"
        rows.append([name, *row, covered, str(known.sum())])
    section = _Section("Errors of each target")
    section.sentences.append(
        "Bias is the median of predicted less true values, scatter 1.4826 times the "
        "median of their absolute distances from it. Of error bars, 0.9 of the true "
        "values should be within 1.645."
    )
    columns = ("target", "bias", "scatter", "RMS", "R²", "within 0.9", "samples")
    section.tables.append((columns, rows))
    section.draw(
        "measurement", "Predicted against true values", display.figure_, wide=True
    )
    headline = [(f"R², {row[0]}", row[4]) for row in rows[:4]]
    return [*headline, ("samples", str(len(true)))], [section]


# Both -------------------------------------------------------------------------------


def _training(estimator: Any) -> Iterator[_Section]:
    """Draw the history of the network, where there is one."""
    network = prediction_steps(estimator)[-1]
    history = getattr(network, "history", None) or ()
    if not any("train_loss" in epoch for epoch in history):
        return
    display = HistoryDisplay.from_estimator(network)
    section = _Section("Training")
    n_epochs, kept = len(display.epochs), display.best_epoch
    planned = getattr(network, "max_epochs", n_epochs)
    early = "" if n_epochs >= planned else f" of {planned}, since it was ended early"
    section.sentences.append(
        f"{n_epochs} epochs{early}; the weights are those of epoch {kept or n_epochs}."
    )
    caption = "Loss and accuracy" if display.scores else "Loss"
    section.draw("history", f"{caption} of each epoch", display.figure_)
    yield section


def _unfamiliar(data: _Data, n_examples: int) -> Iterator[_Section]:
    """Draw the samples that are least like those of the training."""
    if not hasattr(data.estimator, "score_samples") or not n_examples:
        return
    score = np.asarray(data.estimator.score_samples(data.X))
    lowest = np.argsort(score, kind="stable")[:n_examples]
    section = _Section(
        "Samples least like the training set",
        ["By score_samples, from the lowest. Look at them before you trust them."],
    )
    titles = [f"{data.names[row]}: {score[row]:.3g}" for row in lowest]
    samples = read_samples(data.X, lowest)
    figure = _draw_samples(data, samples, _short(titles, samples))
    section.draw("unfamiliar", "Samples with the lowest scores", figure, wide=True)
    yield section


def _draw_samples(data: _Data, samples: np.ndarray, titles: list[str]) -> Figure:
    """Draw spectra below each other, or images beside each other."""
    network = prediction_steps(data.estimator)[-1]
    axis = getattr(network, "channel_axis", None)
    shape = getattr(network, "image_shape", None)
    if samples.ndim == 2 and shape is None:
        figure = Figure(figsize=(9, 0.5 + 1.7 * len(samples)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(len(samples), 1, sharex=True))
        place = np.arange(samples.shape[1])
        if data.wavelength is not None:
            place = data.wavelength
        for ax, flux, title in zip(axes, samples, titles, strict=True):
            ax.plot(place, flux, linewidth=0.8)
            ax.set_title(title, loc="left", fontsize="medium")
            ax.margins(x=0)
        axes[-1].set_xlabel("Pixel" if data.wavelength is None else "Wavelength (Å)")
        return figure
    pictures = Thumbnails(samples, -1 if axis is None else axis, shape)
    columns = min(4, len(samples))
    n_rows = -(-len(samples) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.8 * n_rows), layout="constrained")
    axes = np.ravel(figure.subplots(n_rows, columns))
    for ax in axes:
        ax.set_axis_off()
    for row, (ax, title) in enumerate(zip(axes, titles, strict=False)):
        ax.imshow(pictures.image(row), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize="medium")
    return figure
